//! Conversion between the voice sample rates.
