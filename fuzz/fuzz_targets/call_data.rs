//! Fuzzes call data, bodies of several parts and references; see `sidetone::fuzz::data`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| sidetone::fuzz::data::call_data(data));
