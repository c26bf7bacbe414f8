//! Threads that get no CPU, and threads that get nowhere though they have one.
//!
//! A thread is starved by what an overloaded machine does to all: it has the lowest priority there is on a CPU that others
//! never let go of.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use starling_tests::process::{Process, thread_of};
use starling_tests::{netns, tools};

use super::agent::{Agent, DEGRADED, DOWN, LIMIT, MANAGEMENT, Place, SHORT, UP, check, lines};

/// What nodes have by default, and what these tests are about.
const FREEZE: Duration = Duration::from_millis(700);
/// How many endless loops share the CPU with who is to be starved: with 3 it sometimes had its turn after 40 ms, which is no want.
const LOOPS: usize = 12;
/// How long a route may stay after a worker is stuck: the second that is promised, and the rest for a busy machine.
const GONE_WITHIN: Duration = Duration::from_millis(2500);

fn place(label: &str) -> Result<Place> {
    let times = SHORT.replace("freeze-ms = 3000", &format!("freeze-ms = {}", FREEZE.as_millis()));
    let zone = "[[zone]]\nname = \"small.example\"\nfile = \"small.zone\"\n";
    Place::with(label, &times, &format!("[management]\nlisten = [\"{MANAGEMENT}\"]\n{zone}"))
}

fn ran(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(tools::program(program)?).args(arguments).output()?;
    ensure!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Starves a thread on the first CPU that it may run on, while the value lives.
fn starve(place: &Place, tid: &str) -> Result<Vec<Process>> {
    let status = fs::read_to_string(format!("/proc/{tid}/status"))?;
    let allowed =
        status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:\t")).context("CPUs")?;
    let cpu = allowed.split(['-', ',']).next().context("a CPU")?.to_owned();
    ran("taskset", &["-c", "-p", &cpu, tid])?;
    let loops = (0..LOOPS).map(|number| {
        let mut command = Command::new(tools::program("taskset")?);
        command.args(["-c", &cpu]).arg(tools::program("sh")?).args(["-c", "while :; do :; done"]);
        Process::spawn("loop", &command, &place.path(&format!("loop-{number}")))
    });
    let loops = loops.collect::<Result<_>>()?;
    ran("chrt", &["--idle", "-p", "0", tid])?;
    Ok(loops)
}

/// Whether the route was ever down since it was up first.
fn went_down(agent: &Agent<'_>) -> Result<bool> {
    let history = agent.place.json(&["history"])?;
    Ok(history.as_array().is_some_and(|all| all.iter().any(|step| step["to"] == "down")))
}

#[test]
fn a_worker_that_gets_no_cpu_is_not_taken_for_a_stuck_one() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let place = place("starved")?;
    let agent = place.start()?;
    let server = agent.server()?;
    let loops = starve(&place, &thread_of(server, "udp-0")?)?;
    let began = Instant::now();
    // What its clients don't get is told, and makes the node worse than others, but never takes it away.
    agent.wait(DEGRADED)?;
    let explained = agent.explains("the reason", |told| {
        let probe = check(told, "probe-udp-203.0.113.53:53");
        probe["overloaded"] == true || check(told, "probe-udp-[2001:db8:53::53]:53")["overloaded"] == true
    })?;
    ensure!(lines(&explained["reasons"]).contains("has waited for a CPU"), "{explained:#}");
    agent.explains("the check", |told| check(told, "cpu")["standing"] == "failing")?;
    ensure!(place.get("/healthz")?.status == 200, "{:?}", place.get("/healthz")?);
    tools::poll("four times as long as a frozen one would have", LIMIT, || {
        Ok((began.elapsed() > 4 * FREEZE).then_some(()))
    })?;
    ensure!(agent.server()? == server, "another server\n{}", agent.process.log_tail());
    ensure!(!went_down(&agent)?, "{}", agent.process.log_tail());
    drop(loops);
    agent.wait(UP)?;
    ensure!(agent.server()? == server, "another server\n{}", agent.process.log_tail());
    Ok(())
}

#[test]
fn an_agent_that_gets_no_cpu_is_not_killed() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let place = place("starving")?;
    let mut agent = place.start()?;
    let server = agent.server()?;
    let loops = starve(&place, &agent.process.pid().to_string())?;
    let began = Instant::now();
    tools::poll("four times as long as a frozen one would have", LIMIT, || {
        Ok((began.elapsed() > 4 * FREEZE).then_some(()))
    })?;
    drop(loops);
    agent.wait(UP)?;
    ensure!(agent.process.exited().is_none() && agent.server()? == server, "{}", agent.process.log_tail());
    ensure!(agent.process.log().contains("the agent has waited for a CPU"), "{}", agent.process.log_tail());
    Ok(())
}

#[test]
fn a_worker_in_an_endless_loop_is_found() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    if cfg!(not(target_arch = "x86_64")) {
        tools::announce("SKIPPED: spin-thread.py knows the registers of x86-64 alone");
        return Ok(());
    }
    let place = place("loop")?;
    let agent = place.start()?;
    let server = agent.server()?;
    let tid = thread_of(server, "udp-1")?;
    let script = tools::data("spin-thread.py").display().to_string();
    let began = Instant::now();
    ran("python3", &[&script, &tid])?;
    agent.wait(DOWN)?;
    let gone = began.elapsed();
    ensure!(gone < GONE_WITHIN, "gone only after {gone:?}");
    let log = || Ok(agent.process.log().contains("UDP worker 1 of the server has stood still").then_some(()));
    tools::poll("the reason", LIMIT, log).with_context(|| agent.process.log_tail())?;
    tools::announce(&format!(
        "a worker in an endless loop: the route was gone after {} ms",
        gone.as_millis()
    ));
    agent.wait(UP)?;
    ensure!(agent.server()? != server, "the server is the same");
    Ok(())
}
