//! Conferences: listeners who hear the same are sent what one of them encodes, and nobody hears when that
//! begins or ends.

use std::sync::Arc;

use super::lab::{Lab, Peer, RATE, ROOM, ms, power, speech, through_codec};
use crate::id::{LegId, PlayId, PortId};
use crate::media::codec::Decoder;
use crate::media::codec::g722::{G722, G722Decoder};
use crate::media::command::{Command, PlayAction, PlayOn};
use crate::media::frame::SampleRate;
use crate::media::leg::config::PayloadFormat;
use crate::media::mixer::Gain;
use crate::media::player::{Player, Repeat};
use crate::media::wav::Clip;
use crate::rng::Rng;

/// One talks, the others only listen.
fn lecture(listeners: u16) -> Lab {
    let mut peers = vec![Peer::new(1, speech(1))];
    peers.extend((2..2 + listeners).map(Peer::silent));
    Lab::room(peers)
}

fn shared(lab: &Lab) -> u64 {
    lab.worker.stats().shared_packets
}

/// Adds a member who speaks and hears G.722.
fn add_wide(lab: &mut Lab, peer: Peer) {
    let mut config = peer.config();
    let format = PayloadFormat::new(9, Arc::new(G722));
    config.settings.send = format.clone();
    config.settings.receive = vec![format];
    config.rate = SampleRate::HZ_16000;
    config.room_rates = vec![SampleRate::HZ_8000];
    let leg = peer.leg;
    lab.add_with(peer, config);
    lab.command(Command::Join { room: ROOM, leg });
}

/// What a member with G.722 heard, packet by packet.
fn heard_wide(lab: &Lab, port: u32) -> Vec<i16> {
    let mut decoder = G722Decoder::new();
    let mut heard = Vec::new();
    for datagram in lab.rtp_from(PortId(port)) {
        let mut samples = [0; 320];
        let payload = datagram.rtp().payload().to_vec();
        decoder.decode(&payload, &mut samples).expect("G.722");
        heard.extend_from_slice(&samples);
    }
    heard
}

fn assert_continuous(lab: &Lab, port: u32) {
    let headers: Vec<_> = lab
        .rtp_from(PortId(port))
        .map(|d| d.rtp().header())
        .collect();
    for pair in headers.windows(2) {
        assert_eq!(pair[1].ssrc, pair[0].ssrc);
        assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
        assert_eq!(pair[1].timestamp, pair[0].timestamp.wrapping_add(160));
    }
}

/// Something that hardly anybody hears plays to one member.
fn whisper(lab: &mut Lab, play: u64, leg: u64, rate: SampleRate) {
    let clip = Clip::from_samples(rate, vec![2; 8_000]);
    let player = Box::new(Player::clip(clip, rate, Repeat::Forever).expect("a clip"));
    let (play, on) = (PlayId(play), PlayOn::Leg(LegId(leg)));
    lab.command(Command::Play { play, on, player });
}

fn stop(lab: &mut Lab, play: u64) {
    let (play, action) = (PlayId(play), PlayAction::Stop);
    lab.command(Command::ControlPlay { play, action });
}

#[test]
fn listeners_are_sent_what_one_of_them_encodes() {
    let mut lab = lecture(6);
    lab.run(ms(2_000));
    assert!(
        shared(&lab) >= 95 * 6,
        "{} packets to six listeners",
        shared(&lab)
    );
    let said: Vec<i16> = (0..lab.peers[0].spoken).map(&lab.peers[0].says).collect();
    let said = through_codec(&said);
    let first = lab.heard(PortId(2));
    assert!(power(&first) > 0.5 * power(&said));
    for port in 2..8 {
        assert_eq!(lab.heard(PortId(port)), first, "listener {port}");
        assert_continuous(&lab, port);
    }
    assert!(power(&lab.heard(PortId(1))) < 100.0, "nobody hears himself");
}

#[test]
fn who_hears_something_else_encodes_by_himself() {
    let mut lab = lecture(6);
    lab.run(ms(500));
    let before = shared(&lab);
    whisper(&mut lab, 1, 3, RATE);
    let (room, gain) = (ROOM, Gain::from_factor(0.5));
    let (from, to) = (LegId(1), LegId(4));
    lab.command(Command::SetGain {
        room,
        from,
        to,
        gain,
    });
    lab.run(ms(1_000));
    let count = shared(&lab) - before;
    assert!((200..=202).contains(&count), "{count} to four of six");
    let loud = |port| power(&lab.heard(PortId(port))[6_000..12_000]);
    assert!((0.2..0.3).contains(&(loud(4) / loud(2))));
    assert!((0.9..1.1).contains(&(loud(3) / loud(2))));
    for port in 2..8 {
        assert_continuous(&lab, port);
    }
}

#[test]
fn a_late_driver_sends_all_that_was_encoded() {
    let mut lab = lecture(4);
    lab.run(ms(1_000));
    let before = lab.rtp_from(PortId(3)).count();
    // Four ticks at once, one of them on the way.
    lab.now += ms(80);
    lab.worker.handle_timeout(lab.now);
    lab.collect();
    assert_eq!(lab.rtp_from(PortId(3)).count(), before + 4);
    // A driver that does not take what there is loses it, and time goes on all the same.
    for _ in 0..20 {
        lab.now += ms(100);
        lab.worker.handle_timeout(lab.now);
    }
    lab.collect();
    lab.run(ms(200));
    let headers: Vec<_> = lab.rtp_from(PortId(3)).map(|d| d.rtp().header()).collect();
    for pair in headers.windows(2) {
        assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
        assert_eq!(pair[1].timestamp.wrapping_sub(pair[0].timestamp) % 160, 0);
    }
    let time = headers[headers.len() - 1].timestamp - headers[0].timestamp;
    assert_eq!(time, (1_000 + 80 + 2_000 + 200 - 20) * 8);
}

/// Who goes in and out of hearing the same as others all the time, or leads them, or is the heir of one who does.
#[test]
fn predictions_go_on_where_they_were_when_one_shares_no_more() {
    for seed in 0..4 {
        let mut rng = Rng::new(seed);
        let voice = speech(1);
        // Half a second of speech, and almost as long a pause.
        let says = move |n: usize| if n % 8_000 < 4_800 { voice(n) } else { 0 };
        let mut lab = Lab::room(vec![Peer::new(1, says)]);
        for number in 2..7 {
            add_wide(&mut lab, Peer::silent(number));
        }
        lab.run(ms(3_000));
        assert!(shared(&lab) > 80 * 5, "{}", shared(&lab));
        for play in 0..8 {
            // The first of them is whose encoder serves all.
            let leg = 2 + rng.below(3);
            whisper(&mut lab, play, leg, SampleRate::HZ_16000);
            lab.run(ms(20 * (1 + rng.below(20))));
            stop(&mut lab, play);
            lab.run(ms(20 * (1 + rng.below(90))));
        }
        lab.command(Command::Leave { leg: LegId(5) });
        lab.command(Command::RemoveLeg {
            leg: LegId(2),
            goodbye: false,
        });
        lab.run(ms(2_000));
        // The sixth has never heard anything else.
        let steady = heard_wide(&lab, 6);
        for port in [3, 4] {
            assert_continuous(&lab, port);
            let other = heard_wide(&lab, port);
            assert_eq!(other.len(), steady.len());
            for (place, (a, b)) in steady.chunks(320).zip(other.chunks(320)).enumerate() {
                let apart: Vec<i16> = a.iter().zip(b).map(|(a, b)| a.saturating_sub(*b)).collect();
                let (noise, sound) = (power(&apart).sqrt(), power(a).sqrt());
                // A decoder given what another encoder makes errs by more than the sound itself.
                let name = format!("seed {seed}, port {port}, packet {place}");
                assert!(noise < 0.3 * sound + 90.0, "{name}: {noise} of {sound}");
            }
        }
        let spoken = power(&steady[steady.len() - 32_000..]).sqrt();
        assert!(spoken > 500.0, "{spoken}");
    }
}
