//! The numbers of a SOA record.

use std::time::Duration;
use wire::message::u32_at;

/// The numbers of a SOA record that say how a copy of its zone is kept (RFC 1035 §3.3.13).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Soa {
    /// The version of the zone.
    pub serial: u32,
    /// How long after one look at the primary the next is due.
    pub refresh: Duration,
    /// How long after a look that failed.
    pub retry: Duration,
    /// How long the copy is good for when no look succeeds.
    pub expire: Duration,
}

impl Soa {
    /// Octets of the five numbers, which end the data.
    const NUMBERS_LEN: usize = 20;

    /// Reads the data of a SOA record, or anything that ends as it does; `None` where that is too short.
    pub fn from_rdata(rdata: &[u8]) -> Option<Soa> {
        let at = rdata.len().checked_sub(Soa::NUMBERS_LEN)?;
        let seconds = |index: usize| Some(Duration::from_secs(u32_at(rdata, at + 4 * index)?.into()));
        Some(Soa {
            serial: u32_at(rdata, at)?,
            refresh: seconds(1)?,
            retry: seconds(2)?,
            expire: seconds(3)?,
        })
    }
}
