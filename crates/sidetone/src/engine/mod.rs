//! The engine as one sans-IO machine: signalling, calls, and what they ask of media and storage.

pub(crate) mod agreement;
pub mod config;
pub mod core;
pub mod event;
pub mod io;
pub mod recording;
pub mod remote;
