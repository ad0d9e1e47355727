//! The handle to a bridge of two calls.

use crate::call::cause::EndReason;
use crate::engine::event::CallError;
use crate::face::call::Call;
use crate::face::room::Room;
use crate::id::CallId;

/// Two calls that hear each other. Dropping it parts them; both calls go on alone.
#[derive(Debug)]
pub struct Bridge<'a> {
    room: Room,
    calls: [&'a Call; 2],
}

/// Which side of a bridge hung up, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeEnd {
    /// The call that ended.
    pub call: CallId,
    /// Why it ended.
    pub reason: EndReason,
}

impl<'a> Bridge<'a> {
    pub(crate) async fn new(a: &'a Call, b: &'a Call) -> Result<Self, CallError> {
        let room = a.engine().room().await?;
        room.join(a).await?;
        room.join(b).await?;
        Ok(Self {
            room,
            calls: [a, b],
        })
    }

    /// The room that the two calls share; a third may join it.
    pub fn room(&self) -> &Room {
        &self.room
    }

    /// Puts `new` into the place of `old`: the party that stays hears the new one, without a word of
    /// signalling to it. `old` stays up, alone, and the data of both is one from now on.
    ///
    /// ```no_run
    /// # use sidetone::face::call::Call;
    /// # use sidetone::engine::event::CallError;
    /// # async fn flow(caller: Call, robot: Call) -> Result<(), CallError> {
    /// let mut bridge = caller.bridge(&robot).await?;
    /// let agent = caller.engine().dial("sip:agent@192.0.2.7").on_behalf_of(&caller).await?;
    /// bridge.replace(&robot, &agent).await?;
    /// robot.hang_up().await?;
    /// bridge.ended().await.map(drop)
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`CallError::Invalid`] where `old` is neither of the two, [`CallError::WrongState`] where `new` has
    /// no media yet; the bridge then stays as it is.
    pub async fn replace(&mut self, old: &Call, new: &'a Call) -> Result<(), CallError> {
        let place = self.calls.iter().position(|call| call.id() == old.id());
        let stranger = || CallError::Invalid("the call is not in the bridge".into());
        let place = place.ok_or_else(stranger)?;
        let (from, to) = (old.id(), new.id());
        new.command(move |core, now, _| core.replace_leg(now, from, to))
            .await?;
        self.calls[place] = new;
        Ok(())
    }

    /// Waits until one of the two hangs up.
    ///
    /// # Errors
    /// [`CallError::EngineStopped`].
    pub async fn ended(&self) -> Result<BridgeEnd, CallError> {
        let [a, b] = self.calls;
        tokio::select! {
            biased;
            end = a.ended() => Ok(BridgeEnd { call: a.id(), reason: end?.reason.clone() }),
            end = b.ended() => Ok(BridgeEnd { call: b.id(), reason: end?.reason.clone() }),
        }
    }
}

impl Call {
    /// Connects this call with `other`: the two parties hear each other until one hangs up or the
    /// bridge is dropped. Prompts that play to one party alone go on.
    ///
    /// # Errors
    /// [`CallError::Ended`] where one of the two is over, [`CallError::WrongState`] where one has no
    /// media yet.
    pub async fn bridge<'a>(&'a self, other: &'a Self) -> Result<Bridge<'a>, CallError> {
        Bridge::new(self, other).await
    }
}
