//! Record data, from text into wire form, field by field.

use super::error::{Diagnostic, Fallible, Problem, excerpt};
use super::name::NameSlot;
use super::scan::{Scanner, Word};
use super::{location, number, params};
use crate::rdata::encoding::{Base64Decoder, HexDecoder, decode_base32hex};
use crate::rdata::mnemonics::{ALGORITHMS, CERT_TYPES, SCHEMES, number_of};
use crate::rdata::{Field, RDATA_MAX, RdataError, fields, time, validate};
use wire::{Name, RecordType};

/// Reads record data alone, as it stands after the type in a master file, into uncompressed wire form.
pub fn rdata_from_text(rtype: RecordType, text: &[u8], origin: Name<'_>) -> Result<Vec<u8>, Diagnostic> {
    let mut scan = Scanner::new(text, 0);
    let mut out = Vec::new();
    let mut name = NameSlot::new(Name::ROOT);
    Values { scan: &mut scan, origin, name: &mut name, out: &mut out }
        .read(rtype)
        .map_err(|failed| *failed)?;
    Ok(out)
}

/// Reads the words of record data.
pub(super) struct Values<'s, 't> {
    pub(super) scan: &'s mut Scanner<'t>,
    pub(super) origin: Name<'s>,
    /// A place for the name in hand.
    pub(super) name: &'s mut NameSlot,
    /// Takes the wire form.
    pub(super) out: &'s mut Vec<u8>,
}

impl<'t> Values<'_, 't> {
    /// Reads the data of `rtype` up to the end of the record, and checks it.
    pub(super) fn read(&mut self, rtype: RecordType) -> Fallible<()> {
        let has_data = self.scan.skip_to_word()?;
        let place = self.scan.place();
        let first = self.out.len();
        let mut is_checked = false;
        if has_data && self.is_generic()? {
            self.generic()?;
            is_checked = true;
        } else {
            let fields = fields(rtype).ok_or_else(|| Problem::OpaqueType(rtype).at(place))?;
            for &field in fields {
                self.field(field)?;
            }
            is_checked |= fields.iter().any(|field| needs_check(*field));
        }
        if let Some(word) = self.scan.word()? {
            return Err(word.wrong(Problem::Extra));
        }
        let rdata = &self.out[first..];
        let check = match is_checked {
            _ if rdata.len() > RDATA_MAX => Err(RdataError::Long),
            true => validate(rtype, rdata),
            false => Ok(()),
        };
        check.map_err(|reason| Problem::Rdata { rtype, reason }.at(place))
    }

    /// Whether the next word is `\#`; then it is taken (RFC 3597 §5).
    fn is_generic(&mut self) -> Fallible<bool> {
        if !self.scan.starts_with(b"\\#") {
            return Ok(false);
        }
        let ahead = self.scan.clone();
        let is_generic = self.scan.word()?.is_some_and(|word| word.text == b"\\#");
        if !is_generic {
            *self.scan = ahead;
        }
        Ok(is_generic)
    }

    fn generic(&mut self) -> Fallible<()> {
        let word = self.plain("the length of the data in octets")?;
        let stated =
            number::decimal(word.text, 65_535).ok_or_else(|| word.not(Field::U16.expected()))? as u16; // so bounded
        let first = self.out.len();
        let mut hex = HexDecoder::default();
        let mut last = word;
        while let Some(word) = self.rest_word(Field::Hex.expected())? {
            hex.push(word.text, self.out).map_err(|_| word.not(Field::Hex.expected()))?;
            last = word;
        }
        hex.finish().map_err(|_| last.not("hexadecimal with two digits to the octet"))?;
        let found = self.out.len() - first;
        if found != usize::from(stated) {
            return Err(Problem::GenericLength { stated, found }.at(word.place));
        }
        Ok(())
    }

    /// The next word, which must be there.
    pub(super) fn any(&mut self, expected: &'static str) -> Fallible<Word<'t>> {
        match self.scan.word()? {
            Some(word) => Ok(word),
            None => Err(Problem::Missing(expected).at(self.scan.place())),
        }
    }

    /// The next word, which must be there and have no quotes.
    pub(super) fn plain(&mut self, expected: &'static str) -> Fallible<Word<'t>> {
        let word = self.any(expected)?;
        if word.is_quoted { Err(Problem::Quoted(expected).at(word.place)) } else { Ok(word) }
    }

    /// The next word if there is one, which must have no quotes.
    pub(super) fn rest_word(&mut self, expected: &'static str) -> Fallible<Option<Word<'t>>> {
        match self.scan.word()? {
            Some(word) if word.is_quoted => Err(Problem::Quoted(expected).at(word.place)),
            word => Ok(word),
        }
    }

    fn field(&mut self, field: Field) -> Fallible<()> {
        match field {
            Field::Text => self.text(),
            Field::TextOptional => {
                if self.scan.skip_to_word()? {
                    self.text()
                } else {
                    Ok(())
                }
            }
            Field::Texts => {
                self.text()?;
                while self.scan.skip_to_word()? {
                    self.text()?;
                }
                Ok(())
            }
            Field::Remainder { .. } => {
                let word = self.any(field.expected())?;
                unescape(&word, self.out)
            }
            Field::Names => {
                while self.scan.skip_to_word()? {
                    self.name(field)?;
                }
                Ok(())
            }
            Field::Hex => self.hexadecimal(field, b""),
            Field::Nsap => self.hexadecimal(field, b"."),
            Field::Base64 | Field::Base64Optional | Field::Base64OrDash => self.base64(field),
            Field::TypeBitmap => self.type_bitmap(field),
            Field::NxtBitmap => self.nxt_bitmap(field),
            Field::Wks => self.wks(),
            Field::Prefixes => {
                while let Some(word) = self.rest_word(field.expected())? {
                    self.prefix(&word).ok_or_else(|| word.not(field.expected()))?;
                }
                Ok(())
            }
            Field::Location => location::read(self),
            Field::A6 => self.a6(),
            Field::Gateway => {
                let kind = self.out[self.out.len() - 2]; // the field before this one is the algorithm
                self.target(kind, field)
            }
            Field::Relay => self.relay(),
            Field::HostIdentity => self.host_identity(field),
            Field::Params => params::read(self),
            Field::Name(_) => self.name(field),
            _ => self.one_word(field),
        }
    }

    /// The fields that are one word, whatever stands around them.
    fn one_word(&mut self, field: Field) -> Fallible<()> {
        let expected = field.expected();
        let word = self.plain(expected)?;
        let text = word.text;
        let out = &mut *self.out;
        let read = match field {
            Field::U8 => number::decimal(text, 255).map(|number| out.push(number as u8)), // so bounded
            Field::U16 => number::decimal(text, 65_535).map(|number| push_u16(out, number)),
            Field::U32 => number::decimal(text, u32::MAX).map(|number| push_u32(out, number)),
            Field::Period => number::period(text).map(|number| push_u32(out, number)),
            Field::Time => time::from_text(text).map(|number| push_u32(out, number)),
            Field::Algorithm => named(text, ALGORITHMS, 255).map(|number| out.push(number as u8)), // so bounded
            Field::Scheme => named(text, SCHEMES, 255).map(|number| out.push(number as u8)), // so bounded
            Field::CertType => named(text, CERT_TYPES, 65_535).map(|number| push_u16(out, number)),
            Field::Type => RecordType::from_text(text).map(|rtype| push_u16(out, u32::from(rtype.0))),
            Field::Ipv4 => number::ipv4(text).map(|octets| out.extend_from_slice(&octets)),
            Field::Ipv6 => number::ipv6(text).map(|octets| out.extend_from_slice(&octets)),
            Field::Locator => {
                number::locator(text).map(|number| out.extend_from_slice(&number.to_be_bytes()))
            }
            Field::Eui48 => number::eui::<6>(text).map(|octets| out.extend_from_slice(&octets)),
            Field::Eui64 => number::eui::<8>(text).map(|octets| out.extend_from_slice(&octets)),
            Field::Tag if text.iter().all(u8::is_ascii_alphanumeric) => counted(out, |out| {
                out.extend_from_slice(text);
                Some(())
            }),
            Field::Salt if text == b"-" => counted(out, |_| Some(())),
            Field::Salt => counted(out, |out| {
                let mut hex = HexDecoder::default();
                hex.push(text, out).ok()?;
                hex.finish().ok()
            }),
            Field::NextHash => counted(out, |out| decode_base32hex(text, out).ok()),
            _ => None,
        };
        read.ok_or_else(|| word.not(expected))
    }

    fn name(&mut self, field: Field) -> Fallible<()> {
        let word = self.plain(field.expected())?;
        self.name_of(&word)
    }

    fn name_of(&mut self, word: &Word<'_>) -> Fallible<()> {
        self.name.read(word, self.origin)?;
        self.out.extend_from_slice(self.name.as_wire());
        Ok(())
    }

    /// A character string with its length octet.
    fn text(&mut self) -> Fallible<()> {
        let word = self.any(Field::Text.expected())?;
        let at = self.out.len();
        self.out.push(0);
        unescape(&word, self.out)?;
        let len = self.out.len() - at - 1;
        self.out[at] = u8::try_from(len).map_err(|_| Problem::LongText(len).at(word.place))?;
        Ok(())
    }

    /// Hexadecimal to the end; octets of `ignored` may stand anywhere, and where there are some, `0x` comes first.
    fn hexadecimal(&mut self, field: Field, ignored: &[u8]) -> Fallible<()> {
        let mut word = self.plain(field.expected())?;
        let mut text = word.text;
        if !ignored.is_empty() {
            let digits = text.strip_prefix(b"0x").or_else(|| text.strip_prefix(b"0X"));
            text = digits.ok_or_else(|| word.not(field.expected()))?;
        }
        let mut hex = HexDecoder::default();
        let first = self.out.len();
        loop {
            for part in text.split(|octet| ignored.contains(octet)) {
                hex.push(part, self.out).map_err(|_| word.not(field.expected()))?;
            }
            let Some(next) = self.rest_word(field.expected())? else { break };
            (word, text) = (next, next.text);
        }
        if hex.finish().is_err() || self.out.len() == first {
            return Err(word.not("hexadecimal with two digits to the octet"));
        }
        Ok(())
    }

    fn base64(&mut self, field: Field) -> Fallible<()> {
        let expected = field.expected();
        if field == Field::Base64Optional && !self.scan.skip_to_word()? {
            return Ok(());
        }
        let mut word = self.plain(expected)?;
        if field == Field::Base64OrDash && word.text == b"-" {
            return Ok(());
        }
        let mut base64 = Base64Decoder::default();
        loop {
            base64.push(word.text, self.out).map_err(|_| word.not(expected))?;
            let Some(next) = self.rest_word(expected)? else { break };
            word = next;
        }
        base64.finish().map_err(|_| word.not("the end of data in base64, padded with = to four characters"))
    }

    /// The types to the end, in any order, as bit maps in windows of 256 (RFC 4034 §4.1.2).
    fn type_bitmap(&mut self, field: Field) -> Fallible<()> {
        // One block a window while reading, as wide as a window can be, in the order of their first types.
        const BLOCK: usize = 2 + 32;
        let first = self.out.len();
        while let Some(word) = self.rest_word(field.expected())? {
            let rtype = RecordType::from_text(word.text).ok_or_else(|| word.wrong(Problem::UnknownType))?;
            let [window, index] = rtype.0.to_be_bytes();
            let blocks = self.out[first..].chunks_exact(BLOCK);
            let at = match blocks.enumerate().find(|(_, block)| block[0] == window) {
                Some((number, _)) => first + number * BLOCK,
                None => {
                    let at = self.out.len();
                    self.out.resize(at + BLOCK, 0);
                    self.out[at] = window;
                    at
                }
            };
            let len = &mut self.out[at + 1];
            *len = (*len).max(index / 8 + 1);
            self.out[at + 2 + usize::from(index / 8)] |= 0x80 >> (index % 8);
        }
        let (blocks, _) = self.out[first..].as_chunks_mut::<BLOCK>();
        blocks.sort_unstable();
        // Then without what is not used of them.
        let mut end = first;
        for at in (first..self.out.len()).step_by(BLOCK) {
            let used = 2 + usize::from(self.out[at + 1]);
            self.out.copy_within(at..at + used, end);
            end += used;
        }
        self.out.truncate(end);
        Ok(())
    }

    fn nxt_bitmap(&mut self, field: Field) -> Fallible<()> {
        let first = self.out.len();
        while let Some(word) = self.rest_word(field.expected())? {
            let rtype = RecordType::from_text(word.text).filter(|rtype| (1..128).contains(&rtype.0));
            let index = usize::from(rtype.ok_or_else(|| word.not(field.expected()))?.0);
            set_bit(self.out, first, index);
        }
        Ok(())
    }

    /// RFC 1035 §3.4.2. Ports are numbers: the names of services depend on the machine.
    fn wks(&mut self) -> Fallible<()> {
        self.one_word(Field::Ipv4)?;
        let expected = "a protocol: a number from 0 to 255, TCP or UDP";
        let word = self.plain(expected)?;
        let protocol = named(word.text, &[("TCP", 6), ("UDP", 17)], 255).ok_or_else(|| word.not(expected))?;
        self.out.push(protocol as u8); // so bounded
        let first = self.out.len();
        while let Some(word) = self.rest_word("a port")? {
            let port =
                number::decimal(word.text, 65_535).ok_or_else(|| word.not("a port from 0 to 65535"))?;
            set_bit(self.out, first, port as usize);
        }
        Ok(())
    }

    /// `[!]family:address/length` (RFC 3123 §5).
    fn prefix(&mut self, word: &Word<'_>) -> Option<()> {
        let (negation, text) = match word.text.strip_prefix(b"!") {
            Some(text) => (0x80, text),
            None => (0, word.text),
        };
        let (family, text) = split_at_octet(text, b':')?;
        let (address, prefix_len) = split_at_octet(text, b'/')?;
        let (v4, v6);
        let (address, bits_max): (&[u8], u32) = match family {
            b"1" => {
                v4 = number::ipv4(address)?;
                (&v4, 32)
            }
            b"2" => {
                v6 = number::ipv6(address)?;
                (&v6, 128)
            }
            _ => return None,
        };
        let prefix_len = number::decimal(prefix_len, bits_max)? as u8; // at most 128
        let len = address.iter().rposition(|&octet| octet != 0).map_or(0, |last| last + 1);
        push_u16(self.out, u32::from(family[0] - b'0'));
        self.out.extend_from_slice(&[prefix_len, negation | len as u8]); // at most 16
        self.out.extend_from_slice(&address[..len]);
        Some(())
    }

    /// RFC 2874 §3.1: without an address for a prefix of 128 bits, without a name for one of none.
    fn a6(&mut self) -> Fallible<()> {
        let word = self.plain("a prefix length from 0 to 128")?;
        let prefix_len =
            number::decimal(word.text, 128).ok_or_else(|| word.not("a prefix length from 0 to 128"))?;
        self.out.push(prefix_len as u8); // at most 128
        if prefix_len < 128 {
            let word = self.plain(Field::Ipv6.expected())?;
            let address = number::ipv6(word.text).ok_or_else(|| word.not(Field::Ipv6.expected()))?;
            self.out.extend_from_slice(&address[prefix_len as usize / 8..]);
        }
        if prefix_len > 0 { self.name(Field::A6) } else { Ok(()) }
    }

    fn relay(&mut self) -> Fallible<()> {
        let word = self.plain("a discovery bit, 0 or 1")?;
        let discovery = number::decimal(word.text, 1).ok_or_else(|| word.not("a discovery bit, 0 or 1"))?;
        let word = self.plain("a relay type from 0 to 3")?;
        let kind = number::decimal(word.text, 3).ok_or_else(|| word.not("a relay type from 0 to 3"))? as u8; // so bounded
        self.out.push((discovery as u8) << 7 | kind); // a bit
        self.target(kind, Field::Relay)
    }

    /// A gateway or relay: `.`, an address or a name.
    fn target(&mut self, kind: u8, field: Field) -> Fallible<()> {
        match kind {
            0 => {
                let expected = "`.`, as there is none of type 0";
                let word = self.plain(expected)?;
                if word.text == b"." { Ok(()) } else { Err(word.not(expected)) }
            }
            1 => self.one_word(Field::Ipv4),
            2 => self.one_word(Field::Ipv6),
            3 => self.name(field),
            _ => {
                let word = self.plain(field.expected())?;
                Err(word.not(field.expected()))
            }
        }
    }

    /// RFC 8005 §5: the lengths go before what they count.
    fn host_identity(&mut self, field: Field) -> Fallible<()> {
        let at = self.out.len();
        self.out.push(0);
        self.one_word(Field::U8)?;
        self.out.extend_from_slice(&[0, 0]);
        let word = self.plain(field.expected())?;
        let mut hex = HexDecoder::default();
        let read = hex.push(word.text, self.out).and_then(|()| hex.finish());
        let tag_len = u8::try_from(self.out.len() - at - 4).ok().filter(|_| read.is_ok());
        self.out[at] = tag_len.ok_or_else(|| word.not("at most 255 octets in hexadecimal"))?;
        let key_at = self.out.len();
        let word = self.plain(field.expected())?;
        let mut base64 = Base64Decoder::default();
        let read = base64.push(word.text, self.out).and_then(|()| base64.finish());
        let key_len = u16::try_from(self.out.len() - key_at).ok().filter(|_| read.is_ok());
        let key_len = key_len.ok_or_else(|| word.not("at most 65535 octets in base64, in one word"))?;
        self.out[at + 2..at + 4].copy_from_slice(&key_len.to_be_bytes());
        Ok(())
    }
}

/// The fields whose words can be good and the data still be wrong.
fn needs_check(field: Field) -> bool {
    matches!(
        field,
        Field::Hex
            | Field::Tag
            | Field::Remainder { .. }
            | Field::HostIdentity
            | Field::Params
            | Field::NextHash
    )
}

fn push_u16(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_be_bytes()[2..]);
}

fn push_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_be_bytes());
}

/// A mnemonic of `table`, or a number up to `max`.
fn named(text: &[u8], table: &[(&str, u16)], max: u32) -> Option<u32> {
    number::decimal(text, max).or_else(|| number_of(table, text).map(u32::from))
}

/// Writes what `write` writes with its length in an octet before it; `None` over 255 octets.
fn counted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Option<()>) -> Option<()> {
    let at = out.len();
    out.push(0);
    write(out)?;
    out[at] = u8::try_from(out.len() - at - 1).ok()?;
    Some(())
}

/// Sets the bit `index`, counted from the highest of the octet at `first`.
fn set_bit(out: &mut Vec<u8>, first: usize, index: usize) {
    let at = first + index / 8;
    if out.len() <= at {
        out.resize(at + 1, 0);
    }
    out[at] |= 0x80 >> (index % 8);
}

fn split_at_octet(text: &[u8], octet: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|&found| found == octet)?;
    Some((&text[..at], &text[at + 1..]))
}

/// Appends the octets of a word, its escapes resolved (RFC 1035 §5.1).
pub(super) fn unescape(word: &Word<'_>, out: &mut Vec<u8>) -> Fallible<()> {
    if !word.is_escaped {
        out.extend_from_slice(word.text);
        return Ok(());
    }
    let mut rest = word.text;
    while let Some(at) = rest.iter().position(|&octet| octet == b'\\') {
        out.extend_from_slice(&rest[..at]);
        let (octet, tail) = match &rest[at + 1..] {
            [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', tail @ ..] => {
                let value = u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0');
                (u8::try_from(value).ok(), tail)
            }
            [b'0'..=b'9', ..] | [] => (None, &[][..]),
            [octet, tail @ ..] => (Some(*octet), tail),
        };
        out.push(octet.ok_or_else(|| Problem::Escape.at(word.place))?);
        rest = tail;
    }
    out.extend_from_slice(rest);
    Ok(())
}

/// What messages show of a word that is wrong as a parameter.
pub(super) fn wrong_parameter(word: &Word<'_>, reason: &'static str) -> super::error::Failed {
    Problem::Parameter { found: excerpt(word.text), reason }.at(word.place)
}
