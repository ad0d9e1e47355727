//! Tests: key presses through every kind of sender and network.

use super::*;

fn digit(name: char) -> Digit {
    Digit::from_char(name).unwrap()
}

fn at(ms: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(ms)
}

/// One report as sent: when, sequence, timestamp, marker, digit, end, duration.
#[derive(Debug, Clone, Copy)]
struct Report(u64, u64, u64, bool, char, bool, u16);

/// Plays reports into a receiver, with time passing in steps of 10 ms, and writes what it tells:
/// `+5` for a start, `-5:100` for an end after 100 ms.
fn heard(receiver: &mut DtmfReceiver, reports: &[Report]) -> String {
    let mut told = Vec::new();
    let last = reports.iter().map(|r| r.0).max().unwrap_or(0) + 500;
    for ms in (0..=last).step_by(10) {
        receiver.handle_timeout(at(ms));
        drain(receiver, &mut told);
        for r in reports.iter().filter(|r| r.0 / 10 == ms / 10) {
            let event = TelephoneEvent {
                event: digit(r.4).event(),
                end: r.5,
                volume: 10,
                duration: r.6,
            };
            let position = Position {
                sequence: r.1,
                timestamp: r.2,
                restarted: false,
            };
            receiver.handle_report(at(r.0), position, r.3, &event.emit());
            drain(receiver, &mut told);
        }
    }
    told.join(" ")
}

fn drain(receiver: &mut DtmfReceiver, told: &mut Vec<String>) {
    while let Some(event) = receiver.poll_event() {
        told.push(match event {
            DtmfEvent::Started { digit } => format!("+{digit}"),
            DtmfEvent::Ended { digit, duration } => format!("-{digit}:{}", duration.as_millis()),
        });
    }
}

/// A press of 100 ms at 8 kHz as the RFC would have it: seven reports, 20 ms apart.
fn press(name: char, ms: u64, sequence: u64, timestamp: u64) -> Vec<Report> {
    (0..7u16)
        .map(|n| {
            let duration = (n + 1).min(5) * 160;
            Report(
                ms + u64::from(n) * 20,
                sequence + u64::from(n),
                timestamp,
                n == 0,
                name,
                n >= 4,
                duration,
            )
        })
        .collect()
}

/// Two presses of the same key, 60 ms between them.
fn two_presses() -> Vec<Report> {
    [press('5', 0, 10, 1000), press('5', 160, 17, 2280)].concat()
}

fn without(reports: Vec<Report>, lost: &[usize]) -> Vec<Report> {
    let kept = reports
        .into_iter()
        .enumerate()
        .filter(|(n, _)| !lost.contains(n));
    kept.map(|(_, report)| report).collect()
}

#[test]
fn names_of_all_digits() {
    for (event, name) in NAMES.iter().enumerate() {
        let digit = Digit::from_event(event as u8).unwrap();
        assert_eq!(digit.to_char(), char::from(*name));
        assert_eq!(Digit::from_char(digit.to_char()), Some(digit));
    }
    assert_eq!(Digit::from_char('d'), Some(digit('D')));
    assert_eq!(Digit::from_event(17), None);
    for bad in ['E', ' ', 'é', '\u{130}'] {
        assert_eq!(Digit::from_char(bad), None);
    }
    assert_eq!(Digit::FLASH.to_char(), '!');
}

#[test]
fn each_press_is_told_once_whatever_is_lost() {
    let all: Vec<usize> = (0..14).collect();
    assert_eq!(
        heard(&mut receiver(), &two_presses()),
        "+5 -5:100 +5 -5:100"
    );
    // Any one report lost; any two; any burst.
    for first in all.clone() {
        for second in all.clone() {
            let reports = without(two_presses(), &[first, second]);
            let told = heard(&mut receiver(), &reports);
            assert_eq!(told, "+5 -5:100 +5 -5:100", "lost {first} and {second}");
        }
    }
    for first in all {
        for len in 3..6 {
            let lost: Vec<usize> = (first..first + len).collect();
            let told = heard(&mut receiver(), &without(two_presses(), &lost));
            let starts = told.matches('+').count();
            let ends = told.matches('-').count();
            assert_eq!((starts, ends), (2, 2), "lost {lost:?}: {told}");
        }
    }
}

fn receiver() -> DtmfReceiver {
    DtmfReceiver::new(DtmfReceiverConfig::default())
}

#[test]
fn reordered_and_duplicated_reports_change_nothing() {
    for swap in 0..6 {
        let mut reports = press('#', 0, 10, 1000);
        let (a, b) = (reports[swap].0, reports[swap + 1].0);
        reports[swap].0 = b;
        reports[swap + 1].0 = a;
        let doubled: Vec<_> = reports.iter().flat_map(|r| [*r, *r]).collect();
        assert_eq!(heard(&mut receiver(), &reports), "+# -#:100", "swap {swap}");
        assert_eq!(heard(&mut receiver(), &doubled), "+# -#:100", "swap {swap}");
    }
}

#[test]
fn interop_failures_of_the_field() {
    let cases: Vec<(&str, Vec<Report>, &str)> = vec![
        (
            "no marker",
            press('1', 0, 1, 500)
                .into_iter()
                .map(|r| Report(r.0, r.1, r.2, false, r.4, r.5, r.6))
                .collect(),
            "+1 -1:100",
        ),
        (
            "marker on every report",
            press('1', 0, 1, 500)
                .into_iter()
                .map(|r| Report(r.0, r.1, r.2, true, r.4, r.5, r.6))
                .collect(),
            "+1 -1:100",
        ),
        (
            "one end report only, then the same key",
            [
                without(press('1', 0, 1, 500), &[5, 6]),
                press('1', 160, 8, 1780),
            ]
            .concat(),
            "+1 -1:100 +1 -1:100",
        ),
        (
            "nothing but ends",
            without(press('1', 0, 1, 500), &[0, 1, 2, 3]),
            "+1 -1:100",
        ),
        (
            "no end at all",
            without(press('1', 0, 1, 500), &[4, 5, 6]),
            "+1 -1:80",
        ),
        (
            "no end, another key at once",
            [
                without(press('1', 0, 1, 500), &[4, 5, 6]),
                press('2', 100, 5, 1300),
            ]
            .concat(),
            "+1 -1:80 +2 -2:100",
        ),
        (
            "timestamp runs with the duration",
            press('1', 0, 1, 500)
                .into_iter()
                .map(|r| Report(r.0, r.1, 500 + u64::from(r.6), r.3, r.4, r.5, r.6))
                .collect(),
            "+1 -1:100",
        ),
        (
            "timestamp runs, each report covers itself",
            press('1', 0, 1, 500)
                .into_iter()
                .enumerate()
                .map(|(n, r)| Report(r.0, r.1, 500 + n as u64 * 160, r.3, r.4, r.5, 160))
                .collect(),
            "+1 -1:100",
        ),
        (
            "timestamp moves on for the repeated ends",
            press('1', 0, 1, 500)
                .into_iter()
                .enumerate()
                .map(|(n, r)| {
                    let late = n.saturating_sub(4) as u64 * 160;
                    Report(r.0, r.1, r.2 + late, r.3, r.4, r.5, r.6)
                })
                .collect(),
            "+1 -1:100",
        ),
        (
            "timestamp stands still between keys",
            [
                press('1', 0, 1, 500),
                press('1', 200, 8, 500),
                press('2', 400, 15, 500),
            ]
            .concat(),
            "+1 -1:100 +1 -1:100 +2 -2:100",
        ),
        (
            "timestamp goes back between keys",
            [press('1', 0, 1, 5000), press('1', 200, 8, 500)].concat(),
            "+1 -1:100 +1 -1:100",
        ),
        (
            "all three ends in one packet time",
            press('1', 0, 1, 500)
                .into_iter()
                .map(|r| Report(r.0.min(80), r.1, r.2, r.3, r.4, r.5, r.6))
                .collect(),
            "+1 -1:100",
        ),
        (
            "a stall of 300 ms within the press",
            press('1', 0, 1, 500)
                .into_iter()
                .map(|r| {
                    Report(
                        if r.6 > 320 { r.0 + 300 } else { r.0 },
                        r.1,
                        r.2,
                        r.3,
                        r.4,
                        r.5,
                        r.6,
                    )
                })
                .collect(),
            "+1 -1:40",
        ),
        (
            "duration zero at first",
            [
                vec![Report(0, 1, 500, true, '1', false, 0)],
                press('1', 20, 2, 500),
            ]
            .concat(),
            "+1 -1:100",
        ),
    ];
    for (name, reports, expected) in cases {
        assert_eq!(heard(&mut receiver(), &reports), expected, "{name}");
    }
}

#[test]
fn quick_presses_of_one_key_do_not_melt_into_one() {
    // All ends of the first and the marker of the second are lost.
    let told = heard(&mut receiver(), &without(two_presses(), &[4, 5, 6, 7]));
    assert_eq!(told, "+5 -5:80 +5 -5:100");
}

#[test]
fn a_wrong_clock_is_noticed_by_its_pace() {
    for (negotiated, factor, expected) in [
        (8000, 2, "+9 -9:100"),
        (8000, 6, "+9 -9:100"),
        (48_000, 1, "+9 -9:100"),
    ] {
        let mut receiver = DtmfReceiver::new(DtmfReceiverConfig {
            clock_rate: negotiated,
            ..DtmfReceiverConfig::default()
        });
        let reports: Vec<_> = press('9', 0, 1, 500)
            .into_iter()
            .map(|r| Report(r.0, r.1, r.2, r.3, r.4, r.5, r.6 * factor))
            .collect();
        assert_eq!(heard(&mut receiver, &reports), expected);
        assert_eq!(receiver.stats().odd_clocks, 1);
    }
    let mut right = receiver();
    heard(&mut right, &two_presses());
    assert_eq!(right.stats().odd_clocks, 0);
}

#[test]
fn other_events_and_short_payloads_are_counted_and_ignored() {
    let mut receiver = receiver();
    let position = Position {
        sequence: 1,
        timestamp: 1,
        restarted: false,
    };
    for payload in [&[32, 0x80, 0, 160][..], &[255, 0, 0, 0], &[1, 0, 0], &[]] {
        receiver.handle_report(at(0), position, true, payload);
        assert_eq!(receiver.poll_event(), None);
    }
    assert_eq!(receiver.stats().ignored, 4);
    assert_eq!(receiver.poll_timeout(), None);
}

#[test]
fn a_restarted_stream_ends_the_press_and_forgets_it() {
    let mut receiver = receiver();
    let first = Position {
        sequence: 9,
        timestamp: 9000,
        restarted: false,
    };
    receiver.handle_report(at(0), first, true, &[1, 0, 0, 160]);
    let second = Position {
        sequence: 1,
        timestamp: 500,
        restarted: true,
    };
    receiver.handle_report(at(20), second, true, &[1, 0, 0, 160]);
    let mut told = Vec::new();
    drain(&mut receiver, &mut told);
    assert_eq!(told.join(" "), "+1 -1:20 +1");
}

#[test]
fn flash_is_an_event() {
    assert_eq!(heard(&mut receiver(), &press('!', 0, 1, 500)), "+! -!:100");
}

/// Runs a sender for `ticks` packet times and returns its reports as they would be received.
fn sent(
    sender: &mut DtmfSender,
    ticks: u64,
    step: u32,
) -> Vec<Option<(u32, bool, TelephoneEvent)>> {
    (0..ticks)
        .map(|n| match sender.tick(1000 + n as u32 * step) {
            SendTick::Audio => None,
            SendTick::Event {
                timestamp,
                marker,
                payload,
            } => Some((timestamp, marker, TelephoneEvent::parse(&payload).unwrap())),
        })
        .collect()
}

#[test]
fn a_press_is_sent_as_the_rfc_says() {
    let mut sender = DtmfSender::new(DtmfSenderConfig::default());
    sender
        .press(digit('7'), Duration::from_millis(100))
        .unwrap();
    let reports: Vec<_> = sent(&mut sender, 9, 160)
        .into_iter()
        .map(|report| report.map(|(ts, marker, e)| (ts, marker, e.event, e.end, e.duration)))
        .collect();
    assert_eq!(
        reports,
        [
            Some((1000, true, 7, false, 160)),
            Some((1000, false, 7, false, 320)),
            Some((1000, false, 7, false, 480)),
            Some((1000, false, 7, false, 640)),
            Some((1000, false, 7, true, 800)),
            Some((1000, false, 7, true, 800)),
            Some((1000, false, 7, true, 800)),
            None,
            None,
        ]
    );
    assert!(sender.is_idle());
}

#[test]
fn queued_digits_keep_their_gap() {
    for (gap, expected) in [(0, 7), (40, 7), (60, 8), (100, 10)] {
        let mut sender = DtmfSender::new(DtmfSenderConfig {
            gap: Duration::from_millis(gap),
            ..DtmfSenderConfig::default()
        });
        for name in ['1', '2'] {
            sender
                .press(digit(name), Duration::from_millis(100))
                .unwrap();
        }
        let reports = sent(&mut sender, 40, 160);
        let starts: Vec<_> = reports
            .iter()
            .enumerate()
            .filter(|(_, report)| report.is_some_and(|(_, marker, _)| marker))
            .map(|(n, _)| n)
            .collect();
        assert_eq!(starts, [0, expected], "gap {gap} ms");
        assert!(sender.is_idle());
    }
}

#[test]
fn the_queue_is_bounded_and_clears() {
    let mut sender = DtmfSender::new(DtmfSenderConfig::default());
    for _ in 0..QUEUE_LEN {
        sender.press(digit('1'), MIN_PRESS).unwrap();
    }
    assert_eq!(sender.press(digit('1'), MIN_PRESS), Err(QueueFull));
    sender.tick(0);
    sender.clear();
    let reports = sent(&mut sender, 10, 160);
    assert!(
        reports[0].is_some_and(|(_, _, event)| event.end),
        "the press ends properly"
    );
    assert_eq!(reports.iter().flatten().count(), 3);
    assert!(sender.is_idle());
}

#[test]
fn presses_come_through_at_every_clock_and_length() {
    for (clock_rate, step) in [(8000, 160), (16_000, 320), (48_000, 960)] {
        for length in [1u64, 40, 50, 100, 1000, 9000, 20_000] {
            let mut sender = DtmfSender::new(DtmfSenderConfig {
                clock_rate,
                ..DtmfSenderConfig::default()
            });
            let length = Duration::from_millis(length);
            sender.press(digit('*'), length).unwrap();
            let reports = sent(&mut sender, 1100, step);
            let markers = reports.iter().flatten().filter(|r| r.1).count();
            assert_eq!(markers, 1, "a new segment has no marker");
            let expected = length.max(MIN_PRESS).as_millis().div_ceil(20) * 20;

            let mut receiver = DtmfReceiver::new(DtmfReceiverConfig {
                clock_rate,
                ..DtmfReceiverConfig::default()
            });
            let mut told = Vec::new();
            for (n, report) in (0..).zip(&reports) {
                receiver.handle_timeout(at(n * 20));
                if let Some((timestamp, marker, event)) = report {
                    let position = Position {
                        sequence: n,
                        timestamp: u64::from(*timestamp),
                        restarted: false,
                    };
                    receiver.handle_report(at(n * 20), position, *marker, &event.emit());
                }
                drain(&mut receiver, &mut told);
            }
            assert_eq!(
                told.join(" "),
                format!("+* -*:{expected}"),
                "{clock_rate} {length:?}"
            );
            assert_eq!(receiver.stats().odd_clocks, 0);
        }
    }
}

#[test]
fn a_key_pressed_on_a_new_stream_is_heard_though_audio_told_of_the_restart() {
    // The receiver of the stream puts a new one far ahead, whatever its numbers.
    let mut reports = press('5', 0, 2 << 32, 9000 + (2 << 32));
    reports.extend(press('5', 200, 4 << 32, 160 + (4 << 32)));
    let half: Vec<_> = press('6', 400, 6 << 32, 160 + (6 << 32))
        .drain(..3)
        .collect();
    reports.extend(half);
    reports.extend(press('6', 480, 8 << 32, 160 + (8 << 32)));
    let told = heard(&mut receiver(), &reports);
    assert_eq!(told, "+5 -5:100 +5 -5:100 +6 -6:60 +6 -6:100");
}
