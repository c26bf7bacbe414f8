//! The comparison as its user has it: it measures, it writes what it has seen, and it leaves nothing behind.
//!
//! Nothing here depends on how fast a server is.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use starling_tests::process::Process;
use starling_tests::{netns, tools};

/// How long the comparison may take to end when it is told to. It waits for nothing but the ends of processes.
const END_LIMIT: Duration = Duration::from_secs(60);
/// How long it may take until a server runs.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Two servers, once, in well under a minute; the rest is for a machine with other work to do.
const RUN_LIMIT: Duration = Duration::from_secs(600);
/// As short as it can be, with what every Debian has.
const SHORT: [&str; 9] =
    ["--quick", "--workloads", "hot", "--seconds", "0.2", "--patience", "0", "--flood", "sockets"];

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_compare"));
    command.args(arguments);
    command
}

/// Whether there are two CPUs and the rights to make namespaces; says so where there are not.
fn usable() -> bool {
    let cpus = netio::pin::allowed_cpus().unwrap_or_default();
    if !cpus.iter().any(|cpu| cpu.0 == 0) || !cpus.iter().any(|cpu| cpu.0 == 1) {
        tools::announce("SKIPPED: the comparison takes CPU 0 and CPU 1");
        return false;
    }
    netns::usable()
}

/// Namespaces that a process has made and not removed.
fn left_by(pid: i32) -> Vec<String> {
    let entries = std::fs::read_dir("/run/netns").into_iter().flatten().filter_map(Result::ok);
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(&format!("starling-{pid}-"))).collect()
}

fn text(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}\n{out}{err}", output.status)
}

#[test]
fn two_servers_are_measured_and_nothing_is_left() -> Result<()> {
    if !usable() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let saved = folder.path().join("results.toml");
    let saved_path = saved.to_str().context("a temporary folder is UTF-8")?;
    let arguments = [&SHORT[..], &["--servers", "starling,nsd", "--save", saved_path]].concat();
    let (process, lines) = run_to_the_end(&arguments, folder.path())?;
    let log = process.log();
    for server in ["starling", "nsd"] {
        let row = lines.iter().find(|line| line.starts_with(&format!("| {server} ")));
        ensure!(row.is_some(), "no row of {server}:\n{}\n{log}", lines.join("\n"));
    }
    ensure!(!log.contains("otherwise than"), "the servers disagree:\n{log}");
    ensure!(left_by(process.pid()).is_empty(), "left behind: {:?}", left_by(process.pid()));

    let results: toml::Table = std::fs::read_to_string(&saved)?.parse()?;
    let outcomes = results["outcome"].as_array().context("results have outcomes")?;
    ensure!(outcomes.len() == 2, "{results}");
    for outcome in outcomes {
        let positive = |metric: &str| outcome["figures"][metric][1].as_float() > Some(0.0);
        for metric in ["answers-per-s", "cpu-ns", "median-us", "memory-mib", "start-s"] {
            ensure!(positive(metric), "{metric}: {outcome}");
        }
    }

    // What has just been measured is what it is compared with.
    let arguments = [&SHORT[..], &["--servers", "nsd", "--against", saved_path]].concat();
    let (_, lines) = run_to_the_end(&arguments, folder.path())?;
    ensure!(lines.iter().any(|line| line.contains("figures compared")), "{}", lines.join("\n"));
    Ok(())
}

/// Runs it to its end, which has to be a good one; what it wrote to standard output comes with it.
fn run_to_the_end(arguments: &[&str], folder: &Path) -> Result<(Process, Vec<String>)> {
    let mut process = Process::spawn("compare", &command(arguments), &folder.join("log"))?;
    let status = process.wait(RUN_LIMIT)?;
    let mut lines = Vec::new();
    // The end of its output is an error, and here it is the end.
    while let Ok(Some(line)) = process.line(Instant::now() + END_LIMIT) {
        lines.push(line);
    }
    ensure!(status.success(), "ended with {status}:\n{}\n{}", lines.join("\n"), process.log_tail());
    Ok((process, lines))
}

#[test]
fn an_interrupt_takes_everything_down() -> Result<()> {
    if !usable() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let arguments = [&SHORT[..], &["--servers", "starling", "--rounds", "1000"]].concat();
    let mut process = Process::spawn("compare", &command(&arguments), &folder.path().join("log"))?;
    let pid = process.pid();
    tools::poll("a server has been measured", START_LIMIT, || {
        ensure!(process.exited().is_none(), "ended by itself:\n{}", process.log_tail());
        Ok(process.log().contains("round 1/1000 starling").then_some(()))
    })?;
    ensure!(left_by(pid).len() == 2, "it runs in two namespaces: {:?}", left_by(pid));
    process.signal(Signal::INT)?;
    let status = process.wait(END_LIMIT)?;
    ensure!(status.code() == Some(1), "ended with {status}:\n{}", process.log_tail());
    ensure!(process.log().contains("interrupted"), "{}", process.log_tail());
    ensure!(left_by(pid).is_empty(), "left behind: {:?}", left_by(pid));
    Ok(())
}

#[test]
fn what_can_not_be_measured_is_said_before_anything_is_set_up() -> Result<()> {
    if !usable() {
        return Ok(());
    }
    let cases: &[(&[&str], &str)] = &[
        (&["--generator-cpu", "0"], "two CPUs"),
        (&["--server-cpus", "0,4000"], "CPU 4000 is not there"),
        (&["--against", "/nonexistent/results.toml"], "/nonexistent/results.toml"),
        (&["--servers", "djbdns"], "possible values"),
    ];
    for (arguments, expected) in cases {
        let arguments = [&SHORT[..], arguments].concat();
        let output = command(&arguments).output()?;
        ensure!(output.status.code() == Some(2), "{arguments:?}: {}", text(&output));
        ensure!(text(&output).contains(expected), "{arguments:?}: {}", text(&output));
    }
    Ok(())
}
