//! What a running server is asked from outside, by signals and by its agent.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    /// To read changed zones.
    Reload,
    /// To end.
    End,
    /// To end, and not to hurry TCP clients: another server has the sockets.
    Leave,
}

/// Where requests come from.
pub(super) struct Requests {
    hang_up: Signal,
    terminate: Signal,
    interrupt: Signal,
    agent: mpsc::Receiver<Asked>,
}

impl Requests {
    /// Handles the signals from now on; `agent` gives what the agent asks, if there is one.
    ///
    /// # Errors
    /// The system refuses.
    pub(super) fn new(agent: mpsc::Receiver<Asked>) -> std::io::Result<Requests> {
        Ok(Requests {
            hang_up: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            agent,
        })
    }

    /// Waits for the next request.
    pub(super) async fn next(&mut self) -> Asked {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Asked::End,
            _ = self.interrupt.recv() => Asked::End,
            Some(asked) = self.agent.recv() => asked,
            _ = self.hang_up.recv() => Asked::Reload,
        }
    }
}
