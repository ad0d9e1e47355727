//! What the engine tells the owner of a call, and what it refuses to do.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;

use crate::b2bua::trunk::TrunkEvent;
use crate::call::cause::{Cause, EndReason};
use crate::call::collect::Collected;
use crate::call::details::Details;
use crate::call::transfer::Referral;
use crate::id::{CallId, PassageId, PlayId, RecordingId, TrunkId, WorkerId};
use crate::media::detect::MachineTone;
use crate::media::leg::LegReport;
use crate::media::quality::Change as QualityChange;
use crate::media::recorder::note::Note;
use crate::media::recorder::storage::{ExpiryNews, StampNews, StorageError, UploadNews};
use crate::media::recorder::writer::Report;
use crate::sdp::attribute::RecordPreference;
use crate::sip::agent::command::{MessageId, PublicationId, RequestId, SubscribeId, TicketId};
use crate::sip::agent::event::{PublicationState, SubscriptionState};
use crate::sip::agent::registration::{RegistrationId, RegistrationState};
use crate::sip::event::notifier::Waiting as WaitingSubscription;
use crate::sip::header::reason::Reason;
use crate::sip::health::Change as HealthChange;
use crate::sip::message::Message;
use crate::sip::registrar::binding::Change;
use crate::sip::siprec::metadata::Metadata;
use crate::time::{Duration, Instant};

/// Something happened in the engine.
#[derive(Debug)]
pub enum Event {
    /// A caller wants to be connected; answer, ring or reject it.
    Incoming {
        /// The new call.
        call: CallId,
        /// Who calls whom.
        caller: Box<Caller>,
    },
    /// A prompt or tone that played to a whole room ended.
    RoomPlayEnded {
        /// Which one.
        play: PlayId,
        /// How and how far.
        end: PlayEnd,
    },
    /// Speech that is written while it plays has something to report to its writer.
    Spoken {
        /// Which one.
        play: PlayId,
    },
    /// A media worker suspends the forks that are optional, because it comes too late, or lets them go on.
    Shedding(SheddingNews),
    /// A registration of the engine's own at somebody's registrar stands differently now.
    Registration {
        /// Which one.
        registration: RegistrationId,
        /// How it stands.
        state: RegistrationState,
    },
    /// A peer that the engine watches stands differently now.
    Health(HealthChange),
    /// Somebody sent a message outside of any call: answer it within 10 s.
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
    /// A message of ours is done.
    MessageDone {
        /// Which one.
        sent: Sent,
        /// The final SIP status: 200 where it is read, 202 where it is kept for later; 408 where nobody
        /// answered, 503 where it could not be sent.
        status: u16,
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
        /// Which of its notifiers, numbered from 1.
        notifier: u32,
        /// The NOTIFY, whose body is the document.
        request: Message,
    },
    /// Somebody's subscription waits for a decision.
    SubscriptionWaits(WaitingSubscription),
    /// A publication of ours stands differently now.
    Publication {
        /// Which one.
        publication: PublicationId,
        /// How it stands.
        state: PublicationState,
    },
    /// Something happened to a user's binding at the registrar.
    Binding(Box<Change>),
    /// Something happened to a trunk, or an account has reached a cap.
    Trunk(TrunkEvent),
    /// The disk that recordings are written to stands differently now.
    Storage(StorageNews),
    /// A caller that is connected to somebody stands differently now.
    Passage {
        /// Which connection.
        passage: PassageId,
        /// How it stands.
        state: PassageState,
    },
    /// Something happened on a call.
    Call {
        /// The call.
        call: CallId,
        /// What happened.
        event: CallEvent,
    },
}

/// A media worker comes too late, and suspends the forks that are optional; or it keeps up again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SheddingNews {
    /// The worker.
    pub worker: WorkerId,
    /// Whether they are suspended from now on.
    pub is_shedding: bool,
    /// How late its last tick was.
    pub late: Duration,
}

/// How far a caller has come that is being connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PassageState {
    /// Targets are being dialled.
    Dialling,
    /// A target answered, and the caller is answered with it.
    Answered {
        /// The target's call.
        call: CallId,
        /// The target's number in the plan, from zero.
        target: usize,
    },
    /// It is over: both sides have ended.
    Ended {
        /// The status that the caller was refused with; `None` where it was answered or gave up.
        refused: Option<u16>,
    },
}

/// One message that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sent {
    /// Outside of calls.
    Apart(MessageId),
    /// Within a call.
    Within(CallId, RequestId),
}

/// Who calls whom: the INVITE and where it came from.
#[derive(Debug, Clone)]
pub struct Caller {
    pub(crate) invite: Message,
    pub(crate) source: SocketAddr,
    pub(crate) user: Option<String>,
    pub(crate) replaces: Option<CallId>,
    pub(crate) joins: Option<CallId>,
    pub(crate) trusted: bool,
    pub(crate) details: Details,
    pub(crate) trunk: Option<TrunkId>,
    pub(crate) domains: Vec<String>,
    pub(crate) recorded: Option<Box<Metadata>>,
}

impl Caller {
    /// What a session recording client says of those whom it wants recorded here (RFC 7865), perhaps
    /// nothing yet; `None` for every other caller. Answer it and record it, or refuse it: nobody hears
    /// anything on it.
    pub fn recorded(&self) -> Option<&Metadata> {
        self.recorded.as_deref()
    }

    /// The domains for which the trusted certificate speaks that it has shown over TLS (RFC 5922).
    pub fn domains(&self) -> &[String] {
        &self.domains
    }

    /// The trunk that it comes from, by its certificate or its address.
    pub fn trunk(&self) -> Option<TrunkId> {
        self.trunk
    }

    /// The INVITE as it arrived; unknown headers can be read from it. What only peers of the trust
    /// domain may say ([`Config::trust`](crate::engine::config::Config::trust)) is not found in it where
    /// the caller is none.
    pub fn invite(&self) -> &Message {
        &self.invite
    }

    /// The address that the INVITE came from.
    pub fn source(&self) -> SocketAddr {
        self.source
    }

    /// Who signed in, where the listener asks for that: proven, unlike [`from`](Self::from).
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The call whose place the caller asks for by Replaces (RFC 3891), as in an attended transfer.
    /// Knowing that call's identifiers is all that it has proven: decide whether it may.
    pub fn replaces(&self) -> Option<CallId> {
        self.replaces
    }

    /// The call that the caller asks to join (RFC 3911), where joins are allowed: answer it and put both
    /// into a room, or refuse. Knowing that call's identifiers is all that it has proven.
    pub fn joins(&self) -> Option<CallId> {
        self.joins
    }

    /// Whether the caller came from within the trust domain.
    pub fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// What the INVITE says beside who calls whom: asserted identity, privacy, diversions and others.
    pub fn details(&self) -> &Details {
        &self.details
    }

    /// The caller's URI from the From header. It is the caller's own claim.
    pub fn from(&self) -> String {
        self.invite
            .from()
            .map(|from| from.uri().to_string())
            .unwrap_or_default()
    }

    /// The called URI from the To header.
    pub fn to(&self) -> String {
        self.invite
            .to()
            .map(|to| to.uri().to_string())
            .unwrap_or_default()
    }
}

/// Something happened on a call. `Ended` comes exactly once for every call and is its last event, but
/// for what becomes of a recording whose file is still being written then.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum CallEvent {
    /// The dialled party rings or is otherwise on the way, with this 1xx status.
    Progress {
        /// The provisional SIP status, 180 to 199.
        status: u16,
    },
    /// The dialled party says more of itself or the call, in the answer that the next event tells of.
    Details(Box<Details>),
    /// The dialled party's side has redirected the call, which is followed: this is called now.
    Redirected {
        /// The URI that is called.
        target: String,
    },
    /// The dialled party sends sound before answering (RFC 3960).
    EarlyMedia,
    /// The call is up: for a caller the ACK arrived, for a dialled party the 2xx.
    Answered,
    /// The first packet of the other party's sound arrived.
    MediaStarted,
    /// The other party pressed and released a key.
    Digit {
        /// One of `0-9*#A-D`, or `!` for the hook flash.
        digit: char,
        /// How long the key was down, by the RTP clock.
        duration: Duration,
    },
    /// The other party put the call on hold.
    Held,
    /// The other party took the call from hold.
    Resumed,
    /// A re-INVITE of this side (hold, resume) was accepted.
    Renegotiated,
    /// A re-INVITE of this side was refused with this status; the call goes on as before.
    RenegotiationFailed {
        /// The SIP status; 408 where no answer came.
        status: u16,
    },
    /// The other party asks to be connected with somebody else (REFER): accept or decline it. After
    /// 10 s without a decision it is declined.
    TransferRequested(Box<Referral>),
    /// The other party tells how the call goes that it was asked to make.
    TransferProgress {
        /// The provisional SIP status.
        status: u16,
    },
    /// The other party tells how it went: with 2xx it is connected, and this call of no use any more;
    /// otherwise the call goes on as before.
    TransferEnded {
        /// The final SIP status; 408 where nothing more was heard.
        status: u16,
    },
    /// A prompt or tone ended.
    PlayEnded {
        /// Which one.
        play: PlayId,
        /// How and how far.
        end: PlayEnd,
    },
    /// A digit collection ended.
    Collected(Collected),
    /// All digits are sent, those given to `send_digits` and those relayed from a bridge.
    DigitsSent,
    /// Digits could not be sent, and none of them will be: the other party refused an INFO, or too
    /// many were waiting, or it takes telephone events no more.
    DigitsFailed {
        /// The digits.
        digits: String,
    },
    /// A machine said something by a tone, where tones are listened for.
    Tone(MachineTone),
    /// The other party begins to speak, where speech is listened for.
    SpeechStarted,
    /// The other party has stopped speaking.
    SpeechEnded,
    /// The other party has told of a change of the call's data, which is taken in.
    DataChanged,
    /// The other party sent an INFO with this body (RFC 6086).
    Info {
        /// The body's media type.
        content_type: String,
        /// The body.
        body: Bytes,
    },
    /// The other party sent a message within the call (RFC 3428).
    Message {
        /// The body's media type.
        content_type: String,
        /// The body.
        body: Bytes,
    },
    /// The session recording client says something new of those who are recorded: this is what is known
    /// now.
    Recorded(Box<Metadata>),
    /// The party says what it would like of being recorded (RFC 7866 §8.3.2), for the first time or differently than
    /// before. It is for the flow to decide, or for
    /// [`RecordingConfig::heeds_preferences`](crate::engine::config::RecordingConfig::heeds_preferences).
    RecordingPreferred(RecordPreference),
    /// A session recording server elsewhere records the conversation.
    RemoteStarted {
        /// Which recording.
        recording: RecordingId,
        /// The server's URI.
        server: String,
    },
    /// A server has refused to record the conversation, or was lost. The call goes on, and the next server is
    /// asked, if there is one.
    RemoteFailed {
        /// Which recording.
        recording: RecordingId,
        /// The server's URI.
        server: String,
        /// What became of the recording session.
        reason: EndReason,
    },
    /// No server elsewhere records the conversation any more: it was stopped, the call is over, or there is no
    /// further server to ask.
    RemoteEnded {
        /// Which recording.
        recording: RecordingId,
    },
    /// A recording's file exists and is being written.
    RecordingStarted {
        /// Its file.
        path: Arc<Path>,
        /// Which one.
        recording: RecordingId,
    },
    /// A recording was paused, resumed, masked or unmasked. What is recorded changes with the next frame.
    RecordingNoted {
        /// Which one.
        recording: RecordingId,
        /// What was done.
        note: Note,
    },
    /// A recording is closed: its file is complete, or as complete as the disk allowed.
    RecordingEnded {
        /// Which one.
        recording: RecordingId,
        /// What is in the file, or what went wrong.
        outcome: Result<Report, RecordingError>,
    },
    /// The recording meets trouble; the call goes on.
    RecordingFailed {
        /// Which one.
        recording: RecordingId,
        /// What went wrong.
        error: RecordingError,
    },
    /// One way of the call has begun to sound bad, sounds bad for other reasons, or is good again.
    /// [`CallEnd::media`] and `report` hold the sum of it.
    Quality(QualityChange),
    /// The media counters asked for by `report`.
    Report(Box<LegReport>),
    /// The call is over.
    Ended(Box<CallEnd>),
}

/// How a prompt or tone ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlayEnd {
    /// Whether it was heard to its end, rather than stopped.
    pub finished: bool,
    /// How much of it was played.
    pub played: Duration,
}

/// How a call ended, with its times and media counters.
#[derive(Debug, Clone)]
pub struct CallEnd {
    /// Why, and by whom.
    pub reason: EndReason,
    /// The cause in the other party's Reason header, where it sent one (RFC 3326).
    pub remote_cause: Option<Cause>,
    /// All that the other party's Reason header says, such as that somebody else has answered.
    pub reasons: Vec<Reason>,
    /// When the call began: the INVITE arrived or was sent.
    pub started: Instant,
    /// When it was answered, if ever.
    pub answered: Option<Instant>,
    /// When it ended.
    pub ended: Instant,
    /// The media counters, where the call had media.
    pub media: Option<LegReport>,
}

impl CallEnd {
    /// How long the call was up; zero where it was never answered.
    pub fn talk_time(&self) -> Duration {
        self.answered
            .map_or(Duration::ZERO, |answered| self.ended - answered)
    }
}

/// How the disk stands that recordings are written to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StorageNews {
    /// The journal is not kept: until [`Guarded`](Self::Guarded) a crash may cost recordings more than a second.
    /// They go on.
    Unguarded(StorageError),
    /// The journal is kept again.
    Guarded,
    /// Less is free than new recordings need: they fail until [`Space`](Self::Space). Those that run go on.
    LowSpace {
        /// Bytes that are free.
        free: u64,
    },
    /// There is room again.
    Space {
        /// Bytes that are free.
        free: u64,
    },
    /// A recording's upload stands differently.
    Upload(UploadNews),
    /// A recording's time stamp stands differently.
    Stamp(StampNews),
    /// The deletion of recordings whose time is over stands differently.
    Expiry(ExpiryNews),
}

/// A recording that could not be written, in whole or in part.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("recording failed: {0}")]
pub struct RecordingError(pub String);

/// The engine cannot do what was asked of a call.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CallError {
    /// The call is over, for this reason.
    #[error("the call is over: {0}")]
    Ended(EndReason),
    /// No such call, room, playback or recording exists any more.
    #[error("it exists no more")]
    Gone,
    /// The call is not in a state that allows this: for instance it is answered already.
    #[error("not possible now: {0}")]
    WrongState(&'static str),
    /// An argument is out of its range.
    #[error("invalid argument: {0}")]
    Invalid(String),
    /// The other party refused a change, with this SIP status; the call goes on as before.
    #[error("the other party refused, with status {0}")]
    Refused(u16),
    /// A table is full or the engine is stopping; the caller may try again later.
    #[error("refused for now: {0}")]
    Busy(&'static str),
    /// The engine has stopped.
    #[error("the engine has stopped")]
    EngineStopped,
}
