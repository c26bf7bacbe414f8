//! What a zone has beside the version that is served: the one that is held, the one before, and the one that an operator has
//! rolled back from.
//!
//! Where there is a state folder, versions are kept there as images beside that of the served one, and what is known of them
//! in a small file: a restart forgets nothing, and memory holds one version. Without one they are kept in memory.

use super::{Reason, Rule, Unwanted};
use crate::archive;
use crate::config::{ZoneConfig, ZoneSource};
use crate::status::{self, GateStatus, HeldStatus};
use crate::zones::load::LoadedFrom;
use crate::zones::state_dir::{Kept, StateDir};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use table::{ContentDigest, SourceStamp, Table};
use transfer::journal::Version;
use zone::Difference;

/// The versions of one zone.
#[derive(Default)]
pub(crate) struct Versions {
    held: Option<Held>,
    previous: Option<Previous>,
    unwanted: Option<Unwanted>,
    /// How many versions were stopped since the start, by rule.
    stopped: BTreeMap<Rule, u64>,
    /// Whether the state folder knows less.
    is_unstored: bool,
}

/// A version that waits for an operator.
pub(crate) struct Held {
    /// Nothing once it is in the state folder alone.
    table: Option<Arc<Table>>,
    serial: u32,
    content: ContentDigest,
    records: u32,
    /// What it was made from.
    pub(crate) stamp: SourceStamp,
    /// The master file and what it includes.
    pub(crate) files: Vec<PathBuf>,
    /// Where it comes from.
    pub(crate) from: LoadedFrom,
    since: SystemTime,
    reasons: Vec<String>,
}

/// A version in memory, until its image is in the state folder: whoever writes that says so.
#[derive(Clone, Default)]
pub(crate) struct InMemory(Arc<Mutex<Option<Arc<Table>>>>);

impl InMemory {
    fn new(table: &Arc<Table>) -> InMemory {
        InMemory(Arc::new(Mutex::new(Some(Arc::clone(table)))))
    }

    /// The version; nothing once its image is in the state folder.
    pub(crate) fn table(&self) -> Option<Arc<Table>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its image is in the state folder.
    pub(crate) fn is_written(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// The version before the one that is served.
struct Previous {
    serial: u32,
    content: ContentDigest,
    memory: InMemory,
    /// What has led from there to the version that is served, in place of a table that would keep an old base in memory.
    forward: Option<Arc<[Difference]>>,
}

/// The most octets of differences that stand for a version; of more its table is kept.
const FORWARD_MAX: usize = 1 << 20;

/// What is kept of a zone's versions beside their images.
#[derive(Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
struct Record {
    held: Option<HeldRecord>,
    previous: Option<VersionRecord>,
    unwanted: Option<VersionRecord>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct HeldRecord {
    serial: u32,
    content: [u8; 32],
    records: u32,
    stamp: [u8; 32],
    files: Vec<PathBuf>,
    /// The primary, where it was transferred.
    primary: Option<std::net::SocketAddr>,
    /// Seconds since 1970.
    since: u64,
    reasons: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct VersionRecord {
    serial: u32,
    content: [u8; 32],
}

impl Versions {
    /// What an earlier run has left in the state folder, if there is one and it did.
    pub(crate) fn new(zone: &ZoneConfig, state: Option<&StateDir>) -> Versions {
        let empty = Versions::default();
        let text = state.and_then(|state| state.record(zone));
        let is_kept =
            |state: &StateDir| state.has(zone, Kept::Previous) || state.journal(&zone.name).exists();
        let has_previous = state.is_some_and(is_kept);
        // What can't be read is of another version of this program, which had another gate.
        let Some(record) = text.and_then(|text| serde_json::from_slice::<Record>(&text).ok()) else {
            return empty;
        };
        Versions {
            held: record.held.map(|held| Held::recalled(zone, held)),
            previous: record.previous.filter(|_| has_previous).map(|it| Previous {
                serial: it.serial,
                content: ContentDigest(it.content),
                memory: InMemory::default(),
                forward: None,
            }),
            unwanted: record
                .unwanted
                .map(|it| Unwanted { serial: it.serial, content: ContentDigest(it.content) }),
            ..empty
        }
    }

    /// The version that waits for an operator.
    pub(crate) fn held(&self) -> Option<&Held> {
        self.held.as_ref()
    }

    /// The version that was rolled back from.
    pub(crate) fn unwanted(&self) -> Option<Unwanted> {
        self.unwanted
    }

    /// The serial that a primary needn't be asked to transfer: it would be held again.
    pub(crate) fn held_serial(&self) -> Option<u32> {
        self.held.as_ref().map(|held| held.serial).or(self.unwanted.map(|it| it.serial))
    }

    /// Counts what stopped a version.
    pub(crate) fn count(&mut self, reasons: &[Reason]) {
        for reason in reasons {
            *self.stopped.entry(reason.rule).or_default() += 1;
        }
    }

    /// Holds a version, in place of any that was held before.
    pub(crate) fn hold(
        &mut self,
        table: Arc<Table>,
        files: Vec<PathBuf>,
        from: LoadedFrom,
        reasons: Vec<String>,
    ) {
        self.held = Some(Held {
            serial: table.serial(),
            content: table.content(),
            records: table.record_count(),
            stamp: table.source(),
            table: Some(table),
            files,
            from,
            since: SystemTime::now(),
            reasons,
        });
        self.is_unstored = true;
    }

    /// Forgets the version that is held: something else is served, or what it came from is gone.
    pub(crate) fn drop_held(&mut self) {
        self.is_unstored |= self.held.take().is_some();
    }

    /// Forgets what an operator would be asked about: the version that is served is the right one.
    pub(crate) fn accept(&mut self) {
        self.drop_held();
        self.is_unstored |= self.unwanted.take().is_some();
    }

    /// Takes in that another version is served now, in place of `before`.
    pub(crate) fn succeed(&mut self, before: Option<&Arc<Table>>, after: &Table) {
        self.accept();
        let Some(before) = before.filter(|before| before.content() != after.content()) else { return };
        self.previous = Some(Previous {
            serial: before.serial(),
            content: before.content(),
            memory: InMemory::new(before),
            forward: None,
        });
        self.is_unstored = true;
    }

    /// Takes in that these differences have led from the version before to the one that is served.
    pub(crate) fn came_by(&mut self, differences: &Arc<[Difference]>) {
        let octets = differences.iter().map(|it| it.removed.octets().len() + it.added.octets().len());
        let is_short = octets.sum::<usize>() <= FORWARD_MAX;
        if let (Some(previous), Some(first)) = (&mut self.previous, differences.first())
            && first.from == previous.serial
            && is_short
        {
            previous.forward = Some(Arc::clone(differences));
            previous.memory.is_written();
        }
    }

    /// Takes in that the version before is served again, and `table` is not any more.
    pub(crate) fn roll_back(&mut self, table: Arc<Table>, files: Vec<PathBuf>, from: LoadedFrom) {
        self.unwanted = Some(Unwanted { serial: table.serial(), content: table.content() });
        self.previous = None;
        self.hold(table, files, from, vec!["an operator has rolled back from it".to_owned()]);
    }

    /// The version that is held, to be served.
    ///
    /// # Errors
    /// There is none, or its image can't be used.
    pub(crate) fn held_table(
        &self,
        zone: &ZoneConfig,
        state: Option<&StateDir>,
    ) -> Result<Arc<Table>, String> {
        let held = self.held.as_ref().ok_or_else(|| {
            format!(
                "no version of {} is held back; `starling ctl zone status` shows what there is",
                zone.name
            )
        })?;
        table_or_image(held.table.as_ref(), zone, state, Kept::Held)
    }

    /// The version before, to be served again in place of `served`.
    ///
    /// # Errors
    /// There is none; or its image can't be used, and neither memory nor the journal has the way back to it.
    pub(crate) fn previous_table(
        &self,
        zone: &ZoneConfig,
        state: Option<&StateDir>,
        served: &Arc<Table>,
    ) -> Result<Arc<Table>, String> {
        let previous = self
            .previous
            .as_ref()
            .ok_or_else(|| format!("there is no version of {} before the one that is served", zone.name))?;
        let version = Version { serial: previous.serial, digest: previous.content.0 };
        if let Some(forward) = &previous.forward
            && let Some(table) = archive::undone(zone, served, forward, version)
        {
            return Ok(Arc::new(table));
        }
        let image = table_or_image(previous.memory.table().as_ref(), zone, state, Kept::Previous);
        if let Ok(table) = &image
            && table.content() == previous.content
        {
            return image;
        }
        let by_journal = state.and_then(|state| archive::back(zone, state, served, version));
        by_journal.map(Arc::new).ok_or_else(|| match image {
            Ok(_) => format!("the version of {} before the one that is served is lost", zone.name),
            Err(why) => why,
        })
    }

    /// The version before, for whoever writes its image.
    pub(crate) fn previous_in_memory(&self) -> Option<InMemory> {
        self.previous.as_ref().map(|previous| previous.memory.clone())
    }

    /// Stores what the state folder doesn't know yet, and frees the memory of what it then does.
    ///
    /// # Errors
    /// Those of writing. What is held stays in memory then.
    pub(crate) fn store(&mut self, zone: &ZoneConfig, state: &StateDir) -> io::Result<()> {
        if !self.is_unstored {
            return Ok(());
        }
        match &mut self.held {
            Some(held) => {
                if let Some(table) = &held.table {
                    state.keep_held(zone, table)?;
                    held.table = None;
                }
            }
            None => state.forget(zone, Kept::Held)?,
        }
        if self.previous.is_none() {
            state.forget(zone, Kept::Previous)?;
        }
        let record = Record {
            held: self.held.as_ref().map(Held::record),
            previous: self
                .previous
                .as_ref()
                .map(|it| VersionRecord { serial: it.serial, content: it.content.0 }),
            unwanted: self.unwanted.map(|it| VersionRecord { serial: it.serial, content: it.content.0 }),
        };
        let text = serde_json::to_vec(&record).map_err(io::Error::other)?;
        state.store_record(zone, &text)?;
        self.is_unstored = false;
        Ok(())
    }

    /// How it all is, for people; nothing where there is nothing to say.
    pub(crate) fn status(&self) -> Option<GateStatus> {
        let status = GateStatus {
            held: self.held.as_ref().map(|held| HeldStatus {
                serial: held.serial,
                content: held.content.to_string(),
                records: u64::from(held.records),
                since: status::timestamp(held.since),
                reasons: held.reasons.clone(),
            }),
            previous: self.previous.as_ref().map(|previous| previous.serial),
            asked: None, // the keeper knows
            rolled_back: self.unwanted.map(|it| it.serial),
            stopped: self.stopped.iter().map(|(rule, count)| (rule.name().to_owned(), *count)).collect(),
        };
        (status != GateStatus::default()).then_some(status)
    }
}

impl Held {
    /// Why it is held, a line each.
    pub(crate) fn reasons(&self) -> &[String] {
        &self.reasons
    }

    fn recalled(zone: &ZoneConfig, record: HeldRecord) -> Held {
        let local = match zone.source {
            ZoneSource::Published(_) => LoadedFrom::Published,
            _ => LoadedFrom::MasterFile,
        };
        Held {
            table: None,
            serial: record.serial,
            content: ContentDigest(record.content),
            records: record.records,
            stamp: SourceStamp(record.stamp),
            files: record.files,
            from: record.primary.map_or(local, LoadedFrom::Transfer),
            since: SystemTime::UNIX_EPOCH
                .checked_add(Duration::from_secs(record.since))
                .unwrap_or(SystemTime::UNIX_EPOCH),
            reasons: record.reasons,
        }
    }

    fn record(&self) -> HeldRecord {
        HeldRecord {
            serial: self.serial,
            content: self.content.0,
            records: self.records,
            stamp: self.stamp.0,
            files: self.files.clone(),
            primary: match self.from {
                LoadedFrom::Transfer(primary) => Some(primary),
                LoadedFrom::MasterFile
                | LoadedFrom::Published
                | LoadedFrom::Configuration
                | LoadedFrom::Image
                | LoadedFrom::Journal(..) => None,
            },
            since: self.since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs(),
            reasons: self.reasons.clone(),
        }
    }
}

fn table_or_image(
    table: Option<&Arc<Table>>,
    zone: &ZoneConfig,
    state: Option<&StateDir>,
    kept: Kept,
) -> Result<Arc<Table>, String> {
    if let Some(table) = table {
        return Ok(Arc::clone(table));
    }
    let lost = |why: &dyn std::fmt::Display| format!("that version of {} is lost: {why}", zone.name);
    let state = state.ok_or_else(|| lost(&"there is no `state-dir` that would have it"))?;
    state.kept(zone, kept).map(Arc::new).map_err(|why| lost(&why))
}
