//! Typed values of the other header fields: CSeq, media types, reasons, lists (RFC 3261 §20).

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use crate::sip::header::Problem;
use crate::sip::lex::{self, MAX_VALUE_BYTES, Params, Span};
use crate::sip::method::Method;

/// The largest CSeq number, 2^31 - 1 (RFC 3261 §8.1.1.5).
pub const MAX_CSEQ: u32 = 0x7fff_ffff;

/// The CSeq header field: a number that orders requests, and the method (RFC 3261 §20.16).
///
/// ```
/// use sidetone::sip::header::value::CSeq;
/// use sidetone::sip::method::Method;
/// let cseq = CSeq::new(7, Method::Bye).unwrap();
/// assert_eq!(cseq.to_string(), "7 BYE");
/// assert_eq!(CSeq::new(1 << 31, Method::Bye), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CSeq {
    number: u32,
    method: Method,
}

impl CSeq {
    /// The value; `None` where `number` is above [`MAX_CSEQ`].
    pub fn new(number: u32, method: Method) -> Option<Self> {
        (number <= MAX_CSEQ).then_some(Self { number, method })
    }

    /// Parses the value of the header field.
    pub(crate) fn from_value(raw: Bytes) -> Result<Self, Problem> {
        let digits = raw.iter().take_while(|b| b.is_ascii_digit()).count();
        let start = lex::skip_lws(&raw, digits);
        if digits == 0 || start == digits {
            return Err(Problem::Syntax("no number and method"));
        }
        let number = lex::number(&raw[..digits], MAX_CSEQ.into()).ok_or(Problem::OutOfRange)?;
        let method = match Method::known(&raw[start..]) {
            Some(method) => method,
            None => Method::from_bytes(raw.slice(start..)).ok_or(Problem::Syntax("method"))?,
        };
        Ok(Self {
            number: number as u32,
            method,
        })
    }

    /// The number, at most [`MAX_CSEQ`].
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.method
    }
}

impl fmt::Display for CSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.method)
    }
}

/// The RAck header field: which provisional response a PRACK acknowledges (RFC 3262 §7.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RAck {
    /// The RSeq of the response.
    pub rseq: u32,
    /// The CSeq number of the response.
    pub sequence: u32,
    /// The CSeq method of the response.
    pub method: Method,
}

impl RAck {
    pub(crate) fn from_value(raw: Bytes) -> Result<Self, Problem> {
        let digits = raw.iter().take_while(|b| b.is_ascii_digit()).count();
        let start = lex::skip_lws(&raw, digits);
        if digits == 0 || start == digits {
            return Err(Problem::Syntax("no two numbers and method"));
        }
        let rseq = lex::number(&raw[..digits], u32::MAX.into()).ok_or(Problem::OutOfRange)?;
        let cseq = CSeq::from_value(raw.slice(start..))?;
        Ok(Self {
            rseq: rseq as u32,
            sequence: cseq.number,
            method: cseq.method,
        })
    }
}

impl fmt::Display for RAck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.rseq, self.sequence, self.method)
    }
}

/// The Replaces header field: the dialog that a new one shall take the place of, as its recipient
/// sees it (RFC 3891 §6.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaces {
    /// The Call-ID.
    pub call_id: String,
    /// The recipient's own tag.
    pub to_tag: String,
    /// The tag of the recipient's peer.
    pub from_tag: String,
    /// Only while it is not answered yet.
    pub early_only: bool,
}

impl Replaces {
    /// Parses `callid *( SEMI param )` with one `to-tag` and one `from-tag`.
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
        let call_id = value.value.of(&value.raw);
        if !lex::is_call_id(call_id) {
            return Err(Problem::Syntax("no Call-ID"));
        }
        let tag = |name: &str| {
            let mut tags = value.params().filter(|param| param.is(name));
            let tag = tags.next().and_then(|param| param.value);
            let tag = tag.filter(|tag| lex::is_token(tag) && tags.next().is_none());
            let tag = tag.ok_or(Problem::Syntax("not one tag of each side"))?;
            Ok::<String, Problem>(String::from_utf8_lossy(tag).into_owned())
        };
        Ok(Self {
            call_id: String::from_utf8_lossy(call_id).into_owned(),
            to_tag: tag("to-tag")?,
            from_tag: tag("from-tag")?,
            early_only: value.params().named("early-only").is_some(),
        })
    }
}

impl fmt::Display for Replaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            call_id,
            to_tag,
            from_tag,
            early_only,
        } = self;
        write!(f, "{call_id};to-tag={to_tag};from-tag={from_tag}")?;
        f.write_str(if *early_only { ";early-only" } else { "" })
    }
}

/// Who refreshes a session: the side that sent the request with the Session-Expires, or the other
/// (RFC 4028 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresher {
    /// The one who sent the request.
    Uac,
    /// The one who answers it.
    Uas,
}

impl Refresher {
    /// The parameter's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Uac => "uac",
            Self::Uas => "uas",
        }
    }
}

/// The Session-Expires header field: how long a session lasts without a refresh (RFC 4028 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionExpires {
    /// The interval in seconds.
    pub seconds: u32,
    /// Who refreshes, where that is said.
    pub refresher: Option<Refresher>,
}

impl SessionExpires {
    pub(crate) fn from_value(raw: Bytes) -> Result<Self, Problem> {
        let value = Parameterized::from_token(raw)?;
        let number = value.value.of(&value.raw);
        let seconds = lex::number(number, u32::MAX.into()).ok_or(Problem::OutOfRange)?;
        let refresher = match value.param("refresher").as_deref() {
            None => None,
            Some(text) if text.eq_ignore_ascii_case("uac") => Some(Refresher::Uac),
            Some(text) if text.eq_ignore_ascii_case("uas") => Some(Refresher::Uas),
            Some(_) => return Err(Problem::Syntax("refresher is neither uac nor uas")),
        };
        Ok(Self {
            seconds: seconds as u32,
            refresher,
        })
    }
}

impl fmt::Display for SessionExpires {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.seconds)?;
        match self.refresher {
            Some(refresher) => write!(f, ";refresher={}", refresher.as_str()),
            None => Ok(()),
        }
    }
}

/// A value with parameters, as most header fields have it: Content-Type, Content-Disposition,
/// Event, Accept, Session-Expires, Reason and others.
///
/// It shares the bytes of its message.
#[derive(Clone, PartialEq, Eq)]
pub struct Parameterized {
    raw: Bytes,
    value: Span,
    params: Span,
}

impl Parameterized {
    /// Parses `value *( SEMI param )`, where the value runs to the first `;` and is not empty.
    ///
    /// # Errors
    /// [`Problem`] says what breaks the grammar.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        if text.contains(|c: char| c.is_control() && c != '\t') {
            return Err(Problem::Syntax("control character"));
        }
        Self::from_value(Bytes::copy_from_slice(text.as_bytes()))
    }

    pub(crate) fn from_value(raw: Bytes) -> Result<Self, Problem> {
        if raw.len() > MAX_VALUE_BYTES {
            return Err(Problem::TooLong);
        }
        let end = lex::find_outside(&raw, 0, b';');
        let start = lex::skip_lws(&raw, 0).min(end);
        let len = lex::trim(&raw[start..end]).len();
        if len == 0 {
            return Err(Problem::Syntax("empty value"));
        }
        if !lex::check_params(&raw[end..]) {
            return Err(Problem::Syntax("invalid parameter"));
        }
        let (value, params) = (Span::new(start, start + len), Span::new(end, raw.len()));
        Ok(Self { raw, value, params })
    }

    /// As [`Parameterized::from_value`], for a header field whose value is a token.
    pub(crate) fn from_token(raw: Bytes) -> Result<Self, Problem> {
        let parsed = Self::from_value(raw)?;
        if !lex::is_token(parsed.value.of(&parsed.raw)) {
            return Err(Problem::Syntax("value is no token"));
        }
        Ok(parsed)
    }

    /// What stands before the parameters, as bytes.
    pub(crate) fn raw_value(&self) -> &[u8] {
        self.value.of(&self.raw)
    }

    /// What stands before the parameters, without surrounding white space.
    pub fn value(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.value.of(&self.raw))
    }

    /// Whether the value is `text`, whatever the case.
    pub fn is(&self, text: &str) -> bool {
        self.value
            .of(&self.raw)
            .eq_ignore_ascii_case(text.as_bytes())
    }

    /// The parameters, in order.
    pub fn params(&self) -> Params<'_> {
        Params::new(self.params.of(&self.raw))
    }

    /// The value of the parameter `name`, unquoted; empty for one without a value.
    pub fn param(&self, name: &str) -> Option<Cow<'_, str>> {
        self.params().named(name).map(|param| param.text())
    }

    /// The whole value as it stands on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.raw
    }
}

impl fmt::Display for Parameterized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.raw))
    }
}

impl fmt::Debug for Parameterized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parameterized({:?})", String::from_utf8_lossy(&self.raw))
    }
}

/// A media type or range with parameters: Content-Type, Accept (RFC 3261 §20.1, §20.15).
///
/// ```
/// use sidetone::sip::header::value::MediaType;
/// let sdp = MediaType::parse("Application/SDP ; level=1")?;
/// assert!(sdp.is("application", "sdp"));
/// assert_eq!(sdp.param("level").as_deref(), Some("1"));
/// # Ok::<(), sidetone::sip::header::Problem>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaType {
    inner: Parameterized,
    kind: Span,
    subtype: Span,
}

impl MediaType {
    /// Parses `type "/" subtype *( SEMI param )`.
    ///
    /// # Errors
    /// [`Problem`] says what breaks the grammar.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        Self::from_parameterized(Parameterized::parse(text)?)
    }

    pub(crate) fn from_value(raw: Bytes) -> Result<Self, Problem> {
        Self::from_parameterized(Parameterized::from_value(raw)?)
    }

    fn from_parameterized(inner: Parameterized) -> Result<Self, Problem> {
        const SYNTAX: Problem = Problem::Syntax("no type/subtype");
        let (start, text) = (inner.value.start(), inner.value.of(&inner.raw));
        let slash = text.iter().position(|&b| b == b'/').ok_or(SYNTAX)?;
        let kind_len = lex::trim(&text[..slash]).len();
        let subtype_start = lex::skip_lws(text, slash + 1);
        if !lex::is_token(&text[..kind_len]) || !lex::is_token(&text[subtype_start..]) {
            return Err(SYNTAX);
        }
        let kind = Span::new(start, start + kind_len);
        let subtype = Span::new(start + subtype_start, start + text.len());
        Ok(Self {
            inner,
            kind,
            subtype,
        })
    }

    /// The type, such as `application`.
    pub fn kind(&self) -> &str {
        self.kind.text(&self.inner.raw)
    }

    /// The subtype, such as `sdp`.
    pub fn subtype(&self) -> &str {
        self.subtype.text(&self.inner.raw)
    }

    /// Whether this is `kind/subtype`, whatever the case.
    pub fn is(&self, kind: &str, subtype: &str) -> bool {
        self.kind().eq_ignore_ascii_case(kind) && self.subtype().eq_ignore_ascii_case(subtype)
    }

    /// Whether this range, from an Accept header field, takes in `kind/subtype`.
    pub fn accepts(&self, kind: &str, subtype: &str) -> bool {
        let matches = |ours: &str, other: &str| ours == "*" || ours.eq_ignore_ascii_case(other);
        matches(self.kind(), kind) && matches(self.subtype(), subtype)
    }

    /// The parameters, in order.
    pub fn params(&self) -> Params<'_> {
        self.inner.params()
    }

    /// The value of the parameter `name`, unquoted.
    pub fn param(&self, name: &str) -> Option<Cow<'_, str>> {
        self.inner.param(name)
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.inner.raw))
    }
}

/// The Retry-After header field: when to try again (RFC 3261 §20.33).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryAfter {
    /// Seconds to wait.
    pub seconds: u32,
    /// How many seconds the callee will then be reachable, where that is said.
    pub duration: Option<u32>,
}

impl RetryAfter {
    pub(crate) fn from_value(raw: &[u8]) -> Result<Self, Problem> {
        let digits = raw.iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            return Err(Problem::Syntax("no seconds"));
        }
        let seconds = lex::number(&raw[..digits], u32::MAX.into()).ok_or(Problem::OutOfRange)?;
        let mut at = lex::skip_lws(raw, digits);
        if raw.get(at) == Some(&b'(') {
            let end = comment_end(raw, at).ok_or(Problem::Syntax("unterminated comment"))?;
            at = lex::skip_lws(raw, end);
        }
        if !lex::check_params(&raw[at..]) {
            return Err(Problem::Syntax("invalid parameter"));
        }
        let duration = Params::new(&raw[at..])
            .named("duration")
            .and_then(|param| param.value);
        let duration = duration.and_then(|value| lex::number(value, u32::MAX.into()));
        Ok(Self {
            seconds: seconds as u32,
            duration: duration.map(|n| n as u32),
        })
    }
}

impl fmt::Display for RetryAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.seconds)?;
        match self.duration {
            Some(duration) => write!(f, ";duration={duration}"),
            None => Ok(()),
        }
    }
}

/// The index just past the comment that opens at `open`; comments nest.
fn comment_end(bytes: &[u8], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut i = open;
    loop {
        match *bytes.get(i)? {
            b'\\' => i += 1,
            b'(' => depth += 1,
            b')' if depth == 1 => return Some(i + 1),
            b')' => depth -= 1,
            _ => {}
        }
        i += 1;
    }
}

/// One value of the Warning header field (RFC 3261 §20.43).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Three digits; 399 for a warning of no listed kind.
    pub code: u16,
    /// Who warns: a host name or a pseudonym.
    pub agent: String,
    /// The warning in words.
    pub text: String,
}

impl Warning {
    pub(crate) fn from_value(raw: &[u8]) -> Result<Self, Problem> {
        const SYNTAX: Problem = Problem::Syntax("no code, agent and quoted text");
        let code_end = raw.iter().position(|&b| lex::is_lws(b)).ok_or(SYNTAX)?;
        let code = lex::number(&raw[..code_end], 999).ok_or(Problem::OutOfRange)?;
        if code_end != 3 {
            return Err(Problem::OutOfRange);
        }
        let agent_start = lex::skip_lws(raw, code_end);
        let len = raw[agent_start..]
            .iter()
            .position(|&b| lex::is_lws(b))
            .ok_or(SYNTAX)?;
        let text_start = lex::skip_lws(raw, agent_start + len);
        if raw.get(text_start) != Some(&b'"') || lex::quoted_end(raw, text_start) != Some(raw.len())
        {
            return Err(SYNTAX);
        }
        Ok(Self {
            code: code as u16,
            agent: String::from_utf8_lossy(&raw[agent_start..agent_start + len]).into_owned(),
            text: lex::unquote(&raw[text_start..]).into_owned(),
        })
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03} {} \"", self.code, self.agent)?;
        for c in self.text.chars().filter(|c| !c.is_control()) {
            f.write_str(if matches!(c, '"' | '\\') { "\\" } else { "" })?;
            write!(f, "{c}")?;
        }
        f.write_str("\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn cseq_is_a_bounded_number_and_a_method() {
        let cseq = CSeq::from_value(bytes("0009   INVITE")).unwrap();
        assert_eq!((cseq.number(), cseq.method()), (9, &Method::Invite));
        for bad in [
            "",
            "INVITE",
            "9",
            "9 ",
            "9INVITE",
            "-9 INVITE",
            "9 IN VITE",
            "+9 INVITE",
        ] {
            assert!(CSeq::from_value(bytes(bad)).is_err(), "{bad:?}");
        }
        assert_eq!(
            CSeq::from_value(bytes("2147483648 BYE")),
            Err(Problem::OutOfRange)
        );
        assert_eq!(
            CSeq::from_value(bytes("36893488147419103232 BYE")),
            Err(Problem::OutOfRange)
        );
    }

    #[test]
    fn rack_is_two_numbers_and_a_method() {
        let rack = RAck::from_value(bytes("776656  1 INVITE")).unwrap();
        assert_eq!((rack.rseq, rack.sequence), (776_656, 1));
        assert_eq!(rack.method, Method::Invite);
        for bad in [
            "",
            "1",
            "1 2",
            "1 INVITE",
            "x 1 INVITE",
            "1 x INVITE",
            "4294967296 1 A",
        ] {
            assert!(RAck::from_value(bytes(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn session_expires_is_a_number_and_a_refresher() {
        let parsed = SessionExpires::from_value(bytes("1800 ;Refresher=UAS;x=1")).unwrap();
        assert_eq!(
            (parsed.seconds, parsed.refresher),
            (1800, Some(Refresher::Uas))
        );
        let parsed = SessionExpires::from_value(bytes("90")).unwrap();
        assert_eq!((parsed.seconds, parsed.refresher), (90, None));
        for bad in [
            "",
            "-1",
            "x",
            "90;refresher=me",
            "4294967296",
            ";refresher=uac",
        ] {
            assert!(SessionExpires::from_value(bytes(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn replaces_names_a_dialog() {
        let text = "a@b;from-tag=1;to-tag=2;early-only";
        let parsed = Replaces::from_value(bytes(text)).unwrap();
        assert_eq!(parsed.to_string(), "a@b;to-tag=2;from-tag=1;early-only");
        for bad in [
            "",
            "a@b",
            "a@b;to-tag=1",
            "a@b;to-tag=1;to-tag=2;from-tag=3",
            "a@b;to-tag=\"1\";from-tag=3",
            "a b;to-tag=1;from-tag=2",
        ] {
            assert!(Replaces::from_value(bytes(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn media_types_match_ranges() {
        assert!(
            MediaType::parse("*/*")
                .unwrap()
                .accepts("application", "sdp")
        );
        assert!(
            MediaType::parse("application / *;q=0.2")
                .unwrap()
                .accepts("application", "sdp")
        );
        for bad in ["", "text", "/", "a/", "a/b c", "a/b;;", "a/b\r\n"] {
            assert!(MediaType::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn retry_after_reads_past_a_comment() {
        let parsed = RetryAfter::from_value(b"120 (in (a) \\) meeting) ;duration=3600").unwrap();
        assert_eq!(
            parsed,
            RetryAfter {
                seconds: 120,
                duration: Some(3600)
            }
        );
        for bad in ["", "x", "1 (", "1 x", "99999999999"] {
            assert!(RetryAfter::from_value(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn warnings_are_read() {
        let warning = Warning::from_value(b"307 isi.example \"a \\\"b\\\"\"").unwrap();
        assert_eq!((warning.code, warning.text.as_str()), (307, "a \"b\""));
        for bad in ["", "1812 a \"b\"", "307 a b", "307 \"b\"", "307 a \"b"] {
            assert!(Warning::from_value(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
