//! Transfers of zones to other nodes, as they are configured.

use super::sources::Sources;
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;
use transfer::tsig::Key;

/// The most secondaries of one list: more than a fleet has nodes; larger ones have prefixes in common.
pub(crate) const SECONDARIES_MAX: usize = 1024;

/// The most keys: one for each pair of nodes of the largest fleets. They are searched one by one.
pub(crate) const KEYS_MAX: usize = 256;

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
    /// Where NOTIFY is sent from.
    pub(crate) notify_sources: Sources,
}

impl Default for TransferConfig {
    fn default() -> TransferConfig {
        TransferConfig { allow: Vec::new(), outgoing_max: OUTGOING_MAX, notify_sources: Sources::default() }
    }
}

/// Somebody who may transfer a zone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Secondary {
    /// Where it asks from; anywhere if there is a key and no address.
    pub(crate) from: Option<IpNet>,
    /// What it has to sign with.
    pub(crate) key: Option<Arc<Key>>,
    /// Whether it has to ask over TLS.
    pub(crate) by_tls: bool,
}

/// Who asks for a transfer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker<'k> {
    /// Where it asks from.
    pub(crate) address: IpAddr,
    /// What it has signed with.
    pub(crate) key: Option<&'k Arc<Key>>,
    /// Whether it asks over TLS.
    pub(crate) by_tls: bool,
}

impl Secondary {
    /// Whether this is the secondary.
    pub(crate) fn is(&self, asker: Asker<'_>) -> bool {
        let is_from = self.from.is_none_or(|from| from.contains(&asker.address.to_canonical()));
        is_from && (self.key.is_none() || self.key.as_ref() == asker.key) && (asker.by_tls || !self.by_tls)
    }
}
