//! What a lease is to consist of.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::Family;

/// Octets of the longest name of an interface.
pub const INTERFACE_NAME_MAX_LEN: usize = netio::tun::NAME_MAX_LEN;
/// Addresses, and prefixes, of a lease. A change of the rung takes two requests a prefix, microseconds each; with this
/// many it still takes a few milliseconds.
pub const ENTRIES_MAX: usize = 64;
/// Tables of the kernel's own use: unspecified, default, main, local.
const RESERVED_TABLES: [u32; 4] = [0, 253, 254, 255];

/// The interface, the service addresses on it, and the routes through it; valid once made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeasePlan {
    interface: String,
    table: u32,
    addresses: Vec<IpAddr>,
    prefixes: Vec<IpNet>,
}

impl LeasePlan {
    /// Checks what was configured.
    ///
    /// # Errors
    /// The first thing that can't be meant so.
    pub fn new(
        interface: &str,
        table: u32,
        addresses: Vec<IpAddr>,
        prefixes: Vec<IpNet>,
    ) -> Result<LeasePlan, PlanError> {
        if interface.is_empty() || interface.len() > INTERFACE_NAME_MAX_LEN {
            return Err(PlanError::InterfaceName(interface.to_owned()));
        }
        if RESERVED_TABLES.contains(&table) {
            return Err(PlanError::ReservedTable(table));
        }
        if addresses.is_empty() {
            return Err(PlanError::NoAddress);
        }
        if addresses.len().max(prefixes.len()) > ENTRIES_MAX {
            return Err(PlanError::TooMany(addresses.len().max(prefixes.len())));
        }
        check_prefixes(&prefixes)?;
        check_addresses(&addresses, &prefixes)?;
        if let Some(idle) = prefixes.iter().find(|prefix| !addresses.iter().any(|ip| prefix.contains(ip))) {
            return Err(PlanError::IdlePrefix(*idle));
        }
        Ok(LeasePlan { interface: interface.to_owned(), table, addresses, prefixes })
    }

    /// The interface's name.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// The number of the private routing table.
    pub fn table(&self) -> u32 {
        self.table
    }

    /// The service addresses.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// The prefixes that are announced.
    pub fn prefixes(&self) -> &[IpNet] {
        &self.prefixes
    }

    /// The prefixes of a family.
    pub fn prefixes_of(&self, family: Family) -> impl Iterator<Item = IpNet> + '_ {
        self.prefixes.iter().copied().filter(move |prefix| family_of(&prefix.addr()) == family)
    }
}

/// The family of an address.
pub(crate) fn family_of(address: &IpAddr) -> Family {
    if address.is_ipv4() { Family::V4 } else { Family::V6 }
}

fn check_prefixes(prefixes: &[IpNet]) -> Result<(), PlanError> {
    let mut seen = BTreeSet::new();
    for prefix in prefixes {
        if prefix.addr() != prefix.network() {
            return Err(PlanError::HostBits { prefix: *prefix, meant: prefix.trunc() });
        }
        if prefix.prefix_len() == 0 {
            return Err(PlanError::Everything(*prefix));
        }
        if !seen.insert(*prefix) {
            return Err(PlanError::Twice(prefix.to_string()));
        }
    }
    Ok(())
}

fn check_addresses(addresses: &[IpAddr], prefixes: &[IpNet]) -> Result<(), PlanError> {
    let mut seen = BTreeSet::new();
    for address in addresses {
        if address.is_unspecified() || address.is_loopback() || address.is_multicast() {
            return Err(PlanError::NotAService(*address));
        }
        if !prefixes.iter().any(|prefix| prefix.contains(address)) {
            return Err(PlanError::Uncovered(*address));
        }
        if !seen.insert(*address) {
            return Err(PlanError::Twice(address.to_string()));
        }
    }
    Ok(())
}

/// What can't be meant so in a plan.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Empty or too long.
    #[error("interface name {0:?} has to have 1 to 15 octets")]
    InterfaceName(String),
    /// The routes would steer the machine's own traffic.
    #[error(
        "routing table {0} is the kernel's own; take another number, such as 5353, that nothing else uses"
    )]
    ReservedTable(u32),
    /// There is nothing to serve on.
    #[error("a lease has to have at least one service address")]
    NoAddress,
    /// More than a change can carry in time.
    #[error("{0} addresses or prefixes are too many for one node; at most {ENTRIES_MAX} can be held")]
    TooMany(usize),
    /// An address within a prefix where the prefix was meant.
    #[error("{prefix} has bits set beyond its length; {meant} is the prefix")]
    HostBits {
        /// As configured.
        prefix: IpNet,
        /// With these bits cleared.
        meant: IpNet,
    },
    /// A default route.
    #[error("{0} would announce every address there is")]
    Everything(IpNet),
    /// The same thing again.
    #[error("{0} is there twice")]
    Twice(String),
    /// No address that others can reach.
    #[error("{0} cannot be a service address: it is unspecified, loopback or multicast")]
    NotAService(IpAddr),
    /// Nobody would be led to it.
    #[error("no prefix covers the service address {0}: queries to it would not come here")]
    Uncovered(IpAddr),
    /// It would draw queries to addresses where nobody listens.
    #[error("no service address is within {0}: announcing it would draw queries that nobody answers")]
    IdlePrefix(IpNet),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(
        interface: &str,
        table: u32,
        addresses: &[&str],
        prefixes: &[&str],
    ) -> Result<LeasePlan, PlanError> {
        LeasePlan::new(
            interface,
            table,
            addresses.iter().map(|text| text.parse().unwrap()).collect(),
            prefixes.iter().map(|text| text.parse().unwrap()).collect(),
        )
    }

    #[test]
    fn both_families() {
        let plan = plan(
            "starling0",
            5353,
            &["203.0.113.53", "2001:db8:53::53"],
            &["203.0.113.0/24", "2001:db8:53::/48"],
        )
        .unwrap();
        let v6: Vec<_> = plan.prefixes_of(Family::V6).collect();
        assert_eq!(v6, ["2001:db8:53::/48".parse().unwrap()]);
    }

    #[test]
    fn what_cannot_be_meant() {
        let address: &[&str] = &["203.0.113.53"];
        let prefix: &[&str] = &["203.0.113.0/24"];
        let cases = [
            (plan("", 5353, address, prefix), "15 octets"),
            (plan("a-name-too-long-", 5353, address, prefix), "15 octets"),
            (plan("s0", 254, address, prefix), "kernel's own"),
            (plan("s0", 5353, &[], prefix), "at least one"),
            (plan("s0", 5353, address, &["203.0.113.1/24"]), "203.0.113.0/24 is the prefix"),
            (plan("s0", 5353, address, &["0.0.0.0/0"]), "every address"),
            (plan("s0", 5353, address, &["203.0.113.0/24", "203.0.113.0/24"]), "twice"),
            (plan("s0", 5353, &["203.0.113.53", "203.0.113.53"], prefix), "twice"),
            (plan("s0", 5353, &["127.0.0.1"], &["127.0.0.0/8"]), "loopback"),
            (plan("s0", 5353, address, &["2001:db8:53::/48"]), "no prefix covers"),
            (plan("s0", 5353, &["203.0.113.53", "2001:db8::1"], prefix), "no prefix covers"),
            (plan("s0", 5353, address, &["203.0.113.0/24", "2001:db8::/48"]), "nobody answers"),
        ];
        for (result, part) in cases {
            let message = result.unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
