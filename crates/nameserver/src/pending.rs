//! A query on its way: read, and its name looked for as far as memory has answered.

use crate::responder::Subnets;
use crate::trace::{Rule, Trace};
use table::publish::{Reader, SlotIndex};
use table::{Seek, Table};
use wire::{FoldedName, Query, RecordType, Rejected};

/// A query that was taken in. A value is used again and again; nothing is cleared in between.
#[derive(Default)]
pub(crate) struct Pending {
    pub(crate) kind: Kind,
    pub(crate) query: Query,
    /// Why nothing can be looked up.
    pub(crate) rejected: Option<Rejected>,
    pub(crate) lookup: Lookup,
}

/// What was taken in.
#[derive(Clone, Copy, Default)]
pub(crate) enum Kind {
    /// A question for zone data of class IN, which is looked for in the zones as it is.
    Usual,
    /// Such a question, of whose name it is known that its zone has no node for it that answers: see [`table::Table::find_exact`].
    Inexact,
    /// Another question.
    Odd,
    /// Nothing that can be looked up.
    #[default]
    Rejected,
}

/// No zone: one that there is no table of. To look for its table is one comparison less than to ask first whether there is a zone.
pub(crate) const NOWHERE: SlotIndex = SlotIndex(u32::MAX);

/// The name that is asked for, and where it leads.
pub(crate) struct Lookup {
    pub(crate) name: FoldedName,
    /// The zone of a question for zone data; [`NOWHERE`] where none encloses its name.
    pub(crate) zone: SlotIndex,
    /// The search in that zone's table, where it has one.
    pub(crate) seek: Seek,
}

impl Pending {
    /// A place for queries, which may have subnets or not.
    pub(crate) fn new(subnets: Subnets) -> Pending {
        let query = Query { heeds_subnet: subnets == Subnets::Heeded, ..Query::default() };
        Pending { query, ..Pending::default() }
    }

    /// Reads a query, and begins to look for what it asks.
    #[inline(always)]
    pub(crate) fn take_in(&mut self, reader: &Reader, bytes: &[u8], trace: &mut impl Trace) {
        self.lookup.zone = NOWHERE;
        self.kind = match self.query.read(bytes, &mut self.lookup.name) {
            Err(rejected) => {
                self.rejected = Some(rejected);
                Kind::Rejected
            }
            Ok(()) if self.query.is_odd() => Kind::Odd,
            Ok(()) => {
                self.lookup.begin(reader, self.query.qtype, trace);
                Kind::Usual
            }
        };
    }
}

impl Default for Lookup {
    fn default() -> Lookup {
        Lookup { name: FoldedName::default(), zone: NOWHERE, seek: Seek::default() }
    }
}

impl Lookup {
    /// Begins to look for zone data.
    #[inline(always)]
    pub(crate) fn begin(&mut self, reader: &Reader, qtype: RecordType, trace: &mut impl Trace) {
        self.zone = reader.directory().find(&self.name).unwrap_or(NOWHERE);
        if qtype == RecordType::DS {
            self.turn_to_parent(reader, trace);
        }
        if let Some(table) = self.table(reader) {
            table.seek(&self.name, &mut self.seek);
        }
    }

    /// DS records of an apex are in the zone above, if that is here too (RFC 4035 §3.1.4.1).
    #[cold]
    fn turn_to_parent(&mut self, reader: &Reader, trace: &mut impl Trace) {
        // An apex without a table still has its place in the directory, so compare labels there.
        if let Some(above) = reader.directory().find_above(&self.name)
            && above != self.zone
        {
            trace.note(Rule::DsAtParent);
            self.zone = above;
        }
    }

    /// The table of the name's zone.
    #[inline(always)]
    pub(crate) fn table<'t>(&self, reader: &'t Reader) -> Option<&'t Table> {
        reader.table(self.zone)
    }

    /// Goes the next step.
    #[inline(always)]
    pub(crate) fn approach(&mut self, reader: &Reader) {
        if let Some(table) = self.table(reader) {
            table.approach(&mut self.seek);
        }
    }
}
