//! What follows from a change: who is told of it, and how the zones are shown.

use super::board::Notice;
use super::entries::Unshown;
use super::{Entry, Keeper, Replaced, fold};
use crate::status::{self, ServedStatus, ZoneError, ZoneState, ZoneStatus};
use crate::zones::load::LoadedFrom;
use std::sync::Arc;
use std::time::{Duration, Instant};
use table::Table;
use table::publish::Generation;

/// How long the keeper waits for every worker to serve a change. A worker that answers needs microseconds, one
/// that sleeps is woken; longer means that its thread doesn't get to run, which is logged.
const SERVED_WITHIN: Duration = Duration::from_secs(5);

/// How long it is waited before it is looked whether the workers serve a change, at first and at last. One that sleeps is awake after
/// some ten microseconds; thousands of zones that come one after the other would wait longer for the clock than for the workers.
const FIRST_PAUSE: Duration = Duration::from_micros(30);
const LAST_PAUSE: Duration = Duration::from_millis(1);

/// How often it is looked whether a worker that is late serves the last change.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(20);

impl Keeper {
    /// Waits until every packet thread serves what was published, and shows the zones as they are then. Those that a worker has not taken in
    /// within [`SERVED_WITHIN`] are shown as they were until it has: what is told is what answers.
    pub(super) fn serve(&mut self) {
        self.wait_until_served();
        if !self.is_late {
            self.update_board();
        }
    }

    /// Shows what a worker that was late has come to serve.
    pub(super) fn look_at_late(&mut self) {
        if self.is_late {
            let served = self.publisher.collect();
            self.note_served(served);
            if !self.is_late {
                self.update_board();
            }
        }
    }

    /// Whether a worker has yet to serve what was published.
    pub(super) fn is_late(&self) -> bool {
        self.is_late
    }

    fn note_served(&mut self, served: Generation) {
        self.is_late = served < self.generation;
        self.board.set_generation(self.generation, served);
    }

    /// Waits until every packet thread serves what was published, and frees what that replaced.
    pub(super) fn wait_until_served(&mut self) {
        let generation = self.generation;
        let start = Instant::now();
        let mut served = self.publisher.collect();
        let mut pause = FIRST_PAUSE;
        while served < generation && start.elapsed() < SERVED_WITHIN {
            self.wake.iter().for_each(|wake| wake());
            std::thread::park_timeout(pause);
            pause = (2 * pause).min(LAST_PAUSE);
            served = self.publisher.collect();
        }
        if served < generation {
            tracing::warn!(
                "a worker has not taken in the last change within {SERVED_WITHIN:?}: its CPU is overloaded, or it hangs"
            );
        }
        self.note_served(served);
    }

    /// Has what was published written to disk, secondaries told of it, and the pools kept that are in it. After it is served: they ask at once.
    pub(super) fn hand_over(&mut self) {
        self.take_in_pools();
        let mut changed = std::mem::take(&mut self.changed);
        for index in self.entries.take_untold() {
            let entry = &self.entries[index];
            let Some(table) = self.publisher.table(entry.slot).filter(|_| entry.listed) else { continue };
            match changed.remove(&index) {
                Some(Replaced { before, differences }) => {
                    self.archive.change(&entry.zone, before, table, differences);
                }
                None => self.archive.tell(&entry.zone, table),
            }
        }
        self.store_images();
    }

    /// Shows the zones that have changed.
    pub(super) fn update_board(&mut self) {
        let has_steered = |index: usize| !self.entries[index].steered.is_empty();
        if self.entries.unshown().any(has_steered) {
            self.show_unsteered();
        }
        match self.entries.take_unshown() {
            Unshown::Some(indexes) => {
                let notices = indexes.iter().map(|index| self.notice(*index)).collect();
                indexes.iter().for_each(|index| self.fold_if_due(*index));
                self.board.change_zones(notices);
            }
            Unshown::All => {
                self.board.set_zones((0..self.entries.len()).map(|index| self.notice(index)));
                (0..self.entries.len()).for_each(|index| self.fold_if_due(index));
            }
        }
    }

    fn notice(&self, index: usize) -> Notice {
        let entry = &self.entries[index];
        let held = entry.versions.held_serial().filter(|_| entry.zone.secondary().is_some());
        Notice { index, status: self.status(index), held }
    }

    /// How a zone is.
    pub(super) fn status(&self, index: usize) -> ZoneStatus {
        let entry = &self.entries[index];
        let mut status = entry.status(self.publisher.table(entry.slot));
        if let Some(table) = self.asking.table(&entry.zone.name) {
            status.gate.get_or_insert_default().asked = Some(table.serial());
        }
        status
    }

    fn fold_if_due(&mut self, index: usize) {
        let entry = &self.entries[index];
        if self.publisher.table(entry.slot).is_some_and(|table| fold::is_due(table)) {
            self.to_fold.add(&entry.zone.name);
        }
    }
}

impl Entry {
    /// How the zone is, with the table that is served of it.
    fn status(&self, table: Option<&Arc<Table>>) -> ZoneStatus {
        let served = self.served.as_ref().zip(table).map(|(served, table)| ServedStatus {
            serial: table.serial(),
            records: u64::from(table.record_count()),
            names: u64::from(table.name_count()),
            digest: table.digest().to_string(),
            content: table.content().to_string(),
            table_bytes: table.octets() as u64,
            changed_names: if table.is_overlaid() { table.nodes().count() as u64 } else { 0 },
            loaded_from: match served.from {
                LoadedFrom::MasterFile => "master-file".to_owned(),
                LoadedFrom::Published => "published".to_owned(),
                LoadedFrom::Image => "image".to_owned(),
                LoadedFrom::Configuration => "configuration".to_owned(),
                LoadedFrom::Journal(..) => "journal".to_owned(),
                LoadedFrom::Transfer(_) => "transfer".to_owned(),
            },
            since: status::timestamp(served.since),
            earlier: self.past.versions(),
            durable: self.zone.file().is_some(), // of the others the archive knows
        });
        let state = match (&served, &self.error) {
            (None, _) if self.expired => ZoneState::Expired,
            (Some(_), None) if self.expired => ZoneState::Stale,
            (Some(_), None) => ZoneState::Ok,
            (Some(_), Some(_)) => ZoneState::Stale,
            (None, _) => ZoneState::Failed,
        };
        let error = self.error.as_ref().map(|held| ZoneError {
            since: status::timestamp(held.since),
            count: held.count,
            messages: held.errors.clone(),
        });
        let file = self.zone.file().map_or_else(String::new, |file| file.display().to_string());
        ZoneStatus {
            copy: None,
            journal: None,
            name: self.zone.name.to_string(),
            file,
            state,
            critical: self.zone.critical,
            served,
            error,
            notified: Vec::new(), // these change without the keeper
            gate: self.versions.status(),
        }
    }
}
