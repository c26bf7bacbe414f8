//! Where what a node asks of others comes from: never from a service address, even where the system would choose one. Answers
//! to it reach whichever node is nearest to the one that answers.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use starling_tests::name::Name;
use starling_tests::netns::{self, Forwarding, Namespace};
use starling_tests::process::Process;
use starling_tests::server::starling_addresses;
use starling_tests::tools;
use starling_tests::zonedata::transfer;

use crate::site::SEEN_WITHIN;

const APEX: &str = "small.example";
const CATALOG: &str = "catalog.example";
const MEMBER: &str = "member.example";
const ZONE: &str = "$ORIGIN small.example.\n@ 300 SOA ns1 host 7 3600 3600 604800 60\n@ 300 NS ns1\n\
                    ns1 300 A 192.0.2.1\nwww 300 A 192.0.2.80\n";
/// Where the others are, and the node: they have a way to all of it but the service addresses.
const OTHERS: [&str; 2] = ["198.18.0.1", "2001:db8:1::1"];
const NODE: [&str; 2] = ["198.18.0.2", "2001:db8:1::2"];
const MANAGEMENT: [&str; 2] = ["192.0.2.10", "2001:db8:10::10"];
const SERVICE: [&str; 2] = ["203.0.113.53", "2001:db8:53::53"];

/// A node whose system prefers the service addresses, on a cable to others that have no way to these.
struct Place {
    node: Namespace,
    others: Namespace,
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Result<Self> {
        let node = Namespace::new("leaving-node", Forwarding::Off)?;
        let others = Namespace::new("leaving-others", Forwarding::Off)?;
        netns::cable((&node, "cable"), (&others, "cable"))?;
        for (family, bits, network) in [(0, 32, 24), (1, 128, 64)] {
            for address in [MANAGEMENT[family], SERVICE[family]] {
                node.add_address("lo", &format!("{address}/{bits}"))?;
            }
            node.add_address("cable", &format!("{}/{network}", NODE[family]))?;
            others.add_address("cable", &format!("{}/{network}", OTHERS[family]))?;
            // What a routing daemon does that was told to prefer the service address.
            node.ip(&format!("route add {} dev cable src {}", OTHERS[family], SERVICE[family]))?;
            others.ip(&format!("route add {} via {}", MANAGEMENT[family], NODE[family]))?;
        }
        Ok(Self { node, others, folder: tempfile::tempdir()? })
    }

    /// Starts a node inside with this configuration.
    fn start(&self, inside: &Namespace, listen: &[&str], lines: &str) -> Result<Process> {
        let folder = self.folder.path().join(inside.name());
        std::fs::create_dir_all(&folder)?;
        let listen: Vec<SocketAddr> =
            listen.iter().map(|address| Ok(SocketAddr::new(address.parse()?, 53))).collect::<Result<_>>()?;
        let mut text = "[node]\nlisten = [".to_owned();
        listen.iter().try_for_each(|address| write!(text, "\"{address}\", "))?;
        write!(text, "]\nworkers = 1\ncontrol = \"control\"\nstate-dir = \"state\"\n{lines}")?;
        std::fs::write(folder.join("node.toml"), text)?;
        let mut command = Command::new(tools::program("ip")?);
        command.args(["netns", "exec", inside.name()]).arg(tools::starling()?).arg("serve").arg("--config");
        command.arg(folder.join("node.toml"));
        let mut process = Process::spawn("starling", &command, &folder.join("log"))?;
        starling_addresses(&mut process)?;
        Ok(process)
    }
}

/// Who sends the next datagram or connects next.
fn asker<T>(ready: impl Fn() -> std::io::Result<T>, process: &Process) -> Result<T> {
    tools::poll("somebody asks", SEEN_WITHIN, || match ready() {
        Ok(asker) => Ok(Some(asker)),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error.into()),
    })
    .with_context(|| process.log_tail())
}

#[test]
fn questions_transfers_notifies_and_checks_leave_from_the_management_address() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let place = Place::new()?;
    let zone = place.folder.path().join("small.zone");
    std::fs::write(&zone, ZONE)?;
    let member = place.folder.path().join("member.zone");
    std::fs::write(&member, ZONE.replace(APEX, MEMBER))?;
    let allowed = MANAGEMENT.map(|address| format!("\"{address}\"")).join(", ");
    let others = place.start(
        &place.others,
        &OTHERS,
        &format!(
            "[transfer]\nallow = [{allowed}]\n[[catalog]]\nname = \"{CATALOG}\"\n\
             [[zone]]\nname = \"{APEX}\"\nfile = \"{}\"\n\
             [[zone]]\nname = \"{MEMBER}\"\nfile = \"{}\"\ncatalog = \"{CATALOG}\"\n",
            zone.display(),
            member.display()
        ),
    )?;
    for (family, other) in OTHERS.into_iter().enumerate() {
        let other: IpAddr = other.parse()?;
        let management: IpAddr = MANAGEMENT[family].parse()?;
        let (notified, checked, surveyed) = place.others.inside(|| -> Result<_> {
            let notified = UdpSocket::bind((other, 0))?;
            let checked = TcpListener::bind((other, 0))?;
            notified.set_nonblocking(true)?;
            checked.set_nonblocking(true)?;
            let surveyed = UdpSocket::bind((other, 0))?;
            surveyed.set_nonblocking(true)?;
            Ok((notified, checked, surveyed))
        })??;
        let primary = SocketAddr::new(other, 53);
        let lines = format!(
            "[management]\nlisten = [\"{}\"]\n[transfer]\nallow = [\"{}\"]\n\
             [[zone]]\nname = \"{APEX}\"\nprimaries = [\"{primary}\", \"{}\"]\nnotify = [\"{}\"]\n\
             [[template]]\nname = \"t\"\nprimaries = [\"{primary}\"]\n\
             [[zone]]\nname = \"{CATALOG}\"\nprimaries = [\"{primary}\"]\ncatalog = true\ncatalog-template = \"t\"\n\
             [[pool]]\nname = \"one\"\nkind = \"failover\"\nnames = [\"www.{APEX}\"]\n\
             check = {{ kind = \"tcp\", port = {}, interval-ms = 100, timeout-ms = 100 }}\n\
             [[pool.endpoint]]\nname = \"other\"\naddress = \"{other}\"\n",
            SocketAddr::new(management, 8053),
            SERVICE[family],
            surveyed.local_addr()?,
            notified.local_addr()?,
            checked.local_addr()?.port(),
        );
        let node = place.start(&place.node, &SERVICE, &lines)?;
        let service = SocketAddr::new(SERVICE[family].parse()?, 53);
        for apex in [APEX, MEMBER] {
            let apex = Name::parse(apex)?;
            let copied = || place.node.inside(|| transfer(service, &apex)).map(|result| result.ok());
            let copy = tools::poll("the zone is copied", SEEN_WITHIN, copied)
                .with_context(|| format!("{}\n{}", node.log_tail(), others.log_tail()))?;
            ensure!(copy.len() == 4, "{} records", copy.len());
        }
        let (_, from) = asker(|| notified.recv_from(&mut [0; 512]), &node)?;
        ensure!(from.ip() == management, "NOTIFY came from {from}");
        let (_, from) = asker(|| surveyed.recv_from(&mut [0; 512]), &node)?;
        ensure!(from.ip() == management, "the SOA record was asked for from {from}");
        let (_, from) = asker(|| checked.accept(), &node)?;
        ensure!(from.ip() == management, "a check came from {from}");
        drop(node);
        std::fs::remove_dir_all(place.folder.path().join(place.node.name()).join("state"))?;
    }
    Ok(())
}
