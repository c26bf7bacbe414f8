//! How long it takes from a NOTIFY until every worker answers with the new version: a histogram.

use crate::status::{LATENCY_BOUNDS_MS, Latencies};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The counts, written by one thread and read by others.
#[derive(Default)]
pub(super) struct Histogram {
    /// How many took at most so long, and no less; the last is of those that took longer than any bound.
    counts: [AtomicU64; LATENCY_BOUNDS_MS.len() + 1],
    micros: AtomicU64,
}

impl Histogram {
    pub(super) fn observe(&self, took: Duration) {
        self.counts[Latencies::index(took)].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(took.as_micros() as u64, Ordering::Relaxed); // 500,000 years
    }

    pub(super) fn read(&self) -> Latencies {
        Latencies {
            counts: self.counts.each_ref().map(|count| count.load(Ordering::Relaxed)),
            micros: self.micros.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_falls_into_the_bucket_of_its_bound() {
        let histogram = Histogram::default();
        for micros in [0, 1000, 1001, 2000, 60_000_000, 60_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let Latencies { counts, micros } = histogram.read();
        let last = LATENCY_BOUNDS_MS.len();
        assert_eq!((counts[0], counts[1], counts[last - 1], counts[last]), (2, 2, 1, 1));
        assert_eq!((counts.iter().sum::<u64>(), micros), (6, 120_004_002));
    }
}
