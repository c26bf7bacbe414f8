//! How many connections there may be (RFC 7766 §6.2.2), and which one goes when there is one too many.

use crate::config::TcpConfig;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::Notify;

/// A connection is closed for another only when it has been quiet for this many milliseconds: long enough for the first
/// query of a new connection to arrive from the other side of the world.
const EVICT_AFTER_MS: u128 = 500;

/// Who counts as one client: an IPv4 address, or an IPv6 /64, which is what one host has to choose addresses from.
type Client = u128;

/// Who is connected, for all threads of the service. Locked once or twice a connection, never for a query.
pub(super) struct Admission {
    connections_max: usize,
    connections_per_client_max: usize,
    state: Mutex<State>,
    counters: Counters,
}

#[derive(Default)]
struct State {
    clients: HashMap<Client, usize>,
    connections: HashMap<u64, Arc<Presence>>,
    next: u64,
}

/// A connection as others see it.
struct Presence {
    started: Instant,
    /// Since when it has been waiting for a query, in milliseconds after `started`; [`BUSY`] while it isn't.
    quiet_since_ms: AtomicU64,
    close: Notify,
}

const BUSY: u64 = u64::MAX;

#[derive(Default)]
struct Counters {
    accepted: AtomicU64,
    refused: AtomicU64,
    evicted: AtomicU64,
    idle: AtomicU64,
    slow: AtomicU64,
    handshakes: AtomicU64,
    handshakes_failed: AtomicU64,
}

/// What has become of the connections since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ConnectionCounts {
    /// Accepted, whatever became of them.
    pub(crate) accepted: u64,
    /// Open now.
    pub(crate) open: u64,
    /// Closed at once because there were too many.
    pub(crate) refused: u64,
    /// Closed while idle, to make room.
    pub(crate) evicted: u64,
    /// Closed for having been idle for too long.
    pub(crate) idle: u64,
    /// Cut off for writing or reading too slowly.
    pub(crate) slow: u64,
    /// TLS handshakes that came to an end.
    pub(crate) handshakes: u64,
    /// TLS handshakes that came to nothing.
    pub(crate) handshakes_failed: u64,
}

/// Why a connection isn't admitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// Its client has as many as it may.
    TooManyOfClient,
    /// There are as many as there may be, and all of them are at work.
    TooMany,
}

impl Admission {
    pub(super) fn new(limits: &TcpConfig) -> Admission {
        Admission {
            connections_max: limits.connections_max,
            connections_per_client_max: limits.connections_per_client_max,
            state: Mutex::default(),
            counters: Counters::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is complete before anything could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether connections are becoming scarce, so that idle ones should go sooner (RFC 7766 §6.2.3).
    pub(super) fn is_scarce(&self) -> bool {
        self.state().connections.len() * 4 > self.connections_max * 3
    }

    /// Counts a connection that was idle for too long.
    pub(super) fn count_idle(&self) {
        self.counters.idle.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection that was too slow.
    pub(super) fn count_slow(&self) {
        self.counters.slow.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a TLS handshake.
    pub(super) fn count_handshake(&self) {
        self.counters.handshakes.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a TLS handshake that came to nothing.
    pub(super) fn count_failed_handshake(&self) {
        self.counters.handshakes_failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> ConnectionCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ConnectionCounts {
            accepted: read(&self.counters.accepted),
            open: self.state().connections.len() as u64,
            refused: read(&self.counters.refused),
            evicted: read(&self.counters.evicted),
            idle: read(&self.counters.idle),
            slow: read(&self.counters.slow),
            handshakes: read(&self.counters.handshakes),
            handshakes_failed: read(&self.counters.handshakes_failed),
        }
    }
}

/// The right to be connected; given back when dropped.
pub(super) struct Ticket {
    admission: Arc<Admission>,
    id: u64,
    client: Client,
    presence: Arc<Presence>,
}

impl Ticket {
    /// Admits a connection of this client.
    ///
    /// When there are as many as there may be, the one that has been idle longest is closed for it: an idle connection can
    /// be had again at any time, while a client turned away gets no answer. A client that has too many itself
    /// is turned away, since it could otherwise push out all others.
    pub(super) fn take(admission: &Arc<Admission>, address: IpAddr) -> Result<Ticket, Refusal> {
        admission.counters.accepted.fetch_add(1, Ordering::Relaxed);
        let client = client_of(address);
        let mut state = admission.state();
        let admitted =
            if state.clients.get(&client).is_some_and(|count| *count >= admission.connections_per_client_max)
            {
                Err(Refusal::TooManyOfClient)
            } else if state.connections.len() >= admission.connections_max {
                state.evict()
            } else {
                Ok(None)
            };
        match admitted {
            Ok(None) => {}
            Ok(Some(())) => {
                admission.counters.evicted.fetch_add(1, Ordering::Relaxed);
            }
            Err(refusal) => {
                admission.counters.refused.fetch_add(1, Ordering::Relaxed);
                return Err(refusal);
            }
        }
        *state.clients.entry(client).or_default() += 1;
        let id = state.next;
        state.next += 1;
        let presence = Arc::new(Presence {
            started: Instant::now(),
            quiet_since_ms: AtomicU64::new(0),
            close: Notify::new(),
        });
        state.connections.insert(id, Arc::clone(&presence));
        drop(state);
        Ok(Ticket { admission: Arc::clone(admission), id, client, presence })
    }

    /// The connection now waits for a query.
    pub(super) fn quiet(&self) {
        let ms = self.presence.started.elapsed().as_millis() as u64; // a connection lasts less than 500 million years
        self.presence.quiet_since_ms.store(ms, Ordering::Relaxed);
    }

    /// The connection is at work.
    pub(super) fn busy(&self) {
        self.presence.quiet_since_ms.store(BUSY, Ordering::Relaxed);
    }

    /// Resolves when the connection is to make room for another.
    pub(super) async fn evicted(&self) {
        self.presence.close.notified().await;
    }
}

impl State {
    /// Has the connection closed that has been idle longest. It no longer counts, though its task ends a little
    /// later.
    fn evict(&mut self) -> Result<Option<()>, Refusal> {
        let idle = self.connections.iter().filter_map(|(id, presence)| {
            let since = presence.quiet_since_ms.load(Ordering::Relaxed);
            let idle_ms = presence.started.elapsed().as_millis().checked_sub(u128::from(since))?;
            (idle_ms >= EVICT_AFTER_MS).then_some((idle_ms, *id))
        });
        let (_, id) = idle.max().ok_or(Refusal::TooMany)?;
        if let Some(presence) = self.connections.remove(&id) {
            presence.close.notify_one();
        }
        Ok(Some(()))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.admission.state();
        state.connections.remove(&self.id);
        if let Some(count) = state.clients.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                state.clients.remove(&self.client);
            }
        }
    }
}

fn client_of(address: IpAddr) -> Client {
    match address.to_canonical() {
        // Out of the way of IPv6, where ::/16 is not assigned to anybody.
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits() >> 64 << 64 | u128::from(v6.to_bits() >> 64 == 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn admission(connections_max: usize, connections_per_client_max: usize) -> Arc<Admission> {
        let limits = TcpConfig { connections_max, connections_per_client_max, ..TcpConfig::default() };
        Arc::new(Admission::new(&limits))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_client_is_an_address_or_a_64() {
        assert_ne!(client_of(ip("192.0.2.1")), client_of(ip("192.0.2.2")));
        assert_eq!(client_of(ip("2001:db8::1")), client_of(ip("2001:db8::ffff:2")));
        assert_ne!(client_of(ip("2001:db8::1")), client_of(ip("2001:db8:0:1::1")));
        assert_eq!(client_of(ip("::ffff:192.0.2.1")), client_of(ip("192.0.2.1")));
        assert_ne!(client_of(ip("::1")), client_of(ip("0.0.0.0")));
    }

    #[test]
    fn a_client_has_no_more_than_its_share() {
        let admission = admission(10, 2);
        let first = Ticket::take(&admission, ip("192.0.2.1")).ok().unwrap();
        let _second = Ticket::take(&admission, ip("192.0.2.1")).ok().unwrap();
        assert_eq!(Ticket::take(&admission, ip("192.0.2.1")).err(), Some(Refusal::TooManyOfClient));
        let _other = Ticket::take(&admission, ip("192.0.2.2")).ok().unwrap();
        drop(first);
        let _third = Ticket::take(&admission, ip("192.0.2.1")).ok().unwrap();
        let counts = admission.counts();
        assert_eq!((counts.accepted, counts.refused, counts.open), (5, 1, 3));
    }

    #[test]
    fn the_longest_idle_makes_room_and_the_busy_stay() {
        let admission = admission(2, 10);
        let mut tickets: Vec<Ticket> = ["192.0.2.1", "192.0.2.2"]
            .map(|address| Ticket::take(&admission, ip(address)).ok().unwrap())
            .into();
        // Fresh ones are not evicted.
        assert_eq!(Ticket::take(&admission, ip("192.0.2.3")).err(), Some(Refusal::TooMany));
        let long_ago = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
        for ticket in &mut tickets {
            let mut state = admission.state();
            let presence =
                Presence { started: long_ago, quiet_since_ms: AtomicU64::new(0), close: Notify::new() };
            ticket.presence = Arc::new(presence);
            state.connections.insert(ticket.id, Arc::clone(&ticket.presence));
        }
        tickets[0].busy();
        let _third = Ticket::take(&admission, ip("192.0.2.3")).ok().unwrap();
        assert!(admission.state().connections.contains_key(&tickets[0].id));
        assert!(!admission.state().connections.contains_key(&tickets[1].id));
        let counts = admission.counts();
        assert_eq!((counts.evicted, counts.refused, counts.open), (1, 1, 2));
        assert_eq!(Ticket::take(&admission, ip("192.0.2.4")).err(), Some(Refusal::TooMany));
        drop(tickets);
        assert_eq!(admission.counts().open, 1);
    }
}
