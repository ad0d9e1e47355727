//! Typed views of the header fields that any message may have, whatever it is for (RFC 3261 §20).

use crate::sip::header::address::NameAddr;
use crate::sip::header::auth::{AuthenticationInfo, Challenge, Credentials};
use crate::sip::header::date::{Date, Timestamp};
use crate::sip::header::identity::SignedIdentity;
use crate::sip::header::preference::{Preference, Priority};
use crate::sip::header::reference::Reference;
use crate::sip::header::value::Parameterized;
use crate::sip::header::{HeaderError, Known, Name, Problem};
use crate::sip::lex;
use crate::sip::message::Message;
use crate::sip::message::typed::Tokens;

impl Message {
    /// Date: when the message was first sent (§20.17); `None` where there is none.
    ///
    /// # Errors
    /// [`HeaderError`] where it is repeated, broken, or not in GMT.
    pub fn date(&self) -> Result<Option<Date>, HeaderError> {
        self.maybe(Known::Date, |raw| Date::from_value(&raw))
    }

    /// Timestamp: when the client sent the request (§20.38); `None` where there is none.
    ///
    /// # Errors
    /// [`HeaderError`] where it is repeated or no number.
    pub fn timestamp(&self) -> Result<Option<Timestamp>, HeaderError> {
        self.maybe(Known::Timestamp, |raw| Timestamp::from_value(&raw))
    }

    /// Reply-To: where an answer shall go that need not be to From (§20.31); `None` where there is none.
    ///
    /// # Errors
    /// [`HeaderError`] where it is repeated or broken.
    pub fn reply_to(&self) -> Result<Option<NameAddr>, HeaderError> {
        self.maybe(Known::ReplyTo, NameAddr::from_value)
    }

    /// Referred-By: on whose word the request is made (RFC 3892); `None` where there is none.
    ///
    /// # Errors
    /// [`HeaderError`] where it is repeated or broken.
    pub fn referred_by(&self) -> Result<Option<NameAddr>, HeaderError> {
        self.maybe(Known::ReferredBy, NameAddr::from_value)
    }

    /// Organization, without line folds (§20.25).
    pub fn organization(&self) -> Option<String> {
        let header = self.header(Name::Organization)?;
        Some(header.text().into_owned())
    }

    /// Priority: how urgent the sender says the request is (§20.26); `None` where there is none.
    ///
    /// # Errors
    /// [`HeaderError`] where it is repeated or no token.
    pub fn priority(&self) -> Result<Option<Priority>, HeaderError> {
        self.maybe(Known::Priority, |raw| Priority::from_value(&raw))
    }

    /// In-Reply-To: the Call-IDs of the calls that this one answers (§20.21).
    pub fn in_reply_to(&self) -> impl Iterator<Item = Result<String, HeaderError>> {
        self.typed(Known::InReplyTo, |raw| match lex::is_call_id(&raw) {
            true => Ok(String::from_utf8_lossy(&raw).into_owned()),
            false => Err(Problem::Syntax("not of the form word@word")),
        })
    }

    /// Error-Info: where more is said of a failure (§20.18). Nothing is fetched.
    pub fn error_info(&self) -> impl Iterator<Item = Result<Reference, HeaderError>> {
        self.typed(Known::ErrorInfo, Reference::from_value)
    }

    /// The languages that the sender would like to read, with how much (§20.3).
    pub fn accept_language(&self) -> impl Iterator<Item = Result<Preference, HeaderError>> {
        self.preferences(Known::AcceptLanguage)
    }

    /// The codings of bodies that the sender takes, with how much it likes them (§20.2).
    pub fn accept_encoding(&self) -> impl Iterator<Item = Result<Preference, HeaderError>> {
        self.preferences(Known::AcceptEncoding)
    }

    /// Their values; none for an empty one.
    fn preferences(&self, known: Known) -> impl Iterator<Item = Result<Preference, HeaderError>> {
        let values = self.list(known.name("")).filter(|raw| !raw.is_empty());
        values.map(move |raw| Preference::from_value(raw).map_err(|p| p.in_header(known)))
    }

    /// The languages of the body (§20.13).
    pub fn content_language(&self) -> Tokens<'_> {
        Tokens::new(self, Known::ContentLanguage)
    }

    /// The codings that have been applied to the body (§20.12).
    pub fn content_encoding(&self) -> Tokens<'_> {
        Tokens::new(self, Known::ContentEncoding)
    }

    /// The packages of Allow-Events (RFC 6665 §8.2.2).
    pub fn allow_events(&self) -> Tokens<'_> {
        Tokens::new(self, Known::AllowEvents)
    }

    /// MIME-Version (§20.24), `1.0` in all that is written today; `None` where there is none.
    pub fn mime_version(&self) -> Option<String> {
        let header = self.header(Name::MimeVersion)?;
        Some(header.text().into_owned())
    }

    /// Flow-Timer: after how many seconds of silence the server gives a flow up (RFC 5626 §4.4, §10);
    /// `None` where there is none.
    ///
    /// # Errors
    /// [`HeaderError`] where it is repeated, no number, or above 2^32 - 1.
    pub fn flow_timer(&self) -> Result<Option<u32>, HeaderError> {
        self.maybe(Known::FlowTimer, |raw| {
            match lex::number(&raw, u32::MAX.into()) {
                Some(seconds) => Ok(seconds as u32),
                None => Err(Problem::OutOfRange),
            }
        })
    }

    /// The challenges of WWW-Authenticate or Proxy-Authenticate, in the server's order.
    pub fn challenges(
        &self,
        name: Name<'static>,
    ) -> impl Iterator<Item = Result<Challenge, HeaderError>> {
        // The scheme's own parameters are separated by commas: a row is one challenge.
        let rows = self.header_all(name);
        rows.map(move |row| Challenge::parse(&row.value()).map_err(|p| p.in_header(name.known())))
    }

    /// The credentials of Authorization or Proxy-Authorization, each for a realm of its own.
    pub fn credentials(
        &self,
        name: Name<'static>,
    ) -> impl Iterator<Item = Result<Credentials, HeaderError>> {
        let rows = self.header_all(name);
        rows.map(move |row| Credentials::parse(&row.value()).map_err(|p| p.in_header(name.known())))
    }

    /// Authentication-Info: what the server says to credentials that it has accepted (RFC 7616 §3.5);
    /// `None` where there is none.
    ///
    /// # Errors
    /// [`HeaderError`] where it is repeated or broken.
    pub fn authentication_info(&self) -> Result<Option<AuthenticationInfo>, HeaderError> {
        self.maybe(Known::AuthenticationInfo, |raw| {
            AuthenticationInfo::parse(&raw)
        })
    }

    /// Identity: who the caller is by a signature that nobody has checked yet (RFC 8224 §4).
    pub fn identities(&self) -> impl Iterator<Item = Result<SignedIdentity, HeaderError>> {
        self.typed(Known::Identity, SignedIdentity::from_value)
    }

    /// The values of a list header field whose values are of the form `value;parameters`, such as
    /// Recv-Info (RFC 6086), Accept-Contact or Request-Disposition (RFC 3841).
    pub fn parameterized_all(
        &self,
        name: Name<'_>,
    ) -> impl Iterator<Item = Result<Parameterized, HeaderError>> {
        self.typed(name.known(), Parameterized::from_value)
    }
}
