//! Calls: where signalling and media meet.

pub mod cause;
pub mod collect;
pub mod data;
pub mod details;
pub mod early;
pub(crate) mod info;
pub mod keys;
pub(crate) mod placement;
pub mod redirect;
pub mod transfer;
