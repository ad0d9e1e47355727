//! The calling side: INVITE, its responses, CANCEL, ACK, and the branches of a fork (RFC 3261 §13.2).

use super::command::{Body, CommandError, Headers, Invite, SessionId};
use super::draft::{self, Draft, Stamp};
use super::event::{Cause, Event, Failure};
use super::identity::Identity;
use super::refresh::SessionTimer;
use super::session::{AckWanted, Cancelling, ClientInvite, Clock, Origin, SentAck, Session};
use super::sign_in::SignIn;
use super::{Agent, Owner, Part};
use crate::id::ListenerId;
use crate::sip::dialog::Dialog;
use crate::sip::header::address::NameAddr;
use crate::sip::header::session_id::SessionUuid;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::status::StatusCode;
use crate::sip::transaction::key::ClientKey;
use crate::sip::transaction::layer::TransactionId;
use crate::sip::transaction::{Event as Happening, Machine, State};
use crate::sip::transport::Path;
use crate::sip::transport::route::{self, Hop};
use crate::sip::uri::Uri;
use crate::time::Instant;
use bytes::Bytes;

impl Agent {
    /// Calls a party. [`Event::Ended`] comes exactly once for the session, whatever happens.
    ///
    /// # Errors
    /// [`CommandError`] where nothing was sent.
    pub fn invite(&mut self, now: Instant, invite: Invite) -> Result<SessionId, CommandError> {
        draft::check(&invite.headers, invite.body.as_ref())?;
        if self.draining {
            return Err(CommandError::Draining);
        }
        if self.open_sessions >= self.config.max_sessions || !self.transactions.has_room() {
            return Err(CommandError::Full);
        }
        let timer = SessionTimer::wanting(self.config.session_expires);
        let next_hop = invite.route.first().unwrap_or(&invite.target).clone();
        if invite.flow.is_none_or(|flow| !self.is_alive(flow)) {
            self.check_route(&next_hop, invite.listener)?;
        }
        let tag = self.rng.next_u64();
        let from = invite.from.with_tag(&format!("{tag:016x}"));
        let from = from.map_err(|_| CommandError::Header("From".into()))?;
        let target = invite.target.without_headers();
        let draft = Draft {
            method: Method::Invite,
            uri: target.clone(),
            next_hop,
            routes: invite.route.iter().map(NameAddr::new).collect(),
            from: from.clone(),
            to: invite.to.unwrap_or_else(|| NameAddr::new(&target)),
            call_id: self.new_call_id(),
            sequence: 1,
            max_forwards: invite.max_forwards,
            headers: invite.headers,
            body: invite.body,
            listener: invite.listener,
            timer: timer.headers(),
            session_id: None,
            credentials: None,
            contact_parameters: invite.features.to_owned(),
        };
        let id = SessionId(self.next_id());
        let own = invite.session_uuid;
        let uuid = own.unwrap_or_else(|| SessionUuid::random(&mut self.rng));
        let mut session = Session::new(true, tag, Identity::new(uuid), invite.listener);
        session.timer = timer;
        session.sign_in = invite.account.map(|account| Box::new(SignIn::new(account)));
        session.origin = Some(Box::new(Origin {
            local: from,
            sequence: 1,
            target,
        }));
        session.flow = invite.flow;
        session.features = invite.features;
        session.client = Some(Box::new(ClientInvite::new(draft.clone(), true)));
        self.insert_session(id, session);
        let ringing = invite.ring_timeout.unwrap_or(self.config.ring_timeout);
        self.set_clock(id, Clock::RingTimeout, now + ringing);
        self.send_request(now, Owner::Session(id, Part::Invite), draft);
        self.forget_if_spent(id);
        self.flush(now);
        Ok(id)
    }

    /// Gives up an INVITE that has no final answer. The session ends at once; CANCEL goes out as
    /// soon as the RFC allows, and a 2xx that crosses it is acknowledged and hung up.
    ///
    /// # Errors
    /// [`CommandError::WrongState`] where the INVITE is answered, or is the peer's.
    pub fn cancel(
        &mut self,
        now: Instant,
        id: SessionId,
        headers: Headers,
    ) -> Result<(), CommandError> {
        draft::check(&headers, None)?;
        let session = self.open_session(id)?;
        if !session.client.as_ref().is_some_and(|client| client.initial) {
            return Err(CommandError::WrongState);
        }
        self.end(id, Cause::LocalCancel);
        self.give_up_invite(now, id, headers);
        self.flush(now);
        Ok(())
    }

    /// Sends the ACK that a 2xx with an offer waits for, with the answer.
    ///
    /// # Errors
    /// [`CommandError::WrongState`] where no ACK is due.
    pub fn acknowledge(
        &mut self,
        now: Instant,
        id: SessionId,
        headers: Headers,
        body: Option<Body>,
    ) -> Result<(), CommandError> {
        draft::check(&headers, body.as_ref())?;
        let session = self.open_session(id)?;
        let wanted = session.ack_wanted.take().ok_or(CommandError::WrongState)?;
        self.send_ack(now, id, wanted.transaction, wanted.sequence, headers, body);
        self.flush(now);
        Ok(())
    }

    /// Whether a URI can be a next hop from here.
    pub(super) fn check_route(
        &self,
        next_hop: &Uri,
        listener: Option<ListenerId>,
    ) -> Result<(), CommandError> {
        match route::next_hop(next_hop) {
            Err(_) => Err(CommandError::Unroutable),
            Ok(Hop::Name { .. }) => Ok(()),
            Ok(Hop::Address(destination)) => {
                route::select_listener(&self.config.listeners, listener, destination)
                    .map(|_| ())
                    .ok_or(CommandError::Unroutable)
            }
        }
    }

    pub(super) fn open_session(&mut self, id: SessionId) -> Result<&mut Session, CommandError> {
        self.session(id)
            .filter(|session| !session.ended)
            .ok_or(CommandError::NoSuchSession)
    }

    pub(super) fn insert_session(&mut self, id: SessionId, session: Session) {
        self.tags.insert(session.tag, id);
        self.sessions.insert(id, Box::new(session));
        self.open_sessions += 1;
        self.counters.sessions += 1;
    }

    /// A response arrived (RFC 3261 §18.1.2, §17.1.3).
    pub(super) fn on_response(&mut self, now: Instant, response: &Message) {
        let Some((transaction, status)) = self.client_of(response) else {
            self.counters.dropped_stray_responses += 1;
            return;
        };
        let Some(owner) = self.transactions.owner(transaction) else {
            return;
        };
        if let Ok(via) = response.top_via() {
            self.heed(now, transaction, &via);
        }
        let happening = match status.code() {
            100..=199 => Happening::Receive1xx,
            200..=299 => Happening::Receive2xx,
            _ => Happening::Receive3to6xx,
        };
        let message = match happening {
            Happening::Receive3to6xx => self.failure_ack(owner, transaction, response),
            _ => Bytes::new(),
        };
        let reaction = self
            .transactions
            .apply(now, transaction, happening, message);
        let elsewhere = status == StatusCode::SERVICE_UNAVAILABLE
            && reaction.deliver
            && self.try_next(now, owner, transaction);
        if reaction.deliver && !elsewhere {
            match owner {
                Owner::Errand(id) => self.errand_answered(now, id, response),
                Owner::Registration(id) => self.registration_answered(now, id, response),
                Owner::Nobody => {}
                Owner::Session(id, part)
                    if self.challenge_answered(now, id, part, transaction, response)
                        || self.interval_answered(now, id, part, response) => {}
                Owner::Session(id, part) => {
                    self.session_answered(now, id, part, transaction, status, response);
                }
            }
        }
        self.react(now, transaction, owner, reaction);
    }

    /// The transaction that a response is for: it must be valid, have one Via, ours, and a branch
    /// and method that we sent.
    fn client_of(&self, response: &Message) -> Option<(TransactionId, StatusCode)> {
        response.validate().ok()?;
        let status = response.status()?;
        let mut vias = response.vias();
        let via = vias.next()?.ok()?;
        if vias.next().is_some()
            || !route::is_our_sent_by(&self.config.listeners, via.host(), via.port())
        {
            return None;
        }
        let key = ClientKey::parse(via.branch()?, response.cseq().ok()?.method().clone())?;
        Some((self.transactions.client(&key)?, status))
    }

    fn session_answered(
        &mut self,
        now: Instant,
        id: SessionId,
        part: Part,
        transaction: TransactionId,
        status: StatusCode,
        response: &Message,
    ) {
        if let Some(session) = self.session(id) {
            session.learn_identity(response);
        }
        match part {
            Part::Invite | Part::Reinvite if status.is_provisional() => {
                self.invite_provisional(now, id, status, response);
            }
            Part::Invite if status.is_success() => {
                self.invite_accepted(now, id, transaction, response);
            }
            Part::Invite => self.invite_refused(id, response),
            Part::Reinvite if status.is_success() => {
                self.reinvite_accepted(now, id, transaction, response);
            }
            Part::Reinvite => self.reinvite_refused(now, id, status),
            Part::Info if !status.is_provisional() => self.info_answered(now, id, status),
            Part::Request(request) if !status.is_provisional() => {
                self.request_answered(now, id, request, response);
            }
            Part::Info
            | Part::Request(_)
            | Part::Farewell
            | Part::Ack(_)
            | Part::ServerInvite
            | Part::Server => {}
        }
    }

    fn invite_provisional(
        &mut self,
        now: Instant,
        id: SessionId,
        status: StatusCode,
        response: &Message,
    ) {
        let max_forks = self.config.max_forks;
        let Some(session) = self.session(id) else {
            return;
        };
        let Some(client) = &mut session.client else {
            return;
        };
        client.provisional = true;
        let initial = client.initial;
        let mut reliable = Some(false);
        if initial && status != StatusCode::TRYING {
            session.note_early(response, max_forks);
            reliable = self.acknowledge_provisional(now, id, response);
        }
        let Some(client) = self.session(id).and_then(|session| session.client.as_mut()) else {
            return;
        };
        if let Cancelling::Wanted(headers) = &client.cancelling {
            let headers = headers.clone();
            return self.send_cancel(now, id, headers);
        }
        let Some(reliable) = reliable.filter(|_| initial && status != StatusCode::TRYING) else {
            return;
        };
        self.emit(
            id,
            Event::Provisional {
                session: id,
                response: response.clone(),
                reliable,
            },
        );
    }

    /// A 2xx to our first INVITE: the first of all confirms the session; the same again gets its
    /// ACK again; one from another branch of a fork is acknowledged and hung up (RFC 3261
    /// §13.2.2.4).
    fn invite_accepted(
        &mut self,
        now: Instant,
        id: SessionId,
        transaction: TransactionId,
        response: &Message,
    ) {
        let tag = remote_tag(response);
        if self.repeat_ack(now, id, transaction, &tag) {
            return;
        }
        let Some(session) = self.session(id) else {
            return;
        };
        let waits = session
            .ack_wanted
            .as_ref()
            .is_some_and(|w| w.transaction == transaction);
        let known = session
            .dialog
            .as_ref()
            .is_some_and(|dialog| dialog.remote_tag() == tag);
        if waits && known {
            return;
        }
        if session.ended || session.client.is_none() {
            return self.hang_up_fork(now, id, transaction, response);
        }
        let Some(dialog) = session.confirmed_dialog(&tag, response) else {
            self.counters.dropped_malformed += 1;
            return;
        };
        let client = session.client.take();
        let offered = client.as_ref().is_some_and(|c| c.draft.body.is_some());
        session.dialog = Some(dialog);
        session.early = Vec::new();
        session.stop_clock(Clock::RingTimeout);
        let sequence = session.origin.as_ref().map_or(1, |origin| origin.sequence);
        let path = client.and_then(|client| Some(client.sent?.path));
        let flow = path.and_then(|path| self.flow_to(path, response));
        let Some(session) = self.session(id) else {
            return;
        };
        session.flow = flow.or(session.flow);
        let acknowledge = !offered && !response.body().is_empty();
        if acknowledge {
            session.ack_wanted = Some(AckWanted {
                transaction,
                sequence,
            });
        } else {
            self.send_ack(now, id, transaction, sequence, Headers::new(), None);
        }
        self.timer_answered(now, id, response);
        self.emit(
            id,
            Event::Answered {
                session: id,
                response: response.clone(),
                acknowledge,
            },
        );
    }

    fn invite_refused(&mut self, id: SessionId, response: &Message) {
        if let Some(session) = self.session(id) {
            session.client = None;
            session.stop_clock(Clock::RingTimeout);
            session.stop_clock(Clock::CancelOverdue);
        }
        self.end(
            id,
            Cause::Rejected {
                response: response.clone(),
            },
        );
    }

    /// Sends the ACK for a 2xx that came again; true where it was one.
    pub(super) fn repeat_ack(
        &mut self,
        now: Instant,
        id: SessionId,
        transaction: TransactionId,
        tag: &str,
    ) -> bool {
        let Some(session) = self.session(id) else {
            return false;
        };
        let sent = session
            .acks
            .iter()
            .find(|ack| ack.transaction == transaction && ack.remote_tag == tag);
        let Some(sent) = sent else { return false };
        if let Some((path, bytes)) = sent.message.clone() {
            self.counters.retransmitted += 1;
            self.send_plain(now, path, bytes);
        }
        true
    }

    /// Acknowledges a 2xx on the session's dialog.
    pub(super) fn send_ack(
        &mut self,
        now: Instant,
        id: SessionId,
        transaction: TransactionId,
        sequence: u32,
        headers: Headers,
        body: Option<Body>,
    ) {
        let Some(session) = self.session(id) else {
            return;
        };
        let listener = session.listener;
        let Some(dialog) = &session.dialog else {
            return;
        };
        let tag = dialog.remote_tag().to_owned();
        let draft = Draft::in_dialog(dialog, Method::Ack, sequence, listener).with(headers, body);
        self.send_ack_draft(now, id, transaction, tag, draft);
    }

    fn send_ack_draft(
        &mut self,
        now: Instant,
        id: SessionId,
        transaction: TransactionId,
        remote_tag: String,
        draft: Draft,
    ) {
        let number = self.next_id() as u32;
        let Some(session) = self.session(id) else {
            return;
        };
        session.acks.push(SentAck {
            number,
            transaction,
            remote_tag,
            message: None,
        });
        self.send_request(now, Owner::Session(id, Part::Ack(number)), draft);
    }

    /// The ACK is ready to go; it is kept for repetitions of the 2xx.
    pub(super) fn ack_built(&mut self, now: Instant, owner: Owner, path: Path, bytes: Bytes) {
        if let Owner::Session(id, Part::Ack(number)) = owner
            && let Some(session) = self.session(id)
            && let Some(ack) = session.acks.iter_mut().find(|ack| ack.number == number)
        {
            ack.message = Some((path, bytes.clone()));
        }
        self.send_plain(now, path, bytes);
    }

    /// A branch that is not wanted answered: ACK, then BYE.
    fn hang_up_fork(
        &mut self,
        now: Instant,
        id: SessionId,
        transaction: TransactionId,
        response: &Message,
    ) {
        let max_forks = self.config.max_forks;
        let Some(session) = self.session(id) else {
            return;
        };
        if session.acks.len() > max_forks {
            self.counters.dropped_stray_responses += 1;
            return;
        }
        session.client = None;
        session.stop_clock(Clock::CancelOverdue);
        let Some(mut dialog) = session.confirmed_dialog(&remote_tag(response), response) else {
            return;
        };
        let listener = session.listener;
        let sequence = session.origin.as_ref().map_or(1, |origin| origin.sequence);
        self.counters.forks_hung_up += 1;
        let ack = Draft::in_dialog(&dialog, Method::Ack, sequence, listener);
        self.send_ack_draft(now, id, transaction, dialog.remote_tag().to_owned(), ack);
        let sequence = dialog.next_sequence();
        let bye = Draft::in_dialog(&dialog, Method::Bye, sequence, listener);
        self.send_request(now, Owner::Session(id, Part::Farewell), bye);
    }

    /// Takes back our INVITE or re-INVITE: with CANCEL once a provisional response has come, or
    /// without a word where it has not gone out yet.
    pub(super) fn give_up_invite(&mut self, now: Instant, id: SessionId, headers: Headers) {
        let Some(session) = self.session(id) else {
            return;
        };
        session.stop_clock(Clock::RingTimeout);
        let Some(client) = &mut session.client else {
            return;
        };
        match (&client.sent, &client.cancelling) {
            (None, _) => {
                let lookup = client.lookup;
                session.client = None;
                self.drop_lookup(lookup);
                self.forget_if_spent(id);
            }
            (Some(_), Cancelling::No) if client.provisional => self.send_cancel(now, id, headers),
            (Some(_), Cancelling::No) => client.cancelling = Cancelling::Wanted(headers),
            (Some(_), _) => {}
        }
    }

    fn send_cancel(&mut self, now: Instant, id: SessionId, headers: Headers) {
        let timeout = self.config.timers.timeout();
        let Some(session) = self.session(id) else {
            return;
        };
        let Some(client) = &mut session.client else {
            return;
        };
        let Some(sent) = client.sent.clone() else {
            return;
        };
        client.cancelling = Cancelling::Sent;
        let mut draft = client.draft.cancel(headers);
        draft.session_id = Some(session.identity.header());
        self.set_clock(id, Clock::CancelOverdue, now + timeout);
        let Some(bytes) = self.build_again(&draft, &sent.key, sent.listener) else {
            return;
        };
        let key = sent.key.with_method(Method::Cancel);
        let owner = Owner::Session(id, Part::Farewell);
        let machine = Machine::NonInviteClient;
        if let Ok(cancel) = self
            .transactions
            .start_client(now, machine, key, sent.path, bytes, owner)
        {
            self.count_live(owner, 1);
            self.note_client(sent.path, cancel);
        }
    }

    /// The bytes of a request that leaves by a listener.
    pub(super) fn build_again(
        &self,
        draft: &Draft,
        key: &ClientKey,
        listener: ListenerId,
    ) -> Option<Bytes> {
        let listener = self.config.listeners.get(usize::from(listener.0))?;
        let stamp = Stamp {
            transport: listener.transport,
            sent_by: listener.sent_by(),
            branch: key.branch(),
        };
        draft.build(&stamp, &self.config)
    }

    /// The ACK for a 3xx to 6xx response, empty where the transaction has it already.
    fn failure_ack(&self, owner: Owner, id: TransactionId, response: &Message) -> Bytes {
        let fresh = matches!(
            self.transactions.state(id),
            State::Calling | State::Proceeding
        );
        if !fresh || self.transactions.machine(id) != Some(Machine::InviteClient) {
            return Bytes::new();
        }
        let Owner::Session(session, _) = owner else {
            return Bytes::new();
        };
        let Some(session) = self.sessions.get(&session) else {
            return Bytes::new();
        };
        let (Some(client), Ok(to)) = (&session.client, response.to()) else {
            return Bytes::new();
        };
        let Some(sent) = &client.sent else {
            return Bytes::new();
        };
        let mut ack = client.draft.ack_failure(to);
        ack.session_id = Some(session.identity.header());
        self.build_again(&ack, &sent.key, sent.listener)
            .unwrap_or_default()
    }

    /// A request of ours got no response: its session is told what that means for it.
    pub(super) fn request_failed(&mut self, now: Instant, owner: Owner, failure: Failure) {
        if failure == Failure::Transport {
            self.counters.transport_errors += 1;
        }
        let (id, part) = match owner {
            Owner::Errand(id) => return self.errand_failed(now, id, failure),
            Owner::Registration(id) => return self.registration_failed(now, id),
            Owner::Nobody => return,
            Owner::Session(id, part) => (id, part),
        };
        match part {
            Part::Invite | Part::Reinvite => {
                let Some(session) = self.session(id) else {
                    return;
                };
                let Some(client) = session.client.take() else {
                    return;
                };
                session.stop_clock(Clock::RingTimeout);
                session.stop_clock(Clock::CancelOverdue);
                if !client.initial {
                    self.leave(now, id, Headers::new());
                }
                self.end(id, Cause::Failed(failure));
            }
            Part::Info => self.give_session_up(now, id, failure),
            Part::Request(request) => self.request_unanswered(now, id, request, failure),
            Part::Ack(number) => {
                if let Some(session) = self.session(id) {
                    session.acks.retain(|ack| ack.number != number);
                }
            }
            Part::Farewell | Part::ServerInvite | Part::Server => {}
        }
    }

    /// The ring time-out of our INVITE, or the time to decide about the peer's.
    pub(super) fn ring_timeout(&mut self, now: Instant, id: SessionId) {
        let Some(session) = self.session(id) else {
            return;
        };
        match &session.client {
            Some(client) if client.initial => {
                self.end(id, Cause::NoAnswer);
                self.give_up_invite(now, id, Headers::new());
            }
            Some(_) => self.give_up_invite(now, id, Headers::new()),
            None => self.decide_for_user(now, id),
        }
    }

    /// The peer ignored our CANCEL: the INVITE is over all the same (RFC 3261 §9.1).
    pub(super) fn cancel_overdue(&mut self, now: Instant, id: SessionId) {
        let Some(session) = self.session(id) else {
            return;
        };
        let Some(client) = &session.client else {
            return;
        };
        let initial = client.initial;
        let Some(transaction) = client.sent.as_ref().map(|sent| sent.transaction) else {
            return;
        };
        session.client = None;
        let Some(owner) = self.transactions.abandon(transaction) else {
            return;
        };
        if !initial {
            self.leave(now, id, Headers::new());
            self.end(id, Cause::Failed(Failure::Timeout));
        }
        self.count_live(owner, -1);
    }
}

pub(super) fn remote_tag(response: &Message) -> String {
    response
        .to()
        .ok()
        .and_then(|to| to.tag().map(str::to_owned))
        .unwrap_or_default()
}

impl ClientInvite {
    pub(super) fn new(draft: Draft, initial: bool) -> Self {
        Self {
            draft,
            lookup: None,
            sent: None,
            provisional: false,
            cancelling: Cancelling::No,
            initial,
        }
    }
}

impl Session {
    /// Opens or refreshes the early dialog of a provisional response.
    fn note_early(&mut self, response: &Message, max_forks: usize) {
        let tag = remote_tag(response);
        if tag.is_empty() {
            return;
        }
        if let Some(dialog) = self
            .early
            .iter_mut()
            .find(|dialog| dialog.remote_tag() == tag)
        {
            return dialog.refresh_target(response);
        }
        let Some(origin) = &self.origin else { return };
        if self.early.len() >= max_forks {
            return;
        }
        let dialog = Dialog::uac(&origin.local, origin.sequence, &origin.target, response);
        self.early.extend(dialog.ok());
    }

    /// The dialog that a 2xx confirms: an early one, or a new one.
    fn confirmed_dialog(&mut self, tag: &str, response: &Message) -> Option<Dialog> {
        if let Some(index) = self
            .early
            .iter()
            .position(|dialog| dialog.remote_tag() == tag)
        {
            let mut dialog = self.early.swap_remove(index);
            dialog.confirm_by(response).ok()?;
            return Some(dialog);
        }
        let origin = self.origin.as_ref()?;
        let mut dialog =
            Dialog::uac(&origin.local, origin.sequence, &origin.target, response).ok()?;
        dialog.confirm();
        Some(dialog)
    }
}
