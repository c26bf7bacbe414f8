//! The map that pools of what is nearest go by.
//!
//! One map is for all of them, and has the places alone that their endpoints name. So a zone that brings such a pool may want a map
//! with other places: it is read again, which takes a second for a large one, on a thread of its own. Until it is there the
//! pools of zones stay as they were.

use crate::config::{PlacesConfig, PoolConfig};
use crate::places::{Atlas, AtlasError};
use crate::zones::parallel;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::time::Duration;

/// How often it is looked whether a map is there, while one is being read.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The map, as far as it is read.
#[derive(Default)]
pub(super) struct Chart {
    places: Option<PlacesConfig>,
    atlas: Option<Arc<Atlas>>,
    /// The words for which it could not be read, and why; it isn't tried again with these before the next reload.
    failed: Option<(BTreeSet<String>, String)>,
    reading: Option<Reading>,
}

/// A map that is being read.
struct Reading {
    words: BTreeSet<String>,
    result: Receiver<Result<Atlas, AtlasError>>,
}

/// What there is for some words.
pub(super) enum Charted {
    /// A map.
    Atlas(Arc<Atlas>),
    /// One will be there later.
    Later,
    /// None, and why.
    Failed(String),
}

impl Chart {
    /// Takes in a configuration that was read just now, with the map in its pools, where they want one.
    pub(super) fn configure(&mut self, places: Option<PlacesConfig>, pools: &[PoolConfig]) {
        let atlas = pools.iter().find_map(|pool| pool.atlas.clone());
        // One with more places stays if it is of the same file: it would have to be read again for the pools of zones.
        let is_enough =
            self.atlas.as_ref().zip(atlas.as_ref()).is_some_and(|(it, new)| it.is_as_good_as(new));
        if !is_enough {
            self.atlas = atlas;
        }
        (self.places, self.failed, self.reading) = (places, None, None);
    }

    /// Whether the configuration names a map.
    pub(super) fn is_named(&self) -> bool {
        self.places.is_some()
    }

    /// The map as it was read last.
    pub(super) fn atlas(&self) -> Option<Arc<Atlas>> {
        self.atlas.clone()
    }

    /// Whether a map is being read.
    pub(super) fn is_being_read(&self) -> bool {
        self.reading.is_some()
    }

    /// The map, if it has all of these words; else it is read again: now if there is time, or aside.
    pub(super) fn with(&mut self, words: BTreeSet<String>, has_time: bool) -> Charted {
        if let Some(atlas) = self.atlas.as_ref().filter(|atlas| atlas.has(&words)) {
            return Charted::Atlas(Arc::clone(atlas));
        }
        if let Some((_, error)) = self.failed.as_ref().filter(|(failed, _)| *failed == words) {
            return Charted::Failed(error.clone());
        }
        let Some(places) = &self.places else {
            return Charted::Failed("the node has no map of places".to_owned());
        };
        if has_time {
            let read = Atlas::read(&places.file, words.clone());
            self.take(words.clone(), read);
            return self.with(words, false);
        }
        if self.reading.is_none() {
            let (sender, result) = mpsc::sync_channel(1);
            let (file, wanted) = (places.file.clone(), words.clone());
            let work = move || {
                parallel::yield_to_workers();
                // Nobody waits for it any more after a reload.
                let _unwanted = sender.send(Atlas::read(&file, wanted));
            };
            if let Err(error) = std::thread::Builder::new().name("places".to_owned()).spawn(work) {
                return Charted::Failed(format!("no thread to read the map of places: {error}"));
            }
            self.reading = Some(Reading { words, result });
        }
        Charted::Later
    }

    /// Takes in the map that was being read, if it is there; whether it is.
    pub(super) fn look(&mut self) -> bool {
        let Some(reading) = &self.reading else { return false };
        let read = match reading.result.try_recv() {
            Ok(read) => read,
            Err(TryRecvError::Empty) => return false,
            Err(TryRecvError::Disconnected) => {
                self.reading = None;
                return false;
            }
        };
        if let Some(Reading { words, .. }) = self.reading.take() {
            self.take(words, read);
        }
        true
    }

    fn take(&mut self, words: BTreeSet<String>, read: Result<Atlas, AtlasError>) {
        match read {
            Ok(atlas) => {
                self.atlas = Some(Arc::new(atlas));
                self.failed = None;
            }
            Err(error) => self.failed = Some((words, error.to_string())),
        }
    }
}
