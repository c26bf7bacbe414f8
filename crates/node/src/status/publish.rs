//! What is told about tables that are published.

use serde::{Deserialize, Serialize};

/// What came of `ctl publish`.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct PublishReport {
    /// The zone.
    pub(crate) name: String,
    /// What has become of the table.
    #[serde(flatten)]
    pub(crate) outcome: PublishOutcome,
    /// From the request until every worker answered from it, or it was stopped.
    pub(crate) took_ms: u64,
    /// Whether a restart would begin with it, by now.
    pub(crate) durable: bool,
    /// Whether there is a state folder, so that it gets durable.
    pub(crate) kept: bool,
}

/// What has become of a table that was published.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(tag = "outcome", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub(crate) enum PublishOutcome {
    /// It is served.
    Served {
        /// What was served before, if anything was.
        from_serial: Option<u32>,
        /// What is served now.
        serial: u32,
        /// Its records.
        records: u64,
        /// Its names.
        names: u64,
        /// The digest of its records.
        content: String,
        /// The publisher who has signed it, where one has to.
        signed_by: Option<String>,
    },
    /// A rule of admission has stopped it.
    Stopped {
        /// Its serial.
        serial: u32,
        /// Why, a line each.
        messages: Vec<String>,
    },
}
