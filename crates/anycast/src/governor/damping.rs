//! What keeps a flapping node from flapping its route: hold-downs that double, and a limit by the hour.

use health::Moment;
use std::collections::VecDeque;
use std::time::Duration;

use super::Policy;
use crate::Rung;

/// What the limit is counted over.
pub const HOUR: Duration = Duration::from_secs(3600);

/// How long the route may not get better.
///
/// A *flap* is the first step down after any step up. The first one holds the route down for `hold_down`, each further
/// one for twice as long as the one before, up to `hold_down_max`; a quarter more or less at random, so that nodes that
/// fell together do not come back together. Further steps down before the next one up are the same flap and count the
/// same time anew. Flaps are forgotten by time on `up`: for each `hold_down_max` that the route stayed there in one piece
/// before it fell, the next hold-down is halved once.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Damping {
    /// How often the hold-down has doubled.
    pub(super) level: u32,
    /// Whether the route got better since it last got worse.
    pub(super) risen: bool,
    /// The hold-down of the present flap, without jitter.
    pub(super) hold: Duration,
    /// Until when the route gets no better.
    pub(super) until: Option<Moment>,
}

impl Damping {
    /// The route got worse by itself, after it was on `from` since a moment.
    pub(super) fn fell(
        &mut self,
        now: Moment,
        from: (Rung, Moment),
        policy: &Policy,
        rng: &mut fastrand::Rng,
    ) {
        if self.risen {
            let (rung, since) = from;
            if rung == Rung::Up {
                let halvings = now.since(since).as_nanos() / policy.hold_down_max.as_nanos().max(1);
                self.level = self.level.saturating_sub(u32::try_from(halvings).unwrap_or(u32::MAX));
            }
            let doubled = policy.hold_down.saturating_mul(1_u32.checked_shl(self.level).unwrap_or(u32::MAX));
            self.hold = doubled.min(policy.hold_down_max);
            // At the longest hold-down the level stays: it would only take longer to forget.
            if doubled < policy.hold_down_max {
                self.level += 1;
            }
            self.risen = false;
        }
        self.until = Some(now + self.hold.mul_f64(0.75 + 0.5 * rng.f64()));
    }

    /// The route got better, for whatever reason.
    pub(super) fn rose(&mut self) {
        self.risen = true;
    }

    /// Until when the route gets no better, if that is yet to come.
    pub(super) fn holds(&self, now: Moment) -> Option<Moment> {
        self.until.filter(|until| now < *until)
    }
}

/// The transitions of the last hour, those by command left out.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Budget {
    pub(super) spent: VecDeque<Moment>,
}

impl Budget {
    /// How many transitions may come on a rung whatever the limit says: hard reasons act at once, on `up` the one to
    /// `degraded` and the one to `down`. Whoever gets there must leave as many.
    pub(super) fn reserve(rung: Rung) -> usize {
        match rung {
            Rung::Up => 2,
            Rung::Degraded | Rung::Draining => 1,
            Rung::Down => 0,
        }
    }

    /// How many transitions of the last hour count.
    pub(super) fn used(&self, now: Moment) -> usize {
        self.spent.iter().filter(|at| now.since(**at) < HOUR).count()
    }

    /// Counts one.
    pub(super) fn spend(&mut self, now: Moment) {
        while self.spent.front().is_some_and(|at| now.since(*at) >= HOUR) {
            self.spent.pop_front();
        }
        self.spent.push_back(now);
    }

    /// When there will be room for so many more; now or earlier if there is.
    pub(super) fn room_at(&self, now: Moment, wanted: usize, max: usize) -> Moment {
        let used = self.used(now);
        let excess = (used + wanted).saturating_sub(max);
        if excess == 0 {
            return now;
        }
        let first = self.spent.len() - used;
        // A policy has room for the most that can be wanted, so the excess is at most what was used.
        self.spent.get(first + excess - 1).map_or(now, |at| *at + HOUR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    /// Falls at a time from `up` since another; gives the hold-down without jitter, in seconds.
    fn flap(damping: &mut Damping, since: u64, now: u64) -> u64 {
        let mut rng = fastrand::Rng::with_seed(now);
        damping.rose();
        damping.fell(at(now), (Rung::Up, at(since)), &Policy::default(), &mut rng);
        let until = damping.holds(at(now)).unwrap().since(at(now));
        assert!(until >= damping.hold.mul_f64(0.75) && until <= damping.hold.mul_f64(1.25));
        damping.hold.as_secs()
    }

    #[test]
    fn hold_downs_double_and_are_forgotten() {
        let mut damping = Damping::default();
        let holds: Vec<_> = (0..9).map(|flaps| flap(&mut damping, 100 * flaps, 100 * flaps + 1)).collect();
        assert_eq!(holds, [10, 20, 40, 80, 160, 320, 600, 600, 600]);
        assert_eq!(flap(&mut damping, 1000, 1000 + 599), 600);
        assert_eq!(flap(&mut damping, 2000, 2000 + 600), 320);
        assert_eq!(flap(&mut damping, 3000, 3000 + 601), 320);
        assert_eq!(flap(&mut damping, 10_000, 20_000), 10);
    }

    #[test]
    fn one_descent_is_one_flap() {
        let mut damping = Damping::default();
        let mut rng = fastrand::Rng::with_seed(1);
        flap(&mut damping, 0, 1);
        damping.fell(at(100), (Rung::Degraded, at(1)), &Policy::default(), &mut rng);
        assert_eq!((damping.level, damping.hold.as_secs()), (1, 10));
        assert!(damping.holds(at(107)).is_some() && damping.holds(at(113)).is_none());
    }

    #[test]
    fn the_hour_slides() {
        let mut budget = Budget::default();
        for second in [0, 10, 20] {
            budget.spend(at(second));
        }
        assert_eq!((budget.used(at(3599)), budget.used(at(3600)), budget.used(at(3610))), (3, 2, 1));
        assert_eq!(budget.room_at(at(30), 1, 4), at(30));
        assert_eq!(budget.room_at(at(30), 2, 4), at(3600));
        assert_eq!(budget.room_at(at(30), 3, 4), at(3610));
        assert_eq!(budget.room_at(at(3605), 3, 4), at(3610));
    }
}
