//! Large master files that have changed a little: what is other is found, and the rest is not compiled again.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use starling_tests::server::own_address;
use starling_tests::tools;

use crate::node::{ANSWER_LIMIT, Node, Site, TYPE_A, said, small_zone};

const ZONE: &str = "small.example.";
/// More than it takes for an overlay.
const HOSTS: u32 = 12_000;
/// How long it may take until something is in the state folder: less than images of master files rest.
const KEPT_WITHIN: Duration = Duration::from_secs(20);

/// A zone with very many hosts, one line of which is other.
pub(crate) fn hosts(serial: u32, other: &str) -> String {
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

#[test]
fn an_image_that_is_put_off_does_not_come_after_a_rollback() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("zone");
    std::fs::write(&file, hosts(1, "h77 A 192.0.2.77\n"))?;
    let lines = format!("listen = [\"{}:0\"]\nstate-dir = \"state\"", own_address());
    let site = Site::new(&[("small.example", &file)], &lines)?;
    let mut node = site.start()?;
    let (good, text) = reload(&node, &file, &hosts(2, "h77 A 198.51.100.1\n"), &["reload"])?;
    ensure!(good && node.serial(ZONE)? == 2, "{text}");
    ensure!(served(&node)?["changed-names"].as_u64().context("a number")? > 0, "its image waits");
    let output = node.ctl(&["zone", "rollback", ZONE])?;
    ensure!(output.status.success() && node.serial(ZONE)? == 1, "{}", said(&output));
    node.process.signal(Signal::TERM)?;
    ensure!(node.process.wait(ANSWER_LIMIT)?.success());
    node = site.start()?;
    ensure!(node.serial(ZONE)? == 1, "what waits is written when the node ends");
    Ok(())
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

/// What is in the state folder of a node that was killed when so much was there, and how it goes on with a bad master file.
fn is_back_after_a_kill(lines: &str, is_kept: impl Fn(&Site, &[u8]) -> bool) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("zone");
    std::fs::write(&file, hosts(1, "h77 A 192.0.2.77\n"))?;
    let site = Site::new(&[("small.example", &file)], lines)?;
    let node = site.start()?;
    let image = site.path("state/tables/small.example.table");
    tools::poll("the first image", KEPT_WITHIN, || Ok(image.exists().then_some(())))?;
    let first = std::fs::read(&image)?;
    let (good, text) = reload(&node, &file, &hosts(2, "h77 A 198.51.100.1\n"), &["reload"])?;
    ensure!(good && node.serial(ZONE)? == 2, "{text}");
    ensure!(made(&node)?.contains(r#""amended":1"#), "{}", made(&node)?);
    tools::poll("what has changed is kept", KEPT_WITHIN, || Ok(is_kept(&site, &first).then_some(())))?;
    node.process.signal(Signal::KILL)?;
    drop(node);
    std::fs::write(&file, hosts(3, "h77 A 192.0.2.777\n"))?;
    let node = site.start()?;
    ensure!(node.serial(ZONE)? == 2, "{}", node.process.log());
    ensure!(node.ask("h77.small.example.", TYPE_A)?.answer[0].rdata == [198, 51, 100, 1]);
    Ok(())
}

#[test]
fn a_kill_costs_no_change_of_a_large_master_file_that_is_bad_by_then() -> Result<()> {
    is_back_after_a_kill("state-dir = \"state\"", |site, first| {
        std::fs::read(site.path("state/tables/small.example.table")).is_ok_and(|image| image != first)
    })
}

#[test]
fn nor_does_it_where_the_journal_has_the_change() -> Result<()> {
    // Longer than its heading is a journal that has a difference.
    is_back_after_a_kill("state-dir = \"state\"\n[transfer]\nallow = [\"127.0.0.0/8\"]", |site, first| {
        let tables = site.path("state/tables");
        std::fs::metadata(tables.join("small.example.journal")).is_ok_and(|journal| journal.len() > 150)
            && std::fs::read(tables.join("small.example.table")).is_ok_and(|image| image == first)
    })
}
