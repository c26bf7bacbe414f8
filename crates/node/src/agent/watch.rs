//! Whether the server lives: judged from its beats alone, with the time as an argument.

use crate::link::{Beat, Judgement, Look, Looks, Silence, Standing};
use health::Moment;
use std::time::Duration;

/// What is known of the server's beats.
pub(crate) struct Watch {
    silence: Silence,
    threads: Vec<Thread>,
}

/// A thread of the server.
struct Thread {
    kind: Kind,
    /// Its number in the last beat, and when that last grew.
    number: u64,
    grew_at: Moment,
    looks: Looks,
}

/// Which thread of the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// The one that beats.
    Watch,
    /// A UDP worker.
    Udp(usize),
    /// A TCP thread.
    Tcp(usize),
    /// The one that answers the control socket, the process's first.
    Control,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Kind::Watch => write!(out, "the thread that beats"),
            Kind::Udp(index) => write!(out, "UDP worker {index}"),
            Kind::Tcp(index) => write!(out, "TCP thread {index}"),
            Kind::Control => write!(out, "the control thread"),
        }
    }
}

/// What came of a look at the server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Finding {
    /// It lives.
    Lives,
    /// It lives, but a thread of it has no CPU; what there is to say of it.
    Waits(String),
    /// It, or a thread of it, stands still.
    Stands(String),
}

impl Watch {
    /// A watch that begins now, as if a beat had just come; `freeze` is how long a beat, or a thread, may stand still.
    pub(crate) fn new(freeze: Duration, now: Moment) -> Watch {
        Watch { silence: Silence::new(freeze, now), threads: Vec::new() }
    }

    /// Takes in a beat.
    pub(crate) fn beat(&mut self, now: Moment, beat: &Beat) {
        self.silence.heard(now);
        let udp = beat.workers.iter().enumerate().map(|(index, count)| (Kind::Udp(index), *count));
        let tcp = beat.tcp_threads.iter().enumerate().map(|(index, count)| (Kind::Tcp(index), *count));
        let told = udp.chain(tcp).chain([(Kind::Control, beat.control)]);
        let mut before = std::mem::take(&mut self.threads);
        self.threads = told
            .map(|(kind, number)| match before.iter().position(|known| known.kind == kind) {
                Some(at) if before[at].number == number => before.swap_remove(at),
                _ => Thread { kind, number, grew_at: now, looks: Looks::default() },
            })
            .collect();
    }

    /// Judges; `look` tells how a thread is. To be asked every [`crate::link::BEAT_EVERY`].
    pub(crate) fn judge(&mut self, now: Moment, mut look: impl FnMut(Kind) -> Option<Look>) -> Finding {
        let waits = |kind: Kind, waited: Duration| {
            Finding::Waits(format!("{kind} of the server has waited for a CPU for {} ms", waited.as_millis()))
        };
        match self.silence.judge(now, || look(Kind::Watch)) {
            Judgement::Fine => {}
            Judgement::Excused => {
                self.threads.iter_mut().for_each(|thread| thread.grew_at = now);
                return Finding::Lives;
            }
            // Nothing new is known of the others.
            Judgement::Waits(waited) => return waits(Kind::Watch, waited),
            Judgement::Silent(silent) => {
                let silent = silent.as_millis();
                return Finding::Stands(format!("the server has not said for {silent} ms that it lives"));
            }
        }
        let freeze = self.silence.freeze();
        let mut finding = Finding::Lives;
        for thread in &mut self.threads {
            let (kind, still) = (thread.kind, now.since(thread.grew_at));
            match thread.looks.judge(now, still, freeze, || look(kind)) {
                Standing::Fine => {}
                Standing::Waits(waited) => finding = waits(kind, waited),
                Standing::Stuck => {
                    let still = still.as_millis();
                    return Finding::Stands(format!("{kind} of the server has stood still for {still} ms"));
                }
            }
        }
        finding
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
            match watch.judge(at(ms), |_| None) {
                Finding::Stands(complaint) => Some((ms, complaint)),
                _ => None,
            }
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
        assert_eq!(watch.judge(at(11_000), |_| None), Finding::Lives);
        assert_eq!(run(&mut watch, 11_100, 20_000, |ms| Some(beat(&[ms]))), None);
    }

    #[test]
    fn a_paused_agent_does_not_forgive_a_frozen_server_for_good() {
        let mut watch = Watch::new(FREEZE, at(0));
        assert_eq!(watch.judge(at(5_000), |_| None), Finding::Lives);
        let (ms, _) = run(&mut watch, 5_100, 9_000, |_| None).unwrap();
        assert_eq!(ms, 5_800);
    }

    #[test]
    fn one_thread_that_has_no_cpu_is_named_and_left_alone() {
        let mut watch = Watch::new(FREEZE, at(0));
        let look = |kind: Kind| {
            let is_runnable = kind == Kind::Udp(1);
            Some(Look { is_runnable, ran: Duration::from_millis(1), waited: Duration::ZERO })
        };
        let mut found = Vec::new();
        for ms in (100..=3_000).step_by(100) {
            watch.beat(at(ms), &Beat { control: ms, ..beat(&[ms, 7]) });
            found.push(watch.judge(at(ms), look));
        }
        let waits = "UDP worker 1 of the server has waited for a CPU for 2700 ms";
        assert_eq!(found.last(), Some(&Finding::Waits(waits.to_owned())));
        assert!(!found.iter().any(|finding| matches!(finding, Finding::Stands(_))), "{found:?}");
    }
}
