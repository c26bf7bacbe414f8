//! What a worker counts: written by its owner alone, read by anybody.

use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counters of one worker, on cache lines of their own.
        ///
        /// Only the worker writes them, once or twice a batch and without a locked instruction. 128 bytes
        /// of alignment, not 64: x86 prefetches lines in pairs.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct WorkerCounters {
            $(pub(crate) $name: OwnedCounter,)*
        }

        /// The counters of one worker, or of several added up, at one moment.
        ///
        /// The values are read one after the other while the worker goes on, so sums over fields can be off
        /// by a batch. All count from the worker's start and only grow.
        #[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
        pub struct CounterSnapshot {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl WorkerCounters {
            /// The values now.
            pub fn snapshot(&self) -> CounterSnapshot {
                CounterSnapshot { $($name: self.$name.value(),)* }
            }
        }

        impl CounterSnapshot {
            /// Datagrams lost on purpose, so that in an overload what is answered is fresh.
            pub fn shed(&self) -> u64 {
                self.discarded.wrapping_add(self.turned_away)
            }
        }

        impl AddAssign for CounterSnapshot {
            fn add_assign(&mut self, other: CounterSnapshot) {
                $(self.$name = self.$name.wrapping_add(other.$name);)*
            }
        }
    };
}

counters! {
    /// Rounds of the worker's loop: while it is well, at least one every [`crate::worker::IDLE_INTERVAL_MS`].
    rounds,
    /// Datagrams received, the truncated ones included.
    received,
    /// Payload bytes received; of a truncated datagram the part that fitted.
    received_bytes,
    /// Batches received: `received / batches` is the mean batch.
    batches,
    /// Datagrams longer than [`crate::batch::QUERY_MAX_BYTES`], dropped unread.
    truncated,
    /// Datagrams discarded unanswered because they had waited too long, in an overload; not among `received`.
    discarded,
    /// Datagrams that in an overload the kernel did not take in: because the worker let in only a share of what came, or,
    /// which is not told apart then, because the queue was full. Some milliseconds old while an overload lasts.
    turned_away,
    /// Overloads of sockets that have begun; while it differs from `overloads_ended`, one lasts.
    overloads_begun,
    /// Overloads of sockets that have ended.
    overloads_ended,
    /// Errors of a receive call: left behind by an earlier datagram's ICMP, or memory running out.
    receive_errors,
    /// Replies the kernel took.
    sent,
    /// Payload bytes of the replies the kernel took.
    sent_bytes,
    /// Replies dropped because socket or device had no room within [`crate::batch::SEND_WAIT_MAX_MS`].
    dropped_no_room,
    /// Replies larger than the interface's MTU: never sent as fragments.
    dropped_too_big,
    /// Replies forbidden on this host: packet filter, broadcast address.
    dropped_forbidden,
    /// Replies without a route or neighbour.
    dropped_unreachable,
    /// Replies the kernel refused for any other reason, such as a peer with port 0.
    dropped_other,
    /// Those of `received` that came through rings.
    ring_received,
    /// Frames of a ring that were no query after all, dropped.
    malformed_frames,
    /// Frames of a ring with a wrong checksum, dropped.
    checksum_errors,
    /// How often the device took no more frames of a ring for the moment.
    send_delays,
    /// Rings given up because their interface is gone.
    rings_lost,
}

/// A counter with one writer: load and store, no read-modify-write.
#[derive(Debug, Default)]
pub(crate) struct OwnedCounter(AtomicU64);

impl OwnedCounter {
    /// Adds; only the owning worker may call this, or counts are lost.
    ///
    /// Who sees the new value sees what the worker counted before, too; on x86 that costs nothing.
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Release);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_add_up() {
        let counters = WorkerCounters::default();
        counters.sent.add(3);
        counters.sent.add(4);
        counters.batches.add(1);
        let mut total = counters.snapshot();
        total += counters.snapshot();
        assert_eq!(total, CounterSnapshot { sent: 14, batches: 2, ..CounterSnapshot::default() });
    }
}
