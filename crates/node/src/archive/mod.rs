//! What outlives the process: images of the zones, and journals of what has changed in them.
//!
//! Three threads do that, and nobody who serves or publishes waits for a disk. That of [`changes`] compares versions, which takes as
//! long as reading a zone, and that of [`images`] stores tables; both yield to everybody. The one of [`scribe`] appends to journals.
//! [`Index`] has what transfers and the status need to know.
//!
//! **When a version is durable.** That of a master file is, by its file. One that was transferred, or compiled elsewhere, is published first and written
//! then, since comparing it takes time that answers would be old for; until it is in a synced journal or image, `ctl zones` says that it
//! is not durable, and a restart begins with the one before and asks the primaries. A difference is written
//! before it is synced and the process can be killed from then on; a sync takes what the disk takes. Secondaries are
//! notified when the journal has the difference, or can't have it.
//!
//! **A disk that fails** costs durability and the differences that could not be written: serving, reloads and transfers go on, and
//! secondaries get whole zones. What could not be written is tried again every [`RETRY_EVERY`].

mod changes;
mod disk;
mod images;
mod index;
mod journal;
mod queue;
mod replay;
mod scribe;

pub(crate) use index::{Index, version_of};
pub(crate) use replay::{Replayed, back, replay, undone};

use crate::config::ZoneConfig;
use crate::gate::InMemory;
use crate::status::DiskStatus;
use crate::transfers::Transfers;
use crate::zones::state_dir::StateDir;
use disk::Disk;
use queue::{Change, Image, Queue, Step};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use table::Table;
use tokio::sync::oneshot;
use transfer::catalog::Ownership;
use transfer::journal::Version;
use zone::Difference;

/// How often it is tried again to write what could not be written. A full disk is emptied by people, and a try that fails
/// costs as much as one that succeeds.
const RETRY_EVERY: Duration = Duration::from_secs(10);

/// How long somebody waits for an image: a large one takes seconds.
const STORED_WITHIN: Duration = Duration::from_secs(20);

/// How long writing goes on when the node is ending; less than it waits for its threads.
const CLOSE_WITHIN: Duration = Duration::from_secs(3);

/// A hand on what is kept.
#[derive(Clone)]
pub(crate) struct Archive {
    transfers: Arc<Transfers>,
    /// Nothing is kept where there is no state folder.
    kept: Option<Arc<Kept>>,
}

struct Kept {
    state: Arc<StateDir>,
    queue: Queue,
    disk: Arc<Disk>,
    transfers: Arc<Transfers>,
}

impl Archive {
    /// An archive in this folder. What it is given is written from [`Archive::start`] on.
    pub(crate) fn new(state: Option<Arc<StateDir>>, transfers: &Arc<Transfers>) -> Archive {
        let kept = |state: Arc<StateDir>| {
            let (queue, disk) = (Queue::default(), Arc::<Disk>::default());
            if let Some(why) = state.unwritable() {
                let folder = state.folder();
                disk.failed(
                    folder,
                    &format!("nothing can be written to the state folder {}: {why}", folder.display()),
                );
            }
            Arc::new(Kept { state, queue, disk, transfers: Arc::clone(transfers) })
        };
        Archive { transfers: Arc::clone(transfers), kept: state.map(kept) }
    }

    /// Starts the threads. The receiver ends when everything is written that was to be, after [`Archive::close`].
    ///
    /// # Errors
    /// Those of starting threads.
    pub(crate) fn start(&self) -> io::Result<oneshot::Receiver<()>> {
        let (writing, written) = oneshot::channel();
        let Some(kept) = self.kept.clone() else { return Ok(written) };
        let (orders, ordered) = std::sync::mpsc::sync_channel(1);
        scribe::start(ordered, Arc::clone(&kept.transfers.index), Arc::clone(&kept.disk))?;
        let writing = Arc::new(writing);
        let (of_images, until_written) = (Arc::clone(&kept), Arc::clone(&writing));
        std::thread::Builder::new().name("images".to_owned()).spawn(move || {
            images::run(&of_images);
            drop(until_written);
        })?;
        std::thread::Builder::new().name("archive".to_owned()).spawn(move || {
            changes::run(&kept, &orders);
            drop(writing);
        })?;
        Ok(written)
    }

    /// A zone is served from the start on: its journal is to lead to this version, and then its secondaries are told.
    pub(crate) fn begin(&self, zone: &ZoneConfig, table: &Arc<Table>) {
        match &self.kept {
            Some(kept) if kept.is_wanted(zone) => {
                let (begin, tell) = (Some(Arc::clone(table)), Some(Arc::clone(table)));
                kept.queue.change(Change { begin, tell, ..Change::of(zone) });
            }
            _ => self.transfers.notifications.publish(table, &zone.notify),
        }
    }

    /// A zone has changed and is served: the difference goes to its journal, and then its secondaries are told. Where it is not
    /// known what it is, the versions are compared.
    pub(crate) fn change(
        &self,
        zone: &ZoneConfig,
        from: Option<Arc<Table>>,
        to: &Arc<Table>,
        differences: Option<Arc<[Difference]>>,
    ) {
        match (&self.kept, from) {
            (Some(kept), Some(from)) if kept.is_wanted(zone) => {
                let differences = differences.map(|differences| vec![differences]);
                let step = Some(Step { from, to: Arc::clone(to), differences });
                let tell = Some(Arc::clone(to));
                kept.queue.change(Change { step, tell, ..Change::of(zone) });
            }
            _ => self.tell(zone, to),
        }
    }

    /// Tells the secondaries of a zone of what is new to them, when what has changed before is written.
    pub(crate) fn tell(&self, zone: &ZoneConfig, table: &Arc<Table>) {
        if !self.kept.as_ref().is_some_and(|kept| kept.queue.tell(zone, table)) {
            self.transfers.notifications.publish(table, &zone.notify);
        }
    }

    /// The image of a zone is of this version.
    pub(crate) fn mapped(&self, zone: &ZoneConfig, image: Version) {
        self.transfers.index.set_image(zone.name.as_name(), image);
    }

    /// The image of a zone is to be this table, made from these files. Of several that wait the last is stored.
    /// The version before gets an image, too, or keeps it.
    pub(crate) fn store(
        &self,
        zone: &ZoneConfig,
        table: &Arc<Table>,
        files: &[PathBuf],
        previous: Option<InMemory>,
    ) {
        let Some(kept) = &self.kept else { return };
        let (zone, table, files, due) = (zone.clone(), Arc::clone(table), files.to_vec(), Instant::now());
        kept.queue.image(Image { zone, table, files, previous, due, reply: None, is_last: true });
    }

    /// Somebody else has written a file of the state folder, or could not; `what` says so.
    pub(crate) fn wrote(&self, file: &Path, result: &io::Result<()>, what: impl FnOnce() -> String) {
        let Some(kept) = &self.kept else { return };
        match result {
            Ok(()) => kept.disk.worked(file),
            Err(error) => kept.disk.failed(file, &format!("{}: {error}", what())),
        }
    }

    /// Has the image of a zone stored before all others, in place of those of it that wait, and waits for it as long as people wait for
    /// an answer; whether it was.
    pub(crate) fn store_now(
        &self,
        zone: &ZoneConfig,
        table: &Arc<Table>,
        files: &[PathBuf],
        previous: Option<InMemory>,
    ) -> bool {
        let Some(kept) = &self.kept else { return true };
        let (reply, stored) = std::sync::mpsc::sync_channel(1);
        let (zone, table, files, due) = (zone.clone(), Arc::clone(table), files.to_vec(), Instant::now());
        let reply = Some(reply);
        kept.queue.image_first(Image { zone, table, files, previous, due, reply, is_last: true });
        stored.recv_timeout(STORED_WITHIN).unwrap_or(false)
    }

    /// Which zones are here for catalogs is stored, when what was to be removed is.
    pub(crate) fn store_members(&self, members: &Ownership) {
        if let Some(kept) = &self.kept {
            kept.queue.members(members.clone());
        }
    }

    /// Waits until a restart begins with this version, whose image is stored: the journal may lead on from it until it is taken in
    /// that the zone went back to it. Whether a restart does.
    pub(crate) fn settle(&self, zone: &ZoneConfig, table: &Arc<Table>) -> bool {
        self.kept
            .as_ref()
            .is_none_or(|kept| kept.queue.settle(zone, || kept.transfers.index.begins_with(table)))
    }

    /// A zone is no longer configured: what there is of it is removed.
    pub(crate) fn remove(&self, zone: &ZoneConfig) {
        if let Some(kept) = &self.kept {
            kept.queue.remove(zone);
        }
    }

    /// Whether something is yet to be removed of a zone that had this name: what the state folder has is not of the one that has it now.
    pub(crate) fn is_removing(&self, zone: &ZoneConfig) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.queue.is_removing(zone))
    }

    /// The node is ending: what waits is written if that takes no longer than [`CLOSE_WITHIN`], and nothing
    /// is taken any more.
    pub(crate) fn close(&self) {
        if let Some(kept) = &self.kept {
            kept.queue.close();
        }
    }

    /// Another server has taken over, which goes on writing here: nothing is written any more.
    pub(crate) fn leave(&self) {
        if let Some(kept) = &self.kept {
            kept.queue.leave();
        }
    }

    /// How the disk is; `None` without a state folder.
    pub(crate) fn status(&self) -> Option<DiskStatus> {
        self.kept.as_ref().map(|kept| kept.disk.status())
    }
}

impl Kept {
    /// Whether a zone has a journal: others take it from here, or a restart is to go on from it.
    fn is_wanted(&self, zone: &ZoneConfig) -> bool {
        zone.secondary().is_some() || self.transfers.has_secondaries(zone.name.as_name())
    }
}
