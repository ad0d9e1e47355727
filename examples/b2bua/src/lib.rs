//! A back-to-back user agent: connects every caller to the configured places.
#![forbid(unsafe_code)]

pub mod router;
