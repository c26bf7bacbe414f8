//! How a name is found, in steps between which memory has time to answer.
//!
//! A lookup touches two places that no cache foresees: a bucket of the index, and the node. [`Table::seek`] hashes the
//! name and asks for the bucket, [`Table::approach`] looks at the bucket and asks for the node, and what follows finds both
//! close by, if enough other names were worked on in between.

use crate::format::{
    BUCKET_LEN, BUCKET_REFS, BUCKET_SLOTS, BUCKET_SPILL, CHAIN_MAX, ImageFlags, NodeFlags, NodeRef, u32_at,
    u64_at,
};
use crate::hash::{self, State};
use crate::node::Node;
use crate::overlay::Overlaid;
use crate::table::Table;
use wire::FoldedName;

/// Octets of a line of the cache.
const LINE: usize = 64;
/// Lines of a node that are asked for: the node of a host takes one or two, that of a signed delegation four to eight, of
/// which the processor itself fetches the next once two in a row were touched.
const NODE_LINES: usize = 2;

const _: () = assert!(BUCKET_LEN == LINE, "a bucket is one line");
const _: () = assert!(BUCKET_SLOTS == 12, "`marks` reads eight tags and then four");

/// The closest encloser of a name that doesn't exist (RFC 4592 §3.3.1).
#[derive(Clone, Copy)]
pub struct Encloser<'t> {
    /// Its node.
    pub node: Node<'t>,
    /// Which label of the queried name, counted from the left, is the next closer name's first.
    pub next_closer: usize,
}

/// Where a name leads.
#[derive(Clone, Copy)]
pub enum Found<'t> {
    /// The name exists and the zone has authority for it, or it is itself a delegation.
    Exact(Node<'t>),
    /// The name is below a delegation, which is this node.
    BelowCut(Encloser<'t>),
    /// The name is below the owner of a DNAME.
    BelowDname(Encloser<'t>),
    /// The name doesn't exist.
    Missing(Encloser<'t>),
}

/// What is looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Sought {
    /// The apex, which is found without the index.
    #[default]
    Apex,
    /// The whole name.
    Whole,
    /// Only its last label above the apex, where a walk begins.
    Top,
    /// The whole name, in the overlay and in its base, where it has one hash.
    Both,
    /// In the base of an overlay, what [`Seek::in_base`] says. The overlay itself is small and stays in the cache: it is looked
    /// at when the answer is made.
    Over,
}

/// A lookup on its way. It belongs to one name and one table; a value is used again and again.
#[derive(Clone, Copy, Default, Debug)]
pub struct Seek {
    sought: Sought,
    /// Whether that is [`Sought::Whole`]. Of its own, so that for most names nothing else has to be told apart.
    is_whole: bool,
    /// Where the apex begins in the name, if the whole of it is sought.
    apex_at: u8,
    in_base: Sought,
    /// After the last label, where only that is looked for.
    state: State,
    place: Place,
    /// In the overlay, where the name is sought in both.
    over: Place,
}

/// Where in the index a hash leads.
#[derive(Clone, Copy, Default, Debug)]
struct Place {
    bucket: u32,
    /// The first node of the bucket with the tag of the hash; none where there is none.
    node: NodeRef,
    /// Whether another node may be the one: with the same tag, or in a bucket that this one spills into.
    goes_on: bool,
    tag: u8,
}

impl Table {
    /// Begins to look for a name that is at or below the apex.
    ///
    /// In a zone that mostly delegates, of a name of several labels below the apex only the last is looked for: nearly
    /// always there is a cut above it, and to look for the whole name first would be in vain. The same goes for a name
    /// that has more labels than any in the zone.
    #[inline(always)]
    pub fn seek(&self, name: &FoldedName, seek: &mut Seek) {
        match &self.overlaid {
            None => {
                self.seek_here(name, seek);
            }
            Some(overlaid) => self.seek_over(overlaid, name, seek),
        }
    }

    /// As [`Table::seek`], in this image; the hash that the place is of.
    #[inline(always)]
    fn seek_here(&self, name: &FoldedName, seek: &mut Seek) -> u64 {
        let labels = self.labels_below(name);
        if labels == 0 {
            seek.sought = Sought::Apex;
            seek.is_whole = false;
            return 0;
        }
        let mut state = self.start;
        if labels > self.depth_max || (labels > 1 && self.flags().has(ImageFlags::DELEGATES)) {
            seek.sought = Sought::Top;
            seek.is_whole = false;
            state.absorb_labels(name, labels - 1, labels);
            seek.state = state;
        } else {
            seek.sought = Sought::Whole;
            seek.is_whole = true;
            seek.apex_at = name.label_start(labels) as u8; // a name has 255 octets at most
            state.absorb_labels(name, 0, labels);
        }
        let hash = state.finish();
        seek.place = self.place(hash);
        self.backing.prefetch(self.bucket_at(seek.place.bucket));
        hash
    }

    #[inline(never)]
    fn seek_over(&self, overlaid: &Overlaid, name: &FoldedName, seek: &mut Seek) {
        let hash = overlaid.base.seek_here(name, seek);
        seek.is_whole = false;
        match seek.sought {
            // An overlay has the apex itself.
            Sought::Apex => {}
            Sought::Whole if overlaid.has_key_of_base => {
                seek.sought = Sought::Both;
                seek.over = self.place(hash);
                self.backing.prefetch(self.bucket_at(seek.over.bucket));
            }
            sought => {
                seek.in_base = sought;
                seek.sought = Sought::Over;
            }
        }
    }

    /// Looks at the bucket.
    #[inline(always)]
    pub fn approach(&self, seek: &mut Seek) {
        match seek.sought {
            Sought::Whole | Sought::Top => self.approach_here(seek),
            Sought::Apex | Sought::Both | Sought::Over => self.approach_over(seek),
        }
    }

    #[inline(always)]
    fn approach_here(&self, seek: &mut Seek) {
        seek.place = seek.place.looked_at(self);
        let node = seek.place.node.at();
        if node != 0 {
            (0..NODE_LINES).for_each(|line| self.backing.prefetch(node + LINE * line));
        }
    }

    #[inline(never)]
    fn approach_over(&self, seek: &mut Seek) {
        let Some(overlaid) = &self.overlaid else { return };
        if seek.sought == Sought::Both {
            seek.over = seek.over.looked_at(self);
            if seek.over.is_worth_a_look() {
                // Mostly the name is there, so that the base has nothing to say.
                self.backing.prefetch(seek.over.node.at());
                return;
            }
        }
        if seek.sought != Sought::Apex {
            overlaid.base.approach_here(seek);
        }
    }

    /// Finds a name that is at or below the apex.
    ///
    /// An existing name costs one probe. For any other the walk goes down from the apex, one label a probe,
    /// and ends at the first name that is missing, so labels beyond the closest encloser cost nothing.
    pub fn find(&self, name: &FoldedName) -> Found<'_> {
        let mut seek = Seek::default();
        self.seek(name, &mut seek);
        self.approach(&mut seek);
        match self.find_exact(name, &seek) {
            Some(node) => Found::Exact(node),
            None => self.find_encloser(name, &seek),
        }
    }

    /// The node of a name that exists and is not below a cut, if it was looked for as a whole.
    #[inline(always)]
    pub fn find_exact(&self, name: &FoldedName, seek: &Seek) -> Option<Node<'_>> {
        if seek.is_whole {
            return self.find_whole(name, &seek.place, seek.apex_at);
        }
        match seek.sought {
            Sought::Top | Sought::Whole => None,
            Sought::Apex | Sought::Both | Sought::Over => {
                let node = self.find_exact_over(name, seek);
                let (image, node) = match (&self.overlaid, node.of_base()) {
                    (Some(overlaid), Some(of_base)) => (overlaid.base.image(), of_base),
                    _ => (self.image(), node),
                };
                (!node.is_none()).then(|| Node::new(image, node))
            }
        }
    }

    #[inline(always)]
    fn find_whole(&self, name: &FoldedName, place: &Place, apex_at: u8) -> Option<Node<'_>> {
        let node = self.probe(place, name, 0, usize::from(apex_at))?;
        (!node.flags().has(NodeFlags::OCCLUDED)).then_some(node)
    }

    /// The node in the overlay, or else in the base; or the apex. It is told by its reference, which takes one register.
    #[inline(never)]
    fn find_exact_over(&self, name: &FoldedName, seek: &Seek) -> NodeRef {
        if seek.sought == Sought::Apex {
            return self.apex().reference();
        }
        let Some(Overlaid { base, .. }) = self.overlaid.as_deref() else { return NodeRef::NONE };
        let (node, place) = if seek.sought == Sought::Both {
            if seek.over.is_worth_a_look() {
                let node = self.probe(&seek.over, name, 0, usize::from(seek.apex_at));
                (node, node.is_none().then(|| seek.place.looked_at(base)))
            } else {
                (None, Some(seek.place))
            }
        } else {
            (self.probe_whole(name), (seek.in_base == Sought::Whole).then_some(seek.place))
        };
        if let Some(node) = node {
            return if is_in_sight(node) { node.reference() } else { NodeRef::NONE };
        }
        let of_base = place.and_then(|place| base.find_whole(name, &place, seek.apex_at));
        of_base.map_or(NodeRef::NONE, |node| node.reference().to_base())
    }

    /// Where a name leads that [`Table::find_exact`] did not find.
    #[inline(always)]
    pub fn find_encloser(&self, name: &FoldedName, seek: &Seek) -> Found<'_> {
        let apex = self.apex();
        let labels = self.labels_below(name);
        let leads_away = apex.flags().has(NodeFlags::CUT) || apex.flags().has(NodeFlags::DNAME);
        // Where the walk ends after one step, it needs no more than what is known already.
        if !leads_away && seek.sought == Sought::Top {
            let top = labels - 1;
            match self.probe(&seek.place, name, name.label_start(top), name.label_start(labels)) {
                None => return Found::Missing(Encloser { node: apex, next_closer: top }),
                Some(node) if top > 0 && node.flags().has(NodeFlags::CUT) => {
                    return Found::BelowCut(Encloser { node, next_closer: top - 1 });
                }
                Some(_) => {}
            }
        } else if !leads_away && seek.sought == Sought::Whole && labels == 1 {
            return Found::Missing(Encloser { node: apex, next_closer: 0 });
        }
        self.descend(name, seek)
    }

    /// The walk down from the apex, a label at a time.
    #[inline(never)]
    fn descend(&self, name: &FoldedName, seek: &Seek) -> Found<'_> {
        if let Some(overlaid) = &self.overlaid {
            return self.descend_over(overlaid, name, seek);
        }
        let labels = self.labels_below(name);
        let end = name.label_start(labels);
        let mut state = self.start;
        let mut node = self.apex();
        let mut below = labels;
        loop {
            let encloser = Encloser { node, next_closer: below.wrapping_sub(1) };
            if node.flags().has(NodeFlags::CUT) {
                return Found::BelowCut(encloser);
            }
            if node.flags().has(NodeFlags::DNAME) {
                return Found::BelowDname(encloser);
            }
            if below == 0 {
                return Found::Exact(node);
            }
            below -= 1;
            // Where the whole name was looked for first, it would have been found, were it there and not occluded.
            let is_known_missing = below == 0 && seek.sought == Sought::Whole;
            if is_known_missing || labels - below > self.depth_max {
                return Found::Missing(encloser);
            }
            let place = if below + 1 == labels && seek.sought == Sought::Top {
                state = seek.state;
                seek.place
            } else {
                state.absorb_labels(name, below, below + 1);
                self.place(state.finish()).looked_at(self)
            };
            match self.probe(&place, name, name.label_start(below), end) {
                Some(exact) if below == 0 => return Found::Exact(exact),
                Some(next) => node = next,
                None => return Found::Missing(encloser),
            }
        }
    }

    /// The walk down from the apex in overlay and base.
    #[inline(never)]
    fn descend_over<'t>(&'t self, overlaid: &'t Overlaid, name: &FoldedName, seek: &Seek) -> Found<'t> {
        let base: &Table = &overlaid.base;
        let depth_max = self.depth_max.max(base.depth_max);
        let labels = self.labels_below(name);
        let end = name.label_start(labels);
        let (mut state, mut base_state) = (self.start, base.start);
        let mut node = self.apex();
        for below in (0..labels).rev() {
            let encloser = Encloser { node, next_closer: below };
            if node.flags().has(NodeFlags::CUT) {
                return Found::BelowCut(encloser);
            }
            if node.flags().has(NodeFlags::DNAME) {
                return Found::BelowDname(encloser);
            }
            // As in `descend`.
            let is_known_missing = below == 0 && seek.sought == Sought::Both;
            if is_known_missing || labels - below > depth_max {
                return Found::Missing(encloser);
            }
            state.absorb_labels(name, below, below + 1);
            let hash = state.finish();
            let base_hash = if overlaid.has_key_of_base {
                hash
            } else {
                base_state.absorb_labels(name, below, below + 1);
                base_state.finish()
            };
            let probe = |table: &'t Table, hash: u64| {
                table.probe(&table.place(hash).looked_at(table), name, name.label_start(below), end)
            };
            node = match probe(self, hash).or_else(|| probe(base, base_hash)) {
                Some(next) if !next.flags().has(NodeFlags::GONE) => next,
                Some(_) | None => return Found::Missing(encloser),
            };
        }
        Found::Exact(node)
    }

    /// The node of a name in this image.
    pub(crate) fn probe_whole(&self, name: &FoldedName) -> Option<Node<'_>> {
        let labels = self.labels_below(name);
        if labels == 0 {
            return Some(self.apex());
        }
        let mut state = self.start;
        state.absorb_labels(name, 0, labels);
        let place = self.place(state.finish()).looked_at(self);
        self.probe(&place, name, 0, name.label_start(labels))
    }

    #[inline]
    fn labels_below(&self, name: &FoldedName) -> usize {
        name.label_count().saturating_sub(self.apex_labels())
    }

    /// Where a hash leads; the bucket has yet to be looked at.
    #[inline]
    fn place(&self, hash: u64) -> Place {
        let bucket = hash::bucket(hash, self.buckets);
        Place { bucket, tag: hash::tag(hash), ..Place::default() }
    }

    #[inline]
    fn bucket_at(&self, index: u32) -> usize {
        self.buckets_at + index as usize * BUCKET_LEN
    }

    #[inline]
    fn bucket(&self, index: u32) -> Option<&[u8; BUCKET_LEN]> {
        self.image().get(self.bucket_at(index)..)?.first_chunk()
    }

    /// The node with this name, in a bucket that was looked at or one that it spills into.
    #[inline(always)]
    fn probe(&self, place: &Place, name: &FoldedName, start: usize, end: usize) -> Option<Node<'_>> {
        if !place.node.is_none() {
            let node = Node::new(self.image(), place.node);
            if node.is_named(name, start, end) {
                return Some(node);
            }
        }
        if !place.goes_on {
            return None;
        }
        let node = self.probe_on(place, name, start, end);
        (!node.is_none()).then(|| Node::new(self.image(), node))
    }

    /// As [`Table::probe`], where it was not the first node. A reference takes one register, where a node would have to be written to
    /// memory on every way.
    #[inline(never)]
    fn probe_on(&self, place: &Place, name: &FoldedName, start: usize, end: usize) -> NodeRef {
        let image = self.image();
        let mut index = place.bucket;
        for _ in 0..CHAIN_MAX {
            let Some(bucket) = self.bucket(index) else { break };
            let mut marks = marks(bucket, place.tag);
            while marks != 0 {
                let node = node_in(bucket, marks);
                if Node::new(image, node).is_named(name, start, end) {
                    return node;
                }
                marks &= marks - 1;
            }
            if bucket[BUCKET_SPILL] == 0 {
                break;
            }
            index = if index + 1 == self.buckets { 0 } else { index + 1 };
        }
        NodeRef::NONE
    }
}

/// Whether a node of an overlay, of a name in the zone, stands for a name that is there and not below a cut.
#[inline(always)]
fn is_in_sight(node: Node<'_>) -> bool {
    let hidden = [NodeFlags::OCCLUDED, NodeFlags::GONE];
    !hidden.iter().any(|flag| node.flags().has(*flag))
}

impl Place {
    /// Whether the name may be where its bucket has led.
    #[inline(always)]
    fn is_worth_a_look(self) -> bool {
        !self.node.is_none() || self.goes_on
    }

    /// With what its bucket has.
    #[inline(always)]
    fn looked_at(mut self, table: &Table) -> Place {
        if let Some(bucket) = table.bucket(self.bucket) {
            let marks = marks(bucket, self.tag);
            if marks != 0 {
                self.node = node_in(bucket, marks);
            }
            self.goes_on = marks & marks.wrapping_sub(1) != 0 || bucket[BUCKET_SPILL] != 0;
        }
        self
    }
}

/// The slots of a bucket that have this tag, a bit for each: those of the first eight in the high bits of their octets,
/// those of the last four one place lower.
#[inline]
fn marks(bucket: &[u8; BUCKET_LEN], tag: u8) -> u64 {
    let tags = u64::from(tag) * 0x0101_0101_0101_0101;
    let low = matches(u64_at(bucket, 0) ^ tags);
    let high = matches(u64::from(u32_at(bucket, 8)) ^ (tags & 0xffff_ffff)) & 0x8080_8080;
    low | high >> 1
}

/// The high bit of each octet that is zero; octets above a zero one may be marked wrongly, which the
/// comparison of names that follows puts right. An empty slot's reference is never compared: its tag is 0.
#[inline]
fn matches(word: u64) -> u64 {
    word.wrapping_sub(0x0101_0101_0101_0101) & !word & 0x8080_8080_8080_8080
}

/// The node of the first slot that is marked.
#[inline]
fn node_in(bucket: &[u8; BUCKET_LEN], marks: u64) -> NodeRef {
    let bit = marks.trailing_zeros();
    let slot = ((bit >> 3) + ((!bit & 1) << 3)) as usize;
    // The bucket as sixteen numbers: the compiler sees that each of these slots is there.
    let (numbers, _) = bucket.as_chunks::<4>();
    NodeRef(u32::from_le_bytes(numbers[(BUCKET_REFS / 4 + slot) % (BUCKET_LEN / 4)]))
}
