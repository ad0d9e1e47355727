//! Fuzzes look-ups of names; see `sidetone::fuzz::resolve`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| sidetone::fuzz::resolve::resolve(data));
