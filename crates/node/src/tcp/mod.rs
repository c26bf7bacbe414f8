//! DNS over TCP (RFC 7766): a few plain threads, each with its own listeners, responder and event loop; and one more for DNS over
//! TLS (RFC 7858), whose handshakes cost as much as hundreds of answers and shall not keep others waiting.
//!
//! The answer function is fast and pure, so queries of a connection are answered in their order, on the thread that read
//! them. Connections of a thread share its responder; nothing is locked for a query.

mod admission;
mod connection;
mod ending;
mod padding;
mod stream;
mod tls;
mod transfer;

pub(crate) use admission::ConnectionCounts;

use crate::config::TcpConfig;
use crate::secondary::Notices;
use crate::status::OutgoingCounts;
use crate::transfers::{Keyring, Transfers};
use admission::{Admission, Refusal, Ticket};
use ending::Ending;
use nameserver::Responder;
use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::Instant;
use wire::message::MESSAGE_MAX;

/// How long a listener that can't accept, most likely for lack of descriptors, waits before it tries again.
/// Shorter would spin, longer would leave clients waiting that a closed connection has made room for.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How often a thread says that it lives: as often as an idle UDP worker does.
const BEAT_EVERY: Duration = Duration::from_millis(netio::worker::IDLE_INTERVAL_MS as u64);

/// How many accepted connections wait for their thread: the rest waits in the kernel's backlog.
const ACCEPTED_MAX: usize = 16;

/// The TCP service.
pub(crate) struct Service {
    admission: Arc<Admission>,
    transfers: Arc<Transfers>,
    limits: TcpConfig,
    stop: watch::Sender<Option<Ending>>,
    published: watch::Sender<u64>,
    beats: Vec<Arc<AtomicU64>>,
    /// Further descriptors of the listeners with the threads they belong to, for another server; given up with the
    /// listeners, since an open one lets the kernel go on accepting.
    duplicates: Mutex<Vec<(Role, OwnedFd)>>,
}

/// What a thread is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// DNS over TCP; the thread's position among its kind.
    Tcp(u16),
    /// DNS over TLS. The route does not hang on it: no client but a secondary depends on it.
    Tls,
}

/// What a thread of the service starts with.
pub(crate) struct Prepared {
    /// What it is for.
    pub(crate) role: Role,
    /// Its listeners, one for each address, not blocking.
    pub(crate) listeners: Vec<TcpListener>,
    /// Its responder.
    pub(crate) responder: Responder,
    /// Who answers NOTIFY requests.
    pub(crate) notices: Option<Arc<Notices>>,
}

/// The part of a thread that its connections share.
struct Shared {
    role: Role,
    answering: RefCell<Answering>,
    limits: TcpConfig,
    admission: Arc<Admission>,
    transfers: Arc<Transfers>,
    stop: watch::Receiver<Option<Ending>>,
}

/// The responder of a thread and room for one response.
struct Answering {
    responder: Responder,
    keyring: Keyring,
    notices: Option<Arc<Notices>>,
    response: Box<[u8]>,
}

impl Service {
    /// Starts a thread for each of `prepared`; each drops its clone of `running` when it has ended.
    ///
    /// # Errors
    /// A thread or its event loop can't be made, or the process is out of descriptors.
    pub(crate) fn start(
        limits: &TcpConfig,
        prepared: Vec<Prepared>,
        transfers: &Arc<Transfers>,
        running: &mpsc::Sender<()>,
    ) -> io::Result<Service> {
        let admission = Arc::new(Admission::new(limits));
        let (stop, stopped) = watch::channel(None);
        let (published, changes) = watch::channel(0);
        let mut beats = Vec::new();
        let mut duplicates = Vec::new();
        for Prepared { role, listeners, responder, notices } in prepared {
            for listener in &listeners {
                duplicates.push((role, listener.as_fd().try_clone_to_owned()?));
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
            let (admission, transfers) = (Arc::clone(&admission), Arc::clone(transfers));
            let beat = Arc::new(AtomicU64::new(0));
            let name = match role {
                Role::Tcp(index) => {
                    beats.push(Arc::clone(&beat));
                    format!("tcp-{index}")
                }
                Role::Tls => "tls".to_owned(),
            };
            let (limits, stop, changes, running) =
                (limits.clone(), stopped.clone(), changes.clone(), running.clone());
            thread::Builder::new().name(name).spawn(move || {
                let response = vec![0; MESSAGE_MAX].into_boxed_slice();
                let keyring = Keyring::new(&transfers);
                let answering = RefCell::new(Answering { responder, keyring, notices, response });
                let shared = Rc::new(Shared { role, answering, limits, admission, transfers, stop });
                LocalSet::new().block_on(&runtime, async {
                    tokio::select! {
                        () = serve(listeners, shared, changes) => {}
                        () = count_beats(&beat) => {}
                    }
                });
                drop(running);
            })?;
        }
        let (limits, duplicates, transfers) = (limits.clone(), Mutex::new(duplicates), Arc::clone(transfers));
        Ok(Service { admission, transfers, limits, stop, published, beats, duplicates })
    }

    /// What wakes the threads so that they take in what was published.
    pub(crate) fn waker(&self) -> impl Fn() + Send + use<> {
        let published = self.published.clone();
        move || published.send_modify(|count| *count = count.wrapping_add(1))
    }

    /// Asks the threads to end: they accept nothing more, and answer what they have received. Gives the time by which they
    /// have ended.
    pub(crate) fn stop(&self) -> Instant {
        self.end(Ending::now())
    }

    /// Asks the threads to end when their clients do: they accept nothing more, and answer for as long as they are asked,
    /// within a bound. For when another server has the listeners too. Gives the time by which they have ended.
    pub(crate) fn leave(&self) -> Instant {
        self.end(Ending::when_quiet(self.limits.idle_timeout))
    }

    fn end(&self, ending: Ending) -> Instant {
        self.duplicates.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.stop.send_replace(Some(ending));
        ending.cut_off_at()
    }

    /// Further descriptors of the listeners, each with the thread it belongs to and its address, for another server.
    /// There are none once the threads were asked to end.
    ///
    /// # Errors
    /// Out of descriptors.
    pub(crate) fn duplicate_listeners(&self) -> io::Result<Vec<(Role, SocketAddr, OwnedFd)>> {
        let duplicates = self.duplicates.lock().unwrap_or_else(PoisonError::into_inner);
        let again = duplicates.iter().map(|(role, listener)| {
            let listener = TcpListener::from(listener.try_clone()?);
            Ok((*role, listener.local_addr()?, listener.into()))
        });
        again.collect()
    }

    /// For each thread of DNS over TCP a number that grows every tenth of a second while it is well.
    pub(crate) fn beats(&self) -> Vec<u64> {
        self.beats.iter().map(|beat| beat.load(Ordering::Relaxed)).collect()
    }

    /// What has become of the connections.
    pub(crate) fn counts(&self) -> ConnectionCounts {
        self.admission.counts()
    }

    /// Until when the certificate that is shown over TLS is good, in seconds since 1970.
    pub(crate) fn certificate_not_after(&self) -> Option<i64> {
        self.transfers.identity()?.not_after()
    }

    /// What has become of transfers to secondaries.
    pub(crate) fn transfer_counts(&self) -> OutgoingCounts {
        self.transfers.counts()
    }
}

/// Counts for as long as the thread's tasks get their turns. Never ends.
async fn count_beats(beat: &AtomicU64) {
    let mut interval = tokio::time::interval(BEAT_EVERY);
    loop {
        interval.tick().await;
        beat.fetch_add(1, Ordering::Relaxed);
    }
}

/// The life of a thread.
async fn serve(listeners: Vec<TcpListener>, shared: Rc<Shared>, mut changes: watch::Receiver<u64>) {
    let (sender, mut accepted) = mpsc::channel(ACCEPTED_MAX);
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn_local(accept(listener, sender.clone(), shared.stop.clone()));
    }
    drop(sender);
    let mut connections = JoinSet::new();
    let mut stop = shared.stop.clone();
    loop {
        tokio::select! {
            biased;
            // An error means that the service itself is gone, which comes to the same.
            _ = stop.wait_for(Option::is_some) => break,
            Ok(()) = changes.changed() => shared.answering.borrow_mut().responder.refresh(),
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            Some((stream, peer)) = accepted.recv() => admit(stream, peer, &shared, &mut connections),
        }
    }
    // What was accepted and not yet looked at may have asked already; there is an end when no listener is left.
    while let Some((stream, peer)) = accepted.recv().await {
        admit(stream, peer, &shared, &mut connections);
    }
    tokio::select! {
        () = async { while connections.join_next().await.is_some() {} } => {}
        () = ending::cut_off(stop) => {
            let count = connections.len();
            tracing::info!("{count} TCP connections were cut off: their clients did not take their answers in time");
        }
    }
}

/// Accepts connections until the service ends.
async fn accept(
    listener: TcpListener,
    accepted: mpsc::Sender<(TcpStream, SocketAddr)>,
    mut stop: watch::Receiver<Option<Ending>>,
) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!("a TCP listener can't be watched, and is deaf: {error}");
            return;
        }
    };
    let mut was_failing = false;
    loop {
        // Given up between two connections only: one that is accepted is passed on.
        let connection = tokio::select! {
            biased;
            _ = stop.wait_for(Option::is_some) => return,
            connection = listener.accept() => connection,
        };
        match connection {
            Ok(connection) => {
                was_failing = false;
                if accepted.send(connection).await.is_err() {
                    return;
                }
            }
            // Of the one connection, which its client has already given up.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
                ) => {}
            Err(error) => {
                if !was_failing {
                    tracing::warn!(
                        "TCP connections can't be accepted; raise the limit of open files if it is that: {error}"
                    );
                }
                was_failing = true;
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn admit(stream: TcpStream, peer: SocketAddr, shared: &Rc<Shared>, connections: &mut JoinSet<()>) {
    let ticket = match Ticket::take(&shared.admission, peer.ip()) {
        Ok(ticket) => ticket,
        // Closing is all: the client is told by a FIN, and RFC 7766 §6.2.2 has it expect that.
        Err(Refusal::TooManyOfClient | Refusal::TooMany) => return,
    };
    // Answers are written whole, so waiting for more to send with them only delays them.
    let _slower_otherwise = stream.set_nodelay(true);
    let shared = Rc::clone(shared);
    let peer = peer.ip();
    match shared.role {
        Role::Tcp(_) => {
            connections.spawn_local(async move { connection::serve(stream, peer, &shared, &ticket).await });
        }
        Role::Tls => {
            connections.spawn_local(async move {
                if let Some(stream) = tls::shake_hands(stream, peer, &shared, &ticket).await {
                    connection::serve(stream, peer, &shared, &ticket).await;
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nameserver::{Counters, Settings};
    use table::publish::Publisher;
    use wire::probe::Seat;

    #[test]
    fn every_thread_counts_that_it_lives() {
        let mut publisher = Publisher::new();
        let prepared = [0, 1].map(|thread| Prepared {
            role: Role::Tcp(thread),
            listeners: Vec::new(),
            responder: Responder::new(
                publisher.reader(),
                Arc::new(Settings::default()),
                Arc::new(Counters::default()),
                Seat::TcpThread(thread),
            ),
            notices: None,
        });
        let (running, mut ended) = mpsc::channel(1);
        let service =
            Service::start(&TcpConfig::default(), prepared.into(), &Arc::default(), &running).unwrap();
        drop(running);
        let start = Instant::now();
        while service.beats().iter().any(|beat| *beat < 3) {
            assert!(start.elapsed() < Duration::from_secs(10), "{:?}", service.beats());
            thread::yield_now();
        }
        service.stop();
        assert!(ended.blocking_recv().is_none(), "the threads end though they count");
    }
}
