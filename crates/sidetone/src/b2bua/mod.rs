//! A back-to-back user agent as a policy over calls: whom to dial for a caller, and what is carried
//! through between the two (RFC 7092).

pub mod headers;
pub mod passage;
pub mod plan;
pub mod trunk;
