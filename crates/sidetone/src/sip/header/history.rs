//! The way that a request has come, target by target: History-Info (RFC 7044).

use std::fmt;

use bytes::Bytes;

use crate::sip::header::Problem;
use crate::sip::header::address::NameAddr;
use crate::sip::header::privacy::Privacy;
use crate::sip::header::reason::Reason;
use crate::sip::lex;
use crate::sip::uri::Uri;

/// Levels of an index.
const MAX_DEPTH: usize = 32;

/// How a target came to stand in the history (RFC 7044 §10.3); each names the entry that it was
/// made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The Request-URI was changed for the same user (`rc`), such as to a registered contact.
    Contact(String),
    /// The target was mapped to another user (`mp`), as by a diversion.
    Mapped(String),
    /// The Request-URI stayed as it was (`np`).
    Unchanged(String),
}

impl Origin {
    fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Contact(index) => ("rc", index),
            Self::Mapped(index) => ("mp", index),
            Self::Unchanged(index) => ("np", index),
        }
    }
}

/// One value of the History-Info header field: a target that the request was sent to. The first
/// target stands first.
///
/// ```
/// use sidetone::sip::header::history::HistoryEntry;
/// use sidetone::sip::header::reason::Reason;
/// let first = HistoryEntry::new(&"sip:6001@pbx.example".parse()?, "1")?
///     .left_for(&Reason::sip(302, "Moved Temporarily"))?;
/// assert_eq!(first.index(), "1");
/// assert_eq!(first.reasons()[0].cause(), Some(302));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry(NameAddr);

impl HistoryEntry {
    /// The entry of `uri` with its index, such as `1.2`.
    ///
    /// # Errors
    /// [`Problem`] where the index is no list of numbers with dots between.
    pub fn new(uri: &Uri, index: &str) -> Result<Self, Problem> {
        if !is_index(index.as_bytes()) {
            return Err(Problem::Syntax("index is no list of numbers"));
        }
        let address = NameAddr::new(&uri.without_headers());
        Ok(Self(address.with_param("index", Some(index))?))
    }

    /// Parses one value.
    ///
    /// # Errors
    /// [`Problem`] says what breaks the grammar; there must be an index.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        Self::checked(NameAddr::parse(text)?)
    }

    pub(crate) fn from_value(raw: Bytes) -> Result<Self, Problem> {
        Self::checked(NameAddr::from_value(raw)?)
    }

    fn checked(address: NameAddr) -> Result<Self, Problem> {
        let index = address
            .params()
            .named("index")
            .and_then(|param| param.value);
        match index.is_some_and(is_index) {
            true => Ok(Self(address.detach())),
            false => Err(Problem::Syntax("no index")),
        }
    }

    /// The target.
    pub fn uri(&self) -> Uri {
        self.0.uri().without_headers()
    }

    /// The address with its parameters.
    pub fn address(&self) -> &NameAddr {
        &self.0
    }

    /// Where the entry stands in the tree of targets, such as `1.2.1`.
    pub fn index(&self) -> &str {
        let index = self.0.params().named("index");
        let index = index.and_then(|param| param.value).unwrap_or_default();
        std::str::from_utf8(index).unwrap_or_default()
    }

    /// How the target came to stand here, where that is said.
    pub fn origin(&self) -> Option<Origin> {
        let named = |name: &str| Some(self.0.param(name)?.into_owned());
        let contact = named("rc").map(Origin::Contact);
        contact
            .or_else(|| named("mp").map(Origin::Mapped))
            .or_else(|| named("np").map(Origin::Unchanged))
    }

    /// Why the request went on from this target.
    pub fn reasons(&self) -> Vec<Reason> {
        let Some(text) = self.0.uri().header("Reason") else {
            return Vec::new();
        };
        Reason::parse(&text).into_iter().collect()
    }

    /// Whether this entry is to be kept from others (RFC 7044 §10.1).
    pub fn is_private(&self) -> bool {
        let privacy = self.0.uri().header("Privacy");
        let privacy = privacy.and_then(|text| Privacy::parse(&text).ok());
        privacy.is_some_and(Privacy::hides_history)
    }

    /// The same with how the target came to stand here.
    ///
    /// # Errors
    /// [`Problem::Syntax`] where the index that is named is none.
    pub fn made_by(&self, origin: &Origin) -> Result<Self, Problem> {
        let (name, index) = origin.parts();
        if !is_index(index.as_bytes()) {
            return Err(Problem::Syntax("index is no list of numbers"));
        }
        Ok(Self(self.0.with_param(name, Some(index))?))
    }

    /// The same with why the request went on from it. Only SIP URIs can tell; others stay as they are.
    ///
    /// # Errors
    /// [`Problem::TooLong`] where the value would be too long.
    pub fn left_for(&self, reason: &Reason) -> Result<Self, Problem> {
        self.with_uri_header("Reason", &reason.to_string())
    }

    /// The same, to be kept from others. Only SIP URIs can tell; others stay as they are.
    ///
    /// # Errors
    /// [`Problem::TooLong`] where the value would be too long.
    pub fn private(&self) -> Result<Self, Problem> {
        self.with_uri_header("Privacy", "history")
    }

    /// The same with the target taken out (RFC 7044 §10.1.2), for those who must not know it.
    pub(crate) fn anonymous(&self) -> Option<Self> {
        let nobody = Uri::parse("sip:anonymous@anonymous.invalid").ok()?;
        let entry = Self::new(&nobody, self.index()).ok()?;
        match self.origin() {
            Some(origin) => entry.made_by(&origin).ok(),
            None => Some(entry),
        }
    }

    fn with_uri_header(&self, name: &str, value: &str) -> Result<Self, Problem> {
        let uri = self.0.uri().with_header(name, value)?;
        let mut address = NameAddr::new(&uri);
        if let Some(shown) = self.0.display_name() {
            address = address.with_display_name(&shown)?;
        }
        for param in self.0.params() {
            let name = std::str::from_utf8(param.name).unwrap_or_default();
            let value = param.value.map(|_| param.text());
            address = address.with_param(name, value.as_deref())?;
        }
        Ok(Self(address))
    }
}

impl fmt::Display for HistoryEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether `bytes` is `1*DIGIT *( "." 1*DIGIT )`, of a length that makes sense.
fn is_index(bytes: &[u8]) -> bool {
    let mut levels = bytes.split(|&b| b == b'.');
    let depth = levels.clone().count();
    depth <= MAX_DEPTH && levels.all(|level| lex::number(level, 9_999).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_tell_index_origin_and_reason() {
        let text = "<sip:b@h?Reason=SIP%3Bcause%3D302&Privacy=history>;index=1.1;mp=1";
        let entry = HistoryEntry::parse(text).unwrap();
        assert_eq!(entry.uri().as_str(), "sip:b@h");
        assert_eq!(entry.index(), "1.1");
        assert_eq!(entry.origin(), Some(Origin::Mapped("1".into())));
        assert_eq!(entry.reasons()[0].cause(), Some(302));
        assert!(entry.is_private());
        let hidden = entry.anonymous().unwrap();
        assert_eq!(
            hidden.to_string(),
            "<sip:anonymous@anonymous.invalid>;index=1.1;mp=1"
        );
        for bad in [
            "<sip:b@h>",
            "<sip:b@h>;index=",
            "<sip:b@h>;index=1..1",
            "<sip:b@h>;index=a",
            "<sip:b@h>;index=1.99999",
            "b",
        ] {
            assert!(HistoryEntry::parse(bad).is_err(), "{bad:?}");
        }
        let deep = vec!["1"; MAX_DEPTH + 1].join(".");
        assert!(HistoryEntry::parse(&format!("<sip:b@h>;index={deep}")).is_err());
    }

    #[test]
    fn what_is_made_reads_back() {
        let uri = "sip:b@h;user=phone".parse().unwrap();
        let entry = HistoryEntry::new(&uri, "1.1")
            .and_then(|entry| entry.made_by(&Origin::Contact("1".into())))
            .and_then(|entry| entry.left_for(&Reason::sip(486, "Busy; \"really\"")))
            .and_then(|entry| entry.private())
            .unwrap();
        let again = HistoryEntry::parse(&entry.to_string()).unwrap();
        assert_eq!(again, entry);
        assert_eq!(again.reasons()[0].text(), Some("Busy; \"really\""));
        assert!(again.is_private());
        assert_eq!(again.uri(), uri);
        let tel = HistoryEntry::new(&"tel:+1".parse().unwrap(), "1").unwrap();
        assert_eq!(tel.left_for(&Reason::sip(486, "Busy")).unwrap(), tel);
        assert!(HistoryEntry::new(&uri, "1;x=2").is_err());
        assert!(entry.made_by(&Origin::Mapped("1\r\nX: y".into())).is_err());
    }
}
