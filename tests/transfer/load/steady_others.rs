//! Ten changes a second for others, as for Starling: what is said of it is to be compared with something.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use starling_tests::name::Name;
use starling_tests::server::Kind;
use starling_tests::tools;

use super::light::Light;
use super::resources::memory;
use super::steady::{CHANGES_A_SECOND, Span, notify, pace};
use super::{Hosts, alone, percentile, setting};
use crate::peers::{Peer, Wishes};
use crate::secondaries::Secondary;
use crate::site::ZONE;

/// With `STARLING_LONG=1` ten minutes and a million names for each; `STARLING_LOAD_OTHERS_S` and `STARLING_LOAD_NAMES` say otherwise.
#[test]
fn ten_changes_a_second_of_others_are_measured() -> Result<()> {
    let (seconds, names) = if tools::long_run() { (600, 1_000_000) } else { (2, 10_000) };
    let seconds = setting("STARLING_LOAD_OTHERS_S", seconds);
    let names = setting("STARLING_LOAD_NAMES", names) as usize;
    let _alone = alone();
    tools::announce(&format!("{names} names, ten changes a second for {seconds} s:"));
    for kind in [Kind::Knot, Kind::Nsd] {
        measure(kind, names, seconds).with_context(|| kind.to_string())?;
    }
    Ok(())
}

fn measure(kind: Kind, names: usize, seconds: u64) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut hosts = Hosts::new(names);
    let address = Secondary::address_for(kind)?;
    let wishes = Wishes { secondary: address, key: None, dnssec: false, tls: None };
    let peer = Peer::start(Kind::Bind, &hosts.text()?, wishes, folder.path())?;
    let apex = Name::parse(ZONE)?;
    let zones = std::slice::from_ref(&apex);
    let mut secondary = Secondary::start(kind, address, zones, peer.address, folder.path())?;
    secondary.follows(&apex, 1)?;
    let light = Light::start(address, names)?;
    let mut spans = Vec::new();
    let start = Instant::now();
    for change in 0..seconds * CHANGES_A_SECOND {
        pace(start + Duration::from_millis(change * 1000 / CHANGES_A_SECOND));
        peer.update(&hosts.step()).with_context(|| peer.process.log_tail())?;
        notify(address).with_context(|| secondary.process.log_tail())?;
        if (change + 1) % CHANGES_A_SECOND == 0 {
            let served = secondary.serial(&apex)?;
            let mut times = light.take();
            spans.push(Span {
                memory: memory(secondary.process.pid())?,
                p50_us: percentile(&mut times.micros, 50.0),
                p99_us: percentile(&mut times.micros, 99.0),
                worst_us: times.micros.last().copied().unwrap_or(0),
                lost: times.lost,
                // One that does not answer within the time is as far behind as one can be.
                behind: 1 + hosts.step - served.unwrap_or(1),
                ..Span::default()
            });
        }
    }
    let took = start.elapsed();
    let lost = light.end()?.lost;
    ensure!(spans.len() as u64 == seconds, "{} seconds", spans.len());
    let (first, second) = spans.split_at(spans.len() / 2);
    tools::announce(&format!("{kind}: {} changes in {took:?}, {lost} lost at the end", hosts.step));
    for (half, spans) in [("first half ", first), ("second half", second)] {
        let Span { memory, p50_us, p99_us, worst_us, lost, behind, .. } = Span::of(spans);
        tools::announce(&format!(
            "{half} {:>7.1} MiB private | client p50 {p50_us:>5} µs, p99 {p99_us:>6}, worst {worst_us:>7}, lost {lost} | at most \
             {behind} behind",
            memory.private_kib as f64 / 1024.0
        ));
    }
    Ok(())
}
