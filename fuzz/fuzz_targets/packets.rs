//! Fuzzes the framing of Opus in recordings; see `sidetone::fuzz::recorder`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| sidetone::fuzz::recorder::packets(data));
