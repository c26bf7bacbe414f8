//! BIRD's sessions: that what BIRD sends doesn't wait for the acknowledgement of what it sent before.
//!
//! BIRD leaves Nagle's algorithm on, and then a withdrawal right behind a keepalive waits up to 200 ms for the upstream to
//! acknowledge that. [`NoDelay`] turns it off from outside, as soon as a socket of BGP begins to be used; nothing else
//! depends on it. A withdrawal waits neither for this task nor for the run, which is on a thread of its own.

use crate::config::BirdConfig;
use crate::link::watched;
use crate::status::NoDelayStatus;
use netio::NoDelay;
use netio::no_delay::DESCRIPTORS;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

/// BGP's port (RFC 4271 §8.2.1): at the other end where BIRD has connected, at this one where it was connected to.
const BGP_PORT: u16 = 179;
/// How soon a run that failed is made again.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// How many runs may follow each other at once: there are two sockets for a session, one for each family, and few sessions.
const RUNS_FREE: u32 = 16;
/// How long until there may be one more. Whoever reaches BGP's port can cause them, and one takes 2 ms and more.
const RUN_EVERY: Duration = Duration::from_millis(50);

/// Gets ready while the privileges are there, or goes on with what the program before has got ready.
pub(super) fn prepare(
    bird: Option<&BirdConfig>,
    passed: Option<[OwnedFd; DESCRIPTORS]>,
) -> (Option<Arc<NoDelay>>, NoDelayStatus) {
    if !is_wanted(bird) {
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
    match is_wanted(bird).then(|| NoDelay::for_port(BGP_PORT))? {
        // Who checks may have less than who runs.
        Ok(_) | Err(netio::NoDelayError::Forbidden(_)) => None,
        Err(error) => Some(cost(&error.to_string())),
    }
}

/// Whether nobody has said that it is not to be; a BIRD that follows the route need not be told of.
fn is_wanted(bird: Option<&BirdConfig>) -> bool {
    bird.is_none_or(|bird| bird.no_delay)
}

/// Sets it, and again each time that a socket begins.
pub(super) async fn run(no_delay: Arc<NoDelay>, status: watch::Sender<NoDelayStatus>) {
    let begins = match watched(no_delay.as_fd()) {
        Ok(begins) => begins,
        Err(error) => return tell(&status, NoDelayStatus::Impossible { why: error.to_string() }),
    };
    let mut runs = Runs::new();
    loop {
        runs.wait().await;
        let of_run = Arc::clone(&no_delay);
        // It takes milliseconds where there are thousands of connections.
        let applied = match tokio::task::spawn_blocking(move || of_run.apply()).await {
            Ok(applied) => applied.map_err(|error| error.to_string()),
            Err(_) => return,
        };
        let retry_after = if applied.is_ok() { Duration::MAX } else { RETRY_AFTER };
        let now = match applied {
            Ok(0) => NoDelayStatus::Waiting,
            Ok(sockets) => NoDelayStatus::InForce { sockets },
            Err(why) => NoDelayStatus::Impossible { why: format!("the kernel refuses it: {why}") },
        };
        tell(&status, now);
        if let Ok(begun) = timeout(retry_after, begins.readable()).await {
            match begun {
                Ok(mut ready) => ready.clear_ready(),
                Err(_) => return, // the event loop ends
            }
        }
    }
}

/// Runs that may be made: [`RUNS_FREE`] at once, and one more every [`RUN_EVERY`].
struct Runs {
    /// When as many as may be at once would be free again.
    full_at: Instant,
}

impl Runs {
    fn new() -> Runs {
        Runs { full_at: Instant::now() }
    }

    /// Waits until one may be made, and takes it for made.
    async fn wait(&mut self) {
        let now = Instant::now();
        self.full_at = self.full_at.max(now) + RUN_EVERY;
        sleep_until(self.full_at.checked_sub(RUN_EVERY * RUNS_FREE).unwrap_or(now)).await;
    }
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
