//! A table over another one: what has changed in a zone, beside the image of the whole as it was.
//!
//! An overlay is an image like any other, but for five things. It has only the names that have changed, their ancestors, and
//! those whose nodes depend on them, each with all of its records. Names that are no more have a node that says so
//! ([`NodeFlags::GONE`]). Its references may lead to nodes of the base. Its index has the key of the base, so that
//! names have one hash in both, unless that would make its chains too long. And it is made here, in memory, so that nothing has
//! to be verified.
//!
//! Whoever looks for a name looks in the overlay first. References of the base lead to nodes that may have moved here, and
//! are followed through a list of these. What a reference of the base *proves* may have changed with the record that it
//! leads to, as when a name was added in the middle of an NSEC record's span; then the proof is looked for anew:
//! [`Table::is_outdated`] says when. In a chain of denial no span changes without its record.

use crate::denial::Nsec3Hash;
use crate::format::{NodeFlags, NodeRef};
use crate::node::{Link, Node, Rrset};
use crate::table::Table;
use std::collections::HashMap;
use std::sync::Arc;
use wire::{FoldedName, Name, RecordType};

/// What resolvers reach name servers by.
const ADDRESSES: [RecordType; 2] = [RecordType::A, RecordType::AAAA];

/// The largest image that an overlay can refer to.
pub(crate) const BASE_MAX: usize = 8 << 30;

/// How much a zone has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Counts {
    pub(crate) names: u32,
    pub(crate) records: u32,
}

/// Delegations by those of their name servers in the zone that have no addresses there: when one gets some, these are what
/// changes. Names are in lower case.
pub(crate) type Unaddressed = HashMap<Box<[u8]>, Vec<NodeRef>>;

/// What an overlay stands over.
pub(crate) struct Overlaid {
    /// The whole zone as it was; itself no overlay.
    pub(crate) base: Arc<Table>,
    /// Whether names have one hash in both, as they nearly always have.
    pub(crate) has_key_of_base: bool,
    /// Which nodes of the base have one of the overlay in their place, in ascending order.
    pub(crate) moved: Box<[(NodeRef, NodeRef)]>,
    pub(crate) counts: Counts,
}

impl Overlaid {
    /// What stands in the place of a node of the base; `None` where that is itself still good.
    #[inline]
    pub(crate) fn moved_to(&self, node: NodeRef) -> Option<NodeRef> {
        self.moved.binary_search_by_key(&node, |(from, _)| *from).ok().map(|at| self.moved[at].1)
    }

    /// Follows a reference that stands in the base or in the overlay, whose image is `own`.
    pub(crate) fn follow<'t>(&'t self, own: &'t [u8], link: Link<'t>) -> Option<Node<'t>> {
        let node = if !is_same(link.image, own) {
            match self.moved_to(link.to) {
                None => return Some(Node::new(self.base.image(), link.to)),
                Some(to) => Node::new(own, to),
            }
        } else if let Some(node) = link.to.of_base() {
            return Some(Node::new(self.base.image(), node));
        } else {
            Node::new(own, link.to)
        };
        (!node.flags().has(NodeFlags::GONE)).then_some(node)
    }
}

fn is_same(one: &[u8], other: &[u8]) -> bool {
    std::ptr::eq(one.as_ptr(), other.as_ptr())
}

impl Table {
    /// Whether it stands over another.
    #[inline]
    pub fn is_overlaid(&self) -> bool {
        self.overlaid.is_some()
    }

    /// The table of the whole zone that this one stands over; `None` where it is itself the whole zone.
    pub fn base(&self) -> Option<&Arc<Table>> {
        self.overlaid.as_ref().map(|overlaid| &overlaid.base)
    }

    /// Whether the record that a reference leads to has changed since the reference was made, so that it may prove something
    /// else.
    #[inline]
    pub fn is_outdated(&self, link: Link<'_>) -> bool {
        self.overlaid.as_ref().is_some_and(|overlaid| {
            !link.is_none() && !is_same(link.image, self.image()) && overlaid.moved_to(link.to).is_some()
        })
    }

    /// The node of exactly this name, which is at or below the apex, whether or not the zone answers from it.
    pub fn node_named(&self, name: &FoldedName) -> Option<Node<'_>> {
        let node = self.probe_whole(name);
        match &self.overlaid {
            None => node,
            Some(overlaid) => node
                .or_else(|| overlaid.base.probe_whole(name))
                .filter(|node| !node.flags().has(NodeFlags::GONE)),
        }
    }

    /// Finds out beforehand what [`Table::waiting_for`] has to know, so that the first change is as quick as others.
    pub fn prepare_for_changes(&self) {
        self.unaddressed.get_or_init(|| self.find_unaddressed());
    }

    /// The delegations in this very image with a name server of this name, in lower case, that is in the zone and has no
    /// addresses there. The first call walks over the whole image: 8 ns a name, and half a microsecond a delegation.
    pub fn waiting_for(&self, server: Name<'_>) -> impl Iterator<Item = Node<'_>> {
        let unaddressed = self.unaddressed.get_or_init(|| self.find_unaddressed());
        let cuts = unaddressed.get(server.as_wire()).map_or(&[][..], |cuts| cuts.as_slice());
        cuts.iter().map(|cut| Node::new(self.image(), *cut))
    }

    fn find_unaddressed(&self) -> Unaddressed {
        let mut unaddressed = Unaddressed::new();
        let mut folded = FoldedName::default();
        for cut in self.nodes().filter(|node| node.flags().has(NodeFlags::CUT)) {
            // An image that was verified has good pointers.
            let _good = self.each_record(cut, |record| {
                let Ok(server) = Name::from_wire(record.rdata) else { return };
                if record.rtype != RecordType::NS || server.relative_len(self.apex_name()).is_none() {
                    return;
                }
                folded.set(server);
                let is_address = |rrset: Rrset<'_>| ADDRESSES.contains(&rrset.rtype());
                if !self.node_named(&folded).is_some_and(|node| node.rrsets().any(is_address)) {
                    unaddressed.entry(folded.as_wire().into()).or_default().push(cut.reference());
                }
            });
        }
        unaddressed
    }

    /// The owner of the NSEC3 record with this hash, in the chain that denies.
    pub fn nsec3_owner(&self, hash: &Nsec3Hash) -> Option<Node<'_>> {
        self.nsec3_at_or_before(hash, |_| false).filter(|(found, _)| found == hash).map(|(_, node)| node)
    }

    /// The node of this very image with this reference.
    ///
    /// # Panics
    /// The reference is of another image.
    #[inline]
    pub fn node_at(&self, node: NodeRef) -> Node<'_> {
        Node::new(self.image(), node)
    }

    /// The nodes that follow one of this very image in canonical order, up to the last name.
    pub fn nodes_after<'t>(&'t self, node: Node<'t>) -> impl Iterator<Item = Node<'t>> {
        let (image, end) = (self.image(), self.names_end());
        let mut at = node.end();
        std::iter::from_fn(move || {
            let node = (at < end).then(|| Node::at_offset(image, at))?;
            at = node.end();
            Some(node)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{Builder, Fixups, NodeIndex, NodeSpec, RrsetSpec};
    use crate::format::{ImageFlags, SourceStamp};
    use crate::seek::Found;
    use wire::NameBuf;

    /// So many names of the base; of each ten one is changed, and one gone.
    const NAMES: usize = 1000;

    fn builder(names: impl Iterator<Item = (String, NodeFlags)>) -> Builder {
        let mut builder = Builder::new(Name::ROOT, 1, ImageFlags::NONE, NAMES, 0);
        let fixups = Fixups::default();
        let mut set = RrsetSpec::one_address(&fixups);
        let apex = NodeSpec { relative: b"", flags: NodeFlags::NONE, denial: [NodeIndex::None; 5] };
        builder.name(&apex).unwrap();
        for (label, flags) in names {
            let relative = [&[label.len() as u8], label.as_bytes()].concat();
            builder.name(&NodeSpec { relative: &relative, flags, ..apex }).unwrap();
            if flags == NodeFlags::NONE {
                builder.rrset(&set).unwrap();
            }
        }
        set.rtype = RecordType::SOA;
        builder.negative_soa(&set).unwrap();
        builder
    }

    fn label(index: usize) -> String {
        format!("h{index:04}")
    }

    /// Whether a name is in the overlay, or in the base; `None` where it is in neither.
    fn found(table: &Table, text: &str) -> Option<bool> {
        let mut name = FoldedName::default();
        name.set(NameBuf::from_text(text.as_bytes(), Some(Name::ROOT)).unwrap().as_name());
        match table.find(&name) {
            Found::Exact(node) => Some(table.nodes().any(|own| own.id() == node.id())),
            Found::Missing(_) => None,
            Found::BelowCut(_) | Found::BelowDname(_) => panic!("{text}"),
        }
    }

    #[test]
    fn a_name_is_found_in_overlay_or_base_by_one_hash_or_by_two() {
        let base = builder((0..NAMES).map(|index| (label(index), NodeFlags::NONE)));
        let base = Arc::new(base.finish(SourceStamp::default()).unwrap());
        let changed = (0..NAMES)
            .step_by(5)
            .map(|index| (label(index), if index % 10 == 0 { NodeFlags::NONE } else { NodeFlags::GONE }));
        let over = builder(changed.chain([("new".to_owned(), NodeFlags::NONE)]));
        let moved: Vec<(NodeRef, NodeIndex)> = base
            .nodes()
            .skip(1)
            .step_by(5)
            .zip(1..)
            .map(|(node, index)| (node.reference(), NodeIndex::Name(index)))
            .collect();
        let mut table = over.finish_over(base, &moved, SourceStamp::default()).unwrap();
        assert!(table.overlaid.as_ref().unwrap().has_key_of_base);
        for has_key_of_base in [true, false] {
            table.overlaid.as_mut().unwrap().has_key_of_base = has_key_of_base;
            for index in 0..NAMES {
                let wanted = match index % 10 {
                    0 => Some(true),
                    5 => None,
                    _ => Some(false),
                };
                assert_eq!(found(&table, &label(index)), wanted, "{index}");
                assert_eq!(found(&table, &format!("below.{}", label(index))), None, "{index}");
            }
            assert_eq!(found(&table, "new"), Some(true));
            assert_eq!(found(&table, "."), Some(true));
            assert_eq!(found(&table, "nothing"), None);
        }
    }
}
