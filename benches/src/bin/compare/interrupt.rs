//! Ctrl-C and SIGTERM: they end a wait with an error, so that everything that was set up is taken down on the way out.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

/// Tells whether the user wants it to end; every wait of the comparison goes through it.
pub(crate) struct Interrupt {
    asked: Receiver<()>,
}

impl Interrupt {
    /// Takes the signals over from the kernel's default, which would leave daemons and namespaces behind.
    pub(crate) fn watch() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .context("a runtime that waits for signals")?;
        let (sender, asked) = channel();
        let guard = runtime.enter();
        let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
        let mut hangup = signal(SignalKind::hangup()).context("SIGHUP")?;
        drop(guard);
        thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
            });
            // The sender goes with this thread: from now on every wait ends at once.
            drop(sender);
        });
        Ok(Self { asked })
    }

    /// Lets time pass; an error as soon as the user wants it to end.
    pub(crate) fn pause(&self, time: Duration) -> Result<()> {
        match self.asked.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Ok(()) | Err(RecvTimeoutError::Disconnected) => bail!("interrupted: everything is taken down"),
        }
    }

    /// An error if the user wants it to end.
    pub(crate) fn check(&self) -> Result<()> {
        self.pause(Duration::ZERO)
    }
}
