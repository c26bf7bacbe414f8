//! The way down, and signals.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::process::Signal;
use starling_tests::{netns, tools};

use super::agent::{DOWN, DRAINING, LIMIT, MANAGEMENT, Place, SERVICE, SHORT};
use crate::node::small_zone;

/// A time that no test waits for.
const LONG_MS: u64 = 600_000;

#[test]
fn sigterm_drains_then_withdraws_then_answers_for_the_grace_period() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let times =
        SHORT.replace("drain-ms = 300", "drain-ms = 1000").replace("grace-ms = 300", "grace-ms = 2000");
    let place = Place::with("end", &times, "[[zone]]\nname = \"small.example\"\nfile = \"small.zone\"\n")?;
    let mut agent = place.start()?;
    agent.process.signal(Signal::TERM)?;
    let began = Instant::now();
    agent.wait(DRAINING)?;
    agent.wait(DOWN)?;
    ensure!(began.elapsed() >= Duration::from_millis(950), "drained for {:?}", began.elapsed());
    ensure!(agent.process.exited().is_none(), "there is a grace period");
    for service in SERVICE {
        ensure!(place.ask(service)?.is_some(), "no answer from {service} in the grace period");
    }
    let status = agent.process.wait(LIMIT)?;
    ensure!(status.code() == Some(0), "{status}\n{}", agent.process.log_tail());
    ensure!(began.elapsed() >= Duration::from_millis(2950), "ended after {:?}", began.elapsed());
    let links = place.namespace.ip("-brief link show")?;
    ensure!(!links.contains("starling0"), "{links}");
    ensure!(place.namespace.pids()?.is_empty(), "something still runs");
    Ok(())
}

#[test]
fn a_second_sigterm_hurries() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let long = format!("drain-ms = {LONG_MS}");
    let place = Place::with(
        "hurry",
        &SHORT.replace("drain-ms = 300", &long),
        "[[zone]]\nname = \"small.example\"\nfile = \"small.zone\"\n",
    )?;
    let mut agent = place.start()?;
    agent.process.signal(Signal::TERM)?;
    agent.wait(DRAINING)?;
    agent.process.signal(Signal::TERM)?;
    agent.wait(DOWN)?;
    let status = agent.process.wait(LIMIT)?;
    ensure!(status.code() == Some(0), "{status}\n{}", agent.process.log_tail());
    Ok(())
}

#[test]
fn sighup_reads_zones_again_and_a_bad_one_moves_no_route() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let zone = "[[zone]]\nname = \"small.example\"\nfile = \"small.zone\"\ncritical = true\n";
    let place = Place::with("hup", SHORT, &format!("[management]\nlisten = [\"{MANAGEMENT}\"]\n{zone}"))?;
    let agent = place.start()?;
    let serial = "starling_zone_serial{zone=\"small.example.\"} 2\n";
    place.write("small.zone", &small_zone(2, ""))?;
    agent.process.signal(Signal::HUP)?;
    tools::poll("the new serial", LIMIT, || Ok(place.get("/metrics")?.body.contains(serial).then_some(())))?;

    place.write("small.zone", "no zone")?;
    agent.process.signal(Signal::HUP)?;
    let stale = "starling_zones{state=\"stale\"} 1\n";
    tools::poll("a stale zone", LIMIT, || Ok(place.get("/metrics")?.body.contains(stale).then_some(())))?;
    ensure!(place.get("/metrics")?.body.contains(serial));
    ensure!(place.get("/readyz")?.status == 200);
    let history = place.json(&["history"])?;
    ensure!(history.as_array().is_some_and(|all| all.len() == 1), "the route has moved: {history:#}");
    Ok(())
}
