//! A service desk: greets callers, lets them choose, holds them with music while agents ring, connects
//! them, and records both sides.
#![forbid(unsafe_code)]

pub mod agents;
pub mod desk;
pub mod settings;
