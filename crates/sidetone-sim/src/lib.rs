//! Deterministic simulator: virtual clock, virtual network, scripted peers.
