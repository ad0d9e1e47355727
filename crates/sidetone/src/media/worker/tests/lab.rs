//! A worker on a virtual clock, peers that speak and listen, and the measures taken of them.

use std::net::SocketAddr;

use crate::id::{LegId, PortId, RoomId};
use crate::media::codec::g711::{decode_mu, encode_mu};
use crate::media::command::{Command, Event};
use crate::media::frame::SampleRate;
use crate::media::leg::config::{
    Channel, LegConfig, LegSettings, MediaAddress, PayloadFormat, TelephoneEventFormat,
};
use crate::media::leg::{Leg, LegReport};
use crate::media::mixer::{Capacity, Room};
use crate::media::worker::{Worker, WorkerConfig};
use crate::rng::Rng;
use crate::rtp::packet::{HEADER_LEN, Header, View};
use crate::time::{ClockAnchor, Duration, Instant};

pub(super) const RATE: SampleRate = SampleRate::HZ_8000;
pub(super) const EVENTS: TelephoneEventFormat = TelephoneEventFormat {
    send_payload_type: 101,
    receive_payload_type: 101,
    clock_rate: 8_000,
    also_received: None,
};
pub(super) const ROOM: RoomId = RoomId(1);

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A datagram that the worker sent.
#[derive(Debug, Clone)]
pub(super) struct Datagram {
    pub(super) at: Instant,
    pub(super) port: PortId,
    pub(super) channel: Channel,
    pub(super) destination: SocketAddr,
    pub(super) bytes: Vec<u8>,
}

impl Datagram {
    pub(super) fn rtp(&self) -> View<'_> {
        View::parse(&self.bytes).expect("the worker sends valid RTP")
    }
}

/// A party that sends 20 ms of µ-law 7 ms after each tick and keeps what it receives.
pub(super) struct Peer {
    pub(super) leg: LegId,
    pub(super) port: PortId,
    pub(super) address: SocketAddr,
    pub(super) says: Box<dyn Fn(usize) -> i16>,
    pub(super) is_sending: bool,
    pub(super) header: Header,
    /// Samples spoken.
    pub(super) spoken: usize,
}

impl Peer {
    pub(super) fn new(number: u16, says: impl Fn(usize) -> i16 + 'static) -> Self {
        Self {
            leg: LegId(u64::from(number)),
            port: PortId(u32::from(number)),
            address: SocketAddr::from(([192, 0, 2, 1], 10_000 + 2 * number)),
            says: Box::new(says),
            is_sending: true,
            header: Header {
                payload_type: 0,
                marker: false,
                sequence: 1_000 * number,
                timestamp: 77_000 * u32::from(number),
                ssrc: 0xABC0_0000 + u32::from(number),
            },
            spoken: 0,
        }
    }

    pub(super) fn silent(number: u16) -> Self {
        let mut peer = Self::new(number, |_| 0);
        peer.is_sending = false;
        peer
    }

    pub(super) fn control_address(&self) -> SocketAddr {
        SocketAddr::new(self.address.ip(), self.address.port() + 1)
    }

    pub(super) fn settings(&self) -> LegSettings {
        LegSettings {
            remote: Some(MediaAddress {
                rtp: self.address,
                rtcp: Some(self.control_address()),
            }),
            telephone_event: Some(EVENTS),
            ..LegSettings::new(PayloadFormat::pcmu())
        }
    }

    pub(super) fn config(&self) -> LegConfig {
        LegConfig::new(self.leg, self.port, self.settings(), ClockAnchor::default())
    }

    /// The next 20 ms packet.
    pub(super) fn speak(&mut self) -> Vec<u8> {
        let samples: Vec<i16> = (self.spoken..self.spoken + 160).map(&self.says).collect();
        let mut packet = vec![0; HEADER_LEN + 160];
        self.header.emit(&mut packet);
        encode_mu(&samples, &mut packet[HEADER_LEN..]);
        self.spoken += 160;
        self.header.sequence = self.header.sequence.wrapping_add(1);
        self.header.timestamp = self.header.timestamp.wrapping_add(160);
        packet
    }
}

/// A worker, its peers, and all that happened.
pub(super) struct Lab {
    pub(super) now: Instant,
    pub(super) worker: Worker,
    pub(super) peers: Vec<Peer>,
    pub(super) sent: Vec<Datagram>,
    pub(super) events: Vec<Event>,
}

impl Lab {
    pub(super) fn new() -> Self {
        Self::with_config(WorkerConfig {
            max_legs: 32,
            max_rooms: 4,
            max_plays: 16,
            ..WorkerConfig::default()
        })
    }

    pub(super) fn with_config(config: WorkerConfig) -> Self {
        Self {
            now: Instant::ZERO + ms(100),
            worker: Worker::new(config),
            peers: Vec::new(),
            sent: Vec::new(),
            events: Vec::new(),
        }
    }

    /// A lab with these peers in one room.
    pub(super) fn room(peers: Vec<Peer>) -> Self {
        let mut lab = Self::new();
        let mixer = Box::new(Room::new(RATE, Capacity::default().at_least(peers.len())));
        lab.command(Command::AddRoom { room: ROOM, mixer });
        for peer in peers {
            let leg = peer.leg;
            lab.add(peer);
            lab.command(Command::Join { room: ROOM, leg });
        }
        lab
    }

    pub(super) fn leg(&self, config: LegConfig) -> Box<Leg> {
        let rng = Rng::new(config.id.0);
        Leg::new(self.now, config, rng).expect("a possible configuration")
    }

    /// Adds a peer and a leg with its default configuration.
    pub(super) fn add(&mut self, peer: Peer) {
        let config = peer.config();
        self.add_with(peer, config);
    }

    pub(super) fn add_with(&mut self, peer: Peer, config: LegConfig) {
        let leg = self.leg(config);
        self.command(Command::AddLeg(leg));
        self.peers.push(peer);
    }

    pub(super) fn command(&mut self, command: Command) {
        assert!(self.worker.accepts_commands());
        self.worker.handle_command(self.now, command);
        self.collect();
    }

    pub(super) fn datagram(&mut self, port: PortId, source: SocketAddr, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        self.worker.handle_rtp(self.now, port, source, &mut bytes);
        self.collect();
    }

    /// Runs `time` in steps of 20 ms: a tick, then what every peer says.
    pub(super) fn run(&mut self, time: Duration) {
        self.run_with(time, |_| {});
    }

    /// As [`run`](Self::run), with something more done after each step.
    pub(super) fn run_with(&mut self, time: Duration, mut each: impl FnMut(&mut Self)) {
        let end = self.now + time;
        while self.now < end {
            self.now += ms(20);
            self.worker.handle_timeout(self.now);
            self.collect();
            for i in 0..self.peers.len() {
                if self.peers[i].is_sending {
                    let mut packet = self.peers[i].speak();
                    let (port, source) = (self.peers[i].port, self.peers[i].address);
                    let at = self.now + ms(7);
                    self.worker.handle_rtp(at, port, source, &mut packet);
                }
            }
            self.collect();
            each(self);
        }
    }

    pub(super) fn collect(&mut self) {
        while let Some(transmit) = self.worker.poll_transmit() {
            self.sent.push(Datagram {
                at: self.now,
                port: transmit.port,
                channel: transmit.channel,
                destination: transmit.destination,
                bytes: transmit.bytes.to_vec(),
            });
        }
        while let Some(event) = self.worker.poll_event() {
            self.events.push(event);
        }
    }

    /// Runs all ticks that are due, as a driver does.
    pub(super) fn catch_up(&mut self) {
        while self.worker.poll_timeout().is_some_and(|at| at <= self.now) {
            self.worker.handle_timeout(self.now);
            self.collect();
        }
    }

    /// RTP sent from `port`, in order.
    pub(super) fn rtp_from(&self, port: PortId) -> impl Iterator<Item = &Datagram> {
        let own = self.sent.iter().filter(move |d| d.port == port);
        own.filter(|d| d.channel == Channel::Rtp)
    }

    /// What the peer at `port` heard: µ-law audio placed by its timestamps.
    pub(super) fn heard(&self, port: PortId) -> Vec<i16> {
        let mut heard = Vec::new();
        let mut first = None;
        for datagram in self.rtp_from(port) {
            let view = datagram.rtp();
            if view.payload_type() != 0 {
                continue;
            }
            let first = *first.get_or_insert(view.timestamp());
            let start = view.timestamp().wrapping_sub(first) as usize;
            let end = start + view.payload().len();
            heard.resize(heard.len().max(end), 0);
            decode_mu(view.payload(), &mut heard[start..end]);
        }
        heard
    }

    /// Numbers and timestamps of what `port` was sent go on one by one from the first packet on.
    pub(super) fn assert_continuous(&self, port: PortId) {
        let headers: Vec<Header> = self.rtp_from(port).map(|d| d.rtp().header()).collect();
        for (place, pair) in headers.windows(2).enumerate() {
            let (a, b) = (pair[0], pair[1]);
            assert_eq!(b.ssrc, a.ssrc);
            assert_eq!(b.sequence, a.sequence.wrapping_add(1), "packet {place}");
            assert_eq!(b.timestamp, a.timestamp.wrapping_add(160), "packet {place}");
            assert!(!b.marker || place < 3, "packet {place}");
        }
    }

    /// Has all legs learn of the packets that have taken lanes.
    pub(super) fn learn(&mut self) {
        for room in 0..self.worker.rests.len() {
            if let Some(slots) = self.worker.rests[room].lanes {
                self.worker.learn_at_once(slots);
            }
        }
        self.collect();
    }

    pub(super) fn report(&mut self, leg: LegId) -> LegReport {
        self.learn();
        self.worker.leg(leg).expect("there").report()
    }

    /// The events so far, which are then forgotten.
    pub(super) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}

impl Capacity {
    fn at_least(self, parties: usize) -> Self {
        Self {
            sources: self.sources.max(parties as u16 + 1),
            sinks: self.sinks.max(parties as u16),
            ..self
        }
    }
}

/// A tone of `level` peak.
pub(super) fn tone(hz: f64, level: f64) -> impl Fn(usize) -> i16 {
    move |n| (level * (n as f64 * hz * std::f64::consts::TAU / 8_000.0).sin()) as i16
}

/// Something like speech: a gliding voice with overtones in syllables, and breath.
pub(super) fn speech(seed: u64) -> impl Fn(usize) -> i16 {
    let mut rng = Rng::new(seed);
    let breath: Vec<f64> = (0..8_192).map(|_| rng.next_f64() - 0.5).collect();
    let syllable = 0.17 + rng.next_f64() * 0.08;
    let pitch = 90.0 + rng.next_f64() * 110.0;
    move |n| {
        let t = n as f64 / 8_000.0;
        let loud = (t / syllable * std::f64::consts::PI).sin().powi(2);
        let phase = std::f64::consts::TAU * (pitch * t + 4.0 * (t * 1.3).sin());
        let voice: f64 = (1..9)
            .map(|k| (phase * f64::from(k)).sin() / f64::from(k))
            .sum();
        let noise = breath[n * 31 % breath.len()];
        (loud * (4_000.0 * voice + 900.0 * noise)) as i16
    }
}

/// What the peer's codec leaves of a signal.
pub(super) fn through_codec(samples: &[i16]) -> Vec<i16> {
    let (mut codes, mut out) = (vec![0; samples.len()], vec![0; samples.len()]);
    encode_mu(samples, &mut codes);
    decode_mu(&codes, &mut out);
    out
}

/// Power at `hz` of samples at 8 kHz (Goertzel), as the mean square of a sine of that power.
pub(super) fn power_at(samples: &[i16], hz: f64) -> f64 {
    let coefficient = 2.0 * (hz * std::f64::consts::TAU / 8_000.0).cos();
    let (mut a, mut b) = (0.0, 0.0);
    for &sample in samples {
        (a, b) = (f64::from(sample) + coefficient * a - b, a);
    }
    let n = samples.len().max(1) as f64;
    2.0 * (a * a + b * b - coefficient * a * b) / (n * n)
}

pub(super) fn power(samples: &[i16]) -> f64 {
    let sum: f64 = samples.iter().map(|&s| f64::from(s).powi(2)).sum();
    sum / samples.len().max(1) as f64
}

/// The lag, up to `most` samples, at which `late` follows `early` best.
pub(super) fn lag(early: &[i16], late: &[i16], most: usize) -> usize {
    let score = |lag: usize| -> f64 {
        let pairs = early.iter().zip(late.get(lag..).unwrap_or_default());
        pairs.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    };
    let best = (0..=most).max_by(|&a, &b| score(a).total_cmp(&score(b)));
    best.expect("at least one lag")
}

/// Signal to noise ratio of `got` against `wanted`, in decibels.
pub(super) fn snr(wanted: &[i16], got: &[i16]) -> f64 {
    let pairs = wanted.iter().zip(got);
    let noise: f64 = pairs
        .map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2))
        .sum();
    let signal: f64 = wanted.iter().map(|&a| f64::from(a).powi(2)).sum();
    10.0 * (signal / noise.max(1e-9)).log10()
}
