//! What the agent tells its user: events, causes, requests to the driver.

use std::fmt;

use super::command::{
    MessageId, OptionsId, PublicationId, RequestId, SessionId, SubscribeId, TicketId,
};
use super::registration::{RegistrationId, RegistrationState};
use crate::id::{ConnectionId, ListenerId};
use crate::sip::event::notifier::{Reason, Waiting};
use crate::sip::health::Change;
use crate::sip::message::Message;
use crate::sip::status::StatusCode;
use crate::sip::transport::resolve::Question;
use crate::sip::transport::{Destination, Path};
use crate::time::Instant;
use bytes::Bytes;
use std::net::SocketAddr;

/// Something that happened to a session, polled with [`Agent::poll_event`](super::Agent::poll_event).
///
/// Bodies are read from the messages: `message.body()` and `message.content_type()`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A new INVITE; 100 Trying has gone out. Ring, answer or reject it.
    Incoming {
        /// The new session.
        session: SessionId,
        /// The INVITE. Without a body it asks for a delayed offer: the offer goes into
        /// [`answer`](super::Agent::answer), its answer comes with [`Event::Acked`].
        request: Message,
        /// Where it came from.
        source: SocketAddr,
        /// The socket it came in by; `None` on a connection that we opened.
        listener: Option<ListenerId>,
        /// Who signed in, where the listener asks for that.
        user: Option<String>,
        /// The domains for which the certificate speaks that its sender has shown; none where it has
        /// shown none, or there is no TLS.
        domains: Vec<String>,
    },
    /// Our INVITE got a provisional response other than 100; early media when it has a body.
    Provisional {
        /// The session.
        session: SessionId,
        /// The response. Its To tag tells the branches of a fork apart.
        response: Message,
        /// Whether it was reliable (RFC 3262), and so was acknowledged: an answer in it is final.
        reliable: bool,
    },
    /// A reliable provisional response of ours was acknowledged (RFC 3262).
    ProvisionalAcked {
        /// The session.
        session: SessionId,
        /// Whether it had a body: an answer in it is final now. The answer to an offer in it comes
        /// with the PRACK, as [`Event::Request`].
        described: bool,
    },
    /// Our INVITE was answered with a 2xx.
    Answered {
        /// The session.
        session: SessionId,
        /// The response.
        response: Message,
        /// True where the INVITE had no offer and this response has it: the ACK waits for
        /// [`acknowledge`](super::Agent::acknowledge) with the answer. Otherwise the ACK has gone out.
        acknowledge: bool,
    },
    /// The ACK for our 2xx to an INVITE came: to the first, or to a re-INVITE.
    Acked {
        /// The session.
        session: SessionId,
        /// The ACK; with a delayed offer, its body is the answer.
        request: Message,
    },
    /// The peer sent a re-INVITE: answer with [`answer`](super::Agent::answer) or
    /// [`reject`](super::Agent::reject).
    Reinvite {
        /// The session.
        session: SessionId,
        /// The re-INVITE; without a body it asks for an offer.
        request: Message,
    },
    /// The peer took its re-INVITE back with CANCEL before it was answered; the session goes on.
    ReinviteCancelled {
        /// The session.
        session: SessionId,
    },
    /// Our re-INVITE was answered with a 2xx.
    ReinviteAnswered {
        /// The session.
        session: SessionId,
        /// The response.
        response: Message,
        /// As in [`Event::Answered`].
        acknowledge: bool,
    },
    /// Our re-INVITE was refused; the session goes on as it was before.
    ReinviteFailed {
        /// The session.
        session: SessionId,
        /// The refusal. 491 means glare that could not be mended by repeating: either the peer
        /// changed the session meanwhile, or the repetitions ran out. Offer anew where it still
        /// matters.
        status: StatusCode,
    },
    /// An INFO within the session; 200 has gone out.
    Info {
        /// The session.
        session: SessionId,
        /// The INFO.
        request: Message,
    },
    /// The final answer to our INFO.
    InfoAnswered {
        /// The session.
        session: SessionId,
        /// The status.
        status: StatusCode,
    },
    /// The peer sent another request within the session, such as UPDATE (RFC 3311): answer with
    /// [`reply`](super::Agent::reply) within 10 s, or the agent answers 500.
    Request {
        /// The session; it may not be answered yet.
        session: SessionId,
        /// What to answer by.
        ticket: TicketId,
        /// The request; for an UPDATE, its body is an offer.
        request: Message,
    },
    /// The session has to be refreshed, by a re-INVITE since the peer does not take UPDATE
    /// (RFC 4028): offer what is agreed on already. It is told again after 10 s.
    RefreshDue {
        /// The session.
        session: SessionId,
    },
    /// A request of ours within the session is done.
    RequestAnswered {
        /// The session.
        session: SessionId,
        /// Which one.
        request: RequestId,
        /// The final response, or why there is none.
        result: Result<Message, Failure>,
    },
    /// A registration of ours stands differently now.
    Registration {
        /// The registration.
        registration: RegistrationId,
        /// How it stands.
        state: RegistrationState,
    },
    /// Our OPTIONS is done.
    OptionsDone {
        /// The query.
        options: OptionsId,
        /// The final response, or why there is none.
        result: Result<Message, Failure>,
    },
    /// A peer that is watched stands differently now.
    Health(Change),
    /// A message outside of any call: answer it with
    /// [`answer_message`](super::Agent::answer_message) within 10 s, or the agent answers 480.
    Message {
        /// What to answer by.
        ticket: TicketId,
        /// The MESSAGE.
        request: Message,
        /// Where it came from.
        source: SocketAddr,
        /// Who signed in, where the listener asks for that.
        user: Option<String>,
    },
    /// Our message is done.
    MessageDone {
        /// Which one.
        message: MessageId,
        /// The final response, or why there is none.
        result: Result<Message, Failure>,
    },
    /// A subscription of ours stands differently now.
    Subscription {
        /// Which one.
        subscription: SubscribeId,
        /// How it stands.
        state: SubscriptionState,
    },
    /// A notifier has told its state.
    Notified {
        /// Our subscription.
        subscription: SubscribeId,
        /// Which of its notifiers, where a fork has found several; numbered from 1, and anew with each
        /// attempt.
        notifier: u32,
        /// The NOTIFY; 200 has gone out. The document is its body, and there may be none.
        request: Message,
    },
    /// Somebody's subscription waits for a decision
    /// ([`decide_subscription`](super::Agent::decide_subscription)).
    SubscriptionWaits(Waiting),
    /// A publication of ours stands differently now.
    Publication {
        /// Which one.
        publication: PublicationId,
        /// How it stands.
        state: PublicationState,
    },
    /// The session is over: the last event of every session, exactly once each.
    ///
    /// What the RFC still asks on the wire (retransmissions, a late ACK) goes on by itself.
    Ended {
        /// The session; commands no longer know it.
        session: SessionId,
        /// Why.
        cause: Cause,
    },
}

/// How a subscription of ours stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscriptionState {
    /// A SUBSCRIBE is under way, the first or one that makes it anew.
    Subscribing,
    /// The notifier has not decided yet whether to tell us anything.
    Pending,
    /// It is granted; it is refreshed before `until`.
    Active {
        /// When it would expire.
        until: Instant,
    },
    /// It has ended, and is made anew.
    Lapsed {
        /// Why it ended.
        lapse: Lapse,
        /// When it is made anew.
        retry_at: Instant,
    },
    /// It has ended for good; the last of its states.
    Ended {
        /// Why.
        lapse: Lapse,
    },
}

/// Why a subscription of ours has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lapse {
    /// The notifier said so.
    Ended(Reason),
    /// A SUBSCRIBE was refused.
    Refused(StatusCode),
    /// A SUBSCRIBE was not answered, or no NOTIFY came within 64*T1 of it (RFC 6665 §4.1.2.4).
    Silent,
    /// We took it back.
    TakenBack,
}

/// How a publication of ours stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublicationState {
    /// The first PUBLISH is under way.
    Publishing,
    /// It is granted; it is refreshed before `until`.
    Published {
        /// When it would expire.
        until: Instant,
    },
    /// It was refused, or not answered; it is tried again.
    Failed {
        /// What the compositor said; `None` where it said nothing of use.
        status: Option<StatusCode>,
        /// When it is tried again.
        retry_at: Instant,
    },
    /// We took it back; the last of its states.
    Withdrawn,
}

/// Why a session ended.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Cause {
    /// We hung up.
    LocalBye,
    /// The peer hung up.
    RemoteBye {
        /// The BYE; its Reason header (RFC 3326) may say why.
        request: Message,
    },
    /// We cancelled our INVITE.
    LocalCancel,
    /// The peer cancelled its INVITE.
    RemoteCancel {
        /// The CANCEL; its Reason header (RFC 3326) may say why, such as "Call completed elsewhere".
        request: Message,
    },
    /// We rejected the peer's INVITE.
    LocalReject {
        /// The status that was sent.
        status: StatusCode,
    },
    /// The peer rejected our INVITE; a redirection (3xx) counts as one.
    Rejected {
        /// The final response.
        response: Message,
    },
    /// Nobody answered within the ring time-out, and the INVITE was cancelled; or an incoming
    /// INVITE was left undecided (480 was sent) or expired (487 was sent).
    NoAnswer,
    /// The peer never confirmed our answer with an ACK; BYE was sent.
    NoAck,
    /// The peer never acknowledged a reliable provisional response of ours; 504 was sent
    /// (RFC 3262 §3).
    NoPrack,
    /// Neither side refreshed the session in time; BYE was sent (RFC 4028 §10).
    SessionExpired,
    /// The peer no longer knows the dialog: 481 came in answer to a request of ours.
    DialogLost,
    /// There was no way to the peer or it gave no sign of life.
    Failed(Failure),
}

/// Why a request got no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// No response within 64*T1, or 408 in its place.
    #[error("no response in time")]
    Timeout,
    /// The transport could not deliver the request.
    #[error("transport error")]
    Transport,
    /// The next hop's name has no usable address.
    #[error("name not resolved")]
    Unresolved,
    /// A table was full.
    #[error("too much at once")]
    Full,
}

/// A message to put on the wire, polled with [`Agent::poll_transmit`](super::Agent::poll_transmit).
#[derive(Clone)]
pub struct Transmit {
    /// Where it goes.
    pub path: Path,
    /// The message.
    pub bytes: Bytes,
    /// To be handed to [`Agent::handle_send_failed`](super::Agent::handle_send_failed) where the
    /// socket refuses the message.
    pub token: SendToken,
}

/// Shows where it goes and how long it is: the message may hold keys.
impl fmt::Debug for Transmit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transmit")
            .field("path", &self.path)
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

/// Names a transmit in case it fails; opaque to the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendToken(pub(super) Option<u64>);

/// Something that only the driver can do, polled with
/// [`Agent::poll_driver`](super::Agent::poll_driver).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DriverRequest {
    /// Open a connection, then call [`Agent::handle_connected`](super::Agent::handle_connected), or
    /// [`Agent::handle_closed`](super::Agent::handle_closed) where it fails.
    Connect {
        /// The name of the connection from now on.
        connection: ConnectionId,
        /// The protocol and address to connect to.
        destination: Destination,
        /// The host name of the next hop, where it has one: over TLS the name that is asked for and
        /// that the certificate has to speak for (RFC 5922 §7), the address otherwise.
        name: Option<String>,
        /// The listener whose address the connection should leave from.
        listener: ListenerId,
    },
    /// Close a connection once what was sent on it before has gone out. The agent has already
    /// forgotten it.
    Close {
        /// The connection.
        connection: ConnectionId,
    },
    /// Ask the DNS, then call [`Agent::handle_records`](super::Agent::handle_records).
    Query {
        /// The look-up that the question belongs to; it may have several.
        lookup: LookupId,
        /// What to ask.
        question: Question,
    },
    /// Look a user up, then call [`Agent::handle_credentials`](super::Agent::handle_credentials).
    Credentials {
        /// The name of this look-up.
        lookup: LookupId,
        /// Our realm.
        realm: String,
        /// The user's name as the request gives it: anything.
        username: String,
    },
}

/// One look-up of a host name or a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LookupId(pub u64);
