//! The keeper of the zones: a thread that owns the publisher, loads zones and publishes what proved good.
//!
//! Everything that changes what is served goes through it, one request after the other, so no two reloads can
//! mix. What others may know of it is on the [`Board`].

mod admission;
mod asking;
mod board;
mod brought;
mod catalogs;
mod chart;
mod copies;
mod entries;
mod entry;
mod fold;
mod past;
mod publish;
mod reload;
mod steer;
mod tell;

pub(crate) use admission::{Decision, Step};
pub(crate) use board::{Board, Landmarks};
pub(crate) use catalogs::ApprovalRequest;
pub(crate) use copies::{ConfiguredCopy, Install, Judgement, Verdict};
pub(crate) use publish::{Publication, Publishing};
pub(crate) use reload::{Changed, QUEUE_MAX, ReloadRequest};

use crate::archive::{Archive, version_of};
use crate::config::{Config, ConfigError, NodeConfig, PoolConfig, SharingConfig, ZoneConfig};
use crate::gate::{Serials, Unwanted};
use crate::outside::Outside;
use crate::pools;
use crate::progress::Progress;
use crate::transfers::Transfers;
use crate::zones::load::{self, Images, Loaded, LoadedFrom, ZoneErrors};
use crate::zones::parallel::{self, Priority};
use crate::zones::state_dir::StateDir;
use crate::zones::transferred::Transferred;
use admission::Judged;
use asking::Asking;
use brought::Brought;
use catalogs::Catalogs;
use entries::Entries;
use entry::Entry;
use nameserver::RateLimits;
use past::left_since;
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use table::publish::{Directory, Generation, Publisher, Reader, SlotIndex};
use table::{SourceStamp, Table};
use tokio::sync::{oneshot, watch};
use wire::NameBuf;
use zone::Difference;
use zone::amend::Steered;

/// How many messages about one zone are logged or kept; `starling check` shows all.
const MESSAGES_MAX: usize = 100;

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
    /// To remove the members of a catalog whose removal is held.
    Approve(ApprovalRequest),
    /// To do what an operator has decided about a zone's versions.
    Decide(Box<Decision>),
    /// To have these names answer so, and no others.
    Steer(Vec<Steered>),
    /// To take a table into service that was compiled elsewhere.
    Publish(Publishing),
    /// To show what a name is answered from.
    Show(Showing),
}

/// A request for what a name is answered from.
pub(crate) struct Showing {
    /// The name.
    pub(crate) name: NameBuf,
    /// Gets the table of its zone, with the answers of pools, or why there is none.
    pub(crate) reply: oneshot::Sender<Result<Arc<Table>, String>>,
}

/// The keeper of the zones.
pub(crate) struct Keeper {
    publisher: Publisher,
    /// Of the last change that was published.
    generation: Generation,
    /// Whether a packet thread has not taken it in within the time it had.
    is_late: bool,
    entries: Entries,
    free_slots: Vec<SlotIndex>,
    slots: u32,
    state: Option<Arc<StateDir>>,
    archive: Archive,
    node: NodeConfig,
    read_config: ReadConfig,
    wake: Vec<Wake>,
    board: Arc<Board>,
    transfers: Arc<Transfers>,
    /// How many responses there may be, for packet threads.
    rate_limits: Arc<RateLimits>,
    /// Entries whose table was compiled and has no image yet.
    unstored: Vec<usize>,
    /// Entries that have changed, and what was served before.
    changed: HashMap<usize, Replaced>,
    /// Versions that wait for what operators' commands say of them.
    asking: Asking,
    moment: Moment,
    /// The zone that is being folded.
    folding: Option<fold::Folding>,
    /// Those that are next.
    to_fold: fold::Due,
    /// Entries whose other versions the state folder doesn't know.
    unkept: Vec<usize>,
    /// The zones that are copies, for who keeps them up to date.
    copies: watch::Sender<Arc<[ConfiguredCopy]>>,
    /// What catalogs say.
    catalogs: Catalogs,
    /// The pools that there are, for who keeps them.
    pools: watch::Sender<Arc<[PoolConfig]>>,
    /// Where they come from.
    brought: Brought,
    /// How nodes share what the pools' checks see, for who does it.
    sharing: watch::Sender<Option<Arc<SharingConfig>>>,
    /// What names answer by their pools.
    steered: Vec<Steered>,
    /// Whether any zone may have such names.
    has_steered: bool,
    /// Who is told beside the packet threads which zones there are.
    outside: Option<Outside>,
    /// The zones that have such names.
    steered_zones: Vec<NameBuf>,
    /// Names of pools that are in no zone, and what is wrong with that.
    homeless: HashMap<String, String>,
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
        let state = state.map(Arc::new);
        let archive = Archive::new(state.clone(), &transfers);
        let entry = |(zone, slot)| Entry::new(zone, SlotIndex(slot), true, state.as_deref());
        let mut entries = Entries::default();
        for entry in config.zones.into_iter().zip(0..).map(entry) {
            entries.push(entry);
        }
        let mut keeper = Keeper {
            publisher: Publisher::new(),
            generation: 0,
            is_late: false,
            free_slots: Vec::new(),
            slots: entries.len() as u32,
            entries,
            state,
            archive,
            node: config.node,
            read_config,
            wake: Vec::new(),
            board,
            transfers,
            rate_limits: Arc::default(),
            unstored: Vec::new(),
            changed: HashMap::new(),
            asking: Asking::default(),
            moment: Moment::Start,
            folding: None,
            to_fold: fold::Due::default(),
            unkept: Vec::new(),
            copies: watch::Sender::new(Arc::default()),
            catalogs: Catalogs::default(),
            pools: watch::Sender::new(Arc::clone(&config.pools)),
            brought: Brought::beside(config.pools, config.places),
            sharing: watch::Sender::new(config.sharing),
            steered: Vec::new(),
            has_steered: false,
            outside: None,
            steered_zones: Vec::new(),
            homeless: HashMap::new(),
        };
        keeper.rate_limits.set(config.rate_limit);
        let jobs: Vec<Job> = (0..keeper.entries.len()).map(|entry| keeper.job(entry, Images::Use)).collect();
        keeper.load(&jobs, Priority::Normal, progress, |_, _| {});
        keeper.judge_by_age(0);
        // By then it is known which catalogs have expired.
        let configured = keeper.entries.len();
        keeper.begin_catalogs(progress);
        keeper.judge_by_age(configured);
        keeper.take_in_pools();
        keeper.steered = pools::first_answers(&keeper.pools.borrow(), keeper.pools_file().as_deref());
        keeper.changed.clear(); // nothing was served before
        keeper.entries.take_untold(); // when the keeper begins with its work
        keeper.publish_directory();
        keeper.tell_copies();
        // Readers are made from now on, and begin with all of this.
        keeper.board.set_generation(keeper.generation, keeper.generation);
        keeper.update_board();
        keeper.store_images();
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
        let Entry { zone, slot, withheld, versions, .. } = &self.entries[entry];
        Job {
            entry,
            zone: zone.clone(),
            images,
            standing: withheld.as_ref().or(self.publisher.table(*slot)).cloned(),
            unwanted: versions.unwanted(),
            held: versions.held().map(|held| (held.stamp, held.files.clone())),
            serials: Serials::AsConfigured,
            begins_anew: self.archive.is_removing(zone),
            moment: self.moment,
            transferred: Mutex::default(),
            published: Mutex::default(),
        }
    }

    /// An entry of a zone that is new here.
    fn new_entry(&self, zone: ZoneConfig, slot: SlotIndex, listed: bool) -> Entry {
        let state = self.state.as_deref().filter(|_| !self.archive.is_removing(&zone));
        Entry::new(zone, slot, listed, state)
    }

    /// Loads zones and publishes each that is good as soon as it is; `done` learns what came of it, or that it waits for what its
    /// command says.
    fn load(
        &mut self,
        jobs: &[Job],
        priority: Priority,
        progress: &Progress,
        mut done: impl FnMut(&Job, Option<&Result<Change, ZoneErrors>>),
    ) {
        let state = self.state.clone();
        let work = |job: &Job| job.load(state.as_deref(), &progress.zone(job.zone.name.as_name()));
        parallel::each(jobs, parallel::thread_count(), priority, work, |index, result| {
            let result = self.take_in(&jobs[index], result);
            done(&jobs[index], result.as_ref());
        });
    }

    /// Publishes a version that is good; what came of it, unless it waits for what its command says.
    fn take_in(
        &mut self,
        job: &Job,
        judged: Result<Judged, ZoneErrors>,
    ) -> Option<Result<Change, ZoneErrors>> {
        let (index, state) = (job.entry, self.state.as_deref());
        let entry = &mut self.entries[index];
        match judged {
            Ok(Judged::Admitted(loaded, stored)) => {
                if loaded.from != LoadedFrom::Image {
                    self.unstored.push(index);
                }
                match loaded.from {
                    LoadedFrom::Image => self.archive.mapped(&entry.zone, version_of(&loaded.table)),
                    LoadedFrom::Journal(image, _) => self.archive.mapped(&entry.zone, image),
                    LoadedFrom::MasterFile
                    | LoadedFrom::Published
                    | LoadedFrom::Configuration
                    | LoadedFrom::Transfer(_) => {}
                }
                if !loaded.from.is_recalled() {
                    self.board.count_table(&loaded.table);
                }
                let since =
                    if entry.served.is_none() { left_since(state, &entry.zone, loaded.from) } else { None };
                let before = entry.withheld.as_ref().or(self.publisher.table(entry.slot)).cloned();
                self.changed.entry(index).or_insert(Replaced { before, differences: None });
                let (change, generation) = entry.take(loaded, stored, &mut self.publisher);
                entry.has_served_since(since);
                self.generation = generation;
                self.forget_asked(&job.zone.name, "a later version has taken its place");
                Some(Ok(change))
            }
            Ok(Judged::Unasked(loaded, stored)) => {
                self.let_wait(job, loaded, stored);
                None
            }
            Ok(Judged::Stopped(loaded, stop, stored)) => {
                let served = job.standing.as_ref().or(stored.as_ref()).map(|table| table.serial());
                let errors = entry.stop(loaded, &stop, served);
                self.unkept.push(index);
                if let Some(stored) = stored {
                    self.generation = entry.go_on_with(stored, &mut self.publisher);
                }
                Some(Err(errors))
            }
            Ok(Judged::StillHeld(image)) => {
                self.generation = entry.go_on_with(image, &mut self.publisher);
                let held = || ZoneErrors::one(format!("zone {}: a version is held back", entry.zone.name));
                let errors = entry.held_errors().unwrap_or_else(held);
                errors.errors.iter().for_each(|error| tracing::error!("{error}"));
                entry.remember(&errors);
                Some(Err(errors))
            }
            Err(errors) => {
                // A node that was killed goes on with what it served, whatever has become of the master file.
                let is_wanted = entry.served.is_none() && !job.begins_anew;
                let wanted = state.filter(|_| is_wanted);
                if let Some(loaded) = wanted.and_then(|state| load::last_good(&job.zone, state)) {
                    self.archive.mapped(&entry.zone, version_of(&loaded.table));
                    let since = left_since(state, &entry.zone, loaded.from);
                    (_, self.generation) = entry.take(loaded, None, &mut self.publisher);
                    entry.has_served_since(since);
                }
                // Of what doesn't fit nothing follows yet: the whole zone is asked for.
                if !errors.misfit {
                    entry.hold_back(&errors);
                }
                Some(Err(errors))
            }
        }
    }

    /// Has the images stored of what was compiled.
    fn store_images(&mut self) {
        let unstored = std::mem::take(&mut self.unstored);
        let unkept = std::mem::take(&mut self.unkept);
        let Some(state) = &self.state else { return };
        for index in &unstored {
            let Some(entry) = self.entries.get_mut(*index) else { continue };
            let (Some(served), Some(table)) = (&entry.served, self.publisher.table(entry.slot)) else {
                continue;
            };
            let previous = entry.versions.previous_in_memory();
            self.archive.store(&entry.zone, table, &served.files, previous);
        }
        for index in unstored.into_iter().chain(unkept) {
            let Some(entry) = self.entries.get_mut(index) else { continue };
            if self.archive.is_removing(&entry.zone) {
                self.unkept.push(index); // it would be removed, too
                continue;
            }
            let stored = entry.versions.store(&entry.zone, state);
            if stored.is_err() {
                self.unkept.push(index); // with the next change of any zone
            }
            self.archive.wrote(&state.record_file(&entry.zone), &stored, || {
                format!("zone {}: what is known of its versions could not be stored", entry.zone.name)
            });
        }
    }

    /// How many responses packet threads may give.
    pub(crate) fn rate_limits(&self) -> Arc<RateLimits> {
        Arc::clone(&self.rate_limits)
    }

    /// What writes the images and journals.
    pub(crate) fn archive(&self) -> &Archive {
        &self.archive
    }

    /// The pools of the configuration and of zones, now and later.
    pub(crate) fn pools(&self) -> watch::Receiver<Arc<[PoolConfig]>> {
        self.pools.subscribe()
    }

    /// How nodes share what the pools' checks see, now and later.
    pub(crate) fn sharing(&self) -> watch::Receiver<Option<Arc<SharingConfig>>> {
        self.sharing.subscribe()
    }

    /// Where it is kept what is known of pools.
    pub(crate) fn pools_file(&self) -> Option<PathBuf> {
        self.state.as_ref().map(|state| state.pools_file())
    }

    /// Has the programs of interfaces answer what takes no zone, and keeps them told.
    ///
    /// # Errors
    /// No thread can be started.
    pub(crate) fn keep_told(&mut self, outside: Outside) -> io::Result<()> {
        outside.limit(self.rate_limits.rules().as_deref());
        outside.keep_away(Arc::clone(&self.rate_limits))?;
        outside.tell(self.listed().map(|entry| entry.zone.name.clone()).collect());
        self.outside = Some(outside);
        Ok(())
    }

    fn listed(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.listed)
    }

    fn publish_directory(&mut self) {
        let directory = Directory::new(self.listed().map(|entry| (entry.zone.name.as_name(), entry.slot)));
        if let Some(outside) = &self.outside {
            outside.close();
        }
        self.generation = self.publisher.publish_directory(directory);
        self.brought.zones_have_moved();
        if let Some(outside) = &self.outside {
            outside.tell(self.listed().map(|entry| entry.zone.name.clone()).collect());
        }
        self.place_steered();
    }
}

/// When zones come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Moment {
    /// When the node starts, and nothing is served yet.
    Start,
    /// Later.
    Running,
}

/// A zone to load.
struct Job {
    entry: usize,
    zone: ZoneConfig,
    images: Images,
    /// The version that it would replace.
    standing: Option<Arc<Table>>,
    /// The version that was rolled back from.
    unwanted: Option<Unwanted>,
    /// What the version that is held was made from: a stamp, and the files.
    held: Option<(SourceStamp, Vec<PathBuf>)>,
    /// Whether its serial matters.
    serials: Serials,
    /// Whether what the state folder has is of an earlier zone of that name, and about to be removed.
    begins_anew: bool,
    /// When that is.
    moment: Moment,
    /// What a primary has sent, until somebody compiles it.
    transferred: Mutex<Option<Transferred>>,
    /// The table that was published, until somebody judges it.
    published: Mutex<Option<Loaded>>,
}

impl Job {
    /// The same, without what a primary has sent or somebody published.
    fn again(&self) -> Job {
        Job {
            zone: self.zone.clone(),
            standing: self.standing.clone(),
            held: self.held.clone(),
            transferred: Mutex::default(),
            published: Mutex::default(),
            ..*self
        }
    }

    fn take_transferred(&self) -> Option<Transferred> {
        self.transferred.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn take_published(&self) -> Option<Loaded> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What was served before a zone changed.
struct Replaced {
    before: Option<Arc<Table>>,
    /// What has led from there to what is served now, where that is known.
    differences: Option<Arc<[Difference]>>,
}

/// A new version of a zone that was published.
struct Change {
    from_serial: Option<u32>,
    to_serial: u32,
    took: Duration,
}
