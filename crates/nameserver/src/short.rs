//! The short way to the commonest answers that are not a plain hit: a referral with all that it needs in one node, and the
//! denial of a name below nothing but the apex.
//!
//! It gives the octets that the whole algorithm gives, which a property compares; where anything is out of the ordinary, or
//! doesn't fit, it gives nothing, and the whole algorithm begins anew.

use crate::answer::Outcome;
use crate::negative::deny_below_apex;
use crate::writer::{Owner, Section, Signatures, Writer};
use table::{Extent, Found, ImageFlags, Node, NodeFlags, Table};
use wire::message::HEADER_LEN;
use wire::{FoldedName, Rcode, RecordType};

/// Answers the question of this name and type, where that is short.
#[inline(always)]
pub(crate) fn answer(
    table: &Table,
    name: &FoldedName,
    qtype: RecordType,
    found: Found<'_>,
    signatures: Signatures,
    writer: &mut Writer<'_>,
) -> Option<Outcome> {
    match found {
        Found::Exact(node) if node.flags().has(NodeFlags::CUT) && qtype != RecordType::DS => {
            referral(table, node, HEADER_LEN, signatures, writer)
        }
        Found::BelowCut(encloser) => {
            let cut_at = HEADER_LEN + name.label_start(encloser.next_closer + 1);
            referral(table, encloser.node, cut_at, signatures, writer)
        }
        Found::Missing(encloser)
            if encloser.node.relative_len() == 0 && encloser.node.wildcard().is_none() =>
        {
            denial(table, name, encloser.next_closer, signatures, writer)
        }
        Found::Exact(_) | Found::BelowDname(_) | Found::Missing(_) => None,
    }
}

/// A referral (RFC 1034 §4.3.2 step 3b) with the addresses that must go with it and no others, and with DO to a zone that
/// has a DS record.
#[inline(always)]
fn referral(
    table: &Table,
    cut: Node<'_>,
    cut_at: usize,
    signatures: Signatures,
    writer: &mut Writer<'_>,
) -> Option<Outcome> {
    let ns = cut.rrset(RecordType::NS)?;
    let links = ns.links();
    if links.additional().next().is_some() {
        return None;
    }
    let placed = writer.delegation(cut, ns, links, cut_at).ok()?;
    if signatures == Signatures::With && is_signed(table) {
        let ds = cut.rrset(RecordType::DS)?;
        writer.rrset(Section::Authority, cut, ds, Owner::At(cut_at), Signatures::With, 0).ok()?;
    }
    if links.glue_count != 0 {
        writer.glue(links.glue_count, links.glue, placed.at).ok()?;
    }
    Some(Outcome::referral())
}

/// Neither the name nor a wildcard exists, and above it there is nothing but the apex (RFC 2308 §2.1).
#[inline(always)]
fn denial(
    table: &Table,
    name: &FoldedName,
    next_closer: usize,
    signatures: Signatures,
    writer: &mut Writer<'_>,
) -> Option<Outcome> {
    if signatures == Signatures::Without {
        writer.part(table.negative_part(Extent::Soa)).ok()?;
    } else if is_signed(table) {
        deny_below_apex(table, name, next_closer, writer).ok()?;
    } else {
        writer.part(table.negative_part(Extent::SignedSoa)).ok()?;
    }
    Some(Outcome::authoritative(Rcode::NXDOMAIN))
}

#[inline]
fn is_signed(table: &Table) -> bool {
    table.flags().has(ImageFlags::NSEC) || table.flags().has(ImageFlags::NSEC3)
}
