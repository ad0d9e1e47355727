//! Recordings as Ogg Opus (RFC 7845): a stream of Opus for each channel, so that nothing leaks from one to another.

use std::io::{Read, Seek, Write};

use ogg::PacketWriter;
use ogg::writing::PacketWriteEndInfo;

use crate::media::codec::{Codec, Encoder, Terms};
use crate::media::recorder::export::ExportError;
use crate::media::recorder::export::source::Source;
use crate::time::Duration;

/// Packets a page: 200 ms, which is what a reader of a file that grows, or was cut off, lacks at most.
const PACKETS_A_PAGE: u64 = 10;
/// The encoder's delay at 48 kHz (libopus, "VoIP"), which players skip.
const PRE_SKIP: u16 = 312;
/// Ogg Opus counts in samples of 48 kHz.
const HZ: u64 = 48_000;
/// The length of a packet.
const PACKET: Duration = Duration::from_millis(20);
/// The longest packet of one stream (RFC 6716 §3.4).
const MOST: usize = 1_275;

/// Writes a recording as Ogg Opus, encoded by `codec`, which must be Opus. `serial` tells the stream from others
/// in a chain; any number will do. Pages of 200 ms are written as they are full.
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
    let is_opus = codec.rtp_map().encoding.eq_ignore_ascii_case("opus");
    let mut encoders = Vec::new();
    for _ in 0..channels {
        let encoder = codec.encoder(&Terms::new(header.rate))?;
        if encoder.sample_rate() != header.rate || !is_opus {
            return Err(ExportError::Unsupported("no Opus at this rate"));
        }
        encoders.push(encoder);
    }
    let mut pages = PacketWriter::new(&mut out);
    let end = PacketWriteEndInfo::EndPage;
    pages.write_packet(id_header(header.rate.hz(), channels), serial, end, 0)?;
    let end = PacketWriteEndInfo::EndPage;
    pages.write_packet(comment_header(), serial, end, 0)?;
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

/// Appends a packet of one frame with its length in it (RFC 6716 appendix B).
fn delimit(stream: &[u8], packet: &mut Vec<u8>) -> Result<(), ExportError> {
    let (&toc, frame) = stream
        .split_first()
        .filter(|(toc, _)| **toc & 3 == 0)
        .ok_or(ExportError::Unsupported("a packet of more than one frame"))?;
    packet.push(toc);
    match frame.len() {
        n @ 0..252 => packet.push(n as u8),
        n => {
            let low = 252 + (n & 3);
            packet.extend([low as u8, ((n - low) / 4) as u8]);
        }
    }
    packet.extend_from_slice(frame);
    Ok(())
}

/// RFC 7845 §5.1. Family 0 for one channel, 1 for more, each stream of it uncoupled.
fn id_header(hz: u32, channels: usize) -> Vec<u8> {
    let count = channels as u8;
    let mut head = b"OpusHead\x01".to_vec();
    head.push(count);
    head.extend(PRE_SKIP.to_le_bytes());
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
