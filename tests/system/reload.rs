//! A new version of a zone under load, and a bad one.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use starling_tests::process::{Process, thread_of};
use starling_tests::server::own_address;
use starling_tests::{http, tools};

use crate::node::{Node, Site, TYPE_A, said, small_zone};

/// Names of the zone that is reloaded under load.
const NAMES: u32 = 1_000_000;
/// Queries a second: steady, and far from what one core can do even beside a compiler, so that a query that
/// is lost was lost by the reload.
const RATE: u32 = 5_000;
/// Reading and compiling a million names takes seconds. It runs at idle priority, so that it takes minutes
/// where others want all cores: four busy loops on two cores made it more than three.
const RELOAD_LIMIT: Duration = Duration::from_secs(900);
/// How long it may take until a worker stands still, until it is said that one is late, and until one is not late any more.
const LATE_WITHIN: Duration = Duration::from_secs(60);

#[test]
fn no_query_is_lost_while_a_million_names_are_reloaded() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let zone = folder.path().join("million.zone");
    write_million(&zone, 1)?;
    let site = Site::new(&[("million.example", &zone)], "state-dir = \"state\"")?;
    let node = site.start()?;
    let queries = folder.path().join("queries");
    write_queries(&queries)?;
    let mut load = dnsperf(&node, &queries, folder.path())?;

    write_million(&zone, 2)?;
    node.process.signal(Signal::HUP)?;
    served(&node, 2)?;
    write_million(&zone, 3)?;
    let output = node.ctl(&["reload", "million.example"])?;
    ensure!(output.status.success(), "{}", said(&output));
    ensure!(node.serial("million.example.")? == 3, "`ctl reload` returns before the new version is served");

    ensure!(load.exited().is_none(), "dnsperf ended too early:\n{}", load.log_tail());
    load.signal(Signal::INT)?;
    let report = lines(&mut load)?;
    let figure = |title: &str| -> Result<u64> {
        let line = report.iter().find(|line| line.trim_start().starts_with(title));
        let line =
            line.with_context(|| format!("no `{title}` in what dnsperf says:\n{}", report.join("\n")))?;
        let number = line.split_whitespace().find_map(|word| word.parse().ok());
        number.with_context(|| line.clone())
    };
    let (completed, lost) = (figure("Queries completed:")?, figure("Queries lost:")?);
    tools::announce(&format!("reload under load: {completed} queries answered at {RATE}/s, {lost} lost"));
    ensure!(lost == 0, "{lost} of {completed} queries lost:\n{}", report.join("\n"));
    ensure!(completed > u64::from(RATE), "{completed} queries in two reloads");
    let codes = report.iter().find(|line| line.contains("Response codes:")).context("response codes")?;
    ensure!(codes.contains("NOERROR") && codes.contains("(100.00%)"), "{codes}");
    Ok(())
}

fn write_million(path: &Path, serial: u32) -> Result<()> {
    // A file others read is replaced, never changed in place.
    let temporary = path.with_extension("new");
    let mut file = BufWriter::new(std::fs::File::create(&temporary)?);
    writeln!(file, "$ORIGIN million.example.\n$TTL 3600\n@ SOA ns1 hostmaster {serial} 3600 900 604800 60")?;
    writeln!(file, "  NS ns1\nns1 A 192.0.2.1")?;
    for at in 0..NAMES {
        writeln!(file, "host{at} A 10.{}.{}.{}", at >> 16 & 255, at >> 8 & 255, at & 255)?;
    }
    file.flush()?;
    std::fs::rename(temporary, path)?;
    Ok(())
}

fn write_queries(path: &Path) -> Result<()> {
    let mut text = String::new();
    // A stride that shares no factor with the number of names spreads over all of them.
    for at in 0..50_000u32 {
        text.push_str(&format!("host{}.million.example A\n", at.wrapping_mul(7_919) % NAMES));
    }
    Ok(std::fs::write(path, text)?)
}

fn dnsperf(node: &Node, queries: &Path, folder: &Path) -> Result<Process> {
    let mut command = Command::new(tools::program("dnsperf")?);
    let address = node.address();
    command.args(["-s", &address.ip().to_string(), "-p", &address.port().to_string()]);
    command.args(["-Q", &RATE.to_string(), "-l", "3600", "-t", "5"]).arg("-d").arg(queries);
    Process::spawn("dnsperf", &command, &folder.join("dnsperf"))
}

/// What is left of a process's output, to its end.
fn lines(process: &mut Process) -> Result<Vec<String>> {
    process.wait(Duration::from_secs(30))?;
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut lines = Vec::new();
    while let Ok(Some(line)) = process.line(deadline) {
        lines.push(line);
    }
    Ok(lines)
}

fn served(node: &Node, serial: u32) -> Result<()> {
    let what = format!("serial {serial} is served\n{}", node.process.log_tail());
    tools::poll(&what, RELOAD_LIMIT, || Ok((node.serial("million.example.")? == serial).then_some(())))
}

#[test]
fn a_bad_version_never_replaces_a_good_one() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let zone = folder.path().join("small.zone");
    std::fs::write(&zone, small_zone(1, ""))?;
    let site = Site::new(&[("small.example", &zone)], "")?;
    let node = site.start()?;
    for bad in [
        "bad A 192.0.2.300\n",
        "www CNAME elsewhere.test.\n",
        "@ SOA ns1 hostmaster 3 3600 900 604800 60\n",
        "$INCLUDE none.zone\n",
    ] {
        std::fs::write(&zone, small_zone(2, bad))?;
        let output = node.ctl(&["reload"])?;
        ensure!(output.status.code() == Some(1), "{bad}: {}\n{}", output.status, said(&output));
        ensure!(node.serial("small.example.")? == 1, "{bad}");
        ensure!(!node.ask("www.small.example.", TYPE_A)?.answer.is_empty(), "{bad}");
        let zones = said(&node.ctl(&["zones"])?);
        ensure!(zones.contains("small.zone:7"), "{bad}: `ctl zones` names the place:\n{zones}");
    }
    std::fs::remove_file(&zone)?;
    let output = node.ctl(&["reload"])?;
    ensure!(output.status.code() == Some(1), "no file: {}\n{}", output.status, said(&output));
    ensure!(node.serial("small.example.")? == 1, "no file");

    std::fs::write(&zone, small_zone(3, "new A 192.0.2.4\n"))?;
    let output = node.ctl(&["reload"])?;
    ensure!(output.status.success(), "{}", said(&output));
    ensure!(node.serial("small.example.")? == 3);
    let zones = said(&node.ctl(&["zones"])?);
    ensure!(!zones.contains("small.zone:7"), "the error is gone with its cause:\n{zones}");
    let status = node.ctl(&["status"])?;
    ensure!(status.status.success(), "{}", said(&status));
    Ok(())
}

#[test]
fn ctl_says_so_when_there_is_no_node() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut command = Command::new(tools::starling()?);
    let output =
        crate::node::run(command.args(["ctl", "status", "--control"]).arg(folder.path().join("control")))?;
    ensure!(output.status.code() == Some(1), "{}\n{}", output.status, said(&output));
    ensure!(!output.stderr.is_empty(), "a reason on stderr");
    Ok(())
}

/// A worker that stands still serves the version before, and so does the node, as a whole.
#[test]
fn a_version_is_told_of_when_every_worker_serves_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("zone");
    std::fs::write(&file, small_zone(1, ""))?;
    let address = own_address();
    let lines =
        format!("listen = [\"{address}:0\"]\nworkers = 2\n[management]\nlisten = [\"{address}:0\"]\n");
    let site = Site::new(&[("small.example", &file)], &lines)?;
    let node = site.start()?;
    let told = || -> Result<(Value, Value)> {
        let zones: Value = serde_json::from_slice(&node.ctl(&["zones", "--json"])?.stdout)?;
        let page: Value = serde_json::from_str(&http::get(node.management[0], "/zones")?.body)?;
        Ok((zones[0]["served"]["serial"].clone(), page["zones"][0]["serial"].clone()))
    };
    let mut command = Command::new(tools::program("python3")?);
    command.arg(tools::data("lab/hold-thread.py")).arg(thread_of(node.process.pid(), "udp-1")?);
    let mut holder = Process::spawn("holder", &command, &site.path("holder"))?;
    let held = holder.line(Instant::now() + LATE_WITHIN)?;
    ensure!(held.as_deref() == Some("held"), "{held:?}\n{}", holder.log_tail());

    std::fs::write(&file, small_zone(2, ""))?;
    ensure!(node.ctl(&["reload"])?.status.success());
    let has_said =
        || Ok(node.process.log().contains("a worker has not taken in the last change").then_some(()));
    tools::poll("that a worker is late is logged", LATE_WITHIN, has_said)?;
    ensure!(told()? == (1.into(), 1.into()), "{:?}", told()?);

    drop(holder);
    tools::poll("the new version is told of", LATE_WITHIN, || {
        Ok((told()? == (2.into(), 2.into())).then_some(()))
    })?;
    ensure!(node.serial("small.example.")? == 2);
    Ok(())
}
