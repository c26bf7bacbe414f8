//! What `ctl status --json` counts, for each transport, family and response code.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use starling_tests::name::Name;
use starling_tests::query::Query;
use starling_tests::server::own_address;
use starling_tests::{client, tools};

use crate::node::{ANSWER_LIMIT, Site, TYPE_A, said};

#[test]
fn queries_and_answers_are_counted_by_transport_family_and_code() -> Result<()> {
    let file = tools::data("zones/everything.zone");
    let listen = format!("listen = [\"{}:0\", \"[::1]:0\"]", own_address());
    let site = Site::new(&[("everything.example", &file)], &listen)?;
    let node = site.start()?;
    let [v4, v6] = node.addresses[..] else { anyhow::bail!("two addresses: {:?}", node.addresses) };
    let query = |name: &str| -> Result<Vec<u8>> { Ok(Query::new(Name::parse(name)?, TYPE_A).bytes(7)) };
    let (inside, outside) = (query("www.everything.example.")?, query("www.elsewhere.test.")?);
    let malformed = inside[..inside.len() - 1].to_vec();
    for (address, message) in [(v4, &inside), (v4, &outside), (v4, &malformed), (v6, &inside), (v4, &inside)]
    {
        ensure!(client::udp_raw(address, message, ANSWER_LIMIT)?.is_some(), "no answer over UDP {address}");
    }
    // A client that is two: its own answers must not stand in for those of the other family.
    for (address, count) in [(v6, 2), (v4, 1), (v6, 1)] {
        let answers = client::tcp(address, &vec![outside.clone(); count])?;
        ensure!(answers.iter().all(Option::is_some), "no answer over TCP {address}");
    }

    let output = node.ctl(&["status", "--json"])?;
    ensure!(output.status.success(), "{}", said(&output));
    let status: Value = serde_json::from_slice(&output.stdout)?;
    let queries = |transport, family, count, malformed| json!({ "transport": transport, "family": family, "count": count, "malformed": malformed });
    let expected = json!([
        queries("udp", "ipv4", 4, 1),
        queries("udp", "ipv6", 1, 0),
        queries("tcp", "ipv4", 1, 0),
        queries("tcp", "ipv6", 3, 0),
    ]);
    ensure!(status["queries-by"] == expected, "{}", status["queries-by"]);
    let answers = |transport, family, rcode, count| json!({ "transport": transport, "family": family, "rcode": rcode, "count": count });
    let expected = json!([
        answers("udp", "ipv4", "NOERROR", 2),
        answers("udp", "ipv4", "FORMERR", 1),
        answers("udp", "ipv4", "REFUSED", 1),
        answers("udp", "ipv6", "NOERROR", 1),
        answers("tcp", "ipv4", "REFUSED", 1),
        answers("tcp", "ipv6", "REFUSED", 3),
    ]);
    ensure!(status["answers-by"] == expected, "{}", status["answers-by"]);
    ensure!(
        status["answers"] == json!({ "NOERROR": 3, "FORMERR": 1, "REFUSED": 5 }),
        "{}",
        status["answers"]
    );
    Ok(())
}

#[test]
fn messages_without_an_answer_are_counted_by_cause() -> Result<()> {
    let file = tools::data("zones/everything.zone");
    let site = Site::new(&[("everything.example", &file)], "workers = 1")?;
    let node = site.start()?;
    let socket = std::net::UdpSocket::bind((node.address().ip(), 0))?;
    socket.send_to(b"short", node.address())?;
    socket.send_to(&[0; 5000], node.address())?;
    // The worker takes them in order, so this answer says that the others were seen.
    let query = Query::new(Name::parse("www.everything.example.")?, TYPE_A).bytes(7);
    socket.set_read_timeout(Some(ANSWER_LIMIT))?;
    socket.send_to(&query, node.address())?;
    socket.recv(&mut [0; 512])?;
    let output = node.ctl(&["status", "--json"])?;
    let status: Value = serde_json::from_slice(&output.stdout)?;
    let expected = json!({
        "queue": 0, "shed": 0, "ring": 0, "frame": 0, "checksum": 0, "too-long": 1, "no-room": 0, "too-big": 0, "forbidden": 0, "unreachable": 0, "other": 0,
        "silent": 1, "limited": 0,
    });
    ensure!(status["drops"] == expected, "{}", status["drops"]);
    Ok(())
}
