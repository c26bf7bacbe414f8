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

/// The upstream's configuration; `AS` stands for that of the upstream.
const UPSTREAM: &str = r#"
router id 192.0.2.1;
log stderr all;
protocol device { }
protocol bfd { interface "*" { min rx interval 100 ms; min tx interval 100 ms; multiplier 3; }; }
template bgp node { local as AS; hold time 9; connect delay time 1; error wait time 1, 2; graceful restart off; BFD }
protocol bgp node4 from node { neighbor 192.0.2.10 as 65001; ipv4 { import all; export none; }; }
protocol bgp node6 from node { neighbor 2001:db8:ffff::10 as 65001; ipv6 { import all; export none; }; }
"#;

/// The namespaces and what runs in them.
pub(crate) struct Site {
    // Processes go before the namespaces they are in.
    node_bird: Mutex<Process>,
    _upstream_bird: Mutex<Process>,
    pub(crate) node: Namespace,
    _upstream: Namespace,
    folder: TempDir,
}

impl Site {
    /// Starts both ends, and waits until the sessions are established. The template is used as it is, but for where
    /// it logs and the name of the BFD interface.
    pub(crate) fn start(template: &str) -> Result<Site> {
        let folder = tempfile::tempdir()?;
        let node = Namespace::new("node", Forwarding::Off)?;
        let upstream = Namespace::new("upstream", Forwarding::Off)?;
        cable((&node, "eth0"), (&upstream, "eth0"))?;
        for (namespace, number) in [(&node, "10"), (&upstream, "1")] {
            namespace.add_address("eth0", &format!("192.0.2.{number}/24"))?;
            namespace.add_address("eth0", &format!("2001:db8:ffff::{number}/64"))?;
        }
        for file in ["starling.conf", "learn.conf"] {
            std::fs::copy(templates::path(file), folder.path().join(file))?;
        }
        let text = std::fs::read_to_string(templates::path(template))?;
        let text = text.replace("log syslog all", "log stderr all");
        std::fs::write(folder.path().join("node.conf"), text)?;
        let own_as = if template == "ibgp.conf" { "65001" } else { "65000" };
        let bfd = if template == "ebgp-bfd.conf" { "bfd on;" } else { "" };
        std::fs::write(
            folder.path().join("upstream.conf"),
            UPSTREAM.replace("AS", own_as).replace("BFD", bfd),
        )?;
        let node_bird = start_bird(&node, folder.path(), "node")?;
        let upstream_bird = start_bird(&upstream, folder.path(), "upstream")?;
        let (node_bird, upstream_bird) = (Mutex::new(node_bird), Mutex::new(upstream_bird));
        let site = Site { node_bird, _upstream_bird: upstream_bird, node, _upstream: upstream, folder };
        site.wait_established()?;
        Ok(site)
    }

    /// Waits until the upstream says that both sessions are up.
    pub(crate) fn wait_established(&self) -> Result<()> {
        tools::poll("both sessions are established", LIMIT, || {
            // BIRD makes its socket a moment after it was started.
            let Ok(mut talk) = Talk::open(&self.upstream_socket()) else { return Ok(None) };
            let established = talk.ask("show protocols")?.matches("Established").count();
            Ok((established == 2).then_some(()))
        })
    }

    /// The control socket of the node's BIRD.
    pub(crate) fn node_socket(&self) -> PathBuf {
        self.folder.path().join("node.ctl")
    }

    /// The control socket of the upstream's.
    pub(crate) fn upstream_socket(&self) -> PathBuf {
        self.folder.path().join("upstream.ctl")
    }

    /// A file in the folder of the site.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The node's BIRD as the crate talks to it.
    pub(crate) fn bird(&self) -> Bird {
        Bird::new(&self.node_socket())
    }

    /// Waits until both prefixes look so to the upstream.
    pub(crate) fn wait_look(&self, look: Look) -> Result<()> {
        let mut talk = Talk::open(&self.upstream_socket())?;
        tools::poll(&format!("both prefixes are {look:?} to the upstream"), LIMIT, || {
            for prefix in PREFIXES {
                if talk.look(prefix)? != look {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })
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
