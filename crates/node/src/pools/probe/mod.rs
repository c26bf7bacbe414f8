//! One look at an endpoint.
//!
//! What is bad with an endpoint is told apart from what keeps this node from looking at it: a command that can't be started, or a
//! socket that may not be opened, says nothing of the endpoint, which is unknown then.

mod certificate;
mod dns;
mod exec;
mod file;
mod grpc;
mod http;
mod icmp;
mod tcp;
mod tls;

pub(crate) use icmp::{EchoSockets, takes_raw};

use crate::config::{PoolCheck, PoolConfig, Probe};
use health::Outcome;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use tokio::time::timeout;

/// What a look has come to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Look {
    /// This was seen of the endpoint.
    Saw(Outcome),
    /// Nothing was seen, and why: it is for the operator of this node to mend.
    Blind(String),
}

/// Why a look does not find an endpoint good.
#[derive(Debug)]
enum Fault {
    /// It is not good.
    Bad(String),
    /// It can't be looked at.
    Blind(String),
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
}

impl Visit<'_> {
    fn await_now(&self, what: &'static str) {
        // The lock guards a single assignment, which can't be left half done.
        *self.awaited.lock().unwrap_or_else(PoisonError::into_inner) = what;
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

    /// Looks at an endpoint, no longer than its check allows.
    pub(super) async fn look(&self, check: &PoolCheck, address: IpAddr) -> Look {
        let at = SocketAddr::new(address, check.port);
        let visit = Visit { check, at, awaited: Mutex::new("no answer") };
        // A command has the time-out itself, which also kills it; half as much again is for those that hang all the same.
        let is_own = matches!(check.probe, Probe::Exec(_));
        let within = if is_own { check.timeout + check.timeout / 2 } else { check.timeout };
        match timeout(within, self.ask(&visit)).await {
            Ok(Ok(())) => Look::Saw(Outcome::Pass),
            Ok(Err(Fault::Bad(why))) => Look::Saw(Outcome::Fail(why)),
            Ok(Err(Fault::Blind(why))) => Look::Blind(why),
            // A disk or a process of this machine that hangs is no fault of the endpoint's.
            Err(_) if is_own || matches!(check.probe, Probe::File(_)) => Look::Blind(visit.too_late()),
            Err(_) => Look::Saw(Outcome::Fail(visit.too_late())),
        }
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

/// A text of somebody else's, fit to be shown: in one line, and short.
fn shown(text: &str) -> String {
    /// Enough for a sentence.
    const CHARS_MAX: usize = 200;
    text.trim().chars().take(CHARS_MAX).map(|char| if char.is_control() { ' ' } else { char }).collect()
}
