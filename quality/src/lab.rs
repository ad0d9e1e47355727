//! One call through the engine in virtual time: a sending leg, a network, a receiving leg and its room.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::sync::Arc;

use sidetone::id::{LegId, PlayId, PortId, RoomId};
use sidetone::media::codec::{Codec, CodecError, Decoder, Encoder, RtpMap, Terms};
use sidetone::media::command::{Command, Event, PlayOn};
use sidetone::media::frame::SampleRate;
use sidetone::media::jitter;
use sidetone::media::leg::config::{Channel, LegConfig, LegSettings, MediaAddress, PayloadFormat};
use sidetone::media::leg::{Leg, LegReport};
use sidetone::media::mixer::{Capacity, Room};
use sidetone::media::player::{Player, Repeat};
use sidetone::media::wav::Clip;
use sidetone::media::worker::{Worker, WorkerConfig};
use sidetone::rng::Rng;
use sidetone::time::{ClockAnchor, Duration, Instant};

use crate::format::Format;
use crate::network::{Impairment, Network};
use crate::sound::Sound;

/// A packet as it reached the receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// When it was sent, in microseconds since the call began.
    pub sent_us: u64,
    /// When it arrived.
    pub at_us: u64,
    /// The RTP packet.
    pub bytes: Vec<u8>,
}

/// What one call left behind.
#[derive(Debug)]
pub struct Take {
    /// What the room heard of the sender, from the call's beginning.
    pub heard: Sound,
    /// RTP packets sent.
    pub sent: u64,
    /// Bytes of these, IP and UDP headers included.
    pub sent_bytes: u64,
    /// The packets that got through, in the order of their arrival: what the peers are given.
    pub received: Vec<Received>,
    /// The receiving leg's own figures.
    pub report: LegReport,
}

/// The sender's clock runs this far from the receiver's: packets do not come at the tick.
pub const PHASE_US: u64 = 7_000;
/// How long the receiver listens on when the sender has finished.
const TAIL: Duration = Duration::from_secs(1);

const START: Instant = Instant::from_nanos(1_000_000_000);
const FRAME: Duration = Duration::from_millis(20);

/// Speaks `source` through `format` over `impairment` into a leg with this jitter buffer.
pub fn call(
    format: &Format,
    source: &Sound,
    impairment: Impairment,
    jitter: jitter::Config,
) -> Take {
    let mut sender = Sender::new(format, source, impairment.drift_ppm);
    let mut receiver = Receiver::new(format, jitter);
    let mut network = Network::new(impairment);
    let mut flying = BinaryHeap::new();
    let mut order = 0u64;
    let mut take = Take {
        heard: Sound::new(format.rate.hz(), Vec::new()),
        sent: 0,
        sent_bytes: 0,
        received: Vec::new(),
        report: LegReport::default(),
    };
    let length = Duration::from_millis(source.millis());
    let mut now = START;
    while now < START + length + TAIL {
        now += FRAME;
        while sender.next_tick() <= now {
            let at = sender.next_tick();
            for packet in sender.tick() {
                take.sent += 1;
                take.sent_bytes += packet.len() as u64 + 28;
                if let Some(arrival) = network.carry(at) {
                    order += 1;
                    flying.push(Reverse((arrival, order, at, packet)));
                }
            }
        }
        while let Some(Reverse((at, ..))) = flying.peek()
            && *at <= now
        {
            let Some(Reverse((at, _, sent, mut bytes))) = flying.pop() else {
                break;
            };
            take.received.push(Received {
                sent_us: (sent - START).as_micros() as u64,
                at_us: (at - START).as_micros() as u64,
                bytes: bytes.clone(),
            });
            receiver.hear(at, &mut bytes);
        }
        let (mut samples, reports) = receiver.tick(now);
        take.heard.samples.append(&mut samples);
        for mut report in reports {
            sender.learn(&mut report);
        }
    }
    take.report = receiver.report(now);
    take
}

fn address(host: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, host], port))
}

fn leg(
    id: u64,
    settings: LegSettings,
    peer: u8,
    rate: SampleRate,
    jitter: jitter::Config,
) -> Command {
    let settings = LegSettings {
        remote: Some(MediaAddress {
            rtp: address(peer, 4_000),
            rtcp: Some(address(peer, 4_001)),
        }),
        ..settings
    };
    let (leg, port) = (LegId(id), PortId(id as u32));
    let config = LegConfig {
        rate,
        jitter,
        ..LegConfig::new(leg, port, settings, ClockAnchor::default())
    };
    // Two ends of one call that drew the same SSRC would be taken for one.
    let rng = Rng::new(16 * id + u64::from(peer));
    let leg = Leg::new(START, config, rng).expect("the laboratory's settings are possible");
    Command::AddLeg(leg)
}

fn worker() -> Worker {
    Worker::new(WorkerConfig {
        max_legs: 4,
        max_rooms: 1,
        max_plays: 2,
        ..WorkerConfig::default()
    })
}

/// The party that speaks, on a clock of its own.
struct Sender {
    worker: Worker,
    drift_ppm: i32,
    ticks: u64,
}

impl Sender {
    fn new(format: &Format, source: &Sound, drift_ppm: i32) -> Self {
        let mut worker = worker();
        let settings = format.settings();
        let config = jitter::Config::default();
        worker.handle_command(START, leg(1, settings, 2, format.rate, config));
        let clip = Clip::from_samples(format.rate, source.samples.as_slice());
        let player =
            Player::clip(clip, format.rate, Repeat::Once).expect("the clip is at the leg's rate");
        worker.handle_command(
            START,
            Command::Play {
                play: PlayId(1),
                on: PlayOn::Leg(LegId(1)),
                player: Box::new(player),
            },
        );
        Self {
            worker,
            drift_ppm,
            ticks: 0,
        }
    }

    /// When it ticks next, on the receiver's clock.
    fn next_tick(&self) -> Instant {
        let own = (self.ticks + 1) as f64 * 20_000_000.0;
        let nanos = own / (1.0 + f64::from(self.drift_ppm) / 1e6);
        START + Duration::from_micros(PHASE_US) + Duration::from_nanos(nanos as u64)
    }

    fn own_time(&self) -> Instant {
        START + FRAME * self.ticks as u32
    }

    fn tick(&mut self) -> Vec<Vec<u8>> {
        self.ticks += 1;
        self.worker.handle_timeout(self.own_time());
        let mut packets = Vec::new();
        while let Some(transmit) = self.worker.poll_transmit() {
            if transmit.channel == Channel::Rtp {
                packets.push(transmit.bytes.to_vec());
            }
        }
        while self.worker.poll_event().is_some() {}
        packets
    }

    /// Takes a report of the receiver, which comes back at once.
    fn learn(&mut self, report: &mut [u8]) {
        let now = self.own_time();
        self.worker
            .handle_rtcp(now, PortId(1), address(2, 4_001), report);
    }
}

/// The party that listens: its leg, and another in the same room whose packets carry every sample.
struct Receiver {
    worker: Worker,
}

impl Receiver {
    fn new(format: &Format, jitter: jitter::Config) -> Self {
        let mut worker = worker();
        let room = RoomId(1);
        let mixer = Box::new(Room::new(format.rate, Capacity::default()));
        worker.handle_command(START, Command::AddRoom { room, mixer });
        let ear = LegSettings::new(PayloadFormat::new(96, Arc::new(Linear(format.rate))));
        worker.handle_command(START, leg(1, format.settings(), 1, format.rate, jitter));
        worker.handle_command(START, leg(2, ear, 3, format.rate, jitter));
        for leg in [LegId(1), LegId(2)] {
            worker.handle_command(START, Command::Join { room, leg });
        }
        Self { worker }
    }

    fn hear(&mut self, now: Instant, packet: &mut [u8]) {
        self.worker
            .handle_rtp(now, PortId(1), address(1, 4_000), packet);
    }

    /// What the room hears in this tick, and the reports for the sender.
    fn tick(&mut self, now: Instant) -> (Vec<i16>, Vec<Vec<u8>>) {
        self.worker.handle_timeout(now);
        let mut heard = Vec::new();
        let mut reports = Vec::new();
        while let Some(transmit) = self.worker.poll_transmit() {
            match (transmit.port, transmit.channel) {
                (PortId(2), Channel::Rtp) => {
                    let pairs = transmit.bytes[12..].chunks_exact(2);
                    heard.extend(pairs.map(|pair| i16::from_be_bytes([pair[0], pair[1]])));
                }
                (PortId(1), Channel::Rtcp) => reports.push(transmit.bytes.to_vec()),
                _ => {}
            }
        }
        while self.worker.poll_event().is_some() {}
        (heard, reports)
    }

    fn report(&mut self, now: Instant) -> LegReport {
        let leg = LegId(1);
        let report = Box::default();
        self.worker
            .handle_command(now, Command::QueryLeg { leg, report });
        while let Some(event) = self.worker.poll_event() {
            if let Event::LegReport { report, .. } = event {
                return *report;
            }
        }
        LegReport::default()
    }
}

/// Samples as they are, in network byte order, at any rate: nothing is lost between room and file.
#[derive(Debug, Clone, Copy)]
struct Linear(SampleRate);

impl Codec for Linear {
    fn rtp_map(&self) -> RtpMap {
        RtpMap {
            encoding: "X-LINEAR",
            clock_rate: self.0.hz(),
            channels: 1,
            payload_type: None,
        }
    }

    fn sample_rate(&self) -> SampleRate {
        self.0
    }

    fn encoder(&self, _: &Terms) -> Result<Box<dyn Encoder>, CodecError> {
        Ok(Box::new(*self))
    }

    fn decoder(&self, _: &Terms) -> Result<Box<dyn Decoder>, CodecError> {
        Ok(Box::new(*self))
    }
}

impl Encoder for Linear {
    fn sample_rate(&self) -> SampleRate {
        self.0
    }

    fn rtp_clock(&self) -> u32 {
        self.0.hz()
    }

    fn encode(&mut self, samples: &[i16], out: &mut [u8]) -> Result<usize, CodecError> {
        let needed = samples.len() * 2;
        let out = out.get_mut(..needed);
        let out = out.ok_or(CodecError::OutputTooSmall { needed })?;
        for (pair, sample) in out.chunks_exact_mut(2).zip(samples) {
            pair.copy_from_slice(&sample.to_be_bytes());
        }
        Ok(needed)
    }
}

impl Decoder for Linear {
    fn sample_rate(&self) -> SampleRate {
        self.0
    }

    fn rtp_clock(&self) -> u32 {
        self.0.hz()
    }

    fn samples_in(&self, payload: &[u8]) -> Result<usize, CodecError> {
        Ok(payload.len() / 2)
    }

    fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, CodecError> {
        let needed = payload.len() / 2;
        let out = out.get_mut(..needed);
        let out = out.ok_or(CodecError::OutputTooSmall { needed })?;
        for (sample, pair) in out.iter_mut().zip(payload.chunks_exact(2)) {
            *sample = i16::from_be_bytes([pair[0], pair[1]]);
        }
        Ok(needed)
    }
}
