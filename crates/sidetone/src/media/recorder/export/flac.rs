//! Recordings as FLAC (RFC 9639): without loss, at about half the size.

use std::io::{Read, Seek, SeekFrom, Write};

use flacenc::bitsink::ByteSink;
use flacenc::component::{BitRepr, StreamInfo};
use flacenc::config::Encoder;
use flacenc::encode_fixed_size_frame;
use flacenc::error::Verify;
use flacenc::source::{Fill, FrameBuf};
use md5::{Digest, Md5};

use crate::media::recorder::export::ExportError;
use crate::media::recorder::export::source::Source;

/// Samples of a channel in a frame.
const BLOCK: usize = 4_096;
/// `fLaC`, the header of its one metadata block, and STREAMINFO.
const HEAD: usize = 4 + 4 + 34;
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
    let channels = usize::from(header.channels);
    let hz = header.rate.hz();
    let refused = || ExportError::Unsupported("FLAC has 1 to 8 channels");
    let config = Encoder::default().into_verified().map_err(|_| refused())?;
    let info = StreamInfo::new(hz as usize, channels, 16).map_err(|_| refused())?;
    let mut whole = FrameBuf::with_size(channels, BLOCK).map_err(|_| refused())?;
    out.write_all(&[0; HEAD])?;
    let mut digest = Md5::new();
    let (mut samples, mut wide) = (Vec::new(), Vec::<i32>::new());
    let (mut number, mut length) = (0, 0);
    loop {
        samples.clear();
        let count = source.read(BLOCK, &mut samples)?;
        if count == 0 {
            break;
        }
        for sample in &samples {
            digest.update(sample.to_le_bytes());
        }
        wide.clear();
        wide.extend(samples.iter().map(|&sample| i32::from(sample)));
        if count < BLOCK {
            // The last.
            whole = FrameBuf::with_size(channels, count).map_err(|_| refused())?;
        }
        whole.fill_interleaved(&wide).map_err(|_| refused())?;
        let frame = encode_fixed_size_frame(&config, &whole, number, &info);
        let frame = frame.map_err(|_| ExportError::Unsupported("a frame was refused"))?;
        let mut sink = ByteSink::new();
        frame
            .write(&mut sink)
            .map_err(|_| ExportError::Unsupported("a frame was refused"))?;
        out.write_all(sink.as_slice())?;
        number += 1;
        length += count as u64;
    }
    out.seek(SeekFrom::Start(0))?;
    out.write_all(&head(
        hz,
        header.channels,
        length,
        &digest.finalize().into(),
    ))?;
    out.flush()?;
    Ok(())
}

/// The stream's head: RFC 9639 §8.2.
fn head(hz: u32, channels: u16, length: u64, digest: &[u8; 16]) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..4].copy_from_slice(b"fLaC");
    // The last metadata block, STREAMINFO, of 34 bytes.
    head[4..8].copy_from_slice(&[0x80, 0, 0, 34]);
    let block = (BLOCK as u16).to_be_bytes();
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
