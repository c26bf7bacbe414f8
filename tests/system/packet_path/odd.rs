//! Frames that are not plain queries.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use starling_tests::netns;

use super::frames;
use super::query;
use super::wire::{CLIENT_V4, CLIENT_V6, V4, V6, Wire};

fn v4() -> Result<frames::V4> {
    Ok(frames::V4 {
        source: CLIENT_V4.parse()?,
        destination: "10.53.0.1".parse()?,
        ports: [4053, 53],
        payload: query(7)?,
        options: Vec::new(),
        damage: [0, 0],
    })
}

fn v6() -> Result<frames::V6> {
    Ok(frames::V6 {
        source: CLIENT_V6.parse()?,
        destination: "fd00:53::1".parse()?,
        ports: [4053, 53],
        payload: query(7)?,
        has_extension: false,
        damage: 0,
    })
}

#[test]
fn what_a_ring_can_not_answer_the_kernel_gets() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let wire = Wire::new("xdp-odd", 1500)?;
    wire.configure(&[V4, V6], "", "packet-path = \"xdp\"")?;
    let serving = wire.start()?;
    let ethernet = wire.ethernet()?;
    let (v4, v6) = (v4()?, v6()?);

    // Each line: what it is, the frames, and how many datagrams sockets and rings get of them.
    // Options that look like the ports of a query, and a port that looks like its length.
    let ports = [(4 + 8 + v4.payload.len()) as u16, 53];
    let options = frames::V4 { options: vec![1, 1, 0, 53], ports, ..v4.clone() };
    let [first, second] = v4.fragments();
    let extension = frames::V6 { has_extension: true, ..v6.clone() };
    let mut padded = ethernet.v4(&v4);
    padded.extend([0; 9]);
    let foreign = |position: usize| {
        let mut destination = ethernet.destination;
        destination[position] ^= 2;
        frames::Ethernet { destination, ..ethernet }.v4(&v4)
    };
    let cases = [
        ("plain, IPv4", vec![ethernet.v4(&v4)], 0, 1),
        ("plain, IPv6", vec![ethernet.v6(&v6)], 0, 1),
        ("with padding after the packet", vec![padded], 0, 1),
        ("with IP options", vec![ethernet.v4(&options)], 1, 0),
        (
            "in fragments",
            vec![ethernet.frame(&[], 0x0800, &first), ethernet.frame(&[], 0x0800, &second)],
            1,
            0,
        ),
        ("with an extension header", vec![ethernet.v6(&extension)], 1, 0),
        // The kernel drops what is not for this machine, and so no one gets it.
        ("for other Ethernet addresses", vec![foreign(0), foreign(3), foreign(5)], 0, 0),
        ("a fragment that seems whole", vec![ethernet.frame(&[], 0x0800, &v4.first_of_more())], 0, 0),
        ("with a tag of a VLAN that there is not", vec![ethernet.frame(&[9], 0x0800, &v4.bytes())], 0, 0),
        ("with two tags", vec![ethernet.frame(&[9, 9], 0x0800, &v4.bytes())], 0, 0),
        ("from loopback", vec![ethernet.v4(&frames::V4 { source: Ipv4Addr::LOCALHOST, ..v4.clone() })], 0, 0),
        (
            "from a multicast address",
            vec![ethernet.v4(&frames::V4 { source: Ipv4Addr::new(224, 0, 0, 9), ..v4.clone() })],
            0,
            0,
        ),
        (
            "from the server itself",
            vec![ethernet.v4(&frames::V4 { source: v4.destination, ..v4.clone() })],
            0,
            0,
        ),
        // Over IPv6 the kernel believes that.
        (
            "from the server itself, IPv6",
            vec![ethernet.v6(&frames::V6 { source: v6.destination, ..v6.clone() })],
            1,
            0,
        ),
        ("cut off", vec![ethernet.v4(&v4)[..60].to_vec()], 0, 0),
    ];
    for (what, sent, sockets, rings) in cases {
        let before = serving.received()?;
        wire.put(&sent)?;
        // What comes last tells that everything before it has come.
        wire.put(&[ethernet.v4(&v4)])?;
        serving.wait_received(before, sockets + rings + 1, rings + 1).context(what)?;
    }
    for cause in ["frame", "checksum", "queue", "ring"] {
        ensure!(serving.drops(cause)? == 0, "{cause}");
    }
    Ok(())
}

#[test]
fn damaged_frames_are_counted_and_dropped() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let wire = Wire::new("xdp-damage", 1500)?;
    wire.configure(&[V4, V6], "", "packet-path = \"xdp\"")?;
    let serving = wire.start()?;
    let ethernet = wire.ethernet()?;
    let header = frames::V4 { damage: [1, 0], ..v4()? };
    let datagram = frames::V4 { damage: [0, 1], ..v4()? };
    let datagram_v6 = frames::V6 { damage: 0x0100, ..v6()? };
    let before = serving.received()?;
    wire.put(&[ethernet.v4(&header), ethernet.v4(&datagram), ethernet.v6(&datagram_v6)])?;
    serving.wait_received(before, 3, 3)?;
    ensure!(serving.drops("checksum")? == 3, "{}", serving.status()?);
    ensure!(serving.status()?["udp"]["answers"] == 0, "{}", serving.status()?);
    // The sum over the pseudo-header alone, as a packet has it whose sender leaves the rest to its card, is fine: that is
    // what the client's own kernel sends through a virtual cable.
    wire.ask(V4, &query(1)?)?.context("an answer")?;
    wire.ask(V6, &query(2)?)?.context("an answer")?;
    ensure!(serving.drops("checksum")? == 3);
    Ok(())
}
