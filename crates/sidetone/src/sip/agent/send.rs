//! The way out: next hops, look-ups, and handing messages to sockets and connections.

use super::command::SessionId;
use super::draft::{Draft, Stamp};
use super::event::{DriverRequest, Failure, LookupId, SendToken, Transmit};
use super::session::Sent;
use super::{Agent, Deadline, Owner, Part};
use crate::sip::header::via::Via;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::transaction::key::ClientKey;
use crate::sip::transaction::layer::{Outgoing, Reaction, TransactionId};
use crate::sip::transaction::{Event as Happening, Machine};
use crate::sip::transport::route::{self, DEFAULT_PORT, Hop};
use crate::sip::transport::{Destination, Path, Transport};
use crate::time::Instant;
use bytes::Bytes;
use std::net::SocketAddr;

/// A request that waits for the address of its next hop.
pub(super) struct Lookup {
    pub(super) owner: Owner,
    pub(super) draft: Draft,
    pub(super) hop: Hop,
}

impl Agent {
    /// Sends a request once the address of its next hop is known. Failures are reported to its
    /// owner.
    pub(super) fn send_request(&mut self, now: Instant, owner: Owner, mut draft: Draft) {
        self.sign(owner, &mut draft);
        let hop = match route::next_hop(&draft.next_hop) {
            Ok(hop) => hop,
            Err(_) => {
                self.counters.dropped_unroutable += 1;
                return self.request_failed(now, owner, Failure::Unresolved);
            }
        };
        if let Hop::Address(destination) = hop {
            return self.dispatch(now, owner, draft, destination);
        }
        if let Some(destination) = self.known_address(owner, &hop) {
            return self.dispatch(now, owner, draft, destination);
        }
        self.look_up(now, owner, draft, hop);
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
        } = hop.clone()
        else {
            return;
        };
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
        self.lookups.insert(lookup, Lookup { owner, draft, hop });
        self.deadlines.push(deadline, Deadline::Lookup(lookup));
        self.driver.push_back(DriverRequest::Resolve {
            lookup,
            host,
            port,
            transport,
        });
    }

    pub(super) fn lookup_done(&mut self, now: Instant, lookup: LookupId, found: &[Destination]) {
        let Some(Lookup {
            owner, draft, hop, ..
        }) = self.lookups.remove(&lookup)
        else {
            return;
        };
        let listeners = &self.config.listeners;
        let usable = found.iter().find(|destination| {
            route::select_listener(listeners, draft.listener, **destination).is_some()
        });
        match usable.copied() {
            Some(destination) => {
                if let Owner::Session(id, _) = owner
                    && let Some(session) = self.session(id)
                {
                    session.resolved = Some((hop, destination));
                }
                self.dispatch(now, owner, draft, destination);
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

    /// Sends a request to an address: Via and Contact are those of the listener it leaves by.
    fn dispatch(&mut self, now: Instant, owner: Owner, draft: Draft, destination: Destination) {
        let listeners = &self.config.listeners;
        let Some(listener) = route::select_listener(listeners, draft.listener, destination) else {
            self.counters.dropped_unroutable += 1;
            return self.request_failed(now, owner, Failure::Unresolved);
        };
        let public = listeners[usize::from(listener.0)].public();
        let path = match destination.transport {
            Transport::Udp => Path::Datagram {
                listener,
                destination: destination.address,
            },
            Transport::Tcp => match self.connection_to(now, destination, listener) {
                Some(connection) => Path::Stream { connection },
                None => return self.request_failed(now, owner, Failure::Full),
            },
        };
        let key = ClientKey::new(self.rng.next_u64(), draft.method.clone());
        let stamp = Stamp {
            transport: destination.transport,
            public,
            branch: key.branch(),
        };
        let Some(bytes) = draft.build(&stamp, &self.config) else {
            return self.request_failed(now, owner, Failure::Unresolved);
        };
        if draft.method == Method::Ack {
            return self.ack_built(now, owner, path, bytes);
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
            }
            Err(_) => self.request_failed(now, owner, Failure::Full),
        }
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

    fn put(&mut self, now: Instant, transaction: Option<TransactionId>, path: Path, bytes: Bytes) {
        let Path::Stream { connection } = path else {
            return self.put_on_wire(path, transaction, bytes);
        };
        if self.connections.is_open(connection) {
            return self.put_on_wire(path, transaction, bytes);
        }
        if self.connections.enqueue(connection, bytes.clone()) {
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
                } else if !self.connections.enqueue(connection, bytes) {
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
        let port = via.port().filter(|port| *port != 0).unwrap_or(DEFAULT_PORT);
        let address = SocketAddr::new(ip, port);
        let destination = Destination {
            transport: Transport::Tcp,
            address,
        };
        let listener = route::select_listener(&self.config.listeners, None, destination)?;
        self.connection_to(now, destination, listener)
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
        if reaction.timeout {
            self.counters.transactions_timed_out += 1;
            self.request_failed(now, owner, Failure::Timeout);
        }
        if reaction.transport_error {
            self.request_failed(now, owner, Failure::Transport);
        }
        if reaction.terminated {
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
