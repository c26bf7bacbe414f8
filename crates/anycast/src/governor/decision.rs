//! What the governor says: the rung, and everything that speaks for and against it, for people too.

use health::{Action, Failing, Gravity, Moment};
use std::time::Duration;

use super::{HOUR, Then};
use crate::Rung;

/// Where the route is to be, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision {
    /// The rung that is wanted.
    pub rung: Rung,
    /// Since when it is wanted.
    pub since: Moment,
    /// Whether peers may count on this node: on `up`, and nothing is against it.
    pub healthy: bool,
    /// What speaks against `up`, the weightiest first.
    pub reasons: Vec<Reason>,
    /// What would have to change for a better rung.
    pub blocked: Vec<Block>,
    /// When to ask again at the latest, if nothing happens before.
    pub next: Option<Moment>,
    /// Whether a shutdown has come to its end.
    pub finished: bool,
    /// The change that this decision made.
    pub transition: Option<Transition>,
}

/// A change of the wanted rung.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transition {
    /// When.
    pub at: Moment,
    /// The rung before.
    pub from: Rung,
    /// The rung now.
    pub to: Rung,
    /// What made it.
    pub by: Cause,
    /// All reasons there were, for people.
    pub why: String,
}

/// What makes the rung change.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Cause {
    /// A reason that nothing delays.
    Hard,
    /// A reason that the last site may ignore.
    Soft,
    /// Nothing is against the better rung any more.
    Recovery,
    /// A soft reason is ignored, because too few peers announce healthily.
    LastSite,
    /// A command. It counts for neither the limit nor the hold-down.
    Operator,
}

impl Cause {
    /// The word that the history and metrics use.
    pub fn word(self) -> &'static str {
        match self {
            Cause::Hard => "hard",
            Cause::Soft => "soft",
            Cause::Recovery => "recovery",
            Cause::LastSite => "last-site",
            Cause::Operator => "operator",
        }
    }
}

/// Something that speaks against the best rung.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reason {
    /// The server has never been ready.
    NotReady,
    /// The server is gone, or might as well be.
    ServerLost {
        /// Since when.
        since: Moment,
        /// How it was found out.
        what: String,
    },
    /// A check fails.
    Check(Failing),
    /// A drain was ordered.
    Drain {
        /// Until when; until `undrain` if not said.
        until: Option<Moment>,
        /// What comes then.
        then: Then,
    },
    /// A drain has ended with a withdrawal.
    Drained,
    /// Maintenance is on.
    Maintenance,
    /// The node is being shut down.
    Shutdown,
    /// A soft reason to withdraw waits before it looks at the peers.
    Waits {
        /// Until when.
        until: Moment,
    },
    /// A soft reason to withdraw is not carried out: too few peers announce healthily.
    LastSite {
        /// So many do.
        healthy: u32,
        /// So many would have to.
        needed: u32,
    },
}

impl Reason {
    /// The rung that it asks for, and whether at once; what only explains asks for none.
    pub(super) fn weight(&self) -> (Option<Rung>, bool) {
        match self {
            Reason::NotReady | Reason::ServerLost { .. } => (Some(Rung::Down), true),
            Reason::Check(failing) => (rung_of(failing.action), failing.gravity == Gravity::Hard),
            Reason::Drain { .. } => (Some(Rung::Draining), false),
            Reason::Drained | Reason::Maintenance | Reason::Shutdown => (Some(Rung::Down), false),
            Reason::Waits { .. } | Reason::LastSite { .. } => (None, false),
        }
    }

    /// For people, as it is at a moment.
    pub fn text(&self, now: Moment) -> String {
        match self {
            Reason::NotReady => "the server has not been ready yet".to_owned(),
            Reason::ServerLost { since, what } => {
                let lost = now.since(*since);
                if lost.is_zero() { what.clone() } else { format!("{what}, {} ago", span(lost)) }
            }
            Reason::Check(failing) => {
                let gravity = match failing.gravity {
                    Gravity::Soft => "soft",
                    Gravity::Hard => "hard",
                };
                let action = match failing.action {
                    Action::Report => "report",
                    Action::Degrade => "degrade",
                    Action::Withdraw => "withdraw",
                };
                let age = span(now.since(failing.since));
                format!("check {} has failed for {age} ({gravity}, {action}): {}", failing.check, failing.saw)
            }
            Reason::Drain { until, then } => drain_text(now, *until, *then),
            Reason::Drained => "withdrawn by a drain that has ended, until `undrain`".to_owned(),
            Reason::Maintenance => "maintenance is on".to_owned(),
            Reason::Shutdown => "the node is being shut down".to_owned(),
            Reason::Waits { until } => {
                format!("before it withdraws, the peers are looked at in {}", span(until.since(now)))
            }
            Reason::LastSite { healthy, needed } => {
                format!(
                    "not withdrawn for soft reasons: {healthy} peers announce healthily, {needed} have to"
                )
            }
        }
    }
}

/// Something that keeps the route from a better rung.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Block {
    /// The server has to become ready.
    NotReady,
    /// These checks have not come to a result; none are named before the first word of them.
    Unknown(Vec<String>),
    /// A check fails.
    Check {
        /// Its name.
        name: String,
        /// Since when.
        since: Moment,
    },
    /// Nothing is against the rung, and that has to stay so.
    Stable {
        /// The better rung.
        rung: Rung,
        /// Until when.
        until: Moment,
    },
    /// A flap is being paid for.
    HoldDown {
        /// Until when.
        until: Moment,
    },
    /// There were too many transitions in the last hour.
    Limit {
        /// When there is room again.
        until: Moment,
        /// How many may be.
        max: u32,
    },
    /// A drain was ordered.
    Drain {
        /// Until when; until `undrain` if not said.
        until: Option<Moment>,
        /// What comes then.
        then: Then,
    },
    /// A drain has ended with a withdrawal.
    Drained,
    /// Maintenance is on.
    Maintenance,
    /// The node is being shut down.
    Shutdown,
}

impl Block {
    /// For people, as it is at a moment.
    pub fn text(&self, now: Moment) -> String {
        match self {
            Block::NotReady => "the server has to become ready".to_owned(),
            Block::Unknown(checks) if checks.is_empty() => "no check has run yet".to_owned(),
            Block::Unknown(checks) => format!("no result yet from check {}", checks.join(", ")),
            Block::Check { name, since } => {
                format!("check {name} has to pass; it has failed for {}", span(now.since(*since)))
            }
            Block::Stable { rung, until } => {
                format!(
                    "what is good enough for {rung} has to stay so for another {}",
                    span(until.since(now))
                )
            }
            Block::HoldDown { until } => {
                format!("held down after a flap for another {}", span(until.since(now)))
            }
            Block::Limit { until, max } => format!(
                "{max} transitions in {} are allowed; there is room again in {}",
                span(HOUR),
                span(until.since(now))
            ),
            Block::Drain { until, then } => drain_text(now, *until, *then),
            Block::Drained => "withdrawn by a drain that has ended, until `undrain`".to_owned(),
            Block::Maintenance => "maintenance is on, until `maintenance off`".to_owned(),
            Block::Shutdown => "the node is being shut down".to_owned(),
        }
    }
}

/// The rung that a failing check asks for.
pub(super) fn rung_of(action: Action) -> Option<Rung> {
    match action {
        Action::Report => None,
        Action::Degrade => Some(Rung::Degraded),
        Action::Withdraw => Some(Rung::Down),
    }
}

fn drain_text(now: Moment, until: Option<Moment>, then: Then) -> String {
    let Some(until) = until else {
        return "drained by command, until `undrain`".to_owned();
    };
    let then = match then {
        Then::Down => "withdrawn",
        Then::Up => "as health allows",
    };
    format!("drained by command for another {}, then {then}", span(until.since(now)))
}

/// A span of time for people: two units at most.
fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..10 => format!("{:.1} s", time.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_well() {
        let spans = [(250, "250 ms"), (1_240, "1.2 s"), (59_900, "59 s"), (61_000, "1 min 1 s")];
        for (ms, text) in spans.into_iter().chain([(3_600_000, "1 h 0 min"), (90_000_000, "25 h 0 min")]) {
            assert_eq!(span(Duration::from_millis(ms)), text);
        }
    }

    #[test]
    fn texts_say_what_and_until_when() {
        let at = |seconds| Moment(Duration::from_secs(seconds));
        let check = Reason::Check(Failing {
            check: "disk".to_owned(),
            action: Action::Degrade,
            gravity: Gravity::Soft,
            since: at(10),
            saw: "3 % free".to_owned(),
        });
        assert_eq!(check.text(at(85)), "check disk has failed for 1 min 15 s (soft, degrade): 3 % free");
        let drain = Block::Drain { until: Some(at(100)), then: Then::Up };
        assert_eq!(drain.text(at(85)), "drained by command for another 15 s, then as health allows");
        let stable = Block::Stable { rung: Rung::Up, until: at(90) };
        assert_eq!(stable.text(at(85)), "what is good enough for up has to stay so for another 5.0 s");
    }
}
