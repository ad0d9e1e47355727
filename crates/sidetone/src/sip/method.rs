//! SIP request methods (RFC 3261 §7.1).

use std::fmt;

use bytes::Bytes;

use crate::sip::lex;

/// A request method; names are compared with regard to case (RFC 3261 §7.1).
///
/// ```
/// use sidetone::sip::method::Method;
/// assert_eq!(Method::parse("INVITE"), Some(Method::Invite));
/// assert_eq!(Method::parse("FROBNICATE").unwrap().as_str(), "FROBNICATE");
/// assert_eq!(Method::parse("not a token"), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Method {
    /// Confirms a final response to an INVITE (RFC 3261 §13).
    Ack,
    /// Ends a session (RFC 3261 §15).
    Bye,
    /// Cancels a pending INVITE (RFC 3261 §9).
    Cancel,
    /// Carries application information inside a session (RFC 6086).
    Info,
    /// Starts or changes a session (RFC 3261 §13, §14).
    Invite,
    /// Carries an instant message (RFC 3428).
    Message,
    /// Reports an event to a subscriber (RFC 6665).
    Notify,
    /// Asks for capabilities (RFC 3261 §11).
    Options,
    /// Acknowledges a reliable provisional response (RFC 3262).
    Prack,
    /// Publishes event state (RFC 3903).
    Publish,
    /// Asks the recipient to contact a third party (RFC 3515).
    Refer,
    /// Binds an address of record to contacts (RFC 3261 §10).
    Register,
    /// Asks for events (RFC 6665).
    Subscribe,
    /// Changes a session before or after it is confirmed (RFC 3311).
    Update,
    /// Any other method; answered with 501 by a user agent that does not know it.
    Extension(ExtensionMethod),
}

/// The name of a method that this crate has no variant for; always a token.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ExtensionMethod(Bytes);

impl Method {
    /// The method called `name`; `None` where `name` is no token.
    pub fn parse(name: &str) -> Option<Self> {
        Self::known(name.as_bytes()).or_else(|| {
            lex::is_token(name.as_bytes())
                .then(|| Self::Extension(ExtensionMethod(Bytes::copy_from_slice(name.as_bytes()))))
        })
    }

    /// The method that `name` spells, sharing its bytes; `None` where it is no token.
    pub(crate) fn from_bytes(name: Bytes) -> Option<Self> {
        Self::known(&name)
            .or_else(|| lex::is_token(&name).then(|| Self::Extension(ExtensionMethod(name))))
    }

    /// The method with a variant of its own that `name` spells.
    pub(crate) fn known(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"ACK" => Self::Ack,
            b"BYE" => Self::Bye,
            b"CANCEL" => Self::Cancel,
            b"INFO" => Self::Info,
            b"INVITE" => Self::Invite,
            b"MESSAGE" => Self::Message,
            b"NOTIFY" => Self::Notify,
            b"OPTIONS" => Self::Options,
            b"PRACK" => Self::Prack,
            b"PUBLISH" => Self::Publish,
            b"REFER" => Self::Refer,
            b"REGISTER" => Self::Register,
            b"SUBSCRIBE" => Self::Subscribe,
            b"UPDATE" => Self::Update,
            _ => return None,
        })
    }

    /// The name as it stands on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Ack => "ACK",
            Self::Bye => "BYE",
            Self::Cancel => "CANCEL",
            Self::Info => "INFO",
            Self::Invite => "INVITE",
            Self::Message => "MESSAGE",
            Self::Notify => "NOTIFY",
            Self::Options => "OPTIONS",
            Self::Prack => "PRACK",
            Self::Publish => "PUBLISH",
            Self::Refer => "REFER",
            Self::Register => "REGISTER",
            Self::Subscribe => "SUBSCRIBE",
            Self::Update => "UPDATE",
            Self::Extension(name) => name.as_str(),
        }
    }
}

impl ExtensionMethod {
    /// The name as it stands on the wire.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for ExtensionMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_case_sensitive_and_round_trip() {
        for name in ["INVITE", "ACK", "PRACK", "UPDATE", "REFER", "!weird'~"] {
            assert_eq!(Method::parse(name).unwrap().to_string(), name);
        }
        assert!(matches!(
            Method::parse("invite"),
            Some(Method::Extension(_))
        ));
        for bad in ["", "IN VITE", "INVITE\r\n", "BYE:", "é"] {
            assert_eq!(Method::parse(bad), None, "{bad:?}");
        }
    }
}
