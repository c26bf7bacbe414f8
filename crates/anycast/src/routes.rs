//! What the ladder needs of whoever holds the routes.

use crate::Rung;

/// A family of addresses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, in the order in which they are changed.
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// The word that metrics and the log use.
    pub fn word(self) -> &'static str {
        match self {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        }
    }
}

/// The routes of a node. An announced rung stands for one route a prefix, told apart by the rung's metric, so two rungs
/// can be held at once while one replaces the other; [`Rung::Down`] is never passed.
///
/// Every call is bounded in time and leaves either what was there or what was asked for. A family without prefixes
/// succeeds with nothing to do.
pub trait Routes {
    /// Why a change was not made.
    type Error: std::error::Error;

    /// Puts a rung's routes of a family there; a route that is there already is no error. After
    /// [`Routes::let_go`] this first makes anew what the routes hang on.
    fn add(&mut self, family: Family, rung: Rung) -> Result<(), Self::Error>;

    /// Takes a rung's routes of a family away; one that is not there is no error. What the routes hang on stays, the
    /// service addresses too: queries under way are still answered.
    fn remove(&mut self, family: Family, rung: Rung) -> Result<(), Self::Error>;

    /// Gives up what all routes hang on, service addresses included, without a way to fail: closing a descriptor. For
    /// when a route must go and [`Routes::remove`] doesn't do it.
    fn let_go(&mut self);
}
