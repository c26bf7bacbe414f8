//! Who is joined to whom, and with which addresses.
//!
//! ```text
//!   p1 ─┬─ r1 ─┬─ client        IPv4 of the client goes through r1, IPv6 through r2, so that both routers' routes
//!   p2 ─┤  │   │                matter. Every interface bears the name of the neighbour it leads to.
//!   p3 ─┴─ r2 ─┘   origin ─ r1
//!
//!   origin ─ p1, p2, p3           The management network, which a primary's zones come over: a cable to each PoP.
//! ```
//!
//! Linux routers that run BIRD have no route for some ten microseconds while one is replaced, which no hardware
//! router has. A less specific route to the other router bridges that gap; the client's TTL ends what would go to
//! and fro when no node announces anything.

use std::net::Ipv4Addr;

use anyhow::Result;

use crate::netns::{Forwarding, Namespace, cable};

/// The points of presence.
pub const POPS: [&str; 3] = ["p1", "p2", "p3"];
/// The routers.
pub const ROUTERS: [&str; 2] = ["r1", "r2"];
/// The anycast service addresses.
pub const SERVICE: [&str; 2] = ["203.0.113.53", "2001:db8:53::53"];
/// The prefixes they are announced with.
pub const PREFIXES: [&str; 2] = ["203.0.113.0/24", "2001:db8:53::/48"];
/// Less specific ones, see above.
const COVERING: [&str; 2] = ["203.0.112.0/23", "2001:db8:52::/47"];
/// Where zones come from: what all nodes share, and none may depend on.
pub const ORIGIN: &str = "10.200.0.2";
/// AS number of the nodes.
pub const NODE_AS: u32 = 65_053;
/// AS number of the routers.
pub const ROUTER_AS: u32 = 65_000;

/// The namespaces of a lab and the cables between them.
pub struct Topology {
    /// One for each of [`POPS`].
    pub pops: Vec<Namespace>,
    /// One for each of [`ROUTERS`].
    pub routers: Vec<Namespace>,
    /// Where the queries come from.
    pub client: Namespace,
    /// Where the zones come from.
    pub origin: Namespace,
}

impl Topology {
    /// Makes everything; nothing runs inside yet.
    pub fn new() -> Result<Self> {
        let make = |labels: &[&str], forwarding| -> Result<Vec<Namespace>> {
            labels.iter().map(|label| Namespace::new(label, forwarding)).collect()
        };
        let topology = Self {
            pops: make(&POPS, Forwarding::Off)?,
            routers: make(&ROUTERS, Forwarding::On)?,
            client: Namespace::new("client", Forwarding::Off)?,
            origin: Namespace::new("origin", Forwarding::Off)?,
        };
        topology.join_pops()?;
        topology.join_routers()?;
        topology.join_client()?;
        topology.join_origin()?;
        Ok(topology)
    }

    fn join_pops(&self) -> Result<()> {
        for (p, pop) in self.pops.iter().enumerate() {
            // A path whose link is down must not be taken, though its route is still there.
            pop.sysctl("net.ipv4.conf.default.ignore_routes_with_linkdown", "1")?;
            pop.sysctl("net.ipv6.conf.default.ignore_routes_with_linkdown", "1")?;
            pop.add_address("lo", &format!("{}/32", management(p)))?;
            for (r, router) in self.routers.iter().enumerate() {
                cable((pop, ROUTERS[r]), (router, POPS[p]))?;
                let [v4, v6] = link(p, r);
                pop.add_address(ROUTERS[r], &format!("{v4}2/30"))?;
                pop.add_address(ROUTERS[r], &format!("{v6}2/64"))?;
                router.add_address(POPS[p], &format!("{v4}1/30"))?;
                router.add_address(POPS[p], &format!("{v6}1/64"))?;
                let metric = 10 + 10 * r;
                let from = management(p);
                pop.ip(&format!(
                    "route add default via {v4}1 dev {} metric {metric} src {from}",
                    ROUTERS[r]
                ))?;
                let metric = 30 - 10 * r;
                pop.ip(&format!("-6 route add default via {v6}1 dev {} metric {metric}", ROUTERS[r]))?;
            }
            self.route_to_pop(p)?;
        }
        Ok(())
    }

    /// Gives the routers their routes to the addresses of a PoP that are its own. An interface that goes down takes them along.
    pub fn route_to_pop(&self, pop: usize) -> Result<()> {
        for (r, router) in self.routers.iter().enumerate() {
            let [v4, _] = link(pop, r);
            for prefix in [format!("{}/32", management(pop)), backends(pop)] {
                router.ip(&format!("route replace {prefix} via {v4}2 dev {}", POPS[pop]))?;
            }
        }
        Ok(())
    }

    fn join_routers(&self) -> Result<()> {
        let [r1, r2] = [&self.routers[0], &self.routers[1]];
        cable((r1, "r2"), (r2, "r1"))?;
        for (router, own, other, towards) in [(r1, 1, 2, "r2"), (r2, 2, 1, "r1")] {
            router.add_address(towards, &format!("10.0.0.{own}/30"))?;
            router.add_address(towards, &format!("fd00:ff::{own}/64"))?;
            router.ip(&format!("route add {} via 10.0.0.{other} dev {towards}", COVERING[0]))?;
            router.ip(&format!("-6 route add {} via fd00:ff::{other} dev {towards}", COVERING[1]))?;
            // Flows are spread by ports too: the client is one host.
            router.sysctl("net.ipv4.fib_multipath_hash_policy", "1")?;
            router.sysctl("net.ipv6.fib_multipath_hash_policy", "1")?;
        }
        Ok(())
    }

    fn join_client(&self) -> Result<()> {
        for (r, router) in self.routers.iter().enumerate() {
            cable((&self.client, ROUTERS[r]), (router, "client"))?;
            self.client.add_address(ROUTERS[r], &format!("10.100.{r}.2/24"))?;
            self.client.add_address(ROUTERS[r], &format!("fd00:100:{r}::2/64"))?;
            router.add_address("client", &format!("10.100.{r}.1/24"))?;
            router.add_address("client", &format!("fd00:100:{r}::1/64"))?;
        }
        self.client.ip("route add default via 10.100.0.1 dev r1")?;
        self.client.ip("-6 route add default via fd00:100:1::1 dev r2")?;
        self.routers[1].ip("route add 10.100.0.0/24 via 10.0.0.1 dev r1")?;
        self.routers[0].ip("-6 route add fd00:100:1::/64 via fd00:ff::2 dev r2")?;
        Ok(())
    }

    fn join_origin(&self) -> Result<()> {
        let r1 = &self.routers[0];
        cable((&self.origin, "r1"), (r1, "origin"))?;
        self.origin.add_address("r1", &format!("{ORIGIN}/24"))?;
        self.origin.ip("route add default via 10.200.0.1 dev r1")?;
        r1.add_address("origin", "10.200.0.1/24")?;
        self.routers[1].ip("route add 10.200.0.0/24 via 10.0.0.1 dev r1")?;
        for (p, pop) in self.pops.iter().enumerate() {
            cable((&self.origin, POPS[p]), (pop, "origin"))?;
            self.origin.add_address(POPS[p], &format!("{}1/30", feed(p)))?;
            pop.add_address("origin", &format!("{}2/30", feed(p)))?;
        }
        Ok(())
    }
}

/// The address of a PoP that is its own.
#[must_use]
pub fn management(pop: usize) -> String {
    format!("192.0.2.{}", 11 + pop)
}

/// The prefix of the addresses that backends at a PoP have.
#[must_use]
pub fn backends(pop: usize) -> String {
    format!("198.51.100.{}/28", 16 * (pop + 1))
}

/// The address of a backend at a PoP, of which there are at most 14.
#[must_use]
pub fn backend(pop: usize, number: usize) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, (16 * (pop + 1) + number + 1) as u8) // POPS are three
}

/// How the addresses on the cable between a PoP and the origin begin; they end in 1 at the origin and 2 at the PoP.
#[must_use]
pub fn feed(pop: usize) -> String {
    format!("10.210.{}.", pop + 1)
}

/// How the addresses on the link between a PoP and a router begin; they end in 1 at the router and 2 at the PoP.
#[must_use]
pub fn link(pop: usize, router: usize) -> [String; 2] {
    let (p, r) = (pop + 1, router + 1);
    [format!("10.{p}.{r}."), format!("fd00:{p}:{r}::")]
}
