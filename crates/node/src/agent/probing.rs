//! Probes of the service addresses: a task for each, round after round, to every thread of the server.

use super::checks::Observation;
use super::view::{Answers, View};
use crate::config::{self, AnycastConfig, Config};
use health::{Answered, CheckIndex, Outcome, ProbePlan, Prober, Steering, Transports};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use wire::NameBuf;
use wire::probe::Seat;

/// How many failures of one round are told; the rest is counted.
const TOLD_MAX: usize = 2;

/// A service address that is probed.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The address with the port that is listened on.
    pub(crate) address: SocketAddr,
    /// Makes a query a probe.
    pub(crate) token: [u8; 16],
    /// How the kernel chooses among the workers.
    pub(crate) steering: Steering,
}

/// Which checks the rounds are for, and how often they are made.
pub(crate) struct Rounds {
    /// The check of UDP.
    pub(crate) udp: CheckIndex,
    /// The check of TCP.
    pub(crate) tcp: CheckIndex,
    /// From the start of one round to that of the next.
    pub(crate) every: Duration,
    /// How long an answer may take.
    pub(crate) timeout: Duration,
}

/// The service addresses with the ports that are listened on.
pub(crate) fn targets(config: &Config, anycast: &AnycastConfig) -> Vec<SocketAddr> {
    let mut targets: Vec<SocketAddr> = Vec::new();
    for address in anycast.plan.addresses() {
        for listen in &config.node.listen {
            let wildcard = listen.ip().is_unspecified() && listen.is_ipv4() == address.is_ipv4();
            let target = SocketAddr::new(*address, listen.port());
            if (wildcard || listen.ip() == *address) && !targets.contains(&target) {
                targets.push(target);
            }
        }
    }
    targets
}

/// Probes until nobody wants to know any more.
pub(crate) async fn run(
    target: Target,
    rounds: Rounds,
    view: Rc<View>,
    observations: mpsc::Sender<Observation>,
) {
    let mut ticks = interval(rounds.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut prober: Option<(Answers, Prober)> = None;
    for turn in 0.. {
        ticks.tick().await;
        let Some(answers) = view.answers() else {
            prober = None;
            continue;
        };
        let Some((zone, serials)) = view.zone(turn) else { continue };
        let known = prober.take_if(|(of, _)| *of == answers).map(|(_, prober)| prober);
        let mut asking = match known.map_or_else(|| Prober::new(plan(&target, &rounds, answers)), Ok) {
            Ok(prober) => prober,
            Err(error) => {
                // Too few descriptors, or the address is gone: that is no answer, too.
                let outcome = Outcome::Fail(format!("{} can't be asked: {error}", target.address));
                for check in [rounds.udp, rounds.tcp] {
                    let observation = Observation { check, took: Duration::ZERO, outcome: outcome.clone() };
                    let _gone = observations.send(observation).await;
                }
                continue;
            }
        };
        // It came from a name.
        let Ok(zone) = NameBuf::from_text(zone.as_bytes(), None) else { continue };
        let began = Instant::now();
        let answered = asking.round(zone.as_name(), &serials).await;
        let took = began.elapsed();
        // The server may have gone in the meantime, and then its silence is told by its death.
        if view.answers() == Some(answers) {
            let is_udp = |seat: Seat| matches!(seat, Seat::UdpWorker(_));
            let outcomes = [(rounds.udp, true), (rounds.tcp, false)];
            for (check, udp) in outcomes {
                let outcome = fold(&answered, |seat| is_udp(seat) == udp);
                let observation = Observation { check, took, outcome };
                if observations.send(observation).await.is_err() {
                    return;
                }
            }
        }
        prober = Some((answers, asking));
    }
}

fn plan(target: &Target, rounds: &Rounds, answers: Answers) -> ProbePlan {
    ProbePlan {
        address: target.address,
        transports: Transports::Both,
        workers: answers.workers,
        tcp_threads: answers.tcp_threads,
        steering: target.steering,
        token: target.token,
        timeout: rounds.timeout,
    }
}

/// What a round came to: every thread has to have answered well.
fn fold(answered: &[Answered], counts: impl Fn(Seat) -> bool) -> Outcome {
    let failures: Vec<String> = answered
        .iter()
        .filter(|answered| counts(answered.seat))
        .filter_map(|answered| match &answered.outcome {
            Outcome::Pass => None,
            Outcome::Fail(saw) => Some(saw.clone()),
        })
        .collect();
    match failures.len() {
        0 => Outcome::Pass,
        count if count > TOLD_MAX => {
            Outcome::Fail(format!("{}; and {} more", failures[..TOLD_MAX].join("; "), count - TOLD_MAX))
        }
        _ => Outcome::Fail(failures.join("; ")),
    }
}

/// How the prober looks for the workers. With steering chosen by the kernel's state it has to try both ways.
pub(crate) fn steering(of: config::Steering) -> Steering {
    match of {
        config::Steering::Hash => Steering::ByHash,
        config::Steering::Cpu | config::Steering::Auto => Steering::ByCpu,
    }
}
