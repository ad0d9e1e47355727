//! How samples become the bytes of a recording's file, page by page.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::media::codec::Codec;
use crate::media::recorder::export::{ExportError, flac, ogg};
use crate::media::recorder::layout::{Format, Layout};
use crate::media::recorder::originals::Originals;
use crate::media::wav::Encoding;

/// Takes bytes, and how many samples of each channel they are.
pub(super) type Write<'a> = &'a mut dyn FnMut(&[u8], u64) -> io::Result<()>;

/// Makes the bytes of a file.
pub(super) struct Packer {
    kind: Kind,
    channels: usize,
}

enum Kind {
    Wav(Encoding, Vec<u8>),
    Flac(Box<flac::Live>),
    Opus(Box<ogg::Live>),
}

impl fmt::Debug for Packer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Packer")
    }
}

impl Packer {
    /// A packer for a new file; `opus` is the codec of one of Opus.
    pub(super) fn new(layout: Layout, opus: Option<Arc<dyn Codec>>) -> io::Result<Self> {
        let kind = match layout.format {
            Format::Wav(encoding) => Kind::Wav(encoding, Vec::new()),
            Format::Flac => Kind::Flac(Box::new(
                flac::Live::new(layout.channels, layout.rate).map_err(told)?,
            )),
            Format::Opus(_) => {
                let none = || io::Error::new(io::ErrorKind::Unsupported, "there is no Opus");
                let live = ogg::Live::new(layout.channels, layout.rate, opus.ok_or_else(none)?);
                Kind::Opus(Box::new(live.map_err(told)?))
            }
        };
        let channels = usize::from(layout.channels).max(1);
        Ok(Self { kind, channels })
    }

    /// Takes samples of all channels, interleaved, and the packets that are written as they are, and gives to `write` what is a page.
    pub(super) fn pack(
        &mut self,
        samples: &[i16],
        originals: Option<&mut Originals>,
        write: Write<'_>,
    ) -> io::Result<()> {
        match &mut self.kind {
            Kind::Wav(encoding, bytes) => {
                bytes.clear();
                encoding.encode(samples, bytes);
                write(bytes, (samples.len() / self.channels) as u64)
            }
            Kind::Flac(live) => live.pack(samples, write).map_err(told),
            Kind::Opus(live) => live.pack(samples, originals, write).map_err(told),
        }
    }

    /// Gives what is left to `write`: nothing comes after it.
    pub(super) fn finish(
        &mut self,
        originals: Option<&mut Originals>,
        write: Write<'_>,
    ) -> io::Result<()> {
        match &mut self.kind {
            Kind::Wav(..) => Ok(()),
            Kind::Flac(live) => live.finish(write).map_err(told),
            Kind::Opus(live) => live.finish(originals, write).map_err(told),
        }
    }
}

/// What a file cannot take is told as a file's error.
fn told(error: ExportError) -> io::Error {
    match error {
        ExportError::Io(error) => error,
        error => io::Error::other(error),
    }
}
