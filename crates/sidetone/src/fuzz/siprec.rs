//! Recording sessions: metadata that means the same when written anew, and descriptions of several streams.

use std::net::{IpAddr, Ipv4Addr};

use crate::sdp::attribute::{Direction, Format};
use crate::sdp::negotiate::LocalMedia;
use crate::sdp::negotiate::state::State;
use crate::sdp::negotiate::streams::Streams;
use crate::sip::event::xml::XmlError;
use crate::sip::message::Message;
use crate::sip::siprec::metadata::{DataMode, MAX_ITEMS, MAX_TEXT, Metadata, Participant};
use crate::sip::siprec::session;

/// A document, taken in whole and as a change of itself; a message that may bring one; a description.
pub fn recording_session(data: &[u8]) {
    if let Ok(metadata) = Metadata::parse(data) {
        document(&metadata);
    }
    if let Ok(message) = Message::parse(bytes::Bytes::copy_from_slice(data)) {
        let _both = session::comes_from_client(&message) && session::comes_from_server(&message);
        if let Some(Ok(metadata)) = session::metadata_of(&message) {
            document(&metadata);
        }
        if let Some(reason) = session::request_of(&message) {
            assert!(reason.len() <= 4 * MAX_TEXT);
        }
        description(&message.description());
    }
    description(data);
}

fn document(metadata: &Metadata) {
    match Metadata::parse(metadata.to_xml().as_bytes()) {
        Ok(again) => {
            assert_eq!(again.participants.len(), metadata.participants.len());
            assert_eq!(again.flows.len(), metadata.flows.len());
        }
        // Escaped, it is longer than it was.
        Err(error) => assert_eq!(error, XmlError::TooLarge),
    }
    let mut grown = metadata.clone();
    for mode in [DataMode::Partial, DataMode::Complete] {
        grown.update(Metadata {
            mode,
            ..metadata.clone()
        });
        assert!(grown.participants.len() <= MAX_ITEMS && grown.streams.len() <= MAX_ITEMS);
    }
    let labels = metadata.streams.iter().filter_map(|it| it.label.as_deref());
    for label in labels {
        let speaker = metadata.speaker(label).and_then(Participant::shown);
        assert!(speaker.is_none_or(|name| name.len() <= MAX_TEXT));
    }
}

/// Whatever is offered, each line is answered in its place, and our own side reads the answer.
fn description(offer: &[u8]) {
    let address: IpAddr = Ipv4Addr::new(192, 0, 2, 1).into();
    let local = |port| LocalMedia {
        direction: Direction::ReceiveOnly,
        ..LocalMedia::new(address, port, vec![Format::pcmu(), Format::pcma()])
    };
    let mut server = Streams::new(1);
    for _ in 0..2 {
        if server.handle_offer(offer).is_err() {
            return;
        }
        let lines = server.offered().len();
        let locals = (0..lines.min(5)).map(|n| Some(local(5000 + 2 * n as u16)));
        match server.answer(address, &locals.collect::<Vec<_>>()) {
            Ok((_, agreed)) => {
                assert_eq!(agreed.len(), lines);
                assert_eq!(server.len(), lines);
                let sends = agreed.iter().flatten().any(|it| it.direction.sends());
                assert!(!sends, "a server that sends");
            }
            Err(_) => {
                assert_eq!(server.state(), State::RemoteOffer);
                server.withdraw().expect("an open offer");
            }
        }
        assert_eq!(server.state(), State::Stable);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn seeds_pass() {
        crate::fuzz::run_seeds("recording_session", super::recording_session);
    }
}
