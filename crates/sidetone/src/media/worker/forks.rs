//! Forks of legs and of rooms, and their suspension where the worker cannot keep up.

use crate::id::ForkId;
use crate::media::command::{Command, Event, ForkOn, RejectReason};
use crate::media::fork::{Content, ForkTap, Said};
use crate::media::frame::Frame;
use crate::media::leg::forks::{MAX_FORKS, StartForkError};
use crate::media::mixer::{Mixed, SinkSlot};
use crate::media::worker::{Hall, Worker};
use crate::time::{Duration, Instant};

/// A fork of a room: it hears what nobody keeps from it.
#[derive(Debug)]
pub(super) struct RoomFork {
    id: ForkId,
    sink: SinkSlot,
    tap: Box<ForkTap>,
}

/// The forks of a room.
pub(super) type RoomForks = [Option<RoomFork>; MAX_FORKS];

type Done = Result<(), (RejectReason, Command)>;

impl Worker {
    pub(super) fn start_fork(&mut self, on: ForkOn, fork: ForkId, mut tap: Box<ForkTap>) -> Done {
        tap.set_suspended(self.shedding.is_on());
        let started = match self.ledger.counts.forks < self.config.max_forks {
            true => self.add_fork(on, fork, tap),
            false => Err((RejectReason::Full, tap)),
        };
        match started {
            Ok(()) => {
                self.ledger.counts.forks += 1;
                Ok(())
            }
            Err((reason, tap)) => Err((reason, Command::StartFork { on, fork, tap })),
        }
    }

    fn add_fork(
        &mut self,
        on: ForkOn,
        fork: ForkId,
        tap: Box<ForkTap>,
    ) -> Result<(), (RejectReason, Box<ForkTap>)> {
        match on {
            ForkOn::Leg(leg) => match self.seat_mut(leg) {
                Ok(seat) => {
                    let started = seat.leg.start_fork(fork, tap);
                    started.map_err(|(error, tap)| (reason(error), tap))
                }
                Err(reason) => Err((reason, tap)),
            },
            ForkOn::Room(room) => {
                let slot = self.room_slot(room);
                let hall = slot.and_then(|slot| self.rooms.get_mut(slot));
                let (Some(slot), Some(hall)) = (slot, hall) else {
                    return Err((RejectReason::Unknown, tap));
                };
                hall.add_fork(fork, tap)?;
                self.rewire(slot);
                Ok(())
            }
        }
    }

    pub(super) fn stop_fork(&mut self, on: ForkOn, fork: ForkId) -> Result<(), RejectReason> {
        let tap = match on {
            ForkOn::Leg(leg) => self.seat_mut(leg)?.leg.stop_fork(fork),
            ForkOn::Room(room) => {
                let slot = self.room_slot(room).ok_or(RejectReason::Unknown)?;
                let hall = self.rooms.get_mut(slot).ok_or(RejectReason::Unknown)?;
                let tap = hall.take_fork(|it| it.id == fork).map(|it| it.tap);
                self.rewire(slot);
                tap
            }
        };
        let tap = tap.ok_or(RejectReason::Unknown)?;
        self.ledger.end_fork(fork, tap);
        Ok(())
    }

    /// Takes note of how late a tick is; where the worker cannot keep up, suspends what is optional.
    pub(super) fn shed(&mut self, late: Duration) {
        if !self.shedding.note(late) {
            return;
        }
        let is_shedding = self.shedding.is_on();
        self.stats.sheddings += u64::from(is_shedding);
        for slot in 0..self.legs.end() {
            if let Some(seat) = self.legs.get_mut(slot) {
                seat.leg.suspend_forks(is_shedding);
            }
        }
        for slot in 0..self.rooms.end() {
            let Some(hall) = self.rooms.get_mut(slot) else {
                continue;
            };
            let mut forks = hall.forks.iter_mut().flatten().peekable();
            if forks.peek().is_none() {
                continue;
            }
            for fork in forks {
                fork.tap.set_suspended(is_shedding);
            }
            self.rewire(slot);
        }
        self.ledger.offer(Event::Shedding { is_shedding, late });
    }
}

impl Hall {
    fn add_fork(
        &mut self,
        id: ForkId,
        tap: Box<ForkTap>,
    ) -> Result<(), (RejectReason, Box<ForkTap>)> {
        if self.forks.iter().flatten().any(|own| own.id == id) {
            return Err((RejectReason::Exists, tap));
        }
        if !tap.takes(self.mixer.rate()) {
            return Err((RejectReason::Unsupported, tap));
        }
        let place = self.forks.iter_mut().find(|place| place.is_none());
        let (Some(place), Ok(sink)) = (place, self.mixer.open_sink(true, None)) else {
            return Err((RejectReason::Full, tap));
        };
        *place = Some(RoomFork { id, sink, tap });
        Ok(())
    }

    /// Takes out a fork of this kind.
    pub(super) fn take_fork(&mut self, is_it: impl Fn(&RoomFork) -> bool) -> Option<RoomFork> {
        let place = self
            .forks
            .iter_mut()
            .find(|place| place.as_ref().is_some_and(&is_it))?;
        let fork = place.take()?;
        self.mixer.close_sink(fork.sink);
        Some(fork)
    }

    pub(super) fn has_forks(&self) -> bool {
        self.forks.iter().any(Option::is_some)
    }

    /// Whether a fork wants what the members say as samples.
    pub(super) fn is_forked(&self) -> bool {
        self.forks
            .iter()
            .flatten()
            .any(|fork| !fork.tap.is_suspended())
    }

    /// Gives the forks what is mixed in this tick; how many are suspended.
    pub(super) fn write_forks(&mut self, at: Instant, heard: &mut Frame) -> usize {
        let mut suspended = 0;
        for fork in self.forks.iter_mut().flatten() {
            suspended += usize::from(fork.tap.is_suspended());
            let sounds = matches!(self.mixer.take(fork.sink, heard), Ok(Mixed::Sound));
            if !sounds {
                heard.reset(self.mixer.rate());
            }
            let content = match sounds {
                true => Content::Sound,
                false => Content::Silence,
            };
            let said = Said {
                content,
                ..Said::default()
            };
            fork.tap.push(at, said, Some(heard), None);
        }
        suspended
    }
}

impl RoomFork {
    pub(super) fn into_parts(self) -> (ForkId, Box<ForkTap>) {
        (self.id, self.tap)
    }
}

fn reason(error: StartForkError) -> RejectReason {
    match error {
        StartForkError::Exists => RejectReason::Exists,
        StartForkError::Full => RejectReason::Full,
        StartForkError::WrongRate => RejectReason::Unsupported,
    }
}
