//! What templates say of the members that are made from them.

use std::net::UdpSocket;

use anyhow::{Context, Result, ensure};
use starling_tests::message::Message;
use starling_tests::name::Name;
use starling_tests::zonedata::transfer;

use super::{Answer, CATALOG, Node, catalog, listed, member, primary};
use crate::secondaries::serial_of;
use crate::site::SEEN_WITHIN;

const MEMBER: &str = "a.example";
const OPCODE_NOTIFY: u16 = 4;

/// A node that follows a catalog, with a primary of its member.
struct Follower {
    node: Node,
    primary: Node,
}

impl Follower {
    /// Says who may have members, who is told of them, and what their ZONEMD records have to be.
    fn configure(&self, secondaries: &str, told: &UdpSocket, zonemd: &str) -> Result<()> {
        let (listen, primary, told) = (self.node.address, self.primary.address, told.local_addr()?);
        let template = format!(
            "[[template]]\nname = \"plain\"\nprimaries = [\"{primary}\"]\nsecondaries = [\"{secondaries}\"]\nnotify = [\"{told}\"]\n\
             [template.admission]\nzonemd = \"{zonemd}\"\n"
        );
        let text = format!(
            "[node]\nlisten = [\"{listen}\"]\ncontrol = \"control\"\nworkers = 1\nstate-dir = \"state\"\n[transfer]\nnotify-source = \
             [\"127.0.0.1\"]\n{template}[[zone]]\nname = \"{CATALOG}\"\nfile = \"catalog.zone\"\ncatalog = true\n\
             catalog-template = \"plain\"\n"
        );
        self.node.write("node.toml", &text)
    }

    /// Has the primary serve another version of the member.
    fn changes(&self, serial: u32) -> Result<()> {
        self.primary.write(MEMBER, &member(serial))?;
        self.primary.does(&["reload"]).map(drop)
    }
}

/// Waits for a NOTIFY of this serial.
fn is_told(socket: &UdpSocket, serial: u32) -> Result<()> {
    socket.set_read_timeout(Some(SEEN_WITHIN))?;
    let mut buffer = [0; 512];
    loop {
        let len = socket.recv(&mut buffer).with_context(|| format!("no NOTIFY of serial {serial}"))?;
        let notify = Message::decode(&buffer[..len])?;
        ensure!(notify.flags >> 11 & 15 == OPCODE_NOTIFY, "{notify}");
        if notify.answer.first().and_then(serial_of) == Some(serial) {
            return Ok(());
        }
    }
}

#[test]
fn a_reload_of_a_template_is_one_of_its_members() -> Result<()> {
    let mut follower = Follower { node: Node::new()?, primary: primary(&[MEMBER], 1)? };
    let told = [UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?];
    follower.configure("192.0.2.0/24", &told[0], "verify")?;
    follower.node.write("catalog.zone", &catalog(1, &listed(&[MEMBER])))?;
    follower.node.start()?;
    let (node, apex) = (&follower.node, Name::parse(MEMBER)?);
    node.answers(&[MEMBER], Answer::Serial(1))?;
    is_told(&told[0], 1)?;
    let refused = transfer(node.address, &apex).err().context("it was sent")?.to_string();
    ensure!(refused.contains("REFUSED"), "{refused}");

    follower.configure("127.0.0.1", &told[1], "verify")?;
    node.does(&["reload"])?;
    ensure!(transfer(node.address, &apex)?.len() == 3);
    follower.changes(2)?;
    node.does(&["refresh", MEMBER])?;
    is_told(&told[1], 2)?;

    follower.configure("192.0.2.0/24", &told[1], "require")?;
    node.does(&["reload"])?;
    ensure!(transfer(node.address, &apex).is_err(), "who may have it is as it was at first");
    follower.changes(3)?;
    let output = node.ctl(&["refresh", MEMBER])?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && text.contains("has no ZONEMD record"), "{output:?}");
    node.answers(&[MEMBER], Answer::Serial(2))?;

    follower.configure("192.0.2.0/24", &told[1], "verify")?;
    node.does(&["reload"])?;
    node.does(&["refresh", MEMBER])?;
    node.answers(&[MEMBER], Answer::Serial(3))?;
    is_told(&told[1], 3)
}
