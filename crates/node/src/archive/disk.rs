//! Whether the state folder can be written to: said once when it can't, and once when it can again.

use crate::status::DiskStatus;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The files that could not be written, at most one for each image and each journal; and the folder, where that was so at the start.
#[derive(Default)]
pub(super) struct Disk {
    failing: Mutex<BTreeMap<PathBuf, String>>,
    failures: AtomicU64,
}

impl Disk {
    /// A file could not be written.
    pub(super) fn failed(&self, path: &Path, what: &str) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let mut failing = self.failing();
        if failing.is_empty() {
            tracing::warn!("{what}; it is tried again, and `starling ctl status` tells how many files wait");
        } else {
            tracing::debug!("{what}");
        }
        failing.insert(path.to_owned(), what.to_owned());
    }

    /// A file was written.
    pub(super) fn worked(&self, path: &Path) {
        let mut failing = self.failing();
        // So could its folder, then.
        let folder = path.parent().and_then(|folder| failing.remove(folder));
        if failing.remove(path).or(folder).is_some() && failing.is_empty() {
            tracing::info!("the state folder can be written to again, and nothing waits for that any more");
        }
    }

    /// A file isn't wanted any more.
    pub(super) fn forget(&self, path: &Path) {
        self.failing().remove(path);
    }

    /// How it stands.
    pub(super) fn status(&self) -> DiskStatus {
        let failing = self.failing();
        DiskStatus {
            failures: self.failures.load(Ordering::Relaxed),
            waiting: failing.len(),
            failure: failing.values().next().cloned(),
        }
    }

    fn failing(&self) -> MutexGuard<'_, BTreeMap<PathBuf, String>> {
        // Each change is one insertion or removal.
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
