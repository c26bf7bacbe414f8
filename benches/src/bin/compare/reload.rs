//! A zone replaced under load: how long it takes until the new one answers, what is lost, and how much memory it takes.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use starling_tests::client;

use crate::generators::steady::{self, Steady};
use crate::measure::Bench;
use crate::results::{Metric, Remark, Sample};
use crate::running::Running;
use crate::site::Site;
use crate::workloads::{Phase, Prepared, Version};

/// How long the new zone is waited for. NSD takes 20 s for a million records with everything on one CPU.
const SEEN_LIMIT: Duration = Duration::from_secs(60);
/// How often the new zone is asked for.
const ASK_EVERY: Duration = Duration::from_millis(5);
/// How long an answer is waited for, under load.
const ANSWER_MAX: Duration = Duration::from_millis(100);
/// How often memory is looked at; walking the pages of a large process takes a millisecond, on the generator's CPU.
const MEMORY_EVERY: Duration = Duration::from_millis(200);
/// How long the load goes on when the new zone has been seen: the old one is freed, processes are replaced.
const AFTERWARDS: Duration = Duration::from_millis(500);

/// Replaces the changed zone under a load of so many queries a second.
pub(crate) fn measure(
    bench: &Bench<'_>,
    prepared: &Prepared,
    running: &mut Running<'_>,
    load: f64,
    folder: &Path,
    sample: &mut Sample,
) -> Result<()> {
    let change = prepared.change.as_ref().context("this workload has a zone that changes")?;
    let mark = change.mark.bytes(0x4d4b);
    let octet = change.after_octet;
    let messages = prepared.queries(Phase::Reload).messages.clone();
    let options = bench.options;
    let steady = Steady::start(bench.site, messages, load, options.generator_cpu, options.server_cpus.len())?;
    bench.interrupt.pause(steady::BEGUN_AFTER)?;
    let mut peak = running.resident()?;
    change.put(Version::After)?;
    let begun = Instant::now();
    let command = running.reload(folder)?;
    let mut looked_at = begun;
    let mut seen = None;
    while seen.is_none() && begun.elapsed() < SEEN_LIMIT {
        bench.interrupt.pause(ASK_EVERY)?;
        let answer = bench.site.client.inside(|| client::udp_raw(Site::address(), &mark, ANSWER_MAX))??;
        if answer.is_some_and(|(answer, _)| has_address(&answer, octet)) {
            seen = Some(begun.elapsed());
        }
        if looked_at.elapsed() > MEMORY_EVERY {
            looked_at = Instant::now();
            running.look_for_processes()?;
            peak = peak.max(running.resident()?);
        }
    }
    bench.interrupt.pause(AFTERWARDS)?;
    running.look_for_processes()?;
    peak = peak.max(running.resident()?);
    let tally = steady.stop()?;
    drop(command);
    match seen {
        Some(time) => sample.set(Metric::ReloadS, time.as_secs_f64()),
        None => sample.remark(Remark::ReloadUnseen),
    }
    sample.set(Metric::ReloadLostPercent, tally.lost_percent());
    sample.set(Metric::ReloadSilenceMs, tally.silence_ns as f64 / 1e6);
    sample.set(Metric::ReloadPeakMib, peak as f64 / f64::from(1 << 20));
    Ok(())
}

/// Whether the response has an address record in 192.0.2.0/24 that ends in this octet. Its data stands by itself, and
/// nothing else in the answer looks like it.
fn has_address(response: &[u8], octet: u8) -> bool {
    response.windows(6).any(|window| window == [0, 4, 192, 0, 2, octet])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_the_new_version() {
        let mut response = vec![0; 30];
        response.extend([0, 4, 192, 0, 2, 2, 0, 0]);
        assert!(has_address(&response, 2));
        assert!(!has_address(&response, 1));
        assert!(!has_address(&response[..34], 2));
    }
}
