//! What is said about tables that are compiled elsewhere: `[[publisher]]`, and zones with `published = true`.

use super::super::ZoneSource;
use super::super::problem::Problem;
use super::super::publish::{PUBLISHERS_MAX, Publisher};
use super::{Placed, Section, Value, wrong_type};
use crate::shipping::PublicKey;
use std::sync::Arc;

const PUBLISHERS: &str = "write `publishers = [\"NAME\"]`, each the name of a [[publisher]], or leave it out for tables without signatures";

/// All `[[publisher]]` of the configuration.
pub(super) type Publishers = Vec<Arc<Publisher>>;

/// Decodes all `[[publisher]]`.
pub(super) fn all(value: &Value<'_>, problems: &mut Vec<Problem>) -> Publishers {
    let Some(items) = value.get_ref().as_array().filter(|items| items.len() <= PUBLISHERS_MAX) else {
        let help = "it is written as [[publisher]], with two brackets, so that there can be several";
        problems.push(wrong_type(value, "publisher", "a list of at most 256", help));
        return Vec::new();
    };
    let mut all: Publishers = Vec::new();
    for item in items.iter() {
        let Some(section) = Section::of(item, "[[publisher]]", problems) else { continue };
        let Some((publisher, place)) = one(section, problems) else { continue };
        if all.iter().any(|known| known.name == publisher.name) {
            let title = format!("the publisher \"{}\" is there twice", publisher.name);
            problems.push(Problem::at(place, title, "again here", "give one of the two another name"));
        } else {
            all.push(Arc::new(publisher));
        }
    }
    all
}

fn one(mut section: Section<'_, '_>, problems: &mut Vec<Problem>) -> Option<Placed<Publisher>> {
    let name = section.required("name", "name = \"build\"", problems);
    let key = section.required("key", "key = \"…\"", problems);
    section.finish(problems);
    let key = key.and_then(|(text, place)| {
        let key = PublicKey::from_text(text);
        if key.is_none() {
            let help = "give the public key that `starling key generate FILE` has told, and `starling key show FILE` tells again";
            problems.push(Problem::at(place, "this is no public key", "here", help));
        }
        key
    });
    let (name, place) = name?;
    if name.is_empty() {
        problems.push(Problem::at(place, "the publisher's name is empty", "here", "zones name it"));
        return None;
    }
    Some((Publisher { name: name.to_owned(), key: key? }, place))
}

/// Decodes what a zone says that is published.
pub(super) fn zone(
    section: &mut Section<'_, '_>,
    known: &Publishers,
    problems: &mut Vec<Problem>,
) -> Option<ZoneSource> {
    if let Some(place) = section.place_of("rotate") {
        let help = "remove it; `starling compile --no-rotate` makes a table whose records keep their order";
        problems.push(Problem::at(place, "`rotate` is decided where a table is compiled", "here", help));
    }
    let Some(value) = section.take("publishers") else { return Some(ZoneSource::Published(Arc::default())) };
    let items = value.get_ref().as_array().filter(|items| (1..=PUBLISHERS_MAX).contains(&items.len()));
    // An empty list would say that nobody may, or that everybody may: nobody knows.
    let Some(items) = items else {
        problems.push(wrong_type(value, "publishers", "a list of one name or more", PUBLISHERS));
        return None;
    };
    let mut publishers: Publishers = Vec::new();
    for item in items.iter() {
        let Some(name) = item.get_ref().as_str() else {
            problems.push(wrong_type(item, "a publisher", "text", PUBLISHERS));
            continue;
        };
        match known.iter().find(|publisher| publisher.name == name) {
            Some(publisher) => publishers.push(Arc::clone(publisher)),
            None => {
                let title = format!("there is no publisher \"{name}\"");
                problems.push(Problem::at(
                    item.span(),
                    title,
                    "this name",
                    "add a [[publisher]] with this name",
                ));
            }
        }
    }
    (publishers.len() == items.len()).then(|| ZoneSource::Published(publishers.into()))
}

/// Says of the key that only a published zone has that it is out of place.
pub(super) fn refuse(section: &mut Section<'_, '_>, problems: &mut Vec<Problem>) {
    section.know("publishers");
    if let Some(place) = section.place_of("publishers") {
        let title = "`publishers` is for zones with `published = true`";
        problems.push(Problem::at(
            place,
            title,
            "here",
            "remove it, or give `published` instead of the source",
        ));
    }
}
