//! The authority section of a negative answer right below the apex, made whole when the table is built.
//!
//! Most names that don't exist would stand right below the apex, and what their denials have in common is always the
//! same: the SOA record, and the proof that the apex has neither the name's closest encloser elsewhere nor a wildcard.
//!
//! ```text
//! three extents, each from the start: u16 octets · u16 records · u16 apex fix-ups
//!               the SOA record; the same with its signatures; the same with the proofs
//! u16 inner fix-ups
//! two references to the nodes whose records are the proofs; the first is none where there are no proofs
//! the octets
//! the fix-ups, u16 each: where a compression pointer to the apex stands, by ascending place; then where one stands that
//! leads into the part itself. These have the offset from its start, and are in the proofs only
//! ```

use crate::format::{NodeRef, u16_at, u32_at};
use crate::node::{Node, Rrset};
use wire::RecordType;
use wire::message::POINTER;

const EXTENT_LEN: usize = 6;
const INNER_COUNT_AT: usize = 3 * EXTENT_LEN;
const REFS_AT: usize = 20;
const PROOFS: usize = 2;
const OCTETS_AT: usize = REFS_AT + 4 * PROOFS;
/// The longest part: what no response over UDP has room for is put together from its records.
const PART_MAX: usize = 4096;

const _: () = assert!(INNER_COUNT_AT + 2 == REFS_AT);

/// How much of a part an answer needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// The SOA record.
    Soa = 0,
    /// With its signatures.
    SignedSoa = 1,
    /// And the proofs.
    Proofs = 2,
}

/// A piece of an authority section.
#[derive(Clone, Copy)]
pub struct Part<'t> {
    /// The records, but for their pointers.
    pub octets: &'t [u8],
    /// How many records.
    pub records: u16,
    apex_pointers: &'t [[u8; 2]],
    inner_pointers: &'t [[u8; 2]],
}

/// Where the octets and pointers of an extent are: read once, when a table is taken into use.
#[derive(Clone, Copy, Default)]
pub(crate) struct PartPlace {
    octets: (usize, usize),
    records: u16,
    apex_pointers: (usize, usize),
    inner_pointers: (usize, usize),
}

/// The places of all extents, and the nodes whose records the proofs are.
#[derive(Clone, Copy, Default)]
pub(crate) struct PartPlaces {
    extents: [PartPlace; 3],
    pub(crate) proofs: [NodeRef; PROOFS],
}

impl PartPlaces {
    /// Of the part at `at`.
    pub(crate) fn read(image: &[u8], at: usize) -> PartPlaces {
        PartPlaces {
            extents: [Extent::Soa, Extent::SignedSoa, Extent::Proofs]
                .map(|extent| PartPlace::read(image, at, extent)),
            proofs: Part::proofs(image, at),
        }
    }

    #[inline]
    pub(crate) fn part<'t>(&self, image: &'t [u8], extent: Extent) -> Part<'t> {
        self.extents[extent as usize].part(image)
    }
}

impl PartPlace {
    fn read(image: &[u8], at: usize, extent: Extent) -> PartPlace {
        let number =
            |extent: Extent, i: usize| usize::from(u16_at(image, at + EXTENT_LEN * extent as usize + 2 * i));
        let octets_at = at + OCTETS_AT;
        let apex_at = octets_at + number(Extent::Proofs, 0);
        let inner_at = apex_at + 2 * number(Extent::Proofs, 2);
        let inner_count = match extent {
            Extent::Proofs => usize::from(u16_at(image, at + INNER_COUNT_AT)),
            Extent::Soa | Extent::SignedSoa => 0,
        };
        PartPlace {
            octets: (octets_at, octets_at + number(extent, 0)),
            records: number(extent, 1) as u16,
            apex_pointers: (apex_at, apex_at + 2 * number(extent, 2)),
            inner_pointers: (inner_at, inner_at + 2 * inner_count),
        }
    }

    #[inline]
    fn part(self, image: &[u8]) -> Part<'_> {
        let octets = |(from, to): (usize, usize)| &image[from..to];
        Part {
            octets: octets(self.octets),
            records: self.records,
            apex_pointers: octets(self.apex_pointers).as_chunks().0,
            inner_pointers: octets(self.inner_pointers).as_chunks().0,
        }
    }
}

impl<'t> Part<'t> {
    fn read(image: &'t [u8], at: usize, extent: Extent) -> Part<'t> {
        PartPlace::read(image, at, extent).part(image)
    }

    /// The nodes whose records the proofs are; the first is none where there are no proofs.
    pub(crate) fn proofs(image: &[u8], at: usize) -> [NodeRef; PROOFS] {
        [0, 1].map(|i| NodeRef(u32_at(image, at + REFS_AT + 4 * i)))
    }

    /// Where in the part pointers to the apex stand.
    #[inline]
    pub fn apex_pointers(self) -> impl Iterator<Item = usize> + 't {
        self.apex_pointers.iter().map(|at| usize::from(u16::from_le_bytes(*at)))
    }

    /// Where in the part pointers stand that lead into it, with the offset from its start.
    #[inline]
    pub fn inner_pointers(self) -> impl Iterator<Item = usize> + 't {
        self.inner_pointers.iter().map(|at| usize::from(u16::from_le_bytes(*at)))
    }

    /// Checks the part at `at`; `is_node` tells whether a reference is that of a node. `None` where something is wrong.
    pub(crate) fn verify(image: &[u8], at: usize, is_node: impl Fn(NodeRef) -> bool) -> Option<()> {
        let fixed = image.get(at..at.checked_add(OCTETS_AT)?)?;
        let number = |extent: usize, i: usize| usize::from(u16_at(fixed, EXTENT_LEN * extent + 2 * i));
        let fixups = number(2, 2) + usize::from(u16_at(fixed, INNER_COUNT_AT));
        let sorted = (0..3).all(|i| number(0, i) <= number(1, i) && number(1, i) <= number(2, i));
        if at + OCTETS_AT + number(2, 0) + 2 * fixups > image.len() || number(2, 0) > PART_MAX || !sorted {
            return None;
        }
        for extent in [Extent::Soa, Extent::SignedSoa, Extent::Proofs] {
            let part = Part::read(image, at, extent);
            let places = part.apex_pointers().all(|at| part.pointer(at).is_some())
                && part.inner_pointers().all(|at| part.pointer(at).is_some_and(|target| target < at));
            if !places || count_records(part)? != part.records {
                return None;
            }
        }
        let [first, second] = Part::proofs(image, at);
        let known = |node: NodeRef| node.is_none() || is_node(node);
        (known(first) && known(second)).then_some(())
    }

    /// Where the pointer leads that stands at `at`; `None` where none stands there.
    fn pointer(self, at: usize) -> Option<usize> {
        let octets = self.octets.get(at..at + 2)?;
        let pointer = u16::from_be_bytes([octets[0], octets[1]]);
        (pointer >= POINTER).then_some(usize::from(pointer & !POINTER))
    }
}

/// How many records fill the part exactly.
fn count_records(part: Part<'_>) -> Option<u16> {
    let octets = part.octets;
    let (mut at, mut count) = (0, 0);
    while at < octets.len() {
        loop {
            match *octets.get(at)? {
                0 => break at += 1,
                0xc0.. => break at += 2,
                len => at += 1 + usize::from(len),
            }
        }
        let head = octets.get(at..at + 10)?;
        at += 10 + usize::from(u16::from_be_bytes([head[8], head[9]]));
        count += 1;
    }
    (at == octets.len()).then_some(count)
}

/// The SOA record of negative answers, as the builder was given it.
#[derive(Clone, Default)]
pub(crate) struct NegativeSoa {
    pub(crate) records: Vec<u8>,
    pub(crate) signatures: Vec<u8>,
    pub(crate) signature_count: u16,
    /// Where in the record pointers to the apex stand.
    pub(crate) apex_pointers: Vec<u16>,
}

/// Makes a part.
#[derive(Default)]
struct Draft {
    octets: Vec<u8>,
    records: u16,
    apex_pointers: Vec<u16>,
    inner_pointers: Vec<u16>,
    extents: Vec<u8>,
    root: bool,
}

/// The part for a zone: `proofs` are the nodes that deny a wildcard right below the apex, with their NSEC or NSEC3
/// records. `None` where a field of the format is too small for it.
pub(crate) fn draft(
    image: &[u8],
    root: bool,
    soa: &NegativeSoa,
    rtype: RecordType,
    proofs: [NodeRef; PROOFS],
) -> Option<Vec<u8>> {
    let mut draft = Draft { root, ..Draft::default() };
    draft.soa(soa);
    draft.end_extent()?;
    draft.records(&soa.signatures, soa.signature_count, Draft::apex);
    draft.end_extent()?;
    let signed_soa = (draft.octets.len(), draft.records, draft.apex_pointers.len());
    let all = proofs.iter().filter(|node| !node.is_none()).all(|node| {
        let node = Node::new(image, *node);
        node.rrset(rtype).is_some_and(|rrset| draft.proof(node, rrset))
    });
    let mut given = proofs;
    if !all || draft.octets.len() > PART_MAX {
        given = [NodeRef::NONE; PROOFS];
        draft.octets.truncate(signed_soa.0);
        draft.records = signed_soa.1;
        draft.apex_pointers.truncate(signed_soa.2);
        draft.inner_pointers.clear();
    }
    draft.end_extent()?;
    let mut part = draft.extents;
    part.extend((draft.inner_pointers.len() as u16).to_le_bytes());
    part.extend(given.iter().flat_map(|node| node.0.to_le_bytes()));
    part.extend_from_slice(&draft.octets);
    let pointers = draft.apex_pointers.iter().chain(&draft.inner_pointers);
    part.extend(pointers.flat_map(|at| at.to_le_bytes()));
    Some(part)
}

impl Draft {
    fn end_extent(&mut self) -> Option<()> {
        let octets = u16::try_from(self.octets.len()).ok().filter(|len| usize::from(*len) <= PART_MAX)?;
        for number in [octets, self.records, self.apex_pointers.len() as u16] {
            self.extents.extend(number.to_le_bytes());
        }
        Some(())
    }

    /// The apex as an owner: the root takes one octet, every other a pointer.
    fn apex(&mut self) {
        if self.root {
            self.octets.push(0);
        } else {
            self.apex_pointers.push(self.octets.len() as u16);
            self.octets.extend(POINTER.to_be_bytes());
        }
    }

    fn soa(&mut self, soa: &NegativeSoa) {
        self.apex();
        self.octets.extend_from_slice(&soa.records[2..]);
        // Where the root is the apex nothing points to it.
        for at in &soa.apex_pointers {
            self.apex_pointers.push(*at);
            let at = usize::from(*at);
            self.octets[at..at + 2].copy_from_slice(&POINTER.to_be_bytes());
        }
        self.records += 1;
    }

    /// Appends records of the form that sets have in an image, each with an owner that `owner` writes.
    fn records(&mut self, records: &[u8], count: u16, owner: impl Fn(&mut Draft)) {
        let mut rest = records;
        while let Some(head) = rest.first_chunk::<12>() {
            let (record, after) = rest.split_at(12 + usize::from(u16::from_be_bytes([head[10], head[11]])));
            owner(self);
            self.octets.extend_from_slice(&record[2..]);
            rest = after;
        }
        self.records += count;
    }

    /// Appends a record of denial with its signatures; its owner is written once.
    fn proof(&mut self, node: Node<'_>, rrset: Rrset<'_>) -> bool {
        let owner_at = self.octets.len() as u16;
        if node.relative_len() == 0 {
            self.records(rrset.records(), rrset.count(), Draft::apex);
            self.records(rrset.signatures(), rrset.signature_count(), Draft::apex);
            return true;
        }
        if rrset.count() != 1 || self.octets.len() > PART_MAX {
            return false;
        }
        let relative = node.relative_name();
        self.octets.extend_from_slice(relative);
        self.records(rrset.records(), 1, Draft::apex);
        self.records(rrset.signatures(), rrset.signature_count(), |draft| {
            draft.inner_pointers.push(draft.octets.len() as u16);
            draft.octets.extend((POINTER | owner_at).to_be_bytes());
        });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOA: &[u8] = b"\xc0\x0c\x00\x06\x00\x01\x00\x00\x00\x3c\x00\x18\xc0\x0c\xc0\x0c\
        \x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x03\x00\x00\x00\x04\x00\x00\x00\x05";
    const SIGNATURE: &[u8] = b"\xc0\x0c\x00\x2e\x00\x01\x00\x00\x00\x3c\x00\x02\x01\x02";

    fn soa() -> NegativeSoa {
        NegativeSoa {
            records: SOA.to_vec(),
            signatures: SIGNATURE.to_vec(),
            signature_count: 1,
            apex_pointers: vec![12, 14],
        }
    }

    /// A part with a proof whose owner is `a` below the apex.
    fn part() -> Vec<u8> {
        let set = b"\x2f\0\x01\0\x0e\0\x0e\x01\x01\0\x0e\0\xc0\x0c\0\x2f\0\x01\0\0\0\x3c\0\x02\0\0";
        let node = [b"\0\0\0\0\x02\0\x01\x02\x01a\0\0", &set[..], SIGNATURE].concat();
        draft(&node, false, &soa(), RecordType::NSEC, [NodeRef(1), NodeRef::NONE]).unwrap()
    }

    #[test]
    fn has_the_records_with_their_pointers_listed() {
        let image = part();
        assert_eq!(Part::verify(&image, 0, |node| node == NodeRef(1)), Some(()));
        assert_eq!(Part::proofs(&image, 0), [NodeRef(1), NodeRef::NONE]);
        let read = |extent| Part::read(&image, 0, extent);
        let (soa, signed, all) = (read(Extent::Soa), read(Extent::SignedSoa), read(Extent::Proofs));
        assert_eq!([soa.records, signed.records, all.records], [1, 2, 4]);
        assert_eq!([soa.octets.len(), signed.octets.len()], [SOA.len(), SOA.len() + SIGNATURE.len()]);
        assert_eq!(soa.apex_pointers().collect::<Vec<_>>(), [0, 12, 14]);
        // The owner of the proof: a label, and the apex. Its signature points to that.
        let owner = signed.octets.len();
        assert_eq!(all.octets[owner..owner + 4], *b"\x01a\xc0\x00");
        assert_eq!(all.apex_pointers().last(), Some(owner + 2));
        let inner: Vec<usize> = all.inner_pointers().collect();
        assert_eq!((inner.len(), soa.inner_pointers().count()), (1, 0));
        assert_eq!(all.pointer(inner[0]), Some(owner));
    }

    #[test]
    fn below_the_root_owners_have_no_pointers_to_it() {
        let mut soa = soa();
        soa.apex_pointers.clear();
        soa.records[12..14].copy_from_slice(&[0, 0]);
        let image = draft(&[], true, &soa, RecordType::NSEC, [NodeRef::NONE; 2]).unwrap();
        let part = Part::read(&image, 0, Extent::Proofs);
        assert_eq!((part.records, part.apex_pointers().count()), (2, 0));
        assert_eq!(part.octets[..3], [0, 0, 6]);
    }

    #[test]
    fn is_refused_where_any_number_is_too_large() {
        let image = part();
        for at in (0..OCTETS_AT).chain(image.len() - 10..image.len()).step_by(2) {
            let mut broken = image.clone();
            broken[at..at + 2].copy_from_slice(&[0xff, 0xff]);
            assert_eq!(Part::verify(&broken, 0, |node| node == NodeRef(1)), None, "octet {at}");
        }
        for len in 0..image.len() {
            assert_eq!(Part::verify(&image[..len], 0, |_| true), None, "{len} octets");
        }
        assert_eq!(Part::verify(&image, usize::MAX - 4, |_| true), None);
        assert_eq!(Part::verify(&image, 0, |_| false), None);
    }

    #[test]
    fn is_refused_where_a_pointer_does_not_lead_backwards() {
        let image = part();
        let at = Part::read(&image, 0, Extent::Proofs).inner_pointers().next().unwrap();
        for target in [at, at + 2, 0x3fff] {
            let mut broken = image.clone();
            let pointer = (POINTER | target as u16).to_be_bytes();
            broken[OCTETS_AT + at..OCTETS_AT + at + 2].copy_from_slice(&pointer);
            assert_eq!(Part::verify(&broken, 0, |_| true), None, "to {target}");
        }
    }
}
