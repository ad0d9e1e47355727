//! Random commands, packets and ticks: nothing panics, nothing is lost, and a seed repeats itself.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::lab::{Lab, Peer, RATE, ms, speech};
use crate::id::{LegId, PlayId, PortId, RecordingId, RoomId};
use crate::media::command::{Command, Event, PlayAction, PlayOn};
use crate::media::leg::Leg;
use crate::media::mixer::{Capacity, Gain, Room};
use crate::media::player::{Player, Repeat};
use crate::media::recorder::{DEFAULT_QUEUE, recording};
use crate::media::wav::Clip;
use crate::media::worker::WorkerConfig;
use crate::rng::Rng;
use crate::time::Duration;

/// What has gone in and not come out, by kind and number.
type Inside = BTreeMap<(&'static str, u64), u32>;

struct Chaos {
    lab: Lab,
    rng: Rng,
    inside: Inside,
    /// Legs that came out with what they carried, to be added again.
    outside: Vec<Box<Leg>>,
    transcript: DefaultHasher,
}

impl Chaos {
    fn new(seed: u64) -> Self {
        let mut lab = Lab::with_config(WorkerConfig {
            max_legs: 6,
            max_rooms: 3,
            max_plays: 8,
            ..WorkerConfig::default()
        });
        lab.peers = (1..=8).map(|n| Peer::new(n, speech(n.into()))).collect();
        Self {
            lab,
            rng: Rng::new(seed),
            inside: Inside::new(),
            outside: Vec::new(),
            transcript: DefaultHasher::new(),
        }
    }

    fn give(&mut self, kind: &'static str, number: u64) {
        *self.inside.entry((kind, number)).or_default() += 1;
    }

    fn take(&mut self, kind: &'static str, number: u64) {
        let count = self.inside.get_mut(&(kind, number));
        let count = count.unwrap_or_else(|| panic!("{kind} {number} was never inside"));
        *count = count
            .checked_sub(1)
            .unwrap_or_else(|| panic!("{kind} {number} came twice"));
    }

    fn step(&mut self) {
        let command = self.command();
        if let Some(command) = command {
            self.lab.command(command);
        }
        if self.rng.below(3) == 0 {
            let late = Duration::from_millis(self.rng.below(150));
            self.lab.now += late;
            self.lab.worker.handle_timeout(self.lab.now);
        }
        let peer = self.rng.below(8) as usize;
        let mut packet = self.lab.peers[peer].speak();
        if self.rng.below(10) == 0 {
            let place = self.rng.below(packet.len() as u64) as usize;
            packet[place] ^= 1 << self.rng.below(8);
        }
        let source = self.lab.peers[peer].address;
        let port = PortId(self.rng.below(9) as u32);
        let now = self.lab.now;
        match self.rng.below(8) {
            0 => self.lab.worker.handle_rtcp(now, port, source, &mut packet),
            _ => {
                let own = self.lab.peers[peer].port;
                self.lab.worker.handle_rtp(now, own, source, &mut packet);
            }
        }
        self.lab.collect();
        self.note();
    }

    fn command(&mut self) -> Option<Command> {
        let leg = LegId(1 + self.rng.below(8));
        let room = RoomId(1 + self.rng.below(4));
        let number = 1 + self.rng.below(12);
        Some(match self.rng.below(12) {
            0 | 1 => {
                let leg = match self.outside.pop() {
                    Some(leg) => leg,
                    None => self.lab.leg(self.lab.peers[leg.0 as usize - 1].config()),
                };
                self.give("leg", leg.id().0);
                Command::AddLeg(leg)
            }
            2 => Command::RemoveLeg {
                leg,
                goodbye: self.rng.below(2) == 0,
            },
            3 => {
                self.give("room", room.0);
                let capacity = Capacity {
                    sources: 3,
                    sinks: 3,
                    exceptions: 2,
                };
                let mixer = Box::new(Room::new(RATE, capacity));
                Command::AddRoom { room, mixer }
            }
            4 => Command::RemoveRoom { room },
            5 | 6 => Command::Join { room, leg },
            7 => Command::Leave { leg },
            8 => self.play(leg, room, number),
            9 => Command::ControlPlay {
                play: PlayId(number),
                action: match self.rng.below(3) {
                    0 => PlayAction::Stop,
                    1 => PlayAction::Pause,
                    _ => PlayAction::Resume,
                },
            },
            10 => self.record(leg, number),
            _ => {
                let (from, to) = (leg, LegId(1 + self.rng.below(8)));
                let gain = Gain::MUTE;
                Command::SetGain {
                    room,
                    from,
                    to,
                    gain,
                }
            }
        })
    }

    fn play(&mut self, leg: LegId, room: RoomId, number: u64) -> Command {
        self.give("play", number);
        let length = self.rng.below(4_000) as usize;
        let clip = Clip::from_samples(RATE, vec![500; length]);
        let player = Player::clip(clip, RATE, Repeat::Times(self.rng.below(4) as u32));
        Command::Play {
            play: PlayId(number),
            on: match self.rng.below(2) {
                0 => PlayOn::Leg(leg),
                _ => PlayOn::Room(room),
            },
            player: Box::new(player.unwrap()),
        }
    }

    fn record(&mut self, leg: LegId, number: u64) -> Command {
        let recording_id = RecordingId(number);
        if self.rng.below(2) == 0 {
            return Command::StopRecording {
                leg,
                recording: recording_id,
            };
        }
        self.give("recording", number);
        let (tap, _feed) = recording(RATE, DEFAULT_QUEUE);
        Command::StartRecording {
            leg,
            recording: recording_id,
            tap: Box::new(tap),
        }
    }

    /// Books what came out, and writes everything into the transcript.
    fn note(&mut self) {
        for datagram in std::mem::take(&mut self.lab.sent) {
            datagram.bytes.hash(&mut self.transcript);
            datagram.destination.hash(&mut self.transcript);
        }
        for event in self.lab.take_events() {
            std::mem::discriminant(&event).hash(&mut self.transcript);
            match event {
                Event::PlayEnded { play, .. } => self.take("play", play.0),
                Event::RecordingStopped { recording, .. } => self.take("recording", recording.0),
                Event::RoomRemoved { room, .. } => self.take("room", room.0),
                Event::LegRemoved(leg) => {
                    self.take("leg", leg.id().0);
                    self.outside.push(leg);
                }
                Event::Rejected { command, .. } => self.rejected(command),
                _ => {}
            }
        }
    }

    fn rejected(&mut self, command: Command) {
        match command {
            Command::AddLeg(leg) => {
                self.take("leg", leg.id().0);
                self.outside.push(leg);
            }
            Command::AddRoom { room, .. } => self.take("room", room.0),
            Command::Play { play, .. } => self.take("play", play.0),
            Command::StartRecording { recording, .. } => self.take("recording", recording.0),
            _ => {}
        }
    }

    /// Removes everything, and checks that nothing is missing.
    fn finish(mut self, seed: u64) -> u64 {
        for number in 1..=8 {
            let (leg, goodbye) = (LegId(number), true);
            self.lab.command(Command::RemoveLeg { leg, goodbye });
            let room = RoomId(number);
            self.lab.command(Command::RemoveRoom { room });
        }
        self.note();
        for leg in std::mem::take(&mut self.outside) {
            // Players and recordings travel with their leg.
            for play in leg.players().plays() {
                self.take("play", play.0);
            }
            for recording in leg.recordings() {
                self.take("recording", recording.0);
            }
        }
        let lost: Vec<_> = self.inside.iter().filter(|(_, n)| **n > 0).collect();
        assert!(lost.is_empty(), "seed {seed}: {lost:?}");
        let stats = self.lab.worker.stats();
        assert_eq!((stats.legs, stats.rooms), (0, 0), "seed {seed}");
        assert_eq!(stats.excess_events, 0, "seed {seed}");
        assert_eq!(self.lab.worker.poll_timeout(), None, "seed {seed}");
        self.transcript.finish()
    }
}

fn run(seed: u64) -> u64 {
    let mut chaos = Chaos::new(seed);
    for _ in 0..3_000 {
        chaos.step();
    }
    chaos.lab.now += ms(200);
    chaos.finish(seed)
}

#[test]
fn everything_that_goes_in_comes_out_and_a_seed_repeats_itself() {
    for seed in 1..=8 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}
