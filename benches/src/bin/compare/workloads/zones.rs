//! Many small zones, as a registrar has them.

use fastrand::Rng;

use super::draw::{nonexistent, skewed};
use super::{PHASES, Plan, SET_LEN, TYPE_A, Version, head};

/// Of a hundred queries.
const NONEXISTENT_PERCENT: u32 = 20;
const HOSTS: [&str; 4] = ["www", "mail", "ftp", "ns1"];

pub(super) fn plan(lots: &mut Rng, zones: u32) -> Plan {
    let zones = zones as usize;
    let text = |version| {
        head(version) + "www IN A 192.0.2.80\n@ IN MX 10 mail\nmail IN A 192.0.2.25\nftp IN A 192.0.2.21\n"
    };
    Plan {
        zones: (0..zones).map(|zone| (apex(zone), text(Version::Before))).collect(),
        after: Some(text(Version::After)),
        queries: (0..SET_LEN * PHASES.len()).map(|_| (name(lots, zones), TYPE_A)).collect(),
        signed: None,
    }
}

fn apex(zone: usize) -> String {
    format!("zone-{zone}.bench.")
}

fn name(lots: &mut Rng, zones: usize) -> String {
    let apex = apex(skewed(lots, zones));
    if lots.u32(0..100) < NONEXISTENT_PERCENT {
        return format!("{}.{apex}", nonexistent(lots));
    }
    format!("{}.{apex}", HOSTS[lots.usize(0..HOSTS.len())])
}
