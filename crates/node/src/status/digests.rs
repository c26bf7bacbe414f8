//! The versions of zones that answer, as nodes compare them.

use super::{ServedStatus, ZoneList, ZoneStatus};
use serde::{Deserialize, Serialize};

/// The version of a zone that answers, as nodes compare it.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ZoneDigest {
    /// The apex.
    pub(crate) name: String,
    /// The SOA record's serial.
    pub(crate) serial: u32,
    /// The digest of the records; equal ones are of the same zone.
    pub(crate) content: String,
    /// Since when it is served (RFC 3339).
    pub(crate) since: String,
    /// What was served before, the first first; the longer ago, the fewer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) earlier: Vec<EarlierVersion>,
}

/// A version of a zone that was served once.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct EarlierVersion {
    /// The SOA record's serial.
    pub(crate) serial: u32,
    /// From when on (seconds since 1970).
    pub(crate) from: u64,
    /// When another took its place (seconds since 1970).
    pub(crate) until: u64,
}

impl ZoneDigest {
    /// That of a zone, if a version of it is served.
    pub(crate) fn of(zone: &ZoneStatus) -> Option<ZoneDigest> {
        let ServedStatus { serial, content, since, earlier, .. } = zone.served.as_ref()?;
        let (name, content, since) = (zone.name.clone(), content.clone(), since.clone());
        Some(ZoneDigest { name, serial: *serial, content, since, earlier: earlier.clone() })
    }
}

/// How many zones a page of digests has: some 200 KB of JSON, as long as names are of the usual length, and at most a megabyte more where zones
/// change often.
pub(crate) const DIGESTS_MAX: usize = 1000;

/// A part of the versions that answer, of zones in the order of the configuration.
#[derive(Serialize, Deserialize, Clone, Default, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct DigestPage {
    /// The zones of this part that are served.
    pub(crate) zones: Vec<ZoneDigest>,
    /// Where the next part begins; nothing after the last.
    pub(crate) next: Option<usize>,
    /// Another number when zones have other places, so that parts don't belong together.
    #[serde(default)]
    pub(crate) order: u64,
}

impl DigestPage {
    /// The part that begins with the zone of this index.
    pub(crate) fn of(zones: &ZoneList, order: u64, from: usize) -> DigestPage {
        let end = from.saturating_add(DIGESTS_MAX);
        DigestPage {
            zones: zones.from(from).take(DIGESTS_MAX).filter_map(ZoneDigest::of).collect(),
            next: (end < zones.len()).then_some(end),
            order,
        }
    }
}
