//! Fuzzes the receive path from jitter buffer to frames; see `sidetone::fuzz::jitter`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| sidetone::fuzz::jitter::playout(data));
