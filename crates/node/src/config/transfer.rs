//! Transfers of zones to other nodes, as they are configured.

use ipnet::IpNet;
use std::net::IpAddr;

/// The most secondaries of one list: more than a fleet has nodes; larger ones have prefixes in common.
pub(crate) const SECONDARIES_MAX: usize = 1024;

/// How many transfers go out at a time where nothing else is said. Each takes some 60 KiB and its share of a TCP thread's
/// time; a fleet of as many nodes fetches a zone at once when it is notified. With fewer, those turned away come again
/// only after their retry interval; with many more, all of them get slower together.
const OUTGOING_MAX: usize = 100;

/// Transfers as a whole; a reload takes in changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TransferConfig {
    /// Who may transfer every zone.
    pub(crate) allow: Vec<Secondary>,
    /// How many transfers go out at a time.
    pub(crate) outgoing_max: usize,
}

impl Default for TransferConfig {
    fn default() -> TransferConfig {
        TransferConfig { allow: Vec::new(), outgoing_max: OUTGOING_MAX }
    }
}

/// Somebody who may transfer a zone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Secondary {
    /// Where it asks from.
    pub(crate) prefix: IpNet,
}

impl Secondary {
    /// Whether a request from this address is the secondary's.
    pub(crate) fn is(&self, address: IpAddr) -> bool {
        self.prefix.contains(&address.to_canonical())
    }
}
