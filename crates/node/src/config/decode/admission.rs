//! What versions have to pass: in `[admission]` for all zones, in `[zone.admission]` for one.

use super::super::admission::{AdmissionConfig, COMMAND_TIMEOUT_MAX, ZonemdPolicy};
use super::super::problem::Problem;
use super::{Section, Value, wrong_type};
use std::time::Duration;

/// The most words of a command.
const WORDS_MAX: usize = 64;

/// Reads what a section says, and leaves the rest as it is.
pub(super) fn settings(
    mut section: Section<'_, '_>,
    config: &mut AdmissionConfig,
    problems: &mut Vec<Problem>,
) {
    let words = [
        ("verify", ZonemdPolicy::Verify),
        ("require", ZonemdPolicy::Require),
        ("ignore", ZonemdPolicy::Ignore),
    ];
    if let Some(policy) = section.choice("zonemd", "way to treat ZONEMD records", &words, problems) {
        config.zonemd = policy;
    }
    if let Some(flag) = section.flag("signatures", problems) {
        config.signatures = flag;
    }
    // Ten years: no signature is valid for longer.
    if let Some(seconds) = section.integer("signatures-left-min-s", 0..=315_360_000, problems) {
        config.signatures_left_min = Duration::from_secs(seconds);
    }
    if let Some(flag) = section.flag("apex-sets", problems) {
        config.apex_sets = flag;
    }
    if let Some(percent) = section.integer("shrink-max-percent", 0..=100, problems) {
        config.shrink_max_percent = percent as u8; // at most 100
    }
    if let Some(flag) = section.flag("serial-forward", problems) {
        config.serial_forward = Some(flag);
    }
    if let Some(value) = section.take("command") {
        config.command = command(value, problems);
    }
    let timeout_ms = 1..=COMMAND_TIMEOUT_MAX.as_millis() as u64;
    if let Some(ms) = section.integer("command-timeout-ms", timeout_ms, problems) {
        config.command_timeout = Duration::from_millis(ms);
    }
    section.finish(problems);
}

/// A program by its whole path, and arguments; an empty list for none.
fn command(value: &Value<'_>, problems: &mut Vec<Problem>) -> Vec<String> {
    const HELP: &str = "write `command = [\"/usr/local/bin/check-zone\", \"--strict\"]`, the program by its whole path; it gets \
                        the zone's name, the serial that is served, the new serial and a master file as further arguments";
    let items = value.get_ref().as_array().filter(|items| items.len() <= WORDS_MAX);
    let words: Option<Vec<String>> =
        items.and_then(|items| items.iter().map(|item| Some(item.get_ref().as_str()?.to_owned())).collect());
    let Some(words) = words else {
        problems.push(wrong_type(value, "command", "a list of at most 64 words", HELP));
        return Vec::new();
    };
    if words.first().is_some_and(|program| !program.starts_with('/')) {
        problems.push(Problem::at(
            value.span(),
            "the command's program has no whole path",
            "this command",
            HELP,
        ));
        return Vec::new();
    }
    words
}
