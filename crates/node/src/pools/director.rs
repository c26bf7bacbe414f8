//! The thread's loop: looks come in, decisions go out.

use super::given::Given;
use super::memory::Memory;
use super::probe::{Agent, Look, Prober};
use super::roster::{Roster, Target};
use super::sharing::{Exchange, Sharing};
use super::times::LookTimes;
use super::{Command, PoolBoard, Supplies, Wish, unknown_places};
use crate::config::PoolConfig;
use crate::keeper;
use health::{Moment, Outcome};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep};
use zone::amend::Steered;

/// How many looks are under way at once: more would be a burst that fails by itself.
const LOOKS_MAX: usize = 256;
/// How long the keeper is left alone when it has too much to do.
const AGAIN_AFTER: Duration = Duration::from_millis(5);
/// How old what is shown of looks may be: telling all of it for each would cost more than the looks.
const SHOWN_AFTER: Duration = Duration::from_millis(200);
/// How often it is looked into samples of answers: as often as leaves room for those of a busy thread.
const COLLECT_EVERY: Duration = Duration::from_millis(100);
/// How long what is known waits to be written: a change seldom comes alone.
const WRITE_AFTER: Duration = Duration::from_millis(100);

/// What a look has shown.
struct Seen {
    target: Target,
    took: Duration,
    look: Look,
}

/// Runs the checks and decides.
pub(super) struct Director {
    start: Instant,
    roster: Roster,
    configured: watch::Receiver<Arc<[PoolConfig]>>,
    keeper: SyncSender<keeper::Request>,
    board: PoolBoard,
    sharing: Sharing,
    looks: JoinSet<()>,
    looking: HashMap<Target, AbortHandle>,
    prober: Arc<Prober>,
    room: Arc<Semaphore>,
    times: LookTimes,
    given: Given,
    seen: mpsc::Sender<Seen>,
    arriving: mpsc::Receiver<Seen>,
    /// What the keeper could not be told yet, and when to try again.
    untold: Option<(Vec<Steered>, Moment)>,
    /// Who writes down what is known.
    writer: Option<watch::Sender<Memory>>,
    again_at: Option<Moment>,
    /// When what looks have shown is to be told, if there is anything.
    show_at: Option<Moment>,
}

impl Director {
    pub(super) fn new(supplies: Supplies, board: PoolBoard, exchange: Exchange) -> Director {
        let Supplies { configured, keeper, memory, sharing, echo, samples } = supplies;
        let (seen, arriving) = mpsc::channel(LOOKS_MAX);
        let known = memory.as_deref().map(Memory::read).unwrap_or_default();
        let writer = memory.map(|file| {
            let (writer, changes) = watch::channel(known.clone());
            tokio::spawn(write(file, changes));
            writer
        });
        Director {
            start: Instant::now(),
            roster: Roster::new(known),
            configured,
            keeper,
            board,
            sharing: Sharing::new(exchange, sharing),
            looks: JoinSet::new(),
            looking: HashMap::new(),
            prober: Arc::new(Prober::new(echo)),
            room: Arc::new(Semaphore::new(LOOKS_MAX)),
            times: LookTimes::default(),
            given: Given::new(samples),
            seen,
            arriving,
            untold: None,
            writer,
            again_at: None,
            show_at: None,
        }
    }

    fn now(&self) -> Moment {
        Moment(self.start.elapsed())
    }

    /// Works until nobody can ask any more.
    pub(super) async fn run(mut self, mut asked: mpsc::Receiver<Command>) {
        self.configure();
        let mut collections = interval(COLLECT_EVERY);
        collections.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let tell_at = self.untold.as_ref().map(|(_, at)| *at);
            let at = self.again_at.into_iter().chain(self.show_at).chain(tell_at).min();
            let wait = at.map_or(Duration::MAX, |at| at.since(self.now()));
            tokio::select! {
                command = asked.recv() => match command {
                    Some(command) => self.grant(command),
                    None => return,
                },
                changed = self.configured.changed() => match changed {
                    Ok(()) => self.configure(),
                    Err(_) => return,
                },
                Some(seen) = self.arriving.recv() => {
                    let now = self.now();
                    self.count(&seen);
                    if self.roster.observe(&seen.target, seen.took, seen.look, now) {
                        self.decide();
                    }
                    self.show_at.get_or_insert(now + SHOWN_AFTER);
                }
                others = self.sharing.changed() => {
                    self.roster.hear(others);
                    self.decide();
                    self.show_at.get_or_insert(self.now() + SHOWN_AFTER);
                }
                Some(_) = self.looks.join_next() => {}
                _ = collections.tick(), if self.given.is_wanted() => {
                    if self.given.collect() {
                        self.show_at.get_or_insert(self.now() + SHOWN_AFTER);
                    }
                }
                () = sleep(wait) => self.catch_up(),
            }
        }
    }

    /// Counts how long a look has taken that has shown something.
    fn count(&mut self, seen: &Seen) {
        let Look::Saw(outcome, _) = &seen.look else { return };
        self.times.count(&seen.target, *outcome == Outcome::Pass, seen.took);
    }

    /// Does what was put off.
    fn catch_up(&mut self) {
        let now = self.now();
        if let Some((answers, _)) = self.untold.take_if(|(_, at)| *at <= now) {
            self.tell(answers);
        }
        if self.again_at.is_some_and(|at| at <= now) {
            self.decide();
        }
        if self.show_at.is_some_and(|at| at <= now) {
            self.show();
        }
    }

    fn show(&mut self) {
        let mut pools = self.roster.statuses();
        for ((place, pool), times) in pools.iter_mut().enumerate().zip(self.times.of_pools()) {
            pool.times = times;
            for it in &mut pool.addresses {
                it.given = self.given.of(place, &it.address);
            }
        }
        self.board.set(pools, self.times.of_kinds());
        self.sharing.show(self.start, || self.roster.sightings());
        self.show_at = None;
    }

    /// Takes the pools of the configuration.
    fn configure(&mut self) {
        let config = Arc::clone(&self.configured.borrow_and_update());
        let now = self.now();
        self.times.configure(&config);
        self.given.configure(&config);
        unknown_places(&config).iter().for_each(|problem| tracing::warn!("{problem}"));
        if let Some(atlas) = config.iter().find_map(|pool| pool.atlas.as_ref()) {
            tracing::info!("the map of places: {atlas}");
        }
        self.roster.configure(config, now);
        let wanted: Vec<Target> = self.roster.targets().cloned().collect();
        self.looking.retain(|target, look| {
            let stays = wanted.contains(target);
            if !stays {
                look.abort();
            }
            stays
        });
        for target in wanted {
            if !self.looking.contains_key(&target) {
                let (prober, room) = (Arc::clone(&self.prober), Arc::clone(&self.room));
                let look = self.looks.spawn(look(target.clone(), prober, room, self.seen.clone()));
                self.looking.insert(target, look);
            }
        }
        self.again_at = self.roster.select(now).0;
        self.tell(self.roster.answers());
    }

    /// Decides with what is known now, and has it published if it is something else.
    fn decide(&mut self) {
        let (again_at, is_change) = self.roster.select(self.now());
        self.again_at = again_at;
        if is_change {
            self.tell(self.roster.answers());
        }
        self.write_down();
    }

    fn write_down(&self) {
        if let Some(writer) = &self.writer {
            let memory = self.roster.memory();
            writer.send_if_modified(|known| std::mem::replace(known, memory.clone()) != memory);
        }
    }

    /// Tells the keeper, if it has an ear.
    fn tell(&mut self, answers: Vec<Steered>) {
        self.untold = match self.keeper.try_send(keeper::Request::Steer(answers)) {
            Err(TrySendError::Full(keeper::Request::Steer(answers))) => {
                Some((answers, self.now() + AGAIN_AFTER))
            }
            _ => None,
        };
        self.show();
        self.write_down();
    }

    fn grant(&mut self, command: Command) {
        let Command { wish, reply } = command;
        let granted = match &wish {
            Wish::Set { pool, endpoint, admin } => self.roster.set(pool, endpoint, *admin).map(|()| {
                tracing::warn!("pool {pool}: the endpoint {endpoint} is set to {}", admin.word());
                format!("the endpoint {endpoint} of {pool} is set to {}", admin.word())
            }),
            Wish::FailBack { pool } => self.roster.fail_back(pool).map(|()| {
                tracing::warn!("pool {pool}: the best tier that is good answers again");
                format!("the best tier of {pool} that is good answers again")
            }),
        };
        if granted.is_ok() {
            self.decide();
            self.show();
        }
        // Who asked may have gone away.
        let _gone = reply.send(granted);
    }
}

/// Looks at a target again and again. An interval is from beginning to beginning, and none is longer than it says.
async fn look(target: Target, prober: Arc<Prober>, room: Arc<Semaphore>, seen: mpsc::Sender<Seen>) {
    let (address, check) = &target;
    let mut agent = Agent::silent();
    // All endpoints of a node that has just started shall not be looked at in one moment, and yet soon.
    sleep(check.interval.mul_f32(fastrand::f32() / 4.0)).await;
    loop {
        let due = Instant::now();
        let (look, took) = {
            let Ok(_place) = room.acquire().await else { return };
            prober.look(check, *address, &mut agent).await
        };
        if seen.send(Seen { target: target.clone(), took, look }).await.is_err() {
            return;
        }
        let shorter = check.interval.mul_f32(fastrand::f32()) * check.jitter_percent / 100;
        sleep((check.interval - shorter).saturating_sub(due.elapsed())).await;
    }
}

/// Writes down what is known, on a thread that may wait for a disk.
async fn write(file: PathBuf, mut changes: watch::Receiver<Memory>) {
    let mut has_failed = false;
    while changes.changed().await.is_ok() {
        sleep(WRITE_AFTER).await;
        let memory = changes.borrow_and_update().clone();
        let path = file.clone();
        let written = tokio::task::spawn_blocking(move || memory.store(&path)).await;
        match written {
            Ok(Ok(())) => has_failed = false,
            Ok(Err(error)) if !has_failed => {
                has_failed = true;
                tracing::warn!(
                    "{}: what is known of pools can't be written, so that the next start knows less: {error}",
                    file.display()
                );
            }
            _ => {}
        }
    }
}
