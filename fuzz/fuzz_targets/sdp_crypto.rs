//! Fuzzes crypto attributes; see `sidetone::fuzz::sdp`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| sidetone::fuzz::sdp::crypto(data));
