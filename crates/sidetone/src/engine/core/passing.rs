//! Calls whose descriptions are passed on to the other side rather than answered: what the agent
//! tells of them goes through.

use crate::b2bua::passage::Fields;
use crate::b2bua::plan::Transfers;
use crate::engine::core::call::{CallState, Stage};
use crate::engine::core::commands::refused;
use crate::engine::core::details::is_public;
use crate::engine::core::dialling::DialRequest;
use crate::engine::core::{Core, next};
use crate::engine::event::{CallError, CallEvent, Caller, Event};
use crate::id::{CallId, PassageId};
use crate::sip::agent::command::{Body, Headers, RequestId, SessionId, TicketId};
use crate::sip::agent::event::{Event as AgentEvent, Failure};
use crate::sip::header::Name;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::status::StatusCode;
use crate::time::Instant;

/// Header fields that REFER and NOTIFY mean something by.
const REFERRAL: [Name<'static>; 4] = [
    Name::ReferTo,
    Name::ReferredBy,
    Name::ReferSub,
    Name::SubscriptionState,
];

impl Core {
    /// Takes a caller in whose description is passed on.
    pub(super) fn take_in_passing(
        &mut self,
        now: Instant,
        session: SessionId,
        caller: Caller,
        trusted: bool,
    ) {
        let trunk = self.trunk_of(&caller);
        let permit = match self.count_caller(now, trunk) {
            Ok(permit) => permit,
            Err(status) => return self.refuse(now, session, status),
        };
        let sdp = self.new_negotiator();
        let mut call = CallState::new(session, Stage::Offered, sdp, now);
        call.passes = true;
        call.trusted = trusted;
        let id = CallId(next(&mut self.minted.calls));
        self.sessions.insert(session, id);
        self.calls.insert(id, call);
        self.count_at_trunk(permit, Some(id));
        let (invite, details) = self.read_details(caller.invite, trusted);
        let caller = Box::new(Caller {
            invite,
            trusted,
            details,
            trunk,
            ..caller
        });
        self.show_caller(now, id, &caller);
        self.events.push_back(Event::Incoming { call: id, caller });
    }

    /// Calls a target with the caller's description, or without one where the caller has none.
    pub(super) fn dial_passing(
        &mut self,
        now: Instant,
        request: DialRequest,
        body: Option<Body>,
    ) -> Result<CallId, CallError> {
        if self.stopping.is_some() || self.calls.len() >= self.config.max_calls {
            return Err(CallError::Busy("as many calls as allowed are in progress"));
        }
        let (mut invite, trusted) = self.invite_for(&request)?;
        invite.body = body;
        let session = self.agent.invite(now, invite).map_err(refused)?;
        let id = CallId(next(&mut self.minted.calls));
        let sdp = self.new_negotiator();
        let mut call = CallState::new(session, Stage::Dialling, sdp, now);
        call.passes = true;
        call.trusted = trusted;
        self.sessions.insert(session, id);
        self.calls.insert(id, call);
        self.take_signalling(now);
        Ok(id)
    }

    /// Handles what concerns a call whose descriptions are passed on; gives back everything else.
    pub(super) fn pass_on(&mut self, now: Instant, event: AgentEvent) -> Option<AgentEvent> {
        let Some(id) = self.passing_call(&event) else {
            return Some(event);
        };
        match event {
            AgentEvent::Provisional { response, .. } => {
                self.keep_description(id, &response);
                let status = response.status().map_or(0, StatusCode::code);
                self.emit(id, CallEvent::Progress { status });
                self.carry_ringing(id, &response, !response.body().is_empty());
            }
            AgentEvent::Answered {
                response,
                acknowledge,
                ..
            } => self.pass_answer(now, id, &response, acknowledge),
            AgentEvent::Acked { request, .. } => self.pass_ack(now, id, &request),
            AgentEvent::Reinvite { request, .. } => self.pass_reinvite(now, id, &request),
            AgentEvent::ReinviteAnswered {
                response,
                acknowledge,
                ..
            } => self.pass_reinvite_answer(now, id, &response, acknowledge),
            AgentEvent::ReinviteFailed { status, .. } => {
                self.pass_reinvite_failure(now, id, status);
            }
            AgentEvent::Info { request, .. } => self.pass_info(now, id, &request),
            AgentEvent::Request {
                ticket, request, ..
            } => self.pass_request(now, id, ticket, &request),
            AgentEvent::RequestAnswered {
                request, result, ..
            } => self.pass_request_answer(now, id, request, &result),
            AgentEvent::RefreshDue { .. } => self.refresh_passing(now, id),
            // The answer to a re-INVITE that was taken back comes too late for its sender.
            _ => {}
        }
        None
    }

    fn passing_call(&self, event: &AgentEvent) -> Option<CallId> {
        let session = match event {
            AgentEvent::Provisional { session, .. }
            | AgentEvent::ProvisionalAcked { session, .. }
            | AgentEvent::Answered { session, .. }
            | AgentEvent::Acked { session, .. }
            | AgentEvent::Reinvite { session, .. }
            | AgentEvent::ReinviteCancelled { session }
            | AgentEvent::ReinviteAnswered { session, .. }
            | AgentEvent::ReinviteFailed { session, .. }
            | AgentEvent::Info { session, .. }
            | AgentEvent::InfoAnswered { session, .. }
            | AgentEvent::Request { session, .. }
            | AgentEvent::RequestAnswered { session, .. }
            | AgentEvent::RefreshDue { session } => *session,
            _ => return None,
        };
        let id = *self.sessions.get(&session)?;
        self.calls.get(&id).filter(|call| call.passes).map(|_| id)
    }

    /// Remembers the last description of a party.
    fn keep_description(&mut self, id: CallId, message: &Message) {
        if let (Some(body), Some((_, connected))) = (body_of(message), self.passages.of(id)) {
            connected.from.insert(id, body);
        }
    }

    /// The other party of an answered passage, and its session.
    fn across(&mut self, id: CallId) -> Option<(CallId, SessionId)> {
        let (_, connected) = self.passages.of(id)?;
        let other = connected.other(id)?;
        Some((other, self.call_mut(other).ok()?.session))
    }

    fn session_of(&self, id: CallId) -> Option<SessionId> {
        self.calls.get(&id).map(|call| call.session)
    }

    fn pass_answer(&mut self, now: Instant, id: CallId, response: &Message, acknowledge: bool) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.stage = Stage::Up;
            call.answered = Some(now);
        }
        self.keep_description(id, response);
        if let Some((_, connected)) = self.passages.of(id).filter(|_| acknowledge) {
            let caller = connected.caller();
            connected.acks.insert(caller, id);
        }
        self.emit(id, CallEvent::Answered);
        self.carry_answer(now, id, response);
    }

    /// Answers the caller with the description of who answered.
    pub(super) fn answer_passing(
        &mut self,
        now: Instant,
        id: PassageId,
        callee: CallId,
        fields: Fields,
    ) -> Result<(), CallError> {
        let connected = self.passages.get(id).ok_or(CallError::Gone)?;
        let caller = connected.caller();
        let body = connected.from.get(&callee).cloned();
        if let Some(body) = &body {
            connected.given.insert(caller, body.clone());
        }
        let session = self.offered(now, caller)?.session;
        let sent = self.agent.answer(now, session, fields, body);
        sent.map_err(refused)?;
        self.call_mut(caller)?.stage = Stage::Confirming;
        self.take_signalling(now);
        Ok(())
    }

    fn pass_ack(&mut self, now: Instant, id: CallId, ack: &Message) {
        let first = match self.calls.get_mut(&id) {
            Some(call) if call.stage == Stage::Confirming => {
                call.stage = Stage::Up;
                call.answered = Some(now);
                true
            }
            _ => false,
        };
        self.keep_description(id, ack);
        let waits = self.passages.of(id).and_then(|(_, c)| c.acks.remove(&id));
        if let Some(session) = waits.and_then(|other| self.session_of(other)) {
            let body = body_of(ack);
            // It fails only where the other side has ended.
            let _over = self.agent.acknowledge(now, session, Headers::new(), body);
        }
        if first {
            self.emit(id, CallEvent::Answered);
        }
        self.touch_passage_of(id);
    }

    fn pass_reinvite(&mut self, now: Instant, id: CallId, request: &Message) {
        self.keep_description(id, request);
        let Some((other, session)) = self.across(id) else {
            return self.refuse_reinvite(now, id, StatusCode::REQUEST_PENDING);
        };
        let fields = self.fields_of(id, request);
        let sent = self.agent.reinvite(now, session, fields, body_of(request));
        if sent.is_err() {
            return self.refuse_reinvite(now, id, StatusCode::REQUEST_PENDING);
        }
        if let Some((_, connected)) = self.passages.of(id) {
            connected.reinvites.insert(other, id);
            if let Some(body) = body_of(request) {
                connected.given.insert(other, body);
            }
        }
    }

    fn refuse_reinvite(&mut self, now: Instant, id: CallId, status: StatusCode) {
        if let Some(session) = self.session_of(id) {
            self.refuse(now, session, status);
        }
    }

    fn pass_reinvite_answer(
        &mut self,
        now: Instant,
        id: CallId,
        response: &Message,
        acknowledge: bool,
    ) {
        self.keep_description(id, response);
        let fields = self.fields_of(id, response);
        let Some((_, connected)) = self.passages.of(id) else {
            return;
        };
        // Where nobody waits it was a refresh of our own, which says nothing new.
        let asker = connected.reinvites.remove(&id);
        if let (Some(asker), true) = (asker, acknowledge) {
            connected.acks.insert(asker, id);
        }
        let body = body_of(response);
        if let (Some(asker), Some(body)) = (asker, &body) {
            connected.given.insert(asker, body.clone());
        }
        let Some(session) = asker.and_then(|asker| self.session_of(asker)) else {
            return self.acknowledge_empty(now, id, acknowledge);
        };
        if self.agent.answer(now, session, fields, body).is_err() {
            // It was taken back meanwhile.
            self.acknowledge_empty(now, id, acknowledge);
        }
    }

    fn acknowledge_empty(&mut self, now: Instant, id: CallId, due: bool) {
        if let Some(session) = self.session_of(id).filter(|_| due) {
            // It fails only where the call has ended.
            let _over = self.agent.acknowledge(now, session, Headers::new(), None);
        }
    }

    fn pass_reinvite_failure(&mut self, now: Instant, id: CallId, status: StatusCode) {
        let asker = self
            .passages
            .of(id)
            .and_then(|(_, c)| c.reinvites.remove(&id));
        if let Some(asker) = asker {
            self.refuse_reinvite(now, asker, status);
        }
    }

    fn pass_info(&mut self, now: Instant, id: CallId, request: &Message) {
        if let Some((_, session)) = self.across(id) {
            let fields = self.fields_of(id, request);
            // It fails only where the other side has ended.
            let _over = self.agent.info(now, session, fields, body_of(request));
        }
    }

    /// UPDATE goes through; so do REFER and NOTIFY where transfers are carried.
    fn pass_request(&mut self, now: Instant, id: CallId, ticket: TicketId, request: &Message) {
        let method = request.method().cloned().unwrap_or(Method::Update);
        let carries = self
            .passages
            .of(id)
            .is_some_and(|(_, connected)| connected.transfers() == Transfers::Carried);
        let refusal = match method {
            Method::Update if body_of(request).is_none() => Some(StatusCode::OK),
            Method::Update => None,
            // The dialog that an attended transfer names is one of this side.
            Method::Refer if carries && names_dialog(request) => Some(StatusCode::DECLINE),
            Method::Refer | Method::Notify if carries => None,
            Method::Refer => Some(StatusCode::DECLINE),
            Method::Notify => Some(StatusCode::CALL_TRANSACTION_DOES_NOT_EXIST),
            _ => Some(StatusCode::NOT_ACCEPTABLE_HERE),
        };
        if let Some(status) = refusal {
            return self.reply_passing(now, id, ticket, (status, Headers::new(), None));
        }
        let mut fields = self.fields_of(id, request);
        if method != Method::Update {
            fields.extend(referral_fields(request));
        }
        let body = body_of(request);
        let sent = self.across(id).and_then(|(other, session)| {
            let sent = self
                .agent
                .request(now, session, method, fields, body.clone());
            Some((other, sent.ok()?))
        });
        let Some((other, sent)) = sent else {
            let refusal = (StatusCode::REQUEST_PENDING, Headers::new(), None);
            return self.reply_passing(now, id, ticket, refusal);
        };
        if let Some((_, connected)) = self.passages.of(id) {
            connected.requests.insert(sent, (id, ticket));
            if let (Some(body), Method::Update) =
                (body, request.method().cloned().unwrap_or(Method::Update))
            {
                connected.given.insert(other, body);
            }
        }
    }

    fn pass_request_answer(
        &mut self,
        now: Instant,
        id: CallId,
        request: RequestId,
        result: &Result<Message, Failure>,
    ) {
        let waits = self
            .passages
            .of(id)
            .and_then(|(_, c)| c.requests.remove(&request));
        let Some((asker, ticket)) = waits else {
            return;
        };
        let reply = match result {
            Ok(response) => {
                let status = response.status().unwrap_or(StatusCode::BAD_REQUEST);
                (status, self.fields_of(id, response), body_of(response))
            }
            Err(_) => (StatusCode::REQUEST_TIMEOUT, Headers::new(), None),
        };
        self.reply_passing(now, asker, ticket, reply);
    }

    fn reply_passing(
        &mut self,
        now: Instant,
        id: CallId,
        ticket: TicketId,
        (status, headers, body): (StatusCode, Headers, Option<Body>),
    ) {
        if let Some(session) = self.session_of(id) {
            // It fails only where the session has ended, or the answer comes too late.
            let _over = self
                .agent
                .reply(now, session, ticket, status, headers, body);
        }
    }

    /// Offers again what was given last, to show that the session is alive (RFC 4028 §7.4).
    fn refresh_passing(&mut self, now: Instant, id: CallId) {
        let given = self
            .passages
            .of(id)
            .and_then(|(_, c)| c.given.get(&id).cloned());
        if let (Some(body), Some(session)) = (given, self.session_of(id)) {
            // Where another change is under way, that refreshes the session.
            let _busy = self
                .agent
                .reinvite(now, session, Headers::new(), Some(body));
        }
    }

    /// The header fields of a party's message that the other side gets. What only those who trust
    /// each other tell stays out where one of the two is outside the trust domain (RFC 3325 §5).
    pub(super) fn fields_of(&mut self, id: CallId, message: &Message) -> Fields {
        let Some((_, connected)) = self.passages.of(id) else {
            return Fields::new();
        };
        let mut fields = connected.fields(id, message);
        let other = connected.other(id).unwrap_or(connected.caller());
        let trusts = |id| self.calls.get(&id).is_some_and(|call| call.trusted);
        if !(trusts(id) && trusts(other)) {
            fields.retain(|(name, _)| is_public(name));
        }
        fields
    }
}

/// A message's body with its type.
fn body_of(message: &Message) -> Option<Body> {
    let bytes = message.body();
    let kind = message.content_type().ok().flatten()?;
    (!bytes.is_empty()).then(|| Body {
        content_type: kind.to_string(),
        bytes,
    })
}

/// What REFER and NOTIFY mean something by, to be carried through.
fn referral_fields(message: &Message) -> Fields {
    let rows = message.headers().filter(|h| REFERRAL.contains(&h.name));
    let rows = rows.map(|h| (h.name.as_str().to_owned(), h.text().into_owned()));
    // Its number is that of the REFER, which has another one on the other side.
    let event = (message.method() == Some(&Method::Notify)).then_some(("Event", "refer"));
    let event = event.map(|(name, value)| (name.to_owned(), value.to_owned()));
    rows.chain(event)
        .filter(|(_, text)| !text.chars().any(char::is_control))
        .collect()
}

/// Whether a REFER asks for the place of somebody in a call.
fn names_dialog(request: &Message) -> bool {
    let target = request.refer_to().ok().flatten();
    target.is_none_or(|target| target.uri().header("Replaces").is_some())
}
