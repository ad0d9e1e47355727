//! Fuzzes what recordings leave on disks; see `sidetone::fuzz::recorder`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| sidetone::fuzz::recorder::ticket(data));
