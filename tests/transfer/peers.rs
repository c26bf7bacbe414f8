//! Knot, NSD, BIND and PowerDNS as primaries whose zone changes: they send what has changed, and sign what they send.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use starling_tests::client;
use starling_tests::message::Message;
use starling_tests::name::Name;
use starling_tests::process::Process;
use starling_tests::query::Query;
use starling_tests::server::{Kind, free_port, own_address};
use starling_tests::tools;

use crate::secondaries::{Key, serial_of};
use crate::site::{SEEN_WITHIN, ZONE};

const TYPE_SOA: u16 = 6;
const LOOPBACK: &str = "127.0.0.0/8";

/// What a primary is to be.
#[derive(Clone, Copy)]
pub(crate) struct Wishes {
    /// Whom it tells of changes.
    pub(crate) secondary: SocketAddr,
    /// What it signs with, and wants to be signed with.
    pub(crate) key: Option<Key>,
    /// Whether it signs the zone (DNSSEC).
    pub(crate) dnssec: bool,
    /// How BIND or NSD has the zone transferred over TLS.
    pub(crate) tls: Option<Xot>,
}

/// Transfers over TLS.
#[derive(Clone, Copy)]
pub(crate) struct Xot {
    pub(crate) at: SocketAddr,
    /// The name of the certificate and its key.
    pub(crate) own: &'static str,
    /// Whether BIND has them by nothing else.
    pub(crate) alone: bool,
}

/// A primary that runs.
pub(crate) struct Peer {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    pub(crate) process: Process,
    file: PathBuf,
}

impl Peer {
    /// Starts a primary for the zone of this text; returns when it serves it.
    pub(crate) fn start(kind: Kind, text: &str, wishes: Wishes, folder: &Path) -> Result<Self> {
        // BIND listens only on addresses that an interface lists, and loopback lists just the one.
        let ip = if kind == Kind::Bind { Ipv4Addr::LOCALHOST } else { own_address() };
        let address = SocketAddr::new(ip.into(), free_port(ip)?);
        let folder = folder.join(format!("peer-{kind}"));
        std::fs::create_dir_all(folder.join("db"))?;
        let file = folder.join("small.zone");
        std::fs::write(&file, text)?;
        let (program, arguments, config) = match kind {
            Kind::Nsd => ("nsd", vec!["-d", "-c"], nsd(address, wishes, &folder)?),
            Kind::Knot => ("knotd", vec!["-c"], knot(address, wishes, &folder)?),
            Kind::Bind => ("named", vec!["-g", "-n", "1", "-c"], bind(address, wishes, &folder)?),
            Kind::Starling => bail!("not a peer"),
        };
        let path = folder.join("config");
        std::fs::write(&path, config)?;
        let mut command = Command::new(tools::program(program)?);
        command.args(arguments).arg(&path).current_dir(&folder);
        let process = Process::spawn(&kind.to_string(), &command, &folder.join("log"))?;
        let mut peer = Self { kind, address, process, file };
        tools::poll(&format!("{kind} serves the zone"), SEEN_WITHIN, || {
            if let Some(status) = peer.process.exited() {
                bail!("{kind} ended with {status}\n{}", peer.process.log_tail());
            }
            peer.serial()
        })
        .with_context(|| peer.process.log_tail())?;
        Ok(peer)
    }

    /// The serial that it serves.
    pub(crate) fn serial(&self) -> Result<Option<u32>> {
        let query = Query::new(Name::parse(ZONE)?, TYPE_SOA).bytes(0x5345);
        // The time-out of the read paces whoever asks in a loop.
        let answer = client::udp_raw(self.address, &query, Duration::from_millis(50))?;
        let Some((bytes, _)) = answer else { return Ok(None) };
        Ok(Message::decode(&bytes)?.answer.first().and_then(serial_of))
    }

    /// Has it read another version of the zone, with a newer serial, and waits until it serves that.
    pub(crate) fn load(&self, text: &str, serial: u32) -> Result<()> {
        let temporary = self.file.with_extension("new");
        std::fs::write(&temporary, text)?;
        std::fs::rename(temporary, &self.file)?;
        self.process.signal(Signal::HUP)?;
        let what = format!("{} serves serial {serial}", self.kind);
        tools::poll(&what, SEEN_WITHIN, || Ok((self.serial()? == Some(serial)).then_some(())))
            .with_context(|| self.process.log_tail())
    }

    /// Has it change the zone (RFC 2136).
    pub(crate) fn update(&self, changes: &[Change]) -> Result<()> {
        let mut message = Query { opcode: 5, ..Query::new(Name::parse(ZONE)?, TYPE_SOA) }.bytes(0x5550);
        message[9] = changes.len() as u8;
        changes.iter().for_each(|change| change.write(&mut message));
        let answer =
            client::tcp(self.address, &[message])?.pop().flatten().context("no answer to an update")?;
        let answer = Message::decode(&answer)?;
        ensure!(answer.rcode() == 0, "{} refuses {changes:?}: {answer}", self.kind);
        Ok(())
    }
}

/// A change of one record.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) owner: Vec<u8>,
    pub(crate) rtype: u16,
    pub(crate) rdata: Vec<u8>,
    /// The TTL of a record that is added; `None` for one that is removed.
    pub(crate) added: Option<u32>,
}

impl Change {
    /// RFC 2136 §2.5: class IN adds, class NONE removes.
    fn write(&self, message: &mut Vec<u8>) {
        const NONE: u16 = 254;
        message.extend(&self.owner);
        let class = if self.added.is_some() { 1 } else { NONE };
        message.extend([self.rtype, class].map(u16::to_be_bytes).as_flattened());
        message.extend(self.added.unwrap_or(0).to_be_bytes());
        message.extend((self.rdata.len() as u16).to_be_bytes());
        message.extend(&self.rdata);
    }
}

fn nsd(at: SocketAddr, wishes: Wishes, folder: &Path) -> Result<String> {
    let here = folder.display();
    let mut text = format!(
        "server:\n ip-address: {}@{}\n server-count: 1\n username: \"\"\n chroot: \"\"\n database: \"\"\n \
         zonesdir: \"{here}\"\n pidfile: \"{here}/pid\"\n xfrdfile: \"{here}/xfrd.state\"\n \
         zonelistfile: \"{here}/zone.list\"\n xfrdir: \"{here}\"\n rrl-ratelimit: 0\n \
         rrl-whitelist-ratelimit: 0\n verbosity: 2\nremote-control:\n control-enable: no\n",
        at.ip(),
        at.port()
    );
    if let Some(Key { name, algorithm, secret }) = wishes.key {
        write!(text, "key:\n name: \"{name}\"\n algorithm: {algorithm}\n secret: \"{secret}\"\n")?;
    }
    let key = wishes.key.map_or("NOKEY", |key| key.name);
    if let Some(Xot { at, own: name, .. }) = wishes.tls {
        let lines = format!(
            "server:\n ip-address: {}@{port}\n tls-port: {port}\n tls-service-key: \"{here}/../{name}.key\"\n \
             tls-service-pem: \"{here}/../{name}.pem\"\n",
            at.ip(),
            port = at.port()
        );
        text = text.replacen("server:\n", &lines, 1);
    }
    let (ip, port) = (wishes.secondary.ip(), wishes.secondary.port());
    write!(
        text,
        "zone:\n name: \"{ZONE}\"\n zonefile: \"small.zone\"\n store-ixfr: yes\n create-ixfr: yes\n ixfr-number: 20\n \
         ixfr-size: 10000000\n provide-xfr: {LOOPBACK} {key}\n notify: {ip}@{port} {key}\n"
    )?;
    if wishes.key.is_some() {
        // For the tests themselves, which have no keys and ask from there.
        writeln!(text, " provide-xfr: 127.0.0.1 NOKEY")?;
    }
    Ok(text)
}

fn knot(at: SocketAddr, wishes: Wishes, folder: &Path) -> Result<String> {
    let here = folder.display();
    let mut text = format!(
        "server:\n  rundir: \"{here}\"\n  listen: {}@{}\n  udp-workers: 1\n  tcp-workers: 1\n  \
         background-workers: 1\nlog:\n  - target: stderr\n    any: info\ndatabase:\n  storage: \"{here}/db\"\n  \
         journal-db-max-size: 50M\n  kasp-db-max-size: 20M\n  timer-db-max-size: 20M\n",
        at.ip(),
        at.port()
    );
    let mut with_key = String::new();
    if let Some(Key { name, algorithm, secret }) = wishes.key {
        write!(text, "key:\n  - id: {name}\n    algorithm: {algorithm}\n    secret: {secret}\n")?;
        with_key = format!("\n    key: {name}");
    }
    // With NSEC3; BIND has NSEC.
    let (policy, signing) = match wishes.dnssec {
        true => ("policy:\n  - id: own\n    nsec3: on\n", "    dnssec-signing: on\n    dnssec-policy: own\n"),
        false => ("", ""),
    };
    write!(
        text,
        "remote:\n  - id: secondary\n    address: {}@{}{with_key}\nacl:\n  - id: transfer\n    address: {LOOPBACK}\n    \
         action: transfer{with_key}\n  - id: tests\n    address: 127.0.0.1\n    action: [transfer, update]\n\
         {policy}template:\n  - id: default\n    storage: \"{here}\"\n    zonefile-sync: -1\n    zonefile-load: {}\n    \
         journal-content: changes\n    semantic-checks: off\nzone:\n  - domain: \"{ZONE}\"\n    file: small.zone\n    \
         notify: secondary\n    acl: [transfer, tests]\n{signing}",
        wishes.secondary.ip(),
        wishes.secondary.port(),
        if wishes.dnssec { "whole" } else { "difference" }
    )?;
    Ok(text)
}

fn bind(at: SocketAddr, wishes: Wishes, folder: &Path) -> Result<String> {
    let here = folder.display();
    let mut text = format!(
        "options {{\n directory \"{here}\"; pid-file \"{here}/pid\"; session-keyfile \"{here}/session.key\"; \
         lock-file none;\n listen-on port {} {{ {}; }}; listen-on-v6 {{ none; }};\n recursion no; \
         dnssec-validation no; empty-zones-enable no; check-names primary ignore; check-integrity no; \
         max-cache-size 8m;\n max-records-per-type 0; max-types-per-name 0; max-ixfr-ratio unlimited;\n}};\n\
         controls {{ }};\n",
        at.port(),
        at.ip()
    );
    let (mut with_key, mut allowed) = (String::new(), format!("{LOOPBACK};"));
    if let Some(Key { name, algorithm, secret }) = wishes.key {
        writeln!(text, "key \"{name}\" {{ algorithm {algorithm}; secret \"{secret}\"; }};")?;
        with_key = format!(" key \"{name}\"");
        allowed = format!("key \"{name}\";");
    }
    if let Some(Xot { at, own: name, .. }) = wishes.tls {
        // BIND reads its files where it runs: `folder` is below that of the certificates.
        writeln!(text, "tls own {{ cert-file \"../{name}.pem\"; key-file \"../{name}.key\"; }};")?;
        text = text.replacen(
            "listen-on-v6",
            &format!("listen-on port {} tls own {{ {}; }}; listen-on-v6", at.port(), at.ip()),
            1,
        );
        allowed = format!("{LOOPBACK};");
    }
    let alone = wishes.tls.filter(|tls| tls.alone);
    let transport = alone.map(|tls| format!("port {} transport tls", tls.at.port())).unwrap_or_default();
    let changes = if wishes.dnssec {
        "dnssec-policy default; inline-signing no; allow-update { 127.0.0.1; };"
    } else if wishes.key.is_some() {
        "ixfr-from-differences yes;"
    } else {
        "allow-update { 127.0.0.1; };"
    };
    writeln!(
        text,
        "zone \"{ZONE}\" {{ type primary; file \"small.zone\"; notify explicit; notify-delay 0; also-notify {{ {} port \
         {}{with_key}; }}; allow-transfer {transport} {{ {allowed} }}; {changes} }};",
        wishes.secondary.ip(),
        wishes.secondary.port()
    )?;
    Ok(text)
}
