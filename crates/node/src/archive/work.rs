//! The thread that compares versions and stores images.

use super::Kept;
use super::index::version_of;
use super::queue::{Change, Image, Next, Step, octets_of};
use super::scribe::{Order, Outcome, What};
use crate::config::{ZoneConfig, ZoneSource};
use crate::zones::state_dir;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};
use table::Table;
use transfer::serial::is_newer;
use zone::content::ContentSum;
use zone::{Difference, Incomparable};

/// How often it is tried again to write what could not be written. A full disk is emptied by people, and a try that fails
/// costs as much as one that succeeds.
pub(super) const RETRY_EVERY: Duration = Duration::from_secs(10);

/// How long writing goes on when the node is ending; less than it waits for its threads. Images of master files that are
/// left out are compiled at the next start.
pub(super) const CLOSE_WITHIN: Duration = Duration::from_secs(3);

/// How long the image of a copy rests after it was stored, in times of what that took, and at least. The journal has what changes
/// meanwhile. Shorter would have a large zone that changes all the time written without a pause, longer makes restarts slower,
/// which have to make the zone anew from what the journal has more.
const REST_TIMES: u32 = 10;
const REST_MIN: Duration = Duration::from_secs(1);

/// The longest journal, and the shortest bound of one, in octets; in between it is as long as the zone's table. What is longer than
/// a zone is never sent instead of it; some hundred changes of a tiny one are worth keeping.
const JOURNAL_MAX: u64 = 64 << 20;
const JOURNAL_MIN: u64 = 64 << 10;

/// The most octets of a difference that is worth keeping, as a divisor of those of the zone's table. Were it more, two of them
/// would be more than the zone.
const TABLE_DIVISOR: usize = 2;
/// The most octets of a difference that is worth keeping in any case: of the tiniest zones everything may change at once.
const DIFFERENCE_MIN: usize = 4 << 10;

/// Does what waits until the queue is closed.
pub(super) fn run(kept: &Kept, orders: &SyncSender<Order>) {
    if let Err(error) = netio::pin::yield_to_workers() {
        tracing::warn!("images are stored at normal priority, answers may be slower meanwhile: {error}");
    }
    let mut work = Work { kept, orders, resting: HashMap::new() };
    loop {
        match kept.queue.next() {
            Next::Change(change) => work.take_in(*change),
            Next::Image(image) => work.store(*image),
            Next::End { changes: 0, images: 0 } => return,
            Next::End { changes, images } => {
                tracing::warn!(
                    "ending without writing {changes} changes to journals and {images} images: the next start compiles these zones, \
                     and secondaries get some of them as a whole"
                );
                return;
            }
        }
    }
}

struct Work<'k> {
    kept: &'k Kept,
    orders: &'k SyncSender<Order>,
    /// Until when the images of zones rest.
    resting: HashMap<Box<[u8]>, Instant>,
}

impl Work<'_> {
    fn take_in(&mut self, change: Change) {
        let Change { zone, remove, begin, step, tell, retry } = change;
        if remove {
            self.resting.remove(zone.name.as_name().as_wire());
            self.remove(&zone);
        }
        if let Some(table) = begin {
            self.begin(&zone, &table);
        }
        if let Some(step) = step {
            self.record(&zone, step);
        }
        if let Some(table) = tell {
            self.kept.transfers.notifications.publish(&table, &zone.notify);
        }
        if let Some(table) = retry {
            self.append(&zone, &table, &table, Vec::new());
        }
    }

    /// Has a journal carried out what is asked, and waits for it.
    fn order(&self, zone: &ZoneConfig, what: What) -> Outcome {
        let (reply, outcome) = sync_channel(1);
        let path = self.kept.state.journal(&zone.name);
        let order = Order { zone: zone.name.clone(), path, what, reply };
        // The other thread ends after this one.
        self.orders.send(order).ok().and_then(|()| outcome.recv().ok()).unwrap_or(Outcome::Failed)
    }

    fn remove(&self, zone: &ZoneConfig) {
        let name = &zone.name;
        self.kept.disk.forget(&self.kept.state.image(name));
        if let Err(error) = self.kept.state.remove(zone) {
            tracing::warn!("zone {name}: its image could not be removed from the state folder: {error}");
        }
        self.order(zone, What::Remove);
    }

    /// Sees to it that the journal, if there is one, leads to what is served. Where the zone has changed while the node was
    /// away, the image that is still there may tell how.
    fn begin(&self, zone: &ZoneConfig, table: &Arc<Table>) {
        let Outcome::Done(Some(end)) = self.order(zone, What::Look) else { return };
        if end == version_of(table) {
            return;
        }
        match self.kept.state.kept(zone, state_dir::Kept::Served) {
            Ok(image) if version_of(&image) == end => {
                let (from, to) = (Arc::new(image), Arc::clone(table));
                self.record(zone, Step { from, to, differences: None })
            }
            _ => {
                let why = format!(
                    "it ends at a version with serial {}, and what is served has {}",
                    end.serial,
                    table.serial()
                );
                self.order(zone, What::SetAside(why));
            }
        }
    }

    /// Adds what has changed to the journal, where there is such a thing.
    fn record(&self, zone: &ZoneConfig, step: Step) {
        let Step { ref from, ref to, differences } = step;
        if from.content() == to.content() {
            return;
        }
        let name = &zone.name;
        if !is_newer(to.serial(), from.serial()) {
            tracing::debug!(
                "zone {name}: serial {} doesn't follow {}, no difference",
                to.serial(),
                from.serial()
            );
            return;
        }
        let octets_max = (to.image().len() / TABLE_DIVISOR).max(DIFFERENCE_MIN);
        if let Some(steps) = differences.and_then(|known| known_steps(from, to, &known, octets_max)) {
            return self.append(zone, from, to, steps);
        }
        match zone::compare(from, to, octets_max) {
            Ok(difference) => self.append(zone, from, to, vec![(difference, to.content().0)]),
            Err(Incomparable::TooLarge) => tracing::info!(
                "zone {name}: so much has changed from serial {} to {} that secondaries get the whole zone",
                from.serial(),
                to.serial()
            ),
            Err(error) => tracing::error!("zone {name}: its versions can't be compared: {error}"),
        }
    }

    fn append(
        &self,
        zone: &ZoneConfig,
        from: &Arc<Table>,
        to: &Arc<Table>,
        steps: Vec<(Difference, [u8; 32])>,
    ) {
        let octets_max = (to.image().len() as u64).clamp(JOURNAL_MIN, JOURNAL_MAX);
        if zone.secondary().is_some() && !self.kept.transfers.index.begins_at(from) {
            // The journal ends elsewhere and is begun anew. What it has now may be all that a restart could begin with, until there
            // is an image of the version where it begins.
            let stored = self.kept.state.store_transferred(zone, from);
            if !self.has_stored(zone, from, stored) {
                self.kept.queue.retry_journal(zone, to);
                return;
            }
        }
        let what = What::Append { from: version_of(from), steps, octets_max };
        if let Outcome::Failed = self.order(zone, what) {
            self.kept.queue.retry_journal(zone, to);
        }
    }

    fn store(&mut self, image: Image) {
        let (key, began) = (image.zone.name.as_name().as_wire(), Instant::now());
        if image.table.is_overlaid() && self.kept.transfers.index.leads_to(&image.table) {
            // The journal has what has changed; what the two come to is stored when they have been folded.
            return;
        }
        if let Some(until) =
            self.resting.get(key).filter(|until| **until > began && !self.kept.queue.is_closed())
            && self.kept.transfers.index.leads_to(&image.table)
        {
            self.kept.queue.put_off(Image { due: *until, ..image });
            return;
        }
        let Image { zone, table, files, .. } = &image;
        let state = &self.kept.state;
        let stored = match zone.source {
            ZoneSource::MasterFile(_) => state.store(zone, table, files),
            ZoneSource::Primaries(_) => state.store_transferred(zone, table),
        };
        if !self.has_stored(zone, table, stored) {
            self.kept.queue.put_off(Image { due: Instant::now() + RETRY_EVERY, ..image });
        } else if zone.secondary().is_some() {
            let rest = (REST_TIMES * began.elapsed()).max(REST_MIN);
            self.resting.insert(key.into(), Instant::now() + rest);
        }
    }

    /// Notes whether an image was stored; whether it was.
    fn has_stored(&self, zone: &ZoneConfig, table: &Table, stored: io::Result<()>) -> bool {
        let (name, path) = (&zone.name, self.kept.state.image(&zone.name));
        let Err(error) = stored else {
            self.kept.transfers.index.set_image(name.as_name(), table.content());
            self.kept.disk.worked(&path);
            return true;
        };
        let consequence = match zone.source {
            ZoneSource::MasterFile(_) => "it will be compiled at the next start",
            ZoneSource::Primaries(_) => "the next start begins with an older one",
        };
        self.kept
            .disk
            .failed(&path, &format!("zone {name}: its image could not be stored, so {consequence}: {error}"));
        false
    }
}

/// The differences with the digests of what they lead to, if they are the whole way and none is too long. Digests in between are
/// right where the records of each set have one TTL; the last is that of the version itself.
fn known_steps(
    from: &Table,
    to: &Table,
    known: &[Arc<[Difference]>],
    octets_max: usize,
) -> Option<Vec<(Difference, [u8; 32])>> {
    let mut sum = ContentSum::of(from.content());
    let mut serial = from.serial();
    let mut steps: Vec<(Difference, [u8; 32])> = Vec::new();
    for difference in known.iter().flat_map(|some| some.iter()) {
        if difference.from != serial || octets_of(difference) > octets_max {
            return None;
        }
        serial = difference.to;
        difference.removed.iter().for_each(|it| sum.remove(it.owner, it.rtype, it.ttl, it.rdata));
        difference.added.iter().for_each(|it| sum.add(it.owner, it.rtype, it.ttl, it.rdata));
        steps.push((difference.clone(), sum.digest().0));
    }
    let (_, last) = steps.last_mut()?;
    *last = to.content().0;
    (serial == to.serial()).then_some(steps)
}
