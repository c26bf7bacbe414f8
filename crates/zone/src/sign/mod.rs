//! Signatures of single sets (RFC 4034), for answers that a zone doesn't have: the zone as a whole is signed elsewhere.
//!
//! A [`Signer`] has the private keys of one zone. It signs with those whose public half is in the zone's DNSKEY set,
//! which may change from version to version. What it has signed it keeps, so that a set that comes again soon costs no
//! new signature.

mod key;
mod rrsig;
#[cfg(test)]
mod tests;

pub use key::{Algorithm, KeyError, PrivateKey};

use crate::dnskey::Dnskey;
use rrsig::{CanonicalSet, SigningKey};
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use table::{ImageFlags, Table};
use wire::{Name, NameBuf, RecordType};

/// How many sets' signatures are kept at least, of some 300 octets each: states that come back are those of the last
/// hours.
const KEPT_MIN: usize = 1024;
/// The same for each set that there is at a time. Of those that are thrown away together, one in so many is still in
/// use, and made again.
const KEPT_PER_SET: usize = 8;

/// The data of all RRSIG records over a set.
pub type Signatures = Arc<[Vec<u8>]>;

/// Why nothing can be signed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SignError {
    /// The zone wouldn't know the keys.
    #[error(
        "no signing key is one of the zone's DNSKEY set ({0}): publish the key in the zone, or give the one that is"
    )]
    NoKey(IdleKeys),
    /// RFC 6840 §5.11: a zone is signed with each algorithm that its keys have.
    #[error(
        "the zone has a DNSKEY of algorithm {0}, with which every set has to be signed: add such a key to its signing keys"
    )]
    Algorithm(u8),
    /// The system has no random numbers.
    #[error("no signature could be made: the system gives no random numbers")]
    NoRandomness,
}

/// Keys that sign nothing, and why.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct IdleKeys(Vec<(Arc<str>, &'static str)>);

impl IdleKeys {
    /// Each, in words.
    pub fn iter(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(name, why)| format!("{name} {why}"))
    }
}

impl fmt::Display for IdleKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.iter().collect::<Vec<_>>().join(", "))
    }
}

/// Signs sets of one zone.
pub struct Signer {
    private: Arc<[PrivateKey]>,
    validity_s: u32,
    /// The apex and its DNSKEY set, by which the keys below were found.
    apex: NameBuf,
    dnskeys: Option<Vec<Vec<u8>>>,
    keys: Result<Vec<SigningKey>, SignError>,
    idle: IdleKeys,
    /// Signatures by the digest of what they are over.
    kept: HashMap<[u8; 32], Kept>,
    /// When those that are too old are thrown away.
    clear_at: u64,
    /// How many sets were asked for since the last beginning, and the most of any.
    asked: usize,
    asked_max: usize,
    /// When all signatures that were asked for are as they should be.
    fresh: Option<Range<u64>>,
}

struct Kept {
    made_at: u64,
    signatures: Signatures,
}

impl Signer {
    /// A signer with these keys, whose signatures are good for `validity_s` seconds: at most 2^31.
    pub fn new(private: Arc<[PrivateKey]>, validity_s: u32) -> Signer {
        Signer {
            private,
            validity_s,
            apex: NameBuf::root(),
            dnskeys: None,
            keys: Err(SignError::NoKey(IdleKeys::default())),
            idle: IdleKeys::default(),
            kept: HashMap::new(),
            clear_at: 0,
            asked: 0,
            asked_max: 0,
            fresh: None,
        }
    }

    /// Begins with a version of the zone, at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// None of the keys is the zone's, or they are too few.
    pub fn begin(&mut self, version: &Table, now: u64) -> Result<Signing<'_>, SignError> {
        self.find_keys(version);
        self.fresh = None;
        self.asked_max = self.asked_max.max(std::mem::take(&mut self.asked));
        if self.kept.len() >= KEPT_MIN.max(KEPT_PER_SET * self.asked_max) {
            self.kept.clear();
        }
        if now >= self.clear_at {
            let renew_after = self.renew_after();
            self.kept.retain(|_, kept| kept.is_fresh(now, renew_after));
            self.clear_at = now.saturating_add(renew_after);
        }
        match &self.keys {
            Ok(_) => Ok(Signing { signer: self, now }),
            Err(error) => Err(error.clone()),
        }
    }

    /// From when to when the signatures that were asked for since [`Signer::begin`] are fresh, in seconds since 1970:
    /// outside of that, some are to be made anew. `None` if there were none.
    pub fn fresh(&self) -> Option<&Range<u64>> {
        self.fresh.as_ref()
    }

    /// The keys that sign nothing in the version that was begun with last.
    pub fn idle(&self) -> &IdleKeys {
        &self.idle
    }

    /// After so many seconds a signature is made anew. Half of the time is left then: for caches, and for whoever has
    /// to find out why none is made any more.
    fn renew_after(&self) -> u64 {
        u64::from(self.validity_s / 2)
    }

    fn find_keys(&mut self, version: &Table) {
        let dnskeys = dnskeys(version);
        if self.dnskeys.as_ref() == Some(&dnskeys) && version.apex_name() == self.apex.as_name() {
            return;
        }
        self.apex = version.apex_name().into();
        self.kept.clear();
        self.idle = IdleKeys::default();
        let mut found = Vec::new();
        for private in self.private.iter() {
            match signing_key(private, &dnskeys) {
                Ok(key) => found.push(key),
                Err(why) => self.idle.0.push((private.name().into(), why)),
            }
        }
        let of_zone = dnskeys.iter().filter_map(|rdata| Dnskey::read(rdata));
        let mut due = of_zone.filter(|key| key.is_of_zone() && !key.is_revoked()).map(|key| key.algorithm());
        let missing = due.find(|algorithm| !found.iter().any(|key| key.algorithm == *algorithm));
        self.keys = match missing {
            _ if found.is_empty() => Err(SignError::NoKey(self.idle.clone())),
            Some(algorithm) => Err(SignError::Algorithm(algorithm)),
            None => Ok(found),
        };
        self.dnskeys = Some(dnskeys);
    }
}

/// A signer at work, at a moment.
pub struct Signing<'s> {
    signer: &'s mut Signer,
    now: u64,
}

impl Signing<'_> {
    /// The signatures over a set, one of each key: as they were made before, where they are still good for long enough.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn sign<'r>(
        &mut self,
        owner: Name<'_>,
        rtype: RecordType,
        ttl: u32,
        rdata: impl Iterator<Item = &'r [u8]>,
    ) -> Result<Signatures, SignError> {
        let Signing { signer, now } = self;
        let set = CanonicalSet::new(owner, rtype, ttl, rdata);
        let digest = *blake3::hash(set.octets()).as_bytes();
        let renew_after = signer.renew_after();
        let kept = signer.kept.get(&digest).filter(|kept| kept.is_fresh(*now, renew_after));
        let (made_at, signatures) = match kept {
            Some(kept) => (kept.made_at, Arc::clone(&kept.signatures)),
            None => (*now, signer.sign(&set, *now)?),
        };
        signer.asked += 1;
        if made_at == *now {
            signer.kept.insert(digest, Kept { made_at, signatures: Arc::clone(&signatures) });
        }
        let others = signer.fresh.take().unwrap_or(0..u64::MAX);
        signer.fresh = Some(others.start.max(made_at)..others.end.min(made_at.saturating_add(renew_after)));
        Ok(signatures)
    }
}

impl Signer {
    fn sign(&self, set: &CanonicalSet, now: u64) -> Result<Signatures, SignError> {
        let keys = self.keys.as_ref().map_err(SignError::clone)?;
        let rrsig = |key: &SigningKey| key.rrsig(set, self.apex.as_name(), now, self.validity_s);
        keys.iter().map(|key| rrsig(key).ok_or(SignError::NoRandomness)).collect()
    }
}

impl Kept {
    /// Whether it need not be made anew. Where the clock was set back, a signature might not hold yet.
    fn is_fresh(&self, now: u64, renew_after: u64) -> bool {
        now.checked_sub(self.made_at).is_some_and(|age| age < renew_after)
    }
}

/// Whether resolvers expect signatures in this zone.
pub fn is_signed(version: &Table) -> bool {
    let signed_keys = || version.apex().rrset(RecordType::DNSKEY).is_some_and(|set| set.is_signed());
    version.flags().has(ImageFlags::NSEC) || version.flags().has(ImageFlags::NSEC3) || signed_keys()
}

fn dnskeys(version: &Table) -> Vec<Vec<u8>> {
    let mut dnskeys = Vec::new();
    // An image that was verified has good pointers; and these records have none.
    let _good = version.each_record(version.apex(), |record| {
        if record.rtype == RecordType::DNSKEY {
            dnskeys.push(record.rdata.to_vec());
        }
    });
    dnskeys
}

/// The key with its public half, or why it signs nothing.
fn signing_key(private: &PrivateKey, dnskeys: &[Vec<u8>]) -> Result<SigningKey, &'static str> {
    let mut why = "is not in it";
    for public in dnskeys.iter().filter_map(|rdata| Dnskey::read(rdata)) {
        let Some(pair) = private.pair(public) else { continue };
        if public.is_revoked() {
            why = "is revoked there";
        } else if !public.is_of_zone() {
            why = "has no ZONE flag there";
        } else {
            return Ok(SigningKey { pair, algorithm: public.algorithm(), tag: public.tag() });
        }
    }
    Err(why)
}
