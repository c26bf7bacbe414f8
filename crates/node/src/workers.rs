//! The UDP workers: one thread for each, pinned to its CPU, answering batches.

use crate::secondary::Notices;
use crate::transfers::{Keyring, Transfers};
use nameserver::{Batch, Client, Counters, Family, Moment, Responder, Transport};
use netio::xdp::RingDrops;
use netio::{BatchResponder, CounterSnapshot, Datagram, Peer, UdpListener, Worker, WorkerHandle, pin};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;
use tokio::sync::mpsc;
use wire::probe::Seat;
use wire::query::is_notify;

/// What the workers' handles and counters are kept in.
pub(crate) struct Workers {
    handles: Vec<WorkerHandle>,
    counters: Vec<Arc<Counters>>,
    queue_drops: Mutex<QueueDrops>,
}

/// What the kernel has dropped in full queues, put together from counts that wrap and are not always there.
#[derive(Default)]
struct QueueDrops {
    last: Vec<u32>,
    total: u64,
}

/// That a worker has ended: asked to, or because it can't go on.
pub(crate) struct WorkerEnded {
    /// Why it can't go on; `None` where it was asked to end.
    pub(crate) failure: Option<String>,
}

/// The answer function at the end of `netio`'s batches.
pub(crate) struct BatchAnswers {
    responder: Responder,
    keyring: Keyring,
    notices: Option<Arc<Notices>>,
    /// When moments begin.
    start: Instant,
}

impl BatchAnswers {
    /// Answers with this responder; what is signed with one of these keys is answered so, too, and NOTIFY requests with
    /// `notices`. The moments of a rate limit are told from `start` on.
    pub(crate) fn new(
        responder: Responder,
        keyring: Keyring,
        notices: Option<Arc<Notices>>,
        start: Instant,
    ) -> BatchAnswers {
        BatchAnswers { responder, keyring, notices, start }
    }

    /// Answers a batch in which some are signed, without what a batch gains. Nodes have few signed queries: one for each
    /// zone and secondary at each refresh.
    #[cold]
    fn respond_one_by_one(&mut self, family: Family, batch: &mut [Datagram<'_>]) {
        let BatchAnswers { responder, keyring, .. } = self;
        responder.refresh();
        responder.expect_family(family);
        for datagram in batch {
            let buffer = datagram.reply.buffer();
            responder.expect_client(Some(datagram.peer.ip()));
            let len = if keyring.is_for(datagram.query) {
                keyring.respond(responder, datagram.query, Transport::Udp, buffer)
            } else {
                responder.respond(datagram.query, Transport::Udp, buffer)
            };
            datagram.reply.set_len(len);
        }
        responder.publish_counts();
    }

    /// Answers the NOTIFY requests of a batch, which the responder has left out.
    #[cold]
    fn answer_notifies(&mut self, batch: &mut [Datagram<'_>]) {
        let BatchAnswers { responder, keyring, notices: Some(notices), .. } = self else { return };
        for datagram in batch.iter_mut().filter(|datagram| is_notify(datagram.query)) {
            let buffer = datagram.reply.buffer();
            let (len, rcode) = notices.answer(datagram.query, datagram.peer.ip(), keyring, buffer);
            datagram.reply.set_len(len);
            if len > 0 {
                responder.count_response(rcode);
            }
        }
        responder.publish_counts();
    }
}

impl BatchResponder for BatchAnswers {
    fn respond(&mut self, batch: &mut [Datagram<'_>]) {
        self.keyring.refresh();
        if self.responder.is_limiting() {
            self.responder.expect_moment(Moment::after(self.start.elapsed()));
        }
        // A batch has one family: IPv6 sockets are opened for IPv6 alone, and rings see to it.
        let is_ipv4 = batch.first().is_none_or(|datagram| datagram.peer.is_ipv4());
        let family = if is_ipv4 { Family::V4 } else { Family::V6 };
        if batch.iter().any(|datagram| self.keyring.is_for(datagram.query)) {
            self.respond_one_by_one(family, batch);
        } else {
            self.responder.respond_batch(family, &mut Datagrams(batch));
        }
        if self.responder.take_notifies() > 0 {
            self.answer_notifies(batch);
        }
    }

    fn idle(&mut self) {
        self.responder.refresh();
        self.keyring.refresh();
    }
}

/// Datagrams as the answer function sees them.
struct Datagrams<'b, 'd>(&'b mut [Datagram<'d>]);

impl Batch for Datagrams<'_, '_> {
    type Client<'c> = Sender<'c>;

    #[inline]
    fn len(&self) -> usize {
        self.0.len()
    }

    #[inline]
    fn query(&self, index: usize) -> &[u8] {
        self.0[index].query
    }

    #[inline]
    fn reply(&mut self, index: usize, answer: impl FnOnce(&[u8], &Self::Client<'_>, &mut [u8]) -> usize) {
        let Datagram { query, peer, reply, .. } = &mut self.0[index];
        let len = answer(query, &Sender(peer), reply.buffer());
        reply.set_len(len);
    }
}

/// A peer as the answer function sees it.
struct Sender<'d>(&'d Peer);

impl Client for Sender<'_> {
    #[inline]
    fn address(&self) -> Option<IpAddr> {
        Some(self.0.ip())
    }
}

const _: () = assert!(netio::batch::REPLY_MAX_BYTES >= nameserver::UDP_RESPONSE_MAX);

/// A worker that is ready to start.
pub(crate) struct Prepared {
    worker: Worker,
    responder: Responder,
}

impl Workers {
    /// Makes workers of the sockets, one list for each.
    ///
    /// # Errors
    /// Out of descriptors.
    pub(crate) fn prepare(
        sockets: Vec<Vec<UdpListener>>,
        mut responder: impl FnMut(Arc<Counters>, Seat) -> Responder,
    ) -> io::Result<(Workers, Vec<Prepared>)> {
        let mut workers =
            Workers { handles: Vec::new(), counters: Vec::new(), queue_drops: Mutex::default() };
        let mut prepared = Vec::new();
        for (index, listeners) in sockets.into_iter().enumerate() {
            let worker = Worker::new(listeners)?;
            let counters = Arc::new(Counters::default());
            workers.handles.push(worker.handle());
            workers.counters.push(Arc::clone(&counters));
            let seat = Seat::UdpWorker(index as u16); // as many as there are CPUs, or were configured: never so many
            prepared.push(Prepared { worker, responder: responder(counters, seat) });
        }
        Ok((workers, prepared))
    }

    /// Starts the threads, with who answers NOTIFY requests; each says once over `ended` that it has ended.
    ///
    /// # Errors
    /// The CPUs of the process can't be read, or a thread can't be started.
    pub(crate) fn start(
        prepared: Vec<Prepared>,
        transfers: &Arc<Transfers>,
        notices: Option<&Arc<Notices>>,
        ended: &mpsc::UnboundedSender<WorkerEnded>,
    ) -> io::Result<()> {
        let (cpus, start) = (pin::allowed_cpus()?, Instant::now());
        for (index, Prepared { worker, responder }) in prepared.into_iter().enumerate() {
            let cpu = pin::cpu_of_worker(&cpus, index);
            let (ended, keyring, notices) = (ended.clone(), Keyring::new(transfers), notices.cloned());
            thread::Builder::new().name(format!("udp-{index}")).spawn(move || {
                if let Some(cpu) = cpu
                    && let Err(error) = pin::pin_current_thread(cpu)
                {
                    tracing::warn!(
                        "UDP worker {index} is not pinned to CPU {}, and may be slower: {error}",
                        cpu.0
                    );
                }
                let result = worker.serve(&mut BatchAnswers::new(responder, keyring, notices, start));
                let failure = result.err().map(|error| format!("UDP worker {index} can't go on: {error}"));
                // The receiver is gone only when the process ends anyway.
                let _gone = ended.send(WorkerEnded { failure });
            })?;
        }
        Ok(())
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.handles.len()
    }

    /// The workers' handles.
    pub(crate) fn handles(&self) -> &[WorkerHandle] {
        &self.handles
    }

    /// Further descriptors of their sockets, each with the worker and the address, for another server.
    ///
    /// # Errors
    /// Out of descriptors.
    pub(crate) fn duplicate_sockets(&self) -> io::Result<Vec<(usize, SocketAddr, OwnedFd)>> {
        let mut all = Vec::new();
        for (worker, handle) in self.handles.iter().enumerate() {
            let sockets = handle.duplicate_sockets()?;
            all.extend(sockets.into_iter().map(|(address, socket)| (worker, address, socket)));
        }
        Ok(all)
    }

    /// Asks all of them to end.
    pub(crate) fn stop(&self) {
        self.handles.iter().for_each(WorkerHandle::stop);
    }

    /// What the workers have received and sent, together.
    pub(crate) fn socket_counts(&self) -> CounterSnapshot {
        let mut total = CounterSnapshot::default();
        for handle in &self.handles {
            total += handle.counters();
        }
        total
    }

    /// Datagrams that the kernel dropped because a queue was full; in an overload, where they count as shed, as of
    /// before it.
    pub(crate) fn queue_drops(&self) -> u64 {
        // A panic ends the process, so that nobody sees a poisoned lock.
        let mut drops = self.queue_drops.lock().unwrap_or_else(PoisonError::into_inner);
        drops.last.resize(self.handles.len(), 0);
        let QueueDrops { last, total } = &mut *drops;
        for (last, handle) in last.iter_mut().zip(&self.handles) {
            if let Ok(Some(now)) = handle.queue_overflows() {
                *total += u64::from(now.wrapping_sub(*last));
                *last = now;
            }
        }
        *total
    }

    /// What was dropped before the rings of the workers, now and since they were opened.
    pub(crate) fn ring_drops(&self) -> RingDrops {
        let mut total = RingDrops::default();
        for drops in self.handles.iter().flat_map(WorkerHandle::rings).filter_map(|ring| ring.drops()) {
            total.ring_full += drops.ring_full;
            total.no_frame += drops.no_frame;
            total.other += drops.other;
        }
        total
    }

    /// What the answer function counts, for each worker.
    pub(crate) fn answer_counters(&self) -> &[Arc<Counters>] {
        &self.counters
    }

    /// For each worker a number that grows at least every tenth of a second while it is well.
    pub(crate) fn rounds(&self) -> Vec<u64> {
        self.handles.iter().map(|handle| handle.counters().rounds).collect()
    }
}

#[cfg(test)]
mod tests;
