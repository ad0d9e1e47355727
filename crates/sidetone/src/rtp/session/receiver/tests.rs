//! Tests: what a receiver makes of sequence, loss and jitter.

use super::*;
use crate::rng::Rng;
use crate::rtp::packet::{HEADER_LEN, Header};

const SSRC: u32 = 0xAAAA;
const OTHER: u32 = 0xBBBB;

fn at(ms: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(ms)
}

fn receive(
    receiver: &mut Receiver,
    ms: u64,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
) -> Result<Position, Refusal> {
    let header = Header {
        payload_type: 0,
        marker: false,
        sequence,
        timestamp,
        ssrc,
    };
    let mut packet = [0; HEADER_LEN + 160];
    header.emit(&mut packet);
    receiver.handle_packet(at(ms), &View::parse(&packet).unwrap())
}

/// Sends packet `n` of a stream that began at sequence `first`, at its due time.
fn nth(receiver: &mut Receiver, ssrc: u32, first: u16, n: u16) -> Result<Position, Refusal> {
    let timestamp = u32::from(n) * 160;
    receive(
        receiver,
        u64::from(n) * 20,
        ssrc,
        first.wrapping_add(n),
        timestamp,
    )
}

/// A receiver that takes the first packet.
fn ready() -> Receiver {
    Receiver::new(ReceiverConfig {
        probation: 1,
        ..ReceiverConfig::default()
    })
}

#[test]
fn the_first_packet_is_taken_and_its_source_confirmed_by_the_second() {
    let mut receiver = Receiver::new(ReceiverConfig::default());
    assert!(nth(&mut receiver, SSRC, 10, 0).unwrap().restarted);
    assert!(!nth(&mut receiver, SSRC, 10, 1).unwrap().restarted);
    assert_eq!(nth(&mut receiver, OTHER, 50, 1), Err(Refusal::Ssrc));
    assert_eq!(nth(&mut receiver, OTHER, 50, 2), Err(Refusal::Ssrc));
    assert!(nth(&mut receiver, SSRC, 10, 2).is_ok());
    let stats = receiver.stats();
    assert_eq!((stats.packets, stats.invalid, stats.wrong_ssrc), (3, 0, 2));
}

#[test]
fn a_stray_packet_cannot_keep_the_stream_from_beginning() {
    let mut receiver = Receiver::new(ReceiverConfig::default());
    nth(&mut receiver, OTHER, 900, 0).unwrap();
    assert_eq!(nth(&mut receiver, SSRC, 10, 0), Err(Refusal::Probation));
    assert!(nth(&mut receiver, SSRC, 10, 1).unwrap().restarted);
    assert!(nth(&mut receiver, SSRC, 10, 2).is_ok());
    assert_eq!(nth(&mut receiver, OTHER, 900, 3), Err(Refusal::Ssrc));
    assert_eq!(receiver.ssrc(), Some(SSRC));
}

#[test]
fn positions_run_on_across_both_wraps() {
    let mut receiver = ready();
    let mut last: Option<Position> = None;
    for n in 0..200_000u32 {
        let timestamp = (u32::MAX - 1000).wrapping_add(n.wrapping_mul(160_000));
        let position = receive(
            &mut receiver,
            u64::from(n) * 20,
            SSRC,
            65_000u16.wrapping_add(n as u16),
            timestamp,
        )
        .unwrap();
        if let Some(last) = last {
            assert_eq!(position.sequence, last.sequence + 1);
            assert_eq!(position.timestamp, last.timestamp + 160_000);
        }
        last = Some(position);
    }
    let stats = receiver.stats();
    assert_eq!((stats.packets, stats.lost, stats.restarts), (200_000, 0, 0));
}

#[test]
fn duplicates_are_refused_and_reordering_is_taken() {
    let mut receiver = ready();
    let mut positions = Vec::new();
    for n in [0, 1, 3, 2, 2, 3, 5, 4] {
        match nth(&mut receiver, SSRC, 0xFFFD, n) {
            Ok(position) => positions.push(position.sequence - (2 << 32) - 0xFFFD),
            Err(refusal) => assert_eq!(refusal, Refusal::Duplicate),
        }
    }
    assert_eq!(positions, [0, 1, 3, 2, 5, 4]);
    let stats = receiver.stats();
    assert_eq!(
        (stats.duplicates, stats.out_of_order, stats.lost),
        (2, 2, 0)
    );
}

#[test]
fn packets_overtaken_by_the_first_are_taken() {
    let mut receiver = ready();
    let first = nth(&mut receiver, SSRC, 0, 5).unwrap();
    let before = nth(&mut receiver, SSRC, 0, 3).unwrap();
    assert_eq!(before.sequence + 2, first.sequence);
    assert_eq!(before.timestamp + 320, first.timestamp);
    assert_eq!(receiver.stats().lost, 1, "number 4");
}

#[test]
fn loss_is_counted_and_reported_by_interval() {
    let mut receiver = ready();
    for n in (0..100).filter(|n| n % 4 != 3) {
        nth(&mut receiver, SSRC, 0, n).unwrap();
    }
    let report = receiver.report().unwrap();
    // The last packet was lost and not yet missed: 99 expected, 75 received.
    assert_eq!(report.lost, 24);
    assert_eq!(u64::from(report.fraction_lost), (24 << 8) / 99);
    for n in 100..200 {
        nth(&mut receiver, SSRC, 0, n).unwrap();
    }
    let report = receiver.report().unwrap();
    assert_eq!((report.lost, report.fraction_lost), (25, 2));
    assert_eq!(receiver.report(), None, "nothing received since");
    assert_eq!(receiver.stats().lost, 25);
}

#[test]
fn a_jump_counts_only_when_the_sender_keeps_to_it() {
    let mut receiver = ready();
    for n in 0..10 {
        nth(&mut receiver, SSRC, 0, n).unwrap();
    }
    // A stray packet from far ahead, then the stream goes on.
    assert_eq!(
        receive(&mut receiver, 200, SSRC, 40_000, 9),
        Err(Refusal::Sequence)
    );
    assert!(nth(&mut receiver, SSRC, 0, 10).is_ok());
    // The sender has restarted after 200 ms: believed once the old numbers have been silent.
    let taken: Vec<bool> = (0..10)
        .map(|n| {
            let (ms, sequence) = (220 + u64::from(n) * 20, 50_000 + n);
            receive(&mut receiver, ms, SSRC, sequence, u32::from(n) * 160).is_ok()
        })
        .collect();
    assert_eq!(taken.iter().position(|taken| *taken), Some(4));
    assert!(taken[4..].iter().all(|taken| *taken));
    let stats = receiver.stats();
    assert_eq!((stats.restarts, stats.invalid, stats.lost), (1, 5, 0));
    // Where signalling announced it, the first packet counts.
    receiver.expect_change(at(420));
    assert!(receive(&mut receiver, 420, SSRC, 7, 0).unwrap().restarted);
}

#[test]
fn forged_numbers_do_not_disturb_a_living_stream() {
    for jump in [102, 500, 1_500, 2_999, 3_000, 20_000, 40_000, 65_000] {
        let mut receiver = ready();
        for n in 0..500 {
            assert!(!nth(&mut receiver, SSRC, 0, n).is_ok_and(|p| p.restarted && n > 0));
            // The right SSRC in sequence of its own, in every pause of the stream.
            for forged in 0..2 {
                let sequence = n.wrapping_add(jump).wrapping_add(forged);
                let ms = u64::from(n) * 20 + 5 + u64::from(forged);
                assert!(receive(&mut receiver, ms, SSRC, sequence, 0).is_err());
            }
        }
        let stats = receiver.stats();
        assert_eq!((stats.packets, stats.lost, stats.restarts), (500, 0, 0));
    }
}

#[test]
fn a_long_outage_is_loss_and_no_jump() {
    let mut receiver = ready();
    nth(&mut receiver, SSRC, 0, 0).unwrap();
    // Eight seconds without a packet: 400 are lost, none of those after it.
    assert!(!nth(&mut receiver, SSRC, 0, 401).unwrap().restarted);
    assert_eq!(receiver.stats().lost, 400);
}

#[test]
fn a_goodbye_counts_for_nothing_where_the_source_goes_on() {
    let mut receiver = ready();
    nth(&mut receiver, SSRC, 0, 0).unwrap();
    receiver.handle_goodbye(at(10), SSRC);
    nth(&mut receiver, SSRC, 0, 1).unwrap();
    assert_eq!(nth(&mut receiver, OTHER, 0, 2), Err(Refusal::Ssrc));
    receiver.handle_goodbye(at(50), SSRC);
    assert!(nth(&mut receiver, OTHER, 0, 3).is_ok());
}

#[test]
fn bursts_are_those_of_loss_and_discard_once_reordering_is_over() {
    let mut receiver = ready();
    for n in 0..200_u16 {
        // Four in a row and one alone are lost; two that follow each other are swapped.
        match n {
            50..54 | 120 => continue,
            80 => drop(nth(&mut receiver, SSRC, 0, 81)),
            81 => drop(nth(&mut receiver, SSRC, 0, 80)),
            _ => {
                let position = nth(&mut receiver, SSRC, 0, n).unwrap();
                if n == 150 || n == 152 {
                    receiver.discard(position.sequence);
                }
            }
        }
    }
    let bursts = receiver.bursts();
    assert_eq!(
        (bursts.bursts, bursts.burst_lost, bursts.gap_lost),
        (2, 6, 1)
    );
    assert_eq!(bursts.packets(), 200 - OVERDUE);
    assert_eq!(receiver.packet_time(), Duration::from_millis(20));
    assert_eq!(receiver.stats().discarded, 2);
}

#[test]
fn packets_from_long_ago_are_late() {
    let mut receiver = ready();
    for n in 0..500 {
        nth(&mut receiver, SSRC, 0, n).unwrap();
    }
    assert_eq!(nth(&mut receiver, SSRC, 0, 300), Err(Refusal::Sequence));
    assert_eq!(receiver.stats().late, 1);
}

#[test]
fn another_ssrc_cannot_talk_over_a_living_stream() {
    let mut receiver = ready();
    let mut taken = 0;
    for n in 0..500 {
        nth(&mut receiver, SSRC, 0, n).unwrap();
        for burst in 0..5 {
            let (ms, sequence) = (u64::from(n) * 20 + 3, n * 5 + burst);
            taken += u32::from(receive(&mut receiver, ms, OTHER, sequence, 0).is_ok());
        }
    }
    assert_eq!(taken, 0);
    assert_eq!(receiver.ssrc(), Some(SSRC));
    assert_eq!(receiver.stats().wrong_ssrc, 2500);
    assert_eq!(receiver.stats().lost, 0);
}

#[test]
fn another_ssrc_follows_a_silent_one_and_does_not_flap_back() {
    let mut receiver = ready();
    for n in 0..10 {
        nth(&mut receiver, SSRC, 0, n).unwrap();
    }
    // The old one fell silent at 180 ms; the new one speaks from 200 ms.
    let taken: Vec<bool> = (10..20)
        .map(|n| nth(&mut receiver, OTHER, 500, n).is_ok())
        .collect();
    assert_eq!(
        taken.iter().position(|taken| *taken),
        Some(6),
        "100 ms of silence, then three"
    );
    assert!(taken[6..].iter().all(|taken| *taken));
    // Stragglers of the old one change nothing.
    for n in 20..200 {
        assert_eq!(nth(&mut receiver, SSRC, 0, n), Err(Refusal::Ssrc));
        assert!(nth(&mut receiver, OTHER, 500, n).is_ok());
    }
    assert_eq!(receiver.stats().restarts, 1);
}

#[test]
fn an_announced_change_is_taken_at_once() {
    let mut receiver = ready();
    nth(&mut receiver, SSRC, 0, 0).unwrap();
    receiver.expect_change(at(10));
    assert!(nth(&mut receiver, OTHER, 0, 1).unwrap().restarted);
    assert_eq!(
        nth(&mut receiver, SSRC, 0, 2),
        Err(Refusal::Ssrc),
        "announced once"
    );
    receiver.handle_goodbye(at(50), OTHER);
    assert!(nth(&mut receiver, SSRC, 0, 3).is_ok());
    receiver.expect_change(at(60));
    for n in 4..150 {
        nth(&mut receiver, SSRC, 0, n).unwrap();
    }
    assert_eq!(
        nth(&mut receiver, OTHER, 0, 149),
        Err(Refusal::Ssrc),
        "too long ago"
    );
}

#[test]
fn only_negotiated_payload_types_are_taken() {
    let mut receiver = ready();
    receiver.set_payload_types([8, 101, 200].map(|number| (number, 8_000)));
    assert_eq!(nth(&mut receiver, SSRC, 0, 0), Err(Refusal::PayloadType));
    receiver.set_payload_types([(0, 8_000)]);
    assert!(nth(&mut receiver, SSRC, 0, 1).is_ok());
    assert_eq!(receiver.stats().wrong_payload_type, 1);
}

#[test]
fn jitter_follows_the_rfcs_estimator() {
    // Against a plain floating-point reading of RFC 3550 §6.4.1, seeded delays of 0 to 40 ms.
    for seed in 0..20 {
        let mut rng = Rng::new(seed);
        let mut receiver = ready();
        let (mut expected, mut before) = (0.0f64, None::<f64>);
        for n in 0..2000u16 {
            let delay = rng.below(40);
            let ms = u64::from(n) * 20 + delay;
            let timestamp = u32::from(n) * 160;
            receive(&mut receiver, ms, SSRC, n, timestamp).unwrap();
            if let Some(before) = before {
                let difference = (delay as f64 - before) * 8.0;
                expected += (difference.abs() - expected) / 16.0;
            }
            before = Some(delay as f64);
        }
        let jitter = f64::from(receiver.stats().jitter_ticks);
        assert!(
            (jitter - expected).abs() < 2.0,
            "seed {seed}: {jitter} for {expected}"
        );
    }
}

#[test]
fn events_that_share_a_timestamp_are_no_jitter() {
    let mut receiver = ready();
    for n in 0..100u16 {
        let timestamp = u32::from(n / 10) * 1600;
        receive(&mut receiver, u64::from(n) * 20, SSRC, n, timestamp).unwrap();
    }
    assert_eq!(receiver.stats().jitter_ticks, 0);
}

#[test]
fn jitter_survives_long_uptime_and_jumping_clocks() {
    let mut receiver = ready();
    let century = 100 * 365 * 24 * 3600 * 1000u64;
    let mut rng = Rng::new(3);
    for n in 0..10_000u16 {
        receive(
            &mut receiver,
            century + u64::from(n) * 20,
            SSRC,
            n,
            rng.next_u32(),
        )
        .unwrap();
    }
    assert!(receiver.stats().jitter <= Duration::from_secs(11));
}

#[test]
fn random_networks_against_a_plain_model() {
    for seed in 0..50 {
        let mut rng = Rng::new(seed);
        let first = rng.next_u32() as u16;
        // Loss, duplication, and reordering by up to 30 packets.
        let mut sent: Vec<(u64, u64)> = Vec::new();
        for n in 0..5000u64 {
            for _ in 0..=(rng.below(20) / 19) {
                if rng.below(10) > 0 {
                    sent.push((n + rng.below(30), n));
                }
            }
        }
        sent.sort();
        let mut receiver = ready();
        let (mut seen, mut origin) = (std::collections::BTreeSet::new(), None);
        for (slot, n) in sent {
            let sequence = first.wrapping_add(n as u16);
            let result = receive(&mut receiver, slot * 20, SSRC, sequence, n as u32 * 160);
            let is_new = seen.insert(n);
            let taken = result
                .ok()
                .map(|position| position.sequence.wrapping_sub(n));
            assert_eq!(taken.is_some(), is_new, "seed {seed}, packet {n}");
            if let Some(offset) = taken {
                assert_eq!(
                    *origin.get_or_insert(offset),
                    offset,
                    "seed {seed}, packet {n}"
                );
            }
        }
        let span = seen.last().unwrap() - seen.first().unwrap() + 1;
        let stats = receiver.stats();
        assert_eq!(stats.packets, seen.len() as u64, "seed {seed}");
        assert_eq!(stats.lost, span - seen.len() as u64, "seed {seed}");
    }
}

#[test]
fn a_new_stream_lies_beyond_the_old_one() {
    let mut receiver = ready();
    let mut last = receive(&mut receiver, 0, SSRC, 60_000, u32::MAX - 5).unwrap();
    let starts = [
        (OTHER, 3, 7),
        (SSRC, 2, 1),
        (OTHER, 65_535, u32::MAX),
        (SSRC, 0, 0),
    ];
    for (n, (ssrc, sequence, timestamp)) in (1..).zip(starts) {
        receiver.expect_change(at(n * 20));
        let first = receive(&mut receiver, n * 20, ssrc, sequence, timestamp).unwrap();
        assert!(first.restarted);
        assert!(first.sequence > last.sequence && first.timestamp > last.timestamp);
        assert_eq!(
            (first.sequence as u32, first.timestamp as u32),
            (u32::from(sequence), timestamp)
        );
        // Still beyond, when the first packets overtook others.
        let overtaken = receive(
            &mut receiver,
            n * 20,
            ssrc,
            sequence.wrapping_sub(9),
            timestamp.wrapping_sub(1440),
        );
        let overtaken = overtaken.unwrap();
        assert!(overtaken.sequence > last.sequence && overtaken.timestamp > last.timestamp);
        last = first;
    }
}
