//! RTP and RTCP (RFC 3550, RFC 3551): wire formats and the machines above them.

pub mod burst;
pub mod event;
pub mod extension;
pub mod packet;
pub mod red;
pub mod rtcp;
pub mod session;
pub mod source;
pub mod stats;
