//! From the records of a catalog to its members.

use super::{Catalog, GROUP_LEN_MAX, GROUPS_MAX, GroupText, MEMBERS_MAX, Member, VERSION, ZoneName};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use table::{BadPointer, Table, Walk};
use wire::{Name, NameBuf, RecordType};

/// Why a catalog is broken, and must not be processed (RFC 9432 §5.1).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CatalogError {
    /// It has no version property (§4.3.1).
    #[error("version.{apex} has no TXT record: this is no catalog zone")]
    NoVersion {
        /// The catalog.
        apex: ZoneName,
    },
    /// It has several.
    #[error("version.{apex} has several TXT records, and may have one")]
    SeveralVersions {
        /// The catalog.
        apex: ZoneName,
    },
    /// It is of a version that is not known.
    #[error("version.{apex} says version \"{version}\", and only \"2\" is known")]
    OtherVersion {
        /// The catalog.
        apex: ZoneName,
        /// What it says.
        version: String,
    },
    /// A name has PTR records of several zones (§4.2).
    #[error("{owner} has several PTR records, and may have one")]
    SeveralZones {
        /// The name in the catalog.
        owner: NameText,
    },
    /// A zone is there under two labels (§4.2).
    #[error("{zone} is there twice, as {first} and as {second}")]
    Twice {
        /// The zone.
        zone: ZoneName,
        /// Where.
        first: NameText,
        /// And where.
        second: NameText,
    },
    /// A change of ownership to several catalogs (§4.4.1).
    #[error("{owner} has several PTR records, and may have one")]
    SeveralOwners {
        /// The name in the catalog.
        owner: NameText,
    },
    /// There are more members than may be.
    #[error("it has more than {MEMBERS_MAX} members")]
    TooMany,
    /// A record can't be read.
    #[error("the record of {owner} can't be read")]
    Malformed {
        /// The name in the catalog.
        owner: NameText,
    },
    /// The table can't be read.
    #[error(transparent)]
    Table(#[from] BadPointer),
}

/// A name in a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NameText(Box<str>);

impl std::fmt::Display for NameText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Name<'_>> for NameText {
    fn from(name: Name<'_>) -> NameText {
        NameText(name.to_string().into())
    }
}

/// Reads a catalog from its table.
///
/// # Errors
/// The first thing found that makes it a broken one.
pub fn read(table: &Arc<Table>) -> Result<Catalog, CatalogError> {
    let mut reader = Reader::new(table.apex_name());
    let mut walk = Walk::new(Arc::clone(table));
    while let Some(record) = walk.next_record()? {
        reader.take(record.owner, record.rtype, record.rdata)?;
    }
    reader.finish()
}

/// Reads a catalog record by record, in any order.
pub struct Reader {
    apex: ZoneName,
    versions: usize,
    version: Vec<u8>,
    /// By label.
    nodes: BTreeMap<Box<[u8]>, Node>,
}

/// What was read at and below a label.
#[derive(Default)]
struct Node {
    zone: Option<ZoneName>,
    groups: Vec<Box<[u8]>>,
    coo: Option<ZoneName>,
}

impl Reader {
    /// Begins with a catalog of this name.
    pub fn new(apex: Name<'_>) -> Reader {
        Reader { apex: apex.into(), versions: 0, version: Vec::new(), nodes: BTreeMap::new() }
    }

    /// Takes a record, whose data is uncompressed. Those that mean nothing to a catalog are passed over (RFC 9432 §4).
    ///
    /// # Errors
    /// The catalog is broken.
    pub fn take(&mut self, owner: Name<'_>, rtype: RecordType, rdata: &[u8]) -> Result<(), CatalogError> {
        let apex = self.apex.as_name();
        let above = apex.label_count();
        if !owner.is_below(apex) {
            return Ok(());
        }
        let mut labels = owner.labels();
        let [first, second, third] = std::array::from_fn(|_| labels.next().unwrap_or_default());
        let is = |label: &[u8], word: &str| label.eq_ignore_ascii_case(word.as_bytes());
        match (owner.label_count() - above, rtype) {
            (1, RecordType::TXT) if is(first, "version") => {
                self.versions += 1;
                if self.versions == 1 {
                    self.version = text_of(rdata).ok_or_else(|| malformed(owner))?;
                }
            }
            (2, RecordType::PTR) if is(second, "zones") => {
                let zone = name_of(rdata).ok_or_else(|| malformed(owner))?;
                if self.node(first)?.zone.replace(zone).is_some() {
                    return Err(CatalogError::SeveralZones { owner: owner.into() });
                }
            }
            (3, RecordType::PTR) if is(first, "coo") && is(third, "zones") => {
                let catalog = name_of(rdata).ok_or_else(|| malformed(owner))?;
                if self.node(second)?.coo.replace(catalog).is_some() {
                    return Err(CatalogError::SeveralOwners { owner: owner.into() });
                }
            }
            (3, RecordType::TXT) if is(first, "group") && is(third, "zones") => {
                let group = text_of(rdata).ok_or_else(|| malformed(owner))?;
                let node = self.node(second)?;
                // What is longer, or beyond that number, no configuration maps to anything.
                if group.len() <= GROUP_LEN_MAX && node.groups.len() < GROUPS_MAX {
                    node.groups.push(group.into());
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Ends with what was taken.
    ///
    /// # Errors
    /// The catalog is broken.
    pub fn finish(self) -> Result<Catalog, CatalogError> {
        let Reader { apex, versions, version, nodes } = self;
        match versions {
            0 => return Err(CatalogError::NoVersion { apex }),
            1 if version == VERSION => {}
            1 => {
                let shown = &version[..version.len().min(GROUP_LEN_MAX)];
                return Err(CatalogError::OtherVersion { apex, version: GroupText(shown).to_string() });
            }
            _ => return Err(CatalogError::SeveralVersions { apex }),
        }
        let mut catalog = Catalog::default();
        for (label, Node { zone, mut groups, coo }) in nodes {
            // The same for all nodes, in whatever order the records came.
            groups.sort_unstable();
            // Properties of no member are properties that are not known.
            let Some(zone) = zone else { continue };
            match catalog.members.entry(zone) {
                Entry::Vacant(place) => drop(place.insert(Member { label, groups, coo })),
                Entry::Occupied(other) => {
                    let zone = other.key().clone();
                    let [first, second] = [&other.get().label, &label].map(|label| owner_of(label, &apex));
                    return Err(CatalogError::Twice { zone, first, second });
                }
            }
        }
        Ok(catalog)
    }

    fn node(&mut self, label: &[u8]) -> Result<&mut Node, CatalogError> {
        let nodes = self.nodes.len();
        match self.nodes.entry(label.to_ascii_lowercase().into()) {
            Entry::Occupied(node) => Ok(node.into_mut()),
            Entry::Vacant(_) if nodes >= MEMBERS_MAX => Err(CatalogError::TooMany),
            Entry::Vacant(place) => Ok(place.insert(Node::default())),
        }
    }
}

fn malformed(owner: Name<'_>) -> CatalogError {
    CatalogError::Malformed { owner: owner.into() }
}

fn name_of(rdata: &[u8]) -> Option<ZoneName> {
    Name::from_wire(rdata).ok().map(ZoneName::from)
}

/// The character-strings of a TXT record, joined.
fn text_of(rdata: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let mut rest = rdata;
    while let Some((len, after)) = rest.split_first() {
        let (string, after) = after.split_at_checked(usize::from(*len))?;
        text.extend_from_slice(string);
        rest = after;
    }
    Some(text)
}

/// The name of a member in the catalog.
fn owner_of(label: &[u8], apex: &ZoneName) -> NameText {
    let name = NameBuf::child(b"zones", apex.as_name());
    // Both were read from a name that was not too long.
    let name = name.and_then(|zones| NameBuf::child(label, zones.as_name()));
    name.map_or_else(|_| NameText(GroupText(label).to_string().into()), |name| name.as_name().into())
}
