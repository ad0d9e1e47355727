//! The handle to a recording.

use tokio::sync::watch;

use crate::engine::event::{CallError, RecordingError};
use crate::face::hub::RecordingStage;
use crate::face::link::Link;
use crate::id::RecordingId;
use crate::media::recorder::writer::Report;

/// A recording that runs. Dropping the handle lets it run until the call ends.
#[derive(Debug)]
pub struct Recording {
    link: Link,
    id: RecordingId,
    stage: watch::Receiver<RecordingStage>,
}

impl Recording {
    pub(crate) fn new(link: Link, id: RecordingId, stage: watch::Receiver<RecordingStage>) -> Self {
        Self { link, id, stage }
    }

    /// The recording's number, unique within its engine.
    pub fn id(&self) -> RecordingId {
        self.id
    }

    /// Waits until the file exists and is being written, for a flow that must not go on unrecorded.
    /// Give it a limit ([`Engine::timeout`]): a disk that hangs answers late.
    ///
    /// [`Engine::timeout`]: crate::face::engine::Engine::timeout
    ///
    /// # Errors
    /// The file could not be made or written: it exists, permission is missing, the disk is full.
    pub async fn started(&self) -> Result<(), RecordingError> {
        let decided = |stage: &RecordingStage| !matches!(stage, RecordingStage::Opening);
        match self.stage.clone().wait_for(decided).await.as_deref() {
            Ok(RecordingStage::Closed(Err(error))) => Err(error.clone()),
            Ok(_) => Ok(()),
            Err(_) => Err(stopped()),
        }
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
    pub async fn closed(mut self) -> Result<Report, RecordingError> {
        let closed = |stage: &RecordingStage| matches!(stage, RecordingStage::Closed(_));
        match self.stage.wait_for(closed).await.as_deref() {
            Ok(RecordingStage::Closed(outcome)) => outcome.clone(),
            _ => Err(stopped()),
        }
    }
}

fn stopped() -> RecordingError {
    RecordingError(CallError::EngineStopped.to_string())
}
