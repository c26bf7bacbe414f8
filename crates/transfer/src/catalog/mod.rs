//! Catalog zones (RFC 9432): zones that list other zones, so that secondaries need not be told of each by hand.
//!
//! [`read`] takes a catalog to its members, [`Ownership`] decides which of the members of all catalogs are here, and
//! [`write()`] makes a catalog of the zones of a primary. A catalog comes from somebody else and says which zones a node has
//! and, worse, which it has no longer: one that is broken changes nothing, and the decision to remove is never made from
//! something missing.

mod label;
mod ownership;
mod read;
mod write;

pub use label::{GroupText, label_of};
pub use ownership::{Approval, Held, Ignored, Ownership, RemovalLimit, Reset, Settled, View};
pub use read::{CatalogError, NameText, Reader, read};
pub use write::{LABEL_LEN, Listed, NAME_LEN_MAX, TooLong, write};

use std::fmt;
use wire::{Name, NameBuf};

/// The most members of a catalog: a node has no more zones, and one primary can't take more memory with its list. Each takes
/// some 200 octets here.
pub const MEMBERS_MAX: usize = 1_000_000;
/// The most groups of a member that are looked at.
pub const GROUPS_MAX: usize = 16;
/// The longest group that is looked at, in octets: one that a configuration could name.
pub const GROUP_LEN_MAX: usize = 255;
/// The version of the format (RFC 9432 §4.3.1).
const VERSION: &[u8] = b"2";

/// The name of a zone: in lower case, as long as it has to be, and in an order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZoneName(Box<[u8]>);

impl ZoneName {
    /// The name, borrowed.
    pub fn as_name(&self) -> Name<'_> {
        // It was made of one.
        Name::from_wire(&self.0).unwrap_or(Name::ROOT)
    }
}

impl From<Name<'_>> for ZoneName {
    fn from(name: Name<'_>) -> ZoneName {
        ZoneName(name.as_wire().to_ascii_lowercase().into())
    }
}

impl From<&ZoneName> for NameBuf {
    fn from(name: &ZoneName) -> NameBuf {
        name.as_name().into()
    }
}

impl fmt::Display for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_name().fmt(f)
    }
}

impl fmt::Debug for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_name().fmt(f)
    }
}

/// What a good catalog says.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Catalog {
    /// Its members, by their zones.
    pub members: std::collections::BTreeMap<ZoneName, Member>,
}

/// What a catalog says of one of its members.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// The label that stands for the zone in the catalog, in lower case: with another one it is another zone (RFC 9432 §5.4).
    pub label: Box<[u8]>,
    /// The groups that it is in (§4.4.2).
    pub groups: Vec<Box<[u8]>>,
    /// The catalog that may take it over (§4.4.1).
    pub coo: Option<ZoneName>,
}

#[cfg(test)]
mod tests;
