//! What the nodes answer, asked over and over: each of them alone, and the client by the anycast address.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::answers::Set;
use super::{NAMES, Pool, share};
use crate::lab::client::{OPTION_NSID, PORT, TYPE_A, identity};
use crate::lab::ledger::{NOBODY, name_of};
use crate::lab::topology::{POPS, SERVICE, Topology, management};
use crate::name::Name;
use crate::netns::Namespace;
use crate::query::{Edns, Query};
use crate::{client, http};

/// Between two questions to a node. What is measured is no finer than this; a shorter one takes more of the machine
/// from what is measured.
const ASK_EVERY: Duration = Duration::from_millis(10);
/// Between two looks whether a node says that it is isolated: telling all that is counted takes it some milliseconds.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// An answer that takes longer is none: much longer than it takes on a busy machine.
const ANSWER_LIMIT: Duration = Duration::from_millis(500);

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Somebody beside the node of a PoP, at the address that is that node's alone.
    Pop(usize),
    /// The client, at the anycast address.
    Client,
}

impl Place {
    /// All.
    pub const ALL: [Self; POPS.len() + 1] = [Self::Pop(0), Self::Pop(1), Self::Pop(2), Self::Client];

    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pop(pop) => POPS[pop],
            Self::Client => "client",
        }
    }
}

/// A question, and what came of it.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Who asked.
    pub place: Place,
    /// For which pool's name.
    pub pool: Pool,
    /// When it was asked.
    pub asked: Instant,
    /// When it was answered, or given up.
    pub at: Instant,
    /// What was answered; none without a right answer.
    pub answer: Option<Set>,
    /// Whose the answer was, as a place in [`POPS`].
    pub pop: Option<usize>,
}

/// What a node says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    /// The PoP.
    pub pop: usize,
    /// When.
    pub at: Instant,
    /// Whether it is isolated.
    pub is_isolated: bool,
    /// The share that p3a has of its answers by load.
    pub share: Option<f64>,
}

#[derive(Default)]
struct Notes {
    samples: Vec<Sample>,
    said: Vec<Said>,
}

/// Asks until it is dropped.
pub struct Watch {
    notes: Arc<Mutex<Notes>>,
    ends: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Watch {
    /// Begins to ask.
    pub fn start(topology: &Topology) -> Result<Self> {
        let mut watch = Self { notes: Arc::default(), ends: Arc::default(), threads: Vec::new() };
        let queries = Pool::ALL.map(|pool| query(pool).map(|query| (pool, query)));
        let queries: Vec<_> = queries.into_iter().collect::<Result<_>>()?;
        for place in Place::ALL {
            let (namespace, server) = match place {
                Place::Pop(pop) => (&topology.pops[pop], format!("{}:{PORT}", management(pop))),
                Place::Client => (&topology.client, format!("{}:{PORT}", SERVICE[0])),
            };
            let (server, queries): (SocketAddr, _) = (server.parse()?, queries.clone());
            watch.run(namespace, ASK_EVERY, move |notes| {
                let samples = queries.iter().map(|(pool, query)| ask(place, *pool, server, query));
                let samples: Vec<Sample> = samples.collect();
                notes.lock().unwrap_or_else(PoisonError::into_inner).samples.extend(samples);
            });
        }
        for (pop, namespace) in topology.pops.iter().enumerate() {
            let server: SocketAddr = format!("{}:8053", management(pop)).parse()?;
            watch.run(namespace, LOOK_EVERY, move |notes| {
                // A node that doesn't say is asked again.
                if let Ok(answer) = http::get(server, "/metrics") {
                    let is_isolated = answer.body.contains("\nstarling_pool_isolated 1\n");
                    let sample = answer.body.lines().find(|line| line.starts_with(share::SAMPLE));
                    let share = sample.and_then(|line| line.rsplit(' ').next()?.parse().ok());
                    let said = Said { pop, at: Instant::now(), is_isolated, share };
                    notes.lock().unwrap_or_else(PoisonError::into_inner).said.push(said);
                }
            });
        }
        Ok(watch)
    }

    /// Does something again and again in a namespace.
    fn run(
        &mut self,
        namespace: &Namespace,
        every: Duration,
        mut work: impl FnMut(&Mutex<Notes>) + Send + 'static,
    ) {
        let (notes, ends) = (Arc::clone(&self.notes), Arc::clone(&self.ends));
        let enter = namespace.enter_later();
        self.threads.push(thread::spawn(move || {
            // One that can't go in sees nothing, which shows as no answer.
            if enter().is_err() {
                return;
            }
            let mut next = Instant::now();
            while !ends.load(Ordering::Relaxed) {
                work(&notes);
                next = (next + every).max(Instant::now());
                thread::park_timeout(next.saturating_duration_since(Instant::now()));
            }
        }));
    }

    /// All that was seen so far, by time of asking at each place.
    #[must_use]
    pub fn seen(&self) -> (Vec<Sample>, Vec<Said>) {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        (notes.samples.clone(), notes.said.clone())
    }

    /// The last answer at a place, and whose that was.
    #[must_use]
    pub fn last(&self, place: Place, pool: Pool) -> Option<Sample> {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.samples.iter().rev().find(|it| (it.place, it.pool) == (place, pool)).copied()
    }

    /// The share of p3a, as a node said last.
    #[must_use]
    pub fn share(&self, pop: usize) -> Option<f64> {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.said.iter().rev().find(|said| said.pop == pop)?.share
    }

    /// Whether a node said last that it is isolated.
    #[must_use]
    pub fn is_isolated(&self, pop: usize) -> bool {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.said.iter().rev().find(|said| said.pop == pop).is_some_and(|said| said.is_isolated)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn query(pool: Pool) -> Result<Vec<u8>> {
    let edns = Edns { options: vec![(OPTION_NSID, Vec::new())], ..Edns::size(1232) };
    Ok(Query::new(Name::parse(NAMES[pool as usize])?, TYPE_A).with_edns(edns).bytes(0x706f))
}

fn ask(place: Place, pool: Pool, server: SocketAddr, query: &[u8]) -> Sample {
    let asked = Instant::now();
    // What can't be sent has no answer.
    let response = client::udp_raw(server, query, ANSWER_LIMIT).ok().flatten().map(|(response, _)| response);
    let who = response.as_deref().map_or(NOBODY, identity);
    Sample {
        place,
        pool,
        asked,
        at: Instant::now(),
        answer: response.as_deref().and_then(Set::answered),
        pop: POPS.iter().position(|pop| *pop == name_of(who)),
    }
}
