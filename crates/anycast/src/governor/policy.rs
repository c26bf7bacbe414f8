//! What an operator may set of the governor.

use std::time::Duration;

/// The fewest transitions an hour that a limit can allow: one up, and after it, whatever happens, one to `degraded` and
/// one to `down`, which no limit may delay.
pub const TRANSITIONS_MIN: u32 = 3;
/// The most transitions an hour that a limit can allow. A limit above one in four seconds is none, and each that counts
/// takes memory.
pub const TRANSITIONS_MAX: u32 = 1000;
/// The longest time that any setting can ask for; more is a slip of the pen.
pub const TIME_MAX: Duration = Duration::from_secs(86_400);

/// How the governor decides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// How long there must be nothing against a better rung before the route gets there.
    pub stable: Duration,
    /// How long the route stays as the last choice before it goes by command.
    pub drain: Duration,
    /// How long the node answers after the route has gone, before it ends.
    pub grace: Duration,
    /// How long after the first flap the route gets no better; doubled by each further one.
    pub hold_down: Duration,
    /// The longest hold-down, and the time on `up` that halves the next one. Jitter of a quarter comes on top.
    pub hold_down_max: Duration,
    /// Most transitions in any hour that were not ordered.
    pub transitions_per_hour_max: u32,
    /// What holds for the last site; none where no peers are configured.
    pub last_site: Option<LastSite>,
}

/// When a node counts as the last site.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LastSite {
    /// With fewer peers than this announcing healthily, a soft reason doesn't withdraw.
    pub peers_min: u32,
    /// How old the peers' state may be: their period of being read and the deadline for it together, with some room.
    /// What is older counts as no peer at all.
    pub peers_age_max: Duration,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            stable: Duration::from_secs(10),
            drain: Duration::from_secs(30),
            grace: Duration::from_secs(10),
            hold_down: Duration::from_secs(10),
            hold_down_max: Duration::from_secs(600),
            transitions_per_hour_max: 20,
            last_site: None,
        }
    }
}

/// Why a policy cannot be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PolicyError {
    /// A time is nothing.
    #[error("{0} has to be more than nothing")]
    Zero(&'static str),
    /// A time is too long.
    #[error("{0} has to be at most {TIME_MAX:?}")]
    TooLong(&'static str),
    /// The longest hold-down is shorter than the first.
    #[error("hold-down-max has to be at least hold-down")]
    HoldDown,
    /// The limit leaves no room for what it must never delay, or is none.
    #[error(
        "transitions-per-hour-max has to be between {TRANSITIONS_MIN} (one up, one to degraded, one to down) and \
         {TRANSITIONS_MAX}"
    )]
    Transitions,
    /// A guard that guards nothing.
    #[error("peers-min has to be at least 1; a node without peers configured has no last-site guard")]
    Peers,
}

impl Policy {
    /// Whether there can be such a policy, and why not.
    pub fn validate(&self) -> Result<(), PolicyError> {
        let age = self.last_site.map(|site| ("the greatest age of the peers' state", site.peers_age_max));
        let positive = [("stable", self.stable), ("hold-down", self.hold_down)];
        let others = [("drain", self.drain), ("grace", self.grace), ("hold-down-max", self.hold_down_max)];
        if let Some((name, _)) = positive.iter().chain(&age).find(|(_, time)| time.is_zero()) {
            return Err(PolicyError::Zero(name));
        }
        let all = positive.iter().chain(&others).chain(&age);
        if let Some((name, _)) = all.into_iter().find(|(_, time)| *time > TIME_MAX) {
            return Err(PolicyError::TooLong(name));
        }
        if self.hold_down_max < self.hold_down {
            return Err(PolicyError::HoldDown);
        }
        if !(TRANSITIONS_MIN..=TRANSITIONS_MAX).contains(&self.transitions_per_hour_max) {
            return Err(PolicyError::Transitions);
        }
        if self.last_site.is_some_and(|site| site.peers_min == 0) {
            return Err(PolicyError::Peers);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_refused() {
        let refused = |change: fn(&mut Policy)| {
            let mut policy = Policy::default();
            change(&mut policy);
            policy.validate().unwrap_err()
        };
        let site =
            |peers_min, seconds| Some(LastSite { peers_min, peers_age_max: Duration::from_secs(seconds) });
        assert_eq!(Policy::default().validate(), Ok(()));
        assert_eq!(Policy { last_site: site(1, 2), ..Policy::default() }.validate(), Ok(()));
        assert_eq!(refused(|policy| policy.stable = Duration::ZERO), PolicyError::Zero("stable"));
        assert_eq!(refused(|policy| policy.drain = TIME_MAX * 2), PolicyError::TooLong("drain"));
        assert_eq!(refused(|policy| policy.hold_down_max = Duration::from_secs(1)), PolicyError::HoldDown);
        assert_eq!(refused(|policy| policy.transitions_per_hour_max = 2), PolicyError::Transitions);
        let none = Policy { last_site: site(0, 2), ..Policy::default() };
        assert_eq!(none.validate(), Err(PolicyError::Peers));
        let ageless = Policy { last_site: site(1, 0), ..Policy::default() };
        assert!(matches!(ageless.validate(), Err(PolicyError::Zero(_))));
    }
}
