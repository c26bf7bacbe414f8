//! Table files: written so that nobody ever sees half of one, and taken into use only after verification.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use table::map::Backing;
use table::{ImageError, Table};

/// Why a table file can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// There is none, or it can't be read.
    #[error("cannot read {path}: {source}", path = .path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It isn't a valid image.
    #[error("{path} can't be used: {source}", path = .path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: ImageError,
    },
}

/// Maps a table file and verifies it.
///
/// # Errors
/// When it can't be read, or isn't a valid image.
pub(crate) fn open(path: &Path) -> Result<Table, OpenError> {
    let unreadable = |source| OpenError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    let backing = Backing::mapped(&file).map_err(unreadable)?;
    Table::from_backing(backing).map_err(|source| OpenError::Invalid { path: path.to_owned(), source })
}

/// Whether a file begins as table files do.
pub(crate) fn is_table(path: &Path) -> bool {
    let mut start = [0; 8];
    File::open(path).is_ok_and(|mut file| io::Read::read_exact(&mut file, &mut start).is_ok())
        && start == *b"STARLING"
}

/// Replaces a file: written under a temporary name in the same folder, synced, renamed, and the folder synced.
///
/// # Errors
/// Those of the system, such as a full disk; the old file is then still there, and the temporary one is not.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let (mut file, mut replacement) = Replacement::begin(path)?;
    file.write_all(content)?;
    replacement.finish(&file)
}

/// As [`replace`], but the system writes it to disk when it likes: after a power failure there may be the old file or none.
///
/// # Errors
/// As [`replace`].
pub(crate) fn replace_soon(path: &Path, content: &[u8]) -> io::Result<()> {
    let (mut file, mut replacement) = Replacement::begin(path)?;
    file.write_all(content)?;
    replacement.rename()
}

/// Syncs the folder that a file is in, so that its name outlives a power failure.
///
/// # Errors
/// Those of the system.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// A file that is written under a temporary name, to replace another. One that is dropped before that is removed.
pub(crate) struct Replacement {
    path: PathBuf,
    temporary: PathBuf,
    is_done: bool,
}

impl Replacement {
    /// Makes the temporary file.
    ///
    /// # Errors
    /// Those of the system.
    pub(crate) fn begin(path: &Path) -> io::Result<(File, Replacement)> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".tmp");
        let temporary = PathBuf::from(temporary);
        let file = File::create(&temporary)?;
        Ok((file, Replacement { path: path.to_owned(), temporary, is_done: false }))
    }

    /// Syncs what was written, has it replace the other file, and syncs the folder.
    ///
    /// # Errors
    /// Those of the system.
    pub(crate) fn finish(&mut self, file: &File) -> io::Result<()> {
        file.sync_all()?;
        self.rename()?;
        sync_folder_of(&self.path)
    }

    fn rename(&mut self) -> io::Result<()> {
        std::fs::rename(&self.temporary, &self.path)?;
        self.is_done = true;
        Ok(())
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if !self.is_done {
            // Where even this fails, the next attempt overwrites it.
            let _gone_or_not = std::fs::remove_file(&self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replacing_leaves_nothing_else_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.table");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(replace(&folder.path().join("no/x.table"), b"").is_err());
    }

    #[test]
    fn what_is_no_table_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        assert!(matches!(open(&path), Err(OpenError::Unreadable { .. })));
        std::fs::write(&path, "STARLING but no table").unwrap();
        assert!(is_table(&path));
        assert!(matches!(open(&path), Err(OpenError::Invalid { source: ImageError::NotAnImage, .. })));
        std::fs::write(&path, "STAR").unwrap();
        assert!(!is_table(&path));
    }
}
