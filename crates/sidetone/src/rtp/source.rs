//! Source locking: which packets may belong to a stream, so that an outsider cannot hijack it.
