//! The agent that a server works for: who it is, what it said at the start, and what it brought from another server.

use super::requests::Asked;
use super::watch::{Watch, Watcher};
use crate::link::{FromAgent, FromServer, LinkEnd, SocketKind};
use anyhow::{Context, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, getppid, pidfd_open, set_parent_process_death_signal};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use wire::probe::TOKEN_LEN;

/// How long the agent may take to say how to work with it. It does so right after it has started the server.
const START_WITHIN: Duration = Duration::from_secs(5);
/// How long the sockets of another server may take: that server and the agent answer within a tenth of a second.
const ADOPT_WITHIN: Duration = Duration::from_secs(5);
/// The most descriptors that another server passes on: what a process may have open, as a rule.
const ADOPTED_MAX: usize = 1 << 20;

type Link = LinkEnd<FromServer, FromAgent>;

/// The agent.
pub(super) struct Agent {
    link: Link,
    process: (OwnedFd, Pid),
    freeze: Duration,
    /// What makes a query a probe.
    pub(super) probe_token: [u8; TOKEN_LEN],
    /// What another server has passed on.
    pub(super) handed: Option<Handed>,
}

/// What another server has passed on.
pub(super) struct Handed {
    /// Its sockets.
    pub(super) sockets: Vec<(SocketKind, OwnedFd)>,
    /// The lock of its state folder, if it has one.
    pub(super) lock: Option<OwnedFd>,
}

impl Agent {
    /// Learns from the agent at the other end of standard input how to work with it.
    ///
    /// From now on the server ends when the agent does: the link tells it, and should nobody look at that, SIGTERM. (The
    /// kernel sends it when the *thread* ends that has started the server.)
    ///
    /// # Errors
    /// Nobody is there, or it doesn't say.
    pub(super) fn meet() -> anyhow::Result<Agent> {
        let link = Link::from_stdin()
            .context("standard input is no link to an agent; `--agent-link` is for `starling run` alone")?;
        set_parent_process_death_signal(Some(Signal::TERM)).context("the agent's death can't be watched")?;
        let parent = getppid().context("the agent is out of sight, in another PID namespace")?;
        let process = pidfd_open(parent, PidfdFlags::empty()).context("the agent can't be watched")?;
        // As long as its end of the link was open, the parent was the agent and not who inherits its children.
        ensure!(!is_broken(&link)?, "the agent is gone already");
        let (probe_token, freeze_ms, adopt) = started(&link)?;
        let handed = if adopt { Some(adopted(&link)?) } else { None };
        Ok(Agent {
            link,
            process: (process, parent),
            freeze: Duration::from_millis(freeze_ms),
            probe_token,
            handed,
        })
    }

    /// Starts the thread that tells the agent how the server is, and hears and watches it.
    ///
    /// # Errors
    /// It can't be started.
    pub(super) fn watch(self, asks: mpsc::Sender<Asked>) -> std::io::Result<Watch> {
        Watcher::new(Arc::new(self.link), self.process, self.freeze, asks).start()
    }
}

fn is_broken(link: &Link) -> anyhow::Result<bool> {
    let mut fds = [PollFd::new(link, PollFlags::empty())];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    Ok(fds[0].revents().contains(PollFlags::HUP))
}

fn started(link: &Link) -> anyhow::Result<([u8; TOKEN_LEN], u64, bool)> {
    match link.receive_until(Instant::now() + START_WITHIN).context("the link to the agent broke")? {
        Some((FromAgent::Start { probe_token, freeze_ms, adopt }, _)) => {
            Ok((token(&probe_token).context("the agent's probe token is no token")?, freeze_ms, adopt))
        }
        Some((frame, _)) => bail!("the agent begins with {frame:?} instead of saying how to work with it"),
        None => bail!("the agent did not say within {START_WITHIN:?} how to work with it"),
    }
}

/// Reads hexadecimal digits, two an octet.
fn token(text: &str) -> Option<[u8; TOKEN_LEN]> {
    let is_hex = text.bytes().all(|octet| octet.is_ascii_hexdigit()); // a sign would be read too
    let number = u128::from_str_radix(text, 16).ok().filter(|_| is_hex && text.len() == 2 * TOKEN_LEN);
    number.map(u128::to_be_bytes)
}

fn adopted(link: &Link) -> anyhow::Result<Handed> {
    let deadline = Instant::now() + ADOPT_WITHIN;
    let mut handed = Handed { sockets: Vec::new(), lock: None };
    loop {
        let received = link.receive_until(deadline).context("the link to the agent broke")?;
        let (frame, descriptors) = received.with_context(|| {
            format!("the sockets of the server before did not come within {ADOPT_WITHIN:?}")
        })?;
        let (sockets, last) = match frame {
            FromAgent::Sockets { sockets, last } => (sockets, last),
            FromAgent::Beat => continue,
            frame => bail!("the agent says {frame:?} before the sockets of the server before have come"),
        };
        let (said, came) = (sockets.len(), descriptors.len());
        ensure!(said == came, "{said} sockets were said to come, and {came} came");
        for (kind, descriptor) in sockets.into_iter().zip(descriptors) {
            match kind {
                SocketKind::StateLock => handed.lock = Some(descriptor),
                _ => handed.sockets.push((kind, descriptor)),
            }
        }
        ensure!(handed.sockets.len() <= ADOPTED_MAX, "more sockets come than a server can have");
        if last {
            ensure!(!handed.sockets.is_empty(), "the server before has no sockets to give; its log says why");
            return Ok(handed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_sixteen_octets_in_hexadecimal() {
        let octets = token("000102030405060708090a0b0c0d0EfF").unwrap();
        assert_eq!(octets[..3], [0, 1, 2]);
        assert_eq!(octets[15], 0xff);
        for text in ["", "00", "+00102030405060708090a0b0c0d0e0f", "000102030405060708090a0b0c0d0e0g"] {
            assert_eq!(token(text), None, "{text}");
        }
    }
}
