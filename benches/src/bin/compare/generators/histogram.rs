//! Counts of times, each kept to one part in sixteen.

/// Bits of a value that are kept below its highest one: a figure is at most 6 % off, less than two runs differ.
const KEPT_BITS: u32 = 4;
/// Values below this have a place each.
const EXACT: u64 = 1 << (KEPT_BITS + 1);

/// How often which time was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
}

impl Histogram {
    /// Counts a time.
    pub(crate) fn add(&mut self, time_ns: u64) {
        let place = place(time_ns);
        if self.counts.len() <= place {
            self.counts.resize(place + 1, 0);
        }
        self.counts[place] += 1;
    }

    /// The time in nanoseconds that so large a part of all stays below; none without any.
    pub(crate) fn quantile(&self, part: f64) -> Option<f64> {
        let total: u64 = self.counts.iter().sum();
        let wanted = (total as f64 * part).ceil().max(1.0) as u64;
        let mut seen = 0;
        let place = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        })?;
        Some(middle(place))
    }
}

fn place(value: u64) -> usize {
    if value < EXACT {
        return value as usize;
    }
    let shift = value.ilog2() - KEPT_BITS;
    ((u64::from(shift) << KEPT_BITS) + (value >> shift)) as usize
}

/// The middle of the values with this place.
fn middle(place: usize) -> f64 {
    let place = place as u64;
    if place < EXACT {
        return place as f64;
    }
    let shift = (place >> KEPT_BITS) - 1;
    let low = ((place & ((1 << KEPT_BITS) - 1)) + (1 << KEPT_BITS)) << shift;
    low as f64 + ((1_u64 << shift) - 1) as f64 / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_nearly() {
        for power in 0..40 {
            for value in [1_u64 << power, (1 << power) + 1, (3 << power) / 2] {
                let back = middle(place(value));
                assert!((back - value as f64).abs() <= value as f64 / 30.0, "{value} came back as {back}");
            }
        }
    }

    #[test]
    fn places_are_in_the_order_of_values() {
        let places: Vec<usize> = (0..100_000).map(place).collect();
        assert!(places.windows(2).all(|pair| pair[0] == pair[1] || pair[0] + 1 == pair[1]));
    }

    #[test]
    fn quantiles() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        (1..=100).for_each(|value| histogram.add(value * 1_000));
        let near = |part, expected: f64| {
            let found = histogram.quantile(part).unwrap();
            assert!((found - expected).abs() < expected * 0.07, "{part}: {found}");
        };
        near(0.5, 50_000.0);
        near(0.99, 99_000.0);
        near(1.0, 100_000.0);
        near(0.0, 1_000.0);
    }
}
