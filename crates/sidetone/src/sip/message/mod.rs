//! SIP messages: parsing into byte ranges and serialising (RFC 3261 §7): wire format.

pub mod build;
mod details;
mod general;
pub mod multipart;
mod parse;
mod print;
pub mod typed;
pub mod validate;

use std::borrow::Cow;
use std::fmt;
use std::sync::OnceLock;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::sip::header::address::NameAddr;
use crate::sip::header::via::Via;
use crate::sip::header::{HeaderError, Known, Name, Problem};
use crate::sip::lex::{self, Span};
use crate::sip::message::validate::Defect;
use crate::sip::method::Method;
use crate::sip::status::StatusCode;
use crate::sip::uri::Uri;

#[cfg(test)]
mod tests;

/// The largest message, in bytes: no UDP datagram is larger. A larger one is refused as
/// [`ParseError::TooLarge`].
pub const MAX_MESSAGE_BYTES: usize = 65_535;

/// The most header field rows in a message. With more, the message is invalid and the rest of its
/// header is not looked at.
pub const MAX_HEADERS: usize = 256;

/// The longest header field row, in bytes, name and line folds included. With a longer one, the
/// message is invalid.
pub const MAX_HEADER_BYTES: usize = lex::MAX_VALUE_BYTES;

/// How many rows are indexed without an allocation.
const INLINE_HEADERS: usize = 24;

/// A SIP request or response: its bytes, and where its parts lie in them.
///
/// Parsing looks at every byte once and makes no copy. Header fields get their types when asked
/// for. A message whose parts can be told apart is a `Message` even where it breaks the protocol's
/// rules, so that a 400 can be sent: **call [`Message::validate`] before acting on one.**
///
/// ```
/// use bytes::Bytes;
/// use sidetone::sip::header::Name;
/// use sidetone::sip::message::Message;
/// use sidetone::sip::method::Method;
///
/// let message = Message::parse(Bytes::from_static(
///     b"OPTIONS sip:carol@chicago.example SIP/2.0\r\n\
///       Via: SIP/2.0/UDP pc33.example;branch=z9hG4bKhjhs8\r\n\
///       Max-Forwards: 70\r\n\
///       To: <sip:carol@chicago.example>\r\n\
///       From: Alice <sip:alice@atlanta.example>;tag=1928301774\r\n\
///       Call-ID: a84b4c76e66710\r\n\
///       CSeq: 63104 OPTIONS\r\n\
///       X-Ours: kept\r\n\
///       Content-Length: 0\r\n\r\n",
/// ))?;
/// assert!(message.validate().is_ok());
/// assert_eq!(message.method(), Some(&Method::Options));
/// assert_eq!(message.from()?.tag(), Some("1928301774"));
/// assert_eq!(message.header(Name::Other("x-ours")).unwrap().text(), "kept");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Message {
    /// From the first byte of the start line to the last of the body.
    bytes: Bytes,
    start: StartLine,
    rows: SmallVec<[Row; INLINE_HEADERS]>,
    body: Span,
    /// The first thing found wrong while parsing.
    defect: Option<Defect>,
    memo: Memo,
}

/// What is asked for again and again on a message's way, once it has been read.
#[derive(Clone, Default)]
struct Memo {
    from: OnceLock<NameAddr>,
    to: OnceLock<NameAddr>,
    top_via: OnceLock<Via>,
}

/// Shows the start line and the header fields. Of the body only its length: it may hold keys.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = self.body();
        let head = self.bytes.len() - body.len();
        f.debug_struct("Message")
            .field("head", &String::from_utf8_lossy(&self.bytes[..head]))
            .field("body", &format_args!("{} bytes", body.len()))
            .field("defect", &self.defect)
            .finish()
    }
}

#[derive(Debug, Clone)]
enum StartLine {
    Request {
        method: Method,
        uri: Span,
    },
    /// `status` is `None` where the number is no status.
    Response {
        status: Option<StatusCode>,
        reason: Span,
    },
}

/// One header field row.
#[derive(Debug, Clone, Copy)]
struct Row {
    name: Span,
    value: Span,
    known: Known,
    /// Whether the value holds line folds.
    folded: bool,
}

/// Why bytes are no SIP message at all; nothing is answered to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// Nothing but line breaks: a keep-alive.
    #[error("empty")]
    Empty,
    /// More than [`MAX_MESSAGE_BYTES`].
    #[error("larger than 65535 bytes")]
    TooLarge,
    /// The first line is neither a request line nor a status line.
    #[error("no SIP start line")]
    NotSip,
}

/// What a message is, with what its start line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A request.
    Request {
        /// The method.
        method: &'a Method,
        /// The Request-URI as it stands there; [`Message::request_uri`] parses it.
        uri: &'a [u8],
    },
    /// A response.
    Response {
        /// The status; `None` where the number is no status, which [`Message::validate`] refuses.
        status: Option<StatusCode>,
        /// The reason phrase, which may be empty and need not be UTF-8.
        reason: &'a [u8],
    },
}

/// One header field row as it stands on the wire.
#[derive(Debug, Clone, Copy)]
pub struct Header<'a> {
    /// The name.
    pub name: Name<'a>,
    value: &'a [u8],
    folded: bool,
}

impl<'a> Header<'a> {
    /// The value with line folds replaced by a space (RFC 3261 §7.3.1).
    pub fn value(&self) -> Cow<'a, [u8]> {
        match self.folded {
            true => Cow::Owned(unfold(self.value)),
            false => Cow::Borrowed(self.value),
        }
    }

    /// The value as text; bytes that are no UTF-8 are replaced.
    pub fn text(&self) -> Cow<'a, str> {
        match self.value() {
            Cow::Borrowed(value) => String::from_utf8_lossy(value),
            Cow::Owned(value) => Cow::Owned(String::from_utf8_lossy(&value).into_owned()),
        }
    }
}

impl Message {
    /// Parses one datagram, or one message that [`crate::sip::frame`] cut from a stream. Line
    /// breaks before the start line, and bytes after the body by Content-Length, are ignored.
    ///
    /// # Errors
    /// [`ParseError`] where there is nothing that could be answered. Everything else that is wrong
    /// is told by [`Message::validate`].
    pub fn parse(bytes: Bytes) -> Result<Self, ParseError> {
        parse::parse(bytes)
    }

    /// What this is, with what the start line says.
    pub fn kind(&self) -> Kind<'_> {
        match &self.start {
            StartLine::Request { method, uri } => Kind::Request {
                method,
                uri: uri.of(&self.bytes),
            },
            StartLine::Response { status, reason } => Kind::Response {
                status: *status,
                reason: reason.of(&self.bytes),
            },
        }
    }

    /// Whether this is a request.
    pub fn is_request(&self) -> bool {
        matches!(self.start, StartLine::Request { .. })
    }

    /// The method of a request; `None` for a response.
    pub fn method(&self) -> Option<&Method> {
        match &self.start {
            StartLine::Request { method, .. } => Some(method),
            StartLine::Response { .. } => None,
        }
    }

    /// The Request-URI.
    ///
    /// # Errors
    /// [`Problem::Missing`] for a response; [`Problem::Uri`] where it breaks the grammar.
    pub fn request_uri(&self) -> Result<Uri, Problem> {
        match &self.start {
            StartLine::Request { uri, .. } => {
                let raw = self.bytes.slice(uri.start()..uri.end());
                Ok(Uri::from_bytes(raw)?)
            }
            StartLine::Response { .. } => Err(Problem::Missing),
        }
    }

    /// The status of a response; `None` for a request.
    pub fn status(&self) -> Option<StatusCode> {
        match &self.start {
            StartLine::Request { .. } => None,
            StartLine::Response { status, .. } => *status,
        }
    }

    /// The reason phrase of a response, which may be empty; bytes that are no UTF-8 are replaced.
    pub fn reason_phrase(&self) -> Cow<'_, str> {
        match &self.start {
            StartLine::Request { .. } => Cow::Borrowed(""),
            StartLine::Response { reason, .. } => String::from_utf8_lossy(reason.of(&self.bytes)),
        }
    }

    /// The message as it stands on the wire, from start line to end of body.
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The body; it shares the message's bytes.
    pub fn body(&self) -> Bytes {
        self.bytes.slice(self.body.start()..self.body.end())
    }

    /// All header field rows, in order.
    pub fn headers(&self) -> impl Iterator<Item = Header<'_>> {
        self.rows.iter().map(|row| self.view(row))
    }

    /// The first row called `name`.
    pub fn header<'a>(&'a self, name: Name<'a>) -> Option<Header<'a>> {
        self.header_all(name).next()
    }

    /// All rows called `name`, in order.
    pub fn header_all<'a>(&'a self, name: Name<'a>) -> impl Iterator<Item = Header<'a>> {
        let known = name.known();
        self.rows
            .iter()
            .filter(move |row| row.known == known)
            .map(|row| self.view(row))
            .filter(move |header| known != Known::Other || header.name == name)
    }

    fn view(&self, row: &Row) -> Header<'_> {
        Header {
            name: row.known.name(row.name.text(&self.bytes)),
            value: row.value.of(&self.bytes),
            folded: row.folded,
        }
    }

    /// The same without the header fields called `names`: whoever reads it does not find them. The
    /// bytes stay as they came.
    pub(crate) fn without(mut self, names: &[Known]) -> Self {
        self.rows.retain(|row| !names.contains(&row.known));
        self.memo = Memo::default();
        self
    }

    /// The rows of a known header field, in order.
    fn rows(&self, known: Known) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.known == known)
    }

    /// The raw values of a known header field, in order.
    pub(crate) fn header_values(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        self.rows(known).map(|row| row.value.of(&self.bytes))
    }

    /// The value of a row without line folds, sharing the message's bytes where it has none.
    fn value(&self, row: &Row) -> Bytes {
        match row.folded {
            true => unfold(row.value.of(&self.bytes)).into(),
            false => self.bytes.slice(row.value.start()..row.value.end()),
        }
    }

    /// The value of a header field that may stand once.
    fn single(&self, known: Known) -> Result<Bytes, HeaderError> {
        Ok(self.value(self.single_row(known)?))
    }

    fn single_row(&self, known: Known) -> Result<&Row, HeaderError> {
        let mut rows = self.rows(known);
        let row = rows
            .next()
            .ok_or_else(|| Problem::Missing.in_header(known))?;
        match rows.next() {
            Some(_) => Err(Problem::Repeated.in_header(known)),
            None => Ok(row),
        }
    }
}

/// `value` with each line fold, and the white space around it, replaced by one space.
fn unfold(value: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(value.len());
    let mut i = 0;
    while i < value.len() {
        let run = lex::skip_lws(value, i);
        let space = &value[i..run];
        match space.iter().any(|&b| matches!(b, b'\r' | b'\n')) {
            true => plain.push(b' '),
            false => plain.extend_from_slice(space),
        }
        i = run;
        while i < value.len() && !lex::is_lws(value[i]) {
            plain.push(value[i]);
            i += 1;
        }
    }
    plain
}
