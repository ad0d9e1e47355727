//! Sidetone is a real-time media and telephony engine: SIP signalling, RTP media, mixing, call
//! recording, and the primitives that an IVR and an agent bridge need.
//!
//! Every protocol machine is sans-IO: bytes and `now` go in, outputs are polled.
#![forbid(unsafe_code)]

pub mod call;
pub mod engine;
pub mod face;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod id;
pub mod media;
#[cfg(feature = "net")]
pub mod net;
pub mod rng;
pub mod rtp;
pub mod sdp;
pub mod sip;
pub mod time;

/// The programs of the README and the guide, compiled with the documentation's tests.
#[cfg(all(doctest, feature = "net"))]
#[doc = include_str!("../../../README.md")]
#[doc = include_str!("../../../docs/guide.md")]
pub struct Documents;
