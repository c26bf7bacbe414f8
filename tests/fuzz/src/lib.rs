//! The bodies of the fuzz targets: what is done with any octets, and what must hold.
//!
//! They are plain functions that panic when something doesn't hold, so that corpora and mutations are replayed in
//! the ordinary test run too, by `replay.rs`.

mod fixtures;
mod image;
mod journal;
mod master;
mod message;
mod reply;
mod said;
mod seeds;
#[path = "../../property/signing.rs"]
mod signing;
mod transfer;

/// Any octets as a query.
pub fn message(octets: &[u8]) {
    message::run(octets);
}

/// Any text as a master file.
pub fn master(octets: &[u8]) {
    master::run(octets);
}

/// Any octets as an answer table.
pub fn image(octets: &[u8]) {
    image::run(octets);
}

/// Any octets as what a primary sends.
pub fn transfer(octets: &[u8]) {
    transfer::run(octets);
}

/// Any octets as the journal of a zone.
pub fn journal(octets: &[u8]) {
    journal::run(octets);
}

/// Any octets as what an endpoint of a pool, or its agent, says.
pub fn said(octets: &[u8]) {
    said::run(octets);
}

/// Inputs of a target that code makes.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    seeds::of(target)
}
