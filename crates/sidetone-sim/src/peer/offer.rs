//! The session descriptions of scripted peers, written and read by hand as an independent check.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use sidetone::sdp::crypto::{Crypto, CryptoSuite};

use super::rtp::{Law, Outlet};

/// The direction attribute of a stream, as its sender sees it (RFC 3264 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// `a=sendrecv`, the default.
    #[default]
    SendReceive,
    /// `a=sendonly`: what a phone offers to put a call on hold.
    SendOnly,
    /// `a=recvonly`.
    ReceiveOnly,
    /// `a=inactive`.
    Inactive,
}

impl Direction {
    fn attribute(self) -> &'static str {
        match self {
            Self::SendReceive => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::ReceiveOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// Whether the other side wants to hear something.
    fn receives(self) -> bool {
        matches!(self, Self::SendReceive | Self::ReceiveOnly)
    }
}

/// What a peer can do with audio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abilities {
    /// The codecs it offers and accepts, the best first. Default PCMU and PCMA.
    pub laws: Vec<Law>,
    /// The payload type of its telephone events, where it has them. Default 101.
    pub telephone_event: Option<u8>,
    /// Its SRTP. Default none.
    pub srtp: Option<Secrecy>,
}

/// How a peer protects its media, with keys in its descriptions (RFC 4568).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secrecy {
    /// The suite that it offers, and the only one that it takes.
    pub suite: CryptoSuite,
    /// Whether it offers `RTP/SAVP`; otherwise keys beside plain RTP (RFC 8643).
    pub required: bool,
    /// Whether every new description brings a new key. Default no.
    pub new_keys: bool,
}

impl Secrecy {
    /// Nothing but SRTP, by this suite.
    pub fn required(suite: CryptoSuite) -> Self {
        Self {
            suite,
            required: true,
            new_keys: false,
        }
    }

    /// SRTP where the other side can.
    pub fn optional(suite: CryptoSuite) -> Self {
        Self {
            required: false,
            ..Self::required(suite)
        }
    }

    /// The key of the `version`-th description, under `tag`; as secret as a test needs it.
    pub(super) fn key(&self, tag: u32, version: u64) -> Option<Crypto> {
        let fill = if self.new_keys { version as u8 } else { 0x5A };
        let secret = vec![fill; self.suite.key_len() + self.suite.salt_len()];
        Crypto::new(tag, self.suite, secret.into())
    }
}

impl Default for Abilities {
    fn default() -> Self {
        Self {
            laws: vec![Law::Mu, Law::A],
            telephone_event: Some(101),
            srtp: None,
        }
    }
}

/// A description of one audio stream at `rtp`, the `version`-th of its session; under `crypto`
/// where it answers to that.
pub fn describe(
    rtp: SocketAddr,
    version: u64,
    abilities: &Abilities,
    direction: Direction,
    crypto: Option<&Crypto>,
) -> String {
    let family = if rtp.is_ipv4() { "IP4" } else { "IP6" };
    let ip = rtp.ip();
    let mut types: Vec<u8> = abilities
        .laws
        .iter()
        .map(|law| law.payload_type())
        .collect();
    types.extend(abilities.telephone_event);
    let mut sdp = format!(
        "v=0\r\no=peer 7 {version} IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
         m=audio {} RTP/{}",
        rtp.port(),
        if abilities.srtp.as_ref().is_some_and(|s| s.required) {
            "SAVP"
        } else {
            "AVP"
        }
    );
    // Writing to a string cannot fail.
    for payload_type in &types {
        let _ = write!(sdp, " {payload_type}");
    }
    sdp.push_str("\r\n");
    for law in &abilities.laws {
        let name = match law {
            Law::Mu => "PCMU",
            Law::A => "PCMA",
        };
        let _ = write!(sdp, "a=rtpmap:{} {name}/8000\r\n", law.payload_type());
    }
    if let Some(event) = abilities.telephone_event {
        let _ = write!(
            sdp,
            "a=rtpmap:{event} telephone-event/8000\r\na=fmtp:{event} 0-15\r\n"
        );
    }
    if let Some(crypto) = crypto {
        let _ = write!(sdp, "a=crypto:{}\r\n", *crypto.to_value());
    }
    let _ = write!(sdp, "a=ptime:20\r\na={}\r\n", direction.attribute());
    sdp
}

/// What the other side's description says about its audio stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Where it wants RTP; port 0 where it refused the stream.
    pub rtp: SocketAddr,
    /// Where it wants RTCP.
    pub rtcp: SocketAddr,
    /// The payload types in its order.
    pub payload_types: Vec<u8>,
    /// The payload type of its telephone events.
    pub telephone_event: Option<u8>,
    /// Its direction, as it sees it.
    pub direction: Direction,
    /// Its keys, as far as they can be read.
    pub crypto: Vec<Crypto>,
}

impl Described {
    /// Reads the first audio stream; `None` where there is none or it cannot be understood.
    pub fn read(sdp: &str) -> Option<Self> {
        let mut session_ip = None;
        let mut media: Option<Media> = None;
        let mut direction = Direction::default();
        for line in sdp.lines() {
            if let Some(value) = line.strip_prefix("m=") {
                if media.is_some() {
                    break;
                }
                media = Media::read(value);
                continue;
            }
            match (&mut media, line.strip_prefix("c=")) {
                (Some(media), Some(value)) => media.ip = connection(value),
                (None, Some(value)) => session_ip = connection(value),
                (Some(media), None) => media.attribute(line),
                (None, None) => {}
            }
            direction = read_direction(line).unwrap_or(direction);
        }
        let media = media?;
        let rtp = SocketAddr::new(media.ip.or(session_ip)?, media.port);
        let next = SocketAddr::new(rtp.ip(), media.rtcp.unwrap_or(media.port.wrapping_add(1)));
        // The old way to say hold: an address that cannot be sent to (RFC 2543).
        let held = rtp.ip().is_unspecified();
        Some(Self {
            rtp,
            rtcp: next,
            payload_types: media.payload_types,
            telephone_event: media.telephone_event,
            crypto: media.crypto,
            direction: if held { Direction::SendOnly } else { direction },
        })
    }

    /// How a peer with these abilities sends to the stream; `None` where no codec is common or the
    /// stream is refused.
    pub fn outlet(&self, abilities: &Abilities, own: Direction) -> Option<Outlet> {
        let common = |law: &&Law| self.payload_types.contains(&law.payload_type());
        // The answer's first codec counts; where this is an offer, its order is the wish.
        let law = *abilities.laws.iter().filter(common).min_by_key(|law| {
            let wanted = law.payload_type();
            self.payload_types.iter().position(|pt| *pt == wanted)
        })?;
        let sends = matches!(own, Direction::SendReceive | Direction::SendOnly);
        (self.rtp.port() != 0).then_some(Outlet {
            rtp: self.rtp,
            rtcp: self.rtcp,
            law,
            telephone_event: self.telephone_event,
            active: sends && self.direction.receives() && !self.rtp.ip().is_unspecified(),
        })
    }

    /// The direction that answers this one.
    pub fn answering_direction(&self) -> Direction {
        match self.direction {
            Direction::SendReceive => Direction::SendReceive,
            Direction::SendOnly => Direction::ReceiveOnly,
            Direction::ReceiveOnly => Direction::SendOnly,
            Direction::Inactive => Direction::Inactive,
        }
    }
}

struct Media {
    port: u16,
    ip: Option<IpAddr>,
    rtcp: Option<u16>,
    payload_types: Vec<u8>,
    telephone_event: Option<u8>,
    crypto: Vec<Crypto>,
}

impl Media {
    fn read(value: &str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        if words.next()? != "audio" {
            return None;
        }
        let port = words.next()?.parse().ok()?;
        words.next()?;
        Some(Self {
            port,
            ip: None,
            rtcp: None,
            payload_types: words.filter_map(|word| word.parse().ok()).collect(),
            telephone_event: None,
            crypto: Vec::new(),
        })
    }

    fn attribute(&mut self, line: &str) {
        if let Some(value) = line.strip_prefix("a=rtpmap:")
            && let Some((number, name)) = value.split_once(' ')
            && name
                .to_ascii_lowercase()
                .starts_with("telephone-event/8000")
        {
            self.telephone_event = number.parse().ok();
        }
        if let Some(value) = line.strip_prefix("a=crypto:") {
            self.crypto.extend(Crypto::parse(value));
        }
        if let Some(value) = line.strip_prefix("a=rtcp:") {
            let port = value.split_ascii_whitespace().next();
            self.rtcp = port.and_then(|port| port.parse().ok());
        }
    }
}

fn connection(value: &str) -> Option<IpAddr> {
    value.split_ascii_whitespace().nth(2)?.parse().ok()
}

fn read_direction(line: &str) -> Option<Direction> {
    match line.trim_end() {
        "a=sendrecv" => Some(Direction::SendReceive),
        "a=sendonly" => Some(Direction::SendOnly),
        "a=recvonly" => Some(Direction::ReceiveOnly),
        "a=inactive" => Some(Direction::Inactive),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_reads_back() {
        for rtp in ["10.0.0.1:4000", "[fd00::1]:4000"] {
            let rtp: SocketAddr = rtp.parse().expect("an address");
            let sdp = describe(rtp, 1, &Abilities::default(), Direction::SendOnly, None);
            let read = Described::read(&sdp).expect("a stream");
            assert_eq!(read.rtp, rtp);
            assert_eq!(read.rtcp.port(), 4001);
            assert_eq!(read.payload_types, [0, 8, 101]);
            assert_eq!(read.telephone_event, Some(101));
            assert_eq!(read.direction, Direction::SendOnly);
            assert_eq!(read.answering_direction(), Direction::ReceiveOnly);
        }
    }

    #[test]
    fn the_other_side_chooses_the_codec() {
        let abilities = Abilities::default();
        let only_a = "v=0\r\nc=IN IP4 10.0.0.9\r\nm=audio 4000 RTP/AVP 8 0\r\na=rtcp:4010\r\n";
        let read = Described::read(only_a).expect("a stream");
        let outlet = read.outlet(&abilities, Direction::SendReceive);
        let outlet = outlet.expect("a common codec");
        assert_eq!((outlet.law, outlet.rtcp.port()), (Law::A, 4010));
        assert_eq!(outlet.telephone_event, None);
        assert!(outlet.active);
    }

    #[test]
    fn refused_and_held_streams_get_nothing() {
        let abilities = Abilities::default();
        let refused = "c=IN IP4 10.0.0.9\r\nm=audio 0 RTP/AVP 0\r\n";
        let read = Described::read(refused).expect("a stream");
        assert_eq!(read.outlet(&abilities, Direction::SendReceive), None);
        let held = "c=IN IP4 0.0.0.0\r\nm=audio 4000 RTP/AVP 0\r\n";
        let read = Described::read(held).expect("a stream");
        let outlet = read.outlet(&abilities, Direction::SendReceive);
        assert!(!outlet.expect("a common codec").active);
    }
}
