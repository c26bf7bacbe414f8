//! ZONEMD: whether a zone is what its publisher has digested (RFC 8976).
//!
//! The digest of scheme SIMPLE is over every record of the zone in canonical order and form (§3.3), so it says that nothing
//! was lost or changed on the way. Who has published it, only its signature can say, and signatures are not verified here: a
//! zone that came over a signed transfer, or from the operator's own disk, needs nothing more.

use crate::rdata;
use crate::records::{RrsetView, Zone};
use sha2::{Digest, Sha384, Sha512};
use std::fmt;
use wire::message::{u16_at, u32_at};
use wire::{Class, RecordType};

/// The scheme over all records of the zone as one (RFC 8976 §2.2.2).
const SIMPLE: u8 = 1;
/// The least octets of a digest, whatever made it (RFC 8976 §2.2.4).
const DIGEST_LEN_MIN: usize = 12;

/// What the ZONEMD records of a zone say of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// There are none at the apex.
    Absent,
    /// There are, of schemes and algorithms that nobody but their maker can compute (RFC 8976 §2.2.2, §2.2.3).
    Unknown,
    /// One of them is the digest of this very zone.
    Good(Algorithm),
    /// None of them is.
    Bad(Fault),
}

/// How a digest was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    /// SHA-384, which everybody has to know (RFC 8976 §2.2.3).
    Sha384,
    /// SHA-512.
    Sha512,
}

/// Why a zone's ZONEMD records don't vouch for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// They were made for another version (RFC 8976 §4 step 4a).
    #[error("its ZONEMD record is for serial {zonemd}, and the zone has {zone}")]
    Serial {
        /// The serial of the record.
        zonemd: u32,
        /// That of the zone.
        zone: u32,
    },
    /// There are several of one scheme and algorithm, and so none of these counts (RFC 8976 §2).
    #[error("it has several ZONEMD records of {0}, so that none of them counts")]
    Ambiguous(Algorithm),
    /// The zone is not the one that was digested.
    #[error("its content is not what its ZONEMD record ({0}) was made of: records were lost or changed")]
    Mismatch(Algorithm),
}

impl Algorithm {
    fn from_number(number: u8) -> Option<Algorithm> {
        match number {
            1 => Some(Algorithm::Sha384),
            2 => Some(Algorithm::Sha512),
            _ => None,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Algorithm::Sha384 => "SHA-384",
            Algorithm::Sha512 => "SHA-512",
        })
    }
}

/// The fields of a ZONEMD record (RFC 8976 §2.2).
#[derive(Clone, Copy)]
struct Zonemd<'z> {
    serial: u32,
    scheme: u8,
    algorithm: u8,
    digest: &'z [u8],
}

impl<'z> Zonemd<'z> {
    fn read(rdata: &'z [u8]) -> Option<Zonemd<'z>> {
        let digest = rdata.get(6..).filter(|digest| digest.len() >= DIGEST_LEN_MIN)?;
        Some(Zonemd { serial: u32_at(rdata, 0)?, scheme: rdata[4], algorithm: rdata[5], digest })
    }

    /// How the digest was made, where that is known here.
    fn known(&self) -> Option<Algorithm> {
        if self.scheme == SIMPLE { Algorithm::from_number(self.algorithm) } else { None }
    }
}

/// Verifies a zone by its ZONEMD records (RFC 8976 §4): one good digest is enough.
///
/// The cost is that of the hash over the whole zone, where there is a record to compare it with.
pub fn verify(zone: &Zone) -> Verdict {
    let Some(set) = zone.find(zone.apex()).and_then(|apex| apex.rrset(RecordType::ZONEMD)) else {
        return Verdict::Absent;
    };
    let found: Vec<(Zonemd<'_>, Algorithm)> =
        set.rdatas().filter_map(Zonemd::read).filter_map(|zonemd| Some((zonemd, zonemd.known()?))).collect();
    let mut fault = None;
    for (zonemd, algorithm) in &found {
        match check(zone, zonemd, *algorithm, &found) {
            Ok(()) => return Verdict::Good(*algorithm),
            // What is worst for the zone comes last: a digest that was computed and is another.
            Err(why) if matches!(why, Fault::Mismatch(_)) || fault.is_none() => fault = Some(why),
            Err(_) => {}
        }
    }
    fault.map_or(Verdict::Unknown, Verdict::Bad)
}

fn check(
    zone: &Zone,
    zonemd: &Zonemd<'_>,
    algorithm: Algorithm,
    found: &[(Zonemd<'_>, Algorithm)],
) -> Result<(), Fault> {
    if zonemd.serial != zone.serial() {
        return Err(Fault::Serial { zonemd: zonemd.serial, zone: zone.serial() });
    }
    if found.iter().filter(|(_, other)| *other == algorithm).count() > 1 {
        return Err(Fault::Ambiguous(algorithm));
    }
    if digest(zone, algorithm) == zonemd.digest { Ok(()) } else { Err(Fault::Mismatch(algorithm)) }
}

/// The digest of scheme SIMPLE (RFC 8976 §3.3): of all records but the ZONEMD records of the apex and their signatures.
pub fn digest(zone: &Zone, algorithm: Algorithm) -> Vec<u8> {
    match algorithm {
        Algorithm::Sha384 => hash::<Sha384>(zone),
        Algorithm::Sha512 => hash::<Sha512>(zone),
    }
}

fn hash<H: Digest>(zone: &Zone) -> Vec<u8> {
    let mut hasher = H::new();
    let mut canonical = Canonical::default();
    for owner in zone.owners() {
        let is_apex = owner.name() == zone.apex();
        for set in owner.rrsets() {
            let rtype = set.rtype();
            if is_apex && rtype == RecordType::ZONEMD {
                continue;
            }
            canonical.take(set);
            for (rdata, ttl) in canonical.records() {
                // RFC 8976 §3.3.1.1, the last two rules.
                if is_apex && rtype == RecordType::RRSIG && u16_at(rdata, 0) == Some(RecordType::ZONEMD.0) {
                    continue;
                }
                let mut fixed = [0; 10];
                fixed[..2].copy_from_slice(&rtype.0.to_be_bytes());
                fixed[2..4].copy_from_slice(&Class::IN.0.to_be_bytes());
                fixed[4..8].copy_from_slice(&ttl.to_be_bytes());
                fixed[8..].copy_from_slice(&(rdata.len() as u16).to_be_bytes()); // as it came from a record
                hasher.update(owner.name().as_wire());
                hasher.update(fixed);
                hasher.update(rdata);
            }
        }
    }
    hasher.finalize().to_vec()
}

/// A record set in canonical form (RFC 4034 §6.2); its order is canonical already.
#[derive(Default)]
struct Canonical {
    octets: Vec<u8>,
    /// Where each record's data starts and ends, and its TTL.
    records: Vec<(usize, usize, u32)>,
}

impl Canonical {
    fn take(&mut self, set: RrsetView<'_>) {
        self.octets.clear();
        self.records.clear();
        for (index, rdata) in set.rdatas().enumerate() {
            let start = self.octets.len();
            self.octets.extend_from_slice(rdata);
            rdata::to_canonical(set.rtype(), &mut self.octets[start..]);
            self.records.push((start, self.octets.len(), set.ttl_of(index)));
        }
    }

    fn records(&self) -> impl Iterator<Item = (&[u8], u32)> {
        self.records.iter().map(|(start, end, ttl)| (&self.octets[*start..*end], *ttl))
    }
}

#[cfg(test)]
mod tests;
