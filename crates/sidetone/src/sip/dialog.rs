//! SIP dialog state (RFC 3261 §12).
