//! How this node keeps copies of zones that other servers have.

use super::sources::Sources;
use super::tls::Tls;
use ipnet::IpNet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use transfer::refresh::{Clamp, Clamps};
use transfer::tsig::Key;

/// The most primaries of a zone: more than anybody has, and few enough to ask in one round.
pub(crate) const PRIMARIES_MAX: usize = 16;
/// The most prefixes that NOTIFY requests are taken from besides.
pub(crate) const NOTIFIERS_MAX: usize = 64;

/// A server that a zone is copied from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Primary {
    /// Where it is asked.
    pub(crate) address: SocketAddr,
    /// What both sides sign with. Where there is one, nothing is taken from the primary that isn't signed with it.
    pub(crate) key: Option<Arc<Key>>,
    /// How to speak TLS with it (RFC 9103); not at all without.
    pub(crate) tls: Option<Arc<Tls>>,
}

impl fmt::Display for Primary {
    /// As it is configured.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        self.key.as_ref().map_or(Ok(()), |key| write!(f, " key {}", key.name()))?;
        self.tls.as_ref().map_or(Ok(()), |tls| write!(f, " tls {}", tls.name))
    }
}

/// Somebody besides the primaries from whom NOTIFY requests are taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Notifier {
    /// From where.
    pub(crate) from: IpNet,
    /// What they have to be signed with.
    pub(crate) key: Option<Arc<Key>>,
}

/// How a zone is kept as a copy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SecondaryConfig {
    /// Where the zone comes from; addresses are unique, and there is at least one.
    pub(crate) primaries: Vec<Primary>,
    /// From which addresses of this machine they are asked.
    pub(crate) sources: Sources,
    /// From where NOTIFY requests are taken, besides from the primaries.
    pub(crate) notifiers: Vec<Notifier>,
    /// The most octets of a transfer.
    pub(crate) transfer_max: u64,
    /// How long a transfer may take as a whole.
    pub(crate) transfer_timeout: Duration,
    /// Bounds of what the SOA record says.
    pub(crate) clamps: Clamps,
    /// Whether primaries are asked for what has changed, and not always for the whole zone.
    pub(crate) ixfr: bool,
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
            sources: Sources::default(),
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
            ixfr: true,
            on_expiry: OnExpiry::default(),
        }
    }
}

impl SecondaryConfig {
    /// Whether a NOTIFY request from this address, signed with this key or with none, is heard, and of which primary it is,
    /// if of one. A primary that has a key is believed nothing that isn't signed with it.
    pub(crate) fn hears(&self, from: IpAddr, key: Option<&Arc<Key>>) -> Option<Option<usize>> {
        let from = from.to_canonical();
        let is_signed = |wanted: &Option<Arc<Key>>| wanted.is_none() || wanted.as_ref() == key;
        let is_there = |(_, primary): &(usize, &Primary)| primary.address.ip().to_canonical() == from;
        let mut primaries = self.primaries.iter().enumerate().filter(is_there).peekable();
        if primaries.peek().is_some() {
            // What `notifiers` says of a whole prefix is not for it.
            return primaries.find(|(_, primary)| is_signed(&primary.key)).map(|(index, _)| Some(index));
        }
        let mut notifiers = self.notifiers.iter();
        notifiers.any(|other| other.from.contains(&from) && is_signed(&other.key)).then_some(None)
    }
}
