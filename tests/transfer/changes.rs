//! A node as secondary of primaries that send what has changed (RFC 1995): after each of many random steps it has what they
//! have.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use starling_tests::name::Name;
use starling_tests::server::{Kind, free_port, own_address};
use starling_tests::zonedata::transfer;
use starling_tests::{certificates, tools};

use crate::copies::{is_asked, same_answers_to_all, same_digest, same_records};
use crate::fake::wire;
use crate::peers::{Change, Peer, Wishes, Xot};
use crate::secondaries::serial_of;
use crate::site::{Node, SEEN_WITHIN, Seen, Site, ZONE};

const TYPE_A: u16 = 1;
const TYPE_NS: u16 = 2;
const TYPE_CNAME: u16 = 5;
const TYPE_MX: u16 = 15;
const TYPE_TXT: u16 = 16;
const TYPE_AAAA: u16 = 28;
const TYPE_RRSIG: u16 = 46;
const TYPE_NSEC3: u16 = 50;

/// Intervals that leave it to commands and NOTIFY when the node asks.
pub(crate) const ASKED: &str = "refresh-min-s = 3600\nretry-min-s = 3600";
const SEED: u64 = 0x1995;
/// A little before where serials wrap.
pub(crate) const FIRST_SERIAL: u32 = u32::MAX - 20;

/// Steps, usually and in a long run. Over TLS each takes several connections.
const STEPS: (u32, u32) = (300, 2000);
const STEPS_OVER_TLS: (u32, u32) = (60, 2000);

/// A zone that changes at random.
pub(crate) struct World {
    rng: Rng,
    /// By owner and type.
    sets: BTreeMap<(String, u16), Set>,
}

/// A TTL, and the data of each record.
type Set = (u32, BTreeSet<Vec<u8>>);

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut world = Self { rng: Rng::with_seed(seed), sets: BTreeMap::new() };
        (0..100).for_each(|_| drop(world.change()));
        world
    }

    /// The master file.
    pub(crate) fn text(&self, serial: u32) -> String {
        let mut text = format!(
            "$ORIGIN {ZONE}\n@ 300 SOA ns1 host {serial} 3600 3600 604800 60\n@ 300 NS ns1\nns1 300 A 192.0.2.1\n"
        );
        for ((owner, rtype), (ttl, records)) in &self.sets {
            for rdata in records {
                writeln!(text, "{owner} {ttl} {}", presented(*rtype, rdata)).expect("a String takes all");
            }
        }
        text
    }

    /// Changes a record or a set of them, and says how.
    fn change(&mut self) -> Vec<Change> {
        let (owner, rtype) = self.set();
        let rdata = self.rdata(rtype);
        let ttl = [60, 300, 86_400][self.rng.usize(..3)];
        let key = (owner.clone(), rtype);
        let (old_ttl, mut records) = self.sets.remove(&key).unwrap_or((ttl, BTreeSet::new()));
        let change = |rdata: &Vec<u8>, added| Change {
            owner: wire(&full(&owner)),
            rtype,
            rdata: rdata.clone(),
            added,
        };
        let mut changes = Vec::new();
        let mut kept_ttl = old_ttl;
        if rtype == TYPE_CNAME || self.rng.u8(..10) == 0 {
            // All of the set, with another TTL.
            changes.extend(records.iter().map(|rdata| change(rdata, None)));
            if rtype == TYPE_CNAME {
                records.clear();
            }
            records.insert(rdata);
            changes.extend(records.iter().map(|rdata| change(rdata, Some(ttl))));
            kept_ttl = ttl;
        } else if records.remove(&rdata) {
            changes.push(change(&rdata, None));
        } else {
            changes.push(change(&rdata, Some(old_ttl)));
            records.insert(rdata);
        }
        if !records.is_empty() {
            self.sets.insert(key, (kept_ttl, records));
        }
        changes
    }

    /// Several changes at once.
    pub(crate) fn step(&mut self) -> Vec<Change> {
        let count = self.rng.usize(1..8);
        (0..count).flat_map(|_| self.change()).collect()
    }

    /// Whose records, and of which type.
    fn set(&mut self) -> (String, u16) {
        let number = self.rng.u32(..25);
        let host = [TYPE_A, TYPE_AAAA, TYPE_MX, TYPE_TXT][self.rng.usize(..4)];
        match self.rng.u8(..10) {
            0 => (format!("*.w{}", number % 3), TYPE_TXT),
            1 => (format!("d{}", number % 5), TYPE_NS),
            2 => (format!("c{}", number % 5), TYPE_CNAME),
            3 => (format!("deep.below.h{number}"), TYPE_A),
            _ => (format!("h{number}"), host),
        }
    }

    fn rdata(&mut self, rtype: u16) -> Vec<u8> {
        let number = self.rng.u8(..4);
        match rtype {
            TYPE_A => vec![192, 0, 2, number],
            TYPE_AAAA => [&[0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[number]].concat(),
            TYPE_MX => [&[0, number][..], &wire(&format!("h{number}.{ZONE}"))].concat(),
            TYPE_TXT => {
                let text = ["x".repeat(200), "Case".to_owned(), "case".to_owned(), String::new()];
                let text = &text[usize::from(number)];
                [&[text.len() as u8], text.as_bytes()].concat()
            }
            // Not below the delegation, so that there is no glue to go with it.
            TYPE_NS => wire(&format!("NS{number}.Example.ORG.")),
            _ => wire(&format!("h{number}.{ZONE}")),
        }
    }
}

/// A record as a master file has it, from its type on.
fn presented(rtype: u16, rdata: &[u8]) -> String {
    let name = |octets: &[u8]| Name::from_wire(octets.to_vec()).to_string();
    match rtype {
        TYPE_A => format!("A {}.{}.{}.{}", rdata[0], rdata[1], rdata[2], rdata[3]),
        TYPE_AAAA => format!("AAAA 2001:db8::{:x}", rdata[15]),
        TYPE_MX => format!("MX {} {}", rdata[1], name(&rdata[2..])),
        TYPE_TXT => format!("TXT \"{}\"", String::from_utf8_lossy(&rdata[1..])),
        TYPE_NS => format!("NS {}", name(rdata)),
        _ => format!("CNAME {}", name(rdata)),
    }
}

fn full(owner: &str) -> String {
    format!("{owner}.{ZONE}")
}

/// Has the node ask until it has what the primary has: records and digest, and at some steps all answers.
fn same(node: &Node, peer: &Peer, is_signed: bool, step: u32, folder: &Path) -> Result<()> {
    let apex = Name::parse(ZONE)?;
    tools::poll(&format!("the node has what {} has", peer.kind), SEEN_WITHIN, || {
        let asked = node.ctl(&["refresh", ZONE])?;
        let Ok(theirs) = transfer(peer.address, &apex) else { return Ok(None) };
        let Ok(ours) = transfer(node.address, &apex) else { return Ok(None) };
        let (Some(their_serial), Some(our_serial)) = (serial_of(&theirs[0]), serial_of(&ours[0])) else {
            bail!("a zone begins with its SOA record");
        };
        if their_serial != our_serial {
            // It may have changed meanwhile, by itself too where it signs.
            return Ok(None);
        }
        let who = format!("{}, serial {our_serial}, {asked:?}", peer.kind);
        same_records(&who, &theirs, &ours)?;
        let digests = node.digests()?;
        if !same_digest(&who, &apex, (our_serial, &theirs), &digests, folder)? {
            return Ok(None);
        }
        if is_asked(step) {
            let answers = same_answers_to_all(&who, &apex, &theirs, node.address, peer.address);
            // They are those of this version where it still is the one that is served.
            if is_signed && peer.serial()? != Some(our_serial) {
                return Ok(None);
            }
            answers?;
        }
        Ok(Some(()))
    })
    .with_context(|| node.process.log_tail())
}

/// The steps, each of which `make` makes at the primary.
fn follows(
    kind: Kind,
    dnssec: bool,
    make: impl Fn(&Peer, &World, &[Change], u32) -> Result<()>,
) -> Result<()> {
    let site = Site::new()?;
    let world = World::new(SEED);
    let wishes = Wishes { secondary: site.listen, key: None, dnssec, tls: None };
    let peer = Peer::start(kind, &world.text(FIRST_SERIAL), wishes, &site.path(""))?;
    let node = site.start(&[peer.address], ASKED)?;
    follows_steps(&site, (&peer, dnssec), &node, (world, STEPS), make)
}

fn follows_steps(
    site: &Site,
    (peer, dnssec): (&Peer, bool),
    node: &Node,
    (mut world, steps): (World, (u32, u32)),
    make: impl Fn(&Peer, &World, &[Change], u32) -> Result<()>,
) -> Result<()> {
    let (kind, steps) = (peer.kind, if tools::long_run() { steps.1 } else { steps.0 });
    tools::poll("the node has the zone", SEEN_WITHIN, || Ok((node.seen()?.serial.is_some()).then_some(())))?;
    let start = Instant::now();
    let mut serial = FIRST_SERIAL;
    for step in 0..steps {
        let changes = world.step();
        serial = serial.wrapping_add(1 + step % 3);
        make(peer, &world, &changes, serial).with_context(|| format!("step {step}"))?;
        same(node, peer, dnssec, step, &site.path(""))
            .with_context(|| format!("seed {SEED}, step {step}: {changes:?}\n{}", peer.process.log_tail()))?;
    }
    let took = start.elapsed();
    let log = node.process.log();
    let count = |text: &str| log.matches(text).count();
    let (changed, whole) = (count("what has changed was transferred"), count("asking for the whole zone"));
    let transfers = count("transferred from");
    tools::announce(&format!(
        "{kind}: {steps} steps in {took:?}, {transfers} transfers, {changed} of them of what has changed"
    ));
    let records = transfer(node.address, &Name::parse(ZONE)?)?;
    let has = |rtype| records.iter().any(|record| record.rtype == rtype);
    ensure!(has(TYPE_RRSIG) == dnssec && has(TYPE_NSEC3) == (dnssec && kind == Kind::Knot), "signed, or not");
    ensure!(whole == 0, "{whole} times differences did not do\n{}", node.process.log_tail());
    ensure!(changed * 10 >= steps as usize * 9, "{changed} times differences were sent");
    same_as_a_whole(peer, node)
}

/// A node that begins with the whole zone has what the one has that followed all changes.
fn same_as_a_whole(peer: &Peer, node: &Node) -> Result<()> {
    let site = Site::new()?;
    let fresh = site.start(&[peer.address], &format!("{ASKED}\nixfr = false"))?;
    tools::poll("a node has the whole zone", SEEN_WITHIN, || {
        let (ours, theirs) = (node.zone()?["served"].clone(), fresh.zone()?["served"].clone());
        if ours["serial"] != theirs["serial"] {
            // A primary that signs may have done so meanwhile.
            node.ctl(&["refresh", ZONE])?;
            fresh.ctl(&["refresh", ZONE])?;
            return Ok(None);
        }
        ensure!(ours["content"] == theirs["content"], "{ours}, and had as a whole {theirs}");
        Ok(Some(()))
    })
}

fn by_file(peer: &Peer, world: &World, _: &[Change], serial: u32) -> Result<()> {
    peer.load(&world.text(serial), serial)
}

fn by_update(peer: &Peer, _: &World, changes: &[Change], _: u32) -> Result<()> {
    peer.update(changes)
}

#[test]
fn changes_come_from_knot() -> Result<()> {
    follows(Kind::Knot, false, by_update)
}

#[test]
fn changes_come_from_bind() -> Result<()> {
    follows(Kind::Bind, false, by_update)
}

#[test]
fn changes_come_from_nsd() -> Result<()> {
    follows(Kind::Nsd, false, by_file)
}

/// NSD 4.6 agrees to no protocol in TLS.
#[test]
fn changes_come_from_nsd_over_tls() -> Result<()> {
    follows_over_tls(Kind::Nsd, "alpn = false", by_file)
}

#[test]
fn changes_come_from_bind_over_tls() -> Result<()> {
    follows_over_tls(Kind::Bind, "", by_update)
}

fn follows_over_tls(
    kind: Kind,
    line: &str,
    make: impl Fn(&Peer, &World, &[Change], u32) -> Result<()>,
) -> Result<()> {
    let site = Site::new()?;
    let folder = site.path("");
    certificates::authority(&folder, "authority")?;
    certificates::certificate(&folder, "own", "authority", "DNS:primary.example", 30)?;
    // BIND listens only on addresses that an interface lists, and loopback lists just the one.
    let ip = if kind == Kind::Bind { Ipv4Addr::LOCALHOST } else { own_address() };
    let at = SocketAddr::new(ip.into(), free_port(ip)?);
    let world = World::new(SEED);
    // The tests themselves ask without.
    let tls = Some(Xot { at, own: "own", alone: false });
    let wishes = Wishes { secondary: site.listen, key: None, dnssec: false, tls };
    let peer = Peer::start(kind, &world.text(FIRST_SERIAL), wishes, &folder)?;
    let section = format!(
        "[[tls]]\nname = \"xot\"\nserver-name = \"primary.example\"\nca-file = \"authority.pem\"\n{line}\n"
    );
    let node = site.start_with(&section, &format!("{at} tls xot"), ASKED)?;
    follows_steps(&site, (&peer, false), &node, (world, STEPS_OVER_TLS), make)
}

#[test]
fn changes_come_from_knot_that_signs() -> Result<()> {
    follows(Kind::Knot, true, by_update)
}

#[test]
fn changes_come_from_bind_that_signs() -> Result<()> {
    follows(Kind::Bind, true, by_update)
}

/// Ten changes in a zone of a million names: how long it takes until they are served.
#[test]
fn a_few_changes_in_a_million_names() -> Result<()> {
    if !tools::long_run() {
        tools::announce("SKIPPED: a million names (set STARLING_LONG=1)");
        return Ok(());
    }
    let site = Site::new()?;
    let mut text =
        format!("$ORIGIN {ZONE}\n$TTL 300\n@ SOA ns1 host 1 3600 3600 604800 60\n NS ns1\nns1 A 192.0.2.1\n");
    for host in 0..1_000_000 {
        writeln!(text, "h{host} A 192.0.{}.{}", host >> 8 & 255, host & 255)?;
    }
    let wishes = Wishes { secondary: site.listen, key: None, dnssec: false, tls: None };
    let peer = Peer::start(Kind::Bind, &text, wishes, site.path("").as_path())?;
    let node = site.start(&[peer.address], ASKED)?;
    node.wait_for(Seen::served(1))?;
    let mut times = Vec::new();
    for serial in 2..7 {
        let changes = (0..5).flat_map(|index| {
            let change = |number: u32, added| {
                let owner = wire(&format!("h{number}.{ZONE}"));
                let octets = number.to_be_bytes();
                Change { owner, rtype: TYPE_A, rdata: vec![192, 0, octets[2], octets[3]], added }
            };
            [change(index * 1000 + serial, None), change(2_000_000 + index * 1000 + serial, Some(300))]
        });
        let start = Instant::now();
        peer.update(&changes.collect::<Vec<_>>())?;
        // Not by NOTIFY, which waits when the last round was not long ago.
        let output = node.ctl(&["refresh", ZONE])?;
        ensure!(output.status.success() && node.seen()? == Seen::served(serial), "{output:?}");
        times.push(start.elapsed());
    }
    tools::announce(&format!("ten changes in a million names, from the update to the answer: {times:?}"));
    let status: serde_json::Value = serde_json::from_slice(&node.ctl(&["status", "--json"])?.stdout)?;
    let micros = status["copies"]["latencies"]["micros"].as_u64().context("a number")?;
    tools::announce(&format!("from the NOTIFY to the answer: {} µs on average", micros / times.len() as u64));
    ensure!(node.process.log().matches("what has changed was transferred").count() == 5);
    ensure!(node.zone()?["served"]["records"] == 1_000_003);
    Ok(())
}
