//! The seal of a recording: a record of what was recorded, chained by SHA-256 and signed at its end.
//!
//! It is a text beside the file (`NAME.wav.seal`), since a file that grows has no place for a trailer,
//! and a trailer would be missing after a crash, when it is wanted most. The file stays what every
//! tool knows. Each line but the last ends in `#` and the SHA-256, in hexadecimal, of the link before it
//! (32 zero bytes at first) and the line's own text before ` #`:
//!
//! ```text
//! sidetone-seal 1 id=… started=… format=pcm16 rate=8000 channels=2 tracks=caller,agent key=… #…
//! chunk n=0 at=0 frames=8000 sha256=… #…
//! note at=8123 kind=masked text=card #…
//! end at=16000 cause=closed … #…
//! signature key=… ed25519=…
//! ```
//!
//! Where the recording is encrypted the first line also has `age=`, in Base64 an age file for its readers that holds the
//! recording's key, and texts are `secret=`, in hexadecimal, instead of `text=`. With `digest=sm3` in the first line all
//! hashes are SM3 instead.
//!
//! A chunk is one second of all tracks as they are stored, encrypted where they are. Of FLAC and Ogg Opus it is a page,
//! and says how many `bytes=` it has: so the record tells where each moment lies in the file. Positions count samples of
//! a track. The signature is over [`SIGNED`], and the last link: whoever has the key's other half can show that not one bit of the
//! sound, the timeline or their order has changed since.

use std::fmt::{self, Write};
use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::media::recorder::crypt::cipher::DataKey;
use crate::media::recorder::digest::{Digest, Hasher, Link};
use crate::media::recorder::layout::Layout;
use crate::media::recorder::note::Note;
use crate::media::recorder::retention::Label;
use crate::media::recorder::track::Tracks;
use crate::media::recorder::writer::Report;
use crate::time::WallTime;

/// What stands before the last link in what is signed.
pub const SIGNED: &[u8] = b"sidetone-seal 1\n";

/// The first word of the first line.
pub(super) const MAGIC: &str = "sidetone-seal 1";

/// A key that signs recordings, with the name that they carry. Clones share it; it is never shown.
#[derive(Clone)]
pub struct SigningKey {
    id: Arc<str>,
    pair: Arc<Ed25519KeyPair>,
}

/// A key was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// It is no Ed25519 key in PKCS #8.
    #[error("not an Ed25519 key in PKCS #8")]
    Key,
    /// Its name is empty, longer than 64 bytes, or holds more than letters, digits, `-`, `_` and `.`.
    #[error("a key's name is 1 to 64 letters, digits, '-', '_' or '.'")]
    Name,
}

impl SigningKey {
    /// A key from its PKCS #8 document (RFC 8410; DER), as `openssl genpkey -algorithm ed25519` makes it.
    ///
    /// # Errors
    /// [`KeyError`]: the caller's mistake.
    pub fn from_pkcs8(id: &str, document: &[u8]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_pkcs8(document).map_err(|_| KeyError::Key)?;
        Self::named(id, pair)
    }

    /// A key from its 32 secret bytes.
    ///
    /// # Errors
    /// [`KeyError`]: the caller's mistake.
    pub fn from_seed(id: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyError::Key)?;
        Self::named(id, pair)
    }

    fn named(id: &str, pair: Ed25519KeyPair) -> Result<Self, KeyError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if !(1..=64).contains(&id.len()) || !id.bytes().all(plain) {
            return Err(KeyError::Name);
        }
        Ok(Self {
            id: id.into(),
            pair: Arc::new(pair),
        })
    }

    /// Its name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its public half, 32 bytes, which verifies.
    pub fn public(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }
}

impl SigningKey {
    /// The line that signs a message.
    pub(super) fn sign(&self, message: &[u8]) -> String {
        let signature = hex(self.pair.sign(message).as_ref());
        format!("signature key={} ed25519={signature}", self.id)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.id)
    }
}

/// What a record begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// A number that no other recording has, drawn at random: chunks of another recording do not fit.
    pub id: u128,
    /// When the recording began.
    pub started: WallTime,
    /// What its file is made of.
    pub layout: Layout,
    /// What its channels are.
    pub tracks: Tracks,
    /// Whether samples and texts are encrypted.
    pub is_encrypted: bool,
    /// What chains it.
    pub digest: Digest,
}

/// How a recording ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It was closed.
    Closed(Report),
    /// It could not be written further.
    Failed,
    /// The engine died; it was completed from the journal.
    Cut,
}

/// Makes the record of a recording, line by line.
pub struct Sealer {
    link: Link,
    layout: Layout,
    digest: Digest,
    chunk: Hasher,
    /// Bytes in the chunk.
    filled: usize,
    chunks: u64,
    /// Position of the next sample.
    at: u64,
    lines: String,
    /// What encrypts texts, and how many it has.
    secret: Option<DataKey>,
    texts: u64,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer({} chunks)", self.chunks)
    }
}

impl Sealer {
    /// Begins a record. `key` is the name of the key that is to sign it; `secret` the key that encrypts texts, and
    /// the age file that it lies in; `label` how long it must be kept.
    pub fn new(
        opening: &Opening,
        key: Option<&SigningKey>,
        secret: Option<(DataKey, &[u8])>,
        label: Option<&Label>,
    ) -> Self {
        let mut sealer = Self::resume([0; 32], (opening.layout, opening.digest), 0, 0);
        let mut more = match opening.digest {
            Digest::Sha256 => String::new(),
            digest => format!(" digest={}", digest.name()),
        };
        if let Some(label) = label {
            let (name, until) = (quote(&label.name), label.not_before.as_unix_nanos());
            // A string takes whatever is written to it.
            let _ = write!(more, " label={name} until={until}");
        }
        if let Some((secret, file)) = secret {
            // A string takes whatever is written to it.
            let _ = write!(more, " age={}", STANDARD.encode(file));
            sealer.secret = Some(secret);
        }
        let Layout {
            format,
            channels,
            rate,
        } = opening.layout;
        let format = format.name();
        let key = key.map_or("-", SigningKey::id);
        sealer.line(format_args!(
            "{MAGIC} id={:032x} started={} format={format} rate={} channels={channels} tracks={} key={key}{more}",
            opening.id,
            opening.started.as_unix_nanos(),
            rate.hz(),
            opening.tracks.names(),
        ));
        sealer
    }

    /// Goes on with a record whose last link is `link`, `chunks` chunks and `at` samples on.
    pub(super) fn resume(
        link: Link,
        (layout, digest): (Layout, Digest),
        chunks: u64,
        at: u64,
    ) -> Self {
        Self {
            link,
            layout,
            digest,
            chunk: digest.hasher(),
            filled: 0,
            chunks,
            at,
            lines: String::new(),
            secret: None,
            texts: 0,
        }
    }

    /// Takes so many samples of each channel as they are stored: of a format of pages, a page.
    pub fn audio(&mut self, mut bytes: &[u8], samples: u64) {
        let Some(whole) = chunk_bytes(self.layout) else {
            self.chunk.update(bytes);
            let bytes = format!(" bytes={}", bytes.len());
            return self.chunk(samples, &bytes);
        };
        while !bytes.is_empty() {
            let (part, rest) = bytes.split_at(bytes.len().min(whole - self.filled));
            self.chunk.update(part);
            self.filled += part.len();
            if self.filled == whole {
                self.end_chunk();
            }
            bytes = rest;
        }
    }

    /// Takes a note of the timeline.
    pub fn note(&mut self, position: u64, note: &Note) {
        let kind = note.kind();
        let mut about = String::new();
        if let Some(track) = note.track() {
            // A string takes whatever is written to it.
            let _ = write!(about, " track={}", track.name());
        }
        if let Some(count) = note.count() {
            let _ = write!(about, " count={count}");
        }
        if let Some(text) = note.text() {
            let _ = match &self.secret {
                Some(secret) => {
                    let mut bytes = text.as_bytes().to_vec();
                    bytes.truncate(MOST_TEXT);
                    secret.text(self.texts, &mut bytes);
                    self.texts += 1;
                    write!(about, " secret={}", hex(&bytes))
                }
                None => write!(about, " text={}", quote(text)),
            };
        }
        self.line(format_args!("note at={position} kind={kind}{about}"));
    }

    /// Ends the record, and signs it.
    pub fn end(&mut self, ending: &Ending, key: Option<&SigningKey>) {
        if self.filled > 0 {
            self.end_chunk();
        }
        let at = self.at;
        match ending {
            Ending::Closed(report) => {
                let mut told = String::new();
                for it in &report.tracks {
                    let (samples, lost) = (it.samples, it.lost_frames);
                    // A string takes whatever is written to it.
                    let _ = write!(told, " {samples},{lost},{}", it.late_samples);
                }
                let told = told.trim_start().replace(' ', ";");
                self.line(format_args!("end at={at} cause=closed tracks={told}"));
            }
            Ending::Failed => self.line(format_args!("end at={at} cause=failed")),
            Ending::Cut => self.line(format_args!("end at={at} cause=cut")),
        }
        self.sign(key);
    }

    /// Signs what the last link stands for.
    pub(super) fn sign(&mut self, key: Option<&SigningKey>) {
        if let Some(key) = key {
            // A string takes whatever is written to it.
            let _ = writeln!(self.lines, "{}", key.sign(&signed(&self.link)));
        }
    }

    /// The lines that were made since it was last asked.
    pub fn take_lines(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.lines.as_bytes());
        self.lines.clear();
    }

    fn end_chunk(&mut self) {
        let filled = std::mem::take(&mut self.filled) as u64;
        self.chunk(filled / self.layout.frame_bytes().unwrap_or(1), "");
    }

    fn chunk(&mut self, frames: u64, bytes: &str) {
        let chunk = std::mem::replace(&mut self.chunk, self.digest.hasher());
        let (n, at) = (self.chunks, self.at);
        let (name, hash) = (self.digest.name(), hex(&chunk.finish()));
        self.line(format_args!(
            "chunk n={n} at={at} frames={frames}{bytes} {name}={hash}"
        ));
        self.chunks += 1;
        self.at += frames;
    }

    fn line(&mut self, text: fmt::Arguments<'_>) {
        let from = self.lines.len();
        // A string takes whatever is written to it.
        let _ = self.lines.write_fmt(text);
        let line = self.lines.get(from..).unwrap_or_default();
        self.link = self.digest.hash(&[&self.link, line.as_bytes()]);
        let _ = writeln!(self.lines, " #{}", hex(&self.link));
    }
}

/// Bytes of a whole chunk, one second of all tracks; `None` where pages are chunks.
fn chunk_bytes(layout: Layout) -> Option<usize> {
    let frame = layout.frame_bytes()?;
    Some(layout.rate.hz() as usize * frame as usize)
}

/// The SHA-256 of `bytes`, whatever chains the record.
pub(super) fn hash(bytes: &[u8]) -> Link {
    Digest::Sha256.hash(&[bytes])
}

/// What is signed of a record that ends with `link`.
pub(super) fn signed(link: &Link) -> Vec<u8> {
    [SIGNED, link].concat()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |n: u8| char::from(b"0123456789abcdef"[usize::from(n & 15)]);
    let both = |&b: &u8| [digit(b >> 4), digit(b)];
    bytes.iter().flat_map(both).collect()
}

pub(super) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    unhex_all(text)?.try_into().ok()
}

pub(super) fn unhex_all(text: &str) -> Option<Vec<u8>> {
    let digit = |d: u8| {
        let digit = char::from(d).to_digit(16);
        digit.filter(|_| !d.is_ascii_uppercase())
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let byte = |pair: &[u8; 2]| Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8);
    pairs.iter().map(byte).collect()
}

/// Bytes of a text that are written down.
const MOST_TEXT: usize = 200;

/// Text of people as one word: at most [`MOST_TEXT`] bytes, without blanks and control characters.
pub(super) fn quote(text: &str) -> String {
    quote_bytes(text.bytes().take(MOST_TEXT))
}

/// The same, however long it is.
pub(super) fn quote_whole(text: &str) -> String {
    quote_bytes(text.bytes())
}

fn quote_bytes(text: impl Iterator<Item = u8>) -> String {
    let mut quoted = String::new();
    for byte in text {
        match byte {
            b'!'..=b'~' if byte != b'%' && byte != b'#' => quoted.push(char::from(byte)),
            // A string takes whatever is written to it.
            _ => drop(write!(quoted, "%{byte:02X}")),
        }
    }
    quoted
}

/// The text that [`quote`] has made a word of.
pub(super) fn unquote(word: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = word.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let escaped = tail.get(..2).filter(|_| byte == b'%');
        let escaped = escaped.and_then(|two| std::str::from_utf8(two).ok());
        match escaped.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(plain) => {
                bytes.push(plain);
                rest = &tail[2..];
            }
            None => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
