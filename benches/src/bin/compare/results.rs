//! Figures: what was measured, and what follows from several rounds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::peers::Server;
use crate::workloads::Workload;

/// One figure of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Metric {
    /// Answers a second with more offered than it can answer.
    AnswersPerS,
    /// CPU time of the server for an answer, then.
    CpuNs,
    /// The part of it in user space.
    UserNs,
    /// The part of it in the kernel.
    SystemNs,
    /// What the kernel's own threads took to receive for it, where there are any; a part of `CpuNs`.
    ReceiveNs,
    /// CPU time for an answer, over that of the reflector in the same round.
    ToFloor,
    /// CPU time for an answer, over that of the best peer on sockets in the same round.
    ToBest,
    /// CPU time for an answer at the steady load.
    SteadyCpuNs,
    /// Half of the answers took less than this at the steady load.
    MedianUs,
    /// 99 of 100 answers took less than this at the steady load.
    NinetyNineUs,
    /// Of a hundred queries, those without an answer at the steady load.
    LostPercent,
    /// Answers a second with twice of what it can answer, over what it can answer.
    OverloadShare,
    /// Half of the answers took less than this with twice of what it can answer.
    OverloadMedianMs,
    /// Answers a second by dnsperf.
    DnsperfPerS,
    /// Resident memory.
    MemoryMib,
    /// Resident memory for a record.
    RecordOctets,
    /// From its start to an answer for every zone.
    StartS,
    /// The same from what it kept of a run before.
    RestartS,
    /// From the command to the first answer from the new zone, at the reload's load.
    ReloadS,
    /// Of a hundred queries, those without an answer during a reload.
    ReloadLostPercent,
    /// The longest silence during a reload.
    ReloadSilenceMs,
    /// The most memory during a reload.
    ReloadPeakMib,
}

/// Something that has to be known when a figure is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Remark {
    /// The server had time to spare: the generator was the limit of what it answered.
    FloodLimited,
    /// The server had time to spare although more was offered than it answered.
    Idle,
    /// Others had the CPUs for a part of the time.
    Disturbed,
    /// Twice the capacity could not be offered.
    OverloadLimited,
    /// The steady generator left queries out.
    SteadyBehind,
    /// Others had the CPUs for a part of the time at the steady load.
    SteadyDisturbed,
    /// dnsperf had no time to spare, and the server had.
    DnsperfLimited,
    /// Answers differ from those of the first server.
    AnswersDiffer,
    /// The new zone was not seen in time.
    ReloadUnseen,
}

/// What one round has given for one server and workload.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    /// The figures.
    pub(crate) figures: BTreeMap<Metric, f64>,
    /// What has to be known about them.
    pub(crate) remarks: Vec<Remark>,
}

impl Sample {
    pub(crate) fn set(&mut self, metric: Metric, value: f64) {
        self.figures.insert(metric, value);
    }

    pub(crate) fn remark(&mut self, remark: Remark) {
        if !self.remarks.contains(&remark) {
            self.remarks.push(remark);
        }
    }
}

/// A figure over the rounds; in a file the least, the median and the most.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "[f64; 3]", into = "[f64; 3]")]
pub(crate) struct Figure {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl From<[f64; 3]> for Figure {
    fn from([low, median, high]: [f64; 3]) -> Self {
        Self { low, median, high }
    }
}

impl From<Figure> for [f64; 3] {
    fn from(figure: Figure) -> Self {
        [figure.low, figure.median, figure.high].map(rounded)
    }
}

/// The same with four digits: what follows changes from run to run, and would make files unreadable.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10_f64.powi(3 - value.abs().log10().floor() as i32);
    (value * scale).round() / scale
}

impl Figure {
    /// Of these values; none without any.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { median, low, high })
    }

    /// How far the rounds lie apart, in percent of the median.
    pub(crate) fn spread_percent(self) -> f64 {
        if self.median == 0.0 { 0.0 } else { (self.high - self.low) * 100.0 / self.median.abs() }
    }
}

/// All rounds of a server with a workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Outcome {
    /// With which.
    pub(crate) workload: Workload,
    /// Which.
    pub(crate) server: Server,
    /// How many rounds gave figures.
    pub(crate) rounds: u32,
    /// What has to be known about them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) remarks: Vec<Remark>,
    /// The figures.
    pub(crate) figures: BTreeMap<Metric, Figure>,
}

/// The samples of all rounds, by workload, server and round.
#[derive(Default)]
pub(crate) struct Collected {
    samples: BTreeMap<(Workload, Server), BTreeMap<u32, Sample>>,
}

impl Collected {
    pub(crate) fn add(&mut self, workload: Workload, server: Server, round: u32, sample: Sample) {
        self.samples.entry((workload, server)).or_default().insert(round, sample);
    }

    /// Medians and spreads, with the ratios of each round.
    pub(crate) fn outcomes(&self) -> Vec<Outcome> {
        let outcome = |(&(workload, server), rounds): (&(Workload, Server), &BTreeMap<u32, Sample>)| {
            let mut values: BTreeMap<Metric, Vec<f64>> = BTreeMap::new();
            let mut remarks = Vec::new();
            for (round, sample) in rounds {
                for (metric, value) in &sample.figures {
                    values.entry(*metric).or_default().push(*value);
                }
                for (metric, ratio) in self.ratios(workload, server, *round, sample) {
                    values.entry(metric).or_default().push(ratio);
                }
                remarks.extend(&sample.remarks);
            }
            remarks.sort_unstable();
            remarks.dedup();
            let figures = values.into_iter();
            let figures =
                figures.filter_map(|(metric, values)| Some((metric, Figure::of(values)?))).collect();
            Outcome { workload, server, rounds: rounds.len() as u32, remarks, figures }
        };
        self.samples.iter().map(outcome).collect()
    }

    /// CPU time for an answer over that of the floor, and of the best peer, in the same round.
    fn ratios(&self, workload: Workload, server: Server, round: u32, sample: &Sample) -> Vec<(Metric, f64)> {
        let Some(own) = sample.figures.get(&Metric::CpuNs) else { return Vec::new() };
        let cost =
            |other: Server| self.samples.get(&(workload, other))?.get(&round)?.figures.get(&Metric::CpuNs);
        let peers = self.samples.keys().filter(|(with, peer)| *with == workload && peer.is_peer());
        let best = peers.filter(|(_, peer)| peer.is_on_sockets()).filter_map(|(_, peer)| cost(*peer));
        let best = best.copied().reduce(f64::min).filter(|_| server != Server::Reflector);
        let floor = cost(Server::Reflector).copied();
        let ratios = [(Metric::ToFloor, floor), (Metric::ToBest, best)].into_iter();
        ratios.filter_map(|(metric, base)| Some((metric, own / base.filter(|base| *base > 0.0)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(ns: f64) -> Sample {
        let mut sample = Sample::default();
        sample.set(Metric::CpuNs, ns);
        sample
    }

    #[test]
    fn figures_of_odd_and_even_rounds() {
        assert_eq!(Figure::of(vec![]), None);
        assert_eq!(Figure::of(vec![3.0, 1.0, 2.0]), Some(Figure { median: 2.0, low: 1.0, high: 3.0 }));
        let even = Figure::of(vec![4.0, 1.0, 2.0, 3.0]).unwrap();
        assert!((even.median - 2.5).abs() < 1e-9);
        assert!((even.spread_percent() - 120.0).abs() < 1e-9);
    }

    #[test]
    fn files_have_four_digits() {
        let written: [f64; 3] = Figure { low: 0.000_123_456, median: 1_234.56, high: 98_765_432.0 }.into();
        assert_eq!(written, [0.000_123_5, 1_235.0, 98_770_000.0]);
        assert_eq!(<[f64; 3]>::from(Figure { low: 0.0, median: 0.0, high: 0.0 }), [0.0; 3]);
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let mut collected = Collected::default();
        // A machine that is half as fast in the second round.
        for (round, factor) in [(0, 1.0), (1, 2.0)] {
            for (server, ns) in [
                (Server::Reflector, 100.0),
                (Server::Starling, 110.0),
                (Server::Nsd, 220.0),
                (Server::Gdnsd, 125.0),
                // The ceiling of AF_XDP is not what a server on sockets is compared with.
                (Server::KnotXdp, 60.0),
            ] {
                collected.add(Workload::Hot, server, round, cost(ns * factor));
            }
        }
        let outcomes = collected.outcomes();
        let starling = outcomes.iter().find(|outcome| outcome.server == Server::Starling).unwrap();
        let ratio = |metric| starling.figures[&metric];
        assert!((ratio(Metric::ToFloor).median - 1.1).abs() < 1e-9);
        assert!((ratio(Metric::ToBest).median - 0.88).abs() < 1e-9);
        assert!(ratio(Metric::ToFloor).spread_percent() < 1e-6);
        assert!(ratio(Metric::CpuNs).spread_percent() > 60.0);
        let floor = outcomes.iter().find(|outcome| outcome.server == Server::Reflector).unwrap();
        assert!(!floor.figures.contains_key(&Metric::ToBest));
    }

    #[test]
    fn a_round_without_a_floor_gives_no_ratio() {
        let mut collected = Collected::default();
        collected.add(Workload::Hot, Server::Reflector, 0, cost(100.0));
        collected.add(Workload::Hot, Server::Starling, 0, cost(110.0));
        collected.add(Workload::Hot, Server::Starling, 1, cost(500.0));
        let outcomes = collected.outcomes();
        let starling = outcomes.iter().find(|outcome| outcome.server == Server::Starling).unwrap();
        assert_eq!(starling.rounds, 2);
        let ratio = starling.figures[&Metric::ToFloor];
        assert!((ratio.high - 1.1).abs() < 1e-9, "{ratio:?}");
    }
}
