//! Addresses of peers, kept as the kernel wrote them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// The address a datagram came from, in the kernel's own form.
///
/// It goes back to the kernel unchanged as the destination of the reply, so nothing is converted per datagram
/// unless somebody asks.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Peer {
    family: u16,
    port: [u8; 2],
    /// The address in `sockaddr_in`, the flow label in `sockaddr_in6`.
    addr4_or_flow: [u8; 4],
    addr6: [u8; 16],
    scope_id: u32,
}

/// One layout for both families: no field of ours may sit elsewhere than the kernel's.
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<Peer>() == size_of::<libc::sockaddr_in6>());
    assert!(size_of::<Peer>() >= size_of::<libc::sockaddr_in>());
    assert!(align_of::<Peer>() >= align_of::<libc::sockaddr_in6>());
    assert!(offset_of!(Peer, family) == offset_of!(libc::sockaddr_in6, sin6_family));
    assert!(offset_of!(Peer, port) == offset_of!(libc::sockaddr_in6, sin6_port));
    assert!(offset_of!(Peer, addr4_or_flow) == offset_of!(libc::sockaddr_in6, sin6_flowinfo));
    assert!(offset_of!(Peer, addr6) == offset_of!(libc::sockaddr_in6, sin6_addr));
    assert!(offset_of!(Peer, scope_id) == offset_of!(libc::sockaddr_in6, sin6_scope_id));
    assert!(offset_of!(Peer, port) == offset_of!(libc::sockaddr_in, sin_port));
    assert!(offset_of!(Peer, addr4_or_flow) == offset_of!(libc::sockaddr_in, sin_addr));
};

const FAMILY_V4: u16 = libc::AF_INET as u16;
const FAMILY_V6: u16 = libc::AF_INET6 as u16;

impl Peer {
    /// No peer yet: the state of a buffer before the first receive.
    pub(crate) const UNSPECIFIED: Peer =
        Peer { family: FAMILY_V6, port: [0; 2], addr4_or_flow: [0; 4], addr6: [0; 16], scope_id: 0 };

    /// The peer's address without its port.
    pub fn ip(&self) -> IpAddr {
        if self.family == FAMILY_V4 {
            IpAddr::V4(Ipv4Addr::from(self.addr4_or_flow))
        } else {
            IpAddr::V6(Ipv6Addr::from(self.addr6))
        }
    }

    /// Whether the datagram came over IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.family == FAMILY_V4
    }

    /// The peer's UDP port.
    pub fn port(&self) -> u16 {
        u16::from_be_bytes(self.port)
    }

    /// The peer as the standard library writes it.
    pub fn socket_addr(&self) -> SocketAddr {
        match self.ip() {
            IpAddr::V4(ip) => SocketAddr::V4(SocketAddrV4::new(ip, self.port())),
            IpAddr::V6(ip) => {
                let flow = u32::from_be_bytes(self.addr4_or_flow);
                SocketAddr::V6(SocketAddrV6::new(ip, self.port(), flow, self.scope_id))
            }
        }
    }

    /// How many bytes of this structure the kernel reads for this family.
    pub(crate) fn name_len(&self) -> usize {
        if self.family == FAMILY_V4 { size_of::<libc::sockaddr_in>() } else { size_of::<Peer>() }
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Peer {
        let port = address.port().to_be_bytes();
        match address {
            SocketAddr::V4(v4) => {
                Peer { family: FAMILY_V4, port, addr4_or_flow: v4.ip().octets(), addr6: [0; 16], scope_id: 0 }
            }
            SocketAddr::V6(v6) => Peer {
                family: FAMILY_V6,
                port,
                addr4_or_flow: v6.flowinfo().to_be_bytes(),
                addr6: v6.ip().octets(),
                scope_id: v6.scope_id(),
            },
        }
    }
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.socket_addr().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_addresses_survive_the_round_trip() {
        for text in ["192.0.2.53:53", "0.0.0.0:0", "[2001:db8::53]:65535", "[fe80::1%7]:53"] {
            let address: SocketAddr = text.parse().unwrap();
            let peer = Peer::from(address);
            assert_eq!(peer.socket_addr(), address);
            assert_eq!(peer.ip(), address.ip());
            assert_eq!(peer.port(), address.port());
        }
    }
}
