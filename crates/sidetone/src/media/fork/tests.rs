//! Forks without a worker: what is lost, what is behind, what rates become.

use super::*;

const RATE: SampleRate = SampleRate::HZ_8000;

fn at(tick: u64) -> Instant {
    Instant::from_nanos(1_000_000_000 + tick * 20_000_000)
}

fn sound(value: i16) -> Frame {
    Frame::from_samples(RATE, &[value; 160])
}

fn ticks(ticks: u32) -> Duration {
    FRAME_DURATION * ticks
}

fn said(content: Content) -> Said {
    Said {
        content,
        speech: Some(content == Content::Sound),
        media_time: Some(-5),
    }
}

#[test]
fn a_frame_says_what_it_is() {
    let (mut tap, mut reader) = ForkPlan::new(RATE).make();
    let mut frame = ForkFrame::new();
    let key = |name: char| Digit::from_char(name).expect("a key");
    tap.mark(key('5'), true);
    tap.push(at(3), said(Content::Sound), Some(&sound(7)), None);
    tap.mark(key('5'), false);
    tap.mark(key('#'), true);
    tap.push(at(4), Said::default(), Some(&sound(8)), None);
    assert_eq!(reader.behind(), ticks(2));
    assert_eq!(reader.read(&mut frame), ForkState::Frame);
    assert_eq!((frame.at, frame.sequence), (at(3), 0));
    assert_eq!((frame.content, frame.speech), (Content::Sound, Some(true)));
    assert_eq!(frame.media_time, Some(-5));
    assert_eq!(
        (frame.digit_started, frame.digit_ended),
        (Some(key('5')), None)
    );
    assert_eq!(frame.samples(), [7; 160]);
    assert_eq!(frame.heard(), None);
    assert_eq!(reader.read(&mut frame), ForkState::Frame);
    assert_eq!((frame.content, frame.speech), (Content::Silence, None));
    assert_eq!((frame.media_time, frame.gap), (None, Gap::default()));
    assert_eq!(
        (frame.digit_started, frame.digit_ended),
        (Some(key('#')), Some(key('5')))
    );
    assert_eq!(reader.read(&mut frame), ForkState::Waiting);
    drop(tap);
    assert_eq!(reader.read(&mut frame), ForkState::Ended);
}

#[test]
fn a_slow_reader_loses_the_oldest_and_is_never_later_than_the_queue() {
    let plan = ForkPlan {
        queue: ticks(10),
        ..ForkPlan::new(RATE)
    };
    let (mut tap, mut reader) = plan.make();
    let mut frame = ForkFrame::new();
    for tick in 0..35 {
        tap.push(
            at(tick),
            said(Content::Sound),
            Some(&sound(tick as i16)),
            None,
        );
    }
    assert_eq!(reader.behind(), ticks(10));
    reader.read(&mut frame);
    let lost = Gap {
        length: ticks(25),
        unread: ticks(25),
        suspended: Duration::ZERO,
    };
    assert_eq!((frame.sequence, frame.gap), (25, lost));
    assert_eq!(frame.samples()[0], 25);
    assert_eq!((reader.lost(), reader.behind()), (ticks(25), ticks(9)));
    reader.read(&mut frame);
    assert!(frame.gap.is_none());
    reader.skip_to(ticks(2));
    reader.read(&mut frame);
    assert_eq!((frame.sequence, frame.gap.unread), (33, ticks(6)));
    assert_eq!(reader.lost(), ticks(31));
}

#[test]
fn what_is_suspended_or_never_came_is_a_gap_of_its_kind() {
    let plan = ForkPlan {
        is_optional: true,
        ..ForkPlan::new(RATE)
    };
    let (mut tap, mut reader) = plan.make();
    let mut frame = ForkFrame::new();
    let push = |tap: &mut ForkTap, tick| {
        tap.push(at(tick), said(Content::Sound), Some(&sound(1)), None);
    };
    push(&mut tap, 0);
    tap.set_suspended(true);
    for tick in 1..6 {
        push(&mut tap, tick);
    }
    tap.set_suspended(false);
    push(&mut tap, 6);
    // Two ticks never ran.
    push(&mut tap, 9);
    let mut gaps = Vec::new();
    while reader.read(&mut frame) == ForkState::Frame {
        gaps.push((frame.sequence, frame.gap.length, frame.gap.suspended));
        assert_eq!(frame.gap.unread, Duration::ZERO);
    }
    let none = Duration::ZERO;
    assert_eq!(
        gaps,
        [
            (0, none, none),
            (6, ticks(5), ticks(5)),
            (9, ticks(2), none)
        ]
    );
}

#[test]
fn one_that_is_not_optional_is_never_suspended() {
    let (mut tap, mut reader) = ForkPlan::new(RATE).make();
    tap.set_suspended(true);
    tap.push(at(0), said(Content::Sound), Some(&sound(1)), None);
    assert_eq!(reader.read(&mut ForkFrame::new()), ForkState::Frame);
}

#[test]
fn both_sides_come_apart_or_summed_and_at_another_rate() {
    let mut frame = ForkFrame::new();
    let make = |sound, rate| {
        let plan = ForkPlan {
            sound,
            from: vec![RATE],
            ..ForkPlan::new(rate)
        };
        plan.make()
    };
    let (own, all) = (sound(20_000), sound(-3_000));
    let (mut tap, mut reader) = make(ForkSound::Both, RATE);
    tap.push(at(0), said(Content::Sound), Some(&own), Some(&all));
    reader.read(&mut frame);
    assert_eq!(frame.samples(), own.samples());
    assert_eq!(frame.heard(), Some(all.samples()));
    let (mut tap, mut reader) = make(ForkSound::Mixed, RATE);
    tap.push(at(0), said(Content::Sound), Some(&own), Some(&own));
    reader.read(&mut frame);
    assert_eq!(frame.samples(), [i16::MAX; 160]);
    let (mut tap, mut reader) = make(ForkSound::Heard, SampleRate::HZ_16000);
    for tick in 0..3 {
        tap.push(at(tick), said(Content::Sound), Some(&own), Some(&all));
        reader.read(&mut frame);
    }
    assert_eq!(frame.samples().len(), 320);
    assert!(
        frame
            .samples()
            .iter()
            .all(|s| (-3_010..=-2_990).contains(s))
    );
}
