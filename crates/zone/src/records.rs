//! The records of one zone: gathered in the order of the file, then sorted and grouped.
//!
//! Everything lies in a few flat arrays: a zone of ten million records has no ten million allocations.

use crate::master::{Place, Sink};
use crate::rdata::{self, NameForm};
use std::cmp::Ordering;
use table::sort_prefix;
use wire::{Name, NameBuf, RecordType};

/// One record, beside its owner.
#[derive(Clone, Copy)]
struct Row {
    rdata_at: u32,
    ttl: u32,
    line: u32,
    rtype: RecordType,
    rdata_len: u16,
    file: u16,
}

/// Rows of one owner that stand together.
#[derive(Clone, Copy)]
struct Run {
    key: u128,
    name_at: u32,
    first_row: u32,
    rows: u32,
    name_len: u8,
}

/// Why records can't be held.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GatherError {
    /// The data of all records together has more than 4 GiB, or there are more than two thousand million.
    #[error("the zone has more than 4 GiB of record data, or more than 2,147,483,647 records")]
    TooLarge,
}

/// Takes records in any order and makes a [`Zone`] of them.
pub struct Gatherer {
    apex: NameBuf,
    names: Vec<u8>,
    rdata: Vec<u8>,
    rows: Vec<Row>,
    runs: Vec<Run>,
    outside: Vec<(NameBuf, Place)>,
    outside_count: u64,
    overflow: bool,
    is_mixed: bool,
}

/// Rows are numbered with 32 bits, and those of owners that are scattered over the text are there twice.
const ROWS_MAX: usize = u32::MAX as usize / 2;
/// Octets of a record before its data: a pointer as owner, type, class, TTL, length.
const FIXED_LEN: usize = 12;
/// How many records outside the zone are remembered for the report.
const OUTSIDE_MAX: usize = 100;

/// Octets of text that a record of its own owner takes at least, usually. What is reserved and not used costs nothing, as
/// the kernel gives pages when they are written to; an array that has to grow is there twice for a while.
const ROW_TEXT: usize = 20;

impl Gatherer {
    /// Starts with no records; about `octets` of master file are expected.
    pub fn new(apex: Name<'_>, octets: usize) -> Gatherer {
        let mut lower = NameBuf::from(apex);
        lower.make_lowercase();
        Gatherer {
            apex: lower,
            names: Vec::with_capacity(octets),
            rdata: Vec::with_capacity(octets / 2),
            rows: Vec::with_capacity(octets / ROW_TEXT),
            runs: Vec::with_capacity(octets / ROW_TEXT),
            outside: Vec::new(),
            outside_count: 0,
            overflow: false,
            is_mixed: false,
        }
    }

    /// Takes the zone for mixed, whatever the records: see [`Zone::is_mixed`].
    pub(crate) fn set_mixed(&mut self, is_mixed: bool) {
        self.is_mixed = is_mixed;
    }

    /// Adds a record that came from no text.
    pub fn add_received(&mut self, owner: Name<'_>, rtype: RecordType, ttl: u32, rdata: &[u8]) {
        self.add(owner, rtype, ttl, rdata, Place { file: 0, line: 0, column: 0 });
    }

    /// Adds a record.
    pub fn add(&mut self, owner: Name<'_>, rtype: RecordType, ttl: u32, rdata: &[u8], place: Place) {
        let Some(relative_len) = owner.relative_len(self.apex.as_name()) else {
            self.outside_count += 1;
            if self.outside.len() < OUTSIDE_MAX {
                self.outside.push((owner.into(), place));
            }
            return;
        };
        let (Ok(rdata_at), Ok(rdata_len)) = (u32::try_from(self.rdata.len()), u16::try_from(rdata.len()))
        else {
            self.overflow = true;
            return;
        };
        if self.rows.len() >= ROWS_MAX {
            self.overflow = true;
            return;
        }
        self.rdata.extend_from_slice(rdata);
        let row = self.rows.len() as u32;
        self.rows.push(Row { rdata_at, ttl, line: place.line, rtype, rdata_len, file: place.file });
        if let Some(run) = self.runs.last_mut() {
            let at = run.name_at as usize;
            if self.names[at..at + usize::from(run.name_len)].eq_ignore_ascii_case(owner.as_wire()) {
                run.rows += 1;
                return;
            }
        }
        let Ok(name_at) = u32::try_from(self.names.len()) else {
            self.overflow = true;
            return;
        };
        self.names.extend(owner.as_wire().iter().map(u8::to_ascii_lowercase));
        let at = name_at as usize;
        let key = sort_prefix(&self.names[at..at + relative_len]);
        self.runs.push(Run { key, name_at, first_row: row, rows: 1, name_len: owner.len() as u8 });
    }

    /// Sorts and groups the records; equal ones are kept once.
    ///
    /// # Errors
    /// When there were more than the arrays can hold.
    pub fn finish(mut self) -> Result<Zone, GatherError> {
        if self.overflow {
            return Err(GatherError::TooLarge);
        }
        let names = std::mem::take(&mut self.names);
        let name = |run: &Run| {
            let at = run.name_at as usize;
            Name::from_wire(&names[at..at + usize::from(run.name_len)]).unwrap_or(Name::ROOT)
        };
        let order = |a: &Run, b: &Run| match a.key.cmp(&b.key) {
            // Keys that end in the padding are whole names; others are only the start of one.
            Ordering::Equal if a.key & 0xffff != 0 => name(a).canonical_cmp(name(b)),
            Ordering::Equal => a.name_len.cmp(&b.name_len),
            different => different,
        };
        // Runs of one owner stay in the order of the text, without the half again that a stable sort needs.
        self.runs.sort_unstable_by(|a, b| order(a, b).then(a.first_row.cmp(&b.first_row)));
        let mut zone = Zone {
            apex: self.apex,
            rows: self.rows,
            owners: Vec::with_capacity(self.runs.len()),
            names: Vec::new(),
            rdata: self.rdata,
            outside: self.outside,
            outside_count: self.outside_count,
            duplicates: 0,
            record_count: 0,
            is_mixed: self.is_mixed,
        };
        let mut runs = self.runs.as_slice();
        while let [first, ..] = runs {
            let same = runs.iter().take_while(|run| order(first, run) == Ordering::Equal).count();
            let (first_row, rows) = zone.gather_rows(&runs[..same]);
            zone.record_count += rows;
            zone.owners.push(Owner {
                name_at: first.name_at,
                first_row,
                rows: rows as u32,
                name_len: first.name_len,
            });
            runs = &runs[same..];
        }
        zone.names = names;
        Ok(zone)
    }
}

impl Sink for Gatherer {
    fn record(&mut self, owner: Name<'_>, rtype: RecordType, ttl: u32, rdata: &[u8], place: Place) {
        self.add(owner, rtype, ttl, rdata, place);
    }
}

#[derive(Clone, Copy)]
struct Owner {
    name_at: u32,
    first_row: u32,
    rows: u32,
    name_len: u8,
}

/// The records of a zone, by owner in canonical order, then by type, then by data.
#[derive(Clone)]
pub struct Zone {
    apex: NameBuf,
    names: Vec<u8>,
    rdata: Vec<u8>,
    /// Those of an owner stand together and are sorted; in between there may be some that are nobody's any more.
    rows: Vec<Row>,
    owners: Vec<Owner>,
    outside: Vec<(NameBuf, Place)>,
    outside_count: u64,
    duplicates: u64,
    record_count: usize,
    is_mixed: bool,
}

impl Zone {
    /// Brings together the rows of these runs, which are of one owner, sorts them and drops repeated ones; where they are,
    /// and how many.
    fn gather_rows(&mut self, runs: &[Run]) -> (u32, usize) {
        let mut first = runs[0].first_row as usize;
        let mut count = runs[0].rows as usize;
        if runs.len() > 1 {
            // Seldom: in most files the records of a name stand together, and stay where they are.
            first = self.rows.len();
            for run in runs {
                let from = run.first_row as usize;
                self.rows.extend_from_within(from..from + run.rows as usize);
            }
            count = self.rows.len() - first;
        }
        let rdata = &self.rdata;
        let data =
            |row: &Row| &rdata[row.rdata_at as usize..row.rdata_at as usize + usize::from(row.rdata_len)];
        let rows = &mut self.rows[first..first + count];
        if rows.len() > 1 {
            rows.sort_by(|a, b| a.rtype.cmp(&b.rtype).then_with(|| data(a).cmp(data(b))));
            for set in rows.chunk_by_mut(|a, b| a.rtype == b.rtype).filter(|set| set.len() > 1) {
                // Seldom: without capitals in names all data is canonical as it is.
                if set.iter().any(|row| has_capitals(row.rtype, data(row))) {
                    set.sort_by_cached_key(|row| canonical(row.rtype, data(row)));
                }
            }
        }
        let mut kept = 1;
        for at in 1..rows.len() {
            let (last, row) = (rows[kept - 1], rows[at]);
            // A signature has the TTL of what it covers, whatever it was given.
            self.is_mixed |= last.rtype == row.rtype && row.rtype != RecordType::RRSIG && last.ttl != row.ttl;
            if last.rtype == row.rtype && is_same(row.rtype, data(&last), data(&row)) {
                // RFC 2181 §5: a set holds each record once. Of several spellings the one with the most capitals in front stays.
                self.duplicates += 1;
                self.is_mixed |= data(&last) != data(&row);
                rows[kept - 1].ttl = last.ttl.min(row.ttl);
                continue;
            }
            rows[kept] = row;
            kept += 1;
        }
        (first as u32, kept)
    }

    /// The name of the zone, in lower case.
    pub fn apex(&self) -> Name<'_> {
        self.apex.as_name()
    }

    /// How many records, each counted once.
    pub fn record_count(&self) -> usize {
        self.record_count
    }

    /// Octets of all data, and of the fixed parts of records: about what they take in a table.
    pub(crate) fn octets(&self) -> usize {
        self.rdata.len() + FIXED_LEN * self.record_count
    }

    /// How many names own records.
    pub fn owner_count(&self) -> usize {
        self.owners.len()
    }

    /// How often a record was given again.
    pub fn duplicate_count(&self) -> u64 {
        self.duplicates
    }

    /// Whether a set was given with several TTLs, or a record in several spellings. The set is served with the lowest, and each
    /// record once, so that a difference made where they are apart can't be told of what is served.
    pub fn is_mixed(&self) -> bool {
        self.is_mixed
    }

    /// Records whose owner is not in the zone, the first hundred, and how many there were; they are left out.
    pub fn outside(&self) -> (&[(NameBuf, Place)], u64) {
        (&self.outside, self.outside_count)
    }

    /// The owner with this index in canonical order.
    pub fn owner(&self, index: usize) -> OwnerView<'_> {
        OwnerView { zone: self, index }
    }

    /// All owners in canonical order.
    pub fn owners(&self) -> impl ExactSizeIterator<Item = OwnerView<'_>> {
        (0..self.owners.len()).map(|index| OwnerView { zone: self, index })
    }

    /// The owner of this name.
    pub fn find(&self, name: Name<'_>) -> Option<OwnerView<'_>> {
        self.search(name).ok()
    }

    /// The owner of this name, or the index of the first owner after it in canonical order: [`Zone::owner_count`]
    /// where there is none.
    ///
    /// # Errors
    /// When no records are owned by the name.
    pub fn search(&self, name: Name<'_>) -> Result<OwnerView<'_>, usize> {
        let index = self.owners.binary_search_by(|owner| self.name_of(*owner).canonical_cmp(name))?;
        Ok(self.owner(index))
    }

    /// The serial of the SOA record; 0 where there is none.
    pub fn serial(&self) -> u32 {
        let Some(soa) = self.find(self.apex()).and_then(|owner| owner.rrset(RecordType::SOA)) else {
            return 0;
        };
        let rdata = soa.rdata(0);
        // The five numbers stand last (RFC 1035 §3.3.13).
        rdata.len().checked_sub(20).and_then(|at| wire::message::u32_at(rdata, at)).unwrap_or(0)
    }

    fn name_of(&self, owner: Owner) -> Name<'_> {
        let at = owner.name_at as usize;
        Name::from_wire(&self.names[at..at + usize::from(owner.name_len)]).unwrap_or(Name::ROOT)
    }
}

/// One owner and its record sets.
#[derive(Clone, Copy)]
pub struct OwnerView<'z> {
    zone: &'z Zone,
    index: usize,
}

impl<'z> OwnerView<'z> {
    /// The position in canonical order.
    pub fn index(self) -> usize {
        self.index
    }

    /// The name, in lower case.
    pub fn name(self) -> Name<'z> {
        self.zone.name_of(self.zone.owners[self.index])
    }

    fn rows(self) -> &'z [Row] {
        let owner = self.zone.owners[self.index];
        let from = owner.first_row as usize;
        &self.zone.rows[from..from + owner.rows as usize]
    }

    /// The record sets by ascending type; RRSIG records are one set, whatever they cover.
    pub fn rrsets(self) -> impl Iterator<Item = RrsetView<'z>> {
        let zone = self.zone;
        self.rows().chunk_by(|a, b| a.rtype == b.rtype).map(move |rows| RrsetView { zone, rows })
    }

    /// The set of this type.
    pub fn rrset(self, rtype: RecordType) -> Option<RrsetView<'z>> {
        self.rrsets().find(|set| set.rtype() == rtype)
    }

    /// Whether there is a set of this type.
    pub fn has(self, rtype: RecordType) -> bool {
        self.rows().iter().any(|row| row.rtype == rtype)
    }
}

/// A record set of the zone.
#[derive(Clone, Copy)]
pub struct RrsetView<'z> {
    zone: &'z Zone,
    rows: &'z [Row],
}

impl<'z> RrsetView<'z> {
    /// The type.
    pub fn rtype(self) -> RecordType {
        self.rows[0].rtype
    }

    /// How many records: at least one.
    #[expect(clippy::len_without_is_empty, reason = "a set is never empty")]
    pub fn len(self) -> usize {
        self.rows.len()
    }

    /// The TTL of the set: where its records disagree, the lowest (RFC 2181 §5.2).
    pub fn ttl(self) -> u32 {
        self.rows.iter().map(|row| row.ttl).min().unwrap_or(0)
    }

    /// The TTL that the record with this index was given.
    pub fn ttl_of(self, index: usize) -> u32 {
        self.rows[index].ttl
    }

    /// The data of the record with this index, uncompressed.
    pub fn rdata(self, index: usize) -> &'z [u8] {
        let row = self.rows[index];
        let at = row.rdata_at as usize;
        &self.zone.rdata[at..at + usize::from(row.rdata_len)]
    }

    /// The data of all records in canonical order.
    pub fn rdatas(self) -> impl ExactSizeIterator<Item = &'z [u8]> {
        (0..self.rows.len()).map(move |index| self.rdata(index))
    }

    /// Which file, by index, and which line the record came from.
    pub fn place_of(self, index: usize) -> (u16, u32) {
        (self.rows[index].file, self.rows[index].line)
    }
}

/// Whether names in the data have capitals that they lose in canonical form (RFC 4034 §6.2).
fn has_capitals(rtype: RecordType, data: &[u8]) -> bool {
    // Addresses are most of any zone and have no names; lengths of labels are below `A`.
    !matches!(rtype, RecordType::A | RecordType::AAAA)
        && rdata::names(rtype, data).any(|embedded| {
            embedded.form != NameForm::Kept && embedded.name.as_wire().iter().any(u8::is_ascii_uppercase)
        })
}

fn canonical(rtype: RecordType, data: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    rdata::to_canonical(rtype, &mut data);
    data
}

/// Whether two records of a set are one: their data is the same in canonical form.
fn is_same(rtype: RecordType, one: &[u8], other: &[u8]) -> bool {
    one == other || (one.eq_ignore_ascii_case(other) && canonical(rtype, one) == canonical(rtype, other))
}
