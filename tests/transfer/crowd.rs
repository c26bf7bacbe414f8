//! Many secondaries at once, some of which don't read what they have asked for.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;
use starling_tests::client;
use starling_tests::message::{Message, Record};
use starling_tests::name::Name;
use starling_tests::query::Query;
use starling_tests::tools;
use starling_tests::zonedata::transfer;

use crate::secondaries::{FOLLOWS_WITHIN, Primary};
use crate::site::SERVFAIL;

const TYPE_SOA: u16 = 6;
const TYPE_AXFR: u16 = 252;
const READERS: usize = 45;
const IDLERS: usize = 5;
/// More than the socket buffers of both sides hold, which grow to 4 and 6 MB by default.
const LARGE: usize = 4000;
const SMALL: usize = 300;
/// Records beside the texts, without the SOA record at the end.
const OTHERS: usize = 3;

/// A primary with a zone that no socket buffer takes, and a small one.
fn primary(transfer_lines: &str, folder: &Path) -> Result<Primary> {
    // Nobody is cut off in these tests.
    let mut text = format!(
        "[node.tcp]\ntransfer-timeout-ms = 600000\n[transfer]\nallow = [\"127.0.0.1\"]\n{transfer_lines}\n"
    );
    let long = format!("\"{}\" ", "x".repeat(250)).repeat(20);
    for (name, texts) in [("large.example", LARGE), ("small.example", SMALL)] {
        let mut zone =
            String::from("$TTL 300\n@ SOA ns1 host 5 3600 900 604800 60\n NS ns1\nns1 A 192.0.2.1\n");
        for host in 0..texts {
            writeln!(zone, "t{host} TXT {long}")?;
        }
        std::fs::write(folder.join(name), zone)?;
        writeln!(text, "[[zone]]\nname = \"{name}\"\nfile = \"{name}\"")?;
    }
    Primary::start(&text, folder)
}

/// A secondary that has asked for the zone and reads nothing of it.
fn ask_for(zone: &str, server: SocketAddr) -> Result<TcpStream> {
    let mut stream = client::connect(server)?;
    client::write_framed(&mut stream, &Query::new(Name::parse(zone)?, TYPE_AXFR).bytes(9))?;
    Ok(stream)
}

/// How many records there are until the last.
fn read_all(mut stream: TcpStream) -> Result<usize> {
    let mut records = Vec::new();
    while records.iter().filter(|record: &&Record| record.rtype == TYPE_SOA).count() < 2 {
        let bytes = client::read_framed(&mut stream)?.context("cut off")?;
        records.extend(Message::decode(&bytes)?.answer);
    }
    Ok(records.len() - 1)
}

fn outgoing(primary: &Primary) -> Result<Value> {
    let status: Value = serde_json::from_str(&primary.ctl(&["status", "--json"])?)?;
    Ok(status["outgoing"].clone())
}

fn wait_for(primary: &Primary, what: &str, count: usize) -> Result<()> {
    tools::poll(&format!("{count} {what}"), FOLLOWS_WITHIN, || {
        Ok((outgoing(primary)?[what] == count).then_some(()))
    })
}

#[test]
fn secondaries_that_do_not_read_keep_no_others_waiting() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let primary = primary("", folder.path())?;
    let idlers: Vec<TcpStream> =
        (0..IDLERS).map(|_| ask_for("large.example", primary.address)).collect::<Result<_>>()?;
    wait_for(&primary, "running", IDLERS)?;
    let small = Name::parse("small.example")?;
    thread::scope(|scope| {
        let readers: Vec<_> =
            (0..READERS).map(|_| scope.spawn(|| transfer(primary.address, &small))).collect();
        readers.into_iter().try_for_each(|reader| {
            let records = reader.join().map_err(|_| anyhow!("a reader panicked"))??.len();
            ensure!(records == SMALL + OTHERS, "{records} records");
            Ok(())
        })
    })?;
    // While those who read nothing still have not.
    let counts = outgoing(&primary)?;
    ensure!(counts["completed"] == READERS && counts["running"] == IDLERS, "{counts}");
    ensure!(counts["turned-away"] == 0 && counts["cut-off"] == 0, "{counts}");
    for idler in idlers {
        ensure!(read_all(idler)? == LARGE + OTHERS, "it goes on where it stood");
    }
    wait_for(&primary, "completed", READERS + IDLERS)
}

#[test]
fn one_more_than_may_be_comes_again() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let primary = primary("outgoing-max = 2", folder.path())?;
    let first = ask_for("large.example", primary.address)?;
    let second = ask_for("large.example", primary.address)?;
    wait_for(&primary, "running", 2)?;
    for turned_away in 1..3 {
        let mut third = ask_for("small.example", primary.address)?;
        third.set_read_timeout(Some(Duration::from_secs(20)))?;
        let answer = Message::decode(&client::read_framed(&mut third)?.context("an answer")?)?;
        ensure!(answer.rcode() == SERVFAIL && answer.answer.is_empty(), "{answer}");
        let counts = outgoing(&primary)?;
        ensure!(counts["turned-away"] == turned_away && counts["running"] == 2, "{counts}");
    }
    let log = primary.process.log();
    ensure!(log.contains("was put off: as many as `outgoing-max` under [transfer] are running"), "{log}");
    ensure!(read_all(first)? == LARGE + OTHERS && read_all(second)? == LARGE + OTHERS);
    wait_for(&primary, "completed", 2)?;
    ensure!(transfer(primary.address, &Name::parse("small.example")?)?.len() == SMALL + OTHERS);
    Ok(())
}
