//! The sending half of a leg: frames in, RTP payloads of the negotiated length out.

use crate::media::codec::{Encoder, RtpMap};
use crate::media::frame::{FRAME_DURATION, Frame, SampleRate};
use crate::media::leg::config::{LegError, LegSettings, MAX_PTIME, PayloadFormat};
use crate::media::leg::pauses::{Judgement, Pauses};
use crate::media::leg::redundancy::Copies;
use crate::media::leg::sharing::{MAX_PAYLOAD, Prints};
use crate::media::leg::side::Side;
use crate::media::leg::steering::Steering;
use crate::media::resample::Resampler;
use crate::rtp::packet::HEADER_LEN;
use crate::rtp::session::sender::Sender;
use crate::rtp::stats::PeerStats;
use crate::time::{Duration, Instant};

/// Audio held besides a packet that is filling: what a late driver makes up for at once.
const BACKLOG: Duration = Duration::from_millis(120);

/// Gathers frames until a packet is full and encodes it.
#[derive(Debug)]
pub(super) struct Outbound {
    format: PayloadFormat,
    ptime: Duration,
    encoder: Box<dyn Encoder>,
    /// Where pauses are described under this payload type.
    pauses: Option<(u8, Pauses)>,
    copies: Option<Copies>,
    steering: Steering,
    /// From the leg's rate to the encoder's.
    resampler: Option<Resampler>,
    /// Where the encoder takes two channels.
    side: Option<Box<Side>>,
    pending: Box<[i16]>,
    start: usize,
    end: usize,
    packet_samples: usize,
    packet_ticks: u32,
    /// What waits to be sent that has been encoded for several.
    prints: Waiting,
}

/// Takes a payload, and how long before the end of what has been pushed its sound began.
pub(super) type Tape<'a> = &'a mut dyn FnMut(Duration, &[u8]);

/// Ticks of which what was encoded for several waits to be sent at most.
const MAX_PRINTS: usize = 6;

/// Numbers of prints that wait to be sent.
#[derive(Debug, Default)]
struct Waiting {
    numbers: [u32; MAX_PRINTS],
    count: usize,
}

impl Waiting {
    /// False where there are too many: the number takes the place of the oldest.
    fn push(&mut self, number: u32) -> bool {
        let fits = self.count < MAX_PRINTS;
        if !fits {
            self.pop();
        }
        self.numbers[self.count] = number;
        self.count += 1;
        fits
    }

    fn pop(&mut self) -> Option<u32> {
        let number = self.numbers[0];
        self.count = self.count.checked_sub(1)?;
        self.numbers.rotate_left(1);
        Some(number)
    }
}

impl Outbound {
    /// A sender of audio that comes at `rate`; the settings have been checked.
    pub(super) fn new(settings: &LegSettings, rate: SampleRate) -> Result<Self, LegError> {
        let encoder = settings.send.codec.encoder(&settings.send.terms)?;
        let own_rate = encoder.sample_rate();
        let packet_samples = own_rate.samples_in(settings.ptime) as usize;
        let clock = u64::from(encoder.rtp_clock());
        let packet_ticks = clock * settings.ptime.as_millis() as u64 / 1_000;
        let room = own_rate.samples_in(MAX_PTIME + BACKLOG) as usize;
        let is_stereo = encoder.channels() == 2;
        // Comfort noise describes one channel.
        let pauses = settings.comfort_noise.filter(|_| !is_stereo);
        Ok(Self {
            side: is_stereo.then(|| Box::new(Side::new(rate, own_rate, room))),
            format: settings.send.clone(),
            ptime: settings.ptime,
            resampler: (own_rate != rate).then(|| Resampler::new(rate, own_rate)),
            pauses: pauses.map(|payload_type| (payload_type, Pauses::new(own_rate))),
            copies: Copies::new(settings.redundancy, settings.send.payload_type),
            steering: Steering::new(),
            encoder,
            pending: vec![0; room].into(),
            start: 0,
            end: 0,
            packet_samples,
            packet_ticks: packet_ticks as u32,
            prints: Waiting::default(),
        })
    }

    /// Whether the other makes the same packets.
    pub(super) fn makes_the_same_as(&self, other: &Self) -> bool {
        let noise = |own: &Self| own.pauses.as_ref().map(|(payload_type, _)| *payload_type);
        let same_copies = match (&self.copies, &other.copies) {
            (Some(own), Some(other)) => own.is_like(other),
            (own, other) => own.is_none() && other.is_none(),
        };
        self.format == other.format
            && self.ptime == other.ptime
            && noise(self) == noise(other)
            && same_copies
    }

    /// Fits what follows to what the peer reports.
    pub(super) fn steer(&mut self, peer: &PeerStats) {
        let Some(conditions) = self.steering.read(peer) else {
            return;
        };
        self.encoder.adapt(conditions);
        if let Some(copies) = &mut self.copies {
            copies.steer(self.steering.loss());
        }
    }

    /// Packets of another kind are sent in between.
    pub(super) fn interrupt(&mut self) {
        if let Some(copies) = &mut self.copies {
            copies.forget();
        }
    }

    /// What is to go left and right, where the encoder takes two channels.
    pub(super) fn side(&mut self) -> Option<&mut Side> {
        self.side.as_deref_mut()
    }

    /// What is sent.
    pub(super) fn format(&self) -> &PayloadFormat {
        &self.format
    }

    /// Whether nothing waits for more to fill its packet.
    pub(super) fn has_sent_all(&self) -> bool {
        self.start == self.end
    }

    /// Whether another stream's packets may take the place of ours: no part of a packet waits, and none
    /// has to carry copies.
    pub(super) fn can_pass(&self) -> bool {
        let is_empty = self.start == self.end && self.prints.count == 0;
        is_empty && !self.copies.as_ref().is_some_and(Copies::is_active)
    }

    /// Whether what is encoded here may be sent to others, and what others have encoded from here: a packet a
    /// frame, of one channel and without pauses; and, where a codec goes by what the peer reports, nothing
    /// but good news.
    pub(super) fn can_share(&self) -> bool {
        self.start == self.end
            && self.packet_samples == self.encoder.sample_rate().frame_samples()
            && self.side.is_none()
            && self.pauses.is_none()
            && (self.encoder.is_stateless() || self.steering.is_calm())
    }

    /// Whether the other one would encode the same sound to the same payload.
    pub(super) fn sounds_like(&self, other: &Self) -> bool {
        self.ptime == other.ptime
            && self.format.codec.rtp_map() == other.format.codec.rtp_map()
            && self.format.terms == other.format.terms
    }

    /// Whether a packet does not depend on those before it.
    pub(super) fn is_stateless(&self) -> bool {
        self.encoder.is_stateless()
    }

    /// Whether the encoder's rate is not that of the frames.
    pub(super) fn converts(&self) -> bool {
        self.resampler.is_some()
    }

    /// Goes on where the other one stands; false where that cannot be.
    pub(super) fn take_over(&mut self, other: &Self) -> bool {
        if let Some((own, other)) = self.resampler.as_mut().zip(other.resampler.as_ref()) {
            own.take_over(other);
        }
        self.encoder.is_stateless() || self.encoder.take_over(&*other.encoder)
    }

    /// Encodes a frame, for itself and others, into `room`, and returns the payload's length; nothing where
    /// nothing need be sent.
    pub(super) fn print(&mut self, frame: &Frame, scratch: &mut Frame, room: &mut [u8]) -> usize {
        let samples = match &mut self.resampler {
            Some(resampler) => {
                resampler.process(frame, scratch);
                scratch.samples()
            }
            None => frame.samples(),
        };
        let length = room.len().min(MAX_PAYLOAD);
        self.encoder
            .encode(samples, &mut room[..length])
            .unwrap_or(0)
    }

    /// Sends what was printed under this number.
    pub(super) fn push_print(&mut self, number: u32, sender: &mut Sender) {
        if !self.prints.push(number) {
            sender.skip(self.packet_ticks);
        }
    }

    /// The codec's name.
    pub(super) fn rtp_map(&self) -> RtpMap {
        self.format.codec.rtp_map()
    }

    /// Ticks of the RTP clock in a frame of 20 ms.
    pub(super) fn frame_ticks(&self) -> u32 {
        self.encoder.rtp_clock() / 50
    }

    /// The timestamp of the next audio to be pushed.
    pub(super) fn end_timestamp(&self, sender: &Sender) -> u32 {
        let waiting = self.ticks_of(self.end - self.start);
        let printed = self.packet_ticks * self.prints.count as u32;
        sender.timestamp().wrapping_add(waiting + printed)
    }

    /// Ticks of the RTP clock in a packet.
    pub(super) fn packet_ticks(&self) -> u32 {
        self.packet_ticks
    }

    /// Ticks of the RTP clock a second.
    pub(super) fn clock_rate(&self) -> u32 {
        self.encoder.rtp_clock()
    }

    /// Takes the next 20 ms. What nobody sent makes room, and its time is skipped in `sender`.
    pub(super) fn push(&mut self, frame: &Frame, scratch: &mut Frame, sender: &mut Sender) {
        let samples = match &mut self.resampler {
            Some(resampler) => {
                resampler.process(frame, scratch);
                scratch.samples()
            }
            None => frame.samples(),
        };
        if self.start == self.end {
            // The usual case: stay in the same few cache lines.
            (self.start, self.end) = (0, 0);
        } else if self.end + samples.len() > self.pending.len() {
            self.shift(self.start);
            self.start = 0;
        }
        while self.end + samples.len() > self.pending.len() {
            let n = self.packet_samples.min(self.end);
            self.shift(n);
            sender.skip(self.ticks_of(n));
        }
        self.pending[self.end..self.end + samples.len()].copy_from_slice(samples);
        if let Some(side) = &mut self.side {
            side.push(self.end);
        }
        self.end += samples.len();
    }

    /// Moves what is pending from `from` on to the beginning.
    fn shift(&mut self, from: usize) {
        self.pending.copy_within(from..self.end, 0);
        if let Some(side) = &mut self.side {
            side.shift(from..self.end);
        }
        self.end -= from;
    }

    /// Forgets what has not been sent; its time is skipped in `sender`.
    pub(super) fn discard(&mut self, sender: &mut Sender) {
        let waiting = self.end - self.start;
        if waiting > 0 {
            sender.skip(self.ticks_of(waiting));
        }
        while self.prints.pop().is_some() {
            sender.skip(self.packet_ticks);
        }
        self.start = 0;
        self.end = 0;
    }

    /// Whether it makes packets of Opus that last a tick.
    pub(super) fn makes_packets_of_opus(&self) -> bool {
        self.ptime == FRAME_DURATION && self.format.is_opus()
    }

    /// Writes the next full packet into `buf` and returns its length. If it is one of Opus, its payload goes to `tape`,
    /// with how long before the end of what has been pushed its sound began.
    pub(super) fn poll(
        &mut self,
        now: Instant,
        sender: &mut Sender,
        buf: &mut [u8],
        prints: &Prints,
        tape: Tape<'_>,
    ) -> Option<usize> {
        let tapes = self.makes_packets_of_opus();
        while let Some(number) = self.prints.pop() {
            let payload = prints.payload(number).unwrap_or_default();
            if payload.is_empty() {
                sender.skip(self.packet_ticks);
                continue;
            }
            let room = buf.get_mut(HEADER_LEN..HEADER_LEN + payload.len())?;
            room.copy_from_slice(payload);
            return self.finish(now, sender, buf, payload.len());
        }
        while self.end - self.start >= self.packet_samples {
            let at = self.start;
            let samples = &self.pending[at..at + self.packet_samples];
            self.start += self.packet_samples;
            let room = buf.get_mut(HEADER_LEN..)?;
            if let Some((payload_type, pauses)) = &mut self.pauses {
                match pauses.judge(samples) {
                    Judgement::Sound => {}
                    Judgement::Nothing => {
                        sender.skip(self.packet_ticks);
                        continue;
                    }
                    Judgement::Describe(length) => {
                        let payload = pauses.payload().get(..length)?;
                        room.get_mut(..length)?.copy_from_slice(payload);
                        let timestamp = sender.timestamp();
                        let header = sender.event(*payload_type, timestamp, false, length);
                        sender.skip(self.packet_ticks);
                        header.emit(buf);
                        self.interrupt();
                        return Some(HEADER_LEN + length);
                    }
                }
            }
            let samples = match &mut self.side {
                Some(side) => side.join(samples, at),
                None => samples,
            };
            match self.encoder.encode(samples, room) {
                Ok(length) if length > 0 => {
                    if tapes && let Some(payload) = room.get(..length) {
                        let rate = self.encoder.sample_rate();
                        tape(rate.duration_of((self.end - at) as u64), payload);
                    }
                    return self.finish(now, sender, buf, length);
                }
                // Discontinuous transmission, or a packet that this codec cannot make.
                Ok(_) | Err(_) => sender.skip(self.packet_ticks),
            }
        }
        None
    }

    /// Makes a packet of the payload that stands in `buf`, and returns its length.
    fn finish(
        &mut self,
        now: Instant,
        sender: &mut Sender,
        buf: &mut [u8],
        length: usize,
    ) -> Option<usize> {
        let (plain, timestamp) = ((length, self.format.payload_type), sender.timestamp());
        let (length, payload_type) = match &mut self.copies {
            Some(copies) => copies.wrap(timestamp, buf.get_mut(HEADER_LEN..)?, length),
            None => plain,
        };
        let header = sender.audio(now, payload_type, self.packet_ticks, length);
        header.emit(buf);
        Some(HEADER_LEN + length)
    }

    fn ticks_of(&self, samples: usize) -> u32 {
        let clock = u64::from(self.encoder.rtp_clock());
        let rate = u64::from(self.encoder.sample_rate().hz());
        (samples as u64 * clock / rate) as u32
    }
}
