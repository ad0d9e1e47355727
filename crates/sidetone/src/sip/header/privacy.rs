//! What of a caller is to be kept from others: Privacy (RFC 3323, RFC 3325 §9.3, RFC 7044 §10.1).

use std::fmt;
use std::ops::BitOr;

use crate::sip::header::Problem;
use crate::sip::lex;

/// Values of the Privacy header field, none or several of them together.
///
/// ```
/// use sidetone::sip::header::privacy::Privacy;
/// let wish = Privacy::ID | Privacy::CRITICAL;
/// assert_eq!(wish.to_string(), "id;critical");
/// assert_eq!(Privacy::parse("critical ; ID")?, wish);
/// assert!(wish.hides_identity());
/// # Ok::<(), sidetone::sip::header::Problem>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Privacy(u16);

/// Each value with its name, in the order in which they are printed.
const NAMES: [(&str, Privacy); 7] = [
    ("id", Privacy::ID),
    ("user", Privacy::USER),
    ("header", Privacy::HEADER),
    ("session", Privacy::SESSION),
    ("history", Privacy::HISTORY),
    ("none", Privacy::NONE),
    ("critical", Privacy::CRITICAL),
];

/// The most values that are looked at.
const MAX_VALUES: usize = 16;

impl Privacy {
    /// Who calls, as the network asserts it, is told nobody outside the trust domain (RFC 3325 §9.3).
    pub const ID: Self = Self(1);
    /// A privacy service shall take the caller's name and address out of From and the like.
    pub const USER: Self = Self(2);
    /// A privacy service shall take out what shows the way: Via, Contact, History-Info.
    pub const HEADER: Self = Self(4);
    /// A privacy service shall hide the addresses of media.
    pub const SESSION: Self = Self(8);
    /// History-Info is told nobody outside the domain (RFC 7044 §10.1).
    pub const HISTORY: Self = Self(16);
    /// Nothing is to be kept, whatever the caller's subscription says.
    pub const NONE: Self = Self(32);
    /// The call is to fail rather than to be told.
    pub const CRITICAL: Self = Self(64);
    /// Something that is not known here is wanted. It is not printed.
    pub const UNKNOWN: Self = Self(128);

    /// Parses `priv-value *( ";" priv-value )`; values that are not known are [`UNKNOWN`](Self::UNKNOWN).
    ///
    /// # Errors
    /// [`Problem::Syntax`] where a value is no token.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        Self::from_value(text.as_bytes())
    }

    pub(crate) fn from_value(raw: &[u8]) -> Result<Self, Problem> {
        let mut found = Self::default();
        // Some peers separate by commas.
        for value in raw.split(|b| matches!(b, b';' | b',')).take(MAX_VALUES) {
            let value = lex::trim(value);
            if !lex::is_token(value) {
                return Err(Problem::Syntax("value is no token"));
            }
            let known = NAMES
                .iter()
                .find(|(name, _)| value.eq_ignore_ascii_case(name.as_bytes()));
            found = found | known.map_or(Self::UNKNOWN, |(_, privacy)| *privacy);
        }
        Ok(found)
    }

    /// Whether all of `other` is in this.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether nothing is said.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The same without all of `other`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether any of `other` is in this, and privacy is wanted at all.
    pub fn wants(self, other: Self) -> bool {
        !self.contains(Self::NONE) && self.0 & other.0 != 0
    }

    /// Whether the identity that the network asserts stays within the trust domain.
    pub fn hides_identity(self) -> bool {
        !self.contains(Self::NONE) && (self.0 & (Self::ID.0 | Self::USER.0)) != 0
    }

    /// Whether the way that the call took stays within the domain (RFC 7044 §10.1.1).
    pub fn hides_history(self) -> bool {
        let hiding = Self::HISTORY.0 | Self::HEADER.0 | Self::SESSION.0;
        !self.contains(Self::NONE) && (self.0 & hiding) != 0
    }
}

impl BitOr for Privacy {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Privacy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for (name, value) in NAMES {
            if self.contains(value) {
                f.write_str(if first { "" } else { ";" })?;
                f.write_str(name)?;
                first = false;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_in_any_order_and_unknown_ones_left_out() {
        let parsed = Privacy::parse("User;x-ours;HISTORY, critical").unwrap();
        assert_eq!(parsed.to_string(), "user;history;critical");
        assert!(parsed.hides_identity() && parsed.hides_history());
        assert!(!Privacy::parse("none;id").unwrap().hides_identity());
        let unknown = Privacy::parse("x").unwrap();
        assert_eq!(
            (unknown, unknown.to_string().as_str()),
            (Privacy::UNKNOWN, "")
        );
        assert!(parsed.wants(Privacy::USER | Privacy::ID) && !parsed.wants(Privacy::ID));
        assert!(!Privacy::parse("none;user").unwrap().wants(Privacy::USER));
        assert_eq!(
            parsed.without(Privacy::USER).to_string(),
            "history;critical"
        );
        for bad in ["", ";", "id;", "i d", "id\r\nX: y", "\"id\""] {
            assert!(Privacy::parse(bad).is_err(), "{bad:?}");
        }
    }
}
