//! Pools as they are configured: services of several endpoints that names answer with.

use super::probe::PoolCheck;
use crate::places::Atlas;
use pool::{Member, Spec, View};
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use wire::{NameBuf, RecordType};

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

/// How many pools may stand one within the other: what stands behind a name is still to be understood.
pub(crate) const DEPTH_MAX: usize = 4;
/// The most parts that answers of a pool may have one of, with all that stands within it: each is a set of its own, and in a
/// signed zone a signature.
pub(crate) const PARTS_MAX: usize = 1024;

/// A pool.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PoolConfig {
    /// What it is called.
    pub(crate) name: String,
    /// The names that answer with it, in lower case; none where it only stands within others.
    pub(crate) names: Vec<NameBuf>,
    /// The zone that has brought it along in its records; none for a pool of the configuration.
    pub(crate) zone: Option<NameBuf>,
    /// The TTL of these answers, in seconds.
    pub(crate) ttl: u32,
    /// How it selects.
    pub(crate) spec: Spec,
    /// What it answers with when nothing is good, if it says so.
    pub(crate) fallback: Vec<Answer>,
    /// Whose view of its endpoints counts.
    pub(crate) view: View,
    /// How its endpoints are checked; `None` where no address is looked at.
    pub(crate) check: Option<PoolCheck>,
    /// Its endpoints; names are unique, and so are addresses.
    pub(crate) endpoints: Vec<EndpointConfig>,
    /// Where clients are, of a pool that answers with what is nearest; only who serves reads it.
    pub(crate) atlas: Option<Arc<Atlas>>,
}

/// A member of a side of a pool: its endpoint, what answers have of it, and what selecting has to know.
pub(crate) type PlacedMember<'c> = (&'c EndpointConfig, Place<'c>, Member);

impl PoolConfig {
    /// Whether it goes by where clients are.
    pub(crate) fn is_nearest(&self) -> bool {
        self.spec.kind == pool::Kind::Nearest
    }

    /// The members of a side.
    pub(crate) fn members(&self, side: Side) -> impl Iterator<Item = PlacedMember<'_>> + Clone {
        self.endpoints.iter().flat_map(move |endpoint| {
            let places = endpoint.of_side(side).into_iter().enumerate();
            places.map(move |(nth, place)| (endpoint, place, endpoint.member(nth)))
        })
    }

    /// Whether it has any on this side.
    pub(crate) fn reaches(&self, side: Side) -> bool {
        self.members(side).next().is_some()
    }

    /// Whether its names are aliases.
    pub(crate) fn has_targets(&self) -> bool {
        self.reaches(Side::Target)
    }

    /// The addresses that are looked at, with whose they are, and how.
    pub(crate) fn checked(&self) -> impl Iterator<Item = (&EndpointConfig, IpAddr, &PoolCheck)> {
        let check = self.check.as_ref();
        let addresses = self
            .endpoints
            .iter()
            .flat_map(|endpoint| endpoint.addresses.iter().map(move |address| (endpoint, *address)));
        addresses.filter_map(move |(endpoint, address)| Some((endpoint, address, check?)))
    }

    /// The pools that stand within it, by their names.
    pub(crate) fn within(&self) -> impl Iterator<Item = &str> {
        self.endpoints.iter().filter_map(|endpoint| match &endpoint.stands {
            Stands::Pool(inner) => Some(inner.name.as_str()),
            Stands::Addresses | Stands::Target(_) => None,
        })
    }
}

/// The numbers of pools, so that those that stand within others come before these.
pub(crate) fn inside_out(pools: &[PoolConfig]) -> Vec<usize> {
    let numbers = numbers(pools);
    let within = |pool: &PoolConfig| -> Vec<usize> {
        pool.within().filter_map(|name| numbers.get(name).copied()).collect()
    };
    let within: Vec<Vec<usize>> = pools.iter().map(within).collect();
    let mut heights = vec![0; pools.len()];
    for _ in 0..DEPTH_MAX {
        for (number, inner) in within.iter().enumerate() {
            heights[number] = inner.iter().map(|it| heights[*it] + 1).max().unwrap_or(0);
        }
    }
    let mut order: Vec<usize> = (0..pools.len()).collect();
    order.sort_by_key(|number| heights[*number]);
    order
}

/// The numbers of pools by their names.
pub(crate) fn numbers(pools: &[PoolConfig]) -> HashMap<&str, usize> {
    pools.iter().enumerate().map(|(number, pool)| (pool.name.as_str(), number)).collect()
}

/// A side of a pool: what its names have of one type, which is decided by itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Side {
    /// Addresses of IPv4.
    Ipv4,
    /// Addresses of IPv6.
    Ipv6,
    /// The names that its own names are aliases of.
    Target,
}

impl Side {
    /// Every one of them.
    pub(crate) const ALL: [Side; 3] = [Side::Ipv4, Side::Ipv6, Side::Target];

    /// The word that commands use.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Side::Ipv4 => "IPv4",
            Side::Ipv6 => "IPv6",
            Side::Target => "CNAME",
        }
    }

    /// The type of its records.
    pub(crate) fn rtype(self) -> RecordType {
        match self {
            Side::Ipv4 => RecordType::A,
            Side::Ipv6 => RecordType::AAAA,
            Side::Target => RecordType::CNAME,
        }
    }
}

/// What answers have: the data of a record.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Answer {
    /// An address.
    Address(IpAddr),
    /// The name of which the pool's names are aliases, in lower case.
    Target(Box<NameBuf>),
}

impl Answer {
    /// On which side of a pool it is.
    pub(crate) fn side(&self) -> Side {
        match self {
            Answer::Address(IpAddr::V4(_)) => Side::Ipv4,
            Answer::Address(IpAddr::V6(_)) => Side::Ipv6,
            Answer::Target(_) => Side::Target,
        }
    }

    /// The data, without compression.
    pub(crate) fn rdata(&self) -> Vec<u8> {
        match self {
            Answer::Address(IpAddr::V4(address)) => address.octets().to_vec(),
            Answer::Address(IpAddr::V6(address)) => address.octets().to_vec(),
            Answer::Target(name) => name.as_name().as_wire().to_vec(),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Address(address) => fmt::Display::fmt(address, f),
            Answer::Target(name) => fmt::Display::fmt(&**name, f),
        }
    }
}

/// What answers have of a member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Place<'c> {
    /// A record.
    Itself(Answer),
    /// What the pool of this name answers with.
    Pool(&'c str),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Itself(answer) => answer.fmt(f),
            Place::Pool(inner) => write!(f, "pool {inner}"),
        }
    }
}

/// An endpoint of a pool.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct EndpointConfig {
    /// What it is called.
    pub(crate) name: String,
    /// Where it is looked at, each address by itself.
    pub(crate) addresses: Vec<IpAddr>,
    /// What answers have of it.
    pub(crate) stands: Stands,
    /// Its tier, from 1.
    pub(crate) tier: u32,
    /// Its weight in a weighted pool.
    pub(crate) weight: u16,
    /// The places that it is for in a nearest pool, in the order in which it is for them.
    pub(crate) places: Vec<String>,
}

/// What answers have of an endpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Stands {
    /// Those of its addresses that are good.
    Addresses,
    /// A CNAME record that leads to this name, while any of its addresses is good, or it has none.
    Target(Box<NameBuf>),
    /// What another pool answers with.
    Pool(Inner),
}

/// A pool within another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Inner {
    /// What it is called.
    pub(crate) name: String,
    /// Which sides it has members on, by [`Side::ALL`].
    pub(crate) sides: [bool; Side::ALL.len()],
}

impl EndpointConfig {
    /// What answers have of it on a side.
    fn of_side(&self, side: Side) -> Vec<Place<'_>> {
        match &self.stands {
            Stands::Addresses => {
                let answers = self.addresses.iter().map(|address| Answer::Address(*address));
                answers.filter(|answer| answer.side() == side).map(Place::Itself).collect()
            }
            Stands::Target(target) if side == Side::Target => {
                vec![Place::Itself(Answer::Target(target.clone()))]
            }
            Stands::Pool(inner) if inner.sides[side as usize] => vec![Place::Pool(&inner.name)],
            Stands::Target(_) | Stands::Pool(_) => Vec::new(),
        }
    }

    /// What selecting has to know of its nth member of a side.
    fn member(&self, nth: usize) -> Member {
        // Of both families the first are one: clients of a network get the same endpoint over each.
        let identity = Member::identity_of(&self.name).wrapping_add(nth as u64);
        Member { tier: self.tier, weight: self.weight, identity }
    }
}
