//! When more comes in than can be answered: what is answered stays fresh.
//!
//! A receive buffer that rides out a pause holds tens of milliseconds of queries. In a lasting overload that turns against
//! the clients: the kernel drops the newest, and every answer is as late as the buffer is long. So once queries are being
//! lost anyway, the queue is kept short: a *gate*, a filter on the socket that takes nothing more in, is closed until what
//! is in the queue has been answered, then opened for about as long as it takes to fill again. What is still there
//! [`LATE`] after the gate was closed is older than that, and is discarded unanswered.
//!
//! All this is seen from two things that cost nothing: whether a batch was full (a short one says that the queue was
//! empty), and a clock read after full ones. How long the queue is need not be known, which is as well, for what the kernel
//! tells is wrong by up to a quarter of the buffer.
//!
//! What else was measured, for a small datagram, where receiving and answering one takes 3.5 µs: to receive it in order to
//! discard it takes 0.43 µs, so that dropping old queries alone would leave 90 % of the answers at twice the load, and
//! none at ten times. A smaller receive buffer costs 0.4 µs to set, but nobody without CAP_NET_ADMIN gets a large one
//! back, and workers have no capabilities. Closing the gate takes 7 to 9 µs and opening it 0.5 to 0.9, once in some
//! milliseconds; what it keeps out costs the worker nothing.

use std::time::{Duration, Instant};

/// How long a queue has to have been there without a break, and the kernel to have dropped meanwhile, before the gate is
/// used at all; looked at in two halves.
///
/// A pause of the scheduler leaves a queue that is worked off, without loss, in a few times its length: shorter than this it
/// would be shed although nothing needs to be lost. Longer, and more answers are late when an overload begins.
const STANDING: Duration = Duration::from_millis(100);

/// How long the gate has to have been open before an overload counts as over.
///
/// As long as it doesn't, a queue that stands for a window is shed, though it might be worked off without loss; once it
/// does, the buffer has to overflow again, and all answers to become late, before anything is done. A load a little over
/// what can be answered comes and goes within tenths of a second: with 100 ms one answer in a hundred was 28 ms late.
const CALM: Duration = Duration::from_secs(2);

/// How long the queue should take to be answered once the gate is closed: what a query waits at most in an overload, while
/// its rate does not change.
///
/// Shorter, and the gate is turned more often (at 2 ms and twice the load a turn is 10 µs in 4 ms), and a pause of the
/// sender finds the queue empty. Longer is later.
const DRAIN: Duration = Duration::from_millis(2);

/// Age from which a query is discarded instead of answered, in an overload.
///
/// Clients wait a second and more, so that these would still be taken; but each of them would make those behind it wait. Near
/// [`DRAIN`], every unsteadiness of the sender would discard queries; 5 ms still is "low milliseconds".
const LATE: Duration = Duration::from_millis(5);

/// How long the gate stays open at least: about the time of one batch, below which nothing can be seen.
///
/// At twenty times the capacity that much brings [`LATE`], and from there on much is discarded.
const WINDOW_MIN: Duration = Duration::from_micros(100);

/// How long a queue may stand at most before the gate is closed, once in an overload. As [`STANDING`]: with two per cent too
/// much, it takes so long to become [`DRAIN`] long.
const WINDOW_MAX: Duration = Duration::from_millis(100);

const _: () = {
    assert!(WINDOW_MIN.as_nanos() < DRAIN.as_nanos());
    assert!(DRAIN.as_nanos() < LATE.as_nanos());
    assert!(LATE.as_nanos() < STANDING.as_nanos());
};

/// What is to be done with the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    /// Nothing.
    Nothing,
    /// Close the gate.
    Close,
    /// Open the gate.
    Open,
    /// Discard what is in the queue, then open the gate.
    Discard,
}

/// How the queue of one socket is.
#[derive(Debug)]
pub(crate) struct Overload {
    gate: Gate,
    /// Since when every batch has been full, as far as that was in one go with the gate open.
    full_since: Option<Instant>,
    /// Without an overload: drops of the kernel when they were last looked at in this run of full batches.
    looked: Option<(Instant, u32)>,
    /// In an overload: how long the queue may stand before the gate is closed.
    window: Option<Duration>,
    /// In an overload: the gate was opened so recently that the queue is empty for that alone.
    is_expecting: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Gate {
    /// Since then, if that is known.
    Open(Option<Instant>),
    Closed(Instant),
}

impl Overload {
    /// No overload.
    pub(crate) const fn none() -> Overload {
        Overload { gate: Gate::Open(None), full_since: None, looked: None, window: None, is_expecting: false }
    }

    /// Whether there is an overload, so that short batches need a clock too.
    pub(crate) fn is_on(&self) -> bool {
        self.window.is_some()
    }

    /// Whether the gate is closed.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.gate, Gate::Closed(_))
    }

    /// Whether datagrams are about to come although the queue is empty: not worth falling asleep for.
    ///
    /// Without it a tenth of the CPU lay idle at twice the load, on a virtual machine where waking up takes long.
    pub(crate) fn is_expecting(&self) -> bool {
        self.is_expecting
    }

    /// A short batch while there is no overload.
    pub(crate) fn emptied(&mut self) {
        self.full_since = None;
        self.looked = None;
    }

    /// A short batch during an overload: the queue was empty.
    pub(crate) fn short(&mut self, now: Instant) -> Act {
        self.emptied();
        let Some(window) = self.window else { return Act::Nothing };
        match self.gate {
            Gate::Closed(since) => {
                let took = now.saturating_duration_since(since).max(DRAIN / 4);
                // What a window brings is in proportion to it; no faster than by four, against a single odd one.
                let fitting = window.mul_f64(DRAIN.as_secs_f64() / took.as_secs_f64());
                self.open(now, fitting.clamp(window / 4, window * 4))
            }
            Gate::Open(since) => {
                let open_for = since.map_or(CALM, |since| now.saturating_duration_since(since));
                self.is_expecting = open_for < DRAIN;
                if open_for >= CALM {
                    self.window = None;
                }
                Act::Nothing
            }
        }
    }

    /// A full batch. `drops` tells how many datagrams the kernel has dropped at the socket; it is rarely asked.
    pub(crate) fn full(&mut self, now: Instant, drops: impl FnOnce() -> u32) -> Act {
        if let Gate::Closed(since) = self.gate {
            let is_late = now.saturating_duration_since(since) >= LATE;
            return if is_late { Act::Discard } else { Act::Nothing };
        }
        let stood = now.saturating_duration_since(*self.full_since.get_or_insert(now));
        let (patience, window) = match self.window {
            Some(window) => (window, window),
            None => (STANDING / 2, DRAIN),
        };
        if stood >= patience && (self.is_on() || self.is_losing(now, drops)) {
            return self.close(now, window);
        }
        Act::Nothing
    }

    /// The queue was discarded.
    pub(crate) fn discarded(&mut self, now: Instant) -> Act {
        let window = self.window.unwrap_or(DRAIN);
        self.open(now, window / 2)
    }

    /// Whether the kernel has dropped since half of [`STANDING`] ago.
    fn is_losing(&mut self, now: Instant, drops: impl FnOnce() -> u32) -> bool {
        match self.looked {
            Some((at, _)) if now.saturating_duration_since(at) < STANDING / 2 => false,
            before => {
                let drops = drops();
                self.looked = Some((now, drops));
                before.is_some_and(|(_, before)| before != drops)
            }
        }
    }

    fn close(&mut self, now: Instant, window: Duration) -> Act {
        self.window = Some(window);
        self.gate = Gate::Closed(now);
        self.is_expecting = false;
        self.emptied();
        Act::Close
    }

    fn open(&mut self, now: Instant, window: Duration) -> Act {
        self.window = Some(window.clamp(WINDOW_MIN, WINDOW_MAX));
        self.gate = Gate::Open(Some(now));
        self.is_expecting = true;
        self.emptied();
        Act::Open
    }
}

#[cfg(test)]
mod tests;
