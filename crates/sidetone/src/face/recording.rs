//! The handle to a recording.

use tokio::sync::oneshot;

use crate::engine::event::{CallError, RecordingError};
use crate::face::hub::RecordingOutcome;
use crate::face::link::Link;
use crate::id::RecordingId;
use crate::media::recorder::writer::Report;

/// A recording that runs. Dropping the handle lets it run until the call ends.
#[derive(Debug)]
pub struct Recording {
    link: Link,
    id: RecordingId,
    wait: oneshot::Receiver<RecordingOutcome>,
}

impl Recording {
    pub(crate) fn new(
        link: Link,
        id: RecordingId,
        wait: oneshot::Receiver<RecordingOutcome>,
    ) -> Self {
        Self { link, id, wait }
    }

    /// The recording's number, unique within its engine.
    pub fn id(&self) -> RecordingId {
        self.id
    }

    /// Stops recording and waits until the file is complete.
    ///
    /// # Errors
    /// The file could not be written in whole.
    pub async fn stop(self) -> Result<Report, RecordingError> {
        let id = self.id;
        self.link
            .tell(move |core, now| core.stop_recording(now, id));
        self.closed().await
    }

    /// Waits until the file is complete: the call ended, or something stopped the recording.
    ///
    /// # Errors
    /// The file could not be written in whole.
    pub async fn closed(self) -> Result<Report, RecordingError> {
        let gone = |_| RecordingError(CallError::EngineStopped.to_string());
        self.wait.await.map_err(gone)?
    }
}
