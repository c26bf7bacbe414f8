//! Where what the node asks of others comes from.
//!
//! Answers to a service address reach whichever node is nearest to the one that answers. So what is asked leaves from an address
//! that the operator gave for it, or else from the management address.

use super::problem::Problem;
use super::{Config, PoolConfig, SecondaryConfig};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Addresses of this machine to ask from.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Sources {
    /// Given for it, at most one of each family.
    given: Vec<IpAddr>,
    /// The management addresses that others can answer to.
    management: Arc<[IpAddr]>,
}

impl Sources {
    /// From the management addresses, as long as no others are given. Not from one that is announced, as it may be where no agent
    /// holds the route: answers to it can reach another node.
    pub(crate) fn of_management(listen: &[SocketAddr], announced: &[IpAddr]) -> Sources {
        let is_reachable = |address: &IpAddr| {
            !address.is_unspecified()
                && !address.to_canonical().is_loopback()
                && !is_announced(*address, announced)
        };
        let management = listen.iter().map(SocketAddr::ip).filter(is_reachable).collect();
        Sources { given: Vec::new(), management }
    }

    /// Takes these, at most one of each family, in place of those given before.
    pub(crate) fn give(&mut self, given: Vec<IpAddr>) {
        self.given = given;
    }

    /// Where none are given, takes the management addresses that another has.
    pub(crate) fn otherwise(&mut self, other: &Sources) {
        self.management = Arc::clone(&other.management);
    }

    /// Where this address is asked from; the system chooses where there is none. Nothing on this machine is asked from the
    /// management address without having been told so: it would be reached as well, and knows the asker as another.
    pub(crate) fn to(&self, address: IpAddr) -> Option<IpAddr> {
        let of_family = |source: &IpAddr| source.is_ipv4() == address.is_ipv4();
        let given = self.given.iter().copied().find(of_family);
        given.or_else(|| {
            self.management.iter().copied().find(of_family).filter(|_| !address.to_canonical().is_loopback())
        })
    }

    /// Whether something may be asked from here.
    pub(crate) fn has(&self, source: IpAddr) -> bool {
        self.given.contains(&source) || self.management.contains(&source)
    }
}

/// Whether an address is a service address, however it is written.
pub(super) fn is_announced(address: IpAddr, announced: &[IpAddr]) -> bool {
    announced.iter().any(|service| service.to_canonical() == address.to_canonical())
}

/// That the system chooses no address to ask from: it might be a service address.
pub(super) fn require(config: &Config, problems: &mut Vec<Problem>) {
    for family in [IPV4, IPV6] {
        let lacks = |sources: &Sources, to: IpAddr| {
            to.is_ipv4() == family.is_ipv4 && !to.is_loopback() && sources.to(to).is_none()
        };
        let mut require = |what: String, key: &str| {
            let title = format!("nothing says from where {what} over {}", family.name);
            let help =
                format!("add {key}: an address of this machine alone; or `listen` on one under [management]");
            problems.push(Problem::general(title, help));
        };
        let follows = config.zones.iter().filter_map(|zone| zone.follow.as_ref());
        let templates = follows.flat_map(|follow| follow.templates());
        let notified = config.zones.iter().flat_map(|zone| &zone.notify);
        let mut notified = notified.chain(templates.clone().flat_map(|template| &template.notify));
        if notified.any(|target| lacks(&config.transfer.notify_sources, target.address.ip())) {
            require("NOTIFY goes out".to_owned(), "`notify-source` under [transfer]");
        }
        let lacks_one = |copy: &SecondaryConfig| {
            copy.primaries.iter().any(|primary| lacks(&copy.sources, primary.address.ip()))
        };
        let of_zones =
            config.zones.iter().filter_map(|zone| Some((zone.name.to_string(), zone.secondary()?)));
        let of_templates = templates.map(|it| (format!("the template \"{}\"", it.name), &it.secondary));
        if let Some((whose, _)) = of_zones.chain(of_templates).find(|(_, copy)| lacks_one(copy)) {
            require(format!("the primaries of {whose} are asked"), "`source` under [secondary]");
        }
        let looks_without = |pool: &&PoolConfig| {
            let addresses = pool.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
            let asked = pool.check.iter().filter(|check| check.probe.asks());
            asked.into_iter().any(|check| addresses.clone().any(|address| lacks(&check.sources, *address)))
        };
        if let Some(pool) = config.pools.iter().find(looks_without) {
            require(
                format!("the endpoints of the pool \"{}\" are checked", pool.name),
                "`source` to its check",
            );
        }
    }
}

/// A family of addresses.
struct Family {
    is_ipv4: bool,
    name: &'static str,
}

const IPV4: Family = Family { is_ipv4: true, name: "IPv4" };
const IPV6: Family = Family { is_ipv4: false, name: "IPv6" };
