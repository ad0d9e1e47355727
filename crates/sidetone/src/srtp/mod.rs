//! The secure real-time transport protocol: SRTP and SRTCP contexts (RFC 3711, 6188, 7714).

pub mod error;
mod hmac;
mod inbound;
mod kdf;
pub mod key;
mod outbound;
mod replay;
pub mod session;
pub mod stats;
pub mod suite;
mod transform;
