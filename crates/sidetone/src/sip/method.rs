//! SIP request methods (RFC 3261 §7.1).
