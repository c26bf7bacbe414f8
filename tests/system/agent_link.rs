//! The agent's end of the link to a server, played by the test; and what the server does when the agent is no more.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde_json::{Value, json};
use starling_tests::name::Name;
use starling_tests::process::Process;
use starling_tests::query::Query;
use starling_tests::{client, tools};

use crate::node::{ANSWER_LIMIT, Site, TYPE_SOA, small_zone};

/// How long a server may take for what it does at once, on a machine with other work to do.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// For servers whose parent is the test itself, which must not be killed.
pub(crate) const NEVER_MS: u64 = 3_600_000;
const TOKEN: &str = "000102030405060708090a0b0c0d0e0f";

/// The agent's end.
pub(crate) struct Link(OwnedFd);

impl Link {
    /// A link: the agent's end, and what the server gets as its standard input.
    pub(crate) fn pair() -> Result<(Link, OwnedFd)> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Link(ours), theirs))
    }

    /// Sends a frame.
    pub(crate) fn send(&self, frame: &Value, fds: &[BorrowedFd<'_>]) -> Result<()> {
        let text = serde_json::to_vec(frame)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            ensure!(control.push(SendAncillaryMessage::ScmRights(fds)), "room for the descriptors");
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        sendmsg(&self.0, &[IoSlice::new(&text)], &mut control, flags)
            .with_context(|| format!("sending {frame}"))?;
        Ok(())
    }

    /// Says how to work with this agent.
    pub(crate) fn start(&self, freeze_ms: u64, adopt: bool) -> Result<()> {
        let start = json!({"frame": "start", "probe-token": TOKEN, "freeze-ms": freeze_ms, "adopt": adopt});
        self.send(&start, &[])
    }

    /// The next frame; none when the server has closed its end.
    pub(crate) fn receive(&self) -> Result<Option<(Value, Vec<OwnedFd>)>> {
        let wait = Timespec { tv_sec: SOON.as_secs().cast_signed(), tv_nsec: 0 };
        let ready = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&wait))?;
        ensure!(ready == 1, "the server has said nothing for {SOON:?}");
        let mut text = vec![0; 1 << 17];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received =
            recvmsg(&self.0, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC);
        let len = match received {
            Ok(received) => received.bytes,
            Err(rustix::io::Errno::CONNRESET) => 0,
            Err(error) => return Err(error.into()),
        };
        if len == 0 {
            return Ok(None);
        }
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        Ok(Some((serde_json::from_slice(&text[..len])?, fds)))
    }

    /// Waits until nobody has the other end any more.
    fn expect_the_end(&self) -> Result<()> {
        let deadline = Instant::now() + SOON;
        while self.receive()?.is_some() {
            ensure!(Instant::now() < deadline, "the server goes on");
        }
        Ok(())
    }

    /// The next frame of a kind; others are passed over.
    pub(crate) fn expect(&self, kind: &str) -> Result<(Value, Vec<OwnedFd>)> {
        loop {
            let received = self.receive()?;
            let (frame, fds) = received.with_context(|| format!("the link broke before `{kind}`"))?;
            if frame["frame"] == kind {
                return Ok((frame, fds));
            }
        }
    }
}

/// A server whose agent is the test.
pub(crate) struct Linked {
    pub(crate) process: Process,
    pub(crate) link: Link,
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Linked {
    /// Starts the server of a site, and tells it how to work; `what` makes its control socket and log its own.
    pub(crate) fn launch(site: &Site, what: &str, adopt: bool) -> Result<Linked> {
        let (link, input) = Link::pair()?;
        link.start(NEVER_MS, adopt)?;
        let process = spawn(&command(site, what)?, what, &site.path(what), input)?;
        Ok(Linked { process, link, addresses: Vec::new() })
    }

    /// Waits until the server says that it is ready, and learns where.
    pub(crate) fn ready(&mut self) -> Result<Value> {
        let ready = self.link.expect("ready").with_context(|| self.process.log_tail())?.0;
        let listen = ready["listen"].as_array().context("`ready` has `listen`")?;
        let addresses = listen.iter().map(|address| Ok(address.as_str().context("an address")?.parse()?));
        self.addresses = addresses.collect::<Result<_>>()?;
        Ok(ready)
    }
}

fn command(site: &Site, what: &str) -> Result<Command> {
    let mut command = Command::new(tools::starling()?);
    command.arg("serve").arg("--config").arg(site.path("node.toml")).arg("--agent-link");
    command.arg("--control").arg(site.path(&format!("{what}.control")));
    Ok(command)
}

fn spawn(command: &Command, what: &str, log: &Path, input: OwnedFd) -> Result<Process> {
    Process::spawn_with_input(what, command, log, Stdio::from(input))
}

/// A site with one small zone, which is critical.
pub(crate) fn site(node_lines: &str) -> Result<(Site, tempfile::NamedTempFile)> {
    let zone = tempfile::NamedTempFile::new()?;
    std::fs::write(zone.path(), small_zone(7, ""))?;
    let site = Site::new(&[("small.example", zone.path())], node_lines)?;
    let config = site.path("node.toml");
    std::fs::write(&config, std::fs::read_to_string(&config)? + "critical = true\n")?;
    Ok((site, zone))
}

#[test]
fn beats_tell_that_every_thread_lives_and_what_is_served() -> Result<()> {
    let (site, zone) = site("workers = 2\ntcp.workers = 2")?;
    let mut server = Linked::launch(&site, "server", false)?;
    let ready = server.ready()?;
    ensure!(ready["workers"] == 2 && ready["tcp-threads"] == 2, "{ready}");
    let first = server.link.expect("beat")?.0;
    ensure!(first["zones-ok"] == 1 && first["zones-failed"] == 0, "{first}");
    ensure!(first["probe-zones"] == json!([{"name": "small.example.", "serial": 7}]), "{first}");
    ensure!(first["critical-failed"] == json!([]), "{first}");

    let numbers = |beat: &Value| -> Result<Vec<u64>> {
        let lists = ["workers", "tcp-threads"].map(|list| beat[list].as_array().cloned().unwrap_or_default());
        let numbers = lists.concat().into_iter().chain([beat["control"].clone()]);
        numbers.map(|number| number.as_u64().with_context(|| format!("a number in {beat}"))).collect()
    };
    ensure!(numbers(&first)?.len() == 5, "{first}");
    let began = Instant::now();
    loop {
        let beat = server.link.expect("beat")?.0;
        if numbers(&beat)?.iter().zip(numbers(&first)?).all(|(now, before)| *now > before) {
            break;
        }
        ensure!(began.elapsed() < SOON, "a thread stands still: {beat}, at first {first}");
    }

    std::fs::write(zone.path(), small_zone(8, ""))?;
    server.process.signal(rustix::process::Signal::HUP)?;
    loop {
        let beat = server.link.expect("beat")?.0;
        if beat["probe-zones"][0]["serial"] == 8 && beat["generation"] == beat["generation-served"] {
            break;
        }
        ensure!(began.elapsed() < SOON, "the new serial is not told: {beat}");
    }
    Ok(())
}

#[test]
fn a_server_ends_with_0_when_it_is_told_to_and_when_its_agent_is_gone() -> Result<()> {
    let (site, _zone) = site("")?;
    for frame in [Some("stop"), Some("leave"), None] {
        let mut server = Linked::launch(&site, "server", false)?;
        server.ready()?;
        match frame {
            Some(frame) => server.link.send(&json!({"frame": frame}), &[])?,
            None => server.link = Link::pair()?.0,
        }
        let status = server.process.wait(SOON)?;
        ensure!(status.code() == Some(0), "after {frame:?}: {status}\n{}", server.process.log_tail());
    }
    Ok(())
}

/// A server whose agent is a shell, as far as processes go; the test speaks for it.
fn under_a_shell(site: &Site, freeze_ms: u64) -> Result<(Process, Link, SocketAddr)> {
    let (link, input) = Link::pair()?;
    link.start(freeze_ms, false)?;
    let server = command(site, "server")?;
    let mut agent = Command::new("/bin/sh");
    agent.arg("-c").arg("\"$0\" \"$@\"; exit $?").arg(server.get_program()).args(server.get_args());
    let agent = spawn(&agent, "agent", &site.path("log"), input)?;
    loop {
        let Some((frame, _)) = link.receive()? else { bail!("not ready\n{}", agent.log_tail()) };
        link.send(&json!({"frame": "beat"}), &[])?;
        if let Some(address) = frame["listen"][0].as_str() {
            return Ok((agent, link, address.parse()?));
        }
    }
}

#[test]
fn a_dead_agent_ends_the_server_though_its_link_is_held_open() -> Result<()> {
    let (site, _zone) = site("")?;
    let (mut agent, link, _) = under_a_shell(&site, NEVER_MS)?;
    agent.signal(rustix::process::Signal::KILL)?;
    agent.wait(SOON)?;
    // Only the server still has the other end.
    link.expect_the_end()?;
    ensure!(agent.log().contains("ending"), "it ends in order\n{}", agent.log_tail());
    Ok(())
}

#[test]
fn an_agent_that_stands_still_is_killed() -> Result<()> {
    let (site, _zone) = site("")?;
    let (mut agent, link, address) = under_a_shell(&site, 700)?;
    // Well for longer than it may be silent.
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(1500) {
        link.expect("beat")?;
        link.send(&json!({"frame": "beat"}), &[])?;
    }
    ensure!(agent.exited().is_none(), "killed though it beats\n{}", agent.log_tail());
    let query = Query::new(Name::parse("small.example.")?, TYPE_SOA).bytes(1);
    ensure!(client::udp_raw(address, &query, ANSWER_LIMIT)?.is_some(), "the server answers");

    let silent_since = Instant::now();
    let status = agent.wait(SOON)?;
    let took = silent_since.elapsed();
    ensure!(status.signal() == Some(9), "{status}\n{}", agent.log_tail());
    ensure!(took >= Duration::from_millis(600), "killed after {took:?} already");
    // The server's end is closed when it has ended too.
    link.expect_the_end()?;
    ensure!(agent.log().contains("is killed"), "the log says why\n{}", agent.log_tail());
    Ok(())
}

#[test]
fn an_agent_link_without_an_agent_is_explained() -> Result<()> {
    let (site, _zone) = site("")?;
    let output = command(&site, "server")?.stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "{}\n{text}", output.status);
    ensure!(text.contains("starling run"), "{text}");
    Ok(())
}
