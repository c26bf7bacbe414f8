//! Another program in the place of this one: the same process, the same lease, the same server.
//!
//! What goes on is sent into a socket pair whose other end becomes the new program's standard input: descriptors that
//! are under way keep what they stand for open, so there is no moment without a holder. A program that can't go on after
//! that ends, and then the lease ends with it, as with any death.

use super::server::{Handed, Ready};
use crate::cli::RunArguments;
use crate::link::LinkEnd;
use anycast::Rung;
use anycast::governor::{Carried, Mode, Then};
use anyhow::{Context, bail};
use netio::NoDelay;
use netio::no_delay::DESCRIPTORS;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// How long the new program may take to say that it understands the configuration. It reads one file.
const REHEARSE_WITHIN: Duration = Duration::from_secs(10);
/// How long the baton may take: it lies ready.
const RECEIVE_WITHIN: Duration = Duration::from_secs(1);

/// What one program passes to the next. Fields may be added with a default, never taken away: the two are of different
/// versions.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Baton {
    /// The server's process.
    pub(crate) server_pid: i32,
    /// The process of the server that it has replaced, and that is on its way to its end.
    #[serde(default)]
    pub(crate) leaving_pid: Option<i32>,
    /// The control socket of the server.
    pub(crate) server_control: PathBuf,
    /// Where it listens.
    pub(crate) listen: Vec<SocketAddr>,
    /// Its UDP workers.
    pub(crate) workers: u16,
    /// Its TCP threads.
    pub(crate) tcp_threads: u16,
    /// Whether it is the CPU that chooses the UDP worker, and not a hash, if that is known.
    #[serde(default)]
    pub(crate) by_cpu: Option<bool>,
    /// Makes a query a probe.
    pub(crate) probe_token: String,
    /// The governor's state.
    pub(crate) governor: Passed,
}

/// The governor's state; times in milliseconds.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Passed {
    mode: String,
    /// For how much longer a drain lasts.
    drain_left_ms: Option<u64>,
    drain_then_up: bool,
    rung: String,
    earned: String,
    on_rung_ms: u64,
    transitions_ms_ago: Vec<u64>,
    doublings: u32,
    risen: bool,
    hold_ms: u64,
    held_ms: u64,
}

impl From<Carried> for Passed {
    fn from(carried: Carried) -> Passed {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (left, then) = match carried.mode {
            Mode::Draining { left, then } => (left, then),
            _ => (None, Then::Down),
        };
        Passed {
            mode: carried.mode.word().to_owned(),
            drain_left_ms: left.map(millis),
            drain_then_up: then == Then::Up,
            rung: carried.rung.to_string(),
            earned: carried.earned.to_string(),
            on_rung_ms: millis(carried.on_rung),
            transitions_ms_ago: carried.transitions.into_iter().map(millis).collect(),
            doublings: carried.doublings,
            risen: carried.risen,
            hold_ms: millis(carried.hold),
            held_ms: millis(carried.held),
        }
    }
}

impl From<Passed> for Carried {
    /// Words that a later version may have stand for the safe side.
    fn from(passed: Passed) -> Carried {
        let rung = |word: &str| Rung::ALL.into_iter().find(|rung| rung.word() == word).unwrap_or(Rung::Down);
        let left = passed.drain_left_ms.map(Duration::from_millis);
        let then = if passed.drain_then_up { Then::Up } else { Then::Down };
        let modes = [Mode::Normal, Mode::Draining { left, then }, Mode::Drained, Mode::Maintenance];
        Carried {
            mode: modes.into_iter().find(|mode| mode.word() == passed.mode).unwrap_or(Mode::Drained),
            rung: rung(&passed.rung),
            earned: rung(&passed.earned),
            on_rung: Duration::from_millis(passed.on_rung_ms),
            transitions: passed.transitions_ms_ago.into_iter().map(Duration::from_millis).collect(),
            doublings: passed.doublings,
            risen: passed.risen,
            hold: Duration::from_millis(passed.hold_ms),
            held: Duration::from_millis(passed.held_ms),
        }
    }
}

/// What a program goes on with.
pub(crate) struct Received {
    /// What it was told.
    pub(crate) baton: Baton,
    /// The lease's interface.
    pub(crate) lease: OwnedFd,
    /// The server.
    pub(crate) server: Handed,
    /// What was got ready for BIRD's sessions when there were privileges for it.
    pub(crate) no_delay: Option<[OwnedFd; DESCRIPTORS]>,
}

/// Descriptors that go with the baton.
#[derive(Clone, Copy)]
pub(crate) struct Descriptors<'a> {
    /// The lease's interface.
    pub(crate) lease: &'a OwnedFd,
    /// The agent's end of the link to the server.
    pub(crate) link: &'a OwnedFd,
    /// What has BIRD's sessions send at once, if there is anything.
    pub(crate) no_delay: Option<&'a NoDelay>,
}

/// Whether a program exists, runs, and understands the configuration.
///
/// # Errors
/// What it says.
pub(crate) async fn rehearse(binary: &Path, arguments: &RunArguments) -> anyhow::Result<()> {
    let mut command = tokio::process::Command::new(binary);
    command.args(words(arguments)).arg("--rehearse").stdin(Stdio::null()).kill_on_drop(true);
    let shown = binary.display();
    let output = timeout(REHEARSE_WITHIN, command.output())
        .await
        .with_context(|| format!("{shown} does not come to an end"))?
        .with_context(|| format!("{shown} can't be run"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{shown} does not take the configuration: {}", said.trim());
    }
    Ok(())
}

/// Becomes another program. Comes back only if that fails, and then this one goes on.
pub(crate) fn become_program(
    binary: &Path,
    arguments: &RunArguments,
    baton: &Baton,
    descriptors: Descriptors<'_>,
) -> anyhow::Error {
    let Descriptors { lease, link, no_delay } = descriptors;
    let fds = [lease.as_fd(), link.as_fd()].into_iter();
    let fds: Vec<_> = fds.chain(no_delay.into_iter().flat_map(NoDelay::descriptors)).collect();
    let passed = || {
        let (end, input) = LinkEnd::<Baton, ()>::pair()?;
        end.send(baton, &fds)?;
        std::io::Result::Ok(input)
    };
    let input = match passed() {
        Ok(input) => input,
        Err(error) => return anyhow::Error::new(error).context("the baton can't be passed"),
    };
    let error = Command::new(binary).args(words(arguments)).arg("--resume").stdin(input).exec();
    anyhow::Error::new(error).context(format!("{} can't be run", binary.display()))
}

/// Takes over from the program before.
///
/// # Errors
/// Standard input has no baton: nobody passed one.
pub(crate) fn receive() -> anyhow::Result<Received> {
    let end = LinkEnd::<(), Baton>::from_stdin().context("there is nothing to resume on standard input")?;
    let received = end.receive_until(Instant::now() + RECEIVE_WITHIN);
    let received = received.context("what came over standard input is no baton")?;
    let (baton, fds) = received.context("nothing came over standard input")?;
    let mut fds = fds.into_iter();
    let (Some(lease), Some(link)) = (fds.next(), fds.next()) else {
        bail!("the baton came without its descriptors");
    };
    let no_delay = fds.collect::<Vec<_>>().try_into().ok();
    let pid = Pid::from_raw(baton.server_pid).context("the baton names no server")?;
    let Baton { workers, tcp_threads, by_cpu, .. } = baton;
    let ready = Ready { listen: baton.listen.clone(), workers, tcp_threads, by_cpu };
    let server = Handed { pid, link, ready, control: baton.server_control.clone() };
    Ok(Received { baton, lease, server, no_delay })
}

/// The command line of `run`, as it was given.
fn words(arguments: &RunArguments) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["run".into(), "--config".into(), arguments.config.clone().into()];
    words.extend(arguments.log_words());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_governor_goes_on_where_it_was() {
        let seconds = Duration::from_secs;
        for mode in [
            Mode::Normal,
            Mode::Draining { left: Some(seconds(7)), then: Then::Up },
            Mode::Draining { left: None, then: Then::Down },
            Mode::Drained,
            Mode::Maintenance,
        ] {
            let carried = Carried {
                mode,
                rung: Rung::Degraded,
                earned: Rung::Up,
                on_rung: seconds(5),
                transitions: vec![seconds(3000), seconds(5)],
                doublings: 3,
                risen: true,
                hold: seconds(80),
                held: seconds(11),
            };
            let text = serde_json::to_string(&Passed::from(carried.clone())).unwrap();
            assert_eq!(Carried::from(serde_json::from_str::<Passed>(&text).unwrap()), carried);
        }
    }
}
