//! Once a call is up, the media path neither allocates nor frees: counted, not claimed.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Cursor;
use std::net::SocketAddr;

use sidetone::id::{LegId, PlayId, PortId, RecordingId, RoomId};
use sidetone::media::codec::g711::{encode_a, encode_mu};
use sidetone::media::command::{Command, Event, PlayOn};
use sidetone::media::frame::SampleRate;
use sidetone::media::leg::Leg;
use sidetone::media::leg::config::{
    LegConfig, LegSettings, LevelExtension, MediaAddress, PayloadFormat, TelephoneEventFormat,
};
use sidetone::media::leg::digits::DigitPath;
use sidetone::media::leg::ears::{Ears, Listening};
use sidetone::media::level::agc::GainConfig;
use sidetone::media::level::vad::SpeechConfig;
use sidetone::media::mixer::{Capacity, Gain, Room};
use sidetone::media::player::{Player, Repeat};
use sidetone::media::recorder::writer::StereoWriter;
use sidetone::media::recorder::{DEFAULT_QUEUE, recording};
use sidetone::media::wav::Clip;
use sidetone::media::worker::{Worker, WorkerConfig};
use sidetone::rng::Rng;
use sidetone::rtp::event::TelephoneEvent;
use sidetone::rtp::packet::{HEADER_LEN, Header};
use sidetone::rtp::rtcp::{SenderInfo, Writer};
use sidetone::rtp::session::control::ControlTerms;
use sidetone::srtp::key::{Keying, MasterKey};
use sidetone::srtp::session::Session;
use sidetone::srtp::suite::Suite;
use sidetone::time::{ClockAnchor, Duration, Instant};

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

/// A peer that does all that peers do, packets built in place.
struct Peer {
    number: u32,
    address: SocketAddr,
    header: Header,
    packet: [u8; 600],
    /// Packets that a stall of the network holds back.
    held: [([u8; 600], usize); 7],
    /// Its SRTP, where the calls are protected.
    srtp: Option<Session>,
}

impl Peer {
    fn new(number: u32, suite: Option<Suite>) -> Self {
        Self {
            number,
            address: SocketAddr::from(([192, 0, 2, 1], 4_000 + 2 * number as u16)),
            header: Header {
                ssrc: number,
                ..Header::default()
            },
            packet: [0; 600],
            held: [([0; 600], 0); 7],
            srtp: suite.map(|suite| Session::new(keying(suite, 2, 1))),
        }
    }

    fn control_address(&self) -> SocketAddr {
        SocketAddr::new(self.address.ip(), self.address.port() + 1)
    }

    fn leg(&self, now: Instant, rate: SampleRate, ptime: u64, suite: Option<Suite>) -> Box<Leg> {
        let settings = LegSettings {
            remote: Some(MediaAddress {
                rtp: self.address,
                rtcp: Some(self.control_address()),
            }),
            receive: vec![PayloadFormat::pcmu(), PayloadFormat::pcma()],
            telephone_event: Some(TelephoneEventFormat {
                send_payload_type: 101,
                receive_payload_type: 101,
                clock_rate: 8_000,
                also_received: None,
            }),
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
            ptime: Duration::from_millis(ptime),
            media_timeout: Some(Duration::from_millis(500)),
            keying: suite.map(|suite| keying(suite, 1, 2)),
            ..LegSettings::new(PayloadFormat::pcmu())
        };
        let (id, port) = (LegId(u64::from(self.number)), PortId(self.number));
        let mut config = LegConfig::new(id, port, settings, ClockAnchor::default());
        config.rate = rate;
        Box::new(Leg::new(now, config, Rng::new(1)).expect("a possible configuration"))
    }

    /// The packet of tick `n`: mostly audio in either law, at times a key press.
    fn packet(&mut self, n: u64) -> &mut [u8] {
        let mut header = self.header;
        self.header.sequence = self.header.sequence.wrapping_add(1);
        self.header.timestamp = self.header.timestamp.wrapping_add(160);
        let pressed = n % 100;
        if pressed >= 90 {
            let report = TelephoneEvent {
                event: (n / 100 % 16) as u8,
                end: pressed >= 97,
                volume: 10,
                duration: (pressed as u16 - 89) * 160,
            };
            header.payload_type = 101;
            header.timestamp = header.timestamp.wrapping_sub(160 * (pressed as u32 - 90));
            header.emit(&mut self.packet);
            self.packet[HEADER_LEN..HEADER_LEN + 4].copy_from_slice(&report.emit());
            return &mut self.packet[..HEADER_LEN + 4];
        }
        let mut samples = [0; 160];
        for (i, sample) in samples.iter_mut().enumerate() {
            *sample = ((n as usize * 160 + i) * 37 % 4_000) as i16 - 2_000;
        }
        let payload = HEADER_LEN..HEADER_LEN + 160;
        match n / 50 % 2 {
            0 => encode_mu(&samples, &mut self.packet[payload.clone()]),
            _ => {
                header.payload_type = 8;
                encode_a(&samples, &mut self.packet[payload.clone()]);
            }
        }
        header.emit(&mut self.packet);
        &mut self.packet[..payload.end]
    }

    /// The packet of tick `n` as it goes over the wire, and its length.
    fn sealed(&mut self, n: u64) -> ([u8; 600], usize) {
        let length = self.packet(n).len();
        let length = match &mut self.srtp {
            Some(srtp) => srtp.protect_rtp(&mut self.packet, length).expect("room"),
            None => length,
        };
        (self.packet, length)
    }

    fn report(&mut self, now: Instant) -> &mut [u8] {
        let info = SenderInfo {
            ntp: now.as_nanos(),
            rtp_timestamp: self.header.timestamp,
            packets: 1,
            octets: 160,
        };
        let mut writer = Writer::new(&mut self.packet);
        writer
            .sender_report(self.header.ssrc, &info, &[])
            .expect("room");
        writer.cname(self.header.ssrc, "peer").expect("room");
        let mut length = writer.finish();
        if let Some(srtp) = &mut self.srtp {
            length = srtp.protect_rtcp(&mut self.packet, length).expect("room");
        }
        &mut self.packet[..length]
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
fn run_calls(rate: SampleRate, ptime: u64, ticks: u64, suite: Option<Suite>) -> u64 {
    let mut now = Instant::ZERO;
    let mut worker = Worker::new(WorkerConfig {
        max_legs: 8,
        max_rooms: 2,
        max_plays: 8,
        ..WorkerConfig::default()
    });
    let mut peers = [Peer::new(1, suite), Peer::new(2, suite)];
    let mixer = Box::new(Room::new(rate, Capacity::default()));
    worker.handle_command(now, Command::AddRoom { room: ROOM, mixer });
    for peer in &peers {
        let leg = peer.leg(now, rate, ptime, suite);
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
    for (play, on) in [(1, PlayOn::Room(ROOM)), (2, PlayOn::Leg(LegId(2)))] {
        let clip = Clip::from_samples(rate, sound.clone());
        let player = Box::new(Player::clip(clip, rate, Repeat::Forever).expect("one rate"));
        let play = PlayId(play);
        worker.handle_command(now, Command::Play { play, on, player });
    }
    let (tap, feed) = recording(rate, DEFAULT_QUEUE);
    let mut writer = StereoWriter::new(feed, Cursor::new(Vec::new())).expect("memory");
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
                let (packet, length) = peer.sealed(n);
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
                if n % 100 == 0 {
                    let (port, source) = (PortId(peer.number), peer.control_address());
                    worker.handle_rtcp(now, port, source, peer.report(now));
                }
            }
            sent += drain(&mut worker, &mut digits);
        });
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
    assert!(
        sent > 2 * ticks * 20 / ptime * 9 / 10,
        "{sent} packets sent"
    );
    assert!(digits >= ticks / 100 * 3, "{digits} digit events");
    let recorded = writer.report().duration;
    assert!(
        recorded > TICK * (ticks as u32 - 500),
        "{recorded:?} recorded"
    );
    calls
}

/// Takes everything that the worker has; returns how many datagrams there were.
fn drain(worker: &mut Worker, digits: &mut u64) -> u64 {
    let mut sent = 0;
    while let Some(transmit) = worker.poll_transmit() {
        sent += u64::from(!transmit.bytes.is_empty());
    }
    while let Some(event) = worker.poll_event() {
        let is_digit = matches!(event, Event::DigitStarted { .. } | Event::DigitEnded { .. });
        *digits += u64::from(is_digit);
    }
    sent
}

#[test]
fn calls_at_8_khz_neither_allocate_nor_free() {
    assert_eq!(run_calls(SampleRate::HZ_8000, 20, 10_000, None), 0);
}

#[test]
fn protected_calls_neither_allocate_nor_free() {
    for suite in [Suite::AesCm128HmacSha1_80, Suite::AeadAes256Gcm] {
        let calls = run_calls(SampleRate::HZ_8000, 20, 2_000, Some(suite));
        assert_eq!(calls, 0, "{suite:?}");
    }
}

#[test]
fn calls_at_16_khz_with_long_packets_neither_allocate_nor_free() {
    assert_eq!(run_calls(SampleRate::HZ_16000, 30, 2_000, None), 0);
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
    let peer = Peer::new(1, None);
    let leg = counted(&mut calls, || {
        peer.leg(Instant::ZERO, SampleRate::HZ_8000, 20, None)
    });
    assert!(calls > 10);
    drop(leg);
}
