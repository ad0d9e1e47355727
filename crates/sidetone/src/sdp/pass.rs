//! Descriptions that one party's side makes for another's, passed on under an origin of our own
//! (RFC 3725 §5).

use std::net::IpAddr;

use crate::sdp::session::{Attribute, Connection, Media, Origin, ParseError, SessionDescription};

/// What one party is shown: one session of ours, whose versions go up, whatever party is behind it.
#[derive(Debug)]
pub(crate) struct Passing {
    origin: Origin,
    version: u64,
    /// The lines that the party has been shown or has shown; none may vanish (RFC 3264 §8).
    lines: Vec<Media>,
    /// What the party has been shown last.
    shown: Option<String>,
}

impl Passing {
    /// A session of this number at `address`, which only names us.
    pub(crate) fn new(session_id: u64, address: IpAddr) -> Self {
        Self {
            origin: Origin {
                session_id: session_id.to_string(),
                address: Connection::Ip(address),
                ..Origin::default()
            },
            version: 0,
            lines: Vec::new(),
            shown: None,
        }
    }

    /// What the party has been shown last.
    pub(crate) fn shown(&self) -> Option<&str> {
        self.shown.as_deref()
    }

    /// Takes in what the party itself has described.
    pub(crate) fn note(&mut self, description: &[u8]) -> Result<SessionDescription, ParseError> {
        let parsed = SessionDescription::parse(description)?;
        if parsed.media.len() > self.lines.len() {
            self.lines.clone_from(&parsed.media);
        }
        Ok(parsed)
    }

    /// An answer that takes the party's offer and lets nothing flow, to nowhere (RFC 3725 §4.4).
    pub(crate) fn hold(&mut self, offer: &[u8]) -> Result<String, ParseError> {
        let mut answer = self.note(offer)?;
        answer
            .attributes
            .retain(|attribute| attribute.name == "group");
        answer.connection = Some(Connection::Ip(IpAddr::from([0, 0, 0, 0])));
        for media in &mut answer.media {
            let plain = media.protocol.starts_with("RTP/AVP");
            media.port = if plain && media.port != 0 { 9 } else { 0 };
            media.connection = None;
            let kept = ["rtpmap", "fmtp", "mid"];
            media
                .attributes
                .retain(|attribute| kept.contains(&attribute.name.as_str()));
            let inactive = Attribute::flag("inactive");
            media.attributes.push(inactive);
        }
        Ok(self.signed(answer))
    }

    /// What another party has described, as this one is shown it.
    pub(crate) fn pass(&mut self, description: &[u8]) -> Result<String, ParseError> {
        let mut passed = SessionDescription::parse(description)?;
        let missing = self.lines.iter().skip(passed.media.len());
        let refused = missing.map(|line| Media {
            port: 0,
            connection: None,
            attributes: Vec::new(),
            ..line.clone()
        });
        let refused: Vec<Media> = refused.collect();
        passed.media.extend(refused);
        if passed.media.len() > self.lines.len() {
            self.lines.clone_from(&passed.media);
        }
        Ok(self.signed(passed))
    }

    fn signed(&mut self, mut description: SessionDescription) -> String {
        self.version += 1;
        description.origin = Origin {
            version: self.version.to_string(),
            ..self.origin.clone()
        };
        let text = description.to_string();
        self.shown = Some(text.clone());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &[u8] =
        b"v=0\r\no=bob 5 9 IN IP4 192.0.2.2\r\ns=-\r\nc=IN IP4 192.0.2.2\r\nt=0 0\r\n\
        m=audio 4000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=sendrecv\r\n\
        m=video 4002 RTP/SAVPF 96\r\na=rtpmap:96 VP8/90000\r\n";
    const AUDIO: &[u8] =
        b"v=0\r\no=eve 7 1 IN IP4 192.0.2.3\r\ns=-\r\nc=IN IP4 192.0.2.3\r\nt=0 0\r\n\
        m=audio 5000 RTP/AVP 8\r\na=ptime:20\r\n";

    #[test]
    fn one_session_is_shown_whoever_is_behind_it() {
        let mut passing = Passing::new(42, "192.0.2.1".parse().unwrap());
        let held = passing.hold(OFFER).unwrap();
        assert!(held.contains("o=- 42 1 IN IP4 192.0.2.1\r\n"), "{held}");
        assert!(held.contains("c=IN IP4 0.0.0.0\r\n") && held.contains("a=inactive\r\n"));
        assert!(held.contains("m=audio 9 RTP/AVP 8\r\n"), "{held}");
        assert!(held.contains("m=video 0 RTP/SAVPF 96\r\n"), "{held}");
        let passed = passing.pass(AUDIO).unwrap();
        assert!(passed.contains("o=- 42 2 IN IP4 192.0.2.1\r\n"), "{passed}");
        assert!(passed.contains("c=IN IP4 192.0.2.3\r\n") && passed.contains("a=ptime:20"));
        assert!(
            passed.contains("m=video 0 RTP/SAVPF 96\r\n"),
            "no line may vanish: {passed}"
        );
        assert!(passing.pass(b"v=1").is_err() && passing.hold(b"x").is_err());
    }
}
