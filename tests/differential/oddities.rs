//! Queries that are not quite in order, and the corners of the header: what all peers do, Starling does.

use std::fmt::Write as _;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use starling_tests::client;
use starling_tests::message::Message;
use starling_tests::name::Name;
use starling_tests::query::{CLASS_CH, Edns, FLAG_AD, FLAG_CD, FLAG_RD, Query};
use starling_tests::rdata::type_name;
use starling_tests::server::{Kind, Server, all_alive};
use starling_tests::tools;
use starling_tests::zonedata::Zones;

/// How long silence has to last to count as silence. Loopback answers take well under a millisecond.
const SILENCE: Duration = Duration::from_millis(300);
/// Cases asked at the same time.
const AT_ONCE: usize = 16;
const TYPE_A: u16 = 1;
const TYPE_SOA: u16 = 6;
const TYPE_TXT: u16 = 16;
const TYPE_OPT: u16 = 41;

#[test]
fn oddities() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let zone = (Name::parse("plain.example.")?, tools::data("zones/plain.zone"));
    let zones = Zones::read(&[zone], folder.path())?;
    let mut servers = crate::start(&zones, folder.path())?;
    let mut failures = String::new();
    let mut listing = String::from("oddities: what the peers do not agree on");
    let mut agreed = 0;
    let cases = cases()?;
    let answers: Vec<Vec<String>> =
        cases.chunks(AT_ONCE).map(|chunk| ask(chunk, &servers)).collect::<Result<Vec<_>>>()?.concat();
    for ((label, _), said) in cases.iter().zip(answers) {
        let mut peers = Vec::new();
        let mut ours = None;
        for (server, said) in servers.iter().zip(said) {
            match server.kind {
                Kind::Starling => ours = Some(said),
                peer => peers.push((peer, said)),
            }
        }
        let agree = peers.iter().all(|(_, said)| *said == peers[0].1);
        agreed += usize::from(agree);
        if !agree {
            write!(listing, "\n  {label}:")?;
            peers.iter().try_for_each(|(kind, said)| write!(listing, " {kind}: {said};"))?;
        }
        if let Some(ours) = ours {
            if agree && ours != peers[0].1 {
                writeln!(failures, "{label}: all peers: {}; starling: {ours}", peers[0].1)?;
            } else if !agree {
                write!(listing, " starling: {ours}")?;
            }
        }
    }
    all_alive(&mut servers)?;
    tools::announce(&format!("oddities: {} queries, peers agree on {agreed}\n{listing}", cases.len()));
    assert!(failures.is_empty(), "where all peers agree:\n{failures}");
    Ok(())
}

/// Asks everyone everything at the same time, since silence takes long; answers by case, then by server.
fn ask(cases: &[(String, Vec<u8>)], servers: &[Server]) -> Result<Vec<Vec<String>>> {
    let said = |address, bytes: &[u8]| -> Result<String> {
        let answer = client::udp_raw(address, bytes, SILENCE)?;
        Ok(answer.map_or("silence".to_owned(), |(answer, _)| outline(&answer)))
    };
    let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
    thread::scope(|scope| {
        let mut running = Vec::new();
        for (_, bytes) in cases {
            running
                .push(addresses.iter().map(|&address| scope.spawn(move || said(address, bytes))).collect());
        }
        let join = |row: Vec<thread::ScopedJoinHandle<'_, Result<String>>>| {
            row.into_iter().map(|thread| thread.join().expect("asking does not panic")).collect()
        };
        running.into_iter().map(join).collect()
    })
}

/// What counts of an answer here: header, number of questions, and the types of the records.
///
/// An error may or may not repeat the question: RFC 1035 §4.1.1 says nothing of it, and the peers differ.
fn outline(bytes: &[u8]) -> String {
    let message = match Message::decode(bytes) {
        Ok(message) => message,
        Err(error) => return format!("{} octets that are no message: {error:#}", bytes.len()),
    };
    let text = message.to_string();
    let mut outline = text.lines().next().unwrap_or_default().to_owned();
    if message.rcode() != 0 {
        outline = outline.replace(&format!(" questions={}", message.question_count), "");
    }
    for (title, section) in [("answer", &message.answer), ("authority", &message.authority)] {
        let mut types: Vec<String> = section.iter().map(|record| type_name(record.rtype)).collect();
        types.sort();
        if !types.is_empty() {
            write!(outline, " {title}={}", types.join(",")).expect("a String takes all");
        }
    }
    outline
}

fn cases() -> Result<Vec<(String, Vec<u8>)>> {
    let name = Name::parse("www.plain.example.")?;
    let apex = Name::parse("plain.example.")?;
    let plain = Query::new(name.clone(), TYPE_A);
    let mut cases: Vec<(String, Vec<u8>)> = Vec::new();
    let mut add = |label: &str, bytes: Vec<u8>| cases.push((label.to_owned(), bytes));
    for (label, flags) in [
        ("RD", FLAG_RD),
        ("CD", FLAG_CD),
        ("AD", FLAG_AD),
        ("Z", 0x40),
        ("RA", 0x80),
        ("TC", 0x200),
        ("AA", 0x400),
    ] {
        let query = Query { flags, ..plain.clone() };
        add(&format!("{label} set"), query.bytes(1));
        add(&format!("{label} set, DO"), query.with_edns(Edns::dnssec(1232)).bytes(1));
    }
    add("QR set", Query { flags: 0x8000, ..plain.clone() }.bytes(1));
    for opcode in 1..16 {
        let query = Query { opcode, ..Query::new(apex.clone(), TYPE_SOA) };
        add(&format!("opcode {opcode}"), query.bytes(1));
    }
    for qclass in [0, 2, 4, 254, 255, 65280] {
        add(&format!("class {qclass}"), Query { qclass, ..plain.clone() }.bytes(1));
    }
    for text in ["version.bind.", "version.server.", "id.server.", "hostname.bind.", "nothing.bind."] {
        let query = Query { qclass: CLASS_CH, ..Query::new(Name::parse(text)?, TYPE_TXT) };
        add(&format!("CH {text}"), query.bytes(1));
    }
    for qtype in [0, TYPE_OPT, 128, 249, 250, 251, 252, 253, 254, 65535] {
        add(&format!("type {} at the apex", type_name(qtype)), Query::new(apex.clone(), qtype).bytes(1));
        add(&format!("type {} elsewhere", type_name(qtype)), Query::new(name.clone(), qtype).bytes(1));
    }
    for text in [".", "example.", "www.example.", "elsewhere.test."] {
        add(&format!("outside: {text}"), Query::new(Name::parse(text)?, TYPE_A).bytes(1));
        add(
            &format!("outside: {text} DO"),
            Query::new(Name::parse(text)?, TYPE_A).with_edns(Edns::dnssec(1232)).bytes(1),
        );
    }
    edns(&mut add, &plain);
    malformed(&mut add, &plain);
    Ok(cases)
}

fn edns(add: &mut impl FnMut(&str, Vec<u8>), plain: &Query) {
    let with = |edns: Edns| plain.clone().with_edns(edns).bytes(1);
    add("EDNS version 1", with(Edns { version: 1, ..Edns::size(1232) }));
    add("EDNS version 255, DO", with(Edns { version: 255, ..Edns::dnssec(1232) }));
    add("EDNS size 0", with(Edns::size(0)));
    add("EDNS size 511", with(Edns::size(511)));
    add("EDNS size 65535", with(Edns::size(65535)));
    add("EDNS flag beside DO", with(Edns { z: 0x4000, ..Edns::size(1232) }));
    add("unknown option", with(Edns { options: vec![(65001, vec![1, 2, 3])], ..Edns::size(1232) }));
    add(
        "two unknown options",
        with(Edns { options: vec![(65001, vec![]), (65002, vec![9])], ..Edns::size(1232) }),
    );
    // RFC 7871 §7.1.2 and RFC 7828 §3.2.1: options a server need not know.
    add("client subnet", with(Edns { options: vec![(8, vec![0, 1, 24, 0, 192, 0, 2])], ..Edns::size(1232) }));
    add("padding", with(Edns { options: vec![(12, vec![0; 40])], ..Edns::size(1232) }));
    let good = with(Edns { options: vec![(65001, vec![1, 2, 3])], ..Edns::size(1232) });
    let mut overlong = good.clone();
    let at = overlong.len() - 4;
    overlong[at] = 4;
    add("option longer than the OPT record", overlong);
    let mut twice = with(Edns::size(1232));
    let opt = twice[twice.len() - 11..].to_vec();
    twice.extend_from_slice(&opt);
    twice[11] = 2;
    add("two OPT records", twice);
    let mut named = with(Edns::size(1232));
    let at = named.len() - 11;
    named.splice(at..=at, *b"\x01x\x00");
    add("OPT record with a name", named);
    let mut answer = with(Edns::size(1232));
    answer[7] = 1;
    answer[11] = 0;
    add("OPT record in the answer section", answer);
}

fn malformed(add: &mut impl FnMut(&str, Vec<u8>), plain: &Query) {
    let good = plain.bytes(1);
    for len in 1..12 {
        add(&format!("first {len} octets"), good[..len].to_vec());
    }
    add("header alone", good[..12].to_vec());
    for len in [13, 16, good.len() - 5, good.len() - 4, good.len() - 1] {
        add(&format!("cut to {len} octets"), good[..len].to_vec());
    }
    let change = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    add("no question", {
        let mut bytes = good[..12].to_vec();
        bytes[5] = 0;
        bytes
    });
    add("count says two questions", change(5, 2));
    add("two questions", {
        let mut bytes = change(5, 2);
        bytes.extend_from_slice(&good[12..]);
        bytes
    });
    add("count says one answer", change(7, 1));
    add("count says one authority record", change(9, 1));
    add("count says one additional record", change(11, 1));
    add("octets after the question", [&good[..], b"junk"].concat());
    add("label type 0x40", change(12, 0x41));
    add("label type 0x80", change(12, 0x81));
    add("pointer as name", {
        let mut bytes = good[..12].to_vec();
        bytes.extend_from_slice(b"\xc0\x0c\x00\x01\x00\x01");
        bytes
    });
    add("pointer to the header", {
        let mut bytes = good[..12].to_vec();
        bytes.extend_from_slice(b"\x03www\xc0\x00\x00\x01\x00\x01");
        bytes
    });
    add("name of 256 octets", {
        let mut bytes = good[..12].to_vec();
        for _ in 0..3 {
            bytes.push(63);
            bytes.extend_from_slice(&[b'a'; 63]);
        }
        bytes.push(62);
        bytes.extend_from_slice(&[b'a'; 62]);
        bytes.extend_from_slice(b"\x00\x00\x01\x00\x01");
        bytes
    });
    add("record in the answer section", {
        let mut bytes = change(7, 1);
        bytes.extend_from_slice(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04\x01\x02\x03\x04");
        bytes
    });
    add("record in the additional section", {
        let mut bytes = change(11, 1);
        bytes.extend_from_slice(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04\x01\x02\x03\x04");
        bytes
    });
}
