//! Playout: from a jitter buffer's packets to steady frames of decoded, stretched, concealed audio.

pub mod passing;

use crate::media::codec::{CodecError, Decoder};
use crate::media::conceal::Concealer;
use crate::media::frame::{FRAME_DURATION, Frame, SampleRate};
use crate::media::jitter::buffer::{Head, JitterBuffer, Span};
use crate::media::jitter::line::Line;
use crate::media::jitter::log::{Action, Decision};
use crate::media::jitter::statistics::{Concealment, Statistics};
use crate::media::jitter::stereo::Stereo;
use crate::media::jitter::{Arrival, Config, MEDIA_CLOCK, MS, Packet, duration};
use crate::media::stretch::{Manner, Stretcher};
use crate::time::{Duration, Instant};

/// A decoder under the RTP payload type that was agreed for it.
pub type Payload = (u8, Box<dyn Decoder>);

/// Decoders of one stream, at most.
pub const MAX_DECODERS: usize = 8;

/// Why the decoders cannot serve one stream: the caller's mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlayoutError {
    /// There is no decoder, or there are more than [`MAX_DECODERS`].
    #[error("a stream needs 1 to {MAX_DECODERS} decoders")]
    DecoderCount,
    /// A decoder's RTP clock does not tick.
    #[error("a decoder has an RTP clock of 0 Hz")]
    NoClock,
}

/// What a frame from [`Playout::fill`] holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Heard {
    /// Silence: there is no stream, it fills the buffer, or it has been missing for long.
    Nothing,
    /// Comfort noise, in whole or in part, and nothing else that was made up.
    Noise,
    /// What the sender said.
    Sound,
    /// At least in part what concealment made up.
    Concealed,
}

/// A piece of the stream as it was received, before it is stretched: what a recording wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Media time of the first sample, in ticks of [`MEDIA_CLOCK`].
    pub media_time: i64,
    /// How long ago that sample came over the network at its fastest, in ticks of [`MEDIA_CLOCK`].
    /// It hardly changes while jitter and stretching go on, and so ties media time to the clock.
    pub age: i64,
    /// By how much its packet came later than that, in the same ticks; `None` where no packet brought it.
    pub late: Option<i64>,
    /// The rate of the samples.
    pub rate: SampleRate,
    /// Whether concealment made it up. What was really said may still come, for the same time.
    pub made_up: bool,
    /// The packet that it was decoded from, where one brought it.
    pub packet: Option<Brought<'a>>,
    /// The samples.
    pub samples: &'a [i16],
    /// What is [different between left and right](crate::media::stereo), as many samples; empty where
    /// both are the same.
    pub side: &'a [i16],
}

/// The packet that brought a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Brought<'a> {
    /// RTP payload type.
    pub payload_type: u8,
    /// The payload.
    pub payload: &'a [u8],
    /// Media time of the packet that lies before the piece, having been made up before it came; in ticks of
    /// [`MEDIA_CLOCK`].
    pub skipped: i64,
}

/// Takes the pieces of a stream.
pub type Tell<'a> = &'a mut dyn FnMut(Piece<'_>);

/// The receiving end of a stream: packets in as they come, a frame of 20 ms out each tick.
///
/// Wraps a [`JitterBuffer`], the stream's decoders, stretching and concealment. Packets may last 10 to
/// 60 ms or more, and the sender may change their length and their format as it likes, also between
/// formats of different rates: frames have the rate of the decoder that makes them, see
/// [`rate`](Self::rate).
///
/// Each tick the delay is held against its target. Above it, a period of the pitch is left out; below
/// it, or when the next packet is overdue and little is left to play, one is put in. Where the sender is
/// silent, silence goes first. Where nothing is left, concealment goes on, and when the packet comes
/// after all it is played from its beginning: the delay has grown by what it was late, and shrinks
/// again by leaving out.
///
/// Nothing allocates after construction.
///
/// ```
/// use sidetone::media::codec::g711::{G711, Law};
/// use sidetone::media::frame::{Frame, SampleRate};
/// use sidetone::media::jitter::{Config, Mode, Packet};
/// use sidetone::media::jitter::playout::{Heard, Playout};
/// use sidetone::time::{Duration, Instant};
///
/// let config = Config { mode: Mode::Fixed(Duration::ZERO), ..Config::default() };
/// let mut playout = Playout::new(config, vec![(0, Box::new(G711::new(Law::Mu)))])?;
/// let packet = Packet {
///     sequence: 1, timestamp: 0, payload_type: 0, marker: true, redundant: false, payload: &[0x80; 160],
/// };
/// playout.put(Instant::ZERO, &packet);
/// let mut frame = Frame::silence(SampleRate::HZ_8000);
/// assert_eq!(playout.fill(Instant::ZERO, &mut frame), Heard::Sound);
/// assert_eq!(frame.samples()[80], 32_124);
/// # Ok::<(), sidetone::media::jitter::playout::PlayoutError>(())
/// ```
#[derive(Debug)]
pub struct Playout {
    buffer: JitterBuffer,
    decoders: Vec<Payload>,
    /// Where a decoder makes two channels.
    stereo: Option<Box<Stereo>>,
    sound: Sound,
    /// What is put in when time is stretched.
    piece: Box<[i16]>,
    /// Payload type of the last packet.
    payload_type: u8,
    /// How long it lasted, in media time.
    duration: i64,
    /// Something has been played.
    has_begun: bool,
    /// The sender has fallen silent.
    is_pausing: bool,
    /// Media time made up since the last packet.
    made_up: i64,
    /// Samples made up that wait for the next frames.
    made_up_ahead: usize,
    /// Packets in a row that were background only.
    quiet: u32,
    /// Ticks since time was stretched.
    unstretched: u32,
    /// Ticks in a row in which time was to be stretched, and the sound would not have it.
    refused: u32,
    heard: Heard,
    /// When a packet was passed on last, since packets are.
    passed_at: Option<Instant>,
    concealment: Concealment,
}

/// Media time of a frame.
const FRAME: i64 = MEDIA_CLOCK as i64 / 50;
/// The longest packet that is decoded.
const LONGEST_MS: usize = 120;
/// A loss of up to this is concealed in one go, when what follows it is there.
const SHORT_GAP: i64 = 60 * MS;
/// What conceals a loss has faded to noise after so long.
const FADED: i64 = 60 * MS;
/// Comfort noise that nothing ends becomes silence after so long.
const NOISE: i64 = 5_000 * MS;
/// How far the delay may be above what it can be before speech is left out soon.
const ABOVE: i64 = 60 * MS;
/// How far before speech is left out after a while: half the target within these bounds.
const ABOVE_LONG: (i64, i64) = (15 * MS, 30 * MS);
/// How far before silence is left out: a quarter of the target within these bounds. Where the target is
/// long it wavers, and should not be followed both ways.
const ABOVE_IN_SILENCE: (i64, i64) = (3 * MS, 20 * MS);
/// How far it may be below before something is put in.
const BELOW: (i64, i64) = (8 * MS, 3 * MS);
/// Above its target by so much, the delay is brought down in a hurry.
const FAR_ABOVE: i64 = 120 * MS;
/// So much left to play is no reason to bridge for a packet that is overdue.
const PLENTY: i64 = 80 * MS;
/// A packet is overdue when it is so much later than most.
const OVERDUE: i64 = 5 * MS;
/// How likely it must be that an overdue packet comes after its turn, for time to be stretched.
const LIKELY: f32 = 0.5;
/// Likeness that is wanted for stretching speech: at leisure, and in a hurry. What would otherwise
/// have to be made up is stretched whatever it is like.
const ALIKE: (f32, f32) = (0.93, 0.5);
/// Ticks between two stretches of speech: where the delay is far off, and where it is near.
const LEISURE: (u32, u32) = (3, 50);
/// Ticks for which likeness is insisted on, in a hurry, where the delay is far off and where it is near;
/// then ever less of it is wanted, and after as many again none. Noise, music and hum resemble
/// themselves nowhere, and would otherwise keep a delay for ever.
const PATIENCE: (u32, u32, u32) = (10, 50, 250);

impl Playout {
    /// A playout of a stream whose packets `decoders` decode.
    ///
    /// # Errors
    /// [`PlayoutError`] where the decoders are none, too many, or without a clock.
    pub fn new(config: Config, decoders: Vec<Payload>) -> Result<Self, PlayoutError> {
        if decoders.is_empty() || decoders.len() > MAX_DECODERS {
            return Err(PlayoutError::DecoderCount);
        }
        if decoders.iter().any(|(_, d)| d.rtp_clock() == 0) {
            return Err(PlayoutError::NoClock);
        }
        let rates = decoders.iter().map(|(_, d)| d.sample_rate());
        let most = rates.max().unwrap_or(SampleRate::HZ_8000);
        let ms = most.hz() as usize / 1000;
        // Behind a concealed gap and a long packet there is room for what stretching looks at.
        let future =
            Stretcher::reach(most) + SHORT_GAP as usize / MS as usize * ms + LONGEST_MS * ms;
        let is_stereo = decoders.iter().any(|(_, d)| d.channels() == 2);
        let mut playout = Self {
            stereo: is_stereo.then(|| Box::new(Stereo::new(LONGEST_MS * ms))),
            buffer: JitterBuffer::new(config),
            sound: Sound {
                rate: most,
                line: Line::new(Concealer::reach(most), future),
                concealer: Concealer::new(most),
                stretcher: Stretcher::new(most),
            },
            piece: vec![0; Stretcher::longest(most)].into(),
            payload_type: decoders[0].0,
            duration: FRAME,
            has_begun: false,
            is_pausing: false,
            made_up: 0,
            made_up_ahead: 0,
            quiet: 0,
            unstretched: 0,
            refused: 0,
            heard: Heard::Nothing,
            passed_at: None,
            concealment: Concealment::default(),
            decoders,
        };
        let first = playout.decoders[0].1.sample_rate();
        playout.sound.set_rate(first);
        Ok(playout)
    }

    /// The rate of the next frame, unless a packet of another format begins in it; then that one's.
    pub fn rate(&self) -> SampleRate {
        self.sound.rate
    }

    /// The jitter buffer's counters.
    pub fn statistics(&self) -> &Statistics {
        self.buffer.statistics()
    }

    /// How what was played was made.
    pub fn concealment(&self) -> Concealment {
        self.concealment
    }

    /// Whether the delay adapts to the network.
    pub fn is_adaptive(&self) -> bool {
        self.buffer.may_grow()
    }

    /// The longest delay above that of the network's fastest packets.
    pub fn longest_delay(&self) -> Duration {
        duration(self.buffer.most())
    }

    /// Takes the place of `former` in a stream whose formats have changed: counters and log go on. What
    /// waits in `former` counts as discarded.
    pub fn succeed(&mut self, former: &mut Self) {
        self.buffer.succeed(&mut former.buffer);
        self.concealment = former.concealment;
    }

    /// Packets that wait.
    pub fn packets(&self) -> usize {
        match self.passed_at {
            // Those that are kept have been passed on.
            Some(_) => 0,
            None => self.buffer.len(),
        }
    }

    /// Media time of the next sample to be played, in ticks of [`MEDIA_CLOCK`]; `None` before the
    /// first packet. Goes on evenly over leaps of the sender's timestamps, see [`JitterBuffer`].
    pub fn media_time(&self) -> Option<i64> {
        Some(self.buffer.position()? - self.waiting())
    }

    /// Keeps a log of the last `capacity` decisions, or none. Allocates.
    pub fn log_decisions(&mut self, capacity: usize) {
        self.buffer.log_decisions(capacity);
    }

    /// Takes the oldest decision out of the log.
    pub fn poll_decision(&mut self) -> Option<Decision> {
        self.buffer.poll_decision()
    }

    /// Takes in a packet as it comes from the network.
    pub fn put(&mut self, now: Instant, packet: &Packet<'_>) -> Arrival {
        self.end_passing(now);
        let Ok(span) = self.span(packet) else {
            return self.buffer.refuse(packet.sequence);
        };
        let arrival = self.buffer.put(now, packet, span);
        let is_behind_hole = arrival == Arrival::Queued
            && !packet.redundant
            && self.buffer.follows_hole(packet.sequence);
        if is_behind_hole
            && decoder(&mut self.decoders, packet.payload_type)
                .is_some_and(|decoder| decoder.carries_last(packet.payload))
        {
            self.buffer.note_copy(now, packet, span);
        }
        if arrival == Arrival::Late && self.buffer.is_newest(packet.sequence) {
            self.repair(now, packet);
        }
        arrival
    }

    /// Decodes a packet that is too late to be heard, so that the decoder goes on from it.
    fn repair(&mut self, now: Instant, packet: &Packet<'_>) {
        let Some(decoder) = decoder(&mut self.decoders, packet.payload_type) else {
            return;
        };
        let rate = decoder.sample_rate();
        let most = rate.hz() as usize * LONGEST_MS / 1000;
        let (_, room) = self.sound.line.room(most);
        let made = Stereo::decode(&mut self.stereo, decoder, packet.payload, room);
        let Ok((samples, _)) = made else {
            return;
        };
        if rate == self.sound.rate {
            self.sound.concealer.learn(&room[..samples.min(room.len())]);
        }
        self.buffer.statistics_mut().repaired += 1;
        let position = self.buffer.position().unwrap_or(0);
        self.buffer.tell(now, position, Action::Repair, 0);
    }

    fn span(&self, packet: &Packet<'_>) -> Result<Span, CodecError> {
        let mut decoders = self.decoders.iter();
        let decoder = decoders.find(|(own, _)| *own == packet.payload_type);
        let (_, decoder) = decoder.ok_or(CodecError::Malformed)?;
        let samples = decoder.samples_in(packet.payload)?;
        let (rate, clock) = (u64::from(decoder.sample_rate().hz()), decoder.rtp_clock());
        if samples == 0 && decoder.begins_silence(packet.payload) {
            return Ok(Span { clock, ticks: 1 });
        }
        let ticks = samples as u64 * u64::from(clock) / rate;
        let most = rate as usize * LONGEST_MS / 1000;
        match u32::try_from(ticks) {
            Ok(ticks) if (1..=most).contains(&samples) => Ok(Span { clock, ticks }),
            _ => Err(CodecError::Malformed),
        }
    }

    /// Says that the packet with this number was received but is played elsewhere, as a telephone
    /// event is (RFC 4733): it does not count as lost.
    pub fn aside(&mut self, sequence: u16) {
        self.buffer.aside(sequence);
    }

    /// Says that the next packet comes from another source (another SSRC).
    pub fn resync(&mut self) {
        self.buffer.resync();
    }

    /// Says that nothing is heard for a while, as on hold: what waits is dropped, and the next packet is a
    /// new beginning. Do not [`fill`](Self::fill) meanwhile; time that nobody hears is none that was
    /// played.
    pub fn pause(&mut self) {
        self.buffer.clear();
        self.buffer.resync();
        self.sound.line.skip(self.sound.line.waiting());
        self.made_up = NOISE;
        self.made_up_ahead = 0;
    }

    /// Makes the next 20 ms in `frame`, at [`rate`](Self::rate).
    pub fn fill(&mut self, now: Instant, frame: &mut Frame) -> Heard {
        self.fill_and_tell(now, frame, &mut |_| {})
    }

    /// Like [`fill`](Self::fill), and gives `tell` the pieces of the stream that were decoded or made
    /// up for it, as they were before they were stretched. They may reach beyond the frame.
    pub fn fill_and_tell(&mut self, now: Instant, frame: &mut Frame, tell: Tell<'_>) -> Heard {
        self.end_passing(now);
        self.heard = match (self.sound.line.waiting(), self.made_up_ahead) {
            (0, _) => Heard::Nothing,
            (_, 0) => Heard::Sound,
            _ => Heard::Concealed,
        };
        self.made_up_ahead = self.made_up_ahead.saturating_sub(self.wanted());
        if self.buffer.position().is_some() {
            let stretch = self.decide(now);
            let ahead = match stretch {
                Some(Stretch::Shorten(_)) => Stretcher::longest(self.sound.rate),
                _ => 0,
            };
            self.gather(now, ahead, tell);
            if let Some(stretch) = stretch {
                self.stretch(now, stretch);
            }
            self.make_up(now, tell);
        }
        frame.reset(self.sound.rate);
        self.sound.line.play(frame.samples_mut());
        if self.has_begun {
            self.concealment.played += FRAME_DURATION;
        }
        self.heard
    }

    /// Samples of a frame.
    fn wanted(&self) -> usize {
        self.sound.rate.frame_samples()
    }

    /// Media time of a sample.
    fn per_sample(&self) -> i64 {
        i64::from(MEDIA_CLOCK / self.sound.rate.hz())
    }

    /// Media time of what has been decoded and waits.
    fn waiting(&self) -> i64 {
        self.sound.line.waiting() as i64 * self.per_sample()
    }

    /// Whether the sender has said that it falls silent, so that no packets need come.
    pub fn is_pausing(&self) -> bool {
        self.is_pausing
    }

    /// Whether there is no speech to go on with: before it begins, in the sender's pauses, and where
    /// concealment has faded out.
    fn is_silent(&self) -> bool {
        !self.has_begun || self.is_pausing || self.made_up >= FADED
    }

    /// Looks at the delay, and says whether to stretch time in this tick.
    fn decide(&mut self, now: Instant) -> Option<Stretch> {
        let ear = self.media_time()?;
        let level = self.buffer.level(now, ear);
        let statistics = self.buffer.statistics_mut();
        statistics.level = duration(level);
        let target = self.buffer.target();
        self.buffer.statistics_mut().target = duration(target);
        self.unstretched = self.unstretched.saturating_add(1);
        self.refused = self.refused.saturating_add(1);
        if self.is_silent() || self.made_up > 0 {
            return None;
        }
        let (step, phase) = self.alignment();
        // What a packet that begins in the midst of a frame is wanted earlier than one that begins
        // with it: leaving out less than the phase takes nothing from its time, more takes a step.
        let error = level - target - phase - (FRAME - step);
        let is_quiet = self.quiet >= 2;
        let steps = error.max(0) / step * step;
        if level > self.buffer.most() + FAR_ABOVE || error > FAR_ABOVE {
            let alike = self.patient(ALIKE.1, PATIENCE.0);
            return Some(Stretch::Shorten(self.manner(phase + steps, alike)));
        }
        let has_waited = self.unstretched >= LEISURE.0;
        let above = (target / 4).clamp(ABOVE_IN_SILENCE.0, ABOVE_IN_SILENCE.1);
        let above_long = (target / 2).clamp(ABOVE_LONG.0, ABOVE_LONG.1);
        let is_far = error > step + ABOVE && has_waited;
        if is_quiet && (error > step + above || error >= 0 && phase > ABOVE_IN_SILENCE.0)
            || is_far
            || error > step + above_long && self.unstretched >= LEISURE.1
        {
            let patience = if is_far { PATIENCE.1 } else { PATIENCE.2 };
            let alike = self.patient(ALIKE.0, patience);
            return Some(Stretch::Shorten(self.manner(phase + steps, alike)));
        }
        let covered = self.buffer.covered() - ear;
        let overdue = level - covered;
        if covered < PLENTY
            && overdue > self.buffer.usual() + OVERDUE
            && level < self.buffer.most()
            && self.buffer.chance_beyond(overdue, level) > LIKELY
        {
            return Some(Stretch::Lengthen(self.manner(PLENTY, 0.0), Action::Bridge));
        }
        if is_quiet && -error > BELOW.1 || -error > BELOW.0 && has_waited {
            let alike = self.patient(ALIKE.0, PATIENCE.1);
            let manner = self.manner((-error).max(step - phase), alike);
            return Some(Stretch::Lengthen(manner, Action::SlowDown));
        }
        self.refused = 0;
        None
    }

    /// The likeness that is wanted of sound to be stretched, by how long it has been refused.
    fn patient(&self, alike: f32, patience: u32) -> f32 {
        let spent = self.refused as f32 / patience as f32;
        alike * (2.0 - spent).clamp(0.0, 1.0)
    }

    /// How far packets may lie from the beginnings of frames: the step in which they do, and by how
    /// much the next one does.
    fn alignment(&self) -> (i64, i64) {
        let duration = self.duration.max(1);
        let step = [FRAME, FRAME / 2]
            .into_iter()
            .find(|step| duration % step == 0);
        let step = step.unwrap_or(FRAME / 4);
        (step, self.waiting() % step)
    }

    fn manner(&self, amount: i64, alike: f32) -> Manner {
        match self.quiet >= 2 {
            true => Manner::Quiet((amount / self.per_sample()) as usize),
            false => Manner::Periodic(alike),
        }
    }

    /// Decodes until there is a frame, and `ahead` samples more if they are there.
    fn gather(&mut self, now: Instant, ahead: usize, tell: Tell<'_>) {
        // Each round takes a packet or fills the frame.
        while self.sound.line.waiting() < self.wanted() + ahead {
            let is_due = self.sound.line.waiting() < self.wanted();
            let Some(head) = self.buffer.head() else {
                return;
            };
            let position = self.buffer.position().unwrap_or(head.media_time);
            let gap = head.media_time - position;
            if self.is_silent() {
                let mut wait = self.wait_for(now, &head);
                if wait > 2 * MS && self.sound.line.waiting() == 0 {
                    // A packet that begins with the frame is wanted later than one in its midst.
                    wait = wait.max(FRAME);
                }
                if wait > 2 * MS {
                    if is_due {
                        self.noise(now, wait, tell);
                    }
                    if self.sound.line.waiting() >= self.wanted() {
                        return;
                    }
                }
                self.begin(now, &head);
            } else if gap >= self.per_sample() {
                if !is_due {
                    return;
                }
                if self.recover(now, &head, tell) {
                    continue;
                }
                let is_short = gap <= SHORT_GAP;
                let part = if is_short {
                    gap
                } else {
                    self.missing().min(gap)
                };
                if self.conceal_natively(now, part, tell) {
                    continue;
                }
                if is_short && head.payload_type == self.payload_type {
                    self.decode(now, gap, tell);
                } else {
                    self.conceal(now, part, tell);
                }
                continue;
            } else if gap < 0 {
                self.rewind(now, &head);
            }
            self.decode(now, 0, tell);
        }
    }

    /// Media time that is missing of a frame.
    fn missing(&self) -> i64 {
        self.wanted().saturating_sub(self.sound.line.waiting()) as i64 * self.per_sample()
    }

    /// How long speech that begins with `head` has to wait to have the delay that is aimed at.
    fn wait_for(&self, now: Instant, head: &Head) -> i64 {
        let level = self.buffer.level(now, head.media_time) + self.waiting();
        self.buffer.target() - level
    }

    /// Goes to where speech begins after silence.
    fn begin(&mut self, now: Instant, head: &Head) {
        if !self.has_begun {
            let target = self.buffer.target();
            self.buffer
                .tell(now, head.media_time, Action::Begin, target);
        }
        self.rewind(now, head);
    }

    /// Goes to `head`, dropping what would make the delay too long.
    fn rewind(&mut self, now: Instant, head: &Head) {
        let position = self.buffer.position().unwrap_or(head.media_time);
        let mut head = *head;
        let (most, target) = (self.buffer.most(), self.buffer.target());
        let level = |buffer: &JitterBuffer, head: &Head, waiting| {
            buffer.level(now, head.media_time) + waiting
        };
        if level(&self.buffer, &head, self.waiting()) > most + FRAME {
            let from = head.media_time;
            while level(&self.buffer, &head, self.waiting()) > target + FRAME
                && self.buffer.len() > 1
            {
                self.buffer.discard();
                match self.buffer.head() {
                    Some(next) => head = next,
                    None => return,
                }
            }
            let dropped = head.media_time - from;
            self.buffer.tell(now, from, Action::Discard, dropped);
        }
        let back = position - head.media_time;
        if back > 0 && self.has_begun {
            let grown = level(&self.buffer, &head, self.waiting());
            if !self.buffer.may_grow() && grown > target + FRAME {
                // It is late: what remains of it is played at its time.
                return;
            }
            self.buffer.tell(now, head.media_time, Action::Rewind, back);
        }
        self.buffer.rewind(head.media_time);
    }

    /// Decodes the packet whose turn it is into the line, behind a bridge over `gap` of media time
    /// that is missing before it.
    fn decode(&mut self, now: Instant, gap: i64, tell: Tell<'_>) {
        let per_sample = self.per_sample();
        let position = self.buffer.position().unwrap_or(0);
        let Some(due) = self.buffer.take(now) else {
            return;
        };
        let media_time = due.media_time + due.skip;
        let (age, late) = (due.age, due.late);
        let Some(decoder) = decoder(&mut self.decoders, due.payload_type) else {
            return;
        };
        if due.begins_source {
            decoder.reset();
        }
        let (rate, silence) = (decoder.sample_rate(), decoder.begins_silence(due.payload));
        self.sound.set_rate(rate);
        self.payload_type = due.payload_type;
        self.duration = due.duration;
        let bridge = (gap / per_sample) as usize;
        let most = rate.hz() as usize * LONGEST_MS / 1000;
        let ahead = (self.sound.line.waiting() + bridge).saturating_sub(rate.frame_samples());
        let (past, room) = self.sound.line.room(bridge + most);
        let (made, room) = room.split_at_mut(bridge.min(room.len()));
        let decoded = Stereo::decode(&mut self.stereo, decoder, due.payload, room);
        let Ok((samples, side)) = decoded else {
            return;
        };
        let samples = samples.min(room.len());
        let skip = (due.skip / i64::from(MEDIA_CLOCK / rate.hz())) as usize;
        let sound = &mut room[skip.min(samples)..samples];
        if !silence {
            self.quiet = match self.sound.concealer.learn(sound) {
                true => self.quiet + 1,
                false => 0,
            };
        }
        if made.is_empty() {
            self.sound.concealer.merge(sound);
        } else {
            self.sound.concealer.bridge(past, made, sound);
            tell(Piece {
                media_time: position,
                age: age + media_time - position,
                late: None,
                rate,
                made_up: true,
                packet: None,
                samples: made,
                side: &[],
            });
        }
        if !sound.is_empty() {
            tell(Piece {
                media_time,
                age,
                late: Some(late),
                rate,
                made_up: false,
                packet: Some(Brought {
                    payload_type: due.payload_type,
                    payload: due.payload,
                    skipped: due.skip,
                }),
                samples: sound,
                side: side.get(skip..).unwrap_or_default(),
            });
        }
        self.sound
            .line
            .extend(bridge + samples, if bridge > 0 { 0 } else { skip });
        if gap > 0 {
            self.note_concealed(now, position, gap);
            self.made_up_ahead = ahead;
        }
        self.heard = self
            .heard
            .max(if silence { Heard::Noise } else { Heard::Sound });
        self.has_begun = true;
        self.is_pausing = silence;
        self.made_up = 0;
    }

    /// Lets the codec make the lost packet before `head` from what `head` says of it.
    fn recover(&mut self, now: Instant, head: &Head, tell: Tell<'_>) -> bool {
        if !head.follows_loss || head.payload_type != self.payload_type {
            return false;
        }
        let Some(position) = self.buffer.position() else {
            return false;
        };
        let gap = head.media_time - position;
        if gap > head.duration {
            return false;
        }
        let samples = (gap / self.per_sample()) as usize;
        let (Some(next), Some(decoder)) = (
            self.buffer.peek(),
            decoder(&mut self.decoders, head.payload_type),
        ) else {
            return false;
        };
        let (_, room) = self.sound.line.room(samples);
        let made = Stereo::make_up(&mut self.stereo, decoder, room, |decoder, out| {
            decoder.recover(next, out)
        });
        let Some(side) = made else {
            return false;
        };
        self.sound.concealer.merge(room);
        tell(Piece {
            media_time: position,
            age: self.buffer.level(now, position),
            late: None,
            rate: self.sound.rate,
            made_up: false,
            packet: None,
            samples: room,
            side,
        });
        self.sound.line.extend(samples, 0);
        self.heard = self.heard.max(Heard::Sound);
        self.buffer.advance(gap);
        self.buffer.statistics_mut().recovered += 1;
        self.buffer.tell(now, position, Action::Recover, gap);
        true
    }

    /// Makes up what a frame still wants when nothing more is there.
    fn make_up(&mut self, now: Instant, tell: Tell<'_>) {
        let missing = self.missing();
        if missing == 0 {
            return;
        }
        if self.is_silent() {
            self.noise(now, missing, tell);
            return;
        }
        if self.made_up == 0 {
            self.buffer.statistics_mut().starved += 1;
        }
        if !self.conceal_natively(now, missing, tell) {
            self.conceal(now, missing, tell);
        }
    }

    /// Lets the codec conceal so much media time, if it can, and moves on by it.
    fn conceal_natively(&mut self, now: Instant, time: i64, tell: Tell<'_>) -> bool {
        let samples = (time / self.per_sample()) as usize;
        let (_, room) = self.sound.line.room(samples);
        let Some(decoder) = decoder(&mut self.decoders, self.payload_type) else {
            return false;
        };
        let made = Stereo::make_up(&mut self.stereo, decoder, room, |decoder, out| {
            decoder.conceal(out)
        });
        let Some(side) = made.map(<[i16]>::len) else {
            return false;
        };
        let samples = room.len();
        self.concealed(now, samples, side, tell);
        true
    }

    /// Makes up so much media time, and moves on by it.
    fn conceal(&mut self, now: Instant, time: i64, tell: Tell<'_>) {
        let samples = (time / self.per_sample()) as usize;
        let (past, room) = self.sound.line.room(samples);
        self.sound.concealer.conceal(past, room);
        let samples = room.len();
        self.concealed(now, samples, 0, tell);
    }

    /// Takes so many samples in the line's room as made up, with so many of the side.
    fn concealed(&mut self, now: Instant, samples: usize, side: usize, tell: Tell<'_>) {
        let Some(position) = self.buffer.position() else {
            return;
        };
        let age = self.buffer.level(now, position);
        tell(Piece {
            media_time: position,
            age,
            late: None,
            rate: self.sound.rate,
            made_up: true,
            packet: None,
            samples: self.sound.line.room(samples).1,
            side: self.stereo.as_ref().map_or(&[], |s| s.side(side)),
        });
        self.sound.line.extend(samples, 0);
        let time = samples as i64 * self.per_sample();
        self.buffer.advance(time);
        self.made_up += time;
        self.note_concealed(now, position, time);
        self.made_up_ahead = self.sound.line.waiting().saturating_sub(self.wanted());
    }

    fn note_concealed(&mut self, now: Instant, position: i64, time: i64) {
        self.buffer.tell(now, position, Action::Conceal, time);
        self.concealment.concealed += duration(time);
        self.heard = Heard::Concealed;
    }

    /// Fills so much of the frame with comfort noise, or with silence where there is none or it has
    /// lasted for long, and moves on by it.
    fn noise(&mut self, now: Instant, time: i64, tell: Tell<'_>) {
        let time = time.min(self.missing());
        let samples = (time / self.per_sample()) as usize;
        let is_over = self.made_up >= NOISE;
        let (past, room) = self.sound.line.room(samples);
        if !self.has_begun || is_over {
            room.fill(0);
            if self.has_begun {
                self.concealment.silent += duration(time);
            }
        } else {
            let native = decoder(&mut self.decoders, self.payload_type);
            let stereo = &mut self.stereo;
            let made = native.and_then(|decoder| {
                Stereo::make_up(stereo, decoder, room, |decoder, out| decoder.conceal(out))
            });
            let side = made.unwrap_or_else(|| {
                self.sound.concealer.noise(past, room);
                &[]
            });
            self.concealment.noise += duration(time);
            self.heard = self.heard.max(Heard::Noise);
            if let Some(position) = self.buffer.position() {
                tell(Piece {
                    media_time: position,
                    age: self.buffer.level(now, position),
                    late: None,
                    rate: self.sound.rate,
                    made_up: true,
                    packet: None,
                    samples: room,
                    side,
                });
                self.buffer.tell(now, position, Action::Noise, time);
            }
        }
        self.sound.line.extend(samples, 0);
        self.made_up += time;
        self.buffer.advance(samples as i64 * self.per_sample());
    }

    /// Leaves out a piece of what waits, or puts one in.
    fn stretch(&mut self, now: Instant, stretch: Stretch) {
        let Some(ear) = self.media_time() else {
            return;
        };
        let (samples, action) = match stretch {
            Stretch::Shorten(manner) => {
                let future = self.sound.line.future_mut();
                let Some(samples) = self.sound.stretcher.shorten(future, manner) else {
                    return;
                };
                self.sound.line.skip(samples);
                (samples, Action::Accelerate)
            }
            Stretch::Lengthen(manner, action) => {
                let (all, at) = self.sound.line.all();
                let more = self
                    .sound
                    .stretcher
                    .lengthen(all, at, manner, &mut self.piece);
                let Some(samples) = more else {
                    return;
                };
                self.sound.line.put_before(&self.piece[..samples]);
                (samples, action)
            }
        };
        (self.unstretched, self.refused) = (0, 0);
        let time = samples as i64 * self.per_sample();
        let amount = duration(time);
        match action {
            Action::Accelerate => self.concealment.accelerated += amount,
            _ => self.concealment.slowed += amount,
        }
        if self.quiet >= 2 {
            self.concealment.stretched_silence += amount;
        }
        self.buffer.tell(now, ear, action, time);
    }
}

/// What has been decoded, and what goes on from it where nothing has: all at the rate of the last packet.
#[derive(Debug)]
struct Sound {
    rate: SampleRate,
    line: Line,
    concealer: Concealer,
    stretcher: Stretcher,
}

impl Sound {
    /// Goes on at `rate`: what waits to be played is converted.
    fn set_rate(&mut self, rate: SampleRate) {
        if rate != self.rate {
            self.line.convert(self.rate, rate);
            self.rate = rate;
            self.concealer.set_rate(rate);
            self.stretcher.set_rate(rate);
        }
    }
}

/// How time is stretched in a tick.
#[derive(Debug, Clone, Copy)]
enum Stretch {
    Shorten(Manner),
    Lengthen(Manner, Action),
}

fn decoder(decoders: &mut [Payload], payload_type: u8) -> Option<&mut Box<dyn Decoder>> {
    let mut all = decoders.iter_mut();
    all.find(|(pt, _)| *pt == payload_type)
        .map(|(_, decoder)| decoder)
}
