//! Versions at the gate: judging those that were loaded, and what operators decide.

use super::{Change, Entry, Job, Keeper, Moment, Replaced};
use crate::config::ZoneSource;
use crate::gate::{self, Candidate, Fate, Question, Stop, Verdict};
use crate::status::ZoneStatus;
use crate::zones::load::{self, Images, Loaded, LoadedFrom, ZoneErrors};
use crate::zones::source;
use crate::zones::state_dir::{Kept, StateDir};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use table::Table;
use table::publish::{Generation, Publisher};
use tokio::sync::oneshot;
use wire::NameBuf;

/// What an operator decides about the versions of a zone.
pub(crate) struct Decision {
    /// Of which zone.
    pub(crate) zone: NameBuf,
    /// What.
    pub(crate) step: Step,
    /// Who wants to know how the zone is after that, or why nothing was done.
    pub(crate) reply: oneshot::Sender<Result<ZoneStatus, String>>,
}

/// What is to be done with the versions of a zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// To serve the version that is held.
    Approve,
    /// To serve the version before again.
    RollBack,
}

/// What became of a version that was loaded.
pub(super) enum Judged {
    /// It may be served. Where nothing was served yet, the image in the state folder is what it replaces.
    Admitted(Loaded, Option<Arc<Table>>),
    /// It may if its zone's command says so, which is yet to be asked. Where nothing was served yet, the image in the state folder
    /// goes on meanwhile.
    Unasked(Loaded, Option<Arc<Table>>),
    /// It may not. Where nothing was served yet, the image in the state folder goes on instead.
    Stopped(Loaded, Stop, Option<Arc<Table>>),
    /// It was not looked at, since it is held already; this is the image in the state folder.
    StillHeld(Arc<Table>),
}

impl Job {
    /// Loads the zone and judges what came of it; on a thread of its own.
    pub(super) fn load(
        &self,
        state: Option<&StateDir>,
        progress: &crate::progress::ZoneProgress,
    ) -> Result<Judged, ZoneErrors> {
        let folders = state;
        let state = state.filter(|_| !self.begins_anew);
        if let Some(image) = state.and_then(|state| self.still_held(state)) {
            return Ok(Judged::StillHeld(Arc::new(image)));
        }
        let loaded = match (self.take_transferred(), self.take_published()) {
            (Some(transferred), _) => load::compile_transferred(&self.zone, transferred)?,
            (None, Some(published)) => published,
            (None, None) => load::load(&self.zone, state, self.images, self.standing.as_ref(), progress)?,
        };
        if loaded.from.is_recalled() || loaded.from == LoadedFrom::Configuration {
            // It stood here before, or is what the configuration says.
            return Ok(Judged::Admitted(loaded, None));
        }
        // Nothing is served: after a restart with another master file, or of a zone that was just added.
        let stored = match &self.standing {
            Some(_) => None,
            None => state.and_then(|state| state.kept(&self.zone, Kept::Served).ok()).map(Arc::new),
        };
        let verdict = gate::judge(&Candidate {
            zone: &self.zone,
            table: &loaded.table,
            zonemd: loaded.zonemd,
            standing: self.standing.as_ref().or(stored.as_ref()),
            unwanted: self.unwanted,
            serials: self.serials,
        });
        let is_first = self.standing.is_none() && stored.is_none();
        let verdict = match verdict {
            // Nobody answers before the zones are there, so nobody waits for the command who would not wait for them.
            Verdict::Unasked if is_first && self.moment == Moment::Start => {
                self.question(&loaded, folders).ask()
            }
            verdict => verdict,
        };
        Ok(match verdict {
            Verdict::Admitted => Judged::Admitted(loaded, stored),
            Verdict::Unasked => Judged::Unasked(loaded, stored),
            Verdict::Stopped(stop) => Judged::Stopped(loaded, stop, stored),
        })
    }

    /// What the command of the zone is asked about a version.
    pub(super) fn question(&self, loaded: &Loaded, state: Option<&StateDir>) -> Question {
        Question {
            zone: self.zone.clone(),
            table: Arc::clone(&loaded.table),
            standing: self.standing.as_ref().map(|standing| standing.serial()),
            folder: state.map(|state| state.folder().to_owned()),
        }
    }

    /// The image to begin with where the master file is that of a version that an earlier run has stopped.
    fn still_held(&self, state: &StateDir) -> Option<Table> {
        let (stamp, files) = self.held.as_ref().filter(|_| self.images == Images::Use)?;
        let is_same = source::source_stamp_now(&self.zone, files) == Some(*stamp);
        if !is_same || self.standing.is_some() { None } else { state.kept(&self.zone, Kept::Served).ok() }
    }
}

impl Entry {
    /// Keeps what is served, holds the version where an operator may approve of it, and logs and remembers why.
    pub(super) fn stop(&mut self, loaded: Loaded, stop: &Stop, served: Option<u32>) -> ZoneErrors {
        let (name, serial) = (&self.zone.name, loaded.table.serial());
        let (what, remedy) = match (stop.fate, &self.zone.source) {
            (Fate::Held, _) => {
                ("held back", format!("`starling ctl zone approve {name}` takes it all the same"))
            }
            (Fate::Refused, ZoneSource::MasterFile(_) | ZoneSource::Catalog(_)) => {
                ("refused", "mend the file, then `starling ctl reload`".to_owned())
            }
            (Fate::Refused, ZoneSource::Published(_)) => {
                ("refused", "publish a table of a zone that is good".to_owned())
            }
            (Fate::Refused, ZoneSource::Primaries(_)) => {
                ("refused", "mend it at the primary, then `starling ctl refresh`".to_owned())
            }
        };
        let consequence = match served {
            Some(served) => format!("serial {served} goes on being served"),
            None => "its names get SERVFAIL".to_owned(),
        };
        let told = |reason: &gate::Reason| format!("{}: {}", reason.rule.name(), reason.text);
        let lines: Vec<String> = stop
            .reasons
            .iter()
            .map(|reason| format!("zone {name}: serial {serial} is {what}: {}", told(reason)))
            .collect();
        lines.iter().for_each(|line| tracing::error!("{line}"));
        tracing::error!("zone {name}: {consequence}; {remedy}");
        self.versions.count(&stop.reasons);
        match stop.fate {
            Fate::Held => {
                let reasons = stop.reasons.iter().map(told).collect();
                self.versions.hold(loaded.table, loaded.files, loaded.from, reasons);
            }
            // What was held before was of an older source.
            Fate::Refused => self.versions.drop_held(),
        }
        let errors = ZoneErrors { errors: lines, warnings: loaded.warnings, misfit: false };
        self.remember(&errors);
        errors
    }

    /// Serves an image from the state folder in place of a version that was stopped.
    pub(super) fn go_on_with(&mut self, table: Arc<Table>, publisher: &mut Publisher) -> Generation {
        let error = self.error.take();
        let (_, generation) = self.take(image(table, Vec::new()), None, publisher);
        self.error = error;
        generation
    }

    /// Whether the master file is that of the version that is held, so that nothing is to be gained by looking at it again.
    pub(super) fn is_held_current(&self) -> bool {
        let held = self.versions.held().filter(|held| !held.files.is_empty());
        held.is_some_and(|held| source::source_stamp_now(&self.zone, &held.files) == Some(held.stamp))
    }

    /// Why the version is held that is, as errors.
    pub(super) fn held_errors(&self) -> Option<ZoneErrors> {
        let reasons = self.versions.held()?.reasons();
        let name = &self.zone.name;
        let errors = reasons.iter().map(|reason| format!("zone {name}: a version is held back: {reason}"));
        Some(ZoneErrors { errors: errors.collect(), warnings: Vec::new(), misfit: false })
    }
}

impl Keeper {
    /// Does what operators have decided.
    pub(super) fn decide(&mut self, decisions: Vec<Decision>) {
        if decisions.is_empty() {
            return;
        }
        self.board.set_reloading(true);
        let mut is_catalog = false;
        let mut done = Vec::new();
        for Decision { zone, step, reply } in decisions {
            let result = match self.entries.position(&zone) {
                Some(index) => {
                    is_catalog |= self.entries[index].zone.follow.is_some();
                    self.decide_on(index, step).map(|()| index)
                }
                None => {
                    Err(format!("there is no zone {zone} here; `starling ctl zones` lists those there are"))
                }
            };
            done.push((result, reply));
        }
        self.list_more();
        self.tell_copies();
        self.serve();
        self.board.set_reloading(false);
        // Before anybody is told that it is done: a decision holds over a restart.
        for index in done.iter().filter_map(|(result, _)| result.as_ref().ok()) {
            self.unstored.retain(|unstored| unstored != index);
            let entry = &self.entries[*index];
            let (Some(served), Some(table)) = (&entry.served, self.publisher.table(entry.slot)) else {
                continue;
            };
            let previous = entry.versions.previous_in_memory();
            if !self.archive.store_now(&entry.zone, table, &served.files, previous) {
                self.unstored.push(*index); // it is tried again
            }
            self.unkept.push(*index);
        }
        self.hand_over();
        for index in done.iter().filter_map(|(result, _)| result.as_ref().ok()) {
            let Entry { zone, slot, .. } = &self.entries[*index];
            if self.publisher.table(*slot).is_some_and(|table| !self.archive.settle(zone, table)) {
                let name = &zone.name;
                tracing::warn!("zone {name}: a restart may undo what was decided: it is not written yet");
            }
        }
        // Entries move when members go.
        let replies: Vec<_> =
            done.into_iter().map(|(result, reply)| (result.map(|index| self.status(index)), reply)).collect();
        if is_catalog {
            self.follow_catalogs();
        }
        for (status, reply) in replies {
            // Who asked may have gone away; it is done all the same.
            let _gone = reply.send(status);
        }
    }

    fn decide_on(&mut self, index: usize, step: Step) -> Result<(), String> {
        let name = self.entries[index].zone.name.clone();
        let Keeper { publisher, generation, entries, state, unstored, changed, .. } = self;
        let entry = &mut entries[index];
        if entry.expired {
            return Err(format!(
                "{name} has expired: `starling ctl refresh {name}` asks its primaries for a version that may be served"
            ));
        }
        let state = state.as_deref();
        let current = publisher.table(entry.slot).cloned();
        let served = entry.served.as_ref().map(|served| (served.files.clone(), served.from));
        let (table, files, from) = match step {
            Step::Approve => {
                let table = entry.versions.held_table(&entry.zone, state)?;
                let held = entry.versions.held().map(|held| (held.files.clone(), held.from));
                let (files, from) = held.unwrap_or((Vec::new(), LoadedFrom::Image));
                (table, files, from)
            }
            Step::RollBack => {
                let current = current.as_ref().ok_or_else(|| format!("no version of {name} is served"))?;
                let table = entry.versions.previous_table(&entry.zone, state, current)?;
                let files = served.as_ref().map_or_else(Vec::new, |(files, _)| files.clone());
                (table, files, LoadedFrom::Image)
            }
        };
        let serial = table.serial();
        let (Change { from_serial, .. }, published) = entry.take(image(table, files), None, publisher);
        *generation = published;
        entry.revision += 1;
        entries.renew_copies();
        let entry = &mut entries[index];
        unstored.push(index);
        changed.entry(index).or_insert_with(|| Replaced { before: current.clone(), differences: None });
        let from_serial = from_serial.map_or_else(|| "none".to_owned(), |serial| serial.to_string());
        match (step, current, served) {
            (Step::RollBack, Some(current), Some((files, from))) => {
                tracing::warn!(
                    "zone {name}: an operator has rolled back from serial {from_serial} to {serial}"
                );
                entry.versions.roll_back(current, files, from);
                if let Some(errors) = entry.held_errors() {
                    entry.remember(&errors);
                }
            }
            _ => {
                tracing::warn!(
                    "zone {name}: an operator has approved of serial {serial}, after {from_serial}"
                );
                // Also where it is the first version that there is.
                entry.versions.accept();
                entry.error = None;
                if let Some(served) = &mut entry.served {
                    served.from = from;
                }
            }
        }
        self.forget_asked(&name, "an operator has decided otherwise before its command has said anything");
        Ok(())
    }
}

/// A version that was an image.
fn image(table: Arc<Table>, files: Vec<PathBuf>) -> Loaded {
    Loaded {
        table,
        files,
        from: LoadedFrom::Image,
        no_image: None,
        warnings: Vec::new(),
        zonemd: None,
        took: Duration::ZERO,
    }
}
