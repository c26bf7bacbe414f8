//! From the rung that is wanted to the routes in the kernel.
//!
//! The new routes are added before the old ones are removed, so a change of the rung leaves no gap, and both families go
//! together: if the second can't, the first is taken back. What fails is tried again after a while. Two things may not
//! wait for that: a withdrawal, and a family left alone. For them the whole lease is given up, which cannot fail.

use health::Moment;
use std::time::Duration;

use crate::{Family, Routes, Rung};

/// How long after the first failure a change is tried again; each further wait is twice as long. The kernel's reasons to
/// refuse a route that it took before (memory, a full buffer, an interface that just comes up) are over in milliseconds.
const RETRY_FIRST: Duration = Duration::from_millis(20);
/// The longest wait between two tries.
pub const RETRY_MAX: Duration = Duration::from_secs(1);
/// How long a withdrawal may fail before the lease is given up. With `RETRY_FIRST` it is tried three times in it, and
/// clients lose a tenth of a second at most.
pub const WITHDRAWAL_MAX: Duration = Duration::from_millis(100);
/// How often a withdrawal is tried before the lease is given up.
const WITHDRAWAL_TRIES: u32 = 3;
/// How many tries in a row may leave the families apart, or leave it open whether they are: the next one mends it, or
/// the lease is given up.
const APART_TRIES: u32 = 2;

const _: () = assert!(3 * RETRY_FIRST.as_millis() < WITHDRAWAL_MAX.as_millis(), "three tries fit");

const FAMILIES: usize = Family::ALL.len();
const RUNGS: usize = Rung::ALL.len() - 1;

/// What was tried.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Operation {
    /// To add routes.
    Add,
    /// To remove routes.
    Remove,
}

/// A change that was not made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trouble<E> {
    /// What was tried.
    pub operation: Operation,
    /// Of which family.
    pub family: Family,
    /// On which rung.
    pub rung: Rung,
    /// Why not.
    pub error: E,
}

/// How far the routes are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Progress<E> {
    /// The rung that the routes stand for: the best that may be there, of both families.
    pub held: Rung,
    /// Whether they are what is wanted.
    pub settled: bool,
    /// When to try again, if they are not.
    pub next: Option<Moment>,
    /// What went wrong in this try.
    pub troubles: Vec<Trouble<E>>,
    /// Whether the lease was given up in this try.
    pub let_go: bool,
}

/// Keeps the routes where they are wanted.
#[derive(Clone, Default, Debug)]
pub struct Actuator {
    wanted: Option<Rung>,
    settled: bool,
    tries: u32,
    apart_tries: u32,
    began: Moment,
    again: Moment,
    /// Routes by family and rung.
    there: [[There; RUNGS]; FAMILIES],
}

/// Whether a route is there.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum There {
    No,
    /// Nothing was tried yet, or what was tried failed: it has to be removed in any case, and added in any case.
    #[default]
    Maybe,
    Yes,
}

impl Actuator {
    /// An actuator that knows nothing of the routes there are: the first try removes what is not wanted, whoever left it.
    pub fn new() -> Actuator {
        Actuator::default()
    }

    /// Forgets what was known of the routes, because somebody else changed them or the interface went: all is done anew
    /// with the next try. A change under way that is forgotten so, or that another process takes over, begins anew too: its
    /// bounds hold from then on.
    pub fn doubt(&mut self) {
        *self = Actuator::new();
    }

    /// Does what there is to do now for the rung that is wanted. Call it with each decision, and at the moment it named.
    pub fn apply<R: Routes>(&mut self, now: Moment, wanted: Rung, routes: &mut R) -> Progress<R::Error> {
        if self.wanted != Some(wanted) {
            self.wanted = Some(wanted);
            (self.settled, self.tries) = (false, 0);
            (self.began, self.again) = (now, now);
        }
        let mut troubles = Vec::new();
        let mut let_go = false;
        if !self.settled && now >= self.again {
            if wanted.is_announced() {
                self.announce(wanted, routes, &mut troubles);
            } else {
                for rung in Rung::ALL {
                    self.remove(rung, routes, &mut troubles);
                }
            }
            self.tries = self.tries.saturating_add(1);
            self.apart_tries = if self.together() { 0 } else { self.apart_tries + 1 };
            self.settled = troubles.is_empty();
            let overdue = self.tries >= WITHDRAWAL_TRIES || now.since(self.began) >= WITHDRAWAL_MAX;
            let stuck = !wanted.is_announced() && !self.settled && overdue;
            if stuck || self.apart_tries >= APART_TRIES {
                routes.let_go();
                let_go = true;
                self.there = [[There::No; RUNGS]; FAMILIES];
                self.apart_tries = 0;
                self.settled = !wanted.is_announced();
            }
            self.again = now + self.wait();
        }
        let next = (!self.settled).then_some(self.again);
        Progress { held: self.held(), settled: self.settled, next, troubles, let_go }
    }

    /// The rung that the routes stand for: the best that may be there, of both families. Before the first try that is the
    /// best of all.
    pub fn held(&self) -> Rung {
        let may_be = |rung: &Rung| Family::ALL.iter().any(|family| *self.at(*family, *rung) != There::No);
        Rung::ALL.into_iter().filter(|rung| rung.is_announced()).find(may_be).unwrap_or(Rung::Down)
    }

    /// How long to wait after so many tries; families that may be apart don't wait their turn.
    fn wait(&self) -> Duration {
        if self.apart_tries > 0 {
            return RETRY_FIRST;
        }
        let doublings = self.tries.saturating_sub(1);
        RETRY_FIRST.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX)).min(RETRY_MAX)
    }

    fn announce<R: Routes>(&mut self, wanted: Rung, routes: &mut R, troubles: &mut Vec<Trouble<R::Error>>) {
        let before = Family::ALL.map(|family| *self.at(family, wanted));
        for family in Family::ALL {
            if *self.at(family, wanted) == There::Yes {
                continue;
            }
            *self.at_mut(family, wanted) = There::Maybe;
            match routes.add(family, wanted) {
                Ok(()) => *self.at_mut(family, wanted) = There::Yes,
                Err(error) => {
                    troubles.push(Trouble { operation: Operation::Add, family, rung: wanted, error });
                    break;
                }
            }
        }
        if troubles.is_empty() {
            for rung in Rung::ALL.into_iter().filter(|rung| *rung != wanted) {
                self.remove(rung, routes, troubles);
            }
        } else if self.tries > 0 || before.iter().all(|there| *there == There::No) {
            // What may have been there before gets one more chance to be completed.
            self.remove(wanted, routes, troubles);
        }
    }

    /// Removes a rung's routes where they may be.
    fn remove<R: Routes>(&mut self, rung: Rung, routes: &mut R, troubles: &mut Vec<Trouble<R::Error>>) {
        if !rung.is_announced() {
            return;
        }
        for family in Family::ALL {
            if *self.at(family, rung) == There::No {
                continue;
            }
            *self.at_mut(family, rung) = There::Maybe;
            match routes.remove(family, rung) {
                Ok(()) => *self.at_mut(family, rung) = There::No,
                Err(error) => troubles.push(Trouble { operation: Operation::Remove, family, rung, error }),
            }
        }
    }

    /// Whether it is certain that both families are announced or that neither is.
    fn together(&self) -> bool {
        let surely = |family: &[There; RUNGS]| family.contains(&There::Yes);
        let not = |family: &[There; RUNGS]| family.iter().all(|there| *there == There::No);
        self.there.iter().all(surely) || self.there.iter().all(not)
    }

    fn at(&self, family: Family, rung: Rung) -> &There {
        &self.there[family as usize][rung as usize]
    }

    fn at_mut(&mut self, family: Family, rung: Rung) -> &mut There {
        &mut self.there[family as usize][rung as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// A kernel that refuses what it is told to refuse.
    #[derive(Default)]
    struct Kernel {
        routes: BTreeSet<(Family, Rung)>,
        refused: Vec<(Operation, Family)>,
        calls: Vec<String>,
        gone: u32,
    }

    #[derive(Debug, PartialEq, Eq, thiserror::Error)]
    #[error("refused")]
    struct No;

    impl Kernel {
        fn call(&mut self, operation: Operation, family: Family, rung: Rung) -> Result<(), No> {
            let sign = if operation == Operation::Add { '+' } else { '-' };
            self.calls.push(format!("{sign}{rung}{}", &family.word()[3..]));
            if self.refused.contains(&(operation, family)) {
                return Err(No);
            }
            match operation {
                Operation::Add => self.routes.insert((family, rung)),
                Operation::Remove => self.routes.remove(&(family, rung)),
            };
            Ok(())
        }
    }

    impl Routes for Kernel {
        type Error = No;

        fn add(&mut self, family: Family, rung: Rung) -> Result<(), No> {
            self.call(Operation::Add, family, rung)
        }

        fn remove(&mut self, family: Family, rung: Rung) -> Result<(), No> {
            self.call(Operation::Remove, family, rung)
        }

        fn let_go(&mut self) {
            self.routes.clear();
            self.gone += 1;
        }
    }

    fn at(ms: u64) -> Moment {
        Moment(Duration::from_millis(ms))
    }

    /// An actuator that holds a rung, and its kernel.
    fn holding(rung: Rung) -> (Actuator, Kernel) {
        let (mut actuator, mut kernel) = (Actuator::new(), Kernel::default());
        assert!(actuator.apply(at(0), rung, &mut kernel).settled);
        kernel.calls.clear();
        (actuator, kernel)
    }

    #[test]
    fn the_new_route_comes_before_the_old_one_goes() {
        let (mut actuator, mut kernel) = holding(Rung::Up);
        let progress = actuator.apply(at(1), Rung::Degraded, &mut kernel);
        assert!(progress.settled && progress.next.is_none());
        assert_eq!(kernel.calls, ["+degraded4", "+degraded6", "-up4", "-up6"]);
        assert_eq!(progress.held, Rung::Degraded);
        actuator.apply(at(2), Rung::Degraded, &mut kernel);
        assert_eq!(kernel.calls.len(), 4, "what is settled is left alone");
    }

    #[test]
    fn what_an_earlier_run_left_is_removed() {
        let mut kernel = Kernel::default();
        kernel.routes.insert((Family::V6, Rung::Draining));
        let progress = Actuator::new().apply(at(0), Rung::Down, &mut kernel);
        assert!(progress.settled && kernel.routes.is_empty());
    }

    #[test]
    fn one_family_does_not_come_alone() {
        let (mut actuator, mut kernel) = holding(Rung::Down);
        kernel.refused = vec![(Operation::Add, Family::V6)];
        let progress = actuator.apply(at(1), Rung::Up, &mut kernel);
        assert_eq!((progress.held, progress.settled, progress.next), (Rung::Down, false, Some(at(21))));
        assert_eq!(kernel.calls, ["+up4", "+up6", "-up4", "-up6"]);
        assert!(kernel.routes.is_empty());
        assert_eq!(kernel.gone, 0);
        kernel.refused.clear();
        assert!(!actuator.apply(at(20), Rung::Up, &mut kernel).settled);
        assert!(actuator.apply(at(21), Rung::Up, &mut kernel).settled);
        assert_eq!(kernel.routes.len(), 2);
    }

    #[test]
    fn a_rung_stays_while_a_better_one_fails() {
        let (mut actuator, mut kernel) = holding(Rung::Degraded);
        kernel.refused = vec![(Operation::Add, Family::V6)];
        let mut now = at(1);
        for _ in 0..20 {
            let progress = actuator.apply(now, Rung::Up, &mut kernel);
            assert_eq!(progress.held, Rung::Degraded);
            assert!(progress.next.unwrap().since(now) <= RETRY_MAX);
            now = progress.next.unwrap();
        }
        assert_eq!((kernel.routes.len(), kernel.gone), (2, 0));
    }

    #[test]
    fn a_withdrawal_that_fails_gives_up_the_lease() {
        let (mut actuator, mut kernel) = holding(Rung::Up);
        kernel.refused = vec![(Operation::Remove, Family::V4), (Operation::Remove, Family::V6)];
        let mut now = at(1000);
        while !actuator.apply(now, Rung::Down, &mut kernel).settled {
            now = actuator.apply(now, Rung::Down, &mut kernel).next.unwrap();
        }
        assert!(kernel.routes.is_empty() && kernel.gone == 1);
        assert!(now.since(at(1000)) < WITHDRAWAL_MAX);
    }

    #[test]
    fn one_family_does_not_stay_alone() {
        let (mut actuator, mut kernel) = holding(Rung::Up);
        kernel.refused = vec![(Operation::Remove, Family::V6)];
        let first = actuator.apply(at(0), Rung::Down, &mut kernel);
        assert_eq!((first.settled, first.let_go, first.held), (false, false, Rung::Up));
        let second = actuator.apply(first.next.unwrap(), Rung::Down, &mut kernel);
        assert!(second.let_go && second.settled && kernel.routes.is_empty());
    }

    #[test]
    fn a_lease_given_up_comes_back_when_it_may() {
        let (mut actuator, mut kernel) = holding(Rung::Down);
        kernel.refused = vec![(Operation::Add, Family::V6), (Operation::Remove, Family::V4)];
        let first = actuator.apply(at(0), Rung::Up, &mut kernel);
        let second = actuator.apply(first.next.unwrap(), Rung::Up, &mut kernel);
        assert!(second.let_go && !second.settled && kernel.routes.is_empty());
        kernel.refused.clear();
        assert!(actuator.apply(second.next.unwrap(), Rung::Up, &mut kernel).settled);
        assert_eq!(kernel.routes.len(), 2);
    }
}
