//! The data of records: one flat table of what each type is made of, and its three uses.
//!
//! [`fields`] describes every type with a presentation format as a row of fields. From that row the master
//! file reader turns text into wire form, [`display`] turns wire form into text, and [`validate`], [`names`]
//! and [`to_canonical`] walk the wire form. Data is always uncompressed, but where
//! [`from_message`] takes it out of a message. A type without a row is opaque: any
//! octets are good, and its text is that of RFC 3597 §5.
//!
//! Nothing here knows of zones, files or messages.

pub(crate) mod encoding;
mod fields;
pub(crate) mod loc;
mod message;
pub(crate) mod mnemonics;
mod names;
mod show;
pub(crate) mod svcb;
pub(crate) mod time;
mod validate;

#[cfg(test)]
mod tests;

pub use fields::{Field, NameForm, fields};
pub use message::from_message;
pub use names::{EmbeddedName, Names, names, to_canonical};
pub use show::{Display, display};
pub use time::Date;
pub use validate::{RdataError, validate};

/// The octets that this base64 text (RFC 4648 §4) stands for; `None` where it is none. For secrets in configurations.
pub fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut octets = Vec::new();
    let mut decoder = encoding::Base64Decoder::default();
    decoder.push(text, &mut octets).ok()?;
    decoder.finish().ok()?;
    Some(octets)
}

/// Octets as base64 text (RFC 4648 §4).
pub fn to_base64(octets: &[u8]) -> impl std::fmt::Display {
    encoding::Base64(octets)
}

/// Octets as base32hex text (RFC 4648 §7), in capitals and without padding.
pub(crate) fn to_base32hex(octets: &[u8]) -> impl std::fmt::Display {
    encoding::Base32Hex(octets)
}

/// The longest data of a record in octets (RFC 1035 §3.2.1: RDLENGTH has 16 bits).
pub const RDATA_MAX: usize = 65_535;
