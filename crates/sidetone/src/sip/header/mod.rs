//! SIP header fields: names, compact forms and typed values (RFC 3261 §20): wire format.

pub mod address;
pub mod auth;
pub mod date;
pub mod diversion;
pub mod early_media;
pub mod history;
pub mod identity;
pub mod preference;
pub mod privacy;
pub mod reason;
pub mod reference;
pub mod session_id;
pub mod user_to_user;
pub mod value;
pub mod via;

use std::fmt;

use crate::sip::lex;
use crate::sip::uri::UriError;

macro_rules! names {
    ($($variant:ident $text:literal $compact:literal;)*) => {
        /// A header field name; compared without regard to case and to the compact form.
        ///
        /// ```
        /// use sidetone::sip::header::Name;
        /// assert_eq!(Name::parse("f"), Some(Name::From));
        /// assert_eq!(Name::parse("call-id"), Some(Name::CallId));
        /// assert_eq!(Name::parse("X-Ours"), Some(Name::Other("x-ours")));
        /// assert_eq!(Name::parse("X Ours"), None);
        /// ```
        #[derive(Debug, Clone, Copy)]
        #[non_exhaustive]
        pub enum Name<'a> {
            $(#[doc = concat!("`", $text, "`")] $variant,)*
            /// Any other name, as it stands on the wire.
            Other(&'a str),
        }

        /// A [`Name`] as a message's index keeps it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum Known {
            $($variant,)*
            Other,
        }

        const TEXTS: &[&str] = &[$($text),*];
        const COMPACTS: &[&str] = &[$($compact),*];
        const KNOWN: &[Known] = &[$(Known::$variant),*];

        impl Known {
            /// The name; `raw` is its spelling on the wire, for one that is not known.
            pub(crate) fn name(self, raw: &str) -> Name<'_> {
                match self {
                    $(Self::$variant => Name::$variant,)*
                    Self::Other => Name::Other(raw),
                }
            }
        }

        impl Name<'_> {
            /// What a message's index knows this name as.
            pub(crate) fn known(self) -> Known {
                match self {
                    $(Self::$variant => Known::$variant,)*
                    Self::Other(text) => Known::find(text.as_bytes()),
                }
            }
        }
    };
}

names! {
    Accept "Accept" "";
    AcceptContact "Accept-Contact" "a";
    AcceptEncoding "Accept-Encoding" "";
    AcceptLanguage "Accept-Language" "";
    AlertInfo "Alert-Info" "";
    Allow "Allow" "";
    AllowEvents "Allow-Events" "u";
    AuthenticationInfo "Authentication-Info" "";
    Authorization "Authorization" "";
    CallId "Call-ID" "i";
    CallInfo "Call-Info" "";
    Contact "Contact" "m";
    ContentDisposition "Content-Disposition" "";
    ContentEncoding "Content-Encoding" "e";
    ContentLanguage "Content-Language" "";
    ContentLength "Content-Length" "l";
    ContentType "Content-Type" "c";
    CSeq "CSeq" "";
    Date "Date" "";
    Diversion "Diversion" "";
    ErrorInfo "Error-Info" "";
    Event "Event" "o";
    Expires "Expires" "";
    FlowTimer "Flow-Timer" "";
    From "From" "f";
    HistoryInfo "History-Info" "";
    Identity "Identity" "y";
    InReplyTo "In-Reply-To" "";
    InfoPackage "Info-Package" "";
    Join "Join" "";
    MaxForwards "Max-Forwards" "";
    MimeVersion "MIME-Version" "";
    MinExpires "Min-Expires" "";
    MinSe "Min-SE" "";
    Organization "Organization" "";
    PAssertedIdentity "P-Asserted-Identity" "";
    PEarlyMedia "P-Early-Media" "";
    PPreferredIdentity "P-Preferred-Identity" "";
    Path "Path" "";
    Priority "Priority" "";
    Privacy "Privacy" "";
    ProxyAuthenticate "Proxy-Authenticate" "";
    ProxyAuthorization "Proxy-Authorization" "";
    ProxyRequire "Proxy-Require" "";
    RAck "RAck" "";
    Reason "Reason" "";
    RecordRoute "Record-Route" "";
    RecvInfo "Recv-Info" "";
    ReferSub "Refer-Sub" "";
    ReferTo "Refer-To" "r";
    ReferredBy "Referred-By" "b";
    RejectContact "Reject-Contact" "j";
    Replaces "Replaces" "";
    ReplyTo "Reply-To" "";
    RequestDisposition "Request-Disposition" "d";
    Require "Require" "";
    RetryAfter "Retry-After" "";
    Route "Route" "";
    RSeq "RSeq" "";
    Server "Server" "";
    ServiceRoute "Service-Route" "";
    SessionExpires "Session-Expires" "x";
    SessionId "Session-ID" "";
    SipETag "SIP-ETag" "";
    SipIfMatch "SIP-If-Match" "";
    Subject "Subject" "s";
    SubscriptionState "Subscription-State" "";
    Supported "Supported" "k";
    Timestamp "Timestamp" "";
    To "To" "t";
    Unsupported "Unsupported" "";
    UserAgent "User-Agent" "";
    UserToUser "User-to-User" "";
    Via "Via" "v";
    Warning "Warning" "";
    WwwAuthenticate "WWW-Authenticate" "";
}

/// Slots of the table that finds a name; a power of two, at most half full.
const SLOTS: usize = 256;
const EMPTY: u8 = u8::MAX;
static TABLE: [u8; SLOTS] = table();

const fn slot(name: &[u8]) -> usize {
    let len = name.len();
    let first = name[0].to_ascii_lowercase() as usize;
    let middle = name[len / 2].to_ascii_lowercase() as usize;
    let last = name[len - 1].to_ascii_lowercase() as usize;
    (first * 7 + middle * 31 + last * 3 + len * 17) % SLOTS
}

const fn table() -> [u8; SLOTS] {
    let mut table = [EMPTY; SLOTS];
    let mut index = 0;
    while index < TEXTS.len() {
        let mut at = slot(TEXTS[index].as_bytes());
        while table[at] != EMPTY {
            at = (at + 1) % SLOTS;
        }
        table[at] = index as u8;
        index += 1;
    }
    table
}

/// For each letter, the name that it is the compact form of.
static COMPACT_TABLE: [u8; 256] = compact_table();

const fn compact_table() -> [u8; 256] {
    let mut table = [EMPTY; 256];
    let mut index = 0;
    while index < COMPACTS.len() {
        if let [letter] = COMPACTS[index].as_bytes() {
            table[*letter as usize] = index as u8;
        }
        index += 1;
    }
    table
}

impl Known {
    /// The known name that `name` spells, in full or in its compact form.
    pub(crate) fn find(name: &[u8]) -> Self {
        match name {
            [] => Self::Other,
            [letter] => Self::find_compact(*letter),
            _ => Self::find_full(name),
        }
    }

    fn find_compact(letter: u8) -> Self {
        let index = COMPACT_TABLE[usize::from(letter.to_ascii_lowercase())];
        KNOWN
            .get(usize::from(index))
            .copied()
            .unwrap_or(Self::Other)
    }

    fn find_full(name: &[u8]) -> Self {
        let mut at = slot(name);
        loop {
            let index = TABLE[at];
            if index == EMPTY {
                return Self::Other;
            }
            let index = usize::from(index);
            let text = TEXTS[index].as_bytes();
            if text == name || text.eq_ignore_ascii_case(name) {
                return KNOWN[index];
            }
            at = (at + 1) % SLOTS;
        }
    }

    /// The canonical spelling; empty for one that is not known.
    pub(crate) fn text(self) -> &'static str {
        TEXTS.get(self as usize).copied().unwrap_or_default()
    }

    /// Whether no message, request or response, can be placed with two of these.
    pub(crate) fn is_essential(self) -> bool {
        matches!(
            self,
            Self::From
                | Self::To
                | Self::CallId
                | Self::CSeq
                | Self::ContentLength
                | Self::ContentType
        )
    }

    /// Whether a request with two of these is refused, since the two could be read differently.
    pub(crate) fn is_singleton(self) -> bool {
        matches!(
            self,
            Self::From
                | Self::To
                | Self::CallId
                | Self::CSeq
                | Self::MaxForwards
                | Self::ContentLength
                | Self::ContentType
                | Self::ContentDisposition
                | Self::Date
                | Self::Expires
                | Self::MinExpires
                | Self::Event
                | Self::ReferTo
                | Self::ReferredBy
                | Self::Replaces
                | Self::ReplyTo
                | Self::RetryAfter
                | Self::SessionExpires
                | Self::MinSe
                | Self::RAck
                | Self::RSeq
                | Self::SubscriptionState
                | Self::SipETag
                | Self::Timestamp
                | Self::Priority
                | Self::Organization
                | Self::FlowTimer
                | Self::SipIfMatch
        )
    }
}

impl<'a> Name<'a> {
    /// The name that `text` spells; `None` where it is no token.
    pub fn parse(text: &'a str) -> Option<Self> {
        lex::is_token(text.as_bytes()).then(|| Known::find(text.as_bytes()).name(text))
    }

    /// The canonical spelling; an unknown name is spelled as given.
    pub fn as_str(self) -> &'a str {
        match self {
            Self::Other(text) => text,
            known => known.known().text(),
        }
    }
}

impl PartialEq for Name<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self.known(), other.known()) {
            (Known::Other, Known::Other) => self.as_str().eq_ignore_ascii_case(other.as_str()),
            (a, b) => a == b,
        }
    }
}

impl Eq for Name<'_> {}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a header field has no typed value: which one, and what is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{header}: {problem}")]
pub struct HeaderError {
    /// The canonical name of the header field.
    pub header: &'static str,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a header field value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The message has no such header field.
    #[error("missing")]
    Missing,
    /// A header field that may stand once stands twice.
    #[error("repeated")]
    Repeated,
    /// Longer than 8 KiB.
    #[error("too long")]
    TooLong,
    /// A number is outside its range.
    #[error("number out of range")]
    OutOfRange,
    /// The value breaks the grammar; the text says where.
    #[error("{0}")]
    Syntax(&'static str),
    /// The URI inside the value breaks the grammar.
    #[error("{0}")]
    Uri(#[from] UriError),
}

impl Problem {
    /// This problem, in the header field `known`.
    pub(crate) fn in_header(self, known: Known) -> HeaderError {
        HeaderError {
            header: known.text(),
            problem: self,
        }
    }
}

/// Every name that is known, in its canonical spelling.
#[cfg(test)]
pub(crate) fn known_names() -> &'static [&'static str] {
    TEXTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case_and_compact() {
        for (index, text) in TEXTS.iter().enumerate() {
            assert_eq!(Known::find(text.as_bytes()), KNOWN[index]);
            assert_eq!(Known::find(text.to_uppercase().as_bytes()), KNOWN[index]);
            assert_eq!(KNOWN[index].text(), *text);
            if !COMPACTS[index].is_empty() {
                assert_eq!(
                    Known::find(COMPACTS[index].to_uppercase().as_bytes()),
                    KNOWN[index]
                );
            }
        }
        for other in ["", "Q", "Fro", "From ", "X-Auth", "NewFangledHeader"] {
            assert_eq!(Known::find(other.as_bytes()), Known::Other, "{other}");
        }
    }

    #[test]
    fn names_compare_by_meaning() {
        assert_eq!(Name::Other("VIA"), Name::Via);
        assert_eq!(Name::Other("v"), Name::Via);
        assert_eq!(Name::Other("x-a"), Name::Other("X-A"));
        assert_ne!(Name::Other("x-a"), Name::Other("x-b"));
        assert_ne!(Name::From, Name::To);
    }
}
