//! The session's identifier from end to end: ours, the other endpoint's, and who says what (RFC 7989).

use super::Agent;
use super::command::{CommandError, SessionId};
use super::session::Session;
use crate::sip::header::session_id::{SessionIdentifier, SessionUuid};
use crate::sip::message::Message;

/// Both endpoints' parts, kept over re-INVITEs and changes of the dialog.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Identity {
    local: SessionUuid,
    remote: SessionUuid,
    /// The peer has one identifier for both endpoints, as RFC 7329 had it (§11).
    shared: bool,
}

impl Identity {
    pub(super) fn new(local: SessionUuid) -> Self {
        Self {
            local,
            ..Self::default()
        }
    }

    fn identifier(self) -> SessionIdentifier {
        SessionIdentifier {
            local: self.local,
            remote: (!self.shared).then_some(self.remote),
        }
    }

    /// The value of the header field in what we send.
    pub(super) fn header(self) -> String {
        self.identifier().to_string()
    }

    /// Takes over what the peer says; what it says of our part counts for nothing, since it may not
    /// have heard of a change yet.
    fn learn(&mut self, message: &Message, first: bool) {
        let Ok(Some(told)) = message.session_id() else {
            return;
        };
        match told.remote {
            None if first && message.is_request() => {
                self.shared = true;
                self.local = told.local;
                self.remote = told.local;
            }
            None if told.local == self.local => {
                self.shared = true;
                self.remote = told.local;
            }
            _ if told.local.is_nil() => {}
            _ => self.remote = told.local,
        }
    }
}

impl Session {
    /// Takes over what a message of the peer says of the session's identifier.
    pub(super) fn learn_identity(&mut self, message: &Message) {
        let first = self.identity.remote.is_nil();
        self.identity.learn(message, first);
    }
}

impl Agent {
    /// The session's identifier as it goes out: our part, and the other endpoint's, nil before it is
    /// known (RFC 7989 §5).
    pub fn session_identifier(&self, id: SessionId) -> Option<SessionIdentifier> {
        let session = self.sessions.get(&id).filter(|session| !session.ended)?;
        Some(session.identity.identifier())
    }

    /// Gives the session another part on our side: that of the endpoint for which we stand in it. What
    /// goes out from now on has it.
    ///
    /// # Errors
    /// [`CommandError::NoSuchSession`].
    pub fn set_session_uuid(
        &mut self,
        id: SessionId,
        uuid: SessionUuid,
    ) -> Result<(), CommandError> {
        self.open_session(id)?.identity.local = uuid;
        Ok(())
    }

    /// The value of Session-ID for the session that has our tag `tag`.
    pub(super) fn identifier_by_tag(&self, tag: &str) -> Option<String> {
        let tag = u64::from_str_radix(tag, 16).ok()?;
        let session = self.sessions.get(self.tags.get(&tag)?)?;
        Some(session.identity.header())
    }
}
