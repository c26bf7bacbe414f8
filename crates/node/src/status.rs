//! What the control socket tells: plain values that go through JSON and are printed by `starling ctl`.

mod catalog;
mod digests;
mod pool;
mod publish;
mod sharing;
mod zone_list;

pub(crate) use catalog::{CatalogCounts, CatalogStatus, IgnoredStatus, MemberStatus};
pub(crate) use digests::{DigestPage, EarlierVersion, ZoneDigest};
pub(crate) use pool::{
    AddressStatus, CheckTimes, FamilyStatus, LastFailure, LoadStatus, LookedUp, OF_RECORDS, PlacesStatus,
    PoolStatus, PoolTransition, REFUSED, RefusedPool,
};
pub(crate) use publish::{PublishOutcome, PublishReport};
pub(crate) use sharing::{PeerSight, SharingPeer, SharingStatus};
pub(crate) use zone_list::ZoneList;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What `ctl status` shows.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct NodeStatus {
    /// The program's version.
    pub(crate) version: String,
    /// The process.
    pub(crate) pid: u32,
    /// The node's name, if it has one.
    pub(crate) name: Option<String>,
    /// When it became ready (RFC 3339).
    pub(crate) since: String,
    /// For how many seconds it has been ready.
    pub(crate) uptime_s: u64,
    /// UDP workers.
    pub(crate) workers: usize,
    /// TCP threads.
    pub(crate) tcp_workers: usize,
    /// The addresses it listens on.
    pub(crate) listen: Vec<String>,
    /// How many changes have been published since the start.
    pub(crate) generation: u64,
    /// Up to which of them every worker serves.
    pub(crate) generation_served: u64,
    /// Whether a reload is going on.
    pub(crate) reloading: bool,
    /// Zones by state.
    pub(crate) zones: ZoneCounts,
    /// Tables made since the start.
    #[serde(default)]
    pub(crate) tables: TableCounts,
    /// Queries and answers over UDP.
    pub(crate) udp: UdpCounts,
    /// Queries and answers over TCP.
    pub(crate) tcp: TcpCounts,
    /// DNS over TLS, where the node is asked so.
    #[serde(default)]
    pub(crate) tls: Option<TlsStatus>,
    /// Answers by response code, over both.
    pub(crate) answers: BTreeMap<String, u64>,
    /// How the route is, where the node has an agent that holds one.
    #[serde(default)]
    pub(crate) agent: Option<Box<AgentStatus>>,
    /// Messages received, for each transport and family.
    #[serde(default)]
    pub(crate) queries_by: Vec<QueryCount>,
    /// Answers, for each transport, family and response code that occurred.
    #[serde(default)]
    pub(crate) answers_by: Vec<AnswerCount>,
    /// Messages that were lost, or got no answer, by cause: see [`DROP_CAUSES`].
    #[serde(default)]
    pub(crate) drops: BTreeMap<String, u64>,
    /// The configured interfaces.
    #[serde(default)]
    pub(crate) interfaces: Vec<InterfaceStatus>,
    /// Transfers of zones to secondaries.
    #[serde(default)]
    pub(crate) outgoing: OutgoingCounts,
    /// What was done to keep copies up to date.
    #[serde(default)]
    pub(crate) copies: CopyCounts,
    /// The catalogs that are followed.
    #[serde(default)]
    pub(crate) catalogs: Vec<CatalogCounts>,
    /// The pools.
    #[serde(default)]
    pub(crate) pools: Vec<PoolStatus>,
    /// How nodes share what the checks of pools see, where they do.
    #[serde(default)]
    pub(crate) sharing: Option<SharingStatus>,
    /// How long looks at endpoints have taken.
    #[serde(default)]
    pub(crate) check_times: Vec<CheckTimes>,
    /// How many pools in records are refused.
    #[serde(default)]
    pub(crate) refused_pools: usize,
    /// How the state folder is, where there is one.
    #[serde(default)]
    pub(crate) disk: Option<DiskStatus>,
}

/// How the state folder is.
#[derive(Serialize, Deserialize, Clone, Default, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct DiskStatus {
    /// How often an image or a journal could not be written, since the start.
    pub(crate) failures: u64,
    /// How many images and journals wait for being written after a failure.
    pub(crate) waiting: usize,
    /// Why one of them could not be written.
    pub(crate) failure: Option<String>,
}

/// The differences of a zone that there are for its secondaries.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct JournalStatus {
    /// The serial from which on what has changed is known.
    pub(crate) from_serial: u32,
    /// Up to which.
    pub(crate) to_serial: u32,
    /// How many differences.
    pub(crate) differences: usize,
    /// Octets of the file.
    pub(crate) octets: u64,
}

/// What has become of transfers to secondaries since the start.
#[derive(Serialize, Deserialize, Clone, Copy, Default, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct OutgoingCounts {
    /// Running now.
    pub(crate) running: u64,
    /// The whole zone, sent to its end.
    pub(crate) completed: u64,
    /// What had changed, sent to its end.
    #[serde(default)]
    pub(crate) incremental: u64,
    /// Answered with the SOA record alone: the secondary had the zone.
    pub(crate) current: u64,
    /// Cut off: the secondary was too slow or went away, or the zone's table was damaged.
    pub(crate) cut_off: u64,
    /// Refused: the client is none of the zone's secondaries.
    pub(crate) refused: u64,
    /// Answered with SERVFAIL because as many as may be were running.
    pub(crate) turned_away: u64,
    /// Octets of messages sent.
    pub(crate) octets: u64,
    /// NOTIFY messages sent, repetitions included.
    #[serde(default)]
    pub(crate) notifies_sent: u64,
    /// Changes that a secondary has acknowledged.
    #[serde(default)]
    pub(crate) notifies_acknowledged: u64,
    /// Changes that a secondary has refused or never acknowledged.
    #[serde(default)]
    pub(crate) notifies_failed: u64,
}

/// How it stands with a secondary that is notified of a zone.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct NotifyStatus {
    /// Its address.
    pub(crate) secondary: String,
    /// Of which serial it was told.
    pub(crate) serial: u32,
    /// What it said.
    pub(crate) state: String,
}

/// Bounds of times in milliseconds: that from a NOTIFY until every worker answers with the new version, and that of a look at an
/// endpoint.
pub(crate) const LATENCY_BOUNDS_MS: [u64; 14] =
    [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 20_000, 60_000];

/// How often that took how long.
#[derive(Serialize, Deserialize, Clone, Copy, Default, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Latencies {
    /// By the first bound that it was not above; the last is of those above all.
    pub(crate) counts: [u64; LATENCY_BOUNDS_MS.len() + 1],
    /// All together, in microseconds.
    pub(crate) micros: u64,
}

impl Latencies {
    /// Which of the counts this one belongs to.
    pub(crate) fn index(took: Duration) -> usize {
        LATENCY_BOUNDS_MS.partition_point(|bound| Duration::from_millis(*bound) < took)
    }

    /// Counts one more.
    pub(crate) fn observe(&mut self, took: Duration) {
        self.counts[Latencies::index(took)] += 1;
        self.micros += took.as_micros() as u64; // 500,000 years
    }
}

/// Tables made since the start.
#[derive(Serialize, Deserialize, Clone, Copy, Default, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct TableCounts {
    /// Of all records of a zone.
    pub(crate) compiled: u64,
    /// By what has changed, over the table before.
    pub(crate) amended: u64,
    /// Of a table and what has changed over it.
    pub(crate) folded: u64,
}

/// What was done to keep copies of zones up to date, since the start.
#[derive(Serialize, Deserialize, Clone, Copy, Default, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct CopyCounts {
    /// Rounds in which a primary confirmed that nothing is newer.
    pub(crate) current: u64,
    /// Rounds that brought a new version into service.
    pub(crate) renewed: u64,
    /// Rounds that came to nothing.
    pub(crate) failed: u64,
    /// Versions taken into service that came as what has changed (IXFR).
    #[serde(default)]
    pub(crate) incremental: u64,
    /// Those that were asked for as a whole (AXFR).
    #[serde(default)]
    pub(crate) whole: u64,
    /// Those of which what has changed was asked for, and that came as a whole (RFC 1995 §4).
    #[serde(default)]
    pub(crate) whole_instead: u64,
    /// NOTIFY requests that were heard.
    pub(crate) notifies: u64,
    /// NOTIFY requests that were refused: from somebody else, or of a zone that is none of the copies here.
    pub(crate) notifies_refused: u64,
    /// NOTIFY requests that were heard, but of which there were too many at once to act on.
    pub(crate) notifies_dropped: u64,
    /// How long it took from a NOTIFY until its version was served.
    #[serde(default)]
    pub(crate) latencies: Latencies,
}

/// Queries that the program in the kernel has answered, or dropped; they count in all other numbers, too.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct KernelAnswers {
    /// With BADVERS.
    pub(crate) bad_version: KernelAnswersByFamily,
    /// With REFUSED.
    pub(crate) refused: KernelAnswersByFamily,
    /// With no records and TC, of networks over the rate limit.
    #[serde(default)]
    pub(crate) shortened: KernelAnswersByFamily,
    /// Not at all, of those.
    #[serde(default)]
    pub(crate) withheld: KernelAnswersByFamily,
}

impl KernelAnswers {
    /// All that got an answer.
    pub(crate) fn sum(&self) -> u64 {
        self.bad_version.sum() + self.refused.sum() + self.shortened.sum()
    }
}

/// The same, of one RCODE.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct KernelAnswersByFamily {
    /// Over IPv4.
    pub(crate) ipv4: u64,
    /// Over IPv6.
    pub(crate) ipv6: u64,
}

impl KernelAnswersByFamily {
    /// Both.
    pub(crate) fn sum(&self) -> u64 {
        self.ipv4 + self.ipv6
    }
}

/// How queries come through an interface.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct InterfaceStatus {
    /// Its name.
    pub(crate) name: String,
    /// `xdp`, or `sockets` alone.
    pub(crate) packet_path: String,
    /// The mode of AF_XDP.
    pub(crate) mode: Option<String>,
    /// How many of its queues have rings.
    pub(crate) queues: usize,
    /// Why it is not a faster mode, or not AF_XDP though it was wanted.
    pub(crate) detail: Option<String>,
    /// Queries that the program in the kernel has answered by itself, where it does so.
    #[serde(default)]
    pub(crate) kernel_answers: Option<KernelAnswers>,
}

/// Why messages get no answer, in [`NodeStatus::drops`]. Over UDP, where nothing else is said: a receive queue of the
/// kernel was full (`queue`), in an overload it was kept short (`shed`), a ring of AF_XDP was full (`ring`), a frame there was no query (`frame`) or damaged (`checksum`), a
/// query was longer than any (`too-long`), an answer found no room in a send buffer
/// (`no-room`), was larger than the interface sends whole (`too-big`), forbidden by a packet filter (`forbidden`), without a
/// route (`unreachable`), refused by the kernel for another reason (`other`). Over both: nothing may be answered, to less
/// than a header or to a response (`silent`).
pub(crate) const DROP_CAUSES: [&str; 13] = [
    "queue",
    "shed",
    "ring",
    "frame",
    "checksum",
    "too-long",
    "no-room",
    "too-big",
    "forbidden",
    "unreachable",
    "other",
    "silent",
    "limited",
];

/// Messages received over a transport and a family.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct QueryCount {
    /// `udp` or `tcp`.
    pub(crate) transport: String,
    /// `ipv4` or `ipv6`.
    pub(crate) family: String,
    /// All of them.
    pub(crate) count: u64,
    /// Those that were malformed and got FORMERR.
    pub(crate) malformed: u64,
}

/// Answers over a transport and a family.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct AnswerCount {
    /// `udp` or `tcp`.
    pub(crate) transport: String,
    /// `ipv4` or `ipv6`.
    pub(crate) family: String,
    /// The response code's mnemonic.
    pub(crate) rcode: String,
    /// How many.
    pub(crate) count: u64,
}

/// Zones by state.
#[derive(Serialize, Deserialize, Clone, Copy, Default, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ZoneCounts {
    /// Served as their files are.
    pub(crate) ok: usize,
    /// Served in an older version, because the files have errors.
    pub(crate) stale: usize,
    /// Not served at all.
    pub(crate) failed: usize,
    /// Not served any more: copies that no primary has confirmed for too long.
    #[serde(default)]
    pub(crate) expired: usize,
}

/// What the UDP workers have counted since the start.
#[derive(Serialize, Deserialize, Clone, Copy, Default, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct UdpCounts {
    /// Datagrams received.
    pub(crate) queries: u64,
    /// Those of them that came through AF_XDP.
    #[serde(default)]
    pub(crate) xdp_queries: u64,
    /// Answers that the kernel took.
    pub(crate) answers: u64,
    /// Batches received: `queries / batches` is the mean batch.
    pub(crate) batches: u64,
    /// Answers with the TC bit.
    pub(crate) truncated: u64,
    /// Answers that could not be sent.
    pub(crate) dropped: u64,
    /// Datagrams that the kernel dropped because a receive queue was full.
    pub(crate) queue_drops: u64,
    /// Datagrams lost on purpose in an overload, so that what is answered is fresh.
    #[serde(default)]
    pub(crate) shed: u64,
    /// Answers that the rate limit has left without records.
    #[serde(default)]
    pub(crate) limited_shortened: u64,
    /// Answers that the rate limit has withheld.
    #[serde(default)]
    pub(crate) limited_withheld: u64,
}

/// What the TCP service has counted since the start.
#[derive(Serialize, Deserialize, Clone, Copy, Default, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct TcpCounts {
    /// Messages received.
    pub(crate) queries: u64,
    /// Answers given to the connection.
    pub(crate) answers: u64,
    /// Connections accepted.
    pub(crate) accepted: u64,
    /// Connections open now.
    pub(crate) open: u64,
    /// Connections refused because there were too many, of all or of one client.
    pub(crate) refused: u64,
    /// Idle connections closed to make room for new ones.
    pub(crate) evicted: u64,
    /// Connections closed because they were quiet for too long.
    pub(crate) idle: u64,
    /// Connections cut off because the client was too slow in writing a query or reading an answer.
    pub(crate) slow: u64,
}

/// DNS over TLS. Connections, queries and answers count as those of TCP.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct TlsStatus {
    /// Where connections are taken.
    pub(crate) listen: Vec<String>,
    /// Handshakes that came to an end.
    pub(crate) handshakes: u64,
    /// Handshakes that came to nothing: no TLS 1.3, another protocol, no certificate where one is wanted, too slow.
    pub(crate) handshakes_failed: u64,
    /// Until when the node's certificate is good, in seconds since 1970, where it can be read.
    pub(crate) certificate_not_after_s: Option<i64>,
}

/// A zone in `ctl zones`.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ZoneStatus {
    /// The apex.
    pub(crate) name: String,
    /// The master file; empty where the zone is transferred.
    pub(crate) file: String,
    /// What is served of it.
    pub(crate) state: ZoneState,
    /// Whether the node is no good without it.
    #[serde(default)]
    pub(crate) critical: bool,
    /// The version that is served.
    pub(crate) served: Option<ServedStatus>,
    /// What holds a newer version back.
    pub(crate) error: Option<ZoneError>,
    /// The secondaries that are notified of it.
    #[serde(default)]
    pub(crate) notified: Vec<NotifyStatus>,
    /// How it is kept up to date, where it is a copy of a primary's.
    #[serde(default)]
    pub(crate) copy: Option<CopyStatus>,
    /// The differences that there are for its secondaries.
    #[serde(default)]
    pub(crate) journal: Option<JournalStatus>,
    /// What there is beside the version that is served; nothing where there is nothing else.
    #[serde(default)]
    pub(crate) gate: Option<GateStatus>,
}

/// What a zone has beside the version that is served.
#[derive(Serialize, Deserialize, Clone, Default, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct GateStatus {
    /// The version that waits for an operator.
    pub(crate) held: Option<HeldStatus>,
    /// The serial of the version before, which can be rolled back to.
    pub(crate) previous: Option<u32>,
    /// The serial of the version that waits for what the operator's command says of it.
    #[serde(default)]
    pub(crate) asked: Option<u32>,
    /// The serial that was rolled back from, and is not taken again.
    pub(crate) rolled_back: Option<u32>,
    /// How many versions were stopped since the start, by the rule that did.
    pub(crate) stopped: BTreeMap<String, u64>,
}

/// A version that waits for an operator.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct HeldStatus {
    /// The SOA record's serial.
    pub(crate) serial: u32,
    /// The digest of its records.
    pub(crate) content: String,
    /// Records, signatures included.
    pub(crate) records: u64,
    /// Since when it is held (RFC 3339).
    pub(crate) since: String,
    /// Why.
    pub(crate) reasons: Vec<String>,
}

/// How a copy is kept up to date.
#[derive(Serialize, Deserialize, Clone, Default, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct CopyStatus {
    /// Where it comes from.
    pub(crate) primaries: Vec<String>,
    /// Whether primaries are being asked now, or are about to be.
    pub(crate) asking: bool,
    /// When a primary last confirmed it (RFC 3339).
    pub(crate) confirmed: Option<String>,
    /// When they are asked next.
    pub(crate) next: Option<String>,
    /// When it expires, or has expired.
    pub(crate) expires: Option<String>,
    /// Why the last round came to nothing.
    pub(crate) failure: Option<String>,
}

/// What is served of a zone.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ZoneState {
    /// The version of its files when they were last looked at.
    Ok,
    /// An older version: the files have errors.
    Stale,
    /// Nothing: its names get SERVFAIL.
    Failed,
    /// Nothing any more, since no primary has confirmed it for too long: its names get SERVFAIL.
    Expired,
}

impl ZoneState {
    /// As it is shown.
    pub(crate) fn word(self) -> &'static str {
        match self {
            ZoneState::Ok => "ok",
            ZoneState::Stale => "stale",
            ZoneState::Failed => "failed",
            ZoneState::Expired => "expired",
        }
    }
}

/// The version of a zone that is served.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ServedStatus {
    /// The SOA record's serial.
    pub(crate) serial: u32,
    /// Records, signatures included.
    pub(crate) records: u64,
    /// Names, empty non-terminals included.
    pub(crate) names: u64,
    /// The digest of the table; equal digests give equal answers.
    pub(crate) digest: String,
    /// The digest of the records, whatever their table looks like: nodes with equal ones have the same zone.
    #[serde(default)]
    pub(crate) content: String,
    /// Octets of the table.
    pub(crate) table_bytes: u64,
    /// How many names have changed since the table was compiled as a whole.
    #[serde(default)]
    pub(crate) changed_names: u64,
    /// `master-file`, `transfer`, `configuration`, `journal` or `image`.
    pub(crate) loaded_from: String,
    /// Since when it is served (RFC 3339).
    pub(crate) since: String,
    /// What was served before, the first first; the longer ago, the fewer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) earlier: Vec<EarlierVersion>,
    /// Whether a restart begins with it: it is on disk, or comes from a master file.
    #[serde(default)]
    pub(crate) durable: bool,
}

/// What holds a newer version of a zone back.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ZoneError {
    /// Since when (RFC 3339).
    pub(crate) since: String,
    /// How many errors there are.
    pub(crate) count: usize,
    /// The first of them, `file:line:column: what`.
    pub(crate) messages: Vec<String>,
}

/// What came of a reload.
#[derive(Serialize, Deserialize, Clone, Default, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ReloadReport {
    /// Why nothing was done at all; empty where something was.
    pub(crate) refused: Vec<String>,
    /// What came of each zone.
    pub(crate) zones: Vec<ZoneReload>,
}

impl ReloadReport {
    /// Whether everything was done that was asked for.
    pub(crate) fn is_good(&self) -> bool {
        self.refused.is_empty()
            && !self.zones.iter().any(|zone| matches!(zone.outcome, Outcome::Failed { .. }))
    }
}

/// What came of the reload of a zone.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ZoneReload {
    /// The apex.
    pub(crate) name: String,
    /// What came of it.
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

/// What came of the reload of a zone.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(tag = "outcome", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub(crate) enum Outcome {
    /// A new version is served.
    Reloaded {
        /// The serial before.
        from_serial: Option<u32>,
        /// The serial now.
        to_serial: u32,
        /// Milliseconds of reading, checking and compiling.
        took_ms: u64,
    },
    /// It was not served before and is now.
    Added {
        /// The serial.
        serial: u32,
        /// Milliseconds of reading, checking and compiling.
        took_ms: u64,
    },
    /// Its files have not changed.
    Unchanged,
    /// It is no longer configured, and no longer served.
    Removed,
    /// It has errors; what was served is served.
    Failed {
        /// How many errors.
        count: usize,
        /// The first of them, `file:line:column: what`.
        messages: Vec<String>,
    },
}

/// What the agent knows of the route: `ctl status`, `ctl explain`, `/state` and the metrics.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct AgentStatus {
    /// The program's version.
    pub(crate) version: String,
    /// The process.
    pub(crate) pid: u32,
    /// The node's name, if it has one.
    pub(crate) name: Option<String>,
    /// The rung that is wanted: `up`, `degraded`, `draining` or `down`.
    pub(crate) wanted: String,
    /// The rung that the kernel's routes stand for.
    pub(crate) held: String,
    /// Since when it is held (RFC 3339).
    pub(crate) since: String,
    /// For how many milliseconds it has been held.
    pub(crate) held_ms: u64,
    /// What BIRD's own words say of the export.
    pub(crate) bird: BirdStatus,
    /// Whether what BIRD sends waits for acknowledgements.
    #[serde(default)]
    pub(crate) no_delay: NoDelayStatus,
    /// Whether the node counts as healthy for its peers: announced, not degraded, nothing hard failing.
    pub(crate) healthy: bool,
    /// Why the route is where it is, the weightiest reason first.
    pub(crate) reasons: Vec<String>,
    /// What would have to change for a better rung.
    pub(crate) blocked: Vec<String>,
    /// `normal`, `draining`, `drained` or `maintenance`.
    pub(crate) mode: String,
    /// Transitions since the agent began, `from->to`.
    pub(crate) transitions: BTreeMap<String, u64>,
    /// Seconds spent on each rung since the agent began.
    pub(crate) seconds_on: BTreeMap<String, u64>,
    /// The server.
    pub(crate) server: ServerStatus,
    /// All checks.
    pub(crate) checks: Vec<CheckStatus>,
    /// The other nodes.
    pub(crate) peers: Vec<PeerStatus>,
    /// The serials of the zones that are probed: the critical ones, else the first. What peers compare with their own.
    #[serde(default)]
    pub(crate) serials: Serials,
}

/// The serials of a node, by zone.
pub(crate) type Serials = BTreeMap<String, u32>;

/// What BIRD says of the route.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case", tag = "state", content = "saw")]
pub(crate) enum BirdStatus {
    /// Nothing was asked yet, or no BIRD is configured.
    Unknown,
    /// What is exported is what is meant.
    Verified,
    /// BIRD answers, and exports something else.
    Differs(String),
    /// BIRD doesn't answer.
    Unreachable(String),
}

/// Whether TCP_NODELAY is set on BIRD's sessions, so that nothing waits for the acknowledgement of what was sent before.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Default, Debug)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub(crate) enum NoDelayStatus {
    /// The agent is told not to do it.
    #[default]
    Off,
    /// It can, and there is no socket of BGP's port yet.
    Waiting,
    /// It is set.
    InForce {
        /// On how many sockets of BGP's port, listeners included.
        sockets: usize,
    },
    /// It can't.
    Impossible {
        /// The reason.
        why: String,
    },
}

/// The server process as its agent sees it.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Default, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ServerStatus {
    /// `starting`, `ready`, `frozen`, `waiting` (before it is started again) or `stopping`.
    pub(crate) state: String,
    /// The process, while there is one.
    pub(crate) pid: Option<u32>,
    /// How often it was started again.
    pub(crate) restarts: u64,
}

/// A check and its last results.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct CheckStatus {
    /// Its name.
    pub(crate) name: String,
    /// `report`, `degrade` or `withdraw`.
    pub(crate) action: String,
    /// `soft` or `hard`.
    pub(crate) gravity: String,
    /// `unknown`, `passing` or `failing`.
    pub(crate) standing: String,
    /// For how many milliseconds it has stood so.
    pub(crate) for_ms: u64,
    /// Runs since the agent began.
    pub(crate) runs: u64,
    /// Runs that failed.
    pub(crate) failures: u64,
    /// How long the last run took, in microseconds.
    pub(crate) took_us: u64,
    /// How many results in a row it takes to fail, and to pass again.
    pub(crate) fall: u32,
    /// See `fall`.
    pub(crate) rise: u32,
    /// Whether it fails for want of an answer from a server that is overloaded, and weighs no more than that: soft, and
    /// `degrade` at most.
    #[serde(default)]
    pub(crate) overloaded: bool,
    /// The last results, the newest first: milliseconds ago, and what was seen where it failed.
    pub(crate) last: Vec<CheckResult>,
}

/// A result of a check.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct CheckResult {
    /// How many milliseconds ago.
    pub(crate) ago_ms: u64,
    /// What was seen; nothing where it passed.
    pub(crate) failure: Option<String>,
}

/// A change of the route's rung, as `ctl history` and the history file have it.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct TransitionRecord {
    /// When (RFC 3339).
    pub(crate) at: String,
    /// The rung before.
    pub(crate) from: String,
    /// The rung after.
    pub(crate) to: String,
    /// `hard` or `soft` for failing checks of that gravity, `recovery`, `last-site` for the guard, or `operator` for what was
    /// asked for: a drain, maintenance, the end.
    pub(crate) by: String,
    /// Why.
    pub(crate) why: String,
}

/// Another node.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct PeerStatus {
    /// Its name in the configuration.
    pub(crate) name: String,
    /// Its management address.
    pub(crate) address: String,
    /// The rung that it says it holds; none where it could not be asked.
    pub(crate) rung: Option<String>,
    /// Whether it counts as announcing healthily.
    pub(crate) healthy: bool,
    /// How many milliseconds ago it last answered.
    pub(crate) answered_ms_ago: Option<u64>,
    /// Why it doesn't count, if so.
    pub(crate) trouble: Option<String>,
}

/// A time as RFC 3339 has it, in UTC and to the second.
pub(crate) fn timestamp(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    let whole = time.replace_nanosecond(0).unwrap_or(time);
    // Years beyond 9999 can't be written, and no clock has them.
    whole.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_are_written_in_utc() {
        assert_eq!(
            timestamp(SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_900)),
            "2023-11-14T22:13:20Z"
        );
    }

    #[test]
    fn outcomes_stand_beside_the_name() {
        let zone = ZoneReload { name: "a.".to_owned(), outcome: Outcome::Added { serial: 7, took_ms: 1 } };
        let text = serde_json::to_string(&zone).unwrap();
        assert_eq!(text, r#"{"name":"a.","outcome":"added","serial":7,"took-ms":1}"#);
        assert_eq!(serde_json::from_str::<ZoneReload>(&text).unwrap(), zone);
    }
}
