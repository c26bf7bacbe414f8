//! The TSIG record (RFC 8945 §4.2), and what of it and of a message goes into a MAC (§4.3).

use super::key::{Algorithm, Key, Mac};
use wire::message::{HEADER_LEN, RecordView, skip_name, u16_at};
use wire::{Class, Name, NameBuf, RecordType};

/// The most records of a message that is looked at for a TSIG record. A message has at most some 5,400.
const RECORDS_MAX: usize = 6000;

/// Octets of the data beside the algorithm's name, the MAC and the other data.
const DATA_FIXED: usize = 16;

/// Octets of a time.
pub(super) const TIME_LEN: usize = 6;

/// A message whose TSIG record is malformed, not the last one, or not the only one (RFC 8945 §5.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a malformed message, or a TSIG record where none may stand")]
pub struct Malformed;

/// The TSIG record of a message.
#[derive(Clone, Debug)]
pub(super) struct Tsig<'m> {
    /// Where the record starts, and with that the message ends that was signed.
    pub(super) at: usize,
    /// The key's name.
    pub(super) key: NameBuf,
    pub(super) algorithm_name: NameBuf,
    /// When it was signed, in seconds since 1970: 48 bits.
    pub(super) time: u64,
    /// How many seconds clocks may differ.
    pub(super) fudge: u16,
    pub(super) mac: &'m [u8],
    pub(super) original_id: u16,
    pub(super) error: u16,
    pub(super) other: &'m [u8],
}

/// Whether the last record of a message that has the form of one is a TSIG record. Cheap where it has no or only one
/// additional record that is an OPT record without options.
pub fn is_signed(message: &[u8]) -> bool {
    let Some(header) = message.first_chunk::<HEADER_LEN>() else { return false };
    if header[10..] == [0, 0] {
        return false;
    }
    !matches!(find(message), Ok(None))
}

/// Finds the TSIG record; `None` where there is none.
pub(super) fn find(message: &[u8]) -> Result<Option<Tsig<'_>>, Malformed> {
    let count = |at| u16_at(message, at).map(usize::from).ok_or(Malformed);
    let (questions, answers, authority, additional) = (count(4)?, count(6)?, count(8)?, count(10)?);
    let mut at = HEADER_LEN;
    for _ in 0..questions {
        at = skip_name(message, at).ok_or(Malformed)? + 4;
    }
    let records = answers + authority + additional;
    if records > RECORDS_MAX {
        return Err(Malformed);
    }
    for index in 0..records {
        let record = RecordView::read(message, at).ok_or(Malformed)?;
        if record.rtype == RecordType::TSIG {
            let is_last = index + 1 == records && additional > 0 && record.end == message.len();
            if !is_last || record.class != Class::ANY.0 || record.ttl != 0 {
                return Err(Malformed);
            }
            return read(message, &record).map(Some);
        }
        at = record.end;
    }
    Ok(None)
}

fn read<'m>(message: &'m [u8], record: &RecordView) -> Result<Tsig<'m>, Malformed> {
    // The owner may be compressed by a sloppy peer (RFC 8945 §4.2 has it not); the algorithm's name may not.
    let mut key = wire::FoldedName::default();
    key.read_compressed(message, record.owner_at).map_err(|_| Malformed)?;
    let data = &message[record.data_at..record.end];
    let (algorithm, rest) = Name::split_from(data).map_err(|_| Malformed)?;
    let mac_len = usize::from(u16_at(rest, 8).ok_or(Malformed)?);
    let mac = rest.get(10..10 + mac_len).ok_or(Malformed)?;
    let tail = &rest[10 + mac_len..];
    let other_len = usize::from(u16_at(tail, 4).ok_or(Malformed)?);
    let other = tail.get(6..).filter(|other| other.len() == other_len).ok_or(Malformed)?;
    let time = time_of(&rest[..TIME_LEN]);
    Ok(Tsig {
        at: record.owner_at,
        key: NameBuf::from(key.as_name()),
        algorithm_name: NameBuf::from(algorithm),
        time,
        fudge: u16_at(rest, 6).ok_or(Malformed)?,
        mac,
        original_id: u16_at(tail, 0).ok_or(Malformed)?,
        error: u16_at(tail, 2).ok_or(Malformed)?,
        other,
    })
}

/// A time of at most 64 bits, in network order.
pub(super) fn time_of(octets: &[u8]) -> u64 {
    octets.iter().fold(0, |time, octet| time << 8 | u64::from(*octet))
}

/// The 48 bits of a time.
pub(super) fn time_octets(time: u64) -> [u8; TIME_LEN] {
    let [_, _, octets @ ..] = time.to_be_bytes();
    octets
}

/// Adds the MAC before, with its length (RFC 8945 §4.3.1, §5.3.1).
pub(super) fn add_mac(mac: &mut Mac, before: &[u8]) {
    mac.update(&(before.len() as u16).to_be_bytes()); // at most 64 octets, or what a message of 65,535 holds
    mac.update(before);
}

/// Adds a message as it was before its TSIG record was added (RFC 8945 §4.3.2): its original identifier, one record
/// less.
pub(super) fn add_stripped(mac: &mut Mac, message: &[u8], tsig: &Tsig<'_>) {
    let (Some(header), Some(rest)) = (message.first_chunk::<HEADER_LEN>(), message.get(HEADER_LEN..tsig.at))
    else {
        return; // a record was found behind a header
    };
    let mut header = *header;
    header[..2].copy_from_slice(&tsig.original_id.to_be_bytes());
    let additional = u16::from_be_bytes([header[10], header[11]]).saturating_sub(1);
    header[10..].copy_from_slice(&additional.to_be_bytes());
    mac.update(&header);
    mac.update(rest);
}

/// The fields of a record that are signed beside the message.
#[derive(Clone, Copy)]
pub(super) struct Variables<'v> {
    pub(super) time: u64,
    pub(super) fudge: u16,
    pub(super) error: u16,
    pub(super) other: &'v [u8],
}

impl Variables<'_> {
    /// Adds all of them (RFC 8945 §4.3.3).
    pub(super) fn add(&self, mac: &mut Mac, key: &Key) {
        mac.update(key.name().as_wire());
        mac.update(&[0, 255, 0, 0, 0, 0]); // class ANY, TTL 0
        mac.update(key.algorithm().wire());
        self.add_timers(mac);
        mac.update(&self.error.to_be_bytes());
        mac.update(&(self.other.len() as u16).to_be_bytes());
        mac.update(self.other);
    }

    /// Adds the timers alone, as messages of a stream have it from the second on (RFC 8945 §5.3.1).
    pub(super) fn add_timers(&self, mac: &mut Mac) {
        mac.update(&time_octets(self.time));
        mac.update(&self.fudge.to_be_bytes());
    }
}

/// How many octets a record adds to a message, without other data.
pub(super) fn record_len(key_name: Name<'_>, algorithm: Algorithm) -> usize {
    let owner_and_fixed = key_name.len() + wire::message::RECORD_FIXED_LEN;
    owner_and_fixed + algorithm.wire().len() + DATA_FIXED + algorithm.mac_len()
}

/// Appends a record to a message, and counts it.
pub(super) fn append(
    message: &mut Vec<u8>,
    key_name: Name<'_>,
    algorithm_name: &[u8],
    variables: Variables<'_>,
    mac: &[u8],
) {
    let Some(&[id_high, id_low, ..]) = message.first_chunk::<HEADER_LEN>() else { return };
    let additional = u16::from_be_bytes([message[10], message[11]]).saturating_add(1);
    message[10..HEADER_LEN].copy_from_slice(&additional.to_be_bytes());
    let data_len = algorithm_name.len() + DATA_FIXED + mac.len() + variables.other.len();
    message.extend_from_slice(key_name.as_wire());
    message.extend(
        [RecordType::TSIG.0, Class::ANY.0, 0, 0, data_len as u16].map(u16::to_be_bytes).as_flattened(),
    );
    message.extend_from_slice(algorithm_name);
    message.extend(time_octets(variables.time));
    message.extend([variables.fudge, mac.len() as u16].map(u16::to_be_bytes).as_flattened());
    message.extend_from_slice(mac);
    message.extend([id_high, id_low]);
    message.extend([variables.error, variables.other.len() as u16].map(u16::to_be_bytes).as_flattened());
    message.extend_from_slice(variables.other);
}
