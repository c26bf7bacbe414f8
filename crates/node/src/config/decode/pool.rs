//! Decodes `[[pool]]`.

use super::super::pool::{EndpointConfig, NAMES_MAX, POOLS_MAX, PoolConfig, TTL, TTL_MAX, WORD_MAX};
use super::super::problem::Problem;
use super::{Section, Value, apex, places, probe, sharing, wrong_type};
use pool::{AllDown, FailBack, Kind, MEMBERS_MAX, Portion, Spec, TIERS_MAX};
use std::collections::HashSet;
use std::net::IpAddr;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;
use wire::NameBuf;

/// How long a better tier has to be good where nothing is said, in milliseconds.
const FAIL_BACK_MS: u64 = 60_000;
/// An hour, in milliseconds.
const AN_HOUR_MS: u64 = 3_600_000;

/// Decodes all pools.
pub(super) fn pools(
    value: &Value<'_>,
    folder: &Path,
    announced: &[IpAddr],
    problems: &mut Vec<Problem>,
) -> Vec<PoolConfig> {
    let mut around = probe::Around::new(folder, announced);
    let mut pools: Vec<PoolConfig> = Vec::new();
    let mut names: HashSet<Vec<u8>> = HashSet::new();
    for item in super::catalog::items(value, "pool", POOLS_MAX, problems) {
        let Some(section) = Section::of(item, "[[pool]]", problems) else { continue };
        let Some((pool, place)) = pool(section, &mut around, problems) else { continue };
        if pools.iter().any(|known| known.name == pool.name) {
            let title = format!("the pool \"{}\" is there twice", pool.name);
            problems.push(Problem::at(place, title, "again here", "give one of the two another name"));
            continue;
        }
        for name in &pool.names {
            if !names.insert(name.as_name().as_wire().to_vec()) {
                let title = format!("{name} would answer with two pools");
                let help = "take it out of one of them";
                problems.push(Problem::at(place.clone(), title, "this pool has it again", help));
            }
        }
        pools.push(pool);
    }
    pools
}

fn pool(
    mut section: Section<'_, '_>,
    around: &mut probe::Around<'_>,
    problems: &mut Vec<Problem>,
) -> Option<(PoolConfig, Range<usize>)> {
    let before = problems.len();
    let place = section.place();
    let name = word(&mut section, "name = \"web\"", problems);
    let names = names(&mut section, problems);
    let ttl = section.integer("ttl-s", 0..=u64::from(TTL_MAX), problems).map_or(TTL, |ttl| ttl as u32); // in range
    let kind = kind(&mut section, problems);
    let answers_max = answers_max(&mut section, kind, problems);
    let (all_down, fallback) = all_down(&mut section, problems);
    let panic_percent = section.integer("panic-percent", 0..=100, problems).unwrap_or(0) as u8; // in range
    let view = sharing::view(&mut section, problems);
    let endpoints = endpoints(&mut section, kind, problems);
    let check = probe::check(&mut section, &endpoints, around, problems);
    section.finish(problems);
    if problems.len() > before {
        return None;
    }
    let spec = Spec { kind, answers_max, all_down, panic_percent };
    let (check, atlas) = (check?, None);
    let pool = PoolConfig { name: name?, names, ttl, spec, fallback, view, check, endpoints, atlas };
    for is_ipv4 in [true, false] {
        let members: Vec<_> = pool.members(is_ipv4).map(|(.., member)| member).collect();
        if !members.is_empty()
            && let Err(error) = spec.validate(&members)
        {
            let help = "change its `kind`, or its [[pool.endpoint]]";
            problems.push(Problem::at(place, format!("{error}"), "in this pool", help));
            return None;
        }
    }
    Some((pool, place))
}

/// The name of a pool or an endpoint.
fn word(section: &mut Section<'_, '_>, example: &str, problems: &mut Vec<Problem>) -> Option<String> {
    let (text, place) = section.required("name", example, problems)?;
    let is_fine = |c: char| !c.is_whitespace() && !c.is_control();
    if text.is_empty() || text.len() > WORD_MAX || !text.chars().all(is_fine) {
        let help = format!("give a word of 1 to {WORD_MAX} octets, without spaces");
        problems.push(Problem::at(place, format!("{text:?} is no name for this"), "this name", help));
        return None;
    }
    Some(text.to_owned())
}

/// The items of a list of texts.
pub(super) fn texts<'d>(
    value: &'d Value<'_>,
    key: &str,
    most: usize,
    example: &str,
    problems: &mut Vec<Problem>,
) -> Vec<(&'d str, Range<usize>)> {
    let help = format!("write `{example}`");
    let items = match (value.get_ref().as_array(), value.get_ref().as_str()) {
        (Some(items), _) if items.len() <= most => items.iter().collect(),
        (None, Some(_)) => vec![value],
        _ => {
            problems.push(wrong_type(value, key, &format!("a list of at most {most} texts"), &help));
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    for item in items {
        match item.get_ref().as_str() {
            Some(text) => found.push((text, item.span())),
            None => problems.push(wrong_type(item, key, "text", &help)),
        }
    }
    found
}

fn names(section: &mut Section<'_, '_>, problems: &mut Vec<Problem>) -> Vec<NameBuf> {
    const EXAMPLE: &str = "names = [\"www.example.com\"]";
    let Some(value) = section.take("names") else {
        let title = "[[pool]] has no `names`";
        let help = format!("add `{EXAMPLE}`: names in zones of this node, which answer with the pool");
        problems.push(Problem::at(section.place(), title, "in this section", help));
        return Vec::new();
    };
    let mut names = Vec::new();
    for (text, place) in texts(value, "names", NAMES_MAX, EXAMPLE, problems) {
        match apex(text) {
            Ok(name) => names.push(name),
            Err(error) => {
                let title = format!("`{text}` is no name: {error}");
                problems.push(Problem::at(place, title, "this name", format!("write `{EXAMPLE}`")));
            }
        }
    }
    names
}

/// What a pool is said to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Failover,
    RoundRobin,
    Weighted,
    Hash,
    Nearest,
}

fn kind(section: &mut Section<'_, '_>, problems: &mut Vec<Problem>) -> Kind {
    let words = [
        ("failover", Word::Failover),
        ("round-robin", Word::RoundRobin),
        ("weighted", Word::Weighted),
        ("hash", Word::Hash),
        ("nearest", Word::Nearest),
    ];
    let word = section.choice("kind", "kind of pool", &words, problems).unwrap_or(Word::Failover);
    if word != Word::Failover {
        only_for(section, &["enough", "fail-back-ms", "fail-back"], "failover pools", problems);
    }
    if word != Word::Weighted {
        only_for(section, &["answers"], "weighted pools", problems);
    }
    match word {
        Word::Failover => failover(section, problems),
        Word::RoundRobin => Kind::RoundRobin,
        Word::Weighted => {
            let words = [("one", Portion::One), ("set", Portion::Set)];
            let portion = section.choice("answers", "portion of the endpoints", &words, problems);
            Kind::Weighted { portion: portion.unwrap_or(Portion::One) }
        }
        Word::Hash => Kind::Hash,
        Word::Nearest => Kind::Nearest,
    }
}

/// Refuses keys that pools or checks of another kind have.
pub(super) fn only_for(
    section: &mut Section<'_, '_>,
    keys: &[&'static str],
    whose: &str,
    problems: &mut Vec<Problem>,
) {
    for key in keys {
        if let Some(place) = section.place_of(key) {
            let title = format!("`{key}` is for {whose}");
            problems.push(Problem::at(place, title, "this is none", "remove it, or change `kind`"));
        }
        section.know(key);
    }
}

fn failover(section: &mut Section<'_, '_>, problems: &mut Vec<Problem>) -> Kind {
    let enough = section.integer("enough", 1..=MEMBERS_MAX as u64, problems).unwrap_or(1) as usize; // in range
    let hold = section.integer("fail-back-ms", 0..=24 * AN_HOUR_MS, problems);
    let by_hand = section.choice("fail-back", "way to fail back", &[("by-hand", ())], problems).is_some();
    if by_hand && let Some(place) = section.place_of("fail-back-ms") {
        let title = "the pool fails back by hand, and has a `fail-back-ms`";
        problems.push(Problem::at(place, title, "one of them is too much", "remove one of the two"));
    }
    let fail_back = match by_hand {
        true => FailBack::ByHand,
        false => FailBack::After(Duration::from_millis(hold.unwrap_or(FAIL_BACK_MS))),
    };
    Kind::Failover { enough, fail_back }
}

/// How many endpoints an answer has at most.
fn answers_max(section: &mut Section<'_, '_>, kind: Kind, problems: &mut Vec<Problem>) -> Option<usize> {
    if matches!(kind, Kind::Weighted { .. } | Kind::Hash | Kind::Nearest) {
        only_for(section, &["answers-max"], "failover and round-robin pools", problems);
        return None;
    }
    section.integer("answers-max", 1..=MEMBERS_MAX as u64, problems).map(|max| max as usize) // in range
}

fn all_down(section: &mut Section<'_, '_>, problems: &mut Vec<Problem>) -> (AllDown, Vec<IpAddr>) {
    let words = [
        ("all", AllDown::All),
        ("last-good", AllDown::LastGood),
        ("fallback", AllDown::Fallback),
        ("zone", AllDown::Zone),
    ];
    let chosen = section.choice("all-down", "answer when all are down", &words, problems);
    let chosen = chosen.unwrap_or(AllDown::All);
    let place = section.place_of("fallback").unwrap_or(section.place());
    let fallback = section.take("fallback").map(|value| addresses(value, "fallback", problems));
    match (chosen, fallback) {
        (AllDown::Fallback, Some(addresses)) if !addresses.is_empty() => (chosen, addresses),
        (AllDown::Fallback, _) => {
            let help = "add `fallback = [\"192.0.2.9\"]`: what is answered when no endpoint is good";
            problems.push(Problem::at(place, "the pool has no `fallback`", "here", help));
            (chosen, Vec::new())
        }
        (_, Some(_)) => {
            let help = "write `all-down = \"fallback\"`, or remove it";
            problems.push(Problem::at(place, "nothing would ever use `fallback`", "this", help));
            (chosen, Vec::new())
        }
        (_, None) => (chosen, Vec::new()),
    }
}

fn addresses(value: &Value<'_>, key: &str, problems: &mut Vec<Problem>) -> Vec<IpAddr> {
    let example = format!("{key} = [\"192.0.2.1\", \"2001:db8::1\"]");
    let mut found: Vec<IpAddr> = Vec::new();
    for (text, place) in texts(value, key, MEMBERS_MAX, &example, problems) {
        match text.parse::<IpAddr>() {
            Ok(address) if found.contains(&address) => {
                let title = format!("{address} is there twice");
                problems.push(Problem::at(place, title, "again here", "remove one of the two"));
            }
            Ok(address) if !address.is_unspecified() && !address.is_multicast() => found.push(address),
            _ => {
                let title = format!("`{text}` is no address of a host");
                problems.push(Problem::at(place, title, "this address", format!("write `{example}`")));
            }
        }
    }
    found
}

fn endpoints(section: &mut Section<'_, '_>, kind: Kind, problems: &mut Vec<Problem>) -> Vec<EndpointConfig> {
    let Some(value) = section.take("endpoint") else {
        let help = "add [[pool.endpoint]] with `name` and `address`";
        let title = "[[pool]] has no endpoint";
        problems.push(Problem::at(section.place(), title, "in this section", help));
        return Vec::new();
    };
    let mut endpoints: Vec<EndpointConfig> = Vec::new();
    for item in super::catalog::items(value, "pool.endpoint", MEMBERS_MAX, problems) {
        let Some(section) = Section::of(item, "[[pool.endpoint]]", problems) else { continue };
        let place = section.place();
        let Some(endpoint) = endpoint(section, kind, problems) else { continue };
        let has_one = |known: &EndpointConfig| {
            known.name == endpoint.name || known.addresses.iter().any(|it| endpoint.addresses.contains(it))
        };
        if endpoints.iter().any(has_one) {
            let title = format!("the endpoint \"{}\", or its address, is in the pool twice", endpoint.name);
            problems.push(Problem::at(place, title, "again here", "remove one of the two"));
        } else {
            endpoints.push(endpoint);
        }
    }
    endpoints
}

fn endpoint(mut section: Section<'_, '_>, kind: Kind, problems: &mut Vec<Problem>) -> Option<EndpointConfig> {
    let name = word(&mut section, "name = \"fra1\"", problems);
    let addresses = match section.take("address") {
        Some(value) => addresses(value, "address", problems),
        None => {
            let title = "[[pool.endpoint]] has no `address`";
            let help = "add `address = \"192.0.2.1\"`, or one of each family as a list";
            problems.push(Problem::at(section.place(), title, "in this section", help));
            Vec::new()
        }
    };
    let tier = section.integer("tier", 1..=u64::from(TIERS_MAX), problems).unwrap_or(1) as u32; // in range
    if !matches!(kind, Kind::Weighted { .. }) {
        only_for(&mut section, &["weight"], "weighted pools", problems);
    }
    let weight = section.integer("weight", 0..=u64::from(u16::MAX), problems).unwrap_or(1) as u16; // in range
    let places = places::of_endpoint(&mut section, kind, problems);
    section.finish(problems);
    Some(EndpointConfig { name: name?, addresses, tier, weight, places })
        .filter(|endpoint| !endpoint.addresses.is_empty())
}
