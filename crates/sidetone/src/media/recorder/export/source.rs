//! A recording read back, piece by piece.

use std::io::{Read, Seek, SeekFrom};

use crate::media::codec::g711::{Law, decode_a, decode_mu};
use crate::media::recorder::crypt::cipher::{DataKey, unmark};
use crate::media::recorder::export::ExportError;
use crate::media::wav::{Encoding, Header};

/// Reads the WAV file of a recording from its beginning, while it grows too: it ends where the file did when it
/// was opened.
#[derive(Debug)]
pub struct Source<R> {
    file: R,
    header: Header,
    /// Samples of a channel that are there, and those of them that have been read.
    length: u64,
    read: u64,
    is_mixed: bool,
    key: Option<DataKey>,
    bytes: Vec<u8>,
    all: Vec<i16>,
}

impl<R: Read + Seek> Source<R> {
    /// A recording's file.
    ///
    /// # Errors
    /// [`ExportError::NotRecording`], or it cannot be read.
    pub fn open(file: R) -> Result<Self, ExportError> {
        Self::with_key(file, None)
    }

    /// A recording's file that may be encrypted, with its key: see [`data_key`](crate::media::recorder::verify::data_key).
    ///
    /// # Errors
    /// As [`open`](Self::open); [`ExportError::Encrypted`] where the key is missing.
    pub fn with_key(mut file: R, key: Option<DataKey>) -> Result<Self, ExportError> {
        let end = file.seek(SeekFrom::End(0))?;
        let held = end.checked_sub(Header::LEN as u64);
        let held = held.ok_or(ExportError::NotRecording)?;
        file.seek(SeekFrom::Start(0))?;
        let mut head = [0; Header::LEN];
        file.read_exact(&mut head)?;
        let key = match (unmark(&mut head), key) {
            (false, _) => None,
            (true, Some(key)) => Some(key),
            (true, None) => return Err(ExportError::Encrypted),
        };
        let header = Header::from_bytes(&head).ok_or(ExportError::NotRecording)?;
        Ok(Self {
            file,
            header,
            length: held / header.frame_bytes().max(1) as u64,
            read: 0,
            is_mixed: false,
            key,
            bytes: Vec::new(),
            all: Vec::new(),
        })
    }

    /// The same in stereo: the first channel left, the sum of all others right.
    #[must_use]
    pub fn into_stereo(self) -> Self {
        Self {
            is_mixed: true,
            ..self
        }
    }

    /// How its samples are stored, in how many channels they are read, at which rate.
    pub fn header(&self) -> Header {
        let channels = match self.is_mixed {
            true => 2,
            false => self.header.channels,
        };
        Header {
            channels,
            ..self.header
        }
    }

    /// How many samples of each channel it has.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Appends up to `most` samples of each channel to `out`, interleaved, and returns how many: 0 at the end.
    ///
    /// # Errors
    /// The file cannot be read, or has been cut off meanwhile.
    pub fn read(&mut self, most: usize, out: &mut Vec<i16>) -> Result<usize, ExportError> {
        let count = (self.length - self.read).min(most as u64) as usize;
        self.bytes.resize(count * self.header.frame_bytes(), 0);
        self.file.read_exact(&mut self.bytes)?;
        if let Some(key) = &self.key {
            key.samples(
                self.read * self.header.frame_bytes() as u64,
                &mut self.bytes,
            );
        }
        self.read += count as u64;
        let channels = usize::from(self.header.channels);
        self.all.resize(count * channels, 0);
        let samples = &mut self.all;
        match self.header.encoding {
            Encoding::G711(Law::A) => decode_a(&self.bytes, samples),
            Encoding::G711(Law::Mu) => decode_mu(&self.bytes, samples),
            Encoding::Pcm16 => {
                for (to, from) in samples.iter_mut().zip(self.bytes.as_chunks::<2>().0) {
                    *to = i16::from_le_bytes(*from);
                }
            }
        }
        if self.is_mixed {
            for all in self.all.chunks_exact(channels) {
                let (left, others) = all.split_first().map_or((0, all), |(l, rest)| (*l, rest));
                let right = others.iter().fold(0, |sum: i16, &s| sum.saturating_add(s));
                out.extend([left, right]);
            }
        } else {
            out.extend_from_slice(&self.all);
        }
        Ok(count)
    }
}
