//! How this node keeps copies of zones that other servers have.

use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use transfer::refresh::{Clamp, Clamps};

/// The most primaries of a zone: more than anybody has, and few enough to ask in one round.
pub(crate) const PRIMARIES_MAX: usize = 16;
/// The most prefixes that NOTIFY requests are taken from besides.
pub(crate) const NOTIFIERS_MAX: usize = 64;

/// How a zone is kept as a copy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SecondaryConfig {
    /// Where the zone comes from; addresses are unique, and there is at least one.
    pub(crate) primaries: Vec<SocketAddr>,
    /// From which addresses of this machine they are asked, at most one of each family; where there is none of a
    /// primary's family, the kernel chooses.
    pub(crate) sources: Vec<IpAddr>,
    /// From where NOTIFY requests are taken, besides from the primaries.
    pub(crate) notifiers: Vec<IpNet>,
    /// The most octets of a transfer.
    pub(crate) transfer_max: u64,
    /// How long a transfer may take as a whole.
    pub(crate) transfer_timeout: Duration,
    /// Bounds of what the SOA record says.
    pub(crate) clamps: Clamps,
    /// What becomes of a copy that has expired.
    pub(crate) on_expiry: OnExpiry,
}

/// What becomes of a copy that has expired.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum OnExpiry {
    /// Its names get SERVFAIL, so that resolvers ask another server (RFC 1034 §4.3.5).
    #[default]
    Servfail,
    /// It is served all the same, and answers say that it is stale (RFC 8914 §4.4).
    Serve,
}

impl Default for SecondaryConfig {
    fn default() -> SecondaryConfig {
        let clamp = |min, max| Clamp { min: Duration::from_secs(min), max: Duration::from_secs(max) };
        SecondaryConfig {
            primaries: Vec::new(),
            sources: Vec::new(),
            notifiers: Vec::new(),
            // Some fifteen million hosts. Larger lets one primary take more memory, about six times this in the worst
            // case; smaller would refuse zones that exist.
            transfer_max: 1 << 30,
            // Enough for that at 20 Mbit/s. A primary that trickles holds one of few places for so long.
            transfer_timeout: Duration::from_secs(600),
            clamps: Clamps {
                // Below half a minute a zone with a slip in its SOA record would be asked for without end; above a day
                // one lost NOTIFY leaves a copy old for longer than anybody expects.
                refresh: clamp(30, 86_400),
                // As often as a primary that comes back should be noticed at the latest, and no storm while it is away.
                retry: clamp(10, 3600),
                // Less than an hour and a restart of the primary would end the service; more than four weeks and nobody
                // remembers that there was one.
                expire: clamp(3600, 28 * 86_400),
            },
            on_expiry: OnExpiry::default(),
        }
    }
}

impl SecondaryConfig {
    /// The address that a primary is asked from, if one was given.
    pub(crate) fn source_for(&self, primary: SocketAddr) -> Option<IpAddr> {
        self.sources.iter().copied().find(|source| source.is_ipv4() == primary.is_ipv4())
    }

    /// Whether a NOTIFY request from this address is heard, and of which primary it is, if of one.
    pub(crate) fn hears(&self, from: IpAddr) -> Option<Option<usize>> {
        let from = from.to_canonical();
        let primary = self.primaries.iter().position(|primary| primary.ip() == from);
        let is_heard = primary.is_some() || self.notifiers.iter().any(|prefix| prefix.contains(&from));
        is_heard.then_some(primary)
    }
}
