//! Signatures: each set has them, by keys of the apex, and they say what they must (RFC 4035 §2.2).

use super::kind::Kind;
use super::report::{Report, found, record_spot};
use super::walk::{Standing, Visit, Walk};
use crate::dnskey::Dnskey;
use crate::records::{RrsetView, Zone};
use std::ops::Range;
use wire::message::{u16_at, u32_at};
use wire::{Name, RecordType};

/// The fixed part of RRSIG data and the signer (RFC 4034 §3.1).
struct Signature<'z> {
    covered: RecordType,
    algorithm: u8,
    labels: u8,
    original_ttl: u32,
    expiration: u32,
    inception: u32,
    key_tag: u16,
    signer: Name<'z>,
}

impl<'z> Signature<'z> {
    fn read(rdata: &'z [u8]) -> Option<Signature<'z>> {
        Some(Signature {
            covered: RecordType(u16_at(rdata, 0)?),
            algorithm: *rdata.get(2)?,
            labels: *rdata.get(3)?,
            original_ttl: u32_at(rdata, 4)?,
            expiration: u32_at(rdata, 8)?,
            inception: u32_at(rdata, 12)?,
            key_tag: u16_at(rdata, 16)?,
            signer: Name::split_from(rdata.get(18..)?).ok()?.0,
        })
    }
}

/// Checks all signatures of a zone with these DNSKEY records.
pub(super) fn check(zone: &Zone, keys: RrsetView<'_>, now: Option<u32>, report: &mut Report<'_>) {
    let checker = Checker { zone, keys: Keys::new(keys), now };
    for visit in Walk::new(zone) {
        // Hidden signatures are told as hidden data.
        if visit.standing != Standing::Occluded {
            checker.check_owner(&visit, report);
        }
    }
}

/// The keys that may sign the zone.
struct Keys {
    /// Key tag and algorithm, ascending.
    keys: Vec<(u16, u8)>,
    /// The algorithms that must sign every set, ascending.
    algorithms: Vec<u8>,
}

impl Keys {
    fn new(set: RrsetView<'_>) -> Keys {
        let (mut keys, mut algorithms) = (Vec::new(), Vec::new());
        for key in set.rdatas().filter_map(Dnskey::read).filter(Dnskey::is_of_zone) {
            keys.push((key.tag(), key.algorithm()));
            if !key.is_revoked() {
                algorithms.push(key.algorithm());
            }
        }
        keys.sort_unstable();
        algorithms.sort_unstable();
        algorithms.dedup();
        Keys { keys, algorithms }
    }

    fn has(&self, signature: &Signature<'_>) -> bool {
        self.keys.binary_search(&(signature.key_tag, signature.algorithm)).is_ok()
    }
}

struct Checker<'z> {
    zone: &'z Zone,
    keys: Keys,
    now: Option<u32>,
}

impl Checker<'_> {
    fn check_owner(&self, visit: &Visit<'_>, report: &mut Report<'_>) {
        let owner = visit.owner;
        let signatures = owner.rrset(RecordType::RRSIG);
        let count = signatures.map_or(0, |signatures| signatures.len());
        let covered = |at: usize| signatures.and_then(|set| u16_at(set.rdata(at), 0)).map(RecordType);
        // Data begins with the type covered, so signatures are in the order of the sets.
        let mut at = 0;
        for set in owner.rrsets().filter(|set| set.rtype() != RecordType::RRSIG) {
            let rtype = set.rtype();
            let start = (at..count).find(|at| covered(*at) >= Some(rtype)).unwrap_or(count);
            let end = (start..count).find(|at| covered(*at) != Some(rtype)).unwrap_or(count);
            let is_due = visit.is_signed_type(rtype);
            if let Some(signatures) = signatures {
                self.tell_orphans(visit, signatures, at..if is_due { start } else { end }, report);
            }
            at = end;
            match signatures {
                _ if !is_due => {}
                Some(signatures) if start < end => {
                    self.check_set(visit, set, (signatures, start..end), report);
                }
                _ => report.add(record_spot(set, 0), Kind::Unsigned(found(owner.name()), rtype)),
            }
        }
        if let Some(signatures) = signatures {
            self.tell_orphans(visit, signatures, at..count, report);
        }
    }

    fn tell_orphans(
        &self,
        visit: &Visit<'_>,
        signatures: RrsetView<'_>,
        range: Range<usize>,
        report: &mut Report<'_>,
    ) {
        for index in range {
            let covered = RecordType(u16_at(signatures.rdata(index), 0).unwrap_or(0));
            let kind = Kind::OrphanRrsig(found(visit.owner.name()), covered);
            report.add(record_spot(signatures, index), kind);
        }
    }

    /// Checks the signatures over one set.
    fn check_set(
        &self,
        visit: &Visit<'_>,
        set: RrsetView<'_>,
        (signatures, range): (RrsetView<'_>, Range<usize>),
        report: &mut Report<'_>,
    ) {
        let mut seen = [0u64; 4];
        for index in range {
            let Some(signature) = Signature::read(signatures.rdata(index)) else { continue };
            // A faulty one is told as such, not as missing too.
            seen[usize::from(signature.algorithm / 64)] |= 1 << (signature.algorithm % 64);
            if let Some(kind) = self.fault_of(visit, set, &signature) {
                report.add(record_spot(signatures, index), kind);
            }
        }
        for algorithm in &self.keys.algorithms {
            if seen[usize::from(algorithm / 64)] >> (algorithm % 64) & 1 == 0 {
                let name = found(visit.owner.name());
                report.add(record_spot(set, 0), Kind::UnsignedByAlgorithm(name, set.rtype(), *algorithm));
            }
        }
    }

    /// The first thing that keeps a validator from accepting a signature (RFC 4035 §5.3.1).
    fn fault_of(&self, visit: &Visit<'_>, set: RrsetView<'_>, signature: &Signature<'_>) -> Option<Kind> {
        let name = visit.owner.name();
        let (owner, rtype) = (|| found(name), signature.covered);
        // RFC 4034 §3.1.3: neither the root nor a wildcard's asterisk counts. A name has at most 127 labels.
        let expected = (name.label_count() - usize::from(name.is_wildcard())) as u8;
        if !signature.signer.eq_ignore_case(self.zone.apex()) {
            return Some(Kind::WrongSigner(owner(), rtype, found(signature.signer)));
        }
        if !self.keys.has(signature) {
            let Signature { key_tag, algorithm, .. } = *signature;
            return Some(Kind::UnknownKey { owner: owner(), rtype, key_tag, algorithm });
        }
        if signature.labels != expected {
            return Some(Kind::WrongLabels { owner: owner(), rtype, labels: signature.labels, expected });
        }
        if signature.original_ttl != set.ttl() {
            let (original, ttl) = (signature.original_ttl, set.ttl());
            return Some(Kind::OriginalTtl { owner: owner(), rtype, original, ttl });
        }
        let now = self.now?;
        if is_after(now, signature.expiration) {
            return Some(Kind::Expired(owner(), rtype, signature.expiration));
        }
        is_after(signature.inception, now).then(|| Kind::NotYetValid(owner(), rtype, signature.inception))
    }
}

/// Serial number arithmetic (RFC 1982, RFC 4034 §3.1.5).
fn is_after(time: u32, other: u32) -> bool {
    time != other && time.wrapping_sub(other) < 1 << 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_wraps() {
        assert!(is_after(5, 4) && !is_after(4, 5) && !is_after(4, 4));
        assert!(is_after(3, u32::MAX) && !is_after(u32::MAX, 3));
    }
}
