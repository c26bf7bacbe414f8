//! A strict reader of responses.
//!
//! Decompresses and lower-cases every name, in RDATA too, so that two messages can be compared record by
//! record; refuses what a well-made response never has (forward pointers, compression where RFC 3597 §4
//! forbids it, octets after the last record).

use std::fmt;

use anyhow::{Result, bail, ensure};

use crate::name::Name;
use crate::rdata::{Part, parts, type_name};

/// Response bit of the flags word.
pub const QR: u16 = 0x8000;
/// Authoritative answer.
pub const AA: u16 = 0x0400;
/// Truncated.
pub const TC: u16 = 0x0200;
const TYPE_OPT: u16 = 41;
/// Records of a section that [`Message`] shows.
const SHOWN_MAX: usize = 8;

/// One record, names in lower case and decompressed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Record {
    /// Owner.
    pub owner: Name,
    /// Type.
    pub rtype: u16,
    /// Class.
    pub class: u16,
    /// Time to live, seconds.
    pub ttl: u32,
    /// RDATA.
    pub rdata: Vec<u8>,
}

impl Record {
    /// The type an RRSIG covers; none for other types.
    #[must_use]
    pub fn covered(&self) -> Option<u16> {
        (self.rtype == 46 && self.rdata.len() >= 2)
            .then(|| u16::from_be_bytes([self.rdata[0], self.rdata[1]]))
    }

    /// The name that makes up the whole RDATA of NS, CNAME, PTR and DNAME.
    #[must_use]
    pub fn target(&self) -> Option<Name> {
        matches!(self.rtype, 2 | 5 | 12 | 39).then(|| Name::from_wire(self.rdata.clone()))
    }
}

impl fmt::Display for Record {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {} CLASS{} {}", self.owner, self.ttl, self.class, type_name(self.rtype))?;
        if let Some(covered) = self.covered() {
            let tag = self.rdata.get(16..18).map_or(0, |tag| u16::from_be_bytes([tag[0], tag[1]]));
            return write!(out, " {} tag={tag}", type_name(covered));
        }
        if let Some(target) = self.target() {
            return write!(out, " {target}");
        }
        write!(out, " \\# {}", self.rdata.len())?;
        // 48 octets tell records apart; a key in full would bury the difference.
        for (at, byte) in self.rdata.iter().take(48).enumerate() {
            write!(out, "{}{byte:02x}", if at == 0 { " " } else { "" })?;
        }
        if self.rdata.len() > 48 { write!(out, "…") } else { Ok(()) }
    }
}

/// The OPT record of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opt {
    /// Payload size of the server, octets.
    pub size: u16,
    /// Upper eight bits of the response code.
    pub rcode_high: u8,
    /// EDNS version.
    pub version: u8,
    /// The 16 flag bits, DO the highest.
    pub flags: u16,
    /// Options as code and bytes.
    pub options: Vec<(u16, Vec<u8>)>,
}

/// One response.
#[derive(Clone)]
pub struct Message {
    /// Message id.
    pub id: u16,
    /// Second word of the header.
    pub flags: u16,
    /// The question section as it came, octet by octet.
    pub question: Vec<u8>,
    /// Entries in the question section.
    pub question_count: u16,
    /// Answer section.
    pub answer: Vec<Record>,
    /// Authority section.
    pub authority: Vec<Record>,
    /// Additional section without OPT.
    pub additional: Vec<Record>,
    /// The OPT record.
    pub opt: Option<Opt>,
}

impl Message {
    /// Reads a whole message.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        ensure!(bytes.len() >= 12, "{} octets are no header", bytes.len());
        let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let mut reader = Reader { bytes, at: 12 };
        for _ in 0..word(4) {
            reader.name(Compression::Allowed)?;
            reader.take(4)?;
        }
        let mut message = Self {
            id: word(0),
            flags: word(2),
            question: bytes[12..reader.at].to_vec(),
            question_count: word(4),
            answer: Vec::new(),
            authority: Vec::new(),
            additional: Vec::new(),
            opt: None,
        };
        for _ in 0..word(6) {
            message.answer.push(reader.record()?);
        }
        for _ in 0..word(8) {
            message.authority.push(reader.record()?);
        }
        for _ in 0..word(10) {
            let record = reader.record()?;
            if record.rtype != TYPE_OPT {
                message.additional.push(record);
                continue;
            }
            ensure!(message.opt.is_none(), "two OPT records (RFC 6891 §6.1.1)");
            ensure!(record.owner == Name::root(), "OPT at {} (RFC 6891 §6.1.2)", record.owner);
            message.opt = Some(opt(&record)?);
        }
        ensure!(reader.at == bytes.len(), "{} octets after the last record", bytes.len() - reader.at);
        Ok(message)
    }

    /// The response code with the EDNS extension.
    #[must_use]
    pub fn rcode(&self) -> u16 {
        self.opt.as_ref().map_or(0, |opt| u16::from(opt.rcode_high) << 4) | (self.flags & 15)
    }

    /// Whether any of these flag bits is set.
    #[must_use]
    pub fn has(&self, flags: u16) -> bool {
        self.flags & flags != 0
    }
}

/// The usual mnemonic of a response code.
#[must_use]
pub fn rcode_name(rcode: u16) -> String {
    let known = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN"];
    match (known.get(usize::from(rcode)), rcode) {
        (Some(name), _) => (*name).to_owned(),
        (None, 9) => "NOTAUTH".to_owned(),
        (None, 16) => "BADVERS".to_owned(),
        (None, _) => format!("RCODE{rcode}"),
    }
}

impl fmt::Display for Message {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", rcode_name(self.rcode()))?;
        for (bit, name) in [
            (QR, "qr"),
            (AA, "aa"),
            (TC, "tc"),
            (0x100, "rd"),
            (0x80, "ra"),
            (0x40, "z"),
            (0x20, "ad"),
            (0x10, "cd"),
        ] {
            if self.has(bit) {
                write!(out, " {name}")?;
            }
        }
        writeln!(out, " questions={} edns={}", self.question_count, self.opt.is_some())?;
        let sections =
            [("answer", &self.answer), ("authority", &self.authority), ("additional", &self.additional)];
        for (title, records) in sections {
            for record in records.iter().take(SHOWN_MAX) {
                writeln!(out, "  {title}: {record}")?;
            }
            if records.len() > SHOWN_MAX {
                writeln!(out, "  {title}: … {} more", records.len() - SHOWN_MAX)?;
            }
        }
        Ok(())
    }
}

/// Whether a pointer may stand in a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Compression {
    Allowed,
    Forbidden,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let Some(slice) = self.bytes.get(self.at..self.at + len) else {
            bail!("{len} octets wanted at {} of {}", self.at, self.bytes.len())
        };
        self.at += len;
        Ok(slice)
    }

    fn word(&mut self) -> Result<u16> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn name(&mut self, compression: Compression) -> Result<Name> {
        let mut wire = Vec::with_capacity(32);
        // Where the name goes on being read; `self.at` stays behind the first pointer.
        let mut at = self.at;
        let mut end = None;
        // Every pointer has to lead before everything read so far (RFC 1035 §4.1.4, "prior occurrence").
        let mut floor = self.at;
        loop {
            let Some(&len) = self.bytes.get(at) else { bail!("name runs out of the message at {at}") };
            if len >= 0xc0 {
                ensure!(compression == Compression::Allowed, "compressed name at {at} (RFC 3597 §4)");
                let Some(&low) = self.bytes.get(at + 1) else { bail!("half a pointer at {at}") };
                let to = usize::from(len & 0x3f) << 8 | usize::from(low);
                ensure!(to < floor, "pointer at {at} leads forward, to {to}");
                end.get_or_insert(at + 2);
                floor = to;
                at = to;
                continue;
            }
            ensure!(len < 64, "label type {len:#x} at {at}");
            let Some(label) = self.bytes.get(at..at + 1 + usize::from(len)) else {
                bail!("label runs out of the message at {at}")
            };
            wire.extend_from_slice(label);
            ensure!(wire.len() <= 255, "name at {} is longer than 255 octets", self.at);
            at += label.len();
            if len == 0 {
                break;
            }
        }
        self.at = end.unwrap_or(at);
        wire.make_ascii_lowercase();
        Ok(Name::from_wire(wire))
    }

    fn record(&mut self) -> Result<Record> {
        let owner = self.name(Compression::Allowed)?;
        let rtype = self.word()?;
        let class = self.word()?;
        let ttl = u32::from(self.word()?) << 16 | u32::from(self.word()?);
        let len = usize::from(self.word()?);
        let end = self.at + len;
        ensure!(end <= self.bytes.len(), "RDATA of {} {} runs out of the message", owner, type_name(rtype));
        let mut rdata = Vec::with_capacity(len);
        // RFC 2136 and RFC 5936 leave RDATA empty in places; there is no name in it then.
        let layout = if len == 0 { &[][..] } else { parts(rtype) };
        for part in layout {
            match part {
                Part::Octets(count) => rdata.extend_from_slice(self.take(*count)?),
                Part::Text => {
                    let count = usize::from(self.take(1)?[0]);
                    rdata.push(count as u8);
                    rdata.extend_from_slice(self.take(count)?);
                }
                Part::CompressibleName => rdata.extend_from_slice(self.name(Compression::Allowed)?.wire()),
                Part::Name => rdata.extend_from_slice(self.name(Compression::Forbidden)?.wire()),
            }
        }
        ensure!(self.at <= end, "RDATA of {} {} is longer than its length", owner, type_name(rtype));
        rdata.extend_from_slice(self.take(end - self.at)?);
        Ok(Record { owner, rtype, class, ttl, rdata })
    }
}

fn opt(record: &Record) -> Result<Opt> {
    let mut reader = Reader { bytes: &record.rdata, at: 0 };
    let mut options = Vec::new();
    while reader.at < record.rdata.len() {
        let code = reader.word()?;
        let len = usize::from(reader.word()?);
        options.push((code, reader.take(len)?.to_vec()));
    }
    let [rcode_high, version, high, low] = record.ttl.to_be_bytes();
    Ok(Opt { size: record.class, rcode_high, version, flags: u16::from_be_bytes([high, low]), options })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(records: &[u8], counts: [u8; 4]) -> Vec<u8> {
        let mut bytes = vec![0, 1, 0x84, 0];
        for count in counts {
            bytes.extend_from_slice(&[0, count]);
        }
        bytes.extend_from_slice(b"\x01A\x02Ex\0\x00\x01\x00\x01");
        bytes.extend_from_slice(records);
        bytes
    }

    #[test]
    fn names_are_decompressed_and_lowered() {
        let records = b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x04\x01X\xc0\x0e";
        let message = Message::decode(&response(records, [1, 1, 0, 0])).expect("valid");
        assert_eq!(message.answer[0].to_string(), "a.ex. 60 CLASS1 CNAME x.ex.");
    }

    #[test]
    fn what_a_response_must_not_have() {
        let trailing = response(b"\0", [1, 0, 0, 0]);
        assert!(Message::decode(&trailing).is_err());
        let forward = response(b"\xc0\x20\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x00", [1, 1, 0, 0]);
        assert!(Message::decode(&forward).is_err());
        let dname = response(b"\xc0\x0c\x00\x27\x00\x01\x00\x00\x00\x3c\x00\x02\xc0\x0e", [1, 1, 0, 0]);
        assert!(Message::decode(&dname).is_err());
    }
}
