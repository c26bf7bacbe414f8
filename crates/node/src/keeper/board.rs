//! What everybody may know of the keeper's work, also while it is at it.

use crate::status::{CatalogStatus, CopyStatus, ZoneCounts, ZoneState, ZoneStatus};
use std::collections::HashMap;
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
    /// The serials of copies that would be held back if they were transferred, by name.
    held: Mutex<HashMap<String, u32>>,
    /// How the zones that are copies are kept up to date, by name.
    copies: Mutex<HashMap<String, CopyStatus>>,
    /// The catalogs that are followed.
    catalogs: Mutex<Arc<[CatalogStatus]>>,
    /// Names that can't answer with their pools, and why.
    unsteered: Mutex<HashMap<String, String>>,
}

impl Board {
    /// All zones, in the order of the configuration.
    pub(crate) fn zones(&self) -> Arc<[ZoneStatus]> {
        // The lock guards a single assignment, which can't be left half done.
        Arc::clone(&self.zones.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All zones, with how those are kept up to date that are copies.
    pub(crate) fn zones_and_copies(&self) -> Arc<[ZoneStatus]> {
        let zones = self.zones();
        let copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        if copies.is_empty() {
            return zones;
        }
        let with_copy =
            |zone: &ZoneStatus| ZoneStatus { copy: copies.get(&zone.name).cloned(), ..zone.clone() };
        zones.iter().map(with_copy).collect()
    }

    /// Says how a copy is kept up to date; nothing where it is a copy no longer.
    pub(crate) fn set_copy(&self, zone: String, status: Option<CopyStatus>) {
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        match status {
            Some(status) => drop(copies.insert(zone, status)),
            None => drop(copies.remove(&zone)),
        }
    }

    /// The catalogs that are followed.
    pub(crate) fn catalogs(&self) -> Arc<[CatalogStatus]> {
        Arc::clone(&self.catalogs.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Why a name can't answer with its pool, if it can't.
    pub(crate) fn unsteered(&self, name: &str) -> Option<String> {
        self.unsteered.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The serial of a copy that would be held back if it were transferred.
    pub(crate) fn held_serial(&self, zone: &str) -> Option<u32> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).get(zone).copied()
    }

    /// One zone, as [`Board::zones_and_copies`] has it.
    pub(crate) fn zone(&self, name: &str) -> Option<ZoneStatus> {
        let mut zone = self.zones().iter().find(|zone| zone.name == name)?.clone();
        zone.copy = self.copies.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        Some(zone)
    }

    /// Zones by state.
    pub(crate) fn counts(&self) -> ZoneCounts {
        let mut counts = ZoneCounts::default();
        for zone in self.zones().iter() {
            match zone.state {
                ZoneState::Ok => counts.ok += 1,
                ZoneState::Stale => counts.stale += 1,
                ZoneState::Failed => counts.failed += 1,
                ZoneState::Expired => counts.expired += 1,
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

    pub(super) fn set_catalogs(&self, catalogs: Vec<CatalogStatus>) {
        *self.catalogs.lock().unwrap_or_else(PoisonError::into_inner) = catalogs.into();
    }

    pub(super) fn set_unsteered(&self, names: HashMap<String, String>) {
        *self.unsteered.lock().unwrap_or_else(PoisonError::into_inner) = names;
    }

    pub(super) fn set_held(&self, held: HashMap<String, u32>) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
    }

    pub(super) fn set_generation(&self, generation: Generation, served: Generation) {
        self.generation.store(generation, Ordering::Relaxed);
        self.served.store(served, Ordering::Relaxed);
    }

    pub(super) fn set_reloading(&self, reloading: bool) {
        self.reloading.store(reloading, Ordering::Relaxed);
    }
}
