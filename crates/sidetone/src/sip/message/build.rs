//! Builders of requests and responses, which refuse what would inject into a message.

use std::borrow::Cow;
use std::io::Write;
use std::net::SocketAddr;

use bytes::Bytes;

use crate::sip::header::{Known, Name};
use crate::sip::lex;
use crate::sip::message::{MAX_MESSAGE_BYTES, Message, ParseError, print};
use crate::sip::method::Method;
use crate::sip::status::StatusCode;
use crate::sip::uri::Uri;

/// Why a message was not built; always the caller's mistake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A value holds CR, LF, NUL or another control byte.
    #[error("{header} would hold a control byte")]
    ControlByte {
        /// The header field, or `reason phrase`.
        header: String,
    },
    /// A header field name is no token.
    #[error("header field name is no token")]
    Name,
    /// The To tag is no token.
    #[error("tag is no token")]
    Tag,
    /// A response was to be made for a response.
    #[error("only a request can be answered")]
    NotARequest,
    /// The message would be larger than [`crate::sip::message::MAX_MESSAGE_BYTES`].
    #[error("message would be too large")]
    TooLarge,
}

/// Room for Content-Length and the empty line behind it.
const LAST_ROW: usize = 32;

/// Room for the start line of a response, and for what is added to its Via and To.
const ADDITIONS: usize = 160;

/// Room for the header field rows that are added to a message one by one, to begin with.
const ROWS: usize = 512;

/// Header field rows and a body under construction; the first error is kept for the end.
#[derive(Debug, Clone)]
struct Draft {
    head: Vec<u8>,
    content_type: Option<String>,
    body: Vec<u8>,
    error: Option<BuildError>,
}

impl Draft {
    fn new(head: Vec<u8>) -> Self {
        Self {
            head,
            content_type: None,
            body: Vec::new(),
            error: None,
        }
    }

    fn fail(&mut self, error: BuildError) {
        self.error.get_or_insert(error);
    }

    fn header(&mut self, name: Name<'_>, value: &[u8]) {
        if !lex::is_token(name.as_str().as_bytes()) {
            return self.fail(BuildError::Name);
        }
        if has_control(value) {
            return self.fail(BuildError::ControlByte {
                header: name.as_str().to_owned(),
            });
        }
        // The length is written last, from the body itself.
        if name != Name::ContentLength {
            print::row(&mut self.head, name, value);
        }
    }

    fn build(self) -> Result<Message, BuildError> {
        let whole = self.finish()?;
        Message::parse(whole).map_err(|error| match error {
            ParseError::TooLarge => BuildError::TooLarge,
            _ => BuildError::ControlByte {
                header: "start line".to_owned(),
            },
        })
    }

    /// The bytes of the whole message.
    fn finish(mut self) -> Result<Bytes, BuildError> {
        if let Some(content_type) = self.content_type.take() {
            self.header(Name::ContentType, content_type.as_bytes());
        }
        if let Some(error) = self.error {
            return Err(error);
        }
        let mut out = self.head;
        out.reserve(self.body.len() + LAST_ROW);
        // Writing into memory does not fail.
        let _written = write!(out, "Content-Length: {}\r\n\r\n", self.body.len());
        out.extend_from_slice(&self.body);
        match out.len() > MAX_MESSAGE_BYTES {
            true => Err(BuildError::TooLarge),
            false => Ok(out.into()),
        }
    }
}

/// Builds a request, header by header in the order of the calls.
///
/// Nothing is added but Content-Length; a transaction or dialog supplies Via, From, To, Call-ID,
/// CSeq and Max-Forwards.
///
/// ```
/// use sidetone::sip::header::Name;
/// use sidetone::sip::message::build::{BuildError, RequestBuilder};
/// use sidetone::sip::method::Method;
/// use sidetone::sip::uri::Uri;
///
/// let uri: Uri = "sip:bob@biloxi.example".parse()?;
/// let request = RequestBuilder::new(Method::Options, &uri)
///     .header(Name::Via, "SIP/2.0/UDP pc33.example;branch=z9hG4bK1")
///     .header(Name::From, "<sip:alice@atlanta.example>;tag=1")
///     .header(Name::To, "<sip:bob@biloxi.example>")
///     .header(Name::CallId, "1@atlanta.example")
///     .header(Name::CSeq, "1 OPTIONS")
///     .header(Name::MaxForwards, "70")
///     .build()?;
/// assert!(request.validate().is_ok());
/// let injected = RequestBuilder::new(Method::Options, &uri).header(Name::Subject, "a\r\nX: y");
/// assert!(matches!(injected.build(), Err(BuildError::ControlByte { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct RequestBuilder(Draft);

impl RequestBuilder {
    /// A request to `uri`; headers after its `?` are left out, as they may not stand there.
    pub fn new(method: Method, uri: &Uri) -> Self {
        let uri = uri.without_headers();
        let mut head = Vec::with_capacity(2 * ROWS);
        // Writing into memory does not fail.
        let _written = write!(head, "{method} {uri} SIP/2.0\r\n");
        Self(Draft::new(head))
    }

    /// Appends a header field row. Content-Length is ignored: the body gives it.
    pub fn header(mut self, name: Name<'_>, value: impl AsRef<[u8]>) -> Self {
        self.0.header(name, value.as_ref());
        self
    }

    /// Appends a header field row with the printed form of `value`.
    pub fn typed(self, name: Name<'_>, value: &impl ToString) -> Self {
        self.header(name, value.to_string())
    }

    /// Appends all rows called `name` that `message` has.
    pub fn copy(mut self, message: &Message, name: Name<'_>) -> Self {
        copy(&mut self.0, message, name);
        self
    }

    /// Sets the body and its Content-Type.
    pub fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.0.content_type = Some(content_type.to_owned());
        self.0.body = body.into();
        self
    }

    /// The request.
    ///
    /// # Errors
    /// [`BuildError`] for the first thing that was refused.
    pub fn build(self) -> Result<Message, BuildError> {
        self.0.build()
    }
}

/// The header fields of a request that its responses have too, Record-Route in some.
const COPIED: [Known; 6] = [
    Known::Via,
    Known::From,
    Known::To,
    Known::CallId,
    Known::CSeq,
    Known::RecordRoute,
];

/// Builds a response to a request (RFC 3261 §8.2.6).
///
/// Via, From, To, Call-ID and CSeq are copied, also from a request that is too broken for anything
/// but a 400; bytes that would be an injection are made harmless. Record-Route is copied for
/// responses that create a dialog (101 to 299 for INVITE, SUBSCRIBE, NOTIFY, REFER).
///
/// ```
/// use sidetone::sip::header::Name;
/// use sidetone::sip::message::build::{RequestBuilder, ResponseBuilder};
/// use sidetone::sip::method::Method;
/// use sidetone::sip::status::StatusCode;
///
/// let request = RequestBuilder::new(Method::Options, &"sip:bob@biloxi.example".parse()?)
///     .header(Name::Via, "SIP/2.0/UDP pc33.example;branch=z9hG4bK1;rport")
///     .header(Name::To, "<sip:bob@biloxi.example>")
///     .build()?;
/// let response = ResponseBuilder::for_request(&request, StatusCode::OK)
///     .source("192.0.2.1:5070".parse()?)
///     .to_tag("b1")
///     .build()?;
/// assert_eq!(response.top_via()?.rport(), Some(5070));
/// assert_eq!(response.to()?.tag(), Some("b1"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct ResponseBuilder<'a> {
    request: &'a Message,
    status: StatusCode,
    reason_phrase: Option<String>,
    source: Option<SocketAddr>,
    feedback: Option<String>,
    to_tag: Option<String>,
    draft: Draft,
}

impl<'a> ResponseBuilder<'a> {
    /// A response with `status` and its default reason phrase.
    pub fn for_request(request: &'a Message, status: StatusCode) -> Self {
        Self {
            request,
            status,
            reason_phrase: None,
            source: None,
            feedback: None,
            to_tag: None,
            draft: Draft::new(Vec::with_capacity(ROWS)),
        }
    }

    /// Says so instead of the default reason phrase.
    pub fn reason_phrase(mut self, text: &str) -> Self {
        self.reason_phrase = Some(text.to_owned());
        self
    }

    /// Where the request came from: it is written into the top Via as `received` and `rport`
    /// (RFC 3261 §18.2.1, RFC 3581 §4).
    pub fn source(mut self, source: SocketAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// Parameters of overload control for the top Via, each behind its semicolon, in place of those
    /// of the request (RFC 7339 §4). Control bytes are made harmless. They are left out where there
    /// is no [`source`](Self::source).
    pub fn feedback(mut self, parameters: impl Into<String>) -> Self {
        self.feedback = Some(parameters.into());
        self
    }

    /// The tag to add to To; ignored where To has one already.
    pub fn to_tag(mut self, tag: &str) -> Self {
        self.to_tag = Some(tag.to_owned());
        self
    }

    /// Appends a header field row. Content-Length is ignored: the body gives it.
    pub fn header(mut self, name: Name<'_>, value: impl AsRef<[u8]>) -> Self {
        self.draft.header(name, value.as_ref());
        self
    }

    /// Appends a header field row with the printed form of `value`.
    pub fn typed(self, name: Name<'_>, value: &impl ToString) -> Self {
        self.header(name, value.to_string())
    }

    /// Sets the body and its Content-Type.
    pub fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.draft.content_type = Some(content_type.to_owned());
        self.draft.body = body.into();
        self
    }

    /// The response.
    ///
    /// # Errors
    /// [`BuildError`] for the first thing that was refused.
    pub fn build(self) -> Result<Message, BuildError> {
        self.complete()?.build()
    }

    /// The bytes of the response, where nobody wants to read it.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_bytes(self) -> Result<Bytes, BuildError> {
        self.complete()?.finish()
    }

    /// The rows of the request and those of our own, in order.
    fn complete(mut self) -> Result<Draft, BuildError> {
        let Some(method) = self.request.method() else {
            return Err(BuildError::NotARequest);
        };
        let phrase = match &self.reason_phrase {
            Some(text) => text.as_str(),
            None => self.status.reason_phrase(),
        };
        if has_control(phrase.as_bytes()) {
            return Err(BuildError::ControlByte {
                header: "reason phrase".to_owned(),
            });
        }
        let mut head = Vec::with_capacity(self.length());
        // Writing into memory does not fail.
        let _written = write!(head, "SIP/2.0 {} {phrase}\r\n", self.status);
        self.copy_vias(&mut head);
        copy_clean(&mut head, self.request, Known::From);
        self.copy_to(&mut head)?;
        copy_clean(&mut head, self.request, Known::CallId);
        copy_clean(&mut head, self.request, Known::CSeq);
        if creates_dialog(method, self.status) {
            copy_clean(&mut head, self.request, Known::RecordRoute);
        }
        head.extend_from_slice(&self.draft.head);
        self.draft.head = head;
        Ok(self.draft)
    }

    /// About how long the response will be.
    fn length(&self) -> usize {
        let rows = COPIED.iter().flat_map(|known| self.request.rows(*known));
        let copied: usize = rows
            .map(|row| row.value.end() - row.value.start() + LAST_ROW)
            .sum();
        copied + self.draft.head.len() + self.draft.body.len() + ADDITIONS
    }

    /// Copies all Via rows, with the true source in the first value of the first row.
    fn copy_vias(&self, head: &mut Vec<u8>) {
        for (index, row) in self.request.rows(Known::Via).enumerate() {
            let mut value = clean(self.request.view(row).value());
            if index == 0
                && let Some(source) = self.source
            {
                let end = lex::find_outside(&value, 0, b',');
                if let Ok(via) = self.request.top_via_lenient() {
                    let stamped = via.stamped(source, self.feedback.as_deref());
                    let mut stamped = clean(stamped.into()).into_owned();
                    if end < value.len() {
                        stamped.extend_from_slice(b", ");
                        stamped.extend_from_slice(lex::trim(&value[end + 1..]));
                    }
                    value = stamped.into();
                }
            }
            print::row(head, Name::Via, &value);
        }
    }

    fn copy_to(&self, head: &mut Vec<u8>) -> Result<(), BuildError> {
        for row in self.request.rows(Known::To).take(1) {
            let mut value = clean(self.request.view(row).value());
            if let Some(tag) = &self.to_tag
                && !has_tag(self.request)
            {
                if !lex::is_token(tag.as_bytes()) {
                    return Err(BuildError::Tag);
                }
                let value = value.to_mut();
                value.extend_from_slice(b";tag=");
                value.extend_from_slice(tag.as_bytes());
            }
            print::row(head, Name::To, &value);
        }
        Ok(())
    }
}

fn has_tag(request: &Message) -> bool {
    request
        .to()
        .is_ok_and(|to| to.params().named("tag").is_some())
}

/// Whether such a response carries the route set of a dialog (RFC 3261 §12.1.1, RFC 6665 §4.4.1).
fn creates_dialog(method: &Method, status: StatusCode) -> bool {
    let creates = matches!(
        method,
        Method::Invite | Method::Subscribe | Method::Notify | Method::Refer
    );
    creates && (101..300).contains(&status.code())
}

fn copy(draft: &mut Draft, message: &Message, name: Name<'_>) {
    for header in message.header_all(name) {
        draft.header(header.name, &clean(header.value()));
    }
}

/// Copies the rows called `known`; of a header field that may stand once, the first only.
fn copy_clean(head: &mut Vec<u8>, message: &Message, known: Known) {
    let count = if known.is_singleton() { 1 } else { usize::MAX };
    for row in message.rows(known).take(count) {
        print::row(head, known.name(""), &clean(message.view(row).value()));
    }
}

/// `value` with control bytes, quoted pairs of them included, replaced by spaces.
fn clean(value: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    if !value.iter().any(u8::is_ascii_control) {
        return value;
    }
    let harmless = |&b: &u8| if b.is_ascii_control() { b' ' } else { b };
    value.iter().map(harmless).collect()
}

fn has_control(value: &[u8]) -> bool {
    value.iter().any(|b| b.is_ascii_control() && *b != b'\t')
}
