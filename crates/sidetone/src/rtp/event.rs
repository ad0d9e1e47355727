//! The telephone-event payload (RFC 4733 §2.3): wire format.
