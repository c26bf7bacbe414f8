//! BIRD's sessions: that what BIRD sends doesn't wait for the acknowledgement of what it sent before.
//!
//! BIRD leaves Nagle's algorithm on, and then a withdrawal right behind a keepalive waits up to 200 ms for the upstream to
//! acknowledge that. [`NoDelay`] turns it off from outside, each time a session has been established anew; nothing else
//! depends on it. A withdrawal waits neither for this task nor for the run, which is on a thread of its own.

use crate::config::BirdConfig;
use crate::status::NoDelayStatus;
use anycast::bird::{Observation, ProtocolName, SessionState};
use netio::NoDelay;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// BGP's port (RFC 4271 §8.2.1): at the other end where BIRD has connected, at this one where it was connected to.
const BGP_PORT: u16 = 179;
/// How soon a run that failed is made again.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// The established sessions, each with what BIRD says of it: since when it is up, above all. Once that is a day ago BIRD
/// writes it in another way, which costs a run and means nothing.
pub(super) type Sessions = Vec<(ProtocolName, String)>;

/// Gets ready while the privileges are there, or goes on with what the program before has got ready.
pub(super) fn prepare(
    bird: Option<&BirdConfig>,
    passed: Option<OwnedFd>,
) -> (Option<Arc<NoDelay>>, NoDelayStatus) {
    if !bird.is_some_and(|bird| bird.no_delay) {
        return (None, NoDelayStatus::Off);
    }
    let prepared = match passed {
        Some(passed) => NoDelay::adopt(passed).map_err(|error| error.to_string()),
        None => NoDelay::for_port(BGP_PORT).map_err(|error| error.to_string()),
    };
    match prepared {
        Ok(no_delay) => (Some(Arc::new(no_delay)), NoDelayStatus::Waiting),
        Err(why) => {
            warn(&why);
            (None, NoDelayStatus::Impossible { why })
        }
    }
}

/// Why `starling run` could not do it on this machine, whoever starts it.
pub(crate) fn obstacle(bird: Option<&BirdConfig>) -> Option<String> {
    let wanted = bird.is_some_and(|bird| bird.no_delay);
    match wanted.then(|| NoDelay::for_port(BGP_PORT))? {
        // Who checks may have less than who runs.
        Ok(_) | Err(netio::NoDelayError::Forbidden(_)) => None,
        Err(error) => Some(cost(&error.to_string())),
    }
}

/// Sets it for the sessions that are told, each time they are others.
pub(super) async fn run(
    no_delay: Arc<NoDelay>,
    mut sessions: watch::Receiver<Sessions>,
    status: watch::Sender<NoDelayStatus>,
) {
    loop {
        let failed = matches!(*status.borrow(), NoDelayStatus::Impossible { .. });
        let retry_after = if failed { RETRY_AFTER } else { Duration::MAX };
        if let Ok(Err(_)) = timeout(retry_after, sessions.changed()).await {
            return;
        }
        if sessions.borrow_and_update().is_empty() {
            continue;
        }
        let of_run = Arc::clone(&no_delay);
        // It takes milliseconds where there are thousands of connections.
        let applied = match tokio::task::spawn_blocking(move || of_run.apply()).await {
            Ok(applied) => applied.map_err(|error| error.to_string()),
            Err(_) => return,
        };
        let now = match applied {
            Ok(sockets) => NoDelayStatus::InForce { sockets },
            Err(why) => NoDelayStatus::Impossible { why: format!("the kernel refuses it: {why}") },
        };
        tell(&status, now);
    }
}

/// The sessions to do it for.
pub(super) fn established(observation: &Observation) -> Sessions {
    let up = observation.sessions.iter().filter(|session| session.state == SessionState::Established);
    up.map(|session| (session.protocol.clone(), session.told.clone())).collect()
}

fn tell(status: &watch::Sender<NoDelayStatus>, now: NoDelayStatus) {
    let before = status.send_replace(now.clone());
    match now {
        NoDelayStatus::InForce { sockets } => {
            tracing::debug!("TCP_NODELAY is set on {sockets} sockets of port {BGP_PORT}");
        }
        NoDelayStatus::Impossible { why } if before != (NoDelayStatus::Impossible { why: why.clone() }) => {
            warn(&why);
        }
        _ => {}
    }
}

fn warn(why: &str) {
    tracing::warn!("{}", cost(why));
}

fn cost(why: &str) -> String {
    format!(
        "TCP_NODELAY can't be set on BIRD's sessions: {why}. A withdrawal right behind another message then waits until the \
         upstream has acknowledged that, up to 200 ms; `no-delay = false` in [anycast.bird] accepts it"
    )
}
