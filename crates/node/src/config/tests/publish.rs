//! What can be said about tables that are compiled elsewhere.

use super::*;

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn publisher(name: &str) -> String {
    format!("[[publisher]]\nname = \"{name}\"\nkey = \"{KEY}\"\n")
}

#[test]
fn a_zone_names_its_publishers() {
    let zones = "[[zone]]\nname = \"a\"\npublished = true\npublishers = [\"x\", \"y\"]\n[[zone]]\nname = \"b\"\npublished = \
                 true\n[[zone]]\nname = \"c\"\nfile = \"c\"\npublished = false\n";
    // Wherever they stand in the file.
    let config = decoded(&format!("{zones}{}{}", publisher("x"), publisher("y"))).unwrap();
    let names = |zone: &ZoneConfig| match &zone.source {
        ZoneSource::Published(publishers) => {
            Some(publishers.iter().map(|publisher| publisher.name.clone()).collect::<Vec<_>>())
        }
        _ => None,
    };
    let found: Vec<_> = config.zones.iter().map(names).collect();
    assert_eq!(found, [Some(vec!["x".to_owned(), "y".to_owned()]), Some(Vec::new()), None]);
    assert!(config.zones[0].is_received() && config.zones[0].file().is_none());
}

#[test]
fn what_makes_no_sense_is_told() {
    let zone = "[[zone]]\nname = \"a\"\n";
    let published = format!("{zone}published = true\n");
    for (text, problem) in [
        (format!("{published}publishers = [\"x\"]"), "there is no publisher \"x\""),
        (format!("{published}publishers = []"), "publishers must be a list of one name or more"),
        (format!("{published}publishers = \"x\""), "publishers must be a list of one name or more"),
        (format!("{published}rotate = false"), "`rotate` is decided where a table is compiled"),
        (format!("{published}file = \"a\""), "the zone has a `file` and `published`"),
        (format!("{published}primaries = [\"192.0.2.1:53\"]"), "the zone has a `primaries` and `published`"),
        (format!("{published}notify-from = [\"192.0.2.1\"]"), "and this one has `published`"),
        (
            format!("{zone}file = \"a\"\npublishers = [\"x\"]"),
            "`publishers` is for zones with `published = true`",
        ),
        (format!("{zone}published = false"), "[[zone]] has neither `file` nor `primaries`"),
        (format!("{zone}published = \"yes\"\nfile = \"a\""), "published must be true or false"),
        (format!("{}{}", publisher("x"), publisher("x")), "the publisher \"x\" is there twice"),
        (publisher(""), "the publisher's name is empty"),
        (publisher("x").replace("AAEC", "AA"), "this is no public key"),
        ("[[publisher]]\nname = \"x\"".to_owned(), "[[publisher]] has no `key`"),
        ("[publisher]\nname = \"x\"".to_owned(), "publisher must be a list"),
    ] {
        let lines = lines(&text);
        assert!(lines.len() == 1 && lines[0].contains(problem), "{text}\n{lines:?}");
    }
}
