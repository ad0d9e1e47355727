//! Messages outside of calls, both ways (RFC 3428).

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::command::{CommandError, Headers, MessageId, SendMessage, TicketId};
use super::draft::{self, Draft, Stamp};
use super::errand::{Purpose, SignIn};
use super::event::{Event, Failure};
use super::options::{Apart, NONE};
use super::reply::Refusal;
use super::{Agent, Arrival, Deadline, Owner};
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::status::StatusCode;
use crate::sip::transaction::key::{ClientKey, ServerKey};
use crate::sip::transaction::layer::TransactionId;
use crate::sip::transaction::{Event as Happening, Machine};
use crate::sip::transport::Path;
use crate::sip::transport::route::{self, Hop};
use crate::time::{Duration, Instant};

/// The largest MESSAGE that may go any way (RFC 3428 §8).
const MAX_BYTES: usize = 1_300;

/// How long a message may wait for our answer. Its sender gives it up after 32 s.
const PATIENCE: Duration = Duration::from_secs(10);

/// A message that waits for our answer.
struct Held {
    transaction: TransactionId,
    request: Message,
    arrival: Arrival,
    due: Instant,
}

/// The messages that wait, and how many of each source.
#[derive(Default)]
pub(super) struct Inbox {
    held: BTreeMap<TicketId, Held>,
    sources: HashMap<IpAddr, usize>,
}

impl Inbox {
    pub(super) fn due(&self, ticket: TicketId) -> Option<Instant> {
        Some(self.held.get(&ticket)?.due)
    }

    fn has_room(&self, source: IpAddr, (all, each): (usize, usize)) -> bool {
        let of_source = self.sources.get(&source).copied().unwrap_or_default();
        self.held.len() < all && of_source < each
    }

    fn hold(&mut self, ticket: TicketId, held: Held) {
        *self.sources.entry(held.arrival.source.ip()).or_default() += 1;
        self.held.insert(ticket, held);
    }

    fn take(&mut self, ticket: TicketId) -> Option<Held> {
        let held = self.held.remove(&ticket)?;
        let source = held.arrival.source.ip();
        if let Some(count) = self.sources.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.sources.remove(&source);
            }
        }
        Some(held)
    }

    #[cfg(any(test, feature = "fuzz"))]
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.sources.is_empty()
    }
}

impl Agent {
    /// Sends a message outside of any call; [`Event::MessageDone`] tells what became of it. It makes
    /// no dialog.
    ///
    /// # Errors
    /// [`CommandError::TooLarge`] for more than 1,300 bytes where the way is not known to control
    /// congestion ([`SendMessage::congestion_safe`]); [`CommandError`] where nothing was sent.
    pub fn send_message(
        &mut self,
        now: Instant,
        command: SendMessage,
    ) -> Result<MessageId, CommandError> {
        if self.draining {
            return Err(CommandError::Draining);
        }
        draft::check(&command.headers, Some(&command.body))?;
        if command.flow.is_none() || !command.route.is_empty() {
            let hop = command.route.first().unwrap_or(&command.target);
            self.check_route(hop, command.listener)?;
        }
        let apart = Apart {
            target: command.target,
            from: command.from,
            to: command.to,
            route: command.route,
            listener: command.listener,
        };
        let draft = self.draft_apart(Method::Message, &apart)?;
        let draft = draft.with(command.headers, Some(command.body));
        let controlled = command.congestion_safe && is_stream(&draft, command.flow);
        if !controlled && self.size_of(&draft).is_none_or(|size| size > MAX_BYTES) {
            return Err(CommandError::TooLarge);
        }
        let sign_in = command.account.as_ref().map(SignIn::new);
        let id = MessageId(self.next_id());
        self.run_errand(now, Purpose::Message(id), draft, sign_in, command.flow);
        self.flush(now);
        Ok(id)
    }

    /// Answers a message that [`Event::Message`] told of: 200 where it is with its reader, 202 where
    /// it is kept for later (RFC 3428 §7), or a refusal.
    ///
    /// # Errors
    /// [`CommandError::WrongState`] where it is answered already, which the agent does by itself with
    /// 480 after 10 s; [`CommandError::WrongStatus`] for a status below 200.
    pub fn answer_message(
        &mut self,
        now: Instant,
        ticket: TicketId,
        status: StatusCode,
        headers: Headers,
    ) -> Result<(), CommandError> {
        draft::check(&headers, None)?;
        if status.is_provisional() {
            return Err(CommandError::WrongStatus);
        }
        self.answer_held(now, ticket, status, &headers)
            .ok_or(CommandError::WrongState)?;
        self.flush(now);
        Ok(())
    }

    pub(super) fn message_done(&mut self, message: MessageId, result: Result<Message, Failure>) {
        self.events
            .push_back(Event::MessageDone { message, result });
    }

    /// A MESSAGE outside of any dialog.
    pub(super) fn on_message(
        &mut self,
        now: Instant,
        arrival: Arrival,
        request: &Message,
        key: ServerKey,
        user: Option<&str>,
    ) {
        let source = arrival.source.ip();
        if !self.inbox.has_room(source, self.config.max_messages) {
            let refusal = self.full();
            return self.refuse(now, arrival, request, &refusal);
        }
        let path = self.response_path(arrival, request);
        let (machine, owner) = (Machine::NonInviteServer, Owner::Nobody);
        let Ok(transaction) = self.transactions.start_server(machine, key, path, owner) else {
            let refusal = self.full();
            return self.refuse(now, arrival, request, &refusal);
        };
        let ticket = TicketId(self.next_id());
        let due = now + PATIENCE;
        let held = Held {
            transaction,
            request: request.clone(),
            arrival,
            due,
        };
        self.inbox.hold(ticket, held);
        self.deadlines.push(due, Deadline::Message(ticket));
        self.compact();
        self.events.push_back(Event::Message {
            ticket,
            request: request.clone(),
            source: arrival.source,
            user: user.map(str::to_owned),
        });
    }

    /// Nobody has answered a message in time.
    pub(super) fn message_overdue(&mut self, now: Instant, ticket: TicketId) {
        self.answer_held(now, ticket, StatusCode::TEMPORARILY_UNAVAILABLE, NONE);
    }

    fn answer_held(
        &mut self,
        now: Instant,
        ticket: TicketId,
        status: StatusCode,
        headers: &Headers,
    ) -> Option<()> {
        let held = self.inbox.take(ticket)?;
        let Held {
            transaction,
            request,
            arrival,
            ..
        } = held;
        let tag = self.stateless_tag(&request);
        let extra = (headers, None);
        let Some(bytes) = self.build_response(&request, arrival.source, &tag, status, extra, None)
        else {
            let refusal = Refusal::new(StatusCode::SERVER_INTERNAL_ERROR);
            self.refuse(now, arrival, &request, &refusal);
            return Some(());
        };
        let happening = match status.is_success() {
            true => Happening::Send2xx,
            false => Happening::Send3to6xx,
        };
        let reaction = self.transactions.apply(now, transaction, happening, bytes);
        self.react(now, transaction, Owner::Nobody, reaction);
        Some(())
    }

    /// The bytes of a request by the longest of our addresses.
    fn size_of(&self, draft: &Draft) -> Option<usize> {
        let listeners = self.config.listeners.iter();
        let longest = listeners.max_by_key(|listener| listener.sent_by().len())?;
        let stamp = Stamp {
            transport: longest.transport,
            sent_by: longest.sent_by(),
            branch: ClientKey::new(0, draft.method.clone()).branch(),
        };
        Some(draft.build(&stamp, &self.config)?.len())
    }
}

/// Whether the first hop is reached by a stream, whatever else fails.
fn is_stream(draft: &Draft, flow: Option<Path>) -> bool {
    if let Some(flow) = flow.filter(|_| draft.routes.is_empty()) {
        return flow.is_reliable();
    }
    match route::next_hop(&draft.next_hop) {
        Ok(Hop::Address(to)) => to.transport.is_reliable(),
        Ok(Hop::Name {
            transport, secure, ..
        }) => secure || transport.is_some_and(|transport| transport.is_reliable()),
        Err(_) => false,
    }
}
