//! Recordings of calls.

use std::path::PathBuf;

use crate::engine::core::{Core, next};
use crate::engine::event::{CallError, CallEvent, RecordingError};
use crate::engine::io::Output;
use crate::id::{CallId, RecordingId};
use crate::media::command::Command;
use crate::media::recorder::note::Note;
use crate::media::recorder::storage::{Sealing, StorageCommand, StorageEvent};
use crate::media::recorder::{self, DEFAULT_QUEUE};
use crate::time::Instant;

impl Core {
    /// Records a call into a stereo WAV file at `path`: both sides of it, or the party alone.
    pub fn record(
        &mut self,
        now: Instant,
        id: CallId,
        path: PathBuf,
        party_alone: bool,
    ) -> Result<RecordingId, CallError> {
        self.now = now;
        let recording = RecordingId(next(&mut self.minted.recordings));
        let call = self.call_mut(id)?;
        let leg = call
            .leg
            .ok_or(CallError::WrongState("the call has no media yet"))?;
        if call.recording.is_some() {
            return Err(CallError::WrongState("the call is being recorded already"));
        }
        call.recording = Some(recording);
        let rate = call.rate;
        let (tap, feed) = recorder::recording(rate, DEFAULT_QUEUE);
        let tap = if party_alone {
            tap.of_party_alone()
        } else {
            tap
        };
        self.recordings.insert(recording, id);
        let open = StorageCommand::Open {
            recording,
            path,
            encoding: self.config.recording.encoding,
            sealing: self.sealing(now),
            feed: Box::new(feed),
        };
        self.outputs.push_back(Output::Storage(open));
        let start = Command::StartRecording {
            leg,
            recording,
            tap: Box::new(tap),
        };
        self.placement.tell_leg(leg, start);
        Ok(recording)
    }

    /// Writes into a recording's timeline: pauses, masks, marks. Takes effect with the next frame.
    ///
    /// # Errors
    /// [`CallError::Gone`] where the recording has ended.
    pub fn note_recording(
        &mut self,
        now: Instant,
        recording: RecordingId,
        note: Note,
    ) -> Result<(), CallError> {
        self.now = now;
        let id = self.recordings.get(&recording).ok_or(CallError::Gone)?;
        let id = *id;
        let call = self.call_mut(id)?;
        let leg = call.leg.filter(|_| call.recording == Some(recording));
        let leg = leg.ok_or(CallError::Gone)?;
        let command = Command::NoteRecording {
            leg,
            recording,
            note: note.clone(),
        };
        self.placement.tell_leg(leg, command);
        if !matches!(note, Note::Mark(_)) {
            self.emit(id, CallEvent::RecordingNoted { recording, note });
        }
        Ok(())
    }

    /// Tells the timeline what befalls the call. A digit's value is not written down.
    pub(super) fn note_event(&mut self, id: CallId, event: &CallEvent) {
        let Some(call) = self.calls.get(&id) else {
            return;
        };
        let (Some(leg), Some(recording)) = (call.leg, call.recording) else {
            return;
        };
        let note = match event {
            CallEvent::Held => Note::Held("party".into()),
            CallEvent::Resumed => Note::Retrieved,
            CallEvent::Renegotiated if call.held_by_us => Note::Held("engine".into()),
            CallEvent::Renegotiated => Note::Retrieved,
            CallEvent::Digit { .. } => Note::Digit,
            _ => return,
        };
        let command = Command::NoteRecording {
            leg,
            recording,
            note,
        };
        self.placement.tell_leg(leg, command);
    }

    /// What was to be silenced cannot be: better no recording than one that it is in.
    pub(super) fn handle_refused_note(
        &mut self,
        now: Instant,
        recording: RecordingId,
        note: &Note,
    ) {
        if matches!(note, Note::Paused | Note::Masked(_)) {
            self.stop_recording(now, recording);
        }
    }

    /// How the next recording is sealed.
    fn sealing(&mut self, now: Instant) -> Option<Sealing> {
        let recording = &self.config.recording;
        recording.sealed.then(|| Sealing {
            id: u128::from(self.rng.next_u64()) << 64 | u128::from(self.rng.next_u64()),
            started: self.anchor.wall_at(now),
            key: recording.key.clone(),
        })
    }

    /// Stops a recording; its file is closed soon after.
    pub fn stop_recording(&mut self, now: Instant, recording: RecordingId) {
        self.now = now;
        let Some(id) = self.recordings.get(&recording) else {
            return;
        };
        let Some(call) = self
            .calls
            .get_mut(id)
            .filter(|call| call.recording == Some(recording))
        else {
            return;
        };
        call.recording = None;
        if let Some(leg) = call.leg {
            self.placement
                .tell_leg(leg, Command::StopRecording { leg, recording });
        }
    }

    pub(super) fn take_storage(&mut self, event: StorageEvent) {
        let (recording, outcome) = match event {
            StorageEvent::Opened { recording } => {
                if let Some(id) = self.recordings.get(&recording).copied() {
                    self.emit(id, CallEvent::RecordingStarted { recording });
                }
                return;
            }
            StorageEvent::Failed { recording, error } => {
                (recording, Err(RecordingError(error.to_string())))
            }
            StorageEvent::Closed { recording, report } => (recording, Ok(report)),
            StorageEvent::Unguarded { .. } => {
                self.counters.journal_suspensions += 1;
                return;
            }
            StorageEvent::Guarded => return,
        };
        let Some(id) = self.recordings.remove(&recording) else {
            return;
        };
        if let Err(error) = &outcome {
            self.counters.recordings_failed += 1;
            self.emit(
                id,
                CallEvent::RecordingFailed {
                    recording,
                    error: error.clone(),
                },
            );
        }
        self.forget_recording(id, recording);
        self.emit(id, CallEvent::RecordingEnded { recording, outcome });
    }

    /// Nothing is written any more: media need not feed it.
    fn forget_recording(&mut self, id: CallId, recording: RecordingId) {
        let Some(call) = self
            .calls
            .get_mut(&id)
            .filter(|call| call.recording == Some(recording))
        else {
            return;
        };
        call.recording = None;
        if let Some(leg) = call.leg {
            self.placement
                .tell_leg(leg, Command::StopRecording { leg, recording });
        }
    }
}
