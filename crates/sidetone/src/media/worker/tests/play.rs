//! Players on legs and in rooms.

use super::lab::{Lab, Peer, RATE, ROOM, ms, power, power_at, tone};
use crate::id::{LegId, PlayId, PortId};
use crate::media::command::{Command, Event, PlayAction, PlayEndReason, PlayOn};
use crate::media::mixer::Gain;
use crate::media::player::{Player, Repeat};
use crate::media::wav::Clip;

fn prompt(hz: f64, samples: usize, repeat: Repeat) -> Box<Player> {
    let sound: Vec<i16> = (0..samples).map(tone(hz, 4_000.0)).collect();
    let clip = Clip::from_samples(RATE, sound);
    Box::new(Player::clip(clip, RATE, repeat).unwrap())
}

fn play(lab: &mut Lab, number: u64, on: PlayOn, player: Box<Player>) {
    let play = PlayId(number);
    lab.command(Command::Play { play, on, player });
}

fn ended(lab: &mut Lab) -> Vec<(u64, PlayEndReason, u128)> {
    let events = lab.take_events().into_iter();
    let ended = events.filter_map(|event| match event {
        Event::PlayEnded {
            play,
            reason,
            played,
            ..
        } => Some((play.0, reason, played.as_millis())),
        _ => None,
    });
    ended.collect()
}

#[test]
fn a_prompt_on_a_leg_is_heard_by_it_alone_over_the_bridge() {
    let mut lab = Lab::room(vec![Peer::new(1, tone(500.0, 4_000.0)), Peer::silent(2)]);
    lab.run(ms(500));
    let on = PlayOn::Leg(LegId(2));
    play(&mut lab, 7, on, prompt(1_500.0, 8_000, Repeat::Once));
    lab.run(ms(1_500));
    assert_eq!(ended(&mut lab), [(7, PlayEndReason::Finished, 1_000)]);
    let heard = lab.heard(PortId(2));
    assert!(power_at(&heard[4_000..11_900], 1_500.0) > 7e6);
    assert!(power_at(&heard[4_000..11_900], 500.0) > 7e6);
    assert!(power_at(&heard[12_480..15_900], 1_500.0) < 1_000.0);
    assert!(power(&lab.heard(PortId(1))) < 10.0);
}

#[test]
fn a_prompt_in_a_room_is_heard_by_all_and_by_those_who_come_later() {
    let mut lab = Lab::room(vec![Peer::silent(1), Peer::silent(2)]);
    let looping = prompt(800.0, 800, Repeat::Forever);
    play(&mut lab, 1, PlayOn::Room(ROOM), looping);
    play(
        &mut lab,
        2,
        PlayOn::Room(ROOM),
        prompt(1_600.0, 4_000, Repeat::Once),
    );
    lab.run(ms(1_000));
    assert_eq!(ended(&mut lab), [(2, PlayEndReason::Finished, 500)]);
    lab.add(Peer::silent(3));
    let leg = LegId(3);
    lab.command(Command::Join { room: ROOM, leg });
    lab.run(ms(500));
    for port in 1..=3 {
        let heard = lab.heard(PortId(port));
        let last = &heard[heard.len() - 3_200..];
        assert!(power_at(last, 800.0) > 7e6, "port {port}");
        assert!(power_at(last, 1_600.0) < 1_000.0, "port {port}");
    }
    lab.command(Command::RemoveRoom { room: ROOM });
    let ended = ended(&mut lab);
    assert_eq!(ended, [(1, PlayEndReason::TargetGone, 1_500)]);
    lab.run(ms(200));
    assert_eq!(power(&lab.heard(PortId(3))[4_000..]), 0.0);
}

#[test]
fn players_are_controlled() {
    let mut lab = Lab::room(vec![Peer::silent(1)]);
    let on = PlayOn::Leg(LegId(1));
    play(&mut lab, 1, on, prompt(800.0, 80_000, Repeat::Once));
    let act = |lab: &mut Lab, action| {
        let play = PlayId(1);
        lab.command(Command::ControlPlay { play, action });
        lab.run(ms(400));
        let heard = lab.heard(PortId(1));
        power(&heard[heard.len() - 2_400..])
    };
    assert!(act(&mut lab, PlayAction::SetGain(Gain::from_factor(0.5))) < 2.1e6);
    assert!(act(&mut lab, PlayAction::SetGain(Gain::UNITY)) > 7e6);
    assert_eq!(act(&mut lab, PlayAction::Pause), 0.0);
    assert!(act(&mut lab, PlayAction::Resume) > 7e6);
    assert!(act(&mut lab, PlayAction::Seek(ms(9_700))) > 7e5);
    assert_eq!(ended(&mut lab)[0].1, PlayEndReason::Finished);

    play(&mut lab, 2, on, prompt(800.0, 800, Repeat::Forever));
    lab.run(ms(200));
    let (play, action) = (PlayId(2), PlayAction::Stop);
    lab.command(Command::ControlPlay { play, action });
    lab.run(ms(100));
    assert_eq!(ended(&mut lab)[0].1, PlayEndReason::Stopped);
    assert_eq!(lab.worker.stats().rejected_commands, 0);
    lab.command(Command::ControlPlay { play, action });
    assert_eq!(lab.worker.stats().rejected_commands, 1);
}

#[test]
fn a_room_without_legs_still_plays_to_the_end() {
    let mut lab = Lab::room(Vec::new());
    let on = PlayOn::Room(ROOM);
    play(&mut lab, 1, on, prompt(800.0, 1_600, Repeat::Once));
    lab.run(ms(400));
    assert_eq!(ended(&mut lab), [(1, PlayEndReason::Finished, 200)]);
    assert_eq!(lab.worker.poll_timeout(), None);
}
