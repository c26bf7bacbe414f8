//! A list of prefixes: on each line a network and the place it is in, from the narrowest word to the widest.

use super::{Gazetteer, TooManyPlaces};
use crate::config::WORD_MAX;
use std::net::IpAddr;
use table::PlacesError;

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// Something else than text.
    #[error("the line is no text in UTF-8")]
    NoText,
    /// Something else than a network.
    #[error("`{0}` is no network: a line is PREFIX,PLACE, like 192.0.2.0/24,DE,continent:EU")]
    NoPrefix(String),
    /// A network that can't be in the map.
    #[error("{0}: {1}")]
    Network(String, #[source] PlacesError),
    /// No place.
    #[error("the network {0} is in no place: a line is PREFIX,PLACE, like 192.0.2.0/24,DE,continent:EU")]
    NoPlace(String),
    /// A word that is none.
    #[error("`{0}` is no place: it is a word of 1 to {WORD_MAX} octets, without spaces")]
    NoWord(String),
    /// More places than there may be.
    #[error(transparent)]
    TooManyPlaces(#[from] TooManyPlaces),
    /// Two things of one network.
    #[error("{0} is there before, in another place")]
    Twice(String),
}

/// Reads a list; the number of the line that is wrong, and what.
pub(super) fn read(octets: &[u8], into: &mut Gazetteer) -> Result<(), (usize, Fault)> {
    let text = std::str::from_utf8(octets).map_err(|error| {
        let before = &octets[..error.valid_up_to()];
        (before.iter().filter(|octet| **octet == b'\n').count() + 1, Fault::NoText)
    })?;
    for (number, line) in lines(text) {
        add(line, into).map_err(|fault| (number, fault))?;
    }
    let Some(twice) = into.networks.contradiction() else { return Ok(()) };
    let is_twice = |(_, line): &(usize, &str)| prefix(first_word(line)) == Some(twice);
    let (number, line) = lines(text).filter(is_twice).nth(1).unwrap_or((1, text));
    Err((number, Fault::Twice(first_word(line).to_owned())))
}

/// The lines that say something, with their numbers.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

fn first_word(line: &str) -> &str {
    line.split(',').next().unwrap_or_default().trim()
}

fn add(line: &str, into: &mut Gazetteer) -> Result<(), Fault> {
    let network = first_word(line);
    let (address, len) = prefix(network).ok_or_else(|| Fault::NoPrefix(network.to_owned()))?;
    let words = || line.split(',').skip(1).map(str::trim);
    if words().next().is_none() {
        return Err(Fault::NoPlace(network.to_owned()));
    }
    if let Some(word) = words().find(|word| !is_word(word)) {
        return Err(Fault::NoWord(word.to_owned()));
    }
    let place = into.place(words())?;
    into.add(address, len, place).map_err(|error| Fault::Network(network.to_owned(), error))
}

fn prefix(text: &str) -> Option<(IpAddr, u8)> {
    let (address, len) = text.split_once('/')?;
    Some((address.parse().ok()?, len.parse().ok()?))
}

/// Whether it can be the name of a place.
pub(crate) fn is_word(text: &str) -> bool {
    let is_fine = |c: char| !c.is_whitespace() && !c.is_control() && c != ',';
    !text.is_empty() && text.len() <= WORD_MAX && text.chars().all(is_fine)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn fault(text: &[u8]) -> Option<(usize, String)> {
        let wanted = ["DE", "FR"].map(str::to_owned);
        let mut gazetteer = Gazetteer::new(BTreeSet::from(wanted));
        read(text, &mut gazetteer).err().map(|(line, fault)| (line, fault.to_string()))
    }

    #[test]
    fn lines_that_say_something_and_others() {
        assert_eq!(
            fault(b"# of networks\n\n 10.0.0.0/8 , DE , continent:EU\r\n10.1.0.0/16,FR\n2001:db8::/32,DE"),
            None
        );
        assert_eq!(fault(b""), None);
        assert_eq!(fault(b"10.0.0.0/8,DE\n10.0.0.0/8,DE\n"), None, "it says nothing new");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, line, said) in [
            (&b"network,place\n"[..], 1, "`network` is no network"),
            (b"10.0.0.0/8,DE\n10.0.0.0,DE\n", 2, "`10.0.0.0` is no network"),
            (
                b"#\n10.0.0.1/8,DE\n",
                2,
                "10.0.0.1/8: it is no network: the address has bits behind the prefix",
            ),
            (b"10.0.0.0/33,DE\n", 1, "it is no network"),
            (b"\n\n10.0.0.0/8\n", 3, "the network 10.0.0.0/8 is in no place"),
            (b"10.0.0.0/8,DE,\n", 1, "`` is no place"),
            (b"10.0.0.0/8,New York\n", 1, "`New York` is no place"),
            (
                b"10.0.0.0/8,DE\n10.0.0.0/9,DE\n10.0.0.0/8,FR\n",
                3,
                "10.0.0.0/8 is there before, in another place",
            ),
            (b"10.0.0.0/8,DE\n11.0.0.0/8,\xff\n", 2, "the line is no text"),
        ] {
            let (found_line, found) = fault(text).unwrap();
            assert!(found_line == line && found.contains(said), "{line} {said}: {found_line} {found}");
        }
    }
}
