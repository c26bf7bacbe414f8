//! Random zones and queries. Names are made of very few labels, so that wildcards, empty non-terminals, cuts, DNAMEs
//! and the names that are asked for meet all the time.

use crate::signing::{Denial, OptOut, Record, sign};
use proptest::prelude::*;
use std::fmt;
use wire::{Name, NameBuf, RecordType};
use zone::master::{NoIncludes, Options, Place, Sink};

/// A zone, with its chain of denial already in it.
#[derive(Clone)]
pub(crate) struct RandomZone {
    pub(crate) apex: NameBuf,
    pub(crate) records: Vec<Record>,
    pub(crate) denial: Denial,
}

impl RandomZone {
    fn set_serial(&mut self, serial: u32) {
        for soa in self.records.iter_mut().filter(|record| record.rtype == RecordType::SOA) {
            let at = soa.rdata.len() - 20;
            soa.rdata[at..at + 4].copy_from_slice(&serial.to_be_bytes());
        }
    }

    /// Makes something odd about the record that this number chooses; `by` is added to TTLs.
    fn make_odd(&mut self, oddity: Oddity, number: u16, by: u32) {
        let at = usize::from(number) % self.records.len();
        let Record { owner, rtype, rdata, .. } = self.records[at].clone();
        if rtype == RecordType::SOA {
            return;
        }
        let mut of_owner = self.records.iter_mut().filter(|record| record.owner == owner);
        match oddity {
            Oddity::Ttl => self.records[at].ttl += by,
            Oddity::SetTtl => {
                of_owner.filter(|record| record.rtype == rtype).for_each(|record| record.ttl += by)
            }
            Oddity::SignatureTtl => {
                of_owner
                    .filter(|record| record.rtype == RecordType::RRSIG)
                    .for_each(|record| record.ttl += by);
            }
            Oddity::Spelling if [RecordType::NS, RecordType::MX].contains(&rtype) => {
                let spelled = rdata.to_ascii_uppercase();
                if !of_owner.any(|record| record.rtype == rtype && record.rdata == spelled) {
                    let again = Record { rdata: spelled, ..self.records[at].clone() };
                    self.records.push(again);
                }
            }
            Oddity::Spelling => {}
        }
    }
}

/// What zones should not have, and some have.
#[derive(Clone, Copy, Debug)]
enum Oddity {
    /// A record has another TTL than others of its set.
    Ttl,
    /// A set has another TTL than in other versions, which is not odd, but next to it.
    SetTtl,
    /// Signatures have other TTLs than what they cover.
    SignatureTtl,
    /// A record is there twice, with capitals as well.
    Spelling,
}

impl fmt::Debug for RandomZone {
    /// As a master file, so that a failing zone can be tried elsewhere.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "zone {} {:?}", self.apex, self.denial)?;
        for Record { owner, rtype, ttl, rdata } in self.records.iter().filter(|record| record.rtype.0 != 46) {
            writeln!(f, "{owner} {ttl} IN {rtype} {}", zone::rdata::display(*rtype, rdata))?;
        }
        Ok(())
    }
}

/// A question: a name in mixed case, and a type.
#[derive(Clone)]
pub(crate) struct Question {
    pub(crate) name: NameBuf,
    pub(crate) rtype: RecordType,
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.rtype)
    }
}

/// What a record is before its owner and the zone are known; numbers choose among few values.
#[derive(Clone, Debug)]
enum Kind {
    A(u8),
    Aaaa,
    Txt(u8),
    Mx(Target),
    Ns(Target),
    Ds,
    Cname(Target),
    Dname(Target),
}

#[derive(Clone, Debug)]
enum Target {
    Inside(Vec<&'static str>),
    Outside,
}

/// Labels from left to right.
fn labels(most: usize) -> impl Strategy<Value = Vec<&'static str>> {
    let label = prop_oneof![4 => Just("a"), 3 => Just("b"), 2 => Just("c"), 2 => Just("*")];
    prop::collection::vec(label, 0..=most)
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![6 => labels(3).prop_map(Target::Inside), 1 => Just(Target::Outside)]
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        4 => (0..3u8).prop_map(Kind::A),
        1 => Just(Kind::Aaaa),
        2 => (0..2u8).prop_map(Kind::Txt),
        1 => target().prop_map(Kind::Mx),
        4 => target().prop_map(Kind::Ns),
        2 => Just(Kind::Ds),
        4 => target().prop_map(Kind::Cname),
        2 => target().prop_map(Kind::Dname),
    ]
}

fn apex() -> impl Strategy<Value = &'static str> {
    prop_oneof![5 => Just("z."), 2 => Just("."), 1 => Just("b.z.")]
}

fn denial() -> impl Strategy<Value = Denial> {
    let opt_out = prop_oneof![Just(OptOut::Off), Just(OptOut::On), Just(OptOut::Partly)];
    let nsec3 = (opt_out, prop_oneof![Just(vec![]), Just(vec![0xaa, 0xbb])], 0..3u16)
        .prop_map(|(opt_out, salt, iterations)| Denial::Nsec3 { iterations, salt, opt_out });
    prop_oneof![1 => Just(Denial::Nsec), 2 => nsec3]
}

/// A zone without signatures.
pub(crate) fn unsigned() -> impl Strategy<Value = RandomZone> {
    parts().prop_map(|(apex, parts)| zone(apex, &parts, Denial::Unsigned))
}

/// A zone with a chain of NSEC or NSEC3 records.
pub(crate) fn signed() -> impl Strategy<Value = RandomZone> {
    (parts(), denial()).prop_map(|((apex, parts), denial)| zone(apex, &parts, denial))
}

/// Versions of a zone, each a few records away from the one before, with serials from 1.
pub(crate) fn small_steps(most: usize) -> impl Strategy<Value = Vec<RandomZone>> {
    let step = (any::<[u8; 32]>(), prop::collection::vec((labels(4), kind()), 0..4));
    let parts = (apex(), prop::collection::vec((labels(4), kind()), 0..40));
    let denial = prop_oneof![1 => Just(Denial::Unsigned), 3 => denial()];
    (parts, prop::collection::vec(step, 1..=most), denial).prop_map(|((apex, mut parts), steps, denial)| {
        let mut versions = vec![zone(apex, &parts, denial.clone())];
        for (leave, more) in steps {
            let mut leave = leave.into_iter();
            parts.retain(|_| leave.next().is_none_or(|number| number >= 16));
            parts.extend(more);
            let mut version = zone(apex, &parts, denial.clone());
            version.set_serial(versions.len() as u32 + 1);
            versions.push(version);
        }
        versions
    })
}

/// The same with something odd about some of them.
pub(crate) fn odd_steps(most: usize) -> impl Strategy<Value = Vec<RandomZone>> {
    let oddity =
        prop::sample::select(&[Oddity::Ttl, Oddity::SetTtl, Oddity::SignatureTtl, Oddity::Spelling][..]);
    let oddities = prop::collection::vec((oddity, any::<u16>(), 1..3u32), 0..3);
    (small_steps(most), prop::collection::vec(oddities, most + 1)).prop_map(|(mut versions, oddities)| {
        for (version, oddities) in versions.iter_mut().zip(oddities) {
            oddities.into_iter().for_each(|(oddity, number, by)| version.make_odd(oddity, number, by));
        }
        versions
    })
}

/// Versions of one zone, each with a serial and a chain of denial of its own, that have most records in common.
pub(crate) fn versions(count: usize) -> impl Strategy<Value = (NameBuf, Vec<Vec<Record>>)> {
    let change = prop::collection::vec((labels(4), kind(), any::<bool>()), 0..4);
    let denials = prop_oneof![1 => Just(Denial::Unsigned), 1 => denial()];
    let steps = prop::collection::vec((change, denials, 0..2u32), count);
    (parts(), steps).prop_map(|((apex, mut parts), steps)| {
        let mut name = NameBuf::root();
        let versions = steps.into_iter().zip(7u32..).map(|((changes, denial, ttl), serial)| {
            for (labels, kind, is_first) in changes {
                // What comes first keeps others out, and what is taken away may let them in again.
                if is_first { parts.insert(0, (labels, kind)) } else { drop(parts.pop()) }
            }
            let mut zone = zone(apex, &parts, denial);
            let soa = zone.records.iter_mut().find(|record| record.rtype == RecordType::SOA);
            let numbers = soa.expect("every zone has one");
            let at = numbers.rdata.len() - 20;
            numbers.rdata[at..at + 4].copy_from_slice(&serial.to_be_bytes());
            zone.records.iter_mut().filter(|record| record.rtype == RecordType::A).for_each(|a| a.ttl += ttl);
            name = zone.apex;
            zone.records
        });
        let versions = versions.collect();
        (name, versions)
    })
}

type Parts = Vec<(Vec<&'static str>, Kind)>;

fn parts() -> impl Strategy<Value = (&'static str, Parts)> {
    (apex(), prop::collection::vec((labels(4), kind()), 0..14))
}

/// Questions for names that are likely to be in a zone, or near what is.
pub(crate) fn questions(count: usize) -> impl Strategy<Value = Vec<(Vec<&'static str>, u32, RecordType)>> {
    let rtype =
        prop::sample::select(&[1u16, 1, 2, 5, 6, 15, 16, 28, 39, 43, 47, 255][..]).prop_map(RecordType);
    prop::collection::vec((labels(5), any::<u32>(), rtype), 1..=count)
}

/// A zone from a text with relative names, signed.
pub(crate) fn from_text(apex: &str, text: &str, denial: Denial) -> RandomZone {
    struct Records(Vec<Record>);
    impl Sink for Records {
        fn record(&mut self, owner: Name<'_>, rtype: RecordType, ttl: u32, rdata: &[u8], _place: Place) {
            self.0.push(Record { owner: owner.into(), rtype, ttl, rdata: rdata.to_vec() });
        }
    }
    let apex = NameBuf::from_text(apex.as_bytes(), None).expect("a name of these tests");
    let mut sink = Records(Vec::new());
    let options = Options::new(apex.as_name(), "text");
    let report = zone::master::parse(text.as_bytes(), &options, &mut NoIncludes, &mut sink);
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    sign(apex.as_name(), &mut sink.0, &denial);
    RandomZone { apex, records: sink.0, denial }
}

/// The question for these labels in the zone; the number says which octets are capitals.
pub(crate) fn question(
    zone: &RandomZone,
    (labels, capitals, rtype): &(Vec<&'static str>, u32, RecordType),
) -> Question {
    let mut wire = child(labels, zone.apex.as_name()).as_name().as_wire().to_vec();
    for (at, octet) in wire.iter_mut().enumerate() {
        if octet.is_ascii_alphabetic() && capitals >> (at % 32) & 1 == 1 {
            octet.make_ascii_uppercase();
        }
    }
    Question { name: Name::from_wire(&wire).expect("it was a name").into(), rtype: *rtype }
}

/// The name of these labels, from left to right, below the apex.
fn child(labels: &[&str], apex: Name<'_>) -> NameBuf {
    let deeper =
        |below: NameBuf, label: &&str| NameBuf::child(label.as_bytes(), below.as_name()).expect("short");
    labels.iter().rev().fold(apex.into(), deeper)
}

/// Makes the zone, leaving out what no operator could load: see [`is_loadable`].
fn zone(apex: &str, parts: &Parts, denial: Denial) -> RandomZone {
    let apex = NameBuf::from_text(apex.as_bytes(), None).expect("a name of this file");
    let mut records = vec![
        record(
            &apex,
            RecordType::SOA,
            b"\x01n\x01z\0\x01h\x01z\0\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\x3c".to_vec(),
        ),
        record(&apex, RecordType::NS, child(&["a"], apex.as_name()).as_name().as_wire().to_vec()),
    ];
    let wire = |target: &Target| match target {
        Target::Inside(labels) => child(labels, apex.as_name()).as_name().as_wire().to_vec(),
        Target::Outside => b"\x01o\x03out\0".to_vec(),
    };
    for (labels, kind) in parts {
        let (rtype, rdata) = match kind {
            Kind::A(last) => (RecordType::A, vec![192, 0, 2, *last]),
            Kind::Aaaa => (RecordType::AAAA, vec![0x20; 16]),
            Kind::Txt(number) => (RecordType::TXT, vec![1, b'0' + number]),
            Kind::Mx(target) => (RecordType::MX, [&b"\0\x0a"[..], &wire(target)].concat()),
            Kind::Ns(target) => (RecordType::NS, wire(target)),
            Kind::Ds => (RecordType::DS, [&b"\0\x01\x0d\x02"[..], &[7; 32]].concat()),
            Kind::Cname(target) => (RecordType::CNAME, wire(target)),
            Kind::Dname(target) => (RecordType::DNAME, wire(target)),
        };
        let record = record(&child(labels, apex.as_name()), rtype, rdata);
        if is_loadable(&apex, &records, &record) {
            records.push(record);
        }
    }
    // DS belongs to delegations (RFC 4034 §5); whether one came is known only now.
    let delegates = |owner: &NameBuf| records.iter().any(|r| r.rtype == RecordType::NS && r.owner == *owner);
    let keep: Vec<bool> = records.iter().map(|r| r.rtype != RecordType::DS || delegates(&r.owner)).collect();
    let mut keep = keep.into_iter();
    records.retain(|_| keep.next().unwrap_or(true));
    sign(apex.as_name(), &mut records, &denial);
    RandomZone { apex, records, denial }
}

fn record(owner: &NameBuf, rtype: RecordType, rdata: Vec<u8>) -> Record {
    Record { owner: owner.clone(), rtype, ttl: 300 + u32::from(rtype.0), rdata }
}

/// Whether a zone with `records` may also have this one. A CNAME is alone (RFC 2181 §10.1), a DNAME is the only one
/// and not beside a delegation (RFC 6672 §2.3, §2.4); what NS and DNAME mean at a wildcard is left open by
/// RFC 4592 §4.2 and §4.4, so there is no right answer to compare with.
fn is_loadable(apex: &NameBuf, records: &[Record], new: &Record) -> bool {
    let at_owner = |rtype: RecordType| records.iter().any(|r| r.owner == new.owner && r.rtype == rtype);
    let is_apex = new.owner == *apex;
    if records.contains(new) || at_owner(RecordType::CNAME) {
        return false;
    }
    match new.rtype {
        RecordType::CNAME => !records.iter().any(|record| record.owner == new.owner),
        RecordType::DNAME => {
            !at_owner(RecordType::DNAME)
                && (is_apex || !at_owner(RecordType::NS))
                && !new.owner.as_name().is_wildcard()
        }
        RecordType::NS => (is_apex || !at_owner(RecordType::DNAME)) && !new.owner.as_name().is_wildcard(),
        RecordType::DS => !is_apex && !new.owner.as_name().is_wildcard(),
        _ => true,
    }
}
