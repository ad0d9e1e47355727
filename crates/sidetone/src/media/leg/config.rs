//! What a media leg is told when it is made and after each negotiation.

use std::net::SocketAddr;
use std::sync::Arc;

use thiserror::Error;

use crate::id::{LegId, PortId};
use crate::media::codec::g711::Law;
use crate::media::codec::{Codec, CodecError, Terms};
use crate::media::frame::SampleRate;
use crate::media::jitter;
use crate::media::jitter::playout::{MAX_DECODERS, PlayoutError};
use crate::rtp::session::control::ControlTerms;
use crate::rtp::source::SourceConfig;
use crate::srtp::key::Keying;
use crate::time::{ClockAnchor, Duration};

/// Receive formats that a leg holds at most.
pub const MAX_RECEIVE_FORMATS: usize = MAX_DECODERS;

/// The longest packet time that a leg sends.
pub const MAX_PTIME: Duration = Duration::from_millis(60);

/// Where a peer receives RTP and RTCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaAddress {
    /// RTP.
    pub rtp: SocketAddr,
    /// RTCP; the same as `rtp` where both share a port, `None` where the peer takes none.
    pub rtcp: Option<SocketAddr>,
}

/// Which of a pair of sockets a datagram belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// The RTP socket, which also carries RTCP where the peers agreed to share the port (RFC 5761).
    Rtp,
    /// The RTCP socket.
    Rtcp,
}

/// A codec under the payload type, and on the terms, that were negotiated for it.
#[derive(Debug, Clone)]
pub struct PayloadFormat {
    /// RTP payload type, 0 to 127.
    pub payload_type: u8,
    /// The codec.
    pub codec: Arc<dyn Codec>,
    /// Its parameters.
    pub terms: Terms,
}

impl PayloadFormat {
    /// A codec without parameters, at its own rate.
    pub fn new(payload_type: u8, codec: Arc<dyn Codec>) -> Self {
        Self {
            payload_type,
            terms: Terms::new(codec.sample_rate()),
            codec,
        }
    }

    /// Whether it is Opus, under whatever payload type.
    pub fn is_opus(&self) -> bool {
        let name = self.codec.rtp_map().encoding;
        name.eq_ignore_ascii_case("opus")
    }

    /// G.711 µ-law under its static payload type 0.
    pub fn pcmu() -> Self {
        Self::new(0, Arc::new(Law::Mu))
    }

    /// G.711 A-law under its static payload type 8.
    pub fn pcma() -> Self {
        Self::new(8, Arc::new(Law::A))
    }
}

/// Whether both mean the same packets: number, name and terms.
impl PartialEq for PayloadFormat {
    fn eq(&self, other: &Self) -> bool {
        self.payload_type == other.payload_type
            && self.codec.rtp_map() == other.codec.rtp_map()
            && self.terms == other.terms
    }
}

impl Eq for PayloadFormat {}

/// Telephone events as negotiated (RFC 4733 §2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TelephoneEventFormat {
    /// Payload type that we send.
    pub send_payload_type: u8,
    /// Payload type that we receive.
    pub receive_payload_type: u8,
    /// Ticks a second of the event's clock, as negotiated; that of the audio codec.
    pub clock_rate: u32,
    /// A second payload type under which events may arrive, and its clock rate: where codecs of
    /// different clocks are negotiated, a peer may use either.
    pub also_received: Option<(u8, u32)>,
}

impl TelephoneEventFormat {
    /// The clock rate of events that arrive under this payload type; `None` where none do.
    pub(super) fn clock_of(&self, payload_type: u8) -> Option<u32> {
        if payload_type == self.receive_payload_type {
            return Some(self.clock_rate);
        }
        let also = self.also_received.filter(|(own, _)| *own == payload_type);
        also.map(|(_, clock_rate)| clock_rate)
    }
}

/// When what is sent carries copies of the packets before it (RFC 2198).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Redundancy {
    /// Never; it is not negotiated either.
    Off,
    /// While the peer reports losses: from 2 % on, until they have been below 0.5 % for a while.
    /// The default.
    #[default]
    OnLoss,
    /// In every packet.
    Always,
}

/// Redundant audio as negotiated (RFC 2198).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedundancyFormat {
    /// Payload type that we send; `None` where the peer takes none with our codec.
    pub send_payload_type: Option<u8>,
    /// Payload types that we receive, each with its ticks a second: one for each clock rate.
    pub receive_payload_types: [Option<(u8, u32)>; 2],
    /// When copies are sent.
    pub when: Redundancy,
    /// Copies of how many packets each one carries, 1 to 3.
    pub generations: u8,
}

/// The audio level extension as negotiated (RFC 6464).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelExtension {
    /// Its identifier in header extensions, both ways.
    pub id: u8,
    /// We tell the level of what we send.
    pub send: bool,
    /// The peer's voice flag means something.
    pub voice: bool,
}

/// Which ways media flows, seen from us (RFC 3264 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Direction {
    /// We send.
    pub send: bool,
    /// We receive.
    pub receive: bool,
}

impl Direction {
    /// Both ways.
    pub const SEND_RECEIVE: Self = Self {
        send: true,
        receive: true,
    };
    /// We send only: the peer is on hold and hears music.
    pub const SEND_ONLY: Self = Self {
        send: true,
        receive: false,
    };
    /// We receive only.
    pub const RECEIVE_ONLY: Self = Self {
        send: false,
        receive: true,
    };
    /// Neither way.
    pub const INACTIVE: Self = Self {
        send: false,
        receive: false,
    };
}

/// What a negotiation settles, and may settle anew during the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegSettings {
    /// Where the peer receives; `None` until it is known: nothing is sent or accepted then.
    pub remote: Option<MediaAddress>,
    /// RTP and RTCP share the RTP port, both ways (RFC 5761).
    pub rtcp_mux: bool,
    /// Which ways media flows.
    pub direction: Direction,
    /// What we send.
    pub send: PayloadFormat,
    /// What we accept, 1 to [`MAX_RECEIVE_FORMATS`] of one rate; the peer may switch among them at
    /// any packet.
    pub receive: Vec<PayloadFormat>,
    /// Telephone events, where negotiated.
    pub telephone_event: Option<TelephoneEventFormat>,
    /// Redundant audio, where negotiated.
    pub redundancy: Option<RedundancyFormat>,
    /// The payload type under which pauses are described (RFC 3389) rather than sent, where comfort
    /// noise is negotiated on the clock of what is sent.
    pub comfort_noise: Option<u8>,
    /// What was agreed about RTCP.
    pub control: ControlTerms,
    /// Audio levels in packets' headers, where negotiated.
    pub audio_level: Option<LevelExtension>,
    /// Audio in each packet that we send: 10 to 60 ms in steps of 10. Default 20 ms.
    pub ptime: Duration,
    /// The keys of SRTP; `None` sends and takes plain RTP. Keys that stay the same keep their
    /// streams' state. Default `None`.
    pub keying: Option<Keying>,
    /// How long nothing acceptable may come before [`Event::MediaTimeout`] is raised, while we
    /// receive; `None` for ever.
    ///
    /// [`Event::MediaTimeout`]: crate::media::command::Event::MediaTimeout
    pub media_timeout: Option<Duration>,
}

impl LegSettings {
    /// Settings to start from: both ways, 20 ms, `format` for sending and receiving, no telephone
    /// events, no address yet, no media time-out.
    pub fn new(format: PayloadFormat) -> Self {
        Self {
            remote: None,
            rtcp_mux: false,
            direction: Direction::SEND_RECEIVE,
            receive: vec![format.clone()],
            send: format,
            telephone_event: None,
            redundancy: None,
            comfort_noise: None,
            control: ControlTerms::default(),
            audio_level: None,
            ptime: Duration::from_millis(20),
            keying: None,
            media_timeout: None,
        }
    }

    /// The rate at which the leg can work without loss: that of what it sends, or of what it most
    /// wants to receive.
    pub fn rate(&self) -> SampleRate {
        let receive = self.receive.first().map(|f| f.codec.sample_rate());
        receive
            .into_iter()
            .fold(self.send.codec.sample_rate(), SampleRate::max)
    }

    /// Tells every codec the rate at which the leg works, so that those that can convert by
    /// themselves do.
    pub fn work_at(&mut self, rate: SampleRate) {
        self.send.terms.rate = rate;
        for format in &mut self.receive {
            format.terms.rate = rate;
        }
    }

    /// Checks what a leg relies on.
    pub(super) fn check(&self) -> Result<(), LegError> {
        let millis = self.ptime.as_millis();
        let in_steps =
            self.ptime == Duration::from_millis(millis as u64) && millis.is_multiple_of(10);
        if !in_steps || millis == 0 || self.ptime > MAX_PTIME {
            return Err(LegError::Ptime(self.ptime));
        }
        let events = self.telephone_event.iter();
        let events = events.flat_map(|e| [e.send_payload_type, e.receive_payload_type]);
        let formats = self.receive.iter().chain([&self.send]);
        let mut types = formats.map(|f| f.payload_type).chain(events);
        match types.find(|&t| t > 127) {
            Some(payload_type) => Err(LegError::PayloadType(payload_type)),
            None => Ok(()),
        }
    }
}

/// Everything that a new leg is told.
#[derive(Debug, Clone)]
pub struct LegConfig {
    /// The leg.
    pub id: LegId,
    /// The sockets that it owns while it lives.
    pub port: PortId,
    /// What negotiation settled.
    pub settings: LegSettings,
    /// The rate at which it works, that of its players and recording: as a rule that of its codec.
    /// Default 8 kHz.
    pub rate: SampleRate,
    /// Further rates of rooms that it may join; converters for each are kept, about 6 kB. Default
    /// none: then it joins rooms of its own rate only.
    pub room_rates: Vec<SampleRate>,
    /// Our canonical name in RTCP, 1 to 255 bytes, without personal data; random where streams are
    /// not to be linked (RFC 7022).
    pub cname: String,
    /// The jitter buffer.
    pub jitter: jitter::Config,
    /// Who may send us media.
    pub source: SourceConfig,
    /// Ties the driver's clock to civil time, for sender reports.
    pub anchor: ClockAnchor,
}

impl LegConfig {
    /// A leg at 8 kHz with defaults for its jitter buffer and its source, and a canonical name made
    /// of its own number.
    pub fn new(id: LegId, port: PortId, settings: LegSettings, anchor: ClockAnchor) -> Self {
        Self {
            id,
            port,
            settings,
            rate: SampleRate::HZ_8000,
            room_rates: Vec::new(),
            cname: format!("leg-{id}"),
            jitter: jitter::Config::default(),
            source: SourceConfig::default(),
            anchor,
        }
    }
}

/// Why a leg cannot be made or changed so; always the caller's mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LegError {
    /// The packet time is not 10 to 60 ms in steps of 10.
    #[error("packet time of {0:?} cannot be sent")]
    Ptime(Duration),
    /// No receive format, more than [`MAX_RECEIVE_FORMATS`], or formats of different rates.
    #[error(transparent)]
    Receive(#[from] PlayoutError),
    /// A codec cannot be made.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A payload type above 127.
    #[error("{0} is no RTP payload type")]
    PayloadType(u8),
    /// The canonical name is empty or longer than the 255 bytes that RTCP can carry.
    #[error("the RTCP canonical name is empty or too long")]
    CanonicalName,
}
