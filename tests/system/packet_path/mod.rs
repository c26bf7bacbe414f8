//! Queries past the kernel's stack: the same answers, everything else left to the kernel, and nothing lost when the way goes.

mod frames;
mod kernel;
mod life;
mod odd;
mod reply;
mod vlan;
mod wire;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use starling_tests::message::Message;
use starling_tests::name::Name;
use starling_tests::netns;
use starling_tests::query::{Edns, Query};
use starling_tests::{client, tools};

use crate::node::{TYPE_A, TYPE_SOA};
use wire::{LIMIT, V4, V6, Wire};

/// A query for an address that there is.
fn query(id: u16) -> Result<Vec<u8>> {
    Ok(Query::new(Name::parse("www.small.example.")?, TYPE_A).bytes(id))
}

/// Queries of many kinds with what else may be in them.
fn queries() -> Result<Vec<Vec<u8>>> {
    let mut queries = Vec::new();
    let names = [
        "www.small.example.",
        "small.example.",
        "nothing.small.example.",
        "elsewhere.example.",
        "WwW.sMall.example.",
    ];
    for name in names {
        for qtype in [TYPE_A, TYPE_SOA, 28, 255] {
            let query = Query::new(Name::parse(name)?, qtype);
            for query in [
                query.clone(),
                query.clone().with_edns(Edns::size(1232)),
                query.clone().with_edns(Edns::dnssec(4096)),
                query.clone().with_edns(Edns { version: 1, ..Edns::size(512) }),
                Query { opcode: 5, ..query },
            ] {
                queries.push(query.bytes(queries.len() as u16));
            }
        }
    }
    queries.push(vec![0; 12]);
    queries.push([&[0xff, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &[63; 40]].concat());
    Ok(queries)
}

/// The answers to all of them over IPv4 and IPv6.
fn answers(wire: &Wire, queries: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>> {
    let mut answers = Vec::new();
    for server in [V4, V6] {
        for query in queries {
            answers.push(wire.ask(server, query)?);
        }
    }
    Ok(answers)
}

#[test]
fn answers_are_the_same_octets_whichever_way() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let wire = Wire::new("xdp-same", 1500)?;
    let queries = queries()?;
    wire.configure(&[V4, V6], "", "")?;
    let sockets = wire.start()?;
    let expected = answers(&wire, &queries)?;
    ensure!(sockets.received()? == (2 * queries.len() as u64, 0));
    drop(sockets);
    for mode in ["native", "generic"] {
        wire.configure(&[V4, V6], "", &format!("packet-path = \"xdp\"\nmode = \"{mode}\""))?;
        let serving = wire.start()?;
        ensure!(serving.interface()? == ("xdp".to_owned(), Some(mode.to_owned())));
        require_same(&queries, &answers(&wire, &queries)?, &expected)?;
        let all = 2 * queries.len() as u64;
        ensure!(serving.received()? == (all, all), "{mode}: {:?}", serving.received()?);
        let status = serving.status()?;
        ensure!(status["udp"]["answers"] == status["udp"]["queries"]);
        ensure!(status["interfaces"][0]["kernel-answers"] == Value::Null, "{status}");
        ensure!(status["answers"]["BADVERS"] == 40, "{status}");
    }
    Ok(())
}

/// Requires that these are the answers to the queries, over each family.
fn require_same(queries: &[Vec<u8>], found: &[Option<Vec<u8>>], expected: &[Option<Vec<u8>>]) -> Result<()> {
    for ((query, found), expected) in queries.iter().cycle().zip(found).zip(expected) {
        ensure!(found == expected, "{query:02x?}: {found:02x?} instead of {expected:02x?}");
    }
    Ok(())
}

#[test]
fn tcp_goes_on_and_so_do_other_ports() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let wire = Wire::new("xdp-tcp", 1500)?;
    wire.configure(&[V4, V6, "10.53.0.1:5353"], "", "packet-path = \"xdp\"")?;
    let serving = wire.start()?;
    for server in [V4, V6] {
        let answers = wire.client.inside(|| client::tcp(server.parse()?, &[query(1)?]))??;
        let answer = answers.into_iter().next().flatten().context("an answer over TCP")?;
        ensure!(Message::decode(&answer)?.answer.len() == 1);
    }
    // Another port is another service address, and none where nothing listens.
    let before = serving.received()?;
    wire.ask("10.53.0.1:5353", &query(2)?)?.context("the second port answers")?;
    serving.wait_received(before, 1, 1)?;
    let nobody = wire.client.inside(|| -> Result<std::io::Error> {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
        socket.connect("10.53.0.1:54")?;
        socket.set_read_timeout(Some(LIMIT))?;
        socket.send(&query(3)?)?;
        socket.recv(&mut [0; 512]).err().context("nobody answers")
    })??;
    ensure!(nobody.kind() == std::io::ErrorKind::ConnectionRefused, "the kernel says so: {nobody}");
    ensure!(serving.received()? == (before.0 + 1, before.1 + 1));
    Ok(())
}

/// Large answers and packets: what an interface with large packets takes, and what is too long for a ring.
#[test]
fn large_packets_and_what_is_larger_than_a_ring_takes() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let wire = Wire::new("xdp-large", 3400)?;
    let text = format!("large TXT {}", format!("\"{}\" ", "x".repeat(250)).repeat(11));
    std::fs::write(wire.path("small.zone"), crate::node::small_zone(1, &text))?;
    wire.configure(&[V4, V6], "udp-payload-max = 4096", "packet-path = \"xdp\"")?;
    let serving = wire.start()?;
    let large = Query::new(Name::parse("large.small.example.")?, 16);
    let before = serving.received()?;
    for server in [V4, V6] {
        let answer =
            wire.ask(server, &large.clone().with_edns(Edns::size(4096)).bytes(1))?.context("an answer")?;
        ensure!(answer.len() > 2750 && !Message::decode(&answer)?.has(0x0200), "{} octets", answer.len());
        let padding = |len: usize| Edns { options: vec![(12, vec![0; len])], ..Edns::size(1232) };
        wire.ask(
            server,
            &Query::new(Name::parse("www.small.example.")?, TYPE_A).with_edns(padding(3000)).bytes(2),
        )?
        .context("a padded query is answered")?;
    }
    serving.wait_received(before, 4, 4)?;
    drop(serving);

    // Frames that are longer than a ring's, and those in several buffers, the kernel gets.
    let wire = Wire::new("xdp-jumbo", 9000)?;
    wire.configure(&[V4, V6], "", "packet-path = \"xdp\"")?;
    let serving = wire.start()?;
    ensure!(serving.interface()?.0 == "xdp", "{}", serving.process.log_tail());
    for server in [V4, V6] {
        let padded = |len: usize| -> Result<Vec<u8>> {
            let edns = Edns { options: vec![(12, vec![0; len])], ..Edns::size(1232) };
            Ok(Query::new(Name::parse("www.small.example.")?, TYPE_A).with_edns(edns).bytes(3))
        };
        let before = serving.received()?;
        for len in [3900, 100] {
            wire.ask(server, &padded(len)?)?
                .with_context(|| format!("an answer with {len} octets of padding"))?;
        }
        serving.wait_received(before, 2, 1)?;
        // Longer than any query: the socket counts it, in several buffers though it came.
        let socket = wire
            .client
            .inside(|| std::net::UdpSocket::bind(if server == V4 { "0.0.0.0:0" } else { "[::]:0" }))??;
        socket.send_to(&padded(8000)?, server)?;
        wire.ask(server, &padded(100)?)?.context("an answer")?;
    }
    tools::poll(
        "what is too long is counted",
        LIMIT,
        || Ok((serving.drops("too-long")? == 2).then_some(())),
    )?;
    drop(serving);

    // At the usual size of packets, what does not fit one is cut, and TCP has it whole.
    let wire = Wire::new("xdp-cut", 1500)?;
    std::fs::write(wire.path("small.zone"), crate::node::small_zone(1, &text))?;
    wire.configure(&[V4, V6], "udp-payload-max = 4096", "packet-path = \"xdp\"")?;
    let serving = wire.start()?;
    for server in [V4, V6] {
        let answer =
            wire.ask(server, &large.clone().with_edns(Edns::size(4096)).bytes(1))?.context("an answer")?;
        ensure!(Message::decode(&answer)?.has(0x0200), "TC is set");
    }
    ensure!(serving.received()? == (2, 2));
    tools::announce("answers of 2,800 octets went through rings");
    Ok(())
}
