//! One server with one workload, once: start, the check of its answers, and the measurements.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use starling_tests::tools;

use crate::generators::kxdpgun::Flood;
use crate::generators::steady::{self, Steady, Tally};
use crate::generators::{dnsperf, probe};
use crate::interrupt::Interrupt;
use crate::options::{FloodBy, Options};
use crate::peers::{Server, Setup};
use crate::reload;
use crate::results::{Metric, Remark, Sample};
use crate::running::{Outline, Running};
use crate::site::{Packets, Site};
use crate::usage::Cpu;
use crate::workloads::{Phase, Prepared, Version};

/// More than any server here answers, and about what kxdpgun can offer from one CPU.
const RATE_MAX: f64 = 650_000.0;
/// What is offered to see how much is answered, over a first estimate. Less might leave the server idle now and then; more
/// is what the overload is for.
const SATURATION: f64 = 1.3;
/// What is offered as an overload, over what is answered.
const OVERLOAD: f64 = 2.0;
/// The steady load, over what is answered: where a server is run at its peak by a careful operator.
const STEADY: f64 = 0.6;
/// The load during a reload, over what is answered.
pub(crate) const RELOAD: f64 = 0.4;
/// How long a load is on before it is measured. Queues fill and frequencies rise in a few milliseconds.
const SETTLED_AFTER: Duration = Duration::from_millis(200);
/// How long killed processes may take to be gone: a large one has its memory to give back.
const CLEAR_LIMIT: Duration = Duration::from_secs(30);
/// How long the first estimate takes.
const ESTIMATE: Duration = Duration::from_millis(400);
/// A generator that uses this much of its CPU can't send more.
const GENERATOR_BUSY: f64 = 0.95;
/// Windows that are measured at most, in the hope that one of them is quiet.
const WINDOWS_MAX: u32 = 3;
/// A window is quiet when others had the CPUs for less than this part of it.
const DISTURBED: f64 = 0.05;
/// A CPU that is used less than this had time to spare: what else a shared machine does takes a few percent.
const BUSY: f64 = 0.9;

/// Everything that a measurement needs.
pub(crate) struct Bench<'a> {
    pub(crate) site: &'a Site,
    pub(crate) options: &'a Options,
    pub(crate) interrupt: &'a Interrupt,
    /// Where servers and generators have their files.
    pub(crate) folder: &'a Path,
}

/// What is known of a workload from the measurements before.
#[derive(Default)]
pub(crate) struct Known {
    /// What the first server answers.
    answers: Option<(Server, Vec<Option<Outline>>)>,
    /// How many queries a second each server can answer.
    capacities: BTreeMap<Server, f64>,
}

/// A stretch of time under load.
struct Window {
    seconds: f64,
    offered: u64,
    answered: u64,
    server: Cpu,
    generator: Cpu,
}

impl Window {
    fn answered_per_s(&self) -> f64 {
        self.answered as f64 / self.seconds
    }

    fn offered_per_s(&self) -> f64 {
        self.offered as f64 / self.seconds
    }

    /// How much of its CPUs the server used.
    fn server_busy(&self, cpus: usize) -> f64 {
        self.server.total_ns as f64 / 1e9 / self.seconds / cpus as f64
    }

    /// Answers a second that the CPU time for each would allow, where the server had time to spare.
    fn capacity(&self, cpus: usize) -> f64 {
        self.answered_per_s() / self.server_busy(cpus).clamp(0.1, 1.0)
    }

    /// Whether the generator could not offer more.
    fn generator_was_the_limit(&self, wanted: f64) -> bool {
        // A tenth less is no different load.
        self.offered_per_s() < wanted * 0.9
            || self.generator.total_ns as f64 / 1e9 > self.seconds * GENERATOR_BUSY
    }

    /// The part of the time that server or generator waited for their CPUs because others had them.
    fn disturbed(&self) -> f64 {
        self.server.waited_ns.max(self.generator.waited_ns) as f64 / 1e9 / self.seconds
    }

    fn per_answer(&self, ns: f64) -> f64 {
        ns / self.answered.max(1) as f64
    }
}

impl Bench<'_> {
    /// Ends whatever a failed measurement has left, so that the next finds both namespaces empty.
    pub(crate) fn clear(&self) -> Result<()> {
        for namespace in [&self.site.server, &self.site.client] {
            tools::poll("the namespaces are empty", CLEAR_LIMIT, || {
                let left = namespace.pids()?;
                for pid in left.iter().filter_map(|pid| Pid::from_raw(*pid)) {
                    // It may have ended since it was listed.
                    let _ = kill_process(pid, Signal::KILL);
                }
                Ok(left.is_empty().then_some(()))
            })?;
        }
        self.site.detach_client_xdp()?;
        self.site.detach_server_xdp()
    }

    /// Measures a server once. The folder of its last run is its own to overwrite.
    pub(crate) fn measure(&self, server: Server, prepared: &Prepared, known: &mut Known) -> Result<Sample> {
        if let Some(change) = &prepared.change {
            change.put(Version::Before)?;
        }
        let folder = self.folder.join(format!("{}-{server}", prepared.workload.name()));
        let setup = Setup { folder: &folder, prepared, workers: self.options.server_cpus.len() };
        let recipe = server.prepare(&setup)?;
        let cpus = &self.options.server_cpus;
        let running =
            Running::start(self.site, server, recipe, &prepared.ready, cpus, &folder, self.interrupt)?;
        let mut run = Run { bench: self, prepared, running, folder, sample: Sample::default() };
        run.sample.set(Metric::StartS, run.running.start.as_secs_f64());
        if server != Server::Reflector {
            run.compare_answers(server, known)?;
        }
        let estimate = known.capacities.get(&server).copied();
        let capacity = run.measurements(estimate)?;
        known.capacities.insert(server, capacity);
        let sample = run.sample;
        drop(run.running);
        self.clear()?;
        Ok(sample)
    }
}

/// A measurement under way.
struct Run<'a> {
    bench: &'a Bench<'a>,
    prepared: &'a Prepared,
    running: Running<'a>,
    folder: PathBuf,
    sample: Sample,
}

impl Run<'_> {
    /// Looks whether the server answers as those before it did.
    fn compare_answers(&mut self, server: Server, known: &mut Known) -> Result<()> {
        let outlines = self.running.outlines(&self.prepared.sample)?;
        let Some((first, expected)) = &known.answers else {
            known.answers = Some((server, outlines));
            return Ok(());
        };
        let pairs = self.prepared.sample.iter().zip(expected.iter().zip(&outlines));
        let differing: Vec<_> = pairs.filter(|(_, (expected, seen))| expected != seen).collect();
        if let Some((query, (expected, seen))) = differing.first() {
            self.sample.remark(Remark::AnswersDiffer);
            eprintln!(
                "  {server} answers {} of {} queries otherwise than {first}; {query}: {seen:?} instead of {expected:?}",
                differing.len(),
                outlines.len()
            );
        }
        Ok(())
    }

    /// Measures everything, from an estimate of what the server can answer; gives what it can.
    fn measurements(&mut self, estimate: Option<f64>) -> Result<f64> {
        let cpus = self.bench.options.server_cpus.len();
        let estimate = match estimate {
            Some(capacity) => capacity,
            None => {
                let window =
                    self.flooded(Phase::Saturation, RATE_MAX, |run, pid| run.window(pid, ESTIMATE))?;
                window.capacity(cpus)
            }
        };
        let rate = (estimate * SATURATION).min(RATE_MAX);
        let time = Duration::from_secs_f64(self.bench.options.seconds());
        let full = self.flooded(Phase::Saturation, rate, |run, pid| run.window(pid, time))?;
        let capacity = full.capacity(cpus);
        self.record_saturation(&full, rate);
        self.overload(capacity, time)?;
        self.steady(capacity, time)?;
        if !self.bench.options.quick {
            self.dnsperf()?;
        }
        let octets = self.running.resident()? as f64;
        self.sample.set(Metric::MemoryMib, octets / f64::from(1 << 20));
        self.sample.set(Metric::RecordOctets, octets / self.prepared.records.max(1) as f64);
        if !self.bench.options.quick && self.running.can_reload() {
            let load = capacity * RELOAD;
            reload::measure(
                self.bench,
                self.prepared,
                &mut self.running,
                load,
                &self.folder,
                &mut self.sample,
            )?;
        }
        self.running.check()?;
        Ok(capacity)
    }

    fn record_saturation(&mut self, full: &Window, rate: f64) {
        let user = full.server.user_ns();
        let cpus = self.bench.options.server_cpus.len();
        self.sample.set(Metric::AnswersPerS, full.answered_per_s());
        self.sample.set(Metric::CpuNs, full.per_answer(full.server.total_ns as f64));
        self.sample.set(Metric::UserNs, full.per_answer(user));
        self.sample.set(Metric::SystemNs, full.per_answer(full.server.total_ns as f64 - user));
        if full.disturbed() > DISTURBED {
            self.sample.remark(Remark::Disturbed);
        }
        if full.server_busy(cpus) + full.disturbed() < BUSY {
            let limited = full.generator_was_the_limit(rate);
            self.sample.remark(if limited { Remark::FloodLimited } else { Remark::Idle });
        }
    }

    fn overload(&mut self, capacity: f64, time: Duration) -> Result<()> {
        let wanted = capacity * OVERLOAD;
        let queries = self.prepared.queries(Phase::Overload).messages.clone();
        let (window, (latency, _)) = self.flooded(Phase::Overload, wanted, |run, pid| {
            let before = run.look(pid)?;
            // The probes are part of the load; there are so few that they do not show.
            let probed = probe::ask(run.bench.site, &queries, time, run.bench.interrupt)?;
            Ok((run.since(pid, before)?, probed))
        })?;
        self.sample.set(Metric::OverloadShare, window.answered_per_s() / capacity.max(1.0));
        if let Some(median) = latency.quantile(0.5) {
            self.sample.set(Metric::OverloadMedianMs, median / 1e6);
        }
        if window.offered_per_s() < wanted * 0.9 {
            self.sample.remark(Remark::OverloadLimited);
        }
        self.running.check()
    }

    fn steady(&mut self, capacity: f64, time: Duration) -> Result<()> {
        let bench = self.bench;
        let load = self.steady_load(capacity * STEADY, Phase::Steady)?;
        bench.interrupt.pause(steady::BEGUN_AFTER)?;
        let before = self.look(None)?;
        bench.interrupt.pause(time)?;
        let window = self.since(None, before)?;
        let tally = load.stop()?;
        self.sample.set(Metric::SteadyCpuNs, window.per_answer(window.server.total_ns as f64));
        for (metric, part) in [(Metric::MedianUs, 0.5), (Metric::NinetyNineUs, 0.99)] {
            if let Some(latency) = tally.latency.quantile(part) {
                self.sample.set(metric, latency / 1e3);
            }
        }
        self.sample.set(Metric::LostPercent, tally.lost_percent());
        self.remark_behind(&tally);
        self.running.check()
    }

    fn remark_behind(&mut self, tally: &Tally) {
        if tally.fell_behind() {
            self.sample.remark(Remark::SteadyBehind);
        }
    }

    fn dnsperf(&mut self) -> Result<()> {
        let bench = self.bench;
        let queries = self.prepared.queries(Phase::Dnsperf);
        let dnssec = self.prepared.workload.dnssec();
        let (seconds, cpu) = (bench.options.seconds(), bench.options.generator_cpu);
        let log = self.folder.join("dnsperf-log");
        let before = self.running.cpu();
        let report = dnsperf::run(bench.site, queries, dnssec, seconds, cpu, &log, bench.interrupt)?;
        let used = self.running.cpu().since(before).total_ns as f64 / 1e9;
        let server_busy = used / seconds.ceil() / bench.options.server_cpus.len() as f64;
        self.sample.set(Metric::DnsperfPerS, report.answers_per_s);
        if report.busy > BUSY && server_busy < BUSY {
            self.sample.remark(Remark::DnsperfLimited);
        }
        self.running.check()
    }

    /// Does something under a flood; it gets the process of the generator, where that is one of its own.
    fn flooded<T>(
        &mut self,
        phase: Phase,
        rate: f64,
        during: impl FnOnce(&mut Self, Option<i32>) -> Result<T>,
    ) -> Result<T> {
        let bench = self.bench;
        match bench.options.flood {
            FloodBy::Kxdpgun => {
                let log = self.folder.join("kxdpgun-log");
                let queries = self.prepared.queries(phase);
                let cpu = bench.options.generator_cpu;
                let flood = Flood::start(bench.site, queries, rate, cpu, &log, bench.interrupt)?;
                bench.interrupt.pause(SETTLED_AFTER)?;
                let result = during(self, Some(flood.pid()))?;
                flood.stop()?;
                Ok(result)
            }
            FloodBy::Sockets => {
                // The estimate asks for more than sockets can do: then as much as they can.
                let rate = if rate >= RATE_MAX { f64::INFINITY } else { rate };
                let load = self.steady_load(rate, phase)?;
                bench.interrupt.pause(SETTLED_AFTER)?;
                let result = during(self, None)?;
                load.stop()?;
                Ok(result)
            }
        }
    }

    fn steady_load(&self, rate: f64, phase: Phase) -> Result<Steady> {
        let options = self.bench.options;
        let messages: Arc<[Vec<u8>]> = self.prepared.queries(phase).messages.clone();
        let workers = options.server_cpus.len();
        Steady::start(self.bench.site, messages, rate, options.generator_cpu, workers)
            .context("the steady generator")
    }

    /// Measures for so long; again if others had the CPUs meanwhile. The least disturbed counts.
    fn window(&mut self, generator: Option<i32>, time: Duration) -> Result<Window> {
        let mut best: Option<Window> = None;
        for _ in 0..WINDOWS_MAX {
            let before = self.look(generator)?;
            self.bench.interrupt.pause(time)?;
            let window = self.since(generator, before)?;
            if best.as_ref().is_none_or(|best| window.disturbed() < best.disturbed()) {
                best = Some(window);
            }
            if best.as_ref().is_some_and(|best| best.disturbed() < DISTURBED) {
                break;
            }
        }
        best.context("at least one window")
    }

    fn look(&self, generator: Option<i32>) -> Result<(Instant, Packets, Cpu, Cpu)> {
        let generator = Cpu::of(generator.as_slice());
        Ok((Instant::now(), self.bench.site.packets()?, self.running.cpu(), generator))
    }

    fn since(&mut self, generator: Option<i32>, before: (Instant, Packets, Cpu, Cpu)) -> Result<Window> {
        let now = self.look(generator)?;
        self.running.check()?;
        Ok(Window {
            seconds: (now.0 - before.0).as_secs_f64(),
            offered: now.1.received - before.1.received,
            answered: now.1.sent - before.1.sent,
            server: now.2.since(before.2),
            generator: now.3.since(before.3),
        })
    }
}
