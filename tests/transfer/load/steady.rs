//! Ten changes a second, of ten records each, for as long as it takes to see what grows.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use starling_tests::message::Message;
use starling_tests::name::Name;
use starling_tests::query::Query;
use starling_tests::server::{Kind, own_socket_address};
use starling_tests::zonedata::transfer;
use starling_tests::{client, http, openmetrics, tools};

use super::light::Light;
use super::resources::{Memory, cpu_ms, memory, waited_ms, written};
use super::{Hosts, alone, percentile, setting};
use crate::copies::same_records;
use crate::peers::{Peer, Wishes};
use crate::site::{Node, SEEN_WITHIN, Seen, Site, ZONE};

const TYPE_SOA: u16 = 6;
/// How often a NOTIFY is sent, and how long its answer may take.
const NOTIFY_ATTEMPTS: u32 = 5;
const NOTIFIED_WITHIN: Duration = Duration::from_secs(2);
pub(super) const CHANGES_A_SECOND: u64 = 10;
/// Intervals that leave it to NOTIFY when the node asks.
const NOTIFIED: &str = "refresh-min-s = 86400\nretry-min-s = 3600";
/// How far the node may be behind its primary: a change that a busy machine holds up holds up those after it.
const BEHIND_MAX: u32 = 100;

/// What a second, or more, was like.
#[derive(Clone, Default, Debug)]
pub(super) struct Span {
    pub(super) memory: Memory,
    /// Of the client's answers.
    pub(super) p50_us: u32,
    pub(super) p99_us: u32,
    pub(super) worst_us: u32,
    pub(super) lost: u32,
    /// Versions that were served, and how long each took from its NOTIFY, on average.
    pub(super) versions: u32,
    pub(super) publication_us: u32,
    /// Serials that the node was behind its primary at the end.
    pub(super) behind: u32,
    /// Of one processor.
    pub(super) cpu_percent: u32,
    /// For how long the thread that answers had no processor, though it was ready: what others on the machine did.
    pub(super) waited_ms: u32,
}

impl Span {
    /// The middle of each figure, but the worst of what must not be, and all that is counted.
    pub(super) fn of(spans: &[Self]) -> Self {
        let middle =
            |figure: fn(&Self) -> u32| percentile(&mut spans.iter().map(figure).collect::<Vec<_>>(), 50.0);
        let kib = |figure: fn(&Self) -> u64| {
            let mut values: Vec<u64> = spans.iter().map(figure).collect();
            values.sort_unstable();
            values.get(values.len() / 2).copied().unwrap_or(0)
        };
        let worst = |figure: fn(&Self) -> u32| spans.iter().map(figure).max().unwrap_or(0);
        Self {
            memory: Memory {
                private_kib: kib(|span| span.memory.private_kib),
                kib: kib(|span| span.memory.kib),
            },
            p50_us: middle(|span| span.p50_us),
            p99_us: middle(|span| span.p99_us),
            worst_us: worst(|span| span.worst_us),
            lost: spans.iter().map(|span| span.lost).sum(),
            versions: spans.iter().map(|span| span.versions).sum(),
            publication_us: middle(|span| span.publication_us),
            behind: worst(|span| span.behind),
            cpu_percent: middle(|span| span.cpu_percent),
            waited_ms: worst(|span| span.waited_ms),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{:>7.1} MiB private, {:>7.1} in all | client p50 {:>5} µs, p99 {:>6}, worst {:>7}, lost {} | {:>5} versions, \
             published in {:>6} µs, at most {} behind | {:>3} % CPU, without it for {:>4} ms of a second at most",
            self.memory.private_kib as f64 / 1024.0,
            self.memory.kib as f64 / 1024.0,
            self.p50_us,
            self.p99_us,
            self.worst_us,
            self.lost,
            self.versions,
            self.publication_us,
            self.behind,
            self.cpu_percent,
            self.waited_ms
        )
    }
}

/// What is counted from the start on, as it was last.
struct Counted {
    versions: f64,
    seconds: f64,
    cpu_ms: u64,
    waited_ms: u64,
    at: Instant,
}

impl Counted {
    fn now(node: &Node, management: SocketAddr) -> Result<Self> {
        let samples = openmetrics::read(&http::get(management, "/metrics")?.body)?;
        let value = |name: &str| samples.get(name).copied().with_context(|| format!("no {name}"));
        Ok(Self {
            versions: value("starling_publication_seconds_count")?,
            seconds: value("starling_publication_seconds_sum")?,
            cpu_ms: cpu_ms(node.process.pid())?,
            waited_ms: waited_ms(node.process.pid(), "udp-0")?,
            at: Instant::now(),
        })
    }
}

/// With `STARLING_LONG=1` it is an hour and a million names; `STARLING_LOAD_S` and `STARLING_LOAD_NAMES` say otherwise.
#[test]
fn ten_changes_a_second_leave_memory_and_latency_flat() -> Result<()> {
    let (seconds, names) = if tools::long_run() { (3600, 1_000_000) } else { (6, 100_000) };
    let seconds = setting("STARLING_LOAD_S", seconds);
    let names = setting("STARLING_LOAD_NAMES", names) as usize;
    let _alone = alone();
    let site = Site::new()?;
    let mut hosts = Hosts::new(names);
    let wishes = Wishes { secondary: site.listen, key: None, dnssec: false, tls: None };
    let peer = Peer::start(Kind::Bind, &hosts.text()?, wishes, site.path("").as_path())?;
    let management = own_socket_address()?;
    let section = format!("[management]\nlisten = [\"{management}\"]\n");
    let node = site.start_with(&section, &peer.address.to_string(), NOTIFIED)?;
    node.wait_for(Seen::served(1))?;
    tools::announce(&format!("{names} names, ten changes a second for {seconds} s; before:"));
    let light = Light::start(node.address, names)?;
    let mut spans = Vec::new();
    let mut counted = Counted::now(&node, management)?;
    let written_before = written(node.process.pid())?;
    let start = Instant::now();
    for change in 0..seconds * CHANGES_A_SECOND {
        pace(start + Duration::from_millis(change * 1000 / CHANGES_A_SECOND));
        peer.update(&hosts.step()).with_context(|| peer.process.log_tail())?;
        notify(node.address).with_context(|| node.process.log_tail())?;
        if (change + 1) % CHANGES_A_SECOND == 0 {
            let serial = 1 + hosts.step;
            spans.push(look(&node, management, &light, &mut counted, serial)?);
            if spans.len() % 60 == 0 {
                tools::announce(&format!(
                    "{:>4} min {}",
                    spans.len() / 60,
                    Span::of(&spans[spans.len() - 60..])
                ));
            }
        }
    }
    let took = start.elapsed();
    let serial = 1 + hosts.step;
    tools::poll("the last version is served", SEEN_WITHIN, || {
        Ok((node.seen()? == Seen::served(serial)).then_some(()))
    })
    .with_context(|| node.process.log_tail())?;
    let rest = light.end()?;
    tools::announce(&format!("{} changes in {took:?}", hosts.step));
    let written = written(node.process.pid())? - written_before;
    let octets = node.zone()?["served"]["table-bytes"].as_u64().context("a number")?;
    let images = written as f64 / octets as f64;
    tools::announce(&format!("{:.1} MiB written, {images:.1} times the table", written as f64 / 1048576.0));
    verdict(&spans, rest.lost)?;
    // What has changed is in the journal; the table as a whole is stored now and then.
    ensure!(images < 4.0 + seconds as f64 / 4.0, "the image was stored again and again");
    ensure!(node.zone()?["served"]["records"] == hosts.records(), "{}", node.zone()?);
    let apex = Name::parse(ZONE)?;
    same_records("at the end", &transfer(peer.address, &apex)?, &transfer(node.address, &apex)?)
}

/// Tells the node of a change, as a primary does (RFC 1996 §3.7): BIND does it but four times a second, and Knot leaves it
/// until nothing else is to be done.
pub(super) fn notify(node: SocketAddr) -> Result<()> {
    const AUTHORITATIVE: u16 = 0x0400;
    let query = Query { opcode: 4, flags: AUTHORITATIVE, ..Query::new(Name::parse(ZONE)?, TYPE_SOA) };
    for _ in 0..NOTIFY_ATTEMPTS {
        if let Some((answer, _)) = client::udp_raw(node, &query.bytes(0x4e4f), NOTIFIED_WITHIN)? {
            ensure!(Message::decode(&answer)?.rcode() == 0, "the NOTIFY is refused");
            return Ok(());
        }
    }
    bail!("no answer to a NOTIFY")
}

/// Waits until then.
pub(super) fn pace(then: Instant) {
    loop {
        let left = then.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::park_timeout(left);
    }
}

/// What the last second was like.
fn look(
    node: &Node,
    management: SocketAddr,
    light: &Light,
    counted: &mut Counted,
    serial: u32,
) -> Result<Span> {
    let seen = node.seen()?;
    let served = seen.serial.with_context(|| format!("{seen:?}\n{}", node.process.log_tail()))?;
    let mut times = light.take();
    let now = Counted::now(node, management)?;
    let versions = now.versions - counted.versions;
    let publication_us = match versions > 0.0 {
        true => ((now.seconds - counted.seconds) / versions * 1e6) as u32,
        false => 0,
    };
    let ms = now.at.duration_since(counted.at).as_millis().max(1) as u64;
    let cpu_percent = ((now.cpu_ms - counted.cpu_ms) * 100 / ms) as u32;
    let waited_ms = (now.waited_ms - counted.waited_ms) as u32;
    *counted = now;
    Ok(Span {
        memory: memory(node.process.pid())?,
        p50_us: percentile(&mut times.micros, 50.0),
        p99_us: percentile(&mut times.micros, 99.0),
        worst_us: times.micros.last().copied().unwrap_or(0),
        lost: times.lost,
        versions: versions as u32,
        publication_us,
        behind: serial - served,
        cpu_percent,
        waited_ms,
    })
}

/// What the second half was like beside the first, without the first minute (or a tenth, of a short run), in which caches
/// fill.
fn verdict(spans: &[Span], lost: u32) -> Result<()> {
    let warm = &spans[(spans.len() / 10).min(60)..];
    let (first, second) = warm.split_at(warm.len() / 2);
    let (first, second) = (Span::of(first), Span::of(second));
    tools::announce(&format!("first half  {first}\nsecond half {second}"));
    ensure!(first.lost + second.lost + lost == 0, "queries were lost");
    ensure!(first.versions > 0 && second.versions > 0, "nothing was published");
    ensure!(first.behind.max(second.behind) <= BEHIND_MAX, "too far behind the primary");
    if spans.len() >= 600 {
        let grown = second.memory.private_kib as f64 / first.memory.private_kib as f64;
        ensure!(grown < 1.1, "memory has grown to {grown:.2} of what it was");
        // Half a millisecond is what a machine that others use makes of it by itself.
        ensure!(second.p50_us < 2 * first.p50_us + 500, "latency has grown");
        ensure!(
            second.publication_us < 2 * first.publication_us + 5_000,
            "publishing takes longer and longer"
        );
    }
    Ok(())
}
