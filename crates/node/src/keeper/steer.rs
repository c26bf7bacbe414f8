//! Names that answer with pools: who has them, and that their zones' tables say so.

use super::{Entry, Keeper};
use std::collections::HashMap;
use std::sync::Arc;
use table::Table;
use table::publish::{SlotIndex, Standing};
use wire::FoldedName;
use zone::amend::{Steered, steer};

impl Keeper {
    /// Has names answer so, and all others as their zones say.
    pub(super) fn steer(&mut self, answers: Vec<Steered>) {
        self.steered = answers;
        self.place_steered();
        self.wait_until_served();
    }

    /// Gives every zone the answers for its names, and publishes it where they are others than before.
    pub(super) fn place_steered(&mut self) {
        if self.steered.is_empty() && !self.has_steered {
            return;
        }
        self.has_steered = !self.steered.is_empty();
        let mut by_slot: HashMap<SlotIndex, Vec<Steered>> = HashMap::new();
        let mut problems = HashMap::new();
        let mut folded = FoldedName::default();
        for answer in &self.steered {
            folded.set(answer.owner.as_name());
            match self.publisher.directory().find(&folded) {
                Some(slot) => by_slot.entry(slot).or_default().push(answer.clone()),
                None => {
                    drop(problems.insert(answer.owner.to_string(), "no zone here has the name".to_owned()))
                }
            }
        }
        for index in 0..self.entries.len() {
            let entry = &self.entries[index];
            let answers = by_slot.remove(&entry.slot).unwrap_or_default();
            if entry.steered != answers {
                self.entries[index].steered = answers;
                self.publish_again(index);
            }
            problems.extend(self.entries[index].unsteered.iter().cloned());
        }
        self.board.set_unsteered(problems);
    }

    /// Publishes the version of a zone that stands once more, as it is to stand now.
    pub(super) fn publish_again(&mut self, index: usize) {
        let entry = &mut self.entries[index];
        let Some(table) = self.publisher.table(entry.slot).cloned() else { return };
        let standing = if entry.expired { entry.stale(table) } else { entry.standing(table) };
        self.generation = self.publisher.publish_standing(entry.slot, standing);
    }
}

impl Entry {
    /// How a good version of the zone stands.
    pub(super) fn standing(&mut self, version: Arc<Table>) -> Standing {
        match self.zone.is_private() {
            true => Standing::Private(version),
            false => Standing::Current(self.steered(version)),
        }
    }

    /// How a version stands that has expired, and is served all the same.
    pub(super) fn stale(&mut self, version: Arc<Table>) -> Standing {
        match self.zone.is_private() {
            true => Standing::Private(version),
            false => Standing::Stale(self.steered(version)),
        }
    }

    /// The version with the answers of pools. A name that can't be steered answers as the zone says.
    fn steered(&mut self, version: Arc<Table>) -> Arc<Table> {
        if self.steered.is_empty() {
            self.unsteered.clear();
            return version;
        }
        let (table, unsteered) = match steer(&version, &self.steered) {
            Ok(table) => (Arc::new(table), Vec::new()),
            Err(_) => self.steered_where_possible(version),
        };
        if unsteered != self.unsteered {
            for (name, why) in &unsteered {
                tracing::error!("{name} can't answer with its pool, and answers as its zone says: {why}");
            }
            self.unsteered = unsteered;
        }
        table
    }

    /// The same, a name at a time.
    fn steered_where_possible(&self, version: Arc<Table>) -> (Arc<Table>, Vec<(String, String)>) {
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for of_name in self.steered.chunk_by(|one, other| one.owner == other.owner) {
            match steer(&version, of_name) {
                Ok(_) => good.extend_from_slice(of_name),
                Err(error) => bad.push((of_name[0].owner.to_string(), error.to_string())),
            }
        }
        match steer(&version, &good) {
            Ok(table) if !good.is_empty() => (Arc::new(table), bad),
            // Each can be alone, and not all together: there are too many.
            Err(error) => {
                let all = good.chunk_by(|one, other| one.owner == other.owner);
                bad.extend(all.map(|of_name| (of_name[0].owner.to_string(), error.to_string())));
                (version, bad)
            }
            Ok(_) => (version, bad),
        }
    }
}
