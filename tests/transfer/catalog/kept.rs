//! What is kept of members between runs, also by a disk that fails, hangs, or has damaged it.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use serde_json::Value;

use super::follow::Follower;
use super::{Answer, CATALOG, Node, catalog, listed, member};
use crate::site::{SEEN_WITHIN, wait};

const ZONES: [&str; 2] = ["a.example", "b.example"];

impl Node {
    fn members_file(&self) -> PathBuf {
        self.path("state/members")
    }

    /// Waits until a restart would have these zones, from their images.
    fn has_images(&self, zones: &[&str]) -> Result<()> {
        let image = |zone: &&str| self.path(&format!("state/tables/{zone}.table")).exists();
        wait(|| Ok(zones.iter().all(image)), |all| *all)
    }

    fn disk(&self) -> Result<Value> {
        let status: Value = serde_json::from_str(&self.does(&["status", "--json"])?)?;
        Ok(status["disk"].clone())
    }

    fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("it runs")?;
        process.signal(Signal::KILL)?;
        process.wait(SEEN_WITHIN).map(drop)
    }
}

#[test]
fn members_that_could_not_be_stored_are_stored_when_they_can_be() -> Result<()> {
    let mut follower = Follower::start("", &listed(&ZONES[..1]))?;
    follower.node.answers(&ZONES[..1], Answer::Serial(1))?;
    let file = follower.node.members_file();
    wait(|| Ok(file.exists()), |is_there| *is_there)?;
    // No file can be written under that name.
    let obstacle = follower.node.path("state/members.tmp");
    std::fs::create_dir(&obstacle)?;
    follower.lists(&listed(&ZONES))?;
    follower.node.answers(&ZONES, Answer::Serial(1))?;
    let disk = wait_for_disk(&follower.node, 1)?;
    let failure = disk["failure"].as_str().unwrap_or_default();
    ensure!(failure.contains("which zones are here for catalogs could not be stored"), "{disk}");
    ensure!(!std::fs::read_to_string(&file)?.contains("b.example"));
    std::fs::remove_dir(&obstacle)?;
    wait_for_disk(&follower.node, 0)?;
    follower.node.has_images(&ZONES)?;
    // A broken catalog removes nothing, also over a restart when nobody can be asked.
    follower.lists("version TXT \"3\"\n")?;
    ensure!(follower.node.catalog(CATALOG)?.error.contains("several TXT"));
    follower.primary.end()?;
    follower.node.kill()?;
    follower.node.start()?;
    for zone in ZONES {
        ensure!(follower.node.soa(zone)? == Answer::Serial(1), "{zone}\n{}", follower.node.log());
    }
    Ok(())
}

/// Waits until so many files wait to be written; how the disk is then.
fn wait_for_disk(node: &Node, waiting: u64) -> Result<Value> {
    wait(|| node.disk(), |disk| disk["waiting"] == waiting).with_context(|| node.log())?;
    node.disk()
}

#[test]
fn members_that_are_damaged_are_set_aside() -> Result<()> {
    let mut follower = Follower::start("", &listed(&ZONES))?;
    follower.node.answers(&ZONES, Answer::Serial(1))?;
    follower.node.has_images(&ZONES)?;
    follower.node.end()?;
    let file = follower.node.members_file();
    std::fs::write(&file, "[{\"zone\":\"a.ex")?;
    follower.node.start()?;
    for zone in ZONES {
        ensure!(follower.node.soa(zone)? == Answer::Serial(1), "the catalog has it\n{}", follower.node.log());
    }
    wait(|| Ok(file.exists()), |is_there| *is_there)?;
    ensure!(std::fs::read_to_string(file.with_file_name("members-aside"))? == "[{\"zone\":\"a.ex");
    let log = follower.node.log();
    ensure!(log.contains("is set aside as") && log.contains("members-aside"), "{log}");
    Ok(())
}

#[test]
fn a_disk_that_hangs_stops_no_catalog() -> Result<()> {
    let mut follower = Follower::start("", &listed(&ZONES[..1]))?;
    follower.node.answers(&ZONES[..1], Answer::Serial(1))?;
    wait(|| Ok(follower.node.members_file().exists()), |is_there| *is_there)?;
    // Opened for writing, it waits for a reader.
    let fifo = follower.node.path("state/members.tmp");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    follower.lists(&listed(&ZONES))?;
    follower.node.answers(&ZONES, Answer::Serial(1))?;
    follower.lists(&listed(&ZONES[1..]))?;
    follower.node.answers(&ZONES[1..], Answer::Serial(1))?;
    follower.node.end()
}

#[test]
fn what_was_begun_anew_at_a_start_has_nothing_of_before() -> Result<()> {
    let mut follower = Follower::start("", &listed(&ZONES[..1]))?;
    let zone = ZONES[0];
    for serial in 1..=3 {
        follower.primary.write(zone, &member(serial))?;
        follower.primary.does(&["reload", zone])?;
        follower.node.does(&["refresh", zone])?;
        follower.node.answers(&[zone], Answer::Serial(serial))?;
        is_durable(&follower.node, zone, serial)?;
    }
    ensure!(follower.node.path("state/tables/a.example.journal").exists(), "{}", follower.node.log());
    follower.node.end()?;
    // The zone of before is back at the primary, and another one for the catalog.
    follower.primary.write(zone, &member(1))?;
    follower.primary.does(&["reload", zone])?;
    follower.node.write("catalog.zone", &catalog(9, &format!("other.zones PTR {zone}.\n")))?;
    follower.node.start()?;
    follower.node.answers(&[zone], Answer::Serial(1))?;
    is_durable(&follower.node, zone, 1)?;
    follower.primary.end()?;
    follower.node.kill()?;
    follower.node.start()?;
    ensure!(follower.node.soa(zone)? == Answer::Serial(1), "{}", follower.node.log());
    Ok(())
}

/// Waits until a restart would begin with this version.
fn is_durable(node: &Node, name: &str, serial: u32) -> Result<()> {
    let served = || -> Result<Value> {
        let zones: Value = serde_json::from_str(&node.does(&["zones", "--json"])?)?;
        let zones = zones.as_array().context("a list")?;
        let zone = zones.iter().find(|zone| zone["name"] == format!("{name}."));
        Ok(zone.with_context(|| format!("no {name}: {zones:?}"))?["served"].clone())
    };
    wait(served, |served| served["serial"] == serial && served["durable"] == true).with_context(|| node.log())
}
