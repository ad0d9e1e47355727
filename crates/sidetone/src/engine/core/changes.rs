//! Changes of a call that is up: re-INVITE and UPDATE with their offers and answers, both ways.

use crate::call::cause::{Cause, EndReason};
use crate::engine::core::Core;
use crate::engine::core::call::{Pending, Stage};
use crate::engine::core::signalling::{refusal_headers, sip_status};
use crate::engine::event::{CallError, CallEvent};
use crate::id::CallId;
use crate::sdp::negotiate::Negotiator;
use crate::sdp::negotiate::state::State;
use crate::sip::agent::command::{Body, Headers, SessionId, TicketId};
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::status::StatusCode;
use crate::time::Instant;

/// A change of ours that is set aside while the peer's is judged.
struct Ours {
    sdp: Negotiator,
    change: Option<Pending>,
    held_by_us: bool,
}

impl Core {
    /// A request within a session, which has to be answered.
    pub(super) fn handle_request(
        &mut self,
        now: Instant,
        session: SessionId,
        ticket: TicketId,
        request: &Message,
    ) {
        let (status, body) = match (self.sessions.get(&session).copied(), request.method()) {
            (None, _) => (StatusCode::CALL_TRANSACTION_DOES_NOT_EXIST, None),
            (Some(id), Some(Method::Update)) => self.handle_update(now, id, request),
            (Some(id), Some(Method::Prack)) => self.handle_prack(now, id, request),
            (Some(id), Some(Method::Message)) => (self.handle_call_message(id, request), None),
            (Some(id), Some(Method::Notify)) => (self.handle_notify(id, request), None),
            (Some(id), Some(Method::Refer)) => match self.handle_refer(id, ticket, request) {
                Some(status) => (status, None),
                None => return,
            },
            _ => (StatusCode::METHOD_NOT_ALLOWED, None),
        };
        let headers = match status {
            StatusCode::SERVER_INTERNAL_ERROR => self.retry_soon(),
            status => refusal_headers(status),
        };
        // It fails only where the session has ended meanwhile.
        let _over = self
            .agent
            .reply(now, session, ticket, status, headers, body);
        if let Some(id) = self.sessions.get(&session).copied() {
            self.attend_own(now, id);
        }
    }

    /// Retry-After of a request out of turn: 0 to 10 s (RFC 3311 §5.2).
    fn retry_soon(&mut self) -> Headers {
        vec![("Retry-After".into(), self.rng.below(11).to_string())]
    }

    /// The peer changes the session, or shows that it is alive (RFC 3311 §5.2).
    fn handle_update(
        &mut self,
        now: Instant,
        id: CallId,
        request: &Message,
    ) -> (StatusCode, Option<Body>) {
        if self.is_recording_session(id) {
            return self.siprec_update(now, id, request);
        }
        let offer = request.description();
        if offer.is_empty() {
            return (StatusCode::OK, None);
        }
        if self.is_direct(id) {
            // Its partner would have to be asked, within this transaction; re-INVITE has the time.
            return (StatusCode::NOT_ACCEPTABLE_HERE, None);
        }
        let Some(call) = self.calls.get_mut(&id) else {
            return (StatusCode::CALL_TRANSACTION_DOES_NOT_EXIST, None);
        };
        let from = request.from().ok();
        call.turn_to_fork(from.as_ref().and_then(|f| f.tag()).unwrap_or_default());
        match call.stage {
            Stage::Offered if call.settled => {}
            // Our answer to the INVITE's offer has not gone out for good.
            Stage::Offered => return (StatusCode::SERVER_INTERNAL_ERROR, None),
            Stage::Dialling if call.sdp.state() != State::Stable => {
                return (StatusCode::REQUEST_PENDING, None);
            }
            Stage::Dialling | Stage::Confirming | Stage::Up => {}
        }
        let ours = self.set_change_aside(id);
        match self.answer_offer(id, &offer) {
            Ok(answer) => {
                self.apply_agreement(now, id);
                (StatusCode::OK, Some(Body::sdp(answer)))
            }
            Err(status) => {
                self.take_change_up(id, ours);
                (status, None)
            }
        }
    }

    pub(super) fn handle_reinvite(&mut self, now: Instant, id: CallId, request: &Message) {
        if self.is_direct(id) {
            return self.direct_reinvite(now, id, request);
        }
        if self.is_recording_session(id) {
            return self.siprec_reinvite(now, id, request);
        }
        let Some(session) = self.calls.get(&id).map(|call| call.session) else {
            return;
        };
        let offer = request.description();
        let ours = self.set_change_aside(id);
        let body = match offer.is_empty() {
            true => self.make_offer(id).map_err(|_| StatusCode::REQUEST_PENDING),
            false => self.answer_offer(id, &offer),
        };
        match body {
            Ok(body) => {
                // It fails only where the re-INVITE was taken back meanwhile.
                let sent = self
                    .agent
                    .answer(now, session, Headers::new(), Some(Body::sdp(body)));
                match sent {
                    Ok(()) if !offer.is_empty() => self.apply_agreement(now, id),
                    Ok(()) => {}
                    Err(_) => self.roll_back(id),
                }
            }
            Err(status) => {
                self.take_change_up(id, ours);
                self.refuse(now, session, status);
            }
        }
    }

    /// Offers again what is agreed on, to show that the session is alive (RFC 4028 §7.4).
    pub(super) fn refresh(&mut self, now: Instant, id: CallId) {
        let Some(call) = self.calls.get(&id) else {
            return;
        };
        if call.direct.is_some() {
            return self.refresh_direct(now, id);
        }
        if call.siprec.is_some() {
            return self.refresh_session(now, id);
        }
        let busy = call.change.is_some() || call.sdp.state() != State::Stable;
        if call.stage != Stage::Up || busy {
            // What is under way refreshes the session itself.
            return;
        }
        let (session, was_held) = (call.session, call.held_by_us);
        let Ok(offer) = self.make_offer(id) else {
            return;
        };
        let body = Some(Body::sdp(offer));
        let sent = self.agent.reinvite(now, session, Headers::new(), body);
        if let Some(call) = self.calls.get_mut(&id) {
            call.change = Some(Pending {
                was_held,
                refresh: true,
            });
        }
        if sent.is_err() {
            self.roll_back(id);
        }
    }

    /// Our own change met glare and waits to be tried again. The peer's comes first, and where it can
    /// be accepted the agent will report ours as failed.
    fn set_change_aside(&mut self, id: CallId) -> Option<Ours> {
        let call = self.calls.get(&id)?;
        let waits = call.stage == Stage::Up && call.sdp.state() == State::LocalOffer;
        let ours = waits.then(|| Ours {
            sdp: call.sdp.clone(),
            change: call.change,
            held_by_us: call.held_by_us,
        });
        if ours.is_some() {
            self.roll_back(id);
        }
        ours
    }

    fn take_change_up(&mut self, id: CallId, ours: Option<Ours>) {
        if let (Some(call), Some(ours)) = (self.calls.get_mut(&id), ours) {
            call.sdp = ours.sdp;
            call.change = ours.change;
            call.held_by_us = ours.held_by_us;
        }
    }

    pub(super) fn handle_reinvite_answer(
        &mut self,
        now: Instant,
        id: CallId,
        response: &Message,
        acknowledge: bool,
    ) {
        if self.is_direct(id) {
            return self.direct_accepted(now, id, response);
        }
        if self.is_recording_session(id) {
            return self.siprec_accepted(now, id, response);
        }
        // Our re-INVITEs always carry the offer, so the ACK is never left to us.
        debug_assert!(!acknowledge, "a re-INVITE went out without an offer");
        let accepted = self.accept_answer(now, id, &response.description());
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let change = call.change.take();
        match accepted {
            Ok(()) if change.is_some_and(|change| change.refresh) => {}
            Ok(()) => self.emit(id, CallEvent::Renegotiated),
            Err(_) => self.end_for(now, id, EndReason::Incompatible, Cause::incompatible()),
        }
        self.tell_recorded(now, id);
    }

    pub(super) fn handle_reinvite_failure(&mut self, now: Instant, id: CallId, status: StatusCode) {
        if self.is_direct(id) {
            return self.direct_failed(now, id, status);
        }
        if self.is_recording_session(id) {
            return self.siprec_failed(id);
        }
        // Where the peer's own change came first, ours is forgotten already.
        let change = self.calls.get(&id).and_then(|call| call.change);
        if change.is_some() {
            self.roll_back(id);
        }
        if change.is_some_and(|change| change.refresh) {
            return;
        }
        self.emit(
            id,
            CallEvent::RenegotiationFailed {
                status: status.code(),
            },
        );
    }

    /// Forgets an offer that came to nothing; hold is as it was before.
    pub(super) fn roll_back(&mut self, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        // Nothing to withdraw where the exchange is over already.
        let _stable = match call.siprec.as_deref_mut() {
            Some(session) => session.withdraw(),
            None => call.sdp.withdraw(),
        };
        if let Some(Pending { was_held, .. }) = call.change.take() {
            call.held_by_us = was_held;
        }
    }

    /// Makes an offer that says what this side wants now.
    pub(super) fn make_offer(&mut self, id: CallId) -> Result<String, CallError> {
        let call = self.calls.get(&id).ok_or(CallError::Gone)?;
        let port = call
            .port
            .ok_or(CallError::WrongState("the call has no media port"))?;
        let codecs = call.codecs.as_deref();
        let mut local = self.local_media(port, call.held_by_us, &call.security, codecs);
        local.record = call.told_record;
        let call = self.calls.get_mut(&id).ok_or(CallError::Gone)?;
        call.sdp
            .offer(&local)
            .map_err(|_| CallError::WrongState("another change is under way"))
    }

    /// Answers the peer's offer, or says with which status to refuse it: 488 only where the
    /// description itself cannot be agreed on.
    pub(super) fn answer_offer(&mut self, id: CallId, offer: &[u8]) -> Result<String, StatusCode> {
        let call = self.calls.get(&id);
        let call = call.ok_or(StatusCode::CALL_TRANSACTION_DOES_NOT_EXIST)?;
        let port = call.port.ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
        let codecs = call.codecs.as_deref();
        let mut local = self.local_media(port, call.held_by_us, &call.security, codecs);
        local.record = call.told_record;
        let call = self.calls.get_mut(&id);
        let call = call.ok_or(StatusCode::CALL_TRANSACTION_DOES_NOT_EXIST)?;
        call.sdp
            .handle_offer(offer)
            .map_err(|error| sip_status(&error))?;
        match call.sdp.answer(&local) {
            Ok((answer, agreed)) => {
                call.agreed = Some(agreed);
                Ok(answer)
            }
            Err(error) => {
                // The offer is open, so that it can be withdrawn.
                let _stable = call.sdp.withdraw();
                Err(sip_status(&error))
            }
        }
    }
}
