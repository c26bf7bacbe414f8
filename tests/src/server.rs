//! The servers under comparison, each started on a loopback address of its own with a generated
//! configuration that makes the answers comparable: minimal responses, no rate limit, no cookies, no
//! rotation, 1232 octets at most.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::client;
use crate::message::Message;
use crate::name::Name;
use crate::process::Process;
use crate::query::Query;
use crate::tools;

/// How long a server may take to answer its first query. Reading the zones takes well under a second; the
/// rest is for a machine with other work to do.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Attempts to start a peer whose port was taken between the choice and its own bind.
const START_ATTEMPTS: u32 = 3;

/// What the peers log when a zone was refused or a port is taken, which ends the wait for the first answer.
const HOPELESS: [&str; 3] = ["not loaded due to errors", "failed to parse zone file", "address in use"];

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// NSD.
    Nsd,
    /// Knot DNS.
    Knot,
    /// BIND's named.
    Bind,
    /// The server under test.
    Starling,
}

impl Kind {
    /// The three others.
    pub const PEERS: [Self; 3] = [Self::Nsd, Self::Knot, Self::Bind];
    /// All of them, the one under test last.
    pub const ALL: [Self; 4] = [Self::Nsd, Self::Knot, Self::Bind, Self::Starling];
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Nsd => "nsd",
            Self::Knot => "knot",
            Self::Bind => "bind",
            Self::Starling => "starling",
        })
    }
}

/// A zone to serve.
#[derive(Clone, Debug)]
pub struct ZoneFile {
    /// The apex.
    pub apex: Name,
    /// The master file as an operator has it.
    pub file: PathBuf,
    /// The same records with RDATA in the generic form of RFC 3597 §5, for peers that do not know every
    /// type's own presentation.
    pub generic: PathBuf,
}

/// A server that answers.
pub struct Server {
    /// Which one.
    pub kind: Kind,
    /// Where it answers, UDP and TCP.
    pub address: SocketAddr,
    /// Its process.
    pub process: Process,
}

impl Server {
    /// Starts a server for these zones; returns when it answers for every one of them.
    pub fn start(kind: Kind, zones: &[ZoneFile], folder: &Path) -> Result<Self> {
        if kind == Kind::Starling {
            return starling(zones, &folder.join(kind.to_string()), &[]);
        }
        Self::start_peer(kind, zones, folder, None)
    }

    /// Starts a peer that lets these zones be transferred, and tells `secondary` of new versions.
    pub fn primary(kind: Kind, zones: &[ZoneFile], folder: &Path, secondary: SocketAddr) -> Result<Self> {
        Self::start_peer(kind, zones, folder, Some(secondary))
    }

    fn start_peer(
        kind: Kind,
        zones: &[ZoneFile],
        folder: &Path,
        secondary: Option<SocketAddr>,
    ) -> Result<Self> {
        let folder = folder.join(kind.to_string());
        std::fs::create_dir_all(&folder)?;
        let mut failure = None;
        for _ in 0..START_ATTEMPTS {
            match peer(kind, zones, &folder, secondary) {
                Ok(server) => return Ok(server),
                // Only a port taken in the meantime is worth another attempt.
                Err(error) if !format!("{error:#}").contains("in use") => {
                    return Err(error).with_context(|| format!("start of {kind}"));
                }
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.context("at least one attempt")?).with_context(|| format!("start of {kind}"))
    }
}

/// Fails with the end of its log if one of these servers is no longer there.
pub fn all_alive(servers: &mut [Server]) -> Result<()> {
    for server in servers {
        if let Some(status) = server.process.exited() {
            bail!("{} ended with {status}\n{}", server.kind, server.process.log_tail());
        }
    }
    Ok(())
}

/// Starts Starling for these zones with further arguments; returns when it says that it is ready.
pub fn starling(zones: &[ZoneFile], folder: &Path, arguments: &[&str]) -> Result<Server> {
    std::fs::create_dir_all(folder)?;
    let mut command = Command::new(tools::starling()?);
    command.arg("serve").args(["--workers", "1"]).arg("--listen").arg(format!("{}:0", own_address()));
    for zone in zones {
        command.arg("--zone").arg(format!("{}={}", zone.apex, zone.file.display()));
    }
    command.args(arguments);
    let mut process = Process::spawn("starling", &command, &folder.join("log"))?;
    let addresses = starling_ready(&mut process)?;
    let address = *addresses.first().context("starling names no listener before `ready`")?;
    Ok(Server { kind: Kind::Starling, address, process })
}

/// Starts Starling with a configuration that makes it a secondary of these zones, with further lines for all of them;
/// returns when it answers for every one.
pub fn starling_secondary(
    zones: &[ZoneFile],
    primaries: &[SocketAddr],
    listen: SocketAddr,
    folder: &Path,
    lines: &str,
) -> Result<Server> {
    std::fs::create_dir_all(folder)?;
    let config = folder.join("secondary.toml");
    let control = folder.join("control");
    let mut text = format!("[node]\nlisten = [\"{listen}\"]\ncontrol = \"{}\"\n", control.display());
    write!(text, "workers = 1\n[secondary]\n{lines}\n")?;
    let primaries: Vec<String> = primaries.iter().map(|primary| format!("\"{primary}\"")).collect();
    for zone in zones {
        let name = zone.apex.to_string();
        write!(text, "[[zone]]\nname = '{name}'\nrotate = true\nprimaries = [{}]\n", primaries.join(", "))?;
    }
    std::fs::write(&config, text)?;
    let mut command = Command::new(tools::starling()?);
    command.arg("serve").arg("--config").arg(&config);
    let mut process = Process::spawn("starling", &command, &folder.join("log"))?;
    let address = *starling_ready(&mut process)?.first().context("starling names no listener")?;
    let deadline = Instant::now() + START_LIMIT;
    for zone in zones {
        wait_for_zone(&mut process, address, &zone.apex, deadline)?;
    }
    Ok(Server { kind: Kind::Starling, address, process })
}

/// Reads Starling's `listening ADDR:PORT udp tcp` lines up to `ready`.
pub fn starling_ready(process: &mut Process) -> Result<Vec<SocketAddr>> {
    Ok(starling_addresses(process)?.listening)
}

/// Where a Starling that is ready listens.
pub struct Addresses {
    /// For queries.
    pub listening: Vec<SocketAddr>,
    /// For queries over TLS.
    pub tls: Vec<SocketAddr>,
    /// For management.
    pub management: Vec<SocketAddr>,
}

/// Reads what Starling says on standard output up to `ready`.
pub fn starling_addresses(process: &mut Process) -> Result<Addresses> {
    let deadline = Instant::now() + START_LIMIT;
    let mut addresses = Addresses { listening: Vec::new(), tls: Vec::new(), management: Vec::new() };
    loop {
        let Some(line) = process.line(deadline)? else {
            bail!("starling is not ready after {START_LIMIT:?}:\n{}", process.log_tail())
        };
        let parsed = |text: &str| text.parse().with_context(|| line.clone());
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["ready"] => return Ok(addresses),
            ["listening", address, "udp", "tcp"] => addresses.listening.push(parsed(address)?),
            ["listening", address, "tls"] => addresses.tls.push(parsed(address)?),
            ["management", address] => addresses.management.push(parsed(address)?),
            _ => {}
        }
    }
}

/// A loopback address that no other server of this or another test process uses.
#[must_use]
pub fn own_address() -> Ipv4Addr {
    static TAKEN: AtomicU8 = AtomicU8::new(1);
    let pid = std::process::id();
    // Clients live on 127.0.0.1, away from these.
    Ipv4Addr::new(127, 64 + (pid >> 8 & 0x3f) as u8, pid as u8, TAKEN.fetch_add(1, Ordering::Relaxed))
}

/// An address of its own with a port that is free at the time of asking, for a server that others have to know before it
/// starts.
pub fn own_socket_address() -> Result<SocketAddr> {
    let address = own_address();
    Ok(SocketAddr::new(IpAddr::V4(address), free_port(address)?))
}

/// A port free for UDP and TCP at this address at the time of asking. The kernel gives none of these to whoever asks it for
/// any: else a client at all addresses could have it when the server comes.
pub fn free_port(address: Ipv4Addr) -> Result<u16> {
    const FIRST: u16 = 10_000;
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")?;
    let end: u16 = range.split_whitespace().next().context("the kernel's first port")?.parse()?;
    ensure!(end > FIRST + 1000, "the kernel gives away the ports from {end} on");
    for _ in 0..100 {
        let port = fastrand::u16(FIRST..end);
        if UdpSocket::bind((address, port)).is_ok() && TcpListener::bind((address, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port of {address} is free for both UDP and TCP")
}

fn peer(kind: Kind, zones: &[ZoneFile], folder: &Path, secondary: Option<SocketAddr>) -> Result<Server> {
    // BIND listens only on addresses that an interface lists, and loopback lists just the one.
    let ip = if kind == Kind::Bind { Ipv4Addr::LOCALHOST } else { own_address() };
    let address = SocketAddr::new(IpAddr::V4(ip), free_port(ip)?);
    let (program, arguments, text) = match kind {
        Kind::Nsd => ("nsd", vec!["-d", "-c"], nsd_config(address, zones, folder, secondary)),
        Kind::Knot => ("knotd", vec!["-c"], knot_config(address, zones, folder, secondary)),
        // -g keeps named in the foreground with its log on stderr.
        Kind::Bind => ("named", vec!["-g", "-n", "1", "-c"], bind_config(address, zones, folder, secondary)),
        Kind::Starling => bail!("starling has no configuration file here"),
    };
    let config = folder.join("config");
    std::fs::write(&config, text)?;
    let mut command = Command::new(tools::program(program)?);
    command.args(arguments).arg(&config).current_dir(folder);
    let mut process = Process::spawn(&kind.to_string(), &command, &folder.join("log"))?;
    let deadline = Instant::now() + START_LIMIT;
    for zone in zones {
        wait_for_zone(&mut process, address, &zone.apex, deadline)?;
    }
    Ok(Server { kind, address, process })
}

/// Asks for the SOA until it comes.
fn wait_for_zone(process: &mut Process, address: SocketAddr, apex: &Name, deadline: Instant) -> Result<()> {
    let query = Query::new(apex.clone(), 6).bytes(0x5354);
    while Instant::now() < deadline {
        if let Some(status) = process.exited() {
            bail!("ended with {status}\n{}", process.log_tail());
        }
        // The time-out of the read is what paces this loop.
        let answer = client::udp_raw(address, &query, Duration::from_millis(50))?;
        let Some((bytes, _)) = answer else { continue };
        if Message::decode(&bytes).is_ok_and(|message| message.rcode() == 0 && !message.answer.is_empty()) {
            return Ok(());
        }
        if HOPELESS.iter().any(|text| process.log().contains(text)) {
            bail!("will not answer\n{}", process.log_tail());
        }
    }
    bail!("does not answer for {apex} after {START_LIMIT:?}\n{}", process.log_tail())
}

fn nsd_config(
    address: SocketAddr,
    zones: &[ZoneFile],
    folder: &Path,
    secondary: Option<SocketAddr>,
) -> String {
    let at = folder.display();
    // rrl-ratelimit: Debian's build limits to 200 answers a second unless told otherwise.
    let mut text = format!(
        "server:\n ip-address: {}@{}\n server-count: 1\n username: \"\"\n chroot: \"\"\n database: \"\"\n \
         zonesdir: \"{at}\"\n pidfile: \"{at}/pid\"\n xfrdfile: \"{at}/xfrd.state\"\n \
         zonelistfile: \"{at}/zone.list\"\n xfrdir: \"{at}\"\n minimal-responses: yes\n round-robin: no\n \
         refuse-any: no\n rrl-ratelimit: 0\n rrl-whitelist-ratelimit: 0\n ipv4-edns-size: 1232\n \
         ipv6-edns-size: 1232\n tcp-count: 100\n tcp-query-count: 0\n tcp-timeout: 60\n answer-cookie: no\n \
         hide-version: yes\nremote-control:\n control-enable: no\n",
        address.ip(),
        address.port()
    );
    for zone in zones {
        let file = zone.generic.display();
        writeln!(text, "zone:\n name: \"{}\"\n zonefile: \"{file}\"", zone.apex).expect("a String takes all");
        if let Some(secondary) = secondary {
            let (ip, port) = (secondary.ip(), secondary.port());
            writeln!(text, " provide-xfr: 127.0.0.0/8 NOKEY\n notify: {ip}@{port} NOKEY")
                .expect("a String takes all");
        }
    }
    text
}

fn knot_config(
    address: SocketAddr,
    zones: &[ZoneFile],
    folder: &Path,
    secondary: Option<SocketAddr>,
) -> String {
    let at = folder.display();
    let (mut remote, mut transfers) = (String::new(), "");
    if let Some(secondary) = secondary {
        let (ip, port) = (secondary.ip(), secondary.port());
        remote = format!(
            "remote:\n  - id: secondary\n    address: {ip}@{port}\nacl:\n  - id: transfers\n    \
             address: 127.0.0.0/8\n    action: transfer\n"
        );
        transfers = "    notify: secondary\n    acl: transfers\n";
    }
    let mut text = format!(
        "server:\n  rundir: \"{at}\"\n  listen: {}@{}\n  udp-workers: 1\n  tcp-workers: 1\n  \
         background-workers: 1\n  udp-max-payload: 1232\n  tcp-idle-timeout: 60\n\
         log:\n  - target: stderr\n    any: info\n\
         database:\n  storage: \"{at}/db\"\n\
         {remote}template:\n  - id: default\n    storage: \"{at}\"\n    zonefile-sync: -1\n    journal-content: none\n    \
         semantic-checks: off\n\
         {transfers}zone:\n",
        address.ip(),
        address.port()
    );
    for zone in zones {
        let file = zone.generic.display();
        writeln!(text, "  - domain: \"{}\"\n    file: \"{file}\"", zone.apex).expect("a String takes all");
    }
    text
}

fn bind_config(
    address: SocketAddr,
    zones: &[ZoneFile],
    folder: &Path,
    secondary: Option<SocketAddr>,
) -> String {
    let at = folder.display();
    let mut text = format!(
        "options {{\n directory \"{at}\"; pid-file \"{at}/pid\"; session-keyfile \"{at}/session.key\"; lock-file none;\n \
         listen-on port {} {{ {}; }}; listen-on-v6 {{ none; }};\n recursion no; notify no; allow-transfer {{ any; }};\n \
         minimal-responses yes; minimal-any no; zero-no-soa-ttl no; rrset-order {{ order none; }}; answer-cookie no;\n \
         max-udp-size 1232; edns-udp-size 1232; dnssec-validation no; empty-zones-enable no;\n \
         check-names primary ignore; check-integrity no; max-cache-size 8m;\n \
         max-records-per-type 0; max-types-per-name 0;\n}};\ncontrols {{ }};\n",
        address.port(),
        address.ip()
    );
    for zone in zones {
        let file = zone.file.display();
        let notify = secondary.map_or_else(String::new, |secondary| {
            let (ip, port) = (secondary.ip(), secondary.port());
            format!("notify explicit; also-notify {{ {ip} port {port}; }}; notify-delay 0;")
        });
        writeln!(text, "zone \"{}\" {{ type primary; file \"{file}\"; {notify} }};", zone.apex)
            .expect("a String takes all");
    }
    text
}
