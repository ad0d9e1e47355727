//! SDP session descriptions: bounded parsing and printing: wire format.
//!
//! The `sdp` crate was tried first and does not serve here. Its parser is a state machine over the
//! order of lines and refuses descriptions that peers do send: without `t=`, with `a=` before `t=`,
//! with a signed version in `o=`, with a transport that it does not list (such
//! as TCP/MSRP beside the audio), or with a line type that it does not know; and it has no bounds.
//! What a call needs of SDP is small, so it is read here, tolerantly and bounded. The crate stays
//! as an independent reader in the tests: it must understand what we print.

use std::fmt;
use std::net::IpAddr;

use thiserror::Error;

use crate::sdp::attribute::{Direction, Format, is_token, parse_payload_type};

/// Longest description read, in bytes.
pub const MAX_LEN: usize = 32 * 1024;
/// Most lines read.
pub const MAX_LINES: usize = 1024;
/// Most media descriptions read.
pub const MAX_MEDIA: usize = 32;
/// Most formats of one media description read; further ones are left out.
pub const MAX_FORMATS: usize = 64;

/// Why bytes are not a session description; always the sender's fault. As an offer, answer 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseError {
    /// Longer, or of more lines or media, than is read.
    #[error("session description is too large")]
    TooLarge,
    /// The first line is not `v=0`.
    #[error("session description does not begin with v=0")]
    Version,
    /// A line that matters cannot be read; lines count from 1.
    #[error("line {0} of the session description is malformed")]
    Line(usize),
}

/// A session description (RFC 8866 §5), reduced to what a call needs.
///
/// Reading is tolerant: bare line feeds, missing `o=`, `s=` or `t=`, lines in any order, unknown
/// lines and blank lines are taken. Cost is linear, bounded by [`MAX_LEN`].
///
/// ```
/// use sidetone::sdp::session::SessionDescription;
///
/// let text = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
///              m=audio 4000 RTP/AVP 0 8\r\n";
/// let description = SessionDescription::parse(text)?;
/// assert_eq!(description.media[0].port, 4000);
/// assert_eq!(description.to_string().as_bytes(), text);
/// # Ok::<(), sidetone::sdp::session::ParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SessionDescription {
    /// `o=`.
    pub origin: Origin,
    /// `c=` of the session, which holds for media without their own.
    pub connection: Option<Connection>,
    /// `a=` of the session.
    pub attributes: Vec<Attribute>,
    /// `m=` in order.
    pub media: Vec<Media>,
}

/// Who made the description, and which version of it this is (RFC 8866 §5.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The user name, `-` where there is none.
    pub username: String,
    /// The session's identifier; text, since peers send what is no number.
    pub session_id: String,
    /// The version: higher whenever the description has changed; text as above.
    pub version: String,
    /// The address of who made it.
    pub address: Connection,
}

impl Default for Origin {
    fn default() -> Self {
        Self {
            username: "-".to_owned(),
            session_id: "0".to_owned(),
            version: "0".to_owned(),
            address: Connection::Ip(IpAddr::from([0, 0, 0, 0])),
        }
    }
}

/// An address as `c=` and `o=` give it (RFC 8866 §5.7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connection {
    /// An IP address; a time to live or a count after it is left out.
    Ip(IpAddr),
    /// Anything else: a domain name, or nonsense. Never looked up.
    Other(String),
}

impl Connection {
    fn parse(words: &[&str]) -> Option<Self> {
        let [_net, _family, address] = words else {
            return None;
        };
        let bare = address.split('/').next().unwrap_or(address);
        Some(match bare.parse() {
            Ok(ip) => Self::Ip(ip),
            Err(_) => Self::Other((*address).to_owned()),
        })
    }
}

/// As `c=` writes it.
impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) if ip.is_ipv6() => write!(f, "IN IP6 {ip}"),
            Self::Ip(ip) => write!(f, "IN IP4 {ip}"),
            Self::Other(name) => write!(f, "IN IP4 {name}"),
        }
    }
}

/// An attribute line (RFC 8866 §5.13). What is shown of it by [`fmt::Debug`] holds no key.
#[derive(Clone, PartialEq, Eq)]
pub struct Attribute {
    /// What stands before the colon.
    pub name: String,
    /// What stands after it, if there is one.
    pub value: Option<String>,
}

/// The values of `crypto` and `key-mgmt` are keys.
impl fmt::Debug for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = ["crypto", "key-mgmt"].contains(&self.name.to_ascii_lowercase().as_str());
        let value = if secret {
            Some("…")
        } else {
            self.value.as_deref()
        };
        f.debug_struct("Attribute")
            .field("name", &self.name)
            .field("value", &value)
            .finish()
    }
}

impl Attribute {
    /// `a=name`.
    pub fn flag(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            value: None,
        }
    }

    /// `a=name:value`.
    pub fn new(name: &str, value: impl fmt::Display) -> Self {
        Self {
            name: name.to_owned(),
            value: Some(value.to_string()),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (name, value) = match text.split_once(':') {
            Some((name, value)) => (name.trim(), Some(value.trim().to_owned())),
            None => (text.trim(), None),
        };
        is_token(name).then(|| Self {
            name: name.to_owned(),
            value,
        })
    }
}

/// A media description (RFC 8866 §5.14).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// `audio`, `video`, `image`, …
    pub kind: String,
    /// The port; 0 refuses or ends the media (RFC 3264 §6).
    pub port: u16,
    /// The transport, such as `RTP/AVP`.
    pub protocol: String,
    /// The formats in order of preference; payload types where the transport is RTP.
    pub formats: Vec<String>,
    /// The media's own `c=`.
    pub connection: Option<Connection>,
    /// `a=` of the media.
    pub attributes: Vec<Attribute>,
}

impl Media {
    fn parse(value: &str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        let kind = words.next().filter(|kind| is_token(kind))?;
        let ports = words.next()?;
        let port = ports.split('/').next()?.parse().ok()?;
        let protocol = words.next().filter(|protocol| protocol.is_ascii())?;
        let formats = words
            .filter(|format| format.is_ascii())
            .take(MAX_FORMATS)
            .map(str::to_owned)
            .collect();
        Some(Self {
            kind: kind.to_owned(),
            port,
            protocol: protocol.to_owned(),
            formats,
            connection: None,
            attributes: Vec::new(),
        })
    }

    /// The value of the first attribute of this name that has one.
    pub fn value(&self, name: &str) -> Option<&str> {
        value(&self.attributes, name)
    }

    /// Whether an attribute of this name is there.
    pub fn has(&self, name: &str) -> bool {
        self.attributes.iter().any(|a| a.name == name)
    }

    /// The direction that the media gives itself.
    pub fn direction(&self) -> Option<Direction> {
        direction(&self.attributes)
    }

    /// The RTP formats in order: by `a=rtpmap`, or by their static number. Others are left out.
    pub fn rtp_formats(&self) -> Vec<Format> {
        self.formats
            .iter()
            .filter_map(|text| self.rtp_format(parse_payload_type(text)?))
            .collect()
    }

    fn rtp_format(&self, payload_type: u8) -> Option<Format> {
        let of_this = |value: &&str| {
            let number = value.split(char::is_whitespace).next();
            number.and_then(parse_payload_type) == Some(payload_type)
        };
        let mapped = self
            .values("rtpmap")
            .filter(of_this)
            .find_map(Format::from_rtpmap);
        let format = mapped.or_else(|| Format::from_static(payload_type))?;
        let fmtp = self
            .values("fmtp")
            .find(of_this)
            .and_then(|value| value.split_once(char::is_whitespace))
            .map(|(_, parameters)| parameters.trim().to_owned());
        Some(Format { fmtp, ..format })
    }

    /// The values of all attributes of this name.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.attributes
            .iter()
            .filter(move |a| a.name == name)
            .filter_map(|a| a.value.as_deref())
    }
}

impl SessionDescription {
    /// Reads a description.
    ///
    /// # Errors
    /// [`ParseError`] where it is larger than the bounds, is no SDP, or has an unreadable `c=` or
    /// `m=` line. Other unreadable lines are left out.
    pub fn parse(text: &[u8]) -> Result<Self, ParseError> {
        if text.len() > MAX_LEN {
            return Err(ParseError::TooLarge);
        }
        let text = String::from_utf8_lossy(text);
        let mut description = Self::default();
        let mut has_version = false;
        for (index, line) in text.split('\n').enumerate() {
            if index >= MAX_LINES {
                return Err(ParseError::TooLarge);
            }
            let line = line.trim_end_matches(['\r', ' ', '\t', '\0']);
            if line.is_empty() {
                continue;
            }
            if !has_version {
                if line != "v=0" {
                    return Err(ParseError::Version);
                }
                has_version = true;
                continue;
            }
            if let Some((kind, value)) = line.split_once('=') {
                description.read_line(kind, value, index + 1)?;
            }
        }
        if !has_version {
            return Err(ParseError::Version);
        }
        Ok(description)
    }

    /// The value of the first session attribute of this name that has one.
    pub fn value(&self, name: &str) -> Option<&str> {
        value(&self.attributes, name)
    }

    /// The values of all session attributes of this name.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.attributes.iter().filter(move |a| a.name == name);
        named.filter_map(|a| a.value.as_deref())
    }

    /// Where `media` is: its own `c=` or the session's.
    pub fn connection_of<'a>(&'a self, media: &'a Media) -> Option<&'a Connection> {
        media.connection.as_ref().or(self.connection.as_ref())
    }

    /// The direction of `media`: its own, the session's, or both ways.
    pub fn direction_of(&self, media: &Media) -> Direction {
        media
            .direction()
            .or_else(|| direction(&self.attributes))
            .unwrap_or_default()
    }

    fn read_line(&mut self, kind: &str, value: &str, line: usize) -> Result<(), ParseError> {
        // Nothing of a line with control bytes may get into a description of ours.
        if value.chars().any(|c| c.is_control() && c != '\t') {
            let matters = matches!(kind, "c" | "m");
            return if matters {
                Err(ParseError::Line(line))
            } else {
                Ok(())
            };
        }
        match kind {
            "o" => {
                if let Some(origin) = Origin::parse(value) {
                    self.origin = origin;
                }
            }
            "c" => {
                let words: Vec<_> = value.split_ascii_whitespace().take(4).collect();
                let connection = Connection::parse(&words).ok_or(ParseError::Line(line))?;
                match self.media.last_mut() {
                    Some(media) => media.connection = Some(connection),
                    None => self.connection = Some(connection),
                }
            }
            "m" => {
                if self.media.len() >= MAX_MEDIA {
                    return Err(ParseError::TooLarge);
                }
                let media = Media::parse(value).ok_or(ParseError::Line(line))?;
                self.media.push(media);
            }
            "a" => {
                let attributes = match self.media.last_mut() {
                    Some(media) => &mut media.attributes,
                    None => &mut self.attributes,
                };
                attributes.extend(Attribute::parse(value));
            }
            _ => {}
        }
        Ok(())
    }
}

impl Origin {
    /// Peers send too few words, empty user names, and numbers that are none: take what is there.
    fn parse(value: &str) -> Option<Self> {
        let words: Vec<_> = value.split_ascii_whitespace().take(6).collect();
        let (rest, address) = words.split_at_checked(words.len().checked_sub(3)?)?;
        let address = Connection::parse(address)?;
        let (username, session_id, version) = match *rest {
            [username, session_id, version] => (username, session_id, version),
            [session_id, version] => ("-", session_id, version),
            _ => return None,
        };
        Some(Self {
            username: username.to_owned(),
            session_id: session_id.to_owned(),
            version: version.to_owned(),
            address,
        })
    }
}

fn value<'a>(attributes: &'a [Attribute], name: &str) -> Option<&'a str> {
    attributes
        .iter()
        .filter(|a| a.name == name)
        .find_map(|a| a.value.as_deref())
}

fn direction(attributes: &[Attribute]) -> Option<Direction> {
    attributes
        .iter()
        .find_map(|a| Direction::from_name(&a.name))
}

/// The description's text, lines ended by CR LF, in the order of RFC 8866 §5.
impl fmt::Display for SessionDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Origin {
            username,
            session_id,
            version,
            address,
        } = &self.origin;
        write!(
            f,
            "v=0\r\no={username} {session_id} {version} {address}\r\ns=-\r\n"
        )?;
        if let Some(connection) = &self.connection {
            write!(f, "c={connection}\r\n")?;
        }
        write!(f, "t=0 0\r\n")?;
        for attribute in &self.attributes {
            write!(f, "{attribute}")?;
        }
        for media in &self.media {
            write!(f, "{media}")?;
        }
        Ok(())
    }
}

/// The attribute's line.
impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "a={}:{value}\r\n", self.name),
            None => write!(f, "a={}\r\n", self.name),
        }
    }
}

/// The media's lines.
impl fmt::Display for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "m={} {} {}", self.kind, self.port, self.protocol)?;
        for format in &self.formats {
            write!(f, " {format}")?;
        }
        f.write_str("\r\n")?;
        if let Some(connection) = &self.connection {
            write!(f, "c={connection}\r\n")?;
        }
        for attribute in &self.attributes {
            write!(f, "{attribute}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
