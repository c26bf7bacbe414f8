//! The check of a whole image before it is used: after it, no offset that a lookup follows can be out of bounds.

use crate::format::{
    BUCKET_LEN, BUCKET_REFS, BUCKET_SLOTS, DIGEST_FROM, HEADER_LEN, MAGIC, NODE_EXTRA, NODE_FIXED,
    NSEC3_ENTRY, NSEC3_HASH, NodeFlags, NodeRef, VERSION, header, u16_at, u32_at, u64_at,
};
use crate::node::{Node, QUESTION_FIXED, Rrset};
use crate::part::Part;
use wire::Name;

/// Why an image can't be used. All of them mean: compile the zone anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ImageError {
    /// The file is no image.
    #[error("it is not an answer table")]
    NotAnImage,
    /// The image is of another format version.
    #[error("it has format version {found}, and this program reads version {VERSION}")]
    Version {
        /// The version that the image has.
        found: u32,
    },
    /// The file is shorter or longer than the image says.
    #[error("it has {found} octets and should have {expected}")]
    Length {
        /// Octets that the header names.
        expected: u64,
        /// Octets that there are.
        found: u64,
    },
    /// The content is not what was written.
    #[error("its content doesn't match its digest")]
    Digest,
    /// The digest is right but an offset is not: written by a faulty program.
    #[error("an offset in it points outside")]
    Bounds,
}

pub(crate) fn digest_of(image: &[u8]) -> [u8; 32] {
    *blake3::hash(&image[DIGEST_FROM..]).as_bytes()
}

pub(crate) fn verify(image: &[u8]) -> Result<(), ImageError> {
    if image.len() < HEADER_LEN || image[header::MAGIC..8] != MAGIC {
        return Err(ImageError::NotAnImage);
    }
    let found = u32_at(image, header::VERSION);
    if found != VERSION {
        return Err(ImageError::Version { found });
    }
    let expected = u64_at(image, header::IMAGE_LEN);
    if expected != image.len() as u64 {
        return Err(ImageError::Length { expected, found: image.len() as u64 });
    }
    // Between the stamp of the source and what the digest covers there is nothing.
    let gap = &image[header::SOURCE + 32..DIGEST_FROM];
    if image[header::DIGEST..header::DIGEST + 32] != digest_of(image) || gap.iter().any(|octet| *octet != 0) {
        return Err(ImageError::Digest);
    }
    verify_structure(image).ok_or(ImageError::Bounds)
}

/// Every offset of the image; `None` where one is wrong.
fn verify_structure(image: &[u8]) -> Option<()> {
    check(u32_at(image, header::HEADER_LEN) as usize == HEADER_LEN)?;
    let apex_len = usize::from(image[header::APEX_LEN]);
    let apex = Name::from_wire(image.get(header::APEX..header::APEX + apex_len)?).ok()?;
    check(!apex.as_wire().iter().any(u8::is_ascii_uppercase))?;
    let nodes = Region::read(image, header::NODES_AT, header::NODES_END)?;
    let nsec3_nodes = Region::read(image, header::NSEC3_NODES_AT, header::NSEC3_NODES_END)?;
    let nodes_seen = nodes.verify(image, u32_at(image, header::NODES), apex_len)?;
    let nsec3_seen = nsec3_nodes.verify(image, u32_at(image, header::NSEC3_NODES), apex_len)?;
    verify_buckets(image, &nodes_seen)?;
    verify_extras(image, nodes, &nodes_seen, &nsec3_seen)?;
    verify_extras(image, nsec3_nodes, &nodes_seen, &nsec3_seen)?;

    let apex_node = NodeRef(u32_at(image, header::APEX_NODE));
    check(nodes_seen.has(apex_node))?;
    check(Node::new(image, apex_node).relative_name().is_empty())?;
    let part = NodeRef(u32_at(image, header::NEGATIVE_PART)).at();
    check(part >= HEADER_LEN)?;
    Part::verify(image, part, |node| nodes_seen.has(node) || nsec3_seen.has(node))?;

    let nsec_count = u32_at(image, header::NSEC_COUNT) as usize;
    section(image, header::NSEC_KEYS_AT, 8 * nsec_count)?;
    for reference in section(image, header::NSEC_REFS_AT, 4 * nsec_count)?.chunks_exact(4) {
        check(nodes_seen.has(NodeRef(u32_at(reference, 0))))?;
    }
    let chain = section(image, header::NSEC3_AT, NSEC3_ENTRY * u32_at(image, header::NSEC3_COUNT) as usize)?;
    for entry in chain.chunks_exact(NSEC3_ENTRY) {
        check(nsec3_seen.has(NodeRef(u32_at(entry, NSEC3_HASH))))?;
    }
    section(image, header::SALT_AT, usize::from(image[header::SALT_LEN]))?;
    check(u16_at(image, header::NSEC3_ITERATIONS) <= crate::build::ITERATIONS_MAX)
}

fn check(holds: bool) -> Option<()> {
    holds.then_some(())
}

fn section(image: &[u8], field: usize, len: usize) -> Option<&[u8]> {
    let at = usize::try_from(u64_at(image, field)).ok()?;
    image.get(at..at.checked_add(len)?)
}

/// The starts of nodes in a region, a bit each: a reference is good if it names one of them.
struct Starts {
    from: usize,
    bits: Vec<u64>,
}

impl Starts {
    fn has(&self, node: NodeRef) -> bool {
        let Some(index) = node.at().checked_sub(self.from) else { return false };
        self.bits.get(index / 256).is_some_and(|word| word & (1 << (index / 4 % 64)) != 0)
    }
}

#[derive(Clone, Copy)]
struct Region {
    from: usize,
    to: usize,
}

impl Region {
    fn read(image: &[u8], from: usize, to: usize) -> Option<Region> {
        let from = usize::try_from(u64_at(image, from)).ok()?;
        let to = usize::try_from(u64_at(image, to)).ok()?;
        (from >= HEADER_LEN && from <= to && to <= image.len() && from % 4 == 0)
            .then_some(Region { from, to })
    }

    /// Walks the nodes; the region must hold exactly `count`.
    fn verify(self, image: &[u8], count: u32, apex_len: usize) -> Option<Starts> {
        let mut bits = vec![0u64; (self.to - self.from) / 256 + 1];
        let mut at = self.from;
        for _ in 0..count {
            let index = at - self.from;
            bits[index / 256] |= 1 << (index / 4 % 64);
            at = verify_node(image, at, self.to, apex_len)?;
        }
        (at == self.to).then_some(Starts { from: self.from, bits })
    }
}

fn verify_node(image: &[u8], at: usize, limit: usize, apex_len: usize) -> Option<usize> {
    let fixed = image.get(at..at + NODE_FIXED)?;
    check(at + NODE_FIXED <= limit)?;
    let extra = if NodeFlags(fixed[1]).has(NodeFlags::EXTRA) { NODE_EXTRA } else { 0 };
    let name_at = at + NODE_FIXED + extra;
    let name = image.get(name_at..name_at + usize::from(fixed[0]))?;
    // A comparison of names reads whole words.
    check(name_at + name.len() + 8 <= image.len())?;
    let mut label = 0;
    while label < name.len() {
        check((1..=63).contains(&name[label]))?;
        label += 1 + usize::from(name[label]);
    }
    check(label == name.len() && name.len() + apex_len <= wire::NAME_MAX)?;
    let mut next = at + 4 * usize::from(fixed[3]);
    check(next >= name_at + name.len() && next <= limit)?;
    for _ in 0..fixed[2] {
        next = Rrset::verify(image, next, limit, records_at(name.len(), apex_len))?;
    }
    Some(next)
}

/// Where the records of a node stand in the message that they are written for: behind the header and a question with
/// the node's own name.
fn records_at(relative_len: usize, apex_len: usize) -> usize {
    wire::message::HEADER_LEN + relative_len + apex_len + QUESTION_FIXED
}

fn verify_buckets(image: &[u8], nodes: &Starts) -> Option<()> {
    let count = u32_at(image, header::BUCKETS) as usize;
    check(count > 0)?;
    let buckets = section(image, header::BUCKETS_AT, BUCKET_LEN * count)?;
    for bucket in buckets.chunks_exact(BUCKET_LEN) {
        for (slot, tag) in bucket[..BUCKET_SLOTS].iter().enumerate() {
            let node = NodeRef(u32_at(bucket, BUCKET_REFS + 4 * slot));
            check(if *tag == 0 { node.is_none() } else { nodes.has(node) })?;
        }
    }
    Some(())
}

/// References from node to node.
fn verify_extras(image: &[u8], region: Region, nodes: &Starts, nsec3_nodes: &Starts) -> Option<()> {
    let mut at = region.from;
    while at < region.to {
        let node = Node::new(image, NodeRef((at / 4) as u32));
        let denial = node.denial();
        check(denial.wildcard.is_none() || nodes.has(denial.wildcard))?;
        let either = |node: NodeRef| node.is_none() || nodes.has(node) || nsec3_nodes.has(node);
        check(either(denial.no_wildcard))?;
        for nsec3 in [denial.nsec3_match, denial.nsec3_encloser, denial.nsec3_cover] {
            check(nsec3.is_none() || nsec3_nodes.has(nsec3))?;
        }
        for rrset in node.all_rrsets() {
            check(rrset.links().additional().all(|additional| nodes.has(additional.node)))?;
        }
        at = node.end();
    }
    Some(())
}
