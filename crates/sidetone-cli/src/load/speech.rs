//! What the parties say: speech from files, encoded once for all of them.

use std::io;
use std::path::PathBuf;

use sidetone::media::frame::SampleRate;
use sidetone::media::wav::Clip;

use super::sdp::Format;

/// Samples of a frame of 20 ms at 8 kHz.
pub(super) const FRAME: usize = 160;

/// A loop of speech at 8 kHz, a whole number of frames long.
#[derive(Debug)]
pub(super) struct Speech {
    pub(super) samples: Vec<i16>,
}

impl Speech {
    /// Reads WAV files.
    pub(super) fn load(files: &[PathBuf]) -> io::Result<Self> {
        let mut samples = Vec::new();
        for file in files {
            let clip = Clip::read(&std::fs::read(file)?, SampleRate::HZ_8000);
            let clip =
                clip.map_err(|error| io::Error::other(format!("{}: {error}", file.display())))?;
            samples.extend_from_slice(clip.samples());
        }
        samples.truncate(samples.len() / FRAME * FRAME);
        if samples.is_empty() {
            return Err(io::Error::other("there is nothing to say"));
        }
        Ok(Self { samples })
    }

    pub(super) fn frames(&self) -> usize {
        self.samples.len() / FRAME
    }

    /// The payloads of the loop, a packet a frame.
    pub(super) fn encode(&self, format: Format) -> io::Result<Vec<Vec<u8>>> {
        let mut encoder = format.encoder()?;
        let mut buffer = [0; 1_400];
        let mut payloads = Vec::with_capacity(self.frames());
        for frame in self.samples.chunks_exact(FRAME) {
            let length = encoder
                .encode(frame, &mut buffer)
                .map_err(io::Error::other)?;
            payloads.push(buffer[..length].to_vec());
        }
        Ok(payloads)
    }
}
