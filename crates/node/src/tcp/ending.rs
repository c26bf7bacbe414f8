//! How connections end when the service does.

use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// How long a connection gets, once nothing more is read from it, to take the answers to what it has asked.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);

/// How long a connection has to be quiet before it is closed for the sake of another server. A client that goes on
/// asking does so within a round trip and some; the longer it is, the longer two servers run.
const QUIET_FOR: Duration = Duration::from_secs(1);

/// The longest that connections which are never quiet keep a server that is replaced. Their clients have to be ready for
/// the end of a connection at any time (RFC 7766 §6.2.4).
const LEAVE_WITHIN_MAX: Duration = Duration::from_secs(30);

/// When connections are closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ending {
    /// At the latest then, when what has arrived is answered.
    until: Instant,
}

impl Ending {
    /// As soon as what has arrived is answered.
    pub(super) fn now() -> Ending {
        Ending { until: Instant::now() }
    }

    /// When they have been quiet for a while, or for as long as they might be quiet otherwise.
    pub(super) fn when_quiet(idle_timeout: Duration) -> Ending {
        Ending { until: Instant::now() + idle_timeout.min(LEAVE_WITHIN_MAX) }
    }

    /// Whether nothing more is waited for.
    pub(super) fn is_due(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Until when a connection may wait for octets: for a while where nothing is under way.
    pub(super) fn deadline(&self, is_between_queries: bool) -> Instant {
        if is_between_queries { self.until.min(Instant::now() + QUIET_FOR) } else { self.until }
    }

    /// When the last connection is closed, whatever its client does.
    pub(super) fn cut_off_at(&self) -> Instant {
        self.until + FLUSH_WITHIN
    }
}

/// Resolves when connections have had all the time they get; an earlier end may be asked for meanwhile.
pub(super) async fn cut_off(mut stop: watch::Receiver<Option<Ending>>) {
    loop {
        let cut_off_at = stop.borrow_and_update().map_or_else(Instant::now, |ending| ending.cut_off_at());
        tokio::select! {
            () = sleep_until(cut_off_at) => return,
            Ok(()) = stop.changed() => {}
        }
    }
}
