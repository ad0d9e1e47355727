//! Recordings on the real file system, and on disks that make trouble.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex};

use super::*;
use crate::id::RecordingId;
use crate::media::frame::{Frame, SampleRate};
use crate::media::recorder::digest::Digest;
use crate::media::recorder::disk::DiskFile;
use crate::media::recorder::layout::Format;
use crate::media::recorder::recovery::recover;
use crate::media::recorder::storage::{Sealing, StorageError};
use crate::media::recorder::track::{Track, Tracks};
use crate::media::recorder::{DEFAULT_QUEUE, Tap, recording};
use crate::media::wav::{Clip, Encoding};
use crate::time::{Instant, WallTime};

const RATE: SampleRate = SampleRate::HZ_8000;

/// A directory of its own for one test, removed at its end.
struct Spool(PathBuf);

impl Spool {
    fn new(name: &str) -> Self {
        let own = format!("sidetone-{name}-{}", std::process::id());
        Self(std::env::temp_dir().join(own))
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn command(number: u64, path: &Path) -> (Tap, StorageCommand) {
    let (tap, feed) = recording(RATE, DEFAULT_QUEUE);
    let command = StorageCommand::Open {
        recording: RecordingId(number),
        path: path.into(),
        tracks: Tracks::STEREO,
        format: Format::Wav(Encoding::Pcm16),
        opus: None,
        sealing: Some(Box::new(Sealing {
            digest: Digest::Sha256,
            id: number.into(),
            started: WallTime::default(),
            label: None,
            recipients: Vec::new(),
            key: None,
        })),
        feed: Box::new(feed),
    };
    (tap, command)
}

fn open<D: Disk>(scribe: &mut Scribe<D>, number: u64, path: &Path) -> Tap {
    let (tap, command) = command(number, path);
    scribe.handle_command(command);
    tap
}

fn round<D: Disk + Clone>(scribe: &mut Scribe<D>, disk: &D) {
    let mut segment = SegmentWriter::new(disk.clone());
    scribe.round(Instant::ZERO);
    while let Some(job) = scribe.poll_job() {
        let done = job.run(disk, &mut segment);
        scribe.handle_done(Instant::ZERO, done);
    }
}

fn push(tap: &mut Tap, frames: std::ops::Range<i64>) {
    for n in frames {
        let frame = Frame::from_samples(RATE, &[100; 160]);
        assert!(tap.push(Track::Caller, n * 160, &frame));
        assert!(tap.push(Track::Agent, n * 160, &frame));
    }
}

fn scribe() -> Scribe<FileSystem> {
    Scribe::new(ScribeConfig::default(), FileSystem)
}

#[test]
fn a_recording_is_written_flushed_and_closed_with_its_tap() {
    let spool = Spool::new("written");
    let path = spool.0.join("2026/11/a.wav");
    let mut scribe = scribe();
    let mut tap = open(&mut scribe, 1, &path);
    let opened = scribe.poll_event();
    assert!(matches!(opened, Some(StorageEvent::Opened { .. })));
    for second in 0..3 {
        push(&mut tap, second * 40..(second + 1) * 40);
        for _ in 0..10 {
            round(&mut scribe, &FileSystem);
        }
        // Playable while it grows.
        let clip = Clip::read(&std::fs::read(&path).unwrap(), RATE).unwrap();
        let least = (second as u64 + 1) * 800 - 400;
        assert!(clip.duration() >= Duration::from_millis(least));
    }
    drop(tap);
    round(&mut scribe, &FileSystem);
    let Some(StorageEvent::Closed { recording, report }) = scribe.poll_event() else {
        panic!("not closed");
    };
    assert_eq!(recording, RecordingId(1));
    assert_eq!(report.duration, Duration::from_millis(2_400));
    assert_eq!(std::fs::metadata(&path).unwrap().len(), report.bytes);
    assert!(scribe.is_idle() && scribe.poll_event().is_none());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_file_that_exists_is_left_alone() {
    let spool = Spool::new("exists");
    std::fs::create_dir_all(&spool.0).unwrap();
    let path = spool.0.join("a.wav");
    std::fs::write(&path, "precious").unwrap();
    let mut scribe = scribe();
    let _tap = open(&mut scribe, 1, &path);
    let Some(StorageEvent::Failed { error, .. }) = scribe.poll_event() else {
        panic!("not refused");
    };
    let kind = io::ErrorKind::AlreadyExists;
    assert!(matches!(error, StorageError::Create { kind: k, .. } if k == kind));
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[test]
fn a_directory_that_is_removed_ends_no_recording_that_runs() {
    let spool = Spool::new("removed");
    let mut scribe = scribe();
    let mut tap = open(&mut scribe, 1, &spool.0.join("a.wav"));
    push(&mut tap, 0..40);
    round(&mut scribe, &FileSystem);
    std::fs::remove_dir_all(&spool.0).unwrap();
    // What is open is written on, to nowhere; what begins makes the directory anew.
    let mut other = open(&mut scribe, 2, &spool.0.join("b.wav"));
    push(&mut other, 0..40);
    drop((tap, other));
    round(&mut scribe, &FileSystem);
    let events: Vec<_> = std::iter::from_fn(|| scribe.poll_event()).collect();
    let of = |event: &StorageEvent, number| match event {
        StorageEvent::Closed { recording, .. } => *recording == RecordingId(number),
        _ => false,
    };
    assert!(events.iter().any(|e| of(e, 2)), "{events:?}");
    assert!(spool.0.join("b.wav").exists() && !spool.0.join("a.wav").exists());
}

#[test]
fn too_many_recordings_fail_and_the_others_go_on() {
    let spool = Spool::new("many");
    let config = ScribeConfig {
        max_open: 1,
        ..ScribeConfig::default()
    };
    let mut scribe = Scribe::new(config, FileSystem);
    let mut first = open(&mut scribe, 1, &spool.0.join("1.wav"));
    let _second = open(&mut scribe, 2, &spool.0.join("2.wav"));
    push(&mut first, 0..10);
    scribe.close_all();
    round(&mut scribe, &FileSystem);
    let events: Vec<_> = std::iter::from_fn(|| scribe.poll_event()).collect();
    let full = StorageError::Full;
    let (one, two) = (RecordingId(1), RecordingId(2));
    assert!(matches!(events[0], StorageEvent::Opened { recording } if recording == one));
    assert!(
        matches!(&events[1], StorageEvent::Failed { recording, error } if *recording == two && *error == full)
    );
    assert!(matches!(events[2], StorageEvent::Closed { recording, .. } if recording == one));
}

/// The file system, until it is full, fails to sync, or hangs.
#[derive(Debug, Clone, Default)]
struct Troubled(Arc<Trouble>);

#[derive(Debug, Default)]
struct Trouble {
    /// Bytes that each file takes at most; none where it is 0.
    room: u64,
    /// Whether syncing fails.
    is_broken: AtomicBool,
    hangs: Mutex<bool>,
    released: Condvar,
}

#[derive(Debug)]
struct TroubledFile(File, Arc<Trouble>);

impl Trouble {
    fn wait(&self) {
        let mut hangs = self.hangs.lock().unwrap();
        while *hangs {
            hangs = self.released.wait(hangs).unwrap();
        }
    }

    fn release(&self) {
        *self.hangs.lock().unwrap() = false;
        self.released.notify_all();
    }
}

impl Disk for Troubled {
    type File = TroubledFile;

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        FileSystem.resolve(path)
    }

    fn create(&self, path: &Path) -> io::Result<TroubledFile> {
        Ok(TroubledFile(FileSystem.create(path)?, self.0.clone()))
    }

    fn open(&self, path: &Path) -> io::Result<TroubledFile> {
        Ok(TroubledFile(FileSystem.open(path)?, self.0.clone()))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        FileSystem.list(directory)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        FileSystem.remove(path)
    }

    fn free(&self, directory: &Path) -> io::Result<u64> {
        FileSystem.free(directory)
    }

    fn draw(&self, bytes: &mut [u8]) -> io::Result<()> {
        FileSystem.draw(bytes)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        FileSystem.sync_directory(directory)
    }
}

impl DiskFile for TroubledFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.1.wait();
        if self.1.room > 0 && offset + bytes.len() as u64 > self.1.room {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.write_at(offset, bytes)
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(offset, buf)
    }

    fn length(&mut self) -> io::Result<u64> {
        self.0.length()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.0.truncate(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        match self.1.is_broken.load(Ordering::Relaxed) {
            true => Err(io::Error::other("broken")),
            false => Ok(()),
        }
    }
}

#[test]
fn a_full_disk_is_told_once_and_media_goes_on() {
    let spool = Spool::new("full");
    let disk = Troubled(Arc::new(Trouble {
        room: 10_000,
        ..Trouble::default()
    }));
    let mut scribe = Scribe::new(ScribeConfig::default(), disk.clone());
    let path = spool.0.join("a.wav");
    let mut tap = open(&mut scribe, 1, &path);
    let frame = Frame::silence(RATE);
    for n in 0..200 {
        tap.push(Track::Caller, n * 160, &frame);
        round(&mut scribe, &disk);
    }
    // The queue fills, frames are lost and counted, and nobody waits.
    assert!(tap.lost_frames(Track::Caller) > 50);
    let events: Vec<_> = std::iter::from_fn(|| scribe.poll_event()).collect();
    let [
        StorageEvent::Opened { .. },
        StorageEvent::Failed { error, .. },
    ] = &events[..]
    else {
        panic!("{events:?}");
    };
    let kind = io::ErrorKind::StorageFull;
    assert!(
        matches!(error, StorageError::Write { kind: k, .. } if *k == kind),
        "{error}"
    );
    // What it took is a whole file, and its record says that it failed.
    let clip = Clip::read(&std::fs::read(&path).unwrap(), RATE).unwrap();
    assert!(clip.duration() > Duration::from_millis(200));
    let record = std::fs::read_to_string(path.with_extension("wav.seal")).unwrap();
    assert!(record.contains("cause=failed"), "{record}");
}

#[test]
fn a_journal_that_fails_is_left_and_taken_up_again() {
    let spool = Spool::new("journal");
    let disk = Troubled::default();
    let journal = JournalConfig::new(spool.0.join("journal"));
    let config = ScribeConfig {
        journal: Some((journal, 1)),
        ..ScribeConfig::default()
    };
    let mut scribe = Scribe::new(config, disk.clone());
    let mut segment = SegmentWriter::new(disk.clone());
    let path = spool.0.join("a.wav");
    let mut tap = open(&mut scribe, 1, &path);
    let mut now = Instant::ZERO;
    for n in 0..100 {
        disk.0
            .is_broken
            .store((20..40).contains(&n), Ordering::Relaxed);
        push(&mut tap, n * 5..(n + 1) * 5);
        scribe.round(now);
        while let Some(job) = scribe.poll_job() {
            let done = job.run(&disk, &mut segment);
            scribe.handle_done(now, done);
        }
        now += Duration::from_millis(100);
    }
    assert_eq!(tap.lost_frames(Track::Caller), 0);
    let figures = scribe.journal_figures().expect("a journal");
    assert_eq!((figures.failures, figures.suspensions), (1, 1));
    assert!(figures.commits > 70, "{figures:?}");
    let events: Vec<_> = std::iter::from_fn(|| scribe.poll_event()).collect();
    let [
        StorageEvent::Opened { .. },
        StorageEvent::Unguarded { .. },
        StorageEvent::Guarded,
    ] = &events[..]
    else {
        panic!("{events:?}");
    };
    let record = std::fs::read_to_string(path.with_extension("wav.seal")).unwrap();
    assert!(
        record.contains("kind=unguarded") && record.contains("kind=guarded"),
        "{record}"
    );
    drop(scribe);
    // As if killed here: what the journal holds and what it missed is all there.
    let recovery = recover(&FileSystem, &spool.0.join("journal"), None).unwrap();
    let [recovered] = &recovery.recordings[..] else {
        panic!("{:?}", recovery.recordings);
    };
    let length = *recovered.outcome.as_ref().expect("recovered");
    assert!(length >= Duration::from_millis(9_500), "{length:?}");
}

fn start(disk: &Troubled, config: StorageConfig) -> StorageThread {
    let notify = Arc::new(Notify::new());
    StorageThread::start_on(disk.clone(), config, &notify)
        .unwrap()
        .0
}

#[test]
fn the_thread_writes_and_tells_and_stops() {
    let spool = Spool::new("thread");
    let config = StorageConfig {
        round: Duration::from_millis(1),
        ..StorageConfig::default()
    };
    let mut thread = start(&Troubled::default(), config);
    let (mut tap, command) = command(1, &spool.0.join("a.wav"));
    push(&mut tap, 0..10);
    thread.send(command).unwrap();
    drop(tap);
    let events = thread.stop();
    let Some(StorageEvent::Closed { report, .. }) = events.last() else {
        panic!("{events:?}");
    };
    assert_eq!(report.duration, Duration::from_millis(200));
}

#[test]
fn a_journal_goes_with_the_engine_that_stops_well() {
    let spool = Spool::new("well");
    let journal = spool.0.join("journal");
    let config = StorageConfig {
        round: Duration::from_millis(1),
        journal: Some(JournalConfig::new(&journal)),
        ..StorageConfig::default()
    };
    let notify = Arc::new(Notify::new());
    let (mut thread, recovery) = StorageThread::start(config, &notify).unwrap();
    assert!(recovery.recordings.is_empty());
    let (mut tap, command) = command(1, &spool.0.join("a.wav"));
    push(&mut tap, 0..10);
    thread.send(command).unwrap();
    let events = thread.stop();
    assert!(
        matches!(events.last(), Some(StorageEvent::Closed { .. })),
        "{events:?}"
    );
    let recovery = recover(&FileSystem, &journal, None).unwrap();
    assert!(recovery.recordings.is_empty(), "{:?}", recovery.recordings);
}

#[test]
fn a_commit_that_is_under_way_is_waited_for_before_the_journal_goes() {
    let spool = Spool::new("under-way");
    let journal = JournalConfig::new(spool.0.join("journal"));
    let config = ScribeConfig {
        journal: Some((journal, 1)),
        ..ScribeConfig::default()
    };
    let mut scribe = Scribe::new(config, FileSystem);
    let mut tap = open(&mut scribe, 1, &spool.0.join("a.wav"));
    push(&mut tap, 0..10);
    scribe.close_all();
    scribe.round(Instant::ZERO);
    let mut segment = SegmentWriter::new(FileSystem);
    let mut held_back = None;
    while let Some(job) = scribe.poll_job() {
        match job {
            Job::Commit(_) => held_back = Some(job),
            _ => scribe.handle_done(Instant::ZERO, job.run(&FileSystem, &mut segment)),
        }
    }
    let held_back = held_back.expect("what was recorded goes to the journal");
    assert!(!scribe.is_idle());
    scribe.handle_done(Instant::ZERO, held_back.run(&FileSystem, &mut segment));
    assert!(scribe.is_idle());
}

#[test]
fn a_disk_that_hangs_holds_up_neither_media_nor_the_end() {
    let spool = Spool::new("hangs");
    let disk = Troubled::default();
    let config = StorageConfig {
        round: Duration::from_millis(1),
        patience: Duration::from_millis(100),
        ..StorageConfig::default()
    };
    let mut thread = start(&disk, config);
    let (mut tap, command) = command(1, &spool.0.join("a.wav"));
    *disk.0.hangs.lock().unwrap() = true;
    thread.send(command).unwrap();
    let frame = Frame::from_samples(RATE, &[100; 160]);
    let taken = (0..500).filter(|n| tap.push(Track::Caller, n * 160, &frame));
    // The queue holds one second of both tracks; the rest is counted, and nobody waits.
    assert_eq!(taken.count(), 100);
    assert_eq!(tap.lost_frames(Track::Caller), 400);
    assert!(thread.stop().is_empty());
    disk.0.release();
}
