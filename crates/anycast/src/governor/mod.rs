//! Which rung of the ladder the route belongs on: health, peers, commands and time go in, a decision comes out.
//!
//! Two things are kept apart. What health alone has *earned* falls at once with any reason against it and rises only
//! after it has been stable and no hold-down runs. An *order* sets a limit on top of that. The rung is the worse of the
//! two; while an order drains, it never gets better.
//!
//! Inputs only take note, [`Governor::poll`] decides: call it after each input and at the moment it named. It has no
//! clock and no randomness of its own, so that any history can be run again.
//!
//! The limit by the hour never delays a step down: whoever gets to a rung leaves as many transitions as lead from there
//! to the bottom (`Budget::reserve`). So only steps up wait for it.

mod actuator;
mod carried;
mod damping;
mod decision;
mod guard;
mod order;
mod policy;
#[cfg(test)]
mod tests;

pub use actuator::{Actuator, Operation, Progress, RETRY_MAX, Trouble, WITHDRAWAL_MAX};
pub use carried::Carried;
pub use damping::HOUR;
pub use decision::{Block, Cause, Decision, Reason, Transition};
pub use order::{Command, Mode, Refused, Switch, Then};
pub use policy::{LastSite, Policy, PolicyError, TIME_MAX, TRANSITIONS_MAX, TRANSITIONS_MIN};

use health::{Gravity, Moment, Verdict};

use crate::Rung;
use damping::{Budget, Damping};
use decision::rung_of;
use guard::Guard;
use order::{Lifted, Order};

/// The state machine that decides the rung.
#[derive(Clone, Debug)]
pub struct Governor {
    policy: Policy,
    rng: fastrand::Rng,
    now: Moment,
    server: Server,
    /// None until the first one came.
    verdict: Option<Verdict>,
    guard: Guard,
    order: Order,
    /// An order has ended since the last decision: the step up that follows is the operator's.
    lifted: Lifted,
    /// The server was lost since the last decision; another one may be ready by now.
    server_lost: bool,
    /// What health alone has earned: never `draining`.
    earned: Rung,
    /// Since when nothing is against `up`, and against `degraded`.
    proved: [Option<Moment>; 2],
    rung: Rung,
    since: Moment,
    /// When the route last went.
    left: Option<Moment>,
    damping: Damping,
    budget: Budget,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Server {
    NotReady,
    Ready,
    Lost { since: Moment, what: String },
}

/// What health asks for now.
#[derive(Clone, Copy)]
struct Demand {
    /// The best rung that hard reasons allow.
    hard: Rung,
    /// The best rung that all reasons allow.
    allowed: Rung,
    /// Whether there is a soft reason to withdraw.
    soft_withdraw: bool,
    /// Whether enough is known to announce more than before.
    known: bool,
}

impl Governor {
    /// A governor of a node that announces nothing yet; `mode` is what an earlier process was ordered.
    pub fn new(policy: Policy, mode: Mode, seed: u64, now: Moment) -> Result<Governor, PolicyError> {
        policy.validate()?;
        Ok(Governor {
            policy,
            rng: fastrand::Rng::with_seed(seed),
            now,
            server: Server::NotReady,
            verdict: None,
            guard: Guard::default(),
            order: Order::of_mode(now, mode),
            lifted: Lifted::No,
            server_lost: false,
            earned: Rung::Down,
            proved: [None; 2],
            rung: Rung::Down,
            since: now,
            left: None,
            damping: Damping::default(),
            budget: Budget::default(),
        })
    }

    /// Takes what the checks came to.
    pub fn observe(&mut self, now: Moment, verdict: Verdict) {
        self.verdict = Some(verdict);
        self.take_note(now);
    }

    /// The server has loaded its zones and answers.
    pub fn server_ready(&mut self, now: Moment) {
        self.server = Server::Ready;
        self.take_note(now);
    }

    /// The server is dead, frozen or about to be killed; what was seen, for people.
    pub fn server_lost(&mut self, now: Moment, what: &str) {
        if !matches!(self.server, Server::Lost { .. }) {
            self.server = Server::Lost { since: now, what: what.to_owned() };
        }
        // All was earned by that server, even if another one is ready before the next decision.
        self.earned = Rung::Down;
        self.proved = [None; 2];
        self.server_lost = true;
        self.take_note(now);
    }

    /// Takes how many peers announce healthily, and of when this is: the oldest reading that counted.
    pub fn peers(&mut self, now: Moment, healthy: u32, as_of: Moment) {
        self.guard.peers(healthy, as_of);
        self.take_note(now);
    }

    /// Takes a command, or says why not.
    pub fn command(&mut self, now: Moment, command: Command) -> Result<(), Refused> {
        self.take_note(now);
        if self.order.take(self.now, command, (self.rung, self.since), &self.policy)? == Lifted::Yes {
            self.lifted = Lifted::Yes;
        }
        Ok(())
    }

    /// What has been ordered, to be kept over restarts. A shutdown is not kept, but what it came on top of.
    pub fn mode(&self) -> Mode {
        self.order.mode(self.now)
    }

    /// The rung as of the last decision.
    pub fn rung(&self) -> Rung {
        self.rung
    }

    /// Decides.
    pub fn poll(&mut self, now: Moment) -> Decision {
        self.take_note(now);
        let demand = self.demand();
        self.earn(demand);
        let reasons = self.reasons();
        let transition = self.step(demand, &reasons);
        Decision {
            rung: self.rung,
            since: self.since,
            healthy: self.rung == Rung::Up && demand.allowed == Rung::Up,
            reasons,
            blocked: self.blocked(),
            next: self.next(),
            finished: self.ends_at().is_some_and(|at| at <= self.now),
            transition,
        }
    }

    /// Brings everything that depends on time and inputs alone to the present.
    fn take_note(&mut self, now: Moment) {
        self.now = self.now.max(now);
        if self.order.lapse(self.now) == Lifted::Yes {
            self.lifted = Lifted::Yes;
        }
        let soft_withdraw = self.demand().soft_withdraw;
        self.guard.note(self.now, soft_withdraw, self.policy.last_site, &mut self.rng);
        let demand = self.demand();
        for (proved, rung) in self.proved.iter_mut().zip([Rung::Up, Rung::Degraded]) {
            let good = demand.known && demand.allowed <= rung;
            *proved = if good { proved.or(Some(self.now)) } else { None };
        }
    }

    fn demand(&self) -> Demand {
        let ready = self.server == Server::Ready;
        let (mut hard, mut soft) = (if ready { Rung::Up } else { Rung::Down }, Rung::Up);
        let mut soft_withdraw = false;
        for failing in self.verdict.iter().flat_map(|verdict| &verdict.failing) {
            let Some(rung) = rung_of(failing.action) else { continue };
            match failing.gravity {
                Gravity::Hard => hard = hard.max(rung),
                Gravity::Soft if rung == Rung::Down => soft_withdraw = true,
                Gravity::Soft => soft = soft.max(rung),
            }
        }
        if soft_withdraw {
            soft = soft.max(self.guard.rung(self.now, self.policy.last_site, self.earned));
        }
        let known = ready && self.verdict.as_ref().is_some_and(|verdict| verdict.unknown.is_empty());
        Demand { hard, allowed: hard.max(soft), soft_withdraw, known }
    }

    /// Lets what health has earned fall to what is allowed, or rise to the best that is proved.
    fn earn(&mut self, demand: Demand) {
        if demand.allowed >= self.earned {
            self.earned = demand.allowed;
            return;
        }
        let held = self.damping.holds(self.now).is_some();
        for (rung, proved) in [Rung::Up, Rung::Degraded].into_iter().zip(self.proved) {
            // Nobody else answers: that is worse than what the hold-down is there to prevent.
            let last_site = demand.soft_withdraw && self.earned == Rung::Down;
            if rung < self.earned && self.stable(proved) && (!held || last_site) {
                self.earned = rung;
                return;
            }
        }
    }

    fn stable(&self, proved: Option<Moment>) -> bool {
        proved.is_some_and(|since| since + self.policy.stable <= self.now)
    }

    /// Changes the rung if it has to, and counts that.
    fn step(&mut self, demand: Demand, reasons: &[Reason]) -> Option<Transition> {
        let by_operator = self.lifted == Lifted::Yes;
        let server_lost = std::mem::take(&mut self.server_lost);
        let to = self.target(usize::from(!by_operator), demand);
        self.lifted = Lifted::No;
        let (from, since) = (self.rung, self.since);
        if to == from {
            return None;
        }
        let better = to < from;
        let by = match better {
            true if by_operator => Cause::Operator,
            true if demand.soft_withdraw => Cause::LastSite,
            true => Cause::Recovery,
            false if self.order.limit(self.now) >= to => Cause::Operator,
            false if demand.hard >= to || server_lost => Cause::Hard,
            false => Cause::Soft,
        };
        if by != Cause::Operator {
            self.budget.spend(self.now);
            debug_assert!(self.budget.used(self.now) <= self.transitions_max(), "the reserve is too small");
        }
        if better {
            self.damping.rose();
        } else if by != Cause::Operator {
            self.damping.fell(self.now, (from, since), &self.policy, &mut self.rng);
        }
        if to == Rung::Down {
            self.left = Some(self.now);
        }
        self.rung = to;
        self.since = self.now;
        Some(Transition { at: self.now, from, to, by, why: self.why(by, reasons) })
    }

    /// The rung that health, order and limit lead to; a step up counts for so many transitions.
    fn target(&self, counts: usize, demand: Demand) -> Rung {
        let limit = self.order.limit(self.now);
        let target = self.earned.max(limit);
        if limit == Rung::Draining {
            return target.max(self.rung);
        }
        if target >= self.rung {
            return target;
        }
        // While a soft reason waits, the route may be about to go: no step up for so short a time. And what the last
        // site earned in spite of a hold-down, it may only have as the last site.
        let held = counts > 0 && !demand.soft_withdraw && self.damping.holds(self.now).is_some();
        if held || self.guard.waits(self.now).is_some() {
            return self.rung;
        }
        let room = |rung: &Rung| {
            let wanted = counts + Budget::reserve(*rung);
            self.budget.used(self.now) + wanted <= self.transitions_max()
        };
        let better = [Rung::Up, Rung::Degraded].into_iter().zip(self.proved);
        // What was earned and not had, for an order or the limit, may no longer be proved: a check became unknown.
        let open =
            better.filter(|(rung, proved)| *rung >= target && *rung < self.rung && self.stable(*proved));
        open.map(|(rung, _)| rung).find(room).unwrap_or(self.rung)
    }

    fn transitions_max(&self) -> usize {
        self.policy.transitions_per_hour_max as usize
    }

    fn why(&self, by: Cause, reasons: &[Reason]) -> String {
        let texts: Vec<_> = reasons.iter().map(|reason| reason.text(self.now)).collect();
        match (by, texts.is_empty()) {
            (_, false) => texts.join("; "),
            (Cause::Operator, true) => "by command".to_owned(),
            (Cause::Hard | Cause::Soft, true) => "the server was lost, and another one is ready".to_owned(),
            (_, true) => format!("nothing against it for {:?}", self.policy.stable),
        }
    }

    /// When a shutdown is over, once the route is gone.
    fn ends_at(&self) -> Option<Moment> {
        if !matches!(self.order, Order::Shutdown { .. }) || self.rung.is_announced() {
            return None;
        }
        Some(self.left.map_or(self.now, |left| left + self.policy.grace))
    }

    fn reasons(&self) -> Vec<Reason> {
        let mut reasons = Vec::new();
        match &self.server {
            Server::NotReady => reasons.push(Reason::NotReady),
            Server::Ready => {}
            Server::Lost { since, what } => {
                reasons.push(Reason::ServerLost { since: *since, what: what.clone() });
            }
        }
        match self.order {
            Order::None => {}
            Order::Drain { until, then } => reasons.push(Reason::Drain { until, then }),
            Order::Drained => reasons.push(Reason::Drained),
            Order::Maintenance { .. } => reasons.push(Reason::Maintenance),
            Order::Shutdown { .. } => reasons.push(Reason::Shutdown),
        }
        let failing = self.verdict.iter().flat_map(|verdict| &verdict.failing);
        let acting = failing.filter(|failing| rung_of(failing.action).is_some());
        reasons.extend(acting.cloned().map(Reason::Check));
        if let (Some(site), true) = (self.policy.last_site, self.demand().soft_withdraw) {
            let (healthy, needed) = (self.guard.healthy(self.now, site), site.peers_min);
            if let Some(until) = self.guard.waits(self.now) {
                reasons.push(Reason::Waits { until });
            } else if healthy < needed {
                reasons.push(Reason::LastSite { healthy, needed });
            }
        }
        // Stable: reasons of one weight stay in the order of the checks.
        reasons.sort_by_key(|reason| std::cmp::Reverse(reason.weight()));
        reasons
    }

    fn blocked(&self) -> Vec<Block> {
        let mut blocked = Vec::new();
        if self.rung == Rung::Up {
            return blocked;
        }
        match self.order {
            Order::None => {}
            Order::Drain { until, then } => blocked.push(Block::Drain { until, then }),
            Order::Drained => blocked.push(Block::Drained),
            Order::Maintenance { .. } => blocked.push(Block::Maintenance),
            Order::Shutdown { .. } => blocked.push(Block::Shutdown),
        }
        if self.server != Server::Ready {
            blocked.push(Block::NotReady);
        }
        match &self.verdict {
            None => blocked.push(Block::Unknown(Vec::new())),
            Some(verdict) if !verdict.unknown.is_empty() => {
                blocked.push(Block::Unknown(verdict.unknown.clone()));
            }
            Some(_) => {}
        }
        let failing = self.verdict.iter().flat_map(|verdict| &verdict.failing);
        for failing in failing.filter(|failing| rung_of(failing.action).is_some()) {
            blocked.push(Block::Check { name: failing.check.clone(), since: failing.since });
        }
        blocked.extend(self.proofs().map(|(rung, until)| Block::Stable { rung, until }));
        blocked.extend(self.damping.holds(self.now).map(|until| Block::HoldDown { until }));
        let max = self.policy.transitions_per_hour_max;
        blocked.extend(self.rooms().next().map(|until| Block::Limit { until, max }));
        blocked
    }

    /// What is being proved, and until when.
    fn proofs(&self) -> impl Iterator<Item = (Rung, Moment)> {
        let rungs = [Rung::Up, Rung::Degraded].into_iter().zip(self.proved);
        let ends = rungs.filter_map(|(rung, since)| Some((rung, since? + self.policy.stable)));
        ends.filter(|(rung, until)| *rung < self.rung && *until > self.now)
    }

    /// When there is room for the better rungs that are earned but for the limit.
    fn rooms(&self) -> impl Iterator<Item = Moment> {
        let wanted = self.earned.max(self.order.limit(self.now));
        let rungs = [Rung::Up, Rung::Degraded].into_iter();
        let better = rungs.filter(move |rung| *rung >= wanted && *rung < self.rung);
        let room = |rung| self.budget.room_at(self.now, 1 + Budget::reserve(rung), self.transitions_max());
        better.map(room).filter(|at| *at > self.now)
    }

    /// The first moment at which time alone may change the decision.
    fn next(&self) -> Option<Moment> {
        let site = self.policy.last_site.filter(|_| self.demand().soft_withdraw);
        let stale = site.and_then(|site| self.guard.stale_at(site));
        let moments = [
            self.order.next(),
            self.damping.holds(self.now),
            self.guard.waits(self.now),
            stale,
            self.ends_at(),
        ];
        let all =
            moments.into_iter().flatten().chain(self.proofs().map(|(_, until)| until)).chain(self.rooms());
        all.filter(|at| *at > self.now).min()
    }
}
