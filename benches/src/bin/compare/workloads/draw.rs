//! What is drawn by lot.

use fastrand::Rng;

/// A label that no generated zone has: it begins with a digit and has no hyphen.
pub(super) fn nonexistent(lots: &mut Rng) -> String {
    let len = lots.usize(6..=12);
    std::iter::once(lots.digit(10)).chain((1..len).map(|_| lots.lowercase())).collect()
}

/// One of `count`, half of the time by Zipf's law and else evenly.
///
/// Resolvers' caches take most of the law away before queries reach an authoritative server, and evenly alone would
/// have no hot names at all. The favourites are spread over the whole, as they are in a real zone.
pub(super) fn skewed(lots: &mut Rng, count: usize) -> usize {
    let even = lots.usize(0..count);
    if lots.bool() {
        return even;
    }
    // For the exponent 1 the logarithm of the rank is spread evenly.
    let rank = (count as f64).powf(lots.f64()) as usize;
    // Any factor without a divisor in common with the count spreads ranks over it; a prime beyond all counts has none.
    (rank.min(count) - 1).wrapping_mul(2_654_435_761) % count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_names_have_many_queries_and_many_have_few() {
        let mut lots = Rng::with_seed(1);
        let mut seen = vec![0_u32; 10_000];
        for _ in 0..100_000 {
            seen[skewed(&mut lots, 10_000)] += 1;
        }
        seen.sort_unstable_by(|a, b| b.cmp(a));
        let hot: u32 = seen[..10].iter().sum();
        assert!((10_000..25_000).contains(&hot), "{hot} of 100,000 for the ten favourites");
        assert!(seen.iter().filter(|count| **count > 0).count() > 9_000);
    }

    #[test]
    fn one_of_one() {
        let mut lots = Rng::with_seed(1);
        assert!((0..100).all(|_| skewed(&mut lots, 1) == 0));
    }
}
