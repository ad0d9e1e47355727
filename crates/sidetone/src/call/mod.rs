//! Calls: where signalling and media meet.

pub mod cause;
pub mod collect;
pub(crate) mod info;
pub mod keys;
pub(crate) mod placement;
pub mod transfer;
