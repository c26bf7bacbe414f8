//! Tables that are compiled on one machine and served on others: keys, what they sign, and how a node takes a table in.
//!
//! A signature stands in a file of its own, `TABLE.sig`, so that the table stays what every command reads. It is over a few
//! lines of text that name the zone, its serial and the digest of the image: who has one for another zone, or for an older
//! version, has nothing. The digest is verified over all of the image before anything is served of it.

mod intake;
mod key;
mod signature;

pub(crate) use intake::{IntakeError, Offer, take_in};
pub(crate) use key::{PublicKey, SigningKey, generate};
pub(crate) use signature::{Signature, path_for};
