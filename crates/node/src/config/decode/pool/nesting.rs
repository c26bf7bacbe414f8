//! What can be seen of pools only together: which stand within which, and what comes of that.

use super::super::super::pool::{
    Answer, DEPTH_MAX, Inner, PARTS_MAX, Place, PoolConfig, Side, Stands, inside_out, numbers,
};
use super::super::super::problem::Problem;
use pool::{Deciding, Kind, MEMBERS_MAX, Member, Portion, SpecError};
use std::collections::HashSet;
use std::ops::Range;
use wire::NameBuf;

/// What has to be known of a pool where it stands within another.
#[derive(Clone, Copy)]
struct Known {
    sides: [bool; Side::ALL.len()],
    deciding: Deciding,
    /// How many parts its answers have one of, at most.
    parts: usize,
    /// How many records it has, at most, with what stands within it.
    records: usize,
}

/// Finds what pools have of those within, and refuses what can't be. `places` says where each pool stands in the file.
pub(super) fn settle(pools: &mut [PoolConfig], places: &[Range<usize>], problems: &mut Vec<Problem>) {
    let before = problems.len();
    find_idle(pools, places, problems);
    for (number, pool) in pools.iter().enumerate() {
        if let Some((title, help)) = misplaced(pools, pool, &mut vec![number]) {
            problems.push(Problem::at(places[number].clone(), title, "in this pool", help));
        }
    }
    if problems.len() > before {
        return;
    }
    let mut known: Vec<Option<Known>> = vec![None; pools.len()];
    for number in inside_out(pools) {
        let within: Vec<Known> = {
            let numbers = numbers(pools);
            let of = |name: &str| numbers.get(name).and_then(|inner| known[*inner]);
            pools[number].within().filter_map(of).collect()
        };
        take_sides(&mut pools[number], &within);
        match measured(&mut pools[number], &within) {
            Ok(measured) => known[number] = Some(measured),
            Err((title, help)) => {
                // What stands around it can't be either, and why was said.
                problems.push(Problem::at(places[number].clone(), title, "in this pool", help));
                return;
            }
        }
    }
}

/// Tells of pools that nobody would ever be answered with.
fn find_idle(pools: &[PoolConfig], places: &[Range<usize>], problems: &mut Vec<Problem>) {
    let used: HashSet<&str> = pools.iter().flat_map(PoolConfig::within).collect();
    for (pool, place) in pools.iter().zip(places) {
        if pool.names.is_empty() && !used.contains(pool.name.as_str()) {
            let title = "[[pool]] has no `names`, and no other pool has it as an endpoint";
            let help = format!(
                "add `names = [\"www.example.com\"]`: names in zones of this node, which answer with the pool; or `pool = {:?}` in \
                 a [[pool.endpoint]] of another one",
                pool.name
            );
            problems.push(Problem::at(place.clone(), title, "in this section", help));
        }
    }
}

/// Why a pool can't stand where it does, and what to do; `path` leads to it, itself at the end.
fn misplaced(pools: &[PoolConfig], pool: &PoolConfig, path: &mut Vec<usize>) -> Option<(String, String)> {
    for name in pool.within() {
        let Some(number) = pools.iter().position(|known| known.name == *name) else {
            let title = format!(
                "the pool \"{}\" has the pool \"{name}\" as an endpoint, which there is not",
                pool.name
            );
            return Some((title, "add a [[pool]] of this name, or remove the endpoint".to_owned()));
        };
        let shown = || {
            let names: Vec<&str> = path.iter().map(|number| pools[*number].name.as_str()).collect();
            format!("{} > {name}", names.join(" > "))
        };
        if path.contains(&number) {
            let title = format!("the pool \"{name}\" stands within itself: {}", shown());
            return Some((title, "take one of them out of another".to_owned()));
        }
        if path.len() >= DEPTH_MAX {
            let title = format!("pools stand one within the other {DEPTH_MAX} deep at most: {}", shown());
            return Some((title, "have one of them answer with addresses".to_owned()));
        }
        path.push(number);
        let found = misplaced(pools, &pools[number], path);
        path.pop();
        if found.is_some() {
            return found;
        }
    }
    None
}

/// Notes on which sides pools within have members; `within` is in the order of the endpoints.
fn take_sides(pool: &mut PoolConfig, within: &[Known]) {
    let inner = pool.endpoints.iter_mut().filter_map(|endpoint| match &mut endpoint.stands {
        Stands::Pool(inner) => Some(inner),
        Stands::Addresses | Stands::Target(_) => None,
    });
    inner.zip(within).for_each(|(inner, known): (&mut Inner, _)| inner.sides = known.sides);
}

/// What there is of a pool with what stands within it, or why it can't be, and what to do.
fn measured(pool: &mut PoolConfig, within: &[Known]) -> Result<Known, (String, String)> {
    let name = pool.name.clone();
    let sides = Side::ALL.map(|side| pool.reaches(side));
    if pool.has_targets() {
        require_alone(pool, sides)?;
        // An alias leads to one name (RFC 2181 §10.1).
        if matches!(pool.spec.kind, Kind::Failover { .. } | Kind::RoundRobin) {
            pool.spec.answers_max = Some(1);
        }
    }
    if pool.fallback.iter().any(|answer| (answer.side() == Side::Target) != pool.has_targets()) {
        let title = format!("the `fallback` of the pool \"{name}\" is not what the pool answers with");
        let help = "give addresses where its endpoints have addresses, and a name where they have targets";
        return Err((title, help.to_owned()));
    }
    for side in Side::ALL {
        let members: Vec<Member> = pool.members(side).map(|(.., member)| member).collect();
        if !members.is_empty() {
            let help = || "change its `kind`, or its [[pool.endpoint]]".to_owned();
            pool.spec.validate(&members).map_err(|error: SpecError| (error.to_string(), help()))?;
        }
    }
    let own = pool.spec.deciding();
    let deciding = within.iter().try_fold(own, |all, inner| all.with(inner.deciding));
    let Some(deciding) = deciding else {
        let title = format!(
            "in the pool \"{name}\", answers would go by turns and by who asks at once, with what stands within it"
        );
        let help = "pools of kind \"hash\" stand within others of that kind, or such that answer with all at once: failover and \
                    round-robin without `answers-max`";
        return Err((title, help.to_owned()));
    };
    let members = Side::ALL.map(|side| pool.members(side).count()).into_iter().max().unwrap_or(0);
    let direct = members.saturating_sub(within.len());
    let records = within.iter().map(|inner| inner.records).fold(direct, usize::saturating_add);
    if records > MEMBERS_MAX {
        let title = format!(
            "the pool \"{name}\" has {records} endpoints with those within, and {MEMBERS_MAX} are the most"
        );
        return Err((title, "take some out".to_owned()));
    }
    let of_within: Vec<usize> = within.iter().map(|inner| inner.parts).collect();
    let parts = pool.spec.parts_max(members, &of_within);
    if !within.is_empty() && parts > PARTS_MAX {
        let title = format!(
            "answers of the pool \"{name}\" might have one of {parts} parts of it, and {PARTS_MAX} are the most"
        );
        return Err((title, "have fewer endpoints within, or leave out `answers-max`".to_owned()));
    }
    Ok(Known { sides, deciding, parts: parts.max(1), records })
}

/// A pool of targets has nothing but targets, one for an answer.
fn require_alone(pool: &PoolConfig, sides: [bool; Side::ALL.len()]) -> Result<(), (String, String)> {
    let name = &pool.name;
    if sides[Side::Ipv4 as usize] || sides[Side::Ipv6 as usize] {
        let title = format!("the pool \"{name}\" has both addresses and targets");
        let help = "an alias has no other data (RFC 1034 §3.6.2): make two pools of it";
        return Err((title, help.to_owned()));
    }
    let has_sets = matches!(
        pool.spec.kind,
        Kind::Weighted { portion: Portion::Set } | Kind::LeastLoad { portion: Portion::Set, .. }
    );
    if has_sets || pool.spec.answers_max.is_some_and(|max| max > 1) {
        let title = format!("answers of the pool \"{name}\" would have several targets");
        let help = "an alias leads to one name (RFC 2181 §10.1): remove `answers`, or make `answers-max` 1";
        return Err((title, help.to_owned()));
    }
    let targets = pool.members(Side::Target).filter_map(|(_, place, _)| match place {
        Place::Itself(answer) => Some(answer),
        Place::Pool(_) => None,
    });
    let targets: Vec<Answer> = targets.chain(pool.fallback.iter().cloned()).collect();
    // Both are in lower case.
    let leads_here = |own: &&NameBuf| targets.iter().any(|it| it.rdata() == own.as_name().as_wire());
    let own = pool.names.iter().find(leads_here);
    match own {
        Some(own) => {
            let title = format!("{own} would be an alias of itself, by the pool \"{name}\"");
            Err((title, "take it out of the targets, or of the `names`".to_owned()))
        }
        None => Ok(()),
    }
}
