//! How many TCP connections a server has at once, as its kernel tells (sock_diag(7)).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, bail, ensure};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr as NetlinkAddress};

/// From <linux/netlink.h>, <linux/sock_diag.h> and <linux/inet_diag.h>.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST_DUMP: u16 = 0x301;
const HEADER_LEN: usize = 16;
/// `nlmsghdr` and `inet_diag_req_v2`.
const REQUEST_LEN: usize = HEADER_LEN + 56;
const AF_INET: u8 = 2;
const IPPROTO_TCP: u8 = 6;
const TCP_ESTABLISHED: u32 = 1;

/// Who asks the kernel about the connections of a server.
pub(super) struct Connections {
    socket: Socket,
    ip: Ipv4Addr,
    port: u16,
}

impl Connections {
    /// Of the server at this address.
    pub(super) fn of(server: SocketAddr) -> Result<Self> {
        let IpAddr::V4(ip) = server.ip() else { bail!("an IPv4 address") };
        let socket = Socket::new(NETLINK_SOCK_DIAG)?;
        socket.connect(&NetlinkAddress::new(0, 0))?;
        Ok(Self { socket, ip, port: server.port() })
    }

    /// How many are open at the server's end at one moment.
    ///
    /// The kernel goes through its sockets one after the other, while they come and go: one list has more than there
    /// were at any moment. What two lists have that follow each other was there all the time from the first one's end
    /// to the second one's beginning. A port that a client had is none that it gets again within so short a time.
    pub(super) fn at_once(&mut self) -> Result<usize> {
        let (first, second) = (self.list()?, self.list()?);
        Ok(first.intersection(&second).count())
    }

    /// Clients of connections that are established, accepted by the server or not.
    fn list(&mut self) -> Result<BTreeSet<(Ipv4Addr, u16)>> {
        let mut request = Vec::with_capacity(REQUEST_LEN);
        request.extend_from_slice(&(REQUEST_LEN as u32).to_ne_bytes());
        request.extend_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        request.extend_from_slice(&NLM_F_REQUEST_DUMP.to_ne_bytes());
        request.extend_from_slice(&[0; 8]); // sequence number, port
        request.extend_from_slice(&[AF_INET, IPPROTO_TCP, 0, 0]);
        request.extend_from_slice(&(1_u32 << TCP_ESTABLISHED).to_ne_bytes());
        request.extend_from_slice(&self.port.to_be_bytes());
        request.resize(REQUEST_LEN, 0); // any other port and any address
        self.socket.send(&request, 0).context("a question to the kernel")?;
        let mut clients = BTreeSet::new();
        loop {
            let (octets, _) = self.socket.recv_from_full().context("the kernel's answer")?;
            let mut rest = &octets[..];
            while rest.len() >= HEADER_LEN {
                let len = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
                ensure!((HEADER_LEN..=rest.len()).contains(&len), "a message of {len} octets");
                let message = &rest[..len];
                match u16::from_ne_bytes([message[4], message[5]]) {
                    NLMSG_DONE => return Ok(clients),
                    NLMSG_ERROR => bail!("the kernel does not tell: {:?}", &message[HEADER_LEN..]),
                    _ => clients.extend(self.client(message)),
                }
                // Each begins at a multiple of four.
                rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }

    /// Who is at the other end, if this end is the server's.
    fn client(&self, message: &[u8]) -> Option<(Ipv4Addr, u16)> {
        let id = message.get(HEADER_LEN + 4..)?.get(..48)?;
        let port = |at: usize| u16::from_be_bytes([id[at], id[at + 1]]);
        let ip = |at: usize| Ipv4Addr::new(id[at], id[at + 1], id[at + 2], id[at + 3]);
        (port(0) == self.port && ip(4) == self.ip).then(|| (ip(20), port(2)))
    }
}
