//! What a running server is asked from outside, by signals and by its agent.

use crate::signals::{self, Signals};
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
    signals: Signals,
    agent: mpsc::Receiver<Asked>,
}

impl Requests {
    /// Handles the signals from now on; `agent` gives what the agent asks, if there is one.
    ///
    /// # Errors
    /// The system refuses.
    pub(super) fn new(agent: mpsc::Receiver<Asked>) -> std::io::Result<Requests> {
        Ok(Requests { signals: Signals::new()?, agent })
    }

    /// Waits for the next request.
    pub(super) async fn next(&mut self) -> Asked {
        tokio::select! {
            biased;
            asked = self.signals.next() => match asked {
                signals::Asked::End => Asked::End,
                signals::Asked::Reload => Asked::Reload,
            },
            Some(asked) = self.agent.recv() => asked,
        }
    }
}
