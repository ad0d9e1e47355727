//! The packets of a recording that is Ogg Opus, read back: those of each track by themselves.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::ops::Range;

use ::ogg::PacketWriter;
use ::ogg::writing::PacketWriteEndInfo;

use crate::media::frame::SampleRate;
use crate::media::recorder::crypt::cipher::DataKey;
use crate::media::recorder::export::ExportError;
use crate::media::recorder::export::clear::Clear;
use crate::media::recorder::export::ogg;
use crate::media::recorder::export::source::PRE_ROLL;
use crate::media::recorder::framing::undelimit;

/// Writes these samples of a recording, of all tracks or of one, as Ogg Opus made of the packets that it has: nothing is
/// encoded anew. `length` is that of the recording. Cut to the sample: players leave out what packets have before and behind.
///
/// # Errors
/// [`ExportError`].
pub fn copy<R: Read, W: Write>(
    packets: &mut Packets<R>,
    samples: Range<u64>,
    only: Option<u16>,
    serial: u32,
    mut out: W,
) -> Result<(), ExportError> {
    let scale = HZ / u64::from(packets.rate.hz());
    let lead = u64::from(packets.pre_skip);
    let from = samples.start * scale + lead;
    let first = (from / PACKET).saturating_sub(PRE_ROLL);
    let skip = from - first * PACKET;
    let end = skip + (samples.end.max(samples.start) - samples.start) * scale;
    let count = end.div_ceil(PACKET).max(1);
    let only = only.map(usize::from);
    let channels = if only.is_some() { 1 } else { packets.channels };
    let mut writer = PacketWriter::new(&mut out);
    let form = (packets.rate.hz(), channels, skip as u16);
    ogg::write_head(&mut writer, form, serial)?;
    packets.skip_to(first)?;
    for number in 1..=count {
        let is_there = packets.read()?;
        let mut packet = Vec::new();
        let last = channels.saturating_sub(1);
        for channel in 0..channels {
            let stream = match is_there {
                true => packets.stream(only.unwrap_or(channel)),
                // Of one that grows: what is missing of its end.
                false => &[NOTHING],
            };
            match channel == last {
                true => packet.extend_from_slice(stream),
                false => ogg::delimit(stream, &mut packet)?,
            }
        }
        let is_last = number == count;
        let (ends, at) = match is_last {
            true => (PacketWriteEndInfo::EndStream, end),
            false if number.is_multiple_of(PACKETS_A_PAGE) => {
                (PacketWriteEndInfo::EndPage, number * PACKET)
            }
            false => (PacketWriteEndInfo::NormalPacket, number * PACKET),
        };
        writer.write_packet(packet, serial, ends, at)?;
    }
    out.flush()?;
    Ok(())
}

/// Ogg Opus counts in samples of 48 kHz.
const HZ: u64 = 48_000;
/// Samples of it in a packet.
const PACKET: u64 = 960;
/// A second.
const PACKETS_A_PAGE: u64 = 50;
/// A packet of 20 ms without data, of the SILK layer.
const NOTHING: u8 = 0x48;

/// The head of a page without its lacing (RFC 3533 §6).
const PAGE_HEAD: usize = 27;
/// Where the first packet of a file begins: behind the head of a page of one packet.
const FIRST: usize = PAGE_HEAD + 1;

/// Reads the packets of a recording from its beginning, while it grows too: to the last page that is whole.
///
/// A packet of the file has 20 ms of all tracks (RFC 7845 §5.1.1); what each track has of it is the packet that came
/// from the track's party, or was sent to it, where the timeline says so.
#[derive(Debug)]
pub struct Packets<R> {
    file: Clear<R>,
    channels: usize,
    rate: SampleRate,
    pre_skip: u16,
    /// Packets of the page that was read last.
    page: VecDeque<Vec<u8>>,
    /// What that page says of its end, in samples of 48 kHz, and whether it is the last one.
    granule: (u64, bool),
    streams: Vec<Vec<u8>>,
    read: u64,
}

impl<R: Read> Packets<R> {
    /// A recording's file, with its key where it is encrypted.
    ///
    /// # Errors
    /// [`ExportError::NotRecording`], or it cannot be read; [`ExportError::Encrypted`] where the key is missing.
    pub fn with_key(file: R, key: Option<DataKey>) -> Result<Self, ExportError> {
        let mut file = Clear::open(file, key)?;
        let head = file.take_head();
        let id = head.get(FIRST..).and_then(|id| id.first_chunk::<19>());
        let id = id.filter(|id| id.starts_with(b"OpusHead\x01"));
        let &[.., channels, s0, s1, r0, r1, r2, r3, _, _, _] =
            id.ok_or(ExportError::NotRecording)?;
        let rate = SampleRate::from_hz(u32::from_le_bytes([r0, r1, r2, r3]));
        if !(1..=8).contains(&channels) {
            return Err(ExportError::NotRecording);
        }
        Ok(Self {
            file,
            channels: usize::from(channels),
            rate: rate.ok_or(ExportError::NotRecording)?,
            pre_skip: u16::from_le_bytes([s0, s1]),
            page: VecDeque::new(),
            granule: (0, false),
            streams: vec![Vec::new(); usize::from(channels)],
            read: 0,
        })
    }

    /// How many tracks it has.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The rate of what was recorded.
    pub fn rate(&self) -> SampleRate {
        self.rate
    }

    /// Samples of 48 kHz that players leave out at the beginning.
    pub fn pre_skip(&self) -> u16 {
        self.pre_skip
    }

    /// Takes the next packet; false behind the last one. [`stream`](Self::stream) has it then.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn read(&mut self) -> Result<bool, ExportError> {
        while self.page.is_empty() {
            if !self.read_page()? {
                return Ok(false);
            }
        }
        let packet = self.page.pop_front().unwrap_or_default();
        let mut rest = &packet[..];
        let last = self.streams.len().saturating_sub(1);
        for (number, stream) in self.streams.iter_mut().enumerate() {
            stream.clear();
            if number == last {
                stream.extend_from_slice(rest);
            } else {
                rest = undelimit(rest, stream).ok_or(ExportError::NotRecording)?;
            }
        }
        self.read += 1;
        Ok(true)
    }

    /// Leaves out all packets before this one, the first being 0.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn skip_to(&mut self, number: u64) -> Result<(), ExportError> {
        while self.read < number {
            if self.page.pop_front().is_some() {
                self.read += 1;
            } else if !self.read_page()? {
                break;
            }
        }
        Ok(())
    }

    /// How many packets have been read.
    pub fn count(&self) -> u64 {
        self.read
    }

    /// What a track has of the packet that was read last.
    pub fn stream(&self, channel: usize) -> &[u8] {
        self.streams.get(channel).map_or(&[], Vec::as_slice)
    }

    /// How many samples of the recording's rate it has, as far as it has been read to its end.
    pub fn length(&self) -> u64 {
        let end = match self.granule {
            (end, true) => end,
            _ => self.read * 960,
        };
        let heard = end.saturating_sub(u64::from(self.pre_skip));
        heard * u64::from(self.rate.hz()) / 48_000
    }

    /// Reads a page; false where there is none that is whole.
    fn read_page(&mut self) -> Result<bool, ExportError> {
        let mut head = [0; PAGE_HEAD];
        if !self.take(&mut head)? {
            return Ok(false);
        }
        let mut lacing = vec![0; usize::from(head[PAGE_HEAD - 1])];
        if !head.starts_with(b"OggS") {
            return Err(ExportError::NotRecording);
        }
        let mut body = Vec::new();
        if !self.take(&mut lacing)? {
            return Ok(false);
        }
        body.resize(lacing.iter().map(|&it| usize::from(it)).sum(), 0);
        if !self.take(&mut body)? {
            return Ok(false);
        }
        let granule = head[6..14].try_into().map_or(0, u64::from_le_bytes);
        self.granule = (granule, head[5] & 4 != 0);
        let (mut packet, mut rest) = (Vec::new(), &body[..]);
        for &length in &lacing {
            let (part, tail) = rest.split_at(usize::from(length).min(rest.len()));
            packet.extend_from_slice(part);
            rest = tail;
            if length < 255 {
                self.page.push_back(std::mem::take(&mut packet));
            }
        }
        Ok(true)
    }

    /// Takes bytes behind the head, in the clear; false where there are fewer.
    fn take(&mut self, bytes: &mut [u8]) -> Result<bool, ExportError> {
        match self.file.read_exact(bytes) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
