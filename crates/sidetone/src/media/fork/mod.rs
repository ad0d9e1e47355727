//! Forks: what a party says or hears, handed out of media frame by frame while the call goes on.
//!
//! [`ForkPlan::make`] gives two ends: the [`ForkTap`], which a leg or a room writes to, and the
//! [`ForkReader`], which whoever recognises speech reads. Between them is a ring of frames that the tap
//! overwrites: a reader that is slow loses the oldest and is told how much, and what it reads is never later
//! than the ring is long.

mod ring;

use std::sync::Arc;

use crate::media::dtmf::Digit;
use crate::media::frame::{FRAME_DURATION, Frame, SampleRate};
use crate::media::resample::Resampler;
use crate::time::{Duration, Instant};

use ring::{Found, Head, Ring};

/// How much a fork keeps for its reader by default.
pub const DEFAULT_QUEUE: Duration = Duration::from_secs(1);

/// The longest queue.
pub const MAX_QUEUE: Duration = Duration::from_secs(60);

/// Samples of the largest frame: both sides of 20 ms at 16 kHz.
const MAX_SAMPLES: usize = 640;

/// Whose sound a fork of a leg gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForkSound {
    /// What the party says.
    #[default]
    Said,
    /// What the party hears: others, prompts, speech.
    Heard,
    /// Both, apart, in each frame.
    Both,
    /// Both, summed.
    Mixed,
}

impl ForkSound {
    pub(crate) const fn wants_said(self) -> bool {
        !matches!(self, Self::Heard)
    }

    pub(crate) const fn wants_heard(self) -> bool {
        !matches!(self, Self::Said)
    }
}

/// How a fork is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForkPlan {
    /// The rate of its frames: 8 or 16 kHz.
    pub rate: SampleRate,
    /// The rates in which sound may be handed in; those that are not `rate` are converted.
    pub from: Vec<SampleRate>,
    /// Whose sound.
    pub sound: ForkSound,
    /// How much is kept for a reader that is slow, 40 ms to [`MAX_QUEUE`]. Default [`DEFAULT_QUEUE`].
    pub queue: Duration,
    /// Whether a media thread that cannot keep up may suspend it.
    pub is_optional: bool,
}

impl ForkPlan {
    /// A fork of what a party says, whose leg has the fork's rate.
    pub fn new(rate: SampleRate) -> Self {
        Self {
            rate,
            from: Vec::new(),
            sound: ForkSound::Said,
            queue: DEFAULT_QUEUE,
            is_optional: false,
        }
    }

    /// Makes both ends. The ring takes 360 bytes for each 20 ms of one side at 8 kHz, 18 kB for the default
    /// second.
    pub fn make(self) -> (ForkTap, ForkReader) {
        let rate = self.rate.min(SampleRate::HZ_16000);
        let channels = if self.sound == ForkSound::Both { 2 } else { 1 };
        let queue = self.queue.min(MAX_QUEUE);
        let slots = (queue.as_nanos() / FRAME_DURATION.as_nanos()) as u64;
        let ring = Arc::new(Ring::new(slots, channels * rate.frame_samples()));
        let others = self.from.iter().filter(|&&from| from != rate);
        let convert = |&from: &SampleRate| Resampler::new(from, rate);
        let said: Vec<_> = others.clone().map(convert).collect();
        let tap = ForkTap {
            ring: Arc::clone(&ring),
            rate,
            sound: self.sound,
            is_optional: self.is_optional,
            is_suspended: false,
            heard: said.clone().into(),
            said: said.into(),
            began: None,
            suspended: 0,
            marks: Marks::default(),
        };
        let reader = ForkReader {
            ring,
            rate,
            channels,
            next: 0,
            delivered: 0,
            sequence: None,
            suspended: 0,
            lost: 0,
        };
        (tap, reader)
    }
}

/// What the sound of a party is made of in a frame; of what a party hears, or a room, only whether it is silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Content {
    /// Silence: nothing comes, the party holds the call, or types digits.
    #[default]
    Silence,
    /// Comfort noise.
    Noise,
    /// What was said.
    Sound,
    /// At least in part made up, for packets that have not come.
    Concealed,
}

impl Content {
    const ALL: [Self; 4] = [Self::Silence, Self::Noise, Self::Sound, Self::Concealed];

    fn from_bits(bits: u64) -> Self {
        Self::ALL[(bits & 3) as usize]
    }
}

/// What is known of the party's sound in a tick, besides its samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Said {
    pub(crate) content: Content,
    /// Whether it is speech, where speech is listened for.
    pub(crate) speech: Option<bool>,
    pub(crate) media_time: Option<i64>,
}

/// Digits that began or ended since the last frame: the last of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Marks {
    started: Option<Digit>,
    ended: Option<Digit>,
}

/// No media time is known.
const NO_TIME: i64 = i64::MIN;

/// The media plane's end of a fork: takes a frame a tick, writes it over the oldest, and never waits.
///
/// Dropping it ends the fork: the reader reads what is there and is told.
#[derive(Debug)]
pub struct ForkTap {
    ring: Arc<Ring>,
    rate: SampleRate,
    sound: ForkSound,
    is_optional: bool,
    is_suspended: bool,
    /// From other rates, for each side.
    said: Box<[Resampler]>,
    heard: Box<[Resampler]>,
    /// When the first frame was made.
    began: Option<Instant>,
    /// Ticks left out because the media thread could not keep up.
    suspended: u32,
    marks: Marks,
}

impl ForkTap {
    /// Whose sound it takes.
    pub fn sound(&self) -> ForkSound {
        self.sound
    }

    /// Whether it takes frames of this rate.
    pub fn takes(&self, rate: SampleRate) -> bool {
        rate == self.rate || self.said.iter().any(|by| by.from_rate() == rate)
    }

    /// Whether a media thread that cannot keep up may suspend it.
    pub fn is_optional(&self) -> bool {
        self.is_optional
    }

    /// Whether it wants nothing until its thread keeps up again.
    pub(crate) fn is_suspended(&self) -> bool {
        self.is_suspended
    }

    /// Suspends it where it is optional, or lets it go on.
    pub(crate) fn set_suspended(&mut self, is_suspended: bool) {
        self.is_suspended = is_suspended && self.is_optional;
    }

    pub(crate) fn mark(&mut self, digit: Digit, is_start: bool) {
        match is_start {
            true => self.marks.started = Some(digit),
            false => self.marks.ended = Some(digit),
        }
    }

    /// Takes the sound of the tick at `at`; what it wants and is not given makes the frame silent.
    pub(crate) fn push(
        &mut self,
        at: Instant,
        said: Said,
        own: Option<&Frame>,
        all: Option<&Frame>,
    ) {
        let began = *self.began.get_or_insert(at);
        if self.is_suspended {
            self.suspended = self.suspended.wrapping_add(1);
            return;
        }
        let ticks =
            (at.saturating_duration_since(began).as_nanos() / FRAME_DURATION.as_nanos()) as u32;
        let head = self.head(at, ticks, said);
        let rate = self.rate;
        let (mut first, mut second) = (Frame::silence(rate), Frame::silence(rate));
        let own = own.map(|own| fit(own, &mut self.said, &mut first));
        let all = all.map(|all| fit(all, &mut self.heard, &mut second));
        let silence = [0; MAX_SAMPLES / 2];
        let silence = &silence[..rate.frame_samples()];
        match self.sound {
            ForkSound::Said => self.ring.write(&head, &[own.unwrap_or(silence)]),
            ForkSound::Heard => self.ring.write(&head, &[all.unwrap_or(silence)]),
            ForkSound::Both => {
                let both = [own.unwrap_or(silence), all.unwrap_or(silence)];
                self.ring.write(&head, &both);
            }
            ForkSound::Mixed => {
                let mut sum = [0; MAX_SAMPLES / 2];
                let sides = own.unwrap_or(silence).iter().zip(all.unwrap_or(silence));
                for (sum, (own, all)) in sum.iter_mut().zip(sides) {
                    *sum = own.saturating_add(*all);
                }
                self.ring.write(&head, &[&sum[..rate.frame_samples()]]);
            }
        }
        self.marks = Marks::default();
    }

    fn head(&self, at: Instant, ticks: u32, said: Said) -> Head {
        let digit =
            |digit: Option<Digit>| digit.map_or(0, |digit| u64::from(digit.to_char() as u8));
        let speech = match said.speech {
            None => 0,
            Some(false) => 1,
            Some(true) => 2,
        };
        let marks = digit(self.marks.started) << 8 | digit(self.marks.ended) << 16;
        [
            at.as_nanos(),
            said.media_time.unwrap_or(NO_TIME) as u64,
            u64::from(ticks) << 32 | u64::from(self.suspended),
            said.content as u64 | speech << 2 | marks,
        ]
    }
}

impl Drop for ForkTap {
    fn drop(&mut self) {
        self.ring.close();
    }
}

/// Brings a frame to the rate of `out`, and gives the samples.
fn fit<'a>(frame: &'a Frame, converters: &mut [Resampler], out: &'a mut Frame) -> &'a [i16] {
    if frame.rate() == out.rate() {
        return frame.samples();
    }
    let fits = |by: &&mut Resampler| by.from_rate() == frame.rate();
    if let Some(by) = converters.iter_mut().find(fits) {
        by.process(frame, out);
    }
    out.samples()
}

/// 20 ms of a fork. Make one and read into it again and again.
#[derive(Debug, Clone)]
pub struct ForkFrame {
    /// The tick that made it, on the engine's clock: frames of all forks of an engine with the same moment
    /// were heard together.
    pub at: Instant,
    /// The tick's number since the fork's first frame, which has 0. It counts what was lost as well.
    pub sequence: u64,
    /// Where the sender stands by its own clock, in ticks of 48 kHz
    /// ([`MEDIA_CLOCK`](crate::media::jitter::MEDIA_CLOCK)); begins anew when its codec changes. `None` while
    /// nothing has come.
    pub media_time: Option<i64>,
    /// What the party's sound is made of.
    pub content: Content,
    /// Whether the party speaks; known where its call [listens](crate::media::leg::ears::Listening::speech) for
    /// speech.
    pub speech: Option<bool>,
    /// The key that went down since the last frame.
    pub digit_started: Option<Digit>,
    /// The key that was let go since the last frame.
    pub digit_ended: Option<Digit>,
    /// What is missing between the last frame that was read and this one.
    pub gap: Gap,
    rate: SampleRate,
    channels: usize,
    samples: Box<[i16; MAX_SAMPLES]>,
}

/// What is missing before a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gap {
    /// All of it.
    pub length: Duration,
    /// What of it the reader was too slow for: the queue was full and the oldest was dropped.
    pub unread: Duration,
    /// What of it the media thread left out because it could not keep up.
    pub suspended: Duration,
}

impl Gap {
    /// Whether nothing is missing.
    pub fn is_none(&self) -> bool {
        self.length.is_zero()
    }
}

impl Default for ForkFrame {
    fn default() -> Self {
        Self {
            at: Instant::ZERO,
            sequence: 0,
            media_time: None,
            content: Content::Silence,
            speech: None,
            digit_started: None,
            digit_ended: None,
            gap: Gap::default(),
            rate: SampleRate::HZ_8000,
            channels: 1,
            samples: Box::new([0; MAX_SAMPLES]),
        }
    }
}

impl ForkFrame {
    /// A frame to read into.
    pub fn new() -> Self {
        Self::default()
    }

    /// The rate of its samples.
    pub fn rate(&self) -> SampleRate {
        self.rate
    }

    /// The samples of one side: of what the party says where both are there.
    pub fn samples(&self) -> &[i16] {
        &self.samples[..self.rate.frame_samples()]
    }

    /// What the party hears, where the fork has [both sides apart](ForkSound::Both).
    pub fn heard(&self) -> Option<&[i16]> {
        let length = self.rate.frame_samples();
        (self.channels == 2).then(|| &self.samples[length..2 * length])
    }
}

/// What reading a fork gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForkState {
    /// The next frame.
    Frame,
    /// None yet: the next one is made in the next tick.
    Waiting,
    /// The fork is over and everything has been read.
    Ended,
}

/// The reader's end of a fork, for any one thread: it costs no system call and wakes nobody.
///
/// ```
/// use sidetone::media::fork::{ForkFrame, ForkPlan, ForkState};
/// use sidetone::media::frame::SampleRate;
///
/// let (tap, mut reader) = ForkPlan::new(SampleRate::HZ_8000).make();
/// let mut frame = ForkFrame::new();
/// assert_eq!(reader.read(&mut frame), ForkState::Waiting);
/// drop(tap); // the call is over
/// assert_eq!(reader.read(&mut frame), ForkState::Ended);
/// ```
#[derive(Debug)]
pub struct ForkReader {
    ring: Arc<Ring>,
    rate: SampleRate,
    channels: usize,
    /// The frame that is read next.
    next: u64,
    /// The frame after the last one that was read.
    delivered: u64,
    /// The sequence number of the last frame.
    sequence: Option<u64>,
    /// What it said of ticks left out.
    suspended: u32,
    /// Frames dropped before they were read.
    lost: u64,
}

impl ForkReader {
    /// The rate of its frames.
    pub fn rate(&self) -> SampleRate {
        self.rate
    }

    /// Takes the next frame into `frame`, where there is one.
    pub fn read(&mut self, frame: &mut ForkFrame) -> ForkState {
        let length = self.channels * self.rate.frame_samples();
        let found = self.ring.read(self.next, &mut frame.samples[..length]);
        let (number, head) = match found {
            Found::Nothing => return ForkState::Waiting,
            Found::Closed => return ForkState::Ended,
            Found::Frame(number, head) => (number, head),
        };
        let unread = number - self.delivered;
        self.lost += unread;
        self.next = number + 1;
        self.delivered = self.next;
        let [at, media_time, ticks, flags] = head;
        let media_time = media_time as i64;
        let digit = |shift: u32| Digit::from_char(char::from((flags >> shift) as u8));
        frame.rate = self.rate;
        frame.channels = self.channels;
        frame.at = Instant::from_nanos(at);
        frame.media_time = (media_time != NO_TIME).then_some(media_time);
        frame.content = Content::from_bits(flags);
        frame.speech = match flags >> 2 & 3 {
            0 => None,
            speech => Some(speech == 2),
        };
        frame.digit_started = digit(8);
        frame.digit_ended = digit(16);
        frame.sequence = ticks >> 32;
        frame.gap = self.gap(frame.sequence, ticks as u32, unread);
        self.sequence = Some(frame.sequence);
        ForkState::Frame
    }

    fn gap(&mut self, sequence: u64, suspended: u32, unread: u64) -> Gap {
        let left_out = suspended.wrapping_sub(std::mem::replace(&mut self.suspended, suspended));
        let expected = self.sequence.map_or(0, |last| last + 1);
        let time = |ticks: u64| FRAME_DURATION * ticks.min(u64::from(u32::MAX)) as u32;
        Gap {
            length: time(sequence.saturating_sub(expected)),
            unread: time(unread),
            suspended: time(u64::from(left_out)),
        }
    }

    /// How far the reader is behind: what waits to be read. It is never more than the queue.
    pub fn behind(&self) -> Duration {
        let waiting = self.ring.written().saturating_sub(self.next);
        FRAME_DURATION * waiting.min(self.ring.slots()) as u32
    }

    /// Leaves out all that waits but the newest `keep`; it is counted, and the next frame's gap says so.
    pub fn skip_to(&mut self, keep: Duration) {
        let keep = (keep.as_nanos() / FRAME_DURATION.as_nanos()) as u64;
        self.next = self.next.max(self.ring.written().saturating_sub(keep));
    }

    /// How much has been dropped or left out unread since the beginning.
    pub fn lost(&self) -> Duration {
        FRAME_DURATION * self.lost.min(u64::from(u32::MAX)) as u32
    }
}

#[cfg(test)]
mod tests;
