//! Names that answer with endpoints at the PoPs: what every node says, second by second, while endpoints die and a
//! PoP is cut off.
//!
//! Two pools have the same six endpoints: [`Pool::Near`], whose first tier at each node are its own PoP's, by what
//! that node sees; and [`Pool::All`], which answers with all that most nodes find good. A third gives each a share by
//! the load that it reports ([`share`]). [`Step::ALL`] are made one after the other ([`Course::run`]), while [`watch`]
//! asks all nodes. What each has to say is known at every moment; [`verdict`] holds them to it.

pub mod answers;
pub mod backend;
pub mod picture;
pub mod share;
pub mod verdict;
pub mod watch;

use std::fmt::{self, Write as _};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::topology::POPS;
use super::{Lab, Link};
use crate::tools;
use answers::{BACKENDS, Backend, Set};
use watch::{Place, Said, Sample, Watch};

/// How often an endpoint is looked at.
pub const INTERVAL: Duration = Duration::from_millis(200);
/// How long that may take. A machine with other work takes its time.
pub const TIMEOUT: Duration = Duration::from_millis(500);
/// How many looks in a row make an endpoint good.
pub const RISE: u32 = 2;
/// How many make it bad.
pub const FALL: u32 = 2;
/// How often nodes ask each other what they see, and how long they wait for that.
pub const SHARED: Duration = Duration::from_millis(200);
/// After how many times without an answer a peer counts no more.
pub const SILENT_AFTER: u32 = 5;
/// How long a better tier has to be good before it answers again.
pub const FAIL_BACK: Duration = Duration::from_secs(3);
/// How long everything may take to be as it should before the first step.
const WHOLE_LIMIT: Duration = Duration::from_secs(30);

/// A pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// Failover, with the PoP's own endpoints as the first tier and all others as the second; each node by its own
    /// view.
    Near,
    /// Round robin over all endpoints, by the view of most nodes.
    All,
}

/// The names that answer with them.
pub const NAMES: [&str; 2] = ["near.example.com", "all.example.com"];

impl Pool {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Near, Self::All];

    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        if self == Self::Near { "near" } else { "all" }
    }
}

/// The part of a node's configuration that is about pools.
#[must_use]
pub fn config(pop: usize) -> String {
    let [interval, timeout, shared, hold] = [INTERVAL, TIMEOUT, SHARED, FAIL_BACK].map(|it| it.as_millis());
    let check = format!(
        "check = {{ kind = \"http\", port = {}, interval-ms = {interval}, timeout-ms = {timeout}, rise = {RISE}, fall = {FALL} }}",
        backend::PORT
    );
    let mut text = format!(
        "[[key]]\nname = \"nodes.example\"\nsecret = \"YSBzZWNyZXQgb2YgdGhlIGxhYg==\"\n[pool-sharing]\nkey = \"nodes.example\"\n\
         interval-ms = {shared}\ntimeout-ms = {shared}\nsilent-after = {SILENT_AFTER}\n"
    );
    write!(
        text,
        "[[pool]]\nname = \"{0}\"\nnames = [\"{0}.example.com\"]\n{1}\n{check}\n",
        share::POOL,
        share::KIND
    )
    .expect("a String takes all");
    for it in BACKENDS {
        writeln!(text, "[[pool.endpoint]]\nname = \"{it}\"\naddress = \"{}\"", it.address())
            .expect("a String takes all");
    }
    for (pool, kind) in [
        (Pool::Near, format!("kind = \"failover\"\nfail-back-ms = {hold}")),
        (Pool::All, "kind = \"round-robin\"\nview = \"quorum\"".to_owned()),
    ] {
        let name = NAMES[pool as usize];
        write!(
            text,
            "[[pool]]\nname = \"{}\"\nnames = [\"{name}\"]\nttl-s = 1\n{kind}\n{check}\n",
            pool.name()
        )
        .expect("a String takes all");
        for it in BACKENDS {
            let tier = if pool == Pool::Near && it.pop != pop { 2 } else { 1 };
            let address = it.address();
            writeln!(text, "[[pool.endpoint]]\nname = \"{it}\"\naddress = \"{address}\"\ntier = {tier}")
                .expect("a String takes all");
        }
    }
    text
}

/// Something that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Good,
    /// An endpoint of p3 reports that it is busy.
    Busy,
    /// It reports that it has less to do than the others.
    Idle,
    /// One of the two endpoints of p1 dies.
    Dies,
    /// The other does, too.
    BothDead,
    /// Both come back.
    Back,
    /// An endpoint of p2 takes requests and says nothing.
    Hangs,
    /// It answers again.
    Answers,
    /// p1 is cut off from the routers.
    CutOff,
    /// An endpoint of p1 dies meanwhile.
    DiesCutOff,
    /// And comes back.
    BackCutOff,
    /// p1 has its cables again.
    Mended,
}

const P1A: Backend = Backend { pop: 0, number: 0 };
const P1B: Backend = Backend { pop: 0, number: 1 };
const P2A: Backend = Backend { pop: 1, number: 0 };
const P3A: Backend = Backend { pop: 2, number: 0 };
/// The PoP that is cut off: the one that the client's queries go to.
const CUT_OFF: usize = 0;

impl Step {
    /// All, in the order in which they are made.
    pub const ALL: [Self; 12] = [
        Self::Good,
        Self::Busy,
        Self::Idle,
        Self::Dies,
        Self::BothDead,
        Self::Back,
        Self::Hangs,
        Self::Answers,
        Self::CutOff,
        Self::DiesCutOff,
        Self::BackCutOff,
        Self::Mended,
    ];

    /// Does it; when that was done, or was about to be where it takes time that nobody sees.
    fn make(self, lab: &mut Lab) -> Result<Instant> {
        let before = Instant::now();
        match self {
            Self::Good => {}
            Self::Busy => lab.backends()?.report(P3A, share::BUSY)?,
            Self::Idle => lab.backends()?.report(P3A, share::IDLE)?,
            Self::Dies | Self::DiesCutOff => return lab.backends()?.kill(P1A),
            Self::BothDead => return lab.backends()?.kill(P1B),
            Self::Back => {
                lab.backends()?.revive(P1A)?;
                lab.backends()?.revive(P1B)?;
            }
            Self::Hangs => lab.backends()?.hang(P2A)?,
            Self::Answers => lab.backends()?.answer(P2A)?,
            Self::CutOff => lab.set_uplinks(CUT_OFF, Link::Down)?,
            Self::BackCutOff => lab.backends()?.revive(P1A)?,
            Self::Mended => lab.set_uplinks(CUT_OFF, Link::Up)?,
        }
        Ok(before)
    }

    /// How long is looked at what comes of it.
    fn watched_for(self) -> Duration {
        match self {
            Self::Back => FAIL_BACK + Duration::from_secs(3),
            Self::CutOff => Duration::from_secs(5),
            Self::Busy | Self::Idle => share::WATCHED,
            _ => Duration::from_secs(3),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Good => "all is well",
            Self::Busy => "p3a is busy",
            Self::Idle => "p3a has room",
            Self::Dies => "p1a dies",
            Self::BothDead => "p1b dies, too",
            Self::Back => "both come back",
            Self::Hangs => "p2a hangs",
            Self::Answers => "it answers again",
            Self::CutOff => "p1 is cut off",
            Self::DiesCutOff => "p1a dies there",
            Self::BackCutOff => "it comes back",
            Self::Mended => "p1 is back",
        })
    }
}

/// How things are in truth.
#[derive(Clone, Copy, Debug)]
pub struct World {
    good: Set,
    is_cut: bool,
}

impl World {
    /// As it was before the first step.
    fn first() -> Self {
        Self { good: Set::of(|_| true), is_cut: false }
    }

    /// As a step makes it.
    fn after(self, step: Step) -> Self {
        let with = |it: Backend| Set::of(|other| other == it || self.good.has(other));
        let without = |it: Backend| Set::of(|other| other != it && self.good.has(other));
        let good = match step {
            Step::Good | Step::Busy | Step::Idle | Step::CutOff | Step::Mended => self.good,
            Step::Dies | Step::DiesCutOff => without(P1A),
            Step::BothDead => without(P1B),
            Step::Back => Set::of(|_| true),
            Step::Hangs => without(P2A),
            Step::Answers => with(P2A),
            Step::BackCutOff => with(P1A),
        };
        let is_cut = match step {
            Step::CutOff => true,
            Step::Mended => false,
            _ => self.is_cut,
        };
        Self { good, is_cut }
    }

    /// Whether a PoP is on its own.
    #[must_use]
    pub fn is_isolated(self, pop: usize) -> bool {
        self.is_cut && pop == CUT_OFF
    }

    /// What a node has to answer.
    #[must_use]
    pub fn answer(self, pool: Pool, pop: usize) -> Set {
        let is_reached = |it: Backend| !self.is_cut || (it.pop == CUT_OFF) == (pop == CUT_OFF);
        let good = Set::of(|it| self.good.has(it) && is_reached(it));
        let own = Set::of(|it| good.has(it) && it.pop == pop);
        match pool {
            Pool::Near if !own.is_empty() => own,
            Pool::Near | Pool::All => good,
        }
    }
}

/// A step that was made.
#[derive(Clone, Copy, Debug)]
pub struct Stage {
    /// Which.
    pub step: Step,
    /// When.
    pub at: Instant,
    /// How things were before.
    pub before: World,
    /// How they were then.
    pub world: World,
}

/// All steps, and what was seen meanwhile.
#[derive(Clone, Debug)]
pub struct Course {
    /// The steps.
    pub stages: Vec<Stage>,
    /// When the last one was over.
    pub end: Instant,
    /// What was asked and answered.
    pub samples: Vec<Sample>,
    /// What nodes said of themselves.
    pub said: Vec<Said>,
}

impl Course {
    /// Goes through all steps, as long as `goes_on`; each second's line of the table goes to `line`, after its heading.
    pub fn run(lab: &mut Lab, goes_on: impl Fn() -> bool, mut line: impl FnMut(&str)) -> Result<Self> {
        let watch = Watch::start(&lab.topology)?;
        wait_until_good(lab, &watch)?;
        heading().lines().for_each(&mut line);
        let start = Instant::now();
        let (mut stages, mut world, mut seconds) = (Vec::new(), World::first(), 0);
        for step in Step::ALL {
            let at = step.make(lab).with_context(|| format!("{step}"))?;
            let before = world;
            world = before.after(step);
            stages.push(Stage { step, at, before, world });
            let mut what = step.to_string();
            let end = at + step.watched_for();
            // What is told of a second is what was last seen in it.
            while goes_on() && start + Duration::from_secs(seconds + 1) <= end {
                let next = start + Duration::from_secs(seconds + 1);
                thread::park_timeout(next.saturating_duration_since(Instant::now()));
                if Instant::now() >= next {
                    line(&row(&watch, seconds, &std::mem::take(&mut what)));
                    seconds += 1;
                }
            }
            if !goes_on() {
                break;
            }
            wait_until(end);
        }
        let end = Instant::now();
        let (samples, said) = watch.seen();
        Ok(Self { stages, end, samples, said })
    }
}

fn wait_until(end: Instant) {
    while Instant::now() < end {
        thread::park_timeout(end.saturating_duration_since(Instant::now()));
    }
}

/// Waits until every node says what it should, and hears the others.
fn wait_until_good(lab: &Lab, watch: &Watch) -> Result<()> {
    let waited = tools::poll("all nodes answer with all endpoints", WHOLE_LIMIT, || {
        let is_good = |place, pool, pop| {
            watch.last(place, pool).is_some_and(|it| it.answer == Some(World::first().answer(pool, pop)))
        };
        let nodes = (0..POPS.len()).all(|pop| {
            Pool::ALL.iter().all(|pool| is_good(Place::Pop(pop), *pool, pop)) && !watch.is_isolated(pop)
        });
        let client = watch.last(Place::Client, Pool::All).is_some_and(|it| it.answer.is_some());
        Ok((nodes && client).then_some(()))
    });
    waited.with_context(|| {
        let rows = row(watch, 0, "");
        lab.pops.iter().fold(rows, |text, pop| text + "\n" + &pop.log_tail())
    })
}

/// The heading of the table: two lines.
fn heading() -> String {
    let places = |pool: Pool| {
        let nodes: String = POPS.iter().map(|pop| format!("{pop:<11}")).collect();
        (format!("{:<33}", NAMES[pool as usize]), nodes)
    };
    let [(near, nodes), (all, _)] = Pool::ALL.map(places);
    let shares = POPS.map(|pop| format!("{pop:>5}")).concat();
    format!(
        "{:>3}  {:<16}  {near} {all} {all:<28}  share of p3a, in %\n{:>3}  {:<16}  {nodes} {nodes} {:<28} {shares}",
        "", "", "s", "", "for the client"
    )
}

/// What was seen last: a line of the table.
fn row(watch: &Watch, second: u64, what: &str) -> String {
    let cell = |place, pool| {
        let answer = watch.last(place, pool).and_then(|it| it.answer);
        answer.map_or_else(|| "nothing".to_owned(), |answer| answer.to_string())
    };
    let mut text = format!("{second:>3}  {what:<16}  ");
    for pool in Pool::ALL {
        for pop in 0..POPS.len() {
            let mark = if pool == Pool::All && watch.is_isolated(pop) { "!" } else { "" };
            text += &format!("{:<11}", cell(Place::Pop(pop), pool) + mark);
        }
        text.push(' ');
    }
    let who = watch.last(Place::Client, Pool::All).and_then(|it| it.pop).map_or("nobody", |pop| POPS[pop]);
    text += &format!("{:<28} ", format!("{} by {who}", cell(Place::Client, Pool::All)));
    for pop in 0..POPS.len() {
        text += &watch
            .share(pop)
            .map_or_else(|| format!("{:>5}", "?"), |share| format!("{:>5.1}", share * 100.0));
    }
    text
}
