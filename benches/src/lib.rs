//! Inputs that the benchmarks share.
#![forbid(unsafe_code)]
