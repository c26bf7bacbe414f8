//! A whole node, `starling run`, that moves its route by the second driver: protocols that are enabled and disabled.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use starling_tests::netns::usable;
use starling_tests::process::Process;
use starling_tests::tools;

use crate::site::{LIMIT, PREFIXES, Site};
use crate::upstream::{Look, Watcher, looks};

pub(crate) const ZONE: &str = "$ORIGIN small.example.\n$TTL 300\n@ SOA ns1 hostmaster 1 3600 900 604800 60\n  NS ns1\nns1 A 192.0.2.1\n";

const CONFIGURATION: &str = r#"
[node]
listen = ["203.0.113.53:53", "[2001:db8:53::53]:53"]
control = "control"
workers = 1
[anycast]
addresses = ["203.0.113.53", "2001:db8:53::53"]
prefixes = ["203.0.113.0/24", "2001:db8:53::/48"]
driver = "protocols"
stable-ms = 300
hold-down-ms = 300
drain-ms = 500
grace-ms = 200
[anycast.bird]
socket = "node.ctl"
protocols = ["upstream4", "upstream6"]
up = ["starling_up4", "starling_up6"]
degraded = ["starling_degraded4", "starling_degraded6"]
draining = ["starling_draining4", "starling_draining6"]
[[zone]]
name = "small.example"
file = "small.zone"
"#;

/// A node whose route BIRD learns. It is up as soon as it can be, and patient with a machine that is busy.
pub(crate) const LEARNING: &str = r#"
[node]
listen = ["203.0.113.53:53", "[2001:db8:53::53]:53"]
control = "control"
workers = 1
[anycast]
addresses = ["203.0.113.53", "2001:db8:53::53"]
prefixes = ["203.0.113.0/24", "2001:db8:53::/48"]
stable-ms = 1
hold-down-ms = 1
hold-down-max-ms = 1
probe-ms = 50
freeze-ms = 3000
[[zone]]
name = "small.example"
file = "small.zone"
"#;

/// What follows [`LEARNING`] for a node that asks BIRD, and sets TCP_NODELAY on its sessions.
pub(crate) const ASKED: &str = r#"
[anycast.bird]
socket = "node.ctl"
protocols = ["upstream4", "upstream6"]
"#;

fn start(site: &Site) -> Result<Process> {
    start_with(site, CONFIGURATION)
}

/// Starts a node with this configuration, in the folder of the site, and with no limit to the size of core dumps.
pub(crate) fn start_with(site: &Site, configuration: &str) -> Result<Process> {
    start_by(site, configuration, &[])
}

/// The same by another program with its arguments, which becomes the node.
pub(crate) fn start_by(site: &Site, configuration: &str, starter: &[String]) -> Result<Process> {
    std::fs::write(site.file("small.zone"), ZONE)?;
    std::fs::write(site.file("node.toml"), configuration)?;
    let binary = tools::starling()?;
    let mut command = site.node.command("prlimit")?;
    command
        .arg("--core=unlimited")
        .args(starter)
        .arg(binary)
        .arg("run")
        .arg("--config")
        .arg(site.file("node.toml"));
    command.current_dir(site.file(""));
    let mut agent = Process::spawn("agent", &command, &site.file("agent.log"))?;
    let deadline = Instant::now() + LIMIT;
    loop {
        let line = agent.line(deadline)?.with_context(|| format!("not running: {}", agent.log_tail()))?;
        if line == "running" {
            return Ok(agent);
        }
    }
}

/// `starling ctl`, which has to go well.
pub(crate) fn ctl(control: &Path, arguments: &[&str]) -> Result<Output> {
    let output =
        Command::new(tools::starling()?).arg("ctl").arg("--control").arg(control).args(arguments).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(output)
}

/// Up, drained, back, upgraded, and at its end.
#[test]
fn a_node_moves_its_route_by_protocols() {
    if !usable() {
        return;
    }
    let site = Site::start("protocols.conf").unwrap();
    let mut agent = start(&site).unwrap();
    let control = site.file("control");
    site.wait_look(Look::Plain).unwrap();
    ctl(&control, &["drain"]).unwrap();
    site.wait_look(Look::Shutdown).unwrap();
    ctl(&control, &["undrain"]).unwrap();
    site.wait_look(Look::Plain).unwrap();
    tools::poll("BIRD is verified", LIMIT, || {
        let output = ctl(&control, &["explain"])?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok((said.contains("exports what is meant") && said.contains("up since")).then_some(()))
    })
    .unwrap();
    let watcher = Watcher::start(&site.upstream_socket(), &PREFIXES).unwrap();
    ctl(&control, &["upgrade"]).unwrap();
    tools::poll("probes pass again", LIMIT, || {
        let output = ctl(&control, &["explain"])?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let passing = said.lines().filter(|line| line.starts_with("probe-") && line.contains(" passing "));
        Ok((passing.count() == 4).then_some(()))
    })
    .unwrap();
    let seen = watcher.stop().unwrap();
    for prefix in PREFIXES {
        assert_eq!(looks(&seen, prefix), [Look::Plain], "{prefix} moved with the upgrade");
    }
    agent.signal(Signal::TERM).unwrap();
    site.wait_look(Look::Gone).unwrap();
    let status = agent.wait(LIMIT).unwrap();
    assert!(status.success(), "{status}: {}", agent.log_tail());
}

/// A BIRD that can't be told anything: what is left is to take the interface away that its statics go through.
#[test]
fn a_withdrawal_that_bird_does_not_hear_is_made_by_the_interface() {
    if !usable() {
        return;
    }
    let site = Site::start("protocols.conf").unwrap();
    let agent = start(&site).unwrap();
    site.wait_look(Look::Plain).unwrap();
    let there = || -> Result<bool> {
        let mut command = site.node.command("ip")?;
        Ok(command.args(["link", "show", "dev", "starling0"]).output()?.status.success())
    };
    assert!(there().unwrap());
    site.signal_node_bird(Signal::STOP).unwrap();
    ctl(&site.file("control"), &["maintenance", "on"]).unwrap();
    tools::poll("the interface is gone", LIMIT, || Ok((!there()?).then_some(()))).unwrap();
    site.signal_node_bird(Signal::CONT).unwrap();
    site.wait_look(Look::Gone).unwrap();
    ctl(&site.file("control"), &["maintenance", "off"]).unwrap();
    site.wait_look(Look::Plain).unwrap();
    drop(agent);
}
