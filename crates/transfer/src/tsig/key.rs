//! Keys and their algorithms.

use hmac::{Hmac, KeyInit, Mac as _};
use sha1::Sha1;
use sha2::{Sha224, Sha256, Sha384, Sha512};
use std::fmt;
use std::sync::Arc;
use wire::{Name, NameBuf};

/// How a message is signed (RFC 8945 §6). MD5, and what is no HMAC, is not to be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    /// `hmac-sha1`: for old peers alone.
    Sha1,
    /// `hmac-sha224`.
    Sha224,
    /// `hmac-sha256`: what every implementation has.
    Sha256,
    /// `hmac-sha384`.
    Sha384,
    /// `hmac-sha512`.
    Sha512,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Algorithm; 5] =
        [Algorithm::Sha1, Algorithm::Sha224, Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512];

    /// The name, as it is configured.
    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::Sha1 => "hmac-sha1",
            Algorithm::Sha224 => "hmac-sha224",
            Algorithm::Sha256 => "hmac-sha256",
            Algorithm::Sha384 => "hmac-sha384",
            Algorithm::Sha512 => "hmac-sha512",
        }
    }

    /// The name in wire form.
    pub(super) fn wire(self) -> &'static [u8] {
        match self {
            Algorithm::Sha1 => b"\x09hmac-sha1\0",
            Algorithm::Sha224 => b"\x0bhmac-sha224\0",
            Algorithm::Sha256 => b"\x0bhmac-sha256\0",
            Algorithm::Sha384 => b"\x0bhmac-sha384\0",
            Algorithm::Sha512 => b"\x0bhmac-sha512\0",
        }
    }

    /// The algorithm with this name.
    pub fn from_name(name: Name<'_>) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|algorithm| name.as_wire().eq_ignore_ascii_case(algorithm.wire()))
    }

    /// The algorithm that is configured so.
    pub fn from_text(text: &str) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|algorithm| text.eq_ignore_ascii_case(algorithm.as_str()))
    }

    /// Octets of a whole MAC.
    pub fn mac_len(self) -> usize {
        match self {
            Algorithm::Sha1 => 20,
            Algorithm::Sha224 => 28,
            Algorithm::Sha256 => 32,
            Algorithm::Sha384 => 48,
            Algorithm::Sha512 => 64,
        }
    }
}

/// A MAC that is being computed.
#[derive(Clone)]
pub(super) enum Mac {
    Sha1(Hmac<Sha1>),
    Sha224(Hmac<Sha224>),
    Sha256(Hmac<Sha256>),
    Sha384(Hmac<Sha384>),
    Sha512(Hmac<Sha512>),
}

impl Mac {
    /// A MAC with this secret; an HMAC takes one of any length.
    fn new(algorithm: Algorithm, secret: &[u8]) -> Option<Mac> {
        Some(match algorithm {
            Algorithm::Sha1 => Mac::Sha1(Hmac::new_from_slice(secret).ok()?),
            Algorithm::Sha224 => Mac::Sha224(Hmac::new_from_slice(secret).ok()?),
            Algorithm::Sha256 => Mac::Sha256(Hmac::new_from_slice(secret).ok()?),
            Algorithm::Sha384 => Mac::Sha384(Hmac::new_from_slice(secret).ok()?),
            Algorithm::Sha512 => Mac::Sha512(Hmac::new_from_slice(secret).ok()?),
        })
    }

    pub(super) fn update(&mut self, octets: &[u8]) {
        match self {
            Mac::Sha1(mac) => mac.update(octets),
            Mac::Sha224(mac) => mac.update(octets),
            Mac::Sha256(mac) => mac.update(octets),
            Mac::Sha384(mac) => mac.update(octets),
            Mac::Sha512(mac) => mac.update(octets),
        }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        match self {
            Mac::Sha1(mac) => mac.finalize().into_bytes().to_vec(),
            Mac::Sha224(mac) => mac.finalize().into_bytes().to_vec(),
            Mac::Sha256(mac) => mac.finalize().into_bytes().to_vec(),
            Mac::Sha384(mac) => mac.finalize().into_bytes().to_vec(),
            Mac::Sha512(mac) => mac.finalize().into_bytes().to_vec(),
        }
    }

    /// Whether these are the first octets of the MAC, in a time that doesn't tell how many agree.
    pub(super) fn begins_with(self, octets: &[u8]) -> bool {
        match self {
            Mac::Sha1(mac) => mac.verify_truncated_left(octets).is_ok(),
            Mac::Sha224(mac) => mac.verify_truncated_left(octets).is_ok(),
            Mac::Sha256(mac) => mac.verify_truncated_left(octets).is_ok(),
            Mac::Sha384(mac) => mac.verify_truncated_left(octets).is_ok(),
            Mac::Sha512(mac) => mac.verify_truncated_left(octets).is_ok(),
        }
    }
}

/// A secret that two nodes share, and its name.
#[derive(Clone)]
pub struct Key {
    name: NameBuf,
    algorithm: Algorithm,
    /// What a message is hashed on from.
    mac: Mac,
    /// To tell whether a reload has changed the key.
    secret: Box<[u8]>,
}

impl Key {
    /// A key; `None` where the secret is empty.
    pub fn new(name: Name<'_>, algorithm: Algorithm, secret: &[u8]) -> Option<Key> {
        if secret.is_empty() {
            return None;
        }
        let mut lower = NameBuf::from(name);
        lower.make_lowercase();
        Some(Key { name: lower, algorithm, mac: Mac::new(algorithm, secret)?, secret: secret.into() })
    }

    /// The name, in lower case: its canonical form.
    pub fn name(&self) -> Name<'_> {
        self.name.as_name()
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// A secret for another purpose than signing DNS messages: the MAC of the purpose, which is a text without octets
    /// of zero, as no input of TSIG is (RFC 8945 §4.3). It says nothing of the key's own secret, nor of those for
    /// other purposes.
    pub fn derived(&self, purpose: &str) -> Vec<u8> {
        let mut mac = self.mac();
        mac.update(purpose.as_bytes());
        mac.finish()
    }

    pub(super) fn mac(&self) -> Mac {
        self.mac.clone()
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        (self.name(), self.algorithm, &self.secret) == (other.name(), other.algorithm, &other.secret)
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    /// Without the secret, which must not get into a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.algorithm.as_str())
    }
}

/// The keys that a node has; their names are unique.
#[derive(Clone, Default, Debug)]
pub struct Keys(Vec<Arc<Key>>);

impl Keys {
    /// Keys of different names.
    pub fn new(keys: Vec<Arc<Key>>) -> Keys {
        Keys(keys)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The key with this name.
    pub fn find(&self, name: Name<'_>) -> Option<&Arc<Key>> {
        self.0.iter().find(|key| key.name().eq_ignore_case(name))
    }
}
