//! What a breakage came to: what the client saw, and when the routers' routes changed.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use super::Lab;
use super::breakage::Breakage;
use super::ledger::{LOST_AFTER, Tally};
use super::routes::{Family, Hops, steps};
use super::topology::{POPS, ROUTERS};

/// For how long no route may have changed for things to count as settled, besides the time in which a query may still
/// be answered.
const QUIET_FOR: Duration = Duration::from_secs(1);
/// How long routes are waited for to come to rest.
const SETTLE_LIMIT: Duration = Duration::from_secs(30);
/// Queries sent so shortly before the breakage may still be on their way when it comes.
const UNDER_WAY: Duration = Duration::from_millis(10);
/// How much of the time before and after is looked at for who answered.
const LOOK: Duration = Duration::from_millis(500);

/// What happened to one router's route of one family.
#[derive(Clone, Debug)]
pub struct RouteReport {
    /// The router.
    pub router: &'static str,
    /// The family.
    pub family: Family,
    /// Where it led before.
    pub before: Hops,
    /// Where it led in the end.
    pub after: Hops,
    /// How long after the breakage it led to the PoP no more, if it had and did not.
    pub left_after: Option<Duration>,
    /// How often it changed, replacements counted once.
    pub changes: usize,
}

/// What a breakage came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was broken.
    pub breakage: Breakage,
    /// Where.
    pub pop: &'static str,
    /// What a command said, if one was given.
    pub said: String,
    /// What the node said of its route in the end.
    pub explained: String,
    /// The half second before.
    pub before: Tally,
    /// From the breakage to the time when things had settled.
    pub during: Tally,
    /// The half second at the end of that.
    pub after: Tally,
    /// Each router's routes.
    pub routes: Vec<RouteReport>,
}

/// Waits until the routes have come to rest and every query of the time is accounted for: since `at` for at least as
/// long as asked.
pub fn quiet(lab: &Lab, at: Instant, at_least: Duration) {
    let limit = at + at_least.max(SETTLE_LIMIT);
    loop {
        let last = lab.timeline().last().map_or(at, |last| last.max(at));
        let until = (at + at_least).max(last + QUIET_FOR + LOST_AFTER).min(limit);
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::park_timeout(left);
    }
}

impl Report {
    /// Looks at what happened from the breakage until now.
    #[must_use]
    pub fn new(lab: &Lab, breakage: Breakage, pop: usize, at: Instant, said: String) -> Self {
        let end = Instant::now() - LOST_AFTER;
        let ledger = lab.client().ledger();
        Self {
            breakage,
            pop: POPS[pop],
            said,
            explained: lab.explain(pop),
            before: ledger.tally(at - LOOK, at - UNDER_WAY),
            during: ledger.tally(at - UNDER_WAY, end),
            after: ledger.tally(end - LOOK, end),
            routes: route_reports(lab, POPS[pop], at),
        }
    }

    /// How long the slowest of the routes that had led to the PoP did so; none if one still does or none had.
    #[must_use]
    pub fn left_after(&self) -> Option<Duration> {
        let mut slowest = None;
        for route in self.routes.iter().filter(|route| route.before.contains(self.pop)) {
            slowest = slowest.max(Some(route.left_after?));
        }
        slowest
    }

    /// The most changes that any of the routes made.
    #[must_use]
    pub fn changes(&self) -> usize {
        self.routes.iter().map(|route| route.changes).max().unwrap_or_default()
    }

    /// The line of a table.
    #[must_use]
    pub fn row(&self) -> String {
        let left = self.left_after().map_or("-".to_owned(), millis);
        format!(
            "{:<20} {:>6} {:>6} {:>5} {:>9} {:>9} {:>5}  {} -> {}",
            self.breakage,
            self.during.sent,
            self.during.lost,
            self.during.late,
            millis(self.during.gap),
            left,
            self.changes(),
            self.before.who(),
            self.after.who()
        )
    }

    /// The heading of such a table; times in milliseconds.
    #[must_use]
    pub fn heading() -> String {
        format!(
            "{:<20} {:>6} {:>6} {:>5} {:>9} {:>9} {:>5}  answered by",
            "breakage", "sent", "lost", "late", "gap", "route off", "moves"
        )
    }
}

fn route_reports(lab: &Lab, pop: &str, at: Instant) -> Vec<RouteReport> {
    let before = lab.timeline().at(at);
    let changes = lab.timeline().since(at);
    let mut reports = Vec::new();
    for router in ROUTERS {
        for family in Family::BOTH {
            let before = before.get(&(router.to_owned(), family)).cloned().unwrap_or_default();
            let steps = steps(&changes, router, family);
            // The time of the first word, also where the route was replaced: packets went elsewhere from then on.
            let left = changes.iter().find(|change| {
                change.router == router && change.family == family && !change.hops.contains(pop)
            });
            reports.push(RouteReport {
                router,
                family,
                after: steps.last().map_or_else(|| before.clone(), |step| step.hops.clone()),
                left_after: left.filter(|_| before.contains(pop)).map(|change| change.at - at),
                changes: steps.len(),
                before,
            });
        }
    }
    reports
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let during = &self.during;
        writeln!(out, "{} at {}", self.breakage, self.pop)?;
        writeln!(
            out,
            "  client  {} queries, {} lost ({} IPv4, {} IPv6), {} late, the slowest answer after {} ms, no answer for \
             {} ms at most",
            during.sent,
            during.lost,
            during.lost_by_family[0],
            during.lost_by_family[1],
            during.late,
            millis(during.slowest),
            millis(during.gap)
        )?;
        writeln!(
            out,
            "          over TCP {}, {} lost, {} on a second connection",
            during.tcp_sent, during.tcp_lost, during.tcp_again
        )?;
        writeln!(out, "          answered by {} before, {} after", self.before.who(), self.after.who())?;
        if self.after.lost > 0 {
            writeln!(out, "          still losing {} of {} at the end", self.after.lost, self.after.sent)?;
        }
        for route in &self.routes {
            let (before, after) = (words(&route.before), words(&route.after));
            write!(out, "  {} {}  ", route.router, route.family)?;
            match route.left_after {
                Some(left) => write!(out, "{before} left after {} ms, then {after}", millis(left))?,
                None if route.changes == 0 => write!(out, "{before}, unchanged")?,
                None => write!(out, "{before}, then {after}")?,
            }
            writeln!(
                out,
                "{}",
                if route.changes > 1 { format!(" ({} changes)", route.changes) } else { String::new() }
            )?;
        }
        for line in self.said.lines().filter(|line| !line.trim().is_empty()) {
            writeln!(out, "  said    {line}")?;
        }
        Ok(())
    }
}

/// Where a route leads, as people read it.
#[must_use]
pub fn words(hops: &Hops) -> String {
    if hops.is_empty() { "no route".to_owned() } else { hops.iter().cloned().collect::<Vec<_>>().join("+") }
}

pub(super) fn millis(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1000.0)
}
