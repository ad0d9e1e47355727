//! Packets passed on from leg to leg as they are, and the way to decoding and back.

use super::lab::{Lab, Peer, RATE, ROOM, ms, power, speech, through_codec};
use crate::id::{LegId, PlayId, PortId, RecordingId};
use crate::media::command::{Command, Event, PlayAction, PlayOn};
use crate::media::leg::config::{Channel, PayloadFormat};
use crate::media::mixer::Gain;
use crate::media::player::{Player, Repeat};
use crate::media::quality::cause::Cause;
use crate::media::recorder::{DEFAULT_QUEUE, recording};
use crate::media::wav::Clip;
use crate::rng::Rng;
use crate::rtp::packet::{HEADER_LEN, Header};
use crate::srtp::key::{Keying, MasterKey};
use crate::srtp::session::Session as Srtp;
use crate::srtp::suite::Suite;

fn pair() -> Lab {
    Lab::room(vec![Peer::new(1, speech(1)), Peer::new(2, speech(2))])
}

fn passed(lab: &Lab) -> u64 {
    lab.worker.stats().passed_packets
}

/// A whisper that hardly covers what else is heard.
fn play(lab: &mut Lab, number: u64) {
    let clip = Clip::from_samples(RATE, vec![8; 8_000]);
    let player = Box::new(Player::clip(clip, RATE, Repeat::Forever).expect("a clip"));
    lab.command(Command::Play {
        play: PlayId(number),
        on: PlayOn::Leg(LegId(2)),
        player,
    });
}

fn stop(lab: &mut Lab, number: u64) {
    lab.command(Command::ControlPlay {
        play: PlayId(number),
        action: PlayAction::Stop,
    });
}

/// How many packets of speech of peer `from` are not found in what `to` heard, one after the other.
fn missing(lab: &Lab, from: usize, to: PortId) -> usize {
    let said: Vec<i16> = (0..lab.peers[from].spoken)
        .map(&lab.peers[from].says)
        .collect();
    let (said, heard) = (through_codec(&said), lab.heard(to));
    let alike = |piece: &[i16], start: usize| {
        let Some(other) = heard.get(start..start + piece.len()) else {
            return -1.0;
        };
        let product = |a: &[i16], b: &[i16]| -> f64 {
            a.iter()
                .zip(b)
                .map(|(&a, &b)| f64::from(a) * f64::from(b))
                .sum()
        };
        product(piece, other)
            / (product(piece, piece) * product(other, other))
                .sqrt()
                .max(1.0)
    };
    let (mut at, mut lost) = (0_usize, 0);
    // What was said last may still be on its way.
    for piece in said[..said.len() - 1_600].chunks_exact(160) {
        if power(piece) < 200.0 * 200.0 {
            at += 160;
            continue;
        }
        let places = at.saturating_sub(480)..at + 1_200;
        let best = places.max_by(|&a, &b| alike(piece, a).total_cmp(&alike(piece, b)));
        match best {
            Some(place) if alike(piece, place) > 0.95 => at = place + 160,
            _ => {
                lost += 1;
                at += 160;
            }
        }
    }
    lost
}

#[test]
fn a_packet_is_passed_on_as_it_came_and_when_it_came() {
    let mut lab = pair();
    lab.run(ms(3_000));
    assert_eq!(passed(&lab), 300);
    for (from, to) in [(1, 2), (2, 1)] {
        lab.assert_continuous(PortId(to));
        let mut again = Peer::new(from, speech(from.into()));
        let payloads: Vec<Vec<u8>> = (0..150)
            .map(|_| again.speak()[HEADER_LEN..].to_vec())
            .collect();
        let heard: Vec<Vec<u8>> = lab
            .rtp_from(PortId(to))
            .map(|d| d.rtp().payload().to_vec())
            .collect();
        assert!(
            heard.ends_with(&payloads),
            "each packet, and nothing between"
        );
        let ssrc = lab
            .rtp_from(PortId(to))
            .last()
            .expect("packets")
            .rtp()
            .ssrc();
        assert_ne!(ssrc, lab.peers[usize::from(from) - 1].header.ssrc);
    }
    assert_eq!(lab.worker.stats().dropped_packets, 0);
}

#[test]
fn what_is_lost_or_overtaken_on_the_way_is_so_for_the_other_too() {
    let mut lab = pair();
    lab.run(ms(200));
    let before = lab.rtp_from(PortId(2)).count();
    let (port, source) = (PortId(1), lab.peers[0].address);
    let packets: Vec<Vec<u8>> = (0..6).map(|_| lab.peers[0].speak()).collect();
    for place in [0, 2, 1, 1, 5] {
        lab.datagram(port, source, &packets[place]);
    }
    let sent: Vec<(u16, Vec<u8>)> = lab
        .rtp_from(PortId(2))
        .skip(before)
        .map(|d| (d.rtp().sequence(), d.rtp().payload().to_vec()))
        .collect();
    let first = sent[0].0;
    let steps: Vec<u16> = sent
        .iter()
        .map(|(number, _)| number.wrapping_sub(first))
        .collect();
    assert_eq!(steps, [0, 2, 1, 5], "a hole, a swap, and no duplicate");
    for ((_, payload), place) in sent.iter().zip([0, 2, 1, 5]) {
        assert_eq!(payload[..], packets[place][HEADER_LEN..]);
    }
}

#[test]
fn a_prompt_a_recording_and_a_third_party_lose_no_packet() {
    let mut lab = pair();
    lab.run(ms(1_000));
    let counts = |lab: &Lab| passed(lab);
    let mut before = counts(&lab);
    let still = |lab: &mut Lab, before: &mut u64, name: &str| {
        lab.run(ms(1_000));
        let now = passed(lab);
        assert!(
            now <= *before + 52,
            "{name}: only the other way is passed on"
        );
        *before = now;
    };
    play(&mut lab, 1);
    still(&mut lab, &mut before, "a prompt");
    stop(&mut lab, 1);
    lab.run(ms(1_500));
    assert!(passed(&lab) > before + 100, "both ways again");
    before = passed(&lab);

    let (tap, _feed) = recording(RATE, DEFAULT_QUEUE);
    let tap = Box::new(tap);
    let (leg, recording) = (LegId(1), RecordingId(1));
    lab.command(Command::StartRecording {
        leg,
        recording,
        tap,
    });
    lab.run(ms(1_000));
    assert_eq!(passed(&lab), before, "a recording takes both ways");
    lab.command(Command::StopRecording { leg, recording });
    lab.run(ms(1_500));
    assert!(passed(&lab) > before + 100);
    before = passed(&lab);

    lab.add(Peer::silent(3));
    let room = ROOM;
    lab.command(Command::Join {
        room,
        leg: LegId(3),
    });
    lab.run(ms(1_000));
    assert_eq!(passed(&lab), before, "a third hears both");
    // A third who hears nobody and is heard by nobody leaves them alone.
    for other in [LegId(1), LegId(2)] {
        for (from, to) in [(other, LegId(3)), (LegId(3), other)] {
            let gain = Gain::MUTE;
            lab.command(Command::SetGain {
                room,
                from,
                to,
                gain,
            });
        }
    }
    lab.run(ms(1_500));
    assert!(passed(&lab) > before + 100);
    for (from, to) in [(0, PortId(2)), (1, PortId(1))] {
        lab.assert_continuous(to);
        assert_eq!(missing(&lab, from, to), 0, "of what peer {from} said");
    }
}

#[test]
fn switching_at_any_moment_is_one_stream() {
    for seed in 0..12 {
        let mut rng = Rng::new(seed);
        let mut lab = pair();
        for number in 0..8 {
            lab.run(ms(20 * (1 + rng.below(60))));
            play(&mut lab, number);
            lab.run(ms(20 * (1 + rng.below(40))));
            stop(&mut lab, number);
        }
        lab.run(ms(1_000));
        lab.assert_continuous(PortId(2));
        assert_eq!(missing(&lab, 0, PortId(2)), 0, "seed {seed}");
        let headers = lab.rtp_from(PortId(1));
        assert!(headers.count() as u64 + 20 > lab.peers[1].spoken as u64 / 160);
    }
}

#[test]
fn who_falls_silent_is_replaced_by_silence_and_taken_up_again() {
    let mut lab = pair();
    lab.run(ms(1_000));
    lab.peers[0].is_sending = false;
    lab.run(ms(2_000));
    let heard = lab.heard(PortId(2));
    assert!(
        power(&heard[heard.len() - 8_000..]) < 100.0,
        "silence, not an echo of speech"
    );
    let before = passed(&lab);
    // Its clock went on.
    let pause = 100 * 160;
    lab.peers[0].header.timestamp = lab.peers[0].header.timestamp.wrapping_add(pause);
    lab.peers[0].is_sending = true;
    lab.run(ms(1_000));
    assert!(passed(&lab) >= before + 98, "{}", passed(&lab) - before);
    let headers: Vec<Header> = lab.rtp_from(PortId(2)).map(|d| d.rtp().header()).collect();
    for pair in headers.windows(2) {
        assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
        let step = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
        assert!((160..=1_120).contains(&step), "{step}");
    }
    // As much time has passed in the stream as on the clock.
    let last = headers.last().expect("packets").timestamp;
    let time = last.wrapping_sub(headers[0].timestamp);
    assert!((31_000..=32_500).contains(&time), "{time}");
}

#[test]
fn keys_pressed_are_told_and_leave_no_hole() {
    let mut lab = pair();
    lab.run(ms(500));
    let (port, source) = (PortId(1), lab.peers[0].address);
    let start = lab.peers[0].header.timestamp;
    for number in 0..8_u16 {
        let header = Header {
            payload_type: 101,
            marker: number == 0,
            timestamp: start,
            ..lab.peers[0].header
        };
        let mut packet = vec![0; HEADER_LEN];
        header.emit(&mut packet);
        let end = if number >= 5 { 0x80 } else { 0 };
        let [high, low] = (160 * (number.min(5) + 1)).to_be_bytes();
        packet.extend([5, end | 10, high, low]);
        lab.datagram(port, source, &packet);
        lab.peers[0].header.sequence = lab.peers[0].header.sequence.wrapping_add(1);
    }
    lab.peers[0].header.timestamp = start.wrapping_add(160 * 6);
    lab.run(ms(1_000));
    let told = lab
        .events
        .iter()
        .filter(|event| matches!(event, Event::DigitEnded { .. }));
    assert_eq!(told.count(), 1);
    let numbers: Vec<u16> = lab
        .rtp_from(PortId(2))
        .map(|d| d.rtp().sequence())
        .collect();
    assert!(
        numbers
            .windows(2)
            .all(|pair| pair[1] == pair[0].wrapping_add(1))
    );
}

#[test]
fn keys_change_on_the_way() {
    let key = |number: u8| MasterKey::new(Suite::AeadAes128Gcm, &[number; 16], &[number; 12]);
    let keying = |local, remote| Keying {
        local: key(local).expect("a key"),
        remote: key(remote).expect("a key"),
    };
    let mut lab = pair();
    let mut sessions: Vec<Srtp> = Vec::new();
    for (number, own) in [(1, 11), (2, 12)] {
        lab.command(Command::RemoveLeg {
            leg: LegId(number),
            goodbye: false,
        });
        let peer = &lab.peers[number as usize - 1];
        let mut config = peer.config();
        config.settings.keying = Some(keying(own, own + 10));
        let leg = lab.leg(config);
        lab.command(Command::AddLeg(leg));
        lab.command(Command::Join {
            room: ROOM,
            leg: LegId(number),
        });
        sessions.push(Srtp::new(keying(own + 10, own)));
    }
    lab.peers
        .iter_mut()
        .for_each(|peer| peer.is_sending = false);
    let mut payloads = Vec::new();
    let mut packets = Vec::new();
    for _ in 0..20 {
        let mut packet = lab.peers[0].speak();
        payloads.push(packet[HEADER_LEN..].to_vec());
        packet.resize(packet.len() + 16, 0);
        let length = sessions[0]
            .protect_rtp(&mut packet, HEADER_LEN + 160)
            .expect("protected");
        packet.truncate(length);
        packets.push(packet);
    }
    // One is overtaken.
    packets.swap(10, 11);
    payloads.swap(10, 11);
    let source = lab.peers[0].address;
    for packet in &packets {
        lab.datagram(PortId(1), source, packet);
    }
    assert_eq!(passed(&lab), 20);
    let sent: Vec<Vec<u8>> = lab.rtp_from(PortId(2)).map(|d| d.bytes.clone()).collect();
    let last = &sent[sent.len() - 20..];
    for (bytes, payload) in last.iter().zip(&payloads) {
        let mut bytes = bytes.clone();
        let length = sessions[1]
            .unprotect_rtp(lab.now, &mut bytes)
            .expect("authentic");
        assert_eq!(bytes[HEADER_LEN..length], payload[..]);
    }
}

#[test]
fn another_codec_is_decoded() {
    let mut lab = Lab::room(vec![Peer::new(1, speech(1))]);
    let peer = Peer::silent(2);
    let mut config = peer.config();
    config.settings.send = PayloadFormat::pcma();
    config.settings.receive = vec![PayloadFormat::pcma()];
    lab.add_with(peer, config);
    lab.command(Command::Join {
        room: ROOM,
        leg: LegId(2),
    });
    lab.run(ms(1_000));
    assert_eq!(passed(&lab), 0);
    let last = lab.rtp_from(PortId(2)).last().expect("packets").rtp();
    assert_eq!(last.payload_type(), 8);
}

#[test]
fn reports_are_our_own() {
    let mut lab = pair();
    lab.run(ms(12_000));
    for port in [PortId(1), PortId(2)] {
        let ssrc = lab.rtp_from(port).last().expect("packets").rtp().ssrc();
        let sent = lab.rtp_from(port).count() as u32;
        let report = lab
            .sent
            .iter()
            .rfind(|d| d.port == port && d.channel == Channel::Rtcp && d.bytes[1] == 200)
            .expect("a sender report");
        let word =
            |at: usize| u32::from_be_bytes(report.bytes[at..at + 4].try_into().expect("four"));
        assert_eq!(word(4), ssrc);
        assert!(
            word(20) <= sent && word(20) + 600 > sent,
            "{} of {sent}",
            word(20)
        );
    }
    let report = lab.report(LegId(1));
    assert_eq!(report.jitter.played, 600);
    assert_eq!(report.jitter.lost, 0);
}

#[test]
fn it_is_known_how_it_sounds_though_nobody_plays_it() {
    let cut_off = |n: usize| {
        if (n / 20).is_multiple_of(2) {
            i16::MAX
        } else {
            i16::MIN
        }
    };
    let mut lab = Lab::room(vec![Peer::new(1, cut_off), Peer::new(2, |_| 0)]);
    lab.run(ms(13_000));
    assert_eq!(passed(&lab), 1_300);
    let (loud, silent) = (lab.report(LegId(1)).quality, lab.report(LegId(2)).quality);
    assert!(loud.receive.causes.contains(Cause::Clipping));
    assert!(silent.send.causes.contains(Cause::Clipping));
    assert!(silent.receive.causes.contains(Cause::SenderSilence));
    assert!(!silent.receive.causes.contains(Cause::Clipping));
    assert!(!loud.receive.causes.contains(Cause::SenderSilence));
}

#[test]
fn most_ticks_leave_a_passing_room_out_and_nothing_is_missed() {
    let mut lab = pair();
    lab.run(ms(10_000));
    let rested = lab.worker.stats().rested_ticks;
    assert!((350..=400).contains(&rested), "{rested} of 500 ticks");
    play(&mut lab, 1);
    lab.run(ms(2_000));
    stop(&mut lab, 1);
    lab.run(ms(3_000));
    let after = lab.worker.stats().rested_ticks - rested;
    assert!((90..=150).contains(&after), "{after} of 250 ticks");
    for leg in [1, 2] {
        lab.assert_continuous(PortId(leg));
        // A tick that was left out is not one that never came.
        let quality = lab.report(LegId(u64::from(leg))).quality;
        let causes = quality.receive.past_causes.and(quality.send.past_causes);
        assert!(causes.is_empty(), "{causes:?}");
    }
    let rested = lab.worker.stats().rested_ticks;
    lab.peers[0].is_sending = false;
    lab.run(ms(3_000));
    let after = lab.worker.stats().rested_ticks - rested;
    assert!(after <= 3, "{after} ticks with only one who speaks");
    let spoken = lab.rtp_from(PortId(2)).count();
    assert!((895..=900).contains(&spoken), "{spoken}");
}
