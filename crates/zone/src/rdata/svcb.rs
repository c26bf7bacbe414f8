//! The parameters of SVCB and HTTPS records (RFC 9460).

use super::encoding::Base64;
use super::show::{Quoted, write_quoted_octet};
use super::validate::RdataError;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

pub(crate) const MANDATORY: u16 = 0;
pub(crate) const ALPN: u16 = 1;
pub(crate) const NO_DEFAULT_ALPN: u16 = 2;
pub(crate) const PORT: u16 = 3;
pub(crate) const IPV4HINT: u16 = 4;
pub(crate) const ECH: u16 = 5;
pub(crate) const IPV6HINT: u16 = 6;
pub(crate) const DOHPATH: u16 = 7;
pub(crate) const OHTTP: u16 = 8;
const INVALID: u16 = 65_535;

/// The names of keys (RFC 9460 §14.3.2, RFC 9461 §5, RFC 9540 §4), each at the place of its number.
const KEYS: &[&str] =
    &["mandatory", "alpn", "no-default-alpn", "port", "ipv4hint", "ech", "ipv6hint", "dohpath", "ohttp"];

/// Reads the name of a key, or `keyNNNNN` without leading zeros (RFC 9460 §2.1).
pub(crate) fn key_from_text(text: &[u8]) -> Option<u16> {
    if let Some(known) = KEYS.iter().position(|name| name.as_bytes() == text) {
        return u16::try_from(known).ok();
    }
    let digits = text.strip_prefix(b"key")?;
    let padded = digits.len() > 1 && digits[0] == b'0';
    if padded || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|&key| key != INVALID)
}

/// Key and value at the start of `params`, and what follows them.
fn split(params: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (head, rest) = params.split_first_chunk::<4>()?;
    let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([head[2], head[3]])))?;
    Some((u16::from_be_bytes([head[0], head[1]]), value, rest))
}

/// Checks parameters in wire form: ascending keys, each once, and values as their keys have them.
pub(crate) fn check(params: &[u8]) -> Result<(), RdataError> {
    let mut rest = params;
    let mut key_min = 0u32;
    let mut alpn_is_there = false;
    while !rest.is_empty() {
        let (key, value, tail) = split(rest).ok_or(RdataError::Short("a parameter with its value"))?;
        if u32::from(key) < key_min {
            return Err(RdataError::Value("parameters must be in ascending order of their keys, each once"));
        }
        key_min = u32::from(key) + 1;
        alpn_is_there |= key == ALPN;
        // RFC 9460 §2.4.3 and §7.1.1: without alpn the record contradicts itself.
        if key == NO_DEFAULT_ALPN && !alpn_is_there {
            return Err(RdataError::Value("no-default-alpn needs alpn beside it"));
        }
        if key == MANDATORY {
            check_mandatory(value, tail)?;
        }
        check_value(key, value).map_err(RdataError::Value)?;
        rest = tail;
    }
    Ok(())
}

/// RFC 9460 §8: ascending keys, each once, never itself, all of them among the parameters.
fn check_mandatory(keys: &[u8], mut params: &[u8]) -> Result<(), RdataError> {
    let mut last = MANDATORY;
    if keys.is_empty() || !keys.len().is_multiple_of(2) {
        return Err(RdataError::Value("mandatory needs a list of keys"));
    }
    for key in keys.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])) {
        if key <= last {
            return Err(RdataError::Value("mandatory must list keys other than itself, each once"));
        }
        last = key;
        loop {
            let Some((present, _, rest)) = split(params) else {
                return Err(RdataError::Value("mandatory lists a key that is not among the parameters"));
            };
            params = rest; // both lists ascend, so what was passed is not needed again
            if present == key {
                break;
            }
        }
    }
    Ok(())
}

fn check_value(key: u16, value: &[u8]) -> Result<(), &'static str> {
    let list_of = |len: usize| !value.is_empty() && value.len().is_multiple_of(len);
    match key {
        ALPN if !alpn_is_valid(value) => Err("alpn needs a list of protocols, each of 1 to 255 octets"),
        NO_DEFAULT_ALPN if !value.is_empty() => Err("no-default-alpn takes no value"),
        PORT if value.len() != 2 => Err("port needs a number from 0 to 65535"),
        IPV4HINT if !list_of(4) => Err("ipv4hint needs a list of IPv4 addresses"),
        ECH if value.is_empty() => Err("ech needs a value in base64"),
        IPV6HINT if !list_of(16) => Err("ipv6hint needs a list of IPv6 addresses"),
        DOHPATH if value.is_empty() || std::str::from_utf8(value).is_err() => {
            Err("dohpath needs a path in UTF-8") // RFC 9461 §5
        }
        OHTTP if !value.is_empty() => Err("ohttp takes no value"), // RFC 9540 §4
        INVALID => Err("key65535 is reserved"),
        _ => Ok(()),
    }
}

fn alpn_is_valid(mut value: &[u8]) -> bool {
    let mut protocols = 0;
    while let [len @ 1..=255, rest @ ..] = value {
        let Some(rest) = rest.get(usize::from(*len)..) else { return false };
        protocols += 1;
        value = rest;
    }
    protocols > 0 && value.is_empty()
}

/// The text of valid parameters.
pub(crate) struct Params<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Params<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        let mut separator = "";
        while let Some((key, value, tail)) = split(rest) {
            f.write_str(separator)?;
            write_key(f, key)?;
            write_value(f, key, value)?;
            (rest, separator) = (tail, " ");
        }
        Ok(())
    }
}

fn write_key(f: &mut fmt::Formatter<'_>, key: u16) -> fmt::Result {
    match KEYS.get(usize::from(key)) {
        Some(name) => f.write_str(name),
        None => write!(f, "key{key}"),
    }
}

fn write_value(f: &mut fmt::Formatter<'_>, key: u16, value: &[u8]) -> fmt::Result {
    match key {
        MANDATORY => {
            list(f, value.chunks_exact(2), |f, pair| write_key(f, u16::from_be_bytes([pair[0], pair[1]])))
        }
        ALPN => write_alpn(f, value),
        PORT => write!(f, "={}", value.iter().fold(0u32, |number, octet| number << 8 | u32::from(*octet))),
        IPV4HINT => list(f, value.chunks_exact(4), |f, octets| {
            let octets: [u8; 4] = octets.try_into().map_err(|_| fmt::Error)?;
            write!(f, "{}", Ipv4Addr::from(octets))
        }),
        ECH => write!(f, "={}", Base64(value)),
        IPV6HINT => list(f, value.chunks_exact(16), |f, octets| {
            let octets: [u8; 16] = octets.try_into().map_err(|_| fmt::Error)?;
            write!(f, "{}", Ipv6Addr::from(octets))
        }),
        _ if value.is_empty() => Ok(()),
        _ => write!(f, "={}", Quoted(value)),
    }
}

fn list<'a>(
    f: &mut fmt::Formatter<'_>,
    items: impl Iterator<Item = &'a [u8]>,
    write: impl Fn(&mut fmt::Formatter<'_>, &[u8]) -> fmt::Result,
) -> fmt::Result {
    for (i, item) in items.enumerate() {
        f.write_str(if i == 0 { "=" } else { "," })?;
        write(f, item)?;
    }
    Ok(())
}

/// Protocols are escaped twice: as items of a list, then as a character string (RFC 9460 appendix A.1).
fn write_alpn(f: &mut fmt::Formatter<'_>, mut value: &[u8]) -> fmt::Result {
    let mut before = "=\"";
    while let [len, rest @ ..] = value {
        let (protocol, tail) = rest.split_at_checked(usize::from(*len)).ok_or(fmt::Error)?;
        f.write_str(before)?;
        for &octet in protocol {
            if matches!(octet, b',' | b'\\') {
                f.write_str("\\\\")?;
            }
            write_quoted_octet(f, octet)?;
        }
        (value, before) = (tail, ",");
    }
    f.write_str("\"")
}
