//! Overload: what is let in, what peers are told of it, and what we obey (RFC 7339, RFC 5390).

pub mod admission;
pub mod feedback;
pub mod precedence;
pub mod throttle;
