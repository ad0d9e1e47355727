//! Tests: which addresses a source lock believes.

use super::*;

fn at(ms: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(ms)
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

const PEER: &str = "192.0.2.1:4000";
const PEER_OTHER_PORT: &str = "192.0.2.1:61000";
const OUTSIDER: &str = "203.0.113.9:5555";

fn lock(learning: Learning) -> SourceLock {
    let mut lock = SourceLock::new(SourceConfig {
        learning,
        ..SourceConfig::default()
    });
    lock.signal(at(0), address(PEER));
    lock
}

/// Sends a well-formed stream of `count` packets, 20 ms apart, from `start`; returns those taken.
fn stream(lock: &mut SourceLock, from: &str, start: u64, count: u16) -> u16 {
    let mut taken = 0;
    for n in 0..count {
        let now = at(start + u64::from(n) * 20);
        taken += u16::from(lock.handle_packet(now, address(from), 9, n) != Verdict::Refuse);
    }
    taken
}

#[test]
fn nothing_is_taken_or_sent_before_an_address_is_signalled() {
    let mut lock = SourceLock::new(SourceConfig {
        learning: Learning::AnyHost,
        ..SourceConfig::default()
    });
    assert_eq!(stream(&mut lock, OUTSIDER, 0, 100), 0);
    assert_eq!(lock.destination(), None);
    assert_eq!(lock.stats().refused, 100);
}

#[test]
fn an_established_stream_is_never_moved() {
    for learning in [Learning::Off, Learning::KnownHost, Learning::AnyHost] {
        let mut lock = lock(learning);
        assert_eq!(stream(&mut lock, PEER, 0, 10), 10);
        assert!(lock.is_locked());
        assert_eq!(stream(&mut lock, OUTSIDER, 200, 500), 0);
        for n in 0..500 {
            let now = at(200 + u64::from(n) * 20);
            let verdict = lock.handle_packet(now, address(PEER_OTHER_PORT), 8, n);
            assert_eq!(verdict, Verdict::Refuse, "another stream of the same host");
        }
        assert_eq!(lock.destination(), Some(address(PEER)));
        assert_eq!(lock.stats().refused, 1000);
        assert_eq!(stream(&mut lock, PEER, 10_000, 10), 10);
    }
}

#[test]
fn with_learning_off_only_the_signalled_address_counts() {
    let mut lock = lock(Learning::Off);
    assert_eq!(stream(&mut lock, PEER_OTHER_PORT, 0, 500), 0);
    assert_eq!(lock.destination(), Some(address(PEER)));
    assert_eq!(stream(&mut lock, PEER, 60_000, 3), 3);
}

#[test]
fn a_known_host_behind_nat_is_learned_after_probation() {
    let mut lock = lock(Learning::KnownHost);
    assert_eq!(stream(&mut lock, PEER_OTHER_PORT, 0, 10), 9);
    assert_eq!(lock.destination(), Some(address(PEER_OTHER_PORT)));
    assert_eq!(lock.stats().learned, 1);
    assert_eq!(stream(&mut lock, PEER_OTHER_PORT, 6_000, 1), 1);
    assert!(lock.is_locked());
}

#[test]
fn the_source_of_signalling_is_a_known_host() {
    let mut lock = SourceLock::new(SourceConfig {
        hint: Some(address(OUTSIDER).ip()),
        ..SourceConfig::default()
    });
    lock.signal(at(0), address("10.0.0.7:4000"));
    assert_eq!(stream(&mut lock, OUTSIDER, 100, 10), 9);
    assert_eq!(lock.destination(), Some(address(OUTSIDER)));
}

#[test]
fn an_unknown_host_is_learned_only_in_any_host_mode_and_after_the_trial() {
    let mut strict = lock(Learning::KnownHost);
    assert_eq!(stream(&mut strict, OUTSIDER, 0, 200), 0);
    assert_eq!(strict.destination(), Some(address(PEER)));

    let mut open = lock(Learning::AnyHost);
    assert_eq!(
        stream(&mut open, OUTSIDER, 0, 25),
        0,
        "500 ms have not passed"
    );
    assert_eq!(stream(&mut lock(Learning::AnyHost), OUTSIDER, 0, 30), 5);
}

#[test]
fn the_signalled_address_takes_the_stream_back_at_once() {
    let mut lock = lock(Learning::AnyHost);
    assert_eq!(stream(&mut lock, OUTSIDER, 0, 30), 5);
    assert_eq!(lock.destination(), Some(address(OUTSIDER)));
    assert_eq!(stream(&mut lock, PEER, 600, 1), 1);
    assert_eq!(lock.destination(), Some(address(PEER)));
    assert_eq!(stream(&mut lock, OUTSIDER, 620, 100), 0);
    assert_eq!(lock.stats().reverted, 1);
}

#[test]
fn an_unknown_host_gets_five_packets_until_it_reports_on_our_stream() {
    let mut lock = lock(Learning::AnyHost);
    assert_eq!(stream(&mut lock, OUTSIDER, 0, 30), 5);
    for _ in 0..UNCONFIRMED_PACKETS {
        assert_eq!(lock.destination(), Some(address(OUTSIDER)));
        lock.note_sent();
    }
    assert_eq!(lock.destination(), Some(address(PEER)));
    assert_eq!(stream(&mut lock, OUTSIDER, 20_000, 3), 3);
    assert!(!lock.is_locked(), "it never closes the lock");
    lock.confirm(address("198.51.100.1:9"));
    assert_eq!(lock.destination(), Some(address(PEER)), "somebody else's");
    let mut confirmed = lock.clone();
    confirmed.confirm(address("203.0.113.9:5556"));
    assert_eq!(confirmed.destination(), Some(address(OUTSIDER)));
    assert_eq!(stream(&mut lock, PEER, 60_000, 1), 1);
    assert_eq!(stream(&mut lock, OUTSIDER, 60_020, 30), 0);
    assert!(lock.is_locked());
}

/// Packet `n` of the stream that [`stream`] sends, from elsewhere.
fn go_on(lock: &mut SourceLock, from: &str, ms: u64, ssrc: u32, n: u16) -> Verdict {
    lock.handle_packet(at(ms), address(from), ssrc, n)
}

#[test]
fn a_stream_goes_on_from_another_port_of_its_host_after_a_silence() {
    let mut lock = lock(Learning::KnownHost);
    stream(&mut lock, PEER, 0, 500);
    assert!(lock.is_locked());
    // The last packet came at 9,980 ms: too early, and from a stranger, another stream, long gone.
    assert_eq!(
        go_on(&mut lock, PEER_OTHER_PORT, 10_400, 9, 500),
        Verdict::Refuse
    );
    for n in 510..520 {
        let ms = 10_500 + u64::from(n);
        assert_eq!(go_on(&mut lock, OUTSIDER, ms, 9, n), Verdict::Refuse);
        assert_eq!(go_on(&mut lock, PEER_OTHER_PORT, ms, 8, n), Verdict::Refuse);
        assert_eq!(
            go_on(&mut lock, PEER_OTHER_PORT, ms, 9, n - 200),
            Verdict::Refuse
        );
    }
    assert_eq!(lock.destination(), Some(address(PEER)));
    // The stream itself, after 550 ms.
    assert_eq!(
        go_on(&mut lock, PEER_OTHER_PORT, 11_100, 9, 550),
        Verdict::Refuse
    );
    assert_eq!(
        go_on(&mut lock, PEER_OTHER_PORT, 11_120, 9, 551),
        Verdict::Learned
    );
    assert_eq!(
        go_on(&mut lock, PEER_OTHER_PORT, 11_140, 9, 552),
        Verdict::Accept
    );
    assert_eq!(lock.destination(), Some(address(PEER_OTHER_PORT)));
    assert_eq!(go_on(&mut lock, PEER, 11_160, 9, 553), Verdict::Refuse);
    assert_eq!(lock.stats().rebound, 1);
}

#[test]
fn without_learning_no_stream_changes_its_port() {
    let mut lock = lock(Learning::Off);
    stream(&mut lock, PEER, 0, 100);
    for n in 100..300 {
        let ms = 3_000 + u64::from(n) * 20;
        assert_eq!(go_on(&mut lock, PEER_OTHER_PORT, ms, 9, n), Verdict::Refuse);
    }
}

#[test]
fn a_sprayer_of_one_packet_is_never_learned() {
    let mut lock = lock(Learning::AnyHost);
    for n in 0..2000u64 {
        // The advisory's packet: the same header each time, so never in sequence.
        let verdict = lock.handle_packet(at(n), address(OUTSIDER), 0, 0);
        assert_eq!(verdict, Verdict::Refuse);
    }
    assert_eq!(lock.destination(), Some(address(PEER)));
}

#[test]
fn a_sprayer_cannot_keep_a_known_host_from_being_learned() {
    let mut lock = lock(Learning::AnyHost);
    let mut learned = 0;
    for n in 0..20u16 {
        let now = at(u64::from(n) * 20);
        learned +=
            u32::from(lock.handle_packet(now, address(PEER_OTHER_PORT), 9, n) == Verdict::Learned);
        assert_eq!(
            lock.handle_packet(now, address(OUTSIDER), 0, n),
            Verdict::Refuse
        );
    }
    assert_eq!(learned, 1);
    assert_eq!(lock.destination(), Some(address(PEER_OTHER_PORT)));
}

#[test]
fn nothing_is_learned_after_the_window() {
    let mut lock = lock(Learning::AnyHost);
    assert_eq!(stream(&mut lock, PEER_OTHER_PORT, 5_001, 500), 0);
    assert_eq!(lock.destination(), Some(address(PEER)));
    assert_eq!(stream(&mut lock, PEER, 60_000, 1), 1);
}

#[test]
fn reopening_gives_a_late_answer_its_window() {
    let mut lock = lock(Learning::KnownHost);
    lock.reopen(at(30_000));
    assert_eq!(stream(&mut lock, PEER_OTHER_PORT, 30_000, 3), 2);
    lock.reopen(at(60_000));
    assert_eq!(
        stream(&mut lock, OUTSIDER, 60_000, 300),
        0,
        "reopening moves nothing"
    );
}

#[test]
fn a_changed_signalled_address_opens_the_lock_anew() {
    let mut lock = lock(Learning::KnownHost);
    stream(&mut lock, PEER, 0, 10);
    lock.signal(at(1_000), address(PEER));
    assert!(lock.is_locked(), "the same address again changes nothing");
    let moved = "198.51.100.4:7000";
    lock.signal(at(2_000), address(moved));
    assert_eq!(lock.destination(), Some(address(moved)));
    assert_eq!(stream(&mut lock, PEER, 2_000, 10), 0);
    assert_eq!(stream(&mut lock, moved, 2_100, 10), 10);
    assert!(lock.is_locked());
}

#[test]
fn mapped_addresses_are_the_addresses_they_map() {
    let mut lock = lock(Learning::Off);
    let mapped = address("[::ffff:192.0.2.1]:4000");
    for n in 0..3 {
        assert_eq!(lock.handle_packet(at(0), mapped, 9, n), Verdict::Accept);
    }
    assert_eq!(lock.destination(), Some(address(PEER)));
}

#[test]
fn control_packets_follow_the_lock_and_teach_nothing() {
    let mut lock = lock(Learning::AnyHost);
    for _ in 0..100 {
        assert_eq!(lock.handle_other(address(OUTSIDER)), Verdict::Refuse);
    }
    assert_eq!(lock.handle_other(address(PEER)), Verdict::Accept);
    assert!(!lock.is_locked());
}
