//! Starling as the primary: what it sends is what its master files have.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use starling_tests::client;
use starling_tests::message::Message;
use starling_tests::name::Name;
use starling_tests::query::Query;
use starling_tests::server::Kind;
use starling_tests::signing::{Denial, sign};
use starling_tests::tools;
use starling_tests::zonedata::{Zones, transfer};

use crate::copies::{same_answers_at, same_records, without_signature_ttls};
use crate::secondaries::{FOLLOWS_WITHIN, Primary, Secondary, serial_of};

const TYPE_SOA: u16 = 6;
const TYPE_NSEC3: u16 = 50;
const TYPE_IXFR: u16 = 251;
const TYPE_AXFR: u16 = 252;
const REFUSED: u16 = 5;
const NOTAUTH: u16 = 9;

/// Children before parents, as signing wants them.
const ZONES: [(&str, &str); 4] = [
    ("child.everything.example.", "child.zone"),
    ("everything.example.", "everything.zone"),
    ("alias.example.", "alias.zone"),
    ("example.", "parent.zone"),
];

#[test]
fn secondaries_have_plain_zones() -> Result<()> {
    secondaries_have_everything(None)
}

#[test]
fn secondaries_have_zones_with_nsec() -> Result<()> {
    secondaries_have_everything(Some(Denial::Nsec))
}

#[test]
fn secondaries_have_zones_with_nsec3() -> Result<()> {
    secondaries_have_everything(Some(Denial::Nsec3OptOut))
}

/// The records of the master files, as BIND reads them, are what Starling sends; and Knot, NSD and BIND, which get them
/// from Starling, have the same and give the same answers.
fn secondaries_have_everything(denial: Option<Denial>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut sources: Vec<(Name, PathBuf)> = Vec::new();
    for (apex, file) in ZONES {
        sources.push((Name::parse(apex)?, tools::data("zones").join(file)));
    }
    if let Some(denial) = denial {
        sources = sign(&sources, denial, folder.path())?;
    }
    let zones = Zones::read(&sources, folder.path())?;
    let mut primary = Primary::start(&configuration(&sources, "allow = [\"127.0.0.0/8\"]"), folder.path())?;
    for (apex, records) in &zones.records {
        // Of signatures it has the one of what they cover (RFC 4034 §3), whatever the file says.
        let [ours, theirs] = [transfer(primary.address, apex)?, records.clone()].map(without_signature_ttls);
        same_records(&format!("starling, {apex}"), &theirs, &ours)?;
    }
    let alias = Name::parse("alias.example.")?;
    let chains = Name::parse("dname.everything.example.")?;
    for kind in Kind::PEERS {
        // Knot takes no zone by transfer that has names below a DNAME, as this one has NSEC or NSEC3 records.
        let is_taken = |apex: &Name| kind != Kind::Knot || denial.is_none() || *apex != alias;
        let apexes: Vec<Name> = zones.records.keys().filter(|apex| is_taken(apex)).cloned().collect();
        let address = Secondary::address_for(kind)?;
        let mut secondary = Secondary::start(kind, address, &apexes, primary.address, folder.path())?;
        for (apex, records) in zones.records.iter().filter(|(apex, _)| is_taken(apex)) {
            secondary.follows(apex, serial_of(&records[0]).context("the SOA record is first")?)?;
            // NSD's processes come to know of a zone one after the other: another one may answer over TCP.
            let what = format!("{kind} gives away {apex}");
            let has = tools::poll(&what, FOLLOWS_WITHIN, || Ok(transfer(secondary.address, apex).ok()))?;
            let has = without_signature_ttls(has);
            same_records(&format!("{kind}, {apex}"), &without_signature_ttls(records.clone()), &has)?;
        }
        let hashed: BTreeSet<&Name> = zones
            .records
            .values()
            .flatten()
            .filter(|it| it.rtype == TYPE_NSEC3)
            .map(|it| &it.owner)
            .collect();
        // Peers agree neither on chains of DNAME nor on names that are there for NSEC3 records alone.
        let is_clear = |name: &Name| !name.is_at_or_below(&chains) && !hashed.contains(name);
        let names = zones.names().into_iter().filter(|name| is_taken(&alias) || !name.is_at_or_below(&alias));
        let names = names.filter(is_clear).collect();
        same_answers_at(&kind.to_string(), primary.address, secondary.address, &apexes, &names)?;
    }
    ensure!(primary.process.exited().is_none(), "{}", primary.process.log_tail());
    let status = primary.ctl(&["status", "--json"])?;
    let status: serde_json::Value = serde_json::from_str(&status)?;
    let completed = status["outgoing"]["completed"].as_u64().context("a count of transfers")?;
    ensure!(completed >= 4 * ZONES.len() as u64 - 1, "{completed} transfers were counted");
    ensure!(status["outgoing"]["running"] == 0, "{}", status["outgoing"]);
    Ok(())
}

fn configuration(zones: &[(Name, PathBuf)], transfer_lines: &str) -> String {
    let mut text = format!("[transfer]\n{transfer_lines}\n");
    for (apex, file) in zones {
        writeln!(text, "[[zone]]\nname = \"{apex}\"\nfile = \"{}\"", file.display())
            .expect("a String takes all");
    }
    text
}

/// A zone of a million hosts goes over in bounded memory.
#[test]
fn a_million_hosts_are_sent() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("many.zone");
    let hosts = 1_000_000;
    let mut text = String::from(
        "$ORIGIN many.example.\n$TTL 300\n@ SOA ns1 host 1 3600 900 604800 60\n NS ns1\nns1 A 192.0.2.1\n",
    );
    for host in 0..hosts {
        writeln!(text, "h{host} A 192.0.{}.{}", host >> 8 & 255, host & 255)?;
    }
    std::fs::write(&file, text)?;
    let zones = [(Name::parse("many.example.")?, file)];
    let primary = Primary::start(&configuration(&zones, "allow = [\"127.0.0.1\"]"), folder.path())?;
    let before = resident(primary.process.pid())?;
    let start = Instant::now();
    let mut stream = client::connect(primary.address)?;
    client::write_framed(&mut stream, &Query::new(zones[0].0.clone(), TYPE_AXFR).bytes(9))?;
    let (mut octets, mut messages, mut records) = (0, 0, 0);
    while records < hosts + 4 {
        let message = client::read_framed(&mut stream)?.context("the transfer was cut off")?;
        // The count of answers in the header, for the zone as a whole is read in the other tests.
        records += usize::from(u16::from_be_bytes([message[6], message[7]]));
        octets += message.len();
        messages += 1;
    }
    let took = start.elapsed();
    let after = resident(primary.process.pid())?;
    tools::announce(&format!(
        "a million hosts: {records} records in {messages} messages, {octets} octets, {took:?}; resident {before} kB \
         before, {after} kB after"
    ));
    ensure!(records == hosts + 4, "{records} records");
    ensure!(after < before + 32 * 1024, "the transfer took memory: {before} kB before, {after} kB after");
    Ok(())
}

/// Resident memory of a process in kB.
fn resident(pid: i32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

const SMALL: &str =
    "$ORIGIN small.example.\n$TTL 300\n@ SOA ns1 host 5 3600 900 604800 60\n NS ns1\nns1 A 192.0.2.1\n";

fn small(folder: &Path, text: &str) -> Result<(Name, PathBuf)> {
    let file = folder.join("small.zone");
    std::fs::write(&file, text)?;
    Ok((Name::parse("small.example.")?, file))
}

fn ask(primary: SocketAddr, query: &[u8]) -> Result<Message> {
    let mut stream = client::connect(primary)?;
    client::write_framed(&mut stream, query)?;
    Message::decode(&client::read_framed(&mut stream)?.context("no answer")?)
}

#[test]
fn strangers_are_refused_and_reload_changes_who_is_one() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let zones = [small(folder.path(), SMALL)?];
    let primary = Primary::start(&configuration(&zones, "allow = [\"192.0.2.0/24\"]"), folder.path())?;
    let axfr = |name: &str| -> Result<Vec<u8>> { Ok(Query::new(Name::parse(name)?, TYPE_AXFR).bytes(3)) };
    let answer = ask(primary.address, &axfr("small.example.")?)?;
    ensure!(answer.rcode() == REFUSED && answer.answer.is_empty(), "{answer}");
    ensure!(ask(primary.address, &axfr("other.example.")?)?.rcode() == NOTAUTH);
    ensure!(ask(primary.address, &axfr("ns1.small.example.")?)?.rcode() == NOTAUTH);
    let config = folder.path().join("node.toml");
    let text = std::fs::read_to_string(&config)?;
    std::fs::write(&config, text.replace("192.0.2.0/24", "127.0.0.1"))?;
    primary.ctl(&["reload"])?;
    ensure!(transfer(primary.address, &zones[0].0)?.len() == 3);
    let status: serde_json::Value = serde_json::from_str(&primary.ctl(&["status", "--json"])?)?;
    let outgoing = &status["outgoing"];
    ensure!(outgoing["refused"] == 1 && outgoing["completed"] == 1 && outgoing["cut-off"] == 0, "{outgoing}");
    Ok(())
}

#[test]
fn an_ixfr_gets_one_soa_or_the_whole_zone() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let zones = [small(folder.path(), SMALL)?];
    let primary = Primary::start(&configuration(&zones, "allow = [\"127.0.0.1\"]"), folder.path())?;
    for (serial, records) in [(5u32, 1), (6, 1), (4, 4), (0, 4)] {
        let mut query = Query::new(zones[0].0.clone(), TYPE_IXFR).bytes(3);
        query[9] = 1;
        query.extend(b"\xc0\x0c\0\x06\0\x01\0\0\0\0\0\x16\0\0");
        query.extend([serial, 0, 0, 0, 0].map(u32::to_be_bytes).as_flattened());
        let answer = ask(primary.address, &query)?;
        ensure!(answer.rcode() == 0 && answer.answer.len() == records, "serial {serial}: {answer}");
        ensure!(answer.answer.first().is_some_and(|record| record.rtype == TYPE_SOA), "{answer}");
    }
    Ok(())
}

/// A secondary that doesn't read costs the others nothing, and is cut off; queries before and after a transfer on one
/// connection are answered in their order.
#[test]
fn a_slow_secondary_is_cut_off_and_others_are_served() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut text = SMALL.to_owned();
    let long = format!("\"{}\" ", "x".repeat(250)).repeat(20);
    for i in 0..4000 {
        writeln!(text, "t{i} TXT {long}")?;
    }
    let zones = [small(folder.path(), &text)?];
    let lines = configuration(&zones, "allow = [\"127.0.0.1\"]");
    let primary = Primary::start(&format!("[node.tcp]\ntransfer-timeout-ms = 700\n{lines}"), folder.path())?;
    let axfr = Query::new(zones[0].0.clone(), TYPE_AXFR).bytes(3);
    let mut slow = client::connect(primary.address)?;
    client::write_framed(&mut slow, &axfr)?;
    let soa = Query::new(zones[0].0.clone(), TYPE_SOA).bytes(4);
    let mut stream = client::connect(primary.address)?;
    let framed = |query: &[u8]| [&(query.len() as u16).to_be_bytes()[..], query].concat();
    stream.write_all(&[framed(&soa), framed(&axfr), framed(&soa)].concat())?;
    let mut ids = Vec::new();
    let mut records = 0;
    while ids.last() != Some(&4) || ids.len() < 2 {
        let bytes = client::read_framed(&mut stream)?.context("cut off")?;
        let message = Message::decode(&bytes)?;
        ensure!(message.rcode() == 0);
        records += message.answer.len();
        if ids.last() != Some(&message.id) {
            ids.push(message.id);
        }
    }
    ensure!(ids == [4, 3, 4] && records == 2 + 4 + 4000, "{ids:?} {records}");
    let outgoing = tools::poll("the slow one is cut off", Duration::from_secs(20), || {
        let status: serde_json::Value = serde_json::from_str(&primary.ctl(&["status", "--json"])?)?;
        Ok((status["outgoing"]["cut-off"] == 1).then(|| status["outgoing"].clone()))
    })?;
    ensure!(outgoing["running"] == 0 && outgoing["completed"] == 1, "{outgoing}");
    let mut rest = Vec::new();
    ensure!(
        slow.read_to_end(&mut rest).is_err(),
        "the slow one sees a reset, not an end: {} octets",
        rest.len()
    );
    Ok(())
}

/// What is published while a transfer goes on is not in it.
#[test]
fn a_transfer_keeps_its_version() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let zone_text = |serial: u32| -> Result<String> {
        let mut text = SMALL.replace("host 5", &format!("host {serial}"));
        let long = format!("\"{}{serial}\" ", "x".repeat(240)).repeat(20);
        for i in 0..4000 {
            writeln!(text, "t{i} TXT {long}")?;
        }
        Ok(text)
    };
    let zones = [small(folder.path(), &zone_text(5)?)?];
    let primary = Primary::start(&configuration(&zones, "allow = [\"127.0.0.1\"]"), folder.path())?;
    let mut stream = client::connect(primary.address)?;
    client::write_framed(&mut stream, &Query::new(zones[0].0.clone(), TYPE_AXFR).bytes(3))?;
    let first = Message::decode(&client::read_framed(&mut stream)?.context("cut off")?)?;
    std::fs::write(&zones[0].1, zone_text(6)?)?;
    primary.ctl(&["reload"])?;
    let mut records = first.answer;
    while records.iter().filter(|record| record.rtype == TYPE_SOA).count() < 2 {
        let message = Message::decode(&client::read_framed(&mut stream)?.context("cut off")?)?;
        records.extend(message.answer);
    }
    ensure!(records.len() == 4000 + 4);
    ensure!(records.last().and_then(serial_of) == Some(5));
    let other = records.iter().find(|record| record.rtype == 16 && record.rdata[241] != b'5');
    ensure!(other.is_none(), "a record of another version");
    ensure!(transfer(primary.address, &zones[0].0)?.first().and_then(serial_of) == Some(6));
    Ok(())
}
