//! Fuzzes metadata, messages and descriptions of recording sessions; see `sidetone::fuzz::siprec`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| sidetone::fuzz::siprec::recording_session(data));
