//! `starling inspect`: what is in a table file.

use super::lookup::full_name;
use super::message::{Message, Record};
use super::{UsageError, dig, print_json};
use crate::cli::InspectArguments;
use crate::exit::Exit;
use crate::oracle::{Oracle, Question, reasons};
use crate::zones::image;
use anyhow::{Context, bail};
use serde::Serialize;
use std::io::{self, Write};
use std::sync::Arc;
use table::{Encloser, Found, ImageFlags, Node, NodeFlags, Rrset, Table};
use wire::message::HEADER_LEN;
use wire::{Class, FoldedName, Name, NameBuf, RecordType};

/// A table, as `--json` prints it.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Summary {
    table: String,
    apex: String,
    serial: u32,
    names: u32,
    records: u32,
    nsec3_owners: usize,
    bytes: usize,
    bytes_per_record: f64,
    denial: &'static str,
    rotate: bool,
    format_version: u32,
    digest: String,
}

/// A name of a table.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct NameView {
    name: String,
    /// `exact`, `below-cut`, `below-dname` or `missing`.
    found: &'static str,
    /// The name of the node that was found, or of the closest encloser.
    node: String,
    flags: Vec<&'static str>,
    records: Vec<Record>,
    answers: Vec<AnswerView>,
}

/// An answer that a name gives.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct AnswerView {
    #[serde(rename = "type")]
    rtype: String,
    status: String,
    flags: Vec<&'static str>,
    answer: usize,
    authority: usize,
    additional: usize,
    bytes: usize,
    why: Vec<String>,
}

/// Shows the table that the command line names, or a name in it.
pub(crate) fn run(arguments: &InspectArguments) -> anyhow::Result<Exit> {
    let table = image::open(&arguments.table)?;
    let Some(name) = &arguments.name else {
        let summary = summarize(&table, arguments);
        if arguments.output.json {
            print_json(&summary)?
        } else {
            print_summary(&summary)?
        };
        return Ok(Exit::Fine);
    };
    let name = full_name(name, table.apex_name())?;
    if !name.as_name().is_at_or_below(table.apex_name()) {
        let message = format!("{name} is not in the zone {}", table.apex_name());
        return Err(UsageError(message).into());
    }
    let view = view(Arc::new(table), name.as_name())?;
    if arguments.output.json {
        print_json(&view)?
    } else {
        print_view(&view)?
    };
    Ok(if view.found == "missing" { Exit::Problem } else { Exit::Fine })
}

fn summarize(table: &Table, arguments: &InspectArguments) -> Summary {
    let bytes = table.image().len();
    let denial = match (table.flags().has(ImageFlags::NSEC), table.flags().has(ImageFlags::NSEC3)) {
        (_, true) => "NSEC3",
        (true, false) => "NSEC",
        (false, false) => "none",
    };
    Summary {
        table: arguments.table.display().to_string(),
        apex: table.apex_name().to_string(),
        serial: table.serial(),
        names: table.name_count(),
        records: table.record_count(),
        nsec3_owners: table.nsec3_nodes().count(),
        bytes,
        bytes_per_record: (10.0 * bytes as f64 / f64::from(table.record_count().max(1))).round() / 10.0,
        denial,
        rotate: table.flags().has(ImageFlags::ROTATE),
        format_version: table::VERSION,
        digest: table.digest().to_string(),
    }
}

fn print_summary(summary: &Summary) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let lines = [
        ("apex", summary.apex.clone()),
        ("serial", summary.serial.to_string()),
        ("names", summary.names.to_string()),
        ("records", summary.records.to_string()),
        ("octets", format!("{} ({} a record)", summary.bytes, summary.bytes_per_record)),
        ("denial", summary.denial.to_owned()),
        ("rotation", if summary.rotate { "on" } else { "off" }.to_owned()),
        ("format", format!("version {}", summary.format_version)),
        ("digest", summary.digest.clone()),
    ];
    lines.iter().try_for_each(|(key, value)| writeln!(out, "{key:10}{value}"))
}

fn view(table: Arc<Table>, name: Name<'_>) -> anyhow::Result<NameView> {
    let mut folded = FoldedName::default();
    folded.set(name);
    let (found, node) = match table.find(&folded) {
        Found::Exact(node) => ("exact", node),
        Found::BelowCut(Encloser { node, .. }) => ("below-cut", node),
        Found::BelowDname(Encloser { node, .. }) => ("below-dname", node),
        Found::Missing(Encloser { node, .. }) => ("missing", node),
    };
    let owner =
        NameBuf::joined(node.relative_name(), table.apex_name()).ok().context("a node's name is too long")?;
    let mut records = Vec::new();
    for rrset in node.rrsets() {
        records.extend(records_of(owner.as_name(), rrset)?);
    }
    let mut types: Vec<RecordType> = node.rrsets().map(Rrset::rtype).collect();
    if found != "exact" || types.is_empty() {
        types = vec![RecordType::A];
    }
    let mut oracle = Oracle::new(Arc::clone(&table));
    let answers =
        types.into_iter().map(|rtype| answer(&mut oracle, name, rtype)).collect::<anyhow::Result<_>>()?;
    Ok(NameView {
        name: name.to_string(),
        found,
        node: owner.to_string(),
        flags: flags(node),
        records,
        answers,
    })
}

fn flags(node: Node<'_>) -> Vec<&'static str> {
    let all = [
        (NodeFlags::CUT, "delegation"),
        (NodeFlags::DNAME, "dname"),
        (NodeFlags::CNAME, "cname"),
        (NodeFlags::WILDCARD, "wildcard"),
        (NodeFlags::OCCLUDED, "occluded"),
    ];
    let mut flags: Vec<_> =
        all.into_iter().filter(|(flag, _)| node.flags().has(*flag)).map(|(_, name)| name).collect();
    if node.rrset_count() == 0 {
        flags.push("empty-non-terminal");
    }
    flags
}

/// The records of a set with their signatures, read from a message like the one that they are stored for: the
/// question is their owner, and they are the first records after it.
fn records_of(owner: Name<'_>, rrset: Rrset<'_>) -> anyhow::Result<Vec<Record>> {
    let mut message = vec![0; HEADER_LEN];
    message[5] = 1; // QDCOUNT
    let Some(count) = rrset.count().checked_add(rrset.signature_count()) else {
        bail!("the set has too many records")
    };
    message[6..8].copy_from_slice(&count.to_be_bytes());
    message.extend(owner.as_wire());
    message.extend(rrset.rtype().0.to_be_bytes());
    message.extend(Class::IN.0.to_be_bytes());
    message.extend(rrset.records());
    message.extend(rrset.signatures());
    Ok(Message::read(&message).context("the table's records can't be read: a defect of its compiler")?.answer)
}

fn answer(oracle: &mut Oracle, name: Name<'_>, rtype: RecordType) -> anyhow::Result<AnswerView> {
    let (response, explanation) =
        oracle.ask(Question { name, rtype, dnssec: false, udp_size: None, client: None });
    let message = Message::read(response).context("the answer can't be read: a defect of this program")?;
    Ok(AnswerView {
        rtype: rtype.to_string(),
        status: message.status,
        flags: message.flags,
        answer: message.answer.len(),
        authority: message.authority.len(),
        additional: message.additional.len(),
        bytes: message.bytes,
        why: reasons(&explanation),
    })
}

fn print_view(view: &NameView) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let found = match view.found {
        "exact" => "exists".to_owned(),
        "below-cut" => format!("is below the delegation {}", view.node),
        "below-dname" => format!("is below the DNAME {}", view.node),
        _ => format!("does not exist; its closest encloser is {}", view.node),
    };
    writeln!(out, "; {} {found}", view.name)?;
    if !view.flags.is_empty() {
        writeln!(out, "; {}: {}", view.node, view.flags.join(", "))?;
    }
    view.records.iter().try_for_each(|record| dig::record(&mut out, record))?;
    for answer in &view.answers {
        writeln!(
            out,
            "\n; {} over TCP: {}, flags {}, answer {}, authority {}, additional {}, {} octets",
            answer.rtype,
            answer.status,
            answer.flags.join(" "),
            answer.answer,
            answer.authority,
            answer.additional,
            answer.bytes
        )?;
        answer.why.iter().try_for_each(|rule| writeln!(out, ";   {rule}"))?;
    }
    Ok(())
}
