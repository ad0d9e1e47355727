//! The identifier of a session from end to end: Session-ID (RFC 7989).

use std::fmt;

use bytes::Bytes;

use crate::rng::Rng;
use crate::sip::header::Problem;
use crate::sip::header::user_to_user::unhex;
use crate::sip::header::value::Parameterized;

/// The part of one endpoint in a session's identifier: a UUID (RFC 9562) as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SessionUuid([u8; 16]);

impl SessionUuid {
    /// All zeros: the other endpoint's, before it is known.
    pub const NIL: Self = Self([0; 16]);

    /// A random one (version 4).
    pub fn random(rng: &mut Rng) -> Self {
        let mut bytes = [0; 16];
        let (high, low) = bytes.split_at_mut(8);
        high.copy_from_slice(&rng.next_u64().to_be_bytes());
        low.copy_from_slice(&rng.next_u64().to_be_bytes());
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(bytes)
    }

    /// Parses 32 hexadecimal digits.
    ///
    /// # Errors
    /// [`Problem::Syntax`] for anything else.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let bytes = unhex(text.as_bytes()).and_then(|bytes| bytes.try_into().ok());
        bytes
            .map(Self)
            .ok_or(Problem::Syntax("not 32 hexadecimal digits"))
    }

    /// Whether this is all zeros.
    pub fn is_nil(self) -> bool {
        self == Self::NIL
    }
}

impl fmt::Display for SessionUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// The Session-ID header field: the sender's part, and the other endpoint's as the sender knows it.
///
/// ```
/// use sidetone::sip::header::session_id::SessionIdentifier;
/// let text = "ab30317f1a784dc48ff824d0d3715d86;remote=00000000000000000000000000000000";
/// let identifier = SessionIdentifier::parse(text)?;
/// assert!(identifier.remote.unwrap().is_nil());
/// assert_eq!(identifier.to_string(), text);
/// # Ok::<(), sidetone::sip::header::Problem>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionIdentifier {
    /// The sender's.
    pub local: SessionUuid,
    /// The other endpoint's. Without it the sender keeps to RFC 7329, which had one for both.
    pub remote: Option<SessionUuid>,
}

impl SessionIdentifier {
    /// Parses the value of the header field.
    ///
    /// # Errors
    /// [`Problem`] says what breaks the grammar.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        Self::from_parameterized(&Parameterized::parse(text)?)
    }

    pub(crate) fn from_value(raw: Bytes) -> Result<Self, Problem> {
        Self::from_parameterized(&Parameterized::from_value(raw)?)
    }

    fn from_parameterized(value: &Parameterized) -> Result<Self, Problem> {
        let remote = value.param("remote");
        Ok(Self {
            local: SessionUuid::parse(&value.value())?,
            remote: remote.map(|text| SessionUuid::parse(&text)).transpose()?,
        })
    }
}

impl fmt::Display for SessionIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.local)?;
        match self.remote {
            Some(remote) => write!(f, ";remote={remote}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_read_back_and_nothing_else_is_one() {
        let uuid = SessionUuid::random(&mut Rng::new(1));
        assert_eq!(uuid.to_string().as_bytes()[12], b'4');
        let old = SessionIdentifier {
            local: uuid,
            remote: None,
        };
        assert_eq!(SessionIdentifier::parse(&old.to_string()).unwrap(), old);
        let upper = uuid.to_string().to_uppercase();
        assert_eq!(SessionUuid::parse(&upper).unwrap(), uuid);
        for bad in [
            "",
            "1",
            &"0".repeat(31),
            &"0".repeat(33),
            &"g".repeat(32),
            &format!("{uuid};remote=1"),
            &format!("{uuid}\r\nX: y"),
        ] {
            assert!(SessionIdentifier::parse(bad).is_err(), "{bad:?}");
        }
    }
}
