//! The SIP user agent: transactions, dialogs and INVITE sessions behind one sans-IO machine.

pub mod command;
pub mod config;
pub mod event;
pub mod registration;

mod connection;
mod draft;
mod errand;
mod flows;
mod gate;
mod identity;
mod indialog;
mod limits;
mod load;
mod locating;
mod messaging;
mod options;
mod publishing;
mod refresh;
mod registrar;
mod reliable;
mod reply;
mod request;
mod send;
mod serving;
mod session;
mod sign_in;
mod subscribing;
mod timeout;
mod uac;
mod uas;
mod watch;

use self::command::{PublicationId, RequestId, SessionId, SubscribeId, TicketId};
use self::config::{AgentConfig, Counters};
use self::connection::Connections;
use self::errand::{ErrandId, Errands};
use self::event::{Cause, DriverRequest, Event, LookupId, SendToken, Transmit};
use self::gate::Gate;
use self::limits::Pending;
use self::locating::Locating;
use self::messaging::Inbox;
use self::publishing::Published;
use self::registration::{Registration, RegistrationId};
use self::send::{Alternatives, Failed, Lookup};
use self::serving::EventServer;
use self::session::Session;
use self::subscribing::Subscribed;
use self::watch::Watched;
use crate::id::{ConnectionId, ListenerId};
use crate::rng::Rng;
use crate::sip::health::{Monitor, WatchId};
use crate::sip::message::{Message, ParseError};
use crate::sip::overload::admission::Admission;
use crate::sip::overload::throttle::Throttle;
use crate::sip::registrar::Registrar;
use crate::sip::transaction::layer::{Layer, Limits, TransactionId};
use crate::sip::transaction::queue::DeadlineQueue;
use crate::sip::transport::resolve::{Question, Record};
use crate::sip::transport::stun;
use crate::sip::transport::{Listener, Path};
use crate::time::Instant;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;

/// The extensions that we understand; the value of Supported.
const SUPPORTED: &str = "100rel, timer, replaces, norefersub";

/// The same in requests whose provisional responses cannot be reliable.
const SUPPORTED_LATER: &str = "timer, replaces, norefersub";

/// Part of a session that a transaction serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Our first INVITE.
    Invite,
    /// Our re-INVITE.
    Reinvite,
    /// Our BYE, CANCEL, PRACK: nothing hangs on how they end.
    Farewell,
    /// Our INFO.
    Info,
    /// Another request of ours.
    Request(RequestId),
    /// Our ACK for a 2xx, numbered; not a transaction, but it may wait for a look-up.
    Ack(u32),
    /// The peer's INVITE or re-INVITE.
    ServerInvite,
    /// Another request of the peer.
    Server,
}

/// Whose transaction it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Session(SessionId, Part),
    Errand(ErrandId),
    Registration(RegistrationId),
    /// One that only absorbs repetitions.
    Nobody,
}

/// What a deadline of the agent itself is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Deadline {
    Session(SessionId),
    Lookup(LookupId),
    Credentials(LookupId),
    Connection(ConnectionId),
    Registration(RegistrationId),
    Subscription(SubscribeId),
    Publication(PublicationId),
    Message(TicketId),
    /// A keep-alive of a registration's flow, or its answer.
    Flow(RegistrationId),
}

/// How a message arrived.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    path: Path,
    source: SocketAddr,
    listener: Option<ListenerId>,
    at: Instant,
}

/// A user agent client and server for any number of INVITE sessions, without sockets and clock.
///
/// Hand everything that arrives to the `handle_*` methods, with the current time. After each of
/// them, and after each command, poll until each says `None`, in this order:
/// [`poll_transmit`](Self::poll_transmit), [`poll_driver`](Self::poll_driver),
/// [`poll_event`](Self::poll_event); then sleep until
/// [`poll_timeout`](Self::poll_timeout) or the next input, and call
/// [`handle_timeout`](Self::handle_timeout) when that moment has come.
///
/// The same inputs with the same generator give the same outputs, byte for byte.
///
/// ```
/// use sidetone::id::ListenerId;
/// use sidetone::rng::Rng;
/// use sidetone::sip::agent::Agent;
/// use sidetone::sip::agent::config::AgentConfig;
/// use sidetone::sip::transport::{Listener, Transport};
/// use sidetone::time::Instant;
///
/// let local = "192.0.2.1:5060".parse().unwrap();
/// let config = AgentConfig {
///     listeners: vec![Listener::new(Transport::Udp, local)],
///     ..AgentConfig::default()
/// };
/// let mut agent = Agent::new(config, Rng::new(1));
/// let request = b"OPTIONS sip:x@192.0.2.1 SIP/2.0\r\n\
///     Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1;rport\r\nMax-Forwards: 70\r\n\
///     From: <sip:y@192.0.2.9>;tag=1\r\nTo: <sip:x@192.0.2.1>\r\n\
///     Call-ID: 1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";
/// let source = "192.0.2.9:5060".parse().unwrap();
/// agent.handle_datagram(Instant::ZERO, ListenerId(0), source, request);
/// let answer = agent.poll_transmit().unwrap();
/// assert!(answer.bytes.starts_with(b"SIP/2.0 200 OK\r\n"));
/// ```
pub struct Agent {
    config: AgentConfig,
    rng: Rng,
    /// Makes the To tags of stateless answers repeatable by us alone.
    secret: u64,
    transactions: Layer<Owner>,
    sessions: HashMap<SessionId, Box<Session>>,
    open_sessions: usize,
    tags: HashMap<u64, SessionId>,
    gate: Gate,
    registrar: Option<Registrar>,
    registrations: BTreeMap<RegistrationId, Box<Registration>>,
    errands: Errands,
    monitor: Monitor,
    watched: BTreeMap<WatchId, Watched>,
    inbox: Inbox,
    event_server: Option<EventServer>,
    subscriptions: BTreeMap<SubscribeId, Box<Subscribed>>,
    /// Our subscriptions by the tag of their SUBSCRIBE.
    subscriber_tags: HashMap<u64, SubscribeId>,
    publications: BTreeMap<PublicationId, Box<Published>>,
    pending: Pending,
    lookups: HashMap<LookupId, Lookup>,
    /// Responses whose connection is gone, and that wait for the address of another.
    locating: HashMap<LookupId, Locating>,
    /// Where requests go next if they fail where they are.
    alternatives: HashMap<TransactionId, Alternatives>,
    /// Where requests have failed lately.
    failed: Failed,
    connections: Connections,
    deadlines: DeadlineQueue<Deadline>,
    events: VecDeque<Event>,
    transmits: VecDeque<Transmit>,
    driver: VecDeque<DriverRequest>,
    counters: Counters,
    draining: bool,
    admission: Admission,
    /// What those who obey are told of our load.
    told: Option<String>,
    throttle: Throttle,
    last_id: u64,
}

impl Agent {
    /// An agent that draws tags, branches and Call-IDs from `rng`.
    pub fn new(config: AgentConfig, mut rng: Rng) -> Self {
        let limits = Limits {
            transactions: config.max_transactions,
            bytes: config.max_retransmission_bytes,
        };
        let connections = Connections::new(&config);
        let own: Vec<_> = config.listeners.iter().map(|l| l.public()).collect();
        let registrar = config.registrar.clone();
        Self {
            secret: rng.next_u64(),
            transactions: Layer::new(config.timers.clone(), limits),
            sessions: HashMap::new(),
            open_sessions: 0,
            tags: HashMap::new(),
            gate: Gate::new(config.authentication.clone(), &mut rng),
            registrations: BTreeMap::new(),
            errands: Errands::default(),
            monitor: Monitor::new(rng.fork()),
            watched: BTreeMap::new(),
            inbox: Inbox::default(),
            event_server: config
                .events
                .clone()
                .map(|config| EventServer::new(config, &mut rng)),
            subscriptions: BTreeMap::new(),
            subscriber_tags: HashMap::new(),
            publications: BTreeMap::new(),
            registrar: registrar.map(|config| Registrar::new(config, &own)),
            pending: Pending::default(),
            lookups: HashMap::new(),
            locating: HashMap::new(),
            alternatives: HashMap::new(),
            failed: Failed::default(),
            connections,
            deadlines: DeadlineQueue::default(),
            events: VecDeque::new(),
            transmits: VecDeque::new(),
            driver: VecDeque::new(),
            counters: Counters::default(),
            draining: false,
            admission: Admission::new(config.admission.clone()),
            told: None,
            throttle: Throttle::default(),
            last_id: 0,
            config,
            rng,
        }
    }

    /// The listening sockets.
    pub fn listeners(&self) -> &[Listener] {
        &self.config.listeners
    }

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        Counters {
            retransmitted: self.counters.retransmitted + self.transactions.retransmitted(),
            withheld: self.throttle.withheld(),
            ..self.counters
        }
    }

    /// Sessions that have not ended.
    pub fn sessions(&self) -> usize {
        self.open_sessions
    }

    /// Transactions under way, those included that only absorb repetitions.
    pub fn transactions(&self) -> usize {
        self.transactions.len()
    }

    /// Whether nothing is left: no session, not even one that only lingers, no transaction, no
    /// look-up. Connections may be open.
    pub fn is_idle(&self) -> bool {
        self.sessions.is_empty()
            && self.transactions.is_empty()
            && self.lookups.is_empty()
            && self.locating.is_empty()
            && self.gate.is_empty()
    }

    /// Whether the other sides have acknowledged everything that was said to them: what is left only
    /// absorbs repetitions, for up to 32 s.
    pub fn is_settled(&self) -> bool {
        let mut sessions = self.sessions.values();
        self.lookups.is_empty()
            && self.transactions.is_settled()
            && sessions.all(|session| session.accept.is_none() && session.bye_wanted.is_none())
    }

    /// Takes in one datagram that arrived at a listener.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        listener: ListenerId,
        source: SocketAddr,
        datagram: &[u8],
    ) {
        let source = SocketAddr::new(source.ip().to_canonical(), source.port());
        if stun::is_stun(datagram) {
            self.on_stun(now, listener, source, datagram);
            return self.flush(now);
        }
        let path = Path::Datagram {
            listener,
            destination: source,
        };
        let arrival = Arrival {
            path,
            source,
            listener: Some(listener),
            at: now,
        };
        self.handle_bytes(now, arrival, Bytes::copy_from_slice(datagram));
        self.flush(now);
    }

    /// Takes in a connection that a listener accepted; `None` where there are too many, and the
    /// driver closes it.
    pub fn handle_accepted(
        &mut self,
        now: Instant,
        listener: ListenerId,
        peer: SocketAddr,
    ) -> Option<ConnectionId> {
        self.accept_connection(now, listener, peer)
    }

    /// Takes in the domains for which the trusted certificate speaks that a peer has shown on a
    /// connection which it opened (RFC 5922 §7.1); 32 of them are kept.
    pub fn handle_identified(&mut self, connection: ConnectionId, domains: Vec<String>) {
        self.connections.identify(connection, domains);
    }

    /// Takes in that a connection asked for with [`DriverRequest::Connect`] is open.
    pub fn handle_connected(&mut self, now: Instant, connection: ConnectionId) {
        self.connection_opened(now, connection);
        self.flush(now);
    }

    /// Takes in bytes that arrived on a connection.
    pub fn handle_stream_data(&mut self, now: Instant, connection: ConnectionId, bytes: &[u8]) {
        self.connection_data(now, connection, bytes);
        self.flush(now);
    }

    /// Takes in that a connection was closed by the peer, failed, or could not be opened.
    pub fn handle_closed(&mut self, now: Instant, connection: ConnectionId) {
        self.connection_closed(now, connection);
        self.flush(now);
    }

    /// Takes in that the socket refused a datagram.
    pub fn handle_send_failed(&mut self, now: Instant, token: SendToken) {
        self.counters.transport_errors += 1;
        if let Some(raw) = token.0 {
            self.transport_failed(now, TransactionId::from_raw(raw));
        }
        self.flush(now);
    }

    /// Takes in that the network could not deliver a datagram: where it was sent from and to, and as much
    /// of it as is quoted (RFC 3261 §18.4).
    ///
    /// Anybody can forge such news, so only what quotes the branch of a request that waits for its first
    /// answer counts. It then goes to the next address at once, or fails; a request within a call that has
    /// no other address is repeated until its time is up, lest a peer that restarts loses its calls.
    pub fn handle_unreachable(
        &mut self,
        now: Instant,
        listener: ListenerId,
        destination: SocketAddr,
        quoted: &[u8],
    ) {
        let destination = SocketAddr::new(destination.ip().to_canonical(), destination.port());
        let path = Path::Datagram {
            listener,
            destination,
        };
        match self.undelivered(path, quoted) {
            Some(transaction) => {
                self.counters.transport_errors += 1;
                self.transport_failed(now, transaction);
            }
            None => self.counters.dropped_unreachable += 1,
        }
        self.flush(now);
    }

    /// Takes in the answer to a question of a look-up: none where there is none.
    pub fn handle_records(
        &mut self,
        now: Instant,
        lookup: LookupId,
        question: &Question,
        records: &[Record],
    ) {
        self.records_found(now, lookup, question, records);
        self.flush(now);
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.fire_all(now);
        if let Some(registrar) = &mut self.registrar {
            registrar.handle_timeout(now);
        }
        self.monitor.handle_timeout(now);
        self.go_on_watching(now);
        if let Some(server) = &mut self.event_server {
            server.handle_timeout(now);
            self.go_on_notifying(now);
        }
        self.flush(now);
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next thing that the driver shall do.
    pub fn poll_driver(&mut self) -> Option<DriverRequest> {
        self.driver.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) has to be called, where nothing happens
    /// before.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        let own = self.next_deadline();
        let transactions = self.transactions.poll_timeout();
        let registrar = self.registrar.as_mut().and_then(Registrar::poll_timeout);
        let monitor = self.monitor.poll_timeout();
        let server = self.event_server.as_mut();
        let events = server.and_then(EventServer::poll_timeout);
        let others = registrar.into_iter().chain(monitor).chain(events);
        own.into_iter().chain(transactions).chain(others).min()
    }

    /// Begins nothing new: INVITEs, OPTIONS, messages and first SUBSCRIBEs get 503 with Retry-After, sessions go on.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    fn handle_bytes(&mut self, now: Instant, arrival: Arrival, bytes: Bytes) {
        if bytes.iter().all(|byte| matches!(byte, 0 | b'\r' | b'\n')) {
            self.counters.keepalives += 1;
            return;
        }
        match Message::parse(bytes) {
            Ok(message) => self.handle_message(now, arrival, &message),
            Err(ParseError::Empty) => self.counters.keepalives += 1,
            Err(_) => self.counters.dropped_malformed += 1,
        }
    }

    fn handle_message(&mut self, now: Instant, arrival: Arrival, message: &Message) {
        if message.is_request() {
            self.counters.requests += 1;
            self.on_request(now, arrival, message);
        } else {
            self.counters.responses += 1;
            self.on_response(now, message);
        }
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn session(&mut self, id: SessionId) -> Option<&mut Session> {
        self.sessions.get_mut(&id).map(Box::as_mut)
    }

    /// Tells the user, unless the session has ended for it.
    fn emit(&mut self, id: SessionId, event: Event) {
        if self.sessions.get(&id).is_some_and(|session| !session.ended) {
            self.events.push_back(event);
        }
    }

    /// Ends a session for its user, once.
    fn end(&mut self, id: SessionId, cause: Cause) {
        let Some(session) = self.sessions.get_mut(&id).filter(|session| !session.ended) else {
            return;
        };
        session.ended = true;
        self.open_sessions -= 1;
        self.counters.sessions_ended += 1;
        self.pending.release(session.pending_source.take());
        self.events.push_back(Event::Ended { session: id, cause });
    }

    /// Forgets a session of which nothing is left to come.
    fn forget_if_spent(&mut self, id: SessionId) {
        if !self
            .sessions
            .get(&id)
            .is_some_and(|session| session.is_spent())
        {
            return;
        }
        if let Some(session) = self.sessions.remove(&id) {
            self.tags.remove(&session.tag);
            self.pending.forget(session.merge_key.as_deref());
        }
    }
}

#[cfg(test)]
mod tests;
