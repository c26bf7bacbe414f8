//! What is known of endpoints, kept over restarts: a node that starts must not believe in endpoints that it has not seen, nor forget
//! what an operator has said.

use crate::config::Side;
use crate::zones::image;
use pool::{Admin, Health};
use serde::{Deserialize, Serialize};
use std::io;
use std::net::IpAddr;
use std::path::Path;

/// What is kept.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Default, Debug)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Memory {
    endpoints: Vec<Remembered>,
    #[serde(default)]
    tiers: Vec<Standing>,
}

/// That a tier of a pool answered, so that a better one still has to prove itself, or waits for an operator.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
struct Standing {
    pool: String,
    side: String,
    tier: u32,
}

/// An address of an endpoint.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
struct Remembered {
    pool: String,
    endpoint: String,
    /// None where it has none to be looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    health: String,
    admin: String,
    /// How much of the share of its weight it has, in thousandths, where weights follow loads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    share_permille: Option<u32>,
}

impl Memory {
    /// Reads what is kept; nothing where there is none, and where it can't be read, which is logged.
    pub(super) fn read(file: &Path) -> Memory {
        let read = || -> io::Result<Memory> { Ok(serde_json::from_slice(&std::fs::read(file)?)?) };
        match read() {
            Ok(memory) => memory,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Memory::default(),
            Err(error) => {
                tracing::error!(
                    "{}: what was known of pools can't be read, so that their endpoints are unknown: {error}",
                    file.display()
                );
                Memory::default()
            }
        }
    }

    /// Stores it.
    ///
    /// # Errors
    /// Those of writing; what was stored before is then still there.
    pub(super) fn store(&self, file: &Path) -> io::Result<()> {
        image::replace(file, &serde_json::to_vec(self).map_err(io::Error::other)?)
    }

    pub(super) fn add(
        &mut self,
        pool: &str,
        endpoint: &str,
        address: Option<IpAddr>,
        health: Health,
        admin: Admin,
        factor: Option<f64>,
    ) {
        self.endpoints.push(Remembered {
            pool: pool.to_owned(),
            endpoint: endpoint.to_owned(),
            address,
            health: health.word().to_owned(),
            admin: admin.word().to_owned(),
            // At most as many times its share as there are members.
            share_permille: factor.map(|factor| (factor * 1e3).round() as u32),
        });
    }

    pub(super) fn add_tier(&mut self, pool: &str, side: Side, tier: u32) {
        self.tiers.push(Standing { pool: pool.to_owned(), side: side.word().to_owned(), tier });
    }

    /// The tier of a pool that answered on a side.
    pub(super) fn tier(&self, pool: &str, side: Side) -> Option<u32> {
        self.tiers.iter().find(|it| it.pool == pool && it.side == side.word()).map(|it| it.tier)
    }

    fn find(&self, pool: &str, endpoint: &str, address: IpAddr) -> Option<&Remembered> {
        let is_it =
            |it: &&Remembered| it.pool == pool && it.endpoint == endpoint && it.address == Some(address);
        self.endpoints.iter().find(is_it)
    }

    /// How much of the share of its weight an address of an endpoint had, where 1 is all, if that had followed loads.
    pub(super) fn factor(&self, pool: &str, endpoint: &str, address: IpAddr) -> Option<f64> {
        let permille = self.find(pool, endpoint, address)?.share_permille?;
        Some(f64::from(permille) / 1e3)
    }

    /// What checks had found of an address of an endpoint.
    pub(super) fn health(&self, pool: &str, endpoint: &str, address: IpAddr) -> Health {
        let words = [Health::Up, Health::Down];
        let known = self.find(pool, endpoint, address);
        known.and_then(|it| words.into_iter().find(|health| health.word() == it.health)).unwrap_or_default()
    }

    /// What an operator had said of an endpoint.
    pub(super) fn admin(&self, pool: &str, endpoint: &str) -> Admin {
        let known = self.endpoints.iter().find(|it| it.pool == pool && it.endpoint == endpoint);
        known.and_then(|it| admin(&it.admin)).unwrap_or_default()
    }
}

/// What an operator says with this word.
fn admin(word: &str) -> Option<Admin> {
    Admin::ALL.into_iter().find(|admin| admin.word() == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pools");
        assert_eq!(Memory::read(&file), Memory::default(), "there is none yet");
        let (one, other): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        let mut memory = Memory::default();
        memory.add("web", "a", Some(one), Health::Up, Admin::Drain, None);
        memory.add("web", "a", Some(other), Health::Down, Admin::Drain, Some(0.25));
        memory.add("web", "inner", None, Health::Unknown, Admin::Down, None);
        memory.add_tier("web", Side::Ipv6, 2);
        memory.store(&file).unwrap();
        let memory = Memory::read(&file);
        assert_eq!(memory.health("web", "a", one), Health::Up);
        assert_eq!(memory.health("web", "a", other), Health::Down);
        assert_eq!(memory.health("web", "b", one), Health::Unknown);
        assert_eq!((memory.factor("web", "a", one), memory.factor("web", "a", other)), (None, Some(0.25)));
        assert_eq!(memory.admin("web", "a"), Admin::Drain);
        assert_eq!(memory.admin("web", "inner"), Admin::Down);
        assert_eq!(memory.admin("mail", "a"), Admin::Auto);
        assert_eq!(Side::ALL.map(|side| memory.tier("web", side)), [None, Some(2), None]);
        std::fs::write(&file, r#"{"endpoints":[]}"#).unwrap();
        assert_eq!(Memory::read(&file), Memory::default(), "as before there were tiers");
        std::fs::write(&file, "{").unwrap();
        assert_eq!(Memory::read(&file), Memory::default(), "a damaged one is none");
    }
}
