//! What a version of a zone has to pass before it is served.

use std::time::Duration;

/// The longest a command may take: the keeper does nothing else meanwhile.
pub(crate) const COMMAND_TIMEOUT_MAX: Duration = Duration::from_secs(3600);

/// What is looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct AdmissionConfig {
    /// What is made of ZONEMD records.
    pub(crate) zonemd: ZonemdPolicy,
    /// Whether signatures that are out of their time stop a version.
    pub(crate) signatures: bool,
    /// For how long they have to be valid still.
    pub(crate) signatures_left_min: Duration,
    /// Whether NS and DNSKEY have to stay at the apex once they are there.
    pub(crate) apex_sets: bool,
    /// By how many percent a zone may shrink; 100 is by any number.
    pub(crate) shrink_max_percent: u8,
    /// Whether the serial has to go forward; where nothing is said, for copies only.
    pub(crate) serial_forward: Option<bool>,
    /// The operator's own check: a program and its arguments; none if empty.
    pub(crate) command: Vec<String>,
    /// How long it may take.
    pub(crate) command_timeout: Duration,
}

/// What is made of ZONEMD records (RFC 8976).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum ZonemdPolicy {
    /// Where there are any, the zone has to be what they say.
    #[default]
    Verify,
    /// There have to be some, too.
    Require,
    /// They are records like others.
    Ignore,
}

impl Default for AdmissionConfig {
    fn default() -> AdmissionConfig {
        AdmissionConfig {
            zonemd: ZonemdPolicy::default(),
            signatures: true,
            signatures_left_min: Duration::ZERO,
            apex_sets: true,
            // A zone that loses half of its records at once has lost its source far more often than its users. Lower would
            // stop cleanings-up, higher would let half a zone through.
            shrink_max_percent: 50,
            serial_forward: None,
            command: Vec::new(),
            // Reading a zone of a million records takes most tools seconds; all other reloads wait for it.
            command_timeout: Duration::from_secs(60),
        }
    }
}
