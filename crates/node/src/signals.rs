//! The signals that a node knows. Any other ends it as the kernel has it, at once.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGXFSZ.
const FILE_SIZE: i32 = rustix::process::Signal::XFSZ.as_raw();

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Asked {
    /// To read changed zones.
    Reload,
    /// To end.
    End,
}

/// The signals, from when this was made; they kill no more.
pub(crate) struct Signals {
    hang_up: Signal,
    terminate: Signal,
    interrupt: Signal,
    /// Sent with a write beyond RLIMIT_FSIZE, and it would end the process. With a handler the write fails instead (EFBIG),
    /// as on a full disk. It is not ignored, which commands of the operator's would inherit.
    _file_size: Signal,
}

impl Signals {
    /// Handles the signals from now on.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            hang_up: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            _file_size: signal(SignalKind::from_raw(FILE_SIZE))?,
        })
    }

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) -> Asked {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Asked::End,
            _ = self.interrupt.recv() => Asked::End,
            _ = self.hang_up.recv() => Asked::Reload,
        }
    }
}

/// Has the kernel write no core dumps of this process, from now on and until it becomes another program.
///
/// A process that dies of SIGSEGV, SIGABRT and the like keeps its descriptors until its memory is written: for the agent that
/// is the lease, so the route would stay meanwhile; and for the server the link, so its agent would take the death for a
/// freeze, 0.7 s later. A limit of 0 (RLIMIT_CORE) does not do it: where dumps go into a pipe, as to systemd-coredump, the
/// kernel doesn't look at it. `starling serve` alone holds no route, and may dump.
///
/// # Errors
/// The system refuses; a filter of system calls may.
pub(crate) fn no_core_dumps() -> std::io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}
