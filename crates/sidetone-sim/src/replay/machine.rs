//! The machine: a worker in virtual time that is fed what a capture holds.

use std::sync::Arc;

use sidetone::id::{LegId, PortId};
use sidetone::media::codec::{Codec, Terms};
use sidetone::media::command::Command;
use sidetone::media::frame::SampleRate;
use sidetone::media::jitter;
use sidetone::media::leg::config::{
    Direction, LegConfig, LegError, LegSettings, MediaAddress, PayloadFormat, Redundancy,
    RedundancyFormat, TelephoneEventFormat,
};
use sidetone::media::leg::{Leg, LegReport};
use sidetone::media::worker::{Worker, WorkerConfig};
use sidetone::rng::Rng;
use sidetone::sdp::attribute::Format;
use sidetone::srtp::key::{Keying, MasterKey};
use sidetone::time::{ClockAnchor, Duration, Instant, WallTime};
use thiserror::Error;

use super::report::{Report, Second};
use super::streams::Stream;
use crate::capture::Capture;

/// How a stream is replayed.
#[derive(Debug, Clone)]
pub struct Options {
    /// The codecs that may be needed.
    pub codecs: Vec<Arc<dyn Codec>>,
    /// What payload types mean, where the capture does not tell or tells wrongly.
    pub formats: Vec<Format>,
    /// The jitter buffer of the listener.
    pub jitter: jitter::Config,
    /// The key that the sender protects with, where it does.
    pub key: Option<MasterKey>,
}

/// Why a stream cannot be replayed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// Its packets are encrypted.
    #[error("the stream is protected by SRTP and no key was given")]
    Protected,
    /// Nothing says what its packets hold.
    #[error("nothing in the capture says what payload type {0} is")]
    Unknown(u8),
    /// No codec that is here decodes it.
    #[error("there is no codec for {0}")]
    NoCodec(String),
    /// It lasts longer than [`MAX_LENGTH`].
    #[error("the stream lasts longer than {} hours", MAX_LENGTH.as_secs() / 3_600)]
    TooLong,
    /// Not one of its packets is what the key's owner would have sent.
    #[error("the key is not that of the stream")]
    WrongKey,
    /// A leg cannot be made for it.
    #[error(transparent)]
    Leg(#[from] LegError),
}

/// The longest stream that is replayed: a damaged time stamp must not fill the memory with silence.
pub const MAX_LENGTH: Duration = Duration::from_secs(24 * 3_600);

/// What a listener would have heard, and why.
#[derive(Debug, Clone)]
pub struct Replayed {
    /// The sound.
    pub samples: Vec<i16>,
    /// Its rate.
    pub rate: SampleRate,
    /// What happened to it.
    pub report: Report,
}

const LEG: LegId = LegId(1);
const PORT: PortId = PortId(1);
/// When the first packet comes, on the machine's clock: on a tick, and late enough for what asks
/// about the time before.
const START: Instant = Instant::from_nanos(1_000_000_000);
/// Ticks in a second.
const TICKS: usize = 50;
/// How long to wait at most for what a jitter buffer still holds at the end.
const MAX_TAIL: Duration = Duration::from_secs(2);

/// Puts a stream through the receive path as it would have run at the capture's place and time.
///
/// The same capture, stream and options give the same result, byte for byte.
///
/// # Errors
/// [`ReplayError`]: the stream cannot be understood.
pub fn replay(
    capture: &Capture,
    stream: &Stream,
    options: &Options,
) -> Result<Replayed, ReplayError> {
    if stream.protected && options.key.is_none() {
        return Err(ReplayError::Protected);
    }
    if stream.last - stream.first > MAX_LENGTH {
        return Err(ReplayError::TooLong);
    }
    let formats = Formats::resolve(stream, options)?;
    let mut machine = Machine::new(capture, stream, options, &formats)?;
    machine.run(capture, stream);
    if options.key.is_some() && machine.last.receive.packets == 0 {
        return Err(ReplayError::WrongKey);
    }
    Ok(machine.finish(stream, &formats))
}

/// What the payload types of a stream turned out to be.
struct Formats {
    receive: Vec<PayloadFormat>,
    telephone_event: Option<TelephoneEventFormat>,
    /// Payload types of redundant audio, and their clocks.
    redundancy: [Option<(u8, u32)>; 2],
    /// The codec of most packets, as SDP would name it.
    main: Format,
    rate: SampleRate,
}

impl Formats {
    fn resolve(stream: &Stream, options: &Options) -> Result<Self, ReplayError> {
        let named = |number: u8| {
            let mut given = options.formats.iter();
            let given = given.find(|f| f.payload_type == number);
            given.or_else(|| stream.format(number))
        };
        let mut receive: Vec<PayloadFormat> = Vec::new();
        let mut telephone_event = None;
        let mut main = None;
        let mut unknown = None;
        let mut redundancy = [None; 2];
        let mut numbers: Vec<u8> = stream.payload_types.iter().map(|&(n, _)| n).collect();
        for number in numbers.clone() {
            // What is wrapped need not come by itself.
            let wrapper = named(number).filter(|f| f.is_redundancy());
            let Some((wrapper, free)) = wrapper.zip(redundancy.iter_mut().find(|r| r.is_none()))
            else {
                continue;
            };
            *free = Some((number, wrapper.clock_rate));
            let inner = wrapper.fmtp.as_deref().unwrap_or_default().split('/');
            for inner in inner.filter_map(|text| text.trim().parse().ok()) {
                if !numbers.contains(&inner) {
                    numbers.push(inner);
                }
            }
        }
        for number in numbers {
            let Some(format) = named(number) else {
                unknown = unknown.or(Some(ReplayError::Unknown(number)));
                continue;
            };
            if format.is_telephone_event() {
                telephone_event = Some(TelephoneEventFormat {
                    send_payload_type: number,
                    receive_payload_type: number,
                    clock_rate: format.clock_rate,
                    also_received: None,
                });
                continue;
            }
            if format.is_redundancy() {
                continue;
            }
            let Some(codec) = codec_of(format, &options.codecs) else {
                let error = || ReplayError::NoCodec(name_of(format));
                unknown = unknown.or_else(|| Some(error()));
                continue;
            };
            main = main.or_else(|| Some(format.clone()));
            receive.push(payload_format(format, codec));
        }
        let first = stream.payload_types.iter().find(|&&(n, _)| {
            let is_sound =
                |f: &Format| !f.is_telephone_event() && !f.is_comfort_noise() && !f.is_redundancy();
            named(n).is_none_or(is_sound)
        });
        let plays = |number| receive.iter().any(|r| r.payload_type == number);
        let plays_first = match first {
            Some(&(number, _)) => plays(number),
            None => redundancy[0].is_some(),
        };
        match (main, unknown) {
            (Some(main), _) if plays_first => Ok(Self {
                rate: receive
                    .iter()
                    .map(|f| f.codec.sample_rate())
                    .max()
                    .unwrap_or(SampleRate::HZ_8000),
                receive,
                telephone_event,
                redundancy,
                main,
            }),
            (_, Some(error)) => Err(error),
            (..) => Err(ReplayError::Unknown(first.map_or(0, |f| f.0))),
        }
    }
}

fn codec_of(format: &Format, codecs: &[Arc<dyn Codec>]) -> Option<Arc<dyn Codec>> {
    let named = |codec: &&Arc<dyn Codec>| {
        let map = codec.rtp_map();
        let matches = Format {
            channels: map.channels,
            ..Format::new(0, map.encoding, map.clock_rate)
        };
        matches.matches(format)
            && codec
                .answer(format.fmtp.as_deref().unwrap_or_default())
                .is_some()
    };
    codecs.iter().find(named).cloned()
}

fn payload_format(format: &Format, codec: Arc<dyn Codec>) -> PayloadFormat {
    // What the receiver said of itself in its description is ours here.
    let own = format.fmtp.clone().unwrap_or_default();
    let rate = codec.sample_rate();
    PayloadFormat {
        payload_type: format.payload_type,
        codec,
        terms: Terms {
            own,
            ..Terms::new(rate)
        },
    }
}

/// `opus/48000/2`.
pub(super) fn name_of(format: &Format) -> String {
    match format.channels {
        1 => format!("{}/{}", format.encoding, format.clock_rate),
        n => format!("{}/{}/{n}", format.encoding, format.clock_rate),
    }
}

struct Machine {
    worker: Worker,
    rate: SampleRate,
    samples: Vec<i16>,
    last: LegReport,
    /// The report at the end of the last second.
    second: LegReport,
    ticks: usize,
    timeline: Vec<Second>,
    /// How long the last packet played had waited, after each tick that played one.
    waits: Vec<Duration>,
}

impl Machine {
    fn new(
        capture: &Capture,
        stream: &Stream,
        options: &Options,
        formats: &Formats,
    ) -> Result<Self, ReplayError> {
        let Some(send) = formats.receive.first().cloned() else {
            return Err(ReplayError::Unknown(0));
        };
        let control = stream
            .control
            .first()
            .map(|&c| capture.datagrams()[c].source);
        let settings = LegSettings {
            remote: Some(MediaAddress {
                rtp: stream.source,
                rtcp: control,
            }),
            rtcp_mux: true,
            // Nothing is sent, but a listener who could answer is one who expects to be spoken to.
            direction: Direction::SEND_RECEIVE,
            keying: options.key.clone().map(|key| Keying {
                local: key.clone(),
                remote: key,
            }),
            receive: formats.receive.clone(),
            telephone_event: formats.telephone_event,
            redundancy: formats.redundancy[0].map(|_| RedundancyFormat {
                send_payload_type: None,
                receive_payload_types: formats.redundancy,
                when: Redundancy::Off,
                generations: 1,
            }),
            ..LegSettings::new(send)
        };
        let first = capture.epoch() + stream.first.as_nanos() as u64;
        let anchor = ClockAnchor {
            at: START,
            wall: WallTime::from_unix_nanos(first),
        };
        let config = LegConfig {
            rate: formats.rate,
            jitter: options.jitter,
            ..LegConfig::new(LEG, PORT, settings, anchor)
        };
        let leg = Leg::new(START, config, Rng::new(1))?;
        let mut worker = Worker::new(WorkerConfig {
            max_legs: 2,
            max_rooms: 1,
            max_plays: 1,
            ..WorkerConfig::default()
        });
        let before = START - Duration::from_millis(1);
        worker.handle_command(before, Command::AddLeg(leg));
        Ok(Self {
            worker,
            rate: formats.rate,
            samples: Vec::new(),
            last: LegReport::default(),
            second: LegReport::default(),
            ticks: 0,
            timeline: Vec::new(),
            waits: Vec::new(),
        })
    }

    fn run(&mut self, capture: &Capture, stream: &Stream) {
        let mut places: Vec<usize> = stream
            .places
            .iter()
            .chain(&stream.control)
            .copied()
            .collect();
        places.sort_unstable();
        let mut packet = Vec::new();
        for place in places {
            let datagram = &capture.datagrams()[place];
            if datagram.at < stream.first || datagram.at > stream.last {
                continue;
            }
            let at = START + (datagram.at - stream.first);
            self.run_until(at);
            packet.clear();
            packet.extend_from_slice(capture.payload(datagram));
            let source = datagram.source;
            if stream.control.contains(&place) && source != stream.source {
                self.worker.handle_rtcp(at, PORT, source, &mut packet);
            } else {
                self.worker.handle_rtp(at, PORT, source, &mut packet);
            }
            self.drain();
        }
        self.play_out(START + (stream.last - stream.first));
    }

    /// Runs the ticks before `end`.
    fn run_until(&mut self, end: Instant) {
        while let Some(at) = self.worker.poll_timeout().filter(|&at| at < end) {
            self.tick(at);
        }
    }

    /// Plays what is left, and takes back the ticks that only concealed that nothing followed.
    fn play_out(&mut self, end: Instant) {
        let mut kept = (self.samples.len(), self.last);
        while let Some(at) = self.worker.poll_timeout().filter(|&at| at < end + MAX_TAIL) {
            let before = self.last;
            self.tick(at);
            let made_up = |r: &LegReport| {
                r.concealment.concealed + r.concealment.noise + r.concealment.silent
            };
            let is_sound = made_up(&self.last) == made_up(&before)
                && self.last.concealment.played > before.concealment.played;
            if self.last.jitter.played > before.jitter.played || is_sound {
                kept = (self.samples.len(), self.last);
            }
        }
        self.samples.truncate(kept.0);
        self.last = kept.1;
        let whole = self
            .samples
            .len()
            .div_ceil(self.rate.frame_samples() * TICKS);
        self.timeline.truncate(whole);
        if self.timeline.len() < whole {
            self.note_second();
        }
    }

    fn tick(&mut self, at: Instant) {
        self.worker.handle_timeout(at);
        self.drain();
        let Some(leg) = self.worker.leg(LEG) else {
            return;
        };
        self.samples.extend_from_slice(leg.said().samples());
        let report = leg.report();
        if report.jitter.played > self.last.jitter.played {
            self.waits.push(report.jitter.delay);
        }
        self.last = report;
        self.ticks += 1;
        if self.ticks.is_multiple_of(TICKS) {
            self.note_second();
        }
    }

    fn note_second(&mut self) {
        let start = self.timeline.len() * self.rate.frame_samples() * TICKS;
        let heard = self.samples.get(start..).unwrap_or_default();
        let second = Second::between(self.timeline.len(), &self.second, &self.last, heard);
        self.timeline.push(second);
        self.second = self.last;
    }

    /// What the leg sends and tells goes nowhere.
    fn drain(&mut self) {
        while self.worker.poll_transmit().is_some() {}
        while self.worker.poll_event().is_some() {}
    }

    fn finish(self, stream: &Stream, formats: &Formats) -> Replayed {
        let length = self.rate.duration_of(self.samples.len() as u64);
        let report = Report::new(
            stream,
            &name_of(&formats.main),
            length,
            &self.last,
            self.waits,
            self.timeline,
        );
        Replayed {
            samples: self.samples,
            rate: self.rate,
            report,
        }
    }
}
