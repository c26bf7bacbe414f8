//! How nodes prove to each other that they belong together.
//!
//! Who asks says when, adds a number that was never used before, and signs that. The answer is signed over this
//! signature and over itself: it can't be an answer to another question, of another moment, or somebody else's words.
//! Both are HMAC-SHA256 with a secret that is derived from the key of the configuration for this alone. Nothing is
//! encrypted.

use ring::hmac::{HMAC_SHA256, Key as Mac, sign, verify};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, error::Unspecified};
use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;
use transfer::tsig::Key;

/// Where nodes say what their checks see.
pub(crate) const PATH: &str = "/pool-views";
/// What the secret is for.
const PURPOSE: &str = "starling: what the checks of pools see, shared between nodes, version 1";
/// How who asks proves it (RFC 9110 §11.4).
const SCHEME: &str = "Starling-HMAC-SHA256";
/// How many seconds clocks may differ, as for TSIG (RFC 8945 §10): a question that somebody has overheard can be asked
/// again for so long, and its answer is no news to him.
const CLOCKS_DIFFER_S: u64 = 300;
const NONCE_LEN: usize = 16;
const MAC_LEN: usize = 32;

/// A question, as it is signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Asked {
    /// When, in seconds since 1970.
    time: u64,
    nonce: [u8; NONCE_LEN],
    mac: [u8; MAC_LEN],
}

/// Why a question gets no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// It is not signed with our key.
    Stranger,
    /// It is, and was long ago, or the clocks differ.
    OtherTime,
}

/// What signs and verifies.
pub(super) struct Seal(Mac);

impl Seal {
    pub(super) fn new(key: &Key) -> Seal {
        Seal(Mac::new(HMAC_SHA256, &key.derived(PURPOSE)))
    }

    /// A question of this moment, in seconds since 1970.
    ///
    /// # Errors
    /// The kernel gives no random numbers.
    pub(super) fn ask(&self, now: u64) -> Result<Asked, Unspecified> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce)?;
        let tag = sign(&self.0, &question(now, &nonce));
        let mac = tag.as_ref().try_into().map_err(|_| Unspecified)?;
        Ok(Asked { time: now, nonce, mac })
    }

    /// Whether a question is one of a node with our key, and of now.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn accept(&self, asked: &Asked, now: u64) -> Result<(), Refusal> {
        // In a time that doesn't tell how many octets agree.
        verify(&self.0, &question(asked.time, &asked.nonce), &asked.mac).map_err(|_| Refusal::Stranger)?;
        if now.abs_diff(asked.time) > CLOCKS_DIFFER_S {
            return Err(Refusal::OtherTime);
        }
        Ok(())
    }

    /// The signature of an answer, in hexadecimal digits.
    pub(super) fn sign(&self, asked: &Asked, body: &[u8]) -> String {
        hexadecimal(sign(&self.0, &answer(asked, body)).as_ref())
    }

    /// Whether this is the signature of an answer to this question.
    pub(super) fn is_of(&self, asked: &Asked, body: &[u8], mac: &str) -> bool {
        octets::<MAC_LEN>(mac).is_some_and(|mac| verify(&self.0, &answer(asked, body), &mac).is_ok())
    }
}

/// The time, in seconds since 1970.
pub(super) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// What is signed of a question. All of its parts have one length each, or are the last.
fn question(time: u64, nonce: &[u8; NONCE_LEN]) -> Vec<u8> {
    [b"question\n", &time.to_be_bytes()[..], nonce, b"GET ", PATH.as_bytes()].concat()
}

/// What is signed of an answer.
fn answer(asked: &Asked, body: &[u8]) -> Vec<u8> {
    [b"answer\n", &asked.mac[..], digest::digest(&digest::SHA256, body).as_ref()].concat()
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME} {} {} {}", self.time, hexadecimal(&self.nonce), hexadecimal(&self.mac))
    }
}

/// It is no question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NotAsked;

impl FromStr for Asked {
    type Err = NotAsked;

    fn from_str(text: &str) -> Result<Asked, NotAsked> {
        let mut words = text.split(' ');
        let mut word = || words.next().ok_or(NotAsked);
        if !word()?.eq_ignore_ascii_case(SCHEME) {
            return Err(NotAsked);
        }
        let time = word()?.parse().map_err(|_| NotAsked)?;
        let nonce = octets(word()?).ok_or(NotAsked)?;
        let mac = octets(word()?).ok_or(NotAsked)?;
        if word().is_ok() { Err(NotAsked) } else { Ok(Asked { time, nonce, mac }) }
    }
}

/// Octets in hexadecimal digits, two each.
pub(super) fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Reads as many octets from hexadecimal digits.
pub(super) fn octets<const N: usize>(text: &str) -> Option<[u8; N]> {
    let is_hex = text.bytes().all(|octet| octet.is_ascii_hexdigit()); // a sign would be read too
    if text.len() != 2 * N || !is_hex {
        return None;
    }
    let mut octets = [0; N];
    for (octet, at) in octets.iter_mut().zip((0..).step_by(2)) {
        *octet = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use transfer::tsig::Algorithm;

    const NOW: u64 = 1_800_000_000;

    fn seal(secret: &[u8]) -> Seal {
        let name = crate::config::apex("nodes.example").unwrap();
        Seal::new(&Key::new(name.as_name(), Algorithm::Sha256, secret).unwrap())
    }

    #[test]
    fn only_who_has_the_key_is_answered_and_only_now() {
        let (one, same, other) = (seal(b"a secret"), seal(b"a secret"), seal(b"another"));
        let asked: Asked = one.ask(NOW).unwrap().to_string().parse().unwrap();
        for now in [NOW, NOW - 300, NOW + 300] {
            assert_eq!(same.accept(&asked, now), Ok(()));
        }
        for now in [NOW - 301, NOW + 301, 0, u64::MAX] {
            assert_eq!(same.accept(&asked, now), Err(Refusal::OtherTime));
        }
        assert_eq!(other.accept(&asked, NOW), Err(Refusal::Stranger));
        for changed in [
            Asked { time: NOW + 1, ..asked },
            Asked { nonce: [7; NONCE_LEN], ..asked },
            Asked { mac: [7; MAC_LEN], ..asked },
        ] {
            assert_eq!(same.accept(&changed, NOW), Err(Refusal::Stranger));
        }
    }

    #[test]
    fn an_answer_is_to_one_question_alone() {
        let (one, same, other) = (seal(b"a secret"), seal(b"a secret"), seal(b"another"));
        let (asked, again) = (one.ask(NOW).unwrap(), one.ask(NOW).unwrap());
        let mac = same.sign(&asked, b"{}");
        assert!(one.is_of(&asked, b"{}", &mac));
        assert!(!one.is_of(&again, b"{}", &mac), "a recorded answer is none to the next question");
        assert!(!one.is_of(&asked, b"{ }", &mac), "another body");
        assert!(!other.is_of(&asked, b"{}", &mac), "another key");
        // The question's own signature is none of an answer.
        assert!(!one.is_of(&asked, b"", &hexadecimal(&asked.mac)));
        for damaged in ["", "0", &mac[2..], &format!("+{}", &mac[1..]), &format!("{mac}00"), "é"] {
            assert!(!one.is_of(&asked, b"{}", damaged), "{damaged}");
        }
    }

    #[test]
    fn what_is_no_question_is_none() {
        let good = seal(b"a secret").ask(NOW).unwrap().to_string();
        assert!(good.parse::<Asked>().is_ok());
        let basic = good.replace(SCHEME, "Basic");
        let short = &good[..good.len() - 1];
        for text in ["", SCHEME, &basic, short, &format!("{good} x"), &good.replace(' ', "  "), "é é é é"]
        {
            assert_eq!(text.parse::<Asked>(), Err(NotAsked), "{text}");
        }
    }
}
