//! Whether every answer was one that had to be given at its moment, and how long it took until it was the right one.

use std::time::Duration;

use super::answers::Set;
use super::watch::{Place, Said, Sample};
use super::{Course, FAIL_BACK, FALL, INTERVAL, Pool, RISE, SHARED, SILENT_AFTER, Stage, Step, TIMEOUT};
use crate::lab::topology::POPS;

/// What a change may take besides what it waits for.
const PROMISED: Duration = Duration::from_millis(10);
/// What a busy machine with two processors may add; what was measured is told.
const SLACK: Duration = Duration::from_millis(500);
/// How long the kernel may take to see that a cable carries again, which it looks for once a second.
const CARRIER: Duration = Duration::from_secs(1);
/// How old what a node tells of itself may be, and how often it is asked.
const TOLD_AFTER: Duration = Duration::from_millis(500);

impl Stage {
    /// How long after the step a node may still answer as before; `None` where nothing changes for it.
    fn limit(&self, pool: Pool, pop: usize) -> Option<Duration> {
        if self.before.answer(pool, pop) == self.world.answer(pool, pop) {
            return None;
        }
        let (fall, rise) = (INTERVAL * FALL, INTERVAL * RISE);
        // Where nothing answers each look takes its time, which is longer than the interval.
        let silence = INTERVAL + TIMEOUT * FALL;
        // Where most nodes have to say it, the others have to be asked.
        let told = if pool == Pool::All { SHARED } else { Duration::ZERO };
        let waits = match self.step {
            Step::Good | Step::Busy | Step::Idle => Duration::ZERO,
            Step::Dies | Step::BothDead | Step::DiesCutOff => fall + told,
            Step::Hangs => silence + told,
            Step::Back if pool == Pool::Near => rise + FAIL_BACK,
            Step::Back | Step::BackCutOff => rise + told,
            // The last look that is in vain has to come to its end.
            Step::Answers => TIMEOUT + rise + told,
            Step::CutOff if self.world.is_isolated(pop) => silence.max(SHARED * SILENT_AFTER),
            Step::CutOff => silence + told,
            Step::Mended => CARRIER + TIMEOUT + rise + SHARED * 2,
        };
        Some(waits + PROMISED)
    }

    /// The time before which a better tier must not answer again.
    fn not_before(&self, pool: Pool, pop: usize) -> Option<Duration> {
        let fails_back = self.step == Step::Back && pool == Pool::Near && self.limit(pool, pop).is_some();
        fails_back.then_some(FAIL_BACK)
    }
}

impl Course {
    /// What was not as it has to be, a line each, and the first of each kind only.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = self.share_faults();
        for (at, stage) in self.stages.iter().enumerate() {
            for place in Place::ALL {
                for pool in Pool::ALL {
                    let samples = self.samples_of(at, place, pool);
                    faults.extend(samples.iter().find_map(|sample| stage.fault(sample)));
                    // Packets are lost while routes change, and not for long.
                    if samples.last().is_none_or(|last| last.answer.is_none()) {
                        faults.push(format!(
                            "{}: {} has no answer for {}",
                            stage.step,
                            place.name(),
                            pool.name()
                        ));
                    }
                }
            }
            for (pop, name) in POPS.iter().enumerate() {
                let said = self.said_of(at, pop);
                faults.extend(said.iter().find_map(|said| stage.misstatement(said)));
                if said.is_empty() {
                    faults.push(format!("{}: {name} does not say whether it is isolated", stage.step));
                }
            }
        }
        faults
    }

    /// How long each step took to be seen everywhere: lines of a table.
    #[must_use]
    pub fn figures(&self) -> String {
        let mut text = format!(
            "{:<16}  {:<28}  {:<28}\n",
            "", "near: right after, promised", "all: right after, promised"
        );
        for (at, stage) in self.stages.iter().enumerate() {
            let of_pool = |pool: Pool| {
                let of_pop = |pop| {
                    let took = self.right_after(at, pool, pop)?;
                    Some((took, stage.limit(pool, pop)?))
                };
                match (0..POPS.len()).filter_map(of_pop).max() {
                    Some((took, limit)) => {
                        format!("{:.3} s, {:.2} s", took.as_secs_f64(), limit.as_secs_f64())
                    }
                    None => "unchanged".to_owned(),
                }
            };
            let [near, all] = Pool::ALL.map(of_pool);
            text += &format!("{:<16}  {near:<28}  {all}\n", stage.step);
        }
        text
    }

    /// How long after a step a node's answers were right and stayed so, by the time of asking.
    fn right_after(&self, at: usize, pool: Pool, pop: usize) -> Option<Duration> {
        let stage = &self.stages[at];
        let right = stage.world.answer(pool, pop);
        let samples = self.samples_of(at, Place::Pop(pop), pool);
        let first = samples.iter().rposition(|it| it.answer != Some(right)).map_or(0, |wrong| wrong + 1);
        Some(samples.get(first)?.asked.saturating_duration_since(stage.at))
    }

    /// What was answered between a step and the next.
    fn samples_of(&self, at: usize, place: Place, pool: Pool) -> Vec<Sample> {
        let (from, to) = (self.stages[at].at, self.stages.get(at + 1).map_or(self.end, |next| next.at));
        let is_of = |it: &&Sample| (it.place, it.pool) == (place, pool) && it.at >= from && it.at < to;
        self.samples.iter().filter(is_of).copied().collect()
    }

    /// What a node said of itself between a step and the next.
    pub(super) fn said_of(&self, at: usize, pop: usize) -> Vec<Said> {
        let (from, to) = (self.stages[at].at, self.stages.get(at + 1).map_or(self.end, |next| next.at));
        self.said.iter().filter(|it| it.pop == pop && it.at >= from && it.at < to).copied().collect()
    }
}

impl Stage {
    /// What is wrong with an answer.
    fn fault(&self, sample: &Sample) -> Option<String> {
        let Sample { place, pool, .. } = *sample;
        let pop = match place {
            Place::Pop(pop) => pop,
            // What was not answered is lost on the way.
            Place::Client => sample.answer.and(sample.pop)?,
        };
        let (before, right) = (self.before.answer(pool, pop), self.world.answer(pool, pop));
        let since = sample.asked.saturating_duration_since(self.at);
        // Nodes that are heard again say what they have seen until they have looked, and most of them count.
        let least = if self.step == Step::Mended { Set::default() } else { before };
        let too_early = self.not_before(pool, pop).is_some_and(|hold| since < hold);
        let is_fine = match sample.answer {
            _ if sample.pop != Some(pop) => false,
            Some(answer) if too_early => answer == before,
            Some(answer) => {
                let is_settling = self.limit(pool, pop).is_some_and(|limit| since < limit + SLACK);
                answer == right || (is_settling && answer.is_between(least, right))
            }
            None => false,
        };
        let said = sample.answer.map_or_else(|| "nothing".to_owned(), |answer| format!("{answer}"));
        let (step, place, pool, ms) = (self.step, place.name(), pool.name(), since.as_millis());
        (!is_fine).then(|| {
            format!("{step}: {place} got {said} for {pool} after {ms} ms, where it was {before} and has to be {right}")
        })
    }

    /// What is wrong with what a node says of itself.
    fn misstatement(&self, said: &Said) -> Option<String> {
        let (before, is) = (self.before.is_isolated(said.pop), self.world.is_isolated(said.pop));
        let limit = SHARED * (SILENT_AFTER + 1) + CARRIER + TOLD_AFTER + SLACK;
        let is_settling = before != is && said.at.saturating_duration_since(self.at) < limit;
        let word = if said.is_isolated { "that it is isolated" } else { "that it is not isolated" };
        let is_wrong = said.is_isolated != is && !is_settling;
        is_wrong.then(|| format!("{}: {} says {word}", self.step, POPS[said.pop]))
    }
}
