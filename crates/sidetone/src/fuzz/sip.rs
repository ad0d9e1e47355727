//! SIP messages and streams: nothing panics, printing keeps the meaning, answers inject nothing.

use bytes::Bytes;

use crate::sip::frame::{Deframer, Frame, FrameError};
use crate::sip::header::Name;
use crate::sip::header::address::NameAddr;
use crate::sip::header::via::Via;
use crate::sip::message::build::{BuildError, RequestBuilder, ResponseBuilder};
use crate::sip::message::{Kind, Message};
use crate::sip::method::Method;
use crate::sip::overload::feedback::Feedback;
use crate::sip::status::StatusCode;
use crate::sip::uri::Uri;

/// A datagram: parsed, read in every way, printed, answered.
pub fn message(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        values(text);
    }
    let Ok(message) = Message::parse(Bytes::copy_from_slice(data)) else {
        return;
    };
    let view = policy_view(&message);
    let valid = message.validate();
    if valid.is_ok() {
        let printed = message.print();
        let again = Message::parse(printed.clone()).expect("a printed message parses");
        assert_eq!(view, policy_view(&again), "printing changed the meaning");
        assert_eq!(again.print(), printed, "printing is no fixed point");
        assert_eq!(again.validate(), Ok(()), "printing made it invalid");
    }
    if message.is_request() {
        answer(&message);
    }
}

/// A stream: whatever the pieces it comes in, the same messages come out, and the same error.
pub fn stream(data: &[u8]) {
    let Some((&size, data)) = data.split_first() else {
        return;
    };
    let whole = frames([data].into_iter());
    // Whether a lone CRLF at the end of a piece is a pong or half a ping depends on the pieces.
    let pieces = frames(data.chunks(usize::from(size).max(1)));
    assert_eq!(whole.0, pieces.0, "messages depend on the pieces");
    assert_eq!(whole.1, pieces.1, "the error depends on the pieces");
}

fn frames<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Bytes>, Option<FrameError>) {
    let mut deframer = Deframer::new();
    let mut messages = Vec::new();
    for piece in pieces {
        deframer.push(piece);
        loop {
            match deframer.poll() {
                Ok(Some(Frame::Message(message))) => messages.push(message.as_bytes().clone()),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
    }
    (messages, None)
}

/// Values outside a message: what parses prints the same and survives a copy.
fn values(text: &str) {
    if let Ok(uri) = text.parse::<Uri>() {
        assert_eq!(uri.as_str(), text);
        assert!(uri.is_equivalent(&uri.detach()));
        let _ = (
            uri.user_decoded(),
            uri.host_ip(),
            uri.password(),
            uri.port(),
            uri.headers(),
        );
        assert!(uri.params().all(|param| !param.name.is_empty()));
        assert!(uri.without_headers().headers().is_none());
        assert_eq!(NameAddr::new(&uri).uri(), &uri);
    }
    if let Ok(address) = text.parse::<NameAddr>() {
        assert_eq!(address.detach(), address);
        let tagged = address.with_tag("t").expect("a tag can be set");
        assert_eq!(tagged.tag(), Some("t"));
        assert_eq!(tagged.uri(), address.uri());
        let named = address.with_display_name(text);
        assert!(
            named.is_ok_and(|named| named.uri() == address.uri())
                || text.len() > 2000
                || text.contains(char::is_control)
        );
    }
    if let Ok(via) = text.parse::<Via>() {
        let stamped = via.stamped("192.0.2.1:5060".parse().expect("an address"), None);
        let stamped = String::from_utf8(stamped).expect("text stays text");
        let again: Via = stamped.parse().expect("a stamped Via parses");
        assert_eq!((again.host(), again.branch()), (via.host(), via.branch()));
        if let Some(told) = Feedback::read(&via) {
            let again = format!("SIP/2.0/UDP h;branch=z9hG4bK1{told}");
            let again: Via = again.parse().expect("feedback parses");
            assert_eq!(Feedback::read(&again), Some(told));
        }
    }
    injected(text);
}

/// Whatever text is put into a header field comes out the same, or is refused.
fn injected(text: &str) {
    let uri: Uri = "sip:a@b.example".parse().expect("a URI");
    let built = RequestBuilder::new(Method::Info, &uri)
        .header(Name::Subject, text)
        .header(Name::Other("X-Text"), text)
        .body("text/plain", text)
        .build();
    match built {
        Ok(message) => {
            let rows: Vec<_> = message.headers().map(|header| header.text()).collect();
            assert_eq!(rows.len(), 4, "a header field was injected");
            assert_eq!(rows[0], text.trim_matches([' ', '\t']));
            assert_eq!(rows[1], rows[0]);
            assert_eq!(&message.body()[..], text.as_bytes());
        }
        Err(BuildError::ControlByte { .. }) => assert!(text.contains(char::is_control)),
        Err(error) => assert!(text.len() > 20_000, "{error}"),
    }
}

/// Any request, however broken, can be answered without passing on an injection.
fn answer(request: &Message) {
    let response = ResponseBuilder::for_request(request, StatusCode::BAD_REQUEST)
        .source("[2001:db8::1]:5060".parse().expect("an address"))
        .to_tag("t")
        .build();
    let response = match response {
        Ok(response) => response,
        Err(BuildError::TooLarge) => return,
        Err(error) => panic!("no answer: {error}"),
    };
    assert_eq!(response.status(), Some(StatusCode::BAD_REQUEST));
    let vias = request.header_all(Name::Via).count();
    let rows = response.headers().count();
    assert!(rows <= vias + 5, "a header field was injected");
    assert_eq!(response.header_all(Name::Via).count(), vias.min(rows));
    assert!(
        response
            .as_bytes()
            .iter()
            .all(|b| !b.is_ascii_control() || b"\r\n".contains(b))
    );
    assert!(
        response.as_bytes().len() <= 2 * request.as_bytes().len() + 200,
        "an amplifier"
    );
    let _ = policy_view(&response);
    if request.validate().is_ok() {
        assert_eq!(
            response.validate(),
            Ok(()),
            "a valid request got an invalid answer"
        );
    }
}

/// Everything that a policy may look at, through every typed accessor.
fn policy_view(message: &Message) -> String {
    let start = match message.kind() {
        Kind::Request { method, uri } => {
            format!("{method} {uri:?} {:?}", message.request_uri())
        }
        Kind::Response { status, reason } => format!("{status:?} {reason:?}"),
    };
    let singles = [
        start,
        format!(
            "{:?} {:?} {:?}",
            message.from(),
            message.to(),
            message.call_id()
        ),
        format!("{:?} {:?}", message.cseq(), message.max_forwards()),
        format!(
            "{:?} {:?}",
            message.content_type(),
            message.content_disposition()
        ),
        format!("{:?} {:?}", message.expires(), message.min_expires()),
        format!("{:?} {:?}", message.retry_after(), message.refer_to()),
        format!(
            "{:?} {:?}",
            message.event(),
            message.parameterized(Name::SessionExpires)
        ),
        format!(
            "{:?} {:?} {:?}",
            message.subject(),
            message.agent(),
            message.body()
        ),
        format!("{:?}", message.has_star_contact()),
    ];
    let lists = [
        format!("{:?}", message.vias().collect::<Vec<_>>()),
        format!("{:?}", message.contacts().collect::<Vec<_>>()),
        format!("{:?}", message.routes().collect::<Vec<_>>()),
        format!("{:?}", message.record_routes().collect::<Vec<_>>()),
        format!(
            "{:?}",
            message
                .addresses(Name::Path)
                .chain(message.asserted_identities())
                .chain(message.preferred_identities())
                .collect::<Vec<_>>()
        ),
        format!("{:?} {:?}", message.privacy(), message.early_media()),
        format!("{:?}", message.description()),
        format!("{:?}", message.diversions().collect::<Vec<_>>()),
        format!("{:?}", message.history().collect::<Vec<_>>()),
        format!("{:?}", message.user_to_user().collect::<Vec<_>>()),
        format!("{:?} {:?}", message.session_id(), message.join()),
        format!("{:?}", message.call_info().collect::<Vec<_>>()),
        format!("{:?}", message.alert_info().collect::<Vec<_>>()),
        format!("{:?}", message.reasons().collect::<Vec<_>>()),
        format!("{:?}", message.warnings().collect::<Vec<_>>()),
        format!("{:?}", message.accept().collect::<Vec<_>>()),
        format!(
            "{:?}",
            message
                .require()
                .chain(message.proxy_require())
                .collect::<Vec<_>>()
        ),
        format!(
            "{:?}",
            message
                .supported()
                .chain(message.unsupported())
                .collect::<Vec<_>>()
        ),
        format!("{:?}", message.allow().collect::<Vec<_>>()),
    ];
    for address in message
        .contacts()
        .chain([message.from(), message.to()])
        .flatten()
    {
        let _ = (
            address.display_name(),
            address.tag(),
            address.params().count(),
        );
    }
    for via in message.vias().flatten() {
        let _ = (
            via.received(),
            via.rport(),
            via.maddr(),
            via.protocol(),
            via.has_magic_cookie(),
        );
    }
    let rows: Vec<_> = message
        .headers()
        .map(|h| format!("{}={}", h.name, h.text()))
        .collect();
    [singles.join("\n"), lists.join("\n"), rows.join("\n")].join("\n")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::rng::Rng;

    fn seeds() -> Vec<Vec<u8>> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let dirs = [
            "tests/torture/rfc4475",
            "tests/torture/rfc5118",
            "../../fuzz/seeds/sip_message",
        ];
        let mut paths: Vec<_> = dirs
            .iter()
            .flat_map(|dir| std::fs::read_dir(root.join(dir)).expect("seeds"))
            .map(|entry| entry.expect("a seed").path())
            .filter(|path| path.is_file())
            .collect();
        paths.sort();
        paths
            .iter()
            .map(|path| std::fs::read(path).expect("a seed"))
            .collect()
    }

    fn mutate(rng: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut pick = |len: usize| rng.below(len as u64) as usize;
        let mut data = seeds[pick(seeds.len())].clone();
        for _ in 0..=pick(4) {
            let at = pick(data.len().max(1)).min(data.len());
            match pick(5) {
                0 => data.truncate(at),
                1 => data.insert(at, b"\r\n\0\t \";,<>\\:=@?%\x7f\xff"[pick(18)]),
                2 if at < data.len() => data[at] = pick(256) as u8,
                3 if at < data.len() => drop(data.remove(at)),
                _ => {
                    let other = &seeds[pick(seeds.len())];
                    let from = pick(other.len());
                    let to = (from + pick(80)).min(other.len());
                    data.splice(at..at, other[from..to].iter().copied());
                }
            }
        }
        data
    }

    #[test]
    fn seeds_and_their_mutants_keep_every_promise() {
        let seeds = seeds();
        assert!(seeds.len() > 61);
        for seed in &seeds {
            message(seed);
            stream(seed);
        }
        for round in 0..4000 {
            let data = mutate(&mut Rng::new(round), &seeds);
            let text = String::from_utf8_lossy(&data).into_owned();
            let checked = std::panic::catch_unwind(|| {
                message(&data);
                stream(&data);
                text.split("\r\n")
                    .filter_map(|l| l.split_once(": "))
                    .for_each(|l| values(l.1));
            });
            assert!(checked.is_ok(), "seed {round} fails: {text:?}");
        }
    }
}
