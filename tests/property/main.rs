//! Properties: what holds for every name, zone and image, tried on thousands of random ones.
//!
//! A case that fails is shrunk and printed, and its seed is kept in `tests/proptest-regressions`.

mod amend;
mod answers;
mod batches;
mod denial;
mod differences;
mod digests;
#[path = "../fuzz/src/fixtures.rs"]
mod fixtures;
mod images;
mod model;
mod names;
mod places;
mod portions;
#[path = "../fuzz/src/seeds.rs"]
mod seeds;
mod serving;
mod signing;
mod steered;
mod validator;
mod zones;

use proptest::prelude::ProptestConfig;

/// How many times as many cases a long run has.
const LONG_FACTOR: u32 = 100;

/// So many cases, or more in a long run (`STARLING_LONG=1`), unless `PROPTEST_CASES` says otherwise.
fn config(cases: u32) -> ProptestConfig {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let config = ProptestConfig::default();
    let cases = if starling_tests::tools::long_run() { cases * LONG_FACTOR } else { cases };
    if asked { config } else { ProptestConfig { cases, ..config } }
}
