//! The client: steady queries to the anycast addresses, each accounted for in the [`Ledger`].
//!
//! One thread sends, in small batches a millisecond apart; another receives; neither waits for the other. A third asks
//! over TCP at a low rate, a connection for each query. All of them are in the client's namespace.

use std::io::{ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::set_ipv6_unicast_hops;

use super::ledger::{LOST_AFTER, Ledger, NOBODY, SOCKETS, TcpQuery, number_of};
use super::topology::{POPS, SERVICE};
use crate::client::read_framed;
use crate::name::Name;
use crate::netns::Namespace;
use crate::query::{Edns, Query};

/// The name that is asked for, in the zone that every node serves.
pub const QNAME: &str = "www.example.com";
/// The port of the service.
pub const PORT: u16 = 53;
/// Time between two batches: a shorter one costs more wake-ups, a longer one sees shorter gaps less exactly.
const BATCH_EVERY: Duration = Duration::from_millis(1);
/// Time between two queries over TCP: enough to see that TCP works, little work beside 5,000 datagrams a second.
const TCP_EVERY: Duration = Duration::from_millis(50);
/// Pause after a connection that came to nothing.
const TCP_AGAIN_AFTER: Duration = Duration::from_millis(20);
/// How often the receiver looks whether it shall end.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// Hops a query may make: enough for the way, few enough that routers without a route don't pass it on for long.
const HOPS: u8 = 16;
/// RFC 5001 §2.3.
pub(super) const OPTION_NSID: u16 = 3;
pub(super) const TYPE_A: u16 = 1;

/// The running client; stops when dropped.
pub struct Client {
    ledger: Arc<Ledger>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Client {
    /// Begins to ask, so many times a second.
    pub fn start(namespace: &Namespace, rate: u32) -> Result<Self> {
        let sockets = namespace.inside(sockets)??;
        let sockets = Arc::new(sockets);
        let ledger = Arc::new(Ledger::default());
        let stop = Arc::new(AtomicBool::new(false));
        let mut client = Self { ledger: Arc::clone(&ledger), stop: Arc::clone(&stop), threads: Vec::new() };
        let query = question();
        let work = (Arc::clone(&sockets), Arc::clone(&ledger), Arc::clone(&stop), query.clone());
        client.run(move || send(&work.0, &work.1, &work.2, work.3, rate));
        let work = (ledger, stop);
        client.run(move || receive(&sockets, &work.0, &work.1));
        let work = (Arc::clone(&client.ledger), Arc::clone(&client.stop));
        // Threads and sockets of a thread that has entered are inside too.
        let handle = namespace.enter_later();
        client.run(move || {
            if handle().is_ok() {
                ask_over_tcp(&work.0, &work.1, &query);
            }
        });
        Ok(client)
    }

    /// What it has seen.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn run(&mut self, work: impl FnOnce() + Send + 'static) {
        self.threads.push(thread::spawn(work));
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// The query, with id 0.
fn question() -> Vec<u8> {
    let name = Name::parse(QNAME).expect("a constant name is one");
    let edns = Edns { options: vec![(OPTION_NSID, Vec::new())], ..Edns::size(1232) };
    Query::new(name, TYPE_A).with_edns(edns).bytes(0)
}

/// Sockets on ports of their own, so that equal-cost paths get a share each. They are not connected: a router that
/// has no route for a moment must not make a later call fail.
fn sockets() -> Result<Vec<UdpSocket>> {
    let bind = |index: u64| -> Result<UdpSocket> {
        let socket = if index.is_multiple_of(2) {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            socket.set_ttl(u32::from(HOPS))?;
            socket
        } else {
            let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
            set_ipv6_unicast_hops(&socket, Some(HOPS))?;
            socket
        };
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    (0..SOCKETS).map(bind).collect::<Result<_>>().context("sockets of the client")
}

fn service(number: u64) -> SocketAddr {
    let address: IpAddr = SERVICE[(number % 2) as usize].parse().expect("a constant address is one");
    SocketAddr::new(address, PORT)
}

fn send(sockets: &[UdpSocket], ledger: &Ledger, stop: &AtomicBool, mut query: Vec<u8>, rate: u32) {
    let start = Instant::now();
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = (start.elapsed().as_secs_f64() * f64::from(rate)) as u64;
        while sent < due {
            let number = ledger.next();
            query[..2].copy_from_slice(&((number / SOCKETS) as u16).to_be_bytes());
            ledger.sent(Instant::now());
            // What can't be sent (no route for a moment) is lost, and shows as such.
            let _ = sockets[(number % SOCKETS) as usize].send_to(&query, service(number));
            sent += 1;
        }
        thread::park_timeout(BATCH_EVERY);
    }
}

fn receive(sockets: &[UdpSocket], ledger: &Ledger, stop: &AtomicBool) {
    let mut waiting: Vec<PollFd<'_>> =
        sockets.iter().map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
    let mut buffer = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        if poll(&mut waiting, Some(&LOOK_EVERY)).is_err() {
            continue;
        }
        for (index, ready) in waiting.iter().enumerate() {
            if ready.revents().is_empty() {
                continue;
            }
            while let Ok(len) = sockets[index].recv(&mut buffer) {
                let at = Instant::now();
                if let Some((id, who)) = answer(&buffer[..len]) {
                    ledger.answered(index as u64, id, at, who);
                }
            }
        }
    }
}

/// The id and who answered, if this is a right answer. A wrong one is as good as none, and is left to be counted as
/// lost.
fn answer(message: &[u8]) -> Option<(u16, u8)> {
    let header = message.get(..12)?;
    let authoritative = header[2] & 0x84 == 0x84;
    let good = header[3] & 0x0f == 0 && header[7] > 0;
    let id = u16::from_be_bytes([header[0], header[1]]);
    (authoritative && good).then(|| (id, identity(message)))
}

/// Who the NSID option says it is. It stands near the end, and no other bytes of the answer look like it.
pub(super) fn identity(message: &[u8]) -> u8 {
    let len = POPS[0].len();
    let option = [&OPTION_NSID.to_be_bytes()[..], &(len as u16).to_be_bytes()].concat();
    let found = message.windows(4 + len).rev().find(|window| window.starts_with(&option));
    found.map_or(NOBODY, |window| number_of(&window[4..]))
}

fn ask_over_tcp(ledger: &Arc<Ledger>, stop: &AtomicBool, query: &[u8]) {
    let mut number = 0;
    let mut next = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let (ledger, query) = (Arc::clone(ledger), query.to_vec());
        // Each ends by itself after LOST_AFTER at the latest, so there are 40 of them at most.
        thread::spawn(move || ledger.tcp(tcp_query(service(number), &query)));
        number += 1;
        next += TCP_EVERY;
        thread::park_timeout(next.saturating_duration_since(Instant::now()));
    }
}

/// Asks once over TCP. A connection that is reset because the route has moved is made again, as resolvers do.
fn tcp_query(to: SocketAddr, query: &[u8]) -> TcpQuery {
    let sent = Instant::now();
    let deadline = sent + LOST_AFTER;
    let mut attempts = 0;
    loop {
        attempts += 1;
        if let Ok(who) = tcp_attempt(to, query, deadline) {
            return TcpQuery { sent, answer: Some((sent.elapsed(), who)), attempts };
        }
        if Instant::now() + TCP_AGAIN_AFTER >= deadline {
            return TcpQuery { sent, answer: None, attempts };
        }
        thread::park_timeout(TCP_AGAIN_AFTER);
    }
}

fn tcp_attempt(to: SocketAddr, query: &[u8], deadline: Instant) -> Result<u8> {
    let left = || deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let mut stream = TcpStream::connect_timeout(&to, left())?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(left()))?;
    let framed = [&(query.len() as u16).to_be_bytes()[..], query].concat();
    stream.write_all(&framed)?;
    let message =
        read_framed(&mut stream)?.ok_or(ErrorKind::ConnectionReset).map_err(std::io::Error::from)?;
    let (_, who) = answer(&message).context("a wrong answer")?;
    ensure!(Instant::now() < deadline, "the answer came too late");
    Ok(who)
}
