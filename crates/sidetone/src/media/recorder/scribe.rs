//! The storage side's machine: writes what recordings give, round by round, and hands out what waits for
//! the disk.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::id::RecordingId;
use crate::media::codec::Codec;
use crate::media::recorder::Feed;
use crate::media::recorder::crypt::age::{Recipient, encrypt};
use crate::media::recorder::crypt::cipher::{DataKey, mark};
use crate::media::recorder::disk::{Disk, DiskFile};
use crate::media::recorder::errands::Errands;
use crate::media::recorder::journal::{
    Commit, Committed, Files, Journal, JournalConfig, JournalFigures, SegmentWriter, Stream,
};
use crate::media::recorder::layout::{Format, Layout};
use crate::media::recorder::note::Note;
use crate::media::recorder::seal::{Ending, Opening, Sealer, SigningKey};
use crate::media::recorder::storage::{Sealing, StorageCommand, StorageError, StorageEvent};
use crate::media::recorder::track::Tracks;
use crate::media::recorder::writer::{Progress, RecordError, Report, Sink, TrackWriter};
use crate::time::{Duration, Instant};
use zeroize::Zeroizing;

/// How recordings are written.
#[derive(Debug, Clone)]
pub struct ScribeConfig {
    /// Recordings open at once at most; further ones fail. Each costs some 30 kB at 8 kHz and one or two
    /// file descriptors. Default 4,096.
    pub max_open: usize,
    /// Rounds after which heads are brought up to date, so that an unfinished file plays.
    /// Default 10.
    pub rounds_a_flush: u32,
    /// Bytes that must be free on the disk for a new recording to begin; those that run go on. Default none.
    pub least_free: u64,
    /// The journal, and the number of its first segment. Default none: a power loss may then take what the
    /// system had not written yet, some 30 s on most.
    pub journal: Option<(JournalConfig, u64)>,
    /// What is to be done for recordings that are complete. Default nothing.
    pub errands: Errands,
}

impl Default for ScribeConfig {
    fn default() -> Self {
        Self {
            max_open: 4_096,
            rounds_a_flush: 10,
            least_free: 0,
            journal: None,
            errands: Errands::default(),
        }
    }
}

/// After so long a journal that was suspended is tried again.
pub const JOURNAL_RETRY: Duration = Duration::from_secs(2);

/// Work that waits for the disk. The kinds do not wait for each other: [`Commit`](Self::Commit) should have
/// a thread of its own.
#[derive(Debug)]
pub enum Job<F> {
    /// Commits the journal.
    Commit(Commit),
    /// Syncs the files of a recording that is complete.
    Finish(Finish<F>),
    /// Syncs files that are being written.
    Checkpoint {
        /// The segment that the journal had reached.
        number: u64,
        /// The recordings.
        recordings: Vec<(RecordingId, Files)>,
    },
    /// Removes a segment of the journal.
    Remove(PathBuf),
}

/// A recording whose files are complete.
#[derive(Debug)]
pub struct Finish<F> {
    recording: RecordingId,
    files: Files,
    audio: F,
    seal: Option<F>,
    outcome: Result<Report, StorageError>,
    errands: Arc<Errands>,
}

/// What became of a [`Job`].
#[derive(Debug)]
pub enum Done {
    /// Of a commit.
    Committed(Committed),
    /// Of a recording's files.
    Finished {
        /// The recording.
        recording: RecordingId,
        /// What they hold, or why they could not be written further.
        outcome: Result<Report, StorageError>,
        /// Whether the disk has them.
        synced: io::Result<()>,
        /// That it could not be queued for its stamp or its upload.
        unqueued: Option<StorageEvent>,
    },
    /// Of files that are being written: those that the disk has.
    Checkpointed {
        /// The segment that the journal had reached.
        number: u64,
        /// The recordings.
        recordings: Vec<RecordingId>,
    },
    /// Of a segment.
    Removed,
}

impl<F: DiskFile> Job<F> {
    /// Does the work, which may take as long as the disk likes.
    pub fn run<D: Disk<File = F>>(self, disk: &D, segment: &mut SegmentWriter<D>) -> Done {
        match self {
            Self::Commit(commit) => Done::Committed(segment.run(commit)),
            Self::Finish(finish) => finish.run(disk),
            Self::Checkpoint { number, recordings } => {
                let synced = |(_, files): &(RecordingId, Files)| sync_files(disk, files).is_ok();
                let recordings = recordings.into_iter().filter(synced);
                Done::Checkpointed {
                    number,
                    recordings: recordings.map(|(recording, _)| recording).collect(),
                }
            }
            Self::Remove(path) => {
                // What stays is read at the next start, and changes nothing.
                let _stays = disk.remove(&path);
                Done::Removed
            }
        }
    }
}

impl<F: DiskFile> Finish<F> {
    fn run<D: Disk<File = F>>(mut self, disk: &D) -> Done {
        let seal = self.seal.as_mut().map_or(Ok(()), DiskFile::sync);
        let synced = self.audio.sync().and(seal);
        let synced = synced.and_then(|()| sync_names(disk, &self.files));
        let is_sealed = self.files.seal.is_some();
        let queued = match &synced {
            Ok(()) => self.errands.enqueue(disk, &self.files.audio, is_sealed),
            Err(_) => Ok(()),
        };
        Done::Finished {
            recording: self.recording,
            outcome: self.outcome,
            synced,
            unqueued: queued.err().map(|it| it.told(self.files.audio)),
        }
    }
}

fn sync_files<D: Disk>(disk: &D, files: &Files) -> io::Result<()> {
    for path in [Some(&files.audio), files.seal.as_ref()]
        .into_iter()
        .flatten()
    {
        disk.open(path)?.sync()?;
    }
    sync_names(disk, files)
}

fn sync_names<D: Disk>(disk: &D, files: &Files) -> io::Result<()> {
    match files.audio.parent() {
        Some(directory) => disk.sync_directory(directory),
        None => Ok(()),
    }
}

/// Writes recordings to a disk: a machine, told what to do and when by whoever drives it.
///
/// Each round takes what recordings have given and writes it to their files and to the journal. What waits
/// for the disk comes out as [`Job`]s, to be run wherever waiting harms nobody, and comes back as [`Done`].
#[derive(Debug)]
pub struct Scribe<D: Disk> {
    disk: D,
    config: ScribeConfig,
    journal: Option<Journal>,
    errands: Arc<Errands>,
    retry_at: Option<Instant>,
    rounds: u32,
    open: Vec<Open<D::File>>,
    /// Where the last recording was made, and whether the disk had too little room when it was last looked at.
    spool: Option<PathBuf>,
    is_low: bool,
    /// Recordings whose files wait to be synced.
    finishing: usize,
    /// Files that are being written are being synced.
    checkpointing: bool,
    jobs: VecDeque<Job<D::File>>,
    events: VecDeque<StorageEvent>,
}

/// A file to be made.
struct Order {
    path: PathBuf,
    tracks: Tracks,
    format: Format,
    opus: Option<Arc<dyn Codec>>,
}

/// A recording that is being written.
#[derive(Debug)]
struct Open<F> {
    recording: RecordingId,
    writer: TrackWriter<Spool<F>>,
}

impl<D: Disk> Scribe<D> {
    /// A scribe on `disk`.
    pub fn new(config: ScribeConfig, disk: D) -> Self {
        let journal = config.journal.clone();
        Self {
            disk,
            journal: journal.map(|(config, number)| Journal::new(config, number)),
            errands: Arc::new(config.errands.clone()),
            config,
            retry_at: None,
            rounds: 0,
            open: Vec::new(),
            spool: None,
            is_low: false,
            finishing: 0,
            checkpointing: false,
            jobs: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Does what signalling asks.
    pub fn handle_command(&mut self, command: StorageCommand) {
        match command {
            StorageCommand::Open {
                recording,
                path,
                tracks,
                format,
                opus,
                sealing,
                feed,
            } => {
                let files = Order {
                    path,
                    tracks,
                    format,
                    opus,
                };
                let event = match self.create(recording, files, sealing, *feed) {
                    Ok(()) => StorageEvent::Opened { recording },
                    Err(error) => StorageEvent::Failed { recording, error },
                };
                self.events.push_back(event);
            }
            StorageCommand::Join { recording, feed } => self.join(recording, *feed),
        }
    }

    fn join(&mut self, recording: RecordingId, feed: Feed) {
        let Some(index) = self.open.iter().position(|it| it.recording == recording) else {
            return;
        };
        if let Some(open) = self.open.get_mut(index)
            && let Err(error) = open.writer.attach(feed)
        {
            self.fail(index, error);
        }
    }

    /// Looks how much room there is; returns it where it is too little.
    fn look_for_space(&mut self) -> Option<u64> {
        let spool = self.spool.as_ref().filter(|_| self.config.least_free > 0)?;
        // A disk that cannot say is not held to be full: it tells by itself.
        let free = self.disk.free(spool).ok()?;
        let is_low = free < self.config.least_free;
        if std::mem::replace(&mut self.is_low, is_low) != is_low {
            self.events.push_back(match is_low {
                true => StorageEvent::LowSpace { free },
                false => StorageEvent::Space { free },
            });
        }
        is_low.then_some(free)
    }

    fn create(
        &mut self,
        recording: RecordingId,
        order: Order,
        sealing: Option<Box<Sealing>>,
        feed: Feed,
    ) -> Result<(), StorageError> {
        if self.open.len() + self.finishing >= self.config.max_open {
            return Err(StorageError::Full);
        }
        if order.format.is_paged() && sealing.is_none() {
            return Err(StorageError::create(&io::ErrorKind::InvalidInput.into()));
        }
        let resolved = self.disk.resolve(&order.path);
        let path = resolved.map_err(|error| StorageError::create(&error))?;
        self.spool = path.parent().map(Path::to_owned);
        if let Some(free) = self.look_for_space() {
            return Err(StorageError::LowSpace { free });
        }
        let files = Files {
            seal: sealing.is_some().then(|| seal_path(&path)),
            is_encrypted: sealing.as_ref().is_some_and(|it| !it.recipients.is_empty()),
            audio: path,
            layout: Layout {
                format: order.format,
                channels: order.tracks.channels(),
                rate: feed.rate(),
            },
        };
        let spool = Spool::create(&self.disk, &files, order.tracks, sealing);
        let spool = spool.map_err(|error| StorageError::create(&error))?;
        if let Some(journal) = &mut self.journal {
            journal.open(recording, files);
        }
        let Order {
            tracks,
            format,
            opus,
            ..
        } = order;
        let writer = TrackWriter::with_tracks(tracks, feed, format, opus, spool)?;
        self.open.push(Open { recording, writer });
        Ok(())
    }

    /// Writes what has come for every recording, and closes those whose tap is gone.
    pub fn round(&mut self, now: Instant) {
        self.rounds = self.rounds.wrapping_add(1);
        let flush = self
            .rounds
            .is_multiple_of(self.config.rounds_a_flush.max(1));
        if flush {
            // What it finds it tells.
            let _told = self.look_for_space();
        }
        let was_suspended = self.is_suspended();
        let mut index = 0;
        while let Some(open) = self.open.get_mut(index) {
            let progress = open.writer.drain();
            let flushed = match flush && progress.is_ok() {
                true => open.writer.flush(),
                false => Ok(()),
            };
            open.hand_over(&mut self.journal);
            match flushed.and(progress) {
                Ok(Progress::Open) => index += 1,
                Ok(Progress::Finished) => self.close(index),
                Err(error) => self.fail(index, error),
            }
        }
        self.attend_journal(now, was_suspended);
    }

    /// Closes every recording with what has come so far.
    pub fn close_all(&mut self) {
        while !self.open.is_empty() {
            self.close(0);
        }
    }

    /// Removes the journal, once no recording is open or waits to be synced.
    pub fn end(&mut self) {
        if let Some(journal) = self.journal.as_mut().filter(|_| self.finishing == 0) {
            journal.end();
        }
        self.remove_segments();
    }

    /// Whether no recording is open or waits to be synced, and nothing is being committed: a commit that
    /// came to the disk after the segments were removed would bring one back.
    pub fn is_idle(&self) -> bool {
        let commits = self.journal.as_ref().is_some_and(Journal::is_committing);
        self.open.is_empty() && self.finishing == 0 && !commits
    }

    /// Work that waits for the disk.
    pub fn poll_job(&mut self) -> Option<Job<D::File>> {
        let commit = self.journal.as_mut().and_then(Journal::poll_commit);
        commit.map(Job::Commit).or_else(|| self.jobs.pop_front())
    }

    /// Work has come to its end.
    pub fn handle_done(&mut self, now: Instant, done: Done) {
        match done {
            Done::Committed(committed) => {
                let Some(journal) = &mut self.journal else {
                    return;
                };
                if let Err(error) = journal.handle_committed(committed) {
                    let error = StorageError::journal(&error);
                    self.events.push_back(StorageEvent::Unguarded { error });
                    self.suspended(now);
                }
            }
            Done::Finished {
                recording,
                outcome,
                synced,
                unqueued,
            } => {
                self.finishing -= 1;
                self.events.extend(unqueued);
                if let Some(journal) = &mut self.journal {
                    journal.close(recording, synced.is_ok());
                }
                let synced = synced.map_err(|error| RecordError::from(error).into());
                self.events
                    .push_back(match outcome.and_then(|report| synced.map(|()| report)) {
                        Ok(report) => StorageEvent::Closed { recording, report },
                        Err(error) => StorageEvent::Failed { recording, error },
                    });
            }
            Done::Checkpointed { number, recordings } => {
                self.checkpointing = false;
                let Some(journal) = &mut self.journal else {
                    return;
                };
                for recording in recordings {
                    journal.release(recording, number);
                }
            }
            Done::Removed => {}
        }
        self.remove_segments();
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<StorageEvent> {
        self.events.pop_front()
    }

    /// What the journal has done, where there is one.
    pub fn journal_figures(&self) -> Option<JournalFigures> {
        self.journal.as_ref().map(Journal::figures)
    }

    fn is_suspended(&self) -> bool {
        self.journal.as_ref().is_some_and(Journal::is_suspended)
    }

    /// Notices that the journal does not keep up, tries it again, and keeps it small.
    fn attend_journal(&mut self, now: Instant, was_suspended: bool) {
        if self.is_suspended() && !was_suspended {
            let error = StorageError::Slow;
            self.events.push_back(StorageEvent::Unguarded { error });
            self.suspended(now);
        }
        let Some(journal) = &mut self.journal else {
            return;
        };
        if self.retry_at.is_some_and(|at| now >= at) {
            self.retry_at = None;
            journal.resume();
            self.events.push_back(StorageEvent::Guarded);
            self.tell_all(&Note::Guarded);
        }
        let Some(journal) = &mut self.journal else {
            return;
        };
        if !self.checkpointing
            && let Some((number, recordings)) = journal.poll_checkpoint()
        {
            self.checkpointing = true;
            self.jobs.push_back(Job::Checkpoint { number, recordings });
        }
        self.remove_segments();
    }

    fn remove_segments(&mut self) {
        let Some(journal) = &mut self.journal else {
            return;
        };
        while let Some(path) = journal.poll_removable() {
            self.jobs.push_back(Job::Remove(path));
        }
    }

    fn suspended(&mut self, now: Instant) {
        self.retry_at = Some(now + JOURNAL_RETRY);
        self.tell_all(&Note::Unguarded);
    }

    fn tell_all(&mut self, note: &Note) {
        for open in &mut self.open {
            open.writer.file_mut().tell(note);
        }
    }

    fn close(&mut self, index: usize) {
        let Open { recording, writer } = self.open.swap_remove(index);
        let (mut spool, closed) = writer.close();
        let written = match &closed {
            Ok(report) => spool
                .end(&Ending::Closed(report.clone()))
                .map_err(RecordError::from),
            Err(_) => spool.end(&Ending::Failed).map_err(RecordError::from),
        };
        let outcome = closed.and_then(|report| written.map(|()| report));
        self.finish(recording, spool, outcome.map_err(StorageError::from));
    }

    /// Gives a recording up. The media side finds its queue full and drops frames.
    fn fail(&mut self, index: usize, error: RecordError) {
        let Open { recording, writer } = self.open.swap_remove(index);
        let mut spool = writer.into_file();
        // The disk may have room for this, though not for sound; else the next recovery does it.
        let _unsaid = spool.cut().and_then(|()| spool.end(&Ending::Failed));
        self.finish(recording, spool, Err(error.into()));
    }

    fn finish(
        &mut self,
        recording: RecordingId,
        mut spool: Spool<D::File>,
        outcome: Result<Report, StorageError>,
    ) {
        spool.hand_over(recording, &mut self.journal);
        self.finishing += 1;
        self.jobs.push_back(Job::Finish(Finish {
            recording,
            files: spool.files,
            audio: spool.audio,
            seal: spool.seal.map(|(file, ..)| file),
            outcome,
            errands: Arc::clone(&self.errands),
        }));
    }
}

impl<F: DiskFile> Open<F> {
    fn hand_over(&mut self, journal: &mut Option<Journal>) {
        let recording = self.recording;
        self.writer.file_mut().hand_over(recording, journal);
    }
}

/// Where the record that seals a recording lies.
pub fn seal_path(audio: &Path) -> PathBuf {
    let mut name = audio.as_os_str().to_owned();
    name.push(".seal");
    name.into()
}

/// A new key for a recording, and the age file for its readers that it lies in.
fn draw_key<D: Disk>(disk: &D, readers: &[Recipient]) -> io::Result<(DataKey, Vec<u8>)> {
    let mut bytes = Zeroizing::new([0; 32]);
    disk.draw(bytes.as_mut_slice())?;
    let file = encrypt(readers, bytes.as_slice(), &mut |bytes| disk.draw(bytes));
    Ok((DataKey::new(*bytes), file.map_err(io::Error::other)?))
}

/// A recording's files, and what was written to them since the journal was last told.
#[derive(Debug)]
struct Spool<F> {
    files: Files,
    /// Bytes of the file's head.
    head: u64,
    audio: F,
    seal: Option<(F, Sealer, Option<SigningKey>)>,
    /// What encrypts the samples.
    secret: Option<DataKey>,
    /// Samples of each channel that the file holds, and bytes of them and of the record.
    samples: u64,
    written: u64,
    sealed: u64,
    /// Those of them that the journal has not been told.
    fresh: Vec<u8>,
    fresh_seal: Vec<u8>,
}

impl<F: DiskFile> Spool<F> {
    fn create<D: Disk<File = F>>(
        disk: &D,
        files: &Files,
        tracks: Tracks,
        sealing: Option<Box<Sealing>>,
    ) -> io::Result<Self> {
        if files.audio.to_str().is_none() {
            return Err(io::ErrorKind::InvalidFilename.into());
        }
        let mut secret = None;
        if let Some(sealing) = sealing.as_ref().filter(|_| files.is_encrypted) {
            secret = Some(draw_key(disk, &sealing.recipients)?);
        }
        let audio = disk.create(&files.audio)?;
        let seal = match (&files.seal, sealing) {
            (Some(path), Some(sealing)) => {
                let opening = Opening {
                    id: sealing.id,
                    started: sealing.started,
                    layout: files.layout,
                    tracks,
                    is_encrypted: files.is_encrypted,
                    digest: sealing.digest,
                };
                let opened = secret.as_ref().map(|(key, file)| (key.clone(), &file[..]));
                let label = sealing.label.as_ref();
                let sealer = Sealer::new(&opening, sealing.key.as_ref(), opened, label);
                let made = disk.create(path);
                if made.is_err() {
                    // Nothing is left of a recording that cannot be sealed.
                    let _stays = disk.remove(&files.audio);
                }
                Some((made?, sealer, sealing.key))
            }
            _ => None,
        };
        Ok(Self {
            files: files.clone(),
            head: files.layout.head_bytes(),
            audio,
            seal,
            secret: secret.map(|(key, _)| key),
            samples: 0,
            written: 0,
            sealed: 0,
            fresh: Vec::new(),
            fresh_seal: Vec::new(),
        })
    }

    /// Writes the record's new lines.
    fn write_seal(&mut self) -> io::Result<()> {
        let Some((file, sealer, _)) = &mut self.seal else {
            return Ok(());
        };
        let from = self.fresh_seal.len();
        sealer.take_lines(&mut self.fresh_seal);
        let lines = self.fresh_seal.get(from..).unwrap_or_default();
        if lines.is_empty() {
            return Ok(());
        }
        let written = file.write_at(self.sealed, lines);
        match &written {
            Ok(()) => self.sealed += lines.len() as u64,
            Err(_) => self.fresh_seal.truncate(from),
        }
        written
    }

    fn end(&mut self, ending: &Ending) -> io::Result<()> {
        if let Some((_, sealer, key)) = &mut self.seal {
            sealer.end(ending, key.as_ref());
        }
        self.write_seal()
    }

    /// Notes something of the storage side.
    fn tell(&mut self, note: &Note) {
        if let Some((_, sealer, _)) = &mut self.seal {
            sealer.note(self.samples, note);
        }
    }

    /// Tells the journal what was written.
    fn hand_over(&mut self, recording: RecordingId, journal: &mut Option<Journal>) {
        if let Some(journal) = journal {
            let from = self.written - self.fresh.len() as u64;
            journal.append(recording, Stream::Audio, from, &self.fresh);
            let from = self.sealed - self.fresh_seal.len() as u64;
            journal.append(recording, Stream::Seal, from, &self.fresh_seal);
        }
        self.fresh.clear();
        self.fresh_seal.clear();
    }

    /// Cuts off what was written in part, and makes the head say what is there.
    fn cut(&mut self) -> io::Result<()> {
        let head = self.files.head(self.samples);
        self.audio.truncate(head.len() as u64 + self.written)?;
        self.audio.write_at(0, &head)
    }
}

impl<F: DiskFile> Sink for Spool<F> {
    fn append(&mut self, bytes: &[u8], samples: u64) -> io::Result<()> {
        let offset = self.head + self.written;
        let from = self.fresh.len();
        self.fresh.extend_from_slice(bytes);
        let stored = self.fresh.get_mut(from..).unwrap_or_default();
        if let Some(secret) = &self.secret {
            secret.samples(self.written, stored);
        }
        if let Err(error) = self.audio.write_at(offset, stored) {
            self.fresh.truncate(from);
            return Err(error);
        }
        self.written += stored.len() as u64;
        self.samples += samples;
        if let Some((_, sealer, _)) = &mut self.seal {
            sealer.audio(stored, samples);
        }
        self.write_seal()
    }

    fn set_head(&mut self, head: &[u8]) -> io::Result<()> {
        let mut head = head.to_vec();
        if self.files.is_encrypted {
            mark(&mut head);
        }
        self.audio.write_at(0, &head)
    }

    fn note(&mut self, position: u64, note: &Note) -> io::Result<()> {
        if let Some((_, sealer, _)) = &mut self.seal {
            sealer.note(position, note);
        }
        self.write_seal()
    }
}
