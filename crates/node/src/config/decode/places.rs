//! Decodes `[places]`, and where endpoints are.

use super::super::Config;
use super::super::places::{PLACES_MAX, PlacesConfig};
use super::super::problem::Problem;
use super::{Section, Value, pool};
use crate::places::{ANYWHERE, is_word};
use ::pool::Kind;
use std::path::Path;

/// What is to be done where nobody knows where clients are.
const HELP: &str =
    "add [places] with `file = \"GeoLite2-Country.mmdb\"`, or a file with lines of PREFIX,PLACE";
const EXAMPLE: &str = "places = [\"DE\", \"continent:EU\"]";

/// Decodes `[places]`.
pub(super) fn places(
    mut section: Section<'_, '_>,
    folder: &Path,
    problems: &mut Vec<Problem>,
) -> Option<PlacesConfig> {
    let file = section.required("file", "file = \"GeoLite2-Country.mmdb\"", problems);
    section.finish(problems);
    let (file, place) = file?;
    Some(PlacesConfig { file: folder.join(file), place })
}

/// Decodes the places that an endpoint is for.
pub(super) fn of_endpoint(
    section: &mut Section<'_, '_>,
    kind: Kind,
    problems: &mut Vec<Problem>,
) -> Vec<String> {
    if kind != Kind::Nearest {
        pool::only_for(section, &["places"], "nearest pools", problems);
        return Vec::new();
    }
    let Some(value) = section.take("places") else { return Vec::new() };
    let mut places: Vec<String> = Vec::new();
    for (word, place) in pool::texts(value, "places", PLACES_MAX, EXAMPLE, problems) {
        if places.iter().any(|known| known == word) {
            let title = format!("`{word}` is there twice");
            problems.push(Problem::at(place, title, "again here", "remove one of the two"));
        } else if word == ANYWHERE || is_word(word) {
            places.push(word.to_owned());
        } else {
            let help = format!("write `{EXAMPLE}`, words of the map, or \"{ANYWHERE}\" for anywhere");
            problems.push(Problem::at(place, format!("`{word}` is no place"), "this word", help));
        }
    }
    places
}

/// Finds pools that need a map where there is none.
pub(super) fn require(root: &mut Section<'_, '_>, config: &Config, problems: &mut Vec<Problem>) {
    if config.places.is_some() || root.has("places") {
        return;
    }
    let pools = root.take("pool").and_then(|pools| pools.get_ref().as_array());
    let kinds = pools.into_iter().flatten().filter_map(|pool: &Value<'_>| {
        let kind = pool.get_ref().as_table()?.get("kind")?;
        (kind.get_ref().as_str() == Some("nearest")).then(|| kind.span())
    });
    problems.extend(kinds.map(|kind| {
        Problem::at(kind, "nothing says where clients are, and so what is nearest", "this kind of pool", HELP)
    }));
}
