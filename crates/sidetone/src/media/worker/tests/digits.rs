//! Digits in and out.

use super::lab::{Lab, Peer, ROOM, ms, power, tone};
use crate::id::{LegId, PortId};
use crate::media::command::{Command, Event, RejectReason};
use crate::media::dtmf::{Digit, DtmfEvent, DtmfReceiver};
use crate::media::leg::digits::DigitPath;
use crate::media::worker::tests::lab::Datagram;
use crate::rtp::event::TelephoneEvent;
use crate::rtp::packet::{HEADER_LEN, Header};
use crate::rtp::session::receiver::{Receiver, ReceiverConfig};

/// Packets of a key held for `reports` packet times, the end sent three times.
fn press(header: &mut Header, event: u8, reports: u16) -> Vec<Vec<u8>> {
    let timestamp = header.timestamp;
    let packets = (1..reports + 3).map(|n| {
        let report = TelephoneEvent {
            event,
            end: n >= reports,
            volume: 10,
            duration: n.min(reports) * 160,
        };
        let own = Header {
            payload_type: 101,
            marker: n == 1,
            timestamp,
            ..*header
        };
        header.sequence = header.sequence.wrapping_add(1);
        header.timestamp = header.timestamp.wrapping_add(160);
        let mut packet = vec![0; HEADER_LEN];
        own.emit(&mut packet);
        packet.extend(report.emit());
        packet
    });
    packets.collect()
}

#[test]
fn each_key_of_the_peer_is_told_once() {
    let mut lab = Lab::room(vec![Peer::new(1, tone(440.0, 3_000.0)), Peer::silent(2)]);
    lab.run(ms(300));
    for event in [5, 11, 5] {
        lab.peers[0].is_sending = false;
        let mut packets = press(&mut lab.peers[0].header, event, 4).into_iter();
        lab.run_with(ms(120), |lab| {
            let source = lab.peers[0].address;
            lab.datagram(PortId(1), source, &packets.next().expect("six packets"));
        });
        lab.peers[0].is_sending = true;
        lab.run(ms(200));
    }
    let mut told = Vec::new();
    for event in lab.take_events() {
        match event {
            Event::DigitStarted { leg, digit, .. } => told.push((leg.0, digit.to_char(), 0)),
            Event::DigitEnded {
                leg,
                digit,
                duration,
                ..
            } => told.push((leg.0, digit.to_char(), duration.as_millis())),
            _ => {}
        }
    }
    let expected = [
        ('5', 0),
        ('5', 80),
        ('#', 0),
        ('#', 80),
        ('5', 0),
        ('5', 80),
    ];
    assert_eq!(told, expected.map(|(digit, held)| (1, digit, held)));
}

#[test]
fn the_gap_that_digits_leave_is_silent() {
    let mut lab = Lab::room(vec![Peer::new(1, tone(440.0, 3_000.0)), Peer::silent(2)]);
    lab.run(ms(500));
    lab.peers[0].is_sending = false;
    let mut packets = press(&mut lab.peers[0].header, 1, 20).into_iter();
    lab.run_with(ms(440), |lab| {
        let source = lab.peers[0].address;
        lab.datagram(PortId(1), source, &packets.next().expect("22 packets"));
    });
    let heard = lab.heard(PortId(2));
    assert!(power(&heard[2_000..3_900]) > 1e6);
    assert_eq!(power(&heard[4_800..6_400]), 0.0);
}

/// The keys that a receiver reads from what was sent, with their durations.
fn read(datagrams: &[Datagram]) -> Vec<(char, u128)> {
    let mut receiver = Receiver::new(ReceiverConfig {
        probation: 1,
        ..ReceiverConfig::default()
    });
    let mut dtmf = DtmfReceiver::new(Default::default());
    let mut keys = Vec::new();
    for datagram in datagrams {
        let view = datagram.rtp();
        let position = receiver
            .handle_packet(datagram.at, &view)
            .expect("in order");
        if view.payload_type() == 101 {
            dtmf.handle_report(datagram.at, position, view.marker(), view.payload());
        }
        while let Some(event) = dtmf.poll_event() {
            if let DtmfEvent::Ended { digit, duration } = event {
                keys.push((digit.to_char(), duration.as_millis()));
            }
        }
    }
    keys
}

#[test]
fn digits_are_sent_in_place_of_audio() {
    let mut lab = Lab::room(vec![Peer::new(1, tone(440.0, 3_000.0)), Peer::silent(2)]);
    lab.run(ms(300));
    let (leg, digits, press) = (LegId(2), "42#".parse().unwrap(), ms(80));
    lab.command(Command::SendDigits {
        leg,
        digits,
        press,
        path: DigitPath::Events,
    });
    lab.run(ms(700));
    let sent: Vec<_> = lab.rtp_from(PortId(2)).cloned().collect();
    assert_eq!(read(&sent), [('4', 80), ('2', 80), ('#', 80)]);
    let is_done = |e: &Event| matches!(e, Event::DigitsSent { leg: LegId(2) });
    assert_eq!(lab.events.iter().filter(|e| is_done(e)).count(), 1);
    // One packet a tick, event or audio, in one sequence, and audio timestamps that count every tick.
    // What is passed on comes before its tick.
    assert!((50..=51).contains(&sent.len()));
    for (i, datagram) in sent.iter().enumerate() {
        let (first, view) = (sent[0].rtp(), datagram.rtp());
        assert_eq!(view.sequence(), first.sequence().wrapping_add(i as u16));
        if view.payload_type() == 0 {
            let expected = first.timestamp().wrapping_add(160 * i as u32);
            assert_eq!(view.timestamp(), expected);
        }
    }
    let marks = sent.iter().map(|d| d.rtp()).filter(|v| v.marker());
    let events = marks.filter(|v| v.payload_type() == 101);
    assert_eq!(events.count(), 3);
}

#[test]
fn digits_wait_for_whole_packets_at_long_packet_times() {
    for ptime in [30, 40, 60] {
        let mut lab = Lab::new();
        let peer = Peer::silent(1);
        let mut config = peer.config();
        config.settings.ptime = ms(ptime);
        lab.add_with(peer, config);
        lab.run(ms(300));
        let (leg, digits, press) = (LegId(1), "7".parse().unwrap(), ms(100));
        lab.command(Command::SendDigits {
            leg,
            digits,
            press,
            path: DigitPath::Events,
        });
        lab.run(ms(600));
        let sent: Vec<_> = lab.rtp_from(PortId(1)).cloned().collect();
        assert_eq!(read(&sent), [('7', 100)], "ptime {ptime}");
        let seven = Digit::from_char('7').unwrap().event();
        let report = sent.iter().find(|d| d.rtp().payload_type() == 101);
        assert_eq!(report.unwrap().rtp().payload()[0], seven);
    }
}

#[test]
fn digits_need_telephone_events_and_room() {
    let mut lab = Lab::room(vec![Peer::silent(1)]);
    let peer = Peer::silent(2);
    let mut config = peer.config();
    config.settings.telephone_event = None;
    lab.add_with(peer, config);
    let (digits, press) = ("1".repeat(32).parse().unwrap(), ms(100));
    for (leg, expected) in [
        (LegId(1), None),
        (LegId(1), Some(RejectReason::Full)),
        (LegId(2), Some(RejectReason::Unsupported)),
        (LegId(3), Some(RejectReason::Unknown)),
    ] {
        lab.command(Command::SendDigits {
            leg,
            digits,
            press,
            path: DigitPath::Events,
        });
        let rejected = lab.take_events().into_iter().find_map(|event| match event {
            Event::Rejected { reason, .. } => Some(reason),
            _ => None,
        });
        assert_eq!(rejected, expected);
    }
    lab.command(Command::RemoveRoom { room: ROOM });
}
