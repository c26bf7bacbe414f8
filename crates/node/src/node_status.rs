//! What `ctl status` is put together from.

use crate::archive::Archive;
use crate::keeper::Board;
use crate::pools::{Exchange, PoolBoard};
use crate::secondary;
use crate::status::{
    self, AnswerCount, CatalogCounts, DROP_CAUSES, InterfaceStatus, KernelAnswers, NodeStatus, QueryCount,
    TcpCounts, TlsStatus, UdpCounts,
};
use crate::tcp;
use crate::workers::Workers;
use nameserver::{CounterSnapshot, Counters, Family, RCODES};
use netio::xdp::RingDrops;
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
    pub(crate) tls_listen: Vec<SocketAddr>,
    pub(crate) tcp_counters: Vec<Arc<Counters>>,
    /// How the interfaces are.
    pub(crate) interfaces: Box<dyn Fn() -> Vec<InterfaceStatus>>,
    /// Who keeps copies up to date.
    pub(crate) secondary: secondary::Service,
    /// How the pools are.
    pub(crate) pools: PoolBoard,
    /// What nodes tell each other of pools.
    pub(crate) exchange: Exchange,
    /// What writes to the state folder.
    pub(crate) archive: Archive,
}

impl Sources {
    /// The status as it is now.
    pub(crate) fn status(&self, workers: &Workers, service: &tcp::Service, board: &Board) -> NodeStatus {
        let interfaces = (self.interfaces)();
        let mut udp = ByFamily::of(workers.answer_counters());
        let in_kernel = udp.add_those_of_the_kernel(&interfaces);
        let tcp = ByFamily::of(&self.tcp_counters);
        let (udp_answers, tcp_answers) = (udp.sum(), tcp.sum());
        let (generation, generation_served) = board.generations();
        let mut sockets = workers.socket_counts();
        let KernelSums { received, answered } = in_kernel;
        sockets.received += received;
        sockets.ring_received += received;
        sockets.sent += answered;
        let queue_drops = workers.queue_drops();
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
            tables: board.tables(),
            udp: udp_counts(&sockets, queue_drops, &udp_answers),
            tcp: tcp_counts(service, &tcp_answers),
            tls: (!self.tls_listen.is_empty()).then(|| tls_status(service, &self.tls_listen)),
            answers: by_rcode(&udp_answers, &tcp_answers),
            agent: None,
            queries_by: [udp.queries("udp"), tcp.queries("tcp")].concat(),
            answers_by: [udp.answers("udp"), tcp.answers("tcp")].concat(),
            drops: drops(
                &sockets,
                queue_drops,
                &workers.ring_drops(),
                (udp_answers.silent + tcp_answers.silent, udp_answers.limited_withheld),
            ),
            interfaces,
            outgoing: service.transfer_counts(),
            copies: self.secondary.counts(),
            catalogs: board.catalogs().iter().map(CatalogCounts::from).collect(),
            pools: self.pools.pools().to_vec(),
            sharing: self.exchange.status(),
            check_times: self.pools.times(),
            refused_pools: board.refused_pools().len(),
            disk: self.archive.status(),
        }
    }
}

/// What the programs of interfaces have received, and answered.
#[derive(Default)]
struct KernelSums {
    received: u64,
    answered: u64,
}

/// What the responders of a transport have counted, for each family.
struct ByFamily([(&'static str, CounterSnapshot); 2]);

impl ByFamily {
    fn of(counters: &[Arc<Counters>]) -> ByFamily {
        ByFamily([("ipv4", Family::V4), ("ipv6", Family::V6)].map(|(name, family)| {
            let mut sum = CounterSnapshot::default();
            counters.iter().for_each(|counters| sum += &counters.snapshot_of(family));
            (name, sum)
        }))
    }

    /// Takes in what the programs of interfaces have answered.
    fn add_those_of_the_kernel(&mut self, interfaces: &[InterfaceStatus]) -> KernelSums {
        let [(_, v4), (_, v6)] = &mut self.0;
        let mut sums = KernelSums::default();
        for answers in interfaces.iter().filter_map(|interface| interface.kernel_answers) {
            let KernelAnswers { bad_version, refused, shortened, withheld } = answers;
            for (rcode, of_rcode) in
                [(Rcode::BADVERS, bad_version), (Rcode::REFUSED, refused), (Rcode::NOERROR, shortened)]
            {
                for (counts, count) in [(&mut *v4, of_rcode.ipv4), (&mut *v6, of_rcode.ipv6)] {
                    counts.udp_queries += count;
                    counts.rcodes[usize::from(rcode.0)] += count;
                }
            }
            for (counts, shortened, withheld) in
                [(&mut *v4, shortened.ipv4, withheld.ipv4), (&mut *v6, shortened.ipv6, withheld.ipv6)]
            {
                counts.truncated += shortened;
                counts.limited_shortened += shortened;
                counts.limited_withheld += withheld;
                counts.udp_queries += withheld;
            }
            sums.answered += answers.sum();
            sums.received += answers.sum() + withheld.sum();
        }
        sums
    }

    fn sum(&self) -> CounterSnapshot {
        let [(_, v4), (_, v6)] = &self.0;
        let mut sum = v4.clone();
        sum += v6;
        sum
    }

    fn queries(&self, transport: &str) -> Vec<QueryCount> {
        let count = |(family, counts): &(&str, CounterSnapshot)| QueryCount {
            transport: transport.to_owned(),
            family: (*family).to_owned(),
            count: counts.udp_queries + counts.tcp_queries, // one of them is 0
            malformed: counts.malformed,
        };
        self.0.iter().map(count).collect()
    }

    fn answers(&self, transport: &str) -> Vec<AnswerCount> {
        let mut answers = Vec::new();
        for (family, counts) in &self.0 {
            for (rcode, count) in named_rcodes(&counts.rcodes) {
                let (transport, family) = (transport.to_owned(), (*family).to_owned());
                answers.push(AnswerCount { transport, family, rcode, count });
            }
        }
        answers
    }
}

fn udp_counts(sockets: &netio::CounterSnapshot, queue_drops: u64, answers: &CounterSnapshot) -> UdpCounts {
    let dropped = [
        sockets.dropped_no_room,
        sockets.dropped_too_big,
        sockets.dropped_forbidden,
        sockets.dropped_unreachable,
        sockets.dropped_other,
    ];
    UdpCounts {
        queries: sockets.received,
        xdp_queries: sockets.ring_received,
        answers: sockets.sent,
        batches: sockets.batches,
        truncated: answers.truncated,
        dropped: dropped.iter().sum(),
        queue_drops,
        shed: sockets.shed(),
        limited_shortened: answers.limited_shortened,
        limited_withheld: answers.limited_withheld,
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

fn tls_status(service: &tcp::Service, listen: &[SocketAddr]) -> TlsStatus {
    let connections = service.counts();
    TlsStatus {
        listen: listen.iter().map(SocketAddr::to_string).collect(),
        handshakes: connections.handshakes,
        handshakes_failed: connections.handshakes_failed,
        certificate_not_after_s: service.certificate_not_after(),
    }
}

fn by_rcode(udp: &CounterSnapshot, tcp: &CounterSnapshot) -> BTreeMap<String, u64> {
    let mut sum = udp.clone();
    sum += tcp;
    named_rcodes(&sum.rcodes).collect()
}

/// The response codes that occurred, by name.
fn named_rcodes(counts: &[u64; RCODES]) -> impl Iterator<Item = (String, u64)> {
    let counts = counts.iter().enumerate().filter(|(_, count)| **count > 0);
    counts.map(|(code, count)| (Rcode(code as u16).to_string(), *count)) // 24 codes
}

fn drops(
    sockets: &netio::CounterSnapshot,
    queue: u64,
    rings: &RingDrops,
    (silent, limited): (u64, u64),
) -> BTreeMap<String, u64> {
    let counts = [
        queue,
        sockets.shed(),
        rings.total(),
        sockets.malformed_frames,
        sockets.checksum_errors,
        sockets.truncated,
        sockets.dropped_no_room,
        sockets.dropped_too_big,
        sockets.dropped_forbidden,
        sockets.dropped_unreachable,
        sockets.dropped_other,
        silent,
        limited,
    ];
    DROP_CAUSES.map(str::to_owned).into_iter().zip(counts).collect()
}
