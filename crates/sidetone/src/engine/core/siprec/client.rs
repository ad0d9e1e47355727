//! Session recording client: conversations of ours that recorders elsewhere record (RFC 7866 §6.1.1, §7.1.1).
//!
//! A remote is what the owner of a call has asked for: that its conversation be recorded by one of some servers.
//! It outlives the recording sessions that it takes: where one is refused or lost, the next server is asked.
//! What the session shall be (who speaks, who hears, paused or not) is never told but compared with what the
//! server knows, whenever something may have changed and nothing is under way.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::call::cause::{Cause, EndReason};
use crate::engine::core::call::{CallState, Stage};
use crate::engine::core::commands::refused;
use crate::engine::core::dialling::DialRequest;
use crate::engine::core::siprec::{RecordingSession, Stream};
use crate::engine::core::{Core, next};
use crate::engine::event::{CallError, CallEvent};
use crate::engine::remote::RemotePlan;
use crate::id::{CallId, LegId, PlayId, RecordingId};
use crate::media::command::{Command, PlayAction, PlayOn};
use crate::media::player::Player;
use crate::media::recorder::live::Live;
use crate::media::recorder::track::Track;
use crate::media::recorder::{Route, TapPlan};
use crate::sdp::attribute::Direction;
use crate::sdp::negotiate::Recorded;
use crate::sdp::negotiate::state::State;
use crate::sdp::negotiate::streams::Streams;
use crate::sip::agent::command::{Body, Headers, SessionId};
use crate::sip::message::Message;
use crate::sip::siprec::metadata::{
    Attendance, Communication, DataMode, Flow, Metadata, Participant, Span, Stream as Entry,
};
use crate::sip::siprec::session as siprec;
use crate::sip::transport::route;
use crate::time::Instant;

/// Servers that may record one conversation at once.
const MAX_REMOTES: usize = 2;

/// A conversation that a server elsewhere records.
#[derive(Debug)]
pub(in crate::engine::core) struct Remote {
    /// The call whose conversation it is.
    anchor: CallId,
    plan: RemotePlan,
    /// The server in turn.
    server: usize,
    /// The recording session at it.
    session: Option<CallId>,
    /// From when on the parties are tapped, so that their streams are in step.
    started: Instant,
    pub(super) paused: bool,
    /// Whether it is paused since one of its parties asked for that.
    pub(in crate::engine::core) heeded: bool,
    stopped: bool,
    /// Whether nobody asked for it but the policy.
    pub(in crate::engine::core) by_policy: bool,
    /// Whose voices it has been sent.
    carried: BTreeSet<CallId>,
}

impl Remote {
    /// Those whose voices it has been sent.
    pub(in crate::engine::core) fn parties(&self) -> BTreeSet<CallId> {
        self.carried.clone()
    }
}

/// Whose voice a stream carries.
#[derive(Debug)]
pub(super) struct Party {
    call: CallId,
    participant: String,
    stream: String,
    /// While the voice is carried: the leg that is tapped, and what plays it.
    carried: Option<(LegId, PlayId)>,
}

impl Core {
    /// Lets the conversation of a call be recorded by a server elsewhere, from now on until the call ends.
    ///
    /// # Errors
    /// [`CallError::WrongState`] where the call has no media or is recorded so by two servers already,
    /// [`CallError::Invalid`] where the plan names no server that can be called, [`CallError::Busy`] where
    /// calls or ports have run out.
    pub fn record_remotely(
        &mut self,
        now: Instant,
        id: CallId,
        plan: RemotePlan,
    ) -> Result<RecordingId, CallError> {
        self.now = now;
        let begun = self.begin_remote(now, id, plan)?;
        self.take_signalling(now);
        Ok(begun)
    }

    /// As [`record_remotely`](Self::record_remotely), in the midst of something else.
    pub(in crate::engine::core) fn begin_remote(
        &mut self,
        now: Instant,
        id: CallId,
        plan: RemotePlan,
    ) -> Result<RecordingId, CallError> {
        let call = self.call_mut(id)?;
        if call.leg.is_none() || call.remotes.len() >= MAX_REMOTES {
            return Err(CallError::WrongState(
                "the call has no media yet, or is recorded elsewhere often enough",
            ));
        }
        if plan.servers.is_empty() {
            return Err(CallError::Invalid("no server is named".into()));
        }
        let remote = RecordingId(next(&mut self.minted.recordings));
        let begun = Remote {
            anchor: id,
            plan,
            server: 0,
            session: None,
            started: now,
            paused: false,
            heeded: false,
            stopped: false,
            by_policy: false,
            carried: BTreeSet::new(),
        };
        self.remotes.insert(remote, begun);
        if let Err(error) = self.begin_session(now, remote) {
            self.remotes.remove(&remote);
            return Err(error);
        }
        if let Some(call) = self.calls.get_mut(&id) {
            call.remotes.push(remote);
        }
        self.note_recorded(id);
        Ok(remote)
    }

    /// Sends the server nothing until it is told otherwise, from the next frame on, and tells it that its
    /// streams are inactive.
    ///
    /// # Errors
    /// [`CallError::Gone`] where it records no longer.
    pub fn pause_remote(
        &mut self,
        now: Instant,
        remote: RecordingId,
        paused: bool,
    ) -> Result<(), CallError> {
        self.now = now;
        self.set_remote_paused(now, remote, paused)?;
        self.take_signalling(now);
        Ok(())
    }

    /// As [`pause_remote`](Self::pause_remote), in the midst of something else.
    pub(in crate::engine::core) fn set_remote_paused(
        &mut self,
        now: Instant,
        remote: RecordingId,
        paused: bool,
    ) -> Result<(), CallError> {
        let state = self.remotes.get_mut(&remote).ok_or(CallError::Gone)?;
        state.paused = paused;
        if let Some(id) = state.session.filter(|_| paused) {
            self.hush(remote, id);
        }
        self.attend_remote(now, remote);
        Ok(())
    }

    /// Ends the recording of a conversation by a server elsewhere.
    pub fn stop_remote(&mut self, now: Instant, remote: RecordingId) {
        self.now = now;
        let Some(state) = self.remotes.get_mut(&remote) else {
            return;
        };
        state.stopped = true;
        match state.session {
            Some(id) => {
                self.hush(remote, id);
                // It fails only where the session is over already, and then it says so itself.
                let _over = self.hang_up(now, id, Cause::normal());
            }
            None => self.end_remote(remote),
        }
    }

    /// A call is over, and with it the recording of its conversation.
    pub(in crate::engine::core) fn stop_remotes_of(&mut self, now: Instant, id: CallId) {
        let remotes = self
            .calls
            .get_mut(&id)
            .map(|it| std::mem::take(&mut it.remotes));
        for remote in remotes.into_iter().flatten() {
            self.stop_remote(now, remote);
        }
    }

    /// Another call takes the place of the one whose conversation is recorded.
    pub(in crate::engine::core) fn inherit_remotes(&mut self, old: CallId, new: CallId) {
        let remotes = self
            .calls
            .get_mut(&old)
            .map(|it| std::mem::take(&mut it.remotes));
        let remotes = remotes.unwrap_or_default();
        for remote in &remotes {
            if let Some(state) = self.remotes.get_mut(remote) {
                state.anchor = new;
            }
        }
        if let Some(call) = self.calls.get_mut(&new) {
            call.remotes.extend(remotes);
        }
        self.note_recorded(new);
    }

    /// Calls the server in turn, or those behind it where it cannot even be called.
    fn begin_session(&mut self, now: Instant, remote: RecordingId) -> Result<(), CallError> {
        loop {
            let begun = self.call_server(now, remote);
            let state = self.remotes.get_mut(&remote).ok_or(CallError::Gone)?;
            match begun {
                Err(_) if state.server + 1 < state.plan.servers.len() => state.server += 1,
                begun => return begun,
            }
        }
    }

    fn call_server(&mut self, now: Instant, remote: RecordingId) -> Result<(), CallError> {
        if self.stopping.is_some() || self.calls.len() >= self.config.max_calls {
            return Err(CallError::Busy("as many calls as allowed are in progress"));
        }
        let state = self.remotes.get(&remote).ok_or(CallError::Gone)?;
        let (anchor, plan) = (state.anchor, state.plan.clone());
        let server = plan.servers.get(state.server).ok_or(CallError::Gone)?;
        let mut request = DialRequest::new(server);
        request.account = plan.account;
        let (mut invite, trusted) = self.invite_for(&request)?;
        let hop = route::next_hop(invite.route.first().unwrap_or(&invite.target));
        let hidden = hop.is_ok_and(|hop| hop.is_secure());
        let sdp = Streams::new(self.rng.next_u64() >> 2);
        let mut session = Box::new(RecordingSession::new(sdp, hidden));
        session.remote = Some(remote);
        session.metadata = self.conversation(now, anchor);
        session.policy = plan.media_security;
        session.codecs.clone_from(&plan.codecs);
        self.settle_parties(remote, &mut session);
        let begun = self.offer_session(&mut session).and_then(|offer| {
            let change = self.news_for(now, &session);
            session.metadata.update(change);
            session.metadata.mode = DataMode::Complete;
            let (content_type, bytes) = siprec::body(&offer, &session.metadata.to_xml());
            invite.body = Some(Body {
                content_type,
                bytes,
            });
            invite.features = siprec::CLIENT;
            invite.headers.extend(requires());
            self.agent.invite(now, invite).map_err(refused)
        });
        let unused = self.new_negotiator();
        let number = match begun {
            Ok(number) => number,
            Err(error) => {
                self.drop_session(session);
                return Err(error);
            }
        };
        let mut call = CallState::new(number, Stage::Dialling, unused, now);
        call.trusted = trusted;
        call.siprec = Some(session);
        let id = CallId(next(&mut self.minted.calls));
        self.sessions.insert(number, id);
        self.calls.insert(id, call);
        if let Some(state) = self.remotes.get_mut(&remote) {
            state.session = Some(id);
        }
        Ok(())
    }

    /// A session that never began gives its ports back.
    fn drop_session(&mut self, session: Box<RecordingSession>) {
        for stream in session.streams.into_iter().flatten() {
            self.give_port_back(stream.port);
        }
    }

    /// The conversation of a call as the metadata begin.
    fn conversation(&mut self, now: Instant, anchor: CallId) -> Metadata {
        let id = self.identifier();
        let span = Span::since(self.anchor.wall_at(now));
        let known = self.session_identifier(anchor);
        let session = Communication {
            id: id.clone(),
            sip_session_ids: known.iter().map(ToString::to_string).collect(),
            span: span.clone(),
            ..Communication::default()
        };
        Metadata {
            sessions: vec![session],
            recorded: vec![(id, span)],
            ..Metadata::default()
        }
    }

    /// A new identifier of 128 random bits (RFC 7865 §6.10).
    fn identifier(&mut self) -> String {
        let bits = u128::from(self.rng.next_u64()) << 64 | u128::from(self.rng.next_u64());
        STANDARD.encode(bits.to_be_bytes())
    }

    /// Those who take part in the conversation of a call now.
    fn parties_of(&self, anchor: CallId) -> BTreeSet<CallId> {
        let room = self.calls.get(&anchor).and_then(|call| call.room);
        let room = room.and_then(|room| self.rooms.get(&room));
        let mut parties = room.map_or_else(BTreeSet::new, |room| room.members.clone());
        parties.insert(anchor);
        let speaks = |id: &CallId| {
            let call = self.calls.get(id);
            call.is_some_and(|call| call.leg.is_some() && call.ending.is_none())
        };
        parties.retain(speaks);
        parties
    }

    /// Gives each party a stream and takes those away that have none any more; true where that changed
    /// anything.
    fn settle_parties(&mut self, remote: RecordingId, session: &mut RecordingSession) -> bool {
        let Some(anchor) = self.remotes.get(&remote).map(|it| it.anchor) else {
            return false;
        };
        let mut parties = self.parties_of(anchor);
        let mut changed = false;
        for line in 0..session.streams.len() {
            let Some(stream) = session.streams[line].as_mut() else {
                continue;
            };
            let call = stream.party.as_ref().map(|party| party.call);
            if call.is_some_and(|call| parties.remove(&call)) {
                continue;
            }
            self.fall_silent(remote, stream);
            let out = session.take_out(line);
            self.clear_out(out);
            changed = true;
        }
        // The call itself comes first.
        let first = parties.take(&anchor);
        for call in first.into_iter().chain(parties) {
            let Some(track) = session.free_track() else {
                break;
            };
            let Some(port) = self.take_port() else {
                self.counters.refused_full += 1;
                break;
            };
            let security = self.new_security(session.policy, session.hidden);
            session.labels += 1;
            let label = session.labels.to_string();
            let mut stream = Stream::new(label, port, security, track);
            stream.party = Some(Party {
                call,
                participant: self.identifier(),
                stream: self.identifier(),
                carried: None,
            });
            let free = session.streams.iter().position(Option::is_none);
            match free.and_then(|line| session.streams.get_mut(line)) {
                Some(line) => *line = Some(stream),
                None => session.streams.push(Some(stream)),
            }
            changed = true;
        }
        changed
    }

    /// What is to be told of who speaks and who hears that the server does not know.
    fn news_for(&self, now: Instant, session: &RecordingSession) -> Metadata {
        let wall = self.anchor.wall_at(now);
        let known = &session.metadata;
        let communication = known.sessions.first().map(|it| it.id.clone());
        let communication = communication.unwrap_or_default();
        let mut news = Metadata {
            mode: DataMode::Partial,
            ..Metadata::default()
        };
        let parties: Vec<(&Stream, &Party)> = session
            .all()
            .filter_map(|stream| Some((stream, stream.party.as_ref()?)))
            .collect();
        for (stream, party) in &parties {
            if known.participant(&party.participant).is_none() {
                news.participants.push(self.participant(party));
                news.streams.push(Entry {
                    id: party.stream.clone(),
                    session: Some(communication.clone()),
                    label: Some(stream.label.clone()),
                });
                news.attendances.push(Attendance {
                    participant: party.participant.clone(),
                    session: communication.clone(),
                    span: Span::since(wall),
                });
            }
            let flow = self.flow_of(party, &parties);
            let told = known
                .flows
                .iter()
                .find(|it| it.participant == flow.participant);
            if told
                .is_none_or(|told| (&told.sends, &told.receives) != (&flow.sends, &flow.receives))
            {
                let span = Span::since(wall);
                news.flows.push(Flow { span, ..flow });
            }
        }
        let here = |id: &str| parties.iter().any(|(_, party)| party.participant == id);
        for told in &known.attendances {
            if !told.span.is_over() && !here(&told.participant) {
                let span = told.span.clone().ended(wall);
                news.attendances.push(Attendance {
                    span,
                    ..told.clone()
                });
            }
        }
        for told in &known.flows {
            if !told.span.is_over() && !here(&told.participant) {
                let span = told.span.clone().ended(wall);
                news.flows.push(Flow {
                    span,
                    ..told.clone()
                });
            }
        }
        news
    }

    fn participant(&self, party: &Party) -> Participant {
        let session = self.calls.get(&party.call).map(|call| call.session);
        let address = session.and_then(|session| self.agent.party(session));
        let aor = address.map(|address| address.uri().to_string());
        let name = address.and_then(|address| Some(address.display_name()?.into_owned()));
        let aor = aor.unwrap_or_else(|| "sip:unknown@invalid".to_owned());
        Participant::new(&party.participant, &aor, name.as_deref())
    }

    /// What a party sends and receives, as hold has it.
    fn flow_of(&self, party: &Party, parties: &[(&Stream, &Party)]) -> Flow {
        let call = self.calls.get(&party.call);
        let agreed = call.and_then(|call| call.agreed.as_ref());
        let direction = agreed.map_or(Direction::SendReceive, |agreed| agreed.direction);
        let others = parties.iter().filter(|(_, other)| other.call != party.call);
        let others = others.filter(|_| direction.sends());
        Flow {
            participant: party.participant.clone(),
            sends: Some(party.stream.clone())
                .filter(|_| direction.receives())
                .into_iter()
                .collect(),
            receives: others.map(|(_, other)| other.stream.clone()).collect(),
            span: Span::default(),
        }
    }

    /// Lets the recording sessions of a call's conversation follow what has become of it.
    pub(in crate::engine::core) fn attend_remotes_of(&mut self, id: CallId) {
        let remotes = self.calls.get(&id).map(|call| call.remotes.clone());
        for remote in remotes.unwrap_or_default() {
            self.attend_remote(self.now, remote);
        }
    }

    /// Tells the server what has changed, as soon as nothing else is under way.
    pub(super) fn attend_remote(&mut self, now: Instant, remote: RecordingId) {
        let Some(state) = self.remotes.get(&remote).filter(|it| !it.stopped) else {
            return;
        };
        let Some(id) = state.session else { return };
        let paused = state.paused;
        let Some(call) = self.calls.get_mut(&id).filter(|it| it.ending.is_none()) else {
            return;
        };
        let (stage, number) = (call.stage, call.session);
        let Some(mut session) = call.siprec.take() else {
            return;
        };
        if stage == Stage::Up && session.sdp.state() == State::Stable {
            let changed = self.settle_parties(remote, &mut session);
            let turned = std::mem::replace(&mut session.told_paused, paused) != paused;
            let mut news = self.news_for(now, &session);
            let whole = std::mem::take(&mut session.asked);
            let is_news = !news.flows.is_empty() || !news.attendances.is_empty();
            session.metadata.update(news.clone());
            if whole {
                news = session.metadata.clone();
                news.mode = DataMode::Complete;
            }
            if changed || turned || is_news || whole {
                self.send_change(now, number, &mut session, &news);
            }
        }
        if let Some(call) = self.calls.get_mut(&id) {
            call.siprec = Some(session);
        }
        self.carry_voices(remote, id);
    }

    fn send_change(
        &mut self,
        now: Instant,
        number: SessionId,
        session: &mut RecordingSession,
        news: &Metadata,
    ) {
        let Ok(offer) = self.offer_session(session) else {
            return;
        };
        let (content_type, bytes) = siprec::body(&offer, &news.to_xml());
        let body = Body {
            content_type,
            bytes,
        };
        let sent = self.agent.reinvite(now, number, requires(), Some(body));
        if sent.is_err() {
            // Nothing to withdraw where no offer was made.
            let _stable = session.withdraw();
        }
    }

    /// Each party's voice is carried where its stream may flow.
    pub(super) fn carry_voices(&mut self, remote: RecordingId, id: CallId) {
        let Some(state) = self.remotes.get(&remote) else {
            return;
        };
        let (started, paused) = (state.started, state.paused);
        let Some(mut session) = self.calls.get_mut(&id).and_then(|call| call.siprec.take()) else {
            return;
        };
        let mut new = Vec::new();
        for stream in session.streams.iter_mut().flatten() {
            let agreed = stream.agreed.as_ref();
            let flows = agreed.is_some_and(|agreed| agreed.direction.sends()) && !paused;
            let party = stream.party.as_ref().map(|party| party.call);
            let leg = party.and_then(|call| self.calls.get(&call)?.leg);
            let carried = stream.party.as_ref().and_then(|party| party.carried);
            if carried.is_some_and(|(tapped, _)| !flows || leg != Some(tapped)) {
                self.fall_silent(remote, stream);
            }
            if flows {
                new.extend(self.carry(remote, started, stream));
            }
        }
        if let Some(call) = self.calls.get_mut(&id) {
            call.siprec = Some(session);
        }
        for party in new {
            self.heed_preference(party);
        }
    }

    /// Carries a party's voice, unless it is carried already; gives who is carried for the first time.
    fn carry(
        &mut self,
        remote: RecordingId,
        started: Instant,
        stream: &mut Stream,
    ) -> Option<CallId> {
        let rate = stream.rate;
        let (own, party) = stream.leg.zip(stream.party.as_mut())?;
        let call = self.calls.get(&party.call);
        let call = call.filter(|_| party.carried.is_none())?;
        let leg = call.leg?;
        let plan = TapPlan {
            from: call.rate,
            route: Route {
                said: Some(Track::Caller),
                ..Route::default()
            },
            started: Some(started),
            ..TapPlan::new(rate)
        };
        let feed = self.start_tap(remote, leg, plan);
        let play = PlayId(next(&mut self.minted.plays));
        let player = Box::new(Player::live(Live::new(feed)));
        let on = PlayOn::Leg(own);
        self.placement
            .tell_leg(own, Command::Play { play, on, player });
        party.carried = Some((leg, play));
        let id = party.call;
        if let Some(call) = self.calls.get_mut(&id) {
            call.carried.insert(remote, false);
        }
        let is_new = self
            .remotes
            .get_mut(&remote)
            .is_some_and(|state| state.carried.insert(id));
        self.tell_recorded(self.now, id);
        is_new.then_some(id)
    }

    /// Tells a party that wants to know it whether it is recorded, as soon as nothing else is under way
    /// (RFC 7866 §6.2, §7.2.1.1).
    pub(in crate::engine::core) fn tell_recorded(&mut self, now: Instant, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let is_quiet = call.change.is_none() && call.sdp.state() == State::Stable;
        if call.stage != Stage::Up || call.ending.is_some() || !is_quiet || call.leg.is_none() {
            return;
        }
        let here = call.taped.iter().map(|it| {
            let recorded = self.recordings.get(it);
            recorded.is_some_and(|it| it.paused)
        });
        let state = match call.carried.values().copied().chain(here).min() {
            Some(false) => Recorded::On,
            Some(true) => Recorded::Paused,
            None => Recorded::Off,
        };
        if call.told_record.is_none_or(|told| told == state) {
            return;
        }
        call.told_record = Some(state);
        self.refresh(now, id);
    }

    /// A stream carries nobody's voice any more, from the next frame on.
    fn fall_silent(&mut self, remote: RecordingId, stream: &mut Stream) {
        let carried = stream.party.as_mut().and_then(|party| party.carried.take());
        let Some((leg, play)) = carried else { return };
        let paused = self
            .remotes
            .get(&remote)
            .is_some_and(|it| it.paused && !it.stopped);
        let party = stream.party.as_ref().map(|party| party.call);
        if let Some(call) = party.and_then(|id| self.calls.get_mut(&id)) {
            match paused {
                true => call.carried.insert(remote, true),
                false => call.carried.remove(&remote),
            };
        }
        if let Some(id) = party {
            self.tell_recorded(self.now, id);
        }
        let stop = Command::StopRecording {
            leg,
            recording: remote,
        };
        self.placement.tell_leg(leg, stop);
        if let Some(own) = stream.leg {
            let action = PlayAction::Stop;
            self.placement
                .tell_leg(own, Command::ControlPlay { play, action });
        }
    }

    /// No stream of a session carries a voice any more.
    fn hush(&mut self, remote: RecordingId, id: CallId) {
        let Some(mut session) = self.calls.get_mut(&id).and_then(|call| call.siprec.take()) else {
            return;
        };
        for stream in session.streams.iter_mut().flatten() {
            self.fall_silent(remote, stream);
        }
        if let Some(call) = self.calls.get_mut(&id) {
            call.siprec = Some(session);
        }
    }

    /// The server answered our INVITE.
    pub(in crate::engine::core) fn remote_answered(
        &mut self,
        now: Instant,
        id: CallId,
        response: &Message,
    ) {
        let Some(remote) = self.recorded_session(id).and_then(|it| it.remote) else {
            return;
        };
        let accepted = self.accept_streams(now, id, &response.description());
        let sends = self.recorded_session(id).is_some_and(|session| {
            let mut agreed = session.all().filter_map(|stream| stream.agreed.as_ref());
            agreed.next().is_some()
        });
        if accepted.is_err() || !sends {
            return self.end_for(now, id, EndReason::Incompatible, Cause::incompatible());
        }
        if let Some(state) = self.remotes.get(&remote) {
            let server = state.plan.servers.get(state.server).cloned();
            let event = CallEvent::RemoteStarted {
                recording: remote,
                server: server.unwrap_or_default(),
            };
            self.emit(state.anchor, event);
        }
        self.attend_remote(now, remote);
    }

    /// The recording session is over: the next server is asked, unless nothing shall be recorded any more.
    pub(in crate::engine::core) fn remote_lost(
        &mut self,
        now: Instant,
        id: CallId,
        reason: &EndReason,
    ) {
        let Some(remote) = self.recorded_session(id).and_then(|it| it.remote) else {
            return;
        };
        self.hush(remote, id);
        let Some(state) = self.remotes.get_mut(&remote) else {
            return;
        };
        state.session = None;
        let anchor = state.anchor;
        if state.stopped {
            return self.end_remote(remote);
        }
        let event = CallEvent::RemoteFailed {
            recording: remote,
            server: state
                .plan
                .servers
                .get(state.server)
                .cloned()
                .unwrap_or_default(),
            reason: reason.clone(),
        };
        state.server += 1;
        let is_last = state.server >= state.plan.servers.len();
        self.emit(anchor, event);
        if is_last || self.begin_session(now, remote).is_err() {
            self.end_remote(remote);
        }
    }

    /// Nothing more comes of a remote.
    fn end_remote(&mut self, remote: RecordingId) {
        let Some(state) = self.remotes.remove(&remote) else {
            return;
        };
        for id in state.carried {
            if let Some(call) = self.calls.get_mut(&id) {
                call.carried.remove(&remote);
            }
            self.tell_recorded(self.now, id);
        }
        if let Some(call) = self.calls.get_mut(&state.anchor) {
            call.remotes.retain(|it| *it != remote);
            self.emit(state.anchor, CallEvent::RemoteEnded { recording: remote });
        }
    }

    /// The server asks for all metadata (RFC 7866 §9.2); it follows in a request of its own.
    pub(super) fn note_request(&mut self, id: CallId, message: &Message) {
        if siprec::request_of(message).is_some()
            && let Some(session) = self.recorded_session_mut(id)
        {
            session.asked = true;
        }
    }
}

/// What every INVITE of a recording session says.
fn requires() -> Headers {
    vec![
        ("Require".to_owned(), siprec::SIPREC.to_owned()),
        (
            "Accept".to_owned(),
            format!("application/sdp, {}", siprec::METADATA_REQUEST),
        ),
        ("MIME-Version".to_owned(), "1.0".to_owned()),
    ]
}
