//! MaxMind DB files with countries or cities.

use super::{Gazetteer, TooManyPlaces};
use maxminddb::{MaxMindDbError, Reader, WithinOptions};
use serde::Deserialize;
use std::collections::HashMap;
use table::{Place, PlacesError};

/// What is wrong with a database.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// It can't be read.
    #[error(transparent)]
    Format(#[from] MaxMindDbError),
    /// A network that can't be in the map.
    #[error(transparent)]
    Network(#[from] PlacesError),
    /// More places than there may be.
    #[error(transparent)]
    TooManyPlaces(#[from] TooManyPlaces),
    /// It is about something else.
    #[error("it knows no countries and no continents; it takes a database of countries or of cities")]
    NoCountries,
}

/// What is used of a record.
#[derive(Deserialize)]
struct Record<'r> {
    #[serde(borrow, default)]
    continent: Continent<'r>,
    #[serde(borrow, default)]
    country: Coded<'r>,
    /// Where the network is registered: all that is known of some.
    #[serde(borrow, default)]
    registered_country: Coded<'r>,
    /// From the widest to the narrowest.
    #[serde(borrow, default)]
    subdivisions: Vec<Coded<'r>>,
}

#[derive(Deserialize, Default)]
struct Continent<'r> {
    code: Option<&'r str>,
}

#[derive(Deserialize, Default)]
struct Coded<'r> {
    iso_code: Option<&'r str>,
}

impl Record<'_> {
    /// The words of its place, from the narrowest: parts of the country as ISO 3166-2 has them, the country, the continent.
    fn words(&self) -> Vec<String> {
        let country = self.country.iso_code.or(self.registered_country.iso_code);
        let parts = self.subdivisions.iter().rev().filter_map(|part| Some((country?, part.iso_code?)));
        let parts = parts.map(|(country, part)| format!("{country}-{part}"));
        let continent = self.continent.code.map(|code| format!("continent:{code}"));
        parts.chain(country.map(str::to_owned)).chain(continent).collect()
    }
}

/// Reads all networks of a database.
pub(super) fn read(octets: &[u8], into: &mut Gazetteer) -> Result<(), Fault> {
    let reader = Reader::from_source(octets)?;
    // By where their records stand: many networks have the same.
    let mut known: HashMap<usize, Place> = HashMap::new();
    let mut has_words = false;
    for network in reader.networks(WithinOptions::default())? {
        let network = network?;
        let Some(at) = network.offset() else { continue };
        let place = match known.get(&at) {
            Some(place) => *place,
            None => {
                let words = network.decode::<Record<'_>>()?.map(|record| record.words()).unwrap_or_default();
                has_words |= !words.is_empty();
                let place = into.place(words.iter().map(String::as_str))?;
                known.insert(at, place);
                place
            }
        };
        // What is in no place that anybody names needs no entry: networks of a database don't lie in each other.
        if place != 0 {
            let prefix = network.network()?;
            into.add(prefix.ip(), prefix.prefix(), place)?;
        }
    }
    if has_words { Ok(()) } else { Err(Fault::NoCountries) }
}
