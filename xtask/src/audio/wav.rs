//! WAV files: read what peers and recordings left, write what peers are to say.

use std::fs;
use std::io;
use std::path::Path;

use super::g711::Law;

/// A sound file in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wav {
    pub(crate) rate: u32,
    pub(crate) channels: Vec<Vec<i16>>,
}

impl Wav {
    /// A mono file at 8 kHz.
    pub(crate) fn mono(samples: Vec<i16>) -> Self {
        Self {
            rate: super::RATE as u32,
            channels: vec![samples],
        }
    }

    /// Reads PCM of 16 bits or G.711, also from a file whose header was never completed.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let bytes = fs::read(path)?;
        parse(&bytes).ok_or_else(|| {
            io::Error::other(format!(
                "{}: no WAV file that this program reads",
                path.display()
            ))
        })
    }

    /// Writes PCM of 16 bits.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let channels = self.channels.len() as u32;
        let frames = self.channels.first().map_or(0, Vec::len);
        let size = frames as u32 * channels * 2;
        let mut out = Vec::with_capacity(44 + size as usize);
        out.extend(b"RIFF");
        out.extend((36 + size).to_le_bytes());
        out.extend(b"WAVEfmt \x10\0\0\0\x01\0");
        out.extend((channels as u16).to_le_bytes());
        out.extend(self.rate.to_le_bytes());
        out.extend((self.rate * channels * 2).to_le_bytes());
        out.extend((channels as u16 * 2).to_le_bytes());
        out.extend(b"\x10\0data");
        out.extend(size.to_le_bytes());
        for frame in 0..frames {
            for channel in &self.channels {
                out.extend(channel.get(frame).copied().unwrap_or(0).to_le_bytes());
            }
        }
        fs::write(path, out)
    }

    /// One of its channels alone, silence where it has none.
    pub(crate) fn channel(&self, index: usize) -> Self {
        Self {
            rate: self.rate,
            channels: vec![self.channels.get(index).cloned().unwrap_or_default()],
        }
    }

    /// How long it lasts.
    pub(crate) fn seconds(&self) -> f64 {
        self.channels.first().map_or(0, Vec::len) as f64 / f64::from(self.rate.max(1))
    }
}

impl From<&[i16]> for Wav {
    fn from(samples: &[i16]) -> Self {
        Self::mono(samples.to_vec())
    }
}

impl From<&Vec<i16>> for Wav {
    fn from(samples: &Vec<i16>) -> Self {
        Self::mono(samples.clone())
    }
}

impl From<&Wav> for Wav {
    fn from(wav: &Wav) -> Self {
        wav.clone()
    }
}

struct Format {
    tag: u16,
    channels: usize,
    rate: u32,
    bits: u16,
}

fn parse(bytes: &[u8]) -> Option<Wav> {
    if bytes.get(..4)? != b"RIFF" || bytes.get(8..12)? != b"WAVE" {
        return None;
    }
    let mut format = None;
    let mut at = 12;
    while let Some(header) = bytes.get(at..at + 8) {
        let size = u32::from_le_bytes(header[4..].try_into().ok()?) as usize;
        let rest = &bytes[at + 8..];
        let body = &rest[..size.min(rest.len())];
        match &header[..4] {
            b"fmt " => format = parse_format(body),
            // A file that is still growing, or whose writer died, says zero.
            b"data" if size == 0 => return samples(&format?, rest),
            b"data" => return samples(&format?, body),
            _ => {}
        }
        at += 8 + size + size % 2;
    }
    None
}

fn parse_format(body: &[u8]) -> Option<Format> {
    let short = |at: usize| Some(u16::from_le_bytes(body.get(at..at + 2)?.try_into().ok()?));
    let tag = match short(0)? {
        0xFFFE => short(24)?,
        tag => tag,
    };
    let rate = u32::from_le_bytes(body.get(4..8)?.try_into().ok()?);
    Some(Format {
        tag,
        channels: usize::from(short(2)?),
        rate,
        bits: short(14)?,
    })
}

fn samples(format: &Format, data: &[u8]) -> Option<Wav> {
    let all: Vec<i16> = match (format.tag, format.bits) {
        (1, 16) => data
            .chunks_exact(2)
            .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
            .collect(),
        (6, 8) => data.iter().map(|byte| Law::A.decode(*byte)).collect(),
        (7, 8) => data.iter().map(|byte| Law::Mu.decode(*byte)).collect(),
        _ => return None,
    };
    let count = format.channels.max(1);
    let channel = |index| all.iter().skip(index).step_by(count).copied().collect();
    Some(Wav {
        rate: format.rate,
        channels: (0..count).map(channel).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let dir = std::env::temp_dir().join(format!("sidetone-wav-{}", std::process::id()));
        let wav = Wav {
            rate: 8000,
            channels: vec![vec![1, -2, 300], vec![4, 5, -600]],
        };
        wav.write(&dir).unwrap();
        assert_eq!(Wav::read(&dir).unwrap(), wav);
        let mut bytes = fs::read(&dir).unwrap();
        bytes[40..44].fill(0);
        assert_eq!(
            parse(&bytes),
            Some(wav),
            "a header that was never completed"
        );
        fs::remove_file(&dir).unwrap();
    }

    #[test]
    fn what_is_no_sound_file_is_refused() {
        assert_eq!(parse(b"RIFF"), None);
        assert_eq!(parse(b"RIFF\0\0\0\0WAVEdata\0\0\0\0"), None);
        assert_eq!(parse(&[0; 100]), None);
    }
}
