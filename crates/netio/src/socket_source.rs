//! A socket as a source of batches, and its gate.

use std::io;
use std::time::Instant;

use crate::batch::{BATCH_LEN, Batch, BatchResponder};
use crate::counters::WorkerCounters;
use crate::overload::{Act, Overload};
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
    /// What the kernel had dropped when the gate was closed.
    drops_at_close: u32,
}

impl<'a> SocketSource<'a> {
    pub(crate) fn new(
        listener: &'a UdpListener,
        index: ListenerIndex,
        counters: &'a WorkerCounters,
    ) -> SocketSource<'a> {
        SocketSource { listener, index, counters, overload: Overload::none(), drops_at_close: 0 }
    }

    pub(crate) fn listener(&self) -> &'a UdpListener {
        self.listener
    }

    /// Whether to ask again at once though the queue was empty.
    pub(crate) fn is_expecting(&self) -> bool {
        self.overload.is_expecting()
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
        let act = if matches!(received, Ok(BATCH_LEN)) {
            let drops = || self.listener.receive_queue().map_or(0, |queue| queue.drops);
            self.overload.full(Instant::now(), drops)
        } else if self.overload.is_on() {
            self.overload.short(Instant::now())
        } else {
            self.overload.emptied();
            Act::Nothing
        };
        self.act(act, batch);
        received
    }

    fn act(&mut self, act: Act, batch: &mut Batch) {
        match act {
            Act::Nothing => {}
            Act::Close => self.close(),
            Act::Open => self.open(),
            Act::Discard => {
                for _ in 0..self.batches_max() {
                    match batch.discard(self.listener) {
                        Ok(discarded) => self.counters.discarded.add(discarded as u64),
                        Err(_) => break, // an empty queue; and any other error is for the next turn to meet
                    }
                }
                self.overload.discarded(Instant::now());
                self.open();
            }
        }
    }

    fn close(&mut self) {
        self.drops_at_close = self.drops();
        self.counters.gates_closed.add(1);
        // Refused for want of memory, it leaves the queue as long as it was, and the next try is at most 5 ms away.
        let _ = self.listener.close_gate();
    }

    fn open(&mut self) {
        self.listener.open_gate();
        let drops = self.drops();
        self.counters.turned_away.add(u64::from(drops.wrapping_sub(self.drops_at_close)));
        self.counters.gates_opened.add(1);
    }

    fn drops(&self) -> u32 {
        self.listener.receive_queue().map_or(self.drops_at_close, |queue| queue.drops)
    }

    /// Opens a gate that is not this worker's: one that another process, which had the socket too, left closed when it
    /// was killed.
    pub(crate) fn open_foreign_gate(&self) {
        if !self.overload.is_closed() {
            self.listener.open_gate();
        }
    }
}

impl Drop for SocketSource<'_> {
    /// Another process may have the socket too.
    fn drop(&mut self) {
        if self.overload.is_closed() {
            self.open();
        }
    }
}
