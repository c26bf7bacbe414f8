//! Proofs of non-existence that are known before any query (RFC 4035 §3.1.3, RFC 5155 §7.2).

use super::plan::{NONE, Plan, PlannedNode};
use crate::rdata::encoding::decode_base32hex;
use crate::records::Zone;
use table::denial::{Nsec3Hash, nsec3_hash};
use table::{ITERATIONS_MAX, ImageFlags, NodeFlags, NodeIndex};
use wire::{NameBuf, RecordType};

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

    fn hash(&self, name: &[u8]) -> Nsec3Hash {
        let (iterations, salt) = self.parameters().unwrap_or((0, &[]));
        nsec3_hash(name, salt, iterations)
    }

    fn matching(&self, hash: &Nsec3Hash) -> NodeIndex {
        match self.sorted.binary_search_by_key(hash, |(hash, _)| *hash) {
            Ok(at) => NodeIndex::Nsec3(self.sorted[at].1),
            Err(_) => NodeIndex::None,
        }
    }

    /// The record whose range holds the hash; the last one's goes around to the first (RFC 5155 §3.1.7).
    fn covering(&self, hash: &Nsec3Hash) -> NodeIndex {
        let after = self.sorted.partition_point(|(start, _)| start < hash);
        let at = after.checked_sub(1).unwrap_or(self.sorted.len().saturating_sub(1));
        self.sorted.get(at).map_or(NodeIndex::None, |(_, position)| NodeIndex::Nsec3(*position))
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
}

impl<'a> Proofs<'a> {
    pub(super) fn new(
        zone: &'a Zone,
        plan: &'a Plan,
        chain: &'a Nsec3Chain,
        flags: ImageFlags,
    ) -> Proofs<'a> {
        Proofs { zone, plan, chain, flags }
    }

    /// Wildcard, cover of the wildcard, NSEC3 match, encloser and cover, as `table::Denial` has them.
    pub(super) fn of(&self, index: u32, node: &PlannedNode) -> [NodeIndex; 5] {
        let mut denial = [NodeIndex::None; 5];
        if node.flags.has(NodeFlags::OCCLUDED) {
            return denial;
        }
        if node.wildcard != NONE {
            denial[0] = NodeIndex::Name(node.wildcard);
        }
        if self.flags.has(ImageFlags::NSEC3) {
            self.nsec3(index, node, &mut denial);
        } else if self.flags.has(ImageFlags::NSEC)
            && node.is_authoritative()
            && node.has_children
            && node.wildcard == NONE
        {
            denial[1] = self.nsec_no_wildcard(node);
        }
        denial
    }

    /// The NSEC record that covers `*` below the node. A node without children has it itself, and needs no
    /// reference: nothing sorts between a name and the first name below it.
    fn nsec_no_wildcard(&self, node: &PlannedNode) -> NodeIndex {
        let Ok(wildcard) = NameBuf::child(b"*", self.plan.name(self.zone, node)) else {
            return NodeIndex::None;
        };
        let owns_nsec = |node: &PlannedNode| {
            !node.flags.has(NodeFlags::OCCLUDED)
                && node.owner_in(self.zone).is_some_and(|owner| owner.has(RecordType::NSEC))
        };
        self.plan
            .last_not_after(self.zone, wildcard.as_name(), owns_nsec)
            .map_or(NodeIndex::None, NodeIndex::Name)
    }

    fn nsec3(&self, index: u32, node: &PlannedNode, denial: &mut [NodeIndex; 5]) {
        let name = self.plan.name(self.zone, node);
        denial[2] = self.chain.matching(&self.chain.hash(name.as_wire()));
        if node.is_authoritative()
            && node.wildcard == NONE
            && let Ok(wildcard) = NameBuf::child(b"*", name)
        {
            denial[1] = self.chain.covering(&self.chain.hash(wildcard.as_name().as_wire()));
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
            let matching = self.chain.matching(&self.chain.hash(name.as_wire()));
            if matching != NodeIndex::None {
                let next = self.plan.name(self.zone, &self.plan.nodes[next_closer as usize]);
                denial[3] = matching;
                denial[4] = self.chain.covering(&self.chain.hash(next.as_wire()));
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
