//! Any octets as the journal of a zone.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| starling_fuzz::journal(octets));
