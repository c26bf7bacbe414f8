//! How long looks have taken, by kind of check and by pool.

use super::roster::Target;
use crate::config::PoolConfig;
use crate::status::{CheckTimes, Latencies};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// How long looks have taken since the start.
#[derive(Default)]
pub(super) struct LookTimes {
    /// By kind and by whether what was seen was good.
    kinds: BTreeMap<(&'static str, bool), CheckTimes>,
    /// Of each pool, in the order of the configuration.
    pools: Vec<(String, Latencies)>,
    /// The pools that a target is of, by their places.
    of_target: HashMap<Target, Vec<usize>>,
}

impl LookTimes {
    /// Takes other pools. What was counted for those that stay is kept.
    pub(super) fn configure(&mut self, config: &[PoolConfig]) {
        let before: HashMap<String, Latencies> = self.pools.drain(..).collect();
        self.of_target.clear();
        for (place, pool) in config.iter().enumerate() {
            self.pools.push((pool.name.clone(), before.get(&pool.name).copied().unwrap_or_default()));
            let Some(check) = pool.check.clone().map(Arc::new) else { continue };
            for (_, address, _) in pool.checked() {
                self.of_target.entry((address, Arc::clone(&check))).or_default().push(place);
            }
        }
    }

    /// Counts a look that has shown something. It is one of every pool that has the target.
    pub(super) fn count(&mut self, target: &Target, is_good: bool, took: Duration) {
        let kind = target.1.probe.word();
        let of_kind = self.kinds.entry((kind, is_good)).or_insert_with(|| CheckTimes::new(kind, is_good));
        of_kind.times.observe(took);
        for place in self.of_target.get(target).into_iter().flatten() {
            self.pools[*place].1.observe(took);
        }
    }

    /// By kind and result.
    pub(super) fn of_kinds(&self) -> Vec<CheckTimes> {
        self.kinds.values().cloned().collect()
    }

    /// Of each pool, in the order of the configuration.
    pub(super) fn of_pools(&self) -> impl Iterator<Item = Latencies> {
        self.pools.iter().map(|(_, times)| *times)
    }
}
