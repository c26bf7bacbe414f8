//! A zone like the root: delegations with glue, and mostly queries for names that don't exist.

use std::fmt::Write as _;

use fastrand::Rng;
use starling_tests::signing::Denial;

use super::draw::{nonexistent, skewed};
use super::{PHASES, Plan, SET_LEN, TYPE_A, Version, head};

const APEX: &str = "bench.";
/// As many as the root has.
const DELEGATIONS: usize = 1_500;
/// Servers of a delegation, each with an IPv4 and an IPv6 address: a referral is a little over 200 octets.
const SERVERS: usize = 4;
/// Of a hundred queries.
const NONEXISTENT_PERCENT: u32 = 60;

/// Whether delegations have a DS record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Delegation {
    /// None. gdnsd refuses zones that have any.
    Plain,
    /// One.
    Signed,
}

pub(super) fn plan(lots: &mut Rng, delegation: Delegation, signed: Option<Denial>) -> Plan {
    let body = body(delegation);
    let after = signed.is_none().then(|| head(Version::After) + &body);
    Plan {
        zones: vec![(APEX.to_owned(), head(Version::Before) + &body)],
        after,
        queries: (0..SET_LEN * PHASES.len()).map(|_| (name(lots), TYPE_A)).collect(),
        signed,
    }
}

fn body(delegation: Delegation) -> String {
    let mut text = String::new();
    for tld in 0..DELEGATIONS {
        // Writing to a String does not fail.
        for server in 0..SERVERS {
            let host = format!("{}.nic.tld-{tld}", ["a", "b", "c", "d"][server]);
            let (high, low) = (tld >> 8, tld & 255);
            let _ = writeln!(
                text,
                "tld-{tld} IN NS {host}\n{host} IN A 10.{server}.{high}.{low}\n\
                 {host} IN AAAA 2001:db8:{server}::{tld:x}"
            );
        }
        if delegation == Delegation::Signed {
            let _ = writeln!(text, "tld-{tld} IN DS {tld} 13 2 {tld:064x}");
        }
    }
    text
}

fn name(lots: &mut Rng) -> String {
    let tld = if lots.u32(0..100) < NONEXISTENT_PERCENT {
        nonexistent(lots)
    } else {
        format!("tld-{}", skewed(lots, DELEGATIONS))
    };
    // A third of the queries of a root are for a TLD itself, since resolvers send no more than they have to (RFC 9156).
    if lots.u32(0..3) == 0 {
        format!("{tld}.{APEX}")
    } else {
        format!("www.{}.{tld}.{APEX}", nonexistent(lots))
    }
}
