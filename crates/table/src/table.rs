//! A verified image, and how a name is found in it.

use crate::format::{
    BUCKET_LEN, BUCKET_REFS, BUCKET_SLOTS, BUCKET_SPILL, CHAIN_MAX, Digest, ImageFlags, NodeFlags, NodeRef,
    SourceStamp, header, u32_at, u64_at,
};
use crate::hash::{self, Key, State};
use crate::map::Backing;
use crate::node::Node;
use crate::part::{Extent, Part};
use crate::verify::{self, ImageError};
use wire::{FoldedName, Name};

/// The answer table of one zone: an image that has been verified as a whole, and is only read from then on.
pub struct Table {
    backing: Backing,
    start: State,
    buckets: u32,
    buckets_at: usize,
    depth_max: usize,
    apex_labels: usize,
    apex_len: usize,
    apex: NodeRef,
    negative_part: usize,
    flags: ImageFlags,
    serial: u32,
}

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

impl Table {
    /// Takes an image into use after verifying it: digest, and bounds of every offset.
    pub fn from_backing(backing: Backing) -> Result<Table, ImageError> {
        verify::verify(backing.bytes())?;
        let image = backing.bytes();
        let key = Key { k0: u64_at(image, header::KEY0), k1: u64_at(image, header::KEY1) };
        let apex_len = usize::from(image[header::APEX_LEN]);
        let apex =
            Name::from_wire(&image[header::APEX..header::APEX + apex_len]).map_err(|_| ImageError::Bounds)?;
        Ok(Table {
            start: State::new(key),
            buckets: u32_at(image, header::BUCKETS),
            buckets_at: u64_at(image, header::BUCKETS_AT) as usize,
            depth_max: u32_at(image, header::DEPTH_MAX) as usize,
            apex_labels: apex.label_count(),
            apex_len,
            apex: NodeRef(u32_at(image, header::APEX_NODE)),
            negative_part: NodeRef(u32_at(image, header::NEGATIVE_PART)).at(),
            flags: ImageFlags(u32_at(image, header::FLAGS)),
            serial: u32_at(image, header::SERIAL),
            backing,
        })
    }

    /// The image's octets.
    #[inline]
    pub fn image(&self) -> &[u8] {
        self.backing.bytes()
    }

    /// The name of the zone, in lower case.
    pub fn apex_name(&self) -> Name<'_> {
        let image = self.image();
        // Verified when the table was made.
        Name::from_wire(&image[header::APEX..header::APEX + self.apex_len]).unwrap_or(Name::ROOT)
    }

    /// Octets of the apex's name, the root's octet included.
    #[inline]
    pub fn apex_len(&self) -> usize {
        self.apex_len
    }

    /// How many labels the apex has.
    #[inline]
    pub fn apex_labels(&self) -> usize {
        self.apex_labels
    }

    /// The node of the apex.
    #[inline]
    pub fn apex(&self) -> Node<'_> {
        Node::new(self.image(), self.apex)
    }

    /// The SOA record's serial.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// What the zone as a whole is.
    #[inline]
    pub fn flags(&self) -> ImageFlags {
        self.flags
    }

    /// The digest of the content.
    pub fn digest(&self) -> Digest {
        let mut digest = [0; 32];
        digest.copy_from_slice(&self.image()[header::DIGEST..header::DIGEST + 32]);
        Digest(digest)
    }

    /// What the image was made from.
    pub fn source(&self) -> SourceStamp {
        let mut stamp = [0; 32];
        stamp.copy_from_slice(&self.image()[header::SOURCE..header::SOURCE + 32]);
        SourceStamp(stamp)
    }

    /// How many names, empty non-terminals and occluded ones included.
    pub fn name_count(&self) -> u32 {
        u32_at(self.image(), header::NODES)
    }

    /// How many records, signatures included.
    pub fn record_count(&self) -> u32 {
        u32_at(self.image(), header::RECORDS)
    }

    /// What negative answers right below the apex have in common; its SOA record, with the TTL of negative answers
    /// (RFC 2308 §3), goes with all of them.
    #[inline]
    pub fn negative_part(&self, extent: Extent) -> Part<'_> {
        Part::read(self.image(), self.negative_part, extent)
    }

    /// The nodes whose NSEC or NSEC3 records the part has as its proofs; the first is none where it has no proofs.
    #[inline]
    pub fn negative_proofs(&self) -> [NodeRef; 2] {
        Part::proofs(self.image(), self.negative_part)
    }

    /// The node that a reference of this same image names.
    #[inline]
    pub fn node(&self, node: NodeRef) -> Option<Node<'_>> {
        if node.is_none() { None } else { Some(Node::new(self.image(), node)) }
    }

    /// All nodes in canonical order, the apex first.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        self.region(header::NODES_AT, header::NODES)
    }

    /// The owners of NSEC3 records, in canonical order; they are not found by name (RFC 5155 §7.2.8).
    pub fn nsec3_nodes(&self) -> impl Iterator<Item = Node<'_>> {
        self.region(header::NSEC3_NODES_AT, header::NSEC3_NODES)
    }

    fn region(&self, at: usize, count: usize) -> impl Iterator<Item = Node<'_>> {
        let image = self.image();
        let mut at = u64_at(image, at) as usize;
        (0..u32_at(image, count)).map(move |_| {
            let node = Node::new(image, NodeRef((at / 4) as u32));
            at = node.end();
            node
        })
    }

    /// Finds a name that is at or below the apex.
    ///
    /// An existing name costs one probe. For any other the walk goes down from the apex, one label a probe,
    /// and ends at the first name that is missing, so labels beyond the closest encloser cost nothing.
    #[inline]
    pub fn find(&self, name: &FoldedName) -> Found<'_> {
        match self.find_exact(name) {
            Some(node) => Found::Exact(node),
            None => self.find_encloser(name),
        }
    }

    /// The node of a name that exists and is not below a cut. The name is at or below the apex. In a zone that mostly
    /// delegates, a name of several labels below the apex is left to [`Table::find_encloser`]: nearly always there is a
    /// cut above it, and to look for the whole name first would be in vain.
    #[inline(always)]
    pub fn find_exact(&self, name: &FoldedName) -> Option<Node<'_>> {
        let image = self.image();
        let labels = name.label_count() - self.apex_labels;
        if labels == 0 {
            return Some(Node::new(image, self.apex));
        }
        if labels > self.depth_max || (labels > 1 && self.flags.has(ImageFlags::DELEGATES)) {
            return None;
        }
        let end = name.label_start(labels);
        let mut state = self.start;
        state.absorb_labels(name, 0, labels);
        let node = self.probe(image, state.finish(), name, 0, end)?;
        (!node.flags().has(NodeFlags::OCCLUDED)).then_some(node)
    }

    /// Where a name leads that [`Table::find_exact`] did not find.
    pub fn find_encloser(&self, name: &FoldedName) -> Found<'_> {
        let labels = name.label_count() - self.apex_labels;
        self.descend(name, labels, name.label_start(labels))
    }

    /// The walk down from the apex for a name that isn't there, or that is below a cut.
    fn descend(&self, name: &FoldedName, labels: usize, end: usize) -> Found<'_> {
        let image = self.image();
        let mut state = self.start;
        let mut node = Node::new(image, self.apex);
        let mut below = labels;
        let walks_to_end = labels > 1 && self.flags.has(ImageFlags::DELEGATES);
        loop {
            let encloser = Encloser { node, next_closer: below - 1 };
            if node.flags().has(NodeFlags::CUT) {
                return Found::BelowCut(encloser);
            }
            if node.flags().has(NodeFlags::DNAME) {
                return Found::BelowDname(encloser);
            }
            below -= 1;
            // Where the whole name was looked for first, it would have been found, were it there and not occluded.
            let is_known_missing = below == 0 && !walks_to_end;
            if is_known_missing || labels - below > self.depth_max {
                return Found::Missing(encloser);
            }
            state.absorb_labels(name, below, below + 1);
            match self.probe(image, state.finish(), name, name.label_start(below), end) {
                Some(exact) if below == 0 => return Found::Exact(exact),
                Some(next) => node = next,
                None => return Found::Missing(encloser),
            }
        }
    }

    /// The node with this hash and name.
    #[inline]
    fn probe<'t>(
        &self,
        image: &'t [u8],
        hash: u64,
        name: &FoldedName,
        start: usize,
        end: usize,
    ) -> Option<Node<'t>> {
        let mut index = hash::bucket(hash, self.buckets);
        let tag = u64::from(hash::tag(hash)) * 0x0101_0101_0101_0101;
        for _ in 0..CHAIN_MAX {
            let at = self.buckets_at + index as usize * BUCKET_LEN;
            let bucket: &[u8; BUCKET_LEN] = image[at..at + BUCKET_LEN].first_chunk()?;
            // One bit a slot: the marks of the first eight in the high bits of their octets, those of the last four
            // one place lower.
            let low = matches(u64_at(bucket, 0) ^ tag);
            let high = matches(u64::from(u32_at(bucket, 8)) ^ (tag & 0xffff_ffff)) & 0x8080_8080;
            let mut marks = low | high >> 1;
            while marks != 0 {
                let bit = marks.trailing_zeros();
                let slot = (bit / 8 + if bit & 1 == 0 { 8 } else { 0 }) as usize;
                let node = Node::new(image, NodeRef(u32_at(bucket, BUCKET_REFS + 4 * (slot % BUCKET_SLOTS))));
                if node.is_named(name, start, end) {
                    return Some(node);
                }
                marks &= marks - 1;
            }
            if bucket[BUCKET_SPILL] == 0 {
                return None;
            }
            index = if index + 1 == self.buckets { 0 } else { index + 1 };
        }
        None
    }
}

const _: () = assert!(BUCKET_SLOTS == 12, "`probe` reads eight tags and then four");

/// The high bit of each octet that is zero; octets above a zero one may be marked wrongly, which the
/// comparison of names that follows puts right. An empty slot's reference is never compared: its tag is 0.
#[inline]
fn matches(word: u64) -> u64 {
    word.wrapping_sub(0x0101_0101_0101_0101) & !word & 0x8080_8080_8080_8080
}
