//! Whether two servers have the same copy of a zone: its records, their digest, and the answers to every name.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use starling_tests::client;
use starling_tests::message::{Message, Record};
use starling_tests::name::Name;
use starling_tests::query::{Edns, Query};
use starling_tests::rdata::{Part, parts};
use starling_tests::tools;
use starling_tests::zonedata::{generic, names_of};

const TYPE_A: u16 = 1;
const TYPE_NS: u16 = 2;
const TYPE_CNAME: u16 = 5;
const TYPE_SOA: u16 = 6;
const TYPE_MX: u16 = 15;
const TYPE_TXT: u16 = 16;
const TYPE_RRSIG: u16 = 46;
/// What every name is asked for.
const ASKED: [u16; 4] = [TYPE_A, TYPE_NS, TYPE_MX, TYPE_TXT];
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

/// That both give the same answers for every name of a zone with these records, and for one that is not there below each.
pub(crate) fn same_answers_to_all(
    who: &str,
    apex: &Name,
    records: &[Record],
    ours: SocketAddr,
    theirs: SocketAddr,
) -> Result<()> {
    let names = names_of(apex, records);
    let below: BTreeSet<Name> = names.iter().filter_map(|name| name.child(b"nothing")).collect();
    same_answers(who, ours, theirs, &names.union(&below).cloned().collect())
}

/// Response code and answers are the same from both, for every name; how far a chain of CNAMEs is followed into other
/// zones is for each server to choose. Where there is no answer, so are the SOA record or the delegation.
pub(crate) fn same_answers(
    who: &str,
    ours: SocketAddr,
    theirs: SocketAddr,
    names: &BTreeSet<Name>,
) -> Result<()> {
    let questions: Vec<(&Name, u16)> =
        names.iter().flat_map(|name| ASKED.map(|rtype| (name, rtype))).collect();
    let query = |(name, rtype): &(&Name, u16)| {
        Query::new((*name).clone(), *rtype).with_edns(Edns::dnssec(1232)).bytes(0)
    };
    let queries: Vec<Vec<u8>> = questions.iter().map(query).collect();
    let (ours, theirs) = (client::tcp(ours, &queries)?, client::tcp(theirs, &queries)?);
    for (((name, rtype), ours), theirs) in questions.into_iter().zip(ours).zip(theirs) {
        let read =
            |bytes: Option<Vec<u8>>| read(name, &bytes.with_context(|| format!("no answer for {name}"))?);
        let (ours, theirs) = (read(ours)?, read(theirs)?);
        ensure!(ours == theirs, "{name} TYPE{rtype}: {ours:?} from starling, {theirs:?} from {who}");
    }
    Ok(())
}

/// Of a response: its code, the answers of the name, and what says that there are none.
fn read(name: &Name, bytes: &[u8]) -> Result<(u16, BTreeSet<Canonical>, BTreeSet<Canonical>)> {
    let message = Message::decode(bytes)?;
    let rcode = message.rcode();
    let is_chain = message.answer.iter().any(|record| record.rtype == TYPE_CNAME);
    let says_so = if message.answer.is_empty() { message.authority } else { Vec::new() };
    let own = without_signature_ttls(message.answer);
    let own = own.iter().map(canonical).filter(|(owner, ..)| *owner == name.lower());
    let says_so = says_so.iter().filter(|record| [TYPE_SOA, TYPE_NS].contains(&record.rtype)).map(canonical);
    Ok((if is_chain { 0 } else { rcode }, own.collect(), says_so.collect())) // the code is that of the chain's end
}
