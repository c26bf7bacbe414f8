//! The zones that are copies of a primary's: taking new versions into service, and expired ones out of it.

use super::Keeper;
use super::asking::Asker;
use crate::config::{OnExpiry, Primary, SecondaryConfig, ZoneConfig};
use crate::gate::Serials;
use crate::progress::Progress;
use crate::zones::load::{Images, ZoneErrors};
use crate::zones::parallel::Priority;
use crate::zones::source;
use crate::zones::transferred::{Confirmations, Sent, Transferred};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use table::Table;
use table::publish::Standing;
use tokio::sync::{oneshot, watch};
use transfer::Soa;
use wire::{NameBuf, RecordType};
use zone::{Difference, RecordList};

/// A zone that is a copy, as it is configured, and the version that there is of it.
#[derive(Clone)]
pub(crate) struct ConfiguredCopy {
    /// Its apex.
    pub(crate) name: NameBuf,
    /// How it is kept.
    pub(crate) config: Arc<SecondaryConfig>,
    /// What the version says that is served, or was until it expired.
    pub(crate) soa: Option<Soa>,
    /// Whether that has expired, and was not confirmed since.
    pub(crate) expired: bool,
    /// Tells it from a zone of the same name and configuration that was there before, and was begun anew since.
    pub(crate) incarnation: u64,
    /// How often an operator has put another version in its place: then who keeps it has to go on from that.
    pub(crate) revision: u64,
}

/// A version that a primary has sent.
pub(crate) struct Install {
    /// Of which zone.
    pub(crate) zone: NameBuf,
    /// Its records, or what is other about them than about those of the version that stands.
    pub(crate) sent: Sent,
    /// Who sent it, as it was configured when it did.
    pub(crate) primary: Primary,
    /// Whether its serial matters.
    pub(crate) serials: Serials,
    /// Who wants to know what came of it: the SOA record of what is served now, or why it isn't.
    pub(crate) reply: oneshot::Sender<Result<Soa, ZoneErrors>>,
}

/// Who wants to know what has become of a version that was sent.
pub(super) struct InstallReply {
    reply: oneshot::Sender<Result<Soa, ZoneErrors>>,
    /// What was sent, where that is not the whole zone.
    differences: Option<Arc<[Difference]>>,
}

impl InstallReply {
    /// It is not served.
    pub(super) fn fail(self, errors: ZoneErrors) {
        // Whoever asked may have given up.
        let _gone = self.reply.send(Err(errors));
    }
}

/// What has become of a copy.
pub(crate) struct Judgement {
    /// Of which zone.
    pub(crate) zone: NameBuf,
    /// What.
    pub(crate) verdict: Verdict,
}

/// What has become of a copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// It was not confirmed for too long.
    Expired,
    /// It was, and now a primary has confirmed it.
    Confirmed,
    /// It was, and by the bounds that it has now it has not expired.
    Extended,
}

impl Keeper {
    /// The zones that are copies, now and after each change of the configuration.
    pub(crate) fn copies(&self) -> watch::Receiver<Arc<[ConfiguredCopy]>> {
        self.copies.subscribe()
    }

    /// Whether any zone is a copy, or is published, and may so come later.
    pub(crate) fn may_receive(&self) -> bool {
        self.entries.iter().any(|entry| entry.zone.is_received() || entry.zone.follow.is_some())
    }

    /// Where it is kept when copies were last confirmed.
    pub(crate) fn confirmations(&self) -> Option<Confirmations> {
        self.state.as_ref().map(|state| state.confirmations())
    }

    /// Tells which zones are copies, if that has changed.
    pub(super) fn tell_copies(&mut self) {
        if !self.entries.take_new_copies() {
            return;
        }
        let copies = self.entries.iter().filter_map(|entry| {
            let config = Arc::clone(entry.zone.secondary()?);
            let table = entry.withheld.as_ref().or(self.publisher.table(entry.slot));
            let soa =
                table.filter(|table| is_transferred(&entry.zone, table)).and_then(|table| soa_of(table));
            let (name, incarnation, revision) = (entry.zone.name.clone(), entry.incarnation, entry.revision);
            let expired = entry.expired;
            Some(ConfiguredCopy { name, config, soa, expired, incarnation, revision })
        });
        self.copies.send_replace(copies.collect());
    }

    /// Takes out of service, before anything is served, which of the entries from this one on expired while the node was away.
    pub(super) fn judge_by_age(&mut self, from: usize) {
        let Some(confirmations) = self.confirmations() else { return };
        for index in from..self.entries.len() {
            let entry = &self.entries[index];
            let Some(config) = entry.zone.secondary() else { continue };
            let Some(soa) = self.publisher.table(entry.slot).and_then(|table| soa_of(table)) else {
                continue;
            };
            let clamp = config.clamps.expire;
            let expire: Duration = soa.expire.min(clamp.max).max(clamp.min);
            if confirmations.age(&entry.zone.name) >= expire {
                self.expire(index);
            }
        }
    }

    fn expire(&mut self, index: usize) {
        let entry = &mut self.entries[index];
        let Some(config) = entry.zone.secondary() else { return };
        // One that is withheld is judged again where something else is to become of it now.
        let table = entry.withheld.take().or(self.publisher.table(entry.slot).cloned());
        let Some(table) = table else { return };
        entry.expired = true;
        let name = &entry.zone.name;
        let standing = match config.on_expiry {
            OnExpiry::Servfail => {
                tracing::error!(
                    "zone {name}: expired, no primary has confirmed it for as long as its SOA record allows; its names get \
                     SERVFAIL until one does"
                );
                entry.withheld = Some(table);
                Standing::Expired
            }
            OnExpiry::Serve => {
                tracing::error!(
                    "zone {name}: expired, no primary has confirmed it for as long as its SOA record allows; it goes on being \
                     served, marked as stale"
                );
                entry.stale(table)
            }
        };
        self.generation = self.publisher.publish_standing(entry.slot, standing);
    }

    /// Takes expired zones out of service, and those that were confirmed back into it.
    pub(super) fn judge(&mut self, judgements: Vec<Judgement>) {
        if judgements.is_empty() {
            return;
        }
        self.board.set_reloading(true);
        let mut is_catalog = false;
        for Judgement { zone, verdict } in judgements {
            let Some(index) = self.entries.position(&zone) else { continue };
            is_catalog |= self.entries[index].zone.follow.is_some();
            match verdict {
                Verdict::Expired => self.expire(index),
                Verdict::Confirmed => self.revive(index, "a primary has confirmed it again"),
                Verdict::Extended => self.revive(index, "it may be older now, and has not expired"),
            }
        }
        self.serve();
        self.board.set_reloading(false);
        if is_catalog {
            self.follow_catalogs();
        }
    }

    fn revive(&mut self, index: usize, why: &str) {
        let entry = &mut self.entries[index];
        let table = entry.withheld.take().or(self.publisher.table(entry.slot).cloned());
        let Some(table) = table.filter(|_| entry.expired) else { return };
        entry.expired = false;
        tracing::info!("zone {}: {why}; it is served as before", entry.zone.name);
        self.generation = self.publisher.publish_standing(entry.slot, entry.standing(table));
    }

    /// Checks and compiles what primaries have sent, and takes what is good into service.
    pub(super) fn install(&mut self, installs: Vec<Install>) {
        if installs.is_empty() {
            return;
        }
        // Also for the agent: while this is so, its probes take either serial for right.
        self.board.set_reloading(true);
        let mut is_catalog = false;
        let (mut small, mut jobs) = (Vec::new(), Vec::new());
        let mut replies = HashMap::new();
        for Install { zone, sent, primary, serials, reply } in installs {
            // A zone of the same name that is another's now, as after a move to another catalog, has other primaries; and what was
            // good enough for the key and the certificates of before may not be so for those of now.
            let is_its = |config: &SecondaryConfig| config.primaries.contains(&primary);
            let is_it =
                |index: &usize| self.entries[*index].zone.secondary().is_some_and(|config| is_its(config));
            // No longer configured so: who waits learns that by the reply that is dropped.
            let Some(index) = self.entries.position(&zone).filter(is_it) else {
                tracing::info!(
                    "zone {zone}: what {} sent is not taken: the zone, or that primary, is configured otherwise by now",
                    primary.address
                );
                continue;
            };
            let mut job = self.job(index, Images::PassOver);
            job.serials = serials;
            let standing = job.standing.clone();
            is_catalog |= self.entries[index].zone.follow.is_some();
            let differences = sent.differences();
            job.transferred = Mutex::new(Some(Transferred { sent, standing, primary: primary.address }));
            if differences.is_some() {
                small.push(job)
            } else {
                jobs.push(job)
            }
            replies.insert(index, InstallReply { reply, differences });
        }
        let (mut errors, mut waiting) = (HashMap::new(), HashSet::new());
        // What costs no more than what it changes doesn't wait for a CPU that has nothing else to do.
        for (jobs, priority) in [(small, Priority::Normal), (jobs, Priority::Idle)] {
            self.load(&jobs, priority, &Progress::nowhere(), |job, result| match result {
                Some(Ok(_)) => {}
                Some(Err(failed)) => drop(errors.insert(job.entry, failed.clone())),
                None => drop(waiting.insert(job.entry)),
            });
        }
        self.list_more();
        self.serve();
        self.board.set_reloading(false);
        for (index, reply) in replies {
            if waiting.contains(&index) {
                let asker = Asker::Install(reply);
                // Else another has taken its place since, and this one's reply is dropped.
                let _replaced = self.asking.wants_to_know(&self.entries[index].zone.name, asker);
            } else {
                self.answer_install(index, reply, errors.remove(&index));
            }
        }
        // This node may be a primary for others in turn.
        self.hand_over();
        if is_catalog {
            self.follow_catalogs();
        }
    }

    /// Says what has become of a version that a primary has sent.
    pub(super) fn answer_install(&mut self, index: usize, reply: InstallReply, failed: Option<ZoneErrors>) {
        let InstallReply { reply, differences } = reply;
        let table = self.publisher.table(self.entries[index].slot);
        let result = match (failed, table.and_then(|table| soa_of(table))) {
            (Some(failed), _) => Err(failed),
            (None, Some(soa)) => Ok(soa),
            (None, None) => Err(ZoneErrors::one("it has no SOA record".to_owned())),
        };
        if let (Ok(_), Some(differences)) = (&result, differences) {
            self.accepted(index, &differences);
            self.entries[index].versions.came_by(&differences);
            let name = self.entries[index].zone.name.clone();
            self.changed_while_folding(&name, &differences);
            if let Some(replaced) = self.changed.get_mut(&index) {
                replaced.differences = Some(differences);
            }
        }
        // Whoever asked may have given up; the zone is served all the same.
        let _gone = reply.send(result);
    }

    /// What has led from the version of a zone before to the one that is served now: a primary has sent it, and it was good.
    fn accepted(&self, index: usize, differences: &[Difference]) {
        let count = |list: fn(&Difference) -> &RecordList| -> usize {
            differences.iter().map(|difference| list(difference).len()).sum()
        };
        let (removed, added) =
            (count(|difference| &difference.removed), count(|difference| &difference.added));
        tracing::info!(
            "zone {}: changed by {} differences, {removed} records removed and {added} added",
            self.entries[index].zone.name,
            differences.len()
        );
    }
}

fn is_transferred(zone: &ZoneConfig, table: &Table) -> bool {
    table.source() == source::transfer_stamp(zone)
}

/// The SOA record of a table.
fn soa_of(table: &Table) -> Option<Soa> {
    // The numbers end the record, whatever its names are compressed to.
    table.apex().rrset(RecordType::SOA).and_then(|soa| Soa::from_rdata(soa.records()))
}
