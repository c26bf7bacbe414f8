//! A response, taken apart for people to read.

use serde::Serialize;
use wire::message::{self, HEADER_LEN, RecordView, u16_at};
use wire::{Class, Name, NameBuf, Rcode, RecordType};
use zone::rdata::{self, Field, NameForm};

/// How many compression pointers a name may have: each leads to another label, and a name has 127.
const POINTERS_MAX: usize = 127;

/// A response.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Message {
    pub(super) status: String,
    pub(super) flags: Vec<&'static str>,
    pub(super) question: Option<Question>,
    pub(super) answer: Vec<Record>,
    pub(super) authority: Vec<Record>,
    pub(super) additional: Vec<Record>,
    pub(super) edns: Option<Edns>,
    pub(super) bytes: usize,
}

#[derive(Serialize)]
pub(super) struct Question {
    pub(super) name: String,
    pub(super) class: String,
    #[serde(rename = "type")]
    pub(super) rtype: String,
}

/// A record in presentation format.
#[derive(Serialize)]
pub(super) struct Record {
    pub(super) name: String,
    pub(super) ttl: u32,
    pub(super) class: String,
    #[serde(rename = "type")]
    pub(super) rtype: String,
    pub(super) data: String,
}

/// What the OPT record says.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Edns {
    pub(super) version: u8,
    pub(super) dnssec_ok: bool,
    pub(super) udp_size: u16,
    /// Extended DNS errors (RFC 8914) by code.
    pub(super) errors: Vec<u16>,
}

impl Message {
    /// Takes a response apart; `None` where it isn't one, which would be a defect of the answer function.
    pub(super) fn read(bytes: &[u8]) -> Option<Message> {
        let flags = u16_at(bytes, 2)?;
        let mut at = HEADER_LEN;
        let mut question = None;
        if u16_at(bytes, 4)? == 1 {
            let name = name_at(bytes, at)?;
            at = message::skip_name(bytes, at)?;
            let (rtype, class) = (RecordType(u16_at(bytes, at)?), Class(u16_at(bytes, at + 2)?));
            question =
                Some(Question { name: name.to_string(), class: class.to_string(), rtype: rtype.to_string() });
            at += 4;
        }
        let mut edns = None;
        let mut rcode = flags & 0xf;
        let mut section = |count_at: usize| {
            let mut records = Vec::new();
            for _ in 0..u16_at(bytes, count_at)? {
                let view = RecordView::read(bytes, at)?;
                at = view.end;
                if view.rtype == RecordType::OPT {
                    rcode |= (view.ttl >> 24 << 4) as u16; // eight bits
                    edns = Some(read_opt(bytes, &view));
                } else {
                    records.push(read_record(bytes, &view)?);
                }
            }
            Some(records)
        };
        let (answer, authority, additional) = (section(6)?, section(8)?, section(10)?);
        Some(Message {
            status: Rcode(rcode).to_string(),
            flags: flag_names(flags),
            question,
            answer,
            authority,
            additional,
            edns,
            bytes: bytes.len(),
        })
    }
}

fn flag_names(flags: u16) -> Vec<&'static str> {
    let all = [
        (message::QR, "qr"),
        (message::AA, "aa"),
        (message::TC, "tc"),
        (message::RD, "rd"),
        (message::RA, "ra"),
        (message::AD, "ad"),
        (message::CD, "cd"),
    ];
    all.into_iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| name).collect()
}

fn read_opt(bytes: &[u8], view: &RecordView) -> Edns {
    let mut errors = Vec::new();
    let mut at = view.data_at;
    while let (Some(code), Some(len)) = (u16_at(bytes, at), u16_at(bytes, at + 2))
        && at < view.end
    {
        if code == message::option::EDE {
            errors.extend(u16_at(bytes, at + 4));
        }
        at += 4 + usize::from(len);
    }
    Edns {
        version: (view.ttl >> 16) as u8, // eight bits
        dnssec_ok: view.ttl & message::DO != 0,
        udp_size: view.class,
        errors,
    }
}

fn read_record(bytes: &[u8], view: &RecordView) -> Option<Record> {
    let data = uncompressed(bytes, view)?;
    Some(Record {
        name: name_at(bytes, view.owner_at)?.to_string(),
        ttl: view.ttl,
        class: Class(view.class).to_string(),
        rtype: view.rtype.to_string(),
        data: rdata::display(view.rtype, &data).to_string(),
    })
}

/// The data of a record with its names written out: those of RFC 1035's types may be compressed (RFC 3597 §4).
fn uncompressed(bytes: &[u8], view: &RecordView) -> Option<Vec<u8>> {
    let mut at = view.data_at;
    let mut data = Vec::new();
    for field in rdata::fields(view.rtype).unwrap_or_default() {
        let len = match field {
            Field::Name(NameForm::Compressible) => {
                data.extend(name_at(bytes, at)?.as_name().as_wire());
                at = message::skip_name(bytes, at)?;
                continue;
            }
            Field::U8 => 1,
            Field::U16 => 2,
            Field::U32 | Field::Period => 4,
            // Compressible names have nothing else before them.
            _ => break,
        };
        data.extend(bytes.get(at..at + len)?);
        at += len;
    }
    data.extend(bytes.get(at..view.end)?);
    Some(data)
}

/// The name at `at`, its compression pointers followed.
fn name_at(bytes: &[u8], mut at: usize) -> Option<NameBuf> {
    let mut wire = Vec::new();
    let mut pointers = 0;
    loop {
        match *bytes.get(at)? {
            0 => break,
            len @ 1..=63 => {
                wire.extend(bytes.get(at..=at + usize::from(len))?);
                at += 1 + usize::from(len);
            }
            0xc0.. => {
                pointers += 1;
                if pointers > POINTERS_MAX {
                    return None;
                }
                at = usize::from(u16_at(bytes, at)? & !message::POINTER);
            }
            _ => return None,
        }
        if wire.len() > wire::NAME_MAX {
            return None;
        }
    }
    wire.push(0);
    Some(Name::from_wire(&wire).ok()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_names_are_written_out() {
        let mut bytes = vec![0, 0, 0x84, 0, 0, 1, 0, 1, 0, 0, 0, 0];
        bytes.extend(b"\x01a\x07example\x00\x00\x0f\x00\x01");
        bytes.extend(b"\xc0\x0c\x00\x0f\x00\x01\x00\x00\x0e\x10\x00\x06\x00\x0a\x01b\xc0\x0e");
        let message = Message::read(&bytes).unwrap();
        assert_eq!((message.status.as_str(), message.flags.as_slice()), ("NOERROR", &["qr", "aa"][..]));
        let record = &message.answer[0];
        assert_eq!((record.name.as_str(), record.data.as_str()), ("a.example.", "10 b.example."));
    }

    #[test]
    fn pointers_that_lead_nowhere_end() {
        let mut bytes = vec![0, 0, 0x84, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        bytes.extend(b"\xc0\x0c\x00\x0f\x00\x01");
        assert!(Message::read(&bytes).is_none());
        for len in 0..bytes.len() {
            assert!(Message::read(&bytes[..len]).is_none());
        }
    }
}
