//! The servers: how each is told to serve some zones, as fast as its manual says it can.

mod bind;
mod gdnsd;
mod knot;
mod nsd;
mod pdns;
mod reflector;
mod starling;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::ValueEnum;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use starling_tests::tools;

use crate::workloads::{Prepared, Workload, Zone};

/// The largest answer over UDP, in octets, for all of them (RFC 9715 §3.2).
const ANSWER_MAX: u16 = 1232;

/// Which server.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Server {
    /// The floor: sends each query back, with recvmmsg and sendmmsg, and does nothing else
    Reflector,
    /// The server of this repository, on sockets
    Starling,
    /// The same on AF_XDP
    StarlingXdp,
    /// The same, with answers from the kernel to what takes no zone
    StarlingKernel,
    /// gdnsd
    Gdnsd,
    /// NSD
    Nsd,
    /// Knot DNS on sockets
    Knot,
    /// Knot DNS on AF_XDP
    KnotXdp,
    /// BIND
    Bind,
    /// PowerDNS with its BIND backend
    Pdns,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}

impl Server {
    /// Why it can't serve this workload, if it can't.
    pub(crate) fn refuses(self, workload: Workload) -> Option<&'static str> {
        match self {
            Self::Gdnsd if workload.dnssec() => Some("it knows no DNSSEC"),
            // Every answer from the apex is SERVFAIL then.
            Self::Pdns if workload == Workload::RealRoot => Some(
                "it reads a ZONEMD record in its own form only, and the file has it in the general one of RFC 3597",
            ),
            _ => None,
        }
    }

    /// Whether it is one of those that Starling is compared with.
    pub(crate) fn is_peer(self) -> bool {
        self != Self::Reflector && !self.is_starling()
    }

    /// Whether the sending of answers is a socket's: the best of these is the one to beat by socket.
    pub(crate) fn is_on_sockets(self) -> bool {
        !matches!(self, Self::KnotXdp | Self::StarlingXdp | Self::StarlingKernel)
    }

    fn is_starling(self) -> bool {
        matches!(self, Self::Starling | Self::StarlingXdp | Self::StarlingKernel)
    }

    /// The version, as its package or the program itself has it; the error says what to install.
    pub(crate) fn version(self) -> Result<String> {
        match self {
            Self::Reflector => reflector::program().map(|_| "of this repository".to_owned()),
            Self::Starling | Self::StarlingXdp | Self::StarlingKernel => {
                first_line(Command::new(tools::starling()?).arg("--version"))
            }
            Self::Gdnsd => packaged("gdnsd", "gdnsd"),
            Self::Nsd => packaged("nsd", "nsd"),
            Self::Knot | Self::KnotXdp => packaged("knotd", "knot"),
            Self::Bind => packaged("named", "bind9"),
            Self::Pdns => packaged("pdns_server", "pdns-server"),
        }
    }

    /// Where it keeps what it has made of the zones, so that it need not do it again at the next start.
    pub(crate) fn images(self, setup: &Setup<'_>) -> Option<Images> {
        self.is_starling().then(|| starling::images(setup))
    }

    /// Writes its configuration into the folder, and says how it is started.
    pub(crate) fn prepare(self, setup: &Setup<'_>) -> Result<Recipe> {
        fs::create_dir_all(setup.folder)?;
        match self {
            Self::Reflector => reflector::prepare(setup),
            Self::Starling => starling::prepare(setup, starling::Path::Sockets),
            Self::StarlingXdp => starling::prepare(setup, starling::Path::Xdp),
            Self::StarlingKernel => starling::prepare(setup, starling::Path::Kernel),
            Self::Gdnsd => gdnsd::prepare(setup),
            Self::Nsd => nsd::prepare(setup),
            Self::Knot => knot::prepare(setup, knot::Path::Sockets),
            Self::KnotXdp => knot::prepare(setup, knot::Path::Xdp),
            Self::Bind => bind::prepare(setup),
            Self::Pdns => pdns::prepare(setup),
        }
    }
}

/// What a server is to do.
pub(crate) struct Setup<'a> {
    /// For its configuration and state.
    pub(crate) folder: &'a Path,
    /// What it serves.
    pub(crate) prepared: &'a Prepared,
    /// How many threads are to answer.
    pub(crate) workers: usize,
}

impl Setup<'_> {
    fn zones(&self) -> &[Zone] {
        &self.prepared.zones
    }

    /// Writes a file into the folder and gives its path.
    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        fs::write(&path, text).with_context(|| format!("configuration {}", path.display()))?;
        Ok(path)
    }
}

/// What a server keeps of its zones between runs.
pub(crate) struct Images {
    /// Where.
    pub(crate) folder: PathBuf,
    /// A zone has a file with each of these extensions.
    pub(crate) extensions: &'static [&'static str],
}

impl Images {
    /// Whether all files of so many zones are there.
    pub(crate) fn are_complete(&self, zones: usize) -> Result<bool> {
        let mut count = 0;
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            count += usize::from(
                self.extensions.iter().any(|known| path.extension().is_some_and(|it| it == *known)),
            );
        }
        Ok(count >= zones * self.extensions.len())
    }

    /// Removes them, if there are any.
    pub(crate) fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("images {}", self.folder.display()))
            }
            _ => Ok(()),
        }
    }
}

/// How a server is started and told to reload.
pub(crate) struct Recipe {
    /// The program with its arguments.
    pub(crate) command: Vec<String>,
    /// What has it read the changed zone; none where nothing can change.
    pub(crate) reload: Option<Reload>,
}

/// A way to have a zone read again.
pub(crate) enum Reload {
    /// A command.
    Command(Vec<String>),
    /// A signal.
    Signal(Signal),
}

fn path_of(program: &str) -> Result<String> {
    text(&tools::program(program)?)
}

fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).with_context(|| format!("{} is not UTF-8", path.display()))
}

/// The name of a zone without its final dot, except for the root.
fn undotted(apex: &str) -> &str {
    if apex == "." { apex } else { apex.trim_end_matches('.') }
}

fn packaged(program: &str, package: &str) -> Result<String> {
    tools::program(program)?;
    let version = first_line(Command::new("dpkg-query").args(["-W", "-f", "${Version}", package]));
    // It may have been installed by other means than a package.
    Ok(version.unwrap_or_else(|_| "unknown".to_owned()))
}

fn first_line(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    anyhow::ensure!(output.status.success(), "{command:?} ended with {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}
