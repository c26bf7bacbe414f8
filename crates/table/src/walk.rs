//! All records of an image, one after the other, in a walk that can be put down and taken up again.
//!
//! The walk owns its image, so that records of two versions can't be mixed however long it takes. Names in the data
//! are written out: whoever takes the records puts them elsewhere than the image foresaw.

use crate::denial::relative_cmp;
use crate::format::{NodeFlags, header, u32_at, u64_at};
use crate::node::{Node, Rrset};
use crate::overlay::Overlaid;
use crate::table::Table;
use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;
use wire::message::HEADER_LEN;
use wire::{Name, NameError, RecordType};

/// Octets of a stored record before its data: C00C, type, class, TTL, length.
const FIXED: usize = 12;

/// A record of the zone, of class IN.
#[derive(Clone, Copy, Debug)]
pub struct Record<'w> {
    /// Who owns it, in lower case.
    pub owner: Name<'w>,
    /// The type.
    pub rtype: RecordType,
    /// The TTL in seconds.
    pub ttl: u32,
    /// The data, without compression.
    pub rdata: &'w [u8],
}

/// A pointer leads where no name is: the image was not made by this program's compiler.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadPointer;

impl std::fmt::Display for BadPointer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a name in the zone's table leads nowhere; compile the zone anew")
    }
}

impl std::error::Error for BadPointer {}

impl From<NameError> for BadPointer {
    fn from(_: NameError) -> BadPointer {
        BadPointer
    }
}

/// Where the records come from that are given next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Source {
    Image,
    Expanded,
}

/// Where a walk is among the nodes of one image.
#[derive(Clone, Copy)]
struct Cursor {
    nodes_left: u32,
    at: usize,
}

impl Cursor {
    fn names(image: &[u8]) -> Cursor {
        Cursor { nodes_left: u32_at(image, header::NODES), at: u64_at(image, header::NODES_AT) as usize }
    }

    fn nsec3_owners(image: &[u8]) -> Cursor {
        let at = u64_at(image, header::NSEC3_NODES_AT) as usize;
        Cursor { nodes_left: u32_at(image, header::NSEC3_NODES), at }
    }

    /// The next node that is not passed over; the cursor stays before it.
    fn peek<'t>(&mut self, image: &'t [u8], pass: impl Fn(Node<'t>) -> bool) -> Option<Node<'t>> {
        while self.nodes_left > 0 {
            let node = Node::at_offset(image, self.at);
            if !pass(node) {
                return Some(node);
            }
            self.go_past(node);
        }
        None
    }

    fn go_past(&mut self, node: Node<'_>) {
        self.nodes_left -= 1;
        self.at = node.end();
    }
}

/// A walk over all records: the names in canonical order, the apex first, each name's sets by ascending type, each
/// set's signatures behind it; then the owners of NSEC3 records, which have an order of their own.
pub struct Walk {
    table: Arc<Table>,
    cursor: Cursor,
    /// In the base, where the table is an overlay; else at the end of nothing.
    base_cursor: Cursor,
    nsec3_is_ahead: bool,
    /// Whether the node is one of the base.
    is_in_base: bool,
    /// Sets that are left of the node, and where the next one stands.
    rrsets_left: usize,
    rrset_at: usize,
    owner: Vec<u8>,
    source: Source,
    /// The records to come, in the image or in `expanded`.
    records: Range<usize>,
    /// The signatures to come after them.
    signatures: Range<usize>,
    expanded: Expanded,
}

impl Walk {
    /// A walk that begins at the apex.
    pub fn new(table: Arc<Table>) -> Walk {
        let base_cursor = table.base().map_or(NOTHING, |base| Cursor::names(base.image()));
        Walk {
            cursor: Cursor::names(table.image()),
            base_cursor,
            table,
            nsec3_is_ahead: true,
            is_in_base: false,
            rrsets_left: 0,
            rrset_at: 0,
            owner: Vec::new(),
            source: Source::Image,
            records: 0..0,
            signatures: 0..0,
            expanded: Expanded::default(),
        }
    }

    /// The table that is walked over.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// The next record; `None` after the last.
    ///
    /// # Errors
    /// The image is not what the compiler makes.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, BadPointer> {
        while self.records.is_empty() {
            if !self.signatures.is_empty() {
                self.source = Source::Image;
                self.records = std::mem::take(&mut self.signatures);
            } else if self.rrsets_left > 0 {
                self.enter_rrset()?;
            } else if !self.enter_node() {
                return Ok(None);
            }
        }
        let octets = match self.source {
            Source::Image => image_of(&self.table, self.is_in_base),
            Source::Expanded => &self.expanded.octets,
        };
        let at = self.records.start;
        let record = octets.get(at..self.records.end).and_then(Stored::read).ok_or(BadPointer)?;
        self.records.start += FIXED + record.rdata.len();
        let owner = Name::from_wire(&self.owner)?;
        Ok(Some(Record { owner, rtype: record.rtype, ttl: record.ttl, rdata: record.rdata }))
    }

    /// Goes on to the next node; whether there is one.
    fn enter_node(&mut self) -> bool {
        let Some((node, is_in_base)) = next_node(&self.table, &mut self.cursor, &mut self.base_cursor) else {
            if !std::mem::take(&mut self.nsec3_is_ahead) {
                return false;
            }
            self.cursor = Cursor::nsec3_owners(self.table.image());
            self.base_cursor = self.table.base().map_or(NOTHING, |base| Cursor::nsec3_owners(base.image()));
            return true; // no sets yet: the caller comes again
        };
        self.is_in_base = is_in_base;
        self.rrsets_left = node.rrset_count();
        self.rrset_at = node.first_rrset();
        self.owner.clear();
        self.owner.extend_from_slice(node.relative_name());
        self.owner.extend_from_slice(self.table.apex_name().as_wire());
        true
    }

    fn enter_rrset(&mut self) -> Result<(), BadPointer> {
        let rrset = Rrset::new(image_of(&self.table, self.is_in_base), self.rrset_at);
        self.rrsets_left -= 1;
        self.rrset_at = rrset.end();
        if rrset.is_turned() {
            return Ok(()); // the set before it once more
        }
        self.signatures = rrset.signatures_range();
        if rrset.has_fixups() {
            let apex_at = self.owner.len() - self.table.apex_len();
            self.expanded.expand(rrset, &self.owner, apex_at)?;
            self.source = Source::Expanded;
            self.records = 0..self.expanded.octets.len();
        } else {
            self.source = Source::Image;
            self.records = rrset.records_range();
        }
        Ok(())
    }
}

/// Of a table that stands over no other, the cursor in what it stands over.
const NOTHING: Cursor = Cursor { nodes_left: 0, at: 0 };

fn image_of(table: &Table, is_in_base: bool) -> &[u8] {
    table.base().filter(|_| is_in_base).map_or_else(|| table.image(), |base| base.image())
}

/// The next node in canonical order, of an overlay or of its base, and whether it is of the base.
fn next_node<'t>(
    table: &'t Table,
    cursor: &mut Cursor,
    base_cursor: &mut Cursor,
) -> Option<(Node<'t>, bool)> {
    let Some(overlaid) = &table.overlaid else {
        let node = cursor.peek(table.image(), |_| false)?;
        cursor.go_past(node);
        return Some((node, false));
    };
    let here = cursor.peek(table.image(), |node| node.flags().has(NodeFlags::GONE));
    let is_moved = |overlaid: &Overlaid, node: Node<'_>| overlaid.moved_to(node.reference()).is_some();
    let there = base_cursor.peek(overlaid.base.image(), |node| is_moved(overlaid, node));
    let is_in_base = match (here, there) {
        (Some(one), Some(other)) => {
            relative_cmp(other.relative_name(), one.relative_name()) == Ordering::Less
        }
        (None, Some(_)) => true,
        (Some(_), None) => false,
        (None, None) => return None,
    };
    let (node, cursor) = if is_in_base { (there?, base_cursor) } else { (here?, cursor) };
    cursor.go_past(node);
    Some((node, is_in_base))
}

impl Table {
    /// The records of one of this table's nodes, by type, each set's signatures behind it.
    ///
    /// # Errors
    /// The image is not what the compiler makes.
    pub fn each_record(&self, node: Node<'_>, mut take: impl FnMut(Record<'_>)) -> Result<(), BadPointer> {
        let owner = [node.relative_name(), self.apex_name().as_wire()].concat();
        let name = Name::from_wire(&owner)?;
        let mut expanded = Expanded::default();
        for rrset in node.rrsets() {
            let records = if rrset.has_fixups() {
                expanded.expand(rrset, &owner, owner.len() - self.apex_len())?;
                &expanded.octets
            } else {
                rrset.records()
            };
            for mut rest in [records, rrset.signatures()] {
                while !rest.is_empty() {
                    let Stored { rtype, ttl, rdata } = Stored::read(rest).ok_or(BadPointer)?;
                    rest = &rest[FIXED + rdata.len()..];
                    take(Record { owner: name, rtype, ttl, rdata });
                }
            }
        }
        Ok(())
    }
}

/// A record as it stands in the image.
struct Stored<'i> {
    rtype: RecordType,
    ttl: u32,
    rdata: &'i [u8],
}

impl<'i> Stored<'i> {
    #[inline]
    fn read(octets: &'i [u8]) -> Option<Stored<'i>> {
        let head = octets.first_chunk::<FIXED>()?;
        let len = usize::from(u16::from_be_bytes([head[10], head[11]]));
        Some(Stored {
            rtype: RecordType(u16::from_be_bytes([head[2], head[3]])),
            ttl: u32::from_be_bytes([head[6], head[7], head[8], head[9]]),
            rdata: octets.get(FIXED..FIXED + len)?,
        })
    }
}

/// Where a pointer leads.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Target {
    Owner,
    Apex,
    Inner,
}

/// A set with its names written out, in the form in which sets without pointers stand in the image.
#[derive(Default)]
struct Expanded {
    octets: Vec<u8>,
    /// Where the pointers of the set stand.
    pointers: Vec<(usize, Target)>,
    /// From which octet of the stored records on the expanded ones stand so much further on.
    shifts: Vec<(usize, usize)>,
}

impl Expanded {
    fn expand(&mut self, rrset: Rrset<'_>, owner: &[u8], apex_at: usize) -> Result<(), BadPointer> {
        self.octets.clear();
        self.shifts.clear();
        self.find_pointers(rrset);
        let records = rrset.records();
        let question_end = HEADER_LEN + owner.len() + crate::node::QUESTION_FIXED;
        let pointers = std::mem::take(&mut self.pointers);
        let mut ahead = pointers.iter().copied().peekable();
        let mut at = 0;
        while let Some(head) = records.get(at..at + FIXED) {
            let end = at + FIXED + usize::from(u16::from_be_bytes([head[10], head[11]]));
            let length_at = self.octets.len() + FIXED - 2;
            let mut done = at;
            while let Some((pointer_at, target)) = ahead.next_if(|(pointer_at, _)| *pointer_at < end) {
                self.octets.extend_from_slice(records.get(done..pointer_at).ok_or(BadPointer)?);
                let pointer = wire::message::u16_at(records, pointer_at).ok_or(BadPointer)?;
                let place = usize::from(pointer & wire::message::POINTER_MAX as u16);
                match target {
                    Target::Apex => self.octets.extend_from_slice(&owner[apex_at..]),
                    Target::Owner => {
                        let tail = place.checked_sub(HEADER_LEN).and_then(|skip| owner.get(skip..));
                        let tail = Name::from_wire(tail.ok_or(BadPointer)?)?;
                        self.octets.extend_from_slice(tail.as_wire());
                    }
                    Target::Inner => {
                        let place = place.checked_sub(question_end).ok_or(BadPointer)?;
                        self.copy_tail(place)?;
                    }
                }
                done = pointer_at + 2;
                self.shifts.push((done, self.octets.len().checked_sub(done).ok_or(BadPointer)?));
            }
            self.octets.extend_from_slice(records.get(done..end).ok_or(BadPointer)?);
            let len = u16::try_from(self.octets.len() - length_at - 2).map_err(|_| BadPointer)?;
            self.octets[length_at..length_at + 2].copy_from_slice(&len.to_be_bytes());
            at = end;
        }
        self.pointers = pointers;
        Ok(())
    }

    fn find_pointers(&mut self, rrset: Rrset<'_>) {
        let links = rrset.links();
        self.pointers.clear();
        for (list, target) in
            [(links.owner, Target::Owner), (links.apex, Target::Apex), (links.inner, Target::Inner)]
        {
            let places = list.iter().map(|place| (usize::from(u16::from_le_bytes(*place)), target));
            self.pointers.extend(places);
        }
        self.pointers.sort_unstable();
    }

    /// Appends the name that stands at this place of the stored records. It was written out before, since pointers lead
    /// backwards only.
    fn copy_tail(&mut self, place: usize) -> Result<(), BadPointer> {
        let after = self.shifts.partition_point(|(from, _)| *from <= place);
        let shift = after.checked_sub(1).map_or(0, |last| self.shifts[last].1);
        let start = place + shift;
        let (tail, _) = Name::split_from(self.octets.get(start..).ok_or(BadPointer)?)?;
        let end = start + tail.len();
        self.octets.extend_from_within(start..end);
        Ok(())
    }
}
