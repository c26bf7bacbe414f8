//! UDP sockets of a server: one for each worker and address, in a reuseport group.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{Domain, Protocol, Socket, Type};

use crate::packet_info::PacketInfo;
use crate::pin;
use crate::sys;

mod admission;
mod adopt;
mod error;
mod steering;

pub use adopt::AdoptError;
pub use error::{BindError, BindStep};
pub use steering::{Steered, Steering};

/// How the sockets of a group are set up. The default is what a public server wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SocketOptions {
    /// Wanted receive buffer in bytes; see [`BUFFER_BYTES`].
    pub receive_buffer_bytes: usize,
    /// Wanted send buffer in bytes; see [`BUFFER_BYTES`].
    pub send_buffer_bytes: usize,
    /// Which worker gets a datagram.
    pub steering: Steering,
    /// Whether another process may be listening on the address.
    pub sharing: Sharing,
    /// Whether the address has to be on an interface already.
    pub local_address: LocalAddress,
}

/// The default size of a socket's receive and send buffer, in bytes.
///
/// 4 MiB hold about 10,000 small datagrams: 100 ms of 100,000 queries a second on one worker, enough for any
/// pause of the scheduler. More would only answer queries after their clients have given up.
pub const BUFFER_BYTES: usize = 4 << 20;

/// Whether another process of the same user may be listening on the address too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sharing {
    /// No: an address in use is an error, as for sockets without SO_REUSEPORT.
    Exclusive,
    /// Yes: the sockets join the group that is there, if any, and share its datagrams and its steering.
    JoinGroup,
}

/// Whether the address has to be on an interface at bind time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LocalAddress {
    /// It must be there; a mistyped address is an error.
    Present,
    /// It may come and go later (IP_FREEBIND), as an anycast address does.
    MayComeLater,
}

impl Default for SocketOptions {
    fn default() -> SocketOptions {
        SocketOptions {
            receive_buffer_bytes: BUFFER_BYTES,
            send_buffer_bytes: BUFFER_BYTES,
            steering: Steering::Hash,
            sharing: Sharing::Exclusive,
            local_address: LocalAddress::Present,
        }
    }
}

/// The sockets of one address, one for each worker.
#[derive(Debug)]
pub struct UdpGroup {
    /// In the order of the workers, which is also their order in the kernel's group.
    ///
    /// The order holds as long as all stay open: the kernel moves the last socket to the place of a closed
    /// one, and a new one goes to the end. Close and bind whole groups only.
    pub listeners: Vec<UdpListener>,
    /// How the kernel chooses among them.
    pub steered: Steered,
}

/// One bound UDP socket.
#[derive(Debug)]
pub struct UdpListener {
    socket: Socket,
    address: SocketAddr,
    packet_info: PacketInfo,
    buffers: GrantedBuffers,
}

/// The buffer sizes the kernel granted, in the unit they were asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GrantedBuffers {
    /// Receive buffer in bytes. Less than asked for: `net.core.rmem_max` is lower and CAP_NET_ADMIN is
    /// missing.
    pub receive_bytes: usize,
    /// Send buffer in bytes, limited by `net.core.wmem_max`.
    pub send_bytes: usize,
}

/// A socket's receive queue at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReceiveQueue {
    /// Datagrams the kernel dropped at this socket since it was bound, nearly always because the queue was
    /// full; wraps at 2³².
    pub drops: u32,
    /// What waits in the queue, in bytes of kernel memory: a small datagram counts 512 to 1,024.
    pub queued_bytes: u32,
}

/// Opens and binds one socket for each worker on one address.
///
/// The sockets form a SO_REUSEPORT group in the order of the workers. With port 0 the kernel chooses a port
/// for the first, and the others follow it. IPv6 sockets take IPv6 only. Sockets on a wildcard address answer
/// from the address the query was sent to, for 0.45 µs a datagram. No reply is ever sent in fragments (RFC
/// 9715): one that exceeds the interface's MTU is dropped and counted.
///
/// # Errors
///
/// The first step that fails; sockets already bound are closed again.
pub fn bind_group(
    address: SocketAddr,
    workers: NonZeroUsize,
    options: &SocketOptions,
) -> Result<UdpGroup, BindError> {
    let (first, found) = match UdpListener::bind(address, options, Sharing::Exclusive) {
        Err(error) if options.sharing == Sharing::JoinGroup && error.is_address_in_use() => {
            (UdpListener::bind(address, options, Sharing::JoinGroup)?, true)
        }
        first => (first?, false),
    };
    let address = first.address; // with the port, if the kernel was asked to choose it
    let mut listeners = vec![first];
    for _ in 1..workers.get() {
        listeners.push(UdpListener::bind(address, options, Sharing::JoinGroup)?);
    }

    let steer = |source| BindError::new(address, BindStep::Steer, source);
    let allowed = pin::allowed_cpus().map_err(steer)?;
    let steered =
        if found { Steered::AsFound } else { steering::choose(options.steering, workers, &allowed) };
    if steered == Steered::ByCpu {
        let program = steering::by_cpu(&allowed[..workers.get()]);
        // One program serves the whole group. It is attached when the group is complete; until then
        // datagrams are spread by hash over the sockets there are.
        sys::attach_reuseport_filter(listeners[0].as_fd(), &program).map_err(steer)?;
    }
    Ok(UdpGroup { listeners, steered })
}

impl UdpListener {
    fn bind(
        address: SocketAddr,
        options: &SocketOptions,
        sharing: Sharing,
    ) -> Result<UdpListener, BindError> {
        let failed = |step| move |source| BindError::new(address, step, source);
        let option = |name| failed(BindStep::SetOption(name));

        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))
            .map_err(failed(BindStep::Open))?;
        let packet_info = if address.ip().is_unspecified() { PacketInfo::Carried } else { PacketInfo::Fixed };
        set_family_options(&socket, address, packet_info).map_err(|(name, source)| option(name)(source))?;
        if options.local_address == LocalAddress::MayComeLater {
            let freebind = match address {
                SocketAddr::V4(_) => socket.set_freebind_v4(true),
                SocketAddr::V6(_) => socket.set_freebind_v6(true),
            };
            freebind.map_err(option("IP_FREEBIND"))?;
        }
        let buffers = set_buffers(&socket, options).map_err(option("SO_RCVBUF/SO_SNDBUF"))?;

        // A socket that binds without SO_REUSEPORT gets EADDRINUSE if anybody is there, even our own user,
        // where the flag would silently give half of the queries away. Set afterwards, it still opens the
        // group.
        if sharing == Sharing::JoinGroup {
            socket.set_reuse_port(true).map_err(option("SO_REUSEPORT"))?;
        }
        socket.bind(&address.into()).map_err(failed(BindStep::Bind))?;
        if sharing == Sharing::Exclusive {
            socket.set_reuse_port(true).map_err(option("SO_REUSEPORT"))?;
        }

        let bound = socket.local_addr().map_err(failed(BindStep::ReadAddress))?;
        let address = bound.as_socket().unwrap_or(address);
        Ok(UdpListener { socket, address, packet_info, buffers })
    }

    /// The address the socket is bound to, with the port the kernel chose if it was asked to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The buffer sizes the kernel granted.
    pub fn buffers(&self) -> GrantedBuffers {
        self.buffers
    }

    /// What waits in the receive queue, and what was dropped because it was full.
    pub fn receive_queue(&self) -> io::Result<ReceiveQueue> {
        let words = sys::memory_info(self.as_fd())?;
        let word = |name: libc::c_int| words[name as usize];
        Ok(ReceiveQueue {
            drops: word(libc::SK_MEMINFO_DROPS),
            queued_bytes: word(libc::SK_MEMINFO_RMEM_ALLOC),
        })
    }

    pub(crate) fn packet_info(&self) -> PacketInfo {
        self.packet_info
    }
}

impl AsFd for UdpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Sets what differs between IPv4 and IPv6; an error names the option.
///
/// Path MTU: what ICMP claims about the path is ignored, since anybody can forge it, and nothing is
/// fragmented here (RFC 9715 §3.1). For IPv4 that is PMTUDISC_INTERFACE; PMTUDISC_OMIT, which is often
/// recommended, also ignores the path but fragments what exceeds the interface's MTU. For IPv6 PMTUDISC_OMIT
/// ignores the path and IPV6_DONTFRAG forbids fragments. The DF bit stays clear, so a router on an IPv4 path
/// may fragment.
fn set_family_options(
    socket: &Socket,
    address: SocketAddr,
    packet_info: PacketInfo,
) -> Result<(), (&'static str, io::Error)> {
    use libc::{IPPROTO_IP, IPPROTO_IPV6};
    let set = |name_text, level, name, value| {
        sys::set_int_option(socket.as_fd(), level, name, value).map_err(|source| (name_text, source))
    };
    match address {
        SocketAddr::V4(_) => {
            set("IP_MTU_DISCOVER", IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_INTERFACE)?;
            if packet_info == PacketInfo::Carried {
                set("IP_PKTINFO", IPPROTO_IP, libc::IP_PKTINFO, 1)?;
            }
        }
        SocketAddr::V6(_) => {
            socket.set_only_v6(true).map_err(|source| ("IPV6_V6ONLY", source))?;
            set("IPV6_MTU_DISCOVER", IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_OMIT)?;
            set("IPV6_DONTFRAG", IPPROTO_IPV6, libc::IPV6_DONTFRAG, 1)?;
            if packet_info == PacketInfo::Carried {
                set("IPV6_RECVPKTINFO", IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
            }
        }
    }
    Ok(())
}

/// Asks for the buffers, beyond the sysctl limits if privileged, and reads back what was granted.
fn set_buffers(socket: &Socket, options: &SocketOptions) -> io::Result<GrantedBuffers> {
    let force = |name, bytes: usize| {
        let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
        sys::set_int_option(socket.as_fd(), libc::SOL_SOCKET, name, bytes)
    };
    // Any error of FORCE means "not privileged"; the plain option never fails for size, it grants less.
    if force(libc::SO_RCVBUFFORCE, options.receive_buffer_bytes).is_err() {
        socket.set_recv_buffer_size(options.receive_buffer_bytes)?;
    }
    if force(libc::SO_SNDBUFFORCE, options.send_buffer_bytes).is_err() {
        socket.set_send_buffer_size(options.send_buffer_bytes)?;
    }
    granted_buffers(socket)
}

fn granted_buffers(socket: &Socket) -> io::Result<GrantedBuffers> {
    // Linux doubles what it is asked for, to cover its bookkeeping, and reports the double (socket(7)).
    Ok(GrantedBuffers {
        receive_bytes: socket.recv_buffer_size()? / 2,
        send_bytes: socket.send_buffer_size()? / 2,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: NonZeroUsize = NonZeroUsize::new(2).unwrap();

    fn loopback(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn port_zero_gives_one_port_to_the_whole_group() {
        for text in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "[::]:0"] {
            let group =
                bind_group(loopback(text), NonZeroUsize::new(3).unwrap(), &SocketOptions::default()).unwrap();
            let addresses: Vec<_> = group.listeners.iter().map(UdpListener::address).collect();
            assert_ne!(addresses[0].port(), 0);
            assert_eq!(addresses, [addresses[0]; 3]);
            assert_eq!(addresses[0].ip(), loopback(text).ip());
        }
    }

    #[test]
    fn an_address_in_use_is_an_error_even_for_the_same_user() {
        let options = SocketOptions::default();
        let group = bind_group(loopback("127.0.0.1:0"), TWO, &options).unwrap();
        let address = group.listeners[0].address();
        let error = bind_group(address, TWO, &options).unwrap_err();
        assert_eq!((error.address, error.step), (address, BindStep::Bind));
        assert_eq!(error.source.raw_os_error(), Some(libc::EADDRINUSE));
        assert!(error.to_string().contains("ss -lunp"), "{error}");

        let joined =
            bind_group(address, TWO, &SocketOptions { sharing: Sharing::JoinGroup, ..options }).unwrap();
        assert_eq!(joined.listeners[0].address(), address);
    }

    #[test]
    fn a_v6_wildcard_leaves_the_v4_port_free() {
        let options = SocketOptions::default();
        let v6 = bind_group(loopback("[::]:0"), TWO, &options).unwrap();
        let port = v6.listeners[0].address().port();
        bind_group(SocketAddr::from(([127, 0, 0, 1], port)), TWO, &options).unwrap();
    }

    #[test]
    fn a_foreign_address_needs_permission_to_come_later() {
        let address = loopback("192.0.2.53:0");
        let error = bind_group(address, TWO, &SocketOptions::default()).unwrap_err();
        assert_eq!(error.source.raw_os_error(), Some(libc::EADDRNOTAVAIL));
        assert!(error.to_string().contains("ip address add"), "{error}");

        let local_address = LocalAddress::MayComeLater;
        let group =
            bind_group(address, TWO, &SocketOptions { local_address, ..SocketOptions::default() }).unwrap();
        assert_eq!(group.listeners[1].address().ip(), address.ip());
    }

    #[test]
    fn granted_buffers_are_read_back_in_the_unit_asked_for() {
        let options = SocketOptions {
            receive_buffer_bytes: 65_536,
            send_buffer_bytes: 32_768,
            ..SocketOptions::default()
        };
        let group = bind_group(loopback("127.0.0.1:0"), TWO, &options).unwrap();
        let granted = GrantedBuffers { receive_bytes: 65_536, send_bytes: 32_768 };
        assert!(group.listeners.iter().all(|listener| listener.buffers() == granted));
    }

    #[test]
    fn options_are_what_a_server_of_datagrams_needs() {
        use libc::{IPPROTO_IP, IPPROTO_IPV6, SOL_SOCKET};
        const V4: &[(i32, i32, i32)] = &[(IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_INTERFACE)];
        const V6: &[(i32, i32, i32)] = &[
            (IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_OMIT),
            (IPPROTO_IPV6, libc::IPV6_DONTFRAG, 1),
            (IPPROTO_IPV6, libc::IPV6_V6ONLY, 1),
        ];
        let cases = [
            ("127.0.0.1:0", V4, (IPPROTO_IP, libc::IP_PKTINFO, 0)),
            ("0.0.0.0:0", V4, (IPPROTO_IP, libc::IP_PKTINFO, 1)),
            ("[::1]:0", V6, (IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 0)),
            ("[::]:0", V6, (IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)),
        ];
        for (address, options, packet_info) in cases {
            let group = bind_group(loopback(address), TWO, &SocketOptions::default()).unwrap();
            let reuse_port = (SOL_SOCKET, libc::SO_REUSEPORT, 1);
            for (level, name, expected) in options.iter().copied().chain([packet_info, reuse_port]) {
                for listener in &group.listeners {
                    let value = sys::int_option(listener.as_fd(), level, name).unwrap();
                    assert_eq!(value, expected, "{address}: option {name} of level {level}");
                }
            }
        }
    }

    #[test]
    fn a_full_receive_queue_shows_in_its_drops() {
        let options = SocketOptions { receive_buffer_bytes: 4096, ..SocketOptions::default() };
        let group = bind_group(loopback("127.0.0.1:0"), NonZeroUsize::MIN, &options).unwrap();
        let listener = &group.listeners[0];
        assert_eq!(listener.receive_queue().unwrap(), ReceiveQueue { drops: 0, queued_bytes: 0 });
        let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..100 {
            client.send_to(&[0; 40], listener.address()).unwrap();
        }
        let queue = listener.receive_queue().unwrap();
        assert!(queue.drops > 0 && queue.drops < 100, "{queue:?}");
        assert!(queue.queued_bytes > 0, "{queue:?}");
    }
}
