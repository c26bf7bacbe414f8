//! From one version of a zone to the next, at the cost of what changed.
//!
//! [`amend`] applies differences to a table and makes an overlay over it: a small image of the names that are other than in
//! the base, [`table::Table`] says how it is read. It begins with the names of the overlay before, so that there is always
//! one overlay over one base, and what a change costs grows with what has changed since the base was compiled. `touched` holds
//! these names with their records. `closure` adds what depends on them. `compile::over` makes the image.
//!
//! [`renew`] does so where there are all records of a new version, and finds out itself what is other about them.
//!
//! [`fold`] makes a whole table of an overlay and its base, in its own time. [`steer`] has some names answer with something else than
//! the zone says; `choice` makes the sets of those that have several for their answers, and in a signed zone `sign` signs all that.
//!
//! What can't be done so, because it changes too much or what answers are made of changes as a whole, is left to a
//! compilation of the whole zone: [`AmendError::Recompile`] says why. That is always right, only slower.

mod choice;
mod closure;
mod fold;
mod renew;
mod sign;
mod steer;
mod touched;

use crate::apply::Mismatch;
use crate::compile::CompileError;
use crate::difference::Difference;
use std::sync::Arc;
use table::{BadPointer, BuildError, SourceStamp, Table};

pub(crate) use choice::Choices;
pub use choice::{Choice, Decider};
pub(crate) use closure::hides;
pub use fold::{FoldError, fold};
pub use renew::{NotRenewed, renew};
pub use steer::{SteerError, Steered, steer};
pub use table::Withheld;
pub(crate) use touched::{Touched, hash_of_owner};

/// The most names of an overlay. Making one takes about 2 µs for each; and whoever reads the zone looks into it first, so it
/// should stay in the cache.
pub const NAMES_MAX: usize = 8192;

/// Why differences give no overlay.
#[derive(Debug, thiserror::Error)]
pub enum AmendError {
    /// They don't fit the version that they are applied to. The zone has to be had as a whole.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// The zone has to be compiled as a whole.
    #[error("the zone has to be compiled as a whole: {0}")]
    Recompile(Reason),
}

/// Why a zone has to be compiled as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Reason {
    /// Too much has changed since the last time.
    #[error("too many names have changed since it was")]
    TooMany,
    /// The zone is signed in another way, or no longer, or for the first time.
    #[error("how it denies names has changed")]
    Denial,
    /// It has NSEC3 records of several chains, or such that don't belong to the changed names.
    #[error("its NSEC3 chain is changing as a whole")]
    Chain,
    /// The check of the changed names has found an error, which the check of the whole tells better.
    #[error("the changed names have errors")]
    Errors,
    /// The image can't be referred to, or was not made by this program.
    #[error("its table can't be amended")]
    Table,
}

impl From<BadPointer> for AmendError {
    fn from(_: BadPointer) -> AmendError {
        AmendError::Recompile(Reason::Table)
    }
}

impl From<BuildError> for AmendError {
    fn from(_: BuildError) -> AmendError {
        AmendError::Recompile(Reason::Table)
    }
}

impl From<CompileError> for AmendError {
    fn from(_: CompileError) -> AmendError {
        AmendError::Recompile(Reason::Errors)
    }
}

/// Makes the next version of a zone: `table` with `differences`, the oldest first.
///
/// Options and source are those of the table. What is made of a mixed one ([`table::ImageFlags::MIXED`]) is mixed; differences that
/// others have made don't lead on from it, which is for the caller to know.
///
/// # Errors
/// The differences don't fit, or the zone has to be compiled as a whole; the table is as it was.
pub fn amend(table: &Arc<Table>, differences: &[Difference]) -> Result<Table, AmendError> {
    amend_from(table, differences, table.source())
}

/// The same, made from another source.
fn amend_from(
    table: &Arc<Table>,
    differences: &[Difference],
    source: SourceStamp,
) -> Result<Table, AmendError> {
    let mut touched = Touched::new(table, NAMES_MAX)?;
    touched.apply(differences)?;
    closure::complete(&mut touched, source)
}
