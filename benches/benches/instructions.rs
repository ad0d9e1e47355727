//! Instructions of the media plane's parts, per frame of 20 ms or per packet, and of SIP's, per message,
//! counted by valgrind.
//!
//! Counts hardly depend on what else the machine does. Each part runs in a process of its own under
//! callgrind, a few times and many times; the difference is what one more time costs. What valgrind's
//! processor lacks (AVX-512) libraries do otherwise there.

#![allow(clippy::print_stdout, reason = "this program's output is its purpose")]

use std::hint::black_box;
use std::process::Command;

use bytes::Bytes;
use sidetone::id::ListenerId;
use sidetone::media::codec::g711::Law;
use sidetone::media::codec::g722::G722;
use sidetone::media::codec::{Codec, Terms};
use sidetone::media::conceal::Concealer;
use sidetone::media::dtmf::detect::DtmfDetector;
use sidetone::media::frame::{Frame, SampleRate};
use sidetone::media::jitter::buffer::{JitterBuffer, Span};
use sidetone::media::jitter::playout::Playout;
use sidetone::media::jitter::{Config, Packet};
use sidetone::media::resample::Resampler;
use sidetone::media::stretch::{Manner, Stretcher};
use sidetone::rng::Rng;
use sidetone::rtp::packet::{HEADER_LEN, Header};
use sidetone::sip::message::Message;
use sidetone::sip::method::Method;
use sidetone::sip::transaction::Machine;
use sidetone::sip::transaction::key::{RequestFields, ServerKey};
use sidetone::sip::transaction::layer::{Layer, Limits};
use sidetone::sip::transaction::timer::Timers;
use sidetone::sip::transport::Path;
use sidetone::sip::uri::Uri;
use sidetone::srtp::key::{Keying, MasterKey};
use sidetone::srtp::session::Session;
use sidetone::srtp::suite::Suite;
use sidetone::time::{Duration, Instant};
use sidetone_benches::INVITE_1047;
use sidetone_opus::codec::Opus;

const NARROW: SampleRate = SampleRate::HZ_8000;
const WIDE: SampleRate = SampleRate::HZ_16000;
const FULL: SampleRate = SampleRate::HZ_48000;

/// A part: its name, how often it runs, and what runs it so often.
type Part = (&'static str, u64, fn(u64));

const PARTS: &[Part] = &[
    ("G.711 µ-law encode", 2_000, |n| encode(&Law::Mu, n)),
    ("G.711 A-law encode", 2_000, |n| encode(&Law::A, n)),
    ("G.711 decode", 2_000, |n| decode(&Law::Mu, n)),
    ("G.722 encode", 400, |n| encode(&G722, n)),
    ("G.722 decode", 400, |n| decode(&G722, n)),
    ("Opus 24 kbit/s at 16 kHz encode", 50, |n| {
        encode(&opus(), n)
    }),
    ("Opus 24 kbit/s at 16 kHz decode", 100, |n| {
        decode(&opus(), n)
    }),
    ("jitter buffer put and take", 2_000, put_and_take),
    ("playout put and fill, µ-law", 2_000, put_and_fill),
    ("concealment, 10 % lost, each frame", 1_000, conceal),
    ("time-stretch, leave out a period", 200, shorten),
    ("time-stretch, put in a period", 200, lengthen),
    ("resample 8 to 48 kHz", 500, |n| resample(NARROW, FULL, n)),
    ("resample 48 to 8 kHz", 500, |n| resample(FULL, NARROW, n)),
    ("in-band DTMF detect", 1_000, detect),
    ("AES_CM_128_HMAC_SHA1_80 protect", 1_000, |n| protect(0, n)),
    ("AES_CM_128_HMAC_SHA1_80 unprotect", 1_000, |n| {
        unprotect(0, n)
    }),
    ("AEAD_AES_128_GCM protect", 1_000, |n| protect(1, n)),
    ("AEAD_AES_128_GCM unprotect", 1_000, |n| unprotect(1, n)),
    ("SIP parse, 1,047 B INVITE", 2_000, |n| {
        invites(n, |message| message.headers().count())
    }),
    ("SIP parse and read six headers", 2_000, |n| {
        invites(n, read)
    }),
    ("SIP parse and print", 2_000, |n| {
        invites(n, |message| message.print().len())
    }),
    ("SIP URI", 2_000, uris),
    ("SIP server transaction, made", 2_000, transactions),
];

/// What `--bench instructions -- --part NAME COUNT` runs in the counted process.
const PART: &str = "--part";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|a| a == PART) {
        let count = arguments[at + 2].parse().expect("a count");
        run(&arguments[at + 1], count);
        return;
    }
    if arguments.iter().any(|a| a == "--test") {
        for (name, _, part) in PARTS {
            part(1);
            println!("Testing {name}\nSuccess");
        }
        return;
    }
    let few = 100;
    let mut wishes = arguments.iter().skip(1);
    let wish = wishes.find(|a| !a.starts_with('-'));
    let wanted = |name: &str| wish.is_none_or(|wish| name.contains(wish.as_str()));
    for (name, many, _) in PARTS.iter().filter(|(name, ..)| wanted(name)) {
        match (counted(name, few), counted(name, few + many)) {
            (Some(few), Some(more)) => {
                println!("{name:<40} {:>9} instructions", (more - few) / many);
            }
            _ => {
                println!("valgrind is not installed: nothing was counted");
                return;
            }
        }
    }
}

fn run(name: &str, count: u64) {
    let part = PARTS.iter().find(|(known, ..)| *known == name);
    part.expect("a known part").2(count);
}

/// The instructions of a process that runs a part so often; `None` without valgrind.
fn counted(name: &str, count: u64) -> Option<u64> {
    let own = std::env::current_exe().expect("a path");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(own)
        .args([PART, name, &count.to_string()])
        .output()
        .ok()?;
    let told = String::from_utf8_lossy(&output.stderr);
    let line = told
        .lines()
        .find_map(|line| line.split("Collected :").nth(1));
    line.and_then(|number| number.trim().parse().ok())
}

fn opus() -> Opus {
    Opus::new().sample_rate(WIDE).bit_rate(24_000)
}

/// Something like speech: a few harmonics and noise, louder and softer.
fn speech(rate: SampleRate, frames: usize) -> Vec<i16> {
    let mut rng = Rng::new(1);
    let turn = std::f64::consts::TAU / f64::from(rate.hz());
    let sample = |n: usize| {
        let t = n as f64 * turn;
        let voice: f64 = (1..8)
            .map(|h| (t * 130.0 * f64::from(h)).sin() / f64::from(h))
            .sum();
        let loudness = 1.0 + (t * 3.0).sin();
        (voice * loudness * 3_000.0 + rng.next_f64() * 200.0) as i16
    };
    (0..rate.frame_samples() * frames).map(sample).collect()
}

fn encode(codec: &dyn Codec, count: u64) {
    let rate = codec.sample_rate();
    let sound = speech(rate, 50);
    let mut encoder = codec.encoder(&Terms::new(rate)).expect("an encoder");
    let mut payload = [0; 2_000];
    let mut frames = sound.chunks_exact(rate.frame_samples()).cycle();
    for frame in (0..count).map_while(|_| frames.next()) {
        let _ = black_box(encoder.encode(black_box(frame), &mut payload));
    }
}

fn decode(codec: &dyn Codec, count: u64) {
    let rate = codec.sample_rate();
    let sound = speech(rate, 50);
    let mut encoder = codec.encoder(&Terms::new(rate)).expect("an encoder");
    let mut decoder = codec.decoder(&Terms::new(rate)).expect("a decoder");
    let payloads = sound.chunks_exact(rate.frame_samples()).map(|frame| {
        let mut payload = vec![0; 2_000];
        let length = encoder.encode(frame, &mut payload).expect("a packet");
        payload.truncate(length);
        payload
    });
    let payloads: Vec<_> = payloads.collect();
    let mut out = [0; 960];
    let mut packets = payloads.iter().cycle();
    for payload in (0..count).map_while(|_| packets.next()) {
        let _ = black_box(decoder.decode(black_box(payload), &mut out));
    }
}

fn packet(n: u64, payload: &[u8]) -> Packet<'_> {
    Packet {
        sequence: n as u16,
        timestamp: (n * 160) as u32,
        payload_type: 0,
        marker: false,
        redundant: false,
        payload,
    }
}

fn at(n: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(20 * n)
}

fn put_and_take(count: u64) {
    let span = Span {
        clock: 8_000,
        ticks: 160,
    };
    let mut buffer = JitterBuffer::new(Config::default());
    for n in 0..count {
        buffer.put(at(n), &packet(n, black_box(&[0xFF; 160])), span);
        black_box(buffer.head());
        black_box(buffer.take(at(n)));
    }
}

fn put_and_fill(count: u64) {
    let decoder = Law::Mu.decoder(&Terms::new(NARROW)).expect("a decoder");
    let mut playout = Playout::new(Config::default(), vec![(0, decoder)]).expect("a decoder");
    let mut frame = Frame::silence(NARROW);
    for n in 0..count {
        playout.put(at(n), &packet(n, black_box(&[0xFF; 160])));
        black_box(playout.fill(at(n), &mut frame));
    }
}

fn conceal(count: u64) {
    let frame = NARROW.frame_samples();
    let sound = speech(NARROW, 50);
    let mut concealer = Concealer::new(NARROW);
    let mut part = vec![0; frame];
    for n in 0..count as usize {
        part.copy_from_slice(&sound[n % 50 * frame..][..frame]);
        if n % 10 == 9 {
            concealer.conceal(&sound[..(n % 50 + 1) * frame], black_box(&mut part));
        } else {
            concealer.learn(&part);
            concealer.merge(black_box(&mut part));
        }
    }
}

fn shorten(count: u64) {
    let reach = Stretcher::reach(NARROW);
    let mut future = speech(NARROW, 50);
    future.truncate(reach);
    let mut stretcher = Stretcher::new(NARROW);
    for _ in 0..count {
        black_box(stretcher.shorten(black_box(&mut future), Manner::Periodic(0.0)));
    }
}

fn lengthen(count: u64) {
    let reach = Stretcher::reach(NARROW);
    let mut sound = speech(NARROW, 50);
    sound.truncate(2 * reach);
    let mut stretcher = Stretcher::new(NARROW);
    let mut piece = vec![0; Stretcher::longest(NARROW)];
    for _ in 0..count {
        let manner = Manner::Periodic(0.0);
        black_box(stretcher.lengthen(black_box(&sound), reach, manner, &mut piece));
    }
}

fn resample(from: SampleRate, to: SampleRate, count: u64) {
    let frame = Frame::from_samples(from, &speech(from, 1));
    let mut out = Frame::silence(to);
    let mut resampler = Resampler::new(from, to);
    for _ in 0..count {
        resampler.process(black_box(&frame), &mut out);
        black_box(&mut out);
    }
}

fn detect(count: u64) {
    let sound = speech(NARROW, 50);
    let parts = sound.chunks_exact(NARROW.frame_samples());
    let frames: Vec<_> = parts.map(|p| Frame::from_samples(NARROW, p)).collect();
    let mut detector = DtmfDetector::new(NARROW);
    let mut frames = frames.iter().cycle();
    for frame in (0..count).map_while(|_| frames.next()) {
        detector.process(black_box(frame));
        while detector.poll_event().is_some() {}
    }
}

fn invites(count: u64, read: fn(&Message) -> usize) {
    let bytes = Bytes::from_static(INVITE_1047.as_bytes());
    for _ in 0..count {
        let message = Message::parse(black_box(bytes.clone())).expect("a message");
        black_box(read(&message));
    }
}

fn read(message: &Message) -> usize {
    let from = message.from().expect("From");
    let to = message.to().expect("To");
    let via = message.top_via().expect("Via");
    let cseq = message.cseq().expect("CSeq");
    let contact = message.contact().expect("Contact");
    let texts = [from.tag(), to.tag(), via.branch(), contact.uri().user()];
    let lengths: usize = texts.iter().flatten().map(|text| text.len()).sum();
    lengths + cseq.number() as usize + message.call_id().expect("Call-ID").len()
}

fn uris(count: u64) {
    let bytes = Bytes::from_static(b"sip:bob@biloxi.example:5060;transport=tcp");
    for _ in 0..count {
        black_box(Uri::from_bytes(black_box(bytes.clone())).expect("a URI"));
    }
}

fn transactions(count: u64) {
    let limits = Limits {
        transactions: 1 << 20,
        bytes: 1 << 30,
    };
    let mut layer = Layer::new(Timers::default(), limits);
    let path = Path::Datagram {
        listener: ListenerId(0),
        destination: ([192, 0, 2, 9], 5060).into(),
    };
    // As many texts whatever the count, so that making them is no part of the difference.
    let branches: Vec<String> = (0..2_100).map(|n| format!("z9hG4bK{n:016x}")).collect();
    for branch in branches.iter().take(count as usize) {
        let key = ServerKey::new(&RequestFields {
            method: &Method::Invite,
            branch,
            host: "192.0.2.9",
            port: 5060,
            uri: "sip:a@192.0.2.1",
            from_tag: "1",
            call_id: "1",
            sequence: 1,
        });
        let made = layer.start_server(Machine::InviteServer, key, path, ());
        black_box(made.expect("room"));
    }
}

fn session(suite: usize, local: u8, remote: u8) -> Session {
    let suite = [Suite::AesCm128HmacSha1_80, Suite::AeadAes128Gcm][suite];
    let key = |seed: u8| {
        let (key, salt) = ([seed; 32], [seed; 14]);
        let made = MasterKey::new(suite, &key[..suite.key_len()], &salt[..suite.salt_len()]);
        made.expect("lengths")
    };
    Session::new(Keying {
        local: key(local),
        remote: key(remote),
    })
}

const PACKET: usize = HEADER_LEN + 160;

/// A packet of 160 bytes under this number, and room for its trailer.
fn plain(n: u64) -> [u8; PACKET + 40] {
    let mut packet = [0; PACKET + 40];
    let header = Header {
        sequence: n as u16,
        ..Header::default()
    };
    header.emit(&mut packet);
    packet
}

fn protect(suite: usize, count: u64) {
    let mut here = session(suite, 1, 2);
    for n in 0..count {
        let _ = black_box(here.protect_rtp(black_box(&mut plain(n)), PACKET));
    }
}

fn unprotect(suite: usize, count: u64) {
    // As many packets whatever the count, so that making them is no part of the difference.
    let mut here = session(suite, 1, 2);
    let sealed = (0..1_100).map(|n| {
        let mut packet = plain(n);
        let length = here.protect_rtp(&mut packet, PACKET).expect("room");
        (packet, length)
    });
    let mut sealed: Vec<_> = sealed.collect();
    let mut there = session(suite, 2, 1);
    for (packet, length) in sealed.iter_mut().take(count as usize) {
        let opened = there.unprotect_rtp(Instant::ZERO, &mut packet[..*length]);
        black_box(opened).expect("authentic");
    }
}
