//! What the agent's tasks may know of the server, as of its last beat.

use crate::link::ProbeZone;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long a serial that was replaced may still be seen in answers: workers take a change in within a batch, and a beat
/// is a tenth of a second old at most.
const OLD_SERIAL_FOR: Duration = Duration::from_secs(2);
/// How many serials are remembered: beats come ten times a second.
const SEEN_MAX: usize = 64;
/// How long after overload was last seen it may explain that a probe had no answer. It is looked for ten times a second, and a
/// probe waits 400 ms by default; more would excuse what has another cause.
const OVERLOAD_FOR: Duration = Duration::from_secs(1);

/// What tasks ask.
#[derive(Default)]
pub(crate) struct View {
    inner: RefCell<Inner>,
}

#[derive(Default)]
struct Inner {
    answers: Option<Answers>,
    zones: Vec<ProbeZone>,
    /// Serials of zones that are no longer theirs, and when they were last.
    old: VecDeque<(ProbeZone, Instant)>,
    /// When zones were last being read again. Each is served as soon as it is good, and told when all are done: until
    /// then nobody knows which serial is right.
    reloading_at: Option<Instant>,
    /// How the server was last seen to be overloaded.
    overload: Option<(String, Instant)>,
}

/// Who answers: how many threads there are to reach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Answers {
    /// UDP workers.
    pub(crate) workers: u16,
    /// TCP threads.
    pub(crate) tcp_threads: u16,
    /// Whether it is the CPU that chooses the UDP worker, and not a hash, if that is known.
    pub(crate) by_cpu: Option<bool>,
    /// Which server: another number means that its ports are to be found anew.
    pub(crate) server: u64,
}

impl View {
    /// Who answers, if anybody does.
    pub(crate) fn answers(&self) -> Option<Answers> {
        self.inner.borrow().answers
    }

    /// Says who answers.
    pub(crate) fn set_answers(&self, answers: Option<Answers>) {
        let mut inner = self.inner.borrow_mut();
        inner.answers = answers;
        if answers.is_none() {
            inner.zones.clear();
            inner.old.clear();
        }
    }

    /// How the server is overloaded, if it is.
    pub(crate) fn overload(&self) -> Option<String> {
        let inner = self.inner.borrow();
        let (what, at) = inner.overload.as_ref()?;
        (at.elapsed() < OVERLOAD_FOR).then(|| what.clone())
    }

    /// Says how the server is overloaded now.
    pub(crate) fn set_overload(&self, what: String) {
        self.inner.borrow_mut().overload = Some((what, Instant::now()));
    }

    /// Says which zones have which serials, and whether zones are being read again.
    pub(crate) fn set_zones(&self, zones: &[ProbeZone], reloading: bool) {
        let mut inner = self.inner.borrow_mut();
        if reloading {
            inner.reloading_at = Some(Instant::now());
        }
        if inner.zones == zones {
            return;
        }
        let now = Instant::now();
        let replaced = std::mem::replace(&mut inner.zones, zones.to_vec());
        inner.old.extend(replaced.into_iter().filter(|zone| !zones.contains(zone)).map(|zone| (zone, now)));
        let surplus = inner.old.len().saturating_sub(SEEN_MAX);
        inner.old.drain(..surplus);
    }

    /// The zones that are probed, with the serials that are published.
    pub(crate) fn zones(&self) -> Vec<ProbeZone> {
        self.inner.borrow().zones.clone()
    }

    /// The zone whose turn it is, and the serials that are right for it; none while any may be.
    pub(crate) fn zone(&self, turn: usize) -> Option<(String, Vec<u32>)> {
        let inner = self.inner.borrow();
        let zone = inner.zones.get(turn.checked_rem(inner.zones.len())?)?;
        if inner.reloading_at.is_some_and(|at| at.elapsed() < OLD_SERIAL_FOR) {
            return Some((zone.name.clone(), Vec::new()));
        }
        let old = inner.old.iter().filter(|(old, at)| old.name == zone.name && at.elapsed() < OLD_SERIAL_FOR);
        let serials = std::iter::once(zone.serial).chain(old.map(|(old, _)| old.serial)).collect();
        Some((zone.name.clone(), serials))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_that_was_just_replaced_is_still_right() {
        let zone = |serial| vec![ProbeZone { name: "a.example.".to_owned(), serial }];
        let view = View::default();
        assert_eq!(view.zone(0), None);
        view.set_zones(&zone(1), false);
        assert_eq!(view.zone(7), Some(("a.example.".to_owned(), vec![1])));
        view.set_zones(&zone(1), false);
        view.set_zones(&zone(2), false);
        assert_eq!(view.zone(0), Some(("a.example.".to_owned(), vec![2, 1])));
        view.set_answers(None);
        assert_eq!(view.zone(0), None);
    }

    #[test]
    fn while_zones_are_read_again_any_serial_may_be_right() {
        let zone = |serial| vec![ProbeZone { name: "a.example.".to_owned(), serial }];
        let view = View::default();
        view.set_zones(&zone(1), true);
        view.set_zones(&zone(1), false);
        assert_eq!(view.zone(0), Some(("a.example.".to_owned(), Vec::new())));
    }
}
