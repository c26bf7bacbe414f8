//! What a responder has done, for others to read.

use crossbeam_utils::CachePadded;
use std::sync::atomic::{AtomicU64, Ordering};
use wire::Rcode;

/// Response codes that are counted one by one; higher ones are counted together in the last place.
pub const RCODES: usize = 24;

/// The address family that a message came over.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Family {
    /// IPv4.
    #[default]
    V4,
    /// IPv6.
    V6,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Counts of one responder, of one family or both. Plain numbers, owned by the thread that counts.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct CounterSnapshot {
            $($(#[$doc])* pub $name: u64,)*
            /// Responses by response code.
            pub rcodes: [u64; RCODES],
        }

        /// The last published counts of one responder: written by its thread once a batch, read by any.
        #[derive(Default)]
        pub struct Counters {
            v4: CachePadded<Cells>,
            v6: CachePadded<Cells>,
        }

        #[derive(Default)]
        struct Cells {
            $($name: AtomicU64,)*
            rcodes: [AtomicU64; RCODES],
        }

        impl Counters {
            /// Publishes the counts of a family; called by the owning thread alone.
            pub(crate) fn publish(&self, family: Family, counts: &CounterSnapshot) {
                let cells = self.cells(family);
                $(cells.$name.store(counts.$name, Ordering::Relaxed);)*
                for (cell, count) in cells.rcodes.iter().zip(&counts.rcodes) {
                    cell.store(*count, Ordering::Relaxed);
                }
            }

            /// The counts of a family as last published; numbers of one batch may be torn from those of the next.
            pub fn snapshot_of(&self, family: Family) -> CounterSnapshot {
                let cells = self.cells(family);
                CounterSnapshot {
                    $($name: cells.$name.load(Ordering::Relaxed),)*
                    rcodes: std::array::from_fn(|i| cells.rcodes[i].load(Ordering::Relaxed)),
                }
            }

            /// The counts of both families.
            pub fn snapshot(&self) -> CounterSnapshot {
                let mut sum = self.snapshot_of(Family::V4);
                sum += &self.snapshot_of(Family::V6);
                sum
            }

            fn cells(&self, family: Family) -> &Cells {
                match family {
                    Family::V4 => &self.v4,
                    Family::V6 => &self.v6,
                }
            }
        }

        impl std::ops::AddAssign<&CounterSnapshot> for CounterSnapshot {
            fn add_assign(&mut self, other: &CounterSnapshot) {
                $(self.$name += other.$name;)*
                for (sum, count) in self.rcodes.iter_mut().zip(&other.rcodes) {
                    *sum += count;
                }
            }
        }
    };
}

counters! {
    /// Messages that came in datagrams.
    udp_queries,
    /// Messages that came over streams.
    tcp_queries,
    /// Messages that got no response: too short, or responses themselves.
    silent,
    /// Messages that were malformed but answerable.
    malformed,
    /// Responses with the TC bit.
    truncated,
    /// Those of them that the rate limit has left without records.
    limited_shortened,
    /// Responses that the rate limit has withheld; the response codes count them, too.
    limited_withheld,
}

impl CounterSnapshot {
    #[inline]
    pub(crate) fn count_rcode(&mut self, rcode: Rcode) {
        self.rcodes[usize::from(rcode.0).min(RCODES - 1)] += 1;
    }

    /// All responses.
    pub fn responses(&self) -> u64 {
        self.rcodes.iter().sum()
    }
}
