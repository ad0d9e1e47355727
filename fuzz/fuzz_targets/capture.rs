//! Fuzzes captures; see `sidetone_sim::fuzz`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| sidetone_sim::fuzz::capture(data));
