//! Printing messages: canonical names, no line folds, CRLF only.

use bytes::Bytes;

use crate::sip::header::Name;
use crate::sip::message::{Kind, Message};

impl Message {
    /// The message printed again: canonical header names, one space after each colon, no line
    /// folds, unknown header fields kept in order. The body is the same.
    ///
    /// What was bad in a message stays bad, so only a message that [`Message::validate`] has
    /// passed is to be sent on. Printing is a fixed point: the printed message prints the same.
    pub fn print(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.bytes.len() + 64);
        match self.kind() {
            Kind::Request { method, uri } => {
                start_line(&mut out, &[method.as_str().as_bytes(), uri, b"SIP/2.0"])
            }
            Kind::Response { status, reason } => {
                let code = status.map_or(String::new(), |status| status.to_string());
                start_line(&mut out, &[b"SIP/2.0", code.as_bytes(), reason]);
            }
        }
        for header in self.headers() {
            row(&mut out, header.name, &header.value());
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.body());
        out.into()
    }
}

fn start_line(out: &mut Vec<u8>, parts: &[&[u8]; 3]) {
    out.extend_from_slice(parts[0]);
    out.push(b' ');
    out.extend_from_slice(parts[1]);
    out.push(b' ');
    out.extend_from_slice(parts[2]);
    out.extend_from_slice(b"\r\n");
}

/// Appends `Name: value` and CRLF.
pub(super) fn row(out: &mut Vec<u8>, name: Name<'_>, value: &[u8]) {
    out.reserve(name.as_str().len() + value.len() + 4);
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
