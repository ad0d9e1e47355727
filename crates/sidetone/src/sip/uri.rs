//! SIP, SIPS and tel URIs (RFC 3261 §19.1, RFC 3966): wire format.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use bytes::Bytes;

use crate::sip::lex::{self, Param, Span};

#[cfg(test)]
mod tests;

/// The longest URI that is accepted, in bytes. Longer ones are refused as [`UriError::TooLong`].
pub const MAX_URI_BYTES: usize = 2048;

/// A URI as SIP uses it: `sip:`, `sips:`, `tel:`, or any other scheme kept as opaque text.
///
/// It shares the bytes that it was parsed from: a clone costs one reference count. What outlives a
/// message by long calls [`Uri::detach`], so that the message can be freed.
///
/// `==` compares the bytes; [`Uri::is_equivalent`] compares as RFC 3261 §19.1.4 says.
///
/// ```
/// use sidetone::sip::uri::{Scheme, Uri};
///
/// let uri: Uri = "sips:alice@atlanta.example:5071;transport=tcp".parse()?;
/// assert_eq!(uri.scheme(), Scheme::Sips);
/// assert_eq!(uri.user(), Some("alice"));
/// assert_eq!(uri.host(), "atlanta.example");
/// assert_eq!(uri.port(), Some(5071));
/// assert_eq!(uri.param("transport").as_deref(), Some("tcp"));
/// # Ok::<(), sidetone::sip::uri::UriError>(())
/// ```
#[derive(Clone)]
pub struct Uri {
    /// What `parts` index: the URI itself, or the header value in which it stands.
    raw: Bytes,
    parts: Parts,
}

/// Where the parts of a URI lie.
#[derive(Debug, Clone, Copy)]
struct Parts {
    whole: Span,
    scheme: Scheme,
    /// User of a SIP URI, number of a tel URI.
    user: Option<Span>,
    password: Option<Span>,
    /// Empty for everything but SIP and SIPS.
    host: Span,
    port: Option<u16>,
    /// Starts at the first `;`.
    params: Span,
    /// Without the `?`.
    headers: Option<Span>,
}

/// The scheme of a [`Uri`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// `sip:`
    Sip,
    /// `sips:`, which asks for TLS on every hop.
    Sips,
    /// `tel:` (RFC 3966).
    Tel,
    /// Any other scheme; a UAS answers 416 to it in a Request-URI.
    Other,
}

/// Why text is not a URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UriError {
    /// Longer than [`MAX_URI_BYTES`].
    #[error("URI is too long")]
    TooLong,
    /// No scheme, or one that breaks the grammar.
    #[error("URI has no valid scheme")]
    Scheme,
    /// The user, the password or the telephone number breaks the grammar.
    #[error("URI has an invalid user part")]
    User,
    /// The host is no name, no IPv4 address and no bracketed IPv6 address.
    #[error("URI has an invalid host")]
    Host,
    /// The port is no number from 0 to 65535.
    #[error("URI has an invalid port")]
    Port,
    /// A parameter breaks the grammar, or stands twice with different values.
    #[error("URI has an invalid parameter")]
    Parameter,
    /// The part after `?` breaks the grammar.
    #[error("URI has invalid headers")]
    Headers,
    /// The rest of a URI of another scheme has bytes that no URI has.
    #[error("URI has bytes that no URI may have")]
    Opaque,
}

impl Uri {
    /// Parses `text`, which holds the URI and nothing else.
    ///
    /// # Errors
    /// [`UriError`] says which part breaks the grammar of RFC 3261 §25.1.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        if text.len() > MAX_URI_BYTES {
            return Err(UriError::TooLong);
        }
        Self::from_bytes(Bytes::copy_from_slice(text.as_bytes()))
    }

    /// Parses `raw`, which holds the URI and nothing else, and shares its bytes.
    ///
    /// # Errors
    /// As [`Uri::parse`].
    pub fn from_bytes(raw: Bytes) -> Result<Self, UriError> {
        if raw.len() > MAX_URI_BYTES {
            return Err(UriError::TooLong);
        }
        let whole = Span::new(0, raw.len());
        Self::within(raw, whole)
    }

    /// Parses the URI at `whole` inside `raw`, a header field value.
    pub(crate) fn within(raw: Bytes, whole: Span) -> Result<Self, UriError> {
        let parts = Parts::parse(&raw, whole)?;
        Ok(Self { raw, parts })
    }

    /// What the spans of this URI index.
    pub(crate) fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// Where this URI lies in [`Uri::raw`].
    pub(crate) fn span(&self) -> Span {
        self.parts.whole
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.parts.scheme
    }

    /// Whether the scheme is `sip` or `sips`.
    pub fn is_sip(&self) -> bool {
        matches!(self.parts.scheme, Scheme::Sip | Scheme::Sips)
    }

    /// The whole URI as text.
    pub fn as_str(&self) -> &str {
        self.parts.whole.text(&self.raw)
    }

    /// The user of a SIP URI or the number of a tel URI, with its escapes.
    pub fn user(&self) -> Option<&str> {
        self.parts.user.map(|span| span.text(&self.raw))
    }

    /// The user with its escapes undone; bytes that are no UTF-8 are replaced. Without password.
    pub fn user_decoded(&self) -> Option<Cow<'_, str>> {
        self.user().map(unescape)
    }

    /// The password, with its escapes; deprecated by RFC 3261 §19.1.1 and never to be logged.
    pub fn password(&self) -> Option<&str> {
        self.parts.password.map(|span| span.text(&self.raw))
    }

    /// The host as it stands there, an IPv6 address with its brackets. Empty for `tel:` and unknown
    /// schemes.
    pub fn host(&self) -> &str {
        self.parts.host.text(&self.raw)
    }

    /// The host where it is an address and not a name.
    pub fn host_ip(&self) -> Option<IpAddr> {
        parse_ip(self.host())
    }

    /// The port, where there is one.
    pub fn port(&self) -> Option<u16> {
        self.parts.port
    }

    /// The parameters, in order, with their escapes.
    pub fn params(&self) -> UriParams<'_> {
        UriParams {
            rest: self.parts.params.of(&self.raw),
        }
    }

    /// The value of the parameter `name` with its escapes undone; empty for one without a value,
    /// `None` where there is no such parameter.
    pub fn param(&self, name: &str) -> Option<Cow<'_, str>> {
        let param = self
            .params()
            .find(|param| same_text(param.name, name.as_bytes()))?;
        Some(unescape(
            std::str::from_utf8(param.value.unwrap_or_default()).unwrap_or_default(),
        ))
    }

    /// Whether the parameter `lr` is present: the next hop is a loose router (RFC 3261 §16.12).
    pub fn is_loose_router(&self) -> bool {
        self.params().any(|param| param.is("lr"))
    }

    /// The text after `?`: header fields that a request to this URI shall carry.
    pub fn headers(&self) -> Option<&str> {
        self.parts.headers.map(|span| span.text(&self.raw))
    }

    /// The first header field `name` after `?`, with its escapes undone; `None` where there is none.
    pub fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        let mut fields = self.headers()?.split('&');
        fields.find_map(|field| {
            let (key, value) = field.split_once('=')?;
            unescape(key)
                .eq_ignore_ascii_case(name)
                .then(|| unescape(value))
        })
    }

    /// The same URI with one more header field after `?`, its value escaped. Only SIP and SIPS URIs can
    /// have any; others stay as they are.
    ///
    /// # Errors
    /// [`UriError::Headers`] where the name is no token, [`UriError::TooLong`].
    pub fn with_header(&self, name: &str, value: &str) -> Result<Self, UriError> {
        if !lex::is_token(name.as_bytes()) {
            return Err(UriError::Headers);
        }
        if !self.is_sip() {
            return Ok(self.clone());
        }
        let joint = if self.parts.headers.is_some() {
            '&'
        } else {
            '?'
        };
        Self::parse(&format!("{self}{joint}{}={}", escape(name), escape(value)))
    }

    /// The same URI without the headers after `?`, which may not stand in a Request-URI.
    pub fn without_headers(&self) -> Self {
        let Some(headers) = self.parts.headers else {
            return self.clone();
        };
        let mut short = self.clone();
        short.parts.whole = Span::new(self.parts.whole.start(), headers.start() - 1);
        short.parts.headers = None;
        short
    }

    /// A copy that holds on to nothing but its own bytes.
    pub fn detach(&self) -> Self {
        let by = self.parts.whole.start();
        let down = |span: Span| span.shifted_down(by);
        Self {
            raw: Bytes::copy_from_slice(self.parts.whole.of(&self.raw)),
            parts: Parts {
                whole: down(self.parts.whole),
                user: self.parts.user.map(down),
                password: self.parts.password.map(down),
                host: down(self.parts.host),
                params: down(self.parts.params),
                headers: self.parts.headers.map(down),
                ..self.parts
            },
        }
    }

    /// Whether both name the same resource by RFC 3261 §19.1.4. This is not transitive: a
    /// parameter that only one of them has counts only if it is `user`, `ttl`, `method`, `maddr` or
    /// `transport`.
    ///
    /// Schemes other than SIP and SIPS are compared byte by byte, `tel:` by RFC 3966 §4 (case and
    /// visual separators ignored).
    pub fn is_equivalent(&self, other: &Self) -> bool {
        if self.scheme() != other.scheme() {
            return false;
        }
        match self.scheme() {
            Scheme::Other => self.as_str() == other.as_str(),
            Scheme::Tel => {
                let number = |uri: &Self| tel_digits(uri.user().unwrap_or_default());
                number(self) == number(other)
                    && same_params(self, other, &["phone-context", "isub", "ext"])
            }
            Scheme::Sip | Scheme::Sips => {
                same_escaped(self.user(), other.user())
                    && same_escaped(self.password(), other.password())
                    && same_host(self, other)
                    && self.port() == other.port()
                    && same_params(
                        self,
                        other,
                        &["user", "ttl", "method", "maddr", "transport"],
                    )
                    && same_headers(self, other)
            }
        }
    }
}

/// What may not stand in a header field of a URI, escaped (RFC 3261 §19.1.1).
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'!' | b'~' | b'*' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

impl Parts {
    fn parse(raw: &[u8], whole: Span) -> Result<Self, UriError> {
        let text = whole.of(raw);
        if text.len() > MAX_URI_BYTES {
            return Err(UriError::TooLong);
        }
        let colon = lex::find_byte(text, b':').ok_or(UriError::Scheme)?;
        let (scheme, at) = (&text[..colon], whole.start() + colon + 1);
        let rest = &text[colon + 1..];
        match scheme {
            s if s.eq_ignore_ascii_case(b"sip") => Self::parse_sip(rest, at, Scheme::Sip, whole),
            s if s.eq_ignore_ascii_case(b"sips") => Self::parse_sip(rest, at, Scheme::Sips, whole),
            s if s.eq_ignore_ascii_case(b"tel") => Self::parse_tel(rest, at, whole),
            _ => Self::parse_other(scheme, rest, whole),
        }
    }

    /// Parses what follows `sip:`; `at` is where `rest` starts.
    fn parse_sip(rest: &[u8], at: usize, scheme: Scheme, whole: Span) -> Result<Self, UriError> {
        let mut parts = Self::empty(whole, scheme);
        let mut i = 0;
        if let Some(len) = lex::find_byte(rest, b'@') {
            let user_len = lex::find_byte(&rest[..len], b':').unwrap_or(len);
            if !lex::is_user(&rest[..user_len]) {
                return Err(UriError::User);
            }
            parts.user = Some(Span::new(at, at + user_len));
            if user_len < len {
                if !lex::is_password(&rest[user_len + 1..len]) {
                    return Err(UriError::User);
                }
                parts.password = Some(Span::new(at + user_len + 1, at + len));
            }
            i = len + 1;
        }
        let host_start = i;
        let (host_end, port, after) = parse_host_port(rest, i)?;
        parts.host = Span::new(at + host_start, at + host_end);
        parts.port = port;
        i = after;
        let params_end = lex::find_byte(&rest[i..], b'?').map_or(rest.len(), |n| i + n);
        check_params(&rest[i..params_end])?;
        parts.params = Span::new(at + i, at + params_end);
        if params_end < rest.len() {
            check_headers(&rest[params_end + 1..])?;
            parts.headers = Some(Span::new(at + params_end + 1, at + rest.len()));
        }
        Ok(parts)
    }

    /// Parses what follows `tel:` (RFC 3966 §3).
    fn parse_tel(rest: &[u8], at: usize, whole: Span) -> Result<Self, UriError> {
        let mut parts = Self::empty(whole, Scheme::Tel);
        let len = rest.iter().position(|&b| b == b';').unwrap_or(rest.len());
        let number = rest[..len].strip_prefix(b"+").unwrap_or(&rest[..len]);
        let allowed = |b: u8| b.is_ascii_hexdigit() || b"*#-.()".contains(&b);
        let has_digit = number
            .iter()
            .any(|&b| b.is_ascii_hexdigit() || b"*#".contains(&b));
        if !has_digit || !number.iter().all(|&b| allowed(b)) {
            return Err(UriError::User);
        }
        check_params(&rest[len..])?;
        parts.user = Some(Span::new(at, at + len));
        parts.params = Span::new(at + len, at + rest.len());
        Ok(parts)
    }

    /// Checks a URI of any other scheme; what follows the scheme stays opaque.
    fn parse_other(scheme: &[u8], rest: &[u8], whole: Span) -> Result<Self, UriError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
        let starts = scheme.first().is_some_and(u8::is_ascii_alphabetic);
        if !starts || !scheme.iter().all(|&b| allowed(b)) {
            return Err(UriError::Scheme);
        }
        if rest.is_empty() || !lex::is_uric(rest) {
            return Err(UriError::Opaque);
        }
        Ok(Self::empty(whole, Scheme::Other))
    }

    fn empty(whole: Span, scheme: Scheme) -> Self {
        let end = Span::new(whole.end(), whole.end());
        Self {
            whole,
            scheme,
            user: None,
            password: None,
            host: end,
            port: None,
            params: end,
            headers: None,
        }
    }
}

/// Parses `host [ ":" port ]` at `from`: where the host ends, the port, and where the rest starts.
fn parse_host_port(rest: &[u8], from: usize) -> Result<(usize, Option<u16>, usize), UriError> {
    let host_end = host_end(rest, from).ok_or(UriError::Host)?;
    match rest.get(host_end) {
        Some(b':') => {
            let start = host_end + 1;
            let digits = rest[start..]
                .iter()
                .take_while(|b| b.is_ascii_digit())
                .count();
            let port = lex::number(&rest[start..start + digits], 65_535).ok_or(UriError::Port)?;
            let after = start + digits;
            match rest.get(after) {
                None | Some(b';' | b'?') => Ok((host_end, Some(port as u16), after)),
                Some(_) => Err(UriError::Port),
            }
        }
        None | Some(b';' | b'?') => Ok((host_end, None, host_end)),
        Some(_) => Err(UriError::Host),
    }
}

/// The index just past the host that starts at `from`, or `None` where there is no valid one.
pub(crate) fn host_end(bytes: &[u8], from: usize) -> Option<usize> {
    if bytes.get(from) == Some(&b'[') {
        let len = bytes[from..].iter().position(|&b| b == b']')?;
        let inner = std::str::from_utf8(&bytes[from + 1..from + len]).ok()?;
        return parse_ipv6(inner).map(|_| from + len + 1);
    }
    let tail = bytes.get(from..)?;
    let len = tail
        .iter()
        .position(|&b| !lex::is_host_byte(b))
        .unwrap_or(tail.len());
    is_host_name(&tail[..len]).then_some(from + len)
}

/// Whether `name`, of host bytes only, is a host name, or an IPv4 address where its last label is
/// a number.
fn is_host_name(name: &[u8]) -> bool {
    let bare = name.strip_suffix(b".").unwrap_or(name);
    let mut last = b'.';
    for &byte in bare {
        // A label is not empty, and has no hyphen at either end.
        if matches!((last, byte), (b'.', b'.' | b'-') | (b'-', b'.')) {
            return false;
        }
        last = byte;
    }
    if !last.is_ascii_digit() {
        return last.is_ascii_alphabetic() || last == b'_';
    }
    let label = bare.rsplit(|&b| b == b'.').next().unwrap_or_default();
    let is_number = label.iter().all(u8::is_ascii_digit);
    !is_number || std::str::from_utf8(name).is_ok_and(|text| Ipv4Addr::from_str(text).is_ok())
}

/// The address that `host` spells, an IPv6 address with or without brackets.
pub(crate) fn parse_ip(host: &str) -> Option<IpAddr> {
    let bare = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host);
    match Ipv4Addr::from_str(bare) {
        Ok(address) => Some(address.into()),
        Err(_) => parse_ipv6(bare).map(IpAddr::from),
    }
}

/// An IPv6 address. Three colons before an embedded IPv4 address mean two: the grammar of RFC 3261
/// makes them, and RFC 5118 §4.10 asks to tolerate them.
fn parse_ipv6(text: &str) -> Option<Ipv6Addr> {
    if let Ok(address) = Ipv6Addr::from_str(text) {
        return Some(address);
    }
    let (head, tail) = text.split_once(":::")?;
    Ipv4Addr::from_str(tail).ok()?;
    Ipv6Addr::from_str(&format!("{head}::{tail}")).ok()
}

/// Checks `*( ";" pname [ "=" pvalue ] )`, and that no name stands twice. RFC 3261 §19.1.1 forbids that
/// altogether; the very same parameter again, which baresip 1.0 writes, can mean nothing else and passes.
fn check_params(bytes: &[u8]) -> Result<(), UriError> {
    let Some(rest) = bytes.strip_prefix(b";") else {
        return if bytes.is_empty() {
            Ok(())
        } else {
            Err(UriError::Parameter)
        };
    };
    for (index, part) in rest.split(|&b| b == b';').enumerate() {
        let (name, value) = split_at(part, b'=');
        let value_ok = value.is_none_or(|value| !value.is_empty() && lex::is_uri_param(value));
        if name.is_empty() || !lex::is_uri_param(name) || !value_ok {
            return Err(UriError::Parameter);
        }
        let mut earlier = rest.split(|&b| b == b';').take(index);
        if earlier.any(|other| other != part && same_text(split_at(other, b'=').0, name)) {
            return Err(UriError::Parameter);
        }
    }
    Ok(())
}

/// Checks `hname "=" hvalue *( "&" hname "=" hvalue )`.
fn check_headers(bytes: &[u8]) -> Result<(), UriError> {
    for part in bytes.split(|&b| b == b'&') {
        let (name, Some(value)) = split_at(part, b'=') else {
            return Err(UriError::Headers);
        };
        // `hnv-unreserved` has `?` where `param-unreserved` has `&`, which cannot stand here.
        let pieces_ok = value.split(|&b| b == b'?').all(lex::is_uri_param);
        if name.is_empty() || !lex::is_uri_param(name) || !pieces_ok {
            return Err(UriError::Headers);
        }
    }
    Ok(())
}

fn split_at(part: &[u8], by: u8) -> (&[u8], Option<&[u8]>) {
    match part.iter().position(|&b| b == by) {
        Some(at) => (&part[..at], Some(&part[at + 1..])),
        None => (part, None),
    }
}

/// The parameters of a [`Uri`], in order.
#[derive(Debug, Clone)]
pub struct UriParams<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for UriParams<'a> {
    type Item = Param<'a>;

    fn next(&mut self) -> Option<Param<'a>> {
        let rest = self.rest.strip_prefix(b";")?;
        let end = rest.iter().position(|&b| b == b';').unwrap_or(rest.len());
        self.rest = &rest[end..];
        let (name, value) = split_at(&rest[..end], b'=');
        Some(Param { name, value })
    }
}

/// `text` with `%HH` escapes undone.
fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let plain: Vec<u8> = Unescaped {
        bytes: text.as_bytes(),
    }
    .map(|(byte, _)| byte)
    .collect();
    Cow::Owned(String::from_utf8_lossy(&plain).into_owned())
}

/// The bytes of escaped text with their escapes undone, and whether each was escaped.
struct Unescaped<'a> {
    bytes: &'a [u8],
}

impl Iterator for Unescaped<'_> {
    type Item = (u8, bool);

    fn next(&mut self) -> Option<(u8, bool)> {
        let (&first, rest) = self.bytes.split_first()?;
        let digit = |at: usize| rest.get(at).and_then(|&b| char::from(b).to_digit(16));
        if first == b'%'
            && let (Some(high), Some(low)) = (digit(0), digit(1))
        {
            self.bytes = &rest[2..];
            return Some(((high * 16 + low) as u8, true));
        }
        self.bytes = rest;
        Some((first, false))
    }
}

/// Bytes that mean the same escaped or not; an escaped reserved byte differs from a bare one.
fn normal(text: &[u8]) -> impl Iterator<Item = (u8, bool)> {
    let reserved = |b: u8| b";/?:@&=+$,".contains(&b);
    Unescaped { bytes: text }.map(move |(byte, escaped)| (byte, escaped && reserved(byte)))
}

/// Whether two texts are the same without regard to case and to needless escapes.
fn same_text(a: &[u8], b: &[u8]) -> bool {
    let fold = |(byte, escaped): (u8, bool)| (byte.to_ascii_lowercase(), escaped);
    normal(a).map(fold).eq(normal(b).map(fold))
}

/// Whether two users or passwords are the same; case counts.
fn same_escaped(a: Option<&str>, b: Option<&str>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => normal(a.as_bytes()).eq(normal(b.as_bytes())),
        (None, None) => true,
        _ => false,
    }
}

fn same_host(a: &Uri, b: &Uri) -> bool {
    match (a.host_ip(), b.host_ip()) {
        (Some(a), Some(b)) => a == b,
        (None, None) => a.host().eq_ignore_ascii_case(b.host()),
        _ => false,
    }
}

/// Whether parameters that both have are equal, and those in `strict` are in both or in neither.
fn same_params(a: &Uri, b: &Uri, strict: &[&str]) -> bool {
    let one_way = |a: &Uri, b: &Uri| {
        a.params().all(
            |param| match b.params().find(|other| same_text(other.name, param.name)) {
                Some(other) => same_text(
                    param.value.unwrap_or_default(),
                    other.value.unwrap_or_default(),
                ),
                None => !strict
                    .iter()
                    .any(|name| same_text(name.as_bytes(), param.name)),
            },
        )
    };
    one_way(a, b) && one_way(b, a)
}

/// Whether both carry the same headers after `?`, in any order.
fn same_headers(a: &Uri, b: &Uri) -> bool {
    let sorted = |uri: &Uri| {
        let mut all: Vec<(String, String)> = uri
            .headers()
            .into_iter()
            .flat_map(|text| text.split('&'))
            .map(|part| part.split_once('=').unwrap_or((part, "")))
            .map(|(name, value)| {
                (
                    unescape(name).to_ascii_lowercase(),
                    unescape(value).into_owned(),
                )
            })
            .collect();
        all.sort();
        all
    };
    sorted(a) == sorted(b)
}

/// A telephone number without its visual separators.
fn tel_digits(number: &str) -> String {
    number
        .chars()
        .filter(|c| !"-.()".contains(*c))
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

impl FromStr for Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        Self::parse(text)
    }
}

impl PartialEq for Uri {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Uri {}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uri({:?})", self.as_str())
    }
}
