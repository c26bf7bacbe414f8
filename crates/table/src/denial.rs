//! Which NSEC or NSEC3 record covers a name that doesn't exist.

use crate::format::{NSEC3_ENTRY, NSEC3_HASH, NodeRef, header, sort_prefix, u16_at, u32_at, u64_at};
use crate::node::Node;
use crate::overlay::Overlaid;
use crate::table::Table;
use sha1::{Digest, Sha1};
use std::cmp::Ordering;
use wire::{FoldedName, Name};

/// The hash of a name as NSEC3 has it (RFC 5155 §5).
pub type Nsec3Hash = [u8; NSEC3_HASH];

/// What stands at or right before a hash in the NSEC3 chain.
#[derive(Clone, Copy)]
pub enum Nsec3Place<'t> {
    /// A record with this very hash: the name exists.
    Match(Node<'t>),
    /// The record that covers the hash.
    Cover(Node<'t>),
}

/// Hashes a lower-case name in wire form: SHA-1, `iterations` times more than once (RFC 5155 §5).
pub fn nsec3_hash(name: &[u8], salt: &[u8], iterations: u16) -> Nsec3Hash {
    let mut hash: Nsec3Hash = Sha1::new().chain_update(name).chain_update(salt).finalize().into();
    for _ in 0..iterations {
        hash = Sha1::new().chain_update(hash).chain_update(salt).finalize().into();
    }
    hash
}

impl Table {
    /// The node whose NSEC record covers this name, or owns it: the last owner of an NSEC record that is not
    /// after the name in canonical order. `None` in a zone without an NSEC chain.
    pub fn nsec_cover(&self, name: &FoldedName) -> Option<Node<'_>> {
        match &self.overlaid {
            None => self.nsec_cover_here(name, |_| false),
            Some(overlaid) => self.nsec_cover_over(overlaid, name),
        }
    }

    #[inline(never)]
    fn nsec_cover_over<'t>(&'t self, overlaid: &'t Overlaid, name: &FoldedName) -> Option<Node<'t>> {
        let here = self.nsec_cover_here(name, |_| false);
        let there = overlaid.base.nsec_cover_here(name, |node| overlaid.moved_to(node).is_some());
        match (here, there) {
            (Some(one), Some(other)) => {
                let order = relative_cmp(one.relative_name(), other.relative_name());
                Some(if order == Ordering::Less { other } else { one })
            }
            (one, other) => one.or(other),
        }
    }

    /// As [`Table::nsec_cover`], in this image alone, and passing over the nodes for which `except` holds.
    #[inline(always)]
    pub fn nsec_cover_here(&self, name: &FoldedName, except: impl Fn(NodeRef) -> bool) -> Option<Node<'_>> {
        let image = self.image();
        let count = u32_at(image, header::NSEC_COUNT) as usize;
        let keys_at = u64_at(image, header::NSEC_KEYS_AT) as usize;
        let refs_at = u64_at(image, header::NSEC_REFS_AT) as usize;
        let keys = image.get(keys_at..keys_at + 8 * count)?;
        let refs = image.get(refs_at..refs_at + 4 * count)?;
        let key = sort_key(name, self.apex_labels());
        let keys = keys.as_chunks::<8>().0;
        let mut end = partition(keys, |entry| entry < key);
        if keys.get(end).is_some_and(|entry| u64::from_le_bytes(*entry) == key) {
            // Equal keys are decided by the whole names.
            let relative = name.slice(0, name.label_start(name.label_count() - self.apex_labels()));
            let equal = partition(&keys[end..], |entry| entry == key);
            let equal = refs.as_chunks::<4>().0.get(end..end + equal)?;
            end += equal.partition_point(|node| {
                let node = Node::new(image, NodeRef(u32::from_le_bytes(*node)));
                relative_cmp(node.relative_name(), relative) != Ordering::Greater
            });
        }
        let mut before = refs.as_chunks::<4>().0[..end].iter().rev().map(|node| u32::from_le_bytes(*node));
        before.find(|node| !except(NodeRef(*node))).map(|node| Node::new(image, NodeRef(node)))
    }

    /// Where the part of the name from label `from` on stands in the NSEC3 chain; `None` in a zone without one.
    pub fn nsec3_place(&self, name: &FoldedName, from: usize) -> Option<Nsec3Place<'_>> {
        let image = self.image();
        let salt_at = u64_at(image, header::SALT_AT) as usize;
        let salt = image.get(salt_at..salt_at + usize::from(image[header::SALT_LEN]))?;
        let wire = name.as_wire();
        let hash = nsec3_hash(&wire[name.label_start(from)..], salt, u16_at(image, header::NSEC3_ITERATIONS));
        if self.overlaid.is_some() {
            let (found, node) = self.nsec3_at_or_before(&hash, |_| false)?;
            return Some(if found == hash { Nsec3Place::Match(node) } else { Nsec3Place::Cover(node) });
        }
        nsec3_search(image, &hash)
    }

    /// The hash in the NSEC3 chain that is this one or the last before it, going around from the first to the last, and its
    /// record's owner. Passes over nodes of a whole zone's image for which `except` holds.
    #[inline(never)]
    pub fn nsec3_at_or_before(
        &self,
        hash: &Nsec3Hash,
        except: impl Fn(NodeRef) -> bool,
    ) -> Option<(Nsec3Hash, Node<'_>)> {
        let Some(overlaid) = &self.overlaid else { return nsec3_before(self.image(), hash, except) };
        let here = nsec3_before(self.image(), hash, |_| false);
        let there = nsec3_before(overlaid.base.image(), hash, |node| overlaid.moved_to(node).is_some());
        // Nearest is the highest that is not beyond it; where there is none, the highest of all.
        here.into_iter().chain(there).max_by_key(|(found, _)| (found <= hash, *found))
    }

    /// Whether all NSEC3 records in this very image are of the chain that denies.
    pub fn has_one_nsec3_chain(&self) -> bool {
        let number = |at: usize| u32_at(self.image(), at);
        number(header::NSEC3_NODES) == number(header::NSEC3_COUNT)
    }

    /// The parameters of the NSEC3 chain: iterations and salt.
    pub fn nsec3_parameters(&self) -> (u16, &[u8]) {
        let image = self.image();
        let salt_at = u64_at(image, header::SALT_AT) as usize;
        let salt = image.get(salt_at..salt_at + usize::from(image[header::SALT_LEN]));
        (u16_at(image, header::NSEC3_ITERATIONS), salt.unwrap_or_default())
    }
}

/// As [`Table::nsec3_at_or_before`], in one image.
fn nsec3_before<'t>(
    image: &'t [u8],
    hash: &Nsec3Hash,
    except: impl Fn(NodeRef) -> bool,
) -> Option<(Nsec3Hash, Node<'t>)> {
    let count = u32_at(image, header::NSEC3_COUNT) as usize;
    let at = u64_at(image, header::NSEC3_AT) as usize;
    let entries = image.get(at..at + NSEC3_ENTRY * count)?.as_chunks::<NSEC3_ENTRY>().0;
    let end = entries.partition_point(|entry| entry[..NSEC3_HASH] <= hash[..]);
    let backwards = entries[..end].iter().rev().chain(entries[end..].iter().rev());
    let mut left = backwards.map(|entry| (entry, NodeRef(u32_at(entry, NSEC3_HASH))));
    let (entry, node) = left.find(|(_, node)| !except(*node))?;
    let mut found = Nsec3Hash::default();
    found.copy_from_slice(&entry[..NSEC3_HASH]);
    Some((found, Node::new(image, node)))
}

/// How many of the keys, which are sorted, come before the first that is not `below`.
#[inline]
fn partition(keys: &[[u8; 8]], below: impl Fn(u64) -> bool) -> usize {
    let (mut start, mut len) = (0, keys.len());
    // No branch depends on the keys, so none is predicted wrongly.
    while len > 0 {
        let half = len / 2;
        let is_below = keys.get(start + half).is_some_and(|entry| below(u64::from_le_bytes(*entry)));
        start = if is_below { start + half + 1 } else { start };
        len = if is_below { len - half - 1 } else { half };
    }
    start
}

/// The first eight octets of the [`sort_prefix`] of a name, which is below an apex of so many labels.
#[inline]
fn sort_key(name: &FoldedName, apex_labels: usize) -> u64 {
    let labels = name.label_count() - apex_labels;
    let end = name.label_start(labels);
    let start = name.label_start(labels.saturating_sub(1));
    // Nearly every label is of octets that stand for themselves; if the last one fills the key, or is the only one, it
    // is the key, with zeros behind it.
    let len = (end - start).saturating_sub(1);
    if labels == 1 || len >= 8 {
        let spare_bits = 8 * 8usize.saturating_sub(len) as u32;
        let word = name.word(start + 1) & u64::MAX.checked_shr(spare_bits).unwrap_or(0);
        // As octets: with the bits behind the label set, is any below 2?
        let filled = word | !u64::MAX.checked_shr(spare_bits).unwrap_or(0);
        if filled.wrapping_sub(0x0202_0202_0202_0202) & !filled & 0x8080_8080_8080_8080 == 0 {
            return word.swap_bytes();
        }
    }
    (sort_prefix(name.slice(0, end)) >> 64) as u64
}

/// Looks a hash up in the sorted chain. Hashes are evenly spread, so the place to start is computed from the
/// first 32 bits and the search widens from there.
fn nsec3_search<'t>(image: &'t [u8], hash: &Nsec3Hash) -> Option<Nsec3Place<'t>> {
    let count = u32_at(image, header::NSEC3_COUNT) as usize;
    let at = u64_at(image, header::NSEC3_AT) as usize;
    let entries = image.get(at..at + NSEC3_ENTRY * count)?;
    if count == 0 {
        return None;
    }
    let entry = |i: usize| &entries[NSEC3_ENTRY * i..NSEC3_ENTRY * i + NSEC3_HASH];
    let top = u64::from(u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]));
    let guess = ((top * count as u64) >> 32) as usize;
    let (mut low, mut high, mut step) = (guess, guess + 1, 4);
    // Now widen until entry(low) <= hash < entry(high), with the ends of the array as limits.
    while low > 0 && entry(low) > &hash[..] {
        high = low;
        low = low.saturating_sub(step);
        step *= 4;
    }
    step = 4;
    while high < count && entry(high) <= &hash[..] {
        low = high;
        high = (high + step).min(count);
        step *= 4;
    }
    while high - low > 1 {
        let middle = usize::midpoint(low, high);
        if entry(middle) <= &hash[..] { low = middle } else { high = middle }
    }
    let node = |i: usize| Node::new(image, NodeRef(u32_at(entries, NSEC3_ENTRY * i + NSEC3_HASH)));
    Some(match entry(low).cmp(&hash[..]) {
        Ordering::Equal => Nsec3Place::Match(node(low)),
        Ordering::Less => Nsec3Place::Cover(node(low)),
        // Before the first hash: the last record's range wraps around (RFC 5155 §3.1.7).
        Ordering::Greater => Nsec3Place::Cover(node(count - 1)),
    })
}

/// Canonical order of two names relative to one apex, both without the root's octet.
pub(crate) fn relative_cmp(a: &[u8], b: &[u8]) -> Ordering {
    let terminated = |relative: &[u8], buffer: &mut [u8; 256]| {
        let len = relative.len().min(254);
        buffer[..len].copy_from_slice(&relative[..len]);
        len + 1
    };
    let (mut left, mut right) = ([0; 256], [0; 256]);
    let (left_len, right_len) = (terminated(a, &mut left), terminated(b, &mut right));
    match (Name::from_wire(&left[..left_len]), Name::from_wire(&right[..right_len])) {
        (Ok(left), Ok(right)) => left.canonical_cmp(right),
        _ => a.cmp(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::NameBuf;

    #[test]
    fn the_short_way_to_a_sort_key_gives_the_same_key() {
        let mut folded = FoldedName::default();
        for text in [
            "a.",
            "abcdefg.",
            "abcdefgh.",
            "abcdefghi.",
            "b.a.",
            "b.abcdefgh.",
            "b.abcdefghi.",
            "\\000.",
            "a\\001.",
            "abcdefg\\001.",
            "abcdefgh\\001.",
            "\\255\\002\\128.",
            "x.\\000bcdefgh.",
            "*.",
            ".",
        ] {
            let name = NameBuf::from_text(text.as_bytes(), None).unwrap();
            // What an earlier name left behind the end of this one must not show.
            folded.set(NameBuf::from_text(&b"\\000\\001".repeat(20), Some(Name::ROOT)).unwrap().as_name());
            folded.set(name.as_name());
            let relative = &name.as_name().as_wire()[..name.as_name().len() - 1];
            assert_eq!(sort_key(&folded, 0), (sort_prefix(relative) >> 64) as u64, "{text}");
        }
    }

    #[test]
    fn a_partition_is_found_wherever_it_is() {
        let keys: Vec<[u8; 8]> = (0..20u64).map(|key| (2 * key).to_le_bytes()).collect();
        for len in 0..keys.len() {
            for key in 0..42 {
                let expected = (0..len as u64).filter(|entry| 2 * entry < key).count();
                assert_eq!(partition(&keys[..len], |entry| entry < key), expected);
            }
        }
    }
}
