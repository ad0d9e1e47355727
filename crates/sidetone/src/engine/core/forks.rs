//! Forks: the sound of calls and rooms, for whoever recognises speech.

use crate::engine::core::playing::Audience;
use crate::engine::core::{Core, next};
use crate::engine::event::{CallError, Event, SheddingNews};
use crate::id::{ForkId, WorkerId};
use crate::media::command::{Command, ForkOn};
use crate::media::fork::{DEFAULT_QUEUE, ForkPlan, ForkReader, ForkSound};
use crate::media::frame::SampleRate;
use crate::media::leg::forks::MAX_FORKS;
use crate::time::{Duration, Instant};

/// What a fork shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForkRequest {
    /// The rate of its frames, 8 or 16 kHz. Default 16 kHz.
    pub rate: SampleRate,
    /// Whose sound, of a call's. Default what the party says.
    pub sound: ForkSound,
    /// How much is kept for a slow reader. Default [`DEFAULT_QUEUE`].
    pub queue: Duration,
    /// Whether a media thread that cannot keep up may suspend it. Default false.
    pub is_optional: bool,
}

impl Default for ForkRequest {
    fn default() -> Self {
        Self {
            rate: SampleRate::HZ_16000,
            sound: ForkSound::Said,
            queue: DEFAULT_QUEUE,
            is_optional: false,
        }
    }
}

impl Core {
    /// Forks the sound of a call or a room; the reader gives it.
    pub fn fork(
        &mut self,
        now: Instant,
        of: Audience,
        request: ForkRequest,
    ) -> Result<(ForkId, ForkReader), CallError> {
        self.now = now;
        if request.rate == SampleRate::HZ_48000 {
            return Err(CallError::Invalid("a fork has 8 or 16 kHz".to_owned()));
        }
        let fork = ForkId(next(&mut self.minted.forks));
        let (on, from) = match of {
            Audience::Call(id) => {
                let call = self.call_mut(id)?;
                let leg = call.leg;
                let leg = leg.ok_or(CallError::WrongState("the call has no media yet"))?;
                (ForkOn::Leg(leg), vec![call.rate])
            }
            // A room changes its rate with its members.
            Audience::Room(room) => (ForkOn::Room(room), Self::voice_rates()),
        };
        let forks = self.forks_of(of).ok_or(CallError::Gone)?;
        if forks.len() >= MAX_FORKS {
            return Err(CallError::Busy("it has as many forks as it can"));
        }
        forks.push(fork);
        self.forks.insert(fork, of);
        let plan = ForkPlan {
            rate: request.rate,
            from,
            sound: request.sound,
            queue: request.queue,
            is_optional: request.is_optional,
        };
        let (tap, reader) = plan.make();
        let tap = Box::new(tap);
        self.tell_forked(on, Command::StartFork { on, fork, tap });
        Ok((fork, reader))
    }

    fn voice_rates() -> Vec<SampleRate> {
        vec![
            SampleRate::HZ_8000,
            SampleRate::HZ_16000,
            SampleRate::HZ_48000,
        ]
    }

    /// Ends a fork; one that has ended takes no notice.
    pub fn stop_fork(&mut self, now: Instant, fork: ForkId) {
        self.now = now;
        let Some(of) = self.forks.get(&fork) else {
            return;
        };
        let on = match *of {
            Audience::Room(room) => ForkOn::Room(room),
            Audience::Call(id) => match self.calls.get(&id).and_then(|call| call.leg) {
                Some(leg) => ForkOn::Leg(leg),
                None => return,
            },
        };
        self.tell_forked(on, Command::StopFork { on, fork });
    }

    fn tell_forked(&mut self, on: ForkOn, command: Command) {
        match on {
            ForkOn::Leg(leg) => self.placement.tell_leg(leg, command),
            ForkOn::Room(room) => self.placement.tell_room(room, command),
        }
    }

    fn forks_of(&mut self, of: Audience) -> Option<&mut Vec<ForkId>> {
        match of {
            Audience::Call(id) => self.calls.get_mut(&id).map(|call| &mut call.sound_forks),
            Audience::Room(room) => self.rooms.get_mut(&room).map(|room| &mut room.forks),
        }
    }

    /// A fork is out of media.
    pub(super) fn handle_fork_stopped(&mut self, fork: ForkId) {
        if let Some(of) = self.forks.remove(&fork)
            && let Some(forks) = self.forks_of(of)
        {
            forks.retain(|&own| own != fork);
        }
    }

    /// A media worker suspends what is optional, or does so no more.
    pub(super) fn handle_shedding(&mut self, worker: WorkerId, is_shedding: bool, late: Duration) {
        self.counters.sheddings += u64::from(is_shedding);
        self.events.push_back(Event::Shedding(SheddingNews {
            worker,
            is_shedding,
            late,
        }));
    }
}
