//! A socket as a source of batches, with a queue that is kept short in an overload.

use std::io;
use std::time::Instant;

use crate::batch::{BATCH_LEN, Batch, BatchResponder};
use crate::counters::WorkerCounters;
use crate::overload::{self, Act, Overload};
use crate::udp::UdpListener;
use crate::worker::ListenerIndex;

/// The least the kernel charges to the receive buffer for a datagram: one `sk_buff` and its head.
const DATAGRAM_CHARGE_MIN_BYTES: usize = 512;

/// One listener of a worker.
pub(crate) struct SocketSource<'a> {
    listener: &'a UdpListener,
    index: ListenerIndex,
    counters: &'a WorkerCounters,
    overload: Overload,
    /// What the kernel had dropped when that was last counted as shed.
    drops_seen: u32,
}

impl<'a> SocketSource<'a> {
    pub(crate) fn new(
        listener: &'a UdpListener,
        index: ListenerIndex,
        counters: &'a WorkerCounters,
    ) -> SocketSource<'a> {
        SocketSource { listener, index, counters, overload: Overload::none(), drops_seen: 0 }
    }

    pub(crate) fn listener(&self) -> &'a UdpListener {
        self.listener
    }

    /// Whether to ask again at once though the queue was empty.
    pub(crate) fn is_shedding(&self) -> bool {
        self.overload.is_shedding()
    }

    /// The most batches that the queue can hold.
    pub(crate) fn batches_max(&self) -> usize {
        // Twice what was granted: in the unit in which the kernel charges datagrams.
        2 * self.listener.buffers().receive_bytes / DATAGRAM_CHARGE_MIN_BYTES / BATCH_LEN + 1
    }

    /// Receives and answers one batch, and sees to it that the queue does not become old; gives the number received.
    pub(crate) fn turn<R: BatchResponder>(
        &mut self,
        batch: &mut Batch,
        responder: &mut R,
    ) -> io::Result<usize> {
        let received = batch.turn(self.listener, self.index, self.counters, responder);
        let len = *received.as_ref().unwrap_or(&0);
        let kind = if len == BATCH_LEN { overload::Batch::Full } else { overload::Batch::Short };
        if self.overload.wants(kind) {
            let drops = || drops(self.listener).unwrap_or(self.drops_seen);
            let was_on = self.overload.is_on();
            let act = self.overload.answered(Instant::now(), kind, len as u64, drops);
            self.act(was_on, act, batch);
        }
        received
    }

    fn act(&mut self, was_on: bool, act: Act, batch: &mut Batch) {
        if !was_on && self.overload.is_on() {
            // What was dropped so far, the queue had no room for.
            self.drops_seen = drops(self.listener).unwrap_or(self.drops_seen);
            self.counters.overloads_begun.add(1);
        }
        match act {
            Act::Nothing => return,
            Act::Admit(share) => self.admit(share),
            Act::Renew(share) => {
                self.admit(share);
                self.discard(batch);
            }
        }
        self.count_turned_away();
        if was_on && !self.overload.is_on() {
            self.counters.overloads_ended.add(1);
        }
    }

    fn admit(&self, share: f64) {
        if share < 1.0 {
            // Refused for want of memory, it leaves the filter as it was, and the next try is 10 ms away.
            let _ = self.listener.admit(share);
        } else {
            self.listener.admit_all();
        }
    }

    fn discard(&mut self, batch: &mut Batch) {
        for _ in 0..self.batches_max() {
            match batch.discard(self.listener) {
                Ok(discarded) => {
                    self.counters.discarded.add(discarded as u64);
                    self.overload.discarded(discarded as u64);
                }
                Err(_) => break, // an empty queue; and any other error is for the next turn to meet
            }
        }
    }

    fn count_turned_away(&mut self) {
        let now = drops(self.listener).unwrap_or(self.drops_seen);
        self.counters.turned_away.add(u64::from(now.wrapping_sub(self.drops_seen)));
        self.drops_seen = now;
    }

    /// Sees to it that nothing is kept out which could be answered: by a filter of this worker whose overload has ended so
    /// suddenly that no batch told of it, or by one that another process, which had the socket too, left when it was killed.
    pub(crate) fn review(&mut self) {
        let was_on = self.overload.is_on();
        if self.overload.quiet(Instant::now()) || !was_on {
            self.listener.admit_all();
        }
        self.settle(was_on);
    }

    /// Counts what an overload that has just ended has cost.
    fn settle(&mut self, was_on: bool) {
        if was_on && !self.overload.is_on() {
            self.count_turned_away();
            self.counters.overloads_ended.add(1);
        }
    }
}

fn drops(listener: &UdpListener) -> Option<u32> {
    listener.receive_queue().ok().map(|queue| queue.drops)
}

impl Drop for SocketSource<'_> {
    /// Another process may have the socket too.
    fn drop(&mut self) {
        let was_on = self.overload.is_on();
        if was_on {
            self.overload = Overload::none();
            self.listener.admit_all();
        }
        self.settle(was_on);
    }
}
