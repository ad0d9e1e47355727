//! Tests: what a receiver makes of sequence, loss and jitter.
