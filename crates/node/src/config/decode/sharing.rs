//! Decodes `[pool-sharing]`, and finds what can't be without it.

use super::super::problem::Problem;
use super::super::sharing::{INTERVAL_MS, SIGHTS_MAX, SILENT_AFTER, SharingConfig, TIMEOUT_MS};
use super::super::{Config, PeerConfig, PoolCheck};
use super::{Section, Value, transfer};
use pool::View;
use std::collections::HashSet;
use std::time::Duration;

/// What is to be done where results can't be shared.
const HELP: &str = "add [pool-sharing] with `key = \"NAME\"`, a [[key]] that all nodes have, and a [[peer]] for each other node";

/// Decodes `[pool-sharing]`.
pub(super) fn sharing(
    mut section: Section<'_, '_>,
    keys: &transfer::Keys,
    peers: &[PeerConfig],
    problems: &mut Vec<Problem>,
) -> Option<SharingConfig> {
    let before = problems.len();
    let key = section.required("key", "key = \"nodes.example\"", problems).and_then(|(name, place)| {
        let key = transfer::key_named(name, keys);
        key.map_err(|help| problems.push(Problem::at(place, "there is no such key", "this name", help))).ok()
    });
    let mut ms =
        |key, default, range| Duration::from_millis(section.integer(key, range, problems).unwrap_or(default));
    let interval = ms("interval-ms", INTERVAL_MS, 100..=60_000);
    let timeout = ms("timeout-ms", TIMEOUT_MS.min(interval.as_millis() as u64), 10..=60_000); // a minute at most
    let silent_after = section.integer("silent-after", 2..=100, problems);
    let silent_after = silent_after.map_or(SILENT_AFTER, |count| count as u32); // in range
    if timeout > interval {
        let place = section.place_of("timeout-ms").unwrap_or(section.place());
        let title = "a peer could be asked again before its time is over";
        let help = "`timeout-ms` is at most `interval-ms`";
        problems.push(Problem::at(place, title, "this time", help));
    }
    section.finish(problems);
    if problems.len() > before {
        return None;
    }
    Some(SharingConfig { key: key?, interval, timeout, silent_after, peers: peers.to_vec() })
}

/// Decodes `view` of a pool.
pub(super) fn view(section: &mut Section<'_, '_>, problems: &mut Vec<Problem>) -> View {
    let words = View::ALL.map(|view| (view.word(), view));
    section.choice("view", "view of endpoints", &words, problems).unwrap_or_default()
}

/// Finds what is asked for and can't be: a view of all without peers or a key, sharing without anybody to share with.
pub(super) fn require(root: &mut Section<'_, '_>, config: &Config, problems: &mut Vec<Problem>) {
    let Some(place) = root.place_of("pool-sharing") else {
        let pools = root.take("pool").and_then(|pools| pools.get_ref().as_array());
        let views = pools.into_iter().flatten().filter_map(|pool: &Value<'_>| {
            let view = pool.get_ref().as_table()?.get("view")?;
            let is_of_others = view.get_ref().as_str().is_some_and(|view| view != View::Local.word());
            is_of_others.then(|| view.span())
        });
        problems.extend(views.map(|view| {
            let title = "the pool goes by what other nodes see, and nodes don't share it";
            Problem::at(view, title, "this view", HELP)
        }));
        return;
    };
    let missing = [
        (config.peers.is_empty() && !root.has("peer"), "there is no [[peer]] to share with", HELP),
        (
            config.node.management.is_empty() && !root.has("management"),
            "peers can't ask this node: it has no management address",
            "add [management] with `listen = [\"192.0.2.10:8053\"]`, which the other nodes have as `address` of a [[peer]]",
        ),
    ];
    for (_, title, help) in missing.into_iter().filter(|(is_missing, ..)| *is_missing) {
        problems.push(Problem::at(place.clone(), title, "in this section", help));
    }
    let sights = config.pools.iter().flat_map(|pool| {
        let check = pool.check.as_ref().map(PoolCheck::identity);
        pool.checked().map(move |(_, address, _)| (address, check))
    });
    let sights: HashSet<_> = sights.collect();
    if sights.len() > SIGHTS_MAX {
        let count = sights.len();
        let title =
            format!("the pools check {count} addresses, and nodes share results of {SIGHTS_MAX} at most");
        let help = "take [pool-sharing] out, or some endpoints";
        problems.push(Problem::at(place, title, "in this section", help));
    }
}
