//! Wire form to text.

use super::encoding::{Base32Hex, Base64, Hex};
use super::fields::{Field, fields};
use super::mnemonics::{CERT_TYPES, SCHEMES, mnemonic_of};
use super::time::Date;
use super::validate::{end_of, validate};
use super::{loc, svcb};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use wire::{Name, RecordType};

/// The presentation format of record data; see [`display`].
#[derive(Clone, Copy, Debug)]
pub struct Display<'a> {
    rtype: RecordType,
    rdata: &'a [u8],
}

/// The presentation format of uncompressed data of `rtype`, on one line, as dig writes it but without breaks
/// inside base64 and hexadecimal. Opaque types, and data that is not valid for its type, come out as RFC 3597 §5
/// has it. Reading the text of valid data gives the same octets.
pub fn display(rtype: RecordType, rdata: &[u8]) -> Display<'_> {
    Display { rtype, rdata }
}

impl fmt::Display for Display<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = match fields(self.rtype) {
            Some(fields) if validate(self.rtype, self.rdata).is_ok() && has_text(self.rtype, self.rdata) => {
                fields
            }
            _ => return write_generic(f, self.rdata),
        };
        let mut at = 0;
        for &field in fields {
            let end = end_of(field, self.rdata, at).map_err(|_| fmt::Error)?;
            let octets = &self.rdata[at..end];
            // What is optional and not there must leave no blank behind.
            if !octets.is_empty() || always_written(field) {
                f.write_str(if at == 0 { "" } else { " " })?;
                write_field(f, field, octets, self.rdata)?;
            }
            at = end;
        }
        Ok(())
    }
}

/// Fields whose text is there even where they have no octets: an empty value, `-`, and the gateway of type 0.
fn always_written(field: Field) -> bool {
    matches!(field, Field::Remainder { .. } | Field::Base64OrDash | Field::Gateway)
}

/// Whether valid data has a text that leads back to it. Zeros that the text can't carry are the exceptions.
fn has_text(rtype: RecordType, rdata: &[u8]) -> bool {
    match rtype {
        RecordType::LOC => loc::has_text(rdata),
        RecordType::WKS => rdata.len() == 5 || rdata.last() != Some(&0),
        RecordType::NXT => {
            let name_len = Name::split_from(rdata).map_or(0, |(name, _)| name.len());
            rdata.len() == name_len || rdata.last() != Some(&0)
        }
        _ => true,
    }
}

fn write_generic(f: &mut fmt::Formatter<'_>, rdata: &[u8]) -> fmt::Result {
    write!(f, "\\# {}", rdata.len())?;
    if rdata.is_empty() { Ok(()) } else { write!(f, " {}", Hex(rdata)) }
}

/// Writes one field of valid data; `rdata` is all of it, for the fields whose form others tell.
fn write_field(f: &mut fmt::Formatter<'_>, field: Field, octets: &[u8], rdata: &[u8]) -> fmt::Result {
    let number = || octets.iter().fold(0u64, |number, octet| number << 8 | u64::from(*octet));
    let after_len = octets.get(1..).unwrap_or_default();
    match field {
        Field::Name(_) => write_names(f, octets),
        Field::Names => write_names(f, octets),
        Field::U8 | Field::U16 | Field::U32 | Field::Period | Field::Algorithm => write!(f, "{}", number()),
        Field::CertType => write_mnemonic(f, CERT_TYPES, number()),
        Field::Scheme => write_mnemonic(f, SCHEMES, number()),
        Field::Type => write!(f, "{}", RecordType(number() as u16)), // two octets
        Field::Time => write!(f, "{}", Date(number() as u32)),       // four octets
        Field::Ipv4 => write_ipv4(f, octets),
        Field::Ipv6 => write_ipv6(f, octets),
        Field::Locator => {
            let group = |i: u32| number() >> (48 - 16 * i) & 0xffff;
            write!(f, "{:04x}:{:04x}:{:04x}:{:04x}", group(0), group(1), group(2), group(3))
        }
        Field::Eui48 | Field::Eui64 => {
            for (i, octet) in octets.iter().enumerate() {
                write!(f, "{}{octet:02x}", if i == 0 { "" } else { "-" })?;
            }
            Ok(())
        }
        Field::Text | Field::TextOptional => write!(f, "{}", Quoted(after_len)),
        Field::Texts => write_texts(f, octets),
        Field::Remainder { .. } => write!(f, "{}", Quoted(octets)),
        Field::Tag => f.write_str(std::str::from_utf8(after_len).map_err(|_| fmt::Error)?),
        Field::Hex => write!(f, "{}", Hex(octets)),
        Field::Nsap => write!(f, "0x{}", Hex(octets)),
        Field::Base64 | Field::Base64Optional => write!(f, "{}", Base64(octets)),
        Field::Base64OrDash if octets.is_empty() => f.write_str("-"),
        Field::Base64OrDash => write!(f, "{}", Base64(octets)),
        Field::Salt if after_len.is_empty() => f.write_str("-"),
        Field::Salt => write!(f, "{}", Hex(after_len)),
        Field::NextHash => write!(f, "{}", Base32Hex(after_len)),
        Field::TypeBitmap => write_type_bitmap(f, octets),
        Field::NxtBitmap => write_types(f, 0, octets, ""),
        Field::Wks => write_wks(f, octets),
        Field::Prefixes => write_prefixes(f, octets),
        Field::Location => write!(f, "{}", loc::Location(octets)),
        Field::A6 => write_a6(f, octets),
        Field::Gateway => write_target(f, rdata[1], octets),
        Field::Relay => {
            let (discovery, kind) = (octets[0] >> 7, octets[0] & 0x7f);
            write!(f, "{discovery} {kind} ")?;
            write_target(f, kind, after_len)
        }
        Field::HostIdentity => {
            let (tag, key) = octets[4..].split_at(usize::from(octets[0]));
            write!(f, "{} {} {}", octets[1], Hex(tag), Base64(key))
        }
        Field::Params => write!(f, "{}", svcb::Params(octets)),
    }
}

fn write_mnemonic(
    f: &mut fmt::Formatter<'_>,
    table: &'static [(&'static str, u16)],
    number: u64,
) -> fmt::Result {
    match u16::try_from(number).ok().and_then(|number| mnemonic_of(table, number)) {
        Some(text) => f.write_str(text),
        None => write!(f, "{number}"),
    }
}

fn write_names(f: &mut fmt::Formatter<'_>, mut octets: &[u8]) -> fmt::Result {
    let mut separator = "";
    while let Ok((name, rest)) = Name::split_from(octets) {
        write!(f, "{separator}{name}")?;
        (octets, separator) = (rest, " ");
    }
    Ok(())
}

fn write_ipv4(f: &mut fmt::Formatter<'_>, octets: &[u8]) -> fmt::Result {
    let octets: [u8; 4] = octets.try_into().map_err(|_| fmt::Error)?;
    write!(f, "{}", Ipv4Addr::from(octets))
}

fn write_ipv6(f: &mut fmt::Formatter<'_>, octets: &[u8]) -> fmt::Result {
    let octets: [u8; 16] = octets.try_into().map_err(|_| fmt::Error)?;
    write!(f, "{}", Ipv6Addr::from(octets))
}

fn write_texts(f: &mut fmt::Formatter<'_>, mut octets: &[u8]) -> fmt::Result {
    let mut separator = "";
    while let [len, rest @ ..] = octets {
        let (text, rest) = rest.split_at_checked(usize::from(*len)).ok_or(fmt::Error)?;
        write!(f, "{separator}{}", Quoted(text))?;
        (octets, separator) = (rest, " ");
    }
    Ok(())
}

fn write_type_bitmap(f: &mut fmt::Formatter<'_>, mut octets: &[u8]) -> fmt::Result {
    let mut separator = "";
    while let [window, len, rest @ ..] = octets {
        let (bitmap, rest) = rest.split_at_checked(usize::from(*len)).ok_or(fmt::Error)?;
        write_types(f, u16::from(*window) << 8, bitmap, separator)?;
        (octets, separator) = (rest, " ");
    }
    Ok(())
}

/// Writes the types whose bits are set, counted from `first`, with `separator` before the first of them.
fn write_types(f: &mut fmt::Formatter<'_>, first: u16, bitmap: &[u8], separator: &str) -> fmt::Result {
    let mut separator = separator;
    for (i, octet) in bitmap.iter().enumerate() {
        for bit in (0..8).filter(|bit| octet & (0x80 >> bit) != 0) {
            write!(f, "{separator}{}", RecordType(first + 8 * i as u16 + bit))?; // i < 32
            separator = " ";
        }
    }
    Ok(())
}

fn write_wks(f: &mut fmt::Formatter<'_>, octets: &[u8]) -> fmt::Result {
    write_ipv4(f, &octets[..4])?;
    write!(f, " {}", octets[4])?;
    for (i, octet) in octets[5..].iter().enumerate() {
        for bit in (0..8).filter(|bit| octet & (0x80 >> bit) != 0) {
            write!(f, " {}", 8 * i + bit)?;
        }
    }
    Ok(())
}

fn write_prefixes(f: &mut fmt::Formatter<'_>, mut octets: &[u8]) -> fmt::Result {
    let mut separator = "";
    while let [_, family, prefix_len, len, rest @ ..] = octets {
        let (given, rest) = rest.split_at_checked(usize::from(len & 0x7f)).ok_or(fmt::Error)?;
        let mut address = [0; 16];
        address.get_mut(..given.len()).ok_or(fmt::Error)?.copy_from_slice(given);
        write!(f, "{separator}{}{family}:", if len & 0x80 == 0 { "" } else { "!" })?;
        if *family == 1 {
            write_ipv4(f, &address[..4])?
        } else {
            write_ipv6(f, &address)?
        }
        write!(f, "/{prefix_len}")?;
        (octets, separator) = (rest, " ");
    }
    Ok(())
}

fn write_a6(f: &mut fmt::Formatter<'_>, octets: &[u8]) -> fmt::Result {
    let prefix_len = octets[0];
    write!(f, "{prefix_len}")?;
    let suffix_len = (128 - usize::from(prefix_len)).div_ceil(8);
    let (suffix, name) = octets[1..].split_at(suffix_len);
    if suffix_len > 0 {
        let mut address = [0; 16];
        address[16 - suffix_len..].copy_from_slice(suffix);
        write!(f, " {}", Ipv6Addr::from(address))?;
    }
    if name.is_empty() {
        return Ok(());
    }
    f.write_str(" ")?;
    write_names(f, name)
}

fn write_target(f: &mut fmt::Formatter<'_>, kind: u8, octets: &[u8]) -> fmt::Result {
    match kind {
        0 => f.write_str("."),
        1 => write_ipv4(f, octets),
        2 => write_ipv6(f, octets),
        _ => write_names(f, octets),
    }
}

/// A text in quotes, with `\"`, `\\` and `\DDD` where needed (RFC 1035 §5.1).
pub(crate) struct Quoted<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for &octet in self.0 {
            write_quoted_octet(f, octet)?;
        }
        f.write_str("\"")
    }
}

/// Writes an octet as it stands between quotes.
pub(crate) fn write_quoted_octet(f: &mut fmt::Formatter<'_>, octet: u8) -> fmt::Result {
    use fmt::Write;
    match octet {
        b'"' | b'\\' => write!(f, "\\{}", octet as char),
        0x20..=0x7e => f.write_char(octet as char),
        _ => write!(f, "\\{octet:03}"),
    }
}
