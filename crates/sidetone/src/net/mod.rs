//! The real driver: sockets, threads and the clock around the sans-IO machines.

mod channel;
pub mod clock;
pub mod disk;
mod dns;
mod input;
pub mod media;
mod outbox;
mod signalling;
pub mod start;
pub mod storage;
pub mod store;
mod stream;
pub mod trust;
