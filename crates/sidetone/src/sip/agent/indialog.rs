//! Within a session: BYE, re-INVITE with glare, INFO, both ways (RFC 3261 §12.2, §14, §15).

use super::command::{Body, CommandError, Headers, SessionId};
use super::draft::{self, Draft};
use super::event::{Cause, Event, Failure};
use super::options::NONE;
use super::reply::Refusal;
use super::session::{AckWanted, ClientInvite, Clock, Glare};
use super::{Agent, Arrival, Owner, Part};
use crate::sip::dialog::State;
use crate::sip::header::Name;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::status::StatusCode;
use crate::sip::transaction::key::ServerKey;
use crate::sip::transaction::layer::TransactionId;
use crate::time::{Duration, Instant};

impl Agent {
    /// Hangs up an answered session. It ends at once; the BYE follows by itself, after the ACK
    /// where that has not come yet (RFC 3261 §15).
    ///
    /// # Errors
    /// [`CommandError::WrongState`] where the session is not answered; see
    /// [`hang_up`](Self::hang_up).
    pub fn bye(
        &mut self,
        now: Instant,
        id: SessionId,
        headers: Headers,
    ) -> Result<(), CommandError> {
        draft::check(&headers, None)?;
        if !self.open_session(id)?.is_confirmed() {
            return Err(CommandError::WrongState);
        }
        self.leave(now, id, headers);
        self.end(id, Cause::LocalBye);
        self.forget_if_spent(id);
        self.flush(now);
        Ok(())
    }

    /// Ends a session by what its state asks for: BYE when answered, CANCEL for our own INVITE, 480
    /// for the peer's. `headers`, such as a Reason (RFC 3326), go with it.
    ///
    /// # Errors
    /// [`CommandError::NoSuchSession`] where it has ended already.
    pub fn hang_up(
        &mut self,
        now: Instant,
        id: SessionId,
        headers: Headers,
    ) -> Result<(), CommandError> {
        let session = self.open_session(id)?;
        if session.is_confirmed() {
            return self.bye(now, id, headers);
        }
        if session.client.is_some() {
            return self.cancel(now, id, headers);
        }
        self.reject(now, id, StatusCode::TEMPORARILY_UNAVAILABLE, headers)
    }

    /// Offers a change of the session with a re-INVITE; without a body the peer is asked for an
    /// offer. Glare (491) is handled by trying again after the RFC's pause.
    ///
    /// # Errors
    /// [`CommandError::Pending`] while another INVITE of either side is under way.
    pub fn reinvite(
        &mut self,
        now: Instant,
        id: SessionId,
        headers: Headers,
        body: Option<Body>,
    ) -> Result<(), CommandError> {
        draft::check(&headers, body.as_ref())?;
        let session = self.open_session(id)?;
        if !session.is_confirmed() {
            return Err(CommandError::WrongState);
        }
        if session.invite_under_way() {
            return Err(CommandError::Pending);
        }
        session.glare_retries = 0;
        self.send_reinvite(now, id, headers, body);
        self.flush(now);
        Ok(())
    }

    /// Sends an INFO within an answered session; [`Event::InfoAnswered`] tells how it went.
    ///
    /// # Errors
    /// [`CommandError::WrongState`] where the session is not answered.
    pub fn info(
        &mut self,
        now: Instant,
        id: SessionId,
        headers: Headers,
        body: Option<Body>,
    ) -> Result<(), CommandError> {
        draft::check(&headers, body.as_ref())?;
        let session = self.open_session(id)?;
        if !session.is_confirmed() {
            return Err(CommandError::WrongState);
        }
        self.send_in_dialog(now, id, Method::Info, Part::Info, headers, body);
        self.flush(now);
        Ok(())
    }

    /// The session of a request by its tags and Call-ID; it may have ended for its user.
    pub(super) fn session_of(&self, request: &Message) -> Option<SessionId> {
        let to = request.to().ok()?;
        let tag = to.tag().filter(|tag| tag.len() == 16)?;
        let id = *self.tags.get(&u64::from_str_radix(tag, 16).ok()?)?;
        let session = self.sessions.get(&id)?;
        let from = request.from().ok()?;
        let (call_id, remote) = (request.call_id().ok()?, from.tag().unwrap_or_default());
        let dialogs = session.dialog.iter().chain(&session.early);
        dialogs
            .into_iter()
            .any(|dialog| dialog.matches(call_id, remote))
            .then_some(id)
    }

    /// A request with a To tag (RFC 3261 §12.2.2).
    pub(super) fn on_dialog_request(
        &mut self,
        now: Instant,
        arrival: Arrival,
        request: &Message,
        method: &Method,
        key: ServerKey,
    ) {
        let Some(id) = self.session_of(request) else {
            match method {
                Method::Options => return self.answer_options(now, arrival, request),
                Method::Notify => return self.on_notify(now, arrival, request, key),
                Method::Subscribe => return self.on_resubscribe(now, arrival, request, key),
                _ => {}
            }
            let status = StatusCode::CALL_TRANSACTION_DOES_NOT_EXIST;
            return self.refuse(now, arrival, request, &Refusal::new(status));
        };
        let Some(session) = self.session(id) else {
            return;
        };
        let ended = session.ended;
        let number = request.cseq().map_or(0, |cseq| cseq.number());
        let tag = request.from().ok();
        let tag = tag.as_ref().and_then(|from| from.tag());
        let mut dialogs = session.dialog.iter_mut().chain(&mut session.early);
        let dialog = dialogs.find(|dialog| dialog.remote_tag() == tag.unwrap_or_default());
        let ordered = dialog.is_none_or(|dialog| dialog.check_sequence(number).is_ok());
        if !ordered {
            let answer = super::uas::out_of_turn(self.rng.below(11));
            self.counters.rejected_out_of_turn += 1;
            return self.reply_in_session(now, id, arrival, request, key, &answer);
        }
        if let Some(session) = self.session(id) {
            session.learn_identity(request);
        }
        match method {
            Method::Bye => self.on_bye(now, id, arrival, request, key),
            _ if ended => {
                let status = StatusCode::CALL_TRANSACTION_DOES_NOT_EXIST;
                self.reply_in_session(now, id, arrival, request, key, &Refusal::new(status));
            }
            Method::Options => self.answer_options(now, arrival, request),
            Method::Info => self.on_info(now, id, arrival, request, key),
            Method::Invite => self.on_reinvite(now, id, arrival, request, key),
            Method::Update | Method::Refer | Method::Notify | Method::Message => {
                self.on_asked(now, id, arrival, request, key)
            }
            Method::Prack => self.on_prack(now, id, arrival, request, key),
            // Subscriptions within the dialogs of calls are what RFC 6665 §4.5.1 has done away with,
            // but for those that REFER makes.
            _ => {
                let refusal = Refusal::new(StatusCode::FORBIDDEN);
                self.reply_in_session(now, id, arrival, request, key, &refusal);
            }
        }
    }

    /// A BYE ends the session, also one that is not answered yet: pending INVITEs get 487
    /// (RFC 3261 §15.1.2). Crossing our own BYE it gets 200 all the same.
    fn on_bye(
        &mut self,
        now: Instant,
        id: SessionId,
        arrival: Arrival,
        request: &Message,
        key: ServerKey,
    ) {
        self.reply_in_session(
            now,
            id,
            arrival,
            request,
            key,
            &Refusal::new(StatusCode::OK),
        );
        if let Some(session) = self.session(id) {
            session.farewell_sent = true;
            session.bye_wanted = None;
        }
        self.wind_up(now, id);
        self.end(
            id,
            Cause::RemoteBye {
                request: request.clone(),
            },
        );
        self.forget_if_spent(id);
    }

    /// What is under way in a session that ends is answered, given up or forgotten.
    fn wind_up(&mut self, now: Instant, id: SessionId) {
        let Some(session) = self.session(id) else {
            return;
        };
        session.ack_wanted = None;
        session.glare = None;
        session.stop_clock(Clock::GlareRetry);
        if let Some(server) = &session.server {
            let cause = Cause::LocalReject {
                status: StatusCode::REQUEST_TERMINATED,
            };
            // The caller's BYE is the cause of the end, and comes right after this.
            let initial = server.initial;
            if initial {
                self.respond(now, id, StatusCode::REQUEST_TERMINATED, NONE, None);
                if let Some(session) = self.session(id) {
                    session.server = None;
                    session.stop_clock(Clock::RingTimeout);
                    session.stop_clock(Clock::KeepRinging);
                    session.stop_reliable();
                }
            } else {
                self.turn_down(now, id, StatusCode::REQUEST_TERMINATED, NONE, cause);
            }
        }
        self.answer_overdue(now, id, true);
        self.give_up_invite(now, id, Headers::new());
    }

    fn on_info(
        &mut self,
        now: Instant,
        id: SessionId,
        arrival: Arrival,
        request: &Message,
        key: ServerKey,
    ) {
        if request.header(Name::InfoPackage).is_some() {
            let answer = Refusal::with(StatusCode::BAD_INFO_PACKAGE, Name::RecvInfo, "");
            self.counters.rejected_unsupported += 1;
            return self.reply_in_session(now, id, arrival, request, key, &answer);
        }
        self.reply_in_session(
            now,
            id,
            arrival,
            request,
            key,
            &Refusal::new(StatusCode::OK),
        );
        self.emit(
            id,
            Event::Info {
                session: id,
                request: request.clone(),
            },
        );
    }

    /// A re-INVITE while another INVITE is under way is out of turn: 491 where the other is ours,
    /// 500 where it is the peer's (RFC 3261 §14.2).
    fn on_reinvite(
        &mut self,
        now: Instant,
        id: SessionId,
        arrival: Arrival,
        request: &Message,
        key: ServerKey,
    ) {
        let retry = self.rng.below(11);
        let Some(session) = self.session(id) else {
            return;
        };
        let refusal = if session.server.is_some() || session.is_offered_by_update() {
            Some(super::uas::out_of_turn(retry))
        } else if session.client.is_some()
            || session.accept.is_some()
            || session.ack_wanted.is_some()
            || session.is_offering_by_update()
        {
            Some(Refusal::new(StatusCode::REQUEST_PENDING))
        } else {
            None
        };
        if let Some(refusal) = refusal {
            self.counters.rejected_out_of_turn += 1;
            return self.reply_in_session(now, id, arrival, request, key, &refusal);
        }
        if let Some(refusal) = self.too_short_an_interval(request) {
            return self.reply_in_session(now, id, arrival, request, key, &refusal);
        }
        if self.take_invite(now, id, arrival, request, key, false) {
            self.emit(
                id,
                Event::Reinvite {
                    session: id,
                    request: request.clone(),
                },
            );
        }
    }

    pub(super) fn send_bye(&mut self, now: Instant, id: SessionId, headers: Headers) {
        if let Some(session) = self.session(id) {
            session.farewell_sent = true;
        }
        self.send_in_dialog(now, id, Method::Bye, Part::Farewell, headers, None);
    }

    /// Sends what is due when we leave a confirmed session: an ACK that waits, answers that wait,
    /// and the BYE, or after the ACK.
    pub(super) fn leave(&mut self, now: Instant, id: SessionId, headers: Headers) {
        let Some(session) = self.session(id).filter(|session| !session.farewell_sent) else {
            return;
        };
        if let Some(wanted) = session.ack_wanted.take() {
            let AckWanted {
                transaction,
                sequence,
            } = wanted;
            self.send_ack(now, id, transaction, sequence, Headers::new(), None);
        }
        self.wind_up(now, id);
        let Some(session) = self.session(id) else {
            return;
        };
        if session.accept.as_ref().is_some_and(|accept| accept.initial) {
            session.bye_wanted = Some(headers);
            return;
        }
        self.send_bye(now, id, headers);
    }

    pub(super) fn send_in_dialog(
        &mut self,
        now: Instant,
        id: SessionId,
        method: Method,
        part: Part,
        headers: Headers,
        body: Option<Body>,
    ) {
        let Some(session) = self.session(id) else {
            return;
        };
        let listener = session.listener;
        let Some(dialog) = &mut session.dialog else {
            return;
        };
        let sequence = dialog.next_sequence();
        let is_update = method == Method::Update;
        let confirmed = dialog.state() == State::Confirmed;
        let mut draft = Draft::in_dialog(dialog, method, sequence, listener).with(headers, body);
        draft.contact_parameters = session.features.to_owned();
        if is_update && confirmed {
            draft.timer = session.timer.headers();
        }
        self.send_request(now, Owner::Session(id, part), draft);
    }

    fn send_reinvite(&mut self, now: Instant, id: SessionId, headers: Headers, body: Option<Body>) {
        let ringing = self.config.ring_timeout;
        let Some(session) = self.session(id) else {
            return;
        };
        let listener = session.listener;
        let Some(dialog) = &mut session.dialog else {
            return;
        };
        let sequence = dialog.next_sequence();
        let mut draft =
            Draft::in_dialog(dialog, Method::Invite, sequence, listener).with(headers, body);
        draft.contact_parameters = session.features.to_owned();
        draft.timer = session.timer.headers();
        session.client = Some(Box::new(ClientInvite::new(draft.clone(), false)));
        self.set_clock(id, Clock::RingTimeout, now + ringing);
        self.send_request(now, Owner::Session(id, Part::Reinvite), draft);
    }

    pub(super) fn reinvite_accepted(
        &mut self,
        now: Instant,
        id: SessionId,
        transaction: TransactionId,
        response: &Message,
    ) {
        let tag = super::uac::remote_tag(response);
        if self.repeat_ack(now, id, transaction, &tag) {
            return;
        }
        let Some(session) = self.session(id) else {
            return;
        };
        if session
            .ack_wanted
            .as_ref()
            .is_some_and(|wanted| wanted.transaction == transaction)
        {
            return;
        }
        let Some(client) = session.client.take() else {
            return;
        };
        session.stop_clock(Clock::RingTimeout);
        session.stop_clock(Clock::CancelOverdue);
        if let Some(dialog) = &mut session.dialog {
            dialog.refresh_target(response);
        }
        let sequence = client.draft.sequence;
        let acknowledge =
            !session.ended && client.draft.body.is_none() && !response.body().is_empty();
        if acknowledge {
            session.ack_wanted = Some(AckWanted {
                transaction,
                sequence,
            });
        } else {
            self.send_ack(now, id, transaction, sequence, Headers::new(), None);
        }
        self.timer_answered(now, id, response);
        let response = response.clone();
        self.emit(
            id,
            Event::ReinviteAnswered {
                session: id,
                response,
                acknowledge,
            },
        );
    }

    /// A refused re-INVITE changes nothing, but 481 and 408 end the session (RFC 3261 §14.1).
    pub(super) fn reinvite_refused(&mut self, now: Instant, id: SessionId, status: StatusCode) {
        let max = self.config.max_glare_retries;
        let pause = self.glare_pause(id);
        let Some(session) = self.session(id) else {
            return;
        };
        session.stop_clock(Clock::RingTimeout);
        session.stop_clock(Clock::CancelOverdue);
        let Some(client) = session.client.take() else {
            return;
        };
        if self.is_fatal(now, id, status) {
            return;
        }
        let Some(session) = self.session(id) else {
            return;
        };
        if status == StatusCode::REQUEST_PENDING && session.glare_retries < max && !session.ended {
            session.glare_retries += 1;
            let Draft { headers, body, .. } = client.draft;
            session.glare = Some(Box::new(Glare {
                headers,
                body,
                outdated: false,
                update: None,
            }));
            return self.set_clock(id, Clock::GlareRetry, now + pause);
        }
        self.emit(
            id,
            Event::ReinviteFailed {
                session: id,
                status,
            },
        );
    }

    pub(super) fn info_answered(&mut self, now: Instant, id: SessionId, status: StatusCode) {
        self.emit(
            id,
            Event::InfoAnswered {
                session: id,
                status,
            },
        );
        self.is_fatal(now, id, status);
    }

    /// 481 and 408 to a request within a session say that the peer has lost it (RFC 3261
    /// §12.2.1.2).
    pub(super) fn is_fatal(&mut self, now: Instant, id: SessionId, status: StatusCode) -> bool {
        let cause = match status {
            StatusCode::CALL_TRANSACTION_DOES_NOT_EXIST => Cause::DialogLost,
            StatusCode::REQUEST_TIMEOUT => Cause::Failed(Failure::Timeout),
            _ => return false,
        };
        if self.open_session(id).is_ok() {
            self.leave(now, id, Headers::new());
            self.end(id, cause);
        }
        true
    }

    /// Ends a session whose peer shows no sign of life.
    pub(super) fn give_session_up(&mut self, now: Instant, id: SessionId, failure: Failure) {
        self.leave(now, id, Headers::new());
        self.end(id, Cause::Failed(failure));
    }

    /// The owner of the Call-ID waits 2.1 to 4 s, the other 0 to 2 s (RFC 3261 §14.1).
    pub(super) fn glare_pause(&mut self, id: SessionId) -> Duration {
        let caller = self.sessions.get(&id).is_some_and(|session| session.caller);
        let units = match caller {
            true => 210 + self.rng.below(191),
            false => self.rng.below(201),
        };
        Duration::from_millis(units * 10)
    }

    pub(super) fn glare_retry(&mut self, now: Instant, id: SessionId) {
        let Some(session) = self.session(id) else {
            return;
        };
        let Some(glare) = session.glare.take() else {
            return;
        };
        if let Some(update) = glare.update {
            return self.update_again(now, id, glare.outdated, update);
        }
        if glare.outdated || session.server.is_some() || session.accept.is_some() {
            let status = StatusCode::REQUEST_PENDING;
            return self.emit(
                id,
                Event::ReinviteFailed {
                    session: id,
                    status,
                },
            );
        }
        let Glare { headers, body, .. } = *glare;
        self.send_reinvite(now, id, headers, body);
    }
}

impl super::session::Session {
    /// Whether the session is answered.
    pub(super) fn is_confirmed(&self) -> bool {
        self.dialog
            .as_ref()
            .is_some_and(|dialog| dialog.state() == State::Confirmed)
    }
}
