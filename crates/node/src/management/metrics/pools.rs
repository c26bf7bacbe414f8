//! Pools.

use super::{Families, ZONES_MAX};
use crate::status::{AddressStatus, CheckTimes, LATENCY_BOUNDS_MS, Latencies, LoadStatus, PoolStatus};
use std::fmt;

/// How many pools have a histogram, the first of the configuration. Each takes 17 lines, and so these as many as the rest of the
/// pools' metrics at the most; all pools are in the histograms by kind of check.
const HISTOGRAMS_MAX: usize = 100;

/// What pools answer, and what is known of their endpoints.
pub(super) fn encode(
    pools: &[PoolStatus],
    check_times: &[CheckTimes],
    families: &mut Families<'_>,
) -> fmt::Result {
    let of_families = || {
        let all = pools.iter().flat_map(|pool| pool.families.iter().map(move |family| (pool, family)));
        all.take(ZONES_MAX)
    };
    let labels = |pool: &'_ PoolStatus, family: &str| -> (String, &'static str) {
        let family = match family {
            "IPv4" => "ipv4",
            "IPv6" => "ipv6",
            _ => "cname",
        };
        (pool.name.clone(), family)
    };
    let labelled: Vec<_> =
        of_families().map(|(pool, family)| (labels(pool, &family.family), family)).collect();
    let help = "Whether the pool answers with endpoints that are good.";
    let good = labelled.iter().map(|((pool, family), status)| {
        ([("pool", pool.as_str()), ("family", *family)], u64::from(status.basis == "good"))
    });
    families.gauge("starling_pool_good", help, good)?;
    let help = "The tier of the pool that answers, from 1; 0 where none is good enough.";
    let tiers = labelled.iter().map(|((pool, family), status)| {
        ([("pool", pool.as_str()), ("family", *family)], u64::from(status.tier.unwrap_or(0)))
    });
    families.gauge("starling_pool_tier", help, tiers)?;
    let help = "Changes of what the pool answers.";
    let changes = labelled
        .iter()
        .map(|((pool, family), status)| ([("pool", pool.as_str()), ("family", *family)], status.changes));
    families.counter("starling_pool_changes", help, changes)?;

    let addresses = || {
        let all = pools.iter().flat_map(|pool| pool.addresses.iter().map(move |address| (pool, address)));
        all.take(ZONES_MAX)
    };
    let of_each = |value: fn(&AddressStatus) -> u64| {
        addresses().map(move |(pool, address)| (labels_of(pool, address), value(address)))
    };
    let help = "Whether the endpoint counts as good by checks: by those of the nodes whose view counts.";
    families.gauge("starling_pool_endpoint_up", help, of_each(|it| u64::from(it.health == "up")))?;
    let help = "Whether the checks of this node find the endpoint good.";
    families.gauge("starling_pool_endpoint_up_here", help, of_each(|it| u64::from(it.own == "up")))?;
    let help = "Whether the endpoint is answered with.";
    families.gauge("starling_pool_endpoint_answers", help, of_each(|it| u64::from(it.answers)))?;
    let help = "The share of clients that take the endpoint, where each takes any of its answer; by how answers are made.";
    let share =
        addresses().map(|(pool, address)| (labels_of(pool, address), f64::from(address.share_ppm) / 1e6));
    families.gauge("starling_pool_endpoint_share_ratio", help, share)?;
    loads(pools, families)?;
    let help = "Answers over UDP that had the endpoint, estimated from samples of all answers.";
    families.counter("starling_pool_endpoint_given", help, of_each(|it| it.given))?;
    let help = "Looks at the endpoint.";
    families.counter("starling_pool_checks", help, of_each(|it| it.runs))?;
    let help = "Looks at the endpoint that were bad.";
    families.counter("starling_pool_check_failures", help, of_each(|it| it.failures))?;
    let help = "Whether this node can't look at the endpoint, for a reason of its own.";
    families.gauge("starling_pool_endpoint_unseen", help, of_each(|it| u64::from(it.unseen.is_some())))?;
    let times = check_times.iter().map(|it| {
        let (sum, buckets) = histogram(&it.times);
        ([("kind", it.kind.as_str()), ("result", it.result.as_str())], sum, buckets)
    });
    let help = "How long looks at endpoints have taken, by kind of check.";
    families.histograms("starling_pool_check_seconds", help, times)?;
    let times = pools.iter().take(HISTOGRAMS_MAX).map(|pool| {
        let (sum, buckets) = histogram(&pool.times);
        ([("pool", pool.name.as_str())], sum, buckets)
    });
    let help = "How long looks at the endpoints of the pool have taken.";
    families.histograms("starling_pool_endpoint_check_seconds", help, times)
}

/// The sum in seconds, and how many are in each bucket.
fn histogram(times: &Latencies) -> (f64, Vec<(f64, u64)>) {
    let bounds = LATENCY_BOUNDS_MS.map(|bound| bound as f64 / 1e3).into_iter().chain([f64::INFINITY]);
    (times.micros as f64 / 1e6, bounds.zip(times.counts).collect())
}

/// Loads, and what weights follow from them.
fn loads(pools: &[PoolStatus], families: &mut Families<'_>) -> fmt::Result {
    let of_each = |value: fn(&AddressStatus, &LoadStatus) -> Option<f64>| {
        let all = pools.iter().flat_map(|pool| pool.addresses.iter().map(move |address| (pool, address)));
        let seen = all.take(ZONES_MAX).filter_map(|(pool, it)| Some((pool, it, it.load.as_ref()?)));
        seen.filter_map(move |(pool, it, load)| Some((labels_of(pool, it), value(it, load)?)))
    };
    let help =
        "The load of the endpoint, smoothed, in its unit; what is left in percent, where agents say it.";
    let load = |_: &AddressStatus, load: &LoadStatus| load.smoothed_milli.map(|milli| milli as f64 / 1e3);
    families.gauge("starling_pool_endpoint_load", help, of_each(load))?;
    let help = "The weight of the endpoint now, of the one that is configured.";
    let weight = |it: &AddressStatus, load: &LoadStatus| {
        let configured = it.weight.filter(|weight| *weight > 0)?;
        Some(load.weight_milli? as f64 / 1e3 / f64::from(configured))
    };
    families.gauge("starling_pool_endpoint_weight_ratio", help, of_each(weight))?;
    let help = "Whether the last look has not shown the load of the endpoint.";
    let missing = |_: &AddressStatus, load: &LoadStatus| Some(f64::from(u8::from(load.trouble.is_some())));
    families.gauge("starling_pool_endpoint_load_missing", help, of_each(missing))
}

fn labels_of<'p>(pool: &'p PoolStatus, address: &'p AddressStatus) -> [(&'static str, &'p str); 3] {
    [
        ("pool", pool.name.as_str()),
        ("endpoint", address.endpoint.as_str()),
        ("address", address.address.as_str()),
    ]
}
