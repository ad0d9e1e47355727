//! Typed views of header fields, made when asked for.

use std::sync::OnceLock;

use bytes::Bytes;

use crate::sip::header::address::NameAddr;
use crate::sip::header::value::{
    CSeq, MediaType, Parameterized, RAck, Replaces, RetryAfter, SessionExpires, Warning,
};
use crate::sip::header::via::Via;
use crate::sip::header::{HeaderError, Known, Name, Problem};
use crate::sip::lex;
use crate::sip::message::{Message, Row, unfold};

/// The comma-separated values of a header field, over all of its rows, in order.
///
/// An empty value between commas is an item too; what it means is up to the header field.
#[derive(Clone)]
pub struct Values<'a> {
    message: &'a Message,
    known: Known,
    /// The next row to look at.
    next_row: usize,
    /// The row being read, and where its next value starts.
    current: Option<(Bytes, usize)>,
}

impl<'a> Values<'a> {
    fn new(message: &'a Message, known: Known) -> Self {
        Self {
            message,
            known,
            next_row: 0,
            current: None,
        }
    }

    fn load_row(&mut self) -> Option<(Bytes, usize)> {
        let rows: &[Row] = self.message.rows.get(self.next_row..)?;
        let offset = rows.iter().position(|row| row.known == self.known)?;
        self.next_row += offset + 1;
        Some((self.message.value(&rows[offset]), 0))
    }
}

impl Iterator for Values<'_> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let (value, at) = match self.current.take() {
            Some(current) => current,
            None => self.load_row()?,
        };
        // Most values have no comma at all, and then nothing need be looked at more closely.
        let end = match lex::find_byte(&value[at..], b',') {
            Some(_) => lex::find_outside(&value, at, b','),
            None => value.len(),
        };
        if at == 0 && end == value.len() {
            // A row's value has no white space at its ends.
            return Some(value);
        }
        let start = lex::skip_lws(&value, at).min(end);
        let len = lex::trim(&value[start..end]).len();
        let item = value.slice(start..start + len);
        if end < value.len() {
            self.current = Some((value, end + 1));
        }
        Some(item)
    }
}

/// A value that was read before, or is read now.
fn remembered<T: Clone>(
    memo: &OnceLock<T>,
    parse: impl FnOnce() -> Result<T, HeaderError>,
) -> Result<T, HeaderError> {
    if let Some(value) = memo.get() {
        return Ok(value.clone());
    }
    let value = parse()?;
    // Where another thread was quicker it has read the same.
    let _same = memo.set(value.clone());
    Ok(value)
}

/// The typed values of a list header field.
pub trait TypedList<T>: Iterator<Item = Result<T, HeaderError>> {}

impl<T, I: Iterator<Item = Result<T, HeaderError>>> TypedList<T> for I {}

impl Message {
    /// The comma-separated values of a header field that is a list, over all of its rows.
    ///
    /// Only for header fields whose grammar is a list; an unknown name gives nothing, since whether
    /// a comma separates is not known (read it with [`Message::header_all`]).
    pub fn list(&self, name: Name<'_>) -> Values<'_> {
        let mut values = Values::new(self, name.known());
        if values.known == Known::Other {
            values.next_row = self.rows.len();
        }
        values
    }

    pub(super) fn typed<'a, T>(
        &'a self,
        known: Known,
        parse: impl Fn(Bytes) -> Result<T, Problem> + 'a,
    ) -> impl Iterator<Item = Result<T, HeaderError>> + 'a {
        Values::new(self, known).map(move |raw| parse(raw).map_err(|p| p.in_header(known)))
    }

    fn one<T>(
        &self,
        known: Known,
        parse: impl Fn(Bytes) -> Result<T, Problem>,
    ) -> Result<T, HeaderError> {
        parse(self.single(known)?).map_err(|problem| problem.in_header(known))
    }

    /// As [`Message::one`], for a header field that need not be there.
    pub(super) fn maybe<T>(
        &self,
        known: Known,
        parse: impl Fn(Bytes) -> Result<T, Problem>,
    ) -> Result<Option<T>, HeaderError> {
        match self.one(known, parse) {
            Ok(value) => Ok(Some(value)),
            Err(HeaderError {
                problem: Problem::Missing,
                ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Who sent the request (RFC 3261 §20.20).
    ///
    /// # Errors
    /// [`HeaderError`] where it is missing, repeated or broken.
    pub fn from(&self) -> Result<NameAddr, HeaderError> {
        let parse = || self.one(Known::From, NameAddr::from_party);
        remembered(&self.memo.from, parse)
    }

    /// Whom the request is for (RFC 3261 §20.39).
    ///
    /// # Errors
    /// [`HeaderError`] where it is missing, repeated or broken.
    pub fn to(&self) -> Result<NameAddr, HeaderError> {
        let parse = || self.one(Known::To, NameAddr::from_party);
        remembered(&self.memo.to, parse)
    }

    /// The Call-ID as text.
    ///
    /// # Errors
    /// [`HeaderError`] where it is missing, repeated or not of the form `word [ "@" word ]`.
    pub fn call_id(&self) -> Result<&str, HeaderError> {
        let value = self.single_row(Known::CallId)?.value.of(&self.bytes);
        let text = lex::is_call_id(value)
            .then(|| std::str::from_utf8(value).ok())
            .flatten();
        text.ok_or(Problem::Syntax("not of the form word@word").in_header(Known::CallId))
    }

    /// The CSeq.
    ///
    /// # Errors
    /// [`HeaderError`] where it is missing, repeated, broken, or its number above 2^31 - 1.
    pub fn cseq(&self) -> Result<CSeq, HeaderError> {
        self.one(Known::CSeq, CSeq::from_value)
    }

    /// All Via values, the topmost first.
    pub fn vias(&self) -> impl Iterator<Item = Result<Via, HeaderError>> {
        self.typed(Known::Via, Via::from_value)
    }

    /// The topmost Via: the sender of this message, or for a response ourselves.
    ///
    /// # Errors
    /// [`HeaderError`] where there is none or it is broken.
    pub fn top_via(&self) -> Result<Via, HeaderError> {
        let missing = || Err(Problem::Missing.in_header(Known::Via));
        let parse = || self.vias().next().unwrap_or_else(missing);
        remembered(&self.memo.top_via, parse)
    }

    /// The topmost Via, without its parameters from the first broken one on: good enough to send a
    /// 400 to.
    ///
    /// # Errors
    /// [`HeaderError`] where there is none, or protocol or host cannot be read.
    pub fn top_via_lenient(&self) -> Result<Via, HeaderError> {
        if let Some(via) = self.memo.top_via.get() {
            return Ok(via.clone());
        }
        let first = self.typed(Known::Via, Via::from_broken).next();
        first.unwrap_or(Err(Problem::Missing.in_header(Known::Via)))
    }

    /// All Contact values; none for `*`, see [`Message::has_star_contact`].
    pub fn contacts(&self) -> impl Iterator<Item = Result<NameAddr, HeaderError>> {
        let skip = self.has_star_contact();
        self.typed(Known::Contact, NameAddr::from_value)
            .filter(move |_| !skip)
    }

    /// The first Contact: where later requests of a dialog go.
    ///
    /// # Errors
    /// [`HeaderError`] where there is none, it is `*`, or broken.
    pub fn contact(&self) -> Result<NameAddr, HeaderError> {
        self.contacts()
            .next()
            .unwrap_or(Err(Problem::Missing.in_header(Known::Contact)))
    }

    /// Whether Contact is the single value `*`: remove all bindings (RFC 3261 §10.2.2).
    pub fn has_star_contact(&self) -> bool {
        let mut rows = self.rows(Known::Contact);
        rows.next()
            .is_some_and(|row| row.value.of(&self.bytes) == b"*")
            && rows.next().is_none()
    }

    /// All Route values, the next hop first.
    pub fn routes(&self) -> impl Iterator<Item = Result<NameAddr, HeaderError>> {
        self.typed(Known::Route, route)
    }

    /// All Record-Route values, in order.
    pub fn record_routes(&self) -> impl Iterator<Item = Result<NameAddr, HeaderError>> {
        self.typed(Known::RecordRoute, route)
    }

    /// The addresses of a header field that is a list of them: Path, Service-Route.
    pub fn addresses(&self, name: Name<'_>) -> impl Iterator<Item = Result<NameAddr, HeaderError>> {
        self.typed(name.known(), NameAddr::from_value)
    }

    /// Refer-To: whom the recipient shall contact (RFC 3515); `None` where there is none.
    ///
    /// # Errors
    /// [`HeaderError`] where it is repeated or broken.
    pub fn refer_to(&self) -> Result<Option<NameAddr>, HeaderError> {
        self.maybe(Known::ReferTo, NameAddr::from_value)
    }

    /// Max-Forwards, 0 to 255; `None` where there is none.
    ///
    /// # Errors
    /// [`HeaderError`] where it is repeated, no number, or above 255.
    pub fn max_forwards(&self) -> Result<Option<u8>, HeaderError> {
        self.maybe(Known::MaxForwards, |raw| match lex::number(&raw, 255) {
            Some(hops) => Ok(hops as u8),
            None => Err(Problem::OutOfRange),
        })
    }

    /// Content-Type; `None` where there is none.
    ///
    /// # Errors
    /// [`HeaderError`] where it is repeated or broken.
    pub fn content_type(&self) -> Result<Option<MediaType>, HeaderError> {
        self.maybe(Known::ContentType, MediaType::from_value)
    }

    /// Content-Disposition; `None` where there is none.
    ///
    /// # Errors
    /// [`HeaderError`] where it is repeated or broken.
    pub fn content_disposition(&self) -> Result<Option<Parameterized>, HeaderError> {
        self.maybe(Known::ContentDisposition, Parameterized::from_token)
    }

    /// Content-Length as it stands there; `None` where there is none. [`Message::body`] has been
    /// cut by it already.
    ///
    /// # Errors
    /// [`HeaderError`] where it is repeated or no number.
    pub fn content_length(&self) -> Result<Option<u64>, HeaderError> {
        self.maybe(Known::ContentLength, |raw| {
            lex::number(&raw, u64::MAX).ok_or(Problem::OutOfRange)
        })
    }

    /// Expires in seconds; `None` where there is none.
    ///
    /// # Errors
    /// [`HeaderError`] where it is repeated, no number, or above 2^32 - 1.
    pub fn expires(&self) -> Result<Option<u32>, HeaderError> {
        self.maybe(Known::Expires, seconds)
    }

    /// Min-Expires in seconds; `None` where there is none.
    ///
    /// # Errors
    /// As [`Message::expires`].
    pub fn min_expires(&self) -> Result<Option<u32>, HeaderError> {
        self.maybe(Known::MinExpires, seconds)
    }

    /// Retry-After; `None` where there is none.
    ///
    /// # Errors
    /// [`HeaderError`] where it is repeated or broken.
    pub fn retry_after(&self) -> Result<Option<RetryAfter>, HeaderError> {
        self.maybe(Known::RetryAfter, |raw| RetryAfter::from_value(&raw))
    }

    /// Event: what is subscribed to or reported (RFC 6665); `None` where there is none.
    ///
    /// # Errors
    /// [`HeaderError`] where it is repeated or broken.
    pub fn event(&self) -> Result<Option<Parameterized>, HeaderError> {
        self.maybe(Known::Event, Parameterized::from_token)
    }

    /// Any header field of the form `value;parameters` that may stand once, such as
    /// Session-Expires, Subscription-State or Replaces; `None` where there is none.
    ///
    /// # Errors
    /// [`HeaderError`] where it is repeated or broken.
    pub fn parameterized(&self, name: Name<'_>) -> Result<Option<Parameterized>, HeaderError> {
        self.maybe(name.known(), Parameterized::from_value)
    }

    /// RSeq: the number of a reliable provisional response, from 1 (RFC 3262 §7.1); `None` where
    /// there is none.
    ///
    /// # Errors
    /// [`HeaderError`] where it is repeated, no number, zero, or above 2^32 - 1.
    pub fn rseq(&self) -> Result<Option<u32>, HeaderError> {
        self.maybe(Known::RSeq, |raw| {
            match lex::number(&raw, u32::MAX.into()) {
                Some(number @ 1..) => Ok(number as u32),
                _ => Err(Problem::OutOfRange),
            }
        })
    }

    /// RAck: which provisional response a PRACK acknowledges (RFC 3262 §7.2); `None` where there is
    /// none.
    ///
    /// # Errors
    /// [`HeaderError`] where it is repeated or broken.
    pub fn rack(&self) -> Result<Option<RAck>, HeaderError> {
        self.maybe(Known::RAck, RAck::from_value)
    }

    /// Replaces (RFC 3891 §6.1); `None` where there is none.
    ///
    /// # Errors
    /// [`HeaderError`] where it is repeated or broken.
    pub fn replaces(&self) -> Result<Option<Replaces>, HeaderError> {
        self.maybe(Known::Replaces, Replaces::from_value)
    }

    /// Session-Expires (RFC 4028 §4); `None` where there is none.
    ///
    /// # Errors
    /// [`HeaderError`] where it is repeated or broken.
    pub fn session_expires(&self) -> Result<Option<SessionExpires>, HeaderError> {
        self.maybe(Known::SessionExpires, SessionExpires::from_value)
    }

    /// Min-SE in seconds (RFC 4028 §5); `None` where there is none.
    ///
    /// # Errors
    /// [`HeaderError`] where it is repeated, no number, or above 2^32 - 1.
    pub fn min_se(&self) -> Result<Option<u32>, HeaderError> {
        self.maybe(Known::MinSe, |raw| {
            let value = Parameterized::from_token(raw)?;
            let number = lex::number(value.value().as_bytes(), u32::MAX.into());
            number.map(|n| n as u32).ok_or(Problem::OutOfRange)
        })
    }

    /// All Warning values.
    pub fn warnings(&self) -> impl Iterator<Item = Result<Warning, HeaderError>> {
        self.typed(Known::Warning, |raw| Warning::from_value(&raw))
    }

    /// The media ranges of Accept; none for an empty one.
    pub fn accept(&self) -> impl Iterator<Item = Result<MediaType, HeaderError>> {
        Values::new(self, Known::Accept)
            .filter(|raw| !raw.is_empty())
            .map(|raw| MediaType::from_value(raw).map_err(|p| p.in_header(Known::Accept)))
    }

    /// The option tags of Require.
    pub fn require(&self) -> Tokens<'_> {
        Tokens::new(self, Known::Require)
    }

    /// The option tags of Proxy-Require.
    pub fn proxy_require(&self) -> Tokens<'_> {
        Tokens::new(self, Known::ProxyRequire)
    }

    /// The option tags of Supported.
    pub fn supported(&self) -> Tokens<'_> {
        Tokens::new(self, Known::Supported)
    }

    /// The option tags of Unsupported.
    pub fn unsupported(&self) -> Tokens<'_> {
        Tokens::new(self, Known::Unsupported)
    }

    /// The methods of Allow.
    pub fn allow(&self) -> Tokens<'_> {
        Tokens::new(self, Known::Allow)
    }

    /// Subject, without line folds.
    pub fn subject(&self) -> Option<String> {
        self.header(Name::Subject)
            .map(|header| header.text().into_owned())
    }

    /// User-Agent of a request, Server of a response.
    pub fn agent(&self) -> Option<String> {
        let name = if self.is_request() {
            Name::UserAgent
        } else {
            Name::Server
        };
        self.header(name).map(|header| header.text().into_owned())
    }
}

/// The tokens of a list header field, over all of its rows; what is no token is left out, and
/// [`Message::validate`] tells of it.
#[derive(Clone)]
pub struct Tokens<'a> {
    message: &'a Message,
    known: Known,
    next_row: usize,
    rest: &'a [u8],
}

impl<'a> Tokens<'a> {
    pub(super) fn new(message: &'a Message, known: Known) -> Self {
        Self {
            message,
            known,
            next_row: 0,
            rest: &[],
        }
    }

    /// Whether `token` is among them, whatever the case.
    pub fn has(&self, token: &str) -> bool {
        self.clone().any(|item| item.eq_ignore_ascii_case(token))
    }

    fn next_part(&mut self) -> Option<&'a [u8]> {
        while self.rest.is_empty() {
            let rows: &'a [Row] = self.message.rows.get(self.next_row..)?;
            let offset = rows.iter().position(|row| row.known == self.known)?;
            self.next_row += offset + 1;
            self.rest = rows[offset].value.of(&self.message.bytes);
        }
        let end = self
            .rest
            .iter()
            .position(|&b| b == b',')
            .unwrap_or(self.rest.len());
        let part = lex::trim(&self.rest[..end]);
        self.rest = self.rest.get(end + 1..).unwrap_or_default();
        Some(part)
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        loop {
            let part = self.next_part()?;
            if lex::is_token(part) {
                return std::str::from_utf8(part).ok();
            }
        }
    }
}

/// A Route or Record-Route value, which has `<>` always.
fn route(raw: Bytes) -> Result<NameAddr, Problem> {
    if !raw.contains(&b'<') {
        return Err(Problem::Syntax("no <> around the URI"));
    }
    NameAddr::from_value(raw)
}

fn seconds(raw: Bytes) -> Result<u32, Problem> {
    match lex::number(&raw, u32::MAX.into()) {
        Some(seconds) => Ok(seconds as u32),
        None => Err(Problem::OutOfRange),
    }
}

/// Whether every part of a token list is a token or empty.
pub(super) fn tokens_ok(message: &Message, known: Known) -> bool {
    message.rows(known).all(|row| {
        let value = unfold(row.value.of(&message.bytes));
        value
            .split(|&b| b == b',')
            .map(lex::trim)
            .all(|part| part.is_empty() || lex::is_token(part))
    })
}
