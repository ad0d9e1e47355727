//! Provisional responses that are acknowledged: 100rel and PRACK, both roles (RFC 3262).

use super::command::{Body, Headers, SessionId};
use super::config::ReliableProvisional;
use super::draft::Draft;
use super::event::{Cause, Event};
use super::options::NONE;
use super::reply::Refusal;
use super::session::{Clock, ServerInvite, Session};
use super::uac::remote_tag;
use super::{Agent, Arrival, Owner, Part};
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::status::StatusCode;
use crate::sip::transaction::key::ServerKey;
use crate::sip::transport::Path;
use crate::time::{Duration, Instant};
use bytes::Bytes;
use std::collections::VecDeque;

/// Provisional responses that may wait for the PRACK of the one before.
const MAX_QUEUED: usize = 8;

/// The reliable provisional responses to the peer's INVITE.
#[derive(Debug)]
pub(super) struct Reliable {
    /// The RSeq of the next one.
    next: u32,
    /// The one that waits for its PRACK.
    waiting: Option<Waiting>,
    queued: VecDeque<(StatusCode, Headers, Option<Body>)>,
    /// A 200 that waits for the PRACK of a response with a description (RFC 3262 §3).
    answer: Option<(Headers, Option<Body>)>,
    /// A description has gone out reliably, so the 200 needs none.
    described: bool,
    last: StatusCode,
}

/// A reliable provisional response without its PRACK.
#[derive(Debug)]
struct Waiting {
    rseq: u32,
    path: Path,
    bytes: Bytes,
    interval: Duration,
    give_up: Instant,
    describes: bool,
}

impl Agent {
    /// Whether a provisional response with a description would go out reliably, and so may carry the
    /// offer of a call that came without one.
    pub fn answers_reliably(&self, id: SessionId) -> bool {
        let session = self.sessions.get(&id);
        let server = session.and_then(|session| session.server.as_deref());
        server.is_some_and(|server| self.goes_reliably(server, true))
    }

    pub(super) fn goes_reliably(&self, server: &ServerInvite, describes: bool) -> bool {
        if !server.initial {
            return false;
        }
        let required = server.request.require().has("100rel");
        required
            || (server.request.supported().has("100rel")
                && match self.config.reliable_provisional {
                    ReliableProvisional::WhenRequired => false,
                    ReliableProvisional::WithDescription => describes,
                    ReliableProvisional::Always => true,
                })
    }

    /// Sends a provisional response reliably, or after the one that waits for its PRACK.
    pub(super) fn ring_reliably(
        &mut self,
        now: Instant,
        id: SessionId,
        status: StatusCode,
        headers: Headers,
        body: Option<Body>,
    ) {
        let first = 1 + self.rng.below(1 << 30) as u32;
        let Some(session) = self.session(id) else {
            return;
        };
        let reliable = session.reliable.get_or_insert_with(|| {
            Box::new(Reliable {
                next: first,
                waiting: None,
                queued: VecDeque::new(),
                answer: None,
                described: false,
                last: status,
            })
        });
        if reliable.waiting.is_some() {
            // Ringing in between is news that the next one makes old.
            if reliable.queued.len() < MAX_QUEUED {
                reliable.queued.push_back((status, headers, body));
            }
            return;
        }
        self.send_reliably(now, id, status, headers, body);
    }

    fn send_reliably(
        &mut self,
        now: Instant,
        id: SessionId,
        status: StatusCode,
        mut headers: Headers,
        body: Option<Body>,
    ) {
        let (t1, patience) = (self.config.timers.t1, self.config.timers.timeout());
        let Some(reliable) = self.session(id).and_then(|s| s.reliable.as_mut()) else {
            return;
        };
        let rseq = reliable.next;
        reliable.next += 1;
        reliable.last = status;
        headers.push(("Require".into(), "100rel".into()));
        headers.push(("RSeq".into(), rseq.to_string()));
        let sent = self.respond(now, id, status, &headers, body.as_ref());
        let Some((transaction, bytes)) = sent else {
            return;
        };
        let Some(path) = self.transactions.path(transaction) else {
            return;
        };
        if let Some(reliable) = self.session(id).and_then(|s| s.reliable.as_mut()) {
            reliable.described |= body.is_some();
            reliable.waiting = Some(Waiting {
                rseq,
                path,
                bytes,
                interval: t1,
                give_up: now + patience,
                describes: body.is_some(),
            });
        }
        self.set_clock(id, Clock::RepeatReliable, now + t1);
    }

    /// No PRACK yet: the response goes out again, and after 64*T1 the INVITE is refused
    /// (RFC 3262 §3).
    pub(super) fn repeat_reliable(&mut self, now: Instant, id: SessionId) {
        let Some(session) = self.session(id) else {
            return;
        };
        let waiting = session.reliable.as_mut().and_then(|r| r.waiting.as_mut());
        let Some(waiting) = waiting else {
            return;
        };
        if now >= waiting.give_up {
            let status = StatusCode::SERVER_TIME_OUT;
            return self.turn_down(now, id, status, NONE, Cause::NoPrack);
        }
        waiting.interval *= 2;
        let next = (now + waiting.interval).min(waiting.give_up);
        let (path, bytes) = (waiting.path, waiting.bytes.clone());
        self.counters.retransmitted += 1;
        self.send_plain(now, path, bytes);
        self.set_clock(id, Clock::RepeatReliable, next);
    }

    /// Keeps a 200 back until the description that went before it is acknowledged; gives it back
    /// where it may go out now, without a description where one has gone out reliably.
    pub(super) fn answer_in_order(
        &mut self,
        id: SessionId,
        headers: Headers,
        body: Option<Body>,
    ) -> Option<(Headers, Option<Body>)> {
        let session = self.session(id)?;
        let initial = session.server.as_ref().is_some_and(|s| s.initial);
        let Some(reliable) = session.reliable.as_mut().filter(|_| initial) else {
            return Some((headers, body));
        };
        let body = body.filter(|_| !reliable.described);
        if reliable.waiting.as_ref().is_some_and(|w| w.describes) {
            reliable.queued.clear();
            reliable.answer = Some((headers, body));
            return None;
        }
        Some((headers, body))
    }

    /// Whether a 200 waits for a PRACK.
    pub(super) fn is_answer_kept_back(&self, id: SessionId) -> bool {
        let session = self.sessions.get(&id);
        let reliable = session.and_then(|session| session.reliable.as_ref());
        reliable.is_some_and(|reliable| reliable.answer.is_some())
    }

    /// A ringing call is told of again, by a response with a number of its own (RFC 3262 §3); false
    /// where its responses are not reliable.
    pub(super) fn keep_ringing_reliably(&mut self, now: Instant, id: SessionId) -> bool {
        let Some(session) = self.session(id) else {
            return false;
        };
        let Some(reliable) = &session.reliable else {
            return false;
        };
        let (idle, status) = (reliable.waiting.is_none(), reliable.last);
        if idle {
            self.send_reliably(now, id, status, Headers::new(), None);
        }
        true
    }

    /// A PRACK: 481 where it acknowledges nothing that waits (RFC 3262 §3). One with a description
    /// is answered by the user.
    pub(super) fn on_prack(
        &mut self,
        now: Instant,
        id: SessionId,
        arrival: Arrival,
        request: &Message,
        key: ServerKey,
    ) {
        let Some(describes) = self.session(id).and_then(|s| s.take_acknowledged(request)) else {
            let status = StatusCode::CALL_TRANSACTION_DOES_NOT_EXIST;
            self.counters.rejected_no_dialog += 1;
            return self.reply_in_session(now, id, arrival, request, key, &Refusal::new(status));
        };
        self.emit(
            id,
            Event::ProvisionalAcked {
                session: id,
                described: describes,
            },
        );
        if !request.body().is_empty() {
            return self.on_asked(now, id, arrival, request, key);
        }
        let answer = Refusal::new(StatusCode::OK);
        self.reply_in_session(now, id, arrival, request, key, &answer);
        self.go_on_after_prack(now, id);
    }

    /// Sends what waited for a PRACK.
    pub(super) fn go_on_after_prack(&mut self, now: Instant, id: SessionId) {
        let Some(session) = self.session(id).filter(|session| !session.ended) else {
            return;
        };
        let Some(reliable) = &mut session.reliable else {
            return;
        };
        if let Some((headers, body)) = reliable.answer.take() {
            // It is the user's, who was told that it has gone out: it ends by the same clocks.
            let _sent = self.send_answer(now, id, headers, body);
        } else if let Some((status, headers, body)) = reliable.queued.pop_front() {
            self.send_reliably(now, id, status, headers, body);
        }
    }

    /// Acknowledges a reliable provisional response to our INVITE, once and in order (RFC 3262 §4);
    /// `None` for one to leave aside, else whether it was reliable.
    pub(super) fn acknowledge_provisional(
        &mut self,
        now: Instant,
        id: SessionId,
        response: &Message,
    ) -> Option<bool> {
        if !response.require().has("100rel") {
            return Some(false);
        }
        let tag = remote_tag(response);
        let sequence = response.cseq().ok()?.number();
        let session = self.session(id)?;
        // Without our offer, the PRACK might have to carry an answer: then 100rel was not offered.
        let offered = session.client.as_ref()?.draft.body.is_some();
        let (rseq, true) = (response.rseq().ok()??, offered) else {
            return None;
        };
        let listener = session.listener;
        let early = session.early.iter_mut().find(|d| d.remote_tag() == tag)?;
        match session.reliable_seen.iter_mut().find(|(of, _)| *of == tag) {
            Some((_, last)) if rseq != last.wrapping_add(1) => return None,
            Some((_, last)) => *last = rseq,
            None => session.reliable_seen.push((tag, rseq)),
        }
        let number = early.next_sequence();
        let rack = vec![("RAck".into(), format!("{rseq} {sequence} INVITE"))];
        let prack = Draft::in_dialog(early, Method::Prack, number, listener).with(rack, None);
        self.send_request(now, Owner::Session(id, Part::Farewell), prack);
        Some(true)
    }
}

impl Session {
    /// Takes the response that a PRACK acknowledges; whether it had a description.
    fn take_acknowledged(&mut self, prack: &Message) -> Option<bool> {
        let rack = prack.rack().ok()??;
        let sequence = self.invite_sequence?;
        let reliable = self.reliable.as_mut()?;
        let matches = reliable
            .waiting
            .as_ref()
            .is_some_and(|w| w.rseq == rack.rseq)
            && rack.sequence == sequence
            && rack.method == Method::Invite;
        let waiting = reliable.waiting.take_if(|_| matches)?;
        self.stop_clock(Clock::RepeatReliable);
        Some(waiting.describes)
    }

    /// The INVITE is decided: what was reliable before it is not sent again (RFC 3262 §3).
    pub(super) fn stop_reliable(&mut self) {
        self.stop_clock(Clock::RepeatReliable);
        if let Some(reliable) = &mut self.reliable {
            reliable.queued.clear();
            reliable.answer = None;
        }
    }
}

/// Whether an INVITE of ours may be answered reliably: it makes the offer itself.
pub(super) fn offers_reliability(draft: &Draft) -> bool {
    draft.method == Method::Invite && draft.to.tag().is_none() && draft.body.is_some()
}
