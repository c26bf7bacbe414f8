//! Wrong answers at the service address, from a real server: an NSD that shares the address with the node.
//!
//! Both bind it with SO_REUSEPORT, as NSD does where it is told to, and the kernel gives each of them a share of the
//! clients. Starling itself is well all the time and says so; only who asks as a client does sees what clients see.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use starling_tests::process::Process;
use starling_tests::{netns, tools};

use super::agent::{Agent, DOWN, LIMIT, MANAGEMENT, Place, SERVICE, SHORT, UP, lines};
use crate::node::small_zone;

/// How long wrong answers may be announced: three rounds of 100 ms, and the rest for a machine that is busy.
const GONE_WITHIN: Duration = Duration::from_millis(2500);
/// A peer that nobody runs: for the last-site guard, this node is the last one. It must not matter.
const SECTIONS: &str = "[[peer]]\nname = \"nobody\"\naddress = \"127.0.0.1:9\"\n\
                        [[zone]]\nname = \"small.example\"\nfile = \"small.zone\"\n";
const SERIAL: u32 = 5;

/// Starts NSD at the service addresses; returns when it has them.
fn nsd(place: &Place, zone: &str) -> Result<Process> {
    let folder = place.path("").display().to_string();
    let addresses = SERVICE.map(|address| {
        let (ip, port) = address.rsplit_once(':').unwrap_or_default();
        format!("  ip-address: {}@{port}\n", ip.trim_matches(['[', ']']))
    });
    let text = format!(
        "server:\n{}  reuseport: yes\n  server-count: 2\n  username: \"\"\n  zonesdir: \"{folder}\"\n  pidfile: \"\"\n  database: \"\"\n  \
         xfrdfile: \"\"\n  zonelistfile: \"{folder}/zone.list\"\n  xfrdir: \"{folder}\"\n  verbosity: 2\n\
         remote-control:\n  control-enable: no\n{zone}",
        addresses.concat()
    );
    place.write("nsd.conf", &text)?;
    let mut command = place.namespace.command("nsd")?;
    command.args(["-d", "-c"]).arg(place.path("nsd.conf"));
    let mut process = Process::spawn("nsd", &command, &place.path("nsd.log"))?;
    tools::poll("NSD has started", LIMIT, || {
        ensure!(process.exited().is_none(), "{}", process.log_tail());
        Ok(process.log().contains("nsd started").then_some(()))
    })?;
    Ok(process)
}

/// Waits until the route is gone for a hard reason that says this; then takes NSD away and waits until it is back.
fn withdrawn(agent: &Agent<'_>, nsd: Process, since: Instant, seen: &str) -> Result<()> {
    agent.wait(DOWN).with_context(|| nsd.log_tail())?;
    let gone = since.elapsed();
    let explained = agent.explains("the reason", |told| lines(&told["reasons"]).contains(seen));
    let explained = explained.with_context(|| nsd.log_tail())?;
    ensure!(lines(&explained["reasons"]).contains("(hard, withdraw)"), "{explained:#}");
    let history = agent.place.json(&["history"])?;
    let last = history.as_array().and_then(|all| all.last()).context("no history")?.clone();
    ensure!(last["to"] == "down" && last["by"] == "hard", "{history:#}");
    ensure!(gone < GONE_WITHIN, "gone only after {gone:?}");
    ensure!(agent.place.get("/healthz")?.status == 503);
    drop(nsd);
    agent.wait(UP)
}

#[test]
fn wrong_answers_withdraw_even_the_last_site() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let place =
        Place::with("wrong", SHORT, &format!("[management]\nlisten = [\"{MANAGEMENT}\"]\n{SECTIONS}"))?;
    place.write("small.zone", &small_zone(SERIAL, ""))?;
    place.write("older.zone", &small_zone(SERIAL - 1, ""))?;
    place.write(
        "above.zone",
        &small_zone(1, "small NS ns.small\nns.small A 192.0.2.1\n").replace("small.example.", "example."),
    )?;
    // A single TCP thread has its listeners for itself.
    let text = std::fs::read_to_string(place.path("node.toml"))?;
    place.write("node.toml", &text.replace("workers = 2\n", "workers = 2\ntcp = { workers = 2 }\n"))?;
    let agent = place.start()?;
    let server = agent.server()?;
    let zone = |name: &str, file: &str| format!("zone:\n  name: {name}\n  zonefile: {file}\n");
    let cases = [
        ("an older serial", zone("small.example", "older.zone"), "the serial is 4, and 5 is published"),
        ("SERVFAIL", zone("small.example", "missing.zone"), "the response code is SERVFAIL"),
        ("a referral", zone("example", "above.zone"), "AA is not set"),
        (
            "the same zone from another server",
            zone("small.example", "small.zone"),
            "another server has the address",
        ),
    ];
    for (what, zone, seen) in cases {
        let since = Instant::now();
        let nsd = nsd(&place, &zone).with_context(|| what)?;
        withdrawn(&agent, nsd, since, seen).with_context(|| what)?;
    }
    ensure!(agent.server()? == server, "the server was started again, and need not have been");
    Ok(())
}
