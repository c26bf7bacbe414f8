//! Nodes that have their zone from one primary: what comes to them, and what happens without it.
//!
//! [`Step::ALL`] are made one after the other in a lab whose zone comes from a primary ([`Source::Primary`]); each ends with
//! everything as it was, on a later version.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::client::PORT;
use super::ledger::Tally;
use super::node::Weight;
use super::primary::{Content, Primary, PrimaryKind};
use super::report::{millis, quiet};
use super::routes::Family;
use super::topology::{POPS, ROUTERS, feed, management};
use super::{Lab, Source};
use crate::client;
use crate::message::{Message, Record};
use crate::name::Name;
use crate::query::Query;
use crate::{http, openmetrics, tools};

/// How long anything may take that takes at most some seconds.
const LIMIT: Duration = Duration::from_secs(40);
/// How long is looked whether nothing happens, where nothing should: longer than a refresh interval and a retry.
const WATCHED: Duration = Duration::from_secs(4);
/// A node that is cut off.
const CUT_OFF: usize = 0;
/// One query to a node; what is not there by then is asked for again.
const ANSWER_LIMIT: Duration = Duration::from_millis(500);
const TYPE_SOA: u16 = 6;
const SERVFAIL: u16 = 2;

/// Something that happens between the primary and the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The primary has a new version.
    Change,
    /// The primary is killed, and comes back with a new version.
    PrimaryDies,
    /// A node can't reach the primary until its copy has expired, and then it can again.
    CutOff,
    /// A version with a tenth of the names, then a good one.
    Shrunk,
    /// A version without NS records, then a good one. BIND loads no such zone.
    WithoutNs,
}

/// What came of a step.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was done.
    pub step: Step,
    /// What was measured, for people.
    pub figures: String,
    /// What the client saw.
    pub during: Tally,
    /// The most changes that any of the routers' routes made.
    pub moves: usize,
}

impl Step {
    /// All, in the order in which they are made.
    pub const ALL: [Self; 5] = [Self::Change, Self::PrimaryDies, Self::CutOff, Self::Shrunk, Self::WithoutNs];

    /// Whether it can be made with such a primary.
    #[must_use]
    pub fn is_possible(self, kind: PrimaryKind) -> bool {
        self != Self::WithoutNs || kind != PrimaryKind::Bind
    }

    /// Makes the step; fails where a node does not do what it must.
    pub fn make(self, lab: &mut Lab) -> Result<Outcome> {
        let at = Instant::now();
        let figures = match self {
            Self::Change => change(lab),
            Self::PrimaryDies => primary_dies(lab),
            Self::CutOff => cut_off(lab),
            Self::Shrunk => bad(lab, Content::Shrunk, "shrink"),
            Self::WithoutNs => bad(lab, Content::WithoutNs, "apex-sets"),
        };
        let figures = figures.with_context(|| format!("{self}"))?;
        quiet(lab, at, Duration::ZERO);
        let during = lab.client.ledger().tally(at, Instant::now() - super::ledger::LOST_AFTER);
        Ok(Outcome { step: self, figures, during, moves: moves(lab, at) })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Change => "a change",
            Self::PrimaryDies => "primary dies",
            Self::CutOff => "cut off till expiry",
            Self::Shrunk => "shrunk by 90 %",
            Self::WithoutNs => "without NS",
        })
    }
}

impl Outcome {
    /// The heading of a table of outcomes.
    #[must_use]
    pub fn heading() -> String {
        format!("{:<20} {:>6} {:>6} {:>5}  what was seen", "step", "sent", "lost", "moves")
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, figures, during, moves } = self;
        write!(out, "{step:<20} {:>6} {:>6} {moves:>5}  {figures}", during.sent, during.lost)
    }
}

/// How often the route of a router and family has changed since then, of that which changed most.
fn moves(lab: &Lab, since: Instant) -> usize {
    let changes = lab.timeline.since(since);
    let of_one = |router: &str, family| super::routes::steps(&changes, router, family).len();
    let each = ROUTERS.iter().flat_map(|router| Family::BOTH.map(|family| of_one(router, family)));
    each.max().unwrap_or(0)
}

fn change(lab: &mut Lab) -> Result<String> {
    let served = publish(lab, Content::Whole)?;
    let times = each_serves(lab, &[0, 1, 2], served)?;
    Ok(format!("served by all {} ms after the primary served it", millis(times)))
}

fn primary_dies(lab: &mut Lab) -> Result<String> {
    let serial = primary(lab)?.serial();
    primary(lab)?.kill()?;
    let until = Instant::now() + WATCHED;
    while Instant::now() < until {
        for (pop, name) in POPS.iter().enumerate() {
            let seen = seen(lab, pop)?;
            ensure!(seen == Seen::Serves(serial), "{name} without its primary: {seen:?}");
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    let namespace = &lab.topology.origin;
    lab.primary.as_mut().context("a primary")?.start_again(namespace)?;
    let served = publish(lab, Content::Whole)?;
    let times = each_serves(lab, &[0, 1, 2], served)?;
    Ok(format!(
        "all served on for {} s; back, a change is served by all after {} ms",
        WATCHED.as_secs(),
        millis(times)
    ))
}

/// The client's queries to the node itself are lost from the expiry on until the route is gone.
fn cut_off(lab: &mut Lab) -> Result<String> {
    let Source::Primary { weight, .. } = lab.plan.source else { bail!("there is no primary") };
    let at = Instant::now();
    lab.topology.origin.link_down(POPS[CUT_OFF])?;
    wait(lab, "the copy expires", |lab| Ok(seen(lab, CUT_OFF)? == Seen::Expired))?;
    let expired = Instant::now();
    let mut text = format!("expired after {} s, ", seconds(expired - at));
    if weight == Weight::Critical {
        wait(lab, "the route goes", |lab| announced(lab, CUT_OFF).map(|rung| rung.is_none()))?;
        // By what the routers' kernels said, not by when it was looked at.
        let left = lab.timeline.since(expired - Duration::from_secs(1));
        let last = left.iter().rfind(|change| !change.hops.contains(POPS[CUT_OFF])).map(|change| change.at);
        let after = last.map_or(Duration::ZERO, |last| last.saturating_duration_since(expired));
        text += &format!("withdrawn {} ms after that; ", millis(after));
    } else {
        quiet(lab, expired, WATCHED);
        ensure!(
            moves(lab, at) == 0,
            "the zone is not critical, and a route changed\n{}",
            lab.explain(CUT_OFF)
        );
        text += "announced on; ";
    }
    let served = publish(lab, Content::Whole)?;
    each_serves(lab, &[1, 2], served)?;
    let at = Instant::now();
    lab.topology.origin.link_up(POPS[CUT_OFF])?;
    each_serves(lab, &[CUT_OFF], at)?;
    text += &format!("back, the change is served after {} s", seconds(at.elapsed()));
    wait(lab, "the node is announced again", |lab| Ok(announced(lab, CUT_OFF)?.as_deref() == Some("up")))?;
    text += &format!(", announced after {} s", seconds(at.elapsed()));
    Ok(text)
}

fn bad(lab: &mut Lab, content: Content, reason: &str) -> Result<String> {
    let good = primary(lab)?.serial();
    let at = publish(lab, content)?;
    let refused = format!("starling_zone_refused_total{{zone=\"example.com.\",reason=\"{reason}\"}}");
    let held = "starling_zone_held{zone=\"example.com.\"}";
    wait(lab, "each says that it refuses", |lab| {
        (0..POPS.len()).try_fold(true, |all, pop| {
            let samples = metrics(lab, pop)?;
            let value = |name: &str| samples.get(name).copied().unwrap_or(0.0);
            Ok(all && value(&refused) > 0.0 && value(held) > 0.0)
        })
    })?;
    let told = at.elapsed();
    let until = Instant::now() + WATCHED;
    while Instant::now() < until {
        for (pop, name) in POPS.iter().enumerate() {
            let seen = seen(lab, pop)?;
            ensure!(seen == Seen::Serves(good), "{name} after a bad version: {seen:?}");
            ensure!(announced(lab, pop)?.as_deref() == Some("up"), "{name} is not announced");
        }
        std::thread::park_timeout(Duration::from_millis(200));
    }
    let served = publish(lab, Content::Whole)?;
    let times = each_serves(lab, &[0, 1, 2], served)?;
    wait(lab, "nothing is held any more", |lab| {
        (0..POPS.len()).try_fold(true, |all, pop| Ok(all && metrics(lab, pop)?.get(held) == Some(&0.0)))
    })?;
    Ok(format!(
        "refused and told by all within {} ms, a good one is served after {} ms",
        millis(told),
        millis(times)
    ))
}

fn primary(lab: &mut Lab) -> Result<&mut Primary> {
    lab.primary.as_mut().context("there is no primary")
}

/// Gives the primary a version; when it served that.
fn publish(lab: &mut Lab, content: Content) -> Result<Instant> {
    let namespace = &lab.topology.origin;
    lab.primary.as_mut().context("there is no primary")?.publish(namespace, content)?;
    Ok(Instant::now())
}

/// Waits until these nodes serve what the primary has; how long the last took, from then on.
fn each_serves(lab: &mut Lab, pops: &[usize], from: Instant) -> Result<Duration> {
    let serial = primary(lab)?.serial();
    wait(lab, &format!("serial {serial} is served"), |lab| {
        pops.iter().try_fold(true, |all, pop| Ok(all && seen(lab, *pop)? == Seen::Serves(serial)))
    })?;
    Ok(from.elapsed())
}

fn wait(lab: &Lab, what: &str, condition: impl Fn(&Lab) -> Result<bool>) -> Result<()> {
    let waited = tools::poll(what, LIMIT, || Ok(condition(lab)?.then_some(())));
    waited.with_context(|| {
        let logs: String = lab.pops.iter().map(super::Pop::log_tail).collect();
        format!("{}{logs}", lab.status().unwrap_or_default())
    })
}

/// What a node answers for the SOA record of its copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Serves(u32),
    Expired,
    Other(u16),
    Nothing,
}

/// Asks a node at the address that is its own alone, from inside.
fn seen(lab: &Lab, pop: usize) -> Result<Seen> {
    let query = Query::new(Name::parse("example.com.")?, TYPE_SOA).bytes(0x5345);
    let at = format!("{}2:{PORT}", feed(pop)).parse()?;
    let answer = lab.topology.pops[pop].inside(|| client::udp_raw(at, &query, ANSWER_LIMIT))??;
    let Some((bytes, _)) = answer else { return Ok(Seen::Nothing) };
    let message = Message::decode(&bytes)?;
    Ok(match (message.rcode(), message.answer.first().and_then(serial)) {
        (0, Some(serial)) => Seen::Serves(serial),
        (SERVFAIL, _) => Seen::Expired,
        (code, _) => Seen::Other(code),
    })
}

/// The serial of a SOA record stands before the last four numbers (RFC 1035 §3.3.13).
fn serial(record: &Record) -> Option<u32> {
    let at = record.rdata.len().checked_sub(20)?;
    Some(u32::from_be_bytes(record.rdata[at..at + 4].try_into().ok()?))
}

/// On which rung all routers have learned a node; none where one of them has not, or on another than the others.
fn announced(lab: &Lab, pop: usize) -> Result<Option<String>> {
    let mut rung = None;
    for router in 0..ROUTERS.len() {
        for family in Family::BOTH {
            let learned = lab.learned(router, family)?;
            let here = learned.iter().find(|learned| learned.pop == POPS[pop]).map(|learned| learned.rung());
            match (here, rung) {
                (Some(here), None) => rung = Some(here),
                (Some(here), Some(before)) if here == before => {}
                _ => return Ok(None),
            }
        }
    }
    Ok(rung.map(str::to_owned))
}

fn metrics(lab: &Lab, pop: usize) -> Result<openmetrics::Samples> {
    let at = format!("{}:8053", management(pop)).parse()?;
    let answer = lab.topology.pops[pop].inside(|| http::get(at, "/metrics"))??;
    openmetrics::read(&answer.body)
}

fn seconds(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64())
}
