//! Compiling an overlay: the names that have changed, and what depends on them, over the table of the whole zone.

use super::denial::{Beside, Nsec3Chain, Proofs};
use super::encode::Encoder;
use super::plan::Plan;
use super::{add_negative_soa, add_nsec3_owners, write_names};
use crate::amend::{AmendError, Choices, Reason, Touched, hash_of_owner, hides};
use crate::apply::mixed;
use crate::check::{self, Severity};
use crate::content::{self, ContentSum};
use crate::records::{Gatherer, Zone};
use std::collections::HashSet;
use std::sync::Arc;
use table::{
    Builder, ContentDigest, ImageFlags, Node, NodeFlags, NodeIndex, NodeRef, NodeSpec, SourceStamp, Table,
};
use wire::{Name, NameBuf, RecordType};

/// An overlay before it is made.
pub(crate) struct Draft<'t> {
    base: &'t Arc<Table>,
    /// The touched names alone.
    zone: Zone,
    plan: Plan,
    chain: Nsec3Chain,
    flags: ImageFlags,
    beside: Beside<'t>,
    /// Nodes of the base with their names: those of names, and those of owners of NSEC3 records.
    moved_names: Vec<(Node<'t>, NameBuf)>,
    moved_nsec3: Vec<(Node<'t>, NameBuf)>,
}

impl<'t> Draft<'t> {
    pub(crate) fn new(touched: &Touched<'t>) -> Result<Draft<'t>, AmendError> {
        let base = touched.base();
        let mut gatherer = Gatherer::new(touched.apex(), 0);
        let (mut moved_names, mut moved_nsec3) = (Vec::new(), Vec::new());
        for (name, rows) in touched.names() {
            moved_names.extend(touched.in_base(name).map(|node| (node, NameBuf::from(name))));
            moved_nsec3.extend(touched.nsec3_in_base(name).map(|node| (node, NameBuf::from(name))));
            for row in rows {
                gatherer.add_received(name, row.rtype, row.ttl, &row.rdata);
            }
        }
        let zone = gatherer.finish().map_err(|_| AmendError::Recompile(Reason::TooMany))?;
        if zone.is_mixed() {
            let (owner, rtype) = mixed_set(&zone).unwrap_or((zone.apex(), RecordType::SOA));
            return Err(mixed(owner, rtype).into());
        }
        let plan = Plan::new(&zone);
        let chain = Nsec3Chain::new(&zone, &plan);
        let moved = moved_names.iter().chain(&moved_nsec3).map(|(node, _)| node.reference()).collect();
        let mut flags = flags(base, &zone, &plan, &chain).map_err(AmendError::Recompile)?;
        if touched.is_mixed {
            flags = flags.with(ImageFlags::MIXED);
        }
        let beside = Beside { base, moved };
        let draft = Draft { base, zone, plan, chain, flags, beside, moved_names, moved_nsec3 };
        if flags.has(ImageFlags::NSEC3) {
            draft.check_chain(touched).map_err(AmendError::Recompile)?;
        }
        Ok(draft)
    }

    /// Names that are not touched keep their references into the chain, so a hash may come or go only with a name that is.
    fn check_chain(&self, touched: &Touched<'_>) -> Result<(), Reason> {
        let own = |position: usize| self.zone.owner(self.plan.nsec3_owners[position] as usize).name();
        let now: HashSet<&[u8]> =
            (0..self.plan.nsec3_owners.len()).map(|position| own(position).as_wire()).collect();
        let before: HashSet<&[u8]> =
            self.moved_nsec3.iter().map(|(_, name)| name.as_name().as_wire()).collect();
        let mut changed = now.symmetric_difference(&before).peekable();
        if changed.peek().is_none() {
            return Ok(());
        }
        let planned = self.plan.nodes.iter().map(|node| self.plan.name(&self.zone, node));
        let names = planned.chain(touched.names().map(|(name, _)| name));
        let hashes: HashSet<_> = names.map(|name| self.chain.hash(name.as_wire())).collect();
        let is_of_touched = |wire: &&[u8]| {
            let hash = Name::from_wire(wire).ok().and_then(|name| hash_of_owner(name, self.zone.apex()));
            hash.is_some_and(|hash| hashes.contains(&hash))
        };
        if changed.all(is_of_touched) { Ok(()) } else { Err(Reason::Chain) }
    }

    /// Gives the nodes of the base that begin to hide what is below them, or cease to.
    pub(crate) fn turned_around(&self, mut give: impl FnMut(Node<'t>)) {
        for (node, name) in &self.moved_names {
            let now = self.plan.find(&self.zone, name.as_name());
            if now.is_some_and(|index| self.plan.nodes[index as usize].hides() != hides(node.flags())) {
                give(*node);
            }
        }
    }

    /// The owners in the base of the records that deny a wildcard right below the apex, where they are not touched.
    pub(crate) fn owners_of_apex_proofs(&self) -> Vec<NameBuf> {
        let apex = self.zone.apex();
        let Some(node) = self.plan.nodes.first() else { return Vec::new() };
        let [wildcard, no_wildcard, nsec3_match, ..] = self.proofs().of(0, node);
        let nodes = match wildcard {
            NodeIndex::None => [no_wildcard, nsec3_match],
            _ => [NodeIndex::None, nsec3_match],
        };
        let in_base = nodes.into_iter().filter_map(|node| match node {
            NodeIndex::Base(node) => Some(self.base.node_at(node)),
            _ => None,
        });
        in_base.filter_map(|node| NameBuf::joined(node.relative_name(), apex).ok()).collect()
    }

    fn proofs(&self) -> Proofs<'_> {
        Proofs::new(&self.zone, &self.plan, &self.chain, self.flags, Some(&self.beside))
    }

    /// Makes the overlay, as made from this source; answers choose from these sets.
    pub(crate) fn build(&self, source: SourceStamp, choices: &Choices) -> Result<Table, AmendError> {
        let Draft { zone, plan, chain, .. } = self;
        let mut is_wrong = false;
        check::check(zone, &mut |finding| is_wrong |= finding.severity == Severity::Error);
        if is_wrong {
            return Err(AmendError::Recompile(Reason::Errors));
        }
        let mut encoder = Encoder::new(zone, plan);
        let mut builder = write_names(zone, plan, chain, &self.proofs(), self.flags, choices, &mut encoder)?;
        let mut moved = Vec::new();
        self.add_gone_names(&mut builder, &mut moved)?;
        add_nsec3_owners(&mut builder, &mut encoder, zone, plan, chain)?;
        self.add_gone_nsec3_owners(&mut builder, &mut moved)?;
        builder.content(self.content()?);
        add_negative_soa(&mut builder, &mut encoder, zone)?;
        Ok(builder.finish_over(Arc::clone(self.base), &moved, source)?)
    }

    /// The digest of the whole new version: that of the base, without the names that have changed, and with what they are now.
    fn content(&self) -> Result<ContentDigest, AmendError> {
        let mut sum = ContentSum::of(self.base.content());
        for (node, _) in self.moved_names.iter().chain(&self.moved_nsec3) {
            self.base.each_record(*node, |record| {
                sum.remove(record.owner, record.rtype, record.ttl, record.rdata);
            })?;
        }
        sum.join(&ContentSum::of(content::of_zone(&self.zone)));
        Ok(sum.digest())
    }

    /// Adds a node for each name that the zone no longer has, and notes where all names of the base went.
    fn add_gone_names(
        &self,
        builder: &mut Builder,
        moved: &mut Vec<(NodeRef, NodeIndex)>,
    ) -> Result<(), AmendError> {
        let mut next = self.plan.nodes.len() as u32;
        for (node, name) in &self.moved_names {
            let index = self.plan.find(&self.zone, name.as_name());
            if index.is_none() {
                builder.name(&gone(*node))?;
                next += 1;
            }
            moved.push((node.reference(), NodeIndex::Name(index.unwrap_or(next - 1))));
        }
        Ok(())
    }

    /// The same for the owners of NSEC3 records.
    fn add_gone_nsec3_owners(
        &self,
        builder: &mut Builder,
        moved: &mut Vec<(NodeRef, NodeIndex)>,
    ) -> Result<(), AmendError> {
        let owners = &self.plan.nsec3_owners;
        let mut next = owners.len() as u32;
        for (node, name) in &self.moved_nsec3 {
            let name = name.as_name();
            let found =
                owners.binary_search_by(|owner| self.zone.owner(*owner as usize).name().canonical_cmp(name));
            let index = found.ok().map(|index| index as u32);
            if index.is_none() {
                builder.nsec3_owner(&gone(*node), None)?;
                next += 1;
            }
            moved.push((node.reference(), NodeIndex::Nsec3(index.unwrap_or(next - 1))));
        }
        Ok(())
    }
}

/// A set of several TTLs.
fn mixed_set(zone: &Zone) -> Option<(Name<'_>, RecordType)> {
    let sets = zone.owners().flat_map(|owner| owner.rrsets().map(move |set| (owner.name(), set)));
    let mut signed = sets.filter(|(_, set)| set.rtype() != RecordType::RRSIG);
    let (owner, set) = signed.find(|(_, set)| (0..set.len()).any(|index| set.ttl_of(index) != set.ttl()))?;
    Some((owner, set.rtype()))
}

fn gone(node: Node<'_>) -> NodeSpec<'_> {
    NodeSpec { relative: node.relative_name(), flags: NodeFlags::GONE, denial: [NodeIndex::None; 5] }
}

/// What the zone as a whole is, if that is what it was.
fn flags(base: &Table, zone: &Zone, plan: &Plan, chain: &Nsec3Chain) -> Result<ImageFlags, Reason> {
    let (is_nsec, is_nsec3) = (base.flags().has(ImageFlags::NSEC), base.flags().has(ImageFlags::NSEC3));
    let mut flags = ImageFlags::NONE;
    if base.flags().has(ImageFlags::ROTATE) {
        flags = flags.with(ImageFlags::ROTATE);
    }
    if is_nsec3 {
        if chain.parameters() != Some(base.nsec3_parameters()) {
            return Err(Reason::Denial);
        }
        let is_of_chain = |position: usize| chain.hash_of_owner(position).is_some();
        if !(0..plan.nsec3_owners.len()).all(is_of_chain) {
            return Err(Reason::Chain);
        }
        return Ok(flags.with(ImageFlags::NSEC3));
    }
    if !plan.nsec3_owners.is_empty() {
        return Err(Reason::Chain);
    }
    if zone.find(zone.apex()).is_some_and(|apex| apex.has(RecordType::NSEC)) != is_nsec {
        return Err(Reason::Denial);
    }
    Ok(if is_nsec { flags.with(ImageFlags::NSEC) } else { flags })
}
