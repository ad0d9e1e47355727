//! Speech that somebody makes while it is heard: samples of any length and rate, played as they come.
//!
//! [`speech`] gives two ends: the [`SpeechSource`], which a [`Player`](crate::media::player::Player) plays, and
//! the [`SpeechWriter`], which whoever synthesises speech writes to. Between them is a bounded queue.

mod convert;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use thiserror::Error;

use crate::media::frame::{FRAME_DURATION, SampleRate};
use crate::time::Duration;

use convert::Converter;

/// How much speech waits to be heard at most, by default.
pub const DEFAULT_QUEUE: Duration = Duration::from_secs(10);

/// The longest queue.
pub const MAX_QUEUE: Duration = Duration::from_secs(120);

/// Marks that have not been reported yet, at most.
pub const MAX_MARKS: usize = 256;

/// Room for what a mark or the end brings out of a converter.
const RESERVE: Duration = FRAME_DURATION;

/// Why speech was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SpeechError {
    /// This rate cannot be converted: 4 to 192 kHz can, in steps of 25 Hz.
    #[error("{0} Hz cannot be converted")]
    Rate(u32),
    /// [`MAX_MARKS`] have not been reported yet: read what was.
    #[error("too many marks wait")]
    Marks,
    /// Nobody hears it any more: the call or room is over, or it was stopped.
    #[error("nobody hears it any more")]
    Ended,
}

/// What became of speech.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpeechReport {
    /// All that was written before this mark has been heard.
    Reached {
        /// The mark.
        mark: u64,
        /// How much speech has been heard in all.
        heard: Duration,
    },
    /// Not all that was written before this mark has been heard, and it will not be: it was
    /// [cleared](SpeechWriter::clear).
    Cleared {
        /// The mark.
        mark: u64,
        /// How much speech has been heard in all.
        heard: Duration,
    },
    /// All that was written has been heard, or cleared: nothing sounds now.
    Quiet {
        /// How much speech has been heard in all.
        heard: Duration,
    },
}

#[derive(Debug, Default)]
struct Shared {
    /// Samples that have been heard.
    heard: AtomicU64,
    /// Everything before this sample is to be cleared.
    clear_to: AtomicU64,
    /// Nothing more will be written.
    is_over: AtomicBool,
}

/// Makes both ends of speech that is heard at `rate`, with a queue of up to `queue`.
pub fn speech(rate: SampleRate, queue: Duration) -> (SpeechSource, SpeechWriter) {
    let queue = queue.clamp(FRAME_DURATION * 2, MAX_QUEUE) + RESERVE;
    let (producer, samples) = rtrb::RingBuffer::new(rate.samples_in(queue) as usize);
    let (marks, marked) = rtrb::RingBuffer::new(MAX_MARKS);
    let (reports, reported) = rtrb::RingBuffer::new(MAX_MARKS + 16);
    let shared = Arc::new(Shared::default());
    let source = SpeechSource {
        rate,
        samples,
        marks: marked,
        next_mark: None,
        reports,
        shared: Arc::clone(&shared),
        taken: 0,
        heard: 0,
        is_heard: true,
        sounds: false,
        has_news: false,
    };
    let writer = SpeechWriter {
        rate,
        samples: producer,
        marks,
        reports: reported,
        shared,
        converter: Converter::default(),
        converted: Vec::new(),
        written: 0,
        waiting_marks: 0,
    };
    (source, writer)
}

/// The media plane's end: plays what has been written and never waits for it.
#[derive(Debug)]
pub struct SpeechSource {
    rate: SampleRate,
    samples: rtrb::Consumer<i16>,
    marks: rtrb::Consumer<Mark>,
    /// The first of them.
    next_mark: Option<Mark>,
    reports: rtrb::Producer<SpeechReport>,
    shared: Arc<Shared>,
    /// Samples taken out of the queue, heard or not.
    taken: u64,
    heard: u64,
    /// Whether what it gives reaches anybody; while it does not, it waits.
    is_heard: bool,
    /// Whether something was heard since it was last quiet.
    sounds: bool,
    has_news: bool,
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    /// What was written before it.
    position: u64,
    mark: u64,
}

impl SpeechSource {
    /// The rate of what it gives.
    pub fn rate(&self) -> SampleRate {
        self.rate
    }

    /// Samples that have been heard.
    pub fn heard(&self) -> u64 {
        self.heard
    }

    /// Whether nothing sounds, and nothing waits to be played or told.
    pub(crate) fn is_idle(&self) -> bool {
        let clears = self.shared.clear_to.load(Ordering::Acquire) > self.taken;
        let is_over = self.shared.is_over.load(Ordering::Acquire);
        self.is_settled() && !clears && !is_over
    }

    fn is_settled(&self) -> bool {
        !self.sounds && self.samples.is_empty() && self.marks.is_empty() && self.next_mark.is_none()
    }

    /// Whether the writer has ended it and everything has been heard and reported.
    pub(crate) fn is_over(&self) -> bool {
        // In this order: what was written before the end is seen after it.
        self.shared.is_over.load(Ordering::Acquire) && self.is_settled()
    }

    /// Whether what it gives from now on reaches anybody.
    pub(crate) fn set_heard(&mut self, is_heard: bool) {
        self.is_heard = is_heard;
    }

    /// Writes what comes next into `out`, which is silent.
    pub(crate) fn fill(&mut self, out: &mut [i16]) {
        if !self.is_heard {
            return;
        }
        let clear_to = self.shared.clear_to.load(Ordering::Acquire);
        let from = match clear_to > self.taken {
            true => self.cut(clear_to, out),
            false => 0,
        };
        self.play(&mut out[from..]);
        self.shared.heard.store(self.heard, Ordering::Release);
    }

    /// Fades what sounds, and leaves out all before `clear_to`; gives the samples that the fade took.
    fn cut(&mut self, clear_to: u64, out: &mut [i16]) -> usize {
        let fade = (self.rate.hz() / 200) as usize;
        let left = usize::try_from(clear_to - self.taken).unwrap_or(usize::MAX);
        let wanted = match self.sounds {
            true => fade.min(left).min(out.len()),
            false => 0,
        };
        let faded = self.play(&mut out[..wanted]);
        for (n, sample) in out[..faded].iter_mut().enumerate() {
            *sample = (i32::from(*sample) * (fade - n) as i32 / fade as i32) as i16;
        }
        self.report_to(self.taken, false);
        let left = usize::try_from(clear_to - self.taken).unwrap_or(usize::MAX);
        // Whoever clears has written all of it.
        let left = left.min(self.samples.slots());
        if let Ok(chunk) = self.samples.read_chunk(left) {
            chunk.commit_all();
            self.taken += left as u64;
        }
        self.report_to(self.taken, true);
        // Something has changed, whether it sounded or not.
        self.sounds = true;
        faded
    }

    fn play(&mut self, out: &mut [i16]) -> usize {
        let count = self.samples.slots().min(out.len());
        let Ok(chunk) = self.samples.read_chunk(count) else {
            return 0;
        };
        let (first, second) = chunk.as_slices();
        out[..first.len()].copy_from_slice(first);
        out[first.len()..count].copy_from_slice(second);
        chunk.commit_all();
        self.taken += count as u64;
        self.heard += count as u64;
        self.sounds |= count > 0;
        count
    }

    /// What it has given so far has been sent, and lasted.
    pub(crate) fn settle(&mut self) {
        self.report_to(self.taken, false);
        if self.sounds && self.samples.is_empty() && self.is_heard {
            self.sounds = false;
            let heard = self.rate.duration_of(self.heard);
            // Where nobody reads reports, this one is of no use either.
            self.has_news |= self.reports.push(SpeechReport::Quiet { heard }).is_ok();
        }
    }

    /// Reports the marks up to `position`.
    fn report_to(&mut self, position: u64, is_cleared: bool) {
        let heard = self.rate.duration_of(self.heard);
        loop {
            let next = self.next_mark.take().or_else(|| self.marks.pop().ok());
            let Some(next) = next else {
                return;
            };
            let mark = next.mark;
            let report = match is_cleared {
                true => SpeechReport::Cleared { mark, heard },
                false => SpeechReport::Reached { mark, heard },
            };
            if next.position > position || self.reports.push(report).is_err() {
                self.next_mark = Some(next);
                return;
            }
            self.has_news = true;
        }
    }

    /// Whether something has been reported since this was asked last.
    pub(crate) fn has_news(&self) -> bool {
        self.has_news
    }

    pub(crate) fn forget_news(&mut self) {
        self.has_news = false;
    }
}

/// The writer's end, for any one thread.
///
/// ```
/// use sidetone::media::frame::SampleRate;
/// use sidetone::media::speech::{DEFAULT_QUEUE, SpeechError, speech};
///
/// let (source, mut writer) = speech(SampleRate::HZ_8000, DEFAULT_QUEUE);
/// assert_eq!(writer.write(24_000, &[0; 2_400])?, 2_400); // a tenth of a second
/// writer.mark(1)?;
/// drop(source); // the call is over
/// assert_eq!(writer.write(24_000, &[0; 2_400]), Err(SpeechError::Ended));
/// # Ok::<(), SpeechError>(())
/// ```
#[derive(Debug)]
pub struct SpeechWriter {
    rate: SampleRate,
    samples: rtrb::Producer<i16>,
    marks: rtrb::Producer<Mark>,
    reports: rtrb::Consumer<SpeechReport>,
    shared: Arc<Shared>,
    converter: Converter,
    /// What the converter gave last.
    converted: Vec<i16>,
    /// Samples put into the queue.
    written: u64,
    waiting_marks: usize,
}

impl SpeechWriter {
    /// Queues speech at `hz` behind what waits, and says how many samples fitted; write the rest later. Another
    /// rate than before begins anew.
    ///
    /// # Errors
    /// [`SpeechError::Rate`], [`SpeechError::Ended`].
    pub fn write(&mut self, hz: u32, samples: &[i16]) -> Result<usize, SpeechError> {
        if self.is_ended() {
            return Err(SpeechError::Ended);
        }
        if !self.converter.is_from(hz) {
            self.flush();
            self.converter = Converter::new(hz, self.rate).ok_or(SpeechError::Rate(hz))?;
        }
        let reserve = self.rate.samples_in(RESERVE) as usize;
        let mut taken = 0;
        while taken < samples.len() {
            let part = self.converter.part(samples.len() - taken);
            if self.samples.slots() < self.converter.most_out(part, self.rate) + reserve {
                break;
            }
            self.converted.clear();
            let input = &samples[taken..taken + part];
            self.converter.process(input, &mut self.converted);
            self.queue();
            taken += part;
        }
        Ok(taken)
    }

    /// Puts what was converted into the queue, which has room for it.
    fn queue(&mut self) {
        let count = self.converted.len().min(self.samples.slots());
        if let Ok(chunk) = self.samples.write_chunk_uninit(count) {
            let put = chunk.fill_from_iter(self.converted.drain(..));
            self.written += put as u64;
        }
    }

    /// What the converter still holds belongs to what was said.
    fn flush(&mut self) {
        self.converted.clear();
        self.converter.flush(&mut self.converted);
        self.queue();
    }

    /// Asks to be told by a [report](Self::poll_report) when all that has been written so far has been heard.
    ///
    /// # Errors
    /// [`SpeechError::Marks`], [`SpeechError::Ended`].
    pub fn mark(&mut self, mark: u64) -> Result<(), SpeechError> {
        if self.is_ended() {
            return Err(SpeechError::Ended);
        }
        if self.waiting_marks >= MAX_MARKS {
            return Err(SpeechError::Marks);
        }
        self.flush();
        let position = self.written;
        let queued = self.marks.push(Mark { position, mark });
        queued.map_err(|_| SpeechError::Marks)?;
        self.waiting_marks += 1;
        Ok(())
    }

    /// Throws away all that has been written and not heard yet. What sounds fades within 5 ms of the next
    /// tick; what is written from now on follows at once.
    pub fn clear(&mut self) {
        self.converter = Converter::default();
        self.shared.clear_to.store(self.written, Ordering::Release);
    }

    /// Nothing more will be written: what waits is heard, and then the player ends.
    pub fn end(&mut self) {
        self.flush();
        self.shared.is_over.store(true, Ordering::Release);
    }

    /// The next report.
    pub fn poll_report(&mut self) -> Option<SpeechReport> {
        let report = self.reports.pop().ok()?;
        if !matches!(report, SpeechReport::Quiet { .. }) {
            self.waiting_marks -= 1;
        }
        Some(report)
    }

    /// How much waits to be heard.
    pub fn waiting(&self) -> Duration {
        let capacity = self.samples.buffer().capacity();
        let waiting = capacity.saturating_sub(self.samples.slots());
        self.rate.duration_of(waiting as u64)
    }

    /// How much has been heard in all.
    pub fn heard(&self) -> Duration {
        let heard = self.shared.heard.load(Ordering::Acquire);
        self.rate.duration_of(heard)
    }

    /// Whether nobody hears it any more.
    pub fn is_ended(&self) -> bool {
        self.samples.is_abandoned()
    }
}

#[cfg(test)]
mod tests;
