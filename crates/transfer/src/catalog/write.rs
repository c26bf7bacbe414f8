//! A catalog of this node's zones, as records.

use super::{VERSION, ZoneName, label_of};
use crate::Soa;
use wire::message::u32_at;
use wire::{Name, NameBuf, NameError, RecordType};
use zone::Gatherer;

/// Octets of the labels that are made here.
pub const LABEL_LEN: usize = 32;
/// The longest name of a catalog in octets: what stands in it for a member needs `group`, the label and `zones` before it.
pub const NAME_LEN_MAX: usize = wire::NAME_MAX - (6 + 1 + LABEL_LEN + 6);

/// Nobody resolves anything in a catalog (RFC 9432 §4.1 has these names, and these times).
const NOBODY: &[u8] = b"\x07invalid\0";
const REFRESH: u32 = 3600;
const RETRY: u32 = 600;
/// As long as can be: a catalog is no less true for its primary being away.
const EXPIRE: u32 = 2_147_483_646;
const MINIMUM: u32 = 0;
/// The TTL of all records: nobody keeps them in a cache.
const TTL: u32 = 0;

/// A zone to be listed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// The zone.
    pub zone: ZoneName,
    /// The group that it is in: at most 255 octets.
    pub group: Option<Box<[u8]>>,
    /// The catalog that may take it over.
    pub coo: Option<ZoneName>,
    /// The label that stands for it, if it is not to be [`label_of`] the zone; at most [`LABEL_LEN`] octets.
    pub label: Option<Box<[u8]>>,
}

/// The name of the catalog, or a label, is too long.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the catalog's name, or a member's label, is too long for the names that stand in it")]
pub struct TooLong;

impl From<NameError> for TooLong {
    fn from(_: NameError) -> TooLong {
        TooLong
    }
}

/// Makes a catalog with this name and serial of these zones.
///
/// # Errors
/// Its name has more than [`NAME_LEN_MAX`] octets, or a group or label more than it may.
pub fn write(apex: Name<'_>, serial: u32, zones: &[Listed]) -> Result<Gatherer, TooLong> {
    let mut records = Gatherer::new(apex, 0);
    records.add_received(apex, RecordType::SOA, TTL, &soa(serial));
    records.add_received(apex, RecordType::NS, TTL, NOBODY);
    records.add_received(NameBuf::child(b"version", apex)?.as_name(), RecordType::TXT, TTL, &text(VERSION)?);
    let all = NameBuf::child(b"zones", apex)?;
    for Listed { zone, group, coo, label } in zones {
        let made = label_of(zone);
        let owner = NameBuf::child(label.as_deref().unwrap_or(&made), all.as_name())?;
        records.add_received(owner.as_name(), RecordType::PTR, TTL, zone.as_name().as_wire());
        if let Some(catalog) = coo {
            let coo = NameBuf::child(b"coo", owner.as_name())?;
            records.add_received(coo.as_name(), RecordType::PTR, TTL, catalog.as_name().as_wire());
        }
        if let Some(group) = group {
            let owner = NameBuf::child(b"group", owner.as_name())?;
            records.add_received(owner.as_name(), RecordType::TXT, TTL, &text(group)?);
        }
    }
    Ok(records)
}

fn soa(serial: u32) -> Vec<u8> {
    let mut rdata = [NOBODY, NOBODY].concat();
    for number in [serial, REFRESH, RETRY, EXPIRE, MINIMUM] {
        rdata.extend_from_slice(&number.to_be_bytes());
    }
    debug_assert_eq!(Soa::from_rdata(&rdata).map(|soa| soa.serial), Some(serial));
    debug_assert_eq!(u32_at(&rdata, rdata.len() - 20), Some(serial));
    rdata
}

/// A TXT record with one character-string.
fn text(octets: &[u8]) -> Result<Vec<u8>, TooLong> {
    let len = u8::try_from(octets.len()).map_err(|_| TooLong)?;
    Ok([&[len], octets].concat())
}
