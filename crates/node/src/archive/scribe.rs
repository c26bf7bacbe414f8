//! The thread that writes journals. It runs at normal priority: what waits for it may be a version that is to be published.

use super::disk::Disk;
use super::index::Index;
use super::journal::{self, AppendError, Base, Journal};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use transfer::journal::Version;
use wire::NameBuf;
use zone::Difference;

/// What it is asked to do with the journal of a zone.
pub(super) struct Order {
    /// Which zone.
    pub(super) zone: NameBuf,
    /// Where its journal is.
    pub(super) path: PathBuf,
    /// What to do.
    pub(super) what: What,
    /// Who waits for it.
    pub(super) reply: SyncSender<Outcome>,
}

/// What to do with a journal.
pub(super) enum What {
    /// To say where it ends.
    Look,
    /// To go on from a version; a journal that ends elsewhere is begun anew there.
    Append {
        /// From which version.
        from: Version,
        /// The differences, one after the other, and the digests of what they lead to.
        steps: Vec<(Difference, [u8; 32])>,
        /// How long the journal may get, in octets.
        octets_max: u64,
        /// What its beginning is worth.
        base: Base,
    },
    /// To set it aside, for this reason.
    SetAside(String),
    /// To remove it.
    Remove,
}

/// What has become of an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// It is done: the journal, if there is one, ends here, and that is synced.
    Done(Option<Version>),
    /// It is not; why was logged.
    Failed,
}

/// Writes until nobody can ask any more.
pub(super) fn run(orders: &Receiver<Order>, index: &Index, disk: &Disk) {
    let mut scribe = Scribe { journals: HashMap::new(), index, disk };
    for Order { zone, path, what, reply } in orders {
        let done = scribe.carry_out(&zone, &path, what);
        // Who asked may have given up waiting.
        let _gone = reply.send(match done {
            Ok(version) => {
                disk.worked(&path);
                Outcome::Done(version)
            }
            Err(error) => {
                // Nothing is known of what a failed write or sync has left: the file is looked at again, or begun anew.
                scribe.journals.remove(zone.as_name().as_wire());
                index.drop_journal(zone.as_name());
                let consequence = "secondaries get the whole zone until it can";
                disk.failed(
                    &path,
                    &format!("zone {zone}: its journal can't be written, so {consequence}: {error}"),
                );
                Outcome::Failed
            }
        });
    }
}

struct Scribe<'i> {
    journals: HashMap<Box<[u8]>, Journal>,
    index: &'i Index,
    disk: &'i Disk,
}

impl Scribe<'_> {
    fn carry_out(&mut self, zone: &NameBuf, path: &Path, what: What) -> Result<Option<Version>, AppendError> {
        let key = zone.as_name().as_wire();
        match what {
            What::Look => {
                self.open(zone, path)?;
                Ok(self.journals.get(key).map(|journal| journal.last().version))
            }
            What::Append { from, steps, octets_max, base } => {
                self.append(zone, path, from, &steps, base)?;
                self.shorten(zone, octets_max, base).map(Some)
            }
            What::SetAside(why) => {
                self.drop(zone);
                journal::set_aside(path, zone, &why)?;
                Ok(None)
            }
            What::Remove => {
                self.drop(zone);
                self.index.forget(zone.as_name());
                self.disk.forget(path);
                match std::fs::remove_file(path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
                    _ => Ok(None),
                }
            }
        }
    }

    fn drop(&mut self, zone: &NameBuf) {
        self.journals.remove(zone.as_name().as_wire());
        self.index.drop_journal(zone.as_name());
    }

    /// Opens the journal if that was not done yet.
    fn open(&mut self, zone: &NameBuf, path: &Path) -> io::Result<()> {
        let key = zone.as_name().as_wire();
        if !self.journals.contains_key(key)
            && let Some(journal) = Journal::open(path, zone)?
        {
            self.take_up(zone, journal);
        }
        Ok(())
    }

    fn take_up(&mut self, zone: &NameBuf, journal: Journal) {
        self.index.set_journal(zone.as_name(), &journal);
        self.index.set_synced(zone.as_name(), journal.last().version);
        self.journals.insert(zone.as_name().as_wire().into(), journal);
    }

    fn append(
        &mut self,
        zone: &NameBuf,
        path: &Path,
        from: Version,
        steps: &[(Difference, [u8; 32])],
        base: Base,
    ) -> Result<(), AppendError> {
        let key = zone.as_name().as_wire();
        self.open(zone, path)?;
        let ends_at = self.journals.get(key).map(|journal| journal.last().version);
        if ends_at != Some(from) {
            if let Some(Version { serial, .. }) = ends_at {
                let now = from.serial;
                tracing::info!(
                    "zone {zone}: its journal ended at serial {serial} and is begun anew at {now}"
                );
            }
            self.take_up(zone, Journal::create(path, zone, from)?);
        }
        let Some(journal) = self.journals.get_mut(key) else { return Ok(()) };
        if !journal.has_room(steps.len(), base) {
            return Err(AppendError::Full);
        }
        let mut file = None;
        for (difference, digest) in steps {
            file = Some(journal.append(difference, *digest)?);
        }
        // From here on secondaries get it, whatever becomes of the machine: they have it from whoever has it.
        self.index.set_journal(zone.as_name(), journal);
        if let Some(file) = file {
            file.sync_data()?;
        }
        self.index.set_synced(zone.as_name(), journal.last().version);
        Ok(())
    }

    /// Drops the oldest differences where there are too many; where the journal ends.
    fn shorten(&mut self, zone: &NameBuf, octets_max: u64, base: Base) -> Result<Version, AppendError> {
        let journal = self.journals.get_mut(zone.as_name().as_wire()).expect("it was appended to");
        let version = journal.last().version;
        match journal.shorten(octets_max, self.index.image(zone.as_name()), base) {
            // What is there is good. It is tried again at the next change, and a full disk is found out by what is appended.
            Err(AppendError::Io(error)) => {
                tracing::warn!(
                    "zone {zone}: the oldest differences of its journal can't be dropped: {error}"
                );
            }
            result => result?,
        }
        self.index.set_journal(zone.as_name(), journal);
        Ok(version)
    }
}

/// Starts the thread.
///
/// # Errors
/// Those of the system.
pub(super) fn start(orders: Receiver<Order>, index: Arc<Index>, disk: Arc<Disk>) -> io::Result<()> {
    std::thread::Builder::new().name("journal".to_owned()).spawn(move || run(&orders, &index, &disk))?;
    Ok(())
}
