//! Tests: messages parsed, typed, judged and built.
