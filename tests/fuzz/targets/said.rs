//! Any octets as what an endpoint of a pool, or its agent, says.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| starling_fuzz::said(octets));
