//! What the SIP agent tells, turned into the course of calls.

use crate::call::cause::{Cause, EndReason};
use crate::call::details::{Details, MAX_VALUES};
use crate::call::keys::Source;
use crate::engine::core::call::{CallState, Ending, Stage};
use crate::engine::core::{Core, next};
use crate::engine::event::{CallEnd, CallError, CallEvent, Caller, Event, PlayEnd, Sent};
use crate::id::{CallId, ListenerId};
use crate::media::leg::LegReport;
use crate::sdp::negotiate::Recorded;
use crate::sdp::negotiate::error::NegotiationError;
use crate::sdp::negotiate::state::State;
use crate::sip::agent::command::{Headers, SessionId};
use crate::sip::agent::event::{Cause as AgentCause, Event as AgentEvent, Failure};
use crate::sip::header::Name;
use crate::sip::header::reason::Reason;
use crate::sip::message::Message;
use crate::sip::siprec::session as siprec;
use crate::sip::status::StatusCode;
use crate::time::{Duration, Instant};

/// The end of a prompt of which nothing is known.
const UNHEARD: PlayEnd = PlayEnd {
    finished: false,
    played: Duration::ZERO,
};

impl Core {
    /// Takes everything that the agent has to tell.
    pub(super) fn take_signalling(&mut self, now: Instant) {
        self.now = now;
        while let Some(event) = self.agent.poll_event() {
            self.handle_signalling(now, event);
        }
        while let Some(change) = self.agent.poll_binding() {
            self.events.push_back(Event::Binding(Box::new(change)));
        }
        self.run_passages(now);
    }

    fn handle_signalling(&mut self, now: Instant, event: AgentEvent) {
        let Some(event) = self.pass_on(now, event) else {
            return;
        };
        match event {
            AgentEvent::Incoming {
                session,
                request,
                source,
                listener,
                user,
                domains,
                ..
            } => {
                self.handle_incoming(
                    now,
                    session,
                    Caller {
                        invite: request,
                        source,
                        user,
                        replaces: None,
                        joins: None,
                        trusted: false,
                        details: Details::default(),
                        trunk: None,
                        domains,
                        recorded: None,
                    },
                    listener,
                );
            }
            AgentEvent::Provisional {
                session,
                response,
                reliable,
            } => {
                self.with_call(session, |core, id| {
                    core.handle_progress(now, id, &response, reliable);
                    core.carry_progress(id, &response);
                });
            }
            AgentEvent::ProvisionalAcked { session, described } => {
                self.with_call(session, |core, id| {
                    core.handle_provisional_ack(id, described)
                });
            }
            AgentEvent::Answered {
                session,
                response,
                acknowledge,
            } => {
                self.with_call(session, |core, id| {
                    core.talk_at_trunk(now, id);
                    core.handle_answer(now, id, &response, acknowledge);
                    core.carry_answer(now, id, &response);
                });
            }
            AgentEvent::Acked { session, request } => {
                self.with_call(session, |core, id| {
                    core.handle_ack(now, id, &request);
                    core.touch_passage_of(id);
                });
            }
            AgentEvent::Reinvite { session, request } => {
                self.with_call(session, |core, id| core.handle_reinvite(now, id, &request));
            }
            AgentEvent::ReinviteCancelled { session } => {
                self.with_call(session, |core, id| core.roll_back(id));
            }
            AgentEvent::ReinviteAnswered {
                session,
                response,
                acknowledge,
            } => {
                self.with_call(session, |core, id| {
                    core.handle_reinvite_answer(now, id, &response, acknowledge);
                });
            }
            AgentEvent::ReinviteFailed { session, status } => {
                self.with_call(session, |core, id| {
                    core.handle_reinvite_failure(now, id, status)
                });
            }
            AgentEvent::Info { session, request } => {
                self.with_call(session, |core, id| core.handle_info(now, id, &request));
            }
            AgentEvent::Request {
                session,
                ticket,
                request,
            } => self.handle_request(now, session, ticket, &request),
            AgentEvent::RequestAnswered {
                session,
                request,
                result,
            } => {
                self.with_call(session, |core, id| {
                    core.handle_requested(id, request, &result)
                });
            }
            AgentEvent::RefreshDue { session } => {
                self.with_call(session, |core, id| core.refresh(now, id));
            }
            AgentEvent::Ended { session, cause } => {
                if let Some(id) = self.sessions.remove(&session) {
                    let farewell = self.farewell_of(id, &cause);
                    let failed = is_failure(&cause);
                    self.handle_session_end(now, id, cause);
                    self.leave_trunk(now, id, failed);
                    self.carry_end(now, id, farewell);
                }
            }
            AgentEvent::InfoAnswered { session, status } => {
                self.with_call(session, |core, id| core.handle_info_answer(now, id, status));
            }
            AgentEvent::Registration {
                registration,
                state,
            } if !self.hear_of_registration(now, registration, &state) => {
                self.events.push_back(Event::Registration {
                    registration,
                    state,
                });
            }
            AgentEvent::Health(change) => {
                let others = self.hear_of_trunk(now, change);
                self.events.extend(others.map(Event::Health));
            }
            AgentEvent::Message {
                ticket,
                request,
                source,
                user,
            } => self.events.push_back(Event::Message {
                ticket,
                request,
                source,
                user,
            }),
            AgentEvent::MessageDone { message, result } => {
                self.message_done(Sent::Apart(message), &result);
            }
            AgentEvent::Subscription {
                subscription,
                state,
            } => self.events.push_back(Event::Subscription {
                subscription,
                state,
            }),
            AgentEvent::Notified {
                subscription,
                notifier,
                request,
            } => self.events.push_back(Event::Notified {
                subscription,
                notifier,
                request,
            }),
            AgentEvent::SubscriptionWaits(waiting) => {
                self.events.push_back(Event::SubscriptionWaits(waiting));
            }
            AgentEvent::Publication { publication, state } => {
                self.events
                    .push_back(Event::Publication { publication, state });
            }
            // The final answer to OPTIONS changes nothing in a call.
            _ => {}
        }
    }

    fn with_call(&mut self, session: SessionId, handle: impl FnOnce(&mut Self, CallId)) {
        if let Some(id) = self.sessions.get(&session).copied() {
            handle(self, id);
        }
    }

    fn handle_incoming(
        &mut self,
        now: Instant,
        session: SessionId,
        caller: Caller,
        listener: Option<ListenerId>,
    ) {
        let named = self
            .replaced_by(&caller.invite)
            .and_then(|replaces| Ok((replaces, self.joined_by(&caller.invite)?)));
        let (replaces, joins) = match named {
            Ok(named) => named,
            Err(status) => return self.refuse(now, session, status),
        };
        let at = listener.and_then(|id| self.config.listeners.get(usize::from(id.0)));
        let full = self.calls.len() >= self.config.max_calls;
        let trusted = self.is_trusted(at, caller.source.ip());
        if at.is_some_and(|at| at.passes_media) && !full {
            return match replaces.or(joins) {
                Some(_) => self.refuse(now, session, StatusCode::CALL_TRANSACTION_DOES_NOT_EXIST),
                None => self.take_in_passing(now, session, caller, trusted),
            };
        }
        if siprec::comes_from_client(&caller.invite) && !full {
            return match replaces.or(joins) {
                Some(_) => self.refuse(now, session, StatusCode::CALL_TRANSACTION_DOES_NOT_EXIST),
                None => self.take_in_recording(now, session, caller, listener, trusted),
            };
        }
        let Some(port) = (!full).then(|| self.take_port()).flatten() else {
            self.counters.refused_full += 1;
            self.refuse(now, session, StatusCode::SERVICE_UNAVAILABLE);
            return;
        };
        let sdp = self.new_negotiator();
        let at = listener.and_then(|id| self.config.listeners.get(usize::from(id.0)));
        let hidden = at.is_some_and(|listener| listener.transport.is_secure());
        let security = self.new_security(at.and_then(|at| at.media_security), hidden);
        let mut call = CallState::new(session, Stage::Offered, sdp, now);
        call.port = Some(port);
        call.replaces = replaces;
        call.trusted = trusted;
        call.hint = Some(caller.source.ip());
        call.security = security;
        call.told_record = siprec::wants_to_know(&caller.invite).then_some(Recorded::Off);
        let offer = caller.invite.description();
        if !offer.is_empty() {
            let mut local = self.local_media(port, false, &call.security, None);
            local.record = call.told_record;
            let answered = call
                .sdp
                .handle_offer(&offer)
                .and_then(|()| call.sdp.answer(&local));
            match answered {
                Ok((answer, agreed)) => {
                    call.answer = Some(answer);
                    call.agreed = Some(agreed);
                }
                Err(error) => {
                    self.counters.refused_media += 1;
                    self.give_port_back(port);
                    self.refuse(now, session, sip_status(&error));
                    return;
                }
            }
        }
        let trunk = self.trunk_of(&caller);
        let permit = match self.count_caller(now, trunk) {
            Ok(permit) => permit,
            Err(status) => {
                self.give_port_back(port);
                return self.refuse(now, session, status);
            }
        };
        let id = CallId(next(&mut self.minted.calls));
        self.sessions.insert(session, id);
        self.calls.insert(id, call);
        self.count_at_trunk(permit, Some(id));
        self.take_data(now, id, &caller.invite);
        let (invite, details) = self.read_details(caller.invite, trusted);
        let caller = Caller {
            invite,
            replaces,
            joins,
            trusted,
            details,
            trunk,
            ..caller
        };
        self.show_caller(now, id, &caller);
        self.events.push_back(Event::Incoming {
            call: id,
            caller: Box::new(caller),
        });
    }

    /// Refuses an INVITE or re-INVITE that nobody was told of.
    pub(super) fn refuse(&mut self, now: Instant, session: SessionId, status: StatusCode) {
        // It fails only where the caller has given up already.
        let _over = self
            .agent
            .reject(now, session, status, refusal_headers(status));
    }

    /// The dialled party answered.
    fn handle_answer(&mut self, now: Instant, id: CallId, response: &Message, acknowledge: bool) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        call.stage = Stage::Up;
        call.answered = Some(now);
        call.redirects = None;
        if call.siprec.is_some() {
            return self.remote_answered(now, id, response);
        }
        call.told_record = siprec::wants_to_know(response).then_some(Recorded::Off);
        self.tell_details(id, response);
        self.take_data(now, id, response);
        let agreed = match (self.is_direct(id), acknowledge) {
            (true, true) => self.hold_direct(now, id, &response.description()),
            (false, false) => self.settle_answer(now, id, response),
            _ => Err(()),
        };
        match agreed {
            Ok(()) => {
                self.emit(id, CallEvent::Answered);
                self.follow(now, id, StatusCode::OK.code());
            }
            Err(()) => self.end_for(now, id, EndReason::Incompatible, Cause::incompatible()),
        }
    }

    /// The caller confirmed our answer, or the peer confirmed our answer to its re-INVITE.
    fn handle_ack(&mut self, now: Instant, id: CallId, ack: &Message) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        if call.direct.is_some() {
            return self.direct_acked(now, id, ack);
        }
        if call.siprec.is_some() {
            return self.siprec_acked(now, id, ack);
        }
        let waits_for_answer = call.sdp.state() == State::LocalOffer;
        let first = call.stage == Stage::Confirming;
        if waits_for_answer && self.accept_answer(now, id, &ack.description()).is_err() {
            self.end_for(now, id, EndReason::Incompatible, Cause::incompatible());
            return;
        }
        let Some(call) = self.calls.get_mut(&id).filter(|_| first) else {
            return;
        };
        call.stage = Stage::Up;
        call.answered = Some(now);
        self.emit(id, CallEvent::Answered);
        self.complete_replacement(now, id);
        self.tell_recorded(now, id);
    }

    fn handle_info(&mut self, now: Instant, id: CallId, request: &Message) {
        if self.take_told(now, id, request) {
            return;
        }
        let content_type = request
            .header(Name::ContentType)
            .map(|h| h.text().into_owned())
            .unwrap_or_default();
        let body = request.body();
        if let Some((digit, duration)) = crate::call::info::digit_of(&content_type, &body) {
            self.handle_press(now, id, digit, Source::Info);
            self.handle_release(now, id, digit, duration, Source::Info);
        }
        self.emit(id, CallEvent::Info { content_type, body });
    }

    fn handle_session_end(&mut self, now: Instant, id: CallId, cause: AgentCause) {
        if self.go_elsewhere(now, id, &cause) {
            return;
        }
        self.end_collection(now, id);
        self.leave_partner(now, id);
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let (reason, reasons) = read_cause(cause);
        let remote_cause = cause_of(&reasons);
        let followed = match reason {
            EndReason::Refused(status) => status,
            EndReason::TimedOut => StatusCode::REQUEST_TIMEOUT.code(),
            EndReason::Unreachable => StatusCode::SERVICE_UNAVAILABLE.code(),
            _ => StatusCode::REQUEST_TERMINATED.code(),
        };
        let (follows, leg) = (call.follows.take(), call.leg);
        let reason = call.verdict.take().unwrap_or(reason);
        let told = reason.clone();
        call.ending = Some(Ending {
            reason,
            remote_cause,
            reasons,
            at: now,
        });
        self.stop_remotes_of(now, id);
        self.remote_lost(now, id, &told);
        match leg {
            Some(leg) => self.placement.remove_leg(leg),
            None if self.remove_streams(id) => self.finish(id, None),
            // Its legs are on their way out.
            None => {}
        }
        if let Some(referrer) = follows {
            self.end_referral(now, referrer, followed);
        }
    }

    /// The session is over and media has let the leg go: the call ends.
    pub(super) fn finish(&mut self, id: CallId, media: Option<LegReport>) {
        self.drop_data(id);
        let Some(call) = self.calls.remove(&id) else {
            return;
        };
        if let Some(port) = call.port {
            self.give_port_back(port);
        }
        if let Some(recording) = call.recording {
            self.end_recording(recording);
        }
        if let Some(room) = call.room {
            self.forget_member(room, id, call.rate);
        }
        // Prompts that never reached media, or whose end was not told.
        for play in call.plays {
            self.plays.remove(&play);
            self.emit(id, CallEvent::PlayEnded { play, end: UNHEARD });
        }
        let Some(ending) = call.ending else {
            return;
        };
        let end = CallEnd {
            reason: ending.reason,
            remote_cause: ending.remote_cause,
            reasons: ending.reasons,
            started: call.started,
            answered: call.answered,
            ended: ending.at,
            media,
        };
        self.emit(id, CallEvent::Ended(Box::new(end)));
    }

    /// Judges an SDP answer against our offer and puts what is agreed to work.
    pub(super) fn accept_answer(
        &mut self,
        now: Instant,
        id: CallId,
        body: &[u8],
    ) -> Result<(), CallError> {
        let call = self.calls.get_mut(&id).ok_or(CallError::Gone)?;
        let agreed = call.sdp.handle_answer(body);
        call.agreed = Some(agreed.map_err(|error| CallError::Invalid(error.to_string()))?);
        self.apply_agreement(now, id);
        Ok(())
    }
}

/// What goes with a refusal: when to try again, where that makes sense.
pub(super) fn refusal_headers(status: StatusCode) -> Headers {
    let busy = status == StatusCode::SERVICE_UNAVAILABLE;
    let retry = busy.then(|| ("Retry-After".into(), "5".into()));
    retry.into_iter().collect()
}

/// The SIP status for an offer that cannot be answered.
pub(super) fn sip_status(error: &NegotiationError) -> StatusCode {
    error
        .status()
        .and_then(StatusCode::new)
        .unwrap_or(StatusCode::NOT_ACCEPTABLE_HERE)
}

/// Whether a session ended because nothing works where it went to.
fn is_failure(cause: &AgentCause) -> bool {
    match cause {
        AgentCause::Failed(_) => true,
        AgentCause::Rejected { response } => {
            let status = response.status().map_or(0, StatusCode::code);
            matches!(status, 408 | 502..=504)
        }
        _ => false,
    }
}

/// What the end of a session means for its call.
fn read_cause(cause: AgentCause) -> (EndReason, Vec<Reason>) {
    match cause {
        AgentCause::LocalBye => (EndReason::LocalHangup, Vec::new()),
        AgentCause::RemoteBye { request } => (EndReason::RemoteHangup, reasons_of(&request)),
        AgentCause::LocalCancel => (EndReason::Abandoned, Vec::new()),
        AgentCause::RemoteCancel { request } => (EndReason::Cancelled, reasons_of(&request)),
        AgentCause::LocalReject { status } => (EndReason::Rejected(status.code()), Vec::new()),
        AgentCause::Rejected { response } => {
            let status = response.status().map_or(0, StatusCode::code);
            (EndReason::Refused(status), reasons_of(&response))
        }
        AgentCause::NoAnswer | AgentCause::NoAck | AgentCause::NoPrack => {
            (EndReason::TimedOut, Vec::new())
        }
        AgentCause::SessionExpired => (EndReason::SessionExpired, Vec::new()),
        AgentCause::DialogLost => (EndReason::RemoteHangup, Vec::new()),
        AgentCause::Failed(Failure::Timeout) => (EndReason::TimedOut, Vec::new()),
        AgentCause::Failed(_) => (EndReason::Unreachable, Vec::new()),
    }
}

/// The Reason values of a message (RFC 3326).
fn reasons_of(message: &Message) -> Vec<Reason> {
    let reasons = message.reasons().take(MAX_VALUES);
    reasons.filter_map(Result::ok).collect()
}

/// The Q.850 cause among them.
fn cause_of(reasons: &[Reason]) -> Option<Cause> {
    reasons.iter().find_map(|reason| {
        let q850 = reason.cause().filter(|_| reason.is_of("Q.850"))?;
        let text = reason.text().unwrap_or_default();
        Some(Cause::new(u8::try_from(q850).ok()?, text))
    })
}
