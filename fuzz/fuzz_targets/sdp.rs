//! Fuzzes session descriptions and their negotiation; see `sidetone::fuzz::sdp`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| sidetone::fuzz::sdp::offer_and_answer(data));
