//! Framing of SIP messages on a byte stream by Content-Length (RFC 3261 §18.3): wire format.
