//! Where requests and responses go: Via, rport, Route and connections (RFC 3261 §18, RFC 3581).
