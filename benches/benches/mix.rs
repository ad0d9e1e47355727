//! Rooms of every size: nanoseconds a member and tick, packet in to packet out, without sockets.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Duration as WallDuration;

use criterion::{BenchmarkId, Criterion, Throughput};
use sidetone::id::{LegId, PortId, RoomId};
use sidetone::media::codec::g711::encode_a;
use sidetone::media::command::Command;
use sidetone::media::frame::SampleRate;
use sidetone::media::leg::Leg;
use sidetone::media::leg::config::{LegConfig, LegSettings, MediaAddress, PayloadFormat};
use sidetone::media::mixer::speakers::Selection;
use sidetone::media::mixer::{Capacity, Room};
use sidetone::media::worker::{Worker, WorkerConfig};
use sidetone::rng::Rng;
use sidetone::rtp::packet::{HEADER_LEN, Header};
use sidetone::time::{ClockAnchor, Duration, Instant};

const TICK: Duration = Duration::from_millis(20);
const PACKET: usize = HEADER_LEN + 160;
const ROOM: RoomId = RoomId(1);

/// A conference in which the first members talk, the next ones send silence, and the others nothing.
struct Conference {
    worker: Worker,
    now: Instant,
    header: Header,
    talkers: u32,
    senders: u32,
    /// Louder and quieter speech, and silence.
    packets: [[u8; PACKET]; 3],
}

impl Conference {
    fn new(members: u32, talkers: u32, senders: u32) -> Self {
        let mut worker = Worker::new(WorkerConfig {
            max_legs: members as usize + 1,
            ..WorkerConfig::default()
        });
        let now = Instant::ZERO;
        let capacity = Capacity {
            sources: members as u16 + 1,
            sinks: members as u16,
            exceptions: 0,
        };
        let mut mixer = Box::new(Room::new(SampleRate::HZ_8000, capacity));
        mixer.select(Selection::default());
        worker.handle_command(now, Command::AddRoom { room: ROOM, mixer });
        for number in 0..members {
            let leg = leg(now, number);
            let id = leg.id();
            worker.handle_command(now, Command::AddLeg(leg));
            worker.handle_command(
                now,
                Command::Join {
                    room: ROOM,
                    leg: id,
                },
            );
        }
        let packet = |peak: i16| {
            let samples: Vec<i16> = (0..160).map(|n| (n % 40 - 20) * (peak / 20)).collect();
            let mut packet = [0; PACKET];
            encode_a(&samples, &mut packet[HEADER_LEN..]);
            packet
        };
        Self {
            worker,
            now,
            header: Header::default(),
            talkers,
            senders,
            packets: [packet(4_000), packet(1_500), packet(0)],
        }
    }

    /// One tick; the bytes sent.
    fn tick(&mut self) -> usize {
        self.now += TICK;
        self.header.sequence = self.header.sequence.wrapping_add(1);
        self.header.timestamp = self.header.timestamp.wrapping_add(160);
        for number in 0..self.senders {
            let packet = match number < self.talkers {
                true => &mut self.packets[number as usize % 2],
                false => &mut self.packets[2],
            };
            let header = Header {
                ssrc: number,
                payload_type: 8,
                ..self.header
            };
            header.emit(packet);
            self.worker
                .handle_rtp(self.now, PortId(number), address(number), packet);
        }
        self.worker.handle_timeout(self.now);
        let mut bytes = 0;
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

fn leg(now: Instant, number: u32) -> Box<Leg> {
    let settings = LegSettings {
        remote: Some(MediaAddress {
            rtp: address(number),
            rtcp: Some(address(number)),
        }),
        ..LegSettings::new(PayloadFormat::pcma())
    };
    let (id, port) = (LegId(u64::from(number)), PortId(number));
    let config = LegConfig::new(id, port, settings, ClockAnchor::default());
    Leg::new(now, config, Rng::new(u64::from(number))).expect("a possible leg")
}

fn rooms(c: &mut Criterion) {
    let mut group = c.benchmark_group("mix");
    for (name, members, talkers, senders) in [
        ("all talk", 2, 2, 2),
        ("all talk", 3, 3, 3),
        ("all talk", 10, 10, 10),
        ("all talk", 100, 100, 100),
        ("all talk", 1_000, 1_000, 1_000),
        ("3 talk, the others send silence", 100, 3, 100),
        ("3 talk, the others send silence", 1_000, 3, 1_000),
        ("3 talk, the others send nothing", 1_000, 3, 3),
        ("3 talk, the others send nothing", 10_000, 3, 3),
    ] {
        let mut conference = Conference::new(members, talkers, senders);
        // Past probation, and with full jitter buffers.
        for _ in 0..20 {
            conference.tick();
        }
        // Two who talk to each other are bridged packet by packet.
        assert!(conference.tick() >= (members as usize - 2) * PACKET);
        group.throughput(Throughput::Elements(u64::from(members)));
        group.bench_function(BenchmarkId::new(name, members), |b| {
            b.iter(|| conference.tick());
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .measurement_time(WallDuration::from_secs(2))
        .warm_up_time(WallDuration::from_millis(300))
        .configure_from_args();
    rooms(&mut criterion);
    criterion.final_summary();
}
