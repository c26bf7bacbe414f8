//! Where fields end in wire form, and whether data is valid for its type.

use super::fields::{Field, fields};
use super::{RDATA_MAX, loc, svcb};
use wire::{Name, RecordType};

/// Why octets are not the data of a record of a type.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RdataError {
    /// The data ends before the field named does.
    #[error("the data ends where {0} is expected")]
    Short(&'static str),
    /// So many octets follow the last field.
    #[error("{0} octets follow the last field")]
    Trailing(usize),
    /// A name that is cut off, too long or compressed.
    #[error("the data holds a name that is cut off, too long or compressed")]
    Name,
    /// More than 65,535 octets.
    #[error("the data has more than 65535 octets")]
    Long,
    /// A digest whose length is not that of its kind.
    #[error("the digest has {found} octets; one of this kind has {expected}")]
    Digest {
        /// The length of such digests.
        expected: usize,
        /// The length in the data.
        found: usize,
    },
    /// A value that the field does not allow.
    #[error("{0}")]
    Value(&'static str),
}

/// Checks that uncompressed `rdata` is well-formed for `rtype`. Opaque types take any octets.
pub fn validate(rtype: RecordType, rdata: &[u8]) -> Result<(), RdataError> {
    if rdata.len() > RDATA_MAX {
        return Err(RdataError::Long);
    }
    let Some(fields) = fields(rtype) else { return Ok(()) };
    let mut at = 0;
    for &field in fields {
        at = end_of(field, rdata, at)?;
    }
    if at < rdata.len() {
        return Err(RdataError::Trailing(rdata.len() - at));
    }
    check_digest(rtype, rdata)
}

/// Digests of known kinds have known lengths: a wrong one is a digest that lost its end.
pub(crate) fn check_digest(rtype: RecordType, rdata: &[u8]) -> Result<(), RdataError> {
    let (head, expected) = match (rtype, rdata) {
        (RecordType::DS | RecordType::CDS | RecordType::DLV | RecordType::TA, [_, _, _, kind, ..]) => {
            // SHA-1, SHA-256, GOST R 34.11-94, SHA-384 (IANA, DS RR Type Digest Algorithms)
            (4, [None, Some(20), Some(32), Some(32), Some(48)].get(usize::from(*kind)).copied().flatten())
        }
        (RecordType::SSHFP, [_, kind, ..]) => {
            // SHA-1, SHA-256 (RFC 4255 §3.1.2, RFC 6594 §3.2)
            (2, [None, Some(20), Some(32)].get(usize::from(*kind)).copied().flatten())
        }
        (RecordType::ZONEMD, [_, _, _, _, scheme, kind, digest @ ..]) => {
            if digest.len() < 12 {
                return Err(RdataError::Value("the digest of a ZONEMD record has 12 octets or more")); // RFC 8976 §2.2.4
            }
            // SHA-384, SHA-512 (RFC 8976 §2.2.3)
            let known = [None, Some(48), Some(64)].get(usize::from(*kind)).copied().flatten();
            (6, known.filter(|_| *scheme == 1))
        }
        _ => return Ok(()),
    };
    match (expected, rdata.len() - head) {
        (Some(expected), found) if expected != found => Err(RdataError::Digest { expected, found }),
        _ => Ok(()),
    }
}

/// Where `field` ends, which starts at `at`, at most the length of `rdata`.
pub(crate) fn end_of(field: Field, rdata: &[u8], at: usize) -> Result<usize, RdataError> {
    let rest = &rdata[at..];
    let short = RdataError::Short(field.expected());
    let fixed = |len: usize| if rest.len() < len { Err(short) } else { Ok(at + len) };
    match field {
        Field::Name(_) => Ok(at + name_len(rest)?),
        Field::Names => {
            let mut end = at;
            while end < rdata.len() {
                end += name_len(&rdata[end..])?;
            }
            Ok(end)
        }
        Field::U8 | Field::Algorithm | Field::Scheme => fixed(1),
        Field::U16 | Field::CertType | Field::Type => fixed(2),
        Field::U32 | Field::Period | Field::Time | Field::Ipv4 => fixed(4),
        Field::Eui48 => fixed(6),
        Field::Locator | Field::Eui64 => fixed(8),
        Field::Ipv6 => fixed(16),
        Field::TextOptional if rest.is_empty() => Ok(at),
        Field::Text | Field::TextOptional | Field::Salt => Ok(at + counted(rest, short)?.len() + 1),
        Field::Texts => texts_end(rdata, at),
        Field::Remainder { min } => fixed(min).map(|_| rdata.len()),
        Field::Tag => match counted(rest, short)? {
            tag if tag.is_empty() || !tag.iter().all(u8::is_ascii_alphanumeric) => {
                Err(RdataError::Value("a CAA tag consists of ASCII letters and digits"))
            }
            tag => Ok(at + 1 + tag.len()),
        },
        Field::NextHash => match counted(rest, short)? {
            [] => Err(RdataError::Value("the next hashed owner is empty")),
            hash => Ok(at + 1 + hash.len()),
        },
        Field::Hex | Field::Nsap | Field::Base64 => fixed(1).map(|_| rdata.len()),
        Field::Base64Optional | Field::Base64OrDash => Ok(rdata.len()),
        Field::TypeBitmap => type_bitmap_end(rdata, at),
        Field::NxtBitmap => nxt_bitmap_end(rdata, at),
        Field::Wks if rest.len() > 5 + 8192 => Err(RdataError::Value("a bit map of more than 65536 ports")),
        Field::Wks => fixed(5).map(|_| rdata.len()),
        Field::Prefixes => prefixes_end(rdata, at),
        Field::Location if !loc::is_valid(rest) => Err(RdataError::Value("not a location of RFC 1876 §2")),
        Field::Location => Ok(rdata.len()),
        Field::A6 => a6_end(rdata, at),
        Field::Gateway => target_end(rdata, at, *rdata.get(1).ok_or(short)?),
        Field::Relay => target_end(rdata, at + 1, rest.first().ok_or(short)? & 0x7f),
        Field::HostIdentity => host_identity_end(rdata, at),
        Field::Params => svcb::check(rest).map(|()| rdata.len()),
    }
}

fn name_len(rest: &[u8]) -> Result<usize, RdataError> {
    Name::split_from(rest).map(|(name, _)| name.len()).map_err(|_| RdataError::Name)
}

/// What the length octet at the start of `rest` counts.
fn counted(rest: &[u8], short: RdataError) -> Result<&[u8], RdataError> {
    let (&len, rest) = rest.split_first().ok_or(short)?;
    rest.get(..usize::from(len)).ok_or(short)
}

fn texts_end(rdata: &[u8], at: usize) -> Result<usize, RdataError> {
    let short = RdataError::Short(Field::Texts.expected());
    let mut end = at;
    loop {
        end += 1 + counted(&rdata[end..], short)?.len();
        if end == rdata.len() {
            return Ok(end);
        }
    }
}

/// RFC 4034 §4.1.2: windows ascend, none is empty, none ends in a zero octet.
fn type_bitmap_end(rdata: &[u8], at: usize) -> Result<usize, RdataError> {
    const BAD: RdataError = RdataError::Value("a bit map of types is not as RFC 4034 §4.1.2 has it");
    let mut rest = &rdata[at..];
    let mut window_min = 0u16;
    while let [window, len, tail @ ..] = rest {
        let octets = tail.get(..usize::from(*len)).ok_or(BAD)?;
        if u16::from(*window) < window_min || octets.len() > 32 || octets.last().is_none_or(|&last| last == 0)
        {
            return Err(BAD);
        }
        window_min = u16::from(*window) + 1;
        rest = &tail[octets.len()..];
    }
    if rest.is_empty() { Ok(rdata.len()) } else { Err(BAD) }
}

/// RFC 2535 §5.2: at most 128 bits, the first zero.
fn nxt_bitmap_end(rdata: &[u8], at: usize) -> Result<usize, RdataError> {
    match &rdata[at..] {
        [first, ..] if first & 0x80 != 0 => {
            Err(RdataError::Value("a bit map of NXT with its first bit set has no meaning"))
        }
        bitmap if bitmap.len() > 16 => Err(RdataError::Value("a bit map of NXT has at most 16 octets")),
        _ => Ok(rdata.len()),
    }
}

/// RFC 3123 §4, with the address families that have a text form there: IPv4 (1) and IPv6 (2).
fn prefixes_end(rdata: &[u8], at: usize) -> Result<usize, RdataError> {
    const BAD: RdataError = RdataError::Value("an address prefix is not as RFC 3123 §4 has it");
    let mut rest = &rdata[at..];
    while let [0, family @ 1..=2, prefix_len, len, tail @ ..] = rest {
        let (bits_max, octets_max) = if *family == 1 { (32, 4) } else { (128, 16) };
        let address = tail.get(..usize::from(len & 0x7f)).ok_or(BAD)?;
        if *prefix_len > bits_max || address.len() > octets_max || address.last() == Some(&0) {
            return Err(BAD);
        }
        rest = &tail[address.len()..];
    }
    if rest.is_empty() { Ok(rdata.len()) } else { Err(BAD) }
}

/// RFC 2874 §3.1: prefix length, the address bits after the prefix, and for a prefix its name.
fn a6_end(rdata: &[u8], at: usize) -> Result<usize, RdataError> {
    let short = RdataError::Short(Field::A6.expected());
    let prefix_len = usize::from(*rdata.get(at).ok_or(short)?);
    let suffix_bits =
        128usize.checked_sub(prefix_len).ok_or(RdataError::Value("an A6 prefix over 128 bits"))?;
    let name = rdata.get(at + 1 + suffix_bits.div_ceil(8)..).ok_or(short)?;
    if prefix_len == 0 {
        Ok(rdata.len() - name.len())
    } else {
        Ok(rdata.len() - name.len() + name_len(name)?)
    }
}

/// The gateway of IPSECKEY and the relay of AMTRELAY share their kinds (RFC 4025 §2.3, RFC 8777 §4.2.3).
fn target_end(rdata: &[u8], at: usize, kind: u8) -> Result<usize, RdataError> {
    let rest = rdata.get(at..).unwrap_or_default();
    let len = match kind {
        0 => 0,
        1 => 4,
        2 => 16,
        3 => name_len(rest)?,
        _ => return Err(RdataError::Value("a gateway or relay type over 3 is not assigned")),
    };
    if rest.len() < len { Err(RdataError::Short("a gateway or relay")) } else { Ok(at + len) }
}

/// RFC 8005 §5: the lengths of tag and key, and the algorithm between them, come first.
fn host_identity_end(rdata: &[u8], at: usize) -> Result<usize, RdataError> {
    let short = RdataError::Short(Field::HostIdentity.expected());
    let [tag_len, _, high, low, rest @ ..] = &rdata[at..] else { return Err(short) };
    let (tag_len, key_len) = (usize::from(*tag_len), usize::from(u16::from_be_bytes([*high, *low])));
    if tag_len == 0 || key_len == 0 {
        return Err(RdataError::Value("an empty host identity tag or key"));
    }
    if rest.len() < tag_len + key_len { Err(short) } else { Ok(at + 4 + tag_len + key_len) }
}
