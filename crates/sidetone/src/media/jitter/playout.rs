//! Playout: from a jitter buffer's packets to steady frames of decoded, concealed audio.

use crate::media::codec::{CodecError, Decoder};
use crate::media::conceal::Concealer;
use crate::media::frame::{Frame, SampleRate};
use crate::media::jitter::{Arrival, Config, JitterBuffer, Next, Packet, Statistics};
use crate::time::Instant;

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
    /// The decoders differ in sample rate or RTP clock.
    #[error("the decoders of a stream must share sample rate and RTP clock")]
    MixedRates,
}

/// What a frame from [`Playout::fill`] holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Silence: there is no stream, it fills the buffer, or it has been missing for long.
    Nothing,
    /// What the sender said.
    Sound,
    /// At least in part what concealment made up.
    Concealed,
}

/// How much of what was played was made up, in samples of the decoder's rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Concealment {
    /// Samples played in all since the first packet.
    pub played: u64,
    /// Samples that concealment made up.
    pub concealed: u64,
    /// Samples of silence where concealment had faded out: long gaps, or a sender that is silent.
    pub silent: u64,
}

/// The receiving end of a stream: packets in as they come, a frame of 20 ms out each tick.
///
/// Wraps a [`JitterBuffer`], the stream's decoders and concealment. Packets may last 10 to 60 ms or
/// more, and may change as they like: what a packet holds beyond the frame is kept for the next one.
/// The delay is corrected in pieces of 20 ms, preferably where it is quiet, blended at the joint.
///
/// Nothing allocates after construction.
///
/// ```
/// use sidetone::media::codec::g711::{G711, Law};
/// use sidetone::media::frame::{Frame, SampleRate};
/// use sidetone::media::jitter::{Config, Packet};
/// use sidetone::media::jitter::playout::{Heard, Playout};
/// use sidetone::time::{Duration, Instant};
///
/// let config = Config { target: Duration::ZERO, ..Config::default() };
/// let mut playout = Playout::new(config, vec![(0, Box::new(G711::new(Law::Mu)))])?;
/// let packet = Packet { sequence: 1, timestamp: 0, payload_type: 0, marker: true, payload: &[0x80; 160] };
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
    rate: SampleRate,
    clock: u32,
    concealer: Concealer,
    /// Decoded samples that wait, from `start` to `end`.
    decoded: Box<[i16]>,
    start: usize,
    end: usize,
    /// Media time of the first of them.
    decoded_time: i64,
    /// Payload type of the last packet.
    payload_type: u8,
    /// Media time of the first sample of the last frame.
    media_time: Option<i64>,
    /// A frame that is left out.
    left_out: Frame,
    /// Frames since the delay was last corrected or found right.
    patience: u32,
    was_quiet: bool,
    concealment: Concealment,
}

/// Samples that one packet can decode to: 120 ms at 48 kHz.
const MAX_PACKET_SAMPLES: usize = 5_760;
/// Frames to wait for a quiet moment before the delay is corrected in mid-speech.
const PATIENCE: u32 = 25;
/// Mean magnitude below which a frame counts as quiet, about -50 dBm0.
const QUIET: u32 = 60;

impl Playout {
    /// A playout of a stream whose packets `decoders` decode.
    ///
    /// # Errors
    /// [`PlayoutError`] where the decoders are none, too many, or differ in rate.
    pub fn new(config: Config, decoders: Vec<Payload>) -> Result<Self, PlayoutError> {
        let (rate, clock) = common_rate(&decoders)?;
        Ok(Self {
            buffer: JitterBuffer::new(config, clock),
            decoders,
            rate,
            clock,
            concealer: Concealer::new(rate),
            decoded: vec![0; MAX_PACKET_SAMPLES * rate.hz() as usize / 48_000].into(),
            start: 0,
            end: 0,
            decoded_time: 0,
            payload_type: 0,
            media_time: None,
            left_out: Frame::silence(rate),
            patience: 0,
            was_quiet: true,
            concealment: Concealment::default(),
        })
    }

    /// The rate of the frames.
    pub fn rate(&self) -> SampleRate {
        self.rate
    }

    /// The jitter buffer's counters.
    pub fn statistics(&self) -> &Statistics {
        self.buffer.statistics()
    }

    /// How much was made up.
    pub fn concealment(&self) -> Concealment {
        self.concealment
    }

    /// Media time of the first sample of the last frame, in ticks of the RTP clock; `None` while
    /// nothing has been played. Goes on evenly over leaps of the sender's timestamps, see
    /// [`JitterBuffer`].
    pub fn media_time(&self) -> Option<i64> {
        self.media_time
    }

    /// Takes in a packet as it comes from the network.
    pub fn put(&mut self, now: Instant, packet: &Packet<'_>) -> Arrival {
        let samples = match decoder(&mut self.decoders, packet.payload_type) {
            Some(decoder) => decoder.samples_in(packet.payload),
            None => Err(CodecError::Malformed),
        };
        match samples {
            Ok(samples) if samples <= self.decoded.len() => {
                let duration = ticks_of(samples, self.rate, self.clock);
                self.buffer.put(now, packet, duration)
            }
            _ => self.buffer.refuse(packet.sequence),
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

    /// Makes the next 20 ms in `frame`.
    pub fn fill(&mut self, now: Instant, frame: &mut Frame) -> Heard {
        frame.reset(self.rate);
        let piece = self.clock / 50;
        let heard = if self.buffer.deficit() >= piece && self.may_correct() {
            self.buffer.lengthened(piece);
            self.media_time = self.next_media_time();
            self.conceal(frame.samples_mut());
            Heard::Concealed
        } else if self.buffer.excess() >= piece && self.may_correct() {
            self.buffer.shortened(piece);
            self.shorten(now, frame)
        } else {
            self.pull(now, frame)
        };
        let sum: u32 = frame
            .samples()
            .iter()
            .map(|s| u32::from(s.unsigned_abs()))
            .sum();
        self.was_quiet = sum < QUIET * frame.samples().len() as u32;
        heard
    }

    /// Whether now is the moment to correct the delay.
    fn may_correct(&mut self) -> bool {
        self.patience += 1;
        if !self.was_quiet && self.patience < PATIENCE {
            return false;
        }
        // A large correction goes on every fifth frame.
        self.patience = PATIENCE - 5;
        true
    }

    /// Leaves out a frame and blends the beginning of the next one into it.
    fn shorten(&mut self, now: Instant, frame: &mut Frame) -> Heard {
        let mut left_out = std::mem::replace(&mut self.left_out, Frame::silence(self.rate));
        left_out.reset(self.rate);
        self.pull(now, &mut left_out);
        let heard = self.pull(now, frame);
        let length = (self.rate.hz() / 200) as i32;
        let blended = frame.samples_mut().iter_mut().zip(left_out.samples());
        for (i, (new, &old)) in (0..length).zip(blended) {
            *new = ((i32::from(old) * (length - i) + i32::from(*new) * i) / length) as i16;
        }
        self.left_out = left_out;
        heard
    }

    /// Makes the next samples of the stream, as many as `frame` holds.
    fn pull(&mut self, now: Instant, frame: &mut Frame) -> Heard {
        self.media_time = self.next_media_time();
        let mut heard = Heard::Nothing;
        let mut filled = 0;
        let wanted = frame.samples().len();
        while filled < wanted {
            let out = &mut frame.samples_mut()[filled..];
            if self.start < self.end {
                filled += self.take_decoded(out);
                if heard == Heard::Nothing {
                    heard = Heard::Sound;
                }
                continue;
            }
            match self
                .buffer
                .next(now, ticks_of(out.len(), self.rate, self.clock))
            {
                Next::Packet(due) => {
                    self.end = 0;
                    self.start = 0;
                    self.payload_type = due.payload_type;
                    self.decoded_time = due.media_time + i64::from(due.skip);
                    let Some(decoder) = decoder(&mut self.decoders, due.payload_type) else {
                        continue;
                    };
                    let Ok(samples) = decoder.decode(due.payload, &mut self.decoded) else {
                        continue;
                    };
                    self.start = samples_of(due.skip, self.rate, self.clock).min(samples);
                    self.end = samples;
                    self.concealer.good(&mut self.decoded[self.start..self.end]);
                }
                Next::Waiting { ticks } => {
                    let n = samples_of(ticks, self.rate, self.clock).clamp(1, out.len());
                    if self.concealment.played > 0 && self.conceal(&mut out[..n]) {
                        heard = Heard::Concealed;
                    }
                    filled += n;
                }
                Next::Missing { ticks } => {
                    let n = samples_of(ticks, self.rate, self.clock).clamp(1, out.len());
                    if self.conceal(&mut out[..n]) {
                        heard = Heard::Concealed;
                    }
                    filled += n;
                }
            }
        }
        heard
    }

    /// Moves decoded samples into `out` and returns how many.
    fn take_decoded(&mut self, out: &mut [i16]) -> usize {
        let n = out.len().min(self.end - self.start);
        out[..n].copy_from_slice(&self.decoded[self.start..self.start + n]);
        self.start += n;
        self.decoded_time += i64::from(ticks_of(n, self.rate, self.clock));
        self.concealment.played += n as u64;
        n
    }

    /// Fills `out` with made-up sound and returns whether any can be heard.
    fn conceal(&mut self, out: &mut [i16]) -> bool {
        self.concealment.played += out.len() as u64;
        if self.concealer.is_faded() {
            self.concealer.conceal(out);
            self.concealment.silent += out.len() as u64;
            return false;
        }
        self.concealment.concealed += out.len() as u64;
        let native = decoder(&mut self.decoders, self.payload_type);
        if native.is_some_and(|decoder| decoder.conceal(out)) {
            self.concealer.good(out);
        } else {
            self.concealer.conceal(out);
        }
        true
    }

    fn next_media_time(&self) -> Option<i64> {
        if self.start < self.end {
            return Some(self.decoded_time);
        }
        self.buffer.position()
    }
}

fn decoder(decoders: &mut [Payload], payload_type: u8) -> Option<&mut Box<dyn Decoder>> {
    let mut all = decoders.iter_mut();
    all.find(|(pt, _)| *pt == payload_type)
        .map(|(_, decoder)| decoder)
}

/// Ticks of the RTP clock that `samples` take; exact for every codec whose packets last whole ticks.
fn ticks_of(samples: usize, rate: SampleRate, clock: u32) -> u32 {
    (samples as u64 * u64::from(clock) / u64::from(rate.hz())) as u32
}

fn samples_of(ticks: u32, rate: SampleRate, clock: u32) -> usize {
    (u64::from(ticks) * u64::from(rate.hz()) / u64::from(clock)) as usize
}

fn common_rate(decoders: &[Payload]) -> Result<(SampleRate, u32), PlayoutError> {
    let (_, first) = decoders.first().ok_or(PlayoutError::DecoderCount)?;
    if decoders.len() > MAX_DECODERS {
        return Err(PlayoutError::DecoderCount);
    }
    let rates = (first.sample_rate(), first.rtp_clock());
    let same = |(_, d): &Payload| (d.sample_rate(), d.rtp_clock()) == rates;
    if decoders.iter().all(same) && rates.1 > 0 {
        Ok(rates)
    } else {
        Err(PlayoutError::MixedRates)
    }
}
