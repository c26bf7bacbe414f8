//! Catalog zones in the configuration.

use super::super::*;
use super::{decoded, lines};
use ::transfer::catalog::{RemovalLimit, ZoneName};

fn name(text: &str) -> ZoneName {
    apex(text).unwrap().as_name().into()
}

#[test]
fn a_catalog_has_templates_for_its_members() {
    let config = decoded(
        r#"
[secondary]
refresh-min-s = 7

[[zone]]
name = "catalog.example"
primaries = ["192.0.2.1:53"]
catalog = true
catalog-template = "plain"
catalog-groups = { "Gold" = "precious", silver = "precious" }
catalog-removals-max = 3
catalog-removals-max-percent = 50
catalog-names = ["Customers.example"]

[[zone]]
name = "other.catalog"
file = "other.zone"
catalog = true
catalog-template = "plain"

[[template]]
name = "plain"
primaries = ["192.0.2.2:53"]

[[template]]
name = "precious"
primaries = ["192.0.2.3:53"]
critical = true
rotate = false
secondaries = ["192.0.2.9"]
notify = ["192.0.2.9:53"]
expire-max-s = 100000
"#,
    )
    .unwrap();
    let follow = config.zones[0].follow.as_ref().unwrap();
    assert_eq!(follow.limit, RemovalLimit { count: 3, percent: 50 });
    assert_eq!(follow.within, [name("customers.example")]);
    let group = |text: &str| vec![text.as_bytes().into()];
    assert_eq!(follow.template_for(&[]).name, "plain");
    assert_eq!(follow.template_for(&group("gold")).name, "plain", "groups are octets");
    assert_eq!(follow.template_for(&[group("unknown"), group("Gold")].concat()).name, "precious");
    let zone = follow.template_for(&group("silver")).zone(&name("a.example"));
    assert_eq!(
        (zone.name.to_string().as_str(), zone.critical, zone.rotation),
        ("a.example.", true, Rotation::Off)
    );
    assert_eq!((zone.secondaries.len(), zone.notify.len()), (1, 1));
    let secondary = zone.secondary().unwrap();
    assert_eq!(secondary.primaries[0].address, "192.0.2.3:53".parse().unwrap());
    assert_eq!(secondary.clamps.refresh.min, Duration::from_secs(7), "from [secondary]");
    assert_eq!(secondary.clamps.expire.max, Duration::from_secs(100_000));
    let other = config.zones[1].follow.as_ref().unwrap();
    assert_eq!(other.limit, RemovalLimit { count: 10, percent: 10 });
    assert!(config.zones.iter().all(ZoneConfig::is_private));
}

#[test]
fn zones_are_listed_in_catalogs() {
    let config = decoded(
        r#"
[[zone]]
name = "a.example"
file = "a.zone"
catalog = "Catalog.example"
group = "gold"
[[zone]]
name = "b.example"
primaries = ["192.0.2.1:53"]
catalog = "catalog.example."
coo = "other.example"
[[zone]]
name = "c.example"
file = "c.zone"
catalog = false
[[catalog]]
name = "catalog.example"
secondaries = ["192.0.2.9"]
notify = ["192.0.2.9:53"]
[[catalog]]
name = "empty.example"
"#,
    )
    .unwrap();
    let [.., catalog, empty] = &config.zones[..] else { panic!("no catalogs") };
    let ZoneSource::Catalog(zones) = &catalog.source else { panic!("{catalog:?}") };
    assert_eq!((zones[0].zone.clone(), zones[0].group.as_deref()), (name("a.example"), Some(&b"gold"[..])));
    assert_eq!(
        (zones[1].zone.clone(), zones[1].coo.clone()),
        (name("b.example"), Some(name("other.example")))
    );
    assert_eq!((catalog.secondaries.len(), catalog.notify.len(), catalog.is_private()), (1, 1, true));
    assert!(matches!(&empty.source, ZoneSource::Catalog(zones) if zones.is_empty()));
    assert!(!config.zones[0].is_private());
}

#[test]
fn every_mistake_is_told() {
    let zone = "[[zone]]\nname = \"x\"\nfile = \"x\"\n";
    let template = "[[template]]\nname = \"t\"\nprimaries = [\"192.0.2.1:53\"]\n";
    let cases = [
        (format!("{zone}catalog = true"), "the catalog has no `catalog-template`"),
        (format!("{zone}catalog = true\ncatalog-template = \"t\""), "there is no template \"t\""),
        (format!("{zone}catalog = 7"), "catalog must be true or a name"),
        (format!("{zone}catalog = \"y\""), "there is no [[catalog]] y."),
        (format!("{zone}catalog = \"y..\"\n[[catalog]]\nname = \"y\""), "`y..` is not a domain name"),
        (format!("{zone}catalog-template = \"t\"\n{template}"), "`catalog-template` is for catalogs"),
        (format!("{zone}group = \"g\""), "`group` is for zones that are in a catalog"),
        (
            format!("{zone}catalog = true\ncatalog-template = \"t\"\ncoo = \"g\"\n{template}"),
            "`coo` is for zones that are in a catalog",
        ),
        (
            format!(
                "{zone}catalog = true\ncatalog-template = \"t\"\ncatalog-groups = {{ g = \"u\" }}\n{template}"
            ),
            "there is no template \"u\"",
        ),
        (
            format!(
                "{zone}catalog = true\ncatalog-template = \"t\"\ncatalog-groups = {{ \"\" = \"t\" }}\n{template}"
            ),
            "the name of the group has 0 octets",
        ),
        (
            format!("{zone}catalog = true\ncatalog-template = \"t\"\ncatalog-names = []\n{template}"),
            "catalog-names must be a list of 1 to 1024 names",
        ),
        (
            format!(
                "{zone}catalog = true\ncatalog-template = \"t\"\ncatalog-removals-max-percent = 101\n{template}"
            ),
            "`catalog-removals-max-percent` is out of range",
        ),
        (format!("{template}{template}"), "the template \"t\" is there twice"),
        ("[[template]]\nname = \"t\"\n".to_owned(), "[[template]] has no `primaries`"),
        ("[[template]]\nprimaries = [\"192.0.2.1:53\"]\n".to_owned(), "[[template]] has no `name`"),
        (format!("{template}file = \"x\"\n"), "unknown key `file`"),
        ("[[catalog]]\nname = \"x\"\nfile = \"x\"\n".to_owned(), "unknown key `file`"),
        (format!("{zone}[[catalog]]\nname = \"X\"\n"), "there is a zone or catalog x. already"),
        (
            "[[catalog]]\nname = \"y\"\n[[catalog]]\nname = \"y\"\n".to_owned(),
            "there is a zone or catalog y. already",
        ),
        (
            format!("[[catalog]]\nname = \"{0}.{0}.{0}.{0}\"\n", "a".repeat(60)),
            "the name is too long for the names that stand in a catalog",
        ),
    ];
    for (text, expected) in cases {
        let lines = lines(&text);
        assert!(lines.iter().any(|line| line.contains(expected)), "{text}: {lines:?}");
    }
}
