//! Whether the other end of a link is silent for too long; the time is an argument.

use super::scheduling::{Look, Looks, Standing};
use health::Moment;
use std::time::Duration;

/// When the other end was last heard.
pub(crate) struct Silence {
    /// How long it may be silent.
    freeze: Duration,
    heard_at: Moment,
    /// When the judge last looked: if that is long ago, it was this process that stood still.
    looked_at: Moment,
    looks: Looks,
}

/// What a look comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Judgement {
    /// It was heard not long ago.
    Fine,
    /// The machine was paused, or this process was: what is old is old for everybody, and gets a fresh start. Two that wake
    /// up together shall not kill each other.
    Excused,
    /// It is silent because it waits for a CPU, and has for so long.
    Waits(Duration),
    /// It has been silent for so long, which is too long.
    Silent(Duration),
}

impl Silence {
    /// As if it had just been heard.
    pub(crate) fn new(freeze: Duration, now: Moment) -> Silence {
        Silence { freeze, heard_at: now, looked_at: now, looks: Looks::default() }
    }

    /// How long it may be silent.
    pub(crate) fn freeze(&self) -> Duration {
        self.freeze
    }

    /// It was heard.
    pub(crate) fn heard(&mut self, now: Moment) {
        self.heard_at = now;
    }

    /// Judges; `look` tells how the thread is that has to be heard. To be asked every [`super::BEAT_EVERY`].
    pub(crate) fn judge(&mut self, now: Moment, look: impl FnOnce() -> Option<Look>) -> Judgement {
        let asleep = now.since(self.looked_at);
        self.looked_at = now;
        if asleep > self.freeze / 2 {
            self.heard_at = now;
            return Judgement::Excused;
        }
        let silent = now.since(self.heard_at);
        match self.looks.judge(now, silent, self.freeze, look) {
            Standing::Fine => Judgement::Fine,
            Standing::Waits(waited) => Judgement::Waits(waited),
            Standing::Stuck => Judgement::Silent(silent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREEZE: Duration = Duration::from_millis(700);

    fn at(ms: u64) -> Moment {
        Moment(Duration::from_millis(ms))
    }

    /// Judges every 100 ms; gives when the other end is first found silent.
    fn run(silence: &mut Silence, from: u64, to: u64, beating: impl Fn(u64) -> bool) -> Option<u64> {
        (from..=to).step_by(100).find(|ms| {
            if beating(*ms) {
                silence.heard(at(*ms));
            }
            matches!(silence.judge(at(*ms), || None), Judgement::Silent(_))
        })
    }

    #[test]
    fn who_beats_is_left_alone() {
        let mut silence = Silence::new(FREEZE, at(0));
        assert_eq!(run(&mut silence, 100, 60_000, |ms| ms % 500 == 0), None);
    }

    #[test]
    fn silence_is_found_within_the_bound() {
        let mut silence = Silence::new(FREEZE, at(0));
        assert_eq!(run(&mut silence, 100, 9_000, |ms| ms <= 1_000), Some(1_800));
    }

    #[test]
    fn who_was_asleep_itself_gives_the_other_a_new_start() {
        let mut silence = Silence::new(FREEZE, at(0));
        assert_eq!(silence.judge(at(10_000), || None), Judgement::Excused);
        assert_eq!(run(&mut silence, 10_100, 20_000, |_| false), Some(10_800));
    }

    #[test]
    fn who_waits_for_a_cpu_is_told_from_who_is_frozen() {
        let waits = Look { is_runnable: true, ran: Duration::from_millis(1), waited: Duration::ZERO };
        let mut silence = Silence::new(FREEZE, at(0));
        let judgements: Vec<Judgement> =
            (1..=20).map(|tenth| silence.judge(at(tenth * 100), || Some(waits))).collect();
        assert_eq!(judgements[0], Judgement::Fine);
        assert_eq!(judgements[19], Judgement::Waits(Duration::from_millis(1_800)));
    }
}
