//! Stream connections: opening, reuse, framing, and the bounds on slow and idle ones.

use super::config::AgentConfig;
use super::event::DriverRequest;
use super::{Agent, Arrival, Deadline};
use crate::id::{ConnectionId, ListenerId};
use crate::sip::frame::{Deframer, Frame};
use crate::sip::transaction::layer::TransactionId;
use crate::sip::transport::{Destination, Path};
use crate::time::{Duration, Instant};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

/// How many transactions a connection remembers before it looks which of them are done.
const MAX_DONE_CLIENTS: usize = 64;

/// One stream connection.
#[derive(Debug)]
struct Connection {
    peer: SocketAddr,
    listener: ListenerId,
    deframer: Deframer,
    /// What waits for the connection to open; `None` once it is open.
    queue: Option<Vec<Bytes>>,
    queued_bytes: usize,
    /// Client transactions whose request went out here; some may be done.
    clients: Vec<TransactionId>,
    /// How many of them there may be before those that are done are thrown out.
    max_clients: usize,
    last_use: Instant,
    partial_since: Option<Instant>,
    /// The moment for which the connection stands in the queue of deadlines.
    queued: Instant,
}

/// All stream connections, found by name and by peer.
#[derive(Debug)]
pub(super) struct Connections {
    by_id: HashMap<ConnectionId, Connection>,
    by_peer: BTreeMap<SocketAddr, ConnectionId>,
    max_queue: usize,
}

impl Connections {
    pub(super) fn new(config: &AgentConfig) -> Self {
        Self {
            by_id: HashMap::new(),
            by_peer: BTreeMap::new(),
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
    pub(super) fn enqueue(&mut self, id: ConnectionId, bytes: Bytes) -> bool {
        let max = self.max_queue;
        let Some(connection) = self.by_id.get_mut(&id) else {
            return false;
        };
        let Some(queue) = &mut connection.queue else {
            return false;
        };
        if connection.queued_bytes + bytes.len() > max {
            return false;
        }
        connection.queued_bytes += bytes.len();
        queue.push(bytes);
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

    fn insert(&mut self, id: ConnectionId, connection: Connection) {
        self.by_peer.insert(connection.peer, id);
        self.by_id.insert(id, connection);
    }

    fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        let connection = self.by_id.remove(&id)?;
        if self.by_peer.get(&connection.peer) == Some(&id) {
            self.by_peer.remove(&connection.peer);
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
        self.add_connection(now, listener, peer, None)
    }

    /// The connection to a destination: one that is there, or a new one.
    pub(super) fn connection_to(
        &mut self,
        now: Instant,
        destination: Destination,
        listener: ListenerId,
    ) -> Option<ConnectionId> {
        if let Some(id) = self.connections.by_peer.get(&destination.address) {
            return Some(*id);
        }
        let id = self.add_connection(now, listener, destination.address, Some(Vec::new()))?;
        self.driver.push_back(DriverRequest::Connect {
            connection: id,
            destination,
            listener,
        });
        Some(id)
    }

    fn add_connection(
        &mut self,
        now: Instant,
        listener: ListenerId,
        peer: SocketAddr,
        queue: Option<Vec<Bytes>>,
    ) -> Option<ConnectionId> {
        if self.connections.by_id.len() >= self.config.max_connections {
            self.counters.connections_refused += 1;
            return None;
        }
        let id = ConnectionId(self.next_id());
        let connection = Connection {
            peer,
            listener,
            deframer: Deframer::new(),
            queue,
            queued_bytes: 0,
            clients: Vec::new(),
            max_clients: MAX_DONE_CLIENTS,
            last_use: now,
            partial_since: None,
            queued: now,
        };
        self.connections.insert(id, connection);
        self.queue_connection(id);
        Some(id)
    }

    /// How long until a connection is looked at again.
    fn check_interval(&self, connection: &Connection) -> Duration {
        let opening = connection.queue.is_some();
        match connection.partial_since {
            _ if opening => self.config.timers.timeout(),
            Some(_) => self.config.partial_message_timeout,
            None => self.config.idle_connection_timeout,
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
            Some(_) => self.close_connection(now, id),
            None => {}
        }
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
        let waiting = connection.queue.take().unwrap_or_default();
        for bytes in waiting {
            self.put_on_wire(Path::Stream { connection: id }, None, bytes);
        }
    }

    pub(super) fn connection_data(&mut self, now: Instant, id: ConnectionId, bytes: &[u8]) {
        let Some(connection) = self.connections.by_id.get_mut(&id) else {
            return;
        };
        connection.last_use = now;
        connection.deframer.push(bytes);
        let arrival = Arrival {
            path: Path::Stream { connection: id },
            source: connection.peer,
            listener: Some(connection.listener),
        };
        // A message may close the connection, so it is looked up for each.
        while let Some(connection) = self.connections.by_id.get_mut(&id) {
            match connection.deframer.poll() {
                Ok(Some(Frame::Message(message))) => self.handle_message(now, arrival, &message),
                Ok(Some(Frame::Ping)) => {
                    self.counters.keepalives += 1;
                    self.put_on_wire(arrival.path, None, Bytes::from_static(b"\r\n"));
                }
                Ok(Some(_)) => self.counters.keepalives += 1,
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
        for transaction in connection.clients {
            self.transport_failed(now, transaction);
        }
    }
}
