//! How long it takes from a NOTIFY until every worker answers with the new version: a histogram.

use crate::status::{LATENCY_BOUNDS_MS, Latencies};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use transfer::refresh::{End, Moment};

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

/// When NOTIFY messages for a zone came that have not led to anything yet.
#[derive(Default)]
pub(super) struct Noticed {
    /// The first of those that the round that begins next is for.
    next: Option<Moment>,
    /// The first of those that the one under way is for.
    before: Option<Moment>,
    /// When a round had brought a version while which `next` came: it may be the one that was meant.
    brought: Option<Moment>,
}

impl Noticed {
    /// A NOTIFY has come.
    pub(super) fn hear(&mut self, now: Moment) {
        self.next.get_or_insert(now);
    }

    /// A round begins.
    pub(super) fn begin(&mut self) {
        self.before = self.before.or(self.next);
        self.next = None;
    }

    /// A round has ended so; when the NOTIFY came and when the version was served that it led to, if it did. One that is heard anew
    /// in the round that brings its version is followed by another, which finds nothing new.
    pub(super) fn finish(&mut self, end: &End, now: Moment) -> Option<(Moment, Moment)> {
        match end {
            End::Failed => None,
            End::Current => self.before.take().zip(self.brought.take()),
            End::Renewed(_) => {
                self.brought = self.next.map(|_| now);
                self.before.take().map(|noticed| (noticed, now))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use transfer::Soa;

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

    #[test]
    fn a_notify_is_measured_up_to_the_version_that_it_was_for() {
        let at = Duration::from_millis;
        let hour = Duration::from_secs(3600);
        let renewed = End::Renewed(Soa { serial: 1, refresh: hour, retry: hour, expire: hour });
        let mut noticed = Noticed::default();
        noticed.begin();
        assert_eq!(noticed.finish(&renewed, at(5)), None, "nobody has told of it");
        noticed.hear(at(10));
        noticed.hear(at(11));
        noticed.begin();
        assert_eq!(noticed.finish(&End::Failed, at(12)), None);
        noticed.begin();
        assert_eq!(noticed.finish(&renewed, at(20)), Some((at(10), at(20))));
        // It comes while the round is under way that brings what it is for.
        noticed.begin();
        noticed.hear(at(31));
        assert_eq!(noticed.finish(&renewed, at(35)), None);
        noticed.begin();
        assert_eq!(noticed.finish(&End::Current, at(40)), Some((at(31), at(35))));
        // And here what it is for comes with the next.
        noticed.begin();
        noticed.hear(at(51));
        assert_eq!(noticed.finish(&renewed, at(55)), None);
        noticed.begin();
        assert_eq!(noticed.finish(&renewed, at(60)), Some((at(51), at(60))));
        noticed.hear(at(70));
        noticed.begin();
        assert_eq!(noticed.finish(&End::Current, at(71)), None, "there is nothing new");
    }
}
