//! Concealment of lost audio.
