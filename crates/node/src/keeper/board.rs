//! What everybody may know of the keeper's work, also while it is at it.

use crate::status::{ZoneCounts, ZoneState, ZoneStatus};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use table::publish::Generation;

/// The state of the zones as of the last change.
#[derive(Default)]
pub(crate) struct Board {
    zones: Mutex<Arc<[ZoneStatus]>>,
    generation: AtomicU64,
    served: AtomicU64,
    reloading: AtomicBool,
}

impl Board {
    /// All zones, in the order of the configuration.
    pub(crate) fn zones(&self) -> Arc<[ZoneStatus]> {
        // The lock guards a single assignment, which can't be left half done.
        Arc::clone(&self.zones.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Zones by state.
    pub(crate) fn counts(&self) -> ZoneCounts {
        let mut counts = ZoneCounts::default();
        for zone in self.zones().iter() {
            match zone.state {
                ZoneState::Ok => counts.ok += 1,
                ZoneState::Stale => counts.stale += 1,
                ZoneState::Failed => counts.failed += 1,
            }
        }
        counts
    }

    /// The last change that was published, and the last that every packet thread serves.
    pub(crate) fn generations(&self) -> (Generation, Generation) {
        (self.generation.load(Ordering::Relaxed), self.served.load(Ordering::Relaxed))
    }

    /// Whether a reload is going on.
    pub(crate) fn is_reloading(&self) -> bool {
        self.reloading.load(Ordering::Relaxed)
    }

    pub(super) fn set_zones(&self, zones: Vec<ZoneStatus>) {
        *self.zones.lock().unwrap_or_else(PoisonError::into_inner) = zones.into();
    }

    pub(super) fn set_generation(&self, generation: Generation, served: Generation) {
        self.generation.store(generation, Ordering::Relaxed);
        self.served.store(served, Ordering::Relaxed);
    }

    pub(super) fn set_reloading(&self, reloading: bool) {
        self.reloading.store(reloading, Ordering::Relaxed);
    }
}
