//! Tests: both halves together, losses, silence, parameters, and payloads of every kind.

use std::net::SocketAddr;
use std::sync::Arc;

use sidetone::id::{LegId, PlayId, PortId, RoomId};
use sidetone::media::codec::Codec;
use sidetone::media::codec::g711::Law;
use sidetone::media::command::{Command, PlayOn};
use sidetone::media::leg::Leg;
use sidetone::media::leg::config::{Channel, LegConfig, LegSettings, MediaAddress, PayloadFormat};
use sidetone::media::mixer::{Capacity, Room};
use sidetone::media::player::{Player, Repeat};
use sidetone::media::wav::Clip;
use sidetone::media::worker::{Worker, WorkerConfig};
use sidetone::rng::Rng;
use sidetone::rtp::packet::{HEADER_LEN, Header, View};
use sidetone::time::{ClockAnchor, Instant};

use super::*;

const RATES: [SampleRate; 3] = [
    SampleRate::HZ_8000,
    SampleRate::HZ_16000,
    SampleRate::HZ_48000,
];

fn terms(peer: &str, rate: SampleRate) -> Terms {
    Terms {
        peer: peer.to_owned(),
        ..Terms::new(rate)
    }
}

fn tone(rate: SampleRate, hz: f32, from: usize, count: usize) -> Vec<i16> {
    let step = hz * std::f32::consts::TAU / rate.hz() as f32;
    let at = |n: usize| ((n as f32 * step).sin() * 8_000.0) as i16;
    (from..from + count).map(at).collect()
}

/// The share of a signal's power that a tone of `hz` explains.
fn share_of(samples: &[i16], rate: SampleRate, hz: f64) -> f64 {
    let step = hz * std::f64::consts::TAU / f64::from(rate.hz());
    let (mut re, mut im, mut power) = (0.0, 0.0, 0.0);
    for (n, &sample) in samples.iter().enumerate() {
        let sample = f64::from(sample);
        re += sample * (n as f64 * step).cos();
        im += sample * (n as f64 * step).sin();
        power += sample * sample;
    }
    2.0 * (re * re + im * im) / samples.len() as f64 / power.max(1.0)
}

struct Pair {
    encoder: Box<dyn Encoder>,
    decoder: Box<dyn Decoder>,
}

impl Pair {
    fn new(opus: Opus, peer: &str, rate: SampleRate) -> Self {
        Self {
            encoder: opus.encoder(&terms(peer, rate)).unwrap(),
            decoder: opus.decoder(&terms(peer, rate)).unwrap(),
        }
    }

    fn packet(&mut self, samples: &[i16]) -> Vec<u8> {
        let mut out = [0; 1_500];
        let length = self.encoder.encode(samples, &mut out).unwrap();
        out[..length].to_vec()
    }

    fn decode(&mut self, packet: &[u8]) -> Vec<i16> {
        let mut out = vec![0; self.decoder.samples_in(packet).unwrap()];
        assert_eq!(self.decoder.decode(packet, &mut out), Ok(out.len()));
        out
    }
}

#[test]
fn sound_survives_at_every_rate_and_packet_time() {
    for rate in RATES {
        let hz = (f64::from(rate.hz()) / 2.0 * 0.7).min(7_000.0);
        for millis in [10, 20, 40, 60] {
            let opus = Opus::new().bit_rate(64_000);
            let mut pair = Pair::new(opus, "", rate);
            let count = rate.hz() as usize / 1_000 * millis;
            let mut heard = Vec::new();
            for n in 0..1_000 / millis {
                let packet = pair.packet(&tone(rate, hz as f32, n * count, count));
                heard.extend(pair.decode(&packet));
            }
            let share = share_of(&heard[heard.len() / 2..], rate, hz);
            assert!(share > 0.9, "{rate:?}, {millis} ms: {share}");
        }
    }
}

#[test]
fn lengths_that_no_frame_has_are_refused() {
    let mut pair = Pair::new(Opus::new(), "", SampleRate::HZ_48000);
    let mut out = [0; 1_500];
    for count in [0, 1, 959, 1_440, 2_400, 9_600] {
        let refused = pair.encoder.encode(&vec![0; count], &mut out);
        assert_eq!(refused, Err(CodecError::SampleCount(count)));
    }
    let refused = pair.encoder.encode(&[0; 960], &mut []);
    assert!(matches!(refused, Err(CodecError::OutputTooSmall { .. })));
    for (wish, packet_time) in [(10, 10), (20, 20), (30, 20), (40, 40), (50, 40), (60, 60)] {
        let wish = Duration::from_millis(wish);
        assert_eq!(
            Opus::new().packet_time(wish),
            Duration::from_millis(packet_time)
        );
    }
}

#[test]
fn the_copy_in_the_next_packet_takes_the_place_of_a_lost_one() {
    let rate = SampleRate::HZ_16000;
    let mut with = Pair::new(Opus::new().decoder_complexity(0), "useinbandfec=1", rate);
    let mut without = Pair::new(Opus::new().decoder_complexity(0), "", rate);
    let lossy = Conditions {
        loss_percent: 20,
        rate_percent: 100,
    };
    let mut recovered = 0;
    for pair in [&mut with, &mut without] {
        pair.encoder.adapt(lossy);
        // A sweep: what concealment repeats is wrong, what is recovered is right.
        let packets: Vec<_> = (0..50)
            .map(|n| pair.packet(&tone(rate, 300.0 + 20.0 * n as f32, n * 320, 320)))
            .collect();
        for n in 1..packets.len() {
            let mut out = [0; 320];
            let mut decoder = Opus::new().decoder(&terms("", rate)).unwrap();
            for packet in &packets[..n - 1] {
                decoder.decode(packet, &mut [0; 320]).unwrap();
            }
            recovered += usize::from(decoder.recover(&packets[n], &mut out));
        }
        if pair.packet(&[0; 320]).is_empty() {
            break;
        }
    }
    assert!((30..=50).contains(&recovered), "{recovered} of 49");
}

#[test]
fn losses_of_any_length_are_made_up() {
    for complexity in [0, 5] {
        for rate in RATES {
            let opus = Opus::new().decoder_complexity(complexity);
            let mut pair = Pair::new(opus, "", rate);
            let count = rate.frame_samples();
            for n in 0..25 {
                let packet = pair.packet(&tone(rate, 440.0, n * count, count));
                pair.decode(&packet);
            }
            for length in [1, 7, count / 2, count, count - 1, count * 9 + 3] {
                let mut out = vec![0; length];
                assert!(pair.decoder.conceal(&mut out), "{length} at {rate:?}");
            }
            let packet = pair.packet(&tone(rate, 440.0, 0, count));
            pair.decode(&packet);
        }
    }
}

#[test]
fn what_follows_in_pieces_is_what_comes_at_once() {
    let rate = SampleRate::HZ_48000;
    let mut heard = Vec::new();
    for pieces in [vec![960], vec![7, 113, 240, 600]] {
        let mut pair = Pair::new(Opus::new().decoder_complexity(0), "", rate);
        for n in 0..25 {
            let packet = pair.packet(&tone(rate, 440.0, n * 960, 960));
            pair.decode(&packet);
        }
        let mut all = Vec::new();
        for length in pieces {
            let mut out = vec![0; length];
            assert!(pair.decoder.conceal(&mut out));
            all.extend(out);
        }
        heard.push(all.len());
        assert!(all.iter().any(|&s| s.unsigned_abs() > 1_000));
    }
    assert_eq!(heard, [960, 960]);
}

#[test]
fn silence_is_left_out_where_the_peer_wants_that() {
    let rate = SampleRate::HZ_16000;
    let mut pair = Pair::new(Opus::new(), "usedtx=1", rate);
    let mut sent = 0;
    let mut told = 0;
    for _ in 0..100 {
        let packet = pair.packet(&[0; 320]);
        sent += usize::from(!packet.is_empty());
        told += usize::from(!packet.is_empty() && pair.decoder.begins_silence(&packet));
    }
    assert!(sent < 40, "{sent} packets in two seconds of silence");
    assert!(told > 0, "the pause is announced");
    let mut pair = Pair::new(Opus::new(), "", rate);
    assert!((0..100).all(|_| !pair.packet(&[0; 320]).is_empty()));
}

#[test]
fn what_the_peer_asks_for_is_what_it_gets() {
    let rate = SampleRate::HZ_48000;
    let mut noise = 1_u32;
    let mut speech = |count| -> Vec<i16> {
        (0..count)
            .map(|_| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (noise >> 18) as i16 - 8_192
            })
            .collect()
    };
    let mut bytes = |peer| {
        let mut pair = Pair::new(Opus::new().bit_rate(40_000), peer, rate);
        let lengths: Vec<_> = (0..100).map(|_| pair.packet(&speech(960)).len()).collect();
        lengths
    };
    let sum = |lengths: &[usize]| lengths.iter().sum::<usize>();
    let free = bytes("");
    let bounded = bytes("maxaveragebitrate=12000");
    assert!(sum(&bounded) * 2 < sum(&free));
    let constant = bytes("cbr=1");
    assert!(constant[10..].iter().all(|l| *l == constant[10]));

    // Nothing above 4 kHz for a peer that plays 8 kHz.
    let mut pair = Pair::new(Opus::new().bit_rate(64_000), "maxplaybackrate=8000", rate);
    let mut heard = Vec::new();
    for n in 0..50 {
        let packet = pair.packet(&tone(rate, 7_000.0, n * 960, 960));
        heard.extend(pair.decode(&packet));
    }
    assert!(heard[24_000..].iter().all(|s| s.unsigned_abs() < 800));
}

#[test]
fn fewer_bits_are_sent_where_there_is_no_room() {
    let rate = SampleRate::HZ_16000;
    let mut pair = Pair::new(Opus::new().bit_rate(40_000), "", rate);
    let mut bytes = |share| {
        pair.encoder.adapt(Conditions {
            loss_percent: 0,
            rate_percent: share,
        });
        let sizes = (0..50).map(|n| pair.packet(&tone(rate, 500.0, n * 320, 320)).len());
        sizes.skip(10).sum::<usize>()
    };
    let (all, half) = (bytes(100), bytes(40));
    assert!(half * 3 < all * 2, "{half} of {all}");
}

#[test]
fn deep_redundancy_reaches_back() {
    let rate = SampleRate::HZ_16000;
    let mut encoder = libopus::Encoder::new(rate, Channels::Mono).unwrap();
    for control in [
        EncoderControl::BitRate(64_000),
        EncoderControl::PacketLoss(30),
        EncoderControl::Dred(50),
    ] {
        encoder.set(control).unwrap();
    }
    let mut packets = Vec::new();
    for n in 0..100 {
        let mut out = [0; 1_275];
        let length = encoder
            .encode(&tone(rate, 300.0 + 3.0 * n as f32, n * 320, 320), &mut out)
            .unwrap();
        packets.push(out[..length].to_vec());
    }
    let opus = Opus::new().dred(true);
    let mut decoder = opus.decoder(&terms("", rate)).unwrap();
    let mut out = [0; 320];
    for packet in &packets[..60] {
        decoder.decode(packet, &mut out).unwrap();
    }
    assert!(decoder.recover(&packets[61], &mut out));
    assert!(out.iter().any(|&s| s.unsigned_abs() > 500));
    assert_eq!(decoder.decode(&packets[61], &mut out), Ok(320));
    let mut plain = Opus::new().decoder(&terms("", rate)).unwrap();
    assert!(!plain.recover(&packets[61], &mut out));
}

#[test]
fn any_payload_gives_samples_or_an_error() {
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for rate in RATES {
        let mut decoder = Opus::new()
            .decoder_complexity(0)
            .decoder(&terms("", rate))
            .unwrap();
        let mut out = vec![0; 5_760];
        for _ in 0..3_000 {
            let length = (next() % 300) as usize;
            let payload: Vec<u8> = (0..length).map(|_| next() as u8).collect();
            let promised = decoder.samples_in(&payload);
            let made = decoder.decode(&payload, &mut out);
            match promised {
                Ok(samples) => assert!(made == Ok(samples) || made == Err(CodecError::Malformed)),
                Err(error) => assert_eq!(made, Err(error)),
            }
            let lost = (next() % 1_000) as usize;
            decoder.recover(&payload, &mut out[..lost]);
            decoder.begins_silence(&payload);
        }
    }
}

#[test]
fn our_wishes_are_told() {
    let opus = Opus::new()
        .sample_rate(SampleRate::HZ_16000)
        .dtx(true)
        .constant_bit_rate(true);
    assert_eq!(
        opus.fmtp(),
        "maxplaybackrate=16000;sprop-maxcapturerate=16000;cbr=1;useinbandfec=1;usedtx=1"
    );
    assert_eq!(opus.answer("stereo=1"), Some(opus.fmtp()));
}

#[test]
fn stereo_is_sent_to_who_asks_for_it_and_taken_where_we_ask() {
    let rate = SampleRate::HZ_48000;
    let (mono, stereo) = (Opus::new(), Opus::new().stereo(true));
    assert_eq!(stereo.fmtp(), "stereo=1;sprop-stereo=1;useinbandfec=1");
    let asked = stereo.receive_bit_rate(40_000).fmtp();
    assert_eq!(
        asked,
        "maxaveragebitrate=40000;stereo=1;sprop-stereo=1;useinbandfec=1"
    );
    // Who announces stereo need not want any; who does not announce it may send it all the same.
    for (opus, peer, sends, takes) in [
        (stereo, "stereo=1", 2, 2),
        (stereo, "sprop-stereo=1", 1, 2),
        (stereo, "", 1, 2),
        (mono, "stereo=1;sprop-stereo=1", 1, 1),
    ] {
        let pair = Pair::new(opus, peer, rate);
        let made = (pair.encoder.channels(), pair.decoder.channels());
        assert_eq!(made, (sends, takes), "{peer:?}");
    }
}

/// A tone of its own in each channel, left and right in turn.
fn two_tones(from: usize, count: usize) -> Vec<i16> {
    let rate = SampleRate::HZ_48000;
    let left = tone(rate, 500.0, from, count);
    let right = tone(rate, 1_800.0, from, count);
    left.into_iter()
        .zip(right)
        .flat_map(|(l, r)| [l, r])
        .collect()
}

fn channel(both: &[i16], which: usize) -> Vec<i16> {
    both.iter().skip(which).step_by(2).copied().collect()
}

#[test]
fn left_and_right_arrive_apart_also_over_a_loss() {
    let rate = SampleRate::HZ_48000;
    for bit_rate in [None, Some(24_000)] {
        let opus = Opus::new().stereo(true);
        let opus = bit_rate.map_or(opus, |bits| opus.bit_rate(bits));
        let mut pair = Pair::new(opus, "stereo=1", rate);
        let (mut heard, mut bytes) = (Vec::new(), 0);
        for n in 0..100 {
            let packet = pair.packet(&two_tones(n * 960, 960));
            bytes += packet.len();
            let mut out = vec![0; 2 * 960];
            if n % 20 == 7 {
                // In pieces that are no multiple of what the library makes at once.
                for piece in out.chunks_mut(2 * 77) {
                    assert!(pair.decoder.conceal(piece));
                }
            } else {
                assert_eq!(pair.decoder.samples_in(&packet), Ok(960));
                assert_eq!(pair.decoder.decode(&packet, &mut out), Ok(960));
            }
            heard.extend(out);
        }
        let rate_sent = bytes * 8 / 2;
        let wanted = bit_rate.unwrap_or(64_000) as usize;
        assert!(rate_sent.abs_diff(wanted) < wanted / 4, "{rate_sent} bit/s");
        let heard = &heard[20_000..];
        for (which, own, other) in [(0, 500.0, 1_800.0), (1, 1_800.0, 500.0)] {
            let sound = channel(heard, which);
            let (own, other) = (share_of(&sound, rate, own), share_of(&sound, rate, other));
            assert!(own > 0.8 && other < 0.05, "{which}: {own}, {other}");
        }
        let mut short = [0; 1_919];
        let packet = pair.packet(&two_tones(0, 960));
        let refused = pair.decoder.decode(&packet, &mut short);
        assert_eq!(refused, Err(CodecError::OutputTooSmall { needed: 1_920 }));
    }
}

#[test]
fn a_copy_in_the_next_packet_mends_a_stereo_stream() {
    let rate = SampleRate::HZ_48000;
    let opus = Opus::new().stereo(true).decoder_complexity(0);
    let mut pair = Pair::new(opus, "stereo=1;useinbandfec=1", rate);
    pair.encoder.adapt(Conditions {
        loss_percent: 25,
        rate_percent: 60,
    });
    let (mut recovered, mut copies) = (Vec::new(), 0);
    for n in 0..60 {
        let packet = pair.packet(&two_tones(n * 960, 960));
        if pair.decoder.carries_last(&packet) && n % 3 == 0 && n > 6 {
            let mut out = vec![0; 2 * 960];
            copies += 1;
            assert!(pair.decoder.recover(&packet, &mut out));
            recovered.extend(out);
        }
        if n % 3 != 2 {
            let mut out = vec![0; 2 * 960];
            pair.decoder.decode(&packet, &mut out).unwrap();
        }
    }
    assert!(copies > 5, "{copies} copies");
    // A copy is coarser than its original, and narrower: both tones are there, hardly apart.
    for which in [0, 1] {
        let sound = channel(&recovered, which);
        let shares = [500.0, 1_800.0].map(|hz| share_of(&sound[..960], rate, hz));
        assert!(shares[0] + shares[1] > 0.6, "{which}: {shares:?}");
    }
}

#[test]
fn an_encoder_goes_on_where_another_one_stands() {
    let rate = SampleRate::HZ_48000;
    let encoder = |opus: Opus| opus.encoder(&terms("", rate)).unwrap();
    let (mut first, mut second) = (encoder(Opus::new()), encoder(Opus::new()));
    let (mut one, mut two) = ([0; 1_275], [0; 1_275]);
    for n in 0..60 {
        first
            .encode(&tone(rate, 700.0, n * 960, 960), &mut one)
            .unwrap();
        second
            .encode(&tone(rate, 310.0, n * 960, 960), &mut two)
            .unwrap();
    }
    assert!(second.take_over(&*first));
    for n in 60..90 {
        let samples = tone(rate, 700.0, n * 960, 960);
        let lengths = [
            first.encode(&samples, &mut one).unwrap(),
            second.encode(&samples, &mut two).unwrap(),
        ];
        assert_eq!(one[..lengths[0]], two[..lengths[1]], "packet {n}");
    }
    drop(first);
    assert!(second.encode(&[0; 960], &mut two).is_ok());
    let stereo = Opus::new().stereo(true);
    for other in [
        stereo.encoder(&terms("stereo=1", rate)).unwrap(),
        encoder(Opus::new().bit_rate(9_000)),
        Law::A.encoder(&terms("", rate)).unwrap(),
    ] {
        assert!(!second.take_over(&*other), "{other:?}");
    }
}

/// Two parties with Opus, one of whom says a tone, and what the other one hears.
struct Bridge {
    worker: Worker,
    now: Instant,
    speaker: Pair,
    header: Header,
    said: usize,
    sent: Vec<Vec<u8>>,
    heard: Vec<i16>,
    listener: Pair,
}

impl Bridge {
    fn new() -> Self {
        let rate = SampleRate::HZ_48000;
        let mut worker = Worker::new(WorkerConfig::default());
        let (now, room) = (Instant::ZERO, RoomId(1));
        let mixer = Box::new(Room::new(rate, Capacity::default()));
        worker.handle_command(now, Command::AddRoom { room, mixer });
        for number in [1, 2] {
            let format = PayloadFormat::new(111, Arc::new(Opus::new()));
            let mut settings = LegSettings::new(format);
            settings.remote = Some(MediaAddress {
                rtp: Self::address(number),
                rtcp: None,
            });
            let (leg, port) = (LegId(number.into()), PortId(number.into()));
            let mut config = LegConfig::new(leg, port, settings, ClockAnchor::default());
            config.rate = rate;
            let made = Leg::new(now, config, Rng::new(number.into())).unwrap();
            worker.handle_command(now, Command::AddLeg(made));
            worker.handle_command(now, Command::Join { room, leg });
        }
        Self {
            worker,
            now,
            speaker: Pair::new(Opus::new(), "", rate),
            header: Header {
                payload_type: 111,
                ssrc: 77,
                ..Header::default()
            },
            said: 0,
            sent: Vec::new(),
            heard: Vec::new(),
            listener: Pair::new(Opus::new(), "", rate),
        }
    }

    fn address(number: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], 4_000 + 2 * number))
    }

    fn run(&mut self, ticks: usize) {
        for _ in 0..ticks {
            self.now += Duration::from_millis(20);
            self.worker.handle_timeout(self.now);
            self.take();
            let samples = tone(SampleRate::HZ_48000, 440.0, self.said, 960);
            self.said += 960;
            let mut packet = vec![0; HEADER_LEN + 1_275];
            self.header.emit(&mut packet);
            self.header.sequence = self.header.sequence.wrapping_add(1);
            self.header.timestamp = self.header.timestamp.wrapping_add(960);
            let room = &mut packet[HEADER_LEN..];
            let length = self.speaker.encoder.encode(&samples, room).unwrap();
            packet.truncate(HEADER_LEN + length);
            self.sent.push(packet[HEADER_LEN..].to_vec());
            let at = self.now + Duration::from_millis(7);
            self.worker
                .handle_rtp(at, PortId(1), Self::address(1), &mut packet);
            self.take();
        }
    }

    /// What is sent to the listener is heard.
    fn take(&mut self) {
        while let Some(transmit) = self.worker.poll_transmit() {
            if transmit.port != PortId(2) || transmit.channel != Channel::Rtp {
                continue;
            }
            let view = View::parse(transmit.bytes).unwrap();
            let mut samples = [0; 960];
            let decoded = self.listener.decoder.decode(view.payload(), &mut samples);
            assert_eq!(decoded, Ok(960));
            self.heard.extend_from_slice(&samples);
        }
    }
}

#[test]
fn a_bridge_is_passed_on_without_decoding_and_decoded_while_a_prompt_plays() {
    let mut bridge = Bridge::new();
    bridge.run(100);
    let stats = bridge.worker.stats();
    assert!((99..=100).contains(&stats.passed_packets), "{stats:?}");
    // A whisper, for which packets are decoded and encoded anew.
    let rate = SampleRate::HZ_48000;
    let clip = Clip::from_samples(rate, vec![4; 48_000]);
    let player = Box::new(Player::clip(clip, rate, Repeat::Once).unwrap());
    let (play, on) = (PlayId(1), PlayOn::Leg(LegId(2)));
    bridge
        .worker
        .handle_command(bridge.now, Command::Play { play, on, player });
    bridge.run(45);
    let during = bridge.worker.stats().passed_packets;
    assert_eq!(during, stats.passed_packets, "decoded");
    bridge.run(105);
    let after = bridge.worker.stats().passed_packets;
    assert!(after > during + 60, "{}", after - during);
    // All the tone, all the time, whoever has encoded it last.
    let heard = &bridge.heard[48_000 / 5..];
    assert!(heard.len() > 48_000 * 4);
    let loudness = |piece: &[i16]| -> f64 {
        let sum: f64 = piece.iter().map(|&s| f64::from(s).powi(2)).sum();
        sum / piece.len() as f64
    };
    let usual = loudness(&heard[..48_000]);
    let mut worst = (9.0_f64, 9.0_f64);
    for piece in heard.chunks_exact(4_800) {
        let quietest = piece
            .chunks_exact(480)
            .map(loudness)
            .fold(f64::MAX, f64::min);
        worst.0 = worst.0.min(share_of(piece, rate, 440.0));
        worst.1 = worst.1.min(quietest / usual);
    }
    assert!(worst.0 > 0.5 && worst.1 > 0.1, "{worst:?}");
}
