//! Two legs and more in a room: who hears whom, how late and how well.

use super::lab::{Lab, Peer, ROOM, lag, ms, power, power_at, snr, speech, through_codec, tone};
use crate::id::{LegId, PortId};
use crate::media::command::{Command, Event};
use crate::media::mixer::Gain;

#[test]
fn speech_crosses_a_bridge_unharmed_and_in_time() {
    let mut lab = Lab::room(vec![Peer::new(1, speech(1)), Peer::new(2, speech(2))]);
    lab.run(ms(4_000));
    for (from, to) in [(1, 2), (2, 1)] {
        let said: Vec<i16> = (0..32_000).map(speech(from)).collect();
        let said = through_codec(&said);
        let heard = lab.heard(PortId(to));
        // The peer's clock starts 20 ms after the worker's first packet, and the tick that follows
        // the packet's arrival comes up to 20 ms later; the jitter buffer hardly holds anything.
        let late = lag(&said[8_000..16_000], &heard[8_000..], 2_000);
        assert!((160..=480).contains(&late), "{late} samples late");
        let ratio = snr(&said[8_000..24_000], &heard[8_000 + late..]);
        assert!(ratio > 60.0, "{ratio} dB from {from} to {to}");
    }
}

#[test]
fn in_a_room_each_hears_all_others_and_not_itself() {
    for parties in [3, 10] {
        let hz = |number: u16| 300.0 + 250.0 * f64::from(number);
        let peers = (1..=parties).map(|n| Peer::new(n, tone(hz(n), 2_000.0)));
        let mut lab = Lab::room(peers.collect());
        lab.run(ms(1_500));
        for ear in 1..=parties {
            let heard = lab.heard(PortId(u32::from(ear)));
            let heard = &heard[4_000..12_000];
            for mouth in 1..=parties {
                let power = power_at(heard, hz(mouth));
                let expected = if mouth == ear { 0.0 } else { 2_000_000.0 };
                assert!(
                    (power - expected).abs() < 0.05 * 2_000_000.0,
                    "{ear} hears {mouth} of {parties} at {power}"
                );
            }
        }
    }
}

#[test]
fn gains_hold_until_a_party_leaves() {
    let peers = [1, 2, 3].map(|n| Peer::new(n, tone(400.0 * f64::from(n), 4_000.0)));
    let mut lab = Lab::room(peers.into());
    let (from, to) = (LegId(1), LegId(2));
    let gain = Gain::MUTE;
    lab.command(Command::SetGain {
        room: ROOM,
        from,
        to,
        gain,
    });
    lab.run(ms(1_000));
    assert!(power_at(&lab.heard(PortId(2))[4_000..7_800], 400.0) < 1_000.0);
    assert!(power_at(&lab.heard(PortId(3))[4_000..7_800], 400.0) > 1e6);

    lab.command(Command::Leave { leg: from });
    lab.command(Command::Join {
        room: ROOM,
        leg: from,
    });
    lab.run(ms(1_000));
    assert!(power_at(&lab.heard(PortId(2))[10_000..15_000], 400.0) > 1e6);
}

#[test]
fn out_of_the_room_a_leg_is_sent_silence_without_a_gap() {
    let mut lab = Lab::room(vec![Peer::new(1, tone(500.0, 5_000.0)), Peer::silent(2)]);
    lab.run(ms(500));
    lab.command(Command::Leave { leg: LegId(2) });
    lab.run(ms(500));
    let packets: Vec<_> = lab.rtp_from(PortId(2)).map(|d| d.rtp().header()).collect();
    assert_eq!(packets.len(), 50);
    for (place, pair) in packets.windows(2).enumerate() {
        assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
        assert_eq!(pair[1].timestamp, pair[0].timestamp.wrapping_add(160));
        // The first that the other party says begins a talk spurt.
        assert!(!pair[1].marker || place == 0);
    }
    let heard = lab.heard(PortId(2));
    assert!(power(&heard[2_000..3_900]) > 1e6);
    // What was passed on came before its tick.
    assert_eq!(power(&heard[4_160..]), 0.0);
}

#[test]
fn a_removed_room_leaves_its_members_alone() {
    let mut lab = Lab::room(vec![Peer::new(1, tone(500.0, 5_000.0)), Peer::silent(2)]);
    lab.run(ms(300));
    lab.command(Command::RemoveRoom { room: ROOM });
    let events = lab.take_events();
    assert!(
        events
            .iter()
            .any(|e| matches!(e, Event::RoomRemoved { room: ROOM, .. }))
    );
    lab.run(ms(300));
    let heard = lab.heard(PortId(2));
    assert_eq!(power(&heard[2_600..]), 0.0);
    assert_eq!((lab.worker.stats().legs, lab.worker.stats().rooms), (2, 0));
}
