//! `starling check`: everything that is wrong with configurations and zones, in one run.

use super::{UsageError, print_json, source};
use crate::agent;
use crate::cli::CheckArguments;
use crate::config::{self, Config, PoolConfig, Purpose, Rotation, Style, ZoneConfig};
use crate::exit::Exit;
use crate::gate;
use crate::pools::{self, beside};
use crate::progress::Progress;
use crate::status::RefusedPool;
use crate::zones::load::{self, Compiled, ZoneErrors};
use crate::zones::parallel::{self, Priority};
use serde::Serialize;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use transfer::catalog;

/// What was found, as `--json` prints it.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Findings {
    /// Whether nothing stands in the way of serving.
    ok: bool,
    configurations: Vec<ConfigFindings>,
    zones: Vec<ZoneFindings>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ConfigFindings {
    file: String,
    errors: Vec<String>,
    /// What this machine can't do of it. Another may.
    notes: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ZoneFindings {
    name: String,
    file: String,
    /// What the zone is, where it could be compiled.
    #[serde(flatten)]
    content: Option<Content>,
    errors: Vec<String>,
    warnings: Vec<String>,
    /// What this machine can't do of its pools. Another may.
    notes: Vec<String>,
}

/// A zone that is checked, and the configuration that has it, where there is one without errors.
struct Subject {
    zone: ZoneConfig,
    config: Option<Arc<Config>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Content {
    serial: u32,
    records: u32,
    names: u32,
}

/// Checks what the command line names.
pub(crate) fn run(arguments: &CheckArguments) -> anyhow::Result<Exit> {
    let (configs, sources): (Vec<&PathBuf>, Vec<&PathBuf>) = arguments
        .sources
        .iter()
        .partition(|path| path.extension().is_some_and(|extension| extension == "toml"));
    let configs: Vec<&PathBuf> = arguments.config.iter().chain(configs).collect();
    if configs.is_empty() && sources.is_empty() && arguments.zones.is_empty() {
        let message = "there is nothing to check: name a configuration, or zones as FILE or NAME=FILE";
        return Err(UsageError(message.to_owned()).into());
    }
    let (mut zones, mut pools) = (Vec::new(), Vec::new());
    let mut findings = Findings { ok: true, configurations: Vec::new(), zones: Vec::new() };
    for file in configs {
        findings.configurations.push(check_config(file, &mut zones, &mut pools, arguments.output.json));
    }
    for source in sources {
        let zone = source::zone(source, arguments.origin.as_ref(), Rotation::On)?;
        zones.push(Subject { zone, config: None });
    }
    for zone in &arguments.zones {
        let zone = ZoneConfig::of_file(zone.name.clone(), zone.file.clone(), Rotation::On);
        zones.push(Subject { zone, config: None });
    }

    let mut checked: Vec<(usize, ZoneFindings)> = Vec::new();
    let progress = Progress::on_terminal();
    parallel::each(
        &zones,
        parallel::thread_count(),
        Priority::Normal,
        |zone| check_zone(zone, &pools, &progress),
        |index, found| checked.push((index, found)),
    );
    checked.sort_by_key(|(index, _)| *index);
    findings.zones = checked.into_iter().map(|(_, found)| found).collect();

    let bad_config = findings.configurations.iter().any(|config| !config.errors.is_empty());
    let bad_zone = findings.zones.iter().any(|zone| !zone.errors.is_empty());
    let warned = findings.zones.iter().any(|zone| !zone.warnings.is_empty());
    findings.ok = !bad_config && !bad_zone;
    if arguments.output.json {
        print_json(&findings)?;
    } else {
        print(&findings)?;
    }
    Ok(match (bad_config, bad_zone || (arguments.strict && warned)) {
        (true, _) => Exit::Usage,
        (false, true) => Exit::Problem,
        (false, false) => Exit::Fine,
    })
}

/// Checks a configuration, and adds its zones and pools to those to be checked.
fn check_config(
    file: &Path,
    zones: &mut Vec<Subject>,
    pools: &mut Vec<Arc<[PoolConfig]>>,
    json: bool,
) -> ConfigFindings {
    let load = |purpose| config::load(Some(file), &Default::default(), &[], purpose);
    // One with a route is for `starling run`, which wants more.
    let loaded = load(Purpose::Serve).and_then(|config| {
        if config.anycast.is_some() { load(Purpose::Run).map(|_| config) } else { Ok(config) }
    });
    let mut notes = Vec::new();
    let errors = match loaded {
        Ok(config) => {
            let mut idle = pools::homeless(&config);
            idle.extend(pools::unreachable(&config.pools));
            if !json {
                idle.iter().for_each(|line| eprintln!("{}: error: {line}", file.display()));
            }
            notes.extend(pools::obstacles(&config.pools));
            notes.extend(pools::set_by_hand(&config, &config.pools));
            notes.extend(config.node.tls.as_ref().and_then(|tls| tls.identity.concern()));
            let bird = config.anycast.as_ref().and_then(|anycast| anycast.bird.as_ref());
            notes.extend(agent::no_delay_obstacle(bird));
            let config = Arc::new(config);
            zones.extend(of_files(config.zones.clone(), Some(&config)));
            pools.push(Arc::clone(&config.pools));
            idle
        }
        Err(error) => {
            if !json {
                let style = if std::io::stderr().is_terminal() { Style::Coloured } else { Style::Plain };
                eprintln!("{}", error.render(style));
            }
            // The zones that could be read are checked all the same: one run tells everything.
            zones.extend(of_files(config::zones_despite_errors(file), None));
            error.lines()
        }
    };
    ConfigFindings { file: file.display().to_string(), errors, notes }
}

/// The zones that there is something to check of: the others are with their primaries.
fn of_files(zones: Vec<ZoneConfig>, config: Option<&Arc<Config>>) -> impl Iterator<Item = Subject> {
    let zones = zones.into_iter().filter(|zone| zone.file().is_some());
    zones.map(move |zone| Subject { zone, config: config.cloned() })
}

fn check_zone(subject: &Subject, pools: &[Arc<[PoolConfig]>], progress: &Progress) -> ZoneFindings {
    let Subject { zone, config } = subject;
    let file = zone.file().unwrap_or(Path::new(""));
    let mut notes = Vec::new();
    let (content, errors, warnings) = match load::compile(zone, &progress.zone(zone.name.as_name())) {
        Ok(Compiled { table, warnings, zonemd, .. }) => {
            let content =
                Content { serial: table.serial(), records: table.record_count(), names: table.name_count() };
            // The one rule of admission that needs no other version to compare with.
            let fault = gate::zonemd_fault(zone.admission.zonemd, zonemd);
            // It is no bad zone if it is no catalog, but nothing of it would be followed.
            let table = Arc::new(table);
            let broken = zone.follow.as_ref().and_then(|_| catalog::read(&table).err());
            let broken = broken.map(|error| format!("not followed as a catalog: {error}"));
            let (mut brought, refused) = match config {
                Some(config) => beside::of_configured(config, zone, &table),
                None => beside::of_records(zone, &table),
            };
            let charted = config.as_ref().map_or(Ok(()), |config| beside::chart(config, &mut brought));
            let unreachable = pools::unreachable(&brought);
            notes.extend(pools::obstacles(&brought));
            notes.extend(config.iter().flat_map(|config| pools::set_by_hand(config, &brought)));
            let all = [pools, &[brought.into()]].concat();
            let (misfits, idle) = pools::misfits(&all, &table, zone.signing.as_deref());
            let errors: Vec<String> = fault
                .into_iter()
                .chain(broken)
                .chain(refused.iter().flat_map(refusals))
                .chain(charted.err().map(|error| error.to_string()))
                .chain(unreachable)
                .chain(misfits)
                .map(|error| format!("{}: error: {error}", file.display()))
                .collect();
            let idle = idle.into_iter().map(|what| format!("{}: warning: {what}", file.display()));
            let warnings = warnings.into_iter().chain(idle).collect();
            (errors.is_empty().then_some(content), errors, warnings)
        }
        Err(ZoneErrors { errors, warnings, .. }) => (None, errors, warnings),
    };
    let (name, file) = (zone.name.to_string(), file.display().to_string());
    ZoneFindings { name, file, content, errors, warnings, notes }
}

/// Why records make no pool.
fn refusals(pool: &RefusedPool) -> impl Iterator<Item = String> {
    let place = format!("_pool.{}", pool.name);
    let problems = pool.problems.iter();
    problems.map(move |problem| format!("the pool at {}.: {problem}", place.trim_end_matches('.')))
}

fn print(findings: &Findings) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for config in &findings.configurations {
        for note in &config.notes {
            writeln!(out, "{}: note: {note}", config.file)?;
        }
        match config.errors.len() {
            0 => writeln!(out, "{}: ok", config.file)?,
            count => writeln!(out, "{}: {}", config.file, counted(count, "error"))?,
        }
    }
    for zone in &findings.zones {
        for line in zone.errors.iter().chain(&zone.warnings) {
            writeln!(out, "{line}")?;
        }
        for note in &zone.notes {
            writeln!(out, "{}: note: {note}", zone.file)?;
        }
        write!(out, "{}: ", zone.name)?;
        match &zone.content {
            Some(Content { serial, records, names }) => {
                write!(
                    out,
                    "ok, serial {serial}, {}, {}",
                    counted(*records as usize, "record"),
                    counted(*names as usize, "name")
                )?;
            }
            None => write!(out, "{}", counted(zone.errors.len(), "error"))?,
        }
        if !zone.warnings.is_empty() {
            write!(out, ", {}", counted(zone.warnings.len(), "warning"))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
