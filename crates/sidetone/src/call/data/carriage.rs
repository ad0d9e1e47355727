//! How call data travels in messages: User-to-User where it fits, otherwise a body part or a signed
//! reference; and whose is taken.

use crate::call::data::reference::{References, SCHEME};
use crate::call::data::{CallData, DataError};
use crate::sip::agent::command::{Body, Headers};
use crate::sip::header::Name;
use crate::sip::header::reference::Reference;
use crate::sip::header::user_to_user::{MAX_DATA_BYTES, UserToUser};
use crate::sip::message::Message;
use crate::sip::message::multipart::{self, Part};

/// The type of a body part that is call data; [`CallData`] says what it looks like.
pub const CONTENT_TYPE: &str = "application/vnd.sidetone.call-data";

/// The purpose of a User-to-User that is call data, and of a Call-Info that refers to some.
pub const PURPOSE: &str = "x-sidetone-call-data";

/// Whose call data is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Taken {
    /// Nobody's.
    Nobodys,
    /// That of peers of the trust domain ([`Config::trust`](crate::engine::config::Config::trust)).
    #[default]
    Trusted,
    /// Everybody's: any caller may then make up any value.
    Everybodys,
}

/// How call data travels.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DataPolicy {
    /// Whose is taken. Default that of peers of the trust domain.
    pub taken: Taken,
    /// Up to how many encoded bytes it travels as User-to-User (RFC 7433); 0 never, 2,048 at most.
    /// Default 128, which gateways to older networks carry.
    pub user_to_user: usize,
    /// Whether it travels in the body, beside the session description (`multipart/mixed`), where it does
    /// not fit User-to-User and there are no references. Not every peer understands such bodies.
    /// Default yes.
    pub in_body: bool,
    /// How it travels by reference where it does not fit User-to-User. Default `None`.
    pub references: Option<References>,
    /// Whether parties of the trust domain are told each time that the data of their call changes while it
    /// is up, by an INFO with all of it. Default no: few programs know what to do with it.
    pub tells_changes: bool,
}

impl Default for DataPolicy {
    fn default() -> Self {
        Self {
            taken: Taken::default(),
            user_to_user: 128,
            in_body: true,
            references: None,
            tells_changes: false,
        }
    }
}

/// The way that some data goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// There is nothing to carry.
    None,
    UserToUser,
    Reference,
    Body,
    /// It fits nowhere.
    Blocked,
}

impl DataPolicy {
    /// Takes call data of `taken`.
    #[must_use]
    pub fn taking(mut self, taken: Taken) -> Self {
        self.taken = taken;
        self
    }

    /// Carries as many encoded bytes as User-to-User.
    #[must_use]
    pub fn user_to_user(mut self, bytes: usize) -> Self {
        self.user_to_user = bytes;
        self
    }

    /// Carries what is more by reference.
    #[must_use]
    pub fn references(mut self, references: References) -> Self {
        self.references = Some(references);
        self
    }

    /// Tells parties of the trust domain what changes while their call is up.
    #[must_use]
    pub fn telling_changes(mut self) -> Self {
        self.tells_changes = true;
        self
    }

    /// Whether the data of such a peer is taken.
    pub(crate) fn takes(&self, trusted: bool) -> bool {
        match self.taken {
            Taken::Nobodys => false,
            Taken::Trusted => trusted,
            Taken::Everybodys => true,
        }
    }

    /// The way that data goes, with an INVITE that has a body.
    pub(crate) fn way(&self, data: &CallData) -> Way {
        let fits = self.user_to_user.min(MAX_DATA_BYTES);
        match data.is_empty() {
            true => Way::None,
            false if data.encoded_len() <= fits => Way::UserToUser,
            false if self.references.is_some() => Way::Reference,
            false if self.in_body => Way::Body,
            false => Way::Blocked,
        }
    }

    /// The same in the URI of a Refer-To, which has no body: what fits nowhere else goes there as long
    /// as a URI may be.
    pub(crate) fn way_in_uri(&self, data: &CallData) -> Way {
        match self.way(data) {
            Way::Body | Way::Blocked if data.encoded_len() <= MAX_IN_URI => Way::UserToUser,
            Way::Body => Way::Blocked,
            way => way,
        }
    }
}

/// Encoded bytes that a URI carries in hexadecimal, beside all else that stands in it.
const MAX_IN_URI: usize = 512;

/// The header field that carries data itself.
pub(crate) fn user_to_user(data: &CallData) -> Option<(String, String)> {
    let value = UserToUser::hex(&data.encode()).ok()?;
    let value = value.with_purpose(PURPOSE).ok()?;
    Some((Name::UserToUser.as_str().to_owned(), value.to_string()))
}

/// The header field that refers to data.
pub(crate) fn reference(uri: &str) -> Option<(String, String)> {
    let value = Reference::new(uri).ok()?;
    let value = value.with_param("purpose", PURPOSE).ok()?;
    Some((Name::CallInfo.as_str().to_owned(), value.to_string()))
}

/// The body that carries data beside a session description, and the header field that goes with it.
pub(crate) fn body(description: Body, data: &CallData) -> (Headers, Body) {
    let parts = [
        Part::new(&description.content_type, description.bytes),
        Part::new(CONTENT_TYPE, data.encode()).optional(),
    ];
    let (content_type, bytes) = multipart::print(&parts);
    let body = Body {
        content_type,
        bytes: bytes.into(),
    };
    let version = (Name::MimeVersion.as_str().to_owned(), "1.0".to_owned());
    (vec![version], body)
}

/// What a message brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Brought {
    Nothing,
    Data(CallData),
    /// A reference, not verified yet.
    Reference(String),
    Broken(DataError),
}

/// The call data that a message brings.
pub(crate) fn brought(message: &Message) -> Brought {
    let mut values = message.user_to_user().filter_map(Result::ok);
    if let Some(value) = values.find(|value| value.purpose().eq_ignore_ascii_case(PURPOSE)) {
        return decoded(value.data());
    }
    if let Some(part) = message.part("application", "vnd.sidetone.call-data") {
        return decoded(&part);
    }
    let mut references = message.call_info().filter_map(Result::ok);
    let found = references.find_map(|reference| match referred(&reference) {
        Brought::Nothing => None,
        brought => Some(brought),
    });
    found.unwrap_or(Brought::Nothing)
}

/// What a Call-Info refers to.
pub(crate) fn referred(reference: &Reference) -> Brought {
    let purpose = reference.purpose();
    let ours = purpose.is_some_and(|purpose| purpose.eq_ignore_ascii_case(PURPOSE));
    let uri = reference.uri().as_str();
    match ours && uri.starts_with(SCHEME) {
        true => Brought::Reference(uri.to_owned()),
        false => Brought::Nothing,
    }
}

pub(crate) fn decoded(encoded: &[u8]) -> Brought {
    match CallData::decode(encoded) {
        Ok(data) => Brought::Data(data),
        Err(error) => Brought::Broken(error),
    }
}
