//! A laboratory for recordings: a disk that forgets what was not synced, and recordings on it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::crypt::age::Identity;
use super::digest::Digest;
use super::disk::{Disk, DiskFile};
use super::journal::{JournalConfig, SegmentWriter};
use super::layout::Format;
use super::retention::Label;
use super::scribe::{Job, Scribe, ScribeConfig, seal_path};
use super::seal::SigningKey;
use super::track::{Track, Tracks};
use super::verify::{Verdict, VerifyingKey, verify_as};
use super::{DEFAULT_QUEUE, Tap, recording};
use crate::id::RecordingId;
use crate::media::frame::{Frame, SampleRate};
use crate::media::recorder::storage::{Sealing, StorageCommand, StorageEvent};
use crate::media::wav::Encoding;
use crate::rng::Rng;
use crate::time::{Duration, Instant, WallTime};

pub(super) const RATE: SampleRate = SampleRate::HZ_8000;
pub(super) const JOURNAL: &str = "spool/journal";

/// A file: what the disk has, what was written since, and whether its name is known.
#[derive(Debug, Clone, Default)]
struct Content {
    safe: Vec<u8>,
    now: Vec<u8>,
    pending: Vec<(usize, Vec<u8>)>,
    is_named: bool,
}

/// A disk in memory that forgets at [`crash`](Self::crash).
#[derive(Debug, Clone, Default)]
pub(super) struct Forgetful(Rc<RefCell<BTreeMap<PathBuf, Content>>>, Rc<Cell<u64>>);

impl Forgetful {
    /// The power fails: of each file what was synced stays, and of what was written since any prefix, cut at
    /// any byte.
    pub(super) fn crash(&self, rng: &mut Rng) {
        let mut files = self.0.borrow_mut();
        files.retain(|_, file| file.is_named || rng.below(2) == 0);
        for file in files.values_mut() {
            let mut kept = file.safe.clone();
            let whole = rng.below(file.pending.len() as u64 + 1) as usize;
            for (n, (offset, bytes)) in file.pending.iter().take(whole + 1).enumerate() {
                let length = match n < whole {
                    true => bytes.len(),
                    false => rng.below(bytes.len() as u64 + 1) as usize,
                };
                put(&mut kept, *offset, &bytes[..length]);
            }
            *file = Content {
                now: kept.clone(),
                safe: kept,
                pending: Vec::new(),
                is_named: true,
            };
        }
    }

    pub(super) fn read(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        Some(self.0.borrow().get(path.as_ref())?.now.clone())
    }

    pub(super) fn journal_bytes(&self) -> usize {
        let files = self.0.borrow();
        let segments = files.iter().filter(|(path, _)| path.starts_with(JOURNAL));
        segments.map(|(_, file)| file.now.len()).sum()
    }
}

fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(bytes);
}

#[derive(Debug)]
pub(super) struct File {
    disk: Forgetful,
    path: PathBuf,
}

impl Disk for Forgetful {
    type File = File;

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(path.to_owned())
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        if self.0.borrow().contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.0
            .borrow_mut()
            .insert(path.to_owned(), Content::default());
        self.open(path)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        if !self.0.borrow().contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(File {
            disk: self.clone(),
            path: path.to_owned(),
        })
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let files = self.0.borrow();
        let paths = files.keys().filter(|path| path.parent() == Some(directory));
        Ok(paths.cloned().collect())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = self.0.borrow_mut().remove(path);
        removed.map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn free(&self, _directory: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    fn draw(&self, bytes: &mut [u8]) -> io::Result<()> {
        self.1.set(self.1.get() + 1);
        let mut rng = Rng::new(self.1.get());
        bytes.fill_with(|| rng.next_u32() as u8);
        Ok(())
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        for (path, file) in self.0.borrow_mut().iter_mut() {
            file.is_named |= path.parent() == Some(directory);
        }
        Ok(())
    }
}

impl File {
    fn with<T>(&self, work: impl FnOnce(&mut Content) -> T) -> io::Result<T> {
        let mut files = self.disk.0.borrow_mut();
        let file = files.get_mut(&self.path).ok_or(io::ErrorKind::NotFound)?;
        Ok(work(file))
    }
}

impl DiskFile for File {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.with(|file| {
            put(&mut file.now, offset as usize, bytes);
            file.pending.push((offset as usize, bytes.to_vec()));
        })
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.with(|file| {
            let held = file.now.get(offset as usize..).unwrap_or_default();
            let n = held.len().min(buf.len());
            buf[..n].copy_from_slice(&held[..n]);
            n
        })
    }

    fn length(&mut self) -> io::Result<u64> {
        self.with(|file| file.now.len() as u64)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.with(|file| {
            file.now.resize(length as usize, 0);
            file.safe = file.now.clone();
            file.pending.clear();
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        self.with(|file| {
            file.safe = file.now.clone();
            file.pending.clear();
        })
    }
}

pub(super) fn key() -> SigningKey {
    SigningKey::from_seed("branch-7", &[7; 32]).expect("a key")
}

/// Who can read what is encrypted.
pub(super) fn reader() -> Identity {
    Identity::parse("AGE-SECRET-KEY-1GCCGTZ0MYV0LG8WAFD79FGC4Y4SG5W0TQZCLPWJRK3RJ25ZGZMRQTRJ5Q5")
        .expect("a key")
}

pub(super) fn public() -> VerifyingKey {
    VerifyingKey {
        id: "branch-7".into(),
        bytes: key().public().try_into().expect("32 bytes"),
    }
}

/// Calls that are recorded, in virtual time, on a [`Forgetful`] disk.
pub(super) struct Office {
    pub(super) disk: Forgetful,
    pub(super) scribe: Scribe<Forgetful>,
    segment: SegmentWriter<Forgetful>,
    pub(super) now: Instant,
    /// Work that the disk is busy with, and since when.
    jobs: Vec<(Instant, Job<File>)>,
    pub(super) calls: Vec<Taped>,
    /// What recordings are labelled with.
    pub(super) label: Option<Label>,
    /// What they are chained by.
    pub(super) digest: Digest,
    rng: Rng,
}

/// A call that is recorded.
pub(super) struct Taped {
    pub(super) path: PathBuf,
    pub(super) tap: Option<Tap>,
    pub(super) frames: i64,
}

impl Office {
    pub(super) fn new(disk: Forgetful, seed: u64, journal: JournalConfig, number: u64) -> Self {
        let config = ScribeConfig {
            journal: Some((journal, number)),
            ..ScribeConfig::default()
        };
        Self {
            scribe: Scribe::new(config, disk.clone()),
            segment: SegmentWriter::new(disk.clone()),
            disk,
            now: Instant::ZERO,
            jobs: Vec::new(),
            calls: Vec::new(),
            label: None,
            digest: Digest::Sha256,
            rng: Rng::new(seed),
        }
    }

    pub(super) fn record(&mut self, encoding: Encoding) {
        self.record_as(Format::Wav(encoding));
    }

    pub(super) fn record_as(&mut self, format: Format) {
        let number = self.calls.len() as u64 + 1;
        let path = PathBuf::from(format!("spool/{number}-{}.wav", self.rng.next_u64()));
        let (tap, feed) = recording(RATE, DEFAULT_QUEUE);
        self.scribe.handle_command(StorageCommand::Open {
            recording: RecordingId(number),
            path: path.clone(),
            tracks: Tracks::STEREO,
            format,
            opus: None,
            sealing: Some(Box::new(Sealing {
                // Every third one is chained by the other digest.
                digest: match number % 3 {
                    0 => Digest::Sm3,
                    _ => self.digest,
                },
                id: u128::from(self.rng.next_u64()),
                started: WallTime::from_unix_nanos(1_000),
                label: self.label.clone(),
                // Every second one is encrypted.
                recipients: match number % 2 {
                    0 => vec![reader().recipient().expect("a key")],
                    _ => Vec::new(),
                },
                key: Some(key()),
            })),
            feed: Box::new(feed),
        });
        self.calls.push(Taped {
            path,
            tap: Some(tap),
            frames: 0,
        });
    }

    /// Runs for `ticks` of 20 ms: rounds each 100 ms, and a disk that takes up to 200 ms for each job.
    pub(super) fn run(&mut self, ticks: u64) {
        for _ in 0..ticks {
            self.now += Duration::from_millis(20);
            for call in &mut self.calls {
                let Some(tap) = &mut call.tap else {
                    continue;
                };
                for track in Track::STEREO {
                    let sound: Vec<i16> = (0..160).map(|_| self.rng.next_u32() as i16).collect();
                    tap.push(track, call.frames * 160, &Frame::from_samples(RATE, &sound));
                }
                call.frames += 1;
                tap.extend_to(call.frames as u64 * 160);
            }
            if self.now.as_nanos().is_multiple_of(100_000_000) {
                self.scribe.round(self.now);
            }
            while let Some(job) = self.scribe.poll_job() {
                let taken = Duration::from_millis(self.rng.below(200));
                self.jobs.push((self.now + taken, job));
            }
            let (due, rest) = self.jobs.drain(..).partition(|(at, _)| *at <= self.now);
            self.jobs = rest;
            let due: Vec<_> = due;
            for (_, job) in due {
                let done = job.run(&self.disk, &mut self.segment);
                self.scribe.handle_done(self.now, done);
            }
        }
    }

    pub(super) fn hang_up(&mut self, call: usize) {
        self.calls[call].tap = None;
    }

    pub(super) fn events(&mut self) -> Vec<StorageEvent> {
        std::iter::from_fn(|| self.scribe.poll_event()).collect()
    }
}

/// Judges a recording on a disk.
pub(super) fn judge(disk: &Forgetful, path: &Path) -> Verdict {
    let audio = disk.read(path).expect("a file");
    let seal = disk.read(seal_path(path)).expect("a record");
    let reader = reader();
    verify_as(&mut Cursor::new(audio), &seal, &[public()], Some(&reader)).expect("memory")
}
