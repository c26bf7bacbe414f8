//! Names that answer with pools: who has them, and that their zones' tables say so.

use super::{Entry, Keeper, Showing};
use crate::pools::unix_time;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use table::Table;
use table::publish::{SlotIndex, Standing};
use wire::{FoldedName, NameBuf};
use zone::amend::{Steered, steer};
use zone::sign::Signer;

/// How long a clock that was set may go unseen while there are signatures.
const LOOK_EVERY: Duration = Duration::from_secs(60);

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
        self.homeless.clear();
        let mut folded = FoldedName::default();
        for answer in &self.steered {
            folded.set(answer.owner.as_name());
            match self.publisher.directory().find(&folded) {
                Some(slot) => by_slot.entry(slot).or_default().push(answer.clone()),
                None => {
                    let problem = "no zone here has the name".to_owned();
                    self.homeless.insert(answer.owner.to_string(), problem);
                }
            }
        }
        self.steered_zones.clear();
        for index in 0..self.entries.len() {
            let entry = &self.entries[index];
            let answers = by_slot.remove(&entry.slot).unwrap_or_default();
            if !answers.is_empty() {
                self.steered_zones.push(entry.zone.name.clone());
            }
            if entry.steered != answers {
                self.entries[index].steered = answers;
                self.publish_again(index);
            }
        }
        self.show_unsteered();
    }

    /// Shows which names can't answer with their pools. A new version of a zone may be in their way, or out of it.
    pub(super) fn show_unsteered(&self) {
        if !self.has_steered {
            return self.board.set_unsteered(HashMap::new());
        }
        let mut problems = self.homeless.clone();
        for index in self.steered_indexes() {
            problems.extend(self.entries[index].unsteered.iter().cloned());
        }
        self.board.set_unsteered(problems);
    }

    fn steered_indexes(&self) -> impl Iterator<Item = usize> {
        self.steered_zones.iter().filter_map(|name| self.entries.position(name))
    }

    /// How long it is until signatures have to be made anew, or the clock looked at again, which may be set; `None` if
    /// there are none.
    pub(super) fn renewal_in(&self) -> Option<Duration> {
        let due = self.steered_indexes().filter_map(|index| Some(self.entries[index].fresh()?.end)).min()?;
        Some(Duration::from_secs(due.saturating_sub(unix_time())).min(LOOK_EVERY))
    }

    /// Makes signatures anew that are to be, and publishes them.
    pub(super) fn renew_signatures(&mut self) {
        let now = unix_time();
        let is_due = |index: &usize| self.entries[*index].fresh().is_some_and(|fresh| !fresh.contains(&now));
        let due: Vec<usize> = self.steered_indexes().filter(is_due).collect();
        for index in &due {
            tracing::info!(
                "zone {}: signatures of its pools' answers are made anew",
                self.entries[*index].zone.name
            );
            self.publish_again(*index);
        }
        if !due.is_empty() {
            self.show_unsteered();
            self.wait_until_served();
        }
    }

    /// Shows what a name is answered from. What was asked for before, in the same breath, is done.
    pub(super) fn show(&mut self, showing: Showing) {
        let Showing { name, reply } = showing;
        // Who asked may have gone away.
        let _gone = reply.send(self.shown(&name));
    }

    fn shown(&mut self, name: &NameBuf) -> Result<Arc<Table>, String> {
        let mut folded = FoldedName::default();
        folded.set(name.as_name());
        let slot = self.publisher.directory().find(&folded);
        let slot = slot.ok_or_else(|| format!("no zone here has the name {name}"))?;
        let index = (0..self.entries.len()).find(|index| self.entries[*index].slot == slot);
        let none = || format!("the zone of {name} has no version that can be served");
        let (index, version) = index.zip(self.publisher.table(slot).cloned()).ok_or_else(none)?;
        let entry = &mut self.entries[index];
        let standing = if entry.expired { entry.stale(version) } else { entry.standing(version) };
        match standing {
            Standing::Current(table) | Standing::Stale(table) => Ok(table),
            Standing::Private(_) => Err(format!("the zone of {name} is for secondaries alone")),
            Standing::Absent | Standing::Expired => Err(none()),
        }
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

    /// From when to when the signatures of its answers are fresh, in seconds since 1970.
    fn fresh(&self) -> Option<&Range<u64>> {
        self.signer.as_ref().and_then(Signer::fresh)
    }

    /// The version with the answers of pools. A name that can't be steered answers as the zone says.
    fn steered(&mut self, version: Arc<Table>) -> Arc<Table> {
        if self.steered.is_empty() {
            self.unsteered.clear();
            return version;
        }
        let steered = steer(&version, &self.steered, signing(&mut self.signer));
        let (table, unsteered) = match steered {
            Ok(table) => (Arc::new(table), Vec::new()),
            Err(_) => self.steered_where_possible(version),
        };
        self.tell_idle_keys();
        if unsteered != self.unsteered {
            for (name, why) in &unsteered {
                tracing::error!("{name} can't answer with its pool, and answers as its zone says: {why}");
            }
            self.unsteered = unsteered;
        }
        table
    }

    /// Says which keys sign nothing, where these are others than before.
    fn tell_idle_keys(&mut self) {
        let Some(signer) = &self.signer else { return };
        if *signer.idle() == self.idle_keys {
            return;
        }
        self.idle_keys = signer.idle().clone();
        for key in self.idle_keys.iter() {
            let zone = &self.zone.name;
            tracing::warn!("a signing key is not one of the DNSKEY set of {zone}, and signs nothing: {key}");
        }
    }

    /// The same, a name at a time.
    fn steered_where_possible(&mut self, version: Arc<Table>) -> (Arc<Table>, Vec<(String, String)>) {
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for of_name in self.steered.chunk_by(|one, other| one.owner == other.owner) {
            match steer(&version, of_name, signing(&mut self.signer)) {
                Ok(_) => good.extend_from_slice(of_name),
                Err(error) => bad.push((of_name[0].owner.to_string(), error.to_string())),
            }
        }
        match steer(&version, &good, signing(&mut self.signer)) {
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

/// The signer, and the time.
fn signing(signer: &mut Option<Signer>) -> Option<(&mut Signer, u64)> {
    signer.as_mut().map(|signer| (signer, unix_time()))
}
