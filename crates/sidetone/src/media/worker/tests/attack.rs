//! Outsiders who spray, inject and forge: they get nothing and are not heard.

use std::net::SocketAddr;

use super::lab::{Lab, Peer, ROOM, ms, power, power_at, tone};
use crate::id::{LegId, PortId};
use crate::media::codec::g711::encode_mu;
use crate::media::command::{Command, Event};
use crate::media::leg::LegReport;
use crate::media::leg::config::{Channel, MediaAddress};
use crate::rng::Rng;
use crate::rtp::packet::{HEADER_LEN, Header};
use crate::rtp::rtcp::Writer;
use crate::rtp::source::{Learning, SourceConfig};

fn attacker() -> SocketAddr {
    "203.0.113.66:4444".parse().unwrap()
}

/// The packet of the published attack: a bare header and 160 bytes of nothing.
fn spray(sequence: u16) -> Vec<u8> {
    let header = Header {
        payload_type: 0,
        marker: false,
        sequence,
        timestamp: u32::from(sequence) * 160,
        ssrc: 0xBAD,
    };
    let mut packet = vec![0; HEADER_LEN + 160];
    header.emit(&mut packet);
    packet
}

fn with_learning(learning: Learning) -> Lab {
    let mut lab = Lab::room(vec![Peer::silent(2)]);
    let peer = Peer::silent(1);
    let leg = peer.leg;
    let mut config = peer.config();
    config.source = SourceConfig {
        learning,
        ..SourceConfig::default()
    };
    lab.add_with(peer, config);
    lab.command(Command::Join { room: ROOM, leg });
    lab
}

fn report(lab: &mut Lab, leg: LegId) -> LegReport {
    let report = Box::default();
    lab.command(Command::QueryLeg { leg, report });
    let found = lab.take_events().into_iter().find_map(|event| match event {
        Event::LegReport { report, .. } => Some(*report),
        _ => None,
    });
    found.expect("an answer")
}

#[test]
fn a_sprayer_gets_nothing_before_during_and_after_a_call() {
    for learning in [Learning::Off, Learning::KnownHost, Learning::AnyHost] {
        for same_number in [true, false] {
            let mut lab = with_learning(learning);
            let mut n = 0_u16;
            let mut attack = |lab: &mut Lab| {
                n += u16::from(!same_number);
                lab.datagram(PortId(1), attacker(), &spray(n));
            };
            lab.run_with(ms(100), &mut attack);
            lab.peers[1].is_sending = true;
            lab.run_with(ms(1_500), &mut attack);
            lab.peers[1].is_sending = false;
            lab.run_with(ms(1_500), &mut attack);
            let stolen = lab.sent.iter().filter(|d| d.destination == attacker());
            assert_eq!(stolen.count(), 0, "{learning:?}");
            let source = report(&mut lab, LegId(1)).source;
            assert_eq!(source.refused, 155, "{learning:?}");
        }
    }
}

#[test]
fn without_learning_even_the_first_to_speak_is_refused() {
    let mut lab = with_learning(Learning::Off);
    let mut n = 0;
    lab.run_with(ms(10_000), |lab| {
        n += 1;
        lab.datagram(PortId(1), attacker(), &spray(n));
    });
    assert!(lab.sent.iter().all(|d| d.destination != attacker()));
    assert!(lab.rtp_from(PortId(1)).count() > 400);
}

#[test]
fn an_injected_tone_is_not_heard() {
    let mut lab = Lab::room(vec![Peer::new(1, tone(440.0, 4_000.0)), Peer::silent(2)]);
    lab.run(ms(500));
    let mut spoken = 0;
    lab.run_with(ms(2_000), |lab| {
        let samples: Vec<i16> = (spoken..spoken + 160).map(tone(1_000.0, 8_000.0)).collect();
        spoken += 160;
        // The victim's own SSRC and next number, from elsewhere.
        let stolen = lab.peers[0].header;
        let elsewhere = SocketAddr::new(lab.peers[0].address.ip(), 9);
        // The victim's own address, another SSRC.
        let stranger = Header {
            ssrc: 0xBAD,
            ..stolen
        };
        let own = lab.peers[0].address;
        // The victim's own address and SSRC, numbers from elsewhere.
        let elsewhen = Header {
            sequence: stolen.sequence.wrapping_add(20_000),
            timestamp: stolen.timestamp.wrapping_add(7_777_777),
            ..stolen
        };
        let ways = [
            (attacker(), stolen),
            (elsewhere, stolen),
            (own, stranger),
            (own, elsewhen),
        ];
        for (source, header) in ways {
            let mut packet = vec![0; HEADER_LEN + 160];
            header.emit(&mut packet);
            encode_mu(&samples, &mut packet[HEADER_LEN..]);
            lab.datagram(PortId(1), source, &packet);
        }
    });
    let heard = lab.heard(PortId(2));
    let heard = &heard[4_000..20_000];
    assert!(power_at(heard, 440.0) > 7e6);
    assert!(power_at(heard, 1_000.0) < 100.0, "the tone is heard");
    let report = report(&mut lab, LegId(1));
    assert_eq!(report.source.refused, 200);
    assert_eq!(report.receive.wrong_ssrc, 100);
    let receive = report.receive;
    assert_eq!((receive.invalid, receive.restarts), (100, 0));
}

#[test]
fn a_flood_of_garbage_and_replays_leaves_the_call_as_it_was() {
    let mut lab = Lab::room(vec![Peer::new(1, tone(440.0, 4_000.0)), Peer::silent(2)]);
    lab.run(ms(500));
    let mut rng = Rng::new(9);
    let mut old = Vec::new();
    lab.run_with(ms(2_000), |lab| {
        let (own, control) = (lab.peers[0].address, lab.peers[0].control_address());
        let mut header = lab.peers[0].header;
        header.sequence = header.sequence.wrapping_sub(1);
        let mut packet = vec![0xFF; HEADER_LEN + 160];
        header.emit(&mut packet);
        old.push(packet);
        for n in 0..1_000 {
            let mut bytes = vec![0; 12 + rng.below(180) as usize];
            bytes.iter_mut().for_each(|b| *b = rng.next_u32() as u8);
            match n % 4 {
                0 => lab.datagram(PortId(1), own, &bytes),
                1 => lab.datagram(PortId(1), attacker(), &bytes),
                2 => {
                    let now = lab.now;
                    lab.worker.handle_rtcp(now, PortId(1), control, &mut bytes);
                }
                // What the peer has sent before, again from its own address.
                _ => {
                    let again = old[rng.below(old.len() as u64) as usize].clone();
                    lab.datagram(PortId(1), own, &again);
                }
            }
        }
    });
    let heard = lab.heard(PortId(2));
    let heard = &heard[4_000..20_000];
    let tone = power_at(heard, 440.0);
    assert!(
        tone > 7e6 && power(heard) - tone < tone / 1_000.0,
        "noise is heard"
    );
    let report = report(&mut lab, LegId(1));
    assert_eq!((report.receive.packets, report.receive.lost), (125, 0));
    assert!(report.malformed > 25_000);
    assert!(lab.events.is_empty(), "nothing is told, nothing ends");
}

#[test]
fn an_established_stream_is_not_moved_after_a_time_out_either() {
    let mut lab = with_learning(Learning::KnownHost);
    lab.peers[1].is_sending = true;
    lab.run(ms(1_000));
    lab.peers[1].is_sending = false;
    let mut n = 0;
    let host = lab.peers[1].address.ip();
    lab.run_with(ms(30_000), |lab| {
        n += 1;
        lab.datagram(PortId(1), attacker(), &spray(n));
        lab.datagram(PortId(1), SocketAddr::new(host, 9), &spray(n));
    });
    let own = lab.peers[1].address;
    assert!(lab.rtp_from(PortId(1)).all(|d| d.destination == own));
    assert_eq!(report(&mut lab, LegId(1)).source.refused, 3_000);
    lab.peers[1].is_sending = true;
    lab.run(ms(1_000));
    assert_eq!(report(&mut lab, LegId(1)).receive.packets, 100);
}

#[test]
fn a_healthy_call_refuses_nothing_not_even_its_first_packet() {
    let mut lab = Lab::room(vec![Peer::new(1, tone(440.0, 4_000.0)), Peer::silent(2)]);
    lab.run(ms(1_000));
    let report = report(&mut lab, LegId(1));
    assert_eq!((report.receive.packets, report.receive.invalid), (50, 0));
    assert_eq!(report.source.refused, 0);
}

#[test]
fn reports_go_to_the_port_behind_a_translator_that_they_come_from() {
    let mut lab = Lab::room(vec![Peer::silent(2)]);
    let mut peer = Peer::new(1, tone(440.0, 4_000.0));
    let mut config = peer.config();
    // Signalled ports that are not those on the outside.
    let signalled = |port| SocketAddr::new(peer.address.ip(), port);
    config.settings.remote = Some(MediaAddress {
        rtp: signalled(4_000),
        rtcp: Some(signalled(4_001)),
    });
    let control: SocketAddr = "192.0.2.1:61444".parse().unwrap();
    peer.address = "192.0.2.1:61000".parse().unwrap();
    let ssrc = peer.header.ssrc;
    lab.add_with(peer, config);
    lab.run(ms(1_000));
    let mut buf = [0; 64];
    let mut writer = Writer::new(&mut buf);
    writer.receiver_report(ssrc, &[]).unwrap();
    let length = writer.finish();
    let now = lab.now;
    lab.worker
        .handle_rtcp(now, PortId(1), attacker(), &mut buf[..length].to_vec());
    lab.worker
        .handle_rtcp(now, PortId(1), control, &mut buf[..length]);
    lab.run(ms(20_000));
    let reports = lab.sent.iter();
    let reports = reports.filter(|d| d.port == PortId(1) && d.channel == Channel::Rtcp);
    let to: Vec<_> = reports.map(|d| d.destination).collect();
    assert!(
        to.len() >= 2 && to.iter().all(|to| *to == control),
        "{to:?}"
    );
    assert!(lab.rtp_from(PortId(1)).last().unwrap().destination == lab.peers[1].address);
}

#[test]
fn forged_control_packets_and_noise_are_counted_and_change_nothing() {
    let mut lab = Lab::room(vec![Peer::new(1, tone(440.0, 4_000.0)), Peer::silent(2)]);
    lab.run(ms(500));
    let goodbye = [0x81, 203, 0, 1, 0xAB, 0xC0, 0, 1];
    lab.run_with(ms(500), |lab| {
        let own = lab.peers[0].control_address();
        let now = lab.now;
        lab.worker
            .handle_rtcp(now, PortId(1), attacker(), &mut goodbye.to_vec());
        lab.worker
            .handle_rtcp(now, PortId(1), own, &mut [0x80, 1, 2]);
        let own = lab.peers[0].address;
        lab.datagram(PortId(1), own, &[0x80; 5]);
        lab.datagram(PortId(99), own, &[0x80; 50]);
    });
    let report = report(&mut lab, LegId(1));
    assert_eq!((report.refused_control, report.malformed), (25, 50));
    assert_eq!(lab.worker.stats().stray_datagrams, 25);
    assert!(power_at(&lab.heard(PortId(2))[2_000..7_800], 440.0) > 7e6);
}
