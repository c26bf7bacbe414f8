//! The questions that a secondary asks, and the answers that fit one message.

use crate::Soa;
use crate::incoming::Fault;
use wire::message::{AA, HEADER_LEN, MESSAGE_MAX, OPCODE_MASK, POINTER, QR, RecordView, TC, u16_at};
use wire::{Class, Name, NameBuf, Rcode, RecordType};
use zone::rdata;

/// The most records of an answer that are looked at in search of the SOA record: it is the first of its section.
const RECORDS_MAX: u16 = 8;

/// A question about a zone: SOA or AXFR, without recursion and without EDNS, which neither needs.
pub fn question(zone: Name<'_>, qtype: RecordType, id: u16) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER_LEN + zone.len() + 4);
    message.extend([id, 0, 1, 0, 0, 0].map(u16::to_be_bytes).as_flattened());
    message.extend(zone.as_wire());
    message.extend([qtype.0, Class::IN.0].map(u16::to_be_bytes).as_flattened());
    message
}

/// A question for what has changed in a zone since the version with this serial (RFC 1995 §3).
///
/// Of the SOA record that goes with it primaries look at the serial alone, so the rest is left empty.
pub fn question_since(zone: Name<'_>, serial: u32, id: u16) -> Vec<u8> {
    const SOA_LEN: u16 = 22; // two times the root, and five numbers
    let mut message = question(zone, RecordType::IXFR, id);
    message[9] = 1; // a record in the authority section
    message.extend([POINTER | HEADER_LEN as u16].map(u16::to_be_bytes).as_flattened());
    message.extend([RecordType::SOA.0, Class::IN.0, 0, 0, SOA_LEN, 0].map(u16::to_be_bytes).as_flattened());
    message.extend([serial, 0, 0, 0, 0].map(u32::to_be_bytes).as_flattened());
    message
}

/// What a primary says of its version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SoaAnswer {
    /// This.
    Soa(Soa),
    /// That it doesn't fit a datagram: to be asked over TCP.
    Truncated,
}

/// Reads the header of a response to `question(zone, qtype, id)`, and gives where its answer section starts.
///
/// # Errors
/// When it is no authoritative response to that question without an error.
pub(crate) fn read_header(
    message: &[u8],
    zone: Name<'_>,
    qtype: RecordType,
    id: u16,
    question: Question,
) -> Result<usize, Fault> {
    let word = |index: usize| u16_at(message, 2 * index).ok_or(Fault::Malformed);
    let flags = word(1)?;
    if message.len() > MESSAGE_MAX || word(0)? != id || flags & QR == 0 || flags & OPCODE_MASK != 0 {
        return Err(Fault::NotTheAnswer);
    }
    let rcode = Rcode(flags & 0xf);
    if rcode != Rcode::NOERROR {
        return Err(Fault::Refused(rcode));
    }
    let end = match (word(2)?, question) {
        (0, Question::MayBeMissing) => HEADER_LEN,
        (1, _) => {
            let (name, end) = NameBuf::read_compressed(message, HEADER_LEN).map_err(|_| Fault::Malformed)?;
            let asked = (u16_at(message, end), u16_at(message, end + 2));
            if !name.as_name().eq_ignore_case(zone) || asked != (Some(qtype.0), Some(Class::IN.0)) {
                return Err(Fault::NotTheAnswer);
            }
            end + 4
        }
        _ => return Err(Fault::NotTheAnswer),
    };
    // A primary whose own copy has expired, or that is none, answers without authority. In transfers the bit says nothing:
    // RFC 5936 §2.2.1 has it set, and Knot DNS does not set it.
    if qtype == RecordType::SOA && flags & (AA | TC) == 0 {
        return Err(Fault::NoAuthority);
    }
    Ok(end)
}

/// Whether a response has to repeat the question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Question {
    /// It has to.
    Required,
    /// It may be left out (RFC 5936 §2.2.2: from the second message of a transfer on).
    MayBeMissing,
}

/// Reads the answer to a question for the SOA record of a zone.
///
/// # Errors
/// What is wrong with it. [`Fault::NotTheAnswer`] may be somebody else's: over UDP the next datagram can be the answer.
pub fn read_soa(message: &[u8], zone: Name<'_>, id: u16) -> Result<SoaAnswer, Fault> {
    let mut at = read_header(message, zone, RecordType::SOA, id, Question::Required)?;
    if u16_at(message, 2).is_some_and(|flags| flags & TC != 0) {
        return Ok(SoaAnswer::Truncated);
    }
    let answers = u16_at(message, 6).ok_or(Fault::Malformed)?;
    for _ in 0..answers.min(RECORDS_MAX) {
        let record = RecordView::read(message, at).ok_or(Fault::Malformed)?;
        if record.rtype == RecordType::SOA && record.class == Class::IN.0 {
            let (owner, _) = NameBuf::read_compressed(message, at).map_err(|_| Fault::Malformed)?;
            if owner.as_name().eq_ignore_case(zone) {
                let mut data = Vec::new();
                rdata::from_message(RecordType::SOA, message, record.data_at, record.end, &mut data)
                    .map_err(|reason| Fault::Data {
                        owner: Box::new(owner),
                        rtype: RecordType::SOA,
                        reason,
                    })?;
                return Soa::from_rdata(&data).map(SoaAnswer::Soa).ok_or(Fault::Malformed);
            }
        }
        at = record.end;
    }
    Err(Fault::NoSoa)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn zone() -> NameBuf {
        NameBuf::from_text(b"Example.", None).unwrap()
    }

    fn answer(flags: u16, id: u16, records: &[u8], count: u16) -> Vec<u8> {
        let mut message = question(zone().as_name(), RecordType::SOA, id);
        message[2..4].copy_from_slice(&flags.to_be_bytes());
        message[6..8].copy_from_slice(&count.to_be_bytes());
        message.extend(records);
        message
    }

    fn soa_record() -> Vec<u8> {
        let mut record = b"\xc0\x0c\x00\x06\x00\x01\x00\x00\x00\x09\x00\x18\xc0\x0c\xc0\x0c".to_vec();
        record.extend([5u32, 6, 7, 8, 9].map(u32::to_be_bytes).as_flattened());
        record
    }

    #[test]
    fn the_numbers_of_a_soa_record_are_read() {
        let read = |message: &[u8]| read_soa(message, zone().as_name(), 77);
        let seconds = Duration::from_secs;
        let soa = Soa { serial: 5, refresh: seconds(6), retry: seconds(7), expire: seconds(8) };
        assert_eq!(read(&answer(QR | AA, 77, &soa_record(), 1)), Ok(SoaAnswer::Soa(soa)));
        assert_eq!(read(&answer(QR | TC, 77, &[], 0)), Ok(SoaAnswer::Truncated));
        assert_eq!(read(&answer(QR | AA, 78, &soa_record(), 1)), Err(Fault::NotTheAnswer));
        assert_eq!(read(&answer(AA, 77, &soa_record(), 1)), Err(Fault::NotTheAnswer));
        assert_eq!(read(&answer(QR, 77, &soa_record(), 1)), Err(Fault::NoAuthority));
        assert_eq!(read(&answer(QR | AA | 5, 77, &[], 0)), Err(Fault::Refused(Rcode::REFUSED)));
        assert_eq!(read(&answer(QR | AA, 77, &[], 0)), Err(Fault::NoSoa));
        assert_eq!(read(&answer(QR | AA, 77, &[], 1)), Err(Fault::Malformed));
        let mut other = answer(QR | AA, 77, &soa_record(), 1);
        other[13] ^= 1;
        assert_eq!(read(&other), Err(Fault::NotTheAnswer));
        let whole = answer(QR | AA, 77, &soa_record(), 1);
        assert!((0..whole.len()).all(|len| read(&whole[..len]).is_err()));
    }
}
