//! A server and a client with a cable between them, each in a network namespace of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use starling_tests::netns::{self, Forwarding, Namespace};
use starling_tests::process::Process;
use starling_tests::{client, tools};

use super::frames::Ethernet;
use crate::node::{run, said, small_zone};

/// The ends of the cable.
pub(super) const SERVER_END: &str = "server0";
pub(super) const CLIENT_END: &str = "client0";
/// The service addresses.
pub(super) const V4: &str = "10.53.0.1:53";
pub(super) const V6: &str = "[fd00:53::1]:53";
/// The client's addresses.
pub(super) const CLIENT_V4: &str = "10.53.0.2";
pub(super) const CLIENT_V6: &str = "fd00:53::2";
/// How long anything may take that takes milliseconds on an idle machine.
pub(super) const LIMIT: Duration = Duration::from_secs(20);

/// The two, and a folder with a configuration.
pub(super) struct Wire {
    pub(super) server: Namespace,
    pub(super) client: Namespace,
    folder: tempfile::TempDir,
}

impl Wire {
    /// Lays the cable; packets may have `mtu` octets.
    pub(super) fn new(label: &str, mtu: usize) -> Result<Self> {
        let server = Namespace::new(&format!("{label}-server"), Forwarding::Off)?;
        let client = Namespace::new(&format!("{label}-client"), Forwarding::Off)?;
        netns::cable((&server, SERVER_END), (&client, CLIENT_END))?;
        for (namespace, interface, v4, v6) in [
            (&server, SERVER_END, "10.53.0.1/24", "fd00:53::1/64"),
            (&client, CLIENT_END, "10.53.0.2/24", "fd00:53::2/64"),
        ] {
            namespace.ip(&format!("link set dev {interface} mtu {mtu}"))?;
            namespace.add_address(interface, v4)?;
            namespace.add_address(interface, v6)?;
        }
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("small.zone"), small_zone(1, ""))?;
        Ok(Self { server, client, folder })
    }

    /// A file of the folder.
    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Writes the configuration: the addresses, lines for `[node]`, and lines for the `[[interface]]`, which is left out
    /// where there are none.
    pub(super) fn configure(&self, listen: &[&str], node: &str, interface: &str) -> Result<()> {
        let section = match interface {
            "" => String::new(),
            lines => format!("[[interface]]\nname = \"{SERVER_END}\"\n{lines}\n"),
        };
        let text = format!(
            "[node]\nlisten = {listen:?}\ncontrol = \"control\"\nworkers = 2\n{node}\n{section}\
             [[zone]]\nname = \"small.example\"\nfile = \"small.zone\"\n"
        );
        std::fs::write(self.path("node.toml"), text).context("node.toml")
    }

    /// Starts the server; returns when it is ready.
    pub(super) fn start(&self) -> Result<Serving<'_>> {
        self.start_with(self)
    }

    /// Starts a server in this place with the configuration of another.
    pub(super) fn start_with<'a>(&self, configured: &'a Wire) -> Result<Serving<'a>> {
        self.start_by(self.server.command(&tools::starling()?.display().to_string())?, configured)
    }

    /// Starts a server by a command that runs the binary with the arguments that are added to it.
    pub(super) fn start_by<'a>(&self, mut command: Command, configured: &'a Wire) -> Result<Serving<'a>> {
        command.arg("serve").arg("--config").arg(configured.path("node.toml"));
        let mut process = Process::spawn("starling serve", &command, &configured.path("log"))?;
        let deadline = Instant::now() + LIMIT;
        loop {
            let line = process.line(deadline)?;
            let line = line.with_context(|| format!("not ready in {LIMIT:?}\n{}", process.log_tail()))?;
            if line == "ready" {
                return Ok(Serving { wire: configured, process });
            }
        }
    }

    /// Starts a node with a route; returns when that is up.
    pub(super) fn start_agent(&self) -> Result<Serving<'_>> {
        let mut command = self.server.command(&tools::starling()?.display().to_string())?;
        command.arg("run").arg("--config").arg(self.path("node.toml"));
        let process = Process::spawn("starling run", &command, &self.path("log"))?;
        let agent = Serving { wire: self, process };
        tools::poll("the route is up", LIMIT, || {
            Ok(agent.status().is_ok_and(|status| status["agent"]["held"] == "up").then_some(()))
        })
        .with_context(|| agent.process.log_tail())?;
        Ok(agent)
    }

    /// A command to the node that has to go well.
    pub(super) fn ctl(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(tools::starling()?);
        let output = run(command.arg("ctl").arg("--control").arg(self.path("control")).args(arguments))?;
        ensure!(output.status.success(), "{arguments:?}: {}", said(&output));
        Ok(())
    }

    /// Asks from the client's side.
    pub(super) fn ask(&self, server: &str, query: &[u8]) -> Result<Option<Vec<u8>>> {
        let server: SocketAddr = server.parse()?;
        let answer = self.client.inside(|| client::udp_raw(server, query, LIMIT))??;
        answer.map_or(Ok(None), |(bytes, from)| {
            ensure!(from == server, "{server} was asked, and {from} answers");
            Ok(Some(bytes))
        })
    }

    /// Asks the server over TCP, and returns its answer.
    pub(super) fn ask_tcp(&self, server: &str, query: &[u8]) -> Result<Vec<u8>> {
        let server: SocketAddr = server.parse()?;
        let mut answers = self.client.inside(|| client::tcp(server, &[query.to_vec()]))??;
        answers.pop().flatten().context("an answer over TCP")
    }

    /// The Ethernet addresses of client and server.
    pub(super) fn ethernet(&self) -> Result<Ethernet> {
        let source = hardware_address(&self.client, CLIENT_END)?;
        Ok(Ethernet { source, destination: hardware_address(&self.server, SERVER_END)? })
    }

    /// Puts frames on the cable at the client's end, as they are.
    pub(super) fn put(&self, frames: &[Vec<u8>]) -> Result<()> {
        const PROGRAM: &str = "import socket, sys\n\
            s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\n\
            s.bind((sys.argv[1], 0))\n\
            for frame in sys.argv[2:]: s.send(bytes.fromhex(frame))\n";
        let mut command = self.client.command("python3")?;
        let hex =
            frames.iter().map(|frame| frame.iter().map(|octet| format!("{octet:02x}")).collect::<String>());
        let output = run(command.args(["-c", PROGRAM, CLIENT_END]).args(hex))?;
        ensure!(output.status.success(), "{}", said(&output));
        Ok(())
    }

    /// Whether the kernel has a program on the server's end of the cable.
    pub(super) fn has_program(&self) -> Result<bool> {
        Ok(self.server.ip(&format!("-details link show dev {SERVER_END}"))?.contains("prog/xdp"))
    }
}

/// The Ethernet address of an interface.
pub(super) fn hardware_address(namespace: &Namespace, interface: &str) -> Result<[u8; 6]> {
    let listed: Value = serde_json::from_str(&namespace.ip(&format!("-json link show dev {interface}"))?)?;
    let text = listed[0]["address"].as_str().context("an address")?;
    let octets =
        text.split(':').map(|octet| u8::from_str_radix(octet, 16)).collect::<Result<Vec<u8>, _>>()?;
    octets.try_into().ok().with_context(|| format!("{text} has six octets"))
}

/// A server that is ready.
pub(super) struct Serving<'a> {
    wire: &'a Wire,
    pub(super) process: Process,
}

impl Serving<'_> {
    /// What `ctl status` says.
    pub(super) fn status(&self) -> Result<Value> {
        let mut command = Command::new(tools::starling()?);
        command.arg("ctl").arg("--control").arg(self.wire.path("control")).args(["--json", "status"]);
        let output = run(&mut command)?;
        ensure!(output.status.success(), "{}\n{}", said(&output), self.process.log_tail());
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// How the interface is: the path, and the mode if that is AF_XDP.
    pub(super) fn interface(&self) -> Result<(String, Option<String>)> {
        let status = self.status()?;
        let interface = &status["interfaces"][0];
        let text = |key: &str| interface[key].as_str().map(str::to_owned);
        Ok((text("packet-path").with_context(|| status.to_string())?, text("mode")))
    }

    /// Datagrams received, and those of them that came through AF_XDP.
    pub(super) fn received(&self) -> Result<(u64, u64)> {
        let status = self.status()?;
        let count = |key: &str| status["udp"][key].as_u64().with_context(|| format!("{key}: {status}"));
        Ok((count("queries")?, count("xdp-queries")?))
    }

    /// Waits until so many were received since `before`, altogether and through AF_XDP.
    pub(super) fn wait_received(&self, before: (u64, u64), all: u64, xdp: u64) -> Result<()> {
        let wanted = (before.0 + all, before.1 + xdp);
        let mut seen = before;
        tools::poll("the datagrams are received", LIMIT, || {
            seen = self.received()?;
            Ok((seen == wanted).then_some(()))
        })
        .with_context(|| format!("{before:?} before, {seen:?} now, not {wanted:?}"))
    }

    /// A count of `drops`.
    pub(super) fn drops(&self, cause: &str) -> Result<u64> {
        let status = self.status()?;
        status["drops"][cause].as_u64().with_context(|| format!("{cause}: {status}"))
    }
}
