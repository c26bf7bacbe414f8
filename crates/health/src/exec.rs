//! Commands of the operator as checks: exit status 0 is a pass.
//!
//! A command must not have what the process has that runs it. It is started by a thread of its own that has given up all
//! capabilities for good before, which Linux keeps for each thread and hands down to children; it gets the environment
//! and the descriptors that are named here and no others, all of ours being close-on-exec; and at its time-out it is
//! killed with its process group.

use crate::Outcome;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// How much of a command's first line is shown.
const SHOWN_MAX: usize = 200;

/// How much of what a command has written is still read once it has ended: a pipe holds no more.
const REST_MAX: usize = 64 << 10;

/// The environment of commands: where Debian has its programs, and messages that can be compared.
const ENVIRONMENT: [(&str, &str); 2] =
    [("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), ("LC_ALL", "C")];

/// Runs commands, a bounded number at once.
#[derive(Clone, Debug)]
pub struct Runner {
    permits: Arc<Semaphore>,
    running_max: usize,
}

/// Why a command was not run: what it looks at may be as it should, or not.
#[derive(Debug, thiserror::Error)]
pub enum NotRun {
    /// As many run as may.
    #[error("{0} commands are running already, which is the most")]
    TooMany(usize),
    /// There is no thread to start it.
    #[error("no thread for the command: {0}")]
    Thread(io::Error),
    /// The thread can't give up what it may do.
    #[error("capabilities can't be given up: {0}")]
    Privileges(io::Error),
    /// No program was named.
    #[error("no command is given")]
    Nothing,
    /// The program can't be started.
    #[error("{program} can't be run: {source}")]
    Program {
        /// Its path.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The thread is gone.
    #[error("the command's thread ended without a word")]
    Silent,
}

/// What was seen of a command until it ended, or its time was over.
struct Seen {
    has_ended: bool,
    /// What it wrote first, to standard error if to both.
    first_line: String,
}

impl Runner {
    /// A runner of at most `running_max` commands at once. What would be one more fails at once: it says that commands
    /// take longer than their intervals, or can't be killed.
    pub fn new(running_max: usize) -> Runner {
        Runner { permits: Arc::new(Semaphore::new(running_max)), running_max }
    }

    /// Runs a program with its arguments, without a shell; for at most `timeout`.
    ///
    /// Dropping the future doesn't end the command; its time-out does.
    pub async fn run(&self, command: &[String], timeout: Duration) -> Outcome {
        judged(self.run_with(command, &[], timeout).await)
    }

    /// As [`Runner::run`], with these variables in the environment of the command; tells apart what it has found from that it
    /// could not be run.
    ///
    /// # Errors
    /// It was not run.
    pub async fn run_with(
        &self,
        command: &[String],
        variables: &[(&'static str, String)],
        timeout: Duration,
    ) -> Result<Outcome, NotRun> {
        self.begin(command, variables, timeout)?.await.unwrap_or(Err(NotRun::Silent))
    }

    /// As [`Runner::run`], for a caller that has nothing else to do meanwhile; not within an event loop.
    pub fn run_blocking(&self, command: &[String], timeout: Duration) -> Outcome {
        let begun = self.begin(command, &[], timeout);
        judged(begun.and_then(|outcome| outcome.blocking_recv().unwrap_or(Err(NotRun::Silent))))
    }

    fn begin(
        &self,
        command: &[String],
        variables: &[(&'static str, String)],
        timeout: Duration,
    ) -> Result<oneshot::Receiver<Result<Outcome, NotRun>>, NotRun> {
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        let permit = permit.map_err(|_| NotRun::TooMany(self.running_max))?;
        let (sender, outcome) = oneshot::channel();
        let (command, variables) = (command.to_vec(), variables.to_vec());
        let thread = thread::Builder::new().name("exec".to_owned());
        thread
            .spawn(move || run_alone(&command, &variables, timeout, sender, permit))
            .map_err(NotRun::Thread)?;
        Ok(outcome)
    }
}

/// For who takes a command that was not run for a bad sign.
fn judged(outcome: Result<Outcome, NotRun>) -> Outcome {
    outcome.unwrap_or_else(|error| Outcome::Fail(error.to_string()))
}

/// The life of the thread. The permit goes when the command is gone, which can be later than the outcome: a process that
/// waits for a dead disk can't be killed.
fn run_alone(
    command: &[String],
    variables: &[(&'static str, String)],
    timeout: Duration,
    outcome: oneshot::Sender<Result<Outcome, NotRun>>,
    _permit: OwnedSemaphorePermit,
) {
    let deadline = Instant::now() + timeout;
    let child = give_up_privileges()
        .map_err(|error| NotRun::Privileges(error.into()))
        .and_then(|()| start(command, variables));
    // Nobody waits for an outcome any more where sending it fails.
    let mut child = match child {
        Ok(child) => child,
        Err(fault) => return drop(outcome.send(Err(fault))),
    };
    let seen = follow(&mut child, deadline);
    // Before the command is reaped: its number, and so that of its group, can't belong to others yet. Where it has ended
    // this ends what it has left running.
    if let Some(group) = Pid::from_raw(child.id().cast_signed()) {
        let _gone = kill_process_group(group, Signal::KILL);
    }
    let judged = seen.and_then(|seen| {
        let status = if seen.has_ended { Some(child.wait()?) } else { None };
        Ok(judge(status, &seen.first_line, timeout))
    });
    let judged = judged.unwrap_or_else(|error| Outcome::Fail(format!("{}: {error}", command.join(" "))));
    let _unheard = outcome.send(Ok(judged));
    let _reaped = child.wait();
}

/// What the end of a command means; without a status it had to be killed.
fn judge(status: Option<ExitStatus>, first_line: &str, timeout: Duration) -> Outcome {
    let line = if first_line.is_empty() { String::new() } else { format!(": {first_line}") };
    match status {
        Some(status) if status.success() => Outcome::Pass,
        Some(status) => Outcome::Fail(format!("{status}{line}")),
        None => Outcome::Fail(format!("killed, having taken longer than {timeout:?}{line}")),
    }
}

/// Takes all capabilities from the calling thread and from what it will start, for good.
fn give_up_privileges() -> rustix::io::Result<()> {
    for bit in 0..u64::BITS {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << bit)) {
            Ok(()) => {}
            // Beyond the last one that the kernel knows.
            Err(Errno::INVAL) => break,
            // Without CAP_SETPCAP. What follows suffices then: nothing can be gained that the thread doesn't have.
            Err(Errno::PERM) => break,
            Err(error) => return Err(error),
        }
    }
    clear_ambient_capability_set()?;
    set_no_new_privs(true)?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
}

fn start(command: &[String], variables: &[(&'static str, String)]) -> Result<Child, NotRun> {
    let (program, arguments) = command.split_first().ok_or(NotRun::Nothing)?;
    Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(ENVIRONMENT)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| NotRun::Program { program: program.clone(), source })
}

/// Waits for the command's end or the deadline, reading what it writes so that it needn't wait for us.
fn follow(child: &mut Child, deadline: Instant) -> io::Result<Seen> {
    let pid = Pid::from_raw(child.id().cast_signed()).ok_or(io::ErrorKind::NotFound)?;
    let ended = pidfd_open(pid, PidfdFlags::empty())?;
    let mut error = Output::new(child.stderr.take().map(OwnedFd::from))?;
    let mut output = Output::new(child.stdout.take().map(OwnedFd::from))?;
    let has_ended = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break false;
        }
        let pipes = [&error, &output].map(|output| output.pipe.as_ref());
        let mut fds: Vec<PollFd<'_>> = vec![PollFd::new(&ended, PollFlags::IN)];
        fds.extend(pipes.into_iter().flatten().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        let left = Timespec::try_from(left).map_err(|_| io::ErrorKind::InvalidInput)?;
        match poll(&mut fds, Some(&left)) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let is_over = !fds[0].revents().is_empty();
        error.read(REST_MAX)?;
        output.read(REST_MAX)?;
        if is_over {
            break true;
        }
    };
    let first_line = [error, output].iter().map(Output::first_line).find(|line| !line.is_empty());
    Ok(Seen { has_ended, first_line: first_line.unwrap_or_default() })
}

/// The beginning of what a command writes.
struct Output {
    /// Nothing once it is closed.
    pipe: Option<OwnedFd>,
    begin: Vec<u8>,
}

impl Output {
    fn new(pipe: Option<OwnedFd>) -> io::Result<Output> {
        if let Some(pipe) = &pipe {
            fcntl_setfl(pipe, fcntl_getfl(pipe)? | OFlags::NONBLOCK)?;
        }
        Ok(Output { pipe, begin: Vec::new() })
    }

    /// Reads what is there, at most `max` octets, and keeps as much as can be shown.
    fn read(&mut self, max: usize) -> io::Result<()> {
        let Some(pipe) = &self.pipe else { return Ok(()) };
        let mut octets = [0; 4096];
        let mut total = 0;
        while total < max {
            match rustix::io::read(pipe.as_fd(), &mut octets) {
                Ok(0) => {
                    self.pipe = None;
                    return Ok(());
                }
                Ok(len) => {
                    total += len;
                    let room = SHOWN_MAX.saturating_sub(self.begin.len());
                    self.begin.extend(&octets[..len.min(room)]);
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The first line that says something, fit to be shown.
    fn first_line(&self) -> String {
        let text = String::from_utf8_lossy(&self.begin);
        let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    }
}
