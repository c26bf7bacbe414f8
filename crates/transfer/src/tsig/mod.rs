//! TSIG (RFC 8945): messages signed with a shared secret, single ones and streams of them.
//!
//! A server checks a request with [`verify_request`] and signs what it answers with the [`Signer`] that it gets; a client
//! signs with [`sign_request`] and checks what comes with the [`Verifier`] that it gets. Both know the time only as
//! their caller tells it.

mod key;
mod record;

pub use key::{Algorithm, Key, Keys};
pub use record::{Malformed, is_signed};

use key::Mac;
use record::{TIME_LEN, Tsig, Variables, add_mac, add_stripped, append, find, time_octets, time_of};
use std::sync::Arc;
use wire::message::{HEADER_LEN, OPCODE_MASK, QR, RD, skip_name, u16_at};
use wire::{NameBuf, Rcode};

/// How many seconds clocks may differ, in what we sign: what RFC 8945 §10 recommends.
pub const FUDGE_S: u16 = 300;

/// How many messages of a stream may come unsigned between two that are signed (RFC 8945 §5.3.1).
pub const UNSIGNED_MAX: usize = 99;

/// The fewest octets of a MAC that is not malformed (RFC 8945 §5.2.2.1); half of the whole MAC, where that is more.
const MAC_MIN: usize = 10;

/// What a TSIG record says is wrong (RFC 8945 §3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum ErrorCode {
    /// The MAC is not that of the message.
    BadSig = 16,
    /// The key is not known, or has another algorithm.
    BadKey = 17,
    /// The clocks differ too much.
    BadTime = 18,
    /// The MAC is cut shorter than is accepted here: at all.
    BadTrunc = 22,
}

/// Why a message of a server is not accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Untrusted {
    /// It is malformed.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It should be signed and isn't.
    #[error("the message is not signed")]
    Unsigned,
    /// Too many messages of a stream are not signed.
    #[error("more than 99 messages in a row are not signed")]
    TooManyUnsigned,
    /// It is signed with another key.
    #[error("the message is signed with another key")]
    OtherKey,
    /// The MAC is not that of the message.
    #[error("the signature is wrong: the secrets differ, or somebody has changed the message")]
    BadSig,
    /// It was signed too long ago, or in the future.
    #[error("the clocks differ: it is signed at {signed}, and here it is {now} (seconds since 1970), {} seconds off", signed.abs_diff(*now))]
    BadTime {
        /// When it was signed, by the clock there.
        signed: u64,
        /// What time it is here.
        now: u64,
    },
    /// The server says that our request was signed too long ago, or in the future.
    #[error("the server does not accept our signature, BADTIME: its clock says {theirs} and ours {ours} (seconds since 1970), {} seconds off", theirs.abs_diff(*ours))]
    RefusedForTime {
        /// What time it is there.
        theirs: u64,
        /// What time it is here.
        ours: u64,
    },
    /// The server says that the request is not accepted, with this code.
    #[error("the server does not accept our signature: {}", error_text(*.0))]
    Refused(u16),
}

fn error_text(code: u16) -> String {
    match code {
        16 => "BADSIG (the secrets differ)".to_owned(),
        17 => "BADKEY (it does not know the key, or has it with another algorithm)".to_owned(),
        18 => "BADTIME (the clocks differ)".to_owned(),
        22 => "BADTRUNC".to_owned(),
        other => format!("error {other}"),
    }
}

/// A request that was signed with one of our keys.
#[derive(Debug)]
pub struct Authenticated {
    /// The key.
    pub key: Arc<Key>,
    /// The request as it was before it was signed.
    pub request: Vec<u8>,
    mac: Vec<u8>,
}

/// A request that is not accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Rejected {
    /// Malformed: FORMERR, and nothing is signed.
    Malformed,
    /// With the response that says so: NOTAUTH and a TSIG record with the code.
    Refused(ErrorCode, Vec<u8>),
}

/// Checks a request; `None` where it is not signed.
///
/// # Errors
/// It is signed, and not as it should be (RFC 8945 §5.2). `now` is the time in seconds since 1970.
pub fn verify_request(message: &[u8], keys: &Keys, now: u64) -> Result<Option<Authenticated>, Rejected> {
    let Some(tsig) = find(message).map_err(|Malformed| Rejected::Malformed)? else { return Ok(None) };
    let key = keys.find(tsig.key.as_name());
    let key = key.filter(|key| Algorithm::from_name(tsig.algorithm_name.as_name()) == Some(key.algorithm()));
    // RFC 8945 §5.2: key, MAC, time, and then whether the MAC is long enough for us.
    let Some(key) = key else { return Err(unsigned_refusal(message, &tsig, ErrorCode::BadKey)) };
    let mac_len = key.algorithm().mac_len();
    if tsig.mac.len() > mac_len || tsig.mac.len() < MAC_MIN.max(mac_len / 2) {
        return Err(Rejected::Malformed);
    }
    let mut mac = key.mac();
    add_stripped(&mut mac, message, &tsig);
    variables_of(&tsig).add(&mut mac, key);
    if !mac.begins_with(tsig.mac) {
        return Err(unsigned_refusal(message, &tsig, ErrorCode::BadSig));
    }
    if now.abs_diff(tsig.time) > u64::from(tsig.fudge) {
        return Err(signed_refusal(message, &tsig, key, ErrorCode::BadTime, now));
    }
    if tsig.mac.len() < mac_len {
        return Err(signed_refusal(message, &tsig, key, ErrorCode::BadTrunc, now));
    }
    Ok(Some(Authenticated {
        key: Arc::clone(key),
        request: stripped(message, &tsig),
        mac: tsig.mac.to_vec(),
    }))
}

/// The message as it was before its TSIG record was added.
fn stripped(message: &[u8], tsig: &Tsig<'_>) -> Vec<u8> {
    let mut stripped = message[..tsig.at].to_vec();
    let additional = u16_at(message, 10).unwrap_or_default().saturating_sub(1);
    stripped[10..HEADER_LEN].copy_from_slice(&additional.to_be_bytes());
    stripped
}

fn variables_of<'m>(tsig: &Tsig<'m>) -> Variables<'m> {
    Variables { time: tsig.time, fudge: tsig.fudge, error: tsig.error, other: tsig.other }
}

/// NOTAUTH, with the question of the request.
fn refusal(message: &[u8]) -> Vec<u8> {
    let question_end = match u16_at(message, 4) {
        Some(1) => skip_name(message, HEADER_LEN).map_or(HEADER_LEN, |end| end + 4),
        _ => HEADER_LEN,
    };
    let mut response = message.get(..question_end).unwrap_or(&message[..HEADER_LEN]).to_vec();
    let flags = u16_at(message, 2).unwrap_or_default() & (OPCODE_MASK | RD);
    response[2..4].copy_from_slice(&(QR | flags | Rcode::NOTAUTH.0).to_be_bytes());
    response[4..6].copy_from_slice(&u16::from(question_end > HEADER_LEN).to_be_bytes());
    response[6..HEADER_LEN].fill(0);
    response
}

/// BADKEY and BADSIG are told without a MAC (RFC 8945 §5.3.2): whoever asked may not have the key.
fn unsigned_refusal(message: &[u8], tsig: &Tsig<'_>, code: ErrorCode) -> Rejected {
    let mut response = refusal(message);
    let variables = Variables { time: tsig.time, fudge: tsig.fudge, error: code as u16, other: &[] };
    append(&mut response, tsig.key.as_name(), tsig.algorithm_name.as_name().as_wire(), variables, &[]);
    Rejected::Refused(code, response)
}

/// BADTIME and BADTRUNC are signed; of BADTIME the client learns what time it is here (RFC 8945 §5.2.3).
fn signed_refusal(message: &[u8], tsig: &Tsig<'_>, key: &Arc<Key>, code: ErrorCode, now: u64) -> Rejected {
    let mut response = refusal(message);
    let our_time = time_octets(now);
    let (time, other) = match code {
        ErrorCode::BadTime => (tsig.time, &our_time[..]),
        _ => (now, &[][..]),
    };
    let variables = Variables { time, fudge: FUDGE_S, error: code as u16, other };
    let mut mac = key.mac();
    add_mac(&mut mac, tsig.mac);
    mac.update(&response);
    variables.add(&mut mac, key);
    append(&mut response, key.name(), key.algorithm().wire(), variables, &mac.finish());
    Rejected::Refused(code, response)
}

/// Signs what answers a request: one message, or a stream of them.
pub struct Signer {
    key: Arc<Key>,
    /// The MAC of the request, and then of the message before.
    before: Vec<u8>,
    is_first: bool,
}

impl Authenticated {
    /// What signs the answer.
    pub fn signer(&self) -> Signer {
        Signer { key: Arc::clone(&self.key), before: self.mac.clone(), is_first: true }
    }
}

impl Signer {
    /// How many octets a signature adds.
    pub fn signature_len(&self) -> usize {
        record::record_len(self.key.name(), self.key.algorithm())
    }

    /// Signs the next message. Every message of a stream is signed: a client may refuse gaps, and the MAC of 16 KiB costs
    /// less than sending them.
    pub fn sign(&mut self, message: &mut Vec<u8>, now: u64) {
        let variables = Variables { time: now, fudge: FUDGE_S, error: 0, other: &[] };
        let mut mac = self.key.mac();
        add_mac(&mut mac, &self.before);
        mac.update(message);
        if std::mem::take(&mut self.is_first) {
            variables.add(&mut mac, &self.key);
        } else {
            variables.add_timers(&mut mac);
        }
        self.before = mac.finish();
        append(message, self.key.name(), self.key.algorithm().wire(), variables, &self.before);
    }
}

/// Signs a request, or any message that answers none (a NOTIFY); gives what checks the answers.
pub fn sign_request(message: &mut Vec<u8>, key: &Arc<Key>, now: u64) -> Verifier {
    let variables = Variables { time: now, fudge: FUDGE_S, error: 0, other: &[] };
    let mut mac = key.mac();
    mac.update(message);
    variables.add(&mut mac, key);
    let before = mac.finish();
    append(message, key.name(), key.algorithm().wire(), variables, &before);
    Verifier::new(Arc::clone(key), &before)
}

/// How many octets a signature with this key adds to a message.
pub fn signature_len(key: &Key) -> usize {
    record::record_len(key.name(), key.algorithm())
}

/// Checks what answers a request: one message, or a stream of them in which some are not signed.
pub struct Verifier {
    key: Arc<Key>,
    /// Of the MAC before and the messages since then that were not signed.
    mac: Mac,
    unsigned: usize,
    is_first: bool,
}

impl Verifier {
    fn new(key: Arc<Key>, request_mac: &[u8]) -> Verifier {
        let mut mac = key.mac();
        add_mac(&mut mac, request_mac);
        Verifier { key, mac, unsigned: 0, is_first: true }
    }

    /// Checks the next message; gives where its TSIG record starts, which is where the message ends where it has none.
    /// What isn't signed itself is to be trusted only when [`Verifier::finish`] says so.
    ///
    /// # Errors
    /// The message, and with it what came before, is not to be trusted.
    pub fn verify(&mut self, message: &[u8], now: u64) -> Result<usize, Untrusted> {
        let Some(tsig) = find(message)? else { return self.unsigned(message) };
        if !tsig.key.as_name().eq_ignore_case(self.key.name())
            || Algorithm::from_name(tsig.algorithm_name.as_name()) != Some(self.key.algorithm())
        {
            return Err(Untrusted::OtherKey);
        }
        if tsig.error != 0 && tsig.mac.is_empty() {
            return Err(Untrusted::Refused(tsig.error)); // not signed (RFC 8945 §5.3.2), and no reason to go on
        }
        if tsig.mac.len() != self.key.algorithm().mac_len() {
            return Err(Untrusted::BadSig);
        }
        let mut mac = self.mac.clone();
        add_stripped(&mut mac, message, &tsig);
        let variables = variables_of(&tsig);
        if self.is_first {
            variables.add(&mut mac, &self.key);
        } else {
            variables.add_timers(&mut mac);
        }
        if !mac.begins_with(tsig.mac) {
            return Err(Untrusted::BadSig);
        }
        if tsig.error != 0 {
            return Err(refused(&tsig, now));
        }
        // Each message by its own time: a transfer may take longer than clocks may differ.
        if now.abs_diff(tsig.time) > u64::from(tsig.fudge) {
            return Err(Untrusted::BadTime { signed: tsig.time, now });
        }
        self.mac = self.key.mac();
        add_mac(&mut self.mac, tsig.mac);
        (self.is_first, self.unsigned) = (false, 0);
        Ok(tsig.at)
    }

    fn unsigned(&mut self, message: &[u8]) -> Result<usize, Untrusted> {
        if self.is_first {
            return Err(Untrusted::Unsigned); // RFC 8945 §5.3.1: the first is signed
        }
        if self.unsigned == UNSIGNED_MAX {
            return Err(Untrusted::TooManyUnsigned);
        }
        self.unsigned += 1;
        self.mac.update(message);
        Ok(message.len())
    }

    /// Whether everything that was given is signed: the last message of a stream has to be (RFC 8945 §5.3.1).
    ///
    /// # Errors
    /// The last message was not signed.
    pub fn finish(&self) -> Result<(), Untrusted> {
        if self.is_first || self.unsigned > 0 { Err(Untrusted::Unsigned) } else { Ok(()) }
    }
}

/// What a server says that has signed its refusal; of BADTIME it tells its time (RFC 8945 §5.2.3).
fn refused(tsig: &Tsig<'_>, now: u64) -> Untrusted {
    match tsig.other {
        theirs if tsig.error == ErrorCode::BadTime as u16 && theirs.len() == TIME_LEN => {
            Untrusted::RefusedForTime { theirs: time_of(theirs), ours: now }
        }
        _ => Untrusted::Refused(tsig.error),
    }
}

/// The name of the key that a message says it is signed with, for messages about it.
pub fn key_name(message: &[u8]) -> Option<NameBuf> {
    find(message).ok().flatten().map(|tsig| tsig.key)
}

#[cfg(test)]
mod tests;
