//! What the core knows of one call.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use crate::call::cause::{Cause, EndReason};
use crate::call::collect::Collector;
use crate::call::details::Details;
use crate::call::early::EarlyMediaPolicy;
use crate::call::keys::{DigitPolicy, Presses};
use crate::engine::core::data::Held;
use crate::engine::core::direct::Direct;
use crate::engine::core::hearing::Asked;
use crate::engine::core::redirects::Redirects;
use crate::engine::core::siprec::RecordingSession;
use crate::engine::core::transfers::Referred;
use crate::engine::io::MediaPort;
use crate::engine::recording::policy::RecordingChoice;
use crate::id::{CallId, ForkId, LegId, PlayId, RecordingId, RoomId};
use crate::media::dtmf::Digit;
use crate::media::frame::SampleRate;
use crate::media::leg::ears::Listening;
use crate::media::recorder::track::Role;
use crate::sdp::attribute::RecordPreference;
use crate::sdp::negotiate::security::LocalSecurity;
use crate::sdp::negotiate::{Agreed, Negotiator, Recorded};
use crate::sip::agent::command::{RequestId, SessionId};
use crate::sip::header::reason::Reason;
use crate::time::{Duration, Instant};

/// One call: a SIP session, its offer/answer state and its media leg.
#[derive(Debug)]
pub(super) struct CallState {
    pub(super) session: SessionId,
    pub(super) stage: Stage,
    pub(super) sdp: Negotiator,
    /// Whether its media is to be protected, and our keys for it, which stay the same.
    pub(super) security: LocalSecurity,
    /// What offer and answer have agreed on last.
    pub(super) agreed: Option<Agreed>,
    /// For a dialled party: our offer, for branches of a fork that have not answered it.
    pub(super) offer: Option<Box<Negotiator>>,
    /// The branch that `sdp` and `agreed` are of, and the others.
    pub(super) fork: Option<String>,
    pub(super) forks: Vec<Fork>,
    /// The host that the peer's signalling came from, or that the INVITE was sent to.
    pub(super) hint: Option<IpAddr>,
    /// For a caller: the SDP answer, made once and given in every 183 and in the 200.
    pub(super) answer: Option<String>,
    /// Whether that answer has reached the caller in a reliable response.
    pub(super) settled: bool,
    pub(super) port: Option<MediaPort>,
    /// Whether its descriptions are passed on to another call: it has no media here.
    pub(super) passes: bool,
    /// The codecs that it may use, best first; all of the engine's where nothing is said.
    pub(super) codecs: Option<Vec<String>>,
    pub(super) leg: Option<LegId>,
    /// The rate at which the leg works, that of its players and recording.
    pub(super) rate: SampleRate,
    pub(super) room: Option<RoomId>,
    pub(super) plays: BTreeSet<PlayId>,
    /// The forks of its sound.
    pub(super) sound_forks: Vec<ForkId>,
    pub(super) collecting: Option<Collecting>,
    /// Digits pressed while nothing collected.
    pub(super) typed_ahead: String,
    /// How digits travel, and those that came.
    pub(super) digits: DigitPolicy,
    pub(super) presses: Presses,
    /// Digits that wait to be sent by INFO, and what our unanswered INFOs carried.
    pub(super) info_digits: VecDeque<(Digit, Duration)>,
    pub(super) asked: VecDeque<Asked>,
    /// What the owner wants to be listened for, and what the leg was told last.
    pub(super) listening: Listening,
    pub(super) ears: Option<Listening>,
    /// Its own recording, or its conversation's.
    pub(super) recording: Option<RecordingId>,
    /// The recordings that its leg is tapped for.
    pub(super) taped: BTreeSet<RecordingId>,
    /// Who it is in recordings of conversations.
    pub(super) role: Option<Role>,
    /// What it says against the policy of recording, and what a rule has decided on it.
    pub(super) recorded: RecordingChoice,
    pub(super) drawn: Option<bool>,
    /// Whether the party called, rather than being dialled.
    pub(super) incoming: bool,
    /// Whether its media is protected now.
    pub(super) secured: bool,
    pub(super) held_by_us: bool,
    pub(super) held_by_peer: bool,
    /// Our change of the session that waits for the peer's consent.
    pub(super) change: Option<Pending>,
    /// Our REFER that is being followed.
    pub(super) transferring: Option<RequestId>,
    /// Our messages that wait for their answers.
    pub(super) messages: Vec<RequestId>,
    /// The party's REFER, and the call whose REFER this call follows.
    pub(super) referred: Option<Referred>,
    pub(super) follows: Option<CallId>,
    /// The call whose place the caller asks for.
    pub(super) replaces: Option<CallId>,
    /// Whether the party belongs to the trust domain.
    pub(super) trusted: bool,
    /// For a party whose media does not come here: whom it is connected with.
    pub(super) direct: Option<Box<Direct>>,
    /// For a recording session: its streams, and who is recorded.
    pub(super) siprec: Option<Box<RecordingSession>>,
    /// The recordings of its conversation by servers elsewhere.
    pub(super) remotes: Vec<RecordingId>,
    /// The same for the conversations that its party takes part in: whether each is paused. And what the
    /// party was told of it, where it wants to know.
    pub(super) carried: BTreeMap<RecordingId, bool>,
    pub(super) told_record: Option<Recorded>,
    /// What it would like of being recorded, as it has said last.
    pub(super) record_preference: Option<RecordPreference>,
    /// The data of the call.
    pub(super) data: Held,
    /// For a caller: what our answers say beside the status.
    pub(super) details: Details,
    /// For a dialled party: what of it is heard before the answer.
    pub(super) early_media: EarlyMediaPolicy,
    /// For a dialled party: what is needed to follow its redirections.
    pub(super) redirects: Option<Box<Redirects>>,
    pub(super) started: Instant,
    pub(super) answered: Option<Instant>,
    /// Set where the reason to tell is not the one that signalling will see.
    pub(super) verdict: Option<EndReason>,
    pub(super) ending: Option<Ending>,
}

/// What one branch of a forked INVITE has answered.
#[derive(Debug)]
pub(super) struct Fork {
    pub(super) tag: String,
    pub(super) sdp: Negotiator,
    pub(super) agreed: Option<Agreed>,
}

/// How far a call has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// A caller, undecided or ringing.
    Offered,
    /// A caller whose 200 waits for its ACK.
    Confirming,
    /// A party being dialled.
    Dialling,
    /// Answered.
    Up,
}

/// A digit collection in progress.
#[derive(Debug)]
pub(super) struct Collecting {
    pub(super) collector: Collector,
    pub(super) prompt: Option<PlayId>,
    /// Whether speech stops the prompt.
    pub(super) hears_speech: bool,
    /// The entry in the core's deadlines.
    pub(super) deadline: Option<Instant>,
}

/// A change of the session that this side has offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Hold,
    Resume,
}

/// A change that waits for the peer's consent, and what to go back to without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) was_held: bool,
    /// Only a refresh, of which the owner of the call hears nothing (RFC 4028).
    pub(super) refresh: bool,
}

/// A call whose session is over, waiting for its leg to come back from media.
#[derive(Debug, Clone)]
pub(super) struct Ending {
    pub(super) reason: EndReason,
    pub(super) remote_cause: Option<Cause>,
    pub(super) reasons: Vec<Reason>,
    pub(super) at: Instant,
}

impl CallState {
    pub(super) fn new(session: SessionId, stage: Stage, sdp: Negotiator, now: Instant) -> Self {
        Self {
            session,
            stage,
            sdp,
            security: LocalSecurity::default(),
            agreed: None,
            offer: None,
            fork: None,
            forks: Vec::new(),
            hint: None,
            answer: None,
            settled: false,
            port: None,
            passes: false,
            codecs: None,
            leg: None,
            rate: SampleRate::HZ_8000,
            room: None,
            plays: BTreeSet::new(),
            sound_forks: Vec::new(),
            collecting: None,
            typed_ahead: String::new(),
            digits: DigitPolicy::default(),
            presses: Presses::default(),
            info_digits: VecDeque::new(),
            asked: VecDeque::new(),
            listening: Listening::default(),
            ears: None,
            recording: None,
            taped: BTreeSet::new(),
            role: None,
            recorded: RecordingChoice::default(),
            drawn: None,
            incoming: stage == Stage::Offered,
            secured: false,
            held_by_us: false,
            held_by_peer: false,
            change: None,
            transferring: None,
            messages: Vec::new(),
            referred: None,
            follows: None,
            replaces: None,
            trusted: false,
            direct: None,
            siprec: None,
            remotes: Vec::new(),
            carried: BTreeMap::new(),
            told_record: None,
            record_preference: None,
            data: Held::default(),
            details: Details::default(),
            early_media: EarlyMediaPolicy::default(),
            redirects: None,
            started: now,
            answered: None,
            verdict: None,
            ending: None,
        }
    }

    /// Whether telephone events were agreed on.
    pub(super) fn takes_events(&self) -> bool {
        let agreed = self.agreed.as_ref();
        agreed.is_some_and(|agreed| agreed.telephone_event.is_some())
    }
}
