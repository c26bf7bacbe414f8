//! Decodes `[[pool]]`.

mod endpoint;
mod nesting;

use super::super::load::LoadConfig;
use super::super::pool::{Answer, EndpointConfig, NAMES_MAX, POOLS_MAX, PoolConfig, TTL, TTL_MAX, WORD_MAX};
use super::super::probe::PoolCheck;
use super::super::problem::Problem;
use super::super::sources::Sources;
use super::{Placed, Section, Value, apex, load, probe, sharing, wrong_type};
use pool::{AllDown, FailBack, Kind, MEMBERS_MAX, Portion, Spec};
use std::collections::HashSet;
use std::net::IpAddr;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;
use wire::NameBuf;

/// How long a better tier has to be good where nothing is said, in milliseconds.
const FAIL_BACK_MS: u64 = 60_000;
/// How often it is tried what is left of a zone's pools without those that can't be: as often as mistakes are likely to follow from
/// one another.
const ROUNDS_MAX: usize = 16;
/// An hour, in milliseconds.
const AN_HOUR_MS: u64 = 3_600_000;

/// Decodes all pools.
pub(super) fn pools(
    value: &Value<'_>,
    folder: &Path,
    announced: &[IpAddr],
    sources: Sources,
    problems: &mut Vec<Problem>,
) -> Vec<PoolConfig> {
    let mut around = probe::Around::new(folder, announced, sources);
    let before = problems.len();
    let mut pools: Vec<PoolConfig> = Vec::new();
    let mut places: Vec<Range<usize>> = Vec::new();
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
        places.push(place);
    }
    // A pool that is missing here for another reason would be missed by others.
    if problems.len() == before {
        nesting::settle(&mut pools, &places, problems);
    }
    pools
}

/// What pools are together that are in no file: one may stand within another. Of those that can't be it says why.
pub(super) fn settled(mut pools: Vec<PoolConfig>) -> Vec<Result<PoolConfig, Vec<String>>> {
    let mut errors: Vec<Vec<String>> = vec![Vec::new(); pools.len()];
    for round in 0..ROUNDS_MAX {
        let good: Vec<usize> = (0..pools.len()).filter(|number| errors[*number].is_empty()).collect();
        let mut standing: Vec<PoolConfig> = good.iter().map(|number| pools[*number].clone()).collect();
        let places: Vec<Range<usize>> = (0..good.len()).map(|place| place..place).collect();
        let mut problems = Vec::new();
        nesting::settle(&mut standing, &places, &mut problems);
        if problems.is_empty() {
            good.iter().zip(standing).for_each(|(number, pool)| pools[*number] = pool);
            break;
        }
        for problem in &problems {
            let number = problem.place.as_ref().and_then(|(place, _)| good.get(place.start));
            number.into_iter().for_each(|number| errors[*number].push(problem.to_string()));
        }
        if round + 1 == ROUNDS_MAX {
            let too_many = "too many other pools of the zone can't be; mend those first".to_owned();
            let unsettled = errors.iter_mut().filter(|errors| errors.is_empty());
            unsettled.for_each(|errors| errors.push(too_many.clone()));
        }
    }
    let result =
        |(pool, errors): (PoolConfig, Vec<String>)| if errors.is_empty() { Ok(pool) } else { Err(errors) };
    pools.into_iter().zip(errors).map(result).collect()
}

fn pool(
    mut section: Section<'_, '_>,
    around: &mut probe::Around<'_>,
    problems: &mut Vec<Problem>,
) -> Option<(PoolConfig, Range<usize>)> {
    let name = word(&mut section, "name = \"web\"", problems);
    let names = names(&mut section, problems);
    called(section, name?, names, None, around, problems)
}

/// Decodes what a pool of this name is, which `zone` has brought along, if it isn't one of the configuration.
pub(super) fn called(
    mut section: Section<'_, '_>,
    name: String,
    names: Vec<NameBuf>,
    zone: Option<NameBuf>,
    around: &mut probe::Around<'_>,
    problems: &mut Vec<Problem>,
) -> Option<(PoolConfig, Range<usize>)> {
    let before = problems.len();
    let place = section.place();
    let ttl = section.integer("ttl-s", 0..=u64::from(TTL_MAX), problems).map_or(TTL, |ttl| ttl as u32); // in range
    let (kind, load) = kind(&mut section, ttl, problems);
    let answers_max = answers_max(&mut section, kind, problems);
    let panic_percent = section.integer("panic-percent", 0..=100, problems).unwrap_or(0) as u8; // in range
    let view = sharing::view(&mut section, problems);
    let endpoints = endpoint::endpoints(&mut section, kind, problems);
    let (all_down, fallback) = all_down(&mut section, problems);
    let mut check = check(&mut section, &endpoints, around, problems);
    if check.is_some() || problems.len() == before {
        load::attach(load, check.as_mut(), problems);
    }
    section.finish(problems);
    if problems.len() > before {
        return None;
    }
    let spec = Spec { kind, answers_max, all_down, panic_percent };
    Some((PoolConfig { name, names, zone, ttl, spec, fallback, view, check, endpoints, atlas: None }, place))
}

/// How the endpoints are checked. Where none has an address there is nothing to look at.
fn check(
    section: &mut Section<'_, '_>,
    endpoints: &[EndpointConfig],
    around: &mut probe::Around<'_>,
    problems: &mut Vec<Problem>,
) -> Option<PoolCheck> {
    let has_addresses = endpoints.iter().any(|endpoint| !endpoint.addresses.is_empty());
    if has_addresses || endpoints.is_empty() {
        return probe::check(section, endpoints, around, problems);
    }
    section.know("check");
    if let Some(place) = section.place_of("check") {
        let help = "remove it, or add `check-address` to a [[pool.endpoint]] with a `target`";
        problems.push(Problem::at(place, "no endpoint of the pool has an address to check", "this", help));
    }
    None
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

pub(super) fn names(section: &mut Section<'_, '_>, problems: &mut Vec<Problem>) -> Vec<NameBuf> {
    const EXAMPLE: &str = "names = [\"www.example.com\"]";
    // One that stands within others needs none.
    let Some(value) = section.take("names") else { return Vec::new() };
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
    LeastLoad,
    Hash,
    Nearest,
}

fn kind(
    section: &mut Section<'_, '_>,
    ttl: u32,
    problems: &mut Vec<Problem>,
) -> (Kind, Option<Placed<LoadConfig>>) {
    let words = [
        ("failover", Word::Failover),
        ("round-robin", Word::RoundRobin),
        ("weighted", Word::Weighted),
        ("least-load", Word::LeastLoad),
        ("hash", Word::Hash),
        ("nearest", Word::Nearest),
    ];
    let word = section.choice("kind", "kind of pool", &words, problems).unwrap_or(Word::Failover);
    if word != Word::Failover {
        only_for(section, &["enough", "fail-back-ms", "fail-back"], "failover pools", problems);
    }
    if !matches!(word, Word::Weighted | Word::LeastLoad) {
        only_for(section, &["answers"], "weighted and least-load pools", problems);
    }
    if word != Word::LeastLoad {
        load::refuse(section, problems);
    }
    let kind = match word {
        Word::Failover => failover(section, problems),
        Word::RoundRobin => Kind::RoundRobin,
        Word::Weighted => Kind::Weighted { portion: portion(section, problems) },
        Word::LeastLoad => {
            let portion = portion(section, problems);
            return load::kind(section, portion, ttl, problems);
        }
        Word::Hash => Kind::Hash,
        Word::Nearest => Kind::Nearest,
    };
    (kind, None)
}

/// How many endpoints an answer has where they have weights.
fn portion(section: &mut Section<'_, '_>, problems: &mut Vec<Problem>) -> Portion {
    let words = [("one", Portion::One), ("set", Portion::Set)];
    section.choice("answers", "portion of the endpoints", &words, problems).unwrap_or(Portion::One)
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
    if matches!(kind, Kind::Weighted { .. } | Kind::LeastLoad { .. } | Kind::Hash | Kind::Nearest) {
        only_for(section, &["answers-max"], "failover and round-robin pools", problems);
        return None;
    }
    section.integer("answers-max", 1..=MEMBERS_MAX as u64, problems).map(|max| max as usize) // in range
}

fn all_down(section: &mut Section<'_, '_>, problems: &mut Vec<Problem>) -> (AllDown, Vec<Answer>) {
    let words = [
        ("all", AllDown::All),
        ("last-good", AllDown::LastGood),
        ("fallback", AllDown::Fallback),
        ("zone", AllDown::Zone),
        ("empty", AllDown::Empty),
        ("servfail", AllDown::Servfail),
    ];
    let chosen = section.choice("all-down", "answer when all are down", &words, problems);
    let chosen = chosen.unwrap_or(AllDown::All);
    let place = section.place_of("fallback").unwrap_or(section.place());
    let fallback = section.take("fallback").map(|value| fallback(value, problems));
    match (chosen, fallback) {
        (AllDown::Fallback, Some(answers)) if !answers.is_empty() => (chosen, answers),
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

/// Addresses, or a name to be an alias of.
fn fallback(value: &Value<'_>, problems: &mut Vec<Problem>) -> Vec<Answer> {
    if value.get_ref().as_str().is_some_and(|text| text.parse::<IpAddr>().is_err()) {
        return endpoint::target(value, "fallback", problems).map(Answer::Target).into_iter().collect();
    }
    addresses(value, "fallback", problems).into_iter().map(Answer::Address).collect()
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
