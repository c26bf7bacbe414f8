//! Where clients are, for pools that answer with what is nearest: a file says of networks in which places they are.
//!
//! A place has words, from the narrowest to the widest: a country and its continent, say. Of those words only these are kept
//! that an endpoint names, so that networks between which nothing depends are one: the map is small, and answers hold for
//! large networks of clients.

mod mmdb;
mod prefixes;

pub(crate) use prefixes::is_word;

use crate::config::EndpointConfig;
use pool::Distance;
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use table::{Place, Places, PlacesBuilder, PlacesError};

/// The largest file that is read, in octets: ten times as large as the largest map of cities there is.
const FILE_LEN_MAX: u64 = 2 << 30;
/// The word by which an endpoint is for all places that have no nearer one.
pub(crate) const ANYWHERE: &str = "*";
/// What a place is called that has no word which an endpoint names.
const ELSEWHERE: &str = "elsewhere";

/// A map with the words of its places.
#[derive(Debug)]
pub(crate) struct Atlas {
    map: Arc<Places>,
    /// For each place, by number, its words, from the narrowest; the first place has none.
    words: Vec<Vec<String>>,
    /// The words that it was read for.
    wanted: BTreeSet<String>,
    /// Those of them that no network is in.
    unknown: Vec<String>,
    /// That of the file.
    digest: blake3::Hash,
}

impl PartialEq for Atlas {
    /// The rest follows.
    fn eq(&self, other: &Atlas) -> bool {
        (&self.digest, &self.wanted) == (&other.digest, &other.wanted)
    }
}

impl Eq for Atlas {}

impl std::fmt::Display for Atlas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [ipv4, ipv6] = self.map.range_counts();
        let (places, memory) = (self.words.len(), self.map.memory_bytes() >> 10);
        write!(f, "{places} places, {ipv4} ranges of IPv4 and {ipv6} of IPv6, {memory} KiB")
    }
}

/// Why there is no map.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AtlasError {
    /// The file can't be read.
    #[error("{path} can't be read: {source}", path = .0.display(), source = .1)]
    Unreadable(PathBuf, #[source] io::Error),
    /// It is a folder, a device or the like, or too large.
    #[error("{path} is no file of at most {FILE_LEN_MAX} octets", path = .0.display())]
    NoFile(PathBuf),
    /// A line of a list of prefixes is wrong.
    #[error("{path}:{line}: {fault}", path = .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong.
        fault: prefixes::Fault,
    },
    /// A MaxMind DB is wrong.
    #[error("{path} is no MaxMind DB that can be used: {fault}", path = .0.display(), fault = .1)]
    Database(PathBuf, #[source] mmdb::Fault),
}

impl Atlas {
    /// Reads a map: a MaxMind DB where the file's name ends so, else a list of prefixes. Of the words of places those count that
    /// are `wanted`.
    ///
    /// # Errors
    /// The file can't be read, or is no map.
    pub(crate) fn read(path: &Path, wanted: BTreeSet<String>) -> Result<Atlas, AtlasError> {
        let octets = file(path)?;
        let mut gazetteer = Gazetteer::new(wanted);
        if path.extension().is_some_and(|extension| extension == "mmdb") {
            mmdb::read(&octets, &mut gazetteer)
                .map_err(|fault| AtlasError::Database(path.to_owned(), fault))?;
        } else {
            prefixes::read(&octets, &mut gazetteer).map_err(|(line, fault)| AtlasError::Line {
                path: path.to_owned(),
                line,
                fault,
            })?;
        }
        let digest = blake3::hash(&octets);
        drop(octets);
        let Gazetteer { wanted, words, networks, .. } = gazetteer;
        let known: BTreeSet<&String> = words.iter().flatten().collect();
        let unknown = wanted.iter().filter(|word| !known.contains(word)).cloned().collect();
        Ok(Atlas { map: Arc::new(networks.finish()), words, wanted, unknown, digest })
    }

    /// The map.
    pub(crate) fn map(&self) -> &Arc<Places> {
        &self.map
    }

    /// Whether it has these words, as far as there are networks in them.
    pub(crate) fn has(&self, words: &BTreeSet<String>) -> bool {
        words.is_subset(&self.wanted)
    }

    /// Whether it is of the same file as another one, and has its words.
    pub(crate) fn is_as_good_as(&self, other: &Atlas) -> bool {
        self.digest == other.digest && self.has(&other.wanted)
    }

    /// Words that endpoints name and no network is in.
    pub(crate) fn unknown(&self) -> &[String] {
        &self.unknown
    }

    /// What a place is called.
    pub(crate) fn name(&self, place: usize) -> &str {
        self.words.get(place).and_then(|words| words.first()).map_or(ELSEWHERE, String::as_str)
    }

    /// For each place how far each endpoint is: those that name its narrowest word are nearest, then come those that name the next,
    /// then those for anywhere, and last all others. Of those that name the same word these are nearer that name it earlier.
    pub(crate) fn distances<'e>(
        &self,
        endpoints: impl Iterator<Item = &'e EndpointConfig> + Clone,
    ) -> Vec<Vec<Distance>> {
        let of_place = |words: &Vec<String>| {
            let distance = |endpoint: &EndpointConfig| {
                let position = |word: &str| endpoint.places.iter().position(|named| named == word);
                let named = words.iter().enumerate().find_map(|(level, word)| Some((level, position(word)?)));
                let anywhere = || match endpoint.places.is_empty() {
                    true => Some((words.len(), 0)),
                    false => Some((words.len(), position(ANYWHERE)?)),
                };
                let (level, position) = named.or_else(anywhere).unwrap_or((words.len() + 1, 0));
                // A place has some words, and an endpoint at most `PLACES_MAX` of them.
                (level.min(0xfe) << 8 | position.min(0xff)) as Distance
            };
            endpoints.clone().map(distance).collect()
        };
        self.words.iter().map(of_place).collect()
    }
}

/// The octets of a file.
fn file(path: &Path) -> Result<Vec<u8>, AtlasError> {
    let unreadable = |error| AtlasError::Unreadable(path.to_owned(), error);
    let found = std::fs::metadata(path).map_err(unreadable)?;
    // Whoever opens what is no file may have to wait for somebody else.
    if !found.is_file() || found.len() > FILE_LEN_MAX {
        return Err(AtlasError::NoFile(path.to_owned()));
    }
    let mut octets = Vec::with_capacity(found.len() as usize);
    let file = File::open(path).map_err(unreadable)?;
    file.take(FILE_LEN_MAX).read_to_end(&mut octets).map_err(unreadable)?;
    Ok(octets)
}

/// Numbers places as they come, and takes the networks that are in them.
struct Gazetteer {
    wanted: BTreeSet<String>,
    numbers: HashMap<Vec<String>, Place>,
    words: Vec<Vec<String>>,
    networks: PlacesBuilder,
}

/// There are more places than numbers for them.
#[derive(Debug, thiserror::Error)]
#[error("endpoints name so many places that there are more than 65,535 with different ones")]
pub(crate) struct TooManyPlaces;

impl Gazetteer {
    fn new(wanted: BTreeSet<String>) -> Gazetteer {
        let (nowhere, networks) = (Vec::new(), PlacesBuilder::default());
        Gazetteer { wanted, numbers: HashMap::from([(nowhere.clone(), 0)]), words: vec![nowhere], networks }
    }

    /// The place with these words, from the narrowest.
    fn place<'w>(&mut self, words: impl IntoIterator<Item = &'w str>) -> Result<Place, TooManyPlaces> {
        let words = words.into_iter().filter(|word| self.wanted.contains(*word));
        let words: Vec<String> = words.map(str::to_owned).collect();
        if let Some(number) = self.numbers.get(&words) {
            return Ok(*number);
        }
        let number = Place::try_from(self.words.len()).map_err(|_| TooManyPlaces)?;
        self.words.push(words.clone());
        self.numbers.insert(words, number);
        Ok(number)
    }

    fn add(&mut self, address: IpAddr, len: u8, place: Place) -> Result<(), PlacesError> {
        self.networks.add(address, len, place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Stands;

    fn atlas(text: &str, wanted: &[&str]) -> Atlas {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("places.csv");
        std::fs::write(&path, text).unwrap();
        Atlas::read(&path, wanted.iter().map(|word| (*word).to_owned()).collect()).unwrap()
    }

    fn endpoint(places: &[&str]) -> EndpointConfig {
        let places = places.iter().map(|word| (*word).to_owned()).collect();
        let stands = Stands::Addresses;
        EndpointConfig { name: "e".to_owned(), addresses: Vec::new(), stands, tier: 1, weight: 1, places }
    }

    #[test]
    fn the_narrowest_word_counts_and_then_the_order_of_the_endpoint() {
        let text = "10.0.0.0/8,DE,continent:EU\n11.0.0.0/8,ZA,continent:AF\n12.0.0.0/8,JP,continent:AS\n13.0.0.0/8,FR,continent:EU\n";
        let atlas = atlas(text, &["DE", "continent:EU", "continent:AF", "XX"]);
        assert_eq!(atlas.unknown(), ["XX"]);
        let endpoints = [
            endpoint(&["DE"]),
            endpoint(&["continent:EU", "continent:AF"]),
            endpoint(&["continent:AF"]),
            endpoint(&[]),
            endpoint(&["continent:AF", "*"]),
        ];
        let distances = atlas.distances(endpoints.iter());
        let of = |address: &str| &distances[usize::from(atlas.map().find(address.parse().unwrap()))];
        for (address, name, order) in [
            ("10.1.1.1", "DE", &[0, 1, 3, 4, 2][..]),
            ("11.1.1.1", "continent:AF", &[2, 4, 1, 3, 0]),
            ("12.1.1.1", "elsewhere", &[3, 4, 0, 1, 2]),
            ("13.1.1.1", "continent:EU", &[1, 3, 4, 0, 2]),
            ("127.0.0.1", "elsewhere", &[3, 4, 0, 1, 2]),
        ] {
            let mut found: Vec<usize> = (0..endpoints.len()).collect();
            found.sort_by_key(|index| of(address)[*index]);
            assert_eq!(found, order, "{address}");
            assert_eq!(atlas.name(usize::from(atlas.map().find(address.parse().unwrap()))), name);
        }
        // Those that are as near as one another.
        assert_eq!(of("11.1.1.1")[2], of("11.1.1.1")[4]);
    }

    #[test]
    fn words_that_nobody_names_divide_nothing() {
        let text = "10.0.0.0/9,DE,continent:EU\n10.128.0.0/9,FR,continent:EU\n";
        let atlas = atlas(text, &["continent:EU"]);
        assert_eq!(atlas.map().range_counts()[0], 3);
        assert_eq!(atlas.map().find_network("10.1.1.1".parse().unwrap(), |_, _| false), (1, 8));
    }
}
