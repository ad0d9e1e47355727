//! Whether a recording is what was recorded: its file held against the record that seals it.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::media::frame::SampleRate;
use crate::media::recorder::crypt::age::{AgeError, Identity, decrypt};
use crate::media::recorder::crypt::cipher::{DataKey, mark};
use crate::media::recorder::digest::{Digest, Link};
use crate::media::recorder::export::{flac, ogg};
use crate::media::recorder::layout::{Format, Layout};
use crate::media::recorder::retention::Label;
use crate::media::recorder::seal::{MAGIC, Opening, SigningKey, signed, unhex, unhex_all, unquote};
use crate::media::recorder::track::Tracks;
use crate::time::{Duration, WallTime};

/// The public half of a key that signs recordings, under the name that they carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    /// The key's name; empty for a key that is tried whatever name a recording carries.
    pub id: String,
    /// The key, as in RFC 8032 §5.1.5.
    pub bytes: [u8; 32],
}

impl VerifyingKey {
    /// What verifies what `key` signs; `None` never, for keys of Ed25519.
    pub fn of(key: &SigningKey) -> Option<Self> {
        let bytes = key.public().try_into().ok()?;
        let id = key.id().to_owned();
        Some(Self { id, bytes })
    }
}

/// What the signature of a record is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signature {
    /// It is the key's, over this record.
    Valid {
        /// The key's name.
        key: String,
    },
    /// It is not the key's, or not over this record.
    Wrong {
        /// The key's name.
        key: String,
    },
    /// No key of this name was given to hold it against.
    Unknown {
        /// The key's name.
        key: String,
    },
    /// There is none.
    Missing,
}

/// How a record says that its recording ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It was closed.
    Closed,
    /// It could not be written further.
    Failed,
    /// The engine died, and it was completed from the journal.
    Cut,
}

/// Something that is not as it was recorded. Positions are samples of a track.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// The record is none, or its first line is not what it was.
    NoRecord,
    /// A line of the record is not what it was, or is in another's place.
    Record {
        /// Which line, the first being 1.
        line: usize,
        /// Where the recording stood.
        at: u64,
    },
    /// The file's header does not say what was recorded.
    Header,
    /// These samples are not what they were.
    Altered(Range<u64>),
    /// The file or its record ends here, and the recording did not.
    Truncated {
        /// Where.
        at: u64,
    },
    /// The file goes on after the recording's end.
    Extended {
        /// The end.
        at: u64,
    },
    /// What was to be silenced is not silent.
    NotSilent(Range<u64>),
}

/// A span of the recording of which nothing was to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silenced {
    /// Why; `None` for a pause.
    pub reason: Option<String>,
    /// From where to where.
    pub samples: Range<u64>,
    /// Whether the file is known to hold silence there; never of what is encrypted and could not be read.
    pub is_proven: bool,
}

/// A line of the timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    /// Where it happened.
    pub at: u64,
    /// What, as by `Note::kind`.
    pub kind: String,
    /// What was told of it.
    pub text: String,
    /// The track that it is about.
    pub track: Option<String>,
    /// The number that it carries.
    pub count: Option<i64>,
}

/// What was found of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What it began with, where the record says.
    pub opening: Option<Opening>,
    /// All that is not as it was, in order.
    pub findings: Vec<Finding>,
    /// What the signature is worth.
    pub signature: Signature,
    /// How it ended.
    pub cause: Option<Cause>,
    /// How many samples of a track are sealed.
    pub samples: u64,
    /// What was silenced.
    pub silenced: Vec<Silenced>,
    /// The timeline; texts that could not be read are empty.
    pub timeline: Vec<Noted>,
    /// How long it must be kept, where the record says.
    pub label: Option<Label>,
    /// Whether samples and texts could be read.
    pub reading: Reading,
}

/// Whether what was recorded could be read, beside being held against its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// It is not encrypted.
    Clear,
    /// It is encrypted, and was decrypted.
    Decrypted,
    /// It is encrypted, and no identity was given: that masked spans are silent is not proven.
    Encrypted,
    /// It is encrypted, and not for the identity that was given, or its key is none.
    Refused(AgeError),
}

impl Verdict {
    /// Whether the recording is complete, as it was recorded, and signed by a known key.
    pub fn is_intact(&self) -> bool {
        self.findings.is_empty() && matches!(self.signature, Signature::Valid { .. })
    }

    /// The time that a position stands for.
    pub fn time_of(&self, position: u64) -> Duration {
        let rate = self.opening.map_or(SampleRate::HZ_8000, |o| o.layout.rate);
        rate.duration_of(position)
    }
}

/// Holds the file `audio` against the record `seal`, and its signature against `keys`. Reads the file once
/// and what was silenced twice; memory holds one chunk of a second.
///
/// # Errors
/// The file could not be read. What is wrong with it is in the [`Verdict`].
pub fn verify(
    audio: &mut (impl Read + Seek),
    seal: &[u8],
    keys: &[VerifyingKey],
) -> io::Result<Verdict> {
    verify_as(audio, seal, keys, None)
}

/// As [`verify`], by somebody who may be able to read what is encrypted. Without an identity all of the same is
/// proven, but that what was masked is silent, and texts of the timeline are not shown.
///
/// # Errors
/// As [`verify`].
pub fn verify_as(
    audio: &mut (impl Read + Seek),
    seal: &[u8],
    keys: &[VerifyingKey],
    identity: Option<&Identity>,
) -> io::Result<Verdict> {
    let mut record = Record::parse(seal);
    let (reading, secret) = record.unlock(identity);
    let mut verdict = Verdict {
        opening: record.opening,
        signature: judge_record(&record, keys),
        findings: record.findings,
        cause: record.end.map(|(_, cause)| cause),
        samples: record.at,
        silenced: Vec::new(),
        timeline: record.timeline,
        label: record.label,
        reading,
    };
    let Some(opening) = record.opening else {
        verdict.findings.push(Finding::NoRecord);
        return Ok(verdict);
    };
    let mut tape = Tape::open(audio, opening.layout, secret)?;
    let mut sealed = opening.layout.head(record.at);
    if opening.is_encrypted {
        mark(&mut sealed);
    }
    if record.end.is_some() && tape.head != sealed {
        verdict.findings.push(Finding::Header);
    }
    let chunks = (&record.chunks[..], record.digest);
    check_chunks(&mut tape, chunks, &mut verdict.findings)?;
    if record.end.is_none() {
        verdict.findings.push(Finding::Truncated { at: record.at });
    } else if tape.bytes > record.bytes {
        verdict.findings.push(Finding::Extended { at: record.at });
    }
    for (reason, samples) in spans(&verdict.timeline, record.at) {
        let is_readable = matches!(reading, Reading::Clear | Reading::Decrypted);
        let is_proven = is_readable && tape.is_silent(&samples, &record.chunks)?;
        if is_readable && !is_proven {
            verdict.findings.push(Finding::NotSilent(samples.clone()));
        }
        verdict.silenced.push(Silenced {
            reason,
            samples,
            is_proven,
        });
    }
    Ok(verdict)
}

/// The key of an encrypted recording, out of its record.
///
/// # Errors
/// [`AgeError`]: it is not for this identity, or not encrypted at all ([`AgeError::Format`]).
pub fn data_key(seal: &[u8], identity: &Identity) -> Result<DataKey, AgeError> {
    Record::parse(seal).data_key(identity)
}

/// What a record says of the file beside it, believed without being held against it: how its tracks are called, and its
/// timeline without texts. `None` where it is none.
pub fn told(seal: &[u8]) -> Option<(Opening, Vec<Noted>)> {
    let record = Record::parse(seal);
    Some((record.opening?, record.timeline))
}

/// What the signature of a record is worth.
pub(super) fn judge_record(record: &Record, keys: &[VerifyingKey]) -> Signature {
    let Some((key, bytes)) = &record.signature else {
        return Signature::Missing;
    };
    judge_signature(key.clone(), bytes, &signed(&record.link), keys)
}

/// What the signature `bytes` over `message` by the key of this name is worth.
pub(super) fn judge_signature(
    key: String,
    bytes: &[u8; 64],
    message: &[u8],
    keys: &[VerifyingKey],
) -> Signature {
    let mut named = keys
        .iter()
        .filter(|k| k.id == key || k.id.is_empty())
        .peekable();
    if named.peek().is_none() {
        return Signature::Unknown { key };
    }
    let is_by = |by: &VerifyingKey| {
        let public = UnparsedPublicKey::new(&ED25519, by.bytes);
        public.verify(message, bytes).is_ok()
    };
    match named.any(is_by) {
        true => Signature::Valid { key },
        false => Signature::Wrong { key },
    }
}

/// Finds the chunks that are not what they were.
fn check_chunks<A: Read + Seek>(
    tape: &mut Tape<'_, A>,
    (chunks, digest): (&[Chunk], Digest),
    findings: &mut Vec<Finding>,
) -> io::Result<()> {
    let mut altered: Option<Range<u64>> = None;
    for chunk in chunks {
        let until = chunk.at + chunk.frames;
        if chunk.until() > tape.bytes {
            findings.extend(altered.take().map(Finding::Altered));
            let at = tape.layout.frame_bytes().map(|frame| tape.bytes / frame);
            let at = at.unwrap_or(chunk.at);
            findings.push(Finding::Truncated { at });
            return Ok(());
        }
        if digest.hash(&[tape.read(chunk.from..chunk.until())?]) == chunk.hash {
            findings.extend(altered.take().map(Finding::Altered));
        } else {
            altered = Some(altered.map_or(chunk.at, |range| range.start)..until);
        }
    }
    findings.extend(altered.map(Finding::Altered));
    Ok(())
}

/// The spans that the timeline says are silenced, each with its reason.
fn spans(timeline: &[Noted], end: u64) -> Vec<(Option<String>, Range<u64>)> {
    let mut spans = Vec::new();
    for (begins, ends) in [("masked", "unmasked"), ("paused", "resumed")] {
        let mut open: Option<(Option<String>, u64)> = None;
        for noted in timeline {
            if noted.kind == begins && open.is_none() {
                let reason = (begins == "masked").then(|| noted.text.clone());
                open = Some((reason, noted.at));
            } else if noted.kind == ends
                && let Some((reason, from)) = open.take()
            {
                spans.push((reason, from.min(end)..noted.at.min(end)));
            }
        }
        spans.extend(open.map(|(reason, from)| (reason, from.min(end)..end)));
    }
    spans.sort_by_key(|(_, samples)| samples.start);
    spans
}

/// The samples of a file.
struct Tape<'a, A> {
    audio: &'a mut A,
    layout: Layout,
    head: Vec<u8>,
    /// Bytes of whole samples behind the head.
    bytes: u64,
    secret: Option<DataKey>,
    buffer: Vec<u8>,
}

impl<'a, A: Read + Seek> Tape<'a, A> {
    fn open(audio: &'a mut A, layout: Layout, secret: Option<DataKey>) -> io::Result<Self> {
        let length = audio.seek(SeekFrom::End(0))?;
        audio.seek(SeekFrom::Start(0))?;
        let mut head = vec![0; layout.head_bytes() as usize];
        if length >= layout.head_bytes() {
            audio.read_exact(&mut head)?;
        }
        let frame = layout.frame_bytes().unwrap_or(1);
        Ok(Self {
            audio,
            layout,
            head,
            bytes: length.saturating_sub(layout.head_bytes()) / frame * frame,
            secret,
            buffer: Vec::new(),
        })
    }

    /// Bytes of the file behind its head, which must be there.
    fn read(&mut self, bytes: Range<u64>) -> io::Result<&[u8]> {
        let length = usize::try_from(bytes.end - bytes.start).unwrap_or(usize::MAX);
        self.buffer.resize(length, 0);
        let from = self.layout.head_bytes() + bytes.start;
        self.audio.seek(SeekFrom::Start(from))?;
        self.audio.read_exact(&mut self.buffer)?;
        Ok(&self.buffer)
    }

    /// The same in the clear.
    fn read_clear(&mut self, bytes: Range<u64>) -> io::Result<&[u8]> {
        let from = bytes.start;
        self.read(bytes)?;
        if let Some(secret) = &self.secret {
            secret.samples(from, &mut self.buffer);
        }
        Ok(&self.buffer)
    }

    fn is_silent(&mut self, samples: &Range<u64>, chunks: &[Chunk]) -> io::Result<bool> {
        match self.layout.format {
            Format::Wav(encoding) => {
                let frame = self.layout.frame_bytes().unwrap_or(1);
                let end = (samples.end * frame).min(self.bytes);
                let mut at = samples.start * frame;
                while at < end {
                    let until = end.min(at + 48_000 * frame);
                    let stored = self.read_clear(at..until)?;
                    if stored.iter().any(|&byte| byte != encoding.silence()) {
                        return Ok(false);
                    }
                    at = until;
                }
                Ok(true)
            }
            _ => self.are_pages_silent(samples, chunks),
        }
    }

    /// Whether nothing is heard in the pages, as far as they lie between these samples.
    fn are_pages_silent(&mut self, samples: &Range<u64>, chunks: &[Chunk]) -> io::Result<bool> {
        let layout = self.layout;
        let form = (layout.channels, layout.rate);
        for (number, chunk) in (0..).zip(chunks) {
            let until = chunk.at + chunk.frames;
            if until <= samples.start || chunk.at >= samples.end || chunk.until() > self.bytes {
                continue;
            }
            let page = self.read_clear(chunk.from..chunk.until())?;
            let is_silent = match layout.format {
                Format::Opus(_) => ogg::is_silent(form, page, chunk.at, samples),
                _ => {
                    let is_inside = samples.start <= chunk.at && until <= samples.end;
                    !is_inside || flac::is_silent(form, page, number, chunk.frames)
                }
            };
            if !is_silent {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A chunk as the record has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) at: u64,
    pub(super) frames: u64,
    /// Where its bytes lie behind the file's head, and how many they are.
    from: u64,
    bytes: u64,
    hash: Link,
}

impl Chunk {
    fn until(&self) -> u64 {
        self.from + self.bytes
    }
}

/// A line of a record that fits.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Line {
    /// Where it ends in the text.
    pub(super) end: usize,
    pub(super) link: Link,
    /// Chunks so far, the samples of a track and the bytes that they hold.
    pub(super) chunks: u64,
    pub(super) at: u64,
    pub(super) bytes: u64,
}

/// A record as far as it can be read.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) opening: Option<Opening>,
    /// What chains it.
    pub(super) digest: Digest,
    /// How long it must be kept.
    pub(super) label: Option<Label>,
    /// The age file that its key lies in, where it is encrypted.
    envelope: Vec<u8>,
    /// The encrypted texts, and which lines of the timeline they are of.
    secrets: Vec<(usize, Vec<u8>)>,
    pub(super) chunks: Vec<Chunk>,
    timeline: Vec<Noted>,
    pub(super) end: Option<(u64, Cause)>,
    pub(super) signature: Option<(String, [u8; 64])>,
    findings: Vec<Finding>,
    /// The last link.
    pub(super) link: Link,
    /// Where the chunks end: samples of a track, and bytes.
    pub(super) at: u64,
    pub(super) bytes: u64,
    /// The lines that fit.
    pub(super) lines: Vec<Line>,
}

impl Record {
    /// Reads a record. What it breaks off in is left out; what does not fit is a finding.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let mut record = Self {
            opening: None,
            digest: Digest::default(),
            label: None,
            envelope: Vec::new(),
            secrets: Vec::new(),
            chunks: Vec::new(),
            timeline: Vec::new(),
            end: None,
            signature: None,
            findings: Vec::new(),
            link: [0; 32],
            at: 0,
            bytes: 0,
            lines: Vec::new(),
        };
        let (mut from, mut lines) = (0, 0);
        let ends = bytes.iter().enumerate().filter(|(_, b)| **b == b'\n');
        for (number, (end, _)) in (1..).zip(ends) {
            let line = bytes.get(from..end).unwrap_or_default();
            let taken = std::str::from_utf8(line)
                .ok()
                .and_then(|line| record.take(line));
            if taken != Some(true) {
                let at = record.at;
                record.findings.push(Finding::Record { line: number, at });
            }
            from = end + 1;
            lines = number;
            if taken == Some(true) {
                record.lines.push(Line {
                    end: from,
                    link: record.link,
                    chunks: record.chunks.len() as u64,
                    at: record.at,
                    bytes: record.bytes,
                });
            }
        }
        if from < bytes.len() {
            let (line, at) = (lines + 1, record.at);
            record.findings.push(Finding::Record { line, at });
        }
        record
    }

    /// Whether it is complete and each of its lines what it was.
    pub(super) fn is_whole(&self) -> bool {
        self.findings.is_empty() && self.end.is_some()
    }

    fn data_key(&self, identity: &Identity) -> Result<DataKey, AgeError> {
        let key = decrypt(identity, &self.envelope)?;
        let key = key.as_slice().try_into().map_err(|_| AgeError::Format)?;
        Ok(DataKey::new(key))
    }

    /// Reads the texts of the timeline, where they are encrypted and for this identity.
    fn unlock(&mut self, identity: Option<&Identity>) -> (Reading, Option<DataKey>) {
        if !self.opening.is_some_and(|opening| opening.is_encrypted) {
            return (Reading::Clear, None);
        }
        let key = match identity.map(|identity| self.data_key(identity)) {
            None => return (Reading::Encrypted, None),
            Some(Err(error)) => return (Reading::Refused(error), None),
            Some(Ok(key)) => key,
        };
        for (number, (line, text)) in (0..).zip(&mut self.secrets) {
            key.text(number, text);
            if let Some(noted) = self.timeline.get_mut(*line) {
                noted.text = String::from_utf8_lossy(text).into_owned();
            }
        }
        (Reading::Decrypted, Some(key))
    }

    /// Takes a line; whether it fits, or `None` where it makes no sense.
    fn take(&mut self, line: &str) -> Option<bool> {
        if self.signature.is_some() {
            return None;
        }
        if let Some(rest) = line.strip_prefix("signature ") {
            let key = field(rest, "key")?.to_owned();
            self.signature = Some((key, unhex(field(rest, "ed25519")?)?));
            return Some(self.end.is_some());
        }
        let (text, link) = line.rsplit_once(" #")?;
        let link: Link = unhex(link)?;
        if self.opening.is_none()
            && let Some(digest) = field(text, "digest").and_then(Digest::named)
        {
            self.digest = digest;
        }
        let fits = self.digest.hash(&[&self.link, text.as_bytes()]) == link;
        // The lines behind an altered one are held against the link that it shows.
        self.link = link;
        if self.end.is_some() {
            return None;
        }
        let (word, rest) = text.split_once(' ')?;
        match word {
            "chunk" => self.take_chunk(rest)?,
            "note" => {
                if let Some(secret) = field(rest, "secret") {
                    self.secrets.push((self.timeline.len(), unhex_all(secret)?));
                }
                self.timeline.push(noted(rest)?);
            }
            "end" => self.take_end(rest)?,
            _ => self.take_opening(text)?,
        }
        Some(fits)
    }

    fn take_opening(&mut self, text: &str) -> Option<()> {
        let rest = text
            .strip_prefix(MAGIC)
            .filter(|_| self.opening.is_none())?;
        let format = Format::named(field(rest, "format")?)?;
        let started = number(rest, "started")?;
        let tracks = Tracks::from_names(field(rest, "tracks")?)?;
        let channels = number(rest, "channels")?;
        if channels != u64::from(tracks.channels()) {
            return None;
        }
        if let Some(name) = field(rest, "label") {
            self.label = Some(Label {
                name: unquote(name),
                not_before: WallTime::from_unix_nanos(number(rest, "until")?),
            });
        }
        if let Some(file) = field(rest, "age") {
            self.envelope = STANDARD.decode(file).ok()?;
        }
        if field(rest, "digest").is_some_and(|name| name != self.digest.name()) {
            return None;
        }
        self.opening = Some(Opening {
            digest: self.digest,
            is_encrypted: !self.envelope.is_empty(),
            tracks,
            id: u128::from_str_radix(field(rest, "id")?, 16).ok()?,
            started: WallTime::from_unix_nanos(started),
            layout: Layout {
                format,
                channels: tracks.channels(),
                rate: SampleRate::from_hz(u32::try_from(number(rest, "rate")?).ok()?)?,
            },
        });
        Some(())
    }

    fn take_chunk(&mut self, rest: &str) -> Option<()> {
        let layout = self.opening?.layout;
        let frames = number(rest, "frames")?;
        let (bytes, fits) = match layout.frame_bytes() {
            Some(frame) => (
                frames.checked_mul(frame)?,
                (1..=u64::from(layout.rate.hz())).contains(&frames),
            ),
            None => {
                let bytes = number(rest, "bytes")?;
                (bytes, (1..=MOST_PAGE).contains(&bytes))
            }
        };
        let chunk = Chunk {
            at: number(rest, "at")?,
            frames,
            from: self.bytes,
            bytes,
            hash: unhex(field(rest, self.digest.name())?)?,
        };
        let fits = fits && chunk.at == self.at && number(rest, "n")? == self.chunks.len() as u64;
        if !fits || frames > u64::from(layout.rate.hz()) {
            return None;
        }
        self.at += chunk.frames;
        self.bytes += chunk.bytes;
        self.chunks.push(chunk);
        Some(())
    }

    fn take_end(&mut self, rest: &str) -> Option<()> {
        let cause = match field(rest, "cause")? {
            "closed" => Cause::Closed,
            "failed" => Cause::Failed,
            "cut" => Cause::Cut,
            _ => return None,
        };
        let at = number(rest, "at")?;
        self.end = Some((at, cause));
        (at == self.at).then_some(())
    }
}

/// Bytes of a page at most: a second of eight channels, not compressed at all.
const MOST_PAGE: u64 = 1 << 20;

fn noted(rest: &str) -> Option<Noted> {
    Some(Noted {
        at: number(rest, "at")?,
        kind: field(rest, "kind")?.to_owned(),
        text: field(rest, "text").map(unquote).unwrap_or_default(),
        track: field(rest, "track").map(str::to_owned),
        count: field(rest, "count").and_then(|count| count.parse().ok()),
    })
}

pub(super) fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = line.split(' ').filter_map(|word| word.split_once('='));
    fields.find(|(n, _)| *n == name).map(|(_, value)| value)
}

pub(super) fn number(line: &str, name: &str) -> Option<u64> {
    field(line, name)?.parse().ok()
}

#[cfg(test)]
mod tests;
