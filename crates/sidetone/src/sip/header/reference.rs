//! Something of a call that stands elsewhere: Call-Info and Alert-Info (RFC 3261 §20.4, §20.9,
//! RFC 7462).

use std::fmt;

use bytes::Bytes;

use crate::sip::header::Problem;
use crate::sip::header::address::NameAddr;
use crate::sip::lex::Params;
use crate::sip::uri::Uri;

/// One value of Call-Info or Alert-Info: a URI with parameters.
///
/// A URI of an incoming call is anybody's: nothing here fetches it, and who does must bound where to,
/// how much and how long.
///
/// ```
/// use sidetone::sip::header::reference::Reference;
/// let ring = Reference::new("urn:alert:source:internal")?;
/// assert_eq!(ring.to_string(), "<urn:alert:source:internal>");
/// let card = Reference::new("https://crm.example/42")?.with_param("purpose", "info")?;
/// assert_eq!(card.purpose().as_deref(), Some("info"));
/// # Ok::<(), sidetone::sip::header::Problem>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference(NameAddr);

impl Reference {
    /// A reference to `uri`, of any scheme.
    ///
    /// # Errors
    /// [`Problem::Uri`] where it is no URI.
    pub fn new(uri: &str) -> Result<Self, Problem> {
        Ok(Self(NameAddr::new(&Uri::parse(uri)?)))
    }

    /// Parses one value, `<uri>` with parameters.
    ///
    /// # Errors
    /// [`Problem`] says what breaks the grammar.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        Self::checked(NameAddr::parse(text)?)
    }

    pub(crate) fn from_value(raw: Bytes) -> Result<Self, Problem> {
        Self::checked(NameAddr::from_value(raw)?)
    }

    fn checked(address: NameAddr) -> Result<Self, Problem> {
        match address.as_bytes().contains(&b'<') {
            true => Ok(Self(address.detach())),
            false => Err(Problem::Syntax("no <> around the URI")),
        }
    }

    /// The URI.
    pub fn uri(&self) -> &Uri {
        self.0.uri()
    }

    /// The parameters, in order.
    pub fn params(&self) -> Params<'_> {
        self.0.params()
    }

    /// What it is for: `icon`, `info`, `card` and others, where that is said.
    pub fn purpose(&self) -> Option<std::borrow::Cow<'_, str>> {
        self.0.param("purpose")
    }

    /// The same with a parameter.
    ///
    /// # Errors
    /// [`Problem::Syntax`] for a name that is no token and for control characters in the value.
    pub fn with_param(&self, name: &str, value: &str) -> Result<Self, Problem> {
        Ok(Self(self.0.with_param(name, Some(value))?))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_read_back() {
        let text = "<http://www.example.com/alice/photo.jpg>;purpose=icon;x=\"a b\"";
        let parsed = Reference::parse(text).unwrap();
        assert_eq!(parsed.purpose().as_deref(), Some("icon"));
        assert_eq!(parsed.to_string(), text);
        for bad in [
            "",
            "http://a",
            "<>",
            "<http://a b>",
            "<http://a>\r\nX: y",
            "<a>",
        ] {
            assert!(Reference::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Reference::new("http://a>\r\n").is_err());
        assert!(parsed.with_param("a b", "x").is_err());
        assert!(parsed.with_param("a", "x\r\n").is_err());
    }
}
