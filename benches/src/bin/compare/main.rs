//! `compare`: Starling beside other name servers, on the same queries, one after the other.
//!
//! `scripts/bench` builds and installs what it needs and starts it. A server and the generators are in network namespaces of
//! their own, joined by a virtual cable; the server has its CPUs, and the generators theirs. A round measures every server
//! with a workload once, so that what the machine does meanwhile meets all of them; what counts are ratios within a round.
//! CPU time is the scheduler's, of all threads and processes of a server. With an interface of this kind the receive path
//! of the kernel, up to the queue of the socket, runs on the CPU of the sender: it is in no server's figures, and the path
//! of the answers is in all of them, up to the generator's queue.
//!
//! - [`options`]: what the user wants; [`interrupt`]: that it ends
//! - [`site`]: namespaces and cable; [`peers`]: the servers' configurations; [`running`]: a server that runs
//! - [`workloads`], [`generators`]: zones and queries, and what sends them
//! - [`measure`], [`reload`], [`window`], [`usage`]: the figures; [`results`], [`table`], [`baseline`], [`machine`]: what is told

mod baseline;
mod generators;
mod interrupt;
mod machine;
mod measure;
mod options;
mod peers;
mod reload;
mod results;
mod running;
mod site;
mod table;
mod usage;
mod window;
mod workloads;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use starling_tests::tools;

use baseline::Baseline;
use interrupt::Interrupt;
use machine::Machine;
use measure::{Bench, Known};
use options::{FloodBy, Options};
use peers::Server;
use results::{Collected, Outcome};
use site::Site;
use workloads::{Prepared, Workload};

/// Memory that the workload `hosts` takes with its slowest server: zone and queries here, old and new zone there.
const HOSTS_MEMORY_MIB: u64 = 4_096;

fn main() -> ExitCode {
    let options = Options::parse();
    let failed = |error: anyhow::Error, code: u8| {
        eprintln!("compare: {error:#}");
        ExitCode::from(code)
    };
    match requirements(&options) {
        Ok(given) => run(&options, given).unwrap_or_else(|error| failed(error, 1)),
        Err(error) => failed(error, 2),
    }
}

/// What is known before anything is set up.
struct Given {
    /// Versions of the servers.
    versions: BTreeMap<String, String>,
    /// Results to compare with.
    before: Option<Baseline>,
}

fn run(options: &Options, given: Given) -> Result<ExitCode> {
    let interrupt = Interrupt::watch()?;
    let folder = tempfile::Builder::new().prefix("starling-compare-").tempdir()?;
    // Servers that give up root's privileges read their files, too.
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), permissions)?;
    let site = Site::new(options)?;
    let bench = Bench { site: &site, options, interrupt: &interrupt, folder: folder.path() };
    let mut comparison = Comparison::new(bench);
    comparison.all(&given.versions)?;
    if let Some(before) = &given.before {
        print!("{}", baseline::changes(before, &comparison.collected.outcomes()));
    }
    if let Some(path) = &options.save {
        println!("\nwritten to {}", path.display());
    }
    Ok(if comparison.failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Looks for everything that is needed before anything is set up; the error says what is missing.
fn requirements(options: &Options) -> Result<Given> {
    let before = options.against.as_deref().map(Baseline::load).transpose()?;
    site::usable()?;
    let cpus = netio::pin::allowed_cpus().context("the CPUs that this process may use")?;
    for cpu in options.server_cpus.iter().chain([&options.generator_cpu]) {
        ensure!(
            cpus.iter().any(|allowed| allowed.0 == *cpu),
            "CPU {cpu} is not there: this process may use {:?}; see --server-cpus and --generator-cpu",
            cpus.iter().map(|cpu| cpu.0).collect::<Vec<_>>()
        );
        ensure!(
            *cpu != options.generator_cpu || !options.server_cpus.contains(cpu),
            "CPU {cpu} is the server's and the generator's; a comparison takes two CPUs at least"
        );
    }
    for program in ["taskset", "setpriv"] {
        tools::program(program)?;
    }
    if options.flood == FloodBy::Kxdpgun {
        tools::program("kxdpgun")
            .context("kxdpgun is in Debian's knot-dnsutils; --flood sockets does without it")?;
    }
    if !options.quick {
        tools::program("dnsperf")?;
    }
    if options.workloads().contains(&Workload::Hosts) {
        let free = Machine::free_mib().unwrap_or(u64::MAX);
        ensure!(
            free >= HOSTS_MEMORY_MIB || options.hosts < 1_000_000,
            "a million hosts take {HOSTS_MEMORY_MIB} MiB, and {free} are free: try --hosts 100000, or other --workloads"
        );
    }
    let version = |server: Server| Ok((server.to_string(), server.version()?));
    let versions = options.servers().into_iter().map(version).collect::<Result<_>>()?;
    Ok(Given { versions, before })
}

/// The first line of an error, and the end of a log that may follow it: a server that refuses every query says so every
/// time.
fn shortened(error: &str) -> String {
    const LINES_MAX: usize = 10;
    let lines: Vec<&str> = error.lines().collect();
    let Some((first, rest)) = lines.split_first() else { return String::new() };
    let end = &rest[rest.len().saturating_sub(LINES_MAX)..];
    std::iter::once(*first).chain(end.iter().copied()).collect::<Vec<_>>().join("\n    ")
}

/// The comparison as far as it has come.
struct Comparison<'a> {
    bench: Bench<'a>,
    collected: Collected,
    records: BTreeMap<Workload, u64>,
    /// Loads of the machine; the first is that before anything was done.
    loads: Vec<f64>,
    failures: u32,
}

impl<'a> Comparison<'a> {
    fn new(bench: Bench<'a>) -> Self {
        Self {
            bench,
            collected: Collected::default(),
            records: BTreeMap::new(),
            loads: vec![machine::load()],
            failures: 0,
        }
    }

    /// Measures every workload, prints its table, and saves what there is: a run may be ended in its second half.
    fn all(&mut self, versions: &BTreeMap<String, String>) -> Result<()> {
        for workload in self.bench.options.workloads() {
            eprintln!("{}: zones and queries are made", workload.name());
            let prepared = match Prepared::make(workload, self.bench.options, self.bench.folder)? {
                Ok(prepared) => prepared,
                Err(missing) => {
                    println!("\n{}: left out: {missing}", workload.name());
                    continue;
                }
            };
            self.records.insert(workload, prepared.records);
            self.workload(&prepared)?;
            self.print(&prepared);
            if let Some(path) = &self.bench.options.save {
                self.baseline(versions).save(path)?;
            }
            // Zones and queries of a workload are of no use to the next.
            std::fs::remove_dir_all(self.bench.folder.join(workload.name()))?;
        }
        Ok(())
    }

    /// All rounds of a workload. Each begins with another server, so that none always follows the same.
    fn workload(&mut self, prepared: &Prepared) -> Result<()> {
        let mut servers = self.bench.options.servers();
        servers.retain(|server| match server.refuses(prepared.workload) {
            Some(reason) => {
                eprintln!("  {server} is left out: {reason}");
                false
            }
            None => true,
        });
        let mut known = Known::default();
        for round in 0..self.bench.options.rounds() {
            for server in &servers {
                self.bench.interrupt.check()?;
                self.loads.push(machine::load());
                self.one(*server, prepared, round, &mut known)?;
            }
            if !servers.is_empty() {
                servers.rotate_left(1);
            }
        }
        Ok(())
    }

    /// One server, once. If it fails the others go on; what interrupts ends all.
    fn one(&mut self, server: Server, prepared: &Prepared, round: u32, known: &mut Known) -> Result<()> {
        let begun = Instant::now();
        let result = self.bench.measure(server, prepared, known);
        self.bench.interrupt.check()?;
        let rounds = self.bench.options.rounds();
        match result {
            Ok(sample) => {
                let rate = sample.figures.get(&results::Metric::AnswersPerS).copied().unwrap_or_default();
                let cost = sample.figures.get(&results::Metric::CpuNs).copied().unwrap_or_default();
                eprintln!(
                    "  round {}/{rounds} {server}: {:.0} k answers/s, {cost:.0} ns each ({:.0} s)",
                    round + 1,
                    rate / 1e3,
                    begun.elapsed().as_secs_f64()
                );
                self.collected.add(prepared.workload, server, round, sample);
            }
            Err(error) => {
                self.failures += 1;
                eprintln!(
                    "  round {}/{rounds} {server}: not measured: {}",
                    round + 1,
                    shortened(&format!("{error:#}"))
                );
                self.bench.clear()?;
            }
        }
        Ok(())
    }

    fn print(&self, prepared: &Prepared) {
        let outcomes = self.collected.outcomes();
        let shown: Vec<&Outcome> =
            outcomes.iter().filter(|outcome| outcome.workload == prepared.workload).collect();
        let title = format!(
            "{}: {} zones, {} records",
            prepared.workload.name(),
            prepared.zones.len(),
            prepared.records
        );
        print!("{}", table::of(&title, prepared.records, &shown));
    }

    fn baseline(&self, versions: &BTreeMap<String, String>) -> Baseline {
        let options = self.bench.options;
        let measured = self.loads.iter().skip(1).copied();
        Baseline {
            seconds: options.seconds(),
            rounds: options.rounds(),
            flood: format!("{:?}", options.flood).to_lowercase(),
            seed: options.seed,
            load: [
                self.loads.first().copied().unwrap_or_default(),
                measured.clone().reduce(f64::min).unwrap_or_default(),
                measured.reduce(f64::max).unwrap_or_default(),
            ],
            machine: Machine::here(),
            versions: versions.clone(),
            records: self.records.iter().map(|(workload, count)| (workload.name(), *count)).collect(),
            outcome: self.collected.outcomes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::shortened;

    #[test]
    fn errors_with_long_logs() {
        assert_eq!(shortened("no log"), "no log");
        let long = (0..100).map(|line| line.to_string()).collect::<Vec<_>>().join("\n");
        let short = shortened(&long);
        assert!(short.starts_with("0\n    90\n") && short.ends_with("\n    99"), "{short}");
    }
}
