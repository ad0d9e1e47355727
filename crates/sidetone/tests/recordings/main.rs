//! Recordings on real file systems: killed processes, disks that make trouble, uploads and time stamps.
#![cfg(all(feature = "net", unix))]

mod expired;
mod exports;
mod killed;
mod spool;
mod stamped;
#[cfg(target_os = "linux")]
mod trouble;
mod uploaded;
