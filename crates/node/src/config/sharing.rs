//! How nodes share what their pools' checks see.

use super::PeerConfig;
use std::sync::Arc;
use std::time::Duration;
use transfer::tsig::Key;

/// The most addresses that nodes share results of: what they say of them is then some 400 KiB at most, a second and
/// peer.
pub(crate) const SIGHTS_MAX: usize = 4096;
/// How often peers are asked where nothing is said, in milliseconds. A change is then known to the others within a
/// second, and a hundred peers cost a hundred small requests a second.
pub(crate) const INTERVAL_MS: u64 = 1000;
/// How long they may take to answer, in milliseconds: more than the way around the world and back twice, for SYN and
/// request.
pub(crate) const TIMEOUT_MS: u64 = 500;
/// After how many intervals without a good answer a peer counts no more. Two would be passed by a single answer that is
/// lost, and with each more a node trusts older news.
pub(crate) const SILENT_AFTER: u32 = 3;

/// How results are shared; a reload takes in changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SharingConfig {
    /// What nodes prove by that they belong together.
    pub(crate) key: Arc<Key>,
    /// How often each peer is asked.
    pub(crate) interval: Duration,
    /// How long it may take to answer, at most an interval.
    pub(crate) timeout: Duration,
    /// After how many intervals without a good answer a peer is silent; 2 or more.
    pub(crate) silent_after: u32,
    /// Who is asked.
    pub(crate) peers: Vec<PeerConfig>,
}

impl SharingConfig {
    /// How old the last good answer of a peer may be.
    pub(crate) fn fresh_for(&self) -> Duration {
        self.interval * self.silent_after
    }
}
