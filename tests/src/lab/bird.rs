//! BIRD in routers and PoPs: configurations, the process, and what it says.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::routes::Family;
use super::topology::{NODE_AS, POPS, PREFIXES, ROUTER_AS, ROUTERS, link};
use crate::netns::Namespace;
use crate::process::Process;
use crate::tools;

/// How long BIRD may take to open its control socket.
const START_LIMIT: Duration = Duration::from_secs(10);
/// How long `birdc` waits for an answer, in seconds; a stopped BIRD accepts connections and never answers.
const ANSWER_LIMIT_S: &str = "2";

/// How sessions are timed. The hold time is the shortest that RFC 4271 §4.2 allows. BFD sees a host that is gone
/// after a second; a tenth of that is usual on hardware, and would take a pause of this machine for a failure.
const SESSION: &str = "hold time 3; keepalive time 1; connect delay time 0; connect retry time 1; \
     error wait time 1, 1; graceful restart off; long lived graceful restart off; bfd on;";
const BFD: &str =
    "protocol bfd { interface \"*\" { interval 200 ms; idle tx interval 200 ms; multiplier 5; }; }\n";

/// How routers choose among the PoPs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paths {
    /// One best path: the PoP with the lowest router id gets everything.
    Best,
    /// Equal-cost multipath: flows are spread over all PoPs.
    Equal,
}

/// A running BIRD.
pub struct Bird {
    config: PathBuf,
    socket: PathBuf,
    process: Process,
}

impl Bird {
    /// Starts BIRD with this configuration; returns when it answers.
    pub fn start(namespace: &Namespace, folder: &Path, config: &str) -> Result<Self> {
        let path = folder.join("bird.conf");
        std::fs::write(&path, config).with_context(|| path.display().to_string())?;
        let socket = folder.join("bird.ctl");
        let mut command = namespace.command("bird")?;
        command.args(["-f", "-c"]).arg(&path).arg("-s").arg(&socket).arg("-P").arg(folder.join("bird.pid"));
        let mut process =
            Process::spawn(&format!("bird in {}", namespace.name()), &command, &folder.join("bird.log"))?;
        tools::poll("BIRD answers", START_LIMIT, || {
            if process.exited().is_some() {
                bail!("BIRD ended:\n{}", process.log_tail());
            }
            Ok(ask(&socket, &["show", "status"]).is_ok().then_some(()))
        })?;
        Ok(Self { config: path, socket, process })
    }

    /// The control socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The process.
    #[must_use]
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Gives BIRD a command and returns what it says.
    pub fn ask(&self, command: &[&str]) -> Result<String> {
        ask(&self.socket, command)
    }

    /// What a router has learned about a service prefix.
    pub fn learned(&self, family: Family) -> Result<Vec<Learned>> {
        let prefix = PREFIXES[family as usize];
        match self.ask(&["show", "route", prefix, "all"]) {
            Ok(text) => Ok(learned(&text)),
            // 8001: there is no such route.
            Err(error) if error.to_string().contains("not found") => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

/// A PoP's announcement as a router sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learned {
    /// The PoP.
    pub pop: String,
    /// Length of the AS path: 1, and 3 where it is prepended.
    pub path_len: usize,
    /// Whether the community GRACEFUL_SHUTDOWN is on it (RFC 8326 §3).
    pub draining: bool,
    /// Whether it is among the paths that are used.
    pub best: bool,
}

impl Learned {
    /// The rung of the ladder it stands for.
    #[must_use]
    pub fn rung(&self) -> &'static str {
        match (self.draining, self.path_len) {
            (true, _) => "draining",
            (false, 1) => "up",
            (false, _) => "degraded",
        }
    }
}

/// Reads `show route … all`: a line with the protocol in brackets for each path, then its attributes.
fn learned(text: &str) -> Vec<Learned> {
    let mut found: Vec<Learned> = Vec::new();
    let mut ours = false;
    for line in text.lines() {
        if let Some((_, rest)) = line.split_once("unicast [") {
            let protocol = rest.split([' ', ']', '_']).next().unwrap_or_default();
            // What the other router tells of is seen there.
            ours = POPS.contains(&protocol);
            if ours {
                let best = line.contains(" * ");
                found.push(Learned { pop: protocol.to_owned(), path_len: 0, draining: false, best });
            }
        } else if let (true, Some(last)) = (ours, found.last_mut()) {
            // BIRD 2 writes `BGP.as_path`, BIRD 3 `bgp_path`.
            let value = |names: [&str; 2]| names.iter().find_map(|name| line.trim().strip_prefix(name));
            if let Some(path) = value(["BGP.as_path:", "bgp_path:"]) {
                last.path_len = path.split_whitespace().count();
            } else if let Some(communities) = value(["BGP.community:", "bgp_community:"]) {
                last.draining = communities.contains("(65535,0)");
            }
        }
    }
    found.sort_by(|left, right| left.pop.cmp(&right.pop));
    found
}

fn ask(socket: &Path, command: &[&str]) -> Result<String> {
    let mut birdc = Command::new(tools::program("timeout")?);
    birdc.args(["--signal=KILL", ANSWER_LIMIT_S]).arg(tools::program("birdc")?).arg("-s").arg(socket);
    let output = birdc.args(command).output().context("birdc")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("birdc {}: {}: {}", command.join(" "), output.status, text.trim());
    }
    Ok(text)
}

/// The configuration of a router.
#[must_use]
pub fn router_config(r: usize, paths: Paths) -> String {
    let merge = if paths == Paths::Equal { "merge paths on limit 8;" } else { "" };
    let mut text = format!("log stderr all;\nrouter id 10.0.0.{};\nprotocol device {{ }}\n{BFD}", r + 1);
    // What RFC 8326 §4.2 asks of whoever receives the community.
    text += "filter from_pop {\n  if (65535, 0) ~ bgp_community then bgp_local_pref = 0;\n  accept;\n}\n";
    for family in [4, 6] {
        writeln!(
            text,
            "protocol kernel kernel{family} {{ scan time 60; {merge} \
             ipv{family} {{ import none; export where source = RTS_BGP; }}; }}"
        )
        .expect("a String takes all");
    }
    let mut session = |name: String, own: &str, peer: &str, peer_as: u32, channel: &str| {
        writeln!(
            text,
            "protocol bgp {name} {{ local {own} as {ROUTER_AS}; neighbor {peer} as {peer_as}; {SESSION} {channel} }}"
        )
        .expect("a String takes all");
    };
    for (p, pop) in POPS.iter().enumerate() {
        for (family, start) in [4, 6].into_iter().zip(link(p, r)) {
            let channel = format!("ipv{family} {{ import filter from_pop; export none; }};");
            session(
                format!("{pop}_v{family}"),
                &format!("{start}1"),
                &format!("{start}2"),
                NODE_AS,
                &channel,
            );
        }
    }
    for (family, start) in [(4, "10.0.0."), (6, "fd00:ff::")] {
        let (own, peer) = (format!("{start}{}", r + 1), format!("{start}{}", 2 - r));
        let channel = format!("ipv{family} {{ import all; export where source = RTS_BGP; next hop self; }};");
        session(format!("{}_v{family}", ROUTERS[1 - r]), &own, &peer, ROUTER_AS, &channel);
    }
    text
}

/// The names of a PoP's sessions.
#[must_use]
pub fn sessions() -> Vec<String> {
    ROUTERS.iter().flat_map(|router| [4, 6].map(|family| format!("{router}_v{family}"))).collect()
}

/// The configuration of a PoP that runs Starling, on the templates that are shipped.
#[must_use]
pub fn starling_config(p: usize) -> String {
    let mut text = pop_head(p);
    let templates = tools::repository().join("bird-config");
    write!(
        text,
        "define STARLING_AS = {NODE_AS};\ndefine STARLING_V4 = [ {} ];\ndefine STARLING_V6 = [ {} ];\n\
         include \"{at}/starling.conf\";\ninclude \"{at}/learn.conf\";\n",
        PREFIXES[0],
        PREFIXES[1],
        at = templates.display()
    )
    .expect("a String takes all");
    for (r, router) in ROUTERS.iter().enumerate() {
        for (family, start) in [4, 6].into_iter().zip(link(p, r)) {
            writeln!(
                text,
                "protocol bgp {router}_v{family} from starling_external{family} {{ \
                 neighbor {start}1 as {ROUTER_AS}; {SESSION} }}"
            )
            .expect("a String takes all");
        }
    }
    text
}

/// The configuration of a PoP as it is usually done: static routes that a script switches off and on.
#[must_use]
pub fn usual_config(p: usize) -> String {
    let mut text = pop_head(p);
    text += "watchdog timeout 5 s;\nprotocol device { }\n";
    for (family, prefix) in [4, 6].into_iter().zip(PREFIXES) {
        writeln!(text, "protocol static anycast{family} {{ ipv{family}; route {prefix} blackhole; }}")
            .expect("a String takes all");
        for (r, router) in ROUTERS.iter().enumerate() {
            let start = &link(p, r)[usize::from(family == 6)];
            writeln!(
                text,
                "protocol bgp {router}_v{family} {{ local as {NODE_AS}; neighbor {start}1 as {ROUTER_AS}; {SESSION} \
                 ipv{family} {{ import none; export where proto = \"anycast{family}\"; next hop self; }}; }}"
            )
            .expect("a String takes all");
        }
    }
    text
}

fn pop_head(p: usize) -> String {
    format!("log stderr all;\nrouter id 192.0.2.{};\n{BFD}", 11 + p)
}
