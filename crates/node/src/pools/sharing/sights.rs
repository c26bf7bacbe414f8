//! What a node says that its checks see, and nothing else: neither what it remembers from an earlier run, nor what
//! others say.

use super::seal::{hexadecimal, octets};
use crate::config::{CheckId, SIGHTS_MAX};
use health::{LATE, Moment};
use pool::Health;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

/// What is looked at, on any node: an address, and how.
pub(crate) type Sight = (IpAddr, CheckId);

/// What a check of this node sees.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::pools) struct Sighting {
    /// Where.
    pub(in crate::pools) sight: Sight,
    /// What.
    pub(in crate::pools) health: Health,
    /// Since when.
    pub(in crate::pools) since: Moment,
    /// When it was looked at last.
    pub(in crate::pools) seen: Option<Moment>,
    /// How often it is looked at, and how long that takes at most.
    pub(in crate::pools) turn: Duration,
}

/// What a node has seen of an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    pub(super) health: Health,
    /// For how long it has been so, in milliseconds.
    pub(super) for_ms: u64,
    /// How long ago it was looked at, in milliseconds.
    pub(super) age_ms: Option<u64>,
}

/// Which process it is: two addresses may be of one.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[serde(try_from = "String", into = "String")]
pub(super) struct NodeId([u8; 16]);

impl NodeId {
    /// One that no other process has.
    pub(super) fn random() -> NodeId {
        NodeId(fastrand::u128(..).to_be_bytes())
    }
}

impl TryFrom<String> for NodeId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<NodeId, Self::Error> {
        octets(&text).map(NodeId).ok_or("a node's number has 32 hexadecimal digits")
    }
}

impl Serialize for CheckId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CheckId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<CheckId, D::Error> {
        let text = String::deserialize(deserializer)?;
        let id = octets(&text).map(CheckId);
        id.ok_or_else(|| serde::de::Error::custom("a check's number has 32 hexadecimal digits"))
    }
}

impl From<NodeId> for String {
    fn from(node: NodeId) -> String {
        hexadecimal(&node.0)
    }
}

/// A health, as it is written.
#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum Word {
    Up,
    Down,
    Unknown,
}

/// What is written.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Page {
    node: NodeId,
    seen: Vec<OfCheck>,
}

/// What one check sees at each address: what, for how long, and how long ago it looked.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct OfCheck {
    check: CheckId,
    addresses: Vec<(IpAddr, Word, u64, Option<u64>)>,
}

/// Writes down what this node sees now, [`SIGHTS_MAX`] addresses at most: the configuration has no more.
pub(super) fn write(node: NodeId, sightings: &[Sighting], now: Moment) -> serde_json::Result<String> {
    let mut by_check: BTreeMap<CheckId, BTreeMap<IpAddr, Seen>> = BTreeMap::new();
    for sighting in sightings.iter().take(SIGHTS_MAX) {
        let ((address, check), seen) = (sighting.sight, sighting.at(now));
        let entry = by_check.entry(check).or_default().entry(address).or_insert(seen);
        // Two pools look from two sources, or at two paces: there is trouble if one of them sees it.
        if seen.health == Health::Down {
            *entry = seen;
        }
    }
    let seen = by_check.into_iter().map(|(check, addresses)| {
        let addresses = addresses.into_iter();
        let addresses = addresses
            .map(|(address, seen)| (address, seen.health.into(), seen.for_ms, seen.age_ms))
            .collect();
        OfCheck { check, addresses }
    });
    serde_json::to_string(&Page { node, seen: seen.collect() })
}

/// Reads what another node has written.
///
/// # Errors
/// It is something else, or more than it may be.
pub(super) fn read(body: &[u8]) -> Result<(NodeId, HashMap<Sight, Seen>), String> {
    let page: Page = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let count: usize = page.seen.iter().map(|of_check| of_check.addresses.len()).sum();
    if count > SIGHTS_MAX {
        return Err(format!("it has {count} addresses, and there may be {SIGHTS_MAX}"));
    }
    let all = page.seen.into_iter().flat_map(|OfCheck { check, addresses }| {
        addresses.into_iter().map(move |(address, word, for_ms, age_ms)| {
            ((address, check), Seen { health: word.into(), for_ms, age_ms })
        })
    });
    Ok((page.node, all.collect()))
}

impl Sighting {
    /// What is seen at a moment. It is nothing, if the check has not looked for longer than it should.
    fn at(&self, now: Moment) -> Seen {
        let ms = |since| u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX);
        let is_late = self.seen.is_none_or(|seen| now.since(seen) > self.turn * 3 + LATE);
        Seen {
            health: if is_late { Health::Unknown } else { self.health },
            for_ms: ms(self.since),
            age_ms: self.seen.map(ms),
        }
    }
}

impl From<Health> for Word {
    fn from(health: Health) -> Word {
        match health {
            Health::Up => Word::Up,
            Health::Down => Word::Down,
            Health::Unknown => Word::Unknown,
        }
    }
}

impl From<Word> for Health {
    fn from(word: Word) -> Health {
        match word {
            Word::Up => Health::Up,
            Word::Down => Health::Down,
            Word::Unknown => Health::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn sighting(address: &str, health: Health, seen_s: Option<u64>) -> Sighting {
        let seen = seen_s.map(|seconds| Moment(SECOND * seconds as u32));
        let sight = (address.parse().unwrap(), CheckId([0xab; 16]));
        Sighting { sight, health, since: Moment(SECOND), seen, turn: SECOND }
    }

    fn said(sightings: &[Sighting], now_s: u32) -> HashMap<String, Seen> {
        let node = NodeId::random();
        let text = write(node, sightings, Moment(SECOND * now_s)).unwrap();
        let (by, seen) = read(text.as_bytes()).unwrap();
        assert_eq!(by, node);
        seen.into_iter().map(|((address, _), seen)| (address.to_string(), seen)).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let (up, down) =
            (sighting("192.0.2.1", Health::Up, Some(10)), sighting("::1", Health::Down, Some(9)));
        let said = said(&[up, down, sighting("192.0.2.3", Health::Unknown, None)], 10);
        let seen = |health, for_ms, age_ms| Seen { health, for_ms, age_ms };
        assert_eq!(said["192.0.2.1"], seen(Health::Up, 9000, Some(0)));
        assert_eq!(said["::1"], seen(Health::Down, 9000, Some(1000)));
        assert_eq!(said["192.0.2.3"], seen(Health::Unknown, 9000, None));
    }

    #[test]
    fn what_was_not_looked_at_for_long_is_not_known() {
        let up = [sighting("192.0.2.1", Health::Up, Some(10))];
        assert_eq!(said(&up, 13)["192.0.2.1"].health, Health::Up);
        assert_eq!(said(&up, 14)["192.0.2.1"].health, Health::Unknown);
    }

    #[test]
    fn of_two_that_look_at_one_address_the_one_with_trouble_is_believed() {
        let [up, down] = [Health::Up, Health::Down].map(|health| sighting("192.0.2.1", health, Some(9)));
        for both in [[up.clone(), down.clone()], [down, up]] {
            assert_eq!(said(&both, 10)["192.0.2.1"].health, Health::Down);
        }
    }

    #[test]
    fn what_is_told_has_bounds() {
        let numbered = |number: u32| {
            let address = IpAddr::from(number.to_be_bytes());
            let mut sighting = sighting("192.0.2.1", Health::Unknown, Some(u64::from(u32::MAX)));
            sighting.sight.0 = address;
            sighting
        };
        let all: Vec<Sighting> = (0..5000).map(numbered).collect();
        let text = write(NodeId::random(), &all, Moment(SECOND * u32::MAX)).unwrap();
        assert_eq!(read(text.as_bytes()).unwrap().1.len(), SIGHTS_MAX);
        assert!(text.len() < super::super::asking::ANSWER_LEN_MAX, "{}", text.len());
    }

    #[test]
    fn what_is_something_else_is_not_read() {
        let good =
            write(NodeId::random(), &[sighting("192.0.2.1", Health::Up, Some(1))], Moment(SECOND)).unwrap();
        assert!(read(good.as_bytes()).is_ok());
        for (what, instead) in [
            ("192.0.2.1", "192.0.2.1.1"),
            ("\"up\"", "\"great\""),
            ("\"up\",0", "\"up\",-1"),
            ("\"up\",0", "\"up\",99999999999999999999999999"),
            ("\"up\",0", "\"up\",1e300"),
            ("\"up\",0", "\"up\",\"0\""),
            ("\"node\":\"", "\"node\":\"0"),
            ("\"check\":\"", "\"check\":\"+"),
            ("\"seen\"", "\"saw\""),
            ("{", "["),
        ] {
            assert!(good.contains(what), "{what} in {good}");
            assert!(read(good.replacen(what, instead, 1).as_bytes()).is_err(), "{instead}");
        }
        for body in ["", "{}", "[[[[[[[[", "\0", "{\"node\":1,\"seen\":[]}"] {
            assert!(read(body.as_bytes()).is_err(), "{body}");
        }
        let deep = "[".repeat(500_000);
        assert!(read(deep.as_bytes()).is_err());
    }
}
