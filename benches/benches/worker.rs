//! A whole media worker without sockets: nanoseconds a leg and tick, packet in to packet out.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Duration as WallDuration;

use criterion::{BenchmarkId, Criterion, Throughput};
use sidetone::id::{LegId, PortId, RoomId};
use sidetone::media::codec::g711::encode_mu;
use sidetone::media::command::Command;
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
    Box::new(Leg::new(now, config, Rng::new(u64::from(number))).expect("a possible leg"))
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

fn main() {
    let mut criterion = Criterion::default()
        .measurement_time(WallDuration::from_secs(2))
        .warm_up_time(WallDuration::from_millis(300))
        .configure_from_args();
    legs(&mut criterion);
    criterion.final_summary();
}
