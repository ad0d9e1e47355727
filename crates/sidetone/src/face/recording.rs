//! The handle to a recording.

use tokio::sync::watch;

use crate::engine::event::{CallError, RecordingError};
use crate::face::hub::RecordingStage;
use crate::face::link::Link;
use crate::id::RecordingId;
use crate::media::recorder::note::Note;
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

    /// Records nothing until [`resume`](Self::resume): silence stands in the file, and the pause in its
    /// timeline.
    ///
    /// # Errors
    /// [`CallError::Gone`] where the recording has ended.
    pub async fn pause(&self) -> Result<(), CallError> {
        self.note(Note::Paused).await
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// As [`pause`](Self::pause).
    pub async fn resume(&self) -> Result<(), CallError> {
        self.note(Note::Resumed).await
    }

    /// Silences both tracks until [`unmask`](Self::unmask), for `reason` (`card`, say), which is written
    /// into the timeline. What is masked never reaches a disk. Where it cannot be told to storage, the
    /// recording ends.
    ///
    /// # Errors
    /// As [`pause`](Self::pause).
    pub async fn mask(&self, reason: &str) -> Result<(), CallError> {
        self.note(Note::Masked(reason.into())).await
    }

    /// Ends a masked span.
    ///
    /// # Errors
    /// As [`pause`](Self::pause).
    pub async fn unmask(&self) -> Result<(), CallError> {
        self.note(Note::Unmasked).await
    }

    /// Writes up to 200 bytes of text into the timeline, to be found again: who speaks, what is transcribed.
    ///
    /// # Errors
    /// As [`pause`](Self::pause).
    pub async fn mark(&self, text: &str) -> Result<(), CallError> {
        self.note(Note::Mark(text.into())).await
    }

    async fn note(&self, note: Note) -> Result<(), CallError> {
        let id = self.id;
        let noted = self
            .link
            .ask(move |hub, now| hub.core().note_recording(now, id, note));
        noted.await?
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
