//! SDP (RFC 8866) and its offer/answer model (RFC 3264).

pub mod attribute;
pub mod crypto;
pub mod extension;
pub mod negotiate;
pub(crate) mod pass;
pub mod session;
