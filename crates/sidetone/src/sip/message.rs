//! SIP messages: parsing into byte ranges and serialising (RFC 3261 §7): wire format.
