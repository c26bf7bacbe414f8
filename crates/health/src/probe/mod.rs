//! Probes: real queries through the service address, one to each thread of the server that answers there.
//!
//! The kernel picks the thread by the client's address and port, or by the CPU that the query came in on. So a prober
//! looks for a [`Way`] to each thread: a source port, and with steering by CPU a CPU to send from, that lead to it. The
//! server says in each answer which thread gave it ([`wire::probe`]), which shows when a way has changed.
//!
//! A query is bound to the service address as its source as well: it is what the kernel would choose, and once the
//! address is gone from the machine the query fails, where it would leave for another site otherwise.

mod question;
mod search;
mod tcp;
mod udp;

use crate::Outcome;
use question::Question;
use search::Ways;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tcp::TcpWay;
use tokio::time::Instant;
use udp::UdpWay;
use wire::Name;
use wire::probe::{Seat, TOKEN_LEN};

/// What a prober probes, and how.
#[derive(Clone, Debug)]
pub struct ProbePlan {
    /// The service address and port.
    pub address: SocketAddr,
    /// What to probe over.
    pub transports: Transports,
    /// How many UDP workers the server has.
    pub workers: u16,
    /// How many TCP threads it has.
    pub tcp_threads: u16,
    /// How the kernel picks the UDP worker.
    pub steering: Steering,
    /// The token that the server was given.
    pub token: [u8; TOKEN_LEN],
    /// How long an answer may take: all of a round ends within it.
    pub timeout: Duration,
}

/// What probes go over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transports {
    /// UDP alone.
    Udp,
    /// TCP alone.
    Tcp,
    /// Both.
    Both,
}

/// How the kernel picks the UDP worker for a query.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Steering {
    /// By hash of addresses and ports: another source port may lead to another worker.
    ByHash,
    /// By the CPU that takes the query in, which for one of this machine is the CPU it is sent from.
    ByCpu,
}

/// What came of the probe of a thread.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answered {
    /// The thread.
    pub seat: Seat,
    /// From the query to the answer; for want of one, how long it was waited for.
    pub took: Duration,
    /// Whether the answer was as it should be.
    pub outcome: Outcome,
    /// Whether nothing came at all: overload can explain that, and nothing else.
    pub is_silence: bool,
}

/// Sends probes. It remembers which way leads to which thread, so each address and server needs one of its own.
pub struct Prober {
    plan: ProbePlan,
    udp: Ways<UdpWay>,
    tcp: Ways<TcpWay>,
    id: u16,
}

/// What one round asks.
pub(crate) struct Errand {
    address: SocketAddr,
    question: Question,
    deadline: Instant,
}

impl Prober {
    /// A prober that has not asked anything yet.
    ///
    /// # Errors
    /// With steering by CPU: the CPUs that the thread may run on can't be read.
    pub fn new(plan: ProbePlan) -> io::Result<Prober> {
        let (workers, tcp_threads) = match plan.transports {
            Transports::Udp => (plan.workers, 0),
            Transports::Tcp => (0, plan.tcp_threads),
            Transports::Both => (plan.workers, plan.tcp_threads),
        };
        let udp = Ways::new(udp::Source::new(plan.steering)?, workers, Seat::UdpWorker);
        let tcp = Ways::new(tcp::Source::new(tcp_threads), tcp_threads, Seat::TcpThread);
        Ok(Prober { plan, udp, tcp, id: question::random_id() })
    }

    /// Asks every thread at once for the SOA record of `zone`, and tells what came of it, UDP workers first, each in the
    /// order of their indexes. Ends within the plan's time-out.
    ///
    /// An answer is good with any of `serials`: the one that is published, and while a change is being taken in the one
    /// before. A round that is dropped forgets the ways it was using; the next one looks for them.
    /// With none, any serial is good: for a zone that is about to change, and nobody knows when.
    pub async fn round(&mut self, zone: Name<'_>, serials: &[u32]) -> Vec<Answered> {
        // An answer of the round before that comes late has another identifier.
        self.id = self.id.wrapping_add(1);
        let errand = Arc::new(Errand {
            address: self.plan.address,
            question: Question::new(self.id, zone, serials, &self.plan.token),
            deadline: Instant::now() + self.plan.timeout,
        });
        let (mut answered, over_tcp) = tokio::join!(self.udp.round(&errand), self.tcp.round(&errand));
        answered.extend(over_tcp);
        answered
    }
}
