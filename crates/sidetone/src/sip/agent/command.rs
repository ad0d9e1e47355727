//! What the agent is asked to do: parameters of its commands and their errors.

use std::fmt;

use crate::id::ListenerId;
use crate::sip::auth::client::Account;
use crate::sip::header::address::NameAddr;
use crate::sip::header::session_id::SessionUuid;
use crate::sip::transport::Path;
use crate::sip::uri::Uri;
use crate::time::Duration;
use bytes::Bytes;

/// One INVITE session: an attempt to reach one party, and the dialog that comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub(super) u64);

/// One outgoing OPTIONS query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OptionsId(pub(super) u64);

/// One request of ours within a session, see [`Agent::request`](super::Agent::request).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub(super) u64);

/// One request of the peer that waits for our answer, see [`Agent::reply`](super::Agent::reply).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TicketId(pub(super) u64);

/// One message of ours outside of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub(super) u64);

/// One subscription of ours to somebody's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscribeId(pub(super) u64);

/// One publication of ours at somebody's compositor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicationId(pub(super) u64);

/// A message body with its type; opaque here.
#[derive(Clone, PartialEq, Eq)]
pub struct Body {
    /// The value of Content-Type.
    pub content_type: String,
    /// The body.
    pub bytes: Bytes,
}

/// Shows the type and the length: the body may hold keys.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("content_type", &self.content_type)
            .field("bytes", &self.bytes.len())
            .finish()
    }
}

impl Body {
    /// A body of type `application/sdp`.
    pub fn sdp(text: impl Into<Bytes>) -> Self {
        Self {
            content_type: "application/sdp".into(),
            bytes: text.into(),
        }
    }
}

/// Header fields, name and value, added to a message after those that the agent writes, in order.
///
/// Refused are names that the agent writes itself (Via, From, To, Call-ID, CSeq, Contact, Route,
/// Record-Route, Max-Forwards, Content-Type, Content-Length, Authorization, Proxy-Authorization, RSeq, RAck, Session-Expires, Min-SE,
/// Session-ID) and values with CR, LF or NUL.
pub type Headers = Vec<(String, String)>;

/// An outgoing INVITE.
#[derive(Debug, Clone)]
pub struct Invite {
    /// The Request-URI, and the destination where there is no route.
    pub target: Uri,
    /// The caller: From without a tag.
    pub from: NameAddr,
    /// The callee as shown in To; the target by default.
    pub to: Option<NameAddr>,
    /// The socket to send from; by default the first that fits the destination.
    pub listener: Option<ListenerId>,
    /// Proxies to go through, in order (the outbound proxy first). A URI without `;lr` is taken for
    /// a loose router all the same.
    pub route: Vec<Uri>,
    /// The socket or connection by which a registered callee is reached, whatever the target says,
    /// where there is no route: [`Binding::flow`](crate::sip::registrar::binding::Binding::flow).
    pub flow: Option<Path>,
    /// Further header fields.
    pub headers: Headers,
    /// The offer; without it the peer's 2xx brings the offer.
    pub body: Option<Body>,
    /// How long it may ring; the configured time by default.
    pub ring_timeout: Option<Duration>,
    /// Max-Forwards; 70, less where the call is carried on from another.
    pub max_forwards: u8,
    /// What to sign in with where a proxy or the callee asks; without it a challenge ends the
    /// attempt.
    pub account: Option<Account>,
    /// What our Contact says of us in this session (RFC 3840), each parameter behind its semicolon:
    /// [`CLIENT`](crate::sip::siprec::session::CLIENT) for a recording session. Nothing by default.
    pub features: &'static str,
    /// Our part of the session's identifier (RFC 7989): that of the endpoint for which we call; a
    /// random one by default.
    pub session_uuid: Option<SessionUuid>,
}

impl Invite {
    /// An INVITE to `target` from `from` without an offer.
    pub fn new(target: Uri, from: NameAddr) -> Self {
        Self {
            target,
            from,
            to: None,
            listener: None,
            route: Vec::new(),
            flow: None,
            headers: Headers::new(),
            body: None,
            ring_timeout: None,
            max_forwards: 70,
            account: None,
            features: "",
            session_uuid: None,
        }
    }
}

/// An outgoing OPTIONS outside of any dialog (RFC 3261 §11).
#[derive(Debug, Clone)]
pub struct Options {
    /// The Request-URI, and the destination where there is no route.
    pub target: Uri,
    /// From without a tag.
    pub from: NameAddr,
    /// The socket to send from; by default the first that fits the destination.
    pub listener: Option<ListenerId>,
    /// Proxies to go through, in order.
    pub route: Vec<Uri>,
    /// The socket or connection by which a registered user is reached, where there is no route:
    /// [`Binding::flow`](crate::sip::registrar::binding::Binding::flow).
    pub flow: Option<Path>,
    /// Further header fields.
    pub headers: Headers,
    /// What to sign in with where the peer asks for it; without it a challenge is the answer.
    pub account: Option<Account>,
}

impl Options {
    /// A query of what `target` can do.
    pub fn new(target: Uri, from: NameAddr) -> Self {
        Self {
            target,
            from,
            listener: None,
            route: Vec::new(),
            flow: None,
            headers: Headers::new(),
            account: None,
        }
    }
}

/// A message outside of any call (RFC 3428).
#[derive(Debug, Clone)]
pub struct SendMessage {
    /// The Request-URI, and the destination where there is no route.
    pub target: Uri,
    /// From without a tag.
    pub from: NameAddr,
    /// The reader as shown in To; the target by default.
    pub to: Option<NameAddr>,
    /// The socket to send from; by default the first that fits the destination.
    pub listener: Option<ListenerId>,
    /// Proxies to go through, in order.
    pub route: Vec<Uri>,
    /// The socket or connection by which a registered reader is reached, where there is no route.
    pub flow: Option<Path>,
    /// Further header fields.
    pub headers: Headers,
    /// The message.
    pub body: Body,
    /// What to sign in with where somebody asks for it.
    pub account: Option<Account>,
    /// Whether every hop on the way is known to control congestion (TCP, TLS, WebSocket). Only then,
    /// and where the first one does, a message may have more than 1,300 bytes (RFC 3428 §8). Default
    /// no.
    pub congestion_safe: bool,
}

impl SendMessage {
    /// A message to `target` from `from`.
    pub fn new(target: Uri, from: NameAddr, body: Body) -> Self {
        Self {
            target,
            from,
            to: None,
            listener: None,
            route: Vec::new(),
            flow: None,
            headers: Headers::new(),
            body,
            account: None,
            congestion_safe: false,
        }
    }
}

/// What to subscribe to (RFC 6665 §4.1).
#[derive(Debug, Clone)]
pub struct Subscribe {
    /// Whose state: the Request-URI, and the destination where there is no route.
    pub target: Uri,
    /// From without a tag.
    pub from: NameAddr,
    /// The value of Event: the package, perhaps with parameters.
    pub event: String,
    /// The media types that are understood; the package's default where none is named.
    pub accept: Vec<String>,
    /// How long a subscription shall last, in seconds; the notifier may grant less, or demand more.
    /// 3,600.
    pub expires: u32,
    /// Whether several notifiers may answer, where a proxy forks the SUBSCRIBE: each has a
    /// subscription then. Otherwise the first keeps it, and the others get 481 (RFC 6665 §4.1.4).
    /// Default no.
    pub forks: bool,
    /// The socket to send from; by default the first that fits the destination.
    pub listener: Option<ListenerId>,
    /// Proxies to go through, in order.
    pub route: Vec<Uri>,
    /// Further header fields.
    pub headers: Headers,
    /// A filter or the like, where the package has one.
    pub body: Option<Body>,
    /// What to sign in with where somebody asks for it.
    pub account: Option<Account>,
}

impl Subscribe {
    /// A subscription for an hour at a time.
    pub fn new(target: Uri, from: NameAddr, event: impl Into<String>) -> Self {
        Self {
            target,
            from,
            event: event.into(),
            accept: Vec::new(),
            expires: 3600,
            forks: false,
            listener: None,
            route: Vec::new(),
            headers: Headers::new(),
            body: None,
            account: None,
        }
    }
}

/// What to publish (RFC 3903 §4).
#[derive(Debug, Clone)]
pub struct Publish {
    /// Whose state: the Request-URI, and the destination where there is no route.
    pub target: Uri,
    /// From without a tag.
    pub from: NameAddr,
    /// The value of Event: the package.
    pub event: String,
    /// The document.
    pub document: Body,
    /// How long it shall last, in seconds; the compositor may grant less, or demand more. 3,600.
    pub expires: u32,
    /// The socket to send from; by default the first that fits the destination.
    pub listener: Option<ListenerId>,
    /// Proxies to go through, in order.
    pub route: Vec<Uri>,
    /// What to sign in with where somebody asks for it.
    pub account: Option<Account>,
}

impl Publish {
    /// A publication for an hour at a time.
    pub fn new(target: Uri, from: NameAddr, event: impl Into<String>, document: Body) -> Self {
        Self {
            target,
            from,
            event: event.into(),
            document,
            expires: 3600,
            listener: None,
            route: Vec::new(),
            account: None,
        }
    }
}

/// Why a command was refused; nothing has been sent or changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The session has ended or never was.
    #[error("no such session")]
    NoSuchSession,
    /// The session is not in a state for this command.
    #[error("the session is not in a state for this")]
    WrongState,
    /// Another INVITE transaction of this session is under way; try again after its end
    /// (RFC 3261 §14.1).
    #[error("another re-INVITE is under way")]
    Pending,
    /// The status does not fit the command, such as 200 for a rejection.
    #[error("the status does not fit the command")]
    WrongStatus,
    /// A header field cannot be sent.
    #[error("header field refused: {0}")]
    Header(String),
    /// Body and header fields are more than a datagram holds.
    #[error("too large")]
    TooLarge,
    /// The destination needs a scheme or transport that there is no listener for.
    #[error("no listener for that destination")]
    Unroutable,
    /// A table is full.
    #[error("too much at once")]
    Full,
    /// The agent is draining and begins nothing new.
    #[error("draining")]
    Draining,
}
