//! Recorders: tracks aligned by RTP time, written as stereo WAV.
