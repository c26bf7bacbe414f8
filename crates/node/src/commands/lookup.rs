//! `starling lookup`: the answer to a query, and why it is the answer.

use super::message::Message;
use super::oracle::{Oracle, Question, reasons};
use super::{UsageError, dig, print_json, source};
use crate::cli::LookupArguments;
use crate::config::Rotation;
use crate::exit::Exit;
use crate::progress::Progress;
use crate::zones::image;
use crate::zones::load::{self, Compiled};
use anyhow::Context;
use serde::Serialize;
use std::io::Write;
use std::sync::Arc;
use table::Table;
use wire::{Name, NameBuf};

/// The result, as `--json` prints it.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Answer {
    #[serde(flatten)]
    message: Message,
    /// The rules that led to the answer, in the order in which they were applied.
    why: Vec<String>,
}

/// Answers the question that the command line asks.
pub(crate) fn run(arguments: &LookupArguments) -> anyhow::Result<Exit> {
    let table = if image::is_table(&arguments.source) {
        image::open(&arguments.source)?
    } else {
        match compile(arguments)? {
            Some(table) => table,
            None => return Ok(Exit::Problem),
        }
    };
    let apex = NameBuf::from(table.apex_name());
    let name = full_name(&arguments.name, apex.as_name())?;
    let mut oracle = Oracle::new(Arc::new(table));
    let question = Question {
        name: name.as_name(),
        rtype: arguments.rtype,
        dnssec: arguments.dnssec,
        udp_size: arguments.udp,
    };
    let (response, explanation) = oracle.ask(question);
    let message = Message::read(response).context("the answer can't be read: a defect of this program")?;
    let answer = Answer { message, why: reasons(&explanation) };
    if arguments.output.json {
        print_json(&answer)?;
    } else {
        print(&answer, arguments)?;
    }
    Ok(Exit::Fine)
}

fn compile(arguments: &LookupArguments) -> anyhow::Result<Option<Table>> {
    let zone = source::zone(&arguments.source, arguments.origin.as_ref(), Rotation::On)?;
    match load::compile(&zone, &Progress::on_terminal().zone(zone.name.as_name())) {
        Ok(Compiled { table, .. }) => Ok(Some(table)),
        Err(errors) => {
            errors.errors.iter().for_each(|error| eprintln!("{error}"));
            eprintln!("{}: a zone with errors gives no answers", zone.name);
            Ok(None)
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

fn print(answer: &Answer, arguments: &LookupArguments) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    dig::print(&mut out, &answer.message)?;
    let transport = match arguments.udp {
        Some(size) => format!("UDP, for a client that takes {size} octets"),
        None => "TCP".to_owned(),
    };
    writeln!(out, "\n;; MSG SIZE: {} octets, over {transport}", answer.message.bytes)?;
    writeln!(out, "\n;; WHY:")?;
    answer.why.iter().try_for_each(|rule| writeln!(out, ";  {rule}"))
}
