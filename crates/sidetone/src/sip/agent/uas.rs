//! The answering side: requests, INVITE and its answers, ACK, CANCEL (RFC 3261 §8.2, §13.3).

use super::command::{Body, CommandError, Headers, SessionId};
use super::event::{Cause, Event};
use super::identity::Identity;
use super::options::NONE;
use super::reply::{self, Refusal};
use super::session::{Accept, Clock, ServerInvite, Session};
use super::{Agent, Arrival, Owner, Part, draft};
use crate::sip::dialog::Dialog;
use crate::sip::header::Name;
use crate::sip::header::address::NameAddr;
use crate::sip::header::session_id::SessionUuid;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::siprec::session as siprec;
use crate::sip::status::StatusCode;
use crate::sip::transaction::key::{RequestFields, ServerKey};
use crate::sip::transaction::layer::TransactionId;
use crate::sip::transaction::{Event as Happening, Machine};
use crate::sip::transport::route::DEFAULT_PORT;
use crate::time::{Duration, Instant};
use bytes::Bytes;

/// How often a provisional response is repeated so that no proxy gives the call up (RFC 3261
/// §13.3.1.1).
const KEEP_RINGING: Duration = Duration::from_secs(60);

impl Agent {
    /// Sends a provisional response (101 to 199) to the peer's INVITE; with a body it brings early
    /// media.
    ///
    /// # Errors
    /// [`CommandError::WrongState`] where there is no INVITE to answer.
    pub fn ring(
        &mut self,
        now: Instant,
        id: SessionId,
        status: StatusCode,
        headers: Headers,
        body: Option<Body>,
    ) -> Result<(), CommandError> {
        draft::check(&headers, body.as_ref())?;
        if !(101..200).contains(&status.code()) {
            return Err(CommandError::WrongStatus);
        }
        if self.open_session(id)?.server.is_none() || self.is_answer_kept_back(id) {
            return Err(CommandError::WrongState);
        }
        let server = self.sessions.get(&id).and_then(|s| s.server.as_deref());
        if server.is_some_and(|server| self.goes_reliably(server, body.is_some())) {
            self.ring_reliably(now, id, status, headers, body);
        } else {
            self.respond(now, id, status, &headers, body.as_ref());
        }
        self.set_clock(id, Clock::KeepRinging, now + KEEP_RINGING);
        self.flush(now);
        Ok(())
    }

    /// Answers the peer's INVITE or re-INVITE with 200. The body is the answer to its offer, or the
    /// offer where it had none; then the answer comes with [`Event::Acked`].
    ///
    /// Where a description went out in a reliable provisional response, the 200 waits for its PRACK
    /// and has no description itself (RFC 3262 §3).
    ///
    /// # Errors
    /// [`CommandError::WrongState`] where there is no INVITE to answer.
    pub fn answer(
        &mut self,
        now: Instant,
        id: SessionId,
        headers: Headers,
        body: Option<Body>,
    ) -> Result<(), CommandError> {
        draft::check(&headers, body.as_ref())?;
        if self.open_session(id)?.server.is_none() || self.is_answer_kept_back(id) {
            return Err(CommandError::WrongState);
        }
        if let Some((headers, body)) = self.answer_in_order(id, headers, body) {
            self.send_answer(now, id, headers, body)?;
        }
        self.flush(now);
        Ok(())
    }

    pub(super) fn send_answer(
        &mut self,
        now: Instant,
        id: SessionId,
        mut headers: Headers,
        body: Option<Body>,
    ) -> Result<(), CommandError> {
        let timers = self.config.timers.clone();
        let server = self.sessions.get(&id).and_then(|s| s.server.as_ref());
        let request = server.map(|server| server.request.clone());
        let request = request.ok_or(CommandError::WrongState)?;
        headers.extend(self.settle_timer(now, id, &request));
        let sent = self.respond(now, id, StatusCode::OK, &headers, body.as_ref());
        let (transaction, bytes) = sent.ok_or(CommandError::TooLarge)?;
        let path = self.transactions.path(transaction);
        let answered = self.sessions.get(&id).and_then(|s| s.server.as_deref());
        let flow = answered.and_then(|server| self.flow_of(server.arrival, &server.request));
        let Some(session) = self.session(id) else {
            return Err(CommandError::NoSuchSession);
        };
        session.flow = flow.or(session.flow);
        let (Some(server), Some(path)) = (session.server.take(), path) else {
            return Err(CommandError::WrongState);
        };
        if let Some(dialog) = &mut session.dialog {
            dialog.confirm();
            dialog.refresh_target(&server.request);
        }
        if let Some(glare) = &mut session.glare {
            glare.outdated = true;
        }
        session.accept = Some(Accept {
            sequence: server.request.cseq().map_or(0, |cseq| cseq.number()),
            path,
            bytes,
            interval: timers.t1,
            initial: server.initial,
            offers: server.request.body().is_empty() && body.is_some(),
        });
        session.decided();
        let source = session.pending_source.take();
        self.pending.release(source);
        self.set_clock(id, Clock::RepeatAnswer, now + timers.t1);
        self.set_clock(id, Clock::AckOverdue, now + timers.timeout());
        Ok(())
    }

    /// Rejects the peer's INVITE, which ends the session, or its re-INVITE, which does not.
    ///
    /// # Errors
    /// [`CommandError::WrongStatus`] for a status outside 300 to 699;
    /// [`CommandError::WrongState`] where there is no INVITE to answer.
    pub fn reject(
        &mut self,
        now: Instant,
        id: SessionId,
        status: StatusCode,
        headers: Headers,
    ) -> Result<(), CommandError> {
        draft::check(&headers, None)?;
        if status.code() < 300 {
            return Err(CommandError::WrongStatus);
        }
        if self.open_session(id)?.server.is_none() {
            return Err(CommandError::WrongState);
        }
        self.turn_down(now, id, status, &headers, Cause::LocalReject { status });
        self.flush(now);
        Ok(())
    }

    /// Answers the peer's INVITE with where else to try: a 3xx with Contacts (RFC 3261 §8.3). The
    /// session ends.
    ///
    /// # Errors
    /// [`CommandError::WrongStatus`] for a status outside 300 to 399 or no Contact at all;
    /// [`CommandError::WrongState`] where there is no INVITE to answer.
    pub fn redirect(
        &mut self,
        now: Instant,
        id: SessionId,
        status: StatusCode,
        contacts: &[NameAddr],
        mut headers: Headers,
    ) -> Result<(), CommandError> {
        draft::check(&headers, None)?;
        if !(300..400).contains(&status.code()) || contacts.is_empty() {
            return Err(CommandError::WrongStatus);
        }
        let server = self.open_session(id)?.server.as_ref();
        if !server.is_some_and(|server| server.initial) {
            return Err(CommandError::WrongState);
        }
        let contacts = contacts.iter();
        headers.extend(contacts.map(|contact| ("Contact".to_owned(), contact.to_string())));
        self.turn_down(now, id, status, &headers, Cause::LocalReject { status });
        self.flush(now);
        Ok(())
    }

    /// A final refusal of the peer's INVITE or re-INVITE; the former ends the session.
    pub(super) fn turn_down(
        &mut self,
        now: Instant,
        id: SessionId,
        status: StatusCode,
        headers: &Headers,
        cause: Cause,
    ) {
        self.respond(now, id, status, headers, None);
        let Some(session) = self.session(id) else {
            return;
        };
        let Some(server) = session.server.take() else {
            return;
        };
        session.decided();
        if server.initial {
            self.end(id, cause);
            self.forget_if_spent(id);
        }
    }

    /// The user did not decide in time.
    pub(super) fn decide_for_user(&mut self, now: Instant, id: SessionId) {
        let Some(server) = self.session(id).and_then(|session| session.server.as_ref()) else {
            return;
        };
        let expired = server.request.expires().ok().flatten().is_some();
        let status = match expired && server.initial {
            true => StatusCode::REQUEST_TERMINATED,
            false => StatusCode::TEMPORARILY_UNAVAILABLE,
        };
        self.turn_down(now, id, status, NONE, Cause::NoAnswer);
    }

    /// Sends a response to the pending INVITE within its transaction.
    pub(super) fn respond(
        &mut self,
        now: Instant,
        id: SessionId,
        status: StatusCode,
        headers: &Headers,
        body: Option<&Body>,
    ) -> Option<(TransactionId, Bytes)> {
        let session = self.sessions.get(&id)?;
        let server = session.server.as_ref()?;
        let tag = format!("{:016x}", session.tag);
        let contact = match status.code() {
            100 | 300.. => None,
            _ => self.contact_at(server.arrival, &server.request, session.features),
        };
        let source = server.arrival.source;
        let bytes = self.build_response(
            &server.request,
            source,
            &tag,
            status,
            (headers, body),
            contact,
        )?;
        let transaction = server.transaction;
        let happening = match status.code() {
            100..=199 => Happening::Send1xx,
            200..=299 => Happening::Send2xx,
            _ => Happening::Send3to6xx,
        };
        let owner = Owner::Session(id, Part::ServerInvite);
        let reaction = self
            .transactions
            .apply(now, transaction, happening, bytes.clone());
        self.react(now, transaction, owner, reaction);
        Some((transaction, bytes))
    }

    /// A request arrived (RFC 3261 §8.2).
    pub(super) fn on_request(&mut self, now: Instant, arrival: Arrival, request: &Message) {
        let Some(method) = request.method().cloned() else {
            return;
        };
        if let Err(reject) = request.validate() {
            match reject.status {
                Some(status) => self.refuse(now, arrival, request, &Refusal::new(status)),
                None => self.counters.dropped_malformed += 1,
            }
            return;
        }
        let Some(key) = server_key(request, &method, false) else {
            self.counters.dropped_malformed += 1;
            return;
        };
        if method == Method::Ack {
            return self.on_ack(now, request, &key);
        }
        if let Some(transaction) = self.transactions.server(&key) {
            self.counters.absorbed += 1;
            self.transactions
                .apply(now, transaction, Happening::ReceiveRequest, Bytes::new());
            return;
        }
        self.set_feedback(now);
        if let Some(refusal) = self.refusal_for_load(now, request, &method) {
            return self.refuse(now, arrival, request, &refusal);
        }
        if let Err(refusal) = self.admit(arrival, request, &method) {
            return self.refuse(now, arrival, request, &refusal);
        }
        self.on_admissible(now, arrival, request, method, key);
    }

    /// A request that may come in, from `user` where somebody has signed in.
    pub(super) fn let_in(
        &mut self,
        now: Instant,
        arrival: Arrival,
        request: &Message,
        method: &Method,
        key: ServerKey,
        user: Option<&str>,
    ) {
        let has_tag = || request.to().is_ok_and(|to| to.tag().is_some());
        match method {
            Method::Cancel => self.on_cancel(now, arrival, request, key),
            _ if *method != Method::Register && has_tag() => {
                self.on_dialog_request(now, arrival, request, method, key);
            }
            Method::Register
            | Method::Options
            | Method::Invite
            | Method::Message
            | Method::Subscribe
            | Method::Publish
                if self.draining =>
            {
                let refusal = self.full();
                self.refuse(now, arrival, request, &refusal);
            }
            Method::Register => self.on_register(now, arrival, request, key, user),
            Method::Options => self.answer_options(now, arrival, request),
            Method::Invite => self.on_invite(now, arrival, request, key, user),
            Method::Message => self.on_message(now, arrival, request, key, user),
            Method::Subscribe => self.on_subscribe(now, arrival, request, key, user),
            Method::Publish => self.on_publish(now, arrival, request, key, user),
            _ => {
                let status = StatusCode::CALL_TRANSACTION_DOES_NOT_EXIST;
                self.refuse(now, arrival, request, &Refusal::new(status));
            }
        }
    }

    /// What can be said against a request without looking at sessions.
    fn admit(&self, arrival: Arrival, request: &Message, method: &Method) -> Result<(), Refusal> {
        use crate::sip::uri::Scheme;
        let scheme = request.request_uri().map(|uri| uri.scheme());
        let listener = self.listener_of(arrival);
        let secure = listener.is_some_and(|listener| listener.transport.is_secure());
        match scheme {
            Ok(Scheme::Sip | Scheme::Tel) => {}
            // Only where it came over TLS (RFC 5630 §3.1).
            Ok(Scheme::Sips) if secure => {}
            Ok(Scheme::Other) if self.is_emergency(request) => {}
            _ => return Err(Refusal::new(StatusCode::UNSUPPORTED_URI_SCHEME)),
        }
        if *method == Method::Register && self.registrar.is_some() {
            return reply::check_extensions(request, &["path", "outbound"]);
        }
        let records = listener.is_some_and(|listener| listener.records);
        reply::check(request, method, &self.config, records)
    }

    fn on_invite(
        &mut self,
        now: Instant,
        arrival: Arrival,
        request: &Message,
        key: ServerKey,
        user: Option<&str>,
    ) {
        if !self.has_room_for_session() {
            let refusal = self.full();
            return self.refuse(now, arrival, request, &refusal);
        }
        if let Some(refusal) = self.too_short_an_interval(request) {
            return self.refuse(now, arrival, request, &refusal);
        }
        let merge_key = merge_key(request);
        if self.pending.is_merged(&merge_key) {
            let refusal = Refusal::new(StatusCode::LOOP_DETECTED);
            return self.refuse(now, arrival, request, &refusal);
        }
        let tag = self.rng.next_u64();
        let first = (self.rng.next_u32() & 0xffff) + 1;
        let Ok(dialog) = Dialog::uas(request, &format!("{tag:016x}"), first) else {
            let refusal = Refusal::new(StatusCode::BAD_REQUEST);
            return self.refuse(now, arrival, request, &refusal);
        };
        let ip = arrival.source.ip();
        if !self.pending.take(ip, self.config.max_pending_per_source) {
            let refusal = self.full();
            return self.refuse(now, arrival, request, &refusal);
        }
        let flow = self.flow_of(arrival, request);
        let id = SessionId(self.next_id());
        let identity = Identity::new(SessionUuid::random(&mut self.rng));
        let mut session = Session::new(false, tag, identity, arrival.listener);
        session.learn_identity(request);
        session.dialog = Some(dialog);
        session.pending_source = Some(ip);
        session.peer = Some(ip);
        session.flow = flow;
        if siprec::comes_from_client(request) {
            session.features = siprec::SERVER;
        }
        self.pending.remember(&merge_key);
        session.merge_key = Some(merge_key.into());
        self.insert_session(id, session);
        if !self.take_invite(now, id, arrival, request, key, true) {
            return self.forget_unseen(id);
        }
        self.events.push_back(Event::Incoming {
            session: id,
            request: request.clone(),
            source: arrival.source,
            listener: arrival.listener,
            user: user.map(str::to_owned),
            domains: self.connections.domains(arrival.path).to_vec(),
        });
    }

    /// Forgets a session that its user never heard of.
    fn forget_unseen(&mut self, id: SessionId) {
        let Some(session) = self.session(id) else {
            return;
        };
        session.ended = true;
        let source = session.pending_source.take();
        self.open_sessions -= 1;
        self.counters.sessions -= 1;
        self.pending.release(source);
        self.forget_if_spent(id);
    }

    fn has_room_for_session(&self) -> bool {
        self.open_sessions < self.config.max_sessions && self.transactions.has_room()
    }

    /// Starts the transaction of an INVITE or re-INVITE and sends 100.
    pub(super) fn take_invite(
        &mut self,
        now: Instant,
        id: SessionId,
        arrival: Arrival,
        request: &Message,
        key: ServerKey,
        initial: bool,
    ) -> bool {
        let path = self.response_path(arrival, request);
        let owner = Owner::Session(id, Part::ServerInvite);
        let started = self
            .transactions
            .start_server(Machine::InviteServer, key, path, owner);
        let Ok(transaction) = started else {
            let refusal = self.full();
            self.refuse(now, arrival, request, &refusal);
            return false;
        };
        self.count_live(owner, 1);
        let mut patience = self.config.pending_timeout;
        if let Ok(Some(seconds)) = request.expires() {
            patience = patience.min(Duration::from_secs(u64::from(seconds)));
        }
        if let Some(session) = self.session(id) {
            let request = request.clone();
            session.invite_sequence = request.cseq().ok().map(|cseq| cseq.number());
            session.server = Some(Box::new(ServerInvite {
                transaction,
                request,
                arrival,
                initial,
            }));
        }
        self.set_clock(id, Clock::RingTimeout, now + patience);
        let stamp = request.timestamp().ok().flatten();
        let stamp = stamp.map(|stamp| stamp.answered_after(now - arrival.at).to_string());
        let headers: Headers = stamp
            .into_iter()
            .map(|s| ("Timestamp".to_owned(), s))
            .collect();
        self.respond(now, id, StatusCode::TRYING, &headers, None);
        true
    }

    /// An ACK: for a refusal it belongs to the INVITE's transaction, for a 2xx to the session.
    fn on_ack(&mut self, now: Instant, request: &Message, key: &ServerKey) {
        if let Some(transaction) = self.transactions.server(key) {
            let owner = self.transactions.owner(transaction);
            let happening = Happening::ReceiveAck;
            let reaction = self
                .transactions
                .apply(now, transaction, happening, Bytes::new());
            if let Some(owner) = owner {
                self.react(now, transaction, owner, reaction);
            }
            if !reaction.deliver {
                return;
            }
        }
        let Some(id) = self.session_of(request) else {
            self.counters.dropped_stray_acks += 1;
            return;
        };
        let number = request.cseq().map(|cseq| cseq.number()).ok();
        let Some(session) = self.session(id) else {
            return;
        };
        if session.accept.as_ref().map(|accept| accept.sequence) != number {
            // The ACK again, for a 2xx that was repeated before the first ACK came.
            return;
        }
        session.accept = None;
        session.stop_clock(Clock::RepeatAnswer);
        session.stop_clock(Clock::AckOverdue);
        let farewell = session.bye_wanted.take();
        self.emit(
            id,
            Event::Acked {
                session: id,
                request: request.clone(),
            },
        );
        if let Some(headers) = farewell {
            self.send_bye(now, id, headers);
        }
        self.forget_if_spent(id);
    }

    /// A CANCEL gets 200 where its INVITE is known, 481 otherwise; the INVITE gets 487 where it has
    /// no final response (RFC 3261 §9.2).
    fn on_cancel(&mut self, now: Instant, arrival: Arrival, request: &Message, key: ServerKey) {
        let invite = server_key(request, &Method::Cancel, true)
            .and_then(|key| self.transactions.server(&key))
            .and_then(|transaction| Some((transaction, self.transactions.owner(transaction)?)));
        let Some((transaction, Owner::Session(id, Part::ServerInvite))) = invite else {
            let status = StatusCode::CALL_TRANSACTION_DOES_NOT_EXIST;
            return self.refuse(now, arrival, request, &Refusal::new(status));
        };
        if !self.same_call(id, arrival, request) {
            let status = StatusCode::CALL_TRANSACTION_DOES_NOT_EXIST;
            return self.refuse(now, arrival, request, &Refusal::new(status));
        }
        self.reply_in_session(
            now,
            id,
            arrival,
            request,
            key,
            &Refusal::new(StatusCode::OK),
        );
        let Some(session) = self.session(id) else {
            return;
        };
        let Some(server) = session
            .server
            .as_ref()
            .filter(|s| s.transaction == transaction)
        else {
            return;
        };
        let initial = server.initial;
        let cause = Cause::RemoteCancel {
            request: request.clone(),
        };
        self.turn_down(now, id, StatusCode::REQUEST_TERMINATED, NONE, cause);
        if !initial {
            self.emit(id, Event::ReinviteCancelled { session: id });
        }
    }

    /// Whether a CANCEL names the dialog of the session whose INVITE it means, and comes from where
    /// that came from.
    fn same_call(&self, id: SessionId, arrival: Arrival, request: &Message) -> bool {
        let Some(session) = self.sessions.get(&id) else {
            return false;
        };
        let Some(dialog) = &session.dialog else {
            return false;
        };
        let came_from = |server: &ServerInvite| server.arrival.source.ip() == arrival.source.ip();
        if !session.server.as_deref().is_none_or(came_from) {
            return false;
        }
        let Ok(from) = request.from() else {
            return false;
        };
        let call_id = request.call_id().unwrap_or_default();
        dialog.matches(call_id, from.tag().unwrap_or_default())
    }

    /// Answers a request of a session within a transaction of its own, so that its repetition is
    /// absorbed.
    pub(super) fn reply_in_session(
        &mut self,
        now: Instant,
        id: SessionId,
        arrival: Arrival,
        request: &Message,
        key: ServerKey,
        answer: &Refusal,
    ) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let tag = format!("{:016x}", session.tag);
        let headers: Headers = answer
            .headers
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), value.clone()))
            .collect();
        let extra = (&headers, None);
        let bytes = self.build_response(request, arrival.source, &tag, answer.status, extra, None);
        let Some(bytes) = bytes else { return };
        let path = self.response_path(arrival, request);
        let owner = Owner::Session(id, Part::Server);
        let machine = match request.method() {
            Some(Method::Invite) => Machine::InviteServer,
            _ => Machine::NonInviteServer,
        };
        let Ok(transaction) = self.transactions.start_server(machine, key, path, owner) else {
            // No room to absorb repetitions: the answer goes out all the same.
            return self.send_plain(now, path, bytes);
        };
        self.count_live(owner, 1);
        let happening = match answer.status.code() {
            200..=299 => Happening::Send2xx,
            _ => Happening::Send3to6xx,
        };
        let reaction = self.transactions.apply(now, transaction, happening, bytes);
        self.react(now, transaction, owner, reaction);
    }

    /// Our 2xx goes out again, until the ACK comes (RFC 3261 §13.3.1.4).
    pub(super) fn repeat_answer(&mut self, now: Instant, id: SessionId) {
        let t2 = self.config.timers.t2;
        let Some(session) = self.session(id) else {
            return;
        };
        let Some(accept) = &mut session.accept else {
            return;
        };
        accept.interval = (accept.interval * 2).min(t2);
        let (path, bytes, next) = (accept.path, accept.bytes.clone(), now + accept.interval);
        session.set_clock(Clock::RepeatAnswer, next);
        self.counters.retransmitted += 1;
        self.send_plain(now, path, bytes);
    }

    /// No ACK within 64*T1: the session is ended with BYE (RFC 3261 §13.3.1.4, §14.2).
    pub(super) fn ack_overdue(&mut self, now: Instant, id: SessionId) {
        let Some(session) = self.session(id) else {
            return;
        };
        session.accept = None;
        session.stop_clock(Clock::RepeatAnswer);
        let headers = session.bye_wanted.take().unwrap_or_default();
        let gone = session.farewell_sent;
        if !gone {
            self.send_bye(now, id, headers);
        }
        self.end(id, Cause::NoAck);
        self.forget_if_spent(id);
    }

    /// The last provisional response goes out again while the call rings.
    pub(super) fn keep_ringing(&mut self, now: Instant, id: SessionId) {
        let Some(server) = self.session(id).and_then(|session| session.server.as_ref()) else {
            return;
        };
        let transaction = server.transaction;
        if !self.keep_ringing_reliably(now, id) {
            let happening = Happening::ReceiveRequest;
            self.transactions
                .apply(now, transaction, happening, Bytes::new());
        }
        self.set_clock(id, Clock::KeepRinging, now + KEEP_RINGING);
    }
}

impl Session {
    /// The pending INVITE has its final answer.
    fn decided(&mut self) {
        self.stop_clock(Clock::RingTimeout);
        self.stop_clock(Clock::KeepRinging);
        self.stop_reliable();
    }
}

/// The key of a request's own transaction, or of the INVITE that a CANCEL means.
pub(super) fn server_key(request: &Message, method: &Method, cancelled: bool) -> Option<ServerKey> {
    let via = request.top_via().ok()?;
    let uri = request.request_uri().ok()?;
    let from = request.from().ok()?;
    let fields = RequestFields {
        method,
        branch: via.branch().unwrap_or_default(),
        host: via.host(),
        port: via.port().unwrap_or(DEFAULT_PORT),
        uri: uri.as_str(),
        from_tag: from.tag().unwrap_or_default(),
        call_id: request.call_id().ok()?,
        sequence: request.cseq().ok()?.number(),
    };
    Some(match cancelled {
        true => ServerKey::cancelled(&fields),
        false => ServerKey::new(&fields),
    })
}

/// What a request shares with its copies that came by another way (RFC 3261 §8.2.2.2).
fn merge_key(request: &Message) -> String {
    let from = request.from().ok();
    let tag = from
        .as_ref()
        .and_then(|from| from.tag())
        .unwrap_or_default();
    let number = request.cseq().map_or(0, |cseq| cseq.number());
    format!("{} {tag} {number}", request.call_id().unwrap_or_default())
}

/// 500 with a random Retry-After (RFC 3261 §14.2).
pub(super) fn out_of_turn(seconds: u64) -> Refusal {
    Refusal::with(
        StatusCode::SERVER_INTERNAL_ERROR,
        Name::RetryAfter,
        seconds.to_string(),
    )
}
