//! The zone compiler: all thinking about a zone, done once, off the packet path.
//!
//! [`plan`] lays the names out as nodes: which are cuts, what is occluded below them, which empty
//! non-terminals there are, where wildcards hang. [`denial`] finds the proofs of non-existence that are known
//! before any query. [`encode`] writes record sets in wire form with compressed names. [`over`] does the same for those
//! names alone that have changed.

mod denial;
mod encode;
pub(crate) mod over;
mod plan;

use crate::amend::Choices;
use crate::content;
use crate::records::{OwnerView, Zone};
use encode::Encoder;
use plan::{Plan, PlannedNode};
use std::sync::Arc;
use std::thread;
use table::{BuildError, Builder, ImageFlags, NodeFlags, NodeIndex, NodeSpec, SourceStamp, Table};
use wire::RecordType;

/// Sets of more records than this, whose records point to one another, are not turned: every turn is a copy. The most
/// name servers that any zone has are thirteen.
const TURNED_MAX: usize = 16;

/// From so many octets of records on the digest of the content is made beside the table, by a thread of its own: it takes
/// a third of the time that the table does, so more threads would gain nothing.
const WORTH_A_THREAD: usize = 8 << 20;

/// What the compiler is told beside the zone.
#[derive(Clone, Copy, Debug, Default)]
pub struct CompileOptions {
    /// Whether the records of a set rotate from answer to answer.
    pub rotate: bool,
    /// What the table is made from, for its owner to recognise.
    pub source: SourceStamp,
}

/// Why a zone can't be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The apex has no SOA record.
    #[error("the zone has no SOA record at its apex")]
    NoSoa,
    /// The image can't be made.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// Makes the answer table of a zone, which is freed as soon as everything in it has been written.
///
/// # Errors
/// When the apex has no SOA record, or the table can't be built. A zone that passed its checks fails only for
/// want of memory or for sets that fit no message.
pub fn compile(zone: Zone, options: &CompileOptions) -> Result<Table, CompileError> {
    let (builder, content) = if zone.octets() < WORTH_A_THREAD {
        (write(&zone, options), content::of_zone(&zone))
    } else {
        thread::scope(|scope| {
            let content = scope.spawn(|| content::of_zone(&zone));
            let builder = write(&zone, options);
            (builder, content.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
    };
    let mut builder = builder?;
    builder.content(content);
    // The table is copied to where it stays; the zone and the copy need not be there at once.
    drop(zone);
    Ok(builder.finish(options.source)?)
}

/// Writes everything that is in the zone.
fn write(zone: &Zone, options: &CompileOptions) -> Result<Builder, CompileError> {
    let plan = Plan::new(zone);
    let chain = denial::Nsec3Chain::new(zone, &plan);
    let mut flags = ImageFlags::NONE;
    if options.rotate {
        flags = flags.with(ImageFlags::ROTATE);
    }
    if zone.is_mixed() {
        flags = flags.with(ImageFlags::MIXED);
    }
    if chain.is_usable() {
        flags = flags.with(ImageFlags::NSEC3);
    } else if zone.find(zone.apex()).is_some_and(|apex| apex.has(RecordType::NSEC)) {
        flags = flags.with(ImageFlags::NSEC);
    }
    let proofs = denial::Proofs::new(zone, &plan, &chain, flags, None);
    let mut encoder = Encoder::new(zone, &plan);
    let mut builder = write_names(zone, &plan, &chain, &proofs, flags, &Choices::default(), &mut encoder)?;
    add_nsec3_owners(&mut builder, &mut encoder, zone, &plan, &chain)?;
    add_negative_soa(&mut builder, &mut encoder, zone)?;
    Ok(builder)
}

/// Begins an image with all planned names and what they own.
fn write_names(
    zone: &Zone,
    plan: &Plan,
    chain: &denial::Nsec3Chain,
    proofs: &denial::Proofs<'_>,
    flags: ImageFlags,
    choices: &Choices,
    encoder: &mut Encoder<'_>,
) -> Result<Builder, CompileError> {
    let mut builder = Builder::new(zone.apex(), zone.serial(), flags, plan.nodes.len(), zone.octets());
    if let Some((iterations, salt)) = chain.parameters() {
        builder.nsec3_parameters(iterations, salt);
    }
    let rotate = flags.has(ImageFlags::ROTATE);
    for (index, node) in plan.nodes.iter().enumerate() {
        builder.name(&NodeSpec {
            relative: plan.relative(zone, node),
            flags: node.flags,
            denial: proofs.of(index as u32, node),
        })?;
        if let Some(owner) = node.owner_in(zone) {
            add_rrsets(&mut builder, encoder, owner, node, choices, rotate)?;
        }
    }
    Ok(builder)
}

fn add_negative_soa(
    builder: &mut Builder,
    encoder: &mut Encoder<'_>,
    zone: &Zone,
) -> Result<(), CompileError> {
    let soa = zone.find(zone.apex()).and_then(|apex| apex.rrset(RecordType::SOA));
    builder.negative_soa(&encoder.negative_soa(soa.ok_or(CompileError::NoSoa)?))?;
    Ok(())
}

fn add_rrsets(
    builder: &mut Builder,
    encoder: &mut Encoder<'_>,
    owner: OwnerView<'_>,
    node: &PlannedNode,
    choices: &Choices,
    rotate: bool,
) -> Result<(), CompileError> {
    encoder.begin_owner(owner, node);
    for rrset in owner.rrsets() {
        // Signatures go with what they cover; those that cover nothing stand alone. NSEC3 records have their
        // own region.
        let rtype = rrset.rtype();
        if rtype == RecordType::NSEC3 || (rtype == RecordType::RRSIG && !encoder.has_orphans(owner)) {
            continue;
        }
        if let Some(variants) = choices.of(owner.name(), rtype) {
            builder.steered_rrset(&encoder.plain_rrset(owner, rrset), Arc::clone(variants))?;
            continue;
        }
        builder.rrset(&encoder.rrset(owner, rrset, 0))?;
        // A referral's NS records keep their order; only those of the apex are an answer.
        let turns = rotate && !node.flags.has(NodeFlags::CUT) && rrset.len() <= TURNED_MAX;
        if turns && encoder.has_inner_pointers() {
            for first in 1..rrset.len() {
                builder.turned_rrset(&encoder.rrset(owner, rrset, first))?;
            }
        }
    }
    Ok(())
}

fn add_nsec3_owners(
    builder: &mut Builder,
    encoder: &mut Encoder<'_>,
    zone: &Zone,
    plan: &Plan,
    chain: &denial::Nsec3Chain,
) -> Result<(), CompileError> {
    for (index, owner) in plan.nsec3_owners.iter().enumerate() {
        let owner = zone.owner(*owner as usize);
        let relative_len = owner.name().len() - zone.apex().len();
        let spec = NodeSpec {
            relative: &owner.name().as_wire()[..relative_len],
            flags: NodeFlags::NONE,
            denial: [NodeIndex::None; 5],
        };
        builder.nsec3_owner(&spec, chain.hash_of_owner(index))?;
        encoder.begin_nsec3_owner(owner);
        if let Some(rrset) = owner.rrset(RecordType::NSEC3) {
            builder.rrset(&encoder.rrset(owner, rrset, 0))?;
        }
    }
    Ok(())
}
