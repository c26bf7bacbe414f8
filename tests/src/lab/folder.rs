//! The folder a lab works in, with a small file system for each node's state.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::tools;

const PREFIX: &str = "starling-lab-";
/// Room for a node's state: a hundred times what it needs, and filled in a moment.
const STATE_SIZE: &str = "size=4m";

/// How long another lab is waited for: as long as all tests of one take, twice.
const TURN_LIMIT: Duration = Duration::from_secs(600);

/// The right to run a lab on this machine. Two at a time would take the processors from each other, and each would
/// measure the other.
pub struct Turn {
    _lock: File,
}

impl Turn {
    /// Waits until no other process has it.
    pub fn take() -> Result<Self> {
        let path = std::env::temp_dir().join("starling-lab.lock");
        let lock = File::create(&path).with_context(|| path.display().to_string())?;
        let mut told = false;
        tools::poll("no other lab runs on this machine", TURN_LIMIT, || {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => Ok(Some(())),
                Err(Errno::WOULDBLOCK) => {
                    if !std::mem::replace(&mut told, true) {
                        tools::announce("another lab runs on this machine: waiting for it to end");
                    }
                    Ok(None)
                }
                Err(error) => Err(error).with_context(|| format!("lock {}", path.display())),
            }
        })?;
        Ok(Self { _lock: lock })
    }
}

/// A folder with a short name (paths of sockets have at most 107 octets); removed when dropped.
pub struct Folder {
    path: PathBuf,
    mounted: Vec<PathBuf>,
}

impl Folder {
    /// Makes the folder, after removing those of labs that were killed.
    pub fn new() -> Result<Self> {
        remove_leftovers();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("{PREFIX}{}-{number}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| path.display().to_string())?;
        Ok(Self { path, mounted: Vec::new() })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a folder inside.
    pub fn sub(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        std::fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    /// Mounts a small file system at a folder inside.
    pub fn mount(&mut self, name: &str) -> Result<PathBuf> {
        let path = self.sub(name)?;
        let mut command = Command::new(tools::program("mount")?);
        let output = command.args(["-t", "tmpfs", "-o", STATE_SIZE, "tmpfs"]).arg(&path).output()?;
        ensure!(output.status.success(), "mount: {}", String::from_utf8_lossy(&output.stderr));
        self.mounted.push(path.clone());
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.mounted.iter().for_each(|path| unmount(path));
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tools::announce(&format!("{}: not removed: {error}", self.path.display()));
        }
    }
}

fn unmount(path: &Path) {
    // Lazily: a process that is just ending may still have a file open. A failure shows when the folder is removed.
    let _ = Command::new("umount").arg("--lazy").arg(path).output();
}

fn remove_leftovers() {
    let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(maker) = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()) else { continue };
        if Path::new("/proc").join(maker).exists() {
            continue;
        }
        for pop in std::fs::read_dir(entry.path()).into_iter().flatten().filter_map(Result::ok) {
            unmount(&pop.path().join("state"));
        }
        // Another lab may be removing it as well.
        let _ = std::fs::remove_dir_all(entry.path());
    }
}
