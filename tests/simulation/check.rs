//! Checks against a naive model that keeps the whole history.

use health::{Action, Check, CheckSpec, Gravity, LATE, Moment, Outcome, RESULTS_KEPT, Standing};
use std::time::Duration;

use crate::{each_seed, ms, span};

#[test]
fn checks_stand_as_the_naive_model_says() {
    each_seed("checks_stand_as_the_naive_model_says", 400, |seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut model = Model::new(&mut rng);
        for _ in 0..2_000 {
            model.step(&mut rng);
        }
        2_000
    });
}

#[test]
fn a_hung_check_fails_in_time() {
    each_seed("a_hung_check_fails_in_time", 2_000, |seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut model = Model::new(&mut rng);
        for _ in 0..rng.u32(0..30) {
            model.step(&mut rng);
        }
        let spec = model.check.spec().clone();
        let result = if rng.bool() { Outcome::Pass } else { Outcome::Fail("seen".to_owned()) };
        model.check.observe(model.now, Duration::ZERO, result);
        let end = model.now + spec.timeout + LATE + spec.interval * spec.fall;
        let mut now = model.now;
        while model.check.due() <= end {
            now = model.check.due();
            model.check.overdue(now);
        }
        assert_eq!(model.check.standing(), Standing::Failing, "silent until {now:?}: {:?}", model.check);
        u64::from(spec.fall)
    });
}

struct Model {
    now: Moment,
    check: Check,
    /// Whether each result was bad, from the first to the last.
    results: Vec<bool>,
    /// Of each bad result whether overload explains it.
    overloads: Vec<bool>,
    standing: Standing,
    since: Moment,
    runs: u64,
    /// When the last run ended.
    heard: Moment,
    /// When silence last counted, after that.
    silent: Option<Moment>,
    /// How likely a result is bad, in percent; changes now and then, so that there are rows.
    bad: u32,
}

impl Model {
    fn new(rng: &mut fastrand::Rng) -> Model {
        let spec = CheckSpec {
            name: "check".to_owned(),
            interval: span(rng, 10..2_000),
            timeout: span(rng, 1..2_000),
            rise: rng.u32(1..6),
            fall: rng.u32(1..6),
            action: Action::Withdraw,
            gravity: Gravity::Hard,
            shared: false,
        };
        let now = Moment(span(rng, 0..100_000));
        let check = Check::new(spec, now).expect("a sound check");
        let standing = Standing::Unknown;
        Model {
            now,
            check,
            results: Vec::new(),
            overloads: Vec::new(),
            standing,
            since: now,
            runs: 0,
            heard: now,
            silent: None,
            bad: 50,
        }
    }

    fn step(&mut self, rng: &mut fastrand::Rng) {
        if rng.u32(0..20) == 0 {
            self.bad = [0, 5, 50, 95, 100][rng.usize(0..5)];
        }
        let spec = self.check.spec().clone();
        let change = if rng.u32(0..4) == 0 {
            let longest = (spec.interval + spec.timeout + LATE) * 2;
            self.now = self.now + longest.mul_f64(rng.f64());
            let first = self.heard + spec.interval + spec.timeout + LATE;
            let due = self.silent.map_or(first, |silent| silent + spec.interval);
            let change = self.check.overdue(self.now);
            if self.now >= due {
                self.silent = Some(self.now);
                self.results.push(true);
                self.overloads.push(false);
            }
            change
        } else {
            self.now = self.now + spec.interval;
            let bad = rng.u32(0..100) < self.bad;
            let is_overload = bad && rng.bool();
            let outcome = match (bad, is_overload) {
                (false, _) => Outcome::Pass,
                (true, false) => Outcome::Fail("seen".to_owned()),
                (true, true) => Outcome::Overloaded("seen".to_owned()),
            };
            self.overloads.extend(bad.then_some(is_overload));
            self.runs += 1;
            (self.heard, self.silent) = (self.now, None);
            self.results.push(bad);
            self.check.observe(self.now, ms(3), outcome)
        };
        self.compare(&spec, change);
    }

    fn compare(&mut self, spec: &CheckSpec, change: Option<Standing>) {
        let row = |bad: bool, wanted: u32| {
            let newest = self.results.iter().rev().take(wanted as usize);
            newest.len() == wanted as usize && newest.into_iter().all(|result| *result == bad)
        };
        let standing = match (row(true, spec.fall), row(false, spec.rise)) {
            (true, _) => Standing::Failing,
            (_, true) => Standing::Passing,
            _ => self.standing,
        };
        assert_eq!(change, (standing != self.standing).then_some(standing), "what changed");
        if standing != self.standing {
            (self.standing, self.since) = (standing, self.now);
        }
        assert_eq!((self.check.standing(), self.check.since()), (self.standing, self.since));
        assert_eq!(self.check.runs(), self.runs);
        assert_eq!(self.check.failures(), self.results.iter().filter(|bad| **bad).count() as u64);
        // It keeps the newest bad result: as many good ones as could drive that out are more than any `rise` here.
        let expected = (standing == Standing::Failing).then(|| match self.overloads.last() {
            Some(true) => (Action::Degrade, Gravity::Soft),
            _ => (Action::Withdraw, Gravity::Hard),
        });
        let weight = self.check.failing().map(|failing| (failing.action, failing.gravity));
        assert_eq!(weight, expected);
        let shown: Vec<_> = self.check.last().map(|result| result.failure.is_some()).collect();
        let kept: Vec<_> = self.results.iter().rev().take(RESULTS_KEPT).copied().collect();
        assert_eq!(shown, kept);
    }
}
