//! Work on many zones over a few threads, and the priority they have.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

/// The most threads that zones are loaded on. Each holds a zone's text and records, about 300 octets a record,
/// until its table is made, so this bounds memory for nodes with many large zones.
const THREADS_MAX: usize = 8;

/// What a thread yields to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Priority {
    /// Nothing: before the node answers, getting there is all that matters.
    Normal,
    /// Everything: while the node answers.
    Idle,
}

/// How many threads to use: one for each CPU, up to a bound.
pub(crate) fn thread_count() -> NonZeroUsize {
    let cpus = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    NonZeroUsize::new(cpus.get().min(THREADS_MAX)).unwrap_or(NonZeroUsize::MIN)
}

/// Lets the calling thread run only while no packet thread wants its CPU, and the threads that it starts.
pub(crate) fn yield_to_workers() {
    if let Err(error) = netio::pin::yield_to_workers() {
        tracing::warn!("compiling at normal priority, answers may be slower meanwhile: {error}");
    }
}

/// Does `work` on each item, on at most `threads` threads of this priority; `done` gets the index of the item and the
/// result on the calling thread, as each becomes ready.
pub(crate) fn each<T: Sync, R: Send>(
    items: &[T],
    threads: NonZeroUsize,
    priority: Priority,
    work: impl Fn(&T) -> R + Sync,
    mut done: impl FnMut(usize, R),
) {
    let next = AtomicUsize::new(0);
    let threads = threads.get().min(items.len());
    // Room for one result a thread: a slow `done` holds the threads back rather than piling up tables.
    let (sender, results) = mpsc::sync_channel(threads);
    let run = |sender: mpsc::SyncSender<(usize, R)>| {
        if priority == Priority::Idle {
            yield_to_workers();
        }
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return };
            // Fails only when the receiver is gone, which ends the scope anyway.
            if sender.send((index, work(item))).is_err() {
                return;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads {
            let sender = sender.clone();
            scope.spawn(|| run(sender));
        }
        drop(sender);
        for (index, result) in results {
            done(index, result);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map<R: Send>(
        items: &[usize],
        threads: usize,
        priority: Priority,
        work: impl Fn(&usize) -> R + Sync,
    ) -> Vec<R> {
        let mut results = Vec::new();
        let threads = NonZeroUsize::new(threads).unwrap();
        each(items, threads, priority, work, |index, result| results.push((index, result)));
        results.sort_by_key(|(index, _)| *index);
        results.into_iter().map(|(_, result)| result).collect()
    }

    #[test]
    fn every_item_is_done_once_whoever_does_it() {
        let items: Vec<usize> = (0..100).collect();
        for threads in [1, 3, 200] {
            let doubled = map(&items, threads, Priority::Normal, |item| 2 * item);
            assert_eq!(doubled, items.iter().map(|item| 2 * item).collect::<Vec<_>>());
        }
        assert!(map(&[], 1, Priority::Idle, |item| *item).is_empty());
    }

    #[test]
    fn idle_threads_leave_the_others_alone() {
        // Field 41 of stat(5), the scheduling policy; 5 is SCHED_IDLE.
        let own = || {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            stat.rsplit(") ").next().unwrap().split(' ').nth(38).unwrap().to_owned()
        };
        let before = own();
        assert_eq!(map(&[0], 1, Priority::Idle, |_| own()), ["5"]);
        assert_eq!(own(), before);
    }
}
