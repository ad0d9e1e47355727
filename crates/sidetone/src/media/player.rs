//! Players: prompts and tones as sources of audio.
