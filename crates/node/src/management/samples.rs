//! Snapshots for the tests.

use super::Snapshot;
use crate::status::{
    AddressStatus, AgentStatus, AnswerCount, BirdStatus, CatalogCounts, CheckResult, CheckStatus, CheckTimes,
    CopyCounts, DigestPage, DiskStatus, FamilyStatus, GateStatus, InterfaceStatus, KernelAnswers,
    KernelAnswersByFamily, Latencies, LoadStatus, NoDelayStatus, NodeStatus, OutgoingCounts, PeerStatus,
    PoolStatus, QueryCount, ServedStatus, ServerStatus, SharingPeer, SharingStatus, TableCounts, TcpCounts,
    TlsStatus, UdpCounts, ZoneCounts, ZoneError, ZoneState, ZoneStatus,
};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) fn server() -> NodeStatus {
    NodeStatus {
        version: "9.9.9".to_owned(),
        pid: 7,
        name: Some("ams1".to_owned()),
        since: "2026-01-01T00:00:00Z".to_owned(),
        uptime_s: 60,
        workers: 2,
        tcp_workers: 1,
        listen: vec!["192.0.2.53:53".to_owned()],
        generation: 5,
        generation_served: 4,
        reloading: false,
        zones: ZoneCounts { ok: 1, stale: 1, failed: 1, expired: 0 },
        udp: UdpCounts { queries: 100, xdp_queries: 30, ..UdpCounts::default() },
        tcp: TcpCounts::default(),
        tls: Some(TlsStatus {
            listen: vec!["192.0.2.10:853".to_owned()],
            handshakes: 8,
            handshakes_failed: 2,
            certificate_not_after_s: Some(2_000_000_000),
        }),
        answers: BTreeMap::new(),
        queries_by: vec![queries("udp", "ipv4", 100), queries("tcp", "ipv6", 3)],
        answers_by: vec![answers("udp", "ipv4", "NXDOMAIN", 95), answers("tcp", "ipv6", "NOERROR", 3)],
        drops: BTreeMap::from([("queue".to_owned(), 6), ("silent".to_owned(), 2)]),
        agent: None,
        interfaces: vec![InterfaceStatus {
            name: "eth0".to_owned(),
            packet_path: "xdp".to_owned(),
            mode: Some("native".to_owned()),
            queues: 4,
            detail: None,
            kernel_answers: Some(KernelAnswers {
                bad_version: KernelAnswersByFamily { ipv4: 7, ipv6: 2 },
                refused: KernelAnswersByFamily { ipv4: 3, ipv6: 1 },
                shortened: KernelAnswersByFamily { ipv4: 5, ipv6: 0 },
                withheld: KernelAnswersByFamily { ipv4: 6, ipv6: 0 },
            }),
        }],
        outgoing: OutgoingCounts { completed: 3, refused: 2, octets: 4096, ..OutgoingCounts::default() },
        tables: TableCounts { compiled: 2, amended: 3, folded: 1 },
        copies: CopyCounts {
            renewed: 4,
            incremental: 3,
            whole: 1,
            latencies: latencies(),
            ..CopyCounts::default()
        },
        catalogs: vec![CatalogCounts {
            name: "catalog.example.".to_owned(),
            members: 12,
            held: 3,
            ignored: 1,
            is_good: false,
        }],
        pools: vec![PoolStatus {
            name: "web".to_owned(),
            names: vec!["www.example.".to_owned()],
            kind: "failover".to_owned(),
            portion: "all".to_owned(),
            ttl: 30,
            families: vec![FamilyStatus {
                family: "IPv4".to_owned(),
                basis: "good".to_owned(),
                tier: Some(2),
                answers: vec!["192.0.2.2".to_owned()],
                since: "2026-01-01T00:00:00Z".to_owned(),
                changes: 3,
                places: Vec::new(),
            }],
            addresses: vec![AddressStatus {
                endpoint: "b".to_owned(),
                address: "192.0.2.2".to_owned(),
                unchecked: false,
                tier: 2,
                health: "up".to_owned(),
                admin: "auto".to_owned(),
                weight: Some(10),
                answers: true,
                share_ppm: 1_000_000,
                failure: None,
                looked: Some("2026-01-01T00:00:00Z".to_owned()),
                unseen: None,
                last_failure: None,
                took_us: 400,
                runs: 70,
                failures: 4,
                own: "down".to_owned(),
                peers: Vec::new(),
                load: Some(LoadStatus {
                    of: "header".to_owned(),
                    unit: String::new(),
                    last_milli: Some(500),
                    smoothed_milli: Some(620),
                    counts: true,
                    weight_milli: Some(2_500),
                    drained: false,
                    trouble: Some("its answer has no x-load".to_owned()),
                }),
                given: 900,
            }],
            transitions: Vec::new(),
            problems: Vec::new(),
            view: "quorum".to_owned(),
            check: "00112233445566778899aabbccddeeff".to_owned(),
            sharing: None,
            zone: None,
            times: latencies(),
        }],
        sharing: Some(SharingStatus {
            isolated: true,
            refused: 6,
            peers: vec![SharingPeer {
                name: "fra1".to_owned(),
                address: "192.0.2.20:8053".to_owned(),
                heard: false,
                answered_ms_ago: Some(4250),
                trouble: Some("no connection".to_owned()),
            }],
        }),
        refused_pools: 1,
        check_times: vec![
            CheckTimes { times: latencies(), ..CheckTimes::new("dns", true) },
            CheckTimes::new("https", false),
        ],
        disk: Some(DiskStatus { failures: 5, waiting: 1, failure: None }),
    }
}

fn queries(transport: &str, family: &str, count: u64) -> QueryCount {
    QueryCount { transport: transport.to_owned(), family: family.to_owned(), count, malformed: 1 }
}

fn answers(transport: &str, family: &str, rcode: &str, count: u64) -> AnswerCount {
    AnswerCount { transport: transport.to_owned(), family: family.to_owned(), rcode: rcode.to_owned(), count }
}

pub(super) fn zone(name: &str, state: ZoneState) -> ZoneStatus {
    let served = ServedStatus {
        serial: 4_000_000_000,
        records: 12,
        names: 8,
        digest: "d1e5".to_owned(),
        content: "c0de".to_owned(),
        table_bytes: 4096,
        changed_names: 0,
        loaded_from: "image".to_owned(),
        since: "2026-01-01T00:00:00Z".to_owned(),
        earlier: Vec::new(),
        durable: true,
    };
    let error = ZoneError { since: served.since.clone(), count: 3, messages: Vec::new() };
    ZoneStatus {
        name: name.to_owned(),
        file: format!("{name}zone"),
        state,
        critical: false,
        served: (state != ZoneState::Failed).then_some(served),
        error: (state != ZoneState::Ok).then_some(error),
        notified: Vec::new(),
        copy: None,
        journal: None,
        gate: (state == ZoneState::Stale).then(|| GateStatus {
            stopped: BTreeMap::from([("shrink".to_owned(), 2)]),
            ..GateStatus::default()
        }),
    }
}

pub(super) fn check(name: &str, gravity: &str, standing: &str) -> CheckStatus {
    let failure = (standing == "failing").then(|| "SERVFAIL\nseen".to_owned());
    CheckStatus {
        name: name.to_owned(),
        action: "withdraw".to_owned(),
        gravity: gravity.to_owned(),
        standing: standing.to_owned(),
        for_ms: 10,
        runs: 50,
        failures: 4,
        took_us: 1500,
        fall: 3,
        rise: 2,
        overloaded: false,
        last: vec![CheckResult { ago_ms: 5, failure }],
    }
}

pub(super) fn agent(wanted: &str, held: &str) -> AgentStatus {
    AgentStatus {
        version: "9.9.9".to_owned(),
        pid: 6,
        name: Some("ams1".to_owned()),
        wanted: wanted.to_owned(),
        held: held.to_owned(),
        since: "2026-01-01T00:00:00Z".to_owned(),
        held_ms: 2500,
        bird: BirdStatus::Verified,
        no_delay: NoDelayStatus::default(),
        healthy: held == "up",
        reasons: vec!["probes are good".to_owned()],
        blocked: Vec::new(),
        mode: "normal".to_owned(),
        transitions: BTreeMap::from([("down->up".to_owned(), 2)]),
        seconds_on: BTreeMap::from([("up".to_owned(), 40)]),
        server: ServerStatus { state: "ready".to_owned(), pid: Some(7), restarts: 1 },
        checks: vec![check("udp4", "hard", "passing")],
        peers: vec![PeerStatus {
            name: "fra1".to_owned(),
            address: "192.0.2.20:8053".to_owned(),
            rung: Some("up".to_owned()),
            healthy: true,
            answered_ms_ago: Some(250),
            trouble: None,
        }],
        serials: BTreeMap::from([("example.com.".to_owned(), 4_000_000_000)]),
    }
}

pub(super) fn snapshot(agent: Option<AgentStatus>) -> Snapshot {
    let zones = [
        zone("example.com.", ZoneState::Ok),
        zone("a\\\"b.", ZoneState::Stale),
        zone("bad.", ZoneState::Failed),
    ];
    let digests = Some(DigestPage::of(&zones.iter().cloned().collect(), 1, 0));
    Snapshot { server: Some(server()), zones: Arc::new(zones), agent, digests, told: None }
}

/// One of each of three bounds, and one beyond all.
fn latencies() -> Latencies {
    let mut latencies = Latencies { micros: 500_000, ..Latencies::default() };
    for bucket in [0, 3, 7, 14] {
        latencies.counts[bucket] = 1;
    }
    latencies
}
