//! A run of a service as text.

use super::service::{Service, TTL_S};
use std::fmt::Write as _;

/// From nothing to all.
const LEVELS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// How many seconds a column has.
const COLUMN_S: usize = 4 * TTL_S as usize;
/// The largest share that is shown.
const SHARE_SHOWN: f64 = 0.6;
/// A mark on the axis stands at every so many columns.
const MARK_COLUMNS: usize = 10;

/// For each endpoint its share of answers, and how much of it is used; what is more than can be shown is a `!`.
pub(crate) fn plot(service: &Service, names: &[&str]) -> String {
    let columns: Vec<_> = service.past.chunks(COLUMN_S).collect();
    let mut text = String::from("minute    ");
    for column in (0..columns.len()).step_by(MARK_COLUMNS) {
        let minute = (column * COLUMN_S / 60).to_string();
        let room = MARK_COLUMNS.min(columns.len() - column);
        let _ = write!(text, "{minute:<room$}");
    }
    for (index, name) in names.iter().enumerate() {
        let _ = write!(text, "\n{name}  share  ");
        text.extend(columns.iter().map(|column| {
            let mean = column.iter().map(|it| it.shares[index]).sum::<f64>() / column.len() as f64;
            level(mean / SHARE_SHOWN)
        }));
        text.push_str("\n   used   ");
        text.extend(columns.iter().map(|column| {
            let mean = column.iter().map(|it| it.used[index]).sum::<f64>() / column.len() as f64;
            level(mean)
        }));
    }
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n") + "\n"
}

/// The sign for a part of all.
fn level(part: f64) -> char {
    match (part * 8.0).round() as usize {
        eighths if part <= 1.0 => LEVELS[eighths.min(8)],
        _ => '!',
    }
}
