//! The journal of a disk: what recordings have written since their files were last synced, committed
//! together.
//!
//! The journal is a row of segment files, `NUMBER.journal`. A segment begins with a header of
//! [`SEGMENT_HEADER`] bytes: the magic `SIDEJRNL`, the format's version (1), the number of the segment that
//! its run began with, its own number, and the CRC-32C of these. Entries follow, each a header of
//! [`ENTRY_HEADER`] bytes (payload length, CRC-32C of all else, kind, stream, recording, offset) and its
//! payload; all numbers are little-endian. What does not check ends the segment: it was being written.
//!
//! Entries say what belongs at which offset of which file, so that applying them twice changes nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

use crate::id::RecordingId;
use crate::media::frame::SampleRate;
use crate::media::recorder::crypt::cipher::mark;
use crate::media::recorder::disk::{Disk, DiskFile};
use crate::media::recorder::layout::{Format, Layout};

/// Bytes of a segment's header.
pub const SEGMENT_HEADER: usize = 32;
/// Bytes of an entry's header.
pub const ENTRY_HEADER: usize = 28;
/// The longest payload of an entry.
pub const MAX_PAYLOAD: usize = 1 << 20;

const MAGIC: &[u8; 8] = b"SIDEJRNL";
const VERSION: u32 = 1;
const SUFFIX: &str = "journal";

/// How a journal is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalConfig {
    /// Where its segments lie: a directory of this engine alone, on the disk of the recordings or on a
    /// faster one.
    pub directory: PathBuf,
    /// Bytes after which a new segment is begun. Default 64 MiB.
    pub segment_bytes: u64,
    /// Bytes on the disk after which the files of the recordings that keep the oldest segment are synced,
    /// so that it can be removed. A stalled disk lets it grow further. Default 1 GiB.
    pub most_bytes: u64,
    /// Bytes that may wait in memory while the disk does not take them; beyond it the journal is suspended:
    /// recordings go on without it, which is noted in them. Default 64 MiB.
    pub most_waiting: usize,
}

impl JournalConfig {
    /// A journal in `directory`.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            segment_bytes: 64 << 20,
            most_bytes: 1 << 30,
            most_waiting: 64 << 20,
        }
    }
}

/// Which file of a recording bytes belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    /// The samples; offsets count from behind the head.
    Audio,
    /// The record that seals them.
    Seal,
}

/// What recovery must know of a recording to complete its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The recording itself.
    pub audio: PathBuf,
    /// What it is made of.
    pub layout: Layout,
    /// The file of the record that seals it, where there is one.
    pub seal: Option<PathBuf>,
    /// Whether its samples are encrypted where they stand.
    pub is_encrypted: bool,
}

impl Files {
    /// The file's head in front of so many samples of each channel.
    pub fn head(&self, samples: u64) -> Vec<u8> {
        let mut head = self.layout.head(samples);
        if self.is_encrypted {
            mark(&mut head);
        }
        head
    }
}

/// An entry as it stands in a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry<'a> {
    /// The recording is being written to these files. Comes first in each segment that names it.
    Open {
        /// The recording.
        recording: RecordingId,
        /// Its files.
        files: Files,
    },
    /// Bytes of a file.
    Data {
        /// The recording.
        recording: RecordingId,
        /// Which file.
        stream: Stream,
        /// Where in it.
        offset: u64,
        /// What belongs there.
        bytes: &'a [u8],
    },
    /// The recording's files are complete and synced.
    Closed {
        /// The recording.
        recording: RecordingId,
    },
}

/// Bytes that want to be appended to a segment and synced.
#[derive(Debug)]
pub struct Commit {
    path: PathBuf,
    is_new: bool,
    offset: u64,
    bytes: Vec<u8>,
}

/// What became of a [`Commit`].
#[derive(Debug)]
pub struct Committed {
    bytes: Vec<u8>,
    result: io::Result<()>,
}

/// Writes commits: the part of a journal that waits for the disk.
#[derive(Debug)]
pub struct SegmentWriter<D: Disk> {
    disk: D,
    file: Option<D::File>,
}

impl<D: Disk> SegmentWriter<D> {
    /// A writer on `disk`.
    pub fn new(disk: D) -> Self {
        Self { disk, file: None }
    }

    /// Appends to the segment, and returns when the disk has it.
    pub fn run(&mut self, commit: Commit) -> Committed {
        let result = self.write(&commit);
        if result.is_err() {
            self.file = None;
        }
        Committed {
            bytes: commit.bytes,
            result,
        }
    }

    fn write(&mut self, commit: &Commit) -> io::Result<()> {
        if commit.is_new {
            self.file = Some(self.disk.create(&commit.path)?);
        }
        let file = self.file.as_mut().ok_or(io::ErrorKind::NotFound)?;
        file.write_at(commit.offset, &commit.bytes)?;
        file.sync()?;
        if commit.is_new
            && let Some(directory) = commit.path.parent()
        {
            self.disk.sync_directory(directory)?;
        }
        Ok(())
    }
}

/// The journal as a machine: takes what recordings write, and gives commits to be carried out.
#[derive(Debug)]
pub struct Journal {
    config: JournalConfig,
    run: u64,
    open: BTreeMap<RecordingId, Files>,
    /// Oldest first; the last is the one that the batch goes to.
    segments: VecDeque<Segment>,
    /// Recordings that the last segment knows.
    introduced: BTreeSet<RecordingId>,
    batch: Vec<u8>,
    spare: Vec<u8>,
    /// Bytes with the disk.
    in_flight: usize,
    suspended: bool,
    /// There is a hole: open files must be synced.
    has_hole: bool,
    has_ended: bool,
    figures: JournalFigures,
}

/// What a journal has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JournalFigures {
    /// Commits that the disk has.
    pub commits: u64,
    /// Bytes that they held.
    pub bytes: u64,
    /// Commits that failed.
    pub failures: u64,
    /// Times that it was suspended, since the disk failed or did not keep up.
    pub suspensions: u64,
}

#[derive(Debug)]
struct Segment {
    path: PathBuf,
    bytes: u64,
    /// Recordings whose files are not known to hold what it holds.
    keeps: BTreeSet<RecordingId>,
    is_made: bool,
}

impl Journal {
    /// A journal whose first segment has number `run`: one more than any that lies in its directory.
    pub fn new(config: JournalConfig, run: u64) -> Self {
        let mut journal = Self {
            config,
            run,
            open: BTreeMap::new(),
            segments: VecDeque::new(),
            introduced: BTreeSet::new(),
            batch: Vec::new(),
            spare: Vec::new(),
            in_flight: 0,
            suspended: false,
            has_hole: false,
            has_ended: false,
            figures: JournalFigures::default(),
        };
        journal.begin_segment(run);
        journal
    }

    /// A recording begins.
    pub fn open(&mut self, recording: RecordingId, files: Files) {
        self.open.insert(recording, files);
        self.introduce(recording);
    }

    /// Bytes were written to a file of a recording that is open.
    pub fn append(&mut self, recording: RecordingId, stream: Stream, offset: u64, bytes: &[u8]) {
        if !self.introduce(recording) {
            return;
        }
        let mut offset = offset;
        for part in bytes.chunks(MAX_PAYLOAD) {
            put(&mut self.batch, KIND_DATA, stream, recording, offset, part);
            offset += part.len() as u64;
        }
        if self.batch.len() + self.in_flight > self.config.most_waiting {
            self.suspend();
        }
    }

    /// The files of a recording are complete, and synced where `is_safe`: then nothing needs to be kept
    /// for it. Otherwise they are left to the next recovery.
    pub fn close(&mut self, recording: RecordingId, is_safe: bool) {
        if !is_safe {
            self.open.remove(&recording);
            return;
        }
        if self.introduce(recording) {
            put(
                &mut self.batch,
                KIND_CLOSED,
                Stream::Audio,
                recording,
                0,
                &[],
            );
        }
        self.open.remove(&recording);
        self.introduced.remove(&recording);
        for segment in &mut self.segments {
            segment.keeps.remove(&recording);
        }
    }

    /// Whether recordings go on without it.
    pub fn is_suspended(&self) -> bool {
        self.suspended
    }

    /// Takes up work again in a new segment. What was written meanwhile is safe when
    /// [`poll_checkpoint`](Self::poll_checkpoint) has been served.
    pub fn resume(&mut self) {
        if std::mem::take(&mut self.suspended) {
            self.begin_segment(self.next_number());
            self.has_hole = true;
        }
    }

    fn suspend(&mut self) {
        if !self.suspended {
            self.suspended = true;
            self.figures.suspensions += 1;
            self.batch.clear();
        }
    }

    /// What is to be committed next, one at a time: nothing until [`handle_committed`] has been told of the
    /// last.
    ///
    /// [`handle_committed`]: Self::handle_committed
    pub fn poll_commit(&mut self) -> Option<Commit> {
        if self.in_flight > 0 || self.suspended || self.batch.len() <= SEGMENT_HEADER {
            return None;
        }
        let bytes = std::mem::replace(&mut self.batch, std::mem::take(&mut self.spare));
        self.in_flight = bytes.len();
        let segment = self.segments.back_mut()?;
        let commit = Commit {
            path: segment.path.clone(),
            is_new: !segment.is_made,
            offset: segment.bytes,
            bytes,
        };
        segment.is_made = true;
        segment.bytes += commit.bytes.len() as u64;
        if segment.bytes >= self.config.segment_bytes {
            self.begin_segment(self.next_number());
        }
        Some(commit)
    }

    /// Whether [`handle_committed`](Self::handle_committed) has still to be told of a commit.
    pub fn is_committing(&self) -> bool {
        self.in_flight > 0
    }

    /// A commit has come to its end. Where it failed the journal is suspended.
    ///
    /// # Errors
    /// The disk's error: what the commit held is not safe.
    pub fn handle_committed(&mut self, committed: Committed) -> io::Result<()> {
        let Committed { mut bytes, result } = committed;
        self.in_flight = 0;
        match &result {
            Ok(()) => {
                self.figures.commits += 1;
                self.figures.bytes += bytes.len() as u64;
            }
            Err(_) => {
                self.figures.failures += 1;
                self.suspend();
            }
        }
        bytes.clear();
        self.spare = bytes;
        result
    }

    /// The segments that nothing needs any more, oldest first, to be removed in this order.
    pub fn poll_removable(&mut self) -> Option<PathBuf> {
        // A segment may go when those before it are gone: one that says "closed" outlives the data.
        let oldest = self.segments.front()?;
        let is_last = self.segments.len() < 2 && !self.has_ended;
        if is_last || !oldest.keeps.is_empty() {
            return None;
        }
        let oldest = self.segments.pop_front()?;
        oldest.is_made.then_some(oldest.path)
    }

    /// The recordings whose files must be synced now: for the oldest segment to go, where the journal has
    /// grown too large, or since it was suspended. Each is told to [`release`](Self::release) afterwards,
    /// with the number given here.
    pub fn poll_checkpoint(&mut self) -> Option<(u64, Vec<(RecordingId, Files)>)> {
        let bytes: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
        let last = self.next_number() - 1;
        if std::mem::take(&mut self.has_hole) {
            let all = self.open.iter().map(|(id, files)| (*id, files.clone()));
            return Some((last, all.collect()));
        }
        if bytes <= self.config.most_bytes || self.segments.len() < 2 {
            return None;
        }
        let open = &self.open;
        let oldest = self.segments.front_mut()?;
        // Those whose files could not be synced have been told of, and are kept no longer.
        oldest.keeps.retain(|id| open.contains_key(id));
        let files = |id: &RecordingId| Some((*id, open.get(id)?.clone()));
        Some((last, oldest.keeps.iter().filter_map(files).collect()))
    }

    /// A recording's files have been synced since segment `number` was begun: those before it need not be
    /// kept for it.
    pub fn release(&mut self, recording: RecordingId, number: u64) {
        let newer = (self.next_number().saturating_sub(number)) as usize;
        let older = self.segments.len().saturating_sub(newer);
        for segment in self.segments.iter_mut().take(older) {
            segment.keeps.remove(&recording);
        }
    }

    /// Nothing is recorded any more: segments that nothing needs may all go.
    pub fn end(&mut self) {
        self.has_ended = true;
        self.suspend();
    }

    /// What it has done.
    pub fn figures(&self) -> JournalFigures {
        self.figures
    }

    /// Segments on the disk, and their bytes.
    pub fn size(&self) -> (usize, u64) {
        let made = self.segments.iter().filter(|segment| segment.is_made);
        (made.count(), self.segments.iter().map(|s| s.bytes).sum())
    }

    fn next_number(&self) -> u64 {
        let last = self.segments.back().and_then(|s| segment_number(&s.path));
        last.map_or(self.run, |number| number + 1)
    }

    fn begin_segment(&mut self, number: u64) {
        let path = self.config.directory.join(format!("{number:016}.{SUFFIX}"));
        self.segments.push_back(Segment {
            path,
            bytes: 0,
            keeps: BTreeSet::new(),
            is_made: false,
        });
        self.introduced.clear();
        self.batch.extend(segment_header(self.run, number));
    }

    /// Lets the last segment know an open recording.
    fn introduce(&mut self, recording: RecordingId) -> bool {
        let Some(files) = self.open.get(&recording).filter(|_| !self.suspended) else {
            return false;
        };
        if let Some(segment) = self.segments.back_mut() {
            segment.keeps.insert(recording);
        }
        if self.introduced.insert(recording) {
            let payload = describe(files);
            put(
                &mut self.batch,
                KIND_OPEN,
                Stream::Audio,
                recording,
                0,
                &payload,
            );
        }
        true
    }
}

/// Set beside the format where samples are encrypted.
const ENCRYPTED: u8 = 0x80;
const KIND_OPEN: u8 = 1;
const KIND_DATA: u8 = 2;
const KIND_CLOSED: u8 = 3;

/// Whether `bytes` begin a segment whose format is of another version: it is whole, and cannot be read here.
pub fn is_of_another_version(bytes: &[u8]) -> bool {
    let Some((header, _)) = bytes.split_first_chunk::<SEGMENT_HEADER>() else {
        return false;
    };
    let (told, crc) = header.split_at(28);
    told.starts_with(MAGIC)
        && crc32c::crc32c(told).to_le_bytes() == *crc
        && told[8..12] != VERSION.to_le_bytes()
}

fn segment_header(run: u64, number: u64) -> [u8; SEGMENT_HEADER] {
    versioned_header(VERSION, run, number)
}

pub(super) fn versioned_header(version: u32, run: u64, number: u64) -> [u8; SEGMENT_HEADER] {
    let mut header = [0; SEGMENT_HEADER];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&version.to_le_bytes());
    header[12..20].copy_from_slice(&run.to_le_bytes());
    header[20..28].copy_from_slice(&number.to_le_bytes());
    let crc = crc32c::crc32c(&header[..28]);
    header[28..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Appends an entry.
fn put(
    batch: &mut Vec<u8>,
    kind: u8,
    stream: Stream,
    recording: RecordingId,
    offset: u64,
    payload: &[u8],
) {
    let length = (payload.len() as u32).to_le_bytes();
    let mut header = [0; ENTRY_HEADER];
    header[..4].copy_from_slice(&length);
    header[8] = kind;
    header[9] = stream as u8;
    header[12..20].copy_from_slice(&recording.0.to_le_bytes());
    header[20..].copy_from_slice(&offset.to_le_bytes());
    let crc = check(&header, payload);
    header[4..8].copy_from_slice(&crc.to_le_bytes());
    batch.extend_from_slice(&header);
    batch.extend_from_slice(payload);
}

/// The checksum of an entry: all of it but the checksum.
fn check(header: &[u8; ENTRY_HEADER], payload: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&header[..4]);
    let crc = crc32c::crc32c_append(crc, &header[8..]);
    crc32c::crc32c_append(crc, payload)
}

fn describe(files: &Files) -> Vec<u8> {
    let Layout {
        format,
        channels,
        rate,
    } = files.layout;
    let format = Format::ALL.iter().position(|it| *it == format);
    let format = format.unwrap_or_default() as u8;
    let audio = files.audio.as_os_str().as_encoded_bytes();
    let seal = files.seal.as_ref();
    let seal = seal.map_or(&[][..], |path| path.as_os_str().as_encoded_bytes());
    let format = format | if files.is_encrypted { ENCRYPTED } else { 0 };
    let mut out = vec![format, channels as u8];
    out.extend(rate.hz().to_le_bytes());
    out.extend((audio.len() as u32).to_le_bytes());
    out.extend_from_slice(audio);
    out.extend_from_slice(seal);
    out
}

fn read_files(payload: &[u8]) -> Option<Files> {
    let (fixed, paths) = payload.split_first_chunk::<10>()?;
    let format = Format::ALL.get(usize::from(fixed[0] & !ENCRYPTED))?;
    let hz = u32::from_le_bytes([fixed[2], fixed[3], fixed[4], fixed[5]]);
    let length = u32::from_le_bytes([fixed[6], fixed[7], fixed[8], fixed[9]]);
    let (audio, seal) = paths.split_at_checked(length as usize)?;
    // Names that are not UTF-8 are refused when the recording begins.
    let path = |bytes| std::str::from_utf8(bytes).ok().map(PathBuf::from);
    Some(Files {
        is_encrypted: fixed[0] & ENCRYPTED != 0,
        audio: path(audio)?,
        layout: Layout {
            format: *format,
            channels: u16::from(fixed[1]),
            rate: SampleRate::from_hz(hz)?,
        },
        seal: match seal {
            [] => None,
            seal => Some(path(seal)?),
        },
    })
}

/// The number of a segment, by its name; `None` for other files.
pub fn segment_number(path: &Path) -> Option<u64> {
    let is_segment = path.extension().is_some_and(|it| it == SUFFIX);
    let number = path.file_stem()?.to_str()?.parse().ok()?;
    is_segment.then_some(number)
}

/// A segment as it lies on the disk; iterates over its entries up to the first that does not check.
#[derive(Debug, Clone)]
pub struct Segments<'a> {
    run: u64,
    rest: &'a [u8],
    is_torn: bool,
}

impl<'a> Segments<'a> {
    /// Reads a segment's header; `None` where it is none, or was being written.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = bytes.split_first_chunk::<SEGMENT_HEADER>()?;
        let run = u64::from_le_bytes(header[12..20].try_into().ok()?);
        let number = u64::from_le_bytes(header[20..28].try_into().ok()?);
        (*header == segment_header(run, number)).then_some(Self {
            run,
            rest,
            is_torn: false,
        })
    }

    /// The number of the segment that its run began with: recordings are known by it and their number.
    pub fn run(&self) -> u64 {
        self.run
    }

    /// Whether something lay behind the last entry that was read.
    pub fn is_torn(&self) -> bool {
        self.is_torn
    }

    fn entry(&mut self) -> Option<Entry<'a>> {
        let (header, rest) = self.rest.split_first_chunk::<ENTRY_HEADER>()?;
        let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        if length > MAX_PAYLOAD {
            return None;
        }
        let (payload, rest) = rest.split_at_checked(length)?;
        let crc = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
        if check(header, payload) != crc {
            return None;
        }
        let recording = RecordingId(u64::from_le_bytes(header[12..20].try_into().ok()?));
        let offset = u64::from_le_bytes(header[20..].try_into().ok()?);
        let stream = match header[9] {
            0 => Stream::Audio,
            1 => Stream::Seal,
            _ => return None,
        };
        let entry = match header[8] {
            KIND_OPEN => Entry::Open {
                recording,
                files: read_files(payload)?,
            },
            KIND_DATA => Entry::Data {
                recording,
                stream,
                offset,
                bytes: payload,
            },
            KIND_CLOSED => Entry::Closed { recording },
            _ => return None,
        };
        self.rest = rest;
        Some(entry)
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        let entry = self.entry();
        self.is_torn = entry.is_none() && !self.rest.is_empty();
        entry
    }
}
