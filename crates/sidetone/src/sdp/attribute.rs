//! SDP attributes of audio media: rtpmap, fmtp, ptime, direction: wire format.

use std::fmt;
use std::net::IpAddr;

/// Which way media flows, seen from who says it (RFC 8866 §6.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Direction {
    /// `sendrecv`, also where no direction is given.
    #[default]
    SendReceive,
    /// `sendonly`: how a party puts the other on hold (RFC 3264 §8.4).
    SendOnly,
    /// `recvonly`.
    ReceiveOnly,
    /// `inactive`.
    Inactive,
}

impl Direction {
    /// The direction that sends and receives as told.
    pub const fn new(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendReceive,
            (true, false) => Self::SendOnly,
            (false, true) => Self::ReceiveOnly,
            (false, false) => Self::Inactive,
        }
    }

    /// The direction of an attribute's name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "sendrecv" => Some(Self::SendReceive),
            "sendonly" => Some(Self::SendOnly),
            "recvonly" => Some(Self::ReceiveOnly),
            "inactive" => Some(Self::Inactive),
            _ => None,
        }
    }

    /// The attribute's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SendReceive => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::ReceiveOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// Whether who says it sends.
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendReceive | Self::SendOnly)
    }

    /// Whether who says it receives.
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendReceive | Self::ReceiveOnly)
    }

    /// The same flow seen from the other party.
    pub const fn reversed(self) -> Self {
        Self::new(self.receives(), self.sends())
    }

    /// The flow that both allow.
    pub const fn intersect(self, other: Self) -> Self {
        Self::new(
            self.sends() && other.sends(),
            self.receives() && other.receives(),
        )
    }
}

/// A media format: an encoding under a payload type (RFC 8866 §6.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    /// RTP payload type, 0 to 127.
    pub payload_type: u8,
    /// Encoding name as IANA registered it, such as `PCMU`; compared without regard to case.
    pub encoding: String,
    /// Ticks a second of the RTP clock. G.722 says 8000 though it samples at 16000.
    pub clock_rate: u32,
    /// Audio channels; 1 where none are given.
    pub channels: u8,
    /// The format's own parameters (`a=fmtp`), uninterpreted.
    pub fmtp: Option<String>,
}

impl Format {
    /// The encoding name of RFC 4733's payload format.
    pub const TELEPHONE_EVENT: &'static str = "telephone-event";

    /// The encoding name of RFC 2198's payload format.
    pub const REDUNDANCY: &'static str = "red";

    /// A format of one channel without parameters.
    pub fn new(payload_type: u8, encoding: &str, clock_rate: u32) -> Self {
        Self {
            payload_type,
            encoding: encoding.to_owned(),
            clock_rate,
            channels: 1,
            fmtp: None,
        }
    }

    /// G.711 µ-law, payload type 0.
    pub fn pcmu() -> Self {
        Self::new(0, "PCMU", 8000)
    }

    /// G.711 A-law, payload type 8.
    pub fn pcma() -> Self {
        Self::new(8, "PCMA", 8000)
    }

    /// The audio format that a static payload type stands for without an `a=rtpmap` (RFC 3551 §6).
    pub fn from_static(payload_type: u8) -> Option<Self> {
        let (encoding, clock_rate) = match payload_type {
            0 => ("PCMU", 8000),
            3 => ("GSM", 8000),
            4 => ("G723", 8000),
            8 => ("PCMA", 8000),
            9 => ("G722", 8000),
            13 => ("CN", 8000),
            15 => ("G728", 8000),
            18 => ("G729", 8000),
            _ => return None,
        };
        Some(Self::new(payload_type, encoding, clock_rate))
    }

    /// Reads an `a=rtpmap` value: `0 PCMU/8000` or `96 opus/48000/2`.
    pub fn from_rtpmap(value: &str) -> Option<Self> {
        let (payload_type, map) = value.trim().split_once(char::is_whitespace)?;
        let payload_type = parse_payload_type(payload_type)?;
        let mut parts = map.trim().split('/');
        let encoding = parts.next().filter(|name| is_token(name))?;
        let clock_rate = parts.next()?.trim().parse().ok().filter(|rate| *rate > 0)?;
        let channels = match parts.next() {
            Some(channels) => channels.trim().parse().ok().filter(|count| *count > 0)?,
            None => 1,
        };
        Some(Self {
            channels,
            ..Self::new(payload_type, encoding, clock_rate)
        })
    }

    /// Whether both name the same encoding, clock rate and channels; numbers and parameters do not
    /// count.
    pub fn matches(&self, other: &Self) -> bool {
        self.encoding.eq_ignore_ascii_case(&other.encoding)
            && self.clock_rate == other.clock_rate
            && self.channels == other.channels
    }

    /// Whether this is RFC 4733's telephone-event, which is no codec.
    pub fn is_telephone_event(&self) -> bool {
        self.encoding.eq_ignore_ascii_case(Self::TELEPHONE_EVENT)
    }

    /// Whether this is comfort noise (RFC 3389), which is no codec either.
    pub fn is_comfort_noise(&self) -> bool {
        self.encoding.eq_ignore_ascii_case("CN")
    }

    /// Whether this is redundant audio (RFC 2198), which wraps codecs and is none.
    pub fn is_redundancy(&self) -> bool {
        self.encoding.eq_ignore_ascii_case(Self::REDUNDANCY)
    }

    /// Whether the payload type has no fixed meaning (RFC 3551 §6).
    pub fn is_dynamic(&self) -> bool {
        self.payload_type >= 96
    }
}

/// The `a=rtpmap` value.
impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            payload_type,
            encoding,
            clock_rate,
            ..
        } = self;
        write!(f, "{payload_type} {encoding}/{clock_rate}")?;
        if self.channels > 1 {
            write!(f, "/{}", self.channels)?;
        }
        Ok(())
    }
}

/// A payload type as text, 0 to 127.
pub fn parse_payload_type(text: &str) -> Option<u8> {
    text.parse().ok().filter(|payload_type| *payload_type < 128)
}

/// The events 0 to 31 that a telephone-event format covers (RFC 4733 §2.4.1), one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventSet(pub u32);

impl EventSet {
    /// The DTMF digits, events 0 to 15: what a missing `a=fmtp` means (RFC 4733 §2.4.1).
    pub const DIGITS: Self = Self(0xFFFF);

    /// The digits and the hook flash, events 0 to 16: what we receive.
    pub const DIGITS_AND_FLASH: Self = Self(0x1_FFFF);

    /// Reads a list such as `0-15,66,70`; events above 31 and unreadable items are left out.
    pub fn parse(fmtp: &str) -> Self {
        // Some peers write the list as a parameter: `events=0-15`.
        let list = fmtp.rsplit('=').next().unwrap_or(fmtp);
        let mut mask = 0u32;
        for item in list.split(',') {
            let (first, last) = item.split_once('-').unwrap_or((item, item));
            let (Ok(first), Ok(last)) = (first.trim().parse(), last.trim().parse::<u32>()) else {
                continue;
            };
            for event in first..=last.min(31) {
                mask |= 1u32 << event;
            }
        }
        Self(mask)
    }

    /// Whether the set has `event`.
    pub fn contains(self, event: u8) -> bool {
        event < 32 && self.0 >> event & 1 != 0
    }
}

/// The `a=rtcp` attribute (RFC 3605): where the peer takes RTCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtcpAttribute {
    /// The port.
    pub port: u16,
    /// The address, where it differs from the media's.
    pub address: Option<IpAddr>,
}

impl RtcpAttribute {
    /// Reads `53020` or `53020 IN IP4 126.16.64.4`.
    pub fn parse(value: &str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        let port = words.next()?.parse().ok().filter(|port| *port != 0)?;
        let address = match words.nth(2) {
            Some(address) => Some(address.parse().ok()?),
            None => None,
        };
        Some(Self { port, address })
    }
}

/// Whether `text` is a token (RFC 8866 §9): what names may be made of.
pub fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| {
            matches!(byte, 0x21 | 0x23..=0x27 | 0x2A..=0x2B | 0x2D..=0x2E | 0x30..=0x39
                | 0x41..=0x5A | 0x5E..=0x7E)
        })
}

/// What a party would like of being recorded; whoever records decides (RFC 7866 §8.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordPreference {
    /// To be recorded.
    On,
    /// Not to be.
    Off,
    /// Not to be for a while.
    Pause,
    /// Either.
    NoPreference,
}

impl RecordPreference {
    /// The preference that a value of `a=recordpref` is.
    pub fn parse(value: &str) -> Option<Self> {
        match value.trim() {
            "on" => Some(Self::On),
            "off" => Some(Self::Off),
            "pause" => Some(Self::Pause),
            "nopreference" => Some(Self::NoPreference),
            _ => None,
        }
    }

    /// Whether nothing is to be recorded now.
    pub const fn is_against(self) -> bool {
        matches!(self, Self::Off | Self::Pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Direction; 4] = [
        Direction::SendReceive,
        Direction::SendOnly,
        Direction::ReceiveOnly,
        Direction::Inactive,
    ];

    #[test]
    fn directions_reverse_and_intersect() {
        for direction in ALL {
            assert_eq!(Direction::from_name(direction.name()), Some(direction));
            assert_eq!(direction.reversed().reversed(), direction);
            assert_eq!(direction.intersect(Direction::SendReceive), direction);
            assert_eq!(
                direction.intersect(Direction::Inactive),
                Direction::Inactive
            );
        }
        assert_eq!(Direction::SendOnly.reversed(), Direction::ReceiveOnly);
        assert_eq!(
            Direction::SendOnly.intersect(Direction::ReceiveOnly),
            Direction::Inactive
        );
        assert_eq!(Direction::from_name("SENDRECV"), None);
    }

    #[test]
    fn rtpmaps_read() {
        let opus = Format::from_rtpmap("96 opus/48000/2").unwrap();
        assert_eq!(
            (opus.payload_type, opus.clock_rate, opus.channels),
            (96, 48000, 2)
        );
        assert_eq!(opus.to_string(), "96 opus/48000/2");
        assert_eq!(Format::from_rtpmap("0 PCMU/8000/1"), Some(Format::pcmu()));
        assert!(
            Format::from_rtpmap(" 8   pcma/8000 ")
                .unwrap()
                .matches(&Format::pcma())
        );
        for bad in [
            "",
            "0",
            "0 PCMU",
            "0 PCMU/",
            "0 PCMU/0",
            "0 PCMU/-8000",
            "128 X/8000",
            "-1 X/8000",
            "x X/8000",
            "0 /8000",
            "0 PC MU/8000",
            "0 PCMU/8000/0",
            "0 PCMU/8000/300",
            "0 PCMU/99999999999",
        ] {
            assert_eq!(Format::from_rtpmap(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn event_lists_read() {
        for (text, mask) in [
            ("0-15", 0xFFFF),
            ("0-16", 0x1_FFFF),
            ("0-11", 0x0FFF),
            ("0-15,66,70", 0xFFFF),
            ("1,3,5", 0b10_1010),
            ("events=0-15", 0xFFFF),
            ("0-4294967295", u32::MAX),
            ("16-0", 0),
            ("", 0),
            ("-", 0),
            ("a-b,2", 4),
            ("99999999999-0", 0),
        ] {
            assert_eq!(EventSet::parse(text).0, mask, "{text:?}");
        }
        assert!(EventSet::DIGITS_AND_FLASH.contains(16));
        assert!(!EventSet::DIGITS.contains(16));
        assert!(!EventSet(u32::MAX).contains(200));
    }

    #[test]
    fn rtcp_attributes_read() {
        assert_eq!(
            RtcpAttribute::parse("53020"),
            Some(RtcpAttribute {
                port: 53020,
                address: None
            })
        );
        assert_eq!(
            RtcpAttribute::parse("53020 IN IP6 2001:db8::1"),
            Some(RtcpAttribute {
                port: 53020,
                address: "2001:db8::1".parse().ok()
            })
        );
        for bad in ["", "0", "65536", "x", "53020 IN IP4 host.example"] {
            assert_eq!(RtcpAttribute::parse(bad), None, "{bad:?}");
        }
    }
}
