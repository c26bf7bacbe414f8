//! The difference between two versions of a zone, from their tables or from a table and records: a merge of two walks.
//!
//! It takes time in the size of the zone, and memory in that of the change and of the largest owner.

use crate::content;
use crate::difference::{Difference, RecordList, RecordRef};
use crate::rdata;
use crate::records::{OwnerView, Zone};
use std::cmp::Ordering;
use std::sync::Arc;
use table::{BadPointer, ImageFlags, Table, Walk};
use wire::{Name, RecordType};

/// Why there is no difference between two tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Incomparable {
    /// It has more octets than it may: a secondary takes the whole zone as quickly.
    #[error("more has changed than is worth keeping")]
    TooLarge,
    /// They are of different zones.
    #[error("the tables are of different zones")]
    OtherZone,
    /// One has no SOA record at its apex.
    #[error("a table has no SOA record")]
    NoSoa,
    /// The owner of an NSEC3 record has others, which a table keeps apart.
    #[error("an owner of NSEC3 records has others")]
    MixedOwner,
    /// One of them alone is mixed ([`ImageFlags::MIXED`]), which no difference says; or the zone that is yet to be compiled is.
    #[error("sets have several TTLs")]
    Mixed,
    /// One is damaged.
    #[error(transparent)]
    Table(#[from] BadPointer),
}

/// What leads from the version in one table to that in another.
///
/// Records are the same where their data is but for the case of names in it, as secondaries compare them (RFC 4343 §3,
/// RFC 3597 §7); one with another TTL is another record.
///
/// # Errors
/// There is none, or its records take more than `octets_max` octets.
pub fn compare(old: &Arc<Table>, new: &Arc<Table>, octets_max: usize) -> Result<Difference, Incomparable> {
    if old.apex_name().as_wire() != new.apex_name().as_wire() {
        return Err(Incomparable::OtherZone);
    }
    if old.flags().has(ImageFlags::MIXED) != new.flags().has(ImageFlags::MIXED) {
        return Err(Incomparable::Mixed);
    }
    let serials = (old.serial(), new.serial());
    merge(serials, Owners::of_table(old), Owners::of_table(new), Case::Ignored, octets_max)
}

/// What leads from the version in a table to one that is yet to be compiled. Names in data that have another case are other
/// records here, since answers with them are.
///
/// # Errors
/// As for [`compare`].
pub(crate) fn compare_zone(
    old: &Arc<Table>,
    new: &Zone,
    octets_max: usize,
) -> Result<Difference, Incomparable> {
    if old.apex_name().as_wire() != new.apex().as_wire() {
        return Err(Incomparable::OtherZone);
    }
    if new.is_mixed() || old.flags().has(ImageFlags::MIXED) {
        return Err(Incomparable::Mixed);
    }
    let serials = (old.serial(), new.serial());
    merge(serials, Owners::of_table(old), Owners::of_zone(new), Case::Minded, octets_max)
}

/// Whether data that is other only in the case of a name is another record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    Ignored,
    Minded,
}

fn merge(
    (from, to): (u32, u32),
    mut before: Owners<'_>,
    mut after: Owners<'_>,
    case: Case,
    octets_max: usize,
) -> Result<Difference, Incomparable> {
    let mut difference =
        Difference { from, to, removed: RecordList::default(), added: RecordList::default() };
    let (mut has_before, mut has_after) = (before.advance()?, after.advance()?);
    put_soa(&mut difference.removed, &before)?;
    put_soa(&mut difference.added, &after)?;
    while has_before || has_after {
        let order = match (has_before, has_after) {
            (true, true) => before.order(&after),
            (true, false) => Ordering::Less,
            _ => Ordering::Greater,
        };
        match order {
            Ordering::Less => before.put_all(&mut difference.removed),
            Ordering::Greater => after.put_all(&mut difference.added),
            Ordering::Equal if before.records == after.records => {}
            Ordering::Equal => put_changed(&before, &after, case, &mut difference),
        }
        if difference.removed.octets().len() + difference.added.octets().len() > octets_max {
            return Err(Incomparable::TooLarge);
        }
        if order.is_le() {
            has_before = before.advance()?;
        }
        if order.is_ge() {
            has_after = after.advance()?;
        }
    }
    Ok(difference)
}

/// The records of a version, an owner at a time, in the order of a walk.
struct Owners<'z> {
    source: Source<'z>,
    apex_len: usize,
    /// Those of the owner that this is at.
    records: RecordList,
    is_nsec3: bool,
}

/// Where they come from.
enum Source<'z> {
    Table {
        walk: Box<Walk>,
        /// The first of the next owner.
        ahead: RecordList,
        ahead_is_nsec3: bool,
    },
    Zone {
        zone: &'z Zone,
        /// The index of the next owner.
        next: usize,
    },
}

impl<'z> Owners<'z> {
    fn of_table(table: &Arc<Table>) -> Owners<'z> {
        let walk = Box::new(Walk::new(Arc::clone(table)));
        let source = Source::Table { walk, ahead: RecordList::default(), ahead_is_nsec3: false };
        Owners { source, apex_len: table.apex_len(), records: RecordList::default(), is_nsec3: false }
    }

    fn of_zone(zone: &'z Zone) -> Owners<'z> {
        let source = Source::Zone { zone, next: 0 };
        Owners { source, apex_len: zone.apex().len(), records: RecordList::default(), is_nsec3: false }
    }

    /// Goes on to the next owner; whether there is one.
    fn advance(&mut self) -> Result<bool, Incomparable> {
        match &mut self.source {
            Source::Table { walk, ahead, ahead_is_nsec3 } => {
                std::mem::swap(&mut self.records, ahead);
                ahead.clear();
                self.is_nsec3 = *ahead_is_nsec3;
                while let Some(record) = walk.next_record()? {
                    // The owners of NSEC3 records come last, whatever their names, and begin with such a record.
                    *ahead_is_nsec3 |= record.rtype == RecordType::NSEC3;
                    let goes_on = self.records.is_empty()
                        || (self.is_nsec3 == *ahead_is_nsec3
                            && self.records.octets().starts_with(record.owner.as_wire()));
                    let list = if goes_on { &mut self.records } else { &mut *ahead };
                    list.push(record.owner, record.rtype, record.ttl, record.rdata);
                    if !goes_on {
                        break;
                    }
                }
            }
            Source::Zone { zone, next } => {
                self.records.clear();
                let mut found = next_owner(zone, next, self.is_nsec3);
                if found.is_none() && !self.is_nsec3 {
                    (self.is_nsec3, *next) = (true, 0);
                    found = next_owner(zone, next, self.is_nsec3);
                }
                if let Some(owner) = found {
                    put_owner(owner, &mut self.records)?;
                }
            }
        }
        Ok(!self.records.is_empty())
    }

    fn owner(&self) -> Name<'_> {
        self.records.iter().next().map_or(Name::ROOT, |record| record.owner)
    }

    /// Which of two owners comes first in a walk.
    fn order(&self, other: &Owners<'_>) -> Ordering {
        self.is_nsec3.cmp(&other.is_nsec3).then_with(|| {
            let (owner, other) = (self.owner(), other.owner());
            if owner.as_wire() == other.as_wire() { Ordering::Equal } else { owner.canonical_cmp(other) }
        })
    }

    fn is_apex_soa(&self, record: &RecordRef<'_>) -> bool {
        record.rtype == RecordType::SOA && record.owner.len() == self.apex_len
    }

    fn put_all(&self, list: &mut RecordList) {
        self.distinct().iter().for_each(|distinct| put(list, distinct.record));
    }

    /// The records of the owner but for the zone's SOA record, in canonical order and each once.
    fn distinct(&self) -> Vec<Distinct<'_>> {
        let records = self.records.iter().filter(|record| !self.is_apex_soa(record));
        let mut distinct: Vec<Distinct<'_>> = records.map(Distinct::new).collect();
        distinct.sort_by(Distinct::order);
        distinct.dedup_by(|a, b| a.order(b) == Ordering::Equal);
        distinct
    }
}

/// The next owner of a zone that has NSEC3 records, or of those that have none.
fn next_owner<'z>(zone: &'z Zone, next: &mut usize, is_nsec3: bool) -> Option<OwnerView<'z>> {
    while *next < zone.owner_count() {
        let owner = zone.owner(*next);
        *next += 1;
        if owner.has(RecordType::NSEC3) == is_nsec3 {
            return Some(owner);
        }
    }
    None
}

/// Adds all records of an owner, with the TTLs that the compiler gives them.
fn put_owner(owner: OwnerView<'_>, records: &mut RecordList) -> Result<(), Incomparable> {
    let name = owner.name();
    let is_nsec3 = owner.has(RecordType::NSEC3);
    content::served_records(owner, |rtype, ttl, rdata| {
        if is_nsec3 && !matches!(rtype, RecordType::NSEC3 | RecordType::RRSIG) {
            return Err(Incomparable::MixedOwner);
        }
        records.push(name, rtype, ttl, rdata);
        Ok(())
    })
}

/// A record and what tells it from others of its owner.
struct Distinct<'r> {
    record: RecordRef<'r>,
    data: Vec<u8>,
}

impl<'r> Distinct<'r> {
    fn new(record: RecordRef<'r>) -> Distinct<'r> {
        Distinct { record, data: folded(record.rtype, record.rdata) }
    }

    fn order(&self, other: &Distinct<'_>) -> Ordering {
        let key = |distinct: &Distinct<'_>| (distinct.record.rtype.0, distinct.record.ttl);
        let by_type = self.record.rtype.0.cmp(&other.record.rtype.0);
        by_type.then_with(|| self.data.cmp(&other.data)).then_with(|| key(self).cmp(&key(other)))
    }
}

/// The data of a record with the names in it in lower case: equal data is the same record.
pub(crate) fn folded(rtype: RecordType, rdata: &[u8]) -> Vec<u8> {
    let mut folded = rdata.to_vec();
    for embedded in rdata::names(rtype, rdata) {
        // Lengths of labels are below 64, and no letters.
        folded[embedded.offset..embedded.offset + embedded.name.len()].make_ascii_lowercase();
    }
    folded
}

fn put(list: &mut RecordList, record: RecordRef<'_>) {
    list.push(record.owner, record.rtype, record.ttl, record.rdata);
}

fn put_soa(list: &mut RecordList, apex: &Owners<'_>) -> Result<(), Incomparable> {
    let soa = apex.records.iter().find(|record| apex.is_apex_soa(record));
    put(list, soa.ok_or(Incomparable::NoSoa)?);
    Ok(())
}

/// Puts down what of one owner is in one version alone.
fn put_changed(before: &Owners<'_>, after: &Owners<'_>, case: Case, difference: &mut Difference) {
    let (old, new) = (before.distinct(), after.distinct());
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (Some(old), Some(new)) => old.order(new),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return,
        };
        let gone = old.next_if(|_| order.is_le());
        let come = new.next_if(|_| order.is_ge());
        let is_same = |(gone, come): (&Distinct<'_>, &Distinct<'_>)| {
            case == Case::Ignored || gone.record.rdata == come.record.rdata
        };
        if !gone.zip(come).is_some_and(is_same) {
            gone.into_iter().for_each(|gone| put(&mut difference.removed, gone.record));
            come.into_iter().for_each(|come| put(&mut difference.added, come.record));
        }
    }
}
