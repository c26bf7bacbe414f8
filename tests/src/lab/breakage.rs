//! What can be broken, and how it is done.

use std::fmt;
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Error, Result, bail};
use rustix::process::Signal;

use super::node::Zone;
use super::pop::{BirdConfig, Disk, Drain, SiteCheck, Software};
use super::report::{Report, quiet};
use super::{Lab, Link};

/// Times the flapping check changes its mind, an even number, so that it ends well.
const FLIPS: u32 = 8;

/// Something that goes wrong, or is done by hand, at one PoP (or more, where its name says so).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Breakage {
    /// SIGKILL to the agent.
    KillAgent,
    /// SIGSTOP to the agent.
    StopAgent,
    /// SIGKILL to the server.
    KillServer,
    /// SIGSTOP to the server.
    StopServer,
    /// One of the threads that answer over UDP stands still, and no other.
    StuckWorker,
    /// SIGKILL to BIRD.
    KillBird,
    /// SIGSTOP to BIRD.
    StopBird,
    /// `birdc configure` by hand while the node is drained.
    ReconfigureBird,
    /// BIRD's configuration broken, and read.
    BreakBirdConfig,
    /// The cables to both routers cut.
    LinkDown,
    /// A zone with an error, and a reload.
    BadZone,
    /// Where zones come from can't be reached by any node.
    PrimaryUnreachable,
    /// No room in the state folder.
    DiskFull,
    /// The site's own check goes to and fro.
    FlappingCheck,
    /// Taken out of routing by hand.
    Drain,
    /// Put back by hand.
    Undrain,
    /// The server program replaced.
    Upgrade,
    /// A soft reason at two PoPs at once.
    DegradeTwo,
    /// A soft reason at all PoPs at once.
    DegradeAll,
}

impl Breakage {
    /// All of them, in the order in which `scripts/lab all` goes through them.
    pub const ALL: [(Self, &str); 19] = [
        (Self::KillAgent, "kill-agent"),
        (Self::StopAgent, "stop-agent"),
        (Self::KillServer, "kill-server"),
        (Self::StopServer, "stop-server"),
        (Self::StuckWorker, "stuck-worker"),
        (Self::KillBird, "kill-bird"),
        (Self::StopBird, "stop-bird"),
        (Self::ReconfigureBird, "reconfigure-bird"),
        (Self::BreakBirdConfig, "break-bird-config"),
        (Self::LinkDown, "link-down"),
        (Self::BadZone, "bad-zone"),
        (Self::PrimaryUnreachable, "primary-unreachable"),
        (Self::DiskFull, "disk-full"),
        (Self::FlappingCheck, "flapping-check"),
        (Self::Drain, "drain"),
        (Self::Undrain, "undrain"),
        (Self::Upgrade, "upgrade"),
        (Self::DegradeTwo, "degrade-two"),
        (Self::DegradeAll, "degrade-all"),
    ];

    /// Breaks it, waits until things have settled, and tells what was seen. Nothing is mended.
    pub fn observe(self, lab: &mut Lab, pop: usize) -> Result<Report> {
        self.prepare(lab, pop)?;
        let (at, said) = self.apply(lab, pop)?;
        quiet(lab, at, self.watched_for(lab.plan.software));
        Ok(Report::new(lab, self, pop, at, said))
    }

    /// What has to be so before.
    fn prepare(self, lab: &mut Lab, index: usize) -> Result<()> {
        if matches!(self, Self::Undrain | Self::ReconfigureBird) {
            let at = Instant::now();
            let (pop, namespace) = lab.pop(index);
            pop.drain(namespace, Drain::On)?;
            quiet(lab, at, Duration::from_secs(3));
        }
        Ok(())
    }

    /// Does it; returns when that was, and what a command said.
    fn apply(self, lab: &mut Lab, index: usize) -> Result<(Instant, String)> {
        let silent = |result: Result<()>| result.map(|()| String::new());
        let (pop, namespace) = lab.pop(index);
        let at = Instant::now();
        let said = match self {
            Self::KillAgent => return signal_agent(lab, index, Signal::KILL),
            Self::StopAgent => return signal_agent(lab, index, Signal::STOP),
            Self::KillServer => return signal_servers(lab, index, Signal::KILL),
            Self::StopServer => return signal_servers(lab, index, Signal::STOP),
            Self::StuckWorker => silent(pop.hold_worker(namespace)),
            Self::KillBird => silent(pop.bird().process().signal(Signal::KILL)),
            Self::StopBird => silent(pop.bird().process().signal(Signal::STOP)),
            Self::ReconfigureBird => pop.bird().ask(&["configure"]),
            Self::BreakBirdConfig => pop.set_bird_config(BirdConfig::Broken),
            Self::LinkDown => silent(lab.set_uplinks(index, Link::Down)),
            Self::BadZone => pop.set_zone(namespace, Zone::Bad),
            Self::PrimaryUnreachable => silent(lab.set_origin(Link::Down)),
            Self::DiskFull => silent(pop.set_disk(Disk::Full)),
            Self::FlappingCheck => silent(flap(lab, index)),
            Self::Drain => pop.drain(namespace, Drain::On),
            Self::Undrain => pop.drain(namespace, Drain::Off),
            Self::Upgrade => pop.upgrade(namespace),
            Self::DegradeTwo => silent(soften(lab, &[index, (index + 1) % 3])),
            Self::DegradeAll => silent(soften(lab, &[0, 1, 2])),
        }?;
        Ok((at, said))
    }

    /// How long it is watched at the least: until every limit that could act has passed.
    fn watched_for(self, software: Software) -> Duration {
        match (software, self) {
            // Three checks that each take up to two seconds, with a second between them, and a hold time.
            (Software::Usual, _) => Duration::from_secs(14),
            // Checks of `exec` run each second.
            (_, Self::PrimaryUnreachable | Self::DiskFull) => Duration::from_secs(5),
            // A hold time of 3 s, should BFD not see it.
            (_, Self::StopBird | Self::KillBird | Self::LinkDown) => Duration::from_secs(5),
            _ => Duration::from_secs(3),
        }
    }
}

fn signal_agent(lab: &mut Lab, index: usize, signal: Signal) -> Result<(Instant, String)> {
    let (pop, namespace) = lab.pop(index);
    let at = pop.signal_agent(namespace, signal)?;
    Ok((at, String::new()))
}

fn signal_servers(lab: &mut Lab, index: usize, signal: Signal) -> Result<(Instant, String)> {
    let (pop, namespace) = lab.pop(index);
    let at = pop.signal_servers(namespace, signal)?;
    Ok((at, String::new()))
}

/// Has the site's check fail and pass in turn, each for as long as whoever looks needs to see it.
fn flap(lab: &mut Lab, index: usize) -> Result<()> {
    let each = match lab.plan.software {
        Software::Starling => Duration::from_millis(800),
        Software::Usual => Duration::from_secs(4),
    };
    let (pop, _) = lab.pop(index);
    for flip in 0..FLIPS {
        pop.set_site(if flip % 2 == 0 { SiteCheck::Failing } else { SiteCheck::Passing })?;
        thread::park_timeout(each);
    }
    Ok(())
}

fn soften(lab: &mut Lab, pops: &[usize]) -> Result<()> {
    pops.iter().try_for_each(|index| lab.pop(*index).0.set_site(SiteCheck::Failing))
}

impl fmt::Display for Breakage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(breakage, _)| breakage == self).map_or("", |(_, name)| *name);
        out.pad(name)
    }
}

impl FromStr for Breakage {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some((breakage, _)) = Self::ALL.iter().find(|(_, name)| *name == text) {
            return Ok(*breakage);
        }
        let names: Vec<&str> = Self::ALL.iter().map(|(_, name)| *name).collect();
        bail!("`{text}` is none of {}", names.join(", "))
    }
}
