//! `starling bench answer`: what an answer costs, by the very function that the workers call, without a network.

mod hardware;
mod query_file;
mod rounds;

use super::{UsageError, print_json};
use crate::cli::{AnswerArguments, BenchArguments, BenchCommand};
use crate::config::{self, Purpose, ZoneConfig};
use crate::exit::Exit;
use crate::progress::Progress;
use crate::zones::load::{self, Compiled};
use crate::zones::{image, parallel};
use nameserver::Settings;
use query_file::Queries;
use rounds::{Bench, Extent, Results};
use serde::Serialize;
use std::collections::HashSet;
use std::io::Write;
use std::sync::Arc;
use table::Table;
use wire::NameBuf;

/// The result, as `--json` prints it.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    zones: usize,
    records: u64,
    table_bytes: u64,
    queries: usize,
    batch: usize,
    #[serde(flatten)]
    results: Results,
}

/// Runs the bench that the command line names.
pub(crate) fn run(arguments: &BenchArguments) -> anyhow::Result<Exit> {
    let BenchCommand::Answer(arguments) = &arguments.command;
    answer(arguments)
}

fn answer(arguments: &AnswerArguments) -> anyhow::Result<Exit> {
    let queries = Queries::read(&arguments.queries, arguments.edns())?;
    let Some((tables, settings)) = load_all(arguments)? else { return Ok(Exit::Problem) };
    let report = |results| Report {
        zones: tables.len(),
        records: tables.iter().map(|table| u64::from(table.record_count())).sum(),
        table_bytes: tables.iter().map(|table| table.image().len() as u64).sum(),
        queries: queries.len(),
        batch: usize::from(arguments.batch),
        results,
    };
    let mut bench = Bench::new(&tables, settings, &queries, usize::from(arguments.batch));
    let report = report(bench.run(arguments.rounds.get(), arguments.extent()));
    if arguments.output.json {
        print_json(&report)?;
    } else {
        print(&report)?;
    }
    Ok(Exit::Fine)
}

/// The tables, and the settings that answers depend on; `None` where a zone has errors, which have been told.
fn load_all(arguments: &AnswerArguments) -> anyhow::Result<Option<(Vec<Arc<Table>>, Settings)>> {
    let config =
        config::load(arguments.config.as_deref(), &Default::default(), &arguments.zones, Purpose::Check)?;
    let settings = Settings { udp_payload_max: config.node.udp_payload_max, ..Settings::default() };
    let mut tables = Vec::new();
    for file in &arguments.tables {
        tables.push(Arc::new(image::open(file)?));
    }
    if tables.is_empty() && config.zones.is_empty() {
        let message = "there is nothing to answer from: give --table, --zone or --config";
        return Err(UsageError(message.to_owned()).into());
    }
    let Some(compiled) = compile_all(&config.zones) else { return Ok(None) };
    tables.extend(compiled);
    let mut seen = HashSet::new();
    let twice = tables
        .iter()
        .map(|table| NameBuf::from(table.apex_name()))
        .find(|apex| !seen.insert(apex.to_string()));
    if let Some(apex) = twice {
        return Err(UsageError(format!("the zone {apex} is given twice; leave one out")).into());
    }
    Ok(Some((tables, settings)))
}

/// The zones' tables; `None` where one has errors.
fn compile_all(zones: &[ZoneConfig]) -> Option<Vec<Arc<Table>>> {
    let mut all: Vec<Option<Arc<Table>>> = vec![None; zones.len()];
    let progress = Progress::on_terminal();
    parallel::each(
        zones,
        parallel::thread_count(),
        parallel::Priority::Normal,
        |zone| load::compile(zone, &progress.zone(zone.name.as_name())),
        |index, compiled| match compiled {
            Ok(Compiled { table, .. }) => all[index] = Some(Arc::new(table)),
            Err(errors) => {
                errors.errors.iter().for_each(|error| eprintln!("{error}"));
                eprintln!("{}: a zone with errors gives no answers", zones[index].name);
            }
        },
    );
    all.into_iter().collect()
}

fn print(report: &Report) -> std::io::Result<()> {
    let Report { zones, records, table_bytes, queries, batch, results } = report;
    let mut out = std::io::stdout().lock();
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    writeln!(
        out,
        "{zones} zone{}, {records} records, {table_bytes} octets of tables; {queries} queries, in batches of {batch}",
        plural(*zones)
    )?;
    let Results { rounds, answered, ns, instructions, cache_misses, octets, .. } = results;
    writeln!(out, "answered {answered} in {rounds} round{}", plural(*rounds))?;
    writeln!(
        out,
        "time for a query: median {:.1} ns, {:.1} to {:.1} over the rounds",
        ns.median, ns.min, ns.max
    )?;
    for (title, count) in [("instructions", instructions), ("cache misses", cache_misses)] {
        match count {
            Ok(spread) => writeln!(
                out,
                "{title} for a query: median {:.2}, {:.2} to {:.2}",
                spread.median, spread.min, spread.max
            )?,
            Err(why) => writeln!(out, "{title}: not counted, {why}")?,
        }
    }
    if instructions.is_err() {
        writeln!(out, "{}", hardware::WITHOUT)?;
    }
    writeln!(out, "response: {:.1} octets on average, {} to {}", octets.mean, octets.min, octets.max)?;
    writeln!(out, "answers:")?;
    for (kind, share) in &results.mix {
        writeln!(out, "  {kind:<24} {:>7.3} %", 100.0 * share)?;
    }
    Ok(())
}

impl AnswerArguments {
    /// How long a round is.
    fn extent(&self) -> Extent {
        match self.passes {
            Some(passes) => Extent::Passes(passes.get()),
            None => Extent::Time(self.time),
        }
    }

    /// What the OPT record of the queries says; none where they have none.
    fn edns(&self) -> Option<query_file::Opt> {
        let is_asked = self.edns.is_some() || self.dnssec;
        is_asked.then(|| query_file::Opt { udp_size: self.edns.unwrap_or(UDP_SIZE), dnssec_ok: self.dnssec })
    }
}

/// The payload that queries offer where nothing else is said: what resolvers offer today (DNS flag day 2020).
const UDP_SIZE: u16 = 1232;
