//! What a pool is, before anything is known of its endpoints.

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
}

/// An endpoint of a pool, as far as selecting goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its tier, from 1.
    pub tier: u32,
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
    /// The share is over 100 percent.
    Panic,
}

impl std::fmt::Display for SpecError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SpecError::Members => write!(f, "a pool has 1 to {MEMBERS_MAX} endpoints"),
            SpecError::Tier => write!(f, "a tier is a number from 1 to {TIERS_MAX}"),
            SpecError::Tiers => write!(f, "only a failover pool has tiers"),
            SpecError::Enough => write!(f, "at least 1 endpoint is enough"),
            SpecError::Panic => write!(f, "a share is 0 to 100 percent"),
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
            Kind::RoundRobin if members.iter().any(|member| member.tier != members[0].tier) => {
                return Err(SpecError::Tiers);
            }
            Kind::RoundRobin => {}
        }
        if self.panic_percent > 100 { Err(SpecError::Panic) } else { Ok(()) }
    }
}
