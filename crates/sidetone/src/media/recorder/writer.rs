//! The storage side of a recording: both tracks drained, aligned and written as stereo WAV.

use std::io::{self, Seek, SeekFrom, Write};

use crate::media::recorder::note::Note;
use crate::media::recorder::track::Track;
use crate::media::recorder::{Block, Feed};
use crate::media::wav::{Encoding, Header};
use crate::time::Duration;

/// Why a recording could not be written further; what had been written stays.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The file could not be written: the disk is full, read-only or broken.
    #[error("recording could not be written: {0}")]
    Write(#[from] io::Error),
}

/// What a recording is written to: a file alone, or a file with a journal and a seal beside it.
pub trait Sink {
    /// Takes samples as they are stored, behind all that came before.
    ///
    /// # Errors
    /// They could not be written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Writes the header in front of the samples.
    ///
    /// # Errors
    /// It could not be written.
    fn set_header(&mut self, header: &[u8; Header::LEN]) -> io::Result<()>;

    /// Takes a note of the timeline; it comes before the samples at its position.
    ///
    /// # Errors
    /// It could not be written.
    fn note(&mut self, position: u64, note: &Note) -> io::Result<()>;
}

/// A file alone keeps no timeline.
impl<W: Write + Seek> Sink for W {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn set_header(&mut self, header: &[u8; Header::LEN]) -> io::Result<()> {
        self.seek(SeekFrom::Start(0))?;
        self.write_all(header)?;
        self.seek(SeekFrom::End(0))?;
        self.flush()
    }

    fn note(&mut self, _position: u64, _note: &Note) -> io::Result<()> {
        Ok(())
    }
}

/// What [`StereoWriter::drain`] left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// More may come.
    Open,
    /// The tap is gone and everything has been taken: [`close`](StereoWriter::close) now.
    Finished,
}

/// What became of one track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrackReport {
    /// Samples that were recorded; the rest of the track is silence.
    pub samples: u64,
    /// Frames that the media plane dropped because the queue was full.
    pub lost_frames: u64,
    /// Samples that came when their place had been written already.
    pub late_samples: u64,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// How long the file plays.
    pub duration: Duration,
    /// Its size with the header.
    pub bytes: u64,
    /// The tracks, caller first.
    pub tracks: [TrackReport; 2],
    /// Whether the file lacks its end because it could not be written.
    pub is_cut: bool,
}

/// Writes a recording as stereo WAV, the caller left and the agent right.
///
/// Frames are placed by their positions; gaps are silence, and where frames overlap the later one
/// counts. The newest [`HOLD`] is kept back for frames that come out of order. What is paused or masked is
/// silenced here, by position, before anything is written. The file is playable as of each
/// [`flush`](Self::flush), which brings the header up to date; beyond 4 GiB it is RF64.
///
/// After an error the recording goes on being drained and dropped, so that the media side is not
/// disturbed; the error is returned once, and [`Report::is_cut`] keeps it.
///
/// ```
/// use std::io::Cursor;
/// use sidetone::media::frame::{Frame, SampleRate};
/// use sidetone::media::recorder::writer::{Progress, StereoWriter};
/// use sidetone::media::recorder::track::Track;
/// use sidetone::media::recorder::{DEFAULT_QUEUE, recording};
/// use sidetone::media::wav::Encoding;
///
/// let rate = SampleRate::HZ_8000;
/// let (mut tap, feed) = recording(rate, DEFAULT_QUEUE);
/// let mut writer = StereoWriter::new(feed, Encoding::Pcm16, Cursor::new(Vec::new()))?;
/// tap.push(Track::Caller, 0, &Frame::from_samples(rate, &[100; 160]));
/// tap.push(Track::Agent, 160, &Frame::from_samples(rate, &[200; 160]));
/// drop(tap);
/// assert_eq!(writer.drain()?, Progress::Finished);
/// let (file, report) = writer.close();
/// let report = report?;
/// assert_eq!(report.duration.as_millis(), 40);
/// assert_eq!(file.into_inner().len() as u64, report.bytes);
/// # Ok::<(), sidetone::media::recorder::writer::RecordError>(())
/// ```
#[derive(Debug)]
pub struct StereoWriter<W> {
    feed: Feed,
    file: W,
    header: Header,
    /// Sample pairs from `written` on, a ring.
    window: Box<[[i16; 2]]>,
    /// Sample pairs written to the file.
    written: u64,
    /// Where each track ends so far.
    ends: [u64; 2],
    tracks: [TrackReport; 2],
    /// Spans that are silenced and not all written yet.
    silenced: Vec<Silenced>,
    /// Frames dropped by the media plane that the timeline knows of.
    dropped: [u64; 2],
    /// Samples on their way to the file, and as they are stored.
    samples: Vec<i16>,
    scratch: Vec<u8>,
    failed: bool,
}

/// A span of samples of which nothing may reach the disk.
#[derive(Debug, Clone, Copy)]
struct Silenced {
    is_pause: bool,
    from: u64,
    until: Option<u64>,
}

/// How much of the newest sound is kept back before it is written.
pub const HOLD: Duration = Duration::from_millis(400);

impl<W: Sink> StereoWriter<W> {
    /// A writer of what comes from `feed` into `file`, which should be empty; writes the header.
    ///
    /// # Errors
    /// [`RecordError::Write`] where the header could not be written.
    pub fn new(feed: Feed, encoding: Encoding, mut file: W) -> Result<Self, RecordError> {
        let header = Header {
            encoding,
            channels: 2,
            rate: feed.rate(),
        };
        file.set_header(&header.to_bytes(0))?;
        let window = 2 * feed.rate().samples_in(HOLD) as usize;
        Ok(Self {
            feed,
            file,
            header,
            window: vec![[0; 2]; window].into(),
            written: 0,
            ends: [0; 2],
            tracks: [TrackReport::default(); 2],
            silenced: Vec::new(),
            dropped: [0; 2],
            samples: Vec::new(),
            scratch: Vec::new(),
            failed: false,
        })
    }

    /// Takes what has come and writes what is old enough.
    ///
    /// # Errors
    /// The first [`RecordError`], once; later calls drain and drop.
    pub fn drain(&mut self) -> Result<Progress, RecordError> {
        // In this order: what the recording lasts is known before what it holds, and what is to be
        // silenced before anything is written.
        let end = self.feed.end();
        let mut result = Ok(());
        while let Some(block) = self.feed.pop() {
            if self.failed {
                continue;
            }
            self.take_notes(&mut result);
            let placed = self.place(&block);
            result = result.and(self.note(placed));
        }
        self.take_notes(&mut result);
        self.note_drops(&mut result);
        if !self.failed {
            let newest = self.ends[0].max(self.ends[1]).max(end);
            let hold = self.feed.rate().samples_in(HOLD);
            let committed = self.commit(newest.saturating_sub(hold));
            result = result.and(self.note(committed));
        }
        result?;
        if self.feed.is_finished() {
            return Ok(Progress::Finished);
        }
        Ok(Progress::Open)
    }

    /// Brings the header up to date, so that the file is playable as far as it has been written.
    ///
    /// # Errors
    /// The first [`RecordError`], once.
    pub fn flush(&mut self) -> Result<(), RecordError> {
        if self.failed {
            return Ok(());
        }
        let flushed = self.write_header();
        self.note(flushed)
    }

    /// Writes the rest and the final header, and returns the file with a report.
    ///
    /// The error is [`RecordError::Write`] where the rest could not be written and this is the first
    /// failure.
    pub fn close(mut self) -> (W, Result<Report, RecordError>) {
        let mut closed = self.drain().map(drop);
        if !self.failed {
            let end = self.ends[0].max(self.ends[1]).max(self.feed.end());
            let finished = self.commit(end).and_then(|()| self.write_header());
            closed = self.note(finished);
        }
        let report = self.report();
        (self.file, closed.map(|()| report))
    }

    /// What it writes to.
    pub fn file_mut(&mut self) -> &mut W {
        &mut self.file
    }

    /// Gives the file back as it is.
    pub fn into_file(self) -> W {
        self.file
    }

    /// What has been written so far.
    pub fn report(&self) -> Report {
        let mut tracks = self.tracks;
        for track in Track::ALL {
            tracks[track.index()].lost_frames = self.feed.lost_frames(track);
        }
        Report {
            duration: self.feed.rate().duration_of(self.written),
            bytes: Header::LEN as u64 + self.data_bytes(),
            tracks,
            is_cut: self.failed,
        }
    }

    /// Puts a block into the window, writing out what must make room.
    fn place(&mut self, block: &Block) -> Result<(), RecordError> {
        let track = block.track.index();
        let samples = &block.samples[..usize::from(block.len)];
        let end = block.position + samples.len() as u64;
        self.commit(end.saturating_sub(self.window.len() as u64))?;
        let late = self.written.saturating_sub(block.position);
        let late = samples.len().min(late as usize);
        self.tracks[track].late_samples += late as u64;
        self.tracks[track].samples += (samples.len() - late) as u64;
        let first = block.position + late as u64;
        self.bridge(track, first);
        for (position, &sample) in (first..).zip(&samples[late..]) {
            let at = self.at(position);
            self.window[at][track] = sample;
        }
        self.ends[track] = self.ends[track].max(end);
        Ok(())
    }

    /// Fills a gap of less than a millisecond, which only a clock's correction makes, by holding the
    /// last sample.
    fn bridge(&mut self, track: usize, next: u64) {
        let end = self.ends[track];
        let millisecond = u64::from(self.feed.rate().hz() / 1000);
        if end <= self.written || next <= end || next - end >= millisecond {
            return;
        }
        let last = self.window[self.at(end - 1)][track];
        for position in end..next {
            let at = self.at(position);
            self.window[at][track] = last;
        }
    }

    fn at(&self, position: u64) -> usize {
        (position % self.window.len() as u64) as usize
    }

    fn take_notes(&mut self, result: &mut Result<(), RecordError>) {
        while let Some((position, note)) = self.feed.pop_note() {
            self.silence(position, &note);
            self.tell(position, &note, result);
        }
    }

    /// Tells the timeline of frames that the media plane had to drop.
    fn note_drops(&mut self, result: &mut Result<(), RecordError>) {
        for track in Track::ALL {
            let frames = self.feed.lost_frames(track);
            if frames != self.dropped[track.index()] {
                self.dropped[track.index()] = frames;
                let at = self.feed.end();
                self.tell(at, &Note::Dropped { track, frames }, result);
            }
        }
    }

    fn tell(&mut self, position: u64, note: &Note, result: &mut Result<(), RecordError>) {
        if self.failed {
            return;
        }
        let told = self.file.note(position, note).map_err(RecordError::from);
        let told = self.note(told);
        if result.is_ok() {
            *result = told;
        }
    }

    /// Begins or ends a span of silence. What has been written already stays.
    fn silence(&mut self, position: u64, note: &Note) {
        let is_pause = matches!(note, Note::Paused | Note::Resumed);
        let mut spans = self.silenced.iter_mut();
        let open = spans.find(|span| span.is_pause == is_pause && span.until.is_none());
        match (note, open) {
            (Note::Paused | Note::Masked(_), None) => self.silenced.push(Silenced {
                is_pause,
                from: position,
                until: None,
            }),
            (Note::Resumed | Note::Unmasked, Some(span)) => span.until = Some(position),
            _ => {}
        }
    }

    /// Writes everything before `until`, and leaves silence in its place in the window.
    fn commit(&mut self, until: u64) -> Result<(), RecordError> {
        while self.written < until {
            let n = (until - self.written).min(SCRATCH);
            self.samples.clear();
            for position in self.written..self.written + n {
                let at = self.at(position);
                let pair = std::mem::take(&mut self.window[at]);
                self.samples.extend_from_slice(&pair);
            }
            for span in &self.silenced {
                let place = |at: u64| at.saturating_sub(self.written).min(n) as usize * 2;
                let until = span.until.map_or(2 * n as usize, place);
                if let Some(samples) = self.samples.get_mut(place(span.from)..until) {
                    samples.fill(0);
                }
            }
            self.scratch.clear();
            self.header
                .encoding
                .encode(&self.samples, &mut self.scratch);
            self.file.append(&self.scratch)?;
            self.written += n;
        }
        let written = self.written;
        self.silenced
            .retain(|span| span.until.is_none_or(|until| until > written));
        Ok(())
    }

    fn write_header(&mut self) -> Result<(), RecordError> {
        let header = self.header.to_bytes(self.data_bytes());
        Ok(self.file.set_header(&header)?)
    }

    fn data_bytes(&self) -> u64 {
        self.written * self.header.frame_bytes() as u64
    }

    fn note(&mut self, result: Result<(), RecordError>) -> Result<(), RecordError> {
        self.failed |= result.is_err();
        result
    }
}

/// Sample pairs written in one go.
const SCRATCH: u64 = 4 * 1024;
