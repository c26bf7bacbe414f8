//! A node that is a secondary, and what its operator and its clients ask it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use starling_tests::client;
use starling_tests::message::Message;
use starling_tests::name::Name;
use starling_tests::process::Process;
use starling_tests::query::{Edns, Query};
use starling_tests::server::{own_socket_address, starling_addresses};
use starling_tests::tools;

/// How long a change may take to be seen. It takes milliseconds; the rest is for a machine with other work to do, where the
/// compiler, which yields to everybody, hardly gets to run.
pub(crate) const SEEN_WITHIN: Duration = Duration::from_secs(60);
/// How long one answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// How often something is looked at: the wait is that for an answer that never comes.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The zone of these tests.
pub(crate) const ZONE: &str = "small.example.";
/// The name of the key of those that have one.
pub(crate) const KEY_NAME: &str = "transfer-key";
pub(crate) const SERVFAIL: u16 = 2;
const TYPE_SOA: u16 = 6;
/// Extended DNS Error (RFC 8914).
pub(crate) const OPTION_EDE: u16 = 15;

/// A folder with a configuration; a node can be started from it again and again.
pub(crate) struct Site {
    folder: tempfile::TempDir,
    /// Where the node listens: always there, so that primaries can be told.
    pub(crate) listen: SocketAddr,
}

impl Site {
    /// A secondary that is yet to be told of whom.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { folder: tempfile::tempdir()?, listen: own_socket_address()? })
    }

    /// A file of the folder.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Writes a configuration with the zone and these primaries and lines, and starts a node.
    pub(crate) fn start(&self, primaries: &[SocketAddr], lines: &str) -> Result<Node> {
        self.configure(primaries, lines)?;
        self.restart()
    }

    /// The same with a primary that has a key.
    pub(crate) fn start_with_key(&self, primary: SocketAddr, key: &str, lines: &str) -> Result<Node> {
        self.start_with_named_key(primary, KEY_NAME, key, lines)
    }

    /// The same with a key of this name.
    pub(crate) fn start_with_named_key(
        &self,
        primary: SocketAddr,
        name: &str,
        key: &str,
        lines: &str,
    ) -> Result<Node> {
        self.start_with(key, &format!("{primary} key {name}"), lines)
    }

    /// Starts a node with a section for its primary and what it says of it.
    pub(crate) fn start_with(&self, section: &str, primary: &str, lines: &str) -> Result<Node> {
        self.write(section, &format!("\"{primary}\""), lines)?;
        self.restart()
    }

    /// Writes a configuration.
    pub(crate) fn configure(&self, primaries: &[SocketAddr], lines: &str) -> Result<()> {
        let primaries: Vec<String> = primaries.iter().map(|primary| format!("\"{primary}\"")).collect();
        self.write("", &primaries.join(", "), lines)
    }

    /// Writes a configuration with these sections before the zone; the primaries are as they stand in the list.
    pub(crate) fn write(&self, key: &str, primaries: &str, lines: &str) -> Result<()> {
        let mut text =
            format!("[node]\nlisten = [\"{}\"]\ncontrol = \"control\"\nworkers = 1\n", self.listen);
        text.push_str("state-dir = \"state\"\n[secondary]\nnotify-from = [\"127.0.0.0/8\"]\n");
        // Whoever listens here asks the node for the zone, too.
        text.push_str("[transfer]\nallow = [\"127.0.0.0/8\"]\n");
        write!(text, "{key}[[zone]]\nname = \"{ZONE}\"\nprimaries = [{primaries}]\n{lines}\n")?;
        Ok(std::fs::write(self.path("node.toml"), text)?)
    }

    /// Starts a node with the configuration that is there.
    pub(crate) fn restart(&self) -> Result<Node> {
        let mut command = Command::new(tools::starling()?);
        command.arg("serve").arg("--config").arg(self.path("node.toml"));
        let mut process = Process::spawn("starling", &command, &self.path("log"))?;
        let management = starling_addresses(&mut process)?.management;
        Ok(Node { process, address: self.listen, management, control: self.path("control") })
    }
}

/// A key as the node has it.
pub(crate) fn key_section(algorithm: &str, secret: &str) -> String {
    format!("[[key]]\nname = \"{KEY_NAME}\"\nalgorithm = \"{algorithm}\"\nsecret = \"{secret}\"\n")
}

/// A node that answers.
pub(crate) struct Node {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    pub(crate) management: Vec<SocketAddr>,
    control: PathBuf,
}

/// What the node answers to a question for the SOA record of the zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    pub(crate) rcode: u16,
    pub(crate) serial: Option<u32>,
    /// The code of an Extended DNS Error.
    pub(crate) ede: Option<u16>,
}

impl Seen {
    pub(crate) const fn served(serial: u32) -> Self {
        Self { rcode: 0, serial: Some(serial), ede: None }
    }
}

impl Node {
    /// `starling ctl` with these arguments.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = self.ctl_command(arguments)?;
        command.output().with_context(|| format!("{command:?}"))
    }

    /// The same, not yet started.
    pub(crate) fn ctl_command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(tools::starling()?);
        command.arg("ctl").arg("--control").arg(&self.control).args(arguments);
        Ok(command)
    }

    /// The zone in `ctl zones --json`.
    pub(crate) fn zone(&self) -> Result<Value> {
        let output = self.ctl(&["zones", "--json"])?;
        let zones: Value = serde_json::from_slice(&output.stdout)?;
        zones.get(0).cloned().with_context(|| format!("no zone: {output:?}"))
    }

    /// What `ctl zones --digests --json` says.
    pub(crate) fn digests(&self) -> Result<String> {
        Ok(String::from_utf8(self.ctl(&["zones", "--digests", "--json"])?.stdout)?)
    }

    /// What is answered now.
    pub(crate) fn seen(&self) -> Result<Seen> {
        let query = Query::new(Name::parse(ZONE)?, TYPE_SOA).with_edns(Edns::size(1232)).bytes(77);
        let answer = client::udp_raw(self.address, &query, ANSWER_LIMIT)?;
        let (bytes, _) = answer.with_context(|| format!("no answer\n{}", self.process.log_tail()))?;
        let message = Message::decode(&bytes)?;
        let soa = message.answer.first().filter(|record| record.rtype == TYPE_SOA);
        // The serial stands before the last four 32-bit fields (RFC 1035 §3.3.13).
        let serial = soa.and_then(|soa| {
            let at = soa.rdata.len().checked_sub(20)?;
            Some(u32::from_be_bytes(soa.rdata.get(at..at + 4)?.try_into().ok()?))
        });
        let options = message.opt.iter().flat_map(|opt| &opt.options);
        let ede = options
            .filter(|(code, _)| *code == OPTION_EDE)
            .find_map(|(_, value)| value.first_chunk().map(|code| u16::from_be_bytes(*code)));
        Ok(Seen { rcode: message.rcode(), serial, ede })
    }

    /// Waits until the answer is this.
    pub(crate) fn wait_for(&self, wanted: Seen) -> Result<()> {
        wait(|| self.seen(), |seen| *seen == wanted).with_context(|| self.process.log_tail())
    }

    /// Waits until the log has this.
    pub(crate) fn wait_for_log(&self, text: &str) -> Result<()> {
        self.wait_for_more_log(text, 0)
    }

    /// Waits until the log has this more often than so many times.
    pub(crate) fn wait_for_more_log(&self, text: &str, times: usize) -> Result<()> {
        wait(|| Ok(self.process.log()), |log| log.matches(text).count() > times)
    }
}

/// Looks again and again until it is as wanted, within [`SEEN_WITHIN`]; says what was seen last.
pub(crate) fn wait<T: std::fmt::Debug>(
    look: impl Fn() -> Result<T>,
    wanted: impl Fn(&T) -> bool,
) -> Result<()> {
    let deadline = Instant::now() + SEEN_WITHIN;
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0")?;
    nobody.set_read_timeout(Some(LOOK_EVERY))?;
    loop {
        let seen = look()?;
        if wanted(&seen) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("after {SEEN_WITHIN:?} there is still {seen:?}");
        }
        // Nobody sends here: the time-out paces the loop.
        let _nothing = nobody.recv(&mut [0]);
    }
}
