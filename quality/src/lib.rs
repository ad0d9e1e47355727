//! The listening laboratory: recorded speech through the engine over impaired networks, in virtual
//! time, next to its peers on the same packets.
//!
//! `cargo xtask quality` runs all of it: this crate speaks, impairs and listens; a small script scores
//! the sounds with PESQ and PLCMOS; this crate writes the report.
#![forbid(unsafe_code)]

pub mod appendix;
pub mod clips;
pub mod format;
pub mod grid;
pub mod lab;
pub mod measure;
pub mod network;
pub mod plain;
pub mod run;
pub mod sound;
