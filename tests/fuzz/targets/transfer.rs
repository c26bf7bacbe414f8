//! Any octets as what a primary sends.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| starling_fuzz::transfer(octets));
