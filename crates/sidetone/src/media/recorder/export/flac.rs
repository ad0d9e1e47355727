//! Recordings as FLAC (RFC 9639): without loss, at about half the size.

use std::io::{self, Read, Seek, SeekFrom, Write};

use flacenc::bitsink::ByteSink;
use flacenc::component::{BitRepr, StreamInfo};
use flacenc::config::Encoder;
use flacenc::encode_fixed_size_frame;
use flacenc::error::{Verified, Verify};
use flacenc::source::{Fill, FrameBuf};
use md5::{Digest, Md5};

use crate::media::frame::SampleRate;
use crate::media::recorder::export::source::Source;
use crate::media::recorder::export::{ExportError, PAGE};

/// Samples of a channel in a frame.
const BLOCK: usize = 4_096;
/// The longest frame that every decoder takes at 48 kHz and below (RFC 9639 §7).
const MOST_BLOCK: u64 = 4_608;
/// `fLaC`, the header of its one metadata block, and STREAMINFO.
pub(in crate::media::recorder) const HEAD: usize = 4 + 4 + 34;
/// Blocks that a stream can have.
const MOST_BLOCKS: u64 = 1 << 31;

/// Writes a recording as FLAC, with a channel for each of its own. Memory holds one frame; the head is written
/// last, so that a file that was left unfinished is none.
///
/// # Errors
/// [`ExportError`].
pub fn write<R: Read + Seek, W: Write + Seek>(
    source: &mut Source<R>,
    mut out: W,
) -> Result<(), ExportError> {
    let header = source.header();
    if source.length().div_ceil(BLOCK as u64) >= MOST_BLOCKS {
        return Err(ExportError::Unsupported("longer than 2^31 blocks"));
    }
    let mut frames = Frames::new(usize::from(header.channels), header.rate.hz(), BLOCK)?;
    out.write_all(&[0; HEAD])?;
    let mut digest = Md5::new();
    let (mut samples, mut bytes) = (Vec::new(), Vec::new());
    let mut length = 0;
    loop {
        samples.clear();
        let count = source.read(BLOCK, &mut samples)?;
        if count == 0 {
            break;
        }
        for sample in &samples {
            digest.update(sample.to_le_bytes());
        }
        bytes.clear();
        frames.encode(&samples, &mut bytes)?;
        out.write_all(&bytes)?;
        length += count as u64;
    }
    out.seek(SeekFrom::Start(0))?;
    let digest = digest.finalize().into();
    let head = head(header.rate.hz(), header.channels, BLOCK, length, &digest);
    out.write_all(&head)?;
    out.flush()?;
    Ok(())
}

/// Makes frames of samples.
struct Frames {
    config: Verified<Encoder>,
    info: StreamInfo,
    channels: usize,
    block: usize,
    whole: FrameBuf,
    wide: Vec<i32>,
    /// The number of the next one.
    number: usize,
}

impl Frames {
    fn new(channels: usize, hz: u32, block: usize) -> Result<Self, ExportError> {
        let refused = || ExportError::Unsupported("FLAC has 1 to 8 channels");
        Ok(Self {
            config: Encoder::default().into_verified().map_err(|_| refused())?,
            info: StreamInfo::new(hz as usize, channels, 16).map_err(|_| refused())?,
            whole: FrameBuf::with_size(channels, block).map_err(|_| refused())?,
            wide: Vec::new(),
            channels,
            block,
            number: 0,
        })
    }

    /// Appends a frame of these samples, interleaved: a whole block, or less for the last.
    fn encode(&mut self, samples: &[i16], out: &mut Vec<u8>) -> Result<(), ExportError> {
        let refused = || ExportError::Unsupported("a frame was refused");
        let count = samples.len() / self.channels.max(1);
        self.wide.clear();
        self.wide.extend(samples.iter().map(|&it| i32::from(it)));
        if count < self.block {
            self.whole = FrameBuf::with_size(self.channels, count).map_err(|_| refused())?;
        }
        let filled = self.whole.fill_interleaved(&self.wide);
        filled.map_err(|_| refused())?;
        let frame = encode_fixed_size_frame(&self.config, &self.whole, self.number, &self.info);
        let mut sink = ByteSink::new();
        let written = frame.map_err(|_| refused())?.write(&mut sink);
        written.map_err(|_| refused())?;
        out.extend_from_slice(sink.as_slice());
        self.number += 1;
        Ok(())
    }
}

/// A recording that is FLAC from the start: pages of one or more frames.
pub(in crate::media::recorder) struct Live {
    frames: Frames,
    /// Samples of a channel in a page.
    page: usize,
    /// Samples that wait for the rest of their page, interleaved.
    waiting: Vec<i16>,
    bytes: Vec<u8>,
}

impl Live {
    pub(in crate::media::recorder) fn new(
        channels: u16,
        rate: SampleRate,
    ) -> Result<Self, ExportError> {
        Ok(Self {
            frames: Frames::new(usize::from(channels), rate.hz(), block(rate))?,
            page: rate.samples_in(PAGE) as usize,
            waiting: Vec::new(),
            bytes: Vec::new(),
        })
    }

    /// Takes samples, interleaved, and gives each page that is full to `write`, with its samples of a channel.
    pub(in crate::media::recorder) fn pack(
        &mut self,
        samples: &[i16],
        write: &mut dyn FnMut(&[u8], u64) -> io::Result<()>,
    ) -> Result<(), ExportError> {
        self.waiting.extend_from_slice(samples);
        let page = self.page * self.frames.channels;
        while self.waiting.len() >= page {
            self.write(page, write)?;
        }
        Ok(())
    }

    /// Gives what is left to `write`.
    pub(in crate::media::recorder) fn finish(
        &mut self,
        write: &mut dyn FnMut(&[u8], u64) -> io::Result<()>,
    ) -> Result<(), ExportError> {
        match self.waiting.len() {
            0 => Ok(()),
            rest => self.write(rest, write),
        }
    }

    fn write(
        &mut self,
        length: usize,
        write: &mut dyn FnMut(&[u8], u64) -> io::Result<()>,
    ) -> Result<(), ExportError> {
        self.bytes.clear();
        let channels = self.frames.channels.max(1);
        let samples = self.waiting.get(..length).unwrap_or_default();
        for block in samples.chunks(self.frames.block * channels) {
            self.frames.encode(block, &mut self.bytes)?;
        }
        write(&self.bytes, (length / channels) as u64)?;
        self.waiting.drain(..length);
        Ok(())
    }
}

/// Whether a page of a recording that is FLAC from the start, the one of this number, is that of so much silence.
pub(in crate::media::recorder) fn is_silent(
    (channels, rate): (u16, SampleRate),
    page: &[u8],
    number: u64,
    length: u64,
) -> bool {
    let Ok(mut live) = Live::new(channels, rate) else {
        return false;
    };
    let length = length.min(live.page as u64) as usize * live.frames.channels;
    live.waiting.resize(length, 0);
    let blocks = live.page / live.frames.block.max(1);
    live.frames.number = usize::try_from(number).unwrap_or(0) * blocks;
    let mut is_same = false;
    let made = live.write(length, &mut |bytes, _| {
        is_same = bytes == page;
        Ok(())
    });
    made.is_ok() && is_same
}

/// Samples of a channel in a frame of a recording that is FLAC from the start: the most that divide a page.
fn block(rate: SampleRate) -> usize {
    let page = rate.samples_in(PAGE).max(1);
    (page / page.div_ceil(MOST_BLOCK)) as usize
}

/// The head of a recording that is FLAC from the start. It has no digest, which would have to be known before.
pub(in crate::media::recorder) fn live_head(
    channels: u16,
    rate: SampleRate,
    length: u64,
) -> [u8; HEAD] {
    head(rate.hz(), channels, block(rate), length, &[0; 16])
}

/// The stream's head: RFC 9639 §8.2.
fn head(hz: u32, channels: u16, block: usize, length: u64, digest: &[u8; 16]) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..4].copy_from_slice(b"fLaC");
    // The last metadata block, STREAMINFO, of 34 bytes.
    head[4..8].copy_from_slice(&[0x80, 0, 0, 34]);
    let block = (block as u16).to_be_bytes();
    head[8..10].copy_from_slice(&block);
    head[10..12].copy_from_slice(&block);
    // The sizes of frames are not said. Rate (20 bits), channels less 1 (3), bits less 1 (5), length (36).
    let fields = u64::from(hz) << 44
        | u64::from(channels.saturating_sub(1) & 7) << 41
        | 15 << 36
        | length & ((1 << 36) - 1);
    head[18..26].copy_from_slice(&fields.to_be_bytes());
    head[26..42].copy_from_slice(digest);
    head
}
