//! The root zone as it was on some day, with queries that a root server got.

use std::fs;

use anyhow::{Context, Result};
use fastrand::Rng;
use starling_tests::tools::real_data;

use super::{Plan, TYPES};

/// The plan, or what is missing.
pub(super) fn plan(lots: &mut Rng) -> Result<Result<Plan, String>> {
    let (Some(zone), Some(queries)) = (real_data("root.zone"), real_data("root-queries.txt")) else {
        return Ok(Err(
            "there is no root.zone or root-queries.txt; STARLING_DATA names the folder".to_owned()
        ));
    };
    let read = |path: &std::path::Path| fs::read_to_string(path).with_context(|| path.display().to_string());
    let (zone, text) = (read(&zone)?, read(&queries)?);
    let mut queries: Vec<(String, u16)> = text.lines().filter_map(asked).collect();
    // In the order of capture the same client would ask many times in a row.
    lots.shuffle(&mut queries);
    Ok(Ok(Plan { zones: vec![(".".to_owned(), zone)], after: None, queries, signed: None }))
}

/// A line of the captured queries, if all generators can send it: they disagree about escapes and rare types, and
/// servers about ANY.
fn asked(line: &str) -> Option<(String, u16)> {
    let (name, mnemonic) = line.trim().split_once(' ')?;
    let (_, qtype) = TYPES.iter().find(|(known, _)| *known == mnemonic)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    let labels_fit = name.trim_end_matches('.').split('.').all(|label| (1..=63).contains(&label.len()));
    let good = name.len() <= 250 && name.chars().all(plain) && labels_fit;
    good.then(|| (format!("{}.", name.trim_end_matches('.')), *qtype))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_generators_read_alike() {
        assert_eq!(asked("www.example.com. MX"), Some(("www.example.com.".to_owned(), 15)));
        for line in ["a\\032b.example. A", "www.example. ANY", "a..b. A", ". NS", "one-word", ""] {
            assert_eq!(asked(line), None, "{line}");
        }
    }
}
