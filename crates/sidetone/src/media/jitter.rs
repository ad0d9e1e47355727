//! Jitter buffers: ordering received packets by RTP timestamp for playout.
