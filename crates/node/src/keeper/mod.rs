//! The keeper of the zones: a thread that owns the publisher, loads zones and publishes what proved good.
//!
//! Everything that changes what is served goes through it, one request after the other, so no two reloads can
//! mix. What others may know of it is on the [`Board`].

mod board;
mod copies;
mod reload;

pub(crate) use board::Board;
pub(crate) use copies::{ConfiguredCopy, Install, Judgement, Verdict};
pub(crate) use reload::{Changed, QUEUE_MAX, ReloadRequest};

use crate::config::{Config, ConfigError, NodeConfig, ZoneConfig, ZoneSource};
use crate::progress::Progress;
use crate::status::{self, ServedStatus, ZoneError, ZoneState, ZoneStatus};
use crate::transfers::Transfers;
use crate::zones::load::{self, Images, Loaded, LoadedFrom, ZoneErrors};
use crate::zones::parallel::{self, Priority};
use crate::zones::state_dir::StateDir;
use crate::zones::transferred::Transferred;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use table::publish::{Directory, Generation, Publisher, Reader, SlotIndex};
use table::{SourceStamp, Table};
use tokio::sync::watch;

/// How many messages about one zone are logged or kept; `starling check` shows all.
const MESSAGES_MAX: usize = 100;

/// How long the keeper waits for every worker to serve a change. A worker that answers needs microseconds, one
/// that sleeps is woken; longer means that its thread doesn't get to run, which is logged.
const SERVED_WITHIN: Duration = Duration::from_secs(5);

/// Reads the configuration as it is now.
pub(crate) type ReadConfig = Box<dyn Fn() -> Result<Config, ConfigError> + Send>;

/// Makes a packet thread look for changes.
pub(crate) type Wake = Box<dyn Fn() + Send>;

/// What the keeper is asked to do.
pub(crate) enum Request {
    /// To read zones again.
    Reload(ReloadRequest),
    /// To take a transferred version of a zone into service.
    Install(Box<Install>),
    /// To take a zone out of service that has expired, or back into it.
    Judge(Judgement),
}

/// The keeper of the zones.
pub(crate) struct Keeper {
    publisher: Publisher,
    /// Of the last change that was published.
    generation: Generation,
    entries: Vec<Entry>,
    free_slots: Vec<SlotIndex>,
    slots: u32,
    state: Option<StateDir>,
    node: NodeConfig,
    read_config: ReadConfig,
    wake: Vec<Wake>,
    board: Arc<Board>,
    transfers: Arc<Transfers>,
    /// Entries whose table was compiled and has no image yet.
    unstored: Vec<usize>,
    /// The zones that are copies, for who keeps them up to date.
    copies: watch::Sender<Arc<[ConfiguredCopy]>>,
}

/// A configured zone.
struct Entry {
    zone: ZoneConfig,
    slot: SlotIndex,
    /// Whether its names lead to it: from the start, or for a zone added later from its first good version,
    /// since before that the zone above it may have answered for them.
    listed: bool,
    served: Option<Served>,
    error: Option<Held>,
    /// Of a copy: whether it was not confirmed for too long.
    expired: bool,
    /// The table that is not served while that is so.
    withheld: Option<Arc<Table>>,
}

/// The version of a zone that is served; the table is in the publisher.
struct Served {
    files: Vec<PathBuf>,
    stamp: SourceStamp,
    from: LoadedFrom,
    since: SystemTime,
}

/// What holds a newer version back.
struct Held {
    errors: Vec<String>,
    count: usize,
    since: SystemTime,
}

impl Keeper {
    /// Loads all zones of the configuration, over several threads, and publishes those that are good.
    ///
    /// Nothing answers yet, so the threads don't hold back.
    pub(crate) fn start(
        config: Config,
        state: Option<StateDir>,
        read_config: ReadConfig,
        board: Arc<Board>,
        transfers: Arc<Transfers>,
        progress: &Progress,
    ) -> Keeper {
        transfers.configure(&config);
        let entries =
            config.zones.into_iter().zip(0..).map(|(zone, slot)| Entry::new(zone, SlotIndex(slot), true));
        let entries: Vec<Entry> = entries.collect();
        let mut keeper = Keeper {
            publisher: Publisher::new(),
            generation: 0,
            free_slots: Vec::new(),
            slots: entries.len() as u32,
            entries,
            state,
            node: config.node,
            read_config,
            wake: Vec::new(),
            board,
            transfers,
            unstored: Vec::new(),
            copies: watch::Sender::new(Arc::default()),
        };
        let jobs: Vec<Job> = (0..keeper.entries.len()).map(|entry| keeper.job(entry, Images::Use)).collect();
        keeper.load(&jobs, Priority::Normal, progress, |_, _| {});
        keeper.judge_by_age();
        keeper.publish_directory();
        keeper.tell_copies();
        // Readers are made from now on, and begin with all of this.
        keeper.board.set_generation(keeper.generation, keeper.generation);
        keeper.update_board();
        keeper
    }

    /// How many zones are served.
    pub(crate) fn served_count(&self) -> usize {
        self.entries.iter().filter(|entry| entry.served.is_some()).count()
    }

    /// A reader for one packet thread.
    pub(crate) fn reader(&mut self) -> Reader {
        self.publisher.reader()
    }

    /// Whom to wake when something was published.
    pub(crate) fn wakes(&mut self, wake: Wake) {
        self.wake.push(wake);
    }

    fn job(&self, entry: usize, images: Images) -> Job {
        Job { entry, zone: self.entries[entry].zone.clone(), images, transferred: Mutex::default() }
    }

    /// Loads zones and publishes each that is good as soon as it is; `done` learns what came of it.
    fn load(
        &mut self,
        jobs: &[Job],
        priority: Priority,
        progress: &Progress,
        mut done: impl FnMut(&Job, &Result<Change, ZoneErrors>),
    ) {
        let Keeper { publisher, generation, entries, state, unstored, .. } = self;
        let state = state.as_ref();
        let work = |job: &Job| match job.take_transferred() {
            Some(transferred) => load::compile_transferred(&job.zone, transferred),
            None => load::load(&job.zone, state, job.images, &progress.zone(job.zone.name.as_name())),
        };
        parallel::each(jobs, parallel::thread_count(), priority, work, |index, result| {
            let job = &jobs[index];
            let entry = &mut entries[job.entry];
            let result = match result {
                Ok(loaded) => {
                    if loaded.from != LoadedFrom::Image {
                        unstored.push(job.entry);
                    }
                    let (change, published) = entry.take(loaded, publisher);
                    *generation = published;
                    Ok(change)
                }
                Err(errors) => {
                    // Of what doesn't fit nothing follows yet: the whole zone is asked for.
                    if !errors.misfit {
                        entry.hold_back(&errors);
                    }
                    Err(errors)
                }
            };
            done(job, &result);
        });
    }

    /// Stores the images of what was compiled. After it was published: a disk may be slow, and answers don't wait for it.
    fn store_images(&mut self) {
        let unstored = std::mem::take(&mut self.unstored);
        let Some(state) = &self.state else { return };
        for entry in unstored.into_iter().filter_map(|index| self.entries.get(index)) {
            let (Some(served), Some(table)) = (&entry.served, self.publisher.table(entry.slot)) else {
                continue;
            };
            let (stored, consequence) = match entry.zone.source {
                ZoneSource::MasterFile(_) => {
                    (state.store(&entry.zone, table, &served.files), "it will be compiled at the next start")
                }
                ZoneSource::Primaries(_) => {
                    (state.store_transferred(&entry.zone, table), "the next start begins with an older one")
                }
            };
            if let Err(error) = stored {
                let name = &entry.zone.name;
                tracing::warn!("zone {name}: its image could not be stored, so {consequence}: {error}");
            }
        }
    }

    fn publish_directory(&mut self) {
        let listed = self.entries.iter().filter(|entry| entry.listed);
        let directory = Directory::new(listed.map(|entry| (entry.zone.name.as_name(), entry.slot)));
        self.generation = self.publisher.publish_directory(directory);
    }

    /// Waits until every packet thread serves what was published, and frees what that replaced.
    fn wait_until_served(&mut self) {
        let generation = self.generation;
        let start = Instant::now();
        let mut served = self.publisher.collect();
        while served < generation && start.elapsed() < SERVED_WITHIN {
            self.wake.iter().for_each(|wake| wake());
            std::thread::park_timeout(Duration::from_millis(1));
            served = self.publisher.collect();
        }
        if served < generation {
            tracing::warn!(
                "a worker has not taken in the last change within {SERVED_WITHIN:?}: its CPU is overloaded, or it hangs"
            );
        }
        self.board.set_generation(generation, served);
    }

    /// Tells the secondaries of what is new to them. After it is served: they ask at once.
    fn notify_secondaries(&self) {
        for entry in self.entries.iter().filter(|entry| entry.listed) {
            if let Some(table) = self.publisher.table(entry.slot) {
                self.transfers.notifications.publish(table, &entry.zone.notify);
            }
        }
    }

    fn update_board(&self) {
        let zones = self.entries.iter().map(|entry| entry.status(self.publisher.table(entry.slot)));
        self.board.set_zones(zones.collect());
    }
}

/// A zone to load.
struct Job {
    entry: usize,
    zone: ZoneConfig,
    images: Images,
    /// What a primary has sent, until somebody compiles it.
    transferred: Mutex<Option<Transferred>>,
}

impl Job {
    fn take_transferred(&self) -> Option<Transferred> {
        self.transferred.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A new version of a zone that was published.
struct Change {
    from_serial: Option<u32>,
    to_serial: u32,
    took: Duration,
}

impl Entry {
    fn new(zone: ZoneConfig, slot: SlotIndex, listed: bool) -> Entry {
        Entry { zone, slot, listed, served: None, error: None, expired: false, withheld: None }
    }

    /// Publishes a good version, and logs it.
    fn take(&mut self, loaded: Loaded, publisher: &mut Publisher) -> (Change, Generation) {
        let Loaded { table, files, from, no_image, warnings, took } = loaded;
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
            (LoadedFrom::Transfer(primary), _) => format!("compiled from a transfer from {primary}"),
            (LoadedFrom::MasterFile, None) => format!("compiled from {file}"),
            (LoadedFrom::MasterFile, Some(why)) => format!("compiled from {file}, because {why}"),
        };
        tracing::info!(
            "zone {name}: serial {serial}, {records} records, {names} names, {how}, in {} ms",
            took.as_millis()
        );
        self.served = Some(Served { files, stamp: table.source(), from, since: SystemTime::now() });
        self.error = None;
        self.expired = false;
        self.withheld = None;
        let generation = publisher.publish(self.slot, Some(table));
        (Change { from_serial, to_serial: serial, took }, generation)
    }

    /// Keeps what is served, and logs and remembers why.
    fn hold_back(&mut self, errors: &ZoneErrors) {
        let name = &self.zone.name;
        let count = errors.errors.len();
        if self.zone.secondary().is_some() && self.served.is_none() {
            // Nothing is wrong with the node: its primaries have to be asked first.
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
            ZoneSource::Primaries(_) => "mend it at the primary, then `starling ctl refresh`",
        };
        tracing::error!("zone {name}: not loaded, {errors_text}; {consequence}; {remedy}");
        self.remember(errors);
    }

    fn remember(&mut self, errors: &ZoneErrors) {
        let count = errors.errors.len();
        let since = self.error.as_ref().map_or_else(SystemTime::now, |held| held.since);
        let errors = errors.errors.iter().take(MESSAGES_MAX).cloned().collect();
        self.error = Some(Held { errors, count, since });
    }

    /// Whether the files are those that the served version was made from.
    fn is_current(&self) -> bool {
        self.served.as_ref().is_some_and(|served| load::is_current(&self.zone, &served.files, served.stamp))
    }

    fn status(&self, table: Option<&Arc<Table>>) -> ZoneStatus {
        let served = self.served.as_ref().zip(table).map(|(served, table)| ServedStatus {
            serial: table.serial(),
            records: u64::from(table.record_count()),
            names: u64::from(table.name_count()),
            digest: table.digest().to_string(),
            table_bytes: table.image().len() as u64,
            loaded_from: match served.from {
                LoadedFrom::MasterFile => "master-file".to_owned(),
                LoadedFrom::Image => "image".to_owned(),
                LoadedFrom::Transfer(_) => "transfer".to_owned(),
            },
            since: status::timestamp(served.since),
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
            name: self.zone.name.to_string(),
            file,
            state,
            critical: self.zone.critical,
            served,
            error,
            notified: Vec::new(), // these change without the keeper
        }
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
