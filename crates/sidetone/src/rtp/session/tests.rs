//! Tests: an RTP session in virtual time.

use super::*;
use crate::rtp::packet::HEADER_LEN;
use crate::rtp::rtcp::feedback::Message;
use crate::rtp::rtcp::{Compound, Packet, Writer};
use crate::time::WallTime;

fn at(ms: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(ms)
}

fn session(seed: u64) -> Session {
    let config = SessionConfig {
        cname: format!("party{seed}"),
        anchor: ClockAnchor {
            at: Instant::ZERO,
            wall: WallTime::from_unix_nanos(1_700_000_000_123_456_789),
        },
        receiver: ReceiverConfig {
            probation: 1,
            ..ReceiverConfig::default()
        },
        control: ControlConfig::default(),
    };
    Session::new(Instant::ZERO, config, Rng::new(seed))
}

fn send_audio(from: &mut Session, to: &mut Session, now: Instant, arrives: Instant) {
    let mut packet = [0; HEADER_LEN + 160];
    from.sender().audio(now, 0, 160, 160).emit(&mut packet);
    to.handle_rtp(arrives, &View::parse(&packet).unwrap())
        .unwrap();
}

/// Runs a call of `seconds` with audio both ways and a one-way delay; returns when each side sent
/// RTCP, in milliseconds.
fn call(a: &mut Session, b: &mut Session, seconds: u64, delay: u64) -> [Vec<u64>; 2] {
    let mut sent = [Vec::new(), Vec::new()];
    let mut in_flight: Vec<(u64, bool, Vec<u8>)> = Vec::new();
    for ms in 0..seconds * 1000 {
        if ms % 20 == 0 {
            send_audio(a, b, at(ms), at(ms + delay));
            send_audio(b, a, at(ms), at(ms + delay));
        }
        let mut buf = [0; control::MAX_COMPOUND_LEN];
        while let Some(len) = a.poll_rtcp(at(ms), &mut buf) {
            sent[0].push(ms);
            in_flight.push((ms + delay, true, buf[..len].to_vec()));
        }
        while let Some(len) = b.poll_rtcp(at(ms), &mut buf) {
            sent[1].push(ms);
            in_flight.push((ms + delay, false, buf[..len].to_vec()));
        }
        let (due, later) = in_flight.into_iter().partition(|(when, ..)| *when <= ms);
        in_flight = later;
        for (when, to_b, bytes) in due {
            let receiver = if to_b { &mut *b } else { &mut *a };
            receiver.handle_rtcp(at(when), &bytes).unwrap();
        }
    }
    sent
}

#[test]
fn reports_come_early_at_random_intervals_and_carry_the_round_trip() {
    let (mut a, mut b) = (session(1), session(2));
    let sent = call(&mut a, &mut b, 120, 40);
    for times in &sent {
        assert!((1000..3100).contains(&times[0]), "first at {}", times[0]);
        for pair in times.windows(2) {
            let gap = pair[1] - pair[0];
            assert!((2000..6300).contains(&gap), "{gap} ms between reports");
        }
        let mean = (times[times.len() - 1] - times[0]) / (times.len() as u64 - 1);
        assert!((4000..6000).contains(&mean), "{mean} ms on average");
    }
    assert_ne!(sent[0], sent[1]);
    for side in [&a, &b] {
        let peer = side.peer_stats();
        let trip = peer.round_trip.unwrap();
        assert!((79..=81).contains(&trip.as_millis()), "{trip:?}");
        assert_eq!((peer.lost, peer.fraction_lost), (0, 0));
        assert!(peer.reports >= 20);
        assert_eq!(side.control_stats().invalid, 0);
    }
    assert_eq!(a.send_stats().packets, 6000);
    assert_eq!(b.receive_stats().packets, 6000);
    assert_eq!(b.receive_stats().bytes, 960_000);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let run = || {
        let mut side = session(7);
        let mut bytes = Vec::new();
        for ms in 0..60_000 {
            let mut buf = [0; 580];
            if ms % 20 == 0 {
                let mut packet = [0; HEADER_LEN];
                side.sender().audio(at(ms), 0, 160, 160).emit(&mut packet);
                bytes.extend_from_slice(&packet);
            }
            if let Some(len) = side.poll_rtcp(at(ms), &mut buf) {
                bytes.extend_from_slice(&buf[..len]);
            }
        }
        bytes
    };
    assert_eq!(run(), run());
}

/// The next report of a session, and when it is sent: the timer may be set on once or twice.
fn next_report(side: &mut Session, buf: &mut [u8]) -> (usize, Instant) {
    loop {
        let due = side.poll_timeout().unwrap();
        if let Some(len) = side.poll_rtcp(due, buf) {
            return (len, due);
        }
    }
}

#[test]
fn only_who_sends_reports_as_a_sender() {
    let mut side = session(1);
    let mut buf = [0; 580];
    let (len, _) = next_report(&mut side, &mut buf);
    let first = Compound::parse(&buf[..len]).unwrap().packets().next();
    assert!(matches!(first, Some(Packet::ReceiverReport(_))));

    let due = side.poll_timeout().unwrap();
    side.sender().audio(due, 0, 160, 160);
    let (len, _) = next_report(&mut side, &mut buf);
    let packets: Vec<_> = Compound::parse(&buf[..len]).unwrap().packets().collect();
    let Packet::SenderReport(report) = packets[0] else {
        panic!("{packets:?}");
    };
    assert_eq!((report.info().packets, report.info().octets), (1, 160));
    assert!(
        matches!(packets[1], Packet::SourceDescription(s) if s.cname(report.ssrc()) == Some(b"party1"))
    );

    // Silent for two intervals: a receiver again.
    next_report(&mut side, &mut buf);
    let (len, _) = next_report(&mut side, &mut buf);
    let first = Compound::parse(&buf[..len]).unwrap().packets().next();
    assert!(matches!(first, Some(Packet::ReceiverReport(_))));
}

#[test]
fn goodbye_is_sent_at_once_and_ends_reports() {
    let (mut a, mut b) = (session(1), session(2));
    send_audio(&mut a, &mut b, at(0), at(0));
    a.goodbye(at(5), "hung up");
    assert_eq!(a.poll_timeout(), Some(at(5)));
    let mut buf = [0; 580];
    let len = a.poll_rtcp(at(5), &mut buf).unwrap();
    let heard = b.handle_rtcp(at(6), &buf[..len]).unwrap();
    assert!(heard.goodbye);
    assert_eq!(a.poll_timeout(), None);
    assert_eq!(a.poll_rtcp(at(100_000), &mut buf), None);
}

#[test]
fn a_goodbye_for_another_source_is_no_goodbye() {
    let (mut a, mut b) = (session(1), session(2));
    send_audio(&mut a, &mut b, at(0), at(0));
    let mut buf = [0; 64];
    let mut writer = Writer::new(&mut buf);
    writer.receiver_report(99, &[]).unwrap();
    writer.goodbye(99, "").unwrap();
    let len = writer.finish();
    assert!(!b.handle_rtcp(at(6), &buf[..len]).unwrap().goodbye);
}

#[test]
fn a_collision_changes_the_ssrc_once_and_says_goodbye_for_the_old() {
    let mut side = session(1);
    let old = side.sender().ssrc();
    let mut packet = [0; HEADER_LEN];
    side.sender().audio(at(0), 0, 160, 160).emit(&mut packet);
    let refused = side.handle_rtp(at(1), &View::parse(&packet).unwrap());
    assert_eq!(refused, Err(Refusal::Collision));
    let new = side.sender().ssrc();
    assert_ne!(new, old);
    assert!(side.poll_timeout().unwrap() <= at(1));
    let mut buf = [0; 580];
    let len = side.poll_rtcp(at(1), &mut buf).unwrap();
    let gone = Compound::parse(&buf[..len])
        .unwrap()
        .packets()
        .any(|packet| matches!(packet, Packet::Goodbye(goodbye) if goodbye.sources().eq([old])));
    assert!(gone);
    // The new one comes back as well: a loop, which must not change it for ever.
    side.sender().audio(at(20), 0, 160, 160).emit(&mut packet);
    for _ in 0..100 {
        let refused = side.handle_rtp(at(21), &View::parse(&packet).unwrap());
        assert_eq!(refused, Err(Refusal::Collision));
    }
    assert_eq!(side.sender().ssrc(), new);
    assert_eq!(side.control_stats().collisions, 101);
    assert_eq!(side.receive_stats().packets, 0);
}

#[test]
fn hostile_rtcp_is_counted_and_changes_nothing() {
    let mut side = session(1);
    let before = side.peer_stats();
    let mut rng = Rng::new(5);
    for _ in 0..10_000 {
        let mut bytes = [0; 64];
        for byte in &mut bytes {
            *byte = rng.next_u32() as u8;
        }
        bytes[0] = 0x80 | (bytes[0] & 0x3F);
        bytes[1] = 200 + (bytes[1] & 7);
        let len = rng.below(65) as usize;
        let _ = side.handle_rtcp(at(0), &bytes[..len]);
    }
    assert_eq!(side.peer_stats(), before);
    assert!(side.control_stats().invalid > 9000);
}

const AVPF: ControlTerms = ControlTerms {
    reduced_size: true,
    early_feedback: true,
    interval: Some(Duration::from_secs(1)),
    voip_metrics: true,
    reference_time: true,
};

#[test]
fn feedback_goes_out_early_once_and_without_a_report_where_that_was_agreed() {
    let (mut a, mut b) = (session(1), session(2));
    a.set_control_terms(at(0), AVPF);
    b.set_control_terms(at(0), AVPF);
    assert_eq!(a.request(Request::PictureLoss), Err(CannotRequest));
    send_audio(&mut b, &mut a, at(0), at(5));
    let nack = Request::Nack {
        first: 7,
        following: 0b101,
    };
    for _ in 0..5 {
        a.request(nack).unwrap();
    }
    let mut buf = [0; control::MAX_COMPOUND_LEN];
    assert_eq!(a.poll_timeout(), Some(Instant::ZERO));
    let len = a.poll_rtcp(at(5), &mut buf).unwrap();
    assert_eq!(len, 16, "nothing but the feedback");
    b.handle_rtcp(at(10), &buf[..len]).unwrap();
    let stats = b.feedback_stats();
    assert_eq!((stats.nacks, stats.nacked_packets), (1, 3));
    // The next waits for the report.
    a.request(Request::FullIntra).unwrap();
    assert_eq!(a.poll_rtcp(at(6), &mut buf), None);
    let due = a.poll_timeout().unwrap();
    assert!(due > at(6));
    let (len, sent) = next_report(&mut a, &mut buf);
    assert!(sent >= due && len > 16);
    b.handle_rtcp(sent, &buf[..len]).unwrap();
    assert_eq!(b.feedback_stats().full_intras, 1);
    assert_eq!(a.feedback_stats().sent, 2);
    // Bounded.
    for first in 0..4 {
        let nack = Request::Nack {
            first,
            following: 0,
        };
        a.request(nack).unwrap();
    }
    assert_eq!(a.request(Request::PictureLoss), Err(CannotRequest));
}

#[test]
fn without_avpf_feedback_waits_and_reduced_size_is_refused() {
    let (mut a, mut b) = (session(1), session(2));
    send_audio(&mut b, &mut a, at(0), at(5));
    a.request(Request::PictureLoss).unwrap();
    let mut buf = [0; control::MAX_COMPOUND_LEN];
    assert_eq!(a.poll_rtcp(at(6), &mut buf), None);
    let (len, sent) = next_report(&mut a, &mut buf);
    let last = Compound::parse(&buf[..len]).unwrap().packets().last();
    assert!(matches!(last, Some(Packet::Feedback(f)) if matches!(f.message, Message::PictureLoss)));
    b.handle_rtcp(sent, &buf[..len]).unwrap();
    assert_eq!(b.feedback_stats().picture_losses, 1);
    let mut writer = Writer::new(&mut buf);
    writer.picture_loss(1, 2).unwrap();
    let len = writer.finish();
    assert!(b.handle_rtcp(sent, &buf[..len]).is_err());
    b.set_control_terms(sent, AVPF);
    assert!(b.handle_rtcp(sent, &buf[..len]).is_ok());
    assert_eq!(b.feedback_stats().other, 1, "not about our stream");
}

#[test]
fn extended_reports_tell_metrics_and_a_listeners_round_trip() {
    let (mut a, mut b) = (session(1), session(2));
    a.set_control_terms(at(0), AVPF);
    b.set_control_terms(at(0), AVPF);
    let mut buf = [0; control::MAX_COMPOUND_LEN];
    let mut wanted = false;
    // B only listens: 40 ms each way, and every tenth of A's packets is lost.
    for ms in 0..20_000 {
        if ms % 20 == 0 {
            let mut packet = [0; HEADER_LEN + 160];
            a.sender().audio(at(ms), 0, 160, 160).emit(&mut packet);
            if ms % 200 != 0 {
                let view = View::parse(&packet).unwrap();
                b.handle_rtp(at(ms + 40), &view).unwrap();
            }
        }
        if let Some(len) = a.poll_rtcp(at(ms), &mut buf) {
            b.handle_rtcp(at(ms + 40), &buf[..len]).unwrap();
        }
        if b.wants_playout_figures(at(ms)) {
            wanted = true;
            b.set_playout_figures(PlayoutFigures {
                delay: Duration::from_millis(60),
                mos_listening: Some(4.16),
                adaptive: true,
                ..PlayoutFigures::default()
            });
        }
        if let Some(len) = b.poll_rtcp(at(ms), &mut buf) {
            a.handle_rtcp(at(ms + 40), &buf[..len]).unwrap();
        }
    }
    assert!(wanted);
    let trip = b.peer_stats().round_trip.expect("by reference times");
    assert!((79..=81).contains(&trip.as_millis()), "{trip:?}");
    let heard = a.peer_stats().voip.expect("metrics");
    assert_eq!(heard.ssrc, a.sender().ssrc());
    assert!((24..=26).contains(&heard.loss_rate), "{heard:?}");
    assert!(
        heard.burst_density > 20 && heard.gap_duration < 2_000,
        "{heard:?}"
    );
    assert_eq!((heard.mos_listening, heard.mos_conversation), (42, 127));
    assert_eq!((heard.buffer_nominal, heard.end_system_delay), (60, 80));
    assert_eq!(heard.receiver, 0b1111_0000);
    assert!((79..=81).contains(&heard.round_trip));
    assert_eq!(b.peer_stats().voip, None, "B sends nothing");
}

#[test]
fn what_was_not_agreed_is_not_sent() {
    let (mut a, mut b) = (session(1), session(2));
    send_audio(&mut b, &mut a, at(0), at(5));
    let mut buf = [0; control::MAX_COMPOUND_LEN];
    let (len, _) = next_report(&mut a, &mut buf);
    let mut packets = Compound::parse(&buf[..len]).unwrap().packets();
    assert!(!packets.any(|p| matches!(p, Packet::ExtendedReport(_) | Packet::Feedback(_))));
    assert!(!a.wants_playout_figures(at(100_000)));
}

#[test]
fn avpf_reports_come_every_second() {
    let (mut a, mut b) = (session(1), session(2));
    a.set_control_terms(at(0), AVPF);
    b.set_control_terms(at(0), AVPF);
    let sent = call(&mut a, &mut b, 60, 40);
    for times in &sent {
        assert!((45..75).contains(&times.len()), "{} reports", times.len());
    }
}

#[test]
fn figures_survive_weeks_and_wraps() {
    let (mut a, mut b) = (session(1), session(2));
    // Sixty days at 50 packets a second, sampled: the numbers run on as if all had been sent.
    let mut now = 0;
    for _ in 0..100 {
        for _ in 0..5 {
            send_audio(&mut a, &mut b, at(now), at(now + 30));
            now += 20;
        }
        let pause = 14 * 3_600_000 / 20;
        a.sender().skip(160 * pause as u32);
        now += pause * 20;
        let mut buf = [0; 732];
        while let Some(len) = a.poll_rtcp(at(now), &mut buf) {
            b.handle_rtcp(at(now + 30), &buf[..len]).unwrap();
        }
        while let Some(len) = b.poll_rtcp(at(now + 60), &mut buf) {
            a.handle_rtcp(at(now + 90), &buf[..len]).unwrap();
        }
        let jitter = b.receive_stats().jitter;
        assert!(jitter < Duration::from_millis(1), "{jitter:?} at {now}");
        // What waits for a timer that was set weeks ago must not spin.
        assert!(a.poll_timeout().is_some_and(|due| due > at(now)));
    }
    let trip = a.peer_stats().round_trip.unwrap();
    assert!((59..=61).contains(&trip.as_millis()), "{trip:?}");
    assert_eq!(b.receive_stats().lost, 0);
}
