//! Limits that a site may have set for the processes of a node.

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use starling_tests::{netns, tools};

use super::agent::{DOWN, LIMIT, Place, UP};
use crate::node::small_zone;

/// The kernel sends SIGXFSZ with the write that goes beyond it, which ends a process that does nothing about it.
#[test]
fn a_limit_of_file_sizes_is_no_worse_than_a_full_disk() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let place = Place::new("fsize", "")?;
    let mut agent = place.start()?;
    let server = agent.server()?;
    let limit = Rlimit { current: Some(0), maximum: Some(0) };
    for pid in [i64::from(agent.process.pid()), server] {
        let pid = Pid::from_raw(i32::try_from(pid)?).context("a process has a number")?;
        prlimit(Some(pid), Resource::Fsize, limit)?;
    }
    // The agent writes its history, the server an image, and both their log.
    place.said(&["maintenance", "on"])?;
    agent.wait(DOWN)?;
    place.said(&["maintenance", "off"])?;
    agent.wait(UP)?;
    place.write("small.zone", &small_zone(2, ""))?;
    agent.process.signal(Signal::HUP)?;
    let serial = "starling_zone_serial{zone=\"small.example.\"} 2\n";
    tools::poll("the new serial", LIMIT, || Ok(place.get("/metrics")?.body.contains(serial).then_some(())))?;
    ensure!(agent.process.exited().is_none() && agent.server()? == server, "{}", agent.process.log_tail());
    let kept = std::fs::read_to_string(place.path("state").join("history.jsonl"))?;
    ensure!(kept.lines().count() == 1, "more was written than may be: {kept}");
    Ok(())
}
