//! Fuzzes SRTP datagrams; see `sidetone::fuzz::srtp`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| sidetone::fuzz::srtp::datagram(data));
