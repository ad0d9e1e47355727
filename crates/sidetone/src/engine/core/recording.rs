//! Recordings of calls.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use crate::engine::core::{Core, next};
use crate::engine::event::{CallError, CallEvent, Event, RecordingError, StorageNews};
use crate::engine::io::Output;
use crate::engine::recording::RecordingPlan;
use crate::engine::recording::beep::Beep;
use crate::id::{CallId, LegId, RecordingId, RoomId};
use crate::media::codec::Codec;
use crate::media::command::Command;
use crate::media::frame::SampleRate;
use crate::media::recorder::layout::Format;
use crate::media::recorder::note::Note;
use crate::media::recorder::retention::Label;
use crate::media::recorder::storage::{News, Sealing, StorageCommand, StorageEvent};
use crate::media::recorder::track::{Role, Track};
use crate::media::recorder::{Feed, Route, TapPlan};
use crate::time::Instant;

/// A recording that is not closed yet.
#[derive(Debug)]
pub(super) struct Recorded {
    /// The call that is recorded, or whose conversation is.
    pub(super) call: CallId,
    path: Arc<Path>,
    follows: bool,
    alone: bool,
    rate: SampleRate,
    /// Whether its file takes packets of Opus as they are.
    packets: bool,
    started: Instant,
    /// The calls whose legs are tapped for it, with their tracks.
    pub(super) taps: BTreeMap<CallId, (LegId, Track)>,
    /// The legs that are tapped of a recording session that others brought.
    streams: BTreeMap<LegId, Track>,
    /// Whether nobody asked for it but the policy.
    pub(super) by_policy: bool,
    /// Whether its file exists.
    pub(super) is_open: bool,
    /// Whether it is paused, and whether that is since one of its parties asked for it.
    pub(super) paused: bool,
    pub(super) heeded: bool,
    /// The tone that tells of it, and when it sounds next.
    pub(super) beep: Option<Beep>,
    pub(super) beeps_at: Option<Instant>,
}

impl Core {
    /// Records a call, or the conversation that it takes part in.
    pub fn record(
        &mut self,
        now: Instant,
        id: CallId,
        plan: RecordingPlan,
    ) -> Result<RecordingId, CallError> {
        self.now = now;
        if self.is_recording_session(id) {
            return self.record_session(now, id, plan);
        }
        let recording = RecordingId(next(&mut self.minted.recordings));
        let call = self.call_mut(id)?;
        if call.leg.is_none() {
            return Err(CallError::WrongState("the call has no media yet"));
        }
        if call.recording.is_some() {
            return Err(CallError::WrongState("the call is being recorded already"));
        }
        if !plan.beep.as_ref().is_none_or(Beep::is_possible) {
            return Err(CallError::Invalid("the beep cannot be heard".to_owned()));
        }
        let (format, opus) = self.format(plan.format)?;
        let beep = plan.beep.or_else(|| self.config.recording.beep.clone());
        let call = self.call_mut(id)?;
        call.recording = Some(recording);
        let recorded = Recorded {
            call: id,
            path: plan.path.as_path().into(),
            by_policy: false,
            is_open: false,
            paused: false,
            heeded: false,
            beep,
            beeps_at: None,
            follows: plan.follows,
            alone: plan.alone,
            rate: plan.rate.unwrap_or(call.rate),
            packets: format.takes_packets(),
            started: now,
            taps: BTreeMap::new(),
            streams: BTreeMap::new(),
        };
        self.recordings.insert(recording, recorded);
        self.note_recorded(id);
        let Some(feed) = self.tap(recording, id) else {
            self.recordings.remove(&recording);
            return Err(CallError::WrongState("the call is recorded too often"));
        };
        let open = StorageCommand::Open {
            recording,
            path: plan.path,
            tracks: plan.tracks,
            format,
            opus,
            sealing: self.sealing(now, format, plan.label),
            feed: Box::new(feed),
        };
        self.outputs.push_back(Output::Storage(open));
        self.attend(recording);
        self.heed_preference(id);
        Ok(recording)
    }

    /// Says who a party is, which decides the track of recordings of its conversations, those that run
    /// included.
    pub fn set_role(&mut self, now: Instant, id: CallId, role: Role) -> Result<(), CallError> {
        self.now = now;
        let call = self.call_mut(id)?;
        call.role = Some(role);
        for recording in call.taped.clone() {
            let anchor = self.recordings.get(&recording).map(|it| it.call);
            if anchor != Some(id) {
                self.untap(recording, id);
                self.attend(recording);
            }
        }
        self.record_by_policy(id);
        self.take_signalling(now);
        Ok(())
    }

    /// Taps a call's leg for a recording; gives what storage reads.
    fn tap(&mut self, recording: RecordingId, id: CallId) -> Option<Feed> {
        let recorded = self.recordings.get(&recording)?;
        let call = self.calls.get(&id)?;
        let leg = call.leg?;
        let is_anchor = recorded.call == id;
        let anchor = self.calls.get(&recorded.call).and_then(|call| call.role);
        let role = call.role.unwrap_or(match (is_anchor, anchor) {
            (true, _) | (false, Some(Role::Agent)) => Role::Caller,
            (false, _) => Role::Agent,
        });
        let track = recorded.free_track(role);
        let route = match (recorded.follows, is_anchor) {
            (false, _) if recorded.alone => Route::ALONE,
            (false, _) => Route::PARTY,
            (true, true) => Route {
                said: Some(track),
                played: Some(Track::Prompts),
                room: Some(Track::Room),
                ..Route::default()
            },
            (true, false) => Route {
                said: Some(track),
                ..Route::default()
            },
        };
        let passed = self.now - recorded.started;
        let party = self.agent.party(call.session);
        let who = party.map_or_else(String::new, |party| party.uri().to_string());
        let plan = TapPlan {
            from: call.rate,
            room_from: self.config.highest_rate(),
            route,
            started: Some(recorded.started),
            joins: Some((recorded.rate.samples_in(passed), who.into())),
            packets: recorded.packets,
            ..TapPlan::new(recorded.rate)
        };
        let feed = self.start_tap(recording, leg, plan);
        if let Some(recorded) = self.recordings.get_mut(&recording) {
            recorded.taps.insert(id, (leg, track));
        }
        if let Some(call) = self.calls.get_mut(&id) {
            call.taped.insert(recording);
        }
        self.tell_recorded(self.now, id);
        Some(feed)
    }

    /// Taps a leg for whatever records it; gives what is read.
    pub(super) fn start_tap(&mut self, recording: RecordingId, leg: LegId, plan: TapPlan) -> Feed {
        let (tap, feed) = plan.make();
        let tap = Box::new(tap);
        let start = Command::StartRecording {
            leg,
            recording,
            tap,
        };
        self.placement.tell_leg(leg, start);
        feed
    }

    /// A call's leg gives nothing more to a recording.
    fn untap(&mut self, recording: RecordingId, id: CallId) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.taped.remove(&recording);
        }
        let recorded = self.recordings.get_mut(&recording);
        if let Some((leg, _)) = recorded.and_then(|it| it.taps.remove(&id)) {
            self.placement
                .tell_leg(leg, Command::StopRecording { leg, recording });
            self.tell_recorded(self.now, id);
        }
    }

    /// No call's leg gives anything more to a recording.
    fn untap_all(&mut self, recording: RecordingId) {
        self.schedule_beep(recording, None);
        let streams = self.recordings.get_mut(&recording);
        let streams = streams.map(|it| std::mem::take(&mut it.streams));
        for leg in streams.into_iter().flatten().map(|(leg, _)| leg) {
            self.placement
                .tell_leg(leg, Command::StopRecording { leg, recording });
        }
        let taps = self.recordings.get(&recording).map(|it| it.taps.keys());
        for id in taps.into_iter().flatten().copied().collect::<Vec<_>>() {
            self.untap(recording, id);
        }
    }

    /// Lets the recordings of conversations in a room follow who is there now.
    pub(super) fn attend_room(&mut self, room: RoomId) {
        let recorded = self.rooms.get(&room).map(|state| state.recorded.clone());
        for id in recorded.into_iter().flatten() {
            self.counters.recorded_visits += 1;
            self.attend_remotes_of(id);
            match self.calls.get(&id) {
                Some(call) if call.recording.is_some() || !call.remotes.is_empty() => {
                    if let Some(recording) = call.recording {
                        self.attend(recording);
                    }
                }
                // It is recorded no more.
                _ => {
                    if let Some(state) = self.rooms.get_mut(&room) {
                        state.recorded.remove(&id);
                    }
                }
            }
        }
    }

    /// A call that is recorded from now on, or that has joined a room, is among those of the room that are
    /// looked at when somebody comes or goes.
    pub(super) fn note_recorded(&mut self, id: CallId) {
        let Some(call) = self.calls.get(&id) else {
            return;
        };
        let is_recorded = call.recording.is_some() || !call.remotes.is_empty();
        let room = call.room.filter(|_| is_recorded);
        if let Some(state) = room.and_then(|room| self.rooms.get_mut(&room)) {
            state.recorded.insert(id);
        }
    }

    /// Lets the recording of a call's conversation follow where the call is now.
    pub(super) fn attend_call(&mut self, id: CallId) {
        self.attend_remotes_of(id);
        if let Some(recording) = self.calls.get(&id).and_then(|call| call.recording) {
            self.attend(recording);
        }
    }

    /// Taps those who take part in a conversation that is recorded, and nobody else.
    fn attend(&mut self, recording: RecordingId) {
        let Some(recorded) = self.recordings.get(&recording).filter(|it| it.follows) else {
            return;
        };
        let anchor = recorded.call;
        let room = self.calls.get(&anchor).and_then(|call| call.room);
        let room = room.and_then(|room| self.rooms.get(&room));
        let mut wanted: BTreeSet<CallId> = room.map_or_else(BTreeSet::new, |it| it.members.clone());
        wanted.insert(anchor);
        let gone = recorded.taps.keys().filter(|id| !wanted.contains(id));
        for id in gone.copied().collect::<Vec<_>>() {
            self.untap(recording, id);
        }
        for id in wanted {
            let recorded = self.recordings.get(&recording);
            if recorded.is_none_or(|it| it.taps.contains_key(&id)) {
                continue;
            }
            if let Some(feed) = self.tap(recording, id) {
                let feed = Box::new(feed);
                let join = StorageCommand::Join { recording, feed };
                self.outputs.push_back(Output::Storage(join));
            }
        }
    }

    /// A call is about to take the place of another: the recording of that one's conversation is its own from
    /// now on, unless it is recorded itself. [`Self::attend_call`] when it has.
    pub(super) fn inherit_recording(&mut self, old: CallId, new: CallId) {
        self.inherit_remotes(old, new);
        let recording = self.calls.get(&old).and_then(|call| call.recording);
        let free = self
            .calls
            .get(&new)
            .is_some_and(|call| call.recording.is_none());
        let Some(recording) = recording.filter(|_| free) else {
            return;
        };
        let Some(recorded) = self.recordings.get_mut(&recording).filter(|it| it.follows) else {
            return;
        };
        recorded.call = new;
        let role = self.calls.get_mut(&old).and_then(|old| {
            old.recording = None;
            old.role
        });
        if let Some(call) = self.calls.get_mut(&new) {
            call.recording = Some(recording);
            call.role = call.role.or(role);
        }
        self.note_recorded(new);
        // Who was tapped as one of many is tapped anew as the one. The old tap stays until the new one is
        // there, so that the recording is never without.
        self.untap(recording, new);
    }

    /// A call is over: so is its recording.
    pub(super) fn end_recording(&mut self, recording: RecordingId) {
        self.untap_all(recording);
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
        let recorded = self.recordings.get(&recording).ok_or(CallError::Gone)?;
        let id = recorded.call;
        let stream = self.noting_leg(id);
        let call = self.call_mut(id)?;
        let leg = call.leg.or(stream);
        let leg = leg.filter(|_| call.recording == Some(recording));
        let leg = leg.ok_or(CallError::Gone)?;
        let command = Command::NoteRecording {
            leg,
            recording,
            note: note.clone(),
        };
        self.placement.tell_leg(leg, command);
        match note {
            Note::Paused => self.schedule_beep(recording, None),
            Note::Resumed => self.schedule_beep(recording, Some(now)),
            _ => {}
        }
        if matches!(note, Note::Paused | Note::Resumed) {
            self.tell_paused(recording, note == Note::Paused);
        }
        if !matches!(note, Note::Mark(_)) {
            self.emit(id, CallEvent::RecordingNoted { recording, note });
        }
        Ok(())
    }

    /// Tells the parties of a recording that want to know it that it is paused, or goes on.
    fn tell_paused(&mut self, recording: RecordingId, paused: bool) {
        let Some(recorded) = self.recordings.get_mut(&recording) else {
            return;
        };
        recorded.paused = paused;
        let parties: Vec<CallId> = recorded.taps.keys().copied().collect();
        for id in parties {
            self.tell_recorded(self.now, id);
        }
    }

    /// Tells the timeline what befalls the call. A digit's value is not written down.
    pub(super) fn note_event(&mut self, id: CallId, event: &CallEvent) {
        let Some(call) = self.calls.get(&id) else {
            return;
        };
        let Some(leg) = call.leg.filter(|_| !call.taped.is_empty()) else {
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
        for &recording in &call.taped {
            let note = note.clone();
            let command = Command::NoteRecording {
                leg,
                recording,
                note,
            };
            self.placement.tell_leg(leg, command);
        }
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

    /// What file a recording is, with the codec that it needs.
    pub(super) fn format(
        &self,
        wish: Option<Format>,
    ) -> Result<(Format, Option<Arc<dyn Codec>>), CallError> {
        let format = wish.unwrap_or(self.config.recording.format);
        let is_opus = |it: &&Arc<dyn Codec>| it.rtp_map().encoding.eq_ignore_ascii_case("opus");
        let opus = self.config.codecs.iter().find(is_opus);
        match (format, opus) {
            (Format::Opus(_), None) => Err(CallError::Invalid(
                "there is no Opus to record in".to_owned(),
            )),
            (Format::Opus(_), opus) => Ok((format, opus.cloned())),
            _ => Ok((format, None)),
        }
    }

    /// How the next recording is sealed.
    pub(super) fn sealing(
        &mut self,
        now: Instant,
        format: Format,
        label: Option<Label>,
    ) -> Option<Box<Sealing>> {
        let recording = &self.config.recording;
        let recipients = &recording.recipients;
        let is_encrypted = !recipients.is_empty();
        let started = self.anchor.wall_at(now);
        let rule = recording.retention.as_ref().map(|(name, keep)| Label {
            name: name.clone(),
            not_before: started + *keep,
        });
        let label = label.or(rule);
        let is_stamped = recording.stamping.is_some();
        let is_sealed = recording.sealed || is_encrypted || is_stamped || format.is_paged();
        (is_sealed || label.is_some()).then(|| {
            Box::new(Sealing {
                digest: recording.digest,
                recipients: recipients.clone(),
                id: u128::from(self.rng.next_u64()) << 64 | u128::from(self.rng.next_u64()),
                started,
                label,
                key: recording.key.clone(),
            })
        })
    }

    /// Stops a recording; its file is closed soon after.
    pub fn stop_recording(&mut self, now: Instant, recording: RecordingId) {
        self.now = now;
        self.forget_recording(recording);
    }

    pub(super) fn take_storage(&mut self, event: StorageEvent) {
        let (recording, outcome) = match event {
            StorageEvent::Opened { recording } => {
                return self.handle_opened(recording);
            }
            StorageEvent::Failed { recording, error } => {
                (recording, Err(RecordingError(error.to_string())))
            }
            StorageEvent::Closed { recording, report } => (recording, Ok(report)),
            event => return self.take_news(event),
        };
        self.forget_recording(recording);
        let Some(Recorded { call: id, .. }) = self.recordings.remove(&recording) else {
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
        self.emit(id, CallEvent::RecordingEnded { recording, outcome });
    }

    /// A recording's file exists.
    fn handle_opened(&mut self, recording: RecordingId) {
        let Some(recorded) = self.recordings.get_mut(&recording) else {
            return;
        };
        recorded.is_open = true;
        let (id, path) = (recorded.call, Arc::clone(&recorded.path));
        // One that has been stopped meanwhile does not beep.
        let is_running = !recorded.taps.is_empty();
        self.schedule_beep(recording, Some(self.now).filter(|_| is_running));
        self.run_beeps(self.now);
        self.emit(id, CallEvent::RecordingStarted { path, recording });
    }

    /// Tells how the disk stands.
    fn take_news(&mut self, event: StorageEvent) {
        let news = match event {
            StorageEvent::Unguarded { error } => {
                self.counters.journal_suspensions += 1;
                StorageNews::Unguarded(error)
            }
            StorageEvent::Guarded => StorageNews::Guarded,
            StorageEvent::LowSpace { free } => StorageNews::LowSpace { free },
            StorageEvent::Space { free } => StorageNews::Space { free },
            StorageEvent::Upload(news) => {
                match news {
                    News::Done(_) => self.counters.recordings_uploaded += 1,
                    News::Fails { .. } => self.counters.upload_failures += 1,
                    News::Lost { .. } => self.counters.uploads_lost += 1,
                    News::Works => {}
                }
                StorageNews::Upload(news)
            }
            StorageEvent::Stamp(news) => {
                match news {
                    News::Done(_) => self.counters.recordings_stamped += 1,
                    News::Fails { .. } => self.counters.stamp_failures += 1,
                    News::Lost { .. } => self.counters.stamps_lost += 1,
                    News::Works => {}
                }
                StorageNews::Stamp(news)
            }
            StorageEvent::Expiry(news) => {
                match news {
                    News::Done(_) => self.counters.recordings_expired += 1,
                    News::Fails { .. } => self.counters.expiry_failures += 1,
                    News::Lost { .. } => self.counters.expiries_lost += 1,
                    News::Works => {}
                }
                StorageNews::Expiry(news)
            }
            _ => return,
        };
        self.events.push_back(Event::Storage(news));
    }

    /// Nothing is recorded any more: media need not feed it.
    fn forget_recording(&mut self, recording: RecordingId) {
        let anchor = self.recordings.get(&recording).map(|it| it.call);
        let anchor = anchor.and_then(|id| self.calls.get_mut(&id));
        if let Some(call) = anchor.filter(|call| call.recording == Some(recording)) {
            call.recording = None;
        }
        self.untap_all(recording);
    }
}

impl Recorded {
    /// The recording of a recording session that others have brought.
    pub(super) fn of_session(
        call: CallId,
        path: &Path,
        (rate, format): (SampleRate, Format),
        started: Instant,
    ) -> Self {
        Self {
            call,
            path: path.into(),
            by_policy: false,
            is_open: false,
            paused: false,
            heeded: false,
            beep: None,
            beeps_at: None,
            follows: false,
            alone: false,
            rate,
            packets: format.takes_packets(),
            started,
            taps: BTreeMap::new(),
            streams: BTreeMap::new(),
        }
    }

    pub(super) fn rate(&self) -> SampleRate {
        self.rate
    }

    pub(super) fn takes_packets(&self) -> bool {
        self.packets
    }

    pub(super) fn started(&self) -> Instant {
        self.started
    }

    pub(super) fn taps_stream(&self, leg: LegId) -> bool {
        self.streams.contains_key(&leg)
    }

    pub(super) fn add_stream(&mut self, leg: LegId, track: Track) {
        self.streams.insert(leg, track);
    }

    /// A track for a party of this role: one that nobody has, or else the last.
    fn free_track(&self, role: Role) -> Track {
        let is_free = |track: &&Track| self.taps.values().all(|(_, taken)| taken != *track);
        let tracks = role.tracks();
        let free = tracks.iter().find(is_free).or(tracks.last());
        free.copied().unwrap_or(Track::Caller)
    }
}
