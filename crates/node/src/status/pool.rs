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
    /// `failover`, `round-robin`, `weighted`, `least-load`, `hash` or `nearest`; `refused` where there can be none as its records say.
    pub(crate) kind: String,
    /// How many of what is selected an answer has, in words.
    pub(crate) portion: String,
    /// The TTL of its answers, in seconds.
    pub(crate) ttl: u32,
    /// For each address family that it has endpoints of, or for its targets, what is answered.
    pub(crate) families: Vec<FamilyStatus>,
    /// The addresses of its endpoints.
    pub(crate) addresses: Vec<AddressStatus>,
    /// What has changed, the newest first.
    pub(crate) transitions: Vec<PoolTransition>,
    /// Names that can't answer with it, and why; and what is wrong with its records.
    pub(crate) problems: Vec<String>,
    /// The zone whose records say what it is, for one that is not of the configuration.
    #[serde(default)]
    pub(crate) zone: Option<String>,
    /// Whose view of its endpoints counts: `local`, `quorum` or `any-up`.
    #[serde(default)]
    pub(crate) view: String,
    /// What is the same on all nodes that check the same, in hexadecimal digits.
    #[serde(default)]
    pub(crate) check: String,
    /// How the peers are, where their view counts.
    #[serde(default)]
    pub(crate) sharing: Option<SharingStatus>,
    /// How long looks at its endpoints have taken, good and bad ones.
    #[serde(default)]
    pub(crate) times: Latencies,
}

/// How a problem begins with what the records say now of a pool that stays as it was.
pub(crate) const OF_RECORDS: &str = "its records: ";
/// The kind of a pool that can't be.
pub(crate) const REFUSED: &str = "refused";

impl PoolStatus {
    /// One that is in the records of a zone, and can't be.
    pub(crate) fn refused(pool: RefusedPool) -> PoolStatus {
        let RefusedPool { name, zone, problems } = pool;
        PoolStatus {
            name,
            names: Vec::new(),
            kind: REFUSED.to_owned(),
            portion: String::new(),
            ttl: 0,
            families: Vec::new(),
            addresses: Vec::new(),
            transitions: Vec::new(),
            problems,
            zone: Some(zone),
            view: String::new(),
            check: String::new(),
            sharing: None,
            times: Latencies::default(),
        }
    }

    /// Whether it is one of these.
    pub(crate) fn is_refused(&self) -> bool {
        self.kind == REFUSED
    }
}

/// A pool in the records of a zone that can't be; if there was a good one before, that goes on.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct RefusedPool {
    /// Its name.
    pub(crate) name: String,
    /// The zone.
    pub(crate) zone: String,
    /// What is wrong, and what to do.
    pub(crate) problems: Vec<String>,
}

/// What a pool answers for an address family.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct FamilyStatus {
    /// `IPv4` or `IPv6`, or `CNAME` where its names are aliases.
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
    /// The address, or the name that the pool's names are aliases of; of an endpoint that is another pool, `pool` and its name.
    pub(crate) address: String,
    /// Whether nothing is looked at for it: it is another pool, or there is no address to check.
    #[serde(default)]
    pub(crate) unchecked: bool,
    /// The endpoint's tier.
    pub(crate) tier: u32,
    /// What it counts as by checks, those of the nodes whose view counts: `up`, `down` or `unknown`.
    pub(crate) health: String,
    /// What an operator has said: `auto`, `up`, `down` or `drain`.
    pub(crate) admin: String,
    /// The endpoint's configured weight in a weighted or least-load pool.
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
    /// How much it has to do, in a least-load pool.
    #[serde(default)]
    pub(crate) load: Option<LoadStatus>,
    /// Answers over UDP that had it, by samples.
    #[serde(default)]
    pub(crate) given: u64,
}

/// How much an endpoint has to do, and what follows from it.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct LoadStatus {
    /// What is taken for it: `connect-time`, `response-time`, `body`, `header` or `agent`, where it is what is left.
    pub(crate) of: String,
    /// What stands after the number.
    pub(crate) unit: String,
    /// What was found last, in thousandths.
    pub(crate) last_milli: Option<u64>,
    /// The same, smoothed, which is what counts.
    pub(crate) smoothed_milli: Option<u64>,
    /// Whether it counts: it does not where it is too long ago.
    pub(crate) counts: bool,
    /// The weight now, in thousandths: the configured one, but for what loads have changed. None where it is not answered
    /// with.
    pub(crate) weight_milli: Option<u64>,
    /// Whether the endpoint itself wishes to be answered with only where nothing else is left.
    pub(crate) drained: bool,
    /// Why the last look has found none, if it has not.
    pub(crate) trouble: Option<String>,
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

/// What a query is answered, and why.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct LookedUp {
    /// The message.
    pub(crate) response: Vec<u8>,
    /// The rules that led to it, in the order in which they were applied.
    pub(crate) why: Vec<String>,
    /// The pools that names may answer with.
    pub(crate) pools: Vec<PoolStatus>,
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
