//! What is said about catalog zones: templates, catalogs that are followed, and catalogs that are made here.

use super::super::catalog::{FollowConfig, GROUPS_MAX, TEMPLATES_MAX, Template};
use super::super::problem::Problem;
use super::super::{ZoneConfig, ZoneSource};
use super::{Around, Common, Decoded, Placed, Section, Value, apex, secondary, wrong_type, zone_name};
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use transfer::catalog::{GROUP_LEN_MAX, Listed, NAME_LEN_MAX, RemovalLimit, ZoneName};

/// Members that may leave a catalog at once where nothing else is said: a day's work by hand, and far less than a slip in
/// whatever makes the catalog.
const LIMIT: RemovalLimit = RemovalLimit { count: 10, percent: 10 };

const OF_FOLLOWED: [&str; 5] = [
    "catalog-template",
    "catalog-groups",
    "catalog-removals-max",
    "catalog-removals-max-percent",
    "catalog-names",
];
const OF_LISTED: [&str; 2] = ["group", "coo"];
const GROUPS: &str = "write `catalog-groups = { \"group\" = \"template\" }`";

/// What a zone has to do with catalogs.
#[derive(Default)]
pub(super) struct Roles {
    /// How its members are served, where it is one.
    pub(super) follow: Option<Arc<FollowConfig>>,
    /// The one that it is to be in.
    pub(super) listing: Option<Listing>,
}

/// The catalog of this node that a zone is to be in.
pub(super) struct Listing {
    catalog: ZoneName,
    place: Range<usize>,
    group: Option<Box<[u8]>>,
    coo: Option<ZoneName>,
}

/// Decodes all `[[template]]`.
pub(super) fn templates(
    value: &Value<'_>,
    around: &Around<'_>,
    problems: &mut Vec<Problem>,
) -> Vec<Arc<Template>> {
    let mut templates: Vec<Arc<Template>> = Vec::new();
    for item in items(value, "template", TEMPLATES_MAX, problems) {
        let Some(section) = Section::of(item, "[[template]]", problems) else { continue };
        let Some((template, place)) = template(section, around, problems) else { continue };
        if templates.iter().any(|known| known.name == template.name) {
            let title = format!("the template \"{}\" is there twice", template.name);
            problems.push(Problem::at(place, title, "again here", "give one of the two another name"));
        } else {
            templates.push(Arc::new(template));
        }
    }
    templates
}

pub(super) fn items<'v, 'i>(
    value: &'v Value<'i>,
    what: &str,
    most: usize,
    problems: &mut Vec<Problem>,
) -> &'v [Value<'i>] {
    let help = format!("write [[{what}]], with two brackets, so that there can be several");
    match value.get_ref().as_array() {
        None => problems.push(wrong_type(value, what, "a list", &help)),
        Some(items) if items.len() > most => {
            let title = format!("{} are more than the {most} [[{what}]] there may be", items.len());
            problems.push(Problem::at(value.span(), title, "this list", "remove some of them"));
        }
        Some(items) => return items,
    }
    &[]
}

fn template(
    mut section: Section<'_, '_>,
    around: &Around<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Placed<Template>> {
    let name = section.required("name", "name = \"customers\"", problems);
    if !section.has("primaries") {
        let help =
            "add `primaries = [\"192.0.2.1:53\"]`: members of catalogs are copies of other servers' zones";
        problems.push(Problem::at(
            section.place(),
            "[[template]] has no `primaries`",
            "in this section",
            help,
        ));
    }
    let secondary = secondary::zone(&mut section, around.defaults, &around.known, problems);
    let Common { rotation, critical, admission, secondaries, notify } =
        Common::read(&mut section, around, problems);
    let pool_records = section.flag("pool-records", problems).unwrap_or_default();
    section.finish(problems);
    let (name, place) = name?;
    let (name, secondary) = (name.to_owned(), Arc::new(secondary?));
    let template =
        Template { name, secondary, rotation, critical, admission, secondaries, notify, pool_records };
    Some((template, place))
}

/// Reads what a zone has to do with catalogs.
pub(super) fn roles(
    section: &mut Section<'_, '_>,
    around: &Around<'_>,
    problems: &mut Vec<Problem>,
) -> Roles {
    const HELP: &str = "write `catalog = true` if this zone is a catalog, or `catalog = \"catalog.example\"` if it is to be in \
                        that [[catalog]]";
    let Some(value) = section.take("catalog") else {
        refuse(section, &OF_FOLLOWED, "catalogs, which have `catalog = true`", problems);
        refuse(section, &OF_LISTED, "zones that are in a catalog, by `catalog = \"NAME\"`", problems);
        return Roles::default();
    };
    match (value.get_ref().as_bool(), value.get_ref().as_str()) {
        (Some(true), _) => {
            refuse(section, &OF_LISTED, "zones that are in a catalog, by `catalog = \"NAME\"`", problems);
            Roles { follow: follow(section, around, problems).map(Arc::new), listing: None }
        }
        (_, Some(text)) => {
            refuse(section, &OF_FOLLOWED, "catalogs, which have `catalog = true`", problems);
            Roles { follow: None, listing: listing(section, (text, value.span()), problems) }
        }
        (Some(false), _) => Roles::default(),
        _ => {
            problems.push(wrong_type(value, "catalog", "true or a name", HELP));
            Roles::default()
        }
    }
}

/// Says of keys that they are out of place.
fn refuse(section: &mut Section<'_, '_>, keys: &[&'static str], whose: &str, problems: &mut Vec<Problem>) {
    for key in keys {
        section.know(key);
        if let Some(place) = section.place_of(key) {
            let title = format!("`{key}` is for {whose}");
            problems.push(Problem::at(place, title, "here", "remove it, or add that"));
        }
    }
}

fn follow(
    section: &mut Section<'_, '_>,
    around: &Around<'_>,
    problems: &mut Vec<Problem>,
) -> Option<FollowConfig> {
    let named = section.text("catalog-template", problems);
    if !section.has("catalog-template") {
        let help =
            "add `catalog-template = \"NAME\"`, and a [[template]] with that name and with `primaries`";
        let title = "the catalog has no `catalog-template` for its members";
        problems.push(Problem::at(section.place(), title, "in this section", help));
    }
    let template = named.and_then(|named| find(named, around, problems));
    let groups = groups(section, around, problems);
    let mut limit = LIMIT;
    if let Some(count) = section.integer("catalog-removals-max", 0..=1_000_000, problems) {
        limit.count = count as usize; // at most a million
    }
    if let Some(percent) = section.integer("catalog-removals-max-percent", 0..=100, problems) {
        limit.percent = percent as u8; // at most 100
    }
    let within = names(section, problems);
    Some(FollowConfig { template: template?, groups, limit, within })
}

fn find(
    (name, place): (&str, Range<usize>),
    around: &Around<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Arc<Template>> {
    let template = around.templates.iter().find(|template| template.name == name);
    if template.is_none() {
        let title = format!("there is no template \"{name}\"");
        problems.push(Problem::at(place, title, "this name", "add a [[template]] with this name"));
    }
    template.cloned()
}

fn groups(
    section: &mut Section<'_, '_>,
    around: &Around<'_>,
    problems: &mut Vec<Problem>,
) -> Vec<(Box<[u8]>, Arc<Template>)> {
    let Some(value) = section.take("catalog-groups") else { return Vec::new() };
    let Some(table) = value.get_ref().as_table().filter(|table| table.len() <= GROUPS_MAX) else {
        problems.push(wrong_type(value, "catalog-groups", "a table of at most 1024 groups", GROUPS));
        return Vec::new();
    };
    let mut groups = Vec::new();
    for (group, value) in table {
        let name: &str = group.get_ref();
        let Some(template) = value.get_ref().as_str() else {
            problems.push(wrong_type(value, name, "the name of a template", GROUPS));
            continue;
        };
        if let Some(group) = check_group((name, group.span()), problems)
            && let Some(template) = find((template, value.span()), around, problems)
        {
            groups.push((group, template));
        }
    }
    groups
}

fn check_group((group, place): (&str, Range<usize>), problems: &mut Vec<Problem>) -> Option<Box<[u8]>> {
    if group.is_empty() || group.len() > GROUP_LEN_MAX {
        let title = format!("the name of the group has {} octets", group.len());
        problems.push(Problem::at(place, title, "this name", "give it 1 to 255 octets"));
        return None;
    }
    Some(group.as_bytes().into())
}

fn names(section: &mut Section<'_, '_>, problems: &mut Vec<Problem>) -> Vec<ZoneName> {
    const HELP: &str =
        "write `catalog-names = [\"customers.example\"]`: names that its members have to be at or below";
    let Some(value) = section.take("catalog-names") else { return Vec::new() };
    let Some(items) = value.get_ref().as_array().filter(|items| (1..=GROUPS_MAX).contains(&items.len()))
    else {
        problems.push(wrong_type(value, "catalog-names", "a list of 1 to 1024 names", HELP));
        return Vec::new();
    };
    let mut names = Vec::new();
    for item in items.iter() {
        match item.get_ref().as_str().map(apex) {
            Some(Ok(name)) => names.push(name.as_name().into()),
            _ => problems.push(Problem::at(item.span(), "this is not a domain name", "here", HELP)),
        }
    }
    names
}

fn listing(
    section: &mut Section<'_, '_>,
    (text, place): (&str, Range<usize>),
    problems: &mut Vec<Problem>,
) -> Option<Listing> {
    let group = section.text("group", problems).map(|group| check_group(group, problems));
    let coo = section.text("coo", problems).map(|coo| zone_named(coo, problems));
    let catalog = zone_named((text, place.clone()), problems)?;
    Some(Listing { catalog, place, group: group.flatten(), coo: coo.flatten() })
}

fn zone_named((text, place): (&str, Range<usize>), problems: &mut Vec<Problem>) -> Option<ZoneName> {
    match apex(text) {
        Ok(name) => Some(name.as_name().into()),
        Err(error) => {
            let title = format!("`{text}` is not a domain name: {error}");
            problems.push(Problem::at(place, title, "this name", "write the name of a catalog zone"));
            None
        }
    }
}

/// Decodes all `[[catalog]]`, with the zones that are to be in them.
pub(super) fn catalogs(
    value: &Value<'_>,
    around: &Around<'_>,
    zones: &[Decoded],
    problems: &mut Vec<Problem>,
) -> Vec<ZoneConfig> {
    let mut names: HashSet<ZoneName> =
        zones.iter().map(|decoded| decoded.zone.name.as_name().into()).collect();
    let mut catalogs = Vec::new();
    for item in items(value, "catalog", TEMPLATES_MAX, problems) {
        let Some(mut section) = Section::of(item, "[[catalog]]", problems) else { continue };
        let name = zone_name(&mut section, problems);
        let Common { rotation, critical, admission, secondaries, notify } =
            Common::read(&mut section, around, problems);
        section.finish(problems);
        let Some((name, place)) = name else { continue };
        if name.as_name().len() > NAME_LEN_MAX {
            let title = "the name is too long for the names that stand in a catalog";
            let help = format!("give it at most {NAME_LEN_MAX} octets");
            problems.push(Problem::at(place, title, "this name", help));
            continue;
        }
        let of_it: ZoneName = name.as_name().into();
        let listed = zones.iter().filter_map(|Decoded { zone, listing, .. }| {
            let Listing { group, coo, .. } = listing.as_ref().filter(|listing| listing.catalog == of_it)?;
            let (zone, group, coo) = (zone.name.as_name().into(), group.clone(), coo.clone());
            Some(Listed { zone, group, coo, label: None })
        });
        let source = ZoneSource::Catalog(listed.collect());
        if names.insert(of_it) {
            let follow = None;
            catalogs.push(ZoneConfig {
                name,
                source,
                rotation,
                critical,
                admission,
                secondaries,
                notify,
                follow,
                signing: None,
                pool_records: false,
            });
        } else {
            let title = format!("there is a zone or catalog {name} already");
            problems.push(Problem::at(place, title, "again here", "give the catalog a name of its own"));
        }
    }
    catalogs
}

/// Says of each zone that is to be in a catalog which isn't there.
pub(super) fn require_catalogs(zones: &[Decoded], catalogs: &[ZoneConfig], problems: &mut Vec<Problem>) {
    let names: HashSet<ZoneName> = catalogs.iter().map(|catalog| catalog.name.as_name().into()).collect();
    for listing in zones.iter().filter_map(|decoded| decoded.listing.as_ref()) {
        if !names.contains(&listing.catalog) {
            let title = format!("there is no [[catalog]] {}", listing.catalog);
            let help =
                "add a [[catalog]] with this `name`; a zone that is a catalog itself has `catalog = true`";
            problems.push(Problem::at(listing.place.clone(), title, "this name", help));
        }
    }
}
