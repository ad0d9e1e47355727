//! The storage thread: writes recordings to disk, however slowly, without disturbing a call.

use std::collections::VecDeque;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Seek, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::{Builder, JoinHandle};

use tokio::sync::Notify;

use crate::id::RecordingId;
use crate::media::recorder::Feed;
use crate::media::recorder::writer::{Progress, RecordError, StereoWriter};
use crate::media::storage::{StorageCommand, StorageError, StorageEvent};
use crate::net::clock::Clock;
use crate::time::Duration;

/// How the storage thread is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StorageConfig {
    /// Recordings open at once at most; further ones fail. Each costs some 30 kB at 8 kHz and a file
    /// descriptor. Default 4,096.
    pub max_open: usize,
    /// Commands that wait at most. Default 1,024.
    pub commands: usize,
    /// Time between two rounds of writing, which is what a crash may cost beyond what the writer
    /// holds back; must stay below what a tap's queue holds. Default 100 ms.
    pub round: Duration,
    /// Rounds after which headers are brought up to date, so that an unfinished file plays.
    /// Default 10.
    pub rounds_a_flush: u32,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            max_open: 4_096,
            commands: 1_024,
            round: Duration::from_millis(100),
            rounds_a_flush: 10,
        }
    }
}

/// The thread that writes recordings, seen from signalling.
///
/// Dropping it stops the thread, as [`stop`](Self::stop) does.
#[derive(Debug)]
pub struct StorageThread {
    commands: Option<SyncSender<StorageCommand>>,
    events: Receiver<StorageEvent>,
    handle: Option<JoinHandle<()>>,
}

impl StorageThread {
    /// Starts the thread `sidetone-disk`, which notifies `notify` when it has queued events.
    ///
    /// # Errors
    /// The system's error where no thread is left.
    pub fn start(config: StorageConfig, notify: &Arc<Notify>) -> io::Result<Self> {
        let (commands, inbox) = sync_channel(config.commands.max(1));
        let (outbox, events) = sync_channel(2 * config.max_open.max(1));
        let notify = notify.clone();
        let scribe = Scribe::new(config, create_file);
        let work = move || run(scribe, config.round, &inbox, &outbox, &notify);
        let name = "sidetone-disk".into();
        let handle = Builder::new().name(name).spawn(work)?;
        Ok(Self {
            commands: Some(commands),
            events,
            handle: Some(handle),
        })
    }

    /// Hands a command to the thread. Never waits.
    ///
    /// # Errors
    /// Gives the command back where too many wait: the disk does not keep up.
    pub fn send(&mut self, command: StorageCommand) -> Result<(), StorageCommand> {
        let Some(commands) = &self.commands else {
            return Err(command);
        };
        commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(command) | TrySendError::Disconnected(command) => command,
        })
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<StorageEvent> {
        self.events.try_recv().ok()
    }

    /// Closes every recording with what has come so far, waits for the thread, and returns the
    /// events that were left.
    pub fn stop(mut self) -> Vec<StorageEvent> {
        self.stop_thread()
    }

    fn stop_thread(&mut self) -> Vec<StorageEvent> {
        self.commands = None;
        // Ends when the thread does, which may be waiting for room to tell the last events.
        let left = self.events.iter().collect();
        if let Some(handle) = self.handle.take() {
            // A thread that panicked has said so; there is nothing more to do about it here.
            let _ = handle.join();
        }
        left
    }
}

impl Drop for StorageThread {
    fn drop(&mut self) {
        self.stop_thread();
    }
}

/// Rounds of writing, told what to do and when by whoever drives it.
#[derive(Debug)]
struct Scribe<W> {
    create: fn(&Path) -> io::Result<W>,
    max_open: usize,
    rounds_a_flush: u32,
    rounds: u32,
    open: Vec<Open<W>>,
    events: VecDeque<StorageEvent>,
}

/// A recording that is being written.
#[derive(Debug)]
struct Open<W> {
    recording: RecordingId,
    writer: StereoWriter<W>,
}

impl<W: Write + Seek> Scribe<W> {
    fn new(config: StorageConfig, create: fn(&Path) -> io::Result<W>) -> Self {
        Self {
            create,
            max_open: config.max_open,
            rounds_a_flush: config.rounds_a_flush.max(1),
            rounds: 0,
            open: Vec::new(),
            events: VecDeque::new(),
        }
    }

    fn handle_command(&mut self, command: StorageCommand) {
        let StorageCommand::Open {
            recording,
            path,
            feed,
        } = command;
        match self.create(recording, &path, *feed) {
            Ok(()) => self.events.push_back(StorageEvent::Opened { recording }),
            Err(error) => self
                .events
                .push_back(StorageEvent::Failed { recording, error }),
        }
    }

    fn create(
        &mut self,
        recording: RecordingId,
        path: &Path,
        feed: Feed,
    ) -> Result<(), StorageError> {
        if self.open.len() >= self.max_open {
            return Err(StorageError::Full);
        }
        let file = (self.create)(path).map_err(|e| StorageError::create(&e))?;
        let writer = StereoWriter::new(feed, file).map_err(StorageError::from)?;
        self.open.push(Open { recording, writer });
        Ok(())
    }

    /// Writes what has come for every recording, and closes those whose tap is gone.
    fn round(&mut self) {
        self.rounds += 1;
        let flush = self.rounds.is_multiple_of(self.rounds_a_flush);
        let mut index = 0;
        while let Some(open) = self.open.get_mut(index) {
            let progress = open.writer.drain();
            let flushed = match flush && progress.is_ok() {
                true => open.writer.flush(),
                false => Ok(()),
            };
            match flushed.and(progress) {
                Ok(Progress::Open) => index += 1,
                Ok(Progress::Finished) => self.close(index),
                Err(error) => self.fail(index, error),
            }
        }
    }

    fn close_all(&mut self) {
        while !self.open.is_empty() {
            self.close(0);
        }
    }

    fn close(&mut self, index: usize) {
        let Open { recording, writer } = self.open.swap_remove(index);
        self.events.push_back(match writer.close() {
            Ok((_, report)) => StorageEvent::Closed { recording, report },
            Err(error) => StorageEvent::Failed {
                recording,
                error: error.into(),
            },
        });
    }

    /// Gives a recording up. The media side finds its queue full and drops frames.
    fn fail(&mut self, index: usize, error: RecordError) {
        let Open { recording, .. } = self.open.swap_remove(index);
        let error = error.into();
        self.events
            .push_back(StorageEvent::Failed { recording, error });
    }
}

/// Runs a scribe until signalling is gone.
fn run(
    mut scribe: Scribe<File>,
    round: Duration,
    inbox: &Receiver<StorageCommand>,
    outbox: &SyncSender<StorageEvent>,
    notify: &Notify,
) {
    let clock = Clock::start();
    let mut next = clock.now() + round;
    loop {
        let patience = next.saturating_duration_since(clock.now());
        let told = match inbox.recv_timeout(patience) {
            Ok(command) => {
                scribe.handle_command(command);
                true
            }
            Err(RecvTimeoutError::Timeout) => true,
            Err(RecvTimeoutError::Disconnected) => false,
        };
        if !told {
            scribe.close_all();
        } else if clock.now() >= next {
            scribe.round();
            next = clock.now() + round;
        }
        let any = !scribe.events.is_empty();
        for event in scribe.events.drain(..) {
            // Waits for room. Fails only when signalling is gone, and then nobody wants to know.
            let _ = outbox.send(event);
        }
        if any {
            notify.notify_one();
        }
        if !told {
            return;
        }
    }
}

/// A new file that only its owner can read, with the directories above it.
fn create_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let mut directories = DirBuilder::new();
    options.write(true).create_new(true);
    directories.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
        options.mode(0o600);
        directories.mode(0o700);
    }
    if let Some(parent) = path.parent() {
        directories.create(parent)?;
    }
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::frame::{Frame, SampleRate};
    use crate::media::recorder::{DEFAULT_QUEUE, Tap, Track, recording};
    use crate::media::wav::Clip;

    const RATE: SampleRate = SampleRate::HZ_8000;

    /// A directory of its own for one test, removed at its end.
    struct Spool(std::path::PathBuf);

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

    fn open<W: Write + Seek>(scribe: &mut Scribe<W>, number: u64, path: &Path) -> Tap {
        let (tap, feed) = recording(RATE, DEFAULT_QUEUE);
        scribe.handle_command(StorageCommand::Open {
            recording: RecordingId(number),
            path: path.into(),
            feed: Box::new(feed),
        });
        tap
    }

    fn push(tap: &mut Tap, frames: std::ops::Range<i64>) {
        for n in frames {
            let frame = Frame::from_samples(RATE, &[100; 160]);
            assert!(tap.push(Track::Caller, n * 160, &frame));
            assert!(tap.push(Track::Agent, n * 160, &frame));
        }
    }

    #[test]
    fn a_recording_is_written_flushed_and_closed_with_its_tap() {
        let spool = Spool::new("written");
        let path = spool.0.join("2026/11/a.wav");
        let mut scribe = Scribe::new(StorageConfig::default(), create_file);
        let mut tap = open(&mut scribe, 1, &path);
        assert!(matches!(
            scribe.events.pop_front(),
            Some(StorageEvent::Opened { .. })
        ));
        for second in 0..3 {
            push(&mut tap, second * 40..(second + 1) * 40);
            for _ in 0..10 {
                scribe.round();
            }
            // Playable while it grows.
            let clip = Clip::read(&std::fs::read(&path).unwrap(), RATE).unwrap();
            let least = (second as u64 + 1) * 800 - 400;
            assert!(clip.duration() >= Duration::from_millis(least));
        }
        drop(tap);
        scribe.round();
        let Some(StorageEvent::Closed { recording, report }) = scribe.events.pop_front() else {
            panic!("not closed");
        };
        assert_eq!(recording, RecordingId(1));
        assert_eq!(report.duration, Duration::from_millis(2_400));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), report.bytes);
        assert!(scribe.open.is_empty() && scribe.events.is_empty());
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
        let mut scribe = Scribe::new(StorageConfig::default(), create_file);
        let _tap = open(&mut scribe, 1, &path);
        let Some(StorageEvent::Failed { error, .. }) = scribe.events.pop_front() else {
            panic!("not refused");
        };
        let kind = io::ErrorKind::AlreadyExists;
        assert!(matches!(error, StorageError::Create { kind: k, .. } if k == kind));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn too_many_recordings_fail_and_the_others_go_on() {
        let spool = Spool::new("many");
        let mut scribe = Scribe::new(
            StorageConfig {
                max_open: 1,
                ..StorageConfig::default()
            },
            create_file,
        );
        let mut first = open(&mut scribe, 1, &spool.0.join("1.wav"));
        let _second = open(&mut scribe, 2, &spool.0.join("2.wav"));
        push(&mut first, 0..10);
        scribe.close_all();
        let events: Vec<_> = scribe.events.drain(..).collect();
        let full = StorageError::Full;
        assert!(matches!(
            events[0],
            StorageEvent::Opened {
                recording: RecordingId(1)
            }
        ));
        assert!(matches!(&events[1], StorageEvent::Failed { error, .. } if *error == full));
        assert!(matches!(
            events[2],
            StorageEvent::Closed {
                recording: RecordingId(1),
                ..
            }
        ));
    }

    /// A disk with room for 10 kB.
    #[derive(Debug, Default)]
    struct SmallDisk(std::io::Cursor<Vec<u8>>);

    impl Write for SmallDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0.position() as usize + bytes.len() > 10_000 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Seek for SmallDisk {
        fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }

    #[test]
    fn a_full_disk_is_told_once_and_media_goes_on() {
        let create = |_: &Path| Ok(SmallDisk::default());
        let mut scribe = Scribe::new(StorageConfig::default(), create);
        let mut tap = open(&mut scribe, 1, Path::new("unused"));
        let frame = Frame::silence(RATE);
        for n in 0..200 {
            tap.push(Track::Caller, n * 160, &frame);
            scribe.round();
        }
        // The queue fills, frames are lost and counted, and nobody waits.
        assert!(tap.lost_frames(Track::Caller) > 50);
        let events: Vec<_> = scribe.events.drain(..).collect();
        let kind = io::ErrorKind::StorageFull;
        let full =
            |e: &StorageError| matches!(e, StorageError::Write { kind: k, .. } if *k == kind);
        let [
            StorageEvent::Opened { .. },
            StorageEvent::Failed { error, .. },
        ] = &events[..]
        else {
            panic!("{events:?}");
        };
        assert!(full(error), "{error}");
    }

    #[test]
    fn the_thread_writes_and_tells_and_stops() {
        let spool = Spool::new("thread");
        let notify = Arc::new(Notify::new());
        let config = StorageConfig {
            round: Duration::from_millis(1),
            ..StorageConfig::default()
        };
        let mut thread = StorageThread::start(config, &notify).unwrap();
        let (mut tap, feed) = recording(RATE, DEFAULT_QUEUE);
        push(&mut tap, 0..10);
        let command = StorageCommand::Open {
            recording: RecordingId(1),
            path: spool.0.join("a.wav"),
            feed: Box::new(feed),
        };
        thread.send(command).unwrap();
        drop(tap);
        let events = thread.stop();
        let Some(StorageEvent::Closed { report, .. }) = events.last() else {
            panic!("{events:?}");
        };
        assert_eq!(report.duration, Duration::from_millis(200));
    }
}
