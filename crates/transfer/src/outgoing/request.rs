//! Reading a request for a transfer.

use wire::message::{HEADER_LEN, OPCODE_MASK, QR, RD, RecordView, skip_name, u16_at, u32_at};
use wire::{Class, FoldedName, Name, NameBuf, RecordType};

/// The most records of a request that are looked at: an IXFR has a SOA record, an OPT record and a TSIG record.
const RECORDS_MAX: usize = 8;

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The whole zone (RFC 5936).
    Axfr,
    /// What has changed since the version with this serial (RFC 1995).
    Ixfr {
        /// The serial that the client has.
        serial: u32,
    },
}

/// A request for a transfer.
#[derive(Clone, Debug)]
pub struct Request {
    /// What is asked for.
    pub kind: Kind,
    /// Of which zone, in lower case.
    pub zone: NameBuf,
    /// The same as the client wrote it, for the question of the response.
    pub(super) asked_name: NameBuf,
    pub(super) id: u16,
    /// Those flags of the request that a response repeats.
    pub(super) flags: u16,
    /// Whether the client understands EDNS, so that the response has to say that we do (RFC 6891 §6.1.1).
    pub(super) has_edns: bool,
}

/// The request is malformed: FORMERR is the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a malformed request for a transfer")]
pub struct Malformed;

/// Whether a message is to be read as a [`Request`]: a query of class IN with one question, for AXFR or IXFR. Everything
/// else, whatever is wrong with it, is for the answer function.
pub fn is_request(message: &[u8]) -> bool {
    let Some(header) = message.first_chunk::<HEADER_LEN>() else { return false };
    let flags = u16::from_be_bytes([header[2], header[3]]);
    if flags & (QR | OPCODE_MASK) != 0 || header[4..6] != [0, 1] {
        return false;
    }
    let Some(end) = skip_name(message, HEADER_LEN) else { return false };
    let qtype = u16_at(message, end).map(RecordType);
    matches!(qtype, Some(RecordType::AXFR | RecordType::IXFR))
        && u16_at(message, end + 2) == Some(Class::IN.0)
}

impl Request {
    /// Reads a request for which [`is_request`] holds.
    ///
    /// # Errors
    /// It is malformed; an IXFR without the client's SOA record is, too (RFC 1995 §3).
    pub fn read(message: &[u8]) -> Result<Request, Malformed> {
        let mut folded = FoldedName::default();
        let name_end = folded.read(message, HEADER_LEN).map_err(|_| Malformed)?;
        let (asked_name, _) = Name::split_from(&message[HEADER_LEN..]).map_err(|_| Malformed)?;
        let qtype = u16_at(message, name_end).map(RecordType).ok_or(Malformed)?;
        let count = |at| u16_at(message, at).map(usize::from).ok_or(Malformed);
        let (answers, authority, additional) = (count(6)?, count(8)?, count(10)?);
        if answers != 0 || authority + additional > RECORDS_MAX {
            return Err(Malformed);
        }
        let mut at = name_end + 4;
        let mut has_edns = false;
        let mut serial = None;
        for index in 0..authority + additional {
            let record = RecordView::read(message, at).ok_or(Malformed)?;
            let is_authority = index < authority;
            match record.rtype {
                RecordType::SOA if is_authority => serial = Some(soa_serial(message, &record)?),
                RecordType::OPT if !is_authority => has_edns = true,
                _ => {}
            }
            at = record.end;
        }
        if at != message.len() {
            return Err(Malformed);
        }
        let kind = match qtype {
            RecordType::IXFR => Kind::Ixfr { serial: serial.ok_or(Malformed)? },
            _ => Kind::Axfr,
        };
        Ok(Request {
            kind,
            zone: NameBuf::from(folded.as_name()),
            asked_name: NameBuf::from(asked_name),
            id: u16_at(message, 0).ok_or(Malformed)?,
            flags: u16_at(message, 2).ok_or(Malformed)? & RD,
            has_edns,
        })
    }

    /// The type that is asked for.
    pub fn qtype(&self) -> RecordType {
        match self.kind {
            Kind::Axfr => RecordType::AXFR,
            Kind::Ixfr { .. } => RecordType::IXFR,
        }
    }
}

/// The serial of a SOA record: the first of the five numbers at its end (RFC 1035 §3.3.13).
fn soa_serial(message: &[u8], record: &RecordView) -> Result<u32, Malformed> {
    let names_end =
        skip_name(message, record.data_at).and_then(|at| skip_name(message, at)).ok_or(Malformed)?;
    if names_end + 20 != record.end {
        return Err(Malformed);
    }
    u32_at(message, names_end).ok_or(Malformed)
}
