//! Fuzzes RTP header extensions; see `sidetone::fuzz::rtp`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| sidetone::fuzz::rtp::extension(data));
