//! What the signalling in a capture says of its streams: payload types and protection.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use sidetone::sdp::attribute::Format;
use sidetone::sdp::session::{Connection, Media, SessionDescription};
use sidetone::sip::message::Message;

use crate::capture::Capture;

/// Descriptions kept at most; later ones of other addresses are left out.
const MAX_DESCRIPTIONS: usize = 4_096;

/// What is said of what an address receives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Description {
    /// The payload formats, by their numbers.
    pub formats: Vec<Format>,
    /// Whether the media is protected (a profile of SRTP).
    pub protected: bool,
}

/// What the SIP and SDP of a capture describes.
#[derive(Debug, Default)]
pub struct Descriptions {
    by_address: BTreeMap<SocketAddr, Description>,
}

impl Descriptions {
    /// Looks through a capture: SIP messages that a UDP datagram or a TCP segment holds whole.
    pub fn find(capture: &Capture) -> Self {
        let mut descriptions = Self::default();
        for datagram in capture.datagrams() {
            let content = capture.payload(datagram);
            if looks_like_sip(content)
                && let Ok(message) = Message::parse(content.to_vec().into())
                && let Ok(session) = SessionDescription::parse(&message.body())
            {
                descriptions.take(&session);
            }
        }
        descriptions
    }

    fn take(&mut self, session: &SessionDescription) {
        for media in session.media.iter().filter(|m| m.kind == "audio") {
            let Some(address) = address_of(session, media) else {
                continue;
            };
            let is_full = self.by_address.len() >= MAX_DESCRIPTIONS;
            if is_full && !self.by_address.contains_key(&address) {
                continue;
            }
            let described = self.by_address.entry(address).or_default();
            described.protected |= media.protocol.contains("SAVP");
            for format in media.rtp_formats() {
                described
                    .formats
                    .retain(|f| f.payload_type != format.payload_type);
                described.formats.push(format);
            }
        }
    }

    /// What is said of what `destination` receives. Behind an address translator signalling names
    /// another host, so the same port elsewhere will do where nothing better is found, and then what
    /// is said of anybody, as far as all agree.
    pub fn of(&self, destination: SocketAddr) -> Description {
        if let Some(exact) = self.by_address.get(&destination) {
            return exact.clone();
        }
        let mut all = self.by_address.iter();
        let same_port = all.find(|(address, _)| address.port() == destination.port());
        match same_port {
            Some((_, described)) => described.clone(),
            None => self.common(),
        }
    }

    /// The formats whose numbers mean the same in all descriptions.
    fn common(&self) -> Description {
        let all = || self.by_address.values().flat_map(|d| &d.formats);
        let agreed = |format: &&Format| {
            let mut same = all().filter(|f| f.payload_type == format.payload_type);
            same.all(|f| f.matches(format))
        };
        let mut formats: Vec<Format> = Vec::new();
        for format in all().filter(agreed) {
            if formats
                .iter()
                .all(|f| f.payload_type != format.payload_type)
            {
                formats.push(format.clone());
            }
        }
        Description {
            formats,
            protected: self.by_address.values().any(|d| d.protected),
        }
    }
}

fn address_of(session: &SessionDescription, media: &Media) -> Option<SocketAddr> {
    let ip: IpAddr = match session.connection_of(media)? {
        Connection::Ip(ip) => *ip,
        _ => return None,
    };
    (media.port > 0).then(|| SocketAddr::new(ip, media.port))
}

/// Whether content may be a SIP message: what else begins so costs a parser's glance.
fn looks_like_sip(content: &[u8]) -> bool {
    if content.starts_with(b"SIP/2.0 ") {
        return true;
    }
    let line = content.split(|&b| b == b'\n').next().unwrap_or_default();
    line.len() < 2_048 && line.trim_ascii_end().ends_with(b" SIP/2.0")
}
