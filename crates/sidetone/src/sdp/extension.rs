//! SDP attributes of RTCP and of RTP header extensions: extmap, rtcp-fb, rtcp-xr: wire format.

use std::fmt;

use crate::sdp::attribute::{Direction, is_token};
use crate::time::Duration;

/// The name of the client-to-mixer audio level extension (RFC 6464 §4).
pub const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";

/// A header extension and its local identifier: `a=extmap` (RFC 8285 §5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtensionMap {
    /// The identifier: 1 to 14 serve both forms on the wire, 15 to 255 the two-byte form; 4096 to
    /// 4351 only offer a choice.
    pub id: u16,
    /// Which way the extension is used, seen from who says it.
    pub direction: Direction,
    /// What it is.
    pub uri: String,
    /// Its own parameters, uninterpreted.
    pub parameters: Option<String>,
}

impl ExtensionMap {
    /// Reads `1 URI`, `2/sendonly URI parameters`; `None` for an identifier that may not be used.
    pub fn parse(value: &str) -> Option<Self> {
        let mut words = value.trim().splitn(3, char::is_whitespace);
        let head = words.next()?;
        let (id, direction) = match head.split_once('/') {
            Some((id, name)) => (id, Direction::from_name(name)?),
            None => (head, Direction::SendReceive),
        };
        let id = id.parse().ok();
        let id = id.filter(|id| matches!(id, 1..=255 | 4096..=4351))?;
        let uri = words.next().filter(|uri| !uri.is_empty())?;
        Some(Self {
            id,
            direction,
            uri: uri.to_owned(),
            parameters: words.next().map(|text| text.trim().to_owned()),
        })
    }
}

/// The `a=extmap` value.
impl fmt::Display for ExtensionMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id)?;
        if self.direction != Direction::SendReceive {
            write!(f, "/{}", self.direction.name())?;
        }
        write!(f, " {}", self.uri)?;
        match &self.parameters {
            Some(parameters) => write!(f, " {parameters}"),
            None => Ok(()),
        }
    }
}

/// The least time between regular reports that an `a=rtcp-fb` value asks for: `* trr-int 5000`
/// (RFC 4585 §4.2), in milliseconds.
pub fn report_interval(value: &str) -> Option<Duration> {
    let mut words = value.split_ascii_whitespace();
    let (_payload_type, kind) = (words.next()?, words.next()?);
    let millis = words.next().filter(|_| kind == "trr-int")?;
    millis.parse().ok().map(Duration::from_millis)
}

/// What an `a=rtcp-xr` value asks to be told (RFC 3611 §5.1), as far as we can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExtendedReports {
    /// `voip-metrics`.
    pub voip_metrics: bool,
    /// `rcvr-rtt=all`: receivers ask for their round trip by reference times.
    pub reference_time: bool,
}

impl ExtendedReports {
    /// Reads the formats of a value; those not known are left out.
    pub fn parse(value: &str) -> Self {
        let mut reports = Self::default();
        for format in value.split_ascii_whitespace() {
            let name = format.split([':', '=']).next().unwrap_or(format);
            reports.voip_metrics |= name == "voip-metrics";
            reports.reference_time |=
                name == "rcvr-rtt" && format[name.len()..].starts_with("=all");
        }
        reports
    }

    /// The formats that both name.
    pub fn intersect(self, other: Self) -> Self {
        Self {
            voip_metrics: self.voip_metrics && other.voip_metrics,
            reference_time: self.reference_time && other.reference_time,
        }
    }
}

/// The `a=rtcp-xr` value; empty where nothing is asked for.
impl fmt::Display for ExtendedReports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.reference_time, self.voip_metrics) {
            (true, true) => "rcvr-rtt=all voip-metrics",
            (true, false) => "rcvr-rtt=all",
            (false, true) => "voip-metrics",
            (false, false) => "",
        })
    }
}

/// Whether `value` is `BUNDLE` with this identification tag among its own (RFC 9143 §5).
pub fn bundles(value: &str, mid: &str) -> bool {
    let mut words = value.split_ascii_whitespace();
    words.next() == Some("BUNDLE") && words.any(|word| word == mid)
}

/// An identification tag that may be repeated in a description of ours: a token of usual length.
pub fn is_mid(text: &str) -> bool {
    text.len() <= 64 && is_token(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extension_maps_read_and_print() {
        for text in [
            "1 urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            "1 urn:ietf:params:rtp-hdrext:ssrc-audio-level vad=on",
            "4/recvonly http://example.com/082005/ext.htm#xmeta short",
            "4096 urn:x",
        ] {
            assert_eq!(ExtensionMap::parse(text).unwrap().to_string(), text);
        }
        for bad in [
            "", "0 u", "256 u", "4352 u", "x u", "1", "1/both u", "-1 u", "1 ",
        ] {
            assert_eq!(ExtensionMap::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn feedback_intervals_read() {
        let five = Some(Duration::from_secs(5));
        assert_eq!(report_interval("* trr-int 5000"), five);
        assert_eq!(report_interval("111 trr-int 5000"), five);
        for other in ["", "*", "* nack", "* nack pli", "* trr-int", "* trr-int x"] {
            assert_eq!(report_interval(other), None, "{other:?}");
        }
    }

    #[test]
    fn extended_reports_read_and_print() {
        let both = ExtendedReports {
            voip_metrics: true,
            reference_time: true,
        };
        assert_eq!(
            ExtendedReports::parse("rcvr-rtt=all:10 stat-summary=loss voip-metrics"),
            both
        );
        assert_eq!(ExtendedReports::parse(&both.to_string()), both);
        let none = ExtendedReports::default();
        for other in ["", "rcvr-rtt=sender", "rcvr-rtt", "voip", "pkt-loss-rle"] {
            assert_eq!(ExtendedReports::parse(other), none, "{other:?}");
        }
        assert_eq!(both.intersect(none), none);
    }

    #[test]
    fn bundle_groups_read() {
        assert!(bundles("BUNDLE a1 v2", "v2"));
        assert!(!bundles("BUNDLE a1 v2", "v"));
        assert!(!bundles("LS a1 v2", "v2"));
        assert!(is_mid("audio-0") && !is_mid("a b") && !is_mid("") && !is_mid(&"x".repeat(65)));
    }
}
