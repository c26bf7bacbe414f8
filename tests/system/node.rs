//! A running node with a configuration file of its own, and the commands an operator gives it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use starling_tests::client;
use starling_tests::message::Message;
use starling_tests::name::Name;
use starling_tests::process::Process;
use starling_tests::query::Query;
use starling_tests::server::{Addresses, own_address, starling_addresses};
use starling_tests::tools;

/// How long one answer may take; loopback needs well under a millisecond.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(5);
pub(crate) const TYPE_A: u16 = 1;
pub(crate) const TYPE_SOA: u16 = 6;

/// A folder with a configuration; a node can be started from it again and again.
pub(crate) struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    /// A configuration with these zones (name and file) and further lines for its `[node]` section.
    ///
    /// The node listens on a loopback address of its own, unless the lines say where.
    pub(crate) fn new(zones: &[(&str, &Path)], node_lines: &str) -> Result<Self> {
        let site = Self { folder: tempfile::tempdir()? };
        let mut text = String::from("[node]\n");
        if !node_lines.contains("listen") {
            writeln!(text, "listen = [\"{}:0\"]", own_address())?;
        }
        writeln!(text, "control = \"control\"\n{node_lines}")?;
        for (name, file) in zones {
            writeln!(text, "[[zone]]\nname = \"{name}\"\nfile = \"{}\"", file.display())?;
        }
        std::fs::write(site.path("node.toml"), text)?;
        Ok(site)
    }

    /// A file of the folder.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Starts a node; returns when it says that it is ready.
    pub(crate) fn start(&self) -> Result<Node> {
        self.start_as(Command::new(tools::starling()?))
    }

    /// Starts a node by a command that runs the binary with the arguments that are added to it.
    pub(crate) fn start_as(&self, mut command: Command) -> Result<Node> {
        command.arg("serve").arg("--config").arg(self.path("node.toml"));
        let mut process = Process::spawn("starling", &command, &self.path("log"))?;
        let Addresses { listening, management, tls: _ } = starling_addresses(&mut process)?;
        ensure!(!listening.is_empty(), "no `listening` line before `ready`");
        Ok(Node { process, addresses: listening, management, control: self.path("control") })
    }
}

/// A node that answers.
pub(crate) struct Node {
    pub(crate) process: Process,
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) management: Vec<SocketAddr>,
    control: PathBuf,
}

impl Node {
    /// The first listen address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// `starling ctl` with these arguments.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> Result<Output> {
        run(&mut self.ctl_command(arguments)?)
    }

    /// The same, not yet started.
    pub(crate) fn ctl_command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(tools::starling()?);
        command.arg("ctl").arg("--control").arg(&self.control).args(arguments);
        Ok(command)
    }

    /// The answer to a query over UDP.
    pub(crate) fn ask(&self, name: &str, qtype: u16) -> Result<Message> {
        let query = Query::new(Name::parse(name)?, qtype).bytes(77);
        let answer = client::udp_raw(self.address(), &query, ANSWER_LIMIT)?;
        let (bytes, _) =
            answer.with_context(|| format!("no answer for {name}\n{}", self.process.log_tail()))?;
        Message::decode(&bytes)
    }

    /// The serial of a zone as served.
    pub(crate) fn serial(&self, zone: &str) -> Result<u32> {
        let message = self.ask(zone, TYPE_SOA)?;
        let record = message.answer.first().with_context(|| format!("{zone} has no SOA: {message}"))?;
        // The serial stands before the last four 32-bit fields (RFC 1035 §3.3.13).
        let at = record.rdata.len().checked_sub(20).context("SOA too short")?;
        let bytes: [u8; 4] = record.rdata[at..at + 4].try_into()?;
        Ok(u32::from_be_bytes(bytes))
    }
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Result<Output> {
    command.output().with_context(|| format!("{command:?}"))
}

/// Standard output and standard error, for messages about what went wrong.
pub(crate) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A small zone with this serial and further lines.
pub(crate) fn small_zone(serial: u32, lines: &str) -> String {
    format!(
        "$ORIGIN small.example.\n$TTL 300\n@ SOA ns1 hostmaster {serial} 3600 900 604800 60\n  NS ns1\nns1 A \
         192.0.2.1\nwww A 192.0.2.2\n{lines}"
    )
}
