//! A pool whose endpoints have shares by the load that each reports: one of them is busy, and then has less to do than the others.

use std::time::Duration;

use super::watch::Said;
use super::{Course, Step};
use crate::lab::topology::POPS;

/// The pool, and the first label of the name that answers with it.
pub const POOL: &str = "load";
/// What it is. Loads are told in a field of the page's head; shares move once in half a second.
pub(super) const KIND: &str = "ttl-s = 1\nkind = \"least-load\"\nload = \"header\"\nload-header = \"x-load\"\n\
                               load-period-ms = 500\nload-smoothing-ms = 500";
/// How the sample of a share begins in the metrics.
pub(super) const SAMPLE: &str = "starling_pool_endpoint_share_ratio{pool=\"load\",endpoint=\"p3a\"";
/// The loads, in percent, of all, of the one that is busy, and of that when it has room.
pub(super) const USUAL: u32 = 50;
pub(super) const BUSY: u32 = 95;
pub(super) const IDLE: u32 = 10;
/// How long is looked at what comes of it: some twenty steps.
pub(super) const WATCHED: Duration = Duration::from_secs(10);
/// How much of the share is left at the most then; a step is a tenth.
const LEFT_MAX: f64 = 0.5;
/// What a share may differ from one that is the same, and by how much more than a step it may rise where looks come late.
const CHANCE: f64 = 0.02;

impl Course {
    /// What was wrong with the shares, a line each.
    pub(super) fn share_faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut wrong =
            |step: Step, pop: usize, what: String| faults.push(format!("{step}: at {} {what}", POPS[pop]));
        for pop in 0..POPS.len() {
            let [good, busy, idle] = [Step::Good, Step::Busy, Step::Idle].map(|step| self.shares(step, pop));
            let (Some(before), Some(low), Some(after)) = (good.last(), busy.last(), idle.last()) else {
                wrong(Step::Good, pop, "no share of p3a is told".to_owned());
                continue;
            };
            if (before - 1.0 / 6.0).abs() > CHANCE {
                wrong(Step::Good, pop, format!("p3a has {before:.3} of all, and is one of six"));
            }
            if *low > before * LEFT_MAX {
                wrong(Step::Busy, pop, format!("p3a has still {low:.3}, of {before:.3}"));
            }
            if busy.iter().any(|share| *share <= 0.0) {
                wrong(Step::Busy, pop, "p3a has nothing, and is good".to_owned());
            }
            if let Some(pair) = busy.windows(2).find(|pair| pair[1] > pair[0] + CHANCE) {
                wrong(
                    Step::Busy,
                    pop,
                    format!("the share of p3a rises from {:.3} to {:.3}", pair[0], pair[1]),
                );
            }
            if *after < low * 1.2 {
                wrong(Step::Idle, pop, format!("p3a has {after:.3}, after {low:.3}"));
            }
            // It rises gradually.
            if let Some(pair) = idle.windows(2).find(|pair| pair[1] > pair[0] * 1.3 + CHANCE) {
                wrong(
                    Step::Idle,
                    pop,
                    format!("the share of p3a leaps from {:.3} to {:.3}", pair[0], pair[1]),
                );
            }
        }
        faults
    }

    /// The shares that a node told from a step to the next.
    fn shares(&self, step: Step, pop: usize) -> Vec<f64> {
        let at = self.stages.iter().position(|stage| stage.step == step);
        let said = at.map_or_else(Vec::new, |at| self.said_of(at, pop));
        said.iter().filter_map(|said: &Said| said.share).collect()
    }

    /// A picture of the shares: for each node a line, with a character for each `column`.
    pub(super) fn share_picture(&self, columns: usize, column: Duration) -> String {
        const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let mut text = format!("{POOL}.example.com: the share of p3a, up to a quarter\n");
        for (pop, name) in POPS.iter().enumerate() {
            let said: Vec<(f64, f64)> = self
                .said
                .iter()
                .filter(|said| said.pop == pop)
                .filter_map(|said| Some((self.seconds(said.at), said.share?)))
                .collect();
            let mark = |at: usize| {
                let end = (at as f64 + 1.0) * column.as_secs_f64();
                let last = said.iter().rev().find(|(when, _)| *when <= end);
                last.map_or(' ', |(_, share)| match (share * 4.0 * LEVELS.len() as f64).ceil() as usize {
                    0 => '·',
                    level => LEVELS[(level - 1).min(LEVELS.len() - 1)],
                })
            };
            let marks: String = (0..columns).map(mark).collect();
            text += &format!("{name:>6} {:<4} {marks}\n", "p3a");
        }
        text
    }
}
