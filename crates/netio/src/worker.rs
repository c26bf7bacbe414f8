//! The worker's loop: wait, receive, respond, send.
//!
//! Two system calls a batch while the queues are full, and a `poll` every ninth round (counted with strace
//! under load). It waits with `poll` rather than `epoll`, which is cheaper for a lone query but has the
//! kernel call back for every datagram that arrives while nobody waits. Compared with a reflector that blocks
//! in `recvmmsg`, with one socket and nobody to wake it (CPU of the server thread for a query, loopback,
//! dnsperf, median of 3): 1.02 with 400 queries in flight, where pairs spread from 0.96 to 1.13; 1.05 with
//! 16; 1.14 with one.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::batch::{BATCH_LEN, Batch, BatchResponder};
use crate::counters::{CounterSnapshot, WorkerCounters};
use crate::socket_source::SocketSource;
use crate::sys;
use crate::udp::{ReceiveQueue, UdpListener};
use crate::xdp::{self, Ring, RingWatch};

/// The longest a worker sleeps before it calls [`BatchResponder::idle`], in milliseconds.
///
/// An old table is freed when every worker has looked at the generation, so this bounds how long it lives.
/// Ten wake-ups a second cost nothing; a longer sleep would only delay the control plane when nobody calls
/// [`WorkerHandle::wake`].
pub const IDLE_INTERVAL_MS: u32 = 100;

/// A socket that gave at least this many datagrams is asked again without waiting first.
///
/// Under load the next queries arrive while these are answered, and the wait, about a tenth of the cost of a
/// lone query on loopback, would always say "ready". After a single datagram the queue is most likely empty,
/// and asking would be the wasted call.
const BUSY_BATCH_LEN: usize = 2;

/// Rounds over busy sockets after which the quiet ones and the event counter are looked at.
///
/// Bounds what a query to a quiet address waits behind a flooded one: 8 batches, under 1 ms. At 8 full
/// batches the look costs a few ns a datagram.
const ROUNDS_BETWEEN_POLLS: u32 = 8;

/// Waits after which it is made sure that no filter keeps out what could be answered; a wait that ends without a datagram
/// does it too.
///
/// A look is 0.3 µs a socket. At full load this is about once in 80 ms, and a worker that gets twenty queries a second on
/// its other sockets takes three seconds.
const WAITS_BETWEEN_REVIEWS: u32 = 64;

/// The position of a listener in the list its worker was made with; rings come after them, as they were added.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ListenerIndex(pub usize);

/// The sockets of one worker and its loop.
#[derive(Debug)]
pub struct Worker {
    listeners: Arc<[UdpListener]>,
    shared: Arc<Shared>,
}

/// What a worker and its handles share.
#[derive(Debug)]
struct Shared {
    counters: WorkerCounters,
    /// What the kernel had dropped at the sockets when the worker was made: they may be another process's too.
    drops_before: u32,
    stop: AtomicBool,
    /// Written to interrupt the wait; an `eventfd`.
    event: File,
    /// Rings that the worker has not taken yet. It looks here only when it was woken.
    arrivals: Mutex<Vec<Ring>>,
    /// A look at each ring it was given.
    watches: Mutex<Vec<RingWatch>>,
}

/// A view on a worker for other threads: wake it, stop it, read its counters.
///
/// Does not keep the sockets open: when the worker has returned they are closed, whoever still holds a
/// handle.
#[derive(Clone, Debug)]
pub struct WorkerHandle {
    listeners: Weak<[UdpListener]>,
    shared: Arc<Shared>,
}

/// Why a worker cannot go on.
#[derive(Debug)]
pub enum ServeError {
    /// A socket fails in a way that does not pass, such as being destroyed by the administrator (`ss
    /// --kill`).
    Receive {
        /// The address the socket is bound to.
        address: SocketAddr,
        /// The error of the receive call.
        source: io::Error,
    },
    /// Waiting for datagrams fails.
    Wait(io::Error),
}

impl Worker {
    /// Makes a worker of its sockets, one for each address it serves. Nothing is received yet.
    ///
    /// The error is that of `eventfd`: out of descriptors or memory.
    pub fn new(listeners: Vec<UdpListener>) -> io::Result<Worker> {
        let event = File::from(sys::event_counter()?);
        let shared = Shared {
            counters: WorkerCounters::default(),
            drops_before: total_drops(&listeners)?,
            stop: AtomicBool::new(false),
            event,
            arrivals: Mutex::default(),
            watches: Mutex::default(),
        };
        Ok(Worker { listeners: listeners.into(), shared: Arc::new(shared) })
    }

    /// A handle for other threads.
    pub fn handle(&self) -> WorkerHandle {
        WorkerHandle { listeners: Arc::downgrade(&self.listeners), shared: Arc::clone(&self.shared) }
    }

    /// Answers datagrams on the calling thread until [`WorkerHandle::stop`], then closes the sockets.
    ///
    /// On stop the replies in hand go out, then what the sockets' queues hold is answered too: at most as
    /// many batches as a receive buffer can hold, so a continuing flood cannot keep the worker alive.
    /// Datagrams that arrive after that are lost, so withdraw the route first, unless another process has the
    /// sockets too ([`WorkerHandle::duplicate_sockets`]): it finds in the queues whatever was not taken here, and
    /// nothing is taken here that is not answered. Buffers are allocated here, on the worker's own CPU.
    ///
    /// # Errors
    ///
    /// Only what does not pass: see [`ServeError`]. The worker is deaf then, and the caller has to
    /// end the process or build the whole group anew.
    pub fn serve<R: BatchResponder>(self, responder: &mut R) -> Result<(), ServeError> {
        let mut serving = Serving::new(&self);
        let mut rounds = 0;
        while !self.shared.stop.load(Ordering::Acquire) {
            let busy = serving.round(responder)?;
            if busy && rounds < ROUNDS_BETWEEN_POLLS {
                rounds += 1;
                continue;
            }
            rounds = 0;
            serving.wait(if busy { 0 } else { IDLE_INTERVAL_MS }, responder)?;
        }
        serving.drain(responder)
    }
}

/// A worker in its loop.
struct Serving<'a> {
    worker: &'a Worker,
    batch: Batch,
    sockets: Box<[SocketSource<'a>]>,
    rings: Vec<Ring>,
    /// Whether to ask the listener or ring in the next round.
    ready: Vec<bool>,
    /// The event counter, then the listeners and rings in their order.
    poll_fds: Vec<libc::pollfd>,
    waits: u32,
}

impl<'a> Serving<'a> {
    fn new(worker: &'a Worker) -> Serving<'a> {
        let socket =
            |(index, listener)| SocketSource::new(listener, ListenerIndex(index), &worker.shared.counters);
        let mut serving = Serving {
            worker,
            batch: Batch::new(),
            sockets: worker.listeners.iter().enumerate().map(socket).collect(),
            rings: Vec::new(),
            ready: Vec::new(),
            poll_fds: Vec::new(),
            waits: 0,
        };
        serving.arrange();
        serving
    }

    /// Makes the lists over all sources anew, and asks all of them in the next round.
    fn arrange(&mut self) {
        let listeners = self.worker.listeners.iter().map(|listener| listener.as_fd().as_raw_fd());
        let rings = self.rings.iter().map(|ring| ring.as_fd().as_raw_fd());
        let fds = [self.worker.shared.event.as_raw_fd()].into_iter().chain(listeners).chain(rings);
        self.poll_fds = fds.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 }).collect();
        self.ready = vec![true; self.poll_fds.len() - 1];
    }

    /// Takes the rings that have arrived.
    #[cold]
    fn take_arrivals(&mut self) {
        let mut arrivals = self.worker.shared.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        if !arrivals.is_empty() {
            self.rings.append(&mut arrivals);
            drop(arrivals);
            self.arrange();
        }
    }

    /// Gives each ready listener one batch; tells whether one of them is worth asking again at once.
    fn round<R: BatchResponder>(&mut self, responder: &mut R) -> Result<bool, ServeError> {
        self.worker.shared.counters.rounds.add(1);
        let mut busy = false;
        let mut position = 0;
        // A ring that is given up on the way makes the list shorter.
        while position < self.ready.len() {
            if self.ready[position] {
                let again = self.turn(position, responder)? >= BUSY_BATCH_LEN
                    || self.sockets.get(position).is_some_and(SocketSource::is_shedding);
                if let Some(ready) = self.ready.get_mut(position) {
                    *ready = again;
                }
                busy |= again;
            }
            position += 1;
        }
        Ok(busy)
    }

    /// Receives and answers one batch; 0 when there was none, or an error that passes.
    fn turn<R: BatchResponder>(&mut self, position: usize, responder: &mut R) -> Result<usize, ServeError> {
        let Some(socket) = self.sockets.get_mut(position) else {
            return Ok(self.ring_turn(position, responder));
        };
        match socket.turn(&mut self.batch, responder) {
            Ok(received) => Ok(received),
            Err(source) if passes(&source) => {
                self.worker.shared.counters.receive_errors.add(1);
                Ok(0)
            }
            Err(source) => Err(ServeError::Receive { address: socket.listener().address(), source }),
        }
    }

    /// The same for a ring. One whose interface is gone is given up; sockets go on.
    fn ring_turn<R: BatchResponder>(&mut self, position: usize, responder: &mut R) -> usize {
        let counters = &self.worker.shared.counters;
        let Some(ring) = self.rings.get_mut(position - self.worker.listeners.len()) else { return 0 };
        ring.turn(ListenerIndex(position), counters, responder).unwrap_or_else(|_gone| {
            self.give_up_lost();
            0
        })
    }

    /// Closes the rings whose interface is gone.
    #[cold]
    fn give_up_lost(&mut self) {
        let before = self.rings.len();
        self.rings.retain(|ring| ring.check().is_ok());
        let lost = before - self.rings.len();
        if lost > 0 {
            self.worker.shared.counters.rings_lost.add(lost as u64);
            self.arrange();
        }
    }

    /// Waits for datagrams or an event; a wait that ends without datagrams calls `idle`.
    fn wait<R: BatchResponder>(&mut self, timeout_ms: u32, responder: &mut R) -> Result<(), ServeError> {
        match sys::poll(&mut self.poll_fds, timeout_ms as i32) {
            Ok(0) if timeout_ms > 0 => {
                self.give_up_lost();
                self.review();
                responder.idle();
            }
            Ok(0) => {}
            Ok(_) => {
                let (event, sources) = self.poll_fds.split_first().unzip();
                for (ready, fd) in self.ready.iter_mut().zip(sources.into_iter().flatten()) {
                    *ready |= fd.revents != 0; // an error is told, and cleared, by the receive call
                }
                if event.is_some_and(|event| event.revents != 0) {
                    // Resets the counter; whether it had been reset before does not matter.
                    let _ = (&self.worker.shared.event).read(&mut [0; 8]);
                    self.take_arrivals();
                    responder.idle();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ServeError::Wait(error)),
        }
        self.waits = self.waits.wrapping_add(1);
        if self.waits.is_multiple_of(WAITS_BETWEEN_REVIEWS) {
            self.review();
        }
        Ok(())
    }

    fn review(&mut self) {
        self.sockets.iter_mut().for_each(SocketSource::review);
    }

    /// Answers what the queues hold.
    fn drain<R: BatchResponder>(&mut self, responder: &mut R) -> Result<(), ServeError> {
        self.take_arrivals();
        for position in 0..self.ready.len() {
            let of_a_ring = xdp::RING_LEN / BATCH_LEN + 1;
            let batches_max = self.sockets.get(position).map_or(of_a_ring, SocketSource::batches_max);
            for _ in 0..batches_max {
                self.worker.shared.counters.rounds.add(1);
                if self.turn(position, responder)? == 0 {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// What the kernel has dropped at these sockets, modulo 2³².
fn total_drops(listeners: &[UdpListener]) -> io::Result<u32> {
    listeners.iter().try_fold(0u32, |sum, listener| Ok(sum.wrapping_add(listener.receive_queue()?.drops)))
}

/// Whether the next receive call may well succeed.
fn passes(error: &io::Error) -> bool {
    use libc::{
        ECONNREFUSED, EHOSTDOWN, EHOSTUNREACH, EINTR, EMSGSIZE, ENETDOWN, ENETUNREACH, ENOBUFS, ENOMEM,
        EPROTO,
    };
    let passing = [
        ECONNREFUSED,
        EHOSTDOWN,
        EHOSTUNREACH,
        EINTR,
        EMSGSIZE,
        ENETDOWN,
        ENETUNREACH,
        ENOBUFS,
        ENOMEM,
        EPROTO,
    ];
    error.raw_os_error().is_some_and(|errno| passing.contains(&errno))
}

impl WorkerHandle {
    /// Asks the worker to finish; returns at once. See [`Worker::serve`] for what it still does.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        self.wake();
    }

    /// Makes the worker call [`BatchResponder::idle`] soon, if it is not busy responding anyway.
    pub fn wake(&self) {
        // Fails only when the counter is at its limit, and then the worker is already due to wake.
        let _ = (&self.shared.event).write(&1u64.to_ne_bytes());
    }

    /// Gives the worker a ring to serve beside its sockets. Should it have ended, the ring is closed with the last handle.
    pub fn add_ring(&self, ring: Ring) {
        self.shared.watches.lock().unwrap_or_else(PoisonError::into_inner).push(ring.watch());
        self.shared.arrivals.lock().unwrap_or_else(PoisonError::into_inner).push(ring);
        self.wake();
    }

    /// A look at the worker's rings; those that are closed are left out.
    pub fn rings(&self) -> Vec<RingWatch> {
        let mut watches = self.shared.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.retain(RingWatch::is_open);
        watches.clone()
    }

    /// Further descriptors of the worker's sockets, in the order of its listeners, for another process to
    /// adopt with [`UdpListener::adopt`]; none once the worker has returned.
    ///
    /// # Errors
    ///
    /// Out of descriptors.
    pub fn duplicate_sockets(&self) -> io::Result<Vec<(SocketAddr, OwnedFd)>> {
        let listeners = self.listeners.upgrade();
        let listeners = listeners.iter().flat_map(|listeners| listeners.iter());
        listeners.map(|listener| Ok((listener.address(), listener.as_fd().try_clone_to_owned()?))).collect()
    }

    /// The worker's counters now.
    pub fn counters(&self) -> CounterSnapshot {
        self.shared.counters.snapshot()
    }

    /// Datagrams that the kernel dropped at the worker's sockets because a queue was full, since the worker was made;
    /// wraps at 2³².
    ///
    /// Those that were turned away in an overload are not among them: [`CounterSnapshot::shed`] has them. `None` while an
    /// overload lasts, when it does not grow, and once the worker has returned.
    /// System calls and errors as for [`WorkerHandle::receive_queues`].
    pub fn queue_overflows(&self) -> io::Result<Option<u32>> {
        let Some(listeners) = self.listeners.upgrade() else { return Ok(None) };
        let before = self.counters();
        let drops = total_drops(&listeners)?.wrapping_sub(self.shared.drops_before);
        let after = self.counters();
        let is_calm = before.overloads_begun == before.overloads_ended
            && before.overloads_begun == after.overloads_begun;
        Ok(is_calm.then(|| drops.wrapping_sub(after.turned_away as u32))) // all of it modulo 2³²
    }

    /// The receive queues of the worker's sockets, in the order of its listeners; none once it has returned.
    ///
    /// A system call a socket: for the control plane, at the pace of a metrics scrape. The error is that of
    /// `getsockopt`, which no open UDP socket gives.
    pub fn receive_queues(&self) -> io::Result<Vec<(SocketAddr, ReceiveQueue)>> {
        let listeners = self.listeners.upgrade();
        let listeners = listeners.iter().flat_map(|listeners| listeners.iter());
        listeners.map(|listener| Ok((listener.address(), listener.receive_queue()?))).collect()
    }
}

impl std::fmt::Display for ServeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ServeError::Receive { address, source } => write!(f, "receiving on UDP {address}: {source}"),
            ServeError::Wait(source) => write!(f, "waiting for datagrams: {source}"),
        }
    }
}

impl std::error::Error for ServeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ServeError::Receive { source, .. } | ServeError::Wait(source) => Some(source),
        }
    }
}
