//! What is asked: every name of the zones and its neighbourhood, in every way that changes the answer.

use std::collections::{BTreeMap, BTreeSet};

use starling_tests::name::Name;
use starling_tests::query::{Edns, Query};
use starling_tests::rdata::type_code;
use starling_tests::tools;
use starling_tests::zonedata::{Zones, neighbours};

/// Asked at every name that exists.
const TYPES: &[&str] = &[
    "A",
    "NS",
    "CNAME",
    "SOA",
    "PTR",
    "MX",
    "TXT",
    "AAAA",
    "SRV",
    "DNAME",
    "DS",
    "RRSIG",
    "NSEC",
    "DNSKEY",
    "NSEC3",
    "NSEC3PARAM",
    "TLSA",
    "HTTPS",
    "CAA",
    "ANY",
    "TYPE65280",
];
/// Asked around every name: each leads to another branch of the algorithm.
const TYPES_AROUND: &[&str] = &["A", "NS", "CNAME", "TXT", "DNAME", "DS", "NSEC", "ANY"];
/// Asked at the owner names of NSEC3 records, which do not exist as names (RFC 5155 §7.2.8).
const TYPES_HASHED: &[&str] = &["A", "NSEC3", "RRSIG"];
/// Captured queries asked in an ordinary run: with seven profiles some 50,000 answers of each server, a few
/// seconds. The sample is every so many lines, so that a failure shows again.
const CAPTURED_SAMPLE_LEN: usize = 8_000;
const TYPE_RRSIG: u16 = 46;
const TYPE_NSEC3: u16 = 50;

/// How a question travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// One datagram.
    Udp,
    /// A stream.
    Tcp,
}

/// The surroundings of a question.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Profile {
    /// Transport.
    pub(crate) transport: Transport,
    /// Payload size offered, or none for no OPT record.
    pub(crate) size: Option<u16>,
    /// The DO bit.
    pub(crate) dnssec_ok: bool,
}

const fn profile(transport: Transport, size: Option<u16>, dnssec_ok: bool) -> Profile {
    Profile { transport, size, dnssec_ok }
}

/// Every question is asked in each of these. The two over TCP are the answers nothing was left out of.
pub(crate) const PROFILES: &[Profile] = &[
    profile(Transport::Udp, None, false),
    profile(Transport::Udp, Some(512), true),
    profile(Transport::Udp, Some(1232), false),
    profile(Transport::Udp, Some(1232), true),
    profile(Transport::Udp, Some(4096), true),
    profile(Transport::Tcp, Some(4096), false),
    profile(Transport::Tcp, Some(4096), true),
];

/// One question.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Question {
    /// Name, in the case it is asked with.
    pub(crate) name: Name,
    /// Type.
    pub(crate) qtype: u16,
}

impl Question {
    /// The query for this question in these surroundings.
    pub(crate) fn query(&self, profile: Profile) -> Query {
        let query = Query::new(self.name.clone(), self.qtype);
        match (profile.size, profile.dnssec_ok) {
            (None, _) => query,
            (Some(size), false) => query.with_edns(Edns::size(size)),
            (Some(size), true) => query.with_edns(Edns::dnssec(size)),
        }
    }
}

/// All questions for these zones.
pub(crate) fn around(zones: &Zones) -> Vec<Question> {
    let full = codes(TYPES);
    let few = if tools::long_run() { full.clone() } else { codes(TYPES_AROUND) };
    let hashed = codes(TYPES_HASHED);
    let mut types_at: BTreeMap<&Name, BTreeSet<u16>> = BTreeMap::new();
    for record in zones.records.values().flatten() {
        types_at.entry(&record.owner).or_default().insert(record.rtype);
    }
    let mut questions = BTreeSet::new();
    for name in zones.names() {
        let present = types_at.get(&name).cloned().unwrap_or_default();
        if present.contains(&TYPE_NSEC3) && present.iter().all(|t| matches!(*t, TYPE_NSEC3 | TYPE_RRSIG)) {
            ask(&mut questions, &name, &hashed);
            continue;
        }
        ask(&mut questions, &name, &full);
        ask(&mut questions, &name, &present.into_iter().collect::<Vec<_>>());
        for neighbour in neighbours(&name) {
            ask(&mut questions, &neighbour, &few);
        }
    }
    questions.into_iter().collect()
}

/// Captured queries, a `name type` pair a line: all of them in a long run, else a sample.
///
/// Lines that no query can be made of (labels over 63 octets, unknown types) are left out.
pub(crate) fn captured(text: &str) -> Vec<Question> {
    let lines: Vec<&str> = text.lines().collect();
    let step = if tools::long_run() { 1 } else { (lines.len() / CAPTURED_SAMPLE_LEN).max(1) };
    let question = |line: &&str| {
        let (name, qtype) = line.rsplit_once(' ')?;
        Some(Question { name: Name::parse(name).ok()?, qtype: type_code(qtype)? })
    };
    lines.iter().step_by(step).filter_map(question).collect()
}

fn ask(questions: &mut BTreeSet<Question>, name: &Name, types: &[u16]) {
    questions.extend(types.iter().map(|&qtype| Question { name: name.clone(), qtype }));
}

fn codes(types: &[&str]) -> Vec<u16> {
    types.iter().map(|text| type_code(text).expect("the lists above hold known types")).collect()
}
