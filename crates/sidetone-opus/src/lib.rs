//! Opus (RFC 6716, RFC 7587) for Sidetone: libopus behind a safe wrapper.
//!
//! [`Opus`](codec::Opus) is what an engine is configured with; [`libopus`] is the wrapper that it stands
//! on, for programs that want stereo or the library's controls.
//!
//! ```
//! use std::sync::Arc;
//! use sidetone::engine::config::Config;
//! use sidetone_opus::codec::Opus;
//!
//! let mut config = Config::default();
//! config.codecs.insert(0, Arc::new(Opus::new()));
//! assert!(config.validate().is_ok());
//! ```
//!
//! libopus 1.6.1 comes as source with `opusic-sys` and is compiled at build time, which needs a C
//! compiler and cmake. This crate holds all of the `unsafe` that it takes, in [`libopus`].

pub mod codec;
pub mod fmtp;
pub mod libopus;
pub mod packet;
