//! Fuzzes answers of time-stamping authorities; see `sidetone::fuzz::recorder`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| sidetone::fuzz::recorder::time_stamp(data));
