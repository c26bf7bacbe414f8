//! One large zone of hosts, as a hosting company or a telephone company has it.

use fastrand::Rng;

use super::draw::{nonexistent, skewed};
use super::{PHASES, Plan, SET_LEN, TYPE_A, Version, head};

const APEX: &str = "bench.";
/// Every so many hosts there is an alias, in the zone of the other benches.
const ALIAS_EVERY: usize = 20;

pub(super) fn plan(lots: &mut Rng, hosts: u32) -> Plan {
    let hosts = hosts as usize;
    let whole = starling_benches::hosts_zone(hosts);
    // Its head has no mark; from the first host on it is ours.
    let body = whole.find("host0 ").map_or("", |at| &whole[at..]);
    Plan {
        zones: vec![(APEX.to_owned(), head(Version::Before) + body)],
        after: Some(head(Version::After) + body),
        queries: (0..SET_LEN * PHASES.len()).map(|_| (name(lots, hosts), TYPE_A)).collect(),
        signed: None,
    }
}

fn name(lots: &mut Rng, hosts: usize) -> String {
    match lots.u32(0..100) {
        0..5 => format!("alias{}.{APEX}", skewed(lots, hosts.div_ceil(ALIAS_EVERY)) * ALIAS_EVERY),
        5..10 => format!("{}.{APEX}", nonexistent(lots)),
        _ => format!("host{}.{APEX}", skewed(lots, hosts)),
    }
}
