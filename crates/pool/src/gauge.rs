//! The load of one endpoint, as looks at it show it.

use health::Moment;
use std::time::Duration;

/// The largest load that is believed, in whatever unit: more is a fault of who says it.
pub const LOAD_MAX: f64 = 1e9;
/// After so many looks in a row that have shown no load the last one counts no more. Fewer, and one lost answer would
/// do that; more, and an endpoint could live on what it said long ago.
pub const MISSES_MAX: u32 = 5;

/// What looks have shown of an endpoint's load.
#[derive(Clone, Default, Debug)]
pub struct Gauge {
    last: Option<f64>,
    smoothed: Option<f64>,
    at: Moment,
    missed: u32,
}

/// What is known of an endpoint's load now.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Known {
    /// Nothing yet.
    Nothing,
    /// So much, smoothed.
    Load(f64),
    /// Nothing any more.
    NoMore,
}

impl Gauge {
    /// Takes what a look has shown. What came `smoothing` before it has a weight of 1/e.
    ///
    /// A number that can't be (below 0, above [`LOAD_MAX`], none at all) is a miss; whether it was none.
    pub fn take(&mut self, load: f64, smoothing: Duration, now: Moment) -> bool {
        if !(0.0..=LOAD_MAX).contains(&load) {
            self.miss();
            return false;
        }
        let since = now.since(self.at).as_secs_f64() / smoothing.as_secs_f64().max(1e-9);
        let part = 1.0 - (-since).exp();
        let smoothed = self.smoothed.map_or(load, |before| before + part * (load - before));
        *self = Gauge { last: Some(load), smoothed: Some(smoothed), at: now, missed: 0 };
        true
    }

    /// A look has shown no load.
    pub fn miss(&mut self) {
        self.missed = self.missed.saturating_add(1);
    }

    /// What is known now.
    pub fn known(&self) -> Known {
        match self.smoothed {
            None => Known::Nothing,
            Some(load) if self.missed < MISSES_MAX => Known::Load(load),
            Some(_) => Known::NoMore,
        }
    }

    /// What the last look has shown that has shown any.
    pub fn last(&self) -> Option<f64> {
        self.last
    }

    /// What looks have shown, smoothed, however long ago.
    pub fn smoothed(&self) -> Option<f64> {
        self.smoothed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u32) -> Moment {
        Moment(SECOND * seconds)
    }

    #[test]
    fn what_is_older_counts_for_less() {
        let mut gauge = Gauge::default();
        assert_eq!(gauge.known(), Known::Nothing);
        assert!(gauge.take(10.0, SECOND * 10, at(100)));
        assert_eq!(gauge.known(), Known::Load(10.0), "the first is all there is");
        assert!(gauge.take(20.0, SECOND * 10, at(110)));
        let Known::Load(load) = gauge.known() else { panic!("{gauge:?}") };
        assert!((load - (20.0 - 10.0 / std::f64::consts::E)).abs() < 1e-9, "{load}");
        assert_eq!(gauge.last(), Some(20.0));
        // However often it is looked at, it is the time that counts.
        let mut often = Gauge::default();
        often.take(10.0, SECOND * 10, at(100));
        for second in 101..=110 {
            often.take(20.0, SECOND * 10, at(second));
        }
        assert!((often.smoothed().unwrap() - load).abs() < 1e-9, "{often:?}");
    }

    #[test]
    fn what_cannot_be_is_no_load_and_the_last_one_counts_for_a_while() {
        let mut gauge = Gauge::default();
        gauge.take(3.0, SECOND, at(1));
        for wrong in [-1.0, f64::NAN, f64::INFINITY, LOAD_MAX * 2.0] {
            assert!(!gauge.take(wrong, SECOND, at(2)), "{wrong}");
            assert_eq!(gauge.known(), Known::Load(3.0));
        }
        gauge.miss();
        assert_eq!((gauge.known(), gauge.smoothed()), (Known::NoMore, Some(3.0)));
        gauge.take(5.0, SECOND, at(60));
        let Known::Load(load) = gauge.known() else { panic!("{gauge:?}") };
        assert!((load - 5.0).abs() < 1e-6, "what is so old counts for nothing: {load}");
    }
}
