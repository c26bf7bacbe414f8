//! One server with one workload, once: start, the check of its answers, and the measurements.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use starling_tests::tools;

use crate::generators::kxdpgun::Flood;
use crate::generators::steady::{self, Steady};
use crate::generators::{dnsperf, probe};
use crate::interrupt::Interrupt;
use crate::options::{FloodBy, Options};
use crate::peers::{Images, Server, Setup};
use crate::reload;
use crate::results::{Metric, Remark, Sample};
use crate::running::{Outline, Running};
use crate::site::Site;
use crate::window::{DISTURBED, Look, Window, wait_for_quiet};
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
/// How long a server may take from its first answer to its program in the kernel.
const PROGRAM_LIMIT: Duration = Duration::from_secs(5);
/// How long killed processes may take to be gone: a large one has its memory to give back.
const CLEAR_LIMIT: Duration = Duration::from_secs(30);
/// How long images may take to be written once all zones are served: disks take a second for a million records.
const IMAGES_LIMIT: Duration = Duration::from_secs(30);
/// How long the first estimate takes.
const ESTIMATE: Duration = Duration::from_millis(400);
/// Times that something is measured at most, in the hope that others leave the CPUs alone once.
const ATTEMPTS_MAX: u32 = 3;
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

    fn start(&self, server: Server, setup: &Setup<'_>) -> Result<Running<'_>> {
        let recipe = server.prepare(setup)?;
        let (ready, cpus) = (&setup.prepared.ready, &self.options.server_cpus);
        Running::start(self.site, server, recipe, ready, cpus, setup.folder, self.interrupt)
    }

    /// Seconds that a server takes to its first answers from what it kept of a run before; then that is removed. None
    /// if it has not kept everything in time: it may do that when nobody wants the CPU, and here others do.
    fn restart(&self, server: Server, setup: &Setup<'_>, images: &Images) -> Result<Option<f64>> {
        images.remove()?;
        let first = self.start(server, setup)?;
        let count = setup.prepared.zones.len();
        let deadline = Instant::now() + IMAGES_LIMIT;
        while !images.are_complete(count)? {
            if Instant::now() > deadline {
                eprintln!(
                    "  {server} has not written {count} images in {IMAGES_LIMIT:?}: no start from them is measured"
                );
                break;
            }
            self.interrupt.pause(Duration::from_millis(20))?;
        }
        let complete = images.are_complete(count)?;
        drop(first);
        self.clear()?;
        let time = if complete { Some(self.start(server, setup)?.start.as_secs_f64()) } else { None };
        self.clear()?;
        images.remove()?;
        Ok(time)
    }

    fn wait_for_quiet(&self) -> Result<()> {
        let mut cpus = self.options.server_cpus.clone();
        cpus.push(self.options.generator_cpu);
        wait_for_quiet(&cpus, Duration::from_secs(self.options.patience), self.interrupt)
    }

    /// Measures a server once. The folder of its last run is its own to overwrite.
    pub(crate) fn measure(&self, server: Server, prepared: &Prepared, known: &mut Known) -> Result<Sample> {
        if let Some(change) = &prepared.change {
            change.put(Version::Before)?;
        }
        let folder = self.folder.join(format!("{}-{server}", prepared.workload.name()));
        let setup = Setup { folder: &folder, prepared, workers: self.options.server_cpus.len() };
        self.wait_for_quiet()?;
        let mut sample = Sample::default();
        let images = server.images(&setup);
        if let Some(images) = &images
            && let Some(seconds) = self.restart(server, &setup, images)?
        {
            sample.set(Metric::RestartS, seconds);
        }
        let running = self.start(server, &setup)?;
        sample.set(Metric::StartS, running.start.as_secs_f64());
        // All that can fall back to sockets, and that would not show in their answers; sockets may answer before there is a program.
        if !server.is_on_sockets() {
            let has_program = || Ok(self.site.server_has_xdp()?.then_some(()));
            tools::poll("a program", PROGRAM_LIMIT, has_program).with_context(|| {
                format!(
                    "{server} has no program on its interface: AF_XDP does not work here\n{}",
                    running.log_tail()
                )
            })?;
        }
        let mut run = Run { bench: self, prepared, running, folder: folder.clone(), sample };
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
        self.sample.set(Metric::CpuNs, full.cost());
        self.sample.set(Metric::UserNs, full.per_answer(user));
        self.sample.set(Metric::SystemNs, full.per_answer(full.server.total_ns as f64 - user));
        if full.receive.total_ns > 0 {
            self.sample.set(Metric::ReceiveNs, full.per_answer(full.receive.total_ns as f64));
        }
        if full.disturbed() > DISTURBED {
            self.sample.remark(Remark::Disturbed);
        }
        if full.server_busy(cpus) + full.disturbed() < BUSY {
            let limited = full.generator_was_the_limit(rate);
            self.sample.remark(if limited { Remark::FloodLimited } else { Remark::Idle });
        }
    }

    fn overload(&mut self, capacity: f64, time: Duration) -> Result<()> {
        let cpus = self.bench.options.server_cpus.len();
        let wanted = capacity * OVERLOAD;
        let queries = self.prepared.queries(Phase::Overload).messages.clone();
        let (window, latency) = self.flooded(Phase::Overload, wanted, |run, pid| {
            run.quietest(|run| {
                let before = run.look(pid)?;
                // The probes are part of the load; there are so few that they do not show.
                let latency = probe::ask(run.bench.site, &queries, time, run.bench.interrupt)?;
                let window = Window::between(before, run.look(pid)?);
                let disturbed = window.disturbed();
                Ok(((window, latency), disturbed))
            })
        })?;
        self.sample.set(Metric::OverloadShare, window.answered_per_s_undisturbed(cpus) / capacity.max(1.0));
        if let Some(median) = latency.quantile(0.5) {
            self.sample.set(Metric::OverloadMedianMs, median / 1e6);
        }
        if window.offered_per_s() < wanted * 0.9 {
            self.sample.remark(Remark::OverloadLimited);
        }
        self.running.check()
    }

    fn steady(&mut self, capacity: f64, time: Duration) -> Result<()> {
        let (window, tally) = self.quietest(|run| {
            let load = run.steady_load(capacity * STEADY, Phase::Steady)?;
            run.bench.interrupt.pause(steady::BEGUN_AFTER)?;
            let before = run.look(None)?;
            run.bench.interrupt.pause(time)?;
            let window = Window::between(before, run.look(None)?);
            let tally = load.stop()?;
            let disturbed = window.disturbed().max(tally.missed_part());
            Ok(((window, tally), disturbed))
        })?;
        if window.has_answers() {
            self.sample.set(Metric::SteadyCpuNs, window.cost());
        }
        for (metric, part) in [(Metric::MedianUs, 0.5), (Metric::NinetyNineUs, 0.99)] {
            if let Some(latency) = tally.latency.quantile(part) {
                self.sample.set(metric, latency / 1e3);
            }
        }
        self.sample.set(Metric::LostPercent, tally.lost_percent());
        if tally.missed_part() > DISTURBED {
            self.sample.remark(Remark::SteadyBehind);
        }
        if window.disturbed() > DISTURBED {
            self.sample.remark(Remark::SteadyDisturbed);
        }
        self.running.check()
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

    fn window(&mut self, generator: Option<i32>, time: Duration) -> Result<Window> {
        let window = self.quietest(|run| {
            let before = run.look(generator)?;
            run.bench.interrupt.pause(time)?;
            let window = Window::between(before, run.look(generator)?);
            let disturbed = window.disturbed();
            Ok((window, disturbed))
        })?;
        ensure!(
            window.has_answers(),
            "no query was answered in {time:?}: others have the CPUs, or it does not answer\n{}",
            self.running.log_tail()
        );
        Ok(window)
    }

    /// Measures something; again if others had the CPUs meanwhile. The least disturbed counts.
    fn quietest<T>(&mut self, mut attempt: impl FnMut(&mut Self) -> Result<(T, f64)>) -> Result<T> {
        let mut best = attempt(self)?;
        for _ in 1..ATTEMPTS_MAX {
            if best.1 < DISTURBED {
                break;
            }
            let again = attempt(self)?;
            if again.1 < best.1 {
                best = again;
            }
        }
        Ok(best.0)
    }

    fn look(&mut self, generator: Option<i32>) -> Result<Look> {
        self.running.check()?;
        Look::now(self.bench.site, &self.running, generator)
    }
}
