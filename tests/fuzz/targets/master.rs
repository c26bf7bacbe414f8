//! Any text as a master file.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| starling_fuzz::master(octets));
