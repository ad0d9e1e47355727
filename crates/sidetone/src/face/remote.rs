//! The handle to a recording that a server elsewhere makes.

use crate::engine::event::CallError;
use crate::face::link::Link;
use crate::id::RecordingId;

/// A conversation that a session recording server elsewhere records (RFC 7866). Dropping the handle lets it go on
/// until the call ends.
#[derive(Debug)]
pub struct RemoteRecording {
    link: Link,
    id: RecordingId,
}

impl RemoteRecording {
    pub(crate) fn new(link: Link, id: RecordingId) -> Self {
        Self { link, id }
    }

    /// The recording's number, unique within its engine, by which events name it.
    pub fn id(&self) -> RecordingId {
        self.id
    }

    /// Sends the server nothing from the next frame on, and tells it so, until [`resume`](Self::resume): while
    /// a card number is told, say.
    ///
    /// # Errors
    /// [`CallError::Gone`] where no server records any more.
    pub async fn pause(&self) -> Result<(), CallError> {
        self.turn(true).await
    }

    /// Ends a pause. Sound flows again once the server has agreed.
    ///
    /// # Errors
    /// As [`pause`](Self::pause).
    pub async fn resume(&self) -> Result<(), CallError> {
        self.turn(false).await
    }

    async fn turn(&self, paused: bool) -> Result<(), CallError> {
        let id = self.id;
        let turned = self
            .link
            .ask(move |hub, now| hub.core().pause_remote(now, id, paused));
        turned.await?
    }

    /// Ends the recording session; the call goes on.
    pub fn stop(self) {
        let id = self.id;
        self.link.tell(move |core, now| core.stop_remote(now, id));
    }
}
