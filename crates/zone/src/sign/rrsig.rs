//! One signature of one set (RFC 4034 §3.1).

use super::key::Pair;
use crate::rdata;
use wire::{Class, Name, NameBuf, RecordType};

/// How long before it is made a signature begins to hold, in seconds: for validators whose clocks are late. An hour is
/// what BIND and ldns-signzone have.
const BEGINS_BEFORE_S: u64 = 3600;

/// A set in canonical form and order (RFC 4034 §6.2, §6.3), as what is signed ends with it.
pub(super) struct CanonicalSet {
    rtype: RecordType,
    /// How many labels its owner has, the `*` of a wildcard apart (RFC 4034 §3.1.3).
    labels: u8,
    ttl: u32,
    octets: Vec<u8>,
}

impl CanonicalSet {
    pub(super) fn new<'r>(
        owner: Name<'_>,
        rtype: RecordType,
        ttl: u32,
        rdata: impl Iterator<Item = &'r [u8]>,
    ) -> CanonicalSet {
        let mut records: Vec<Vec<u8>> = rdata.map(<[u8]>::to_vec).collect();
        records.iter_mut().for_each(|rdata| rdata::to_canonical(rtype, rdata));
        records.sort_unstable();
        records.dedup();
        let labels = owner.label_count() - usize::from(owner.is_wildcard());
        let mut owner = NameBuf::from(owner);
        owner.make_lowercase();
        let mut octets = Vec::new();
        for rdata in &records {
            octets.extend_from_slice(owner.as_name().as_wire());
            octets.extend(rtype.0.to_be_bytes());
            octets.extend(Class::IN.0.to_be_bytes());
            octets.extend(ttl.to_be_bytes());
            octets.extend((rdata.len() as u16).to_be_bytes()); // of a record
            octets.extend_from_slice(rdata);
        }
        CanonicalSet { rtype, labels: labels as u8, ttl, octets } // names have at most 127 labels
    }

    /// All that tells it apart from other sets.
    pub(super) fn octets(&self) -> &[u8] {
        &self.octets
    }
}

/// Who signs.
pub(super) struct SigningKey {
    pub(super) pair: Pair,
    pub(super) algorithm: u8,
    pub(super) tag: u16,
}

impl SigningKey {
    /// The data of an RRSIG record over the set, made at `now` (seconds since 1970) and good for `validity_s` seconds;
    /// `None` where the system has no random numbers.
    pub(super) fn rrsig(
        &self,
        set: &CanonicalSet,
        apex: Name<'_>,
        now: u64,
        validity_s: u32,
    ) -> Option<Vec<u8>> {
        // Modulo 2^32 (RFC 4034 §3.1.5).
        let expiration = now.wrapping_add(u64::from(validity_s)) as u32;
        let inception = now.saturating_sub(BEGINS_BEFORE_S) as u32;
        let mut rdata = set.rtype.0.to_be_bytes().to_vec();
        rdata.extend([self.algorithm, set.labels]);
        rdata.extend(set.ttl.to_be_bytes());
        rdata.extend(expiration.to_be_bytes());
        rdata.extend(inception.to_be_bytes());
        rdata.extend(self.tag.to_be_bytes());
        rdata.extend(apex.as_wire().to_ascii_lowercase());
        // RFC 4034 §3.1.8.1: what stands here so far, then the set.
        let signature = self.pair.sign(&[rdata.as_slice(), &set.octets].concat())?;
        rdata.extend_from_slice(signature.as_ref());
        Some(rdata)
    }
}
