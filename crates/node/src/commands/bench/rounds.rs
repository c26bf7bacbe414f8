//! Replaying queries in rounds, and what is seen.

use super::hardware::{Counters as HardwareCounters, Counts};
use super::query_file::Queries;
use nameserver::{Batch, Counters, Family, Responder, Settings};
use netio::batch::{QUERY_MAX_BYTES, REPLY_MAX_BYTES};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use table::Table;
use table::publish::{Directory, Publisher, SlotIndex};
use wire::message::{AA, HEADER_LEN, TC};
use wire::probe::Seat;
use wire::{NAME_MAX, Rcode};

/// So often the clock is read to know what that costs: it takes 50 µs, and a few would do.
const CLOCK_READINGS: u32 = 1000;

/// How long a round is.
#[derive(Clone, Copy)]
pub(super) enum Extent {
    /// So long, and at least one batch.
    Time(Duration),
    /// So many times through the queries.
    Passes(u32),
}

/// A middle value and the two ends.
#[derive(Serialize, Clone, Copy)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

/// Lengths of responses.
#[derive(Serialize)]
pub(super) struct Octets {
    pub(super) mean: f64,
    pub(super) min: usize,
    pub(super) max: usize,
}

/// What was seen.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Results {
    pub(super) rounds: usize,
    /// Queries of all rounds.
    pub(super) answered: u64,
    /// Nanoseconds for a query.
    pub(super) ns: Spread,
    /// For a query, or why they can't be told.
    #[serde(serialize_with = "or_why_not")]
    pub(super) instructions: Result<Spread, String>,
    #[serde(serialize_with = "or_why_not")]
    pub(super) cache_misses: Result<Spread, String>,
    pub(super) octets: Octets,
    /// The share of each kind of answer.
    pub(super) mix: BTreeMap<String, f64>,
}

/// A spread, or an object with the reason why there is none.
fn or_why_not<S: Serializer>(value: &Result<Spread, String>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Ok(spread) => spread.serialize(serializer),
        Err(why) => BTreeMap::from([("not-counted", why)]).serialize(serializer),
    }
}

/// A query, where the kernel would have put it, and the place for its response.
///
/// Slots are as far apart as those of a worker, because that decides which lines of the cache they share.
#[repr(C, align(64))]
struct Slot {
    query_len: usize,
    reply_len: usize,
    query: [u8; QUERY_MAX_BYTES],
    reply: [u8; REPLY_MAX_BYTES],
    _lines: [u8; 112],
}

const _: () = assert!(size_of::<Slot>() % 4096 == 128, "as in a worker's ring");
const _: () = assert!(HEADER_LEN + NAME_MAX + 4 + wire::message::OPT_LEN <= QUERY_MAX_BYTES);

/// The slots that are filled.
struct Filled<'s>(&'s mut [Slot]);

impl Batch for Filled<'_> {
    type Client<'c> = Option<IpAddr>;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn query(&self, index: usize) -> &[u8] {
        let slot = &self.0[index];
        &slot.query[..slot.query_len]
    }

    fn reply(&mut self, index: usize, answer: impl FnOnce(&[u8], &Self::Client<'_>, &mut [u8]) -> usize) {
        let slot = &mut self.0[index];
        slot.reply_len = answer(&slot.query[..slot.query_len], &None, &mut slot.reply);
    }
}

/// Tables, queries, and a responder.
pub(super) struct Bench<'q> {
    responder: Responder,
    queries: &'q Queries,
    slots: Vec<Slot>,
    /// The query that comes next.
    next: usize,
    clock_cost: Duration,
}

/// A number of batches that were gone through.
#[derive(Default)]
struct Run {
    batches: u64,
    queries: u64,
    answering: Duration,
}

/// What is done with a batch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    /// It is put into the slots.
    Fill,
    /// And answered.
    Answer,
}

impl<'q> Bench<'q> {
    pub(super) fn new(
        tables: &[Arc<Table>],
        settings: Settings,
        queries: &'q Queries,
        batch: usize,
    ) -> Bench<'q> {
        let mut publisher = Publisher::new();
        let slots = tables.iter().zip(0..).map(|(table, slot)| (table.apex_name(), SlotIndex(slot)));
        publisher.publish_directory(Directory::new(slots));
        for (table, slot) in tables.iter().zip(0..) {
            publisher.publish(SlotIndex(slot), Some(Arc::clone(table)));
        }
        let counters = Arc::new(Counters::default());
        let responder = Responder::new(publisher.reader(), Arc::new(settings), counters, Seat::UdpWorker(0));
        let empty = || Slot {
            query_len: 0,
            reply_len: 0,
            query: [0; QUERY_MAX_BYTES],
            reply: [0; REPLY_MAX_BYTES],
            _lines: [0; 112],
        };
        let slots = (0..batch).map(|_| empty()).collect();
        Bench { responder, queries, slots, next: 0, clock_cost: clock_cost() }
    }

    /// Measures; the first pass over the queries, which warms the caches, is looked at and not measured.
    pub(super) fn run(&mut self, rounds: u32, extent: Extent) -> Results {
        let (mix, octets) = self.look();
        let mut hardware = HardwareCounters::new();
        let mut answered = 0;
        let mut ns = Vec::new();
        let (mut instructions, mut cache_misses) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let from = self.next;
            let mut run = Run::default();
            let whole = hardware.during(|| run = self.round(extent));
            answered += run.queries;
            ns.push(run.answering.as_nanos() as f64 / run.queries as f64);
            // Filling the slots counts, too; so that is done once more by itself.
            let filling = hardware.are_any().then(|| {
                self.next = from;
                hardware.during(|| {
                    for _ in 0..run.batches {
                        self.batch(Work::Fill);
                    }
                })
            });
            let share = |count: fn(&Counts) -> &Result<u64, String>| match (count(&whole), &filling) {
                (Ok(whole), Some(filling)) => count(filling)
                    .as_ref()
                    .map(|filling| whole.saturating_sub(*filling) as f64 / run.queries as f64)
                    .map_err(Clone::clone),
                (Ok(_), None) => Err("no counter counts".to_owned()),
                (Err(why), _) => Err(why.clone()),
            };
            instructions.push(share(|counts| &counts.instructions));
            cache_misses.push(share(|counts| &counts.cache_misses));
        }
        let spread = |values: Vec<Result<f64, String>>| {
            values.into_iter().collect::<Result<Vec<f64>, String>>().map(Spread::of)
        };
        Results {
            rounds: rounds as usize,
            answered,
            ns: Spread::of(ns),
            instructions: spread(instructions),
            cache_misses: spread(cache_misses),
            octets,
            mix,
        }
    }

    /// One pass over the queries: which kinds of answers there are, and how long they are.
    fn look(&mut self) -> (BTreeMap<String, f64>, Octets) {
        let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
        let (mut sum, mut min, mut max) = (0u64, usize::MAX, 0);
        let mut left = self.queries.len();
        while left > 0 {
            let run = self.batch(Work::Answer);
            for slot in &self.slots[..left.min(run.queries as usize)] {
                let reply = &slot.reply[..slot.reply_len];
                *kinds.entry(kind_of(reply)).or_default() += 1;
                sum += reply.len() as u64;
                (min, max) = (min.min(reply.len()), max.max(reply.len()));
            }
            left = left.saturating_sub(self.slots.len());
        }
        let count = self.queries.len() as f64;
        let mix = kinds.into_iter().map(|(kind, number)| (kind, number as f64 / count)).collect();
        (mix, Octets { mean: sum as f64 / count, min, max })
    }

    fn round(&mut self, extent: Extent) -> Run {
        let start = Instant::now();
        let mut run = Run::default();
        loop {
            let batch = self.batch(Work::Answer);
            run.batches += 1;
            run.queries += batch.queries;
            run.answering += batch.answering;
            let over = match extent {
                Extent::Time(time) => start.elapsed() >= time,
                Extent::Passes(passes) => run.queries >= u64::from(passes) * self.queries.len() as u64,
            };
            if over {
                return run;
            }
        }
    }

    /// Takes the next queries, of which the first follows the last.
    fn batch(&mut self, work: Work) -> Run {
        for slot in &mut self.slots {
            let query = self.queries.get(self.next);
            slot.query_len = query.len();
            slot.query[..query.len()].copy_from_slice(query);
            self.next = if self.next + 1 == self.queries.len() { 0 } else { self.next + 1 };
        }
        let queries = self.slots.len() as u64;
        let start = Instant::now();
        if work == Work::Answer {
            self.responder.respond_batch(Family::V4, &mut Filled(&mut self.slots));
        }
        Run { batches: 1, queries, answering: start.elapsed().saturating_sub(self.clock_cost) }
    }
}

/// What two readings of the clock take, which every batch has around it; the least of many, so that an interruption
/// doesn't count.
fn clock_cost() -> Duration {
    (0..CLOCK_READINGS).map(|_| Instant::now().elapsed()).min().unwrap_or_default()
}

/// What kind of answer a response is.
fn kind_of(reply: &[u8]) -> String {
    let Some(header) = reply.first_chunk::<HEADER_LEN>() else { return "no response".to_owned() };
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let (flags, answers, authority) = (word(2), word(6), word(8));
    let rcode = Rcode(flags & 0xf);
    let what = match rcode {
        _ if flags & TC != 0 => "truncated",
        Rcode::NOERROR if answers != 0 => "answer",
        Rcode::NOERROR if authority != 0 && flags & AA == 0 => "referral",
        Rcode::NOERROR => "no data",
        _ => return rcode.to_string(),
    };
    format!("{rcode}, {what}")
}

impl Spread {
    /// Of at least one value.
    fn of(mut values: Vec<f64>) -> Spread {
        values.sort_by(f64::total_cmp);
        let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Spread { median: f64::midpoint(low, high), min: values[0], max: values[values.len() - 1] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_the_middle_and_the_ends() {
        let Spread { median, min, max } = Spread::of(vec![3.0, 1.0, 10.0, 2.0]);
        assert_eq!((median, min, max), (2.5, 1.0, 10.0));
        assert_eq!(Spread::of(vec![7.0]).median, 7.0);
    }

    #[test]
    fn kinds_are_told_apart() {
        let response = |flags: u16, answers: u8, authority: u8| {
            let [high, low] = flags.to_be_bytes();
            kind_of(&[0, 0, high, low, 0, 1, 0, answers, 0, authority, 0, 0])
        };
        assert_eq!(response(0x8400, 1, 0), "NOERROR, answer");
        assert_eq!(response(0x8000, 0, 2), "NOERROR, referral");
        assert_eq!(response(0x8400, 0, 1), "NOERROR, no data");
        assert_eq!(response(0x8600, 0, 0), "NOERROR, truncated");
        assert_eq!(response(0x8403, 0, 1), "NXDOMAIN");
        assert_eq!(kind_of(&[]), "no response");
    }
}
