//! What makes a message unacceptable, and what a server answers to it (RFC 3261 §8.2, RFC 4475).

use crate::sip::header::via::Via;
use crate::sip::header::{HeaderError, Known, Problem};
use crate::sip::message::{Kind, Message, typed};
use crate::sip::method::Method;
use crate::sip::status::StatusCode;
use crate::sip::uri::{Scheme, UriError};

/// Why a message is not to be acted on, and what to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{defect}")]
pub struct Reject {
    /// The status to answer with; `None` means silence, as for responses, for ACK, and where no Via
    /// says whom to answer.
    pub status: Option<StatusCode>,
    /// What is wrong.
    pub defect: Defect,
}

impl Reject {
    /// Whether the message breaks the protocol's rules, rather than asking for what a user agent
    /// does not do (a Request-URI scheme other than `sip`, `sips` and `tel`).
    pub fn is_malformed(&self) -> bool {
        self.defect != Defect::Scheme
    }
}

/// What is wrong with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Defect {
    /// The version is not SIP/2.0.
    #[error("SIP version is not 2.0")]
    Version,
    /// White space in the request line is not one space between its three parts.
    #[error("request line has wrong white space")]
    RequestLine,
    /// The Request-URI is longer than [`crate::sip::uri::MAX_URI_BYTES`].
    #[error("Request-URI is too long")]
    LongRequestUri,
    /// The Request-URI breaks the grammar.
    #[error("Request-URI: {0}")]
    RequestUri(UriError),
    /// The Request-URI has headers after `?`.
    #[error("Request-URI has headers")]
    RequestUriHeaders,
    /// The scheme of the Request-URI is not one that a user agent can serve.
    #[error("Request-URI has an unsupported scheme")]
    Scheme,
    /// The status code is not from 100 to 699.
    #[error("status code is out of range")]
    StatusCode,
    /// A NUL or other control byte stands where none may.
    #[error("control byte in the header")]
    ControlByte,
    /// A CR that no LF follows.
    #[error("CR without LF in the header")]
    BareCarriageReturn,
    /// An LF that no CR precedes.
    #[error("LF without CR in the header")]
    BareLineFeed,
    /// A header line is not `name: value`.
    #[error("header line is not name: value")]
    HeaderLine,
    /// The header has no end.
    #[error("header has no end")]
    Unterminated,
    /// More than [`crate::sip::message::MAX_HEADERS`] rows.
    #[error("too many header fields")]
    TooManyHeaders,
    /// A row longer than [`crate::sip::message::MAX_HEADER_BYTES`].
    #[error("header field is too long")]
    LongHeader,
    /// Content-Length is no number.
    #[error("Content-Length is no number")]
    ContentLength,
    /// Content-Length stands twice.
    #[error("Content-Length stands twice")]
    RepeatedContentLength,
    /// The body is shorter than Content-Length says.
    #[error("body is shorter than Content-Length")]
    ShortBody,
    /// CSeq names another method than the request line.
    #[error("CSeq method differs from the request's")]
    CSeqMethod,
    /// A header field is missing, repeated or broken.
    #[error(transparent)]
    Header(#[from] HeaderError),
}

impl Defect {
    /// The status for a request that has this defect.
    fn status(self) -> StatusCode {
        match self {
            Self::Version => StatusCode::VERSION_NOT_SUPPORTED,
            Self::LongRequestUri => StatusCode::REQUEST_URI_TOO_LONG,
            Self::Scheme => StatusCode::UNSUPPORTED_URI_SCHEME,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// Lists that a server must understand to act on a request.
const TOKEN_LISTS: [Known; 3] = [Known::Require, Known::ProxyRequire, Known::ContentEncoding];

impl Message {
    /// Checks everything that does not depend on who receives the message: the bytes, the start
    /// line, that each header field that is needed is there once, and that those which say how the
    /// message is to be handled keep their grammar.
    ///
    /// A broken header field that only informs (Allow, Supported, Accept, Reason, Warning and the
    /// like) condemns no message, as RFC 3261 §8.2 has it; its accessor tells of the error.
    ///
    /// What a user agent supports is for it to check: methods (405, 501), Require (420), bodies
    /// (415), and so is whether Max-Forwards is used up. Of these only the scheme of the
    /// Request-URI is told here, last, with 416.
    ///
    /// # Errors
    /// [`Reject`] says what is wrong, and the status to answer or silence.
    pub fn validate(&self) -> Result<(), Reject> {
        self.check().map_err(|defect| Reject {
            status: self.answer(defect),
            defect,
        })
    }

    fn answer(&self, defect: Defect) -> Option<StatusCode> {
        let answerable = match self.kind() {
            Kind::Request { method, .. } => *method != Method::Ack,
            Kind::Response { .. } => false,
        };
        let has_via = self.rows(Known::Via).next().is_some();
        (answerable && has_via).then(|| defect.status())
    }

    fn check(&self) -> Result<(), Defect> {
        if let Some(defect) = self.defect {
            return Err(defect);
        }
        self.check_singletons()?;
        let scheme = self.check_request_uri()?;
        self.check_vias()?;
        self.from()?;
        self.to()?;
        self.call_id()?;
        let cseq = self.cseq()?;
        for address in self.contacts().chain(self.record_routes()) {
            address?;
        }
        self.content_type()?;
        let Some(method) = self.method() else {
            return Ok(());
        };
        if method != cseq.method() {
            return Err(Defect::CSeqMethod);
        }
        self.check_request_only()?;
        match scheme {
            Some(Scheme::Other) => Err(Defect::Scheme),
            _ => Ok(()),
        }
    }

    fn check_singletons(&self) -> Result<(), Defect> {
        let mut seen = [false; Known::Other as usize + 1];
        let request = self.is_request();
        let counts = |known: Known| known.is_essential() || (request && known.is_singleton());
        for row in self.rows.iter().filter(|row| counts(row.known)) {
            let seen = &mut seen[row.known as usize];
            if *seen {
                return Err(Problem::Repeated.in_header(row.known).into());
            }
            *seen = true;
        }
        Ok(())
    }

    fn check_request_uri(&self) -> Result<Option<Scheme>, Defect> {
        if !self.is_request() {
            return Ok(None);
        }
        match self.request_uri() {
            Ok(uri) if uri.is_sip() && uri.headers().is_some() => Err(Defect::RequestUriHeaders),
            Ok(uri) => Ok(Some(uri.scheme())),
            Err(Problem::Uri(UriError::TooLong)) => Err(Defect::LongRequestUri),
            Err(Problem::Uri(error)) => Err(Defect::RequestUri(error)),
            Err(_) => Err(Defect::RequestLine),
        }
    }

    fn check_vias(&self) -> Result<(), Defect> {
        self.top_via()?;
        for via in self.vias().skip(1) {
            let _: Via = via?;
        }
        Ok(())
    }

    /// Checks what says how a request is to be handled.
    fn check_request_only(&self) -> Result<(), Defect> {
        self.max_forwards()?;
        for route in self.routes() {
            route?;
        }
        self.content_disposition()?;
        self.expires()?;
        self.refer_to()?;
        self.event()?;
        for known in TOKEN_LISTS {
            if !typed::tokens_ok(self, known) {
                return Err(Problem::Syntax("not a list of tokens")
                    .in_header(known)
                    .into());
            }
        }
        self.date()?;
        Ok(())
    }
}
