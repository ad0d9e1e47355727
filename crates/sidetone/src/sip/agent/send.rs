//! The way out: next hops, look-ups, and handing messages to sockets and connections.

use super::command::SessionId;
use super::connection::Queued;
use super::draft::{Draft, Stamp};
use super::event::{DriverRequest, Failure, LookupId, SendToken, Transmit};
use super::session::Sent;
use super::{Agent, Arrival, Deadline, Owner, Part};
use crate::id::ListenerId;
use crate::sip::header::via::Via;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::transaction::key::ClientKey;
use crate::sip::transaction::layer::{Outgoing, Reaction, TransactionId};
use crate::sip::transaction::{Event as Happening, Machine, State};
use crate::sip::transport::resolve::{Question, Record, Resolution, Wanted};
use crate::sip::transport::route::{self, Hop};
use crate::sip::transport::{Destination, Path, Transport};
use crate::time::{Duration, Instant};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// The most addresses that are remembered because requests have failed there.
const MAX_FAILED: usize = 1_024;

/// How long an address is tried last, or not at all where it was only tried for a large request, after
/// a request has failed there.
const FAILED_FOR: Duration = Duration::from_secs(60);

/// A request that waits for the address of its next hop.
pub(super) struct Lookup {
    pub(super) owner: Owner,
    pub(super) draft: Draft,
    pub(super) hop: Hop,
    resolution: Resolution,
}

/// A request under way, and where it goes next if it fails there (RFC 3263 §4.3).
pub(super) struct Alternatives {
    draft: Draft,
    tried: Destination,
    others: Vec<Destination>,
}

/// Addresses where requests have failed lately.
#[derive(Debug, Default)]
pub(super) struct Failed(BTreeMap<Destination, Instant>);

impl Failed {
    fn note(&mut self, now: Instant, destination: Destination) {
        if self.0.len() >= MAX_FAILED {
            self.0.retain(|_, until| *until > now);
        }
        if self.0.len() < MAX_FAILED {
            self.0.insert(destination, now + FAILED_FOR);
        }
    }

    fn has(&self, now: Instant, destination: &Destination) -> bool {
        self.0.get(destination).is_some_and(|until| *until > now)
    }
}

impl Agent {
    /// Sends a request once the address of its next hop is known. Failures are reported to its
    /// owner.
    pub(super) fn send_request(&mut self, now: Instant, owner: Owner, mut draft: Draft) {
        self.sign(owner, &mut draft);
        if let Owner::Session(id, _) = owner
            && let Some(session) = self.sessions.get(&id)
        {
            draft.session_id = Some(session.identity.header());
        }
        if let Some((listener, path)) = self.flow_for(owner, &draft) {
            self.send_by(now, owner, draft, listener, path);
            return;
        }
        let hop = match route::next_hop(&draft.next_hop) {
            Ok(hop) => hop,
            Err(_) => {
                self.counters.dropped_unroutable += 1;
                return self.request_failed(now, owner, Failure::Unresolved);
            }
        };
        if let Hop::Address(destination) = hop {
            return self.dispatch(now, owner, draft, vec![destination]);
        }
        if let Some(destination) = self.known_address(owner, &hop) {
            return self.dispatch(now, owner, draft, vec![destination]);
        }
        self.look_up(now, owner, draft, hop);
    }

    /// The way to a peer that its Contact does not lead to: where its own requests came from, or for a
    /// registered user his REGISTER. A connection that is gone is none.
    fn flow_for(&self, owner: Owner, draft: &Draft) -> Option<(ListenerId, Path)> {
        if !draft.routes.is_empty() {
            return None;
        }
        match owner {
            Owner::Session(id, _) => self.way_of(self.sessions.get(&id)?.flow?),
            Owner::Errand(id) => self.way_of(self.errands.flow(id)?),
            Owner::Registration(_) | Owner::Nobody => None,
        }
    }

    /// Where requests to the sender of a request go if not to its Contact: back to where this one came
    /// from, unless a proxy stands between.
    pub(super) fn flow_of(&self, arrival: Arrival, request: &Message) -> Option<Path> {
        let listener = self.listener_of(arrival)?;
        let direct = request.record_routes().next().is_none() && request.vias().nth(1).is_none();
        (direct && listener.follows_source()).then_some(arrival.path)
    }

    /// The same for a peer that we called and that answers: it is reached as it was, where it was
    /// reached by its own connection or may be behind NAT.
    pub(super) fn flow_to(&self, path: Path, response: &Message) -> Option<Path> {
        let direct = response.record_routes().next().is_none();
        let follows = match path {
            Path::Datagram { listener, .. } => {
                let listener = self.config.listeners.get(usize::from(listener.0));
                listener.is_some_and(|listener| listener.nat)
            }
            Path::Stream { connection } => self.connections.is_accepted(connection),
        };
        (direct && follows).then_some(path)
    }

    fn known_address(&self, owner: Owner, hop: &Hop) -> Option<Destination> {
        let Owner::Session(id, _) = owner else {
            return None;
        };
        let (known, destination) = self.sessions.get(&id)?.resolved.as_ref()?;
        (known == hop).then_some(*destination)
    }

    fn look_up(&mut self, now: Instant, owner: Owner, draft: Draft, hop: Hop) {
        let Hop::Name {
            host,
            port,
            transport,
            secure,
        } = &hop
        else {
            return;
        };
        let wanted = Wanted {
            host,
            port: *port,
            transport: *transport,
            secure: *secure,
        };
        let listeners = self.config.listeners.iter();
        let able: Vec<_> = listeners
            .map(|l| (l.transport, l.local.is_ipv4()))
            .collect();
        let resolution = Resolution::new(&wanted, &able, self.rng.fork());
        if self.lookups.len() >= self.config.max_transactions {
            return self.request_failed(now, owner, Failure::Full);
        }
        let lookup = LookupId(self.next_id());
        let deadline = now + self.config.resolve_timeout;
        self.count_live(owner, 1);
        if let Owner::Session(id, Part::Invite | Part::Reinvite) = owner
            && let Some(client) = self.session(id).and_then(|session| session.client.as_mut())
        {
            client.lookup = Some(lookup);
        }
        let waiting = Lookup {
            owner,
            draft,
            hop,
            resolution,
        };
        self.lookups.insert(lookup, waiting);
        self.deadlines.push(deadline, Deadline::Lookup(lookup));
        self.go_on_looking(now, lookup);
    }

    pub(super) fn records_found(
        &mut self,
        now: Instant,
        lookup: LookupId,
        question: &Question,
        records: &[Record],
    ) {
        if let Some(waiting) = self.lookups.get_mut(&lookup) {
            waiting.resolution.handle_answer(question, records);
            return self.go_on_looking(now, lookup);
        }
        self.located(now, lookup, question, records);
    }

    /// Asks what is to be asked, and sends the request once nothing is.
    fn go_on_looking(&mut self, now: Instant, lookup: LookupId) {
        let Some(waiting) = self.lookups.get_mut(&lookup) else {
            return;
        };
        while let Some(question) = waiting.resolution.poll_question() {
            let query = DriverRequest::Query { lookup, question };
            self.driver.push_back(query);
        }
        if waiting.resolution.is_done() {
            self.lookup_done(now, lookup);
        }
    }

    /// A look-up has found all there is, or its time is up: what it has found is used.
    pub(super) fn lookup_done(&mut self, now: Instant, lookup: LookupId) {
        let Some(waiting) = self.lookups.remove(&lookup) else {
            return;
        };
        let Lookup {
            owner,
            draft,
            hop,
            resolution,
        } = waiting;
        let mut found = resolution.destinations();
        let listeners = &self.config.listeners;
        found.retain(|found| route::select_listener(listeners, draft.listener, *found).is_some());
        found.sort_by_key(|destination| self.failed.has(now, destination));
        match found.first().copied() {
            Some(destination) => {
                if let Owner::Session(id, _) = owner
                    && let Some(session) = self.session(id)
                {
                    session.resolved = Some((hop, destination));
                }
                self.dispatch(now, owner, draft, found);
            }
            None => self.request_failed(now, owner, Failure::Unresolved),
        }
        self.count_live(owner, -1);
    }

    /// Drops the look-up that an INVITE waits for, as when it is cancelled.
    pub(super) fn drop_lookup(&mut self, lookup: Option<LookupId>) {
        if let Some(Lookup { owner, .. }) = lookup.and_then(|id| self.lookups.remove(&id)) {
            self.count_live(owner, -1);
        }
    }

    /// Sends a request to the first of some addresses, and keeps the others in case it fails there.
    fn dispatch(&mut self, now: Instant, owner: Owner, draft: Draft, mut to: Vec<Destination>) {
        self.spare(now, owner, &draft, &mut to);
        if to.is_empty() {
            return self.request_failed(now, owner, Failure::Full);
        }
        if let Some(stream) = self.stream_for_large(now, &draft, to.first().copied()) {
            to.insert(0, stream);
        }
        let listeners = &self.config.listeners;
        let fits = |to: &Destination| route::select_listener(listeners, draft.listener, *to);
        let usable = to.iter().enumerate();
        let Some((index, listener)) = usable.filter_map(|(i, to)| Some((i, fits(to)?))).next()
        else {
            self.counters.dropped_unroutable += 1;
            return self.request_failed(now, owner, Failure::Unresolved);
        };
        let tried = to[index];
        let others = to.split_off(index + 1);
        let Some(path) = self.path_to(now, &draft, tried, listener) else {
            return self.request_failed(now, owner, Failure::Full);
        };
        let kept = (!others.is_empty()).then(|| draft.clone());
        let sent = self.send_by(now, owner, draft, listener, path);
        if let (Some(transaction), Some(draft)) = (sent, kept) {
            let alternatives = Alternatives {
                draft,
                tried,
                others,
            };
            self.alternatives.insert(transaction, alternatives);
        }
    }

    /// Where a request goes in place of a datagram that would be too large (RFC 3261 §18.1.1), unless
    /// the URI asks for UDP, or that has failed there lately.
    fn stream_for_large(
        &self,
        now: Instant,
        draft: &Draft,
        to: Option<Destination>,
    ) -> Option<Destination> {
        let datagram = to.filter(|to| to.transport == Transport::Udp)?;
        if draft.method == Method::Ack || draft.next_hop.param("transport").is_some() {
            return None;
        }
        let stream = Destination {
            transport: Transport::Tcp,
            ..datagram
        };
        let listeners = &self.config.listeners;
        let listener = route::select_listener(listeners, draft.listener, stream)?;
        let stamp = Stamp {
            transport: Transport::Tcp,
            sent_by: listeners.get(usize::from(listener.0))?.sent_by(),
            branch: ClientKey::new(0, draft.method.clone()).branch(),
        };
        let bytes = draft.build(&stamp, &self.config)?;
        (bytes.len() > self.config.tcp_above && !self.failed.has(now, &stream)).then_some(stream)
    }

    fn path_to(
        &mut self,
        now: Instant,
        draft: &Draft,
        destination: Destination,
        listener: ListenerId,
    ) -> Option<Path> {
        if destination.transport == Transport::Udp {
            let destination = destination.address;
            return Some(Path::Datagram {
                listener,
                destination,
            });
        }
        let uri = &draft.next_hop;
        let asked = uri.param("transport").is_some() || uri.host_ip().is_none();
        let patience = match destination.transport == Transport::Tcp && !asked {
            true => self.config.tcp_above_timeout,
            false => self.config.timers.timeout(),
        };
        let name = uri.host_ip().is_none().then(|| uri.host());
        let name = name.map(|name| name.trim_end_matches('.').to_ascii_lowercase());
        let connection =
            self.connection_to(now, destination, name.as_deref(), listener, patience)?;
        Some(Path::Stream { connection })
    }

    /// Sends a request on its way: Via and Contact are those of the listener it leaves by. Gives the
    /// transaction, where there is one.
    fn send_by(
        &mut self,
        now: Instant,
        owner: Owner,
        draft: Draft,
        listener: ListenerId,
        path: Path,
    ) -> Option<TransactionId> {
        let key = ClientKey::new(self.rng.next_u64(), draft.method.clone());
        let Some(bytes) = self.build_again(&draft, &key, listener) else {
            self.request_failed(now, owner, Failure::Unresolved);
            return None;
        };
        if draft.method == Method::Ack {
            self.ack_built(now, owner, path, bytes);
            return None;
        }
        let machine = match draft.method {
            Method::Invite => Machine::InviteClient,
            _ => Machine::NonInviteClient,
        };
        match self
            .transactions
            .start_client(now, machine, key.clone(), path, bytes, owner)
        {
            Ok(transaction) => {
                self.count_live(owner, 1);
                self.note_client(path, transaction);
                self.note_flow(owner, path);
                self.keep_for_challenge(owner, transaction, draft);
                self.invite_sent(
                    owner,
                    Sent {
                        transaction,
                        key,
                        listener,
                        path,
                    },
                );
                Some(transaction)
            }
            Err(_) => {
                self.request_failed(now, owner, Failure::Full);
                None
            }
        }
    }

    /// Sends a request that failed, or was answered 503, to the next address (RFC 3263 §4.3); false
    /// where there is none, or nobody waits for it any more.
    pub(super) fn try_next(&mut self, now: Instant, owner: Owner, failed: TransactionId) -> bool {
        let Some(Alternatives {
            draft,
            tried,
            others,
        }) = self.alternatives.remove(&failed)
        else {
            return false;
        };
        self.failed.note(now, tried);
        if let Owner::Session(id, part) = owner {
            let Some(session) = self.session(id) else {
                return false;
            };
            if matches!(part, Part::Invite | Part::Reinvite) && !session.retarget(failed) {
                return false;
            }
            if let (Some((_, known)), Some(next)) = (&mut session.resolved, others.first()) {
                *known = *next;
            }
        }
        self.counters.failovers += 1;
        self.dispatch(now, owner, draft, others);
        true
    }

    /// Keeps what CANCEL and ACK of an INVITE need.
    fn invite_sent(&mut self, owner: Owner, sent: Sent) {
        let Owner::Session(id, Part::Invite | Part::Reinvite) = owner else {
            return;
        };
        let Some(session) = self.session(id) else {
            return;
        };
        let path = sent.path;
        session.listener = Some(sent.listener);
        if let Some(client) = &mut session.client {
            client.sent = Some(sent);
        }
        self.note_peer(id, path);
    }

    /// Counts what still reports to a session, and lets the session go with the last of it.
    pub(super) fn count_live(&mut self, owner: Owner, change: i32) {
        let Owner::Session(id, _) = owner else { return };
        let Some(session) = self.session(id) else {
            return;
        };
        session.live = session.live.saturating_add_signed(change);
        self.forget_if_spent(id);
    }

    /// Sends a message outside of any transaction.
    pub(super) fn send_plain(&mut self, now: Instant, path: Path, bytes: Bytes) {
        self.put(now, None, path, bytes);
    }

    /// Moves what the transactions want to send to the sockets and connections.
    pub(super) fn flush(&mut self, now: Instant) {
        while let Some(Outgoing {
            transaction,
            path,
            bytes,
        }) = self.transactions.poll_transmit()
        {
            self.put(now, Some(transaction), path, bytes);
        }
    }

    /// The request that a datagram which was not delivered was of, where that is to count.
    pub(super) fn undelivered(&self, path: Path, quoted: &[u8]) -> Option<TransactionId> {
        let message = Message::parse(Bytes::copy_from_slice(quoted)).ok()?;
        let via = message.top_via_lenient().ok()?;
        let key = ClientKey::parse(via.branch()?, message.method()?.clone())?;
        let transaction = self.transactions.client(&key)?;
        let waits = matches!(
            self.transactions.state(transaction),
            State::Calling | State::Trying
        );
        if !waits || self.transactions.path(transaction) != Some(path) {
            return None;
        }
        let in_call = match self.transactions.owner(transaction)? {
            Owner::Session(id, part) => {
                let session = self.sessions.get(&id)?;
                part != Part::Invite && session.dialog.is_some()
            }
            _ => false,
        };
        (!in_call || self.alternatives.contains_key(&transaction)).then_some(transaction)
    }

    fn put(&mut self, now: Instant, transaction: Option<TransactionId>, path: Path, bytes: Bytes) {
        let Path::Stream { connection } = path else {
            return self.put_on_wire(path, transaction, bytes);
        };
        if self.connections.is_open(connection) {
            return self.put_on_wire(path, transaction, bytes);
        }
        if self
            .connections
            .enqueue(connection, Queued::new(bytes.clone()))
        {
            return;
        }
        match self.way_around(now, &bytes) {
            Some(connection) => {
                if let Some(transaction) = transaction {
                    self.transactions
                        .set_path(transaction, Path::Stream { connection });
                }
                if self.connections.is_open(connection) {
                    self.put_on_wire(Path::Stream { connection }, transaction, bytes);
                } else if !self.connections.enqueue(connection, Queued::new(bytes)) {
                    self.counters.transport_errors += 1;
                }
            }
            None => {
                self.counters.transport_errors += 1;
                if let Some(transaction) = transaction {
                    self.transport_failed(now, transaction);
                }
            }
        }
    }

    pub(super) fn put_on_wire(
        &mut self,
        path: Path,
        transaction: Option<TransactionId>,
        bytes: Bytes,
    ) {
        self.counters.sent += 1;
        let token = SendToken(transaction.map(TransactionId::to_raw));
        self.transmits.push_back(Transmit { path, bytes, token });
    }

    /// Another connection for a response whose own is gone: to the address the request came from,
    /// at the sent-by port (RFC 3261 §18.2.2). Requests have no way around.
    fn way_around(&mut self, now: Instant, bytes: &Bytes) -> Option<crate::id::ConnectionId> {
        let message = Message::parse(bytes.clone())
            .ok()
            .filter(|m| !m.is_request())?;
        let via: Via = message.top_via().ok()?;
        let ip = via.received().or(via.host_ip())?;
        let transport = Transport::from_name(via.transport()).filter(|t| !t.is_framed())?;
        let port = via.port().filter(|port| *port != 0);
        let port = port.unwrap_or(transport.default_port());
        let destination = Destination {
            transport,
            address: SocketAddr::new(ip, port),
        };
        let name = via
            .host_ip()
            .is_none()
            .then(|| via.host().to_ascii_lowercase());
        let listener = route::select_listener(&self.config.listeners, None, destination)?;
        let patience = self.config.timers.timeout();
        self.connection_to(now, destination, name.as_deref(), listener, patience)
    }

    /// A transaction could not send: its machine decides what that means.
    pub(super) fn transport_failed(&mut self, now: Instant, transaction: TransactionId) {
        let owner = self.transactions.owner(transaction);
        let reaction =
            self.transactions
                .apply(now, transaction, Happening::TransportError, Bytes::new());
        if let Some(owner) = owner {
            self.react(now, transaction, owner, reaction);
        }
    }

    /// Passes time-outs, transport errors and ends of transactions on to their owners.
    pub(super) fn react(
        &mut self,
        now: Instant,
        transaction: TransactionId,
        owner: Owner,
        reaction: Reaction,
    ) {
        let failed = reaction.timeout || reaction.transport_error;
        if reaction.timeout {
            self.counters.transactions_timed_out += 1;
        }
        if failed && !self.try_next(now, owner, transaction) {
            let failure = match reaction.timeout {
                true => Failure::Timeout,
                false => Failure::Transport,
            };
            self.request_failed(now, owner, failure);
        }
        if reaction.terminated {
            self.alternatives.remove(&transaction);
            if let Owner::Session(id, part) = owner {
                self.session_transaction_gone(now, id, part, transaction);
            }
            self.count_live(owner, -1);
        }
    }

    fn session_transaction_gone(
        &mut self,
        now: Instant,
        id: SessionId,
        part: Part,
        transaction: TransactionId,
    ) {
        let Some(session) = self.session(id) else {
            return;
        };
        session.acks.retain(|ack| ack.transaction != transaction);
        session.forget_draft(transaction);
        let undecided = session
            .client
            .as_ref()
            .and_then(|client| client.sent.as_ref())
            .is_some_and(|sent| sent.transaction == transaction);
        if undecided {
            self.request_failed(now, Owner::Session(id, part), Failure::Timeout);
        }
    }
}
