//! Who may publish tables that are compiled elsewhere.

use crate::shipping::PublicKey;

/// The most `[[publisher]]`: one for each machine that compiles, and their successors.
pub(crate) const PUBLISHERS_MAX: usize = 256;

/// Somebody who signs tables.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Publisher {
    /// What it is called in the configuration and in messages.
    pub(crate) name: String,
    /// What its signatures are verified with.
    pub(crate) key: PublicKey,
}
