//! Session recording server: recording sessions that others bring to us (RFC 7866 §6.1.2, §7.1.2).

use crate::call::cause::{Cause, EndReason};
use crate::engine::core::call::{CallState, Stage};
use crate::engine::core::recording::Recorded;
use crate::engine::core::signalling::sip_status;
use crate::engine::core::siprec::{RecordingSession, Stream};
use crate::engine::core::{Core, next};
use crate::engine::event::{CallError, CallEvent, Caller, Event};
use crate::engine::io::Output;
use crate::engine::recording::RecordingPlan;
use crate::id::{CallId, LegId, ListenerId, RecordingId};
use crate::media::command::Command;
use crate::media::recorder::note::Note;
use crate::media::recorder::storage::StorageCommand;
use crate::media::recorder::track::Track;
use crate::media::recorder::{Feed, Route, TapPlan};
use crate::sdp::negotiate::state::State;
use crate::sdp::negotiate::streams::Streams;
use crate::sip::agent::command::{Body, Headers, SessionId};
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::siprec::metadata::Participant;
use crate::sip::siprec::session as siprec;
use crate::sip::status::StatusCode;
use crate::time::Instant;

impl Core {
    /// Takes in a session recording client.
    pub(in crate::engine::core) fn take_in_recording(
        &mut self,
        now: Instant,
        session: SessionId,
        caller: Caller,
        listener: Option<ListenerId>,
        trusted: bool,
    ) {
        let at = listener.and_then(|id| self.config.listeners.get(usize::from(id.0)));
        let hidden = at.is_some_and(|listener| listener.transport.is_secure());
        let policy = at.and_then(|listener| listener.media_security);
        let sdp = self.rng.next_u64() >> 2;
        let unused = self.new_negotiator();
        let mut call = CallState::new(session, Stage::Offered, unused, now);
        call.trusted = trusted;
        call.hint = Some(caller.source.ip());
        let mut recording = RecordingSession::new(Streams::new(sdp), hidden);
        recording.policy = policy;
        call.siprec = Some(Box::new(recording));
        let id = CallId(next(&mut self.minted.calls));
        self.calls.insert(id, call);
        let offer = caller.invite.description();
        let answered = self.answer_streams(id, &offer);
        let trunk = self.trunk_of(&caller);
        let taken = answered.and_then(|answer| {
            let permit = self.count_caller(now, trunk)?;
            Ok((answer, permit))
        });
        let (answer, permit) = match taken {
            Ok(taken) => taken,
            Err(status) => {
                self.remove_streams(id);
                self.calls.remove(&id);
                self.counters.refused_media += 1;
                return self.refuse(now, session, status);
            }
        };
        self.sessions.insert(session, id);
        if let Some(call) = self.calls.get_mut(&id) {
            call.answer = Some(answer);
        }
        self.count_at_trunk(permit, Some(id));
        self.take_metadata(id, &caller.invite);
        let metadata = self
            .recorded_session(id)
            .map(|it| Box::new(it.metadata.clone()));
        let (invite, details) = self.read_details(caller.invite, trusted);
        let caller = Caller {
            invite,
            trusted,
            details,
            trunk,
            recorded: metadata,
            ..caller
        };
        self.show_caller(now, id, &caller);
        self.events.push_back(Event::Incoming {
            call: id,
            caller: Box::new(caller),
        });
    }

    /// Answers a client's offer, or says with which status to refuse it.
    pub(in crate::engine::core) fn answer_streams(
        &mut self,
        id: CallId,
        offer: &[u8],
    ) -> Result<String, StatusCode> {
        let gone = StatusCode::CALL_TRANSACTION_DOES_NOT_EXIST;
        let session = self.recorded_session_mut(id).ok_or(gone)?;
        session
            .sdp
            .handle_offer(offer)
            .map_err(|error| sip_status(&error))?;
        let before = session.streams.len();
        if session.remote.is_none() {
            self.make_streams(id);
        }
        let session = self.recorded_session(id).ok_or(gone)?;
        let locals = self.stream_media(session).into_iter();
        let locals: Vec<_> = locals.map(|it| it.map(|(local, _)| local)).collect();
        let address = self.config.media_address();
        let session = self.recorded_session_mut(id).ok_or(gone)?;
        match session.sdp.answer(address, &locals) {
            Ok((answer, agreed)) => {
                for (stream, agreed) in session.streams.iter_mut().zip(agreed) {
                    if let Some(stream) = stream {
                        stream.agreed = agreed;
                    }
                }
                Ok(answer)
            }
            Err(error) => {
                // The offer is open, so that it can be withdrawn.
                let _stable = session.sdp.withdraw();
                for line in before..locals.len() {
                    let out = self.recorded_session_mut(id).map(|it| it.take_out(line));
                    if let Some(out) = out {
                        self.clear_out(out);
                    }
                }
                Err(sip_status(&error))
            }
        }
    }

    /// Lets the streams be as the client's open offer has them, as far as there are tracks and ports.
    fn make_streams(&mut self, id: CallId) {
        let offered = self.recorded_session(id).map(|it| it.sdp.offered());
        let security = self.recorded_session(id).and_then(|it| it.policy);
        for (line, offered) in offered.into_iter().flatten().enumerate() {
            let label = offered.label.unwrap_or_else(|| line.to_string());
            let Some(session) = self.recorded_session_mut(id) else {
                return;
            };
            if line >= session.streams.len() {
                session.streams.push(None);
            }
            let goes_on = session.streams[line]
                .as_ref()
                .is_some_and(|stream| offered.is_audio && stream.label == label);
            if goes_on {
                continue;
            }
            let out = session.take_out(line);
            let (track, hidden) = (session.free_track(), session.hidden);
            self.clear_out(out);
            let Some(track) = track.filter(|_| offered.is_audio) else {
                continue;
            };
            let Some(port) = self.take_port() else {
                self.counters.refused_full += 1;
                continue;
            };
            let security = self.new_security(security, hidden);
            let stream = Stream::new(label, port, security, track);
            if let Some(session) = self.recorded_session_mut(id) {
                session.streams[line] = Some(stream);
            }
        }
    }

    /// The client confirmed our answer, or answers our offer.
    pub(in crate::engine::core) fn siprec_acked(
        &mut self,
        now: Instant,
        id: CallId,
        ack: &Message,
    ) {
        let waits = self.recorded_session(id).map(|it| it.sdp.state()) == Some(State::LocalOffer);
        if waits && self.accept_streams(now, id, &ack.description()).is_err() {
            return self.end_for(now, id, EndReason::Incompatible, Cause::incompatible());
        }
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        if call.stage == Stage::Confirming {
            call.stage = Stage::Up;
            call.answered = Some(now);
            self.emit(id, CallEvent::Answered);
        }
        self.ask_for_metadata(now, id);
        self.attend_own(now, id);
    }

    /// A session of ours at a server follows what has happened while something was under way.
    pub(in crate::engine::core) fn attend_own(&mut self, now: Instant, id: CallId) {
        if let Some(remote) = self.recorded_session(id).and_then(|it| it.remote) {
            self.attend_remote(now, remote);
        }
    }

    /// The client changes streams or metadata by re-INVITE.
    pub(in crate::engine::core) fn siprec_reinvite(
        &mut self,
        now: Instant,
        id: CallId,
        request: &Message,
    ) {
        let Some(session) = self.calls.get(&id).map(|call| call.session) else {
            return;
        };
        let offer = request.description();
        let body = match offer.is_empty() {
            true => self
                .offer_streams(id)
                .map_err(|_| StatusCode::REQUEST_PENDING),
            false => self.answer_streams(id, &offer),
        };
        let body = match body {
            Ok(body) => body,
            Err(status) => return self.refuse(now, session, status),
        };
        self.take_metadata(id, request);
        // It fails only where the re-INVITE was taken back meanwhile.
        let sent = self
            .agent
            .answer(now, session, Headers::new(), Some(Body::sdp(body)));
        if sent.is_ok() && !offer.is_empty() {
            self.apply_streams(now, id);
        }
    }

    /// The client changes streams or metadata by UPDATE, or shows that it is alive.
    pub(in crate::engine::core) fn siprec_update(
        &mut self,
        now: Instant,
        id: CallId,
        request: &Message,
    ) -> (StatusCode, Option<Body>) {
        let offer = request.description();
        if offer.is_empty() {
            self.take_metadata(id, request);
            return (StatusCode::OK, None);
        }
        let busy = self.recorded_session(id).map(|it| it.sdp.state());
        if busy == Some(State::LocalOffer) {
            return (StatusCode::REQUEST_PENDING, None);
        }
        match self.answer_streams(id, &offer) {
            Ok(answer) => {
                self.take_metadata(id, request);
                self.apply_streams(now, id);
                (StatusCode::OK, Some(Body::sdp(answer)))
            }
            Err(status) => (status, None),
        }
    }

    /// Offers the streams as they are, where the client leaves the offer to us or a refresh is due.
    pub(in crate::engine::core) fn offer_streams(
        &mut self,
        id: CallId,
    ) -> Result<String, CallError> {
        let call = self.calls.get_mut(&id).ok_or(CallError::Gone)?;
        let mut session = call.siprec.take().ok_or(CallError::Gone)?;
        let offer = self.offer_session(&mut session);
        if let Some(call) = self.calls.get_mut(&id) {
            call.siprec = Some(session);
        }
        offer
    }

    /// Takes the client's answer to an offer of ours.
    pub(in crate::engine::core) fn accept_streams(
        &mut self,
        now: Instant,
        id: CallId,
        body: &[u8],
    ) -> Result<(), CallError> {
        let session = self.recorded_session_mut(id).ok_or(CallError::Gone)?;
        let agreed = session.sdp.handle_answer(body);
        let agreed = agreed.map_err(|error| CallError::Invalid(error.to_string()))?;
        for (stream, agreed) in session.streams.iter_mut().zip(agreed) {
            if let Some(stream) = stream {
                stream.agreed = agreed;
            }
        }
        self.apply_streams(now, id);
        Ok(())
    }

    /// Offers again what is agreed on, to show that the session is alive (RFC 4028 §7.4).
    pub(in crate::engine::core) fn refresh_session(&mut self, now: Instant, id: CallId) {
        let Some(call) = self.calls.get(&id).filter(|call| call.stage == Stage::Up) else {
            return;
        };
        let session = call.session;
        let Ok(offer) = self.offer_streams(id) else {
            // What is under way refreshes the session itself.
            return;
        };
        let body = Some(Body::sdp(offer));
        let sent = self.agent.reinvite(now, session, Headers::new(), body);
        if sent.is_err() {
            self.roll_back(id);
        }
    }

    /// The client took our re-INVITE.
    pub(in crate::engine::core) fn siprec_accepted(
        &mut self,
        now: Instant,
        id: CallId,
        response: &Message,
    ) {
        let accepted = self.accept_streams(now, id, &response.description());
        match accepted {
            Ok(()) => self.attend_own(now, id),
            Err(_) => self.end_for(now, id, EndReason::Incompatible, Cause::incompatible()),
        }
    }

    /// The peer refused our re-INVITE: everything stays as it was. A server that we tell what is recorded has
    /// not heard it: with the next change it is told everything.
    pub(in crate::engine::core) fn siprec_failed(&mut self, id: CallId) {
        self.roll_back(id);
        if let Some(session) = self
            .recorded_session_mut(id)
            .filter(|it| it.remote.is_some())
        {
            session.asked = true;
        }
    }

    /// Takes in what a message says of who is recorded.
    fn take_metadata(&mut self, id: CallId, message: &Message) {
        self.note_request(id, message);
        let Some(told) = siprec::metadata_of(message) else {
            return;
        };
        let is_new = self
            .calls
            .get(&id)
            .is_some_and(|it| it.stage == Stage::Offered);
        let Some(session) = self.recorded_session_mut(id) else {
            return;
        };
        if session.remote.is_some() {
            return;
        }
        let Ok(told) = told else {
            // What cannot be read is as good as missing: all of it is asked for.
            session.asked = false;
            self.counters.metadata_refused += 1;
            return;
        };
        session.metadata.update(told);
        let metadata = &session.metadata;
        // Where even all that the client has does not name a speaker (he is on hold), asking again would
        // bring the same again, for ever.
        if session.all().all(|stream| metadata.explains(&stream.label)) {
            session.asked = false;
        }
        let metadata = Box::new(session.metadata.clone());
        if !is_new {
            self.emit(id, CallEvent::Recorded(metadata));
            self.name_speakers(id);
            self.ask_for_metadata(self.now, id);
        }
    }

    /// Asks the client for all metadata, once, where a stream comes whose speaker is not known
    /// (RFC 7866 §9.2).
    pub(in crate::engine::core) fn ask_for_metadata(&mut self, now: Instant, id: CallId) {
        let Some(call) = self.calls.get(&id).filter(|call| call.stage == Stage::Up) else {
            return;
        };
        let Some(session) = call.siprec.as_deref() else {
            return;
        };
        let metadata = &session.metadata;
        let is_known = |stream: &Stream| metadata.explains(&stream.label);
        if session.remote.is_some() || session.asked || session.all().all(is_known) {
            return;
        }
        let body = Body {
            content_type: siprec::METADATA_REQUEST.to_owned(),
            bytes: siprec::snapshot_request("streams without a speaker").into(),
        };
        let headers = vec![
            (
                "Content-Disposition".to_owned(),
                siprec::DISPOSITION.to_owned(),
            ),
            ("Require".to_owned(), siprec::SIPREC.to_owned()),
        ];
        let session = call.session;
        let asked = self
            .agent
            .request(now, session, Method::Update, headers, Some(body));
        if let Some(session) = self.recorded_session_mut(id).filter(|_| asked.is_ok()) {
            session.asked = true;
        }
    }

    /// Records a recording session: each of its streams on a track of its own.
    pub(in crate::engine::core) fn record_session(
        &mut self,
        now: Instant,
        id: CallId,
        plan: RecordingPlan,
    ) -> Result<RecordingId, CallError> {
        let call = self.call_mut(id)?;
        if call.recording.is_some() {
            return Err(CallError::WrongState("the call is being recorded already"));
        }
        let session = call.siprec.as_deref().ok_or(CallError::Gone)?;
        let rates = session
            .all()
            .filter(|it| it.leg.is_some())
            .map(|it| it.rate);
        let rate = plan.rate.or(rates.max());
        let rate = rate.ok_or(CallError::WrongState("the call has no media yet"))?;
        let (format, opus) = self.format(plan.format)?;
        let recording = RecordingId(next(&mut self.minted.recordings));
        let recorded = Recorded::of_session(id, &plan.path, (rate, format), now);
        self.recordings.insert(recording, recorded);
        let mut feeds = self.tap_session(recording, id).into_iter();
        let Some(feed) = feeds.next() else {
            self.recordings.remove(&recording);
            return Err(CallError::WrongState("the call has no media yet"));
        };
        if let Some(call) = self.calls.get_mut(&id) {
            call.recording = Some(recording);
        }
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
        self.join_feeds(recording, feeds);
        Ok(recording)
    }

    /// Lets the recording of a session follow its streams: who came is tapped, pauses are noted.
    pub(super) fn attend_session(&mut self, id: CallId) {
        let recording = self.calls.get(&id).and_then(|call| call.recording);
        if let Some(recording) = recording {
            let feeds = self.tap_session(recording, id);
            self.join_feeds(recording, feeds.into_iter());
        }
        let mut notes = Vec::new();
        for stream in self
            .recorded_session_mut(id)
            .into_iter()
            .flat_map(|it| &mut it.streams)
        {
            let Some(stream) = stream else { continue };
            let agreed = stream.agreed.as_ref();
            let paused = agreed.is_some_and(|agreed| !agreed.direction.receives());
            if std::mem::replace(&mut stream.paused, paused) != paused {
                let what = if paused { "paused" } else { "resumed" };
                notes.push(format!("client {what} {}", stream.track.name()));
            }
        }
        for note in notes {
            self.note_session(id, Note::Mark(note.into()));
        }
        self.ask_for_metadata(self.now, id);
    }

    fn join_feeds(&mut self, recording: RecordingId, feeds: impl Iterator<Item = Feed>) {
        for feed in feeds {
            let feed = Box::new(feed);
            let join = StorageCommand::Join { recording, feed };
            self.outputs.push_back(Output::Storage(join));
        }
    }

    /// Taps the streams of a session that are not tapped yet for its recording.
    fn tap_session(&mut self, recording: RecordingId, id: CallId) -> Vec<Feed> {
        let Some(recorded) = self.recordings.get(&recording) else {
            return Vec::new();
        };
        let Some(session) = self.recorded_session(id) else {
            return Vec::new();
        };
        let mut taps = Vec::new();
        for stream in session.all() {
            let Some(leg) = stream.leg.filter(|leg| !recorded.taps_stream(*leg)) else {
                continue;
            };
            let speaker = session.metadata.speaker(&stream.label);
            let who = speaker.and_then(Participant::aor).unwrap_or(&stream.label);
            let passed = self.now - recorded.started();
            let plan = TapPlan {
                from: stream.rate,
                route: Route {
                    said: Some(stream.track),
                    ..Route::default()
                },
                started: Some(recorded.started()),
                joins: Some((recorded.rate().samples_in(passed), who.into())),
                packets: recorded.takes_packets(),
                ..TapPlan::new(recorded.rate())
            };
            taps.push((leg, stream.track, plan));
        }
        let mut feeds = Vec::new();
        for (leg, track, plan) in taps {
            let who = plan.joins.as_ref().map(|(_, who)| who.to_string());
            let session = self.recorded_session_mut(id);
            if let Some(stream) = session.and_then(|it| it.stream_of(leg)) {
                stream.speaker = who;
            }
            feeds.push(self.tap_stream(recording, leg, track, plan));
        }
        feeds
    }

    fn tap_stream(
        &mut self,
        recording: RecordingId,
        leg: LegId,
        track: Track,
        plan: TapPlan,
    ) -> Feed {
        let feed = self.start_tap(recording, leg, plan);
        if let Some(recorded) = self.recordings.get_mut(&recording) {
            recorded.add_stream(leg, track);
        }
        feed
    }

    /// The timeline is told who speaks on each track, where that is news.
    fn name_speakers(&mut self, id: CallId) {
        let Some(session) = self.recorded_session_mut(id) else {
            return;
        };
        let mut notes = Vec::new();
        for stream in session.streams.iter_mut().flatten() {
            let speaker = session.metadata.speaker(&stream.label);
            let who = speaker.and_then(Participant::aor).map(str::to_owned);
            // Who is to be tapped is told of then.
            if stream.leg.is_none() || who.is_none() || stream.speaker == who {
                continue;
            }
            notes.extend(who.as_deref().map(|who| Note::Joined {
                track: stream.track,
                who: who.into(),
            }));
            stream.speaker = who;
        }
        for note in notes {
            self.note_session(id, note);
        }
    }

    /// Writes into the timeline of a session's recording, if there is one.
    fn note_session(&mut self, id: CallId, note: Note) {
        let recording = self.calls.get(&id).and_then(|call| call.recording);
        let Some((recording, leg)) = recording.zip(self.noting_leg(id)) else {
            return;
        };
        let command = Command::NoteRecording {
            leg,
            recording,
            note,
        };
        self.placement.tell_leg(leg, command);
    }

    /// The leg by which notes reach the recording of a session.
    pub(in crate::engine::core) fn noting_leg(&self, id: CallId) -> Option<LegId> {
        self.recorded_session(id)?
            .all()
            .find_map(|stream| stream.leg)
    }
}
