//! Sockets that another process has bound, set up as ours are, and passed on.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use socket2::{Domain, Protocol, Socket};

use super::{UdpListener, granted_buffers};
use crate::packet_info::PacketInfo;
use crate::sys;

/// Why a descriptor can't be a worker's socket.
#[derive(Debug)]
#[non_exhaustive]
pub enum AdoptError {
    /// It is not a UDP socket over IPv4 or IPv6.
    NotUdp,
    /// It is bound to no port.
    Unbound,
    /// What it is can't be read.
    Unreadable(io::Error),
}

impl UdpListener {
    /// Takes over a socket that another process has opened with [`super::bind_group`].
    ///
    /// Both processes then receive from its one queue: each datagram goes to whoever asks first. The socket keeps its
    /// place in its group, and the group the program that chooses among its sockets, whichever process closes its
    /// descriptor. Drops are counted from when the socket was bound.
    ///
    /// # Errors
    ///
    /// The descriptor is not such a socket.
    pub fn adopt(descriptor: OwnedFd) -> Result<UdpListener, AdoptError> {
        let socket = Socket::from(descriptor);
        let is_udp = socket.protocol().map_err(not_a_socket)? == Some(Protocol::UDP);
        let domain = socket.domain().map_err(AdoptError::Unreadable)?;
        if !is_udp || (domain != Domain::IPV4 && domain != Domain::IPV6) {
            return Err(AdoptError::NotUdp);
        }
        let address = socket.local_addr().map_err(AdoptError::Unreadable)?.as_socket();
        let address = address.filter(|address| address.port() != 0).ok_or(AdoptError::Unbound)?;
        let (level, name) = match domain {
            Domain::IPV4 => (libc::IPPROTO_IP, libc::IP_PKTINFO),
            _ => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
        };
        let carried = sys::int_option(socket.as_fd(), level, name).map_err(AdoptError::Unreadable)?;
        let packet_info = if carried == 0 { PacketInfo::Fixed } else { PacketInfo::Carried };
        let buffers = granted_buffers(&socket).map_err(AdoptError::Unreadable)?;
        let listener = UdpListener { socket, address, packet_info, buffers };
        listener.admit_all(); // a process that was killed in an overload did not
        Ok(listener)
    }
}

fn not_a_socket(error: io::Error) -> AdoptError {
    match error.raw_os_error() {
        Some(libc::ENOTSOCK) => AdoptError::NotUdp,
        _ => AdoptError::Unreadable(error),
    }
}

impl std::fmt::Display for AdoptError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AdoptError::NotUdp => f.write_str("the descriptor is not a UDP socket"),
            AdoptError::Unbound => f.write_str("the UDP socket is bound to no port"),
            AdoptError::Unreadable(source) => write!(f, "what the socket is can't be read: {source}"),
        }
    }
}

impl std::error::Error for AdoptError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            AdoptError::Unreadable(source) => Some(source),
            AdoptError::NotUdp | AdoptError::Unbound => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::num::NonZeroUsize;

    use super::*;
    use crate::udp::{SocketOptions, bind_group};

    #[test]
    fn an_adopted_socket_is_what_it_was() {
        let options = SocketOptions {
            receive_buffer_bytes: 65_536,
            send_buffer_bytes: 32_768,
            ..SocketOptions::default()
        };
        for address in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "[::]:0"] {
            let group = bind_group(address.parse().unwrap(), NonZeroUsize::MIN, &options).unwrap();
            let bound = &group.listeners[0];
            let adopted = UdpListener::adopt(bound.as_fd().try_clone_to_owned().unwrap()).unwrap();
            assert_eq!(adopted.address(), bound.address());
            assert_eq!(adopted.buffers(), bound.buffers());
            assert_eq!(adopted.packet_info(), bound.packet_info(), "{address}");
        }
    }

    #[test]
    fn what_is_no_bound_udp_socket_is_refused() {
        let adopt = |descriptor: OwnedFd| UdpListener::adopt(descriptor).unwrap_err();
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(matches!(adopt(file.into()), AdoptError::NotUdp));
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(matches!(adopt(tcp.into()), AdoptError::NotUdp));
        let unix = std::os::unix::net::UnixDatagram::unbound().unwrap();
        assert!(matches!(adopt(unix.into()), AdoptError::NotUdp));
        let unbound = Socket::new(Domain::IPV4, socket2::Type::DGRAM, Some(Protocol::UDP)).unwrap();
        assert!(matches!(adopt(unbound.into()), AdoptError::Unbound));
    }

    #[test]
    fn a_closed_duplicate_leaves_the_queue_to_the_other() {
        let group =
            bind_group("127.0.0.1:0".parse().unwrap(), NonZeroUsize::MIN, &SocketOptions::default()).unwrap();
        let duplicate = group.listeners[0].as_fd().try_clone_to_owned().unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"query", group.listeners[0].address()).unwrap();
        drop(group);
        let adopted = UdpListener::adopt(duplicate).unwrap();
        assert!(adopted.receive_queue().unwrap().queued_bytes > 0);
        client.send_to(b"query", adopted.address()).unwrap();
        assert_eq!(adopted.receive_queue().unwrap().drops, 0);
    }
}
