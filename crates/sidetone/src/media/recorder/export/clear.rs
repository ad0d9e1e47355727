//! A recording's own file in the clear.

use std::io::{self, Read, Write};

use crate::media::recorder::crypt::cipher::{DataKey, unmark};
use crate::media::recorder::export::{ExportError, flac};
use crate::media::wav::Header;

/// The head of a page of Ogg without its lacing (RFC 3533 §6).
const PAGE_HEAD: usize = 27;

/// A recording's file as it is read in the clear.
#[derive(Debug)]
pub(super) struct Clear<R> {
    file: R,
    key: Option<DataKey>,
    head: Vec<u8>,
    /// Bytes of the head that have been read, and of what follows it.
    given: usize,
    offset: u64,
}

impl<R: Read> Clear<R> {
    pub(super) fn open(mut file: R, key: Option<DataKey>) -> Result<Self, ExportError> {
        let (head, is_encrypted) = read_head(&mut file)?;
        let key = match (is_encrypted, key) {
            (false, _) => None,
            (true, Some(key)) => Some(key),
            (true, None) => return Err(ExportError::Encrypted),
        };
        Ok(Self {
            file,
            key,
            head,
            given: 0,
            offset: 0,
        })
    }

    /// What the file begins with; it is not read any more then.
    pub(super) fn take_head(&mut self) -> Vec<u8> {
        self.given = self.head.len();
        self.head.clone()
    }
}

impl<R: Read> Read for Clear<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut head = self.head.get(self.given..).unwrap_or_default();
        if !head.is_empty() {
            let count = head.read(bytes)?;
            self.given += count;
            return Ok(count);
        }
        let count = self.file.read(bytes)?;
        if let Some(key) = &self.key {
            key.samples(self.offset, bytes.get_mut(..count).unwrap_or_default());
        }
        self.offset += count as u64;
        Ok(count)
    }
}

/// Copies a recording's file, whichever of the engine's formats it has, decrypted with `key` where it is encrypted.
///
/// # Errors
/// [`ExportError`].
pub fn write<R: Read, W: Write>(
    file: R,
    key: Option<&DataKey>,
    mut out: W,
) -> Result<(), ExportError> {
    let mut clear = Clear::open(file, key.cloned())?;
    io::copy(&mut clear, &mut out)?;
    out.flush()?;
    Ok(())
}

/// What a recording's file begins with, in the clear, and whether the rest is encrypted.
fn read_head<R: Read>(file: &mut R) -> Result<(Vec<u8>, bool), ExportError> {
    let mut head = vec![0; 4];
    read(file, &mut head)?;
    let is_encrypted = unmark(&mut head);
    let length = match head.as_slice() {
        b"RIFF" | b"RF64" => Header::LEN,
        b"fLaC" => flac::HEAD,
        b"OggS" => {
            read_page(file, &mut head, PAGE_HEAD - 4)?;
            read_page(file, &mut head, PAGE_HEAD)?;
            head.len()
        }
        _ => return Err(ExportError::NotRecording),
    };
    let from = head.len();
    head.resize(length, 0);
    read(file, head.get_mut(from..).unwrap_or_default())?;
    Ok((head, is_encrypted))
}

/// Appends a page of Ogg of whose head so many bytes are still to come.
fn read_page<R: Read>(file: &mut R, head: &mut Vec<u8>, rest: usize) -> Result<(), ExportError> {
    let mut more = |count: usize| {
        let from = head.len();
        head.resize(from + count, 0);
        let part = head.get_mut(from..).unwrap_or_default();
        read(file, part)?;
        let sum = part.iter().map(|&byte| usize::from(byte)).sum::<usize>();
        Ok::<_, ExportError>((sum, part.last().copied().unwrap_or(0)))
    };
    let (_, segments) = more(rest)?;
    let (length, _) = more(usize::from(segments))?;
    more(length)?;
    Ok(())
}

/// A file that is shorter is none of ours.
fn read<R: Read>(file: &mut R, bytes: &mut [u8]) -> Result<(), ExportError> {
    let read = file.read_exact(bytes);
    read.map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => ExportError::NotRecording,
        _ => error.into(),
    })
}
