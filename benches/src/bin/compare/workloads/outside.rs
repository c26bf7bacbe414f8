//! A small zone, and a flood of queries for names that are in no zone of the server: all are refused.

use super::draw::nonexistent;
use super::{Plan, SET_LEN, TYPE_A, Version, head};
use fastrand::Rng;

const APEX: &str = "bench.";

pub(super) fn plan(lots: &mut Rng) -> Plan {
    let name = |lots: &mut Rng| format!("{}.{}.example.", nonexistent(lots), nonexistent(lots));
    Plan {
        zones: vec![(APEX.to_owned(), head(Version::Before))],
        after: None,
        queries: (0..SET_LEN).map(|_| (name(lots), TYPE_A)).collect(),
        signed: None,
    }
}
