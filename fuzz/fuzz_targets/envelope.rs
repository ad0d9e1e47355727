//! Fuzzes what encrypted recordings are read from; see `sidetone::fuzz::recorder`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| sidetone::fuzz::recorder::envelope(data));
