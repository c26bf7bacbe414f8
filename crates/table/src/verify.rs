//! The check of a whole image before it is used: after it, no offset that a lookup follows can be out of bounds.

use crate::digest;
use crate::format::{
    BUCKET_LEN, BUCKET_REFS, BUCKET_SLOTS, DIGEST_FROM, HEADER_LEN, MAGIC, NODE_EXTRA, NODE_FIXED,
    NSEC3_ENTRY, NSEC3_HASH, NodeFlags, NodeRef, VERSION, header, u16_at, u32_at, u64_at,
};
use crate::node::{Link, Node, QUESTION_FIXED, Rrset};
use crate::parallel;
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

/// How many hints are asked for: with twelve names a bucket and more, the gaps between so many are far below a range.
const HINTS: usize = 8192;
/// Octets of a range of nodes at least: about as many as a piece of the digest has.
const RANGE_MIN: usize = 1 << 18;
/// Octets of nodes that a word of [`Starts`] stands for: nodes start at multiples of four.
const STARTS_SPAN: usize = 256;

/// Whether it begins as an image of this version does; how many octets it should have.
pub(crate) fn begin(image: &[u8]) -> Result<u64, ImageError> {
    if image.len() < HEADER_LEN || image[header::MAGIC..8] != MAGIC {
        return Err(ImageError::NotAnImage);
    }
    let found = u32_at(image, header::VERSION);
    if found != VERSION {
        return Err(ImageError::Version { found });
    }
    Ok(u64_at(image, header::IMAGE_LEN))
}

pub(crate) fn verify(image: &[u8]) -> Result<(), ImageError> {
    let expected = begin(image)?;
    if expected != image.len() as u64 {
        return Err(ImageError::Length { expected, found: image.len() as u64 });
    }
    // Between the stamp of the source and what the digest covers there is nothing.
    let gap = &image[header::SOURCE + 32..DIGEST_FROM];
    let threads = parallel::threads_for(image.len());
    let plan = Plan::read(image);
    let ranges = plan.as_ref().map_or(&[][..], |plan| &plan.ranges);
    let pieces = digest::piece_count(image);
    // The digest of a piece brings it into the core's cache, where the nodes are walked over at about the same place.
    let seen = parallel::each(pieces.max(ranges.len()), threads, |index| {
        let piece = (index < pieces).then(|| digest::piece(image, index));
        (piece, ranges.get(index).map(|range| range.walk(image)))
    });
    let (values, walked): (Vec<_>, Vec<_>) = seen.into_iter().unzip();
    let values: Vec<_> = values.into_iter().flatten().collect();
    let digest = digest::of_pieces(image, &values);
    if image[header::DIGEST..header::DIGEST + 32] != digest || gap.iter().any(|octet| *octet != 0) {
        return Err(ImageError::Digest);
    }
    let walked = walked.into_iter().flatten().collect::<Option<Vec<_>>>();
    let (Some(plan), Some(walked)) = (plan, walked) else { return Err(ImageError::Bounds) };
    plan.verify(image, &walked, threads).ok_or(ImageError::Bounds)
}

/// What an image is made of, and in which ranges its nodes are looked at.
struct Plan {
    names: Region,
    nsec3_owners: Region,
    /// Those of the names, so many, then those of the owners of NSEC3 records.
    ranges: Vec<Range>,
    name_ranges: usize,
}

impl Plan {
    /// `None` where the header is wrong.
    fn read(image: &[u8]) -> Option<Plan> {
        check(u32_at(image, header::HEADER_LEN) as usize == HEADER_LEN)?;
        let apex_len = usize::from(image[header::APEX_LEN]);
        let apex = Name::from_wire(image.get(header::APEX..header::APEX + apex_len)?).ok()?;
        check(!apex.as_wire().iter().any(u8::is_ascii_uppercase))?;
        let names = Region::read(image, header::NODES_AT, header::NODES_END)?;
        let nsec3_owners = Region::read(image, header::NSEC3_NODES_AT, header::NSEC3_NODES_END)?;
        let hints = if image.len() < parallel::WORTH_THREADS { Vec::new() } else { hints(image)? };
        let mut ranges = names.split(&hints);
        let name_ranges = ranges.len();
        ranges.extend(nsec3_owners.split(&hints));
        let ranges = ranges.into_iter().map(|region| Range { region, apex_len }).collect();
        Some(Plan { names, nsec3_owners, ranges, name_ranges })
    }

    /// Every offset of the image, once the nodes have been walked over; `None` where one is wrong.
    fn verify(&self, image: &[u8], walked: &[Walked], threads: usize) -> Option<()> {
        let (of_names, of_nsec3_owners) = walked.split_at(self.name_ranges);
        let names = Starts::of(self.names, of_names);
        let nsec3_owners = Starts::of(self.nsec3_owners, of_nsec3_owners);
        check(names.count == u32_at(image, header::NODES))?;
        check(nsec3_owners.count == u32_at(image, header::NSEC3_NODES))?;
        // Whoever reads all records takes memory for so many.
        let records: u64 = walked.iter().map(|walked| walked.records).sum();
        check(records == u64::from(u32_at(image, header::RECORDS)))?;
        verify_buckets(image, &names, threads)?;
        let referring = parallel::each(walked.len(), threads, |index| {
            walked[index]
                .referring
                .iter()
                .all(|node| has_good_references(image, *node, &names, &nsec3_owners))
        });
        check(referring.into_iter().all(|good| good))?;
        self.verify_rest(image, &names, &nsec3_owners)
    }

    fn verify_rest(&self, image: &[u8], names: &Starts, nsec3_owners: &Starts) -> Option<()> {
        let apex_node = NodeRef(u32_at(image, header::APEX_NODE));
        check(names.has(apex_node))?;
        check(Node::new(image, apex_node).relative_name().is_empty())?;
        let part = NodeRef(u32_at(image, header::NEGATIVE_PART)).at();
        check(part >= HEADER_LEN)?;
        Part::verify(image, part, |node| names.has(node) || nsec3_owners.has(node))?;
        let nsec_count = u32_at(image, header::NSEC_COUNT) as usize;
        section(image, header::NSEC_KEYS_AT, 8 * nsec_count)?;
        for reference in section(image, header::NSEC_REFS_AT, 4 * nsec_count)?.chunks_exact(4) {
            check(names.has(NodeRef(u32_at(reference, 0))))?;
        }
        for entry in nsec3_chain(image)?.chunks_exact(NSEC3_ENTRY) {
            check(nsec3_owners.has(NodeRef(u32_at(entry, NSEC3_HASH))))?;
        }
        section(image, header::SALT_AT, usize::from(image[header::SALT_LEN]))?;
        check(u16_at(image, header::NSEC3_ITERATIONS) <= crate::build::ITERATIONS_MAX)
    }
}

/// Where nodes are said to start, sorted: places at which to part the regions, so that several threads can walk over
/// them. The walk over a range has to end exactly where the next one starts, so nothing is taken on trust.
fn hints(image: &[u8]) -> Option<Vec<usize>> {
    let buckets = buckets(image)?.as_chunks::<BUCKET_LEN>().0;
    let chain = nsec3_chain(image)?.as_chunks::<NSEC3_ENTRY>().0;
    let of_buckets = buckets.iter().step_by(buckets.len() / HINTS + 1);
    let of_chain = chain.iter().step_by(chain.len() / HINTS + 1);
    let mut hints: Vec<usize> = of_buckets
        .map(|bucket| u32_at(bucket, BUCKET_REFS))
        .chain(of_chain.map(|entry| u32_at(entry, NSEC3_HASH)))
        .map(|reference| NodeRef(reference).at())
        .collect();
    hints.sort_unstable();
    Some(hints)
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
    count: u32,
    bits: Vec<u64>,
}

impl Starts {
    /// Those of a region, all ranges of which have been walked over.
    fn of(region: Region, walked: &[Walked]) -> Starts {
        let mut bits = vec![0u64; (region.to - region.from) / STARTS_SPAN + 1];
        let mut count = 0;
        for walked in walked {
            count += walked.count;
            let offset = walked.from - region.from;
            // A range starts anywhere in the span of a word.
            let (first, shift) = (offset / STARTS_SPAN, offset / 4 % 64);
            for (index, word) in walked.bits.iter().enumerate() {
                bits[first + index] |= word << shift;
                let rest = word.checked_shr(64 - shift as u32).unwrap_or(0);
                if rest != 0 {
                    bits[first + index + 1] |= rest;
                }
            }
        }
        Starts { from: region.from, count, bits }
    }

    /// Without a branch, so that the words for many references, which are anywhere in a long list, are fetched at once.
    #[inline]
    fn has(&self, node: NodeRef) -> bool {
        let offset = node.at().wrapping_sub(self.from);
        let index = (offset / STARTS_SPAN).min(self.bits.len() - 1);
        let is_within = offset / STARTS_SPAN == index;
        is_within & (self.bits[index] >> (offset / 4 % 64) & 1 != 0)
    }
}

/// Where nodes are.
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

    /// The region in ranges that start at hints.
    fn split(self, hints: &[usize]) -> Vec<Region> {
        let mut ranges = Vec::new();
        let mut from = self.from;
        for hint in hints.iter().copied() {
            if hint >= from + RANGE_MIN && hint < self.to {
                ranges.push(Region { from, to: hint });
                from = hint;
            }
        }
        ranges.push(Region { from, to: self.to });
        ranges
    }
}

/// A part of a region, to be walked over.
struct Range {
    region: Region,
    apex_len: usize,
}

/// What the walk over a range has seen.
struct Walked {
    from: usize,
    count: u32,
    /// How many records the nodes own.
    records: u64,
    /// A bit for each place from there on where a node starts.
    bits: Vec<u64>,
    /// The nodes that refer to others.
    referring: Vec<NodeRef>,
}

impl Range {
    /// Checks the nodes; the last one has to end where the range does.
    fn walk(&self, image: &[u8]) -> Option<Walked> {
        let Region { from, to } = self.region;
        let bits = vec![0u64; (to - from) / STARTS_SPAN + 1];
        let mut walked = Walked { from, count: 0, records: 0, bits, referring: Vec::new() };
        let mut at = from;
        while at < to {
            let index = at - from;
            walked.bits[index / STARTS_SPAN] |= 1 << (index / 4 % 64);
            walked.count += 1;
            let (end, refers) = verify_node(image, at, to, self.apex_len)?;
            let node = NodeRef((at / 4) as u32);
            walked.records += u64::from(Node::new(image, node).record_count());
            if refers {
                walked.referring.push(node);
            }
            at = end;
        }
        (at == to).then_some(walked)
    }
}

/// Checks a node; where it ends, and whether it refers to other nodes.
fn verify_node(image: &[u8], at: usize, limit: usize, apex_len: usize) -> Option<(usize, bool)> {
    let fixed = image.get(at..at + NODE_FIXED)?;
    check(at + NODE_FIXED <= limit)?;
    let has_extra = NodeFlags(fixed[1]).has(NodeFlags::EXTRA);
    let name_at = at + NODE_FIXED + if has_extra { NODE_EXTRA } else { 0 };
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
    let mut refers = has_extra;
    for _ in 0..fixed[2] {
        let (end, set_refers) = Rrset::verify(image, next, limit, records_at(name.len(), apex_len))?;
        refers |= set_refers;
        next = end;
    }
    Some((next, refers))
}

/// Where the records of a node stand in the message that they are written for: behind the header and a question with
/// the node's own name.
fn records_at(relative_len: usize, apex_len: usize) -> usize {
    wire::message::HEADER_LEN + relative_len + apex_len + QUESTION_FIXED
}

fn buckets(image: &[u8]) -> Option<&[u8]> {
    let count = u32_at(image, header::BUCKETS) as usize;
    check(count > 0)?;
    section(image, header::BUCKETS_AT, BUCKET_LEN * count)
}

fn nsec3_chain(image: &[u8]) -> Option<&[u8]> {
    section(image, header::NSEC3_AT, NSEC3_ENTRY * u32_at(image, header::NSEC3_COUNT) as usize)
}

fn verify_buckets(image: &[u8], names: &Starts, threads: usize) -> Option<()> {
    let buckets = buckets(image)?.as_chunks::<BUCKET_LEN>().0;
    let each = buckets.len().div_ceil(threads).max(1);
    let good = parallel::each(buckets.len().div_ceil(each), threads, |index| {
        let range = &buckets[index * each..buckets.len().min((index + 1) * each)];
        range.iter().all(|bucket| has_good_slots(bucket, names))
    });
    check(good.into_iter().all(|good| good))
}

fn has_good_slots(bucket: &[u8; BUCKET_LEN], names: &Starts) -> bool {
    let mut good = true;
    for (slot, tag) in bucket[..BUCKET_SLOTS].iter().enumerate() {
        let node = NodeRef(u32_at(bucket, BUCKET_REFS + 4 * slot));
        // No node starts at reference 0, where the header is.
        let is_empty = *tag == 0;
        good &= (is_empty & node.is_none()) | (!is_empty & names.has(node));
    }
    good
}

/// The references from a node to others.
fn has_good_references(image: &[u8], node: NodeRef, names: &Starts, nsec3_owners: &Starts) -> bool {
    let node = Node::new(image, node);
    let denial = node.denial();
    let to_name = |link: Link<'_>| link.is_none() || names.has(link.to);
    let to_nsec3 = |link: Link<'_>| link.is_none() || nsec3_owners.has(link.to);
    to_name(denial.wildcard)
        && (to_name(denial.no_wildcard) || to_nsec3(denial.no_wildcard))
        && [denial.nsec3_match, denial.nsec3_encloser, denial.nsec3_cover].into_iter().all(to_nsec3)
        && node
            .all_rrsets()
            .all(|rrset| rrset.links().additional().all(|additional| names.has(additional.node.to)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{Builder, Fixups, NodeIndex, NodeSpec, RrsetSpec};
    use crate::format::{ImageFlags, RrsetFlags, SourceStamp};
    use wire::RecordType;

    /// So many names make an image that several threads look at.
    const NAMES: u32 = 200_000;

    fn large_image() -> Vec<u8> {
        let mut builder = Builder::new(Name::ROOT, 1, ImageFlags::NONE, NAMES as usize, 0);
        let fixups = Fixups::default();
        let mut set = RrsetSpec::one_address(&fixups);
        let plain = NodeSpec { relative: b"", flags: NodeFlags::NONE, denial: [NodeIndex::None; 5] };
        builder.name(&plain).unwrap();
        for i in 0..NAMES {
            let name = format!("\x07h{i:06}");
            // Every thousandth has a wildcard's reference, so that there are some to check.
            let mut spec = NodeSpec { relative: name.as_bytes(), ..plain };
            spec.denial[0] = if i % 1000 == 0 { NodeIndex::Name(i) } else { NodeIndex::None };
            builder.name(&spec).unwrap();
            builder.rrset(&set).unwrap();
        }
        set.rtype = RecordType::SOA;
        builder.negative_soa(&set).unwrap();
        let image = builder.finish(SourceStamp::default()).unwrap().image().to_vec();
        assert!(image.len() > parallel::WORTH_THREADS);
        assert!(Plan::read(&image).unwrap().ranges.len() > 4);
        image
    }

    /// What is said of the image with these octets changed, and a digest that fits.
    fn verdict(image: &mut [u8], at: usize, octets: &[u8]) -> Result<(), ImageError> {
        let before = image[at..at + octets.len()].to_vec();
        image[at..at + octets.len()].copy_from_slice(octets);
        let digest = digest::of(image, 2);
        image[header::DIGEST..header::DIGEST + 32].copy_from_slice(&digest);
        let verdict = verify(image);
        image[at..at + octets.len()].copy_from_slice(&before);
        verdict
    }

    #[test]
    fn a_large_image_is_looked_at_as_a_whole() {
        let mut image = large_image();
        assert_eq!(verdict(&mut image, header::SERIAL, &[2]), Ok(()));
        let plan = Plan::read(&image).unwrap();
        let starts: Vec<usize> = plan.ranges.iter().map(|range| range.region.from).collect();
        let buckets_at = u64_at(&image, header::BUCKETS_AT) as usize;
        let buckets = u32_at(&image, header::BUCKETS) as usize;
        for range in [1, starts.len() / 2, starts.len() - 2] {
            let node = starts[range];
            // The name's length, a label's length, the place of the sets, and their number.
            for (field, octet) in [(0, 255), (4, 64), (3, 250), (2, 9)] {
                let said = verdict(&mut image, node + field, &[octet]);
                assert_eq!(said, Err(ImageError::Bounds), "octet {field} of the node at {node}");
            }
            // What no file has.
            for flags in [RrsetFlags::STEERED, RrsetFlags::STEERED.with(RrsetFlags::GLUE)] {
                let said = verdict(&mut image, node + 12 + 7, &[flags.0]);
                assert_eq!(said, Err(ImageError::Bounds), "{flags:?} of the set of the node at {node}");
            }
            // The data's length in the record, and that of the set.
            for field in [12 + 4, 12 + 8 + 11] {
                let said = verdict(&mut image, node + field, &[200]);
                assert_eq!(said, Err(ImageError::Bounds), "octet {field} of the node at {node}");
            }
        }
        // With 64 more it is behind the last node, at the same place in the span of a word of starts.
        let last = (0..buckets)
            .flat_map(|bucket| (0..BUCKET_SLOTS).map(move |slot| BUCKET_LEN * bucket + 4 * slot))
            .map(|offset| u32_at(&image, buckets_at + BUCKET_REFS + offset))
            .max()
            .unwrap();
        for bucket in [0, buckets / 2, buckets - 1] {
            let at = buckets_at + BUCKET_LEN * bucket;
            let slot = image[at..at + BUCKET_SLOTS].iter().rposition(|tag| *tag != 0).unwrap();
            let reference = at + BUCKET_REFS + 4 * slot;
            let node = u32_at(&image, reference);
            for wrong in [0, 1, node - 1, node + 1, last + 64, u32::MAX] {
                let said = verdict(&mut image, reference, &wrong.to_le_bytes());
                assert_eq!(said, Err(ImageError::Bounds), "bucket {bucket}: {wrong}");
            }
        }
        let records = u32_at(&image, header::RECORDS);
        for wrong in [0, records - 1, records + 1, u32::MAX] {
            let said = verdict(&mut image, header::RECORDS, &wrong.to_le_bytes());
            assert_eq!(said, Err(ImageError::Bounds), "{wrong} records");
        }
        let nodes = u32_at(&image, header::NODES);
        for wrong in [nodes - 1, nodes + 1] {
            let said = verdict(&mut image, header::NODES, &wrong.to_le_bytes());
            assert_eq!(said, Err(ImageError::Bounds));
        }
        let end = u64_at(&image, header::NODES_END);
        for wrong in [end - 4, end + 4, 0, u64::MAX] {
            let said = verdict(&mut image, header::NODES_END, &wrong.to_le_bytes());
            assert_eq!(said, Err(ImageError::Bounds), "nodes end at {wrong} in place of {end}");
        }
    }

    #[test]
    fn references_are_looked_at_in_every_range() {
        let mut image = large_image();
        let plan = Plan::read(&image).unwrap();
        let walked: Vec<Walked> = plan.ranges.iter().map(|range| range.walk(&image).unwrap()).collect();
        let referring: Vec<NodeRef> = walked.iter().flat_map(|walked| walked.referring.clone()).collect();
        assert_eq!(referring.len() as u32, NAMES / 1000);
        for node in [referring[0], referring[referring.len() / 2], referring[referring.len() - 1]] {
            let wildcard = node.at() + NODE_FIXED;
            let target = u32_at(&image, wildcard);
            let said = verdict(&mut image, wildcard, &(target + 2).to_le_bytes());
            assert_eq!(said, Err(ImageError::Bounds), "the node at {}", node.at());
        }
    }

    #[test]
    fn a_changed_octet_of_a_large_image_is_seen() {
        let mut image = large_image();
        for at in [DIGEST_FROM, image.len() / 3, image.len() / 2, image.len() - 1] {
            image[at] ^= 1;
            assert_eq!(verify(&image), Err(ImageError::Digest), "octet {at}");
            image[at] ^= 1;
        }
        assert_eq!(verify(&image), Ok(()));
    }
}
