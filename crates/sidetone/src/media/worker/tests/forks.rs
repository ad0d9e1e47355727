//! Forks and speech in a worker: what they bring, what they cost others, and when they are suspended.

use super::lab::{Lab, Peer, RATE, ROOM, ms, power, speech, through_codec};
use crate::id::{ForkId, LegId, PlayId, PortId};
use crate::media::command::{Command, Event, ForkOn, PlayOn, RejectReason};
use crate::media::fork::{Content, ForkFrame, ForkPlan, ForkReader, ForkSound, ForkState};
use crate::media::frame::SampleRate;
use crate::media::leg::forks::MAX_FORKS;
use crate::media::player::Player;
use crate::media::speech::{DEFAULT_QUEUE, SpeechReport, speech as make_speech};

const LEG: ForkOn = ForkOn::Leg(LegId(1));

fn pair() -> Lab {
    Lab::room(vec![Peer::new(1, speech(1)), Peer::new(2, speech(2))])
}

fn fork(lab: &mut Lab, on: ForkOn, number: u64, plan: ForkPlan) -> ForkReader {
    let (tap, reader) = plan.make();
    let (fork, tap) = (ForkId(number), Box::new(tap));
    lab.command(Command::StartFork { on, fork, tap });
    reader
}

fn stop(lab: &mut Lab, on: ForkOn, number: u64) {
    let fork = ForkId(number);
    lab.command(Command::StopFork { on, fork });
    let stopped = |e: &Event| matches!(e, Event::ForkStopped { fork: it, .. } if *it == fork);
    assert!(lab.take_events().iter().any(stopped));
}

fn read_all(reader: &mut ForkReader) -> Vec<ForkFrame> {
    let mut frames = vec![ForkFrame::new()];
    while reader.read(frames.last_mut().expect("one")) == ForkState::Frame {
        frames.push(ForkFrame::new());
    }
    frames.pop();
    frames
}

fn sound(frames: &[ForkFrame]) -> Vec<i16> {
    frames
        .iter()
        .flat_map(|frame| frame.samples().to_vec())
        .collect()
}

/// The least distance of `said` from any stretch of `heard`, as a share of its power.
fn distance(said: &[i16], heard: &[i16]) -> f64 {
    let gap = |window: &[i16]| -> f64 {
        let pairs = said.iter().zip(window);
        pairs
            .map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2))
            .sum()
    };
    let least = heard.windows(said.len()).map(gap).fold(f64::MAX, f64::min);
    least / said.len() as f64 / power(said)
}

#[test]
fn a_fork_gives_every_word_of_a_bridge_that_goes_on_around_it() {
    let mut lab = pair();
    lab.run(ms(1_000));
    let passed = |lab: &Lab| lab.worker.stats().passed_packets;
    assert_eq!(passed(&lab), 100);
    let spoken = lab.peers[0].spoken;
    let mut reader = fork(&mut lab, LEG, 1, ForkPlan::new(RATE));
    lab.run(ms(900));
    // What the other party says is passed on as before.
    assert!((140..=148).contains(&passed(&lab)), "{}", passed(&lab));
    let frames = read_all(&mut reader);
    assert!((43..=45).contains(&frames.len()), "{}", frames.len());
    for (n, frame) in frames.iter().enumerate() {
        assert_eq!((frame.sequence, frame.content), (n as u64, Content::Sound));
        assert!(frame.gap.is_none() && frame.media_time.is_some());
    }
    let steps = frames.windows(2).map(|pair| pair[1].at - pair[0].at);
    assert!(steps.into_iter().all(|step| step == ms(20)));
    let said: Vec<i16> = (spoken + 320..spoken + 4_320).map(speech(1)).collect();
    assert!(distance(&through_codec(&said), &sound(&frames)) < 0.02);
    stop(&mut lab, LEG, 1);
    assert_eq!(reader.read(&mut ForkFrame::new()), ForkState::Ended);
    let before = passed(&lab);
    lab.run(ms(1_500));
    assert!(passed(&lab) > before + 130, "both ways are passed on again");
    lab.assert_continuous(PortId(1));
    lab.assert_continuous(PortId(2));
}

#[test]
fn a_fork_of_what_is_heard_and_one_of_both_take_the_other_way_too() {
    let mut lab = pair();
    lab.run(ms(500));
    let plan = |sound, rate| ForkPlan {
        sound,
        from: vec![RATE],
        ..ForkPlan::new(rate)
    };
    let spoken = [lab.peers[0].spoken, lab.peers[1].spoken];
    let mut heard = fork(&mut lab, LEG, 1, plan(ForkSound::Heard, RATE));
    let mut both = fork(
        &mut lab,
        LEG,
        2,
        plan(ForkSound::Both, SampleRate::HZ_16000),
    );
    lab.run(ms(1_000));
    let before = lab.worker.stats().passed_packets;
    lab.run(ms(200));
    assert_eq!(lab.worker.stats().passed_packets, before);
    let said = |peer: usize| {
        let start = spoken[peer] + 3_200;
        let said: Vec<i16> = (start..start + 1_600)
            .map(speech(peer as u64 + 1))
            .collect();
        through_codec(&said)
    };
    let heard = sound(&read_all(&mut heard));
    let far = distance(&said(1), &heard);
    assert!(far < 0.02, "{far}");
    let both = read_all(&mut both);
    let every_other = |samples: Vec<i16>| -> Vec<i16> { samples.into_iter().step_by(2).collect() };
    let own = every_other(sound(&both));
    let others = both
        .iter()
        .flat_map(|frame| frame.heard().expect("both").to_vec());
    assert!(distance(&said(0), &own) < 0.1);
    assert!(distance(&said(1), &every_other(others.collect())) < 0.1);
}

#[test]
fn a_leg_that_moves_and_is_held_keeps_its_fork() {
    let mut lab = pair();
    let mut reader = fork(&mut lab, LEG, 1, ForkPlan::new(RATE));
    lab.run(ms(400));
    lab.command(Command::RemoveLeg {
        leg: LegId(1),
        goodbye: false,
    });
    let leg = lab.take_events().into_iter().find_map(|event| match event {
        Event::LegRemoved(leg) => Some(leg),
        _ => None,
    });
    lab.run(ms(60));
    lab.command(Command::AddLeg(leg.expect("the leg")));
    lab.run(ms(400));
    let frames = read_all(&mut reader);
    let gaps: Vec<_> = frames.iter().filter(|frame| !frame.gap.is_none()).collect();
    assert_eq!(gaps.len(), 1);
    assert_eq!((gaps[0].gap.length, gaps[0].gap.unread), (ms(60), ms(0)));
    assert_eq!(lab.worker.stats().legs, 2);
    stop(&mut lab, LEG, 1);
}

#[test]
fn keys_and_silence_stand_in_the_frames() {
    let mut lab = Lab::room(vec![Peer::silent(1), Peer::silent(2)]);
    let mut reader = fork(&mut lab, LEG, 1, ForkPlan::new(RATE));
    lab.run(ms(100));
    assert!(
        read_all(&mut reader)
            .iter()
            .all(|frame| frame.content == Content::Silence)
    );
    lab.peers[0].is_sending = true;
    lab.run(ms(200));
    let last = read_all(&mut reader);
    assert_eq!(last.last().expect("frames").content, Content::Sound);
    lab.peers[0].is_sending = false;
    lab.run(ms(40));
    let contents: Vec<Content> = read_all(&mut reader).iter().map(|it| it.content).collect();
    assert!(contents.contains(&Content::Concealed), "{contents:?}");
}

#[test]
fn a_room_gives_all_that_is_said_in_it_in_one_sound() {
    let mut lab = Lab::room(vec![Peer::new(1, |_| 3_000), Peer::new(2, |_| 500)]);
    lab.run(ms(500));
    let on = ForkOn::Room(ROOM);
    let mut reader = fork(&mut lab, on, 1, ForkPlan::new(RATE));
    let before = lab.worker.stats().passed_packets;
    lab.run(ms(800));
    assert!(lab.worker.stats().passed_packets <= before + 2);
    let frames = read_all(&mut reader);
    let last = frames.last().expect("frames");
    assert!(
        (3_400..3_600).contains(&last.samples()[80]),
        "{:?}",
        last.samples()[80]
    );
    stop(&mut lab, on, 1);
    lab.run(ms(500));
    assert!(lab.worker.stats().passed_packets > before + 30);
    let mut reader = fork(&mut lab, on, 2, ForkPlan::new(RATE));
    lab.command(Command::RemoveRoom { room: ROOM });
    let stopped = |e: &Event| matches!(e, Event::ForkStopped { .. });
    assert!(lab.take_events().iter().any(stopped));
    read_all(&mut reader);
    assert_eq!(reader.read(&mut ForkFrame::new()), ForkState::Ended);
}

#[test]
fn one_too_many_one_twice_and_one_of_a_rate_that_is_not_taken_come_back() {
    let mut lab = pair();
    let rejections = |lab: &mut Lab| -> Vec<RejectReason> {
        let events = lab.take_events().into_iter();
        let reason = |event| match event {
            Event::Rejected { reason, .. } => Some(reason),
            _ => None,
        };
        events.filter_map(reason).collect()
    };
    for on in [LEG, ForkOn::Room(ROOM)] {
        for number in 0..MAX_FORKS as u64 {
            fork(&mut lab, on, number, ForkPlan::new(RATE));
        }
        assert_eq!(rejections(&mut lab), []);
        fork(&mut lab, on, 0, ForkPlan::new(RATE));
        assert_eq!(rejections(&mut lab), [RejectReason::Exists]);
        fork(&mut lab, on, 9, ForkPlan::new(RATE));
        assert_eq!(rejections(&mut lab), [RejectReason::Full]);
        stop(&mut lab, on, 0);
        fork(&mut lab, on, 0, ForkPlan::new(SampleRate::HZ_16000));
        assert_eq!(rejections(&mut lab), [RejectReason::Unsupported]);
        lab.command(Command::StopFork {
            on,
            fork: ForkId(0),
        });
        assert_eq!(rejections(&mut lab), [RejectReason::Unknown]);
    }
    fork(&mut lab, ForkOn::Leg(LegId(7)), 1, ForkPlan::new(RATE));
    assert_eq!(rejections(&mut lab), [RejectReason::Unknown]);
}

/// Runs ticks that each come `late` after their time.
fn run_late(lab: &mut Lab, ticks: u32, late: u64) {
    for _ in 0..ticks {
        lab.now += ms(20);
        lab.worker.handle_timeout(lab.now + ms(late));
        lab.collect();
        for n in 0..lab.peers.len() {
            let packet = lab.peers[n].speak();
            let (port, source) = (lab.peers[n].port, lab.peers[n].address);
            lab.datagram(port, source, &packet);
        }
    }
}

#[test]
fn a_worker_that_comes_late_suspends_what_is_optional_and_never_voice() {
    let mut lab = pair();
    lab.run(ms(300));
    let plan = ForkPlan {
        is_optional: true,
        ..ForkPlan::new(RATE)
    };
    let mut optional = fork(&mut lab, LEG, 1, plan.clone());
    let mut needed = fork(&mut lab, ForkOn::Leg(LegId(2)), 2, ForkPlan::new(RATE));
    let mut of_room = fork(&mut lab, ForkOn::Room(ROOM), 3, plan);
    run_late(&mut lab, 20, 0);
    let read = |reader: &mut ForkReader| read_all(reader).len();
    for reader in [&mut optional, &mut needed, &mut of_room] {
        assert!((19..=20).contains(&read(reader)));
    }
    let before = lab.worker.stats().passed_packets;
    run_late(&mut lab, 40, 12);
    let shed = |lab: &mut Lab| -> Vec<bool> {
        let events = lab.take_events().into_iter();
        let shed = |event| match event {
            Event::Shedding { is_shedding, .. } => Some(is_shedding),
            _ => None,
        };
        events.filter_map(shed).collect()
    };
    assert_eq!(shed(&mut lab), [true]);
    assert_eq!((read(&mut optional), read(&mut of_room)), (9, 9));
    assert_eq!(read(&mut needed), 40);
    let stats = lab.worker.stats();
    assert_eq!((stats.sheddings, stats.suspended_frames), (1, 2 * 31));
    assert!(
        stats.passed_packets >= before + 28,
        "the way that nobody needs is not decoded"
    );
    // A fork that begins meanwhile waits as well.
    let mut late = fork(
        &mut lab,
        LEG,
        4,
        ForkPlan {
            is_optional: true,
            ..ForkPlan::new(RATE)
        },
    );
    for _ in 0..6 {
        run_late(&mut lab, 40, 1);
        read(&mut needed);
    }
    assert_eq!((read(&mut late), shed(&mut lab)), (0, vec![]));
    run_late(&mut lab, 20, 1);
    assert_eq!(shed(&mut lab), [false]);
    let frames = read_all(&mut optional);
    assert!((10..=12).contains(&frames.len()), "{}", frames.len());
    let gap = frames[0].gap;
    assert!(
        gap.length >= gap.suspended && gap.suspended >= ms(280 * 20),
        "{gap:?}"
    );
    assert!((9..=11).contains(&read(&mut late)));
    lab.assert_continuous(PortId(1));
    lab.assert_continuous(PortId(2));
}

#[test]
fn speech_is_heard_as_it_is_written_and_told_when_it_is_over() {
    let mut lab = pair();
    lab.run(ms(500));
    let (source, mut writer) = make_speech(RATE, DEFAULT_QUEUE);
    lab.command(Command::Play {
        play: PlayId(1),
        on: PlayOn::Leg(LegId(2)),
        player: Box::new(Player::speech(source)),
    });
    let spoken = |lab: &mut Lab| {
        let events = lab.take_events().into_iter();
        events
            .filter(|event| matches!(event, Event::Spoken { play: PlayId(1) }))
            .count()
    };
    let before = lab.worker.stats().passed_packets;
    lab.run(ms(200));
    // Nothing is said: the parties are left alone.
    assert_eq!(lab.worker.stats().passed_packets, before + 20);
    let said: Vec<i16> = (0..4_000).map(speech(7)).collect();
    writer.write(8_000, &said).expect("room");
    writer.mark(9).expect("room");
    lab.run(ms(500));
    assert_eq!((spoken(&mut lab), writer.poll_report()), (0, None));
    lab.run(ms(60));
    let heard = ms(500);
    assert_eq!(spoken(&mut lab), 1);
    assert_eq!(
        writer.poll_report(),
        Some(SpeechReport::Reached { mark: 9, heard })
    );
    assert_eq!(writer.poll_report(), Some(SpeechReport::Quiet { heard }));
    let before = lab.worker.stats().passed_packets;
    lab.run(ms(500));
    assert!(lab.worker.stats().passed_packets > before + 40);
    writer.write(8_000, &said).expect("room");
    lab.run(ms(100));
    writer.clear();
    writer.write(8_000, &said[..800]).expect("room");
    writer.end();
    lab.run(ms(300));
    let played = lab.take_events().into_iter().find_map(|event| match event {
        Event::PlayEnded { played, .. } => Some(played),
        _ => None,
    });
    let played = played.expect("it ended").as_millis() as u64;
    // All of the first, what was heard of the second before it was cleared, and the third.
    assert!(
        (500 + 60 + 100..=500 + 105 + 100).contains(&played),
        "{played}"
    );
    lab.assert_continuous(PortId(2));
}
