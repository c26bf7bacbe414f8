//! What a node keeps between runs: the image of each zone, and from which files it was made.
//!
//! ```text
//! STATE-DIR/lock                  held while a node runs
//! STATE-DIR/members               JSON: the zones that are here for catalogs, see [`super::members`]
//! STATE-DIR/members-aside         one that was no use
//! STATE-DIR/tables/NAME.table     the image, see crate `table`
//! STATE-DIR/tables/NAME.sources   JSON: the paths of the master file and of what it includes
//! STATE-DIR/tables/NAME.transfer  JSON: of a zone that was transferred, when a primary last confirmed it
//! STATE-DIR/tables/NAME.journal   the differences of its last versions, see `transfer::journal`
//! STATE-DIR/tables/NAME.journal-aside  one that was no use
//! STATE-DIR/tables/NAME.previous  the image of the version before
//! STATE-DIR/tables/NAME.held      the image of a version that waits for an operator
//! STATE-DIR/tables/NAME.gate      JSON: what is known of these two
//! ```
//! An image is used if it is valid and its stamp is the one that its files have now; the list of files is
//! needed to know which files those are without reading them.

use super::image::{self, OpenError};
use super::source;
use super::transferred::Confirmations;
use crate::config::ZoneConfig;
use rustix::fs::FlockOperation;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use table::{ImageError, Table};
use wire::{Name, NameBuf};
use zone::amend::fold;

/// The longest escaped zone name used as a file name; longer ones are shortened with a digest, so that with
/// suffixes they stay below the 255 octets that file systems allow.
const FILE_STEM_MAX: usize = 200;

/// How the extension of a file begins that a version is written to for the operator's command.
pub(crate) const CANDIDATE: &str = "candidate-";
/// The folder of images and what belongs to them, in the state directory.
pub(crate) const TABLES: &str = "tables";
/// The file beside it with what is known of pools.
pub(crate) const POOLS_FILE: &str = "pools";

/// A version of a zone of which there is an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kept {
    /// The one that is served, or was last.
    Served,
    /// The one before it.
    Previous,
    /// The one that waits for an operator.
    Held,
}

impl Kept {
    fn extension(self) -> &'static str {
        match self {
            Kept::Served => "table",
            Kept::Previous => "previous",
            Kept::Held => "held",
        }
    }
}

/// A state directory that this process holds.
#[derive(Debug)]
pub(crate) struct StateDir {
    tables: PathBuf,
    /// Locked while it is open, here or in another process that it was passed to.
    lock: File,
    /// Why nothing could be written when it was opened.
    unwritable: Option<String>,
}

/// Why a state directory can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateDirError {
    /// The system refuses.
    #[error("cannot use the state folder {path}: {source}; it must be writable for the node's user", path = .path.display())]
    Unusable {
        /// Which path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another node holds it.
    #[error("another node uses the state folder {path}; stop it, or give this one a folder of its own", path = .path.display())]
    InUse {
        /// Which folder.
        path: PathBuf,
    },
}

/// Why a zone has to be compiled though there is a state directory.
#[derive(Debug)]
pub(crate) enum NoImage {
    /// There is no image yet.
    Absent,
    /// The zone's files, or its options, are not those that the image was made from.
    Older,
    /// The image is of another zone.
    OtherZone,
    /// The image was made from a master file, and the zone is transferred now.
    NoTransfer,
    /// It can't be used.
    Unusable(OpenError),
}

impl std::fmt::Display for NoImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NoImage::Absent => f.write_str("there is no image of it yet"),
            NoImage::Older => {
                f.write_str("its image is older than its zone file, its options or this program")
            }
            NoImage::NoTransfer => f.write_str("its image was not transferred"),
            NoImage::OtherZone => f.write_str("its image is of another zone"),
            NoImage::Unusable(OpenError::Invalid { source: source @ ImageError::Version { .. }, .. }) => {
                write!(f, "its image is of another format: {source}")
            }
            NoImage::Unusable(OpenError::Invalid { source, .. }) => {
                write!(f, "its image is damaged: {source}")
            }
            NoImage::Unusable(error) => write!(f, "its image can't be used: {error}"),
        }
    }
}

impl StateDir {
    /// Takes hold of a state directory, making it if it isn't there. On a disk that is full or has become read-only what is there is
    /// used, since a node that was killed has to be back all the same.
    ///
    /// # Errors
    /// When it can't be made, the node's user may not write to it, or another process holds it.
    pub(crate) fn open(path: &Path) -> Result<StateDir, StateDirError> {
        let unusable = |source| StateDirError::Unusable { path: path.to_owned(), source };
        let tables = path.join(TABLES);
        let mut unwritable = None;
        let mut spare = |error: io::Error| {
            if !is_of_disk(&error) {
                return Err(unusable(error));
            }
            unwritable = Some(error.to_string());
            Ok(())
        };
        make(&tables).or_else(&mut spare)?;
        let lock = match File::options().create(true).truncate(false).write(true).open(path.join("lock")) {
            Ok(lock) => lock,
            Err(error) => {
                spare(error)?;
                // Taking the lock writes nothing.
                File::open(path.join("lock")).or_else(|_| File::open(path)).map_err(unusable)?
            }
        };
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                // Where there is no such folder, there is nothing to remove.
                if tables.is_dir() {
                    remove_candidates(&tables).or_else(&mut spare)?;
                }
                Ok(StateDir { tables, lock, unwritable })
            }
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StateDirError::InUse { path: path.to_owned() }),
            Err(error) => Err(unusable(error.into())),
        }
    }

    /// Takes hold of a state directory that another server of this node holds and goes on using: `lock` is its lock. Where
    /// that is the lock of another directory, this one is opened by itself.
    ///
    /// Both may write an image at a time. What comes of that is verified before it is used, like any image.
    ///
    /// # Errors
    /// As [`StateDir::open`].
    pub(crate) fn adopt(path: &Path, lock: OwnedFd) -> Result<StateDir, StateDirError> {
        let lock = File::from(lock);
        let is_same = |file: std::fs::Metadata, held: std::fs::Metadata| {
            (file.dev(), file.ino()) == (held.dev(), held.ino())
        };
        // The folder itself is locked where no lock could be made in it.
        let is_held = |held: &Path| {
            let held = std::fs::metadata(held).and_then(|file| Ok(is_same(file, lock.metadata()?)));
            held.unwrap_or(false)
        };
        if is_held(&path.join("lock")) || is_held(path) {
            return Ok(StateDir { tables: path.join(TABLES), lock, unwritable: None });
        }
        StateDir::open(path)
    }

    /// Why nothing could be written when it was opened.
    pub(crate) fn unwritable(&self) -> Option<&str> {
        self.unwritable.as_deref()
    }

    /// Makes the folder of images where a full disk had no room for it.
    ///
    /// # Errors
    /// It still has none.
    pub(crate) fn make_folder(&self) -> io::Result<()> {
        make(&self.tables)
    }

    /// A further descriptor of the lock, for another server of this node.
    ///
    /// # Errors
    /// Out of descriptors.
    pub(crate) fn duplicate_lock(&self) -> io::Result<OwnedFd> {
        Ok(self.lock.try_clone()?.into())
    }

    /// The stored image of a zone and the files it was made from, if it is still good.
    ///
    /// # Errors
    /// Why it isn't.
    pub(crate) fn load(&self, zone: &ZoneConfig, file: &Path) -> Result<(Table, Vec<PathBuf>), NoImage> {
        let table = self.kept(zone, Kept::Served)?;
        let files = self.sources(zone).ok_or(NoImage::Older)?;
        // A list that doesn't begin with the zone's file is of an earlier configuration.
        if files.first().is_none_or(|first| first != file)
            || source::source_stamp_now(zone, &files) != Some(table.source())
        {
            return Err(NoImage::Older);
        }
        Ok((table, files))
    }

    /// The stored image of a zone that was transferred.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn load_transferred(&self, zone: &ZoneConfig) -> Result<Table, NoImage> {
        let table = self.kept(zone, Kept::Served)?;
        if table.source() != source::transfer_stamp(zone) {
            return Err(NoImage::NoTransfer);
        }
        Ok(table)
    }

    /// The image of a version, whatever it was made from.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn kept(&self, zone: &ZoneConfig, kept: Kept) -> Result<Table, NoImage> {
        let table = match image::open(&self.path(zone, kept.extension())) {
            Ok(table) => table,
            Err(OpenError::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(NoImage::Absent);
            }
            Err(error) => return Err(NoImage::Unusable(error)),
        };
        if table.apex_name() != zone.name.as_name() {
            return Err(NoImage::OtherZone);
        }
        Ok(table)
    }

    fn sources(&self, zone: &ZoneConfig) -> Option<Vec<PathBuf>> {
        let text = std::fs::read(self.path(zone, "sources")).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Stores the image of a zone.
    ///
    /// # Errors
    /// Those of writing; what was stored before is then still there or is recognised as not matching.
    pub(crate) fn store(&self, zone: &ZoneConfig, table: &Arc<Table>, files: &[PathBuf]) -> io::Result<()> {
        let sources = serde_json::to_vec(files).map_err(io::Error::other)?;
        // The list first: an old image with a new list has the wrong stamp. After a power failure a new image may have an old
        // list or none, and is compiled anew: a second sync for each zone costs more.
        image::replace_soon(&self.path(zone, "sources"), &sources)?;
        image::replace(&self.image(&zone.name), whole(table)?.image())
    }

    /// Stores the image of a zone that was transferred.
    ///
    /// # Errors
    /// Those of writing; what was stored before is then still there.
    pub(crate) fn store_transferred(&self, zone: &ZoneConfig, table: &Arc<Table>) -> io::Result<()> {
        image::replace(&self.image(&zone.name), whole(table)?.image())
    }

    /// Stores the image of a zone that was published.
    ///
    /// # Errors
    /// Those of writing; what was stored before is then still there.
    pub(crate) fn store_published(&self, zone: &ZoneConfig, table: &Arc<Table>) -> io::Result<()> {
        // Where the zone has a master file some day, nothing that its publisher wrote may pass for the table of that.
        self.remove_file(zone, "sources")?;
        self.store_transferred(zone, table)
    }

    /// Stores the image of a version that waits for an operator.
    ///
    /// # Errors
    /// Those of writing; what was held before is then still there.
    pub(crate) fn keep_held(&self, zone: &ZoneConfig, table: &Arc<Table>) -> io::Result<()> {
        image::replace(&self.path(zone, Kept::Held.extension()), whole(table)?.image())
    }

    /// Keeps the image of the version that was served as that of the one before, without writing it once more.
    ///
    /// # Errors
    /// There is no image, or the file system has no second name for a file.
    pub(crate) fn keep_previous(&self, zone: &ZoneConfig) -> io::Result<()> {
        let (served, previous) = (self.path(zone, "table"), self.path(zone, "previous"));
        let temporary = self.path(zone, "previous.tmp");
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::fs::hard_link(&served, &temporary)?;
        std::fs::rename(&temporary, &previous)?;
        // Renaming one name of a file to another of the same file does nothing, and leaves both.
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether there is an image of a version, whatever it is worth.
    pub(crate) fn has(&self, zone: &ZoneConfig, kept: Kept) -> bool {
        self.path(zone, kept.extension()).exists()
    }

    /// Stores the image of the version before.
    ///
    /// # Errors
    /// Those of writing.
    pub(crate) fn store_previous(&self, zone: &ZoneConfig, table: &Arc<Table>) -> io::Result<()> {
        image::replace(&self.path(zone, Kept::Previous.extension()), table.image())
    }

    /// Removes the image of a version.
    ///
    /// # Errors
    /// Those of removing, except that there is none.
    pub(crate) fn forget(&self, zone: &ZoneConfig, kept: Kept) -> io::Result<()> {
        self.remove_file(zone, kept.extension())
    }

    /// Where it is stored what is known of a zone's versions.
    pub(crate) fn record_file(&self, zone: &ZoneConfig) -> PathBuf {
        self.path(zone, "gate")
    }

    /// What was stored of a zone's versions beside their images.
    pub(crate) fn record(&self, zone: &ZoneConfig) -> Option<Vec<u8>> {
        std::fs::read(self.path(zone, "gate")).ok()
    }

    /// Stores what is known of a zone's versions beside their images.
    ///
    /// # Errors
    /// Those of writing; what was stored before is then still there.
    pub(crate) fn store_record(&self, zone: &ZoneConfig, text: &[u8]) -> io::Result<()> {
        image::replace(&self.path(zone, "gate"), text)
    }

    /// Where the images are.
    pub(crate) fn folder(&self) -> &Path {
        &self.tables
    }

    /// Where it is kept when zones were last confirmed by a primary.
    pub(crate) fn confirmations(&self) -> Confirmations {
        Confirmations::in_folder(self.tables.clone())
    }

    /// The file that says which zones are here for catalogs.
    pub(crate) fn members_file(&self) -> PathBuf {
        self.tables.with_file_name("members")
    }

    /// Where it is kept what is known of pools.
    pub(crate) fn pools_file(&self) -> PathBuf {
        self.tables.with_file_name(POOLS_FILE)
    }

    /// Where the image of a zone is.
    pub(crate) fn image(&self, zone: &NameBuf) -> PathBuf {
        path_in(&self.tables, zone, "table")
    }

    /// Where the journal of a zone is.
    pub(crate) fn journal(&self, zone: &NameBuf) -> PathBuf {
        path_in(&self.tables, zone, "journal")
    }

    /// Removes all that there is of a zone that is no longer configured, or is begun anew.
    ///
    /// # Errors
    /// Those of removing, except that there is none.
    pub(crate) fn remove(&self, zone: &ZoneConfig) -> io::Result<()> {
        ["table", "sources", "transfer", "journal", "journal-aside", "previous", "held", "gate"]
            .into_iter()
            .try_for_each(|extension| self.remove_file(zone, extension))
    }

    fn remove_file(&self, zone: &ZoneConfig, extension: &str) -> io::Result<()> {
        match std::fs::remove_file(self.path(zone, extension)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn path(&self, zone: &ZoneConfig, extension: &str) -> PathBuf {
        path_in(&self.tables, &zone.name, extension)
    }
}

/// A table that stands over no other, with the same records.
fn whole(table: &Arc<Table>) -> io::Result<Arc<Table>> {
    if !table.is_overlaid() {
        return Ok(Arc::clone(table));
    }
    fold(table).map(Arc::new).map_err(io::Error::other)
}

/// Makes a folder and those that it is in, as far as they aren't there.
fn make(folder: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o750).create(folder)
}

/// Whether it is the disk that takes nothing, and not the node that isn't allowed to.
fn is_of_disk(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), ReadOnlyFilesystem | StorageFull | QuotaExceeded)
}

/// Removes what a process has left behind that died while a command was looking at a version.
fn remove_candidates(tables: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(tables)? {
        let path = entry?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if extension.is_some_and(|extension| extension.starts_with(CANDIDATE)) {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// The file of a zone with this extension.
pub(crate) fn path_in(tables: &Path, zone: &NameBuf, extension: &str) -> PathBuf {
    tables.join(format!("{}.{extension}", file_stem(zone.as_name())))
}

/// A zone's name as part of a file name: lower case, without the final dot, everything but letters, digits, `-`,
/// `_` and the dots between labels as `%XX`; the root is `@`.
fn file_stem(name: Name<'_>) -> String {
    if name.is_root() {
        return "@".to_owned();
    }
    let mut stem = String::new();
    for label in name.labels() {
        if !stem.is_empty() {
            stem.push('.');
        }
        for octet in label.to_ascii_lowercase() {
            match octet {
                b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => stem.push(octet as char),
                _ => stem.push_str(&format!("%{octet:02x}")),
            }
        }
    }
    if stem.len() > FILE_STEM_MAX {
        let digest = blake3::hash(stem.as_bytes()).to_hex();
        stem.truncate(FILE_STEM_MAX / 2);
        stem.push('~');
        stem.push_str(&digest[..32]);
    }
    stem
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn stem(name: &str) -> String {
        file_stem(config::apex(name).unwrap().as_name())
    }

    #[test]
    fn file_names_are_safe_and_distinct() {
        assert_eq!(stem("Example.com."), "example.com");
        assert_eq!(stem("."), "@");
        assert_eq!(stem("\\@"), "%40");
        assert_eq!(stem("a/b.\\.\\.x"), "a%2fb.%2e%2ex");
        let long = format!("{}.{}", "\\000".repeat(60), "\\000".repeat(60));
        let other = format!("{}.{}1", "\\000".repeat(60), "\\000".repeat(60));
        assert!(stem(&long).len() < FILE_STEM_MAX);
        assert_ne!(stem(&long), stem(&other));
    }

    #[test]
    fn one_node_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let first = StateDir::open(&path).unwrap();
        assert!(matches!(StateDir::open(&path), Err(StateDirError::InUse { .. })));
        drop(first);
        StateDir::open(&path).unwrap();
        let first = StateDir::open(&path).unwrap();
        let second = StateDir::adopt(&path, first.duplicate_lock().unwrap()).unwrap();
        drop(first);
        assert!(matches!(StateDir::open(&path), Err(StateDirError::InUse { .. })), "the second holds it");
        let other = folder.path().join("other");
        let third = StateDir::adopt(&other, second.duplicate_lock().unwrap()).unwrap();
        assert!(matches!(StateDir::open(&other), Err(StateDirError::InUse { .. })), "it has its own lock");
        drop((second, third));
        StateDir::open(&path).unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let error = StateDir::open(&folder.path().join("file")).unwrap_err();
        assert!(matches!(error, StateDirError::Unusable { .. }), "{error}");
    }
}
