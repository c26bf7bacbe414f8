use super::*;

/// A worker that answers a query in 4 µs, and a sender: all on a virtual clock.
struct Bench {
    overload: Overload,
    now: Instant,
    /// When each query in the queue came.
    queue: std::collections::VecDeque<Instant>,
    /// What has come and not been put anywhere yet, in fractions of a query.
    owed: f64,
    drops: u32,
    turned_away: u32,
    discarded: usize,
    ages: Vec<Duration>,
}

const SERVICE: Duration = Duration::from_micros(4);
const CAPACITY: f64 = 250_000.0;
/// What a buffer of 4 MiB holds.
const QUEUE_MAX: usize = 10_900;
const BATCH: usize = 32;

impl Bench {
    fn new() -> Bench {
        Bench {
            overload: Overload::none(),
            now: Instant::now(),
            queue: std::collections::VecDeque::new(),
            owed: 0.0,
            drops: 0,
            turned_away: 0,
            discarded: 0,
            ages: Vec::new(),
        }
    }

    /// Time goes on and queries come.
    fn pass(&mut self, time: Duration, rate: f64) {
        let start = self.now;
        self.now += time;
        self.owed += time.as_secs_f64() * rate;
        let came = self.owed as usize;
        self.owed -= came as f64;
        for number in 0..came {
            if self.overload.is_closed() {
                self.turned_away += 1;
                self.drops = self.drops.wrapping_add(1);
            } else if self.queue.len() == QUEUE_MAX {
                self.drops = self.drops.wrapping_add(1);
            } else {
                self.queue.push_back(start + time.mul_f64(number as f64 / came as f64));
            }
        }
    }

    /// The worker's turn.
    fn turn(&mut self, rate: f64) {
        let taken = self.queue.len().min(BATCH);
        let received_at = self.now;
        self.pass((SERVICE * taken as u32).max(Duration::from_micros(2)), rate);
        for came in self.queue.drain(..taken) {
            self.ages.push(received_at - came + SERVICE * taken as u32);
        }
        let drops = self.drops;
        let act = if taken == BATCH {
            self.overload.full(self.now, || drops)
        } else if self.overload.is_on() {
            self.overload.short(self.now)
        } else {
            self.overload.emptied();
            Act::Nothing
        };
        if act == Act::Discard {
            self.discarded += self.queue.len();
            self.queue.clear();
            assert_eq!(self.overload.discarded(self.now), Act::Open);
        }
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
    }

    fn age(&mut self, per_cent: usize) -> Duration {
        self.ages.sort_unstable();
        self.ages[(self.ages.len() - 1) * per_cent / 100]
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn what_is_answered_in_an_overload_is_fresh_and_not_less() {
    for times in [1.05, 1.2, 2.0, 5.0, 16.0] {
        let mut bench = Bench::new();
        bench.run(4 * SECOND, times * CAPACITY);
        assert!(bench.overload.is_on(), "{times}");
        bench.forget();
        bench.run(4 * SECOND, times * CAPACITY);
        let answered = bench.ages.len() as f64 / (4.0 * CAPACITY);
        assert!(answered > 0.97, "{times}: {answered}");
        let (median, most) = (bench.age(50), bench.age(100));
        assert!(median < Duration::from_millis(3), "{times}: {median:?}");
        assert!(most < 2 * LATE, "{times}: {most:?}");
        assert!(bench.discarded < 1000, "{times}: {} discarded", bench.discarded);
    }
}

#[test]
fn an_old_queue_is_discarded_when_an_overload_begins() {
    let mut bench = Bench::new();
    bench.run(SECOND, 2.0 * CAPACITY);
    assert!(bench.discarded > QUEUE_MAX / 2, "{}", bench.discarded);
    let late = bench.ages.iter().filter(|age| **age > 2 * LATE).count();
    assert!(late < CAPACITY as usize * 2 / 10, "{late} late");
}

#[test]
fn a_queue_that_loses_nothing_is_left_alone() {
    let mut bench = Bench::new();
    // A pause that all but fills the buffer, at a load where it takes 160 ms to work it off.
    bench.pass(Duration::from_millis(60), 0.7 * CAPACITY);
    bench.run(SECOND, 0.7 * CAPACITY);
    assert_eq!((bench.drops, bench.discarded), (0, 0));
    // Clients that ask again when they are answered keep a queue that never ends and never overflows.
    bench.pass(Duration::from_millis(30), CAPACITY);
    bench.run(4 * SECOND, CAPACITY);
    assert_eq!((bench.drops, bench.discarded), (0, 0));
}

#[test]
fn drops_of_long_ago_are_no_overload() {
    let mut bench = Bench::new();
    bench.pass(Duration::from_millis(100), CAPACITY);
    assert!(bench.drops > 0);
    bench.run(SECOND, 0.9 * CAPACITY);
    assert_eq!((bench.turned_away, bench.discarded), (0, 0));
}

#[test]
fn an_overload_ends_and_then_nothing_is_lost() {
    let mut bench = Bench::new();
    bench.run(2 * SECOND, 8.0 * CAPACITY);
    bench.run(3 * SECOND, 0.8 * CAPACITY);
    assert!(!bench.overload.is_on() && !bench.overload.is_closed());
    let lost = bench.drops;
    bench.forget();
    bench.run(2 * SECOND, 0.8 * CAPACITY);
    assert_eq!((bench.drops, bench.discarded), (lost, 0));
}

#[test]
fn a_gate_never_stays_closed() {
    let mut bench = Bench::new();
    for step in 0..200 {
        let rate = [12.0, 0.1, 1.3, 0.0, 3.0][step % 5] * CAPACITY;
        bench.run(Duration::from_millis(3 + 13 * (step as u64 % 17)), rate);
        let closed = bench.now;
        while bench.overload.is_closed() {
            bench.turn(0.0);
            assert!(bench.now - closed < 2 * LATE, "step {step}");
        }
    }
}
