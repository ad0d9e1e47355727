//! SIP header fields: names, compact forms and typed values (RFC 3261 §20): wire format.
