//! Whether the server lives: judged from its beats alone, with the time as an argument.

use crate::link::{Beat, Judgement, Silence};
use health::Moment;
use std::time::Duration;

/// What is known of the server's beats.
pub(crate) struct Watch {
    silence: Silence,
    /// For each thread its number, and when it last grew.
    threads: Vec<(String, u64, Moment)>,
}

impl Watch {
    /// A watch that begins now, as if a beat had just come; `freeze` is how long a beat, or a thread, may stand still.
    pub(crate) fn new(freeze: Duration, now: Moment) -> Watch {
        Watch { silence: Silence::new(freeze, now), threads: Vec::new() }
    }

    /// Takes in a beat.
    pub(crate) fn beat(&mut self, now: Moment, beat: &Beat) {
        self.silence.heard(now);
        let udp =
            beat.workers.iter().enumerate().map(|(index, count)| (format!("UDP worker {index}"), *count));
        let tcp =
            beat.tcp_threads.iter().enumerate().map(|(index, count)| (format!("TCP thread {index}"), *count));
        let control = [("the control thread".to_owned(), beat.control)];
        let threads = udp.chain(tcp).chain(control);
        let before = std::mem::take(&mut self.threads);
        self.threads = threads
            .map(|(name, count)| match before.iter().find(|(known, _, _)| *known == name) {
                Some((_, number, grew_at)) if *number == count => (name, count, *grew_at),
                _ => (name, count, now),
            })
            .collect();
    }

    /// What stands still, if anything does. To be asked every [`crate::link::BEAT_EVERY`].
    pub(crate) fn judge(&mut self, now: Moment) -> Option<String> {
        match self.silence.judge(now) {
            Judgement::Fine => {}
            Judgement::Excused => {
                self.threads.iter_mut().for_each(|(_, _, grew_at)| *grew_at = now);
                return None;
            }
            Judgement::Silent(silent) => {
                return Some(format!("the server has not said for {} ms that it lives", silent.as_millis()));
            }
        }
        let stuck = self.threads.iter().find(|(_, _, grew_at)| now.since(*grew_at) > self.silence.freeze());
        stuck.map(|(name, _, grew_at)| {
            format!("{name} of the server has stood still for {} ms", now.since(*grew_at).as_millis())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREEZE: Duration = Duration::from_millis(700);

    fn at(ms: u64) -> Moment {
        Moment(Duration::from_millis(ms))
    }

    fn beat(workers: &[u64]) -> Beat {
        Beat { workers: workers.to_vec(), ..Beat::default() }
    }

    /// Judges every 100 ms; gives the time of the first complaint, and the complaint.
    fn run(
        watch: &mut Watch,
        from: u64,
        to: u64,
        beats: impl Fn(u64) -> Option<Beat>,
    ) -> Option<(u64, String)> {
        (from..=to).step_by(100).find_map(|ms| {
            if let Some(beat) = beats(ms) {
                watch.beat(at(ms), &Beat { control: ms, ..beat });
            }
            watch.judge(at(ms)).map(|complaint| (ms, complaint))
        })
    }

    #[test]
    fn a_server_that_beats_is_left_alone() {
        let mut watch = Watch::new(FREEZE, at(0));
        assert_eq!(run(&mut watch, 100, 60_000, |ms| Some(beat(&[ms, 2 * ms]))), None);
    }

    #[test]
    fn silence_is_told_within_the_bound() {
        let mut watch = Watch::new(FREEZE, at(0));
        let (ms, complaint) = run(&mut watch, 100, 9_000, |ms| (ms <= 1_000).then(|| beat(&[ms]))).unwrap();
        assert_eq!(ms, 1_800);
        assert!(complaint.contains("not said for 800 ms"), "{complaint}");
    }

    #[test]
    fn one_thread_that_stands_still_is_named() {
        let mut watch = Watch::new(FREEZE, at(0));
        let (ms, complaint) = run(&mut watch, 100, 9_000, |ms| Some(beat(&[ms, ms.min(2_000)]))).unwrap();
        assert_eq!(ms, 2_800);
        assert!(complaint.starts_with("UDP worker 1 "), "{complaint}");
    }

    #[test]
    fn a_paused_machine_kills_nobody() {
        let mut watch = Watch::new(FREEZE, at(0));
        assert_eq!(run(&mut watch, 100, 1_000, |ms| Some(beat(&[ms]))), None);
        // Ten seconds pass in which neither ran; then the server goes on.
        assert_eq!(watch.judge(at(11_000)), None);
        assert_eq!(run(&mut watch, 11_100, 20_000, |ms| Some(beat(&[ms]))), None);
    }

    #[test]
    fn a_paused_agent_does_not_forgive_a_frozen_server_for_good() {
        let mut watch = Watch::new(FREEZE, at(0));
        assert_eq!(watch.judge(at(5_000)), None);
        let (ms, _) = run(&mut watch, 5_100, 9_000, |_| None).unwrap();
        assert_eq!(ms, 5_800);
    }
}
