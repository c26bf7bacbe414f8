//! Asking over UDP.

use super::question::Judged;
use super::search::{Reply, Way, What};
use super::{Errand, Steering};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use socket2::SockRef;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

/// The longest answer that is looked at, more than a probe offers to take.
const ANSWER_MAX: usize = 4096;

/// How many messages that are not the answer are passed over, so that a server gone mad can't keep a probe busy. Late
/// answers are one or two.
const STRAYS_MAX: usize = 16;

/// A socket whose port leads to a worker, and the CPU to send from.
pub(super) struct UdpWay {
    socket: UdpSocket,
    send_from: Option<Arc<Crossing>>,
}

/// Where new ways come from.
pub(super) struct Source {
    /// One for each CPU of the thread; empty with steering by hash.
    crossings: Vec<Arc<Crossing>>,
}

/// A change to one CPU, and back to all that the thread may run on.
struct Crossing {
    there: CpuSet,
    back: CpuSet,
}

impl Source {
    pub(super) fn new(steering: Steering) -> io::Result<Source> {
        if steering == Steering::ByHash {
            return Ok(Source { crossings: Vec::new() });
        }
        let back = sched_getaffinity(None)?;
        let cpus = (0..CpuSet::MAX_CPU).filter(|cpu| back.is_set(*cpu));
        let crossings = cpus.map(|cpu| {
            let mut there = CpuSet::new();
            there.set(cpu);
            Arc::new(Crossing { there, back })
        });
        Ok(Source { crossings: crossings.collect() })
    }
}

impl Crossing {
    /// Does something on the CPU. There must be no way to leave the thread in between, so it is no future.
    fn do_there<T>(&self, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        sched_setaffinity(None, &self.there)?;
        let done = act();
        sched_setaffinity(None, &self.back)?;
        done
    }
}

impl Way for UdpWay {
    type Source = Source;

    fn new(source: &Source, errand: &Errand, number: usize) -> Result<UdpWay, String> {
        let socket = open(errand.address).map_err(|error| format!("{}: {error}", errand.address))?;
        let cpus = source.crossings.len();
        let send_from = number.checked_rem(cpus).map(|cpu| Arc::clone(&source.crossings[cpu]));
        Ok(UdpWay { socket, send_from })
    }

    async fn ask(self, errand: Arc<Errand>) -> Reply<UdpWay> {
        let sent_at = Instant::now();
        let what = match self.send(errand.question.octets()) {
            Ok(()) => self.receive(&errand, sent_at).await,
            Err(error) => refusal(errand.address, &error),
        };
        Reply { way: Some(self), took: sent_at.elapsed(), what }
    }
}

/// A socket with a port of its own, from the address to itself.
fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let mut source = address;
    source.set_port(0);
    let socket = std::net::UdpSocket::bind(source)?;
    socket.connect(address)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

fn refusal(address: SocketAddr, error: &io::Error) -> What {
    What::Refusal(match error.kind() {
        io::ErrorKind::ConnectionRefused => format!("nobody listens on UDP {address}"),
        _ => format!("UDP {address}: {error}"),
    })
}

impl UdpWay {
    fn send(&self, query: &[u8]) -> io::Result<()> {
        let socket = SockRef::from(&self.socket);
        let send = || socket.send(query).map(drop);
        match &self.send_from {
            None => send(),
            Some(crossing) => crossing.do_there(send),
        }
    }

    async fn receive(&self, errand: &Errand, sent_at: Instant) -> What {
        let mut octets = [0; ANSWER_MAX];
        let mut strays = 0;
        while strays < STRAYS_MAX {
            let received = match timeout_at(errand.deadline, self.socket.recv(&mut octets)).await {
                Err(_) => break,
                Ok(Err(error)) => return refusal(errand.address, &error),
                Ok(Ok(len)) => &octets[..len],
            };
            match errand.question.judge(received) {
                Judged::Answer { seat, outcome } => return What::Answer(seat, outcome),
                Judged::Stray => strays += 1,
            }
        }
        let strays = if strays == 0 { String::new() } else { format!(", {strays} with another identifier") };
        What::Silence(format!("no answer from UDP {} within {:?}{strays}", errand.address, sent_at.elapsed()))
    }
}
