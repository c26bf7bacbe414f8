//! The text of the parameters of SVCB and HTTPS (RFC 9460 §2.1).

use super::error::Fallible;
use super::number;
use super::scan::Word;
use super::value::{Values, unescape, wrong_parameter};
use crate::rdata::encoding::Base64Decoder;
use crate::rdata::svcb::{
    ALPN, ECH, IPV4HINT, IPV6HINT, MANDATORY, NO_DEFAULT_ALPN, OHTTP, PORT, key_from_text,
};

/// A value in wire form, on its way to its place in the order of keys.
struct Param {
    key: u16,
    value: Vec<u8>,
}

/// Reads parameters to the end of the record, in any order, and writes them in that of their keys.
///
/// That takes the heap, unlike other types: a value has its place only when all keys are known.
pub(super) fn read(values: &mut Values<'_, '_>) -> Fallible<()> {
    let mut params: Vec<Param> = Vec::new();
    while let Some(word) = values.scan.parameter()? {
        let param = read_param(&word)?;
        let place = params.partition_point(|other| other.key < param.key);
        if params.get(place).is_some_and(|other| other.key == param.key) {
            return Err(wrong_parameter(&word, "the key is stated twice"));
        }
        params.insert(place, param);
    }
    for param in &params {
        values.out.extend_from_slice(&param.key.to_be_bytes());
        // A longer value makes the data too long, which the caller checks.
        let len = u16::try_from(param.value.len()).unwrap_or(u16::MAX);
        values.out.extend_from_slice(&len.to_be_bytes());
        values.out.extend_from_slice(&param.value);
    }
    Ok(())
}

fn read_param(word: &Word<'_>) -> Fallible<Param> {
    let (key_text, value_text) = match word.text.iter().position(|&octet| octet == b'=') {
        Some(at) => (&word.text[..at], Some(&word.text[at + 1..])),
        None => (word.text, None),
    };
    let key = key_from_text(key_text).ok_or_else(|| {
        wrong_parameter(word, "the key is not known: write the lower-case name, or keyNNNNN with its number")
    })?;
    let mut text = Vec::new();
    if let Some(value) = value_text {
        let inner = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
        unescape(&Word { text: inner, ..*word }, &mut text)?;
    }
    // keyNNNNN=value gives the octets of the wire form, for known keys too (RFC 9460 §2.1).
    let is_generic = key_text.starts_with(b"key");
    let value = if is_generic { Ok(text) } else { value_to_wire(key, value_text.is_some(), text) };
    Ok(Param { key, value: value.map_err(|reason| wrong_parameter(word, reason))? })
}

/// The wire form of the text of a value, its escapes as a character string resolved.
fn value_to_wire(key: u16, has_value: bool, text: Vec<u8>) -> Result<Vec<u8>, &'static str> {
    let mut wire = Vec::new();
    match key {
        NO_DEFAULT_ALPN | OHTTP if has_value => return Err("the key takes no value"),
        MANDATORY => each_item(&text, |item| {
            let key = key_from_text(item).ok_or("mandatory lists a key that is not known")?;
            wire.extend_from_slice(&key.to_be_bytes());
            Ok(())
        })
        .and_then(|()| sort_keys(&mut wire))?,
        ALPN => each_protocol(&text, &mut wire)?,
        PORT => {
            let port = number::decimal(&text, 65_535).ok_or("port needs a number from 0 to 65535")?;
            wire.extend_from_slice(&port.to_be_bytes()[2..]);
        }
        IPV4HINT => each_item(&text, |item| {
            wire.extend_from_slice(&number::ipv4(item).ok_or("ipv4hint needs a list of IPv4 addresses")?);
            Ok(())
        })?,
        IPV6HINT => each_item(&text, |item| {
            wire.extend_from_slice(&number::ipv6(item).ok_or("ipv6hint needs a list of IPv6 addresses")?);
            Ok(())
        })?,
        ECH => {
            let mut base64 = Base64Decoder::default();
            let read = base64.push(&text, &mut wire).and_then(|()| base64.finish());
            read.map_err(|_| "ech needs a value in base64")?;
        }
        _ => return Ok(text),
    }
    Ok(wire)
}

fn each_item(
    text: &[u8],
    mut read: impl FnMut(&[u8]) -> Result<(), &'static str>,
) -> Result<(), &'static str> {
    text.split(|&octet| octet == b',').try_for_each(&mut read)
}

/// Keys in text may come in any order; in wire form they ascend (RFC 9460 §8).
fn sort_keys(wire: &mut [u8]) -> Result<(), &'static str> {
    let (pairs, _) = wire.as_chunks_mut::<2>();
    pairs.sort_unstable();
    if pairs.windows(2).any(|pair| pair[0] == pair[1]) { Err("mandatory lists a key twice") } else { Ok(()) }
}

/// Splits at commas; a `\` before a comma or a `\` makes it part of the item (RFC 9460 appendix A.1).
fn each_protocol(text: &[u8], wire: &mut Vec<u8>) -> Result<(), &'static str> {
    let mut len_at = wire.len();
    wire.push(0);
    let mut octets = text.iter();
    loop {
        let octet = octets.next();
        match octet {
            Some(b',') | None => {
                let len = wire.len() - len_at - 1;
                wire[len_at] = u8::try_from(len)
                    .ok()
                    .filter(|len| *len > 0)
                    .ok_or("alpn needs a list of protocols, each of 1 to 255 octets")?;
                if octet.is_none() {
                    return Ok(());
                }
                len_at = wire.len();
                wire.push(0);
            }
            Some(b'\\') => match octets.next() {
                Some(&octet @ (b',' | b'\\')) => wire.push(octet),
                _ => {
                    return Err(
                        "in a list a `\\` (written `\\\\`) must be followed by a comma or another one",
                    );
                }
            },
            Some(&octet) => wire.push(octet),
        }
    }
}
