//! What is told about pools.

use super::{Latencies, PeerSight, SharingStatus};
use serde::{Deserialize, Serialize};

/// A pool in `ctl pools`.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct PoolStatus {
    /// Its name.
    pub(crate) name: String,
    /// The names that answer with it.
    pub(crate) names: Vec<String>,
    /// `failover`, `round-robin`, `weighted`, `hash` or `nearest`.
    pub(crate) kind: String,
    /// How many of what is selected an answer has, in words.
    pub(crate) portion: String,
    /// The TTL of its answers, in seconds.
    pub(crate) ttl: u32,
    /// For each address family that it has endpoints of, what is answered.
    pub(crate) families: Vec<FamilyStatus>,
    /// The addresses of its endpoints.
    pub(crate) addresses: Vec<AddressStatus>,
    /// What has changed, the newest first.
    pub(crate) transitions: Vec<PoolTransition>,
    /// Names that can't answer with it, and why.
    pub(crate) problems: Vec<String>,
    /// Whose view of its endpoints counts: `local`, `quorum` or `any-up`.
    #[serde(default)]
    pub(crate) view: String,
    /// What is the same on all nodes that check the same, in hexadecimal digits.
    #[serde(default)]
    pub(crate) check: String,
    /// How the peers are, where their view counts.
    #[serde(default)]
    pub(crate) sharing: Option<SharingStatus>,
}

/// What a pool answers for an address family.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct FamilyStatus {
    /// `IPv4` or `IPv6`.
    pub(crate) family: String,
    /// What the answer stands on: `good`, `panic`, or `all-down` and what is answered then.
    pub(crate) basis: String,
    /// The tier that answers, where its good endpoints do.
    pub(crate) tier: Option<u32>,
    /// The addresses that are answered, together or each in some answers.
    pub(crate) answers: Vec<String>,
    /// Since when, by RFC 3339.
    pub(crate) since: String,
    /// How often the answer has changed since the start.
    pub(crate) changes: u64,
    /// Which places get which of the addresses, where it depends on the place of a client.
    #[serde(default)]
    pub(crate) places: Vec<PlacesStatus>,
}

/// Places whose clients get the same.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct PlacesStatus {
    /// The narrowest word for each that an endpoint names; `elsewhere` for those without.
    pub(crate) places: Vec<String>,
    /// The addresses that they are answered with.
    pub(crate) answers: Vec<String>,
}

/// An address of an endpoint.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct AddressStatus {
    /// The endpoint's name.
    pub(crate) endpoint: String,
    /// The address.
    pub(crate) address: String,
    /// The endpoint's tier.
    pub(crate) tier: u32,
    /// What it counts as by checks, those of the nodes whose view counts: `up`, `down` or `unknown`.
    pub(crate) health: String,
    /// What an operator has said: `auto`, `up`, `down` or `drain`.
    pub(crate) admin: String,
    /// The endpoint's weight in a weighted pool.
    pub(crate) weight: Option<u16>,
    /// Whether it is answered with.
    pub(crate) answers: bool,
    /// Of a million clients, each of which takes any address of its answer, so many take this one.
    pub(crate) share_ppm: u32,
    /// What the last look has found wrong.
    pub(crate) failure: Option<String>,
    /// When it was looked at last, by RFC 3339.
    #[serde(default)]
    pub(crate) looked: Option<String>,
    /// Why this node can't look at it, where it can't.
    #[serde(default)]
    pub(crate) unseen: Option<String>,
    /// The last thing that was wrong, though it may be good now.
    #[serde(default)]
    pub(crate) last_failure: Option<LastFailure>,
    /// How long the last look took, in microseconds.
    pub(crate) took_us: u64,
    /// How often it was looked at.
    pub(crate) runs: u64,
    /// How often that was bad.
    pub(crate) failures: u64,
    /// What the checks of this node have found.
    #[serde(default)]
    pub(crate) own: String,
    /// What the peers say that are heard and look at it.
    #[serde(default)]
    pub(crate) peers: Vec<PeerSight>,
}

/// What was wrong with an address of an endpoint.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct LastFailure {
    /// When, by RFC 3339.
    pub(crate) at: String,
    /// What, in words.
    pub(crate) what: String,
}

/// How long looks of a kind and a result have taken.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct CheckTimes {
    /// The kind of check.
    pub(crate) kind: String,
    /// `good` or `bad`.
    pub(crate) result: String,
    /// How many took how long.
    pub(crate) times: Latencies,
}

impl CheckTimes {
    /// None so far.
    pub(crate) fn new(kind: &str, is_good: bool) -> CheckTimes {
        let result = if is_good { "good" } else { "bad" }.to_owned();
        CheckTimes { kind: kind.to_owned(), result, times: Latencies::default() }
    }
}

/// A change of what a pool answers.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct PoolTransition {
    /// When, by RFC 3339.
    pub(crate) at: String,
    /// What, in words.
    pub(crate) what: String,
}
