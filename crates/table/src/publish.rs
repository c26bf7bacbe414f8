//! Giving packet threads the current images without locks.
//!
//! One [`Publisher`] in the control plane, any number of [`Reader`]s in packet threads. A reader owns its own
//! list of images and compares one generation number a batch; only when that has moved does it take the
//! changes out of its queue. An image that was replaced is kept by the publisher until every reader has
//! passed the generation that replaced it, so it is never freed on a packet thread, and that moment is also
//! when the change counts as served.

use crate::table::Table;
use crossbeam_queue::SegQueue;
use crossbeam_utils::CachePadded;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use wire::{FoldedName, Name, NameBuf};

/// Which of a node's zones, from 0; stable while the zone is configured.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct SlotIndex(pub u32);

/// A version of the published state; each change makes the next.
pub type Generation = u64;

/// Up to this many zones are found by comparing the name with each: cheaper than hashing suffixes, and most
/// nodes of a TLD have only a handful.
const LINEAR_MAX: usize = 4;

/// Which zone a name belongs to.
#[derive(Default)]
pub struct Directory {
    /// By descending label count, where the zones are few.
    few: Vec<Apex>,
    /// Else the lower-case apex to its slot. The map's hash has a random key made at start.
    many: HashMap<Box<[u8]>, SlotIndex>,
    /// A bit for each number of labels that an apex has.
    depths: u128,
}

/// The apex of a zone, ready to be compared with the end of a name.
struct Apex {
    labels: usize,
    /// The first eight octets and the next eight, and which of them there are.
    start: [u64; 2],
    start_masks: [u64; 2],
    wire: Box<[u8]>,
    slot: SlotIndex,
}

impl Apex {
    fn new(wire: Box<[u8]>, slot: SlotIndex) -> Apex {
        let mut start = [0; 16];
        let len = wire.len().min(16);
        start[..len].copy_from_slice(&wire[..len]);
        let words = |number: u128| [number as u64, (number >> 64) as u64];
        Apex {
            labels: Name::from_wire(&wire).map_or(0, Name::label_count),
            start: words(u128::from_le_bytes(start)),
            start_masks: words(u128::MAX >> (8 * (16 - len))),
            wire,
            slot,
        }
    }

    /// Whether a name, which has as many labels or more, is at or below it.
    #[inline]
    fn ends(&self, name: &FoldedName) -> bool {
        let start = name.label_start(name.label_count() - self.labels);
        // A name ends with the root's octet, so what is equal to that is equally long.
        let differs = |word: usize| (name.word(start + 8 * word) ^ self.start[word]) & self.start_masks[word];
        differs(0) | differs(1) == 0 && (self.wire.len() <= 16 || name.is_from(start, &self.wire))
    }
}

impl Directory {
    /// Makes a directory of zones; of equal names the last wins.
    pub fn new<'a>(zones: impl IntoIterator<Item = (Name<'a>, SlotIndex)>) -> Directory {
        let mut directory = Directory::default();
        for (name, slot) in zones {
            let mut lower = NameBuf::from(name);
            lower.make_lowercase();
            directory.depths |= 1 << name.label_count();
            directory.many.insert(lower.as_name().as_wire().into(), slot);
        }
        if directory.many.len() <= LINEAR_MAX {
            directory.few = directory.many.drain().map(|(wire, slot)| Apex::new(wire, slot)).collect();
            directory.few.sort_by_key(|apex| (std::cmp::Reverse(apex.labels), apex.wire.clone()));
        }
        directory
    }

    /// The zone with the longest apex that the name is at or below.
    #[inline]
    pub fn find(&self, name: &FoldedName) -> Option<SlotIndex> {
        self.find_within(name, name.label_count())
    }

    /// The zone that encloses the parent of the name: where the DS records of an apex are (RFC 4035 §3.1.4.1).
    pub fn find_above(&self, name: &FoldedName) -> Option<SlotIndex> {
        self.find_within(name, name.label_count().checked_sub(1)?)
    }

    #[inline]
    fn find_within(&self, name: &FoldedName, labels_max: usize) -> Option<SlotIndex> {
        for apex in &self.few {
            if apex.labels <= labels_max && apex.ends(name) {
                return Some(apex.slot);
            }
        }
        if self.many.is_empty() { None } else { self.find_among_many(name, labels_max) }
    }

    fn find_among_many(&self, name: &FoldedName, labels_max: usize) -> Option<SlotIndex> {
        let wire = name.as_wire();
        let mut depths = self.depths & (u128::MAX >> (127 - labels_max.min(127)));
        while depths != 0 {
            let labels = 127 - depths.leading_zeros() as usize;
            if let Some(slot) = self.many.get(&wire[name.label_start(name.label_count() - labels)..]) {
                return Some(*slot);
            }
            depths &= !(1 << labels);
        }
        None
    }
}

/// What there is of a zone to answer from.
#[derive(Clone, Default)]
pub enum Standing {
    /// Nothing yet.
    #[default]
    Absent,
    /// Nothing any more: the copy of a secondary zone was not confirmed for too long.
    Expired,
    /// Its current image.
    Current(Arc<Table>),
    /// An image that would have expired, were it not for the operator's choice.
    Stale(Arc<Table>),
    /// An image for secondaries alone: they may have it, and ask for its SOA record; to everybody else there is nothing.
    Private(Arc<Table>),
}

impl Standing {
    /// The image, whatever it is for.
    pub fn table(&self) -> Option<&Arc<Table>> {
        match self {
            Standing::Current(table) | Standing::Stale(table) | Standing::Private(table) => Some(table),
            Standing::Absent | Standing::Expired => None,
        }
    }

    fn current(&self) -> Option<Arc<Table>> {
        match self {
            Standing::Current(table) => Some(Arc::clone(table)),
            _ => None,
        }
    }

    fn is_unusual(&self) -> bool {
        matches!(self, Standing::Expired | Standing::Stale(_) | Standing::Private(_))
    }
}

enum Change {
    Directory(Arc<Directory>),
    Zone(SlotIndex, Standing),
}

/// What one reader and the publisher share.
struct Inbox {
    generation: CachePadded<AtomicU64>,
    seen: CachePadded<AtomicU64>,
    changes: SegQueue<Change>,
}

/// The control plane's end: publishes images, and knows when they are served.
#[derive(Default)]
pub struct Publisher {
    generation: Generation,
    directory: Arc<Directory>,
    zones: Vec<Standing>,
    inboxes: Vec<Arc<Inbox>>,
    retired: Vec<(Generation, Standing)>,
}

impl Publisher {
    /// A publisher without zones.
    pub fn new() -> Publisher {
        Publisher::default()
    }

    /// A reader that sees everything published so far and from now on.
    pub fn reader(&mut self) -> Reader {
        let inbox = Arc::new(Inbox {
            generation: CachePadded::new(AtomicU64::new(self.generation)),
            seen: CachePadded::new(AtomicU64::new(self.generation)),
            changes: SegQueue::new(),
        });
        self.inboxes.push(Arc::clone(&inbox));
        Reader {
            inbox,
            seen: self.generation,
            directory: Arc::clone(&self.directory),
            zones: self.zones.iter().map(Standing::current).collect(),
            unusual: self
                .zones
                .iter()
                .zip(0..)
                .filter(|(standing, _)| standing.is_unusual())
                .map(|(standing, slot)| (SlotIndex(slot), standing.clone()))
                .collect(),
        }
    }

    /// Publishes which zones there are. Slots keep their images.
    pub fn publish_directory(&mut self, directory: Directory) -> Generation {
        self.directory = Arc::new(directory);
        let directory = Arc::clone(&self.directory);
        self.send(|| Change::Directory(Arc::clone(&directory)))
    }

    /// Publishes the image of a zone, or with `None` that the zone has none: its names get SERVFAIL.
    pub fn publish(&mut self, slot: SlotIndex, table: Option<Arc<Table>>) -> Generation {
        self.publish_standing(slot, table.map_or(Standing::Absent, Standing::Current))
    }

    /// Publishes what there is of a zone.
    pub fn publish_standing(&mut self, slot: SlotIndex, standing: Standing) -> Generation {
        let index = slot.0 as usize;
        if self.zones.len() <= index {
            self.zones.resize_with(index + 1, Standing::default);
        }
        let replaced = std::mem::replace(&mut self.zones[index], standing.clone());
        let generation = self.send(|| Change::Zone(slot, standing.clone()));
        self.retired.push((generation, replaced));
        generation
    }

    fn send(&mut self, change: impl Fn() -> Change) -> Generation {
        self.generation += 1;
        // A reader that was dropped leaves the publisher the only owner of its inbox.
        self.inboxes.retain(|inbox| Arc::strong_count(inbox) > 1);
        for inbox in &self.inboxes {
            inbox.changes.push(change());
            inbox.generation.store(self.generation, Ordering::Release);
        }
        self.generation
    }

    /// Which zones there are.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The version of a zone that is published, whatever it is for.
    pub fn table(&self, slot: SlotIndex) -> Option<&Arc<Table>> {
        self.zones.get(slot.0 as usize)?.table().map(Table::version)
    }

    /// The generation that every reader has passed: changes up to it are served. Images replaced by then are freed.
    pub fn collect(&mut self) -> Generation {
        self.inboxes.retain(|inbox| Arc::strong_count(inbox) > 1);
        let served = self
            .inboxes
            .iter()
            .map(|inbox| inbox.seen.load(Ordering::Acquire))
            .min()
            .unwrap_or(self.generation);
        self.retired.retain(|(generation, _)| *generation > served);
        served
    }
}

/// A packet thread's end: the current images.
pub struct Reader {
    inbox: Arc<Inbox>,
    seen: Generation,
    directory: Arc<Directory>,
    /// The current images alone, so that finding one is a single load.
    zones: Vec<Option<Arc<Table>>>,
    /// What there is of the few zones that have expired or are for secondaries alone.
    unusual: HashMap<SlotIndex, Standing>,
}

impl Reader {
    /// Takes in what was published since the last call. To be called once a batch, after it was received and
    /// before any of it is answered, and when idle.
    #[inline]
    pub fn refresh(&mut self) {
        let generation = self.inbox.generation.load(Ordering::Acquire);
        if generation != self.seen {
            self.take_changes(generation);
        }
    }

    #[cold]
    fn take_changes(&mut self, generation: Generation) {
        while let Some(change) = self.inbox.changes.pop() {
            match change {
                Change::Directory(directory) => self.directory = directory,
                Change::Zone(slot, standing) => {
                    let index = slot.0 as usize;
                    if self.zones.len() <= index {
                        self.zones.resize(index + 1, None);
                    }
                    // The publisher still has the replaced image, so nothing is freed here.
                    self.zones[index] = standing.current();
                    if standing.is_unusual() {
                        self.unusual.insert(slot, standing);
                    } else {
                        self.unusual.remove(&slot);
                    }
                }
            }
        }
        // Changes pushed while draining belong to a later generation, and are at worst taken in early.
        self.seen = generation;
        self.inbox.seen.store(generation, Ordering::Release);
    }

    /// Which zone a name belongs to.
    #[inline]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The image of a zone; `None` where it has none that can be served without saying more: see [`Reader::standing`].
    #[inline]
    pub fn table(&self, slot: SlotIndex) -> Option<&Table> {
        self.zones.get(slot.0 as usize)?.as_deref()
    }

    /// What there is of a zone that has no current image.
    pub fn standing(&self, slot: SlotIndex) -> &Standing {
        self.unusual.get(&slot).unwrap_or(&Standing::Absent)
    }

    /// The version of a zone, for somebody who needs it for longer than a batch and doesn't keep a packet thread from its
    /// work by dropping it; `None` as for [`Reader::table`], so that nobody gets a copy of what has expired here.
    pub fn shared(&self, slot: SlotIndex) -> Option<Arc<Table>> {
        match self.zones.get(slot.0 as usize)? {
            Some(table) => Some(Arc::clone(table.version())),
            None => match self.standing(slot) {
                Standing::Private(table) => Some(Arc::clone(table.version())),
                _ => None,
            },
        }
    }
}
