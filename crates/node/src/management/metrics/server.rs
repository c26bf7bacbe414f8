//! What the server counts.

use super::{Families, ZONES_MAX, pools, sharing};
use crate::status::{CatalogCounts, KernelAnswersByFamily, LATENCY_BOUNDS_MS, NodeStatus, ZoneStatus};
use std::fmt;

pub(super) fn encode(server: &NodeStatus, families: &mut Families<'_>) -> fmt::Result {
    families.gauge(
        "starling_uptime_seconds",
        "For how long the server has answered.",
        [([], server.uptime_s)],
    )?;
    let threads = [("udp", server.workers), ("tcp", server.tcp_workers)];
    let threads = threads.map(|(transport, count)| ([("transport", transport)], count as u64));
    families.gauge("starling_threads", "Threads that answer.", threads)?;
    families.gauge(
        "starling_generation",
        "Changes of zones published since the start.",
        [([], server.generation)],
    )?;
    let help =
        "The last change that every thread answers from; behind starling_generation, some thread is held up.";
    families.gauge("starling_generation_served", help, [([], server.generation_served)])?;
    families.gauge(
        "starling_reloading",
        "Whether a reload is going on.",
        [([], u64::from(server.reloading))],
    )?;
    let interfaces = server.interfaces.iter().map(|interface| {
        let mode = interface.mode.as_deref().unwrap_or_default();
        [("interface", interface.name.as_str()), ("path", &interface.packet_path), ("mode", mode)]
    });
    families.info("starling_interface", "How queries come through a configured interface.", interfaces)?;
    let counted = server.interfaces.iter().filter_map(|one| Some((one.name.as_str(), one.kernel_answers?)));
    let answered = counted.flat_map(|(name, counts)| {
        let of = |rcode, count: KernelAnswersByFamily| ([("interface", name), ("rcode", rcode)], count.sum());
        [of("BADVERS", counts.bad_version), of("REFUSED", counts.refused), of("NOERROR", counts.shortened)]
    });
    let help =
        "Queries answered in the kernel; those are counted in starling_queries and starling_answers, too.";
    families.counter("starling_kernel_answers", help, answered)?;
    queries(server, families)?;
    connections(server, families)?;
    transfers(server, families)?;
    let disk = || server.disk.iter();
    let help = "Images and journals that could not be written to the state folder.";
    families.counter("starling_state_failures", help, disk().map(|disk| ([], disk.failures)))?;
    let help = "Images and journals that wait for being written after that; 0 when all is well.";
    families.gauge("starling_state_waiting", help, disk().map(|disk| ([], disk.waiting as u64)))
}

fn transfers(server: &NodeStatus, families: &mut Families<'_>) -> fmt::Result {
    let counts = &server.outgoing;
    families.gauge(
        "starling_transfers_out_running",
        "Transfers to secondaries that are going on.",
        [([], counts.running)],
    )?;
    let results = [
        ("completed", counts.completed),
        ("incremental", counts.incremental),
        ("current", counts.current),
        ("cut-off", counts.cut_off),
        ("refused", counts.refused),
        ("busy", counts.turned_away),
    ];
    let results = results.map(|(result, count)| ([("result", result)], count));
    let notified = [("acknowledged", counts.notifies_acknowledged), ("failed", counts.notifies_failed)];
    let notified = notified.map(|(result, count)| ([("result", result)], count));
    let help = "Changes that a secondary was notified of, by whether it has acknowledged.";
    families.counter("starling_notified", help, notified)?;
    let help = "NOTIFY messages sent, repetitions included.";
    families.counter("starling_notifies_sent", help, [([], counts.notifies_sent)])?;
    families.counter("starling_transfers_out", "Requests for transfers, by what became of them.", results)?;
    families.counter(
        "starling_transfer_out_bytes",
        "Octets of messages of transfers to secondaries.",
        [([], counts.octets)],
    )
}

fn queries(server: &NodeStatus, families: &mut Families<'_>) -> fmt::Result {
    let by =
        || server.queries_by.iter().map(|by| ([("transport", &*by.transport), ("family", &*by.family)], by));
    let received = by().map(|(labels, by)| (labels, by.count));
    families.counter("starling_queries", "Messages received, well-formed or not.", received)?;
    let malformed = by().map(|(labels, by)| (labels, by.malformed));
    families.counter("starling_queries_malformed", "Messages that got FORMERR.", malformed)?;
    let answers = server.answers_by.iter().map(|by| {
        let labels = [("transport", &*by.transport), ("family", &*by.family), ("rcode", &*by.rcode)];
        (labels, by.count)
    });
    families.counter(
        "starling_answers",
        "Answers by response code, those lost in sending or withheld by the rate limit too.",
        answers,
    )?;
    let drops = server.drops.iter().map(|(cause, count)| ([("cause", cause.as_str())], *count));
    let help = "Messages lost or left without an answer: in the kernel's full receive queue, shed in an overload so that \
                 answers are fresh, in a ring of AF_XDP, in frames that are \
                no queries (frame) or damaged (checksum), too long, in sending (no room, too big, forbidden, unreachable, other), \
                because nothing may be answered (silent), or by the rate limit (limited).";
    families.counter("starling_drops", help, drops)?;
    let udp = &server.udp;
    let paths = [("sockets", udp.queries - udp.xdp_queries.min(udp.queries)), ("xdp", udp.xdp_queries)];
    let paths = paths.map(|(path, count)| ([("path", path)], count));
    families.counter("starling_udp_received", "Datagrams received, by the way they came.", paths)?;
    let help =
        "Batches of datagrams received; queries by batches is how many are answered with one system call.";
    families.counter("starling_udp_batches", help, [([], udp.batches)])?;
    let help = "Answers over UDP with the TC bit.";
    families.counter("starling_udp_truncated", help, [([], udp.truncated)])?;
    let help =
        "Answers over UDP that the rate limit has shortened, to no records and the TC bit, or withheld.";
    let limited = [("shortened", udp.limited_shortened), ("withheld", udp.limited_withheld)];
    families.counter(
        "starling_udp_limited",
        help,
        limited.map(|(action, count)| ([("action", action)], count)),
    )
}

fn connections(server: &NodeStatus, families: &mut Families<'_>) -> fmt::Result {
    let tcp = server.tcp;
    families.gauge("starling_tcp_connections", "TCP connections open now.", [([], tcp.open)])?;
    families.counter(
        "starling_tcp_connections_accepted",
        "TCP connections accepted.",
        [([], tcp.accepted)],
    )?;
    let ended = [("refused", tcp.refused), ("evicted", tcp.evicted), ("idle", tcp.idle), ("slow", tcp.slow)];
    let help = "TCP connections that the server ended: too many of all or of one client, to make room for new ones, \
                quiet for too long, too slow in writing or reading.";
    families.counter(
        "starling_tcp_connections_ended",
        help,
        ended.map(|(cause, count)| ([("cause", cause)], count)),
    )?;
    let Some(tls) = &server.tls else { return Ok(()) };
    let results = [("good", tls.handshakes), ("failed", tls.handshakes_failed)];
    let help = "TLS handshakes; the connections count as those of TCP.";
    families.counter(
        "starling_tls_handshakes",
        help,
        results.map(|(result, count)| ([("result", result)], count)),
    )?;
    let help = "Until when the node's certificate is valid, in seconds since 1970.";
    families.gauge(
        "starling_tls_certificate_not_after_seconds",
        help,
        tls.certificate_not_after_s.map(|at| ([], at)),
    )
}

/// Zones: all of them by state, and those of `zones` one by one.
pub(super) fn encode_zones(
    server: &NodeStatus,
    zones: &[ZoneStatus],
    families: &mut Families<'_>,
) -> fmt::Result {
    let counts = server.zones;
    let states =
        [("ok", counts.ok), ("stale", counts.stale), ("failed", counts.failed), ("expired", counts.expired)];
    let help = "Zones by state: served as their files and primaries have them, in an older version because of errors, not \
                served, not served any more because no primary has confirmed them for too long.";
    families.gauge(
        "starling_zones",
        help,
        states.map(|(state, count)| ([("state", state)], count as u64)),
    )?;
    let all = counts.ok + counts.stale + counts.failed + counts.expired;
    let help = "Zones that have no series of their own, because there are so many.";
    families.gauge("starling_zones_unlisted", help, [([], all.saturating_sub(zones.len()) as u64)])?;

    encode_catalogs(server, families)?;
    pools::encode(&server.pools, &server.check_times, families)?;
    let help = "Pools in the records of zones that can't be as the records say.";
    families.gauge("starling_pool_records_refused", help, [([], server.refused_pools as u64)])?;
    server.sharing.as_ref().map_or(Ok(()), |it| sharing::encode(it, families))?;
    let copies = server.copies;
    let rounds = [("current", copies.current), ("renewed", copies.renewed), ("failed", copies.failed)];
    let help = "Rounds of asking the primaries of a zone: nothing newer, a new version served, neither.";
    families.counter(
        "starling_secondary_rounds",
        help,
        rounds.map(|(result, count)| ([("result", result)], count)),
    )?;
    let kinds = [("ixfr", copies.incremental), ("axfr", copies.whole), ("ixfr-whole", copies.whole_instead)];
    let help = "Versions taken into service from primaries: as what has changed, asked for as a whole, as a whole though what \
                has changed was asked for.";
    families.counter("starling_transfers_in", help, kinds.map(|(kind, count)| ([("kind", kind)], count)))?;
    let made = server.tables;
    let made = [("compiled", made.compiled), ("amended", made.amended), ("folded", made.folded)];
    let help = "Tables made: of all records of a zone, by what has changed, of both.";
    families.counter("starling_tables_made", help, made.map(|(how, count)| ([("how", how)], count)))?;
    let bounds = LATENCY_BOUNDS_MS.iter().map(|bound| *bound as f64 / 1e3).chain([f64::INFINITY]);
    let buckets: Vec<(f64, u64)> = bounds.zip(copies.latencies.counts).collect();
    let help = "From a NOTIFY until every worker answers with the new version.";
    let seconds = copies.latencies.micros as f64 / 1e6;
    families.histogram("starling_publication_seconds", help, seconds, &buckets)?;
    let notifies = [
        ("taken", copies.notifies),
        ("refused", copies.notifies_refused),
        ("dropped", copies.notifies_dropped),
    ];
    let help = "NOTIFY requests: acted on, from somebody else or of another zone, too many at once.";
    families.counter(
        "starling_notifies",
        help,
        notifies.map(|(result, count)| ([("result", result)], count)),
    )?;

    let errors = zones.iter().map(|zone| {
        let count = zone.error.as_ref().map_or(0, |error| error.count as u64);
        ([("zone", zone.name.as_str())], count)
    });
    families.gauge("starling_zone_errors", "Errors that hold back a newer version of the zone.", errors)?;
    let stopped = zones.iter().flat_map(|zone| {
        let gate = zone.gate.iter().flat_map(|gate| &gate.stopped);
        gate.map(|(rule, count)| ([("zone", zone.name.as_str()), ("reason", rule.as_str())], *count))
    });
    let help =
        "Versions of the zone that were not let into service, by the rule of admission that stopped them.";
    families.counter("starling_zone_refused", help, stopped)?;
    let held = zones.iter().map(|zone| {
        let is_held = zone.gate.as_ref().is_some_and(|gate| gate.held.is_some());
        ([("zone", zone.name.as_str())], u64::from(is_held))
    });
    let help = "Whether a version of the zone waits for an operator: see starling ctl zone status.";
    families.gauge("starling_zone_held", help, held)?;
    let served =
        || zones.iter().filter_map(|zone| zone.served.as_ref().map(|served| (zone.name.as_str(), served)));
    let serials = served().map(|(zone, served)| ([("zone", zone)], served.serial));
    families.gauge("starling_zone_serial", "The serial that is served.", serials)?;
    let records = served().map(|(zone, served)| ([("zone", zone)], served.records));
    families.gauge("starling_zone_records", "Records served, signatures included.", records)?;
    let names = served().map(|(zone, served)| ([("zone", zone)], served.names));
    families.gauge("starling_zone_names", "Names served, empty non-terminals included.", names)?;
    let octets = served().map(|(zone, served)| ([("zone", zone)], served.table_bytes));
    families.gauge("starling_zone_table_bytes", "Octets of the zone's table.", octets)?;
    let tables = served()
        .map(|(zone, served)| [("zone", zone), ("digest", &served.digest), ("from", &served.loaded_from)]);
    let help = "The zone's table; nodes with equal digests give equal answers.";
    families.info("starling_zone_table", help, tables)
}

/// Catalogs that are followed.
fn encode_catalogs(server: &NodeStatus, families: &mut Families<'_>) -> fmt::Result {
    let of_each = |value: fn(&CatalogCounts) -> u64| {
        let catalogs = server.catalogs.iter().take(ZONES_MAX);
        catalogs.map(move |catalog| ([("catalog", catalog.name.as_str())], value(catalog)))
    };
    let help = "Zones that are here because the catalog lists them.";
    families.gauge("starling_catalog_members", help, of_each(|catalog| catalog.members as u64))?;
    let help =
        "Zones that the catalog lists no longer, and that are served until somebody approves their removal.";
    families.gauge("starling_catalog_held_removals", help, of_each(|catalog| catalog.held as u64))?;
    let help =
        "Zones that the catalog lists and that are ignored, because their names are taken or not allowed.";
    families.gauge("starling_catalog_ignored", help, of_each(|catalog| catalog.ignored as u64))?;
    let help = "Whether the catalog is one that can be followed; else its members stay as they are.";
    families.gauge("starling_catalog_good", help, of_each(|catalog| u64::from(catalog.is_good)))
}
