//! Two real threads, real sockets on loopback, real time.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};

use super::*;
use crate::engine::io::MediaPort;
use crate::id::{LegId, PortId, RoomId};
use crate::media::codec::g711::{decode_mu, encode_mu};
use crate::media::frame::SampleRate;
use crate::media::leg::Leg;
use crate::media::leg::config::{LegConfig, LegSettings, MediaAddress, PayloadFormat};
use crate::media::mixer::{Capacity, Room};
use crate::rng::Rng;
use crate::rtp::packet::{HEADER_LEN, Header, View};

const LONG: Duration = Duration::from_secs(20);

struct Party {
    socket: UdpSocket,
    port: MediaPort,
    header: Header,
}

impl Party {
    /// A peer on loopback, and the leg that serves it.
    fn new(media: &mut MediaThreads, clock: Clock, id: u64) -> (Self, Box<Leg>) {
        Self::at([127, 0, 0, 1].into(), media, clock, id)
    }

    fn at(ip: IpAddr, media: &mut MediaThreads, clock: Clock, id: u64) -> (Self, Box<Leg>) {
        let socket = UdpSocket::bind((ip, 0)).unwrap();
        socket.set_read_timeout(Some(LONG)).unwrap();
        let port = media.ports().bind(ip).unwrap();
        let rtp = socket.local_addr().unwrap();
        let settings = LegSettings {
            remote: Some(MediaAddress {
                rtp,
                rtcp: Some(SocketAddr::new(rtp.ip(), 9)),
            }),
            ..LegSettings::new(PayloadFormat::pcmu())
        };
        let config = LegConfig::new(LegId(id), port.id, settings, clock.anchor());
        let leg = Leg::new(clock.now(), config, Rng::new(id)).unwrap();
        let header = Header {
            payload_type: 0,
            ssrc: id as u32,
            ..Header::default()
        };
        let party = Self {
            socket,
            port,
            header,
        };
        (party, leg)
    }

    fn say(&mut self, sample: i16) {
        let mut packet = [0; HEADER_LEN + 160];
        self.header.emit(&mut packet);
        encode_mu(&[sample; 160], &mut packet[HEADER_LEN..]);
        self.header.sequence = self.header.sequence.wrapping_add(1);
        self.header.timestamp = self.header.timestamp.wrapping_add(160);
        self.socket.send_to(&packet, self.port.rtp).unwrap();
    }

    /// The next packet: who sent it, its number, its first sample.
    fn hear(&mut self) -> (SocketAddr, u16, i16) {
        let mut buffer = [0; 1_500];
        let (length, source) = self.socket.recv_from(&mut buffer).unwrap();
        let view = View::parse(&buffer[..length]).unwrap();
        let mut samples = [0; 160];
        decode_mu(view.payload(), &mut samples);
        (source, view.sequence(), samples[0])
    }
}

fn start(threads: u16) -> (MediaThreads, Clock) {
    let config = MediaConfig {
        threads,
        worker: WorkerConfig {
            max_legs: 16,
            max_rooms: 4,
            max_plays: 4,
            ..WorkerConfig::default()
        },
        ..MediaConfig::default()
    };
    let clock = Clock::start();
    let notify = Arc::new(Notify::new());
    let media = MediaThreads::start(&config, clock, PortPool::new(None), &notify).unwrap();
    (media, clock)
}

/// Speaks until the other party hears it.
fn assert_bridged(from: &mut Party, to: &mut Party, level: i16) {
    for _ in 0..200 {
        from.say(level);
        let (source, _, sample) = to.hear();
        assert_eq!(source, to.port.rtp);
        if (sample - level).abs() < level / 8 {
            return;
        }
    }
    panic!("never heard");
}

fn wait_for(media: &mut MediaThreads, worker: WorkerId) -> Event {
    loop {
        if let Some(event) = media.poll_event(worker) {
            return event;
        }
        std::thread::yield_now();
    }
}

#[test]
fn two_peers_talk_through_a_thread_and_a_leg_moves_to_another() {
    let (mut media, clock) = start(2);
    let (first, second) = (WorkerId(0), WorkerId(1));
    let (mut alice, leg_a) = Party::new(&mut media, clock, 1);
    let (mut bob, leg_b) = Party::new(&mut media, clock, 2);
    let room = RoomId(1);
    let mixer = || Box::new(Room::new(SampleRate::HZ_8000, Capacity::default()));
    for worker in [first, second] {
        let mixer = mixer();
        media
            .send(worker, Command::AddRoom { room, mixer })
            .unwrap();
    }
    for leg in [leg_a, leg_b] {
        let id = leg.id();
        media.send(first, Command::AddLeg(leg)).unwrap();
        media.send(first, Command::Join { room, leg: id }).unwrap();
    }
    assert_bridged(&mut alice, &mut bob, 4_000);
    assert_bridged(&mut bob, &mut alice, 8_000);

    let last = bob.hear().1;
    for (leg, goodbye) in [(LegId(1), false), (LegId(2), false)] {
        media
            .send(first, Command::RemoveLeg { leg, goodbye })
            .unwrap();
        let leg = loop {
            if let Event::LegRemoved(leg) = wait_for(&mut media, first) {
                break leg;
            }
        };
        let id = leg.id();
        media.send(second, Command::AddLeg(leg)).unwrap();
        media.send(second, Command::Join { room, leg: id }).unwrap();
    }
    let next = bob.hear().1;
    assert!(next.wrapping_sub(last) < 100, "the stream goes on");
    // Other levels, so that nothing from before the move is taken for it.
    for level in [2_000, 1_000, 500] {
        assert_bridged(&mut alice, &mut bob, level);
        assert_bridged(&mut bob, &mut alice, level * 8);
    }
    let stats = media.stats(second).unwrap();
    assert!(stats.received > 4 && stats.sent > 4 && stats.legs == 2);
    assert_eq!((stats.truncated, stats.errors), (0, 0));
    assert_eq!(media.stats(WorkerId(2)), None);
    media.stop();
}

#[expect(clippy::print_stderr)]
#[test]
fn a_peer_on_ipv6_talks_to_one_on_ipv4() {
    if UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        eprintln!("skipped: no IPv6 on this machine");
        return;
    }
    let (mut media, clock) = start(1);
    let (worker, room) = (WorkerId(0), RoomId(1));
    let (mut alice, leg_a) = Party::at(Ipv6Addr::LOCALHOST.into(), &mut media, clock, 1);
    let (mut bob, leg_b) = Party::new(&mut media, clock, 2);
    let mixer = Box::new(Room::new(SampleRate::HZ_8000, Capacity::default()));
    media
        .send(worker, Command::AddRoom { room, mixer })
        .unwrap();
    for leg in [leg_a, leg_b] {
        let id = leg.id();
        media.send(worker, Command::AddLeg(leg)).unwrap();
        media.send(worker, Command::Join { room, leg: id }).unwrap();
    }
    assert_bridged(&mut alice, &mut bob, 4_000);
    assert_bridged(&mut bob, &mut alice, 8_000);
}

#[test]
fn commands_that_cannot_be_delivered_come_back() {
    let (mut media, clock) = start(1);
    let (_, leg) = Party::new(&mut media, clock, 1);
    media.ports().release(leg.port());
    let add = Command::AddLeg(leg);
    let Err(SendError::UnknownPort(add)) = media.send(WorkerId(0), add) else {
        panic!("a port that is not bound");
    };
    let sent = media.send(WorkerId(7), add);
    assert!(matches!(
        sent,
        Err(SendError::UnknownWorker(Command::AddLeg(_)))
    ));
}

#[test]
fn a_second_leg_on_a_port_is_refused_and_the_first_stays() {
    let (mut media, clock) = start(1);
    let worker = WorkerId(0);
    let (mut alice, leg) = Party::new(&mut media, clock, 1);
    media.send(worker, Command::AddLeg(leg)).unwrap();
    // The same port under another name.
    let settings = LegSettings::new(PayloadFormat::pcmu());
    let config = LegConfig::new(LegId(3), alice.port.id, settings, clock.anchor());
    let other = Leg::new(clock.now(), config, Rng::new(3)).unwrap();
    media.send(worker, Command::AddLeg(other)).unwrap();
    assert!(matches!(
        wait_for(&mut media, worker),
        Event::Rejected { .. }
    ));
    for _ in 0..5 {
        alice.say(100);
        assert_eq!(alice.hear().0, alice.port.rtp);
    }
    loop {
        if let Event::MediaStarted { leg } = wait_for(&mut media, worker) {
            assert_eq!(leg, LegId(1));
            break;
        }
    }
    assert_eq!(media.ports().len(), 1);
    assert!(!media.ports().is_empty());
    assert_ne!(alice.port.id, PortId(1));
}
