//! Fuzzes SIP streams; see `sidetone::fuzz::sip`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| sidetone::fuzz::sip::stream(data));
