//! Giving memory of the compiler back to the system.
//!
//! mimalloc returns what was freed a second later, but only if something is freed then, and a quarter of what there is at a time. A
//! node that only answers allocates nothing, and would keep all of it: 90 MB of 150 with a million names.

use std::thread;
use std::time::Duration;

/// When memory can be given back that was freed before, and how often that is tried.
pub(crate) const NUDGE_AFTER: Duration = Duration::from_millis(1100);
pub(crate) const NUDGES: u32 = 4;

/// Frees a block that is large enough to have pages of its own.
pub(crate) fn nudge_allocator() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(1 << 20)));
}

/// Gives back what was freed until now, in its own time, where nobody does it otherwise.
pub(crate) fn give_back() {
    let nudges = || {
        for _ in 0..NUDGES {
            thread::sleep(NUDGE_AFTER);
            nudge_allocator();
        }
    };
    // Without a thread it is given back when something is freed again.
    if let Err(error) = thread::Builder::new().name("give-back".to_owned()).spawn(nudges) {
        tracing::debug!("no thread to give memory back: {error}");
    }
}
