//! Fuzzes the whole of signalling; see `sidetone::fuzz::signalling`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| sidetone::fuzz::signalling::signalling(data));
