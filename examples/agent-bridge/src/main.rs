//! An IVR that connects callers with a pool of agents and records both sides.
#![forbid(unsafe_code)]
fn main() {}
