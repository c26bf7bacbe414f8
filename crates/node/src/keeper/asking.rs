//! Asking operators' commands what they say of a version that has passed all other rules.
//!
//! A command may take as long as it is allowed to, a minute by default, and nothing else waits for that: it is asked on a thread of its
//! own, while its version waits and the one before is served. A later version of the zone takes the place of the one that waits, and so
//! does what an operator decides. Who wants to know what has become of a version is told when the command has said it.

use super::admission::Judged;
use super::copies::InstallReply;
use super::publish::PublishReply;
use super::reload::{self, PendingReport};
use super::{Change, Job, Keeper};
use crate::gate::{Question, Verdict};
use crate::zones::load::{Loaded, ZoneErrors};
use crate::zones::parallel;
use crate::zones::source;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use table::Table;
use wire::NameBuf;

/// How many commands run at a time. Most wait for something most of the time, and those that compute yield to everybody; what more
/// would bring are as many processes as zones when thousands are reloaded together.
const ASKED_MAX: usize = 8;

/// How often it is looked whether a command has said something, while one is asked: a small part of the time that a process takes.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(10);

type Key = Box<[u8]>;

/// The versions that wait for what commands say, at most one of each zone.
pub(super) struct Asking {
    waiting: HashMap<Key, Waiting>,
    /// Whose command is to be asked, in the order in which they came; some may wait no longer.
    next: VecDeque<(Key, u64)>,
    /// How many commands are asked now, also of versions that wait no longer.
    asked: usize,
    /// Of the last version that has begun to wait.
    number: u64,
    sender: SyncSender<(Key, u64, Verdict)>,
    said: Receiver<(Key, u64, Verdict)>,
}

/// A version that waits.
struct Waiting {
    /// Tells it from others of the zone.
    number: u64,
    job: Job,
    loaded: Loaded,
    question: Option<Question>,
    incarnation: u64,
    askers: Vec<Asker>,
}

/// Who wants to know what becomes of a version.
pub(super) enum Asker {
    /// Who has transferred it.
    Install(InstallReply),
    /// Who has asked for a reload.
    Report(PendingReport),
    /// Who has published it.
    Publish(PublishReply),
}

/// A version of which is known what becomes of it.
struct Judgement {
    index: usize,
    job: Job,
    result: Result<Change, ZoneErrors>,
    askers: Vec<Asker>,
}

impl Default for Asking {
    fn default() -> Asking {
        let (sender, said) = sync_channel(ASKED_MAX);
        Asking { waiting: HashMap::new(), next: VecDeque::new(), asked: 0, number: 0, sender, said }
    }
}

impl Asking {
    /// Whether any command is asked.
    pub(super) fn is_going_on(&self) -> bool {
        self.asked > 0
    }

    /// The version of a zone that waits.
    pub(super) fn table(&self, zone: &NameBuf) -> Option<&Table> {
        self.waiting.get(zone.as_name().as_wire()).map(|waiting| &*waiting.loaded.table)
    }

    /// Whether the version that waits was made from the files of its zone as they are now.
    pub(super) fn is_current(&self, zone: &NameBuf) -> bool {
        self.waiting.get(zone.as_name().as_wire()).is_some_and(|Waiting { job, loaded, .. }| {
            !loaded.files.is_empty()
                && source::source_stamp_now(&job.zone, &loaded.files) == Some(loaded.table.source())
        })
    }

    /// Adds who wants to know what becomes of the version of a zone that waits; gives it back where none does.
    pub(super) fn wants_to_know(&mut self, zone: &NameBuf, asker: Asker) -> Result<(), Asker> {
        match self.waiting.get_mut(zone.as_name().as_wire()) {
            Some(waiting) => {
                waiting.askers.push(asker);
                Ok(())
            }
            None => Err(asker),
        }
    }

    /// Lets a version wait. Whoever waited for one that it takes the place of is given.
    fn put(&mut self, job: Job, loaded: Loaded, question: Question, incarnation: u64) -> Vec<Asker> {
        let key: Key = job.zone.name.as_name().as_wire().into();
        if let Some(waiting) = self.waiting.get_mut(&key)
            && waiting.loaded.table.content() == loaded.table.content()
            && waiting.job.zone == job.zone
            && waiting.job.standing.as_ref().map(|table| table.content())
                == job.standing.as_ref().map(|table| table.content())
        {
            // The same once more: who reloads often shall not begin the command anew each time.
            (waiting.job, waiting.loaded) = (job, loaded);
            return Vec::new();
        }
        self.number += 1;
        self.next.push_back((key.clone(), self.number));
        let (number, question) = (self.number, Some(question));
        let waiting = Waiting { number, job, loaded, question, incarnation, askers: Vec::new() };
        self.waiting.insert(key, waiting).map_or_else(Vec::new, |before| before.askers)
    }

    /// What was said since this was last asked, of versions that wait still.
    fn judged(&mut self) -> Vec<(Waiting, Verdict)> {
        let mut judged = Vec::new();
        while let Ok((key, number, verdict)) = self.said.try_recv() {
            self.asked -= 1;
            if self.waiting.get(&key).is_some_and(|waiting| waiting.number == number) {
                judged.extend(self.waiting.remove(&key).map(|waiting| (waiting, verdict)));
            }
        }
        judged
    }

    /// Asks commands as far as there is room.
    fn begin(&mut self) {
        while self.asked < ASKED_MAX
            && let Some((key, number)) = self.next.pop_front()
        {
            let waiting = self.waiting.get_mut(&key).filter(|waiting| waiting.number == number);
            let Some(question) = waiting.and_then(|waiting| waiting.question.take()) else { continue };
            let sender = self.sender.clone();
            let of_thread = key.clone();
            let work = move || {
                parallel::yield_to_workers();
                let verdict = question.ask();
                // Nobody waits for it any more when the node is ending.
                let _gone = sender.send((of_thread, number, verdict));
            };
            match std::thread::Builder::new().name("ask".to_owned()).spawn(work) {
                Ok(_) => self.asked += 1,
                Err(error) => {
                    // The version before goes on being served, and the next reload or round tries again.
                    tracing::error!("no thread to ask a zone's `command` on: {error}");
                    self.waiting.remove(&key);
                }
            }
        }
    }

    /// Forgets the version of a zone that waits; gives who waits for it.
    fn forget(&mut self, zone: &NameBuf) -> Vec<Asker> {
        self.waiting.remove(zone.as_name().as_wire()).map_or_else(Vec::new, |waiting| waiting.askers)
    }
}

impl Keeper {
    /// Lets a version wait until the command of its zone was asked. The one before is served meanwhile; after a start that
    /// is the one in the state folder.
    pub(super) fn let_wait(&mut self, job: &Job, loaded: Loaded, stored: Option<Arc<Table>>) {
        let mut job = job.again();
        if let Some(stored) = stored {
            self.generation = self.entries[job.entry].go_on_with(Arc::clone(&stored), &mut self.publisher);
            job.standing = Some(stored);
        }
        let (name, serial) = (job.zone.name.clone(), loaded.table.serial());
        tracing::info!("zone {name}: serial {serial} waits for what `command` says of it");
        self.entries.touch(job.entry);
        let incarnation = self.entries[job.entry].incarnation;
        let question = job.question(&loaded, self.state.as_deref());
        let before = self.asking.put(job, loaded, question, incarnation);
        self.turn_away(
            &name,
            before,
            &format!("serial {serial} has come before its command has said anything"),
        );
    }

    /// Takes in what commands have said, and asks the next.
    pub(super) fn ask(&mut self) {
        let judged = self.asking.judged();
        self.asking.begin();
        if judged.is_empty() {
            return;
        }
        self.board.set_reloading(true);
        let judgements: Vec<Judgement> =
            judged.into_iter().filter_map(|(waiting, verdict)| self.judge_asked(waiting, verdict)).collect();
        self.list_more();
        self.serve();
        self.board.set_reloading(false);
        let mut is_catalog = false;
        for Judgement { index, job, result, askers } in judgements {
            is_catalog |= job.zone.follow.is_some();
            for asker in askers {
                match asker {
                    Asker::Install(reply) => {
                        self.answer_install(index, reply, result.as_ref().err().cloned())
                    }
                    Asker::Report(report) => report.add(reload::outcome(&job.zone.name, &result)),
                    Asker::Publish(reply) => reply.tell(&result),
                }
            }
        }
        self.hand_over();
        if is_catalog {
            self.follow_catalogs();
        }
    }

    fn judge_asked(&mut self, waiting: Waiting, verdict: Verdict) -> Option<Judgement> {
        let Waiting { mut job, loaded, incarnation, askers, .. } = waiting;
        let is_it = |index: &usize| {
            self.entries[*index].zone == job.zone && self.entries[*index].incarnation == incarnation
        };
        let name = job.zone.name.clone();
        let Some(index) = self.entries.position(&name).filter(is_it) else {
            self.turn_away(&name, askers, "it is configured otherwise now");
            return None;
        };
        job.entry = index;
        let judged = match verdict {
            Verdict::Admitted | Verdict::Unasked => Judged::Admitted(loaded, None),
            Verdict::Stopped(stop) => Judged::Stopped(loaded, stop, None),
        };
        let result = self.take_in(&job, Ok(judged))?;
        Some(Judgement { index, job, result, askers })
    }

    /// Forgets the version of a zone that waits, for this reason.
    pub(super) fn forget_asked(&mut self, zone: &NameBuf, why: &str) {
        if self.asking.table(zone).is_none() {
            return;
        }
        if let Some(index) = self.entries.position(zone) {
            self.entries.touch(index);
        }
        let askers = self.asking.forget(zone);
        self.turn_away(zone, askers, why);
    }

    fn turn_away(&self, zone: &NameBuf, askers: Vec<Asker>, why: &str) {
        for asker in askers {
            let errors = ZoneErrors::one(format!("zone {zone}: {why}"));
            match asker {
                Asker::Install(reply) => reply.fail(errors),
                Asker::Report(report) => report.add(reload::failed(zone, &errors)),
                Asker::Publish(reply) => reply.tell(&Err(errors)),
            }
        }
    }
}
