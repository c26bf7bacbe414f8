//! Catalogs between Starling, Knot and BIND; NSD of Debian 12 knows none.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use starling_tests::name::Name;
use starling_tests::process::Process;
use starling_tests::server::{Kind, Server, ZoneFile, free_port, own_address};
use starling_tests::tools;

use super::{Answer, CATALOG, Node, REFUSED, catalog, member, replace, soa};
use crate::secondaries::FOLLOWS_WITHIN;

const GONE: Answer = Answer::Code(REFUSED);
const OTHER: &str = "other.example.";

/// A peer that follows catalogs, or makes one.
struct Peer {
    kind: Kind,
    address: SocketAddr,
    process: Process,
}

impl Peer {
    /// Where a peer of this kind will listen.
    fn address_for(kind: Kind) -> Result<SocketAddr> {
        // BIND listens only on addresses that an interface lists, and loopback lists just the one.
        let ip = if kind == Kind::Bind { Ipv4Addr::LOCALHOST } else { own_address() };
        Ok(SocketAddr::new(ip.into(), free_port(ip)?))
    }

    fn start(kind: Kind, address: SocketAddr, config: &str, folder: &Path) -> Result<Self> {
        // Knot makes its databases in it, and not the folder.
        std::fs::create_dir_all(folder.join("db"))?;
        let file = folder.join("config");
        replace(&file, config)?;
        let (program, arguments) = match kind {
            Kind::Knot => ("knotd", vec!["-c"]),
            Kind::Bind => ("named", vec!["-g", "-n", "1", "-c"]),
            Kind::Nsd | Kind::Starling => bail!("{kind} is no such peer"),
        };
        let mut command = Command::new(tools::program(program)?);
        command.args(arguments).arg(&file).current_dir(folder);
        let process = Process::spawn(program, &command, &folder.join("log"))?;
        Ok(Self { kind, address, process })
    }

    /// Waits until it says this of each of these zones.
    fn answers(&mut self, zones: &[&str], wanted: Answer) -> Result<()> {
        for zone in zones {
            let what = format!("{} says {wanted:?} of {zone}", self.kind);
            let followed = tools::poll(&what, FOLLOWS_WITHIN, || {
                if let Some(status) = self.process.exited() {
                    bail!("{} ended with {status}", self.kind);
                }
                Ok((soa(self.address, zone)? == wanted).then_some(()))
            });
            followed.with_context(|| self.process.log_tail())?;
        }
        Ok(())
    }
}

/// The start of a configuration of Knot that serves at this address.
fn knot_start(address: SocketAddr, other: SocketAddr, folder: &Path) -> String {
    let here = folder.display();
    format!(
        "server:\n  rundir: \"{here}\"\n  listen: {}@{}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\nlog:\n  - \
         target: stderr\n    any: info\ndatabase:\n  storage: \"{here}/db\"\nremote:\n  - id: other\n    address: {}@{}\nacl:\n  \
         - id: local\n    address: 127.0.0.0/8\n    action: [transfer, notify]\n",
        address.ip(),
        address.port(),
        other.ip(),
        other.port()
    )
}

/// Knot with these zones, each with its group, in a catalog that it makes.
fn knot_maker(
    address: SocketAddr,
    follower: SocketAddr,
    zones: &[(&str, &str)],
    folder: &Path,
) -> Result<String> {
    let mut text = knot_start(address, follower, folder);
    write!(
        text,
        "template:\n  - id: default\n    storage: \"{}\"\n    zonefile-sync: -1\n    notify: other\n    acl: \
         local\nzone:\n  - domain: {CATALOG}\n    catalog-role: generate\n",
        folder.display()
    )?;
    for (zone, group) in zones {
        std::fs::write(folder.join(zone), member(1))?;
        write!(
            text,
            "  - domain: {zone}\n    file: {zone}\n    catalog-role: member\n    catalog-zone: {CATALOG}\n"
        )?;
        if !group.is_empty() {
            writeln!(text, "    catalog-group: {group}")?;
        }
    }
    Ok(text)
}

/// The configuration of a Starling that follows this catalog of a primary.
fn follows(catalog: &str, primary: SocketAddr) -> String {
    format!(
        "[[zone]]\nname = \"{catalog}\"\nprimaries = [\"{primary}\"]\ncatalog = true\ncatalog-template = \
         \"plain\"\ncatalog-groups = {{ gold = \"golden\" }}\n"
    )
}

fn templates(primary: SocketAddr) -> String {
    let template = |name: &str| format!("[[template]]\nname = \"{name}\"\nprimaries = [\"{primary}\"]\n");
    template("plain") + &template("golden")
}

#[test]
fn a_catalog_of_knot_is_followed() -> Result<()> {
    let mut node = Node::new()?;
    let folder = node.path("knot");
    std::fs::create_dir_all(&folder)?;
    let address = Peer::address_for(Kind::Knot)?;
    let config = knot_maker(address, node.address, &[("a.test", "gold"), ("b.test", "")], &folder)?;
    let mut knot = Peer::start(Kind::Knot, address, &config, &folder)?;
    knot.answers(&["a.test", "b.test"], Answer::Serial(1))?;
    node.configure(&(templates(address) + &follows(CATALOG, address)))?;
    node.start()?;
    node.answers(&["a.test", "b.test"], Answer::Serial(1))?;
    let seen = node.waits_for(CATALOG, "a.test b.test", "")?;
    ensure!(seen.templates == "a.test:golden b.test:plain", "{seen:?}");
    // Others come and go, and one changes its group.
    let config = knot_maker(address, node.address, &[("b.test", "gold"), ("d.test", "silver")], &folder)?;
    replace(&folder.join("config"), &config)?;
    knot.process.signal(Signal::HUP)?;
    node.answers(&["b.test", "d.test"], Answer::Serial(1)).with_context(|| knot.process.log_tail())?;
    node.answers(&["a.test"], GONE)?;
    let seen = node.waits_for(CATALOG, "b.test d.test", "")?;
    ensure!(seen.templates == "b.test:golden d.test:plain", "{seen:?}");
    // Knot that has lost its zones.
    let config = knot_maker(address, node.address, &[], &folder)?;
    replace(&folder.join("config"), &config)?;
    knot.process.signal(Signal::HUP)?;
    node.waits_for(CATALOG, "b.test d.test", "b.test d.test").with_context(|| knot.process.log_tail())?;
    ensure!(node.soa("b.test")? == Answer::Serial(1));
    Ok(())
}

#[test]
fn catalogs_of_bind_are_followed() -> Result<()> {
    let mut node = Node::new()?;
    let folder = node.path("primary");
    std::fs::create_dir_all(&folder)?;
    let files = [CATALOG, OTHER, "a.test", "b.test", "d.test"];
    let write = |serial: u32, ours: &str, others: &str| -> Result<()> {
        replace(&folder.join(CATALOG), &catalog(serial, &format!("x.zones PTR b.test.\n{ours}")))?;
        replace(&folder.join(OTHER), &catalog(serial, &format!("y.zones PTR d.test.\n{others}")))
    };
    files[2..].iter().try_for_each(|zone| replace(&folder.join(zone), &member(1)))?;
    let here = "k.zones PTR a.test.\ngroup.k.zones TXT gold\n";
    write(1, here, "")?;
    let zones: Result<Vec<ZoneFile>> = files
        .iter()
        .map(|zone| {
            Ok(ZoneFile { apex: Name::parse(zone)?, file: folder.join(zone), generic: folder.join(zone) })
        })
        .collect();
    let bind = Server::primary(Kind::Bind, &zones?, &folder, node.address)?;
    let primary = bind.address;
    node.configure(&(templates(primary) + &follows(CATALOG, primary) + &follows(OTHER, primary)))?;
    node.start()?;
    node.answers(&["a.test", "b.test", "d.test"], Answer::Serial(1))?;
    let seen = node.waits_for(CATALOG, "a.test b.test", "")?;
    ensure!(seen.templates == "a.test:golden b.test:plain", "{seen:?}");
    // Offered, then taken under the same label, then let go.
    write(2, &format!("{here}coo.k.zones PTR {OTHER}\n"), "k.zones PTR a.test.\n")?;
    bind.process.signal(Signal::HUP)?;
    node.waits_for(OTHER, "a.test d.test", "").with_context(|| bind.process.log_tail())?;
    node.waits_for(CATALOG, "b.test", "")?;
    let log = node.log();
    ensure!(log.contains("zone a.test.: has moved from catalog catalog.example. to other.example."), "{log}");
    write(3, "", "k.zones PTR a.test.\n")?;
    bind.process.signal(Signal::HUP)?;
    crate::site::wait(|| node.soa(CATALOG), |seen| *seen == Answer::Serial(3))?;
    node.waits_for(OTHER, "a.test d.test", "")?;
    ensure!(node.soa("a.test")? == Answer::Serial(1), "it was there all the time");
    Ok(())
}

/// A Starling that makes two catalogs of these zones, each with further lines, and tells a follower of them.
fn configure_maker(node: &Node, follower: SocketAddr, zones: &[(&str, &str, &str)]) -> Result<()> {
    let mut lines = String::new();
    for catalog in [CATALOG, OTHER] {
        write!(lines, "[[catalog]]\nname = \"{catalog}\"\nnotify = [\"{follower}\"]\n")?;
    }
    for (zone, catalog, more) in zones {
        node.write(zone, &member(1))?;
        write!(lines, "[[zone]]\nname = \"{zone}\"\nfile = \"{zone}\"\ncatalog = \"{catalog}\"\n{more}\n")?;
    }
    node.configure(&lines)
}

#[test]
fn knot_follows() -> Result<()> {
    let mut node = Node::new()?;
    let address = Peer::address_for(Kind::Knot)?;
    configure_maker(&node, address, &[("a.test", CATALOG, "group = \"golden\""), ("b.test", CATALOG, "")])?;
    node.start()?;
    let folder = node.path("knot");
    std::fs::create_dir_all(&folder)?;
    let mut text = knot_start(address, node.address, &folder);
    // What is golden can be told by its file alone.
    let (here, gold) = (folder.display(), folder.join("gold"));
    std::fs::create_dir_all(&gold)?;
    write!(
        text,
        "template:\n  - id: default\n    storage: \"{here}\"\n    master: other\n    acl: local\n  - id: plain\n    \
         storage: \"{here}\"\n    master: other\n    acl: local\n  - id: golden\n    storage: \"{}\"\n    master: other\n    \
         acl: local\n    zonefile-sync: 0\nzone:\n  - domain: {CATALOG}\n    catalog-role: interpret\n    catalog-template: \
         [plain, golden]\n",
        gold.display()
    )?;
    let mut knot = Peer::start(Kind::Knot, address, &text, &folder)?;
    knot.answers(&["a.test", "b.test"], Answer::Serial(1)).with_context(|| node.log())?;
    tools::poll("the zone of the group has its file", FOLLOWS_WITHIN, || {
        Ok(gold.join("a.test.zone").exists().then_some(()))
    })
    .with_context(|| knot.process.log_tail())?;
    ensure!(!gold.join("b.test.zone").exists(), "the other one has not");
    configure_maker(&node, address, &[("b.test", CATALOG, ""), ("d.test", CATALOG, "")])?;
    node.does(&["reload"])?;
    knot.answers(&["b.test", "d.test"], Answer::Serial(1))?;
    knot.answers(&["a.test"], GONE)
}

#[test]
fn bind_follows() -> Result<()> {
    let mut node = Node::new()?;
    let address = Peer::address_for(Kind::Bind)?;
    let two = [("a.test", CATALOG, ""), ("b.test", CATALOG, ""), ("d.test", OTHER, "")];
    configure_maker(&node, address, &two)?;
    node.start()?;
    let folder = node.path("bind");
    std::fs::create_dir_all(&folder)?;
    let (here, (ip, port)) = (folder.display(), (node.address.ip(), node.address.port()));
    let primaries = format!("{{ {ip} port {port}; }}");
    let of_each = |text: &dyn Fn(&str) -> String| [CATALOG, OTHER].map(text).concat();
    let followed = of_each(&|zone| {
        format!("zone \"{zone}\" default-primaries {primaries} in-memory yes min-update-interval 1; ")
    });
    let zones = of_each(&|zone| {
        format!("zone \"{zone}\" {{ type secondary; primaries {primaries}; file \"{zone}db\"; }};\n")
    });
    let text = format!(
        "options {{\n directory \"{here}\"; pid-file \"{here}/pid\"; session-keyfile \"{here}/session.key\"; lock-file none;\n \
         listen-on port {} {{ {}; }}; listen-on-v6 {{ none; }};\n recursion no; notify no; allow-notify {{ 127.0.0.0/8; }}; \
         dnssec-validation no; empty-zones-enable no;\n catalog-zones {{ {followed}}};\n}};\ncontrols {{ }};\n{zones}",
        address.port(),
        address.ip()
    );
    let mut bind = Peer::start(Kind::Bind, address, &text, &folder)?;
    bind.answers(&["a.test", "b.test", "d.test"], Answer::Serial(1)).with_context(|| node.log())?;
    // One goes, one comes, and one is offered to the other catalog.
    let offer = format!("coo = \"{OTHER}\"");
    configure_maker(
        &node,
        address,
        &[("a.test", CATALOG, &offer), ("d.test", OTHER, ""), ("e.test", CATALOG, "")],
    )?;
    node.does(&["reload"])?;
    bind.answers(&["a.test", "d.test", "e.test"], Answer::Serial(1))?;
    bind.answers(&["b.test"], GONE)?;
    configure_maker(
        &node,
        address,
        &[("a.test", OTHER, ""), ("d.test", OTHER, ""), ("e.test", CATALOG, "")],
    )?;
    node.does(&["reload"])?;
    let serial = soa(node.address, OTHER)?;
    bind.answers(&[OTHER], serial)?;
    bind.answers(&["a.test"], Answer::Serial(1))
}
