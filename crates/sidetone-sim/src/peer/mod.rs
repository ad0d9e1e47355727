//! Scripted peers: user agents and RTP ends that a test tells what to do, message by message.

pub mod offer;
pub mod rtp;
pub mod sip;
pub mod sound;
