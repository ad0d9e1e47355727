//! The messages of a scripted user agent, written as text: nothing of the engine's own builders.

use std::fmt::Write as _;

use bytes::Bytes;
use sidetone::sip::header::Name;
use sidetone::sip::message::Message;

/// The headers of a message in the making, and its body.
#[derive(Debug)]
pub(super) struct Draft(String);

impl Draft {
    pub(super) fn request(method: &str, uri: &str) -> Self {
        Self(format!("{method} {uri} SIP/2.0\r\n"))
    }

    /// A response with the headers that RFC 3261 §8.2.6 copies from the request.
    pub(super) fn response(request: &Message, status: u16, to_tag: Option<&str>) -> Self {
        let mut draft = Self(format!("SIP/2.0 {status} {}\r\n", reason(status)));
        for name in [Name::Via, Name::RecordRoute] {
            for header in request.header_all(name) {
                draft = draft.header(name.as_str(), header.text());
            }
        }
        for name in [Name::From, Name::To, Name::CallId, Name::CSeq] {
            let Some(header) = request.header(name) else {
                continue;
            };
            let value = header.text().into_owned();
            let value = match (name, to_tag) {
                (Name::To, Some(tag)) if !has_tag(&value) => format!("{value};tag={tag}"),
                _ => value,
            };
            draft = draft.header(name.as_str(), value);
        }
        draft
    }

    pub(super) fn header(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        // Writing to a string cannot fail.
        let _ = write!(self.0, "{name}: {value}\r\n");
        self
    }

    /// Header lines as a script wrote them.
    pub(super) fn lines(mut self, lines: &[String]) -> Self {
        for line in lines {
            self.0.push_str(line);
            self.0.push_str("\r\n");
        }
        self
    }

    /// Ends the message, with a session description where there is one.
    pub(super) fn end(self, sdp: Option<&str>) -> Bytes {
        match sdp {
            Some(sdp) => self.end_with("application/sdp", sdp),
            None => self.end_with("", ""),
        }
    }

    /// Ends the message with this body.
    pub(super) fn end_with(mut self, content_type: &str, body: &str) -> Bytes {
        if !content_type.is_empty() {
            let _ = write!(self.0, "Content-Type: {content_type}\r\n");
        }
        let _ = write!(self.0, "Content-Length: {}\r\n\r\n{body}", body.len());
        Bytes::from(self.0)
    }
}

fn has_tag(value: &str) -> bool {
    value.to_ascii_lowercase().contains(";tag=")
}

fn reason(status: u16) -> &'static str {
    sidetone::sip::status::StatusCode::new(status).map_or("", |status| status.reason_phrase())
}

/// The value of a header as text; empty where there is none.
pub(super) fn value(message: &Message, name: Name<'_>) -> String {
    message
        .header(name)
        .map(|header| header.text().trim().to_owned())
        .unwrap_or_default()
}

/// The number and the method of CSeq.
pub(super) fn cseq(message: &Message) -> Option<(u32, String)> {
    let value = value(message, Name::CSeq);
    let (number, method) = value.split_once(' ')?;
    Some((number.trim().parse().ok()?, method.trim().to_owned()))
}

/// The branch of the top Via.
pub(super) fn branch(message: &Message) -> Option<String> {
    let via = message.top_via().ok()?;
    via.branch().map(str::to_owned)
}

/// The tag in a From or To header.
pub(super) fn tag(value: &str) -> Option<String> {
    let start = value.to_ascii_lowercase().find(";tag=")? + 5;
    let rest = &value[start..];
    let end = rest.find([';', '>', ' ']).unwrap_or(rest.len());
    Some(rest[..end].to_owned())
}

/// The URI in a Contact, Route or similar header.
pub(super) fn uri(value: &str) -> String {
    match value.split_once('<') {
        Some((_, rest)) => rest.split('>').next().unwrap_or_default().to_owned(),
        None => value
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned(),
    }
}

/// The session description in a message.
pub(super) fn sdp(message: &Message) -> Option<String> {
    let body = message.body();
    (!body.is_empty()).then(|| String::from_utf8_lossy(&body).into_owned())
}
