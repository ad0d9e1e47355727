//! WAV files: bounded reading and writing.
