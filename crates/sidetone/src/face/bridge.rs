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
