//! An IVR: greets, collects digits, plays prompts.
fn main() {}
