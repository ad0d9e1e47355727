//! Fuzzes payloads; see `sidetone::fuzz::codec`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| sidetone::fuzz::codec::payloads(data));
