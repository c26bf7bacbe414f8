//! What there is on disk, for those who send it to secondaries and those who tell of it.

use super::journal::{FileId, Journal, is_within, octets_max};
use crate::status::JournalStatus;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use table::{ContentDigest, Table};
use transfer::journal::{Mark, Records, Version};
use transfer::outgoing::Differences;
use wire::Name;

/// How many octets of a journal are sent instead of a whole zone, for each of its table. A zone of hosts and a few other records
/// has 0.85 octets of records for each of its table, so that what is sent is always less than the zone.
const SENT_MAX: f64 = 0.75;

/// The version in a table.
pub(crate) fn version_of(table: &Table) -> Version {
    Version { serial: table.serial(), digest: table.content().0 }
}

/// What is known of all zones. Locked for a moment at a time, never for a disk.
#[derive(Default)]
pub(crate) struct Index {
    zones: RwLock<HashMap<Box<[u8]>, Known>>,
}

#[derive(Default)]
struct Known {
    journal: Option<Arc<Snapshot>>,
    /// A journal in which something was wrong that was right when it was written.
    spoilt: Option<FileId>,
    /// Which version is in the image.
    image: Option<Version>,
    /// Up to which version the journal is on disk.
    synced: Option<Version>,
}

/// A journal as it was after its last change.
struct Snapshot {
    path: PathBuf,
    file: FileId,
    marks: Vec<Mark>,
}

impl Index {
    /// What leads from the version with this serial to the one in `table`; `None` where the zone as a whole is to be had instead:
    /// the journal doesn't reach so far, or what it has is nearly as long.
    pub(crate) fn differences(&self, serial: u32, table: &Table) -> Option<Differences> {
        let key = table.apex_name().as_wire();
        // A journal that was written anew meanwhile is looked at once more.
        (0..2).find_map(|_| {
            let snapshot = {
                let zones = self.read();
                let known = zones.get(key)?;
                known.journal.clone().filter(|journal| known.spoilt != Some(journal.file))?
            };
            snapshot.differences(serial, table)
        })
    }

    /// Whether a restart would find this version by the journal, or a later one: while a table is put together, a zone that
    /// changes ten times a second goes on.
    pub(super) fn leads_to(&self, table: &Table) -> bool {
        let zones = self.read();
        let known = zones.get(table.apex_name().as_wire());
        known.is_some_and(|known| known.reaches(version_of(table)))
    }

    /// Whether a restart would find this version by the journal, and none behind it.
    pub(super) fn ends_at(&self, table: &Table) -> bool {
        let zones = self.read();
        let known = zones.get(table.apex_name().as_wire());
        known.and_then(Known::replayed) == Some(version_of(table))
    }

    /// Whether the journal goes on from the image, so that what is in it is not lost.
    pub(super) fn goes_on_from_image(&self, zone: Name<'_>) -> bool {
        self.read().get(zone.as_wire()).and_then(Known::replayed).is_some()
    }

    /// Whether the journal of a zone is longer than it should be, and can't be shortened before a later image is stored.
    pub(super) fn is_full(&self, table: &Table) -> bool {
        let zones = self.read();
        let journal = zones.get(table.apex_name().as_wire()).and_then(|known| known.journal.as_ref());
        journal.is_some_and(|journal| {
            let end = journal.marks.last().map_or(0, |mark| mark.at);
            !is_within(end, journal.marks.len(), octets_max(table), 1)
        })
    }

    /// Whether a journal that is begun anew at this version loses nothing: it ends there, or the image is of it.
    pub(super) fn begins_at(&self, table: &Table) -> bool {
        let zones = self.read();
        let Some(known) = zones.get(table.apex_name().as_wire()) else { return false };
        let end = known.journal.as_ref().and_then(|journal| journal.marks.last());
        known.image == Some(version_of(table)) || end.is_some_and(|end| end.version == version_of(table))
    }

    /// Which version is in the image.
    pub(in crate::archive) fn image(&self, zone: Name<'_>) -> Option<Version> {
        self.read().get(zone.as_wire())?.image
    }

    /// The journal of a zone turned out to be damaged: nothing is sent from it until it is begun anew.
    pub(crate) fn spoilt(&self, zone: Name<'_>) {
        if let Some(known) = self.write().get_mut(zone.as_wire()) {
            known.spoilt = known.journal.as_ref().map(|journal| journal.file);
        }
    }

    /// How it stands with a zone: its journal, and whether a restart begins with the version that has this digest.
    pub(crate) fn status(&self, zone: Name<'_>, digest: &str) -> (Option<JournalStatus>, bool) {
        let zones = self.read();
        let Some(known) = zones.get(zone.as_wire()) else { return (None, false) };
        let is_durable =
            known.recalled().is_some_and(|version| ContentDigest(version.digest).to_string() == digest);
        (known.journal.as_ref().and_then(|journal| journal.status()), is_durable)
    }

    /// Whether a restart begins with this version.
    pub(super) fn begins_with(&self, table: &Table) -> bool {
        let zones = self.read();
        let known = zones.get(table.apex_name().as_wire());
        known.and_then(Known::recalled) == Some(version_of(table))
    }

    /// A journal has changed.
    pub(super) fn set_journal(&self, zone: Name<'_>, journal: &Journal) {
        let snapshot = Snapshot {
            path: journal.path().to_owned(),
            file: journal.file(),
            marks: journal.marks().iter().copied().collect(),
        };
        self.write().entry(zone.as_wire().into()).or_default().journal = Some(Arc::new(snapshot));
    }

    /// What the journal leads to is on disk.
    pub(super) fn set_synced(&self, zone: Name<'_>, version: Version) {
        self.write().entry(zone.as_wire().into()).or_default().synced = Some(version);
    }

    /// There is no journal, or none that can be relied on.
    pub(super) fn drop_journal(&self, zone: Name<'_>) {
        if let Some(known) = self.write().get_mut(zone.as_wire()) {
            known.journal = None;
        }
    }

    /// The image is of this version.
    pub(super) fn set_image(&self, zone: Name<'_>, version: Version) {
        self.write().entry(zone.as_wire().into()).or_default().image = Some(version);
    }

    /// The zone is no longer configured.
    pub(super) fn forget(&self, zone: Name<'_>) {
        self.write().remove(zone.as_wire());
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<Box<[u8]>, Known>> {
        // Each change is an assignment, which can't be left half done.
        self.zones.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<Box<[u8]>, Known>> {
        self.zones.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// The version that a restart gets to from the image by the journal.
    fn replayed(&self) -> Option<Version> {
        let (image, journal) = (self.image?, self.journal.as_ref()?);
        let leads_on = journal.marks.iter().any(|mark| mark.version == image);
        self.synced.filter(|_| leads_on)
    }

    /// The version that a restart begins with: the journal leads on from the image, or the image is all there is.
    fn recalled(&self) -> Option<Version> {
        self.synced.filter(|synced| self.reaches(*synced)).or(self.image)
    }

    /// Whether a restart gets from the image, by the journal, to this version, or past it.
    fn reaches(&self, version: Version) -> bool {
        let (Some(image), Some(synced), Some(journal)) = (self.image, self.synced, &self.journal) else {
            return false;
        };
        let at = |version| journal.marks.iter().rposition(|mark| mark.version == version);
        is_on_the_way(at(image), at(version), at(synced))
    }
}

impl Snapshot {
    fn differences(&self, serial: u32, table: &Table) -> Option<Differences> {
        let version = version_of(table);
        let to = self.marks.iter().rposition(|mark| mark.version == version)?;
        let from = self.marks[..to].iter().rposition(|mark| mark.version.serial == serial)?;
        let (from, to) = (self.marks[from], self.marks[to]);
        if to.at - from.at > (table.image().len() as f64 * SENT_MAX) as u64 {
            return None;
        }
        match self.reader(from.at) {
            Ok(reader) => Some(Records::new(reader, from, to)),
            Err(error) => {
                tracing::debug!("the journal {} can't be read: {error}", self.path.display());
                None
            }
        }
    }

    /// Reads from so many octets on. Whatever becomes of the name later, the file stays open.
    fn reader(&self, at: u64) -> io::Result<Box<dyn Read + Send>> {
        let mut file = File::open(&self.path)?;
        if FileId::of(&file.metadata()?) != self.file {
            return Err(io::Error::new(io::ErrorKind::NotFound, "it was replaced"));
        }
        file.seek(SeekFrom::Start(at))?;
        Ok(Box::new(BufReader::new(file)))
    }

    fn status(&self) -> Option<JournalStatus> {
        let (first, last) = (self.marks.first()?, self.marks.last()?);
        Some(JournalStatus {
            from_serial: first.version.serial,
            to_serial: last.version.serial,
            differences: self.marks.len() - 1,
            octets: last.at,
        })
    }
}

/// Whether a version is on the way that begins at the image and ends at what is on disk, by where each of them is.
fn is_on_the_way(image: Option<usize>, version: Option<usize>, synced: Option<usize>) -> bool {
    image
        .zip(version)
        .zip(synced)
        .is_some_and(|((image, version), synced)| image <= version && version <= synced)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_between_the_image_and_what_is_on_disk() {
        let on_the_way = |image, synced| {
            (0..9).filter(|at| is_on_the_way(image, Some(*at), synced)).collect::<Vec<usize>>()
        };
        assert_eq!(on_the_way(Some(2), Some(5)), [2, 3, 4, 5]);
        assert_eq!(on_the_way(Some(3), Some(3)), [3]);
        assert_eq!(on_the_way(Some(5), Some(2)), [0; 0], "what is on disk is older than the image");
        assert_eq!(on_the_way(None, Some(5)), [0; 0], "the journal begins behind the image");
        assert!(!is_on_the_way(Some(2), None, Some(5)), "the journal doesn't have it yet");
    }
}
