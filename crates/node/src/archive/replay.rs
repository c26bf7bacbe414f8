//! The last version of a zone that was transferred, from its image and its journal; and the one before.

use super::index::version_of;
use crate::config::ZoneConfig;
use crate::zones::state_dir::StateDir;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use table::{ImageFlags, Table};
use transfer::journal::{self, Damage, Mark, Version};
use zone::amend::AmendError;
use zone::{CompileOptions, Difference};

/// What a journal leads to.
pub(crate) struct Replayed {
    /// The version.
    pub(crate) table: Table,
    /// The image that it leads on from.
    pub(crate) image: Version,
    /// By how many differences.
    pub(crate) differences: usize,
}

/// Why a journal doesn't lead on.
#[derive(Debug, thiserror::Error)]
enum NoReplay {
    #[error("it can't be read: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Damaged(#[from] Damage),
    #[error(transparent)]
    Mismatch(#[from] zone::Mismatch),
    #[error("it leads to no zone that can be served")]
    Refused,
    #[error(transparent)]
    Compile(#[from] zone::CompileError),
    #[error("it leads to another version than it says")]
    OtherVersion,
}

/// Goes on from the image of a zone as far as its journal leads; `None` where it doesn't lead on from it.
///
/// That costs what has changed, unless that is so much, or of such a kind, that the zone has to be compiled anew.
pub(crate) fn replay(zone: &ZoneConfig, state: &StateDir, image: &Arc<Table>) -> Option<Replayed> {
    match lead_on(zone, &state.journal(&zone.name), image) {
        Ok(replayed) => replayed,
        Err(error) => {
            // A wrong version would be worse than an old one, which the primaries make new.
            let (name, serial) = (&zone.name, image.serial());
            tracing::error!(
                "zone {name}: its journal can't be used, its image with serial {serial} is: {error}"
            );
            None
        }
    }
}

/// The version before the one that is served, by what the journal has between the two; `None` where it doesn't lead there.
pub(crate) fn back(
    zone: &ZoneConfig,
    state: &StateDir,
    served: &Arc<Table>,
    previous: Version,
) -> Option<Table> {
    let way = way(zone, &state.journal(&zone.name), previous, Some(version_of(served)));
    match way {
        Ok(way) => undone(zone, served, &way?.0, previous),
        Err(error) => {
            tracing::error!("zone {}: its journal can't be used: {error}", zone.name);
            None
        }
    }
}

/// The version that differences have led away from, of the one that they have led to.
pub(crate) fn undone(
    zone: &ZoneConfig,
    table: &Arc<Table>,
    differences: &[Difference],
    to: Version,
) -> Option<Table> {
    let inverse = |difference: &Difference| Difference {
        from: difference.to,
        to: difference.from,
        removed: difference.added.clone(),
        added: difference.removed.clone(),
    };
    let inverses: Vec<Difference> = differences.iter().rev().map(inverse).collect();
    match changed(table, &inverses, to) {
        Ok(table) => Some(table),
        Err(error) => {
            tracing::error!("zone {}: what has changed in it can't be undone: {error}", zone.name);
            None
        }
    }
}

fn lead_on(zone: &ZoneConfig, path: &Path, image: &Arc<Table>) -> Result<Option<Replayed>, NoReplay> {
    let version = version_of(image);
    let Some((differences, last)) = way(zone, path, version, None)? else { return Ok(None) };
    let table = changed(image, &differences, last)?;
    Ok(Some(Replayed { table, image: version, differences: differences.len() }))
}

/// What a journal has between two versions, or behind one; and the last of them. `None` where there is nothing, or no such journal.
fn way(
    zone: &ZoneConfig,
    path: &Path,
    from: Version,
    to: Option<Version>,
) -> Result<Option<(Vec<Difference>, Version)>, NoReplay> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    // What is wrong with its end is told, and mended, when it is taken up for writing.
    let scanned = journal::scan(BufReader::new(&file), zone.name.as_name(), super::journal::MARKS_MAX);
    let (mut marks, _damage) = match scanned {
        Err(Damage::OtherFile) => return Ok(None),
        scanned => scanned?,
    };
    if let Some(to) = to {
        let Some(at) = marks.iter().rposition(|mark| mark.version == to) else { return Ok(None) };
        marks.truncate(at + 1);
    }
    let Some(from) = marks.iter().rposition(|mark| mark.version == from) else { return Ok(None) };
    let marks: Vec<Mark> = marks.into_iter().skip(from).collect();
    let [first, .., last] = marks.as_slice() else { return Ok(None) };
    file.seek(SeekFrom::Start(first.at))?;
    let mut reader = BufReader::new(file);
    let mut differences: Vec<Difference> = Vec::new();
    for pair in marks.windows(2) {
        let mut frame = vec![0; (pair[1].at - pair[0].at) as usize]; // frames have at most 256 MiB
        reader.read_exact(&mut frame)?;
        differences.push(journal::difference(&frame, &pair[0])?);
    }
    Ok(Some((differences, last.version)))
}

/// The version that differences lead to from a table, which is to be this one.
fn changed(table: &Arc<Table>, differences: &[Difference], to: Version) -> Result<Table, NoReplay> {
    let changed = match zone::amend::amend(table, differences) {
        Ok(changed) => changed,
        Err(AmendError::Mismatch(mismatch)) => return Err(mismatch.into()),
        Err(AmendError::Recompile(_)) => {
            let records = zone::apply(table, differences)?;
            let records = zone::conclude(records).zone.ok_or(NoReplay::Refused)?;
            let rotate = table.flags().has(ImageFlags::ROTATE);
            let options = CompileOptions { rotate, source: table.source() };
            zone::compile(records, &options)?
        }
    };
    if version_of(&changed) == to { Ok(changed) } else { Err(NoReplay::OtherVersion) }
}
