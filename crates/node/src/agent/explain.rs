//! What the agent tells of the route: to `ctl explain`, to peers, to whoever collects metrics.

use super::turn::Agent;
use crate::status::{AgentStatus, BirdStatus, CheckResult, CheckStatus, ServerStatus, timestamp};
use anycast::Rung;
use anycast::governor::Decision;
use health::{Action, Check, Gravity, Moment, Observation};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// What the loop keeps in order to tell it.
pub(super) struct Told {
    /// What the governor said last.
    pub(super) decision: Option<Decision>,
    /// What BIRD's verification came to.
    pub(super) bird: BirdStatus,
    /// The server.
    pub(super) server: ServerStatus,
    /// Its control socket.
    pub(super) server_control: Option<PathBuf>,
    /// How many servers have answered.
    pub(super) servers: u64,
    /// Whether `running` was said.
    pub(super) ready_said: bool,
    /// What is wrong with the route in the kernel, if anything is.
    pub(super) trouble: Option<String>,
    /// The rung that is held, and since when.
    held: (Rung, Moment, SystemTime),
    seconds_on: [Duration; Rung::ALL.len()],
    transitions: BTreeMap<String, u64>,
}

impl Told {
    /// Nothing has been seen yet, but that a rung has been held for so long, and whether the node ran before.
    pub(super) fn new(now: Moment, held: Rung, held_for: Duration, ready_said: bool) -> Told {
        let since = SystemTime::now().checked_sub(held_for).unwrap_or(SystemTime::UNIX_EPOCH);
        Told {
            decision: None,
            bird: BirdStatus::Unknown,
            server: ServerStatus { state: "starting".to_owned(), ..ServerStatus::default() },
            server_control: None,
            servers: 0,
            ready_said,
            trouble: None,
            held: (held, Moment(now.0.saturating_sub(held_for)), since),
            seconds_on: [Duration::ZERO; Rung::ALL.len()],
            transitions: BTreeMap::new(),
        }
    }

    /// The kernel's routes now stand for this rung.
    pub(super) fn held(&mut self, now: Moment, rung: Rung) {
        self.trouble = None;
        let (before, since, _) = self.held;
        if before != rung {
            self.seconds_on[position(before)] += now.since(since);
            self.held = (rung, now, SystemTime::now());
        }
    }

    /// The governor has decided on another rung.
    pub(super) fn transition(&mut self, from: Rung, to: Rung) {
        *self.transitions.entry(format!("{from}->{to}")).or_default() += 1;
    }

    /// Everything there is to tell.
    pub(super) fn status(&self, agent: &Agent) -> AgentStatus {
        let now = super::server::now(agent.clock);
        let (held, since, since_time) = self.held;
        let decision = self.decision.as_ref();
        let wanted = decision.map_or(held, |decision| decision.rung);
        let mut reasons: Vec<String> = self.trouble.iter().cloned().collect();
        let mut blocked = Vec::new();
        if let Some(decision) = decision {
            reasons.extend(decision.reasons.iter().map(|reason| reason.text(now)));
            blocked.extend(decision.blocked.iter().map(|block| block.text(now)));
        }
        let checks: Vec<CheckStatus> =
            agent.checks.panel.iter().map(|(_, check)| check_status(check, now)).collect();
        let hard =
            |check: &CheckStatus| check.standing == "failing" && check.gravity == "hard" && !check.overloaded;
        let exported = !matches!(self.bird, BirdStatus::Differs(_) | BirdStatus::Unreachable(_));
        let seconds_on = Rung::ALL.into_iter().map(|rung| {
            let running = if rung == held { now.since(since) } else { Duration::ZERO };
            (rung.to_string(), (self.seconds_on[position(rung)] + running).as_secs())
        });
        AgentStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            name: agent.name.clone(),
            wanted: wanted.to_string(),
            held: held.to_string(),
            since: timestamp(since_time),
            held_ms: millis(now.since(since)),
            bird: self.bird.clone(),
            no_delay: agent.no_delay_status.borrow().clone(),
            healthy: decision.is_some_and(|decision| decision.healthy)
                && held == Rung::Up
                && exported
                && !checks.iter().any(hard),
            reasons,
            blocked,
            mode: agent.governor.mode().word().to_owned(),
            transitions: self.transitions.clone(),
            seconds_on: seconds_on.collect(),
            server: self.server.clone(),
            checks,
            peers: agent.peers.view().statuses,
            serials: agent.view.zones().into_iter().map(|zone| (zone.name, zone.serial)).collect(),
        }
    }
}

fn position(rung: Rung) -> usize {
    Rung::ALL.iter().position(|other| *other == rung).unwrap_or(0)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn check_status(check: &Check, now: Moment) -> CheckStatus {
    let spec = check.spec();
    let result = |seen: &Observation| CheckResult {
        ago_ms: millis(now.since(seen.at)),
        failure: seen.failure.clone(),
    };
    CheckStatus {
        name: spec.name.clone(),
        action: match spec.action {
            Action::Report => "report",
            Action::Degrade => "degrade",
            Action::Withdraw => "withdraw",
        }
        .to_owned(),
        gravity: match spec.gravity {
            Gravity::Soft => "soft",
            Gravity::Hard => "hard",
        }
        .to_owned(),
        standing: check.standing().word().to_owned(),
        for_ms: millis(now.since(check.since())),
        runs: check.runs(),
        failures: check.failures(),
        took_us: u64::try_from(check.took().as_micros()).unwrap_or(u64::MAX),
        fall: spec.fall,
        rise: spec.rise,
        overloaded: check.is_overload(),
        last: check.last().map(result).collect(),
    }
}
