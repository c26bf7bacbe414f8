//! The two ends of the cable: a namespace for the server and one for the generators.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use starling_tests::netns::{Forwarding, Namespace, cable};
use starling_tests::tools;

use crate::options::{Options, Receive};

/// Where the server answers: the range that RFC 2544 §C.2.2 keeps for benchmarks.
pub(crate) const SERVER_ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// Where queries come from.
pub(crate) const CLIENT_ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// The server's end of the cable.
pub(crate) const SERVER_INTERFACE: &str = "server";
/// The generators' end of the cable.
pub(crate) const CLIENT_INTERFACE: &str = "client";

/// How long the kernel may take to start its threads; it does it before the setting is accepted.
const THREADS_LIMIT: Duration = Duration::from_secs(5);

/// Both namespaces; removed with everything inside when dropped.
pub(crate) struct Site {
    /// Where the server runs.
    pub(crate) server: Namespace,
    /// Where the generators run.
    pub(crate) client: Namespace,
    /// Threads of the kernel that receive for the server.
    receive_threads: Vec<i32>,
}

/// Packets that the server's interface has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packets {
    /// Queries that came in, those that were dropped later included.
    pub(crate) received: u64,
    /// Answers that went out.
    pub(crate) sent: u64,
}

impl Site {
    /// Makes both and the cable between them.
    pub(crate) fn new(options: &Options) -> Result<Self> {
        let server = Namespace::new("server", Forwarding::Off)?;
        let client = Namespace::new("client", Forwarding::Off)?;
        for namespace in [&server, &client] {
            // Router solicitations and MLD reports would be counted with the packets.
            namespace.sysctl("net.ipv6.conf.default.disable_ipv6", "1")?;
            namespace.sysctl("net.ipv6.conf.all.disable_ipv6", "1")?;
        }
        cable((&server, SERVER_INTERFACE), (&client, CLIENT_INTERFACE))?;
        server.add_address(SERVER_INTERFACE, &format!("{SERVER_ADDRESS}/24"))?;
        client.add_address(CLIENT_INTERFACE, &format!("{CLIENT_ADDRESS}/24"))?;
        // Permanent: generators and servers on AF_XDP take ARP off the wire and answer none.
        let neighbour = |at: &Namespace, interface: &str, address: Ipv4Addr, mac: &str| {
            at.ip(&format!("neighbour replace {address} lladdr {mac} dev {interface} nud permanent"))
        };
        neighbour(&server, SERVER_INTERFACE, CLIENT_ADDRESS, &mac(&client, CLIENT_INTERFACE)?)?;
        neighbour(&client, CLIENT_INTERFACE, SERVER_ADDRESS, &mac(&server, SERVER_INTERFACE)?)?;
        let receive_threads = if options.receive == Receive::Threads {
            let cpu = options.server_cpus.first().context("a server has a CPU")?;
            receive_in_threads(&client, CLIENT_INTERFACE, options.generator_cpu)?;
            receive_in_threads(&server, SERVER_INTERFACE, *cpu)?
        } else {
            Vec::new()
        };
        Ok(Self { server, client, receive_threads })
    }

    /// Threads of the kernel that receive for the server; none where that is done on the sender's CPU.
    pub(crate) fn receive_threads(&self) -> &[i32] {
        &self.receive_threads
    }

    /// Where queries are sent to.
    pub(crate) fn address() -> SocketAddr {
        SocketAddr::new(IpAddr::V4(SERVER_ADDRESS), 53)
    }

    /// What has gone through the server's interface so far.
    pub(crate) fn packets(&self) -> Result<Packets> {
        let text = self.server.inside(|| std::fs::read_to_string("/proc/thread-self/net/dev"))??;
        packets_of(&text, SERVER_INTERFACE).context("the server's interface is not in /proc/net/dev")
    }

    /// Whether an XDP program takes queries off the server's interface before the kernel's stack sees them.
    pub(crate) fn server_has_xdp(&self) -> Result<bool> {
        let shown = self.server.ip(&format!("-d -o link show dev {SERVER_INTERFACE}"))?;
        Ok(shown.contains("prog/xdp"))
    }

    /// Removes the XDP program that a generator has left: the next attach would fail with "file exists".
    pub(crate) fn detach_client_xdp(&self) -> Result<()> {
        self.client.ip(&format!("link set dev {CLIENT_INTERFACE} xdp off")).map(drop)
    }

    /// Removes the XDP program that a server has left.
    pub(crate) fn detach_server_xdp(&self) -> Result<()> {
        self.server.ip(&format!("link set dev {SERVER_INTERFACE} xdp off")).map(drop)
    }
}

/// The counters of an interface in the text of /proc/net/dev.
fn packets_of(text: &str, interface: &str) -> Option<Packets> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(interface)?.strip_prefix(':'))?;
    let fields: Vec<&str> = line.split_whitespace().collect();
    Some(Packets { received: fields.get(1)?.parse().ok()?, sent: fields.get(9)?.parse().ok()? })
}

/// Has the kernel receive on this interface in threads of its own, on this CPU; gives the threads.
fn receive_in_threads(namespace: &Namespace, interface: &str, cpu: usize) -> Result<Vec<i32>> {
    // Without GRO a virtual cable has no queue that a thread could poll, and with segments to be cut it goes past it.
    let words = ["-K", interface, "gro", "on", "tso", "off"];
    namespace
        .run("ethtool", &words)
        .context("--receive threads takes ethtool (Debian: apt-get install ethtool)")?;
    namespace.run("sh", &["-c", &format!("echo 1 >/sys/class/net/{interface}/threaded")])?;
    let name = format!("napi/{interface}-");
    let threads = tools::poll("the kernel has its receiving threads", THREADS_LIMIT, || {
        let found = kernel_threads(&name)?;
        Ok((!found.is_empty()).then_some(found))
    })?;
    for thread in &threads {
        namespace.run("taskset", &["-pc", &cpu.to_string(), &thread.to_string()])?;
    }
    Ok(threads)
}

fn kernel_threads(name: &str) -> Result<Vec<i32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")?.filter_map(Result::ok) {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may have ended since it was listed.
        let comm = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if comm.starts_with(name) {
            found.push(pid);
        }
    }
    Ok(found)
}

fn mac(namespace: &Namespace, interface: &str) -> Result<String> {
    let shown = namespace.ip(&format!("-o link show dev {interface}"))?;
    let mut words = shown.split_whitespace().skip_while(|word| *word != "link/ether").skip(1);
    words.next().map(str::to_owned).with_context(|| format!("{interface} has no address:\n{shown}"))
}

/// Whether this process may set a site up; the error says what to do.
pub(crate) fn usable() -> Result<()> {
    anyhow::ensure!(
        rustix::process::geteuid().is_root(),
        "the comparison makes network namespaces, which takes root: sudo scripts/bench"
    );
    tools::program("ip").map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_one_interface() {
        let text = "Inter-|   Receive |  Transmit\n face |bytes packets\n    \
                    lo: 1 2 0 0 0 0 0 0 3 4 0 0 0 0 0 0\nserver: 5 6 0 1 0 0 0 0 7 8 0 0 0 0 0 0\n";
        assert_eq!(packets_of(text, "server"), Some(Packets { received: 6, sent: 8 }));
        assert_eq!(packets_of(text, "serve"), None);
    }
}
