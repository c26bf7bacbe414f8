//! How the answers of pools are signed in zones that are.

use std::sync::Arc;
use zone::sign::PrivateKey;

/// The most keys of a zone: two of each algorithm while both algorithms and keys change.
pub(crate) const SIGNING_KEYS_MAX: usize = 8;
/// How long signatures are good where nothing is said, in seconds: a week, of which half is left when they are made
/// anew, so that whatever keeps that from happening can be mended after a weekend.
pub(crate) const VALIDITY_S: u32 = 7 * 86_400;
/// Answers may be kept for at most this part of the time that their signatures are good: half of it is left at worst,
/// and clocks differ.
const TTL_PART: u32 = 4;

/// What answers are signed with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SigningConfig {
    /// The keys; those that are in the zone sign.
    pub(crate) keys: Arc<[PrivateKey]>,
    /// How long signatures are good, in seconds.
    pub(crate) validity_s: u32,
}

impl SigningConfig {
    /// For how long answers may be kept, in seconds.
    pub(crate) fn ttl_max(&self) -> u32 {
        self.validity_s / TTL_PART
    }
}
