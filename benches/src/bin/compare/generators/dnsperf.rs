//! dnsperf: what operators measure with. On one CPU it is slower than the fast servers.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use starling_tests::process::Process;

use crate::interrupt::Interrupt;
use crate::site::{SERVER_ADDRESS, Site};
use crate::usage::Cpu;
use crate::workloads::QuerySet;

/// Queries in flight. With the default of 100 it waits for answers more often than servers wait for queries; 1,000 would
/// overflow the default receive buffers of those that set none.
const IN_FLIGHT: &str = "400";
/// How much longer it may take than the time it was given.
const GRACE: Duration = Duration::from_secs(15);

/// What it says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Report {
    /// Answers a second.
    pub(crate) answers_per_s: f64,
    /// How much of a CPU it used itself: where that is nearly all, it was the limit.
    pub(crate) busy: f64,
}

/// Runs it for so many seconds.
pub(crate) fn run(
    site: &Site,
    queries: &QuerySet,
    dnssec: bool,
    seconds: f64,
    cpu: usize,
    log: &Path,
    interrupt: &Interrupt,
) -> Result<Report> {
    let seconds = seconds.ceil().max(1.0);
    let mut command = site.client.command("taskset")?;
    command.args(["-c", &cpu.to_string()]).arg(starling_tests::tools::program("dnsperf")?);
    command.args(["-s", &SERVER_ADDRESS.to_string(), "-p", "53", "-T", "1", "-c", "1", "-q", IN_FLIGHT]);
    command.args(["-l", &seconds.to_string(), "-e"]).arg("-d").arg(&queries.dnsperf);
    if dnssec {
        command.arg("-D");
    }
    let mut process = Process::spawn("dnsperf", &command, log)?;
    let pid = process.pid();
    let deadline = std::time::Instant::now() + Duration::from_secs_f64(seconds) + GRACE;
    let (mut text, mut cpu) = (String::new(), Cpu::default());
    while process.exited().is_none() {
        interrupt.pause(Duration::from_millis(20))?;
        // Its last figures are those of just before it ended.
        let now = Cpu::of(&[pid]);
        if now.total_ns > cpu.total_ns {
            cpu = now;
        }
        ensure!(std::time::Instant::now() < deadline, "dnsperf does not end\n{}", process.log_tail());
    }
    // The end of its output is an error to the reader of lines, and here it is the end.
    while let Ok(Some(line)) = process.line(deadline) {
        text += &line;
        text.push('\n');
    }
    let answers_per_s =
        per_second(&text).with_context(|| format!("dnsperf says nothing:\n{text}{}", process.log_tail()))?;
    Ok(Report { answers_per_s, busy: cpu.total_ns as f64 / 1e9 / seconds })
}

fn per_second(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix("Queries per second:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_in_its_statistics() {
        let text = "Statistics:\n\n  Queries sent:         10\n  Queries per second:   105122.500000\n";
        assert_eq!(per_second(text), Some(105_122.5));
        assert_eq!(per_second("Queries per second: none"), None);
    }
}
