//! Third-party call control: parties that are called without media of ours, and then connected with
//! each other (RFC 3725).
//!
//! A party is called as in flow IV, steps 1 to 3: an INVITE without a description, whose answer's offer
//! is acknowledged with one that lets nothing flow. Two such parties are connected as in flow I, within
//! their dialogs: one is asked for an offer, the other answers it. What either offers later goes on to
//! the other.
//!
//! Flow IV asks the second party for its offer only once and has to answer it within 32 s; here nobody is
//! kept waiting, for two more messages a party.

use bytes::Bytes;

use crate::call::cause::{Cause, EndReason};
use crate::engine::core::Core;
use crate::engine::core::call::Stage;
use crate::engine::core::commands::refused;
use crate::engine::event::{CallError, CallEvent};
use crate::id::CallId;
use crate::sdp::pass::Passing;
use crate::sip::agent::command::{Body, Headers, SessionId};
use crate::sip::message::Message;
use crate::sip::status::StatusCode;
use crate::time::Instant;

/// What is known of a call whose media does not come here.
#[derive(Debug)]
pub(super) struct Direct {
    passing: Passing,
    partner: Option<CallId>,
    step: Step,
}

/// What a party's side is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Idle,
    /// Its offer, in the answer to our re-INVITE; the partner wants it for this.
    Asked(Wish),
    /// Its answer to the partner's offer, which came so.
    Offered(Wish),
    /// The partner's answer to this party's offer, in its ACK; the partner's 2xx waits for it.
    Confirmed,
    /// Its sign of life: we showed it again what it knows.
    Refreshed,
}

/// Why descriptions are exchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wish {
    /// We connect the two: the offer, which came in a 2xx, waits for an ACK.
    Ours(Bytes),
    /// The partner changes the session: its re-INVITE waits for an answer.
    Theirs,
}

impl Core {
    pub(super) fn new_direct(&mut self) -> Box<Direct> {
        let session_id = self.rng.next_u64() >> 2;
        Box::new(Direct {
            passing: Passing::new(session_id, self.config.media_address()),
            partner: None,
            step: Step::Idle,
        })
    }

    /// Whether the call's media does not come here.
    pub(super) fn is_direct(&self, id: CallId) -> bool {
        self.calls
            .get(&id)
            .is_some_and(|call| call.direct.is_some())
    }

    fn direct(&mut self, id: CallId) -> Option<(SessionId, &mut Direct)> {
        let call = self
            .calls
            .get_mut(&id)
            .filter(|call| call.ending.is_none())?;
        Some((call.session, call.direct.as_deref_mut()?))
    }

    fn partner_of(&self, id: CallId) -> Option<CallId> {
        self.calls.get(&id)?.direct.as_ref()?.partner
    }

    /// Connects two parties that were both called without media and have answered; what was between one
    /// of them and somebody else before is over. `Renegotiated` or `RenegotiationFailed` follows on
    /// `id`.
    pub fn connect_parties(
        &mut self,
        now: Instant,
        id: CallId,
        other: CallId,
    ) -> Result<(), CallError> {
        self.now = now;
        if id == other {
            return Err(CallError::Invalid(
                "a call cannot be connected with itself".into(),
            ));
        }
        for call in [id, other] {
            let call = self.call_mut(call)?;
            let ready = call.direct.as_ref().is_some_and(|it| it.step == Step::Idle);
            if call.stage != Stage::Up || !ready {
                return Err(CallError::WrongState("not a call without media that is up"));
            }
        }
        let session = self.call_mut(id)?.session;
        let sent = self.agent.reinvite(now, session, Headers::new(), None);
        sent.map_err(refused)?;
        for (call, partner) in [(id, other), (other, id)] {
            if let Some(left) = self.partner_of(call).filter(|left| *left != partner) {
                self.set_partner(left, None);
                self.silence(now, left);
            }
            self.set_partner(call, Some(partner));
        }
        self.set_step(id, Step::Asked(Wish::Ours(Bytes::new())));
        self.take_signalling(now);
        Ok(())
    }

    /// Lets nothing flow to or from a party that has lost its partner to somebody else.
    fn silence(&mut self, now: Instant, id: CallId) {
        let Some((session, direct)) = self.direct(id) else {
            return;
        };
        let shown = direct.passing.shown().map(str::to_owned);
        let offer = shown.and_then(|shown| direct.passing.hold(shown.as_bytes()).ok());
        if direct.step != Step::Idle || offer.is_none() {
            return;
        }
        let sent = self
            .agent
            .reinvite(now, session, Headers::new(), offer.map(Body::sdp));
        if sent.is_ok() {
            self.set_step(id, Step::Refreshed);
        }
    }

    fn set_partner(&mut self, id: CallId, partner: Option<CallId>) {
        if let Some((_, direct)) = self.direct(id) {
            direct.partner = partner;
        }
    }

    fn set_step(&mut self, id: CallId, step: Step) {
        if let Some((_, direct)) = self.direct(id) {
            direct.step = step;
        }
    }

    /// The party has answered our first INVITE, with an offer: nothing flows yet.
    pub(super) fn hold_direct(&mut self, now: Instant, id: CallId, offer: &[u8]) -> Result<(), ()> {
        let (session, direct) = self.direct(id).ok_or(())?;
        let answer = direct.passing.hold(offer).map_err(|_| ())?;
        let body = Some(Body::sdp(answer));
        let sent = self.agent.acknowledge(now, session, Headers::new(), body);
        sent.map_err(|_| ())
    }

    /// A party has accepted a re-INVITE of ours: it brings the offer or the answer that was wanted.
    pub(super) fn direct_accepted(&mut self, now: Instant, id: CallId, response: &Message) {
        let description = response.description();
        let Some((_, direct)) = self.direct(id) else {
            return;
        };
        let step = std::mem::replace(&mut direct.step, Step::Idle);
        // What it says is judged by its partner.
        let _judged = direct.passing.note(&description);
        let partner = direct.partner;
        let passed = match (step, partner) {
            (Step::Asked(Wish::Ours(_)), Some(partner)) => {
                let wish = Wish::Ours(description.clone());
                let offered = self.offer_to(now, partner, &description, wish);
                if offered.is_err() {
                    let _over = self.hold_direct(now, id, &description);
                }
                offered
            }
            (Step::Asked(Wish::Theirs), Some(partner)) => {
                match self.answer_to(now, partner, &description) {
                    Ok(()) => self.set_step(id, Step::Confirmed),
                    // Its re-INVITE was taken back meanwhile.
                    Err(()) => drop(self.hold_direct(now, id, &description)),
                }
                Ok(())
            }
            (Step::Offered(Wish::Ours(_)), Some(partner)) => {
                let passed = self.acknowledge_to(now, partner, &description);
                if passed.is_ok() {
                    self.emit(id, CallEvent::Renegotiated);
                    self.emit(partner, CallEvent::Renegotiated);
                }
                passed
            }
            (Step::Offered(Wish::Theirs), Some(partner)) => {
                let _taken_back = self.answer_to(now, partner, &description);
                Ok(())
            }
            (Step::Asked(_), None) => self.hold_direct(now, id, &description),
            _ => Ok(()),
        };
        if passed.is_err() {
            self.direct_failed(now, id, StatusCode::NOT_ACCEPTABLE_HERE);
        }
    }

    /// Offers what one party described to another.
    fn offer_to(
        &mut self,
        now: Instant,
        id: CallId,
        description: &[u8],
        wish: Wish,
    ) -> Result<(), ()> {
        let (session, direct) = self.direct(id).ok_or(())?;
        if direct.step != Step::Idle {
            return Err(());
        }
        let offer = direct.passing.pass(description).map_err(|_| ())?;
        let body = Some(Body::sdp(offer));
        let sent = self.agent.reinvite(now, session, Headers::new(), body);
        sent.map_err(|_| ())?;
        self.set_step(id, Step::Offered(wish));
        Ok(())
    }

    /// Answers a party's re-INVITE with what its partner described.
    fn answer_to(&mut self, now: Instant, id: CallId, description: &[u8]) -> Result<(), ()> {
        let (session, direct) = self.direct(id).ok_or(())?;
        let body = Some(Body::sdp(direct.passing.pass(description).map_err(|_| ())?));
        let sent = self.agent.answer(now, session, Headers::new(), body);
        sent.map_err(|_| ())
    }

    /// Acknowledges a party's 2xx with what its partner described.
    fn acknowledge_to(&mut self, now: Instant, id: CallId, description: &[u8]) -> Result<(), ()> {
        let (session, direct) = self.direct(id).ok_or(())?;
        let body = Some(Body::sdp(direct.passing.pass(description).map_err(|_| ())?));
        let sent = self.agent.acknowledge(now, session, Headers::new(), body);
        sent.map_err(|_| ())
    }

    /// A party changes its session: its partner decides.
    pub(super) fn direct_reinvite(&mut self, now: Instant, id: CallId, request: &Message) {
        let Some((session, direct)) = self.direct(id) else {
            return;
        };
        let offer = request.description();
        let known = offer.is_empty() || direct.passing.note(&offer).is_ok();
        let Some(partner) = direct.partner.filter(|_| known) else {
            return self.refuse(now, session, StatusCode::NOT_ACCEPTABLE_HERE);
        };
        let asked = match offer.is_empty() {
            true => self.ask_for_offer(now, partner),
            false => self.offer_to(now, partner, &offer, Wish::Theirs),
        };
        if asked.is_err() {
            self.refuse(now, session, StatusCode::REQUEST_PENDING);
        }
    }

    fn ask_for_offer(&mut self, now: Instant, id: CallId) -> Result<(), ()> {
        let (session, direct) = self.direct(id).ok_or(())?;
        if direct.step != Step::Idle {
            return Err(());
        }
        let sent = self.agent.reinvite(now, session, Headers::new(), None);
        sent.map_err(|_| ())?;
        self.set_step(id, Step::Asked(Wish::Theirs));
        Ok(())
    }

    /// Shows a party again what it knows, so that its side sees us alive (RFC 4028 §7.4).
    pub(super) fn refresh_direct(&mut self, now: Instant, id: CallId) {
        let Some((session, direct)) = self.direct(id) else {
            return;
        };
        let shown = direct
            .passing
            .shown()
            .map(|shown| Body::sdp(shown.to_owned()));
        if direct.step != Step::Idle || shown.is_none() {
            return;
        }
        let sent = self.agent.reinvite(now, session, Headers::new(), shown);
        if sent.is_ok() {
            self.set_step(id, Step::Refreshed);
        }
    }

    /// A party has confirmed our answer; where that was its partner's offer, it brings the answer.
    pub(super) fn direct_acked(&mut self, now: Instant, id: CallId, ack: &Message) {
        let Some(partner) = self.partner_of(id) else {
            return;
        };
        let waits = self
            .direct(partner)
            .is_some_and(|(_, it)| it.step == Step::Confirmed);
        if waits {
            self.set_step(partner, Step::Idle);
            let answered = self.acknowledge_to(now, partner, &ack.description());
            if answered.is_err() {
                self.end_for(now, partner, EndReason::Incompatible, Cause::incompatible());
            }
        }
    }

    /// An exchange came to nothing: whoever waits for it is told.
    pub(super) fn direct_failed(&mut self, now: Instant, id: CallId, status: StatusCode) {
        let Some((_, direct)) = self.direct(id) else {
            return;
        };
        let step = std::mem::replace(&mut direct.step, Step::Idle);
        let partner = direct.partner;
        let failed = CallEvent::RenegotiationFailed {
            status: status.code(),
        };
        match (step, partner) {
            (Step::Offered(Wish::Ours(offer)), Some(partner)) => {
                // The ACK that it waits for has to have an answer.
                let _over = self.hold_direct(now, partner, &offer);
                self.part_direct(id);
                self.emit(partner, failed);
            }
            (Step::Asked(Wish::Theirs) | Step::Offered(Wish::Theirs), Some(partner)) => {
                if let Some((session, _)) = self.direct(partner) {
                    self.refuse(now, session, status);
                }
            }
            (Step::Refreshed, _) => {}
            _ => {
                self.part_direct(id);
                self.emit(id, failed);
            }
        }
    }

    fn part_direct(&mut self, id: CallId) {
        if let Some(partner) = self.partner_of(id) {
            self.set_partner(partner, None);
        }
        self.set_partner(id, None);
    }

    /// A party is gone: what its partner waits for does not come.
    pub(super) fn leave_partner(&mut self, now: Instant, id: CallId) {
        let direct = self.calls.get_mut(&id).and_then(|call| call.direct.take());
        let Some(Direct {
            partner: Some(partner),
            step,
            ..
        }) = direct.map(|direct| *direct)
        else {
            return;
        };
        self.set_partner(partner, None);
        let gone = StatusCode::TEMPORARILY_UNAVAILABLE;
        match step {
            Step::Offered(Wish::Ours(offer)) => {
                let _over = self.hold_direct(now, partner, &offer);
                self.emit(
                    partner,
                    CallEvent::RenegotiationFailed {
                        status: gone.code(),
                    },
                );
            }
            Step::Asked(Wish::Theirs) | Step::Offered(Wish::Theirs) => {
                if let Some((session, _)) = self.direct(partner) {
                    self.refuse(now, session, gone);
                }
            }
            _ => {}
        }
    }
}
