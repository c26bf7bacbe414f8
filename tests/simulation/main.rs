//! State machines on a virtual clock, with seeded random events, against their invariants.
//!
//! A run depends on its seed alone. One that fails prints the command that repeats it; `STARLING_LONG=1` goes through
//! many more seeds.

mod check;
mod fleet;
mod kernel;
mod load;
mod model;
mod node;
mod pools;

use health::Moment;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

/// How many times as many seeds a long run goes through.
const LONG: u64 = 50;

/// Runs a simulation with each of so many seeds, or with the one that is asked for; a run gives its number of steps.
fn each_seed(name: &str, seeds: u64, run: impl Fn(u64) -> u64) {
    let asked =
        std::env::var("STARLING_SEED").ok().map(|seed| seed.parse().expect("STARLING_SEED is a number"));
    let seeds = match asked {
        Some(seed) => seed..seed + 1,
        None if std::env::var_os("STARLING_LONG").is_some() => 0..seeds * LONG,
        None => 0..seeds,
    };
    let count = seeds.end - seeds.start;
    let mut steps = 0;
    for seed in seeds {
        match catch_unwind(AssertUnwindSafe(|| run(seed))) {
            Ok(more) => steps += more,
            Err(panic) => {
                eprintln!(
                    "to run it again: STARLING_SEED={seed} cargo test -p starling-tests --test simulation {name}"
                );
                resume_unwind(panic);
            }
        }
    }
    println!("{name}: {count} seeds, {steps} steps");
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A span between two others, in whole milliseconds.
fn span(rng: &mut fastrand::Rng, range: std::ops::Range<u64>) -> Duration {
    ms(rng.u64(range))
}

/// A pause before the next event: most are short, some are minutes, and a few let hours go by.
fn pause(rng: &mut fastrand::Rng) -> Duration {
    match rng.u32(0..100) {
        0..45 => span(rng, 0..500),
        45..80 => span(rng, 500..20_000),
        80..98 => span(rng, 20_000..600_000),
        _ => span(rng, 600_000..10_000_000),
    }
}

/// A moment long before another, if there is one.
fn earlier(now: Moment, by: Duration) -> Moment {
    Moment(now.0.saturating_sub(by))
}
