//! What waits to be written. There is at most one change and one image of a zone: what comes later takes the place of what
//! came before, so that a slow disk makes nothing pile up.

use super::{CLOSE_WITHIN, RETRY_EVERY, STORED_WITHIN};
use crate::config::ZoneConfig;
use crate::gate::InMemory;
use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use table::Table;
use transfer::catalog::Ownership;
use zone::Difference;

/// How often images that wait are looked at: all at once, however many zones there are.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The most octets of differences that wait for a slow disk; of what is more the versions are compared when it is their turn.
const DIFFERENCES_MAX: usize = 4 << 20;

/// What has happened to a zone, in the order in which it is taken in.
pub(super) struct Change {
    pub(super) zone: ZoneConfig,
    /// It was removed.
    pub(super) remove: bool,
    /// It was loaded: the journal is to lead to this version.
    pub(super) begin: Option<Arc<Table>>,
    /// It has changed from one version to another.
    pub(super) step: Option<Step>,
    /// Its secondaries are to be told of this version, after all else.
    pub(super) tell: Option<Arc<Table>>,
    /// Its journal could not be written, and is to begin anew at this version.
    pub(super) retry: Option<Arc<Table>>,
}

/// An image to store.
pub(super) struct Image {
    pub(super) zone: ZoneConfig,
    pub(super) table: Arc<Table>,
    /// The master file and what it includes.
    pub(super) files: Vec<PathBuf>,
    /// The version before, while it is in memory alone.
    pub(super) previous: Option<InMemory>,
    /// Not to be stored before that.
    pub(super) due: Instant,
    /// Who waits for it, and is told whether it was stored.
    pub(super) reply: Option<SyncSender<bool>>,
    /// Whether it is of the version that is served, so that those which came before are not wanted any more.
    pub(super) is_last: bool,
}

/// What is written beside journals.
pub(super) enum ToStore {
    /// An image.
    Image(Box<Image>),
    /// Which zones are here for catalogs.
    Members(Ownership),
}

/// The way from one version of a zone to another.
pub(super) struct Step {
    pub(super) from: Arc<Table>,
    pub(super) to: Arc<Table>,
    /// What leads there, where somebody knows; else the versions have to be compared.
    pub(super) differences: Option<Vec<Arc<[Difference]>>>,
}

impl Step {
    fn then(self, later: Step) -> Step {
        let joined = self.differences.zip(later.differences).map(|(mut all, more)| {
            all.extend(more);
            all
        });
        let is_long = |all: &Vec<Arc<[Difference]>>| {
            let octets = all.iter().flat_map(|some| some.iter()).map(octets_of);
            octets.sum::<usize>() > DIFFERENCES_MAX
        };
        Step { from: self.from, to: later.to, differences: joined.filter(|all| !is_long(all)) }
    }
}

/// The octets of a difference.
pub(super) fn octets_of(difference: &Difference) -> usize {
    difference.removed.octets().len() + difference.added.octets().len()
}

impl Change {
    pub(super) fn of(zone: &ZoneConfig) -> Change {
        Change { zone: zone.clone(), remove: false, begin: None, step: None, tell: None, retry: None }
    }

    /// Takes in what has happened since. Of two steps the way from the first version to the last is left.
    fn add(&mut self, later: Change) {
        if later.remove {
            *self = later;
            return;
        }
        self.zone = later.zone;
        self.begin = later.begin.or(self.begin.take());
        self.tell = later.tell.or(self.tell.take());
        // Where it has changed again, that step finds the journal as it is.
        self.retry = later.retry.or(self.retry.take().filter(|_| later.step.is_none()));
        self.step = match (self.step.take(), later.step) {
            (Some(before), Some(later)) => Some(before.then(later)),
            (before, later) => later.or(before),
        };
    }
}

#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    changes: Lane<Change>,
    images: Lane<Image>,
    /// The change that is being taken in.
    busy_with: Option<Busy>,
    /// Of which zone the image is being stored.
    storing: Option<Box<[u8]>>,
    /// Images that somebody waits for.
    first: VecDeque<Image>,
    /// Images that are not due.
    later: Lane<Image>,
    /// Which zones are here for catalogs, where that is not stored yet; and not to be stored before that.
    members: Option<(Ownership, Instant)>,
    /// When it is looked whether they are.
    look_at: Option<Instant>,
    /// Journals that could not be written.
    failed: Lane<Change>,
    /// When that is tried again.
    retry_at: Option<Instant>,
    /// Until when to go on, when the node is ending.
    close_at: Option<Instant>,
    /// Whether nobody takes in changes any more.
    changes_ended: bool,
}

/// A change that is being taken in.
struct Busy {
    zone: Box<[u8]>,
    removes: bool,
    begins: bool,
}

impl Queue {
    pub(super) fn change(&self, change: Change) {
        self.put(|waiting| waiting.change(change));
    }

    /// Puts off telling secondaries until the changes of their zone are taken in; whether there are any.
    pub(super) fn tell(&self, zone: &ZoneConfig, table: &Arc<Table>) -> bool {
        let mut waiting = self.waiting();
        let has_changes = waiting.has_change(zone);
        if has_changes {
            waiting.change(Change { tell: Some(Arc::clone(table)), ..Change::of(zone) });
        }
        has_changes
    }

    /// Whether a change of this zone waits.
    pub(super) fn awaits_change(&self, zone: &ZoneConfig) -> bool {
        self.waiting().changes.has(zone)
    }

    /// Waits for the changes of a zone until `is_settled`, no longer than people wait for an answer; whether it is then, and nothing
    /// of the zone could not be written.
    pub(super) fn settle(&self, zone: &ZoneConfig, is_settled: impl Fn() -> bool) -> bool {
        let until = Instant::now() + STORED_WITHIN;
        let mut waiting = self.waiting();
        while !is_settled() && waiting.has_change(zone) && !waiting.changes_ended && Instant::now() < until {
            waiting = self.wait(waiting, Some(until));
        }
        is_settled() && !waiting.failed.has(zone)
    }

    /// Whether a change of this zone waits or is being taken in.
    pub(super) fn has_change(&self, zone: &ZoneConfig) -> bool {
        self.waiting().has_change(zone)
    }

    pub(super) fn image(&self, image: Image) {
        self.put(|waiting| {
            if waiting.later.has(&image.zone) {
                // It is due when the other would have been.
                waiting.later.put(image, |place, later| *place = Image { due: place.due, ..later });
            } else {
                waiting.images.replace(image);
            }
        });
    }

    /// An image that is stored before all others.
    pub(super) fn image_first(&self, image: Image) {
        self.put(|waiting| {
            if image.is_last {
                waiting.images.take(&image.zone);
                waiting.later.take(&image.zone);
            }
            waiting.first.push_back(image);
        });
    }

    /// Which zones are here for catalogs is stored when all is removed that was to be: after a restart, a zone that was begun anew
    /// must not find what another had.
    pub(super) fn members(&self, members: Ownership) {
        self.put(|waiting| waiting.members = Some((members, Instant::now())));
    }

    /// Which zones are here for catalogs could not be stored, and is tried again.
    pub(super) fn retry_members(&self, members: Ownership) {
        self.put(|waiting| {
            // What has come meanwhile is newer.
            waiting.members.get_or_insert((members, Instant::now() + RETRY_EVERY));
            waiting.look_at.get_or_insert_with(|| Instant::now() + LOOK_EVERY);
        });
    }

    /// Whether it is yet to be stored which zones are here for catalogs.
    pub(super) fn has_members(&self) -> bool {
        self.waiting().members.is_some()
    }

    pub(super) fn remove(&self, zone: &ZoneConfig) {
        self.put(|waiting| {
            waiting.images.take(zone);
            waiting.later.take(zone);
            waiting.failed.take(zone);
            waiting.change(Change { remove: true, ..Change::of(zone) });
        });
    }

    /// Whether something is yet to be removed of a zone that had this name.
    pub(super) fn is_removing(&self, zone: &ZoneConfig) -> bool {
        self.waiting().is_removing(zone)
    }

    /// What was to be removed first of the change that is being taken in is removed.
    pub(super) fn has_removed(&self) {
        self.put(|waiting| {
            if let Some(busy) = &mut waiting.busy_with {
                busy.removes = false;
            }
        });
    }

    /// An image is stored when it is due, or could not be stored and is tried again then.
    pub(super) fn put_off(&self, image: Image) {
        self.put(|waiting| {
            // One that has come meanwhile takes its place.
            let image = match waiting.images.take(&image.zone) {
                Some(later) => Image { due: image.due, ..later },
                None => image,
            };
            let is_outdated =
                waiting.first.iter().any(|first| first.is_last && first.zone.name == image.zone.name);
            if !is_outdated && !waiting.is_removed(&image.zone) {
                waiting.put_off(image);
            }
        });
    }

    /// The difference that leads to this version could not be written.
    pub(super) fn retry_journal(&self, zone: &ZoneConfig, table: &Arc<Table>) {
        self.put(|waiting| {
            // Where something newer waits, that tries it.
            if !waiting.changes.has(zone) {
                let change = Change { retry: Some(Arc::clone(table)), ..Change::of(zone) };
                waiting.failed.put(change, |place, later| *place = later);
                waiting.retry_at.get_or_insert_with(|| Instant::now() + RETRY_EVERY);
            }
        });
    }

    pub(super) fn close(&self) {
        self.put(|waiting| {
            waiting.close_at = Some(Instant::now() + CLOSE_WITHIN);
            waiting.take_later(|_| true);
            if let Some((_, due)) = &mut waiting.members {
                *due = Instant::now();
            }
            // What was transferred, or published, may be nowhere else.
            let (first, last): (VecDeque<_>, VecDeque<_>) =
                std::mem::take(&mut waiting.images.order).into_iter().partition(|key| {
                    waiting.images.by_zone.get(key).is_some_and(|image| image.zone.is_received())
                });
            waiting.images.order = first.into_iter().chain(last).collect();
        });
    }

    /// Nothing that waits is written any more: another server has taken over, and what it has written may be newer.
    pub(super) fn leave(&self) {
        self.put(|waiting| {
            waiting.close_at = Some(Instant::now());
            waiting.changes = Lane::default();
            waiting.failed = Lane::default();
            waiting.images = Lane::default();
            waiting.later = Lane::default();
            waiting.first.clear();
            waiting.members = None;
        });
    }

    pub(super) fn is_closed(&self) -> bool {
        self.waiting().close_at.is_some()
    }

    fn put(&self, change: impl FnOnce(&mut Waiting)) {
        change(&mut self.waiting());
        self.changed.notify_all();
    }

    /// The next change, when there is one. At the end none: how many are left out.
    pub(super) fn next_change(&self) -> Result<Change, usize> {
        let mut waiting = self.waiting();
        if waiting.busy_with.take().is_some() {
            self.changed.notify_all();
        }
        loop {
            let now = Instant::now();
            let is_late = waiting.close_at.is_some_and(|at| now >= at);
            if !is_late && let Some(change) = waiting.changes.next() {
                waiting.busy_with = Some(Busy::with(&change));
                if change.remove {
                    self.wait_until_stored(waiting, &change.zone);
                }
                return Ok(change);
            }
            if waiting.close_at.is_some() {
                waiting.changes_ended = true;
                self.changed.notify_all();
                return Err(waiting.changes.by_zone.len() + waiting.failed.by_zone.len());
            }
            match waiting.retry_at {
                Some(at) if now >= at => {
                    waiting.retry_at = None;
                    for change in std::mem::take(&mut waiting.failed).by_zone.into_values() {
                        waiting.change(change);
                    }
                }
                at => waiting = self.wait(waiting, at),
            }
        }
    }

    /// What is to be stored next, when there is anything. At the end nothing: how many images are left out.
    pub(super) fn next_to_store(&self) -> Result<ToStore, usize> {
        let mut waiting = self.waiting();
        if waiting.storing.take().is_some() {
            self.changed.notify_all();
        }
        loop {
            let now = Instant::now();
            let left = waiting.images.by_zone.len() + waiting.later.by_zone.len();
            if waiting.close_at.is_some_and(|at| now >= at) {
                return Err(left);
            }
            if let Some(members) = waiting.take_members(now) {
                return Ok(ToStore::Members(members));
            }
            let next = waiting.first.pop_front();
            if let Some(image) = next.or_else(|| waiting.images.next()) {
                if !waiting.needs_old_image(&image.zone) && !waiting.is_removing(&image.zone) {
                    waiting.storing = Some(key(&image.zone).into());
                    return Ok(ToStore::Image(Box::new(image)));
                }
                waiting.put_off(image);
                continue;
            }
            if waiting.close_at.is_some() && waiting.changes_ended {
                return Err(left);
            }
            match waiting.look_at {
                Some(at) if now >= at => {
                    waiting.take_later(|image| now >= image.due);
                    let is_left = !waiting.later.by_zone.is_empty() || waiting.members.is_some();
                    waiting.look_at = is_left.then(|| now + LOOK_EVERY);
                }
                at => {
                    let close_at = waiting.close_at;
                    waiting = self.wait(waiting, at.into_iter().chain(close_at).min());
                }
            }
        }
    }

    /// What is removed must not come back: an image of it that is being stored is waited for, but not for a disk that hangs.
    fn wait_until_stored(&self, mut waiting: MutexGuard<'_, Waiting>, zone: &ZoneConfig) {
        let until = Instant::now() + STORED_WITHIN;
        while waiting.storing.as_deref() == Some(key(zone)) && Instant::now() < until {
            waiting = self.wait(waiting, Some(until));
        }
    }

    fn wait<'q>(&self, waiting: MutexGuard<'q, Waiting>, until: Option<Instant>) -> MutexGuard<'q, Waiting> {
        let Some(until) = until else {
            return self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        };
        let left = until.saturating_duration_since(Instant::now());
        self.changed.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in here panics half way.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn change(&mut self, change: Change) {
        self.failed.take(&change.zone);
        self.changes.put(change, Change::add);
    }

    fn has_change(&self, zone: &ZoneConfig) -> bool {
        self.busy_with(zone).is_some() || self.changes.has(zone)
    }

    fn is_removed(&self, zone: &ZoneConfig) -> bool {
        self.changes.by_zone.get(key(zone)).is_some_and(|change| change.remove)
    }

    /// The change of this zone that is being taken in.
    fn busy_with(&self, zone: &ZoneConfig) -> Option<&Busy> {
        self.busy_with.as_ref().filter(|busy| *busy.zone == *key(zone))
    }

    fn is_removing(&self, zone: &ZoneConfig) -> bool {
        self.is_removed(zone) || self.busy_with(zone).is_some_and(|busy| busy.removes)
    }

    fn put_off(&mut self, image: Image) {
        self.later.replace(image);
        self.look_at.get_or_insert_with(|| Instant::now() + LOOK_EVERY);
    }

    /// Whether the image that is there may yet tell what has changed while the node was away.
    fn needs_old_image(&self, zone: &ZoneConfig) -> bool {
        self.busy_with(zone).is_some_and(|busy| busy.begins)
            || self.changes.by_zone.get(key(zone)).is_some_and(|change| change.begin.is_some())
    }

    /// Which zones are here for catalogs, if that is to be stored now.
    fn take_members(&mut self, now: Instant) -> Option<Ownership> {
        let is_due = self.members.as_ref().is_some_and(|(_, due)| now >= *due);
        let is_removing = self.busy_with.as_ref().is_some_and(|busy| busy.removes)
            || self.changes.by_zone.values().any(|change| change.remove);
        if is_due && !is_removing { self.members.take().map(|(members, _)| members) } else { None }
    }

    fn take_later(&mut self, is_due: impl Fn(&Image) -> bool) {
        for key in std::mem::take(&mut self.later.order) {
            match self.later.by_zone.remove(&key) {
                Some(image) if is_due(&image) => self.images.replace(image),
                Some(image) => self.later.replace(image),
                None => {}
            }
        }
    }
}

impl Busy {
    fn with(change: &Change) -> Busy {
        Busy { zone: key(&change.zone).into(), removes: change.remove, begins: change.begin.is_some() }
    }
}

/// What is of a zone.
trait OfZone {
    fn zone(&self) -> &ZoneConfig;
}

impl OfZone for Change {
    fn zone(&self) -> &ZoneConfig {
        &self.zone
    }
}

impl OfZone for Image {
    fn zone(&self) -> &ZoneConfig {
        &self.zone
    }
}

/// How many names in the order of a lane may be of nothing.
const IDLE_NAMES_MAX: usize = 1024;

/// One thing of each zone, in the order in which zones came.
struct Lane<T> {
    /// Names of zones; of what was taken out they stay, to be passed over.
    order: VecDeque<Box<[u8]>>,
    by_zone: HashMap<Box<[u8]>, T>,
}

impl<T> Default for Lane<T> {
    fn default() -> Lane<T> {
        Lane { order: VecDeque::new(), by_zone: HashMap::new() }
    }
}

impl<T: OfZone> Lane<T> {
    fn put(&mut self, item: T, add: impl FnOnce(&mut T, T)) {
        if let Some(place) = self.by_zone.get_mut(key(item.zone())) {
            add(place, item);
            return;
        }
        if self.order.len() >= 2 * self.by_zone.len() + IDLE_NAMES_MAX {
            let mut seen = HashSet::new();
            self.order.retain(|key| self.by_zone.contains_key(key) && seen.insert(key.clone()));
        }
        let key: Box<[u8]> = key(item.zone()).into();
        self.order.push_back(key.clone());
        self.by_zone.insert(key, item);
    }

    fn replace(&mut self, item: T) {
        self.put(item, |place, later| *place = later);
    }

    fn has(&self, zone: &ZoneConfig) -> bool {
        self.by_zone.contains_key(key(zone))
    }

    fn take(&mut self, zone: &ZoneConfig) -> Option<T> {
        self.by_zone.remove(key(zone))
    }

    fn next(&mut self) -> Option<T> {
        while let Some(key) = self.order.pop_front() {
            if let Some(item) = self.by_zone.remove(&key) {
                return Some(item);
            }
        }
        None
    }
}

/// The name that tells zones apart; configured names are in lower case.
fn key(zone: &ZoneConfig) -> &[u8] {
    zone.name.as_name().as_wire()
}
