//! What has to be in an overlay beside the names that have changed: whatever depends on them.
//!
//! - Their ancestors, up to the apex: these know of wildcards and of denial below them, and whether they delegate.
//! - Name servers in the zone whose delegation is in it, because a delegation is compiled with their addresses; and
//!   delegations whose name server gets its first address.
//! - For a name without records, one below it that has some, if there is any: so it is seen to be an empty non-terminal.
//! - What is below a name that begins to delegate or to redirect, or ceases to.
//! - The records that deny a wildcard right below the apex, which are part of most negative answers.

use super::AmendError;
use super::touched::{Row, Touched};
use crate::compile::over::Draft;
use std::cmp::Ordering;
use std::collections::HashSet;
use table::{Node, NodeFlags, SourceStamp, Table};
use wire::{FoldedName, Name, NameBuf, RecordType};

const ADDRESSES: [RecordType; 2] = [RecordType::A, RecordType::AAAA];

/// Adds what is needed, and makes the overlay, as made from this source.
pub(super) fn complete(touched: &mut Touched<'_>, source: SourceStamp) -> Result<Table, AmendError> {
    let mut closure = Closure { touched, seen: HashSet::new() };
    loop {
        while closure.add_relatives()? || closure.add_witnesses()? {}
        let draft = Draft::new(closure.touched)?;
        let mut more = Vec::new();
        draft.turned_around(|node| more.extend(closure.below(node)));
        more.extend(draft.owners_of_apex_proofs());
        let mut is_more = false;
        for name in more {
            is_more |= closure.touched.load(name.as_name())?;
        }
        if !is_more {
            return draft.build(source, &closure.touched.choices);
        }
    }
}

struct Closure<'c, 't> {
    touched: &'c mut Touched<'t>,
    /// Names whose relatives are there.
    seen: HashSet<Box<[u8]>>,
}

impl<'t> Closure<'_, 't> {
    /// Adds what goes with names that came since the last call; whether there were any.
    fn add_relatives(&mut self) -> Result<bool, AmendError> {
        let mut relatives = Vec::new();
        let mut is_any = false;
        for (name, rows) in self.touched.names() {
            if self.seen.insert(name.as_wire().into()) {
                is_any = true;
                self.relatives(name, rows, &mut relatives);
            }
        }
        for name in relatives {
            self.touched.load(name.as_name())?;
        }
        Ok(is_any)
    }

    fn relatives(&self, name: Name<'_>, rows: &[Row], relatives: &mut Vec<NameBuf>) {
        let apex = self.touched.apex();
        let mut above = name.parent();
        while let Some(ancestor) = above.filter(|ancestor| ancestor.is_at_or_below(apex)) {
            relatives.push(ancestor.into());
            above = ancestor.parent();
        }
        for row in rows.iter().filter(|row| row.rtype == RecordType::NS) {
            let Ok(server) = Name::from_wire(&row.rdata) else { continue };
            if server.is_at_or_below(apex) && self.has_addresses(server) {
                relatives.push(server.into());
            }
        }
        let base = self.touched.base();
        let had_addresses = || self.touched.in_base(name).is_some_and(owns_addresses);
        if rows.iter().any(|row| ADDRESSES.contains(&row.rtype)) && !had_addresses() {
            relatives.extend(base.waiting_for(name).filter_map(|cut| self.name_of(cut)));
        }
    }

    fn has_addresses(&self, name: Name<'_>) -> bool {
        let mut folded = FoldedName::default();
        folded.set(name);
        self.touched.current.node_named(&folded).is_some_and(owns_addresses)
    }

    /// Adds a name that owns records below each that owns none; whether any was added.
    fn add_witnesses(&mut self) -> Result<bool, AmendError> {
        let mut owners: Vec<Name<'_>> =
            self.touched.names().filter(|(_, rows)| !rows.is_empty()).map(|(name, _)| name).collect();
        owners.sort_unstable_by(|a, b| a.canonical_cmp(*b));
        let mut witnesses = Vec::new();
        for (name, _) in self.touched.names().filter(|(_, rows)| rows.is_empty()) {
            let after = owners.partition_point(|owner| owner.canonical_cmp(name) != Ordering::Greater);
            if owners.get(after).is_some_and(|owner| owner.is_below(name)) {
                continue;
            }
            let Some(node) = self.touched.in_base(name) else { continue };
            let mut below = self.nodes_below(node).filter(|(node, _)| node.rrset_count() > 0);
            witnesses.extend(below.find(|(_, name)| self.touched.get(name.as_name()).is_none()));
        }
        let mut is_any = false;
        for (_, name) in witnesses {
            is_any |= self.touched.load(name.as_name())?;
        }
        Ok(is_any)
    }

    /// All names that are below a node in the base.
    fn below(&self, node: Node<'t>) -> impl Iterator<Item = NameBuf> {
        self.nodes_below(node).map(|(_, name)| name)
    }

    fn nodes_below(&self, node: Node<'t>) -> impl Iterator<Item = (Node<'t>, NameBuf)> {
        let above = self.name_of(node);
        let apex = self.touched.apex();
        self.touched.base().nodes_after(node).map_while(move |node| {
            let name = NameBuf::joined(node.relative_name(), apex).ok()?;
            above
                .as_ref()
                .is_some_and(|above| name.as_name().is_below(above.as_name()))
                .then_some((node, name))
        })
    }

    fn name_of(&self, node: Node<'_>) -> Option<NameBuf> {
        NameBuf::joined(node.relative_name(), self.touched.apex()).ok()
    }
}

fn owns_addresses(node: Node<'_>) -> bool {
    ADDRESSES.iter().any(|rtype| node.rrset(*rtype).is_some())
}

/// Whether names below the node are hidden by it or with it.
pub(crate) fn hides(flags: NodeFlags) -> bool {
    [NodeFlags::CUT, NodeFlags::DNAME, NodeFlags::OCCLUDED].iter().any(|flag| flags.has(*flag))
}
