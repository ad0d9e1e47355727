//! Logic of the fuzz targets, compiled with the crate so that it cannot rot.
//!
//! Each function takes arbitrary bytes and panics where a promise is broken.

pub mod sip;
