//! The offer/answer machine (RFC 3264).
