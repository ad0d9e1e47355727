//! What the owner of a call may ask of it, but for sound and rooms.

use crate::call::cause::{Cause, EndReason};
use crate::call::details::MAX_VALUES;
use crate::engine::core::Core;
use crate::engine::core::call::{Change, Pending, Stage};
use crate::engine::core::hearing::Asked;
use crate::engine::core::signalling::refusal_headers;
use crate::engine::event::CallError;
use crate::id::CallId;
use crate::media::command::Command;
use crate::sdp::negotiate::state::State;
use crate::sip::agent::command::{Body, CommandError, Headers};
use crate::sip::event::dialog_info::DialogState;
use crate::sip::header::reason::Reason;
use crate::sip::status::StatusCode;
use crate::time::Instant;

impl Core {
    /// Tells the caller that it rings (180).
    pub fn ring(&mut self, now: Instant, id: CallId) -> Result<(), CallError> {
        let call = self.offered(now, id)?;
        let session = call.session;
        self.progress(now, id, session, 180, None)
    }

    /// Opens a path for sound before the answer (183 with SDP).
    pub fn early_media(&mut self, now: Instant, id: CallId) -> Result<(), CallError> {
        let call = self.offered(now, id)?;
        let session = call.session;
        let body = match call.answer.clone() {
            Some(answer) => answer,
            // Our offer, whose answer comes with the PRACK (RFC 3262 §5).
            None if call.agreed.is_none() && self.agent.answers_reliably(session) => {
                self.make_offer(id)?
            }
            None => return Err(CallError::WrongState("the caller made no offer yet")),
        };
        self.progress(now, id, session, 183, Some(Body::sdp(body)))?;
        self.apply_agreement(now, id);
        Ok(())
    }

    /// Answers the caller (200); the `Answered` event follows with the ACK. A caller that asks to
    /// replace another call is answered by [`Self::replace`] only.
    pub fn answer(&mut self, now: Instant, id: CallId) -> Result<(), CallError> {
        if self.offered(now, id)?.replaces.is_some() {
            return Err(CallError::WrongState("the caller asks to replace a call"));
        }
        self.answer_any(now, id, Headers::new())
    }

    pub(super) fn answer_any(
        &mut self,
        now: Instant,
        id: CallId,
        mut headers: Headers,
    ) -> Result<(), CallError> {
        let call = self.offered(now, id)?;
        let session = call.session;
        let offered_early = call.agreed.is_some() || call.sdp.state() == State::LocalOffer;
        let body = match call.answer.clone() {
            Some(answer) => Some(answer),
            None if offered_early => None,
            // The caller left the offer to us (delayed offer).
            None => Some(self.make_offer(id)?),
        };
        headers.extend(self.answer_headers(id));
        let sent = self
            .agent
            .answer(now, session, headers, body.map(Body::sdp));
        sent.map_err(refused)?;
        let call = self.call_mut(id)?;
        call.stage = Stage::Confirming;
        if call.agreed.is_some() || call.siprec.is_some() {
            // The leg is there already where sound was sent before; it now expects to hear some.
            self.apply_agreement(now, id);
        }
        self.take_signalling(now);
        Ok(())
    }

    /// Refuses the caller.
    pub fn reject(&mut self, now: Instant, id: CallId, status: u16) -> Result<(), CallError> {
        let session = self.offered(now, id)?.session;
        let status = StatusCode::new(status)
            .filter(|_| (300..700).contains(&status))
            .ok_or_else(|| CallError::Invalid(format!("{status} refuses nothing")))?;
        let mut headers = refusal_headers(status);
        headers.extend(self.answer_headers(id));
        self.agent
            .reject(now, session, status, headers)
            .map_err(refused)?;
        self.take_signalling(now);
        Ok(())
    }

    /// Ends a call in whatever way its stage asks for.
    pub fn hang_up(&mut self, now: Instant, id: CallId, cause: Cause) -> Result<(), CallError> {
        self.hang_up_for(now, id, &[cause.to_reason()])
    }

    /// As [`Self::hang_up`], with reasons in several vocabularies, such as that somebody else has
    /// answered: they go with the BYE, the CANCEL or the refusal (RFC 3326). At most 20.
    pub fn hang_up_for(
        &mut self,
        now: Instant,
        id: CallId,
        reasons: &[Reason],
    ) -> Result<(), CallError> {
        let reasons = reasons.iter().take(MAX_VALUES);
        let reasons = reasons.map(|reason| ("Reason".to_owned(), reason.to_string()));
        self.hang_up_saying(now, id, reasons.collect())
    }

    /// Ends a call with these header fields.
    pub(super) fn hang_up_saying(
        &mut self,
        now: Instant,
        id: CallId,
        reason: Headers,
    ) -> Result<(), CallError> {
        self.now = now;
        let call = self.call_mut(id)?;
        let (session, stage) = (call.session, call.stage);
        let ended = match stage {
            Stage::Offered => {
                self.agent
                    .reject(now, session, StatusCode::TEMPORARILY_UNAVAILABLE, reason)
            }
            Stage::Dialling => self.agent.cancel(now, session, reason),
            Stage::Confirming | Stage::Up => self.agent.bye(now, session, reason),
        };
        self.take_signalling(now);
        ended.map_err(refused)
    }

    /// Ends a call whose handle was dropped.
    pub fn abandon(&mut self, now: Instant, id: CallId) -> Result<(), CallError> {
        self.hang_up(now, id, Cause::normal())
    }

    /// Ends a call because the engine stops.
    pub(super) fn shut(&mut self, now: Instant, id: CallId) {
        self.end_for(now, id, EndReason::Shutdown, Cause::shutdown());
    }

    /// Ends a call for a reason of the engine's own.
    pub(super) fn end_for(&mut self, now: Instant, id: CallId, reason: EndReason, cause: Cause) {
        if let Ok(call) = self.call_mut(id) {
            call.verdict = Some(reason);
            // It fails only where the session is over already, and then it says so itself.
            let _over = self.hang_up(now, id, cause);
        }
    }

    /// Puts the party on hold; `Renegotiated` or `RenegotiationFailed` follows.
    pub fn hold(&mut self, now: Instant, id: CallId) -> Result<(), CallError> {
        self.change(now, id, Change::Hold)
    }

    /// Takes the party from hold; `Renegotiated` or `RenegotiationFailed` follows.
    pub fn resume(&mut self, now: Instant, id: CallId) -> Result<(), CallError> {
        self.change(now, id, Change::Resume)
    }

    fn change(&mut self, now: Instant, id: CallId, change: Change) -> Result<(), CallError> {
        self.now = now;
        let call = self.call_mut(id)?;
        if call.stage != Stage::Up {
            return Err(CallError::WrongState("the call is not up"));
        }
        if call.siprec.is_some() {
            return Err(CallError::WrongState("it is a recording session"));
        }
        if call.change.is_some() {
            return Err(CallError::WrongState("another change is under way"));
        }
        if call.sdp.state() != State::Stable {
            // The peer asked for an offer and has not answered it yet.
            return Err(CallError::WrongState("another change is under way"));
        }
        let was_held = std::mem::replace(&mut call.held_by_us, change == Change::Hold);
        let session = call.session;
        let offered = self.make_offer(id);
        let sent = offered.and_then(|offer| {
            self.agent
                .reinvite(now, session, Headers::new(), Some(Body::sdp(offer)))
                .map_err(refused)
        });
        let call = self.call_mut(id)?;
        match &sent {
            Ok(()) => {
                call.change = Some(Pending {
                    was_held,
                    refresh: false,
                })
            }
            Err(_) => {
                call.held_by_us = was_held;
                // Nothing to withdraw where no offer was made.
                let _stable = call.sdp.withdraw();
            }
        }
        self.take_signalling(now);
        sent
    }

    /// Sends an INFO with a body.
    pub fn send_info(
        &mut self,
        now: Instant,
        id: CallId,
        content_type: &str,
        body: Vec<u8>,
    ) -> Result<(), CallError> {
        self.now = now;
        let call = self.call_mut(id)?;
        if call.stage != Stage::Up {
            return Err(CallError::WrongState("the call is not up"));
        }
        let session = call.session;
        let body = Body {
            content_type: content_type.to_owned(),
            bytes: body.into(),
        };
        self.agent
            .info(now, session, Headers::new(), Some(body))
            .map_err(refused)?;
        self.call_mut(id)?.asked.push_back(Asked::Other);
        self.take_signalling(now);
        Ok(())
    }

    /// Asks for the media counters of a call; a `Report` event follows.
    pub fn query(&mut self, now: Instant, id: CallId) -> Result<(), CallError> {
        self.now = now;
        let leg = self.call_mut(id)?.leg;
        let leg = leg.ok_or(CallError::WrongState("the call has no media yet"))?;
        self.placement.tell_leg(
            leg,
            Command::QueryLeg {
                leg,
                report: Box::default(),
            },
        );
        Ok(())
    }

    /// A caller that is still to be decided on.
    pub(super) fn offered(
        &mut self,
        now: Instant,
        id: CallId,
    ) -> Result<&mut super::call::CallState, CallError> {
        self.now = now;
        let call = self.call_mut(id)?;
        match call.stage {
            Stage::Offered => Ok(call),
            Stage::Dialling => Err(CallError::WrongState("this side placed the call")),
            Stage::Confirming | Stage::Up => Err(CallError::WrongState("the call is answered")),
        }
    }

    fn progress(
        &mut self,
        now: Instant,
        id: CallId,
        session: crate::sip::agent::command::SessionId,
        status: u16,
        body: Option<Body>,
    ) -> Result<(), CallError> {
        let status = StatusCode::new(status).ok_or(CallError::WrongState("no such status"))?;
        let headers = self.answer_headers(id);
        self.agent
            .ring(now, session, status, headers, body)
            .map_err(refused)?;
        self.show_state(now, id, DialogState::Early);
        self.take_signalling(now);
        Ok(())
    }
}

/// What a refusal of the SIP agent means to the owner of a call.
pub(super) fn refused(error: CommandError) -> CallError {
    match error {
        CommandError::NoSuchSession => CallError::Gone,
        CommandError::WrongState => CallError::WrongState("not in this state of the session"),
        CommandError::Pending => CallError::WrongState("another change is under way"),
        CommandError::Full => CallError::Busy("too much at once"),
        CommandError::Draining => CallError::Busy("the engine is draining"),
        other => CallError::Invalid(other.to_string()),
    }
}
