//! What is no table, or none of this zone, and zones that take none.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use rustix::fs::{Mode, chmod};

use super::{Workshop, publish, published, serves, site, version};
use crate::node::{Site, said};

/// Where an image's format version stands.
const VERSION_AT: usize = 8;
/// Where its serial stands.
const SERIAL_AT: usize = 112;

#[test]
fn what_is_no_good_table_of_the_zone_is_refused() -> Result<()> {
    let (workshop, site) = (Workshop::new()?, site("", "")?);
    let node = site.start()?;
    published(&node, &workshop.version(1)?)?;
    let good = std::fs::read(workshop.version(2)?)?;
    let path = workshop.path("bad.table");
    let refused = |what: &str, path: &Path, why: &str| -> Result<()> {
        let (is_good, text) = publish(&node, path, &[])?;
        ensure!(!is_good && text.contains("the node refuses") && text.contains(why), "{what}: {text}");
        serves(&node, 1)
    };
    let refused_octets = |what: &str, octets: &[u8], why: &str| -> Result<()> {
        std::fs::write(&path, octets)?;
        refused(what, &path, why)
    };
    let changed = |at: usize| {
        let mut octets = good.clone();
        octets[at] ^= 1;
        octets
    };
    refused_octets("damaged", &changed(good.len() / 2), "its content doesn't match its digest")?;
    refused_octets("its serial changed", &changed(SERIAL_AT), "its content doesn't match its digest")?;
    refused_octets("cut", &good[..good.len() - 1], "and should have")?;
    refused_octets("longer", &[&good[..], &[0]].concat(), "and should have")?;
    refused_octets("its header alone", &good[..100], "it is not an answer table")?;
    refused_octets("empty", b"", "it is not an answer table")?;
    refused_octets("text", version(2).repeat(10).as_bytes(), "it is not an answer table")?;
    refused_octets("of another format", &changed(VERSION_AT), "compile it with the version of starling")?;
    let other = version(2).replace("small.example", "other.example");
    let other = workshop.compile("other", &other, None)?;
    refused("of another zone", &other, "is a table of other.example., not of small.example.")?;

    refused("no file", &workshop.path("none"), "cannot read")?;
    refused("a folder", &workshop.path("."), "not a regular file")?;
    let pipe = workshop.path("pipe");
    ensure!(Command::new("mkfifo").arg(&pipe).status()?.success());
    refused("a pipe that nobody writes to", &pipe, "not a regular file")?;
    // Also for root, whose privilege to read everything is gone.
    std::fs::write(&path, &good)?;
    chmod(&path, Mode::empty())?;
    refused("unreadable", &path, "its mode must let the node's user read it")?;
    chmod(&path, Mode::RUSR)?;
    published(&node, &path)?;
    serves(&node, 2)
}

#[test]
fn zones_from_elsewhere_take_no_tables() -> Result<()> {
    let workshop = Workshop::new()?;
    let file = workshop.path("zone");
    std::fs::write(&file, version(1))?;
    let lines = "[[zone]]\nname = \"copy.example\"\nprimaries = [\"127.0.0.1:9\"]\n";
    let site = Site::new(&[("small.example", &file)], lines)?;
    let node = site.start()?;
    let table = workshop.version(2)?;
    let table = table.to_str().unwrap_or_default();
    for (zone, why) in [
        ("small.example", "which the next reload would read again"),
        ("copy.example", "has primaries"),
        ("none.example", "add a [[zone]] with `published = true`"),
        ("a..b", "that is not a zone's name"),
    ] {
        let output = node.ctl(&["publish", zone, table])?;
        ensure!(!output.status.success() && said(&output).contains(why), "{zone}: {}", said(&output));
    }
    serves(&node, 1)
}
