//! What makes a SIP session a recording session: the option tag, the feature tags, the bodies
//! (RFC 7866 §6, §9).

use bytes::Bytes;

use crate::sip::event::xml::{Element, Writer, XmlError};
use crate::sip::message::Message;
use crate::sip::message::multipart::{Part, print};
use crate::sip::siprec::metadata::{METADATA, Metadata};

/// The option tag of recording sessions (RFC 7866 §11.1.1).
pub const SIPREC: &str = "siprec";

/// The option tag of user agents that want to be told whether they are recorded (RFC 7866 §11.1.2).
pub const RECORD_AWARE: &str = "record-aware";

/// What a session recording client's Contact says (RFC 7866 §11.2.1), behind a semicolon.
pub const CLIENT: &str = ";+sip.src";

/// What a session recording server's Contact says (RFC 7866 §11.2.2), behind a semicolon.
pub const SERVER: &str = ";+sip.srs";

/// The media type of a request for all metadata (RFC 7866 §9.1).
pub const METADATA_REQUEST: &str = "application/rs-metadata-request";

/// How bodies of recording sessions are marked (RFC 7866 §9.1).
pub const DISPOSITION: &str = "recording-session";

/// The longest reason of a request for metadata that is kept.
const MAX_REASON: usize = 256;

/// Whether an INVITE asks to be recorded: it requires `siprec`, and comes from a session recording
/// client. Only both together make a recording session (RFC 7866 §6.1.2).
pub fn comes_from_client(invite: &Message) -> bool {
    requires_siprec(invite) && has_feature(invite, CLIENT)
}

/// Whether a message requires the extension.
pub fn requires_siprec(message: &Message) -> bool {
    message
        .require()
        .any(|tag| tag.eq_ignore_ascii_case(SIPREC))
}

/// Whether the peer is a session recording server, by its answer or request.
pub fn comes_from_server(message: &Message) -> bool {
    has_feature(message, SERVER)
}

/// Whether a party wants to be told whether it is recorded (RFC 7866 §6.2).
pub fn wants_to_know(message: &Message) -> bool {
    let mut tags = message.supported();
    tags.any(|tag| tag.eq_ignore_ascii_case(RECORD_AWARE))
}

fn has_feature(message: &Message, feature: &str) -> bool {
    let name = feature.trim_start_matches(';');
    let mut contacts = message.contacts().take(4).filter_map(Result::ok);
    contacts.any(|contact| contact.param(name).is_some())
}

/// The metadata that a message brings; `None` where it brings none.
///
/// # Errors
/// [`XmlError`] where it cannot be read; the blame is the peer's.
pub fn metadata_of(message: &Message) -> Option<Result<Metadata, XmlError>> {
    let part = message.part("application", "rs-metadata+xml");
    let part = part.or_else(|| message.part("application", "rs-metadata"))?;
    Some(Metadata::parse(&part))
}

/// The reason that a server gives where it asks for all metadata, empty where it gives none; `None`
/// where the message does not ask.
pub fn request_of(message: &Message) -> Option<String> {
    let body = message.part("application", "rs-metadata-request")?;
    let root = Element::parse(&body).ok();
    let root = root.filter(|root| root.name == "requestsnapshot");
    let reason = root.and_then(|root| {
        let reason = root.text_of("requestreason")?;
        Some(reason.chars().take(MAX_REASON).collect())
    });
    Some(reason.unwrap_or_default())
}

/// A request for all metadata (RFC 7866 §9.2, §10).
pub fn snapshot_request(reason: &str) -> String {
    let mut writer = Writer::new();
    writer.open("requestsnapshot");
    writer.attribute("xmlns", "urn:ietf:params:xml:ns:recording:1");
    if !reason.is_empty() {
        writer.leaf("requestreason", reason);
    }
    writer.finish()
}

/// The type and the bytes of a body with a description and metadata.
pub fn body(description: &str, metadata: &str) -> (String, Bytes) {
    let description = Part::new("application/sdp", description.to_owned());
    let metadata = Part::new(METADATA, metadata.to_owned()).disposed(DISPOSITION);
    let (content_type, bytes) = print(&[description, metadata]);
    (content_type, bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invite(extra: &str) -> Message {
        let text = format!(
            "INVITE sip:srs@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\r\n\
             From: <sip:a@x>;tag=1\r\nTo: <sip:b@x>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n{extra}\r\n"
        );
        Message::parse(text.into_bytes().into()).unwrap()
    }

    #[test]
    fn both_tags_together_make_a_recording_session() {
        for (extra, is) in [
            (
                "Require: siprec\r\nContact: <sip:a@192.0.2.9>;+sip.src\r\n",
                true,
            ),
            (
                "Require: 100rel, SIPREC\r\nContact: <sip:a@192.0.2.9>;+SIP.src;x=y\r\n",
                true,
            ),
            ("Require: siprec\r\nContact: <sip:a@192.0.2.9>\r\n", false),
            (
                "Supported: siprec\r\nContact: <sip:a@192.0.2.9>;+sip.src\r\n",
                false,
            ),
            (
                "Require: siprec\r\nContact: <sip:a@192.0.2.9>;+sip.srs\r\n",
                false,
            ),
        ] {
            assert_eq!(comes_from_client(&invite(extra)), is, "{extra}");
        }
    }

    #[test]
    fn a_request_for_metadata_is_read_back() {
        let ask = |body: &str| {
            let extra = format!("Content-Type: {METADATA_REQUEST}\r\n\r\n{body}");
            let text = String::from_utf8(invite("").as_bytes().to_vec()).unwrap();
            let text = text.trim_end().to_owned() + "\r\n" + &extra;
            request_of(&Message::parse(text.into_bytes().into()).unwrap())
        };
        assert_eq!(
            ask(&snapshot_request("lost <it>")).as_deref(),
            Some("lost <it>")
        );
        assert_eq!(ask(&snapshot_request("")).as_deref(), Some(""));
        assert_eq!(request_of(&invite("")), None);
    }
}
