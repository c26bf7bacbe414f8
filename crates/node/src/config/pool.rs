//! Pools as they are configured: services of several endpoints that names answer with.

use super::probe::PoolCheck;
use crate::places::Atlas;
use pool::{Member, Spec, View};
use std::net::IpAddr;
use std::sync::Arc;
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
    /// Where clients are, of a pool that answers with what is nearest; only who serves reads it.
    pub(crate) atlas: Option<Arc<Atlas>>,
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
            addresses.enumerate().map(move |(nth, address)| (endpoint, address, endpoint.member(nth)))
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
    /// Its weight in a weighted pool.
    pub(crate) weight: u16,
    /// The places that it is for in a nearest pool, in the order in which it is for them.
    pub(crate) places: Vec<String>,
}

impl EndpointConfig {
    /// What selecting has to know of its nth address of a family.
    fn member(&self, nth: usize) -> Member {
        // Of both families the first are one: clients of a network get the same endpoint over each.
        let identity = Member::identity_of(&self.name).wrapping_add(nth as u64);
        Member { tier: self.tier, weight: self.weight, identity }
    }
}
