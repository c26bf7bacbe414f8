//! What of an answer is a pool's: which of its endpoints it has, and why these.

use super::message::Message;
use super::pool::percent;
use crate::status::{AddressStatus, FamilyStatus, OF_RECORDS, PlacesStatus, PoolStatus, REFUSED};
use serde::Serialize;
use std::io::{self, Write};
use std::net::IpAddr;

/// What is known of endpoints.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Knowledge {
    /// What the last run of the node has left in its state folder.
    LastRun,
    /// What the running node knows.
    Now,
}

/// The part of an answer that is a pool's.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct PoolPart {
    /// The name that answers with the pool.
    name: String,
    pool: String,
    kind: String,
    portion: String,
    ttl: u32,
    /// For the address families that were asked for.
    families: Vec<FamilyPart>,
    /// Why the name can't answer with it, and answers as the zone says.
    problem: Option<String>,
    /// Whose records say it, where it is not of the configuration.
    zone: Option<String>,
    /// Why these make no pool. Where there was one before, that stays.
    refused: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct FamilyPart {
    family: String,
    /// What the answer stands on.
    basis: String,
    /// How it came to have what it has of that.
    choice: String,
    endpoints: Vec<EndpointPart>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct EndpointPart {
    endpoint: String,
    address: String,
    tier: u32,
    weight: Option<u16>,
    /// Of a million clients, so many get this one.
    share_ppm: u32,
    in_answer: bool,
    why: String,
}

/// The parts of an answer that are pools', for a client.
pub(super) fn parts(
    message: &Message,
    pools: &[PoolStatus],
    client: Option<IpAddr>,
    knowledge: Knowledge,
) -> Vec<PoolPart> {
    let Some(question) = &message.question else { return Vec::new() };
    let families: &[&str] = match question.rtype.as_str() {
        "A" => &["IPv4"],
        "AAAA" => &["IPv6"],
        "ANY" => &["IPv4", "IPv6"],
        _ => return Vec::new(),
    };
    let is_of_answer = |name: &str| {
        let is_it = |other: &String| other.eq_ignore_ascii_case(name);
        is_it(&question.name) || message.answer.iter().any(|record| is_it(&record.name))
    };
    let mut parts = Vec::new();
    for pool in pools {
        // One that can't be has no names, and is for the name that it is called by.
        let name = format!("{}.", pool.name);
        if pool.is_refused() && is_of_answer(&name) {
            parts.push(refused(pool, name));
        }
        for name in pool.names.iter().filter(|name| is_of_answer(name.as_str())) {
            let of_name = message.answer.iter().filter(|record| record.name.eq_ignore_ascii_case(name));
            let given: Vec<&str> = of_name.map(|record| record.data.as_str()).collect();
            let prefix = format!("{name}: ");
            parts.push(PoolPart {
                name: name.clone(),
                pool: pool.name.clone(),
                kind: pool.kind.clone(),
                portion: pool.portion.clone(),
                ttl: pool.ttl,
                families: pool
                    .families
                    .iter()
                    .filter(|family| families.contains(&family.family.as_str()))
                    .map(|family| of_family(pool, family, &given, client, knowledge))
                    .collect(),
                problem: said(pool, &prefix).next(),
                zone: pool.zone.clone(),
                refused: said(pool, OF_RECORDS).collect(),
            });
        }
    }
    parts
}

/// What is wrong with a pool that is said after this.
fn said(pool: &PoolStatus, prefix: &str) -> impl Iterator<Item = String> {
    pool.problems.iter().filter_map(move |it| it.strip_prefix(prefix)).map(str::to_owned)
}

/// The part of a pool that can't be.
fn refused(pool: &PoolStatus, name: String) -> PoolPart {
    PoolPart {
        name,
        pool: pool.name.clone(),
        kind: pool.kind.clone(),
        portion: String::new(),
        ttl: 0,
        families: Vec::new(),
        problem: None,
        zone: pool.zone.clone(),
        refused: pool.problems.clone(),
    }
}

fn of_family(
    pool: &PoolStatus,
    family: &FamilyStatus,
    given: &[&str],
    client: Option<IpAddr>,
    knowledge: Knowledge,
) -> FamilyPart {
    let is_ipv4 = family.family == "IPv4";
    let is_of_it = |address: &str| address.parse::<IpAddr>().is_ok_and(|it| it.is_ipv4() == is_ipv4);
    let endpoints = pool.addresses.iter().filter(|it| is_of_it(&it.address)).map(|it| {
        let in_answer = given.contains(&it.address.as_str());
        EndpointPart {
            endpoint: it.endpoint.clone(),
            address: it.address.clone(),
            tier: it.tier,
            weight: it.weight,
            share_ppm: it.share_ppm,
            in_answer,
            why: format!("{}; {}", state(it, knowledge), place(it, family, in_answer)),
        }
    });
    FamilyPart {
        family: family.family.clone(),
        basis: basis(pool, family),
        choice: choice(pool, family, given, client),
        endpoints: endpoints.collect(),
    }
}

/// What the answer stands on.
fn basis(pool: &PoolStatus, family: &FamilyStatus) -> String {
    if let Some(instead) = family.basis.strip_prefix("all-down: ") {
        return format!("nothing is good, and answered is instead: {instead}");
    }
    match family.tier {
        None => "so few endpoints are good that checks are not believed: all answer".to_owned(),
        Some(_) if pool.kind != "failover" => "the good endpoints answer".to_owned(),
        Some(tier) if pool.addresses.iter().any(|it| it.tier < tier) => format!(
            "the good endpoints of tier {tier} answer, as no better one has enough of them, or has had for long enough"
        ),
        Some(tier) => format!("the good endpoints of tier {tier} answer"),
    }
}

/// How the answer came to have what it has.
fn choice(pool: &PoolStatus, family: &FamilyStatus, given: &[&str], client: Option<IpAddr>) -> String {
    let count = family.answers.iter().filter(|answer| given.contains(&answer.as_str())).count();
    if family.answers.is_empty() {
        return "the answer is what the zone has, if that is anything".to_owned();
    }
    if count == family.answers.len() {
        return "every answer has all that is answered with".to_owned();
    }
    match (pool.kind.as_str(), client) {
        ("hash", Some(client)) => {
            let (network, bits) = nameserver::network_of(client);
            format!("the clients of {network}/{bits} have this one for as long as it is answered with")
        }
        ("hash", None) => {
            "each network of clients has one of its own: `--client ADDRESS` says which is meant".to_owned()
        }
        ("nearest", Some(_)) => {
            let is_given =
                |it: &&PlacesStatus| it.answers.iter().all(|answer| given.contains(&answer.as_str()));
            match family.places.iter().filter(|it| it.answers.len() == count).find(is_given) {
                Some(places) => format!("it is for clients in {}", places.places.join(", ")),
                None => "it is for where the client is".to_owned(),
            }
        }
        ("nearest", None) => {
            "clients get what is nearest to them: `--client ADDRESS` says which is meant".to_owned()
        }
        _ => "answers take turns: this is one of them, and the next has another part".to_owned(),
    }
}

/// What is known of an endpoint and said of it.
fn state(address: &AddressStatus, knowledge: Knowledge) -> String {
    if address.admin != "auto" {
        return format!("set to {} by hand", address.admin);
    }
    let who = match knowledge {
        Knowledge::LastRun => "the last run found it",
        Knowledge::Now => "checks find it",
    };
    let why = address.failure.as_ref().or(address.unseen.as_ref());
    let why = why.map_or_else(String::new, |why| format!(" ({why})"));
    match address.health.as_str() {
        "up" => format!("{who} good"),
        "down" => format!("{who} bad{why}"),
        _ => format!("nothing is known of it{why}"),
    }
}

/// Whether answers have an endpoint, and if not, why it is not for what is known of it alone.
fn place(address: &AddressStatus, family: &FamilyStatus, in_answer: bool) -> String {
    if in_answer {
        return "in this answer".to_owned();
    }
    if address.answers {
        return "in other answers".to_owned();
    }
    let is_good = address.admin == "up" || (address.admin == "auto" && address.health == "up");
    let reason = match family.tier {
        Some(tier) if is_good && tier != address.tier => format!(": tier {tier} answers"),
        Some(_) if is_good && address.weight == Some(0) => ": its weight is 0".to_owned(),
        Some(_) if address.admin == "drain" => ": others are left".to_owned(),
        _ => String::new(),
    };
    format!("in no answer{reason}")
}

/// Prints the parts.
pub(super) fn print(out: &mut impl Write, parts: &[PoolPart], knowledge: Knowledge) -> io::Result<()> {
    for part in parts {
        let when = match knowledge {
            Knowledge::LastRun => "by what the last run of the node knew",
            Knowledge::Now => "as it is now",
        };
        let PoolPart { name, pool, kind, portion, ttl, zone, refused, .. } = part;
        let of_zone = zone.as_ref().map_or_else(String::new, |zone| format!(", by records of {zone}"));
        if kind == REFUSED {
            writeln!(out, "\n;; POOL: {pool}, for {name} ({kind}){of_zone}")?;
            refused.iter().try_for_each(|problem| writeln!(out, ";  its records make no pool: {problem}"))?;
            continue;
        }
        writeln!(out, "\n;; POOL: {pool}, for {name} ({kind}, {portion}, TTL {ttl} s){of_zone}, {when}")?;
        for problem in refused {
            writeln!(out, ";  its records make no pool now, and it stays as it was: {problem}")?;
        }
        if let Some(problem) = &part.problem {
            writeln!(out, ";  the name can't answer with it, and answers as the zone says: {problem}")?;
        }
        if part.families.is_empty() {
            writeln!(out, ";  it has no endpoint with such an address, and so the name has none")?;
        }
        for FamilyPart { family, basis, choice, endpoints } in &part.families {
            writeln!(out, ";  {family}: {basis}; {choice}")?;
            endpoints.iter().try_for_each(|endpoint| print_endpoint(out, endpoint, kind))?;
        }
    }
    Ok(())
}

fn print_endpoint(out: &mut impl Write, endpoint: &EndpointPart, kind: &str) -> io::Result<()> {
    let EndpointPart { endpoint: name, address, tier, weight, share_ppm, in_answer, why } = endpoint;
    let mark = if *in_answer { '*' } else { ' ' };
    let tier = if kind == "failover" { format!("tier {tier}, ") } else { String::new() };
    let weight = weight.map_or_else(String::new, |weight| format!("weight {weight}, "));
    writeln!(out, ";  {mark} {name}  {address}  {tier}{weight}{} of clients: {why}", percent(*share_ppm))
}
