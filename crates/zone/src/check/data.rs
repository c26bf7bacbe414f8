//! What may stand at one name: aliases, redirections, types, TTLs and sizes.

use super::kind::Kind;
use super::report::{Report, Spot, found, owner_spot, record_spot};
use super::walk::{Standing, Visit};
use crate::records::{OwnerView, RrsetView, Zone};
use std::collections::BTreeMap;
use wire::message::{HEADER_LEN, u16_at};
use wire::{Name, RecordType};

/// The largest message over TCP (RFC 1035 §4.2.2).
const MESSAGE_MAX: usize = 65_535;
/// Octets of a question behind its name.
const QUESTION_FIXED: usize = 4;
/// Octets of a record around its data, the owner compressed.
const RECORD_FIXED: usize = 12;
/// The most record sets at one name that a table can hold.
const TYPES_MAX: usize = 255;

/// Checks what the zone as a whole must have.
pub(super) fn check_apex(zone: &Zone, report: &mut Report<'_>) {
    let apex = zone.find(zone.apex());
    match apex.and_then(|apex| apex.rrset(RecordType::SOA)) {
        None => report.add(None, Kind::NoSoa(found(zone.apex()))),
        Some(soa) if soa.len() > 1 => report.add(record_spot(soa, 1), Kind::SeveralSoa(found(zone.apex()))),
        Some(_) => {}
    }
    if !apex.is_some_and(|apex| apex.has(RecordType::NS)) {
        report.add(apex.and_then(owner_spot), Kind::NoNs(found(zone.apex())));
    }
    if zone.duplicate_count() > 0 {
        report.add(None, Kind::Duplicates(zone.duplicate_count()));
    }
    let (outside, count) = zone.outside();
    for (at, (owner, place)) in outside.iter().enumerate() {
        // The last one that is known stands for all that are not.
        let count = if at + 1 == outside.len() { count - at as u64 } else { 1 };
        let kind = Kind::Outside(Box::new(owner.clone()), found(zone.apex()));
        report.add_last_of(count, Some((place.file, place.line, place.column)), kind);
    }
}

/// Checks the records of one name.
#[inline]
pub(super) fn check_owner(zone: &Zone, visit: &Visit<'_>, report: &mut Report<'_>) {
    let owner = visit.owner;
    let mut sets = 0;
    let mut is_plain = true;
    for set in owner.rrsets() {
        sets += 1;
        is_plain &=
            matches!(set.rtype(), RecordType::A | RecordType::AAAA | RecordType::TXT | RecordType::MX);
        check_set(zone, visit, set, report);
    }
    if let Some(dname) = visit.dname {
        report.add(owner_spot(owner), Kind::BelowDname(found(owner.name()), found(dname.name())));
    }
    // Most names of most zones have nothing that excludes other data.
    if !is_plain {
        check_singletons(zone, owner, report);
        check_security_types(zone, owner, report);
    }
    if sets >= TYPES_MAX {
        check_type_count(owner, report);
    }
}

fn check_set(zone: &Zone, visit: &Visit<'_>, set: RrsetView<'_>, report: &mut Report<'_>) {
    let rtype = set.rtype();
    let name = || found(visit.owner.name());
    if rtype.is_meta() {
        report.add(record_spot(set, 0), Kind::MetaType(name(), rtype));
    }
    if matches!(rtype, RecordType::MD | RecordType::MF) {
        report.add(record_spot(set, 0), Kind::ObsoleteType(name(), rtype));
    }
    if set.len() == 1 && set.rdata(0).len() < MESSAGE_MAX / 2 {
        return;
    }
    if rtype == RecordType::RRSIG {
        // Each signature has the TTL of what it covers.
        return check_signature_size(visit.owner, set, report);
    }
    check_size(visit.owner.name(), rtype, wire_len(set), record_spot(set, 0), report);
    let first = set.ttl_of(0);
    if let Some(other) = (1..set.len()).find(|index| set.ttl_of(*index) != first) {
        let ttls = (0..set.len()).map(|index| set.ttl_of(index));
        let highest = ttls.max().unwrap_or(first);
        let kind = Kind::TtlMismatch { owner: name(), rtype, lowest: set.ttl(), highest };
        report.add(record_spot(set, other), kind);
    }
    if rtype == RecordType::NSEC && set.len() > 1 && visit.standing != Standing::Occluded {
        report.add(record_spot(set, 1), Kind::SeveralNsec(name()));
    }
    debug_assert!(visit.owner.name().is_at_or_below(zone.apex()));
}

/// The octets of a set's records, the owners compressed and the data not.
fn wire_len(set: RrsetView<'_>) -> usize {
    set.rdatas().map(|rdata| RECORD_FIXED + rdata.len()).sum()
}

fn check_size(owner: Name<'_>, rtype: RecordType, records_len: usize, spot: Spot, report: &mut Report<'_>) {
    let octets = HEADER_LEN + owner.len() + QUESTION_FIXED + records_len;
    if octets > MESSAGE_MAX {
        report.add(spot, Kind::SetTooLarge(found(owner), rtype, octets));
    }
}

/// Signatures go with what they cover, and only those over nothing go together.
fn check_signature_size(owner: OwnerView<'_>, signatures: RrsetView<'_>, report: &mut Report<'_>) {
    if wire_len(signatures) <= MESSAGE_MAX / 2 {
        return;
    }
    let mut lens: BTreeMap<RecordType, usize> = BTreeMap::new();
    for rdata in signatures.rdatas() {
        let covered = RecordType(u16_at(rdata, 0).unwrap_or(0));
        let group = if owner.has(covered) { covered } else { RecordType::RRSIG };
        *lens.entry(group).or_default() += RECORD_FIXED + rdata.len();
    }
    for len in lens.into_values() {
        check_size(owner.name(), RecordType::RRSIG, len, record_spot(signatures, 0), report);
    }
}

/// Checks the types that exclude others or a second record.
fn check_singletons(zone: &Zone, owner: OwnerView<'_>, report: &mut Report<'_>) {
    use RecordType as T;
    let name = owner.name();
    let is_apex = name.len() == zone.apex().len();
    if let Some(cname) = owner.rrset(T::CNAME) {
        let may_stand = |rtype| matches!(rtype, T::CNAME | T::RRSIG | T::NSEC | T::KEY);
        // RFC 4035 §2.5: a KEY set for dynamic update may stand beside, too.
        if let Some(dname) = owner.rrset(T::DNAME) {
            report.add(record_spot(dname, 0), Kind::DnameWithCname(found(name)));
        }
        if let Some(other) = owner.rrsets().find(|set| !may_stand(set.rtype()) && set.rtype() != T::DNAME) {
            report.add(record_spot(cname, 0), Kind::CnameWithOther(found(name), other.rtype()));
        }
        if cname.len() > 1 {
            report.add(record_spot(cname, 1), Kind::SeveralCname(found(name)));
        }
    }
    if let Some(dname) = owner.rrset(T::DNAME) {
        if dname.len() > 1 {
            report.add(record_spot(dname, 1), Kind::SeveralDname(found(name)));
        }
        if owner.has(T::NS) && !is_apex {
            report.add(record_spot(dname, 0), Kind::DnameWithNs(found(name)));
        }
        if name.is_wildcard() {
            report.add(record_spot(dname, 0), Kind::WildcardDname(found(name)));
        }
    }
    if let Some(soa) = owner.rrset(T::SOA).filter(|_| !is_apex) {
        report.add(record_spot(soa, 0), Kind::SoaBelowApex(found(name)));
    }
    if let Some(ns) = owner.rrset(T::NS).filter(|_| name.is_wildcard()) {
        report.add(record_spot(ns, 0), Kind::WildcardNs(found(name)));
    }
}

/// Checks the types of DNSSEC that have their place at the apex or at delegations.
fn check_security_types(zone: &Zone, owner: OwnerView<'_>, report: &mut Report<'_>) {
    use RecordType as T;
    let name = owner.name();
    let is_apex = name.len() == zone.apex().len();
    for set in owner.rrsets() {
        let kind = match set.rtype() {
            T::DNSKEY | T::NSEC3PARAM | T::CDS | T::CDNSKEY if !is_apex => {
                Kind::NotAtApex(found(name), set.rtype())
            }
            T::DS if is_apex => Kind::DsAtApex(found(name)),
            T::DS if !owner.has(T::NS) => Kind::DsWithoutNs(found(name)),
            _ => continue,
        };
        report.add(record_spot(set, 0), kind);
    }
}

/// Counts types as a table does: NSEC3 and signatures stand elsewhere, but those that cover nothing are a
/// set.
fn check_type_count(owner: OwnerView<'_>, report: &mut Report<'_>) {
    let own =
        owner.rrsets().filter(|set| !matches!(set.rtype(), RecordType::NSEC3 | RecordType::RRSIG)).count();
    let has_orphans = owner.rrset(RecordType::RRSIG).is_some_and(|signatures| {
        signatures
            .rdatas()
            .any(|rdata| !u16_at(rdata, 0).is_some_and(|covered| owner.has(RecordType(covered))))
    });
    let count = own + usize::from(has_orphans);
    if count > TYPES_MAX {
        report.add(owner_spot(owner), Kind::TooManyTypes(found(owner.name()), count));
    }
}
