//! One node: governor, actuator and a kernel that fails, in a world where anything happens at any time.

use anycast::governor::{
    Actuator, Command, Decision, Governor, LastSite, Mode, Policy, Switch, Then, WITHDRAWAL_MAX,
};
use anycast::{Family, Rung};
use health::{Action, Failing, Gravity, Moment, Verdict};
use std::time::Duration;

use crate::kernel::Kernel;
use crate::model::{Facts, Ordered};
use crate::{each_seed, earlier, ms, pause, span};

/// How long one family may be announced alone: the wait before a second try.
const APART_MAX: Duration = Duration::from_millis(20);

/// The checks of the node; every kind there is.
const CHECKS: [(&str, Action, Gravity); 6] = [
    ("udp", Action::Withdraw, Gravity::Hard),
    ("tcp", Action::Withdraw, Gravity::Hard),
    ("stale", Action::Withdraw, Gravity::Soft),
    ("bird", Action::Degrade, Gravity::Hard),
    ("drops", Action::Degrade, Gravity::Soft),
    ("primary", Action::Report, Gravity::Hard),
];

#[test]
fn a_node_keeps_its_promises_whatever_happens() {
    each_seed("a_node_keeps_its_promises_whatever_happens", 500, |seed| {
        let mut world = World::new(seed);
        for _ in 0..400 {
            let by = pause(&mut world.rng);
            world.advance(by);
            world.event();
            world.settle();
        }
        world.calm();
        world.steps
    });
}

#[test]
fn a_flapping_check_meets_every_limit() {
    each_seed("a_flapping_check_meets_every_limit", 400, |seed| {
        let mut world = World::new(seed);
        world.ready();
        let (name, action, gravity) = CHECKS[world.rng.usize(0..5)];
        for flap in 0..400 {
            world.set_check(name, action, gravity, flap % 2 == 0);
            world.settle();
            // Mostly long enough to get up again, as far as hold-down and limit let it.
            let by = span(&mut world.rng, 0..40_000);
            world.advance(by);
        }
        world.calm();
        world.steps
    });
}

struct World {
    rng: fastrand::Rng,
    now: Moment,
    /// Asked only when something happened or when it said so.
    governor: Governor,
    /// Told the same and asked much more often: what it says in between must be nothing new.
    eager: Governor,
    actuator: Actuator,
    kernel: Kernel,
    facts: Facts,
    decision: Option<Decision>,
    again: Option<Moment>,
    apart_since: Option<Moment>,
    down_since: Option<Moment>,
    steps: u64,
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = fastrand::Rng::with_seed(seed);
        let hold_down = span(&mut rng, 1_000..20_000);
        let site = LastSite { peers_min: rng.u32(1..4), peers_age_max: span(&mut rng, 100..5_000) };
        let policy = Policy {
            stable: span(&mut rng, 1_000..20_000),
            drain: span(&mut rng, 0..60_000),
            grace: span(&mut rng, 0..20_000),
            hold_down,
            hold_down_max: hold_down * rng.u32(1..60),
            transitions_per_hour_max: if rng.bool() { rng.u32(3..8) } else { rng.u32(3..40) },
            last_site: (rng.u32(0..4) > 0).then_some(site),
        };
        let now = Moment(span(&mut rng, 0..10_000_000));
        let seed = rng.u64(..);
        let governor = Governor::new(policy.clone(), Mode::Normal, seed, now).expect("a sound policy");
        World {
            kernel: Kernel::new(rng.u64(..)),
            rng,
            now,
            eager: governor.clone(),
            governor,
            actuator: Actuator::new(),
            facts: Facts::new(policy, now),
            decision: None,
            again: None,
            apart_since: None,
            down_since: None,
            steps: 0,
        }
    }

    fn both(&mut self, tell: impl Fn(&mut Governor, Moment)) {
        tell(&mut self.governor, self.now);
        tell(&mut self.eager, self.now);
        self.facts.note(self.now);
    }

    /// Lets time pass, doing what is due on the way.
    fn advance(&mut self, by: Duration) {
        self.settle();
        let end = self.now + by;
        loop {
            let next = self.decision.as_ref().and_then(|decision| decision.next);
            let due = next.into_iter().chain(self.again).min().filter(|due| *due < end);
            self.peep(due.unwrap_or(end));
            let Some(due) = due else { break };
            self.now = due;
            self.settle();
        }
        self.now = end;
        self.settle();
    }

    /// Asks the eager governor between now and the next moment at which there should be something new.
    fn peep(&mut self, until: Moment) {
        let gap = until.since(self.now);
        for part in 1..4 {
            let between = self.now + gap.mul_f64(0.24 * f64::from(part) * self.rng.f64().sqrt());
            if between >= until || self.rng.bool() {
                continue;
            }
            let seen = self.eager.poll(between);
            let known = self.decision.as_ref().map(|decision| decision.rung);
            assert_eq!(
                known,
                Some(seen.rung).filter(|_| known.is_some()),
                "new at {between:?}, due at {until:?}"
            );
            self.steps += 1;
        }
    }

    /// Decides, and gets the routes there.
    fn settle(&mut self) {
        let decision = self.governor.poll(self.now);
        self.facts.judge(self.now, &decision, self.governor.mode());
        // Sooner or later asked again, and again: nothing changes by being asked.
        for _ in 0..self.rng.u32(0..2) {
            let again = self.governor.poll(self.now);
            assert_eq!((again.rung, again.transition, again.next), (decision.rung, None, decision.next));
        }
        assert_eq!(self.eager.poll(self.now), decision);
        self.apply(decision.rung);
        self.decision = Some(decision);
        self.steps += 1;
    }

    fn apply(&mut self, wanted: Rung) {
        let (emptied, failures) = (self.kernel.emptied, self.kernel.failures);
        let progress = self.actuator.apply(self.now, wanted, &mut self.kernel);
        let smooth = failures == self.kernel.failures;
        assert!(!smooth || emptied == self.kernel.emptied || !wanted.is_announced(), "a gap");
        assert!(progress.next.is_none_or(|next| next > self.now));
        assert_eq!(progress.settled, progress.next.is_none());
        let expected: Vec<_> = Some(wanted).filter(|rung| rung.is_announced()).into_iter().collect();
        for family in Family::ALL {
            let rungs = self.kernel.rungs(family);
            assert!(!progress.settled || rungs == expected, "{wanted} is settled with {rungs:?}");
            assert!(
                rungs.first().is_none_or(|rung| *rung >= progress.held),
                "{rungs:?} is better than is said"
            );
        }
        self.again = progress.next;
        let since = |condition: bool, since: Option<Moment>| condition.then(|| since.unwrap_or(self.now));
        self.down_since = since(!wanted.is_announced(), self.down_since);
        self.apart_since = since(self.kernel.is_apart(), self.apart_since);
        self.check_bounds();
    }

    fn check_bounds(&self) {
        let longer = |since: Option<Moment>, max| since.is_some_and(|since| self.now.since(since) > max);
        assert!(
            !longer(self.apart_since, APART_MAX),
            "apart since {:?}, now {:?}",
            self.apart_since,
            self.now
        );
        let gone = self.kernel.is_empty();
        assert!(gone || !longer(self.down_since, WITHDRAWAL_MAX), "to be down since {:?}", self.down_since);
    }

    fn event(&mut self) {
        match self.rng.u32(0..100) {
            0..30 => {
                let (name, action, gravity) = CHECKS[self.rng.usize(0..CHECKS.len())];
                let fails = self.rng.u32(0..3) == 0;
                self.set_check(name, action, gravity, fails);
            }
            30..45 => self.ready(),
            45..50 => self.lose_server(),
            50..65 => {
                let age = span(&mut self.rng, 0..6_000);
                let healthy = self.rng.u32(0..5);
                self.tell_peers(healthy, age);
            }
            65..77 => self.command(),
            77..85 => self.kernel.failing = [0, 0, 0, 10, 50, 90, 100][self.rng.usize(0..7)],
            85..88 => self.set_unknown(),
            88..90 => self.restart(),
            90..93 => self.take_over(),
            93..95 => self.everything_is_well(),
            95..97 => self.calm(),
            97..99 => self.lonely(),
            _ => self.doubt(),
        }
    }

    fn observe(&mut self, verdict: Verdict) {
        self.facts.verdict = Some(verdict.clone());
        self.both(|governor, now| governor.observe(now, verdict.clone()));
    }

    fn set_check(&mut self, name: &str, action: Action, gravity: Gravity, fails: bool) {
        let mut verdict = self.facts.verdict.clone().unwrap_or_default();
        verdict.failing.retain(|failing| failing.check != name);
        if fails {
            let (check, saw) = (name.to_owned(), "seen".to_owned());
            verdict.failing.push(Failing { check, action, gravity, since: self.now, saw });
        }
        self.observe(verdict);
    }

    fn set_unknown(&mut self) {
        let mut verdict = self.facts.verdict.clone().unwrap_or_default();
        let before = verdict.unknown.pop();
        if before.is_none() {
            verdict.unknown.push("memory".to_owned());
        }
        self.observe(verdict);
    }

    fn ready(&mut self) {
        self.facts.ready = true;
        self.both(Governor::server_ready);
        if self.facts.verdict.is_none() {
            self.observe(Verdict::default());
        }
    }

    fn lose_server(&mut self) {
        self.facts.lose_server(self.now);
        self.both(|governor, now| governor.server_lost(now, "killed"));
        if self.rng.bool() {
            self.ready();
        }
    }

    fn tell_peers(&mut self, healthy: u32, age: Duration) {
        let as_of = earlier(self.now, age);
        self.facts.peers = Some((healthy, as_of));
        self.both(|governor, now| governor.peers(now, healthy, as_of));
    }

    fn command(&mut self) {
        let lasting = self.rng.bool().then(|| span(&mut self.rng, 1..600_000));
        let then = if self.rng.bool() { Then::Up } else { Then::Down };
        let command = match self.rng.u32(0..20) {
            0..6 => Command::Drain { lasting, then },
            6..13 => Command::Undrain,
            13..15 => Command::Maintenance(Switch::On),
            15..19 => Command::Maintenance(Switch::Off),
            _ => Command::Shutdown,
        };
        self.give(command);
    }

    fn give(&mut self, command: Command) {
        let result = self.governor.command(self.now, command);
        assert_eq!(self.eager.command(self.now, command), result);
        self.facts.command(self.now, command, result);
    }

    /// The process dies, and with it its interface; another one begins.
    fn restart(&mut self) {
        let (policy, mode) = (self.facts.policy.clone(), self.governor.mode());
        let seed = self.rng.u64(..);
        self.governor = Governor::new(policy.clone(), mode, seed, self.now).expect("a sound policy");
        self.eager = self.governor.clone();
        let mut facts = Facts::new(policy, self.now);
        facts.ordered = match mode {
            Mode::Normal => Ordered::Nothing,
            Mode::Draining { left, then } => Ordered::Drain { until: left.map(|left| self.now + left), then },
            Mode::Drained => Ordered::Drained,
            Mode::Maintenance => Ordered::Maintenance { since: earlier(self.now, self.facts.policy.drain) },
        };
        self.facts = facts;
        self.kernel = Kernel::new(self.rng.u64(..));
        self.actuator = Actuator::new();
        (self.again, self.apart_since, self.down_since) = (None, None, None);
    }

    /// Another process takes the route over.
    fn take_over(&mut self) {
        if matches!(self.facts.ordered, Ordered::Shutdown { .. }) {
            return;
        }
        let (policy, seed) = (self.facts.policy.clone(), self.rng.u64(..));
        self.governor =
            Governor::resume(policy, &self.governor.carried(), seed, self.now).expect("a sound policy");
        self.eager = self.governor.clone();
        self.facts.take_over(self.now);
        if !self.facts.ready {
            self.both(|governor, now| governor.server_lost(now, "taken over like this"));
        }
        if let Some(verdict) = self.facts.verdict.clone() {
            self.observe(verdict);
        }
        if let Some((healthy, as_of)) = self.facts.peers {
            self.both(|governor, now| governor.peers(now, healthy, as_of));
        }
        self.doubt();
    }

    /// The actuator forgets what it was at. Its bounds hold from then on: what was late may be late once more.
    fn doubt(&mut self) {
        self.actuator.doubt();
        self.apart_since = self.apart_since.map(|_| self.now);
        self.down_since = self.down_since.map(|_| self.now);
    }

    fn everything_is_well(&mut self) {
        self.ready();
        self.observe(Verdict::default());
        match self.facts.ordered {
            Ordered::Nothing => {}
            Ordered::Drain { .. } | Ordered::Drained => self.give(Command::Undrain),
            Ordered::Maintenance { .. } => self.give(Command::Maintenance(Switch::Off)),
            Ordered::Shutdown { .. } => {
                let rest = self.facts.policy.drain + self.facts.policy.grace;
                self.advance(rest);
                assert!(self.governor.poll(self.now).finished);
                self.restart();
                self.everything_is_well();
            }
        }
    }

    /// With nothing against it the route gets up, in a time that can be told.
    fn calm(&mut self) {
        self.settle();
        self.kernel.failing = 0;
        self.everything_is_well();
        self.settle();
        let max = self.facts.recovery_max(self.now);
        self.advance(max + ms(2_000));
        for family in Family::ALL {
            assert_eq!(self.kernel.rungs(family), [Rung::Up], "{family:?} after {max:?}");
        }
    }

    /// With a soft reason alone, and nobody else announcing, the node is announced.
    fn lonely(&mut self) {
        let Some(site) = self.facts.policy.last_site else { return };
        self.calm();
        let healthy = self.rng.u32(0..4);
        self.tell_peers(healthy, Duration::ZERO);
        let (name, action, gravity) = CHECKS[2];
        self.set_check(name, action, gravity, true);
        let by = span(&mut self.rng, 0..20_000);
        self.advance(by);
        let room =
            self.facts.policy.transitions_per_hour_max as usize - self.facts.automatic_in_hour(self.now);
        self.tell_peers(0, Duration::ZERO);
        self.settle();
        self.advance(site.peers_age_max * 2 + self.facts.policy.stable + ms(1));
        let rung = self.governor.poll(self.now).rung;
        assert!(rung == Rung::Degraded || room < 2, "{rung} as the last site");
    }
}
