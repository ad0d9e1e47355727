//! Tests: an RTP session in virtual time.
