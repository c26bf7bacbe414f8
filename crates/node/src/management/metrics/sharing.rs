//! Nodes that share what the checks of their pools see.

use super::Families;
use crate::status::{SharingPeer, SharingStatus};
use std::fmt;

/// Who is heard.
pub(super) fn encode(sharing: &SharingStatus, families: &mut Families<'_>) -> fmt::Result {
    let help =
        "Whether no peer says what its pool checks see, so that pools go by what this node sees itself.";
    families.gauge("starling_pool_isolated", help, [([], u64::from(sharing.isolated))])?;
    let help =
        "Questions at the management address for what pool checks see that were not signed with our key.";
    families.counter("starling_pool_sharing_refused", help, [([], sharing.refused)])?;
    let all = || sharing.peers.iter().map(|peer: &SharingPeer| (("peer", peer.name.as_str()), peer));
    let heard = all().map(|(name, peer)| ([name], u64::from(peer.heard)));
    families.gauge(
        "starling_pool_peer_heard",
        "Whether what the peer's pool checks see counts here.",
        heard,
    )?;
    let ages = all().filter_map(|(name, peer)| Some(([name], peer.answered_ms_ago? as f64 / 1e3)));
    let help = "How long ago the peer was asked what it has answered last of its pool checks.";
    families.gauge("starling_pool_peer_answer_age_seconds", help, ages)
}
