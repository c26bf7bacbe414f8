//! Tables that are compiled on one machine and published to nodes on others.

mod gate;
mod refused;
mod signed;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use starling_tests::server::own_address;
use starling_tests::tools;

use crate::node::{Node, Site, run, said, small_zone};

const ZONE: &str = "small.example.";
const SERVFAIL: u16 = 2;
const STORED_WITHIN: Duration = Duration::from_secs(20);

/// Where tables are compiled.
struct Workshop {
    folder: tempfile::TempDir,
}

impl Workshop {
    fn new() -> Result<Self> {
        Ok(Self { folder: tempfile::tempdir()? })
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Compiles a master file with this text; signed if there is a key.
    fn compile(&self, name: &str, text: &str, key: Option<&Path>) -> Result<PathBuf> {
        let (zone, table) = (self.path(&format!("{name}.zone")), self.path(&format!("{name}.table")));
        std::fs::write(&zone, text)?;
        let mut command = Command::new(tools::starling()?);
        command.arg("compile").arg(&zone).arg("-o").arg(&table);
        if let Some(key) = key {
            command.arg("--sign").arg(key);
        }
        let output = run(&mut command)?;
        ensure!(output.status.success(), "{}", said(&output));
        Ok(table)
    }

    /// The usual zone with this serial, which `v` shows too.
    fn version(&self, serial: u32) -> Result<PathBuf> {
        self.compile(&format!("v{serial}"), &version(serial), None)
    }
}

fn version(serial: u32) -> String {
    small_zone(serial, &format!("v A 192.0.2.{serial}\n"))
}

/// A node with the published zone, and further lines for its `[node]` section and for the zone.
fn site(node_lines: &str, zone_lines: &str) -> Result<Site> {
    let address = own_address();
    let mut text = format!("listen = [\"{address}:0\"]\n{node_lines}\n");
    write!(text, "[management]\nlisten = [\"{address}:0\"]\n")?;
    write!(text, "[[zone]]\nname = \"small.example\"\npublished = true\n{zone_lines}\n")?;
    Site::new(&[], &text)
}

/// What `ctl publish` says, and whether it is content.
fn publish(node: &Node, table: &Path, options: &[&str]) -> Result<(bool, String)> {
    let table = table.to_str().context("a path")?;
    let output = node.ctl(&[&["publish", "small.example", table], options].concat())?;
    Ok((output.status.success(), said(&output)))
}

/// Publishes a table that has to be taken; what is told of it.
fn published(node: &Node, table: &Path) -> Result<Value> {
    let (good, text) = publish(node, table, &["--json"])?;
    ensure!(good, "{text}\n{}", node.process.log_tail());
    serde_json::from_str(&text).context(text)
}

/// Whether the node answers with this version.
fn serves(node: &Node, serial: u32) -> Result<()> {
    ensure!(node.serial(ZONE)? == serial, "serial {}, not {serial}", node.serial(ZONE)?);
    let answer = node.ask("v.small.example.", 1)?;
    let expected = [192, 0, 2, serial as u8];
    ensure!(answer.answer.first().is_some_and(|record| record.rdata == expected), "{answer}");
    Ok(())
}

fn zone(node: &Node) -> Result<Value> {
    let output = node.ctl(&["zones", "--json"])?;
    let zones: Value = serde_json::from_slice(&output.stdout).with_context(|| said(&output))?;
    Ok(zones[0].clone())
}

#[test]
fn a_table_is_served_from_then_on() -> Result<()> {
    let (workshop, site) = (Workshop::new()?, site("state-dir = \"state\"", "")?);
    let mut node = site.start()?;
    ensure!(node.ask("www.small.example.", 1)?.rcode() == SERVFAIL, "nothing was published yet");
    let status = zone(&node)?;
    ensure!(status["state"] == "failed" && status["error"]["count"] == 1, "{status}");

    let report = published(&node, &workshop.version(1)?)?;
    ensure!(report["outcome"] == "served" && report["serial"] == 1 && report["names"] == 4, "{report}");
    ensure!(report["from-serial"].is_null() && report["signed-by"].is_null(), "{report}");
    serves(&node, 1)?;
    let status = zone(&node)?;
    ensure!(status["state"] == "ok" && status["served"]["loaded-from"] == "published", "{status}");
    let (good, text) = publish(&node, &workshop.version(2)?, &["--durable"])?;
    ensure!(good && text.starts_with("small.example.: published, serial 1 -> 2, "), "{text}");
    ensure!(text.lines().count() == 1, "it is on disk: {text}");
    ensure!(zone(&node)?["served"]["durable"] == true);
    serves(&node, 2)?;

    drop(node);
    node = site.start()?;
    serves(&node, 2)?;
    ensure!(zone(&node)?["served"]["loaded-from"] == "image");
    ensure!(node.ctl(&["reload"])?.status.success() && node.serial(ZONE)? == 2, "nothing to be read");
    let output = node.ctl(&["zone", "rollback", "small.example"])?;
    ensure!(output.status.success(), "{}", said(&output));
    serves(&node, 1)?;
    drop(node);
    node = site.start()?;
    serves(&node, 1)?;
    published(&node, &workshop.version(3)?)?;
    serves(&node, 3)
}

#[test]
fn whoever_goes_on_writing_to_a_published_file_changes_nothing() -> Result<()> {
    let (workshop, site) = (Workshop::new()?, site("state-dir = \"state\"", "")?);
    let node = site.start()?;
    let table = workshop.version(1)?;
    published(&node, &table)?;
    let octets = std::fs::metadata(&table)?.len() as usize;
    // The same file, not another one of this name: first other octets, then none.
    std::fs::write(&table, vec![0xff; octets])?;
    serves(&node, 1)?;
    std::fs::File::options().write(true).open(&table)?.set_len(0)?;
    serves(&node, 1)?;
    std::fs::remove_file(&table)?;
    tools::poll("it is on disk", STORED_WITHIN, || {
        Ok((zone(&node)?["served"]["durable"] == true).then_some(()))
    })?;
    drop(node);
    serves(&site.start()?, 1)
}

#[test]
fn nodes_with_the_same_table_serve_the_same() -> Result<()> {
    let workshop = Workshop::new()?;
    let table = workshop.version(7)?;
    let sites = [site("", "")?, site("state-dir = \"state\"", "")?];
    let nodes = [sites[0].start()?, sites[1].start()?];
    let (good, text) = publish(&nodes[0], &table, &[])?;
    ensure!(good && text.contains("no `state-dir`"), "{text}");
    published(&nodes[1], &table)?;
    let compare = || -> Result<(Option<i32>, String)> {
        let mut command = Command::new(tools::starling()?);
        command.arg("compare").args(nodes.iter().map(|node| node.management[0].to_string()));
        let output = run(&mut command)?;
        Ok((output.status.code(), said(&output)))
    };
    let (code, text) = compare()?;
    ensure!(code == Some(0) && text == "0 of 1 zones differ\n", "{text}");
    published(&nodes[1], &workshop.version(8)?)?;
    let (code, text) = compare()?;
    ensure!(code == Some(1) && text.contains("serial 7") && text.contains("serial 8"), "{text}");
    Ok(())
}

#[test]
fn a_zone_that_had_a_master_file_goes_on_until_a_table_is_published() -> Result<()> {
    let (workshop, site) = (Workshop::new()?, site("state-dir = \"state\"", "")?);
    let published_config = std::fs::read_to_string(site.path("node.toml"))?;
    let file = workshop.path("zone");
    std::fs::write(&file, version(1))?;
    let of_file = published_config.replace("published = true", &format!("file = \"{}\"", file.display()));
    std::fs::write(site.path("node.toml"), &of_file)?;
    let mut node = site.start()?;
    let (good, text) = publish(&node, &workshop.version(2)?, &[])?;
    ensure!(!good && text.contains("the next reload would read again"), "{text}");
    std::fs::write(site.path("node.toml"), &published_config)?;
    ensure!(node.ctl(&["reload"])?.status.success());
    serves(&node, 1)?;
    tools::poll("an image", STORED_WITHIN, || {
        Ok(site.path("state/tables/small.example.table").exists().then_some(()))
    })?;
    drop(node);
    node = site.start()?;
    serves(&node, 1)?;
    let (good, text) = publish(&node, &workshop.version(2)?, &["--durable"])?;
    ensure!(good, "{text}");
    // And back: the file counts, not the table, whatever that says of its source.
    std::fs::write(site.path("node.toml"), &of_file)?;
    drop(node);
    std::fs::write(&file, version(3))?;
    node = site.start()?;
    serves(&node, 3)
}

#[test]
fn a_zone_that_is_added_by_a_reload_waits_for_its_table() -> Result<()> {
    let (workshop, site) = (Workshop::new()?, site("", "")?);
    let node = site.start()?;
    published(&node, &workshop.version(1)?)?;
    let config = std::fs::read_to_string(site.path("node.toml"))?;
    let added = "[[zone]]\nname = \"www.small.example\"\npublished = true\n";
    std::fs::write(site.path("node.toml"), config + added)?;
    let output = node.ctl(&["reload"])?;
    ensure!(output.status.success(), "{}", said(&output));
    // Until then the zone above answers for its names.
    ensure!(node.ask("www.small.example.", 1)?.answer.len() == 1);
    let text = said(&node.ctl(&["zones"])?);
    ensure!(text.contains("`starling ctl publish www.small.example. TABLE` has to bring it"), "{text}");
    let table = workshop.compile("www", &version(9).replace("small.example", "www.small.example"), None)?;
    let output = node.ctl(&["publish", "www.small.example", table.to_str().context("a path")?])?;
    ensure!(output.status.success(), "{}", said(&output));
    ensure!(node.serial("www.small.example.")? == 9);
    serves(&node, 1)
}
