//! Requests within a session that stand for themselves, UPDATE, REFER and NOTIFY, both ways
//! (RFC 3261 §12.2, RFC 3311, RFC 3515).

use super::command::{Body, CommandError, Headers, RequestId, SessionId, TicketId};
use super::draft;
use super::event::{Event, Failure};
use super::reply::Refusal;
use super::session::{Asked, Clock, Glare, Requested, Session};
use super::{Agent, Arrival, Owner, Part};
use crate::sip::header::address::NameAddr;
use crate::sip::header::value::Replaces;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::status::StatusCode;
use crate::sip::transaction::key::ServerKey;
use crate::sip::transaction::{Event as Happening, Machine};
use crate::sip::uri::Uri;
use crate::time::{Duration, Instant};

/// Requests of ours in one session that may wait for their answers at once.
const MAX_REQUESTED: usize = 16;

/// Requests of the peer in one session that may wait for our answer at once.
const MAX_ASKED: usize = 4;

/// How long a request of the peer may wait for our answer. Its sender gives it up after 32 s.
const PATIENCE: Duration = Duration::from_secs(10);

impl Agent {
    /// Sends a request within a session; [`Event::RequestAnswered`] tells how it went. UPDATE may go
    /// out before the session is answered, where the peer began it; the others wait for the answer.
    ///
    /// An UPDATE that meets glare (491) is sent again after the pause of RFC 3261 §14.1, as RFC 3311
    /// §5.1 wants.
    ///
    /// # Errors
    /// [`CommandError::WrongState`] for a method or a state in which there is no such request,
    /// [`CommandError::Pending`] for an UPDATE while another change of the session is under way,
    /// [`CommandError::Full`] where 16 wait already.
    pub fn request(
        &mut self,
        now: Instant,
        id: SessionId,
        method: Method,
        headers: Headers,
        body: Option<Body>,
    ) -> Result<RequestId, CommandError> {
        draft::check(&headers, body.as_ref())?;
        let session = self.open_session(id)?;
        let fits = match method {
            Method::Update => session.dialog.is_some(),
            Method::Refer | Method::Notify | Method::Message => session.is_confirmed(),
            _ => false,
        };
        if !fits {
            return Err(CommandError::WrongState);
        }
        if session.requested.len() >= MAX_REQUESTED {
            return Err(CommandError::Full);
        }
        if method == Method::Update && session.update_is_out_of_turn(body.is_some()) {
            return Err(CommandError::Pending);
        }
        if method == Method::Update {
            session.glare_retries = 0;
        }
        let request = RequestId(self.next_id());
        let requested = Requested {
            id: request,
            method,
            headers,
            body,
            refresh: false,
        };
        self.send_requested(now, id, requested);
        self.flush(now);
        Ok(request)
    }

    /// Answers a request of the peer that [`Event::Request`] told of.
    ///
    /// # Errors
    /// [`CommandError::WrongState`] where it is answered already, which the agent does by itself
    /// after 10 s; [`CommandError::WrongStatus`] for a status below 200.
    pub fn reply(
        &mut self,
        now: Instant,
        id: SessionId,
        ticket: TicketId,
        status: StatusCode,
        headers: Headers,
        body: Option<Body>,
    ) -> Result<(), CommandError> {
        draft::check(&headers, body.as_ref())?;
        if status.is_provisional() {
            return Err(CommandError::WrongStatus);
        }
        let asked = self
            .open_session(id)?
            .take_asked(ticket)
            .ok_or(CommandError::WrongState)?;
        self.answer_asked(now, id, asked, status, (&headers, body.as_ref()));
        self.flush(now);
        Ok(())
    }

    /// How another party could replace us in an answered session: its peer's Contact, and what the
    /// peer would read in Replaces (RFC 3891, RFC 5589 §7).
    pub fn replaceable(&self, id: SessionId) -> Option<(Uri, Replaces)> {
        let session = self.sessions.get(&id).filter(|session| !session.ended)?;
        let dialog = session.dialog.as_ref()?;
        let replaces = Replaces {
            call_id: dialog.call_id().to_owned(),
            to_tag: dialog.remote_tag().to_owned(),
            from_tag: dialog.local().tag()?.to_owned(),
            early_only: false,
        };
        Some((dialog.remote_target().without_headers(), replaces))
    }

    /// Who is at the other end of a session that has a dialog.
    pub fn party(&self, id: SessionId) -> Option<&NameAddr> {
        Some(self.sessions.get(&id)?.dialog.as_ref()?.remote())
    }

    /// The session that a Replaces names.
    pub fn dialog_of(&self, replaces: &Replaces) -> Option<SessionId> {
        let tag = Some(&replaces.to_tag).filter(|tag| tag.len() == 16)?;
        let id = *self.tags.get(&u64::from_str_radix(tag, 16).ok()?)?;
        let session = self.sessions.get(&id).filter(|session| !session.ended)?;
        let mut dialogs = session.dialog.iter().chain(&session.early);
        dialogs
            .any(|dialog| dialog.matches(&replaces.call_id, &replaces.from_tag))
            .then_some(id)
    }

    /// Refreshes the session with an UPDATE without a body; false where it has to wait.
    pub(super) fn send_refresh(&mut self, now: Instant, id: SessionId) -> bool {
        let request = RequestId(self.next_id());
        let Some(session) = self.session(id) else {
            return false;
        };
        if session.requested.len() >= MAX_REQUESTED || session.update_is_out_of_turn(false) {
            return false;
        }
        session.glare_retries = 0;
        let requested = Requested {
            id: request,
            method: Method::Update,
            headers: Headers::new(),
            body: None,
            refresh: true,
        };
        self.send_requested(now, id, requested);
        true
    }

    fn send_requested(&mut self, now: Instant, id: SessionId, requested: Requested) {
        let Requested {
            id: request,
            method,
            headers,
            body,
            ..
        } = requested.clone();
        if let Some(session) = self.session(id) {
            session.requested.push(requested);
        }
        self.send_in_dialog(now, id, method, Part::Request(request), headers, body);
    }

    /// A request of the peer that its user answers.
    pub(super) fn on_asked(
        &mut self,
        now: Instant,
        id: SessionId,
        arrival: Arrival,
        request: &Message,
        key: ServerKey,
    ) {
        let retry = self.rng.below(11);
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        if let Some(refusal) = session.refusal_of(request, retry) {
            self.counters.rejected_out_of_turn += 1;
            return self.reply_in_session(now, id, arrival, request, key, &refusal);
        }
        if let Some(refusal) = self.too_short_an_interval(request) {
            return self.reply_in_session(now, id, arrival, request, key, &refusal);
        }
        let path = self.response_path(arrival, request);
        let owner = Owner::Session(id, Part::Server);
        let machine = Machine::NonInviteServer;
        let Ok(transaction) = self.transactions.start_server(machine, key, path, owner) else {
            let refusal = self.full();
            return self.refuse(now, arrival, request, &refusal);
        };
        self.count_live(owner, 1);
        let ticket = TicketId(self.next_id());
        let due = now + PATIENCE;
        if let Some(session) = self.session(id) {
            session.asked.push(Asked {
                ticket,
                transaction,
                request: request.clone(),
                arrival,
                due,
            });
            session.watch_asked();
        }
        self.requeue(id);
        let request = request.clone();
        self.emit(
            id,
            Event::Request {
                session: id,
                ticket,
                request,
            },
        );
    }

    fn answer_asked(
        &mut self,
        now: Instant,
        id: SessionId,
        asked: Asked,
        status: StatusCode,
        extra: (&Headers, Option<&Body>),
    ) {
        let Some(session) = self.session(id) else {
            return;
        };
        let tag = format!("{:016x}", session.tag);
        let is_update = asked.request.method() == Some(&Method::Update);
        if is_update && status.is_success() {
            session.refresh_target(&asked.request);
            if let Some(glare) = session.glare.as_mut().filter(|_| extra.1.is_some()) {
                glare.outdated = true;
            }
        }
        let features = session.features;
        let confirmed = session.is_confirmed();
        let mut headers = extra.0.clone();
        if is_update && status.is_success() && confirmed {
            headers.extend(self.settle_timer(now, id, &asked.request));
        }
        let extra = (&headers, extra.1);
        let contact = match status.is_success() {
            true => self.contact_at(asked.arrival, &asked.request, features),
            false => None,
        };
        let source = asked.arrival.source;
        let bytes = self.build_response(&asked.request, source, &tag, status, extra, contact);
        let Some(bytes) = bytes else { return };
        let happening = match status.is_success() {
            true => Happening::Send2xx,
            false => Happening::Send3to6xx,
        };
        let transaction = asked.transaction;
        let owner = Owner::Session(id, Part::Server);
        let reaction = self.transactions.apply(now, transaction, happening, bytes);
        self.react(now, transaction, owner, reaction);
        if asked.request.method() == Some(&Method::Prack) {
            self.go_on_after_prack(now, id);
        }
    }

    /// Answers what its user left unanswered, or what a session that ends leaves. A REFER that nobody
    /// wants is declined.
    pub(super) fn answer_overdue(&mut self, now: Instant, id: SessionId, all: bool) {
        loop {
            let Some(session) = self.session(id) else {
                return;
            };
            let Some(index) = session.asked.iter().position(|a| all || a.due <= now) else {
                return session.watch_asked();
            };
            let asked = session.asked.remove(index);
            let status = match (all, asked.request.method()) {
                (true, _) => StatusCode::REQUEST_TERMINATED,
                (false, Some(Method::Refer)) => StatusCode::DECLINE,
                (false, _) => StatusCode::SERVER_INTERNAL_ERROR,
            };
            self.answer_asked(now, id, asked, status, (super::options::NONE, None));
        }
    }

    /// The final response to a request of ours. 481 and 408 to an UPDATE say that the peer has lost
    /// the session (RFC 5057 §5).
    pub(super) fn request_answered(
        &mut self,
        now: Instant,
        id: SessionId,
        request: RequestId,
        response: &Message,
    ) {
        let status = response.status().unwrap_or(StatusCode::BAD_REQUEST);
        let (max, pause) = (self.config.max_glare_retries, self.glare_pause(id));
        let Some(session) = self.session(id) else {
            return;
        };
        let Some(requested) = session.take_requested(request) else {
            return;
        };
        let is_update = requested.method == Method::Update;
        if is_update && status.is_success() {
            session.refresh_target(response);
            if session.is_confirmed() {
                self.timer_answered(now, id, response);
            }
        }
        if is_update && self.raise_interval(id, response) {
            return self.send_requested(now, id, requested);
        }
        let Some(session) = self.session(id) else {
            return;
        };
        if is_update
            && status == StatusCode::REQUEST_PENDING
            && session.glare_retries < max
            && !session.ended
        {
            session.glare_retries += 1;
            session.glare = Some(Box::new(Glare {
                headers: Headers::new(),
                body: None,
                outdated: false,
                update: Some((requested, response.clone())),
            }));
            return self.set_clock(id, Clock::GlareRetry, now + pause);
        }
        self.tell_answered(id, &requested, Ok(response.clone()));
        if is_update && !self.is_fatal(now, id, status) && requested.refresh {
            self.refresh_refused(now, id, status);
        }
    }

    /// Tells how a request of ours went, where its user made it.
    fn tell_answered(
        &mut self,
        id: SessionId,
        requested: &Requested,
        result: Result<Message, Failure>,
    ) {
        let (session, request) = (id, requested.id);
        if !requested.refresh {
            self.emit(
                id,
                Event::RequestAnswered {
                    session,
                    request,
                    result,
                },
            );
        }
    }

    /// A request of ours got no response: an UPDATE was also a sign of life that failed.
    pub(super) fn request_unanswered(
        &mut self,
        now: Instant,
        id: SessionId,
        request: RequestId,
        failure: Failure,
    ) {
        let Some(requested) = self.session(id).and_then(|s| s.take_requested(request)) else {
            return;
        };
        self.tell_answered(id, &requested, Err(failure));
        if requested.method == Method::Update {
            self.give_session_up(now, id, failure);
        }
    }

    /// The pause after glare is over for an UPDATE.
    pub(super) fn update_again(
        &mut self,
        now: Instant,
        id: SessionId,
        outdated: bool,
        (requested, refusal): (Requested, Message),
    ) {
        let out_of_turn = self
            .sessions
            .get(&id)
            .is_none_or(|session| session.update_is_out_of_turn(requested.body.is_some()));
        if outdated || out_of_turn {
            return self.tell_answered(id, &requested, Ok(refusal));
        }
        self.send_requested(now, id, requested);
    }
}

impl Session {
    /// Whether our UPDATE has to wait: one at a time, and an offer only while no other is open
    /// (RFC 3311 §5.1).
    fn update_is_out_of_turn(&self, offers: bool) -> bool {
        let updating = self.updates_under_way().next().is_some();
        let is_open = self.client.as_ref().is_some_and(|client| !client.initial)
            || self.server.as_ref().is_some_and(|server| !server.initial)
            || self.accept.as_ref().is_some_and(|accept| accept.offers)
            || self.ack_wanted.is_some();
        updating || self.glare.is_some() || (offers && is_open)
    }

    fn updates_under_way(&self) -> impl Iterator<Item = &Requested> {
        self.requested
            .iter()
            .filter(|requested| requested.method == Method::Update)
    }

    /// Whether an offer of ours in an UPDATE waits for its answer.
    pub(super) fn is_offering_by_update(&self) -> bool {
        self.updates_under_way().any(|update| update.body.is_some())
    }

    /// Whether an offer of the peer in an UPDATE waits for our answer.
    pub(super) fn is_offered_by_update(&self) -> bool {
        self.asked.iter().any(|asked| {
            asked.request.method() == Some(&Method::Update) && !asked.request.body().is_empty()
        })
    }

    /// Why a request of the peer cannot be taken now. For an UPDATE: 500 while the one before waits
    /// for our answer, or an offer of the peer's does; 491 while an offer of ours waits for the
    /// peer's (RFC 3311 §5.2).
    fn refusal_of(&self, request: &Message, retry: u64) -> Option<Refusal> {
        if self.asked.len() >= MAX_ASKED {
            return Some(super::uas::out_of_turn(retry));
        }
        if request.method() != Some(&Method::Update) {
            return None;
        }
        let offers = !request.body().is_empty();
        let waits = |asked: &Asked| asked.request.method() == Some(&Method::Update);
        if self.asked.iter().any(waits)
            || (offers && self.server.as_ref().is_some_and(|server| !server.initial))
        {
            return Some(super::uas::out_of_turn(retry));
        }
        let open = self.client.as_ref().is_some_and(|client| !client.initial)
            || self.accept.as_ref().is_some_and(|accept| accept.offers)
            || self.ack_wanted.is_some()
            || self.is_offering_by_update();
        (offers && open).then(|| Refusal::new(StatusCode::REQUEST_PENDING))
    }

    fn take_asked(&mut self, ticket: TicketId) -> Option<Asked> {
        let index = self.asked.iter().position(|asked| asked.ticket == ticket)?;
        let asked = self.asked.remove(index);
        self.watch_asked();
        Some(asked)
    }

    fn take_requested(&mut self, request: RequestId) -> Option<Requested> {
        let index = self.requested.iter().position(|r| r.id == request)?;
        Some(self.requested.remove(index))
    }

    /// The clock of the request that has waited longest for our answer.
    fn watch_asked(&mut self) {
        match self.asked.iter().map(|asked| asked.due).min() {
            Some(due) => self.set_clock(Clock::AskedOverdue, due),
            None => self.stop_clock(Clock::AskedOverdue),
        }
    }

    /// Takes over the Contact of the peer's target refresh, or of its answer to ours.
    fn refresh_target(&mut self, message: &Message) {
        let tag = match message.is_request() {
            true => message.from(),
            false => message.to(),
        };
        let tag = tag.ok().and_then(|party| party.tag().map(str::to_owned));
        let dialogs = self.dialog.iter_mut().chain(&mut self.early);
        for dialog in dialogs {
            if Some(dialog.remote_tag()) == tag.as_deref() {
                dialog.refresh_target(message);
            }
        }
    }
}
