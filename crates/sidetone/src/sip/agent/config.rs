//! Configuration and counters of the user agent.

use crate::sip::auth::server::VerifierConfig;
use crate::sip::event::package::EventConfig;
use crate::sip::overload::admission::AdmissionConfig;
use crate::sip::registrar::config::RegistrarConfig;
use crate::sip::transaction::timer::Timers;
use crate::sip::transport::Listener;
use crate::time::{Duration, WallTime};

/// What a dialog or a stranger may always send.
macro_rules! methods {
    () => {
        "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, UPDATE, PRACK, REFER, NOTIFY, MESSAGE"
    };
}

/// The media types of messages that are taken where nothing else is said.
const MESSAGE_TYPES: [&str; 3] = [
    "text/plain",
    "message/cpim",
    "application/im-iscomposing+xml",
];

/// Which provisional responses to callers who support 100rel are sent reliably (RFC 3262). Where the
/// caller requires it, all are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReliableProvisional {
    /// None but where required.
    WhenRequired,
    /// Those with a description, so that early media does not hang on one lost datagram. The
    /// default.
    #[default]
    WithDescription,
    /// All.
    Always,
}

/// What an [`Agent`](super::Agent) is told once, when it is made. Every bound has a default that
/// suits a node with some thousands of calls.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// The listening sockets, numbered from zero by [`ListenerId`](crate::id::ListenerId) in this
    /// order. Requests go out through the first one that fits transport and address family, unless
    /// a command names another.
    pub listeners: Vec<Listener>,
    /// The timers T1, T2, T4 of RFC 3261.
    pub timers: Timers,
    /// The value of User-Agent and Server; none by default, and then neither header is sent.
    pub product: Option<String>,
    /// The user part of our Contact; `sidetone` by default.
    pub contact_user: String,
    /// How long an outgoing INVITE may ring before it is cancelled, where the command says nothing;
    /// 180 s.
    pub ring_timeout: Duration,
    /// How long an incoming INVITE may wait for a final answer before the agent rejects it with
    /// 480; 300 s. A shorter Expires header of the INVITE goes first.
    pub pending_timeout: Duration,
    /// Which provisional responses are sent reliably.
    pub reliable_provisional: ReliableProvisional,
    /// The session interval that our INVITEs ask for (RFC 4028), and our answers where the caller
    /// understands session timers but asks for none; at least 90 s, 1800 s by default. `None` asks
    /// for none; what the peer asks for is kept all the same.
    pub session_expires: Option<Duration>,
    /// The shortest session interval that a peer may ask for; shorter ones get 422. At least 90 s,
    /// which is the default.
    pub min_session_expires: Duration,
    /// How long a name or a user may take to be looked up; 10 s.
    pub resolve_timeout: Duration,
    /// How those are challenged who have to sign in by the access list of a listener; without it
    /// they are refused with 403. None by default.
    pub authentication: Option<VerifierConfig>,
    /// Whose addresses of record are registered here; without it REGISTER gets 405. None by default.
    pub registrar: Option<RegistrarConfig>,
    /// Our own registrations at once; 1,000.
    pub max_registrations: usize,
    /// Peers at most that are watched; 1,000.
    pub max_watches: usize,
    /// Whose state may be subscribed to and published here; `None`, the default, refuses both with
    /// 405.
    pub events: Option<EventConfig>,
    /// Subscriptions and publications of our own, at most each; 1,000.
    pub max_subscriptions: usize,
    /// The media types of messages (RFC 3428) that are taken; others get 415. `text/plain`,
    /// `message/cpim` and `application/im-iscomposing+xml`.
    pub message_types: Vec<String>,
    /// Messages outside of calls that may wait for their answer, in all and from one source; one more
    /// gets 503. 1,000 and 100.
    pub max_messages: (usize, usize),
    /// Requests whose users are looked up at once; 10,000. More get 503.
    pub max_credential_lookups: usize,
    /// INVITE sessions at once, those not yet ended; 20,000. About 4 KB each.
    pub max_sessions: usize,
    /// Incoming INVITEs at once from one source address that are not answered yet; 5,000.
    pub max_pending_per_source: usize,
    /// Transactions at once, of all four kinds; 200,000.
    pub max_transactions: usize,
    /// Bytes of messages kept for retransmission, over all transactions; 256 MiB.
    pub max_retransmission_bytes: usize,
    /// Early dialogs that one outgoing INVITE may open by forking; 12. More are left aside.
    pub max_forks: usize,
    /// Stream connections at once; 10,000. More are refused.
    pub max_connections: usize,
    /// Connections at once that one source address has opened; 1,000. More are refused.
    pub max_connections_per_source: usize,
    /// Bytes that may wait for one connection to open; 256 KiB. Beyond that the connection fails.
    pub max_connection_queue: usize,
    /// How long a message on a stream may take from its first byte to its last, and the first one to
    /// come on a connection that a peer has opened; 30 s.
    pub partial_message_timeout: Duration,
    /// How long a stream connection may stay silent before it is closed; 900 s. Keep-alives of the
    /// peer count, answers to ours do not. One that a session has no way around stays open.
    pub idle_connection_timeout: Duration,
    /// Requests of more bytes than this go by TCP where UDP would be used because nothing else is
    /// asked for (RFC 3261 §18.1.1), and by UDP after all where that fails; 1,300.
    pub tcp_above: usize,
    /// How long TCP may take to open in that case; 3 s.
    pub tcp_above_timeout: Duration,
    /// The Retry-After of every 503 that the agent sends by itself, in seconds; 5.
    pub retry_after: u32,
    /// How often a re-INVITE that met glare (491) is tried again before it is given up; 4.
    pub max_glare_retries: u8,
    /// When new requests are refused because there is more to do than can be done.
    pub admission: AdmissionConfig,
    /// Whether our requests say that we obey servers which want to be spared, and we do (RFC 7339);
    /// no.
    pub obeys_overload: bool,
    /// Whether a response whose connection is gone, and whose sender cannot be reached where it came from,
    /// goes to where the DNS says that the name in its Via is (RFC 3263 §5); no. Whoever may send requests
    /// over TCP can then have us connect to any host, those of our own network included.
    pub responses_by_name: bool,
    /// Civil time at the zero of the clock; what peers are told of overload is numbered by it.
    pub epoch: WallTime,
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            listeners: Vec::new(),
            timers: Timers::default(),
            product: None,
            contact_user: "sidetone".into(),
            ring_timeout: Duration::from_secs(180),
            pending_timeout: Duration::from_secs(300),
            reliable_provisional: ReliableProvisional::default(),
            session_expires: Some(Duration::from_secs(1800)),
            min_session_expires: Duration::from_secs(90),
            resolve_timeout: Duration::from_secs(10),
            authentication: None,
            registrar: None,
            max_registrations: 1_000,
            max_watches: 1_000,
            events: None,
            max_subscriptions: 1_000,
            message_types: MESSAGE_TYPES.map(str::to_owned).to_vec(),
            max_messages: (1_000, 100),
            max_credential_lookups: 10_000,
            max_sessions: 20_000,
            max_pending_per_source: 5_000,
            max_transactions: 200_000,
            max_retransmission_bytes: 256 << 20,
            max_forks: 12,
            max_connections: 10_000,
            max_connections_per_source: 1_000,
            max_connection_queue: 256 << 10,
            partial_message_timeout: Duration::from_secs(30),
            idle_connection_timeout: Duration::from_secs(900),
            tcp_above: 1_300,
            tcp_above_timeout: Duration::from_secs(3),
            retry_after: 5,
            max_glare_retries: 4,
            admission: AdmissionConfig::default(),
            obeys_overload: false,
            responses_by_name: false,
            epoch: WallTime::default(),
        }
    }
}

impl AgentConfig {
    /// The methods that are served here, with `REGISTER` where there is a registrar, `SUBSCRIBE` and
    /// `PUBLISH` where there are events: the value of Allow.
    pub fn allow(&self) -> &'static str {
        match (&self.registrar, &self.events) {
            (None, None) => methods!(),
            (Some(_), None) => concat!(methods!(), ", REGISTER"),
            (None, Some(_)) => concat!(methods!(), ", SUBSCRIBE, PUBLISH"),
            (Some(_), Some(_)) => concat!(methods!(), ", REGISTER, SUBSCRIBE, PUBLISH"),
        }
    }
}

/// What an agent has counted since it was made. None of these ever goes down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Requests that were parsed.
    pub requests: u64,
    /// Responses that were parsed.
    pub responses: u64,
    /// Messages sent, retransmissions included.
    pub sent: u64,
    /// Messages sent again by a timer or for a repeated request.
    pub retransmitted: u64,
    /// Requests received again and absorbed by their transaction.
    pub absorbed: u64,
    /// Keep-alives: datagrams or lines with nothing but CR, LF or NUL, and STUN.
    pub keepalives: u64,
    /// Dropped: not SIP at all, or broken beyond an answer.
    pub dropped_malformed: u64,
    /// Dropped: responses to no transaction of ours, or not for our Via.
    pub dropped_stray_responses: u64,
    /// Dropped: news that a datagram was not delivered which fits no request that waits.
    pub dropped_unreachable: u64,
    /// Dropped: ACKs that belong to nothing.
    pub dropped_stray_acks: u64,
    /// Dropped: messages with no way to send them (no listener of that family, transport unknown).
    pub dropped_unroutable: u64,
    /// Answered 400, 416, 505 and the like because the request was not valid.
    pub rejected_invalid: u64,
    /// Answered 405 or 501.
    pub rejected_method: u64,
    /// Answered 415 or 420.
    pub rejected_unsupported: u64,
    /// Answered 481: no such dialog or transaction.
    pub rejected_no_dialog: u64,
    /// Answered 482: the request came twice over different ways.
    pub rejected_merged: u64,
    /// Answered 491 or 500 for a request out of turn.
    pub rejected_out_of_turn: u64,
    /// Answered 503: a table was full.
    pub refused_full: u64,
    /// Answered 503: more to do than could be done.
    pub refused_overload: u64,
    /// Requests of ours not sent to servers that wanted to be spared (RFC 7339).
    pub withheld: u64,
    /// Answered 503: draining.
    pub refused_draining: u64,
    /// Transactions that ran out of time.
    pub transactions_timed_out: u64,
    /// Transactions, connections or sends that failed in the transport.
    pub transport_errors: u64,
    /// Flows of registrations of ours that failed (RFC 5626 §4.4).
    pub flows_failed: u64,
    /// Connections refused or closed by a bound.
    pub connections_refused: u64,
    /// Requests sent to another address because one failed or answered 503 (RFC 3263 §4.3).
    pub failovers: u64,
    /// INVITE sessions begun, both ways.
    pub sessions: u64,
    /// INVITE sessions ended.
    pub sessions_ended: u64,
    /// Challenged with 401 or 407.
    pub challenged: u64,
    /// Refused with 403, or ignored, by an access list.
    pub refused_access: u64,
    /// Requests sent again with credentials after a 401 or 407.
    pub challenges_answered: u64,
    /// Answers to our credentials whose proof (`rspauth`) shows that the server does not know their
    /// secret. A registration that is granted so counts as refused.
    pub impostors: u64,
    /// Extra 2xx responses from other branches of a fork that were acknowledged and hung up.
    pub forks_hung_up: u64,
}
