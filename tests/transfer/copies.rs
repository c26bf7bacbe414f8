//! Whether two servers have the same copy of a zone: its records, their digest, and the answers to every name.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use starling_tests::client;
use starling_tests::message::{Message, Record};
use starling_tests::name::Name;
use starling_tests::normalise::{Normal, next_link, normalise};
use starling_tests::query::{Edns, Query};
use starling_tests::rdata::{Part, parts};
use starling_tests::server::Kind;
use starling_tests::tools;
use starling_tests::zonedata::{generic, names_of, neighbours};

const TYPE_A: u16 = 1;
const TYPE_NS: u16 = 2;
const TYPE_CNAME: u16 = 5;
const TYPE_SOA: u16 = 6;
const TYPE_MX: u16 = 15;
const TYPE_TXT: u16 = 16;
const TYPE_AAAA: u16 = 28;
const TYPE_DNAME: u16 = 39;
const TYPE_DS: u16 = 43;
const TYPE_RRSIG: u16 = 46;
const TYPE_ANY: u16 = 255;
/// What every name is asked for, and what those around it are.
const ASKED: &[u16] =
    &[TYPE_A, TYPE_NS, TYPE_CNAME, TYPE_SOA, TYPE_MX, TYPE_TXT, TYPE_AAAA, TYPE_DS, TYPE_ANY];
const ASKED_AROUND: &[u16] = &[TYPE_A, TYPE_DS];
/// At how many of the steps of a zone every name is asked, but for a long run, which does it at each.
const ASKED_EVERY: u32 = 20;

/// Owner, type, TTL and data.
pub(crate) type Canonical = (Name, u16, u32, Vec<u8>);

/// A record with its names in lower case: where they are compressed, the case is that of the name pointed to.
pub(crate) fn canonical(record: &Record) -> Canonical {
    let mut rdata = record.rdata.clone();
    let mut at = 0;
    for part in parts(record.rtype) {
        match part {
            Part::Octets(count) => at += count,
            Part::Text => at += 1 + usize::from(rdata[at]),
            Part::CompressibleName | Part::Name => {
                while rdata[at] != 0 {
                    let end = at + 1 + usize::from(rdata[at]);
                    rdata[at + 1..end].make_ascii_lowercase();
                    at = end;
                }
                at += 1;
            }
        }
    }
    (record.owner.lower(), record.rtype, record.ttl, rdata)
}

/// The same records with one TTL for all signatures: Knot keeps one for all signatures of a name.
pub(crate) fn without_signature_ttls(mut records: Vec<Record>) -> Vec<Record> {
    records.iter_mut().filter(|record| record.rtype == TYPE_RRSIG).for_each(|record| record.ttl = 0);
    records
}

pub(crate) fn same_records(who: &str, expected: &[Record], found: &[Record]) -> Result<()> {
    let set = |records: &[Record]| records.iter().map(canonical).collect::<BTreeSet<_>>();
    let (wanted, got) = (set(expected), set(found));
    ensure!(got.len() == found.len(), "{who}: {} records were sent twice", found.len() - got.len());
    let missing: Vec<_> = wanted.difference(&got).collect();
    let extra: Vec<_> = got.difference(&wanted).collect();
    ensure!(missing.is_empty() && extra.is_empty(), "{who}: missing {missing:?}\nand too much {extra:?}");
    Ok(())
}

/// The digest of a zone with these records, as the compiler makes it of a master file with them.
fn digest(apex: &Name, records: &[Record], folder: &Path) -> Result<String> {
    let (file, table) = (folder.join("copy.zone"), folder.join("copy.table"));
    std::fs::write(&file, generic(records)?)?;
    let mut command = Command::new(tools::starling()?);
    command.args(["compile", "--json", "-o"]).arg(&table).arg(format!("{apex}={}", file.display()));
    let output = command.output()?;
    ensure!(output.status.success(), "{output:?}");
    let result: Value = serde_json::from_slice(&output.stdout)?;
    Ok(result["content"].as_str().context("a digest of the records")?.to_owned())
}

/// That a zone with these records has the digest that a node tells of the version with this serial, in what
/// `ctl zones --digests --json` says; `false` where it tells of another version.
pub(crate) fn same_digest(
    who: &str,
    apex: &Name,
    (serial, records): (u32, &[Record]),
    digests: &str,
    folder: &Path,
) -> Result<bool> {
    let digests: Value = serde_json::from_str(digests).with_context(|| digests.to_owned())?;
    if digests[0]["serial"] != serial {
        return Ok(false);
    }
    let theirs = digest(apex, records, folder)?;
    ensure!(digests[0]["content"] == theirs, "{who}: {theirs} there, and {}", digests[0]);
    Ok(true)
}

/// Whether every name is to be asked at this step.
pub(crate) fn is_asked(step: u32) -> bool {
    tools::long_run() || step.is_multiple_of(ASKED_EVERY)
}

/// That both give the same answers for every name of a zone with these records, and for those around them.
pub(crate) fn same_answers_to_all(
    who: &str,
    apex: &Name,
    records: &[Record],
    ours: SocketAddr,
    theirs: SocketAddr,
) -> Result<()> {
    let names = names_of(apex, records);
    let around: BTreeSet<Name> = names.iter().flat_map(neighbours).collect();
    let questions = questions(&names, ASKED).chain(questions(&around, ASKED_AROUND)).collect();
    same_answers(who, ours, theirs, std::slice::from_ref(apex), questions)
}

/// Every one of these names with each of the types.
fn questions<'n>(names: &'n BTreeSet<Name>, types: &'static [u16]) -> impl Iterator<Item = (&'n Name, u16)> {
    names.iter().flat_map(move |name| types.iter().map(move |rtype| (name, *rtype)))
}

/// That both give the same answers for these names, of zones with these apexes.
pub(crate) fn same_answers_at(
    who: &str,
    ours: SocketAddr,
    theirs: SocketAddr,
    apexes: &[Name],
    names: &BTreeSet<Name>,
) -> Result<()> {
    same_answers(who, ours, theirs, apexes, questions(names, ASKED).collect())
}

/// Both give the same answers in all but what servers may differ in.
fn same_answers(
    who: &str,
    ours: SocketAddr,
    theirs: SocketAddr,
    apexes: &[Name],
    questions: Vec<(&Name, u16)>,
) -> Result<()> {
    let query = |(name, rtype): &(&Name, u16)| {
        Query::new((*name).clone(), *rtype).with_edns(Edns::dnssec(1232)).bytes(0)
    };
    let queries: Vec<Vec<u8>> = questions.iter().map(query).collect();
    let (ours, theirs) = thread::scope(|scope| {
        let theirs = scope.spawn(|| client::tcp(theirs, &queries));
        (client::tcp(ours, &queries), theirs.join().expect("asking does not panic"))
    });
    for ((question, ours), theirs) in questions.into_iter().zip(ours?).zip(theirs?) {
        let (name, rtype) = question;
        let read = |bytes: Option<Vec<u8>>| {
            let bytes = bytes.with_context(|| format!("no answer for {name} TYPE{rtype}"))?;
            let message = Message::decode(&bytes)?;
            let normal = loose(normalise(&message, name, rtype), question, apexes);
            anyhow::Ok((message, normal))
        };
        let ((ours, our_normal), (theirs, their_normal)) = (read(ours)?, read(theirs)?);
        if our_normal.rcode.is_none() != their_normal.rcode.is_none() {
            continue; // how far a chain of DNAME is followed is nowhere said
        }
        let differing = match who == Kind::Nsd.to_string() {
            true => our_normal.without_denials().differing(&their_normal.without_denials()),
            false => our_normal.with_no_more_denials_than(&their_normal).differing(&their_normal),
        };
        ensure!(
            differing.is_empty(),
            "{name} TYPE{rtype}, {}:\n  starling: {ours}  {who}: {theirs}",
            differing.join(" ")
        );
    }
    Ok(())
}

/// An answer in which some things count for nothing. The case of names and the TTLs of signatures: names are compressed to those
/// that stand before, and Knot keeps one TTL for all signatures of a name. What an alias leads to in another of the zones with
/// these apexes (NSD goes there), or from ANY (PowerDNS goes on).
fn loose(mut normal: Normal, (name, rtype): (&Name, u16), apexes: &[Name]) -> Normal {
    let zone = |name: &Name| {
        let above = apexes.iter().filter(|apex| name.is_at_or_below(apex));
        above.filter(|apex| rtype != TYPE_DS || *apex != name).max_by_key(|apex| apex.labels().len())
    };
    let mut links = vec![name.lower()];
    let mut is_elsewhere = false;
    while let Some(target) = next_link(&normal.answer, &links[links.len() - 1]) {
        is_elsewhere = zone(&target) != zone(&links[0]) || rtype == TYPE_ANY;
        if links.contains(&target) {
            normal.rcode = None; // BIND calls a loop an error (RFC 1034 §3.6.2), others don't
        }
        if is_elsewhere || links.contains(&target) {
            break;
        }
        links.push(target);
    }
    if is_elsewhere {
        // All but the aliases is of where the chain ends.
        let is_alias = |record: &Record| record.rtype == TYPE_DNAME || record.covered() == Some(TYPE_DNAME);
        let is_above = |owner: &Name| links.iter().any(|link| link.is_at_or_below(owner));
        normal.rcode = None;
        normal.answer.retain(|it| links.contains(&it.owner) || is_alias(it) && is_above(&it.owner));
        normal.authority.clear();
        normal.glue.clear();
    }
    if rtype == TYPE_SOA {
        // That there is none of it is nothing to keep, says BIND with a TTL of 0.
        normal.authority.iter_mut().filter(|it| it.rtype == TYPE_SOA).for_each(|soa| soa.ttl = 0);
    }
    for section in [&mut normal.answer, &mut normal.authority, &mut normal.glue] {
        for record in without_signature_ttls(std::mem::take(section)) {
            let (owner, rtype, ttl, rdata) = canonical(&record);
            section.push(Record { owner, rtype, ttl, rdata, class: record.class });
        }
        section.sort_unstable();
    }
    normal
}
