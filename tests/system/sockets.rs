//! A node's UDP sockets as the kernel has them, and an answer that is longer than the cable lets through.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use starling_tests::client;
use starling_tests::name::Name;
use starling_tests::netns::{self, Forwarding, Namespace};
use starling_tests::query::{Edns, Query};
use starling_tests::tools;

use crate::node::{ANSWER_LIMIT, Node, Site, TYPE_A, said, small_zone};

const TYPE_TXT: u16 = 16;
const SERVERS: [&str; 2] = ["198.18.0.1:53", "[2001:db8:1::1]:53"];
/// The least that IPv6 allows (RFC 8200 §5).
const MTU: u32 = 1280;

struct Place {
    client: Namespace,
    server: Namespace,
    _site: Site,
    node: Node,
}

fn place() -> Result<Place> {
    let server = Namespace::new("sockets-server", Forwarding::Off)?;
    let client = Namespace::new("sockets-client", Forwarding::Off)?;
    netns::cable((&server, "cable"), (&client, "cable"))?;
    for (namespace, host) in [(&server, 1), (&client, 2)] {
        namespace.ip(&format!("link set dev cable mtu {MTU}"))?;
        namespace.add_address("cable", &format!("198.18.0.{host}/24"))?;
        namespace.add_address("cable", &format!("2001:db8:1::{host}/64"))?;
    }
    let folder = tempfile::tempdir()?;
    let zone = folder.path().join("small.zone");
    let text = format!("\"{}\"", "x".repeat(250));
    std::fs::write(&zone, small_zone(1, &format!("big TXT {}\n", vec![text; 6].join(" "))))?;
    let lines = format!("workers = 2\nlisten = {SERVERS:?}\nudp-payload-max = 4096");
    let site = Site::new(&[("small.example", &zone)], &lines)?;
    let mut command = Command::new(tools::program("ip")?);
    command.args(["netns", "exec", server.name()]).arg(tools::starling()?);
    let node = site.start_as(command)?;
    Ok(Place { client, server, _site: site, node })
}

/// RFC 9715 §3.1: what does not fit is not sent, and in no way in fragments.
#[test]
fn an_answer_longer_than_the_mtu_is_dropped_and_counted() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let place = place()?;
    for (number, server) in SERVERS.iter().enumerate() {
        let server: SocketAddr = server.parse()?;
        let ask = |name: &str, qtype, limit| {
            let mut query = Query::new(Name::parse(name)?, qtype);
            query.edns = Some(Edns::size(4096));
            place.client.inside(|| client::udp_raw(server, &query.bytes(9), limit))?
        };
        ensure!(
            ask("big.small.example.", TYPE_TXT, Duration::from_millis(500))?.is_none(),
            "{server}: an answer"
        );
        // The same worker, which is on its feet.
        ensure!(ask("www.small.example.", TYPE_A, ANSWER_LIMIT)?.is_some(), "{server}: no answer");
        let status: Value = serde_json::from_slice(&place.node.ctl(&["status", "--json"])?.stdout)?;
        ensure!(status["drops"]["too-big"] == number + 1, "{server}: {}", status["drops"]);
    }
    let fragments = place.server.inside(fragments_made)??;
    ensure!(fragments == 0, "{fragments} fragments were made");
    Ok(())
}

/// Fragments that this namespace has made of packets that were too long, over IPv4 and IPv6.
fn fragments_made() -> Result<u64> {
    let v4 = std::fs::read_to_string("/proc/thread-self/net/snmp")?;
    let mut ip = v4.lines().filter(|line| line.starts_with("Ip:")).map(str::split_whitespace);
    let (titles, values) = ip.next().zip(ip.next()).context("no `Ip:` in net/snmp")?;
    let v4 = titles.zip(values).find(|(title, _)| *title == "FragCreates").context("no FragCreates")?.1;
    let v6 = std::fs::read_to_string("/proc/thread-self/net/snmp6")?;
    let v6 = v6.lines().find(|line| line.starts_with("Ip6FragCreates")).context("no Ip6FragCreates")?;
    let v6 = v6.split_whitespace().nth(1).context("a count")?;
    Ok(v4.parse::<u64>()? + v6.parse::<u64>()?)
}

#[test]
fn there_is_one_udp_socket_for_each_address_and_worker() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let place = place()?;
    let bound_to_53 = |table: &str| -> Result<usize> {
        let text = std::fs::read_to_string(format!("/proc/thread-self/net/{table}"))?;
        Ok(text
            .lines()
            .filter(|line| line.split_whitespace().nth(1).is_some_and(|at| at.ends_with(":0035")))
            .count())
    };
    for table in ["udp", "udp6"] {
        let count = place.server.inside(|| bound_to_53(table))??;
        ensure!(count == 2, "{count} sockets on port 53 in {table}");
    }
    Ok(())
}

/// What the kernel does not grant is told, and the node answers all the same.
#[test]
fn small_buffers_are_told() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let zone = folder.path().join("small.zone");
    std::fs::write(&zone, small_zone(1, ""))?;
    let too_much: u64 =
        std::fs::read_to_string("/proc/sys/net/core/rmem_max")?.trim().parse::<u64>()? + 65_536;
    let lines = format!("workers = 1\nreceive-buffer-bytes = {too_much}");
    let site = Site::new(&[("small.example", &zone)], &lines)?;
    let mut command = Command::new(tools::program("setpriv")?);
    command.args(["--bounding-set", "-net_admin"]).arg(tools::starling()?);
    let node = if rustix::process::geteuid().is_root() { site.start_as(command)? } else { site.start()? };
    ensure!(node.process.log().contains("net.core.rmem_max"), "{}", node.process.log_tail());
    ensure!(!node.ask("www.small.example.", TYPE_A)?.answer.is_empty());
    let status = said(&node.ctl(&["status"])?);
    ensure!(status.contains("lost in full queues"), "{status}");
    Ok(())
}
