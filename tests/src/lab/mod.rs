//! The lab: three points of presence behind two routers, a client that counts every query, and what breaks them.
//!
//! Everything is real but the hardware: namespaces for hosts, BIRD in routers and PoPs, Starling (or NSD with the usual
//! script, to compare) as the nodes. [`Lab::up`] builds it, [`breakage::Breakage`] breaks something in it,
//! [`report::Report`] says what the client saw and when the routers' routes changed. `scripts/lab` is the front for
//! people; the tests of the target `anycast` go through the same functions.
//!
//! What systemd would start again after it died (agent, BIRD) is started again by [`Lab::mend`], so that the failure can
//! be watched. NSD and its script are started again at once, as their units ask for.

pub mod bird;
pub mod breakage;
pub mod client;
pub mod copies;
pub mod folder;
pub mod ledger;
pub mod node;
pub mod pools;
pub mod pop;
pub mod primary;
pub mod report;
pub mod routes;
pub mod topology;

use std::fmt::Write as _;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::netns::Namespace;
use crate::process::Process;
use crate::tools;
use bird::{Bird, Learned, Paths};
use client::Client;
use folder::{Folder, Turn};
use node::Weight;
use pools::backend::Backends;
use pop::{Disk, Pop, SiteCheck, Software};
use primary::{Primary, PrimaryKind};
use routes::{Change, Family, Timeline, Watcher};
use topology::{POPS, ROUTERS, Topology};

/// How long the nodes may take to be announced everywhere. Sessions take some seconds, hold-downs after a breakage a few
/// more.
const WHOLE_LIMIT: Duration = Duration::from_secs(40);
/// How long no route must have changed before something is broken: twice what is looked at for who answered before.
const CALM_FOR: Duration = Duration::from_secs(1);

/// Where the nodes' zone comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file of each node.
    File,
    /// One primary, over the management network.
    Primary {
        /// What that is.
        kind: PrimaryKind,
        /// What it means to a node.
        weight: Weight,
    },
}

/// What names of the nodes' zone answer with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steering {
    /// What the zone has.
    None,
    /// Some with pools, whose endpoints are at the PoPs.
    Pools,
}

/// How a lab is set up.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What runs in the PoPs.
    pub software: Software,
    /// Where their zone comes from; a primary is for Starling's nodes only.
    pub source: Source,
    /// What its names answer with; pools are for Starling's nodes only.
    pub steering: Steering,
    /// How routers choose.
    pub paths: Paths,
    /// Queries a second over UDP.
    pub rate: u32,
}

impl Default for Plan {
    /// Starling everywhere, with the zone as a file, one best path, and 5,000 queries a second.
    fn default() -> Self {
        Self {
            software: Software::Starling,
            source: Source::File,
            steering: Steering::None,
            paths: Paths::Best,
            rate: 5_000,
        }
    }
}

/// A running lab; taken down when dropped.
pub struct Lab {
    /// How it was set up.
    pub plan: Plan,
    client: Client,
    timeline: Timeline,
    // Fields are dropped in this order: whoever watches, what runs, where it runs, what it has written.
    _watchers: Vec<Watcher>,
    pops: Vec<Pop>,
    backends: Option<Backends>,
    routers: Vec<Bird>,
    _origin: Option<Process>,
    primary: Option<Primary>,
    topology: Topology,
    _folder: Folder,
    _turn: Turn,
}

impl Lab {
    /// Builds everything and waits until all nodes are announced at all routers. Changes of routes go to `live` as they
    /// happen.
    pub fn up(plan: Plan, live: Option<&Sender<Change>>) -> Result<Self> {
        let turn = Turn::take()?;
        let mut folder = Folder::new()?;
        let topology = Topology::new()?;
        let timeline = Timeline::default();
        let mut watchers = Vec::new();
        let mut routers = Vec::new();
        for (r, (name, namespace)) in ROUTERS.iter().zip(&topology.routers).enumerate() {
            watchers.push(Watcher::start(namespace, name, &timeline, live.cloned())?);
            routers.push(Bird::start(namespace, &folder.sub(name)?, &bird::router_config(r, plan.paths))?);
        }
        let at = folder.sub("origin")?;
        let (mut origin, mut primary) = (None, None);
        match plan.source {
            Source::File => {
                let command = node::origin(&topology.origin, &at)?;
                origin = Some(Process::spawn("nsd", &command, &at.join("nsd.log"))?);
            }
            Source::Primary { kind, .. } => primary = Some(Primary::start(&topology.origin, kind, &at)?),
        }
        let backends = match plan.steering {
            Steering::None => None,
            Steering::Pools => Some(Backends::start(&topology)?),
        };
        let mut pops = Vec::new();
        for (index, (name, namespace)) in POPS.iter().zip(&topology.pops).enumerate() {
            let at = folder.sub(name)?;
            folder.mount(&format!("{name}/state"))?;
            pops.push(Pop::start(namespace, index, plan, &at)?);
        }
        let client = Client::start(&topology.client, plan.rate)?;
        let mut lab = Self {
            plan,
            client,
            timeline,
            _watchers: watchers,
            pops,
            backends,
            routers,
            _origin: origin,
            primary,
            topology,
            _folder: folder,
            _turn: turn,
        };
        lab.wait_until_whole()?;
        Ok(lab)
    }

    /// The client's accounts.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// When routers' routes changed.
    #[must_use]
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// The endpoints of its pools.
    pub fn backends(&mut self) -> Result<&mut Backends> {
        self.backends.as_mut().context("the lab has no pools")
    }

    /// A PoP and its namespace.
    #[must_use]
    pub fn pop(&mut self, index: usize) -> (&mut Pop, &Namespace) {
        (&mut self.pops[index], &self.topology.pops[index])
    }

    /// What a router has learned of the nodes.
    pub fn learned(&self, router: usize, family: Family) -> Result<Vec<Learned>> {
        self.routers[router].learned(family)
    }

    /// Waits until every node is announced as a healthy one is, at all routers and in both families, and the routes
    /// follow.
    pub fn wait_until_whole(&mut self) -> Result<()> {
        // BIRD tells of a route a moment before the kernel has it, so one look is not enough.
        let mut since = None;
        let waited = tools::poll("every node is announced at every router", WHOLE_LIMIT, || {
            self.pops.iter_mut().try_for_each(Pop::ensure_alive)?;
            if !self.whole()? {
                since = None;
                return Ok(None);
            }
            let long = since.get_or_insert_with(Instant::now).elapsed() > CALM_FOR;
            Ok((long && self.calm() && self.answered()).then_some(()))
        });
        waited.map_err(|error| {
            let status = self.status().unwrap_or_else(|error| format!("{error:#}"));
            let pops = self.pops.iter().zip(&self.topology.pops);
            let logs: String =
                pops.map(|(pop, namespace)| pop.log_tail() + &pop.explain(namespace)).collect();
            anyhow!("{error:#}\n{status}{logs}")
        })
    }

    fn whole(&self) -> Result<bool> {
        for router in 0..ROUTERS.len() {
            for family in Family::BOTH {
                let learned = self.learned(router, family)?;
                if learned.len() < POPS.len() || learned.iter().any(|pop| pop.rung() != "up") {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Whether no route has changed for a while.
    fn calm(&self) -> bool {
        self.timeline.last().is_none_or(|last| last.elapsed() > CALM_FOR)
    }

    /// Whether what was asked from 2.2 to 2.1 seconds ago was answered, every query of it.
    fn answered(&self) -> bool {
        let to = Instant::now() - ledger::LOST_AFTER - Duration::from_millis(100);
        let tally = self.client.ledger().tally(to - Duration::from_millis(100), to);
        tally.sent > 0 && tally.lost == 0
    }

    /// Takes the cables between a PoP and the routers down or up, at the routers' end.
    pub fn set_uplinks(&self, pop: usize, link: Link) -> Result<()> {
        self.topology.routers.iter().try_for_each(|router| set_link(router, POPS[pop], link))?;
        match link {
            Link::Up => self.topology.route_to_pop(pop),
            Link::Down => Ok(()),
        }
    }

    /// Takes the cable to where zones come from down or up.
    pub fn set_origin(&self, link: Link) -> Result<()> {
        set_link(&self.topology.routers[0], "origin", link)
    }

    /// Puts everything right again, whatever was broken, and waits until every node is announced.
    pub fn mend(&mut self) -> Result<()> {
        self.set_origin(Link::Up)?;
        for index in 0..POPS.len() {
            self.set_uplinks(index, Link::Up)?;
        }
        for (pop, namespace) in self.pops.iter_mut().zip(&self.topology.pops) {
            pop.let_go(namespace)?;
            pop.set_site(SiteCheck::Passing)?;
            pop.set_disk(Disk::Free)?;
            pop.restart(namespace)?;
            pop.mend_files(namespace)?;
        }
        self.wait_until_whole()
    }

    /// What a node says of its route; nothing where it can't tell.
    #[must_use]
    pub fn explain(&self, pop: usize) -> String {
        self.pops[pop].explain(&self.topology.pops[pop])
    }

    /// What the routers have learned, as lines for people.
    pub fn status(&self) -> Result<String> {
        let mut text = String::new();
        for (r, router) in ROUTERS.iter().enumerate() {
            for family in Family::BOTH {
                write!(text, "{router} {family}:")?;
                for pop in self.learned(r, family)? {
                    write!(text, "  {} {}{}", pop.pop, pop.rung(), if pop.best { " (used)" } else { "" })?;
                }
                text.push('\n');
            }
        }
        let now = Instant::now() - ledger::LOST_AFTER;
        let tally = self.client.ledger().tally(now - Duration::from_secs(1), now);
        writeln!(
            text,
            "client, two seconds ago: {} queries in a second, {} lost, answered by {}",
            tally.sent,
            tally.lost,
            tally.who()
        )?;
        Ok(text)
    }
}

/// Whether a cable carries anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// It does.
    Up,
    /// It does not.
    Down,
}

fn set_link(namespace: &Namespace, interface: &str, link: Link) -> Result<()> {
    match link {
        Link::Up => namespace.link_up(interface),
        Link::Down => namespace.link_down(interface),
    }
}
