//! One table of an overlay and its base.

use crate::compile::{CompileError, CompileOptions, compile};
use crate::records::{GatherError, Gatherer};
use std::sync::Arc;
use table::{BadPointer, ImageFlags, Table, Walk};

/// Octets of master file that a record stands for, for what a [`Gatherer`] sets aside.
const RECORD_TEXT: usize = 40;

/// Why an overlay can't be folded.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// The table was not made by this program's compiler.
    #[error(transparent)]
    Pointer(#[from] BadPointer),
    /// The records are too many.
    #[error(transparent)]
    Gather(#[from] GatherError),
    /// They can't be compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// What came of it has other records.
    #[error("the folded table has other records than the one it was made of")]
    Content,
}

/// Compiles the zone of a table as a whole. The new table has the same records, options and source, and stands over no
/// other.
///
/// Takes as long as compiling the zone from its records, and as much memory.
///
/// # Errors
/// When that fails; the table is as it was.
pub fn fold(table: &Arc<Table>) -> Result<Table, FoldError> {
    let mut gatherer = Gatherer::new(table.apex_name(), table.record_count() as usize * RECORD_TEXT);
    gatherer.set_mixed(table.flags().has(ImageFlags::MIXED));
    let mut walk = Walk::new(Arc::clone(table));
    while let Some(record) = walk.next_record()? {
        gatherer.add_received(record.owner, record.rtype, record.ttl, record.rdata);
    }
    drop(walk);
    let options = CompileOptions { rotate: table.flags().has(ImageFlags::ROTATE), source: table.source() };
    let folded = compile(gatherer.finish()?, &options)?;
    if folded.content() != table.content() {
        return Err(FoldError::Content);
    }
    Ok(folded)
}
