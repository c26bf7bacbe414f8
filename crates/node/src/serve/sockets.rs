//! The sockets of a server, sorted by the thread they are for: opened by itself, or taken over from another server.

use crate::config::NodeConfig;
use crate::link::SocketKind;
use crate::listeners::{self, Listener};
use crate::receive_queues;
use anyhow::{Context, bail, ensure};
use netio::udp::{Steered, Steering};
use netio::{SocketOptions, UdpListener, pin};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::path::Path;

/// The sockets of a server.
pub(super) struct Sockets {
    /// Where they listen; all threads have the same order.
    pub(super) addresses: Vec<SocketAddr>,
    /// Those of each UDP worker.
    pub(super) udp: Vec<Vec<UdpListener>>,
    /// Those of each TCP thread.
    pub(super) tcp: Vec<Vec<TcpListener>>,
    /// Those for TLS, on addresses of their own.
    pub(super) tls: Vec<TcpListener>,
    /// Whether it is the CPU that chooses the UDP worker, and not a hash; not known of sockets that were taken over.
    pub(super) by_cpu: Option<bool>,
}

impl Sockets {
    /// Opens the sockets that a configuration names.
    ///
    /// # Errors
    /// An address can't be had.
    pub(super) fn bind(node: &NodeConfig) -> anyhow::Result<Sockets> {
        let cpus = pin::allowed_cpus().context("cannot read which CPUs may be used")?;
        let workers = node.workers.or(NonZeroUsize::new(cpus.len())).unwrap_or(NonZeroUsize::MIN);
        let interfaces = Path::new(receive_queues::INTERFACES);
        let (steering, why) = receive_queues::settle(node.steering, interfaces, workers, &cpus);
        if workers > NonZeroUsize::MIN {
            let by = if steering == Steering::Cpu { "the CPU that receives a query" } else { "hash" };
            tracing::info!("UDP workers are chosen by {by}: {why}");
        }
        let options = SocketOptions {
            steering,
            receive_buffer_bytes: node.receive_buffer_bytes,
            send_buffer_bytes: node.send_buffer_bytes,
            ..SocketOptions::default()
        };
        let bound: Vec<Listener> = node
            .listen
            .iter()
            .map(|address| listeners::bind(*address, workers, &options, node.tcp.workers))
            .collect::<anyhow::Result<_>>()?;
        warn_of_small_buffers(&bound, &options);
        let addresses = bound.iter().map(|listener| listener.address).collect();
        let is_by_cpu = |listener: &Listener| listener.steered == Steered::ByCpu;
        let by_cpu = Some(bound.iter().any(is_by_cpu));
        let mut udp: Vec<Vec<_>> = (0..workers.get()).map(|_| Vec::new()).collect();
        let mut tcp: Vec<Vec<_>> = (0..node.tcp.workers.get()).map(|_| Vec::new()).collect();
        for listener in bound {
            udp.iter_mut().zip(listener.udp).for_each(|(sockets, socket)| sockets.push(socket));
            tcp.iter_mut().zip(listener.tcp).for_each(|(sockets, socket)| sockets.push(socket));
        }
        let tls = tls_addresses(node).iter().map(|address| listeners::bind_tls(*address));
        let tls = tls.collect::<anyhow::Result<_>>()?;
        Ok(Sockets { addresses, udp, tcp, tls, by_cpu })
    }

    /// Takes over the sockets of another server.
    ///
    /// # Errors
    /// They are not all there, or not what they are said to be.
    pub(super) fn adopt(handed: Vec<(SocketKind, OwnedFd)>) -> anyhow::Result<Sockets> {
        let (mut udp, mut tcp) = (BTreeMap::<u16, Vec<_>>::new(), BTreeMap::<u16, Vec<_>>::new());
        let mut tls = Vec::new();
        for (kind, descriptor) in handed {
            match kind {
                SocketKind::Udp { address, worker } => {
                    let socket = UdpListener::adopt(descriptor)
                        .with_context(|| format!("the socket of UDP {address} can't be taken over"))?;
                    let bound = socket.address();
                    ensure!(
                        bound == address,
                        "what is said to be the socket of UDP {address} is that of {bound}"
                    );
                    udp.entry(worker).or_default().push(socket);
                }
                SocketKind::Tcp { address, thread } => {
                    let socket = adopt_tcp(descriptor, address)
                        .with_context(|| format!("the listener of TCP {address} can't be taken over"))?;
                    tcp.entry(thread).or_default().push(socket);
                }
                SocketKind::Tls { address } => {
                    let socket = adopt_tcp(descriptor, address)
                        .with_context(|| format!("the listener of TLS {address} can't be taken over"))?;
                    tls.push(socket);
                }
                SocketKind::StateLock => bail!("the lock of the state folder is no socket"),
            }
        }
        let of_udp = |socket: &UdpListener| Some(socket.address());
        let of_tcp = |socket: &TcpListener| socket.local_addr().ok();
        let (udp, addresses) = by_thread(udp, of_udp).context("UDP sockets are missing")?;
        let (tcp, tcp_addresses) = by_thread(tcp, of_tcp).context("TCP listeners are missing")?;
        ensure!(addresses == tcp_addresses, "UDP and TCP do not listen on the same addresses");
        Ok(Sockets { addresses, udp, tcp, tls, by_cpu: None })
    }

    /// Says what the configuration wants and these sockets don't have.
    pub(super) fn compare(&self, node: &NodeConfig) {
        let keep = |what: &str, wanted: String, has: String| {
            tracing::warn!(
                "{what}: {wanted} in the configuration, and {has} goes on: the sockets are those of the server before; to change it, restart the node"
            );
        };
        let workers = node.workers.map_or(self.udp.len(), NonZeroUsize::get);
        if workers != self.udp.len() {
            keep("workers", workers.to_string(), self.udp.len().to_string());
        }
        if node.tcp.workers.get() != self.tcp.len() {
            keep("tcp.workers", node.tcp.workers.to_string(), self.tcp.len().to_string());
        }
        // Port 0 has become some port.
        let is = |wanted: &SocketAddr, bound: &SocketAddr| {
            wanted == bound || (wanted.port() == 0 && wanted.ip() == bound.ip())
        };
        let compare = |what: &str, wanted: &[SocketAddr], bound: &[SocketAddr]| {
            let same = wanted.len() == bound.len()
                && wanted.iter().zip(bound).all(|(wanted, bound)| is(wanted, bound));
            if !same {
                keep(what, format!("{wanted:?}"), format!("{bound:?}"));
            }
        };
        compare("listen", &node.listen, &self.addresses);
        compare("tls.listen", tls_addresses(node), &self.tls_addresses());
    }

    /// Where connections by TLS are taken.
    pub(super) fn tls_addresses(&self) -> Vec<SocketAddr> {
        self.tls.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }
}

/// Where a configuration wants connections by TLS.
fn tls_addresses(node: &NodeConfig) -> &[SocketAddr] {
    node.tls.as_ref().map_or(&[], |tls| &tls.listen)
}

/// Says where the kernel has granted less than was asked for.
fn warn_of_small_buffers(bound: &[Listener], options: &SocketOptions) {
    let Some(granted) = bound.iter().flat_map(|listener| &listener.udp).map(UdpListener::buffers).next()
    else {
        return;
    };
    let wanted = [
        ("receive", "rmem_max", granted.receive_bytes, options.receive_buffer_bytes),
        ("send", "wmem_max", granted.send_bytes, options.send_buffer_bytes),
    ];
    for (what, limit, granted, wanted) in wanted {
        if granted < wanted {
            tracing::warn!(
                "UDP sockets have {what} buffers of {granted} octets instead of {wanted}, and lose queries sooner when \
                 the node is held up: raise net.core.{limit}, or give it CAP_NET_ADMIN"
            );
        }
    }
}

fn adopt_tcp(descriptor: OwnedFd, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listens = rustix::net::sockopt::socket_acceptconn(&descriptor)?;
    ensure!(listens, "it does not listen");
    let listener = TcpListener::from(descriptor);
    let bound = listener.local_addr()?;
    ensure!(bound == address, "it is that of {bound}");
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Threads without gaps, all of which have the same addresses in one order; and these.
type ByThread<S> = (Vec<Vec<S>>, Vec<SocketAddr>);

fn by_thread<S>(
    threads: BTreeMap<u16, Vec<S>>,
    address: impl Fn(&S) -> Option<SocketAddr>,
) -> anyhow::Result<ByThread<S>> {
    let addresses = |sockets: &Vec<S>| sockets.iter().map(&address).collect::<Option<Vec<_>>>();
    let first = threads.get(&0).and_then(addresses).context("there are none for the first thread")?;
    for (expected, (thread, sockets)) in threads.iter().enumerate() {
        ensure!(usize::from(*thread) == expected, "there are none for thread {expected}");
        ensure!(addresses(sockets).as_ref() == Some(&first), "thread {thread} has others than the first");
    }
    Ok((threads.into_values().collect(), first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    fn bound() -> Sockets {
        let node = NodeConfig {
            listen: vec!["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()],
            workers: NonZeroUsize::new(2),
            ..NodeConfig::default()
        };
        Sockets::bind(&node).unwrap()
    }

    fn handed(sockets: &Sockets) -> Vec<(SocketKind, OwnedFd)> {
        let mut handed = Vec::new();
        for (worker, listeners) in (0..).zip(&sockets.udp) {
            for socket in listeners {
                let descriptor = socket.as_fd().try_clone_to_owned().unwrap();
                handed.push((SocketKind::Udp { address: socket.address(), worker }, descriptor));
            }
        }
        for (thread, listeners) in (0..).zip(&sockets.tcp) {
            for socket in listeners {
                let descriptor = socket.as_fd().try_clone_to_owned().unwrap();
                let address = socket.local_addr().unwrap();
                handed.push((SocketKind::Tcp { address, thread }, descriptor));
            }
        }
        handed
    }

    #[test]
    fn sockets_are_taken_over_as_they_were() {
        let sockets = bound();
        let adopted = Sockets::adopt(handed(&sockets)).unwrap();
        assert_eq!(adopted.addresses, sockets.addresses);
        assert_eq!((adopted.udp.len(), adopted.tcp.len()), (2, 1));
    }

    #[test]
    fn what_is_missing_or_mistaken_is_refused() {
        let sockets = bound();
        for missing in 0..handed(&sockets).len() {
            let mut some = handed(&sockets);
            some.remove(missing);
            assert!(Sockets::adopt(some).is_err(), "without number {missing}");
        }
        assert!(Sockets::adopt(Vec::new()).is_err());
        let mut mistaken = handed(&sockets);
        mistaken[0].1 = std::fs::File::open("/dev/null").unwrap().into();
        assert!(Sockets::adopt(mistaken).is_err());
        let mut unlistening = handed(&sockets);
        let last = unlistening.len() - 1;
        unlistening[last].1 =
            socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None).unwrap().into();
        assert!(Sockets::adopt(unlistening).is_err());
    }
}
