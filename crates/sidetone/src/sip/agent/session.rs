//! One INVITE session as the agent keeps it: dialogs, INVITE transactions under way, deadlines.

use super::Arrival;
use super::command::{Body, Headers, RequestId, TicketId};
use super::draft::Draft;
use super::event::LookupId;
use super::identity::Identity;
use super::refresh::SessionTimer;
use super::reliable::Reliable;
use super::sign_in::SignIn;
use crate::id::ListenerId;
use crate::sip::dialog::Dialog;
use crate::sip::header::address::NameAddr;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::transaction::key::ClientKey;
use crate::sip::transaction::layer::TransactionId;
use crate::sip::transport::route::Hop;
use crate::sip::transport::{Destination, Path};
use crate::sip::uri::Uri;
use crate::time::{Duration, Instant};
use bytes::Bytes;
use std::net::IpAddr;

/// The deadlines that a session may have, one of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clock {
    /// Our 2xx goes out again (RFC 3261 §13.3.1.4).
    RepeatAnswer,
    /// The ACK for our 2xx is overdue (§13.3.1.4).
    AckOverdue,
    /// Our INVITE rang long enough; or the peer's waited long enough for us to decide.
    RingTimeout,
    /// Our CANCEL had no effect (§9.1).
    CancelOverdue,
    /// Our re-INVITE goes out again after glare (§14.1).
    GlareRetry,
    /// Our provisional response goes out again so that proxies keep the call (§13.3.1.1).
    KeepRinging,
    /// A request of the peer has waited too long for our answer.
    AskedOverdue,
    /// Our reliable provisional response goes out again (RFC 3262 §3).
    RepeatReliable,
    /// It is our turn to refresh the session (RFC 4028 §7.4).
    SessionRefresh,
    /// The session was not refreshed (RFC 4028 §10).
    SessionExpiry,
}

const CLOCKS: [Clock; 10] = [
    Clock::RepeatAnswer,
    Clock::AckOverdue,
    Clock::RingTimeout,
    Clock::CancelOverdue,
    Clock::GlareRetry,
    Clock::KeepRinging,
    Clock::AskedOverdue,
    Clock::RepeatReliable,
    Clock::SessionRefresh,
    Clock::SessionExpiry,
];

/// What we asked a CANCEL to do about our INVITE.
#[derive(Debug, Clone)]
pub(super) enum Cancelling {
    No,
    /// To be sent as soon as a provisional response has come (RFC 3261 §9.1).
    Wanted(Headers),
    Sent,
}

/// What was sent of our INVITE, for its CANCEL and its ACKs.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) transaction: TransactionId,
    pub(super) key: ClientKey,
    pub(super) listener: ListenerId,
    pub(super) path: Path,
}

/// Our INVITE or re-INVITE that has no final response yet.
#[derive(Debug)]
pub(super) struct ClientInvite {
    pub(super) draft: Draft,
    pub(super) lookup: Option<LookupId>,
    pub(super) sent: Option<Sent>,
    pub(super) provisional: bool,
    pub(super) cancelling: Cancelling,
    pub(super) initial: bool,
}

/// What forked 2xx responses to our first INVITE make their dialogs from.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) local: NameAddr,
    pub(super) sequence: u32,
    pub(super) target: Uri,
}

/// The peer's INVITE or re-INVITE that we have not answered finally.
#[derive(Debug)]
pub(super) struct ServerInvite {
    pub(super) transaction: TransactionId,
    pub(super) request: Message,
    pub(super) arrival: Arrival,
    pub(super) initial: bool,
}

/// Our 2xx that waits for its ACK.
#[derive(Debug)]
pub(super) struct Accept {
    pub(super) sequence: u32,
    pub(super) path: Path,
    pub(super) bytes: Bytes,
    pub(super) interval: Duration,
    /// Whether it answers the first INVITE of the session.
    pub(super) initial: bool,
    /// Whether it brought an offer, whose answer comes with the ACK.
    pub(super) offers: bool,
}

/// An ACK for a 2xx, kept as long as the 2xx may come again.
#[derive(Debug)]
pub(super) struct SentAck {
    pub(super) number: u32,
    pub(super) transaction: TransactionId,
    pub(super) remote_tag: String,
    /// `None` while the way is being looked up.
    pub(super) message: Option<(Path, Bytes)>,
}

/// A 2xx with an offer, whose ACK waits for the answer.
#[derive(Debug)]
pub(super) struct AckWanted {
    pub(super) transaction: TransactionId,
    pub(super) sequence: u32,
}

/// A request of ours within the session that waits for its answer.
#[derive(Debug, Clone)]
pub(super) struct Requested {
    pub(super) id: RequestId,
    pub(super) method: Method,
    pub(super) headers: Headers,
    pub(super) body: Option<Body>,
    /// A refresh by the agent itself, of which its user hears nothing.
    pub(super) refresh: bool,
}

/// A request of the peer within the session that waits for our answer.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) ticket: TicketId,
    pub(super) transaction: TransactionId,
    pub(super) request: Message,
    pub(super) arrival: Arrival,
    pub(super) due: Instant,
}

/// A re-INVITE or UPDATE that met glare and will be sent again.
#[derive(Debug)]
pub(super) struct Glare {
    pub(super) headers: Headers,
    pub(super) body: Option<Body>,
    /// The peer has changed the session meanwhile, so the body is out of date.
    pub(super) outdated: bool,
    /// For an UPDATE: which it is, and how it was refused.
    pub(super) update: Option<(Requested, Message)>,
}

/// One INVITE session.
#[derive(Debug)]
pub(super) struct Session {
    /// Ended for the user; what is left lives until the transactions are done.
    pub(super) ended: bool,
    /// Whether we made the Call-ID, which decides who waits longer after glare.
    pub(super) caller: bool,
    pub(super) tag: u64,
    pub(super) identity: Identity,
    pub(super) listener: Option<ListenerId>,
    /// Transactions and look-ups that will still report to this session.
    pub(super) live: u32,
    pub(super) dialog: Option<Dialog>,
    pub(super) early: Vec<Dialog>,
    pub(super) origin: Option<Box<Origin>>,
    pub(super) client: Option<Box<ClientInvite>>,
    pub(super) server: Option<Box<ServerInvite>>,
    pub(super) accept: Option<Accept>,
    pub(super) ack_wanted: Option<AckWanted>,
    pub(super) acks: Vec<SentAck>,
    pub(super) glare: Option<Box<Glare>>,
    pub(super) glare_retries: u8,
    /// Our reliable provisional responses to the peer's INVITE, and that INVITE's CSeq number.
    pub(super) reliable: Option<Box<Reliable>>,
    pub(super) invite_sequence: Option<u32>,
    /// The last reliable provisional response of each branch to our INVITE, by tag.
    pub(super) reliable_seen: Vec<(String, u32)>,
    pub(super) timer: SessionTimer,
    pub(super) requested: Vec<Requested>,
    pub(super) asked: Vec<Asked>,
    /// A BYE that waits for the ACK of our 2xx (RFC 3261 §15).
    pub(super) bye_wanted: Option<Headers>,
    /// A BYE has gone out or come in.
    pub(super) farewell_sent: bool,
    /// Who holds a place in the count of undecided INVITEs by source.
    pub(super) pending_source: Option<IpAddr>,
    /// How a merged request would be known.
    pub(super) merge_key: Option<Box<str>>,
    /// The last look-up's answer.
    pub(super) resolved: Option<(Hop, Destination)>,
    /// The address that the peer's requests come from.
    pub(super) peer: Option<IpAddr>,
    /// Where requests to a peer go that cannot be reached by its Contact.
    pub(super) flow: Option<Path>,
    /// What our Contact says of us (RFC 3840), each parameter behind its semicolon.
    pub(super) features: &'static str,
    /// What our requests are signed with, in a session that we began.
    pub(super) sign_in: Option<Box<SignIn>>,
    clocks: [Option<Instant>; CLOCKS.len()],
    pub(super) queued: Option<Instant>,
}

impl Session {
    pub(super) fn new(
        caller: bool,
        tag: u64,
        identity: Identity,
        listener: Option<ListenerId>,
    ) -> Self {
        Self {
            ended: false,
            caller,
            tag,
            identity,
            listener,
            live: 0,
            dialog: None,
            early: Vec::new(),
            origin: None,
            client: None,
            server: None,
            accept: None,
            ack_wanted: None,
            acks: Vec::new(),
            glare: None,
            glare_retries: 0,
            reliable: None,
            invite_sequence: None,
            reliable_seen: Vec::new(),
            timer: SessionTimer::default(),
            requested: Vec::new(),
            asked: Vec::new(),
            bye_wanted: None,
            farewell_sent: false,
            pending_source: None,
            merge_key: None,
            resolved: None,
            peer: None,
            flow: None,
            features: "",
            sign_in: None,
            clocks: [None; CLOCKS.len()],
            queued: None,
        }
    }

    pub(super) fn set_clock(&mut self, clock: Clock, at: Instant) {
        self.clocks[clock as usize] = Some(at);
    }

    pub(super) fn stop_clock(&mut self, clock: Clock) {
        self.clocks[clock as usize] = None;
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.clocks.iter().flatten().min().copied()
    }

    pub(super) fn take_due(&mut self, now: Instant) -> Option<Clock> {
        let due = CLOCKS
            .into_iter()
            .filter(|clock| self.clocks[*clock as usize].is_some_and(|at| at <= now))
            .min_by_key(|clock| self.clocks[*clock as usize])?;
        self.stop_clock(due);
        Some(due)
    }

    /// Forgets where our INVITE was sent, so that it can be sent elsewhere; false where it was sent by
    /// another transaction, or is not wanted any more.
    pub(super) fn retarget(&mut self, failed: TransactionId) -> bool {
        let Some(client) = self.client.as_mut().filter(|_| !self.ended) else {
            return false;
        };
        let is_current = client
            .sent
            .as_ref()
            .is_some_and(|s| s.transaction == failed);
        if !is_current || !matches!(client.cancelling, Cancelling::No) {
            return false;
        }
        client.sent = None;
        client.provisional = false;
        self.early.clear();
        true
    }

    /// Whether an INVITE transaction or an offer is under way in either direction (RFC 3261 §14.1).
    pub(super) fn invite_under_way(&self) -> bool {
        self.client.is_some()
            || self.server.is_some()
            || self.accept.is_some()
            || self.ack_wanted.is_some()
            || self.glare.is_some()
            || self.is_offering_by_update()
            || self.is_offered_by_update()
    }

    /// Whether nothing will come of it any more.
    pub(super) fn is_spent(&self) -> bool {
        self.ended && self.live == 0 && self.accept.is_none()
    }
}
