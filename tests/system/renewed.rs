//! Large master files that have changed a little: what is other is found, and the rest is not compiled again.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use starling_tests::server::own_address;

use crate::node::{Node, Site, TYPE_A, said, small_zone};

const ZONE: &str = "small.example.";
/// More than it takes for an overlay.
const HOSTS: u32 = 12_000;

/// A zone with very many hosts, one line of which is other.
fn hosts(serial: u32, other: &str) -> String {
    let mut lines = String::new();
    for host in 0..HOSTS {
        writeln!(lines, "h{host} A 192.0.2.{}", host % 250).expect("a String takes all");
    }
    small_zone(serial, &lines.replace("h77 A 192.0.2.77\n", other))
}

fn reload(node: &Node, file: &Path, text: &str, arguments: &[&str]) -> Result<(bool, String)> {
    std::fs::write(file.with_extension("new"), text)?;
    std::fs::rename(file.with_extension("new"), file)?;
    let output = node.ctl(arguments)?;
    Ok((output.status.success(), said(&output)))
}

/// What `ctl zones` says of what is served.
fn served(node: &Node) -> Result<Value> {
    let output = node.ctl(&["zones", "--json"])?;
    let zones: Value = serde_json::from_slice(&output.stdout).with_context(|| said(&output))?;
    Ok(zones[0]["served"].clone())
}

fn made(node: &Node) -> Result<String> {
    let output = node.ctl(&["status", "--json"])?;
    let status: Value = serde_json::from_slice(&output.stdout).with_context(|| said(&output))?;
    Ok(status["tables"].to_string())
}

#[test]
fn a_few_changes_of_a_large_master_file_are_put_over_its_table() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("zone");
    std::fs::write(&file, hosts(1, "h77 A 192.0.2.77\n"))?;
    let site = Site::new(&[("small.example", &file)], &format!("listen = [\"{}:0\"]", own_address()))?;
    let node = site.start()?;
    let other = hosts(2, "h77 A 198.51.100.1\nh77 A 198.51.100.2\nnew TXT \"x\"\n");
    let (good, text) = reload(&node, &file, &other, &["reload"])?;
    ensure!(good && node.serial(ZONE)? == 2, "{text}");
    ensure!(node.ask("h77.small.example.", TYPE_A)?.answer.len() == 2);
    ensure!(node.ask("h78.small.example.", TYPE_A)?.answer[0].rdata == [192, 0, 2, 78]);
    let amended = served(&node)?;
    ensure!(amended["changed-names"].as_u64().context("a number")? > 0, "{amended}");
    ensure!(made(&node)? == r#"{"amended":1,"compiled":1,"folded":0}"#, "{}", made(&node)?);
    let text = said(&node.ctl(&["reload"])?);
    ensure!(text.contains("unchanged") && served(&node)? == amended, "the file is that: {text}");
    // A mistake is told with its line, and nothing changes.
    let (good, text) = reload(&node, &file, &hosts(3, "h77 A 192.0.2.777\n"), &["reload"])?;
    let line = format!("{}:{}:", file.display(), 7 + 77);
    ensure!(!good && text.contains(&line), "{line} {text}");
    ensure!(node.serial(ZONE)? == 2 && node.ask("new.small.example.", 16)?.answer.len() == 1);
    // Compiled as a whole it is the same.
    let (good, text) = reload(&node, &file, &other, &["reload", "--force"])?;
    ensure!(good, "{text}");
    let compiled = served(&node)?;
    ensure!(compiled["changed-names"] == 0 && compiled["content"] == amended["content"], "{compiled}");
    ensure!(compiled["records"] == amended["records"] && compiled["names"] == amended["names"]);
    Ok(())
}
