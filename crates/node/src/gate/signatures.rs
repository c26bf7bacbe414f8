//! Whether the signatures of a version are valid at this time (RFC 4034 §3.1.5).

use std::fmt;
use std::sync::Arc;
use table::{Record, Table, Walk};
use transfer::serial::is_newer;
use wire::message::{u16_at, u32_at};
use wire::{NameBuf, RecordType};
use zone::rdata::Date;

/// Sets that no signature covers at this time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct OutOfTime {
    /// How many sets.
    sets: u64,
    /// Of how many that have signatures.
    signed: u64,
    /// One of them, the first in canonical order.
    owner: NameBuf,
    rtype: RecordType,
    /// What is wrong with its last signature, and when that is.
    fault: Fault,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    /// It has expired, or does within the time that has to be left.
    Ends(u32),
    /// It is not valid yet.
    Begins(u32),
}

impl fmt::Display for OutOfTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OutOfTime { sets, signed: _, owner, rtype, fault } = self;
        let sets = if *sets == 1 { "1 set is".to_owned() } else { format!("{sets} sets are") };
        write!(f, "{sets} without a signature that is valid, such as {rtype} of {owner}, whose signature ")?;
        match fault {
            Fault::Ends(time) => write!(f, "ends at {}", Date(*time)),
            Fault::Begins(time) => write!(f, "begins at {} only", Date(*time)),
        }
    }
}

impl OutOfTime {
    /// Whether the version before is no better: at least as many of its sets are out of time, or all that have signatures.
    pub(super) fn is_no_worse_than(&self, before: &OutOfTime) -> bool {
        self.sets <= before.sets || before.sets == before.signed
    }
}

/// Which sets are looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Scope {
    /// Those that are other than in the table below, where the table is an overlay; else all.
    Changed,
    /// All.
    All,
}

/// The sets of a table that have signatures, and none that is valid now and for `left_min` seconds more; `None` where there
/// are no such sets. `now` is in seconds since 1970, modulo 2^32.
///
/// Times are compared as serials are (RFC 4034 §3.1.5). A set may have several signatures: while keys change, one of them being old is no fault.
pub(super) fn out_of_time(table: &Arc<Table>, scope: Scope, now: u32, left_min: u32) -> Option<OutOfTime> {
    // Where nothing at the apex is signed, nothing is: most zones need no walk.
    if !table.apex().rrsets().any(|set| set.signature_count() > 0) {
        return None;
    }
    let mut search = Search { now, until: now.wrapping_add(left_min), set: None, signed: 0, found: None };
    // An image that was verified has all its records.
    if scope == Scope::Changed && table.is_overlaid() {
        for node in table.nodes().chain(table.nsec3_nodes()) {
            let _verified = table.each_record(node, |record| search.look_at(record));
        }
    } else {
        let mut walk = Walk::new(Arc::clone(table));
        while let Ok(Some(record)) = walk.next_record() {
            search.look_at(record);
        }
    }
    search.end_set();
    let signed = search.signed;
    search.found.map(|found| OutOfTime { signed, ..found })
}

struct Search {
    now: u32,
    until: u32,
    /// The set that signatures are of at the moment, in the order of the walk.
    set: Option<Set>,
    /// How many sets were looked at.
    signed: u64,
    found: Option<OutOfTime>,
}

struct Set {
    owner: Vec<u8>,
    covered: RecordType,
    /// Nothing once a good one was seen.
    fault: Option<Fault>,
}

impl Search {
    fn look_at(&mut self, record: Record<'_>) {
        if record.rtype == RecordType::RRSIG {
            self.take(record.owner.as_wire(), record.rdata);
        }
    }

    fn take(&mut self, owner: &[u8], rdata: &[u8]) {
        let (Some(covered), Some(ends), Some(begins)) =
            (u16_at(rdata, 0).map(RecordType), u32_at(rdata, 8), u32_at(rdata, 12))
        else {
            return;
        };
        let fault = if is_newer(self.until, ends) {
            Some(Fault::Ends(ends))
        } else if is_newer(begins, self.now) {
            Some(Fault::Begins(begins))
        } else {
            None
        };
        match &mut self.set {
            Some(set) if set.covered == covered && set.owner == owner => set.fault = set.fault.and(fault),
            _ => {
                self.end_set();
                self.set = Some(Set { owner: owner.to_vec(), covered, fault });
            }
        }
    }

    fn end_set(&mut self) {
        let Some(Set { owner, covered, fault }) = self.set.take() else { return };
        self.signed += 1;
        let Some(fault) = fault else { return };
        match &mut self.found {
            Some(found) => found.sets += 1,
            None => {
                let owner = wire::Name::from_wire(&owner).unwrap_or(wire::Name::ROOT).into();
                self.found = Some(OutOfTime { sets: 1, signed: 1, owner, rtype: covered, fault });
            }
        }
    }
}
