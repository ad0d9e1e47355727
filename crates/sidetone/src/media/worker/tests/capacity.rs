//! Bounds: what is full refuses, what is refused comes back, and no event that matters is lost.

use super::lab::{Lab, Peer, RATE, ROOM, ms, tone};
use crate::id::{LegId, PlayId, PortId, RecordingId, RoomId};
use crate::media::command::{Command, Event, PlayAction, PlayOn, RejectReason};
use crate::media::mixer::{Capacity, Gain, Room};
use crate::media::player::{Player, Repeat};
use crate::media::recorder::recording;
use crate::media::wav::Clip;
use crate::media::worker::WorkerConfig;

fn small() -> Lab {
    Lab::with_config(WorkerConfig {
        max_legs: 2,
        max_rooms: 1,
        max_plays: 5,
        max_forks: 1,
        event_slack: 16,
        ..WorkerConfig::default()
    })
}

fn mixer(parties: u16) -> Box<Room> {
    let capacity = Capacity {
        sources: parties,
        sinks: parties,
        exceptions: 0,
    };
    Box::new(Room::new(RATE, capacity))
}

fn prompt() -> Box<Player> {
    let clip = Clip::from_samples(RATE, vec![100; 160]);
    Box::new(Player::clip(clip, RATE, Repeat::Once).unwrap())
}

/// The reason why `command` was rejected.
fn rejection(lab: &mut Lab, command: Command) -> Option<RejectReason> {
    let name = std::mem::discriminant(&command);
    lab.command(command);
    lab.take_events().into_iter().find_map(|event| match event {
        Event::Rejected { reason, command } => {
            assert_eq!(std::mem::discriminant(&command), name);
            Some(reason)
        }
        _ => None,
    })
}

fn add(lab: &Lab, leg: u16, port: u32) -> Command {
    let mut config = Peer::silent(leg).config();
    config.port = PortId(port);
    Command::AddLeg(lab.leg(config))
}

#[test]
fn a_full_worker_gives_back_what_it_cannot_hold() {
    let mut lab = small();
    for (leg, port, expected) in [
        (1, 1, None),
        (1, 2, Some(RejectReason::Exists)),
        (2, 1, Some(RejectReason::Exists)),
        (2, 2, None),
        (3, 3, Some(RejectReason::Full)),
    ] {
        let command = add(&lab, leg, port);
        assert_eq!(rejection(&mut lab, command), expected, "leg {leg}");
    }
    for (room, expected) in [
        (1, None),
        (1, Some(RejectReason::Exists)),
        (2, Some(RejectReason::Full)),
    ] {
        let (room, mixer) = (RoomId(room), mixer(1));
        let command = Command::AddRoom { room, mixer };
        assert_eq!(rejection(&mut lab, command), expected);
    }
    for (leg, expected) in [(1, None), (1, None), (2, Some(RejectReason::Full))] {
        let leg = LegId(leg);
        let command = Command::Join { room: ROOM, leg };
        assert_eq!(rejection(&mut lab, command), expected);
    }
    for (play, leg, expected) in [
        (1, 1, None),
        (1, 1, Some(RejectReason::Exists)),
        (2, 1, None),
        (3, 1, None),
        (4, 1, None),
        (5, 1, Some(RejectReason::Full)),
        (5, 2, None),
        (6, 2, Some(RejectReason::Full)),
    ] {
        let (play, on, player) = (PlayId(play), PlayOn::Leg(LegId(leg)), prompt());
        let command = Command::Play { play, on, player };
        assert_eq!(rejection(&mut lab, command), expected);
    }
    // What leaves makes room.
    let (leg, goodbye) = (LegId(1), false);
    assert_eq!(
        rejection(&mut lab, Command::RemoveLeg { leg, goodbye }),
        None
    );
    let command = add(&lab, 3, 1);
    assert_eq!(rejection(&mut lab, command), None);
    let (play, on, player) = (PlayId(6), PlayOn::Leg(LegId(2)), prompt());
    assert_eq!(
        rejection(&mut lab, Command::Play { play, on, player }),
        None
    );
}

#[test]
fn a_room_without_a_place_for_prompts_refuses_them() {
    let mut lab = small();
    let mixer = mixer(1);
    lab.command(Command::AddRoom { room: ROOM, mixer });
    let command = add(&lab, 1, 1);
    lab.command(command);
    let leg = LegId(1);
    lab.command(Command::Join { room: ROOM, leg });
    let (play, on, player) = (PlayId(1), PlayOn::Room(ROOM), prompt());
    let command = Command::Play { play, on, player };
    assert_eq!(rejection(&mut lab, command), Some(RejectReason::Full));
    lab.command(Command::Leave { leg });
    let (play, on, player) = (PlayId(1), PlayOn::Room(ROOM), prompt());
    assert_eq!(
        rejection(&mut lab, Command::Play { play, on, player }),
        None
    );
}

#[test]
fn what_is_not_there_is_said_to_be_unknown() {
    let mut lab = small();
    let (leg, room, play) = (LegId(9), RoomId(9), PlayId(9));
    let (from, to, gain) = (leg, leg, Gain::UNITY);
    let recording_id = RecordingId(9);
    let (tap, _feed) = recording(RATE, ms(100));
    let commands = [
        Command::RemoveLeg { leg, goodbye: true },
        Command::RemoveRoom { room },
        Command::Join { room, leg },
        Command::Leave { leg },
        Command::SetGain {
            room,
            from,
            to,
            gain,
        },
        Command::Play {
            play,
            on: PlayOn::Leg(leg),
            player: prompt(),
        },
        Command::Play {
            play,
            on: PlayOn::Room(room),
            player: prompt(),
        },
        Command::ControlPlay {
            play,
            action: PlayAction::Stop,
        },
        Command::StartRecording {
            leg,
            recording: recording_id,
            tap: Box::new(tap),
        },
        Command::StopRecording {
            leg,
            recording: recording_id,
        },
        Command::QueryLeg {
            leg,
            report: Box::default(),
        },
    ];
    for command in commands {
        assert_eq!(rejection(&mut lab, command), Some(RejectReason::Unknown));
    }
    assert_eq!(lab.worker.stats().rejected_commands, 11);
    assert_eq!(lab.worker.poll_timeout(), None);
}

/// Signalling that never polls is told less, but gets back everything that it gave.
#[test]
fn no_event_that_carries_something_is_lost() {
    let mut lab = small();
    let mut peer = Peer::new(1, tone(500.0, 1_000.0));
    let mut config = peer.config();
    config.settings.media_timeout = Some(ms(40));
    let leg = lab.leg(config);
    lab.worker.handle_command(lab.now, Command::AddLeg(leg));
    let (mut given, mut refused) = (0, 0);
    for round in 0..200_u64 {
        if lab.worker.accepts_commands() {
            given += 1;
            let command = Command::Play {
                play: PlayId(round),
                on: PlayOn::Leg(LegId(1)),
                player: prompt(),
            };
            lab.worker.handle_command(lab.now, command);
        } else {
            refused += 1;
        }
        // Media that stops and starts makes events that may be dropped.
        for _ in 0..2 {
            let mut packet = peer.speak();
            lab.worker
                .handle_rtp(lab.now, peer.port, peer.address, &mut packet);
        }
        lab.now += ms(100);
        lab.worker.handle_timeout(lab.now);
    }
    assert!(given > 5 && refused > 100);
    let stats = lab.worker.stats();
    assert!(stats.dropped_events > 100);
    assert_eq!(stats.excess_events, 0);
    lab.collect();
    let carries = |e: &&Event| matches!(e, Event::PlayEnded { .. } | Event::Rejected { .. });
    assert_eq!(lab.events.iter().filter(carries).count(), given);
    assert!(lab.worker.accepts_commands());
}
