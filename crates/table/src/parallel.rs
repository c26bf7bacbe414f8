//! Work on a large image, spread over the cores: verifying one of ten million names is a matter of memory bandwidth.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Images from this size on are worth threads: a smaller one is done in about the time that it takes to start them.
pub(crate) const WORTH_THREADS: usize = 8 << 20;
/// The most threads for one image: four already take most of the memory bandwidth of a small machine.
const THREADS_MAX: usize = 8;

/// How many threads to use for an image of `len` octets.
pub(crate) fn threads_for(len: usize) -> usize {
    if len < WORTH_THREADS {
        return 1;
    }
    thread::available_parallelism().map_or(1, NonZeroUsize::get).min(THREADS_MAX)
}

/// What `work` gives for each index below `count`, in order. Threads take the next index as they become ready; they
/// have the calling thread's priority.
pub(crate) fn each<R: Send>(count: usize, threads: usize, work: impl Fn(usize) -> R + Sync) -> Vec<R> {
    if threads <= 1 || count <= 1 {
        return (0..count).map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let run = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return done;
            }
            done.push((index, work(index)));
        }
    };
    let mut all: Vec<(usize, R)> = thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(count)).map(|_| scope.spawn(run)).collect();
        let mut all = run();
        for other in others {
            match other.join() {
                Ok(done) => all.extend(done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    });
    all.sort_unstable_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order() {
        for threads in [1, 2, 5] {
            for count in [0, 1, 2, 100] {
                let squares: Vec<usize> = (0..count).map(|i| i * i).collect();
                assert_eq!(each(count, threads, |i| i * i), squares);
            }
        }
    }
}
