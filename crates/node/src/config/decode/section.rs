//! A table of the document, and what its keys say.

use super::super::problem::Problem;
use super::Value;
use std::num::NonZeroUsize;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::DeTable;

/// A table of the document, with the keys that were asked for.
pub(in super::super) struct Section<'d, 'i> {
    title: &'static str,
    table: &'d DeTable<'i>,
    place: Range<usize>,
    known: Vec<&'static str>,
}

impl<'d, 'i> Section<'d, 'i> {
    pub(super) fn new(title: &'static str, table: &'d DeTable<'i>, place: Range<usize>) -> Section<'d, 'i> {
        Section { title, table, place, known: Vec::new() }
    }

    pub(in super::super) fn of(
        value: &'d Value<'i>,
        title: &'static str,
        problems: &mut Vec<Problem>,
    ) -> Option<Section<'d, 'i>> {
        match value.get_ref().as_table() {
            Some(table) => Some(Section::new(title, table, value.span())),
            None => {
                problems.push(wrong_type(
                    value,
                    title,
                    "a table",
                    "write its keys on lines of their own below it",
                ));
                None
            }
        }
    }

    /// Where the section stands.
    pub(in super::super) fn place(&self) -> Range<usize> {
        self.place.clone()
    }

    /// Whether a key is there.
    pub(in super::super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Makes a key known that nothing has asked for.
    pub(in super::super) fn know(&mut self, key: &'static str) {
        self.known.push(key);
    }

    /// A value that is true or false.
    pub(in super::super) fn flag(&mut self, key: &'static str, problems: &mut Vec<Problem>) -> Option<bool> {
        let value = self.take(key)?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            problems.push(wrong_type(value, key, "true or false", &format!("write `{key} = true`")));
        }
        flag
    }

    /// The value of a key, if it is there.
    pub(in super::super) fn take(&mut self, key: &'static str) -> Option<&'d Value<'i>> {
        self.known.push(key);
        self.table.get(key)
    }

    pub(in super::super) fn text(
        &mut self,
        key: &'static str,
        problems: &mut Vec<Problem>,
    ) -> Option<(&'d str, Range<usize>)> {
        let value = self.take(key)?;
        match value.get_ref().as_str() {
            Some(text) => Some((text, value.span())),
            None => {
                problems.push(wrong_type(value, key, "text", &format!("write `{key} = \"…\"`")));
                None
            }
        }
    }

    /// The place of a key's value, if it is there.
    pub(in super::super) fn place_of(&self, key: &str) -> Option<Range<usize>> {
        self.table.get(key).map(Spanned::span)
    }

    /// One of these words.
    pub(in super::super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        what: &str,
        words: &[(&str, T)],
        problems: &mut Vec<Problem>,
    ) -> Option<T> {
        let (text, place) = self.text(key, problems)?;
        let chosen = words.iter().find(|(word, _)| *word == text).map(|(_, chosen)| *chosen);
        if chosen.is_none() {
            let words: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            let help = format!("write {}", words.join(" or "));
            problems.push(Problem::at(place, format!("`{text}` is no {what}"), "this text", help));
        }
        chosen
    }

    pub(in super::super) fn required(
        &mut self,
        key: &'static str,
        example: &str,
        problems: &mut Vec<Problem>,
    ) -> Option<(&'d str, Range<usize>)> {
        if !self.table.contains_key(key) {
            let title = format!("{} has no `{key}`", self.title);
            let help = format!("add `{example}`");
            problems.push(Problem::at(self.place.clone(), title, "in this section", help));
        }
        self.text(key, problems)
    }

    pub(in super::super) fn path(
        &mut self,
        key: &'static str,
        folder: &Path,
        problems: &mut Vec<Problem>,
    ) -> Option<PathBuf> {
        let (text, place) = self.text(key, problems)?;
        if text.is_empty() {
            problems.push(Problem::at(
                place,
                format!("`{key}` is empty"),
                "here",
                "name a folder, or leave it out",
            ));
            return None;
        }
        Some(folder.join(text))
    }

    pub(in super::super) fn integer(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        problems: &mut Vec<Problem>,
    ) -> Option<u64> {
        let value = self.take(key)?;
        let (least, most) = (range.start(), range.end());
        let help = format!("give a number from {least} to {most}");
        let Some(number) = value.get_ref().as_integer() else {
            problems.push(wrong_type(value, key, "a whole number", &help));
            return None;
        };
        match u64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) if range.contains(&number) => Some(number),
            _ => {
                problems.push(Problem::at(
                    value.span(),
                    format!("`{key}` is out of range"),
                    "this number",
                    help,
                ));
                None
            }
        }
    }

    pub(super) fn count(
        &mut self,
        key: &'static str,
        range: RangeInclusive<usize>,
        problems: &mut Vec<Problem>,
    ) -> Option<NonZeroUsize> {
        let range = *range.start() as u64..=*range.end() as u64;
        self.integer(key, range, problems).and_then(|number| NonZeroUsize::new(number as usize))
    }

    /// Refuses every key that nothing asked for.
    pub(in super::super) fn finish(self, problems: &mut Vec<Problem>) {
        for key in self.table.keys() {
            let text: &str = key.get_ref();
            if self.known.contains(&text) {
                continue;
            }
            let help = match self.known.iter().find(|known| resembles(known, text)) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("{} may have {}", self.title, listed(&self.known)),
            };
            problems.push(Problem::at(key.span(), format!("unknown key `{text}`"), "this key", help));
        }
    }
}

pub(in super::super) fn wrong_type(value: &Value<'_>, what: &str, wanted: &str, help: &str) -> Problem {
    let found = value.get_ref().type_str();
    Problem::at(value.span(), format!("{what} must be {wanted}"), format!("this is of type {found}"), help)
}

fn listed(keys: &[&str]) -> String {
    keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}

/// Whether one was probably meant for the other: equal but for `-` and `_`, the case, a final `s`, or one
/// character more, less or other.
fn resembles(known: &str, text: &str) -> bool {
    let plain = |text: &str| text.to_ascii_lowercase().replace('_', "-").trim_end_matches('s').to_owned();
    let (a, b) = (plain(known), plain(text));
    if a == b {
        return true;
    }
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let prefix = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let suffix = a[prefix..].iter().rev().zip(b[prefix..].iter().rev()).take_while(|(x, y)| x == y).count();
    let left = a.len().max(b.len()) - prefix - suffix;
    left <= 1 || (left == 2 && a.len() == b.len()) // two in a row: swapped letters
}
