//! The server process: how it is started, watched, beaten to, killed and asked to leave.
//!
//! What is known of it is known by descriptors: the link, which breaks when the process dies, and a pidfd, which can't come
//! to mean another one.

use super::watch::{Finding, Kind, Watch};
use crate::link::{AsyncLink, BEAT_EVERY, FromAgent, FromServer, LinkEnd, Look, Threads, watched};
use anycast::governor::HOUR;
use health::Moment;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

/// How long a server gets to end after it was asked to: its own limits for that are 4 seconds.
pub(super) const END_WITHIN: Duration = Duration::from_secs(6);

/// How many control sockets of servers there may be: upgrades are minutes apart, and a server that is replaced is gone after
/// one.
const CONTROLS_MAX: u32 = 16;

/// How servers are started.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    /// The program.
    pub(crate) binary: PathBuf,
    /// What follows `serve`.
    pub(crate) arguments: Vec<OsString>,
    /// The agent's control socket, beside which the server's is to be.
    pub(crate) control: PathBuf,
    /// Makes a query a probe.
    pub(crate) probe_token: String,
    /// How long heartbeats may be missing.
    pub(crate) freeze: Duration,
}

/// A server that answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ready {
    /// Where it listens.
    pub(crate) listen: Vec<SocketAddr>,
    /// How many UDP workers answer.
    pub(crate) workers: u16,
    /// How many TCP threads answer.
    pub(crate) tcp_threads: u16,
    /// Whether it is the CPU that chooses the UDP worker, and not a hash, if that is known.
    pub(crate) by_cpu: Option<bool>,
}

/// A server that one agent program hands to the next.
#[derive(Debug)]
pub(crate) struct Handed {
    /// The process.
    pub(crate) pid: Pid,
    /// The link to it.
    pub(crate) link: OwnedFd,
    /// What it said when it was ready.
    pub(crate) ready: Ready,
    /// Its control socket.
    pub(crate) control: PathBuf,
}

/// Tells the time to this module and its users.
pub(crate) type Clock = Instant;

/// The moment it is. Time begins an hour before the process did, so that what an earlier program did in the last hour has
/// moments too.
pub(crate) fn now(clock: Clock) -> Moment {
    Moment(HOUR + clock.elapsed())
}

/// Beats, at their pace.
pub(super) fn beats() -> Interval {
    let mut beats = interval(BEAT_EVERY);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beats
}

/// A server process.
pub(super) struct Server {
    /// The process's number.
    pub(super) pid: Pid,
    process: AsyncFd<OwnedFd>,
    /// The link to it.
    pub(super) link: AsyncLink<FromAgent, FromServer>,
    /// Its control socket.
    pub(super) control: PathBuf,
    /// What it said when it was ready.
    pub(super) ready: Option<Ready>,
    /// Judges its beats, once it answers: loading zones may take as long as it takes.
    pub(super) watch: Option<Watch>,
    threads: Threads,
    /// When it has to be gone, if it is about to end by itself. Its threads stand still one after the other then.
    ends_by: Option<Moment>,
}

impl Server {
    /// Starts a server.
    ///
    /// # Errors
    /// The program can't be run, or descriptors are out.
    pub(super) fn launch(launch: &Launch, adopt: bool) -> io::Result<Server> {
        let (link, input) = LinkEnd::pair()?;
        let link = AsyncLink::new(link)?;
        let control = free_control(&launch.control);
        let mut command = Command::new(&launch.binary);
        command.arg("serve").args(&launch.arguments).arg("--agent-link").arg("--control").arg(&control);
        let child = command.stdin(Stdio::from(input)).spawn()?;
        let pid = Pid::from_child(&child);
        // Its end is waited for by the pidfd; `Child` neither kills nor waits when it is dropped.
        drop(child);
        let process = watched(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)?;
        let threads = Threads::of(pid);
        let server = Server { pid, process, link, control, ready: None, watch: None, threads, ends_by: None };
        let start = FromAgent::Start {
            probe_token: launch.probe_token.clone(),
            freeze_ms: launch.freeze.as_millis() as u64, // at most a minute
            adopt,
        };
        server.link.send(&start, &[])?;
        Ok(server)
    }

    /// A server that another program has started.
    ///
    /// # Errors
    /// It is gone.
    pub(super) fn resume(handed: Handed, launch: &Launch, now: Moment) -> io::Result<Server> {
        let process = watched(rustix::process::pidfd_open(handed.pid, PidfdFlags::empty())?)?;
        let threads = Threads::of(handed.pid);
        Ok(Server {
            pid: handed.pid,
            process,
            link: AsyncLink::new(LinkEnd::from_fd(handed.link)?)?,
            control: handed.control,
            ready: Some(handed.ready),
            watch: Some(Watch::new(launch.freeze, now)),
            threads,
            ends_by: None,
        })
    }

    /// Lets go of the server, for another program to take.
    pub(super) fn hand_over(self) -> Option<Handed> {
        Some(Handed { pid: self.pid, link: self.link.into_fd(), ready: self.ready?, control: self.control })
    }

    /// Says that the agent lives, and judges whether the server does.
    pub(super) fn beat(&mut self, now: Moment) -> Finding {
        // A server that doesn't read any more doesn't beat either, which is judged.
        let _full = self.link.send(&FromAgent::Beat, &[]);
        match (self.ends_by, &mut self.watch) {
            (Some(by), _) if now > by => {
                Finding::Stands(format!("the server wanted to end, and has not within {END_WITHIN:?}"))
            }
            (Some(_), _) | (None, None) => Finding::Lives,
            (None, Some(watch)) => watch.judge(now, |kind| look(&mut self.threads, kind)),
        }
    }

    /// Takes in that it is about to end by itself.
    pub(super) fn ends(&mut self, now: Moment) {
        self.ends_by.get_or_insert(now + END_WITHIN);
    }

    /// Waits for the end of the process, and tells how it ended.
    pub(super) async fn died(&self) -> String {
        let ended = ended(&self.process).await;
        if matches!(ended, Ended::Killed(_)) {
            // It could not tidy up. Nobody else has the path: it is taken only while there is no file.
            let _none = std::fs::remove_file(&self.control);
        }
        ended.text()
    }

    /// Kills the process; tells how it ended.
    pub(super) async fn kill(&self) -> String {
        match rustix::process::pidfd_send_signal(self.process.get_ref(), Signal::KILL) {
            // Dead already, which is as good.
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => return format!("could not be killed: {error}"),
        }
        match timeout(END_WITHIN, self.died()).await {
            Ok(died) => died,
            Err(_) => "has not ended though it was killed: the kernel holds it".to_owned(),
        }
    }

    /// Asks the server to end, and waits for it; one that takes too long is killed.
    pub(super) async fn leave(self, how: &FromAgent, within: Duration) {
        let asked = self.link.send(how, &[]);
        if asked.is_err() {
            let _dead = rustix::process::pidfd_send_signal(self.process.get_ref(), Signal::TERM);
        }
        let mut beats = beats();
        let gone = async {
            loop {
                tokio::select! {
                    died = self.died() => return died,
                    // It is still owed beats, and what it says is still to be read.
                    _ = beats.tick() => drop(self.link.send(&FromAgent::Beat, &[])),
                    received = self.link.receive() => if received.is_err() {
                        return self.died().await;
                    },
                }
            }
        };
        if timeout(within, gone).await.is_err() {
            tracing::warn!("the server did not end within {within:?} and is killed");
            self.kill().await;
        }
    }
}

/// Looks at a thread of a server, by the name that it has there.
fn look(threads: &mut Threads, kind: Kind) -> Option<Look> {
    match kind {
        Kind::Control => threads.look_at_first(),
        Kind::Watch => threads.look_at("watch"),
        Kind::Udp(index) => threads.look_at(&format!("udp-{index}")),
        Kind::Tcp(index) => threads.look_at(&format!("tcp-{index}")),
    }
}

/// How a process ended.
enum Ended {
    /// By itself, with this code.
    With(i32),
    /// By this signal.
    Killed(i32),
    /// Somebody else has waited for it.
    Somehow,
    /// It can't be watched.
    Unknown(io::Error),
}

impl Ended {
    fn text(&self) -> String {
        match self {
            Ended::With(code) => format!("the server ended with exit code {code}"),
            Ended::Killed(signal) => format!("the server was killed by signal {signal}"),
            Ended::Somehow => "the server ended".to_owned(),
            Ended::Unknown(error) => format!("it can't be watched: {error}"),
        }
    }
}

/// Waits for the end of a process.
async fn ended(process: &AsyncFd<OwnedFd>) -> Ended {
    if let Err(error) = process.readable().await {
        return Ended::Unknown(error);
    }
    let id = WaitId::PidFd(process.get_ref().as_fd());
    match rustix::process::waitid(id, WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
        Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Ended::With(code),
            (_, Some(signal)) => Ended::Killed(signal),
            _ => Ended::Somehow,
        },
        _ => Ended::Somehow,
    }
}

/// A path beside the agent's control socket that no server has: there may be one that answers, one that takes its place,
/// and some that were replaced and still have TCP clients. If all are taken, some are left by servers that were killed
/// with their agent, and the server takes the first if nobody listens there.
fn free_control(beside: &Path) -> PathBuf {
    let numbered = |number| beside.with_extension(format!("server-{number}"));
    (1..=CONTROLS_MAX).map(numbered).find(|path| !path.exists()).unwrap_or_else(|| numbered(1))
}

/// Sees a server to its end that the program before has asked to leave.
pub(super) async fn see_off(pid: Pid, within: Duration) {
    // One that is gone already was waited for by the program before, or is waited for by nobody.
    let Ok(process) =
        rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from).and_then(watched)
    else {
        return;
    };
    if timeout(within, ended(&process)).await.is_err() {
        tracing::warn!("the server that was replaced did not end within {within:?} and is killed");
        let _gone = rustix::process::pidfd_send_signal(process.get_ref(), Signal::KILL);
        let _how = ended(&process).await;
    }
}
