//! Pools as they are configured: services of several endpoints that names answer with.

use pool::{Member, Spec, View};
use serde::Serialize;
use std::net::IpAddr;
use std::time::Duration;
use wire::NameBuf;

/// The most pools.
pub(crate) const POOLS_MAX: usize = 4096;
/// The most names of a pool.
pub(crate) const NAMES_MAX: usize = 1024;
/// The most octets of the name of a pool or an endpoint: it is a label of metrics and a word of commands.
pub(crate) const WORD_MAX: usize = 64;
/// How long answers with a pool's endpoints may be kept where it says nothing, in seconds. Shorter than that many resolvers don't
/// believe.
pub(crate) const TTL: u32 = 30;
/// The longest time-to-live of a pool, in seconds: an hour after which nobody waits for a failover.
pub(crate) const TTL_MAX: u32 = 3600;

/// A pool.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PoolConfig {
    /// What it is called.
    pub(crate) name: String,
    /// The names that answer with it, in lower case.
    pub(crate) names: Vec<NameBuf>,
    /// The TTL of these answers, in seconds.
    pub(crate) ttl: u32,
    /// How it selects.
    pub(crate) spec: Spec,
    /// What it answers with when nothing is good, if it says so.
    pub(crate) fallback: Vec<IpAddr>,
    /// Whose view of its endpoints counts.
    pub(crate) view: View,
    /// How its endpoints are checked.
    pub(crate) check: PoolCheck,
    /// Its endpoints; names are unique, and so are addresses.
    pub(crate) endpoints: Vec<EndpointConfig>,
}

impl PoolConfig {
    /// The addresses of a family, with the endpoints that they are of.
    pub(crate) fn members(
        &self,
        is_ipv4: bool,
    ) -> impl Iterator<Item = (&EndpointConfig, IpAddr, Member)> + Clone {
        let of_family = move |address: &IpAddr| address.is_ipv4() == is_ipv4;
        self.endpoints.iter().flat_map(move |endpoint| {
            let addresses = endpoint.addresses.iter().copied().filter(of_family);
            addresses.map(move |address| (endpoint, address, Member { tier: endpoint.tier }))
        })
    }
}

/// An endpoint of a pool.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct EndpointConfig {
    /// What it is called.
    pub(crate) name: String,
    /// Where it is; each address is checked and answered with by itself.
    pub(crate) addresses: Vec<IpAddr>,
    /// Its tier, from 1.
    pub(crate) tier: u32,
}

/// How endpoints are checked. What of it makes its [`PoolCheck::identity`] is serialized.
#[derive(Serialize, Clone, PartialEq, Eq, Hash, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct PoolCheck {
    /// What is asked.
    pub(crate) probe: Probe,
    /// At which port.
    pub(crate) port: u16,
    /// From which addresses, at most one of each family; the system chooses where there is none.
    #[serde(skip)]
    pub(crate) sources: Vec<IpAddr>,
    /// How often.
    #[serde(skip)]
    pub(crate) interval: Duration,
    /// How long an answer may take.
    pub(crate) timeout: Duration,
    /// How many good results in a row make an endpoint good.
    pub(crate) rise: u32,
    /// How many bad results in a row make it bad.
    pub(crate) fall: u32,
}

impl PoolCheck {
    /// What is the same on all nodes that ask the same of an endpoint, and believe it by the same rules: from where and
    /// how often they do is for each to choose.
    pub(crate) fn identity(&self) -> CheckId {
        // Names and order of what is serialized are part of what nodes of different versions have to agree on.
        let text = serde_json::to_vec(self).expect("numbers and texts can be written");
        let mut id = [0; 16];
        id.copy_from_slice(&blake3::hash(&text).as_bytes()[..16]);
        CheckId(id)
    }
}

/// Which check it is, on any node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct CheckId(pub(crate) [u8; 16]);

impl std::fmt::Display for CheckId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// What is asked of an endpoint.
#[derive(Serialize, Clone, PartialEq, Eq, Hash, Debug)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub(crate) enum Probe {
    /// To accept a TCP connection.
    Tcp,
    /// To answer a request for a page over HTTP/1.1.
    Http {
        /// What the request says the host is; the address where there is none.
        host: Option<String>,
        /// The path, which begins with a slash.
        path: String,
        /// The status codes that are good.
        statuses: Vec<u16>,
        /// What the first octets of the body have to contain.
        contains: Option<String>,
    },
}
