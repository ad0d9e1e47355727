//! Streams: packet times, codecs, directions, time-outs, moves, late drivers, RTCP.

use super::lab::{
    Datagram, Lab, Peer, RATE, ROOM, lag, ms, power, power_at, snr, speech, through_codec, tone,
};
use crate::id::{LegId, PlayId, PortId};
use crate::media::codec::g711::{decode_a, decode_mu, encode_a, encode_mu};
use crate::media::command::{Command, Event, PlayOn};
use crate::media::frame::SampleRate;
use crate::media::jitter;
use crate::media::leg::Leg;
use crate::media::leg::config::{
    Channel, Direction, LegSettings, LevelExtension, MediaAddress, PayloadFormat,
};
use crate::media::leg::update::LegUpdate;
use crate::media::mixer::{Capacity, Room};
use crate::media::player::{Player, Repeat};
use crate::media::wav::Clip;
use crate::rtp::extension::{AudioLevel, Elements};
use crate::rtp::packet::{HEADER_LEN, Header, is_rtcp};
use crate::rtp::rtcp::{Compound, Packet};

fn configure(lab: &mut Lab, leg: LegId, settings: &LegSettings) {
    let update = LegUpdate::new(settings, RATE, jitter::Config::default());
    let update = Box::new(update.expect("possible settings"));
    lab.command(Command::ConfigureLeg { leg, update });
    let done = |e: &Event| matches!(e, Event::LegConfigured { .. });
    assert!(lab.events.iter().any(done));
}

#[test]
fn every_packet_time_is_sent_and_received() {
    for ptime in [10, 20, 30, 40, 60_u64] {
        let mut lab = Lab::room(vec![Peer::silent(1)]);
        let peer = Peer::silent(2);
        let mut config = peer.config();
        config.settings.ptime = ms(ptime);
        lab.add_with(peer, config);
        let leg = LegId(2);
        lab.command(Command::Join { room: ROOM, leg });
        // The peer of leg 1 sends packets of this length too.
        let samples = 8 * ptime as usize;
        let mut header = lab.peers[0].header;
        let mut spoken = 0;
        lab.run_with(ms(2_400), |lab| {
            while (lab.now.as_nanos() - 120_000_000) / 125_000 >= (spoken + samples) as u64 {
                let sound: Vec<i16> = (spoken..spoken + samples).map(speech(1)).collect();
                let mut packet = vec![0; HEADER_LEN + samples];
                header.emit(&mut packet);
                encode_mu(&sound, &mut packet[HEADER_LEN..]);
                let source = lab.peers[0].address;
                lab.datagram(PortId(1), source, &packet);
                spoken += samples;
                header.sequence = header.sequence.wrapping_add(1);
                header.timestamp = header.timestamp.wrapping_add(samples as u32);
            }
        });
        let packets: Vec<_> = lab.rtp_from(PortId(2)).map(|d| d.rtp()).collect();
        // What is passed on comes before its tick.
        let count = 2_400 / ptime;
        assert!((count..=count + 2).contains(&(packets.len() as u64)));
        for pair in packets.windows(2) {
            assert_eq!(pair[0].payload().len(), samples);
            assert_eq!(pair[1].sequence(), pair[0].sequence().wrapping_add(1));
            let step = pair[1].timestamp().wrapping_sub(pair[0].timestamp());
            assert_eq!(step as usize, samples);
        }
        let said: Vec<i16> = (0..16_000).map(speech(1)).collect();
        let said = through_codec(&said);
        let heard = lab.heard(PortId(2));
        let late = lag(&said[4_000..6_000], &heard[4_000..], 1_600);
        let ratio = snr(&said[4_000..14_000], &heard[4_000 + late..]);
        assert!(
            ratio > 60.0,
            "{ratio} dB at {ptime} ms, {late} samples late"
        );
    }
}

#[test]
fn the_peer_may_change_its_codec_at_any_packet() {
    let mut lab = Lab::room(vec![Peer::silent(2)]);
    let peer = Peer::silent(1);
    let mut config = peer.config();
    config.settings.receive = vec![PayloadFormat::pcmu(), PayloadFormat::pcma()];
    lab.add_with(peer, config);
    let leg = LegId(1);
    lab.command(Command::Join { room: ROOM, leg });
    let mut header = lab.peers[1].header;
    let mut spoken = 0;
    lab.run_with(ms(2_000), |lab| {
        let sound: Vec<i16> = (spoken..spoken + 160).map(tone(700.0, 4_000.0)).collect();
        let mut packet = vec![0; HEADER_LEN + 160];
        let format = if spoken / 1_600 % 2 == 0 {
            PayloadFormat::pcmu()
        } else {
            PayloadFormat::pcma()
        };
        header.payload_type = format.payload_type;
        header.emit(&mut packet);
        match format.payload_type {
            0 => encode_mu(&sound, &mut packet[HEADER_LEN..]),
            _ => encode_a(&sound, &mut packet[HEADER_LEN..]),
        }
        let source = lab.peers[1].address;
        lab.datagram(PortId(1), source, &packet);
        spoken += 160;
        header.sequence = header.sequence.wrapping_add(1);
        header.timestamp = header.timestamp.wrapping_add(160);
    });
    let heard = lab.heard(PortId(2));
    let heard = &heard[4_000..15_200];
    let clean = power_at(heard, 700.0);
    assert!(clean > 7.5e6 && power(heard) < 1.01 * clean);
}

#[test]
fn a_negotiation_changes_what_is_sent() {
    let mut lab = Lab::room(vec![Peer::new(1, tone(500.0, 4_000.0)), Peer::silent(2)]);
    lab.run(ms(400));
    let elsewhere = MediaAddress {
        rtp: "198.51.100.7:4000".parse().unwrap(),
        rtcp: "198.51.100.7:4001".parse().ok(),
    };
    let settings = LegSettings {
        remote: Some(elsewhere),
        send: PayloadFormat::pcma(),
        ptime: ms(30),
        ..lab.peers[1].settings()
    };
    configure(&mut lab, LegId(2), &settings);
    lab.run(ms(600));
    let sent: Vec<_> = lab.rtp_from(PortId(2)).collect();
    for pair in sent.windows(2) {
        let (a, b) = (pair[0].rtp(), pair[1].rtp());
        assert_eq!(b.sequence(), a.sequence().wrapping_add(1));
        let step = b.timestamp().wrapping_sub(a.timestamp());
        assert_eq!(step as usize, a.payload().len());
    }
    let old = sent.partition_point(|d| d.destination == lab.peers[1].address);
    // Packets of 20 ms that are passed on come before their tick, those of 30 ms with it.
    let new = &sent[old..];
    assert!((20..=21).contains(&old) && (19..=20).contains(&new.len()));
    let mut heard = vec![0; new.len() * 240];
    for (datagram, out) in new.iter().zip(heard.chunks_mut(240)) {
        assert_eq!(datagram.destination, elsewhere.rtp);
        assert_eq!(datagram.rtp().payload_type(), 8);
        decode_a(datagram.rtp().payload(), out);
    }
    assert!(power_at(&heard, 500.0) > 7e6);
}

#[test]
fn hold_stops_what_it_should_and_resume_brings_it_back() {
    let mut lab = Lab::room(vec![Peer::new(1, tone(500.0, 4_000.0)), Peer::silent(2)]);
    lab.run(ms(400));
    let with = |lab: &Lab, peer: usize, direction| LegSettings {
        direction,
        ..lab.peers[peer].settings()
    };
    // Leg 1 no longer receives: leg 2 hears nothing. Leg 2 still is sent to.
    let settings = with(&lab, 0, Direction::SEND_ONLY);
    configure(&mut lab, LegId(1), &settings);
    lab.run(ms(400));
    let heard = lab.heard(PortId(2));
    assert_eq!(power(&heard[3_400..6_300]), 0.0);
    // Leg 2 no longer sends: not a packet, but its time runs on.
    let settings = with(&lab, 1, Direction::RECEIVE_ONLY);
    configure(&mut lab, LegId(2), &settings);
    lab.run(ms(400));
    assert_eq!(lab.rtp_from(PortId(2)).count(), 40);
    for (peer, leg) in [(0, LegId(1)), (1, LegId(2))] {
        let settings = with(&lab, peer, Direction::SEND_RECEIVE);
        configure(&mut lab, leg, &settings);
    }
    lab.run(ms(400));
    let sent: Vec<_> = lab.rtp_from(PortId(2)).map(|d| d.rtp().header()).collect();
    assert!((60..=61).contains(&sent.len()));
    assert_eq!(sent[40].sequence, sent[39].sequence.wrapping_add(1));
    assert_eq!(
        sent[40].timestamp,
        sent[39].timestamp.wrapping_add(160 * 21)
    );
    assert!(sent[40].marker && !sent[42].marker);
    let heard = lab.heard(PortId(2));
    assert!(power_at(&heard[11_200..12_700], 500.0) > 7e6);
    // Nothing of the hold counts: not what was sent meanwhile, nor its time.
    let report = lab.worker.leg(LegId(1)).expect("held").report();
    assert_eq!((report.jitter.lost, report.jitter.late), (0, 0));
    assert_eq!(report.concealment.concealed, ms(0));
    let played = report.concealment.played;
    assert!((ms(700)..=ms(820)).contains(&played), "{played:?}");
}

#[test]
fn silence_is_reported_after_each_period_and_again_after_media() {
    let mut lab = Lab::new();
    let peer = Peer::new(1, tone(500.0, 1_000.0));
    let mut config = peer.config();
    config.settings.media_timeout = Some(ms(500));
    lab.add_with(peer, config);
    let told = |lab: &mut Lab| {
        let events = lab.take_events().into_iter();
        let told = events.filter_map(|event| match event {
            Event::MediaStarted { .. } => Some(0),
            Event::MediaTimeout { silent_for, .. } => Some(silent_for.as_millis()),
            _ => None,
        });
        told.collect::<Vec<_>>()
    };
    lab.run(ms(1_000));
    assert_eq!(told(&mut lab), [0]);
    lab.peers[0].is_sending = false;
    lab.run(ms(1_200));
    // The last packet came 7 ms after a tick.
    assert_eq!(told(&mut lab), [513, 1_013]);
    lab.peers[0].is_sending = true;
    lab.run(ms(100));
    assert_eq!(told(&mut lab), [0]);
    lab.peers[0].is_sending = false;
    let held = LegSettings {
        direction: Direction::INACTIVE,
        media_timeout: Some(ms(500)),
        ..lab.peers[0].settings()
    };
    configure(&mut lab, LegId(1), &held);
    lab.run(ms(2_000));
    assert_eq!(told(&mut lab), [0_u128; 0]);
}

/// Everything that a leg carries goes on in another worker.
#[test]
fn a_leg_moves_between_workers_without_a_gap() {
    let mut lab = Lab::room(vec![Peer::new(1, tone(500.0, 4_000.0))]);
    let sound: Vec<i16> = (0..80_000).map(tone(900.0, 4_000.0)).collect();
    let player = Player::clip(Clip::from_samples(RATE, sound), RATE, Repeat::Once).unwrap();
    lab.command(Command::Play {
        play: PlayId(1),
        on: PlayOn::Leg(LegId(1)),
        player: Box::new(player),
    });
    lab.run(ms(1_000));
    let mut other = Lab::new();
    for _ in 0..3 {
        other.now = lab.now;
        lab.command(Command::RemoveLeg {
            leg: LegId(1),
            goodbye: false,
        });
        let events = lab.take_events().into_iter();
        let mut legs = events.filter_map(|event| match event {
            Event::LegRemoved(leg) => Some(leg),
            _ => None,
        });
        let leg: Box<Leg> = legs.next().expect("the leg");
        drop(legs);
        other.command(Command::AddLeg(leg));
        other.peers.append(&mut lab.peers);
        other.sent.append(&mut lab.sent);
        other.run(ms(500));
        assert_eq!(lab.worker.stats().legs, 0);
        std::mem::swap(&mut lab, &mut other);
    }
    let sent: Vec<_> = lab.rtp_from(PortId(1)).map(|d| d.rtp().header()).collect();
    assert_eq!(sent.len(), 125);
    for pair in sent.windows(2) {
        assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
        assert_eq!(pair[1].timestamp, pair[0].timestamp.wrapping_add(160));
        assert!(!pair[1].marker);
    }
    let heard = lab.heard(PortId(1));
    let clean = power_at(&heard[800..], 900.0);
    assert!(clean > 7.5e6 && power(&heard[800..]) < 1.01 * clean);
    assert!(
        !lab.events
            .iter()
            .any(|e| matches!(e, Event::PlayEnded { .. }))
    );
}

#[test]
fn a_late_driver_makes_up_for_half_a_second_and_leaves_out_what_is_older() {
    let mut lab = Lab::room(vec![Peer::silent(1)]);
    lab.run(ms(200));
    lab.now += ms(87);
    lab.catch_up();
    let stats = lab.worker.stats();
    assert_eq!(
        (stats.ticks, stats.late_ticks, stats.skipped_ticks),
        (14, 4, 0)
    );
    assert_eq!(stats.worst_delay, ms(67));
    assert_eq!(lab.rtp_from(PortId(1)).count(), 14);

    lab.now += ms(1_000);
    lab.catch_up();
    let stats = lab.worker.stats();
    assert_eq!((stats.ticks, stats.skipped_ticks), (39, 25));
    assert_eq!(lab.rtp_from(PortId(1)).count(), 39);
    let sent: Vec<_> = lab.rtp_from(PortId(1)).map(|d| d.rtp().header()).collect();
    assert_eq!(sent[14].sequence, sent[13].sequence.wrapping_add(1));
    assert_eq!(
        sent[14].timestamp,
        sent[13].timestamp.wrapping_add(26 * 160)
    );
    let next = lab.worker.poll_timeout().expect("a next tick");
    assert_eq!(next.as_nanos() % 20_000_000, 0);
    assert!(next > lab.now && next - lab.now < ms(20));
}

#[test]
fn reports_are_sent_and_read_and_a_goodbye_ends_them() {
    for mux in [false, true] {
        let mut lab = Lab::new();
        let peer = Peer::new(1, tone(500.0, 1_000.0));
        let mut config = peer.config();
        config.settings.rtcp_mux = mux;
        lab.add_with(peer, config);
        lab.run(ms(15_000));
        let channel = if mux { Channel::Rtp } else { Channel::Rtcp };
        let expected = match mux {
            true => lab.peers[0].address,
            false => lab.peers[0].control_address(),
        };
        lab.command(Command::RemoveLeg {
            leg: LegId(1),
            goodbye: true,
        });
        let reports: Vec<_> = lab.sent.iter().filter(|d| is_rtcp(&d.bytes)).collect();
        assert!(reports.len() >= 3);
        for report in &reports {
            assert_eq!((report.channel, report.destination), (channel, expected));
            let compound = Compound::parse(&report.bytes).expect("valid RTCP");
            let mut senders = compound.packets().filter_map(|p| match p {
                Packet::SenderReport(report) => Some(report),
                _ => None,
            });
            let blocks = senders.next().expect("a sender report").blocks().count();
            assert_eq!(blocks, 1);
        }
        let last = Compound::parse(&reports[reports.len() - 1].bytes).unwrap();
        let is_goodbye = |p: Packet<'_>| matches!(p, Packet::Goodbye(_));
        assert!(last.packets().any(is_goodbye));
    }
}

#[test]
fn a_wide_band_room_takes_narrow_band_legs() {
    let wide = SampleRate::HZ_16000;
    let mut lab = Lab::new();
    let mixer = Box::new(Room::new(wide, Capacity::default()));
    lab.command(Command::AddRoom { room: ROOM, mixer });
    for peer in [Peer::new(1, tone(500.0, 4_000.0)), Peer::silent(2)] {
        let mut config = peer.config();
        config.rate = wide;
        let leg = peer.leg;
        lab.add_with(peer, config);
        lab.command(Command::Join { room: ROOM, leg });
    }
    lab.run(ms(1_000));
    let heard = lab.heard(PortId(2));
    let heard = &heard[2_400..7_900];
    let clean = power_at(heard, 500.0);
    assert!((7e6..9e6).contains(&clean) && power(heard) < 1.01 * clean);

    lab.add(Peer::silent(3));
    let leg = LegId(3);
    lab.take_events();
    lab.command(Command::Join { room: ROOM, leg });
    assert!(matches!(lab.take_events()[..], [Event::Rejected { .. }]));
}

#[test]
fn a_leg_whose_peer_is_unknown_sends_and_takes_nothing() {
    let mut lab = Lab::new();
    let peer = Peer::new(1, tone(500.0, 1_000.0));
    let mut config = peer.config();
    config.settings.remote = None;
    lab.add_with(peer, config);
    lab.run(ms(1_000));
    assert!(lab.sent.is_empty() && lab.events.is_empty());
    let settings = lab.peers[0].settings();
    configure(&mut lab, LegId(1), &settings);
    lab.run(ms(200));
    assert_eq!(lab.rtp_from(PortId(1)).count(), 10);
    assert!(
        lab.events
            .iter()
            .any(|e| matches!(e, Event::MediaStarted { .. }))
    );
}

#[test]
fn our_own_packets_come_back_decoded_as_they_were() {
    // A header that our sender wrote is one that a plain reader understands.
    let mut lab = Lab::room(vec![Peer::silent(1)]);
    lab.run(ms(40));
    let first = lab.rtp_from(PortId(1)).next().expect("a packet");
    let header: Header = first.rtp().header();
    assert!(header.marker && header.payload_type == 0);
    let mut silence = [1; 160];
    decode_mu(first.rtp().payload(), &mut silence);
    assert_eq!(silence, [0; 160]);
}

#[test]
fn levels_are_told_where_that_was_agreed_and_the_peers_are_shown() {
    let mut lab = Lab::room(vec![Peer::new(2, tone(440.0, 8_000.0))]);
    let peer = Peer::silent(1);
    let mut config = peer.config();
    let level = LevelExtension {
        id: 3,
        send: true,
        voice: true,
    };
    config.settings.audio_level = Some(level);
    lab.add_with(peer, config);
    let leg = LegId(1);
    lab.command(Command::Join { room: ROOM, leg });
    let told = AudioLevel {
        voice: true,
        level: 42,
    };
    lab.run_with(ms(1_000), |lab| {
        let mut packet = lab.peers[1].speak();
        packet.splice(HEADER_LEN..HEADER_LEN, [0xBE, 0xDE, 0, 1, 0x30, 0, 0, 0]);
        packet[0] |= 0x10;
        packet[HEADER_LEN + 5] = told.emit()[0];
        let source = lab.peers[1].address;
        lab.datagram(PortId(1), source, &packet);
    });
    let sent: Vec<_> = lab.rtp_from(PortId(1)).collect();
    let level_of = |d: &Datagram| {
        let view = d.rtp();
        assert_eq!(view.payload().len(), 160);
        let element = Elements::of(&view).find(|e| e.id == 3).expect("told");
        AudioLevel::parse(element.data).expect("a level").level
    };
    assert_eq!(level_of(sent[0]), 127, "silence at first");
    // A sine of 8,000 peak is 15.3 dB below the overload of its rms.
    assert_eq!(level_of(sent[sent.len() - 1]), 15);
    let report = Box::default();
    lab.command(Command::QueryLeg { leg, report });
    let shown = lab.take_events().into_iter().find_map(|event| match event {
        Event::LegReport { report, .. } => report.peer_level,
        _ => None,
    });
    assert_eq!(shown, Some(told));
}

#[test]
fn a_stream_that_pauses_and_goes_on_without_a_marker_loses_nothing() {
    // Signalled, or not; with timestamps that stood still, that ran on, and that jumped.
    for signalled in [true, false] {
        for step in [0, 160 * 100, 0x4000_0000_u32] {
            let mut lab = Lab::room(vec![Peer::new(1, tone(440.0, 8_000.0)), Peer::silent(2)]);
            lab.run(ms(1_000));
            let mut settings = lab.peers[0].settings();
            if signalled {
                settings.direction = Direction::SEND_ONLY;
                configure(&mut lab, LegId(1), &settings);
            }
            lab.peers[0].is_sending = false;
            lab.run(ms(2_000));
            if signalled {
                settings.direction = Direction::SEND_RECEIVE;
                configure(&mut lab, LegId(1), &settings);
            }
            let header = &mut lab.peers[0].header;
            header.timestamp = header.timestamp.wrapping_add(step);
            lab.peers[0].is_sending = true;
            let before = lab.heard(PortId(2)).len();
            lab.run(ms(1_000));
            let heard = lab.heard(PortId(2));
            let loud = |frame: &[i16]| power_at(frame, 440.0) > 1e7;
            let frames: Vec<bool> = heard[before..].chunks_exact(160).map(loud).collect();
            let first = frames.iter().position(|loud| *loud).expect("it is heard");
            let silent = frames[first..].iter().filter(|loud| !**loud).count();
            assert!(
                first <= 8 && silent <= 1,
                "{signalled} {step}: {first}, {silent}"
            );
            let report = Box::default();
            let leg = LegId(1);
            lab.command(Command::QueryLeg { leg, report });
            let late = lab.take_events().into_iter().find_map(|event| match event {
                Event::LegReport { report, .. } => Some(report.jitter.late + report.jitter.strange),
                _ => None,
            });
            assert_eq!(late, Some(0), "{signalled} {step}");
        }
    }
}

/// A media thread that the system does not let run for a while: other threads on its core, another machine on
/// its host.
#[test]
fn a_stall_of_less_than_half_a_second_costs_no_packet_and_no_word() {
    let mut lab = Lab::room(vec![Peer::new(1, speech(1)), Peer::new(2, speech(2))]);
    let mut config = Peer::silent(3).config();
    config.settings.send = PayloadFormat::pcma();
    config.settings.receive = vec![PayloadFormat::pcma()];
    lab.add_with(Peer::silent(3), config);
    let (room, leg) = (ROOM, LegId(3));
    lab.command(Command::Join { room, leg });
    lab.run(ms(1_000));
    for stall in [160, 300, 480] {
        lab.now += ms(stall);
        // What came meanwhile has waited in the sockets, and is taken first.
        for n in 0..stall / 20 {
            for peer in 0..2 {
                let at = lab.now + ms(7) - ms(stall) + ms(n * 20);
                let mut packet = lab.peers[peer].speak();
                let (port, source) = (lab.peers[peer].port, lab.peers[peer].address);
                lab.worker.handle_rtp(at, port, source, &mut packet);
            }
        }
        lab.catch_up();
        lab.run(ms(1_000));
    }
    assert_eq!(lab.worker.stats().skipped_ticks, 0);
    let ticks = (lab.now.as_nanos() / 20_000_000) as usize - 5;
    for port in 1..4 {
        let sent: Vec<_> = lab
            .rtp_from(PortId(port))
            .map(|d| d.rtp().header())
            .collect();
        assert_eq!(sent.len(), ticks, "a packet for each tick");
        for pair in sent.windows(2) {
            assert_eq!(pair[1].timestamp, pair[0].timestamp.wrapping_add(160));
        }
    }
    let made_up = |leg| {
        lab.worker
            .leg(LegId(leg))
            .expect("there")
            .report()
            .concealment
            .concealed
    };
    assert!(made_up(1) + made_up(2) < ms(100), "{:?}", made_up(1));
}
