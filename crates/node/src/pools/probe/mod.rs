//! One look at an endpoint.
//!
//! What is bad with an endpoint is told apart from what keeps this node from looking at it: a command that can't be started, or a
//! socket that may not be opened, says nothing of the endpoint, which is unknown then.

mod agent;
mod dns;
mod exec;
mod file;
mod grpc;
mod http;
mod icmp;
mod tcp;
mod tls;

pub(super) use health::said::Agent;
pub(crate) use icmp::{EchoSockets, takes_raw};

use crate::config::{Measure, PoolCheck, PoolConfig, Probe};
use health::Outcome;
use health::said::shown;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// What a look has come to.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Look {
    /// This was seen of the endpoint; and of its load, where that is looked at.
    Saw(Outcome, Option<Reading>),
    /// Nothing was seen, and why: it is for the operator of this node to mend.
    Blind(String),
}

/// What a look has shown of the load of an endpoint.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Reading {
    /// The number, in the unit of what is taken for the load; or why there is none.
    pub(super) number: Result<f64, String>,
    /// Whether the endpoint wishes not to be answered with as long as anything else is left.
    pub(super) is_drained: bool,
}

/// Why a look does not find an endpoint good.
#[derive(Debug)]
enum Fault {
    /// It is not good.
    Bad(String),
    /// It can't be looked at.
    Blind(String),
}

impl Fault {
    /// In words.
    fn why(self) -> String {
        match self {
            Fault::Bad(why) | Fault::Blind(why) => why,
        }
    }
}

/// Who looks at endpoints, with what all looks share.
pub(super) struct Prober {
    pinger: icmp::Pinger,
    commands: exec::Commands,
    files: file::States,
}

/// A look while it goes on.
struct Visit<'c> {
    check: &'c PoolCheck,
    at: SocketAddr,
    /// What is missing if nothing more comes.
    awaited: Mutex<&'static str>,
    /// What was seen of the load, or why it wasn't.
    load: Mutex<Option<Result<f64, String>>>,
}

impl Visit<'_> {
    fn await_now(&self, what: &'static str) {
        // The lock guards a single assignment, which can't be left half done.
        *self.awaited.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }

    /// What is taken for the load of the endpoint, if anything is.
    fn measure(&self) -> Option<&Measure> {
        self.check.load.as_ref().map(|load| &load.measure)
    }

    fn note_load(&self, load: Result<f64, String>) {
        // As above.
        *self.load.lock().unwrap_or_else(PoisonError::into_inner) = Some(load);
    }

    /// What has come of looking at the load in a look that took so long.
    fn reading(&self, took: Duration, agent: &Agent, heard: Result<(), String>) -> Option<Reading> {
        let number = match self.measure()? {
            Measure::ResponseTime => Ok(milliseconds(took)),
            Measure::Agent { .. } => heard.map(|()| f64::from(agent.percent())),
            Measure::ConnectTime | Measure::Body { .. } | Measure::Header(_) => {
                let noted = self.load.lock().unwrap_or_else(PoisonError::into_inner).take();
                noted.unwrap_or_else(|| Err("it was not seen".to_owned()))
            }
        };
        Some(Reading { number, is_drained: agent.is_drained() })
    }

    fn too_late(&self) -> String {
        let awaited = *self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        format!("{awaited} within {} ms", self.check.timeout.as_millis())
    }
}

impl Prober {
    /// Within an event loop.
    pub(super) fn new(sockets: EchoSockets) -> Prober {
        Prober {
            pinger: icmp::Pinger::new(sockets),
            commands: exec::Commands::new(),
            files: file::States::default(),
        }
    }

    /// Looks at an endpoint, no longer than its check allows, and listens to its agent if it has one; and how long the look
    /// took.
    pub(super) async fn look(
        &self,
        check: &PoolCheck,
        address: IpAddr,
        agent: &mut Agent,
    ) -> (Look, Duration) {
        let at = SocketAddr::new(address, check.port);
        let visit = Visit { check, at, awaited: Mutex::new("no answer"), load: Mutex::default() };
        // A command has the time-out itself, which also kills it; half as much again is for those that hang all the same.
        let is_own = matches!(check.probe, Probe::Exec(_));
        let within = if is_own { check.timeout + check.timeout / 2 } else { check.timeout };
        let began = Instant::now();
        let asking = async { (timeout(within, self.ask(&visit)).await, began.elapsed()) };
        let ((asked, took), heard) = {
            let listening = agent::listen(&visit, agent);
            tokio::pin!(asking, listening);
            tokio::select! {
                heard = &mut listening => (asking.await, heard),
                (asked, took) = &mut asking => {
                    // What is bad is so whatever an agent says, and nobody waits for that.
                    let is_good = matches!(asked, Ok(Ok(())));
                    let heard = if is_good { listening.await } else { Ok(()) };
                    ((asked, took), heard)
                }
            }
        };
        let outcome = match asked {
            Ok(Ok(())) => agent.trouble().map_or(Outcome::Pass, Outcome::Fail),
            Ok(Err(Fault::Bad(why))) => Outcome::Fail(why),
            Ok(Err(Fault::Blind(why))) => return (Look::Blind(why), took),
            // A disk or a process of this machine that hangs is no fault of the endpoint's.
            Err(_) if is_own || matches!(check.probe, Probe::File(_)) => {
                return (Look::Blind(visit.too_late()), took);
            }
            Err(_) => Outcome::Fail(visit.too_late()),
        };
        (Look::Saw(outcome, visit.reading(took, agent, heard)), took)
    }

    async fn ask(&self, visit: &Visit<'_>) -> Result<(), Fault> {
        match &visit.check.probe {
            Probe::Tcp => tcp::connect(visit).await.map(drop),
            Probe::Tls(tls) => {
                let stream = tcp::connect(visit).await?;
                tls::shake_hands(visit, stream, tls).await.map(drop)
            }
            Probe::Http(page) => http::fetch(visit, page).await,
            Probe::Dns(query) => dns::ask(visit, query).await,
            Probe::Icmp => self.pinger.ping(visit).await,
            Probe::Grpc(service) => grpc::ask(visit, service).await,
            Probe::Exec(command) => self.commands.run(visit, command).await,
            Probe::File(file) => self.files.look(visit, file).await,
        }
    }
}

/// What this machine can't look at of these pools, as far as can be said before it tries.
pub(super) fn obstacles(pools: &[PoolConfig]) -> Vec<String> {
    let mut obstacles: Vec<String> = icmp::obstacle(pools).into_iter().collect();
    for pool in pools {
        let obstacle = match pool.check.as_ref().map(|check| &check.probe) {
            Some(Probe::Exec(command)) => exec::obstacle(command),
            Some(Probe::File(file)) => file::obstacle(file),
            _ => None,
        };
        obstacles.extend(obstacle.map(|obstacle| format!("the pool {}: {obstacle}", pool.name)));
    }
    obstacles
}

/// A time as a load.
fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
