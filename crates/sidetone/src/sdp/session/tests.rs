//! Tests: session descriptions, read and printed.
