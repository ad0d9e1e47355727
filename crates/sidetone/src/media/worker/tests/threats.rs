//! Hostile peers and forgers on a leg's own address: floods, bombs, replays, impossible numbers.

use std::sync::Arc;

use super::lab::{EVENTS, Lab, Peer, RATE, ROOM, ms, power, power_at, tone};
use crate::id::{LegId, PortId};
use crate::media::codec::Codec;
use crate::media::codec::cn::ComfortNoise;
use crate::media::codec::g722::G722;
use crate::media::codec::l16::L16;
use crate::media::command::{Command, Event};
use crate::media::frame::SampleRate;
use crate::media::jitter;
use crate::media::leg::LegReport;
use crate::media::leg::config::{
    Channel, LegSettings, LevelExtension, PayloadFormat, Redundancy, RedundancyFormat,
};
use crate::media::leg::update::LegUpdate;
use crate::rng::Rng;
use crate::rtp::packet::{HEADER_LEN, Header};
use crate::rtp::rtcp::{SenderInfo, Writer};
use crate::rtp::session::control::ControlTerms;
use crate::srtp::key::{Keying, MasterKey};
use crate::srtp::session::Session as Srtp;
use crate::srtp::suite::Suite;
use crate::time::Duration;

const LEG: LegId = LegId(1);
const PORT: PortId = PortId(1);
const RED: u8 = 98;

/// Leg 1 hears a tone of 440 Hz, leg 2 hears leg 1; leg 1's settings are changed so.
fn lab(change: impl FnOnce(&mut LegSettings)) -> Lab {
    let mut lab = Lab::room(vec![Peer::silent(2)]);
    let peer = Peer::new(1, tone(440.0, 4_000.0));
    let mut config = peer.config();
    change(&mut config.settings);
    lab.add_with(peer, config);
    lab.command(Command::Join {
        room: ROOM,
        leg: LEG,
    });
    lab.run(ms(500));
    lab
}

/// Everything that a leg can have: codecs of several clocks, copies, events, levels.
fn everything(settings: &mut LegSettings) {
    let noise = PayloadFormat::new(13, Arc::new(ComfortNoise));
    let wide = PayloadFormat::new(97, Arc::new(L16::new(SampleRate::HZ_16000)));
    let g722 = PayloadFormat::new(9, Arc::new(G722));
    settings.receive = vec![
        PayloadFormat::pcmu(),
        PayloadFormat::pcma(),
        g722,
        wide,
        noise,
    ];
    settings.telephone_event = Some(EVENTS);
    settings.redundancy = Some(RedundancyFormat {
        send_payload_type: Some(RED),
        receive_payload_types: [Some((RED, 8_000)), None],
        when: Redundancy::Always,
        generations: 2,
    });
    settings.audio_level = Some(LevelExtension {
        id: 3,
        send: true,
        voice: true,
    });
}

fn report(lab: &mut Lab) -> LegReport {
    let report = Box::default();
    lab.command(Command::QueryLeg { leg: LEG, report });
    let found = lab.take_events().into_iter().find_map(|event| match event {
        Event::LegReport { report, .. } => Some(*report),
        _ => None,
    });
    found.expect("an answer")
}

/// Leg 2 hears the tone and hardly anything else.
fn is_clean(lab: &Lab, from: usize) -> bool {
    let heard = lab.heard(PortId(2));
    let heard = &heard[from..heard.len() - 800];
    let tone = power_at(heard, 440.0);
    tone > 7e6 && power(heard) - tone < tone / 1_000.0
}

fn own(lab: &Lab) -> std::net::SocketAddr {
    lab.peers[1].address
}

#[test]
fn a_flood_of_sources_takes_no_place_and_is_not_heard() {
    let mut lab = lab(|_| {});
    let mut ssrc = 1;
    lab.run_with(ms(2_000), |lab| {
        let header = lab.peers[1].header;
        for n in 0..200 {
            ssrc += 1;
            // Three in sequence of each: what an unknown source would be taken after.
            let header = Header {
                ssrc: ssrc / 3,
                sequence: (ssrc % 3) as u16,
                timestamp: header.timestamp.wrapping_add(n),
                ..header
            };
            let mut packet = vec![0x80; HEADER_LEN + 160];
            header.emit(&mut packet);
            let own = own(lab);
            lab.datagram(PORT, own, &packet);
        }
    });
    let report = report(&mut lab);
    assert_eq!(report.receive.wrong_ssrc, 20_000);
    assert_eq!((report.receive.restarts, report.receive.lost), (0, 0));
    assert!(is_clean(&lab, 4_000));
}

#[test]
fn forged_goodbyes_end_and_move_nothing() {
    let mut lab = lab(|_| {});
    let ssrc = lab.peers[1].header.ssrc;
    lab.run_with(ms(2_000), |lab| {
        let control = lab.peers[1].control_address();
        for forged in [ssrc, ssrc + 1, 0, u32::MAX] {
            let mut bytes = [0; 128];
            let mut writer = Writer::new(&mut bytes);
            writer.receiver_report(forged, &[]).expect("room");
            writer.goodbye(forged, "hung up").expect("room");
            let length = writer.finish();
            let now = lab.now;
            lab.worker
                .handle_rtcp(now, PORT, control, &mut bytes[..length]);
            lab.collect();
        }
    });
    let report = report(&mut lab);
    assert_eq!((report.receive.restarts, report.receive.lost), (0, 0));
    assert!(is_clean(&lab, 4_000));
    assert!(lab.events.is_empty(), "nothing ends");
}

/// Control packets of every kind, from the peer's own address, do not make us send more of them.
#[test]
fn a_flood_of_control_packets_is_not_answered_by_one() {
    let control = |flood: bool| {
        let terms = ControlTerms {
            reduced_size: true,
            early_feedback: true,
            interval: Some(Duration::from_secs(1)),
            voip_metrics: true,
            reference_time: true,
        };
        let mut lab = lab(|settings| settings.control = terms);
        let mut rng = Rng::new(3);
        let mut received = 0;
        lab.run_with(ms(20_000), |lab| {
            let now = lab.now;
            let source = lab.peers[1].control_address();
            let media = 0xABC0_0001;
            for _ in 0..if flood { 20 } else { 0 } {
                let ssrc = rng.next_u32() % 1_000;
                let mut bytes = [0; 512];
                let mut writer = Writer::new(&mut bytes);
                let info = SenderInfo {
                    ntp: rng.next_u64(),
                    rtp_timestamp: rng.next_u32(),
                    packets: 1,
                    octets: 1,
                };
                writer.sender_report(ssrc, &info, &[]).expect("room");
                writer.cname(ssrc, "flood").expect("room");
                writer
                    .nack_entry(ssrc, media, rng.next_u32() as u16, u16::MAX)
                    .expect("room");
                writer.picture_loss(ssrc, media).expect("room");
                writer
                    .full_intra(ssrc, media, rng.next_u32() as u8)
                    .expect("room");
                if rng.below(2) == 0 {
                    writer.goodbye(ssrc, "").expect("room");
                }
                let length = writer.finish();
                received += length;
                lab.worker
                    .handle_rtcp(now, PORT, source, &mut bytes[..length]);
            }
            lab.collect();
        });
        let ours = |d: &&super::lab::Datagram| d.port == PORT && d.channel == Channel::Rtcp;
        let sent = lab.sent.iter().filter(ours).count();
        let bytes: usize = lab.sent.iter().filter(ours).map(|d| d.bytes.len()).sum();
        assert!(is_clean(&lab, 4_000));
        (sent, bytes, received)
    };
    let (quiet, ..) = control(false);
    let (flooded, sent, received) = control(true);
    assert!(flooded <= quiet + 3, "{flooded} packets for {quiet}");
    assert!(
        sent * 20 < received,
        "{sent} bytes sent, {received} received"
    );
}

/// Packets of redundant audio that announce more than they hold, hold themselves, or copy the same
/// again and again.
#[test]
fn bombs_of_redundant_audio_are_bounded() {
    let mut lab = lab(everything);
    let mut put = 0;
    let bombs: [Vec<u8>; 6] = [
        // Nothing but heads.
        vec![0x80; 1_400],
        // Copies of the greatest length that are not there.
        [0x80, 0, 0x03, 0xFF].repeat(3),
        // Itself inside itself.
        [vec![0x80 | RED, 0, 2, 0x80, RED], vec![RED; 320]].concat(),
        // Keys and pauses as copies.
        vec![
            0x80 | 101,
            0,
            0,
            4,
            0x80 | 13,
            0,
            0,
            1,
            0,
            5,
            10,
            0,
            160,
            40,
        ],
        // As far back as can be said.
        [vec![0x80, 0xFF, 0xFC, 0x10, 0], vec![9; 16]].concat(),
        vec![],
    ];
    lab.run_with(ms(2_000), |lab| {
        // Under numbers that are still to come, which the peer's own then are duplicates of.
        let header = lab.peers[1].header;
        for (n, bomb) in bombs.iter().cycle().take(60).enumerate() {
            let header = Header {
                payload_type: RED,
                sequence: header.sequence.wrapping_sub(1 + n as u16 % 3),
                timestamp: header.timestamp.wrapping_sub(160),
                ..header
            };
            let mut packet = vec![0; HEADER_LEN];
            header.emit(&mut packet);
            packet.extend(bomb);
            let own = own(lab);
            lab.datagram(PORT, own, &packet);
            put += 1;
        }
    });
    let report = report(&mut lab);
    assert_eq!(report.receive.duplicates, put, "numbers that were there");
    assert!(is_clean(&lab, 4_000));
    // And as the only packets of the stream.
    lab.peers[1].is_sending = false;
    let before = lab.rtp_from(PORT).count();
    lab.run_with(ms(2_000), |lab| {
        for bomb in &bombs {
            let header = &mut lab.peers[1].header;
            header.sequence = header.sequence.wrapping_add(1);
            header.timestamp = header.timestamp.wrapping_add(27);
            let mut packet = vec![0; HEADER_LEN];
            Header {
                payload_type: RED,
                ..*header
            }
            .emit(&mut packet);
            packet.extend(bomb);
            let own = own(lab);
            lab.datagram(PORT, own, &packet);
        }
    });
    let report = self::report(&mut lab);
    assert!(report.malformed >= 300, "{report:?}");
    assert_eq!(lab.rtp_from(PORT).count() - before, 100, "it sends on");
}

#[test]
fn header_extensions_that_lie_are_refused_or_passed_over() {
    let mut lab = lab(everything);
    let heads: [(&[u8], bool); 8] = [
        // Longer than the packet.
        (&[0xBE, 0xDE, 0xFF, 0xFF], false),
        (&[0x10, 0x00, 0x7F, 0xFF], false),
        // Nothing in it.
        (&[0xBE, 0xDE, 0, 0], true),
        // Identifier 15 ends it, with what would go beyond the end.
        (&[0xBE, 0xDE, 0, 1, 0xFF, 1, 2, 3], true),
        // An element beyond the extension.
        (&[0xBE, 0xDE, 0, 1, 0x3F, 1, 2, 3], true),
        (&[0x10, 0x00, 0, 1, 3, 255, 1, 2], true),
        // A level of no bytes, and one of two.
        (&[0x10, 0x0F, 0, 1, 3, 0, 0, 0], true),
        (&[0xBE, 0xDE, 0, 1, 0x31, 1, 2, 0], true),
    ];
    let mut n = 0;
    lab.peers[1].is_sending = false;
    lab.run_with(ms(2_000), |lab| {
        let (head, _) = heads[n % heads.len()];
        n += 1;
        let mut packet = lab.peers[1].speak();
        packet.splice(HEADER_LEN..HEADER_LEN, head.iter().copied());
        packet[0] |= 0x10;
        let own = own(lab);
        lab.datagram(PORT, own, &packet);
        // As many contributing sources as can be said, which are not there.
        lab.datagram(PORT, own, &[0x8F, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 7]);
    });
    let refused = (0..100).filter(|n| !heads[n % heads.len()].1).count() as u64;
    let report = report(&mut lab);
    assert_eq!(report.malformed, refused + 100);
    assert_eq!(report.peer_level, None, "no level was told");
    assert_eq!(report.receive.packets, 25 + 100 - refused);
}

#[test]
fn impossible_timestamps_neither_hold_up_nor_grow_anything() {
    for leap in [0x7FFF_FFFF, 0x8000_0000, 0xFFFF_0000, 16_000_000, 1 << 20] {
        let mut lab = lab(|_| {});
        // Each packet a leap from the one before.
        lab.run_with(ms(4_000), |lab| {
            let header = &mut lab.peers[1].header;
            header.timestamp = header.timestamp.wrapping_add(leap);
        });
        let waits = report(&mut lab).jitter;
        assert!(
            waits.delay <= ms(500) && waits.level <= ms(1_500),
            "{waits:?}"
        );
        lab.run(ms(2_000));
        let from = lab.heard(PortId(2)).len() - 8_000;
        assert!(is_clean(&lab, from), "{leap:#x}: it is heard again");
        let report = report(&mut lab);
        assert!(report.receive.jitter < ms(100), "{:?}", report.receive);
        assert!(report.jitter.target <= ms(400), "{:?}", report.jitter);
    }
}

#[test]
fn abused_telephone_events_tell_no_more_than_packets_came() {
    let mut lab = lab(|_| {});
    lab.take_events();
    let mut rng = Rng::new(11);
    let mut packets = 0;
    lab.run_with(ms(4_000), |lab| {
        for _ in 0..20 {
            let header = &mut lab.peers[1].header;
            header.sequence = header.sequence.wrapping_add(1);
            let header = Header {
                payload_type: 101,
                marker: rng.below(2) == 0,
                timestamp: rng.next_u32(),
                ..*header
            };
            let mut packet = vec![0; HEADER_LEN];
            header.emit(&mut packet);
            let body = rng.next_u32().to_be_bytes();
            packet.extend(&body[..rng.below(5) as usize]);
            let own = own(lab);
            lab.datagram(PORT, own, &packet);
            packets += 1;
        }
    });
    let (mut started, mut ended) = (0, 0);
    lab.run(ms(500));
    for event in lab.take_events() {
        match event {
            Event::DigitStarted { .. } => started += 1,
            Event::DigitEnded { duration, .. } => {
                ended += 1;
                assert!(duration < ms(60_000), "{duration:?}");
            }
            _ => {}
        }
    }
    assert_eq!(started, ended, "each key that goes down comes up");
    let digits = report(&mut lab).digits;
    assert_eq!(digits.digits, started);
    let all = digits.digits + digits.repeated + digits.ignored;
    assert!(all <= packets && digits.ignored > packets / 3, "{digits:?}");
    assert_eq!(lab.worker.stats().dropped_events, 0);
    let from = lab.heard(PortId(2)).len() - 2_000;
    assert!(is_clean(&lab, from));
}

/// Whatever the peer itself sends, under its own numbers and in every format.
#[test]
fn anything_from_the_peer_itself_is_survived() {
    for seed in 0..6 {
        let mut lab = lab(everything);
        lab.peers[1].is_sending = false;
        let mut rng = Rng::new(seed);
        let before = lab.rtp_from(PORT).count();
        lab.run_with(ms(4_000), |lab| {
            for _ in 0..rng.below(12) {
                let types = [0, 8, 9, 13, 97, RED, 101];
                let header = &mut lab.peers[1].header;
                header.payload_type = types[rng.below(7) as usize];
                header.sequence = header.sequence.wrapping_add(rng.below(4) as u16);
                header.timestamp = header.timestamp.wrapping_add(match rng.below(30) {
                    0 => rng.next_u32(),
                    _ => rng.below(400) as u32,
                });
                header.ssrc = header.ssrc.wrapping_add(u32::from(rng.below(300) == 0));
                let lengths = [rng.below(8), rng.below(400), rng.below(1_460)];
                let mut packet = vec![0; HEADER_LEN];
                header.emit(&mut packet);
                packet[0] |= rng.next_u32() as u8 & [0, 0, 0x30, 0x3F][rng.below(4) as usize];
                let length = lengths[rng.below(3) as usize];
                packet.extend((0..length).map(|_| rng.next_u32() as u8));
                let own = own(lab);
                lab.datagram(PORT, own, &packet);
            }
        });
        assert_eq!(lab.rtp_from(PORT).count() - before, 200, "seed {seed}");
        let jitter = report(&mut lab).jitter;
        let decided = jitter.played + jitter.late + jitter.discarded + jitter.duplicate;
        let refused = jitter.needless + jitter.overrun + jitter.refused + jitter.strange;
        let waiting = jitter.put.checked_sub(decided + refused);
        assert!(waiting.is_some_and(|n| n <= 64), "seed {seed}: {jitter:?}");
        assert!(jitter.delay <= ms(1_000), "seed {seed}: {jitter:?}");
        assert_eq!(lab.worker.stats().dropped_events, 0);
    }
}

fn keying(suite: Suite, local: u8, remote: u8) -> Keying {
    let key = |seed: u8| {
        let (key, salt) = ([seed; 32], [seed; 14]);
        MasterKey::new(suite, &key[..suite.key_len()], &salt[..suite.salt_len()]).expect("lengths")
    };
    Keying {
        local: key(local),
        remote: key(remote),
    }
}

fn seal(session: &mut Srtp, packet: &[u8]) -> Vec<u8> {
    let mut sealed = packet.to_vec();
    sealed.resize(packet.len() + 64, 0);
    let length = session.protect_rtp(&mut sealed, packet.len());
    sealed.truncate(length.expect("room"));
    sealed
}

/// Replays, wrong keys, changed bits and plain packets from the peer's own address, SRTP and SRTCP,
/// while the sequence number wraps.
#[test]
fn forged_and_replayed_packets_leave_a_protected_call_as_it_was() {
    for suite in [Suite::AesCm128HmacSha1_80, Suite::AeadAes128Gcm] {
        let mut lab = lab(|settings| settings.keying = Some(keying(suite, 1, 2)));
        let mut real = Srtp::new(keying(suite, 2, 1));
        lab.peers[1].is_sending = false;
        lab.peers[1].header.sequence = 0xFFFF - 60;
        let mut rng = Rng::new(4);
        let mut old = Vec::new();
        let start = lab.heard(PortId(2)).len();
        let mut forged = 0;
        lab.run_with(ms(3_000), |lab| {
            let plain = lab.peers[1].speak();
            let sealed = seal(&mut real, &plain);
            let (own, control) = (own(lab), lab.peers[1].control_address());
            lab.datagram(PORT, own, &sealed);
            let mut changed = sealed.clone();
            for n in 0..30 {
                let at = rng.below(sealed.len() as u64) as usize;
                changed[at] ^= 1 << rng.below(8);
                let packet = match n % 4 {
                    0 => old.get(rng.below(old.len().max(1) as u64) as usize),
                    1 => Some(&changed),
                    _ => None,
                };
                let packet = packet.cloned().unwrap_or_else(|| match n % 4 {
                    2 => seal(&mut Srtp::new(keying(suite, 7, 7)), &plain),
                    _ => plain.clone(),
                });
                lab.datagram(PORT, own, &packet);
                let mut packet = packet;
                packet[1] = 200;
                let now = lab.now;
                lab.worker.handle_rtcp(now, PORT, control, &mut packet);
                forged += 2;
            }
            old.push(sealed);
        });
        let report = report(&mut lab);
        let srtp = report.srtp.expect("protected");
        assert_eq!(srtp.accepted, 150, "{suite:?}: {srtp:?}");
        let refused = srtp.auth_failed + srtp.malformed + srtp.replayed;
        assert_eq!(refused, forged + 25, "{suite:?}: {srtp:?}");
        assert!(srtp.replayed > 500, "{suite:?}: {srtp:?}");
        assert_eq!((report.receive.packets, report.receive.lost), (150, 0));
        assert!(is_clean(&lab, start + 1_600), "{suite:?}");
        assert!(lab.events.is_empty(), "{suite:?}: nothing is told");
    }
}

/// A key under which 2⁴⁸ packets would be sent is refused before a second wrap of its counter; here a
/// short life stands for it: the call stays up, and a new key brings it back.
#[test]
fn an_expired_key_ends_the_sound_and_not_the_call() {
    let suite = Suite::AesCm128HmacSha1_80;
    let mut keys = keying(suite, 1, 2);
    keys.local = keys.local.with_lifetime(40).expect("positive");
    let mut lab = lab(|settings| settings.keying = Some(keys));
    lab.run(ms(1_000));
    let sent = lab.rtp_from(PORT).count();
    assert_eq!(sent, 40);
    let srtp = report(&mut lab).srtp.expect("protected");
    assert!(srtp.unsent > 20, "{srtp:?}");
    assert!(lab.events.is_empty());
    let mut settings = lab.peers[1].settings();
    settings.keying = Some(keying(suite, 3, 2));
    let update = LegUpdate::new(&settings, RATE, jitter::Config::default());
    let update = Box::new(update.expect("possible settings"));
    lab.command(Command::ConfigureLeg { leg: LEG, update });
    lab.run(ms(1_000));
    assert_eq!(lab.rtp_from(PORT).count(), 90);
}

/// The codecs of this crate take any payload, as the leg's own do.
#[test]
fn any_payload_of_any_codec_gives_samples_or_an_error() {
    let mut rng = Rng::new(2);
    let mut settings = LegSettings::new(PayloadFormat::pcmu());
    everything(&mut settings);
    for format in settings.receive {
        let codec: &dyn Codec = &*format.codec;
        let mut decoder = codec.decoder(&format.terms).expect("a decoder");
        let mut out = vec![0; 5_760];
        for length in (0..64).chain([159, 160, 161, 320, 1_279, 1_499, 1_500]) {
            let payload: Vec<u8> = (0..length).map(|_| rng.next_u32() as u8).collect();
            match decoder.samples_in(&payload) {
                Ok(samples) => assert_eq!(decoder.decode(&payload, &mut out), Ok(samples)),
                Err(error) => assert_eq!(decoder.decode(&payload, &mut out), Err(error)),
            }
            decoder.conceal(&mut out[..length]);
            decoder.recover(&payload, &mut out[..length]);
            decoder.begins_silence(&payload);
        }
    }
}
