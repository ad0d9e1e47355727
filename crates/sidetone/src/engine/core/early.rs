//! Before the answer: progress, early media, the branches of a fork, reliable responses.

use crate::engine::core::Core;
use crate::engine::core::call::{CallState, Fork};
use crate::engine::event::{CallError, CallEvent};
use crate::id::CallId;
use crate::sdp::negotiate::state::State;
use crate::sip::agent::command::Body;
use crate::sip::message::Message;
use crate::sip::status::StatusCode;
use crate::time::Instant;

/// Branches of a fork whose answers are kept apart; those of further ones are left aside.
const MAX_FORKS: usize = 12;

impl Core {
    /// The dialled party is on the way. A description is an answer of that branch of the fork: the
    /// last one told of is heard (RFC 3960 §3.1, RFC 5009 §8).
    pub(super) fn handle_progress(
        &mut self,
        now: Instant,
        id: CallId,
        response: &Message,
        reliable: bool,
    ) {
        let status = response.status().map_or(0, StatusCode::code);
        self.tell_details(id, response);
        self.emit(id, CallEvent::Progress { status });
        self.follow(now, id, status);
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let body = response.description();
        if call.direct.is_some() || call.siprec.is_some() {
            return;
        }
        let granted = call.permits_early_media(response);
        let known = call.knows_fork(&tag_of(response));
        if body.is_empty() && !(known && granted == Some(true)) {
            return;
        }
        if !call.turn_to_fork(&tag_of(response)) {
            return;
        }
        let had_media = call.leg.is_some();
        // An answer that cannot be used leaves the call waiting for a better one.
        if !body.is_empty() && call.take_early_answer(&body, reliable).is_err() {
            return;
        }
        if granted == Some(false) || call.agreed.is_none() {
            return;
        }
        self.apply_agreement(now, id);
        if !had_media {
            self.emit(id, CallEvent::EarlyMedia);
        }
    }

    /// The answer to our INVITE, in its 2xx or before it.
    pub(super) fn settle_answer(
        &mut self,
        now: Instant,
        id: CallId,
        response: &Message,
    ) -> Result<(), ()> {
        let call = self.calls.get_mut(&id).ok_or(())?;
        if !call.turn_to_fork(&tag_of(response)) {
            return Err(());
        }
        call.forks.clear();
        call.offer = None;
        let body = response.description();
        match call.sdp.state() {
            // Answered reliably before: a description here counts for nothing (RFC 3261 §13.2.1).
            State::Stable if call.agreed.is_some() => {}
            _ if body.is_empty() => call.sdp.confirm().map_err(|_| ())?,
            _ => call.agreed = Some(call.sdp.handle_answer(&body).map_err(|_| ())?),
        }
        self.apply_agreement(now, id);
        Ok(())
    }

    /// The caller has acknowledged a reliable response of ours.
    pub(super) fn handle_provisional_ack(&mut self, id: CallId, described: bool) {
        if let Some(call) = self.calls.get_mut(&id)
            && call.answer.is_some()
        {
            call.settled |= described;
        }
    }

    /// The answer to our early offer, or a further offer of the caller, in a PRACK (RFC 3262 §5).
    pub(super) fn handle_prack(
        &mut self,
        now: Instant,
        id: CallId,
        request: &Message,
    ) -> (StatusCode, Option<Body>) {
        let body = request.description();
        let Some(call) = self.calls.get(&id) else {
            return (StatusCode::CALL_TRANSACTION_DOES_NOT_EXIST, None);
        };
        if call.sdp.state() == State::LocalOffer {
            return match self.accept_answer(now, id, &body) {
                Ok(()) => (StatusCode::OK, None),
                Err(_) => (StatusCode::NOT_ACCEPTABLE_HERE, None),
            };
        }
        match self.answer_offer(id, &body) {
            Ok(answer) => {
                self.apply_agreement(now, id);
                (StatusCode::OK, Some(Body::sdp(answer)))
            }
            Err(status) => (status, None),
        }
    }
}

impl CallState {
    fn knows_fork(&self, tag: &str) -> bool {
        self.fork.as_deref() == Some(tag) || self.forks.iter().any(|fork| fork.tag == tag)
    }

    /// Makes a branch of the fork the one that counts; false where there are too many.
    pub(super) fn turn_to_fork(&mut self, tag: &str) -> bool {
        if self.fork.as_deref() == Some(tag) {
            return true;
        }
        let Some(offer) = &self.offer else {
            // Answered already, or a caller: there is one branch.
            return true;
        };
        let known = self.forks.iter().position(|fork| fork.tag == tag);
        if known.is_none() && self.forks.len() >= MAX_FORKS {
            return false;
        }
        let next = match known {
            Some(index) => self.forks.swap_remove(index),
            None => Fork {
                tag: tag.to_owned(),
                sdp: (**offer).clone(),
                agreed: None,
            },
        };
        let Fork { tag, sdp, agreed } = next;
        let sdp = std::mem::replace(&mut self.sdp, sdp);
        let agreed = std::mem::replace(&mut self.agreed, agreed);
        if let Some(tag) = self.fork.replace(tag) {
            self.forks.push(Fork { tag, sdp, agreed });
        }
        true
    }

    /// Takes an answer that a provisional response brought. The final response may change one that
    /// was not reliable; one that was stands.
    fn take_early_answer(&mut self, body: &[u8], reliable: bool) -> Result<(), CallError> {
        let agreed = match reliable {
            true => self.sdp.handle_answer(body),
            false => self.sdp.handle_early_answer(body),
        };
        self.agreed = Some(agreed.map_err(|error| CallError::Invalid(error.to_string()))?);
        Ok(())
    }
}

fn tag_of(response: &Message) -> String {
    let to = response.to().ok();
    let tag = to.as_ref().and_then(|to| to.tag());
    tag.unwrap_or_default().to_owned()
}
