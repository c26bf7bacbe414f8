//! Samples of responses, for others to look into while packet threads go on.
//!
//! What answers consist of can be found out from some of them, at no cost to the rest. One response of every so many
//! batches is copied, with the number of answers that it stands for: all since the last sample, so that numbers add
//! up, however often room is missing.

use crate::responder::UDP_RESPONSE_MAX;
use crossbeam_queue::ArrayQueue;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How many samples wait for whoever looks into them; some 64 KiB. With a look ten times a second 160 are taken of
/// each thread, which after a minute tell a share of a half to half a percent, and one of a hundredth to a tenth of
/// it.
const SAMPLES_MAX: usize = 16;
/// One response is taken from so many batches, on average. Of a thread that has little to do, with a query a batch, that is a sixteenth
/// of a copy an answer, and next to none of one whose batches are full; with more, few answers would go unseen for long.
const BATCHES: u32 = 16;
/// The most answers that a sample stands for. No thread gives so many before somebody looks; more come together only
/// where nobody does.
const STANDS_FOR_MAX: u64 = 1 << 20;
/// No index of a batch.
pub(crate) const NONE: usize = usize::MAX;

/// Samples of one packet thread, on their way to whoever looks into them.
pub struct Samples {
    is_wanted: AtomicBool,
    free: ArrayQueue<Box<Sample>>,
    full: ArrayQueue<Box<Sample>>,
}

struct Sample {
    stands_for: u64,
    len: usize,
    octets: [u8; UDP_RESPONSE_MAX],
}

impl Default for Samples {
    fn default() -> Samples {
        let (free, full) = (ArrayQueue::new(SAMPLES_MAX), ArrayQueue::new(SAMPLES_MAX));
        for _ in 0..SAMPLES_MAX {
            // There is room for as many.
            let _ = free.push(Box::new(Sample { stands_for: 0, len: 0, octets: [0; UDP_RESPONSE_MAX] }));
        }
        Samples { is_wanted: AtomicBool::new(false), free, full }
    }
}

impl Samples {
    /// Says whether samples are to be taken; at first they are not.
    pub fn want(&self, is_wanted: bool) {
        self.is_wanted.store(is_wanted, Ordering::Relaxed);
    }

    /// Shows the oldest sample to `look`, a whole response, with the number of answers that it stands for; whether
    /// there was one.
    pub fn show(&self, look: impl FnOnce(&[u8], u64)) -> bool {
        let Some(sample) = self.full.pop() else { return false };
        look(&sample.octets[..sample.len], sample.stands_for);
        // There is room for all that there are.
        let _ = self.free.push(sample);
        true
    }

    /// Takes a sample; whether there was room.
    fn take(&self, response: &[u8], stands_for: u64) -> bool {
        let Some(mut sample) = self.free.pop() else { return false };
        let len = response.len().min(UDP_RESPONSE_MAX);
        sample.octets[..len].copy_from_slice(&response[..len]);
        (sample.len, sample.stands_for) = (len, stands_for);
        self.full.push(sample).is_ok()
    }
}

/// Which responses of a thread are taken.
pub(crate) struct Sampling {
    samples: Arc<Samples>,
    batches_left: u32,
    /// Answers since the last sample.
    answers: u64,
    /// Of the last sample.
    random: u64,
}

impl Sampling {
    pub(crate) fn new(samples: Arc<Samples>) -> Sampling {
        Sampling { samples, batches_left: BATCHES, answers: 0, random: 0 }
    }

    /// Which response of a batch with so many is to be taken; [`NONE`] mostly.
    #[inline]
    pub(crate) fn choose(&mut self, len: usize) -> usize {
        self.answers += len as u64;
        self.batches_left -= 1;
        if self.batches_left != 0 { NONE } else { self.choose_now(len) }
    }

    #[cold]
    #[inline(never)]
    fn choose_now(&mut self, len: usize) -> usize {
        // Steps of one length would fall in with the turns that sets take. A linear congruential generator (Knuth's MMIX).
        self.random = self.random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        self.batches_left = 1 + (self.random >> 32) as u32 % (2 * BATCHES - 1);
        if !self.samples.is_wanted.load(Ordering::Relaxed) {
            self.answers = 0;
            return NONE;
        }
        // Below `len`, and no index at all where that is 0.
        (((self.random >> 32) * len as u64) >> 32) as usize
    }

    /// Takes a response that was chosen.
    #[cold]
    #[inline(never)]
    pub(crate) fn take(&mut self, response: &[u8]) {
        if self.samples.take(response, self.answers.min(STANDS_FOR_MAX)) {
            self.answers = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_samples_stand_for_adds_up_and_no_place_is_preferred() {
        let samples = Arc::new(Samples::default());
        let mut sampling = Sampling::new(Arc::clone(&samples));
        for _ in 0..100 {
            assert_eq!(sampling.choose(32), NONE, "nobody wants any");
        }
        samples.want(true);
        let (mut answers, mut stand_for, mut places) = (0, 0, [0u32; 8]);
        for batch in 0..100_000 {
            let chosen = sampling.choose(8);
            answers += 8;
            if chosen != NONE {
                places[chosen] += 1;
                sampling.take(&[chosen as u8; 100]);
            }
            // Sometimes nobody looks for long.
            if batch % 1000 == 0 {
                while samples.show(|response, count| {
                    assert_eq!(response.len(), 100);
                    stand_for += count;
                }) {}
            }
        }
        while samples.show(|_, count| stand_for += count) {}
        assert!(answers - stand_for <= 1000 * 8 + 2 * 16 * 8, "{stand_for} of {answers}");
        assert!(stand_for <= answers);
        let each = places.iter().sum::<u32>() / 8;
        assert!(places.iter().all(|count| count.abs_diff(each) < each / 10), "{places:?}");
    }
}
