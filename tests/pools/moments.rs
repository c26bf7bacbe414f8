//! What clients are told at every moment, against what they should be told then: endpoints fail in several ways, flap and come back,
//! while somebody asks without a pause.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use starling_tests::tools;

use crate::endpoint::{Endpoint, Manner, addresses};
use crate::node::{FALL, INTERVAL, Node, SEEN_WITHIN, TYPE_A, WWW, ask, http, pool};

/// How much later than it has to be an answer may change on a machine with other work.
const SLACK: Duration = Duration::from_millis(500);
const ENDPOINTS: usize = 4;

/// An endpoint, with what it was like when.
struct Actor {
    address: Ipv4Addr,
    server: Option<Endpoint>,
    /// From when it was good, or bad: it became so between these two moments.
    past: Vec<(Instant, Instant, bool)>,
}

impl Actor {
    fn is_good(&self) -> bool {
        self.past.last().is_none_or(|(.., good)| *good)
    }

    /// Does something, from which on it is good, or bad.
    fn turns(&mut self, good: bool, how: impl FnOnce(&mut Option<Endpoint>) -> Result<()>) -> Result<()> {
        let before = Instant::now();
        how(&mut self.server)?;
        self.past.push((before, Instant::now(), good));
        Ok(())
    }

    /// Fails, in one of three ways that show at once.
    fn fails(&mut self, way: u8) -> Result<()> {
        self.turns(false, |server| {
            match (way, &server) {
                (0, Some(server)) => server.set(Manner::Answers(503, "all is well".to_owned())),
                (1, Some(server)) => server.set(Manner::Babbles),
                _ => drop(server.take()),
            }
            Ok(())
        })
    }

    fn recovers(&mut self, port: u16) -> Result<()> {
        let address = self.address;
        self.turns(true, |server| {
            match server {
                Some(server) => server.set(Manner::good()),
                None => *server = Some(Endpoint::start(address, port)?),
            }
            Ok(())
        })
    }

    /// Whether it was good, or bad, at some moment of these.
    fn was(&self, good: bool, from: Instant, to: Instant) -> bool {
        let end = |index: usize| self.past.get(index + 1).map(|(_, after, _)| *after);
        let mut states = self.past.iter().enumerate().filter(|(_, (.., it))| *it == good);
        states.any(|(index, (before, ..))| *before <= to && end(index).is_none_or(|end| end >= from))
    }
}

/// What somebody was told.
struct Told {
    asked: Instant,
    heard: Instant,
    addresses: BTreeSet<Ipv4Addr>,
}

#[test]
fn every_answer_is_one_that_there_should_be_then() -> Result<()> {
    let seed = std::env::var("STARLING_SEED").ok().map_or(Ok(fastrand::u64(..)), |seed| seed.parse())?;
    let mut random = fastrand::Rng::with_seed(seed);
    let steps = if tools::long_run() { 300 } else { 15 };
    let (places, port) = addresses::<ENDPOINTS>()?;
    let start = Instant::now();
    let mut actors = Vec::new();
    for address in places {
        let past = vec![(start, start, true)];
        actors.push(Actor { address, server: Some(Endpoint::start(address, port)?), past });
    }
    let lines = format!("kind = \"round-robin\"\n{}", http(port));
    let node =
        Node::running(&pool("web", "\"www.example.com\"", &lines, &places.map(|address| (address, 1))))?;
    // As long as nothing is known all of them are answered, too.
    places.iter().try_for_each(|address| node.finds("web", *address, "up"))?;
    node.answers(WWW, &places)?;
    let ends = AtomicBool::new(false);
    let told = std::thread::scope(|scope| -> Result<Vec<Told>> {
        let server = node.address;
        let asking = scope.spawn({
            let ends = &ends;
            move || keep_asking(server, ends)
        });
        let acted = act(&mut actors, &node, port, steps, &mut random);
        ends.store(true, Ordering::Relaxed);
        let told = asking.join().map_err(|_| anyhow::anyhow!("who asks has panicked"))??;
        acted.map(|()| told)
    })
    .with_context(|| format!("STARLING_SEED={seed}\n{}", node.log()))?;
    let mut worst = Duration::ZERO;
    for Told { asked, heard, addresses } in &told {
        for actor in &actors {
            let late = INTERVAL * if addresses.contains(&actor.address) { FALL } else { 1 };
            let since = asked.checked_sub(late + SLACK).unwrap_or(start);
            let is_right = actor.was(addresses.contains(&actor.address), since.max(start), *heard);
            ensure!(
                is_right,
                "STARLING_SEED={seed}: {addresses:?} is wrong of {}\n{}",
                actor.address,
                node.log()
            );
            // How long after it had to be known an answer still has an endpoint that has failed.
            let dead = actor.past.iter().rev().find(|(before, ..)| before <= asked);
            if let Some((_, after, false)) = dead
                && addresses.contains(&actor.address)
            {
                worst = worst.max(asked.saturating_duration_since(*after).saturating_sub(INTERVAL * FALL));
            }
        }
    }
    ensure!(told.len() > 100 * steps, "{} answers", told.len());
    tools::announce(&format!(
        "{} answers in {steps} steps, each right; an endpoint that failed was told for {worst:?} more than {FALL} intervals at most",
        told.len()
    ));
    Ok(())
}

/// Has endpoints fail and come back; the first is always good.
fn act(actors: &mut [Actor], node: &Node, port: u16, steps: usize, random: &mut fastrand::Rng) -> Result<()> {
    for _ in 0..steps {
        // Several at once now and then, and some for so short a time that nobody need see it.
        for _ in 0..random.usize(1..3) {
            let actor = &mut actors[random.usize(1..ENDPOINTS)];
            let turns = if random.u8(0..4) == 0 { 2 } else { 1 };
            for _ in 0..turns {
                if actor.is_good() { actor.fails(random.u8(0..3))? } else { actor.recovers(port)? }
            }
        }
        let good = actors.iter().filter(|actor| actor.is_good());
        node.answers(WWW, &good.map(|actor| actor.address).collect::<Vec<_>>())?;
    }
    Ok(())
}

/// Asks until the end.
fn keep_asking(server: SocketAddr, ends: &AtomicBool) -> Result<Vec<Told>> {
    let mut told = Vec::new();
    while !ends.load(Ordering::Relaxed) {
        let asked = Instant::now();
        let answer = ask(server, WWW, TYPE_A)?;
        ensure!(answer.rcode == 0, "{answer:?}");
        let address = |address: IpAddr| match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        };
        let addresses = answer.addresses.into_iter().filter_map(address).collect();
        told.push(Told { asked, heard: Instant::now(), addresses });
        ensure!(told.last().is_some_and(|told| told.heard - told.asked < SEEN_WITHIN), "it took too long");
    }
    Ok(told)
}
