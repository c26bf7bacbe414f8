//! When more comes in than can be answered: what is answered stays fresh.
//!
//! A receive buffer that rides out a pause holds tens of milliseconds of queries. In a lasting overload that turns against
//! the clients: the kernel drops the newest, and every answer is as late as the buffer is long. So once queries are being
//! lost anyway, what is in the queue is discarded, and from then on a filter on the socket lets in only a share of what
//! comes, chosen at random: as much as can be answered without a queue that stands. The share is found from what costs
//! nothing: whether a batch was short, which says that the queue was empty, so that whatever is in it came later than that;
//! and how many were answered and dropped in the last [`INTERVAL`].
//!
//! What else was measured, for a small datagram, where receiving and answering one takes 3.5 µs. To receive it only to
//! discard it takes 0.43 µs, so that dropping old queries alone would leave 90 % of the answers at twice the load, and none
//! at ten times. A smaller receive buffer costs 0.4 µs to set, but nobody without CAP_NET_ADMIN gets one back that is above
//! `net.core.rmem_max`, and workers have no capabilities. A filter that is closed until the queue is empty and then opened
//! until it is long again did as well with a steady sender (0.96 to 0.98 of the answers); with one that comes and goes it can
//! be closed when queries come and open when none do. Attaching a filter takes 7 to 9 µs and detaching it 0.5 to 0.9; what it
//! keeps out costs the worker nothing.

use std::time::{Duration, Instant};

/// How long a queue has to have stood without a break, and the kernel to have dropped meanwhile, before anything is shed;
/// looked at in two halves.
///
/// A pause of the scheduler leaves a queue that is worked off, without loss, in a few times its length: with a shorter time
/// it would be shed although nothing needs to be lost. Longer, and more answers are late when an overload begins.
const STANDING: Duration = Duration::from_millis(100);

/// How often the share that is let in is changed: 10 µs each time, so that more often costs, and less often is slow to
/// follow.
const INTERVAL: Duration = Duration::from_millis(10);

/// How long the queue may stand, in an overload, before less is let in; in time in which the worker runs.
///
/// It bounds the age of what is answered; where the load is steady that is far below. Shorter, and with a sender that comes
/// and goes, what has come is taken for too much only because it came at once: with 10 ms, one that sends 3 ms in 9 got 89 %
/// of the answers there could be, with 20 ms 93 % (simulated, at three times the load).
const PATIENCE: Duration = Duration::from_millis(20);

/// What a batch takes at most; what is between two beyond that, the worker was not running, or nothing came.
///
/// A batch of 32 is 0.1 to 0.3 ms. Were pauses counted, all that comes in one as long as [`LATE`] would be discarded at its
/// end, and a worker with a slice of a CPU now and then would answer little of what it could.
const BATCH_MAX: Duration = Duration::from_millis(1);

/// Age from which queries are discarded instead of answered, in an overload: when the queue has not been empty for so long
/// although less was let in, twice. Near [`PATIENCE`], letting in less would have no time to help: at 40 ms one query in 150
/// was discarded that was a millisecond old. Longer, and after a sudden rise more of what is answered is late.
const LATE: Duration = Duration::from_millis(60);

/// The steps by which the share goes down where the queue stood, and up where it did not.
///
/// About where it should be, it goes up some three times for one time down. Larger steps leave the worker idle after each, or
/// the queue long before; smaller ones are slow to follow.
const DOWN: f64 = 0.97;
const UP: f64 = 1.01;

/// How much of what can be answered is let in when the load has changed at once, at most: the rest comes by steps.
const JUMP: f64 = 0.98;

/// How long nothing has to have been shed before an overload counts as over.
///
/// As long as it doesn't, a queue that stands for an interval is shed, though it might be worked off without loss; once it
/// does, the buffer has to overflow again, and all answers to become late, before anything is done. A load a little over
/// what can be answered comes and goes within tenths of a second: with 100 ms one answer in a hundred was 28 ms late.
const CALM: Duration = Duration::from_secs(2);

const _: () = {
    assert!(INTERVAL.as_nanos() < PATIENCE.as_nanos());
    assert!(PATIENCE.as_nanos() < LATE.as_nanos());
    assert!(LATE.as_nanos() < STANDING.as_nanos());
    assert!(STANDING.as_nanos() < CALM.as_nanos());
};

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Act {
    /// Nothing.
    Nothing,
    /// Let in this share of what comes; 1: all.
    Admit(f64),
    /// The same, and discard what is in the queue.
    Renew(f64),
}

/// Whether a batch was as long as a batch can be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Batch {
    /// There may be more in the queue.
    Full,
    /// The queue was empty after it.
    Short,
}

/// How the queue of one socket is.
#[derive(Debug)]
pub(crate) enum Overload {
    /// There is none. Since when every batch has been full, and what was seen when it was last looked at since then.
    Off { full_since: Option<Instant>, answered: u64, looked: Option<Look> },
    /// There is one.
    On(Shedding),
}

/// Counts at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    at: Instant,
    drops: u32,
}

/// An overload.
#[derive(Debug)]
pub(crate) struct Shedding {
    /// The share of what comes that is let in.
    share: f64,
    /// When the interval began, and the kernel's drops until then.
    look: Look,
    /// For how long the worker has run in the interval.
    ran: Duration,
    /// For how long it has run since the queue was last empty.
    stood: Duration,
    /// When it was last heard of.
    last: Instant,
    /// Answered in the interval.
    answered: u64,
    /// Discarded at its beginning.
    discarded: u64,
    /// Whether the queue was empty in the interval.
    has_emptied: bool,
    /// What can be answered in a second, as last seen when the queue was never empty.
    capacity: f64,
    /// Since when everything has been let in.
    all_since: Option<Instant>,
}

impl Overload {
    /// No overload.
    pub(crate) const fn none() -> Overload {
        Overload::Off { full_since: None, answered: 0, looked: None }
    }

    /// Whether there is one.
    pub(crate) fn is_on(&self) -> bool {
        matches!(self, Overload::On(_))
    }

    /// Whether less than everything is let in, so that more will be there at once: not worth falling asleep for.
    pub(crate) fn is_shedding(&self) -> bool {
        matches!(self, Overload::On(shedding) if shedding.share < 1.0)
    }

    /// Whether a batch has to be told of: short ones matter only once there is something to see.
    pub(crate) fn wants(&self, batch: Batch) -> bool {
        batch == Batch::Full || !matches!(self, Overload::Off { full_since: None, .. })
    }

    /// Takes in a batch of `len` that was just answered. `drops` tells what the kernel has dropped at the socket.
    pub(crate) fn answered(
        &mut self,
        now: Instant,
        batch: Batch,
        len: u64,
        drops: impl FnOnce() -> u32,
    ) -> Act {
        match self {
            Overload::Off { .. } if batch == Batch::Short => {
                *self = Overload::none();
                Act::Nothing
            }
            Overload::Off { full_since, answered, looked } => {
                *answered += len;
                let stood = now.saturating_duration_since(*full_since.get_or_insert(now));
                let last = looked.map_or(Duration::ZERO, |look| stood_at(look, *full_since));
                if stood < last + STANDING / 2 {
                    return Act::Nothing;
                }
                let look = Look { at: now, drops: drops() };
                let (answered, before) = (std::mem::take(answered), looked.replace(look));
                match before {
                    Some(before) if before.drops != look.drops => self.begin(before, look, answered),
                    _ => Act::Nothing,
                }
            }
            Overload::On(shedding) => {
                shedding.take_in(now, batch, len);
                let interval = if shedding.has_emptied { INTERVAL } else { PATIENCE };
                if shedding.ran < interval {
                    return Act::Nothing;
                }
                let act = shedding.adjust(Look { at: now, drops: drops() });
                let all_since = shedding.all_since;
                if all_since.is_some_and(|since| now.saturating_duration_since(since) >= CALM) {
                    *self = Overload::none();
                }
                act
            }
        }
    }

    /// Takes in that the queue was discarded, and how long it was.
    pub(crate) fn discarded(&mut self, len: u64) {
        if let Overload::On(shedding) = self {
            shedding.discarded += len;
        }
    }

    /// Looks again when no batch has come for a while; gives whether everything is to be let in.
    pub(crate) fn quiet(&mut self, now: Instant) -> bool {
        match self {
            Overload::On(shedding) if now.saturating_duration_since(shedding.last) >= STANDING => {
                *self = Overload::none();
                true
            }
            _ => false,
        }
    }

    fn begin(&mut self, before: Look, now: Look, answered: u64) -> Act {
        let seen = Interval::between(before, now, answered, 0);
        let share = (JUMP * seen.answered / seen.came).min(1.0);
        *self = Overload::On(Shedding {
            share,
            look: now,
            answered: 0,
            discarded: 0,
            ran: Duration::ZERO,
            stood: Duration::ZERO,
            last: now.at,
            has_emptied: false,
            capacity: seen.answered,
            all_since: None,
        });
        Act::Renew(share)
    }
}

/// How long a queue had stood at a look.
fn stood_at(look: Look, full_since: Option<Instant>) -> Duration {
    full_since.map_or(Duration::ZERO, |since| look.at.saturating_duration_since(since))
}

/// What came and what was answered, a second.
struct Interval {
    came: f64,
    answered: f64,
}

impl Interval {
    fn between(before: Look, now: Look, answered: u64, discarded: u64) -> Interval {
        let seconds = now.at.saturating_duration_since(before.at).as_secs_f64().max(1e-6);
        let drops = now.drops.wrapping_sub(before.drops);
        // Never nothing, to be divided by.
        let came = (answered + discarded + u64::from(drops)).max(1) as f64;
        Interval { came: came / seconds, answered: answered as f64 / seconds }
    }
}

impl Shedding {
    fn take_in(&mut self, now: Instant, batch: Batch, len: u64) {
        let took = now.saturating_duration_since(self.last).min(BATCH_MAX);
        self.last = now;
        self.answered += len;
        self.ran += took;
        self.stood += took;
        if batch == Batch::Short {
            self.has_emptied = true;
            self.stood = Duration::ZERO;
        }
    }

    /// Ends an interval: sets the share anew.
    fn adjust(&mut self, now: Look) -> Act {
        let seen = Interval::between(self.look, now, self.answered, self.discarded);
        (self.answered, self.discarded, self.ran) = (0, 0, Duration::ZERO);
        self.look = now;
        if !std::mem::take(&mut self.has_emptied) {
            // What came and is still in the queue is in no count, so that this is too much rather than too little.
            self.capacity = seen.answered;
            self.share = (self.share * DOWN).min(JUMP * seen.answered / seen.came);
        } else {
            self.share = (self.share * UP).max(JUMP * self.capacity / seen.came).min(1.0);
        }
        let is_all = self.share >= 1.0;
        self.all_since = if is_all { self.all_since.or(Some(now.at)) } else { None };
        if self.stood >= LATE {
            self.stood = Duration::ZERO;
            return Act::Renew(self.share);
        }
        Act::Admit(self.share)
    }
}

#[cfg(test)]
mod tests;
