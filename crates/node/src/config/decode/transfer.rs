//! What is said about transfers, in `[transfer]` and in each `[[zone]]`.

use super::super::problem::Problem;
use super::super::transfer::{SECONDARIES_MAX, Secondary, TransferConfig};
use super::{Section, wrong_type};
use ipnet::IpNet;
use std::net::IpAddr;

const EXAMPLE: &str =
    "write addresses and prefixes, such as `secondaries = [\"192.0.2.7\", \"2001:db8::/64\"]`";

/// Decodes `[transfer]`.
pub(super) fn transfer(mut section: Section<'_, '_>, problems: &mut Vec<Problem>) -> TransferConfig {
    let mut transfer =
        TransferConfig { allow: secondaries("allow", &mut section, problems), ..TransferConfig::default() };
    if let Some(count) = section.integer("outgoing-max", 1..=10_000, problems) {
        transfer.outgoing_max = count as usize; // at most 10,000
    }
    section.finish(problems);
    transfer
}

/// Decodes a list of those who may transfer.
pub(super) fn secondaries(
    key: &'static str,
    section: &mut Section<'_, '_>,
    problems: &mut Vec<Problem>,
) -> Vec<Secondary> {
    let Some(value) = section.take(key) else { return Vec::new() };
    let Some(items) = value.get_ref().as_array() else {
        problems.push(wrong_type(value, key, "a list", EXAMPLE));
        return Vec::new();
    };
    if items.len() > SECONDARIES_MAX {
        let title = format!("{} entries are more than the {SECONDARIES_MAX} there may be", items.len());
        problems.push(Problem::at(
            value.span(),
            title,
            "this list",
            "write prefixes instead of single addresses",
        ));
        return Vec::new();
    }
    let mut secondaries = Vec::new();
    for item in items.iter() {
        let Some(text) = item.get_ref().as_str() else {
            problems.push(wrong_type(item, "a secondary", "text", EXAMPLE));
            continue;
        };
        match secondary(text) {
            Ok(secondary) if secondaries.contains(&secondary) => {
                let title = format!("`{text}` is in the list twice");
                problems.push(Problem::at(item.span(), title, "again here", "remove one of the two"));
            }
            Ok(secondary) => secondaries.push(secondary),
            Err(help) => {
                let title = format!("`{text}` is neither an address nor a prefix");
                problems.push(Problem::at(item.span(), title, "this text", help));
            }
        }
    }
    secondaries
}

fn secondary(text: &str) -> Result<Secondary, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(Secondary { prefix: IpNet::from(address.to_canonical()) });
    }
    let prefix = text.parse::<IpNet>().map_err(|_| EXAMPLE.to_owned())?;
    if prefix.trunc() != prefix {
        return Err(format!("bits are set behind the prefix; write \"{}\"", prefix.trunc()));
    }
    Ok(Secondary { prefix })
}
