//! The log of the control plane, on stderr. Packet threads don't log: they count.

use crate::cli::LogFormat;
use std::io::IsTerminal;
use tracing::Level;

/// Sends the log to stderr in this form.
pub(crate) fn start(format: LogFormat, level: Level) {
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(level)
        .with_target(false)
        // It would tell of a line that can't be written, on a full disk or to a reader who is gone, by a line to the same
        // place, and panic when that can't be written either.
        .log_internal_errors(false);
    match format {
        LogFormat::Human => builder.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}
