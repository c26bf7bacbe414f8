//! IXFR out: Knot, NSD and BIND follow a zone that changes at random, and have at each step what Starling has.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use starling_tests::message::{Message, Record};
use starling_tests::name::Name;
use starling_tests::query::Query;
use starling_tests::server::{Kind, own_address};
use starling_tests::signing::{self, Algorithm, Denial};
use starling_tests::tools;
use starling_tests::zonedata::transfer;
use starling_tests::{certificates, client};

use crate::changing::{APEX, Changing};
use crate::copies::{Canonical, canonical, is_asked, same_answers_to_all, same_digest, same_records};
use crate::secondaries::{FOLLOWS_WITHIN, Key, Origin, Primary, Secondary, Trust, serial_of};

const TYPE_SOA: u16 = 6;
const TYPE_IXFR: u16 = 251;

/// Steps for each secondary, usually and in a long run.
const STEPS: (u32, u32) = (100, 1000);
/// The same of a signed zone.
const SIGNED_STEPS: (u32, u32) = (30, 300);
/// The key of those that have one.
const KEY: Key =
    Key { name: "k.", algorithm: "hmac-sha256", secret: "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=" };
/// The serial passes 2^32 early on.
const FIRST_SERIAL: u32 = u32::MAX - 20;
/// At these steps everything changes: the whole zone is the shorter answer.
const TURN_OVER_EVERY: u32 = 40;

/// A primary with the zone; `lines` are of the zone.
pub(crate) fn start(zone: &Changing, folder: &Path, sections: &str, lines: &str) -> Result<Primary> {
    zone.write(&folder.join("changing.zone"))?;
    start_as_it_is(folder, sections, lines)
}

/// A primary with what the master file of the zone has.
pub(crate) fn start_as_it_is(folder: &Path, sections: &str, lines: &str) -> Result<Primary> {
    let file = folder.join("changing.zone");
    let text = format!(
        "state-dir = \"state\"\n{sections}\n[transfer]\nnotify-source = [\"127.0.0.1\"]\n[[zone]]\nname = \"{APEX}\"\nfile = \"{}\"\n{lines}\n",
        file.display()
    );
    Primary::start(&text, folder)
}

/// Has the primary serve the zone as it is now.
pub(crate) fn publish(zone: &Changing, primary: &Primary, folder: &Path) -> Result<()> {
    zone.write(&folder.join("changing.zone"))?;
    primary.ctl(&["reload"]).map(drop).with_context(|| primary.process.log_tail())
}

/// A number of `ctl status`.
pub(crate) fn outgoing(primary: &Primary, what: &str) -> Result<u64> {
    let status: serde_json::Value = serde_json::from_str(&primary.ctl(&["status", "--json"])?)?;
    status["outgoing"][what].as_u64().with_context(|| format!("no {what}: {status}"))
}

/// Waits until the journal leads to this serial.
pub(crate) fn journal_leads_to(primary: &Primary, serial: u32) -> Result<()> {
    tools::poll(&format!("a journal up to {serial}"), FOLLOWS_WITHIN, || {
        let zones: serde_json::Value = serde_json::from_str(&primary.ctl(&["zones", "--json"])?)?;
        Ok((zones[0]["journal"]["to-serial"] == serial).then_some(()))
    })
}

#[test]
fn knot_has_every_version() -> Result<()> {
    has_every_version(Kind::Knot, None, None)
}

#[test]
fn nsd_has_every_version() -> Result<()> {
    has_every_version(Kind::Nsd, None, None)
}

#[test]
fn bind_has_every_version_with_a_key() -> Result<()> {
    has_every_version(Kind::Bind, Some(KEY), None)
}

/// Each shows a certificate, too.
const TRUST: Trust<'_> = Trust { authority: "authority", own: Some("secondary") };

#[test]
fn nsd_has_every_version_over_tls() -> Result<()> {
    has_every_version(Kind::Nsd, None, Some(TRUST))
}

#[test]
fn bind_has_every_version_over_tls_with_a_key() -> Result<()> {
    has_every_version(Kind::Bind, Some(KEY), Some(TRUST))
}

fn has_every_version(kind: Kind, key: Option<Key>, tls: Option<Trust<'static>>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let apex = Name::parse(APEX)?;
    let mut zone = Changing::new(7, FIRST_SERIAL);
    let address = Secondary::address_for(kind)?;
    let (mut sections, secondaries, notify) = match key {
        None => (String::new(), "\"127.0.0.0/8\"".to_owned(), format!("\"{address}\"")),
        Some(Key { name, algorithm, secret }) => (
            format!("[[key]]\nname = \"{name}\"\nalgorithm = \"{algorithm}\"\nsecret = \"{secret}\""),
            // The second is for the test itself, which compares.
            format!("\"127.0.0.0/8 key {name}\", \"127.0.0.0/8\""),
            format!("\"{address} key {name}\""),
        ),
    };
    let lines = format!("secondaries = [{secondaries}]\nnotify = [{notify}]");
    if let Some(Trust { authority, own }) = tls {
        certificates::authority(folder.path(), authority)?;
        certificates::certificate(folder.path(), "own", authority, "DNS:primary.example", 30)?;
        if let Some(own) = own {
            certificates::certificate(folder.path(), own, authority, "DNS:secondary.example", 30)?;
        }
        sections = format!("{}client-ca-file = \"{authority}.pem\"\n{sections}", tls_section());
    }
    let primary = start(&zone, folder.path(), &sections, &lines)?;
    let asked_at = tls.map_or(Ok(primary.address), |_| primary.tls.context("no listener for TLS"))?;
    let origin = Origin { address: asked_at, key, tls };
    let mut secondary = Secondary::start(kind, address, std::slice::from_ref(&apex), origin, folder.path())?;
    secondary.follows(&apex, zone.serial)?;
    let steps = if tools::long_run() { STEPS.1 } else { STEPS.0 };
    for step in 1..=steps {
        if step % TURN_OVER_EVERY == 0 {
            zone.turn_over()
        } else {
            zone.step()
        }
        publish(&zone, &primary, folder.path())?;
        secondary.follows(&apex, zone.serial).with_context(|| format!("step {step}"))?;
        has_version(&primary, &secondary, &apex, step, folder.path())?;
    }
    let incremental = outgoing(&primary, "incremental")?;
    tools::announce(&format!("{kind}: {incremental} of {steps} steps were incremental"));
    ensure!(incremental >= u64::from(steps) * 8 / 10, "{kind}: {incremental} of {steps} steps");
    ensure!(outgoing(&primary, "cut-off")? == 0, "{}", primary.process.log_tail());
    if tls.is_some() {
        let status: serde_json::Value = serde_json::from_str(&primary.ctl(&["status", "--json"])?)?;
        let tls = &status["tls"];
        ensure!(tls["handshakes"].as_u64() > Some(0), "{tls}");
        // NSD 4.6 does not show its certificate when it asks for the first time.
        let failed = if kind == Kind::Nsd { 1 } else { 0 };
        ensure!(tls["handshakes-failed"].as_u64() <= Some(failed), "{tls}");
    }
    Ok(())
}

#[test]
fn knot_has_every_signed_version() -> Result<()> {
    has_every_signed_version(Kind::Knot, Denial::Nsec3Salted)
}

#[test]
fn nsd_has_every_signed_version() -> Result<()> {
    has_every_signed_version(Kind::Nsd, Denial::Nsec)
}

#[test]
fn bind_has_every_signed_version() -> Result<()> {
    has_every_signed_version(Kind::Bind, Denial::Nsec3OptOut)
}

fn has_every_signed_version(kind: Kind, denial: Denial) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let apex = Name::parse(APEX)?;
    let mut zone = Changing::new(8, FIRST_SERIAL);
    // The signatures of the same records are always the same.
    signing::make_keys(&apex, Algorithm::Ed25519, folder.path())?;
    let plain = folder.path().join("plain.zone");
    let write = |zone: &Changing| -> Result<()> {
        zone.write(&plain)?;
        let signed = signing::sign_with_keys(&[(apex.clone(), plain.clone())], denial, folder.path())?;
        Ok(std::fs::rename(&signed[0].1, folder.path().join("changing.zone"))?)
    };
    write(&zone)?;
    let address = Secondary::address_for(kind)?;
    let lines = format!("secondaries = [\"127.0.0.0/8\"]\nnotify = [\"{address}\"]");
    let primary = start_as_it_is(folder.path(), "", &lines)?;
    let origin = Origin { address: primary.address, key: None, tls: None };
    let mut secondary = Secondary::start(kind, address, std::slice::from_ref(&apex), origin, folder.path())?;
    secondary.follows(&apex, zone.serial)?;
    let steps = if tools::long_run() { SIGNED_STEPS.1 } else { SIGNED_STEPS.0 };
    for step in 1..=steps {
        zone.step();
        write(&zone)?;
        primary.ctl(&["reload"]).with_context(|| primary.process.log_tail())?;
        secondary.follows(&apex, zone.serial).with_context(|| format!("step {step}"))?;
        has_version(&primary, &secondary, &apex, step, folder.path())?;
    }
    let incremental = outgoing(&primary, "incremental")?;
    tools::announce(&format!("{kind}, {denial}: {incremental} of {steps} steps were incremental"));
    ensure!(incremental >= u64::from(steps) * 8 / 10, "{kind}: {incremental} of {steps} steps");
    ensure!(outgoing(&primary, "cut-off")? == 0, "{}", primary.process.log_tail());
    Ok(())
}

/// Waits until the secondary has what the primary has: records and digest, and at some steps all answers.
fn has_version(
    primary: &Primary,
    secondary: &Secondary,
    apex: &Name,
    step: u32,
    folder: &Path,
) -> Result<()> {
    let what = format!("{} has step {step}", secondary.kind);
    let ours = transfer(primary.address, apex)?;
    let serial = serial_of(&ours[0]).context("a zone begins with its SOA record")?;
    let mut last = Ok(());
    // NSD's processes come to know of a version one after the other, and one that ends while it answers cuts it off.
    tools::poll(&what, FOLLOWS_WITHIN, || {
        last = transfer(secondary.address, apex).and_then(|theirs| {
            same_records(&what, &ours, &theirs)?;
            if is_asked(step) {
                same_answers_to_all(&what, apex, &theirs, primary.address, secondary.address)?;
            }
            let digests = primary.ctl(&["zones", "--digests", "--json"])?;
            ensure!(same_digest(&what, apex, (serial, &theirs), &digests, folder)?, "{digests}");
            Ok(())
        });
        Ok(last.is_ok().then_some(()))
    })
    .with_context(|| format!("{last:?}\n{}", secondary.process.log_tail()))
}

/// A listener for TLS at a port that the kernel chooses, with the certificate `own`.
pub(crate) fn tls_section() -> String {
    format!(
        "[node.tls]\nlisten = [\"{}:0\"]\ncertificate-file = \"own.pem\"\nkey-file = \"own.key\"\n",
        own_address()
    )
}

/// What is answered to a client that has this serial.
pub(crate) fn ask(primary: SocketAddr, serial: u32) -> Result<Vec<Record>> {
    let mut stream = client::connect(primary)?;
    client::write_framed(&mut stream, &question(serial)?)?;
    let mut records: Vec<Record> = Vec::new();
    loop {
        let bytes = client::read_framed(&mut stream)?.context("cut off")?;
        let message = Message::decode(&bytes)?;
        ensure!(message.rcode() == 0, "rcode {}", message.rcode());
        records.extend(message.answer);
        let ours = serial_of(&records[0]);
        // One SOA record alone, or the last of the same serial: in a sequence the third, in a whole zone the second.
        let same = records.iter().filter(|r| r.rtype == TYPE_SOA && serial_of(r) == ours).count();
        let is_sequence = records.get(1).is_some_and(|record| record.rtype == TYPE_SOA);
        if records.len() == 1 || same == if is_sequence { 3 } else { 2 } {
            return Ok(records);
        }
    }
}

fn question(serial: u32) -> Result<Vec<u8>> {
    let mut query = Query::new(Name::parse(APEX)?, TYPE_IXFR).bytes(3);
    query[9] = 1;
    query.extend(b"\xc0\x0c\0\x06\0\x01\0\0\0\0\0\x16\0\0");
    query.extend([serial, 0, 0, 0, 0].map(u32::to_be_bytes).as_flattened());
    Ok(query)
}

/// Applies a sequence of differences.
pub(crate) fn applied(mut zone: BTreeSet<Canonical>, sequence: &[Record]) -> Result<BTreeSet<Canonical>> {
    let mut comes = true;
    for record in &sequence[1..sequence.len() - 1] {
        comes ^= record.rtype == TYPE_SOA;
        let record = canonical(record);
        ensure!(if comes { zone.insert(record.clone()) } else { zone.remove(&record) }, "{record:?}");
    }
    Ok(zone)
}

#[test]
fn every_client_gets_what_leads_from_its_version() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let apex = Name::parse(APEX)?;
    let mut zone = Changing::new(3, 100);
    let mut primary = start(&zone, folder.path(), "", "secondaries = [\"127.0.0.0/8\"]")?;
    let mut versions = vec![transfer(primary.address, &apex)?];
    for _ in 0..4 {
        zone.step();
        publish(&zone, &primary, folder.path())?;
        journal_leads_to(&primary, zone.serial)?;
        versions.push(transfer(primary.address, &apex)?);
    }
    let check = |primary: &Primary| -> Result<()> {
        let newest = versions.last().context("there are some")?;
        for (index, version) in versions.iter().enumerate() {
            let serial = 100 + index as u32;
            let answer = ask(primary.address, serial)?;
            if serial == zone.serial {
                ensure!(answer.len() == 1 && answer[0] == newest[0], "up to date: {} records", answer.len());
                continue;
            }
            ensure!(
                answer[1].rtype == TYPE_SOA && serial_of(&answer[1]) == Some(serial),
                "{serial}: no sequence"
            );
            let expected: BTreeSet<_> = newest.iter().map(canonical).collect();
            ensure!(applied(version.iter().map(canonical).collect(), &answer)? == expected, "from {serial}");
        }
        // Ahead of us: the SOA record alone. From before the journal: everything.
        ensure!(ask(primary.address, zone.serial + 5)?.len() == 1);
        let mut whole = ask(primary.address, 99)?;
        whole.pop();
        same_records("from 99", newest, &whole)
    };
    check(&primary)?;
    let newest_soa = versions[4][0].clone();
    // Over UDP the SOA record alone, whether newer or not (RFC 1995 §2).
    for serial in [100, zone.serial] {
        let answer = client::udp_raw(primary.address, &question(serial)?, FOLLOWS_WITHIN)?;
        let message = Message::decode(&answer.context("an answer")?.0)?;
        ensure!(
            message.rcode() == 0 && message.answer == [newest_soa.clone()],
            "{} records",
            message.answer.len()
        );
    }
    // A restart goes on from the journal.
    primary.process.signal(rustix::process::Signal::KILL)?;
    primary.process.wait(FOLLOWS_WITHIN)?;
    let primary = start(&zone, folder.path(), "", "secondaries = [\"127.0.0.0/8\"]")?;
    journal_leads_to(&primary, zone.serial)?;
    check(&primary)?;
    // What is longer than the zone is not sent instead of it.
    zone.turn_over();
    publish(&zone, &primary, folder.path())?;
    let newest = transfer(primary.address, &apex)?;
    let mut whole = ask(primary.address, zone.serial - 1)?;
    whole.pop();
    same_records("all is new", &newest, &whole)
}
