//! What the program in the kernel answers by itself: the same octets, and never REFUSED for what a zone has.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use starling_tests::message::{Message, TC};
use starling_tests::name::Name;
use starling_tests::netns;
use starling_tests::query::{Edns, Query};
use starling_tests::tools;

use super::wire::{LIMIT, Serving, V4, V6, Wire};
use super::{answers, queries, require_same};
use crate::node::TYPE_A;

/// The other end of a cable takes what the kernel answers in native mode only with a program of its own.
const LINES: &str = "packet-path = \"xdp\"\nmode = \"generic\"\nkernel-answers = true";
const REFUSED: u16 = 5;
/// How often a zone comes and goes.
const CHANGES: u32 = 12;
/// How often its name is asked for while it is there.
const QUESTIONS: u16 = 200;

/// What the program has answered.
fn in_kernel(serving: &Serving<'_>) -> Result<Value> {
    Ok(serving.status()?["interfaces"][0]["kernel-answers"].clone())
}

/// A query for a name in a zone that may not be there.
fn outside(id: u16) -> Result<Vec<u8>> {
    Ok(Query::new(Name::parse("www.other.example.")?, TYPE_A).with_edns(Edns::size(1232)).bytes(id))
}

/// Asks until the program in the kernel is it that refuses.
fn wait_refusing(wire: &Wire, serving: &Serving<'_>) -> Result<()> {
    let refused =
        || Ok::<_, anyhow::Error>(in_kernel(serving)?["refused"]["ipv4"].as_u64().unwrap_or_default());
    let before = refused()?;
    tools::poll("the kernel refuses", LIMIT, || {
        let answer = wire.ask(V4, &outside(7)?)?.context("an answer")?;
        ensure!(Message::decode(&answer)?.rcode() == REFUSED, "{answer:02x?}");
        Ok((refused()? > before).then_some(()))
    })
}

#[test]
fn answers_of_the_kernel_are_the_same_octets() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let wire = Wire::new("xdp-kernel", 1500)?;
    let queries = queries()?;
    wire.configure(&[V4, V6], "", "")?;
    let sockets = wire.start()?;
    let expected = answers(&wire, &queries)?;
    drop(sockets);
    wire.configure(&[V4, V6], "", LINES)?;
    let serving = wire.start()?;
    ensure!(serving.interface()? == ("xdp".to_owned(), Some("generic".to_owned())));
    wait_refusing(&wire, &serving)?;
    let (before, received) = (in_kernel(&serving)?, serving.received()?);
    require_same(&queries, &answers(&wire, &queries)?, &expected)?;
    let all = 2 * queries.len() as u64;
    serving.wait_received(received, all, all)?;
    let status = serving.status()?;
    ensure!(status["udp"]["answers"] == status["udp"]["queries"], "{status}");
    // Every query of another EDNS version, and no other, over each family.
    let after = in_kernel(&serving)?;
    ensure!(after["bad-version"] == json!({ "ipv4": 20, "ipv6": 20 }), "{status}");
    ensure!(status["answers"]["BADVERS"] == 40, "{status}");
    // Of the name that is in no zone, three types in three forms; what asks for any type goes to the workers.
    for family in ["ipv4", "ipv6"] {
        let count = |counts: &Value| counts["refused"][family].as_u64().unwrap_or_default();
        ensure!(count(&after) - count(&before) == 9, "{before} and then {after}");
    }
    Ok(())
}

#[test]
fn a_zone_that_has_come_is_not_refused_and_one_that_is_gone_is() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let wire = Wire::new("xdp-zones", 1500)?;
    wire.configure(&[V4, V6], "", LINES)?;
    let without = std::fs::read_to_string(wire.path("node.toml"))?;
    let with = format!("{without}[[zone]]\nname = \"other.example\"\nfile = \"small.zone\"\n");
    std::fs::write(
        wire.path("small.zone"),
        "@ 300 SOA ns hm 1 3600 900 604800 60\n@ NS ns\nns A 192.0.2.1\nwww A 192.0.2.2\n",
    )?;
    let serving = wire.start()?;
    for _ in 0..CHANGES {
        wait_refusing(&wire, &serving)?;
        std::fs::write(wire.path("node.toml"), &with)?;
        wire.ctl(&["reload"])?;
        for id in 0..QUESTIONS {
            let server = if id % 2 == 0 { V4 } else { V6 };
            let answer = wire.ask(server, &outside(id)?)?.context("an answer")?;
            ensure!(Message::decode(&answer)?.rcode() == 0, "refused after it came: {answer:02x?}");
        }
        std::fs::write(wire.path("node.toml"), &without)?;
        wire.ctl(&["reload"])?;
    }
    Ok(())
}

#[test]
fn a_flood_is_kept_from_the_workers() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let wire = Wire::new("xdp-flood", 1500)?;
    wire.configure(&[V4, V6], "", LINES)?;
    let unlimited = std::fs::read_to_string(wire.path("node.toml"))?;
    std::fs::write(
        wire.path("node.toml"),
        format!("{unlimited}[rate-limit]\nresponses-per-s = 1\nburst = 2\n"),
    )?;
    let serving = wire.start()?;
    let query = |name: &str| {
        Ok::<_, anyhow::Error>(Query::new(Name::parse(name)?, TYPE_A).with_edns(Edns::dnssec(1232)).bytes(7))
    };
    let flood = query("www.small.example.")?;
    let has_tc = |answer: &[u8]| Ok::<_, anyhow::Error>(Message::decode(answer)?.has(TC));
    for (server, family) in [(V4, "ipv4"), (V6, "ipv6")] {
        let by_kernel = || in_kernel(&serving)?["shortened"][family].as_u64().context("a count");
        let ask = |query: &[u8]| wire.ask(server, query)?.context("an answer");
        let by_worker = tools::poll("a worker shortens", LIMIT, || {
            let answer = ask(&flood)?;
            Ok(has_tc(&answer)?.then_some(answer))
        })?;
        ensure!(by_kernel()? == 0, "{}", in_kernel(&serving)?);
        tools::poll("the kernel shortens", LIMIT, || {
            let answer = ask(&flood)?;
            ensure!(!has_tc(&answer)? || answer == by_worker, "{answer:02x?} and {by_worker:02x?}");
            Ok((by_kernel()? > 0).then_some(()))
        })?;
        // Whatever else the network asks for, it comes over TCP.
        let other = query("nothing.small.example.")?;
        let before = by_kernel()?;
        let answer = Message::decode(&ask(&other)?)?;
        ensure!(answer.has(TC) && answer.rcode() == 0 && by_kernel()? == before + 1, "{answer}");
        let whole = wire.ask_tcp(server, &flood)?;
        ensure!(!has_tc(&whole)? && whole.len() > by_worker.len(), "{whole:02x?}");
    }
    let status = serving.status()?;
    let in_all = status["udp"]["limited-shortened"].as_u64().context("a count")?;
    let kernel = &in_kernel(&serving)?["shortened"];
    let by_kernel = |family: &str| kernel[family].as_u64().unwrap_or_default();
    ensure!(in_all > by_kernel("ipv4") + by_kernel("ipv6"), "{status}");
    ensure!(status["udp"]["answers"] == status["udp"]["queries"], "{status}");
    std::fs::write(wire.path("node.toml"), &unlimited)?;
    wire.ctl(&["reload"])?;
    for server in [V4, V6] {
        let answer = wire.ask(server, &flood)?.context("an answer")?;
        ensure!(!has_tc(&answer)?, "limited without a limit: {answer:02x?}");
    }
    Ok(())
}
