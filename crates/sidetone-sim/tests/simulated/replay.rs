//! Captured streams through the receive path.

use std::net::SocketAddr;
use std::sync::Arc;

use sidetone::media::codec::g711::{Law, encode_mu};
use sidetone::media::jitter;
use sidetone::rtp::packet::{HEADER_LEN, Header};
use sidetone::rtp::red::{self, Block};
use sidetone::sdp::attribute::Format;
use sidetone::srtp::key::{Keying, MasterKey};
use sidetone::srtp::session::Session;
use sidetone::srtp::suite::Suite;
use sidetone::time::{Duration, WallTime};
use sidetone_sim::capture::Capture;
use sidetone_sim::network::capture::Capture as Recorder;
use sidetone_sim::peer::sound::Sound;
use sidetone_sim::replay::machine::{Options, ReplayError, Replayed, replay};
use sidetone_sim::replay::streams::{Stream, find};

const SPEAKER: &str = "192.0.2.1:4000";
const LISTENER: &str = "192.0.2.2:6000";

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn options() -> Options {
    Options {
        codecs: vec![Arc::new(Law::A), Arc::new(Law::Mu)],
        formats: Vec::new(),
        jitter: jitter::Config {
            mode: jitter::Mode::Fixed(Duration::from_millis(60)),
            ..jitter::Config::default()
        },
        key: None,
    }
}

/// A speaker whose packets a capture sees; `journey` says for each when it comes, in milliseconds
/// after it was sent, or that it never does.
struct Speaker {
    payload_type: u8,
    ssrc: u32,
    /// Bytes of protection behind each payload.
    tag: usize,
}

impl Speaker {
    const PLAIN: Self = Self {
        payload_type: 0,
        ssrc: 0x1234_abcd,
        tag: 0,
    };

    fn record(&self, to: &mut Recorder, seconds: usize, journey: impl Fn(usize) -> Option<u64>) {
        let speech = Sound::speech(3, Duration::from_secs(seconds as u64));
        let mut packets: Vec<(u64, Vec<u8>)> = Vec::new();
        for (n, samples) in speech.samples().chunks_exact(160).enumerate() {
            let Some(late) = journey(n) else {
                continue;
            };
            let header = Header {
                payload_type: self.payload_type,
                marker: n == 0,
                sequence: 65_500u16.wrapping_add(n as u16),
                timestamp: 160 * n as u32,
                ssrc: self.ssrc,
            };
            let mut packet = vec![0; HEADER_LEN + 160 + self.tag];
            header.emit(&mut packet);
            encode_mu(samples, &mut packet[HEADER_LEN..HEADER_LEN + 160]);
            packets.push((20 * n as u64 + late, packet));
        }
        packets.sort_by_key(|p| p.0);
        for (ms, packet) in packets {
            record(to, ms, &packet);
        }
    }
}

fn record(to: &mut Recorder, ms: u64, content: &[u8]) {
    let wall = WallTime::from_unix_nanos(1_700_000_000_000_000_000 + ms * 1_000_000);
    to.record_udp(wall, address(SPEAKER), address(LISTENER), content);
}

fn read(recorder: &Recorder) -> (Capture, Vec<Stream>) {
    let capture = Capture::read(recorder.as_bytes()).expect("our own capture");
    let streams = find(&capture);
    (capture, streams)
}

fn heard(journey: impl Fn(usize) -> Option<u64>) -> Replayed {
    let mut recorder = Recorder::default();
    Speaker::PLAIN.record(&mut recorder, 5, journey);
    let (capture, streams) = read(&recorder);
    assert_eq!(streams.len(), 1);
    replay(&capture, &streams[0], &options()).expect("a stream of PCMU")
}

/// Each packet carries a copy of the one before, so that single losses are none to the listener.
#[test]
fn copies_in_redundant_audio_are_heard() {
    let mut recorder = Recorder::default();
    let speech = Sound::speech(3, Duration::from_secs(5));
    let mut before = [0xFF; 160];
    for (n, samples) in speech.samples().chunks_exact(160).enumerate() {
        let mut own = [0; 160];
        encode_mu(samples, &mut own);
        let header = Header {
            payload_type: 98,
            marker: n == 0,
            sequence: n as u16,
            timestamp: 160 * n as u32,
            ssrc: 7,
        };
        let block = |offset, data| Block {
            payload_type: 0,
            offset,
            data,
        };
        let mut packet = [0; 400];
        header.emit(&mut packet);
        let room = &mut packet[HEADER_LEN..];
        let length = red::emit(&[block(160, &before)], block(0, &own), room).expect("room");
        before = own;
        if n % 10 != 5 {
            record(&mut recorder, 20 * n as u64, &packet[..HEADER_LEN + length]);
        }
    }
    let (capture, streams) = read(&recorder);
    let mut options = options();
    let unknown = replay(&capture, &streams[0], &options).map(|_| ());
    assert_eq!(unknown, Err(ReplayError::Unknown(98)));
    options.formats.push(Format {
        fmtp: Some("0/0".to_owned()),
        ..Format::new(98, "red", 8_000)
    });
    // What is wrapped has a static payload type; here it is told.
    options.formats.push(Format::new(0, "PCMU", 8_000));
    let replayed = replay(&capture, &streams[0], &options).expect("a stream of PCMU");
    let packets = &replayed.report.packets;
    assert_eq!((packets.lost, packets.late), (0, 0), "{packets:?}");
    assert!(packets.played > 240, "{packets:?}");
    assert_eq!(replayed.report.sound.concealed_ms, 0.0);
}

#[test]
fn a_clean_stream_is_heard_whole() {
    let replayed = heard(|_| Some(10));
    let report = &replayed.report;
    assert_eq!(report.packets.captured, 250);
    assert_eq!((report.packets.lost, report.packets.late), (0, 0));
    assert_eq!(report.sound.concealed_ms, 0.0);
    assert!((240..=250).contains(&report.packets.played), "{report:#?}");
    assert!(report.delay.max_ms <= 100.0, "{:?}", report.delay);
    assert!((4_900.0..5_200.0).contains(&report.duration_ms));
    assert_eq!(report.timeline.len(), 6);
    let speech = Sound::speech(3, Duration::from_secs(5));
    // The listener hears it a little later, as µ-law leaves it.
    let (said, heard) = (speech.samples(), &replayed.samples);
    let error = |lag: usize| -> f64 {
        let pairs = said[800..8_000].iter().zip(&heard[800 + lag..]);
        pairs
            .map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2))
            .sum()
    };
    let silence: f64 = said[800..8_000].iter().map(|&s| f64::from(s).powi(2)).sum();
    let best = (0..1_600).map(error).fold(f64::MAX, f64::min);
    assert!(best < silence / 1_000.0, "{best} of {silence}");
}

#[test]
fn control_on_its_own_port_is_taken() {
    let mut recorder = Recorder::default();
    Speaker::PLAIN.record(&mut recorder, 2, |_| Some(10));
    let [a, b, c, d] = Speaker::PLAIN.ssrc.to_be_bytes();
    // A receiver report without blocks, and a description with a CNAME.
    let mut report = vec![0x80, 201, 0, 1, a, b, c, d];
    report.extend([0x81, 202, 0, 2, a, b, c, d, 1, 1, b'x', 0]);
    let wall = WallTime::from_unix_nanos(1_700_000_001_000_000_000);
    let (from, to) = (address("192.0.2.1:4001"), address("192.0.2.2:6001"));
    recorder.record_udp(wall, from, to, &report);
    let (capture, streams) = read(&recorder);
    let replayed = replay(&capture, &streams[0], &options()).expect("a stream of PCMU");
    assert_eq!(replayed.report.packets.refused, 0);
    assert_eq!(replayed.report.packets.captured, 100);
}

#[test]
fn lost_late_and_repeated_packets_are_told_apart() {
    let report = heard(|n| match n {
        50..55 => None,
        120 => Some(400),
        _ => Some(10),
    })
    .report;
    assert_eq!((report.packets.never_came, report.packets.late), (5, 1));
    assert_eq!(report.packets.lost, 6);
    assert!(
        (80.0..=140.0).contains(&report.sound.concealed_ms),
        "{:?}",
        report.sound
    );
    assert_eq!(report.timeline[1].lost, 5);
}

#[test]
fn the_same_capture_gives_the_same_bytes() {
    let run = || heard(|n| (n % 13 != 0).then_some((n as u64 * 7_919) % 50));
    let (one, two) = (run(), run());
    assert_eq!(one.samples, two.samples);
    assert_eq!(one.report, two.report);
}

#[test]
fn signalling_tells_what_payload_types_mean() {
    let mut recorder = Recorder::default();
    let sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\nm=audio 6000 RTP/AVP 96 101\r\n\
         a=rtpmap:96 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n",
        "192.0.2.2"
    );
    let answer = format!(
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:a@a>;tag=1\r\n\
         To: <sip:b@b>;tag=2\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nContent-Type: application/sdp\r\n\
         Content-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    );
    record(&mut recorder, 0, answer.as_bytes());
    let dynamic = Speaker {
        payload_type: 96,
        ..Speaker::PLAIN
    };
    dynamic.record(&mut recorder, 2, |_| Some(20));
    let (capture, streams) = read(&recorder);
    let replayed = replay(&capture, &streams[0], &options()).expect("it is described");
    assert_eq!(replayed.report.stream.codec, "PCMU/8000");
    assert!(replayed.report.packets.played > 90);
}

#[test]
fn what_nothing_describes_needs_a_word_from_outside() {
    let mut recorder = Recorder::default();
    let dynamic = Speaker {
        payload_type: 96,
        ..Speaker::PLAIN
    };
    dynamic.record(&mut recorder, 2, |_| Some(20));
    let (capture, streams) = read(&recorder);
    let error = replay(&capture, &streams[0], &options()).expect_err("unknown");
    assert_eq!(error, ReplayError::Unknown(96));
    let told = Options {
        formats: vec![Format::new(96, "PCMU", 8_000)],
        ..options()
    };
    replay(&capture, &streams[0], &told).expect("told");
    let missing = Options {
        formats: vec![Format::new(96, "nonsense", 8_000)],
        ..options()
    };
    let error = replay(&capture, &streams[0], &missing).expect_err("no such codec");
    assert_eq!(error, ReplayError::NoCodec("nonsense/8000".into()));
}

#[test]
fn protected_streams_are_seen_to_be() {
    let mut recorder = Recorder::default();
    let protected = Speaker {
        tag: 10,
        ..Speaker::PLAIN
    };
    protected.record(&mut recorder, 2, |_| Some(20));
    let (capture, streams) = read(&recorder);
    assert!(streams[0].protected);
    let error = replay(&capture, &streams[0], &options()).expect_err("no key");
    assert_eq!(error, ReplayError::Protected);
}

#[test]
fn protected_streams_are_heard_with_their_key() {
    let suite = Suite::AesCm128HmacSha1_80;
    let key = MasterKey::new(suite, &[7; 16], &[9; 14]).expect("a key of its suite");
    let keying = Keying {
        local: key.clone(),
        remote: key.clone(),
    };
    let mut session = Session::new(keying);
    let mut plain = Recorder::default();
    Speaker::PLAIN.record(&mut plain, 2, |_| Some(20));
    let (plain, _) = read(&plain);
    let mut recorder = Recorder::default();
    for datagram in plain.datagrams() {
        let content = plain.payload(datagram);
        let mut packet = [content, &[0; 40]].concat();
        let length = session
            .protect_rtp(&mut packet, content.len())
            .expect("room");
        record(
            &mut recorder,
            datagram.at.as_millis() as u64,
            &packet[..length],
        );
    }
    let (capture, streams) = read(&recorder);
    assert!(streams[0].protected);
    let told = Options {
        key: Some(key),
        ..options()
    };
    let report = replay(&capture, &streams[0], &told).expect("a key").report;
    assert!(report.packets.played > 95, "{report:#?}");
    let wrong = Options {
        key: Some(MasterKey::new(suite, &[8; 16], &[9; 14]).expect("a key")),
        ..options()
    };
    let error = replay(&capture, &streams[0], &wrong).expect_err("another's key");
    assert_eq!(error, ReplayError::WrongKey);
}

#[test]
fn what_sounded_bad_is_told_with_its_cause() {
    let report = heard(|n| (n < 50 || n % 8 != 0).then_some(10)).report;
    assert_eq!(report.quality.causes, ["network-loss"]);
    assert!(
        report.quality.mos_lq.is_some_and(|mos| mos < 4.0),
        "{:?}",
        report.quality
    );
    assert!(report.timeline[0].causes.is_empty());
    assert_eq!(report.timeline[4].causes, ["network-loss"]);
    let good = heard(|_| Some(10)).report;
    assert!(good.quality.causes.is_empty());
    assert!(good.quality.mos_lq.is_some_and(|mos| mos > 4.3));
}

#[test]
fn a_source_that_takes_anothers_place_is_the_same_stream() {
    let mut recorder = Recorder::default();
    Speaker::PLAIN.record(&mut recorder, 2, |_| Some(0));
    let other = Speaker {
        ssrc: 7,
        ..Speaker::PLAIN
    };
    other.record(&mut recorder, 2, |_| Some(2_040));
    let (capture, streams) = read(&recorder);
    assert_eq!(streams.len(), 1);
    assert_eq!(streams[0].ssrcs, [0x1234_abcd, 7]);
    let report = replay(&capture, &streams[0], &options())
        .expect("PCMU")
        .report;
    assert!(report.packets.played > 190, "{report:#?}");
    assert!(report.packets.restarts >= 1);
}

#[test]
fn noise_and_control_are_no_streams() {
    let mut recorder = Recorder::default();
    let mut rng = sidetone::rng::Rng::new(4);
    for ms in 0..500 {
        let noise: Vec<u8> = (0..60).map(|_| rng.next_u32() as u8).collect();
        record(&mut recorder, ms, &noise);
        record(&mut recorder, ms, &[0x80, 200, 0, 1, 0, 0, 0, 1]);
    }
    let (_, streams) = read(&recorder);
    assert!(streams.is_empty());
}
