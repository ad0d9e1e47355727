//! Recordings as Ogg Opus (RFC 7845): a stream of Opus for each channel, so that nothing leaks from one to another.

use std::io::{self, Read, Seek, Write};
use std::ops::Range;
use std::sync::Arc;

use ogg::PacketWriter;
use ogg::writing::PacketWriteEndInfo;

use crate::media::codec::{Codec, Encoder, Terms};
use crate::media::frame::SampleRate;
use crate::media::recorder::export::source::Source;
use crate::media::recorder::export::{ExportError, PAGE};
use crate::media::recorder::framing::{Frames, nothing_like};
use crate::media::recorder::originals::{Originals, Take};
use crate::time::Duration;

/// Packets a page: what a reader of a file that grows, or was cut off, lacks at most.
const PACKETS_A_PAGE: u64 = PAGE.as_millis() as u64 / 20;
/// The encoder's delay at 48 kHz (libopus, "VoIP"), which players skip.
const PRE_SKIP: u16 = 312;
/// The number of the stream of a recording that is Ogg from the start; there is no other in its file.
const SERIAL: u32 = 1;
/// Ogg Opus counts in samples of 48 kHz.
const HZ: u64 = 48_000;
/// The length of a packet.
const PACKET: Duration = Duration::from_millis(20);
/// The longest packet of one stream (RFC 6716 §3.4).
const MOST: usize = 1_275;

/// Writes a recording as Ogg Opus, encoded by `codec`, which must be Opus. `serial` tells the stream from others
/// in a chain; any number will do. Pages of 80 ms are written as they are full.
///
/// # Errors
/// [`ExportError`].
pub fn write<R: Read + Seek, W: Write>(
    source: &mut Source<R>,
    codec: &dyn Codec,
    serial: u32,
    mut out: W,
) -> Result<(), ExportError> {
    let header = source.header();
    let channels = usize::from(header.channels);
    if !(1..=8).contains(&channels) {
        return Err(ExportError::Unsupported("Opus has 1 to 8 channels here"));
    }
    let mut encoders = Vec::new();
    for _ in 0..channels {
        encoders.push(encoder(codec, header.rate)?);
    }
    let mut pages = PacketWriter::new(&mut out);
    let form = (header.rate.hz(), channels, PRE_SKIP);
    write_head(&mut pages, form, serial)?;
    let frame = header.rate.samples_in(PACKET) as usize;
    let scale = HZ / u64::from(header.rate.hz());
    let length = source.length();
    // What the encoder's delay holds back is flushed by silence.
    let packets = (length * scale + u64::from(PRE_SKIP)).div_ceil(frame as u64 * scale);
    let mut samples = Vec::new();
    for number in 1..=packets {
        samples.clear();
        source.read(frame, &mut samples)?;
        samples.resize(frame * channels, 0);
        let packet = encode(&mut encoders, &samples)?;
        let is_last = number == packets;
        let at = match is_last {
            true => length * scale + u64::from(PRE_SKIP),
            false => number * frame as u64 * scale,
        };
        let end = match is_last {
            true => PacketWriteEndInfo::EndStream,
            false if number.is_multiple_of(PACKETS_A_PAGE) => PacketWriteEndInfo::EndPage,
            false => PacketWriteEndInfo::NormalPacket,
        };
        pages.write_packet(packet, serial, end, at)?;
    }
    out.flush()?;
    Ok(())
}

/// An encoder of one channel.
fn encoder(codec: &dyn Codec, rate: SampleRate) -> Result<Box<dyn Encoder>, ExportError> {
    let is_opus = codec.rtp_map().encoding.eq_ignore_ascii_case("opus");
    let encoder = codec.encoder(&Terms::new(rate))?;
    match encoder.sample_rate() == rate && encoder.channels() == 1 && is_opus {
        true => Ok(encoder),
        false => Err(ExportError::Unsupported("no Opus at this rate")),
    }
}

/// Encodes a frame of all channels into one packet: all streams but the last with their lengths.
fn encode(encoders: &mut [Box<dyn Encoder>], interleaved: &[i16]) -> Result<Vec<u8>, ExportError> {
    let channels = encoders.len();
    let mut packet = Vec::new();
    let mut one = [0; MOST];
    for (channel, encoder) in encoders.iter_mut().enumerate() {
        let own: Vec<i16> = interleaved
            .iter()
            .skip(channel)
            .step_by(channels)
            .copied()
            .collect();
        let length = encoder.encode(&own, &mut one)?;
        let stream = one.get(..length).unwrap_or_default();
        match channel + 1 == channels {
            true => packet.extend_from_slice(stream),
            false => delimit(stream, &mut packet)?,
        }
    }
    Ok(packet)
}

/// Appends a packet with its length in it.
pub(super) fn delimit(stream: &[u8], packet: &mut Vec<u8>) -> Result<(), ExportError> {
    let frames = Frames::read(stream).ok_or(ExportError::Unsupported("no packet of Opus"))?;
    frames.delimit(packet);
    Ok(())
}

/// A recording that is Ogg Opus from the start.
pub(in crate::media::recorder) struct Live {
    rate: SampleRate,
    codec: Arc<dyn Codec>,
    voices: Vec<Voice>,
    pages: PacketWriter<'static, Vec<u8>>,
    /// Samples that wait for the rest of their packet, interleaved.
    waiting: Vec<i16>,
    /// Packets so far.
    packets: u64,
    /// Samples of a channel in the page that is being filled.
    filled: u64,
    one: Vec<i16>,
}

/// A channel.
struct Voice {
    encoder: Box<dyn Encoder>,
    /// For how many samples nothing has been heard.
    silent: usize,
    /// How the last packet began: by its layer, bandwidth and length.
    form: u8,
    /// What is written are packets as they came, which the encoder knows nothing of.
    is_original: bool,
    /// The samples of the packet before.
    before: Vec<i16>,
}

impl Live {
    pub(in crate::media::recorder) fn new(
        channels: u16,
        rate: SampleRate,
        codec: Arc<dyn Codec>,
    ) -> Result<Self, ExportError> {
        let channels = usize::from(channels);
        let mut voices = Vec::new();
        for _ in 0..channels {
            voices.push(Voice {
                encoder: encoder(&*codec, rate)?,
                silent: 0,
                form: 0,
                is_original: false,
                before: Vec::new(),
            });
        }
        let mut pages = PacketWriter::new(Vec::new());
        write_head(&mut pages, (rate.hz(), channels, PRE_SKIP), SERIAL)?;
        // They stand in the file already.
        pages.inner_mut().clear();
        Ok(Self {
            rate,
            codec,
            voices,
            pages,
            waiting: Vec::new(),
            packets: 0,
            filled: 0,
            one: Vec::new(),
        })
    }

    /// Takes samples, interleaved, and gives each page that is full to `write`, with its samples of a channel.
    pub(in crate::media::recorder) fn pack(
        &mut self,
        samples: &[i16],
        mut originals: Option<&mut Originals>,
        write: &mut dyn FnMut(&[u8], u64) -> io::Result<()>,
    ) -> Result<(), ExportError> {
        self.waiting.extend_from_slice(samples);
        let frame = self.rate.samples_in(PACKET);
        while self.waiting.len() >= frame as usize * self.voices.len() {
            self.filled += frame;
            let is_full = (self.packets + 1).is_multiple_of(PACKETS_A_PAGE);
            let end = match is_full {
                true => PacketWriteEndInfo::EndPage,
                false => PacketWriteEndInfo::NormalPacket,
            };
            let at = (self.packets + 1) * frame * self.scale();
            self.write_packet(end, at, originals.as_deref_mut())?;
            if is_full {
                self.give(write)?;
            }
        }
        Ok(())
    }

    /// Gives what is left to `write`, and ends the stream.
    pub(in crate::media::recorder) fn finish(
        &mut self,
        mut originals: Option<&mut Originals>,
        write: &mut dyn FnMut(&[u8], u64) -> io::Result<()>,
    ) -> Result<(), ExportError> {
        let (frame, scale) = (self.rate.samples_in(PACKET), self.scale());
        let rest = (self.waiting.len() / self.voices.len().max(1)) as u64;
        self.filled += rest;
        let end = (self.packets * frame + rest) * scale + u64::from(PRE_SKIP);
        // What the encoder's delay holds back is flushed by silence.
        let packets = end.div_ceil(frame * scale);
        while self.packets < packets {
            self.waiting.resize(frame as usize * self.voices.len(), 0);
            match self.packets + 1 == packets {
                true => {
                    self.write_packet(PacketWriteEndInfo::EndStream, end, originals.as_deref_mut())?
                }
                false => {
                    let at = (self.packets + 1) * frame * scale;
                    self.write_packet(
                        PacketWriteEndInfo::NormalPacket,
                        at,
                        originals.as_deref_mut(),
                    )?;
                }
            }
        }
        self.give(write)
    }

    fn scale(&self) -> u64 {
        HZ / u64::from(self.rate.hz()).max(1)
    }

    fn give(
        &mut self,
        write: &mut dyn FnMut(&[u8], u64) -> io::Result<()>,
    ) -> Result<(), ExportError> {
        let pages = self.pages.inner_mut();
        write(pages, std::mem::take(&mut self.filled))?;
        pages.clear();
        Ok(())
    }

    /// Makes a packet of the oldest samples that wait.
    fn write_packet(
        &mut self,
        end: PacketWriteEndInfo,
        at: u64,
        mut originals: Option<&mut Originals>,
    ) -> Result<(), ExportError> {
        let frame = self.rate.samples_in(PACKET) as usize;
        let count = self.voices.len();
        let mut packet = Vec::new();
        for (channel, voice) in self.voices.iter_mut().enumerate() {
            let own = self.waiting.iter().skip(channel).step_by(count).take(frame);
            self.one.clear();
            self.one.extend(own);
            let taken = match originals.as_deref_mut() {
                Some(originals) => originals.take(channel, self.packets),
                None => Take::Sound,
            };
            let mut made = [0; MOST];
            let stream = match taken {
                Take::Packet(packet) => voice.pass(packet),
                Take::Nothing => voice.leave_out(&mut made),
                Take::Sound => voice.encode(&self.one, (&*self.codec, self.rate), &mut made)?,
                Take::Silence => {
                    self.one.fill(0);
                    voice.encode(&self.one, (&*self.codec, self.rate), &mut made)?
                }
            };
            voice.before.clone_from(&self.one);
            match channel + 1 == count {
                true => packet.extend_from_slice(stream),
                false => delimit(stream, &mut packet)?,
            }
        }
        self.waiting.drain(..frame * count);
        self.packets += 1;
        self.pages.write_packet(packet, SERIAL, end, at)?;
        Ok(())
    }
}

impl Voice {
    /// Encodes a frame. Where nothing is heard of it, nor of the one before, which the encoder holds back in part, its
    /// packet has no data: what is masked is proven by that. The decoder goes on from silence, in its own layer.
    fn encode<'a>(
        &mut self,
        samples: &[i16],
        (codec, rate): (&dyn Codec, SampleRate),
        out: &'a mut [u8; MOST],
    ) -> Result<&'a [u8], ExportError> {
        if std::mem::take(&mut self.is_original) {
            // The encoder begins anew, with what it would have held back of the packet before.
            self.encoder = encoder(codec, rate)?;
            self.encoder.encode(&self.before, out)?;
        }
        let before = self.silent;
        match samples.iter().rev().position(|&sample| sample != 0) {
            Some(silent) => self.silent = silent,
            None => self.silent = before.saturating_add(samples.len()),
        }
        if before >= samples.len() && self.silent > before {
            out[0] = self.form;
            return Ok(out.get(..1).unwrap_or_default());
        }
        let length = self.encoder.encode(samples, out)?;
        self.form = out[0] & !3;
        Ok(out.get(..length).unwrap_or_default())
    }

    /// Takes a packet as it came.
    fn pass<'a>(&mut self, packet: &'a [u8]) -> &'a [u8] {
        (self.silent, self.is_original) = (0, true);
        self.form = packet.first().map_or(self.form, |toc| toc & !3);
        packet
    }

    /// A packet without data, in the form of those before it: none has come, and players make up what is missing.
    fn leave_out<'a>(&mut self, out: &'a mut [u8; MOST]) -> &'a [u8] {
        (self.silent, self.is_original) = (0, true);
        let (nothing, length) = nothing_like(self.form);
        if let Some(place) = out.first_chunk_mut() {
            *place = nothing;
        }
        out.get(..length).unwrap_or_default()
    }
}

/// Whether nothing is heard in a page of a recording that is Ogg Opus from the start, whose samples begin at `at`, as far
/// as its packets lie between these samples: they have no data, on all channels.
pub(in crate::media::recorder) fn is_silent(
    (channels, rate): (u16, SampleRate),
    page: &[u8],
    at: u64,
    samples: &Range<u64>,
) -> bool {
    let scale = HZ / u64::from(rate.hz()).max(1);
    let frame = rate.samples_in(PACKET) * scale;
    let asked = samples.start * scale..samples.end * scale;
    let Some(packets) = packets(page) else {
        return false;
    };
    let mut from = at * scale;
    for packet in packets {
        // The first one may have what the encoder held back of the one before.
        let is_asked = asked.start + frame <= from && from + frame <= asked.end;
        if is_asked && !has_no_data(&packet, usize::from(channels)) {
            return false;
        }
        from += frame;
    }
    true
}

/// Whether no channel's stream has anything in this packet.
fn has_no_data(packet: &[u8], channels: usize) -> bool {
    let is_one_frame = |form: &u8| form & 3 == 0;
    let Some((last, others)) = packet.split_last() else {
        return false;
    };
    let (pairs, []) = others.as_chunks::<2>() else {
        return false;
    };
    pairs.len() + 1 == channels
        && is_one_frame(last)
        && pairs
            .iter()
            .all(|[form, length]| is_one_frame(form) && *length == 0)
}

/// The packets of whole pages (RFC 3533 §6); `None` where they are none.
fn packets(mut pages: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (mut packets, mut packet) = (Vec::new(), Vec::new());
    while !pages.is_empty() {
        let (head, rest) = pages.split_at_checked(27)?;
        let (lacing, mut rest) = rest.split_at_checked(usize::from(*head.last()?))?;
        if !head.starts_with(b"OggS") {
            return None;
        }
        for &length in lacing {
            let (part, tail) = rest.split_at_checked(usize::from(length))?;
            packet.extend_from_slice(part);
            rest = tail;
            if length < 255 {
                packets.push(std::mem::take(&mut packet));
            }
        }
        pages = rest;
    }
    packet.is_empty().then_some(packets)
}

/// What a file begins with that is Ogg Opus from the start.
pub(in crate::media::recorder) fn head(hz: u32, channels: usize) -> Vec<u8> {
    let mut pages = PacketWriter::new(Vec::new());
    // Memory takes whatever is written to it.
    let _ = write_head(&mut pages, (hz, channels, PRE_SKIP), SERIAL);
    pages.into_inner()
}

/// For a rate, so many channels, and so many samples of 48 kHz to be left out at the beginning.
pub(super) fn write_head<W: Write>(
    pages: &mut PacketWriter<'_, W>,
    form: (u32, usize, u16),
    serial: u32,
) -> io::Result<()> {
    let end = PacketWriteEndInfo::EndPage;
    pages.write_packet(id_header(form), serial, end, 0)?;
    let end = PacketWriteEndInfo::EndPage;
    pages.write_packet(comment_header(), serial, end, 0)
}

/// RFC 7845 §5.1. Family 0 for one channel, 1 for more, each stream of it uncoupled.
fn id_header((hz, channels, pre_skip): (u32, usize, u16)) -> Vec<u8> {
    let count = channels as u8;
    let mut head = b"OpusHead\x01".to_vec();
    head.push(count);
    head.extend(pre_skip.to_le_bytes());
    head.extend(hz.to_le_bytes());
    // No gain.
    head.extend([0, 0]);
    if count == 1 {
        head.push(0);
        return head;
    }
    head.extend([1, count, 0]);
    head.extend(0..count);
    head
}

/// RFC 7845 §5.2.
fn comment_header() -> Vec<u8> {
    let vendor = b"sidetone";
    let mut head = b"OpusTags".to_vec();
    head.extend((vendor.len() as u32).to_le_bytes());
    head.extend(vendor);
    head.extend(0u32.to_le_bytes());
    head
}
