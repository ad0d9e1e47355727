//! Fuzzes documents of event packages; see `sidetone::fuzz::event`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| sidetone::fuzz::event::document(data));
