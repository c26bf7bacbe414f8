//! Proofs of non-existence that are known before any query (RFC 4035 §3.1.3, RFC 5155 §7.2).

use super::plan::{NONE, Plan, PlannedNode};
use crate::rdata::encoding::decode_base32hex;
use crate::records::Zone;
use std::cmp::Ordering;
use std::collections::HashSet;
use table::denial::{Nsec3Hash, nsec3_hash};
use table::{ITERATIONS_MAX, ImageFlags, NodeFlags, NodeIndex, NodeRef, Table};
use wire::{FoldedName, Name, NameBuf, RecordType};

/// SHA-1, the only hash algorithm of NSEC3 (RFC 5155 §11).
const SHA1: u8 = 1;

/// The NSEC3 chain that NSEC3PARAM at the apex names.
pub(super) struct Nsec3Chain {
    parameters: Option<(u16, Vec<u8>)>,
    /// By position among the NSEC3 owners: the hash, where the owner belongs to this chain.
    hashes: Vec<Option<Nsec3Hash>>,
    /// Hash and position, sorted.
    sorted: Vec<(Nsec3Hash, u32)>,
}

impl Nsec3Chain {
    pub(super) fn new(zone: &Zone, plan: &Plan) -> Nsec3Chain {
        let parameters = parameters_of(zone);
        let hashes: Vec<Option<Nsec3Hash>> = plan
            .nsec3_owners
            .iter()
            .map(|owner| {
                let (iterations, salt) = parameters.as_ref()?;
                let owner = zone.owner(*owner as usize);
                let rrset = owner.rrset(RecordType::NSEC3)?;
                let belongs = rrset.rdatas().any(|rdata| {
                    let same_salt =
                        rdata.get(5..5 + salt.len()) == Some(salt) && rdata[4] == salt.len() as u8;
                    same_salt && rdata[0] == SHA1 && rdata[2..4] == iterations.to_be_bytes()
                });
                belongs.then(|| owner.name().labels().next().and_then(hash_of_label)).flatten()
            })
            .collect();
        let mut sorted: Vec<(Nsec3Hash, u32)> = hashes
            .iter()
            .enumerate()
            .filter_map(|(position, hash)| hash.map(|hash| (hash, position as u32)))
            .collect();
        sorted.sort_unstable();
        Nsec3Chain { parameters, hashes, sorted }
    }

    /// Whether negative answers can be proved with it.
    pub(super) fn is_usable(&self) -> bool {
        self.parameters.is_some() && !self.sorted.is_empty()
    }

    pub(super) fn parameters(&self) -> Option<(u16, &[u8])> {
        self.parameters.as_ref().map(|(iterations, salt)| (*iterations, salt.as_slice()))
    }

    pub(super) fn hash_of_owner(&self, position: usize) -> Option<Nsec3Hash> {
        self.hashes.get(position).copied().flatten()
    }

    pub(super) fn hash(&self, name: &[u8]) -> Nsec3Hash {
        let (iterations, salt) = self.parameters().unwrap_or((0, &[]));
        nsec3_hash(name, salt, iterations)
    }

    fn matching(&self, hash: &Nsec3Hash) -> Option<u32> {
        let at = self.sorted.binary_search_by_key(hash, |(hash, _)| *hash).ok()?;
        Some(self.sorted[at].1)
    }

    /// The record whose range holds the hash; the last one's goes around to the first (RFC 5155 §3.1.7).
    fn covering(&self, hash: &Nsec3Hash) -> Option<(Nsec3Hash, u32)> {
        let after = self.sorted.partition_point(|(start, _)| start < hash);
        let at = after.checked_sub(1).unwrap_or(self.sorted.len().saturating_sub(1));
        self.sorted.get(at).copied()
    }
}

/// The base of an overlay: what is in the zone beside the names at hand.
pub(super) struct Beside<'a> {
    pub(super) base: &'a Table,
    /// The nodes of the base that have another one now, or none.
    pub(super) moved: HashSet<NodeRef>,
}

impl Beside<'_> {
    /// The node of a name that is as it was.
    fn named(&self, name: Name<'_>) -> NodeIndex {
        let mut folded = FoldedName::default();
        folded.set(name);
        let node = self.base.node_named(&folded).filter(|node| !self.moved.contains(&node.reference()));
        node.map_or(NodeIndex::None, |node| NodeIndex::Base(node.reference()))
    }

    /// The last owner of an NSEC record not after the name, of those that are as they were.
    fn nsec_not_after(&self, name: Name<'_>) -> Option<(&[u8], NodeIndex)> {
        let mut folded = FoldedName::default();
        folded.set(name);
        let node = self.base.nsec_cover_here(&folded, |node| self.moved.contains(&node))?;
        Some((node.relative_name(), NodeIndex::Base(node.reference())))
    }

    /// The NSEC3 record with this hash or the last before it, of those that are as they were.
    fn nsec3_at_or_before(&self, hash: &Nsec3Hash) -> Option<(Nsec3Hash, NodeIndex)> {
        let (found, node) = self.base.nsec3_at_or_before(hash, |node| self.moved.contains(&node))?;
        Some((found, NodeIndex::Base(node.reference())))
    }
}

fn parameters_of(zone: &Zone) -> Option<(u16, Vec<u8>)> {
    let rrset = zone.find(zone.apex())?.rrset(RecordType::NSEC3PARAM)?;
    // RFC 5155 §4.1.2: one with flags is not for the server to use.
    let rdata = rrset.rdatas().find(|rdata| rdata.len() >= 5 && rdata[0] == SHA1 && rdata[1] == 0)?;
    let iterations = u16::from_be_bytes([rdata[2], rdata[3]]);
    (iterations <= ITERATIONS_MAX).then(|| (iterations, rdata[5..].to_vec()))
}

/// The hash that the first label of an NSEC3 owner is (RFC 5155 §3.3): 32 characters, 20 octets.
fn hash_of_label(label: &[u8]) -> Option<Nsec3Hash> {
    let mut hash = Vec::with_capacity(20);
    decode_base32hex(label, &mut hash).ok()?;
    hash.try_into().ok()
}

/// What each node is given for denial.
pub(super) struct Proofs<'a> {
    zone: &'a Zone,
    plan: &'a Plan,
    chain: &'a Nsec3Chain,
    flags: ImageFlags,
    beside: Option<&'a Beside<'a>>,
}

impl<'a> Proofs<'a> {
    pub(super) fn new(
        zone: &'a Zone,
        plan: &'a Plan,
        chain: &'a Nsec3Chain,
        flags: ImageFlags,
        beside: Option<&'a Beside<'a>>,
    ) -> Proofs<'a> {
        Proofs { zone, plan, chain, flags, beside }
    }

    /// Wildcard, cover of the wildcard, NSEC3 match, encloser and cover, as `table::Denial` has them.
    pub(super) fn of(&self, index: u32, node: &PlannedNode) -> [NodeIndex; 5] {
        let mut denial = [NodeIndex::None; 5];
        if node.flags.has(NodeFlags::OCCLUDED) {
            return denial;
        }
        denial[0] = self.wildcard(node);
        if self.flags.has(ImageFlags::NSEC3) {
            self.nsec3(index, node, &mut denial);
        } else if self.flags.has(ImageFlags::NSEC)
            && node.is_authoritative()
            && (node.has_children || self.beside.is_some())
            && denial[0] == NodeIndex::None
        {
            denial[1] = self.nsec_no_wildcard(node);
        }
        denial
    }

    fn wildcard(&self, node: &PlannedNode) -> NodeIndex {
        if node.wildcard != NONE {
            return NodeIndex::Name(node.wildcard);
        }
        let Some(beside) = self.beside.filter(|_| !node.hides()) else { return NodeIndex::None };
        let wildcard = NameBuf::child(b"*", self.plan.name(self.zone, node));
        wildcard.map_or(NodeIndex::None, |wildcard| beside.named(wildcard.as_name()))
    }

    /// The NSEC record that covers `*` below the node. A node without children has it itself, and needs no
    /// reference: nothing sorts between a name and the first name below it.
    pub(super) fn nsec_no_wildcard(&self, node: &PlannedNode) -> NodeIndex {
        let Ok(wildcard) = NameBuf::child(b"*", self.plan.name(self.zone, node)) else {
            return NodeIndex::None;
        };
        let owns_nsec = |node: &PlannedNode| {
            !node.flags.has(NodeFlags::OCCLUDED)
                && node.owner_in(self.zone).is_some_and(|owner| owner.has(RecordType::NSEC))
        };
        let wildcard = wildcard.as_name();
        let here = self.plan.last_not_after(self.zone, wildcard, owns_nsec);
        let there = self.beside.and_then(|beside| beside.nsec_not_after(wildcard));
        match (here, there) {
            (Some(index), Some((relative, there))) => {
                let here = self.plan.name(self.zone, &self.plan.nodes[index as usize]);
                let other = NameBuf::joined(relative, self.zone.apex());
                let is_later =
                    other.is_ok_and(|other| other.as_name().canonical_cmp(here) == Ordering::Greater);
                if is_later { there } else { NodeIndex::Name(index) }
            }
            (Some(index), None) => NodeIndex::Name(index),
            (None, there) => there.map_or(NodeIndex::None, |(_, there)| there),
        }
    }

    /// The record with this hash.
    pub(super) fn matching(&self, hash: &Nsec3Hash) -> NodeIndex {
        if let Some(position) = self.chain.matching(hash) {
            return NodeIndex::Nsec3(position);
        }
        let there = self.beside.and_then(|beside| beside.nsec3_at_or_before(hash));
        there.filter(|(found, _)| found == hash).map_or(NodeIndex::None, |(_, node)| node)
    }

    /// The record whose range holds the hash.
    pub(super) fn covering(&self, hash: &Nsec3Hash) -> NodeIndex {
        let here = self.chain.covering(hash).map(|(found, position)| (found, NodeIndex::Nsec3(position)));
        let there = self.beside.and_then(|beside| beside.nsec3_at_or_before(hash));
        // Nearest is the highest that is not beyond it; where there is none, the highest of all.
        let nearest = here.into_iter().chain(there).max_by_key(|(found, _)| (found <= hash, *found));
        nearest.map_or(NodeIndex::None, |(_, node)| node)
    }

    fn nsec3(&self, index: u32, node: &PlannedNode, denial: &mut [NodeIndex; 5]) {
        let name = self.plan.name(self.zone, node);
        denial[2] = self.matching(&self.chain.hash(name.as_wire()));
        if node.is_authoritative()
            && denial[0] == NodeIndex::None
            && let Ok(wildcard) = NameBuf::child(b"*", name)
        {
            denial[1] = self.covering(&self.chain.hash(wildcard.as_name().as_wire()));
        }
        if denial[2] == NodeIndex::None {
            self.nsec3_opt_out(index, denial);
        }
    }

    /// A name that opt-out left without a record: its closest provable encloser, and the record that covers the
    /// next closer name (RFC 5155 §7.2.4, §7.2.7).
    fn nsec3_opt_out(&self, index: u32, denial: &mut [NodeIndex; 5]) {
        let mut next_closer = index;
        while next_closer != 0 {
            let encloser = self.plan.nodes[next_closer as usize].parent;
            let name = self.plan.name(self.zone, &self.plan.nodes[encloser as usize]);
            let matching = self.matching(&self.chain.hash(name.as_wire()));
            if matching != NodeIndex::None {
                let next = self.plan.name(self.zone, &self.plan.nodes[next_closer as usize]);
                denial[3] = matching;
                denial[4] = self.covering(&self.chain.hash(next.as_wire()));
                return;
            }
            next_closer = encloser;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_owner_label_of_rfc_5155_appendix_a() {
        // H(example) with salt aabbccdd and 12 iterations.
        let hash = nsec3_hash(b"\x07example\x00", &[0xaa, 0xbb, 0xcc, 0xdd], 12);
        assert_eq!(hash_of_label(b"0p9mhaveqvm6t7vbl5lop2u3t2rp3tom"), Some(hash));
        assert_eq!(hash_of_label(b"0P9MHAVEQVM6T7VBL5LOP2U3T2RP3TOM"), Some(hash));
        assert_eq!(hash_of_label(b"0p9mhaveqvm6t7vbl5lop2u3t2rp3tow"), None);
        assert_eq!(hash_of_label(b"0p9m"), None);
    }
}
