//! What `ctl status` is put together from.

use crate::keeper::Board;
use crate::status::{self, NodeStatus, TcpCounts, UdpCounts};
use crate::tcp;
use crate::workers::Workers;
use nameserver::{CounterSnapshot, Counters};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};
use wire::Rcode;

/// What stays the same while a node runs, and the counters of its TCP threads.
pub(crate) struct Sources {
    pub(crate) name: Option<String>,
    pub(crate) since: SystemTime,
    pub(crate) started: Instant,
    pub(crate) tcp_workers: usize,
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) tcp_counters: Vec<Arc<Counters>>,
}

impl Sources {
    /// The status as it is now.
    pub(crate) fn status(&self, workers: &Workers, service: &tcp::Service, board: &Board) -> NodeStatus {
        let udp_answers = workers.answer_counts();
        let mut tcp_answers = CounterSnapshot::default();
        for counters in &self.tcp_counters {
            tcp_answers += &counters.snapshot();
        }
        let (generation, generation_served) = board.generations();
        NodeStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            name: self.name.clone(),
            since: status::timestamp(self.since),
            uptime_s: self.started.elapsed().as_secs(),
            workers: workers.count(),
            tcp_workers: self.tcp_workers,
            listen: self.listen.iter().map(SocketAddr::to_string).collect(),
            generation,
            generation_served,
            reloading: board.is_reloading(),
            zones: board.counts(),
            udp: udp_counts(workers, &udp_answers),
            tcp: tcp_counts(service, &tcp_answers),
            answers: by_rcode(&udp_answers, &tcp_answers),
        }
    }
}

fn udp_counts(workers: &Workers, answers: &CounterSnapshot) -> UdpCounts {
    let sockets = workers.socket_counts();
    let dropped = [
        sockets.dropped_no_room,
        sockets.dropped_too_big,
        sockets.dropped_forbidden,
        sockets.dropped_unreachable,
        sockets.dropped_other,
    ];
    UdpCounts {
        queries: sockets.received,
        answers: sockets.sent,
        batches: sockets.batches,
        truncated: answers.truncated,
        dropped: dropped.iter().sum(),
        queue_drops: workers.queue_drops(),
    }
}

fn tcp_counts(service: &tcp::Service, answers: &CounterSnapshot) -> TcpCounts {
    let connections = service.counts();
    TcpCounts {
        queries: answers.tcp_queries,
        answers: answers.responses(),
        accepted: connections.accepted,
        open: connections.open,
        refused: connections.refused,
        evicted: connections.evicted,
        idle: connections.idle,
        slow: connections.slow,
    }
}

fn by_rcode(udp: &CounterSnapshot, tcp: &CounterSnapshot) -> BTreeMap<String, u64> {
    let counts = udp.rcodes.iter().zip(&tcp.rcodes).enumerate();
    let counts = counts.map(|(code, (udp, tcp))| (Rcode(code as u16).to_string(), udp + tcp)); // 24 codes
    counts.filter(|(_, count)| *count > 0).collect()
}
