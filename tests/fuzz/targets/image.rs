//! Any octets as an answer table.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| starling_fuzz::image(octets));
