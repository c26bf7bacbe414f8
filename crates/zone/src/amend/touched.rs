//! The names that an overlay has, with all the records that they own in the new version.

use super::{AmendError, Misfit, NAMES_MAX, Reason};
use crate::difference::{Difference, RecordList, RecordRef};
use crate::rdata::encoding::decode_base32hex;
use crate::rdata::to_canonical;
use std::collections::HashMap;
use std::sync::Arc;
use table::denial::Nsec3Hash;
use table::{Node, Table};
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
    folded: FoldedName,
}

impl<'t> Touched<'t> {
    /// Begins with what the overlay has, where the table is one.
    pub(super) fn new(current: &'t Arc<Table>) -> Result<Touched<'t>, AmendError> {
        let mut touched = Touched { current, names: HashMap::new(), folded: FoldedName::default() };
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
        if self.names.len() >= NAMES_MAX {
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
        let mut serial = self.current.serial();
        for difference in differences {
            let Difference { from, to, removed, added } = difference;
            if *from != serial {
                return Err(Misfit::Serial { from: *from, at: serial }.into());
            }
            self.each(removed, *to, |rows, record| {
                let Some(at) = find(rows, record) else { return false };
                rows.swap_remove(at);
                true
            })
            .map_err(|failed| {
                failed.into_error(|owner, rtype| Misfit::NotThere { serial: *to, owner, rtype })
            })?;
            self.each(added, *to, |rows, record| {
                if find(rows, record).is_some() {
                    return false;
                }
                let RecordRef { rtype, ttl, rdata, .. } = record;
                rows.push(Row { rtype, ttl, rdata: rdata.to_vec() });
                true
            })
            .map_err(|failed| {
                failed.into_error(|owner, rtype| Misfit::AlreadyThere { serial: *to, owner, rtype })
            })?;
            serial = *to;
        }
        Ok(())
    }

    /// Changes the rows of each record's owner; an error where one can't be changed so.
    fn each(
        &mut self,
        records: &RecordList,
        serial: u32,
        change: impl Fn(&mut Vec<Row>, RecordRef<'_>) -> bool,
    ) -> Result<(), Failed> {
        for record in records.iter() {
            let owner = || Box::new(NameBuf::from(record.owner));
            if record.owner.relative_len(self.apex()).is_none() {
                return Err(Failed::Other(Misfit::Outside { serial, owner: owner() }.into()));
            }
            self.load(record.owner).map_err(Failed::Other)?;
            let rows = self.names.get_mut(lowered(record.owner).as_name().as_wire());
            if !rows.is_some_and(|rows| change(rows, record)) {
                return Err(Failed::Record(owner(), record.rtype));
            }
        }
        Ok(())
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

enum Failed {
    Record(Box<NameBuf>, RecordType),
    Other(AmendError),
}

impl Failed {
    fn into_error(self, misfit: impl Fn(Box<NameBuf>, RecordType) -> Misfit) -> AmendError {
        match self {
            Failed::Record(owner, rtype) => misfit(owner, rtype).into(),
            Failed::Other(error) => error,
        }
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

fn lowered(name: Name<'_>) -> NameBuf {
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
