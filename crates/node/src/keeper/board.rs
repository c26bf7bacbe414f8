//! What everybody may know of the keeper's work, also while it is at it.

use crate::status::{
    CatalogStatus, CopyStatus, DigestPage, RefusedPool, TableCounts, ZoneCounts, ZoneList, ZoneState,
    ZoneStatus,
};
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use table::Table;
use table::publish::Generation;

/// The state of the zones as of the last change.
#[derive(Default)]
pub(crate) struct Board {
    zones: Mutex<Zones>,
    generation: AtomicU64,
    served: AtomicU64,
    reloading: AtomicBool,
    compiled: AtomicU64,
    amended: AtomicU64,
    folded: AtomicU64,
    /// How the zones that are copies are kept up to date, by name.
    copies: Mutex<HashMap<String, CopyStatus>>,
    /// The catalogs that are followed.
    catalogs: Mutex<Arc<[CatalogStatus]>>,
    /// Names that can't answer with their pools, and why.
    unsteered: Mutex<HashMap<String, String>>,
    /// Pools in records that can't be.
    refused_pools: Mutex<Vec<RefusedPool>>,
}

/// The zones, and what is asked of them so often that nobody goes through all of them for it.
#[derive(Default)]
struct Zones {
    list: ZoneList,
    by_name: HashMap<String, usize>,
    counts: ZoneCounts,
    /// Which are served, and which of the critical ones are and are not.
    served: BTreeSet<usize>,
    critical_served: BTreeSet<usize>,
    critical_failed: BTreeSet<usize>,
    /// The serials of copies that would be held back if they were transferred, by name.
    held: HashMap<String, u32>,
    /// How often all of them had to be shown anew, some at other places than before.
    order: u64,
}

/// The zones of a node by which others tell how it is.
pub(crate) struct Landmarks {
    /// By state, all of them.
    pub(crate) counts: ZoneCounts,
    /// Critical ones that are not served.
    pub(crate) failed: Vec<Arc<ZoneStatus>>,
    /// Critical ones that are; where none is, the first zone that is.
    pub(crate) served: Vec<Arc<ZoneStatus>>,
}

/// What the board says of a zone.
pub(super) struct Notice {
    /// Its place in the order of the configuration.
    pub(super) index: usize,
    /// How it is.
    pub(super) status: ZoneStatus,
    /// Of a copy, the serial that would be held back.
    pub(super) held: Option<u32>,
}

impl Board {
    fn locked(&self) -> MutexGuard<'_, Zones> {
        // A panic half way through a change aborts the process.
        self.zones.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All zones, in the order of the configuration.
    pub(crate) fn zones(&self) -> ZoneList {
        self.locked().list.clone()
    }

    /// A part of the versions that answer, from the zone with this index on.
    pub(crate) fn digests(&self, from: usize) -> DigestPage {
        let zones = self.locked();
        let (list, order) = (zones.list.clone(), zones.order);
        drop(zones);
        DigestPage::of(&list, order, from)
    }

    /// The first zones, at most so many, with how those are kept up to date that are copies.
    pub(crate) fn zones_and_copies(&self, zones_max: usize) -> Vec<ZoneStatus> {
        let zones = self.zones();
        let copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        let with_copy =
            |zone: &ZoneStatus| ZoneStatus { copy: copies.get(&zone.name).cloned(), ..zone.clone() };
        zones.from(0).take(zones_max).map(with_copy).collect()
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

    /// What is refused of the pools that zones bring along.
    pub(crate) fn refused_pools(&self) -> Vec<RefusedPool> {
        self.refused_pools.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The serial of a copy that would be held back if it were transferred.
    pub(crate) fn held_serial(&self, zone: &str) -> Option<u32> {
        self.locked().held.get(zone).copied()
    }

    /// One zone, as [`Board::zones_and_copies`] has it.
    pub(crate) fn zone(&self, name: &str) -> Option<ZoneStatus> {
        let zones = self.locked();
        let zone = zones.by_name.get(name).and_then(|index| zones.list.get(*index)).cloned();
        drop(zones);
        let copy = self.copies.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        Some(ZoneStatus { copy, ..ZoneStatus::clone(&*zone?) })
    }

    /// Zones by state.
    pub(crate) fn counts(&self) -> ZoneCounts {
        self.locked().counts
    }

    /// The zones by which others tell how the node is, at most so many of those that fail and that are served.
    pub(crate) fn landmarks(&self, failed_max: usize, served_max: usize) -> Landmarks {
        let zones = self.locked();
        let first = |indexes: &BTreeSet<usize>, count_max: usize| {
            indexes.iter().take(count_max).filter_map(|index| zones.list.get(*index).cloned()).collect()
        };
        let (served, served_max) = if zones.critical_served.is_empty() {
            (&zones.served, 1)
        } else {
            (&zones.critical_served, served_max)
        };
        Landmarks {
            counts: zones.counts,
            failed: first(&zones.critical_failed, failed_max),
            served: first(served, served_max),
        }
    }

    /// The tables that were made.
    pub(crate) fn tables(&self) -> TableCounts {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        TableCounts { compiled: of(&self.compiled), amended: of(&self.amended), folded: of(&self.folded) }
    }

    /// Counts a table that was made of another version of a zone.
    pub(super) fn count_table(&self, table: &Table) {
        let count = if table.is_overlaid() { &self.amended } else { &self.compiled };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a table that was made of another and what has changed.
    pub(super) fn count_folded(&self) {
        self.folded.fetch_add(1, Ordering::Relaxed);
    }

    /// The last change that was published, and the last that every packet thread serves.
    pub(crate) fn generations(&self) -> (Generation, Generation) {
        (self.generation.load(Ordering::Relaxed), self.served.load(Ordering::Relaxed))
    }

    /// Whether a reload is going on.
    pub(crate) fn is_reloading(&self) -> bool {
        self.reloading.load(Ordering::Relaxed)
    }

    /// Shows all zones, in their order, in place of those that were there.
    pub(super) fn set_zones(&self, notices: impl Iterator<Item = Notice>) {
        let mut zones = Zones::default();
        notices.for_each(|notice| zones.put(notice));
        let mut before = self.locked();
        // A server that was started anew counts from another number on, or parts of two could be taken for those of one.
        zones.order = if before.order == 0 { fastrand::u64(1..1 << 32) } else { before.order + 1 };
        *before = zones;
    }

    /// Shows some zones as they are now, all at once; those that are new come after all others, in their order.
    pub(super) fn change_zones(&self, notices: Vec<Notice>) {
        let mut zones = self.locked();
        notices.into_iter().for_each(|notice| zones.put(notice));
    }

    pub(super) fn set_catalogs(&self, catalogs: Vec<CatalogStatus>) {
        *self.catalogs.lock().unwrap_or_else(PoisonError::into_inner) = catalogs.into();
    }

    pub(super) fn set_unsteered(&self, names: HashMap<String, String>) {
        *self.unsteered.lock().unwrap_or_else(PoisonError::into_inner) = names;
    }

    pub(super) fn set_refused_pools(&self, refused: Vec<RefusedPool>) {
        *self.refused_pools.lock().unwrap_or_else(PoisonError::into_inner) = refused;
    }

    pub(super) fn set_generation(&self, generation: Generation, served: Generation) {
        self.generation.store(generation, Ordering::Relaxed);
        self.served.store(served, Ordering::Relaxed);
    }

    pub(super) fn set_reloading(&self, reloading: bool) {
        self.reloading.store(reloading, Ordering::Relaxed);
    }
}

impl Zones {
    fn put(&mut self, Notice { index, status, held }: Notice) {
        match held {
            Some(serial) => drop(self.held.insert(status.name.clone(), serial)),
            None => drop(self.held.remove(&status.name)),
        }
        let (is_served, is_critical) = (status.served.is_some(), status.critical);
        for (indexes, is_one) in [
            (&mut self.served, is_served),
            (&mut self.critical_served, is_served && is_critical),
            (&mut self.critical_failed, !is_served && is_critical),
        ] {
            if is_one {
                indexes.insert(index)
            } else {
                indexes.remove(&index)
            };
        }
        *self.count(status.state) += 1;
        let name = status.name.clone();
        match self.list.put(index, Arc::new(status)) {
            Some(before) => *self.count(before.state) -= 1,
            None => drop(self.by_name.insert(name, index)),
        }
    }

    fn count(&mut self, state: ZoneState) -> &mut usize {
        match state {
            ZoneState::Ok => &mut self.counts.ok,
            ZoneState::Stale => &mut self.counts.stale,
            ZoneState::Failed => &mut self.counts.failed,
            ZoneState::Expired => &mut self.counts.expired,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::ServedStatus;

    fn zone(index: usize, critical: bool, serial: Option<u32>) -> Notice {
        let served = serial.map(|serial| ServedStatus {
            serial,
            records: 1,
            names: 1,
            digest: String::new(),
            content: String::new(),
            table_bytes: 1,
            changed_names: 0,
            loaded_from: "image".to_owned(),
            since: String::new(),
            earlier: Vec::new(),
            durable: true,
        });
        let state = if serial.is_some() { ZoneState::Ok } else { ZoneState::Failed };
        let status = ZoneStatus {
            name: format!("z{index}."),
            file: String::new(),
            state,
            critical,
            served,
            error: None,
            notified: Vec::new(),
            copy: None,
            journal: None,
            gate: None,
        };
        Notice { index, status, held: serial.filter(|serial| *serial == 13) }
    }

    /// The names of landmarks, those that fail and those that are served.
    fn landmarks(board: &Board) -> (String, String) {
        let Landmarks { failed, served, .. } = board.landmarks(2, 3);
        let names = |zones: Vec<Arc<ZoneStatus>>| {
            zones.iter().map(|zone| zone.name.clone()).collect::<Vec<_>>().join(" ")
        };
        (names(failed), names(served))
    }

    fn both(failed: &str, served: &str) -> (String, String) {
        (failed.to_owned(), served.to_owned())
    }

    #[test]
    fn critical_zones_are_landmarks_and_else_the_first_that_is_served() {
        let board = Board::default();
        assert_eq!(landmarks(&board), both("", ""));
        board.set_zones([zone(0, false, None), zone(1, false, Some(1)), zone(2, true, None)].into_iter());
        assert_eq!(landmarks(&board), both("z2.", "z1."));
        board.change_zones(vec![zone(2, true, Some(5)), zone(3, true, Some(5))]);
        assert_eq!(landmarks(&board), both("", "z2. z3."));
        board.change_zones((0..100).map(|index| zone(index, true, Some(1))).collect());
        assert_eq!(landmarks(&board), both("", "z0. z1. z2."));
        board.change_zones((0..100).map(|index| zone(index, true, None)).collect());
        assert_eq!(landmarks(&board), both("z0. z1.", ""));
    }

    #[test]
    fn a_changed_zone_is_counted_once() {
        let board = Board::default();
        board.set_zones((0..300).map(|index| zone(index, false, Some(1))));
        board.change_zones(vec![zone(7, false, None), zone(8, false, Some(13)), zone(300, false, None)]);
        assert_eq!(board.counts(), ZoneCounts { ok: 299, failed: 2, ..ZoneCounts::default() });
        assert_eq!((board.held_serial("z8."), board.held_serial("z7.")), (Some(13), None));
        assert!(board.zone("z7.").unwrap().served.is_none() && board.zone("z300.").is_some());
        board.change_zones(vec![zone(8, false, Some(14))]);
        assert_eq!(board.held_serial("z8."), None);
        board.set_zones((0..2).map(|index| zone(index, false, None)));
        assert_eq!(board.counts(), ZoneCounts { failed: 2, ..ZoneCounts::default() });
        assert!(board.zone("z7.").is_none());
    }

    /// Parts of a list belong together as long as no zone has another place.
    #[test]
    fn a_page_tells_when_zones_have_moved() {
        let board = Board::default();
        board.set_zones((0..3).map(|index| zone(index, false, Some(1))));
        let first = board.digests(0);
        assert_eq!((first.zones.len(), first.next), (3, None));
        assert_ne!(first.order, 0);
        board.change_zones(vec![zone(1, false, None), zone(3, false, Some(1))]);
        assert_eq!((board.digests(0).order, board.digests(0).zones.len()), (first.order, 3));
        board.set_zones((1..3).map(|index| zone(index - 1, false, Some(1))));
        assert_ne!(board.digests(0).order, first.order);
        let other = Board::default();
        other.set_zones(std::iter::once(zone(0, false, Some(1))));
        assert_ne!(other.digests(0).order, first.order, "as of a server that was started anew");
    }
}
