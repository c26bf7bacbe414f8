//! The rules of the governor in their plainest form: what happened, and what a decision must not do after it.

use anycast::Rung;
use anycast::governor::{
    Cause, Command, Decision, HOUR, LastSite, Mode, Policy, Refused, Switch, Then, Transition,
};
use health::{Action, Gravity, Moment, Verdict};
use std::time::Duration;

use crate::ms;

/// What was ordered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ordered {
    Nothing,
    Drain { until: Option<Moment>, then: Then },
    Drained,
    Maintenance { since: Moment },
    Shutdown { since: Moment },
}

/// All that was told to a governor, and all that it decided.
pub(crate) struct Facts {
    pub(crate) policy: Policy,
    pub(crate) ready: bool,
    /// None before the first one.
    pub(crate) verdict: Option<Verdict>,
    pub(crate) peers: Option<(u32, Moment)>,
    pub(crate) ordered: Ordered,
    pub(crate) rung: Rung,
    pub(crate) rung_since: Moment,
    /// Since when nothing is against `up`, and nothing asks for `down`.
    good_since: [Option<Moment>; 2],
    known_since: Option<Moment>,
    soft_withdraw_since: Option<Moment>,
    /// Until when enough peers were known to announce healthily.
    enough_until: Option<Moment>,
    /// Transitions by no command.
    automatic: Vec<Moment>,
    /// Whether the last transition withdrew for soft reasons.
    went_softly: bool,
    damping: Damping,
}

/// Hold-downs as the documentation has them.
#[derive(Default)]
struct Damping {
    doublings: u32,
    risen: bool,
    hold: Duration,
    fell: Option<Moment>,
}

impl Facts {
    pub(crate) fn new(policy: Policy, now: Moment) -> Facts {
        Facts {
            policy,
            ready: false,
            verdict: None,
            peers: None,
            ordered: Ordered::Nothing,
            rung: Rung::Down,
            rung_since: now,
            good_since: [None; 2],
            known_since: None,
            soft_withdraw_since: None,
            enough_until: None,
            automatic: Vec::new(),
            went_softly: false,
            damping: Damping::default(),
        }
    }

    /// Whether a failing check does this to the route.
    fn failing(&self, action: Action, gravity: Gravity) -> bool {
        let mut failing = self.verdict.iter().flat_map(|verdict| &verdict.failing);
        failing.any(|failing| failing.action == action && failing.gravity == gravity)
    }

    /// Whether something asks for `down` at once.
    pub(crate) fn hard_withdraw(&self) -> bool {
        !self.ready || self.failing(Action::Withdraw, Gravity::Hard)
    }

    /// Whether something asks for `down` if others can do without.
    pub(crate) fn soft_withdraw(&self) -> bool {
        self.failing(Action::Withdraw, Gravity::Soft)
    }

    fn degrade(&self) -> bool {
        self.failing(Action::Degrade, Gravity::Hard) || self.failing(Action::Degrade, Gravity::Soft)
    }

    fn known(&self) -> bool {
        self.ready && self.verdict.as_ref().is_some_and(|verdict| verdict.unknown.is_empty())
    }

    /// How many peers are known to announce healthily.
    pub(crate) fn peers_healthy(&self, now: Moment) -> u32 {
        let age_max = self.policy.last_site.map(|site| site.peers_age_max).unwrap_or_default();
        self.peers.filter(|(_, as_of)| now.since(*as_of) <= age_max).map_or(0, |(healthy, _)| healthy)
    }

    /// Takes note of what changed, after every input.
    pub(crate) fn note(&mut self, now: Moment) {
        let since = |condition: bool, since: Option<Moment>| condition.then(|| since.unwrap_or(now));
        let no_down = !self.hard_withdraw() && !self.soft_withdraw();
        self.soft_withdraw_since = since(self.soft_withdraw(), self.soft_withdraw_since);
        self.good_since[0] = since(no_down && !self.degrade(), self.good_since[0]);
        // The last site stays on `degraded`, whatever soft reasons ask for, and so does one that waits.
        let waited = |max| self.soft_withdraw_since.is_some_and(|since| now.since(since) > max);
        let ignored = |site: LastSite| {
            self.peers_healthy(now) < site.peers_min || !waited(site.peers_age_max * 2 + ms(1))
        };
        let short = self.policy.last_site.is_some_and(ignored);
        let no_down = !self.hard_withdraw() && (!self.soft_withdraw() || short);
        self.good_since[1] = since(no_down, self.good_since[1]);
        self.known_since = since(self.known(), self.known_since);
        let Some(site) = self.policy.last_site else { return };
        if self.peers_healthy(now) >= site.peers_min {
            self.enough_until = self.peers.map(|(_, as_of)| as_of + site.peers_age_max);
        } else {
            self.enough_until = self.enough_until.map(|until| until.min(now));
        }
    }

    /// The server was replaced: whatever was proved, was proved of another one.
    pub(crate) fn lose_server(&mut self, now: Moment) {
        self.ready = false;
        self.note(now);
    }

    /// Another process took over: soft reasons wait anew.
    pub(crate) fn take_over(&mut self, now: Moment) {
        self.soft_withdraw_since = self.soft_withdraw_since.map(|_| now);
    }

    /// Takes a command that a governor took or refused, and says whether that was right.
    pub(crate) fn command(&mut self, now: Moment, command: Command, result: Result<(), Refused>) {
        self.lapse(now);
        let drain = matches!(command, Command::Drain { .. });
        let (taken, next) = match (self.ordered, command) {
            (Ordered::Shutdown { .. }, _) => (false, self.ordered),
            (_, Command::Shutdown) => (true, Ordered::Shutdown { since: now }),
            (Ordered::Maintenance { .. }, Command::Maintenance(Switch::Off)) => (true, Ordered::Nothing),
            (Ordered::Maintenance { .. }, _) | (_, Command::Maintenance(Switch::Off)) => {
                (false, self.ordered)
            }
            (_, Command::Maintenance(Switch::On)) => (true, Ordered::Maintenance { since: now }),
            (Ordered::Drained, _) if drain => (false, self.ordered),
            (Ordered::Nothing, Command::Undrain) => (false, self.ordered),
            (_, Command::Undrain) => (true, Ordered::Nothing),
            (_, Command::Drain { lasting, then }) => {
                (true, Ordered::Drain { until: lasting.map(|lasting| now + lasting), then })
            }
        };
        assert_eq!(result.is_ok(), taken, "{command:?} while {:?}: {result:?}", self.ordered);
        self.ordered = next;
    }

    /// Ends a drain whose time is over.
    fn lapse(&mut self, now: Moment) {
        if let Ordered::Drain { until: Some(until), then } = self.ordered
            && now >= until
        {
            self.ordered = if then == Then::Up { Ordered::Nothing } else { Ordered::Drained };
        }
    }

    /// How many transitions by no command were in the hour before.
    pub(crate) fn automatic_in_hour(&self, now: Moment) -> usize {
        self.automatic.iter().filter(|at| now.since(**at) < HOUR).count()
    }

    /// Holds a decision against everything that is known.
    pub(crate) fn judge(&mut self, now: Moment, decision: &Decision, mode: Mode) {
        self.lapse(now);
        self.note(now);
        let rung = decision.rung;
        assert!(decision.next.is_none_or(|next| next > now), "next lies in the past");
        assert!(!self.hard_withdraw() || rung == Rung::Down, "announced with a hard reason");
        assert!(
            !self.failing(Action::Degrade, Gravity::Hard) || rung >= Rung::Degraded,
            "a hard reason to degrade"
        );
        assert!(
            !self.failing(Action::Degrade, Gravity::Soft) || rung >= Rung::Degraded,
            "a soft reason to degrade"
        );
        assert!(!self.soft_withdraw() || rung >= Rung::Degraded, "a soft reason to withdraw");
        assert!(rung == Rung::Up || !decision.blocked.is_empty(), "nothing keeps it from `up`: {decision:?}");
        let well = rung == Rung::Up && self.good_since[0].is_some();
        assert_eq!(decision.healthy, well, "what peers are told");
        self.judge_order(now, decision, mode);
        match &decision.transition {
            None => assert_eq!(rung, self.rung, "a change without a transition"),
            Some(transition) => {
                assert_eq!((transition.from, transition.to, transition.at), (self.rung, rung, now));
                assert_ne!(transition.from, transition.to);
                self.judge_transition(now, transition);
                self.damping.take(transition, self.rung_since, &self.policy);
                if rung == Rung::Down && transition.by == Cause::Soft {
                    self.good_since[1] = None;
                }
                self.went_softly = rung == Rung::Down && transition.by == Cause::Soft;
                (self.rung, self.rung_since) = (rung, now);
            }
        }
        self.judge_soft(now, decision);
    }

    fn judge_order(&self, now: Moment, decision: &Decision, mode: Mode) {
        let rung = decision.rung;
        let drained = |since: Moment| now >= since + self.policy.drain;
        let (limit, word) = match self.ordered {
            Ordered::Nothing => (Rung::Up, Some("normal")),
            Ordered::Drain { .. } => (Rung::Draining, Some("draining")),
            Ordered::Drained => (Rung::Down, Some("drained")),
            Ordered::Maintenance { since } if drained(since) => (Rung::Down, Some("maintenance")),
            Ordered::Shutdown { since } if drained(since) => (Rung::Down, None),
            Ordered::Maintenance { .. } => (Rung::Draining, Some("maintenance")),
            Ordered::Shutdown { .. } => (Rung::Draining, None),
        };
        assert!(rung >= limit, "{rung} while {:?}", self.ordered);
        assert!(limit != Rung::Draining || rung >= self.rung, "a drain raised the rung");
        assert!(word.is_none_or(|word| word == mode.word()), "{mode:?} while {:?}", self.ordered);
        let over = matches!(self.ordered, Ordered::Shutdown { since } if now >= since + self.policy.drain + self.policy.grace);
        assert!(decision.finished || !over, "the shutdown doesn't end");
        assert!(
            !decision.finished || matches!(self.ordered, Ordered::Shutdown { .. }),
            "nobody asked for an end"
        );
        assert!(!decision.finished || rung == Rung::Down, "ends while announced");
    }

    fn judge_transition(&mut self, now: Moment, transition: &Transition) {
        let (to, stable) = (transition.to, self.policy.stable);
        if transition.by != Cause::Operator {
            self.automatic.retain(|at| now.since(*at) < HOUR);
            self.automatic.push(now);
            let max = self.policy.transitions_per_hour_max as usize;
            assert!(self.automatic.len() <= max, "{} transitions in an hour", self.automatic.len());
        }
        if to > transition.from {
            let ordered = self.ordered != Ordered::Nothing;
            assert!(transition.by != Cause::Operator || ordered, "nobody ordered this: {transition:?}");
            return;
        }
        let long = |since: Option<Moment>| since.is_some_and(|since| now.since(since) >= stable);
        let last_site = to == Rung::Degraded && self.soft_withdraw();
        if last_site {
            assert!(!self.hard_withdraw());
            let site = self.policy.last_site.expect("a soft reason is only ignored where there are peers");
            assert!(self.peers_healthy(now) < site.peers_min, "others announce");
        } else {
            let good = self.good_since[usize::from(to != Rung::Up)];
            assert!(long(good), "{transition:?} with all good since {good:?} only");
        }
        match transition.by {
            Cause::Operator => {}
            Cause::LastSite => {
                assert!(last_site);
                // What only the limit kept down may get up sooner: for that it was proved before.
                let gone = self.went_softly
                    && self.soft_withdraw_since.is_some_and(|since| since <= self.rung_since);
                let short = self.enough_until.is_none_or(|until| now.since(until) >= stable);
                assert!(!gone || short, "{transition:?}: not the last site for so long");
            }
            Cause::Recovery => {
                assert!(long(self.known_since), "{transition:?}: not all is known for so long");
                let until = self.damping.fell.map(|fell| fell + self.damping.hold.mul_f64(0.7499));
                assert!(until.is_none_or(|until| now >= until), "{transition:?}: held down until {until:?}");
            }
            by => panic!("{by:?} made it better"),
        }
    }

    /// Soft reasons to withdraw: only with enough peers, only after the wait, but then for sure.
    fn judge_soft(&self, now: Moment, decision: &Decision) {
        let Some(since) = self.soft_withdraw_since else { return };
        let Some(site) = self.policy.last_site else {
            assert_eq!(decision.rung, Rung::Down, "nobody to be the last site for");
            return;
        };
        let enough = self.peers_healthy(now) >= site.peers_min;
        if let Some(transition) = &decision.transition
            && transition.by == Cause::Soft
            && transition.to == Rung::Down
        {
            assert!(enough, "the last site went for a soft reason");
            assert!(now.since(since) >= site.peers_age_max, "gone before the peers could be seen");
        }
        // Nanoseconds are lost where the wait is a fraction.
        if enough && now.since(since) > site.peers_age_max * 2 + Duration::from_micros(1) {
            assert_eq!(decision.rung, Rung::Down, "others announce, and it doesn't go");
        }
    }

    /// How long it may take at most until the route is up, if everything is and stays good from now on.
    pub(crate) fn recovery_max(&self, now: Moment) -> Duration {
        let hold = self.damping.hold.mul_f64(1.2501);
        let quiet = self.policy.stable.max(hold);
        let room = self.policy.transitions_per_hour_max as usize - self.automatic_in_hour(now);
        // Up to `degraded`, up to `up`, and two that must be left. Without that room each of the two may wait an hour.
        if room >= 4 { quiet } else { quiet + HOUR * 2 }
    }
}

impl Damping {
    fn take(&mut self, transition: &Transition, since: Moment, policy: &Policy) {
        if transition.to < transition.from {
            self.risen = true;
            return;
        }
        if transition.by == Cause::Operator {
            return;
        }
        self.fell = Some(transition.at);
        if !std::mem::take(&mut self.risen) {
            return;
        }
        if transition.from == Rung::Up {
            let mut quiet = transition.at.since(since);
            while quiet >= policy.hold_down_max && self.doublings > 0 {
                quiet -= policy.hold_down_max;
                self.doublings -= 1;
            }
        }
        self.hold = policy.hold_down;
        for _ in 0..self.doublings {
            self.hold *= 2;
        }
        if self.hold < policy.hold_down_max {
            self.doublings += 1;
        }
        self.hold = self.hold.min(policy.hold_down_max);
    }
}
