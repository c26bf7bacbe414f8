//! Catalog zones (RFC 9432): Starling follows them, and makes them.

mod follow;
mod kept;
mod made;
mod moves;
mod peers;
mod templates;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use starling_tests::client;
use starling_tests::message::Message;
use starling_tests::name::Name;
use starling_tests::process::Process;
use starling_tests::query::{Edns, Query};
use starling_tests::server::{own_socket_address, starling_addresses};
use starling_tests::tools;

use crate::secondaries::serial_of;
use crate::site::{SEEN_WITHIN, wait};

pub(crate) const CATALOG: &str = "catalog.example.";
const TYPE_SOA: u16 = 6;
const REFUSED: u16 = 5;
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// A Starling with a folder of its own, that can be started again and again.
struct Node {
    folder: tempfile::TempDir,
    address: SocketAddr,
    process: Option<Process>,
}

impl Node {
    /// A node that is yet to be started.
    fn new() -> Result<Self> {
        Ok(Self { folder: tempfile::tempdir()?, address: own_socket_address()?, process: None })
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Writes a file, so that nobody sees half of it.
    fn write(&self, file: &str, text: &str) -> Result<()> {
        replace(&self.path(file), text)
    }

    /// Writes the configuration: these lines after those that every node has here.
    fn configure(&self, lines: &str) -> Result<()> {
        let start = format!(
            "[node]\nlisten = [\"{}\"]\ncontrol = \"control\"\nworkers = 1\nstate-dir = \"state\"\n[secondary]\n\
             refresh-min-s = 1\nretry-min-s = 1\nexpire-min-s = 1\nnotify-from = [\"127.0.0.0/8\"]\n[transfer]\nallow = \
             [\"127.0.0.0/8\"]\n",
            self.address
        );
        self.write("node.toml", &format!("{start}{lines}"))
    }

    /// Starts it with the configuration that is there.
    fn start(&mut self) -> Result<()> {
        let mut command = Command::new(tools::starling()?);
        command.arg("serve").arg("--config").arg(self.path("node.toml"));
        let mut process = Process::spawn("starling", &command, &self.path("log"))?;
        starling_addresses(&mut process)?;
        self.process = Some(process);
        Ok(())
    }

    /// Ends it, and waits until it has.
    fn end(&mut self) -> Result<()> {
        let mut process = self.process.take().context("it runs")?;
        process.signal(Signal::TERM)?;
        let status = process.wait(SEEN_WITHIN)?;
        ensure!(status.success(), "{}", process.log_tail());
        Ok(())
    }

    fn log(&self) -> String {
        self.process.as_ref().map_or_else(String::new, Process::log)
    }

    /// `starling ctl` with these arguments.
    fn ctl(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(tools::starling()?);
        command.arg("ctl").arg("--control").arg(self.path("control")).args(arguments);
        command.output().with_context(|| format!("{command:?}"))
    }

    /// The same, which has to succeed; what it says.
    fn does(&self, arguments: &[&str]) -> Result<String> {
        let output = self.ctl(arguments)?;
        ensure!(output.status.success(), "{arguments:?}: {output:?}\n{}", self.log());
        Ok(String::from_utf8(output.stdout)?)
    }

    /// How a catalog is.
    fn catalog(&self, name: &str) -> Result<Seen> {
        let json: Value = serde_json::from_str(&self.does(&["catalog", "status", name, "--json"])?)?;
        Seen::read(json.get(0).context("one catalog")?)
    }

    /// Waits until a catalog is so.
    fn waits_for(&self, name: &str, members: &str, held: &str) -> Result<Seen> {
        let wanted = |seen: &Seen| (seen.members.as_str(), seen.held.as_str()) == (members, held);
        wait(|| self.catalog(name), wanted).with_context(|| self.log())?;
        self.catalog(name)
    }

    /// What it says of a zone's SOA record.
    fn soa(&self, zone: &str) -> Result<Answer> {
        soa(self.address, zone)
    }

    /// Waits until it says this of each of these zones.
    fn answers(&self, zones: &[&str], wanted: Answer) -> Result<()> {
        for zone in zones {
            wait(|| self.soa(zone), |seen| *seen == wanted)
                .with_context(|| format!("{zone} was to be {wanted:?}\n{}", self.log()))?;
        }
        Ok(())
    }
}

/// A catalog in `ctl catalog status`: names with spaces between them, without final dots.
#[derive(Debug)]
struct Seen {
    members: String,
    held: String,
    ignored: String,
    error: String,
    /// `zone:template` of each member.
    templates: String,
}

impl Seen {
    fn read(json: &Value) -> Result<Self> {
        let words = |list: &str, word: &dyn Fn(&Value) -> Option<String>| -> Result<String> {
            let items = json[list].as_array().with_context(|| json.to_string())?;
            let words: Option<Vec<String>> = items.iter().map(word).collect();
            Ok(words.with_context(|| json.to_string())?.join(" "))
        };
        let name = |value: &Value| Some(value.as_str()?.trim_end_matches('.').to_owned());
        let template =
            |member: &Value| Some(format!("{}:{}", name(&member["zone"])?, member["template"].as_str()?));
        Ok(Self {
            members: words("members", &|member| name(&member["zone"]))?,
            held: words("held", &name)?,
            ignored: words("ignored", &|ignored| name(&ignored["zone"]))?,
            error: json["error"].as_str().unwrap_or_default().to_owned(),
            templates: words("members", &template)?,
        })
    }
}

/// An answer to a question for a SOA record: its serial, or a code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    Serial(u32),
    Code(u16),
    None,
}

fn soa(server: SocketAddr, zone: &str) -> Result<Answer> {
    ask(server, zone, TYPE_SOA)
}

fn ask(server: SocketAddr, name: &str, rtype: u16) -> Result<Answer> {
    let query = Query::new(Name::parse(name)?, rtype).with_edns(Edns::size(1232)).bytes(77);
    let Some((bytes, _)) = client::udp_raw(server, &query, ANSWER_LIMIT)? else { return Ok(Answer::None) };
    let message = Message::decode(&bytes)?;
    let serial = message.answer.first().filter(|record| record.rtype == TYPE_SOA).and_then(serial_of);
    Ok(serial.map_or(Answer::Code(message.rcode()), Answer::Serial))
}

fn replace(file: &Path, text: &str) -> Result<()> {
    let temporary = file.with_extension("new");
    std::fs::write(&temporary, text)?;
    Ok(std::fs::rename(&temporary, file)?)
}

/// A node that has these zones, each with this serial, for others to copy.
fn primary(zones: &[&str], serial: u32) -> Result<Node> {
    let mut node = Node::new()?;
    let mut lines = String::new();
    for zone in zones {
        node.write(zone, &member(serial))?;
        write!(lines, "[[zone]]\nname = \"{zone}\"\nfile = \"{zone}\"\n")?;
    }
    node.configure(&lines)?;
    node.start()?;
    Ok(node)
}

/// The master file of a member.
fn member(serial: u32) -> String {
    format!("$TTL 300\n@ SOA ns1 hostmaster {serial} 86400 86400 604800 60\n  NS ns1\nns1 A 192.0.2.1\n")
}

/// The master file of a catalog.
fn catalog(serial: u32, members: &str) -> String {
    format!(
        "$TTL 0\n@ SOA invalid. invalid. {serial} 3600 600 2147483646 0\n@ NS invalid.\nversion TXT \"2\"\n{members}"
    )
}

/// Records of members with labels like their names.
fn listed(zones: &[&str]) -> String {
    zones.iter().fold(String::new(), |mut text, zone| {
        let label = zone.replace('.', "-");
        writeln!(text, "{label}.zones PTR {zone}.").expect("a String takes all");
        text
    })
}
