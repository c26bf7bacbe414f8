//! The server that nodes have their zone from, if they don't have a file of their own.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Error, Result, bail};
use rustix::process::Signal;

use super::client::PORT;
use super::node::ANSWER;
use super::topology::{ORIGIN, POPS, SERVICE, feed};
use crate::netns::Namespace;
use crate::process::Process;
use crate::tools;

/// How long a primary may take to serve a version that it was given.
const SERVED_WITHIN: Duration = Duration::from_secs(20);
/// Hosts besides `www`: more than the 100 records from which on shrinking counts.
const HOSTS: u32 = 150;
/// The SOA record's refresh, retry and expire intervals, in seconds: short, so that an expiry is seen within seconds, and
/// expiry long enough that a busy machine doesn't have it come by itself.
const TIMES: &str = "2 1 8";

/// What the primary is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrimaryKind {
    /// Knot DNS.
    Knot,
    /// BIND.
    Bind,
    /// Starling.
    Starling,
}

impl fmt::Display for PrimaryKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Knot => "knot",
            Self::Bind => "bind",
            Self::Starling => "starling",
        })
    }
}

impl FromStr for PrimaryKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let kinds = [Self::Knot, Self::Bind, Self::Starling];
        let found = kinds.into_iter().find(|kind| kind.to_string() == text);
        found.with_context(|| format!("`{text}` is none of knot, bind and starling"))
    }
}

/// What is in a version besides its serial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// All that belongs there.
    Whole,
    /// A tenth of it.
    Shrunk,
    /// No NS record at the apex, where BIND would not load it.
    WithoutNs,
}

/// A primary, which runs or was killed.
pub struct Primary {
    kind: PrimaryKind,
    folder: PathBuf,
    serial: u32,
    process: Option<Process>,
}

impl Primary {
    /// Starts a primary with a first version.
    pub fn start(namespace: &Namespace, kind: PrimaryKind, folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder.join("db"))?;
        let text = match kind {
            PrimaryKind::Knot => knot(folder)?,
            PrimaryKind::Bind => bind(folder)?,
            PrimaryKind::Starling => starling(folder),
        };
        std::fs::write(folder.join("config"), text).context("configuration of the primary")?;
        let mut primary = Self { kind, folder: folder.to_owned(), serial: 1, process: None };
        primary.write(Content::Whole)?;
        primary.start_again(namespace)?;
        Ok(primary)
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> PrimaryKind {
        self.kind
    }

    /// The serial of the version that was given to it last.
    #[must_use]
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// Ends it without a warning.
    pub fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the primary runs")?;
        process.signal(Signal::KILL)?;
        process.wait(SERVED_WITHIN).map(drop)
    }

    /// Starts it after it was killed; returns when it serves the zone.
    pub fn start_again(&mut self, namespace: &Namespace) -> Result<()> {
        let config = self.folder.join("config");
        let mut command = match self.kind {
            PrimaryKind::Knot => namespace.command("knotd")?,
            PrimaryKind::Bind => namespace.command("named")?,
            PrimaryKind::Starling => namespace.command(&tools::starling()?.display().to_string())?,
        };
        match self.kind {
            PrimaryKind::Knot => command.arg("-c"),
            PrimaryKind::Bind => command.args(["-g", "-n", "1", "-c"]),
            PrimaryKind::Starling => command.args(["serve", "--config"]),
        };
        command.arg(config).current_dir(&self.folder);
        self.process = Some(Process::spawn("primary", &command, &self.folder.join("log"))?);
        self.serves(namespace)
    }

    /// Gives it another version; returns when it serves that.
    pub fn publish(&mut self, namespace: &Namespace, content: Content) -> Result<()> {
        self.serial += 1;
        self.write(content)?;
        self.process.as_ref().context("the primary runs")?.signal(Signal::HUP)?;
        self.serves(namespace)
    }

    fn serves(&mut self, namespace: &Namespace) -> Result<()> {
        let what = format!("{} serves serial {}", self.kind, self.serial);
        let (process, wanted) = (self.process.as_mut().context("the primary runs")?, self.serial.to_string());
        let server = format!("@{ORIGIN}");
        let served = tools::poll(&what, SERVED_WITHIN, || {
            if let Some(status) = process.exited() {
                bail!("the primary ended with {status}");
            }
            let said =
                namespace.run("dig", &["+short", "+tries=1", "+time=1", &server, "example.com", "SOA"]);
            Ok(said.is_ok_and(|said| said.split(' ').nth(2) == Some(&wanted)).then_some(()))
        });
        served.with_context(|| process.log_tail())
    }

    fn write(&self, content: Content) -> Result<()> {
        let mut text =
            format!("$ORIGIN example.com.\n$TTL 300\n@ SOA ns1 hostmaster {} {TIMES} 300\n", self.serial);
        if content != Content::WithoutNs {
            text += "@ NS ns1\n";
        }
        write!(text, "ns1 A {}\nns1 AAAA {}\nwww A {ANSWER}\n", SERVICE[0], SERVICE[1])?;
        let hosts = if content == Content::Shrunk { HOSTS / 10 } else { HOSTS };
        for host in 0..hosts {
            writeln!(text, "h{host} A 192.0.2.{}", host + 1)?;
        }
        let file = self.folder.join("example.com.zone");
        let next = file.with_extension("next");
        std::fs::write(&next, text)?;
        std::fs::rename(next, file).context("example.com.zone")
    }
}

/// Where the nodes are told of a change.
fn told() -> impl Iterator<Item = String> {
    (0..POPS.len()).map(|pop| format!("{}2", feed(pop)))
}

fn knot(folder: &Path) -> Result<String> {
    let here = folder.display();
    let mut text = format!(
        "server:\n  rundir: \"{here}\"\n  listen: 0.0.0.0@{PORT}\n  udp-workers: 1\n  tcp-workers: 1\n  \
         background-workers: 1\nlog:\n  - target: stderr\n    any: info\ndatabase:\n  storage: \"{here}/db\"\n  \
         journal-db-max-size: 20M\n  kasp-db-max-size: 20M\n  timer-db-max-size: 20M\nremote:\n"
    );
    for (address, pop) in told().zip(POPS) {
        write!(text, "  - id: {pop}\n    address: {address}@{PORT}\n")?;
    }
    write!(
        text,
        "acl:\n  - id: transfer\n    address: 10.0.0.0/8\n    action: transfer\ntemplate:\n  - id: default\n    \
         storage: \"{here}\"\n    zonefile-sync: -1\n    zonefile-load: difference\n    journal-content: changes\n    \
         semantic-checks: off\nzone:\n  - domain: example.com\n    file: example.com.zone\n    notify: [{}]\n    \
         acl: transfer\n",
        POPS.join(", ")
    )?;
    Ok(text)
}

fn bind(folder: &Path) -> Result<String> {
    let here = folder.display();
    let mut notify = String::new();
    for address in told() {
        write!(notify, "{address} port {PORT}; ")?;
    }
    Ok(format!(
        "options {{\n directory \"{here}\"; pid-file \"{here}/pid\"; session-keyfile \"{here}/session.key\"; \
         lock-file none;\n listen-on port {PORT} {{ any; }}; listen-on-v6 {{ none; }};\n recursion no; \
         dnssec-validation no; empty-zones-enable no; check-integrity no; max-cache-size 8m;\n}};\ncontrols {{ }};\n\
         zone \"example.com\" {{ type primary; file \"example.com.zone\"; notify explicit; notify-delay 0; \
         also-notify {{ {notify} }}; allow-transfer {{ 10.0.0.0/8; }}; ixfr-from-differences yes; }};\n"
    ))
}

/// Without the rules that would keep a bad version from the nodes, which have them.
fn starling(folder: &Path) -> String {
    let here = folder.display();
    let own = (0..POPS.len()).map(|pop| format!("\"{}1:{PORT}\"", feed(pop)));
    let listen: Vec<String> = own.chain([format!("\"{ORIGIN}:{PORT}\"")]).collect();
    let notify: Vec<String> = told().map(|address| format!("\"{address}:{PORT}\"")).collect();
    format!(
        "[node]\nlisten = [{}]\nworkers = 1\nstate-dir = \"{here}/db\"\ncontrol = \"{here}/control\"\n\
         [transfer]\nallow = [\"10.0.0.0/8\"]\n[admission]\napex-sets = false\nshrink-max-percent = 100\n\
         [[zone]]\nname = \"example.com\"\nfile = \"{here}/example.com.zone\"\nnotify = [{}]\n",
        listen.join(", "),
        notify.join(", ")
    )
}
