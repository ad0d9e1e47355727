//! The real driver: sockets, threads and the clock around the sans-IO machines.

pub mod clock;
pub mod media;
pub mod storage;
