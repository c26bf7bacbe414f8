//! What agent and server tell each other, and how: a socket pair of sequenced packets, one JSON frame each.
//!
//! The server finds its end as its standard input. Both ends send a beat every [`BEAT_EVERY`]; whoever misses the
//! other's for as long as is allowed kills it. The link is for two processes of one version, but an upgrade joins
//! two: unknown fields are passed over, and new ones have defaults.

mod scheduling;
mod silence;
mod transport;

pub(crate) use scheduling::{Look, Looks, Standing, Threads};
pub(crate) use silence::{Judgement, Silence};
pub(crate) use transport::{AsyncLink, DESCRIPTORS_MAX, LinkEnd, watched};

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::Duration;

/// How often each end says that it lives. A tenth of a second lets a freeze be told from a delay well within the second
/// that is promised; ten small packets a second cost nothing.
pub(crate) const BEAT_EVERY: Duration = Duration::from_millis(100);

/// What the agent tells the server.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(tag = "frame", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub(crate) enum FromAgent {
    /// First of all: how to work with this agent.
    Start {
        /// The token that makes a query a probe, in hexadecimal: only who knows it is told which thread answered.
        probe_token: String,
        /// How long the agent's beats may be missing before it is killed, in milliseconds.
        freeze_ms: u64,
        /// Whether the sockets of another server follow in [`FromAgent::Sockets`], so that none are bound.
        adopt: bool,
    },
    /// The agent lives.
    Beat,
    /// To be answered with [`FromServer::Sockets`]: another server is to have the sockets too.
    HandOver,
    /// Sockets of the server that is to be replaced; the descriptors travel with the frame, in the order of the list.
    Sockets {
        /// What they are.
        sockets: Vec<SocketKind>,
        /// Whether this is the last such frame.
        last: bool,
    },
    /// To answer what was asked, accept nothing more, and end.
    Stop,
    /// The same, when another server has the sockets and answers: TCP clients may go on until they are quiet.
    Leave,
}

/// What the server tells the agent.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(tag = "frame", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub(crate) enum FromServer {
    /// It answers: the zones are loaded and every thread runs.
    Ready {
        /// Where it listens, with the ports that the kernel chose.
        listen: Vec<SocketAddr>,
        /// How many UDP workers answer.
        workers: u16,
        /// How many TCP threads answer.
        tcp_threads: u16,
        /// Whether it is the CPU that chooses the UDP worker, and not a hash. The server has read the configuration later than
        /// its agent, if it was started again. Not known of sockets that were taken over.
        #[serde(default)]
        by_cpu: Option<bool>,
    },
    /// It lives, and so it is with its threads and zones.
    Beat(Beat),
    /// It ends, though the agent hasn't asked for it: it takes no more queries from now on, and is gone when its TCP clients
    /// have their answers.
    Ending,
    /// Sockets for another server; the descriptors travel with the frame, in the order of the list.
    Sockets {
        /// What they are.
        sockets: Vec<SocketKind>,
        /// Whether this is the last such frame.
        last: bool,
    },
}

/// What a descriptor that is handed over is.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum SocketKind {
    /// The socket of a UDP worker.
    Udp {
        /// The address it is bound to.
        address: SocketAddr,
        /// The worker's position.
        worker: u16,
    },
    /// A listener of DNS over TLS.
    Tls {
        /// The address it is bound to.
        address: SocketAddr,
    },
    /// A listener of a TCP thread.
    Tcp {
        /// The address it is bound to.
        address: SocketAddr,
        /// The thread's position.
        thread: u16,
    },
    /// Not a socket but the lock of the state folder, which both servers of a node hold together.
    StateLock,
}

/// How the server is.
#[derive(Serialize, Deserialize, Clone, Default, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct Beat {
    /// For each UDP worker a number that grows at least every tenth of a second while it is well.
    pub(crate) workers: Vec<u64>,
    /// The same for each TCP thread.
    pub(crate) tcp_threads: Vec<u64>,
    /// The same for the thread that answers the control socket.
    pub(crate) control: u64,
    /// Queries received over UDP since the start.
    pub(crate) received: u64,
    /// Datagrams lost because more came than could be answered, in full receive queues or shed, since the start.
    pub(crate) queue_drops: u64,
    /// Zones by state.
    pub(crate) zones_ok: u64,
    /// Zones served in an older version than their files.
    pub(crate) zones_stale: u64,
    /// Zones not served at all.
    pub(crate) zones_failed: u64,
    /// Names of `critical` zones that are not served; at most [`CRITICAL_MAX`].
    pub(crate) critical_failed: Vec<String>,
    /// Zones to probe with the serial that every worker serves: the critical ones, else the first; at most
    /// [`PROBE_ZONES_MAX`].
    pub(crate) probe_zones: Vec<ProbeZone>,
    /// Changes published so far, and up to which of them every worker serves: while they differ, or a reload goes
    /// on, a probe may see the serial before.
    pub(crate) generation: u64,
    /// See `generation`.
    pub(crate) generation_served: u64,
    /// Whether zones are being read again: a probe may see a serial that isn't told yet.
    pub(crate) reloading: bool,
}

/// A zone whose SOA record probes ask for.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ProbeZone {
    /// The apex.
    pub(crate) name: String,
    /// Its serial as published.
    pub(crate) serial: u32,
}

/// The most zones that probes go through, one after the other. More would make each be asked too rarely.
pub(crate) const PROBE_ZONES_MAX: usize = 16;
/// The most critical zones that a beat names as failed: a frame has to fit a packet.
pub(crate) const CRITICAL_MAX: usize = 16;
