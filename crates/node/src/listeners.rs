//! The sockets of the addresses a node listens on: for each a UDP group and TCP listeners on the same port.

use anyhow::{Context, anyhow};
use netio::udp::Steered;
use netio::{SocketOptions, UdpListener, bind_group};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;

/// How often another port is tried where the kernel may choose it and TCP finds it taken. A port free for UDP is
/// taken for TCP about once in a hundred times on a busy machine.
const PORT_ATTEMPTS_MAX: usize = 32;

/// How many connections wait in the kernel to be accepted, or are being opened; the sysctl
/// `net.core.somaxconn` (4,096 by default) bounds it too. Fewer lose connections in a burst.
const BACKLOG: i32 = 1024;

/// The sockets of one address.
pub(crate) struct Listener {
    /// The address, with the port that the kernel chose if it was asked to.
    pub(crate) address: SocketAddr,
    /// One for each UDP worker.
    pub(crate) udp: Vec<UdpListener>,
    /// How the kernel chooses among them.
    pub(crate) steered: Steered,
    /// One for each TCP thread, not blocking.
    pub(crate) tcp: Vec<TcpListener>,
}

/// Opens the sockets of one address.
///
/// # Errors
/// What the system says, on which address, and what to do about it.
pub(crate) fn bind(
    address: SocketAddr,
    workers: NonZeroUsize,
    options: &SocketOptions,
    tcp_workers: NonZeroUsize,
) -> anyhow::Result<Listener> {
    let attempts = if address.port() == 0 { PORT_ATTEMPTS_MAX } else { 1 };
    let mut failed = anyhow!("no port of {} is free for UDP and TCP", address.ip());
    for _ in 0..attempts {
        let group = bind_group(address, workers, options)?;
        let bound = group.listeners.first().map_or(address, UdpListener::address);
        match bind_tcp(bound, tcp_workers) {
            Ok(tcp) => {
                return Ok(Listener { address: bound, udp: group.listeners, steered: group.steered, tcp });
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                failed = anyhow!(error).context(taken(bound));
            }
            Err(error) => return Err(error).with_context(|| format!("cannot listen on TCP {bound}")),
        }
    }
    Err(failed)
}

/// Opens a listener for TLS, not blocking.
///
/// # Errors
/// What the system says, on which address, and what to do about it.
pub(crate) fn bind_tls(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let mut listeners = bind_tcp(address, NonZeroUsize::MIN).map_err(|error| {
        let is_taken = error.kind() == io::ErrorKind::AddrInUse;
        let error = anyhow!(error);
        if is_taken {
            return error.context(taken(address));
        }
        error.context(format!("cannot listen on TCP {address} for TLS"))
    })?;
    listeners.pop().context("no listener")
}

fn taken(address: SocketAddr) -> String {
    format!(
        "cannot listen on TCP {address}: another process does, `ss -ltnp 'sport = :{}'` shows which",
        address.port()
    )
}

/// Opens and closes the sockets of an address, to know early whether it can be had. Port 0 always can.
///
/// # Errors
/// As [`bind`].
pub(crate) fn rehearse(address: SocketAddr) -> anyhow::Result<()> {
    bind(address, NonZeroUsize::MIN, &SocketOptions::default(), NonZeroUsize::MIN).map(drop)
}

fn bind_tcp(address: SocketAddr, threads: NonZeroUsize) -> io::Result<Vec<TcpListener>> {
    let mut sockets = vec![open_tcp(address, false)?];
    for _ in 1..threads.get() {
        // As with UDP: the first is bound without the flag, so that an address in use is an error.
        sockets[0].set_reuse_port(true)?;
        sockets.push(open_tcp(address, true)?);
    }
    sockets
        .into_iter()
        .map(|socket| {
            socket.listen(BACKLOG)?;
            Ok(socket.into())
        })
        .collect()
}

fn open_tcp(address: SocketAddr, share_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Without it a restarted node would wait for the connections of the last one to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    if share_port {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: NonZeroUsize = NonZeroUsize::new(2).unwrap();

    #[test]
    fn udp_and_tcp_have_one_port() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = bind(address.parse().unwrap(), TWO, &SocketOptions::default(), TWO).unwrap();
            assert_ne!(listener.address.port(), 0);
            assert_eq!((listener.udp.len(), listener.tcp.len()), (2, 2));
            assert!(listener.tcp.iter().all(|tcp| tcp.local_addr().unwrap() == listener.address));
            let error = rehearse(listener.address).unwrap_err();
            assert!(format!("{error:#}").contains(&listener.address.to_string()), "{error:#}");
        }
    }

    #[test]
    fn a_tcp_port_in_use_is_an_error() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = rehearse(address).unwrap_err();
        assert!(format!("{error:#}").contains("ss -ltnp"), "{error:#}");
    }
}
