//! Fuzzes callers being connected; see `sidetone::fuzz::passage`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    sidetone::fuzz::passage::passage(data);
    sidetone::fuzz::passage::headers(data);
});
