//! The thread that stores images, and which zones are here for catalogs.

use super::index::version_of;
use super::queue::{Image, ToStore};
use super::{Kept, RETRY_EVERY};
use crate::config::{ZoneConfig, ZoneSource};
use crate::gate::InMemory;
use crate::memory;
use crate::zones::members;
use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};
use table::Table;
use transfer::catalog::Ownership;

/// How long the image of a copy rests after it was stored, in times of what that took, and at least. The journal has what changes
/// meanwhile. Shorter would have a large zone that changes all the time written without a pause, longer makes restarts slower,
/// which have to make the zone anew from what the journal has more.
const REST_TIMES: u32 = 10;
const REST_MIN: Duration = Duration::from_secs(1);

/// How long after a master file was read again its image is stored, where little was other and the journal has that: making one
/// table of it takes what a compilation takes. A restart before that compiles the file, a second for a million records, and goes by
/// the journal where the file has become bad; a longer time would spare little more where a file changes every few minutes.
const AMENDED_REST: Duration = Duration::from_secs(60);

/// What comes of members that aren't stored.
const FEWER_OR_MORE: &str = "the next start begins with fewer or more";

/// Stores images until the queue is closed.
pub(super) fn run(kept: &Kept) {
    if let Err(error) = netio::pin::yield_to_workers() {
        tracing::warn!("images are stored at normal priority, answers may be slower meanwhile: {error}");
    }
    let mut images = Images { kept, resting: HashMap::new(), amended: HashMap::new() };
    let left = loop {
        match kept.queue.next_to_store() {
            Ok(ToStore::Image(image)) => images.store(*image),
            Ok(ToStore::Members(members)) => images.store_members(members),
            Err(left) => break left,
        }
    };
    if left > 0 {
        tracing::warn!(
            "ending without the images of {left} zones: the next start compiles them, or begins with older ones"
        );
    }
    if kept.queue.has_members() {
        tracing::warn!("ending with an older list of the zones that are here for catalogs: {FEWER_OR_MORE}");
    }
}

struct Images<'k> {
    kept: &'k Kept,
    /// Until when the images of zones rest.
    resting: HashMap<Box<[u8]>, Instant>,
    /// When images are stored of zones whose master files have changed a little.
    amended: HashMap<Box<[u8]>, Instant>,
}

impl Images<'_> {
    fn store(&mut self, image: Image) {
        let (key, began) = (image.zone.name.as_name().as_wire(), Instant::now());
        if image.reply.is_none()
            && image.zone.secondary().is_some()
            && image.table.is_overlaid()
            && self.kept.transfers.index.leads_to(&image.table)
            && !self.kept.transfers.index.is_full(&image.table)
        {
            // The journal has what has changed; what the two come to is stored when they have been folded, or the journal is full.
            return;
        }
        if image.reply.is_none() && self.is_too_early(&image) {
            let due = *self.amended.entry(key.into()).or_insert(began + AMENDED_REST);
            self.kept.queue.put_off(Image { due, ..image });
            return;
        }
        if image.reply.is_none()
            && image.table.is_overlaid()
            && (image.zone.file().is_some()
                || self.kept.transfers.index.goes_on_from_image(image.zone.name.as_name()))
            && self.kept.queue.has_change(&image.zone)
            && !self.kept.queue.is_closed()
        {
            // The journal is about to have it. Of a large zone the image takes longer than that by far, and by the time it is stored
            // the next change is there.
            self.kept.queue.put_off(Image { due: began + REST_MIN, ..image });
            return;
        }
        self.amended.remove(key);
        if image.reply.is_none()
            && let Some(until) =
                self.resting.get(key).filter(|until| **until > began && !self.kept.queue.is_closed())
            && self.kept.transfers.index.leads_to(&image.table)
        {
            self.kept.queue.put_off(Image { due: *until, ..image });
            return;
        }
        let Image { zone, table, files, previous, .. } = &image;
        if let Some(previous) = previous {
            self.keep_previous(zone, previous);
        }
        let state = &self.kept.state;
        let stored = state.make_folder().and_then(|()| match zone.source {
            ZoneSource::MasterFile(_) => state.store(zone, table, files),
            ZoneSource::Published(_) => state.store_published(zone, table),
            ZoneSource::Primaries(_) | ZoneSource::Catalog(_) => state.store_transferred(zone, table),
        });
        let is_stored = self.has_stored(zone, table, stored);
        if table.is_overlaid() {
            // One table was made of it, and the keeper, which gives back what it used, knows nothing of that.
            memory::give_back();
        }
        if let Some(reply) = &image.reply {
            // Who waited may have given up.
            let _gone = reply.try_send(is_stored);
        } else if !is_stored {
            self.kept.queue.put_off(Image { due: Instant::now() + RETRY_EVERY, ..image });
        } else if zone.secondary().is_some() {
            let rest = (REST_TIMES * began.elapsed()).max(REST_MIN);
            self.resting.insert(key.into(), Instant::now() + rest);
        }
    }

    /// Whether the image of a zone with a master file is to wait for more changes. Its journal has to lead to it meanwhile: the file
    /// may have errors by the next start.
    fn is_too_early(&self, image: &Image) -> bool {
        let key = image.zone.name.as_name().as_wire();
        let is_due = self.amended.get(key).is_some_and(|due| *due <= Instant::now());
        image.zone.file().is_some()
            && image.table.is_overlaid()
            && !is_due
            && !self.kept.queue.is_closed()
            && self.kept.transfers.index.ends_at(&image.table)
    }

    /// Keeps the image of the version before, which the next one is about to replace, or makes one. A version that stands over another
    /// table stays in memory, where it takes little.
    fn keep_previous(&self, zone: &ZoneConfig, previous: &InMemory) {
        let Some(table) = previous.table() else { return };
        let state = &self.kept.state;
        let kept = if self.kept.transfers.index.image(zone.name.as_name()) == Some(version_of(&table)) {
            state.keep_previous(zone)
        } else if table.is_overlaid() {
            return;
        } else {
            state.store_previous(zone, &table)
        };
        match kept {
            Ok(()) => previous.is_written(),
            Err(error) => tracing::debug!("zone {}: the version before has no image: {error}", zone.name),
        }
    }

    fn store_members(&self, members: Ownership) {
        let file = self.kept.state.members_file();
        match members::store(&file, &members) {
            Ok(()) => self.kept.disk.worked(&file),
            Err(error) => {
                let what = "which zones are here for catalogs could not be stored";
                self.kept.disk.failed(&file, &format!("{what}, so that {FEWER_OR_MORE}: {error}"));
                self.kept.queue.retry_members(members);
            }
        }
    }

    /// Notes whether an image was stored; whether it was.
    fn has_stored(&self, zone: &ZoneConfig, table: &Table, stored: io::Result<()>) -> bool {
        let (name, path) = (&zone.name, self.kept.state.image(&zone.name));
        let Err(error) = stored else {
            self.kept.transfers.index.set_image(name.as_name(), version_of(table));
            self.kept.disk.worked(&path);
            return true;
        };
        let consequence = match zone.source {
            ZoneSource::MasterFile(_) => "it will be compiled at the next start",
            ZoneSource::Primaries(_) | ZoneSource::Published(_) => "the next start begins with an older one",
            ZoneSource::Catalog(_) => "its serial may go back at the next start",
        };
        self.kept
            .disk
            .failed(&path, &format!("zone {name}: its image could not be stored, so {consequence}: {error}"));
        false
    }
}
