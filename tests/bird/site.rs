//! A node and its upstream, joined by a cable, with a BIRD each.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use anycast::LeasePlan;
use anycast::bird::{Bird, ProtocolName, Watch};
use anyhow::Result;
use rustix::process::Signal;
use starling_tests::netns::{Forwarding, Namespace, cable};
use starling_tests::process::Process;
use starling_tests::tools;
use tempfile::TempDir;

use crate::templates;
use crate::upstream::{Look, Talk};

/// The prefixes of the templates.
pub(crate) const V4: &str = "203.0.113.0/24";
/// See [`V4`].
pub(crate) const V6: &str = "2001:db8:53::/48";
/// Both.
pub(crate) const PREFIXES: [&str; 2] = [V4, V6];
/// How long anything may take that is waited for: sessions are up within a second or two.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// The port of BGP as the kernel writes it at the end of an address.
const BGP_PORT: &str = ":00B3";

/// An upstream's configuration, with words in capitals for what differs.
const UPSTREAM: &str = r#"
router id NET4.1;
log stderr all;
protocol device { }
protocol bfd { interface "*" { min rx interval 100 ms; min tx interval 100 ms; multiplier 3; }; }
template bgp node { local as OWN; hold time 9; connect delay time 1; error wait time 1, 2; graceful restart off; BFD }
protocol bgp node4 from node { neighbor NET4.10 as 65001; ipv4 { import all; export none; }; }
protocol bgp node6 from node { neighbor NET6::10 as 65001; ipv6 { import all; export none; }; }
"#;

/// The networks between the node and its upstreams, as the templates have them, and the AS beyond.
const NETWORKS: [(&str, &str, &str); 2] =
    [("192.0.2", "2001:db8:ffff", "65000"), ("198.51.100", "2001:db8:fffe", "64999")];

/// The namespaces and what runs in them.
pub(crate) struct Site {
    // Processes go before the namespaces they are in.
    node_bird: Mutex<Process>,
    _upstream_birds: Mutex<Vec<Process>>,
    pub(crate) node: Namespace,
    upstreams: Vec<Namespace>,
    upstream_sockets: Vec<PathBuf>,
    folder: TempDir,
}

impl Site {
    /// Starts all ends, and waits until the sessions are established. The template is used as it is, but for where it
    /// logs.
    pub(crate) fn start(template: &str) -> Result<Site> {
        let folder = tempfile::tempdir()?;
        for file in ["starling.conf", "learn.conf"] {
            std::fs::copy(templates::path(file), folder.path().join(file))?;
        }
        let text = std::fs::read_to_string(templates::path(template))?;
        let text = text.replace("log syslog all", "log stderr all");
        std::fs::write(folder.path().join("node.conf"), text)?;
        let bfd = if template == "ebgp-bfd.conf" { "bfd on;" } else { "" };
        let node = Namespace::new("node", Forwarding::Off)?;
        let (mut upstreams, mut birds, mut sockets) = (Vec::new(), Vec::new(), Vec::new());
        let count = if template == "ebgp-two-upstreams.conf" { 2 } else { 1 };
        for (number, (net4, net6, other_as)) in NETWORKS.into_iter().take(count).enumerate() {
            let name = format!("upstream{number}");
            let upstream = Namespace::new(&name, Forwarding::Off)?;
            let interface = format!("eth{number}");
            cable((&node, &interface), (&upstream, "eth0"))?;
            for (namespace, interface, host) in [(&node, interface.as_str(), "10"), (&upstream, "eth0", "1")]
            {
                namespace.add_address(interface, &format!("{net4}.{host}/24"))?;
                namespace.add_address(interface, &format!("{net6}::{host}/64"))?;
            }
            let own_as = if template == "ibgp.conf" { "65001" } else { other_as };
            let text = UPSTREAM.replace("NET4", net4).replace("NET6", net6).replace("OWN", own_as);
            std::fs::write(folder.path().join(format!("{name}.conf")), text.replace("BFD", bfd))?;
            birds.push(start_bird(&upstream, folder.path(), &name)?);
            sockets.push(folder.path().join(format!("{name}.ctl")));
            upstreams.push(upstream);
        }
        let site = Site {
            node_bird: Mutex::new(start_bird(&node, folder.path(), "node")?),
            _upstream_birds: Mutex::new(birds),
            node,
            upstreams,
            upstream_sockets: sockets,
            folder,
        };
        site.wait_established()?;
        Ok(site)
    }

    /// Waits until each upstream says that both sessions are up.
    fn wait_established(&self) -> Result<()> {
        tools::poll("all sessions are established", LIMIT, || {
            for socket in &self.upstream_sockets {
                // BIRD makes its socket a moment after it was started.
                let Ok(mut talk) = Talk::open(socket) else { return Ok(None) };
                if talk.ask("show protocols")?.matches("Established").count() < 2 {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })
    }

    /// The control socket of the node's BIRD.
    pub(crate) fn node_socket(&self) -> PathBuf {
        self.folder.path().join("node.ctl")
    }

    /// The control socket of the first upstream's.
    pub(crate) fn upstream_socket(&self) -> PathBuf {
        self.upstream_sockets[0].clone()
    }

    /// Those of all upstreams.
    pub(crate) fn upstream_sockets(&self) -> &[PathBuf] {
        &self.upstream_sockets
    }

    /// Has nothing come from the first upstream any more, not even acknowledgements: its interface drops all that is sent.
    pub(crate) fn mute_upstream(&self) -> Result<()> {
        // A queue with room for one octet.
        let queue = "qdisc replace dev eth0 root tbf rate 1kbit burst 1540 limit 1";
        self.upstreams[0].run("tc", &queue.split_whitespace().collect::<Vec<_>>()).map(drop)
    }

    /// The contrary.
    pub(crate) fn unmute_upstream(&self) -> Result<()> {
        self.upstreams[0].run("tc", &["qdisc", "del", "dev", "eth0", "root"]).map(drop)
    }

    /// A file in the folder of the site.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The node's BIRD as the crate talks to it.
    pub(crate) fn bird(&self) -> Bird {
        Bird::new(&self.node_socket())
    }

    /// Waits until both prefixes look so to every upstream.
    pub(crate) fn wait_look(&self, look: Look) -> Result<()> {
        self.wait_look_within(look, LIMIT)
    }

    /// The same, not for as long.
    pub(crate) fn wait_look_within(&self, look: Look, limit: Duration) -> Result<()> {
        let mut talks: Vec<Talk> =
            self.upstream_sockets.iter().map(|socket| Talk::open(socket)).collect::<Result<_>>()?;
        tools::poll(&format!("both prefixes are {look:?} to the upstream"), limit, || {
            for talk in &mut talks {
                for prefix in PREFIXES {
                    if talk.look(prefix)? != look {
                        return Ok(None);
                    }
                }
            }
            Ok(Some(()))
        })
    }

    /// Waits until the upstream has acknowledged all that the node's BIRD sent.
    ///
    /// BIRD leaves Nagle's algorithm on: what it sends right after something else waits for the acknowledgement of that,
    /// which a receiver that has sent something itself delays by up to 40 ms. A node turns it off
    /// (`no_delay`) unless it is told not to; the holder of a lease alone doesn't.
    pub(crate) fn wait_acknowledged(&self) -> Result<()> {
        tools::poll("the upstream has acknowledged everything", LIMIT, || {
            let unacknowledged = self.unacknowledged()?;
            Ok((unacknowledged.len() >= 2 && !unacknowledged.contains(&true)).then_some(()))
        })
    }

    /// For each session of the node whether the upstream has still to acknowledge something, sent or not.
    pub(crate) fn unacknowledged(&self) -> Result<Vec<bool>> {
        let mut sessions = Vec::new();
        for file in ["tcp", "tcp6"] {
            let path = format!("/proc/thread-self/net/{file}");
            let connections = self.node.inside(|| std::fs::read_to_string(path))??;
            for fields in connections.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()) {
                // Addresses with ports, the state, and what the queues hold (proc_net_tcp.txt of the kernel).
                let &[_, local, remote, "01", queues, ..] = fields.as_slice() else { continue };
                if [local, remote].iter().any(|end| end.ends_with(BGP_PORT)) {
                    sessions.push(!queues.starts_with("00000000:"));
                }
            }
        }
        Ok(sessions)
    }

    /// Sends a signal to the node's BIRD.
    pub(crate) fn signal_node_bird(&self, signal: Signal) -> Result<()> {
        self.node_bird.lock().expect("no holder panics").signal(signal)
    }

    /// Kills the node's BIRD and waits until it is gone.
    pub(crate) fn kill_node_bird(&self) -> Result<()> {
        let mut bird = self.node_bird.lock().expect("no holder panics");
        bird.signal(Signal::KILL)?;
        bird.wait(LIMIT).map(drop)
    }

    /// Starts the node's BIRD again.
    pub(crate) fn start_node_bird(&self) -> Result<()> {
        let bird = start_bird(&self.node, self.folder.path(), "node")?;
        *self.node_bird.lock().expect("no holder panics") = bird;
        Ok(())
    }
}

/// The plan that goes with the templates.
pub(crate) fn plan() -> LeasePlan {
    let addresses = ["203.0.113.53", "2001:db8:53::53"].map(|text| text.parse().expect("an address"));
    let prefixes = PREFIXES.map(|text| text.parse().expect("a prefix"));
    LeasePlan::new("starling0", 5353, addresses.to_vec(), prefixes.to_vec()).expect("a good plan")
}

/// What the agent would watch with one of the templates.
pub(crate) fn watch(protocols: &[&str]) -> Watch {
    Watch {
        protocols: protocols.iter().map(|name| ProtocolName::new(name).expect("a name")).collect(),
        prefixes: PREFIXES.iter().map(|text| text.parse().expect("a prefix")).collect(),
    }
}

/// Runs something asynchronous to its end.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

fn start_bird(namespace: &Namespace, folder: &Path, name: &str) -> Result<Process> {
    let mut command = namespace.command("bird")?;
    command.arg("-f").arg("-c").arg(folder.join(format!("{name}.conf")));
    command.arg("-s").arg(folder.join(format!("{name}.ctl")));
    command.arg("-P").arg(folder.join(format!("{name}.pid")));
    Process::spawn(&format!("bird of {name}"), &command, &folder.join(format!("{name}.log")))
}
