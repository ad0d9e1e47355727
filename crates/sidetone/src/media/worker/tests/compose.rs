//! Features together: what changes, holds and formats do to figures, levels, digits and copies.

use super::lab::{EVENTS, Lab, Peer, RATE, ROOM, ms, power_at, tone};
use crate::id::{LegId, PortId};
use crate::media::codec::cn::ComfortNoise;
use crate::media::codec::g711::encode_mu;
use crate::media::codec::l16::L16;
use crate::media::command::{Command, Event};
use crate::media::frame::SampleRate;
use crate::media::jitter;
use crate::media::leg::LegReport;
use crate::media::leg::config::{
    Channel, Direction, LegSettings, LevelExtension, PayloadFormat, Redundancy, RedundancyFormat,
    TelephoneEventFormat,
};
use crate::media::leg::digits::DigitPath;
use crate::media::leg::update::LegUpdate;
use crate::media::quality::cause::Cause;
use crate::rtp::event::TelephoneEvent;
use crate::rtp::extension::{AudioLevel, Elements};
use crate::rtp::packet::HEADER_LEN;
use crate::rtp::red::{self, Block, Blocks};
use crate::rtp::rtcp::xr::Block as XrBlock;
use crate::rtp::rtcp::{Compound, Packet};
use crate::rtp::session::control::ControlTerms;
use crate::srtp::key::{Keying, MasterKey};
use crate::srtp::session::Session as Srtp;
use crate::srtp::suite::Suite;
use std::sync::Arc;

const LEG: LegId = LegId(1);
const PORT: PortId = PortId(1);

fn configure(lab: &mut Lab, settings: &LegSettings) {
    let update = LegUpdate::new(settings, RATE, jitter::Config::default());
    let update = Box::new(update.expect("possible settings"));
    lab.command(Command::ConfigureLeg { leg: LEG, update });
}

fn report(lab: &mut Lab) -> LegReport {
    let report = Box::default();
    lab.command(Command::QueryLeg { leg: LEG, report });
    let found = lab.events.iter().rev().find_map(|event| match event {
        Event::LegReport { report, .. } => Some(**report),
        _ => None,
    });
    found.expect("an answer")
}

/// A lab of one leg with these settings, whose peer sends µ-law.
fn lab(change: impl FnOnce(&mut LegSettings)) -> Lab {
    lab_of(Peer::new(1, tone(440.0, 8_000.0)), change)
}

fn lab_of(peer: Peer, change: impl FnOnce(&mut LegSettings)) -> Lab {
    let mut lab = Lab::room(vec![]);
    let mut config = peer.config();
    change(&mut config.settings);
    lab.add_with(peer, config);
    lab.command(Command::Join {
        room: ROOM,
        leg: LEG,
    });
    lab
}

fn wide() -> PayloadFormat {
    PayloadFormat::new(97, Arc::new(L16::new(SampleRate::HZ_16000)))
}

const RED: RedundancyFormat = RedundancyFormat {
    send_payload_type: Some(98),
    receive_payload_types: [Some((98, 8_000)), None],
    when: Redundancy::Always,
    generations: 2,
};

/// A packet of µ-law under payload type 98 with these copies of what came before.
fn redundant(packet: &[u8], copies: &[Block<'_>]) -> Vec<u8> {
    let primary = Block {
        payload_type: 0,
        offset: 0,
        data: &packet[HEADER_LEN..],
    };
    let mut out = vec![0; 1_400];
    out[..HEADER_LEN].copy_from_slice(&packet[..HEADER_LEN]);
    out[1] = out[1] & 0x80 | 98;
    let length = red::emit(copies, primary, &mut out[HEADER_LEN..]).expect("room");
    out.truncate(HEADER_LEN + length);
    out
}

/// The peer may send the second format, whose clock is another.
#[test]
fn a_format_of_another_clock_is_neither_jitter_nor_drift() {
    let mut lab = lab(|settings| settings.receive = vec![wide(), PayloadFormat::pcmu()]);
    lab.run(ms(40_000));
    let report = report(&mut lab);
    assert!(report.receive.jitter < ms(1), "{:?}", report.receive);
    assert_eq!(report.receive.jitter_ticks, 0);
    let causes = report.quality.receive.past_causes;
    assert!(!causes.contains(Cause::Drift), "{causes}");
}

#[test]
fn what_was_counted_outlives_a_change_of_codecs() {
    let mut lab = lab(|_| {});
    lab.run(ms(4_000));
    let before = report(&mut lab);
    let settings = LegSettings {
        receive: vec![PayloadFormat::pcma(), PayloadFormat::pcmu()],
        ..lab.peers[0].settings()
    };
    configure(&mut lab, &settings);
    lab.run(ms(1_000));
    let after = report(&mut lab);
    assert_eq!(after.receive.packets, after.jitter.put);
    assert!(after.jitter.played > before.jitter.played + 40);
    assert!(after.concealment.played > before.concealment.played + ms(900));
    let decided = after.jitter.played + after.jitter.discarded;
    assert!(after.jitter.put - decided <= 5, "{:?}", after.jitter);
}

#[test]
fn what_comes_too_late_counts_as_discarded_in_redundant_packets_too() {
    for wrapped in [false, true] {
        let mut lab = lab_of(Peer::silent(1), |settings| settings.redundancy = Some(RED));
        let mut delayed = Vec::new();
        for n in 0..200 {
            lab.run(ms(20));
            let packet = lab.peers[0].speak();
            let packet = if wrapped {
                redundant(&packet, &[])
            } else {
                packet
            };
            // Every twentieth comes a second late.
            if n % 20 == 10 {
                delayed.push((n + 50, packet));
                continue;
            }
            let source = lab.peers[0].address;
            lab.datagram(PORT, source, &packet);
            if let Some(at) = delayed.iter().position(|(due, _)| *due == n) {
                let (_, packet) = delayed.remove(at);
                lab.datagram(PORT, source, &packet);
            }
        }
        let report = report(&mut lab);
        assert!(report.jitter.late >= 6, "{wrapped}: {:?}", report.jitter);
        let late = report.jitter.late;
        assert_eq!(report.receive.discarded, late, "{wrapped}");
    }
}

/// A copy of something unknown under the number before it does not stand for that packet.
#[test]
fn copies_that_nothing_decodes_leave_their_originals_a_place() {
    let mut lab = lab_of(Peer::silent(1), |settings| settings.redundancy = Some(RED));
    let unknown = [Block {
        payload_type: 77,
        offset: 160,
        data: &[1; 20],
    }];
    for _ in 0..100 {
        lab.run(ms(40));
        let first = lab.peers[0].speak();
        let second = lab.peers[0].speak();
        // The second overtakes the first.
        let source = lab.peers[0].address;
        lab.datagram(PORT, source, &redundant(&second, &unknown));
        lab.datagram(PORT, source, &first);
    }
    let report = report(&mut lab);
    assert_eq!((report.jitter.refused, report.jitter.duplicate), (0, 0));
    assert_eq!(report.jitter.lost, 0, "{:?}", report.jitter);
}

#[test]
fn pauses_do_not_change_how_a_codec_is_rated() {
    let noise = PayloadFormat::new(13, Arc::new(ComfortNoise));
    let mut lab = lab(|settings| settings.receive = vec![PayloadFormat::pcmu(), noise]);
    lab.run_with(ms(4_000), |lab| {
        // One in ten is lost: the rating is not the best.
        lab.peers[0].is_sending = lab.peers[0].spoken / 160 % 10 != 9;
        if !lab.peers[0].is_sending {
            lab.peers[0].speak();
        }
    });
    let rating = |lab: &mut Lab| {
        report(lab)
            .quality
            .receive
            .call
            .rating
            .expect("rated")
            .mos_lq
    };
    let before = rating(&mut lab);
    lab.peers[0].is_sending = false;
    for _ in 0..4 {
        let mut packet = lab.peers[0].speak();
        packet.truncate(HEADER_LEN + 1);
        packet[1] = 13;
        packet[HEADER_LEN] = 60;
        let source = lab.peers[0].address;
        lab.datagram(PORT, source, &packet);
        let header = &mut lab.peers[0].header;
        header.timestamp = header.timestamp.wrapping_add(9 * 160);
        lab.run(ms(200));
    }
    lab.run(ms(2_000));
    let after = rating(&mut lab);
    assert!((after - before).abs() < 0.3, "{before} {after}");
}

#[test]
fn levels_are_those_of_what_is_sent_after_a_hold() {
    let mut lab = lab(|settings| {
        settings.audio_level = Some(LevelExtension {
            id: 3,
            send: true,
            voice: false,
        });
    });
    let own = lab.peers[0].settings();
    let held = LegSettings {
        direction: Direction::RECEIVE_ONLY,
        audio_level: Some(LevelExtension {
            id: 3,
            send: true,
            voice: false,
        }),
        ..own
    };
    // A loud room during the hold, a silent one after it.
    let loud = Peer::new(2, tone(300.0, 16_000.0));
    let leg = loud.leg;
    lab.add(loud);
    lab.command(Command::Join { room: ROOM, leg });
    lab.run(ms(200));
    configure(&mut lab, &held);
    lab.run(ms(1_000));
    lab.command(Command::Leave { leg });
    lab.run(ms(100));
    let sent = lab.rtp_from(PORT).count();
    let resumed = LegSettings {
        direction: Direction::SEND_RECEIVE,
        ..held
    };
    configure(&mut lab, &resumed);
    lab.run(ms(100));
    let first = lab.rtp_from(PORT).nth(sent).expect("it sends again");
    let view = first.rtp();
    let element = Elements::of(&view).find(|e| e.id == 3).expect("told");
    assert_eq!(AudioLevel::parse(element.data), Some(AudioLevel::SILENCE));
}

#[test]
fn digits_follow_the_clock_that_is_agreed_while_they_are_sent() {
    let mut lab = lab_of(Peer::silent(1), |_| {});
    lab.command(Command::SendDigits {
        leg: LEG,
        digits: "123".parse().expect("digits"),
        press: ms(200),
        path: DigitPath::Events,
    });
    lab.run(ms(100));
    let events = TelephoneEventFormat {
        send_payload_type: 102,
        receive_payload_type: 102,
        clock_rate: 16_000,
        also_received: None,
    };
    let settings = LegSettings {
        send: wide(),
        receive: vec![wide()],
        telephone_event: Some(events),
        ..lab.peers[0].settings()
    };
    configure(&mut lab, &settings);
    lab.run(ms(1_500));
    let reports = lab.rtp_from(PORT).filter(|d| d.rtp().payload_type() == 102);
    let reports = reports.map(|d| TelephoneEvent::parse(d.rtp().payload()).expect("a report"));
    let mut ends: Vec<_> = reports
        .filter(|report| report.end)
        .map(|report| (report.event, report.duration))
        .collect();
    ends.dedup();
    assert_eq!(ends, [(1, 3_200), (2, 3_200), (3, 3_200)]);
}

#[test]
fn metrics_tell_the_rating_and_the_buffers_limits() {
    let fixed = jitter::Config {
        mode: jitter::Mode::Fixed(ms(60)),
        ..jitter::Config::default()
    };
    let mut lab = Lab::room(vec![]);
    let peer = Peer::new(1, tone(440.0, 8_000.0));
    let mut config = peer.config();
    config.jitter = fixed;
    config.settings.control = ControlTerms {
        voip_metrics: true,
        ..ControlTerms::default()
    };
    lab.add_with(peer, config);
    lab.run(ms(20_000));
    let control = lab.sent.iter().filter(|d| d.channel == Channel::Rtcp);
    let last = control.max_by_key(|d| d.at).expect("reports");
    let compound = Compound::parse(&last.bytes).expect("a compound packet");
    let metrics = compound.packets().find_map(|packet| match packet {
        Packet::ExtendedReport(report) => report.blocks().find_map(|block| match block {
            XrBlock::VoipMetrics(metrics) => Some(metrics),
            _ => None,
        }),
        _ => None,
    });
    let metrics = metrics.expect("metrics");
    assert!((85..=94).contains(&metrics.r_factor), "{metrics:?}");
    assert!((40..=45).contains(&metrics.mos_listening), "{metrics:?}");
    assert!((40..=45).contains(&metrics.mos_conversation), "{metrics:?}");
    assert_eq!(metrics.buffer_limit, 60);
    assert_eq!(metrics.receiver >> 4 & 3, 2, "a fixed buffer");
}

/// Everything at once: copies, levels, keys pressed, SRTP, a change of keys.
#[test]
fn copies_levels_digits_and_keys_go_together() {
    for suite in Suite::ALL {
        let key = |seed: u8| {
            let (key, salt) = ([seed; 32], [seed; 14]);
            MasterKey::new(suite, &key[..suite.key_len()], &salt[..suite.salt_len()])
                .expect("lengths")
        };
        let keying = |local, remote| Keying {
            local: key(local),
            remote: key(remote),
        };
        let full = |settings: &mut LegSettings, local| {
            settings.redundancy = Some(RED);
            settings.telephone_event = Some(EVENTS);
            settings.audio_level = Some(LevelExtension {
                id: 3,
                send: true,
                voice: false,
            });
            settings.keying = Some(keying(local, 9));
        };
        let mut lab = lab_of(Peer::silent(1), |settings| full(settings, 1));
        let speaker = Peer::new(2, tone(440.0, 8_000.0));
        let leg = speaker.leg;
        lab.add(speaker);
        lab.command(Command::Join { room: ROOM, leg });
        lab.run(ms(400));
        lab.command(Command::SendDigits {
            leg: LEG,
            digits: "5".parse().expect("a digit"),
            press: ms(100),
            path: DigitPath::Events,
        });
        lab.run(ms(400));
        let change = lab.rtp_from(PORT).count();
        let mut settings = lab.peers[0].settings();
        full(&mut settings, 2);
        configure(&mut lab, &settings);
        lab.run(ms(400));

        let mut sessions = [1, 2].map(|local| Srtp::new(keying(9, local)));
        let (mut copied, mut events, mut next) = (0, 0, None);
        let mut heard: Vec<(u32, Vec<u8>)> = Vec::new();
        for (n, datagram) in lab.rtp_from(PORT).enumerate() {
            let mut bytes = datagram.bytes.clone();
            let session = &mut sessions[usize::from(n >= change)];
            let length = session.unprotect_rtp(lab.now, &mut bytes);
            bytes.truncate(length.unwrap_or_else(|e| panic!("{suite:?}, packet {n}: {e}")));
            let view = crate::rtp::packet::View::parse(&bytes).expect("RTP");
            assert_eq!(view.sequence(), *next.get_or_insert(view.sequence()));
            next = next.map(|next: u16| next.wrapping_add(1));
            if view.payload_type() == 101 {
                events += 1;
                continue;
            }
            assert!(
                Elements::of(&view).any(|e| e.id == 3),
                "packet {n} tells no level"
            );
            let payload = match view.payload_type() {
                98 => {
                    let blocks = Blocks::parse(view.payload()).expect("blocks");
                    for block in &blocks.as_slice()[..blocks.as_slice().len() - 1] {
                        let at = view.timestamp().wrapping_sub(block.offset);
                        let original = heard.iter().find(|(timestamp, _)| *timestamp == at);
                        assert_eq!(original.expect("it was sent").1, block.data);
                        copied += 1;
                    }
                    blocks.as_slice().last().expect("a primary").data
                }
                _ => view.payload(),
            };
            heard.push((view.timestamp(), payload.to_vec()));
        }
        assert!(copied > 80, "{copied} copies");
        assert_eq!(events, 7, "five reports, the last of them three times");
        let mut samples = vec![0; 160];
        encode_mu(&[0; 160], &mut heard[0].1);
        let mut sound = Vec::new();
        for (_, payload) in &heard {
            crate::media::codec::g711::decode_mu(payload, &mut samples);
            sound.extend_from_slice(&samples);
        }
        assert!(power_at(&sound[800..2_400], 440.0) > 2e7);
    }
}
