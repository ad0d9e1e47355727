//! Bodies of several parts: `multipart/mixed` and its kin (RFC 2046 §5.1, RFC 5621).

use std::fmt;

use bytes::Bytes;

use crate::sip::header::value::MediaType;
use crate::sip::message::Message;

/// The most parts that are looked at.
pub const MAX_PARTS: usize = 16;

/// The most levels of multiparts within multiparts that are looked into.
const MAX_DEPTH: u8 = 3;

/// The longest boundary (RFC 2046 §5.1.1).
const MAX_BOUNDARY: usize = 70;

/// The longest header of a part.
const MAX_PART_HEAD: usize = 2 * 1024;

/// One part of a body.
#[derive(Clone, PartialEq, Eq)]
pub struct Part {
    content_type: String,
    body: Bytes,
    disposition: Option<&'static str>,
}

/// Shows the type and the length: the body may hold keys.
impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part")
            .field("content_type", &self.content_type)
            .field("bytes", &self.body.len())
            .finish()
    }
}

impl Part {
    /// A part of this type.
    pub fn new(content_type: &str, body: impl Into<Bytes>) -> Self {
        let plain = |c: &char| !c.is_control();
        Self {
            content_type: content_type.chars().filter(plain).collect(),
            body: body.into(),
            disposition: None,
        }
    }

    /// The same, for this use: the value of Content-Disposition (RFC 5621 §3).
    #[must_use]
    pub fn disposed(mut self, disposition: &'static str) -> Self {
        self.disposition = Some(disposition);
        self
    }

    /// The same, which a recipient may ignore where it does not know the type (RFC 5621 §8.2).
    #[must_use]
    pub fn optional(self) -> Self {
        self.disposed("render;handling=optional")
    }

    /// The value of Content-Type; `text/plain` where the part says nothing.
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// The content.
    pub fn body(&self) -> &Bytes {
        &self.body
    }
}

/// The value of Content-Type and the body of `parts`, as `multipart/mixed`. The boundary stands in none
/// of the parts.
///
/// ```
/// use sidetone::sip::message::multipart::{Part, parts, print};
/// let sdp = Part::new("application/sdp", "v=0\r\n");
/// let text = Part::new("text/plain", "Hello").optional();
/// let (content_type, body) = print(&[sdp.clone(), text]);
/// let read = parts(&content_type, &body.into()).unwrap();
/// assert_eq!(read[0], sdp);
/// assert_eq!(&read[1].body()[..], b"Hello");
/// ```
pub fn print(parts: &[Part]) -> (String, Vec<u8>) {
    let boundary = boundary_for(parts);
    let mut body = Vec::new();
    for part in parts {
        body.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
        body.extend_from_slice(format!("Content-Type: {}\r\n", part.content_type).as_bytes());
        if let Some(disposition) = part.disposition {
            body.extend_from_slice(format!("Content-Disposition: {disposition}\r\n").as_bytes());
        }
        body.extend_from_slice(b"\r\n");
        body.extend_from_slice(&part.body);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    (format!("multipart/mixed;boundary={boundary}"), body)
}

fn boundary_for(parts: &[Part]) -> String {
    let stands_in = |boundary: &str| {
        parts
            .iter()
            .any(|part| find(&part.body, boundary.as_bytes(), 0).is_some())
    };
    let mut number: u64 = 0;
    loop {
        let boundary = format!("sidetone-part-{number}");
        if !stands_in(&boundary) {
            return boundary;
        }
        number += 1;
    }
}

/// The parts of a body by its Content-Type; `None` where it is no multipart or breaks the rules: no
/// boundary, no end, more than [`MAX_PARTS`].
pub fn parts(content_type: &str, body: &Bytes) -> Option<Vec<Part>> {
    let media_type = MediaType::parse(content_type).ok()?;
    parts_of(&media_type, body)
}

fn parts_of(media_type: &MediaType, body: &Bytes) -> Option<Vec<Part>> {
    if !media_type.kind().eq_ignore_ascii_case("multipart") {
        return None;
    }
    let boundary = media_type.param("boundary")?;
    if boundary.is_empty() || boundary.len() > MAX_BOUNDARY {
        return None;
    }
    let delimiter = format!("--{boundary}");
    let mut at = next_delimiter(body, delimiter.as_bytes(), 0)?.1;
    let mut parts = Vec::new();
    loop {
        let tail = body.get(at..)?;
        if tail.starts_with(b"--") {
            return Some(parts);
        }
        if parts.len() >= MAX_PARTS {
            return None;
        }
        let padding = tail
            .iter()
            .take_while(|b| matches!(b, b' ' | b'\t'))
            .count();
        let start = at + padding + line_break(&tail[padding..])?;
        // The line break before a delimiter belongs to it; a part without a header may have no other.
        let (end, after) = next_delimiter(body, delimiter.as_bytes(), start)?;
        parts.push(part(&body.slice(start..end.max(start)))?);
        at = after;
    }
}

/// Where the content before the next delimiter line ends, and where that line goes on after the
/// delimiter.
fn next_delimiter(body: &[u8], delimiter: &[u8], from: usize) -> Option<(usize, usize)> {
    let mut at = from;
    loop {
        let found = find(body, delimiter, at)?;
        let after = found + delimiter.len();
        let ends = matches!(body.get(after), Some(b'\r' | b'\n' | b' ' | b'\t'))
            || body[after..].starts_with(b"--");
        let before = body.get(..found)?;
        let starts = found == from || before.ends_with(b"\n");
        if starts && ends {
            let end = match before {
                [.., b'\r', b'\n'] => found - 2,
                [.., b'\n'] => found - 1,
                _ => found,
            };
            return Some((end, after));
        }
        at = found + 1;
    }
}

/// A part: header rows, an empty line, the content.
fn part(bytes: &Bytes) -> Option<Part> {
    let mut content_type = "text/plain".to_owned();
    let mut at = 0;
    loop {
        let rest = bytes.get(at..)?;
        let len = rest.iter().position(|&b| b == b'\n');
        let Some(len) = len.filter(|len| at + len <= MAX_PART_HEAD) else {
            // No empty line: nothing but a header.
            return rest
                .is_empty()
                .then(|| Part::new(&content_type, Bytes::new()));
        };
        let line = rest[..len].strip_suffix(b"\r").unwrap_or(&rest[..len]);
        at += len + 1;
        if line.is_empty() {
            return Some(Part::new(&content_type, bytes.slice(at..)));
        }
        let line = std::str::from_utf8(line).ok()?;
        let (name, value) = line.split_once(':')?;
        if name.trim().eq_ignore_ascii_case("content-type") {
            content_type = value.trim().to_owned();
        }
    }
}

fn line_break(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [b'\r', b'\n', ..] => Some(2),
        [b'\n', ..] => Some(1),
        _ => None,
    }
}

fn find(haystack: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    let tail = haystack.get(from..)?;
    let found = tail
        .windows(needle.len())
        .position(|window| window == needle);
    found.map(|at| from + at)
}

impl Message {
    /// The body, or the first part of it, that is of the type `kind/subtype`; `None` where there is
    /// none.
    pub fn part(&self, kind: &str, subtype: &str) -> Option<Bytes> {
        let media_type = self.content_type().ok().flatten()?;
        find_part(&media_type, &self.body(), (kind, subtype), MAX_DEPTH)
    }

    /// The session description: the body of type `application/sdp`, or the part of that type; empty
    /// where there is none. A body without a type is taken for one.
    pub fn description(&self) -> Bytes {
        match self.content_type() {
            Ok(None) => self.body(),
            _ => self.part("application", "sdp").unwrap_or_default(),
        }
    }
}

fn find_part(
    media_type: &MediaType,
    body: &Bytes,
    wanted: (&str, &str),
    depth: u8,
) -> Option<Bytes> {
    if media_type.is(wanted.0, wanted.1) {
        return Some(body.clone());
    }
    let depth = depth.checked_sub(1)?;
    parts_of(media_type, body)?.iter().find_map(|part| {
        let media_type = MediaType::parse(&part.content_type).ok()?;
        find_part(&media_type, &part.body, wanted, depth)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content_type: &str, body: &str) -> Option<Vec<(String, String)>> {
        let parts = parts(content_type, &Bytes::copy_from_slice(body.as_bytes()))?;
        let text = |part: &Part| String::from_utf8_lossy(&part.body).into_owned();
        let shown = parts
            .iter()
            .map(|part| (part.content_type.clone(), text(part)));
        Some(shown.collect())
    }

    #[test]
    fn parts_are_read_as_the_rfc_shows_them() {
        let body = "preamble\r\n--b1 \r\nContent-Type: application/sdp\r\nX: y\r\n\r\nv=0\r\n\r\n\
            --b1\r\n\r\nplain --b1\r\n--b1x\r\n--b1--\r\nepilogue";
        let read = read("Multipart/Mixed;boundary=\"b1\"", body).unwrap();
        assert_eq!(read[0], ("application/sdp".into(), "v=0\r\n".into()));
        assert_eq!(read[1], ("text/plain".into(), "plain --b1\r\n--b1x".into()));
        assert_eq!(read.len(), 2);
    }

    #[test]
    fn what_breaks_the_rules_is_refused() {
        let long = "b".repeat(MAX_BOUNDARY + 1);
        for content_type in [
            "application/sdp;boundary=b",
            "multipart/mixed",
            "multipart/mixed;boundary=\"\"",
            &format!("multipart/mixed;boundary={long}"),
            "x",
        ] {
            let body = format!("--b\r\n\r\nx\r\n--b--\r\n--{long}--");
            assert_eq!(read(content_type, &body), None, "{content_type}");
        }
        for body in [
            "",
            "--b",
            "--b\r\n\r\nx",
            "--bx\r\n--b--x",
            "--b\r\nno colon\r\n\r\nx\r\n--b--",
        ] {
            let read = read("multipart/mixed;boundary=b", body);
            assert!(read.is_none_or(|parts| parts.is_empty()), "{body:?}");
        }
        let many = "--b\r\n\r\nx\r\n".repeat(MAX_PARTS + 1);
        assert_eq!(
            read("multipart/mixed;boundary=b", &format!("{many}--b--")),
            None
        );
    }

    #[test]
    fn nesting_is_bounded() {
        let mut part = Part::new("application/sdp", "v=0");
        for level in 0..10 {
            let (content_type, body) = print(&[part]);
            let found = find_part(
                &MediaType::parse(&content_type).unwrap(),
                &body.clone().into(),
                ("application", "sdp"),
                MAX_DEPTH,
            );
            assert_eq!(found.is_some(), level < MAX_DEPTH, "{level}");
            part = Part::new(&content_type, body);
        }
    }

    #[test]
    fn any_content_reads_back() {
        let hostile = b"--sidetone-part-0--\r\n--sidetone-part-1\r\n\0\xff".to_vec();
        for body in [Vec::new(), b"\r\n".to_vec(), b"--".to_vec(), hostile] {
            let part = Part::new("application/x\r\nEvil: y", body);
            let all = [part.clone(), part.optional()];
            let (content_type, printed) = print(&all);
            let read = parts(&content_type, &printed.into()).unwrap();
            assert_eq!(read.len(), 2);
            assert!(read.iter().zip(&all).all(|(a, b)| a.body == b.body));
        }
    }
}
