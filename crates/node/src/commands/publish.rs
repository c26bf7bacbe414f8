//! `starling ctl publish`: what came of a table that was published.

use crate::exit::Exit;
use crate::status::{PublishOutcome, PublishReport};
use std::io::{self, Write};

/// Prints what came of it.
pub(super) fn print(report: &PublishReport) -> io::Result<()> {
    let PublishReport { name, outcome, took_ms, durable, kept } = report;
    let mut out = io::stdout().lock();
    match outcome {
        PublishOutcome::Served { from_serial, serial, records, names, signed_by, .. } => {
            let from = from_serial.map_or_else(|| "none".to_owned(), |serial| serial.to_string());
            let by = signed_by.as_ref().map_or_else(String::new, |name| format!(", signed by {name}"));
            writeln!(
                out,
                "{name}: published, serial {from} -> {serial}, {records} records, {names} names, in {took_ms} ms{by}"
            )?;
            match (durable, kept) {
                (true, _) => Ok(()),
                (false, true) => {
                    writeln!(out, "  not yet on disk: a restart would begin with an earlier version")
                }
                (false, false) => {
                    writeln!(
                        out,
                        "  the node has no `state-dir`: after a restart it has to be published again"
                    )
                }
            }
        }
        PublishOutcome::Stopped { messages, .. } => {
            writeln!(out, "{name}: not published")?;
            messages.iter().try_for_each(|message| writeln!(out, "  {message}"))
        }
    }
}

/// What the command ends with; a table that isn't on disk is no success for who has waited for that.
pub(super) fn exit(report: &PublishReport, wants_durable: bool) -> Exit {
    match report.outcome {
        PublishOutcome::Served { .. } if report.durable || !wants_durable => Exit::Fine,
        PublishOutcome::Served { .. } | PublishOutcome::Stopped { .. } => Exit::Problem,
    }
}
