//! The thread that takes in changes: it compares versions, and has journals written.

use super::Kept;
use super::index::version_of;
use super::journal::{self, Base};
use super::queue::{Change, Image, Step, octets_of};
use super::scribe::{Order, Outcome, What};
use crate::config::ZoneConfig;
use crate::zones::state_dir;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};
use table::Table;
use transfer::serial::is_newer;
use zone::content::ContentSum;
use zone::{Difference, Incomparable};

/// How long what a journal is asked to do may take. A disk that takes longer hangs; nobody waits for it then until it has answered.
const ORDER_WITHIN: Duration = Duration::from_secs(5);
/// The same of an image, of which a large one takes a while.
const IMAGE_WITHIN: Duration = Duration::from_secs(60);

/// The most octets of a difference that is worth keeping, as a divisor of those of the zone's table. Were it more, two of them
/// would be more than the zone.
const TABLE_DIVISOR: usize = 2;
/// The most octets of a difference that is worth keeping in any case: of the tiniest zones everything may change at once.
const DIFFERENCE_MIN: usize = 4 << 10;

/// Takes in changes until the queue is closed.
pub(super) fn run(kept: &Kept, orders: &SyncSender<Order>) {
    if let Err(error) = netio::pin::yield_to_workers() {
        tracing::warn!("versions are compared at normal priority, answers may be slower meanwhile: {error}");
    }
    let mut work = Work { kept, orders, unanswered: None };
    loop {
        match kept.queue.next_change() {
            Ok(change) => work.take_in(change),
            Err(0) => return,
            Err(left) => {
                tracing::warn!(
                    "ending without {left} changes in journals: secondaries get these zones as a whole"
                );
                return;
            }
        }
    }
}

struct Work<'k> {
    kept: &'k Kept,
    orders: &'k SyncSender<Order>,
    /// Where the answer to an order comes that took too long.
    unanswered: Option<Receiver<Outcome>>,
}

impl Work<'_> {
    fn take_in(&mut self, change: Change) {
        let Change { zone, remove, begin, step, tell, retry } = change;
        if remove {
            self.remove(&zone);
            self.kept.queue.has_removed();
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
            self.begin_anew(&zone, &table);
        }
    }

    /// Has a journal carried out what is asked, and waits for it, but not for ever: secondaries wait, too.
    fn order(&mut self, zone: &ZoneConfig, what: What) -> Outcome {
        if self.unanswered.as_ref().is_some_and(|outcome| outcome.try_recv() == Err(TryRecvError::Empty)) {
            return Outcome::Failed;
        }
        self.unanswered = None;
        let (reply, outcome) = sync_channel(1);
        let path = self.kept.state.journal(&zone.name);
        let order = Order { zone: zone.name.clone(), path: path.clone(), what, reply };
        // There is room for it, as the one before was answered; and the other thread ends after this one.
        if self.orders.try_send(order).is_err() {
            return Outcome::Failed;
        }
        match outcome.recv_timeout(ORDER_WITHIN) {
            Ok(outcome) => outcome,
            Err(_) => {
                let what = format!("zone {}: its journal was not written within {ORDER_WITHIN:?}", zone.name);
                self.kept.disk.failed(&path, &what);
                self.unanswered = Some(outcome);
                Outcome::Failed
            }
        }
    }

    /// Has the image of a zone stored, and waits for it; whether it was.
    fn image(&self, zone: &ZoneConfig, table: &Arc<Table>) -> bool {
        let (reply, stored) = sync_channel(1);
        let (zone, table, due) = (zone.clone(), Arc::clone(table), Instant::now());
        self.kept.queue.image_first(Image {
            zone,
            table,
            files: Vec::new(),
            previous: None,
            due,
            reply: Some(reply),
            is_last: false,
        });
        stored.recv_timeout(IMAGE_WITHIN).unwrap_or(false)
    }

    fn remove(&mut self, zone: &ZoneConfig) {
        let name = &zone.name;
        self.kept.disk.forget(&self.kept.state.image(name));
        if let Err(error) = self.kept.state.remove(zone) {
            tracing::warn!("zone {name}: its image could not be removed from the state folder: {error}");
        }
        self.order(zone, What::Remove);
    }

    /// Sees to it that the journal, if there is one, leads to what is served. Where the zone has changed while the node was
    /// away, the image that is still there may tell how.
    fn begin(&mut self, zone: &ZoneConfig, table: &Arc<Table>) {
        let Outcome::Done(Some(end)) = self.order(zone, What::Look) else { return };
        if end == version_of(table) {
            return;
        }
        match self.kept.state.kept(zone, state_dir::Kept::Served) {
            Ok(image) if version_of(&image) == end => {
                let (from, to) = (Arc::new(image), Arc::clone(table));
                self.record(zone, Step { from, to, differences: None });
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
    fn record(&mut self, zone: &ZoneConfig, step: Step) {
        let Step { ref from, ref to, differences } = step;
        if from.content() == to.content() {
            return;
        }
        let name = &zone.name;
        if !is_newer(to.serial(), from.serial()) {
            tracing::debug!(
                "zone {name}: its journal begins anew, {} is before {}",
                to.serial(),
                from.serial()
            );
            // What it has may lead on from this version, and a restart would follow.
            return self.begin_anew(zone, to);
        }
        let octets_max = (to.octets() / TABLE_DIVISOR).max(DIFFERENCE_MIN);
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
            Err(Incomparable::Mixed) => tracing::info!(
                "zone {name}: sets have several TTLs in one of serials {} and {} alone, so that secondaries get the whole zone",
                from.serial(),
                to.serial()
            ),
            Err(error) => tracing::error!("zone {name}: its versions can't be compared: {error}"),
        }
    }

    /// Makes a journal without differences.
    fn begin_anew(&mut self, zone: &ZoneConfig, table: &Arc<Table>) {
        self.append(zone, table, table, Vec::new());
    }

    fn append(
        &mut self,
        zone: &ZoneConfig,
        from: &Arc<Table>,
        to: &Arc<Table>,
        steps: Vec<(Difference, [u8; 32])>,
    ) {
        let index = &self.kept.transfers.index;
        if zone.is_received() && !index.begins_at(from) {
            // The journal ends elsewhere and is begun anew. What it has now may be all that a restart could begin with, until there
            // is an image of the version where it begins.
            match index.image(zone.name.as_name()) {
                Some(image) if image == version_of(to) => return self.begin_anew(zone, to),
                // A later change is on its way.
                Some(image)
                    if is_newer(image.serial, from.serial()) && self.kept.queue.awaits_change(zone) =>
                {
                    return;
                }
                _ if self.image(zone, from) => {}
                _ => return self.kept.queue.retry_journal(zone, to),
            }
        }
        let base = if zone.is_received() { Base::Needed } else { Base::Spare };
        let what = What::Append { from: version_of(from), steps, octets_max: journal::octets_max(to), base };
        if let Outcome::Failed = self.order(zone, what) {
            self.kept.queue.retry_journal(zone, to);
        }
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
