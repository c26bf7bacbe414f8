//! Changes of ten records beside queries: what they do to latency, and when they are answered. dnsperf asks.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use starling_tests::message::Message;
use starling_tests::name::Name;
use starling_tests::process::Process;
use starling_tests::query::Query;
use starling_tests::server::{Kind, own_socket_address};
use starling_tests::tools;

use super::{Hosts, alone, percentile, setting};
use crate::peers::{Peer, Wishes};
use crate::secondaries::{Primary, Secondary, serial_of};
use crate::site::{SEEN_WITHIN, ZONE};

const TYPE_SOA: u16 = 6;
/// How long is asked before the first change, and how long with changes, a second apart.
const CALM_S: u64 = 8;
/// How many sockets look for a new version. The packets of each go to one worker, by a hash: that two workers don't have one each is as likely as
/// sixteen coins that fall alike.
const LOOKERS: usize = 16;
/// What is promised, for half of all changes: the other half of the time belongs to others on the machine.
const FOLLOWED_WITHIN_US: u32 = 10_000;
/// dnsperf's answers are told one by one in their order: so many are a tenth of a second.
const WINDOW_S: f64 = 0.1;
/// Between two looks for the new version, and how long one takes at most: what is measured is off by that.
const LOOK_EVERY: Duration = Duration::from_micros(500);
const LOOK_WITHIN: Duration = Duration::from_millis(20);

/// What changes did to a server.
struct Seen {
    kind: Kind,
    /// From the primary's word that it has changed to the last worker's answer with the new serial, in microseconds.
    followed_us: Vec<u32>,
    calm: Latency,
    changing: Latency,
    lost: u64,
}

/// Latencies of some seconds.
struct Latency {
    p50_us: u32,
    p999_us: u32,
    worst_us: u32,
    /// The middle and the worst of the 99.9th percentiles of windows of a tenth of a second.
    windows_us: (u32, u32),
}

impl Latency {
    fn of(micros: &[u32], window: usize) -> Self {
        let mut tails: Vec<u32> =
            micros.chunks(window).map(|window| percentile(&mut window.to_vec(), 99.9)).collect();
        let mut all = micros.to_vec();
        let (p50_us, p999_us) = (percentile(&mut all, 50.0), percentile(&mut all, 99.9));
        let worst_us = all.last().copied().unwrap_or(0);
        Self {
            p50_us,
            p999_us,
            worst_us,
            windows_us: (percentile(&mut tails, 50.0), percentile(&mut tails, 100.0)),
        }
    }

    fn text(&self) -> String {
        format!(
            "p50 {} µs, p99.9 {}, worst {}; p99.9 of 100 ms: middle {}, worst {}",
            self.p50_us, self.p999_us, self.worst_us, self.windows_us.0, self.windows_us.1
        )
    }
}

/// With `STARLING_LONG=1` a million names, 10,000 queries a second, and Knot and NSD after Starling; `STARLING_LOAD_NAMES` and
/// `STARLING_LOAD_RATE` say otherwise.
#[test]
fn changes_of_ten_records_leave_no_step_in_latency() -> Result<()> {
    let is_long = tools::long_run();
    let names = setting("STARLING_LOAD_NAMES", if is_long { 1_000_000 } else { 20_000 }) as usize;
    let rate = setting("STARLING_LOAD_RATE", if is_long { 10_000 } else { 1000 });
    let _alone = alone();
    let kinds: &[Kind] = if is_long { &[Kind::Starling, Kind::Knot, Kind::Nsd] } else { &[Kind::Starling] };
    let seconds = if is_long { CALM_S } else { 2 };
    tools::announce(&format!("{names} names, {rate} queries a second, a change of ten records each second:"));
    for kind in kinds {
        let mut seen = measure(*kind, names, rate, seconds).with_context(|| kind.to_string())?;
        let median = percentile(&mut seen.followed_us, 50.0);
        let slowest = seen.followed_us.last().copied().unwrap_or(0);
        tools::announce(&format!(
            "{}: answered {median} µs after the primary has it (median of {}, {slowest} at most), {} lost\n  before: {}\n  changing: {}",
            seen.kind,
            seen.followed_us.len(),
            seen.lost,
            seen.calm.text(),
            seen.changing.text()
        ));
        if *kind == Kind::Starling {
            ensure!(seen.lost == 0, "{} queries were lost", seen.lost);
            ensure!(!is_long || median <= FOLLOWED_WITHIN_US, "answered only after {median} µs");
        }
    }
    Ok(())
}

fn measure(kind: Kind, names: usize, rate: u64, seconds: u64) -> Result<Seen> {
    let folder = tempfile::tempdir()?;
    let mut hosts = Hosts::new(names);
    let address = if kind == Kind::Starling { own_socket_address()? } else { Secondary::address_for(kind)? };
    let wishes = Wishes { secondary: address, key: None, dnssec: false, tls: None };
    let peer = Peer::start(Kind::Bind, &hosts.text()?, wishes, folder.path())?;
    let server = start(kind, address, peer.address, folder.path())?;
    Lookers::at(address)?.wait_for(1)?;
    // What a start leaves to be done, such as writing an image, is not what is measured.
    let mut dnsperf = Dnsperf::start(address, names, rate, 3 * seconds, folder.path())?;
    let start = Instant::now();
    let lookers = Lookers::at(address)?;
    let mut followed_us = Vec::new();
    for change in 0..seconds {
        pace(start + Duration::from_secs(2 * seconds + change));
        let changes = hosts.step();
        peer.update(&changes)?;
        let told = Instant::now();
        lookers.wait_for(1 + hosts.step)?;
        followed_us.push(u32::try_from(told.elapsed().as_micros())?);
    }
    let (micros, lost) = dnsperf.end()?;
    let per_second = rate as usize;
    if lost > 0
        && let Server::Starling(node) = &server
    {
        tools::announce(&node.ctl(&["status"])?);
    }
    // The first third is for caches and what a start leaves to do.
    let part = |from: usize| micros.iter().skip(from * per_second).take(seconds as usize * per_second);
    let (calm, changing): (Vec<u32>, Vec<u32>) =
        (part(seconds as usize).copied().collect(), part(2 * seconds as usize).copied().collect());
    ensure!(!changing.is_empty(), "dnsperf had {} answers", micros.len());
    let window = (rate as f64 * WINDOW_S) as usize;
    Ok(Seen {
        kind,
        followed_us,
        calm: Latency::of(&calm, window),
        changing: Latency::of(&changing, window),
        lost,
    })
}

/// A server under test, which ends when it is dropped.
enum Server {
    Starling(Primary),
    Peer(#[expect(dead_code, reason = "kept for what its dropping does")] Secondary),
}

fn start(kind: Kind, address: SocketAddr, primary: SocketAddr, folder: &Path) -> Result<Server> {
    if kind != Kind::Starling {
        let zones = [Name::parse(ZONE)?];
        return Ok(Server::Peer(Secondary::start(kind, address, &zones, primary, folder)?));
    }
    let lines = format!(
        "steering = \"hash\"\nstate-dir = \"state\"\n[secondary]\nrefresh-min-s = 3600\n[[zone]]\nname = \"{ZONE}\"\nprimaries = [\"{primary}\"]\n"
    );
    Ok(Server::Starling(Primary::start_with(2, &address.to_string(), &lines, &folder.join("starling"))?))
}

/// Sockets that ask for the serial, among them at least one for each worker.
struct Lookers(Vec<UdpSocket>);

impl Lookers {
    fn at(server: SocketAddr) -> Result<Self> {
        let looker = |_| -> Result<UdpSocket> {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            socket.connect(server)?;
            socket.set_read_timeout(Some(LOOK_WITHIN))?;
            Ok(socket)
        };
        Ok(Self((0..LOOKERS).map(looker).collect::<Result<_>>()?))
    }

    /// Waits until each of them is answered with this serial.
    fn wait_for(&self, serial: u32) -> Result<()> {
        let start = Instant::now();
        for socket in &self.0 {
            while asked(socket)? != Some(serial) {
                ensure!(start.elapsed() < SEEN_WITHIN, "serial {serial} is not served");
                std::thread::park_timeout(LOOK_EVERY);
            }
        }
        Ok(())
    }
}

/// The serial that is answered, if anything is in time.
fn asked(socket: &UdpSocket) -> Result<Option<u32>> {
    let query = Query::new(Name::parse(ZONE)?, TYPE_SOA).bytes(0x5345);
    // Where nobody listens yet, the one says what the other has found out.
    let mut buffer = [0; 512];
    let Ok(len) = socket.send(&query).and_then(|_| socket.recv(&mut buffer)) else { return Ok(None) };
    Ok(Message::decode(&buffer[..len])?.answer.first().and_then(serial_of))
}

fn pace(then: Instant) {
    while let Some(left) = then.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}

/// dnsperf, which tells of each answer.
struct Dnsperf {
    process: Process,
    told: PathBuf,
}

impl Dnsperf {
    fn start(server: SocketAddr, names: usize, rate: u64, seconds: u64, folder: &Path) -> Result<Self> {
        let queries = folder.join("queries");
        let mut rng = fastrand::Rng::with_seed(9);
        let text: String = (0..100_000).map(|_| format!("h{}.{ZONE} A\n", rng.usize(..names))).collect();
        std::fs::write(&queries, text)?;
        let told = folder.join("told");
        // To a file by itself: a pipe that is not read at once would hold it up.
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!(
            "exec {} -s {} -p {} -d {} -Q {rate} -l {seconds} -q 1000 -t 5 -v > {}",
            tools::program("dnsperf")?.display(),
            server.ip(),
            server.port(),
            queries.display(),
            told.display()
        ));
        Ok(Self { process: Process::spawn("dnsperf", &command, &folder.join("dnsperf.log"))?, told })
    }

    /// The latencies in the order of the answers, and how many queries had none.
    fn end(&mut self) -> Result<(Vec<u32>, u64)> {
        let status = self.process.wait(SEEN_WITHIN)?;
        ensure!(status.success(), "{}", self.process.log_tail());
        let text = std::fs::read_to_string(&self.told)?;
        let mut micros = Vec::new();
        let mut lost = None;
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("> NOERROR ") {
                let seconds: f64 = rest.rsplit(' ').next().context("a time")?.parse().context("a time")?;
                micros.push((seconds * 1e6) as u32);
            } else if let Some(rest) = line.trim().strip_prefix("Queries lost:") {
                lost = rest.split_whitespace().next().and_then(|count| count.parse().ok());
            } else if line.starts_with("> ") && !line.starts_with("> T ") {
                // One with a T is lost, and counted so at the end.
                bail!("{line}");
            }
        }
        Ok((micros, lost.context("dnsperf says how many were lost")?))
    }
}
