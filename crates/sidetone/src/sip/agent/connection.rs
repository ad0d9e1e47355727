//! Connections: opening, reuse, framing, keep-alive, and the bounds on slow and idle ones.

use super::config::AgentConfig;
use super::event::DriverRequest;
use super::{Agent, Arrival, Deadline};
use crate::id::{ConnectionId, ListenerId};
use crate::rng::Rng;
use crate::sip::frame::{Deframer, Frame};
use crate::sip::transaction::layer::TransactionId;
use crate::sip::transport::{Destination, Path, Transport};
use crate::time::{Duration, Instant};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

/// How many transactions a connection remembers before it looks which of them are done.
const MAX_DONE_CLIENTS: usize = 64;

/// The longest pause between two keep-alives of ours, unless the peer says otherwise (RFC 5626 §4.4.1).
const KEEP_ALIVE: Duration = Duration::from_secs(120);

/// How long a peer that answers keep-alives may take (RFC 5626 §4.4.1).
const PONG_TIMEOUT: Duration = Duration::from_secs(10);

/// What a keep-alive of ours is, and the answer to a peer's (RFC 5626 §3.5.1).
const PING: &[u8] = b"\r\n\r\n";
const PONG: &[u8] = b"\r\n";

/// What requests find a connection by: over TLS also the name that its certificate was asked for,
/// `None` where it was the address. A connection to one name is none to another at the same address.
type Way = (Transport, SocketAddr, Option<Box<str>>);

/// Domains of one certificate that are kept.
const MAX_DOMAINS: usize = 32;

/// How a connection came to be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Side {
    /// The peer opened it. Over TLS nothing says who that is, so only those find it who follow it.
    Accepted,
    /// We opened it.
    Opened {
        name: Option<Box<str>>,
        /// How long that may take.
        patience: Duration,
    },
}

/// A message that waits for its connection to open, and where it goes if that does not.
#[derive(Debug, Clone)]
pub(super) struct Queued {
    pub(super) bytes: Bytes,
    /// The addresses that the DNS has given for a response; `None` where it was not asked.
    pub(super) others: Option<Vec<Destination>>,
}

impl Queued {
    /// One for which the DNS was not asked.
    pub(super) fn new(bytes: Bytes) -> Self {
        Self {
            bytes,
            others: None,
        }
    }
}

/// One stream connection.
#[derive(Debug)]
struct Connection {
    transport: Transport,
    side: Side,
    peer: SocketAddr,
    listener: ListenerId,
    /// The domains for which the certificate that it has shown speaks.
    domains: Vec<String>,
    deframer: Deframer,
    /// What waits for the connection to open; `None` once it is open.
    queue: Option<Vec<Queued>>,
    queued_bytes: usize,
    /// Client transactions whose request went out here; some may be done.
    clients: Vec<TransactionId>,
    /// How many of them there may be before those that are done are thrown out.
    max_clients: usize,
    last_use: Instant,
    partial_since: Option<Instant>,
    /// Whether anything sensible has come yet.
    heard: bool,
    /// When our next keep-alive goes out, on those that we opened.
    ping_at: Option<Instant>,
    /// After how long a silence the peer gives the connection up, where it has said so.
    flow_timer: Option<Duration>,
    /// When the answer to the last one is overdue, where the peer has answered one before.
    pong_due: Option<Instant>,
    /// Whether a keep-alive of ours has gone out that nothing has come after.
    pinging: bool,
    answers_pings: bool,
    /// The moment for which the connection stands in the queue of deadlines.
    queued: Instant,
}

/// All stream connections, found by name and by peer.
#[derive(Debug)]
pub(super) struct Connections {
    by_id: HashMap<ConnectionId, Connection>,
    by_way: BTreeMap<Way, ConnectionId>,
    /// Accepted connections by source.
    by_source: BTreeMap<IpAddr, usize>,
    max_queue: usize,
}

impl Connection {
    /// How long until our next keep-alive: 80 to 100 % of what the peer has said, or of 120 s.
    fn ping_pause(&self, rng: &mut Rng) -> Duration {
        let most = self.flow_timer.unwrap_or(KEEP_ALIVE);
        most.mul_f64(0.8 + 0.2 * rng.next_f64())
    }

    /// What it is found by, where it may be.
    fn way(&self) -> Option<Way> {
        match &self.side {
            Side::Accepted if self.transport.is_secure() => None,
            Side::Accepted => Some((self.transport, self.peer, None)),
            Side::Opened { name, .. } => Some((self.transport, self.peer, name.clone())),
        }
    }
}

impl Connections {
    pub(super) fn new(config: &AgentConfig) -> Self {
        Self {
            by_id: HashMap::new(),
            by_way: BTreeMap::new(),
            by_source: BTreeMap::new(),
            max_queue: config.max_connection_queue,
        }
    }

    /// Whether messages can be put on the connection now.
    pub(super) fn is_open(&self, id: ConnectionId) -> bool {
        self.by_id
            .get(&id)
            .is_some_and(|connection| connection.queue.is_none())
    }

    /// Keeps a message until the connection opens; false where there is no such connection or too
    /// much waits already.
    pub(super) fn enqueue(&mut self, id: ConnectionId, message: Queued) -> bool {
        let max = self.max_queue;
        let Some(connection) = self.by_id.get_mut(&id) else {
            return false;
        };
        let Some(queue) = &mut connection.queue else {
            return false;
        };
        if connection.queued_bytes + message.bytes.len() > max {
            return false;
        }
        connection.queued_bytes += message.bytes.len();
        queue.push(message);
        true
    }

    /// The transactions remembered, over all connections.
    #[cfg(test)]
    pub(super) fn noted_clients(&self) -> usize {
        self.by_id
            .values()
            .map(|connection| connection.clients.len())
            .sum()
    }

    /// The listener that a connection belongs to.
    pub(super) fn listener(&self, id: ConnectionId) -> Option<ListenerId> {
        self.by_id.get(&id).map(|connection| connection.listener)
    }

    /// The host at the other end.
    pub(super) fn peer(&self, id: ConnectionId) -> Option<IpAddr> {
        self.by_id.get(&id).map(|connection| connection.peer.ip())
    }

    /// Keeps for whom a peer speaks.
    pub(super) fn identify(&mut self, id: ConnectionId, mut domains: Vec<String>) {
        domains.truncate(MAX_DOMAINS);
        if let Some(connection) = self.by_id.get_mut(&id) {
            connection.domains = domains;
        }
    }

    /// For whom the peer of a connection speaks.
    pub(super) fn domains(&self, path: Path) -> &[String] {
        let Path::Stream { connection } = path else {
            return &[];
        };
        let connection = self.by_id.get(&connection);
        connection.map_or(&[], |connection| &connection.domains)
    }

    /// Where a connection leads.
    pub(super) fn destination(&self, id: ConnectionId) -> Option<Destination> {
        self.by_id.get(&id).map(|connection| Destination {
            transport: connection.transport,
            address: connection.peer,
        })
    }

    /// Keeps after how long a silence the peer gives a connection up (Flow-Timer).
    pub(super) fn set_flow_timer(&mut self, id: ConnectionId, timer: Duration) {
        if let Some(connection) = self.by_id.get_mut(&id) {
            connection.flow_timer = Some(timer);
        }
    }

    /// Whether the peer opened the connection.
    pub(super) fn is_accepted(&self, id: ConnectionId) -> bool {
        let connection = self.by_id.get(&id);
        connection.is_some_and(|connection| connection.side == Side::Accepted)
    }

    /// A connection to a destination. Over TLS it must have been opened to the same name; where only
    /// an address is asked for, one that was opened to whatever name at that address will do.
    fn find(&self, destination: Destination, name: Option<&str>) -> Option<ConnectionId> {
        let Destination { transport, address } = destination;
        if !transport.is_secure() {
            return self.by_way.get(&(transport, address, None)).copied();
        }
        if let Some(name) = name {
            let way = (transport, address, Some(name.into()));
            return self.by_way.get(&way).copied();
        }
        let mut from = self.by_way.range((transport, address, None)..);
        let ((found, at, _), id) = from.next()?;
        (*found == transport && *at == address).then_some(*id)
    }

    fn insert(&mut self, id: ConnectionId, connection: Connection) {
        if connection.side == Side::Accepted {
            *self.by_source.entry(connection.peer.ip()).or_default() += 1;
        }
        if let Some(way) = connection.way() {
            self.by_way.insert(way, id);
        }
        self.by_id.insert(id, connection);
    }

    fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        let connection = self.by_id.remove(&id)?;
        let way = connection.way();
        if let Some(way) = way.filter(|way| self.by_way.get(way) == Some(&id)) {
            self.by_way.remove(&way);
        }
        if connection.side == Side::Accepted
            && let Some(count) = self.by_source.get_mut(&connection.peer.ip())
        {
            *count -= 1;
            if *count == 0 {
                self.by_source.remove(&connection.peer.ip());
            }
        }
        Some(connection)
    }
}

impl Agent {
    /// Remembers that a client transaction depends on a connection.
    pub(super) fn note_client(&mut self, path: Path, transaction: TransactionId) {
        let Path::Stream { connection } = path else {
            return;
        };
        let Some(connection) = self.connections.by_id.get_mut(&connection) else {
            return;
        };
        connection.clients.push(transaction);
        if connection.clients.len() > connection.max_clients {
            let transactions = &self.transactions;
            let live = |id: &TransactionId| transactions.owner(*id).is_some();
            connection.clients.retain(live);
            connection.max_clients = (connection.clients.len() * 2).max(MAX_DONE_CLIENTS);
        }
    }

    pub(super) fn accept_connection(
        &mut self,
        now: Instant,
        listener: ListenerId,
        peer: SocketAddr,
    ) -> Option<ConnectionId> {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let already = self.connections.by_source.get(&peer.ip());
        if already.is_some_and(|count| *count >= self.config.max_connections_per_source) {
            self.counters.connections_refused += 1;
            return None;
        }
        self.add_connection(now, listener, peer, Side::Accepted)
    }

    /// The connection to a destination: one that is there, or a new one. `name` is the host that the
    /// URI names, where it is no address.
    pub(super) fn connection_to(
        &mut self,
        now: Instant,
        destination: Destination,
        name: Option<&str>,
        listener: ListenerId,
        patience: Duration,
    ) -> Option<ConnectionId> {
        if let Some(id) = self.connections.find(destination, name) {
            return Some(id);
        }
        let secure = destination.transport.is_secure();
        let side = Side::Opened {
            name: name.filter(|_| secure).map(Box::from),
            patience,
        };
        let id = self.add_connection(now, listener, destination.address, side)?;
        self.driver.push_back(DriverRequest::Connect {
            connection: id,
            destination,
            name: name.map(str::to_owned),
            listener,
        });
        Some(id)
    }

    fn add_connection(
        &mut self,
        now: Instant,
        listener: ListenerId,
        peer: SocketAddr,
        side: Side,
    ) -> Option<ConnectionId> {
        if self.connections.by_id.len() >= self.config.max_connections {
            self.counters.connections_refused += 1;
            return None;
        }
        let transport = self
            .config
            .listeners
            .get(usize::from(listener.0))?
            .transport;
        let id = ConnectionId(self.next_id());
        let queue = (side != Side::Accepted).then(Vec::new);
        let connection = Connection {
            transport,
            side,
            peer,
            listener,
            domains: Vec::new(),
            deframer: Deframer::new(),
            queue,
            queued_bytes: 0,
            clients: Vec::new(),
            max_clients: MAX_DONE_CLIENTS,
            last_use: now,
            partial_since: None,
            heard: false,
            ping_at: None,
            flow_timer: None,
            pong_due: None,
            pinging: false,
            answers_pings: false,
            queued: now,
        };
        self.connections.insert(id, connection);
        self.queue_connection(id);
        Some(id)
    }

    /// How long until a connection is looked at again.
    fn check_interval(&self, connection: &Connection) -> Duration {
        match (&connection.side, connection.partial_since) {
            (Side::Opened { patience, .. }, _) if connection.queue.is_some() => *patience,
            (Side::Accepted, _) if !connection.heard => self.config.partial_message_timeout,
            (_, Some(_)) => self.config.partial_message_timeout,
            _ => self.config.idle_connection_timeout,
        }
    }

    /// Puts a connection into the queue of deadlines anew.
    fn queue_connection(&mut self, id: ConnectionId) {
        let Some(deadline) = self.connection_deadline(id) else {
            return;
        };
        if let Some(connection) = self.connections.by_id.get_mut(&id) {
            connection.queued = deadline;
            self.deadlines.push(deadline, Deadline::Connection(id));
        }
    }

    /// Whether the entry of the queue is the connection's newest.
    pub(super) fn is_queued_connection(&self, at: Instant, id: ConnectionId) -> bool {
        self.connections
            .by_id
            .get(&id)
            .is_some_and(|connection| connection.queued == at)
    }

    /// When a connection will have been too slow or too quiet for too long.
    pub(super) fn connection_deadline(&self, id: ConnectionId) -> Option<Instant> {
        let end = self.connection_end(id)?;
        let connection = self.connections.by_id.get(&id)?;
        let sooner = [connection.ping_at, connection.pong_due];
        sooner.into_iter().flatten().chain([end]).min()
    }

    /// When a connection is to be closed if nothing comes.
    fn connection_end(&self, id: ConnectionId) -> Option<Instant> {
        let connection = self.connections.by_id.get(&id)?;
        let since = connection.partial_since.unwrap_or(connection.last_use);
        Some(since + self.check_interval(connection))
    }

    /// An entry of the queue is due: the connection is closed, or looked at later where it was
    /// used meanwhile.
    pub(super) fn connection_due(&mut self, now: Instant, at: Instant, id: ConnectionId) {
        if !self.is_queued_connection(at, id) {
            return;
        }
        match self.connection_deadline(id) {
            Some(deadline) if deadline > now => self.queue_connection(id),
            Some(_) => self.attend_connection(now, id),
            None => {}
        }
    }

    /// Something about a connection is due: its end, or a keep-alive.
    fn attend_connection(&mut self, now: Instant, id: ConnectionId) {
        let is_over = self.connection_end(id).is_some_and(|end| end <= now);
        let is_followed = is_over && self.is_followed(id);
        let Some(connection) = self.connections.by_id.get_mut(&id) else {
            return;
        };
        let is_dead = connection.pong_due.is_some_and(|due| due <= now);
        let is_quiet = connection.queue.is_none() && connection.partial_since.is_none();
        if is_dead || (is_over && !(is_followed && is_quiet)) {
            return self.close_connection(now, id);
        }
        if is_over {
            connection.last_use = now;
        }
        if connection.ping_at.is_some_and(|at| at <= now) {
            let due = connection.answers_pings.then(|| now + PONG_TIMEOUT);
            connection.pong_due = due;
            connection.pinging = true;
            connection.ping_at = Some(now + connection.ping_pause(&mut self.rng));
            let path = Path::Stream { connection: id };
            self.put_on_wire(path, None, Bytes::from_static(PING));
        }
        self.queue_connection(id);
    }

    /// Whether a session has no other way to its peer, or a registered user is reached by it.
    fn is_followed(&self, id: ConnectionId) -> bool {
        if self.registrar.as_ref().is_some_and(|r| r.is_flow(id)) {
            return true;
        }
        let path = Some(Path::Stream { connection: id });
        let mut sessions = self.sessions.values();
        sessions.any(|session| !session.ended && session.flow == path)
    }

    /// An entry of the queue turned out to be too early: the connection was used meanwhile.
    pub(super) fn requeue_connection(&mut self, id: ConnectionId) {
        self.queue_connection(id);
    }

    pub(super) fn connection_opened(&mut self, now: Instant, id: ConnectionId) {
        let Some(connection) = self.connections.by_id.get_mut(&id) else {
            return;
        };
        connection.last_use = now;
        connection.ping_at = Some(now + connection.ping_pause(&mut self.rng));
        let waiting = connection.queue.take().unwrap_or_default();
        for Queued { bytes, .. } in waiting {
            self.put_on_wire(Path::Stream { connection: id }, None, bytes);
        }
        self.queue_connection(id);
    }

    pub(super) fn connection_data(&mut self, now: Instant, id: ConnectionId, bytes: &[u8]) {
        let Some(connection) = self.connections.by_id.get_mut(&id) else {
            return;
        };
        connection.pong_due = None;
        if connection.side == Side::Accepted {
            connection.last_use = now;
        }
        let arrival = Arrival {
            path: Path::Stream { connection: id },
            source: connection.peer,
            listener: Some(connection.listener),
            at: now,
        };
        if connection.transport.is_framed() {
            return self.whole_message(now, id, arrival, bytes);
        }
        connection.deframer.push(bytes);
        // A message may close the connection, so it is looked up for each.
        while let Some(connection) = self.connections.by_id.get_mut(&id) {
            match connection.deframer.poll() {
                Ok(Some(Frame::Message(message))) => {
                    self.heard(now, id);
                    self.handle_message(now, arrival, &message);
                }
                Ok(Some(Frame::Ping)) => self.pinged(id),
                Ok(Some(_)) => self.ponged(id),
                Ok(None) => break,
                Err(_) => {
                    self.counters.dropped_malformed += 1;
                    self.flush(now);
                    return self.close_connection(now, id);
                }
            }
        }
        self.watch_partial(now, id);
    }

    /// A WebSocket message came: one SIP message, or a keep-alive (RFC 7118 §5.2, §6).
    fn whole_message(&mut self, now: Instant, id: ConnectionId, arrival: Arrival, bytes: &[u8]) {
        match bytes {
            PING => self.pinged(id),
            PONG => self.ponged(id),
            _ => {
                self.heard(now, id);
                self.handle_bytes(now, arrival, Bytes::copy_from_slice(bytes));
            }
        }
    }

    /// A message came on a connection: it is in use.
    fn heard(&mut self, now: Instant, id: ConnectionId) {
        if let Some(connection) = self.connections.by_id.get_mut(&id) {
            connection.heard = true;
            connection.last_use = now;
        }
    }

    /// The peer wants to know whether we are there.
    fn pinged(&mut self, id: ConnectionId) {
        self.counters.keepalives += 1;
        if let Some(connection) = self.connections.by_id.get_mut(&id) {
            connection.heard = true;
        }
        let path = Path::Stream { connection: id };
        self.put_on_wire(path, None, Bytes::from_static(PONG));
    }

    /// The peer answers our keep-alive.
    fn ponged(&mut self, id: ConnectionId) {
        self.counters.keepalives += 1;
        if let Some(connection) = self.connections.by_id.get_mut(&id) {
            connection.answers_pings |= connection.pinging;
            connection.pinging = false;
        }
    }

    /// A message that does not end is given its time once, from its first byte.
    fn watch_partial(&mut self, now: Instant, id: ConnectionId) {
        let deadline = now + self.config.partial_message_timeout;
        let Some(connection) = self.connections.by_id.get_mut(&id) else {
            return;
        };
        if !connection.deframer.is_partial() {
            connection.partial_since = None;
        } else if connection.partial_since.is_none() {
            connection.partial_since = Some(now);
            if connection.queued > deadline {
                self.queue_connection(id);
            }
        }
    }

    fn close_connection(&mut self, now: Instant, id: ConnectionId) {
        self.counters.connections_refused += 1;
        self.driver
            .push_back(DriverRequest::Close { connection: id });
        self.connection_closed(now, id);
    }

    /// Requests that went out on a connection fail with it; responses find another way.
    pub(super) fn connection_closed(&mut self, now: Instant, id: ConnectionId) {
        let Some(connection) = self.connections.remove(id) else {
            return;
        };
        self.flow_closed(id);
        self.own_flow_closed(now, id);
        for transaction in connection.clients {
            self.transport_failed(now, transaction);
        }
        for message in connection.queue.into_iter().flatten() {
            self.find_another_way(now, message);
        }
    }
}
