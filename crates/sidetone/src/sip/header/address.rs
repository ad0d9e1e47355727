//! Addresses with display name and parameters: From, To, Contact, Route (RFC 3261 §20.10, §25.1).

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

use crate::sip::header::Problem;
use crate::sip::lex::{self, MAX_VALUE_BYTES, Params, Span};
use crate::sip::uri::Uri;

/// `"Display name" <uri>;parameters`, or `uri;parameters`.
///
/// It shares the bytes of the message that it came from; a clone costs one reference count. What
/// outlives the message by long calls [`NameAddr::detach`].
///
/// ```
/// use sidetone::sip::header::address::NameAddr;
///
/// let from: NameAddr = r#""Alice \"A\"" <sip:alice@atlanta.example;lr>;tag=88"#.parse()?;
/// assert_eq!(from.display_name().as_deref(), Some("Alice \"A\""));
/// assert_eq!(from.uri().user(), Some("alice"));
/// assert_eq!(from.tag(), Some("88"));
/// # Ok::<(), sidetone::sip::header::Problem>(())
/// ```
#[derive(Clone)]
pub struct NameAddr {
    /// Its buffer is the whole value, which the spans below index too.
    uri: Uri,
    display: Span,
    params: Span,
    /// The value of the first `tag` parameter.
    tag: Option<Span>,
}

impl NameAddr {
    /// The address `<uri>` without display name and parameters.
    pub fn new(uri: &Uri) -> Self {
        let text = format!("<{uri}>");
        let whole = Span::new(1, text.len() - 1);
        let end = Span::new(text.len(), text.len());
        match Uri::within(text.into(), whole) {
            Ok(uri) => Self {
                uri,
                display: Span::default(),
                params: end,
                tag: None,
            },
            // The same text was parsed before, so this cannot be reached; stay total all the same.
            Err(_) => Self {
                uri: uri.detach(),
                display: Span::default(),
                params: Span::default(),
                tag: None,
            },
        }
    }

    /// Parses one value, for instance that of a From header field.
    ///
    /// # Errors
    /// [`Problem`] says what breaks the grammar. Control bytes outside quoted pairs, CR and LF are
    /// refused.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        Self::from_bytes(Bytes::copy_from_slice(text.as_bytes()))
    }

    /// Parses one value and shares its bytes. Line folds must have been undone.
    ///
    /// # Errors
    /// As [`NameAddr::parse`].
    pub fn from_bytes(raw: Bytes) -> Result<Self, Problem> {
        if raw.len() > MAX_VALUE_BYTES {
            return Err(Problem::TooLong);
        }
        if raw.iter().any(|b| matches!(b, b'\r' | b'\n')) {
            return Err(Problem::Syntax("line break"));
        }
        Self::from_value(raw)
    }

    /// As [`NameAddr::from_value`], for From and To, whose tag must be a token.
    pub(crate) fn from_party(raw: Bytes) -> Result<Self, Problem> {
        let party = Self::from_value(raw)?;
        match party.tag.is_some() && party.tag().is_none() {
            true => Err(Problem::Syntax("tag is no token")),
            false => Ok(party),
        }
    }

    /// Parses one value of a message, whose bytes have been checked.
    pub(crate) fn from_value(raw: Bytes) -> Result<Self, Problem> {
        let start = lex::skip_lws(&raw, 0);
        let (display_end, open) = match raw.get(start) {
            Some(b'"') => {
                let end =
                    lex::quoted_end(&raw, start).ok_or(Problem::Syntax("unterminated quote"))?;
                check_quoted(&raw[start..end])?;
                (end, lex::skip_lws(&raw, end))
            }
            _ => match lex::find_either(&raw, b'<', b':') {
                Some(at) if raw[at] == b'<' => (check_tokens(&raw[..at], start)?, at),
                Some(_) => return Self::addr_spec(raw, start),
                None => return Err(Problem::Syntax("no URI")),
            },
        };
        if raw.get(open) != Some(&b'<') {
            return Err(Problem::Syntax("no < after the display name"));
        }
        let len = lex::find_byte(&raw[open..], b'>');
        let close = open + len.ok_or(Problem::Syntax("no > after the URI"))?;
        let params = Span::new(close + 1, raw.len());
        let tag = find_tag(&raw, params)?;
        let uri = Uri::within(raw, Span::new(open + 1, close))?;
        Ok(Self {
            uri,
            display: Span::new(start, display_end),
            params,
            tag,
        })
    }

    /// Parses `addr-spec *( SEMI param )`; here `;` ends the URI, and `?` and `,` may not stand in
    /// it (RFC 3261 §20.10).
    fn addr_spec(raw: Bytes, start: usize) -> Result<Self, Problem> {
        let len = raw[start..]
            .iter()
            .position(|&b| b == b';' || lex::is_lws(b));
        let end = len.map_or(raw.len(), |len| start + len);
        if raw[start..end].iter().any(|b| matches!(b, b'?' | b',')) {
            return Err(Problem::Syntax("URI with ? or , outside <>"));
        }
        let params = Span::new(end, raw.len());
        let tag = find_tag(&raw, params)?;
        let uri = Uri::within(raw, Span::new(start, end))?;
        Ok(Self {
            uri,
            display: Span::new(start, start),
            params,
            tag,
        })
    }

    /// The URI.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The display name without quotes and escapes. Bytes that are no UTF-8, and control
    /// characters, are replaced by U+FFFD. `None` where there is none or it is empty.
    pub fn display_name(&self) -> Option<Cow<'_, str>> {
        let text = lex::unquote(self.display.of(self.uri.raw()));
        if text.is_empty() {
            return None;
        }
        if !text.contains(char::is_control) {
            return Some(text);
        }
        let masked = text
            .chars()
            .map(|c| if c.is_control() { '\u{fffd}' } else { c });
        Some(Cow::Owned(masked.collect()))
    }

    /// The parameters after the URI, in order.
    pub fn params(&self) -> Params<'_> {
        Params::new(self.params.of(self.uri.raw()))
    }

    /// The value of the parameter `name`, unquoted; empty for one without a value.
    pub fn param(&self, name: &str) -> Option<Cow<'_, str>> {
        self.params().named(name).map(|param| param.text())
    }

    /// The tag; `None` where there is none or it is no token.
    pub fn tag(&self) -> Option<&str> {
        let tag = self.tag?.of(self.uri.raw());
        lex::is_token(tag)
            .then(|| std::str::from_utf8(tag).ok())
            .flatten()
    }

    /// The value as it stands on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        self.uri.raw()
    }

    /// The same address with `name` shown before it.
    ///
    /// # Errors
    /// [`Problem::Syntax`] for control characters, which nothing outside may inject.
    pub fn with_display_name(&self, name: &str) -> Result<Self, Problem> {
        if name.contains(char::is_control) {
            return Err(Problem::Syntax("control character in a display name"));
        }
        let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
        let mut text = format!("\"{quoted}\" <{}>", self.uri).into_bytes();
        text.extend_from_slice(self.params.of(self.uri.raw()));
        Self::from_bytes(text.into())
    }

    /// The same address with the parameter `name` set to `value`; one of that name is replaced.
    /// A value that is no token is quoted.
    ///
    /// # Errors
    /// [`Problem::Syntax`] for a name that is no token and for control characters in the value.
    pub fn with_param(&self, name: &str, value: Option<&str>) -> Result<Self, Problem> {
        let mut text = self.head_and_params_except(name);
        push_param(&mut text, name, value)?;
        Self::from_bytes(text.into())
    }

    /// The same address with this tag.
    ///
    /// # Errors
    /// [`Problem::Syntax`] where `tag` is no token.
    pub fn with_tag(&self, tag: &str) -> Result<Self, Problem> {
        if !lex::is_token(tag.as_bytes()) {
            return Err(Problem::Syntax("tag is no token"));
        }
        self.with_param("tag", Some(tag))
    }

    /// A copy that holds on to nothing but its own bytes.
    pub fn detach(&self) -> Self {
        let raw = Bytes::copy_from_slice(self.uri.raw());
        Uri::within(raw, self.uri.span()).map_or_else(
            |_| self.clone(),
            |uri| Self {
                uri,
                ..self.clone()
            },
        )
    }

    fn head_and_params_except(&self, name: &str) -> Vec<u8> {
        let raw = self.uri.raw();
        let mut text = raw[..self.params.start()].to_vec();
        for param in self.params().filter(|param| !param.is(name)) {
            text.push(b';');
            text.extend_from_slice(param.name);
            if let Some(value) = param.value {
                text.push(b'=');
                text.extend_from_slice(value);
            }
        }
        text
    }
}

/// Appends `;name=value`, quoting where need be.
pub(crate) fn push_param(
    text: &mut Vec<u8>,
    name: &str,
    value: Option<&str>,
) -> Result<(), Problem> {
    if !lex::is_token(name.as_bytes()) {
        return Err(Problem::Syntax("parameter name is no token"));
    }
    text.push(b';');
    text.extend_from_slice(name.as_bytes());
    let Some(value) = value else { return Ok(()) };
    if value.contains(char::is_control) {
        return Err(Problem::Syntax("control character in a parameter"));
    }
    text.push(b'=');
    if lex::is_gen_value(value.as_bytes()) {
        text.extend_from_slice(value.as_bytes());
        return Ok(());
    }
    text.push(b'"');
    for byte in value.bytes() {
        if matches!(byte, b'"' | b'\\') {
            text.push(b'\\');
        }
        text.push(byte);
    }
    text.push(b'"');
    Ok(())
}

/// Checks the parameters at `params`, and says where the value of the tag lies.
fn find_tag(raw: &[u8], params: Span) -> Result<Option<Span>, Problem> {
    let found = lex::scan_params(params.of(raw), "tag");
    let tag = found.ok_or(Problem::Syntax("invalid parameter"))?;
    Ok(tag.map(|tag| Span::locate(tag, raw)))
}

/// Refuses control bytes in a quoted string that no backslash precedes.
fn check_quoted(quoted: &[u8]) -> Result<(), Problem> {
    let mut escaped = false;
    for &byte in quoted {
        if !escaped && byte.is_ascii_control() && byte != b'\t' {
            return Err(Problem::Syntax("control byte in a display name"));
        }
        escaped = byte == b'\\' && !escaped;
    }
    Ok(())
}

/// Checks that an unquoted display name is tokens and white space, and says where it ends.
///
/// Bytes above ASCII are let through: many phones send names in UTF-8 without quotes.
fn check_tokens(head: &[u8], start: usize) -> Result<usize, Problem> {
    let ok = |b: u8| lex::is_token_byte(b) || lex::is_lws(b) || !b.is_ascii();
    if !head.iter().all(|&b| ok(b)) {
        return Err(Problem::Syntax("display name needs quotes"));
    }
    Ok(start + lex::trim(&head[start.min(head.len())..]).len())
}

impl FromStr for NameAddr {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        Self::parse(text)
    }
}

impl PartialEq for NameAddr {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for NameAddr {}

impl fmt::Display for NameAddr {
    /// Prints the value as it stands on the wire, but with control characters, which only quoted
    /// pairs can hold, as spaces: what is printed can go into a message again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = String::from_utf8_lossy(self.as_bytes());
        if !text.contains(char::is_control) {
            return f.write_str(&text);
        }
        f.write_str(&text.replace(char::is_control, " "))
    }
}

impl fmt::Debug for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "NameAddr({:?})",
            String::from_utf8_lossy(self.as_bytes())
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_understood() {
        let plain = NameAddr::parse("sip:alice@a.example;tag=1;x").unwrap();
        assert_eq!(
            (plain.uri().as_str(), plain.tag()),
            ("sip:alice@a.example", Some("1"))
        );
        assert_eq!(plain.display_name(), None);
        let tokens = NameAddr::parse("token1~` token2 <sip:a@b;x=1> ; tag = 2").unwrap();
        assert_eq!(tokens.display_name().as_deref(), Some("token1~` token2"));
        assert_eq!(
            (tokens.uri().as_str(), tokens.tag()),
            ("sip:a@b;x=1", Some("2"))
        );
        let tight = NameAddr::parse("caller<sip:caller@example.com>;tag=323").unwrap();
        assert_eq!(tight.display_name().as_deref(), Some("caller"));
        assert_eq!(
            NameAddr::parse("\"\" <sip:a@b>").unwrap().display_name(),
            None
        );
    }

    #[test]
    fn broken_addresses_are_refused() {
        for bad in [
            "",
            "alice",
            "\"open <sip:a@b>",
            "Bell, Alexander <sip:a@b>",
            "\"x\" sip:a@b",
            "<sip:a@b",
            "< sip:a@b >",
            "<sip:a@b> x",
            "<sip:a@b>;;",
            "<sip:a@b>;tag=\"x",
            "sip:a@b?Route=%3Csip:c%3E",
            "sip:a@b;tag=1\r\nX: y",
            "sip:a@b;tag=1;TAG=2",
            "\"a\0b\" <sip:a@b>",
        ] {
            assert!(NameAddr::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn control_characters_in_a_name_are_masked() {
        let addr = NameAddr::parse("\"BEL:\\\x07 NUL:\\\0 DEL:\\\x7f\" <sip:a@b>").unwrap();
        let name = addr.display_name().unwrap().into_owned();
        assert_eq!(name, "BEL:\u{fffd} NUL:\u{fffd} DEL:\u{fffd}");
        assert_eq!(addr.to_string(), "\"BEL:\\  NUL:\\  DEL:\\ \" <sip:a@b>");
    }

    #[test]
    fn parts_are_set_and_replaced() {
        let uri: Uri = "sip:a@b;x=1".parse().unwrap();
        let addr = NameAddr::new(&uri)
            .with_tag("1")
            .unwrap()
            .with_tag("2")
            .unwrap();
        assert_eq!(addr.to_string(), "<sip:a@b;x=1>;tag=2");
        let named = addr.with_display_name("O'Hara \"the\\one\"").unwrap();
        assert_eq!(named.display_name().as_deref(), Some("O'Hara \"the\\one\""));
        assert_eq!(named.tag(), Some("2"));
        let quoted = named.with_param("note", Some("two words")).unwrap();
        assert_eq!(quoted.param("note").as_deref(), Some("two words"));
        assert_eq!(quoted.detach(), quoted);
        assert!(addr.with_display_name("a\r\nX: y").is_err());
        assert!(addr.with_param("n", Some("a\r\nX: y")).is_err());
        assert!(addr.with_tag("a b").is_err());
    }
}
