//! Fuzzes a bridge that passes packets on; see `sidetone::fuzz::relay`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| sidetone::fuzz::relay::relay(data));
