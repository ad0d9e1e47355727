//! What calls say beside who calls whom: who is believed, what is told to whom.

use crate::call::details::{Details, MAX_VALUES, TRUSTED_ONLY};
use crate::call::early::EarlyMediaPolicy;
use crate::engine::config::Listener;
use crate::engine::core::Core;
use crate::engine::core::call::{CallState, Stage};
use crate::engine::core::commands::refused;
use crate::engine::event::{CallError, CallEvent};
use crate::id::CallId;
use crate::sip::agent::command::Headers;
use crate::sip::header::session_id::{SessionIdentifier, SessionUuid};
use crate::sip::header::{Known, Name};
use crate::sip::message::Message;
use crate::sip::status::StatusCode;
use crate::time::Instant;
use std::net::IpAddr;

impl Core {
    /// Whether what comes from `source` by `listener` comes from within the trust domain.
    pub(super) fn is_trusted(&self, listener: Option<&Listener>, source: IpAddr) -> bool {
        listener.is_some_and(|listener| listener.trusted) || self.config.trust.believes(source)
    }

    /// Takes what strangers may not say out of an INVITE, and reads the rest.
    pub(super) fn read_details(&mut self, invite: Message, trusted: bool) -> (Message, Details) {
        let (details, left_out) = Details::read(&invite, trusted);
        self.counters.details_left_out += left_out;
        match trusted {
            true => (invite, details),
            false => (invite.without(&TRUSTED_ONLY), details),
        }
    }

    /// What our answers to a caller say beside the status from now on: P-Asserted-Identity, reasons,
    /// references and others.
    pub fn set_details(
        &mut self,
        now: Instant,
        id: CallId,
        details: Details,
    ) -> Result<(), CallError> {
        self.now = now;
        let call = self.call_mut(id)?;
        if call.stage != Stage::Offered {
            return Err(CallError::WrongState("there is nothing to answer"));
        }
        if details.headers(true).is_none() {
            return Err(too_many());
        }
        call.details = details;
        Ok(())
    }

    /// The header fields that go with our answer to a caller.
    pub(super) fn answer_headers(&self, id: CallId) -> Headers {
        let call = self.calls.get(&id);
        let headers = call.and_then(|call| call.details.headers(call.trusted));
        headers.unwrap_or_default()
    }

    /// Tells the owner of a dialled call what a response says.
    pub(super) fn tell_details(&mut self, id: CallId, response: &Message) {
        let Some(call) = self.calls.get(&id) else {
            return;
        };
        let (details, left_out) = Details::read(response, call.trusted);
        self.counters.details_left_out += left_out;
        if !details.is_empty() {
            self.emit(id, CallEvent::Details(Box::new(details)));
        }
    }

    /// The identifier of the call's session, from end to end (RFC 7989): our part, and the party's, which
    /// is nil before the party has told it.
    pub fn session_identifier(&self, id: CallId) -> Option<SessionIdentifier> {
        self.agent.session_identifier(self.calls.get(&id)?.session)
    }

    /// Gives the call another identifier on our side, that of the party for which we stand in it: both
    /// parties of a bridge then see each other's.
    pub fn set_session_uuid(
        &mut self,
        now: Instant,
        id: CallId,
        uuid: SessionUuid,
    ) -> Result<(), CallError> {
        self.now = now;
        let session = self.call_mut(id)?.session;
        self.agent.set_session_uuid(session, uuid).map_err(refused)
    }

    /// The call that an INVITE's Join names, where callers may join (RFC 3911 §4). Otherwise the status
    /// to refuse the INVITE with.
    pub(super) fn joined_by(&self, invite: &Message) -> Result<Option<CallId>, StatusCode> {
        let join = invite.join().map_err(|_| StatusCode::BAD_REQUEST)?;
        let Some(join) = join else {
            return Ok(None);
        };
        if invite.header(Name::Replaces).is_some() {
            return Err(StatusCode::BAD_REQUEST);
        }
        let gone = StatusCode::CALL_TRANSACTION_DOES_NOT_EXIST;
        let session = self.agent.dialog_of(&join).ok_or(gone)?;
        let id = *self.sessions.get(&session).ok_or(gone)?;
        let call = self.calls.get(&id).ok_or(gone)?;
        match call.ending.is_some() {
            true => Err(StatusCode::DECLINE),
            false if !self.config.joins => Err(StatusCode::NOT_ACCEPTABLE_HERE),
            false => Ok(Some(id)),
        }
    }
}

impl CallState {
    /// What may be heard of a response's sound: `None` where nothing is said against it or for it.
    pub(super) fn permits_early_media(&self, response: &Message) -> Option<bool> {
        let told = response.early_media().ok().flatten();
        let flow = told.and_then(|told| told.flow);
        let permitted = flow.map(|flow| flow.lets_send());
        match self.early_media {
            EarlyMediaPolicy::AsItComes => permitted,
            EarlyMediaPolicy::Authorized => Some(self.trusted && permitted == Some(true)),
            EarlyMediaPolicy::Never => Some(false),
        }
    }
}

/// Why details are not sent.
pub(super) fn too_many() -> CallError {
    CallError::Invalid(format!(
        "more than {MAX_VALUES} values of a kind, or than one asserted URI and number"
    ))
}

/// Whether a header field may be told to a peer outside the trust domain.
pub(super) fn is_public(name: &str) -> bool {
    !TRUSTED_ONLY.contains(&Known::find(name.as_bytes()))
}
