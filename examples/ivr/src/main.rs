//! An IVR: greets, collects digits, plays prompts.
#![forbid(unsafe_code)]
fn main() {}
