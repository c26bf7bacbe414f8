//! What all transfers under way may have in memory: each has its own limit, and there may be many at a time.

use super::stream::Failure;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The most octets of all transfers under way: two of the largest by the default of `transfer-max-bytes`. Compiled they take
/// about six times this in the worst case; less would let two large zones that come at once fail.
const OCTETS_MAX: u64 = 2 << 30;

/// How many octets all transfers under way have.
#[derive(Default)]
pub(super) struct Budget(AtomicU64);

/// What one transfer has of it, until it is dropped.
pub(super) struct Share {
    budget: Arc<Budget>,
    taken: u64,
}

impl Share {
    /// None so far.
    pub(super) fn of(budget: &Arc<Budget>) -> Share {
        Share { budget: Arc::clone(budget), taken: 0 }
    }

    /// Takes so many octets more. A single transfer always gets what its own limit, `alone_max`, allows.
    ///
    /// # Errors
    /// All transfers together have too much.
    pub(super) fn take(&mut self, octets: u64, alone_max: u64) -> Result<(), Failure> {
        let max = OCTETS_MAX.max(alone_max);
        let before = self.budget.0.fetch_add(octets, Ordering::Relaxed);
        self.taken += octets;
        if before + octets > max { Err(Failure::TooMuchAtOnce { max }) } else { Ok(()) }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.taken, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transfers_share_what_there_is_and_one_alone_has_its_own_limit() {
        let budget = Arc::<Budget>::default();
        let alone_max = 3 << 30;
        let mut large = Share::of(&budget);
        assert!(large.take(alone_max, alone_max).is_ok());
        let mut other = Share::of(&budget);
        assert!(matches!(other.take(1, 1 << 30), Err(Failure::TooMuchAtOnce { max: OCTETS_MAX })));
        drop((large, other));
        let mut shares = [(); 4].map(|()| Share::of(&budget));
        let taken = shares.each_mut().map(|share| share.take(OCTETS_MAX / 3, 1 << 30).is_ok());
        assert_eq!(taken, [true, true, true, false]);
        drop(shares);
        assert_eq!(budget.0.load(Ordering::Relaxed), 0, "all is given back");
    }
}
