//! What parties would like of being recorded (RFC 7866 §8.3.2), and what is done about it.

use crate::engine::core::Core;
use crate::engine::event::CallEvent;
use crate::id::{CallId, RecordingId};
use crate::media::recorder::note::Note;

impl Core {
    /// Tells the flow of a party what that one would like, where it says something new.
    pub(super) fn note_preference(&mut self, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let said = call.agreed.as_ref().and_then(|it| it.record_preference);
        let Some(said) = said.filter(|_| said != call.record_preference) else {
            return;
        };
        call.record_preference = Some(said);
        self.emit(id, CallEvent::RecordingPreferred(said));
        self.heed_preference(id);
    }

    /// Lets what records a party follow what its parties would like, where that is heeded.
    pub(super) fn heed_preference(&mut self, id: CallId) {
        let Some(call) = self.calls.get(&id) else {
            return;
        };
        if !self.config.recording.heeds_preferences {
            return;
        }
        let here: Vec<RecordingId> = call.taped.iter().copied().collect();
        let elsewhere: Vec<RecordingId> = call.carried.keys().copied().collect();
        for recording in here {
            self.heed_in_recording(recording);
        }
        for remote in elsewhere {
            self.heed_in_remote(remote);
        }
    }

    fn heed_in_recording(&mut self, recording: RecordingId) {
        let Some(recorded) = self.recordings.get(&recording) else {
            return;
        };
        let wanted = recorded.taps.keys().any(|id| self.is_against(*id));
        if recorded.heeded == wanted {
            return;
        }
        let note = match wanted {
            true => Note::Paused,
            false => Note::Resumed,
        };
        // It fails only where the recording is over.
        if self.note_recording(self.now, recording, note).is_ok()
            && let Some(recorded) = self.recordings.get_mut(&recording)
        {
            recorded.heeded = wanted;
        }
    }

    fn heed_in_remote(&mut self, remote: RecordingId) {
        let Some(carried) = self.remotes.get(&remote).map(|it| it.parties()) else {
            return;
        };
        let wanted = carried.iter().any(|id| self.is_against(*id));
        let Some(state) = self.remotes.get_mut(&remote) else {
            return;
        };
        if std::mem::replace(&mut state.heeded, wanted) != wanted {
            // It fails only where nothing is recorded any more.
            let _over = self.set_remote_paused(self.now, remote, wanted);
        }
    }

    /// Whether a party would rather not be recorded now.
    fn is_against(&self, id: CallId) -> bool {
        let call = self.calls.get(&id);
        call.and_then(|call| call.record_preference)
            .is_some_and(|it| it.is_against())
    }
}
