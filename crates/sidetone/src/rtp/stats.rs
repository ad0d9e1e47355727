//! Reception and transmission statistics (RFC 3550 §6.4, appendix A).
