//! The handle to a room.

use std::fmt;

use crate::engine::core::playing::Audience;
use crate::engine::event::CallError;
use crate::face::call::Call;
use crate::face::fork::ForkPlan;
use crate::face::link::Link;
use crate::face::play::Play;
use crate::face::prompt::Prompt;
use crate::face::speech::Speak;
use crate::id::{CallId, RoomId};
use crate::media::mixer::Gain;

/// A room: every call in it hears the others, each by a gain that can be set. A conference, a
/// listening supervisor and a whispering one are rooms with other gains.
///
/// Dropping the handle closes the room: its calls go on alone.
pub struct Room {
    link: Link,
    id: RoomId,
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Room {
    pub(crate) fn new(link: Link, id: RoomId) -> Self {
        Self { link, id }
    }

    /// The room's number, unique within its engine.
    pub fn id(&self) -> RoomId {
        self.id
    }

    /// Brings a call into the room; it leaves the one it was in.
    ///
    /// # Errors
    /// [`CallError::WrongState`] where the call has no media yet, [`CallError::Ended`] where it is
    /// over, [`CallError::Busy`] where the room is full.
    pub async fn join(&self, call: &Call) -> Result<(), CallError> {
        let room = self.id;
        call.command(move |core, now, call| core.join(now, room, call))
            .await
    }

    /// Takes a call out of the room; it goes on alone.
    ///
    /// # Errors
    /// [`CallError::WrongState`] where it is not in this room.
    pub async fn leave(&self, call: &Call) -> Result<(), CallError> {
        let room = self.id;
        call.command(move |core, now, call| core.leave(now, room, call))
            .await
    }

    /// Sets how loud `to` hears `from`: [`Gain::MUTE`] for not at all, [`Gain::UNITY`] (the default)
    /// for as it is.
    ///
    /// # Errors
    /// [`CallError::WrongState`] where one of the two is not in this room.
    pub async fn set_gain(&self, from: &Call, to: &Call, gain: Gain) -> Result<(), CallError> {
        let (room, from, to): (RoomId, CallId, CallId) = (self.id, from.id(), to.id());
        self.link
            .ask(move |hub, now| hub.core().set_gain(now, room, from, to, gain))
            .await?
    }

    /// Forks what is said in the room, all of it in one sound, to whoever recognises speech: await it for the
    /// [`Fork`](crate::face::fork::Fork). Who wants the parties apart forks their calls.
    ///
    /// # Errors
    /// Awaiting it: [`CallError::Busy`] for a fifth fork.
    pub fn fork(&self) -> ForkPlan<'_> {
        ForkPlan::new(&self.link, Audience::Room(self.id))
    }

    /// Speaks to everyone in the room what is written while it is heard: await it for the
    /// [`Speech`](crate::face::speech::Speech) to write to.
    pub fn speak(&self) -> Speak<'_> {
        Speak::new(&self.link, Audience::Room(self.id))
    }

    /// Plays a prompt or tone to everyone in the room.
    pub fn play(&self, prompt: &Prompt) -> Play<'_> {
        Play::in_room(&self.link, self.id, prompt)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let id = self.id;
        self.link.tell(move |core, now| core.close_room(now, id));
    }
}
