//! A media leg: one RTP stream pair from wire to room and back.

pub mod config;
mod converters;
pub mod digits;
pub mod ears;
pub mod forks;
mod inbound;
pub(crate) mod lane;
mod level;
mod outbound;
pub(crate) mod passing;
mod pauses;
pub mod players;
mod quality;
mod receive;
pub mod recording;
mod redundancy;
mod secure;
pub(crate) mod sharing;
mod side;
mod silence;
mod steering;
mod transmit;
pub mod update;

use std::net::SocketAddr;

use sidetone_simd::cache::prefetch;

use crate::id::{LegId, PortId, RecordingId};
use crate::media::detect::MachineTone;
use crate::media::dtmf::{Digit, DtmfStats};
use crate::media::frame::{Frame, SampleRate};
use crate::media::jitter::log::Decision;
use crate::media::jitter::statistics::{Concealment, Statistics};
use crate::media::level::LevelReport;
use crate::media::level::vad::SpeechEvent;
use crate::media::quality::monitor::Monitor;
use crate::media::quality::{Change, Quality};
use crate::media::recorder::Tap;
use crate::media::recorder::note::Note;
use crate::rng::Rng;
use crate::rtp::burst::Bursts;
use crate::rtp::extension::AudioLevel;
use crate::rtp::session::control::ControlConfig;
use crate::rtp::session::receiver::ReceiverConfig;
use crate::rtp::session::{Session, SessionConfig};
use crate::rtp::source::control::ControlLock;
use crate::rtp::source::{Learning, SourceLock, SourceStats};
use crate::rtp::stats::{ControlStats, FeedbackStats, PeerStats, ReceiveStats, SendStats};
use crate::srtp::stats::SrtpStats;
use crate::time::{Duration, Instant};

use config::{Channel, LegConfig, LegError};
use converters::Converters;
use digits::{DigitPath, DigitString, Digits};
use ears::Ears;
use forks::Forks;
use inbound::Inbound;
use level::Levels;
use outbound::Outbound;
use passing::Relay;
use players::Players;
use recording::Recordings;
use secure::Secure;
use silence::Silence;
use update::{LegUpdate, Line};

/// What a leg tells signalling, by way of the worker.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum LegEvent {
    /// The first packet of the peer was accepted; again after a [`LegEvent::MediaTimeout`].
    MediaStarted,
    /// Nothing acceptable came for the media time-out.
    MediaTimeout {
        /// Time since the last accepted packet, or since receiving began.
        silent_for: Duration,
    },
    /// The peer pressed a key.
    DigitStarted {
        /// The digit.
        digit: Digit,
        /// How it was told.
        path: DigitPath,
    },
    /// The peer let the key go.
    DigitEnded {
        /// The digit.
        digit: Digit,
        /// How long it was held.
        duration: Duration,
        /// How it was told.
        path: DigitPath,
    },
    /// All digits have been sent.
    DigitsSent,
    /// A machine said something by a tone.
    Tone(MachineTone),
    /// The peer begins or stops to speak.
    Speech(SpeechEvent),
    /// One way has begun to sound bad, or is good again.
    Quality(Change),
}

/// Events that wait at most; each input causes fewer, and the worker polls after each.
const MAX_EVENTS: usize = 14;

/// Figures of a leg.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LegReport {
    /// What was received.
    pub receive: ReceiveStats,
    /// What was sent.
    pub send: SendStats,
    /// What the peer reports of what we sent.
    pub peer: PeerStats,
    /// How RTCP fared.
    pub control: ControlStats,
    /// Feedback about our stream.
    pub feedback: FeedbackStats,
    /// How what was lost of the peer's stream, or came too late, clusters.
    pub bursts: Bursts,
    /// What the peer last told of its own level, where that was negotiated (RFC 6464).
    pub peer_level: Option<AudioLevel>,
    /// What protection counted; `None` where packets are not protected.
    pub srtp: Option<SrtpStats>,
    /// Packets accepted and refused by their source.
    pub source: SourceStats,
    /// The jitter buffer.
    pub jitter: Statistics,
    /// How much of what was played was made up.
    pub concealment: Concealment,
    /// How both ways sound, and why.
    pub quality: Quality,
    /// The peer's digits.
    pub digits: DtmfStats,
    /// The levels of what was received, where they are measured.
    pub levels: Option<LevelReport>,
    /// The automatic gain now, in decibels, where it is on.
    pub gain_db: Option<f32>,
    /// Datagrams that were neither RTP nor, where it may come, RTCP.
    pub malformed: u64,
    /// RTCP datagrams refused by their source.
    pub refused_control: u64,
    /// Where RTP is sent now.
    pub destination: Option<SocketAddr>,
}

/// A packet that a leg has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// The socket to send from.
    pub channel: Channel,
    /// Where to.
    pub destination: SocketAddr,
    /// Bytes written.
    pub length: usize,
}

/// One RTP stream pair with one party, from wire to room and back.
///
/// Inwards: protection, source lock, RTP sequence, telephone events aside, jitter buffer, decoder or
/// concealment, one frame a tick (`listen`, `said`). Outwards: one
/// frame a tick (`speak`), encoder, packets of the negotiated length
/// (`poll_transmit`). While it may send, it does: a leg that hears nothing
/// sends encoded silence, which keeps address translators open and peers from timing out.
///
/// A [`Worker`](crate::media::worker::Worker) drives it. Everything that allocates is made in
/// [`Leg::new`]: about 54 kB at 8 kHz with the default jitter buffer.
///
/// ```
/// use sidetone::id::{LegId, PortId};
/// use sidetone::media::leg::Leg;
/// use sidetone::media::leg::config::{LegConfig, LegSettings, PayloadFormat};
/// use sidetone::rng::Rng;
/// use sidetone::time::{ClockAnchor, Instant};
///
/// let settings = LegSettings::new(PayloadFormat::pcmu());
/// let config = LegConfig::new(LegId(1), PortId(1), settings, ClockAnchor::default());
/// let leg = Leg::new(Instant::ZERO, config, Rng::new(1))?;
/// assert_eq!(leg.id(), LegId(1));
/// # Ok::<(), sidetone::media::leg::config::LegError>(())
/// ```
#[derive(Debug)]
pub struct Leg {
    id: LegId,
    port: PortId,
    rate: SampleRate,
    line: Line,
    secure: Secure,
    lock: SourceLock,
    control_lock: ControlLock,
    session: Session,
    inbound: Inbound,
    outbound: Outbound,
    said: Frame,
    converters: Converters,
    digits: Digits,
    players: Players,
    recordings: Recordings,
    forks: Forks,
    ears: Option<Box<Ears>>,
    silence: Silence,
    levels: Levels,
    /// The next packet is the first after a pause that was agreed on.
    resumes: bool,
    last_tick: Option<Instant>,
    /// Ticks that never ran before the last one.
    missed_ticks: u32,
    last_payload_type: u8,
    quality: Monitor,
    events: Events,
    /// While another leg's packets are passed on to this one.
    relay: Option<Relay>,
    /// Until when the last packet lasts that was passed on from this leg.
    passed_until: Option<Instant>,
    /// The same of the last packet that was passed on to it.
    provided_until: Option<Instant>,
    /// Packets that were no sound stood between those that were passed on.
    stepped_aside: bool,
    /// The number of the last packet that was passed on from this leg.
    last_passed: Option<i64>,
    /// It did not follow the one before.
    pub(crate) has_gap: bool,
    malformed: u64,
    refused_control: u64,
}

impl Leg {
    /// A leg that is in no room and has sent nothing; `rng` makes its SSRC, its first numbers and
    /// its RTCP intervals. The window in which it may learn its peer's address begins `now`.
    ///
    /// # Errors
    /// [`LegError`]: the configuration is impossible.
    pub fn new(now: Instant, config: LegConfig, rng: Rng) -> Result<Box<Self>, LegError> {
        if config.cname.is_empty() || config.cname.len() > 255 {
            return Err(LegError::CanonicalName);
        }
        let LegUpdate {
            rate,
            line,
            secure,
            inbound,
            outbound,
        } = LegUpdate::new(&config.settings, config.rate, config.jitter)?;
        let session = SessionConfig {
            cname: config.cname,
            anchor: config.anchor,
            receiver: ReceiverConfig {
                clock_rate: inbound.clock_rate(),
                ..ReceiverConfig::default()
            },
            control: ControlConfig::default(),
        };
        // It is large, and moved no more.
        let mut leg = Box::new(Self {
            id: config.id,
            port: config.port,
            rate,
            line,
            secure,
            lock: SourceLock::new(config.source),
            control_lock: ControlLock::new(config.source.learning != Learning::Off),
            session: Session::new(now, session, rng),
            inbound,
            outbound,
            said: Frame::silence(rate),
            converters: Converters::new(rate, &config.room_rates),
            digits: Digits::new(line.telephone_event, rate),
            players: Players::default(),
            recordings: Recordings::default(),
            forks: Forks::default(),
            ears: None,
            silence: Silence::default(),
            levels: Levels::default(),
            resumes: true,
            last_tick: None,
            missed_ticks: 0,
            last_payload_type: 0,
            quality: Monitor::new(config.id.0),
            events: Events::default(),
            relay: None,
            passed_until: None,
            provided_until: None,
            stepped_aside: false,
            last_passed: None,
            has_gap: false,
            malformed: 0,
            refused_control: 0,
        });
        leg.settle(now);
        Ok(leg)
    }

    /// A tick is coming: asks for what it reads in any case.
    pub(crate) fn expect_tick(&self) {
        prefetch(&self.id);
        prefetch(&self.line);
        prefetch(&self.inbound);
        prefetch(&self.silence);
        prefetch(&self.relay);
        prefetch(&self.passed_until);
        prefetch(&self.provided_until);
        prefetch(&self.recordings);
        prefetch(&self.forks);
        prefetch(&self.players);
    }

    /// The leg's identifier.
    pub fn id(&self) -> LegId {
        self.id
    }

    /// The sockets that it owns.
    pub fn port(&self) -> PortId {
        self.port
    }

    /// The rate of its frames.
    pub fn rate(&self) -> SampleRate {
        self.rate
    }

    /// The recordings that it is tapped for.
    pub fn recordings(&self) -> impl Iterator<Item = RecordingId> + '_ {
        self.recordings.iter()
    }

    /// What plays in its ear.
    pub fn players(&self) -> &Players {
        &self.players
    }

    /// Its figures.
    pub fn report(&self) -> LegReport {
        LegReport {
            receive: self.session.receive_stats(),
            send: self.session.send_stats(),
            peer: self.session.peer_stats(),
            control: self.session.control_stats(),
            feedback: self.session.feedback_stats(),
            bursts: self.session.bursts(),
            peer_level: self.levels.received,
            srtp: self.secure.stats(),
            source: self.lock.stats(),
            jitter: *self.inbound.playout.statistics(),
            concealment: self.inbound.playout.concealment(),
            quality: self.quality.quality(),
            digits: self.digits.stats(),
            levels: self.ears.as_ref().and_then(|ears| ears.levels()),
            gain_db: self.ears.as_ref().and_then(|ears| ears.gain_db()),
            malformed: self.malformed,
            refused_control: self.refused_control,
            destination: self.destination(),
        }
    }

    /// Keeps a log of the last `capacity` decisions of the jitter buffer, or none. Allocates.
    pub fn log_decisions(&mut self, capacity: usize) {
        self.inbound.playout.log_decisions(capacity);
    }

    /// Takes the oldest decision out of the log.
    pub fn poll_decision(&mut self) -> Option<Decision> {
        self.inbound.playout.poll_decision()
    }

    pub(crate) fn players_mut(&mut self) -> &mut Players {
        &mut self.players
    }

    /// Takes over new settings, and leaves in `update` what they replace.
    pub(crate) fn configure(&mut self, now: Instant, update: &mut LegUpdate) {
        self.end_relay(now);
        std::mem::swap(&mut self.line, &mut update.line);
        self.secure.renew(now, &mut update.secure);
        if self.inbound.formats != update.inbound.formats {
            std::mem::swap(&mut self.inbound, &mut update.inbound);
            self.inbound.succeed(&mut update.inbound);
            self.recordings.reanchor();
        }
        if !self.outbound.makes_the_same_as(&update.outbound) {
            self.outbound.discard(self.session.sender());
            std::mem::swap(&mut self.outbound, &mut update.outbound);
        }
        let (before, line) = (&update.line, &self.line);
        if line.remote != before.remote || line.direction != before.direction {
            self.session.receiver().expect_change(now);
        }
        self.resumes |= line.direction.receive && !before.direction.receive;
        if before.direction.receive && !line.direction.receive {
            self.inbound.playout.pause();
            self.recordings.reanchor();
        }
        if line.audio_level != before.audio_level {
            self.levels = Levels::default();
        }
        if update.line.media_timeout.is_none() {
            // Nothing was expected so far: the time counts from now.
            self.silence.stop_listening();
        }
        self.settle(now);
    }

    /// Makes everything follow the settings in force.
    fn settle(&mut self, now: Instant) {
        let clock_rate = self.inbound.clock_rate();
        self.session.receiver().set_clock_rate(clock_rate);
        self.session
            .sender()
            .set_clock_rate(self.outbound.clock_rate());
        let events = self.line.telephone_event.into_iter().flat_map(|events| {
            let own = (events.receive_payload_type, events.clock_rate);
            [Some(own), events.also_received]
        });
        let others = events.chain(self.line.redundancy).flatten();
        let receiver = self.session.receiver();
        receiver.set_payload_types(self.inbound.clocks().chain(others));
        self.digits.configure(self.line.telephone_event);
        self.session.set_control_terms(now, self.line.control);
        if let Some(remote) = self.line.remote {
            self.lock.signal(now, remote.rtp);
            self.control_lock.signal(remote.rtcp);
            // A party that is answered long after its address was signalled may still be learned.
            self.lock.reopen(now);
        }
        if self.line.direction.receive && self.line.remote.is_some() {
            self.silence.listen(now);
        } else {
            self.silence.stop_listening();
        }
    }

    /// Whether it can be in a room of this rate.
    pub(crate) fn suits(&self, room: SampleRate) -> bool {
        room == self.rate || self.converters.reach(room)
    }

    /// What the peer says in this tick, at a room's rate; `scratch` is overwritten.
    pub(crate) fn said_at<'a>(&'a mut self, room: SampleRate, scratch: &'a mut Frame) -> &'a Frame {
        if room != self.rate && self.converters.convert_said(&self.said, room, scratch) {
            scratch
        } else {
            &self.said
        }
    }

    /// Brings what a room gives to the leg's rate; `scratch` is overwritten.
    pub(crate) fn fit(&mut self, heard: &mut Frame, scratch: &mut Frame) {
        if heard.rate() != self.rate && self.converters.convert_heard(heard, scratch) {
            heard.reset(self.rate);
            heard.copy_from(scratch.samples());
        }
    }

    /// What the peer says in this tick; nothing new while its packets are passed on.
    pub fn said(&self) -> &Frame {
        &self.said
    }

    pub(crate) fn poll_event(&mut self) -> Option<LegEvent> {
        self.events.pop()
    }

    /// Queues digits to be sent.
    pub(crate) fn send_digits(
        &mut self,
        digits: &DigitString,
        press: Duration,
        path: DigitPath,
    ) -> Result<(), SendDigitsError> {
        if path == DigitPath::Events && self.line.telephone_event.is_none() {
            return Err(SendDigitsError::NotNegotiated);
        }
        let queued = self.digits.send(digits, press, path);
        queued.then_some(()).ok_or(SendDigitsError::Full)
    }

    /// Listens by `ears` from now on, and gives back those that it had.
    ///
    /// # Errors
    /// Gives `ears` back where they are for another rate.
    pub(crate) fn listen_by(
        &mut self,
        mut ears: Box<Ears>,
    ) -> Result<Option<Box<Ears>>, Box<Ears>> {
        if ears.rate() != self.rate {
            return Err(ears);
        }
        if let Some(former) = &mut self.ears {
            ears.take_over(former);
        }
        Ok(self.ears.replace(ears))
    }

    /// Starts a recording, or takes part in one.
    ///
    /// # Errors
    /// Gives the tap back where the leg is tapped for this recording already or for too many, or the tap
    /// takes another rate.
    pub(crate) fn start_recording(
        &mut self,
        now: Instant,
        id: RecordingId,
        tap: Box<Tap>,
    ) -> Result<(), (StartRecordingError, Box<Tap>)> {
        if self.recordings.get_mut(id).is_some() {
            return Err((StartRecordingError::Recording, tap));
        }
        if tap.from_rate() != self.rate {
            return Err((StartRecordingError::WrongRate, tap));
        }
        let added = self.recordings.add(now, id, tap);
        added.map_err(|tap| (StartRecordingError::Full, tap))
    }

    /// Writes into the timeline of the recording of this name.
    ///
    /// # Errors
    /// Gives the note back where there is no such recording, or too many wait for storage.
    pub(crate) fn note_recording(
        &mut self,
        now: Instant,
        id: RecordingId,
        note: Note,
    ) -> Result<(), Note> {
        match self.recordings.get_mut(id) {
            Some(recording) => recording.note(now, note),
            None => Err(note),
        }
    }

    /// Stops taking part in the recording of this name and gives its tap back.
    pub(crate) fn stop_recording(&mut self, id: RecordingId) -> Option<Box<Tap>> {
        self.recordings.remove(id)
    }
}

/// Why digits cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendDigitsError {
    /// The peer takes no telephone events.
    NotNegotiated,
    /// Too many digits wait already.
    Full,
}

/// Why a recording cannot start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StartRecordingError {
    /// The leg is tapped for this recording already.
    Recording,
    /// The leg is tapped for as many as it can be.
    Full,
    /// The tap has another rate than the leg.
    WrongRate,
}

/// Events that wait for the worker, which takes them after every input.
#[derive(Debug, Default)]
struct Events {
    queue: [Option<LegEvent>; MAX_EVENTS],
}

impl Events {
    fn push(&mut self, event: LegEvent) {
        if let Some(free) = self.queue.iter_mut().find(|e| e.is_none()) {
            *free = Some(event);
        }
    }

    fn pop(&mut self) -> Option<LegEvent> {
        let first = self.queue[0].take()?;
        self.queue.rotate_left(1);
        Some(first)
    }
}
