//! Audio frames and sample rates.
