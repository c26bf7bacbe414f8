//! Copies of zones between nodes, and what decides when to make them.
//!
//! The secondary's side: [`refresh`] says when to ask the primaries and whom to transfer from, [`request`] writes the
//! questions and reads the short answers, [`incoming`] takes a transfer's messages apart and hands their records to a
//! [`zone::Gatherer`]. [`serial`] compares serials. The primary's side: [`outgoing`] makes the messages of a transfer and tells
//! secondaries of changes; [`journal`] keeps the differences of versions as octets of a file. [`catalog`] reads and writes lists of zones.
//! [`tsig`] verifies and signs.
//!
//! Everything here is pure: octets, numbers and moments in, decisions out. The crate opens no sockets, starts no tasks, reads no
//! clock and no files, and keeps no secrets in its errors. What it reads comes from a primary that may be broken or hostile:
//! nothing in it may panic, recurse or grow without a bound.

pub mod catalog;
pub mod incoming;
pub mod journal;
pub mod outgoing;
pub mod refresh;
pub mod request;
pub mod serial;
mod soa;
pub mod tsig;

pub use soa::Soa;
