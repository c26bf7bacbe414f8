//! Datagrams that are no proper queries: what has to be met with silence, what with an error.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use starling_tests::client;
use starling_tests::message::{Message, QR, rcode_name};
use starling_tests::name::Name;
use starling_tests::query::{Edns, Query};

use crate::node::{ANSWER_LIMIT, Node, Site, TYPE_A, small_zone};

const SILENCE: Duration = Duration::from_millis(300);
const ID: u16 = 0xabcd;
const FORMERR: u16 = 1;
const NOTIMP: u16 = 4;
const REFUSED: u16 = 5;
const BADVERS: u16 = 16;

fn node() -> Result<(Node, tempfile::NamedTempFile, Site)> {
    let zone = tempfile::NamedTempFile::new()?;
    std::fs::write(zone.path(), small_zone(1, ""))?;
    let site = Site::new(&[("small.example", zone.path())], "")?;
    Ok((site.start()?, zone, site))
}

fn good() -> Result<Query> {
    Ok(Query::new(Name::parse("www.small.example.")?, TYPE_A))
}

#[test]
fn silence_where_an_answer_would_do_harm() -> Result<()> {
    let (node, _zone, _site) = node()?;
    let query = good()?.bytes(ID);
    let mut response = query.clone();
    response[2] |= 0x80;
    let mut cases = vec![("a response", response)];
    for len in 0..12 {
        cases.push(("less than a header", query[..len].to_vec()));
    }
    for (what, bytes) in cases {
        let answer = client::udp_raw(node.address(), &bytes, SILENCE)?;
        ensure!(answer.is_none(), "{what}, {} octets: {answer:02x?}", bytes.len());
    }
    ensure!(node.serial("small.example.")? == 1);
    Ok(())
}

#[test]
fn errors_for_what_can_be_answered() -> Result<()> {
    let (node, _zone, _site) = node()?;
    let query = good()?;
    let bytes = query.bytes(ID);
    let changed = |at: usize, value: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        bytes
    };
    let mut cases = vec![
        ("header alone", bytes[..12].to_vec(), FORMERR),
        ("half a question", bytes[..bytes.len() - 3].to_vec(), FORMERR),
        ("two questions counted", changed(5, 2), FORMERR),
        ("an answer counted", changed(7, 1), FORMERR),
        ("a record counted and missing", changed(11, 1), FORMERR),
        ("unknown label type", changed(12, 0x43), FORMERR),
        ("outside of every zone", Query::new(Name::parse("elsewhere.test.")?, TYPE_A).bytes(ID), REFUSED),
        (
            "another version of EDNS",
            query.clone().with_edns(Edns { version: 1, ..Edns::size(1232) }).bytes(ID),
            BADVERS,
        ),
    ];
    for opcode in [1, 2, 3, 5, 6, 7, 15] {
        cases.push(("another opcode", Query { opcode, ..query.clone() }.bytes(ID), NOTIMP));
    }
    for (what, bytes, rcode) in cases {
        let answer = client::udp_raw(node.address(), &bytes, ANSWER_LIMIT)?;
        let (answer, _) = answer.with_context(|| format!("{what}: no answer"))?;
        let message = Message::decode(&answer).with_context(|| what.to_owned())?;
        ensure!(message.id == ID && message.has(QR), "{what}: {message}");
        ensure!(message.rcode() == rcode, "{what}: {} wanted, {message}", rcode_name(rcode));
        ensure!(message.answer.is_empty(), "{what}: {message}");
        if rcode == BADVERS {
            let version = message.opt.as_ref().map(|opt| opt.version);
            ensure!(version == Some(0), "{what}: the version offered instead is {version:?}");
        }
    }
    Ok(())
}

/// Noise does not end the node, is never answered as a response, and never with more than 512 octets.
#[test]
fn noise_is_survived() -> Result<()> {
    let (mut node, _zone, _site) = node()?;
    let query = good()?.with_edns(Edns::dnssec(1232)).bytes(ID);
    let seed = 0x0053_5441_524c_494e;
    let mut random = XorShift(seed);
    let mut packets = Vec::new();
    for _ in 0..4_000 {
        let mut bytes = query.clone();
        for _ in 0..=random.below(4) {
            let at = 2 + random.below(bytes.len() - 2);
            bytes[at] = random.next() as u8;
        }
        if random.below(4) == 0 {
            bytes.truncate(2 + random.below(bytes.len() - 2));
        }
        packets.push(bytes);
    }
    // Sent without waiting for what may never come; good queries between them show that the node lives.
    let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    for (at, packet) in packets.iter().enumerate() {
        socket.send_to(packet, node.address())?;
        if at % 100 == 99 {
            ensure!(node.serial("small.example.")? == 1, "seed {seed:#x}, packet {at}");
        }
    }
    socket.set_nonblocking(true)?;
    let mut buffer = [0; 65_536];
    while let Ok(len) = socket.recv(&mut buffer) {
        ensure!(len <= 1232, "seed {seed:#x}: an answer of {len} octets");
        ensure!(buffer[2] & 0x80 != 0, "seed {seed:#x}: QR is off in {:02x?}", &buffer[..len]);
    }
    ensure!(node.process.exited().is_none(), "seed {seed:#x}: the node ended\n{}", node.process.log_tail());
    Ok(())
}

struct XorShift(u64);

impl XorShift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}
