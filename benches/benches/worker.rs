//! A whole media worker without sockets: nanoseconds a leg and tick, packet in to packet out.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Duration as WallDuration;

use criterion::{BenchmarkId, Criterion, Throughput};
use sidetone::id::{ForkId, LegId, PortId, RoomId};
use sidetone::media::codec::g711::encode_mu;
use sidetone::media::command::{Command, ForkOn};
use sidetone::media::fork::{ForkFrame, ForkPlan, ForkReader, ForkState};
use sidetone::media::frame::SampleRate;
use sidetone::media::leg::Leg;
use sidetone::media::leg::config::{LegConfig, LegSettings, MediaAddress, PayloadFormat};
use sidetone::media::mixer::{Capacity, Room};
use sidetone::media::worker::{Worker, WorkerConfig};
use sidetone::rng::Rng;
use sidetone::rtp::packet::{HEADER_LEN, Header};
use sidetone::time::{ClockAnchor, Duration, Instant};

const TICK: Duration = Duration::from_millis(20);
const PACKET: usize = HEADER_LEN + 160;

/// Forks of the legs, and who reads them.
struct Desk {
    readers: Vec<ForkReader>,
    frame: ForkFrame,
}

impl Desk {
    /// Forks what every leg's party says.
    fn fork(hall: &mut Hall, rate: SampleRate) -> Self {
        let forks = (0..u64::from(hall.legs)).map(|number| {
            let plan = ForkPlan {
                from: vec![SampleRate::HZ_8000],
                ..ForkPlan::new(rate)
            };
            let (tap, reader) = plan.make();
            let (on, fork, tap) = (ForkOn::Leg(LegId(number)), ForkId(number), Box::new(tap));
            let start = Command::StartFork { on, fork, tap };
            hall.worker.handle_command(hall.now, start);
            reader
        });
        Self {
            readers: forks.collect(),
            frame: ForkFrame::new(),
        }
    }

    /// Takes every frame that has come; returns how many.
    fn read(&mut self) -> usize {
        let mut frames = 0;
        for reader in &mut self.readers {
            while reader.read(&mut self.frame) == ForkState::Frame {
                frames += black_box(self.frame.samples()).len().min(1);
            }
        }
        frames
    }
}

/// A worker with legs in rooms of one size, each of which receives a packet a tick.
struct Hall {
    worker: Worker,
    now: Instant,
    legs: u32,
    transcodes: bool,
    header: Header,
    packet: [u8; PACKET],
}

impl Hall {
    /// Where `transcodes`, every second leg speaks another codec.
    fn new(legs: u32, parties: u32, transcodes: bool) -> Self {
        let mut worker = Worker::new(WorkerConfig {
            max_legs: legs as usize + 1,
            max_rooms: legs as usize + 1,
            ..WorkerConfig::default()
        });
        let now = Instant::ZERO;
        let capacity = Capacity {
            sources: parties as u16,
            sinks: parties as u16,
            exceptions: 0,
        };
        for number in 0..legs {
            let room = RoomId(u64::from(number / parties));
            if number % parties == 0 {
                let mixer = Box::new(Room::new(SampleRate::HZ_8000, capacity));
                worker.handle_command(now, Command::AddRoom { room, mixer });
            }
            let is_other = transcodes && number % 2 == 1;
            let leg = leg(now, number, is_other);
            let id = leg.id();
            worker.handle_command(now, Command::AddLeg(leg));
            worker.handle_command(now, Command::Join { room, leg: id });
        }
        let samples: Vec<i16> = (0..160).map(|n| (n % 40) * 100 - 2_000).collect();
        let mut packet = [0; PACKET];
        encode_mu(&samples, &mut packet[HEADER_LEN..]);
        Self {
            worker,
            now,
            legs,
            transcodes,
            header: Header::default(),
            packet,
        }
    }

    /// One tick of every leg: a packet in, mixed, a packet out. Returns the bytes sent.
    fn tick(&mut self) -> usize {
        self.now += TICK;
        self.header.sequence = self.header.sequence.wrapping_add(1);
        self.header.timestamp = self.header.timestamp.wrapping_add(160);
        let mut bytes = 0;
        for number in 0..self.legs {
            let is_other = self.transcodes && number % 2 == 1;
            let header = Header {
                ssrc: number,
                payload_type: if is_other { 8 } else { 0 },
                ..self.header
            };
            header.emit(&mut self.packet);
            let (port, source) = (PortId(number), address(number));
            self.worker
                .handle_rtp(self.now, port, source, &mut self.packet);
            // What is passed on goes at once.
            while let Some(transmit) = self.worker.poll_transmit() {
                bytes += black_box(transmit.bytes).len();
            }
        }
        self.worker.handle_timeout(self.now);
        while let Some(transmit) = self.worker.poll_transmit() {
            bytes += black_box(transmit.bytes).len();
        }
        while self.worker.poll_event().is_some() {}
        bytes
    }
}

fn address(number: u32) -> SocketAddr {
    let [_, high, middle, low] = number.to_be_bytes();
    SocketAddr::from(([10, high, middle, low], 4_000))
}

fn leg(now: Instant, number: u32, is_other: bool) -> Box<Leg> {
    let format = match is_other {
        true => PayloadFormat::pcma(),
        false => PayloadFormat::pcmu(),
    };
    let settings = LegSettings {
        remote: Some(MediaAddress {
            rtp: address(number),
            rtcp: Some(address(number)),
        }),
        ..LegSettings::new(format)
    };
    let (id, port) = (LegId(u64::from(number)), PortId(number));
    let config = LegConfig::new(id, port, settings, ClockAnchor::default());
    Leg::new(now, config, Rng::new(u64::from(number))).expect("a possible leg")
}

fn legs(c: &mut Criterion) {
    let mut group = c.benchmark_group("worker");
    for (name, legs, parties, transcodes) in [
        ("passed on", 2, 2, false),
        ("passed on", 10, 2, false),
        ("passed on", 100, 2, false),
        ("passed on", 1_000, 2, false),
        ("passed on", 10_000, 2, false),
        ("A-law and µ-law", 2, 2, true),
        ("A-law and µ-law", 10, 2, true),
        ("A-law and µ-law", 100, 2, true),
        ("A-law and µ-law", 1_000, 2, true),
        ("A-law and µ-law", 10_000, 2, true),
        ("conference", 100, 100, false),
    ] {
        let mut hall = Hall::new(legs, parties, transcodes);
        // Past probation, and with full jitter buffers.
        for _ in 0..20 {
            hall.tick();
        }
        assert!(hall.tick() >= legs as usize * PACKET);
        group.throughput(Throughput::Elements(u64::from(legs)));
        group.bench_function(BenchmarkId::new(name, legs), |b| b.iter(|| hall.tick()));
    }
    group.finish();
}

/// What a fork costs: bridges of two codecs, whose legs are decoded anyway, without forks and with one each.
fn forks(c: &mut Criterion) {
    let mut group = c.benchmark_group("forks");
    for legs in [100, 1_000] {
        for (name, rate) in [
            ("none", None),
            ("8 kHz", Some(SampleRate::HZ_8000)),
            ("16 kHz", Some(SampleRate::HZ_16000)),
        ] {
            let mut hall = Hall::new(legs, 2, true);
            let mut desk = rate.map(|rate| Desk::fork(&mut hall, rate));
            for _ in 0..20 {
                hall.tick();
            }
            let read = desk.as_mut().map(Desk::read);
            assert!(read.is_none_or(|frames| frames >= 15 * legs as usize));
            group.throughput(Throughput::Elements(u64::from(legs)));
            let id = BenchmarkId::new(format!("worker, {name}"), legs);
            group.bench_function(id, |b| b.iter(|| hall.tick()));
            if let Some(desk) = &mut desk {
                let id = BenchmarkId::new(format!("worker and reader, {name}"), legs);
                group.bench_function(id, |b| b.iter(|| (hall.tick(), desk.read())));
            }
        }
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .measurement_time(WallDuration::from_secs(2))
        .warm_up_time(WallDuration::from_millis(300))
        .configure_from_args();
    legs(&mut criterion);
    forks(&mut criterion);
    criterion.final_summary();
}
