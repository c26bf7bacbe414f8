//! When more frames come than can be answered: the oldest are dropped, so that what is answered is fresh.
//!
//! A ring is as long as it is to bridge pauses; in a lasting overload every answer would be as late as the ring is long, and the
//! kernel would drop the newest. To drop a frame costs a hundredth of an answer here, so the backlog is simply cut.

use super::ring::RECEIVE_FRAMES;
use crate::batch::BATCH_LEN;
use std::time::{Duration, Instant};

/// Frames that may wait in an overload: what a core answers in 1 to 2 ms (at 450,000 and 250,000 a second).
///
/// Fewer, and a worker that is preempted for a moment finds too little to do when it is back; more is later.
const FRESH_LEN: u32 = 512;

/// How long there must have been more than that, and the ring full meanwhile, before anything is dropped.
///
/// A pause leaves a backlog that is worked off in a few times its length, and then nothing needs to be lost. A full ring takes
/// 10 to 16 ms at full speed; with another load of half of that coming in, 30.
const STANDING: Duration = Duration::from_millis(100);

/// How long the backlog must have been short for an overload to be over: loads a little above the limit come and go.
const CALM: Duration = Duration::from_secs(2);

const _: () = {
    assert!(FRESH_LEN as usize >= 2 * BATCH_LEN);
    assert!(2 * FRESH_LEN < RECEIVE_FRAMES);
};

/// How the backlog of a ring has been.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// Since when there has been more than is fresh.
    standing_since: Option<Instant>,
    /// Whether the ring was full since then.
    was_full: bool,
    /// In an overload: when there was last more than is fresh.
    overload_at: Option<Instant>,
}

impl Backlog {
    /// How many of the oldest of `waiting` frames are to be dropped. `now` is a clock, which is looked at only when there is a
    /// backlog or was one lately.
    pub(super) fn excess(&mut self, waiting: u32, now: impl FnOnce() -> Instant) -> u32 {
        let is_short = waiting <= FRESH_LEN;
        if is_short && self.overload_at.is_none() {
            self.standing_since = None;
            return 0;
        }
        let now = now();
        if is_short {
            self.standing_since = None;
            self.overload_at = self.overload_at.filter(|at| now.saturating_duration_since(*at) < CALM);
            return 0;
        }
        let since = *self.standing_since.get_or_insert_with(|| {
            self.was_full = false;
            now
        });
        self.was_full |= waiting as usize > RECEIVE_FRAMES as usize - BATCH_LEN;
        let is_lasting = self.was_full && now.saturating_duration_since(since) >= STANDING;
        if !is_lasting && self.overload_at.is_none() {
            return 0;
        }
        self.overload_at = Some(now);
        waiting - FRESH_LEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    #[test]
    fn a_pause_loses_nothing() {
        let (mut backlog, start) = (Backlog::default(), Instant::now());
        assert_eq!(backlog.excess(100, || unreachable!("nobody asks the time without a backlog")), 0);
        // Full, and worked off in 90 ms.
        for step in 0..90 {
            assert_eq!(backlog.excess(4096 - step * 40, || start + step * MILLISECOND), 0);
        }
        assert_eq!(backlog.excess(500, || start + 91 * MILLISECOND), 0);
        // Never full, however long.
        for step in 0..1000 {
            assert_eq!(backlog.excess(4000, || start + (100 + step) * MILLISECOND), 0);
        }
    }

    #[test]
    fn in_a_lasting_overload_only_the_newest_are_left() {
        let (mut backlog, start) = (Backlog::default(), Instant::now());
        for step in 0..100 {
            assert_eq!(backlog.excess(4096, || start + step * MILLISECOND), 0);
        }
        assert_eq!(backlog.excess(4096, || start + STANDING), 4096 - FRESH_LEN);
        assert_eq!(backlog.excess(700, || start + STANDING + MILLISECOND), 700 - FRESH_LEN);
        assert_eq!(backlog.excess(FRESH_LEN, || start + STANDING + 2 * MILLISECOND), 0);
        // Short for a moment, and again too much.
        assert_eq!(backlog.excess(10, || start + Duration::from_secs(1)), 0);
        assert_eq!(backlog.excess(600, || start + Duration::from_secs(2)), 600 - FRESH_LEN);
        // Over.
        assert_eq!(backlog.excess(10, || start + Duration::from_secs(5)), 0);
        assert_eq!(backlog.excess(4000, || start + Duration::from_secs(6)), 0);
    }
}
