//! A verified image, and what it says of itself.

use crate::format::{ContentDigest, Digest, ImageFlags, NodeRef, SourceStamp, header, u32_at, u64_at};
use crate::hash::{Key, State};
use crate::map::Backing;
use crate::node::{Link, Node, NodeId};
use crate::overlay::{Counts, Overlaid, Unaddressed};
use crate::part::{Extent, Part, PartPlaces};
use crate::variants::Variants;
use crate::verify::{self, ImageError};
use std::sync::{Arc, OnceLock};
use wire::Name;

/// The answer table of one zone: an image that has been verified as a whole, and is only read from then on; or the image of
/// what has changed since, over that of a whole zone.
pub struct Table {
    pub(crate) backing: Backing,
    /// The hash of no labels.
    pub(crate) start: State,
    pub(crate) buckets: u32,
    pub(crate) buckets_at: usize,
    pub(crate) depth_max: usize,
    apex_labels: usize,
    apex_len: usize,
    apex: NodeRef,
    negative: PartPlaces,
    flags: ImageFlags,
    serial: u32,
    /// What it stands over, where it is not the whole zone. Behind a pointer, since most tables have none.
    pub(crate) overlaid: Option<Box<Overlaid>>,
    pub(crate) unaddressed: OnceLock<Unaddressed>,
    /// The version of the zone, where some names here answer with something else.
    version: Option<Arc<Table>>,
    /// What answers choose from in the place of sets that are steered.
    variants: Box<[Arc<Variants>]>,
}

impl Table {
    /// Takes an image into use after verifying it: digest, and bounds of every offset.
    pub fn from_backing(backing: Backing) -> Result<Table, ImageError> {
        verify::verify(backing.bytes())?;
        Table::new(backing, None, Box::default())
    }

    /// Takes an overlay into use that the builder has just made.
    pub(crate) fn over(
        backing: Backing,
        overlaid: Overlaid,
        variants: Box<[Arc<Variants>]>,
    ) -> Result<Table, ImageError> {
        Table::new(backing, Some(Box::new(overlaid)), variants)
    }

    fn new(
        backing: Backing,
        overlaid: Option<Box<Overlaid>>,
        variants: Box<[Arc<Variants>]>,
    ) -> Result<Table, ImageError> {
        let image = backing.bytes();
        let apex_len = usize::from(image[header::APEX_LEN]);
        let apex =
            Name::from_wire(&image[header::APEX..header::APEX + apex_len]).map_err(|_| ImageError::Bounds)?;
        Ok(Table {
            start: State::new(Key::of(image)),
            buckets: u32_at(image, header::BUCKETS),
            buckets_at: u64_at(image, header::BUCKETS_AT) as usize,
            depth_max: u32_at(image, header::DEPTH_MAX) as usize,
            apex_labels: apex.label_count(),
            apex_len,
            apex: NodeRef(u32_at(image, header::APEX_NODE)),
            negative: PartPlaces::read(image, NodeRef(u32_at(image, header::NEGATIVE_PART)).at()),
            flags: ImageFlags(u32_at(image, header::FLAGS)),
            serial: u32_at(image, header::SERIAL),
            overlaid,
            unaddressed: OnceLock::new(),
            version: None,
            variants,
            backing,
        })
    }

    /// Says that this table has the answers of a version of a zone but at some names, where it has what is better for clients now. It is for
    /// packet threads alone: what is transferred, compared and kept is the version.
    #[must_use]
    pub fn in_place_of(mut self, version: Arc<Table>) -> Table {
        self.version = Some(version);
        self
    }

    /// The version of the zone that answers are given for: the table itself, but for [`Table::in_place_of`].
    pub fn version(self: &Arc<Table>) -> &Arc<Table> {
        self.version.as_ref().unwrap_or(self)
    }

    /// The image's octets; of an overlay those of its own image.
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

    /// The digest of the image; of an overlay that of its own image.
    pub fn digest(&self) -> Digest {
        let mut digest = [0; 32];
        digest.copy_from_slice(&self.image()[header::DIGEST..header::DIGEST + 32]);
        Digest(digest)
    }

    /// The digest of the records.
    pub fn content(&self) -> ContentDigest {
        let mut digest = [0; 32];
        digest.copy_from_slice(&self.image()[header::CONTENT..header::CONTENT + 32]);
        ContentDigest(digest)
    }

    /// What the image was made from.
    pub fn source(&self) -> SourceStamp {
        let mut stamp = [0; 32];
        stamp.copy_from_slice(&self.image()[header::SOURCE..header::SOURCE + 32]);
        SourceStamp(stamp)
    }

    /// How many names, empty non-terminals and occluded ones included.
    pub fn name_count(&self) -> u32 {
        self.counts().names
    }

    /// How many records, signatures included.
    pub fn record_count(&self) -> u32 {
        self.counts().records
    }

    fn counts(&self) -> Counts {
        let number = |at: usize| u32_at(self.image(), at);
        let of_image = || Counts { names: number(header::NODES), records: number(header::RECORDS) };
        self.overlaid.as_ref().map_or_else(of_image, |overlaid| overlaid.counts)
    }

    /// Octets of all images that it is made of.
    pub fn octets(&self) -> usize {
        self.image().len() + self.overlaid.as_ref().map_or(0, |overlaid| overlaid.base.image().len())
    }

    /// What negative answers right below the apex have in common; its SOA record, with the TTL of negative answers
    /// (RFC 2308 §3), goes with all of them.
    #[inline]
    pub fn negative_part(&self, extent: Extent) -> Part<'_> {
        self.negative.part(self.image(), extent)
    }

    /// The nodes whose NSEC or NSEC3 records the part has as its proofs; the first is none where it has no proofs.
    #[inline]
    pub fn negative_proofs(&self) -> [NodeId; 2] {
        self.negative.proofs.map(|node| NodeId::new(self.image(), node))
    }

    /// The list of variants with this number, see [`crate::Rrset::variants_number`].
    #[inline]
    pub fn variants(&self, number: u16) -> Option<&Variants> {
        self.variants.get(usize::from(number)).map(|variants| &**variants)
    }

    /// The node that a reference leads to, which is one of this table's; `None` where it leads nowhere, or no longer
    /// anywhere.
    #[inline]
    pub fn node<'t>(&'t self, link: Link<'t>) -> Option<Node<'t>> {
        if link.is_none() {
            return None;
        }
        match &self.overlaid {
            None => Some(Node::new(self.image(), link.to)),
            Some(overlaid) => overlaid.follow(self.image(), link),
        }
    }

    /// All nodes of the image in canonical order, the apex first; of an overlay those that have changed.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        self.region(header::NODES_AT, header::NODES)
    }

    /// The owners of NSEC3 records, in canonical order; they are not found by name (RFC 5155 §7.2.8).
    pub fn nsec3_nodes(&self) -> impl Iterator<Item = Node<'_>> {
        self.region(header::NSEC3_NODES_AT, header::NSEC3_NODES)
    }

    /// Where the nodes of names end.
    pub(crate) fn names_end(&self) -> usize {
        u64_at(self.image(), header::NODES_END) as usize
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
}
