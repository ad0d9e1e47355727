//! Recording sessions as SIP shows them (RFC 7866) and what they tell of the sessions that are
//! recorded (RFC 7865).

pub mod metadata;
pub mod session;
