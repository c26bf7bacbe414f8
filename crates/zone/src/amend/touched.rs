//! The names that an overlay has, with all the records that they own in the new version.

use super::{AmendError, Choices, Reason};
use crate::apply::{Mismatch, not_there, there_already};
use crate::difference::{Difference, RecordRef};
use crate::rdata::encoding::decode_base32hex;
use crate::rdata::to_canonical;
use std::collections::HashMap;
use std::sync::Arc;
use table::denial::Nsec3Hash;
use table::{ImageFlags, Node, Table};
use wire::{FoldedName, Name, NameBuf, RecordType};

/// A record of a touched name.
pub(crate) struct Row {
    pub(crate) rtype: RecordType,
    pub(crate) ttl: u32,
    pub(crate) rdata: Vec<u8>,
}

/// Names in lower case with their records; those without any are empty non-terminals or no more.
pub(crate) struct Touched<'t> {
    /// The version that is amended.
    pub(crate) current: &'t Arc<Table>,
    names: HashMap<Box<[u8]>, Vec<Row>>,
    names_max: usize,
    /// What answers of some names choose from.
    pub(super) choices: Choices,
    /// Whether the new version is mixed ([`ImageFlags::MIXED`]), as the current one is.
    pub(crate) is_mixed: bool,
    folded: FoldedName,
}

impl<'t> Touched<'t> {
    /// Begins with what the overlay has, where the table is one.
    pub(super) fn new(current: &'t Arc<Table>, names_max: usize) -> Result<Touched<'t>, AmendError> {
        let mut touched = Touched {
            current,
            names: HashMap::new(),
            names_max,
            choices: Choices::default(),
            is_mixed: current.flags().has(ImageFlags::MIXED),
            folded: FoldedName::default(),
        };
        if !touched.base().has_one_nsec3_chain() {
            return Err(AmendError::Recompile(Reason::Chain));
        }
        if current.is_overlaid() {
            for node in current.nodes().chain(current.nsec3_nodes()) {
                let name = NameBuf::joined(node.relative_name(), current.apex_name())
                    .map_err(|_| AmendError::Recompile(Reason::Table))?;
                touched.load(name.as_name())?;
            }
        }
        touched.load(current.apex_name())?;
        Ok(touched)
    }

    /// The table of the whole zone below.
    pub(crate) fn base(&self) -> &'t Arc<Table> {
        self.current.base().unwrap_or(self.current)
    }

    pub(crate) fn apex(&self) -> Name<'t> {
        self.current.apex_name()
    }

    /// All names with their records, in no order.
    pub(crate) fn names(&self) -> impl Iterator<Item = (Name<'_>, &[Row])> {
        self.names.iter().map(|(name, rows)| (Name::from_wire(name).unwrap_or(Name::ROOT), rows.as_slice()))
    }

    /// The records of a name; `None` where it is not touched.
    pub(super) fn get(&self, name: Name<'_>) -> Option<&[Row]> {
        self.names.get(lowered(name).as_name().as_wire()).map(Vec::as_slice)
    }

    /// Takes in a name with the records that it has in the current version, if it isn't here yet; whether it was not.
    pub(super) fn load(&mut self, name: Name<'_>) -> Result<bool, AmendError> {
        let name = lowered(name);
        if self.names.contains_key(name.as_name().as_wire()) {
            return Ok(false);
        }
        if self.names.len() >= self.names_max {
            return Err(AmendError::Recompile(Reason::TooMany));
        }
        let mut rows = Vec::new();
        self.folded.set(name.as_name());
        let hash = hash_of_owner(name.as_name(), self.apex());
        let nsec3_owner = hash.and_then(|hash| self.current.nsec3_owner(&hash));
        for node in self.current.node_named(&self.folded).into_iter().chain(nsec3_owner) {
            self.current.each_record(node, |record| {
                let (rtype, ttl, rdata) = (record.rtype, record.ttl, record.rdata.to_vec());
                // Of an owner with both, either node may have the signatures.
                rows.push(Row { rtype, ttl, rdata });
            })?;
        }
        self.names.insert(name.as_name().as_wire().into(), rows);
        Ok(true)
    }

    /// Applies differences, the oldest first.
    pub(super) fn apply(&mut self, differences: &[Difference]) -> Result<(), AmendError> {
        let mut standing = self.current.serial();
        for Difference { from, to, removed, added } in differences {
            if *from != standing {
                return Err(Mismatch::OtherVersion { from: *from, standing }.into());
            }
            for record in removed.iter() {
                let rows = self.rows_of(record)?;
                let at = find(rows, record).ok_or_else(|| not_there(record))?;
                rows.swap_remove(at);
            }
            for record in added.iter() {
                let rows = self.rows_of(record)?;
                if find(rows, record).is_some() {
                    return Err(there_already(record).into());
                }
                let RecordRef { rtype, ttl, rdata, .. } = record;
                rows.push(Row { rtype, ttl, rdata: rdata.to_vec() });
            }
            standing = *to;
        }
        Ok(())
    }

    fn rows_of(&mut self, record: RecordRef<'_>) -> Result<&mut Vec<Row>, AmendError> {
        if record.owner.relative_len(self.apex()).is_none() {
            return Err(not_there(record).into()); // not in the zone
        }
        self.rows_at(record.owner)
    }

    /// The records of a name in the zone.
    pub(super) fn rows_at(&mut self, name: Name<'_>) -> Result<&mut Vec<Row>, AmendError> {
        self.load(name)?;
        self.names.get_mut(lowered(name).as_name().as_wire()).ok_or(AmendError::Recompile(Reason::Table))
    }

    /// The node of the base with this name; whether or not it was overlaid.
    pub(crate) fn in_base(&self, name: Name<'_>) -> Option<Node<'t>> {
        let mut folded = FoldedName::default();
        folded.set(name);
        self.base().node_named(&folded)
    }

    /// The base's owner of NSEC3 records with this name.
    pub(crate) fn nsec3_in_base(&self, name: Name<'_>) -> Option<Node<'t>> {
        let hash = hash_of_owner(name, self.apex())?;
        self.base().nsec3_owner(&hash)
    }
}

/// Where the record is among the rows: the same but for its TTL, which belongs to the set, and for the case of names.
fn find(rows: &[Row], record: RecordRef<'_>) -> Option<usize> {
    let canonical = |rdata: &[u8]| {
        let mut rdata = rdata.to_vec();
        to_canonical(record.rtype, &mut rdata);
        rdata
    };
    let mut same = rows
        .iter()
        .enumerate()
        .filter(|(_, row)| row.rtype == record.rtype && row.rdata.len() == record.rdata.len());
    let sought = canonical(record.rdata);
    same.find(|(_, row)| row.rdata == record.rdata || canonical(&row.rdata) == sought).map(|(at, _)| at)
}

pub(super) fn lowered(name: Name<'_>) -> NameBuf {
    let mut name = NameBuf::from(name);
    name.make_lowercase();
    name
}

/// The hash that a name stands for where it owns NSEC3 records: one label below the apex (RFC 5155 §3).
pub(crate) fn hash_of_owner(name: Name<'_>, apex: Name<'_>) -> Option<Nsec3Hash> {
    if name.label_count() != apex.label_count() + 1 {
        return None;
    }
    let mut hash = Vec::with_capacity(20);
    decode_base32hex(name.labels().next()?, &mut hash).ok()?;
    hash.try_into().ok()
}
