//! The gate in front of differences that are well-formed and lead to what nobody wants.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use ring::digest::{SHA384, digest};
use starling_tests::http;
use starling_tests::server::own_address;

use crate::fake::{
    Answer, Fake, Script, TYPE_A, TYPE_AXFR, TYPE_IXFR, TYPE_SOA, a, axfr, good, ixfr, ns, record, soa, wire,
};
use crate::site::{Node, Seen, Site, ZONE, wait};

const TYPE_NS: u16 = 2;
const TYPE_RRSIG: u16 = 46;
const TYPE_DNSKEY: u16 = 48;
const TYPE_ZONEMD: u16 = 63;

/// Seconds since 1970.
const IN_2020: u32 = 1_577_836_800;
const IN_2021: u32 = 1_609_459_200;
const IN_2090: u32 = 3_786_912_000;

/// A zone with one record in each set, by the label of its owner and by its type: the canonical order (RFC 4034 §6).
type Content = BTreeMap<(String, u16), Vec<u8>>;

fn at_apex(rtype: u16) -> (String, u16) {
    (String::new(), rtype)
}

fn host(number: u32) -> (String, u16) {
    (format!("h{number}"), TYPE_A)
}

/// A signature over the NS records that ends then.
fn signature(ends: u32) -> Vec<u8> {
    let mut rdata = [&TYPE_NS.to_be_bytes()[..], &[13, 2]].concat();
    rdata.extend([300, ends, IN_2020].map(u32::to_be_bytes).as_flattened());
    rdata.extend([&[0, 1][..], &wire(ZONE), &[9; 64]].concat());
    record(ZONE, TYPE_RRSIG, &rdata)
}

/// A zone with 200 hosts and some more, whose digest is yet to be added.
fn content(serial: u32) -> Content {
    let mut content: Content =
        (0..200).map(|number| (host(number), a(&format!("h{number}.{ZONE}")))).collect();
    content.insert(("ns1".to_owned(), TYPE_A), a("ns1.small.example."));
    content.insert(at_apex(TYPE_NS), ns());
    content.insert(at_apex(TYPE_SOA), soa(serial));
    content.insert(at_apex(TYPE_RRSIG), signature(IN_2090));
    content.insert(at_apex(TYPE_DNSKEY), record(ZONE, TYPE_DNSKEY, &[&[1, 1, 3, 13][..], &[7; 64]].concat()));
    content
}

/// Adds a ZONEMD record with SHA-384 (RFC 8976 §3.3).
fn add_digest(serial: u32, content: &mut Content) {
    let records: Vec<u8> = content.values().flatten().copied().collect();
    let digest = digest(&SHA384, &records);
    let rdata = [&serial.to_be_bytes()[..], &[1, 1], digest.as_ref()].concat();
    content.insert(at_apex(TYPE_ZONEMD), record(ZONE, TYPE_ZONEMD, &rdata));
}

/// A primary that has what this makes of the zone, and the differences from the first version.
fn primary(serial: u32, change: impl Fn(&mut Content)) -> Script {
    let (mut before, mut after) = (content(1), content(serial));
    add_digest(1, &mut before);
    change(&mut after);
    let other_than = |content: &Content, other: &Content| -> Vec<Vec<u8>> {
        let is_other = |(key, record): &(&(String, u16), &Vec<u8>)| {
            other.get(*key) != Some(*record) && key.1 != TYPE_SOA
        };
        content.iter().filter(is_other).map(|(_, record)| record.clone()).collect()
    };
    let (removed, added) = (other_than(&before, &after), other_than(&after, &before));
    let last = [soa(serial)];
    let changes = [&[soa(serial), soa(1)][..], &removed, &last, &added, &last].concat();
    after.remove(&at_apex(TYPE_SOA));
    let whole = [&last[..], &after.into_values().collect::<Vec<_>>(), &last].concat();
    Script {
        zone: Answer::Messages(vec![axfr(&whole)]),
        changes: Some(Answer::Messages(vec![ixfr(&changes)])),
        ..good(serial)
    }
}

/// One whose digest is right.
fn digested(serial: u32, change: impl Fn(&mut Content)) -> Script {
    primary(serial, |content| {
        change(content);
        add_digest(serial, content);
    })
}

/// The value of a metric of the zone.
fn metric(node: &Node, name: &str, labels: &str) -> Result<String> {
    let line = format!("{name}{{zone=\"{ZONE}\"{labels}}} ");
    let text = http::get(node.management[0], "/metrics")?.body;
    let value = text.lines().find_map(|it| it.strip_prefix(&line)).map(str::to_owned);
    value.with_context(|| format!("no {line}: {text}"))
}

fn is_held(node: &Node) -> Result<String> {
    metric(node, "starling_zone_held", "")
}

/// What a primary has at this serial, and what the log then says.
type Case = (fn(u32) -> Script, &'static str);

fn shrunk(serial: u32) -> Script {
    digested(serial, |content| content.retain(|key, _| key.1 != TYPE_A || key.0.as_str() >= "h2"))
}

fn keyless(serial: u32) -> Script {
    digested(serial, |content| drop(content.remove(&at_apex(TYPE_DNSKEY))))
}

fn without_servers(serial: u32) -> Script {
    digested(serial, |content| drop(content.remove(&at_apex(TYPE_NS))))
}

fn expired(serial: u32) -> Script {
    digested(serial, |content| drop(content.insert(at_apex(TYPE_RRSIG), signature(IN_2021))))
}

fn expired_whole(serial: u32) -> Script {
    Script { changes: None, ..expired(serial) }
}

/// What was lost on the way has been digested.
fn damaged(serial: u32) -> Script {
    primary(serial, |content| {
        add_digest(serial, content);
        content.remove(&host(7));
    })
}

#[test]
fn differences_pass_the_same_gate_as_whole_zones() -> Result<()> {
    let (fake, site) = (Fake::start(digested(1, |_| ()))?, Site::new()?);
    let lines = format!("refresh-min-s = 3600\n[management]\nlisten = [\"{}:0\"]", own_address());
    let node = site.start(&[fake.address], &lines)?;
    node.wait_for(Seen::served(1))?;
    wait(|| is_held(&node), |value| value == "0")?;
    let late = "is held back: signatures: 1 set is without a signature that is valid";
    let held: [Case; 5] = [
        (shrunk, "is held back: shrink: it has "),
        (keyless, "is held back: apex-sets: it has no DNSKEY records at its apex any more"),
        (without_servers, "is held back: apex-sets: it has no NS records at its apex any more"),
        (expired, late),
        (expired_whole, late),
    ];
    let refused: [Case; 1] = [(damaged, "is refused: zonemd: ")];
    for ((lie, why), serial) in held.iter().chain(&refused).zip(2..) {
        fake.play(lie(serial));
        let output = node.ctl(&["refresh", ZONE])?;
        node.wait_for_log(&format!("serial {serial} {why}")).with_context(|| format!("{output:?}"))?;
        ensure!(node.seen()? == Seen::served(1), "{why}");
        // What was held before is of an older version than one that is refused.
        let is_held_now = serial < 2 + held.len() as u32;
        let zone = node.zone()?;
        let held_serial = zone["gate"]["held"]["serial"].as_u64();
        ensure!(held_serial == is_held_now.then_some(u64::from(serial)), "{zone}");
        wait(|| is_held(&node), |value| value == if is_held_now { "1" } else { "0" }).context(*why)?;
    }
    let whole = fake.asked(TYPE_AXFR);
    ensure!(fake.asked(TYPE_IXFR) == held.len() + refused.len(), "{}", fake.asked(TYPE_IXFR));
    for reason in ["shrink", "apex-sets", "signatures", "zonemd"] {
        let value = metric(&node, "starling_zone_refused_total", &format!(",reason=\"{reason}\""))?;
        ensure!(value != "0", "{reason}: {value}");
    }
    fake.play(digested(8, |content| {
        drop(content.insert(("new".to_owned(), TYPE_A), a("new.small.example.")))
    }));
    let output = node.ctl(&["refresh", ZONE])?;
    ensure!(output.status.success() && node.seen()? == Seen::served(8), "{output:?}");
    ensure!(fake.asked(TYPE_AXFR) == whole, "it came by what has changed");
    wait(|| is_held(&node), |value| value == "0")?;
    wait(|| node.zone(), |zone| zone["state"] == "ok" && zone["served"]["records"] == 207)
}
