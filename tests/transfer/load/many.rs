//! A secondary that starts with thousands of zones, none of which it has yet, and one primary for all of them.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use starling_tests::message::Message;
use starling_tests::name::Name;
use starling_tests::process::Process;
use starling_tests::query::Query;
use starling_tests::server::{Kind, own_socket_address};
use starling_tests::{client, http, openmetrics, tools};

use super::connections::Connections;
use super::resources::{Memory, memory};
use super::{alone, setting};
use crate::secondaries::{Primary, Secondary};

const TYPE_SOA: u16 = 6;
/// Connections that Starling has with its primaries at a time, and one for each whose end the primary may not have seen yet.
const CONNECTIONS_MAX: usize = 2 * 10;
/// What is promised for ten thousand; a machine that others use may take longer for fewer in a debug build, and is not what the long run is for.
const SERVED_WITHIN: Duration = Duration::from_secs(60);
/// Between two looks at which zones are served, which take time from whoever answers.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How a start went.
struct Start {
    kind: Kind,
    took: Duration,
    /// The most TCP connections at the primary that were seen to be open at once.
    connections: usize,
    /// Transfers and questions that failed, as the secondary says.
    failed: usize,
    memory: Memory,
}

impl Start {
    fn row(&self, zones: usize) -> String {
        format!(
            "{:<9} {:>6.2} s, {:>5.0} zones a second, {:>4} connections at most, {} failed, {:>6.1} MiB private, {:>6.1} in all",
            self.kind.to_string(),
            self.took.as_secs_f64(),
            zones as f64 / self.took.as_secs_f64(),
            self.connections,
            self.failed,
            self.memory.private_kib as f64 / 1024.0,
            self.memory.kib as f64 / 1024.0
        )
    }
}

/// With `STARLING_LONG=1` ten thousand, and Knot and NSD after Starling; `STARLING_LOAD_ZONES` says otherwise.
#[test]
fn thousands_of_zones_come_without_a_storm() -> Result<()> {
    let is_long = tools::long_run();
    let count = setting("STARLING_LOAD_ZONES", if is_long { 10_000 } else { 1000 }) as usize;
    let _alone = alone();
    let folder = tempfile::tempdir()?;
    let zones: Vec<Name> =
        (0..count).map(|zone| Name::parse(&format!("z{zone}.example."))).collect::<Result<_>>()?;
    let (primary, _process) = primary(&zones, &folder.path().join("primary"))?;
    let kinds: &[Kind] = if is_long { &[Kind::Starling, Kind::Knot, Kind::Nsd] } else { &[Kind::Starling] };
    tools::announce(&format!("{count} zones from one primary (NSD), from the start of the secondary on:"));
    for kind in kinds {
        let start = start(*kind, &zones, primary, folder.path()).with_context(|| kind.to_string())?;
        tools::announce(&start.row(count));
        ensure!(*kind != Kind::Starling || start.failed == 0, "{} transfers failed", start.failed);
        let connections = start.connections;
        ensure!(connections > 0, "none of its connections was seen");
        ensure!(*kind != Kind::Starling || connections <= CONNECTIONS_MAX, "{connections} connections");
    }
    Ok(())
}

/// Starts NSD with zones of some ten records each, which have all that they have from the same file. It takes 100 connections
/// at a time, as it does where nothing else is said.
fn primary(zones: &[Name], folder: &Path) -> Result<(SocketAddr, Process)> {
    std::fs::create_dir_all(folder)?;
    let at = own_socket_address()?;
    let hosts: String = (0..8).map(|host| format!("h{host} A 192.0.2.{host}\n")).collect();
    let text = format!("$TTL 300\n@ SOA ns1 host 1 86400 3600 604800 60\n NS ns1\nns1 A 192.0.2.1\n{hosts}");
    std::fs::write(folder.join("zone"), text)?;
    let here = folder.display();
    let mut config = format!(
        "server:\n ip-address: {}@{}\n server-count: 1\n username: \"\"\n chroot: \"\"\n database: \"\"\n \
         zonesdir: \"{here}\"\n pidfile: \"{here}/pid\"\n xfrdfile: \"{here}/xfrd.state\"\n \
         zonelistfile: \"{here}/zone.list\"\n xfrdir: \"{here}\"\n rrl-ratelimit: 0\n \
         rrl-whitelist-ratelimit: 0\nremote-control:\n control-enable: no\n",
        at.ip(),
        at.port()
    );
    for zone in zones {
        write!(config, "zone:\n name: \"{zone}\"\n zonefile: zone\n provide-xfr: 127.0.0.0/8 NOKEY\n")?;
    }
    let path = folder.join("config");
    std::fs::write(&path, config)?;
    let mut command = Command::new(tools::program("nsd")?);
    command.arg("-d").arg("-c").arg(&path).current_dir(folder);
    let process = Process::spawn("primary", &command, &folder.join("log"))?;
    tools::poll("the primary serves its zones", SERVED_WITHIN, || {
        Ok(pending(at, zones)?.is_empty().then_some(()))
    })
    .with_context(|| process.log_tail())?;
    Ok((at, process))
}

fn start(kind: Kind, zones: &[Name], primary: SocketAddr, folder: &Path) -> Result<Start> {
    let (ends, most) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut connections = Connections::of(primary)?;
    thread::scope(|scope| {
        let counting = scope.spawn(|| -> Result<()> {
            while !ends.load(Ordering::Relaxed) {
                most.fetch_max(connections.at_once()?, Ordering::Relaxed);
                thread::park_timeout(Duration::from_millis(5));
            }
            Ok(())
        });
        let began = Instant::now();
        let started = match kind {
            Kind::Starling => starling(zones, primary, folder, began),
            _ => peer(kind, zones, primary, folder, began),
        };
        ends.store(true, Ordering::Relaxed);
        counting.join().map_err(|_| anyhow!("counting connections panicked"))??;
        started
    })
    .map(|start| Start { connections: most.load(Ordering::Relaxed), ..start })
}

fn starling(zones: &[Name], primary: SocketAddr, folder: &Path, began: Instant) -> Result<Start> {
    let management = own_socket_address()?;
    let mut lines = format!("state-dir = \"state\"\n[management]\nlisten = [\"{management}\"]\n");
    for zone in zones {
        write!(lines, "[[zone]]\nname = \"{zone}\"\nprimaries = [\"{primary}\"]\n")?;
    }
    let node = Primary::start(&lines, &folder.join("starling"))?;
    let metrics = || openmetrics::read(&http::get(management, "/metrics")?.body);
    let mut seen = Vec::new();
    let took = all_served(node.address, zones, began, || {
        seen.push(metrics()?.get("starling_zones{state=\"ok\"}").copied().unwrap_or(0.0) as usize);
        Ok(())
    })
    .with_context(|| node.process.log_tail())?;
    let shown: Vec<usize> = seen.iter().copied().step_by(seen.len() / 10 + 1).collect();
    tools::announce(&format!("good as the metrics told meanwhile, some of {} times: {shown:?}", seen.len()));
    ensure!(seen.is_sorted(), "zones were served and then no more: {seen:?}");
    // A zone is answered for a moment before that is told.
    let good = format!("the metrics tell of {} good zones", zones.len());
    let samples = tools::poll(&good, SERVED_WITHIN, || {
        let samples = metrics()?;
        Ok((samples.get("starling_zones{state=\"ok\"}") == Some(&(zones.len() as f64))).then_some(samples))
    })?;
    let value = |name: &str| samples.get(name).copied().with_context(|| format!("no {name}"));
    let failed = value("starling_secondary_rounds_total{result=\"failed\"}")? as usize;
    Ok(Start { kind: Kind::Starling, took, connections: 0, failed, memory: memory(node.process.pid())? })
}

fn peer(kind: Kind, zones: &[Name], primary: SocketAddr, folder: &Path, began: Instant) -> Result<Start> {
    let address = Secondary::address_for(kind)?;
    let secondary = Secondary::start(kind, address, zones, primary, folder)?;
    let took = all_served(address, zones, began, || Ok(())).with_context(|| secondary.process.log_tail())?;
    let log = secondary.process.log();
    // Knot says of each zone that there is no file of it, which is right.
    let is_failure =
        |line: &&str| (line.contains("refresh") && line.contains("fail")) || line.contains("error:");
    let failed = log.lines().filter(is_failure).count();
    Ok(Start { kind, took, connections: 0, failed, memory: memory(secondary.process.pid())? })
}

/// Waits until all zones are served; how long that took. Between looks it does something else besides.
fn all_served(
    server: SocketAddr,
    zones: &[Name],
    began: Instant,
    mut between: impl FnMut() -> Result<()>,
) -> Result<Duration> {
    let mut left = zones.to_vec();
    while began.elapsed() < SERVED_WITHIN {
        left = pending(server, &left)?;
        if left.is_empty() {
            return Ok(began.elapsed());
        }
        between()?;
        thread::park_timeout(LOOK_EVERY);
    }
    bail!("{} zones are not served after {SERVED_WITHIN:?}, such as {}", left.len(), left[0])
}

/// Which of these zones a server does not serve.
fn pending(server: SocketAddr, zones: &[Name]) -> Result<Vec<Name>> {
    // One that doesn't answer at all would be asked thousands of times in vain.
    let query = |zone: &Name| Query::new(zone.clone(), TYPE_SOA).bytes(0);
    if client::udp_raw(server, &query(&zones[0]), LOOK_EVERY)?.is_none() {
        return Ok(zones.to_vec());
    }
    let answers = client::udp(server, &zones.iter().map(query).collect::<Vec<_>>())?;
    let is_served = |answer: Option<Vec<u8>>| -> Result<bool> {
        let Some(bytes) = answer else { return Ok(false) };
        let message = Message::decode(&bytes)?;
        Ok(message.rcode() == 0 && !message.answer.is_empty())
    };
    let mut left = Vec::new();
    for (zone, answer) in zones.iter().zip(answers) {
        if !is_served(answer)? {
            left.push(zone.clone());
        }
    }
    Ok(left)
}
