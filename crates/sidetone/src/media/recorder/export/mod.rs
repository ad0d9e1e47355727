//! Recordings in other formats: what was recorded as WAV read back and written as Ogg Opus or FLAC; and the formats that
//! are written live.

pub mod align;
pub mod clear;
pub mod flac;
pub mod ogg;
pub mod packets;
pub mod source;
pub mod wav;

use std::io;

use crate::media::codec::CodecError;
use crate::time::Duration;

/// How long a page of FLAC or Ogg is that is written live: what a file that grows lacks at most of what is not held
/// back.
pub const PAGE: Duration = Duration::from_millis(80);

/// Why a recording could not be exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The file is no recording of this engine.
    #[error("not a recording")]
    NotRecording,
    /// The recording is encrypted, and no key was given.
    #[error("encrypted, and not for anybody who was named")]
    Encrypted,
    /// The file could not be read, or the result not be written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The codec refused.
    #[error("the codec refused: {0}")]
    Codec(#[from] CodecError),
    /// The format cannot hold this recording: its channels, its rate or its length.
    #[error("the format cannot hold this: {0}")]
    Unsupported(&'static str),
}

#[cfg(test)]
mod tests;
