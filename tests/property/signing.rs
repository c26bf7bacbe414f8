//! Records of a zone as a flat list, and signing that looks real to a server.
//!
//! A server doesn't verify signatures, so dummy ones do; the chains of denial are true ones, made here by the
//! letter of RFC 4034 §4 and RFC 5155 §7.1, so that proofs taken from them can be checked.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use table::Table;
use table::denial::nsec3_hash;
use wire::{Name, NameBuf, RecordType};
use zone::master::Place;

/// A record of class IN.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Record {
    pub(crate) owner: NameBuf,
    pub(crate) rtype: RecordType,
    pub(crate) ttl: u32,
    pub(crate) rdata: Vec<u8>,
}

/// How a zone denies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Denial {
    /// It isn't signed.
    Unsigned,
    /// With NSEC records.
    Nsec,
    /// With NSEC3 records.
    Nsec3 { iterations: u16, salt: Vec<u8>, opt_out: OptOut },
}

/// Whether delegations without DS have NSEC3 records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OptOut {
    Off,
    On,
    /// Some have them all the same, as a signer leaves them that opts out later (RFC 5155 §6).
    Partly,
}

/// A name that sorts as RFC 4034 §6.1 says.
#[derive(Clone, PartialEq, Eq)]
struct Canonical(NameBuf);

impl Ord for Canonical {
    fn cmp(&self, other: &Canonical) -> Ordering {
        self.0.as_name().canonical_cmp(other.0.as_name())
    }
}

impl PartialOrd for Canonical {
    fn partial_cmp(&self, other: &Canonical) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Compiles records to a table, past the master file and the semantic checks.
pub(crate) fn compile(apex: Name<'_>, records: &[Record]) -> Table {
    let options = zone::CompileOptions { rotate: true, ..Default::default() };
    zone::compile(gather(apex, records), &options).expect("a zone with a SOA")
}

/// A zone of these records.
pub(crate) fn gather(apex: Name<'_>, records: &[Record]) -> zone::Zone {
    let mut gatherer = zone::Gatherer::new(apex, 0);
    for record in records {
        let place = Place { file: 0, line: 1, column: 1 };
        gatherer.add(record.owner.as_name(), record.rtype, record.ttl, &record.rdata, place);
    }
    gatherer.finish().expect("a small zone")
}

/// Adds signatures and the chain of denial.
pub(crate) fn sign(apex: Name<'_>, records: &mut Vec<Record>, denial: &Denial) {
    if *denial == Denial::Unsigned {
        return;
    }
    if let Denial::Nsec3 { iterations, salt, .. } = denial {
        let mut rdata = vec![1, 0];
        rdata.extend(iterations.to_be_bytes());
        rdata.push(salt.len() as u8);
        rdata.extend(salt);
        let (owner, rtype) = (apex.into(), RecordType::NSEC3PARAM);
        records.push(Record { owner, rtype, ttl: 0, rdata });
    }
    let mut types: BTreeMap<Canonical, BTreeSet<u16>> = BTreeMap::new();
    for record in records.iter() {
        if !is_occluded(apex, records, record.owner.as_name()) {
            let mut owner = record.owner.clone();
            owner.make_lowercase();
            types.entry(Canonical(owner)).or_default().insert(record.rtype.0);
        }
    }
    for (Canonical(owner), types) in &mut types {
        if is_cut(apex, records, owner.as_name()) {
            // RFC 4035 §2.3: what else is there isn't the parent's to tell.
            types.retain(|rtype| [RecordType::NS.0, RecordType::DS.0].contains(rtype));
        }
    }
    let chain = match denial {
        Denial::Nsec3 { iterations, salt, opt_out } => nsec3_chain(apex, &types, *iterations, salt, *opt_out),
        _ => nsec_chain(&types),
    };
    records.extend(chain);
    let mut sets: BTreeSet<(Canonical, u16, u32)> = BTreeSet::new();
    for record in records.iter().filter(|record| is_signed(apex, records, record)) {
        let mut owner = record.owner.clone();
        owner.make_lowercase();
        sets.insert((Canonical(owner), record.rtype.0, record.ttl));
    }
    records.extend(sets.into_iter().map(|(owner, rtype, ttl)| signature(apex, owner.0, rtype, ttl)));
}

/// Whether NS records at the name delegate.
pub(crate) fn is_cut(apex: Name<'_>, records: &[Record], name: Name<'_>) -> bool {
    let owns_ns =
        |record: &Record| record.rtype == RecordType::NS && record.owner.as_name().eq_ignore_case(name);
    !name.eq_ignore_case(apex) && records.iter().any(owns_ns) && !is_occluded(apex, records, name)
}

/// Whether the name is below a delegation or a DNAME.
pub(crate) fn is_occluded(apex: Name<'_>, records: &[Record], name: Name<'_>) -> bool {
    records.iter().any(|record| {
        let hides = match record.rtype {
            RecordType::NS => !record.owner.as_name().eq_ignore_case(apex),
            RecordType::DNAME => true,
            _ => false,
        };
        hides && name.is_below(record.owner.as_name())
    })
}

/// Whether a signer signs the set of this record (RFC 4035 §2.2).
fn is_signed(apex: Name<'_>, records: &[Record], record: &Record) -> bool {
    let owner = record.owner.as_name();
    let at_cut = is_cut(apex, records, owner);
    let of_parent = [RecordType::DS, RecordType::NSEC].contains(&record.rtype);
    // An NSEC3 owner may by chance be below something that occludes; it is no name of the zone.
    record.rtype == RecordType::NSEC3 || (!is_occluded(apex, records, owner) && (!at_cut || of_parent))
}

fn signature(apex: Name<'_>, owner: NameBuf, covered: u16, ttl: u32) -> Record {
    let name = owner.as_name();
    let labels = name.label_count() - usize::from(name.is_wildcard());
    let mut rdata = covered.to_be_bytes().to_vec();
    rdata.extend([13, labels as u8]);
    rdata.extend(ttl.to_be_bytes());
    rdata.extend([0x70, 0, 0, 0, 0x60, 0, 0, 0, 0x12, 0x34]);
    rdata.extend(apex.as_wire());
    // The length of an ECDSA P-256 signature (RFC 6605 §4), different from set to set.
    rdata.extend((0..64).map(|i| i ^ covered as u8 ^ name.len() as u8));
    Record { owner, rtype: RecordType::RRSIG, ttl, rdata }
}

fn nsec_chain(types: &BTreeMap<Canonical, BTreeSet<u16>>) -> Vec<Record> {
    let names: Vec<&Canonical> = types.keys().collect();
    let mut chain = Vec::new();
    for (index, (owner, types)) in types.iter().enumerate() {
        let next = names[(index + 1) % names.len()];
        let mut types = types.clone();
        types.extend([RecordType::NSEC.0, RecordType::RRSIG.0]);
        let mut rdata = next.0.as_name().as_wire().to_vec();
        rdata.extend(bitmap(&types));
        chain.push(Record { owner: owner.0.clone(), rtype: RecordType::NSEC, ttl: 300, rdata });
    }
    chain
}

fn nsec3_chain(
    apex: Name<'_>,
    types: &BTreeMap<Canonical, BTreeSet<u16>>,
    iterations: u16,
    salt: &[u8],
    opt_out: OptOut,
) -> Vec<Record> {
    let mut hashed: BTreeMap<[u8; 20], BTreeSet<u16>> = BTreeMap::new();
    let hash = |name: Name<'_>| nsec3_hash(name.as_wire(), salt, iterations);
    for (Canonical(owner), types) in types {
        let is_delegation = types.contains(&RecordType::NS.0) && owner.as_name() != apex;
        let is_insecure = is_delegation && !types.contains(&RecordType::DS.0);
        let leaves_out = match opt_out {
            OptOut::Off => false,
            OptOut::On => true,
            OptOut::Partly => hash(owner.as_name())[0] & 1 == 0,
        };
        if is_insecure && leaves_out {
            continue;
        }
        let mut types = types.clone();
        if !is_insecure {
            types.insert(RecordType::RRSIG.0);
        }
        hashed.entry(hash(owner.as_name())).or_default().extend(types);
        let mut above = owner.as_name().parent();
        while let Some(name) = above.filter(|name| name.is_below(apex)) {
            hashed.entry(hash(name)).or_default();
            above = name.parent();
        }
    }
    let hashes: Vec<[u8; 20]> = hashed.keys().copied().collect();
    let mut chain = Vec::new();
    for (index, (hash, types)) in hashed.iter().enumerate() {
        let next = hashes[(index + 1) % hashes.len()];
        let mut rdata = vec![1, u8::from(opt_out != OptOut::Off)];
        rdata.extend(iterations.to_be_bytes());
        rdata.push(salt.len() as u8);
        rdata.extend(salt);
        rdata.push(20);
        rdata.extend(next);
        rdata.extend(bitmap(types));
        let owner = NameBuf::child(&base32hex(hash), apex).expect("a short apex");
        chain.push(Record { owner, rtype: RecordType::NSEC3, ttl: 300, rdata });
    }
    chain
}

/// The type bit maps of RFC 4034 §4.1.2.
fn bitmap(types: &BTreeSet<u16>) -> Vec<u8> {
    let mut windows: BTreeMap<u8, [u8; 32]> = BTreeMap::new();
    for rtype in types {
        let [window, low] = rtype.to_be_bytes();
        windows.entry(window).or_default()[usize::from(low / 8)] |= 0x80 >> (low % 8);
    }
    let mut octets = Vec::new();
    for (window, bits) in windows {
        let len = bits.iter().rposition(|bits| *bits != 0).map_or(0, |last| last + 1);
        octets.extend([window, len as u8]);
        octets.extend(&bits[..len]);
    }
    octets
}

/// RFC 4648 §7, for hashes of 20 octets: no padding is ever needed.
pub(crate) fn base32hex(hash: &[u8; 20]) -> [u8; 32] {
    std::array::from_fn(|i| {
        let bit = 5 * i;
        let pair = u16::from(hash[bit / 8]) << 8 | u16::from(*hash.get(bit / 8 + 1).unwrap_or(&0));
        b"0123456789abcdefghijklmnopqrstuv"[usize::from(pair >> (11 - bit % 8)) & 31]
    })
}
