//! The gate in front of master files: what holds a version back, and what an operator does about it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use starling_tests::server::own_address;
use starling_tests::{http, tools};

use crate::node::{Node, Site, run, said, small_zone};

const ZONE: &str = "small.example.";
const STORED_WITHIN: Duration = Duration::from_secs(20);

/// A zone with so many hosts.
fn hosts(serial: u32, count: u32) -> String {
    let lines: String = (0..count).map(|host| format!("h{host} A 192.0.2.1\n")).collect();
    small_zone(serial, &lines)
}

fn site(file: &Path, lines: &str) -> Result<Site> {
    let address = own_address();
    let node = format!("listen = [\"{address}:0\"]\n{lines}\n[management]\nlisten = [\"{address}:0\"]\n");
    Site::new(&[("small.example", file)], &node)
}

/// What `ctl zone status` says of the zone.
fn status(node: &Node) -> Result<Value> {
    let output = node.ctl(&["zone", "status", "small.example", "--json"])?;
    serde_json::from_slice(&output.stdout).with_context(|| said(&output))
}

/// Replaces the master file and has it read; what the reload says, and whether it is content.
fn reload(node: &Node, file: &Path, text: &str) -> Result<(bool, String)> {
    let temporary = file.with_extension("new");
    std::fs::write(&temporary, text)?;
    std::fs::rename(temporary, file)?;
    again(node)
}

fn again(node: &Node) -> Result<(bool, String)> {
    let output = node.ctl(&["reload"])?;
    Ok((output.status.success(), said(&output)))
}

fn decide(node: &Node, action: &str) -> Result<(bool, String)> {
    let output = node.ctl(&["zone", action, "small.example"])?;
    Ok((output.status.success(), said(&output)))
}

#[test]
fn a_version_that_has_shrunk_waits_for_its_operator_over_restarts() -> Result<()> {
    held_approved_and_rolled_back("state-dir = \"state\"", Restarts::Some)
}

#[test]
fn without_a_state_folder_versions_are_kept_in_memory() -> Result<()> {
    held_approved_and_rolled_back("", Restarts::None)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Restarts {
    Some,
    None,
}

/// Waits until there is an image of the zone, which a kill would come before.
fn has_image(site: &Site) -> Result<()> {
    let image = site.path("state").join("tables/small.example.table");
    tools::poll("an image", STORED_WITHIN, || Ok(image.exists().then_some(())))
}

fn held_approved_and_rolled_back(lines: &str, restarts: Restarts) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("zone");
    std::fs::write(&file, hosts(1, 200))?;
    let site = site(&file, lines)?;
    let mut node = site.start()?;
    if restarts == Restarts::Some {
        has_image(&site)?;
    }
    let restart = |node: Node| -> Result<Node> {
        if restarts == Restarts::None {
            return Ok(node);
        }
        drop(node);
        site.start()
    };

    let (good, text) = reload(&node, &file, &hosts(2, 20))?;
    ensure!(!good && text.contains("serial 2 is held back: shrink"), "{text}");
    ensure!(node.serial(ZONE)? == 1, "the version before is served");
    node = restart(node)?;
    ensure!(node.serial(ZONE)? == 1, "a restart is no way around the gate");
    let zone = status(&node)?;
    ensure!(zone["state"] == "stale" && zone["gate"]["held"]["serial"] == 2, "{zone}");
    ensure!(zone["gate"]["held"]["reasons"][0].as_str().is_some_and(|it| it.contains("% fewer")), "{zone}");
    let (good, text) = again(&node)?;
    ensure!(!good && text.contains("held back: shrink"), "it is still held: {text}");

    let (good, text) = decide(&node, "approve")?;
    ensure!(good && node.serial(ZONE)? == 2, "{text}");
    node = restart(node)?;
    let zone = status(&node)?;
    ensure!(zone["state"] == "ok" && zone["gate"]["held"].is_null() && zone["error"].is_null(), "{zone}");
    ensure!(zone["gate"]["previous"] == 1, "{zone}");
    let (good, text) = again(&node)?;
    ensure!(good && text.contains("unchanged"), "{text}");
    let (good, text) = decide(&node, "approve")?;
    ensure!(!good && text.contains("no version of small.example. is held back"), "{text}");

    let (good, text) = decide(&node, "rollback")?;
    ensure!(good && node.serial(ZONE)? == 1, "{text}");
    let (good, text) = again(&node)?;
    ensure!(!good && node.serial(ZONE)? == 1, "the file is still the one that was rolled back from: {text}");
    node = restart(node)?;
    ensure!(node.serial(ZONE)? == 1);
    let output = node.ctl(&["reload", "--force"])?;
    ensure!(!output.status.success() && said(&output).contains("rolled-back"), "{}", said(&output));
    let (good, text) = decide(&node, "rollback")?;
    ensure!(!good && text.contains("no version of small.example. before"), "{text}");
    ensure!(status(&node)?["gate"]["rolled-back"] == 2);

    let (good, text) = reload(&node, &file, &hosts(3, 180))?;
    ensure!(good && node.serial(ZONE)? == 3, "a newer one comes through: {text}");
    let zone = status(&node)?;
    ensure!(zone["gate"]["rolled-back"].is_null() && zone["gate"]["held"].is_null(), "{zone}");
    ensure!(zone["gate"]["previous"] == 1, "{zone}");
    let (good, text) = decide(&node, "rollback")?;
    ensure!(good && node.serial(ZONE)? == 1, "{text}");
    let (good, text) = decide(&node, "approve")?;
    ensure!(good && node.serial(ZONE)? == 3, "and what was rolled back from can be approved of: {text}");
    Ok(())
}

#[test]
fn a_file_that_changed_while_the_node_was_away_is_judged_by_the_stored_version() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("zone");
    std::fs::write(&file, hosts(1, 200))?;
    let site = site(&file, "state-dir = \"state\"")?;
    let node = site.start()?;
    has_image(&site)?;
    drop(node);
    std::fs::write(&file, hosts(2, 20))?;
    let node = site.start()?;
    ensure!(node.serial(ZONE)? == 1, "the stored version is served");
    ensure!(status(&node)?["gate"]["held"]["serial"] == 2);
    drop(node);
    std::fs::write(&file, hosts(3, 210))?;
    let node = site.start()?;
    ensure!(node.serial(ZONE)? == 3, "a good one comes through");
    let (good, text) = decide(&node, "rollback")?;
    ensure!(good && node.serial(ZONE)? == 1, "the stored one is that before: {text}");
    Ok(())
}

#[test]
fn a_damaged_zone_is_refused_and_counted() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("zone");
    let good_zone =
        std::fs::read_to_string(tools::repository().join("crates/zone/src/zonemd/rfc8976-a1.zone"))?;
    std::fs::write(&file, &good_zone)?;
    let address = own_address();
    let lines = format!("listen = [\"{address}:0\"]\n[management]\nlisten = [\"{address}:0\"]\n");
    let site = Site::new(&[("example", &file)], &lines)?;
    let node = site.start()?;
    let damaged = good_zone.replace("203.0.113.63", "203.0.113.64");
    let (good, text) = reload(&node, &file, &damaged)?;
    ensure!(!good && text.contains("is refused: zonemd") && text.contains("lost or changed"), "{text}");
    ensure!(node.serial("example.")? == 2_018_031_900);
    ensure!(node.ask("ns1.example.", 1)?.answer[0].rdata == [203, 0, 113, 63], "the good one is served");
    let output = node.ctl(&["zone", "approve", "example"])?;
    ensure!(!output.status.success(), "nobody can approve of it: {}", said(&output));
    let metrics = http::get(node.management[0], "/metrics")?.body;
    let line = "starling_zone_refused_total{zone=\"example.\",reason=\"zonemd\"} 1";
    ensure!(metrics.lines().any(|it| it == line), "{metrics}");
    ensure!(metrics.contains("starling_zone_held{zone=\"example.\"} 0"), "{metrics}");
    let mut check = Command::new(tools::starling()?);
    let output = run(check.arg("check").arg("--zone").arg(format!("example={}", file.display())))?;
    ensure!(!output.status.success() && said(&output).contains("lost or changed"), "{}", said(&output));
    let (good, text) = reload(&node, &file, &good_zone)?;
    ensure!(good, "{text}");
    Ok(())
}

#[test]
fn a_file_whose_signatures_have_ended_is_held() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("zone");
    let signed = |serial: u32, late: u32| {
        let end = |host: u32| if host < late { 2021 } else { 2090 };
        let lines: String = (0..20)
            .map(|host| {
                let time = format!("{}0101000000 20200101000000", end(host));
                format!("h{host} A 192.0.2.1\n  RRSIG A 13 3 300 {time} 1 {ZONE} AAAA\n")
            })
            .collect();
        small_zone(
            serial,
            &format!("@ RRSIG NS 13 2 300 20900101000000 20200101000000 1 {ZONE} AAAA\n{lines}"),
        )
    };
    std::fs::write(&file, signed(1, 1))?;
    let site = site(&file, "")?;
    let node = site.start()?;
    // That one of them has ended before is no licence for the others.
    let (good, text) = reload(&node, &file, &signed(2, 20))?;
    let why = "serial 2 is held back: signatures: 20 sets are without a signature that is valid, such as A of h0.small.example., \
               whose signature ends at 20210101000000";
    ensure!(!good && text.contains(why), "{text}");
    ensure!(node.serial(ZONE)? == 1 && status(&node)?["gate"]["held"]["serial"] == 2);
    let metrics = http::get(node.management[0], "/metrics")?.body;
    ensure!(metrics.contains("starling_zone_held{zone=\"small.example.\"} 1"), "{metrics}");
    let (good, text) = reload(&node, &file, &signed(3, 1))?;
    ensure!(good && node.serial(ZONE)? == 3, "it is no worse: {text}");
    Ok(())
}

#[test]
fn the_operators_command_has_the_last_word() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (file, words) = (folder.path().join("zone"), folder.path().join("words"));
    std::fs::write(&file, small_zone(1, ""))?;
    let script = format!("echo $1 $2 $3 >> {}; ! grep -q forbidden $4", words.display());
    let lines = format!("[admission]\ncommand = [\"/bin/sh\", \"-c\", \"{script}\", \"check\"]");
    let address = own_address();
    let site = Site::new(&[("small.example", &file)], &format!("listen = [\"{address}:0\"]\n{lines}"))?;
    let node = site.start()?;
    let (good, text) = reload(&node, &file, &small_zone(2, "forbidden A 192.0.2.9\n"))?;
    ensure!(!good && text.contains("held back: command"), "{text}");
    ensure!(node.serial(ZONE)? == 1);
    let (good, text) = reload(&node, &file, &small_zone(3, "allowed A 192.0.2.9\n"))?;
    ensure!(good && node.serial(ZONE)? == 3, "{text}");
    let words = std::fs::read_to_string(words)?;
    ensure!(words == "small.example. - 1\nsmall.example. 1 2\nsmall.example. 1 3\n", "{words}");
    Ok(())
}
