//! Typed views of the header fields that tell more of a call: who calls, by which way, and why.

use crate::sip::header::address::NameAddr;
use crate::sip::header::diversion::Diversion;
use crate::sip::header::early_media::EarlyMedia;
use crate::sip::header::history::HistoryEntry;
use crate::sip::header::privacy::Privacy;
use crate::sip::header::reason::Reason;
use crate::sip::header::reference::Reference;
use crate::sip::header::session_id::SessionIdentifier;
use crate::sip::header::user_to_user::UserToUser;
use crate::sip::header::value::Replaces;
use crate::sip::header::{HeaderError, Known};
use crate::sip::message::Message;

impl Message {
    /// Whom the network asserts the sender to be (RFC 3325 §9.1). It is worth what its sender is: only
    /// what comes from within the trust domain counts.
    pub fn asserted_identities(&self) -> impl Iterator<Item = Result<NameAddr, HeaderError>> {
        self.typed(Known::PAssertedIdentity, NameAddr::from_value)
    }

    /// As whom the sender would like to be asserted (RFC 3325 §9.2): a wish.
    pub fn preferred_identities(&self) -> impl Iterator<Item = Result<NameAddr, HeaderError>> {
        self.typed(Known::PPreferredIdentity, NameAddr::from_value)
    }

    /// All that Privacy says, over all of its rows (RFC 3323 §4.2).
    ///
    /// # Errors
    /// [`HeaderError`] where a row is broken.
    pub fn privacy(&self) -> Result<Privacy, HeaderError> {
        let mut found = Privacy::default();
        for value in self.header_values(Known::Privacy) {
            found = found | Privacy::from_value(value).map_err(|p| p.in_header(Known::Privacy))?;
        }
        Ok(found)
    }

    /// From whom the call was diverted, the latest first (RFC 5806).
    pub fn diversions(&self) -> impl Iterator<Item = Result<Diversion, HeaderError>> {
        self.typed(Known::Diversion, Diversion::from_value)
    }

    /// The targets that the request was sent to, the first first (RFC 7044).
    pub fn history(&self) -> impl Iterator<Item = Result<HistoryEntry, HeaderError>> {
        self.typed(Known::HistoryInfo, HistoryEntry::from_value)
    }

    /// What the sender's program tells ours (RFC 7433).
    pub fn user_to_user(&self) -> impl Iterator<Item = Result<UserToUser, HeaderError>> {
        self.typed(Known::UserToUser, UserToUser::from_value)
    }

    /// The session's identifier from end to end (RFC 7989); `None` where there is none.
    ///
    /// # Errors
    /// [`HeaderError`] where it is repeated or broken.
    pub fn session_id(&self) -> Result<Option<SessionIdentifier>, HeaderError> {
        self.maybe(Known::SessionId, SessionIdentifier::from_value)
    }

    /// More about the sender: its picture, its card (RFC 3261 §20.9).
    pub fn call_info(&self) -> impl Iterator<Item = Result<Reference, HeaderError>> {
        self.typed(Known::CallInfo, Reference::from_value)
    }

    /// How the recipient shall be alerted (RFC 3261 §20.4, RFC 7462).
    pub fn alert_info(&self) -> impl Iterator<Item = Result<Reference, HeaderError>> {
        self.typed(Known::AlertInfo, Reference::from_value)
    }

    /// What the network lets through of early media (RFC 5009); `None` where it says nothing.
    ///
    /// # Errors
    /// [`HeaderError`] where a value is no token.
    pub fn early_media(&self) -> Result<Option<EarlyMedia>, HeaderError> {
        let Some(value) = self.header_values(Known::PEarlyMedia).next() else {
            return Ok(None);
        };
        let parsed = EarlyMedia::from_value(value);
        parsed
            .map(Some)
            .map_err(|problem| problem.in_header(Known::PEarlyMedia))
    }

    /// Why the message was sent, in several vocabularies (RFC 3326).
    pub fn reasons(&self) -> impl Iterator<Item = Result<Reason, HeaderError>> {
        self.typed(Known::Reason, Reason::from_value)
    }

    /// The dialog that the sender wants to join, as its recipient sees it (RFC 3911 §7.1); `None` where
    /// there is none.
    ///
    /// # Errors
    /// [`HeaderError`] where it is repeated or broken.
    pub fn join(&self) -> Result<Option<Replaces>, HeaderError> {
        self.maybe(Known::Join, Replaces::from_value)
    }
}
