//! Which media worker has which leg and room, and the moves that bring a room's legs together.

use std::collections::{BTreeMap, VecDeque};

use crate::id::{LegId, RoomId, WorkerId};
use crate::media::command::Command;
use crate::media::leg::Leg;
use crate::media::mixer::Gain;

/// Where every leg and room lives. Commands for a leg on its way from one worker to another wait
/// until it has arrived, so that their order holds.
#[derive(Debug)]
pub(crate) struct Placement {
    /// Legs and rooms on each worker, by worker number. Legs weigh more, rooms decide between equals: those
    /// who will join one are not there yet.
    load: Vec<(usize, usize)>,
    legs: BTreeMap<LegId, Place>,
    rooms: BTreeMap<RoomId, WorkerId>,
    commands: VecDeque<(WorkerId, Command)>,
}

#[derive(Debug)]
enum Place {
    On(WorkerId),
    Moving { to: WorkerId, held: Vec<Command> },
}

/// What became of a leg that a worker has let go.
#[derive(Debug)]
pub(crate) enum Removed {
    /// It moves on to another worker.
    Moved,
    /// It is out of media for good.
    Gone(Box<Leg>),
}

impl Placement {
    /// For `workers` workers, numbered from zero.
    pub(crate) fn new(workers: u16) -> Self {
        Self {
            load: vec![(0, 0); usize::from(workers.max(1))],
            legs: BTreeMap::new(),
            rooms: BTreeMap::new(),
            commands: VecDeque::new(),
        }
    }

    /// Places a new leg on the worker that has the fewest.
    pub(crate) fn add_leg(&mut self, leg: Box<Leg>) {
        let worker = self.least_loaded();
        self.count(worker, 1);
        self.legs.insert(leg.id(), Place::On(worker));
        self.commands.push_back((worker, Command::AddLeg(leg)));
    }

    /// Places a new room on the worker that has the fewest legs, and of several on that with the fewest rooms.
    pub(crate) fn add_room(&mut self, id: RoomId, room: Command) {
        let worker = self.least_loaded();
        self.rooms.insert(id, worker);
        if let Some((_, rooms)) = self.load.get_mut(usize::from(worker.0)) {
            *rooms += 1;
        }
        self.commands.push_back((worker, room));
    }

    /// Sends a command to the worker that has `leg`; a leg that is nowhere takes none.
    pub(crate) fn tell_leg(&mut self, leg: LegId, command: Command) {
        match self.legs.get_mut(&leg) {
            Some(Place::On(worker)) => self.commands.push_back((*worker, command)),
            Some(Place::Moving { held, .. }) => held.push(command),
            None => {}
        }
    }

    /// Sends a command to the worker that has `room`.
    pub(crate) fn tell_room(&mut self, room: RoomId, command: Command) {
        if let Some(worker) = self.rooms.get(&room) {
            self.commands.push_back((*worker, command));
        }
    }

    /// Brings `leg` into `room`, to the room's worker first where it is on another.
    pub(crate) fn join(&mut self, room: RoomId, leg: LegId) {
        let (Some(&to), Some(place)) = (self.rooms.get(&room), self.legs.get_mut(&leg)) else {
            return;
        };
        let join = Command::Join { room, leg };
        match place {
            Place::On(worker) if *worker == to => self.commands.push_back((to, join)),
            Place::On(worker) => {
                let from = *worker;
                *place = Place::Moving {
                    to,
                    held: vec![join],
                };
                self.commands.push_back((
                    from,
                    Command::RemoveLeg {
                        leg,
                        goodbye: false,
                    },
                ));
                self.count(from, -1);
                self.count(to, 1);
            }
            Place::Moving { to: bound, held } => {
                // A second move before the first has ended: what was held for the room that is no
                // longer meant is dropped, all else goes along.
                held.retain(|command| !matches!(command, Command::Join { .. }));
                held.push(join);
                let bound = std::mem::replace(bound, to);
                self.count(bound, -1);
                self.count(to, 1);
            }
        }
    }

    /// Sets how loud `to` hears `from`, once both have arrived.
    pub(crate) fn set_gain(&mut self, room: RoomId, from: LegId, to: LegId, gain: Gain) {
        let moving = matches!(self.legs.get(&from), Some(Place::Moving { .. }));
        let command = Command::SetGain {
            room,
            from,
            to,
            gain,
        };
        self.tell_leg(if moving { from } else { to }, command);
    }

    /// Takes `leg` out of media; its worker answers with the leg itself.
    pub(crate) fn remove_leg(&mut self, leg: LegId) {
        self.tell_leg(leg, Command::RemoveLeg { leg, goodbye: true });
    }

    /// Takes `room` away; legs in it go on alone.
    pub(crate) fn remove_room(&mut self, room: RoomId) {
        self.tell_room(room, Command::RemoveRoom { room });
        if let Some(worker) = self.rooms.remove(&room)
            && let Some((_, rooms)) = self.load.get_mut(usize::from(worker.0))
        {
            *rooms = rooms.saturating_sub(1);
        }
    }

    /// A worker has let a leg go: sends it on, or gives it back where it was removed for good.
    pub(crate) fn handle_removed(&mut self, leg: Box<Leg>) -> Removed {
        let id = leg.id();
        match self.legs.remove(&id) {
            Some(Place::Moving { to, held }) => {
                self.legs.insert(id, Place::On(to));
                self.commands.push_back((to, Command::AddLeg(leg)));
                for command in held {
                    match command {
                        // The other of the two may be on its way yet.
                        Command::SetGain {
                            room,
                            from,
                            to,
                            gain,
                        } => self.set_gain(room, from, to, gain),
                        command => self.commands.push_back((to, command)),
                    }
                }
                Removed::Moved
            }
            Some(Place::On(worker)) => {
                self.count(worker, -1);
                Removed::Gone(leg)
            }
            None => Removed::Gone(leg),
        }
    }

    /// The next command for a worker.
    pub(crate) fn poll_command(&mut self) -> Option<(WorkerId, Command)> {
        self.commands.pop_front()
    }

    /// Whether `room` is there.
    pub(crate) fn has_room(&self, room: RoomId) -> bool {
        self.rooms.contains_key(&room)
    }

    /// Legs and rooms that are placed.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.legs.len(), self.rooms.len())
    }

    fn least_loaded(&self) -> WorkerId {
        let (index, _) = self
            .load
            .iter()
            .enumerate()
            .min_by_key(|(_, load)| **load)
            .unwrap_or((0, &(0, 0)));
        // `new` took the number of workers as a u16.
        WorkerId(u16::try_from(index).unwrap_or(u16::MAX))
    }

    fn count(&mut self, worker: WorkerId, change: isize) {
        if let Some((load, _)) = self.load.get_mut(usize::from(worker.0)) {
            *load = load.saturating_add_signed(change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PortId;
    use crate::media::frame::SampleRate;
    use crate::media::leg::config::{LegConfig, LegSettings, PayloadFormat};
    use crate::media::mixer::{Capacity, Room};
    use crate::rng::Rng;
    use crate::time::{ClockAnchor, Instant};

    const ROOM: RoomId = RoomId(9);

    fn leg(id: u64) -> Box<Leg> {
        let format = PayloadFormat::pcma();
        let settings = LegSettings::new(format);
        let port = PortId(id as u32);
        let config = LegConfig::new(LegId(id), port, settings, ClockAnchor::default());
        Leg::new(Instant::ZERO, config, Rng::new(id)).expect("a leg")
    }

    fn add_room(placement: &mut Placement) {
        let capacity = Capacity {
            sources: 4,
            sinks: 4,
            exceptions: 4,
        };
        let mixer = Box::new(Room::new(SampleRate::HZ_8000, capacity));
        placement.add_room(ROOM, Command::AddRoom { room: ROOM, mixer });
    }

    /// What the workers are told, in short.
    fn told(placement: &mut Placement) -> Vec<String> {
        let commands = std::iter::from_fn(|| placement.poll_command());
        let short = |(worker, command): (WorkerId, Command)| {
            let text = match command {
                Command::AddLeg(leg) => format!("add {}", leg.id().0),
                Command::RemoveLeg { leg, .. } => format!("remove {}", leg.0),
                Command::Join { leg, .. } => format!("join {}", leg.0),
                Command::SetGain { from, to, .. } => format!("gain {} {}", from.0, to.0),
                Command::AddRoom { .. } => "room".to_owned(),
                other => format!("{other:?}"),
            };
            format!("{}: {text}", worker.0)
        };
        commands.map(short).collect()
    }

    /// Every command has been carried out, and what was let go has moved on.
    fn settle(placement: &mut Placement, on: &mut BTreeMap<LegId, WorkerId>) {
        while let Some((worker, command)) = placement.poll_command() {
            match command {
                Command::AddLeg(leg) => {
                    on.insert(leg.id(), worker);
                }
                Command::RemoveLeg { leg: id, .. } => {
                    assert_eq!(on.remove(&id), Some(worker));
                    placement.handle_removed(leg(id.0));
                }
                _ => {}
            }
        }
    }

    #[test]
    fn calls_spread_evenly_however_they_come_and_go() {
        let mut rng = Rng::new(3);
        let mut placement = Placement::new(4);
        let (mut on, mut bridges) = (BTreeMap::new(), Vec::new());
        for id in 0..400_u64 {
            // Bridges of two: some have their room first, some their legs.
            let room = RoomId(id);
            let capacity = Capacity::default();
            let mixer = Box::new(Room::new(SampleRate::HZ_8000, capacity));
            let add = Command::AddRoom { room, mixer };
            if id % 2 == 0 {
                placement.add_room(room, add);
                placement.add_leg(leg(id * 2));
                placement.add_leg(leg(id * 2 + 1));
            } else {
                placement.add_leg(leg(id * 2));
                placement.add_leg(leg(id * 2 + 1));
                placement.add_room(room, add);
            }
            settle(&mut placement, &mut on);
            placement.join(room, LegId(id * 2));
            placement.join(room, LegId(id * 2 + 1));
            settle(&mut placement, &mut on);
            bridges.push(id);
            if bridges.len() > 100 {
                let gone = bridges.swap_remove(rng.below(100) as usize);
                placement.remove_leg(LegId(gone * 2));
                placement.remove_leg(LegId(gone * 2 + 1));
                placement.remove_room(RoomId(gone));
                settle(&mut placement, &mut on);
            }
            let mut legs = [0_usize; 4];
            for worker in on.values() {
                legs[usize::from(worker.0)] += 1;
            }
            // Who hangs up is not chosen; who comes evens that out.
            let (least, most) = (legs.iter().min(), legs.iter().max());
            let apart = most.expect("four") - least.expect("four");
            assert!(apart <= 12, "call {id}: {legs:?}");
        }
        // Many rooms before anybody is in them.
        let mut placement = Placement::new(4);
        for id in 0..8 {
            let mixer = Box::new(Room::new(SampleRate::HZ_8000, Capacity::default()));
            let room = RoomId(id);
            placement.add_room(room, Command::AddRoom { room, mixer });
        }
        assert_eq!(placement.load, [(0, 2); 4]);
    }

    #[test]
    fn a_gain_waits_until_both_have_arrived() {
        for order in [[1, 3], [3, 1]] {
            let mut placement = Placement::new(2);
            for id in [1, 2, 3] {
                placement.add_leg(leg(id));
            }
            add_room(&mut placement);
            assert_eq!(
                told(&mut placement),
                ["0: add 1", "1: add 2", "0: add 3", "1: room"]
            );
            placement.join(ROOM, LegId(1));
            placement.join(ROOM, LegId(3));
            placement.join(ROOM, LegId(2));
            placement.set_gain(ROOM, LegId(1), LegId(3), Gain::MUTE);
            placement.set_gain(ROOM, LegId(1), LegId(2), Gain::MUTE);
            assert_eq!(
                told(&mut placement),
                ["0: remove 1", "0: remove 3", "1: join 2"]
            );
            for id in order {
                assert!(matches!(placement.handle_removed(leg(id)), Removed::Moved));
            }
            let told = told(&mut placement);
            let at = |what: &str| told.iter().position(|line| line == what);
            for gain in ["1: gain 1 3", "1: gain 1 2"] {
                let gain = at(gain).expect("told");
                assert!(Some(gain) > at("1: join 1") && at("1: join 1").is_some());
            }
            assert!(at("1: gain 1 3") > at("1: join 3"), "{told:?}");
        }
    }
}
