//! Reading the audio that a peer offers or answers.

use std::net::{IpAddr, SocketAddr};

use crate::sdp::attribute::{Direction, Format, RecordPreference, RtcpAttribute};
use crate::sdp::crypto::Crypto;
use crate::sdp::negotiate::error::NegotiationError;
use crate::sdp::negotiate::security;
use crate::sdp::session::{Connection, Media, SessionDescription};
use crate::time::Duration;

/// The shortest and longest packets that we agree to send.
const PTIME_MS: (u64, u64) = (10, 120);

/// What a peer's media description says, checked as far as it concerns us.
#[derive(Debug, Clone)]
pub(super) struct RemoteAudio {
    pub(super) protocol: String,
    /// `None` while the peer holds in the old style, with `c=0.0.0.0` (RFC 3264 §8.4).
    pub(super) rtp: Option<SocketAddr>,
    pub(super) rtcp: Option<SocketAddr>,
    pub(super) rtcp_mux: bool,
    pub(super) direction: Direction,
    pub(super) formats: Vec<Format>,
    pub(super) ptime: Option<Duration>,
    pub(super) crypto: Vec<Crypto>,
    pub(super) record_preference: Option<RecordPreference>,
}

impl RemoteAudio {
    /// Reads one media description for a party at `local`.
    pub(super) fn read(
        description: &SessionDescription,
        media: &Media,
        local: IpAddr,
    ) -> Result<Self, NegotiationError> {
        if media.kind != "audio" {
            return Err(NegotiationError::NoAudio);
        }
        if media.port == 0 {
            return Err(NegotiationError::Refused);
        }
        check_protocol(&media.protocol)?;
        let address = address_of(description, media)?;
        if address.is_ipv4() != local.is_ipv4() && !address.is_unspecified() {
            return Err(NegotiationError::AddressFamily);
        }
        let rtp = (!address.is_unspecified()).then(|| SocketAddr::new(address, media.port));
        let rtcp_mux = media.has("rtcp-mux");
        Ok(Self {
            protocol: media.protocol.clone(),
            rtp,
            rtcp: rtp.and_then(|rtp| rtcp_address(media, rtp)),
            rtcp_mux,
            direction: description.direction_of(media),
            formats: media.rtp_formats(),
            ptime: packet_time(media),
            crypto: security::read(media),
            // Of the line, or else of the session (RFC 7866 §8.3.2).
            record_preference: media
                .value("recordpref")
                .or_else(|| description.value("recordpref"))
                .and_then(RecordPreference::parse),
        })
    }

    /// Whether the peer does not take our media.
    pub(super) fn holds(&self) -> bool {
        self.rtp.is_none() || !self.direction.receives()
    }

    /// Our direction, where we want `wanted`: never more than both allow.
    pub(super) fn our_direction(&self, wanted: Direction) -> Direction {
        let agreed = wanted.intersect(self.direction.reversed());
        Direction::new(agreed.sends() && self.rtp.is_some(), agreed.receives())
    }
}

fn check_protocol(protocol: &str) -> Result<(), NegotiationError> {
    match protocol {
        "RTP/AVP" | "RTP/AVPF" | "RTP/SAVP" | "RTP/SAVPF" => Ok(()),
        _ if protocol.contains("SAVP") => Err(NegotiationError::SecureMedia),
        _ => Err(NegotiationError::Transport),
    }
}

/// The IP address of the media; names are never looked up, and addresses of many are no peer.
pub(super) fn address_of(
    description: &SessionDescription,
    media: &Media,
) -> Result<IpAddr, NegotiationError> {
    match description.connection_of(media) {
        Some(Connection::Ip(ip)) if !is_many(*ip) => Ok(ip.to_canonical()),
        _ => Err(NegotiationError::Address),
    }
}

fn is_many(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_multicast() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_multicast(),
    }
}

/// Where the peer takes RTCP: `a=rtcp` (RFC 3605), or the next port (RFC 3550 §11). An address
/// that the media is not sent to is not believed for RTCP either.
fn rtcp_address(media: &Media, rtp: SocketAddr) -> Option<SocketAddr> {
    let attribute = media.value("rtcp").and_then(RtcpAttribute::parse);
    match attribute {
        Some(RtcpAttribute { port, address }) if address.is_none_or(|a| a == rtp.ip()) => {
            Some(SocketAddr::new(rtp.ip(), port))
        }
        Some(_) => None,
        None => Some(SocketAddr::new(rtp.ip(), rtp.port().checked_add(1)?)),
    }
}

/// `a=ptime` bounded by `a=maxptime`, and by what we can send; nonsense counts as not given.
fn packet_time(media: &Media) -> Option<Duration> {
    let read = |name| {
        let whole = media.value(name)?.split('.').next()?;
        whole.parse::<u64>().ok().filter(|ms| *ms > 0)
    };
    let wish = match (read("ptime"), read("maxptime")) {
        (Some(wish), Some(most)) => wish.min(most),
        (Some(wish), None) => wish,
        // Our own choice is 20 ms; only a lower limit tells something.
        (None, Some(most)) if most < 20 => most,
        (None, _) => return None,
    };
    Some(Duration::from_millis(wish.clamp(PTIME_MS.0, PTIME_MS.1)))
}
