//! Finding a way to each thread of a group, and asking along it.

use super::{Answered, Errand};
use crate::Outcome;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;
use wire::probe::Seat;

/// How many ways are tried for each thread before it counts as not to be reached. The kernel's choice is as good as
/// random, so with `n` threads the chance to miss one is about e^-16, one in nine million.
const TRIES_PER_THREAD: usize = 16;

/// How many ways are tried in a round. With more than sixteen threads a search may take several rounds, which beats
/// opening thousands of sockets in one.
const TRIES_MAX: usize = 256;

/// How many tries wait for their answers at once. Fewer would be used up by threads that don't answer, and those that do
/// would not be found beside them; more would only open sockets in vain.
const TRIES_AT_ONCE: usize = 16;

/// What leads to a thread, as long as the group of threads stays as it is.
pub(super) trait Way: Sized + Send + 'static {
    /// What new ways are made from.
    type Source;

    /// A new way; where it leads is up to the kernel. No two calls in a row with `number`s that follow each other give
    /// ways that are alike.
    fn new(source: &Self::Source, errand: &Errand, number: usize) -> Result<Self, String>;

    /// Asks along the way, until the errand's deadline at the latest.
    fn ask(self, errand: Arc<Errand>) -> impl Future<Output = Reply<Self>> + Send;
}

/// What came of asking.
pub(super) struct Reply<W> {
    /// The way, if it can be used again.
    pub(super) way: Option<W>,
    pub(super) took: Duration,
    pub(super) what: What,
}

/// What came of asking.
pub(super) enum What {
    /// An answer, and the thread that gave it if it says so.
    Answer(Option<Seat>, Outcome),
    /// None; what was seen instead.
    Silence(String),
    /// The server or the system refuses.
    Refusal(String),
    /// The way can't be had any more.
    Blocked,
}

/// The ways to the threads of a group.
pub(super) struct Ways<W: Way> {
    source: W::Source,
    seat: fn(u16) -> Seat,
    known: Vec<Known<W>>,
    /// How many ways were tried so far.
    tries: usize,
}

/// What is known of the way to a thread.
struct Known<W> {
    way: Option<W>,
    /// It was not answered last time: the thread may be stuck, or the way may lead elsewhere now, to one that is.
    is_doubtful: bool,
}

/// A round as it goes on.
struct Round<W: Way> {
    errand: Arc<Errand>,
    began: Instant,
    asked: JoinSet<(Option<usize>, Reply<W>)>,
    /// For each thread what came of it, and whether a way is being asked that ought to lead to it.
    results: Vec<Option<Answered>>,
    is_expected: Vec<bool>,
    tries: usize,
    tries_waiting: usize,
    tries_unanswered: usize,
    /// Why more tries would be in vain.
    trouble: Option<String>,
}

impl<W: Way> Ways<W> {
    pub(super) fn new(source: W::Source, threads: u16, seat: fn(u16) -> Seat) -> Ways<W> {
        let known = (0..threads).map(|_| Known { way: None, is_doubtful: false }).collect();
        Ways { source, seat, known, tries: 0 }
    }

    /// Asks every thread.
    pub(super) async fn round(&mut self, errand: &Arc<Errand>) -> Vec<Answered> {
        let mut round = Round::new(Arc::clone(errand), self.known.len());
        for (index, known) in self.known.iter_mut().enumerate() {
            if let Some(way) = known.way.take() {
                round.is_expected[index] = !known.is_doubtful;
                round.ask(Some(index), way);
            }
        }
        loop {
            while round.wants_try(self.known.len()) {
                match W::new(&self.source, errand, self.tries) {
                    Ok(way) => round.ask(None, way),
                    Err(error) => round.trouble = Some(error),
                }
                self.tries = self.tries.wrapping_add(1);
            }
            // An error is a panic of the task, and panics end the process.
            let Some(Ok((expected, reply))) = round.asked.join_next().await else { break };
            match expected {
                Some(index) => self.take_in(&mut round, index, reply),
                None => self.take_in_try(&mut round, reply),
            }
        }
        let seats = (0..).map(self.seat);
        let results = std::mem::take(&mut round.results);
        results
            .into_iter()
            .zip(seats)
            .map(|(result, seat)| result.unwrap_or_else(|| round.missed(seat)))
            .collect()
    }

    /// What came along the way that ought to lead to the thread with this index.
    fn take_in(&mut self, round: &mut Round<W>, index: usize, reply: Reply<W>) {
        let Reply { way, took, what } = reply;
        round.is_expected[index] = false;
        let is_silence = matches!(what, What::Silence(_));
        let fault = match what {
            What::Answer(seat, outcome) => match self.index_of(seat) {
                Ok(answering) => return self.credit(round, answering, way, took, outcome),
                Err(fault) => first_fault(outcome, fault),
            },
            What::Blocked => return, // another way is looked for
            What::Silence(fault) | What::Refusal(fault) => {
                self.known[index].is_doubtful = self.known[index].way.is_none();
                fault
            }
        };
        self.keep(index, way);
        let seat = self.seat_of(index);
        round.results[index].get_or_insert(Answered {
            seat,
            took,
            outcome: Outcome::Fail(fault),
            is_silence,
        });
    }

    /// What came along a way that was tried.
    fn take_in_try(&mut self, round: &mut Round<W>, reply: Reply<W>) {
        let Reply { way, took, what } = reply;
        round.tries_waiting -= 1;
        match what {
            What::Answer(seat, outcome) => match self.index_of(seat) {
                Ok(index) => self.credit(round, index, way, took, outcome),
                Err(fault) => round.trouble = Some(first_fault(outcome, fault)),
            },
            What::Silence(_) => round.tries_unanswered += 1,
            What::Refusal(fault) => round.trouble = Some(fault),
            What::Blocked => {}
        }
    }

    /// A thread has answered; its first answer of the round counts.
    fn credit(
        &mut self,
        round: &mut Round<W>,
        index: usize,
        way: Option<W>,
        took: Duration,
        outcome: Outcome,
    ) {
        if self.known[index].way.is_none() {
            self.known[index].is_doubtful = false;
        }
        self.keep(index, way);
        let seat = self.seat_of(index);
        round.results[index].get_or_insert(Answered { seat, took, outcome, is_silence: false });
    }

    /// Remembers a way, unless one is remembered already.
    fn keep(&mut self, index: usize, way: Option<W>) {
        let known = &mut self.known[index];
        if known.way.is_none() {
            known.way = way;
        }
    }

    fn seat_of(&self, index: usize) -> Seat {
        (self.seat)(index as u16) // there are at most 65,535
    }

    /// Which of the threads an answer comes from, or what to say of it.
    fn index_of(&self, seat: Option<Seat>) -> Result<usize, String> {
        let Some(seat) = seat else {
            return Err("the answer doesn't say which thread gave it: another server has the address, or another token"
                .to_owned());
        };
        let (Seat::UdpWorker(index) | Seat::TcpThread(index)) = seat;
        let threads = self.known.len();
        if usize::from(index) < threads && (self.seat)(index) == seat {
            return Ok(usize::from(index));
        }
        Err(format!("{seat} answered, and there are {threads} threads from {} on", (self.seat)(0)))
    }
}

/// What to say of an answer whose thread is not known: its content first.
fn first_fault(outcome: Outcome, fault: String) -> String {
    match outcome {
        Outcome::Pass => fault,
        Outcome::Fail(content) | Outcome::Overloaded(content) => content,
    }
}

impl<W: Way> Round<W> {
    fn new(errand: Arc<Errand>, threads: usize) -> Round<W> {
        Round {
            errand,
            began: Instant::now(),
            asked: JoinSet::new(),
            results: vec![None; threads],
            is_expected: vec![false; threads],
            tries: 0,
            tries_waiting: 0,
            tries_unanswered: 0,
            trouble: None,
        }
    }

    fn ask(&mut self, expected: Option<usize>, way: W) {
        if expected.is_none() {
            self.tries += 1;
            self.tries_waiting += 1;
        }
        let errand = Arc::clone(&self.errand);
        self.asked.spawn(async move { (expected, way.ask(errand).await) });
    }

    /// Whether a way to some thread is to be looked for.
    fn wants_try(&self, threads: usize) -> bool {
        let missing = self.results.iter().zip(&self.is_expected);
        let is_missing = missing.into_iter().any(|(result, is_expected)| result.is_none() && !is_expected);
        is_missing
            && self.trouble.is_none()
            && self.tries < TRIES_MAX.min(threads * TRIES_PER_THREAD)
            && self.tries_waiting < TRIES_AT_ONCE
            && Instant::now() < self.errand.deadline
    }

    /// What to say of a thread that no way led to.
    fn missed(&self, seat: Seat) -> Answered {
        let fault = match &self.trouble {
            Some(trouble) => trouble.clone(),
            None => format!(
                "no way to {seat} was found: {} source ports were tried, {} got no answer, the others led elsewhere",
                self.tries, self.tries_unanswered
            ),
        };
        let is_silence = self.trouble.is_none() && self.tries_unanswered > 0;
        Answered { seat, took: self.began.elapsed(), outcome: Outcome::Fail(fault), is_silence }
    }
}
