//! The master file of a zone and the files it includes: reading them, and recognising them unchanged.

use crate::config::{Rotation, ZoneConfig};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use table::SourceStamp;
use transfer::catalog::Listed;

/// A file is read when its last change is at least this long ago; until then the reader waits.
///
/// Linux stamps files with a clock that ticks every 1 to 10 ms, so two changes within a tick can look like one. After
/// 20 ms any later change shows. Shorter would miss changes on kernels with 100 ticks a second, longer only waits.
const SETTLED_AFTER: Duration = Duration::from_millis(20);

/// How often a file that changes while it is read is read again.
const ATTEMPTS_MAX: usize = 5;

/// The largest master file: a table has at most 16 GiB, and text takes more than its table.
const FILE_LEN_MAX: u64 = 64 << 30;

/// What tells one version of a file from another without reading it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct FileStamp {
    path: PathBuf,
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileStamp {
    fn new(path: &Path, file: &Metadata) -> FileStamp {
        FileStamp {
            path: path.to_owned(),
            device: file.dev(),
            inode: file.ino(),
            len: file.len(),
            modified: (file.mtime(), file.mtime_nsec()),
            // Set by the kernel alone: catches what restores the time of modification, such as `cp -p` or `touch -r`.
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }

    /// The stamp of the file as it is now.
    pub(crate) fn now(path: &Path) -> io::Result<FileStamp> {
        Ok(FileStamp::new(path, &std::fs::metadata(path)?))
    }

    /// Which file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// The stamp of a table made from these files: of all that decides what is in it, but not of its content, since a
/// restart has no time to read the files.
///
/// The program's version is part of it, because another version may read a file, or compile a zone, otherwise.
pub(crate) fn source_stamp(zone: &ZoneConfig, files: &[FileStamp]) -> SourceStamp {
    let mut hasher = blake3::Hasher::new();
    let mut add = |octets: &[u8]| {
        hasher.update(&(octets.len() as u64).to_le_bytes());
        hasher.update(octets);
    };
    add(env!("CARGO_PKG_VERSION").as_bytes());
    add(&table::VERSION.to_le_bytes());
    add(zone.name.as_name().as_wire());
    add(&[u8::from(zone.rotation == Rotation::On)]);
    for file in files {
        add(file.path.as_os_str().as_encoded_bytes());
        for number in [file.device, file.inode, file.len] {
            add(&number.to_le_bytes());
        }
        for number in [file.modified.0, file.modified.1, file.changed.0, file.changed.1] {
            add(&number.to_le_bytes());
        }
    }
    SourceStamp(*hasher.finalize().as_bytes())
}

/// The stamp of a table made from a transfer. Not of the program's version: there may be nobody to transfer the zone from
/// again, and an image of another format is refused by itself.
pub(crate) fn transfer_stamp(zone: &ZoneConfig) -> SourceStamp {
    let mut hasher = blake3::Hasher::new_derive_key("Starling: a zone that was transferred");
    hasher.update(zone.name.as_name().as_wire());
    SourceStamp(*hasher.finalize().as_bytes())
}

/// The stamp of a catalog that was made of these zones. Not of the program's version either: nothing of it depends on that, and
/// each new serial has every secondary come.
pub(crate) fn catalog_stamp(zone: &ZoneConfig, zones: &[Listed]) -> SourceStamp {
    let mut hasher = blake3::Hasher::new_derive_key("Starling: a catalog zone, version 1");
    let mut add = |octets: Option<&[u8]>| {
        hasher.update(&octets.map_or(u64::MAX, |octets| octets.len() as u64).to_le_bytes());
        hasher.update(octets.unwrap_or_default());
    };
    add(Some(zone.name.as_name().as_wire()));
    add(Some(&[u8::from(zone.rotation == Rotation::On)]));
    for Listed { zone, group, coo, label } in zones {
        add(Some(zone.as_name().as_wire()));
        add(group.as_deref());
        add(coo.as_ref().map(|coo| coo.as_name().as_wire()));
        add(label.as_deref());
    }
    SourceStamp(*hasher.finalize().as_bytes())
}

/// The stamp that a table made from these files now would get; `None` where one of them can't be looked at.
pub(crate) fn source_stamp_now(zone: &ZoneConfig, files: &[PathBuf]) -> Option<SourceStamp> {
    let files = files.iter().map(|path| FileStamp::now(path)).collect::<io::Result<Vec<_>>>();
    files.ok().map(|files| source_stamp(zone, &files))
}

/// Reads a whole file as it is at one moment, with its stamp.
///
/// # Errors
/// Those of the system; and where it is no regular file, too large, or written to all the while.
pub(crate) fn read(path: &Path) -> io::Result<(Vec<u8>, FileStamp)> {
    for _ in 0..ATTEMPTS_MAX {
        let mut file = File::open(path)?;
        let before = file.metadata()?;
        if !before.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        if before.len() > FILE_LEN_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 64 GiB"));
        }
        if let Some(wait) = unsettled_for(&before) {
            std::thread::sleep(wait);
            continue;
        }
        let mut text = Vec::with_capacity(before.len() as usize + 1);
        (&mut file).take(before.len() + 1).read_to_end(&mut text)?;
        let stamp = FileStamp::new(path, &before);
        if FileStamp::new(path, &file.metadata()?) == stamp && text.len() as u64 == before.len() {
            return Ok((text, stamp));
        }
    }
    let message = "it is being written to; write a new file and rename it over the old one, then reload";
    Err(io::Error::new(io::ErrorKind::ResourceBusy, message))
}

/// How long to wait until the file's stamp tells it from every later version.
fn unsettled_for(file: &Metadata) -> Option<Duration> {
    let changed = Duration::new(u64::try_from(file.ctime()).ok()?, u32::try_from(file.ctime_nsec()).ok()?);
    // A time in the future says nothing; then the clock was set back, and there is nothing to wait for.
    let age = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + changed).ok()?;
    SETTLED_AFTER.checked_sub(age).filter(|wait| !wait.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn zone(name: &str, rotation: Rotation) -> ZoneConfig {
        ZoneConfig::of_file(config::apex(name).unwrap(), PathBuf::from("x"), rotation)
    }

    #[test]
    fn a_stamp_changes_with_everything_that_matters() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("zone");
        let other = folder.path().join("other");
        std::fs::write(&path, "one").unwrap();
        std::fs::write(&other, "one").unwrap();
        let example = zone("example", Rotation::On);
        let (_, first) = read(&path).unwrap();
        let (_, second) = read(&other).unwrap();
        let stamp = source_stamp(&example, std::slice::from_ref(&first));
        assert_eq!(source_stamp_now(&example, std::slice::from_ref(&path)), Some(stamp));
        assert_ne!(source_stamp(&zone("example.org", Rotation::On), std::slice::from_ref(&first)), stamp);
        assert_ne!(source_stamp(&zone("example", Rotation::Off), std::slice::from_ref(&first)), stamp);
        assert_ne!(source_stamp(&example, &[first.clone(), second.clone()]), stamp);
        assert_ne!(source_stamp(&example, std::slice::from_ref(&second)), stamp);
        // The same length, at once after reading: only the times tell.
        std::fs::write(&path, "two").unwrap();
        assert_ne!(source_stamp_now(&example, std::slice::from_ref(&path)), Some(stamp));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(source_stamp_now(&example, std::slice::from_ref(&path)), None);
    }

    #[test]
    fn only_regular_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(read(&folder.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
