//! The journal of one zone as a file: finding what is whole in it, appending, and dropping the oldest.

use crate::zones::image;
use std::collections::VecDeque;
use std::fs::{File, Metadata};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use table::Table;
use transfer::journal::{self, Damage, Mark, Unwritable, Version};
use wire::NameBuf;
use zone::Difference;

/// The most differences that a journal keeps: a secondary that is further behind takes the zone. What there is in memory of each
/// are 64 octets, and they are copied at each change.
pub(super) const DIFFERENCES_MAX: usize = 1000;

/// The longest journal, and the shortest bound of one, in octets; in between it is as long as the zone's table. What is longer than
/// a zone is never sent instead of it; some hundred changes of a tiny one are worth keeping.
const OCTETS_MAX: u64 = 64 << 20;
const OCTETS_MIN: u64 = 64 << 10;

/// How many of its octets and differences a journal that is full keeps, as a divisor: written anew once for so many
/// changes that each octet is written about twice.
const KEPT_DIVISOR: u64 = 2;

/// How many times as long as it should be a journal gets that a restart would begin with. The image that makes its beginning
/// unnecessary is then late by far, because the disk has no room for it.
const LIMIT_TIMES: u64 = 4;

/// How many marks that are.
pub(super) const MARKS_MAX: usize = (DIFFERENCES_MAX + 1) * LIMIT_TIMES as usize;

/// How long the journal of a zone should get, in octets.
pub(super) fn octets_max(table: &Table) -> u64 {
    (table.octets() as u64).clamp(OCTETS_MIN, OCTETS_MAX)
}

/// Whether a journal that ends here is no longer than so many times as long as it should be.
pub(super) fn is_within(end: u64, marks: usize, octets_max: u64, times: u64) -> bool {
    end <= octets_max * times && marks as u64 <= (DIFFERENCES_MAX as u64 + 1) * times
}

/// What the beginning of a journal is worth, from the version on that is in the zone's image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Base {
    /// A restart has nothing else.
    Needed,
    /// The zone has a master file.
    Spare,
}

/// What tells a file from another with its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FileId(u64, u64);

impl FileId {
    pub(super) fn of(file: &Metadata) -> FileId {
        FileId(file.dev(), file.ino())
    }
}

/// Why a difference was not written down.
#[derive(Debug, thiserror::Error)]
pub(super) enum AppendError {
    /// The system refuses.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is none that may be.
    #[error(transparent)]
    Unwritable(#[from] Unwritable),
    /// Another server of this node has written to the file, or somebody has replaced it.
    #[error("somebody else has written to it")]
    Changed,
    /// It is as long as it may get, and a restart needs all of it.
    #[error(
        "it is full, and the zone's image, which would make its beginning unnecessary, is not stored yet"
    )]
    Full,
    /// What was written can't be read any more.
    #[error(transparent)]
    Damaged(#[from] Damage),
}

/// A journal that this node writes. What the marks say is in the file; more may be there after a failure, and is written over.
pub(super) struct Journal {
    path: PathBuf,
    apex: NameBuf,
    file: FileId,
    /// At the beginning and behind each difference; never empty.
    marks: VecDeque<Mark>,
}

impl Journal {
    /// Opens a journal, if there is one. A torn or damaged end is cut off, and what is no journal of this zone set aside.
    ///
    /// # Errors
    /// Those of the system.
    pub(super) fn open(path: &Path, apex: &NameBuf) -> io::Result<Option<Journal>> {
        let file = match File::options().read(true).write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let metadata = file.metadata()?;
        match journal::scan(BufReader::new(&file), apex.as_name(), MARKS_MAX) {
            Ok((_, Some(Damage::Unreadable(kind)))) | Err(Damage::Unreadable(kind)) => Err(kind.into()),
            Ok((marks, damage)) => {
                let journal =
                    Journal { path: path.to_owned(), apex: apex.clone(), file: FileId::of(&metadata), marks };
                if let Some(damage) = damage {
                    let (at, version) = (journal.last().at, journal.last().version);
                    tracing::warn!(
                        "zone {apex}: the last {} octets of its journal are cut off, behind serial {}: {damage}",
                        metadata.len().saturating_sub(at),
                        version.serial
                    );
                    file.set_len(at)?;
                }
                // Who wrote it may have been killed before its sync.
                file.sync_data()?;
                Ok(Some(journal))
            }
            Err(damage) => {
                set_aside(path, apex, &damage.to_string())?;
                Ok(None)
            }
        }
    }

    /// Makes a journal that begins at a version, in place of one that there may be.
    ///
    /// # Errors
    /// Those of the system; what was there is then still there.
    pub(super) fn create(path: &Path, apex: &NameBuf, version: Version) -> io::Result<Journal> {
        let (heading, mark) = journal::heading(apex.as_name(), version);
        image::replace(path, &heading)?;
        let file = FileId::of(&std::fs::metadata(path)?);
        Ok(Journal { path: path.to_owned(), apex: apex.clone(), file, marks: VecDeque::from([mark]) })
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What tells it from others.
    pub(super) fn file(&self) -> FileId {
        self.file
    }

    /// Where it begins, and the end of each difference.
    pub(super) fn marks(&self) -> &VecDeque<Mark> {
        &self.marks
    }

    /// Where it ends.
    pub(super) fn last(&self) -> &Mark {
        self.marks.back().expect("a journal has a mark at its beginning")
    }

    /// Appends a difference that leads to the version with this digest. It is in the system's hands then, and outlives this process;
    /// to outlive the system, the file that is given has to be synced.
    ///
    /// # Errors
    /// It is not appended; the journal ends where it did.
    pub(super) fn append(&mut self, difference: &Difference, digest: [u8; 32]) -> Result<File, AppendError> {
        let before = *self.last();
        let (frame, mark) = journal::frame(&before, difference, digest)?;
        let file = File::options().write(true).open(&self.path)?;
        let metadata = file.metadata()?;
        if FileId::of(&metadata) != self.file || metadata.len() != before.at {
            return Err(AppendError::Changed);
        }
        if let Err(error) = file.write_all_at(&frame, before.at) {
            // Where even this fails, the rest is cut off at the next start, or the journal begun anew.
            let _cut_or_not = file.set_len(before.at);
            return Err(error.into());
        }
        self.marks.push_back(mark);
        Ok(file)
    }

    /// Whether there is room for so many differences, if a restart needs all that there are.
    pub(super) fn has_room(&self, differences: usize, base: Base) -> bool {
        base == Base::Spare || differences == 0 || self.marks.len() + differences <= MARKS_MAX
    }

    /// Drops the oldest differences where there are more than so many octets, or too many, by writing those that stay to
    /// a new file. Those behind the version `image` stay, since a restart begins there; unless that
    /// would be [`LIMIT_TIMES`] as much as there should be, and there is something else to begin with.
    ///
    /// # Errors
    /// Nothing is dropped.
    pub(super) fn shorten(
        &mut self,
        octets_max: u64,
        image: Option<Version>,
        base: Base,
    ) -> Result<(), AppendError> {
        let end = self.last().at;
        let is_within = |times: u64| is_within(end, self.marks.len(), octets_max, times);
        if is_within(1) {
            return Ok(());
        }
        let image = image.and_then(|image| self.marks.iter().rposition(|mark| mark.version == image));
        let keep_from = match image {
            Some(image) if is_within(LIMIT_TIMES) => image,
            Some(image) if base == Base::Needed => {
                if image == 0 {
                    return Err(AppendError::Full);
                }
                image
            }
            _ => usize::MAX,
        };
        if keep_from == 0 {
            return Ok(());
        }
        let (octets, count) = (octets_max / KEPT_DIVISOR, DIFFERENCES_MAX / KEPT_DIVISOR as usize);
        let by_octets = self.marks.partition_point(|mark| end - mark.at > octets);
        let first =
            by_octets.max(self.marks.len().saturating_sub(count)).min(self.marks.len() - 1).min(keep_from);
        let old = File::open(&self.path)?;
        if FileId::of(&old.metadata()?) != self.file {
            return Err(AppendError::Changed);
        }
        let (path, kept) = (self.path.clone(), &self.marks);
        let mut marks = VecDeque::new();
        let (new, mut replacement) = image::Replacement::begin(&path)?;
        let mut new = io::BufWriter::new(new);
        let (heading, mut mark) = journal::heading(self.apex.as_name(), kept[first].version);
        new.write_all(&heading)?;
        marks.push_back(mark);
        let mut reader = BufReader::new(&old);
        reader.seek(SeekFrom::Start(kept[first].at))?;
        for (before, after) in kept.iter().zip(kept.iter().skip(1)).skip(first) {
            let mut frame = vec![0; (after.at - before.at) as usize]; // frames have at most 256 MiB
            reader.read_exact(&mut frame)?;
            // A good checksum is not put on what has become bad.
            journal::difference(&frame, before)?;
            let checksum = journal::seal(mark.checksum, &mut frame);
            new.write_all(&frame)?;
            mark = Mark { version: after.version, at: mark.at + frame.len() as u64, checksum };
            marks.push_back(mark);
        }
        let file = new.into_inner().map_err(io::IntoInnerError::into_error)?;
        replacement.finish(&file)?;
        self.file = FileId::of(&file.metadata()?);
        self.marks = marks;
        Ok(())
    }
}

/// Renames a journal that is no use, so that somebody can look at it; one that was set aside before goes.
///
/// # Errors
/// Those of the system.
pub(super) fn set_aside(path: &Path, apex: &NameBuf, why: &str) -> io::Result<()> {
    let aside = path.with_extension("journal-aside");
    match std::fs::rename(path, &aside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed?,
    }
    tracing::warn!("zone {apex}: its journal is set aside as {}, and begun anew: {why}", aside.display());
    Ok(())
}
