//! The results as a table in Markdown: for people, and for a README.

use std::fmt::Write as _;

use crate::results::{Figure, Metric, Outcome, Remark};

/// A column: its title, its figure, and how that is written.
type Column = (&'static str, Metric, Form);

#[derive(Clone, Copy)]
enum Form {
    /// Divided by this, with so many decimals.
    Scaled(f64, usize),
    /// The same, with the spread over the rounds in percent.
    Spread(f64, usize),
}

/// What a query costs and how long it takes.
const SERVING: &[Column] = &[
    ("k answers/s", Metric::AnswersPerS, Form::Spread(1e3, 0)),
    ("CPU ns", Metric::CpuNs, Form::Spread(1.0, 0)),
    ("user ns", Metric::UserNs, Form::Scaled(1.0, 0)),
    ("system ns", Metric::SystemNs, Form::Scaled(1.0, 0)),
    ("receive ns", Metric::ReceiveNs, Form::Scaled(1.0, 0)),
    ("× floor", Metric::ToFloor, Form::Spread(1.0, 2)),
    ("× best peer", Metric::ToBest, Form::Spread(1.0, 2)),
    ("CPU ns at 60 %", Metric::SteadyCpuNs, Form::Scaled(1.0, 0)),
    ("median µs", Metric::MedianUs, Form::Scaled(1.0, 0)),
    ("99 % µs", Metric::NinetyNineUs, Form::Scaled(1.0, 0)),
    ("lost %", Metric::LostPercent, Form::Scaled(1.0, 2)),
    ("2 × load: answered", Metric::OverloadShare, Form::Spread(1.0, 2)),
    ("median ms", Metric::OverloadMedianMs, Form::Scaled(1.0, 1)),
    ("dnsperf k/s", Metric::DnsperfPerS, Form::Scaled(1e3, 0)),
];

/// What zones cost.
const HOLDING: &[Column] = &[
    ("MiB", Metric::MemoryMib, Form::Scaled(1.0, 0)),
    ("octets a record", Metric::RecordOctets, Form::Scaled(1.0, 0)),
    ("start s", Metric::StartS, Form::Spread(1.0, 2)),
    ("from image s", Metric::RestartS, Form::Spread(1.0, 2)),
    ("reload s", Metric::ReloadS, Form::Scaled(1.0, 2)),
    ("lost %", Metric::ReloadLostPercent, Form::Scaled(1.0, 2)),
    ("silence ms", Metric::ReloadSilenceMs, Form::Scaled(1.0, 1)),
    ("peak MiB", Metric::ReloadPeakMib, Form::Scaled(1.0, 0)),
];

/// Below this many records the memory of the program itself is all there is to see.
pub(crate) const RECORDS_MIN_FOR_OCTETS: u64 = 1_000;

/// Both tables of a workload, with what its marks mean.
pub(crate) fn of(title: &str, records: u64, outcomes: &[&Outcome]) -> String {
    let mut text = format!("\n### {title}\n\n");
    let tables = [SERVING, HOLDING].map(|columns| rows(columns, outcomes, records));
    text += &tables.into_iter().flatten().collect::<Vec<_>>().join("\n");
    for (remark, mark, meaning) in MARKS {
        if outcomes.iter().any(|outcome| outcome.remarks.contains(remark)) {
            // Writing to a String does not fail.
            let _ = write!(text, "\n{mark} {meaning}");
        }
    }
    text.trim_end().to_owned() + "\n"
}

const MARKS: &[(Remark, &str, &str)] = &[
    (
        Remark::FloodLimited,
        "(a)",
        "the generator was the limit: the server had time to spare, so it can answer more than that",
    ),
    (Remark::OverloadLimited, "(b)", "the generator could not offer twice of what the server answers"),
    (
        Remark::SteadyBehind,
        "(c)",
        "the steady generator did not keep up with six tenths; latency and loss are of a lower load",
    ),
    (Remark::DnsperfLimited, "(d)", "dnsperf was the limit"),
    (Remark::AnswersDiffer, "(e)", "its answers differ from those of the first server"),
    (
        Remark::Disturbed,
        "*",
        "others used the machine for more than a tenth of the time: it can answer more than that; CPU times hold",
    ),
    (
        Remark::Idle,
        "(f)",
        "more was offered than it answered, and yet it had time to spare: its queue does not hold bursts",
    ),
    (Remark::ReloadUnseen, "(g)", "the new zone was not seen in time"),
];

/// The figure that a remark is about.
fn about(remark: Remark) -> Metric {
    match remark {
        Remark::FloodLimited | Remark::Idle | Remark::Disturbed => Metric::AnswersPerS,
        Remark::OverloadLimited => Metric::OverloadShare,
        Remark::SteadyBehind | Remark::SteadyDisturbed => Metric::MedianUs,
        Remark::DnsperfLimited => Metric::DnsperfPerS,
        Remark::AnswersDiffer => Metric::CpuNs,
        Remark::ReloadUnseen => Metric::ReloadLostPercent,
    }
}

/// A table of those columns that have figures; none where none has.
fn rows(columns: &[Column], outcomes: &[&Outcome], records: u64) -> Option<String> {
    let shown = |metric: Metric| {
        let any = outcomes.iter().any(|outcome| outcome.figures.contains_key(&metric));
        any && (metric != Metric::RecordOctets || records >= RECORDS_MIN_FOR_OCTETS)
    };
    let columns: Vec<&Column> = columns.iter().filter(|(_, metric, _)| shown(*metric)).collect();
    let mut lines = vec![vec!["server".to_owned()], vec!["---".to_owned()]];
    for (title, _, _) in &columns {
        lines[0].push((*title).to_owned());
        lines[1].push("---:".to_owned());
    }
    for outcome in outcomes {
        let mut line = vec![outcome.server.to_string()];
        line.extend(columns.iter().map(|(_, metric, form)| cell(outcome, *metric, *form)));
        lines.push(line);
    }
    (!columns.is_empty()).then(|| aligned(&lines))
}

fn cell(outcome: &Outcome, metric: Metric, form: Form) -> String {
    let marks =
        MARKS.iter().filter(|(remark, _, _)| outcome.remarks.contains(remark) && about(*remark) == metric);
    let marks: String = marks.map(|(_, mark, _)| format!(" {mark}")).collect();
    let Some(figure) = outcome.figures.get(&metric) else { return format!("-{marks}") };
    written(*figure, form, outcome.rounds) + &marks
}

fn written(figure: Figure, form: Form, rounds: u32) -> String {
    match form {
        Form::Scaled(by, decimals) => format!("{:.decimals$}", figure.median / by),
        Form::Spread(by, decimals) if rounds > 1 => {
            format!("{:.decimals$} ±{:.0}%", figure.median / by, figure.spread_percent() / 2.0)
        }
        Form::Spread(by, decimals) => format!("{:.decimals$}", figure.median / by),
    }
}

/// Lines of a table with the columns below each other, which Markdown does not need and people do.
pub(crate) fn aligned(lines: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let lens = lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count());
        lens.max().unwrap_or(0)
    };
    let mut text = String::new();
    for line in lines {
        for (column, cell) in line.iter().enumerate() {
            let width = width(column);
            let padded = match (column, cell.as_str()) {
                (0, "---") => "-".repeat(width),
                (_, "---:") => "-".repeat(width - 1) + ":",
                (0, _) => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            };
            text += &format!("| {padded} ");
        }
        text += "|\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::Server;
    use crate::workloads::Workload;

    fn outcome(server: Server, median: f64, remarks: &[Remark]) -> Outcome {
        let figure = Figure { median, low: median * 0.9, high: median * 1.1 };
        Outcome {
            workload: Workload::Hot,
            server,
            rounds: 3,
            remarks: remarks.to_vec(),
            figures: [(Metric::AnswersPerS, figure), (Metric::RecordOctets, figure)].into(),
        }
    }

    #[test]
    fn one_line_a_server_and_no_empty_columns() {
        let outcomes = [
            outcome(Server::Reflector, 300_000.0, &[]),
            outcome(Server::Gdnsd, 2e5, &[Remark::FloodLimited]),
        ];
        let text = of("hot", 10, &outcomes.iter().collect::<Vec<_>>());
        assert!(text.starts_with("\n### hot\n\n| server    |  k answers/s |\n| --------- | -----"), "{text}");
        assert!(text.contains("| reflector |     300 ±10% |\n"), "{text}");
        assert_eq!(text.matches("| server").count(), 1, "{text}");
        assert!(text.contains("200 ±10% (a) |"), "{text}");
        assert!(text.contains("\n(a) the generator was the limit"), "{text}");
        assert!(!text.contains("octets a record"), "ten records say nothing about octets a record:\n{text}");
        assert!(!text.contains("dnsperf"), "{text}");
    }

    #[test]
    fn a_missing_figure_is_a_dash() {
        let mut without = outcome(Server::Nsd, 1.0, &[Remark::ReloadUnseen]);
        without.figures.remove(&Metric::AnswersPerS);
        assert_eq!(cell(&without, Metric::AnswersPerS, Form::Scaled(1.0, 0)), "-");
        assert_eq!(cell(&without, Metric::ReloadLostPercent, Form::Scaled(1.0, 0)), "- (g)");
    }

    #[test]
    fn one_round_has_no_spread() {
        let figure = Figure { median: 1.234, low: 1.0, high: 1.5 };
        assert_eq!(written(figure, Form::Spread(1.0, 2), 1), "1.23");
        assert_eq!(written(figure, Form::Spread(1.0, 2), 2), "1.23 ±20%");
    }

    #[test]
    fn columns_are_below_each_other() {
        let cells = |line: [&str; 2]| line.map(str::to_owned).to_vec();
        let text = aligned(&[cells(["server", "µs"]), cells(["---", "---:"]), cells(["a", "1,234"])]);
        assert_eq!(text, "| server |    µs |\n| ------ | ----: |\n| a      | 1,234 |\n");
    }
}
