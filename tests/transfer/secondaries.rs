//! Knot, NSD and BIND as secondaries.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use starling_tests::client;
use starling_tests::message::{Message, Record};
use starling_tests::name::Name;
use starling_tests::process::Process;
use starling_tests::query::Query;
use starling_tests::server::{Kind, free_port, own_address, starling_addresses};
use starling_tests::tools;

/// How long a secondary may take to have a zone, or to follow a change: all of them ask within a second of a start or of
/// a NOTIFY, and the rest is for a machine with other work to do.
pub(crate) const FOLLOWS_WITHIN: Duration = Duration::from_secs(60);

const TYPE_SOA: u16 = 6;

/// A key that both sides have.
#[derive(Clone, Copy)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) algorithm: &'static str,
    pub(crate) secret: &'static str,
}

/// A primary, as its secondaries are told of it.
#[derive(Clone, Copy)]
pub(crate) struct Origin<'n> {
    pub(crate) address: SocketAddr,
    /// What it is asked with, and notifies with.
    pub(crate) key: Option<Key>,
    /// How it is asked over TLS.
    pub(crate) tls: Option<Trust<'n>>,
}

impl From<SocketAddr> for Origin<'_> {
    fn from(address: SocketAddr) -> Self {
        Self { address, key: None, tls: None }
    }
}

/// Whom a secondary takes for its primary, and what it shows itself. The files are in the folder above its own.
#[derive(Clone, Copy)]
pub(crate) struct Trust<'n> {
    /// The authority that has to have signed the primary's certificate, which is for `primary.example`.
    pub(crate) authority: &'n str,
    /// The secondary's own certificate.
    pub(crate) own: Option<&'n str>,
}

/// A secondary that runs.
pub(crate) struct Secondary {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    pub(crate) process: Process,
}

impl Secondary {
    /// Where a secondary of this kind will listen.
    pub(crate) fn address_for(kind: Kind) -> Result<SocketAddr> {
        // BIND listens only on addresses that an interface lists, and loopback lists just the one.
        let ip = if kind == Kind::Bind { Ipv4Addr::LOCALHOST } else { own_address() };
        Ok(SocketAddr::new(ip.into(), free_port(ip)?))
    }

    /// Starts a secondary of `primary` for these zones.
    pub(crate) fn start<'n>(
        kind: Kind,
        address: SocketAddr,
        zones: &[Name],
        primary: impl Into<Origin<'n>>,
        folder: &Path,
    ) -> Result<Self> {
        let primary = primary.into();
        let folder = folder.join(format!("secondary-{kind}"));
        std::fs::create_dir_all(&folder)?;
        let (program, arguments, text) = match kind {
            Kind::Nsd => ("nsd", vec!["-d", "-c"], nsd(address, zones, primary, &folder)?),
            Kind::Knot => ("knotd", vec!["-c"], knot(address, zones, primary, &folder)?),
            Kind::Bind => ("named", vec!["-g", "-n", "1", "-c"], bind(address, zones, primary, &folder)?),
            Kind::Starling => bail!("not a peer"),
        };
        let config = folder.join("config");
        std::fs::write(&config, text)?;
        let mut command = Command::new(tools::program(program)?);
        command.args(arguments).arg(&config).current_dir(&folder);
        let process = Process::spawn(&kind.to_string(), &command, &folder.join("log"))?;
        Ok(Self { kind, address, process })
    }

    /// The serial that it serves of a zone, if it serves any.
    pub(crate) fn serial(&self, zone: &Name) -> Result<Option<u32>> {
        let query = Query::new(zone.clone(), TYPE_SOA).bytes(0x5345);
        // The time-out of the read paces whoever asks in a loop.
        let Some((bytes, _)) = client::udp_raw(self.address, &query, Duration::from_millis(50))? else {
            return Ok(None);
        };
        let message = Message::decode(&bytes)?;
        Ok(message.answer.first().and_then(serial_of))
    }

    /// Waits until it serves this serial.
    pub(crate) fn follows(&mut self, zone: &Name, serial: u32) -> Result<()> {
        let what = format!("{} serves serial {serial} of {zone}", self.kind);
        let followed = tools::poll(&what, FOLLOWS_WITHIN, || {
            if let Some(status) = self.process.exited() {
                bail!("{} ended with {status}", self.kind);
            }
            Ok((self.serial(zone)? == Some(serial)).then_some(()))
        });
        followed.with_context(|| self.process.log_tail())
    }
}

/// The serial of a SOA record: it stands before the last four numbers (RFC 1035 §3.3.13).
pub(crate) fn serial_of(record: &Record) -> Option<u32> {
    let at = record.rdata.len().checked_sub(20)?;
    Some(u32::from_be_bytes(record.rdata[at..at + 4].try_into().ok()?))
}

/// Loopback as a secondary sees its primary and those that ask it.
const LOOPBACK: &str = "127.0.0.0/8";

fn nsd(at: SocketAddr, zones: &[Name], primary: Origin<'_>, folder: &Path) -> Result<String> {
    let here = folder.display();
    let mut text = format!(
        "server:\n ip-address: {}@{}\n server-count: 1\n username: \"\"\n chroot: \"\"\n database: \"\"\n \
         zonesdir: \"{here}\"\n pidfile: \"{here}/pid\"\n xfrdfile: \"{here}/xfrd.state\"\n \
         zonelistfile: \"{here}/zone.list\"\n xfrdir: \"{here}\"\n rrl-ratelimit: 0\n \
         rrl-whitelist-ratelimit: 0\n xfrd-reload-timeout: 0\n round-robin: no\n minimal-responses: yes\n verbosity: 2\n\
         remote-control:\n control-enable: no\n",
        at.ip(),
        at.port()
    );
    if let Some(Key { name, algorithm, secret }) = primary.key {
        write!(text, "key:\n name: \"{name}\"\n algorithm: {algorithm}\n secret: \"{secret}\"\n")?;
    }
    let mut by_tls = "";
    if let Some(trust) = primary.tls {
        let bundle = format!(" tls-cert-bundle: \"{here}/../{}.pem\"\n", trust.authority);
        text = text.replacen("server:\n", &format!("server:\n{bundle}"), 1);
        writeln!(text, "tls-auth:\n name: primary\n auth-domain-name: \"primary.example\"")?;
        if let Some(own) = trust.own {
            writeln!(text, " client-cert: \"{here}/../{own}.pem\"\n client-key: \"{here}/../{own}.key\"")?;
        }
        by_tls = " primary";
    }
    let key = primary.key.map_or("NOKEY", |key| key.name);
    for zone in zones {
        let (ip, port) = (primary.address.ip(), primary.address.port());
        write!(
            text,
            "zone:\n name: \"{zone}\"\n zonefile: \"\"\n request-xfr: {ip}@{port} {key}{by_tls}\n \
             allow-notify: {LOOPBACK} {key}\n provide-xfr: {LOOPBACK} NOKEY\n"
        )?;
    }
    Ok(text)
}

fn knot(at: SocketAddr, zones: &[Name], primary: Origin<'_>, folder: &Path) -> Result<String> {
    let here = folder.display();
    let mut text = format!(
        "server:\n  rundir: \"{here}\"\n  listen: {}@{}\n  udp-workers: 1\n  tcp-workers: 1\n  \
         background-workers: 1\nlog:\n  - target: stderr\n    any: info\ndatabase:\n  storage: \"{here}/db\"\n",
        at.ip(),
        at.port()
    );
    let mut with_key = String::new();
    if let Some(Key { name, algorithm, secret }) = primary.key {
        write!(text, "key:\n  - id: {name}\n    algorithm: {algorithm}\n    secret: {secret}\n")?;
        with_key = format!("\n    key: {name}");
    }
    write!(
        text,
        "remote:\n  - id: primary\n    address: {}@{}{with_key}\nacl:\n  - id: notify\n    address: {LOOPBACK}\n    \
         action: notify{with_key}\n  - id: transfer\n    address: {LOOPBACK}\n    action: transfer\n\
         template:\n  - id: default\n    storage: \"{here}\"\n    zonefile-sync: -1\n    journal-content: none\n    \
         semantic-checks: off\nzone:\n",
        primary.address.ip(),
        primary.address.port()
    )?;
    for zone in zones {
        write!(text, "  - domain: \"{zone}\"\n    master: primary\n    acl: [notify, transfer]\n")?;
    }
    Ok(text)
}

fn bind(at: SocketAddr, zones: &[Name], primary: Origin<'_>, folder: &Path) -> Result<String> {
    let here = folder.display();
    let mut text = format!(
        "options {{\n directory \"{here}\"; pid-file \"{here}/pid\"; session-keyfile \"{here}/session.key\"; \
         lock-file none;\n listen-on port {} {{ {}; }}; listen-on-v6 {{ none; }};\n recursion no; notify no; \
         allow-transfer {{ any; }};\n minimal-responses yes; dnssec-validation no; empty-zones-enable no; \
         check-names secondary ignore; max-cache-size 8m; max-records-per-type 0; max-types-per-name 0;\n \
         allow-notify {{ {LOOPBACK}; }};\n}};\ncontrols {{ }};\n",
        at.port(),
        at.ip()
    );
    let mut with_key = String::new();
    if let Some(Key { name, algorithm, secret }) = primary.key {
        writeln!(text, "key \"{name}\" {{ algorithm {algorithm}; secret \"{secret}\"; }};")?;
        with_key = format!(" key \"{name}\"");
    }
    let mut by_tls = "";
    if let Some(trust) = primary.tls {
        let own = trust.own.map(|own| format!("cert-file \"../{own}.pem\"; key-file \"../{own}.key\"; "));
        writeln!(
            text,
            "tls primary {{ remote-hostname \"primary.example\"; ca-file \"../{}.pem\"; {}}};",
            trust.authority,
            own.unwrap_or_default()
        )?;
        by_tls = " tls primary";
    }
    for (index, zone) in zones.iter().enumerate() {
        writeln!(
            text,
            "zone \"{zone}\" {{ type secondary; file \"{index}.zone\"; primaries port {} {{ {}{with_key}{by_tls}; }}; }};",
            primary.address.port(),
            primary.address.ip()
        )?;
    }
    Ok(text)
}

/// Starling with a configuration of its own.
pub(crate) struct Primary {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    /// Where it is asked over TLS, if it is.
    pub(crate) tls: Option<SocketAddr>,
    control: PathBuf,
}

impl Primary {
    /// Starts a node from these lines of configuration.
    pub(crate) fn start(lines: &str, folder: &Path) -> Result<Self> {
        Self::start_at(&format!("{}:0", own_address()), lines, folder)
    }

    /// The same, at an address that others know beforehand.
    pub(crate) fn start_at(listen: &str, lines: &str, folder: &Path) -> Result<Self> {
        Self::start_with(1, listen, lines, folder)
    }

    /// The same, with so many workers.
    pub(crate) fn start_with(workers: usize, listen: &str, lines: &str, folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let control = folder.join("control");
        let config = folder.join("node.toml");
        let node = format!("[node]\nlisten = [\"{listen}\"]\ncontrol = \"control\"\nworkers = {workers}\n");
        std::fs::write(&config, format!("{node}{lines}"))?;
        let mut command = Command::new(tools::starling()?);
        command.arg("serve").arg("--config").arg(&config);
        let mut process = Process::spawn("starling", &command, &folder.join("log"))?;
        let addresses = starling_addresses(&mut process)?;
        let address = *addresses.listening.first().context("starling names no listener before `ready`")?;
        Ok(Self { process, address, tls: addresses.tls.first().copied(), control })
    }

    /// What `starling ctl` says to these arguments.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(tools::starling()?);
        let output = command.arg("ctl").arg("--control").arg(&self.control).args(arguments).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!("ctl {arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(said)
    }
}
