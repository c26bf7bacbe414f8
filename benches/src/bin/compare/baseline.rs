//! Results in a file, and the comparison with those of an earlier run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::results::{Figure, Metric, Outcome, Remark};
use crate::table;

/// What a run leaves behind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Baseline {
    /// Seconds of each measurement.
    pub(crate) seconds: f64,
    /// Rounds asked for.
    pub(crate) rounds: u32,
    /// What flooded the servers.
    pub(crate) flood: String,
    /// Seed of the workloads.
    pub(crate) seed: u64,
    /// The machine's load before the run, the least and the most before a measurement; ours is part of the latter.
    pub(crate) load: [f64; 3],
    /// Where it was measured.
    pub(crate) machine: Machine,
    /// Versions of the servers.
    pub(crate) versions: BTreeMap<String, String>,
    /// Records of the workloads.
    pub(crate) records: BTreeMap<String, u64>,
    /// The figures.
    pub(crate) outcome: Vec<Outcome>,
}

const HEADER: &str = "\
# Written by `scripts/bench --save`; `scripts/bench --against` compares a later run with it.
# Figures are the least, the median and the most over the rounds, in the unit that the key ends with.
";

impl Baseline {
    /// Writes it, at once.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let text = toml::to_string(self).context("results as TOML")?;
        let fresh = path.with_extension("fresh");
        fs::write(&fresh, HEADER.to_owned() + &text)
            .and_then(|()| fs::rename(&fresh, path))
            .with_context(|| format!("results can't be written to {}", path.display()))
    }

    /// Reads one.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("earlier results {}", path.display()))?;
        toml::from_str(&text)
            .with_context(|| format!("{} is no file that `scripts/bench --save` has written", path.display()))
    }
}

/// The figures that tell something on another day and another machine, too: ratios within a run, and memory.
const COMPARED: &[(&str, Metric)] = &[
    ("× floor", Metric::ToFloor),
    ("× best peer", Metric::ToBest),
    ("2 × load: answered", Metric::OverloadShare),
    ("octets a record", Metric::RecordOctets),
];

/// Changes are told from this part on where there is no spread to compare with: between runs on a shared machine the
/// same program differs by so much.
const CHANGE_MIN: f64 = 0.15;

/// What has changed since an earlier run, as a table; what is within the spread of either run is no change.
pub(crate) fn changes(before: &Baseline, now: &[Outcome]) -> String {
    let mut lines = vec![
        ["workload", "server", "figure", "before", "now", "change"].map(str::to_owned).to_vec(),
        ["---", "---", "---", "---:", "---:", "---:"].map(str::to_owned).to_vec(),
    ];
    let mut compared = 0;
    for outcome in now {
        let earlier = before.outcome.iter();
        let Some(earlier) =
            earlier.into_iter().find(|old| (old.workload, old.server) == (outcome.workload, outcome.server))
        else {
            continue;
        };
        let records = before.records.get(&outcome.workload.name()).copied().unwrap_or(0);
        let limited = [earlier, outcome].iter().any(|one| one.remarks.contains(&Remark::OverloadLimited));
        for (title, metric) in COMPARED {
            let of_the_program = *metric == Metric::RecordOctets && records < table::RECORDS_MIN_FOR_OCTETS;
            if of_the_program || (*metric == Metric::OverloadShare && limited) {
                continue;
            }
            let (Some(old), Some(new)) = (earlier.figures.get(metric), outcome.figures.get(metric)) else {
                continue;
            };
            compared += 1;
            if differs(*old, *new) {
                let change = (new.median / old.median - 1.0) * 100.0;
                lines.push(vec![
                    outcome.workload.name(),
                    outcome.server.to_string(),
                    (*title).to_owned(),
                    format!("{:.2}", old.median),
                    format!("{:.2}", new.median),
                    format!("{change:+.0} %"),
                ]);
            }
        }
    }
    let mut text = format!(
        "\n### Since {} ({}, kernel {})\n\n{compared} figures compared",
        before.machine.commit, before.machine.processor, before.machine.kernel
    );
    if lines.len() == 2 {
        text += "; none differs by more than the rounds do.\n";
    } else {
        // Writing to a String does not fail.
        let _ = write!(text, "; these differ by more than the rounds do:\n\n{}", table::aligned(&lines));
    }
    text
}

/// Whether neither lies within the rounds of the other, and they are a good part apart.
fn differs(old: Figure, new: Figure) -> bool {
    let apart = old.high < new.low || new.high < old.low;
    apart && (new.median - old.median).abs() > old.median.abs() * CHANGE_MIN
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::Server;
    use crate::workloads::Workload;

    fn figure(low: f64, median: f64, high: f64) -> Figure {
        Figure { low, median, high }
    }

    fn outcome(server: Server, floor: Figure) -> Outcome {
        Outcome {
            workload: Workload::Root,
            server,
            rounds: 3,
            remarks: Vec::new(),
            figures: [(Metric::ToFloor, floor)].into(),
        }
    }

    fn baseline(outcome: Vec<Outcome>) -> Baseline {
        Baseline {
            seconds: 2.0,
            rounds: 3,
            flood: "kxdpgun".to_owned(),
            seed: 53,
            load: [0.1, 0.2, 2.0],
            machine: Machine::here(),
            versions: [("nsd".to_owned(), "4.6.1".to_owned())].into(),
            records: [("root".to_owned(), 18_000)].into(),
            outcome,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("here.toml");
        let written = baseline(vec![outcome(Server::Nsd, figure(1.5, 1.75, 2.0))]);
        written.save(&path).unwrap();
        assert_eq!(Baseline::load(&path).unwrap(), written);
        fs::write(&path, "seconds = 1").unwrap();
        assert!(format!("{:#}", Baseline::load(&path).unwrap_err()).contains("is no file that"));
    }

    #[test]
    fn a_change_is_more_than_the_spread() {
        assert!(differs(figure(1.0, 1.1, 1.2), figure(1.3, 1.4, 1.5)));
        assert!(!differs(figure(1.0, 1.1, 1.35), figure(1.3, 1.4, 1.5)), "the rounds overlap");
        assert!(
            !differs(figure(1.0, 1.0, 1.0), figure(1.1, 1.1, 1.1)),
            "a tenth is within what runs differ by"
        );
        assert!(differs(figure(2.0, 2.1, 2.2), figure(1.0, 1.1, 1.2)), "less is a change as well");
    }

    #[test]
    fn only_what_both_have_is_compared() {
        let before = baseline(vec![outcome(Server::Nsd, figure(1.0, 1.0, 1.0))]);
        let now = [outcome(Server::Nsd, figure(2.0, 2.0, 2.0)), outcome(Server::Knot, figure(9.0, 9.0, 9.0))];
        let text = changes(&before, &now);
        assert!(text.contains("1 figures compared") && text.contains("+100 %"), "{text}");
        assert!(!text.contains("knot"), "{text}");
        assert!(changes(&before, &now[1..]).contains("none differs"), "nothing in common is no change");
    }

    #[test]
    fn what_a_generator_limited_is_not_compared() {
        let overload = |share, remarks: &[Remark]| {
            let mut one = outcome(Server::Nsd, figure(1.0, 1.0, 1.0));
            one.figures.insert(Metric::OverloadShare, figure(share, share, share));
            one.remarks = remarks.to_vec();
            one
        };
        let before = baseline(vec![overload(1.0, &[])]);
        assert!(changes(&before, &[overload(0.5, &[])]).contains("-50 %"));
        let text = changes(&before, &[overload(0.5, &[Remark::OverloadLimited])]);
        assert!(text.contains("1 figures compared; none differs"), "{text}");
    }
}
