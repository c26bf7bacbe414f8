//! The names of a zone as nodes: empty non-terminals added, cuts and what they occlude marked.

use crate::records::{OwnerView, Zone};
use std::cmp::Ordering;
use table::NodeFlags;
use wire::{Name, RecordType};

/// No owner, no wildcard.
pub(super) const NONE: u32 = u32::MAX;

/// One node to be built.
pub(super) struct PlannedNode {
    /// The owner whose name this is, or of which it is an ancestor.
    named_by: u32,
    /// How many octets of that owner's name come before this one.
    skip: u8,
    /// Octets of the name before the apex.
    pub(super) relative_len: u8,
    /// Whether the node owns records.
    owns: bool,
    /// The node whose name is this one's parent; the apex's own index for the apex.
    pub(super) parent: u32,
    /// The node `*` below this one, or `NONE`.
    pub(super) wildcard: u32,
    /// Whether there are nodes below.
    pub(super) has_children: bool,
    pub(super) flags: NodeFlags,
}

impl PlannedNode {
    /// The owner of the node's records; `None` for an empty non-terminal.
    pub(super) fn owner_in<'z>(&self, zone: &'z Zone) -> Option<OwnerView<'z>> {
        self.owns.then(|| zone.owner(self.named_by as usize))
    }

    /// Whether names below it are hidden by it or with it.
    pub(super) fn hides(&self) -> bool {
        crate::amend::hides(self.flags)
    }

    /// Whether the zone answers with authority at this name.
    pub(super) fn is_authoritative(&self) -> bool {
        !self.flags.has(NodeFlags::OCCLUDED) && !self.flags.has(NodeFlags::CUT)
    }
}

/// All nodes of a zone in canonical order, the apex first.
pub(super) struct Plan {
    pub(super) nodes: Vec<PlannedNode>,
    /// Owners of NSEC3 records, by index in the zone: no names of the zone by that (RFC 5155 §7.2.8).
    pub(super) nsec3_owners: Vec<u32>,
}

impl Plan {
    pub(super) fn new(zone: &Zone) -> Plan {
        let mut plan = Plan { nodes: Vec::with_capacity(zone.owner_count()), nsec3_owners: Vec::new() };
        // The nodes from the apex to the one added last; the index is the depth below the apex.
        let mut path: Vec<u32> = Vec::new();
        let apex_labels = zone.apex().label_count();
        let mut previous: Option<Name<'_>> = None;
        for owner in zone.owners() {
            if owner.has(RecordType::NSEC3) {
                plan.nsec3_owners.push(owner.index() as u32);
                if !owner.rrsets().any(|set| !matches!(set.rtype(), RecordType::NSEC3 | RecordType::RRSIG)) {
                    continue;
                }
            }
            let name = owner.name();
            let labels = name.label_count();
            let depth = labels - apex_labels;
            let shared =
                previous.map_or(0, |previous| shared_labels(previous, name)).saturating_sub(apex_labels);
            path.truncate((shared + 1).min(depth));
            while path.len() < depth {
                // An ancestor that owns nothing: an empty non-terminal (RFC 4592 §2.2.2), or a missing apex.
                let skip = name.len() - name.suffix(apex_labels + path.len()).len();
                plan.add(&mut path, owner, zone, skip);
            }
            plan.add(&mut path, owner, zone, 0);
            previous = Some(name);
        }
        plan
    }

    fn add(&mut self, path: &mut Vec<u32>, owner: OwnerView<'_>, zone: &Zone, skip: usize) {
        let index = self.nodes.len() as u32;
        let relative_len = owner.name().len() - skip - zone.apex().len();
        let owns = skip == 0;
        let parent = path.last().copied();
        let mut flags = NodeFlags::NONE;
        let label_at = &owner.name().as_wire()[skip..];
        let is_wildcard = label_at.starts_with(b"\x01*") && relative_len > 0;
        if is_wildcard {
            flags = flags.with(NodeFlags::WILDCARD);
        }
        if let Some(parent) = parent {
            let parent = &mut self.nodes[parent as usize];
            parent.has_children = true;
            if parent.hides() {
                flags = flags.with(NodeFlags::OCCLUDED);
            } else if is_wildcard {
                parent.wildcard = index;
            }
        }
        if owns {
            // RFC 2181 §6: NS below the apex is a delegation; occluded ones don't count.
            if owner.has(RecordType::NS) && relative_len > 0 && !flags.has(NodeFlags::OCCLUDED) {
                flags = flags.with(NodeFlags::CUT);
            }
            if owner.has(RecordType::DNAME) {
                flags = flags.with(NodeFlags::DNAME);
            }
            if owner.has(RecordType::CNAME) {
                flags = flags.with(NodeFlags::CNAME);
            }
        }
        self.nodes.push(PlannedNode {
            named_by: owner.index() as u32,
            skip: skip as u8,
            relative_len: relative_len as u8,
            owns,
            parent: parent.unwrap_or(index),
            wildcard: NONE,
            has_children: false,
            flags,
        });
        path.push(index);
    }

    /// The node's whole name.
    pub(super) fn name<'z>(&self, zone: &'z Zone, node: &PlannedNode) -> Name<'z> {
        let wire = zone.owner(node.named_by as usize).name().as_wire();
        Name::from_wire(&wire[usize::from(node.skip)..]).unwrap_or(Name::ROOT)
    }

    /// The node's name before the apex.
    pub(super) fn relative<'z>(&self, zone: &'z Zone, node: &PlannedNode) -> &'z [u8] {
        &self.name(zone, node).as_wire()[..usize::from(node.relative_len)]
    }

    /// Finds a node by name.
    pub(super) fn find(&self, zone: &Zone, name: Name<'_>) -> Option<u32> {
        let index = self.nodes.binary_search_by(|node| self.name(zone, node).canonical_cmp(name)).ok()?;
        Some(index as u32)
    }

    /// The last node that passes `wanted` among those not after `name`.
    pub(super) fn last_not_after(
        &self,
        zone: &Zone,
        name: Name<'_>,
        wanted: impl Fn(&PlannedNode) -> bool,
    ) -> Option<u32> {
        let end =
            self.nodes.partition_point(|node| self.name(zone, node).canonical_cmp(name) != Ordering::Greater);
        self.nodes[..end].iter().rposition(wanted).map(|index| index as u32)
    }
}

/// How many labels two lower-case names have in common, from the right.
fn shared_labels(a: Name<'_>, b: Name<'_>) -> usize {
    let (mut a, mut b) = (a, b);
    let (mut a_labels, mut b_labels) = (a.label_count(), b.label_count());
    while a_labels > b_labels {
        a = a.parent().unwrap_or(Name::ROOT);
        a_labels -= 1;
    }
    while b_labels > a_labels {
        b = b.parent().unwrap_or(Name::ROOT);
        b_labels -= 1;
    }
    while a.as_wire() != b.as_wire() {
        a = a.parent().unwrap_or(Name::ROOT);
        b = b.parent().unwrap_or(Name::ROOT);
        a_labels -= 1;
    }
    a_labels
}
