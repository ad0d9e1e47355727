//! What a recording's file is: its format, its channels and its rate, and the bytes that it begins with.

use crate::media::codec::g711::Law;
use crate::media::frame::SampleRate;
use crate::media::recorder::export::{flac, ogg};
use crate::media::wav::{Encoding, Header};

/// The format of a recording's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// WAV, beyond 4 GiB RF64.
    Wav(Encoding),
    /// FLAC (RFC 9639), without loss, at about half the bytes of 16-bit WAV.
    Flac,
    /// Ogg Opus (RFC 7845), a stream of Opus for each channel: some 6 kB a second of two tracks. An engine can write it
    /// that has the codec.
    Opus(Packets),
}

/// What a file of Ogg Opus is made of where a party of the call speaks Opus itself. What does not is encoded anew either
/// way, at 32 kbit/s a track, and so is what several say on one track. Default [`Original`](Self::Original).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Packets {
    /// The packets that came from the party, and on a track of what it hears those that were sent to it, byte for byte:
    /// nothing is encoded twice, and what is on the disk is what was on the wire. Packets of 20 ms cannot be shifted by
    /// less, so each track plays up to 15 ms beside where it belongs; the timeline says by how much
    /// ([`Note::Original`](crate::media::recorder::note::Note::Original)), and an export brings the tracks in step.
    #[default]
    Original,
    /// The sound as it was decoded, concealed where packets were lost, encoded anew: 130 µs of computing for 20 ms of a
    /// track. All tracks are in step to 1 ms in any player.
    Encoded,
}

impl Format {
    /// How names of such files end.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Wav(_) => "wav",
            Self::Flac => "flac",
            Self::Opus(_) => "opus",
        }
    }

    /// Whether the file is a row of pages of different lengths, so that only its record tells where a moment lies in
    /// it. Such recordings are always sealed.
    pub const fn is_paged(self) -> bool {
        !matches!(self, Self::Wav(_))
    }

    /// Whether it takes packets of Opus as they are.
    pub const fn takes_packets(self) -> bool {
        matches!(self, Self::Opus(Packets::Original))
    }

    /// The word that stands for it in a record.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Wav(Encoding::Pcm16) => "pcm16",
            Self::Wav(Encoding::G711(Law::A)) => "alaw",
            Self::Wav(Encoding::G711(Law::Mu)) => "ulaw",
            Self::Flac => "flac",
            Self::Opus(Packets::Encoded) => "opus",
            Self::Opus(Packets::Original) => "opus-packets",
        }
    }

    /// The format of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// All, each at its number in the journal.
    pub(super) const ALL: [Self; 6] = [
        Self::Wav(Encoding::Pcm16),
        Self::Wav(Encoding::G711(Law::A)),
        Self::Wav(Encoding::G711(Law::Mu)),
        Self::Flac,
        Self::Opus(Packets::Encoded),
        Self::Opus(Packets::Original),
    ];
}

/// What a recording's file is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Its format.
    pub format: Format,
    /// Its channels.
    pub channels: u16,
    /// The rate of each.
    pub rate: SampleRate,
}

impl Layout {
    /// What the file begins with, always as many bytes, where it holds so many samples of each channel.
    pub fn head(&self, samples: u64) -> Vec<u8> {
        match self.format {
            Format::Wav(encoding) => {
                let header = self.wav(encoding);
                let bytes = header.to_bytes(samples * header.frame_bytes() as u64);
                bytes.to_vec()
            }
            Format::Flac => flac::live_head(self.channels, self.rate, samples).to_vec(),
            Format::Opus(_) => ogg::head(self.rate.hz(), usize::from(self.channels)),
        }
    }

    /// How many bytes these are.
    pub fn head_bytes(&self) -> u64 {
        match self.format {
            Format::Wav(_) => Header::LEN as u64,
            Format::Flac => flac::HEAD as u64,
            Format::Opus(_) => ogg::head(self.rate.hz(), usize::from(self.channels)).len() as u64,
        }
    }

    /// Bytes of one sample of all channels, where all are as long.
    pub fn frame_bytes(&self) -> Option<u64> {
        match self.format {
            Format::Wav(encoding) => Some((self.wav(encoding).frame_bytes() as u64).max(1)),
            _ => None,
        }
    }

    const fn wav(&self, encoding: Encoding) -> Header {
        Header {
            encoding,
            channels: self.channels,
            rate: self.rate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_as_long_as_they_say_whatever_they_hold() {
        for format in Format::ALL {
            assert_eq!(Format::named(format.name()), Some(format));
            for channels in 1..=8 {
                let layout = Layout {
                    format,
                    channels,
                    rate: SampleRate::HZ_16000,
                };
                for samples in [0, 12_345, 1 << 33] {
                    assert_eq!(layout.head(samples).len() as u64, layout.head_bytes());
                }
            }
        }
    }
}
