//! The parser: one pass over start line and header field rows.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::sip::header::Known;
use crate::sip::lex::{self, Span};
use crate::sip::message::validate::Defect;
use crate::sip::message::{
    MAX_HEADER_BYTES, MAX_HEADERS, MAX_MESSAGE_BYTES, Memo, Message, ParseError, Row, StartLine,
};
use crate::sip::method::Method;
use crate::sip::status::StatusCode;
use crate::sip::uri::MAX_URI_BYTES;

pub(super) fn parse(bytes: Bytes) -> Result<Message, ParseError> {
    let blank = bytes
        .iter()
        .take_while(|b| matches!(b, b'\r' | b'\n'))
        .count();
    let bytes = match blank {
        0 => bytes,
        _ => bytes.slice(blank..),
    };
    if bytes.is_empty() {
        return Err(ParseError::Empty);
    }
    if bytes.len() > MAX_MESSAGE_BYTES {
        return Err(ParseError::TooLarge);
    }
    let mut lines = Lines {
        bytes: &bytes,
        at: 0,
        defect: None,
    };
    let first = lines.next().ok_or(ParseError::NotSip)?;
    let (start, start_defect) = start_line(&bytes, first)?;
    let mut rows = Rows {
        bytes: &bytes,
        rows: SmallVec::new(),
        defect: None,
    };
    let mut ended = false;
    for line in &mut lines {
        if line.start() == line.end() {
            ended = true;
            break;
        }
        if !rows.push(line) {
            break;
        }
    }
    let Rows {
        rows,
        defect: row_defect,
        ..
    } = rows;
    let (head_end, line_defect) = (lines.at, lines.defect);
    let defect = start_defect.or(line_defect).or(row_defect);
    let defect = defect.or((!ended).then_some(Defect::Unterminated));
    let mut message = Message {
        start,
        rows,
        body: Span::new(head_end, bytes.len()),
        defect,
        bytes,
        memo: Memo::default(),
    };
    settle_body(&mut message);
    Ok(message)
}

/// Ends the body where Content-Length says (RFC 3261 §18.3).
fn settle_body(message: &mut Message) {
    let start = message.body.start();
    let available = message.body.end() - start;
    let mut values = message.header_values(Known::ContentLength);
    let Some(value) = values.next() else { return };
    let length = lex::number(value, u64::MAX);
    let repeated = values.next().is_some();
    drop(values);
    let defect = match length {
        _ if repeated => Some(Defect::RepeatedContentLength),
        None => Some(Defect::ContentLength),
        Some(length) if length > available as u64 => Some(Defect::ShortBody),
        Some(length) => {
            let end = start + length as usize;
            message.body = Span::new(start, end);
            message.bytes.truncate(end);
            None
        }
    };
    message.defect = message.defect.or(defect);
}

/// Parses `line`, the first one. A defect is what a 400 or 505 can still be sent for.
fn start_line(bytes: &Bytes, line: Span) -> Result<(StartLine, Option<Defect>), ParseError> {
    let text = line.of(bytes);
    match text.get(..4) {
        Some(prefix) if prefix.eq_ignore_ascii_case(b"SIP/") => status_line(text, line.start()),
        _ => request_line(bytes, line),
    }
}

/// `SIP-Version SP Status-Code SP Reason-Phrase`.
fn status_line(text: &[u8], at: usize) -> Result<(StartLine, Option<Defect>), ParseError> {
    let version = text
        .iter()
        .position(|&b| b == b' ')
        .ok_or(ParseError::NotSip)?;
    let digits = text[version + 1..]
        .iter()
        .take_while(|b| b.is_ascii_digit())
        .count();
    let code_end = version + 1 + digits;
    let code = lex::number(&text[version + 1..code_end], 699);
    let status = code.and_then(|code| StatusCode::new(code as u16));
    // The space before an empty reason phrase is left out by some; nothing is unclear without it.
    let reason = match text.get(code_end) {
        None => Span::new(at + code_end, at + code_end),
        Some(b' ') => Span::new(at + code_end + 1, at + text.len()),
        Some(_) => return Err(ParseError::NotSip),
    };
    let defect = match status {
        _ if !is_version(&text[..version]) => Some(Defect::Version),
        Some(_) if digits == 3 => None,
        _ => Some(Defect::StatusCode),
    };
    Ok((StartLine::Response { status, reason }, defect))
}

/// `Method SP Request-URI SP SIP-Version`.
fn request_line(bytes: &Bytes, line: Span) -> Result<(StartLine, Option<Defect>), ParseError> {
    let text = line.of(bytes);
    let trimmed = lex::trim(text);
    let method_len = text
        .iter()
        .position(|&b| b == b' ')
        .ok_or(ParseError::NotSip)?;
    let last_space = trimmed
        .iter()
        .rposition(|&b| b == b' ')
        .ok_or(ParseError::NotSip)?;
    let version = &trimmed[last_space + 1..];
    if !version
        .get(..4)
        .is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"SIP/"))
    {
        return Err(ParseError::NotSip);
    }
    let method = match Method::known(&text[..method_len]) {
        Some(method) => method,
        None => Method::from_bytes(bytes.slice(line.start()..line.start() + method_len))
            .ok_or(ParseError::NotSip)?,
    };
    let uri_start = method_len + 1;
    let uri = text.get(uri_start..last_space).unwrap_or_default();
    let bare = lex::trim(uri);
    let bare_start = lex::skip_lws(text, uri_start).min(uri_start + uri.len());
    let span = Span::new(
        line.start() + bare_start,
        line.start() + bare_start + bare.len(),
    );
    let defect = if !is_version(version) {
        Some(Defect::Version)
    } else if trimmed.len() != text.len() || bare.len() != uri.len() || bare.is_empty() {
        Some(Defect::RequestLine)
    } else if bare.len() > MAX_URI_BYTES {
        Some(Defect::LongRequestUri)
    } else {
        None
    };
    Ok((StartLine::Request { method, uri: span }, defect))
}

fn is_version(text: &[u8]) -> bool {
    text.eq_ignore_ascii_case(b"SIP/2.0")
}

/// Header field rows as they are found.
struct Rows<'a> {
    bytes: &'a Bytes,
    rows: SmallVec<[Row; super::INLINE_HEADERS]>,
    defect: Option<Defect>,
}

impl Rows<'_> {
    /// Takes one line that is not empty; `false` where no more are taken.
    fn push(&mut self, line: Span) -> bool {
        let text = line.of(self.bytes);
        if matches!(text.first(), Some(b' ' | b'\t')) {
            self.fold(line);
            return true;
        }
        if self.rows.len() == MAX_HEADERS {
            self.note(Defect::TooManyHeaders);
            return false;
        }
        match row(text, line.start()) {
            Some(row) => {
                if row.value.end() - row.name.start() > MAX_HEADER_BYTES {
                    self.note(Defect::LongHeader);
                }
                if self.rows.len() == self.rows.inline_size() {
                    // One allocation takes in all that may still come.
                    self.rows.reserve(MAX_HEADERS - self.rows.len());
                }
                self.rows.push(row);
            }
            None => self.note(Defect::HeaderLine),
        }
        true
    }

    /// Adds a line that continues the row before it (RFC 3261 §7.3.1).
    fn fold(&mut self, line: Span) {
        let Some(row) = self.rows.last_mut() else {
            return self.note(Defect::HeaderLine);
        };
        let text = line.of(self.bytes);
        let lead = lex::skip_lws(text, 0);
        let trimmed = lex::trim(text).len();
        if trimmed == 0 {
            return;
        }
        let (start, end) = (line.start() + lead, line.start() + lead + trimmed);
        if row.value.start() == row.value.end() {
            row.value = Span::new(start, end);
        } else {
            row.value = Span::new(row.value.start(), end);
            row.folded = true;
        }
        if row.value.end() - row.name.start() > MAX_HEADER_BYTES {
            self.note(Defect::LongHeader);
        }
    }

    fn note(&mut self, defect: Defect) {
        self.defect = self.defect.or(Some(defect));
    }
}

/// `name HCOLON value` at `at`; the only white space before the colon is SP and HTAB.
fn row(text: &[u8], at: usize) -> Option<Row> {
    let colon = lex::find_byte(text, b':')?;
    let mut name = &text[..colon];
    while let [rest @ .., b' ' | b'\t'] = name {
        name = rest;
    }
    let known = Known::find(name);
    if known == Known::Other && !lex::is_token(name) {
        return None;
    }
    let start = lex::skip_lws(text, colon + 1);
    let len = lex::trim_end(&text[start..]).len();
    Some(Row {
        name: Span::new(at, at + name.len()),
        value: Span::new(at + start, at + start + len),
        known,
        folded: false,
    })
}

/// The lines of a message's head, without their CRLF.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The first byte that no line may have, if any was seen.
    defect: Option<Defect>,
}

impl Iterator for Lines<'_> {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        let start = self.at;
        if start == self.bytes.len() {
            return None;
        }
        let mut i = start;
        loop {
            i = lex::find_control(self.bytes, i);
            match self.bytes.get(i) {
                None => {
                    self.at = i;
                    self.note(Defect::Unterminated);
                    return Some(Span::new(start, i));
                }
                Some(b'\r') if self.bytes.get(i + 1) == Some(&b'\n') => {
                    self.at = i + 2;
                    return Some(Span::new(start, i));
                }
                Some(b'\n') => {
                    self.note(Defect::BareLineFeed);
                    self.at = i + 1;
                    return Some(Span::new(start, i));
                }
                Some(b'\t') => {}
                Some(b'\r') => self.note(Defect::BareCarriageReturn),
                Some(_) if is_quoted_pair(&self.bytes[start..i]) => {}
                Some(_) => self.note(Defect::ControlByte),
            }
            i += 1;
        }
    }
}

impl Lines<'_> {
    fn note(&mut self, defect: Defect) {
        self.defect = self.defect.or(Some(defect));
    }
}

/// Whether the byte after `before` is escaped by a backslash inside a quoted string, where all of
/// ASCII but CR and LF may stand (RFC 3261 §25.1, RFC 4475 §3.1.1.2).
fn is_quoted_pair(before: &[u8]) -> bool {
    let (mut quoted, mut escaped) = (false, false);
    for &byte in before {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
    }
    quoted && escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_pairs_need_quotes_and_a_live_backslash() {
        assert!(is_quoted_pair(b"To: \"a\\"));
        assert!(!is_quoted_pair(b"To: \"a\\\\"));
        assert!(!is_quoted_pair(b"To: a\\"));
        assert!(!is_quoted_pair(b"To: \"a\" \\"));
    }
}
