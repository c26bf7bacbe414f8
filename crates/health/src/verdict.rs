//! What checks come to: the words that checks and whoever acts on them share.

use std::time::Duration;

/// A point in time: how long after the process began to count. Monotonic; made by the caller, so that tests have a
/// clock of their own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Moment(pub Duration);

impl Moment {
    /// How long after an earlier moment; nothing if it was not earlier.
    pub fn since(self, earlier: Moment) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, later: Duration) -> Moment {
        Moment(self.0.saturating_add(later))
    }
}

/// What a failing check does to the route.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Action {
    /// Nothing: it is shown and counted.
    Report,
    /// The route gets worse than that of a healthy node.
    Degrade,
    /// The route goes away.
    Withdraw,
}

/// Whether answers are wrong or missing, or only worse than they could be.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Gravity {
    /// Degraded, stale, overloaded: better than no answer at all.
    Soft,
    /// Dead, frozen, wrong: worse than no route.
    Hard,
}

/// The result of one run of a check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// As it should be.
    Pass,
    /// Not so; what was seen, for people.
    Fail(String),
    /// Nothing came, from a node that has more to do than it can: it fails, but with no more weight than overload has.
    /// Those who take over get the load on top of their own, so it degrades at most, and is soft.
    Overloaded(String),
}

/// A check that has failed often enough to count.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failing {
    /// The check's name.
    pub check: String,
    /// What it does to the route.
    pub action: Action,
    /// Whether the last site may ignore it.
    pub gravity: Gravity,
    /// Since when it counts as failing.
    pub since: Moment,
    /// What was seen last.
    pub saw: String,
}

/// What all checks come to.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Verdict {
    /// The failing checks.
    pub failing: Vec<Failing>,
    /// Checks that would act on the route and have not yet come to a result: with one of these nothing is announced.
    pub unknown: Vec<String>,
}
