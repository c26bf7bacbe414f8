//! Where replies go.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use starling_tests::netns::{self, Namespace};
use starling_tests::tools;

use super::query;
use super::wire::{CLIENT_END, CLIENT_V4, CLIENT_V6, LIMIT, SERVER_END, V4, V6, Wire, hardware_address};

/// A second Ethernet address of the client, to which its address is said to belong.
const OTHER: &str = "client1";

fn text(address: [u8; 6]) -> String {
    address.map(|octet| format!("{octet:02x}")).join(":")
}

fn other_way(wire: &Wire) -> Result<()> {
    wire.client.ip(&format!("link add link {CLIENT_END} name {OTHER} type macvlan mode bridge"))?;
    wire.client.link_up(OTHER)?;
    let other = text(hardware_address(&wire.client, OTHER)?);
    for client in [CLIENT_V4, CLIENT_V6] {
        let entry = format!("{client} lladdr {other} dev {SERVER_END}");
        wire.server.ip(&format!("neighbour replace {entry} nud permanent"))?;
    }
    // What the server says of itself arrives at the wrong interface.
    let server = text(hardware_address(&wire.server, SERVER_END)?);
    for address in ["10.53.0.1", "fd00:53::1"] {
        let entry = format!("{address} lladdr {server} dev {CLIENT_END}");
        wire.client.ip(&format!("neighbour replace {entry} nud permanent"))?;
    }
    Ok(())
}

/// Packets that an interface has received.
fn received(namespace: &Namespace, interface: &str) -> Result<u64> {
    let text = namespace.ip(&format!("-json -statistics link show dev {interface}"))?;
    let listed: Value = serde_json::from_str(&text)?;
    listed[0]["stats64"]["rx"]["packets"].as_u64().with_context(|| text)
}

/// Asks over both families; how many of the two replies came in at the second Ethernet address.
fn over_the_other(wire: &Wire) -> Result<u64> {
    let before = received(&wire.client, OTHER)?;
    for server in [V4, V6] {
        wire.ask(server, &query(1)?)?.with_context(|| format!("an answer of {server}"))?;
    }
    Ok(received(&wire.client, OTHER)? - before)
}

#[test]
fn replies_go_back_or_where_routes_lead() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let wire = Wire::new("xdp-reply", 1500)?;
    other_way(&wire)?;
    wire.configure(&[V4, V6], "", "packet-path = \"xdp\"")?;
    let serving = wire.start()?;
    ensure!(over_the_other(&wire)? == 0, "replies go to where queries come from");
    ensure!(serving.received()? == (2, 2));
    drop(serving);

    // The kernel's lookup wants a setting, and without it says nothing: so it is looked at first.
    wire.configure(&[V4, V6], "", "packet-path = \"xdp\"\nreply = \"route\"")?;
    let serving = wire.start()?;
    ensure!(serving.interface()?.0 == "sockets");
    let log = serving.process.log();
    ensure!(log.contains("sysctl net.ipv4.conf.lo.forwarding=1"), "{log}");
    ensure!(over_the_other(&wire)? == 2, "the kernel's own replies go where its routes lead");
    drop(serving);

    for key in ["net.ipv4.conf.lo.forwarding", "net.ipv6.conf.lo.forwarding"] {
        wire.server.sysctl(key, "1")?;
    }
    let serving = wire.start()?;
    ensure!(serving.interface()?.0 == "xdp", "{}", serving.process.log_tail());
    ensure!(over_the_other(&wire)? == 2, "replies go where routes lead");
    ensure!(serving.received()? == (2, 2), "{:?}", serving.received()?);

    // The kernel has to find the neighbour first, and answers meanwhile.
    wire.server.ip(&format!("neighbour flush dev {SERVER_END} nud permanent"))?;
    let before = serving.received()?;
    for server in [V4, V6] {
        wire.ask(server, &query(2)?)?.context("an answer by the kernel")?;
    }
    serving.wait_received(before, 2, 0)?;
    tools::poll("the neighbour is found, and replies are looked up again", LIMIT, || {
        let before = serving.received()?;
        wire.ask(V4, &query(3)?)?.context("an answer")?;
        Ok((serving.received()?.1 > before.1).then_some(()))
    })?;

    // Out of another interface the kernel sends by itself.
    wire.server.ip("link add name elsewhere type veth peer name nowhere")?;
    wire.server.link_up("elsewhere")?;
    wire.server.link_up("nowhere")?;
    wire.server.ip("route add 10.53.7.0/24 dev elsewhere")?;
    wire.server.ip("neighbour add 10.53.7.1 lladdr 02:00:00:00:00:09 dev elsewhere nud permanent")?;
    wire.client.add_address(CLIENT_END, "10.53.7.1/32")?;
    let before = serving.received()?;
    let query = query(4)?;
    wire.client.inside(|| -> Result<()> {
        let socket = std::net::UdpSocket::bind("10.53.7.1:0")?;
        socket.send_to(&query, V4)?;
        Ok(())
    })??;
    serving.wait_received(before, 1, 0)
}
