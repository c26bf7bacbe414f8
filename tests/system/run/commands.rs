//! `starling ctl` and a node with a route.

use std::process::Command;

use anyhow::{Result, ensure};
use rustix::process::Signal;
use starling_tests::{netns, tools};

use super::agent::{DOWN, DRAINING, LIMIT, MANAGEMENT, Place, SHORT, UP, lines};
use crate::node::{Site, said, small_zone};

#[test]
fn everything_is_told_as_text_and_as_json() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let place = Place::new("tell", "")?;
    let agent = place.start()?;
    let explained = agent.explains("a route that is up", |told| told["held"] == "up")?;
    ensure!(explained["mode"] == "normal" && explained["name"] == "ams1", "{explained:#}");
    ensure!(explained["pid"] == agent.process.pid(), "{explained:#}");
    ensure!(explained["healthy"] == true, "{explained:#}");
    ensure!(lines(&explained["blocked"]).is_empty(), "{explained:#}");
    let text = place.said(&["explain"])?;
    for word in [
        "route       up since",
        "BIRD        not asked",
        "server      ready, process",
        "probe-udp-203.0.113.53:53",
        "probe-tcp-[2001:db8:53::53]:53",
        "zones",
        "drops",
        "memory",
        "disk",
    ] {
        ensure!(text.contains(word), "{word:?} is not in\n{text}");
    }
    let status = place.said(&["status"])?;
    ensure!(status.contains("route       up since") && status.contains("1 ok, 0 stale"), "{status}");
    let status = place.json(&["status"])?;
    ensure!(status["agent"]["held"] == "up" && status["zones"]["ok"] == 1, "{status:#}");
    ensure!(status["pid"] == status["agent"]["server"]["pid"], "{status:#}");
    ensure!(place.json(&["zones"])?[0]["name"] == "small.example.");
    let history = place.json(&["history"])?;
    ensure!(history[0]["from"] == "down" && history[0]["to"] == "up", "{history:#}");
    ensure!(place.said(&["history"])?.contains("down -> up"));
    ensure!(place.json(&["history", "-n", "0"])?.as_array().is_some_and(Vec::is_empty));
    Ok(())
}

#[test]
fn a_drain_lasts_until_it_is_ended() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let place = Place::new("drain", "")?;
    let agent = place.start()?;
    ensure!(place.get("/readyz")?.status == 200);
    ensure!(place.refused(&["undrain"])?.contains("refuses"));
    ensure!(place.said(&["drain"])?.contains("draining"));
    agent.wait(DRAINING)?;
    ensure!(place.get("/readyz")?.status == 503);
    ensure!(place.get("/healthz")?.status == 200, "a node that is drained is not ill");
    let explained = agent.explains("a drain", |told| told["held"] == "draining")?;
    ensure!(explained["mode"] == "draining" && explained["healthy"] == false, "{explained:#}");
    ensure!(lines(&explained["reasons"]).contains("drain"), "{explained:#}");
    ensure!(lines(&explained["blocked"]).contains("undrain"), "{explained:#}");
    place.said(&["undrain"])?;
    agent.wait(UP)?;

    place.said(&["drain", "--for", "1s", "--then", "up"])?;
    agent.wait(DRAINING)?;
    agent.wait(UP)?;
    place.said(&["drain", "--for", "1s", "--then", "down"])?;
    agent.wait(DRAINING)?;
    agent.wait(DOWN)?;
    ensure!(agent.explains("a drain that is over", |told| told["mode"] == "drained")?["held"] == "down");
    place.said(&["undrain"])?;
    agent.wait(UP)?;

    let history = place.json(&["history", "-n", "100"])?;
    let steps: Vec<_> = history
        .as_array()
        .into_iter()
        .flatten()
        .map(|step| (step["to"].as_str().unwrap_or_default(), step["by"].as_str().unwrap_or_default()))
        .collect();
    let rungs: Vec<&str> = steps.iter().map(|(to, _)| *to).collect();
    ensure!(rungs == ["up", "draining", "up", "draining", "up", "draining", "down", "up"], "{steps:?}");
    ensure!(steps[0].1 == "recovery" && steps[1..].iter().all(|(_, by)| *by == "operator"), "{steps:?}");
    Ok(())
}

#[test]
fn maintenance_and_history_outlive_a_restart() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let place = Place::new("maintain", "")?;
    let mut agent = place.start()?;
    let told = place.said(&["maintenance", "on"])?;
    ensure!(!told.contains("not remember"), "{told}");
    agent.wait(DOWN)?;
    let before = place.json(&["history"])?;
    // Killed, not ended: what was answered is on disk.
    agent.process.signal(Signal::KILL)?;
    agent.process.wait(LIMIT)?;

    let agent = place.launch()?;
    let explained = agent.explains("a server that is ready", |told| told["server"]["state"] == "ready")?;
    ensure!(explained["mode"] == "maintenance" && explained["wanted"] == "down", "{explained:#}");
    ensure!(lines(&explained["blocked"]).contains("maintenance off"), "{explained:#}");
    ensure!(place.json(&["history"])? == before);
    ensure!(place.refused(&["drain"])?.contains("maintenance"));
    place.said(&["maintenance", "off"])?;
    agent.wait(UP)?;
    let after = place.json(&["history"])?;
    let lens = [&before, &after].map(|history| history.as_array().map_or(0, Vec::len));
    ensure!(lens[1] == lens[0] + 1, "{before:#}\n{after:#}");
    Ok(())
}

#[test]
fn without_a_state_folder_nothing_is_promised() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let zone = "[[zone]]\nname = \"small.example\"\nfile = \"small.zone\"\n";
    let place =
        Place::with("stateless", SHORT, &format!("[management]\nlisten = [\"{MANAGEMENT}\"]\n{zone}"))?;
    let text = std::fs::read_to_string(place.path("node.toml"))?;
    place.write("node.toml", &text.replace("state-dir = \"state\"\n", ""))?;
    let agent = place.start()?;
    let told = place.said(&["maintenance", "on"])?;
    ensure!(told.contains("a restart will not remember it: the node has no state-dir"), "{told}");
    agent.wait(DOWN)
}

#[test]
fn a_server_alone_has_no_route_to_command() -> Result<()> {
    let zone = tempfile::NamedTempFile::new()?;
    std::fs::write(zone.path(), small_zone(1, ""))?;
    let site = Site::new(&[("small.example", zone.path())], "")?;
    let node = site.start()?;
    let commands: [&[&str]; 6] =
        [&["drain"], &["undrain"], &["maintenance", "on"], &["explain"], &["history"], &["upgrade"]];
    for command in commands {
        let output = node.ctl(command)?;
        let told = said(&output);
        ensure!(output.status.code() == Some(1), "{command:?}: {}\n{told}", output.status);
        ensure!(told.contains("starling run"), "{command:?}: {told}");
    }
    let nobody = Command::new(tools::starling()?)
        .args(["ctl", "explain", "--control"])
        .arg(site.path("nobody"))
        .output()?;
    ensure!(nobody.status.code() == Some(1), "{}", said(&nobody));
    Ok(())
}
