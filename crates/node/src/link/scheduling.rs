//! Whether a thread that stands still is stuck, or waits for a CPU that others have.
//!
//! Killing who waits helps nobody: its successor would wait just as long, and on a machine that is overloaded as a whole all
//! nodes of a site would go at once. The kernel tells the two apart. A thread that waits for a CPU is *runnable* and doesn't
//! *run*; one that is stopped, blocked or asleep is not runnable; and one in an endless loop runs.

use super::BEAT_EVERY;
use health::Moment;
use rustix::process::Pid;
use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// From when on a thread that stands still is looked at: two beats, so that the looks (two small files, about 10 µs
/// together) cost nothing as long as all is well, and the least `freeze-ms` there may be, 300, still has room for some.
const LOOKED_AT_AFTER: Duration = Duration::from_millis(200);
/// Which part of the time that a thread may stand still it may run without getting anywhere. A round of a worker takes
/// microseconds, and the longest step of any thread, telling of 100,000 zones, some tenths of a second. One that loops for ever
/// has used up a quarter of 700 ms by the time that they are over, if it gets a third of a CPU; with less it is found later
/// by as much. A smaller part would take a long step on a busy machine for a loop.
const LOOP_PART: u32 = 4;
/// Who has waited for so long is given up all the same. With a hundred threads for each CPU the scheduler still gives each of
/// them its turn in less than a second; beyond ten it is no longer load, but a thread of real-time priority that runs wild, or a
/// control group without its share.
const WAITS_MAX: Duration = Duration::from_secs(10);

const _: () = assert!(LOOKED_AT_AFTER.as_millis() >= 2 * BEAT_EVERY.as_millis());

/// What the scheduler says of a thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Look {
    /// Whether it runs, or would if it had a CPU.
    pub(crate) is_runnable: bool,
    /// How long it has run since it was started.
    pub(crate) ran: Duration,
    /// How long it has waited for a CPU, waits that have come to an end alone.
    pub(crate) waited: Duration,
}

/// What a thread that does not get on comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// It may stand still for as long.
    Fine,
    /// It would get on if it had a CPU, and has waited for so long.
    Waits(Duration),
    /// It is stuck.
    Stuck,
}

/// The looks at a thread since it last got on.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Looks {
    last: Option<(Moment, Look)>,
    /// How long it has waited for a CPU, waits that go on included.
    waited: Duration,
    ran: Duration,
}

impl Looks {
    /// Judges a thread that stands still, and may for as long as `freeze`; nothing can be said where `look` gives nothing, and
    /// then it counts as stuck. To be asked every [`BEAT_EVERY`].
    pub(crate) fn judge(
        &mut self,
        now: Moment,
        still: Duration,
        freeze: Duration,
        look: impl FnOnce() -> Option<Look>,
    ) -> Standing {
        if still < LOOKED_AT_AFTER {
            *self = Looks::default();
            return Standing::Fine;
        }
        let look = look();
        if let (Some((at, before)), Some(look)) = (self.last, look) {
            let passed = now.since(at);
            let ran = look.ran.saturating_sub(before.ran);
            self.ran += ran;
            // A wait that goes on is not counted by the kernel yet.
            self.waited += if look.is_runnable {
                passed.saturating_sub(ran)
            } else {
                look.waited.saturating_sub(before.waited).min(passed)
            };
        }
        self.last = look.map(|look| (now, look));
        let is_stuck = still.saturating_sub(self.waited) > freeze;
        let loops = still > freeze && self.ran > freeze / LOOP_PART;
        if is_stuck || loops || still > WAITS_MAX + freeze {
            return Standing::Stuck;
        }
        if self.waited >= BEAT_EVERY { Standing::Waits(self.waited) } else { Standing::Fine }
    }
}

/// The threads of a process, by their names.
#[derive(Debug)]
pub(crate) struct Threads {
    process: Pid,
    numbers: HashMap<String, String>,
}

impl Threads {
    /// Those of this process.
    pub(crate) fn of(process: Pid) -> Threads {
        Threads { process, numbers: HashMap::new() }
    }

    /// What the scheduler says of the first thread of the process.
    pub(crate) fn look_at_first(&self) -> Option<Look> {
        look(&self.tasks().join(self.process.as_raw_nonzero().to_string()))
    }

    /// What it says of the thread of this name. Nothing if there is none, or `/proc` doesn't show it.
    pub(crate) fn look_at(&mut self, name: &str) -> Option<Look> {
        if !self.numbers.contains_key(name) {
            self.read_names();
        }
        look(&self.tasks().join(self.numbers.get(name)?))
    }

    fn tasks(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/task", self.process.as_raw_nonzero()))
    }

    fn read_names(&mut self) {
        let Ok(entries) = fs::read_dir(self.tasks()) else { return };
        for entry in entries.filter_map(Result::ok) {
            // A thread may end meanwhile.
            let Ok(name) = fs::read_to_string(entry.path().join("comm")) else { continue };
            let number = entry.file_name().to_string_lossy().into_owned();
            self.numbers.insert(name.trim_end().to_owned(), number);
        }
    }
}

/// Reads what proc(5) has of a thread in `stat` and `schedstat`.
fn look(task: &std::path::Path) -> Option<Look> {
    let stat = fs::read_to_string(task.join("stat")).ok()?;
    let schedstat = fs::read_to_string(task.join("schedstat")).ok()?;
    // The name before it is in brackets, and may have any octet in it.
    let state = stat.rsplit_once(") ")?.1.chars().next()?;
    let mut times = schedstat.split_ascii_whitespace().map(str::parse);
    let (ran, waited) = (times.next()?.ok()?, times.next()?.ok()?);
    // A kernel that doesn't keep the account shows zeros, and every thread has run by the time that it is looked at.
    (ran > 0).then_some(Look {
        is_runnable: state == 'R',
        ran: Duration::from_nanos(ran),
        waited: Duration::from_nanos(waited),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREEZE: Duration = Duration::from_millis(700);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Judges every 100 ms a thread that gets on no more from 0 on; gives when it is first found stuck.
    fn stuck_at(look: impl Fn(u64) -> Option<Look>) -> Option<u64> {
        let mut looks = Looks::default();
        (0..=30_000)
            .step_by(100)
            .find(|at| looks.judge(Moment(ms(*at)), ms(*at), FREEZE, || look(*at)) == Standing::Stuck)
    }

    fn thread(is_runnable: bool, ran_ms: u64, waited_ms: u64) -> Option<Look> {
        Some(Look { is_runnable, ran: ms(ran_ms + 1), waited: ms(waited_ms) })
    }

    #[test]
    fn who_sleeps_is_blocked_or_stopped_is_stuck() {
        assert_eq!(stuck_at(|_| thread(false, 0, 5)), Some(800));
        // It has waited, but not while it was looked at.
        assert_eq!(stuck_at(|_| thread(false, 0, 5_000)), Some(800));
    }

    #[test]
    fn who_loops_is_stuck_on_a_third_of_a_cpu_as_on_a_whole_one() {
        assert_eq!(stuck_at(|at| thread(true, at, 0)), Some(800));
        assert_eq!(stuck_at(|at| thread(true, at / 3, at * 2 / 3)), Some(800));
        assert_eq!(stuck_at(|at| thread(true, at / 10, at * 9 / 10)), Some(2_000));
    }

    #[test]
    fn who_waits_for_a_cpu_is_not_stuck_for_long() {
        assert_eq!(stuck_at(|_| thread(true, 0, 0)), Some(10_800));
        let mut looks = Looks::default();
        let standings = (0..=9).map(|at| {
            let at = ms(at * 100);
            looks.judge(Moment(at), at, FREEZE, || thread(true, 0, 0))
        });
        let standings: Vec<Standing> = standings.collect();
        assert_eq!(standings[2], Standing::Fine);
        assert_eq!(standings[3], Standing::Waits(ms(100)));
        assert_eq!(standings[9], Standing::Waits(ms(700)));
        // It has got on.
        assert_eq!(looks.judge(Moment(ms(1_000)), ms(0), FREEZE, || thread(true, 0, 0)), Standing::Fine);
        assert_eq!(looks.judge(Moment(ms(1_200)), ms(200), FREEZE, || thread(true, 0, 0)), Standing::Fine);
    }

    #[test]
    fn who_waited_and_then_sleeps_is_excused_for_the_wait_alone() {
        let look = |at: u64| if at < 1_000 { thread(true, 0, 0) } else { thread(false, 0, 1_000) };
        // 200 ms before the first look, and 600 asleep after the wait.
        let found = stuck_at(look).unwrap();
        assert!((1_500..=2_000).contains(&found), "{found}");
    }

    #[test]
    fn where_nothing_is_known_it_is_as_without_looking() {
        assert_eq!(stuck_at(|_| None), Some(800));
    }

    #[test]
    fn the_kernel_says_how_a_thread_is() {
        let process = rustix::process::getpid();
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let sleeper = std::thread::Builder::new().name("sleeper".to_owned());
        let sleeper = sleeper.spawn(move || receiver.recv()).unwrap();
        let mut threads = Threads::of(process);
        let began = std::time::Instant::now();
        // It may not have got to sleep yet.
        while threads.look_at("sleeper").is_none_or(|look| look.is_runnable) {
            assert!(began.elapsed() < Duration::from_secs(10), "{:?}", threads.look_at("sleeper"));
        }
        drop(sender);
        sleeper.join().unwrap().unwrap_err();
        assert_eq!(threads.look_at("sleeper"), None);
        assert_eq!(threads.look_at("nobody"), None);
        assert!(threads.look_at_first().is_some());
        // Who looks runs, and has run for longer at each look.
        let name = std::thread::current().name().unwrap().chars().take(15).collect::<String>();
        let own = std::path::Path::new("/proc/thread-self");
        let first = look(own).unwrap();
        assert!(first.is_runnable, "{name}");
        while look(own).unwrap().ran <= first.ran {
            assert!(began.elapsed() < Duration::from_secs(20));
        }
    }
}
