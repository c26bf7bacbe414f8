//! Network namespaces of a test: made by it, joined by virtual cables, and removed with everything inside.
//!
//! A name holds the process id of its maker (`starling-PID-N-LABEL`), so that tests may run side by side, and so that
//! what a killed test left behind is found and removed at the next start.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use rustix::fd::AsFd;
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::tools;

/// Where `ip netns` keeps its handles.
const HANDLES: &str = "/run/netns";
/// How the name of every namespace of ours begins.
const PREFIX: &str = "starling-";
/// How long a killed process may take to be gone. A millisecond does; the rest is for a machine that is busy.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// What every namespace is set to before its first interface comes, host or router.
const SETTINGS: [(&str, &str); 5] = [
    // Addresses are usable at once, and not after a second of looking for duplicates.
    ("net.ipv6.conf.default.accept_dad", "0"),
    ("net.ipv6.conf.default.accept_ra", "0"),
    // Addresses survive a link that goes down and comes back, as IPv4's do.
    ("net.ipv6.conf.default.keep_addr_on_down", "1"),
    // Queries and answers may take different ways.
    ("net.ipv4.conf.all.rp_filter", "0"),
    ("net.ipv4.conf.default.rp_filter", "0"),
];

/// Whether this process may make namespaces. Where it may not, it says in a line that the test is skipped.
#[must_use]
pub fn usable() -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    tools::announce("SKIPPED: network namespaces need root (sudo scripts/test)");
    false
}

/// Whether a namespace passes packets on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarding {
    /// As a router does.
    On,
    /// As a host does.
    Off,
}

/// A network namespace; removed when dropped, with the processes that still run inside.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a namespace with `lo` up. The label tells people what it is for.
    pub fn new(label: &str, forwarding: Forwarding) -> Result<Self> {
        static REMOVE_LEFTOVERS: Once = Once::new();
        REMOVE_LEFTOVERS.call_once(remove_leftovers);
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}-{label}", std::process::id());
        ip(&["netns", "add", &name])?;
        // From here on the namespace goes when this value goes, also where the rest fails.
        let namespace = Self { name };
        for (key, value) in SETTINGS {
            namespace.sysctl(key, value)?;
        }
        let on = if forwarding == Forwarding::On { "1" } else { "0" };
        namespace.sysctl("net.ipv4.ip_forward", on)?;
        namespace.sysctl("net.ipv6.conf.all.forwarding", on)?;
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// The name under which `ip netns` knows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run inside. It becomes the program itself, so that signals reach that.
    pub fn command(&self, program: &str) -> Result<Command> {
        let mut command = Command::new(tools::program("ip")?);
        command.args(["netns", "exec", &self.name]).arg(tools::program(program)?);
        Ok(command)
    }

    /// Runs a program inside to its end and returns what it printed; an error if it failed.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let mut command = self.command(program)?;
        text_of(program, arguments, &command.args(arguments).output().with_context(|| program.to_owned())?)
    }

    /// Runs `ip` on this namespace; the arguments are split at blanks.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        let mut all = vec!["-n", &self.name];
        all.extend(arguments.split_whitespace());
        ip(&all)
    }

    /// Changes a setting of the kernel in this namespace alone.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        // /proc/sys/net shows the namespace of the thread that looks, so no program is needed.
        let path = Path::new("/proc/sys").join(key.replace('.', "/"));
        self.inside(|| std::fs::write(&path, value))?
            .with_context(|| format!("{key} = {value} in {}", self.name))
    }

    /// Gives an interface an address with its prefix length, such as `192.0.2.1/24`.
    pub fn add_address(&self, interface: &str, address: &str) -> Result<()> {
        let nodad = if address.contains(':') { " nodad" } else { "" };
        self.ip(&format!("address add {address} dev {interface}{nodad}")).map(drop)
    }

    /// Takes an interface up.
    pub fn link_up(&self, interface: &str) -> Result<()> {
        self.ip(&format!("link set dev {interface} up")).map(drop)
    }

    /// Takes an interface down: the other end of the cable loses its carrier.
    pub fn link_down(&self, interface: &str) -> Result<()> {
        self.ip(&format!("link set dev {interface} down")).map(drop)
    }

    /// Moves the calling thread inside, for good. Threads and children it starts from then on are inside too.
    pub fn enter(&self) -> Result<()> {
        enter(&self.handle())
    }

    /// What [`Namespace::enter`] does, for a thread that outlives the borrow of this value.
    pub fn enter_later(&self) -> impl FnOnce() -> Result<()> + Send + use<> {
        let handle = self.handle();
        move || enter(&handle)
    }

    /// Runs a closure on a thread that is inside, and waits for it. Sockets it opens stay in the namespace.
    pub fn inside<T: Send>(&self, closure: impl FnOnce() -> T + Send) -> Result<T> {
        let handle = self.handle();
        thread::scope(|scope| {
            let thread = scope.spawn(|| enter(&handle).map(|()| closure()));
            thread.join().map_err(|_| anyhow!("the closure inside {} panicked", self.name))?
        })
    }

    /// The processes inside.
    pub fn pids(&self) -> Result<Vec<i32>> {
        let listed = ip(&["netns", "pids", &self.name])?;
        Ok(listed.split_whitespace().filter_map(|pid| pid.parse().ok()).collect())
    }

    /// Where the handle of the namespace is.
    #[must_use]
    pub fn handle(&self) -> PathBuf {
        Path::new(HANDLES).join(&self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.name) {
            tools::announce(&format!("{}: not removed: {error:#}", self.name));
        }
    }
}

/// Joins two namespaces with a cable: an interface in each, both up.
pub fn cable(one: (&Namespace, &str), other: (&Namespace, &str)) -> Result<()> {
    let ((left, left_interface), (right, right_interface)) = (one, other);
    left.ip(&format!(
        "link add name {left_interface} type veth peer name {right_interface} netns {}",
        right.name()
    ))?;
    left.link_up(left_interface)?;
    right.link_up(right_interface)
}

pub(crate) fn enter(handle: &Path) -> Result<()> {
    let what = || format!("entering the namespace {}", handle.display());
    let file = File::open(handle).with_context(what)?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).with_context(what)
}

/// Kills what runs inside and removes the namespace.
fn remove(name: &str) -> Result<()> {
    tools::poll(&format!("everything inside {name} has ended"), KILL_LIMIT, || {
        let inside = ip(&["netns", "pids", name])?;
        for pid in inside.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
            // It may have ended since it was listed.
            let _ = kill_process(pid, Signal::KILL);
        }
        Ok(inside.trim().is_empty().then_some(()))
    })?;
    ip(&["netns", "delete", name]).map(drop)
}

/// Removes namespaces of ours whose makers are dead. The first namespace of a process does it by itself.
pub fn remove_leftovers() {
    let Ok(entries) = std::fs::read_dir(HANDLES) else { return };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(maker) = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()) else { continue };
        if Path::new("/proc").join(maker).exists() {
            continue;
        }
        // Another test may have found it at the same time; what can't be removed is in nobody's way.
        match remove(&name) {
            Ok(()) => tools::announce(&format!("{name}: left by a test that was killed, removed")),
            Err(error) => tools::announce(&format!("{name}: left by a test that was killed: {error:#}")),
        }
    }
}

fn ip(arguments: &[&str]) -> Result<String> {
    let output = Command::new(tools::program("ip")?).args(arguments).output().context("ip")?;
    text_of("ip", arguments, &output)
}

fn text_of(program: &str, arguments: &[&str], output: &Output) -> Result<String> {
    ensure!(
        output.status.success(),
        "{program} {}: {}: {}{}",
        arguments.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
