//! A version has one content, whatever way it came: as what has changed, as a whole, or again after a restart.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use starling_tests::name::Name;
use starling_tests::zonedata::transfer;

use crate::changes::ASKED;
use crate::copies::same_records;
use crate::fake::{Answer, Fake, Script, Signing, SoaReply, TYPE_A, a, axfr, ixfr, ns, record, soa, wire};
use crate::site::{Node, Seen, Site, ZONE, wait};

const TYPE_MX: u16 = 15;
const TYPE_RRSIG: u16 = 46;
const HOST: &str = "h.small.example.";

/// Records of a version, beside those that all have.
type Version = Vec<Vec<u8>>;

fn with_ttl(mut record: Vec<u8>, owner: &str, ttl: u32) -> Vec<u8> {
    let at = wire(owner).len() + 4;
    record[at..at + 4].copy_from_slice(&ttl.to_be_bytes());
    record
}

fn address(ttl: u32, last: u8) -> Vec<u8> {
    with_ttl(record(HOST, TYPE_A, &[192, 0, 2, last]), HOST, ttl)
}

fn mail(host: &str) -> Vec<u8> {
    record(HOST, TYPE_MX, &[&[0, 1][..], &wire(host)].concat())
}

/// A signature over these addresses, as far as anybody here looks at it.
fn signature(ttl: u32, original_ttl: u32, number: u8) -> Vec<u8> {
    let mut rdata = vec![0, TYPE_A as u8, 13, 3];
    rdata.extend([original_ttl, 1_900_000_000, 1_700_000_000].map(u32::to_be_bytes).as_flattened());
    rdata.extend([0, 7]);
    rdata.extend(wire(ZONE));
    rdata.extend([number; 64]);
    with_ttl(record(HOST, TYPE_RRSIG, &rdata), HOST, ttl)
}

/// A primary with the last of these versions, as a whole and as what has changed since the one before. `sent` is what it makes of
/// records that it adds to a version.
fn primary_with(versions: &[Version], sent: fn(&[u8]) -> Vec<u8>) -> Script {
    let serial = versions.len() as u32;
    let (new, before) = (&versions[versions.len() - 1], versions.len().checked_sub(2));
    let whole = [&[soa(serial), ns(), a("ns1.small.example.")][..], &new[..], &[soa(serial)]].concat();
    let changes = before.map(|before| {
        let old = &versions[before];
        let removed = old.iter().filter(|record| !new.contains(record)).cloned();
        let added = new.iter().filter(|record| !old.contains(record)).map(|record| sent(record));
        let mut answers = vec![soa(serial), soa(serial - 1)];
        answers.extend(removed);
        answers.push(soa(serial));
        answers.extend(added);
        answers.push(soa(serial));
        Answer::Messages(vec![ixfr(&answers)])
    });
    let zone = Answer::Messages(vec![axfr(&whole)]);
    Script { serial, soa: SoaReply::Good, zone, changes, signing: Signing::Good }
}

fn served(node: &Node) -> Result<Value> {
    let served = node.zone()?["served"].clone();
    Ok(serde_json::json!([served["serial"], served["records"], served["content"]]))
}

/// One node follows the versions, others begin with each; so many steps are of what has changed alone.
fn same_by_every_road(versions: &[Version], sent: fn(&[u8]) -> Vec<u8>, incremental: usize) -> Result<()> {
    let apex = Name::parse(ZONE)?;
    let (fake, site) = (Fake::start(primary_with(&versions[..1], sent))?, Site::new()?);
    let node = site.start(&[fake.address], ASKED)?;
    node.wait_for(Seen::served(1))?;
    for count in 2..=versions.len() {
        let serial = count as u32;
        fake.play(primary_with(&versions[..count], sent));
        let output = node.ctl(&["refresh", ZONE])?;
        ensure!(node.seen()? == Seen::served(serial), "{output:?}\n{}", node.process.log_tail());
        let fresh_site = Site::new()?;
        let fresh = fresh_site.start(&[fake.address], ASKED)?;
        fresh.wait_for(Seen::served(serial))?;
        let (ours, theirs) = (served(&node)?, served(&fresh)?);
        ensure!(ours == theirs, "serial {serial}: {ours}, and had as a whole {theirs}");
        let records = transfer(fresh.address, &apex)?;
        same_records(&format!("serial {serial}"), &records, &transfer(node.address, &apex)?)?;
        // What a node sends on has the same content where it arrives.
        let behind_site = Site::new()?;
        let behind = behind_site.start(&[node.address], ASKED)?;
        behind.wait_for(Seen::served(serial))?;
        ensure!(served(&behind)? == ours, "serial {serial}: {ours}, and behind it {}", served(&behind)?);
    }
    let changed = node.process.log().matches("what has changed was transferred").count();
    ensure!(changed == incremental, "{changed} of what has changed\n{}", node.process.log_tail());
    let before = served(&node)?;
    wait(|| node.zone(), |zone| zone["served"]["durable"] == true)?;
    drop(node);
    drop(fake);
    let node = site.restart()?;
    ensure!(served(&node)? == before, "{before}, and after the restart {}", served(&node)?);
    Ok(())
}

fn as_it_is(record: &[u8]) -> Vec<u8> {
    record.to_vec()
}

/// Which record of a set had which TTL is not known where the set is served with the lowest (RFC 2181 §5.2).
#[test]
fn sets_of_several_ttls() -> Result<()> {
    let versions = [
        vec![address(60, 1), address(90, 2)],
        vec![address(90, 2)],
        vec![address(90, 2), address(30, 3)],
        vec![address(90, 2)],
        // All of it is given anew, so that nothing is left open.
        vec![address(90, 2), address(90, 4)],
        vec![address(60, 2), address(60, 4)],
    ];
    same_by_every_road(&versions, as_it_is, 2).context("several TTLs")
}

#[test]
fn records_in_several_spellings() -> Result<()> {
    let versions = [
        vec![mail("mail.test."), mail("MAIL.test.")],
        vec![mail("MAIL.test.")],
        vec![mail("MAIL.test."), address(300, 1)],
    ];
    same_by_every_road(&versions, as_it_is, 1)
}

/// The TTL of a signature is that of what it covers (RFC 4034 §3), whatever a primary sends with what has changed.
#[test]
fn signatures_of_any_ttl() -> Result<()> {
    let versions = [
        vec![address(60, 1), signature(60, 60, 1)],
        vec![address(60, 2), signature(60, 60, 2)],
        vec![address(90, 2), signature(90, 90, 3)],
        vec![signature(90, 90, 3)],
    ];
    let sent = |record: &[u8]| {
        let is_signature = record[wire(HOST).len() + 1] == TYPE_RRSIG as u8;
        if is_signature { with_ttl(record.to_vec(), HOST, 5) } else { record.to_vec() }
    };
    same_by_every_road(&versions, sent, 3)
}
