//! Fuzzes RTP sessions, source locks and DTMF receivers; see `sidetone::fuzz::rtp`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| sidetone::fuzz::rtp::machines(data));
