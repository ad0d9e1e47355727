//! The storage side of a recording: its tracks drained, aligned and written to a file of as many channels.

use std::io::{self, Seek, SeekFrom, Write};
use std::ops::Range;
use std::sync::Arc;

use crate::media::codec::Codec;
use crate::media::recorder::layout::{Format, Layout};
use crate::media::recorder::note::Note;
use crate::media::recorder::originals::{Originals, PACKET};
use crate::media::recorder::pack::Packer;
use crate::media::recorder::track::{Track, Tracks};
use crate::media::recorder::{Block, Content, Feed};
use crate::media::wav::Encoding;
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
    /// Takes so many samples of each channel as they are stored, behind all that came before. What is given at once
    /// of a format of pages is whole pages.
    ///
    /// # Errors
    /// They could not be written.
    fn append(&mut self, bytes: &[u8], samples: u64) -> io::Result<()>;

    /// Writes the head in front of the samples; it always has the same length.
    ///
    /// # Errors
    /// It could not be written.
    fn set_head(&mut self, head: &[u8]) -> io::Result<()>;

    /// Takes a note of the timeline; it comes before the samples at its position.
    ///
    /// # Errors
    /// It could not be written.
    fn note(&mut self, position: u64, note: &Note) -> io::Result<()>;
}

/// A file alone keeps no timeline.
impl<W: Write + Seek> Sink for W {
    fn append(&mut self, bytes: &[u8], _samples: u64) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn set_head(&mut self, head: &[u8]) -> io::Result<()> {
        self.seek(SeekFrom::Start(0))?;
        self.write_all(head)?;
        self.seek(SeekFrom::End(0))?;
        self.flush()
    }

    fn note(&mut self, _position: u64, _note: &Note) -> io::Result<()> {
        Ok(())
    }
}

/// What [`TrackWriter::drain`] left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// More may come.
    Open,
    /// The tap is gone and everything has been taken: [`close`](TrackWriter::close) now.
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How long the file plays.
    pub duration: Duration,
    /// Its size with the header.
    pub bytes: u64,
    /// Its channels in their order; in a stereo file the caller's is first.
    pub tracks: Vec<TrackReport>,
    /// Whether the file lacks its end because it could not be written.
    pub is_cut: bool,
}

/// Writes a recording as WAV, FLAC or Ogg Opus, with a channel for each of its [`Tracks`]; by default the caller left
/// and the agent right.
///
/// Frames are placed by their positions; gaps are silence. Where frames overlap the later one counts, but on
/// a channel that several parties share they are summed. The newest [`HOLD`] is kept back for frames that come
/// out of order. What is paused or masked is silenced here, by position, before anything is written. The file
/// is playable as of each [`flush`](Self::flush), which brings the head up to date; a WAV file beyond 4 GiB is RF64.
///
/// A recording that follows a conversation has a feed for each leg: they come by [`attach`](Self::attach)
/// and go with their taps, and it is finished when the last has gone.
///
/// After an error the recording goes on being drained and dropped, so that the media side is not
/// disturbed; the error is returned once, and [`Report::is_cut`] keeps it.
///
/// ```
/// use std::io::Cursor;
/// use sidetone::media::frame::{Frame, SampleRate};
/// use sidetone::media::recorder::writer::{Progress, TrackWriter};
/// use sidetone::media::recorder::track::Track;
/// use sidetone::media::recorder::{DEFAULT_QUEUE, recording};
/// use sidetone::media::wav::Encoding;
///
/// let rate = SampleRate::HZ_8000;
/// let (mut tap, feed) = recording(rate, DEFAULT_QUEUE);
/// let mut writer = TrackWriter::new(feed, Encoding::Pcm16, Cursor::new(Vec::new()))?;
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
pub struct TrackWriter<W> {
    feeds: Vec<Source>,
    tracks: Tracks,
    file: W,
    layout: Layout,
    packer: Packer,
    /// Samples of a channel that the file holds, and their bytes.
    stored: (u64, u64),
    /// Samples of all channels from `written` on, a ring.
    window: Box<[i16]>,
    /// Places in the ring: samples of one channel.
    places: u64,
    /// Samples of a channel written to the file.
    written: u64,
    channels: Vec<Channel>,
    /// Where the recording ends, as far as feeds that have gone said.
    end: u64,
    /// Spans that are silenced and not all written yet, or not for long.
    silenced: Vec<Silenced>,
    /// Packets that are written as they are, where the format takes them.
    originals: Option<Originals>,
    /// Samples on their way to the file.
    samples: Vec<i16>,
    failed: bool,
}

/// A channel of the file.
#[derive(Debug, Default)]
struct Channel {
    /// Where its sound ends so far.
    end: u64,
    report: TrackReport,
    /// Who writes to it: a feed's number and track.
    writer: Option<(u64, Track)>,
    /// Whether several do, or did.
    is_shared: bool,
}

/// A feed and what has been taken from it.
#[derive(Debug)]
struct Source {
    number: u64,
    feed: Feed,
    /// Where the sound of each track ends so far.
    ends: [u64; Track::ALL.len()],
    /// Frames dropped by the media plane that the timeline knows of.
    dropped: [u64; Track::ALL.len()],
    /// The parts of a packet that has not come whole.
    packet: Vec<u8>,
}

/// A span of samples of which nothing may reach the disk.
#[derive(Debug, Clone, Copy)]
struct Silenced {
    is_pause: bool,
    from: u64,
    until: Option<u64>,
}

impl Silenced {
    fn meets(&self, samples: &Range<u64>) -> bool {
        self.from < samples.end && self.until.is_none_or(|until| samples.start < until)
    }
}

/// How much of the newest sound is kept back before it is written.
pub const HOLD: Duration = Duration::from_millis(400);

impl<W: Sink> TrackWriter<W> {
    /// A writer of what comes from `feed` into the stereo WAV file `file`, which should be empty; writes the
    /// head.
    ///
    /// # Errors
    /// [`RecordError::Write`] where the head could not be written.
    pub fn new(feed: Feed, encoding: Encoding, file: W) -> Result<Self, RecordError> {
        let format = Format::Wav(encoding);
        Self::with_tracks(Tracks::STEREO, feed, format, None, file)
    }

    /// A writer of these tracks in this format; `opus` is the codec of a file of Opus.
    ///
    /// # Errors
    /// As [`new`](Self::new); or there is no such codec, or none at the recording's rate.
    pub fn with_tracks(
        tracks: Tracks,
        feed: Feed,
        format: Format,
        opus: Option<Arc<dyn Codec>>,
        mut file: W,
    ) -> Result<Self, RecordError> {
        let layout = Layout {
            format,
            channels: tracks.channels(),
            rate: feed.rate(),
        };
        let packer = Packer::new(layout, opus)?;
        file.set_head(&layout.head(0))?;
        let places = 2 * feed.rate().samples_in(HOLD);
        let mut writer = Self {
            feeds: Vec::new(),
            tracks,
            file,
            layout,
            packer,
            stored: (0, 0),
            window: vec![0; places as usize * usize::from(tracks.channels())].into(),
            places,
            written: 0,
            channels: tracks.iter().map(|_| Channel::default()).collect(),
            end: 0,
            silenced: Vec::new(),
            originals: format
                .takes_packets()
                .then(|| Originals::new(layout.channels, layout.rate)),
            samples: Vec::new(),
            failed: false,
        };
        writer.attach(feed)?;
        Ok(writer)
    }

    /// Takes what another leg says and hears into the recording as well. A feed at another rate than the
    /// recording's is let go at once, so that its tap drops its frames.
    ///
    /// # Errors
    /// The timeline could not be written.
    pub fn attach(&mut self, mut feed: Feed) -> Result<(), RecordError> {
        if feed.rate() != self.layout.rate {
            return Ok(());
        }
        let number = self.feeds.last().map_or(0, |source| source.number + 1);
        let mut result = Ok(());
        if let Some((at, who)) = feed.joins.take() {
            let track = feed.route.said.unwrap_or(Track::Caller);
            self.tell(at, &Note::Joined { track, who }, &mut result);
        }
        self.feeds.push(Source {
            number,
            feed,
            ends: [0; Track::ALL.len()],
            dropped: [0; Track::ALL.len()],
            packet: Vec::new(),
        });
        result
    }

    /// Takes what has come and writes what is old enough.
    ///
    /// # Errors
    /// The first [`RecordError`], once; later calls drain and drop.
    pub fn drain(&mut self) -> Result<Progress, RecordError> {
        // In this order: what the recording lasts is known before what it holds, and what is to be
        // silenced before anything is written.
        self.end = self.end.max(self.told_end());
        let mut result = Ok(());
        for index in 0..self.feeds.len() {
            self.take_blocks(index, &mut result);
        }
        self.take_notes(&mut result);
        self.note_drops(&mut result);
        if !self.failed {
            let hold = self.layout.rate.samples_in(HOLD);
            let committed = self.commit(self.newest().saturating_sub(hold));
            result = result.and(self.note(committed));
        }
        self.let_go(&mut result);
        result?;
        if self.feeds.is_empty() {
            return Ok(Progress::Finished);
        }
        Ok(Progress::Open)
    }

    /// How long the recording lasts by what the media plane says.
    fn told_end(&self) -> u64 {
        let ends = self.feeds.iter().map(|source| source.feed.end());
        ends.max().unwrap_or(0)
    }

    /// Where the sound or the silence that is known ends.
    fn newest(&self) -> u64 {
        let ends = self.channels.iter().map(|channel| channel.end);
        ends.max().unwrap_or(0).max(self.end)
    }

    fn take_blocks(&mut self, index: usize, result: &mut Result<(), RecordError>) {
        while let Some(block) = self.feeds.get_mut(index).and_then(|it| it.feed.pop()) {
            if self.failed {
                continue;
            }
            self.take_notes(result);
            let placed = self.place(index, &block);
            let placed = self.note(placed);
            if result.is_ok() {
                *result = placed;
            }
        }
    }

    /// Lets go of feeds whose taps have gone.
    fn let_go(&mut self, result: &mut Result<(), RecordError>) {
        let mut index = 0;
        while let Some(source) = self.feeds.get(index) {
            if !source.feed.is_finished() {
                index += 1;
                continue;
            }
            let Source { feed, .. } = self.feeds.remove(index);
            self.end = self.end.max(feed.end());
            for track in Track::ALL {
                let channel = self.tracks.channel_of(track);
                if let Some(channel) = self.channels.get_mut(channel) {
                    channel.report.lost_frames += feed.lost_frames(track);
                }
            }
            // Of the last one the recording's end tells.
            if let Some(track) = feed.route.said.filter(|_| !self.feeds.is_empty()) {
                self.tell(feed.end(), &Note::Left { track }, result);
            }
        }
    }

    /// Brings the head up to date, so that the file is playable as far as it has been written.
    ///
    /// # Errors
    /// The first [`RecordError`], once.
    pub fn flush(&mut self) -> Result<(), RecordError> {
        if self.failed {
            return Ok(());
        }
        let flushed = self.write_head();
        self.note(flushed)
    }

    /// Writes the rest and the final head, and returns the file with a report.
    ///
    /// The error is [`RecordError::Write`] where the rest could not be written and this is the first
    /// failure.
    pub fn close(mut self) -> (W, Result<Report, RecordError>) {
        let mut closed = self.drain().map(drop);
        if !self.failed {
            self.end = self.end.max(self.told_end());
            let finished = self.commit(self.newest());
            let finished = finished.and_then(|()| self.finish());
            let finished = finished.and_then(|()| self.write_head());
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
        let mut tracks: Vec<_> = self.channels.iter().map(|it| it.report).collect();
        for track in Track::ALL {
            let lost = self.feeds.iter().map(|it| it.feed.lost_frames(track));
            if let Some(report) = tracks.get_mut(self.tracks.channel_of(track)) {
                report.lost_frames += lost.sum::<u64>();
            }
        }
        Report {
            duration: self.layout.rate.duration_of(self.written),
            bytes: self.layout.head_bytes() + self.stored.1,
            tracks,
            is_cut: self.failed,
        }
    }

    /// Puts a block of a feed into the window, writing out what must make room.
    fn place(&mut self, index: usize, block: &Block) -> Result<(), RecordError> {
        let (samples, is_covered) = match &block.content {
            Content::Sound(samples) => (samples, false),
            Content::Covered(samples) => (samples, true),
            Content::Packet(bytes, goes_on) => {
                return self.place_packet(index, block, bytes, *goes_on);
            }
        };
        let samples = &samples[..usize::from(block.len)];
        let end = block.position + samples.len() as u64;
        self.commit(end.saturating_sub(self.places))?;
        let number = self.tracks.channel_of(block.track);
        let count = usize::from(self.layout.channels);
        let (Some(source), Some(channel)) =
            (self.feeds.get_mut(index), self.channels.get_mut(number))
        else {
            return Ok(());
        };
        let by = (source.number, block.track);
        channel.is_shared |= channel.writer.replace(by).is_some_and(|other| other != by);
        // What is summed is taken once only.
        let own_end = &mut source.ends[block.track.index()];
        let least = if channel.is_shared { *own_end } else { 0 };
        *own_end = (*own_end).max(end);
        let late = self.written.saturating_sub(block.position);
        let late = samples.len().min(late as usize);
        channel.report.late_samples += late as u64;
        channel.report.samples += (samples.len() - late) as u64;
        let first = block.position + late as u64;
        if let Some(originals) = &mut self.originals {
            originals.sound(number, by, first, &samples[late..], is_covered);
        }
        let ring = Ring {
            count,
            places: self.places,
        };
        if channel.is_shared {
            for (position, &sample) in (first..).zip(&samples[late..]) {
                if position >= least {
                    let place = &mut self.window[ring.at(position, number)];
                    *place = place.saturating_add(sample);
                }
            }
        } else {
            let written = self.written;
            let millisecond = u64::from(self.layout.rate.hz() / 1000);
            let gap = channel.end..first;
            if channel.end > written && !gap.is_empty() && first - channel.end < millisecond {
                // Only a clock's correction makes such a gap: the last sample is held.
                let last = self.window[ring.at(channel.end - 1, number)];
                for position in gap {
                    self.window[ring.at(position, number)] = last;
                }
            }
            for (position, &sample) in (first..).zip(&samples[late..]) {
                self.window[ring.at(position, number)] = sample;
            }
        }
        channel.end = channel.end.max(end);
        Ok(())
    }

    /// Puts a part of a packet into its place.
    fn place_packet(
        &mut self,
        index: usize,
        block: &Block,
        bytes: &[u8],
        goes_on: bool,
    ) -> Result<(), RecordError> {
        self.commit(
            (block.position + self.layout.rate.samples_in(PACKET)).saturating_sub(self.places),
        )?;
        let number = self.tracks.channel_of(block.track);
        let (Some(source), Some(originals)) = (self.feeds.get_mut(index), &mut self.originals)
        else {
            return Ok(());
        };
        let part = bytes.get(..usize::from(block.len)).unwrap_or_default();
        source.packet.extend_from_slice(part);
        if !goes_on {
            let by = (source.number, block.track);
            originals.packet(number, by, block.position, &source.packet);
            source.packet.clear();
        }
        Ok(())
    }

    fn take_notes(&mut self, result: &mut Result<(), RecordError>) {
        for index in 0..self.feeds.len() {
            while let Some((position, note)) =
                self.feeds.get_mut(index).and_then(|it| it.feed.pop_note())
            {
                self.silence(position, &note);
                self.tell(position, &note, result);
            }
        }
    }

    /// Tells the timeline of frames that the media plane had to drop.
    fn note_drops(&mut self, result: &mut Result<(), RecordError>) {
        for index in 0..self.feeds.len() {
            for track in Track::ALL {
                let Some(source) = self.feeds.get_mut(index) else {
                    return;
                };
                let frames = source.feed.lost_frames(track);
                let known = &mut source.dropped[track.index()];
                if std::mem::replace(known, frames) != frames {
                    let at = source.feed.end();
                    self.tell(at, &Note::Dropped { track, frames }, result);
                }
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
        let count = usize::from(self.layout.channels);
        let spans = &self.silenced;
        if let Some(originals) = self.originals.as_mut().filter(|_| !spans.is_empty()) {
            originals.hush(|samples| spans.iter().any(|span| span.meets(&samples)));
        }
        while self.written < until {
            let n = (until - self.written).min(SCRATCH);
            self.samples.clear();
            for position in self.written..self.written + n {
                let at = (position % self.places) as usize * count;
                let all = &mut self.window[at..at + count];
                self.samples.extend_from_slice(all);
                all.fill(0);
            }
            for span in &self.silenced {
                let place = |at: u64| at.saturating_sub(self.written).min(n) as usize * count;
                let until = span.until.map_or(count * n as usize, place);
                if let Some(samples) = self.samples.get_mut(place(span.from)..until) {
                    samples.fill(0);
                }
            }
            let (file, stored) = (&mut self.file, &mut self.stored);
            let mut write = |bytes: &[u8], samples| store(file, stored, bytes, samples);
            let originals = self.originals.as_mut();
            self.packer.pack(&self.samples, originals, &mut write)?;
            self.written += n;
        }
        let reach = self.originals.as_ref().map_or(0, Originals::reach);
        let written = self.written.saturating_sub(reach);
        self.silenced
            .retain(|span| span.until.is_none_or(|until| until > written));
        self.tell_packets()
    }

    /// Tells the timeline which packets were written as they are.
    fn tell_packets(&mut self) -> Result<(), RecordError> {
        let news = |it: &mut Self| it.originals.as_mut()?.poll_news();
        while let Some((position, channel, news)) = news(self) {
            if let Some(track) = self.tracks.iter().nth(channel) {
                self.file.note(position, &news.note(track))?;
            }
        }
        Ok(())
    }

    /// Writes what waits for the rest of a page.
    fn finish(&mut self) -> Result<(), RecordError> {
        let (file, stored) = (&mut self.file, &mut self.stored);
        let mut write = |bytes: &[u8], samples| store(file, stored, bytes, samples);
        let originals = self.originals.as_mut();
        self.packer.finish(originals, &mut write)?;
        self.tell_packets()
    }

    fn write_head(&mut self) -> Result<(), RecordError> {
        let head = self.layout.head(self.stored.0);
        Ok(self.file.set_head(&head)?)
    }

    fn note(&mut self, result: Result<(), RecordError>) -> Result<(), RecordError> {
        self.failed |= result.is_err();
        result
    }
}

fn store(
    file: &mut impl Sink,
    stored: &mut (u64, u64),
    bytes: &[u8],
    samples: u64,
) -> io::Result<()> {
    file.append(bytes, samples)?;
    stored.0 += samples;
    stored.1 += bytes.len() as u64;
    Ok(())
}

/// The window as a ring.
struct Ring {
    count: usize,
    places: u64,
}

impl Ring {
    fn at(&self, position: u64, channel: usize) -> usize {
        (position % self.places) as usize * self.count + channel
    }
}

/// Samples of a channel written in one go.
const SCRATCH: u64 = 4 * 1024;
