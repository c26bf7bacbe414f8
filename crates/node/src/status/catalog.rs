//! What is told about catalog zones that the node follows.

use serde::{Deserialize, Serialize};

/// A catalog in `ctl catalog status`.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct CatalogStatus {
    /// Its name.
    pub(crate) name: String,
    /// The serial of the version that was looked at.
    pub(crate) serial: Option<u32>,
    /// Why nothing of it is followed, and its members stay as they are.
    pub(crate) error: Option<String>,
    /// The zones that are here because of it.
    pub(crate) members: Vec<MemberStatus>,
    /// Those of them that it lists no longer, and that are served until somebody approves their removal.
    pub(crate) held: Vec<String>,
    /// What it lists and what is ignored.
    pub(crate) ignored: Vec<IgnoredStatus>,
}

/// A zone that a catalog has brought.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct MemberStatus {
    /// The zone.
    pub(crate) zone: String,
    /// Its label in the catalog.
    pub(crate) label: String,
    /// The groups that it is in.
    pub(crate) groups: Vec<String>,
    /// The template that it is made from.
    pub(crate) template: String,
}

/// What a catalog lists and what is ignored.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct IgnoredStatus {
    /// The zone.
    pub(crate) zone: String,
    /// Why.
    pub(crate) why: String,
}

/// A catalog in numbers, for `ctl status` and the metrics.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct CatalogCounts {
    /// Its name.
    pub(crate) name: String,
    /// Zones that are here because of it.
    pub(crate) members: usize,
    /// Removals that are held.
    pub(crate) held: usize,
    /// Zones that are ignored.
    pub(crate) ignored: usize,
    /// Whether it can be followed.
    pub(crate) is_good: bool,
}

impl From<&CatalogStatus> for CatalogCounts {
    fn from(catalog: &CatalogStatus) -> CatalogCounts {
        CatalogCounts {
            name: catalog.name.clone(),
            members: catalog.members.len(),
            held: catalog.held.len(),
            ignored: catalog.ignored.len(),
            is_good: catalog.error.is_none(),
        }
    }
}
