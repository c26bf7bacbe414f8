//! When a row of results makes a check good or bad.
//!
//! A check fails after `fall` bad results in a row and passes after `rise` good ones; from the start it is neither, and
//! the same numbers decide. Silence is a bad result too: a probe that hangs must not look healthy.

use std::collections::VecDeque;
use std::time::Duration;

use crate::{Action, Failing, Gravity, Moment, Outcome};

/// How many results a check keeps to be shown.
pub const RESULTS_KEPT: usize = 10;
/// How late a result may be, over interval and time-out together, before silence counts as a bad one. A busy machine
/// delays a timer by some tens of milliseconds; a whole freeze is found by heartbeats, not by this. Less would blame the
/// node for the scheduler, more would only add to the time that a hung probe goes unseen.
pub const LATE: Duration = Duration::from_millis(250);
/// The longest interval and the longest time-out. What is looked at more rarely than that proves nothing about now.
pub const SPAN_MAX: Duration = Duration::from_secs(3600);
/// The shortest interval: a hundred runs a second are a load of their own.
pub const INTERVAL_MIN: Duration = Duration::from_millis(10);
/// The longest row of results that may be asked for.
pub const ROW_MAX: u32 = 100;
/// The longest name, in octets: it is a label of metrics and a word of commands.
pub const NAME_MAX: usize = 64;

/// What a check is, before it has run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckSpec {
    /// Its name: a word.
    pub name: String,
    /// How often it runs.
    pub interval: Duration,
    /// How long a run may take.
    pub timeout: Duration,
    /// How many good results in a row make it pass.
    pub rise: u32,
    /// How many bad results in a row make it fail.
    pub fall: u32,
    /// What it does to the route when it fails.
    pub action: Action,
    /// Whether the last site may ignore it.
    pub gravity: Gravity,
    /// Whether it looks at something that all nodes share, such as the primary. Such a check can only report: a fault
    /// there would take every node at once.
    pub shared: bool,
}

/// Why a check cannot be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SpecError {
    /// The name is no word.
    #[error("check {0:?}: a name is a word of 1 to {NAME_MAX} octets, without spaces and control characters")]
    Name(String),
    /// Two checks would have one name.
    #[error("check {0}: there is a check of this name already")]
    Duplicate(String),
    /// The interval is out of bounds.
    #[error("check {0}: the interval has to be between {INTERVAL_MIN:?} and {SPAN_MAX:?}")]
    Interval(String),
    /// The time-out is out of bounds.
    #[error("check {0}: the time-out has to be more than nothing and at most {SPAN_MAX:?}")]
    Timeout(String),
    /// `rise` or `fall` is out of bounds.
    #[error("check {0}: rise and fall have to be between 1 and {ROW_MAX}")]
    Row(String),
    /// A check on something shared acts on the route.
    #[error(
        "check {0}: it looks at something that all nodes share, so a fault there would take every node at once; \
         its action can only be `report`"
    )]
    SharedActs(String),
}

impl CheckSpec {
    /// Whether there can be such a check, and why not.
    pub fn validate(&self) -> Result<(), SpecError> {
        let name = || self.name.clone();
        let word = |c: char| !c.is_whitespace() && !c.is_control();
        if self.name.is_empty() || self.name.len() > NAME_MAX || !self.name.chars().all(word) {
            return Err(SpecError::Name(name()));
        }
        if self.interval < INTERVAL_MIN || self.interval > SPAN_MAX {
            return Err(SpecError::Interval(name()));
        }
        if self.timeout.is_zero() || self.timeout > SPAN_MAX {
            return Err(SpecError::Timeout(name()));
        }
        if [self.rise, self.fall].into_iter().any(|row| row == 0 || row > ROW_MAX) {
            return Err(SpecError::Row(name()));
        }
        if self.shared && self.action != Action::Report {
            return Err(SpecError::SharedActs(name()));
        }
        Ok(())
    }
}

/// What a check's results come to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Standing {
    /// Neither row is complete yet.
    Unknown,
    /// Good.
    Passing,
    /// Bad.
    Failing,
}

impl Standing {
    /// The word that commands and metrics use.
    pub fn word(self) -> &'static str {
        match self {
            Standing::Unknown => "unknown",
            Standing::Passing => "passing",
            Standing::Failing => "failing",
        }
    }
}

/// One result of a check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Observation {
    /// When it came.
    pub at: Moment,
    /// What was seen where it was bad.
    pub failure: Option<String>,
    /// Whether it was bad for overload alone.
    pub is_overload: bool,
}

/// A check with what it has seen.
#[derive(Clone, Debug)]
pub struct Check {
    spec: CheckSpec,
    standing: Standing,
    since: Moment,
    /// Results in a row of the same kind as the newest one.
    row: u32,
    runs: u64,
    failures: u64,
    took: Duration,
    /// The newest first.
    last: VecDeque<Observation>,
    /// When the last run ended; the start, before the first.
    heard: Moment,
    /// When silence counts as a bad result.
    due: Moment,
}

impl Check {
    /// A check that runs from now on.
    pub fn new(spec: CheckSpec, now: Moment) -> Result<Check, SpecError> {
        spec.validate()?;
        let due = now + spec.interval + spec.timeout + LATE;
        Ok(Check {
            spec,
            standing: Standing::Unknown,
            since: now,
            row: 0,
            runs: 0,
            failures: 0,
            took: Duration::ZERO,
            last: VecDeque::with_capacity(RESULTS_KEPT),
            heard: now,
            due,
        })
    }

    /// Takes the result of a run; says so if the standing changed.
    pub fn observe(&mut self, now: Moment, took: Duration, outcome: Outcome) -> Option<Standing> {
        self.runs += 1;
        self.took = took;
        self.heard = now;
        self.due = now + self.spec.interval + self.spec.timeout + LATE;
        self.take(now, outcome)
    }

    /// Counts silence: one bad result when a run is overdue, and one for each interval after that. Says so if the
    /// standing changed.
    ///
    /// A call counts one result at most. After a pause of this very process many are overdue, and the ones that wait in
    /// its sockets get their turn before a row of silence could be complete.
    pub fn overdue(&mut self, now: Moment) -> Option<Standing> {
        if now < self.due {
            return None;
        }
        self.due = now + self.spec.interval;
        let seconds = now.since(self.heard).as_secs_f32();
        self.take(now, Outcome::Fail(format!("no result for {seconds:.1} s: the check itself hangs")))
    }

    /// Gives the check as long as at the start to be heard of again: it was the one who listens that stood still.
    pub fn excuse(&mut self, now: Moment) {
        self.due = self.due.max(now + self.spec.interval + self.spec.timeout + LATE);
    }

    /// Forgets what was seen, because what is looked at is another one now: its standing is unknown, and nothing is
    /// expected of it before its next result. Counts stay.
    pub fn forget(&mut self, now: Moment) {
        self.standing = Standing::Unknown;
        (self.since, self.heard) = (now, now);
        self.row = 0;
        self.last.clear();
        self.due = Moment(Duration::MAX);
    }

    fn take(&mut self, now: Moment, outcome: Outcome) -> Option<Standing> {
        let (failure, is_overload) = match outcome {
            Outcome::Pass => (None, false),
            Outcome::Fail(saw) => (Some(saw), false),
            Outcome::Overloaded(saw) => (Some(saw), true),
        };
        let failed = failure.is_some();
        self.failures += u64::from(failed);
        let same = self.last.front().is_some_and(|newest| newest.failure.is_some() == failed);
        self.row = if same { self.row.saturating_add(1) } else { 1 };
        self.last.truncate(RESULTS_KEPT - 1);
        self.last.push_front(Observation { at: now, failure, is_overload });
        let (standing, row) =
            if failed { (Standing::Failing, self.spec.fall) } else { (Standing::Passing, self.spec.rise) };
        if standing == self.standing || self.row < row {
            return None;
        }
        self.standing = standing;
        self.since = now;
        Some(standing)
    }

    /// What it is.
    pub fn spec(&self) -> &CheckSpec {
        &self.spec
    }

    /// What its results come to.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Since when it stands so.
    pub fn since(&self) -> Moment {
        self.since
    }

    /// How often it has run; silence is no run.
    pub fn runs(&self) -> u64 {
        self.runs
    }

    /// How many results were bad, silence included.
    pub fn failures(&self) -> u64 {
        self.failures
    }

    /// How long the last run took.
    pub fn took(&self) -> Duration {
        self.took
    }

    /// The last results, the newest first; at most [`RESULTS_KEPT`].
    pub fn last(&self) -> impl ExactSizeIterator<Item = &Observation> {
        self.last.iter()
    }

    /// When silence will count as the next bad result.
    pub fn due(&self) -> Moment {
        self.due
    }

    /// Whether it fails for overload alone, by the newest bad result.
    pub fn is_overload(&self) -> bool {
        let newest = self.last.iter().find(|result| result.failure.is_some());
        self.standing == Standing::Failing && newest.is_some_and(|result| result.is_overload)
    }

    /// How it fails, if it does. The newest bad result has the say: one that overload explains weighs less than the check
    /// does otherwise, and one that it does not explain has the whole weight again.
    pub fn failing(&self) -> Option<Failing> {
        if self.standing != Standing::Failing {
            return None;
        }
        // While it still fails, a single good result may be the newest.
        let saw =
            self.last.iter().find_map(|result| result.failure.clone()).unwrap_or_else(|| {
                format!("nothing bad in the last {RESULTS_KEPT} results, too few good ones")
            });
        let (action, gravity) = match self.is_overload() {
            true => (self.spec.action.min(Action::Degrade), Gravity::Soft),
            false => (self.spec.action, self.spec.gravity),
        };
        Some(Failing { check: self.spec.name.clone(), action, gravity, since: self.since, saw })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> CheckSpec {
        CheckSpec {
            name: "udp".to_owned(),
            interval: Duration::from_millis(200),
            timeout: Duration::from_millis(100),
            rise: 2,
            fall: 3,
            action: Action::Withdraw,
            gravity: Gravity::Hard,
            shared: false,
        }
    }

    fn at(ms: u64) -> Moment {
        Moment(Duration::from_millis(ms))
    }

    /// Feeds results, `+` and `-`, 200 ms apart, and gives the standing after each as `?`, `+` or `-`.
    fn standings(results: &str) -> String {
        let mut check = Check::new(spec(), at(0)).unwrap();
        let mut out = String::new();
        for (run, result) in results.chars().enumerate() {
            let outcome = if result == '+' { Outcome::Pass } else { Outcome::Fail("refused".to_owned()) };
            check.observe(at(200 * run as u64), Duration::ZERO, outcome);
            out.push(match check.standing() {
                Standing::Unknown => '?',
                Standing::Passing => '+',
                Standing::Failing => '-',
            });
        }
        out
    }

    #[test]
    fn rows_decide() {
        assert_eq!(standings("++"), "?+");
        assert_eq!(standings("---"), "??-");
        assert_eq!(standings("+-+--++"), "??????+");
        assert_eq!(standings("++--+---"), "?++++++-");
        assert_eq!(standings("---+-+--++"), "??-------+");
    }

    /// As [`standings`], once it has passed, with these numbers.
    fn standings_of(rise: u32, fall: u32, results: &str) -> String {
        let mut check = Check::new(CheckSpec { rise, fall, ..spec() }, at(0)).unwrap();
        for run in 0..rise {
            check.observe(at(u64::from(run)), Duration::ZERO, Outcome::Pass);
        }
        let mut standing = |result| {
            let outcome = if result == '+' { Outcome::Pass } else { Outcome::Fail("refused".to_owned()) };
            check.observe(at(1000), Duration::ZERO, outcome);
            if check.standing() == Standing::Failing { '-' } else { '+' }
        };
        results.chars().map(&mut standing).collect()
    }

    /// What others' manuals say of a server that was good. Both take one for good from the start, which is unknown here.
    #[test]
    fn the_same_numbers_mean_what_they_mean_to_others() {
        for (rise, fall, results, wanted) in [
            // HAProxy's defaults, rise 2 and fall 3: "after <count> consecutive" checks, in both directions.
            (2, 3, "--+--+--", "++++++++"),
            (2, 3, "---+-++-", "++----++"),
            (2, 3, "---++--+", "++--++++"),
            (1, 1, "-+-+", "-+-+"),
            (3, 1, "-++-+++", "------+"),
            // gdnsd's `up_thresh` and `down_thresh`, with `ok_thresh` 1: one success in between puts its count of failures back.
            (20, 10, "---------+---------+", "++++++++++++++++++++"),
            (20, 10, "----------++++++++++++++++++++", "+++++++++--------------------+"),
            (20, 10, "----------+++++++++++++++++++-+", "+++++++++----------------------"),
        ] {
            let standings = standings_of(rise, fall, results);
            // The case tells of each result what stands after it.
            assert_eq!(standings, wanted, "rise {rise}, fall {fall}: {results}");
        }
    }

    #[test]
    fn who_stood_still_itself_waits_anew() {
        let mut check = Check::new(spec(), at(0)).unwrap();
        check.observe(at(0), Duration::ZERO, Outcome::Pass);
        check.excuse(at(5_000));
        assert_eq!((check.overdue(at(5_000)), check.failures()), (None, 0));
        let later = at(5_000) + spec().interval + spec().timeout + LATE;
        check.overdue(later);
        assert_eq!(check.failures(), 1);
        check.forget(at(6_000));
        check.excuse(at(6_000));
        check.overdue(at(600_000));
        assert_eq!((check.failures(), check.standing()), (1, Standing::Unknown));
    }

    #[test]
    fn silence_is_a_bad_result() {
        let mut check = Check::new(spec(), at(0)).unwrap();
        assert_eq!(check.due(), at(550));
        assert_eq!(check.overdue(at(549)), None);
        assert_eq!(check.failures(), 0);
        assert_eq!(check.overdue(at(550)), None);
        assert_eq!(check.overdue(at(750)), None);
        assert_eq!(check.overdue(at(950)), Some(Standing::Failing));
        assert_eq!((check.runs(), check.failures(), check.since()), (0, 3, at(950)));
        assert_eq!(check.failing().unwrap().saw, "no result for 0.9 s: the check itself hangs");
    }

    #[test]
    fn one_look_after_a_long_pause_is_one_bad_result() {
        let mut check = Check::new(spec(), at(0)).unwrap();
        check.observe(at(0), Duration::ZERO, Outcome::Pass);
        check.observe(at(200), Duration::ZERO, Outcome::Pass);
        assert_eq!(check.overdue(at(60_000)), None);
        assert_eq!(check.overdue(at(60_000)), None);
        assert_eq!(check.failures(), 1);
        assert_eq!(check.standing(), Standing::Passing);
    }

    #[test]
    fn overload_weighs_less_until_something_else_is_seen() {
        let mut check = Check::new(spec(), at(0)).unwrap();
        let mut weight = |ms, outcome| {
            check.observe(at(ms), Duration::ZERO, outcome);
            check.failing().map(|failing| (failing.action, failing.gravity))
        };
        let overloaded = || Outcome::Overloaded("no answer".to_owned());
        assert_eq!([0, 200].map(|ms| weight(ms, overloaded())), [None, None]);
        let light = Some((Action::Degrade, Gravity::Soft));
        assert_eq!(weight(400, overloaded()), light);
        assert_eq!(weight(600, Outcome::Pass), light);
        let heavy = Some((Action::Withdraw, Gravity::Hard));
        assert_eq!(weight(800, Outcome::Fail("SERVFAIL".to_owned())), heavy);
        assert_eq!(weight(1_000, overloaded()), light);
    }

    #[test]
    fn only_the_last_results_are_kept() {
        let mut check = Check::new(spec(), at(0)).unwrap();
        for run in 0..25 {
            check.observe(at(run), Duration::from_micros(run), Outcome::Fail(run.to_string()));
        }
        let seen: Vec<_> = check.last().map(|result| result.failure.clone().unwrap()).collect();
        assert_eq!(seen, (15..25).rev().map(|run| run.to_string()).collect::<Vec<_>>());
        assert_eq!(check.took(), Duration::from_micros(24));
        assert_eq!(check.failing().unwrap().saw, "24");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let refused = |change: fn(&mut CheckSpec)| {
            let mut spec = spec();
            change(&mut spec);
            spec.validate().unwrap_err()
        };
        let name = || "udp".to_owned();
        assert_eq!(refused(|spec| spec.rise = 0), SpecError::Row(name()));
        assert_eq!(refused(|spec| spec.fall = 101), SpecError::Row(name()));
        assert_eq!(refused(|spec| spec.interval = Duration::ZERO), SpecError::Interval(name()));
        assert_eq!(refused(|spec| spec.timeout = Duration::ZERO), SpecError::Timeout(name()));
        assert_eq!(refused(|spec| spec.timeout = Duration::from_secs(3601)), SpecError::Timeout(name()));
        assert_eq!(refused(|spec| spec.name = "a b".to_owned()), SpecError::Name("a b".to_owned()));
        assert_eq!(refused(|spec| spec.name.clear()), SpecError::Name(String::new()));
        assert_eq!(refused(|spec| spec.shared = true), SpecError::SharedActs(name()));
        let report = CheckSpec { shared: true, action: Action::Report, ..spec() };
        assert_eq!(report.validate(), Ok(()));
    }
}
