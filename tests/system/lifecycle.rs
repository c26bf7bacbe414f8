//! Start, stop, restart, and what stands between.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use starling_tests::client;
use starling_tests::name::Name;
use starling_tests::process::Process;
use starling_tests::query::Query;
use starling_tests::server::{own_address, starling_ready};
use starling_tests::tools;

use crate::node::{ANSWER_LIMIT, Site, TYPE_A, run, said, small_zone};

const END_LIMIT: Duration = Duration::from_secs(20);

#[test]
fn sigterm_and_sigint_end_the_node_with_0() -> Result<()> {
    let zone = tempfile::NamedTempFile::new()?;
    std::fs::write(zone.path(), small_zone(1, ""))?;
    let site = Site::new(&[("small.example", zone.path())], "")?;
    for signal in [Signal::TERM, Signal::INT] {
        let mut node = site.start()?;
        ensure!(node.serial("small.example.")? == 1);
        node.process.signal(signal)?;
        let status = node.process.wait(END_LIMIT)?;
        ensure!(status.code() == Some(0), "{signal:?}: {status}\n{}", node.process.log_tail());
    }
    Ok(())
}

#[test]
fn mistakes_of_the_operator_are_told_with_file_and_line() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("node.toml");
    std::fs::write(&config, "[node]\nlisten = [\"127.0.0.1:0\"]\nworkres = 2\n")?;
    let output = run(Command::new(tools::starling()?).arg("serve").arg("--config").arg(&config))?;
    let text = said(&output);
    ensure!(output.status.code() == Some(2), "{}\n{text}", output.status);
    ensure!(text.contains("node.toml:3") && text.contains("workres"), "place and key are named:\n{text}");

    let zone = folder.path().join("bad.zone");
    std::fs::write(&zone, small_zone(1, "bad A 192.0.2.300\nworse AAAA ::g\n"))?;
    let output = run(Command::new(tools::starling()?)
        .args(["serve", "--listen", "127.0.0.1:0"])
        .arg("--zone")
        .arg(format!("small.example={}", zone.display())))?;
    let text = said(&output);
    ensure!(output.status.code() == Some(1), "{}\n{text}", output.status);
    ensure!(
        text.contains("bad.zone:7") && text.contains("bad.zone:8"),
        "all errors with their lines:\n{text}"
    );

    let output =
        run(Command::new(tools::starling()?).arg("check").arg(format!("small.example={}", zone.display())))?;
    let text = said(&output);
    ensure!(output.status.code() == Some(1), "{}\n{text}", output.status);
    ensure!(
        text.contains("bad.zone:7") && text.contains("bad.zone:8"),
        "all errors with their lines:\n{text}"
    );
    Ok(())
}

#[test]
fn a_compiled_table_answers_as_its_zone_does() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let zone = folder.path().join("small.example.zone");
    let table = folder.path().join("small.table");
    std::fs::write(&zone, small_zone(5, ""))?;
    let binary = tools::starling()?;
    let output = run(Command::new(&binary).arg("compile").arg(&zone).arg("-o").arg(&table))?;
    ensure!(output.status.success(), "{}", said(&output));
    for (name, qtype, wanted) in [
        ("www.small.example", "A", "192.0.2.2"),
        ("none.small.example", "A", "NXDOMAIN"),
        ("small.example", "SOA", " 5 "),
    ] {
        let of_table = run(Command::new(&binary).arg("lookup").arg(&table).args([name, qtype]))?;
        let of_zone = run(Command::new(&binary).arg("lookup").arg(&zone).args([name, qtype]))?;
        let text = String::from_utf8_lossy(&of_table.stdout);
        ensure!(of_table.status.success() && text.contains(wanted), "{name} {qtype}: {}", said(&of_table));
        ensure!(
            of_table.stdout == of_zone.stdout,
            "zone and table differ:\n{}\n{}",
            said(&of_table),
            said(&of_zone)
        );
    }
    let output = run(Command::new(&binary).arg("inspect").arg(&table))?;
    ensure!(output.status.success() && said(&output).contains("small.example"), "{}", said(&output));
    Ok(())
}

/// A socket bound to the wildcard address has to answer from the address it was asked at.
#[test]
fn replies_come_from_the_address_that_was_asked() -> Result<()> {
    let zone = tempfile::NamedTempFile::new()?;
    std::fs::write(zone.path(), small_zone(1, ""))?;
    let site = Site::new(&[("small.example", zone.path())], "listen = [\"0.0.0.0:0\", \"[::]:0\"]")?;
    let node = site.start()?;
    let query = Query::new(Name::parse("www.small.example.")?, TYPE_A).bytes(4711);
    let v4 = node.addresses.iter().find(|address| address.is_ipv4()).context("an IPv4 listener")?.port();
    let v6 = node.addresses.iter().find(|address| address.is_ipv6()).context("an IPv6 listener")?.port();
    let asked = [
        SocketAddr::from((Ipv4Addr::LOCALHOST, v4)),
        SocketAddr::from((own_address(), v4)),
        SocketAddr::from((own_address(), v4)),
        SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, v6)),
    ];
    for address in asked {
        let answer = client::udp_raw(address, &query, ANSWER_LIMIT)?;
        let (_, from) = answer.with_context(|| format!("no answer at {address}"))?;
        ensure!(from == address, "asked {address}, answered by {from}");
        let answers = client::tcp(address, std::slice::from_ref(&query))?;
        ensure!(answers[0].is_some(), "no TCP answer at {address}");
    }
    Ok(())
}

#[test]
fn the_command_line_alone_is_enough() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let zone = folder.path().join("zone");
    std::fs::write(&zone, small_zone(3, ""))?;
    let mut command = Command::new(tools::starling()?);
    command.arg("serve").arg("--listen").arg(format!("{}:0", own_address()));
    command.args(["--control", "none", "--zone"]).arg(format!("small.example={}", zone.display()));
    let mut process = Process::spawn("starling", &command, &folder.path().join("log"))?;
    let address = *starling_ready(&mut process)?.first().context("one listener")?;
    let query = Query::new(Name::parse("www.small.example.")?, TYPE_A).bytes(1);
    ensure!(client::udp_raw(address, &query, ANSWER_LIMIT)?.is_some(), "no answer\n{}", process.log_tail());
    Ok(())
}
