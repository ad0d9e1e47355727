//! Prompts: audio that is loaded once and played on any number of calls.

use std::path::Path;

use thiserror::Error;

use crate::engine::core::playing::Sound;
use crate::media::tone::Tone;
use crate::media::wav::{Clip, WavError};

/// Something that can be played: a recorded prompt or a tone. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Prompt(pub(crate) Sound);

impl Prompt {
    /// Reads a WAV file: any usual rate (4 to 192 kHz), mono or stereo, 16-bit PCM or G.711.
    ///
    /// Reads synchronously: load prompts before calls need them.
    ///
    /// # Errors
    /// The file cannot be read, or is not such a WAV file.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, PromptError> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|error| PromptError::Unreadable {
            path: path.display().to_string(),
            reason: error.to_string(),
        })?;
        Self::from_wav(&bytes).map_err(|error| match error {
            PromptError::Wav(error) => PromptError::Unusable {
                path: path.display().to_string(),
                error,
            },
            other => other,
        })
    }

    /// Takes the bytes of a WAV file.
    ///
    /// # Errors
    /// The bytes are not a WAV file of a supported kind.
    pub fn from_wav(bytes: &[u8]) -> Result<Self, PromptError> {
        Ok(Self(Sound::Clip(Clip::load(bytes)?)))
    }

    /// A tone: steady, or with a cadence such as ringback.
    pub fn tone(tone: Tone) -> Self {
        Self(Sound::Tone(Box::new(tone)))
    }
}

/// A prompt that cannot be loaded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PromptError {
    /// The file cannot be read.
    #[error("cannot read {path}: {reason}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// The file is not a WAV file of a supported kind.
    #[error("{path} is not a usable WAV file: {error}")]
    Unusable {
        /// The file.
        path: String,
        /// What is wrong with it.
        error: WavError,
    },
    /// The bytes are not a WAV file of a supported kind.
    #[error("not a usable WAV file: {0}")]
    Wav(#[from] WavError),
}
