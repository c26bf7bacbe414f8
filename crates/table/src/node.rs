//! Nodes and record sets as they stand in an image.
//!
//! ```text
//! node    u8 length of the relative name · u8 flags · u8 record sets · u8 offset of the first set / 4
//!         with EXTRA: five references (wildcard, denial, nsec3 match, nsec3 encloser, nsec3 cover)
//!         the name relative to the apex, lower case, padded to four octets
//!         the record sets by ascending type
//! set     u16 type · u16 records · u16 octets · u8 octets of each record if all are alike, else 0 · u8 flags
//!         with SIGNED: u16 signatures · u16 octets of the signatures
//!         with FIXUPS: u16 owner fix-ups · u16 apex fix-ups · u16 inner fix-ups · u16 additional names
//!         with GLUE: u16 address records · u16 octets of them
//!         with STEERED, which has GLUE and no FIXUPS: u16 number of the list of variants · u16 zero
//!         the records, then the signatures, then the addresses, in wire form
//!         the fix-ups, u16 each: where in the records a compression pointer stands
//!         the additional names: u16 where in the records the name starts · u16 zero · u32 node
//!         padding to four octets
//! ```
//! A set whose records have pointers to one another can't be turned when it is copied, because a pointer leads only
//! backwards; it is followed by a turned copy for each of its other records.
//! A record's owner is the pointer C00C: the query's name. Pointers in the data are right for a message whose
//! question is the node's own name and in which the set is the first thing after the question; for any other
//! place the fix-ups say what to rewrite. The owners of addresses are pointers too: so far behind the start of the
//! records.

use crate::format::{
    ADDITIONAL_LEN, NODE_EXTRA, NODE_FIXED, NodeFlags, NodeRef, RRSET_FIXED, RrsetFlags, padded, u16_at,
    u32_at, u64_at,
};
use std::ops::Range;
use wire::message::{HEADER_LEN, POINTER};
use wire::{FoldedName, RecordType};

/// Octets of a question behind its name: type and class.
pub(crate) const QUESTION_FIXED: usize = 4;

/// A name of the zone and what it owns.
#[derive(Clone, Copy)]
pub struct Node<'t> {
    image: &'t [u8],
    at: usize,
    /// The four fixed octets, the first lowest.
    head: u32,
}

/// A reference from one node to another, which [`crate::Table::node`] follows.
#[derive(Clone, Copy)]
pub struct Link<'t> {
    /// The image that the reference stands in.
    pub(crate) image: &'t [u8],
    pub(crate) to: NodeRef,
}

impl Link<'_> {
    /// A reference to nothing.
    pub const NONE: Link<'static> = Link { image: &[], to: NodeRef::NONE };

    /// Whether it leads nowhere.
    #[inline]
    pub fn is_none(self) -> bool {
        self.to.is_none()
    }
}

/// Which node one is, among all that are in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeId(usize);

impl NodeId {
    /// No node.
    pub const NONE: NodeId = NodeId(0);

    #[inline]
    pub(crate) fn new(image: &[u8], node: NodeRef) -> NodeId {
        if node.is_none() { NodeId::NONE } else { NodeId(image.as_ptr().addr() + node.at()) }
    }
}

/// How names that don't exist, and types that don't, are denied at and right below a node.
#[derive(Clone, Copy)]
pub struct Denial<'t> {
    /// The wildcard `*` below the node.
    pub wildcard: Link<'t>,
    /// What proves that there is no wildcard below the node: the owner of the NSEC or NSEC3 record that covers it.
    pub no_wildcard: Link<'t>,
    /// The NSEC3 record whose hash is the node's.
    pub nsec3_match: Link<'t>,
    /// For a node without its own NSEC3 record (RFC 5155 §6, opt-out): that of its closest provable encloser,
    pub nsec3_encloser: Link<'t>,
    /// and the one that covers the next closer name.
    pub nsec3_cover: Link<'t>,
}

impl<'t> Node<'t> {
    #[inline]
    pub(crate) fn new(image: &'t [u8], node: NodeRef) -> Node<'t> {
        Node { image, at: node.at(), head: u32_at(image, node.at()) }
    }

    pub(crate) fn at_offset(image: &'t [u8], at: usize) -> Node<'t> {
        Node { image, at, head: u32_at(image, at) }
    }

    /// Where the node stands in its image.
    #[inline]
    pub fn reference(self) -> NodeRef {
        NodeRef((self.at / 4) as u32)
    }

    /// Which node it is.
    #[inline]
    pub fn id(self) -> NodeId {
        NodeId(self.image.as_ptr().addr() + self.at)
    }

    /// How many records it owns, signatures included.
    pub(crate) fn record_count(self) -> u32 {
        self.rrsets().map(|rrset| u32::from(rrset.count()) + u32::from(rrset.signature_count())).sum()
    }

    /// What the node is.
    #[inline]
    pub fn flags(self) -> NodeFlags {
        NodeFlags((self.head >> 8) as u8)
    }

    /// How many record sets it owns, turned copies counted: 0 for an empty non-terminal.
    #[inline]
    pub fn rrset_count(self) -> usize {
        (self.head >> 16) as usize & 0xff
    }

    /// Octets of the name before the apex.
    #[inline]
    pub fn relative_len(self) -> usize {
        self.head as usize & 0xff
    }

    #[inline]
    fn name_at(self) -> usize {
        self.at + NODE_FIXED + if self.flags().has(NodeFlags::EXTRA) { NODE_EXTRA } else { 0 }
    }

    /// The name relative to the apex: lower-case labels without the root's octet.
    #[inline]
    pub fn relative_name(self) -> &'t [u8] {
        let start = self.name_at();
        &self.image[start..start + self.relative_len()]
    }

    /// The references for wildcards and denial; all none where the node has no need of them.
    #[inline]
    pub fn denial(self) -> Denial<'t> {
        let has_fields = self.flags().has(NodeFlags::EXTRA);
        let field = |i: usize| Link {
            image: self.image,
            to: if has_fields {
                NodeRef(u32_at(self.image, self.at + NODE_FIXED + 4 * i))
            } else {
                NodeRef::NONE
            },
        };
        Denial {
            wildcard: field(0),
            no_wildcard: field(1),
            nsec3_match: field(2),
            nsec3_encloser: field(3),
            nsec3_cover: field(4),
        }
    }

    /// The wildcard `*` below the node: the first field of [`Node::denial`].
    #[inline]
    pub fn wildcard(self) -> Link<'t> {
        let to = if self.flags().has(NodeFlags::EXTRA) {
            NodeRef(u32_at(self.image, self.at + NODE_FIXED))
        } else {
            NodeRef::NONE
        };
        Link { image: self.image, to }
    }

    #[inline]
    pub(crate) fn first_rrset(self) -> usize {
        self.at + 4 * (self.head >> 24) as usize
    }

    /// The record sets by ascending type.
    #[inline]
    pub fn rrsets(self) -> impl Iterator<Item = Rrset<'t>> {
        self.all_rrsets().filter(|rrset| !rrset.flags().has(RrsetFlags::TURNED))
    }

    /// The record sets, turned copies among them.
    #[inline]
    pub(crate) fn all_rrsets(self) -> impl Iterator<Item = Rrset<'t>> {
        let mut at = self.first_rrset();
        (0..self.rrset_count()).map(move |_| {
            let rrset = Rrset::new(self.image, at);
            at = rrset.end();
            rrset
        })
    }

    /// The set of this type so turned that the record with index `first` begins, where such a copy was made; else as
    /// it is. For sets with pointers among their own records.
    pub fn turned_rrset(self, rtype: RecordType, first: usize) -> Option<Rrset<'t>> {
        let as_it_is = self.rrset(rtype)?;
        let copy = self.all_rrsets().filter(|rrset| rrset.rtype() == rtype).nth(first);
        Some(copy.unwrap_or(as_it_is))
    }

    /// The record set of this type.
    #[inline(always)]
    pub fn rrset(self, rtype: RecordType) -> Option<Rrset<'t>> {
        let mut at = self.first_rrset();
        for _ in 0..self.rrset_count() {
            if u16_at(self.image, at) == rtype.0 {
                return Some(Rrset::new(self.image, at));
            }
            at = rrset_end(self.image, at);
        }
        None
    }

    /// Whether the node has this name, given as the octets of the labels above the apex.
    #[inline]
    pub(crate) fn is_named(self, name: &FoldedName, start: usize, end: usize) -> bool {
        let len = end - start;
        if self.relative_len() != len {
            return false;
        }
        // Whole words: the verifier has seen that eight octets follow every name, and the folded name has slack.
        let at = self.name_at();
        let mut done = 0;
        while done + 8 < len {
            if u64_at(self.image, at + done) != name.word(start + done) {
                return false;
            }
            done += 8;
        }
        let spare_bits = 8 * (done + 8 - len) as u32;
        (u64_at(self.image, at + done) ^ name.word(start + done)) << spare_bits == 0
    }

    /// Where the next node in the region starts.
    pub(crate) fn end(self) -> usize {
        let mut at = self.first_rrset();
        for _ in 0..self.rrset_count() {
            at = rrset_end(self.image, at);
        }
        at
    }
}

/// Octets of a set's parts, from its fixed fields.
struct Layout {
    data_at: usize,
    data_len: usize,
    sigs: usize,
    sigs_len: usize,
    owner_fixups: usize,
    apex_fixups: usize,
    inner_fixups: usize,
    glue: usize,
    glue_len: usize,
    additional: usize,
    additional_at: usize,
    end: usize,
}

/// Two numbers of two octets, by one look at them.
#[inline]
fn two_at(image: &[u8], at: usize) -> (usize, usize) {
    let both = u32_at(image, at) as usize;
    (both & 0xffff, both >> 16)
}

#[inline(never)]
fn layout(image: &[u8], at: usize) -> Layout {
    let set = Rrset::new(image, at);
    let (flags, data_len) = (set.flags(), set.data_len());
    let mut next = at + RRSET_FIXED;
    let (mut sigs, mut sigs_len) = (0, 0);
    if flags.has(RrsetFlags::SIGNED) {
        (sigs, sigs_len) = two_at(image, next);
        next += 4;
    }
    let (mut owner_fixups, mut apex_fixups, mut inner_fixups, mut additional) = (0, 0, 0, 0);
    if flags.has(RrsetFlags::FIXUPS) {
        let counts = u64_at(image, next);
        owner_fixups = counts as usize & 0xffff;
        apex_fixups = (counts >> 16) as usize & 0xffff;
        inner_fixups = (counts >> 32) as usize & 0xffff;
        additional = (counts >> 48) as usize;
        next += 8;
    }
    let (mut glue, mut glue_len) = (0, 0);
    if flags.has(RrsetFlags::GLUE) {
        (glue, glue_len) = two_at(image, next);
        next += 4;
    }
    let fixups_end = next + data_len + sigs_len + glue_len + 2 * (owner_fixups + apex_fixups + inner_fixups);
    // Only additional names need the list to be aligned; padding at the end comes to the same place.
    let additional_at = at + padded(fixups_end - at);
    let end = additional_at + ADDITIONAL_LEN * additional;
    Layout {
        data_at: next,
        data_len,
        sigs,
        sigs_len,
        owner_fixups,
        apex_fixups,
        inner_fixups,
        glue,
        glue_len,
        additional,
        additional_at,
        end,
    }
}

#[inline]
fn rrset_end(image: &[u8], at: usize) -> usize {
    if image[at + 7] == 0 {
        return at + padded(RRSET_FIXED + usize::from(u16_at(image, at + 4)));
    }
    layout(image, at).end
}

/// A name in a set's data whose addresses go with it where there is room: the target of an NS record.
#[derive(Clone, Copy)]
pub struct Additional<'t> {
    /// Where the name starts in the records.
    pub name_at: usize,
    /// The node that owns the addresses.
    pub node: Link<'t>,
}

/// What a set has beside its records: where compression pointers stand in them, as little-endian offsets from their
/// start, and addresses that go with them.
#[derive(Clone, Copy)]
pub struct Links<'t> {
    /// Pointers to the owner or to a tail of it.
    pub owner: &'t [[u8; 2]],
    /// Pointers to the apex.
    pub apex: &'t [[u8; 2]],
    /// Pointers to names in the records themselves.
    pub inner: &'t [[u8; 2]],
    /// How many records [`Links::glue`] has.
    pub glue_count: u16,
    /// The addresses that must be in a referral (RFC 9471 §3.1), those of name servers in or below the delegated
    /// domain, in wire form. Their owners are pointers that lead so far behind the start of the records.
    pub glue: &'t [u8],
    image: &'t [u8],
    additional: &'t [[u8; ADDITIONAL_LEN]],
}

impl<'t> Links<'t> {
    /// The names in the data whose addresses go with them.
    #[inline]
    pub fn additional(self) -> impl Iterator<Item = Additional<'t>> + 't {
        self.additional.iter().map(move |entry| Additional {
            name_at: usize::from(u16_at(entry, 0)),
            node: Link { image: self.image, to: NodeRef(u32_at(entry, 4)) },
        })
    }
}

/// A record set in wire form, with its signatures.
#[derive(Clone, Copy)]
pub struct Rrset<'t> {
    image: &'t [u8],
    at: usize,
    /// The eight fixed octets, the first lowest.
    head: u64,
}

impl<'t> Rrset<'t> {
    #[inline]
    pub(crate) fn new(image: &'t [u8], at: usize) -> Rrset<'t> {
        Rrset { image, at, head: u64_at(image, at) }
    }

    /// The type.
    #[inline]
    pub fn rtype(self) -> RecordType {
        RecordType(self.head as u16)
    }

    /// How many records: at least one.
    #[inline]
    pub fn count(self) -> u16 {
        (self.head >> 16) as u16
    }

    #[inline]
    fn data_len(self) -> usize {
        (self.head >> 32) as usize & 0xffff
    }

    /// Octets of each record where all have the same length, else 0.
    #[inline]
    pub fn stride(self) -> usize {
        (self.head >> 48) as usize & 0xff
    }

    #[inline]
    fn flags(self) -> RrsetFlags {
        RrsetFlags((self.head >> 56) as u8)
    }

    #[inline]
    fn data_at(self) -> usize {
        let flags = self.flags();
        if flags == RrsetFlags::NONE {
            return self.at + RRSET_FIXED;
        }
        let signed = if flags.has(RrsetFlags::SIGNED) { 4 } else { 0 };
        let fixups = if flags.has(RrsetFlags::FIXUPS) { 8 } else { 0 };
        let glue = if flags.has(RrsetFlags::GLUE) { 4 } else { 0 };
        self.at + RRSET_FIXED + signed + fixups + glue
    }

    /// The records in wire form.
    #[inline]
    pub fn records(self) -> &'t [u8] {
        let start = self.data_at();
        &self.image[start..start + self.data_len()]
    }

    /// Where in the image the records stand.
    pub(crate) fn records_range(self) -> Range<usize> {
        let start = self.data_at();
        start..start + self.data_len()
    }

    /// Where in the image the RRSIG records stand.
    pub(crate) fn signatures_range(self) -> Range<usize> {
        let start = self.data_at() + self.data_len();
        start..start + self.signatures().len()
    }

    /// Whether this is the set before it once more, beginning with another record.
    pub(crate) fn is_turned(self) -> bool {
        self.flags().has(RrsetFlags::TURNED)
    }

    /// Whether answers have one of several sets in its place: [`crate::Table::variants`].
    #[inline(always)]
    pub fn is_steered(self) -> bool {
        self.flags().has(RrsetFlags::STEERED)
    }

    /// Which list of variants answers choose from, where it is steered.
    #[inline(always)]
    pub fn variants_number(self) -> u16 {
        // There are no fix-ups.
        let at = self.at + RRSET_FIXED + if self.flags().has(RrsetFlags::SIGNED) { 4 } else { 0 };
        let two = &self.image[at..at + 2];
        u16::from_le_bytes([two[0], two[1]])
    }

    /// Whether any RRSIG record covers the set.
    #[inline]
    pub fn is_signed(self) -> bool {
        self.flags().has(RrsetFlags::SIGNED)
    }

    /// How many RRSIG records cover the set.
    #[inline]
    pub fn signature_count(self) -> u16 {
        if self.flags().has(RrsetFlags::SIGNED) { u16_at(self.image, self.at + RRSET_FIXED) } else { 0 }
    }

    /// The RRSIG records in wire form; empty where the set has none.
    #[inline]
    pub fn signatures(self) -> &'t [u8] {
        if !self.flags().has(RrsetFlags::SIGNED) {
            return &[];
        }
        let start = self.data_at() + self.data_len();
        &self.image[start..start + usize::from(u16_at(self.image, self.at + RRSET_FIXED + 2))]
    }

    /// Whether any pointer in the data has to be looked at when the set stands elsewhere than foreseen.
    #[inline]
    pub fn has_fixups(self) -> bool {
        self.flags().has(RrsetFlags::FIXUPS)
    }

    /// What the set has beside its records.
    #[inline]
    pub fn links(self) -> Links<'t> {
        let layout = layout(self.image, self.at);
        let glue = layout.data_at + layout.data_len + layout.sigs_len;
        let owners = glue + layout.glue_len;
        let apexes = owners + 2 * layout.owner_fixups;
        let inners = apexes + 2 * layout.apex_fixups;
        let end = inners + 2 * layout.inner_fixups;
        let additional_end = layout.additional_at + ADDITIONAL_LEN * layout.additional;
        let list = |from: usize, to: usize| self.image[from..to].as_chunks().0;
        Links {
            owner: list(owners, apexes),
            apex: list(apexes, inners),
            inner: list(inners, end),
            glue_count: layout.glue as u16,
            glue: &self.image[glue..owners],
            image: self.image,
            additional: self.image[layout.additional_at..additional_end].as_chunks().0,
        }
    }

    /// Whether any pointer leads into the records themselves.
    #[inline]
    pub fn has_inner_fixups(self) -> bool {
        self.has_fixups() && layout(self.image, self.at).inner_fixups != 0
    }

    pub(crate) fn end(self) -> usize {
        rrset_end(self.image, self.at)
    }

    /// Checks every bound of the set at `at`; the end of it and whether it refers to nodes, or `None` where something
    /// reaches past `limit`.
    /// `foreseen_at` is where in a message pointers among the records take them to stand.
    pub(crate) fn verify(image: &[u8], at: usize, limit: usize, foreseen_at: usize) -> Option<(usize, bool)> {
        if at + RRSET_FIXED > limit {
            return None;
        }
        let flags = RrsetFlags(image[at + 7]);
        if flags == RrsetFlags::NONE {
            // Most sets by far: nothing but records.
            let set = Rrset::new(image, at);
            let end = at + padded(RRSET_FIXED + set.data_len());
            let counted =
                end <= limit && verify_records(set.records(), set.stride()) == Some(usize::from(set.count()));
            return (counted && set.count() > 0).then_some((end, false));
        }
        if flags.has(RrsetFlags::STEERED) {
            return None; // what it stands for is not in an image
        }
        let numbers = RRSET_FIXED
            + if flags.has(RrsetFlags::SIGNED) { 4 } else { 0 }
            + if flags.has(RrsetFlags::FIXUPS) { 8 } else { 0 }
            + if flags.has(RrsetFlags::GLUE) { 4 } else { 0 };
        if at + numbers > limit {
            return None;
        }
        let layout = layout(image, at);
        if layout.end > limit {
            return None;
        }
        let set = Rrset::new(image, at);
        let links = set.links();
        let counted = verify_records(set.records(), set.stride()) == Some(usize::from(set.count()))
            && verify_records(set.signatures(), 0) == Some(layout.sigs)
            && verify_glue(links.glue, layout.data_len) == Some(layout.glue)
            && set.count() > 0;
        let own_name = HEADER_LEN..foreseen_at - QUESTION_FIXED;
        let place = |at: &[u8; 2]| usize::from(u16::from_le_bytes(*at));
        let fixed = links.owner.iter().map(place).all(|p| verify_pointer(set.records(), p, own_name.clone()))
            && links.apex.iter().map(place).all(|p| p + 2 <= layout.data_len)
            && links
                .inner
                .iter()
                .map(place)
                .all(|p| verify_pointer(set.records(), p, foreseen_at..foreseen_at + p))
            && links.additional().all(|a| a.name_at < layout.data_len);
        (counted && fixed).then_some((layout.end, layout.additional != 0))
    }
}

/// Whether the pointer at `at` leads to within `range` of the message that the records are written for.
fn verify_pointer(records: &[u8], at: usize, range: Range<usize>) -> bool {
    let Some(&[high, low]) = records.get(at..at + 2) else { return false };
    range.contains(&usize::from(u16::from_be_bytes([high & 0x3f, low])))
}

/// How many records with an owner that points into the first `data_len` octets of a set fill these octets exactly.
fn verify_glue(octets: &[u8], data_len: usize) -> Option<usize> {
    let mut at = 0;
    let mut count = 0;
    while at < octets.len() {
        let head = octets.get(at..at + 12)?;
        let owner = u16::from_be_bytes([head[0], head[1]]);
        if owner < POINTER || usize::from(owner & !POINTER) >= data_len {
            return None;
        }
        at += 12 + usize::from(u16::from_be_bytes([head[10], head[11]]));
        count += 1;
    }
    (at == octets.len()).then_some(count)
}

/// How many records of the form C00C type class ttl length data fill these octets exactly, each of `stride` octets
/// where that isn't 0.
fn verify_records(octets: &[u8], stride: usize) -> Option<usize> {
    let mut at = 0;
    let mut count = 0;
    while at < octets.len() {
        let head = octets.get(at..at + 12)?;
        if head[..2] != [0xc0, 0x0c] {
            return None;
        }
        let len = 12 + usize::from(u16::from_be_bytes([head[10], head[11]]));
        if stride != 0 && len != stride {
            return None;
        }
        at += len;
        count += 1;
    }
    (at == octets.len()).then_some(count)
}
