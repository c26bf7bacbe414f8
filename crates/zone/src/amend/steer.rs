//! Answers that follow what stands behind a name, in place of what the zone has there.

use super::choice::{Choice, Made};
use super::touched::{Row, Touched};
use super::{AmendError, NAMES_MAX, closure, sign};
use crate::sign::{SignError, Signer, is_signed};
use std::sync::Arc;
use table::{NodeFlags, Table};
use wire::{FoldedName, NameBuf, RecordType};

/// The most names of a steered table: those of the overlay that it begins with, and as many again.
const STEERED_NAMES_MAX: usize = 2 * NAMES_MAX;

/// What a name answers in place of the set that the zone has there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Steered {
    /// The name, at or below the apex.
    pub owner: NameBuf,
    /// The type of the set.
    pub rtype: RecordType,
    /// Its TTL, in seconds.
    pub ttl: u32,
    /// The data of its records, without compression.
    pub rdata: Vec<Vec<u8>>,
    /// The parts of the set that answers have; `None` where each has all of it.
    pub choice: Option<Arc<Choice>>,
}

/// Why names of a zone can't be steered.
#[derive(Debug, thiserror::Error)]
pub enum SteerError {
    /// What is not in the zone can't be answered for it.
    #[error("{0} is not in the zone")]
    Outside(Box<NameBuf>),
    /// The name, or one above it, is delegated, so that the zone has no authority for it.
    #[error("{0} is delegated or redirected to another zone")]
    Elsewhere(Box<NameBuf>),
    /// Resolvers would have to take an answer without a signature for forged.
    #[error(
        "the zone is signed, and there is no key here to sign answers that change: give it a `signing-key`"
    )]
    Signed,
    /// There are keys, which can't be used.
    #[error("the zone is signed, and its answers can't be: {0}")]
    Unsigned(#[from] SignError),
    /// The name has no NSEC or NSEC3 record, and for new ones the whole chain would have to be signed anew.
    #[error(
        "the zone is signed, and {0} is not in its chain of denial: add {0} to the zone, with any address, and sign it again"
    )]
    Unchained(Box<NameBuf>),
    /// A set without records takes others at its name to be an answer: "no such data".
    #[error("{0} would have no records left")]
    Bare(Box<NameBuf>),
    /// Whoever asks for them would be led elsewhere.
    #[error(
        "{0} has {1} records in the zone, and an alias has no data of its own (RFC 1034 §3.6.2): take them out, or have the pool answer with addresses"
    )]
    Beside(Box<NameBuf>, RecordType),
    /// The apex has other data.
    #[error(
        "{0} is the apex of its zone, which has other data and is no alias (RFC 1034 §3.6.2): have the pool answer with addresses"
    )]
    Apex(Box<NameBuf>),
    /// The zone with these answers would be wrong, as where the name is an alias.
    #[error("together with what else is there they are no good zone: {0}")]
    Wrong(#[from] AmendError),
}

/// Makes a table that answers as `version` does, but at some names as `answers` says.
///
/// It is an overlay that costs what its names cost, a few microseconds each, and is for packet threads alone:
/// [`Table::version`] of it is `version`. All answers of a name stand in a row.
///
/// Where the zone is signed, so are they, by the signer, at a moment in seconds since 1970: some 20 µs for each set that
/// it has not signed lately.
///
/// # Errors
/// The zone can't be steered there.
pub fn steer(
    version: &Arc<Table>,
    answers: &[Steered],
    signer: Option<(&mut Signer, u64)>,
) -> Result<Table, SteerError> {
    let mut signing = match (is_signed(version), signer) {
        (true, Some((signer, now))) => Some(signer.begin(version, now)?),
        (true, None) => return Err(SteerError::Signed),
        (false, _) => None,
    };
    let mut touched = Touched::new(version, STEERED_NAMES_MAX)?;
    let mut made = Made::default();
    for answer in answers {
        let Steered { owner, rtype, ttl, rdata, .. } = answer;
        require_authority(version, owner)?;
        let rows = touched.rows_at(owner.as_name())?;
        rows.retain(|row| row.rtype != *rtype);
        // An alias leads to one name, whichever answers choose (RFC 2181 §10.1).
        let count = if *rtype == RecordType::CNAME { 1 } else { rdata.len() };
        let rdata = rdata.iter().take(count);
        rows.extend(rdata.map(|rdata| Row { rtype: *rtype, ttl: *ttl, rdata: rdata.clone() }));
        let variants = made.variants(answer, signing.as_mut())?;
        touched.choices.set(owner.as_name(), *rtype, variants);
    }
    for Steered { owner, rtype, rdata, .. } in answers {
        let rows = touched.rows_at(owner.as_name())?;
        if *rtype == RecordType::CNAME && !rdata.is_empty() {
            require_alone(version, owner, rows)?;
        }
        // RFC 4035 §2.3: a name has not these alone.
        let is_proof = |row: &Row| [RecordType::RRSIG, RecordType::NSEC].contains(&row.rtype);
        if rows.iter().all(is_proof) {
            return Err(SteerError::Bare(Box::new(owner.clone())));
        }
    }
    if let Some(mut signing) = signing {
        sign::sign(&mut touched, answers, &mut signing)?;
    }
    let table = closure::complete(&mut touched, version.source())?;
    Ok(table.in_place_of(Arc::clone(version)))
}

/// An alias has nothing else but what proves it (RFC 4035 §2.5).
fn require_alone(version: &Table, owner: &NameBuf, rows: &[Row]) -> Result<(), SteerError> {
    use RecordType as T;
    if owner.as_name().len() == version.apex_len() {
        return Err(SteerError::Apex(Box::new(owner.clone())));
    }
    let may_stand = |row: &&Row| [T::CNAME, T::RRSIG, T::NSEC, T::KEY].contains(&row.rtype);
    match rows.iter().find(|row| !may_stand(row)) {
        Some(row) => Err(SteerError::Beside(Box::new(owner.clone()), row.rtype)),
        None => Ok(()),
    }
}

fn require_authority(version: &Table, owner: &NameBuf) -> Result<(), SteerError> {
    let name = owner.as_name();
    if !name.is_at_or_below(version.apex_name()) {
        return Err(SteerError::Outside(Box::new(owner.clone())));
    }
    let mut folded = FoldedName::default();
    folded.set(name);
    let is_elsewhere = match version.find(&folded) {
        table::Found::Exact(node) => node.flags().has(NodeFlags::CUT),
        table::Found::BelowCut(_) | table::Found::BelowDname(_) => true,
        table::Found::Missing(_) => false,
    };
    if is_elsewhere { Err(SteerError::Elsewhere(Box::new(owner.clone()))) } else { Ok(()) }
}
