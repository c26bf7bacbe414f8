//! ICMP echo (RFC 792, RFC 4443 §4.1 and §4.2).
//!
//! Linux lets the groups of `net.ipv4.ping_group_range` have sockets for echo alone, which is all that is needed: each look has one of its
//! own. Where that isn't allowed, raw sockets do, which take CAP_NET_RAW. The server gives that up before it does anything else, so
//! they are opened before ([`EchoSockets`]), and shared by all looks.

use super::tcp::{no_socket, no_source};
use super::{Fault, Visit};
use crate::config::{PoolCheck, PoolConfig, Probe};
use health::said::echo::{COOKIE_LEN, REPLY_LEN_MAX, reply, request, without_header};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// How long a raw socket is left alone that can't be read.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

const HELP: &str = "let a group of the server's have such sockets (sysctl net.ipv4.ping_group_range), or start it with CAP_NET_RAW";

/// Of which family, and from which address.
type From = (bool, Option<IpAddr>);

/// Raw sockets that were opened while that was allowed, or why they weren't.
pub(crate) struct EchoSockets(Vec<(From, io::Result<Socket>)>);

impl EchoSockets {
    /// Opens those that the checks of these pools need, where nothing less will do. What can't be opened is told when it would be
    /// used.
    pub(crate) fn open(pools: &[PoolConfig]) -> EchoSockets {
        let denied = needed(pools).into_iter().filter(|from| is_denied(*from));
        EchoSockets(denied.map(|from| (from, open(Type::RAW, from))).collect())
    }
}

/// Whether a process needs CAP_NET_RAW for these pools.
pub(crate) fn takes_raw(pools: &[PoolConfig]) -> bool {
    needed(pools).into_iter().any(is_denied)
}

fn needed(pools: &[PoolConfig]) -> HashSet<From> {
    let checked = pools.iter().flat_map(PoolConfig::checked);
    let of_kind = checked.filter(|(.., check)| check.probe == Probe::Icmp);
    of_kind.map(|(_, address, check)| from(check, address)).collect()
}

fn from(check: &PoolCheck, address: IpAddr) -> From {
    (address.is_ipv4(), check.sources.to(address))
}

/// Whether sockets for echo alone are not allowed.
fn is_denied((is_ipv4, _): From) -> bool {
    open(Type::DGRAM, (is_ipv4, None)).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

fn open(kind: Type, (is_ipv4, source): From) -> io::Result<Socket> {
    let (domain, protocol) =
        if is_ipv4 { (Domain::IPV4, Protocol::ICMPV4) } else { (Domain::IPV6, Protocol::ICMPV6) };
    let socket = Socket::new(domain, kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    Ok(socket)
}

/// Why this process could not look at the endpoints of these pools.
pub(super) fn obstacle(pools: &[PoolConfig]) -> Option<String> {
    let is_impossible = |from: &From| is_denied(*from) && open(Type::RAW, (from.0, None)).is_err();
    needed(pools).iter().any(is_impossible).then(|| {
        format!("endpoints that are checked by ICMP would be unknown, as this user may not send such messages: {HELP}")
    })
}

/// The looks by raw sockets that wait for a reply: from whom, and with what in it.
type Looks = HashMap<(IpAddr, [u8; COOKIE_LEN]), oneshot::Sender<()>>;
type Waiting = Arc<Mutex<Looks>>;

/// Who sends requests.
pub(super) struct Pinger {
    raw: Vec<(From, io::Result<Arc<UdpSocket>>)>,
    waiting: Waiting,
    /// Who takes replies off the raw sockets.
    _readers: JoinSet<()>,
}

impl Pinger {
    /// Within an event loop.
    pub(super) fn new(EchoSockets(sockets): EchoSockets) -> Pinger {
        let waiting = Waiting::default();
        let mut readers = JoinSet::new();
        let mut raw = Vec::new();
        for (from, socket) in sockets {
            let socket = socket.and_then(|socket| UdpSocket::from_std(socket.into())).map(Arc::new);
            if let Ok(socket) = &socket {
                readers.spawn(read(Arc::clone(socket), from.0, Arc::clone(&waiting)));
            }
            raw.push((from, socket));
        }
        Pinger { raw, waiting, _readers: readers }
    }

    /// Sends a request to the endpoint, and waits for the reply.
    pub(super) async fn ping(&self, visit: &Visit<'_>) -> Result<(), Fault> {
        visit.await_now("no reply");
        let address = visit.at.ip();
        let from = from(visit.check, address);
        match open(Type::DGRAM, from) {
            Ok(socket) => alone(socket, address).await,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                match self.raw.iter().find(|(known, _)| *known == from) {
                    Some((_, Ok(socket))) => self.shared(socket, address).await,
                    Some((_, Err(error))) => Err(not_opened(from, error)),
                    // Of a pool that came with a reload.
                    None => Err(Fault::Blind(not_allowed())),
                }
            }
            Err(error) => Err(not_opened(from, &error)),
        }
    }

    async fn shared(&self, socket: &UdpSocket, address: IpAddr) -> Result<(), Fault> {
        let cookie = cookie();
        let (sender, replied) = oneshot::channel();
        let key = (address, cookie);
        let _forgets = Forgets { waiting: &self.waiting, key };
        lock(&self.waiting).insert(key, sender);
        let request = request(address.is_ipv4(), fastrand::u16(..), cookie);
        socket.send_to(&request, SocketAddr::new(address, 0)).await.map_err(no_reply)?;
        // The sender goes when the reply has come, and not before.
        replied.await.map_err(|_| Fault::Blind("the node is ending".to_owned()))
    }
}

/// Why there is no socket, as at the time when it was to be opened.
fn not_opened((_, source): From, error: &io::Error) -> Fault {
    match (error.kind(), source) {
        (io::ErrorKind::PermissionDenied, _) => Fault::Blind(not_allowed()),
        (_, Some(source)) => no_source(source, error),
        (_, None) => no_socket(error),
    }
}

fn not_allowed() -> String {
    format!("this node may not send ICMP echo requests: {HELP}; what changes in that takes a restart")
}

/// Takes what is waited for out again, whatever becomes of the look.
struct Forgets<'p> {
    waiting: &'p Waiting,
    key: (IpAddr, [u8; COOKIE_LEN]),
}

impl Drop for Forgets<'_> {
    fn drop(&mut self) {
        lock(self.waiting).remove(&self.key);
    }
}

fn lock(waiting: &Waiting) -> MutexGuard<'_, Looks> {
    // Each use of it is one insertion or one removal.
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has a socket of its own.
async fn alone(socket: Socket, address: IpAddr) -> Result<(), Fault> {
    socket.connect(&SocketAddr::new(address, 0).into()).map_err(no_reply)?;
    let socket = UdpSocket::from_std(socket.into()).map_err(|error| no_socket(&error))?;
    let cookie = cookie();
    socket.send(&request(address.is_ipv4(), fastrand::u16(..), cookie)).await.map_err(no_reply)?;
    let mut buffer = [0; REPLY_LEN_MAX];
    loop {
        let len = socket.recv(&mut buffer).await.map_err(no_reply)?;
        if reply(address.is_ipv4(), &buffer[..len]) == Some(cookie) {
            return Ok(());
        }
    }
}

fn no_reply(error: io::Error) -> Fault {
    Fault::Bad(format!("no reply: {error}"))
}

/// Takes replies off a raw socket for all looks.
async fn read(socket: Arc<UdpSocket>, is_ipv4: bool, waiting: Waiting) {
    let mut buffer = [0; REPLY_LEN_MAX];
    loop {
        let Ok((len, sender)) = socket.recv_from(&mut buffer).await else {
            sleep(AGAIN_AFTER).await;
            continue;
        };
        let packet = &buffer[..len];
        let message = if is_ipv4 { without_header(packet) } else { Some(packet) };
        if let Some(cookie) = message.and_then(|message| reply(is_ipv4, message))
            && let Some(waits) = lock(&waiting).remove(&(sender.ip(), cookie))
        {
            // Who waited may have gone away.
            let _gone = waits.send(());
        }
    }
}

fn cookie() -> [u8; COOKIE_LEN] {
    fastrand::u128(..).to_ne_bytes()
}
