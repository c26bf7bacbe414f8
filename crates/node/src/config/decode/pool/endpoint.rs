//! Decodes `[[pool.endpoint]]`: addresses, a name to be an alias of, or another pool.

use super::super::super::pool::{EndpointConfig, Inner, Side, Stands};
use super::super::super::problem::Problem;
use super::super::{Section, Value, apex, catalog, places, wrong_type};
use super::{addresses, only_for, word};
use pool::{Kind, MEMBERS_MAX, TIERS_MAX};
use std::net::IpAddr;
use wire::NameBuf;

/// What an endpoint is made of: it has one of these.
const STANDS: [&str; 3] = ["address", "target", "pool"];

/// Decodes all endpoints of a pool.
pub(super) fn endpoints(
    section: &mut Section<'_, '_>,
    kind: Kind,
    problems: &mut Vec<Problem>,
) -> Vec<EndpointConfig> {
    let Some(value) = section.take("endpoint") else {
        let help = "add [[pool.endpoint]] with `name` and `address`";
        let title = "[[pool]] has no endpoint";
        problems.push(Problem::at(section.place(), title, "in this section", help));
        return Vec::new();
    };
    let mut endpoints: Vec<EndpointConfig> = Vec::new();
    for item in catalog::items(value, "pool.endpoint", MEMBERS_MAX, problems) {
        let Some(section) = Section::of(item, "[[pool.endpoint]]", problems) else { continue };
        let place = section.place();
        let Some(endpoint) = endpoint(section, kind, problems) else { continue };
        if endpoints.iter().any(|known| is_same(known, &endpoint)) {
            let title = format!("the endpoint \"{}\", or its address, is in the pool twice", endpoint.name);
            problems.push(Problem::at(place, title, "again here", "remove one of the two"));
        } else {
            endpoints.push(endpoint);
        }
    }
    endpoints
}

/// Whether two have something in common that only one may have. Targets may be at one address.
fn is_same(one: &EndpointConfig, other: &EndpointConfig) -> bool {
    let is_same_place = match (&one.stands, &other.stands) {
        (Stands::Addresses, Stands::Addresses) => one.addresses.iter().any(|it| other.addresses.contains(it)),
        (Stands::Target(one), Stands::Target(other)) => one == other,
        (Stands::Pool(one), Stands::Pool(other)) => one.name == other.name,
        _ => false,
    };
    one.name == other.name || is_same_place
}

fn endpoint(mut section: Section<'_, '_>, kind: Kind, problems: &mut Vec<Problem>) -> Option<EndpointConfig> {
    let stands = stands(&mut section, problems);
    let name = match &stands {
        // A pool has a name already.
        Some((Stands::Pool(inner), _)) if !section.has("name") => Some(inner.name.clone()),
        _ => word(&mut section, "name = \"fra1\"", problems),
    };
    if !section.has("target") {
        only_for(&mut section, &["check-address"], "endpoints with a `target`", problems);
    }
    let checked = match section.take("check-address") {
        Some(value) => addresses(value, "check-address", problems),
        None => Vec::new(),
    };
    let tier = section.integer("tier", 1..=u64::from(TIERS_MAX), problems).unwrap_or(1) as u32; // in range
    if !matches!(kind, Kind::Weighted { .. } | Kind::LeastLoad { .. }) {
        only_for(&mut section, &["weight"], "weighted and least-load pools", problems);
    }
    let weight = section.integer("weight", 0..=u64::from(u16::MAX), problems).unwrap_or(1) as u16; // in range
    let places = places::of_endpoint(&mut section, kind, problems);
    section.finish(problems);
    let (stands, answered) = stands?;
    let addresses: Vec<IpAddr> = answered.into_iter().chain(checked).collect();
    Some(EndpointConfig { name: name?, addresses, stands, tier, weight, places })
}

/// What answers have of an endpoint, and the addresses that it is answered with.
fn stands(section: &mut Section<'_, '_>, problems: &mut Vec<Problem>) -> Option<(Stands, Vec<IpAddr>)> {
    let there: Vec<&str> = STANDS.into_iter().filter(|key| section.has(key)).collect();
    if let [_, second, ..] = there[..] {
        STANDS.into_iter().for_each(|key| section.know(key));
        let place = section.place_of(second).unwrap_or(section.place());
        let title = format!("an endpoint has one of `{}`", STANDS.join("`, `"));
        let help = "make two endpoints of it, or remove one of the two";
        problems.push(Problem::at(place, title, "this one is too much", help));
        return None;
    }
    if let Some(value) = section.take("target") {
        return target(value, "target", problems).map(|target| (Stands::Target(target), Vec::new()));
    }
    if let Some((name, _)) = section.text("pool", problems) {
        // Which sides it has is known when all pools are.
        let inner = Inner { name: name.to_owned(), sides: [false; Side::ALL.len()] };
        return Some((Stands::Pool(inner), Vec::new()));
    }
    if section.has("pool") {
        return None; // it is no text, which was said
    }
    let Some(value) = section.take("address") else {
        let title = "[[pool.endpoint]] has no `address`";
        let help =
            "add `address = \"192.0.2.1\"`, or one of each family as a list; or a `target`, or a `pool`";
        problems.push(Problem::at(section.place(), title, "in this section", help));
        return None;
    };
    let before = problems.len();
    let found = addresses(value, "address", problems);
    if found.is_empty() && problems.len() == before {
        let help = "write `address = \"192.0.2.1\"`, or remove the endpoint";
        problems.push(Problem::at(value.span(), "the endpoint has no address", "this list", help));
    }
    Some((Stands::Addresses, found))
}

/// The name that names of a pool are aliases of.
pub(super) fn target(value: &Value<'_>, key: &str, problems: &mut Vec<Problem>) -> Option<Box<NameBuf>> {
    let help = format!("write `{key} = \"eu.cdn.example.net\"`");
    let Some(text) = value.get_ref().as_str() else {
        problems.push(wrong_type(value, key, "a name", &help));
        return None;
    };
    match apex(text) {
        Ok(name) if !name.as_name().is_root() && !name.as_name().is_wildcard() => Some(Box::new(name)),
        Ok(_) => {
            problems.push(Problem::at(
                value.span(),
                format!("`{text}` is no name of a host"),
                "this name",
                help,
            ));
            None
        }
        Err(error) => {
            let title = format!("`{text}` is no name: {error}");
            problems.push(Problem::at(value.span(), title, "this name", help));
            None
        }
    }
}
