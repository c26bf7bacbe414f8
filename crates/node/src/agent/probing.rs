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
    /// How the kernel chooses among the workers, by the configuration; what the server says counts more.
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

impl Rounds {
    /// Tells of a round that could not even begin.
    async fn fail(&self, saw: &str, observations: &mpsc::Sender<Observation>) {
        for check in [self.udp, self.tcp] {
            let observation =
                Observation { check, took: Duration::ZERO, outcome: Outcome::Fail(saw.to_owned()) };
            let _gone = observations.send(observation).await;
        }
    }
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
        let Some((zone, serials)) = view.zone(turn) else {
            rounds.fail("no zone is served that could be asked for", &observations).await;
            continue;
        };
        let known = prober.take_if(|(of, _)| *of == answers).map(|(_, prober)| prober);
        let mut asking = match known.map_or_else(|| Prober::new(plan(&target, &rounds, answers)), Ok) {
            Ok(prober) => prober,
            Err(error) => {
                // Too few descriptors, or the address is gone: that is no answer, too.
                rounds.fail(&format!("{} can't be asked: {error}", target.address), &observations).await;
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
                let outcome = fold(&answered, |seat| is_udp(seat) == udp, view.overload());
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
        steering: match answers.by_cpu {
            Some(true) => Steering::ByCpu,
            Some(false) => Steering::ByHash,
            None => target.steering,
        },
        token: target.token,
        timeout: rounds.timeout,
    }
}

/// What a round came to: every thread has to have answered well. Where all that is missing is answers, and the server was
/// overloaded, it is overload.
fn fold(answered: &[Answered], counts: impl Fn(Seat) -> bool, overload: Option<String>) -> Outcome {
    let failed =
        answered.iter().filter(|answered| counts(answered.seat) && answered.outcome != Outcome::Pass);
    let (mut told, mut count, mut is_silence) = (Vec::new(), 0_usize, true);
    for answered in failed {
        count += 1;
        is_silence &= answered.is_silence;
        if let Outcome::Fail(saw) | Outcome::Overloaded(saw) = &answered.outcome
            && told.len() < TOLD_MAX
        {
            told.push(saw.clone());
        }
    }
    if count == 0 {
        return Outcome::Pass;
    }
    let mut saw = told.join("; ");
    if count > TOLD_MAX {
        saw = format!("{saw}; and {} more", count - TOLD_MAX);
    }
    match overload {
        Some(overload) if is_silence => Outcome::Overloaded(format!("{saw}; {overload}")),
        _ => Outcome::Fail(saw),
    }
}

/// How the prober looks for the workers. With steering chosen by the kernel's state it has to try both ways.
pub(crate) fn steering(of: config::Steering) -> Steering {
    match of {
        config::Steering::Hash => Steering::ByHash,
        config::Steering::Cpu | config::Steering::Auto => Steering::ByCpu,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(index: u16, outcome: Outcome, is_silence: bool) -> Answered {
        Answered { seat: Seat::UdpWorker(index), took: Duration::ZERO, outcome, is_silence }
    }

    #[test]
    fn only_silence_is_explained_by_overload() {
        let fail = |saw: &str| Outcome::Fail(saw.to_owned());
        let silent = answered(0, fail("no answer"), true);
        let wrong = answered(1, fail("SERVFAIL"), false);
        let good = answered(2, Outcome::Pass, false);
        let busy = || Some("9 of 10 were lost".to_owned());
        let all = |_| true;
        assert_eq!(fold(std::slice::from_ref(&good), all, busy()), Outcome::Pass);
        assert_eq!(fold(&[good.clone(), silent.clone()], all, None), fail("no answer"));
        let overloaded = Outcome::Overloaded("no answer; 9 of 10 were lost".to_owned());
        assert_eq!(fold(&[good, silent.clone()], all, busy()), overloaded);
        assert_eq!(fold(&[silent.clone(), wrong], all, busy()), fail("no answer; SERVFAIL"));
        let many = [silent.clone(), silent.clone(), silent];
        assert_eq!(fold(&many, all, None), fail("no answer; no answer; and 1 more"));
    }
}
