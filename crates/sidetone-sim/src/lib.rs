//! Deterministic simulator: virtual clock, virtual network, scripted peers.
#![forbid(unsafe_code)]

pub mod disk;
pub mod engine;
pub mod executor;
pub mod network;
pub mod node;
pub mod peer;
pub mod seed;
pub mod sim;
pub mod trace;
