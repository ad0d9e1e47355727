//! RTP packets: a view over received bytes and a header to emit: wire format.
