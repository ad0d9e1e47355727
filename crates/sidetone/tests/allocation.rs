//! Once a call is up, the media path neither allocates nor frees: counted, not claimed.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Cursor;
use std::net::SocketAddr;
use std::sync::Arc;

use sidetone::id::{ForkId, LegId, PlayId, PortId, RecordingId, RoomId};
use sidetone::media::codec::cn::ComfortNoise;
use sidetone::media::codec::g711::{decode_mu, encode_mu};
use sidetone::media::codec::g722::G722;
use sidetone::media::codec::l16::L16;
use sidetone::media::codec::{Codec, CodecError, Decoder, Encoder, RtpMap, Terms};
use sidetone::media::command::{Command, Event, ForkOn, PlayOn};
use sidetone::media::fork::{ForkFrame, ForkPlan, ForkSound, ForkState};
use sidetone::media::frame::{Frame, SampleRate};
use sidetone::media::jitter;
use sidetone::media::leg::Leg;
use sidetone::media::leg::config::{
    Channel, LegConfig, LegSettings, LevelExtension, MediaAddress, PayloadFormat, Redundancy,
    RedundancyFormat, TelephoneEventFormat,
};
use sidetone::media::leg::digits::DigitPath;
use sidetone::media::leg::ears::{Ears, Listening};
use sidetone::media::leg::update::LegUpdate;
use sidetone::media::level::agc::GainConfig;
use sidetone::media::level::vad::SpeechConfig;
use sidetone::media::mixer::speakers::Selection;
use sidetone::media::mixer::{Capacity, Gain, Room};
use sidetone::media::player::{Player, Repeat};
use sidetone::media::recorder::layout::{Format, Packets};
use sidetone::media::recorder::live::Live;
use sidetone::media::recorder::track::{Track, Tracks};
use sidetone::media::recorder::writer::TrackWriter;
use sidetone::media::recorder::{DEFAULT_QUEUE, TapPlan, recording};
use sidetone::media::speech::speech;
use sidetone::media::wav::{Clip, Encoding};
use sidetone::media::worker::{Worker, WorkerConfig};
use sidetone::rng::Rng;
use sidetone::rtp::event::TelephoneEvent;
use sidetone::rtp::packet::{HEADER_LEN, Header};
use sidetone::rtp::red::{self, Block};
use sidetone::rtp::rtcp::{ReportBlock, SenderInfo, Writer};
use sidetone::rtp::session::control::ControlTerms;
use sidetone::srtp::key::{Keying, MasterKey};
use sidetone::srtp::session::Session;
use sidetone::srtp::suite::Suite;
use sidetone::time::{ClockAnchor, Duration, Instant};
use sidetone_opus::codec::Opus;

/// The system's allocator, counting what threads do that ask for it.
struct Counting;

thread_local! {
    /// Calls of the allocator by this thread while it counts; `None` while it does not.
    static CALLS: Cell<Option<u64>> = const { Cell::new(None) };
}

fn note() {
    // Fails only while a thread ends, when nobody counts.
    let _ = CALLS.try_with(|calls| calls.set(calls.get().map(|n| n + 1)));
}

// SAFETY: every method passes its arguments to the system's allocator unchanged and returns what it
// returned; the counting beside it touches a thread-local number that is initialised at compile time
// and has no destructor, so it never allocates itself.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: the caller keeps `GlobalAlloc`'s contract, and the system's allocator gets it whole.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: see above.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: the caller keeps `GlobalAlloc`'s contract, and the system's allocator gets it whole.
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note();
        // SAFETY: see above.
        unsafe { System.dealloc(pointer, layout) }
    }

    // SAFETY: the caller keeps `GlobalAlloc`'s contract, and the system's allocator gets it whole.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: see above.
        unsafe { System.alloc_zeroed(layout) }
    }

    // SAFETY: the caller keeps `GlobalAlloc`'s contract, and the system's allocator gets it whole.
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: see above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Adds to `calls` the allocations and frees that `work` makes.
fn counted<T>(calls: &mut u64, work: impl FnOnce() -> T) -> T {
    CALLS.set(Some(0));
    let result = work();
    *calls += CALLS.take().unwrap_or(0);
    result
}

const ROOM: RoomId = RoomId(1);
const TICK: Duration = Duration::from_millis(20);
/// Payload types of events, redundant audio and comfort noise.
const EVENTS: u8 = 101;
const RED: u8 = 98;
const NOISE: u8 = 13;
const RATES: [SampleRate; 3] = [
    SampleRate::HZ_8000,
    SampleRate::HZ_16000,
    SampleRate::HZ_48000,
];

/// What a run has besides what every run has.
#[derive(Debug, Clone, Copy)]
struct Setup {
    /// The rate of the room, and of each leg.
    room: SampleRate,
    legs: [SampleRate; 2],
    ptime: u64,
    suite: Option<Suite>,
    /// Formats of the legs, each with its RTP clock.
    formats: fn() -> Vec<(PayloadFormat, u32)>,
    /// Redundant audio both ways.
    copies: bool,
    /// Pauses both ways, described and left out; nothing plays.
    pauses: bool,
    /// Forged, broken and flooding packets from the peers' own addresses.
    hostile: bool,
    /// What one of the peers says is recorded alone, left and right.
    alone: bool,
    /// The recording takes packets of Opus as they are.
    packets: bool,
}

impl Setup {
    fn new(rate: SampleRate) -> Self {
        Self {
            room: rate,
            legs: [rate; 2],
            ptime: 20,
            suite: None,
            formats: || {
                vec![
                    (PayloadFormat::pcmu(), 8_000),
                    (PayloadFormat::pcma(), 8_000),
                ]
            },
            copies: false,
            pauses: false,
            hostile: false,
            alone: false,
            packets: false,
        }
    }

    fn settings(&self) -> LegSettings {
        let formats = (self.formats)();
        let (send, clock) = formats[0].clone();
        let mut receive: Vec<_> = formats.into_iter().map(|(format, _)| format).collect();
        if self.pauses {
            receive.push(PayloadFormat::new(NOISE, Arc::new(ComfortNoise)));
        }
        LegSettings {
            receive,
            telephone_event: Some(TelephoneEventFormat {
                send_payload_type: EVENTS,
                receive_payload_type: EVENTS,
                clock_rate: clock,
                also_received: None,
            }),
            redundancy: self.copies.then_some(RedundancyFormat {
                send_payload_type: Some(RED),
                receive_payload_types: [Some((RED, clock)), None],
                when: Redundancy::Always,
                generations: 2,
            }),
            comfort_noise: self.pauses.then_some(NOISE),
            control: ControlTerms {
                reduced_size: true,
                early_feedback: true,
                interval: Some(Duration::from_secs(1)),
                voip_metrics: true,
                reference_time: true,
            },
            audio_level: Some(LevelExtension {
                id: 1,
                send: true,
                voice: true,
            }),
            ptime: Duration::from_millis(self.ptime),
            media_timeout: Some(Duration::from_millis(500)),
            keying: self.suite.map(|suite| keying(suite, 1, 2)),
            ..LegSettings::new(send)
        }
    }
}

/// The longest packet of a peer.
const LONGEST: usize = 1_200;

/// A peer that does all that peers do, packets built in place.
struct Peer {
    setup: Setup,
    number: u32,
    address: SocketAddr,
    header: Header,
    packet: [u8; LONGEST],
    /// The payload before, and its timestamp, for copies.
    before: ([u8; LONGEST], usize, u32),
    encoders: Vec<(u8, Box<dyn Encoder>)>,
    /// Packets that a stall of the network holds back.
    held: [([u8; LONGEST], usize); 7],
    /// Its SRTP, where the calls are protected.
    srtp: Option<Session>,
    /// The SSRC of the leg.
    theirs: u32,
    random: Rng,
}

impl Peer {
    fn new(number: u32, setup: Setup) -> Self {
        let formats = (setup.formats)().into_iter();
        let encoders = formats.map(|(format, _)| {
            let encoder = format.codec.encoder(&format.terms).expect("an encoder");
            (format.payload_type, encoder)
        });
        Self {
            setup,
            number,
            address: SocketAddr::from(([192, 0, 2, 1], 4_000 + 2 * number as u16)),
            header: Header {
                ssrc: number,
                ..Header::default()
            },
            packet: [0; LONGEST],
            before: ([0; LONGEST], 0, 0),
            encoders: encoders.collect(),
            held: [([0; LONGEST], 0); 7],
            srtp: setup.suite.map(|suite| Session::new(keying(suite, 2, 1))),
            theirs: 0,
            random: Rng::new(7),
        }
    }

    fn control_address(&self) -> SocketAddr {
        SocketAddr::new(self.address.ip(), self.address.port() + 1)
    }

    fn settings(&self) -> LegSettings {
        LegSettings {
            remote: Some(MediaAddress {
                rtp: self.address,
                rtcp: Some(self.control_address()),
            }),
            ..self.setup.settings()
        }
    }

    fn rate(&self) -> SampleRate {
        self.setup.legs[self.number as usize - 1]
    }

    fn leg(&self, now: Instant) -> Box<Leg> {
        let mut settings = self.settings();
        settings.work_at(self.rate());
        let (id, port) = (LegId(u64::from(self.number)), PortId(self.number));
        let mut config = LegConfig::new(id, port, settings, ClockAnchor::default());
        config.rate = self.rate();
        config.room_rates = RATES.to_vec();
        Leg::new(now, config, Rng::new(1)).expect("a possible configuration")
    }

    /// The packet of tick `n`, if there is one: mostly audio in any of the formats, at times a key
    /// press, at times a pause.
    fn packet(&mut self, n: u64) -> Option<&mut [u8]> {
        let pressed = n % 100;
        let place = (n / 50) as usize % self.encoders.len();
        let clock = self.encoders[place].1.rtp_clock();
        let step = clock / 50;
        let mut header = self.header;
        self.header.timestamp = self.header.timestamp.wrapping_add(step);
        let pause = self.setup.pauses && (120..160).contains(&(n % 200));
        if pause && !n.is_multiple_of(10) {
            return None;
        }
        self.header.sequence = self.header.sequence.wrapping_add(1);
        if pressed >= 90 {
            let report = TelephoneEvent {
                event: (n / 100 % 16) as u8,
                end: pressed >= 97,
                volume: 10,
                duration: (pressed as u16 - 89) * step as u16,
            };
            header.payload_type = EVENTS;
            header.timestamp = header.timestamp.wrapping_sub(step * (pressed as u32 - 90));
            header.emit(&mut self.packet);
            self.packet[HEADER_LEN..HEADER_LEN + 4].copy_from_slice(&report.emit());
            return Some(&mut self.packet[..HEADER_LEN + 4]);
        }
        if pause {
            header.payload_type = NOISE;
            header.emit(&mut self.packet);
            self.packet[HEADER_LEN] = 60;
            return Some(&mut self.packet[..HEADER_LEN + 1]);
        }
        let (payload_type, encoder) = &mut self.encoders[place];
        let mut samples = [0; 1_920];
        let count = encoder.sample_rate().frame_samples() * encoder.channels();
        let samples = &mut samples[..count];
        // Something with a pitch, between pieces of noise.
        for (i, sample) in samples.iter_mut().enumerate() {
            let at = n as usize * 160 + i;
            *sample = match n / 25 % 2 {
                0 => (at * 37 % 4_000) as i16 - 2_000,
                _ => (at % 80) as i16 * 100 - 4_000,
            };
        }
        header.payload_type = *payload_type;
        let mut payload = [0; LONGEST];
        let length = encoder.encode(samples, &mut payload).expect("room");
        let mut end = HEADER_LEN + length;
        self.packet[HEADER_LEN..end].copy_from_slice(&payload[..length]);
        if self.setup.copies {
            let (data, before, timestamp) = &self.before;
            let copy = Block {
                payload_type: *payload_type,
                offset: header.timestamp.wrapping_sub(*timestamp),
                data: &data[..*before],
            };
            let primary = Block {
                payload_type: *payload_type,
                offset: 0,
                data: &payload[..length],
            };
            if let Some(written) = red::emit(&[copy], primary, &mut self.packet[HEADER_LEN..]) {
                header.payload_type = RED;
                end = HEADER_LEN + written;
            }
            self.before = (payload, length, header.timestamp);
        }
        header.emit(&mut self.packet);
        Some(&mut self.packet[..end])
    }

    /// The packet of tick `n` as it goes over the wire, and its length.
    fn sealed(&mut self, n: u64) -> Option<([u8; LONGEST], usize)> {
        let length = self.packet(n)?.len();
        let length = match &mut self.srtp {
            Some(srtp) => srtp.protect_rtp(&mut self.packet, length).expect("room"),
            None => length,
        };
        Some((self.packet, length))
    }

    fn report(&mut self, now: Instant, n: u64) -> &mut [u8] {
        let info = SenderInfo {
            ntp: now.as_nanos(),
            rtp_timestamp: self.header.timestamp,
            packets: 1,
            octets: 160,
        };
        // Loss that comes and goes, so that what is sent is steered.
        let block = ReportBlock {
            ssrc: self.theirs,
            fraction_lost: (n / 100 % 4 * 20) as u8,
            lost: 5,
            highest_sequence: n as u32,
            jitter: 10,
            last_sender_report: 0,
            delay: 0,
        };
        let mut writer = Writer::new(&mut self.packet);
        writer
            .sender_report(self.header.ssrc, &info, &[block])
            .expect("room");
        writer.cname(self.header.ssrc, "peer").expect("room");
        writer
            .picture_loss(self.header.ssrc, self.theirs)
            .expect("room");
        let mut length = writer.finish();
        if let Some(srtp) = &mut self.srtp {
            length = srtp.protect_rtcp(&mut self.packet, length).expect("room");
        }
        &mut self.packet[..length]
    }

    /// What a forger sends under the peer's own address.
    fn forged(&mut self, n: u64, packet: &mut [u8; 200]) {
        for byte in &mut *packet {
            *byte = self.random.next_u32() as u8;
        }
        let header = Header {
            payload_type: [0, 8, RED, EVENTS][n as usize % 4],
            ssrc: [self.header.ssrc, self.random.next_u32()][n as usize % 2],
            sequence: self.header.sequence.wrapping_sub(1),
            timestamp: self.random.next_u32(),
            marker: false,
        };
        header.emit(packet);
        if n.is_multiple_of(3) {
            packet[0] |= 0x10 | (n % 16) as u8;
        }
    }
}

/// A leg's keys, or its peer's with the two seeds swapped.
fn keying(suite: Suite, local: u8, remote: u8) -> Keying {
    let key = |seed| {
        let (key, salt) = ([seed; 32], [seed; 14]);
        MasterKey::new(suite, &key[..suite.key_len()], &salt[..suite.salt_len()])
    };
    Keying {
        local: key(local).expect("lengths"),
        remote: key(remote).expect("lengths"),
    }
}

/// Everything at once for so many ticks; returns the calls of the allocator on the media path.
fn run_calls(setup: Setup, ticks: u64) -> u64 {
    let (rate, ptime) = (setup.legs[0], setup.ptime);
    let mut now = Instant::ZERO;
    let mut worker = Worker::new(WorkerConfig {
        max_legs: 8,
        max_rooms: 2,
        max_plays: 8,
        ..WorkerConfig::default()
    });
    let mut peers = [Peer::new(1, setup), Peer::new(2, setup)];
    let mixer = Box::new(Room::new(setup.room, Capacity::default()));
    worker.handle_command(now, Command::AddRoom { room: ROOM, mixer });
    for peer in &peers {
        let leg = peer.leg(now);
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
    // One leg is listened to for all that there is, and its gain controlled.
    let listening = Listening {
        gain: Gain::from_factor(0.8),
        gain_control: Some(GainConfig::default()),
        digits: true,
        mute_digits: true,
        speech: Some(SpeechConfig::default()),
        tones: true,
        levels: true,
    };
    let ears = Box::new(Ears::new(rate, listening));
    let leg = LegId(1);
    worker.handle_command(now, Command::Listen { leg, ears });
    let sound: Vec<i16> = (0..5_000).map(|n| (n % 100) as i16 * 50).collect();
    let places = [
        (1, PlayOn::Room(ROOM), setup.room),
        (2, PlayOn::Leg(LegId(2)), setup.legs[1]),
    ];
    for (play, on, rate) in places.into_iter().filter(|_| !setup.pauses) {
        let clip = Clip::from_stereo(rate, &sound);
        let player = Box::new(Player::clip(clip, rate, Repeat::Forever).expect("one rate"));
        let play = PlayId(play);
        worker.handle_command(now, Command::Play { play, on, player });
    }
    let plan = TapPlan {
        packets: setup.packets,
        ..TapPlan::new(rate)
    };
    let (tap, feed) = plan.make();
    let tap = match setup.alone {
        true => tap.of_party_alone(),
        false => tap,
    };
    let (format, codec): (_, Option<Arc<dyn Codec>>) = match setup.packets {
        true => (Format::Opus(Packets::Original), Some(Arc::new(Opus::new()))),
        false => (Format::Wav(Encoding::Pcm16), None),
    };
    let file = Cursor::new(Vec::new());
    let writer = TrackWriter::with_tracks(Tracks::STEREO, feed, format, codec, file);
    let mut writer = writer.expect("memory");
    let (leg, recording, tap) = (LegId(1), RecordingId(1), Box::new(tap));
    let command = Command::StartRecording {
        leg,
        recording,
        tap,
    };
    worker.handle_command(now, command);

    let (mut calls, mut sent, mut digits) = (0, 0, 0);
    for n in 0..ticks {
        now += TICK;
        counted(&mut calls, || {
            worker.handle_timeout(now);
            for peer in &mut peers {
                let (port, source) = (PortId(peer.number), peer.address);
                let sealed = peer.sealed(n);
                let Some((packet, length)) = sealed else {
                    continue;
                };
                let handle = |worker: &mut Worker, source| {
                    let mut packet = packet;
                    worker.handle_rtp(now, port, source, &mut packet[..length]);
                };
                // The network stalls at times, and then gives all at once: time is stretched.
                if (110..117).contains(&(n % 200)) {
                    peer.held[(n % 200 - 110) as usize] = (packet, length);
                    continue;
                }
                if n % 200 == 117 {
                    for (mut packet, length) in peer.held {
                        worker.handle_rtp(now, port, source, &mut packet[..length]);
                    }
                }
                // One in twenty is lost, one in thirty comes twice.
                if n % 20 != 7 {
                    handle(&mut worker, source);
                }
                if n % 30 == 3 {
                    handle(&mut worker, source);
                }
                let stranger = SocketAddr::from(([203, 0, 113, 9], 9));
                handle(&mut worker, stranger);
                if setup.hostile {
                    attack(&mut worker, now, peer, n);
                }
                if n % 100 == 0 {
                    let (port, source) = (PortId(peer.number), peer.control_address());
                    worker.handle_rtcp(now, port, source, peer.report(now, n));
                }
            }
            sent += drain(&mut worker, &mut digits, &mut peers);
        });
        if n % 500 == 400 {
            // A negotiation: what it needs is made, and what it leaves over freed, elsewhere.
            for peer in &mut peers {
                let mut settings = peer.settings();
                settings.work_at(peer.rate());
                settings.keying = setup
                    .suite
                    .map(|suite| keying(suite, 1 + (n / 500 % 200) as u8, 2));
                if n % 1_000 == 400 {
                    settings.receive.rotate_left(1);
                }
                let update = LegUpdate::new(&settings, peer.rate(), jitter::Config::default());
                let update = Box::new(update.expect("possible settings"));
                let leg = LegId(u64::from(peer.number));
                let configure = Command::ConfigureLeg { leg, update };
                counted(&mut calls, || worker.handle_command(now, configure));
            }
            drain(&mut worker, &mut digits, &mut peers);
        }
        if n % 500 == 250 {
            // Signalling's small wishes, which carry nothing.
            let (room, from, to) = (ROOM, LegId(1), LegId(2));
            let press = Duration::from_millis(100);
            let digits = "12#".parse().expect("digits");
            let gain = Gain::from_factor(0.5);
            for command in [
                Command::SendDigits {
                    leg: to,
                    digits,
                    press,
                    path: DigitPath::Events,
                },
                Command::SendDigits {
                    leg: from,
                    digits,
                    press,
                    path: DigitPath::Tones,
                },
                Command::SetGain {
                    room,
                    from,
                    to,
                    gain,
                },
                Command::Leave { leg: from },
                Command::Join { room, leg: from },
            ] {
                counted(&mut calls, || worker.handle_command(now, command));
            }
        }
        if n % 10 == 0 {
            writer.drain().expect("memory");
        }
    }
    assert_eq!(worker.stats().rejected_commands, 0);
    assert_eq!(worker.stats().ticks, ticks);
    let least = if setup.pauses { 3 } else { 9 };
    assert!(
        sent > 2 * ticks * 20 / ptime * least / 10,
        "{sent} packets sent"
    );
    let heard = worker.stats().legs;
    assert_eq!(heard, 2);
    assert!(digits >= ticks / 100 * 3, "{digits} digit events");
    let recorded = writer.report().duration;
    assert!(
        recorded > TICK * (ticks as u32 - 500),
        "{recorded:?} recorded"
    );
    calls
}

/// A flood from the peer's own address: sources, broken packets, copies, events, control packets.
fn attack(worker: &mut Worker, now: Instant, peer: &mut Peer, n: u64) {
    let (port, own, control) = (PortId(peer.number), peer.address, peer.control_address());
    let mut packet = [0; 200];
    for k in 0..8 {
        peer.forged(n + k, &mut packet);
        let length = 12 + (n + k) as usize * 7 % 188;
        worker.handle_rtp(now, port, own, &mut packet[..length]);
        packet[0] = 0x80 | packet[0] & 0x1F;
        packet[1] = 200 + (k % 8) as u8;
        worker.handle_rtcp(now, port, control, &mut packet[..length / 4 * 4]);
    }
    let mut writer = Writer::new(&mut packet);
    let stranger = peer.random.next_u32();
    writer.receiver_report(stranger, &[]).expect("room");
    writer.goodbye(stranger, "").expect("room");
    let length = writer.finish();
    worker.handle_rtcp(now, port, control, &mut packet[..length]);
}

/// Takes everything that the worker has; returns how many datagrams there were.
fn drain(worker: &mut Worker, digits: &mut u64, peers: &mut [Peer; 2]) -> u64 {
    let mut sent = 0;
    while let Some(transmit) = worker.poll_transmit() {
        sent += u64::from(!transmit.bytes.is_empty());
        let of = transmit.port.0 as usize - 1;
        if let (Channel::Rtp, Some(ssrc)) = (transmit.channel, transmit.bytes.get(8..12)) {
            peers[of].theirs = u32::from_be_bytes(ssrc.try_into().expect("four"));
        }
    }
    while let Some(event) = worker.poll_event() {
        let is_digit = matches!(event, Event::DigitStarted { .. } | Event::DigitEnded { .. });
        *digits += u64::from(is_digit);
    }
    sent
}

#[test]
fn calls_at_8_khz_neither_allocate_nor_free() {
    assert_eq!(run_calls(Setup::new(SampleRate::HZ_8000), 10_000), 0);
}

#[test]
fn packets_that_are_passed_on_neither_allocate_nor_free() {
    for suite in [None, Some(Suite::AeadAes128Gcm)] {
        let setup = Setup {
            suite,
            ..Setup::new(SampleRate::HZ_8000)
        };
        let mut now = Instant::ZERO;
        let mut worker = Worker::new(WorkerConfig::default());
        let mut peers = [Peer::new(1, setup), Peer::new(2, setup)];
        let mixer = Box::new(Room::new(setup.room, Capacity::default()));
        worker.handle_command(now, Command::AddRoom { room: ROOM, mixer });
        for peer in &peers {
            let leg = peer.leg(now);
            let id = leg.id();
            worker.handle_command(now, Command::AddLeg(leg));
            // No header that would have to say how loud it is.
            let mut settings = peer.settings();
            settings.work_at(peer.rate());
            settings.audio_level = None;
            let update = LegUpdate::new(&settings, peer.rate(), jitter::Config::default());
            let update = Box::new(update.expect("possible settings"));
            worker.handle_command(now, Command::ConfigureLeg { leg: id, update });
            let leg = id;
            worker.handle_command(now, Command::Join { room: ROOM, leg });
        }
        let clip = Clip::from_samples(setup.room, vec![1_000; 800]);
        let (mut calls, mut sent, mut digits) = (0, 0, 0);
        for n in 0..1_000 {
            now += TICK;
            if n % 100 == 50 {
                // A prompt, for which packets are decoded for a while.
                let (play, on) = (PlayId(n), PlayOn::Leg(LegId(1)));
                let player = Player::clip(clip.clone(), setup.room, Repeat::Times(3));
                let player = Box::new(player.expect("one rate"));
                counted(&mut calls, || {
                    worker.handle_command(now, Command::Play { play, on, player });
                });
            }
            counted(&mut calls, || {
                worker.handle_timeout(now);
                while worker.poll_transmit().is_some() {
                    sent += 1;
                }
                for peer in &mut peers {
                    let (port, source) = (PortId(peer.number), peer.address);
                    let Some((mut packet, length)) = peer.sealed(n) else {
                        continue;
                    };
                    worker.handle_rtp(now, port, source, &mut packet[..length]);
                }
                // An event may carry a player, which is freed here; it is none of the media path's.
            });
            sent += drain(&mut worker, &mut digits, &mut peers);
        }
        assert_eq!(calls, 0, "{suite:?}");
        assert!(sent > 1_900);
        let stats = worker.stats();
        assert!(stats.passed_packets > 300, "{}", stats.passed_packets);
        assert_eq!(stats.dropped_packets, 0);
    }
}

/// Forks of all kinds that come, are suspended, and go, and speech that is written, marked and cleared.
#[test]
fn forks_and_speech_neither_allocate_nor_free() {
    let setup = Setup::new(SampleRate::HZ_8000);
    let mut now = Instant::ZERO;
    let mut worker = Worker::new(WorkerConfig::default());
    let mut peers = [Peer::new(1, setup), Peer::new(2, setup)];
    let mixer = Box::new(Room::new(setup.room, Capacity::default()));
    worker.handle_command(now, Command::AddRoom { room: ROOM, mixer });
    for peer in &peers {
        let leg = peer.leg(now);
        let id = leg.id();
        worker.handle_command(now, Command::AddLeg(leg));
        let leg = id;
        worker.handle_command(now, Command::Join { room: ROOM, leg });
    }
    let (source, mut writer) = speech(peers[0].rate(), Duration::from_secs(5));
    let (play, on) = (PlayId(1), PlayOn::Leg(LegId(1)));
    let player = Box::new(Player::speech(source));
    worker.handle_command(now, Command::Play { play, on, player });
    let sounds = [
        ForkSound::Said,
        ForkSound::Heard,
        ForkSound::Both,
        ForkSound::Mixed,
    ];
    let (mut calls, mut digits, mut frames, mut reports) = (0, 0, 0, 0);
    let (mut frame, mut readers) = (ForkFrame::new(), Vec::new());
    for n in 0..2_000 {
        let tick = n % 400;
        let on = match n / 400 % 2 {
            0 => ForkOn::Leg(LegId(1)),
            _ => ForkOn::Room(ROOM),
        };
        if tick < 4 {
            let plan = ForkPlan {
                from: RATES.to_vec(),
                sound: sounds[tick as usize],
                is_optional: true,
                ..ForkPlan::new(SampleRate::HZ_16000)
            };
            let (tap, reader) = plan.make();
            readers.push(reader);
            let (fork, tap) = (ForkId(tick), Box::new(tap));
            counted(&mut calls, || {
                worker.handle_command(now, Command::StartFork { on, fork, tap });
            });
        }
        if tick >= 396 {
            let fork = ForkId(tick - 396);
            counted(&mut calls, || {
                worker.handle_command(now, Command::StopFork { on, fork });
            });
        }
        if n % 25 == 0 {
            writer.write(8_000, &[1_000; 3_000]).expect("room");
            writer.mark(n).expect("room");
        }
        if n % 100 == 60 {
            writer.clear();
        }
        now += TICK;
        // For half of a second of each five ticks come late.
        let late = Duration::from_millis(if n % 400 < 25 { 15 } else { 0 });
        counted(&mut calls, || {
            worker.handle_timeout(now + late);
            for peer in &mut peers {
                let (port, source) = (PortId(peer.number), peer.address);
                let Some((mut packet, length)) = peer.sealed(n) else {
                    continue;
                };
                worker.handle_rtp(now, port, source, &mut packet[..length]);
            }
        });
        drain(&mut worker, &mut digits, &mut peers);
        for reader in &mut readers {
            while reader.read(&mut frame) == ForkState::Frame {
                frames += 1;
            }
        }
        while writer.poll_report().is_some() {
            reports += 1;
        }
    }
    assert_eq!(calls, 0);
    assert!(frames > 2_000 && reports > 80, "{frames} {reports}");
    assert!(worker.stats().suspended_frames > 1_000);
}

/// A conference in which the loudest are mixed and those who only listen are sent the same: by their own codecs,
/// some of which remember what they have sent, while voices, gains, prompts and members change.
#[test]
fn a_conference_neither_allocates_nor_frees() {
    const MEMBERS: u32 = 24;
    let rate = SampleRate::HZ_8000;
    let setups = [
        Setup::new(rate),
        Setup {
            legs: [SampleRate::HZ_16000; 2],
            formats: || vec![(PayloadFormat::new(9, Arc::new(G722)), 8_000)],
            ..Setup::new(rate)
        },
    ];
    let mut now = Instant::ZERO;
    let mut worker = Worker::new(WorkerConfig::default());
    let capacity = Capacity {
        sources: MEMBERS as u16 + 1,
        sinks: MEMBERS as u16,
        exceptions: 32,
    };
    let mut mixer = Box::new(Room::new(rate, capacity));
    mixer.select(Selection {
        everybody_up_to: 8,
        speakers: 3,
    });
    worker.handle_command(now, Command::AddRoom { room: ROOM, mixer });
    let mut peers: Vec<Peer> = Vec::new();
    for number in 1..=MEMBERS {
        let mut peer = Peer::new(number, setups[number as usize % 2]);
        peer.setup.legs = [peer.setup.legs[0]; 2];
        let mut settings = peer.settings();
        let rate = peer.setup.legs[0];
        settings.work_at(rate);
        let (leg, port) = (LegId(u64::from(number)), PortId(number));
        let mut config = LegConfig::new(leg, port, settings, ClockAnchor::default());
        config.rate = rate;
        config.room_rates = RATES.to_vec();
        let made = Leg::new(now, config, Rng::new(1)).expect("possible");
        worker.handle_command(now, Command::AddLeg(made));
        worker.handle_command(now, Command::Join { room: ROOM, leg });
        peers.push(peer);
    }
    let (mut calls, mut sent) = (0, 0);
    for n in 0..2_000 {
        now += TICK;
        counted(&mut calls, || {
            worker.handle_timeout(now);
            for peer in &mut peers {
                // Eight talk, in turns of a second, now and then nobody does.
                let turn = (u64::from(peer.number) + n / 50) % 3;
                if turn > 0 || n % 200 > 170 {
                    continue;
                }
                let (port, source) = (PortId(peer.number), peer.address);
                if let Some((mut packet, length)) = peer.sealed(n) {
                    worker.handle_rtp(now, port, source, &mut packet[..length]);
                }
            }
            while worker.poll_transmit().is_some() {
                sent += 1;
            }
            if n % 70 == 35 {
                let (room, from, to) = (ROOM, LegId(n / 70 % 24 + 1), LegId(n / 3 % 24 + 1));
                let gain = Gain::from_factor((n % 3) as f32 / 2.0);
                let set = Command::SetGain {
                    room,
                    from,
                    to,
                    gain,
                };
                worker.handle_command(now, set);
                worker.handle_command(now, Command::Leave { leg: from });
                worker.handle_command(now, Command::Join { room, leg: from });
            }
        });
        while worker.poll_event().is_some() {}
    }
    assert_eq!(calls, 0);
    let stats = worker.stats();
    assert_eq!(stats.rejected_commands, 0);
    assert!(sent > 2_000 * 23, "{sent}");
    assert!(
        stats.shared_packets > 2_000 * 10,
        "{}",
        stats.shared_packets
    );
    assert!(stats.chosen_speakers > 50 && stats.frames_left_out > 500);
}

#[test]
fn protected_calls_neither_allocate_nor_free() {
    for suite in Suite::ALL {
        let setup = Setup {
            suite: Some(suite),
            ..Setup::new(SampleRate::HZ_8000)
        };
        assert_eq!(run_calls(setup, 1_000), 0, "{suite:?}");
    }
}

#[test]
fn calls_at_16_khz_with_long_packets_neither_allocate_nor_free() {
    let setup = Setup {
        ptime: 30,
        ..Setup::new(SampleRate::HZ_16000)
    };
    assert_eq!(run_calls(setup, 2_000), 0);
}

/// G.722, L16 and G.711, among which the peers change.
fn wide() -> Vec<(PayloadFormat, u32)> {
    let wide = L16::new(SampleRate::HZ_16000);
    vec![
        (PayloadFormat::new(9, Arc::new(G722)), 8_000),
        (PayloadFormat::new(97, Arc::new(wide)), 16_000),
        (PayloadFormat::pcma(), 8_000),
    ]
}

#[test]
fn every_codec_in_a_room_of_other_rates_neither_allocates_nor_frees() {
    for room in RATES {
        let setup = Setup {
            legs: [SampleRate::HZ_16000, SampleRate::HZ_8000],
            formats: wide,
            ..Setup::new(room)
        };
        assert_eq!(run_calls(setup, 2_000), 0, "{room:?}");
    }
}

/// µ-law of left and right in turn.
#[derive(Debug, Clone, Copy)]
struct TwoEars;

impl Codec for TwoEars {
    fn rtp_map(&self) -> RtpMap {
        RtpMap {
            encoding: "PCMU",
            clock_rate: 8_000,
            channels: 2,
            payload_type: None,
        }
    }

    fn sample_rate(&self) -> SampleRate {
        SampleRate::HZ_8000
    }

    fn encoder(&self, _: &Terms) -> Result<Box<dyn Encoder>, CodecError> {
        Ok(Box::new(*self))
    }

    fn decoder(&self, _: &Terms) -> Result<Box<dyn Decoder>, CodecError> {
        Ok(Box::new(*self))
    }
}

impl Encoder for TwoEars {
    fn sample_rate(&self) -> SampleRate {
        SampleRate::HZ_8000
    }

    fn rtp_clock(&self) -> u32 {
        8_000
    }

    fn channels(&self) -> usize {
        2
    }

    fn encode(&mut self, samples: &[i16], out: &mut [u8]) -> Result<usize, CodecError> {
        let needed = samples.len();
        let out = out.get_mut(..needed);
        encode_mu(samples, out.ok_or(CodecError::OutputTooSmall { needed })?);
        Ok(needed)
    }
}

impl Decoder for TwoEars {
    fn sample_rate(&self) -> SampleRate {
        SampleRate::HZ_8000
    }

    fn rtp_clock(&self) -> u32 {
        8_000
    }

    fn channels(&self) -> usize {
        2
    }

    fn samples_in(&self, payload: &[u8]) -> Result<usize, CodecError> {
        Ok(payload.len() / 2)
    }

    fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, CodecError> {
        let needed = payload.len();
        let out = out.get_mut(..needed);
        decode_mu(payload, out.ok_or(CodecError::OutputTooSmall { needed })?);
        Ok(needed / 2)
    }
}

fn two_ears() -> Vec<(PayloadFormat, u32)> {
    vec![
        (PayloadFormat::new(96, Arc::new(TwoEars)), 8_000),
        (PayloadFormat::pcmu(), 8_000),
    ]
}

#[test]
fn two_channels_neither_allocate_nor_free() {
    for leg in [SampleRate::HZ_8000, SampleRate::HZ_48000] {
        let setup = Setup {
            legs: [leg; 2],
            formats: two_ears,
            suite: Some(Suite::AesCm128HmacSha1_80),
            alone: true,
            ..Setup::new(SampleRate::HZ_8000)
        };
        assert_eq!(run_calls(setup, 2_000), 0, "{leg:?}");
    }
}

/// Opus, and G.711 at times.
fn opus() -> Vec<(PayloadFormat, u32)> {
    let opus = PayloadFormat::new(111, Arc::new(Opus::new()));
    vec![(opus, 48_000), (PayloadFormat::pcmu(), 8_000)]
}

#[test]
fn packets_of_opus_that_are_recorded_neither_allocate_nor_free() {
    let setup = Setup {
        formats: opus,
        packets: true,
        ..Setup::new(SampleRate::HZ_48000)
    };
    assert_eq!(run_calls(setup, 1_500), 0);
}

#[test]
fn copies_and_pauses_neither_allocate_nor_free() {
    for (copies, pauses) in [(true, false), (false, true), (true, true)] {
        let setup = Setup {
            copies,
            pauses,
            suite: Some(Suite::AesCm128HmacSha1_80),
            ..Setup::new(SampleRate::HZ_8000)
        };
        assert_eq!(
            run_calls(setup, 2_000),
            0,
            "copies {copies}, pauses {pauses}"
        );
    }
}

#[test]
fn hostile_packets_neither_allocate_nor_free() {
    for suite in [None, Some(Suite::AeadAes128Gcm)] {
        let setup = Setup {
            suite,
            copies: true,
            pauses: true,
            hostile: true,
            ..Setup::new(SampleRate::HZ_8000)
        };
        assert_eq!(run_calls(setup, 2_000), 0, "{suite:?}");
    }
}

#[test]
fn what_is_heard_elsewhere_neither_allocates_nor_frees() {
    let rate = SampleRate::HZ_8000;
    let (mut tap, feed) = recording(rate, DEFAULT_QUEUE);
    let mut live = Live::new(feed);
    let frame = Frame::from_samples(rate, &[1_000; 160]);
    let (mut calls, mut placed, mut heard) = (0, 0, 0);
    let mut out = [0; 160];
    let mut rng = Rng::new(7);
    for n in 0..2_000 {
        // There are pauses that the listener has to skip.
        let late = rng.below(280) as i64;
        counted(&mut calls, || {
            let tick = n * 160 + 480;
            let clock = tap.clock_mut();
            // The network turns out to be faster than it seemed in the first half second.
            let age = if n < 25 { 280 } else { 480 };
            let position = clock.position(n * 960, tick, age, Some(late));
            placed += u32::from(clock.poll_placed().is_some());
            tap.push(Track::Caller, position, &frame);
            tap.extend_to(n as u64 * 160 + 160);
            if n % 200 < 170 {
                live.fill(&mut out);
                heard += u32::from(out.contains(&1_000));
            }
        });
    }
    assert_eq!(calls, 0);
    assert!(placed > 0, "nothing was placed anew");
    assert!(heard > 1_000, "{heard} of 1,700 frames were heard");
}

#[test]
fn what_allocates_is_counted() {
    let mut calls = 0;
    let boxed = counted(&mut calls, || Box::new(7));
    assert_eq!((calls, *boxed), (1, 7));
    counted(&mut calls, || drop(boxed));
    assert_eq!(calls, 2);
    let mut grown = counted(&mut calls, || vec![0_u8; 10]);
    counted(&mut calls, || grown.reserve(1_000));
    assert_eq!(calls, 4);
    // Building a leg is for signalling: here it would be noticed.
    let mut calls = 0;
    let peer = Peer::new(1, Setup::new(SampleRate::HZ_8000));
    let leg = counted(&mut calls, || peer.leg(Instant::ZERO));
    assert!(calls > 10);
    drop(leg);
}
