//! Deterministic simulator: virtual clock, virtual network, scripted peers.
#![forbid(unsafe_code)]

mod executor;
pub mod network;
pub mod node;
pub mod peer;
pub mod seed;
pub mod sim;
pub mod trace;
