//! Recordings that begin by policy, and the tones that tell the parties of a recording.

use crate::engine::core::call::{CallState, Stage};
use crate::engine::core::siprec::client::Remote;
use crate::engine::core::{Core, next};
use crate::engine::event::CallError;
use crate::engine::recording::RecordingPlan;
use crate::engine::recording::policy::{Described, Form, RecordingChoice, RecordingPolicy};
use crate::engine::remote::RemotePlan;
use crate::id::{CallId, PlayId, RecordingId};
use crate::media::command::{Command, PlayOn};
use crate::media::player::Player;
use crate::media::recorder::note::Note;
use crate::media::recorder::retention::Label;
use crate::time::Instant;

impl Core {
    /// Says of one call that it is to be recorded whatever the policy draws, or not to be; also of one that is
    /// answered already: a recording by policy ends then.
    ///
    /// # Errors
    /// [`CallError::WrongState`] where there is no policy.
    pub fn set_recorded(
        &mut self,
        now: Instant,
        id: CallId,
        choice: RecordingChoice,
    ) -> Result<(), CallError> {
        self.now = now;
        if self.config.recording.policy.is_none() {
            return Err(CallError::WrongState("there is no policy of recording"));
        }
        let call = self.call_mut(id)?;
        call.recorded = choice;
        let running = call.recording;
        let remotes = call.remotes.clone();
        if choice != RecordingChoice::Never {
            self.record_by_policy(id);
            self.take_signalling(now);
            return Ok(());
        }
        if let Some(recording) = running.filter(|it| self.is_by_policy(*it)) {
            self.stop_recording(now, recording);
        }
        let is_by_policy = |it: &Remote| it.by_policy;
        for remote in remotes {
            if self.remotes.get(&remote).is_some_and(is_by_policy) {
                self.stop_remote(now, remote);
            }
        }
        Ok(())
    }

    /// The recording of a call, and whether its file exists.
    pub fn recording_of(&self, id: CallId) -> Option<(RecordingId, bool)> {
        let recording = self.calls.get(&id)?.recording?;
        Some((recording, self.recordings.get(&recording)?.is_open))
    }

    fn is_by_policy(&self, recording: RecordingId) -> bool {
        let recorded = self.recordings.get(&recording);
        recorded.is_some_and(|it| it.by_policy)
    }

    /// A call is answered, or better known: the policy may want it recorded.
    pub(super) fn record_by_policy(&mut self, id: CallId) {
        if self.config.recording.policy.is_none() {
            return;
        }
        let Some(call) = self.calls.get(&id) else {
            return;
        };
        // What others have recorded is recorded where they bring it.
        let is_recorded = call.recording.is_some() || !call.taped.is_empty();
        let is_carried = !call.remotes.is_empty() || !call.carried.is_empty();
        let is_free = !is_recorded && !is_carried && call.siprec.is_none();
        let is_up = call.stage == Stage::Up && call.ending.is_none() && call.leg.is_some();
        if !is_free || !is_up || call.recorded == RecordingChoice::Never {
            return;
        }
        let Some(form) = self.form_by_policy(id) else {
            return;
        };
        if let Some(plan) = form.remote {
            return self.record_remotely_by_policy(id, plan);
        }
        let plan = self.plan_of(id, form);
        // It was looked whether it can be; what the disk says of it is told by events.
        if let Ok(recording) = self.record(self.now, id, plan)
            && let Some(recorded) = self.recordings.get_mut(&recording)
        {
            recorded.by_policy = true;
        }
    }

    fn record_remotely_by_policy(&mut self, id: CallId, plan: RemotePlan) {
        match self.begin_remote(self.now, id, plan) {
            Ok(remote) => {
                if let Some(state) = self.remotes.get_mut(&remote) {
                    state.by_policy = true;
                }
            }
            // No server that can be called, or no ports: what servers say is told by events.
            Err(_) => self.counters.recordings_failed += 1,
        }
    }

    /// How the policy wants a call recorded, if it does.
    fn form_by_policy(&mut self, id: CallId) -> Option<Form> {
        let call = self.calls.get(&id)?;
        let policy = self.config.recording.policy.as_ref()?;
        let rule = self.rule_for(policy, id, call);
        let (choice, drawn) = (call.recorded, call.drawn);
        Some(match (choice, rule) {
            (RecordingChoice::Always, rule) => rule.map_or_else(Form::default, |it| it.1),
            (_, Some((percent, form))) => {
                let drawn = drawn.unwrap_or_else(|| self.rng.next_f64() * 100.0 < percent);
                self.calls.get_mut(&id)?.drawn = Some(drawn);
                drawn.then_some(form)?
            }
            (_, None) => return None,
        })
    }

    fn rule_for(
        &self,
        policy: &RecordingPolicy,
        id: CallId,
        call: &CallState,
    ) -> Option<(f64, Form)> {
        let trunk = self.trunk_of_call(id).and_then(|it| self.trunk_name(it));
        let party = self.agent.party(call.session);
        let user = party.and_then(|party| party.uri().user_decoded());
        let described = Described {
            trunk: trunk.as_deref(),
            user: user.as_deref(),
            role: call.role,
            incoming: call.incoming,
        };
        let rule = policy.rule_for(&described)?;
        Some((rule.percent, rule.form.clone()))
    }

    fn plan_of(&mut self, id: CallId, form: Form) -> RecordingPlan {
        let started = self.anchor.wall_at(self.now);
        let second = started.as_unix_nanos() / 1_000_000_000;
        let format = form.format.unwrap_or(self.config.recording.format);
        let (drawn, ending) = (self.rng.next_u64(), format.extension());
        let name = format!("{second}-{id}-{drawn:016x}.{ending}");
        let policy = self.config.recording.policy.as_ref();
        let path = policy.map_or_else(Default::default, |it| it.directory.join(name));
        RecordingPlan {
            rate: form.rate,
            format: form.format,
            label: form.retention.map(|(name, keep)| Label {
                name,
                not_before: started + keep,
            }),
            beep: form.beep,
            ..match form.tracks {
                Some(tracks) => RecordingPlan::conversation(path, tracks),
                None => RecordingPlan::party(path),
            }
        }
    }

    /// Beeps are due by now, or never again.
    pub(super) fn schedule_beep(&mut self, recording: RecordingId, at: Option<Instant>) {
        let Some(recorded) = self.recordings.get_mut(&recording) else {
            return;
        };
        if let Some(former) = recorded.beeps_at.take() {
            self.beeping.remove(&(former, recording));
        }
        if let Some(at) = at.filter(|_| recorded.beep.is_some()) {
            recorded.beeps_at = Some(at);
            self.beeping.insert((at, recording));
        }
    }

    /// Lets those recordings beep that are due.
    pub(super) fn run_beeps(&mut self, now: Instant) {
        self.now = now;
        while let Some((at, recording)) = self.beeping.first().copied() {
            if at > now {
                return;
            }
            self.beeping.remove(&(at, recording));
            let Some(beep) = self
                .recordings
                .get(&recording)
                .and_then(|it| it.beep.clone())
            else {
                continue;
            };
            self.beep(recording);
            // An engine that was late does not make up for it.
            let next = (at + beep.interval).max(now);
            self.schedule_beep(recording, Some(next));
        }
    }

    fn beep(&mut self, recording: RecordingId) {
        let Some(recorded) = self.recordings.get(&recording) else {
            return;
        };
        let Some(beep) = &recorded.beep else {
            return;
        };
        let (anchor, tone) = (recorded.call, beep.tone());
        let taps = recorded.taps.iter();
        let hearers = taps.filter(|(id, _)| beep.is_for(**id == anchor));
        for (id, leg) in hearers.map(|(id, (leg, _))| (*id, *leg)) {
            let Some(rate) = self.calls.get(&id).map(|call| call.rate) else {
                continue;
            };
            let command = Command::Play {
                play: PlayId(next(&mut self.minted.plays)),
                on: PlayOn::Leg(leg),
                player: Box::new(Player::tone(tone, rate)),
            };
            self.placement.tell_leg(leg, command);
        }
        if let Some(leg) = self.calls.get(&anchor).and_then(|call| call.leg) {
            let note = Note::Beep;
            let command = Command::NoteRecording {
                leg,
                recording,
                note,
            };
            self.placement.tell_leg(leg, command);
        }
    }
}
