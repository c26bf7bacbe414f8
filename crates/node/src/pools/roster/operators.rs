//! What operators say of pools.

use super::Roster;
use pool::Admin;

impl Roster {
    /// Notes what an operator says of an endpoint.
    ///
    /// # Errors
    /// There is no such pool or endpoint, in words.
    pub(in crate::pools) fn set(&mut self, pool: &str, endpoint: &str, admin: Admin) -> Result<(), String> {
        let index = self.find(pool)?;
        let names: Vec<&str> = self.config[index].endpoints.iter().map(|it| it.name.as_str()).collect();
        let Some(at) = names.iter().position(|name| *name == endpoint) else {
            return Err(format!("the pool {pool} has no endpoint {endpoint}; it has {}", names.join(", ")));
        };
        self.states[index].admins[at] = admin;
        Ok(())
    }

    /// Has the best tier of a pool that is good answer again.
    ///
    /// # Errors
    /// There is no such pool, in words.
    pub(in crate::pools) fn fail_back(&mut self, pool: &str) -> Result<(), String> {
        let index = self.find(pool)?;
        self.states[index].sides.iter_mut().for_each(|side| side.selector.fail_back());
        Ok(())
    }

    fn find(&self, pool: &str) -> Result<usize, String> {
        let found = self.config.iter().position(|it| it.name == pool);
        found.ok_or_else(|| {
            format!("there is no pool {pool} here; `starling ctl pools` lists those there are")
        })
    }

    /// What an operator has said of an endpoint of a pool.
    pub(super) fn admin(&self, index: usize, name: &str) -> Admin {
        let at = self.config[index].endpoints.iter().position(|it| it.name == name);
        at.and_then(|at| self.states[index].admins.get(at)).copied().unwrap_or_default()
    }
}
