//! `starling lookup` and `starling ctl lookup`: the answer to a query, and why it is the answer.

use super::message::Message;
use super::steered::{self, Knowledge, PoolPart};
use super::{UsageError, dig, print_json, source};
use crate::cli::{LookupArguments, QuestionArguments};
use crate::config::{self, Config, PoolConfig, Purpose, Rotation, ZoneConfig};
use crate::control::Request;
use crate::exit::Exit;
use crate::oracle::{Oracle, Question, reasons};
use crate::pools::{self, beside};
use crate::progress::Progress;
use crate::status::{LookedUp, PoolStatus};
use crate::zones::load::{self, Compiled};
use crate::zones::{image, state_dir};
use anyhow::{Context, anyhow, bail};
use serde::Serialize;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use table::Table;
use wire::{Name, NameBuf};
use zone::amend::{Steered, steer};

/// The result, as `--json` prints it.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Answer {
    #[serde(flatten)]
    message: Message,
    /// The rules that led to the answer, in the order in which they were applied.
    why: Vec<String>,
    /// What of it is a pool's.
    pools: Vec<PoolPart>,
}

/// What is asked.
struct Subject {
    table: Arc<Table>,
    /// The pools that its names may answer with.
    pools: Vec<PoolStatus>,
}

/// Answers the question that the command line asks.
pub(crate) fn run(arguments: &LookupArguments) -> anyhow::Result<Exit> {
    let asked = &arguments.question;
    let Some(Subject { table, pools }) = subject(arguments)? else { return Ok(Exit::Problem) };
    let apex = NameBuf::from(table.apex_name());
    let name = full_name(&asked.name, apex.as_name())?;
    let mut oracle = Oracle::new(table);
    let question = Question {
        name: name.as_name(),
        rtype: asked.rtype,
        dnssec: asked.dnssec,
        udp_size: asked.udp,
        client: asked.client,
    };
    let (response, explanation) = oracle.ask(question);
    let looked_up = LookedUp { response: response.to_vec(), why: reasons(&explanation), pools };
    show(&looked_up, asked, Knowledge::LastRun, arguments.output.json)?;
    Ok(Exit::Fine)
}

/// What a running node is asked.
pub(super) fn request(asked: &QuestionArguments) -> Request {
    Request::Lookup {
        name: asked.name.clone(),
        rtype: asked.rtype.to_string(),
        dnssec: asked.dnssec,
        udp: asked.udp,
        client: asked.client,
    }
}

/// Prints what a running node has answered.
pub(super) fn show_of_node(
    looked_up: &LookedUp,
    asked: &QuestionArguments,
    json: bool,
) -> anyhow::Result<()> {
    show(looked_up, asked, Knowledge::Now, json)
}

fn show(
    looked_up: &LookedUp,
    asked: &QuestionArguments,
    knowledge: Knowledge,
    json: bool,
) -> anyhow::Result<()> {
    let LookedUp { response, why, pools } = looked_up;
    let message = Message::read(response).context("the answer can't be read: a defect of this program")?;
    let pools = steered::parts(&message, pools, asked.client, knowledge);
    let answer = Answer { message, why: why.clone(), pools };
    if json { print_json(&answer) } else { Ok(print(&answer, asked.udp, knowledge)?) }
}

/// What the command line names; none if it has errors, which were told.
fn subject(arguments: &LookupArguments) -> anyhow::Result<Option<Subject>> {
    let of_table = |table| Subject { table: Arc::new(table), pools: Vec::new() };
    if arguments.source.extension().is_some_and(|extension| extension == "toml") {
        return configured(&arguments.source, &arguments.question.name);
    }
    if image::is_table(&arguments.source) {
        return Ok(Some(of_table(image::open(&arguments.source)?)));
    }
    let zone = source::zone(&arguments.source, arguments.origin.as_ref(), Rotation::On)?;
    Ok(compile(&zone).map(of_table))
}

/// The zone of a configuration that a name is in, with the answers of its pools.
fn configured(file: &Path, name: &str) -> anyhow::Result<Option<Subject>> {
    let config = config::load(Some(file), &Default::default(), &[], Purpose::Check)?;
    let name = full_name(name, Name::ROOT)?;
    let home = |zone: &&ZoneConfig| name.as_name().is_at_or_below(zone.name.as_name());
    let zone = config.zones.iter().filter(home).max_by_key(|zone| zone.name.as_name().label_count());
    let zone = zone.ok_or_else(|| anyhow!("{}: no [[zone]] of it has the name {name}", file.display()))?;
    let table = match zone.file() {
        Some(_) => compile(zone),
        None => Some(copy(&config, zone)?),
    };
    table.map(|table| with_pools(&config, zone, Arc::new(table))).transpose()
}

/// What the node has last had of a zone that others have.
fn copy(config: &Config, zone: &ZoneConfig) -> anyhow::Result<Table> {
    let Some(folder) = &config.node.state_dir else {
        bail!("{} comes from elsewhere, and without `state-dir` nothing of it is kept", zone.name)
    };
    let path = state_dir::path_in(&folder.join(state_dir::TABLES), &zone.name, "table");
    image::open(&path).with_context(|| format!("{} comes from elsewhere", zone.name))
}

/// The table with the answers that its names have from pools, those of the configuration and those of its records.
fn with_pools(config: &Config, zone: &ZoneConfig, table: Arc<Table>) -> anyhow::Result<Subject> {
    let memory = config.node.state_dir.as_deref().map(|folder| folder.join(state_dir::POOLS_FILE));
    let (brought, refused) = beside::of_configured(config, zone, &table);
    let mut all: Vec<PoolConfig> = config.pools.iter().cloned().chain(brought).collect();
    beside::chart(config, &mut all)?;
    let (answers, mut pools) = pools::as_left(&all.into(), memory.as_deref());
    let mut signer = zone.signing.as_deref().map(pools::signer);
    let mut steered = |answers: &[Steered]| {
        steer(&table, answers, signer.as_mut().map(|signer| (signer, pools::unix_time())))
    };
    let mut good: Vec<Steered> = Vec::new();
    let is_here = |answer: &&Steered| answer.owner.as_name().is_at_or_below(zone.name.as_name());
    let here: Vec<Steered> = answers.iter().filter(is_here).cloned().collect();
    for of_name in here.chunk_by(|one, other| one.owner == other.owner) {
        match steered(of_name) {
            Ok(_) => good.extend_from_slice(of_name),
            Err(error) => {
                let name = of_name[0].owner.to_string();
                let of_it = pools.iter_mut().filter(|pool| pool.names.contains(&name));
                of_it.for_each(|pool| pool.problems.push(format!("{name}: {error}")));
            }
        }
    }
    let table = match good.is_empty() {
        true => Arc::clone(&table),
        // Each can be alone; should they be too many together, the zone answers.
        false => steered(&good).map_or_else(|_| Arc::clone(&table), Arc::new),
    };
    pools.extend(refused.into_iter().map(PoolStatus::refused));
    Ok(Subject { table, pools })
}

fn compile(zone: &ZoneConfig) -> Option<Table> {
    match load::compile(zone, &Progress::on_terminal().zone(zone.name.as_name())) {
        Ok(Compiled { table, .. }) => Some(table),
        Err(errors) => {
            errors.errors.iter().for_each(|error| eprintln!("{error}"));
            eprintln!("{}: a zone with errors gives no answers", zone.name);
            None
        }
    }
}

/// The name that was typed: `@` is the apex, and a missing final dot is supplied.
pub(super) fn full_name(text: &str, apex: Name<'_>) -> Result<NameBuf, UsageError> {
    if text == "@" {
        return Ok(apex.into());
    }
    NameBuf::from_text(text.as_bytes(), Some(Name::ROOT))
        .map_err(|error| UsageError(format!("`{text}` is not a domain name: {error}")))
}

fn print(answer: &Answer, udp: Option<u16>, knowledge: Knowledge) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    dig::print(&mut out, &answer.message)?;
    let transport = match udp {
        Some(size) => format!("UDP, for a client that takes {size} octets"),
        None => "TCP".to_owned(),
    };
    writeln!(out, "\n;; MSG SIZE: {} octets, over {transport}", answer.message.bytes)?;
    writeln!(out, "\n;; WHY:")?;
    answer.why.iter().try_for_each(|rule| writeln!(out, ";  {rule}"))?;
    steered::print(&mut out, &answer.pools, knowledge)
}
