//! The netlink messages of a lease: what is asked of the kernel, and what is read from its answers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressScope, CacheInfo,
};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute, LinkFlags, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::Family;

/// The protocol number of every route of ours. BIRD's filter exports these and no others.
pub const ROUTE_PROTOCOL: u8 = 153;

/// The metric of an IPv6 route for which none was given (`IP6_RT_PRIO_USER`).
const V6_DEFAULT_METRIC: u32 = 1024;

/// Packets that wait in an interface which nobody reads. They are dropped in the end, so the fewer the better; with 0
/// some kernels choose a default.
const QUEUE_LEN: u32 = 1;

/// A route in the lease's table.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Route {
    pub(super) prefix: IpNet,
    pub(super) metric: u32,
    pub(super) protocol: u8,
    /// The interface it goes through; none for one of several next hops, or that goes nowhere.
    pub(super) interface_index: Option<u32>,
    pub(super) scope: u8,
    pub(super) kind: u8,
}

impl Route {
    /// A plain unicast route of ours through an interface.
    pub(super) fn ours(prefix: IpNet, metric: u32, interface_index: u32) -> Route {
        // IPv6 knows no scopes of routes; an IPv4 route without a gateway has that of the link.
        let scope = match prefix {
            IpNet::V4(_) => RouteScope::Link,
            IpNet::V6(_) => RouteScope::Universe,
        };
        Route {
            prefix,
            metric,
            protocol: ROUTE_PROTOCOL,
            interface_index: Some(interface_index),
            scope: scope.into(),
            kind: RouteType::Unicast.into(),
        }
    }

    /// The message that adds or removes it in a table.
    pub(super) fn message(&self, table: u32) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header = RouteHeader {
            address_family: netlink_family(&self.prefix.addr()),
            destination_prefix_length: self.prefix.prefix_len(),
            // Larger numbers than this octet holds go into an attribute, and there all of them do.
            table: RouteHeader::RT_TABLE_UNSPEC,
            protocol: self.protocol.into(),
            scope: self.scope.into(),
            kind: self.kind.into(),
            ..RouteHeader::default()
        };
        message.attributes = vec![
            RouteAttribute::Destination(self.prefix.addr().into()),
            RouteAttribute::Table(table),
            RouteAttribute::Priority(self.metric),
        ];
        message.attributes.extend(self.interface_index.map(RouteAttribute::Oif));
        message
    }

    /// The route that a message of a dump tells of; none if it is not of that table or can't be read.
    pub(super) fn read(message: &RouteNetlinkMessage, table: u32) -> Option<Route> {
        let RouteNetlinkMessage::NewRoute(message) = message else { return None };
        let header = &message.header;
        let mut destination: Option<IpAddr> = None;
        let mut metric = None;
        let mut interface_index = None;
        let mut found_table = u32::from(header.table);
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(RouteAddress::Inet(ip)) => destination = Some((*ip).into()),
                RouteAttribute::Destination(RouteAddress::Inet6(ip)) => destination = Some((*ip).into()),
                RouteAttribute::Priority(priority) => metric = Some(*priority),
                RouteAttribute::Oif(index) => interface_index = Some(*index),
                RouteAttribute::Table(number) => found_table = *number,
                _ => {}
            }
        }
        let (everything, default_metric): (IpAddr, _) = match header.address_family {
            AddressFamily::Inet => (Ipv4Addr::UNSPECIFIED.into(), 0),
            AddressFamily::Inet6 => (Ipv6Addr::UNSPECIFIED.into(), V6_DEFAULT_METRIC),
            _ => return None,
        };
        let prefix = IpNet::new(destination.unwrap_or(everything), header.destination_prefix_length).ok()?;
        (found_table == table).then_some(Route {
            prefix,
            metric: metric.unwrap_or(default_metric),
            protocol: header.protocol.into(),
            interface_index,
            scope: header.scope.into(),
            kind: header.kind.into(),
        })
    }
}

/// Asks for all routes of a family in a table.
pub(super) fn ask_routes(family: Family, table: u32) -> RouteNetlinkMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    message.header.protocol = RouteProtocol::Unspec;
    message.header.kind = RouteType::Unspec;
    message.attributes = vec![RouteAttribute::Table(table)];
    RouteNetlinkMessage::GetRoute(message)
}

/// Asks for all addresses of an interface.
pub(super) fn ask_addresses(interface_index: u32) -> RouteNetlinkMessage {
    let mut message = AddressMessage::default();
    message.header.index = interface_index;
    RouteNetlinkMessage::GetAddress(message)
}

/// An address on an interface.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Assigned {
    pub(super) address: IpAddr,
    pub(super) prefix_len: u8,
}

impl Assigned {
    /// A service address as it should be: alone in its prefix.
    pub(super) fn service(address: IpAddr) -> Assigned {
        Assigned { address, prefix_len: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// The address that a message of a dump tells of.
    pub(super) fn read(message: &RouteNetlinkMessage, interface_index: u32) -> Option<Assigned> {
        let RouteNetlinkMessage::NewAddress(message) = message else { return None };
        let mut local = None;
        let mut plain = None;
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(ip) => local = Some(*ip),
                AddressAttribute::Address(ip) => plain = Some(*ip),
                _ => {}
            }
        }
        // On an interface between two points the plain one is the other end's.
        let address = local.or(plain)?;
        (message.header.index == interface_index)
            .then_some(Assigned { address, prefix_len: message.header.prefix_len })
    }

    /// The message that puts it on an interface or takes it off.
    ///
    /// A node must never speak from a service address on its own, as the answer may reach another node (RFC 7094
    /// §3). So the kernel is kept from choosing it for a source: an IPv4 address of the link's scope is not chosen for
    /// other interfaces, an IPv6 address without preferred lifetime only where there is no other (RFC 6724 §5, rule
    /// 3). What binds to it or answers from it is not affected.
    pub(super) fn message(self, interface_index: u32) -> AddressMessage {
        let mut message = AddressMessage::default();
        message.header.family = netlink_family(&self.address);
        message.header.prefix_len = self.prefix_len;
        message.header.index = interface_index;
        message.attributes =
            vec![AddressAttribute::Local(self.address), AddressAttribute::Address(self.address)];
        match self.address {
            IpAddr::V4(_) => {
                message.header.scope = AddressScope::Link;
                message.attributes.push(AddressAttribute::Flags(AddressFlags::Noprefixroute));
            }
            IpAddr::V6(_) => {
                // Nobody else can be on this link, and looking for them would take a second. So it takes milliseconds, until a
                // thread of the kernel has been at it.
                let flags = AddressFlags::Nodad | AddressFlags::Noprefixroute;
                let mut lifetime = CacheInfo::default();
                lifetime.ifa_preferred = 0;
                lifetime.ifa_valid = u32::MAX;
                message.attributes.push(AddressAttribute::Flags(flags));
                message.attributes.push(AddressAttribute::CacheInfo(lifetime));
            }
        }
        message
    }
}

/// Asks for an interface by its name.
pub(super) fn ask_link_named(name: &str) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::IfName(name.to_owned())];
    RouteNetlinkMessage::GetLink(message)
}

/// Asks for an interface by its number.
pub(super) fn ask_link(interface_index: u32) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = interface_index;
    RouteNetlinkMessage::GetLink(message)
}

/// The number of an interface, and whether it is up, from the answer to either.
pub(super) fn read_link(message: &RouteNetlinkMessage) -> Option<(u32, bool)> {
    let RouteNetlinkMessage::NewLink(message) = message else { return None };
    Some((message.header.index, message.header.flags.contains(LinkFlags::Up)))
}

/// Sets an interface up.
pub(super) fn set_up(interface_index: u32) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = interface_index;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    RouteNetlinkMessage::SetLink(message)
}

/// Shortens the queue that nobody empties.
pub(super) fn shorten_queue(interface_index: u32) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = interface_index;
    message.attributes = vec![LinkAttribute::TxQueueLen(QUEUE_LEN)];
    RouteNetlinkMessage::SetLink(message)
}

/// Keeps IPv6 from making a link-local address, and with it router solicitations, on an interface that leads nowhere.
pub(super) fn no_link_local(interface_index: u32) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = interface_index;
    let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
    message.attributes = vec![LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])])];
    RouteNetlinkMessage::SetLink(message)
}

fn netlink_family(address: &IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_reads_back() {
        for (prefix, table) in [("203.0.113.0/24", 5353), ("2001:db8:53::/48", 100)] {
            let route = Route::ours(prefix.parse().unwrap(), 200, 7);
            let message = RouteNetlinkMessage::NewRoute(route.message(table));
            assert_eq!(Route::read(&message, table), Some(route));
            assert_eq!(Route::read(&message, 254), None);
        }
    }

    #[test]
    fn a_route_without_destination_is_the_default() {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet6;
        message.header.table = 99;
        let route = Route::read(&RouteNetlinkMessage::NewRoute(message), 99).unwrap();
        assert_eq!((route.prefix, route.metric), ("::/0".parse().unwrap(), 1024));
    }

    #[test]
    fn an_address_reads_back() {
        for ip in ["203.0.113.53", "2001:db8:53::53"] {
            let assigned = Assigned::service(ip.parse().unwrap());
            let message = RouteNetlinkMessage::NewAddress(assigned.message(7));
            assert_eq!(Assigned::read(&message, 7), Some(assigned));
            assert_eq!(Assigned::read(&message, 8), None);
        }
    }
}
