//! Transfers: REFER with its NOTIFYs, and calls that take the place of others (RFC 3515, RFC 3891,
//! RFC 5589).

use crate::call::cause::{Cause, EndReason};
use crate::call::transfer::{Referral, refer_to, sipfrag, status_of};
use crate::engine::core::Core;
use crate::engine::core::call::Stage;
use crate::engine::core::commands::refused;
use crate::engine::core::dialling::DialRequest;
use crate::engine::event::{CallError, CallEvent, Sent};
use crate::id::CallId;
use crate::sip::agent::command::{Body, Headers, RequestId, SessionId, TicketId};
use crate::sip::agent::event::Failure;
use crate::sip::header::Name;
use crate::sip::header::value::Replaces;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::status::StatusCode;
use crate::sip::uri::Uri;
use crate::time::{Duration, Instant};

/// How long a referral's subscription lasts, in seconds; a call rings shorter than that.
const SUBSCRIBED: u32 = 300;

/// How long a referral waits for a decision; the agent has declined it then.
const UNDECIDED: Duration = Duration::from_secs(10);

/// A REFER of the other party: undecided, or being followed.
#[derive(Debug)]
pub(super) struct Referred {
    /// What to answer it by, until it is decided.
    ticket: Option<TicketId>,
    referral: Referral,
    asked: Instant,
    /// The call that follows it.
    follower: Option<CallId>,
    /// The status that was told last.
    told: u16,
}

impl Referred {
    /// Whether nobody decided in time.
    fn is_stale(&self, now: Instant) -> bool {
        self.ticket.is_some() && now >= self.asked + UNDECIDED
    }
}

impl Core {
    /// Asks the other party to call `target` in place of this call (blind transfer, RFC 3515).
    /// `TransferProgress` tells how it goes, `TransferEnded` how it went.
    ///
    /// Where the party belongs to the trust domain, the data of the call goes along; `reference` where it
    /// was stored for that.
    pub fn transfer(
        &mut self,
        now: Instant,
        id: CallId,
        target: &str,
        reference: Option<&str>,
    ) -> Result<(), CallError> {
        let uri = Uri::parse(target).map_err(|e| CallError::Invalid(e.to_string()))?;
        self.refer(now, id, &uri, None, reference)
    }

    /// Asks the other party to call the party of `other` and to take the place of this engine in that
    /// call (attended transfer, RFC 5589 §7). Data as with [`Self::transfer`].
    pub fn transfer_to(
        &mut self,
        now: Instant,
        id: CallId,
        other: CallId,
        reference: Option<&str>,
    ) -> Result<(), CallError> {
        if id == other {
            return Err(CallError::Invalid("a call cannot replace itself".into()));
        }
        let session = self.up(now, other)?;
        let (target, replaces) = self.agent.replaceable(session).ok_or(CallError::Gone)?;
        self.refer(now, id, &target, Some(&replaces), reference)
    }

    fn refer(
        &mut self,
        now: Instant,
        id: CallId,
        target: &Uri,
        replaces: Option<&Replaces>,
        reference: Option<&str>,
    ) -> Result<(), CallError> {
        let session = self.up(now, id)?;
        let data = self.data_to_refer(id, reference)?;
        let refer_to =
            refer_to(target, replaces, &data).map_err(|e| CallError::Invalid(e.to_string()))?;
        if self.call_mut(id)?.transferring.is_some() {
            return Err(CallError::WrongState("another transfer is under way"));
        }
        let headers = vec![
            ("Refer-To".into(), refer_to),
            ("Referred-By".into(), format!("<{}>", self.own_uri())),
        ];
        let sent = self
            .agent
            .request(now, session, Method::Refer, headers, None);
        self.call_mut(id)?.transferring = Some(sent.map_err(refused)?);
        self.take_signalling(now);
        Ok(())
    }

    /// The session of a call that is up.
    fn up(&mut self, now: Instant, id: CallId) -> Result<SessionId, CallError> {
        self.now = now;
        let call = self.call_mut(id)?;
        match call.stage {
            Stage::Up => Ok(call.session),
            _ => Err(CallError::WrongState("the call is not up")),
        }
    }

    /// How a request of ours went: a REFER, or a message.
    pub(super) fn handle_requested(
        &mut self,
        id: CallId,
        request: RequestId,
        result: &Result<Message, Failure>,
    ) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        if let Some(at) = call.messages.iter().position(|of| *of == request) {
            call.messages.swap_remove(at);
            return self.message_done(Sent::Within(id, request), result);
        }
        if call.transferring != Some(request) {
            return;
        }
        let status = match result {
            Ok(response) => response.status().map_or(0, StatusCode::code),
            Err(_) => StatusCode::REQUEST_TIMEOUT.code(),
        };
        if !(200..300).contains(&status) {
            call.transferring = None;
            self.emit(id, CallEvent::TransferEnded { status });
        }
    }

    /// News of our transfer (RFC 3515 §2.4.4).
    pub(super) fn handle_notify(&mut self, id: CallId, request: &Message) -> StatusCode {
        let event = request.event().ok().flatten();
        if !event.is_some_and(|event| event.is("refer")) {
            return StatusCode::BAD_EVENT;
        }
        let Some(call) = self.calls.get_mut(&id) else {
            return StatusCode::CALL_TRANSACTION_DOES_NOT_EXIST;
        };
        if call.transferring.is_none() {
            return StatusCode::CALL_TRANSACTION_DOES_NOT_EXIST;
        }
        let state = request
            .parameterized(Name::SubscriptionState)
            .ok()
            .flatten();
        let over = state.is_some_and(|state| state.is("terminated"));
        let status = status_of(&request.body());
        let last = status.filter(|status| *status >= 200);
        if over || last.is_some() {
            call.transferring = None;
            // The other side stopped telling before it knew.
            let status = last.unwrap_or(StatusCode::REQUEST_TIMEOUT.code());
            self.emit(id, CallEvent::TransferEnded { status });
        } else if let Some(status) = status {
            self.emit(id, CallEvent::TransferProgress { status });
        }
        StatusCode::OK
    }

    /// The other party asks to be transferred; `None` where its owner decides.
    pub(super) fn handle_refer(
        &mut self,
        id: CallId,
        ticket: TicketId,
        request: &Message,
    ) -> Option<StatusCode> {
        let referral = match Referral::read(request) {
            Ok(referral) => referral,
            Err(status) => return Some(StatusCode::new(status).unwrap_or(StatusCode::BAD_REQUEST)),
        };
        let now = self.now;
        let Some(call) = self.calls.get_mut(&id) else {
            return Some(StatusCode::CALL_TRANSACTION_DOES_NOT_EXIST);
        };
        call.referred.take_if(|referred| referred.is_stale(now));
        if call.stage != Stage::Up || call.referred.is_some() {
            return Some(StatusCode::REQUEST_PENDING);
        }
        let asked = CallEvent::TransferRequested(Box::new(referral.clone()));
        call.referred = Some(Referred {
            ticket: Some(ticket),
            asked: now,
            referral,
            follower: None,
            told: 0,
        });
        self.emit(id, asked);
        None
    }

    /// Does what the other party asked with REFER: calls its target, and tells it how that goes. Once
    /// that call is answered it takes the place of `id` in its room.
    ///
    /// The new call shares the data of `id`, with what the REFER brought; `reference` where that was
    /// stored for it.
    pub fn accept_transfer(
        &mut self,
        now: Instant,
        id: CallId,
        reference: Option<String>,
    ) -> Result<CallId, CallError> {
        let session = self.up(now, id)?;
        let call = self.call_mut(id)?;
        call.referred.take_if(|referred| referred.is_stale(now));
        let undecided = CallError::WrongState("no transfer is asked for");
        let referred = call.referred.as_mut().ok_or(undecided.clone())?;
        let ticket = referred.ticket.ok_or(undecided)?;
        let referral = referred.referral.clone();
        let call_trusted = call.trusted;
        let mut dial = DialRequest::new(referral.target());
        dial.replaces = referral.replaces().cloned();
        // We stay the same endpoint (RFC 7989 §9.2).
        let identifier = self.agent.session_identifier(session);
        dial.session_uuid = identifier.map(|identifier| identifier.local);
        if let Some(by) = referral.referred_by_header() {
            dial.headers.push(("Referred-By".into(), by.to_owned()));
        }
        if self.config.call_data.takes(call_trusted) {
            self.take_brought(now, id, referral.data().clone());
        }
        dial.details.user_to_user = referral.user_to_user().to_vec();
        dial.on_behalf_of = Some(id);
        dial.data_reference = reference;
        let follower = self.dial(now, dial);
        let (status, headers) = match (&follower, referral.wants_news()) {
            (Err(_), _) => (StatusCode::DECLINE, Headers::new()),
            (Ok(_), true) => (StatusCode::ACCEPTED, Headers::new()),
            (Ok(_), false) => (StatusCode::OK, vec![("Refer-Sub".into(), "false".into())]),
        };
        // It fails only where the agent has declined it meanwhile; the target is called all the same.
        let _late = self
            .agent
            .reply(now, session, ticket, status, headers, None);
        let call = self.call_mut(id)?;
        match &follower {
            Ok(new) => {
                if let Some(referred) = &mut call.referred {
                    referred.ticket = None;
                    referred.follower = Some(*new);
                }
                if let Some(call) = self.calls.get_mut(new) {
                    call.follows = Some(id);
                }
                self.tell_referrer(now, id, StatusCode::TRYING.code());
            }
            Err(_) => call.referred = None,
        }
        self.take_signalling(now);
        follower
    }

    /// Tells a party that what it asked for with REFER is done: the calls were connected here.
    pub(super) fn confirm_transfer(&mut self, now: Instant, id: CallId) -> Result<(), CallError> {
        let session = self.up(now, id)?;
        let call = self.call_mut(id)?;
        let undecided = CallError::WrongState("no transfer is asked for");
        let referred = call.referred.as_mut().ok_or(undecided.clone())?;
        let ticket = referred.ticket.take().ok_or(undecided)?;
        let (status, headers) = match referred.referral.wants_news() {
            true => (StatusCode::ACCEPTED, Headers::new()),
            false => (StatusCode::OK, vec![("Refer-Sub".into(), "false".into())]),
        };
        // It fails only where the agent has declined it meanwhile.
        let replied = self
            .agent
            .reply(now, session, ticket, status, headers, None);
        self.end_referral(now, id, StatusCode::OK.code());
        replied.map_err(refused)
    }

    /// Declines what the other party asked with REFER, with a status of 400 to 699.
    pub fn decline_transfer(
        &mut self,
        now: Instant,
        id: CallId,
        status: u16,
    ) -> Result<(), CallError> {
        let session = self.up(now, id)?;
        let status = StatusCode::new(status)
            .filter(|_| (400..700).contains(&status))
            .ok_or_else(|| CallError::Invalid(format!("{status} declines nothing")))?;
        let call = self.call_mut(id)?;
        call.referred.take_if(|referred| referred.is_stale(now));
        let ticket = call.referred.as_ref().and_then(|referred| referred.ticket);
        let ticket = ticket.ok_or(CallError::WrongState("no transfer is asked for"))?;
        call.referred = None;
        self.agent
            .reply(now, session, ticket, status, Headers::new(), None)
            .map_err(refused)?;
        self.take_signalling(now);
        Ok(())
    }

    /// How the call that follows a referral stands: its referrer is told, and where it is answered it
    /// takes the referrer's place.
    pub(super) fn follow(&mut self, now: Instant, id: CallId, status: u16) {
        let Some(referrer) = self.calls.get(&id).and_then(|call| call.follows) else {
            return;
        };
        if status < 200 {
            return self.tell_referrer(now, referrer, status);
        }
        if let Some(call) = self.calls.get_mut(&id) {
            call.follows = None;
        }
        self.end_referral(now, referrer, status);
        self.take_place(now, referrer, id);
    }

    /// The last that a referrer is told.
    pub(super) fn end_referral(&mut self, now: Instant, referrer: CallId, status: u16) {
        self.tell_referrer(now, referrer, status);
        if let Some(call) = self.calls.get_mut(&referrer) {
            call.referred = None;
        }
    }

    /// Tells the referrer by NOTIFY how it goes (RFC 3515 §2.4.5).
    fn tell_referrer(&mut self, now: Instant, id: CallId, status: u16) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let session = call.session;
        let Some(referred) = call.referred.as_mut() else {
            return;
        };
        if !referred.referral.wants_news() || referred.told == status {
            return;
        }
        referred.told = status;
        let state = match status {
            100..=199 => format!("active;expires={SUBSCRIBED}"),
            _ => "terminated;reason=noresource".to_owned(),
        };
        let headers = vec![
            ("Event".into(), referred.referral.event()),
            ("Subscription-State".into(), state),
        ];
        let body = Body {
            content_type: "message/sipfrag;version=2.0".into(),
            bytes: sipfrag(status).into(),
        };
        // It fails where the referrer has hung up, and then it needs no news.
        let _gone = self
            .agent
            .request(now, session, Method::Notify, headers, Some(body));
    }

    /// The call that an INVITE's Replaces names, where it can be replaced (RFC 3891 §3): answered,
    /// or dialled by us and not answered. Otherwise the status to refuse the INVITE with.
    pub(super) fn replaced_by(&self, invite: &Message) -> Result<Option<CallId>, StatusCode> {
        let replaces = invite.replaces().map_err(|_| StatusCode::BAD_REQUEST)?;
        let Some(replaces) = replaces else {
            return Ok(None);
        };
        let gone = StatusCode::CALL_TRANSACTION_DOES_NOT_EXIST;
        let session = self.agent.dialog_of(&replaces).ok_or(gone)?;
        let id = *self.sessions.get(&session).ok_or(gone)?;
        let call = self.calls.get(&id).ok_or(gone)?;
        match call.stage {
            _ if call.ending.is_some() => Err(StatusCode::DECLINE),
            Stage::Up if replaces.early_only => Err(StatusCode::BUSY_HERE),
            Stage::Up | Stage::Dialling => Ok(Some(id)),
            Stage::Offered | Stage::Confirming => Err(gone),
        }
    }

    /// Answers a caller that asks to replace another call; that one ends once the caller confirms.
    pub fn replace(&mut self, now: Instant, id: CallId) -> Result<(), CallError> {
        let call = self.call_mut(id)?;
        let Some(replaced) = call.replaces else {
            return Err(CallError::WrongState("the caller asks to replace no call"));
        };
        if self.call_mut(replaced).is_err() {
            self.reject(now, id, StatusCode::CALL_TRANSACTION_DOES_NOT_EXIST.code())?;
            return Err(CallError::Gone);
        }
        self.answer_any(now, id, Headers::new())
    }

    /// A call that replaces another is up.
    pub(super) fn complete_replacement(&mut self, now: Instant, id: CallId) {
        let Some(replaced) = self
            .calls
            .get_mut(&id)
            .and_then(|call| call.replaces.take())
        else {
            return;
        };
        self.replaced_in_passage(now, replaced, id);
        self.take_place(now, replaced, id);
        self.inherit_recording(replaced, id);
        self.attend_call(id);
        self.end_for(now, replaced, EndReason::Replaced, Cause::normal());
    }

    /// Puts a call into the place of another, in its room; nothing is said to the others there.
    fn take_place(&mut self, now: Instant, old: CallId, new: CallId) {
        // Where the new call cannot be brought in, the old one stays.
        let _stays = self.replace_leg(now, old, new);
    }

    /// Puts a call into the place of another, in its room, with its data. Nothing is said to the others
    /// there, and the old call stays up, alone.
    pub fn replace_leg(&mut self, now: Instant, old: CallId, new: CallId) -> Result<(), CallError> {
        self.now = now;
        if old == new {
            return Err(CallError::Invalid("a call cannot replace itself".into()));
        }
        self.share_data(old, new);
        let room = self.calls.get(&old).ok_or(CallError::Gone)?.room;
        let Some(room) = room else {
            return Err(CallError::WrongState("the call is in no room"));
        };
        self.inherit_recording(old, new);
        self.join(now, room, new)?;
        self.leave(now, room, old)
    }
}
