//! Recordings as WAV: decrypted, or in stereo.

use std::io::{Read, Seek, Write};

use crate::media::recorder::export::ExportError;
use crate::media::recorder::export::source::Source;

/// Samples of a channel that are read at once.
const STRIDE: usize = 4_096;

/// Writes a recording as WAV, in its own encoding.
///
/// # Errors
/// [`ExportError`].
pub fn write<R: Read + Seek, W: Write>(
    source: &mut Source<R>,
    mut out: W,
) -> Result<(), ExportError> {
    let header = source.header();
    let length = source.length() * header.frame_bytes() as u64;
    out.write_all(&header.to_bytes(length))?;
    let (mut samples, mut stored) = (Vec::new(), Vec::new());
    while source.read(STRIDE, &mut samples)? > 0 {
        stored.clear();
        header.encoding.encode(&samples, &mut stored);
        out.write_all(&stored)?;
        samples.clear();
    }
    out.flush()?;
    Ok(())
}
