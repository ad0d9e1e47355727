//! The face for integrators: asynchronous handles to engines, calls, rooms and what they play.
//!
//! The handles need no particular executor: the real driver runs flows on tokio, the simulator on
//! its own executor in virtual time.

pub mod bridge;
pub mod call;
pub(crate) mod callers;
mod data;
pub mod engine;
pub mod events;
pub mod fork;
pub mod forks;
pub mod hub;
pub mod link;
pub mod message;
pub mod news;
pub mod passage;
pub mod play;
pub mod prompt;
pub mod recording;
pub mod registration;
pub mod remote;
pub mod room;
pub mod spawn;
pub mod speech;
pub mod storage;
pub mod trunk;
pub mod watch;
