//! NOTIFY on its way: sockets and the clock for [`transfer::outgoing::notify`].

use super::Transfers;
use super::signed::now as wall_clock;
use crate::status::NotifyStatus;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use table::Table;
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::time::sleep_until;
use transfer::outgoing::notify::{BURST_EVERY, BURST_MAX, Counts, Datagram, Heard, Notifier, State, Target};
use wire::Name;

/// The longest answer: a question and a signature.
const ANSWER_MAX: usize = 1232;

/// How long nothing is read from a socket that can't be read: it may be so for as long as an interface is gone.
const READ_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Who is told of which change, for the keeper that publishes and the task that sends.
#[derive(Default)]
pub(crate) struct Notifications {
    notifier: Mutex<Notifier>,
    changed: Notify,
}

impl Notifications {
    fn notifier(&self) -> MutexGuard<'_, Notifier> {
        // Each of the machine's steps leaves it whole before anything could panic.
        self.notifier.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A zone is served in this version.
    pub(crate) fn publish(&self, table: &Arc<Table>, targets: &[Target]) {
        self.notifier().publish(table, targets, Instant::now(), &mut || fastrand::u16(..));
        self.changed.notify_one();
    }

    /// A zone is served no more.
    pub(crate) fn forget(&self, zone: Name<'_>) {
        self.notifier().forget(zone);
    }

    /// Tells the secondaries of a zone once more; how many there are.
    pub(crate) fn again(&self, zone: Name<'_>) -> usize {
        let count = self.notifier().again(zone, Instant::now(), &mut || fastrand::u16(..));
        self.changed.notify_one();
        count
    }

    /// How it stands with the secondaries of a zone.
    pub(crate) fn statuses(&self, zone: Name<'_>) -> Vec<NotifyStatus> {
        let Some((serial, states)) = self.notifier().states(zone) else { return Vec::new() };
        let status = |(secondary, state): (SocketAddr, State)| NotifyStatus {
            secondary: secondary.to_string(),
            serial,
            state: match state {
                State::Waiting(attempts) => format!("not acknowledged yet, told {attempts} times"),
                State::Acknowledged => "acknowledged".to_owned(),
                State::Silent => "never acknowledged; it has to come by itself".to_owned(),
                State::Refused(rcode) => format!("refused with {rcode}"),
                State::Untrusted(error) => format!("refused: {error}"),
            },
        };
        states.into_iter().map(status).collect()
    }

    pub(super) fn counts(&self) -> Counts {
        self.notifier().counts()
    }
}

/// Tells secondaries what has changed, for as long as it is polled.
pub(crate) async fn notify_secondaries(transfers: Arc<Transfers>) -> Infallible {
    let notifications = &transfers.notifications;
    let mut sockets = Sockets::default();
    let mut answer = [0; ANSWER_MAX];
    loop {
        let datagrams = notifications.notifier().due(Instant::now(), wall_clock());
        for Datagram { to, message } in &datagrams {
            // Who is not reached now is told again.
            if let Err(error) = sockets.send(&transfers, *to, message).await {
                tracing::warn!("NOTIFY to {to} can't be sent: {error}; see `notify-source` under [transfer]");
            }
        }
        let next = match datagrams.len() {
            BURST_MAX.. => Some(Instant::now() + BURST_EVERY),
            _ => notifications.notifier().next_due(),
        };
        tokio::select! {
            () = notifications.changed.notified() => {}
            () = until(next) => {}
            (len, from) = sockets.receive(&mut answer) => {
                let heard = notifications.notifier().received(from, &answer[..len], wall_clock());
                if heard == Heard::Refused {
                    tracing::warn!("{from} refuses a NOTIFY; `starling ctl zones` shows of which zone, and why");
                }
            }
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due.into()).await,
        None => pending().await,
    }
}

/// A socket for each address that is sent from.
#[derive(Default)]
struct Sockets(HashMap<IpAddr, UdpSocket>);

impl Sockets {
    async fn send(&mut self, transfers: &Transfers, to: SocketAddr, message: &[u8]) -> io::Result<()> {
        let any: IpAddr =
            if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let sources = transfers.notify_sources();
        let source = sources.to(to.ip()).unwrap_or(any);
        // A reload may have brought another source: sockets that nothing is sent from go.
        self.0.retain(|address, _| address.is_unspecified() || sources.has(*address));
        let socket = match self.0.entry(source) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(UdpSocket::bind((source, 0)).await?),
        };
        socket.send_to(message, to).await.map(drop)
    }

    /// The next datagram from any of them.
    async fn receive(&self, buffer: &mut [u8]) -> (usize, SocketAddr) {
        loop {
            for socket in self.0.values() {
                if let Ok(received) = socket.try_recv_from(buffer) {
                    return received;
                }
            }
            let mut sockets = self.0.values();
            let failed = tokio::select! {
                ready = readable(sockets.next()) => ready.is_err(),
                ready = readable(sockets.next()) => ready.is_err(),
            };
            if failed {
                tokio::time::sleep(READ_AGAIN_AFTER).await;
            }
        }
    }
}

async fn readable(socket: Option<&UdpSocket>) -> io::Result<()> {
    match socket {
        Some(socket) => socket.readable().await,
        None => pending().await,
    }
}
