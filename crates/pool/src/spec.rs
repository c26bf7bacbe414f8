//! What a pool is, before anything is known of its endpoints.

use crate::Tuning;
use std::time::Duration;

/// The most endpoints of a pool: more than a response can carry.
pub const MEMBERS_MAX: usize = 256;
/// The most tiers of a pool, counted from 1.
pub const TIERS_MAX: u32 = 16;

/// A pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spec {
    /// How it selects.
    pub kind: Kind,
    /// How many endpoints an answer has at most, 1 or more; `None` for all that are selected. Only failover and round-robin pools
    /// can have it.
    pub answers_max: Option<usize>,
    /// What it answers with when no endpoint is good.
    pub all_down: AllDown,
    /// When less than this share of the endpoints is good, in percent, checks are taken to be wrong and all endpoints to be good; 0
    /// for never.
    pub panic_percent: u8,
}

/// How a pool selects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// All good endpoints of the first tier that has enough of them.
    Failover {
        /// How many are enough, 1 or more. A tier that has fewer endpoints needs all of them.
        enough: usize,
        /// When a better tier takes over again.
        fail_back: FailBack,
    },
    /// All good endpoints.
    RoundRobin,
    /// All good endpoints, by weight.
    Weighted {
        /// How many of them one answer has.
        portion: Portion,
    },
    /// All good endpoints, by weights that follow their loads.
    LeastLoad {
        /// How many of them one answer has.
        portion: Portion,
        /// How weights follow.
        tuning: Tuning,
    },
    /// All good endpoints, one for each network of clients.
    Hash,
    /// All good endpoints, for each place of clients those that are nearest.
    Nearest,
}

/// How many endpoints an answer of a weighted or least-load pool has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Portion {
    /// One, in proportion to the weights.
    One,
    /// Each as often as its weight is of the largest, and so at least one.
    Set,
}

/// When a better tier takes over again after a worse one has answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailBack {
    /// When it has been good for so long without a break.
    After(Duration),
    /// When an operator says so.
    ByHand,
}

/// What is answered when no endpoint is good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AllDown {
    /// All that an operator has not put down.
    All,
    /// Those that were good last; all of them where there were none.
    LastGood,
    /// Others, which nobody checks.
    Fallback,
    /// What the zone itself has at the name.
    Zone,
    /// That there are none: no data of the type.
    Empty,
    /// That it can't be said: a failure of the server, so that resolvers ask another one, or again.
    Servfail,
}

/// An endpoint of a pool, as far as selecting goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its tier, from 1.
    pub tier: u32,
    /// Its weight, where the pool has weights. With 0 it is answered with only where nothing else is left.
    pub weight: u16,
    /// Who it is, by [`Member::identity_of`], whatever its place among others.
    pub identity: u64,
}

impl Member {
    /// The identity of an endpoint with this name, the same on every node (FNV-1a).
    pub fn identity_of(name: &str) -> u64 {
        let step = |hash: u64, octet: u8| (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3);
        name.bytes().fold(0xcbf2_9ce4_8422_2325, step)
    }
}

/// Why there can be no such pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpecError {
    /// It has none, or more than [`MEMBERS_MAX`].
    Members,
    /// A tier is 0 or over [`TIERS_MAX`].
    Tier,
    /// A pool that is no failover has several tiers.
    Tiers,
    /// No endpoint would be enough, and so nothing.
    Enough,
    /// An answer would have no endpoint, or the pool has its own rule for how many.
    AnswersMax,
    /// No endpoint has a weight, and so nothing a share.
    Weights,
    /// The share is over 100 percent.
    Panic,
    /// Weights would follow loads all the time, not at all, or down to nothing.
    Tuning,
}

impl std::fmt::Display for SpecError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SpecError::Members => write!(f, "a pool has 1 to {MEMBERS_MAX} endpoints"),
            SpecError::Tier => write!(f, "a tier is a number from 1 to {TIERS_MAX}"),
            SpecError::Tiers => write!(f, "only a failover pool has tiers"),
            SpecError::Enough => write!(f, "at least 1 endpoint is enough"),
            SpecError::AnswersMax => {
                write!(f, "an answer of a failover or round-robin pool has at most 1 or more endpoints")
            }
            SpecError::Weights => write!(f, "some endpoint of each address family has a weight over 0"),
            SpecError::Panic => write!(f, "a share is 0 to 100 percent"),
            SpecError::Tuning => {
                write!(
                    f,
                    "weights follow loads in a period, by steps of 1 to 50 percent, to 1 to 100 percent of them"
                )
            }
        }
    }
}

impl std::error::Error for SpecError {}

impl Spec {
    /// Whether there can be such a pool with these endpoints.
    ///
    /// # Errors
    /// Why not.
    pub fn validate(&self, members: &[Member]) -> Result<(), SpecError> {
        if members.is_empty() || members.len() > MEMBERS_MAX {
            return Err(SpecError::Members);
        }
        if members.iter().any(|member| !(1..=TIERS_MAX).contains(&member.tier)) {
            return Err(SpecError::Tier);
        }
        match self.kind {
            Kind::Failover { enough: 0, .. } => return Err(SpecError::Enough),
            Kind::Failover { .. } => {}
            Kind::RoundRobin
            | Kind::Weighted { .. }
            | Kind::LeastLoad { .. }
            | Kind::Hash
            | Kind::Nearest
                if members.iter().any(|member| member.tier != members[0].tier) =>
            {
                return Err(SpecError::Tiers);
            }
            Kind::RoundRobin
            | Kind::Weighted { .. }
            | Kind::LeastLoad { .. }
            | Kind::Hash
            | Kind::Nearest => {}
        }
        let has_weights = matches!(self.kind, Kind::Weighted { .. } | Kind::LeastLoad { .. });
        if has_weights && members.iter().all(|member| member.weight == 0) {
            return Err(SpecError::Weights);
        }
        if matches!(self.kind, Kind::LeastLoad { tuning, .. } if !tuning.is_sound()) {
            return Err(SpecError::Tuning);
        }
        let has_own_rule = has_weights || matches!(self.kind, Kind::Hash | Kind::Nearest);
        if self.answers_max.is_some_and(|max| max == 0 || has_own_rule) {
            return Err(SpecError::AnswersMax);
        }
        if self.panic_percent > 100 { Err(SpecError::Panic) } else { Ok(()) }
    }
}
