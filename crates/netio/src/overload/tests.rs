use super::*;
use std::collections::VecDeque;

/// A worker that answers a query in 4 µs, and a sender: all on a virtual clock.
struct Bench {
    overload: Overload,
    start: Instant,
    now: Instant,
    share: f64,
    /// When each query in the queue came.
    queue: VecDeque<Instant>,
    /// What has come and not been put anywhere yet, in fractions of a query; the same for what is let in.
    owed: (f64, f64),
    drops: u32,
    overflowed: u32,
    discarded: usize,
    ages: Vec<Duration>,
    /// The sender comes and goes: for the first so long of each period it sends all that it sends.
    sends: (Duration, Duration),
    /// So does the worker.
    works: (Duration, Duration),
}

const SERVICE: Duration = Duration::from_micros(4);
const CAPACITY: f64 = 250_000.0;
/// What a buffer of 4 MiB holds.
const QUEUE_MAX: usize = 10_900;
const BATCH: usize = 32;
const SECOND: Duration = Duration::from_secs(1);
const STEADY: (Duration, Duration) = (SECOND, SECOND);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// How much of a period that ends in `now` has gone.
fn phase(start: Instant, now: Instant, period: Duration) -> Duration {
    Duration::from_nanos(((now - start).as_nanos() % period.as_nanos()) as u64)
}

impl Bench {
    fn new() -> Bench {
        let now = Instant::now();
        Bench {
            overload: Overload::none(),
            start: now,
            now,
            share: 1.0,
            queue: VecDeque::new(),
            owed: (0.0, 0.0),
            drops: 0,
            overflowed: 0,
            discarded: 0,
            ages: Vec::new(),
            sends: STEADY,
            works: STEADY,
        }
    }

    /// Time goes on and queries come.
    fn pass(&mut self, time: Duration, rate: f64) {
        const STEP: Duration = Duration::from_micros(50);
        let until = self.now + time;
        while self.now < until {
            let step = STEP.min(until - self.now);
            self.now += step;
            let (sends, period) = self.sends;
            if phase(self.start, self.now, period) >= sends {
                continue;
            }
            self.owed.0 += step.as_secs_f64() * rate * (period.as_secs_f64() / sends.as_secs_f64());
            for _ in 0..self.owed.0 as usize {
                self.arrive();
            }
            self.owed.0 = self.owed.0.fract();
        }
    }

    fn arrive(&mut self) {
        self.owed.1 += self.share;
        if self.owed.1 < 1.0 {
            self.drops = self.drops.wrapping_add(1);
            return;
        }
        self.owed.1 -= 1.0;
        if self.queue.len() == QUEUE_MAX {
            self.drops = self.drops.wrapping_add(1);
            self.overflowed += 1;
        } else {
            self.queue.push_back(self.now);
        }
    }

    /// The worker's turn.
    fn turn(&mut self, rate: f64) {
        let (works, period) = self.works;
        let phase = phase(self.start, self.now, period);
        if phase >= works {
            self.pass(period - phase, rate);
        }
        let taken = self.queue.len().min(BATCH);
        let batch: Vec<Instant> = self.queue.drain(..taken).collect();
        self.pass((SERVICE * taken as u32).max(Duration::from_micros(5)), rate);
        self.ages.extend(batch.into_iter().map(|came| self.now - came));
        let drops = self.drops;
        let kind = if taken == BATCH { Batch::Full } else { Batch::Short };
        if !self.overload.wants(kind) {
            return;
        }
        match self.overload.answered(self.now, kind, taken as u64, || drops) {
            Act::Nothing => {}
            Act::Admit(share) => self.share = share,
            Act::Renew(share) => {
                self.share = share;
                self.discarded += self.queue.len();
                self.overload.discarded(self.queue.len() as u64);
                self.queue.clear();
            }
        }
        assert!(self.share > 0.0 && self.share <= 1.0);
        assert!(self.overload.is_on() || self.share == 1.0);
    }

    fn run(&mut self, time: Duration, rate: f64) {
        let until = self.now + time;
        while self.now < until {
            self.turn(rate);
        }
    }

    fn forget(&mut self) {
        self.ages.clear();
        self.discarded = 0;
        self.overflowed = 0;
    }

    fn age(&mut self, per_cent: usize) -> Duration {
        self.ages.sort_unstable();
        self.ages[(self.ages.len() - 1) * per_cent / 100]
    }
}

#[test]
fn what_is_answered_in_an_overload_is_fresh_and_not_less() {
    for times in [1.05, 1.2, 2.0, 5.0, 20.0] {
        let mut bench = Bench::new();
        bench.run(5 * SECOND, times * CAPACITY);
        assert!(bench.overload.is_on(), "{times}");
        bench.forget();
        bench.run(4 * SECOND, times * CAPACITY);
        let answered = bench.ages.len() as f64 / (4.0 * CAPACITY);
        let (median, late, most) = (bench.age(50), bench.age(99), bench.age(100));
        assert!(answered > 0.95, "{times}: {answered}");
        assert!(median < ms(3) && late < ms(10) && most < LATE, "{times}: {median:?} {late:?} {most:?}");
        assert!(bench.discarded < bench.ages.len() / 200, "{times}: {} discarded", bench.discarded);
        assert_eq!(bench.overflowed, 0, "{times}");
    }
}

#[test]
fn a_sender_that_comes_and_goes_gets_as_many_answers() {
    for (sends, period) in [(3, 9), (2, 5), (6, 15)] {
        let mut bench = Bench { sends: (ms(sends), ms(period)), ..Bench::new() };
        bench.run(5 * SECOND, 3.0 * CAPACITY);
        bench.forget();
        bench.run(4 * SECOND, 3.0 * CAPACITY);
        let answered = bench.ages.len() as f64 / (4.0 * CAPACITY);
        let (median, most) = (bench.age(50), bench.age(100));
        assert!(answered > 0.9, "{sends} of {period}: {answered}");
        assert!(median < ms(period) && most < LATE, "{sends} of {period}: {median:?} {most:?}");
    }
}

#[test]
fn a_worker_that_shares_its_cpu_answers_as_many() {
    for (works, period) in [(3, 6), (3, 9), (4, 15), (3, 40)] {
        let mut bench = Bench { works: (ms(works), ms(period)), ..Bench::new() };
        let capacity = CAPACITY * works as f64 / period as f64;
        bench.run(5 * SECOND, 2.5 * capacity);
        bench.forget();
        bench.run(4 * SECOND, 2.5 * capacity);
        let answered = bench.ages.len() as f64 / (4.0 * capacity);
        let (median, most) = (bench.age(50), bench.age(100));
        assert!(answered > 0.9, "{works} of {period}: {answered}");
        // What comes in a pause is answered after it; nothing waits for another.
        assert!(median < ms(period), "{works} of {period}: {median:?}");
        assert!(most < 2 * ms(period), "{works} of {period}: {most:?}");
    }
}

#[test]
fn an_old_queue_is_discarded_when_an_overload_begins() {
    let mut bench = Bench::new();
    bench.run(SECOND, 2.0 * CAPACITY);
    assert!(bench.discarded > QUEUE_MAX / 2, "{}", bench.discarded);
    let late = bench.ages.iter().filter(|age| **age > LATE).count();
    assert!(late < CAPACITY as usize * 2 / 10, "{late} late");
}

#[test]
fn a_queue_that_loses_nothing_is_left_alone() {
    let mut bench = Bench::new();
    // A pause that all but fills the buffer, at a load where it takes 140 ms to work it off.
    bench.pass(ms(60), 0.7 * CAPACITY);
    bench.run(SECOND, 0.7 * CAPACITY);
    assert_eq!((bench.drops, bench.discarded), (0, 0));
    // Clients that ask again when they are answered keep a queue that never ends and never overflows.
    bench.pass(ms(30), CAPACITY);
    bench.run(4 * SECOND, CAPACITY);
    assert_eq!((bench.drops, bench.discarded), (0, 0));
}

#[test]
fn drops_of_long_ago_are_no_overload() {
    let mut bench = Bench::new();
    bench.pass(ms(100), CAPACITY);
    let drops = bench.drops;
    assert!(drops > 0);
    bench.run(SECOND, 0.9 * CAPACITY);
    assert_eq!((bench.drops, bench.discarded), (drops, 0));
}

#[test]
fn an_overload_ends_and_then_nothing_is_lost() {
    let mut bench = Bench::new();
    bench.run(2 * SECOND, 8.0 * CAPACITY);
    // Within an interval or two everything is let in again.
    bench.run(2 * INTERVAL, 0.8 * CAPACITY);
    let lost = bench.drops;
    bench.forget();
    bench.run(3 * SECOND, 0.8 * CAPACITY);
    assert!(!bench.overload.is_on());
    assert_eq!((bench.drops, bench.discarded), (lost, 0));
}

#[test]
fn when_nothing_comes_any_more_everything_is_let_in() {
    let mut bench = Bench::new();
    bench.run(2 * SECOND, 3.0 * CAPACITY);
    assert!(!bench.overload.quiet(bench.now + INTERVAL), "it was seen a moment ago");
    assert!(bench.overload.quiet(bench.now + STANDING + INTERVAL));
    assert!(!bench.overload.is_on());
}

#[test]
fn a_changing_load_is_followed() {
    let mut bench = Bench::new();
    bench.run(2 * SECOND, 2.0 * CAPACITY);
    bench.forget();
    for times in [6.0, 1.5, 12.0, 2.0] {
        bench.run(SECOND, times * CAPACITY);
    }
    let answered = bench.ages.len() as f64 / (4.0 * CAPACITY);
    assert!(answered > 0.93, "{answered}");
    assert!(bench.age(50) < ms(3) && bench.age(98) < LATE);
}
