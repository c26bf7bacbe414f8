//! What a node needs: its configuration, its zone, and the commands that start it.

use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::bird::sessions;
use super::client::{PORT, QNAME};
use super::pools;
use super::pop::Software;
use super::topology::{ORIGIN, POPS, PREFIXES, SERVICE, feed, management};
use super::{Plan, Source, Steering};
use crate::netns::Namespace;
use crate::tools;

/// The address that [`QNAME`] has.
pub(super) const ANSWER: &str = "192.0.2.80";

/// The error of a broken zone.
const ERROR: &str = "www A 192.0.2.300";

/// Whether a node is no good without the zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// It is not: it leaves routing without it.
    Critical,
    /// It is, for its other zones.
    Ordinary,
}

/// What the zone's file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zone {
    /// What it should.
    Good,
    /// An error.
    Bad,
}

/// Writes everything a node reads into its folder.
pub fn write_files(index: usize, plan: Plan, folder: &Path) -> Result<()> {
    write_zone(folder, Zone::Good)?;
    let (file, text) = match plan.software {
        Software::Starling => ("node.toml", node_toml(index, plan, folder)),
        Software::Usual => {
            ("nsd.conf", nsd_conf(&SERVICE, POPS[index], folder, "request-xfr: 10.200.0.2 NOKEY"))
        }
    };
    std::fs::write(folder.join(file), text).with_context(|| file.to_owned())
}

/// Whether the zone's file was broken last.
#[must_use]
pub fn zone_is_bad(folder: &Path) -> bool {
    std::fs::read_to_string(folder.join("example.com.zone")).is_ok_and(|text| text.contains(ERROR))
}

/// Writes the zone, whole or broken.
pub fn write_zone(folder: &Path, zone: Zone) -> Result<()> {
    let last = if zone == Zone::Bad { ERROR } else { "" };
    let text = format!(
        "$TTL 300\n@ SOA ns1 hostmaster 1 3600 600 1209600 300\n@ NS ns1\n\
         ns1 A {}\nns1 AAAA {}\nwww A {ANSWER}\n{last}\n",
        SERVICE[0], SERVICE[1]
    );
    std::fs::write(folder.join("example.com.zone"), text).context("example.com.zone")
}

/// The commands that make up a node, with their names.
pub fn commands(
    namespace: &Namespace,
    software: Software,
    folder: &Path,
    bird: &Path,
) -> Result<Vec<(&'static str, Command)>> {
    if software == Software::Starling {
        let starling = tools::starling()?.display().to_string();
        let mut command = namespace.command(&starling)?;
        command.arg("run").arg("--config").arg(folder.join("node.toml"));
        return Ok(vec![("starling", command)]);
    }
    for address in SERVICE {
        let len = if address.contains(':') { 128 } else { 32 };
        namespace.ip(&format!("address replace {address}/{len} dev lo"))?;
    }
    let supervise = tools::data("lab/supervise").display().to_string();
    let mut nsd = namespace.command(&supervise)?;
    nsd.arg(tools::program("nsd")?).arg("-d").arg("-c").arg(folder.join("nsd.conf"));
    let mut check = namespace.command(&supervise)?;
    check
        .arg(tools::data("lab/anycast-check"))
        .arg(bird)
        .args(["test", "!", "-e"])
        .arg(folder.join("site-bad"));
    Ok(vec![("nsd", nsd), ("anycast-check", check)])
}

/// Whether the server of this namespace answers on the service address.
#[must_use]
pub fn answers(namespace: &Namespace) -> bool {
    SERVICE.iter().all(|address| {
        let server = format!("@{address}");
        let said = namespace.run("dig", &["+short", "+tries=1", "+time=1", &server, QNAME, "A"]);
        said.is_ok_and(|said| said.trim() == ANSWER)
    })
}

/// The command of the server that zones come from.
pub fn origin(namespace: &Namespace, folder: &Path) -> Result<Command> {
    write_zone(folder, Zone::Good)?;
    std::fs::create_dir_all(folder.join("state"))?;
    let text = nsd_conf(&[ORIGIN], "origin", folder, "provide-xfr: 0.0.0.0/0 NOKEY");
    std::fs::write(folder.join("nsd.conf"), text).context("nsd.conf of the origin")?;
    let mut command = namespace.command("nsd")?;
    command.arg("-d").arg("-c").arg(folder.join("nsd.conf"));
    Ok(command)
}

/// Two processes that answer, as many as there are workers in Starling on two processors; no response rate limit,
/// which one client that stands for many would hit.
fn nsd_conf(addresses: &[&str], name: &str, folder: &Path, zone_line: &str) -> String {
    let at = folder.display();
    let addresses: String = addresses.iter().map(|address| format!(" ip-address: {address}\n")).collect();
    format!(
        "server:\n{addresses} port: {PORT}\n server-count: 2\n reuseport: yes\n nsid: \"ascii_{name}\"\n \
         username: \"\"\n chroot: \"\"\n zonesdir: \"{at}\"\n pidfile: \"\"\n database: \"\"\n \
         xfrdfile: \"{at}/state/xfrd.state\"\n zonelistfile: \"{at}/state/zone.list\"\n xfrdir: \"{at}/state\"\n \
         rrl-ratelimit: 0\n rrl-whitelist-ratelimit: 0\n\
         remote-control:\n control-enable: yes\n control-interface: \"{at}/nsd.ctl\"\n\
         zone:\n name: example.com\n zonefile: \"example.com.zone\"\n {zone_line}\n"
    )
}

/// Shorter times than the defaults, so that a breakage and its end are seen within seconds, in the same proportions.
fn node_toml(index: usize, plan: Plan, folder: &Path) -> String {
    let at = folder.display();
    let mut listen: Vec<String> = SERVICE
        .iter()
        .map(|address| match address.parse() {
            Ok(IpAddr::V6(_)) => format!("\"[{address}]:{PORT}\""),
            _ => format!("\"{address}:{PORT}\""),
        })
        .collect();
    if plan.steering == Steering::Pools {
        // Each node is asked what it alone says.
        listen.push(format!("\"{}:{PORT}\"", management(index)));
    }
    if plan.source != Source::File {
        // NOTIFY comes to an address that is this node's alone.
        listen.push(format!("\"{}2:{PORT}\"", feed(index)));
    }
    let quoted = |list: &[String]| list.iter().map(|item| format!("{item:?}")).collect::<Vec<_>>().join(", ");
    let strings = |list: &[&str]| quoted(&list.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>());
    let peers: String = POPS
        .iter()
        .enumerate()
        .filter(|(peer, _)| *peer != index)
        .map(|(peer, name)| format!("[[peer]]\nname = \"{name}\"\naddress = \"{}:8053\"\n", management(peer)))
        .collect();
    format!(
        "[node]\nname = \"{name}\"\nlisten = [{listen}]\nstate-dir = \"{at}/state\"\ncontrol = \"{at}/control\"\n\
         [management]\nlisten = [\"{management}:8053\"]\n\
         [anycast]\naddresses = [{addresses}]\nprefixes = [{prefixes}]\n\
         stable-ms = 1000\ndrain-ms = 1000\ngrace-ms = 1000\nhold-down-ms = 1000\nhold-down-max-ms = 4000\n\
         transitions-per-hour-max = 1000\npeers-min = 1\n\
         [anycast.bird]\nsocket = \"{at}/bird.ctl\"\nprotocols = [{protocols}]\n\
         [[check]]\nname = \"site\"\nexec = [\"/usr/bin/test\", \"!\", \"-e\", \"{at}/site-bad\"]\n\
         interval-ms = 200\ntimeout-ms = 1000\nrise = 2\nfall = 2\naction = \"withdraw\"\n\
         [[check]]\nname = \"disk\"\nmin-mib = 1\ninterval-ms = 1000\n\
         [[check]]\nname = \"primary\"\n\
         exec = [\"/usr/bin/dig\", \"+tries=1\", \"+time=1\", \"@{ORIGIN}\", \"example.com\", \"SOA\"]\n\
         interval-ms = 1000\ntimeout-ms = 2000\nrise = 1\nfall = 2\naction = \"report\"\n\
         {peers}{pools}{zones}",
        name = POPS[index],
        listen = listen.join(", "),
        management = management(index),
        addresses = strings(&SERVICE),
        prefixes = strings(&PREFIXES),
        protocols = quoted(&sessions()),
        pools = if plan.steering == Steering::Pools { pools::config(index) } else { String::new() },
        zones = zones(index, plan.source, folder),
    )
}

/// The zones of a node. With a primary there is one besides that is always there, so that the copy is not all that it has.
fn zones(index: usize, source: Source, folder: &Path) -> String {
    let file = folder.join("example.com.zone").display().to_string();
    let Source::Primary { weight, .. } = source else {
        return format!("[[zone]]\nname = \"example.com\"\nfile = \"{file}\"\n");
    };
    format!(
        "[[zone]]\nname = \"example.com\"\nprimaries = [\"{0}1:{PORT}\"]\nsource = \"{0}2\"\ncritical = {1}\nrefresh-min-s = 1\n\
         retry-min-s = 1\nexpire-min-s = 1\n[[zone]]\nname = \"other.example\"\nfile = \"{file}\"\n",
        feed(index),
        weight == Weight::Critical
    )
}
