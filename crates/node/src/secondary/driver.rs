//! The loop that keeps the machines of all zones going.

use super::lanes::{Lanes, ROUNDS_MAX};
use super::latency::Noticed;
use super::notices::{Heard, Notice, zone_of};
use super::round::{self, Around, Outcome, Subject};
use super::{Command, Counts, Notices, Supplies};
use crate::config::SecondaryConfig;
use crate::keeper::{self, Board, ConfiguredCopy, Judgement, Verdict};
use crate::status::{self, CopyStatus};
use crate::zones::transferred::Confirmations;
use rustix::time::{ClockId, clock_gettime};
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, SystemTime};
use table::publish::Generation;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use transfer::refresh::{Asker, Copy, End, Machine, Moment, Purpose};
use wire::NameBuf;

/// How many rounds transfer or are compiled at a time: those of four primaries that do so as much as they may. More would be more
/// memory, fewer would let three primaries that hang keep all others waiting.
const TRANSFERS_MAX: usize = 40;
/// How long the loop waits at most: timers stand still while the machine is suspended, and copies age. It is how long after that
/// an expired one is served at most; a wake-up a minute costs nothing.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How long until a full queue of the keeper is tried again, and until it is looked again whether a worker that is late has come.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(20);
/// How many operators wait for what comes of one zone.
const WAITING_MAX: usize = 64;

type Key = Box<[u8]>;

/// The state of all zones.
pub(super) struct Driver {
    /// By [`since_boot`].
    start: Duration,
    start_wall: SystemTime,
    zones: HashMap<Key, Zone>,
    /// When zones are due, each once at most.
    due: BTreeSet<(Moment, Key)>,
    /// Zones whose round is due and has no place yet.
    lanes: Lanes,
    rounds: JoinSet<Ended>,
    /// What the keeper has to be told, in its order.
    outbox: VecDeque<Judgement>,
    /// Tells a zone from one of the same name that was configured before.
    incarnations: u64,
    around: Arc<Around>,
    copies: watch::Receiver<Arc<[ConfiguredCopy]>>,
    keeper: SyncSender<keeper::Request>,
    board: Arc<Board>,
    confirmations: Option<Confirmations>,
    heard: Heard,
    notices: Arc<Notices>,
    counts: Arc<Counts>,
    /// Changes that not all workers serve yet, and when the NOTIFY came that led to each.
    unserved: Vec<(Generation, Moment)>,
}

/// A round that has ended.
struct Ended {
    key: Key,
    incarnation: u64,
    /// Whom it was to ask, by index and address.
    asked: Vec<(usize, SocketAddr)>,
    outcome: Outcome,
}

/// The primary in whose lane a zone waits: of those that it would ask now, the one with the fewest before it that is not silent.
fn leading(lanes: &Lanes, zone: &Zone, now: Moment) -> Option<SocketAddr> {
    let whom = zone.machine.whom(now);
    let all =
        whom.iter().filter_map(|index| zone.config.primaries.get(*index)).map(|primary| primary.address);
    all.min_by_key(|primary| lanes.burden(*primary))
}

/// When a primary last confirmed a copy.
struct Confirmed {
    /// By the wall clock, for operators; it may be set.
    at: Option<SystemTime>,
    /// How long before `noted` that was.
    age: Duration,
    noted: Moment,
}

impl Confirmed {
    /// So long before now.
    fn before(age: Duration, now: Moment) -> Confirmed {
        Confirmed { at: SystemTime::now().checked_sub(age), age, noted: now }
    }

    fn age(&self, now: Moment) -> Duration {
        self.age.saturating_add(now.saturating_sub(self.noted))
    }
}

/// The time since the machine was started, with that in which it was suspended: a copy ages then, too.
fn since_boot() -> Duration {
    // It is never negative.
    clock_gettime(ClockId::Boottime).try_into().unwrap_or_default()
}

struct Zone {
    name: NameBuf,
    config: Arc<SecondaryConfig>,
    machine: Machine,
    incarnation: u64,
    /// That of the zone as the keeper has it.
    incarnation_kept: u64,
    /// See [`ConfiguredCopy::revision`].
    revision: u64,
    is_waiting: bool,
    /// Its place in [`Driver::due`].
    scheduled: Option<Moment>,
    confirmed: Option<Confirmed>,
    failure: Option<String>,
    /// Who wants to know what comes of the round that begins next, and of the one that is under way.
    askers: Vec<oneshot::Sender<Result<String, String>>>,
    asked: Vec<oneshot::Sender<Result<String, String>>>,
    noticed: Noticed,
}

impl Driver {
    pub(super) fn new(supplies: Supplies, notices: Arc<Notices>, counts: Arc<Counts>) -> Driver {
        let Supplies { copies, keeper, board, confirmations, heard } = supplies;
        let around = Around {
            keeper: keeper.clone(),
            board: Arc::clone(&board),
            transfers: Semaphore::new(TRANSFERS_MAX),
            budget: Arc::default(),
            confirmations: confirmations.clone(),
            counts: Arc::clone(&counts),
        };
        Driver {
            start: since_boot(),
            start_wall: SystemTime::now(),
            zones: HashMap::new(),
            due: BTreeSet::new(),
            lanes: Lanes::default(),
            rounds: JoinSet::new(),
            outbox: VecDeque::new(),
            incarnations: 0,
            around: Arc::new(around),
            copies,
            keeper,
            board,
            confirmations,
            heard,
            notices,
            counts,
            unserved: Vec::new(),
        }
    }

    /// Keeps all copies up to date until nobody can ask for anything any more.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        self.reconfigure();
        loop {
            let now = self.now();
            self.advance(now);
            self.send();
            self.measure_late(now);
            let wake_at = self.wake_at();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => return,
                },
                Some(notice) = self.heard.recv() => self.notice(&notice),
                Ok(()) = self.copies.changed() => self.reconfigure(),
                Some(ended) = self.rounds.join_next(), if !self.rounds.is_empty() => {
                    // A panic aborts the process; nothing else ends a task early.
                    if let Ok(ended) = ended {
                        self.finish(ended);
                    }
                }
                () = sleep_until(wake_at) => {}
            }
        }
    }

    fn now(&self) -> Moment {
        since_boot().saturating_sub(self.start)
    }

    fn wake_at(&self) -> Instant {
        let wait =
            self.due.first().map_or(LOOK_EVERY, |(due, _)| due.saturating_sub(self.now()).min(LOOK_EVERY));
        let is_pending = !self.outbox.is_empty() || !self.unserved.is_empty();
        Instant::now() + if is_pending { wait.min(ASK_AGAIN_AFTER) } else { wait }
    }

    /// Does what is due by now, as far as there is place.
    fn advance(&mut self, now: Moment) {
        while self.due.first().is_some_and(|(due, _)| *due <= now) {
            let Some((_, key)) = self.due.pop_first() else { return };
            let Some(zone) = self.zones.get_mut(&key) else { continue };
            zone.scheduled = None;
            if zone.machine.expire(now) {
                self.outbox.push_back(Judgement { zone: zone.name.clone(), verdict: Verdict::Expired });
                self.tell(&key);
            }
            let Some(zone) = self.zones.get_mut(&key) else { continue };
            if !zone.is_waiting && zone.machine.next_round().is_some_and(|next| next <= now) {
                zone.is_waiting = true;
                let has_askers = !zone.askers.is_empty();
                match leading(&self.lanes, zone, now) {
                    Some(primary) if has_askers => self.lanes.wait_first(key.clone(), primary),
                    Some(primary) => self.lanes.wait(key.clone(), primary),
                    None => {}
                }
            }
            self.schedule(&key, now);
        }
        while self.rounds.len() < ROUNDS_MAX {
            let Some(key) = self.lanes.next() else { return };
            self.begin(&key, now);
        }
    }

    /// Notes when a zone is due next; one whose round waits for its place is not due for that.
    fn schedule(&mut self, key: &Key, now: Moment) {
        let Some(zone) = self.zones.get_mut(key) else { return };
        if let Some(before) = zone.scheduled.take() {
            self.due.remove(&(before, key.clone()));
        }
        let expires = zone.machine.expires().filter(|_| !zone.machine.is_expired());
        let round = zone.machine.next_round().filter(|_| !zone.is_waiting);
        if let Some(due) = expires.into_iter().chain(round).min() {
            let due = due.max(now);
            zone.scheduled = Some(due);
            self.due.insert((due, key.clone()));
        }
    }

    fn begin(&mut self, key: &Key, now: Moment) {
        let Some(zone) = self.zones.get_mut(key) else { return };
        zone.is_waiting = false;
        let Some(mut round) = zone.machine.begin(now) else { return };
        let at = |index: &usize| zone.config.primaries.get(*index).map(|primary| primary.address);
        // A primary that hangs is left out as long as so many wait for it already, and another is there to be asked.
        let is_free = |index: &usize| at(index).is_some_and(|primary| !self.lanes.is_stuck(primary));
        let free: Vec<usize> = round.ask.iter().copied().filter(is_free).collect();
        if !free.is_empty() {
            round.ask = free;
        }
        let asked: Vec<(usize, SocketAddr)> =
            round.ask.iter().filter_map(|index| Some((*index, at(index)?))).collect();
        let places = asked.iter().map(|(index, primary)| (*index, self.lanes.begin(*primary))).collect();
        zone.asked.append(&mut zone.askers);
        zone.noticed.begin();
        let subject = Subject { name: zone.name.clone(), config: Arc::clone(&zone.config), round, places };
        let (around, incarnation, key_of) = (Arc::clone(&self.around), zone.incarnation, key.clone());
        self.rounds.spawn(async move {
            let outcome = round::make(around, subject).await;
            Ended { key: key_of, incarnation, asked, outcome }
        });
        self.tell(key);
    }

    fn finish(&mut self, ended: Ended) {
        let now = self.now();
        let Ended { key, incarnation, asked, outcome: Outcome { report, said, answered } } = ended;
        for (index, primary) in asked {
            if let Some(has_answered) = answered.get(&index) {
                self.lanes.note(primary, !has_answered);
            }
            self.lanes.end(primary);
            self.place_again(primary, now);
        }
        let key = &key;
        let Some(zone) = self.zones.get_mut(key).filter(|zone| zone.incarnation == incarnation) else {
            return;
        };
        let had_expired = zone.machine.is_expired();
        zone.machine.finish(now, &report);
        let count = match report.end {
            End::Current => &self.counts.current,
            End::Renewed(_) => &self.counts.renewed,
            End::Failed => &self.counts.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
        if let Some((noticed, served)) = zone.noticed.finish(&report.end, now) {
            let (generation, of_all) = self.board.generations();
            if of_all < generation {
                self.unserved.push((generation, noticed));
            } else {
                self.counts.latencies.observe(served.saturating_sub(noticed));
            }
        }
        if report.end != End::Failed {
            zone.confirmed = Some(Confirmed::before(Duration::ZERO, now));
        }
        // Whatever came of it: that it expired may reach the keeper after the version that this round has brought.
        if had_expired && report.end != End::Failed {
            self.outbox.push_back(Judgement { zone: zone.name.clone(), verdict: Verdict::Confirmed });
        }
        if let Err(failure) = &said {
            // Every time: rounds that fail are a retry interval apart.
            tracing::warn!("zone {}: not refreshed: {failure}", zone.name);
        }
        zone.failure = said.as_ref().err().cloned();
        for asker in zone.asked.drain(..) {
            let _gone = asker.send(said.clone());
        }
        self.schedule(key, now);
        self.tell(key);
    }

    /// Measures what the last worker has come to serve by now.
    fn measure_late(&mut self, now: Moment) {
        let (_, of_all) = self.board.generations();
        for (_, noticed) in self.unserved.extract_if(.., |(generation, _)| *generation <= of_all) {
            self.counts.latencies.observe(now.saturating_sub(noticed));
        }
    }

    /// Lets the zones that wait for a primary that has become silent wait for another, if they have one.
    fn place_again(&mut self, primary: SocketAddr, now: Moment) {
        for key in self.lanes.take_stranded(primary) {
            let Some(zone) = self.zones.get(&key) else { continue };
            if let Some(primary) = leading(&self.lanes, zone, now) {
                self.lanes.wait(key, primary);
            }
        }
    }

    /// Tells the keeper what it has to be told, as far as it has room.
    fn send(&mut self) {
        while let Some(judgement) = self.outbox.pop_front() {
            match self.keeper.try_send(keeper::Request::Judge(judgement)) {
                Ok(()) => {}
                Err(TrySendError::Full(keeper::Request::Judge(back))) => {
                    self.outbox.push_front(back);
                    return;
                }
                // The node is ending.
                Err(_) => return,
            }
        }
    }

    fn command(&mut self, command: Command) {
        let Command { zone: name, purpose, reply } = command;
        let key: Key = name.as_name().as_wire().into();
        let now = self.now();
        let Some(zone) = self.zones.get_mut(&key) else {
            let said =
                format!("{name} is no secondary zone here; `starling ctl zones` lists the zones there are");
            let _gone = reply.send(Err(said));
            return;
        };
        if zone.askers.len() >= WAITING_MAX {
            let _gone = reply.send(Err("too many such requests are waiting for this zone".to_owned()));
            return;
        }
        zone.askers.push(reply);
        // They may have been mended.
        zone.config.primaries.iter().for_each(|primary| self.lanes.note(primary.address, false));
        if zone.is_waiting
            && let Some(primary) = leading(&self.lanes, zone, now)
        {
            self.lanes.wait_first(key.clone(), primary);
        }
        self.request(&key, purpose, Asker::Operator);
    }

    fn notice(&mut self, notice: &Notice) {
        if let Some(name) = zone_of(notice) {
            tracing::debug!("zone {name}: NOTIFY heard");
        }
        let now = self.now();
        if let Some(zone) = self.zones.get_mut(&notice.zone) {
            zone.noticed.hear(now);
            let primary = notice.primary.and_then(|index| zone.config.primaries.get(index));
            primary.into_iter().for_each(|primary| self.lanes.note(primary.address, false));
        }
        self.request(&notice.zone, Purpose::Refresh, Asker::Notice(notice.primary));
    }

    fn request(&mut self, key: &Key, purpose: Purpose, asker: Asker) {
        let now = self.now();
        let Some(zone) = self.zones.get_mut(key) else { return };
        zone.machine.request(now, purpose, asker);
        self.schedule(key, now);
    }

    /// Takes in which zones are copies now. Those that stay as they are go on.
    fn reconfigure(&mut self) {
        let copies = Arc::clone(&self.copies.borrow_and_update());
        self.notices.set(&copies);
        let configured: HashSet<&[u8]> = copies.iter().map(|copy| copy.name.as_name().as_wire()).collect();
        let gone: Vec<Key> = self.zones.keys().filter(|key| !configured.contains(&***key)).cloned().collect();
        for key in gone {
            if let Some(zone) = self.zones.remove(&key) {
                if let Some(due) = zone.scheduled {
                    self.due.remove(&(due, key));
                }
                self.board.set_copy(zone.name.to_string(), None);
            }
        }
        self.lanes.forget_idle();
        let now = self.now();
        for copy in copies.iter() {
            let key: Key = copy.name.as_name().as_wire().into();
            let is_it =
                |zone: &&mut Zone| zone.incarnation_kept == copy.incarnation && zone.config == copy.config;
            if let Some(zone) = self.zones.get_mut(&key).filter(is_it) {
                if zone.revision != copy.revision
                    && let Some(soa) = copy.soa
                {
                    zone.revision = copy.revision;
                    zone.machine.replace(now, soa);
                    self.schedule(&key, now);
                    self.tell(&key);
                }
                continue;
            }
            let was_expired = self.zones.get(&key).is_some_and(|zone| zone.machine.is_expired());
            let zone = self.new_zone(copy, now);
            // One that has expired by its new bounds as well says so once more, since something else may become of it.
            if (copy.expired || was_expired) && zone.machine.expires().is_some_and(|expires| expires > now) {
                self.outbox.push_back(Judgement { zone: copy.name.clone(), verdict: Verdict::Extended });
            }
            if let Some(Zone { scheduled: Some(due), .. }) = self.zones.insert(key.clone(), zone) {
                self.due.remove(&(due, key.clone()));
            }
            self.schedule(&key, now);
            self.tell(&key);
        }
    }

    fn new_zone(&mut self, copy: &ConfiguredCopy, now: Moment) -> Zone {
        self.incarnations += 1;
        let known = self.zones.get(copy.name.as_name().as_wire());
        let known = known.and_then(|zone| Some(zone.confirmed.as_ref()?.age(now)));
        let age = known.or_else(|| self.confirmations.as_ref().map(|kept| kept.age(&copy.name)));
        // Without a state folder there is no copy from before, and no age either.
        let held = copy.soa.map(|soa| Copy { soa, age: age.unwrap_or_default() });
        let confirmed = held.map(|held| Confirmed::before(held.age, now));
        let config = Arc::clone(&copy.config);
        let machine = Machine::new(config.clamps, config.primaries.len(), held, now, fastrand::u64(..));
        Zone {
            name: copy.name.clone(),
            config,
            machine,
            incarnation: self.incarnations,
            incarnation_kept: copy.incarnation,
            revision: copy.revision,
            is_waiting: false,
            noticed: Noticed::default(),
            scheduled: None,
            confirmed,
            failure: None,
            askers: Vec::new(),
            asked: Vec::new(),
        }
    }

    /// Tells how a zone is.
    fn tell(&self, key: &Key) {
        let Some(zone) = self.zones.get(key) else { return };
        let at = |moment: Moment| self.start_wall.checked_add(moment).map(status::timestamp);
        let next = zone.machine.next_round().filter(|_| !zone.is_waiting);
        let status = CopyStatus {
            primaries: zone.config.primaries.iter().map(ToString::to_string).collect(),
            asking: next.is_none(),
            confirmed: zone.confirmed.as_ref().and_then(|confirmed| confirmed.at).map(status::timestamp),
            next: next.and_then(at),
            expires: zone.machine.expires().and_then(at),
            failure: zone.failure.clone(),
        };
        self.board.set_copy(zone.name.to_string(), Some(status));
    }
}

#[cfg(test)]
mod tests;
