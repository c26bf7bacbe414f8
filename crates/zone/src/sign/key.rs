//! Private keys, as BIND's tools write them: `Kname+algorithm+tag.private`.
//!
//! A file has lines of a word, a colon and a value. The public half is not in it: it is found in the DNSKEY set of the
//! zone, which has to have it anyway.

use crate::dnskey::Dnskey;
use crate::rdata;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Octets of a private key: a number (RFC 6605 §6) or a seed (RFC 8080 §6).
const SECRET_LEN: usize = 32;
/// What stands before the two numbers of a public key of P-256 (SEC 1 §2.3.3: not compressed), which DNSKEY leaves out
/// (RFC 6605 §4).
const UNCOMPRESSED: u8 = 4;

/// The algorithms of signatures made here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    /// ECDSA with the curve P-256 and SHA-256 (RFC 6605).
    EcdsaP256,
    /// Ed25519 (RFC 8080).
    Ed25519,
}

impl Algorithm {
    /// Its number in DNSKEY and RRSIG records.
    pub fn number(self) -> u8 {
        match self {
            Algorithm::EcdsaP256 => 13,
            Algorithm::Ed25519 => 15,
        }
    }

    fn from_number(number: u8) -> Option<Algorithm> {
        [Algorithm::EcdsaP256, Algorithm::Ed25519].into_iter().find(|known| known.number() == number)
    }
}

/// Why a text is no private key that can be used here.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// It is something else.
    #[error("it holds no private key as dnssec-keygen writes them, to files whose names end in .private")]
    NoKey,
    /// The algorithm is another one.
    #[error("its algorithm is {0}; signatures are made here with 13 (ECDSAP256SHA256) and 15 (ED25519)")]
    Algorithm(u8),
    /// What should be the key is something else, as where it stays in a hardware module.
    #[error("its `PrivateKey` is missing, or is not 32 octets in base64")]
    Secret,
}

/// A private key. Its octets are wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey {
    name: Arc<str>,
    algorithm: Algorithm,
    secret: Zeroizing<[u8; SECRET_LEN]>,
}

impl fmt::Debug for PrivateKey {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({}, {:?})", self.name, self.algorithm)
    }
}

impl PrivateKey {
    /// Reads the text of a file, which `name` stands for in messages.
    ///
    /// # Errors
    /// It holds something else, or a key of another algorithm.
    pub fn from_text(name: &str, text: &[u8]) -> Result<PrivateKey, KeyError> {
        let text = std::str::from_utf8(text).map_err(|_| KeyError::NoKey)?;
        let value = |word: &str| {
            let of_line = |line: &'_ str| line.split_once(':').filter(|(found, _)| *found == word).is_some();
            let line = text.lines().find(|line| of_line(line))?;
            line.split_once(':').map(|(_, value)| value.trim())
        };
        // Later minor versions only add lines.
        value("Private-key-format").filter(|format| format.starts_with("v1.")).ok_or(KeyError::NoKey)?;
        let number = value("Algorithm").and_then(|text| text.split([' ', '(']).next()?.parse().ok());
        let number = number.ok_or(KeyError::NoKey)?;
        let algorithm = Algorithm::from_number(number).ok_or(KeyError::Algorithm(number))?;
        let octets = value("PrivateKey").and_then(|text| rdata::base64(text.as_bytes())).map(Zeroizing::new);
        let octets = octets.filter(|octets| octets.len() == SECRET_LEN).ok_or(KeyError::Secret)?;
        let mut secret = Zeroizing::new([0; SECRET_LEN]);
        secret.copy_from_slice(&octets);
        Ok(PrivateKey { name: name.into(), algorithm, secret })
    }

    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The algorithm of its signatures.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key to sign with, if this is its public half.
    pub(super) fn pair(&self, public: Dnskey<'_>) -> Option<Pair> {
        if public.algorithm() != self.algorithm.number() {
            return None;
        }
        let secret = self.secret.as_slice();
        match self.algorithm {
            Algorithm::Ed25519 => {
                Ed25519KeyPair::from_seed_and_public_key(secret, public.public()).ok().map(Pair::Ed25519)
            }
            Algorithm::EcdsaP256 => {
                let random = SystemRandom::new();
                let point = [&[UNCOMPRESSED], public.public()].concat();
                let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let pair =
                    EcdsaKeyPair::from_private_key_and_public_key(algorithm, secret, &point, &random).ok()?;
                Some(Pair::EcdsaP256(pair, random))
            }
        }
    }
}

/// Both halves of a key, as the library wants them; it does not wipe them.
pub(super) enum Pair {
    EcdsaP256(EcdsaKeyPair, SystemRandom),
    Ed25519(Ed25519KeyPair),
}

impl Pair {
    /// The signature of a message; `None` where the system has no random numbers.
    pub(super) fn sign(&self, message: &[u8]) -> Option<ring::signature::Signature> {
        match self {
            Pair::EcdsaP256(pair, random) => pair.sign(random, message).ok(),
            Pair::Ed25519(pair) => Some(pair.sign(message)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "ODIyNjAzODQ2MjgwODAxMjI2NDUxOTAyMDQxNDIyNjI=";

    #[test]
    fn what_is_no_key_is_told() {
        let of = |text: &str| PrivateKey::from_text("a file", text.as_bytes());
        let good =
            format!("Private-key-format: v1.3\nAlgorithm: 15 (ED25519)\nPrivateKey: {SECRET}\nCreated: 1\n");
        let key = of(&good).unwrap();
        assert_eq!((key.name(), key.algorithm()), ("a file", Algorithm::Ed25519));
        assert!(!format!("{key:?}").contains("ODIy") && format!("{key:?}").contains("a file"), "{key:?}");
        assert_eq!(
            of(&good.replace("15 (ED25519)", "13 (ECDSAP256SHA256)")).unwrap().algorithm().number(),
            13
        );
        for (text, error) in [
            (String::new(), KeyError::NoKey),
            ("example.com. IN DNSKEY 257 3 15 AAAA\n".to_owned(), KeyError::NoKey),
            (good.replace("v1.3", "v2.0"), KeyError::NoKey),
            (good.replace("15 (ED25519)", "?"), KeyError::NoKey),
            (good.replace("15 (ED25519)", "8 (RSASHA256)"), KeyError::Algorithm(8)),
            (good.replace("PrivateKey", "Label"), KeyError::Secret),
            (good.replace(SECRET, "AAAA"), KeyError::Secret),
            (good.replace(SECRET, "?"), KeyError::Secret),
        ] {
            assert_eq!(of(&text), Err(error), "{text}");
        }
        assert_eq!(PrivateKey::from_text("a file", b"\xff"), Err(KeyError::NoKey));
    }
}
