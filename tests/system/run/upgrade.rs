//! `starling ctl upgrade`: another program in the place of the running one.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use starling_tests::certificates;
use starling_tests::message::Message;
use starling_tests::name::Name;
use starling_tests::process::Process;
use starling_tests::query::Query;
use starling_tests::tools::Executable;
use starling_tests::{netns, tls, tools};

use super::agent::{Agent, DRAINING, LIMIT, Place, SERVICE, UP, check};

/// Routes that come and go, to be seen by the monitor.
const MARK: &str = "192.0.2.1";
const END: &str = "192.0.2.2";
const TYPE_SOA: u16 = 6;

/// A copy of the program under another name: what runs shows by its path.
fn copy(place: &Place, name: &str) -> Result<String> {
    tools::executable(&place.path(name), Executable::CopyOf(&tools::starling()?))?;
    Ok(place.path(name).display().to_string())
}

/// What a process runs.
fn program(pid: i64) -> Result<String> {
    Ok(fs::read_link(format!("/proc/{pid}/exe"))?.display().to_string())
}

/// What the kernel tells of routes and interfaces while this value lives.
struct Monitor(Process);

impl Monitor {
    fn start(place: &Place) -> Result<Self> {
        let mut command = place.namespace.command("ip")?;
        command.args(["monitor", "route", "link"]);
        let mut process = Process::spawn("ip monitor", &command, &place.path("monitor-log"))?;
        // It listens when it tells of what is done now.
        tools::poll("a monitor that listens", LIMIT, || {
            place.namespace.ip(&format!("route add {MARK} dev lo"))?;
            place.namespace.ip(&format!("route del {MARK} dev lo"))?;
            Ok(process.line(Instant::now())?.map(drop))
        })?;
        Ok(Self(process))
    }

    /// What happened to the lease.
    fn changes(mut self, place: &Place) -> Result<Vec<String>> {
        place.namespace.ip(&format!("route add {END} dev lo"))?;
        place.namespace.ip(&format!("route del {END} dev lo"))?;
        let mut changes = Vec::new();
        loop {
            let line = self.0.line(Instant::now() + LIMIT)?.context("the monitor is silent")?;
            if line.contains(END) {
                return Ok(changes);
            }
            // The interface is told of, too, when another descriptor is opened; that changes nothing.
            if line.contains("starling0") && (line.contains("metric") || line.contains("Deleted")) {
                changes.push(line);
            }
        }
    }
}

/// Children of a process that have ended, and that it has not waited for.
fn defunct(parent: i32) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.filter_map(Result::ok) {
        // Processes come and go meanwhile.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        if fields.first() == Some(&"Z") && fields.get(1) == Some(&parent.to_string().as_str()) {
            found.push(stat);
        }
    }
    Ok(found)
}

/// Upgrades, and looks whether it was done.
fn upgrade(agent: &Agent<'_>, binary: &str) -> Result<()> {
    let place = agent.place;
    let server = agent.server()?;
    let told = place.said(&["upgrade", "--binary", binary])?;
    ensure!(told.contains("the agent is back"), "{told}");
    let new = agent.server()?;
    ensure!(new != server, "the server is the one of before");
    for pid in [agent.process.pid().into(), new] {
        ensure!(program(pid)? == binary, "{pid} runs {}", program(pid)?);
    }
    for service in SERVICE {
        ensure!(place.ask(service)?.is_some(), "no answer from {service}");
    }
    // The agent that follows watches the server that it was given.
    agent.explains("probes that pass", |told| {
        told["server"]["state"] == "ready"
            && check(told, "probe-udp-203.0.113.53:53")["standing"] == "passing"
    })?;
    tools::poll("the server of before is gone", LIMIT, || {
        Ok((!Path::new(&format!("/proc/{server}")).exists()).then_some(()))
    })
}

#[test]
fn an_upgrade_keeps_process_route_and_history() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let place = Place::new("upgrade", "")?;
    let mut agent = place.start()?;
    let (history, since) = (place.json(&["history"])?, place.json(&["explain"])?["since"].clone());
    let monitor = Monitor::start(&place)?;
    upgrade(&agent, &copy(&place, "starling-2")?)?;
    upgrade(&agent, &copy(&place, "starling-3")?)?;
    let explained = agent.explains("a route that is up", |told| told["held"] == "up")?;
    ensure!(explained["pid"] == agent.process.pid(), "{explained:#}");
    ensure!(place.json(&["history"])? == history, "{:#}", place.json(&["history"])?);
    ensure!(!since.is_null() && explained["mode"] == "normal", "{explained:#}");
    // A drain goes on.
    place.said(&["drain", "--for", "1h"])?;
    agent.wait(DRAINING)?;
    let changes = monitor.changes(&place)?;
    let deleted: Vec<&String> = changes.iter().filter(|line| line.contains("Deleted")).collect();
    ensure!(deleted.len() == 2 && deleted.iter().all(|line| line.contains("metric 100")), "{changes:#?}");

    let monitor = Monitor::start(&place)?;
    upgrade(&agent, &tools::starling()?.display().to_string())?;
    let changes = monitor.changes(&place)?;
    ensure!(changes.is_empty(), "{changes:#?}");
    let explained = agent.explains("a drain", |told| told["mode"] == "draining")?;
    ensure!(explained["held"] == "draining", "{explained:#}");
    ensure!(defunct(agent.process.pid())?.is_empty(), "{:?}", defunct(agent.process.pid())?);
    place.said(&["undrain"])?;
    agent.wait(UP)?;
    ensure!(agent.process.exited().is_none());
    Ok(())
}

#[test]
fn an_upgrade_to_what_is_no_program_changes_nothing() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let place = Place::new("unfit", "")?;
    let agent = place.start()?;
    let (server, before) = (agent.server()?, program(agent.process.pid().into())?);
    let script = |name: &str, text: &str| -> Result<String> {
        tools::executable(&place.path(name), Executable::Script(text))?;
        Ok(place.path(name).display().to_string())
    };
    place.write("text", "no program\n")?;
    let starling = tools::starling()?.display().to_string();
    let unfit = [
        (place.path("missing").display().to_string(), "can't be run"),
        (place.path("text").display().to_string(), "can't be run"),
        ("/bin/false".to_owned(), "does not take the configuration"),
        (script("refuses", "#!/bin/sh\necho too old >&2\nexit 1\n")?, "too old"),
        // It takes the configuration, and fails as a server.
        (
            script("fails", &format!("#!/bin/sh\n[ \"$1\" = serve ] && exit 7\nexec {starling} \"$@\"\n"))?,
            "exit code 7",
        ),
    ];
    for (binary, why) in &unfit {
        let told = place.refused(&["upgrade", "--binary", binary])?;
        ensure!(told.contains(why) && told.contains("goes on"), "{binary}: {told}");
        ensure!(agent.server()? == server, "{binary}: another server");
        ensure!(program(agent.process.pid().into())? == before);
        for service in SERVICE {
            ensure!(place.ask(service)?.is_some(), "{binary}: no answer from {service}");
        }
    }
    ensure!(place.json(&["history"])?.as_array().is_some_and(|all| all.len() == 1));
    ensure!(defunct(agent.process.pid())?.is_empty(), "{:?}", defunct(agent.process.pid())?);
    // After all that, a good one is taken.
    upgrade(&agent, &copy(&place, "starling-2")?)
}

/// The listeners for TLS go to the next program, too.
#[test]
fn an_upgrade_keeps_tls() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let at = "127.0.0.1:853";
    let place = Place::new(
        "upgrade-tls",
        &format!("[node.tls]\nlisten = [\"{at}\"]\ncertificate-file = \"own.pem\"\nkey-file = \"own.key\"\n"),
    )?;
    certificates::authority(&place.path(""), "own")?;
    let agent = place.start()?;
    let ask = || {
        let question = Query::new(Name::parse("small.example.")?, TYPE_SOA).bytes(7);
        let openssl = place.namespace.command("openssl")?;
        let answer = tls::ask(openssl, at.parse()?, &["-alpn", "dot"], &question)?;
        Message::decode(&answer.context("no answer over TLS")?)
    };
    ensure!(ask()?.rcode() == 0, "before");
    for name in ["starling-2", "starling-3"] {
        upgrade(&agent, &copy(&place, name)?)?;
        ensure!(ask()?.rcode() == 0, "after the upgrade to {name}");
    }
    Ok(())
}
