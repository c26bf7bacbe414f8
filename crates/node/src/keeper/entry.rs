//! A zone of the keeper: what it serves of it, and what holds a newer version back.

use super::past::Past;
use super::{Change, MESSAGES_MAX};
use crate::config::{ZoneConfig, ZoneSource};
use crate::gate::Versions;
use crate::pools;
use crate::zones::load::{self, Loaded, LoadedFrom, ZoneErrors};
use crate::zones::state_dir::StateDir;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use table::publish::{Generation, Publisher, SlotIndex};
use table::{SourceStamp, Table};
use zone::amend::Steered;
use zone::sign::{IdleKeys, Signer};

/// A configured zone.
pub(super) struct Entry {
    pub(super) zone: ZoneConfig,
    pub(super) slot: SlotIndex,
    /// Whether its names lead to it: from the start, or for a zone added later from its first good version,
    /// since before that the zone above it may have answered for them.
    pub(super) listed: bool,
    pub(super) served: Option<Served>,
    /// What was served before.
    pub(super) past: Past,
    pub(super) error: Option<Held>,
    /// Of a copy: whether it was not confirmed for too long.
    pub(super) expired: bool,
    /// The table that is not served while that is so.
    pub(super) withheld: Option<Arc<Table>>,
    /// Of a zone that a catalog has brought: which one of that name it is. 0 for those of the configuration.
    pub(super) incarnation: u64,
    /// What there is beside the version that is served.
    pub(super) versions: Versions,
    /// How often an operator has put another version in its place.
    pub(super) revision: u64,
    /// What its names answer by their pools.
    pub(super) steered: Vec<Steered>,
    /// Who signs them, where the zone has keys.
    pub(super) signer: Option<Signer>,
    /// Those of its keys that sign nothing, as was said last.
    pub(super) idle_keys: IdleKeys,
    /// Those of them that can't, and why.
    pub(super) unsteered: Vec<(String, String)>,
}

/// The version of a zone that is served; the table is in the publisher.
pub(super) struct Served {
    pub(super) files: Vec<PathBuf>,
    pub(super) stamp: SourceStamp,
    pub(super) from: LoadedFrom,
    pub(super) since: SystemTime,
}

/// What holds a newer version back.
pub(super) struct Held {
    pub(super) errors: Vec<String>,
    pub(super) count: usize,
    pub(super) since: SystemTime,
}

impl Entry {
    pub(super) fn new(zone: ZoneConfig, slot: SlotIndex, listed: bool, state: Option<&StateDir>) -> Entry {
        let versions = Versions::new(&zone, state);
        Entry {
            signer: zone.signing.as_deref().map(pools::signer),
            idle_keys: IdleKeys::default(),
            zone,
            slot,
            listed,
            served: None,
            past: Past::default(),
            error: None,
            expired: false,
            withheld: None,
            versions,
            revision: 0,
            incarnation: 0,
            steered: Vec::new(),
            unsteered: Vec::new(),
        }
    }

    /// Publishes a good version, and logs it; `stored` is what stood in the state folder where nothing was served.
    pub(super) fn take(
        &mut self,
        loaded: Loaded,
        stored: Option<Arc<Table>>,
        publisher: &mut Publisher,
    ) -> (Change, Generation) {
        let Loaded { table, files, from, no_image, warnings, took, zonemd: _ } = loaded;
        let name = &self.zone.name;
        for warning in warnings.iter().take(MESSAGES_MAX) {
            tracing::warn!("{warning}");
        }
        let before = self.withheld.as_ref().or(publisher.table(self.slot));
        let from_serial = before.map(|table| table.serial());
        if let Some(note) = before.and_then(|before| serial_note(before, &table)) {
            tracing::warn!("zone {name}: {note}");
        }
        let (serial, records, names) = (table.serial(), table.record_count(), table.name_count());
        let file = self.zone.file().unwrap_or(Path::new("")).display();
        let how = match (from, no_image) {
            (LoadedFrom::Image, _) => "mapped from its image".to_owned(),
            (LoadedFrom::Journal(_, count), _) => {
                format!("made from its image and {count} differences of its journal")
            }
            (LoadedFrom::Transfer(primary), _) => format!("compiled from a transfer from {primary}"),
            (LoadedFrom::Published, _) => "verified as it was published".to_owned(),
            (LoadedFrom::Configuration, _) => "compiled from the configuration".to_owned(),
            (LoadedFrom::MasterFile, None) => format!("compiled from {file}"),
            (LoadedFrom::MasterFile, Some(why)) => format!("compiled from {file}, because {why}"),
        };
        tracing::info!(
            "zone {name}: serial {serial}, {records} records, {names} names, {how}, in {} ms",
            took.as_millis()
        );
        let is_recalled = before.is_none() && from.is_recalled();
        if !is_recalled {
            // Where its image is in the state folder, that is the version before.
            self.versions.succeed(before.cloned().or(stored).as_ref(), &table);
        }
        let now = SystemTime::now();
        let since = match (&self.served, before) {
            (Some(served), Some(before)) if before.content() == table.content() => served.since,
            (Some(served), Some(before)) => {
                self.past.add(before.serial(), served.since, now);
                now
            }
            _ => now,
        };
        self.served = Some(Served { files, stamp: table.source(), from, since });
        self.error = None;
        if is_recalled && let Some(errors) = self.held_errors() {
            self.remember(&errors);
        }
        self.expired = false;
        self.withheld = None;
        let generation = publisher.publish_standing(self.slot, self.standing(table));
        (Change { from_serial, to_serial: serial, took }, generation)
    }

    /// Keeps what is served, and logs and remembers why.
    pub(super) fn hold_back(&mut self, errors: &ZoneErrors) {
        let name = &self.zone.name;
        let count = errors.errors.len();
        if self.zone.is_received() && self.served.is_none() {
            // Nothing is wrong with the node: its primaries have to be asked first, or somebody has to publish it.
            errors.errors.iter().take(MESSAGES_MAX).for_each(|error| tracing::info!("{error}"));
            self.remember(errors);
            return;
        }
        for error in errors.errors.iter().take(MESSAGES_MAX) {
            tracing::error!("{error}");
        }
        let consequence = match (self.served.is_some(), self.listed) {
            (true, _) => "the version before goes on being served",
            (false, true) => "its names get SERVFAIL",
            (false, false) => "it is not added",
        };
        let errors_text = if count == 1 { "1 error".to_owned() } else { format!("{count} errors") };
        let remedy = match self.zone.source {
            ZoneSource::MasterFile(_) => "mend the file, then `starling ctl reload`",
            ZoneSource::Catalog(_) => "change its name, or its zones, then `starling ctl reload`",
            ZoneSource::Published(_) => "publish one that is good",
            ZoneSource::Primaries(_) => "mend it at the primary, then `starling ctl refresh`",
        };
        tracing::error!("zone {name}: not loaded, {errors_text}; {consequence}; {remedy}");
        self.remember(errors);
    }

    pub(super) fn remember(&mut self, errors: &ZoneErrors) {
        let count = errors.errors.len();
        let since = self.error.as_ref().map_or_else(SystemTime::now, |held| held.since);
        let errors = errors.errors.iter().take(MESSAGES_MAX).cloned().collect();
        self.error = Some(Held { errors, count, since });
    }

    /// Whether the files are those that the served version was made from.
    pub(super) fn is_current(&self) -> bool {
        self.served.as_ref().is_some_and(|served| load::is_current(&self.zone, &served.files, served.stamp))
    }
}

/// What is odd about the serial of a new version: secondaries would not take it (RFC 1982 §3.2).
fn serial_note(before: &Table, after: &Table) -> Option<String> {
    let (old, new) = (before.serial(), after.serial());
    if before.digest() == after.digest() {
        return None;
    }
    if old == new {
        return Some(format!(
            "its content has changed and its serial, {new}, has not: secondaries will not notice"
        ));
    }
    let ahead = new.wrapping_sub(old) < 1 << 31;
    (!ahead).then(|| format!("its serial goes back from {old} to {new}: secondaries will not take it"))
}
