//! What the other nodes say of themselves, for the last-site guard.
//!
//! The guard asks how many others announce healthily, and what counts is doubt: a peer that can't be asked, says
//! something odd, or has not been asked for a while does not announce. Wrong that way a node stays although it could
//! have left; wrong the other way the last two sites leave together.

use super::ask::{PeerState, ask};
use crate::config::PeerConfig;
use crate::status::{PeerStatus, Serials};
use anycast::Rung;
use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// When peers are asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Timing {
    /// How often each is asked.
    pub(crate) interval: Duration,
    /// How long it may take to answer in full.
    pub(crate) deadline: Duration,
}

impl Default for Timing {
    /// Once a second: governors take decisions over seconds, and a hundred peers then cost a hundred small requests a
    /// second. Half a second to answer is more than the way around the world and back twice, for SYN and request.
    fn default() -> Timing {
        Timing { interval: Duration::from_secs(1), deadline: Duration::from_millis(500) }
    }
}

/// After how many intervals without an answer the last one counts no more, even if nothing has failed since: then
/// nobody asks. Two would be passed by a single late round, and each more lets the guard trust older news.
const STALE_AFTER_INTERVALS: u32 = 3;

/// The other nodes and what was last heard of them.
pub(crate) struct Peers {
    peers: Vec<PeerConfig>,
    timing: Timing,
    records: Arc<[Mutex<Record>]>,
}

/// What was last heard of a peer.
#[derive(Clone, Default)]
struct Record {
    /// The last answer, and when it came.
    answer: Option<(Instant, PeerState)>,
    /// Why the last question had no answer; none if it had.
    trouble: Option<String>,
}

/// What is known of all peers at one moment.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct PeersView {
    /// Each peer, in the order of the configuration.
    pub(crate) statuses: Vec<PeerStatus>,
    /// How many of them announce healthily; none where no peers are configured.
    pub(crate) healthy: Option<u32>,
}

impl Peers {
    /// Peers of which nothing is known yet.
    pub(crate) fn new(peers: Vec<PeerConfig>, timing: Timing) -> Peers {
        let records = peers.iter().map(|_| Mutex::default()).collect();
        Peers { peers, timing, records }
    }

    /// Asks all peers again and again, for as long as it is polled; within a tokio runtime of any kind.
    pub(crate) async fn watch(&self) -> Infallible {
        let mut watching = JoinSet::new();
        for (index, peer) in self.peers.iter().enumerate() {
            watching.spawn(watch_one(peer.clone(), self.timing, Arc::clone(&self.records), index));
        }
        // A task ends only with this set.
        while watching.join_next().await.is_some() {}
        pending().await
    }

    /// What is known now.
    pub(crate) fn view(&self) -> PeersView {
        self.view_at(Instant::now())
    }

    /// The serials of the peers that answer, whether they announce or not: what they serve is served.
    pub(crate) fn serials(&self) -> Vec<Serials> {
        let (now, fresh) = (Instant::now(), self.timing.interval * STALE_AFTER_INTERVALS);
        let heard = |record: &Mutex<Record>| {
            let record = locked(record);
            let (at, state) = record.answer.as_ref().filter(|_| record.trouble.is_none())?;
            (now.saturating_duration_since(*at) <= fresh).then(|| state.serials.clone())
        };
        self.records.iter().filter_map(heard).collect()
    }

    fn view_at(&self, now: Instant) -> PeersView {
        if self.peers.is_empty() {
            return PeersView::default();
        }
        let fresh = self.timing.interval * STALE_AFTER_INTERVALS;
        let statuses: Vec<PeerStatus> = self
            .peers
            .iter()
            .zip(self.records.iter())
            .map(|(peer, record)| status(peer, &locked(record), now, fresh))
            .collect();
        let healthy = statuses.iter().filter(|status| status.healthy).count();
        PeersView { statuses, healthy: Some(healthy as u32) } // at most `PEERS_MAX`
    }
}

/// A record is replaced as a whole, so a panic elsewhere can't leave half of one.
fn locked(record: &Mutex<Record>) -> std::sync::MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn watch_one(peer: PeerConfig, timing: Timing, records: Arc<[Mutex<Record>]>, index: usize) {
    // Nodes that start together, as after a power cut, would ask in step for ever.
    let first = tokio::time::Instant::now() + timing.interval.mul_f64(fastrand::f64());
    let mut ticks = tokio::time::interval_at(first, timing.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let answer = ask(peer.address, timing.deadline).await;
        let Some(record) = records.get(index) else { return };
        let mut record = locked(record);
        match answer {
            Ok(state) => *record = Record { answer: Some((Instant::now(), state)), trouble: None },
            Err(error) => {
                let trouble = error.to_string();
                if record.trouble.is_none() {
                    tracing::info!("peer {} at {} can't be asked: {trouble}", peer.name, peer.address);
                }
                record.trouble = Some(trouble);
            }
        }
    }
}

fn status(peer: &PeerConfig, record: &Record, now: Instant, fresh: Duration) -> PeerStatus {
    let age = record.answer.as_ref().map(|(at, _)| now.saturating_duration_since(*at));
    let stale = || match age {
        None => Some("not asked yet".to_owned()),
        Some(age) if age > fresh => Some(format!("not asked for {} ms", age.as_millis())),
        Some(_) => None,
    };
    let unreachable = record.trouble.clone().or_else(stale);
    let heard = record.answer.as_ref().filter(|_| unreachable.is_none()).map(|(_, state)| state);
    let trouble = unreachable.or_else(|| heard.and_then(shortcoming));
    PeerStatus {
        name: peer.name.clone(),
        address: peer.address.to_string(),
        rung: heard.map(|state| state.held.clone()),
        healthy: trouble.is_none(),
        answered_ms_ago: age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        trouble,
    }
}

/// Why a peer doesn't count by its own words.
fn shortcoming(state: &PeerState) -> Option<String> {
    if state.held != Rung::Up.word() {
        return Some(format!("it is {}", state.held));
    }
    (!state.healthy).then(|| "it says that it is not healthy".to_owned())
}

#[cfg(test)]
mod tests;
