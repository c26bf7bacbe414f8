//! What a governor gives to the one of the process that replaces it.

use health::Moment;
use std::time::Duration;

use super::damping::{Budget, Damping, HOUR};
use super::order::Order;
use super::{Governor, Mode, Policy, PolicyError, Server};
use crate::Rung;

/// The state of a governor for a process that takes the route over as it is. Times are spans before or after the
/// moment of the handing over, because moments of two processes don't compare.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Carried {
    /// What has been ordered.
    pub mode: Mode,
    /// The rung that is wanted.
    pub rung: Rung,
    /// What health alone has earned; it differs while an order or the limit holds.
    pub earned: Rung,
    /// For how long the rung has been wanted.
    pub on_rung: Duration,
    /// How long ago the transitions were that count for the limit, the oldest first.
    pub transitions: Vec<Duration>,
    /// How often the hold-down has doubled.
    pub doublings: u32,
    /// Whether the route got better since it last got worse.
    pub risen: bool,
    /// The hold-down of the last flap, without jitter.
    pub hold: Duration,
    /// How much of the hold-down is left.
    pub held: Duration,
}

impl Governor {
    /// What another process needs to go on from here. A shutdown is not carried: what replaces this process is why it ends.
    pub fn carried(&self) -> Carried {
        let ago = |at: Moment| self.now.since(at);
        Carried {
            mode: self.mode(),
            rung: self.rung,
            earned: self.earned,
            on_rung: ago(self.since),
            transitions: self.budget.spent.iter().copied().map(ago).filter(|age| *age < HOUR).collect(),
            doublings: self.damping.level,
            risen: self.damping.risen,
            hold: self.damping.hold,
            held: self.damping.until.map(|until| until.since(self.now)).unwrap_or_default(),
        }
    }

    /// Goes on from where another governor was. Its server counts as ready, since the route was taken over with it; what
    /// is to get better has to prove itself anew, as nothing is known of the checks.
    ///
    /// `now` must leave room for times past: a clock that began at least an hour ago, or one that was set so. Moments
    /// before the beginning of time are taken as its beginning, which only lets the limit count longer.
    pub fn resume(
        policy: Policy,
        carried: &Carried,
        seed: u64,
        now: Moment,
    ) -> Result<Governor, PolicyError> {
        let mut governor = Governor::new(policy, carried.mode, seed, now)?;
        let before = |age: Duration| Moment(now.0.saturating_sub(age));
        governor.server = Server::Ready;
        governor.rung = carried.rung;
        governor.since = before(carried.on_rung);
        governor.earned = match carried.earned {
            // Health earns no such thing; what is taken over is only ever doubted downwards.
            Rung::Draining => Rung::Down,
            earned => earned,
        };
        if governor.rung.is_announced() && carried.mode == Mode::Maintenance {
            // Its drain is still going on.
            governor.order = Order::Maintenance { down_at: governor.since + governor.policy.drain };
        }
        // A policy that allows less than was spent must still leave what the rung may need.
        let room = governor.transitions_max() - Budget::reserve(governor.rung);
        let surplus = carried.transitions.len().saturating_sub(room);
        governor.budget.spent.extend(carried.transitions.iter().skip(surplus).map(|age| before(*age)));
        governor.damping = Damping {
            level: carried.doublings,
            risen: carried.risen,
            hold: carried.hold,
            until: Some(now + carried.held),
        };
        Ok(governor)
    }
}
