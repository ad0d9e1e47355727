//! Fuzzes subscriptions, publications and messages; see `sidetone::fuzz::event`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| sidetone::fuzz::event::server(data));
