//! Folding: what differences have changed in a zone becomes part of one table again.
//!
//! A version that came by differences stands over the last whole table, and what is looked for in it is looked for twice. So
//! from some size on the two are compiled to one, at idle priority on a thread of their own, one zone at a time. Versions that come
//! meanwhile are applied to the new table again. A version that is folded answers as before: nobody is told.

use super::Keeper;
use crate::zones::parallel;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::time::{Duration, Instant};
use table::{ImageFlags, Table};
use wire::NameBuf;
use zone::Difference;
use zone::amend::{self, FoldError};

/// So many names in an overlay are folded: a share of those of the zone, between these bounds. With the most of them a change takes
/// about 3 ms; with the fewest a zone that is small enough to fold in a millisecond is not folded with each change.
const NAMES_DIVISOR: u32 = 64;
const NAMES_FROM: usize = 64;
const NAMES_TO: usize = 2048;

/// How often it is looked whether a zone has been folded, while one is.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Zones that are to be folded, each once, in the order in which that became due.
#[derive(Default)]
pub(super) struct Due {
    order: VecDeque<NameBuf>,
    names: HashSet<Box<[u8]>>,
}

impl Due {
    /// Adds a zone.
    pub(super) fn add(&mut self, zone: &NameBuf) {
        if self.names.insert(zone.as_name().as_wire().into()) {
            self.order.push_back(zone.clone());
        }
    }

    fn next(&mut self) -> Option<NameBuf> {
        let zone = self.order.pop_front()?;
        self.names.remove(zone.as_name().as_wire());
        Some(zone)
    }
}

/// A zone that is being folded.
pub(super) struct Folding {
    zone: NameBuf,
    from: Arc<Table>,
    /// What has changed since.
    since: Vec<Difference>,
    began: Instant,
    folded: Receiver<Result<Table, FoldError>>,
}

impl Keeper {
    /// Has copies that the start has mapped made ready for changes, as those that come later are when they are compiled.
    pub(super) fn prepare_copies(&self) {
        let copies = self.entries.iter().filter(|entry| entry.zone.secondary().is_some());
        let tables: Vec<_> = copies.filter_map(|entry| self.publisher.table(entry.slot).cloned()).collect();
        let work = move || {
            parallel::yield_to_workers();
            tables.iter().for_each(|table| table.base().unwrap_or(table).prepare_for_changes());
        };
        if let Err(error) = std::thread::Builder::new().name("prepare".to_owned()).spawn(work) {
            tracing::debug!("no thread to prepare copies for their first changes: {error}");
        }
    }

    /// Takes in that differences have led to what is served now.
    pub(super) fn changed_while_folding(&mut self, zone: &NameBuf, differences: &[Difference]) {
        if let Some(folding) = self.folding.as_mut().filter(|folding| folding.zone == *zone) {
            folding.since.extend_from_slice(differences);
        }
    }

    /// Takes what has been folded into service, and begins with the next zone that is due.
    pub(super) fn fold(&mut self) {
        let folded = self.folding.as_ref().map(|folding| folding.folded.try_recv());
        match folded {
            Some(Err(TryRecvError::Empty)) => return,
            Some(Ok(folded)) => {
                if let Some(folding) = self.folding.take() {
                    self.take_folded(&folding, folded);
                }
            }
            Some(Err(TryRecvError::Disconnected)) | None => self.folding = None,
        }
        while self.folding.is_none()
            && let Some(zone) = self.to_fold.next()
        {
            // Much may have happened to it since. One that can't be folded is tried again when it has changed.
            let Some(entry) = self.entries.position(&zone).map(|index| &self.entries[index]) else {
                continue;
            };
            let table = self.publisher.table(entry.slot).filter(|table| !entry.expired && is_due(table));
            self.folding = table.and_then(|table| Folding::begin(zone, Arc::clone(table)));
        }
    }

    fn take_folded(&mut self, folding: &Folding, folded: Result<Table, FoldError>) {
        let name = &folding.zone;
        let folded = match folded {
            Ok(folded) => Arc::new(folded),
            Err(error) => {
                tracing::error!("zone {name}: what has changed can't be made part of one table: {error}");
                return;
            }
        };
        let Some(index) = self.entries.position(name).filter(|index| !self.entries[*index].expired) else {
            return;
        };
        let slot = self.entries[index].slot;
        let Some(served) = self.publisher.table(slot) else { return };
        let now = if Arc::ptr_eq(served, &folding.from) {
            Some(folded)
        } else {
            amend::amend(&folded, &folding.since).ok().map(Arc::new)
        };
        // Whatever has happened meanwhile, it is the version that is served or it is no use.
        let Some(now) = now
            .filter(|now| now.serial() == served.serial() && now.content() == served.content())
            .filter(|now| now.flags().has(ImageFlags::MIXED) || !served.flags().has(ImageFlags::MIXED))
        else {
            return;
        };
        if !now.is_overlaid() {
            self.unstored.push(index);
        }
        tracing::debug!(
            "zone {name}: {} records are one table again, after {} ms",
            now.record_count(),
            folding.began.elapsed().as_millis()
        );
        self.board.count_folded();
        let standing = self.entries[index].standing(now);
        self.generation = self.publisher.publish_standing(slot, standing);
        self.entries.touch(index);
        self.serve();
        self.store_images();
    }
}

impl Folding {
    fn begin(zone: NameBuf, from: Arc<Table>) -> Option<Folding> {
        let (sender, folded) = mpsc::sync_channel(1);
        let table = Arc::clone(&from);
        let work = move || {
            parallel::yield_to_workers();
            let folded = amend::fold(&table).inspect(Table::prepare_for_changes);
            // Nobody waits for it any more when the node is ending.
            let _gone = sender.send(folded);
        };
        match std::thread::Builder::new().name("fold".to_owned()).spawn(work) {
            Ok(_) => Some(Folding { zone, from, since: Vec::new(), began: Instant::now(), folded }),
            Err(error) => {
                tracing::warn!("zone {zone}: no thread to make its changes part of one table: {error}");
                None
            }
        }
    }
}

/// Whether enough has changed.
pub(super) fn is_due(table: &Table) -> bool {
    let Some(base) = table.base() else { return false };
    let due_from = (base.name_count() / NAMES_DIVISOR) as usize;
    table.nodes().count() >= due_from.clamp(NAMES_FROM, NAMES_TO)
}
