//! What of pools could never be answered with, whatever checks find: mistakes of whoever has written them.

use super::memory::Memory;
use crate::config::{PoolConfig, Side, Stands, inside_out, numbers};
use pool::{Admin, AllDown, Kind, Member};

/// What could never be answered with, with what to do.
pub(super) fn unreachable(pools: &[PoolConfig]) -> Vec<String> {
    let steady = steady(pools);
    let mut found = Vec::new();
    for pool in pools {
        let is_steady = |name: &str| endpoint_is_steady(pools, &steady, pool, name);
        found.extend(useless_fallback(pool, &is_steady));
        for side in Side::ALL {
            let members: Vec<(&str, Member)> =
                pool.members(side).map(|(endpoint, _, member)| (endpoint.name.as_str(), member)).collect();
            if let Kind::Failover { enough, .. } = pool.spec.kind {
                found.extend(tiers(pool, side, enough, &members, &is_steady));
            }
            found.extend(weightless(pool, &members, &is_steady));
        }
    }
    found
}

/// What operators have said of endpoints, which holds over restarts and is in no configuration.
pub(super) fn set_by_hand(pools: &[PoolConfig], memory: &Memory) -> Vec<String> {
    let endpoints = pools.iter().flat_map(|pool| pool.endpoints.iter().map(move |it| (&pool.name, &it.name)));
    let set = endpoints.map(|(pool, endpoint)| (pool, endpoint, memory.admin(pool, endpoint)));
    set.filter(|(.., admin)| *admin != Admin::Auto)
        .map(|(pool, endpoint, admin)| {
            format!(
                "the endpoint {endpoint} of the pool {pool} is {} by hand, whatever checks find; `starling ctl pool set {pool} {endpoint} \
                 auto` ends that",
                admin.word()
            )
        })
        .collect()
}

/// Of each pool, whether it always has something good: an endpoint that nothing is looked at for.
fn steady(pools: &[PoolConfig]) -> Vec<bool> {
    let mut steady = vec![false; pools.len()];
    for number in inside_out(pools) {
        let pool = &pools[number];
        let is_steady = |name: &str| endpoint_is_steady(pools, &steady, pool, name);
        steady[number] = pool.endpoints.iter().any(|endpoint| is_steady(&endpoint.name));
    }
    steady
}

/// Whether an endpoint of a pool always counts as good.
fn endpoint_is_steady(pools: &[PoolConfig], steady: &[bool], pool: &PoolConfig, name: &str) -> bool {
    let endpoint = pool.endpoints.iter().find(|endpoint| endpoint.name == *name);
    endpoint.is_some_and(|endpoint| match &endpoint.stands {
        Stands::Addresses => false,
        Stands::Target(_) => endpoint.addresses.is_empty(),
        Stands::Pool(inner) => numbers(pools).get(inner.name.as_str()).is_some_and(|it| steady[*it]),
    })
}

fn useless_fallback(pool: &PoolConfig, is_steady: &dyn Fn(&str) -> bool) -> Vec<String> {
    if pool.spec.all_down != AllDown::Fallback {
        return Vec::new();
    }
    let name = &pool.name;
    if let Some(endpoint) = pool.endpoints.iter().find(|endpoint| is_steady(&endpoint.name)) {
        return vec![format!(
            "the `fallback` of the pool {name} is never answered with: nothing is looked at for the endpoint {}, which always \
             counts as good; give it a `check-address`, or remove the fallback",
            endpoint.name
        )];
    }
    let missing = pool.fallback.iter().filter(|answer| !pool.reaches(answer.side()));
    missing
        .map(|answer| {
            format!(
                "the `fallback` {answer} of the pool {name} is never answered with: no endpoint has an {} address, so that there \
                 is no such state; add one, or remove it",
                answer.side().word()
            )
        })
        .collect()
}

/// The tiers that never answer: behind one that is always good enough, or where so few are good by then that checks are not
/// believed.
fn tiers(
    pool: &PoolConfig,
    side: Side,
    enough: usize,
    members: &[(&str, Member)],
    is_steady: &dyn Fn(&str) -> bool,
) -> Vec<String> {
    let mut tiers: Vec<u32> = members.iter().map(|(_, member)| member.tier).collect();
    tiers.sort_unstable();
    tiers.dedup();
    let (name, word) = (&pool.name, side.word());
    let mut found = Vec::new();
    // How many are good at most when a tier answers.
    let mut good_max = members.len();
    for (at, tier) in tiers.iter().enumerate() {
        if at > 0 && good_max * 100 < usize::from(pool.spec.panic_percent) * members.len() {
            found.push(format!(
                "tier {tier} of the pool {name} never answers ({word}): when those before it are down, less than its `panic-percent` \
                 of {} is good, and all are answered with; make that lower",
                pool.spec.panic_percent
            ));
        }
        let of_tier = || members.iter().filter(|(_, member)| member.tier == *tier);
        let needed = enough.min(of_tier().count());
        let steady = of_tier().filter(|(endpoint, _)| is_steady(endpoint)).count();
        if steady >= needed && at + 1 < tiers.len() {
            found.push(format!(
                "tiers after {tier} of the pool {name} never answer ({word}): nothing is looked at for {steady} of its endpoints, which \
                 always count as good; give them a `check-address`, or take the other tiers out"
            ));
            break;
        }
        good_max -= of_tier().count() + 1 - needed;
    }
    found
}

/// Endpoints without weight beside one that is always good.
fn weightless(
    pool: &PoolConfig,
    members: &[(&str, Member)],
    is_steady: &dyn Fn(&str) -> bool,
) -> Vec<String> {
    let is_weighted = matches!(pool.spec.kind, Kind::Weighted { .. } | Kind::LeastLoad { .. });
    let has_steady = || members.iter().any(|(endpoint, member)| member.weight > 0 && is_steady(endpoint));
    if !is_weighted || !has_steady() {
        return Vec::new();
    }
    let without = members.iter().filter(|(_, member)| member.weight == 0);
    without
        .map(|(endpoint, _)| {
            format!(
                "the endpoint {endpoint} of the pool {} is never answered with: it has no weight, and another always counts as good, \
                 as nothing is looked at for it; give it a weight, or the other one a `check-address`",
                pool.name
            )
        })
        .collect()
}
