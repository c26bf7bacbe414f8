//! The bodies of the fuzz targets: what is done with any octets, and what must hold.
//!
//! They are plain functions that panic when something doesn't hold, so that corpora and mutations are replayed in
//! the ordinary test run too.

pub mod fixtures;
pub mod image;
pub mod master;
pub mod message;
pub mod reply;
pub mod seeds;
#[path = "../../property/signing.rs"]
pub mod signing;
