//! Rooms against the naive sum of every edge, and who is mixed where many are there.

use super::*;
use crate::rng::Rng;

const RATE: SampleRate = SampleRate::HZ_8000;

fn frame(value: i16) -> Frame {
    Frame::from_samples(RATE, &[value; 160])
}

fn noise(rng: &mut Rng) -> Frame {
    let samples: Vec<i16> = (0..160).map(|_| rng.next_u32() as i16).collect();
    Frame::from_samples(RATE, &samples)
}

/// What a sink hears, summed from every source by the gain of every edge.
fn reference(room: &Room, put: &[(SourceSlot, Frame)], sink: SinkSlot) -> Vec<i16> {
    let mut sum = vec![0i64; 160];
    for (source, frame) in put {
        let gain = room.gain(*source, sink).expect("open");
        for (sum, &sample) in sum.iter_mut().zip(frame.samples()) {
            *sum += i64::from(gain.apply(sample));
        }
    }
    sum.iter()
        .map(|&s| s.clamp(-32_768, 32_767) as i16)
        .collect()
}

#[test]
fn random_rooms_equal_the_naive_sum() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let mut room = Room::new(
            RATE,
            Capacity {
                sources: 12,
                sinks: 12,
                exceptions: 60,
            },
        );
        let (mut sources, mut sinks) = (vec![], vec![]);
        for _ in 0..40 {
            change(&mut rng, &mut room, &mut sources, &mut sinks);
            let mut put = vec![];
            for &source in &sources {
                if rng.below(3) > 0 {
                    put.push((source, noise(&mut rng)));
                }
            }
            for (source, frame) in &put {
                room.put(*source, frame).expect("open");
            }
            let mut heard = Frame::silence(RATE);
            for &sink in &sinks {
                let mixed = room.take(sink, &mut heard).expect("open");
                let expected = reference(&room, &put, sink);
                assert_eq!(heard.samples(), expected, "seed {seed}, {sink:?}");
                assert!(mixed == Mixed::Sound || heard.is_silent(), "seed {seed}");
            }
            room.end_tick();
        }
    }
}

/// Opens, closes or re-gains something by chance.
fn change(
    rng: &mut Rng,
    room: &mut Room,
    sources: &mut Vec<SourceSlot>,
    sinks: &mut Vec<SinkSlot>,
) {
    let pick = |rng: &mut Rng, len: usize| rng.below(len as u64) as usize;
    match rng.below(8) {
        0 | 1 => {
            if let Ok((source, sink)) = room.open_party() {
                sources.push(source);
                sinks.push(sink);
            }
        }
        2 => sources.extend(room.open_source(rng.below(2) == 0)),
        3 => sinks.extend(room.open_sink(rng.below(2) == 0, None)),
        4 if sources.len() > 4 => {
            let at = pick(rng, sources.len());
            room.close_source(sources.swap_remove(at));
        }
        5 if sinks.len() > 4 => {
            let at = pick(rng, sinks.len());
            room.close_sink(sinks.swap_remove(at));
        }
        _ if !sources.is_empty() && !sinks.is_empty() => {
            let source = sources[pick(rng, sources.len())];
            let sink = sinks[pick(rng, sinks.len())];
            let gains = [Gain::MUTE, Gain::UNITY, Gain::from_factor(0.3), Gain::MAX];
            let gain = gains[pick(rng, 4)];
            match room.set_gain(source, sink, gain) {
                Ok(()) => assert_eq!(room.gain(source, sink), Ok(gain)),
                Err(error) => assert_eq!(error, RoomError::Full),
            }
        }
        _ => {}
    }
}

#[test]
fn a_bridge_with_whisper_and_a_silent_listener() {
    let mut room = Room::new(RATE, Capacity::default());
    let (caller, caller_ear) = room.open_party().expect("room");
    let (agent, agent_ear) = room.open_party().expect("room");
    let coach = room.open_source(false).expect("room");
    let coach_ear = room.open_sink(true, None).expect("room");
    room.set_gain(coach, agent_ear, Gain::UNITY).expect("room");
    for (source, value) in [(caller, 100), (agent, 20), (coach, 3)] {
        room.put(source, &frame(value)).expect("open");
    }
    let mut heard = Frame::silence(RATE);
    for (sink, value) in [(caller_ear, 20), (agent_ear, 103), (coach_ear, 120)] {
        assert_eq!(room.take(sink, &mut heard), Ok(Mixed::Sound));
        assert_eq!(heard.samples()[7], value);
    }
    room.end_tick();
    assert_eq!(room.take(agent_ear, &mut heard), Ok(Mixed::Silence));
    assert!(heard.is_silent());
}

#[test]
fn sums_saturate_once() {
    let mut room = Room::new(RATE, Capacity::default());
    let ear = room.open_sink(true, None).expect("room");
    for value in [30_000, 30_000, -30_000] {
        let source = room.open_source(true).expect("room");
        room.put(source, &frame(value)).expect("open");
    }
    let mut heard = Frame::silence(RATE);
    room.take(ear, &mut heard).expect("open");
    assert_eq!(heard.samples()[0], 30_000);
}

#[test]
fn limits_and_mistakes_are_errors() {
    let capacity = Capacity {
        sources: 2,
        sinks: 1,
        exceptions: 1,
    };
    let mut room = Room::new(RATE, capacity);
    let (one, ear) = room.open_party().expect("room");
    assert_eq!(room.open_party(), Err(RoomError::Full));
    // The source that the failed party had taken is free again.
    let two = room.open_source(true).expect("room");
    assert_eq!(room.set_gain(one, ear, Gain::UNITY), Ok(()));
    assert_eq!(room.set_gain(two, ear, Gain::MUTE), Err(RoomError::Full));
    room.close_source(two);
    let gone = Err(RoomError::NoSuchSlot);
    assert_eq!(room.put(two, &frame(1)), gone);
    assert_eq!(room.put(SourceSlot(900), &frame(1)), gone);
    let wide = Frame::silence(SampleRate::HZ_16000);
    assert_eq!(room.put(one, &wide), Err(RoomError::WrongFrame));
    room.close_source(SourceSlot(900));
    room.close_sink(SinkSlot(900));
}

#[test]
fn gains_convert() {
    assert_eq!(Gain::from_db(0.0), Gain::UNITY);
    assert_eq!(Gain::from_db(f32::NEG_INFINITY), Gain::MUTE);
    assert_eq!(Gain::from_db(f32::NAN), Gain::MUTE);
    assert_eq!(Gain::from_db(90.0), Gain::MAX);
    assert!((Gain::from_db(-6.0).factor() - 0.501).abs() < 0.001);
}

/// A room of so many parties, of whom three are mixed.
fn large(parties: u16) -> (Room, Vec<(SourceSlot, SinkSlot)>) {
    let capacity = Capacity {
        sources: parties + 2,
        sinks: parties + 2,
        exceptions: 8,
    };
    let mut room = Room::new(RATE, capacity);
    room.select(Selection {
        everybody_up_to: 8,
        speakers: 3,
    });
    let parties = (0..parties).map(|_| room.open_party().expect("a place"));
    let parties = parties.collect();
    (room, parties)
}

/// What a sink hears at the end of a tick's frame.
fn level(room: &mut Room, sink: SinkSlot) -> i16 {
    let mut heard = Frame::silence(RATE);
    room.take(sink, &mut heard).expect("open");
    heard.samples()[159]
}

#[test]
fn of_many_the_loudest_are_mixed() {
    let (mut room, parties) = large(20);
    let coach = room.open_source(false).expect("a place");
    let prompts = room.open_source(true).expect("a place");
    let ear = room.open_sink(false, None).expect("a place");
    // One hears the loudest at half, one hears a coach as well, and an ear hears somebody quiet.
    let half = Gain::from_factor(0.5);
    room.set_gain(parties[0].0, parties[10].1, half)
        .expect("room");
    room.set_gain(coach, parties[11].1, Gain::UNITY)
        .expect("room");
    room.set_gain(parties[15].0, ear, Gain::UNITY)
        .expect("room");
    for _ in 0..3 {
        for (place, (source, _)) in parties.iter().enumerate() {
            let value = [8_000, 4_000, 2_000, 1_000][place.min(3)];
            room.put(*source, &frame(value)).expect("open");
        }
        room.put(prompts, &frame(10)).expect("open");
        room.put(coach, &frame(3)).expect("open");
        assert_eq!(level(&mut room, parties[0].1), 6_010);
        assert_eq!(level(&mut room, parties[2].1), 12_010);
        assert_eq!(level(&mut room, parties[19].1), 14_010);
        assert_eq!(level(&mut room, parties[10].1), 10_010);
        assert_eq!(level(&mut room, parties[11].1), 14_013);
        assert_eq!(level(&mut room, ear), 1_000);
        assert!(!room.hears_all(parties[0].1) && room.hears_all(parties[19].1));
        assert!(!room.hears_all(parties[10].1) && !room.hears_all(ear));
        room.end_tick();
    }
    let stats = room.selection_stats();
    assert_eq!((stats.chosen, stats.left_out), (3, 3 * 17));
    // As people leave it becomes a small room, in which everybody is heard.
    for (source, sink) in &parties[8..] {
        room.close_source(*source);
        room.close_sink(*sink);
    }
    for expected in [14_000 + 4 * 993 + 993, 19_000] {
        for (place, (source, _)) in parties[..8].iter().enumerate() {
            let value = [8_000, 4_000, 2_000, 1_000][place.min(3)];
            room.put(*source, &frame(value)).expect("open");
        }
        let heard = level(&mut room, parties[7].1);
        assert!((heard - expected + 1_000).abs() < 50, "{heard}");
        room.end_tick();
    }
}

/// Voices of a low tone each, at full scale as far as three have room.
fn voice(party: usize, tick: usize) -> Frame {
    let sample = |n: usize| {
        let at = (tick * 160 + n) as f64 / 8_000.0;
        let hz = 100.0 + party as f64;
        (8_000.0 * (at * hz * std::f64::consts::TAU).sin()) as i16
    };
    let samples: Vec<i16> = (0..160).map(sample).collect();
    Frame::from_samples(RATE, &samples)
}

#[test]
fn who_comes_into_the_mix_and_goes_out_of_it_is_not_heard_to() {
    for seed in 0..10 {
        let mut rng = Rng::new(seed);
        let (mut room, parties) = large(30);
        let (mut last, mut worst) = (0, 0);
        let mut loud = [1; 30];
        for tick in 0..600 {
            if tick % 25 == 0 {
                // Others speak up, in the midst of their sound.
                loud = [8; 30];
                for _ in 0..3 {
                    loud[rng.below(29) as usize] = 1;
                }
            }
            for (place, (source, _)) in parties[..29].iter().enumerate() {
                let mut frame = voice(place, tick);
                let quiet = loud[place];
                frame.samples_mut().iter_mut().for_each(|s| *s /= quiet);
                room.put(*source, &frame).expect("open");
            }
            let mut heard = Frame::silence(RATE);
            room.take(parties[29].1, &mut heard).expect("open");
            // Their own voices leap when others speak up; it takes longer until places change.
            if tick % 25 > 0 {
                for &sample in heard.samples() {
                    worst = worst.max((i32::from(sample) - last).abs());
                    last = sample.into();
                }
            }
            last = heard.samples()[159].into();
            room.end_tick();
        }
        assert!(room.selection_stats().chosen > 30, "seed {seed}");
        // Three tones at once rise by 628 a sample each; a cut would be a step of thousands.
        assert!(worst < 4 * 660, "seed {seed}: a step of {worst}");
    }
}
