//! The way up: nothing is announced before it is proved good.

use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use starling_tests::process::Process;
use starling_tests::{netns, tools};

use super::agent::{DOWN, LIMIT, MANAGEMENT, Place, SERVICE, SHORT, UP, check, lines};
use crate::node::{said, small_zone};

/// How long everything has to be good, in milliseconds: long enough to tell it from the start itself.
const STABLE_MS: u64 = 1500;
/// How late a test may see what was said or done.
const SEEN_WITHIN: Duration = Duration::from_millis(500);

#[test]
fn a_route_comes_after_the_node_was_ready_and_stable() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let times = SHORT.replace("stable-ms = 300", &format!("stable-ms = {STABLE_MS}"));
    let sections = format!(
        "[management]\nlisten = [\"{MANAGEMENT}\"]\n[[zone]]\nname = \"small.example\"\nfile = \"small.zone\"\n"
    );
    let place = Place::with("start", &times, &sections)?;
    let mut agent = place.launch()?;
    let mut said = Vec::new();
    while said.last().is_none_or(|line| line != "running") {
        ensure!(place.routes()?.is_empty(), "a route before `running`: {said:?}");
        let now = Instant::now();
        said.extend(agent.process.line(now)?);
        ensure!(place.routes()?.is_empty() || said.last().is_some_and(|line| line == "running"));
    }
    let running = Instant::now();
    let expected = [
        format!("listening {} udp tcp", SERVICE[0]),
        format!("listening {} udp tcp", SERVICE[1]),
        "ready".to_owned(),
        format!("management {MANAGEMENT}"),
        "running".to_owned(),
    ];
    ensure!(said == expected, "{said:?}");
    tools::poll("a route", LIMIT, || Ok((!place.routes()?.is_empty()).then_some(())))?;
    let after = running.elapsed();
    ensure!(after + SEEN_WITHIN > Duration::from_millis(STABLE_MS), "the route came after {after:?}");
    agent.wait(UP)?;

    let addresses = place.namespace.ip("-brief address show dev starling0")?;
    for address in ["203.0.113.53/32", "2001:db8:53::53/128"] {
        ensure!(addresses.contains(address), "{address}: {addresses}");
    }
    for service in SERVICE {
        ensure!(place.ask(service)?.is_some(), "no answer from {service}");
    }
    Ok(())
}

#[test]
fn a_server_that_cannot_start_is_tried_again_and_told() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let place = Place::new("taken", "")?;
    let taken = place.namespace.inside(|| UdpSocket::bind("0.0.0.0:53"))??;
    let agent = place.launch()?;
    let explained =
        agent.explains("several attempts", |told| told["server"]["restarts"].as_u64() >= Some(3))?;
    ensure!(explained["held"] == "down" && explained["wanted"] == "down", "{explained:#}");
    ensure!(lines(&explained["reasons"]).contains("ended with exit code 1"), "{explained:#}");
    ensure!(place.get("/healthz")?.status == 503);
    agent.wait(DOWN)?;
    // Asked without a server, the agent tells what it knows.
    ensure!(place.said(&["status"])?.contains("down"));
    drop(taken);
    agent.wait(UP)
}

#[test]
fn an_interface_that_is_not_free_is_refused() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let place = Place::new("held", "")?;
    let agent = place.start()?;
    let text = std::fs::read_to_string(place.path("node.toml"))?;
    let other = text.replace("\"control\"", "\"control-2\"").replace("\"state\"", "\"state-2\"");
    place.write("node.toml", &other.replace(MANAGEMENT, "127.0.0.1:8054"))?;
    let output = place.fail()?;
    let told = said(&output);
    ensure!(output.status.code() == Some(1), "{}\n{told}", output.status);
    ensure!(told.contains("starling0") && told.contains("another"), "{told}");
    agent.wait(UP)?;
    drop(agent);

    let place = Place::new("persistent", "")?;
    place.namespace.ip("tuntap add dev starling0 mode tun")?;
    let output = place.fail()?;
    let told = said(&output);
    ensure!(output.status.code() == Some(1), "{}\n{told}", output.status);
    ensure!(told.contains("starling0") && told.contains("persistent"), "{told}");
    Ok(())
}

/// Under systemd: readiness, and signs of life for its watchdog.
#[test]
fn systemd_hears_that_the_node_is_ready_and_lives() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let place = Place::new("systemd", "")?;
    let path = place.path("notify");
    let socket = UnixDatagram::bind(&path)?;
    socket.set_read_timeout(Some(LIMIT))?;
    let mut command = place.command()?;
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "5000000");
    let mut agent = Process::spawn("starling run", &command, &place.path("log"))?;
    let mut heard = String::new();
    hear(&socket, &mut heard, &["READY=1", "WATCHDOG=1"])?;
    agent.signal(rustix::process::Signal::TERM)?;
    hear(&socket, &mut heard, &["STOPPING=1"])?;
    let status = agent.wait(LIMIT)?;
    ensure!(status.success(), "{status}");
    Ok(())
}

/// Listens until all of these words were heard.
fn hear(socket: &UnixDatagram, heard: &mut String, words: &[&str]) -> Result<()> {
    let mut buffer = [0; 512];
    while !words.iter().all(|word| heard.contains(word)) {
        match socket.recv(&mut buffer) {
            Ok(len) => heard.push_str(&String::from_utf8_lossy(&buffer[..len])),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).with_context(|| format!("heard so far: {heard}")),
        }
    }
    Ok(())
}

/// A server that is started again has read the configuration anew, and the agent has not.
#[test]
fn probes_find_the_workers_of_a_server_that_chooses_them_in_another_way() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let place = Place::new("steer", "")?;
    let agent = place.start()?;
    for (before, after) in [("workers = 2", "workers = 2\nsteering = \"cpu\""), ("\"cpu\"", "\"hash\"")] {
        let text = std::fs::read_to_string(place.path("node.toml"))?;
        place.write("node.toml", &text.replace(before, after))?;
        let server = agent.server()?;
        ensure!(std::process::Command::new("kill").arg("-KILL").arg(server.to_string()).status()?.success());
        agent.explains("another server", |told| {
            told["server"]["pid"] != server && told["server"]["state"] == "ready"
        })?;
        agent.wait(UP)?;
    }
    // The same sockets in another program's hands.
    place.said(&["upgrade"])?;
    agent.explains("probes of the next program", |told| {
        check(told, "probe-udp-203.0.113.53:53")["standing"] == "passing"
    })?;
    Ok(())
}

#[test]
fn an_upgrade_that_comes_before_the_server_answers_is_refused() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    // A zone that takes a while to load.
    let place = Place::new("early", "")?;
    let names: String = (0..200_000).map(|number| format!("h{number} A 192.0.2.3\n")).collect();
    place.write("small.zone", &small_zone(1, &names))?;
    let agent = place.launch()?;
    let refused = tools::poll("a control socket", LIMIT, || {
        let output = place.ctl(&["upgrade"])?;
        Ok((!said(&output).contains("No such file")).then_some(said(&output)))
    })?;
    ensure!(refused.contains("nothing to hand over yet"), "{refused}\n{}", agent.process.log_tail());
    agent.wait(UP)?;
    let told = place.said(&["upgrade"])?;
    ensure!(told.contains("the agent follows"), "{told}");
    Ok(())
}
