//! Decodes `[[zone]]`.

use super::super::problem::Problem;
use super::super::{AdmissionConfig, Rotation, Secondary, SecondaryConfig, Template, ZoneConfig, ZoneSource};
use super::{Placed, Section, Value, apex, catalog, publish, secondary, signing, transfer, wrong_type};
use ::transfer::outgoing::notify::Target;
use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use wire::NameBuf;

/// What a `[[zone]]` is read with.
pub(super) struct Around<'a> {
    pub(super) folder: &'a Path,
    /// What `[secondary]` says for all of them.
    pub(super) defaults: &'a SecondaryConfig,
    /// What `[admission]` says for all of them.
    pub(super) admission: &'a Arc<AdmissionConfig>,
    /// What the rest of the file has said.
    pub(super) known: secondary::Known<'a>,
    /// Who may publish tables.
    pub(super) publishers: &'a publish::Publishers,
    /// What members of catalogs are made from.
    pub(super) templates: Vec<Arc<Template>>,
}

/// A zone that was read, and what others have to know of it.
pub(super) struct Decoded {
    pub(super) zone: ZoneConfig,
    /// Where its name stands.
    pub(super) place: Range<usize>,
    /// The catalog of this node that it is to be in.
    pub(super) listing: Option<catalog::Listing>,
}

pub(super) fn zones(value: &Value<'_>, around: &Around<'_>, problems: &mut Vec<Problem>) -> Vec<Decoded> {
    let Some(items) = value.get_ref().as_array() else {
        let help = "zones are written as [[zone]], with two brackets, so that there can be several";
        problems.push(wrong_type(value, "zone", "a list", help));
        return Vec::new();
    };
    let mut zones: Vec<Decoded> = Vec::new();
    let mut names: HashSet<Vec<u8>> = HashSet::new();
    for item in items.iter() {
        let Some(section) = Section::of(item, "[[zone]]", problems) else { continue };
        let Some(decoded) = zone(section, around, problems) else { continue };
        if !names.insert(decoded.zone.name.as_name().as_wire().to_vec()) {
            let title = format!("the zone {} is configured twice", decoded.zone.name);
            let help = "remove one of the two [[zone]] sections";
            problems.push(Problem::at(decoded.place, title, "again here", help));
        } else {
            zones.push(decoded);
        }
    }
    zones
}

fn zone(mut section: Section<'_, '_>, around: &Around<'_>, problems: &mut Vec<Problem>) -> Option<Decoded> {
    let name = zone_name(&mut section, problems);
    let source = source(&mut section, around, problems);
    let common = Common::read(&mut section, around, problems);
    let catalog::Roles { follow, listing } = catalog::roles(&mut section, around, problems);
    let signing = signing::zone(&mut section, around.folder, problems);
    let pool_records = section.flag("pool-records", problems).unwrap_or_default();
    section.finish(problems);
    let (name, place) = name?;
    let Common { rotation, critical, admission, secondaries, notify } = common;
    let zone = ZoneConfig {
        name,
        source: source?,
        rotation,
        critical,
        admission,
        secondaries,
        notify,
        follow,
        signing,
        pool_records,
    };
    Some(Decoded { zone, place, listing })
}

pub(super) fn zone_name(
    section: &mut Section<'_, '_>,
    problems: &mut Vec<Problem>,
) -> Option<Placed<NameBuf>> {
    let (text, place) = section.required("name", "name = \"example.com\"", problems)?;
    match apex(text) {
        Ok(name) => Some((name, place)),
        Err(error) => {
            let title = format!("`{text}` is not a domain name: {error}");
            let help = "write the zone's name as in a master file, with or without the final dot";
            problems.push(Problem::at(place, title, "this name", help));
            None
        }
    }
}

/// What every zone may say of itself, and a template of those that are made from it.
pub(super) struct Common {
    pub(super) rotation: Rotation,
    pub(super) critical: bool,
    pub(super) admission: Arc<AdmissionConfig>,
    pub(super) secondaries: Vec<Secondary>,
    pub(super) notify: Vec<Target>,
}

impl Common {
    pub(super) fn read(
        section: &mut Section<'_, '_>,
        around: &Around<'_>,
        problems: &mut Vec<Problem>,
    ) -> Common {
        Common {
            rotation: rotation(section, problems),
            critical: section.flag("critical", problems).unwrap_or_default(),
            admission: admission(section, around.admission, problems),
            secondaries: transfer::secondaries("secondaries", section, around.known.keys, problems),
            notify: transfer::targets(section, around.known.keys, problems),
        }
    }
}

fn rotation(section: &mut Section<'_, '_>, problems: &mut Vec<Problem>) -> Rotation {
    let Some(value) = section.take("rotate") else { return Rotation::default() };
    match value.get_ref().as_bool() {
        Some(true) => Rotation::On,
        Some(false) => Rotation::Off,
        None => {
            problems.push(wrong_type(value, "rotate", "true or false", "write `rotate = false`"));
            Rotation::default()
        }
    }
}

/// What the versions of a zone have to pass: what holds for all, but for what the zone says itself.
fn admission(
    section: &mut Section<'_, '_>,
    defaults: &Arc<AdmissionConfig>,
    problems: &mut Vec<Problem>,
) -> Arc<AdmissionConfig> {
    let Some(value) = section.take("admission") else { return Arc::clone(defaults) };
    let mut admission = AdmissionConfig::clone(defaults);
    if let Some(section) = Section::of(value, "[zone.admission]", problems) {
        super::admission::settings(section, &mut admission, problems);
    }
    Arc::new(admission)
}

/// Where the records of a zone come from: exactly one of `file`, `primaries` and `published`.
fn source(
    section: &mut Section<'_, '_>,
    around: &Around<'_>,
    problems: &mut Vec<Problem>,
) -> Option<ZoneSource> {
    section.know("file");
    section.know("primaries");
    let place = section.place_of("published");
    let is_published = section.flag("published", problems).unwrap_or_default();
    match (section.place_of("file"), section.has("primaries"), place.filter(|_| is_published)) {
        (None, false, None) => {
            section.know("publishers");
            let title = "[[zone]] has neither `file` nor `primaries`";
            let help = "add `file = \"zones/example.com.zone\"`, or `primaries = [\"192.0.2.1:53\"]` for a secondary, or \
                        `published = true` for tables that are compiled elsewhere";
            problems.push(Problem::at(section.place(), title, "in this section", help));
            None
        }
        (Some(_), false, None) => {
            secondary::refuse(section, "a `file`", problems);
            publish::refuse(section, problems);
            let (file, _) = section.text("file", problems)?;
            Some(ZoneSource::MasterFile(around.folder.join(file)))
        }
        (None, true, None) => {
            publish::refuse(section, problems);
            let config = secondary::zone(section, around.defaults, &around.known, problems)?;
            Some(ZoneSource::Primaries(Arc::new(config)))
        }
        (None, false, Some(_)) => {
            secondary::refuse(section, "`published`", problems);
            publish::zone(section, around.publishers, problems)
        }
        (file, has_primaries, published) => {
            let given =
                [("`file`", file.is_some()), ("`primaries`", has_primaries), ("`published`", is_published)];
            let given: Vec<&str> =
                given.iter().filter(|(_, is_given)| *is_given).map(|(key, _)| *key).collect();
            let title = format!("the zone has a {}", given.join(" and "));
            let help = "keep `file` if this node has the zone's master file, `primaries` if it is a secondary, `published` if \
                        tables are compiled elsewhere";
            let place = file.or(published).unwrap_or(section.place());
            problems.push(Problem::at(place, title, "one of them is too much", help));
            secondary::zone(section, around.defaults, &around.known, problems);
            section.know("publishers");
            None
        }
    }
}
