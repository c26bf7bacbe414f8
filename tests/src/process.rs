//! A child process in its own group, with its output in a file, that never outlives the test.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::tools;

/// How much of a log is shown when something went wrong, octets.
const LOG_TAIL_LEN: i64 = 6_000;

/// A running child; killed with its group when dropped.
pub struct Process {
    name: String,
    pid: Pid,
    log: PathBuf,
    lines: Receiver<String>,
    exit: Receiver<ExitStatus>,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts a command: stderr goes to `log`, stdout comes line by line to [`Process::line`].
    pub fn spawn(name: &str, command: &Command, log: &Path) -> Result<Self> {
        Self::spawn_with_input(name, command, log, Stdio::null())
    }

    /// The same, with something on stdin.
    pub fn spawn_with_input(name: &str, command: &Command, log: &Path, input: Stdio) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("log {}", log.display()))?;
        let mut command = mortal(command)?;
        command.stdin(input).stdout(Stdio::piped()).stderr(file).process_group(0);
        let mut child = command.spawn().with_context(|| format!("start of {name}"))?;
        let pid = Pid::from_raw(child.id().cast_signed()).context("a child has a process id")?;
        let stdout = child.stdout.take().context("stdout was piped")?;
        let (line_sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Reading goes on without a listener, so that the child never blocks on a full pipe.
                let _ = line_sender.send(line);
            }
        });
        let (exit_sender, exit) = channel();
        thread::spawn(move || {
            if let Ok(status) = child.wait() {
                let _ = exit_sender.send(status);
            }
        });
        Ok(Self { name: name.to_owned(), pid, log: log.to_owned(), lines, exit, status: None })
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// The next line of stdout, or none at the deadline.
    pub fn line(&mut self, deadline: Instant) -> Result<Option<String>> {
        match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => bail!("{} ended:\n{}", self.name, self.log_tail()),
        }
    }

    /// The exit status, if the child has ended.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.exit.try_recv().ok();
        }
        self.status
    }

    /// Waits for the end.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        if self.status.is_none() {
            let status = self.exit.recv_timeout(limit);
            self.status =
                Some(status.map_err(|_| {
                    anyhow!("{} still runs after {limit:?}:\n{}", self.name, self.log_tail())
                })?);
        }
        self.status.context("just set")
    }

    /// Sends a signal to the child alone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.pid, signal).with_context(|| format!("signal to {}", self.name))
    }

    /// Everything written to stderr so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read(&self.log)
            .map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The end of stderr, with the name in front.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let mut bytes = Vec::new();
        if let Ok(mut file) = File::open(&self.log) {
            let len = file.metadata().map_or(0, |meta| meta.len().cast_signed());
            // A log that cannot be read shows as empty: this is only ever an addition to another error.
            let _ = file.seek(SeekFrom::Start((len - LOG_TAIL_LEN).max(0).cast_unsigned()));
            let _ = file.read_to_end(&mut bytes);
        }
        format!("--- log of {} ---\n{}", self.name, String::from_utf8_lossy(&bytes))
    }
}

/// The same command, killed by the kernel when the test thread that started it is gone: a test process that
/// is itself killed drops nothing. The standard library has no safe way to ask for this.
fn mortal(command: &Command) -> Result<Command> {
    let mut wrapped = Command::new(tools::program("setpriv")?);
    wrapped.args(["--pdeathsig", "KILL"]).arg(command.get_program()).args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        wrapped.current_dir(folder);
    }
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(key, value),
            None => wrapped.env_remove(key),
        };
    }
    Ok(wrapped)
}

impl Drop for Process {
    fn drop(&mut self) {
        let ended = self.exited();
        // A test that fails over an answer is not helped by what a healthy server logged.
        if thread::panicking()
            && let Some(status) = ended
        {
            eprintln!("{} ended by itself with {status}\n{}", self.name, self.log_tail());
        }
        match ended {
            // The group may still hold children (NSD forks) though its leader is gone.
            Some(status) if status.signal().is_none() => {}
            _ => {
                let _ = kill_process_group(self.pid, Signal::KILL);
                let _ = self.exit.recv_timeout(Duration::from_secs(5));
            }
        }
    }
}

/// The thread of a process that has this name.
///
/// # Errors
/// There is none.
pub fn thread_of(pid: impl fmt::Display, name: &str) -> Result<String> {
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?;
        if std::fs::read_to_string(task.path().join("comm"))?.trim_end() == name {
            return Ok(task.file_name().to_string_lossy().into_owned());
        }
    }
    bail!("process {pid} has no thread {name}")
}
