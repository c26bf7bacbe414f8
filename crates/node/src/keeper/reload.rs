//! Reloading: which zones to look at, what to compile, what came of it.

use super::asking::{self, Asker};
use super::{Change, Entry, Keeper, Moment, Request, chart, fold, tell};
use crate::config::{ZoneConfig, ZoneSource};
use crate::memory::{NUDGE_AFTER, NUDGES, nudge_allocator};
use crate::pools;
use crate::progress::Progress;
use crate::status::{Outcome, ReloadReport, ZoneReload};
use crate::zones::load::{self, Images, ZoneErrors};
use crate::zones::parallel::Priority;
use std::collections::{HashMap, HashSet};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use table::publish::SlotIndex;
use tokio::sync::oneshot;
use wire::NameBuf;

/// How many reloads may wait while one is going on. They are then done together, so the queue only fills when very
/// many are asked for at once, and those beyond it are told to come again.
pub(crate) const QUEUE_MAX: usize = 64;

/// How many messages about a zone the answer to a reload carries; `ctl zones` and the log have more.
const REPORTED_MAX: usize = 10;

/// A reload that somebody asks for.
pub(crate) struct ReloadRequest {
    /// One zone; `None` for all of them and the configuration.
    pub(crate) zone: Option<NameBuf>,
    /// Whether zones are compiled even if their files have not changed.
    pub(crate) changed: Changed,
    /// Who wants to know what came of it; a signal doesn't.
    pub(crate) reply: Option<oneshot::Sender<ReloadReport>>,
}

/// Which zones are compiled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Changed {
    /// Those whose files, or options, have changed.
    Only,
    /// All.
    OrNot,
}

/// What is told to who has asked for a reload when all is known: all who may still add to it hold it.
#[derive(Clone)]
pub(super) struct PendingReport(Arc<Mutex<Pending>>);

struct Pending {
    report: ReloadReport,
    reply: Option<oneshot::Sender<ReloadReport>>,
}

impl PendingReport {
    fn new(report: ReloadReport, reply: oneshot::Sender<ReloadReport>) -> PendingReport {
        PendingReport(Arc::new(Mutex::new(Pending { report, reply: Some(reply) })))
    }

    /// Adds what has become of a zone.
    pub(super) fn add(self, zone: ZoneReload) {
        // It is the keeper's thread alone that locks it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).report.zones.push(zone);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(reply) = self.reply.take() {
            // A client that has gone away has its reload all the same.
            let _gone = reply.send(std::mem::take(&mut self.report));
        }
    }
}

impl Keeper {
    /// Does what is asked for until nobody can ask any more.
    pub(crate) fn run(mut self, requests: &mpsc::Receiver<Request>) {
        for entry in self.entries.iter().filter(|entry| entry.listed) {
            if let Some(table) = self.publisher.table(entry.slot) {
                self.archive.begin(&entry.zone, table);
            }
        }
        self.prepare_copies();
        self.moment = Moment::Running;
        let mut nudges_left = NUDGES;
        loop {
            self.fold();
            self.look_at_chart();
            self.ask();
            self.renew_signatures();
            self.look_at_late();
            let renewal = self.renewal_in().unwrap_or(Duration::MAX);
            let wait = match &self.folding {
                _ if self.is_late() => tell::LOOK_EVERY,
                _ if self.asking.is_going_on() => asking::LOOK_EVERY,
                Some(_) => fold::LOOK_EVERY,
                None if self.brought.chart.is_being_read() => chart::LOOK_EVERY,
                None if nudges_left > 0 => NUDGE_AFTER,
                None => Duration::MAX,
            };
            let first = match requests.recv_timeout(wait.min(renewal)) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) if self.is_waiting() => {
                    nudges_left = NUDGES;
                    continue;
                }
                Err(RecvTimeoutError::Timeout) if renewal < wait => continue,
                Err(RecvTimeoutError::Timeout) => {
                    nudge_allocator();
                    nudges_left -= 1;
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let (mut reloads, mut installs, mut judgements) = (Vec::new(), Vec::new(), Vec::new());
            let mut approvals = Vec::new();
            let mut decisions = Vec::new();
            let mut steered = None;
            let mut publishing = Vec::new();
            let mut showings = Vec::new();
            for request in std::iter::once(first).chain(requests.try_iter().take(QUEUE_MAX)) {
                match request {
                    Request::Reload(reload) => reloads.push(reload),
                    Request::Install(install) => installs.push(*install),
                    Request::Judge(judgement) => judgements.push(judgement),
                    Request::Approve(approval) => approvals.push(approval),
                    Request::Decide(decision) => decisions.push(*decision),
                    Request::Steer(answers) => steered = Some(answers),
                    Request::Publish(request) => publishing.push(request),
                    Request::Show(showing) => showings.push(showing),
                }
            }
            if let Some(answers) = steered {
                self.steer(answers);
            }
            self.judge(judgements);
            self.install(installs);
            self.decide(decisions);
            publishing.into_iter().for_each(|request| self.publish(request));
            if !reloads.is_empty() {
                self.reload_together(reloads);
            }
            approvals.into_iter().for_each(|approval| self.approve(approval));
            showings.into_iter().for_each(|showing| self.show(showing));
            nudges_left = NUDGES;
        }
    }

    fn reload_together(&mut self, together: Vec<ReloadRequest>) {
        self.board.set_reloading(true);
        let (report, waiting) = self.reload(&together);
        self.board.set_reloading(false);
        for request in together {
            let Some(reply) = request.reply else { continue };
            let is_of_it = |name: &&NameBuf| request.zone.as_ref().is_none_or(|zone| zone == *name);
            let pending = PendingReport::new(part_for(request.zone.as_ref(), &report), reply);
            for name in waiting.iter().filter(is_of_it) {
                // Else it waits no longer, because of another zone of the same reload.
                let _known = self.asking.wants_to_know(name, Asker::Report(pending.clone()));
            }
        }
    }

    /// Reloads what is asked for; what came of it, and the zones that wait for what their commands say.
    fn reload(&mut self, requests: &[ReloadRequest]) -> (ReloadReport, Vec<NameBuf>) {
        let mut report = ReloadReport::default();
        let all: Vec<&ReloadRequest> = requests.iter().filter(|request| request.zone.is_none()).collect();
        let mut chosen: HashMap<usize, Images> = HashMap::new();
        let mut has_catalogs = !all.is_empty();
        if !all.is_empty() && self.reconfigure(&mut report) {
            for entry in 0..self.entries.len() {
                all.iter().for_each(|request| self.choose(entry, request.changed, &mut chosen));
            }
        }
        for request in requests {
            let Some(name) = &request.zone else { continue };
            match self.entries.position(name) {
                Some(entry) => {
                    has_catalogs |= self.entries[entry].zone.follow.is_some();
                    self.choose(entry, request.changed, &mut chosen);
                }
                None => {
                    let errors = vec![format!(
                        "there is no zone {name} here; `starling ctl zones` lists those there are"
                    )];
                    report
                        .zones
                        .push(failed(name, &ZoneErrors { errors, warnings: Vec::new(), misfit: false }));
                }
            }
        }
        let waiting = self.look_at(chosen, &mut report);
        // At once: whoever compares what is served with what is on the board shall not wait for a disk.
        self.serve();
        self.hand_over();
        if has_catalogs {
            self.follow_catalogs();
        }
        summarize(&report, waiting.len());
        (report, waiting)
    }

    /// Adds a zone to those that are looked at.
    fn choose(&self, entry: usize, changed: Changed, chosen: &mut HashMap<usize, Images>) {
        match changed {
            Changed::OrNot => drop(chosen.insert(entry, Images::PassOver)),
            Changed::Only => drop(chosen.entry(entry).or_insert(Images::Use)),
        }
    }

    /// Loads the chosen zones as far as they have changed; gives those that wait for what their commands say.
    fn look_at(&mut self, chosen: HashMap<usize, Images>, report: &mut ReloadReport) -> Vec<NameBuf> {
        let (mut jobs, mut waiting) = (Vec::new(), Vec::new());
        let mut chosen: Vec<(usize, Images)> = chosen.into_iter().collect();
        chosen.sort_unstable_by_key(|(entry, _)| *entry);
        for (index, images) in chosen {
            let entry = &self.entries[index];
            if entry.zone.is_received() {
                // Its primaries are asked when that is due, or by `refresh`; or somebody publishes it.
                if matches!(entry.zone.source, ZoneSource::Published(_)) && entry.served.is_none() {
                    let errors = load::not_published(&entry.zone, &"no table was published yet");
                    self.entries[index].hold_back(&errors);
                }
                let entry = &self.entries[index];
                report
                    .zones
                    .push(ZoneReload { name: entry.zone.name.to_string(), outcome: Outcome::Unchanged });
            } else if images == Images::Use && entry.is_current() {
                report
                    .zones
                    .push(ZoneReload { name: entry.zone.name.to_string(), outcome: Outcome::Unchanged });
                if entry.error.is_some() || entry.versions.held().is_some() {
                    // A file that was broken and is back to what is served holds nothing back any more.
                    let entry = &mut self.entries[index];
                    entry.error = None;
                    entry.versions.drop_held();
                    self.unkept.push(index);
                }
                let name = self.entries[index].zone.name.clone();
                self.forget_asked(&name, "its master file is again that of the version that is served");
            } else if images == Images::Use
                && entry.is_held_current()
                && let Some(errors) = entry.held_errors()
            {
                report.zones.push(failed(&entry.zone.name, &errors));
            } else if images == Images::Use && self.asking.is_current(&entry.zone.name) {
                waiting.push(entry.zone.name.clone());
            } else {
                jobs.push(self.job(index, images));
            }
        }
        let zones = &mut report.zones;
        self.load(&jobs, Priority::Idle, &Progress::nowhere(), |job, result| match result {
            Some(result) => zones.push(outcome(&job.zone.name, result)),
            None => waiting.push(job.zone.name.clone()),
        });
        self.list_more();
        waiting
    }

    /// Lets names lead to the zones that have their first good version.
    pub(super) fn list_more(&mut self) {
        let is_new = |index: &usize| !self.entries[*index].listed && self.entries[*index].served.is_some();
        let new: Vec<usize> = self.entries.unshown().filter(is_new).collect();
        if !new.is_empty() {
            new.into_iter().for_each(|index| self.entries[index].listed = true);
            self.publish_directory();
        }
    }

    /// Reads the configuration again, and adds and removes zones; whether all is well.
    ///
    /// What can't be changed in a running node is refused as a whole: half of a new configuration is worse than
    /// the old one.
    fn reconfigure(&mut self, report: &mut ReloadReport) -> bool {
        let config = match (self.read_config)() {
            Ok(config) => config,
            Err(error) => {
                report.refused = error.lines();
                return false;
            }
        };
        let differences = self.node.differences(&config.node);
        if !differences.is_empty() {
            let message = format!(
                "nothing was reloaded: {} changed in the configuration, and needs a restart of the node; \
                 restart it, or take that change back",
                differences.join(", ")
            );
            report.refused.push(message);
            return false;
        }
        self.transfers.configure(&config);
        if let Some(outside) = &self.outside {
            outside.limit(config.rate_limit.as_ref());
        }
        self.rate_limits.set(config.rate_limit);
        self.sharing
            .send_if_modified(|sharing| std::mem::replace(sharing, config.sharing.clone()) != config.sharing);
        self.brought.configure(Arc::clone(&config.pools), config.places);
        self.remove_missing(&config.zones, report);
        for zone in config.zones {
            match self.entries.position(&zone.name) {
                Some(index) => {
                    if self.entries[index].incarnation != 0 {
                        self.entries[index].incarnation = 0; // a catalog had brought it
                        self.entries.renew_copies();
                    }
                    self.configure_entry(index, zone);
                }
                None => {
                    let slot = self.take_slot();
                    self.entries.push(self.new_entry(zone, slot, false));
                }
            }
        }
        self.tell_copies();
        true
    }

    /// Gives a zone that is here another configuration.
    pub(super) fn configure_entry(&mut self, index: usize, zone: ZoneConfig) {
        if self.entries[index].zone == zone {
            return;
        }
        self.entries.renew_copies();
        let entry = &mut self.entries[index];
        let was_private = entry.zone.is_private();
        let has_other_keys = entry.zone.signing != zone.signing;
        entry.zone = zone;
        if has_other_keys {
            entry.signer = entry.zone.signing.as_deref().map(pools::signer);
        }
        if has_other_keys || (was_private != entry.zone.is_private() && !entry.expired) {
            self.publish_again(index);
        }
    }

    /// Whether something is done aside that is looked at again and again.
    fn is_waiting(&self) -> bool {
        self.folding.is_some()
            || self.is_late()
            || self.asking.is_going_on()
            || self.brought.chart.is_being_read()
    }

    /// Stops serving the zones that are no longer configured; those that a catalog has brought stay with that.
    fn remove_missing(&mut self, zones: &[ZoneConfig], report: &mut ReloadReport) {
        let configured: HashSet<&[u8]> = zones.iter().map(key).collect();
        let is_gone = |entry: &Entry| entry.incarnation == 0 && !configured.contains(key(&entry.zone));
        for name in self.remove(is_gone, "no longer configured") {
            report.zones.push(ZoneReload { name, outcome: Outcome::Removed });
        }
    }

    /// Stops serving zones, and forgets all that there is of them; their names.
    pub(super) fn remove(&mut self, is_gone: impl Fn(&Entry) -> bool, why: &str) -> Vec<String> {
        let unkept: Vec<NameBuf> =
            self.unkept.iter().map(|index| self.entries[*index].zone.name.clone()).collect();
        let gone = self.entries.extract(is_gone);
        if gone.is_empty() {
            return Vec::new();
        }
        self.unkept = unkept.iter().filter_map(|name| self.entries.position(name)).collect();
        // Out of the directory first: in between, the zone's names would get SERVFAIL.
        self.publish_directory();
        let mut names = Vec::new();
        for entry in gone {
            let name = entry.zone.name.to_string();
            self.generation = self.publisher.publish(entry.slot, None);
            self.free_slots.push(entry.slot);
            self.transfers.notifications.forget(entry.zone.name.as_name());
            self.archive.remove(&entry.zone);
            self.forget_asked(&entry.zone.name, why);
            tracing::info!("zone {name}: {why}, and no longer served");
            names.push(name);
        }
        names
    }

    pub(super) fn take_slot(&mut self) -> SlotIndex {
        // A slot that was freed can be used at once: readers take in changes in their order.
        self.free_slots.pop().unwrap_or_else(|| {
            self.slots += 1;
            SlotIndex(self.slots - 1)
        })
    }
}

/// The name that tells zones apart; configured names are in lower case.
fn key(zone: &ZoneConfig) -> &[u8] {
    zone.name.as_name().as_wire()
}

/// What has become of a zone, for who has asked for a reload.
pub(super) fn outcome(name: &NameBuf, result: &Result<Change, ZoneErrors>) -> ZoneReload {
    match result {
        Ok(Change { from_serial, to_serial, took }) => {
            let took_ms = took.as_millis() as u64; // no compilation takes 500 million years
            let outcome = match from_serial {
                Some(_) => Outcome::Reloaded { from_serial: *from_serial, to_serial: *to_serial, took_ms },
                None => Outcome::Added { serial: *to_serial, took_ms },
            };
            ZoneReload { name: name.to_string(), outcome }
        }
        Err(errors) => failed(name, errors),
    }
}

pub(super) fn failed(name: &NameBuf, errors: &ZoneErrors) -> ZoneReload {
    let messages = errors.errors.iter().take(REPORTED_MAX).cloned().collect();
    ZoneReload { name: name.to_string(), outcome: Outcome::Failed { count: errors.errors.len(), messages } }
}

/// What of the report answers a request.
fn part_for(zone: Option<&NameBuf>, report: &ReloadReport) -> ReloadReport {
    let Some(name) = zone else { return report.clone() };
    let name = name.to_string();
    let zones = report.zones.iter().filter(|zone| zone.name == name).cloned().collect();
    ReloadReport { refused: Vec::new(), zones }
}

fn summarize(report: &ReloadReport, waiting: usize) {
    for line in &report.refused {
        tracing::error!("reload refused: {line}");
    }
    if waiting > 0 {
        tracing::info!("reload: {waiting} zones wait for what their commands say");
    }
    if report.zones.is_empty() {
        return;
    }
    let count =
        |matches: fn(&Outcome) -> bool| report.zones.iter().filter(|zone| matches(&zone.outcome)).count();
    let loaded = count(|outcome| matches!(outcome, Outcome::Reloaded { .. } | Outcome::Added { .. }));
    let unchanged = count(|outcome| *outcome == Outcome::Unchanged);
    let removed = count(|outcome| *outcome == Outcome::Removed);
    let failed = count(|outcome| matches!(outcome, Outcome::Failed { .. }));
    tracing::info!("reload done: {loaded} loaded, {unchanged} unchanged, {removed} removed, {failed} failed");
}
