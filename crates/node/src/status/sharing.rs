//! What is told about nodes that share what the checks of their pools see.

use serde::{Deserialize, Serialize};

/// How the peers are.
#[derive(Serialize, Deserialize, Clone, Default, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct SharingStatus {
    /// Whether no peer is heard, so that pools go by what this node sees itself.
    pub(crate) isolated: bool,
    /// How often somebody has asked without our key.
    pub(crate) refused: u64,
    /// The peers, in the order of the configuration.
    pub(crate) peers: Vec<SharingPeer>,
}

/// A peer.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct SharingPeer {
    /// Its name.
    pub(crate) name: String,
    /// Its management address.
    pub(crate) address: String,
    /// Whether what it says counts.
    pub(crate) heard: bool,
    /// How long ago it was asked what it has answered last.
    pub(crate) answered_ms_ago: Option<u64>,
    /// Why it does not count, or why the last question had no good answer.
    pub(crate) trouble: Option<String>,
}

/// What a peer says of an address.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct PeerSight {
    /// Which peer.
    pub(crate) peer: String,
    /// What its checks have found: `up`, `down` or `unknown`.
    pub(crate) health: String,
    /// For how long it has been so, in milliseconds.
    pub(crate) for_ms: u64,
    /// How long ago it has looked, in milliseconds.
    pub(crate) looked_ms_ago: Option<u64>,
}
