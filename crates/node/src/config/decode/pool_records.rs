//! Decodes pools that zones bring along as TXT records.
//!
//! Each record is a key and its value, as `[[pool]]` has them: `kind = 'weighted'`, and for each endpoint one as
//! `endpoint = { name = 'fra1', address = '192.0.2.1' }`. They may come in any order, as records do.

use super::super::pool::PoolConfig;
use super::super::problem::Problem;
use super::{Section, pool, probe};
use toml::de::DeTable;
use wire::{Name, NameBuf};

/// Reads pools from records. What checks of many have in common is read once.
pub(crate) struct PoolReader {
    around: probe::Around<'static>,
}

impl PoolReader {
    /// Nothing was read yet.
    pub(crate) fn new() -> PoolReader {
        PoolReader { around: probe::Around::foreign() }
    }

    /// The pool that records say; `owner` answers with it where they say no names, and it is called so. `zone` has them. What
    /// it is depends on others: [`PoolReader::settle`].
    ///
    /// # Errors
    /// All that is wrong with it, and what to do.
    pub(crate) fn read(
        &mut self,
        zone: Name<'_>,
        owner: &NameBuf,
        records: &[Vec<u8>],
    ) -> Result<PoolConfig, Vec<String>> {
        let text = joined(records).map_err(|error| vec![error])?;
        let mut problems = Vec::new();
        let (document, errors) = DeTable::parse_recoverable(&text);
        for error in &errors {
            let place = error.span().and_then(|place| text.get(place)).unwrap_or_default();
            let title = format!("this is not TOML: {} at `{}`", error.message(), shortened(place));
            problems
                .push(Problem::general(title, "each record is a key and its value, as `kind = 'weighted'`"));
        }
        if problems.is_empty() {
            let mut section = Section::new("the pool's records", document.get_ref(), document.span());
            let names = match section.has("names") {
                true => pool::names(&mut section, &mut problems),
                false => vec![owner.clone()],
            };
            let name = owner.to_string().trim_end_matches('.').to_owned();
            let zone = Some(NameBuf::from(zone));
            let decoded = pool::called(section, name, names, zone, &mut self.around, &mut problems);
            if let Some((pool, _)) = decoded.filter(|_| problems.is_empty()) {
                return Ok(pool);
            }
        }
        Err(problems.iter().map(ToString::to_string).collect())
    }

    /// What the pools of a zone are together, in their order: one may stand within another.
    ///
    /// # Errors
    /// For each pool, why it can't be, and what to do.
    pub(crate) fn settle(pools: Vec<PoolConfig>) -> Vec<Result<PoolConfig, Vec<String>>> {
        pool::settled(pools)
    }
}

/// The records as one text.
fn joined(records: &[Vec<u8>]) -> Result<String, String> {
    let (mut endpoints, mut others) = (Vec::new(), Vec::new());
    for record in records {
        let text = std::str::from_utf8(record).ok().map(str::trim);
        // A header would take those that follow into its table, and what follows is as it comes.
        let text = text.filter(|text| !text.starts_with('[') && !text.contains(char::is_control));
        let Some(text) = text else {
            let shown = String::from_utf8_lossy(record);
            return Err(format!(
                "`{}` is no key with its value: write `kind = 'weighted'`",
                shortened(&shown)
            ));
        };
        match endpoint(text) {
            Some(endpoint) => endpoints.push(endpoint),
            None => others.push(text),
        }
    }
    // However they come, it is one pool.
    endpoints.sort_unstable();
    others.sort_unstable();
    let mut text = others.join("\n");
    if !endpoints.is_empty() {
        text.push_str("\nendpoint = [\n");
        endpoints.iter().for_each(|endpoint| text.extend([endpoint, ",\n"]));
        text.push_str("]\n");
    }
    Ok(text)
}

/// The endpoint that a record says.
fn endpoint(text: &str) -> Option<&str> {
    let value = text.strip_prefix("endpoint")?.trim_start().strip_prefix('=')?.trim_start();
    value.starts_with('{').then_some(value)
}

/// The beginning of a text.
fn shortened(text: &str) -> &str {
    const LEN: usize = 40;
    text.char_indices().nth(LEN).map_or(text, |(end, _)| &text[..end])
}
