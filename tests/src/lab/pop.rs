//! A point of presence: BIRD and a node, and which processes they are.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::Plan;
use super::bird::{self, Bird};
use super::node;
use super::topology::POPS;
use crate::netns::Namespace;
use crate::process::Process;
use crate::tools;

/// How long a process may take to come or go.
const PROCESS_LIMIT: Duration = Duration::from_secs(10);

/// What answers queries and decides about the route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Software {
    /// `starling run`.
    Starling,
    /// NSD with a script that asks it every second and drives `birdc`.
    Usual,
}

/// A running PoP. Its namespace is passed along with it.
pub struct Pop {
    index: usize,
    software: Software,
    folder: PathBuf,
    bird: Bird,
    processes: Vec<Process>,
    /// What holds a thread of the server still.
    holder: Option<Process>,
    /// Whether it was taken out of routing by hand.
    drained: bool,
}

impl Pop {
    /// Starts BIRD and the node; returns as soon as both run, whatever they announce.
    pub fn start(namespace: &Namespace, index: usize, plan: Plan, folder: &Path) -> Result<Self> {
        node::write_files(index, plan, folder)?;
        let software = plan.software;
        let bird = Bird::start(namespace, folder, &bird_config(index, software))?;
        let folder = folder.to_owned();
        let mut pop =
            Self { index, software, folder, bird, processes: Vec::new(), holder: None, drained: false };
        pop.start_node(namespace)?;
        Ok(pop)
    }

    /// BIRD.
    #[must_use]
    pub fn bird(&mut self) -> &mut Bird {
        &mut self.bird
    }

    /// A file of the PoP.
    #[must_use]
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// Fails with the end of the log if the node has ended by itself.
    pub fn ensure_alive(&mut self) -> Result<()> {
        match self.processes.iter_mut().find_map(|process| process.exited().map(|_| process.log_tail())) {
            Some(log) => bail!("the node of {} has ended\n{log}", POPS[self.index]),
            None => Ok(()),
        }
    }

    /// What was logged last, for a failure's message.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.processes.iter().map(Process::log_tail).collect()
    }

    /// Starts what is not running: BIRD, the node.
    pub fn restart(&mut self, namespace: &Namespace) -> Result<()> {
        if self.bird.process().exited().is_some() {
            self.bird = Bird::start(namespace, &self.folder, &bird_config(self.index, self.software))?;
        }
        if self.software == Software::Starling && self.agent(namespace)?.is_none() {
            self.start_node(namespace)?;
        }
        Ok(())
    }

    fn start_node(&mut self, namespace: &Namespace) -> Result<()> {
        self.processes.clear();
        tools::poll("the earlier node has ended", PROCESS_LIMIT, || {
            Ok(self.servers(namespace)?.is_empty().then_some(()))
        })?;
        for (name, mut command) in node::commands(namespace, self.software, &self.folder, self.bird.socket())?
        {
            command.current_dir(&self.folder);
            self.processes.push(Process::spawn(name, &command, &self.path(&format!("{name}.log")))?);
        }
        Ok(())
    }

    /// What watches the server and holds the route.
    pub fn agent(&self, namespace: &Namespace) -> Result<Option<Pid>> {
        let wanted: &[&str] = match self.software {
            Software::Starling => &["starling", "run"],
            Software::Usual => &["anycast-check"],
        };
        Ok(processes(namespace, wanted)?.first().copied())
    }

    /// The processes that answer queries, the oldest first.
    pub fn servers(&self, namespace: &Namespace) -> Result<Vec<Pid>> {
        match self.software {
            Software::Starling => processes(namespace, &["starling", "serve"]),
            Software::Usual => processes(namespace, &["nsd"]),
        }
    }

    /// Signals the agent; tells when that was.
    pub fn signal_agent(&self, namespace: &Namespace, signal: Signal) -> Result<Instant> {
        let agent = self.agent(namespace)?.context("there is no agent to signal")?;
        let at = Instant::now();
        kill_process(agent, signal).context("signal to the agent")?;
        Ok(at)
    }

    /// Signals every process of the server; tells when that was.
    pub fn signal_servers(&self, namespace: &Namespace, signal: Signal) -> Result<Instant> {
        let servers = self.servers(namespace)?;
        ensure!(!servers.is_empty(), "there is no server to signal");
        let at = Instant::now();
        for server in servers {
            // One may be gone with the one before.
            let _ = kill_process(server, signal);
        }
        Ok(at)
    }

    /// Puts back configuration and zone where they were broken, and what was done by hand.
    pub fn mend_files(&mut self, namespace: &Namespace) -> Result<()> {
        if node::zone_is_bad(&self.folder) {
            self.set_zone(namespace, node::Zone::Good)?;
        }
        self.set_bird_config(BirdConfig::Good)?;
        if std::mem::take(&mut self.drained) {
            self.drain(namespace, Drain::Off)?;
        }
        Ok(())
    }

    /// Breaks BIRD's configuration and has it read, or puts the good one back if it was broken.
    pub fn set_bird_config(&self, wanted: BirdConfig) -> Result<String> {
        let good = bird_config(self.index, self.software);
        let is = std::fs::read_to_string(self.bird.config()).context("bird.conf")?;
        let text = match wanted {
            BirdConfig::Good if is == good => return Ok(String::new()),
            BirdConfig::Good => good,
            BirdConfig::Broken => format!("{good}\nprotocol bgp {{ this is no configuration;\n"),
        };
        std::fs::write(self.bird.config(), text).context("bird.conf")?;
        // A refused configuration is what is wanted of a broken one.
        Ok(self.bird.ask(&["configure"]).unwrap_or_else(|error| format!("{error:#}")))
    }

    /// Holds one of the threads (or processes, with NSD) that answer queries over UDP.
    pub fn hold_worker(&mut self, namespace: &Namespace) -> Result<()> {
        let servers = self.servers(namespace)?;
        let worker = match self.software {
            Software::Starling => thread_of(*servers.first().context("there is no server")?, "udp-0")?,
            // The oldest processes read configurations and transfer zones; the youngest answers.
            Software::Usual => servers.last().context("there is no server")?.as_raw_nonzero().get(),
        };
        let mut command = Command::new(tools::program("python3")?);
        command.arg(tools::data("lab/hold-thread.py")).arg(worker.to_string());
        let mut holder = Process::spawn("hold-thread.py", &command, &self.path("hold-thread.log"))?;
        let said = holder.line(Instant::now() + PROCESS_LIMIT)?;
        ensure!(said.as_deref() == Some("held"), "the thread is not held:\n{}", holder.log_tail());
        self.holder = Some(holder);
        Ok(())
    }

    /// Lets every thread and process go on.
    pub fn let_go(&mut self, namespace: &Namespace) -> Result<()> {
        self.holder = None;
        for pid in namespace.pids()? {
            // Whatever has ended needs nothing more.
            let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::CONT));
        }
        Ok(())
    }

    /// Replaces the zone by one with an error, or puts the good one back, and has it read.
    pub fn set_zone(&self, namespace: &Namespace, zone: node::Zone) -> Result<String> {
        node::write_zone(&self.folder, zone)?;
        let outcome = match self.software {
            Software::Starling => self.ctl(namespace, &["reload"]),
            Software::Usual => {
                // A careful operator checks first: NSD drops a zone whose file it can't read.
                let (config, file) = (self.path("nsd.conf"), self.path("example.com.zone"));
                namespace.run("nsd-checkzone", &["example.com", &file.display().to_string()]).and_then(|_| {
                    namespace.run("nsd-control", &["-c", &config.display().to_string(), "reload"])
                })
            }
        };
        // A refused zone is a failed reload, which is what is wanted here.
        Ok(outcome.unwrap_or_else(|error| format!("{error:#}")))
    }

    /// Fills the state folder, or empties it of what filled it.
    pub fn set_disk(&self, disk: Disk) -> Result<()> {
        let path = self.path("state/filler");
        if disk == Disk::Free {
            return if path.exists() { std::fs::remove_file(&path).context("filler") } else { Ok(()) };
        }
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        while file.write_all(&[0; 4096]).is_ok() {}
        // The last page is filled octet by octet.
        while file.write_all(&[0]).is_ok() {}
        Ok(())
    }

    /// Makes the site's own check fail, or pass again.
    pub fn set_site(&self, site: SiteCheck) -> Result<()> {
        let path = self.path("site-bad");
        match site {
            SiteCheck::Failing => std::fs::write(&path, "").context("site-bad"),
            SiteCheck::Passing if path.exists() => std::fs::remove_file(&path).context("site-bad"),
            SiteCheck::Passing => Ok(()),
        }
    }

    /// Asks or tells the node something on its control socket.
    pub fn ctl(&self, namespace: &Namespace, command: &[&str]) -> Result<String> {
        ensure!(self.software == Software::Starling, "only Starling has a control socket");
        let control = self.path("control").display().to_string();
        let starling = tools::starling()?.display().to_string();
        let all = [&["--signal=KILL", "30", &starling, "ctl", "--control", &control], command].concat();
        namespace.run("timeout", &all)
    }

    /// What the node says of its route, where it can tell.
    #[must_use]
    pub fn explain(&self, namespace: &Namespace) -> String {
        match self.software {
            Software::Starling => {
                self.ctl(namespace, &["explain"]).unwrap_or_else(|error| format!("{error:#}\n"))
            }
            Software::Usual => String::new(),
        }
    }

    /// Takes the node out of routing by hand, or puts it back.
    pub fn drain(&mut self, namespace: &Namespace, wanted: Drain) -> Result<String> {
        self.drained = wanted == Drain::On;
        let word = if wanted == Drain::On { "drain" } else { "undrain" };
        if self.software == Software::Starling {
            return self.ctl(namespace, &[word]);
        }
        let word = if wanted == Drain::On { "disable" } else { "enable" };
        Ok(["anycast4", "anycast6"]
            .map(|name| self.bird.ask(&[word, name]))
            .into_iter()
            .collect::<Result<Vec<_>>>()?
            .concat())
    }

    /// Replaces the running server program; fails if the same processes answer afterwards.
    pub fn upgrade(&mut self, namespace: &Namespace) -> Result<String> {
        let before = self.servers(namespace)?;
        let mut said = String::new();
        if self.software == Software::Starling {
            said = self.ctl(namespace, &["upgrade"])?;
        } else {
            // As it is done by hand: out of routing, a moment for the routers, restart, back when it answers.
            self.drain(namespace, Drain::On)?;
            std::thread::park_timeout(Duration::from_secs(1));
            self.signal_servers(namespace, Signal::TERM)?;
        }
        tools::poll("another server answers", PROCESS_LIMIT, || {
            let now = self.servers(namespace)?;
            let replaced = !now.is_empty() && !now.iter().any(|server| before.contains(server));
            Ok((replaced && node::answers(namespace)).then_some(()))
        })?;
        if self.software == Software::Usual {
            said = self.drain(namespace, Drain::Off)?;
        }
        Ok(said)
    }
}

/// What BIRD's configuration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BirdConfig {
    /// As it should be.
    Good,
    /// With an error.
    Broken,
}

/// Whether there is room in the state folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// None at all.
    Full,
    /// Enough.
    Free,
}

/// How the site's own check turns out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SiteCheck {
    /// It fails.
    Failing,
    /// It passes.
    Passing,
}

/// Whether a node is taken out of routing by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// It is.
    On,
    /// It is not.
    Off,
}

fn bird_config(index: usize, software: Software) -> String {
    match software {
        Software::Starling => bird::starling_config(index),
        Software::Usual => bird::usual_config(index),
    }
}

/// The processes in a namespace whose command line begins so (folders aside, interpreters passed over).
fn processes(namespace: &Namespace, wanted: &[&str]) -> Result<Vec<Pid>> {
    let mut found = Vec::new();
    for pid in namespace.pids()? {
        // Gone since it was listed.
        let Ok(line) = std::fs::read(format!("/proc/{pid}/cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).into_owned();
        let words = line.split('\0').map(|word| word.rsplit('/').next().unwrap_or_default());
        let words: Vec<&str> = words.skip_while(|word| *word == "bash").collect();
        if words.starts_with(wanted) && !is_dead(pid) {
            found.extend(Pid::from_raw(pid));
        }
    }
    found.sort_by_key(|pid| pid.as_raw_nonzero());
    Ok(found)
}

/// Whether a process has ended and only waits for its parent to look.
fn is_dead(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state stands behind the name, which may hold anything.
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}

fn thread_of(process: Pid, name: &str) -> Result<i32> {
    let folder = format!("/proc/{}/task", process.as_raw_nonzero());
    for entry in std::fs::read_dir(&folder).with_context(|| folder.clone())? {
        let path = entry?.path();
        if std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name) {
            return path
                .file_name()
                .and_then(|tid| tid.to_str()?.parse().ok())
                .context("thread ids are numbers");
        }
    }
    bail!("no thread of process {} is called {name}", process.as_raw_nonzero())
}
